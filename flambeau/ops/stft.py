"""Short-time Fourier transforms: the spectrum of overlapping windowed frames, and back."""

from __future__ import annotations

import warnings
from typing import Any

from .. import core
from ..core import Tensor
from .fft import resize_dim
from .record import NAMESPACES, composite, primitive


def _window(name: str, window: Any, n_fft: int, length: int, like: Tensor) -> Tensor:
    """The window (None: ones) with zeros on both sides up to n_fft elements."""
    if window is None:
        dtype = like.dtype.to_real() if like.is_complex() else like.dtype
        window = like.new_ones((length,), dtype=dtype)
    elif window.dim() != 1 or window.shape[0] != length:
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={length}, but got "
            "window with size "
            f"{list(window.shape)}"
        )
    left = (n_fft - length) // 2
    if length == n_fft:
        return window
    from .join import cat

    zeros = [window.new_zeros((n,)) for n in (left, n_fft - length - left)]
    return cat([zeros[0], window, zeros[1]], 0)


def _read_sizes(name: str, n_fft: int, hop: int | None, length: int | None) -> tuple[int, int]:
    hop = n_fft // 4 if hop is None else hop
    length = n_fft if length is None else length
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(
            f"{name}: expected 0 < win_length <= n_fft, but got win_length={length}, n_fft={n_fft}"
        )
    return hop, length


@composite
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The spectra (..., frequency, frame) of windowed frames of n_fft samples, hop_length apart.

    >>> import flambeau as torch
    >>> torch.stft(torch.ones(16), 4, return_complex=True).shape
    torch.Size([3, 17])
    """
    if not (input.is_floating_point() or input.is_complex()) or input.dim() not in (1, 2):
        raise RuntimeError(
            "stft: expected a 1D or 2D tensor of floating point or complex values, got "
            f"{input.dtype} of shape {tuple(input.shape)}"
        )
    is_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not is_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs"
            )
        return_complex = True
    if center and align_to_window is not None:
        raise RuntimeError("stft: align_to_window should only be set when center = false")
    hop, length = _read_sizes("stft", n_fft, hop_length, win_length)
    onesided = not is_complex if onesided is None else onesided
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex (stft)")
    window = _window("stft", window, n_fft, length, input)
    spectra = _transform(
        _frames(input, n_fft, hop, center, pad_mode) * window, onesided, normalized
    )
    spectra = spectra.mT
    return spectra if return_complex else NAMESPACES[""]["view_as_real"](spectra)


def _frames(input: Tensor, n_fft: int, hop: int, center: bool, pad_mode: str) -> Tensor:
    """The overlapping frames (..., frame, n_fft)."""
    if center:
        half = n_fft // 2
        pad = NAMESPACES["nn.functional"]["pad"]
        shape = (1,) * (3 - input.dim()) + tuple(input.shape)
        padded = pad(
            input.view(*shape) if input.is_contiguous() else input.reshape(shape),
            [half, half],
            pad_mode,
        )
        input = padded.reshape(*input.shape[:-1], padded.shape[-1])
    if not 0 < n_fft <= input.shape[-1]:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {input.shape[-1]}, but got n_fft={n_fft}")
    return input.unfold(-1, n_fft, hop)


def _transform(frames: Tensor, onesided: bool, normalized: bool) -> Tensor:
    transform = NAMESPACES["fft"]["rfft" if onesided else "fft"]
    return transform(frames, norm="ortho" if normalized else "backward")


@composite
def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal whose spectra, as stft gives them, are nearest to input: frames overlapped and
    added.
    """
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    if input.dim() not in (2, 3) or input.numel() == 0:
        raise RuntimeError(
            "istft: expected a tensor with 2 or 3 dimensions and elements, got shape "
            f"{tuple(input.shape)}"
        )
    hop, window_length = _read_sizes("istft", n_fft, hop_length, win_length)
    onesided = input.shape[-2] != n_fft if onesided is None else onesided
    expected = n_fft // 2 + 1 if onesided else n_fft
    if input.shape[-2] != expected:
        raise RuntimeError(
            "istft: expected the frequency dimension (second to the last) of the input tensor to "
            f"be {expected} when "
            f"onesided={onesided} and n_fft={n_fft}, but got {input.shape[-2]}"
        )
    if onesided and (return_complex or (window is not None and window.is_complex())):
        raise RuntimeError(
            "Cannot have onesided input if the window or the output is complex (istft)"
        )
    window = _window("istft", window, n_fft, window_length, input)
    signal = overlap_add(_to_frames(input.mT, n_fft, return_complex, normalized) * window, hop)
    envelope = overlap_add((window * window).expand(input.shape[-1], n_fft), hop)
    return _cut(signal, envelope, n_fft, center, length)


def _to_frames(spectra: Tensor, n_fft: int, return_complex: bool, normalized: bool) -> Tensor:
    """The frames of each spectrum; a real signal follows from the first half of the
    coefficients.
    """
    norm = "ortho" if normalized else "backward"
    if return_complex:
        return NAMESPACES["fft"]["ifft"](spectra, norm=norm)
    return NAMESPACES["fft"]["irfft"](spectra[..., : n_fft // 2 + 1], n_fft, norm=norm)


@primitive(register=False)
def overlap_add(frames, hop):
    """Frames (..., frame, n) added at their places, hop apart: (..., (frames - 1) hop + n).

    Pieces of hop elements fall on the same grid, so that each piece of all frames is one addition.
    """
    count, n = frames.shape[-2:]
    pieces = -(-n // hop)
    total = frames.new_zeros((*frames.shape[:-2], count + pieces - 1, hop))
    for k in range(pieces):
        width = min(hop, n - k * hop)
        total.narrow(-2, k, count).narrow(-1, 0, width).add_(frames.narrow(-1, k * hop, width))
    flat = total.reshape(*frames.shape[:-2], -1)
    return core.contiguous_plain(flat.narrow(-1, 0, (count - 1) * hop + n))


@overlap_add.vjp
def _(g, frames_like, hop):
    return g.unfold(-1, frames_like.shape[-1], hop)


def _cut(signal: Tensor, envelope: Tensor, n_fft: int, center: bool, length: int | None) -> Tensor:
    """The part asked for, divided by the squared windows that fell on it."""
    full = signal.shape[-1]
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else full - n_fft // 2 if center else full
    signal, envelope = signal[..., start : min(end, full)], envelope[start : min(end, full)]
    if float(envelope.detach().abs().amin()) <= 1e-11:
        raise RuntimeError(
            "istft: window overlap add min: the windows leave samples that no frame determines"
        )
    result = signal / envelope
    if end > full:
        core.not_replayable()
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail.",
            stacklevel=3,
        )
        result = resize_dim(result, result.dim() - 1, end - start)
    return result
