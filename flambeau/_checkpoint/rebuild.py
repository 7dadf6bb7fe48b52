"""What a checkpoint's globals stand for: tensors from storages, and a few plain types.

The names are PyTorch's, so that its files can be read here and ours there.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import flambeau
from flambeau import _meta
from flambeau.core import from_storage  # type: ignore[attr-defined]
from flambeau.ops.storage import TypedStorage

from .errors import CheckpointError
from .location import MetaStorage
from .unpickler import Allowed, check_key

_MAX_DIM = 64
_MAX_INT64 = (1 << 63) - 1
# Dtypes with a storage class of their own; the others travel with an UntypedStorage and their name.
_STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}
_OTHER_DTYPES = (
    *("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_STORAGE_OF_DTYPE = {dtype: storage for storage, dtype in _STORAGE_DTYPES.items()}


def get_dtype_name(dtype: Any) -> str:
    """`flambeau.float32` -> "float32"."""
    return str(dtype).rpartition(".")[2]


def get_storage_class(dtype: Any) -> str | None:
    """The name of PyTorch's storage class for a dtype; None for those that have none."""
    return _STORAGE_OF_DTYPE.get(get_dtype_name(dtype))


@dataclass(frozen=True)
class StorageKind:
    """The storage class that a persistent id names: its dtype, None for an untyped storage."""

    dtype: Any

    @property
    def itemsize(self) -> int:
        return 1 if self.dtype is None else self.dtype.itemsize


# ---- tensors -------------------------------------------------------------------------------------


def _rebuild_tensor_from_bytes(
    storage: Any, dtype: Any, storage_offset: int, size: tuple, stride: tuple
) -> Any:
    """The one place that makes a tensor over a storage, with everything a file says checked first.

    Tensors made over one storage share its memory.
    """
    _check_geometry(storage, dtype, storage_offset, size, stride)
    if type(storage) is MetaStorage:
        return _meta.make(size, dtype, stride)
    return from_storage(storage, dtype, storage_offset, size, stride)


