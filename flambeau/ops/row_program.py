"""Row programs of several outputs, run by one kernel: fused derivatives, a norm and its statistics.

A body takes operands (and keyword-only numbers) and returns a tuple of graphs. An output belongs to
an operand's place, whose shape it has: what the operand was broadcast over is summed. `ROW` is the
place of outputs that are one a row, `TOTAL` that of their sum over all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache as cache_result
from typing import NamedTuple

from .. import core
from ..core import Tensor
from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import cache, loops, target
from .identity import identify
from .promotion import promote_names

Shape = tuple[int, ...]
_GRAIN = 16384  # elements of a task
_SHORT_ROW = 64
_BLOCKS = 16  # most copies of an output that is summed over rows
MOST_LAUNCHES = 1024


class Group(NamedTuple):
    """Neighbouring dimensions that every operand walks as one."""

    size: int
    reduced: bool
    first: int  # dimensions [first, last)
    last: int


class Space(NamedTuple):
    """How a kernel walks the index space: groups as loops, innermost first within each part."""

    columns: bool
    rows: Group | None  # the kernel's own range
    outer: tuple[Group, ...]  # kept groups around it
    along: tuple[Group, ...]  # one or two reduced groups: inner, outer


class Out(NamedTuple):
    """One output: its kind (see kernels/row_loops.py) and its shape before the last sums."""

    kind: str
    shape: Shape


def find_groups(shape: Shape, mask: int, footprints: Sequence[Shape]) -> list[Group]:
    """The groups of a shape, outermost first; footprints have 1 where an operand is broadcast."""
    groups: list[Group] = []
    before: tuple | None = None
    for d, size in enumerate(shape):
        if size == 1:
            continue
        pattern = (mask >> d & 1, *(f[d] != 1 for f in footprints))
        if groups and pattern == before:
            last = groups.pop()
            groups.append(Group(last.size * size, last.reduced, last.first, d + 1))
        else:
            groups.append(Group(size, bool(mask >> d & 1), d, d + 1))
        before = pattern
    return groups


def find_space(groups: list[Group]) -> Space | None:
    """The loops over the groups; None where the kernels have no such form."""
    kept = tuple(g for g in reversed(groups) if not g.reduced)
    along = tuple(g for g in reversed(groups) if g.reduced)
    if not 1 <= len(along) <= 2 or len(kept) > 4:
        return None
    columns = not groups[-1].reduced
    return Space(columns, kept[0] if kept else None, kept[1:], along)


class Launch(NamedTuple):
    """Everything a kernel is launched with but the tensors."""

    kernel: int
    results: tuple[tuple[Shape, core.dtype, Shape], ...]  # shape, type, dimensions yet to sum
    desc: tuple[int, ...]
    rows: int
    grain: int
    outer: Shape
    strides: tuple[Shape, ...]
    narrow: bool

    def run(self, operands: Sequence[Tensor], numbers: tuple[float, ...]) -> list[Tensor]:
        """The outputs for operands of the planned shapes and types."""
        outs = [core.empty(shape, dtype) for shape, dtype, _ in self.results]
        tensors = [t if t.is_contiguous() else core.contiguous_plain(t) for t in operands]
        core.launch_rows(
            self.kernel,
            (*outs, *tensors, *numbers),
            self.desc,
            self.rows,
            self.grain,
            self.outer,
            self.strides,
            self.narrow,
        )
        for k, (_, _, dims) in enumerate(self.results):
            if dims:
                outs[k] = _sum_op()(outs[k], dims)
        return outs


class RowProgram:
    """The kernels of one body, and how they were launched for sizes seen before."""

    def __init__(
        self,
        name: str,
        body: Callable,
        places: Sequence[int],
        identity: str | None = None,
        types: Sequence[str] = (),
    ) -> None:
        """types: those of outputs that are one a row, "" for the operands' own.

        Unless given they have the type that is computed in.
        """
        self.name, self.body, self.places, self.identity = name, body, tuple(places), identity
        self.types = tuple(types)
        self._launches: dict[tuple, Launch | None] = {}
        self._kernels: dict[tuple, int] = {}

    def run(
        self,
        operands: Sequence[Tensor],
        shape: Shape,
        mask: int,
        numbers: tuple[float, ...],
        footprints: Sequence[Shape],
    ) -> list[Tensor] | None:
        """The outputs, whose places are the footprints (shapes broadcast to `shape`).

        None where the layout fits no kernel.
        """
        launch = self.plan(operands, shape, mask, len(numbers), footprints)
        return None if launch is None else launch.run(operands, numbers)

    def plan(
        self,
        operands: Sequence[Tensor],
        shape: Shape,
        mask: int,
        numbers: int,
        footprints: Sequence[Shape],
    ) -> Launch | None:
        """How to launch for operands like these; None where the layout fits no kernel."""
        key = (shape, mask, *footprints, *((t.shape, t.dtype) for t in operands))
        if key not in self._launches:
            if len(self._launches) > MOST_LAUNCHES:
                self._launches.clear()
            self._launches[key] = self._plan(operands, shape, mask, numbers, footprints)
        return self._launches[key]

    def _plan(self, operands, shape: Shape, mask: int, numbers: int, footprints) -> Launch | None:
        padded = [(1,) * (len(shape) - t.dim()) + tuple(t.shape) for t in operands]
        space = find_space(find_groups(shape, mask, [*padded, *footprints]))
        if space is None or 0 in shape:
            return None
        outs = [
            _plan_output(space, f, shape, place)
            for f, place in zip(footprints, self.places, strict=True)
        ]
        if _gathers(space, outs, operands):
            space = space._replace(columns=True)
        copies, block = _count_blocks(space, outs)
        compute = dt.opmath(_common([t.dtype.short for t in operands]))
        own = operands[0].dtype
        dtypes = [
            own if o.kind == "e" else self._row_type(k, compute, own) for k, o in enumerate(outs)
        ]
        items = [d.itemsize for d in dtypes] + [t.dtype.itemsize for t in operands]
        shapes = [*(o.shape for o in outs), *padded]
        walks = [_walk(i, s, space) for i, s in zip(items, shapes, strict=True)]
        desc = [*_sizes(space)]
        for k, (shape_, item, walk) in enumerate(zip(shapes, items, walks, strict=True)):
            is_copied = k < len(outs) and outs[k].kind in "st"
            desc += (math.prod(shape_) * item, *walk[1:3]) if is_copied else walk[:3]
        desc += [0] * (3 * numbers)
        types = (*(d.short for d in dtypes), *(t.dtype.short for t in operands))
        accesses = tuple(
            _access(w, i, space, k < len(outs) and outs[k].kind != "e")
            for k, (w, i) in enumerate(zip(walks, items, strict=True))
        )
        kinds = "".join(o.kind for o in outs)
        kernel = self._kernel((space.columns, kinds, types, accesses, compute, numbers))
        rows = space.rows.size if space.rows else 1
        grain = max(1, _GRAIN // (desc[0] * desc[1]))
        if copies:
            desc += [rows, block]
            rows, grain = copies, 1
        elif space.columns:
            grain = -(-grain // 64) * 64
        return Launch(
            kernel,
            tuple(map(_result, outs, self.places, dtypes, [copies] * len(outs))),
            tuple(desc),
            rows,
            grain,
            tuple(g.size for g in space.outer),
            tuple(tuple(w[3:]) for w in walks),
            compute == "f32",
        )

    def _row_type(self, out: int, compute: str, own: core.dtype) -> core.dtype:
        if self.types:
            return _DTYPES[self.types[out]] if self.types[out] else own
        return _DTYPES[compute]

    # ---- kernels ---------------------------------------------------------------------------------

    def _kernel(self, key: tuple) -> int:
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._compile(*key)
        return found

    def _compile(self, columns, kinds, types, accesses, compute: str, numbers: int) -> int:
        if self.identity is None:
            self.identity = identify(self.body) or ""
        layout = f"{columns} {kinds} {types} {accesses} {self.places}"
        name = f"{self.identity} {layout}" if self.identity else None
        recalled = cache.recall(name) if name else None
        if recalled is not None:
            return recalled[0][0]
        count = len(kinds)
        with scalar.tracing():
            stored = [*types[count:], *[compute] * numbers]
            handles = [
                scalar.cast(scalar.input(i, s), compute) if dt.is_float(s) else scalar.input(i, s)
                for i, s in enumerate(stored)
            ]
            roots = tuple(
                scalar.cast(scalar.reduce.add(r) if k == "r" and place >= 0 else r, t)
                for r, k, t, place in zip(
                    self.body(*handles), kinds, types, self.places, strict=False
                )
            )
            pairs = [*zip(types, accesses, strict=True), *[(compute, "s")] * numbers]
            operands = tuple(loops.Operand(*pair) for pair in pairs)
            form = "columns" if columns else "reduce"
            spec = loops.LoopSpec(form, operands[:count], operands[count:], roots, False, kinds)
            text = loops.build(spec, target.host())
        address = cache.function(text)
        if name:
            cache.note(name, cache.pieces([text]), [])
        return address


ROW, TOTAL = -1, -2
_DTYPES = {d.short: d for d in core.dtypes}


@cache_result
def _sum_op() -> Callable:
    from .reduce import sum

    return sum


def _common(names: Sequence[str]) -> str:
    """The type to compute in: the widest float, the first operand's where there is none."""
    found = ""
    for name in names:
        if dt.is_float(name):
            found = promote_names(found, name) if found else name
    return found or names[0]


