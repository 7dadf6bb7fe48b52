"""Attention, backward: weights recomputed from the log-sum-exp, block by block.

With P = exp(scores - log-sum-exp) and D = rowsum(dO * O): dV = P^T dO, dS = P (dO V^T - D) scale,
dQ = dS K, dK = dS^T Q (Dao et al., FlashAttention, 2022). A task is a range of keys of one head;
where there are several ranges, their shares of dQ are added in a second phase, in a fixed order.
"""

from __future__ import annotations

from types import SimpleNamespace

from .attention_forward import (
    LOG2_E,
    Direction,
    constant,
    load_scale,
    pack_rows,
    pack_transposed,
    round_lanes,
)
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, STRIDED, Operands, call_tile, emit_tile

FIELDS = Fields(
    "heads group length source depth width causal scale q_batch q_head q_row k_batch k_head k_row"
    " v_batch v_head v_row out_batch out_head out_row mask_batch mask_head mask_row"
    " grad_batch grad_head grad_row dq_batch dq_head dq_row dk_batch dk_head dk_row"
    " dv_batch dv_head dv_row parts part_keys panel keys queries depth_wide width_wide"
    " depth_panel width_panel values_at rows_k_at rows_q_at rows_g_at delta_at dq_at dk_at dv_at"
    " weights_at grads_at block_row scratch shares_at share"
)


def sources(dtype: str, target: Target, masked: bool) -> tuple[KernelSource, KernelSource]:
    """The kernel of key ranges and the one that adds up their shares of dq; desc is FIELDS, args
    dq, dk, dv, gradient, out, log-sum-exp, q, k, v, mask, workspace.
    """
    key = f"attention_backward:{dtype}:{target.name}:{masked}"

    def build() -> str:
        return _Backward(dtype, target, masked).build()

    return KernelSource(key, build, "ranges"), KernelSource(key, build, "add_shares")


_ARGUMENTS = ("dq", "dk", "dv", "grad", "out", "lse", "q", "k", "v", "mask", "workspace")


