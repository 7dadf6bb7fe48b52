"""Libraries that vision imports on first use: NumPy and Pillow."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def require_numpy() -> ModuleType:
    """Import NumPy."""
    import numpy  # once imported, the statement is the fastest way to the module

    return numpy


def require_pillow(submodule: str = "Image") -> ModuleType:
    """Import a module of Pillow, by default `PIL.Image`.

    Raises ModuleNotFoundError with the command that installs Pillow.
    """
    try:
        return importlib.import_module(f"PIL.{submodule}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        message = "images need Pillow, which is not installed: run `pip install pillow`"
        raise ModuleNotFoundError(message, name="PIL") from error


def is_pil_image(image: object) -> bool:
    """Say whether an object is a Pillow image; never imports Pillow to find out."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(image, pillow.Image)
