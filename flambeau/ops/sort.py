"""Sorting, selecting and counting distinct values.

Orders come from NumPy's sorts; NaN counts as largest.
"""

from __future__ import annotations

import math

from .. import core
from .record import composite
from .reduce import named_pair

_INT64 = core.dtypes[5]


def _numpy(t):
    """The elements as a NumPy array (bfloat16 widened)."""
    t = t.detach()
    return (t.float() if t.dtype.code == 7 else t).numpy()


def _from_numpy(array, dtype=None):
    import numpy

    from .creation import from_numpy

    t = from_numpy(numpy.ascontiguousarray(array).reshape(array.shape))
    return t if dtype is None else t.to(dtype)


def _wrap(name, dim, n):
    low = max(n, 1)
    if not -low <= dim < low:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-low}, {low - 1}], but got "
            f"{dim})"
        )
    return dim % low


def _order(input, dim, descending):
    """Indices (int64) that sort along dim, equal elements in their order."""
    import numpy

    a = _numpy(input)
    if input.dtype.is_complex:
        raise RuntimeError(f"sort: complex numbers have no order, got {input.dtype}")
    if a.ndim == 0:
        return core.empty((), _INT64).fill_(0)
    if not descending:
        return _from_numpy(numpy.argsort(a, axis=dim, kind="stable"))
    reversed_ = numpy.flip(a, dim)
    order = numpy.flip(numpy.argsort(reversed_, axis=dim, kind="stable"), dim)
    return _from_numpy(a.shape[dim] - 1 - order)


def _pick(input, dim, index):
    from .gather import gather

    return (
        gather(input, dim, index)
        if input.dim()
        else input * 1
        if input.requires_grad
        else input.clone()
    )


@composite(out=True)
def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) sorted along dim; always stable."""
    dim = _wrap("sort", dim, input.dim())
    order = _order(input, dim, descending)
    return named_pair("sort", _pick(input, dim, order), order)


@composite(out=True)
def argsort(input, dim=-1, descending=False, stable=False):
    """Indices that sort along dim."""
    return _order(input, _wrap("argsort", dim, input.dim()), descending)


@composite(out=True)
def msort(input):
    """Sorted along the first dimension."""
    return sort(input, 0)[0]


@composite(out=True)
def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest (or smallest) elements along dim, in order."""
    dim = _wrap("topk", dim, input.dim())
    size = input.shape[dim] if input.dim() else 1
    if not 0 <= k <= size:
        raise RuntimeError(
            f"topk: selected index k out of range: k = {k}, dimension {dim} has size {size}"
        )
    order = _order(input, dim, largest)
    if input.dim():
        order = order.narrow(dim, 0, k).contiguous()
    return named_pair("topk", _pick(input, dim, order), order)


@composite(out=True)
def kthvalue(input, k, dim=-1, keepdim=False):
    """(value, index) of the k-th smallest element along dim, counted from 1."""
    dim = _wrap("kthvalue", dim, input.dim())
    size = input.shape[dim] if input.dim() else 1
    if not 1 <= k <= size:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {dim}: k = {k}, size {size}"
        )
    return _nth("kthvalue", input, k - 1, dim, keepdim)


def _nth(name, input, n, dim, keepdim):
    order = _order(input, dim, False)
    if not input.dim():
        return named_pair(name, _pick(input, dim, order), order)
    index = order.narrow(dim, n, 1)
    values = _pick(input, dim, index)
    if not keepdim:
        values, index = values.squeeze(dim), index.squeeze(dim)
    return named_pair(name, values, index)


def _empty_reduction(name, input, dim):
    if input.dim() and input.shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")