def _plan_output(space: Space, footprint: Shape, shape: Shape, place: int) -> Out:
    """What the kernel can store for an output of this footprint."""
    if place == TOTAL:
        copied = space.rows is not None and not space.columns and not space.outer
        return (
            Out("t", (1,) * len(shape)) if copied else Out("r", _without(tuple(shape), space.along))
        )
    has = [any(footprint[d] != 1 for d in range(g.first, g.last)) for g in space.along]
    kept = [g for g in (space.rows, *space.outer) if g is not None]
    over_rows = any(footprint[d] != 1 for g in kept for d in range(g.first, g.last))
    full = tuple(shape)
    if not any(has):
        return Out("r", _without(full, space.along))
    if space.columns or not has[0]:
        if not space.columns and len(has) == 2:
            return Out("o", _without(full, space.along[:1]))
        return Out("e", full)
    if all(has) and not over_rows and kept and not space.outer:
        return Out("s", _without(full, tuple(kept)))
    return Out("e", full)


def _result(
    out: Out, place: int, dtype: core.dtype, copies: int
) -> tuple[Shape, core.dtype, Shape]:
    """What is stored: shape, type, and the dimensions that are summed afterwards."""
    if out.kind in "st" and copies > 1:
        return (copies, *(out.shape if out.kind == "s" else ())), dtype, (0,)
    if place != TOTAL:
        return out.shape, dtype, ()
    dims = tuple(d for d, n in enumerate(out.shape) if n != 1)
    return (tuple(out.shape) if dims else ()), dtype, tuple(range(len(out.shape))) if dims else ()


