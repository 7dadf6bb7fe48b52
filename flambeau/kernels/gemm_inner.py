"""The product of one row and one column that lie side by side: an inner product.

Parts of the sum go to the workspace, from several threads, and are added up in order. Within a part
eight chains of vectors run beside each other, so that additions overlap.
"""

from __future__ import annotations

from .element import Element
from .gemm_dot import store_dot
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

FIELDS = Fields("k part parts flags a_batch b_batch c_batch a_argument b_argument")
CHAINS = 8


def sources(dtype: str, target: Target) -> tuple[KernelSource, KernelSource]:
    """The kernel of the parts and the one that adds them; desc FIELDS, args C, A, B, bias,
    workspace.
    """
    key = f"gemm_inner:{dtype}:{target.name}"

    def build() -> str:
        return _build(dtype, target)

    return KernelSource(key, build, "parts"), KernelSource(key, build, "total")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    with b.kernel("parts"):
        _emit_parts(b, c)
    with b.kernel("total"):
        _emit_total(b, c)
    return b.module()


def _emit_parts(b: Builder, c: Element) -> None:
    """Task: one part of the sum of one product of the batch."""
    d = FIELDS.load(b)
    a, bb = b.argument(d.a_argument), b.argument(d.b_argument)
    workspace = b.argument(4)
    with b.loop("%begin", "%end") as task:
        batch, part = b.divide(task.index, d.parts)
        first = b.mul(part, d.part)
        last = b.min(b.add(first, d.part), d.k)
        left = b.offset(a, b.mul(batch, d.a_batch))
        right = b.offset(bb, b.mul(batch, d.b_batch))

        def step(at: str, sums, tail=None):
            """One more vector for each chain."""
            found = []
            for k, chain in enumerate(sums):
                offset = b.mul(b.add(at, k * c.lanes), c.size)
                x, y = (c.load(b, b.offset(t, offset), tail) for t in (left, right))
                found += c.multiply_add(b, [x], y, [chain])
            return found

        step_size = CHAINS * c.lanes
        count = b.sub(last, first)
        whole = b.add(first, b.mul(b.emit(f"udiv i64 {count}, {step_size}"), step_size))
        with b.loop(first, whole, step_size, carry=[(c.vector, c.zero)] * CHAINS) as k:
            k.next(*step(k.index, k.values))
        with b.loop(whole, last, c.lanes, carry=[(c.vector, k.values[0])]) as e:
            e.next(*step(e.index, e.values, c.tail(b, b.sub(last, e.index))))
        sums = [e.values[0], *k.values[1:]]
        while len(sums) > 1:
            sums = [c.add(b, x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        to = b.offset(workspace, b.mul(task.index, c.compute.size))
        c.compute.store_parts(b, c.sum_lanes(b, sums), to)


def _emit_total(b: Builder, c: Element) -> None:
    """Task: one product of the batch."""
    d = FIELDS.load(b)
    out, bias, workspace = b.argument(0), b.argument(3), b.argument(4)
    with b.loop("%begin", "%end") as task:
        start = b.offset(workspace, b.mul(b.mul(task.index, d.parts), c.compute.size))
        zero = c.compute.zero_parts()
        with b.loop("0", d.parts, carry=[(c.part, zero[0])]) as p:
            part = c.compute.load_parts(b, b.offset(start, b.mul(p.index, c.compute.size)))
            p.next(*c.add_parts(b, p.values, part))
        to = b.offset(out, b.mul(task.index, d.c_batch))
        store_dot(b, c, list(p.values), to, bias, d.flags)
