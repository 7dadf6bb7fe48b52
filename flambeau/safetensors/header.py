"""The header of a safetensors file: eight bytes of length, then JSON with a place for each tensor.

    {"__metadata__": {"format": "pt"},
     "weight": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]}, ...}

Offsets count from the end of the header. The tensors must cover the rest of the file without gaps
or overlaps; whatever is not so, or not exactly this form, is refused before anything is read.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from .._checkpoint.errors import CheckpointError, EmptyFileError

LENGTH = struct.Struct("<Q")
MAX_HEADER = 100_000_000  # bytes, as the format has it
_ALIGNMENT = 8
_MAX_BYTES = (1 << 63) - 1
_METADATA = "__metadata__"
# Bits of an element, in the order in which files hold them: the last first.
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
_RANK = {name: i for i, name in enumerate(BITS)}


class SafetensorError(CheckpointError):
    """A safetensors file that is damaged, inconsistent or of a dtype that Flambeau lacks."""


class EmptySafetensorError(SafetensorError, EmptyFileError):
    """A file without a single byte."""


@dataclass(frozen=True)
class TensorPlace:
    """A tensor of a file: `start` and `stop` count from the first byte of all data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """What a header says: tensors by name in the order of their bytes, texts by name."""

    tensors: dict[str, TensorPlace]
    metadata: dict[str, str] | None
    size: int  # bytes of the length and the JSON: where the data begins


# ---- reading -------------------------------------------------------------------------------------


def read_length(first: bytes, file_size: int) -> int:
    """Bytes of JSON, from the first eight of a file of `file_size` bytes."""
    if not file_size:
        raise EmptySafetensorError("safetensors: the file is empty")
    if len(first) < LENGTH.size:
        raise SafetensorError(f"safetensors: a file of {file_size} bytes has no header")
    length: int = LENGTH.unpack(first)[0]
    if length > MAX_HEADER:
        raise SafetensorError(
            f"safetensors: a header of {length} bytes is too large: {MAX_HEADER} are allowed."
            " Is it a safetensors file?"
        )
    if length + LENGTH.size > file_size:
        raise SafetensorError(
            f"safetensors: a header of {length} bytes does not fit a file of {file_size}: is it cut"
            " off?"
        )
    return length


def parse_header(raw: bytes, file_size: int) -> Header:
    """Check and read the JSON of a file of `file_size` bytes."""
    content = _parse_json(raw)
    metadata = _check_metadata(content.pop(_METADATA, None))
    places = {name: _parse_place(name, entry) for name, entry in content.items()}
    tensors = dict(sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)))
    size = LENGTH.size + len(raw)
    _check_coverage(tensors, file_size - size)
    return Header(tensors, metadata, size)


def _parse_json(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise SafetensorError("safetensors: the header does not start with '{'")
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=make_dict)
    except (ValueError, RecursionError) as fault:  # ValueError: of JSON, UTF-8, long numbers
        raise SafetensorError(f"safetensors: the header is no valid JSON: {fault}") from None
    return content


def make_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of JSON; SafetensorError for a key that comes twice or is no valid Unicode."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise SafetensorError(f"safetensors: the key {key[:80]!r} comes twice")
        key.encode()  # half a surrogate pair is an error here, a ValueError
        result[key] = value
    return result


def _check_metadata(metadata: Any) -> dict[str, str] | None:
    if metadata is None:
        return None
    if type(metadata) is not dict or not all(map(_is_text, metadata.values())):
        raise SafetensorError(f"safetensors: {_METADATA} must map texts to texts")
    return metadata


def _is_text(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _parse_place(name: str, entry: Any) -> TensorPlace:
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refuse(name, "needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in BITS:
        raise _refuse(name, f"has the unknown dtype {str(dtype)[:40]!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise _refuse(name, "needs non-negative integers as shape and two as data_offsets")
    start, stop = offsets
    bits = BITS[dtype]
    for length in shape:
        bits *= length
        # A zero further on does not save a product that has overflown.
        if bits > 8 * _MAX_BYTES:
            raise _refuse(name, "is too large")
    if stop < start or bits != 8 * (stop - start):
        raise _refuse(
            name,
            f"of dtype {dtype} and shape {shape[:8]} needs {bits / 8:g} bytes, but has"
            f" data_offsets {offsets}",
        )
    return TensorPlace(dtype, tuple(shape), start, stop)


def _are_sizes(numbers: Any) -> bool:
    if type(numbers) is not list:
        return False
    return all(type(number) is int and 0 <= number <= _MAX_BYTES for number in numbers)


def _check_coverage(tensors: dict[str, TensorPlace], data_size: int) -> None:
    end = 0
    for name, place in tensors.items():
        if place.start != end:
            kind = "overlaps the one before" if place.start < end else "leaves a gap"
            raise _refuse(name, f"{kind}: it starts at {place.start}, not at {end}")
        end = place.stop
    if end != data_size:
        raise SafetensorError(
            f"safetensors: the tensors take {end} bytes, but {data_size} follow the header"
        )


def _refuse(name: str, what: str) -> SafetensorError:
    return SafetensorError(f"safetensors: tensor {name[:80]!r} {what}")


# ---- writing -------------------------------------------------------------------------------------


def make_header(
    tensors: dict[str, tuple[str, tuple[int, ...], int]], metadata: dict[str, str] | None
) -> tuple[bytes, list[str]]:
    """The first bytes of a file, and the order in which the data of the tensors follows.

    Args:
        tensors: (dtype, shape, bytes) by name.
        metadata: texts by name.

    Wide dtypes come first, so that every tensor lies at a multiple of its element's size.
    Raises ValueError for names or metadata that are no texts.
    """
    content: dict[str, Any] = {}
    if metadata is not None:
        if any(type(text) is not str for pair in metadata.items() for text in pair):
            raise ValueError("safetensors: metadata must map texts to texts: use str(...)")
        content[_METADATA] = metadata
    order = sorted(sorted(tensors), key=lambda name: -_RANK[tensors[name][0]])
    end = 0
    for name in order:
        if type(name) is not str or name == _METADATA:
            raise ValueError(f"safetensors: a tensor cannot have the name {name!r}")
        dtype, shape, nbytes = tensors[name]
        content[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [end, end + nbytes],
        }
        end += nbytes
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ValueError(f"safetensors: {len(text)} bytes of header: {MAX_HEADER} are allowed")
    return LENGTH.pack(len(text)) + text, order
