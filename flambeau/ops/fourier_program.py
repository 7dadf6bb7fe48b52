"""Programs of Fourier transforms: the records of a block's steps, with the tables they need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .. import core
from ..kernels import fourier_fields as fields
from ..kernels.lazy import fourier
from ..kernels.lazy import target as targets
from ..kernels.plan import round_up
from .fourier_lengths import COSTS, FROM_HALF, radices
from .fourier_tables import prime_roots, turn_roots, twiddles
from .plans import find_kernel

ROWS, COLUMNS = "rows", "columns"  # of fourier_radix.Pass
TURNED, TURNED_TWICE = "turned", "turned twice"
_NO_ENDS = {name: 0 for name in fields.ENDS.names if name not in fields.RADIX.names}


class Geometry(NamedTuple):
    """A transform over one dimension, of `outer` times `lanes` lines. Strides are in bytes.

    Lines are `columns` apart by one element, or lie one after the other, `line` apart. `have` is
    how many elements of the input's lines there are; more are zero.
    """

    kind: int
    dtype: str  # of a part: f32 or f64
    n: int  # the length; of the real side, if there is one
    have: int
    outer: int
    lanes: int
    columns: bool
    input_outer: int
    input_step: int  # from line to line, or from row to row of columns
    output_outer: int
    output_step: int
    backward: bool
    scale: float
    conjugate: bool  # the input (real results) or the result (others)


class Target(NamedTuple):
    """Sizes that depend on the machine."""

    size: int  # of a part
    width: int  # parts of a vector

    @property
    def row(self) -> int:
        """Bytes of a row of a buffer."""
        return 2 * self.width * self.size


@lru_cache(maxsize=4)
def target_of(dtype: str) -> Target:
    size = 4 if dtype == "f32" else 8
    return Target(size, targets.host().vector_bytes // size)


class Program:
    """The records of a block, and the tables they need."""

    def __init__(self, g: Geometry) -> None:
        self.g, self.t = g, target_of(g.dtype)
        self.records: list[tuple] = []
        self.tables: list[core.Tensor] = []
        self.at = fields.FIRST  # the buffer that holds the rows now
        self.rows = 0  # of the buffers
        self.sums = 0  # bytes

    def add(self, name: str, which: Sequence = (), **values: Any) -> None:
        """One step; `which` pass of a radix."""
        key = "fourier", name, self.g.dtype, *which
        code = find_kernel(key, lambda: fourier.step_source(name, self.g.dtype, which))
        form = fields.RECORDS[name]
        words = [{"code": code, **values}[field] for field in form.names]
        self.records.append((*words, *[0] * (fields.RECORD_LENGTH - len(words))))

    def table(self, values: core.Tensor) -> int:
        """Keep a table; its address."""
        self.tables.append(values)
        return values.data_ptr()

    def parts(self, swapped: bool) -> dict[str, Any]:
        """Where a row's real and imaginary parts are."""
        vector = self.t.row // 2
        return {"real": vector, "imaginary": 0} if swapped else {"real": 0, "imaginary": vector}

    def load(self, name: str, rows: int, whole: int, **values: Any) -> None:
        """Bring rows in; zeros up to `whole`."""
        self.rows = max(self.rows, whole, rows, self.t.width // 2)
        self.add(name, target=self.at, rows=rows, **values)
        if rows < whole:
            self.clear(rows * self.t.row, whole * self.t.row)

    def clear(self, begin: int, end: int, apart: int = 0) -> None:
        """Vectors of zeros in the buffer that holds the rows now, from byte to byte."""
        self.add("clear", target=self.at, begin=begin, end=end, apart=apart or self.t.row // 2)

    def transform(self, n: int, reads: dict | None = None, writes: dict | None = None) -> None:
        """All passes of a length. With `reads` the first one reads columns, with `writes` the last
        one writes them: the fields of ENDS for it."""
        found = radices(n)
        assert found is not None
        columns, stride = n, 1
        for radix in found[1]:
            columns //= radix
            short = radix in COSTS
            last = columns == 1 and short
            given: dict[str, Any] = {"roots": 0, "twiddles": 0}
            if not last:
                given["twiddles"] = self.table(twiddles(columns, radix, not short, self.g.dtype))
            if not short:
                given["roots"] = self.table(prime_roots(radix, self.g.dtype))
                self.sums = max(self.sums, (radix // 2) * 2 * self.t.row)
            which: Sequence = ()
            if short:
                source = COLUMNS if reads and stride == 1 else ROWS
                target = _target_of(writes) if writes and last else ROWS
                given |= {**_NO_ENDS, **(reads or {}), **(writes or {})}
                which = radix, not last, source, target
            self.add(
                "radix" if short else "prime", which, source=self.at, target=self.other,
                columns=columns, stride=stride, radix=radix, **given,
            )  # fmt: skip
            self.at = self.other
            stride *= radix
        self.rows = max(self.rows, n)

    @property
    def other(self) -> int:
        """The buffer that is free."""
        return fields.FIRST + fields.SECOND - self.at

    def turn(self, half: int, **values) -> None:
        """Between half the coefficients of real numbers and those of their pairs."""
        backward = self.g.kind == FROM_HALF
        table = self.table(turn_roots(half, backward, self.g.dtype))
        self.rows = max(self.rows, half + 1)
        self.add(
            "turn", source=self.at, target=self.other, half=half, twiddles=table,
            backward=backward, **values,
        )  # fmt: skip
        self.at = self.other

    @property
    def work(self) -> int:
        """Bytes of the buffers."""
        return 2 * self._buffer + round_up(self.sums, 64)

    @property
    def _buffer(self) -> int:
        return (self.rows + 2) * self.t.row

    def pack(self, **values) -> tuple:
        """The BLOCK with its records."""
        head = fields.BLOCK.pack(
            second=self._buffer, sums=2 * self._buffer, records=len(self.records),
            width=self.t.width, **values,
        )  # fmt: skip
        return (*head, *(word for record in self.records for word in record))


def _target_of(writes: dict) -> str:
    if writes.get("coarse"):
        return TURNED_TWICE
    return TURNED if writes.get("turns") else COLUMNS
