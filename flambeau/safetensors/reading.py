"""Opening safetensors files: tensors are read when they are asked for."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.core import from_buffer  # type: ignore[attr-defined]
from flambeau.ops.factory import dense_strides

from .._checkpoint.pickler import view_storage
from .header import (
    LENGTH,
    Header,
    SafetensorError,
    TensorPlace,
    parse_header,
    read_length,
)

DTYPES = {
    "F64": flambeau.float64,
    "F32": flambeau.float32,
    "F16": flambeau.float16,
    "BF16": flambeau.bfloat16,
    "I64": flambeau.int64,
    "I32": flambeau.int32,
    "I16": flambeau.int16,
    "I8": flambeau.int8,
    "U64": flambeau.uint64,
    "U32": flambeau.uint32,
    "U16": flambeau.uint16,
    "U8": flambeau.uint8,
    "BOOL": flambeau.bool,
    "C64": flambeau.complex64,
    "F8_E4M3": flambeau.float8_e4m3fn,
    "F8_E5M2": flambeau.float8_e5m2,
    "F8_E4M3FNUZ": flambeau.float8_e4m3fnuz,
    "F8_E5M2FNUZ": flambeau.float8_e5m2fnuz,
    "F8_E8M0": flambeau.float8_e8m0fnu,
}
_FRAMEWORKS = {
    **dict.fromkeys(("pt", "torch", "pytorch", "flambeau"), "flambeau"),
    **dict.fromkeys(("np", "numpy"), "numpy"),
}
_BACKENDS = ("mmap", "pread")
_MAX_DIM = 64


class safe_open:
    """A safetensors file whose tensors are read when they are asked for.

    Args:
        filename: its path.
        framework: "pt" gives tensors, "numpy" arrays.
        device: where the tensors go.
        backend: "mmap" maps the file: tensors are read from disk when they are first used, and
            writing to them leaves the file alone. "pread" copies what is asked for at once: for
            files that others may shorten meanwhile.

    Raises SafetensorError for a file that is no sound safetensors file, or of a dtype that Flambeau
    does not have (for that tensor alone).

    >>> import tempfile, os, flambeau as torch
    >>> path = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    >>> torch.safetensors.save_file({"a": torch.arange(6).view(2, 3)}, path, {"by": "me"})
    >>> with torch.safetensors.safe_open(path, "pt") as file:
    ...     file.metadata(), file.get_slice("a").get_shape(), file.get_tensor("a")[1]
    ({'by': 'me'}, [2, 3], tensor([3, 4, 5]))
    """

    def __init__(
        self,
        filename: str | os.PathLike,
        framework: str = "pt",
        device: Any = "cpu",
        *,
        backend: str = "mmap",
    ) -> None:
        if framework not in _FRAMEWORKS:
            raise SafetensorError(f"framework {framework!r} is invalid: use 'pt' or 'numpy'")
        if backend not in _BACKENDS:
            raise SafetensorError(f"backend {backend!r} is invalid: use 'mmap' or 'pread'")
        self._gives_arrays = _FRAMEWORKS[framework] == "numpy"
        self._device = flambeau.device(device)
        self._source: _Source | None = open_file(filename, backend == "mmap")

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def keys(self) -> list[str]:
        """The names of the tensors, sorted."""
        return sorted(self._open().header.tensors)

    def offset_keys(self) -> list[str]:
        """The names of the tensors, in the order of their bytes."""
        return list(self._open().header.tensors)

    def metadata(self) -> dict[str, str] | None:
        """The texts of the header; None where it has none."""
        found = self._open().header.metadata
        return None if found is None else dict(found)

    def get_tensor(self, name: str) -> Any:
        """One tensor; SafetensorError when the file has none of that name."""
        return self._convert(self._open().read(name))

    def get_tensors(self) -> dict[str, Any]:
        """All tensors by name."""
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor to be indexed before it is read."""
        source = self._open()
        return TensorSlice(source.find(name), lambda rows: source.read(name, rows), self._convert)

    def _open(self) -> _Source:
        if self._source is None:
            raise SafetensorError("safetensors: the file is closed")
        return self._source

    def _convert(self, tensor: Any) -> Any:
        if self._gives_arrays:
            name = tensor.dtype.name
            if name.startswith(("bfloat16", "float8")):
                raise SafetensorError(f"safetensors: NumPy has no {name}: use framework='pt'")
            return tensor.numpy()
        return tensor if self._device.type == "cpu" else tensor.to(self._device)


