"""The two products that a sparse matrix takes part in; each is the other's derivative.

With elements v at (r, c): y[r] += v * x[c], and v = <a[r], b[c]>. Both go through the elements in
blocks, so that what they gather stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

from ... import core
from ...core import Tensor
from .. import launch_index as launch
from ..record import primitive

_BLOCK = 1 << 16  # elements gathered at once


@primitive(register=False, name="sparse_mm")
def add_rows(value: Tensor, rows: Tensor, columns: Tensor, x: Tensor, size: int) -> Tensor:
    """(size, n): the sum over elements k of value[k] * x[columns[k]] in row rows[k]."""
    made = core.fill_number(core.empty((size, x.shape[1]), x.dtype), 0)
    to, from_ = launch.bounds("mm", made, 0), launch.bounds("mm", x, 0)
    factors = value.unsqueeze(1)
    for part in _blocks(value.shape[0], x.shape[1]):
        r, c, v = (core.basic_index(t, part) for t in (rows, columns, factors))
        launch.put_rows("add", made, 0, r, launch.take_rows(x, 0, c, from_).mul_(v), to)
    return made


@add_rows.vjp
def _(g, value, rows, columns, x, needs):
    return (
        dot_rows(g, rows, _conj(x), columns) if needs[0] else None,
        None,
        None,
        add_rows(_conj(value), columns, rows, g, x.shape[0]) if needs[3] else None,
    )


@primitive(register=False, name="sparse_sampled_mm")
def dot_rows(a: Tensor, rows: Tensor, b: Tensor, columns: Tensor) -> Tensor:
    """(k,): the products <a[rows[k]], b[columns[k]]>."""
    made = core.empty(rows.shape, a.dtype)
    limits = launch.bounds("mm", a, 0), launch.bounds("mm", b, 0)
    for part in _blocks(rows.shape[0], a.shape[1]):
        r, c = (core.basic_index(t, part) for t in (rows, columns))
        left = launch.take_rows(a, 0, r, limits[0]).mul_(launch.take_rows(b, 0, c, limits[1]))
        core.copy_plain(core.basic_index(made, part), left.sum(1))
    return made


@dot_rows.vjp
def _(g, a, rows, b, columns, needs):
    return (
        add_rows(g, rows, columns, _conj(b), a.shape[0]) if needs[0] else None,
        None,
        add_rows(g, columns, rows, _conj(a), b.shape[0]) if needs[2] else None,
        None,
    )


def _blocks(count: int, width: int) -> Iterator[slice]:
    step = max(_BLOCK // max(width, 1), 1)
    return (slice(start, start + step) for start in range(0, count, step))


def _conj(t: Tensor) -> Tensor:
    return t.conj() if t.dtype.is_complex else t
