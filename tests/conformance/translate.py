"""Translate samples and functions written for PyTorch into another framework's, and results back.

The other framework has PyTorch's names: `torch.add` becomes `flambeau.add`. A wrapper that a table
entry carries in place of a plain function is run as it stands, with its globals bound to the other
framework.
"""

import builtins
import contextlib
import functools
import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

# Namespaces whose functions users call, in the order in which a function is looked up.
PUBLIC_NAMESPACES = (
    "torch",
    "torch.nn.functional",
    "torch.linalg",
    "torch.fft",
    "torch.special",
    "torch.signal.windows",
    "torch.masked",
    "torch.sparse",
    "torch.autograd",
    "torch.nn.utils",
    "torch.nn.init",
    "torch.Tensor",
)
# NumPy has no such dtype: the bits travel as integers of the same width.
BIT_CARRIERS = {torch.bfloat16: torch.int16, torch.complex32: torch.int32}
FUNCTION_TYPES = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    functools.partial,
    torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
)
SPARSE_PARTS = {
    torch.sparse_coo: ("sparse_coo_tensor", ("indices", "values")),
    torch.sparse_csr: ("sparse_csr_tensor", ("crow_indices", "col_indices", "values")),
}
# The runner seeds before each call, so a wrapper need not save and restore the generator's state.
REPLACED_HELPERS = {"freeze_rng_state": contextlib.nullcontext}


class MissingError(Exception):
    """The framework lacks a function, module, dtype or the like."""


class UntranslatableError(Exception):
    """A sample holds something the runner cannot hand over."""


@functools.cache
def public_paths() -> dict[int, tuple[str, ...]]:
    """Map the id of each public function to its dotted paths below `torch`."""
    paths: dict[int, list[str]] = {}
    for namespace in PUBLIC_NAMESPACES:
        holder = _follow(torch, namespace.split(".")[1:])
        prefix = namespace.removeprefix("torch").lstrip(".")
        for name in dir(holder):
            value = getattr(holder, name, None)
            if callable(value):
                paths.setdefault(id(value), []).append(f"{prefix}.{name}".lstrip("."))
    return {key: tuple(value) for key, value in paths.items()}


def _follow(root: Any, names: list[str]) -> Any:
    """Follow attributes, importing submodules on the way where they are not loaded yet."""
    holder = root
    for name in names:
        if not hasattr(holder, name) and isinstance(holder, types.ModuleType):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"{holder.__name__}.{name}")
        holder = getattr(holder, name)
    return holder


