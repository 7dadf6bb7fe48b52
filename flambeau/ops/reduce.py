"""Sums, products and truth along dimensions."""

from __future__ import annotations

from .. import core
from ..kernels import scalar
from ..kernels.scalar import count, reduce, where
from .promotion import Promote
from .record import composite, function, primitive, reduction, rows


@reduction(promote=Promote.SUM, dim=None, dtype=True)
def sum(input):
    """Sum of the elements along dim; integers and bool sum in int64."""
    return reduce.add(input)


@reduction(promote=Promote.SUM, dim=None, dtype=True)
def nansum(input):
    """Sum along dim, NaN counted as 0."""
    return reduce.add(where(scalar.isnan(input), scalar.const(0, input.dtype), input))


@reduction(dim=None, dtype=True, accepts="fc", register=False)
def mean_body(input):
    """Mean along dim."""
    total = reduce.add(input)
    return total / count(total.dtype)


core.set_shortcut_op("mean", mean_body)


@composite(out=True, shortcut="mean")
def mean(input, dim=None, keepdim=False, *, dtype=None):
    """Mean of the elements along dim; floating-point and complex types only."""
    kind = input.dtype if dtype is None else dtype
    if not (kind.is_floating_point or kind.is_complex):
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {kind}: convert with .float()"
        )
    return mean_body(input, dim, keepdim, dtype=dtype)


@composite(out=True)
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """Mean along dim over the elements that are not NaN."""
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{input.dtype}"
        )
    from .compare import isnan, logical_not

    counted = sum(logical_not(isnan(input)).detach(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / counted


@reduction(promote=Promote.SUM, dim=None, dtype=True, register=False, accepts="buif")
def prod_body(input):
    """Product along dim."""
    return reduce.mul(input)


@composite(out=True)
def prod(input, dim=None, keepdim=False, *, dtype=None):
    """Product of the elements along dim."""
    kind = dtype or input.dtype
    if kind.is_complex:
        return _prod_by_tree(input if dtype is None else input.to(dtype), dim, keepdim)
    if not core.needs_history(input) or input.numel() == 0:
        return prod_body(input, dim, keepdim, dtype=dtype)
    x = input if dtype is None else input.to(dtype)
    if dim is None:
        whole = product_along(x.reshape(-1), 0)
        return whole.reshape([1] * x.dim()) if keepdim else whole.reshape(())
    kept = product_along(x, dim) if x.dim() else x.clone()
    return kept if keepdim or not x.dim() else kept.squeeze(dim)


@primitive(register=False, name="prod")
def product_along(input, dim):
    """Product along dim, which is kept."""
    return prod_body(input, dim, True)


@product_along.vjp
def _product_vjp(g, input, dim):
    if core.grad_enabled():
        return g * _product_of_others(input, dim)
    return product_gradient(g, input, dim)


@rows(register=False, accepts="f")
def product_gradient(g, input):
    """g * (product of the other elements); for an only zero, the product without it."""
    zero, one = scalar.const(0, input.dtype), scalar.const(1, input.dtype)
    is_zero = scalar.eq(input, 0)
    zeros = reduce.add(scalar.cast(is_zero, input.dtype))
    rest = reduce.mul(where(is_zero, one, input))
    at_zero = where(scalar.eq(zeros, 1), rest, zero)
    return g * where(is_zero, at_zero, where(scalar.eq(zeros, 0), rest / input, zero))


def _product_of_others(x, dim):
    """For each element the product of all others, in log2(n) multiplications that differentiate."""
    from .join import cat

    n = x.size(dim)
    if n == 1:
        return core.empty(x.shape, x.dtype).fill_(1)
    half = n // 2
    a, b, last = x.narrow(dim, 0, half), x.narrow(dim, half, half), x.narrow(dim, 2 * half, n % 2)
    others = _product_of_others(cat([a * b, last], dim), dim)
    of_pairs = others.narrow(dim, 0, half)
    return cat([of_pairs * b, of_pairs * a, others.narrow(dim, half, n % 2)], dim)


def _prod_by_tree(x, dim, keepdim):
    """A product tree of plain multiplications.

    Right for complex numbers and all their derivatives.
    """
    flat = dim is None
    n_dims = x.dim()
    if flat:
        x, dim = x.reshape(-1), 0
    if x.dim() == 0:
        return x.clone() if x.dtype.code > 5 else x.long()
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.long()
    while x.size(dim) > 1:
        n = x.size(dim)
        half = n // 2
        product = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        if n % 2:
            from .join import cat

            product = cat([product, x.narrow(dim, n - 1, 1)], dim)
        x = product
    if x.size(dim) == 0:
        x = sum(x, dim, True) + 1  # an empty product, with its (empty) history
    if flat:
        return x.reshape([1] * n_dims) if keepdim else x.reshape(())
    return x if keepdim else x.squeeze(dim)


@reduction(promote=Promote.BOOL, dim=None, register=False)
def any_body(input):
    """Is any element nonzero?"""
    return reduce.any(input)


@reduction(promote=Promote.BOOL, dim=None, register=False)
def all_body(input):
    """Is every element nonzero?"""
    return reduce.all(input)


def _truth(body, name, doc):
    def op(input, dim=None, keepdim=False):
        result = body(input, dim, keepdim)
        return result.to(input.dtype) if input.dtype.code == 1 else result  # uint8 stays uint8

    op.__doc__ = doc
    return composite(name=name, out=True)(op)


any = _truth(any_body, "any", "Is any element along dim nonzero?")
all = _truth(all_body, "all", "Is every element along dim nonzero?")


@function("sum_to_size", method=True, namespaces=())
def sum_to_size(self, *size):
    """The sum over the dimensions that expanding from `size` to the tensor's shape would add.

    >>> import flambeau as torch
    >>> torch.ones(2, 3).sum_to_size(1, 3)
    tensor([[2., 2., 2.]])
    """
    target = core.Size(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
    pairs = zip(reversed(target), reversed(self.shape), strict=False)
    fits = [to in (1, n) for to, n in pairs]
    if len(target) > self.dim() or False in fits:
        raise RuntimeError(
            f"sum_to_size: size {list(target)} is not expandable to size {list(self.shape)}"
        )
    return core.sum_to_shape(self, target)
