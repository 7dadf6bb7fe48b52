"""Reductions: sums, products, extremes and moments along dimensions."""

from __future__ import annotations

import math
from functools import cache as cache_result

from .. import core
from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, reduce, where
from .named_results import define_kind, named_result
from .promotion import Promote
from .record import composite, function, primitive, reduction, rows

# ---- sums and products ---------------------------------------------------------------------------


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


# ---- truth ---------------------------------------------------------------------------------------


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


# ---- extremes ------------------------------------------------------------------------------------


@reduction(dim=(), accepts="buif", empty=False)
def amax(input):
    """Maximum along dim; ties share the gradient."""
    return reduce.max(input)


@reduction(dim=(), accepts="buif", empty=False)
def amin(input):
    """Minimum along dim; ties share the gradient."""
    return reduce.min(input)


core.set_shortcut_op("amax", amax)
core.set_shortcut_op("amin", amin)


def _ranked(x):
    return scalar.cast(x, "u8") if x.dtype == "bool" else x


@reduction(promote=Promote.LONG, dim=None, accepts="buif", empty=False, register=False)
def argmax_body(input):
    """Position of the first maximum."""
    return reduce.argmax(_ranked(input))


@reduction(promote=Promote.LONG, dim=None, accepts="buif", empty=False, register=False)
def argmin_body(input):
    """Position of the first minimum."""
    return reduce.argmin(_ranked(input))


def _arg(body, name, doc):
    def op(input, dim=None, keepdim=False):
        if input.dtype.code == 0:
            raise RuntimeError(f"\"{name}_cpu\" not implemented for 'Bool'")
        if dim is None:
            # row-major positions, whatever the strides
            flat = body(input.contiguous().reshape(-1), 0, False)
            return flat.reshape([1] * input.dim()) if keepdim else flat
        return body(input, dim, keepdim)

    op.__doc__ = doc
    core.set_shortcut_op(name, body)
    return composite(name=name, out=True, shortcut=name)(op)


argmax = _arg(
    argmax_body, "argmax", "Position of the maximum along dim, or in the flattened input."
)
argmin = _arg(
    argmin_body, "argmin", "Position of the minimum along dim, or in the flattened input."
)


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


def named_pair(name: str, values, indices, fields=("values", "indices")):
    """The named tuple (values, indices) that selecting ops return."""
    return named_result(name, fields, values, indices)


def _extreme_body(name):
    best, where_ = (reduce.max, reduce.argmax) if name == "max" else (reduce.min, reduce.argmin)

    def body(input):
        ranked = _ranked(input)
        return best(ranked), where_(ranked)

    return body


@cache_result
def _extreme_program(name):
    from .row_program import ROW, RowProgram

    return RowProgram(name, _extreme_body(name), (ROW, ROW), types=("", "i64"))


def _run_extreme(name, input, dim):
    """(values, indices) from one kernel, dim kept; None where the layout fits none."""
    shape = tuple(input.shape)
    dim %= len(shape)
    kept = (*shape[:dim], 1, *shape[dim + 1 :])
    return _extreme_program(name).run([input], shape, 1 << dim, (), (kept, kept))


def _extreme_with_index(input, dim, keepdim, arg, name):
    if input.dtype.is_complex:
        raise RuntimeError(f"{name}: complex numbers have no order, got {input.dtype}")
    if input.dim() == 0:
        if dim not in (0, -1):
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-1, 0], but got {dim})"
            )
        index = core.empty((), core.dtypes[5])
        index.fill_(0)
        return named_pair(name, input.clone() if not input.requires_grad else input * 1, index)
    if input.size(dim) == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    found = None if core.needs_history(input) else _run_extreme(name, input, dim)
    if found is not None:
        values, index = found
    else:
        from .gather import gather

        index = arg(input.detach(), dim, True)
        values = gather(input, dim, index)
    if not keepdim:
        values, index = values.squeeze(dim), index.squeeze(dim)
    return named_pair(name, values, index)


