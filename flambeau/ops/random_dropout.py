"""Dropout and its kin: random masks drawn by the same rules as PyTorch's on the CPU."""

from __future__ import annotations

import math
import warnings

from .. import core
from ..core import Tensor
from .factory import new_like
from .random_fill import draw_into
from .record import METHODS, NAMESPACES, REGISTRY, composite, function

_ALPHA = 1.7580993408473766  # -alpha' of the paper: what SELU tends to


def _check_probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")


def _keep_mask(input: Tensor, p: float) -> Tensor:
    """Ones where a number of [0, 1) is below 1 - p, else zeros, in input's dtype and memory
    order.
    """
    return draw_into(new_like(input, input.dtype), "bernoulli", (1.0 - p,), core.default_generator)


def _multiply(input: Tensor, noise: Tensor, inplace: bool) -> Tensor:
    return METHODS["mul_"](input, noise) if inplace else REGISTRY["mul"](input, noise)


def _drop(input: Tensor, mask: Tensor, p: float, inplace: bool) -> Tensor:
    """input * (mask / (1 - p)): the division is rounded to the dtype first."""
    METHODS["div_"](mask, 1.0 - p)
    return _multiply(input, mask, inplace)


@composite(method=False, namespaces=("nn.functional",))
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero elements with probability p while training and scale the rest by 1 / (1 - p).

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout(torch.ones(4), 0.5)
    tensor([0., 0., 2., 0.])
    """
    _check_probability("dropout", p)
    if not training or p == 0 or not input.numel():
        return input
    _check_floating("dropout", input)
    if p == 1:
        return _multiply(input, REGISTRY["zeros"]((), dtype=input.dtype), inplace)
    return _drop(input, _keep_mask(input, p), p, inplace)


def _check_floating(name: str, input: Tensor) -> None:
    if not input.is_floating_point():
        raise RuntimeError(
            f"{name}: result type Float can't be cast to the desired output type {input.dtype}: "
            "expected a floating-point input"
        )


def _channel_mask(name: str, input: Tensor, p: float) -> Tensor:
    """A mask with one element for each channel of each sample."""
    if input.dim() < 2:
        raise RuntimeError(
            f"{name}: Feature dropout requires at least 2 dimensions in the input, got shape "
            f"{tuple(input.shape)}"
        )
    shape = (input.shape[0], input.shape[1], *(1 for _ in input.shape[2:]))
    made = core.empty(shape, input.dtype)
    return draw_into(made, "bernoulli", (1.0 - p,), core.default_generator)


def _drop_channels(name: str, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if not training or p == 0 or not input.numel():
        return input
    _check_floating(name, input)
    if p == 1:
        return _multiply(input, REGISTRY["zeros"]((), dtype=input.dtype), inplace)
    return _drop(input, _channel_mask(name, input, p), p, inplace)


def _drop_unbatched(name: str, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Channels are the first dimension: add a batch of one."""
    if inplace:
        _drop_channels(name, input.unsqueeze(0), p, training, True)
        return input
    return _drop_channels(name, input.unsqueeze(0), p, training, False).squeeze(0)


@composite(method=False, namespaces=("nn.functional",))
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of a (N, C, L) or (C, L) tensor with probability p while training."""
    _check_probability("dropout1d", p)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that "
            "dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel "
            "dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    if input.dim() == 2:
        return _drop_unbatched("dropout1d", input, p, training, inplace)
    return _drop_channels("dropout1d", input, p, training, inplace)


@composite(method=False, namespaces=("nn.functional",))
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of a (N, C, H, W) tensor with probability p while training.

    A 3-d input counts as (N, C, L), as PyTorch has it.
    """
    _check_probability("dropout2d", p)
    if input.dim() not in (3, 4):
        core.not_replayable()
        warnings.warn(
            f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated and "
            "will result in an "
            "error in a future release. To retain the behavior and silence this warning, please "
            "use dropout instead.",
            stacklevel=2,
        )
    if input.dim() == 3:
        core.not_replayable()
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
            "dropout behavior is "
            "desired - input is interpreted as shape (N, C, L), where C is the channel dim. Use "
            "dropout1d for that.",
            stacklevel=2,
        )
    return _drop_channels("dropout2d", input, p, training, inplace)


