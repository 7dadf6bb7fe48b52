"""Convolution and pooling written plainly with NumPy, in one to three spatial dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np


def _slices(offset: Sequence[int], stride: Sequence[int], count: Sequence[int]) -> tuple:
    rows = zip(offset, stride, count, strict=True)
    return (slice(None), slice(None), *(slice(o, o + s * (n - 1) + 1, s) for o, s, n in rows))


def _taps(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], out: Sequence[int]
) -> Iterator[tuple[tuple, tuple]]:
    for tap in itertools.product(*(range(k) for k in kernel)):
        offset = [t * d for t, d in zip(tap, dilation, strict=True)]
        yield tap, _slices(offset, stride, out)


def _pad(x: np.ndarray, padding: Sequence[int]) -> np.ndarray:
    return np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])


def conv_output(x_shape, w_shape, stride, padding, dilation) -> tuple[int, ...]:
    """Spatial sizes of the result."""
    rows = zip(x_shape[2:], w_shape[2:], stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)


def conv_forward(x, w, stride, padding, dilation, groups) -> np.ndarray:
    """y = conv(x, w)."""
    out = conv_output(x.shape, w.shape, stride, padding, dilation)
    padded = _pad(x, padding)
    y = np.zeros((x.shape[0], groups, w.shape[0] // groups, *out), np.result_type(x, w))
    for tap, place in _taps(w.shape[2:], stride, dilation, out):
        part = padded[place].reshape(x.shape[0], groups, w.shape[1], *out)
        at_tap = w[(slice(None), slice(None), *tap)].reshape(groups, -1, w.shape[1])
        y += np.einsum("ngc...,gmc->ngm...", part, at_tap)
    return y.reshape(x.shape[0], w.shape[0], *out)


def conv_backward(x, w, dy, stride, padding, dilation, groups) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dw), without conjugation."""
    out = dy.shape[2:]
    padded = _pad(x, padding)
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    pixels = int(np.prod(out))
    dy = dy.reshape(x.shape[0], groups, w.shape[0] // groups, pixels)
    for tap, place in _taps(w.shape[2:], stride, dilation, out):
        at = (slice(None), slice(None), *tap)
        part = padded[place].reshape(x.shape[0], groups, w.shape[1], pixels)
        at_tap = w[at].reshape(groups, w.shape[0] // groups, w.shape[1])
        dx[place] += np.einsum("ngmp,gmc->ngcp", dy, at_tap).reshape(x.shape[0], x.shape[1], *out)
        dw[at] = np.einsum("ngcp,ngmp->gmc", part, dy).reshape(w.shape[0], w.shape[1])
    inside = tuple(slice(p, p + n) for p, n in zip(padding, x.shape[2:], strict=True))
    return dx[(slice(None), slice(None), *inside)], dw


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> list:
    """For each output the inputs of its window, and the window's length with padding."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-span // stride) + 1 if ceil else span // stride + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    found = []
    for out in range(count):
        start = out * stride - padding
        places = [start + k * dilation for k in range(kernel)]
        length = min(start + kernel, size + padding) - start
        found.append(([p for p in places if 0 <= p < size], length))
    return found


def adaptive_windows(size: int, outputs: int) -> list:
    """For each output the inputs of its window, and their number."""
    cuts = [(o * size // outputs, -(-(o + 1) * size // outputs)) for o in range(outputs)]
    return [(list(range(a, b)), b - a) for a, b in cuts]


def max_pool(x: np.ndarray, axes: list[list]) -> tuple[np.ndarray, np.ndarray]:
    """Values and flat places of one plane; the last NaN wins, else the first maximum."""
    shape = [len(axis) for axis in axes]
    y, at = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    for out in itertools.product(*(range(n) for n in shape)):
        best = None
        for place in itertools.product(*(axes[k][o][0] for k, o in enumerate(out))):
            value = x[place]
            if best is None or value > best or value != value:
                best, where = value, place
        y[out], at[out] = best, np.ravel_multi_index(where, x.shape)
    return y, at


def avg_pool(x: np.ndarray, axes: list[list], include_pad: bool, divisor: int | None) -> np.ndarray:
    """Means of one plane."""
    y = np.empty([len(axis) for axis in axes], x.dtype)
    for out in np.ndindex(*y.shape):
        inside = np.ix_(*(axes[k][o][0] for k, o in enumerate(out)))
        lengths = [axes[k][o][1] for k, o in enumerate(out)]
        count = divisor or (np.prod(lengths) if include_pad else x[inside].size)
        y[out] = x[inside].sum() / count
    return y


def avg_pool_backward(
    dy: np.ndarray, x_shape, axes: list[list], include_pad: bool, divisor: int | None
) -> np.ndarray:
    """Gradient of `avg_pool` for one plane."""
    dx = np.zeros(x_shape, dy.dtype)
    for out in np.ndindex(*dy.shape):
        inside = np.ix_(*(axes[k][o][0] for k, o in enumerate(out)))
        lengths = [axes[k][o][1] for k, o in enumerate(out)]
        dx[inside] += dy[out] / (divisor or (np.prod(lengths) if include_pad else dx[inside].size))
    return dx
