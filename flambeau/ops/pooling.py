"""Pooling: maxima and means over windows, sliding or adaptive."""

from __future__ import annotations

from functools import lru_cache

from .. import core
from ..kernels.lazy import pooling as planner
from .plans import planned
from .record import composite, primitive

_F = ("nn.functional",)


def tuple_of(name, what, value, n):
    """A number for each of n dimensions, from one or from n."""
    if isinstance(value, int):
        return (value,) * n
    values = tuple(int(v) for v in value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(
            f"{name}: {what} must either be a single int, or a tuple of {n} ints, got {values}"
        )
    return values


def _read_windows(name, n, kernel_size, stride, padding, dilation):
    """Kernel, stride (the kernel's where none is given), padding and dilation as tuples of n."""
    try:
        return _read_windows_once(name, n, kernel_size, stride, padding, dilation)
    except TypeError:  # a list, which cannot be remembered
        read = _read_windows_once.__wrapped__
        return read(name, n, kernel_size, stride, padding, dilation)


@lru_cache(maxsize=1024, typed=True)
def _read_windows_once(name, n, kernel_size, stride, padding, dilation):
    kernel = tuple_of(name, "kernel_size", kernel_size, n)
    same = stride is None or stride == [] or stride == ()
    return (
        kernel,
        kernel if same else tuple_of(name, "stride", stride, n),
        tuple_of(name, "padding", padding, n),
        tuple_of(name, "dilation", dilation, n),
    )


@lru_cache(maxsize=4096)
def _pooled_shape(op, shape, *window):
    return planner.pooled_shape(op, shape, *window)


def _batched(name, input, n):
    """(N, C, *) and whether a batch dimension was added."""
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor, but got input of shape "
            f"{tuple(input.shape)}"
        )
    if any(s == 0 for s in input.shape[1 if input.dim() == n + 2 else 0 :]):
        raise RuntimeError(
            f"{name}: Expected non-zero sizes except for the batch dimension, got input of shape "
            f"{tuple(input.shape)}"
        )
    return (input.unsqueeze(0), True) if input.dim() == n + 1 else (input, False)


# ---- maxima --------------------------------------------------------------------------------------


@primitive(register=False)
def max_windows(input, window):
    """(values, indices) of the maxima of windows (kernel, stride, padding, dilation, ceil_mode)."""
    kernel, stride, padding, dilation, ceil_mode = window
    x = core.contiguous_plain(input)
    shape = _pooled_shape("max_pool", x.shape, *window)
    out, where = core.empty(shape, x.dtype), core.empty(shape, core.dtypes[5])
    if out.numel():
        plan = planned(
            ("max_pool", x.dtype.code, tuple(x.shape), window),
            lambda threads: planner.plan_max_pool(
                x.dtype.short, x.shape, kernel, stride, padding, dilation, ceil_mode, threads
            ),
        )
        plan.run(out, where, x)
    return out, where


@max_windows.vjp
def _max_windows_vjp(g, input_like, out_1):
    return from_indices(g[0], out_1, tuple(input_like.shape), g[0].dim() - 2)


@primitive(register=False)
def max_values(input, window):
    """The maxima alone, for when no gradient will ask where they were."""
    kernel, stride, padding, dilation, ceil_mode = window
    x = core.contiguous_plain(input)
    out = core.empty(_pooled_shape("max_pool", x.shape, *window), x.dtype)
    if out.numel():
        plan = planned(
            ("max_values", x.dtype.code, tuple(x.shape), window),
            lambda threads: planner.plan_max_pool(
                x.dtype.short, x.shape, kernel, stride, padding, dilation, ceil_mode, threads,
                indices=False,
            ),
        )  # fmt: skip
        plan.run(out, x)
    return out


@max_values.vjp
def _max_values_vjp(g, input, window):
    return from_indices(g, max_windows(input, window)[1], tuple(input.shape), g.dim() - 2)


@primitive(register=False)
def from_indices(cotangent, indices, shape, spatial):
    """Add cotangents to the places (in each plane) the indices name."""
    dy = core.contiguous_plain(cotangent)
    out = core.empty(shape, dy.dtype)
    if out.numel() == 0:
        return out
    if dy.numel() == 0:
        return out.zero_()
    plan = planned(
        ("pool_index", dy.dtype.code, shape, tuple(dy.shape), spatial),
        lambda threads: planner.plan_index_backward(
            dy.dtype.short, shape, dy.shape, spatial, threads
        ),
    )
    plan.run(out, dy, core.contiguous_plain(indices))
    return out


@from_indices.vjp
def _from_indices_vjp(g, indices, spatial):
    places = indices.flatten(-spatial)
    return g.flatten(-spatial).gather(-1, places).reshape(indices.shape), None


