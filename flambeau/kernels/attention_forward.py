"""Attention, forward: strips of query rows against blocks of keys, scores never in memory.

The running maximum and sum of each row make the softmax exact over all blocks (Milakov and
Gimelshein, Online normalizer calculation for softmax, 2018; Dao et al., FlashAttention, 2022).
Exponentials are powers of two: scores carry a factor log2(e).
"""

from __future__ import annotations

import math
from types import SimpleNamespace

from . import mathlib
from .element import Element
from .expand_exp import exp2_or_zero
from .ir import Builder, float_bits
from .pack import emit_pack
from .plan import Fields, KernelSource
from .scalar import eq, where
from .target import Target
from .tile import STRIDED, Operands, call_tile, emit_tile, tile_shape
from .vector_math import evaluate

FIELDS = Fields(
    "heads group length source depth width causal scale q_batch q_head q_row k_batch k_head k_row"
    " v_batch v_head v_row out_batch out_head out_row mask_batch mask_head mask_row"
    " panel keys wide value_panel v_at scores_at score_row scratch blocks block"
)
LOG2_E = 1 / math.log(2)


def source(dtype: str, target: Target, masked: bool) -> KernelSource:
    """The kernel; its desc is FIELDS, args out, log-sum-exp, q, k, v, mask, workspace."""
    key = f"attention_forward:{dtype}:{target.name}:{masked}"
    return KernelSource(key, lambda: Forward(dtype, target, masked).build(), "attend")


def load_scale(b: Builder, c: Element, bits: str) -> str:
    """A vector of the scale, times log2(e)."""
    wide = b.emit(f"bitcast i64 {bits} to double")
    wide = b.emit(f"fmul double {wide}, {float_bits(LOG2_E, 'double')}")
    if c.part == "float":
        wide = b.emit(f"fptrunc double {wide} to float")
    return c.splat(b, wide)


def constant(c: Element, value: float) -> str:
    """A constant in every lane."""
    return f"splat ({c.part} {float_bits(value, c.part)})"


def pack_transposed(b: Builder, c: Element, base: str, step: str, depth: str, count: str,
                    panel: str, to: str) -> None:  # fmt: skip
    """Rows of `base` become the columns of panels (depth, panel); the last may be narrower."""
    with b.loop("0", count, panel) as j:
        left = b.min(panel, b.sub(count, j.index))
        width = round_lanes(b, c, left)
        b.do(
            f"call void @pack(i64 {depth}, ptr {b.offset(base, b.mul(j.index, step))}, "
            f"i64 {c.size}, i64 {step}, i64 {left}, "
            f"ptr {b.offset(to, b.mul(b.mul(j.index, depth), c.size))}, i64 {width})"
        )


def pack_rows(b: Builder, c: Element, base: str, step: str, columns: str, count: str, wide: str,
              to: str) -> None:  # fmt: skip
    """Rows side by side, each padded with zeros to `wide` numbers."""
    b.do(
        f"call void @pack(i64 {count}, ptr {base}, i64 {step}, i64 {c.size}, i64 {columns}, "
        f"ptr {to}, i64 {wide})"
    )


def round_lanes(b: Builder, c: Element, count: str) -> str:
    """The count rounded up to whole vectors."""
    return b.emit(f"and i64 {b.add(count, c.lanes - 1)}, {-c.lanes}")


class Direction:
    """What emitting the forward or the backward kernel needs."""

    def __init__(self, dtype: str, target: Target, masked: bool) -> None:
        self.b = Builder(target)
        self.stored = Element(dtype, target)  # keys and values
        self.c = self.stored.compute
        self.rows, self.vectors = tile_shape(target, self.c)
        self.masked = masked

    def _exp2(self, x: str) -> str:
        c = self.c
        return evaluate(self.b, c.width, c.dtype, lambda v: [exp2_or_zero(v)], x)[0]

    def _below(self, limit: str, value: str, other: str) -> str:
        """`value` in the lanes below `limit`, `other` in the rest."""
        b, c = self.b, self.c
        mask = b.lanes_below(limit, c.width)
        return b.emit(f"select <{c.width} x i1> {mask}, {c.vector} {value}, {c.vector} {other}")


