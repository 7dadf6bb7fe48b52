"""Defaults of `flambeau.save` and `flambeau.load`: see `config`."""

from __future__ import annotations

from . import config

__all__ = ["config"]