class TensorSlice:
    """A tensor of a file, of which indexing reads a part: `file.get_slice("weight")[:, 10:20]`."""

    def __init__(
        self, place: TensorPlace, read: Callable[[range | None], Any], convert: Callable
    ) -> None:
        self._place = place
        self._read = read
        self._convert = convert

    def get_shape(self) -> list[int]:
        """The sizes of the whole tensor."""
        return list(self._place.shape)

    def get_dtype(self) -> str:
        """The dtype as files name it, such as "F32"."""
        return self._place.dtype

    def __getitem__(self, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        first = parts[0] if parts else ...
        if not self._place.shape or not isinstance(first, slice) or (first.step or 1) < 1:
            return self._convert(self._read(None)[index].contiguous())
        start, stop, step = first.indices(self._place.shape[0])
        rows = self._read(range(start, max(start, stop)))
        return self._convert(rows[(slice(None, None, step), *parts[1:])].contiguous())


class _Source:
    """The bytes of a file: its header, and tensors over the rest."""

    def __init__(self, header: Header, memory: memoryview | None, file: Any = None) -> None:
        self.header = header
        self._memory = memory
        self._file = file

    def close(self) -> None:
        """Let go of the file; tensors over its bytes stay valid."""
        self._memory = None
        if self._file is not None:
            self._file.close()

    def find(self, name: str) -> TensorPlace:
        place = self.header.tensors.get(name)
        if place is None:
            raise SafetensorError(f"safetensors: File does not contain tensor {name}")
        return place

    def read(self, name: str, rows: range | None = None) -> Any:
        """The tensor `name`, or some of its rows."""
        place = self.find(name)
        dtype = DTYPES.get(place.dtype)
        if dtype is None or len(place.shape) > _MAX_DIM:
            what = f"the dtype {place.dtype}" if dtype is None else f"{len(place.shape)} dimensions"
            raise SafetensorError(
                f"safetensors: tensor {name!r}: Flambeau has no tensors of {what}"
            )
        shape, start, stop = place.shape, place.start, place.stop
        if rows is not None:
            row_bytes = (stop - start) // shape[0] if shape[0] else 0
            shape = (len(rows), *shape[1:])
            start, stop = start + rows.start * row_bytes, start + rows.stop * row_bytes
        if start == stop:
            return flambeau.empty(shape, dtype=dtype)
        return self._view(dtype, shape, self.header.size + start, self.header.size + stop)

    def _view(self, dtype: Any, shape: tuple[int, ...], start: int, stop: int) -> Any:
        if self._memory is not None and start % dtype.itemsize == 0:
            return from_buffer(self._memory[start:stop], dtype, shape, dense_strides(shape))
        made = flambeau.empty(shape, dtype=dtype)
        target = view_storage(made.untyped_storage())
        if self._memory is not None:
            target[:] = self._memory[start:stop]
        else:
            self._copy(target, start)
        return made

    def _copy(self, target: memoryview, start: int) -> None:
        self._file.seek(start)
        done = 0
        while done < target.nbytes:
            count = self._file.readinto(target[done:])
            if not count:
                raise SafetensorError("safetensors: the file was shortened while it was read")
            done += count


def open_file(filename: str | os.PathLike, mapped: bool) -> _Source:
    """The source over a file."""
    file = open(filename, "rb")  # noqa: SIM115 - closed by the source
    try:
        size = os.fstat(file.fileno()).st_size
        length = read_length(file.read(LENGTH.size), size)
        header = parse_header(file.read(length), size)
        memory = None
        if mapped:  # a private map: writing to a tensor does not change the file
            memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return _Source(header, memory, file)
    except BaseException:
        file.close()
        raise


def open_bytes(data: bytes) -> _Source:
    """The source over a copy of bytes."""
    length = read_length(data[: LENGTH.size], len(data))
    header = parse_header(bytes(data[LENGTH.size : LENGTH.size + length]), len(data))
    return _Source(header, memoryview(bytearray(data)))
