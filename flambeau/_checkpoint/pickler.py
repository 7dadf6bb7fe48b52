"""Writing the pickle of a checkpoint, with PyTorch's names for all that it refers to."""

from __future__ import annotations

import ctypes
import pickle
import types
from collections import OrderedDict
from functools import cache
from typing import Any

import flambeau

from .rebuild import get_dtype_name, get_storage_class


class _TorchName:
    """A global of PyTorch's, to be written by name."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *arguments: Any) -> None:
        raise TypeError(f"{self.module}.{self.name} is only a name")


_name = cache(_TorchName)
# Python's own implementation: the C one insists on importing every global that it writes.
_Pickler: Any = pickle._Pickler  # type: ignore[attr-defined]


class _StorageRef:
    """Stands for a storage in the arguments of a rebuild function."""

    def __init__(self, identity: tuple) -> None:
        self.identity = identity


class CheckpointPickler(_Pickler):
    """Pickles to `stream`; `storages` collects, by key, the storages that the pickle refers to."""

    dispatch = _Pickler.dispatch.copy()

    def __init__(self, stream: Any, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.storages: dict[str, Any] = {}
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, str] = {}

    def persistent_id(self, value: Any) -> Any:
        return value.identity if type(value) is _StorageRef else None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, flambeau.Tensor):
            return self._reduce_tensor(value)
        if isinstance(value, flambeau.Size):
            return _name("torch", "Size"), (tuple(value),)
        if isinstance(value, flambeau.device):
            index = () if value.index is None else (value.index,)
            return _name("torch", "device"), (value.type, *index)
        return NotImplemented

    # ---- tensors ---------------------------------------------------------------------------------

    def _reduce_tensor(self, tensor: Any) -> Any:
        if flambeau.nn.parameter.is_lazy(tensor):
            return NotImplemented
        if isinstance(tensor, flambeau.nn.Parameter):
            return self._reduce_parameter(tensor)
        if type(tensor) is not flambeau.Tensor:
            return NotImplemented  # a subclass says for itself how it is pickled
        function, arguments = self._describe_tensor(tensor)
        state = dict(tensor.__dict__)
        if not state:
            return function, arguments
        wrapped = (function, _name("torch", "Tensor"), arguments, state)
        return _name("torch._tensor", "_rebuild_from_type_v2"), wrapped

    def _reduce_parameter(self, parameter: Any) -> Any:
        data, state = parameter.detach(), dict(parameter.__dict__)
        arguments: tuple = (data, parameter.requires_grad, OrderedDict())
        if not state:
            return _name("torch._utils", "_rebuild_parameter"), arguments
        return _name("torch._utils", "_rebuild_parameter_with_state"), (*arguments, state)

    def _describe_tensor(self, tensor: Any) -> tuple[_TorchName, tuple]:
        """The rebuild function and its arguments."""
        if tensor.requires_grad and not tensor.is_leaf:
            tensor = tensor.detach().requires_grad_()  # a file holds values, not graphs
        plain = tensor.resolve_conj().resolve_neg()
        storage = self._refer_to(plain)
        geometry = (plain.storage_offset(), tuple(plain.shape), tuple(plain.stride()))
        common: tuple = (storage, *geometry, tensor.requires_grad, OrderedDict())
        if get_storage_class(plain.dtype) is None:
            return _name("torch._utils", "_rebuild_tensor_v3"), (*common, plain.dtype)
        return _name("torch._utils", "_rebuild_tensor_v2"), common

    def _refer_to(self, tensor: Any) -> _StorageRef:
        storage = tensor.untyped_storage()
        nbytes, address = storage.nbytes(), storage.data_ptr()
        class_name = get_storage_class(tensor.dtype)
        key = self._keys.get(address) if nbytes else None
        if key is None:
            key = str(len(self.storages))
            self.storages[key] = storage
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
            kind, count = _name("torch", class_name), nbytes // tensor.dtype.itemsize
        return _StorageRef(("storage", kind, key, str(tensor.device), count))

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
            super().save_global(value, name)

    dispatch[_TorchName] = _save_torch_name
    dispatch[flambeau.dtype] = _save_dtype
    dispatch[types.FunctionType] = save_global


def view_storage(storage: Any) -> memoryview:
    """The bytes of a storage, writable and without a copy; `storage` must outlive the view."""
    nbytes = storage.nbytes()
    if nbytes == 0:
        return memoryview(bytearray())
    return memoryview((ctypes.c_ubyte * nbytes).from_address(storage.data_ptr())).cast("B")
