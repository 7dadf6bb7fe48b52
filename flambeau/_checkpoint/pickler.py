"""Writing the pickle of a checkpoint, with PyTorch's names for all that it refers to."""

from __future__ import annotations

import ctypes
import pickle
import struct
import types
from collections import OrderedDict
from functools import cache, lru_cache
from typing import Any

import flambeau
from flambeau.ops.storage import TypedStorage

from .location import location_tag
from .rebuild import get_dtype_name, get_storage_class


class _TorchName:
    """A global of PyTorch's, to be written by name."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *arguments: Any) -> None:
        raise TypeError(f"{self.module}.{self.name} is only a name")


_name = cache(_TorchName)


class _StorageRef:
    """Stands for a storage in the arguments of a rebuild function."""

    def __init__(self, identity: tuple) -> None:
        self.identity = identity


class CheckpointPickler:
    """Pickles to `stream`; `storages` collects, by key, the storages that the pickle refers to.

    Mixed with a pickler written in Python by `make_pickler`. `is_legacy` writes the storages as the
    format before ZIP names them.
    """

    proto: int  # these five are the pickler's
    memo: Any
    get: Any
    write: Any
    memoize: Any

    def __init__(self, stream: Any, protocol: int, is_legacy: bool = False) -> None:
        super().__init__(stream, protocol)  # type: ignore[call-arg]
        self.storages: dict[str, Any] = {}
        self.itemsizes: dict[str, int] = {}
        self._is_legacy = is_legacy
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, str] = {}

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        """Write anything; a plain tensor at once, for which the base class would take 14 steps."""
        is_plain = type(value) is flambeau.Tensor and self.proto >= 2 and not value.__dict__
        if is_plain and id(value) not in self.memo:
            self._write_tensor(value)
        else:
            super().save(value, save_persistent_id)  # type: ignore[misc]

    def persistent_id(self, value: Any) -> Any:
        if type(value) is _StorageRef:
            return value.identity
        if isinstance(value, flambeau.UntypedStorage):
            return self._refer_to(value, None).identity
        if isinstance(value, TypedStorage):
            return self._refer_to(value.untyped(), value.dtype).identity
        return None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, flambeau.Tensor):
            return self._reduce_tensor(value)
        if isinstance(value, flambeau.Size):
            return _name("torch", "Size"), (tuple(value),)
        if isinstance(value, flambeau.device):
            index = () if value.index is None else (value.index,)
            return _name("torch", "device"), (value.type, *index)
        if isinstance(value, flambeau.layout):
            return _name("torch.serialization", "_get_layout"), (str(value),)
        return NotImplemented

    # ---- tensors ---------------------------------------------------------------------------------

    def _reduce_tensor(self, tensor: Any) -> Any:
        if flambeau.nn.parameter.is_lazy(tensor):
            return NotImplemented
        kind = type(tensor)
        if tensor.is_meta and not isinstance(tensor, flambeau.nn.Parameter):
            return _name("torch._utils", "_rebuild_meta_tensor_no_storage"), tensor.describe()
        if tensor.is_meta or issubclass(kind, flambeau.nn.Parameter):
            return self._reduce_parameter(tensor)
        if tensor.layout is not flambeau.strided:
            arguments = (tensor.layout, _list_parts(tensor))
            return _name("torch._utils", "_rebuild_sparse_tensor"), arguments
        if kind.__reduce_ex__ is not flambeau.Tensor.__reduce_ex__:
            return NotImplemented  # the subclass says for itself how it is pickled
        function, arguments = self._describe_tensor(tensor)
        state = dict(tensor.__dict__)
        if kind is flambeau.Tensor and not state:
            return function, arguments
        name = _name("torch", "Tensor") if kind is flambeau.Tensor else kind
        wrapped = (function, name, arguments, state)
        return _name("torch._tensor", "_rebuild_from_type_v2"), wrapped

    def _reduce_parameter(self, parameter: Any) -> Any:
        data, state = parameter.detach(), dict(parameter.__dict__)
        if data.is_meta:
            state.pop("_is_param")
        arguments: tuple = (data, parameter.requires_grad, OrderedDict())
        if not state:
            return _name("torch._utils", "_rebuild_parameter"), arguments
        return _name("torch._utils", "_rebuild_parameter_with_state"), (*arguments, state)

    def _describe_tensor(self, tensor: Any) -> tuple[_TorchName, tuple]:
        """The rebuild function and its arguments."""
        if tensor.requires_grad and not tensor.is_leaf:
            tensor = tensor.detach().requires_grad_()  # a file holds values, not graphs
        plain = tensor.resolve_conj().resolve_neg()
        storage = self._refer_to(plain.untyped_storage(), plain.dtype)
        geometry = (plain.storage_offset(), tuple(plain.shape), tuple(plain.stride()))
        common: tuple = (storage, *geometry, tensor.requires_grad, OrderedDict())
        if get_storage_class(plain.dtype) is None:
            return _name("torch._utils", "_rebuild_tensor_v3"), (*common, plain.dtype)
        return _name("torch._utils", "_rebuild_tensor_v2"), common

    def _refer_to(self, storage: Any, dtype: Any) -> _StorageRef:
        nbytes, address = storage.nbytes(), storage.data_ptr()
        class_name = None if dtype is None else get_storage_class(dtype)
        key = self._keys.get(address) if nbytes else None
        if key is None:
            key = str(len(self.storages))
            self.storages[key] = storage
            self.itemsizes[key] = 1 if class_name is None else dtype.itemsize
            if nbytes:
                self._keys[address] = key
        if nbytes and self._dtypes.setdefault(address, class_name or "") != (class_name or ""):
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different"
                " types"
            )
        if class_name is None:
            kind, count = _name("torch.storage", "UntypedStorage"), nbytes
        else:
            kind, count = _name("torch", class_name), nbytes // dtype.itemsize
        identity = ("storage", kind, key, location_tag(storage), count)
        return _StorageRef((*identity, None) if self._is_legacy else identity)

    def _write_tensor(self, tensor: Any) -> None:
        function, arguments = self._describe_tensor(tensor)
        storage, offset, shape, stride, requires_grad, _, *rest = arguments
        self._write_again(function)
        self.write(pickle.MARK)
        self._write_storage(*storage.identity)
        flag = pickle.NEWTRUE if requires_grad else pickle.NEWFALSE
        self.write(_encode_int(offset) + _encode_ints(shape) + _encode_ints(stride) + flag)
        self._write_again(OrderedDict)
        self.write(pickle.EMPTY_TUPLE + pickle.REDUCE)
        for part in rest:
            self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)
        self.memoize(tensor)

    def _write_storage(
        self, mark: str, kind: _TorchName, key: str, location: str, count: int, *rest: None
    ) -> None:
        self.write(pickle.MARK)
        self._write_again(mark)
        self._write_again(kind)
        self.write(pickle.BINUNICODE + struct.pack("<I", len(key)) + key.encode("ascii"))
        self._write_again(location)
        end = pickle.NONE * len(rest) + pickle.TUPLE + pickle.BINPERSID
        self.write(_encode_int(count) + end)

    def _write_again(self, value: Any) -> None:
        """Write what is likely to have been written before."""
        known = self.memo.get(id(value))
        if known is None:
            self.save(value)
        else:
            self.write(self.get(known[0]))

    # ---- globals ---------------------------------------------------------------------------------

    def _save_torch_name(self, value: _TorchName) -> None:
        self._write_global(value, value.module, value.name)

    def _save_dtype(self, value: Any) -> None:
        self._write_global(value, "torch", get_dtype_name(value))

    def _write_global(self, value: Any, module: str, name: str) -> None:
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(value)

    def save_global(self, value: Any, name: str | None = None) -> None:
        """Write a class or function by name, with PyTorch's package in place of ours."""
        path = name or getattr(value, "__qualname__", None) or value.__name__
        module = pickle.whichmodule(value, path)  # type: ignore[attr-defined]
        package, dot, rest = module.partition(".")
        if package == "flambeau":
            self._write_global(value, "torch" + dot + rest, path)
        else:
            super().save_global(value, name)  # type: ignore[misc]


