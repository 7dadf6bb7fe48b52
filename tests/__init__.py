"""Flambeau's tests."""