def _median(name, ignore_nan):
    def op(input, dim=None, keepdim=False):
        if input.dtype.is_complex or input.dtype.code == 0:
            raise RuntimeError(
                f"{name}: \"median_out_impl\" not implemented for '{input.dtype.name}'"
            )
        if dim is None:
            flat = input.reshape(-1)
            if flat.numel() == 0:
                return core.empty((), input.dtype).fill_(
                    math.nan if input.dtype.is_floating_point else -(2**63)
                )
            return op(flat, 0)[0]
        dim = _wrap(name, dim, input.dim())
        _empty_reduction(name, input, dim)
        order = _order(input, dim, False)
        if not input.dim():
            return named_pair(name, _pick(input, dim, order), order)
        size = input.shape[dim]
        if input.dtype.is_floating_point:
            numbers = (input.detach() == input.detach()).sum(dim, True)
            if ignore_nan:
                place = (numbers - 1).clamp(min=0) // 2
            else:
                # one NaN makes the median NaN: the first of them
                place = _where(numbers == size, (size - 1) // 2, numbers)
        else:
            place = core.empty(
                [1 if i == dim else s for i, s in enumerate(input.shape)], _INT64
            ).fill_((size - 1) // 2)
        index = order.gather(dim, place)
        values = _pick(input, dim, index)
        if not keepdim:
            values, index = values.squeeze(dim), index.squeeze(dim)
        return named_pair(name, values, index)

    what = "Lower median of the numbers" if ignore_nan else "Lower median"
    op.__doc__ = f"{what}: of all elements, or (values, indices) along dim."
    return composite(name=name, out=True)(op)


def _where(condition, a, b):
    from .masked import where

    return where(condition, a, b)


median = _median("median", False)
nanmedian = _median("nanmedian", True)


@composite(out=True)
def mode(input, dim=-1, keepdim=False):
    """(values, indices) of the most frequent element along dim.

    The smallest of several, at its last place.
    """
    import numpy

    dim = _wrap("mode", dim, input.dim())
    _empty_reduction("mode", input, dim)
    if not input.dim():
        return named_pair("mode", input.clone(), core.empty((), _INT64).fill_(0))
    rows = numpy.moveaxis(_numpy(input), dim, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    places = numpy.empty(flat.shape[0], numpy.int64)
    for i, row in enumerate(flat):
        values, counts = numpy.unique(row, return_counts=True, equal_nan=False)
        places[i] = (
            numpy.nonzero(row == values[counts.argmax()])[0][-1]
            if (row == row).any()
            else len(row) - 1
        )
    index = _from_numpy(numpy.expand_dims(places.reshape(rows.shape[:-1]), dim))
    values = _pick(input, dim, index)
    if not keepdim:
        values, index = values.squeeze(dim), index.squeeze(dim)
    return named_pair("mode", values, index)


# ---- distinct values -----------------------------------------------------------------------------


@composite
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements (or slices along dim), sorted.

    Optionally inverse indices and counts.
    """
    import numpy

    a = _numpy(input)
    if dim is not None:
        dim = _wrap("unique", dim, input.dim())
        if (
            a.shape[dim] == 0
            and a.size == 0
            and any(s == 0 for i, s in enumerate(a.shape) if i != dim)
        ):
            raise RuntimeError(
                "There are 0 sized dimensions, and they aren't selected, so unique cannot be "
                "applied"
            )
    values, inverse, counts = numpy.unique(
        a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False
    )
    shape = input.shape if dim is None else (input.shape[dim],)
    return _distinct(
        _from_numpy(values, input.dtype),
        inverse.reshape(tuple(shape)),
        counts,
        return_inverse,
        return_counts,
    )


def _distinct(values, inverse, counts, return_inverse, return_counts):
    result = [values]
    if return_inverse:
        result.append(_from_numpy(inverse.astype("int64")))
    if return_counts:
        result.append(_from_numpy(counts.astype("int64")))
    return result[0] if len(result) == 1 else tuple(result)


@composite
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements (or slices along dim) that differ from the one before."""
    import numpy

    a = _numpy(input)
    if dim is None:
        shape, a = a.shape, a.reshape(-1)
        axis = 0
    else:
        axis = _wrap("unique_consecutive", dim, input.dim())
        shape = (a.shape[axis],)
    n = a.shape[axis]
    if n == 0:
        kept = a
        inverse = numpy.zeros(shape, numpy.int64)
        counts = numpy.zeros(0, numpy.int64)
    else:
        rows = numpy.moveaxis(a, axis, 0).reshape(n, -1)
        new = numpy.concatenate([[True], (rows[1:] != rows[:-1]).any(1)])
        starts = numpy.nonzero(new)[0]
        kept = numpy.take(a, starts, axis)
        inverse = (numpy.cumsum(new) - 1).reshape(shape)
        counts = numpy.diff(numpy.append(starts, n))
    return _distinct(_from_numpy(kept, input.dtype), inverse, counts, return_inverse, return_counts)


@composite(out=True, method=False)
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Is each element one of test_elements?"""
    import numpy

    def array(x):
        return _numpy(x) if hasattr(x, "dtype") else numpy.asarray(x)

    if not hasattr(elements, "dtype") and not hasattr(test_elements, "dtype"):
        raise TypeError("isin(): expected a Tensor in elements or test_elements")
    return _from_numpy(
        numpy.asarray(numpy.isin(array(elements), array(test_elements), invert=invert))
    )


# ---- searching -----------------------------------------------------------------------------------


@composite(out=True, method=False)
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each element of input would be put to keep sorted_sequence's last dimension sorted."""
    import numpy

    from .creation import scalar_tensor

    if side is not None and side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    side = "right" if right or side == "right" else "left"
    number = not hasattr(input, "dtype")
    if number:
        input = scalar_tensor(input, dtype=sorted_sequence.dtype)
    if input.dtype != sorted_sequence.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same "
            f"dtype, but got boundary tensor has dtype {sorted_sequence.dtype}, input value has "
            f"dtype {input.dtype}"
        )
    if sorter is not None and sorter.shape != sorted_sequence.shape:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
            f"tensor {list(sorted_sequence.shape)}and got sorter tensor {list(sorter.shape)}"
        )
    edges, values = _numpy(sorted_sequence), _numpy(input)
    if sorter is not None:
        edges = numpy.take_along_axis(edges, _numpy(sorter), -1)
    if edges.ndim == 1:
        found = numpy.searchsorted(edges, values, side)
    else:
        if edges.ndim != values.ndim or edges.shape[:-1] != values.shape[:-1]:
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                "dimensions of boundaries tensor and input value tensor must match, but got "
                f"boundaries tensor {list(edges.shape)} and input value tensor "
                f"{list(values.shape)}"
            )
        rows, wanted = edges.reshape(-1, edges.shape[-1]), values.reshape(-1, values.shape[-1])
        found = (
            numpy.stack([numpy.searchsorted(r, v, side) for r, v in zip(rows, wanted, strict=True)])
            if len(rows)
            else wanted
        )
        found = found.reshape(values.shape)
    return _from_numpy(numpy.asarray(found), core.dtypes[4] if out_int32 else _INT64)


@composite(out=True, method=False)
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The bucket, between sorted boundaries, of each element."""
    if boundaries.dim() != 1:
        raise RuntimeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})"
        )
    if hasattr(input, "dtype") and input.dtype != boundaries.dtype:
        wide = _common(input, boundaries)
        input, boundaries = input.to(wide), boundaries.to(wide)
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def _common(a, b):
    from .type_info import promote_types

    return promote_types(a.dtype, b.dtype)


# ---- quantiles -----------------------------------------------------------------------------------


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
                _where(bad, _full_like(low, size - 1, low.dtype), t) for t in (low, high, place)
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
