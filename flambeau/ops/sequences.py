"""Tensors of numbers in a pattern: arange, linspace, logspace, eye; complex numbers from parts;
powers.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels import scalar
from .factory import (
    DTYPES,
    check_options,
    default_float,
    finish,
    read_dtype,
    read_number,
    take_out,
)
from .promotion import Promote
from .record import REGISTRY, composite, function, pointwise, primitive

_LONG = DTYPES["int64"]


# ---- steps ---------------------------------------------------------------------------------------


@function("arange")
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """start, start + step, ... up to but not including end; `arange(end)` starts at 0.

    int64 if all three are integers, else the default floating-point dtype.

    >>> import flambeau as torch
    >>> torch.arange(1, 2, 0.5)
    tensor([1.0000, 1.5000])
    """
    if layout is not None or device is not None:
        check_options("arange", layout, device)
    if end is None:
        start, end = 0, start
    plain = type(start) is type(end) is type(step) is int and dtype is out is None
    if plain and step and (end == start or (end > start) == (step > 0)) and not requires_grad:
        return core.fill_range(core.empty((-((start - end) // step),), _LONG), start, step)
    if not (type(start) is int and type(end) is int and type(step) is int):
        start, end, step = (
            read_number("arange", n, v) for n, v in (("start", start), ("end", end), ("step", step))
        )
    dtype = _range_dtype("arange", (start, end, step), out, dtype)
    if dtype is _LONG and not type(start) is type(end) is type(step) is int:
        if 0 < abs(step) < 1:
            raise ValueError(f"arange: step must be nonzero, but {step} as an int64 is 0")
        start, end, step = int(start), int(end), int(step)
    count = _count_steps("arange", start, end, step)
    return finish(_write_range("arange", count, start, step, out, dtype), requires_grad)


def _range_dtype(name: str, numbers: tuple, out: Tensor | None, dtype: Any) -> core.dtype:
    for x in numbers:
        if isinstance(x, complex):
            raise RuntimeError(f"{name}: expected real numbers, got {x}")
    if dtype is not None:
        return read_dtype(dtype)
    if out is not None:
        return out.dtype
    return default_float() if any(isinstance(x, float) for x in numbers) else _LONG


def _check_range(name: str, start: Any, end: Any, step: Any) -> None:
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"{name}: unsupported range: {start} -> {end}")
    if step == 0:
        raise RuntimeError(f"{name}: step must be nonzero")
    if (step > 0) != (end > start) and end != start:
        raise RuntimeError(
            f"{name}: upper bound and lower bound inconsistent with step sign: {start} -> {end} "
            f"by {step}"
        )


def _count_steps(name: str, start: Any, end: Any, step: Any) -> int:
    _check_range(name, start, end, step)
    if type(start) is int and type(end) is int and type(step) is int:
        return -((start - end) // step)
    return math.ceil((end - start) / step)


def _write_range(
    name: str, count: int, start: Any, step: Any, out: Tensor | None, dtype: core.dtype
) -> Tensor:
    if not dtype.is_floating_point:
        if dtype.is_complex or dtype.name == "bool":
            raise NotImplementedError(
                f'"{name}" not implemented for {dtype}: expected an integer or float dtype'
            )
        start, step = int(start), int(step)
    made = core.empty((count,), dtype) if out is None else take_out(name, out, (count,), dtype)
    if made.is_contiguous():
        return core.fill_range(made, start, step)
    core.copy_plain(made, core.fill_range(core.empty((count,), dtype), start, step))
    return made


@function("range")
def range_(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """start, start + step, ... up to and including end; deprecated in favour of arange."""
    core.not_replayable()
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior "
        "is inconsistent "
        "with Python's range builtin. Instead, use torch.arange, which produces values in [start, "
        "end).",
        UserWarning,
        stacklevel=2,
    )
    check_options("range", layout, device)
    if end is None:
        start, end = 0, start
    start, end, step = (
        read_number("range", n, v) for n, v in (("start", start), ("end", end), ("step", step))
    )
    _check_range("range", start, end, step)
    dtype = (
        read_dtype(dtype)
        if dtype is not None
        else out.dtype
        if out is not None
        else default_float()
    )
    count = math.floor((end - start) / step) + 1
    return finish(_write_range("range", count, start, step, out, dtype), requires_grad)


# ---- evenly spaced -------------------------------------------------------------------------------


@function("linspace")
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """`steps` evenly spaced numbers from start to end, both included.

    >>> import flambeau as torch
    >>> torch.linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    check_options("linspace", layout, device)
    start, end, dtype = _read_ends("linspace", start, end, steps, out, dtype)
    made = _space(start, end, steps, dtype)
    return finish(made if out is None else _deliver("linspace", out, made), requires_grad)


