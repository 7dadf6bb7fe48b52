"""Where the core's hooks meet the ops: operators, the engine's own ops, views' gradients."""

from __future__ import annotations

from .. import core
from . import arithmetic, convert, gather, index, views
from .record import METHODS, NAMESPACES, REGISTRY, install


def connect() -> None:
    """Wire the core to the ops; called once, when every family has registered."""
    op = REGISTRY.__getitem__
    core.set_services(op("add"), arithmetic.copy, op("sum"), op("real"), convert.to_dtype)
    core.set_view_services(views.embed, views.reshape_copy)
    core.set_copy_slices(views.take_slice, views.put_slice)
    core.set_has_nan(_has_nan)
    core.set_operators(_operators())
    install()


def _has_nan(t: core.Tensor) -> bool:
    return bool(REGISTRY["isnan"](t).any())


def _operators() -> dict[str, object]:
    """Special method (without underscores) -> op."""
    op = REGISTRY.__getitem__
    table = {
        "add": op("add"),
        "select_rows": gather.select_rows,
        "sub": op("sub"),
        "mul": op("mul"),
        "truediv": arithmetic.true_div,
        "floordiv": op("floor_divide"),
        "mod": op("remainder"),
        "pow": op("pow"),
        "matmul": op("matmul"),
        "lshift": op("bitwise_left_shift"),
        "rshift": op("bitwise_right_shift"),
        "and": op("bitwise_and"),
        "or": op("bitwise_or"),
        "xor": op("bitwise_xor"),
        "neg": op("neg"),
        "pos": op("positive"),
        "abs": op("abs"),
        "invert": op("bitwise_not"),
        "getitem": index.getitem,
        "setitem": index.setitem,
        "iter": views.iterate,
        "contains": index.contains,
        "repr": lambda t: METHODS["__repr__"](t),
    }
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        table[name] = op(name)
    table.update({"r" + name: _reversed(table[name]) for name in _REFLECTED})
    table["rsub"] = _reversed(arithmetic.sub_any)
    for name in ("and", "or", "xor"):
        table["r" + name] = table[name]
    table.update({"i" + name: _inplace(name) for name in _INPLACE})
    return table


_REFLECTED = (
    "sub",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
)
_INPLACE = {
    "add": "add_",
    "sub": "sub_",
    "mul": "mul_",
    "truediv": "div_",
    "floordiv": "floor_divide_",
    "mod": "remainder_",
    "pow": "pow_",
    "lshift": "bitwise_left_shift_",
    "rshift": "bitwise_right_shift_",
    "and": "bitwise_and_",
    "or": "bitwise_or_",
    "xor": "bitwise_xor_",
}


def _reversed(op):
    return lambda self, other: op(other, self)


def _inplace(name: str):
    return METHODS[_INPLACE[name]]


__all__ = ["NAMESPACES", "connect"]