class Forward(Direction):
    """Emits the kernel of the forward pass."""

    def build(self) -> str:
        """The module's text."""
        b, c = self.b, self.c
        of = Operands(c, self.stored, c)
        for height in (self.rows, 1):
            for width in range(1, self.vectors + 1):
                emit_tile(b, f"tile{height}x{width}", of, height, width, STRIDED)
        self._emit_helpers()
        self._emit_strip()
        with b.kernel("attend"):
            self._emit_tasks()
        return b.module()

    def _emit_helpers(self) -> None:
        """Functions that this way to reach keys and values needs."""
        emit_pack(self.b, "pack", self.c)

    def _emit_tasks(self) -> None:
        """Task: a block of query rows of one head; keys and values are packed when they change."""
        b = self.b
        d = FIELDS.load(b)
        out, lse, q, k, v, mask, workspace = (b.argument(n) for n in range(7))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        with b.loop("%begin", "%end", carry=[("i64", "-1")]) as task:
            head, block = b.divide(task.index, d.blocks)
            n, h = b.divide(head, d.heads)
            g = b.divide(h, d.group)[0]
            place = b.add(b.mul(n, d.heads), g)
            fresh = b.emit(f"icmp ne i64 {place}, {task.values[0]}")
            k_of = _at(b, k, n, g, d.k_batch, d.k_head)
            v_of = _at(b, v, n, g, d.v_batch, d.v_head)
            keys, values = self._reach(d, scratch, k_of, v_of, fresh)
            first = b.mul(block, d.block)
            last = b.min(b.add(first, d.block), d.length)
            bases = SimpleNamespace(
                out=_at(b, out, n, h, d.out_batch, d.out_head),
                lse=b.offset(lse, b.mul(b.mul(head, d.length), self.c.size)),
                q=_at(b, q, n, h, d.q_batch, d.q_head),
                mask=_at(b, mask, n, h, d.mask_batch, d.mask_head),
            )
            with b.loop(first, last, self.rows) as i:
                count = b.min(str(self.rows), b.sub(last, i.index))
                b.do(
                    f"call void @strip(ptr %desc, ptr {scratch}, ptr {keys}, ptr {values}, "
                    f"ptr {bases.out}, ptr {bases.lse}, ptr {bases.q}, ptr {bases.mask}, "
                    f"i64 {i.index}, i64 {count})"
                )
            task.next(place)

    def _reach(
        self, d: SimpleNamespace, scratch: str, k: str, v: str, fresh: str
    ) -> tuple[str, str]:
        """Pack the head's keys and values where they are `fresh`; where they lie."""
        b, c = self.b, self.c
        values = b.offset(scratch, d.v_at)
        with b.when(fresh):
            pack_transposed(b, c, k, d.k_row, d.depth, d.source, d.panel, scratch)
            pack_rows(b, c, v, d.v_row, d.width, d.source, d.wide, values)
        return scratch, values

    def _emit_strip(self) -> None:
        """`void strip(...)`: a few rows of the result, over all the keys they see."""
        b, c = self.b, self.c
        parameters = [
            ("ptr noalias readonly", "%desc"), ("ptr", "%scratch"), ("ptr", "%keys"),
            ("ptr", "%values"), ("ptr", "%out"), ("ptr", "%lse"), ("ptr", "%q"), ("ptr", "%mask"),
            ("i64", "%first"), ("i64", "%rows"),
        ]  # fmt: skip
        with b.function("strip", parameters, "internal", "noinline"):
            d = FIELDS.load(b)
            s = SimpleNamespace(
                d=d,
                scale=load_scale(b, c, d.scale),
                scores=b.offset("%scratch", d.scores_at),
                q=b.offset("%q", b.mul("%first", d.q_row)),
                out=b.offset("%out", b.mul("%first", d.out_row)),
                mask=b.offset("%mask", b.mul("%first", d.mask_row)),
            )
            # One state a row; a vector holds them where it has the lanes, else two follow.
            s.highest, s.sums, s.inverse = (
                b.stack(f"[{max(self.rows, c.width)} x {c.part}]") for _ in range(3)
            )
            for start in range(0, max(self.rows, c.width), c.width):
                low = constant(c, -math.inf)
                c.store(b, low, b.offset(s.highest, start * c.size))
                c.store(b, c.zero, b.offset(s.sums, start * c.size))
            causal = b.emit(f"icmp ne i64 {d.causal}, 0")
            seen = b.min(d.source, b.add("%first", "%rows"))
            s.causal, s.seen = causal, b.select(causal, "i64", seen, d.source)
            with b.loop("0", s.seen, d.keys) as block:
                self._emit_block(s, block.index)
            self._finish(s)

    def _emit_block(self, s: SimpleNamespace, j: str) -> None:
        """Scores of one block of keys, their softmax so far, and their share of the result."""
        b, c, d = self.b, self.c, s.d
        count = b.min(d.keys, b.sub(s.seen, j))
        wide = round_lanes(b, c, count)
        self._emit_scores(s, j, count, wide)
        later = b.emit(f"icmp ne i64 {j}, 0")
        with b.loop("0", "%rows") as r:
            self._emit_row(s, r.index, j, count, wide, later)
        flags = b.select(later, "i64", "1", "0")
        start, row = self._values_from(s, j)
        with b.loop("0", d.width, d.value_panel) as p:
            columns = b.min(d.value_panel, b.sub(d.width, p.index))
            used = b.emit(f"udiv i64 {b.add(columns, c.lanes - 1)}, {c.lanes}")
            self._tiles(
                used,
                f"i64 {count}, ptr {s.scores}, i64 {d.score_row}, i64 {c.size}, "
                f"ptr {b.offset(start, b.mul(p.index, self.stored.size))}, "
                f"i64 {row}, ptr {b.offset(s.out, b.mul(p.index, c.size))}, i64 {d.out_row}, "
                f"i64 %rows, i64 {columns}, i64 {flags}, ptr null",
            )

    def _emit_scores(self, s: SimpleNamespace, j: str, count: str, wide: str) -> None:
        """Products of the strip's queries with the block's keys, for whole vectors of keys."""
        b, c, d = self.b, self.c, s.d
        with b.loop("0", wide, d.panel) as p:
            used = b.emit(f"udiv i64 {b.min(d.panel, b.sub(wide, p.index))}, {c.lanes}")
            at = b.add(j, p.index)
            panel = b.min(d.panel, round_lanes(b, c, b.sub(d.source, at)))
            keys = b.offset("%keys", b.mul(b.mul(at, d.depth), c.size))
            to = b.offset(s.scores, b.mul(p.index, c.size))
            columns = b.mul(used, c.lanes)
            self._tiles(
                used,
                f"i64 {d.depth}, ptr {s.q}, i64 {d.q_row}, i64 {c.size}, ptr {keys}, "
                f"i64 {b.mul(panel, c.size)}, ptr {to}, i64 {d.score_row}, i64 %rows, "
                f"i64 {columns}, i64 0, ptr null",
            )

    def _values_from(self, s: SimpleNamespace, j: str) -> tuple[str, str]:
        """Where the block's values begin, and the bytes from one to the next."""
        b = self.b
        row = b.mul(s.d.wide, self.c.size)
        return b.offset("%values", b.mul(j, row)), row

    def _tiles(self, used: str, arguments: str) -> None:
        b = self.b
        b.choose(
            b.less("1", "%rows"),
            lambda: call_tile(b, f"tile{self.rows}x", self.vectors, used, arguments),
            lambda: call_tile(b, "tile1x", self.vectors, used, arguments),
        )

    def _emit_row(self, s, r: str, j: str, count: str, wide: str, later: str) -> None:
        """One row's scores become weights relative to its highest score so far."""
        b, c, d = self.b, self.c, s.d
        row = b.offset(s.scores, b.mul(r, d.score_row))
        mask = b.offset(s.mask, b.add(b.mul(r, d.mask_row), b.mul(j, c.size)))
        visible = b.add(b.add("%first", r), 1)
        visible = b.max("0", b.min(count, b.sub(b.select(s.causal, "i64", visible, d.source), j)))
        whole = b.emit(f"and i64 {visible}, {-c.lanes}")
        slot = b.offset(s.highest, r, c.part)
        low = constant(c, -math.inf)

        def scaled(at: str, tail) -> str:
            value = b.emit(f"fmul {c.vector} {c.load(b, b.offset(row, at, c.part))}, {s.scale}")
            if not self.masked:
                return value
            added = c.load(b, b.offset(mask, at, c.part), tail)
            log2 = constant(c, LOG2_E)
            value = b.emit(f"fadd {c.vector} {value}, {b.emit(f'fmul {c.vector} {added}, {log2}')}")
            c.store(b, value, b.offset(row, at, c.part))
            return value

        old = c.broadcast(b, slot)[0]
        with b.loop("0", whole, c.lanes, carry=[(c.vector, low)]) as k:
            k.next(self._larger(scaled(k.index, None), k.values[0]))
        with b.loop(whole, wide, c.lanes, carry=[(c.vector, k.values[0])]) as e:
            left = b.sub(visible, e.index)
            value = self._below(left, scaled(e.index, c.tail(b, left)), low)
            e.next(self._larger(value, e.values[0]))
        new = self._larger(self._across(e.values[0]), old)
        c.store_parts(b, [b.emit(f"extractelement {c.vector} {new}, i32 0")], slot)
        # Where no key is visible yet, -inf - -inf must not become NaN.
        blind = b.emit(f"fcmp oeq {c.vector} {new}, {low}")
        base = b.emit(f"select <{c.width} x i1> {blind}, {c.vector} {c.zero}, {c.vector} {new}")

        def weight(at: str) -> str:
            score = c.load(b, b.offset(row, at, c.part))
            if self.masked:
                x = b.emit(f"fsub {c.vector} {score}, {base}")
            else:
                x = c.multiply_add(b, [s.scale], score, [b.emit(f"fneg {c.vector} {base}")])[0]
            return self._exp2(x)

        with b.loop("0", whole, c.lanes, carry=[(c.vector, c.zero)]) as k:
            value = weight(k.index)
            c.store(b, value, b.offset(row, k.index, c.part))
            k.next(c.add(b, k.values[0], value))
        with b.loop(whole, wide, c.lanes, carry=[(c.vector, k.values[0])]) as e:
            value = self._below(b.sub(visible, e.index), weight(e.index), c.zero)
            c.store(b, value, b.offset(row, e.index, c.part))
            e.next(c.add(b, e.values[0], value))
        total = c.sum_lanes(b, [e.values[0]])[0]
        sums = b.offset(s.sums, r, c.part)

        def rescale() -> None:
            factor = self._exp2(b.emit(f"fsub {c.vector} {old}, {base}"))
            one = b.emit(f"extractelement {c.vector} {factor}, i32 0")
            kept = c.multiply_add_parts(b, [c.load_parts(b, sums)[0]], [one], [total])
            c.store_parts(b, kept, sums)
            self._scale_row(s, r, factor)

        b.choose(later, rescale, lambda: c.store_parts(b, [total], sums))

    def _larger(self, x: str, y: str) -> str:
        """max(x, y); y where x is NaN, which the weights will show."""
        b, c = self.b, self.c
        test = b.emit(f"fcmp ogt {c.vector} {x}, {y}")
        return b.emit(f"select <{c.width} x i1> {test}, {c.vector} {x}, {c.vector} {y}")

    def _across(self, x: str) -> str:
        """The largest lane, in every lane."""
        b, c = self.b, self.c
        distance = c.width // 2
        while distance:
            picks = [lane ^ distance for lane in range(c.width)]
            x = self._larger(x, b.shuffle(x, x, c.vector, picks))
            distance //= 2
        return x

    def _scale_row(self, s: SimpleNamespace, r: str, factor: str) -> None:
        b, c = self.b, self.c
        row = b.offset(s.out, b.mul(r, s.d.out_row))
        with b.loop("0", s.d.width, c.lanes) as j:
            at = b.offset(row, j.index, c.part)
            tail = c.tail(b, b.sub(s.d.width, j.index))
            value = b.emit(f"fmul {c.vector} {c.load(b, at, tail)}, {factor}")
            c.store(b, value, at, tail)

    def _finish(self, s: SimpleNamespace) -> None:
        """Divide by the sums; rows that see nothing become zeros, their log-sum-exp infinite."""
        b, c = self.b, self.c

        def close(high, total):
            none = eq(total, 0.0)
            lse = where(none, math.inf, high + mathlib.log2(total))
            return [where(none, 0.0, 1.0 / total), lse]

        for start in range(0, max(self.rows, c.width), c.width):
            at = start * c.size
            high, total = (c.load(b, b.offset(x, at)) for x in (s.highest, s.sums))
            inverse, lse = evaluate(b, c.width, c.dtype, close, high, total)
            c.store(b, inverse, b.offset(s.inverse, at))
            to = b.offset(b.offset("%lse", "%first", c.part), at)
            c.store(b, lse, to, c.tail(b, b.max("0", b.sub("%rows", str(start)))))
        with b.loop("0", "%rows") as r:
            self._scale_row(s, r.index, c.broadcast(b, b.offset(s.inverse, r.index, c.part))[0])


def _at(b: Builder, base: str, n: str, h: str, batch: str, head: str) -> str:
    return b.offset(base, b.add(b.mul(n, batch), b.mul(h, head)))
