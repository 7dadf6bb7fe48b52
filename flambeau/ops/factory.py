"""What every function that makes a tensor shares: reading sizes and the options dtype, device,
layout.
"""

from __future__ import annotations

from functools import lru_cache as remember_result
from typing import Any

from .. import core
from ..core import Tensor
from ..core import device as Device
from ..core import dtype as Dtype

CPU = Device("cpu")
STRIDED = core._core._LAYOUTS["strided"]
_PYTHON_TYPES = {float: "float64", int: "int64", bool: "bool", complex: "complex128"}
DTYPES = {d.name: d for d in core.dtypes + core.float8_dtypes}


def read_size(name: str, size: tuple, named: dict[str, Any] | None = None) -> Any:
    """The sizes given as `f(2, 3)`, `f((2, 3))`, `f([2, 3])` or `f(size=(2, 3))`."""
    if named:
        size = _named_size(name, size, named)
    if len(size) == 1:
        first = size[0]
        if type(first) is not int and isinstance(first, tuple | list):
            size = first  # type: ignore[assignment]
    elif not size:
        raise TypeError(f"{name}() missing the argument 'size': expected ints or a tuple of ints")
    for n in size:
        if type(n) is not int and not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument 'size' must be tuple of ints, not {type(n).__name__}"
            )
    return size


def _named_size(name: str, size: tuple, named: dict[str, Any]) -> tuple:
    if size or set(named) != {"size"}:
        unexpected = sorted(set(named) - {"size"}) or ["size"]
        raise TypeError(f"{name}() got an unexpected keyword argument '{unexpected[0]}'")
    return (named["size"],)


def read_dtype(dtype: Any) -> Dtype:
    """A dtype, or the one a Python type stands for."""
    if type(dtype) is Dtype:
        return dtype
    if dtype in _PYTHON_TYPES:
        return DTYPES[_PYTHON_TYPES[dtype]]
    raise TypeError(f"dtype: expected a torch.dtype such as torch.float32, got {dtype!r}")


def check_device(name: str, device: Any) -> None:
    """Accept the CPU; say what is missing for anything else. For "meta" see `flambeau._meta`."""
    if device is None or device is CPU:
        return
    wanted = device if type(device) is Device else Device(device)
    if wanted.type == "cpu":
        return
    if wanted.type == "meta":
        raise core.MetaRequest(f"{name}: there is no form of it for device='meta': use 'cpu'")
    raise RuntimeError(
        f"{name}: device '{wanted}' is not available: this build of Flambeau computes on the CPU "
        "only; "
        "use device='cpu'"
    )


def check_layout(name: str, layout: Any) -> None:
    """Accept the strided layout only."""
    if layout is not None and layout is not STRIDED:
        raise RuntimeError(f"{name}: layout {layout} is not supported: expected torch.strided")


def check_options(name: str, layout: Any, device: Any) -> None:
    """Check the two options that have one legal value each."""
    if device is not None and device is not CPU:
        check_device(name, device)
    if layout is not None and layout is not STRIDED:
        check_layout(name, layout)


def default_float() -> Dtype:
    """The dtype of floating-point tensors made without one."""
    return core.get_default_dtype()


def new_like(input: Tensor, dtype: Dtype, memory_format: Any = None) -> Tensor:
    """An uninitialised tensor of the same shape; keeps the strides of an input without gaps."""
    if memory_format is None or memory_format._name == "preserve_format":
        if input.is_contiguous():
            return core.empty(input.shape, dtype)
        return core.empty_strided(
            input.shape, preserved_strides(input.shape, input.stride()), dtype
        )
    return core.empty_strided(input.shape, format_strides(input.shape, memory_format), dtype)


@remember_result(maxsize=4096)
def preserved_strides(shape: tuple, stride: tuple) -> tuple:
    """Strides without gaps or repeats, in the order of dimensions that the given ones have."""
    packed, step = [0] * len(shape), 1
    for d in _order_by_stride(shape, stride):
        packed[d] = step
        step *= max(shape[d], 1)
    if all(n == 1 or a == b for n, a, b in zip(shape, stride, packed, strict=True)):
        return stride
    return tuple(packed)


def _order_by_stride(shape: tuple, stride: tuple) -> list[int]:
    """Dimensions from the innermost out: an insertion sort, as strides of 0 compare equal to all
    others.
    """
    order = list(range(len(shape) - 1, -1, -1))
    for i in range(1, len(order)):
        current = i
        for other in range(i - 1, -1, -1):
            a, b = order[other], order[current]
            if stride[a] == 0 or stride[b] == 0:
                continue
            if stride[a] > stride[b] or (stride[a] == stride[b] and shape[a] > shape[b]):
                order[other], order[current] = b, a
                current = other
            elif stride[a] < stride[b]:
                break
    return order


def dense_strides(shape: tuple) -> tuple:
    """Row-major strides."""
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= max(n, 1)
    return tuple(reversed(steps))


_FORMAT_ORDER = {"channels_last": (4, (0, 2, 3, 1)), "channels_last_3d": (5, (0, 2, 3, 4, 1))}


def format_strides(shape: tuple, memory_format: Any) -> tuple:
    """Strides of a new tensor in a memory format."""
    name = memory_format._name
    if name == "contiguous_format":
        return dense_strides(shape)
    rank, order = _FORMAT_ORDER[name]
    if len(shape) != rank:
        raise RuntimeError(
            f"required rank {rank} tensor to use {name} format, got shape {tuple(shape)}"
        )
    steps, step = [0] * rank, 1
    for d in reversed(order):
        steps[d] = step
        step *= max(shape[d], 1)
    return tuple(steps)


def finish(made: Tensor, requires_grad: bool) -> Tensor:
    """The new tensor, a leaf that records if asked for."""
    return made.requires_grad_() if requires_grad else made


def take_out(name: str, out: Tensor, size: Any, dtype: Any) -> Tensor:
    """The out= tensor resized to the result's shape; it must have the dtype asked for."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if dtype is not None and read_dtype(dtype) is not out.dtype:
        raise RuntimeError(
            f"{name}: dtype {dtype} does not match dtype of out parameter ({out.dtype})"
        )
    if core.needs_history(out):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if tuple(out.shape) != tuple(size):
        core.resize_(out, size)
    core.bump_version(out)
    return out


def read_ints(name: str, argument: str, values: Any) -> tuple[int, ...]:
    """A tuple of ints from a sequence of them (or of 0-d integer tensors)."""
    try:
        return tuple(v if type(v) is int else v.__index__() for v in values)
    except (TypeError, AttributeError):
        raise TypeError(
            f"{name}(): argument '{argument}' must be tuple of ints, got {values!r}"
        ) from None


def read_number(name: str, argument: str, value: Any) -> Any:
    """A Python number from a number or a 0-d tensor."""
    if isinstance(value, Tensor):
        if value.dim():
            raise TypeError(
                f"{name}(): argument '{argument}' must be Number, not a tensor of shape "
                f"{tuple(value.shape)}"
            )
        return value.item()
    if isinstance(value, int | float | complex):
        return value
    for convert in ("__index__", "__float__", "__complex__"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"{name}(): argument '{argument}' must be Number, not {type(value).__name__}")
