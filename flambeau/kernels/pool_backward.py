"""Gradients of pooling: each plane is cleared, then every output adds to its inputs, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .pool_window import FIELDS as WINDOW_FIELDS
from .pool_window import Average, taps_inside, to_part
from .target import Target

INDEX_FIELDS = Fields("in_size out_size")


def index_source(dtype: str, target: Target) -> KernelSource:
    """Each gradient to the place its index names; args dx, dy, indices; desc INDEX_FIELDS."""
    key = f"pool_backward_index:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_index(dtype, target), "scatter")


def average_source(dtype: str, target: Target) -> KernelSource:
    """Each gradient shared out over its window; args dx, dy; desc as the forward kernel's."""
    key = f"pool_backward_average:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_average(dtype, target), "spread")


@contextmanager
def summed_plane(
    b: Builder, e: Element, plane: str, size: str, workspace: str
) -> Iterator[tuple[Element, str]]:
    """Zeros to add a plane's gradients to: (their element type, where they are).

    Half types are summed in float32, in this thread's part of the workspace.
    """
    if e.compute is e:
        clear_plane(b, e, plane, size)
        yield e, plane
        return
    wide = e.compute
    part = b.emit(f"and i64 {b.add(b.mul(size, wide.size), 63)}, -64")
    sums = b.offset(workspace, b.mul("%thread", part))
    clear_plane(b, wide, sums, size)
    yield wide, sums
    with b.loop("0", size) as k:
        parts = wide.load_parts(b, b.offset(sums, b.mul(k.index, wide.size)))
        e.store_parts(b, parts, b.offset(plane, b.mul(k.index, e.size)))


def clear_plane(b: Builder, e: Element, plane: str, size: str) -> None:
    """Zeros in a whole plane."""
    whole = b.emit(f"and i64 {size}, {-e.lanes}")
    with b.loop("0", whole, e.lanes) as k:
        e.store(b, e.zero, b.offset(plane, b.mul(k.index, e.size)))
    with b.loop(whole, size) as k:
        e.store_parts(b, e.zero_parts(), b.offset(plane, b.mul(k.index, e.size)))


def add_to(b: Builder, e: Element, value: list[str], at: str) -> None:
    """*at += value."""
    e.store_parts(b, e.add_parts(b, e.load_parts(b, at), value), at)


def _build_index(dtype: str, target: Target) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("scatter"):
        d = INDEX_FIELDS.load(b)
        dx, dy, indices = (b.argument(k) for k in range(3))
        with b.loop("%begin", "%end") as plane:
            to = b.offset(dx, b.mul(b.mul(plane.index, d.in_size), e.size))
            first = b.mul(plane.index, d.out_size)
            with (
                summed_plane(b, e, to, d.in_size, b.argument(3)) as (wide, sums),
                b.loop(first, b.add(first, d.out_size)) as k,
            ):
                place = b.load("i64", b.offset(indices, b.mul(k.index, 8)), 8)
                value = e.load_parts(b, b.offset(dy, b.mul(k.index, e.size)))
                # A window that lies wholly in the padding names a place outside the plane.
                with b.when(b.emit(f"icmp ult i64 {place}, {d.in_size}")):
                    add_to(b, wide, value, b.offset(sums, b.mul(place, wide.size)))
    return b.module()


def _build_average(dtype: str, target: Target) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("spread"):
        d = WINDOW_FIELDS.load(b)
        dx, dy = b.argument(0), b.argument(1)
        size = b.mul(b.mul(d.in_d, d.in_h), d.in_w)
        outputs = b.mul(b.mul(d.out_d, d.out_h), d.out_w)
        reducer = Average(b, e, d, "null")
        with b.loop("%begin", "%end") as plane:
            to = b.offset(dx, b.mul(b.mul(plane.index, size), e.size))
            from_ = b.offset(dy, b.mul(b.mul(plane.index, outputs), e.size))
            with summed_plane(b, e, to, size, b.argument(2)) as (wide, sums):
                _spread_plane(b, e, d, reducer, (wide, sums), from_)
    return b.module()


def _spread_plane(
    b: Builder, e: Element, d, reducer: Average, to: tuple[Element, str], from_: str
) -> None:
    with b.loop("0", d.out_d) as z, b.loop("0", d.out_h) as y, b.loop("0", d.out_w) as x:
        window = SimpleNamespace()
        for axis, loop in (("d", z), ("h", y), ("w", x)):
            size, kernel, stride, pad = (
                getattr(d, f"{name}_{axis}") for name in ("in", "kernel", "stride", "pad")
            )
            start = b.sub(b.mul(loop.index, stride), pad)
            low, high = taps_inside(b, start, size, kernel, "1")
            for name, value in (("start", start), ("low", low), ("high", high)):
                setattr(window, f"{axis}_{name}", value)
        number = b.add(b.mul(b.add(b.mul(z.index, d.out_h), y.index), d.out_w), x.index)
        gradient = e.load_parts(b, b.offset(from_, b.mul(number, e.size)))[0]
        divisor = to_part(b, e, reducer.divisor(window))
        share = b.emit(f"{'fdiv' if e.floating else 'sdiv'} {e.part} {gradient}, {divisor}")
        _add_to_window(b, to[0], d, window, share, to[1])


def _add_to_window(b: Builder, e: Element, d, window, share: str, to: str) -> None:
    with (
        b.loop(window.d_low, window.d_high) as z,
        b.loop(window.h_low, window.h_high) as y,
        b.loop(window.w_low, window.w_high) as x,
    ):
        row = b.add(b.mul(b.add(window.d_start, z.index), d.in_h), b.add(window.h_start, y.index))
        place = b.add(b.mul(row, d.in_w), b.add(window.w_start, x.index))
        add_to(b, e, [share], b.offset(to, b.mul(place, e.size)))
