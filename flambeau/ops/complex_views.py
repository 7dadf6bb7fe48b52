"""Complex numbers as pairs of reals and back, without copying; the same bytes as another dtype."""

from __future__ import annotations

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from .arithmetic import conj_values
from .record import METHODS, composite, function, primitive


@primitive(name="view_as_real", method=False)
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor's parts, as a last dimension of size 2, over the same memory.

    >>> import flambeau as torch
    >>> torch.view_as_real(torch.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    if not input.is_complex():
        raise RuntimeError(
            f"view_as_real is only supported for complex tensors, got {input.dtype.name}"
        )
    steps = (*[2 * s for s in input.stride()], 1)
    return core.strided_view_of(input, input.dtype.to_real(), (*input.shape, 2), steps, 0)


@view_as_real.vjp
def _(g):
    from .views import contiguous

    return view_as_complex(contiguous(g))


@primitive(name="view_as_complex")
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of reals (the last dimension: size 2, stride 1) as complex numbers, sharing memory.

    >>> import flambeau as torch
    >>> torch.view_as_complex(torch.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    shape, steps = input.shape, input.stride()
    if not input.dtype.is_floating_point or input.dtype.name == "bfloat16":
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {input.dtype.name}"
        )
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, got shape {tuple(shape)}")
    if steps[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in steps[:-1]) or not core.is_offset_multiple(input, 2):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    halved = [s // 2 for s in steps[:-1]]
    return core.strided_view_of(input, input.dtype.to_complex(), shape[:-1], halved, 0)


@view_as_complex.vjp
def _(g):
    return view_as_real(g)


def _part(name: str, k: int):
    def take(input: Tensor) -> Tensor:
        if not input.is_complex():
            if k:
                raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
            return input
        return view_as_real(input)[..., k]

    take.__doc__ = f"The {'imaginary' if k else 'real'} parts, over the same memory."
    op = function(name, shortcut=False if k else "real")(take)
    METHODS[name] = property(take, _write_part(name), doc=take.__doc__)
    return op


def _write_part(name: str):
    def write(self: Tensor, value) -> None:
        core.copy_(getattr(self, name), value)

    return write


real, imag = _part("real", 0), _part("imag", 1)


@composite(name="conj", shortcut="real")
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return conj_values(input) if input.is_complex() else input


@composite(inplace=True, out=True, shortcut="real")
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return conj_values(input) if input.is_complex() else input


@composite(name="resolve_conj", shortcut="real")
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are computed at once."""
    return input


@composite(name="resolve_neg", shortcut="real")
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negations are computed at once."""
    return input


def view_dtype(input: Tensor, dtype: Dtype) -> Tensor:
    """The same bytes as elements of another type; the last dimension changes with their size."""
    have, want = input.dtype.itemsize, dtype.itemsize
    shape, steps = list(input.shape), list(input.stride())
    if have != want:
        _resize_last(input, shape, steps, have, want, dtype)
    return core.strided_view_of(input, dtype, shape, steps, 0)


def _resize_last(
    input: Tensor, shape: list, steps: list, have: int, want: int, dtype: Dtype
) -> None:
    """Sizes and strides in elements of `want` bytes."""
    what = f"self.view({dtype!r})"
    if not shape:
        raise RuntimeError(
            f"{what}: self.dim() cannot be 0 to view {input.dtype!r} as {dtype!r} (different "
            "element sizes)"
        )
    if steps[-1] != 1:
        raise RuntimeError(
            f"{what}: self.stride(-1) must be 1 to view {input.dtype!r} as {dtype!r}, but got "
            f"{steps[-1]}"
        )
    if want < have:
        factor = have // want
        shape[-1] *= factor
        steps[:-1] = [s * factor for s in steps[:-1]]
        return
    factor = want // have
    if shape[-1] % factor:
        raise RuntimeError(
            f"{what}: self.size(-1) must be divisible by {factor} to view {input.dtype!r} as "
            f"{dtype!r}, but got {shape[-1]}"
        )
    if not core.is_offset_multiple(input, factor) or any(s % factor for s in steps[:-1]):
        raise RuntimeError(
            f"{what}: self.storage_offset() and all strides but the last must be divisible by "
            f"{factor} to view {input.dtype!r} as {dtype!r}"
        )
    shape[-1] //= factor
    steps[:-1] = [s // factor for s in steps[:-1]]