def _max_pool(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, indices=True):
    kernel, stride, padding, dilation = _read_windows(
        name, n, kernel_size, stride, padding, dilation
    )
    window = (kernel, stride, padding, dilation, bool(ceil_mode))
    x, added = _batched(name, input, n)
    if x.is_complex() or x.dtype.code == 0:
        raise RuntimeError(f"{name}: \"max_pool{n}d\" not implemented for '{x.dtype.name}'")
    if not (indices or core.needs_history(x)):
        values = max_values(x, window)
        return (values.squeeze(0) if added else values), None
    values, indices = max_windows(x, window)
    return (values.squeeze(0), indices.squeeze(0)) if added else (values, indices)


def _define_max_pool(n):
    name = f"max_pool{n}d"

    def with_indices(
        input,
        kernel_size,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        return_indices=False,
    ):
        return _max_pool(name, n, input, kernel_size, stride, padding, dilation, ceil_mode)

    def op(
        input,
        kernel_size,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        return_indices=False,
    ):
        values, indices = _max_pool(
            name, n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )
        return (values, indices) if return_indices else values

    op.__doc__ = (
        f"Maxima over {n}-d windows of (N, C, *); "
        "with return_indices also their places in each plane."
    )
    with_indices.__doc__ = (
        f"Maxima over {n}-d windows of (N, C, *), and their places in each plane."
    )
    pair = composite(name=f"{name}_with_indices", namespaces=("", "nn.functional"), method=False)(
        with_indices
    )
    return composite(name=name, namespaces=("", "nn.functional"), method=False)(op), pair


(max_pool1d, _), (max_pool2d, _), (max_pool3d, _) = (_define_max_pool(n) for n in (1, 2, 3))


# ---- means ---------------------------------------------------------------------------------------


@primitive(register=False)
def mean_windows(input, window):
    """Means of windows.

    `window` is (kernel, stride, padding, ceil_mode, count_include_pad, divisor_override).
    """
    kernel, stride, padding, ceil_mode, include, divisor = window
    x = core.contiguous_plain(input)
    ones = (1,) * len(kernel)
    shape = _pooled_shape("avg_pool", x.shape, kernel, stride, padding, ones, ceil_mode)
    out = core.empty(shape, x.dtype)
    if out.numel():
        plan = planned(
            ("avg_pool", x.dtype.code, tuple(x.shape), window),
            lambda threads: planner.plan_avg_pool(
                x.dtype.short, x.shape, kernel, stride, padding, ceil_mode, threads,
                count_include_pad=include, divisor_override=divisor,
            ),
        )  # fmt: skip
        plan.run(out, x)
    return out


@mean_windows.vjp
def _mean_windows_vjp(g, input_like, window):
    return spread_means(g, tuple(input_like.shape), window)


@primitive(register=False)
def spread_means(cotangent, shape, window):
    """What `mean_windows` sends back to an input of `shape`."""
    kernel, stride, padding, ceil_mode, include, divisor = window
    dy = core.contiguous_plain(cotangent)
    out = core.empty(shape, dy.dtype)
    if out.numel():
        plan = planned(
            ("avg_pool_back", dy.dtype.code, shape, window),
            lambda threads: planner.plan_avg_pool_backward(
                dy.dtype.short, shape, kernel, stride, padding, ceil_mode, threads,
                count_include_pad=include, divisor_override=divisor,
            ),
        )  # fmt: skip
        plan.run(out, dy)
    return out


@spread_means.vjp
def _spread_means_vjp(g, window):
    return mean_windows(g, window)


def _define_avg_pool(n):
    name = f"avg_pool{n}d"

    def op(
        input,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    ):
        kernel, stride, padding, _ = _read_windows(name, n, kernel_size, stride, padding, 1)
        if divisor_override == 0:
            raise RuntimeError(f"{name}: divisor must be not zero")
        include = bool(count_include_pad)
        window = (kernel, stride, padding, bool(ceil_mode), include, divisor_override)
        x, added = _batched(name, input, n)
        if not x.is_floating_point() and x.dtype.code != 5:
            raise RuntimeError(f"{name}: \"avg_pool{n}d\" not implemented for '{x.dtype.name}'")
        out = mean_windows(x, window)
        return out.squeeze(0) if added else out

    op.__doc__ = f"Means over {n}-d windows of (N, C, *)."
    spaces = ("", "nn.functional") if n == 1 else _F
    return composite(name=name, namespaces=spaces, method=False, out=n > 1)(op)


avg_pool1d, avg_pool2d, avg_pool3d = (_define_avg_pool(n) for n in (1, 2, 3))


# ---- adaptive ------------------------------------------------------------------------------------


