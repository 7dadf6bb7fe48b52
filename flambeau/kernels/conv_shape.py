"""Shapes of convolutions and poolings: output sizes, error conditions, three-dimensional form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Triple = tuple[int, int, int]


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Outputs of a window along one dimension: (size + 2 padding - span) // stride + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def pool_output_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False
) -> int:
    """As `output_size`; with ceil_mode rounded up, but no window starts in the right padding."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (span + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


def transposed_output_size(
    size: int, kernel: int, stride: int, padding: int, output_padding: int, dilation: int
) -> int:
    """Outputs of a transposed convolution along one dimension."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1


class Geometry(NamedTuple):
    """A convolution with three spatial dimensions (fewer are given leading sizes of one)."""

    batch: int
    groups: int
    in_channels: int  # of one group
    out_channels: int  # of one group
    input: Triple
    kernel: Triple
    output: Triple
    stride: Triple
    padding: Triple
    dilation: Triple

    @property
    def taps(self) -> int:
        """Positions of the filter."""
        return self.kernel[0] * self.kernel[1] * self.kernel[2]


def _triple(values: Sequence[int], fill: int) -> Triple:
    full = (fill,) * (3 - len(values)) + tuple(values)
    return full[0], full[1], full[2]


def geometry(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Geometry:
    """Check a convolution's sizes and bring them to normal form.

    Raises RuntimeError where PyTorch does, naming the sizes at fault.
    """
    spatial = len(w_shape) - 2
    check(x_shape, w_shape, stride, padding, dilation, groups)
    rows = zip(x_shape[2:], w_shape[2:], stride, padding, dilation, strict=True)
    out = [output_size(*row) for row in rows]
    for k in range(spatial):
        if out[k] <= 0:
            padded = tuple(s + 2 * p for s, p in zip(x_shape[2:], padding, strict=True))
            raise RuntimeError(
                f"conv{spatial}d: kernel of size {tuple(w_shape[2:])} with dilation "
                f"{tuple(dilation)} is larger than the padded input {padded}"
            )
    return Geometry(
        x_shape[0],
        groups,
        w_shape[1],
        w_shape[0] // groups,
        _triple(x_shape[2:], 1),
        _triple(w_shape[2:], 1),
        _triple(out, 1),
        _triple(stride, 1),
        _triple(padding, 0),
        _triple(dilation, 1),
    )


def check(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> None:
    """Raise RuntimeError for arguments that no convolution can have."""
    spatial = len(w_shape) - 2
    name = f"conv{spatial}d"
    if spatial < 1 or spatial > 3 or len(x_shape) != spatial + 2:
        raise RuntimeError(
            f"{name}: expected input of {spatial + 2} dimensions for weight of shape "
            f"{tuple(w_shape)}, got input of shape {tuple(x_shape)}"
        )
    for what, values, least in (
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if len(values) != spatial or min(values) < least:
            raise RuntimeError(
                f"{name}: {what} must be {spatial} numbers of at least {least}, got {tuple(values)}"
            )
    if groups < 1 or w_shape[0] % groups:
        raise RuntimeError(
            f"{name}: {w_shape[0]} output channels cannot be divided into {groups} groups"
        )
    if x_shape[1] != w_shape[1] * groups:
        raise RuntimeError(
            f"{name}: expected input with {w_shape[1] * groups} channels for weight of shape "
            f"{tuple(w_shape)} and groups={groups}, got input of shape {tuple(x_shape)}"
        )
    if min(w_shape[2:]) < 1:
        raise RuntimeError(f"{name}: kernel sizes must be positive, got weight {tuple(w_shape)}")