def _read_ends(
    name: str, start: Any, end: Any, steps: int, out: Tensor | None, dtype: Any
) -> tuple:
    ranks = [x.dim() if isinstance(x, Tensor) else 0 for x in (start, end)]
    if any(ranks):
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got start with "
            f"{ranks[0]} dimension(s) "
            f"and end with {ranks[1]} dimension(s)."
        )
    if not isinstance(steps, int):
        raise TypeError(f"{name}(): argument 'steps' must be int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError(f"{name}: number of steps must be non-negative, got {steps}")
    start, end = read_number(name, "start", start), read_number(name, "end", end)
    has_complex = isinstance(start, complex) or isinstance(end, complex)
    if dtype is None:
        dtype = (
            out.dtype
            if out is not None
            else default_float().to_complex()
            if has_complex
            else default_float()
        )
    dtype = read_dtype(dtype)
    if has_complex and not dtype.is_complex:
        raise RuntimeError(
            f"torch.{name}(): inferred a complex dtype, which can't be safely cast to {dtype}"
        )
    return start, end, dtype


def _space(start: Any, end: Any, steps: int, dtype: core.dtype) -> Tensor:
    if not dtype.is_complex:
        if not dtype.is_floating_point:
            start, end = int(start), int(end)
        return core.fill_linspace(core.empty((steps,), dtype), start, end)
    made, part = core.empty((steps,), dtype), dtype.to_real()
    start, end = complex(start), complex(end)
    for i, (a, b) in enumerate(((start.real, end.real), (start.imag, end.imag))):
        row = core.fill_linspace(core.empty((steps,), part), a, b)
        core.copy_plain(core.strided_view_of(made, part, (steps,), (2,), i * part.itemsize), row)
    return made


def _deliver(name: str, out: Tensor, made: Tensor) -> Tensor:
    target = take_out(name, out, made.shape, made.dtype)
    core.copy_plain(target, made)
    return target


@function("logspace")
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """base raised to `steps` evenly spaced powers from start to end, both included.

    >>> import flambeau as torch
    >>> torch.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    check_options("logspace", layout, device)
    start, end, dtype = _read_ends("logspace", start, end, steps, out, dtype)
    if dtype.is_floating_point or dtype.is_complex:
        powers = _space(start, end, steps, dtype)
    else:
        powers = _space(int(start), int(end), steps, DTYPES["float64"])
    if dtype.is_floating_point and dtype.itemsize < 8:  # rounding hides what the kernel's is off
        made = REGISTRY["pow"](float(base), powers.to(DTYPES["float64"])).to(dtype)
    else:
        made = core.from_data([_raise(base, p) for p in powers.tolist()], dtype)
    return finish(made if out is None else _deliver("logspace", out, made), requires_grad)


def _raise(base: Any, power: Any) -> Any:
    """base ** power as C has it: infinite or NaN where Python raises or turns complex."""
    try:
        value = base**power
    except ZeroDivisionError:
        return math.inf
    except OverflowError:
        return math.inf
    return math.nan if isinstance(value, complex) and not isinstance(power, complex) else value


# ---- matrices ------------------------------------------------------------------------------------


@function("eye")
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A matrix with ones on the diagonal, n x n or n x m.

    >>> import flambeau as torch
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_options("eye", layout, device)
    m = n if m is None else m
    for name, value in (("n", n), ("m", m)):
        if not hasattr(value, "__index__"):
            raise TypeError(f"eye(): argument '{name}' must be int, not {type(value).__name__}")
        if value < 0:
            raise RuntimeError(f"eye: {name} must be greater or equal to 0, got {value}")
    if out is not None:
        made = take_out("eye", out, (n, m), dtype)
    else:
        made = core.empty((n, m), default_float() if dtype is None else read_dtype(dtype))
    core.fill_number(made, 0)
    diagonal = core.restride(made.detach(), (min(n, m),), (sum(made.stride()),))
    core.fill_number(diagonal, 1)
    return finish(made, requires_grad)


@composite(method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The Vandermonde matrix: column j holds x to the power N - 1 - j, or j if increasing.

    >>> import flambeau as torch
    >>> torch.vander(torch.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
    if x.dim() != 1:
        raise RuntimeError(
            f"vander: x must be a one-dimensional tensor, got shape {tuple(x.shape)}"
        )
    columns = x.shape[0] if N is None else N
    if columns < 0:
        raise RuntimeError(f"vander: N must be non-negative, got {columns}")
    if x.dtype.name == "bool" or not (x.is_floating_point() or x.is_complex()):
        x = REGISTRY["_to_copy"](x, _LONG) if x.dtype is not _LONG else x
    ones = REGISTRY["ones"]((x.shape[0], 1), dtype=x.dtype)
    if columns <= 1:
        return ones[:, :columns]
    powers = x.unsqueeze(1).expand(x.shape[0], columns - 1).cumprod(1)
    matrix = REGISTRY["cat"]((ones, powers), 1)
    return matrix if increasing else matrix.flip(1)


# ---- complex numbers from parts ------------------------------------------------------------------


@function("complex")
def complex_(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + imag * j, of two tensors of one floating-point dtype that broadcast together.

    >>> import flambeau as torch
    >>> torch.complex(torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([1.+2.j])
    """
    _check_parts("complex", real, imag)
    if out is None:
        return _join_parts(real, imag)
    if out.dtype is not real.dtype.to_complex():
        raise RuntimeError(
            f"complex: Expected object of scalar type {real.dtype.to_complex()} but got "
            f"{out.dtype} for argument 'out'"
        )
    return _join_parts(real, imag, out=out)


@pointwise(name="complex_of_parts", register=False, accepts="f", promote=Promote.COMPLEX)
def _pair_parts(real, imag):
    """real + imag * j."""
    return scalar.make_complex(real, imag)


@primitive(name="complex_of_parts", register=False, out=True)
def _join_parts(real: Tensor, imag: Tensor) -> Tensor:
    return _pair_parts(real, imag)


@_join_parts.vjp
def _(g, real_like, imag_like):
    return (
        core.sum_to_shape(REGISTRY["real"](g), real_like.shape),
        core.sum_to_shape(REGISTRY["imag"](g), imag_like.shape),
    )


def _check_parts(name: str, real: Tensor, imag: Tensor) -> None:
    allowed = ("float32", "float64")
    if real.dtype.name not in allowed or imag.dtype.name not in allowed:
        raise RuntimeError(
            f"{name}: Expected both inputs to be Float or Double tensors but got {real.dtype} and "
            f"{imag.dtype}"
        )
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"{name}: Expected object of scalar type {real.dtype} but got {imag.dtype} for second "
            "argument"
        )


@composite(method=False, out=True)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs * (cos(angle) + sin(angle) * j)."""
    _check_parts("polar", abs, angle)
    return complex_(abs * angle.cos(), abs * angle.sin())
