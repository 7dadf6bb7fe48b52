"""Filter gradient by Winograd's tiles: dg = G^T [sum over tiles of (A dy) * (B^T d)] G.

For a run of strips at a time the factors of the inputs and of the output's gradients are written to
the workspace; then, for each place of a tile, a product of matrices (channels x tiles by tiles x
filters) is added to sums that only the end turns into taps. Where one run holds all strips the sums
need no memory: a task takes all places of a few channels and filters, and their taps. Tasks share
out places, channels and filters, never tiles, so the result does not depend on threads.
"""

from __future__ import annotations

from types import SimpleNamespace

from . import winograd
from .conv_winograd import report_check
from .conv_winograd_input import BLOCK, PIXELS, STRIPS, Input, emit_fetch
from .element import Element, transpose
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import call_tile
from .winograd import PRODUCTS, Arithmetic

# Distances in bytes. Factors are [group][place][block][tile]; sums [group][place][step][filter].
FACTOR_FIELDS = Fields(
    "x_image x_group x_slice slice_of_output slice_of_tap slice_start y_image y_group y_slice"
    " first_strip strip_count strip_bytes"
    " factors_at factors_group factors_place factors_block"
    " gradients_at gradients_group gradients_place gradients_block"
    " scratch_at scratch" + STRIPS + PIXELS + PIXELS.replace(" ", " y_")
)
SUM_FIELDS = Fields(
    "tiles later blocks block_at vectors factors_at factors_group factors_place factors_block"
    " gradients_at gradients_group gradients_place gradients_block sums_at sums_group sums_place"
)
TAP_FIELDS = Fields(
    "groups vectors steps chunks filters first_filter sums_at sums_group sums_place w_group"
    " w_filter step_at"
)
WHOLE_FIELDS = Fields(
    "tiles blocks block_at vectors panels factors_at factors_group factors_place factors_block"
    " gradients_at gradients_group gradients_place gradients_block filters first_filter w_group"
    " w_filter step_at scratch_at scratch"
)


def tile_shape(target: Target, element: Element) -> tuple[int, int]:
    """(channels, vectors of filters) of the register tile."""
    rows = 8 if target.name in ("avx512", "neon") else 4
    return min(rows, element.compute.lanes), 3


def sources(dtype: str, target: Target, height: int) -> tuple[KernelSource, ...]:
    """Factors of a run of strips, their products, the taps, and both in one.

    args: dw, x, dy, workspace.
    """
    key = f"conv_winograd_weight:{dtype}:{target.name}:{height}"

    def build() -> str:
        return _build(dtype, target, height)

    return tuple(
        KernelSource(key, build, name) for name in ("factors", "products", "taps", "whole")
    )


