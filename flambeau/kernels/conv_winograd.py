"""Convolution by filters of three (by three) taps, with a fraction of the products.

Tiles of 4 x 4 outputs come from 6 x 6 inputs: see `winograd`. Channels lie along vectors while
tiles are transformed; then each of the 36 places of a tile is a product of matrices, tiles x
channels by channels x filters, and its results are transformed back. The filter's gradient and
convolutions with any other filter have kernels of their own.

Overflow and values that are not finite spread over a tile here. Where a result is not finite the
kernel sets a flag, and the whole convolution is done again without tiles (`Plan.otherwise`).
"""

from __future__ import annotations

from types import SimpleNamespace

from . import conv_winograd_filters, winograd
from .conv_winograd_filters import VECTORS
from .conv_winograd_input import BLOCK, PIXELS, STRIPS, TILE, Input, emit_fetch
from .element import Element, transpose
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .winograd import OUTPUTS, PRODUCTS, Arithmetic

# Distances in bytes. Lines are vectors: one pixel of some filters.
FIELDS = Fields(
    "x_image x_group x_slice slice_of_output slice_of_tap slice_start"
    " y_image y_group y_channel y_slice out_rows out_columns"
    + STRIPS
    + PIXELS
    + " plane_tasks output_step column_output out_pitch out_by_row"
    " filters first_filter last_filter k_block k_tasks u_at u_group steps"
    " tiles places sums input output scratch_at scratch has_bias relu"
    # Does a task make the filters' factors, of panel_blocks blocks of channels at a time? Where it
    # keeps them, bytes from one to the next, and its memory for taps.
    " made panel_blocks panel panel_place taps" + conv_winograd_filters.TAKEN
)


def tile_sizes(target: Target) -> tuple[int, ...]:
    """Rows of the register tiles, most first."""
    return (14, 8, 4) if target.name in ("avx512", "neon") else (6, 4, 2)


def sources(dtype: str, target: Target, height: int) -> tuple[KernelSource, KernelSource]:
    """The filters' factors, and the convolution; height: rows of the filter, 3 or 1.

    args: y, x, filter, bias, workspace, distance. `shared` in the first's desc: threads do not read
    just the factors they make.
    """
    key = f"conv_winograd:{dtype}:{target.name}:{height}"

    def build() -> str:
        return _build(dtype, target, height)

    return KernelSource(key, build, "transform_filters"), KernelSource(key, build, "tiles")