def _extreme(name, full, arg, pairwise, doc):
    def op(input, dim=None, keepdim=False, *, out=None):
        if dim is None and not keepdim:
            if input.numel() == 0:
                raise RuntimeError(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            result = full(input)
        elif isinstance(dim, core.Tensor):
            result = pairwise()(input, dim)
        else:
            result = _extreme_with_index(input, dim, keepdim, arg, name)
        if out is None:
            return result
        from .record import deliver

        return deliver(name, out, result)

    def call(input, *args, **kwargs):
        if "other" in kwargs:
            return pairwise()(input, kwargs.pop("other"), **kwargs)
        return op(input, *args, **kwargs)

    call.__doc__ = doc
    core.set_shortcut_op(f"a{name}_result", define_kind(name, ("values", "indices")))
    return composite(name=name, shortcut=name)(call)


def _pairwise(name):
    def get():
        from . import compare

        return getattr(compare, name)

    return get


max = _extreme(
    "max",
    amax,
    argmax_body,
    _pairwise("maximum"),
    "Maximum: of all elements, (values, indices) along dim, or of two tensors.",
)
min = _extreme(
    "min",
    amin,
    argmin_body,
    _pairwise("minimum"),
    "Minimum: of all elements, (values, indices) along dim, or of two tensors.",
)


@composite
def aminmax(input, *, dim=None, keepdim=False, out=None):
    """(minimum, maximum) along dim."""
    if dim is None and input.numel() == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    pair = named_pair(
        "aminmax",
        amin(input, () if dim is None else dim, keepdim),
        amax(input, () if dim is None else dim, keepdim),
        ("min", "max"),
    )
    if out is None:
        return pair
    from .record import deliver

    return deliver("aminmax", out, pair)


# ---- moments -------------------------------------------------------------------------------------


def _squared_deviations(input):
    """Sum of |x - mean|^2 in two passes."""
    total = reduce.add(input)
    n = count(total.dtype)
    # the mean's own derivative cancels: the deviations sum to zero
    deviation = input - scalar.detach(total / n)
    if dt.is_complex(input.dtype):
        re, im = scalar.real(deviation), scalar.imag(deviation)
        return reduce.add(re * re + im * im)
    return reduce.add(deviation * deviation)


@reduction(dim=None, accepts="fc", promote=Promote.REAL, register=False)
def var_body(input, *, correction):
    """Variance with the divisor max(0, n - correction)."""
    squares = _squared_deviations(input)
    n = count(squares.dtype) - scalar.cast(correction, squares.dtype)
    n = where(n < 0, scalar.const(0, n.dtype), n)
    return squares / n


def _var_vjp(g, input, correction):
    mean_ = reduce.add(input) / count(input.dtype)
    part = dt.COMPLEX_PART.get(
        g.dtype, g.dtype
    )  # g is complex when this derivative is derived again
    n = count(part) - scalar.cast(correction, part)
    n = where(n < 0, scalar.const(0, part), n)
    return scalar.cast(2 * g / scalar.cast(n, g.dtype), input.dtype) * (input - mean_)


var_body.vjp = _var_vjp


def _correction(unbiased, correction):
    if correction is not None:
        return correction
    return 1 if unbiased is None or unbiased else 0


def _moment_arguments(dim, unbiased):
    """var(x, True) means unbiased; var(x, 1) means dim 1."""
    if isinstance(dim, bool):
        return None, dim
    return dim, unbiased


def _check_float(name, input):
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            f"{name} only support floating point and complex dtypes, got {input.dtype}: convert "
            "with .float()"
        )


def _warn_few(name, input, dim, correction):
    n = (
        input.numel()
        if dim is None or dim == () or dim == []
        else math.prod(input.size(d) for d in (dim if isinstance(dim, tuple | list) else (dim,)))
        if input.dim()
        else 1
    )
    if n - correction <= 0:
        import warnings

        core.not_replayable()
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            stacklevel=4,
        )


@composite(out=True)
def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Variance along dim, with the divisor n - correction (1 by default)."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    _check_float("var", input)
    c = _correction(unbiased, correction)
    _warn_few("var", input, dim, c)
    return var_body(input, dim, keepdim, correction=float(c))


@composite(out=True)
def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Standard deviation along dim, with the divisor n - correction (1 by default)."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    _check_float("std", input)
    c = _correction(unbiased, correction)
    _warn_few("std", input, dim, c)
    return _safe_sqrt(var_body(input, dim, keepdim, correction=float(c)))


def _safe_sqrt(x):
    from .elementary import sqrt

    return sqrt(x)


@composite
def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(variance, mean) along dim."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@composite
def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(standard deviation, mean) along dim."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


# ---- norms and logarithms ------------------------------------------------------------------------