class _Backward(Direction):
    def build(self) -> str:
        b, c = self.b, self.c
        of = Operands(c, c, c)
        for width in range(1, self.vectors + 1):
            emit_tile(b, f"tile{width}", of, self.rows, width, STRIDED)
        emit_pack(b, "pack", c)
        self._emit_weights()
        self._emit_block()
        with b.kernel("ranges"):
            self._emit_ranges()
        with b.kernel("add_shares"):
            self._emit_sum()
        return b.module()

    # ---- tasks -----------------------------------------------------------------------------------

    def _emit_ranges(self) -> None:
        b = self.b
        d = FIELDS.load(b)
        names = _ARGUMENTS
        bases = {name: b.argument(n) for n, name in enumerate(names)}
        scratch = b.offset(bases["workspace"], b.mul("%thread", d.scratch))
        with b.loop("%begin", "%end") as task:
            head, part = b.divide(task.index, d.parts)
            n, h = b.divide(head, d.heads)
            g = b.divide(h, d.group)[0]
            at = SimpleNamespace(scratch=scratch, part=part)
            for name in ("dq", "dk", "dv", "grad", "out", "q", "mask"):
                setattr(at, name, self._at(d, name, bases[name], n, h))
            at.k, at.v = self._at(d, "k", bases["k"], n, g), self._at(d, "v", bases["v"], n, g)
            at.lse = b.offset(bases["lse"], b.mul(b.mul(head, d.length), self.c.size))
            share = b.offset(bases["workspace"], b.add(d.shares_at, b.mul(task.index, d.share)))
            alone = b.emit(f"icmp eq i64 {d.parts}, 1")
            at.sum = b.select(alone, "ptr", b.offset(scratch, d.dq_at), share)
            self._emit_range(d, at, alone)

    def _at(self, d: SimpleNamespace, name: str, base: str, n: str, h: str) -> str:
        b = self.b
        batch, head = getattr(d, f"{name}_batch"), getattr(d, f"{name}_head")
        return b.offset(base, b.add(b.mul(n, batch), b.mul(h, head)))

    def _emit_range(self, d: SimpleNamespace, at: SimpleNamespace, alone: str) -> None:
        b, c = self.b, self.c
        first = b.mul(at.part, d.part_keys)
        last = b.min(b.add(first, d.part_keys), d.source)
        count = b.sub(last, first)
        k = b.offset(at.k, b.mul(first, d.k_row))
        v = b.offset(at.v, b.mul(first, d.v_row))
        place = {name: b.offset(at.scratch, getattr(d, f"{name}_at")) for name in (
            "values", "rows_k", "rows_q", "rows_g", "delta", "dk", "dv")}  # fmt: skip
        pack_transposed(b, c, k, d.k_row, d.depth, count, d.panel, at.scratch)
        pack_transposed(b, c, v, d.v_row, d.width, count, d.panel, place["values"])
        pack_rows(b, c, k, d.k_row, d.depth, count, d.depth_wide, place["rows_k"])
        pack_rows(b, c, at.q, d.q_row, d.depth, d.length, d.depth_wide, place["rows_q"])
        pack_rows(b, c, at.grad, d.grad_row, d.width, d.length, d.width_wide, place["rows_g"])
        self._emit_delta(d, at, place)
        self._clear(at.sum, b.mul(d.length, d.depth_wide))
        causal = b.emit(f"icmp ne i64 {d.causal}, 0")
        with b.loop(first, last, d.keys) as j:
            keys = b.min(d.keys, b.sub(last, j.index))
            self._clear(place["dk"], b.mul(d.keys, d.depth_wide))
            self._clear(place["dv"], b.mul(d.keys, d.width_wide))
            aligned = b.mul(b.divide(j.index, str(self.rows))[0], self.rows)
            start = b.select(causal, "i64", aligned, "0")
            with b.loop(start, d.length, d.queries) as i:
                queries = b.min(d.queries, b.sub(d.length, i.index))
                b.do(
                    f"call void @block(ptr %desc, ptr {at.scratch}, ptr {at.sum}, ptr {at.lse}, "
                    f"ptr {at.mask}, i64 {first}, i64 {j.index}, i64 {keys}, i64 {i.index}, "
                    f"i64 {queries}, i64 {last})"
                )
            self._copy(place["dk"], d.depth_wide, d.depth,
                       b.offset(at.dk, b.mul(j.index, d.dk_row)), d.dk_row, keys)  # fmt: skip
            self._copy(place["dv"], d.width_wide, d.width,
                       b.offset(at.dv, b.mul(j.index, d.dv_row)), d.dv_row, keys)  # fmt: skip
        with b.when(alone):
            self._copy(at.sum, d.depth_wide, d.depth, at.dq, d.dq_row, d.length)

    def _clear(self, to: str, count: str) -> None:
        """Zeros; the count is of whole vectors."""
        b, c = self.b, self.c
        with b.loop("0", count, c.lanes) as k:
            c.store(b, c.zero, b.offset(to, k.index, c.part))

    def _copy(self, source: str, wide: str, columns: str, to: str, step: str, rows: str) -> None:
        b, c = self.b, self.c
        with b.loop("0", rows) as r:
            line = b.offset(source, b.mul(r.index, wide), c.part)
            out = b.offset(to, b.mul(r.index, step))
            with b.loop("0", columns, c.lanes) as j:
                value = c.load(b, b.offset(line, j.index, c.part))
                tail = c.tail(b, b.sub(columns, j.index))
                c.store(b, value, b.offset(out, j.index, c.part), tail)

    def _emit_delta(self, d: SimpleNamespace, at: SimpleNamespace, place: dict[str, str]) -> None:
        """The sums of dO * O by row."""
        b, c = self.b, self.c
        with b.loop("0", d.length) as i:
            grad = b.offset(place["rows_g"], b.mul(i.index, d.width_wide), c.part)
            out = b.offset(at.out, b.mul(i.index, d.out_row))
            with b.loop("0", d.width, c.lanes, carry=[(c.vector, c.zero)]) as j:
                tail = c.tail(b, b.sub(d.width, j.index))
                value = c.load(b, b.offset(out, j.index, c.part), tail)
                j.next(*c.multiply_add(
                    b, [value], c.load(b, b.offset(grad, j.index, c.part)), [j.values[0]]
                ))  # fmt: skip
            total = c.sum_lanes(b, [j.values[0]])
            c.store_parts(b, total, b.offset(place["delta"], i.index, c.part))

    def _emit_sum(self) -> None:
        """Task: one head; dq is the sum of its ranges' shares."""
        b, c = self.b, self.c
        d = FIELDS.load(b)
        dq, workspace = b.argument(0), b.argument(10)
        with b.loop("%begin", "%end") as task:
            n, h = b.divide(task.index, d.heads)
            to = self._at(d, "dq", dq, n, h)
            shares = b.offset(
                workspace, b.add(d.shares_at, b.mul(b.mul(task.index, d.parts), d.share))
            )
            with b.loop("0", d.length) as r, b.loop("0", d.depth, c.lanes) as j:
                at = b.offset(shares, b.add(b.mul(r.index, d.depth_wide), j.index), c.part)
                with b.loop("1", d.parts, carry=[(c.vector, c.load(b, at))]) as p:
                    p.next(c.add(b, p.values[0], c.load(b, b.offset(at, b.mul(p.index, d.share)))))
                tail = c.tail(b, b.sub(d.depth, j.index))
                out = b.offset(b.offset(to, b.mul(r.index, d.dq_row)), j.index, c.part)
                c.store(b, p.values[0], out, tail)

    # ---- one block of queries and keys -----------------------------------------------------------

    def _emit_block(self) -> None:
        b, c = self.b, self.c
        parameters = [
            ("ptr noalias readonly", "%desc"), ("ptr", "%scratch"), ("ptr", "%sum"),
            ("ptr", "%lse"), ("ptr", "%mask"), ("i64", "%range"), ("i64", "%j"), ("i64", "%keys"),
            ("i64", "%i"), ("i64", "%queries"), ("i64", "%last"),
        ]  # fmt: skip
        with b.function("block", parameters, "internal", "noinline"):
            d = FIELDS.load(b)
            s = SimpleNamespace(
                d=d,
                causal=b.emit(f"icmp ne i64 {d.causal}, 0"),
                weights=b.offset("%scratch", d.weights_at),
                grads=b.offset("%scratch", d.grads_at),
                line={
                    "q": b.mul(d.depth_wide, c.size),
                    "g": b.mul(d.width_wide, c.size),
                },
            )
            for name in ("values", "rows_k", "rows_q", "rows_g", "dk", "dv"):
                setattr(s, name, b.offset("%scratch", getattr(d, f"{name}_at")))
            s.q_at = b.offset(s.rows_q, b.mul("%i", s.line["q"]))
            s.g_at = b.offset(s.rows_g, b.mul("%i", s.line["g"]))
            s.from_range = b.sub("%j", "%range")
            with b.loop("0", "%queries", self.rows) as r:
                self._emit_query_rows(s, r.index)
            with b.loop("0", "%keys", self.rows) as r:
                self._emit_key_rows(s, r.index)

    def _emit_query_rows(self, s: SimpleNamespace, r: str) -> None:
        """Weights, their gradients, and dQ of one tile of query rows."""
        b, c, d = self.b, self.c, s.d
        rows = b.min(str(self.rows), b.sub("%queries", r))
        seen = b.sub(b.add(b.add("%i", r), rows), "%j")
        count = b.select(s.causal, "i64", b.min("%keys", seen), "%keys")
        # Tiles of keys that begin between two tiles of queries read a little further.
        further = 0 if c.lanes % self.rows == 0 else self.rows
        wide = round_lanes(b, c, b.min("%keys", b.add(count, further)))
        line = b.mul(r, d.block_row)
        with b.loop("0", wide, d.panel) as p:
            columns = b.min(d.panel, b.sub(wide, p.index))
            used = b.emit(f"udiv i64 {columns}, {c.lanes}")
            at = b.add(s.from_range, p.index)
            panel = b.min(d.panel, round_lanes(b, c, b.sub(b.sub("%last", "%range"), at)))
            for depth, row, left, step, right, to in (
                (d.depth, s.q_at, r, s.line["q"], "%scratch", s.weights),
                (d.width, s.g_at, r, s.line["g"], s.values, s.grads),
            ):
                a = b.offset(row, b.mul(left, step))
                bb = b.offset(right, b.mul(b.mul(at, depth), c.size))
                out = b.offset(to, b.add(line, b.mul(p.index, c.size)))
                call_tile(
                    b, "tile", self.vectors, used,
                    f"i64 {depth}, ptr {a}, i64 {step}, i64 {c.size}, ptr {bb}, "
                    f"i64 {b.mul(panel, c.size)}, ptr {out}, i64 {d.block_row}, i64 {rows}, "
                    f"i64 {columns}, i64 0, ptr null",
                )  # fmt: skip
        with b.loop("0", rows) as q:
            row = b.add(r, q.index)
            i = b.add("%i", row)
            visible = b.sub(b.add(i, 1), "%j")
            visible = b.max("0", b.select(s.causal, "i64", b.min(count, visible), count))
            mask = b.offset("%mask", b.add(b.mul(i, d.mask_row), b.mul("%j", c.size)))
            b.do(
                f"call void @weigh(ptr %desc, ptr {b.offset(s.weights, b.mul(row, d.block_row))}, "
                f"ptr {b.offset(s.grads, b.mul(row, d.block_row))}, "
                f"ptr {b.offset('%lse', i, c.part)}, "
                f"ptr {b.offset(b.offset('%scratch', d.delta_at), i, c.part)}, ptr {mask}, "
                f"i64 {visible}, i64 {wide})"
            )
        to = b.offset("%sum", b.mul(b.add("%i", r), s.line["q"]))
        rows_k = b.offset(s.rows_k, b.mul(s.from_range, s.line["q"]))
        self._accumulate(
            d.depth_wide, d.depth_panel, count,
            (b.offset(s.grads, line), d.block_row, str(c.size)), (rows_k, s.line["q"]), to, rows,
        )  # fmt: skip

    def _emit_key_rows(self, s: SimpleNamespace, r: str) -> None:
        """dK and dV of one tile of keys: the block's weights read by column."""
        b, c, d = self.b, self.c, s.d
        rows = b.min(str(self.rows), b.sub("%keys", r))
        # Queries before the tile's first key do not see it, and their weights were not written.
        unseen = b.sub(b.add("%j", r), "%i")
        whole = b.mul(b.emit(f"sdiv i64 {b.max('0', unseen)}, {self.rows}"), self.rows)
        start = b.select(s.causal, "i64", b.min(whole, "%queries"), "0")
        count = b.sub("%queries", start)
        at = b.add(b.mul(start, d.block_row), b.mul(r, c.size))
        for block, base, line, to, wide, panel in (
            (s.weights, s.g_at, s.line["g"], s.dv, d.width_wide, d.width_panel),
            (s.grads, s.q_at, s.line["q"], s.dk, d.depth_wide, d.depth_panel),
        ):
            self._accumulate(
                wide, panel, count, (b.offset(block, at), str(c.size), d.block_row),
                (b.offset(base, b.mul(start, line)), line), b.offset(to, b.mul(r, line)), rows,
            )  # fmt: skip

    def _accumulate(self, wide, panel, count, a, bb, to, rows) -> None:
        """to (rows, wide) += a (rows, count) @ bb (count, wide), rows of `to` like those of bb."""
        b, c = self.b, self.c
        with b.loop("0", wide, panel) as p:
            columns = b.min(panel, b.sub(wide, p.index))
            used = b.emit(f"udiv i64 {columns}, {c.lanes}")
            at = b.mul(p.index, c.size)
            call_tile(
                b, "tile", self.vectors, used,
                f"i64 {count}, ptr {a[0]}, i64 {a[1]}, i64 {a[2]}, ptr {b.offset(bb[0], at)}, "
                f"i64 {bb[1]}, ptr {b.offset(to, at)}, i64 {bb[1]}, i64 {rows}, i64 {columns}, "
                f"i64 {ACCUMULATE}, ptr null",
            )  # fmt: skip

    def _emit_weights(self) -> None:
        """`void weigh(...)`: one row's scores become weights P, products dO V^T become dS."""
        b, c = self.b, self.c
        parameters = [
            ("ptr noalias readonly", "%desc"), ("ptr noalias", "%row"), ("ptr noalias", "%grads"),
            ("ptr noalias readonly", "%lse"), ("ptr noalias readonly", "%delta"),
            ("ptr noalias readonly", "%mask"), ("i64", "%visible"), ("i64", "%wide"),
        ]  # fmt: skip
        with b.function("weigh", parameters, "internal", "noinline"):
            bits = b.size(FIELDS.names.index("scale"))
            scale = load_scale(b, c, bits)
            # dS in natural units: the factor log2(e) of the scores does not belong to it.
            natural = b.emit(f"fdiv {c.vector} {scale}, {constant(c, LOG2_E)}")
            base = b.emit(f"fneg {c.vector} {c.broadcast(b, '%lse')[0]}")
            delta = c.broadcast(b, "%delta")[0]
            whole = b.emit(f"and i64 %visible, {-c.lanes}")

            def columns(at: str, left: str | None) -> None:
                score = c.load(b, b.offset("%row", at, c.part))
                x = c.multiply_add(b, [scale], score, [base])[0]
                if self.masked:
                    tail = None if left is None else c.tail(b, left)
                    added = c.load(b, b.offset("%mask", at, c.part), tail)
                    x = c.multiply_add(b, [constant(c, LOG2_E)], added, [x])[0]
                p = self._exp2(x)
                change = c.load(b, b.offset("%grads", at, c.part))
                change = b.emit(f"fsub {c.vector} {change}, {delta}")
                change = b.emit(f"fmul {c.vector} {change}, {p}")
                change = b.emit(f"fmul {c.vector} {change}, {natural}")
                if left is not None:
                    p, change = (self._below(left, x, c.zero) for x in (p, change))
                c.store(b, p, b.offset("%row", at, c.part))
                c.store(b, change, b.offset("%grads", at, c.part))

            with b.loop("0", whole, c.lanes) as k:
                columns(k.index, None)
            with b.loop(whole, "%wide", c.lanes) as k:
                columns(k.index, b.sub("%visible", k.index))
