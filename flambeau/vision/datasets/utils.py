"""Downloading, checking and unpacking the archives of data sets."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from typing import IO, Any

from flambeau.hub import save_url

__all__ = [
    "calculate_md5",
    "check_integrity",
    "check_md5",
    "download_and_extract_archive",
    "download_url",
    "extract_archive",
]

Path = str | os.PathLike[str]

_BLOCK = 1 << 20
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def calculate_md5(fpath: Path, chunk_size: int = _BLOCK) -> str:
    """Give the MD5 checksum of a file as 32 hexadecimal digits.

    It tells a damaged download from a good one; it does not protect against an attacker.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while block := file.read(chunk_size):
            digest.update(block)
    return digest.hexdigest()


def check_md5(fpath: Path, md5: str, **kwargs: Any) -> bool:
    """Say whether a file has that MD5 checksum."""
    return calculate_md5(fpath, **kwargs) == md5


def check_integrity(fpath: Path, md5: str | None = None) -> bool:
    """Say whether a file exists and, when `md5` is given, has that checksum."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


def download_url(
    url: str,
    root: Path,
    filename: str | None = None,
    md5: str | None = None,
    max_redirect_hops: int = 3,
) -> None:
    """Download a file into the folder `root` with a progress bar, unless a good copy is there.

    The file appears under its name only when it is complete and its checksum is right. Raises
    urllib.error.URLError when the server cannot be reached, RuntimeError when the checksum differs.
    """
    root = os.path.expanduser(os.fspath(root))
    path = os.path.join(root, filename or os.path.basename(url))
    if check_integrity(path, md5):
        return
    os.makedirs(root, exist_ok=True)
    partial = f"{path}.{os.getpid()}.part"
    try:
        save_url(url, partial)
        if md5 is not None and (found := calculate_md5(partial)) != md5:
            raise RuntimeError(
                f"download_url: {url} is damaged: MD5 {found}, expected {md5}; try again later"
            )
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def extract_archive(
    from_path: Path, to_path: Path | None = None, remove_finished: bool = False
) -> str:
    """Unpack a tar or zip archive, or decompress a single file; give the path of the result.

    `to_path` is the folder to unpack into, by default the archive's own. An archive with members
    that would land outside it is refused with RuntimeError before anything is unpacked.
    """
    source = os.fspath(from_path)
    folder = os.path.dirname(source) if to_path is None else os.fspath(to_path)
    if source.endswith(_TAR_SUFFIXES):
        result = _extract_tar(source, folder)
    elif source.endswith(".zip"):
        result = _extract_zip(source, folder)
    else:
        result = _decompress(source, folder, is_folder=to_path is None or os.path.isdir(folder))
    if remove_finished:
        os.remove(source)
    return result


def _extract_tar(source: str, folder: str) -> str:
    # The "data" filter refuses links that lead outside, devices and set-uid bits. Python 3.11 has
    # it from its fourth patch on; before, nothing but plain files and folders is accepted.
    filtered = hasattr(tarfile, "data_filter")
    options: dict[str, Any] = {"filter": "data"} if filtered else {}
    with tarfile.open(source) as archive:
        members = archive.getmembers()
        for member in members:
            _require_inside(source, folder, member.name)
            if not filtered:
                _make_plain(source, member)
        try:
            archive.extractall(folder, members, **options)
        except tarfile.TarError as error:
            raise RuntimeError(f"extract_archive: {source}: {error}") from error
    return folder


def _make_plain(source: str, member: tarfile.TarInfo) -> None:
    if not (member.isreg() or member.isdir()):
        raise RuntimeError(
            f"extract_archive: {source} has a member that is no plain file: {member.name!r}"
            " (with Python 3.11.4 or newer links that stay inside are accepted)"
        )
    member.mode &= 0o755
    if hasattr(os, "geteuid"):
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""


def _extract_zip(source: str, folder: str) -> str:
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            _require_inside(source, folder, name)
        archive.extractall(folder)
    return folder


def _require_inside(source: str, folder: str, name: str) -> None:
    root = os.path.realpath(folder)
    target = os.path.realpath(os.path.join(root, name))
    if os.path.commonpath([root, target]) != root:
        raise RuntimeError(f"extract_archive: {source} has a member outside: {name!r}")


def _decompress(source: str, target: str, *, is_folder: bool) -> str:
    stem, suffix = os.path.splitext(source)
    if suffix not in _OPENERS:
        known = ", ".join((*_TAR_SUFFIXES, ".zip", *_OPENERS))
        raise RuntimeError(f"extract_archive: {source}: unknown format; expected one of {known}")
    path = os.path.join(target, os.path.basename(stem)) if is_folder else target
    with _OPENERS[suffix](source, "rb") as packed:
        _write_atomically(packed, path)
    return path


def _write_atomically(source: IO[bytes], path: str) -> None:
    partial = f"{path}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            shutil.copyfileobj(source, file, _BLOCK)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def download_and_extract_archive(
    url: str,
    download_root: Path,
    extract_root: Path | None = None,
    filename: str | None = None,
    md5: str | None = None,
    remove_finished: bool = False,
) -> None:
    """Download an archive into `download_root`, check it and unpack it into `extract_root`."""
    download_root = os.path.expanduser(os.fspath(download_root))
    filename = filename or os.path.basename(url)
    download_url(url, download_root, filename, md5)
    archive = os.path.join(download_root, filename)
    extract_archive(archive, extract_root or download_root, remove_finished)
