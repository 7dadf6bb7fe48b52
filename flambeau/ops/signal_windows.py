"""Window functions: `torch.hann_window` and its kin, and the functions of
`torch.signal.windows`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from .. import core
from ..core import Tensor
from .factory import STRIDED, check_device, check_options, default_float, finish, read_dtype
from .record import NAMESPACES, REGISTRY

WINDOWS: dict[str, Callable] = {}  # what flambeau.signal.windows offers


def _check(name: str, length: Any, dtype: Any, layout: Any, device: Any) -> core.dtype:
    check_options(name, layout, device)
    if not hasattr(length, "__index__"):
        raise TypeError(
            f"{name}(): argument 'window_length' must be int, not {type(length).__name__}"
        )
    if length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={length}"
        )
    dtype = default_float() if dtype is None else read_dtype(dtype)
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    return dtype


def _places(length: int, dtype: core.dtype) -> Tensor:
    return REGISTRY["arange"](length, dtype=dtype)


def _periodic(formula: Callable, length: int, periodic: bool, dtype: core.dtype) -> Tensor:
    """formula(n) at n points; a periodic window is one point longer, with the last left out."""
    if length <= 1:
        return REGISTRY["ones"]((length,), dtype=dtype)
    whole = formula(length + 1 if periodic else length)
    return whole[:length].contiguous() if periodic else whole


def _cosines(weights: Iterable[float], points: int, dtype: core.dtype) -> Tensor:
    """sum over k of (-1)^k * weights[k] * cos(2 pi k n / (points - 1))."""
    n = _places(points, dtype)
    total = None
    for k, weight in enumerate(weights):
        term = (n * (2 * math.pi * k / (points - 1))).cos() * ((-1) ** k * weight)
        total = term if total is None else total + term
    assert total is not None
    return total


def _window(name: str, formula: Callable) -> None:
    """Register `torch.NAME(window_length, periodic=True, <parameters>, *, dtype=None, ...)`."""
    NAMESPACES[""][name] = REGISTRY[name] = core.Op(name, None, formula)


def hann_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad: bool = False,
) -> Tensor:
    """0.5 - 0.5 cos(2 pi n / (N - 1)).

    >>> import flambeau as torch
    >>> torch.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    dtype = _check("hann_window", window_length, dtype, layout, device)
    made = _periodic(lambda n: _cosines((0.5, 0.5), n, dtype), window_length, periodic, dtype)
    return finish(made, requires_grad)


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad: bool = False,
) -> Tensor:
    """alpha - beta cos(2 pi n / (N - 1))."""
    dtype = _check("hamming_window", window_length, dtype, layout, device)
    made = _periodic(lambda n: _cosines((alpha, beta), n, dtype), window_length, periodic, dtype)
    return finish(made, requires_grad)


def blackman_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad: bool = False,
) -> Tensor:
    """0.42 - 0.5 cos(2 pi n / (N - 1)) + 0.08 cos(4 pi n / (N - 1))."""
    dtype = _check("blackman_window", window_length, dtype, layout, device)
    made = _periodic(
        lambda n: _cosines((0.42, 0.5, 0.08), n, dtype), window_length, periodic, dtype
    )
    return finish(made, requires_grad)


def bartlett_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad: bool = False,
) -> Tensor:
    """1 - |2n / (N - 1) - 1|: a triangle."""
    dtype = _check("bartlett_window", window_length, dtype, layout, device)

    def triangle(points: int) -> Tensor:
        return 1 - (_places(points, dtype) * (2 / (points - 1)) - 1).abs()

    return finish(_periodic(triangle, window_length, periodic, dtype), requires_grad)


def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory=False,
    requires_grad: bool = False,
) -> Tensor:
    """I0(beta sqrt(1 - (2n / (N - 1) - 1)^2)) / I0(beta), I0 the modified Bessel function of order
    0.
    """
    dtype = _check("kaiser_window", window_length, dtype, layout, device)
    made = _periodic(lambda n: _kaiser(n, beta, dtype), window_length, periodic, dtype)
    return finish(made, requires_grad)


def _kaiser(points: int, beta: float, dtype: core.dtype) -> Tensor:
    bessel = NAMESPACES["special"]["i0"]
    x = _places(points, dtype) * (2 / (points - 1)) - 1
    inside = (1 - x * x).clamp(min=0).sqrt() * beta
    return bessel(inside) / bessel(core.from_data(float(beta), dtype))


for _name, _function in (
    ("hann_window", hann_window),
    ("hamming_window", hamming_window),
    ("blackman_window", blackman_window),
    ("bartlett_window", bartlett_window),
    ("kaiser_window", kaiser_window),
):
    _window(_name, _function)


# ---- torch.signal.windows ------------------------------------------------------------------------