class Translator:
    """Turn PyTorch's values, functions and wrappers into those of `framework`.

    One translator serves one sample: tensors that share a storage share it afterwards too.
    """

    def __init__(self, framework: types.ModuleType) -> None:
        self.framework = framework
        self._storages: dict[tuple[int, torch.dtype], Any] = {}
        self._tensors: dict[int, Any] = {}
        self._rebound: dict[int, Any] = {}
        self._keep: list[Any] = []  # ids above stay valid as long as their objects live

    # -- names -----------------------------------------------------------------------------------

    def lookup(self, path: str) -> Any:
        """Return the framework's object at a dotted path, or raise MissingError."""
        try:
            return _follow(self.framework, path.split("."))
        except AttributeError:
            raise MissingError(f"no {self.framework.__name__}.{path}") from None

    def function(self, fn: Callable[..., Any], hint: str = "") -> Callable[..., Any]:
        """Return the framework's counterpart of a PyTorch function; `hint` is its likely path."""
        if self.framework is torch:
            return fn
        if isinstance(fn, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
            return self.lookup("ops." + str(fn))
        paths = list(public_paths().get(id(fn), ()))
        if hint in paths:
            paths.sort(key=lambda path: path != hint)
        for path in paths:
            with contextlib.suppress(MissingError):
                return self.lookup(path)
        if paths:
            raise MissingError(f"no {self.framework.__name__}.{paths[0]}")
        if isinstance(fn, functools.partial):
            return functools.partial(
                self.function(fn.func), *self.value(fn.args), **self.value(fn.keywords)
            )
        if isinstance(fn, types.FunctionType) and _is_torch_helper(fn):
            return self.rebind(fn)
        if _belongs_to_torch(fn):
            raise MissingError(f"no counterpart of {_describe_function(fn)}")
        return fn

    def rebind(self, fn: types.FunctionType) -> Callable[..., Any]:
        """Copy a Python function with every PyTorch object it refers to replaced."""
        if fn.__name__ in REPLACED_HELPERS:
            return REPLACED_HELPERS[fn.__name__]
        if id(fn) in self._rebound:
            return self._rebound[id(fn)]
        scope: dict[str, Any] = {"__builtins__": builtins, "__name__": fn.__module__}
        cells = tuple(types.CellType() for _ in fn.__closure__ or ())
        copy = types.FunctionType(fn.__code__, scope, fn.__name__, None, cells)
        self._rebound[id(fn)] = copy
        self._keep.append(fn)
        for name in _global_names(fn.__code__):
            if name in fn.__globals__:
                scope[name] = self._or_missing(fn.__globals__[name])
        for cell, original in zip(cells, fn.__closure__ or (), strict=True):
            cell.cell_contents = self._or_missing(original.cell_contents)
        copy.__defaults__ = self.value(fn.__defaults__)
        copy.__kwdefaults__ = self.value(fn.__kwdefaults__)
        return copy

    def _or_missing(self, value: Any) -> Any:
        """Translate what a wrapper refers to; what is missing fails only when it is used."""
        try:
            return self.value(value)
        except MissingError as error:
            return _Absent(str(error))

    # -- values ----------------------------------------------------------------------------------

    def value(self, value: Any) -> Any:
        """Translate any argument: tensors, containers of them, dtypes, functions, plain values."""
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, torch.Size):
            return self.lookup("Size")(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._class(type(value))(*(self.value(item) for item in value))
        if isinstance(value, (tuple, list)):
            return type(value)(self.value(item) for item in value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, slice):
            return slice(*(self.value(part) for part in (value.start, value.stop, value.step)))
        return self._leaf(value)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
            return self.lookup(str(value).removeprefix("torch."))
        if isinstance(value, torch.device):
            return self.lookup("device")(str(value))
        if isinstance(value, torch.Generator):
            return self.lookup("Generator")().manual_seed(value.initial_seed())
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, torch.nn.Module):
            return self._layer(value)
        return self.function(value) if isinstance(value, FUNCTION_TYPES) else value

    def _module(self, module: types.ModuleType) -> Any:
        path = module.__name__.split(".")
        if path[0] != "torch" or self.framework is torch:
            return module
        return self.lookup(".".join(path[1:])) if path[1:] else self.framework

    def _layer(self, layer: torch.nn.Module) -> Any:
        """Make a layer again with the same settings; its parameters have values of their own."""
        kind = self.lookup(f"nn.{type(layer).__name__}")
        if type(layer) is torch.nn.TransformerEncoderLayer:
            return kind(**self.value(_encoder_layer_arguments(layer)))
        made = kind()
        for name in layer.__constants__:
            setattr(made, name, getattr(layer, name))
        return made

    def _class(self, kind: type) -> Any:
        if not _belongs_to_torch(kind) or self.framework is torch:
            return kind
        return self.lookup(f"{kind.__module__}.{kind.__qualname__}".removeprefix("torch."))

    # -- tensors ---------------------------------------------------------------------------------

    def tensor(self, source: torch.Tensor) -> Any:
        """Copy a tensor with its dtype, strides, storage offset, aliasing and `requires_grad`."""
        if id(source) in self._tensors:
            return self._tensors[id(source)]
        if source.is_quantized:
            raise UntranslatableError(f"{source.dtype} tensor")
        if source.device.type != "cpu":  # without data: error samples use `meta`
            empty, device = self.lookup("empty"), self.lookup("device")(str(source.device))
            return empty(tuple(source.shape), dtype=self._leaf(source.dtype), device=device)
        plain = source.detach().resolve_conj().resolve_neg()
        copy = self._view(plain) if plain.layout == torch.strided else self._sparse(plain)
        if source.requires_grad:
            copy = copy.requires_grad_(True)
        self._tensors[id(source)] = copy
        self._keep.append(source)
        return copy

    def _sparse(self, source: torch.Tensor) -> Any:
        make = SPARSE_PARTS.get(source.layout)
        if make is None:
            raise UntranslatableError(f"{source.layout} tensor")
        name, parts = make
        source = source.coalesce() if source.layout == torch.sparse_coo else source
        tensors = [self.tensor(getattr(source, part)()) for part in parts]
        return self.lookup(name)(*tensors, tuple(source.shape))

    def _view(self, source: torch.Tensor) -> Any:
        base = self._storage(source)
        size, stride, offset = tuple(source.shape), source.stride(), source.storage_offset()
        if source.is_contiguous() and offset == 0 and base.numel() == source.numel():
            return base.view(size)
        return base.as_strided(size, stride, offset)

    def _storage(self, source: torch.Tensor) -> Any:
        """Copy the whole storage behind a tensor as a 1-d tensor, once for all tensors over it."""
        storage = source.untyped_storage()
        key = (storage.data_ptr() or id(source), source.dtype)
        if key not in self._storages:
            flat = torch.empty(0, dtype=source.dtype)
            flat.set_(storage, 0, (storage.nbytes() // source.element_size(),))
            self._storages[key] = self._from_flat(flat)
            self._keep.append(source)
        return self._storages[key]

    def _from_flat(self, flat: torch.Tensor) -> Any:
        if self.framework is torch:
            return flat.clone()
        carrier = BIT_CARRIERS.get(flat.dtype)
        bits = flat if carrier is None else flat.view(carrier)
        # The clone owns its storage, so that the framework may resize it.
        copied = self.lookup("from_numpy")(bits.numpy().copy()).clone()
        return copied if carrier is None else copied.view(self._leaf(flat.dtype))

    def to_torch(self, value: Any) -> Any:
        """Translate a result back: tensors become PyTorch's, containers become tuples."""
        if isinstance(value, self.lookup("Tensor")):
            return self._tensor_to_torch(value)
        if isinstance(value, (tuple, list)):
            return tuple(self.to_torch(item) for item in value)
        if isinstance(value, dict):
            return {key: self.to_torch(item) for key, item in value.items()}
        if type(value).__name__ in ("dtype", "device", "layout", "memory_format"):
            return str(value).rpartition(".")[2]
        return value

    def _tensor_to_torch(self, value: Any) -> torch.Tensor:
        plain = value.detach()
        if isinstance(plain, torch.Tensor):
            return plain.resolve_conj().resolve_neg().clone()
        for resolve in ("resolve_conj", "resolve_neg"):
            plain = getattr(plain, resolve, lambda same=plain: same)()
        if value.is_sparse_csr:
            parts = (plain.crow_indices, plain.col_indices, plain.values)
            return torch.sparse_csr_tensor(*(self.to_torch(p()) for p in parts), tuple(value.shape))
        if value.is_sparse:
            index, values = (self.to_torch(part()) for part in (plain._indices, plain._values))
            made = torch.sparse_coo_tensor(index, values, tuple(plain.shape))
            return made._coalesced_(plain.is_coalesced())
        name = str(value.dtype).rpartition(".")[2]
        carrier = BIT_CARRIERS.get(getattr(torch, name))
        if carrier is None:
            return torch.from_numpy(plain.numpy().copy())
        bits = plain.contiguous().view(self._leaf(carrier))
        return torch.from_numpy(bits.numpy().copy()).view(getattr(torch, name))


class _Absent:
    """Stands for what the framework lacks; any use of it says so."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise MissingError(self._message)

    def __getattr__(self, name: str) -> Any:
        raise MissingError(self._message)


def _encoder_layer_arguments(layer: torch.nn.TransformerEncoderLayer) -> dict[str, Any]:
    return {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": layer.activation,
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
        "dtype": layer.linear1.weight.dtype,
    }


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Yield the names a function may look up in its globals, those of its inner functions too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _belongs_to_torch(value: Any) -> bool:
    module = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    owner = getattr(value, "__objclass__", None)
    return str(module).partition(".")[0] == "torch" or (
        owner is not None and owner is not value and _belongs_to_torch(owner)
    )


def _is_torch_helper(fn: types.FunctionType) -> bool:
    """Tell wrappers and test helpers, whose bodies may run on any framework."""
    module = fn.__module__ or ""
    return module.startswith(("torch.testing.", "torch.masked.")) or module == "contextlib"


def _describe_function(fn: Any) -> str:
    return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__name__', fn)}"
