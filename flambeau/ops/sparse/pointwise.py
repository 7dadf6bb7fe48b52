"""Arithmetic with sparse tensors, and functions that keep 0."""

from __future__ import annotations

from math import prod
from typing import Any

from ... import core
from ...core import Tensor
from ..arithmetic import sub_any, true_div
from ..gather import select_rows
from ..join import cat
from ..record import METHODS
from .convert import coalesce, find, result_type, write
from .dispatch import answer, implements, ops_named
from .tensor import SparseTensor, flat_keys, keys_of, like, make


def is_sparse(x: Any) -> bool:
    return isinstance(x, SparseTensor)


def is_scalar(x: Any) -> bool:
    """Is it a number, or a dense 0-d tensor?"""
    return not isinstance(x, Tensor) or (not is_sparse(x) and x.dim() == 0)


# ---- sums ----------------------------------------------------------------------------------------


@implements("add")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other: sparse + sparse is sparse, dense + sparse is dense."""
    if not is_sparse(input):
        return _add_to_dense(input, other, alpha)
    if not is_sparse(other):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    _check_sizes("add", input, other)
    if input.sparse_dim() != other.sparse_dim():
        raise RuntimeError(
            "add: expected 'self' and 'other' to have same number of sparse dimensions, but"
            f" {input.sparse_dim()} != {other.sparse_dim()}"
        )
    dtype = result_type(input, other)
    if not other._nnz() and input.dtype is dtype:
        return like(input, core.alias(input.value))
    values = [input.value.to(dtype), _times(other.value, alpha).to(dtype)]
    both = make(cat([input.index, other.index], 1), cat(values), input.shape)
    return coalesce(both) if input.coalesced and other.coalesced else both


def _times(value: Tensor, alpha: Any) -> Tensor:
    return value if alpha == 1 else value * alpha


def _check_sizes(name: str, a: Tensor, b: Tensor) -> None:
    if tuple(a.shape) != tuple(b.shape):
        raise RuntimeError(
            f"{name}: expected sizes of 'self' and 'other' to match, but {list(a.shape)} !="
            f" {list(b.shape)}"
        )


def _add_to_dense(x: Any, t: Any, alpha: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    _check_sizes("add", x, t)
    dtype = result_type(x, t)
    rows = _rows_of(x.to(dtype), t)
    return rows.index_add(0, keys_of(t), t.value.to(dtype), alpha=alpha).view(x.shape)


def _rows_of(x: Tensor, t: Any) -> Tensor:
    """x with t's sparse dimensions as one."""
    split = t.sparse_dim()
    return x.reshape(prod(x.shape[:split]), *x.shape[split:])


@implements("sub", "subtract")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    if not isinstance(other, Tensor) or not isinstance(input, Tensor):
        raise RuntimeError("sub(sparse, dense) is not supported. Use sub(dense, sparse) instead.")
    return add(input, other, alpha=-alpha)


answer(sub_any, sub)


