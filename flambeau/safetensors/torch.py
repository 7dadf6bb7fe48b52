"""Safetensors files of tensors: the functions of the `safetensors.torch` module."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from typing import Any

import flambeau
from flambeau import Tensor

from .._checkpoint.atomic import replace_file
from .header import make_header
from .reading import DTYPES, open_bytes, safe_open

__all__ = [
    "load",
    "load_file",
    "load_model",
    "save",
    "save_file",
    "save_model",
    "storage_ptr",
    "storage_size",
]

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
Metadata = dict[str, str] | None


def storage_ptr(tensor: Tensor) -> int:
    """The address of the memory that a tensor views."""
    return tensor.untyped_storage().data_ptr()


def storage_size(tensor: Tensor) -> int:
    """The bytes of the memory that a tensor views."""
    return tensor.untyped_storage().nbytes()


# ---- writing -------------------------------------------------------------------------------------


def save_file(
    tensors: dict[str, Tensor], filename: str | os.PathLike, metadata: Metadata = None
) -> None:
    """Write tensors by name to a file, which is whole or not there.

    Args:
        tensors: contiguous, and none sharing memory with another.
        filename: the path; an old file stays as it is until the new one is complete.
        metadata: texts by name, kept in the header.

    Raises ValueError for what is no dict of contiguous tensors of the format's dtypes, RuntimeError
    for tensors that share memory (see `save_model`).

    >>> import tempfile, os, flambeau as torch
    >>> path = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    >>> save_file({"a": torch.ones(2)}, path)
    >>> load_file(path)
    {'a': tensor([1., 1.])}
    """
    head, parts = _lay_out(tensors, metadata)
    with replace_file(filename, len(head) + sum(part.nbytes for part in parts)) as file:
        file.write(head)
        for part in parts:
            file.write(part)


def save(tensors: dict[str, Tensor], metadata: Metadata = None) -> bytes:
    """The bytes of a file with these tensors; see `save_file`.

    >>> import flambeau as torch
    >>> load(save({"a": torch.ones(2)}))
    {'a': tensor([1., 1.])}
    """
    head, parts = _lay_out(tensors, metadata)
    return b"".join([head, *parts])


def _lay_out(tensors: dict[str, Tensor], metadata: Metadata) -> tuple[bytes, list[memoryview]]:
    """The header, and the bytes of the tensors in the order of the file."""
    _check_tensors(tensors)
    entries = {}
    for name, tensor in tensors.items():
        nbytes = tensor.numel() * tensor.element_size()
        entries[name] = (_NAMES[tensor.dtype], tuple(tensor.shape), nbytes)
    head, order = make_header(entries, metadata)
    return head, [_view_bytes(tensors[name]) for name in order]


def _view_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, without a copy where it is on the CPU."""
    host = tensor.detach().cpu()
    if not host.numel():
        return memoryview(b"")
    array = (ctypes.c_ubyte * (host.numel() * host.element_size())).from_address(host.data_ptr())
    array.keeper = host  # type: ignore[attr-defined]
    return memoryview(array).cast("B")


def _check_tensors(tensors: Any) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}"
            )
        if tensor.dtype not in _NAMES:
            raise ValueError(
                f"save: tensor {name!r}: safetensors files have no dtype for {tensor.dtype}"
            )
        if tensor.layout is not flambeau.strided:
            raise ValueError(f"save: tensor {name!r} is sparse: save its to_dense()")
        if not tensor.is_contiguous():
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed:"
                " save its contiguous(), or, where it is a part of another tensor, only that one"
            )
    shared = [sorted(names) for names in find_shared(tensors) if len(names) > 1]
    if shared:
        raise RuntimeError(
            f"Some tensors share memory, which a safetensors file does not keep: {shared}. Save"
            " one of each, or the whole model with save_model, which does so"
        )


