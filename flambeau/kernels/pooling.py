"""Plans for pooling and its gradients, in one to three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import pool_adaptive, pool_backward, pool_window
from .axis_maps import AxisMap
from .conv_shape import pool_output_size
from .dtypes import OPMATH
from .element import Element
from .mix import plan_mix
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target, host

CHUNK = 1 << 13  # inputs looked at in one chunk, at least


def pooled_shape(
    op: str,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[int, ...]:
    """Shape of a pooling's output. Raises RuntimeError for windows that no input can have."""
    n = len(kernel)
    least = (("kernel_size", kernel, 1), ("stride", stride, 1), ("dilation", dilation, 1))
    for what, values, lowest in least:
        if min(values) < lowest:
            raise RuntimeError(f"{op}: {what} must be at least {lowest}, got {tuple(values)}")
    if any(p < 0 or 2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise RuntimeError(
            f"{op}: padding must be at least 0 and at most half of the kernel size "
            f"{tuple(kernel)}, got {tuple(padding)}"
        )
    rows = zip(x_shape[-n:], kernel, stride, padding, dilation, strict=True)
    out = tuple(pool_output_size(*row, ceil_mode) for row in rows)
    if min(out) < 1:
        raise RuntimeError(
            f"{op}: input {tuple(x_shape)} is too small for kernel_size {tuple(kernel)}: "
            f"the output would be {out}"
        )
    return (*x_shape[:-n], *out)


def plan_max_pool(
    dtype: str,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    threads: int,
    *,
    indices: bool = True,
    target: Target | None = None,
) -> Plan:
    """y, and int64 places in each plane; args: y, indices, x, workspace, or y, x, workspace.

    NaN counts as greater than anything.
    """
    y_shape = pooled_shape("max_pool", x_shape, kernel, stride, padding, dilation, ceil_mode)
    target = target or host()
    source = pool_window.source(dtype, target, "max_index" if indices else "max")
    window = _window(Element(dtype, target), x_shape, y_shape, kernel, stride, padding, dilation)
    return _plan_window(source, window, x_shape, y_shape, len(kernel), threads)


def plan_avg_pool(
    dtype: str,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    threads: int,
    *,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    target: Target | None = None,
) -> Plan:
    """Means of windows; args: y, x, workspace."""
    ones = (1,) * len(kernel)
    y_shape = pooled_shape("avg_pool", x_shape, kernel, stride, padding, ones, ceil_mode)
    target = target or host()
    divisor = _divisor(count_include_pad, divisor_override)
    element = Element(dtype, target)
    if element.floating:
        maps = _window_maps(x_shape, y_shape, kernel, stride, padding, divisor)
        return plan_mix(dtype, math.prod(x_shape[: -len(kernel)]), maps, threads, target)
    window = _window(element, x_shape, y_shape, kernel, stride, padding, ones) | divisor
    source = pool_window.source(dtype, target, "average")
    return _plan_window(source, window, x_shape, y_shape, len(kernel), threads)


def _window_maps(x_shape, y_shape, kernel, stride, padding, divisor) -> list[AxisMap]:
    """Means of windows along each axis; a given divisor is applied along the last one only."""
    n, given = len(kernel), divisor["divisor"]
    divisors = [int(given != 0)] * (n - 1) + [given]
    rows = zip(x_shape[-n:], y_shape[-n:], kernel, stride, padding, divisors, strict=True)
    include = bool(divisor["include_pad"])
    return [AxisMap("window", a, b, (k, s, p, include, by)) for a, b, k, s, p, by in rows]


def plan_avg_pool_backward(
    dtype: str,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    threads: int,
    *,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    target: Target | None = None,
) -> Plan:
    """args: dx, dy, workspace."""
    ones = (1,) * len(kernel)
    y_shape = pooled_shape("avg_pool", x_shape, kernel, stride, padding, ones, ceil_mode)
    divisor = _divisor(count_include_pad, divisor_override)
    maps = _window_maps(x_shape, y_shape, kernel, stride, padding, divisor)
    planes = math.prod(x_shape[: -len(kernel)])
    return plan_mix(dtype, planes, [m.flip() for m in maps], threads, target)


def plan_index_backward(
    dtype: str,
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    spatial: int,
    threads: int,
    *,
    target: Target | None = None,
) -> Plan:
    """Gradient of a maximum pooling (adaptive or not); args: dx, dy, indices, workspace."""
    inputs, outputs = math.prod(x_shape[-spatial:]), math.prod(y_shape[-spatial:])
    desc = pool_backward.INDEX_FIELDS.pack(in_size=inputs, out_size=outputs)
    source = pool_backward.index_source(dtype, target or host())
    return _plan_planes(source, desc, x_shape, spatial, threads, sums_of=dtype)


def plan_unpool(
    dtype: str,
    y_shape: Sequence[int],
    x_shape: Sequence[int],
    spatial: int,
    threads: int,
    *,
    target: Target | None = None,
) -> Plan:
    """Values put where their indices say; args: y, x, indices, wrong, workspace."""
    sizes = {"in_size": math.prod(y_shape[-spatial:]), "out_size": math.prod(x_shape[-spatial:])}
    source = pool_backward.unpool_source(dtype, target or host())
    return _plan_planes(source, pool_backward.INDEX_FIELDS.pack(**sizes), y_shape, spatial, threads)


def plan_adaptive_pool(
    dtype: str,
    x_shape: Sequence[int],
    output_size: Sequence[int],
    threads: int,
    kind: str,
    *,
    target: Target | None = None,
) -> Plan:
    """kind 'max' (args y, indices, x, workspace) or 'average' (args y, x, workspace)."""
    if kind == "average":
        return plan_mix(dtype, *_adaptive_maps(x_shape, output_size), threads, target)
    source = pool_adaptive.source(dtype, target or host(), "adaptive")
    desc = pool_adaptive.ADAPTIVE_FIELDS.pack(**_window_sizes(x_shape, output_size))
    if math.prod(output_size) == 0:
        return Plan((), 0)
    return _plan_planes(source, desc, x_shape, len(output_size), threads)


def plan_fractional_pool(
    dtype: str,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    output_size: Sequence[int],
    samples: Sequence[int],
    threads: int,
    *,
    target: Target | None = None,
) -> Plan:
    """Fractional maximum pooling; args: y, indices, x, samples, workspace.

    `samples` says which of the samples of a plane is for which dimension.
    """
    source = pool_adaptive.source(dtype, target or host(), "fractional")
    named = _window_sizes(x_shape, output_size) | _name_axes("kernel", _three(kernel, 1))
    named |= _name_axes("sample", _three(samples, 0))
    desc = pool_adaptive.FRACTIONAL_FIELDS.pack(**named, samples=len(samples))
    plan = _plan_planes(source, desc, x_shape, len(output_size), threads)
    return plan._replace(workspace=threads * output_size[-1] * 8)


def plan_adaptive_avg_pool_backward(
    dtype: str,
    x_shape: Sequence[int],
    output_size: Sequence[int],
    threads: int,
    *,
    target: Target | None = None,
) -> Plan:
    """args: dx, dy, workspace."""
    planes, maps = _adaptive_maps(x_shape, output_size)
    return plan_mix(dtype, planes, [m.flip() for m in maps], threads, target)


def _adaptive_maps(x_shape: Sequence[int], output_size: Sequence[int]) -> tuple[int, list[AxisMap]]:
    n = len(output_size)
    axes = zip(x_shape[-n:], output_size, strict=True)
    return math.prod(x_shape[:-n]), [AxisMap("adaptive", size, out) for size, out in axes]


def _three(values: Sequence[int], fill: int) -> tuple[int, ...]:
    return (fill,) * (3 - len(values)) + tuple(values)


def _name_axes(name: str, values: Sequence[int]) -> dict[str, int]:
    return {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}


def _window_sizes(x_shape: Sequence[int], output_size: Sequence[int]) -> dict[str, int]:
    inputs = _three(x_shape[-len(output_size) :], 1)
    return _name_axes("in", inputs) | _name_axes("out", _three(output_size, 1))


def _window(
    element: Element,
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> dict[str, int]:
    """The desc's numbers for each axis.

    Vectors serve small strides, others where they can be gathered, and 32-bit places.
    """
    n = len(kernel)
    rows = {
        "in": _three(x_shape[-n:], 1), "out": _three(y_shape[-n:], 1),
        "kernel": _three(kernel, 1), "stride": _three(stride, 1),
        "pad": _three(padding, 0), "dilation": _three(dilation, 1),
    }  # fmt: skip
    named = {k: v for name, values in rows.items() for k, v in _name_axes(name, values).items()}
    vectors = (stride[-1] <= pool_window.SHUFFLED or element.gathers) and math.prod(
        x_shape[-n:]
    ) < 2**31
    return {**named, "vectors": int(vectors), "include_pad": 0, "divisor": 0}


def _divisor(count_include_pad: bool, divisor_override: int | None) -> dict[str, int]:
    if divisor_override == 0:
        raise RuntimeError("avg_pool: divisor_override must not be zero")
    return {"include_pad": int(count_include_pad), "divisor": divisor_override or 0}


def _plan_window(source, window, x_shape, y_shape, spatial: int, threads: int) -> Plan:
    planes, inputs = math.prod(x_shape[:-spatial]), math.prod(x_shape[-spatial:])
    rows = math.prod(y_shape[-spatial:-1])
    if planes == 0:
        return Plan((), 0)
    # Few large planes are cut into blocks of rows.
    blocks = min(rows, ceil_div(4 * threads, planes), max(1, inputs // CHUNK))
    row_block = ceil_div(rows, blocks)
    row_tasks = ceil_div(rows, row_block)
    desc = pool_window.FIELDS.pack(**window, row_tasks=row_tasks, row_block=row_block)
    tasks = planes * row_tasks
    return Plan((Phase(source, desc, tasks, _grain(tasks, inputs // row_tasks)),), 0)


def _plan_planes(source, desc, x_shape, spatial: int, threads: int, sums_of: str = "") -> Plan:
    """A task for each plane; a gradient of a half type has room for sums in float32."""
    planes, inputs = math.prod(x_shape[:-spatial]), math.prod(x_shape[-spatial:])
    if planes == 0:
        return Plan((), 0)
    workspace = threads * round_up(inputs * 4, 64) if sums_of in OPMATH else 0
    return Plan((Phase(source, desc, planes, _grain(planes, inputs)),), workspace)


def _grain(tasks: int, inputs: int) -> int:
    return max(1, min(tasks, CHUNK // max(inputs, 1)))