def _build(dtype: str, target: Target, height: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    rows, vectors = tile_shape(target, outer)
    emit_fetch(b, outer)
    for gradient in (False, True):
        Input(b, outer, height, gradient).emit_transform()
    for width in range(1, vectors + 1):
        _emit_product(b, outer.compute, rows, width)
    with b.kernel("factors"):
        _Factors(b, outer, height).emit()
    with b.kernel("products"):
        _emit_products(b, outer, height)
    _emit_taps_of(b, outer, height)
    with b.kernel("taps"):
        _emit_taps(b, outer)
    with b.kernel("whole"):
        _emit_whole(b, outer, height)
    return b.module()


# ---- factors -------------------------------------------------------------------------------------


class _Factors:
    def __init__(self, b: Builder, outer: Element, height: int) -> None:
        self.b, self.outer = b, outer
        self.d = d = FACTOR_FIELDS.load(b)
        far = b.load("i64", b.argument(4), 8)
        self.of_x = Input(b, outer, height, far=far)
        self.of_y = Input(b, outer, height, gradient=True, far=far)
        own = {name[2:]: value for name, value in vars(d).items() if name[:2] == "y_"}
        self.y = SimpleNamespace(**{**vars(d), **own})
        workspace = b.argument(3)
        self.factors = b.offset(workspace, d.factors_at)
        self.gradients = b.offset(workspace, d.gradients_at)
        self.scratch = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))

    def emit(self) -> None:
        """Task: one block of channels, or of filters, of one strip."""
        b, d = self.b, self.d
        each = b.add(d.blocks, self.y.blocks)
        with b.loop("%begin", "%end") as task:
            rest, block = b.divide(task.index, each)
            group, run = b.divide(rest, d.strip_count)
            number = b.add(run, d.first_strip)
            skipped = b.mul(run, d.strip_bytes)
            b.choose(
                b.less(block, d.blocks),
                lambda: self._inputs(group, number, block, skipped),
                lambda: self._gradients(group, number, b.sub(block, d.blocks), skipped),
            )
        b.fence()

    def _inputs(self, group: str, number: str, block: str, skipped: str) -> None:
        b, d = self.b, self.d
        entry = b.add(d.block_at, b.mul(block, BLOCK))
        count, tap, offset = (b.size(b.add(entry, k)) for k in range(BLOCK))
        from_ = b.offset(b.argument(1), b.add(b.mul(group, d.x_group), offset))
        to = b.add(b.mul(group, d.factors_group), b.mul(block, d.factors_block))
        to = b.offset(self.factors, b.add(to, skipped))

        def find(plane: str) -> tuple[str, str]:
            image, slice_ = b.divide(plane, d.depth)
            slice_ = b.add(b.mul(slice_, d.slice_of_output), d.slice_start)
            slice_ = b.add(slice_, b.mul(tap, d.slice_of_tap))
            exists = b.emit(f"icmp ult i64 {slice_}, {d.in_depth}")
            return b.add(b.mul(image, d.x_image), b.mul(slice_, d.x_slice)), exists

        self._run(self.of_x, d, number, find, (from_, count, to, d.factors_place))

    def _gradients(self, group: str, number: str, block: str, skipped: str) -> None:
        b, d = self.b, self.d
        entry = b.add(self.y.block_at, b.mul(block, BLOCK))
        count, _, offset = (b.size(b.add(entry, k)) for k in range(BLOCK))
        from_ = b.offset(b.argument(2), b.add(b.mul(group, d.y_group), offset))
        to = b.add(b.mul(group, d.gradients_group), b.mul(block, d.gradients_block))
        to = b.offset(self.gradients, b.add(to, skipped))

        def find(plane: str) -> tuple[str, str]:
            image, slice_ = b.divide(plane, d.depth)
            return b.add(b.mul(image, d.y_image), b.mul(slice_, d.y_slice)), "true"

        self._run(self.of_y, self.y, number, find, (from_, count, to, d.gradients_place))

    def _run(self, of: Input, d: SimpleNamespace, number: str, find, where) -> None:
        """Factors of all planes of a strip; where: source, channels, destination, its step."""
        b = self.b
        from_, count, to, place = where
        rest, column = b.divide(number, d.column_tasks)
        block, strip = b.divide(rest, d.strips)
        at = of.find_strip(d, strip, column, whole=True)
        of.clear_margins(d, at, self.scratch)
        channel = b.mul(b.mul(b.mul(d.in_depth, d.in_height), d.in_width), self.outer.size)
        tiles = b.mul(b.mul(at.tile_rows, d.row_tiles), of.line)
        first = b.mul(block, d.plane_block)
        with b.loop("0", d.plane_block) as k:
            plane = b.add(first, k.index)
            offset, exists = find(plane)
            inside = b.emit(f"and i1 {exists}, {b.less(plane, d.planes)}")
            into = b.offset(to, b.mul(k.index, tiles))

            def transform() -> None:
                of.fetch_plane(d, at, b.offset(from_, offset), channel, count, self.scratch)
                of.transform_plane(d, at, self.scratch, into, place)

            b.choose(inside, transform, lambda: of.clear_plane(d, at, into, place))


# ---- products ------------------------------------------------------------------------------------

_PRODUCT = [
    ("i64", "%tiles"),
    ("ptr", "%a"),  # lines of channels
    ("ptr", "%b"),  # lines of filters
    ("i64", "%b_vector"),
    ("ptr", "%c"),
    ("i64", "%c_row"),
    ("i64", "%rows"),  # channels, at most the tile's
    ("i1", "%later"),  # add to C
]


def _emit_product(b: Builder, e: Element, rows: int, vectors: int) -> None:
    """Define `void product{vectors}(_PRODUCT)`: C (+)= A^T B over tiles."""
    line = e.target.vector_bytes
    with b.function(f"product{vectors}", _PRODUCT, "internal", "noinline"):
        # Rows beyond the last fall together with it and are not stored.
        last = b.sub("%rows", 1)
        to = [b.offset("%c", b.mul(b.min(str(r), last), "%c_row")) for r in range(rows)]
        count = rows * vectors

        def load_sums() -> list[str]:
            return [
                b.load(e.vector, b.offset(at, v * line), line) for at in to for v in range(vectors)
            ]

        start = b.choose("%later", load_sums, lambda: [e.zero] * count, [e.vector] * count)
        columns = [b.offset("%b", b.mul(str(v), "%b_vector")) for v in range(vectors)]
        carry = [(e.vector, value) for value in start] + [("ptr", "%a")]
        with b.loop("0", "%tiles", carry=carry) as tile:
            *sums, a = tile.values
            offset = b.mul(tile.index, line)
            row = [b.load(e.vector, b.offset(at, offset), line) for at in columns]
            out = []
            for r in range(rows):
                factor = e.broadcast(b, b.offset(a, r * e.size))
                for v in range(vectors):
                    out += e.multiply_add(b, factor, row[v], [sums[r * vectors + v]])
            tile.next(*out, b.offset(a, line))
        for r in reversed(range(rows)):
            for v in range(vectors):
                b.store(e.vector, tile.values[r * vectors + v], b.offset(to[r], v * line), line)


