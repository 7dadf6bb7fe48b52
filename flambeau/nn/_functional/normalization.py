"""Normalization that is composed of other ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flambeau

from ... import core
from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample of (N, C, *) over its spatial values.

    Args:
        use_input_stats: use the sample's statistics (and update the running ones), else the running
            ones.

    Errors:
        ValueError: one spatial value per channel with `use_input_stats`.
    """
    batch, channels, *space = input.shape
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when use_input_stats is false"
            )
        return primitives.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    if input.numel() == batch * channels and batch * channels:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.size()}"
        )
    if running_mean is None and running_var is None:
        return primitives.group_norm(input, channels, weight, bias, eps)
    # Samples become channels of one sample, so that batch norm takes its statistics per sample.
    mean = None if running_mean is None else running_mean.repeat(batch)
    var = None if running_var is None else running_var.repeat(batch)
    flat = input.reshape(1, batch * channels, *space)
    flat = primitives.batch_norm(flat, mean, var, None, None, True, momentum, eps)
    _average_over_samples(running_mean, mean, batch)
    _average_over_samples(running_var, var, batch)
    output = flat.reshape(input.shape)
    shape = (1, channels, *(1 for _ in space))
    output = output if weight is None else output * weight.reshape(shape)
    return output if bias is None else output + bias.reshape(shape)


def _average_over_samples(running: Tensor | None, per_sample: Tensor | None, batch: int) -> None:
    if running is None or per_sample is None:
        return
    with flambeau.no_grad():
        running.copy_(per_sample.reshape(batch, -1).mean(0))


@core.Remembered
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by (k + alpha mean(x^2 over `size` neighbouring channels))^beta; input (N, C, *).

    Reference: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks
        (2012).
    """
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)"
        )
    if input.numel() == 0:
        return input
    squares = input * input
    flat = squares.reshape(input.shape[0], 1, input.shape[1], -1)
    padded = primitives.pad(flat, (0, 0, size // 2, (size - 1) // 2))
    means = primitives.avg_pool2d(padded, (size, 1), stride=1).reshape(input.shape)
    return input / (means * alpha + k).pow(beta)


@core.Remembered
def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Divide vectors along `dim` by their p-norm: x / max(|x|_p, eps).

    >>> import flambeau as torch
    >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    norm = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return input / norm if out is None else flambeau.div(input, norm, out=out)
