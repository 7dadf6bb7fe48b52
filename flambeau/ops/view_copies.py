"""Copying forms of the views: `permute_copy(x, dims)` is `permute(x, dims).clone()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import Tensor
from . import complex_views, splitting, views
from .record import METHODS, composite, deliver
from .views import clone

_SINGLE = (
    "as_strided", "diagonal", "expand", "permute", "select", "squeeze", "t", "transpose", "unfold",
    "unsqueeze", "view", "view_as_real", "view_as_complex", "detach",
)  # fmt: skip
_SEVERAL = ("split", "split_with_sizes", "unbind", "chunk")


def _copying(name: str, op: Callable) -> None:
    public = f"{name}_copy"

    def copied(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = op(*args, **kwargs)
        if not isinstance(result, Tensor):
            made = tuple([clone(r) for r in result])
        else:
            made = clone(result)
        return made if out is None else deliver(public, out, made)

    copied.__name__ = public
    copied.__doc__ = f"A copy of what `{name}` shows."
    composite(name=public, method=False)(copied)


for _name in _SINGLE:
    _copying(
        _name, METHODS.get(_name) or getattr(complex_views, _name, None) or getattr(views, _name)
    )
for _name in _SEVERAL:
    _copying(_name, getattr(splitting, _name, None) or getattr(views, _name))


def _slice_copy(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    from .dims import wrap

    d = wrap("slice_copy", dim, input.ndim)
    return input[(*[slice(None)] * d, slice(start, end, step))]


def _narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    if dim >= input.ndim:  # the copy's class of error is not the view's
        raise RuntimeError(f"narrow_copy: dim {dim} is out of range for shape {tuple(input.shape)}")
    return views.narrow(input, dim, start, length)


_copying("narrow", _narrow)
_copying("slice", _slice_copy)
_copying("alias", views.alias_view)