def _build(dtype: str, target: Target, height: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    emit_pack(b, "pack", outer)
    for rows in tile_sizes(target):
        for width in range(1, VECTORS + 1):
            _emit_product(b, outer.compute, rows, width)
    conv_winograd_filters.emit_transform(b, outer, height)
    with b.kernel("transform_filters"):
        conv_winograd_filters.emit_kernel(b, outer, height)
    emit_fetch(b, outer)
    Input(b, outer, height).emit_transform()
    _Output(b, outer, height).emit_functions()
    with b.kernel("tiles"):
        _Tiles(b, outer, height).emit()
    return b.module()


_PRODUCT = [
    ("i64", "%blocks"),  # of channels
    ("ptr", "%counts"),  # channels of each; the stride is that of the plan's block table
    ("ptr", "%a"),  # [block][tile][channel]
    ("i64", "%a_block"),
    ("ptr", "%b"),  # [channel][filter]
    ("ptr", "%c"),  # [vector of filters][tile][filter]
    ("i64", "%c_vector"),
    ("i64", "%later"),  # whether to add to C
]


def _emit_product(b: Builder, e: Element, rows: int, vectors: int) -> None:
    """Define `void product{rows}x{vectors}(_PRODUCT)`: C [+]= A B for some tiles."""
    line = e.target.vector_bytes

    def place(r: int, v: int) -> str:
        return b.offset("%c", b.add(b.mul(str(v), "%c_vector"), r * line))

    order = [(r, v) for r in range(rows) for v in range(vectors)]
    with b.function(f"product{rows}x{vectors}", _PRODUCT, "internal", "noinline"):
        starts = b.choose(
            b.emit("icmp ne i64 %later, 0"),
            lambda: [b.load(e.vector, place(r, v), line) for r, v in order],
            lambda: [e.zero] * len(order),
            [e.vector] * len(order),
        )
        carry = [(e.vector, start) for start in starts]
        with b.loop("0", "%blocks", carry=[*carry, ("ptr", "%a"), ("ptr", "%b")]) as block:
            *sums, a, filters = block.values
            following = b.offset(a, "%a_block")
            for r in range(rows):
                b.prefetch(b.offset(following, r * line))
            count = b.load("i64", b.offset("%counts", b.mul(block.index, BLOCK), "i64"), 8)
            inner = [(e.vector, value) for value in sums] + [("ptr", a), ("ptr", filters)]
            with b.loop("0", count, carry=inner) as step:
                *sums, at, here = step.values
                row = [b.load(e.vector, b.offset(here, v * line), line) for v in range(vectors)]
                out = []
                for r in range(rows):
                    factor = e.broadcast(b, b.offset(at, r * line))
                    for v in range(vectors):
                        out += e.multiply_add(b, factor, row[v], [sums[r * vectors + v]])
                step.next(*out, b.offset(at, e.size), b.offset(here, vectors * line))
            *sums, _, here = step.values
            block.next(*sums, b.offset(a, "%a_block"), here)
        for k, (r, v) in enumerate(order):
            b.store(e.vector, block.values[k], place(r, v), line)


# ---- tiles of outputs ----------------------------------------------------------------------------

_RESULT = [
    ("ptr", "%from"),
    ("i64", "%place"),  # bytes from one product to the next
    ("ptr", "%to"),
    ("i64", "%row"),
    ("i64", "%column"),
    ("ptr", "%check"),  # becomes NaN where a result is not finite
]
_WRITE = [
    ("ptr", "%from"),  # lines of results
    ("ptr", "%to"),
    ("i64", "%channel"),
    ("i64", "%count"),  # filters
    ("i64", "%runs"),
    ("i64", "%run_from"),
    ("i64", "%run_to"),
    ("i64", "%pixels"),
    ("ptr", "%bias"),  # or null
    ("i64", "%relu"),
]


class _Output:
    def __init__(self, b: Builder, outer: Element, height: int) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.rows = OUTPUTS if height > 1 else 1
        self.products = PRODUCTS if height > 1 else 1
        self.line = outer.target.vector_bytes

    def emit_functions(self) -> None:
        """Define `transform_output` and `write`."""
        b = self.b
        with b.function("transform_output", _RESULT, "internal", "noinline"):
            self._transform()
        with b.function("write", _WRITE, "internal", "noinline"):
            self._write()

    def _transform(self) -> None:
        b, e = self.b, self.inner

        def load(r: int, c: int) -> str:
            at = b.mul(str(r * PRODUCTS + c), "%place")
            return b.load(e.vector, b.offset("%from", at), self.line)

        m = Arithmetic(b, e)
        made = winograd.along_both(m, winograd.transform_output, self.products, PRODUCTS, load)
        check = b.load(e.vector, "%check", self.line)
        for k, value in enumerate(made):
            r, c = divmod(k, OUTPUTS)
            at = b.add(b.mul(str(r), "%row"), b.mul(str(c), "%column"))
            b.store(e.vector, value, b.offset("%to", at), self.line)
            check = m.fma(0.0, value, check)
        b.store(e.vector, check, "%check", self.line)

    def _write(self) -> None:
        """Squares of pixels x filters transposed to the output, with bias and activation."""
        b, inner, outer, lanes = self.b, self.inner, self.outer, self.inner.lanes
        relu = b.emit("icmp ne i64 %relu, 0")
        bias = b.choose(
            b.emit("icmp ne ptr %bias, null"),
            lambda: [outer.load(b, "%bias", outer.tail(b, "%count"))],
            lambda: [inner.zero],
            [inner.vector],
        )[0]
        with b.loop("0", "%runs") as run, b.loop("0", "%pixels", lanes) as p:
            from_ = b.add(b.mul(run.index, "%run_from"), b.mul(p.index, self.line))
            from_ = b.offset("%from", from_)
            rows = []
            for r in range(lanes):
                value = b.load(inner.vector, b.offset(from_, r * self.line), self.line)
                value = inner.add(b, value, bias)
                rows.append(b.select(relu, inner.vector, inner.relu(b, value), value))
            tail = outer.tail(b, b.sub("%pixels", p.index))
            to = b.add(b.mul(run.index, "%run_to"), b.mul(p.index, outer.size))
            to = b.offset("%to", to)
            for r, value in enumerate(transpose(b, rows, inner.vector, lanes)):
                with b.when(b.less(str(r), "%count")):
                    outer.store(b, value, b.offset(to, b.mul(str(r), "%channel")), tail)


# ---- the kernel ----------------------------------------------------------------------------------


class _Tiles:
    def __init__(self, b: Builder, outer: Element, height: int) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.input = Input(b, outer, height)
        self.outputs = OUTPUTS if height > 1 else 1
        self.places = (PRODUCTS if height > 1 else 1) * PRODUCTS
        self.line = outer.target.vector_bytes
        self.d = d = FIELDS.load(b)
        self.y, self.x, _, self.bias, self.workspace = (b.argument(k) for k in range(5))
        scratch = b.add(d.scratch_at, b.mul("%thread", d.scratch))
        self.factors = b.offset(self.workspace, scratch)
        self.sums = b.offset(self.factors, d.sums)
        self.strip = b.offset(self.factors, d.input)
        self.results = b.offset(self.factors, d.output)
        self.check = b.stack(self.inner.vector)

    def emit(self) -> None:
        """Task: some filters for a strip of tiles of one plane, or for all tiles of some."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            b.store(self.inner.vector, "zeroinitializer", self.check, self.line)
            rest, column = b.divide(task.index, d.column_tasks)
            rest, strip = b.divide(rest, d.strips)
            rest, block = b.divide(rest, d.plane_tasks)
            # The filters last: most threads then read the factors that they have made themselves.
            group, k_task = b.divide(rest, d.k_tasks)
            at = self.input.find_strip(d, strip, column)
            at.group, at.column = group, column
            at.plane = b.mul(block, d.plane_block)
            at.planes = b.min(d.plane_block, b.sub(d.planes, at.plane))
            at.plane_tiles = b.mul(at.tile_rows, d.row_tiles)
            at.tiles = b.mul(at.planes, at.plane_tiles)
            self.input.clear_margins(d, at, self.strip)
            self._transform_inputs(at)
            first = b.add(d.first_filter, b.mul(k_task, d.k_block))
            last = b.min(b.add(first, d.k_block), d.last_filter)
            with b.loop(first, last, VECTORS * self.inner.lanes) as j:
                self._run_panel(at, j.index)
            self._report()

    def _transform_inputs(self, at: SimpleNamespace) -> None:
        b, d = self.b, self.d
        group = b.offset(self.x, b.mul(at.group, d.x_group))
        channel = b.mul(b.mul(b.mul(d.in_depth, d.in_height), d.in_width), self.outer.size)
        with b.loop("0", d.blocks) as block:
            entry = b.add(d.block_at, b.mul(block.index, BLOCK))
            count, tap, offset = (b.size(b.add(entry, k)) for k in range(BLOCK))
            to = b.mul(block.index, b.mul(d.tiles, self.line))
            to = b.offset(self.factors, to)
            with b.loop("0", at.planes) as plane:
                image, slice_ = b.divide(b.add(at.plane, plane.index), d.depth)
                number = b.add(b.mul(slice_, d.slice_of_output), d.slice_start)
                number = b.add(number, b.mul(tap, d.slice_of_tap))
                inside = b.emit(f"icmp ult i64 {number}, {d.in_depth}")
                from_ = b.add(b.mul(image, d.x_image), b.mul(number, d.x_slice))
                from_ = b.offset(group, b.add(from_, offset))
                skipped = b.mul(b.mul(plane.index, at.plane_tiles), self.line)
                into = b.offset(to, skipped)

                def transform(from_: str = from_, into: str = into) -> None:
                    self.input.fetch_plane(d, at, from_, channel, count, self.strip)
                    self.input.transform_plane(d, at, self.strip, into, d.places)

                def clear(into: str = into) -> None:
                    self.input.clear_plane(d, at, into, d.places)

                b.choose(inside, transform, clear)

    def _run_panel(self, at: SimpleNamespace, j: str) -> None:
        """Products of all tiles with one panel of filters, and the outputs from them."""
        b, d, lanes = self.b, self.d, self.inner.lanes
        count = b.min(str(VECTORS * lanes), b.sub(d.last_filter, j))
        used = b.emit(f"udiv i64 {b.add(count, lanes - 1)}, {lanes}")
        vector = b.mul(d.tiles, self.line)
        sums_place = b.add(b.mul(vector, VECTORS), self.line)
        with b.loop("0", d.blocks, d.panel_blocks, carry=[("i64", "0")]) as some:
            blocks = SimpleNamespace(first=some.index)
            blocks.count = b.min(d.panel_blocks, b.sub(d.blocks, some.index))
            blocks.begin, blocks.end = some.values[0], self._count_steps(blocks, some.values[0])
            panel, place = self._find_factors(at, j, used, blocks)
            with b.loop("0", str(self.places)) as k:
                from_ = b.add(b.mul(k.index, d.places), b.mul(some.index, vector))
                operands = SimpleNamespace(
                    blocks=blocks,
                    a=b.offset(self.factors, from_),
                    b=b.offset(panel, b.mul(k.index, place)),
                    c=b.offset(self.sums, b.mul(k.index, sums_place)),
                    vector=vector,
                )
                self._multiply(at, operands, used)
            some.next(blocks.end)
        with b.loop("0", used) as v:
            from_ = b.offset(self.sums, b.mul(v.index, vector))
            self._write_planes(at, from_, sums_place, b.add(j, b.mul(v.index, lanes)))

    def _count_steps(self, blocks: SimpleNamespace, begin: str) -> str:
        """`begin` and the channels of the blocks."""
        b, d = self.b, self.d
        with b.loop("0", blocks.count, carry=[("i64", begin)]) as block:
            number = b.mul(b.add(blocks.first, block.index), BLOCK)
            block.next(b.add(block.values[0], b.size(b.add(d.block_at, number))))
        return block.values[0]

    def _find_factors(
        self, at: SimpleNamespace, j: str, used: str, blocks: SimpleNamespace
    ) -> tuple[str, str]:
        """Where the factors of the filters from j on are; bytes from one place to the next."""
        b, d = self.b, self.d

        def kept() -> list[str]:
            skipped = b.emit(f"udiv i64 {b.sub(j, d.first_filter)}, {self.inner.lanes}")
            panel = b.mul(skipped, b.mul(d.steps, self.places * self.line))
            panel = b.add(b.add(b.mul(at.group, d.u_group), panel), d.u_at)
            return [b.offset(self.workspace, panel), b.mul(b.mul(d.steps, used), self.line)]

        def made() -> list[str]:
            panel = b.offset(self.factors, d.panel)
            self._make_factors(at, j, used, blocks, panel)
            return [panel, d.panel_place]

        made_here = b.emit(f"icmp ne i64 {d.made}, 0")
        panel, place = b.choose(made_here, made, kept, ["ptr", "i64"])
        return panel, place

    def _make_factors(
        self, at: SimpleNamespace, j: str, used: str, blocks: SimpleNamespace, panel: str
    ) -> None:
        b, d, lanes = self.b, self.d, self.inner.lanes
        taps, row = b.offset(self.factors, d.taps), b.mul(used, self.line)
        with b.loop("0", used) as v:
            first = b.add(j, b.mul(v.index, lanes))
            filters = (at.group, first, b.min(str(lanes), b.sub(d.last_filter, first)))
            into = (b.offset(panel, b.mul(v.index, self.line)), row, d.panel_place, "0")
            steps = (blocks.begin, blocks.end)
            conv_winograd_filters.call_transform(b, d, filters, steps, taps, into)

    def _multiply(self, at: SimpleNamespace, of: SimpleNamespace, used: str) -> None:
        b, d = self.b, self.d
        counts = b.offset("%desc", b.add(d.block_at, b.mul(of.blocks.first, BLOCK)), "i64")
        sizes = tile_sizes(self.inner.target)

        def call(rows: int, width: int, place: str):
            return lambda: b.do(
                f"call void @product{rows}x{width}(i64 {of.blocks.count}, ptr {counts}, "
                f"ptr {b.offset(of.a, place)}, i64 {of.vector}, ptr {of.b}, "
                f"ptr {b.offset(of.c, place)}, i64 {of.vector}, i64 {of.blocks.first})"
            )

        with b.loop("0", at.tiles, sizes[0]) as t:
            left = b.sub(at.tiles, t.index)
            place = b.mul(t.index, self.line)

            def rows_of(rows: int, place: str = place) -> None:
                b.switch(used, [(w, call(rows, w, place)) for w in range(1, VECTORS + 1)])

            def choose(k: int, left: str = left) -> None:
                if k == len(sizes) - 1:
                    return rows_of(sizes[k])
                more = b.emit(f"icmp sgt i64 {left}, {sizes[k + 1]}")
                b.choose(more, lambda: rows_of(sizes[k]), lambda: choose(k + 1))
                return None

            choose(0)

    def _write_planes(self, at: SimpleNamespace, from_: str, place: str, filter_: str) -> None:
        """Outputs of one vector of filters."""
        b, d = self.b, self.d
        row = b.mul(b.mul(d.dilate_h, d.out_pitch), self.line)
        column = b.mul(d.dilate_w, self.line)
        with b.loop("0", at.planes) as plane:
            with b.loop("0", at.tile_rows) as r, b.loop("0", d.row_tiles) as t:
                number = b.add(b.mul(plane.index, at.tile_rows), r.index)
                number = b.add(b.mul(number, d.row_tiles), t.index)
                offset = b.size(b.add(b.add(d.tile_at, b.mul(t.index, TILE)), 1))
                to = b.offset(self.results, b.add(b.mul(r.index, d.output_step), offset))
                b.do(
                    f"call void @transform_output(ptr "
                    f"{b.offset(from_, b.mul(number, self.line))}, i64 {place}, ptr {to}, "
                    f"i64 {row}, i64 {column}, ptr {self.check})"
                )
            self._write_plane(at, b.add(at.plane, plane.index), filter_)

    def _write_plane(self, at: SimpleNamespace, plane: str, filter_: str) -> None:
        b, d, size = self.b, self.d, self.outer.size
        image, slice_ = b.divide(plane, d.depth)
        y = b.mul(b.mul(at.first_tile, d.dilate_h), self.outputs)
        x = b.mul(at.column, d.column_output)
        to = b.add(b.mul(image, d.y_image), b.mul(at.group, d.y_group))
        to = b.add(b.add(to, b.mul(slice_, d.y_slice)), b.mul(filter_, d.y_channel))
        to = b.add(to, b.mul(b.add(b.mul(y, d.out_columns), x), size))
        rows = b.mul(b.mul(at.tile_rows, d.dilate_h), self.outputs)
        rows = b.min(rows, b.sub(d.out_rows, y))
        columns = b.min(b.sub(d.out_columns, x), d.out_pitch)
        by_row = b.emit(f"icmp ne i64 {d.out_by_row}, 0")
        runs = b.select(by_row, "i64", rows, "1")
        pixels = b.select(by_row, "i64", columns, b.mul(rows, columns))
        bias = b.offset(self.bias, b.mul(b.add(b.mul(at.group, d.filters), filter_), size))
        has_bias = b.emit(f"icmp ne i64 {d.has_bias}, 0")
        b.do(
            f"call void @write(ptr {self.results}, ptr {b.offset(self.y, to)}, "
            f"i64 {d.y_channel}, i64 {b.sub(d.filters, filter_)}, i64 {runs}, "
            f"i64 {b.mul(d.out_pitch, self.line)}, i64 {b.mul(d.out_columns, size)}, "
            f"i64 {pixels}, ptr {b.select(has_bias, 'ptr', bias, 'null')}, i64 {d.relu})"
        )

    def _report(self) -> None:
        """Raise the workspace's flag where a result was not finite."""
        report_check(self.b, self.inner, self.check, self.workspace)


def report_check(b: Builder, e: Element, check: str, workspace: str) -> None:
    """Set the flag at the start of the workspace where the vector at `check` holds a NaN."""
    value = b.load(e.vector, check, e.target.vector_bytes)
    lanes = f"<{e.width} x i1>"
    bad = b.emit(f"fcmp uno {e.vector} {value}, {value}")
    name = f"llvm.vector.reduce.or.v{e.width}i1"
    with b.when(b.intrinsic(name, "i1", (lanes, bad))):
        b.store("i64", "1", workspace, 8)
