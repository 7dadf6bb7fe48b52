"""QR decomposition of one matrix at a time by Householder reflections.

The matrix is transposed into the workspace, so that its columns are contiguous. A reflection
I - tau v v^T (v begins with 1 in the row of its number) is applied to four columns at once: their
products with v, then the multiples of v that they lose. Signs are LAPACK's: the diagonal of R has
the sign opposite to what it replaces, and a column that is zero already has tau = 0.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder, float_bits, suffix
from .lanes import Lanes
from .pack import emit_pack, emit_unpack
from .plan import Fields, KernelSource, Phase, Plan, round_up
from .scaled_rows import ScaledRows
from .target import Target, host

FIELDS = Fields(
    "m n k q row matrix width flags r_rows q_at tau_at scratch q_matrix r_matrix v_matrix"
)
FACTOR, FORM, RAW, VECTORS, APPLY, TRANSPOSED = 1, 2, 4, 8, 16, 32
GROUP = 4  # columns that share the loads of a reflection's vector


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args Q, R, A, tau, V, workspace."""
    return KernelSource(f"reflect:{dtype}:{target.name}", lambda: _build(dtype, target), "reflect")


def plan_reflections(
    dtype: str,
    m: int,
    n: int,
    count: int,
    threads: int,
    *,
    flags: int,
    q: int = 0,
    row: int | None = None,
    matrix: int | None = None,
    target: Target | None = None,
) -> Plan:
    """QR of A (count, m, n) with strides `matrix` and `row`; args Q, R, A, tau, V, workspace.

    FACTOR: R (count, k, n) with zeros below its diagonal, k = min(m, n), or (count, m, n) where q
    is m; RAW: R is (count, m, n) with the vectors below the diagonal. tau is (count, k). Without
    FACTOR, A holds vectors below its diagonal and tau is read. FORM: Q (count, m, q). VECTORS:
    V (count, m, k) with the vectors' ones and the zeros above them. APPLY, with FORM and without
    FACTOR: Q is the product of the reflections, TRANSPOSED or not, with R (count, m, q).
    """
    target = target or host()
    c = Element(dtype, target)
    size, k = c.size, min(m, n)
    row = n if row is None else row
    width = round_up(m, c.lanes) + c.lanes
    q_at = round_up((n + c.lanes) * width * size, 64)
    tau_at = q_at + (round_up((q + c.lanes) * width * size, 64) if flags & FORM else 0)
    scratch = round_up(tau_at + k * size, 64) + 64
    r_rows = m if flags & RAW or q == m else k
    desc = FIELDS.pack(
        m=m, n=n, k=k, q=q, row=row * size, matrix=(m * row if matrix is None else matrix) * size,
        width=width, flags=flags, r_rows=r_rows, q_at=q_at, tau_at=tau_at, scratch=scratch,
        q_matrix=m * q * size, v_matrix=m * k * size,
        r_matrix=(m * q if flags & APPLY else r_rows * n) * size,
    )  # fmt: skip
    grain = count if threads == 1 else min(count, max(1, (1 << 16) // (m * n * k)))
    return Plan((Phase(source(dtype, target), desc, count, grain),), scratch * threads)


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    emit_pack(b, "pack", c)
    emit_unpack(b, "unpack", c)
    for group in (1, GROUP):
        emit_apply(b, c, group)
    with b.kernel("reflect"):
        _Reflections(b, c).emit()
    return b.module()


def emit_apply(b: Builder, c: Element, group: int) -> None:
    """Define apply{group}(v, tau, columns, bytes between them, length): columns -= tau v v^T."""
    lanes = Lanes(b, c)
    parameters = [("ptr", "%v"), (c.part, "%tau"), ("ptr", "%to"), ("i64", "%step"),
                  ("i64", "%length")]  # fmt: skip
    with b.function(f"apply{group}", parameters, "internal", "noinline"):
        lines = [b.offset("%to", b.mul("%step", g)) for g in range(group)]
        carry = [(c.vector, c.zero)] * group
        with b.loop("0", "%length", c.lanes, carry) as i:
            at = b.mul(i.index, c.size)
            v = c.load(b, b.offset("%v", at))
            i.next(*[
                lanes.multiply_add(v, c.load(b, b.offset(line, at)), total)
                for line, total in zip(lines, i.values, strict=True)
            ])  # fmt: skip
        sums = [c.sum_lanes(b, [total])[0] for total in i.values]
        factors = [c.splat(b, b.emit(f"fmul {c.part} {s}, %tau")) for s in sums]
        with b.loop("0", "%length", c.lanes) as i:
            at = b.mul(i.index, c.size)
            v = c.load(b, b.offset("%v", at))
            for line, factor in zip(lines, factors, strict=True):
                here = b.offset(line, at)
                c.store(b, lanes.without_product(c.load(b, here), factor, v), here)


class _Reflections(ScaledRows):
    def emit(self) -> None:
        """Task: one matrix."""
        b, c = self.b, self.c
        self.d = d = FIELDS.load(b)
        q, r, a, tau, v, workspace = (b.argument(k) for k in range(6))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        self.line = b.mul(d.width, c.size)
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                a=b.offset(a, b.mul(task.index, d.matrix)),
                q=b.offset(q, b.mul(task.index, d.q_matrix)),
                r=b.offset(r, b.mul(task.index, d.r_matrix)),
                v=b.offset(v, b.mul(task.index, d.v_matrix)),
                tau=b.offset(tau, b.mul(task.index, b.mul(d.k, c.size))),
                columns=scratch,
                formed=b.offset(scratch, d.q_at),
                diagonal=b.offset(scratch, d.tau_at),
            )
            b.do(
                f"call void @pack(i64 {d.n}, ptr {at.a}, i64 {c.size}, i64 {d.row}, i64 {d.m}, "
                f"ptr {scratch}, i64 {d.width})"
            )
            self._clear(scratch, d.n, d.m, d.width)
            b.choose(self._flag(FACTOR), lambda: self._factor(at), lambda: self._read_vectors(at))
            with b.when(self._flag(VECTORS)):
                self._write_vectors(at)
            with b.when(self._flag(FORM)):
                self._form(at)

    def _flag(self, bit: int) -> str:
        b = self.b
        return b.emit(f"icmp ne i64 {b.emit(f'and i64 {self.d.flags}, {bit}')}, 0")

    def _clear(self, lines: str, count: str, begin: str, end: str) -> None:
        """Zeros in part of every line."""
        b, c = self.b, self.c
        with b.loop("0", count) as j, b.loop(begin, end) as i:
            b.store(c.part, self._zero(), self.place(lines, j.index, self.line, i.index), c.size)

    def _zero(self) -> str:
        return float_bits(0.0, self.c.part)

    def _one(self) -> str:
        return float_bits(1.0, self.c.part)

    # ---- the factors -----------------------------------------------------------------------------

    def _factor(self, at: SimpleNamespace) -> None:
        b, d = self.b, self.d
        with b.loop("0", d.k) as j:
            tau = self._make_vector(at, j.index)
            start = self.place(at.columns, j.index, self.line, j.index)
            self._apply(start, tau, at.columns, j.index, b.add(j.index, 1), d.n)
        self._write_r(at)

    def _make_vector(self, at: SimpleNamespace, j: str) -> str:
        """The reflection that clears a column below the diagonal: its vector in place, and tau."""
        b, c, d = self.b, self.c, self.d
        top = self.place(at.columns, j, self.line, j)
        below, length = b.offset(top, c.size), b.sub(b.sub(d.m, j), 1)
        alpha = b.load(c.part, top, c.size)
        most = self._largest(below, length)
        nothing = b.emit(f"fcmp oeq {c.part} {most}, {self._zero()}")

        def none() -> list[str]:
            return [self._zero(), alpha]

        def some() -> list[str]:
            # scaled, so that squares neither overflow nor vanish
            size = b.intrinsic(f"llvm.fabs.{suffix(c.part)}", c.part, (c.part, alpha))
            larger = b.emit(f"fcmp ogt {c.part} {size}, {most}")
            scale = self.power_of_two(b.select(larger, c.part, size, most))
            inverse = b.emit(f"fdiv {c.part} {self._one()}, {scale}")
            first = b.emit(f"fmul {c.part} {alpha}, {inverse}")
            square = b.emit(f"fmul {c.part} {first}, {first}")
            total = b.emit(f"fadd {c.part} {self._squares(below, length, inverse)}, {square}")
            root = b.intrinsic(f"llvm.sqrt.{suffix(c.part)}", c.part, (c.part, total))
            signed = b.intrinsic(
                f"llvm.copysign.{suffix(c.part)}", c.part, (c.part, root), (c.part, first)
            )
            beta = b.emit(f"fneg {c.part} {signed}")
            tau = b.emit(f"fdiv {c.part} {b.emit(f'fsub {c.part} {beta}, {first}')}, {beta}")
            divisor = b.emit(f"fsub {c.part} {first}, {beta}")
            whole, factor = c.splat(b, divisor), c.splat(b, inverse)
            with b.loop("0", length, c.lanes) as i:
                here = b.offset(below, b.mul(i.index, c.size))
                scaled = self.lanes.multiply(c.load(b, here), factor)
                c.store(b, self.lanes.divide(scaled, whole), here)
            return [tau, b.emit(f"fmul {c.part} {beta}, {scale}")]

        tau, beta = b.choose(nothing, none, some, [c.part, c.part])
        b.store(c.part, tau, b.offset(at.tau, b.mul(j, c.size)), c.size)
        b.store(c.part, beta, b.offset(at.diagonal, b.mul(j, c.size)), c.size)
        b.store(c.part, self._one(), top, c.size)
        return tau

    def _largest(self, line: str, length: str) -> str:
        """The largest modulus, where NaN counts as 1."""
        b, c, lanes = self.b, self.c, self.lanes
        with b.loop("0", length, c.lanes, [(c.vector, c.zero)]) as i:
            value = lanes.size(c.load(b, b.offset(line, b.mul(i.index, c.size))))
            smaller = lanes.test("ule", value, i.values[0])
            is_nan = lanes.test("uno", value, value)
            bits = lanes.bits
            keep = b.emit(
                f"and {bits} {smaller}, {b.emit(f'xor {bits} {is_nan}, splat (i1 true)')}"
            )
            value = lanes.select(is_nan, lanes.constant(1.0), value)
            i.next(lanes.select(keep, i.values[0], value))
        name = f"llvm.vector.reduce.fmax.v{c.lanes}{suffix(c.part)}"
        return b.intrinsic(name, c.part, (c.vector, i.values[0]))

    def _squares(self, line: str, length: str, scale: str) -> str:
        b, c = self.b, self.c
        factor = c.splat(b, scale)
        with b.loop("0", length, c.lanes, [(c.vector, c.zero)]) as i:
            value = c.load(b, b.offset(line, b.mul(i.index, c.size)))
            scaled = self.lanes.multiply(value, factor)
            i.next(self.lanes.multiply_add(scaled, scaled, i.values[0]))
        return c.sum_lanes(b, i.values)[0]

    def _apply(self, v: str, tau: str, lines: str, row: str, begin: str, end: str) -> None:
        """Reflect lines begin to end, from an element number on."""
        b, c, d = self.b, self.c, self.d
        length = b.sub(d.m, row)

        def call(group: int, j: str) -> None:
            to = self.place(lines, j, self.line, row)
            b.do(
                f"call void @apply{group}(ptr {v}, {c.part} {tau}, ptr {to}, i64 {self.line}, "
                f"i64 {length})"
            )

        whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-GROUP}"))
        used = b.emit(f"fcmp une {c.part} {tau}, {self._zero()}")
        with b.when(used):
            with b.loop(begin, whole, GROUP) as j:
                call(GROUP, j.index)
            with b.loop(whole, end) as j:
                call(1, j.index)

    # ---- results ---------------------------------------------------------------------------------

    def _turn(self, lines: str, depth: str, count: str, to: str) -> None:
        """to[i][j] = lines[j][i] for `depth` lines j and `count` rows i."""
        side = self.b.mul(depth, self.c.size)
        self.b.do(
            f"call void @unpack(i64 {depth}, ptr {lines}, i64 {self.d.width}, ptr {to}, "
            f"i64 {side}, i64 {count})"
        )

    def _write_r(self, at: SimpleNamespace) -> None:
        b, d, c = self.b, self.d, self.c
        self._turn(at.columns, d.n, d.r_rows, at.r)
        row = b.mul(d.n, c.size)
        with b.loop("0", d.k) as j:
            value = b.load(c.part, b.offset(at.diagonal, b.mul(j.index, c.size)), c.size)
            b.store(c.part, value, self.place(at.r, j.index, row, j.index), c.size)
        clean = b.emit(f"xor i1 {self._flag(RAW)}, true")
        with b.when(clean), b.loop("1", d.r_rows) as i, b.loop("0", b.min(i.index, d.n)) as j:
            b.store(c.part, self._zero(), self.place(at.r, i.index, row, j.index), c.size)

    def _read_vectors(self, at: SimpleNamespace) -> None:
        b, d, c = self.b, self.d, self.c
        with b.loop("0", d.k) as j:
            b.store(
                c.part, self._one(), self.place(at.columns, j.index, self.line, j.index), c.size
            )

    def _write_vectors(self, at: SimpleNamespace) -> None:
        """V: where tau is 0 the vector is 0 too."""
        b, d, c = self.b, self.d, self.c
        with b.loop("0", d.k) as j:
            tau = b.load(c.part, b.offset(at.tau, b.mul(j.index, c.size)), c.size)
            none = b.emit(f"fcmp oeq {c.part} {tau}, {self._zero()}")
            last = b.select(none, "i64", d.m, j.index)
            with b.loop("0", last) as i:
                here = self.place(at.columns, j.index, self.line, i.index)
                b.store(c.part, self._zero(), here, c.size)
        self._turn(at.columns, d.k, d.m, at.v)

    def _form(self, at: SimpleNamespace) -> None:
        """Q: the reflections of the identity's columns, or of R's, last first unless transposed."""
        b, c, d = self.b, self.c, self.d
        applied, transposed = self._flag(APPLY), self._flag(TRANSPOSED)
        b.choose(applied, lambda: self._read_columns(at), lambda: self._write_identity(at))
        with b.loop("0", d.k) as turn:
            last = b.sub(b.sub(d.k, 1), turn.index)
            j = b.select(transposed, "i64", turn.index, last)
            tau = b.load(c.part, b.offset(at.tau, b.mul(j, c.size)), c.size)
            start = self.place(at.columns, j, self.line, j)
            self._apply(start, tau, at.formed, j, b.select(applied, "i64", "0", j), d.q)
        self._turn(at.formed, d.q, d.m, at.q)

    def _write_identity(self, at: SimpleNamespace) -> None:
        b, c, d = self.b, self.c, self.d
        with b.loop("0", d.q) as column:
            with b.loop("0", d.width, c.lanes) as i:
                c.store(b, c.zero, self.place(at.formed, column.index, self.line, i.index))
            one = self.place(at.formed, column.index, self.line, column.index)
            b.store(c.part, self._one(), one, c.size)

    def _read_columns(self, at: SimpleNamespace) -> None:
        b, c, d = self.b, self.c, self.d
        b.do(
            f"call void @pack(i64 {d.q}, ptr {at.r}, i64 {c.size}, i64 {b.mul(d.q, c.size)}, "
            f"i64 {d.m}, ptr {at.formed}, i64 {d.width})"
        )
        self._clear(at.formed, d.q, d.m, d.width)
