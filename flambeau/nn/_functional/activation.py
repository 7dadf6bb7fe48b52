"""Activations that are compositions of primitives, and the in-place forms."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import flambeau

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor, dtype


def _resolve_softmax_dim(name: str, input: Tensor, dim: int | None) -> int:
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. "
        "Change the call to include dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """Normalized exponentials along `dim`: exp(x_i) / sum_j exp(x_j), computed without overflow.

    Args:
        dtype: convert the input to it first.

    >>> import flambeau as torch
    >>> torch.nn.functional.softmax(torch.zeros(4), dim=0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if dim is None:
        dim = _resolve_softmax_dim("softmax", input, dim)
    return primitives.softmax(input, dim, dtype=dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """Logarithm of `softmax`: x_i - log(sum_j exp(x_j)) along `dim`."""
    if dim is None:
        dim = _resolve_softmax_dim("log_softmax", input, dim)
    return primitives.log_softmax(input, dim, dtype=dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """`softmax` of the negated input: small values get large shares."""
    if dim is None:
        dim = _resolve_softmax_dim("softmin", input, dim)
    return primitives.softmax(-input, dim, dtype=dtype)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), computed as min(x, 0) - log(1 + exp(-|x|)) so that it never overflows."""
    # minimum, not clamp: at x = 0 it splits the gradient, which makes the derivative 1/2 as it
    # should be
    return flambeau.minimum(input, input.new_zeros(())) - flambeau.log1p(flambeau.exp(-input.abs()))


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|), in (-1, 1)."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Gated linear unit: the first half of the input times the sigmoid of the second half.

    Reference: Dauphin et al., Language Modeling with Gated Convolutional Networks (2017).

    Errors:
        RuntimeError: a 0-d input, or an odd size along `dim`.

    >>> import flambeau as torch
    >>> torch.nn.functional.glu(torch.tensor([2.0, 0.0]))
    tensor([1.])
    """
    if input.dim() == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.size(dim) % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim} is size {input.size(dim)}"
        )
    values, gates = input.chunk(2, dim)
    return values * gates.sigmoid()


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Sample from the Gumbel-softmax distribution, a differentiable stand-in for drawing a
    category.

    Args:
        logits: unnormalized log-probabilities, of any shape.
        tau: temperature; samples approach one-hot vectors as it goes to 0.
        hard: return one-hot samples, with the gradient of the soft ones.

    Reference: Jang et al., Categorical Reparameterization with Gumbel-Softmax (2017).
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = flambeau.empty_like(logits, memory_format=flambeau.legacy_contiguous_format)
    gumbels = -noise.exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    chosen = soft.max(dim, keepdim=True)[1]
    one_hot = flambeau.zeros_like(logits, memory_format=flambeau.legacy_contiguous_format)
    one_hot.scatter_(dim, chosen, 1.0)
    # The value of one_hot, the gradient of soft.
    return one_hot - soft.detach() + soft
