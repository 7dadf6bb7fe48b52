"""Fourier transforms of plain tensors: those that have a plan, and detours for the others.

A length with a large prime factor becomes a convolution (Bluestein, 1970); layouts that no kernel
reads are copied first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .. import core
from ..core import Tensor
from . import fourier_plan as plans
from .fourier_lengths import COMPLEX, FROM_HALF, TO_HALF
from .fourier_tables import chirp

# How a transform is scaled: not at all, by 1 / sqrt(n), by 1 / n.
NONE, ROOT, FULL = 0, 1, 2
_POWERS = (0.0, -0.5, -1.0)
_NAMES = {8: "f32", 9: "f64", 10: "f32", 11: "f64"}  # of a part, by the code of a dtype


def _plan(
    kind, code, n, have, outer, lanes, columns, input_outer, input_step, output_outer, output_step,
    backward, conjugate, norm, threads,
):  # fmt: skip
    """For the core: a plan by a transform's geometry, None where there is none."""
    dtype = _NAMES[code]
    if not plans.can_plan(kind, n, dtype):
        return None
    part = 4 if dtype == "f32" else 8
    read = part if kind == TO_HALF else 2 * part
    written = part if kind == FROM_HALF else 2 * part
    geometry = plans.Geometry(
        kind, dtype, n, have, outer, lanes, bool(columns), input_outer * read, input_step * read,
        output_outer * written, output_step * written, bool(backward), float(n ** _POWERS[norm]),
        bool(conjugate),
    )  # fmt: skip
    return plans.make_plan(geometry, threads) if plans.suits(geometry) else None


core.set_fourier_planner(_plan)


def over_dims(input: Tensor, dims: Sequence[int], backward: bool, norm: int) -> Tensor:
    """The complex transform over several dimensions."""
    if not dims:
        return core.clone_plain(input)
    fresh = False
    for d in reversed(dims):
        found = core.fourier(input, COMPLEX, d, input.shape[d], backward, norm, False, fresh)
        if found is None:
            found = _detour(input, COMPLEX, d, input.shape[d], backward, norm, False)
        input, fresh = found, True
    return input


def to_half(input: Tensor, dim: int, n: int, norm: int, conjugate: bool) -> Tensor:
    """The first n // 2 + 1 coefficients of the forward transform of real numbers (conjugated)."""
    found = core.fourier(input, TO_HALF, dim, n, False, norm, conjugate)
    return _detour(input, TO_HALF, dim, n, False, norm, conjugate) if found is None else found


def from_half(input: Tensor, dim: int, n: int, norm: int, conjugate: bool) -> Tensor:
    """n real numbers: the backward transform of the first coefficients (of their conjugates)."""
    found = core.fourier(input, FROM_HALF, dim, n, True, norm, conjugate)
    return _detour(input, FROM_HALF, dim, n, True, norm, conjugate) if found is None else found


# ---- detours -------------------------------------------------------------------------------------


def _detour(
    input: Tensor, kind: int, dim: int, n: int, backward: bool, norm: int, conjugate: bool
) -> Tensor:
    """The transform where there is no plan for the tensor as it is."""
    dtype = _NAMES[input.dtype.code]
    need = n // 2 + 1 if kind == FROM_HALF else n
    lines = _fit(core.contiguous_plain(input.movedim(dim, -1)), need)
    last = lines.dim() - 1
    made = core.fourier(lines, kind, last, n, backward, norm, conjugate)
    if made is not None:
        pass
    elif kind == COMPLEX:
        assert not plans.can_plan(kind, n, dtype), f"no plan for contiguous lines of {n}"
        made = _convolve(lines, n, backward, norm)
    elif kind == TO_HALF:
        made = _half_of_whole(lines, last, n, norm, conjugate)
    else:
        made = _whole_from_half(lines, last, n, norm, conjugate)
    return core.contiguous_plain(made.movedim(-1, dim))


