"""Attention of few queries, forward: keys and values are read once, where they lie.

For a step of generation (one query a head, or the queries of the heads that share keys) packing
would cost more than it saves. Scores are dot products along the rows of the keys; half types are
widened as they are loaded.
"""

from __future__ import annotations

from types import SimpleNamespace

from .attention_forward import Forward
from .element import transpose_sum
from .gemm_dot import sum_products
from .plan import KernelSource
from .target import Target

PREFETCH = 16  # keys: several rows are read side by side, which processors do not foresee


def tile_shape(target: Target) -> tuple[int, int]:
    """(queries, vectors) of a tile: it holds whole rows of values, of 64 numbers or so."""
    return (4, 4) if target.name in ("avx512", "neon") else (4, 2)


def source(dtype: str, target: Target, masked: bool) -> KernelSource:
    """The kernel; desc and args as `attention_forward`'s, k, v and q of `dtype`.

    Results and the mask are of the type `dtype` is computed in.
    """
    key = f"attention_few:{dtype}:{target.name}:{masked}"
    return KernelSource(key, lambda: _Few(dtype, target, masked).build(), "attend")


_DOTS = [
    ("i64", "%depth"),
    ("ptr", "%q"),
    ("i64", "%q_row"),
    ("ptr", "%k"),
    ("i64", "%k_row"),
    ("i64", "%rows"),
    ("i64", "%count"),  # of keys
    ("ptr", "%scores"),
    ("i64", "%score_row"),
]


class _Few(Forward):
    def __init__(self, dtype: str, target: Target, masked: bool) -> None:
        super().__init__(dtype, target, masked)
        self.rows, self.vectors = tile_shape(target)

    def _emit_helpers(self) -> None:
        for rows in (1, self.rows):
            self._emit_dots(rows)

    def _emit_dots(self, rows: int) -> None:
        """`void dots{rows}(_DOTS)`: one vector holds the scores of all rows with some keys."""
        b, c = self.b, self.c
        columns = max(1, c.width // self.rows)
        with b.function(f"dots{rows}", _DOTS, "internal", "noinline"):
            last_row, last_key = b.sub("%rows", "1"), b.sub("%count", "1")
            ahead = b.mul("%k_row", PREFETCH)
            q = [b.offset("%q", b.mul(b.min(str(r), last_row), "%q_row")) for r in range(rows)]
            with b.loop("0", "%count", columns) as j:
                numbers = [b.min(b.add(j.index, n), last_key) for n in range(columns)]
                k = [b.offset("%k", b.mul(number, "%k_row")) for number in numbers]
                sums = sum_products(b, self.stored, q, k, "%depth", ahead)
                to = b.offset("%scores", j.index, c.part)
                for first in range(0, len(sums), c.width):
                    total = transpose_sum(b, c, sums[first : first + c.width])
                    for at in range(first, min(first + c.width, len(sums)), columns):
                        row = b.offset(to, b.mul(str(at // columns), "%score_row"))
                        self._store_lanes(total, at - first, columns, row)

    def _store_lanes(self, value: str, first: int, count: int, to: str) -> None:
        b, c = self.b, self.c
        kind = f"<{count} x {c.part}>"
        b.store(kind, b.shuffle(value, value, c.vector, range(first, first + count)), to, c.size)

    def _reach(
        self, d: SimpleNamespace, scratch: str, k: str, v: str, fresh: str
    ) -> tuple[str, str]:
        return k, v

    def _emit_scores(self, s: SimpleNamespace, j: str, count: str, wide: str) -> None:
        b, d = self.b, s.d
        keys = b.offset("%keys", b.mul(j, d.k_row))
        arguments = (
            f"i64 {d.depth}, ptr {s.q}, i64 {d.q_row}, "
            f"ptr {keys}, i64 {d.k_row}, i64 %rows, i64 {count}, "
            f"ptr {s.scores}, i64 {d.score_row}"
        )
        b.choose(
            b.less("1", "%rows"),
            lambda: b.do(f"call void @dots{self.rows}({arguments})"),
            lambda: b.do(f"call void @dots1({arguments})"),
        )

    def _values_from(self, s: SimpleNamespace, j: str) -> tuple[str, str]:
        b = self.b
        return b.offset("%values", b.mul(j, s.d.v_row)), s.d.v_row
