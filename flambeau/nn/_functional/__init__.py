"""Composites behind `flambeau.nn.functional`, a file per subject."""
