"""Hashes of a folder's Python sources: what was made by other sources is not used again."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path


@cache
def hash_sources(folder: Path) -> str:
    """A hash of the folder's .py files, names and text."""
    digest = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                text = file.read()
            digest.update(f"{name}:{len(text)}\0".encode())
            digest.update(text)
    return digest.hexdigest()
