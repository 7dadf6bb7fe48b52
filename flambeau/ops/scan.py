"""Scans: cumulative sums, products and extremes."""

from __future__ import annotations

import math
from functools import cache as cache_result

from .. import core
from ..kernels.lazy import scan
from ..kernels.lazy import target as targets
from .named_results import named_pair
from .plans import find_kernel
from .record import composite, deliver, primitive


def _wrap(name, dim, n):
    low = max(n, 1)
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    if not -low <= dim < low:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-low}, {low - 1}], but got "
            f"{dim})"
        )
    return dim % low


_GRAIN = 16384  # elements of a task
_CHUNKS = 16  # a long row is cut into as many
_FEW_ROWS = 16


@cache_result
def _kernel(kind, stored, result, backwards, form, symbol):
    def source():
        return scan.source(kind, stored, result, form, targets.host(), symbol, backwards)

    return find_kernel(("scan", kind, stored, result, backwards, form, symbol), source)


def _run(kind, x, dim, result, backwards=False):
    """(values, indices or None) of a scan of x along dim, values of dtype `result`."""
    x = core.contiguous_plain(x)
    out = core.empty(x.shape, result)
    where = core.empty(x.shape, core.dtypes[5]) if kind in ("max", "min") else None
    if out.numel() == 0:
        return out, where
    shape = x.shape if x.dim() else (1,)
    length, inner = shape[dim], math.prod(shape[dim + 1 :])
    operands = (out, x) if where is None else (out, where, x)
    items = [t.dtype.itemsize for t in operands]
    names = (kind, x.dtype.short, result.short, backwards)
    if inner >= 8:
        _run_across(names, operands, items, length, inner, x.numel() // (length * inner))
    elif inner == 1:
        _run_along(names, operands, items, length, x.numel() // length)
    else:
        _run_apart(names, operands, items, length, inner, x.numel() // (length * inner))
    return out, where


def _run_across(names, operands, items, length, inner, outer):
    """Rows that lie side by side, in blocks."""
    kernel = _kernel(*names, "across", "k")
    desc = [length, 1, length]
    for item in items:
        desc += [item, item * inner]
    grain = -(-max(1, _GRAIN // length) // 64) * 64
    if grain >= inner:
        grain = inner * max(1, _GRAIN // (length * inner))
    strides = (*((item * inner * length,) for item in items), (0,))
    operands = (*operands, operands[0])  # no totals: never read
    core.launch_rows(kernel, operands, tuple(desc), inner, grain, (outer,), strides, False)


def _run_along(names, operands, items, length, rows):
    """Contiguous rows; few and long ones in chunks, the same whatever the number of threads."""
    chunks = 1
    if rows <= _FEW_ROWS and length * rows >= 4 * _GRAIN:
        chunks = max(1, min(_CHUNKS, length // 4096))
    size = -(-length // chunks)
    desc = [length, chunks, size]
    for item in items:
        desc += [item * length, item]
    totals = operands[0]
    if chunks > 1:
        totals = core.empty((rows * chunks * 4,), core.dtypes[9])
    grain = max(1, _GRAIN // size) if chunks == 1 else 1
    arguments = (*operands, totals), tuple(desc), rows * chunks, grain, (), (), False
    if chunks > 1:
        core.launch_rows(_kernel(*names, "along", "t"), *arguments)
    core.launch_rows(_kernel(*names, "along", "k"), *arguments)


def _run_apart(names, operands, items, length, inner, outer):
    """A few rows side by side, in blocks."""
    kernel = _kernel(*names, "apart", "k")
    desc = [length, 1, length]
    for item in items:
        desc += [item, item * inner]
    strides = (*((item * inner * length,) for item in items), (0,))
    grain = max(1, _GRAIN // length)
    operands = (*operands, operands[0])
    core.launch_rows(kernel, operands, tuple(desc), inner, grain, (outer,), strides, False)


def _add_logs(x, dim):
    """Running logarithms of sums of exponentials, many rows abreast.

    Along a row each step waits for the one before, which is dear, while rows side by side fill
    vectors. A single long row is cut into as many.
    """
    length = x.shape[dim] if x.dim() else 1
    rows = x.numel() // max(1, length)
    few = length < _ABREAST or x.numel() < _FEW_LOGS
    if few or dim != x.dim() - 1 or x.dtype.is_complex:
        return _run("logaddexp", x, dim, x.dtype)[0]
    if rows < _ABREAST and x.dtype.itemsize < 4:  # would be rounded twice
        return _run("logaddexp", x, dim, x.dtype)[0]
    flat = core.view(core.contiguous_plain(x.detach()), (rows, length))
    if rows < _ABREAST:
        return core.view(_add_logs_in_parts(flat), x.shape)
    return core.view(_turn(_run("logaddexp", _turn(flat), 0, x.dtype)[0]), x.shape)


_ABREAST = 16  # rows side by side that fill vectors
_PARTS = 64
_FEW_LOGS = 1 << 12  # elements for which rearranging does not pay


def _turn(x):
    """The transpose of a matrix, row-major."""
    return core.contiguous_plain(core.permute(x, (1, 0)))


def _add_logs_in_parts(x):
    """Each row (R, L) in parts that are scanned side by side, then joined."""
    from .fused import logaddexp

    rows, length = x.shape
    size = -(-length // _PARTS)
    parts = core.empty((rows, _PARTS * size), x.dtype).fill_(-math.inf)
    core.copy_plain(core.basic_index(parts, (slice(None), slice(0, length))), x)
    inside = _run("logaddexp", _turn(core.view(parts, (rows * _PARTS, size))), 0, x.dtype)[0]
    totals = core.view(core.basic_index(inside, -1), (rows, _PARTS))
    before = core.empty((rows, _PARTS), x.dtype).fill_(-math.inf)
    ends = _run("logaddexp", totals, 1, x.dtype)[0]
    core.copy_plain(
        core.basic_index(before, (slice(None), slice(1, None))),
        core.basic_index(ends, (slice(None), slice(0, -1))),
    )
    joined = _turn(logaddexp(inside, core.view(before, (1, rows * _PARTS))))
    whole = core.view(joined, (rows, _PARTS * size))
    return core.contiguous_plain(core.basic_index(whole, (slice(None), slice(0, length))))


def _result_type(x, dtype, out=None):
    """The type to accumulate in.

    As asked for, else that of out=, else the input's (int64 for integers).
    """
    if dtype is not None:
        return dtype
    if out is not None:
        return out.dtype
    return x.dtype if x.dtype.is_floating_point or x.dtype.is_complex else core.dtypes[5]


@primitive(register=False)
def running_sum(input, dim, backwards=False):
    """Cumulative sum of a floating-point, complex or int64 tensor, or from its end."""
    return _run("add", input, dim, input.dtype, backwards)[0]


@running_sum.vjp
def _running_sum_vjp(g, dim, backwards):
    return running_sum(g, dim, not backwards) if g.dim() else g


@composite(inplace=True)
def cumsum(input, dim, *, dtype=None, out=None):
    """Cumulative sum along dim; integers and bool in int64."""
    dim = _wrap("cumsum", dim, input.dim())
    wanted = _result_type(input, dtype, out)
    result = running_sum(input if input.dtype is wanted else input.to(wanted), dim)
    return result if out is None else deliver("cumsum", out, result)


@primitive(register=False)
def running_product(input, dim):
    """Cumulative product."""
    return _run("mul", input, dim, input.dtype)[0]


@running_product.vjp
def _running_product_vjp(g, input, dim, out):
    if input.dim() == 0:
        return g
    if not core.grad_enabled() and not bool((input == 0).any()):
        return _reverse_sum(g * out.conj(), dim) / input.conj()
    return _product_gradient(g, input, dim)


def _reverse_sum(x, dim):
    return running_sum(x, dim, True)


def _product_gradient(g, x, dim):
    """sum over k >= i of g_k times the product of x_j, j <= k and j != i, without any division."""
    from .join import stack

    n = x.shape[dim]
    columns = []
    xs = x.unbind(dim)
    for i in range(n):
        before = None
        for j in range(i):
            before = xs[j] if before is None else before * xs[j]
        total, running = None, before
        for k in range(i, n):
            if k > i:
                running = xs[k] if running is None else running * xs[k]
            term = g.select(dim, k)
            term = term if running is None else term * running.conj()
            total = term if total is None else total + term
        columns.append(total)
    return stack(columns, dim)


@composite(inplace=True)
def cumprod(input, dim, *, dtype=None, out=None):
    """Cumulative product along dim; integers and bool in int64."""
    dim = _wrap("cumprod", dim, input.dim())
    result = running_product(input.to(_result_type(input, dtype, out)), dim)
    return result if out is None else deliver("cumprod", out, result)


def _extreme(kind, name, doc):
    def running(input, dim):
        return _run(kind, input, dim, input.dtype)

    running.__name__ = f"running_{kind}"
    values_of = primitive(register=False)(running)

    @values_of.vjp
    def _(g, input_like, dim, out_1):
        if not input_like.shape:
            return g[0]
        return g[0].new_zeros(input_like.shape).scatter_add(dim, out_1, g[0])

    def op(input, dim):
        if input.dtype.is_complex:
            raise RuntimeError(f"{name}: complex numbers have no order, got {input.dtype}")
        dim = _wrap(name, dim, input.dim())
        return named_pair(name, *values_of(input, dim))

    op.__doc__ = doc
    return composite(name=name, out=True)(op)


cummax = _extreme("max", "cummax", "(running maximum, its position) along dim.")
cummin = _extreme("min", "cummin", "(running minimum, its position) along dim.")


@primitive(register=False)
def running_logsumexp(input, dim):
    """log of the cumulative sum of exp."""
    return _add_logs(input, dim)


@running_logsumexp.vjp
def _running_logsumexp_vjp(g, input, dim, out):
    if input.dim() == 0:
        return g
    # g_k conj(exp(x_i - out_k)) summed over k >= i, in logarithms so that nothing overflows
    if input.is_complex():
        return _weighted_exps(g != 0, g, input.conj(), dim, out.conj())
    # a negative number has no real logarithm: positive and negative g apart
    return _weighted_exps(g > 0, g, input, dim, out) - _weighted_exps(g < 0, -g, input, dim, out)


def _weighted_exps(chosen, g, x, dim, out):
    """sum over k >= i of g_k exp(x_i - out_k) over the chosen k."""
    from .elementary import exp, log
    from .masked import where

    # for "log 0" a finite number: infinities would make the second derivative NaN
    nothing = -6e4 if g.dtype.itemsize == 2 and g.dtype.code == 6 else -1e37
    logs = where(chosen, log(where(chosen, g, 1.0)), nothing)
    return exp(_reverse_logsumexp(logs - out, dim) + x)


def _reverse_logsumexp(x, dim):
    return running_logsumexp(x.flip(dim), dim).flip(dim)


@composite(inplace=False, out=True)
def logcumsumexp(input, dim):
    """log(cumsum(exp(input))) along dim, without overflow."""
    dim = _wrap("logcumsumexp", dim, input.dim())
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(f"\"logcumsumexp\" not implemented for '{input.dtype.name}'")
    return running_logsumexp(input, dim)


@composite(out=True)
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """n-th differences of neighbours along dim."""
    from .join import cat

    if input.dim() == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    if n == 0:
        return x.clone()
    for _ in range(min(n, x.shape[dim])):
        later, earlier = x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, 0, x.shape[dim] - 1)
        x = (later ^ earlier) if x.dtype.code == 0 else later - earlier
    return x


def _steps(y, x, dim):
    """Widths between neighbours along dim."""
    if x.dim() == 1:
        shape = [1] * y.dim()
        shape[dim] = -1
        x = x.reshape(shape)
    return diff(x, dim=dim)


@composite
def trapezoid(y, x=None, *, dx=None, dim=-1):
    """Integral along dim by the trapezoidal rule, with spacing x or dx."""
    n = y.shape[dim]
    if x is not None:
        pairs = y.narrow(dim, 0, max(n - 1, 0)) + y.narrow(dim, min(1, n), max(n - 1, 0))
        return (pairs * _steps(y, x, dim)).sum(dim) / 2.0
    if n == 0:
        return y.sum(dim) / 2.0
    ends = (y.select(dim, 0) + y.select(dim, -1)) / 2.0
    return (y.sum(dim) - ends) * (1.0 if dx is None else dx)


@composite
def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """Running integral along dim by the trapezoidal rule."""
    n = y.shape[dim]
    middle = (y.narrow(dim, 0, max(n - 1, 0)) + y.narrow(dim, min(1, n), max(n - 1, 0))) / 2.0
    if x is not None:
        return (middle * _steps(y, x, dim)).cumsum(dim)
    return (middle * (1.0 if dx is None else dx)).cumsum(dim)


@composite(method=False)
def trapz(y, x=None, *, dx=None, dim=-1):
    """The same as trapezoid."""
    return trapezoid(y, x, dx=dx, dim=dim)


# ---- numerical gradient --------------------------------------------------------------------------


def _gradient_dims(input, dim):
    if dim is None:
        return list(range(input.dim()))
    wanted = [
        _wrap("gradient", d, input.dim()) for d in (dim if isinstance(dim, tuple | list) else [dim])
    ]
    for d in wanted:
        if wanted.count(d) > 1:
            raise RuntimeError(
                f"gradient: dim {d} appears multiple times in the list of dims {dim}"
            )
    return wanted


def _gradient_spacing(input, spacing, dims):
    """One number or 1-d tensor of coordinates for each dimension."""
    if spacing is None:
        return [1.0] * len(dims)
    if not isinstance(spacing, tuple | list):
        if isinstance(spacing, core.Tensor):
            raise TypeError(
                "gradient(): spacing must be a number, or a tuple of numbers or tensors, not a "
                "Tensor"
            )
        return [spacing] * len(dims)
    if len(spacing) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length "
            f"{len(dims)}, "
            f"one for each of the dimensions {dims}, but got a list of length {len(spacing)}"
        )
    for d, s in zip(dims, spacing, strict=True):
        if isinstance(s, core.Tensor) and (s.dim() != 1 or s.shape[0] != input.shape[d]):
            raise RuntimeError(
                "torch.gradient expected each element of spacing to be 1-d with one coordinate "
                "for each of the "
                f"{input.shape[d]} elements along dimension {d}, got shape {tuple(s.shape)}"
            )
    return list(spacing)


@composite(method=False)
def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """Estimated derivatives along each dim (a tuple), of second order inside.

    At the ends they are of order `edge_order`. `spacing` is the distance between neighbours, or for
    each dim its own distance or coordinates.
    """
    if edge_order not in (1, 2):
        raise RuntimeError(
            f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}"
        )
    if input.dtype.code == 1:
        raise RuntimeError("torch.gradient does not support uint8 input: convert with .float()")
    dims = _gradient_dims(input, dim)
    steps = _gradient_spacing(input, spacing, dims)
    for d in dims:
        if input.shape[d] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1 = "
                f"{edge_order + 1}, "
                f"got size {input.shape[d]} at dimension {d}"
            )
    return tuple(_gradient_along(input, d, s, edge_order) for d, s in zip(dims, steps, strict=True))


def _gradient_along(x, dim, spacing, edge_order):
    """Divided differences h between neighbours, combined so that parabolas come out exactly."""
    from .join import cat

    n = x.shape[dim]
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.to(core.get_default_dtype())
    if not isinstance(spacing, core.Tensor):
        slopes = diff(x, dim=dim) / spacing
        before = after = 1.0
        first = last = 1.0
    else:
        shape = [1] * x.dim()
        shape[dim] = -1
        widths = diff(spacing).to(x.dtype).reshape(shape)
        slopes = diff(x, dim=dim) / widths
        before, after = widths.narrow(dim, 0, n - 2), widths.narrow(dim, 1, n - 2)
        if edge_order == 2:
            first = (
                widths.narrow(dim, 0, 1) / (before.narrow(dim, 0, 1) + after.narrow(dim, 0, 1)) * 2
            )
            last = (
                widths.narrow(dim, n - 2, 1)
                / (before.narrow(dim, n - 3, 1) + after.narrow(dim, n - 3, 1))
                * 2
            )
    start, end = slopes.narrow(dim, 0, 1), slopes.narrow(dim, n - 2, 1)
    if n == 2:
        return cat([start, end], dim)
    left, right = slopes.narrow(dim, 0, n - 2), slopes.narrow(dim, 1, n - 2)
    middle = (left * after + right * before) / (before + after)
    if edge_order == 2:
        start = start - (slopes.narrow(dim, 1, 1) - start) * first * 0.5
        end = end + (end - slopes.narrow(dim, n - 3, 1)) * last * 0.5
    return cat([start, middle, end], dim)