@primitive(register=False)
def adaptive_mean(input, sizes):
    """Means over windows that divide the input into `sizes` outputs."""
    x = core.contiguous_plain(input)
    n = len(sizes)
    out = core.empty((*x.shape[:-n], *sizes), x.dtype)
    if out.numel():
        plan = planned(
            ("adaptive_avg", x.dtype.code, tuple(x.shape), sizes),
            lambda threads: planner.plan_adaptive_pool(
                x.dtype.short, x.shape, sizes, threads, "average"
            ),
        )
        plan.run(out, x)
    return out


@adaptive_mean.vjp
def _adaptive_mean_vjp(g, input_like, sizes):
    return spread_adaptive(g, tuple(input_like.shape), sizes)


@primitive(register=False)
def spread_adaptive(cotangent, shape, sizes):
    """What `adaptive_mean` sends back."""
    dy = core.contiguous_plain(cotangent)
    out = core.empty(shape, dy.dtype)
    if out.numel() == 0:
        return out
    if dy.numel() == 0:
        return out.zero_()
    plan = planned(
        ("adaptive_avg_back", dy.dtype.code, shape, sizes),
        lambda threads: planner.plan_adaptive_avg_pool_backward(
            dy.dtype.short, shape, sizes, threads
        ),
    )
    plan.run(out, dy)
    return out


@spread_adaptive.vjp
def _spread_adaptive_vjp(g, sizes):
    return adaptive_mean(g, sizes)


@primitive(register=False)
def adaptive_max(input, sizes):
    """(values, indices) of maxima over windows that divide the input into `sizes` outputs."""
    x = core.contiguous_plain(input)
    n = len(sizes)
    shape = (*x.shape[:-n], *sizes)
    out, where = core.empty(shape, x.dtype), core.empty(shape, core.dtypes[5])
    if out.numel():
        plan = planned(
            ("adaptive_max", x.dtype.code, tuple(x.shape), sizes),
            lambda threads: planner.plan_adaptive_pool(
                x.dtype.short, x.shape, sizes, threads, "max"
            ),
        )
        plan.run(out, where, x)
    return out, where


@adaptive_max.vjp
def _adaptive_max_vjp(g, input_like, sizes, out_1):
    return from_indices(g[0], out_1, tuple(input_like.shape), len(sizes))


def _check_rank(input, n):
    """What PyTorch checks before anything else in 2 and 3 dimensions."""
    if n > 1 and input.dim() <= n:
        raise ValueError(
            f"Input dimension should be at least {n + 1}, got input of shape {tuple(input.shape)}"
        )


def _adaptive_sizes(name, input, output_size, n):
    if isinstance(output_size, int) or output_size is None:
        output_size = (output_size,) * n
    if len(output_size) != n:
        raise RuntimeError(f"{name}: output_size must be {n} numbers, got {tuple(output_size)}")
    sizes = tuple(
        s if o is None else int(o) for s, o in zip(input.shape[-n:], output_size, strict=True)
    )
    if min(sizes) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{sizes}"
        )
    return sizes


def _define_adaptive(n):
    average, maximum = f"adaptive_avg_pool{n}d", f"adaptive_max_pool{n}d"

    def mean_op(input, output_size):
        _check_rank(input, n)
        x, added = _batched(average, input, n)
        if not x.is_floating_point():
            raise RuntimeError(f"{average}: \"{average}\" not implemented for '{x.dtype.name}'")
        sizes = _adaptive_sizes(average, x, output_size, n)
        if sizes == (1,) * n:
            out = x.mean(tuple(range(2, n + 2)), keepdim=True)
        else:
            out = adaptive_mean(x, sizes)
        return out.squeeze(0) if added else out

    def max_op(input, output_size, return_indices=False):
        _check_rank(input, n)
        x, added = _batched(maximum, input, n)
        if not x.is_floating_point():
            raise RuntimeError(f"{maximum}: \"{maximum}\" not implemented for '{x.dtype.name}'")
        values, indices = adaptive_max(x, _adaptive_sizes(maximum, x, output_size, n))
        if added:
            values, indices = values.squeeze(0), indices.squeeze(0)
        return (values, indices) if return_indices else values

    mean_op.__doc__ = f"Means that divide each {n}-d plane of (N, C, *) into output_size parts."
    max_op.__doc__ = f"Maxima that divide each {n}-d plane of (N, C, *) into output_size parts."
    spaces = ("", "nn.functional")
    with_indices = composite(name=f"{maximum}_with_indices", namespaces=spaces, method=False)
    with_indices(lambda input, output_size, return_indices=False: max_op(input, output_size, True))
    return (
        composite(name=average, namespaces=spaces, method=False)(mean_op),
        composite(name=maximum, namespaces=spaces, method=False)(max_op),
    )


(adaptive_avg_pool1d, adaptive_max_pool1d) = _define_adaptive(1)
(adaptive_avg_pool2d, adaptive_max_pool2d) = _define_adaptive(2)
(adaptive_avg_pool3d, adaptive_max_pool3d) = _define_adaptive(3)
