"""Convolution as products with shifted views of the input, a strip of output rows at a time.

The input rows a strip needs are copied into a workspace with their padding, one plane for each
phase of the stride, so that the values one filter tap meets along a row of outputs lie side by
side. Each step of the sum, (channel, tap), is then one scalar of the filter times vectors at an
offset in the workspace, both taken from a table. The gradient with respect to the input is the same
kernel: one job for each phase of the stride, with that phase's taps, on the output's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from .element import Element, Tail
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, TABLE, Operands, call_tile, emit_tile

# Distances in bytes unless said otherwise; counts in elements. A strip's workspace is
# planes[phase][channel x depth tap] of (strip_rows + extra_rows) x pitch, then the results.
FIELDS = Fields(
    "x_image x_group x_channel x_slice in_depth in_height in_width"
    " channels depth_taps slice_of_output slice_of_tap slice_start slice_divisor"
    " stride_h stride_w pad_h pad_w phases phase_at in_place"
    " filters m_block m_tasks groups depth strips strip_rows out_rows out_columns extra_rows pitch"
    " jobs job_at k_block"
    " w_argument w_at w_group w_row w_panel y_image y_group y_channel y_slice y_height y_width"
    " out_stride_h out_stride_w has_bias relu scratch_at scratch results result_row place_at"
)
JOB = 4  # numbers per job: where its table starts in desc, its length, first output row and column


def source(dtype: str, target: Target, rows: int, vectors: int) -> KernelSource:
    """Kernel with tiles of rows x vectors of pixels; args: y, x, filter, bias, workspace."""
    key = f"conv_strip:{dtype}:{target.name}:{rows}x{vectors}"
    return KernelSource(key, lambda: _build(dtype, target, rows, vectors), "strips")


def _build(dtype: str, target: Target, rows: int, vectors: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    inner = outer.compute
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", Operands(inner, inner, inner), rows, width, TABLE)
    emit_pad(b, outer)
    with b.kernel("strips"):
        Strips(b, outer, rows, vectors).emit()
    return b.module()


# ---- padded copies -------------------------------------------------------------------------------

PAD_PARAMETERS = [
    ("ptr", "%to"),
    ("ptr", "%from"),  # the plane; null for one of zeros
    ("i64", "%rows"),
    ("i64", "%pitch"),  # columns of a row of the copy
    ("i64", "%first"),  # source row of the copy's row 0
    ("i64", "%row_step"),
    ("i64", "%height"),
    ("i64", "%width"),
    ("i64", "%shift"),  # source column of the copy's column 0
    ("i64", "%column_step"),
    ("i64", "%ahead"),  # bytes to what will be copied next, which is asked of memory early
]


def emit_pad(b: Builder, source: Element) -> None:
    """Define `void pad(PAD_PARAMETERS)`: a plane with its margins as zeros, in the compute type.

    Writes up to one vector beyond the plane's end.
    """
    into = source.compute
    with b.function("pad", PAD_PARAMETERS, "internal", "noinline"):
        begin = _first_at_least(b, b.sub("0", "%shift"), "%column_step")
        end = _first_at_least(b, b.sub("%width", "%shift"), "%column_step")
        begin = b.min(b.max(begin, "0"), "%pitch")
        end = b.max(b.min(end, "%pitch"), begin)
        exists = b.emit("icmp ne ptr %from, null")
        adjacent = b.emit("icmp eq i64 %column_step, 1")
        whole_rows = source.masked and not source.complex
        with b.loop("0", "%rows") as y:
            row = b.add("%first", b.mul(y.index, "%row_step"))
            to = b.offset("%to", b.mul(b.mul(y.index, "%pitch"), into.size))
            inside = b.emit(f"and i1 {b.emit(f'icmp ult i64 {row}, %height')}, {exists}")
            start = b.offset("%from", b.mul(b.add(b.mul(row, "%width"), "%shift"), source.size))

            def copy(to: str = to, start: str = start) -> None:
                def apart() -> None:
                    _fill_zeros(b, into, to, "0", begin)
                    _copy_columns(b, source, to, start, begin, end)
                    _fill_zeros(b, into, to, end, "%pitch")

                def together() -> None:
                    _copy_row(b, source, to, start, begin, end)

                b.choose(adjacent, together, apart) if whole_rows else apart()

            b.choose(inside, copy, lambda to=to: _fill_zeros(b, into, to, "0", "%pitch"))


def _first_at_least(b: Builder, value: str, step: str) -> str:
    """ceil(value / step) for step > 0, at least what matters: exact from 0 on, negative below."""
    return b.emit(f"sdiv i64 {b.add(value, b.sub(step, '1'))}, {step}")


def _fill_zeros(b: Builder, into: Element, to: str, begin: str, end: str) -> None:
    with b.loop(begin, end, into.lanes) as x:
        into.store(b, into.zero, b.offset(to, b.mul(x.index, into.size)))


def _copy_row(b: Builder, source: Element, to: str, start: str, begin: str, end: str) -> None:
    """Columns that lie side by side and the zeros around them, in one go."""
    into, lanes = source.compute, source.lanes
    numbers = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
    count = b.splat(b.emit(f"trunc i64 {b.sub(end, begin)} to i32"), "i32", lanes)
    with b.loop("0", "%pitch", lanes) as x:
        first = b.emit(f"trunc i64 {b.sub(x.index, begin)} to i32")
        at = b.emit(f"add <{lanes} x i32> {b.splat(first, 'i32', lanes)}, {numbers}")
        mask = b.emit(f"icmp ult <{lanes} x i32> {at}, {count}")
        place = b.offset(start, b.mul(x.index, source.size))
        b.prefetch(b.offset(place, "%ahead"))
        value = source.load(b, place, Tail(str(lanes), mask))
        into.store(b, value, b.offset(to, b.mul(x.index, into.size)))


def _copy_columns(b: Builder, source: Element, to: str, start: str, begin: str, end: str) -> None:
    into, lanes = source.compute, source.lanes

    def side_by_side() -> None:  # where no masks cut a vector
        with b.loop(begin, end, lanes) as x:
            tail = source.tail(b, b.sub(end, x.index))
            value = source.load(b, b.offset(start, b.mul(x.index, source.size)), tail)
            into.store(b, value, b.offset(to, b.mul(x.index, into.size)))

    def every_second() -> None:
        with b.loop(begin, end, lanes) as x:
            count = b.sub(b.mul(b.sub(end, x.index), 2), 1)
            at = b.offset(start, b.mul(x.index, 2 * source.size))
            low = source.load(b, at, source.tail(b, count))
            high_tail = source.tail(b, b.sub(count, lanes))
            high = source.load(b, b.offset(at, lanes * source.size), high_tail)
            picked = b.shuffle(low, high, into.vector, range(0, 2 * lanes, 2))
            into.store(b, picked, b.offset(to, b.mul(x.index, into.size)))

    def any_step() -> None:
        with b.loop(begin, end) as x:
            at = b.offset(start, b.mul(b.mul(x.index, "%column_step"), source.size))
            source.copy_one(b, at, b.offset(to, b.mul(x.index, into.size)), into)

    cases: list[tuple[int, Callable[[], object]]] = [(1, side_by_side)]
    if source.masked and not source.complex:
        cases = [(2, every_second)]
    b.switch("%column_step", [*cases, (0, any_step)])


# ---- the kernel ----------------------------------------------------------------------------------


class Strips:
    """The kernel: a strip's planes, then its jobs."""

    def __init__(self, b: Builder, outer: Element, rows: int, vectors: int) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.rows, self.vectors = rows, vectors
        self.d = FIELDS.load(b)
        self.y, self.x, self.bias, workspace = (b.argument(k) for k in (0, 1, 3, 4))
        self.filter = b.offset(b.argument(self.d.w_argument), self.d.w_at)
        self.scratch = b.offset(
            workspace, b.add(self.d.scratch_at, b.mul("%thread", self.d.scratch))
        )
        self.results = b.offset(self.scratch, self.d.results)

    def emit(self) -> None:
        """Task: some filters for a strip of rows of one slice of one image."""
        b = self.b
        with b.loop("%begin", "%end") as task:
            at = self._decode(task.index)
            in_place = b.emit(f"icmp ne i64 {self.d.in_place}, 0")
            planes = b.choose(
                in_place, lambda: [self._in_place(at)], lambda: [self._copy_planes(at)], ["ptr"]
            )[0]
            with b.loop("0", self.d.jobs) as job:
                self.run_job(at, planes, job.index)

    def _decode(self, task: str) -> SimpleNamespace:
        b, d = self.b, self.d
        rest, block = b.divide(task, d.m_tasks)
        rest, strip = b.divide(rest, d.strips)
        rest, slice_ = b.divide(rest, d.depth)
        image, group = b.divide(rest, d.groups)
        row = b.mul(strip, d.strip_rows)
        m0 = b.mul(block, d.m_block)
        return SimpleNamespace(
            image=image,
            group=group,
            slice=slice_,
            row=row,
            rows=b.min(d.strip_rows, b.sub(d.out_rows, row)),
            m0=m0,
            m1=b.min(b.add(m0, d.m_block), d.filters),
            x=b.offset(self.x, b.add(b.mul(image, d.x_image), b.mul(group, d.x_group))),
        )

    def _in_place(self, at: SimpleNamespace) -> str:
        b, d = self.b, self.d
        slice_ = b.mul(b.mul(at.slice, d.slice_of_output), d.x_slice)
        row = b.mul(b.mul(at.row, d.in_width), self.outer.size)
        return b.offset(at.x, b.add(slice_, row))

    def _copy_planes(self, at: SimpleNamespace) -> str:
        """Fill the workspace; its address."""
        b, d = self.b, self.d
        rows = b.add(at.rows, d.extra_rows)
        full = b.add(d.strip_rows, d.extra_rows)
        plane = b.mul(b.mul(full, d.pitch), self.inner.size)
        planes = b.mul(d.channels, d.depth_taps)
        with b.loop("0", d.phases) as phase:
            entry = b.add(d.phase_at, b.mul(phase.index, 2))
            phase_y, phase_x = b.size(entry), b.size(b.add(entry, 1))
            first = b.sub(b.add(b.mul(at.row, d.stride_h), phase_y), d.pad_h)
            shift = b.sub(phase_x, d.pad_w)
            with b.loop("0", planes) as p:
                channel, tap = b.divide(p.index, d.depth_taps)
                from_ = self._slice(at, channel, tap)
                to = b.mul(b.add(b.mul(phase.index, planes), p.index), plane)
                b.do(
                    f"call void @pad(ptr {b.offset(self.scratch, to)}, ptr {from_}, i64 {rows}, "
                    f"i64 {d.pitch}, i64 {first}, i64 {d.stride_h}, i64 {d.in_height}, "
                    f"i64 {d.in_width}, i64 {shift}, i64 {d.stride_w}, i64 {d.x_group})"
                )
        return self.scratch

    def _slice(self, at: SimpleNamespace, channel: str, tap: str) -> str:
        """The plane that a depth tap meets, null where it lies outside or between slices."""
        b, d = self.b, self.d
        number = b.add(b.mul(at.slice, d.slice_of_output), d.slice_start)
        number = b.add(number, b.mul(tap, d.slice_of_tap))
        slice_ = b.emit(f"sdiv i64 {number}, {d.slice_divisor}")
        exact = b.emit(f"icmp eq i64 {b.mul(slice_, d.slice_divisor)}, {number}")
        inside = b.emit(f"icmp ult i64 {slice_}, {d.in_depth}")
        valid = b.emit(f"and i1 {exact}, {inside}")
        place = b.offset(at.x, b.add(b.mul(channel, d.x_channel), b.mul(slice_, d.x_slice)))
        return b.select(valid, "ptr", place, "null")

    def run_job(self, at: SimpleNamespace, planes: str, job: str) -> None:
        """Sums of one phase of the outputs, kept aside, then written."""
        b, d = self.b, self.d
        entry = b.add(d.job_at, b.mul(job, JOB))
        table, steps, y0, x0 = (b.size(b.add(entry, k)) for k in range(JOB))
        columns = b.add(b.mul(b.sub(at.rows, 1), d.pitch), d.out_columns)
        filter_ = b.offset(self.filter, b.mul(at.group, d.w_group))
        # At least one turn, so that a phase that no tap meets becomes zeros.
        with b.loop("0", b.max(steps, "1"), d.k_block) as p:
            depth = b.min(d.k_block, b.sub(steps, p.index))
            later = b.emit(f"icmp ne i64 {p.index}, 0")
            flags = b.select(later, "i64", str(ACCUMULATE), "0")
            table_at = b.offset("%desc", b.add(table, b.mul(p.index, 2)), "i64")
            with (
                b.loop("0", columns, self.vectors * self.inner.lanes) as j,
                b.loop(at.m0, at.m1, self.rows) as i,
            ):
                self._tile(at, planes, filter_, (i.index, j.index, columns), depth, flags, table_at)
        self._write(at, y0, x0)

    def _tile(self, at, planes, filter_, place, depth, flags, table) -> None:
        b, d, inner = self.b, self.d, self.inner
        i, j, columns = place
        panel = b.emit(f"udiv i64 {i}, {self.rows}")
        filter_at = b.offset(filter_, b.mul(panel, d.w_panel))
        left = b.sub(columns, j)
        count = b.min(left, str(self.vectors * inner.lanes))
        used = b.emit(f"udiv i64 {b.add(count, inner.lanes - 1)}, {inner.lanes}")
        to = b.offset(self.results, b.mul(b.sub(i, at.m0), d.result_row))
        to = b.offset(to, b.mul(j, inner.size))
        rows = b.min(str(self.rows), b.sub(d.filters, i))
        call_tile(
            b, "tile", self.vectors, used,
            f"i64 {depth}, ptr {filter_at}, i64 {d.w_row}, ptr {table}, "
            f"ptr {b.offset(planes, b.mul(j, inner.size))}, i64 0, ptr {to}, "
            f"i64 {d.result_row}, i64 {rows}, i64 {count}, i64 {flags}, ptr null",
        )  # fmt: skip

    def _write(self, at: SimpleNamespace, y0: str, x0: str) -> None:
        """Results to the output: bias, activation, only the columns that are outputs."""
        b, d = self.b, self.d
        base = b.add(b.mul(at.image, d.y_image), b.mul(at.group, d.y_group))
        base = b.offset(self.y, b.add(base, b.mul(at.slice, d.y_slice)))
        relu = b.emit(f"icmp ne i64 {d.relu}, 0")
        has_bias = b.emit(f"icmp ne i64 {d.has_bias}, 0")
        zero = b.global_constant(f"[{self.outer.size} x i8]", "zeroinitializer")
        dense = b.emit(f"icmp eq i64 {d.out_stride_w}, 1")
        with b.loop(at.m0, at.m1) as m:
            number = b.add(b.mul(at.group, d.filters), m.index)
            bias_at = b.offset(self.bias, b.mul(number, self.outer.size))
            bias = self.outer.load_parts(b, b.select(has_bias, "ptr", bias_at, zero))
            channel = b.offset(base, b.mul(m.index, d.y_channel))
            result = b.offset(self.results, b.mul(b.sub(m.index, at.m0), d.result_row))
            with b.loop("0", at.rows) as r:
                row = b.add(b.mul(b.add(at.row, r.index), d.out_stride_h), y0)
                from_ = b.offset(result, b.mul(b.mul(r.index, d.pitch), self.inner.size))
                to = b.offset(channel, b.mul(b.mul(row, d.y_width), self.outer.size))
                with b.when(b.less(row, d.y_height)):
                    b.choose(
                        dense,
                        lambda: self._write_row(from_, to, bias, relu),
                        lambda: self._write_apart(from_, to, x0),
                    )

    def _write_row(self, from_: str, to: str, bias: list[str], relu: str) -> None:
        b, inner, outer = self.b, self.inner, self.outer
        bias_vector = bias_lanes(b, inner, bias)
        with b.loop("0", self.d.out_columns, inner.lanes) as x:
            value = inner.load(b, b.offset(from_, b.mul(x.index, inner.size)))
            value = inner.add(b, value, bias_vector)
            if not inner.complex:
                value = b.select(relu, inner.vector, inner.relu(b, value), value)
            tail = outer.tail(b, b.sub(self.d.out_columns, x.index))
            outer.store(b, value, b.offset(to, b.mul(x.index, outer.size)), tail)

    def _write_apart(self, from_: str, to: str, x0: str) -> None:
        """Outputs of one phase of a stride: no bias, no activation."""
        b, d = self.b, self.d
        with b.loop("0", d.out_columns) as x:
            column = b.add(b.mul(x.index, d.out_stride_w), x0)
            with b.when(b.less(column, d.y_width)):
                at = b.offset(from_, b.mul(x.index, self.inner.size))
                parts = self.inner.load_parts(b, at)
                self.outer.store_parts(b, parts, b.offset(to, b.mul(column, self.outer.size)))


def bias_lanes(b: Builder, of: Element, parts: list[str]) -> str:
    """One element in every place of a vector."""
    vectors = [of.splat(b, part) for part in parts]
    if not of.complex:
        return vectors[0]
    picks = [k if k % 2 == 0 else of.width + k for k in range(of.width)]
    return b.shuffle(vectors[0], vectors[1], of.vector, picks)
