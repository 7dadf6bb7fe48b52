"""Random tensors: the streams of core/random.pxi behind PyTorch's functions."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Generator, Tensor
from . import random_distributions, random_dropout, random_fill  # noqa: F401  register their ops
from .factory import (
    DTYPES,
    check_options,
    default_float,
    finish,
    new_like,
    read_dtype,
    read_size,
    take_out,
)
from .random_fill import (
    _FLOATS_AND_COMPLEX,
    check_accepts,
    check_integer_bounds,
    draw_into,
    pick_generator,
)
from .record import function

_LONG = DTYPES["int64"]


# ---- uniform and normal --------------------------------------------------------------------------


@function("rand", shortcut=True)
def rand(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Numbers from the uniform distribution on [0, 1).

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    made = _make("rand", size, named, out, dtype, layout, device)
    check_accepts("rand", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "uniform", (0.0, 1.0), pick_generator("rand", generator))
    return finish(made, requires_grad)


@function("randn", shortcut=True)
def randn(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Numbers from the normal distribution with mean 0 and variance 1.

    A complex result has real and imaginary parts of variance 1/2 each.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randn(2)
    tensor([ 1.5410, -0.2934])
    """
    made = _make("randn", size, named, out, dtype, layout, device)
    check_accepts("randn", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "normal", (0.0, 1.0, True), pick_generator("randn", generator))
    return finish(made, requires_grad)


def _make(name: str, size: tuple, named: dict, out, dtype, layout, device) -> Tensor:
    """The uninitialised result of a function that takes `*size` and the usual options."""
    if layout is not None or device is not None:
        check_options(name, layout, device)
    size = read_size(name, size, named)
    if out is not None:
        return take_out(name, out, size, dtype)
    return core.empty(size, default_float() if dtype is None else read_dtype(dtype))


@function("rand_like")
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the uniform distribution on [0, 1), in a tensor of input's shape."""
    check_options("rand_like", layout, device)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    check_accepts("rand_like", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "uniform", (0.0, 1.0), pick_generator("rand_like", generator))
    return finish(made, requires_grad)


@function("randn_like")
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the normal distribution with mean 0 and variance 1, in a tensor of input's
    shape.
    """
    check_options("randn_like", layout, device)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    check_accepts("randn_like", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "normal", (0.0, 1.0, True), pick_generator("randn_like", generator))
    return finish(made, requires_grad)


# ---- integers ------------------------------------------------------------------------------------


@function("randint")
def randint(
    *bounds_and_size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Integers from [low, high): `randint(high, size)` or `randint(low, high, size)`.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(0, 10, (4,))
    tensor([4, 9, 3, 0])
    """
    low, high, size = _read_randint(bounds_and_size, named)
    check_options("randint", layout, device)
    if out is not None:
        made = take_out("randint", out, size, dtype)
    else:
        made = core.empty(size, _LONG if dtype is None else read_dtype(dtype))
    return finish(
        _draw_integers(made, low, high, pick_generator("randint", generator)), requires_grad
    )


def _read_randint(given: tuple, named: dict) -> tuple:
    *bounds, size = given if "size" not in named else (*given, named.pop("size"))
    if not isinstance(size, tuple | list):
        raise TypeError(
            f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}"
        )
    if len(bounds) == 1 and "high" not in named:
        bounds = [named.pop("low", 0), *bounds]
    low = bounds[0] if bounds else named.pop("low", 0)
    high = bounds[1] if len(bounds) > 1 else named.pop("high", None)
    if named or high is None or len(bounds) > 2:
        raise TypeError(f"randint() takes ([low,] high, size), got {given} and {sorted(named)}")
    return _to_int(low), _to_int(high), size


def _to_int(value: Any) -> int:
    return int(value.item()) if isinstance(value, Tensor) else int(value)


def _draw_integers(made: Tensor, low: int, high: int, generator: Generator) -> Tensor:
    check_accepts("random_", made, _ALL_REAL)
    check_integer_bounds(made.dtype.name, low, high)
    return draw_into(made, "randint", (low, high), generator)


_ALL_REAL = frozenset(d.name for d in core.dtypes if not d.is_complex)


@function("randint_like")
def randint_like(
    input: Tensor,
    low: int = 0,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Integers from [low, high) in a tensor of input's shape and dtype; one bound is `high`."""
    check_options("randint_like", layout, device)
    low, high = (0, low) if high is None else (low, high)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    drawn = _draw_integers(
        made, _to_int(low), _to_int(high), pick_generator("randint_like", generator)
    )
    return finish(drawn, requires_grad)


_LARGEST_PERMUTATION = {
    "float16": 2049,
    "bfloat16": 257,
    "float32": 16777217,
    "float64": 9007199254740993,
}


@function("randperm")
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """The integers 0 .. n-1 in random order.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randperm(5)
    tensor([4, 0, 1, 3, 2])
    """
    check_options("randperm", layout, device)
    made = take_out("randperm", out, (n,), dtype) if out is not None else None
    if made is None:
        made = core.empty((n,), _LONG if dtype is None else read_dtype(dtype))
    check_accepts("randperm", made, _ALL_REAL - {"bool"})
    _check_permutation(n, made.dtype)
    if not made.is_contiguous():
        held = draw_into(
            core.empty((n,), made.dtype), "randperm", (), pick_generator("randperm", generator)
        )
        core.copy_plain(made, held)
        return finish(made, requires_grad)
    draw_into(made, "randperm", (), pick_generator("randperm", generator))
    return finish(made, requires_grad)


def _check_permutation(n: int, dtype: core.dtype) -> None:
    bits = 8 * dtype.itemsize - dtype.is_signed
    largest = _LARGEST_PERMUTATION.get(dtype.name, 1 << bits)
    if n > largest:
        raise RuntimeError(f"randperm: n cannot be greater than {largest} for {dtype}, got {n}")


# ---- the generator's state -----------------------------------------------------------------------


def _tensor_of_bytes(data: bytes) -> Tensor:
    made = core.empty((len(data),), core.dtypes[1])
    core.write_bytes(made, data)
    return made


def _bytes_of_tensor(state: Any) -> bytes:
    if not isinstance(state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    if state.dtype.name != "uint8":
        raise TypeError(f"RNG state must be a torch.ByteTensor, got a tensor of {state.dtype}")
    return core.read_bytes(core.contiguous_plain(state))


core._set_generator_hooks(_tensor_of_bytes, _bytes_of_tensor, core.device)
