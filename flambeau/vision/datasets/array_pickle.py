"""Reading pickles of plain data and NumPy arrays without running anything in them.

A pickle is a program: it may call any function it can name. Archives such as CIFAR's contain only
dicts, lists, tuples, strings, bytes, numbers and arrays. This reader knows those and nothing else:
the few names that an array's pickle calls are answered by objects of this module that record their
checked arguments; NumPy is called only by `_ArrayRecord.build`, on bytes of the right length.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import warnings
from collections.abc import Callable
from typing import IO, Any

from flambeau.vision._lazy import require_numpy

__all__ = ["ArrayUnpickler", "load_array_pickle", "read_array_pickle"]

# Booleans, integers and floats of fixed size. Never "O": an object array is a pickle of its own.
_DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
_BYTE_ORDERS = frozenset("<>|=")


# Everything that pickles of plain data and arrays are made of, in protocols 0 to 4. Left out are
# the opcodes that instantiate classes, ask for persistent objects or use the extension registry.
# fmt: off
_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
))
# fmt: on


def load_array_pickle(path: str | os.PathLike[str], encoding: str = "latin1") -> Any:
    """Read a pickle of plain data and arrays, such as a CIFAR batch; run nothing that is in it.

    `encoding` is for the strings of Python 2. Raises pickle.UnpicklingError for anything that such
    a pickle does not contain, and for a truncated file.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        return read_array_pickle(data, encoding)
    except (EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise pickle.UnpicklingError(f"{os.fspath(path)} is damaged: {error}") from error


def read_array_pickle(data: bytes, encoding: str = "latin1") -> Any:
    """Read such a pickle from bytes; damaged ones raise the errors of `pickle` as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # odd escapes in a damaged string are for the checks to judge
        check_opcodes(data)
    return build_arrays(ArrayUnpickler(io.BytesIO(data), encoding=encoding).load())


def check_opcodes(data: bytes) -> None:
    """Refuse a pickle with other opcodes, with sizes beyond its end, or with a huge memo.

    The unpickler would allocate what a size or a memo's index asks for before it finds out.
    """
    for opcode, argument, place in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"refused to run opcode {opcode.name} at byte {place}")
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError(f"refused to number an object {argument} at byte {place}")


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that resolves only the names used by pickles of NumPy arrays."""

    def __init__(self, file: IO[bytes], *, encoding: str = "latin1") -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Answer one of the names in `_GLOBALS`; refuse every other name."""
        maker = _GLOBALS.get((module_name, global_name))
        if maker is None:
            raise pickle.UnpicklingError(
                f"refused to load {module_name}.{global_name}: only plain data and NumPy arrays "
                "are read; this file is not what it should be"
            )
        return maker


class _Maker:
    """Stands for a function that a pickle names: can be called, cannot be changed by the pickle."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("refused to set the state of a function")


class _DtypeRecord:
    """Stands for `numpy.dtype` while unpickling: a checked type code and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or code not in _DTYPES:
            raise pickle.UnpicklingError(f"refused to load an array with dtype {code!r}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags)
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in _BYTE_ORDERS:
            raise pickle.UnpicklingError("an array's dtype is damaged")
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("refused to load an array of records")
        self.order = state[1]

    @property
    def item_size(self) -> int:
        return int(self.code[1:])


class _ArrayRecord:
    """Stands for an array while unpickling: checked shape, dtype, order and bytes."""

    __slots__ = ("array", "data", "dtype", "is_fortran", "shape")

    def __init__(self) -> None:
        self.array = None
        self.dtype: _DtypeRecord | None = None

    def __setstate__(self, state: Any) -> None:
        # (version, shape, dtype, is Fortran order, data); version is missing in very old pickles
        *_, shape, dtype, is_fortran, data = state
        if isinstance(data, str):  # bytes of Python 2, decoded as latin1
            data = data.encode("latin1")
        if type(dtype) is not _DtypeRecord or type(data) is not bytes:
            raise pickle.UnpicklingError("an array's dtype or data is damaged")
        if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"an array's shape is damaged: {shape!r}")
        if len(shape) > 32 or math.prod(shape) * dtype.item_size != len(data):
            raise pickle.UnpicklingError(
                f"an array of shape {shape} and dtype {dtype.code} cannot have {len(data)} bytes"
            )
        self.shape, self.dtype, self.is_fortran, self.data = shape, dtype, bool(is_fortran), data

    def build(self) -> Any:
        """Make the array, once; it is writable and owns its memory."""
        if self.dtype is None:
            raise pickle.UnpicklingError("an array has no data")
        if self.array is None:
            np = require_numpy()
            dtype = np.dtype(self.dtype.order + self.dtype.code)
            flat = np.frombuffer(self.data, dtype=dtype).copy()
            self.array = flat.reshape(self.shape, order="F" if self.is_fortran else "C")
        return self.array


def _make_array(subtype: Any, shape: Any, typecode: Any) -> _ArrayRecord:
    if subtype is not _NDARRAY:
        raise pickle.UnpicklingError("refused to load an array of a class other than ndarray")
    return _ArrayRecord()


def _refuse_call(*args: Any) -> None:
    raise pickle.UnpicklingError("refused to call numpy.ndarray")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    # Python 3 writes bytes like this in the protocols of Python 2.
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("refused to encode anything but latin1 text")
    return text.encode("latin1")


def _make_empty_bytes() -> bytes:
    # Python 3 writes b"" like this in the protocols of Python 2.
    return b""


_NDARRAY = _Maker(_refuse_call)
_RECONSTRUCT = _Maker(_make_array)
_GLOBALS: dict[tuple[str, str], _Maker] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Maker(_DtypeRecord),
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("_codecs", "encode"): _Maker(_encode),
    ("__builtin__", "bytes"): _Maker(_make_empty_bytes),
}


def build_arrays(value: Any) -> Any:
    """Replace the array records in nested dicts, lists and tuples by arrays.

    Raises pickle.UnpicklingError for a structure more than a hundred deep, or that contains itself.
    """
    return _Builder().build(value, 0)


class _Builder:
    """Builds each container once, however often a hostile pickle refers to it."""

    def __init__(self) -> None:
        self.built: dict[int, Any] = {}

    def build(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is _ArrayRecord:
            return value.build()
        if kind in (_Maker, _DtypeRecord):
            raise pickle.UnpicklingError("refused to load a function or dtype as data")
        if kind not in (dict, list, tuple):
            return value
        if depth > 100:
            raise pickle.UnpicklingError("refused to load data nested more than 100 deep")
        # The pickled structure outlives this builder, so an id stands for one container.
        if id(value) not in self.built:
            self.built[id(value)] = self._build_items(value, depth + 1)
        return self.built[id(value)]

    def _build_items(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {self.build(k, depth): self.build(v, depth) for k, v in value.items()}
        return type(value)(self.build(item, depth) for item in value)