@reduction(dim=None, dtype=True, promote=Promote.FLOAT, accepts="fc", register=False)
def logsumexp_body(input):
    """log(sum(exp(input))) without overflow."""
    if dt.is_complex(input.dtype):
        top = scalar.detach(reduce.max(scalar.real(input)))
        top = scalar.cast(where(scalar.isinf(top), scalar.const(0, top.dtype), top), input.dtype)
        return mathlib.log(reduce.add(mathlib.exp(input - top))) + top
    top = scalar.detach(reduce.max(input))
    top = where(scalar.isinf(top), scalar.const(0, top.dtype), top)
    return mathlib.log(reduce.add(mathlib.exp(input - top))) + top


logsumexp_body.vjp = lambda g, input, out: (
    g
    * scalar.conj(
        mathlib.exp(input - out)
        if dt.is_complex(input.dtype)
        else where(
            scalar.isinf(out) & scalar.eq(input, out),
            scalar.const(1, input.dtype),
            mathlib.exp(input - out),
        )
    )
)


@composite(out=True, namespaces=("", "special"))
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) along dim, without overflow."""
    if input.numel() == 0:
        from .elementary import exp, log

        return log(sum(exp(input), dim, keepdim))
    return logsumexp_body(input, dim, keepdim)


@reduction(dim=None, promote=Promote.SUM, register=False)
def count_nonzero_body(input):
    """How many elements are nonzero."""
    return reduce.add(scalar.cast(scalar.cast(input, "bool"), "i64"))


@composite
def count_nonzero(input, dim=None):
    """How many elements along dim are nonzero (int64)."""
    return sum((input != 0), dim)


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm2_body(input):
    """Euclidean norm."""
    return scalar.sqrt(reduce.add(_square_norm(input)))


def _square_norm(x):
    if dt.is_complex(x.dtype):
        return scalar.real(x) * scalar.real(x) + scalar.imag(x) * scalar.imag(x)
    return x * x


def _norm2_vjp(g, input, out):
    scale = where(scalar.eq(out, 0), scalar.const(0, out.dtype), g / out)
    return input * scalar.cast(scale, input.dtype)


norm2_body.vjp = _norm2_vjp


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm1_body(input):
    """Sum of moduli."""
    return reduce.add(scalar.absolute(input))


def _norm1_vjp(g, input):
    if dt.is_complex(input.dtype):
        norm = scalar.absolute(input)
        direction = input / scalar.cast(norm, input.dtype)
        direction = where(scalar.eq(norm, 0), scalar.const(0, input.dtype), direction)
        return direction * scalar.cast(g, input.dtype)
    zero, one = scalar.const(0, g.dtype), scalar.const(1, g.dtype)
    return g * where(input > 0, one, where(input < 0, -one, zero))


norm1_body.vjp = _norm1_vjp


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm0_body(input):
    """How many elements are nonzero, as a float."""
    return reduce.add(
        scalar.cast(scalar.ne(input, 0), dt.COMPLEX_PART.get(input.dtype, input.dtype))
    )


norm0_body.vjp = lambda g, input: None


def vector_norm_along(x, ord, dim, keepdim, dtype=None):
    """The p-norm of the elements along dim (None: all of them)."""
    if ord == 2:
        return norm2_body(x, dim, keepdim, dtype=dtype)
    if ord == 1:
        return norm1_body(x, dim, keepdim, dtype=dtype)
    if ord == 0:
        return norm0_body(x, dim, keepdim, dtype=dtype)
    from .arithmetic import abs

    if dtype is not None:
        x = x.to(dtype)
    size = abs(x)
    if ord in (math.inf, -math.inf):
        return (amax if ord > 0 else amin)(size, () if dim is None else dim, keepdim)
    return _p_norm(size, float(ord), dim, keepdim)


@reduction(dim=None, accepts="f", register=False)
def p_norm_body(input, *, p):
    """(sum of input**p)**(1/p) of non-negative input."""
    return mathlib.pow(reduce.add(mathlib.pow(input, p)), 1 / p)


def _p_norm_vjp(g, input, p, out):
    zero = scalar.const(0, g.dtype)
    ratio = where(scalar.eq(out, 0), zero, input / out)
    inner = where(scalar.eq(input, 0) & (p < 1), zero, mathlib.pow(ratio, p - 1))
    return where(scalar.eq(out, 0), zero, g * inner)


p_norm_body.vjp = _p_norm_vjp


def _p_norm(size, p, dim, keepdim):
    return p_norm_body(size, dim, keepdim, p=p)
