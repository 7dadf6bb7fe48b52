"""Joining blocks of memory: the inputs' rows one after the other, for every outer index."""

from __future__ import annotations

from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

MOST = 20  # inputs of one launch
# Per input follow: bytes of a row, and where it starts in an output row.
JOIN_FIELDS = Fields("inputs row_bytes")


def join_source(target: Target) -> KernelSource:
    """Rows side by side; args out, inputs...; desc JOIN_FIELDS; tasks outer * inputs."""
    return KernelSource(f"join:{target.name}", lambda: _build(target), "join")


def _build(target: Target) -> str:
    b = Builder(target)
    name = "llvm.memcpy.p0.p0.i64"
    b.declare(name, f"declare void @{name}(ptr, ptr, i64, i1)")
    with b.kernel("join"):
        d = JOIN_FIELDS.load(b)
        out = b.argument(0)
        with b.loop("%begin", "%end") as task:
            outer = b.emit(f"udiv i64 {task.index}, {d.inputs}")
            k = b.emit(f"urem i64 {task.index}, {d.inputs}")
            source = b.argument(b.add(k, 1))
            field = b.add(b.mul(k, 2), len(JOIN_FIELDS.names))
            count, start = (
                b.load("i64", b.offset("%desc", b.mul(b.add(field, j), 8)), 8) for j in (0, 1)
            )
            to = b.offset(b.offset(out, b.mul(outer, d.row_bytes)), start)
            row = b.offset(source, b.mul(outer, count))
            b.do(f"call void @{name}(ptr {to}, ptr {row}, i64 {count}, i1 false)")
    return b.module()