def _emit_products(b: Builder, outer: Element, height: int) -> None:
    """Task: one block of channels at one place of the tiles."""
    d = SUM_FIELDS.load(b)
    inner, line = outer.compute, outer.target.vector_bytes
    rows, vectors = tile_shape(outer.target, outer)
    places = (PRODUCTS if height > 1 else 1) * PRODUCTS
    workspace = b.argument(3)
    later = b.emit(f"icmp ne i64 {d.later}, 0")
    with b.loop("%begin", "%end") as task:
        rest, block = b.divide(task.index, d.blocks)
        group, place = b.divide(rest, str(places))
        entry = b.add(d.block_at, b.mul(block, 2))
        count, step = b.size(entry), b.size(b.add(entry, 1))
        a = b.add(b.mul(group, d.factors_group), b.mul(place, d.factors_place))
        a = b.add(b.add(a, b.mul(block, d.factors_block)), d.factors_at)
        gradients = b.add(b.mul(group, d.gradients_group), b.mul(place, d.gradients_place))
        sums = b.add(b.mul(group, d.sums_group), b.mul(place, d.sums_place))
        row = b.mul(d.vectors, line)
        sums = b.add(b.add(sums, b.mul(step, row)), d.sums_at)
        with b.loop("0", d.vectors, vectors) as j, b.loop("0", count, rows) as i:
            used = b.min(str(vectors), b.sub(d.vectors, j.index))
            from_ = b.add(b.add(gradients, b.mul(j.index, d.gradients_block)), d.gradients_at)
            to = b.add(sums, b.add(b.mul(i.index, row), b.mul(j.index, line)))
            call_tile(
                b, "product", vectors, used,
                f"i64 {d.tiles}, ptr "
                f"{b.offset(workspace, b.add(a, b.mul(i.index, inner.size)))}, "
                f"ptr {b.offset(workspace, from_)}, i64 {d.gradients_block}, "
                f"ptr {b.offset(workspace, to)}, i64 {row}, "
                f"i64 {b.min(str(rows), b.sub(count, i.index))}, i1 {later}",
            )  # fmt: skip


# ---- taps ----------------------------------------------------------------------------------------


_TAPS_OF = [
    ("ptr", "%from"),  # line of sums at the first place
    ("i64", "%place"),
    ("ptr", "%to"),
    ("i64", "%filter"),  # bytes from one filter to the next
    ("i64", "%left"),  # filters
    ("ptr", "%check"),  # becomes NaN where a tap is not finite
]


def _emit_taps_of(b: Builder, outer: Element, height: int) -> None:
    """Define `void taps_of(_TAPS_OF)`: the taps of one channel for a vector of filters."""
    inner, line = outer.compute, outer.target.vector_bytes
    m = Arithmetic(b, inner)
    with b.function("taps_of", _TAPS_OF, "internal", "noinline"):

        def load(r: int, c: int) -> str:
            at = b.mul(str(r * PRODUCTS + c), "%place")
            return b.load(inner.vector, b.offset("%from", at), line)

        rows = PRODUCTS if height > 1 else 1
        made = winograd.along_both(m, winograd.transform_taps, rows, PRODUCTS, load)
        seen = b.load(inner.vector, "%check", line)
        for value in made:
            seen = m.fma(0.0, value, seen)
        b.store(inner.vector, seen, "%check", line)
        _store_taps(b, outer, made, "%to", "%filter", "%left")