def _signal(formula: Callable) -> Callable:
    """Give a formula the checks and the options that all functions of torch.signal.windows share.

    formula(points, dtype, <parameters>) computes a symmetric window; sym=False a periodic one.
    """
    name = formula.__name__

    def window(
        M: int,
        *,
        sym: bool = True,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        **parameters: Any,
    ) -> Tensor:
        if layout is not None and layout is not STRIDED:
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        check_device(name, device)
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        dtype = default_float() if dtype is None else read_dtype(dtype)
        if dtype.name not in ("float32", "float64"):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
        if M == 0:
            return finish(core.empty((0,), dtype), requires_grad)
        made = formula(M, dtype, sym, **parameters)
        return finish(made.contiguous(), requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = formula.__doc__
    WINDOWS[name] = window
    return window


def _centred(M: int, sym: bool, dtype: core.dtype) -> Tensor:
    """n - (N - 1) / 2, where a periodic window counts one point more."""
    return _places(M, dtype) - ((M if not sym and M > 1 else M - 1) / 2)


def _weighted(M: int, dtype: core.dtype, sym: bool, weights: Iterable[float]) -> Tensor:
    if M == 1:
        return REGISTRY["ones"]((1,), dtype=dtype)
    return _periodic(lambda n: _cosines(weights, n, dtype), M, not sym, dtype)


@_signal
def exponential(M, dtype, sym, *, center: float | None = None, tau: float = 1.0):
    """exp(-|n - center| / tau); center is (M - 1) / 2 unless given (with sym=False only)."""
    if tau <= 0:
        raise ValueError(f"exponential: Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("exponential: Center must be None for symmetric windows")
    if center is None:
        center = (M if not sym and M > 1 else M - 1) / 2
    return (-(_places(M, dtype) - center).abs() / tau).exp()


@_signal
def cosine(M, dtype, sym):
    """sin(pi (n + 1/2) / N)."""
    points = M if sym or M == 1 else M + 1
    return ((_places(M, dtype) + 0.5) * (math.pi / points)).sin()


@_signal
def gaussian(M, dtype, sym, *, std: float = 1.0):
    """exp(-(n - (N - 1) / 2)^2 / (2 std^2))."""
    if std <= 0:
        raise ValueError(f"gaussian: Standard deviation must be positive, got: {std} instead.")
    k = _centred(M, sym, dtype) * (1 / (std * math.sqrt(2)))
    return (-(k * k)).exp()


@_signal
def kaiser(M, dtype, sym, *, beta: float = 12.0):
    """I0(beta sqrt(1 - (2n / (N - 1) - 1)^2)) / I0(beta)."""
    if beta < 0:
        raise ValueError(f"kaiser: beta must be non-negative, got: {beta} instead.")
    if M == 1:
        return REGISTRY["ones"]((1,), dtype=dtype)
    return _periodic(lambda n: _kaiser(n, beta, dtype), M, not sym, dtype)


@_signal
def hamming(M, dtype, sym):
    """0.54 - 0.46 cos(2 pi n / (N - 1))."""
    return _weighted(M, dtype, sym, (0.54, 0.46))


@_signal
def hann(M, dtype, sym):
    """0.5 - 0.5 cos(2 pi n / (N - 1))."""
    return _weighted(M, dtype, sym, (0.5, 0.5))


@_signal
def blackman(M, dtype, sym):
    """0.42 - 0.5 cos(2 pi n / (N - 1)) + 0.08 cos(4 pi n / (N - 1))."""
    return _weighted(M, dtype, sym, (0.42, 0.5, 0.08))


@_signal
def nuttall(M, dtype, sym):
    """A four-term cosine window (Nuttall 1981, minimum sidelobes)."""
    return _weighted(M, dtype, sym, (0.3635819, 0.4891775, 0.1365995, 0.0106411))


@_signal
def bartlett(M, dtype, sym):
    """1 - |2n / (N - 1) - 1|: a triangle."""
    if M == 1:
        return REGISTRY["ones"]((1,), dtype=dtype)
    points = M if sym else M + 1
    return 1 - (_places(M, dtype) * (2 / (points - 1)) - 1).abs()


@_signal
def general_cosine(M, dtype, sym, *, a: Iterable[float]):
    """sum over k of (-1)^k a[k] cos(2 pi k n / (N - 1))."""
    if not isinstance(a, Iterable):
        raise TypeError("general_cosine: Coefficients must be a list/tuple")
    a = list(a)
    if not a:
        raise ValueError("general_cosine: Coefficients cannot be empty")
    return _weighted(M, dtype, sym, a)


@_signal
def general_hamming(M, dtype, sym, *, alpha: float = 0.54):
    """alpha - (1 - alpha) cos(2 pi n / (N - 1))."""
    return _weighted(M, dtype, sym, (alpha, 1.0 - alpha))
