"""The in-place forms of activations, and samples of the Gumbel-softmax distribution."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import flambeau

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` that overwrites its input."""
    return primitives.celu(input, alpha, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` that overwrites its input."""
    return primitives.elu(input, alpha, True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` that overwrites its input."""
    return primitives.hardtanh(input, min_val, max_val, True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` that overwrites its input."""
    return primitives.leaky_relu(input, negative_slope, True)


def selu_(input: Tensor) -> Tensor:
    """`selu` that overwrites its input."""
    return primitives.selu(input, True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` that overwrites its input."""
    return primitives.threshold(input, threshold, value, True)


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
    noise = flambeau.empty_like(logits, memory_format=flambeau.contiguous_format)
    gumbels = -noise.exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    chosen = soft.max(dim, keepdim=True)[1]
    one_hot = flambeau.zeros_like(logits, memory_format=flambeau.contiguous_format)
    one_hot.scatter_(dim, chosen, 1.0)
    # The value of one_hot, the gradient of soft.
    return one_hot - soft.detach() + soft