def _check_geometry(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> None:
    if type(size) is not tuple and not isinstance(size, flambeau.Size):
        raise CheckpointError(f"a tensor's size must be a tuple, not {type(size).__name__}")
    numbers = (offset, *size, *stride)
    if any(type(number) is not int for number in numbers):
        raise CheckpointError("a tensor's offset, sizes and strides must be integers")
    if len(size) != len(stride) or len(size) > _MAX_DIM:
        raise CheckpointError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    if any(number < 0 or number > _MAX_INT64 for number in numbers):
        raise CheckpointError(
            f"a tensor of size {tuple(size)}, stride {stride} and offset {offset} is impossible"
        )
    _check_extent(storage, dtype.itemsize, offset, size, stride)


def _check_extent(storage: Any, itemsize: int, offset: int, size: tuple, stride: tuple) -> None:
    numel = 1
    for length in size:
        numel *= length
    if numel * itemsize > _MAX_INT64:
        raise CheckpointError(f"a tensor of size {tuple(size)} is too large")
    last = sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    wanted = (offset + last + 1) * itemsize if numel else offset * itemsize
    if wanted > storage.nbytes():
        raise CheckpointError(
            f"a tensor of size {tuple(size)}, stride {tuple(stride)} and offset {offset} needs"
            f" {wanted} bytes, but its storage has {storage.nbytes()}"
        )


def _rebuild_tensor(storage: Any, storage_offset: Any, size: Any, stride: Any) -> Any:
    if not isinstance(storage, TypedStorage):
        raise CheckpointError("a tensor is to be built on something that is no storage")
    untyped = storage.untyped()
    return _rebuild_tensor_from_bytes(untyped, storage.dtype, storage_offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> Any:
    tensor = _rebuild_tensor(storage, storage_offset, size, stride)
    return _finish_tensor(tensor, requires_grad, metadata)


def _rebuild_tensor_v3(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Any:
    if not isinstance(storage, TypedStorage) or not isinstance(dtype, flambeau.dtype):
        raise CheckpointError("a tensor is to be built on something that is no storage")
    tensor = _rebuild_tensor_from_bytes(storage.untyped(), dtype, storage_offset, size, stride)
    return _finish_tensor(tensor, requires_grad, metadata)


def _rebuild_meta_tensor_no_storage(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> Any:
    if not isinstance(dtype, flambeau.dtype):
        raise CheckpointError("a tensor without data is to be built without a dtype")
    _check_geometry(MetaStorage(_MAX_INT64), dtype, 0, size, stride)
    return _finish_tensor(_meta.make(size, dtype, stride), requires_grad, None)


def _finish_tensor(tensor: Any, requires_grad: Any, metadata: Any) -> Any:
    """Backward hooks are not restored: what stands in their place in a file is always empty."""
    if isinstance(metadata, dict) and (metadata.get("conj") or metadata.get("neg")):
        # These copy: a tensor that is expanded must not become an allocation of its whole size.
        if _is_expanded(tensor):
            raise CheckpointError("an expanded tensor cannot be conjugated or negated")
        tensor = tensor.conj() if metadata.get("conj") else tensor
        tensor = tensor.neg() if metadata.get("neg") else tensor
    if requires_grad is True:
        tensor.requires_grad_()
    return tensor


def _is_expanded(tensor: Any) -> bool:
    return tensor.numel() * tensor.dtype.itemsize > tensor.untyped_storage().nbytes()


def _rebuild_sparse_tensor(layout: Any, data: Any) -> Any:
    """A sparse tensor of the parts in a file, with every index checked."""
    known = layout is flambeau.sparse_coo or layout is flambeau.sparse_csr
    if not known or not isinstance(data, tuple) or len(data) not in (3, 4):
        raise CheckpointError(f"sparse tensors of layout {layout} cannot be loaded")
    split = 3 if layout is flambeau.sparse_csr else 2
    parts, size, rest = data[:split], data[split], data[split + 1 :]
    if any(type(part) is not flambeau.Tensor or not part.dim() for part in parts):
        raise CheckpointError("a sparse tensor is to be built on something that is none")
    if any(part.dtype not in (flambeau.int64, flambeau.int32) for part in parts[:-1]):
        raise CheckpointError("the indices of a sparse tensor must be integers")
    if any(type(n) is not int for n in size):
        raise CheckpointError("the sizes of a sparse tensor must be integers")
    if any(map(_is_expanded, parts)):
        raise CheckpointError("the parts of a sparse tensor must not be expanded")
    is_coalesced = len(rest) == 1 and rest[0] is True
    try:
        if layout is flambeau.sparse_csr:
            return flambeau.sparse_csr_tensor(*parts, size)
        return flambeau.sparse_coo_tensor(*parts, size, is_coalesced=is_coalesced)
    except (RuntimeError, IndexError) as error:
        raise CheckpointError(f"a sparse tensor in the file is damaged: {error}") from None


def _rebuild_parameter(data: Any, requires_grad: Any, backward_hooks: Any) -> Any:
    if not isinstance(data, flambeau.Tensor):
        raise CheckpointError("a parameter is to be built on something that is no tensor")
    return flambeau.nn.Parameter(data, requires_grad is True)


def _rebuild_parameter_with_state(
    data: Any, requires_grad: Any, backward_hooks: Any, state: Any
) -> Any:
    parameter = _rebuild_parameter(data, requires_grad, backward_hooks)
    set_attributes(parameter, state)
    return parameter


def _rebuild_from_type_v2(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    if function not in (_rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter):
        raise CheckpointError("a tensor is to be built by an unknown function")
    if not (isinstance(kind, type) and issubclass(kind, flambeau.Tensor)):
        raise CheckpointError(f"a tensor is to be of the type {kind!r}, which is none of tensors")
    tensor = function(*arguments)
    if kind in (flambeau.Tensor, flambeau.nn.Parameter):
        set_attributes(tensor, state)
        return tensor
    tensor = tensor.as_subclass(kind)  # a class that the user has allowed: no other has a name
    restore_state(tensor, state)
    return tensor


def set_attributes(instance: Any, state: Any) -> None:
    """Set data attributes; a name that Python or the class itself gives a meaning is refused."""
    if isinstance(state, tuple) and len(state) == 2 and not state[1]:
        state = state[0]
    if not isinstance(state, dict):
        raise CheckpointError("the attributes of an object must be a dict")
    for name in state:
        if not isinstance(name, str) or name.startswith("__") or hasattr(type(instance), name):
            raise CheckpointError(f"the attribute {name!r} must not be set by a file")
    instance.__dict__.update(state)


def restore_state(instance: Any, state: Any) -> None:
    """As `pickle` does it: `__setstate__` of the class, else attributes and slots."""
    restore = getattr(type(instance), "__setstate__", None)
    if restore is not None and restore is not getattr(flambeau.Tensor, "__setstate__", None):
        instance.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)


# ---- the types beside tensors --------------------------------------------------------------------


def _make_ordered_dict(*arguments: Any) -> OrderedDict:
    pairs = arguments[0] if arguments else ()
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _make_counter(*arguments: Any) -> Counter:
    if arguments and not isinstance(arguments[0], dict):
        raise CheckpointError("a Counter is made from a dict")
    return Counter(*arguments)


def _make_default_dict(factory: Any = None, *rest: Any) -> defaultdict:
    if rest or factory not in (None, *_FACTORIES):
        raise CheckpointError("a defaultdict may only make empty containers and numbers")
    return defaultdict(factory)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise CheckpointError("only latin1 text can be encoded")
    return text.encode("latin1")


def _make_bytearray(*arguments: Any) -> bytearray:
    if len(arguments) == 2:
        return bytearray(_encode(*arguments))
    # Not a number: bytearray(n) would allocate n bytes.
    if arguments and not isinstance(arguments[0], (bytes, bytearray)):
        raise CheckpointError("a bytearray is made from bytes")
    return bytearray(*arguments)


def _make_set(items: Any = ()) -> set:
    return {check_key(item) for item in items}


def _make_frozenset(items: Any = ()) -> frozenset:
    return frozenset(check_key(item) for item in items)


def _make_size(sizes: Any = ()) -> Any:
    if any(type(size) is not int for size in sizes):
        raise CheckpointError("the sizes of a Size must be integers")
    return flambeau.Size(sizes)


def _get_layout(name: Any) -> Any:
    layout = getattr(flambeau, str(name).removeprefix("torch."), None)
    if not isinstance(layout, flambeau.layout):
        raise CheckpointError(f"there is no layout {name!r}")
    return layout


_FACTORIES = (list, dict, set, int, float, str, tuple)


@cache
def get_allowed_globals() -> dict[str, Allowed]:
    """The globals that every checkpoint may use, by full name."""
    table: dict[str, tuple[Any, Callable | None]] = {
        "collections.OrderedDict": (OrderedDict, _make_ordered_dict),
        "collections.Counter": (Counter, _make_counter),
        "collections.defaultdict": (defaultdict, _make_default_dict),
        "_codecs.encode": (_encode, _encode),
        "builtins.bytearray": (bytearray, _make_bytearray),
        "builtins.set": (set, _make_set),
        "builtins.frozenset": (frozenset, _make_frozenset),
        "builtins.complex": (complex, complex),
        "torch.Size": (flambeau.Size, _make_size),
        "torch.device": (flambeau.device, flambeau.device),
        "torch.Tensor": (flambeau.Tensor, None),
        "torch.nn.parameter.Parameter": (flambeau.nn.Parameter, None),
        "torch._tensor._rebuild_from_type_v2": (_rebuild_from_type_v2, _rebuild_from_type_v2),
        "torch.serialization._get_layout": (_get_layout, _get_layout),
        "torch.storage.UntypedStorage": (StorageKind(None), None),
    }
    for function in _REBUILDERS:
        table[f"torch._utils.{function.__name__}"] = (function, function)
    for name in _STORAGE_DTYPES:
        table[f"torch.{name}"] = (StorageKind(getattr(flambeau, _STORAGE_DTYPES[name])), None)
    for name in (*_STORAGE_DTYPES.values(), *_OTHER_DTYPES):
        if hasattr(flambeau, name):
            table[f"torch.{name}"] = (getattr(flambeau, name), None)
    for factory in _FACTORIES:
        table.setdefault(f"builtins.{factory.__name__}", (factory, None))
    return {
        name: Allowed(name, value, call, measure=_MEASURES.get(call))
        for name, (value, call) in table.items()
    }


def _measure_metadata(place: int) -> Callable[[tuple], int]:
    """The elements copied when the argument at `place` asks for a conjugate or a negative."""

    def measure(arguments: tuple) -> int:
        size = arguments[2] if len(arguments) > place and arguments[place] else ()
        is_sound = len(size) <= _MAX_DIM and all(type(n) is int and n <= _MAX_INT64 for n in size)
        return math.prod(size) if size and is_sound else 0  # the call refuses any other

    return measure


def _measure_sparse(arguments: tuple) -> int:
    parts = arguments[1] if len(arguments) == 2 and isinstance(arguments[1], tuple) else ()
    return sum(part.numel() for part in parts if isinstance(part, flambeau.Tensor))


def _measure_wrapped(arguments: tuple) -> int:
    measure = _MEASURES.get(arguments[0])
    return measure(arguments[2]) if measure else 0


_MEASURES: dict[Any, Callable[[tuple], int]] = {
    _rebuild_tensor_v2: _measure_metadata(6),
    _rebuild_tensor_v3: _measure_metadata(7),
    _rebuild_sparse_tensor: _measure_sparse,
    _rebuild_from_type_v2: _measure_wrapped,
}
_REBUILDERS: tuple[Callable, ...] = (
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
    _rebuild_meta_tensor_no_storage,
    _rebuild_sparse_tensor,
    _rebuild_parameter,
    _rebuild_parameter_with_state,
)
