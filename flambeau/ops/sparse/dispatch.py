"""Which function answers an op that is called on a sparse tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import core
from ..record import METHODS, NAMESPACES, REGISTRY

_TABLE: dict[Any, Callable] = {}


def implements(*names: str) -> Callable[[Callable], Callable]:
    """Let the decorated function answer the ops of these names, functions and methods alike."""

    def register(function: Callable) -> Callable:
        for name in names:
            for op in ops_named(name):
                _TABLE[op] = function
        return function

    return register


def ops_named(name: str) -> list[Any]:
    """The ops that are public under a name."""
    spaces = (METHODS, NAMESPACES[""], NAMESPACES["special"], REGISTRY)
    found = [space[name] for space in spaces if name in space]
    if not found:
        raise KeyError(f"no op {name!r}")
    return found


def answer(op: Any, function: Callable) -> None:
    """Let `function` answer an op that has no public name."""
    _TABLE[op] = function


def dispatch(op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Answer a call with a sparse tensor among its arguments, or raise NotImplementedError."""
    found = _TABLE.get(op)
    name = getattr(op, "__name__", repr(op))
    if found is None:
        raise NotImplementedError(
            f"{name}: not implemented for sparse tensors (torch.sparse_coo, sparse_csr): convert"
            " them with to_dense() first"
        )
    if kwargs.get("out") is not None:
        raise NotImplementedError(f"{name}: out= is not supported with sparse tensors")
    kwargs.pop("out", None)
    if any(_is_compressed(x) for x in (*args, *kwargs.values())):
        from . import compressed

        return compressed.answer(op, found, args, kwargs)
    return found(*args, **kwargs)


def _is_compressed(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(_is_compressed(y) for y in x)
    return isinstance(x, core.Tensor) and x.is_sparse_csr
