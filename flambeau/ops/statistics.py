"""Histograms, covariance and other statistics."""

from __future__ import annotations

import builtins

from .. import core
from .launch_index import as_index, bounds, put_rows
from .record import composite
from .unique import from_numpy as _from_numpy
from .unique import to_numpy as _numpy
from .windows import zeros_plain

_INT64 = core.dtypes[5]


@composite
def bincount(input, weights=None, minlength=0):
    """How often each non-negative integer occurs, or the sum of its weights."""
    if input.dim() != 1 or (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            f"bincount only supports 1-d non-negative integral inputs, got {input.dtype} of shape "
            f"{tuple(input.shape)}"
        )
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(
            f"weights should be 1-d and have the same length as input: {tuple(weights.shape)} and "
            f"{tuple(input.shape)}"
        )
    low, high = (int(v) for v in input.aminmax()) if input.numel() else (0, -1)
    if low < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs")
    kind = _INT64
    if weights is not None:
        kind = weights.dtype if weights.dtype == core.dtypes[8] else core.dtypes[9]
    counts = zeros_plain((max(high + 1, minlength),), kind)
    if counts.numel() and input.numel():
        ones = core.expand(core.from_data(1, kind), input.shape)
        values = ones if weights is None else weights.detach().to(kind)
        index = as_index("bincount", input.detach().to(_INT64))
        put_rows("add", counts, 0, index, values, bounds("bincount", counts, 0))
    return counts


def _range(name, input, low, high, around=1.0):
    """The range to count in: as given, or the data's; `around` widens it where it has no width."""
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min, got {low} and {high}")
    if low == high and input.numel():
        low, high = float(input.min()), float(input.max())
    if low == high:
        low, high = low - around, high + around
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    return low, high


@composite(out=True)
def histc(input, bins=100, min=0, max=0):
    """Counts in `bins` equal bins between min and max (the data's when equal)."""
    import numpy

    if bins <= 0:
        raise RuntimeError(f"bins must be > 0, got {bins}")
    low, high = _range("torch.histc", input, min, max)
    counts, _ = numpy.histogram(
        _numpy(input).astype("float64"), int(bins), (float(low), float(high))
    )
    return _from_numpy(counts.astype("float64"), input.dtype)


@composite
def histogram(input, bins, *, range=None, weight=None, density=False, out=None):
    """(counts, bin edges) of the elements."""
    import numpy

    from .reduce import named_pair

    values = _numpy(input).astype("float64").reshape(-1)
    weights = None if weight is None else _numpy(weight).astype("float64").reshape(-1)
    if hasattr(bins, "dtype"):
        edges = _numpy(bins).astype("float64")
    else:
        low, high = (0, 0) if range is None else range
        low, high = _range("torch.histogram", input, low, high, 0.5)
        edges = numpy.linspace(low, high, bins + 1)
    counts, edges = numpy.histogram(values, edges, weights=weights, density=density)
    pair = named_pair(
        "histogram",
        _from_numpy(counts.astype("float64"), input.dtype),
        _from_numpy(edges, input.dtype),
        ("hist", "bin_edges"),
    )
    if out is None:
        return pair
    from .record import deliver

    return deliver("histogram", out, pair)


