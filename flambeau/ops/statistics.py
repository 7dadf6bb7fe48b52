"""Histograms, covariance and other statistics."""

from __future__ import annotations