@lru_cache(1 << 12)
def _encode_int(number: int) -> bytes:
    if 0 <= number < 1 << 8:
        return pickle.BININT1 + struct.pack("<B", number)
    if 0 <= number < 1 << 16:
        return pickle.BININT2 + struct.pack("<H", number)
    if -(1 << 31) <= number < 1 << 31:
        return pickle.BININT + struct.pack("<i", number)
    digits = pickle.encode_long(number)
    return pickle.LONG1 + struct.pack("<B", len(digits)) + digits


@lru_cache(1 << 12)
def _encode_ints(numbers: tuple[int, ...]) -> bytes:
    text = b"".join(map(_encode_int, numbers))
    ends = (pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
    if len(numbers) < len(ends):
        return text + ends[len(numbers)]
    return pickle.MARK + text + pickle.TUPLE


@cache
def make_pickler(base: Any) -> Any:
    """The checkpoint pickler over `base`, a pickler written in Python.

    (Those written in C insist on importing every global that they write.) ValueError for others.
    """
    plain: Any = pickle._Pickler  # type: ignore[attr-defined]
    if base is pickle.Pickler:
        base = plain
    if not isinstance(base, type) or not issubclass(base, plain):
        raise ValueError(
            f"save: the Pickler of pickle_module is {base!r}: it must be Python's own or a subclass"
            " of pickle._Pickler, as dill's is"
        )
    dispatch: dict[Any, Any] = base.dispatch.copy()  # type: ignore[attr-defined]
    dispatch[_TorchName] = CheckpointPickler._save_torch_name
    dispatch[flambeau.dtype] = CheckpointPickler._save_dtype
    if base is plain:
        dispatch[types.FunctionType] = CheckpointPickler.save_global
    return type("CheckpointPickler", (CheckpointPickler, base), {"dispatch": dispatch})


def _list_parts(tensor: Any) -> tuple:
    """What a file keeps of a sparse tensor."""
    if tensor.is_sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor._values(), tensor.shape
    return tensor._indices(), tensor._values(), tensor.shape, tensor.is_coalesced()


def view_storage(storage: Any) -> memoryview:
    """The bytes of a storage, writable and without a copy; `storage` must outlive the view."""
    nbytes = storage.nbytes()
    if nbytes == 0:
        return memoryview(bytearray())
    return memoryview((ctypes.c_ubyte * nbytes).from_address(storage.data_ptr())).cast("B")
