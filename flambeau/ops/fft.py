"""Discrete Fourier transforms.

Three primitives make all of them: complex to complex over several dimensions, real to half-complex
and back over one. Each one's derivative is another transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from . import fourier
from .dims import wrap_all
from .factory import check_options, default_float, finish, read_dtype
from .fourier import FULL, NONE, ROOT
from .record import alias, composite, primitive

# ---- primitives
# ------------------------------------------------------------------------------------------


@primitive(register=False)
def complex_transform(input, dims, scale, forward):
    """The transform of a complex tensor over dims, each of size at least 1."""
    return fourier.over_dims(input, dims, not forward, scale)


@complex_transform.vjp
def _(g, dims, scale, forward):
    return complex_transform(g, dims, scale, not forward)


@primitive(register=False)
def real_transform(input, dim, scale, conjugate):
    """The first half (n // 2 + 1 coefficients) of the forward transform of a real tensor."""
    return fourier.to_half(input, dim, input.shape[dim], scale, conjugate)


@real_transform.vjp
def _(g, input_like, dim, scale, conjugate):
    # every coefficient but the first (and the middle one of an even length) will stand for two
    n = input_like.shape[dim]
    return real_result(_scale_doubles(g, dim, n, 0.5), dim, n, scale, conjugate)


@primitive(register=False)
def real_result(input, dim, n, scale, conjugate):
    """The backward transform, n real numbers, of the first half of hermitian-symmetric
    coefficients.
    """
    return fourier.from_half(input, dim, n, scale, conjugate)


@real_result.vjp
def _(g, dim, n, scale, conjugate):
    return _scale_doubles(real_transform(g, dim, scale, conjugate), dim, n, 2.0)


def _scale_doubles(half: Tensor, dim: int, n: int, factor: float) -> Tensor:
    """Coefficients that stand for two, of n, times a factor."""
    if n < 3:
        return half
    factors = [1.0, *[factor] * ((n - 1) // 2), *[1.0] * (n % 2 == 0)]
    values = core.from_data(factors, half.dtype.to_real())
    return half * values.view(-1, *[1] * (half.dim() - 1 - dim))


def resize_dim(input: Tensor, dim: int, n: int) -> Tensor:
    """The first n elements along dim, zeros where there are not so many."""
    have = input.shape[dim]
    if have == n:
        return input
    if have > n:
        return input.narrow(dim, 0, n)
    from .join import cat

    shape = list(input.shape)
    shape[dim] = n - have
    return cat([input, input.new_zeros(shape)], dim)


# ---- reading arguments
# -----------------------------------------------------------------------------------


def _read_scale(name: str, norm: str | None, forward: bool) -> int:
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(
            f'{name}: Invalid normalization mode: "{norm}": '
            "expected 'backward', 'ortho' or 'forward'"
        )
    if norm == "ortho":
        return ROOT
    return FULL if (norm == "forward") == forward else NONE


def _promote(name: str, input: Tensor, complex_: bool) -> Tensor:
    """A float tensor (or a complex one, where the transform takes complex numbers)."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")
    dtype = input.dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        dtype = default_float()
    if dtype.name in ("float16", "bfloat16", "complex32"):
        raise RuntimeError(f"{name}: Unsupported dtype {dtype.name}: convert with .float()")
    if complex_ and not dtype.is_complex:
        dtype = dtype.to_complex()
    return input if input.dtype is dtype else input.to(dtype)


def _check_real(name: str, input: Tensor) -> None:
    if input.dtype.is_complex:
        raise RuntimeError(
            f"{name} expects a real input tensor, but got {input.dtype}: take .real or use fft"
        )


def _check_length(name: str, n: int) -> int:
    if n < 1:
        raise RuntimeError(f"{name}: Invalid number of data points ({n}) specified")
    return n


def _read_many(
    name: str, input: Tensor, s: Sequence[int] | int | None, dim: Sequence[int] | int | None
) -> tuple[tuple[int, ...], list[int | None]]:
    """(dimensions, sizes or None for the input's own) of a transform over several dimensions."""
    s = [s] if isinstance(s, int) else s
    dim = [dim] if isinstance(dim, int) else dim
    if dim is not None:
        dims = wrap_all(name, tuple(dim), input.dim())
        if s is not None and len(s) != len(dims):
            raise RuntimeError(
                f"{name}: When given, dim and shape arguments must have the same length, got "
                f"{tuple(dim)} and {tuple(s)}"
            )
    elif s is not None:
        if len(s) > input.dim():
            raise RuntimeError(
                f"{name}: Got shape with {len(s)} values but input tensor only has {input.dim()} "
                "dimensions."
            )
        dims = tuple(range(input.dim() - len(s), input.dim()))
    else:
        dims = tuple(range(input.dim()))
    sizes: list[int | None] = [None] * len(dims)
    if s is not None:
        sizes = [None if n == -1 else n for n in s]
    return dims, sizes


def _resize(name: str, input: Tensor, dims: Sequence[int], sizes: Sequence[int | None]) -> Tensor:
    for d, n in zip(dims, sizes, strict=True):
        n = _check_length(name, input.shape[d] if n is None else n)
        input = resize_dim(input, d, n)
    return input


# ---- the transforms
# ----------------------------------------------------------------------------------------


def _complex(name: str, forward: bool, input, s, dim, norm) -> Tensor:
    """fftn and ifftn."""
    input = _promote(name, input, True)
    dims, sizes = _read_many(name, input, s, dim)
    scale = _read_scale(name, norm, forward)
    return complex_transform(_resize(name, input, dims, sizes), dims, scale, forward)


def _from_real(name: str, forward: bool, input, s, dim, norm) -> Tensor:
    """rfftn, and ihfftn, its conjugate scaled as a backward transform."""
    _check_real(name, input)
    input = _promote(name, input, False)
    dims, sizes = _read_many(name, input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    scale = _read_scale(name, norm, forward)
    half = real_transform(_resize(name, input, dims, sizes), dims[-1], scale, not forward)
    return complex_transform(half, dims[:-1], scale, forward) if len(dims) > 1 else half


def _to_real(name: str, forward: bool, input, s, dim, norm) -> Tensor:
    """irfftn, and hfftn, the same of the conjugate scaled as a forward transform."""
    input = _promote(name, input, True)
    dims, sizes = _read_many(name, input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    scale = _read_scale(name, norm, forward)
    last = dims[-1]
    n = _check_length(name, 2 * (input.shape[last] - 1) if sizes[-1] is None else sizes[-1])
    input = _resize(name, input, dims, [*sizes[:-1], n // 2 + 1])
    if len(dims) > 1:
        input = complex_transform(input, dims[:-1], scale, forward)
    return real_result(input, last, n, scale, forward)


_KINDS = {
    "fft": (_complex, True, "The forward transform."),
    "ifft": (_complex, False, "The backward transform."),
    "rfft": (_from_real, True, "The first half of the forward transform of real numbers."),
    "irfft": (_to_real, False, "The backward transform of the first half of coefficients, real."),
    "hfft": (
        _to_real,
        True,
        "The forward transform, real, of the first half of a hermitian-symmetric signal.",
    ),
    "ihfft": (_from_real, False, "The first half of the backward transform of real numbers."),
}


def _register(kind: str) -> None:
    """The forms over one, two and any number of dimensions."""
    run, forward, doc = _KINDS[kind]

    def one(input, n=None, dim=-1, norm=None):
        if isinstance(input, Tensor) and input.dim() == 0:
            raise IndexError(
                f"fft_{kind}: Dimension specified as {dim} but tensor has no dimensions"
            )
        return run(f"fft_{kind}", forward, input, None if n is None else (n,), (dim,), norm)

    def two(input, s=None, dim=(-2, -1), norm=None):
        return run(f"fft_{kind}2", forward, input, s, dim, norm)

    def many(input, s=None, dim=None, norm=None):
        return run(f"fft_{kind}n", forward, input, s, dim, norm)

    for function, name, where in (
        (one, kind, "one dimension"),
        (two, f"{kind}2", "two dimensions"),
        (many, f"{kind}n", "dim"),
    ):
        function.__doc__ = (
            f"{doc[:-1]} over {where}; norm 'backward' scales the backward transform by 1/n."
        )
        function.__name__ = f"fft_{name}"
        op = composite(
            name=f"fft_{name}", namespaces=(), method=False, out=True, shortcut=f"fft_{name}"
        )(function)
        alias(name, op, namespaces=("fft",))


for _kind in _KINDS:
    _register(_kind)


# ---- orders of coefficients and their frequencies
# ----------------------------------------------------------


def _shift(name: str, input: Tensor, dim: Any, inverse: bool) -> Tensor:
    if dim is None:
        dims = tuple(range(input.dim()))
    else:
        dims = wrap_all(name, (dim,) if isinstance(dim, int) else tuple(dim), input.dim())
    if not dims:
        return input.clone()
    halves = [(input.shape[d] + 1) // 2 if inverse else input.shape[d] // 2 for d in dims]
    return input.roll(halves, dims)


def fftshift(input, dim=None):
    """The zero frequency moved to the middle along dim (None: every dimension)."""
    return _shift("fft_fftshift", input, dim, False)


def ifftshift(input, dim=None):
    """The inverse of fftshift."""
    return _shift("fft_ifftshift", input, dim, True)


def fftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of the n coefficients of a transform of samples d apart.

    >>> import flambeau as torch
    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    ranges = (0, (n + 1) // 2), (-(n // 2), 0)
    return _frequencies("fft_fftfreq", ranges, n, d, out, dtype, layout, device, requires_grad)


def rfftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of the n // 2 + 1 coefficients of a transform of n real samples d apart."""
    ranges = ((0, n // 2 + 1),)
    return _frequencies("fft_rfftfreq", ranges, n, d, out, dtype, layout, device, requires_grad)


def _frequencies(name, ranges, n, d, out, dtype, layout, device, requires_grad) -> Tensor:
    from .join import cat
    from .record import deliver
    from .sequences import arange

    check_options(name, layout, device)
    kind = default_float() if dtype is None else read_dtype(dtype)
    if out is not None and dtype is None:
        kind = out.dtype
    parts = [arange(first, end, dtype=kind) for first, end in ranges]
    made = (cat(parts) if len(parts) > 1 else parts[0]) * (1.0 / (n * d))
    return finish(made, requires_grad) if out is None else deliver(name, out, made)


for _function in (fftshift, ifftshift, fftfreq, rfftfreq):
    alias(
        _function.__name__,
        composite(name=f"fft_{_function.__name__}", namespaces=(), method=False)(_function),
        namespaces=("fft",),
    )
