"""Gradient of maximum pooling, and unpooling: each plane is cleared, then every value goes home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

INDEX_FIELDS = Fields("in_size out_size")


def index_source(dtype: str, target: Target) -> KernelSource:
    """Each gradient to the place its index names; args dx, dy, indices; desc INDEX_FIELDS."""
    key = f"pool_backward_index:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_index(dtype, target), "scatter")


def unpool_source(dtype: str, target: Target) -> KernelSource:
    """Each value to the place its index names; args y, x, indices, wrong; desc INDEX_FIELDS.

    The last of several wins; `wrong` (i64) becomes 1 where a place is outside its plane.
    """
    key = f"pool_unpool:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_unpool(dtype, target), "put")


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


def _build_unpool(dtype: str, target: Target) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("put"):
        d = INDEX_FIELDS.load(b)
        y, x, indices, wrong = (b.argument(k) for k in range(4))
        with b.loop("%begin", "%end") as plane:
            to = b.offset(y, b.mul(b.mul(plane.index, d.in_size), e.size))
            first = b.mul(plane.index, d.out_size)
            clear_plane(b, e, to, d.in_size)
            with b.loop(first, b.add(first, d.out_size)) as k:
                place = b.load("i64", b.offset(indices, b.mul(k.index, 8)), 8)
                value = b.load(f"i{8 * e.size}", b.offset(x, b.mul(k.index, e.size)))

                def put(place: str = place, value: str = value) -> None:
                    b.store(f"i{8 * e.size}", value, b.offset(to, b.mul(place, e.size)))

                def complain() -> None:
                    b.store("i64", "1", wrong, 8)

                outside = b.emit(f"icmp uge i64 {place}, {d.in_size}")
                b.choose(outside, complain, put, rare=True)
    return b.module()
