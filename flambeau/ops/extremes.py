"""The largest and smallest along dimensions, and where they stand."""

from __future__ import annotations

from functools import cache as cache_result

from .. import core
from ..kernels import scalar
from ..kernels.scalar import reduce
from .named_results import define_kind, named_pair
from .promotion import Promote
from .record import composite, reduction


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
