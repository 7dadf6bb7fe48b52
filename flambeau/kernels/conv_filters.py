"""Copies of convolution filters into the order in which register tiles read them."""

from __future__ import annotations

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

# After these, desc holds the byte offset in the filter of each step of the sum.
FIELDS = Fields("filters steps panels rows w_group w_row")


def source(dtype: str, target: Target) -> KernelSource:
    """workspace = [group][panel][step][row], in the compute type; args as the convolution's.

    A task is one panel of one group.
    """
    key = f"conv_filters:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "pack_filters")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    inner = outer.compute
    with b.kernel("pack_filters"):
        d = FIELDS.load(b)
        filters, workspace = b.argument(2), b.argument(4)
        with b.loop("%begin", "%end") as task:
            group, panel = b.divide(task.index, d.panels)
            first = b.mul(panel, d.rows)
            count = b.min(d.rows, b.sub(d.filters, first))
            from_ = b.offset(filters, b.add(b.mul(group, d.w_group), b.mul(first, d.w_row)))
            size = b.mul(b.mul(d.steps, d.rows), inner.size)
            to = b.offset(workspace, b.mul(task.index, size))
            with b.loop("0", d.steps) as k:
                start = b.offset(from_, b.size(b.add(k.index, len(FIELDS.names))))
                row = b.offset(to, b.mul(b.mul(k.index, d.rows), inner.size))
                with b.loop("0", count) as r:
                    at = b.offset(start, b.mul(r.index, d.w_row))
                    outer.copy_one(b, at, b.offset(row, b.mul(r.index, inner.size)), inner)
                with b.loop(count, d.rows) as r:
                    at = b.offset(row, b.mul(r.index, inner.size))
                    inner.store_parts(b, inner.zero_parts(), at)
    return b.module()