def _fit(lines: Tensor, n: int) -> Tensor:
    """Contiguous lines of n elements: cut, or zeros after them."""
    have = lines.shape[-1]
    if have == n:
        return lines
    if have > n:
        return core.contiguous_plain(lines.narrow(-1, 0, n))
    made = lines.new_zeros((*lines.shape[:-1], n))
    core.copy_plain(made.narrow(-1, 0, have), lines)
    return made


def _half_of_whole(input: Tensor, dim: int, n: int, norm: int, conjugate: bool) -> Tensor:
    whole = over_dims(_fit_dim(input, dim, n).to(input.dtype.to_complex()), (dim,), False, norm)
    half = whole.narrow(dim, 0, n // 2 + 1)
    return core.contiguous_plain(half.conj_physical() if conjugate else half)


def _whole_from_half(input: Tensor, dim: int, n: int, norm: int, conjugate: bool) -> Tensor:
    from .join import cat

    half = _fit_dim(input, dim, n // 2 + 1)
    if conjugate:
        half = half.conj_physical()
    first = half.narrow(dim, 0, 1).real.to(half.dtype)
    parts = [first, half.narrow(dim, 1, n // 2)]
    if n % 2 == 0:
        parts[1] = half.narrow(dim, 1, n // 2 - 1)
        parts.append(half.narrow(dim, n // 2, 1).real.to(half.dtype))
    parts.append(parts[1].flip(dim).conj_physical())
    return core.contiguous_plain(over_dims(cat(parts, dim), (dim,), True, norm).real)


def _fit_dim(input: Tensor, dim: int, n: int) -> Tensor:
    if input.shape[dim] == n:
        return input
    return _fit(core.contiguous_plain(input.movedim(dim, -1)), n).movedim(-1, dim)


# ---- any length ----------------------------------------------------------------------------------


def _convolve(lines: Tensor, n: int, backward: bool, norm: int) -> Tensor:
    """The transform of contiguous lines of any length n: with j k = (j^2 + k^2 - (k - j)^2) / 2
    it is a convolution with a chirp, c[k] sum_j (x[j] c[j]) conj(c[k - j]).
    """
    dtype = _NAMES[lines.dtype.code]
    length = _roomy_length(2 * n - 1, dtype)
    waves, spectrum = _chirps(n, length, backward, dtype)
    last = lines.dim() - 1
    padded = _fit(lines * waves, length)
    found = core.fourier(padded, COMPLEX, last, length, False, NONE, False, True)
    found *= spectrum
    found = core.fourier(found, COMPLEX, last, length, True, FULL, False, True)
    made = found.narrow(-1, 0, n) * waves
    if norm:
        made *= float(n ** _POWERS[norm])
    return made


@lru_cache(maxsize=32)
def _chirps(n: int, length: int, backward: bool, dtype: str) -> tuple[Tensor, Tensor]:
    """The chirp of n elements, and the transform of its conjugate around zero, padded."""
    depth = core.set_depth(0)
    try:
        wave = chirp(n, dtype)
        wave = wave.conj_physical() if backward else wave
        around = wave.new_zeros((length,))
        turned = wave.conj_physical()
        core.copy_plain(around.narrow(0, 0, n), turned)
        core.copy_plain(around.narrow(0, length - n + 1, n - 1), turned.narrow(0, 1, n - 1).flip(0))
        spectrum = core.fourier(around, COMPLEX, 0, length, False, NONE, False)
    finally:
        core.set_depth(depth)
    return wave, spectrum


@lru_cache(maxsize=1024)
def _roomy_length(least: int, dtype: str) -> int:
    """A length that is quick to transform, at least so long."""
    sizes = []
    for odd in (1, 3, 5, 9, 15, 25):
        power = max(least - 1, 0) // odd
        size = odd << power.bit_length()
        sizes.append(size)
    return min(size for size in sizes if plans.can_plan(COMPLEX, size, dtype))
