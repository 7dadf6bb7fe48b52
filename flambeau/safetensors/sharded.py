"""Models in several safetensors files, with an index that says which tensor is where."""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any

from flambeau import Tensor

from .._checkpoint.atomic import replace_file
from .header import MAX_HEADER, SafetensorError, make_dict
from .reading import safe_open
from .torch import Metadata, find_shared, save_file

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_INDEX = ".index.json"
_PATTERN = "model{suffix}.safetensors"


# ---- writing -------------------------------------------------------------------------------------


def save_sharded(
    tensors: dict[str, Tensor],
    folder: str | os.PathLike,
    max_shard_size: int | str = "5GB",
    metadata: Metadata = None,
    filename_pattern: str = _PATTERN,
) -> list[str]:
    """Write tensors to as many files as their size needs, and an index; the names of the files.

    One file is `model.safetensors`, without an index; several are
    `model-00001-of-00003.safetensors` and so on, with `model.safetensors.index.json`. All files are
    complete before the first takes its place, the index last; files of a former index that are no
    longer needed are removed.

    Args:
        tensors: as for `save_file`.
        folder: of the files; it must exist.
        max_shard_size: bytes of tensors in one file, a number or a text such as "200MB". A tensor
            that is larger has a file of its own.
        metadata: texts by name, in every file.
        filename_pattern: of the files' names; `{suffix}` is where the number goes.

    >>> import tempfile, flambeau as torch
    >>> folder = tempfile.mkdtemp()
    >>> save_sharded({"a": torch.ones(4), "b": torch.ones(4)}, folder, max_shard_size=16)
    ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    >>> load_sharded(folder)["b"]
    tensor([1., 1., 1., 1.])
    """
    shards = _split(tensors, _parse_size(max_shard_size))
    names = [filename_pattern.format(suffix=_number(i, len(shards))) for i in range(len(shards))]
    index_path = os.path.join(folder, filename_pattern.format(suffix="") + _INDEX)
    former = _list_former(index_path)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shards.") as temporary:
        for name, shard in zip(names, shards, strict=True):
            save_file(shard, os.path.join(temporary, name), metadata)
        for name in names:
            os.replace(os.path.join(temporary, name), os.path.join(folder, name))
    if len(names) > 1:
        _write_index(index_path, names, shards)
    elif former:
        os.unlink(index_path)
    for name in former - set(names):
        os.unlink(os.path.join(folder, name))
    return names


def _number(i: int, count: int) -> str:
    return f"-{i + 1:05d}-of-{count:05d}" if count > 1 else ""


def _parse_size(size: int | str) -> int:
    found = re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", str(size))
    if not found or found[2].upper() not in _UNITS or not int(found[1]):
        raise ValueError(f"save_sharded: max_shard_size {size!r}: use bytes, or such as '500MB'")
    return int(found[1]) * _UNITS[found[2].upper()]


def _split(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, in dicts of at most `limit` bytes each."""
    shared = [sorted(names) for names in find_shared(tensors) if len(names) > 1]
    if shared:
        raise RuntimeError(
            f"Some tensors share memory, which safetensors files do not keep: {shared}. Save one of"
            " each"
        )
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _write_index(path: str, names: list[str], shards: list[dict[str, Tensor]]) -> None:
    total = sum(t.numel() * t.element_size() for shard in shards for t in shard.values())
    places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    text = json.dumps(content, indent=2).encode() + b"\n"
    with replace_file(path, len(text)) as file:
        file.write(text)


def _list_former(index_path: str) -> set[str]:
    """The files of an index that is to be replaced, as far as they are there."""
    if not os.path.exists(index_path):
        return set()
    folder = os.path.dirname(index_path)
    names = set(read_index(index_path).values())
    return {name for name in names if os.path.isfile(os.path.join(folder, name))}


# ---- reading -------------------------------------------------------------------------------------


def load_sharded(
    path: str | os.PathLike, device: Any = "cpu", *, backend: str = "mmap"
) -> dict[str, Tensor]:
    """The tensors of a model in several files by name.

    Args:
        path: of the index, or of a folder with `model.safetensors.index.json` or
            `model.safetensors`.
        device, backend: as for `load_file`.

    Raises SafetensorError for an index that is damaged, names a file outside its folder, or does
    not match the files; FileNotFoundError for a file that is missing.
    """
    path = _find_index(os.fspath(path))
    if not path.endswith(".json"):
        with safe_open(path, "pt", device, backend=backend) as file:
            return file.get_tensors()
    result = {}
    for name, wanted in _group(read_index(path)).items():
        with safe_open(
            os.path.join(os.path.dirname(path), name), "pt", device, backend=backend
        ) as file:
            lacking = sorted(set(wanted) - set(file.keys()))
            if lacking:
                raise SafetensorError(
                    f"load_sharded: {name} lacks {len(lacking)} tensors of the index, the first is"
                    f" {lacking[0]!r}"
                )
            result.update({tensor: file.get_tensor(tensor) for tensor in wanted})
    return result


def _find_index(path: str) -> str:
    if not os.path.isdir(path):
        return path
    single = os.path.join(path, _PATTERN.format(suffix=""))
    return single + _INDEX if os.path.exists(single + _INDEX) else single


def _group(places: dict[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for tensor, name in places.items():
        groups.setdefault(name, []).append(tensor)
    return groups


def read_index(path: str | os.PathLike) -> dict[str, str]:
    """Which file of the index's folder each tensor is in; SafetensorError for anything else."""
    with open(path, "rb") as file:
        raw = file.read(MAX_HEADER + 1)
    if len(raw) > MAX_HEADER:
        raise SafetensorError(
            f"load_sharded: an index of more than {MAX_HEADER} bytes is too large"
        )
    try:
        content = json.loads(raw.decode(), object_pairs_hook=make_dict)
    except (ValueError, RecursionError) as fault:
        raise SafetensorError(f"load_sharded: the index is no valid JSON: {fault}") from None
    places = content.get("weight_map") if type(content) is dict else None
    if type(places) is not dict:
        raise SafetensorError("load_sharded: the index has no 'weight_map'")
    for name in places.values():
        if type(name) is not str or not _is_plain(name):
            raise SafetensorError(
                f"load_sharded: the index names {str(name)[:80]!r}: only safetensors files in its"
                " own folder are read"
            )
    return places


def _is_plain(name: str) -> bool:
    """Whether a name from a file is that of a safetensors file in the same folder."""
    tricks = any(character in name for character in "/\\:\0")
    return name.endswith(".safetensors") and not tricks and not name.startswith(".")