@composite(method=False, namespaces=("nn.functional",))
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of a (N, C, D, H, W) or (C, D, H, W) tensor with probability p while
    training.
    """
    _check_probability("dropout3d", p)
    if input.dim() not in (4, 5):
        core.not_replayable()
        warnings.warn(
            f"dropout3d: Received a {input.dim()}-D input to dropout3d, which is deprecated and "
            "will result in an "
            "error in a future release. To retain the behavior and silence this warning, please "
            "use dropout instead.",
            stacklevel=2,
        )
    if input.dim() != 5:
        return _drop_unbatched("dropout3d", input, p, training, inplace)
    return _drop_channels("dropout3d", input, p, training, inplace)


def _drop_to_alpha(input: Tensor, mask: Tensor, p: float, inplace: bool) -> Tensor:
    """Dropped elements become -alpha'; then everything is scaled so that mean and variance stay."""
    scale = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1.0) * (1.0 - p))
    shift = REGISTRY["add"](mask, -1)
    METHODS["mul_"](shift, _ALPHA * scale)
    METHODS["add_"](shift, _ALPHA * scale * p)
    METHODS["mul_"](mask, scale)
    return METHODS["add_"](_multiply(input, mask, inplace), shift)


def _alpha(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, by_channel: bool
) -> Tensor:
    _check_probability(name, p)
    if not training or p == 0 or not input.numel():
        return input
    _check_floating(name, input)
    if p == 1:
        return _multiply(input, REGISTRY["zeros"]((), dtype=input.dtype), inplace)
    mask = _channel_mask(name, input, p) if by_channel else _keep_mask(input, p)
    return _drop_to_alpha(input, mask, p, inplace)


@composite(method=False, namespaces=("nn.functional",))
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout for SELU networks: keeps mean and variance (Klambauer et al., Self-Normalizing
    Neural Networks).
    """
    return _alpha("alpha_dropout", input, p, training, inplace, by_channel=False)


@composite(method=False, namespaces=("nn.functional",))
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Alpha dropout of whole channels of a (N, C, ...) tensor."""
    return _alpha("feature_alpha_dropout", input, p, training, inplace, by_channel=True)


@composite(method=False, namespaces=("",), name="native_dropout")
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """(input * mask / (1 - p), mask); the mask is bool."""
    shape, boolean = input.shape, core.dtypes[0]
    if train is False or not input.numel():
        return input.clone(), REGISTRY["ones"](shape, dtype=boolean)
    if p == 1:
        return input * REGISTRY["zeros"]((), dtype=input.dtype), REGISTRY["zeros"](
            shape, dtype=boolean
        )
    mask = draw_into(new_like(input, boolean), "bernoulli", (1.0 - p,), core.default_generator)
    return input * mask * (1.0 / (1.0 - p)), mask


def _register_module_functions() -> None:
    """`torch.dropout(input, p, train)` and its kin take no inplace; those ending in _ are in
    place.
    """
    for op in (dropout, alpha_dropout, feature_alpha_dropout):

        def plain(input: Tensor, p: float, train: bool, op=op) -> Tensor:
            return op(input, p, train)

        def written(input: Tensor, p: float, train: bool, op=op) -> Tensor:
            return op(input, p, train, True)

        plain.__doc__ = op.__doc__
        written.__doc__ = f"In-place {op.name}."
        _publish_plain(op.name, plain, written)


def _publish_plain(name: str, plain, written) -> None:
    NAMESPACES[""][name] = core.Op(name, None, plain)
    NAMESPACES[""][name + "_"] = core.Op(name + "_", None, written)


_register_module_functions()


@function("feature_dropout")
def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Zero whole channels of a (N, C, ...) tensor with probability p while training."""
    _check_probability("feature_dropout", p)
    return _drop_channels("feature_dropout", input, p, train, False)


@function("rrelu", namespaces=("nn.functional", ""))
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
    generator=None,
) -> Tensor:
    """x where x > 0, else x times a slope: drawn from [lower, upper) while training, else their
    mean.
    """
    if not lower <= upper:
        raise RuntimeError(
            f"rrelu: Lower bound should be less than or equal to the upper bound, got {lower} and "
            f"{upper}"
        )
    if not input.is_floating_point():
        raise NotImplementedError(
            f"rrelu: not implemented for {input.dtype}: expected a floating-point dtype"
        )
    if not training or upper - lower <= 1e-6:
        slope = (lower + upper) / 2
        return NAMESPACES["nn.functional"]["leaky_relu"](input, slope, inplace)
    values = core.contiguous_plain(input.detach())
    noise = core.empty(input.shape, input.dtype)
    params = (lower, upper, values)
    draw_into(noise, "rrelu_noise", params, generator or core.default_generator)
    return _multiply(input, noise, inplace)


@function("rrelu_", namespaces=("nn.functional", ""))
def rrelu_(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    generator=None,
) -> Tensor:
    """In-place rrelu."""
    return rrelu(input, lower, upper, training, True, generator)
