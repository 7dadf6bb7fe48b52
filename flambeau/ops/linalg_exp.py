"""The matrix exponential: scaling and squaring with a Pade approximant (Higham 2005)."""

from __future__ import annotations

import math
from typing import Any

from ..core import Tensor
from . import linalg_factor as real
from .lapack import array, linalg, prepare, quiet, tensor
from .record import composite, primitive

# The largest 1-norm for which the approximant of a degree is exact to the precision, and its
# coefficients: degree 13 for double, 7 for single.
_DOUBLE = 5.371920351148152
_SINGLE = 3.925724783138660
_PADE13 = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_PADE7 = (17297280.0, 8648640.0, 1995840.0, 277200.0, 25200.0, 1512.0, 56.0, 1.0)


def _parts(a: Any, one: Any, single: bool) -> tuple[Any, Any]:
    """The odd and the even part of the numerator."""
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    if single:
        b = [x / _PADE7[0] for x in _PADE7]
        odd = a @ (b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
        return odd, b[6] * a6 + b[4] * a4 + b[2] * a2 + one
    b = [x / _PADE13[0] for x in _PADE13]
    high = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = a @ (high + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    high = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    return odd, high + b[6] * a6 + b[4] * a4 + b[2] * a2 + one


def _squarings(size: float, limit: float) -> int:
    """How often to halve a matrix of that norm."""
    return max(0, math.ceil(math.log2(size / limit))) if limit < size < math.inf else 0


def _real_exponential(a: Tensor) -> Tensor:
    """For (count, n, n) real matrices, each scaled by its own norm."""
    single = a.dtype.itemsize == 4
    sizes = a.abs().sum(-2).amax(-1)
    limit = _SINGLE if single else _DOUBLE
    counts = [_squarings(size, limit) for size in sizes.tolist()]
    most = max(counts)
    if most:
        scale = sizes.new_tensor([2.0**-k for k in counts])
        a = a * scale.unsqueeze(-1).unsqueeze(-1)
    odd, even = _parts(a, real.identities(a), single)
    lu, pivots, _, _ = real.factor_lu(even - odd)
    result = real.solve_lu(lu, pivots, even + odd)
    least = min(counts)
    for done in range(most):
        squared = result @ result
        if done >= least:  # some matrices are finished
            going = sizes.new_tensor([float(k > done) for k in counts]) > 0
            squared = squared.where(going.unsqueeze(-1).unsqueeze(-1), result)
        result = squared
    return result.masked_fill(sizes.isfinite().logical_not().unsqueeze(-1).unsqueeze(-1), math.nan)


def _complex_exponential(a: Any) -> Any:
    """For one NumPy matrix."""
    import numpy

    size = float(numpy.abs(a).sum(-2).max(initial=0))
    if not math.isfinite(size):
        return numpy.full_like(a, numpy.nan)
    squarings = _squarings(size, _DOUBLE)
    odd, even = _parts(a / 2.0**squarings, numpy.eye(a.shape[-1], dtype=a.dtype), False)
    result = numpy.linalg.solve(even - odd, even + odd)
    for _ in range(squarings):
        result = result @ result
    return result


@primitive(register=False)
def exponential(input):
    """The matrix exponential."""
    if not input.is_complex():
        n = input.shape[-1]
        if not input.numel():
            return input.clone()
        return _real_exponential(input.reshape(-1, n, n)).reshape(input.shape)
    import numpy

    a = array(input)
    values = numpy.empty(a.shape, "complex128")
    with quiet():
        for i in numpy.ndindex(a.shape[:-2]):
            values[i] = _complex_exponential(a[i].astype("complex128"))
        return tensor(values, a)


@exponential.vjp
def _(g, input):
    # exp of [[A^H, g], [0, A^H]] has the derivative of exp at A^H in the direction g above its
    # diagonal
    from .join import cat

    n, a = input.shape[-1], input.mH
    top, bottom = cat([a, g], -1), cat([a * 0, a], -1)
    return exponential(cat([top, bottom], -2))[..., :n, n:]


@composite
def matrix_exp(input: Tensor) -> Tensor:
    """The matrix exponential, the sum of input^k / k!."""
    prepare("matrix_exp", input, square=True)
    return exponential(input)


linalg("matrix_exp", out=False)(matrix_exp.function)