@composite
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(counts, edges of each dimension) of points whose coordinates are in the last dimension."""
    import numpy

    from .reduce import named_pair

    points = _numpy(input).astype("float64")
    points = points.reshape(-1, points.shape[-1])
    weights = None if weight is None else _numpy(weight).astype("float64").reshape(-1)
    n = points.shape[1]
    if isinstance(bins, int):
        bins = [bins] * n
    if len(bins) != n:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the "
            f"input: {len(bins)} and {n}"
        )
    if all(hasattr(b, "dtype") for b in bins):
        edges = [_numpy(b).astype("float64") for b in bins]
    else:
        limits = (
            [(0, 0)] * n
            if range is None
            else [tuple(range[2 * i : 2 * i + 2]) for i in builtins.range(n)]
        )
        spans = [
            _range("torch.histogramdd", input[..., i], limits[i][0], limits[i][1], 0.5)
            for i in builtins.range(n)
        ]
        edges = [numpy.linspace(lo, hi, b + 1) for (lo, hi), b in zip(spans, bins, strict=True)]
    counts = _count_points(points, edges, weights, density)
    return named_pair(
        "histogramdd",
        _from_numpy(counts, input.dtype),
        tuple(_from_numpy(numpy.asarray(e), input.dtype) for e in edges),
        ("hist", "bin_edges"),
    )


def _count_points(points, edges, weights, density):
    """Points (n, d) counted in the cells between the edges of each dimension.

    Edges need not be sorted.
    """
    import numpy

    shape = [len(e) - 1 for e in edges]
    inside = numpy.ones(len(points), bool)
    cell = numpy.zeros(len(points), numpy.int64)
    for x, e, size in zip(points.T, edges, shape, strict=True):
        inside &= (x >= e[0]) & (x <= e[-1])
        place = numpy.where(x == e[-1], size - 1, _upper_bound(e, x) - 1)
        cell = cell * size + numpy.clip(place, 0, size - 1)
    kept = None if weights is None else weights[inside]
    total = int(numpy.prod(shape))
    counts = numpy.bincount(cell[inside], kept, total).astype("float64").reshape(shape)
    if density:
        counts = counts / counts.sum()
        for k, e in enumerate(edges):
            width = numpy.diff(e).reshape([-1 if i == k else 1 for i in builtins.range(len(shape))])
            counts = counts / width
    return counts


def _upper_bound(edges, values):
    """The first edge above each value.

    Found by halving (what it finds in unsorted edges is part of the contract).
    """
    import numpy

    first = numpy.zeros(len(values), numpy.int64)
    length = numpy.full(len(values), len(edges), numpy.int64)
    while (length > 0).any():
        half = length >> 1
        middle = numpy.minimum(first + half, len(edges) - 1)
        right = (length > 0) & ~(values < edges[middle])
        first = numpy.where(right, middle + 1, first)
        length = numpy.where(right, length - half - 1, numpy.where(length > 0, half, 0))
    return first


def _observation_weights(n, fweights, aweights):
    """The checked product of the weights that are given; None if neither is."""
    weights = None
    for what, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.dim() > 1:
            raise RuntimeError(
                f"cov(): expected {what} to have one or fewer dimensions but got {what} with "
                f"{w.dim()} dimensions"
            )
        if w.numel() != n:
            raise RuntimeError(
                f"cov(): expected {what} to have the same numel as there are observations in the "
                f"input but got {w.numel()} != {n}"
            )
        if (what == "fweights") == (w.dtype.is_floating_point or w.dtype.is_complex):
            raise RuntimeError(
                f"cov(): expected {what} to have "
                f"{'integral' if what == 'fweights' else 'floating point'} dtype but got {what} "
                f"with {w.dtype} dtype"
            )
        if w.numel() and float(w.min()) < 0:
            raise RuntimeError(f"cov(): {what} cannot be negative")
        weights = w if weights is None else weights * w
    return weights


@composite
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariance of variables (rows) over observations (columns)."""
    if input.dim() > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    if input.dtype.code == 0:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input.dim() < 2 else input
    n = x.shape[1]
    weights = _observation_weights(n, fweights, aweights)
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.to(core.get_default_dtype())
    total = weights.sum() if weights is not None else None
    if weights is None:
        centred = x - x.mean(1, True)
        divisor = n - correction
        scaled = centred
    else:
        centred = x - ((x * weights).sum(1) / total).unsqueeze(1)
        if aweights is None or correction == 0:
            divisor = total - correction
        else:
            divisor = total - correction * (weights * aweights).sum() / total
        scaled = centred * weights
    if not hasattr(divisor, "dtype"):
        divisor = max(divisor, 0)
    else:
        divisor = divisor.clamp(min=0)
    result = (scaled @ centred.conj().t()) / divisor
    return result.squeeze()


@composite
def corrcoef(input):
    """Correlation coefficients of variables (rows) over observations (columns)."""
    if input.dim() > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    c = cov(input)
    if c.dim() == 0:
        return c / c
    deviation = c.diagonal().sqrt() if not c.dtype.is_complex else c.diagonal().real.sqrt()
    c = c / deviation.reshape(-1, 1) / deviation.reshape(1, -1)
    if c.dtype.is_complex:
        from .sequences import complex_

        return complex_(c.real.clip(-1, 1), c.imag.clip(-1, 1))
    return c.clip(-1, 1)


@composite(out=True, inplace=True)
def renorm(input, p, dim, maxnorm):
    """Each slice along dim scaled down to a p-norm of at most maxnorm."""
    from .reduce import vector_norm_along

    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p = {p}")
    if input.dim() < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.dim()} dimensions"
        )
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    dim = dim % input.dim()
    others = tuple(d for d in builtins.range(input.dim()) if d != dim)
    norm = vector_norm_along(input, p, others, True)
    from .masked import where

    factor = where(norm > maxnorm, maxnorm / (norm + 1e-7), norm * 0 + 1)
    return input * factor.to(input.dtype)
