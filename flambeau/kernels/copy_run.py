"""Copies of adjacent bytes, inside kernels written by hand."""

from __future__ import annotations

from .ir import Builder


def copy_run(b: Builder, to: str, source: str, count: str, size: int) -> None:
    """Copy `count` adjacent bytes, a multiple of the element's size, by vectors where they fit."""
    widths = sorted({w for w in (b.target.vector_bytes, 16) if w > size}, reverse=True)

    def by(widths: list[int]) -> None:
        if not widths:
            with b.loop("0", count, size) as k:
                bits = f"i{8 * size}"
                b.store(bits, b.load(bits, b.offset(source, k.index)), b.offset(to, k.index))
            return
        width = widths[0]

        def vectors() -> None:
            last = b.sub(count, width)
            with b.loop("0", last, width) as k:
                _move(b, to, source, k.index, width)
            _move(b, to, source, last, width)  # may overlap the one before it

        fits = b.emit(f"icmp sge i64 {count}, {width}")
        b.choose(fits, vectors, lambda: by(widths[1:]))

    by(widths)


def _move(b: Builder, to: str, source: str, at: str, width: int) -> None:
    vector = f"<{width} x i8>"
    b.store(vector, b.load(vector, b.offset(source, at)), b.offset(to, at))