def _without(shape: Shape, groups: Sequence[Group]) -> Shape:
    gone = {d for g in groups for d in range(g.first, g.last)}
    return tuple(1 if d in gone else s for d, s in enumerate(shape))


def _count_blocks(space: Space, outs: Sequence[Out]) -> tuple[int, int]:
    """How many blocks of how many rows, where an output is summed over rows. Else zeros."""
    if all(o.kind not in "st" for o in outs) or space.rows is None:
        return 0, 0
    rows = space.rows.size
    work = rows * math.prod(g.size for g in space.along)
    size = -(-rows // max(1, min(_BLOCKS, work // _GRAIN, rows)))
    return -(-rows // size), size


def _sizes(space: Space) -> tuple[int, int, int]:
    inner = space.along[0].size
    outer = space.along[1].size if len(space.along) > 1 else 1
    return outer, inner, outer * inner


def _walk(item: int, shape: Shape, space: Space) -> tuple[int, ...]:
    """Byte strides of a dense tensor of this shape: rows, outer and inner loop, then around."""
    strides, step = [0] * len(shape), item
    for d in range(len(shape) - 1, -1, -1):
        strides[d] = step if shape[d] != 1 else 0
        step *= shape[d]

    def of(group: Group | None) -> int:
        if group is None:
            return 0
        inside = range(group.last - 1, group.first - 1, -1)
        return next((strides[d] for d in inside if shape[d] != 1), 0)

    inner = of(space.along[0])
    outer = of(space.along[1]) if len(space.along) > 1 else 0
    return of(space.rows), outer, inner, *(of(g) for g in space.outer)


def _gathers(space: Space, outs: Sequence[Out], operands: Sequence[Tensor]) -> bool:
    """Are these so short rows that the lanes go across them, each gathering its own?"""
    return (
        not space.columns
        and space.rows is not None
        and space.rows.size >= 64
        and math.prod(g.size for g in space.along) <= _SHORT_ROW
        and all(o.kind == "r" for o in outs)
        and all(t.dtype.itemsize in (4, 8) and not t.is_complex() for t in operands)
    )


def _access(walk: tuple[int, ...], item: int, space: Space, summed: bool) -> str:
    if space.columns:
        return "0" if not walk[0] else "c" if walk[0] == item else "g"
    if walk[2]:
        return "c"
    if summed:
        return "c"
    return "b" if walk[1] else "0"