@implements("add_")
def add_(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input += alpha * other."""
    if is_sparse(input):
        return write(input, add(input, other, alpha=alpha), "add_")
    _check_sizes("add_", input, other)
    rows = core.try_view(input, (prod(input.shape[: other.sparse_dim()]), *other.value.shape[1:]))
    if rows is None or result_type(input, other) is not input.dtype:
        return core.store_result(input, add(input, other, alpha=alpha), "add_")
    rows.index_add_(0, keys_of(other), other.value.to(input.dtype), alpha=alpha)
    return input


@implements("sub_", "subtract_")
def _(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    return add_(input, other, alpha=-alpha)


# ---- products ------------------------------------------------------------------------------------


@implements("mul", "multiply")
def mul(input: Any, other: Any) -> Any:
    """The product, which is sparse: with a number, a dense tensor or a sparse one."""
    if is_sparse(input) and is_sparse(other):
        return _intersect(input, other)
    t, x = (input, other) if is_sparse(input) else (other, input)
    if is_scalar(x):
        return like(t, t.value * x)
    return _mul_dense(t, x)


def _mul_dense(t: Any, x: Tensor) -> Any:
    if x.dim() > t.dim() or any(
        n not in (1, m) for n, m in zip(reversed(x.shape), reversed(t.shape), strict=False)
    ):
        raise RuntimeError(
            f"mul(dense, sparse): a tensor of shape {list(x.shape)} does not broadcast to the"
            f" sparse tensor's shape {list(t.shape)}"
        )
    split = t.sparse_dim()
    x = x.reshape((1,) * (t.dim() - x.dim()) + tuple(x.shape))
    # Only the sizes that are not 1 are looked up: x is never expanded.
    keys = flat_keys(
        core.empty((0, t._nnz()), t.index.dtype)
        if not split
        else t.index * _tensor([[int(n != 1)] for n in x.shape[:split]]),
        x.shape[:split],
    )
    rows = x.reshape(prod(x.shape[:split]), *x.shape[split:])
    return like(t, t.value * select_rows(rows, 0, keys, False, "mul"))


def _tensor(data: list) -> Tensor:
    return core.from_data(data, core.dtypes[5])


def _intersect(a: Any, b: Any) -> Any:
    _check_sizes("mul", a, b)
    if a.sparse_dim() != b.sparse_dim():
        raise RuntimeError(
            "mul: expected 'self' and 'other' to have same number of sparse dimensions, but"
            f" {a.sparse_dim()} != {b.sparse_dim()}"
        )
    a, b = coalesce(a), coalesce(b)
    if not a._nnz() or not b._nnz():
        kept = found = core.empty((0,), core.dtypes[5])
    else:
        at, there = find(keys_of(b), keys_of(a))
        kept = there.nonzero().reshape(-1)
        found = at.index_select(0, kept)
    value = select_rows(a.value, 0, kept, False, "mul") * select_rows(
        b.value, 0, found, False, "mul"
    )
    return make(a.index.index_select(1, kept), value, a.shape, True)


def _check_divisor(name: str, t: Any, other: Any) -> None:
    if not is_sparse(t):
        raise RuntimeError(f"{name}: a dense tensor cannot be divided by a sparse one")
    if not is_scalar(other):
        raise RuntimeError(
            "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape"
            f" {list(other.shape)} for divisor)"
        )


@implements("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """Divided by a number or a 0-d tensor."""
    _check_divisor("div", input, other)
    t = input if rounding_mode is None else coalesce(input)  # rounding is not linear
    return like(t, METHODS["div"](t.value, other, rounding_mode=rounding_mode))


answer(true_div, div)


@implements("floor_divide")
def _(input: Any, other: Any) -> Any:
    return div(input, other, rounding_mode="floor")


@implements("pow")
def pow(input: Any, exponent: Any) -> Any:
    """To a power that is not 0: 0 stays 0."""
    if not is_sparse(input) or isinstance(exponent, Tensor):
        raise NotImplementedError("pow: of sparse tensors, to the power of a number only")
    if exponent == 0:
        raise RuntimeError(
            "pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor"
            " dense"
        )
    t = coalesce(input)
    return like(t, t.value**exponent)


@implements("square")
def _(t: Any) -> Any:
    return pow(t, 2)


# ---- functions that keep 0 -----------------------------------------------------------------------

_LINEAR = ("neg", "negative")
_KEEP_ZERO = (
    *("abs", "absolute", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh", "atan"),
    *("atanh", "ceil", "deg2rad", "erf", "erfinv", "expm1", "fix", "floor", "frac", "isinf"),
    *("isnan", "isneginf", "isposinf", "log1p", "nan_to_num", "rad2deg", "relu", "round", "sgn"),
    *("sign", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)


def _on_values(name: str, linear: bool) -> None:
    """Answer an op by that op on the values of each coordinate, which must be distinct."""
    op = ops_named(name)[0]

    @implements(name)
    def _(t: Any, *args: Any, **kwargs: Any) -> Any:
        t = t if linear else coalesce(t)
        return like(t, op(t.value, *args, **kwargs))


for _name in (*_LINEAR, *_KEEP_ZERO):
    _on_values(_name, _name in _LINEAR)


# ---- in place ------------------------------------------------------------------------------------


def _in_place(name: str) -> None:
    from .dispatch import _TABLE

    plain = _TABLE[ops_named(name)[0]]

    @implements(name + "_")
    def _(t: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_sparse(t):
            raise RuntimeError(f"{name}_: a dense tensor cannot hold a sparse result")
        return write(t, plain(t, *args, **kwargs), name + "_")


for _name in (
    *("mul", "multiply", "div", "divide", "true_divide", "floor_divide", "pow"),
    *_LINEAR,
    *(name for name in _KEEP_ZERO if name + "_" in METHODS),
):
    _in_place(_name)


# ---- questions -----------------------------------------------------------------------------------


@implements("any")
def _(t: Any) -> Tensor:
    return coalesce(t).value.any()


@implements("equal")
def _(a: Tensor, b: Tensor) -> bool:
    """Are shape and elements the same, both sparse?"""
    if not is_sparse(a) or not is_sparse(b) or tuple(a.shape) != tuple(b.shape):
        return False
    a, b = coalesce(a), coalesce(b)
    same = METHODS["equal"]
    return a.index.shape == b.index.shape and same(a.index, b.index) and same(a.value, b.value)