def find_shared(tensors: Mapping[str, Tensor]) -> list[set[str]]:
    """The names whose tensors have bytes in common, together; the others alone."""
    areas = []
    for name, tensor in tensors.items():
        start = tensor.data_ptr()
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        stop = start + (last + 1) * tensor.element_size() if tensor.numel() else start
        areas.append((start, stop, name))
    groups: list[set[str]] = []
    end = -1
    for start, stop, name in sorted(areas):
        if start < end and start < stop:
            groups[-1].add(name)
        else:
            groups.append({name})
        end = max(end, stop)
    return groups


# ---- reading -------------------------------------------------------------------------------------


def load_file(
    filename: str | os.PathLike, device: Any = "cpu", *, backend: str = "mmap"
) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Args:
        filename: its path.
        device: where the tensors go.
        backend: "mmap" reads them from disk when they are first used, "pread" at once.

    Raises SafetensorError for a file that is no sound safetensors file.
    """
    with safe_open(filename, "pt", device, backend=backend) as file:
        return file.get_tensors()


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a file by name; SafetensorError as `load_file`."""
    source = open_bytes(data)
    return {name: source.read(name) for name in source.header.tensors}


# ---- models --------------------------------------------------------------------------------------


def save_model(
    model: flambeau.nn.Module,
    filename: str,
    metadata: Metadata = None,
    force_contiguous: bool = True,
) -> None:
    """Write a model's state; of names that share one tensor, only one.

    Args:
        model: the module.
        filename: the path of the file.
        metadata: texts by name; for each name left out, the name that stands for it is added.
        force_contiguous: write tensors that are not contiguous as if they were.

    Raises RuntimeError when tensors overlap and none of them covers their whole memory.

    >>> import tempfile, os, flambeau as torch
    >>> path = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    >>> model = torch.nn.Linear(2, 2)
    >>> save_model(model, path)
    >>> load_model(torch.nn.Linear(2, 2), path)
    (set(), [])
    """
    state = dict(model.state_dict())
    metadata = dict(metadata or {})
    for kept, dropped in _choose_names(state, ()).items():
        for name in dropped:
            metadata.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, filename, metadata or None)


def load_model(
    model: flambeau.nn.Module,
    filename: str | os.PathLike,
    strict: bool = True,
    device: Any = "cpu",
    *,
    backend: str = "mmap",
) -> tuple[set[str], list[str]]:
    """Read a file into a model; the names that are missing and those that the model lacks.

    Args:
        model: the module; names that share a tensor need only one in the file.
        filename, device, backend: as for `load_file`.
        strict: RuntimeError for missing or unexpected names.
    """
    state = load_file(filename, device, backend=backend)
    found = model.load_state_dict(state, strict=False)
    missing, unexpected = set(found.missing_keys), list(found.unexpected_keys)
    for dropped in _choose_names(model.state_dict(), state).values():
        unexpected += [name for name in dropped if name not in missing]
        missing -= set(dropped)
    if strict and (missing or unexpected):
        kinds = (("Missing", sorted(missing)), ("Unexpected", sorted(unexpected)))
        lines = [
            f"\n    {kind} key(s) in state_dict: {', '.join(map(repr, names))}"
            for kind, names in kinds
            if names
        ]
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(model).__name__}:{''.join(lines)}"
        )
    return missing, unexpected


def _choose_names(state: Mapping[str, Tensor], preferred: Iterable[str]) -> dict[str, list[str]]:
    """Of names that share memory, the one to keep, with the others."""
    chosen = {}
    for names in find_shared(state):
        if len(names) < 2:
            continue
        whole = sorted(name for name in names if _covers_storage(state[name]))
        if not whole:
            raise RuntimeError(
                f"None of the tensors {sorted(names)} covers the memory that they share: save"
                " contiguous copies of them"
            )
        kept = next((name for name in whole if name in set(preferred)), whole[0])
        chosen[kept] = sorted(names - {kept})
    return chosen


def _covers_storage(tensor: Tensor) -> bool:
    size = tensor.numel() * tensor.element_size()
    return tensor.data_ptr() == storage_ptr(tensor) and size == storage_size(tensor)