def _emit_taps(b: Builder, outer: Element) -> None:
    """Task: some steps (channels) for one vector of filters."""
    d = TAP_FIELDS.load(b)
    inner, line, lanes = outer.compute, outer.target.vector_bytes, outer.compute.lanes
    workspace = b.argument(3)
    check = b.stack(inner.vector)
    with b.loop("%begin", "%end") as task:
        b.store(inner.vector, "zeroinitializer", check, line)
        rest, chunk = b.divide(task.index, d.chunks)
        group, vector = b.divide(rest, d.vectors)
        first = b.add(b.mul(vector, lanes), d.first_filter)
        sums = b.add(b.mul(group, d.sums_group), b.add(b.mul(vector, line), d.sums_at))
        to = b.add(b.mul(group, d.w_group), b.mul(first, d.w_filter))
        to = b.offset(b.argument(0), to)
        begin = b.mul(chunk, lanes)
        with b.loop(begin, b.min(b.add(begin, lanes), d.steps)) as step:
            from_ = b.add(sums, b.mul(step.index, b.mul(d.vectors, line)))
            at = b.offset(to, b.size(b.add(d.step_at, step.index)))
            b.do(
                f"call void @taps_of(ptr {b.offset(workspace, from_)}, i64 {d.sums_place}, "
                f"ptr {at}, i64 {d.w_filter}, i64 {b.sub(d.filters, first)}, ptr {check})"
            )
        report_check(b, inner, check, workspace)


def _emit_whole(b: Builder, outer: Element, height: int) -> None:
    """Task: products and taps of one block of channels for one panel of filters."""
    d = WHOLE_FIELDS.load(b)
    inner, line = outer.compute, outer.target.vector_bytes
    rows, vectors = tile_shape(outer.target, outer)
    places = (PRODUCTS if height > 1 else 1) * PRODUCTS
    workspace = b.argument(3)
    scratch = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
    check = b.stack(inner.vector)
    row, place_bytes = vectors * line, (rows * vectors + 1) * line
    with b.loop("%begin", "%end") as task:
        b.store(inner.vector, "zeroinitializer", check, line)
        rest, block = b.divide(task.index, d.blocks)
        group, panel = b.divide(rest, d.panels)
        entry = b.add(d.block_at, b.mul(block, 2))
        count, step = b.size(entry), b.size(b.add(entry, 1))
        j = b.mul(panel, vectors)
        used = b.min(str(vectors), b.sub(d.vectors, j))
        a = b.add(b.mul(group, d.factors_group), b.mul(block, d.factors_block))
        a = b.offset(workspace, b.add(a, d.factors_at))
        from_ = b.add(b.mul(group, d.gradients_group), b.mul(j, d.gradients_block))
        from_ = b.offset(workspace, b.add(from_, d.gradients_at))
        with b.loop("0", count, rows) as i:
            here = b.min(str(rows), b.sub(count, i.index))
            with b.loop("0", str(places)) as k:
                left = b.offset(a, b.mul(k.index, d.factors_place))
                left = b.offset(left, b.mul(i.index, inner.size))
                right = b.offset(from_, b.mul(k.index, d.gradients_place))
                to = b.offset(scratch, b.mul(k.index, place_bytes))
                call_tile(
                    b, "product", vectors, used,
                    f"i64 {d.tiles}, ptr {left}, ptr {right}, i64 {d.gradients_block}, ptr {to}, "
                    f"i64 {row}, i64 {here}, i1 false",
                )  # fmt: skip
            with b.loop("0", here) as r, b.loop("0", used) as v:
                sums = b.offset(scratch, b.add(b.mul(r.index, row), b.mul(v.index, line)))
                number = b.add(b.add(step, i.index), r.index)
                first = b.add(b.mul(b.add(j, v.index), inner.lanes), d.first_filter)
                to = b.add(b.mul(group, d.w_group), b.mul(first, d.w_filter))
                to = b.add(to, b.size(b.add(d.step_at, number)))
                b.do(
                    f"call void @taps_of(ptr {sums}, i64 {place_bytes}, "
                    f"ptr {b.offset(b.argument(0), to)}, i64 {d.w_filter}, "
                    f"i64 {b.sub(d.filters, first)}, ptr {check})"
                )
        report_check(b, inner, check, workspace)


def whole_scratch(target: Target, element: Element, places: int) -> int:
    """Bytes a thread needs for sums where one run holds all strips."""
    rows, vectors = tile_shape(target, element)
    return (rows * vectors + 1) * target.vector_bytes * places


def _store_taps(
    b: Builder, outer: Element, taps: list[str], to: str, filter_: str, left: str
) -> None:
    """Vectors of filters, one a tap, to the taps of each filter."""
    inner, lanes = outer.compute, outer.compute.lanes
    for start in range(0, len(taps), lanes):
        some = taps[start : start + lanes]
        tail = outer.tail(b, str(len(some))) if len(some) < lanes else None
        square = transpose(b, some + [inner.zero] * (lanes - len(some)), inner.vector, lanes)
        for r, value in enumerate(square):
            with b.when(b.less(str(r), left)):
                at = b.offset(to, b.mul(str(r), filter_))
                outer.store(b, value, b.offset(at, start * outer.size), tail)
