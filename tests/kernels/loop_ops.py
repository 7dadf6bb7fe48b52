"""Every loop op of the package, and what each accepts: a new op is covered without being listed."""

from __future__ import annotations

import gc

import flambeau  # noqa: F401  (registers the ops)
from flambeau.core import LoopOp
from flambeau.kernels import dtypes as dt
from flambeau.kernels import scalar
from flambeau.kernels.scalar import Expr
from flambeau.ops.program import LoopRecord

CODES = tuple(range(len(dt.BY_CODE)))


def loop_ops() -> list[LoopOp]:
    """The loop ops that the modules of the ops floor define, in a fixed order.

    Many are private parts of composites, so they are found as objects, not by name. Derivative ops
    come into being on demand; `derivatives` asks for them.
    """
    # Objects of other packages may answer `isinstance` with a warning; their type does not.
    found = [x for x in gc.get_objects() if issubclass(type(x), LoopOp) and _is_written(x)]
    return sorted(
        found, key=lambda op: (op.name, op.record.form, op.record.names, op.record.accepts)
    )


def _is_written(op: LoopOp) -> bool:
    module = getattr(op.record.body, "__module__", "") or ""
    return module.startswith("flambeau.ops.") and op.record.op is op and "_vjp" not in op.name


def derivatives(op: LoopOp) -> list[LoopOp]:
    """The op's derivative ops."""
    return [rule for rule in op.vjp_table()[0] if isinstance(rule, LoopOp)]


def ranks(record: LoopRecord, code: int) -> list[tuple[int, int]]:
    """The signature of tensors of one type and default Python numbers."""
    names = record.names[record.operands :]
    numbers = [(dt.INFO["i64" if n in record.integers else "f64"].code, 2) for n in names]
    return [(code, 0)] * record.operands + numbers


def trace(record: LoopRecord, code: int) -> tuple[Expr, list[str], str] | None:
    """The op's graph, stored types and result for operands of one type; None if it refuses the
    type.

    Call within `scalar.tracing()`.
    """
    try:
        root, stored, result = record.trace(ranks(record, code), None)
    except RuntimeError as error:
        if "not implemented for" in str(error):
            return None
        raise
    return scalar.cast(root, result), stored, result


def label(op: LoopOp) -> str:
    """A name for test reports."""
    return f"{op.name}({', '.join(op.record.names)})"
