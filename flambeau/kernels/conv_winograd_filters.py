"""Filters of Winograd's tiles: the factors that the tiles are multiplied with.

A filter's taps lie side by side, and filters lie along the vectors of the factors. Where the taps
of channels follow each other too, a whole run of them is transposed at a time.
"""

from __future__ import annotations

from . import winograd
from .element import Element
from .ir import Builder
from .plan import Fields
from .winograd import PRODUCTS, TAPS, Arithmetic

VECTORS = 2  # of filters, of a register tile
AHEAD = 8  # steps whose taps are asked for early

# Where the numbers of the filters are; steps are the channels that are summed over.
TAKEN = " w_group w_filter step_run tap_at step_at"
# Factors of the filters are kept as [group][panel][place][step][filter].
FIELDS = Fields(
    "filters panels first_filter steps chunks u_at u_group scratch_at scratch shared" + TAKEN
)

_TRANSFORM = [
    ("ptr", "%from"),  # the first filter
    ("i64", "%filter"),  # bytes from one filter to the next
    ("i64", "%count"),  # filters
    ("ptr", "%steps"),  # byte offset of each step's taps
    ("i64", "%run"),  # whether the taps of one step follow those of another
    ("ptr", "%taps"),  # byte offset in the scratch memory of each tap in the order of the filter
    ("i64", "%begin"),  # steps
    ("i64", "%end"),
    ("ptr", "%scratch"),
    ("ptr", "%to"),
    ("i64", "%row"),  # bytes from the factors of a step to those of the next
    ("i64", "%place"),  # and from one factor to the next
    ("i64", "%far"),  # whether factors are for other threads, whose cores are far apart
]


def scratch_bytes(e: Element, height: int) -> int:
    """Bytes that `transform_filters` needs."""
    return height * TAPS * e.compute.lanes * e.target.vector_bytes


def emit_transform(b: Builder, outer: Element, height: int) -> None:
    """Define `void factors(_TRANSFORM)`: those of some steps of one vector of filters."""
    inner, lanes, line = outer.compute, outer.compute.lanes, outer.target.vector_bytes
    taps = height * TAPS

    def pack(first: str, length: str, to: str) -> None:
        offset = b.load("i64", b.offset("%steps", first, "i64"), 8)
        b.do(
            f"call void @pack(i64 {length}, ptr {b.offset('%from', offset)}, i64 {outer.size}, "
            f"i64 %filter, i64 %count, ptr {to}, i64 {lanes})"
        )

    def fetch(step: str) -> None:
        """Ask for the taps of a later step: they are too far away for a prefetcher."""
        later = b.min(b.add(step, AHEAD), last)
        at = b.offset("%from", b.load("i64", b.offset("%steps", later, "i64"), 8))
        for place in range(0, taps * lanes * outer.size, 64):
            b.prefetch(b.offset(at, place))

    with b.function("factors", _TRANSFORM, "internal", "noinline"):
        far = b.is_far("%far")
        last = b.sub("%end", 1)
        run = b.emit("icmp ne i64 %run, 0")
        places = [b.load("i64", b.offset("%taps", k, "i64"), 8) for k in range(taps)]
        with b.loop("%begin", "%end", lanes) as chunk:
            some = b.min(str(lanes), b.sub("%end", chunk.index))

            def together(chunk=chunk, some: str = some) -> None:
                pack(chunk.index, b.mul(some, taps), "%scratch")

            def each(chunk=chunk, some: str = some) -> None:
                with b.loop("0", some) as step:
                    to = b.offset("%scratch", b.mul(step.index, taps * line))
                    fetch(b.add(chunk.index, step.index))
                    pack(b.add(chunk.index, step.index), str(taps), to)

            b.choose(run, together, each)
            with b.loop("0", some) as step:
                at = b.offset("%scratch", b.mul(step.index, taps * line))

                def tap(r: int, c: int, at: str = at) -> str:
                    return b.load(inner.vector, b.offset(at, places[r * TAPS + c]), line)

                made = winograd.along_both(
                    Arithmetic(b, inner), winograd.transform_filter, height, TAPS, tap
                )
                number = b.sub(b.add(chunk.index, step.index), "%begin")
                here = b.offset("%to", b.mul(number, "%row"))
                for k, value in enumerate(made):
                    b.hand_over(
                        inner.vector, value, b.offset(here, b.mul(str(k), "%place")), line, far
                    )


def call_transform(
    b: Builder, d, of: tuple[str, str, str], steps: tuple[str, str], scratch: str, into: tuple
) -> None:
    """Factors of the filters `of` (group, first, count); into: address, row, place, far."""
    group, first, count = of
    from_ = b.add(b.mul(group, d.w_group), b.mul(first, d.w_filter))
    to, row, place, far = into
    b.do(
        f"call void @factors(ptr {b.offset(b.argument(2), from_)}, i64 {d.w_filter}, i64 {count}, "
        f"ptr {b.offset('%desc', d.step_at, 'i64')}, i64 {d.step_run}, "
        f"ptr {b.offset('%desc', d.tap_at, 'i64')}, i64 {steps[0]}, i64 {steps[1]}, "
        f"ptr {scratch}, ptr {to}, i64 {row}, i64 {place}, i64 {far})"
    )


def emit_kernel(b: Builder, outer: Element, height: int) -> None:
    """Task: some steps of the sum for one vector of filters."""
    d = FIELDS.load(b)
    lanes, line = outer.compute.lanes, outer.target.vector_bytes
    places = (PRODUCTS if height > 1 else 1) * PRODUCTS
    scratch = b.offset(b.argument(4), b.add(d.scratch_at, b.mul("%thread", d.scratch)))
    far = b.mul(b.load("i64", b.argument(5), 8), d.shared)
    with b.loop("%begin", "%end") as task:
        rest, chunk = b.divide(task.index, d.chunks)
        group, vector = b.divide(rest, d.panels)
        first = b.add(b.mul(vector, lanes), d.first_filter)
        count = b.min(str(lanes), b.sub(d.filters, first))
        # Filters go in pairs of vectors; the last may be alone.
        pair, second = b.divide(vector, str(VECTORS))
        left = b.sub(d.panels, b.mul(pair, VECTORS))
        row = b.mul(b.min(left, str(VECTORS)), line)
        begin = b.mul(chunk, lanes)
        end = b.min(b.add(begin, lanes), d.steps)
        to = b.mul(b.mul(pair, d.steps), VECTORS * line * places)
        to = b.add(b.add(to, b.mul(group, d.u_group)), b.mul(second, line))
        to = b.add(b.add(to, d.u_at), b.mul(begin, row))
        into = (b.offset(b.argument(4), to), row, b.mul(row, d.steps), far)
        call_transform(b, d, (group, first, count), (begin, end), scratch, into)
    b.fence()
