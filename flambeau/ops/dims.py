"""Reading dimension arguments: negative ones wrap, impossible ones raise with the op's name."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from ..core import Tensor


def wrap(name: str, dim: Any, ndim: int) -> int:
    """A dimension number in 0..ndim-1; negative ones count from the end."""
    limit = ndim or 1
    if type(dim) is not int:
        dim = _as_int(name, dim)
    if 0 <= dim < limit:
        return dim
    if -limit <= dim < 0:
        return dim + limit
    raise IndexError(
        f"{name}: Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but "
        f"got {dim})"
    )


def _as_int(name: str, dim: Any) -> int:
    try:
        return index(dim)
    except TypeError:
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}") from None


def wrap_all(name: str, dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Several dimensions, each named once."""
    wrapped = tuple([wrap(name, d, ndim) for d in dims])
    if len(set(wrapped)) != len(wrapped):
        repeated = next(d for d in wrapped if wrapped.count(d) > 1)
        raise RuntimeError(
            f"{name}: dim {repeated} appears multiple times in the list of dims {tuple(dims)}"
        )
    return wrapped


def read_ints(name: str, given: tuple, argument: str = "size") -> Any:
    """The ints of `f(2, 3)`, `f((2, 3))` or `f([2, 3])`."""
    if len(given) == 1 and isinstance(given[0], tuple | list):
        given = given[0]  # type: ignore[assignment]
    for n in given:
        if type(n) is not int and (isinstance(n, float) or not hasattr(n, "__index__")):
            raise TypeError(
                f"{name}(): argument '{argument}' must be tuple of ints, but found element of type "
                f"{type(n).__name__}"
            )
    return given


def check_tensor(name: str, value: Any, argument: str = "input") -> None:
    """Raise unless the argument is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}(): argument '{argument}' must be Tensor, not {type(value).__name__}"
        )


def check_sequence(name: str, tensors: Any) -> Sequence[Tensor]:
    """Raise unless the argument is a sequence of tensors."""
    if isinstance(tensors, Tensor):
        raise TypeError(
            f"{name}(): argument 'tensors' must be tuple of Tensors, not Tensor: pass a list or "
            "tuple"
        )
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"{name}(): expected Tensor as element {i} in argument 0, but got "
                f"{type(t).__name__}"
            )
    return tensors
