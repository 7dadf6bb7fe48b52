"""Kernels of Fourier transforms: steps in modules of their own, and the loops that call them.

Which steps a transform takes is data (`fourier_fields`), so that the machine code is the same for
all lengths: one module for each radix and each layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from . import fourier_fields as fields
from . import fourier_lines as lines
from .element import Element
from .fourier_radix import Pass, emit_prime, emit_radix
from .fourier_turn import emit_turn, emit_turn_line
from .fourier_vectors import prefetch
from .ir import Builder
from .plan import KernelSource
from .target import Target, host

_STEPS: dict[str, Callable[[Builder, Element], None]] = {
    "prime": emit_prime,
    "load_lines": partial(lines.emit_load_lines, long=True),
    "load_short_lines": partial(lines.emit_load_lines, long=False),
    "store_lines": partial(lines.emit_store_lines, long=True),
    "store_short_lines": partial(lines.emit_store_lines, long=False),
    "load_columns": lines.emit_load_columns,
    "store_columns": partial(lines.emit_store_columns, turned=False),
    "store_turned": partial(lines.emit_store_columns, turned=True),
    "load_reals": lines.emit_load_reals,
    "store_reals": lines.emit_store_reals,
    "clear": lines.emit_clear,
    "mirror": lines.emit_mirror,
    "turn": emit_turn,
    "turn_line": emit_turn_line,
}


def step_source(name: str, dtype: str, which: Sequence) -> KernelSource:
    """A step, called as step(state, record); `which`: of the step named radix."""
    target = host()
    key = f"fourier:{name}:{tuple(which)}:{dtype}:{target.name}"

    def build() -> str:
        b = Builder(target)
        element = Element(dtype, target)
        parameters = [("ptr noalias", "%state"), ("ptr noalias", "%record")]
        with b.function("step", parameters):
            if name == "radix":
                emit_radix(b, element, Pass(*which))
            else:
                _STEPS[name](b, element)
        return b.module()

    return KernelSource(key, build, "step")


def loop_source(nested: bool) -> KernelSource:
    """The kernel over blocks (PHASE, BLOCK), or over lines each with several sections (NEST)."""
    target = host()
    key = f"fourier:{'nest' if nested else 'blocks'}:{target.name}"
    return KernelSource(key, lambda: _build_loop(target, nested), "loop")


def _build_loop(target: Target, nested: bool) -> str:
    b = Builder(target)
    _emit_run(b)
    with b.kernel("loop"):
        if nested:
            _emit_nest(b)
        else:
            _emit_phase(b)
    return b.module()


_RUN = (
    ("ptr", "%desc"), ("ptr", "%in"), ("ptr", "%out"), ("ptr", "%work"),
    ("i64", "%begin"), ("i64", "%end"),
)  # fmt: skip


def _emit_run(b: Builder) -> None:
    """run(BLOCK, in, out, work, begin, end): the program of every block in a range."""
    with b.function("run", _RUN, linkage="internal"):
        d = fields.BLOCK.load(b)
        state = b.stack(f"[{len(fields.STATE)} x i64]")

        def put(name: str, kind: str, value: str) -> None:
            at = b.offset(state, fields.STATE.index(name), "i64")
            b.store(kind, value, at, 8)

        put("first", "ptr", "%work")
        put("second", "ptr", b.offset("%work", d.second))
        put("sums", "ptr", b.offset("%work", d.sums))
        with b.loop("%begin", "%end") as block:
            outer, across = b.divide(block.index, d.across)
            for name, base, far, near in (
                ("input", "%in", d.input_outer, d.input_block),
                ("output", "%out", d.output_outer, d.output_block),
            ):
                put(name, "ptr", b.offset(base, b.add(b.mul(outer, far), b.mul(across, near))))
            left = b.sub(d.lanes, b.mul(across, d.width))
            put("lanes", "i64", b.min(left, d.width))
            put("block", "i64", across)
            with b.loop("0", d.records) as r:
                at = b.add(len(fields.BLOCK.names), b.mul(r.index, fields.RECORD_LENGTH))
                record = b.offset("%desc", at, "i64")
                code = b.load("ptr", record, 8)
                b.do(f"call void {code}(ptr {state}, ptr {record})")


def _emit_phase(b: Builder) -> None:
    """Tasks are blocks."""
    d = fields.PHASE.load(b)
    source = b.offset(b.argument(d.input), d.input_at)
    output = b.offset(b.argument(d.output), d.output_at)
    work = b.offset(b.argument(2), b.add(d.work, b.mul("%thread", d.work_step)))
    block = b.offset("%desc", len(fields.PHASE.names), "i64")
    b.do(
        f"call void @run(ptr {block}, ptr {source}, ptr {output}, ptr {work}, i64 %begin, i64 %end)"
    )


def _prefetch(b: Builder, place: str, count: str, written: bool) -> None:
    """Ask for a line's bytes early: it is read and written in an order that no processor foresees.
    The line past the last one need not be there."""
    with b.loop("0", count, 64) as at:
        prefetch(b, b.offset(place, at.index), written)


def _emit_nest(b: Builder) -> None:
    """Tasks are lines. Each goes through the sections: from the input (0), the result (1) or one of
    two places between (2, 3) to another."""
    d = fields.NEST.load(b)
    work = b.offset(b.argument(2), b.add(d.work, b.mul("%thread", d.work_step)))
    places = b.stack("[4 x ptr]")
    b.store("ptr", b.offset(work, d.between), b.offset(places, 2, "ptr"), 8)
    b.store("ptr", b.offset(work, d.after), b.offset(places, 3, "ptr"), 8)
    with b.loop("%begin", "%end") as line:
        source = b.offset(b.argument(1), b.mul(line.index, d.input_line))
        b.store("ptr", source, b.offset(places, 0, "ptr"), 8)
        output = b.offset(b.argument(0), b.mul(line.index, d.output_line))
        b.store("ptr", output, b.offset(places, 1, "ptr"), 8)
        for place, step, written in ((source, d.input_line, False), (output, d.output_line, True)):
            _prefetch(b, b.offset(place, step), d.fetched, written)
        with b.loop("0", d.sections) as s:
            at = b.add(len(fields.NEST.names), b.mul(s.index, len(fields.SECTION.names)))
            section = [
                b.load("i64", b.offset("%desc", b.add(at, k), "i64"), 8)
                for k in range(len(fields.SECTION.names))
            ]
            from_ = b.load("ptr", b.offset(places, section[0], "ptr"), 8)
            to = b.load("ptr", b.offset(places, section[1], "ptr"), 8)
            block = b.offset("%desc", section[3], "i64")
            b.do(
                f"call void @run(ptr {block}, ptr {from_}, ptr {to}, ptr {work}, "
                f"i64 0, i64 {section[2]})"
            )
