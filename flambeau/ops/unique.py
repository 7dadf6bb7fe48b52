"""Distinct values."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .gather import take_rows_plain
from .launch_index import BOOL, INT64
from .masked import masked_select, true_positions
from .record import composite
from .scatter import put_rows_plain
from .search import searchsorted
from .sort import take_ranks, wrap_dim
from .type_info import promote_types


@composite
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements (or slices along dim), sorted.

    Optionally inverse indices and counts.
    """
    if dim is not None:
        return _unique_slices(input, wrap_dim(dim, input.ndim), return_inverse, return_counts)
    flat = core.contiguous_plain(input.detach()).reshape(-1)
    if input.dtype.is_complex:
        return _unique_slices(flat, 0, return_inverse, return_counts, input.shape)
    if input.dtype.code in (0, 1):
        return _unique_bytes(flat, input.shape, return_inverse, return_counts)
    values, order = take_ranks(flat, 0, 0, flat.shape[0], False)
    begins = _run_starts(values)
    if not (return_inverse or return_counts):
        return masked_select(values, begins)
    starts = true_positions(begins)
    result = [take_rows_plain("unique", values, starts)]
    if return_inverse:
        inverse = core.empty(order.shape, INT64)
        put_rows_plain("unique", inverse, order, _run_numbers(starts, order.shape[0]))
        result.append(inverse.view(input.shape))
    if return_counts:
        result.append(_run_lengths(starts, order.shape[0]))
    return result[0] if len(result) == 1 else tuple(result)


def _unique_bytes(flat: Tensor, shape: Any, return_inverse: bool, return_counts: bool) -> Any:
    """The distinct elements of bool or uint8: those that are counted."""
    from .histogram import bincount

    numbers = flat.byte() if flat.dtype is BOOL else flat
    counts = bincount(numbers, minlength=256)
    values = true_positions(counts != 0)
    result = [values.to(flat.dtype)]
    if return_inverse:
        ranks = (counts != 0).cumsum(0) - 1
        result.append(take_rows_plain("unique", ranks, numbers.long()).view(shape))
    if return_counts:
        result.append(take_rows_plain("unique", counts, values))
    return result[0] if len(result) == 1 else tuple(result)


def _run_starts(rows: Tensor) -> Tensor:
    """Which rows (or elements) differ from the one before; the first does."""
    n = rows.shape[0]
    starts = core.empty((n,), BOOL)
    if n:
        starts[0] = True
    if n > 1:
        differ = rows.narrow(0, 1, n - 1) != rows.narrow(0, 0, n - 1)
        starts[1:] = differ if rows.ndim == 1 else differ.any(1)
    return starts


def _run_lengths(starts: Tensor, n: int) -> Tensor:
    lengths = core.empty(starts.shape, INT64)
    runs = starts.shape[0]
    if runs:
        lengths[-1] = n - starts[-1]
    if runs > 1:
        lengths[:-1] = starts[1:] - starts[:-1]
    return lengths


def _run_numbers(starts: Tensor, n: int) -> Tensor:
    """The number of its run for each of n places."""
    steps = core.empty((n,), INT64).fill_(0)
    if n:
        put_rows_plain("unique", steps, starts, core.expand(core.from_data(1, INT64), starts.shape))
        steps[0] = 0
    return steps.cumsum(0)


@composite
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements (or slices along dim) that differ from the one before."""
    axis = 0 if dim is None else wrap_dim(dim, input.ndim)
    whole = input.detach().reshape(-1) if dim is None else input.detach()
    n = whole.shape[axis]
    rows = core.contiguous_plain(whole.movedim(axis, 0))
    begins = _run_starts(rows.reshape(n, -1) if rows.ndim > 1 and n else rows)
    if rows.ndim == 1 and not (return_inverse or return_counts):
        return masked_select(rows, begins)
    starts = true_positions(begins)
    kept = take_rows_plain("unique_consecutive", rows, starts)
    result = [core.contiguous_plain(kept.movedim(0, axis))]
    if return_inverse:
        result.append(_run_numbers(starts, n).view(input.shape if dim is None else (n,)))
    if return_counts:
        result.append(_run_lengths(starts, n))
    return result[0] if len(result) == 1 else tuple(result)


# ---- with NumPy: slices, membership --------------------------------------------------------------


def to_numpy(t: Tensor) -> Any:
    """The elements as a NumPy array (bfloat16 widened)."""
    t = t.detach()
    return (t.float() if t.dtype.code == 7 else t).numpy()


def from_numpy(array: Any, dtype: Any = None) -> Tensor:
    """A NumPy array's elements, also of arrays that are not row-major."""
    import numpy

    from .creation import from_numpy

    t = from_numpy(numpy.ascontiguousarray(array).reshape(array.shape))
    return t if dtype is None else t.to(dtype)


def _unique_slices(input, dim, return_inverse, return_counts, shape=None):
    import numpy

    a = to_numpy(input)
    if a.shape[dim] == 0 and any(s == 0 for i, s in enumerate(a.shape) if i != dim):
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        )
    values, inverse, counts = numpy.unique(
        a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False
    )
    result = [from_numpy(values, input.dtype)]
    if return_inverse:
        result.append(from_numpy(inverse.reshape(shape or (a.shape[dim],)).astype("int64")))
    if return_counts:
        result.append(from_numpy(counts.astype("int64")))
    return result[0] if len(result) == 1 else tuple(result)


@composite(out=True, method=False)
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Is each element one of test_elements?"""
    from .creation import as_tensor

    if not hasattr(elements, "dtype") and not hasattr(test_elements, "dtype"):
        raise TypeError("isin(): expected a Tensor in elements or test_elements")
    x, tests = (
        t.detach() if hasattr(t, "dtype") else as_tensor(t) for t in (elements, test_elements)
    )
    if x.dtype is not tests.dtype:
        wide = promote_types(x.dtype, tests.dtype)
        x, tests = x.to(wide), tests.to(wide)
    if x.dtype.is_complex:
        import numpy

        among = numpy.isin(to_numpy(x), to_numpy(tests), invert=invert)
        return from_numpy(numpy.asarray(among))
    if x.dtype is BOOL:
        x, tests = x.byte(), tests.byte()
    found = _is_among(x, tests.reshape(-1))
    return found.logical_not() if invert else found


_FEW_COMPARISONS = 2048  # of all pairs: quicker than to sort and search


def _is_among(x: Tensor, tests: Tensor) -> Tensor:
    """Is each element one of the tests?"""
    if not tests.shape[0]:
        return core.empty(x.shape, BOOL).fill_(False)
    if x.numel() * tests.shape[0] <= _FEW_COMPARISONS:
        return (x.unsqueeze(-1) == tests).any(-1)
    if tests.dtype.is_floating_point:
        tests = tests[tests == tests]  # NaN is equal to nothing, and a search would end at one
        if not tests.shape[0]:
            return core.empty(x.shape, BOOL).fill_(False)
    ordered = tests.sort()[0]
    place = searchsorted(ordered, x).clamp_(max=tests.shape[0] - 1)
    return take_rows_plain("isin", ordered, place) == x
