"""Downloads of weights, kept in a folder: `load_state_dict_from_url` and what it stands on.

>>> import os, flambeau as torch
>>> os.path.basename(torch.hub.get_dir())
'hub'
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

from . import serialization

__all__ = ["download_url_to_file", "get_dir", "load_state_dict_from_url", "set_dir"]

_BLOCK = 1 << 20
_AGENT = "flambeau"
# The first digits of the SHA-256 in a file's name: resnet18-f37072fd.pth.
HASH_REGEX = re.compile(r"-([a-f0-9]{8,64})\.")

_folder: str | None = None


def get_dir() -> str:
    """The folder of downloads: `set_dir`'s, else $TORCH_HOME/hub, else ~/.cache/torch/hub."""
    if _folder is not None:
        return _folder
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Set the folder of downloads."""
    global _folder
    _folder = os.path.expanduser(os.fspath(d))


def download_url_to_file(
    url: str, dst: str | os.PathLike[str], hash_prefix: str | None = None, progress: bool = True
) -> None:
    """Download a file; it appears as `dst` only when it is complete and its hash is right.

    Args:
        hash_prefix: the first hexadecimal digits its SHA-256 must have.
        progress: show a bar.

    Errors:
        URLError: the server cannot be reached, or the file ends early.
        RuntimeError: the hash differs.
    """
    path = os.path.expanduser(os.fspath(dst))
    partial = f"{path}.{os.getpid()}.part"
    try:
        digest = save_url(url, partial, progress)
        if hash_prefix is not None and not digest.startswith(hash_prefix):
            raise RuntimeError(
                f"download_url_to_file: {url} is damaged: its SHA-256 is {digest}, expected "
                f"{hash_prefix}...; try again later"
            )
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def save_url(url: str, path: str, progress: bool = True) -> str:
    """Write what a URL gives to a file and return its SHA-256; URLError if it ends early."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})
    with urllib.request.urlopen(request, timeout=60) as response, open(path, "wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        with tqdm(
            total=total,
            desc=os.path.basename(url),
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not progress,
        ) as bar:
            while block := response.read(_BLOCK):
                file.write(block)
                digest.update(block)
                bar.update(len(block))
        if total is not None and file.tell() < total:
            raise URLError(f"{url} ended after {file.tell()} of {total} bytes")
    return digest.hexdigest()


def load_state_dict_from_url(
    url: str,
    model_dir: str | os.PathLike[str] | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """Load a checkpoint from a URL, downloading it unless it is in `model_dir` already.

    Nothing in the file is executed; with PyTorch `weights_only` is False by default.

    Args:
        model_dir: the folder to keep it in, `get_dir()`/checkpoints by default.
        map_location: as in `load`.
        check_hash: the file's name holds the first digits of its SHA-256: name-f37072fd.pth.
        file_name: its name in the folder; the URL's by default.

    Errors:
        URLError: the server cannot be reached.
        RuntimeError: the hash differs, or the file is no checkpoint.
    """
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else os.fspath(model_dir)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found[1] if found else None, progress)
    return serialization.load(path, map_location=map_location, weights_only=weights_only)


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"hub.{name}: Flambeau runs no code from repositories; "
        "load weights by hub.load_state_dict_from_url"
    )
