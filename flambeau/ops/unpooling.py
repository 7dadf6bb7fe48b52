"""Maximum unpooling: values back where pooling found them."""

from __future__ import annotations

from .. import core
from ..kernels.lazy import pooling as planner
from .plans import planned
from .pooling import tuple_of
from .record import composite, primitive


@primitive(register=False, name="max_unpool")
def put_back(input, indices, sizes):
    """Planes of `sizes` with the input's values at the places the indices name, zeros elsewhere."""
    x = core.contiguous_plain(input)
    shape = (*x.shape[: -len(sizes)], *sizes)
    out, wrong = core.empty(shape, x.dtype), core.empty((1,), core.dtypes[5]).fill_(0)
    if out.numel() == 0 or x.numel() == 0:
        return out.zero_()
    plan = planned(
        ("max_unpool", x.dtype.code, shape, tuple(x.shape)),
        lambda threads: planner.plan_unpool(x.dtype.short, shape, x.shape, len(sizes), threads),
    )
    plan.run(out, x, core.contiguous_plain(indices), wrong)
    if core.read_flag(wrong):
        _complain(indices, sizes)
    return out


def _complain(indices, sizes):
    lowest, highest = int(indices.min()), int(indices.max())
    raise RuntimeError(
        f"max_unpool{len(sizes)}d: found an invalid max index: "
        f"{lowest if lowest < 0 else highest} (output volumes are of size "
        f"{'x'.join(map(str, sizes))})"
    )


@put_back.vjp
def _put_back_vjp(g, indices, sizes):
    n = len(sizes)
    return g.flatten(-n).gather(-1, indices.flatten(-n)).reshape(indices.shape), None


def _unpooled_size(name, default, stride, output_size):
    """The wanted spatial sizes: pooling must give the input's sizes back from them."""
    n, given = len(default), list(output_size)
    if len(given) not in (n, n + 2):
        raise ValueError(
            f"{name}: output_size should be a sequence containing {n} or {n + 2} elements, but it "
            f"has a length of '{len(given)}'"
        )
    sizes = given[-n:]
    for d, (size, usual, step) in enumerate(zip(sizes, default, stride, strict=True)):
        if not usual - step < size < usual + step:
            raise ValueError(
                f'{name}: invalid output_size "{sizes}" (dim {d} must be between {usual - step} '
                f"and {usual + step})"
            )
    return sizes


def _define_max_unpool(n):
    name = f"max_unpool{n}d"

    def op(input, indices, kernel_size, stride=None, padding=0, output_size=None):
        kernel = tuple_of(name, "kernel_size", kernel_size, n)
        stride_ = kernel if stride is None else tuple_of(name, "stride", stride, n)
        padding_ = tuple_of(name, "padding", padding, n)
        default = [
            (s - 1) * st + k - 2 * p
            for s, st, k, p in zip(input.shape[-n:], stride_, kernel, padding_, strict=True)
        ]
        sizes = (
            default if output_size is None else _unpooled_size(name, default, stride_, output_size)
        )
        if indices.dtype != core.dtypes[5]:
            raise RuntimeError(
                f"{name}: elements in indices should be type int64 but got: {indices.dtype}"
            )
        if indices.shape != input.shape:
            raise RuntimeError(
                f"{name}: Expected shape of indices to be same as that of the input tensor "
                f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
            )
        return put_back(input, indices, tuple(sizes))

    op.__doc__ = f"Put values back where max_pool{n}d found them, zeros elsewhere."
    return composite(name=name, namespaces=("nn.functional",), method=False)(op)


max_unpool1d, max_unpool2d, max_unpool3d = (_define_max_unpool(n) for n in (1, 2, 3))
