"""Padding: constants, or other elements, around the last dimensions."""

from __future__ import annotations

from functools import lru_cache as remember_result

from .. import core
from .pieces import FILL, compose, length, runs, whole
from .record import composite, primitive


@primitive(register=False)
def pad_constant(input, widths, value):
    """Pad (or, with negative widths, cut) the last dimensions.

    Widths from the last dimension inwards.
    """
    shape, pieces = _pieces_around(tuple(input.shape), widths)
    return core.copy_pieces(shape, input, pieces, core.from_data(value, input.dtype))


@remember_result(maxsize=4096)
def _pieces_around(shape, widths):
    """The shape of an input padded with a constant, and what it is made of."""
    pieces = []
    for k, size in enumerate(shape):
        at = 2 * (len(shape) - 1 - k)
        left, right = widths[at : at + 2] or (0, 0)
        skipped = max(-left, 0)
        kept = size - skipped - max(-right, 0)
        if kept < 0 or size + left + right < 0:
            raise RuntimeError(
                f"pad: the input of shape {shape} padded by {widths} would "
                f"have a negative size in dimension {k}"
            )
        inside, after = max(left, 0), max(left, 0) + kept
        parts = (0, left, 0, FILL), (inside, kept, skipped, 1), (after, right, 0, FILL)
        pieces.append(tuple([p for p in parts if p[1] > 0]))
    return tuple([length(p) for p in pieces]), tuple(pieces)


@pad_constant.vjp
def _pad_constant_vjp(g, widths):
    return pad_constant(g, tuple(-w for w in widths), 0)


@remember_result(maxsize=4096)
def _pieces_by_position(shape, widths, mode):
    """What padding with other elements is made of."""
    n = len(widths) // 2
    if len(shape) not in (n + 1, n + 2) or n not in (1, 2, 3):
        raise NotImplementedError(
            f"Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: {mode} "
            f"padding of {widths} for input {shape}"
        )
    pieces = [whole(size) for size in shape]
    for k in range(n):
        left, right = widths[2 * k], widths[2 * k + 1]
        dim = len(shape) - 1 - k
        size = shape[dim]
        if mode == "reflect" and (left >= size or right >= size):
            raise RuntimeError(
                "Padding size should be less than the corresponding input dimension, but got: "
                f"padding ({left}, {right}) at dimension {dim} of input {list(shape)}"
            )
        if mode == "circular" and (left > size or right > size):
            raise RuntimeError(
                f"Padding value causes wrapping around more than once: ({left}, {right}) at "
                f"dimension {dim} of input {list(shape)}"
            )
        if size == 0 or size + left + right <= 0:
            raise RuntimeError(
                f"pad: input {shape} padded by {widths} would be empty at dimension {dim}"
            )
        pieces[dim] = _padded(size, left, right, mode)
    return tuple(pieces)


def _padded(size, left, right, mode):
    """The pieces of one padded dimension: before, inside, after."""
    found = _sources(size, left, right, mode)
    before, inside = max(left, 0), size + min(left, 0) + min(right, 0)
    parts = found[:before], found[before : before + inside], found[before + inside :]
    starts = 0, before, before + max(inside, 0)
    return tuple([p for part, to in zip(parts, starts, strict=True) for p in runs(part, to)])


def _sources(size, left, right, mode):
    """The position that each position of a padded dimension is taken from."""
    places = range(-left, size + right)
    if mode == "replicate":
        return [min(max(p, 0), size - 1) for p in places]
    if mode == "circular":
        # negative widths cut first; what is left wraps around
        skipped, kept = max(-left, 0), size - max(-left, 0) - max(-right, 0)
        return [skipped + p % kept for p in range(-max(left, 0), kept + max(right, 0))]
    period = 2 * (size - 1)
    return [
        0 if period == 0 else (p % period if p % period < size else period - p % period)
        for p in places
    ]


@composite(namespaces=("nn.functional",), method=False)
def pad(input, pad, mode="constant", value=None):
    """Pad the last dimensions, (left, right) of the last first.

    Mode constant, reflect, replicate or circular.
    """
    widths = tuple(int(w) for w in pad)
    if len(widths) % 2:
        raise RuntimeError(f"pad: Padding length must be divisible by 2, got {widths}")
    if len(widths) // 2 > input.dim():
        raise RuntimeError(
            "pad: Padding length should be less than or equal to two times the input dimension "
            f"but got padding length {len(widths)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return pad_constant(input, widths, 0 if value is None else value)
    if value not in (None, 0):
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return compose(input, _pieces_by_position(tuple(input.shape), widths, mode))


@composite(name="constant_pad_nd", method=False)
def constant_pad_nd(input, pad, value=0):
    """Pad with a constant."""
    return pad_constant(input, tuple(int(w) for w in pad), value)
