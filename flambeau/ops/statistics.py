"""Covariance and other statistics."""

from __future__ import annotations

from .. import core
from .record import composite


def _observation_weights(n, fweights, aweights):
    """The checked product of the weights that are given; None if neither is."""
    weights = None
    for what, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.dim() > 1:
            raise RuntimeError(
                f"cov(): expected {what} to have one or fewer dimensions but got {what} with "
                f"{w.dim()} dimensions"
            )
        if w.numel() != n:
            raise RuntimeError(
                f"cov(): expected {what} to have the same numel as there are observations in the "
                f"input but got {w.numel()} != {n}"
            )
        if (what == "fweights") == (w.dtype.is_floating_point or w.dtype.is_complex):
            raise RuntimeError(
                f"cov(): expected {what} to have "
                f"{'integral' if what == 'fweights' else 'floating point'} dtype but got {what} "
                f"with {w.dtype} dtype"
            )
        if w.numel() and float(w.min()) < 0:
            raise RuntimeError(f"cov(): {what} cannot be negative")
        weights = w if weights is None else weights * w
    return weights


@composite
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariance of variables (rows) over observations (columns)."""
    if input.dim() > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    if input.dtype.code == 0:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input.dim() < 2 else input
    n = x.shape[1]
    weights = _observation_weights(n, fweights, aweights)
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.to(core.get_default_dtype())
    total = weights.sum() if weights is not None else None
    if weights is None:
        centred = x - x.mean(1, True)
        divisor = n - correction
        scaled = centred
    else:
        centred = x - ((x * weights).sum(1) / total).unsqueeze(1)
        if aweights is None or correction == 0:
            divisor = total - correction
        else:
            divisor = total - correction * (weights * aweights).sum() / total
        scaled = centred * weights
    if not hasattr(divisor, "dtype"):
        divisor = max(divisor, 0)
    else:
        divisor = divisor.clamp(min=0)
    result = (scaled @ centred.conj().t()) / divisor
    return result.squeeze()


@composite
def corrcoef(input):
    """Correlation coefficients of variables (rows) over observations (columns)."""
    if input.dim() > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    c = cov(input)
    if c.dim() == 0:
        return c / c
    deviation = c.diagonal().sqrt() if not c.dtype.is_complex else c.diagonal().real.sqrt()
    c = c / deviation.reshape(-1, 1) / deviation.reshape(1, -1)
    if c.dtype.is_complex:
        from .sequences import complex_

        return complex_(c.real.clip(-1, 1), c.imag.clip(-1, 1))
    return c.clip(-1, 1)


@composite(out=True, inplace=True)
def renorm(input, p, dim, maxnorm):
    """Each slice along dim scaled down to a p-norm of at most maxnorm."""
    from .norms import vector_norm_along

    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p = {p}")
    if input.dim() < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.dim()} dimensions"
        )
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    dim = dim % input.dim()
    others = tuple(d for d in range(input.dim()) if d != dim)
    norm = vector_norm_along(input, p, others, True)
    from .masked import where

    factor = where(norm > maxnorm, maxnorm / (norm + 1e-7), norm * 0 + 1)
    return input * factor.to(input.dtype)
