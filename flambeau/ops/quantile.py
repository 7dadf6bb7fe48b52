"""Quantiles: elements of given ranks, interpolated."""

from __future__ import annotations

from .. import core
from .masked import where
from .record import composite
from .sort import sort

_INT64 = core.dtypes[5]


def _check_quantile(name, input, q, interpolation):
    """q as a tensor, after all checks."""
    from .creation import scalar_tensor

    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if not hasattr(q, "dtype"):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = scalar_tensor(q, dtype=input.dtype)
    elif q.dtype != input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if q.dim() > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or "
            f"nearest, but got {interpolation}"
        )
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if q.numel() and (float(q.min()) < 0 or float(q.max()) > 1):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(name, ignore_nan):
    def op(input, q, dim=None, keepdim=False, *, interpolation="linear"):
        q = _check_quantile(name, input, q, interpolation)
        flat = dim is None
        rows = (
            input.reshape(-1)
            if flat
            else input.movedim(dim, -1)
            if input.dim()
            else input.reshape(1)
        )
        result = _interpolate(rows, q.reshape(-1), ignore_nan, interpolation)  # (q, rows...)
        if keepdim and flat:
            result = result.reshape((result.shape[0],) + (1,) * input.dim())
        elif keepdim and input.dim():
            result = result.unsqueeze(-1).movedim(-1, (dim % input.dim()) + 1)
        elif flat or not input.dim():
            result = result.reshape(-1)
        return result if q.dim() else result.squeeze(0)

    op.__doc__ = (
        f"The q-quantiles of the elements along dim{', NaN left out' if ignore_nan else ''}."
    )
    return composite(name=name, out=True)(op)


def _interpolate(rows, q, ignore_nan, interpolation):
    ordered = sort(rows, -1)[0]
    numbers = (rows.detach() == rows.detach()).sum(-1, True)
    size = rows.shape[-1]
    results = []
    for k in range(q.shape[0]):
        last = (
            (numbers - 1).clamp(min=0).to(rows.dtype)
            if ignore_nan
            else _full_like(numbers, size - 1, rows.dtype)
        )
        place = last * q[k]
        low, high = place.floor(), place.ceil()
        if not ignore_nan:
            # any NaN makes the result NaN: they were sorted last
            bad = numbers < size
            low, high, place = (
                where(bad, _full_like(low, size - 1, low.dtype), t) for t in (low, high, place)
            )
        if interpolation == "nearest":
            low = high = place.round()
        elif interpolation == "lower":
            high = low
        elif interpolation == "higher":
            low = high
        weight = 0.5 if interpolation == "midpoint" else place - place.floor()
        a = ordered.gather(-1, low.to(_INT64))
        b = ordered.gather(-1, high.to(_INT64))
        results.append(
            (a if interpolation in ("nearest", "lower", "higher") else a.lerp(b, weight)).squeeze(
                -1
            )
        )
    from .join import stack

    return stack(results, 0) if results else rows.new_empty((0, *rows.shape[:-1]))


def _full_like(t, value, dtype):
    from .filled import full

    return full(t.shape, value, dtype=dtype)


quantile = _quantile("quantile", False)
nanquantile = _quantile("nanquantile", True)
