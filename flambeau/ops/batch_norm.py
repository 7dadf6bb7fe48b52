"""Batch normalisation: the batch's statistics, output and derivative by one kernel each."""

from __future__ import annotations

from .. import core
from ..kernels import scalar
from ..kernels.scalar import count, reduce
from .promotion import Promote
from .record import composite, pointwise, rows
from .row_program import ROW, RowProgram
from .rows import (
    per_channel,
    scaled_nothing,
    standardise,
    standardise_affine,
    standardise_scaled,
    standardised,
    statistics,
)


def _standardise_batch(input, *rest):
    """Output, mean and biased variance of each channel; rest is [weight, [bias,]] eps."""
    *affine, eps = rest
    n = count(input.dtype)
    mean = reduce.add(input) / n
    deviation = input - mean
    variance = reduce.add(deviation * deviation) / n
    out = deviation * (1 / scalar.sqrt(variance + eps))
    if affine:
        out = out * affine[0]
    if len(affine) > 1:
        out = out + affine[1]
    return out, mean, variance


_program = RowProgram("batch_norm", _standardise_batch, (0, ROW, ROW))
_OPS = {1: standardise, 2: standardise_scaled, 3: standardise_affine}  # whose history it has


def _scale_shift(input, scale, shift):
    """input * scale + shift."""
    return input * scale + shift


scale_shift = pointwise(register=False, accepts="f", promote=Promote.DEFAULT)(_scale_shift)
# The same as a row program: its derivative sums along the channels in the kernel that scales.
scale_channels = rows(register=False, accepts="f", promote=Promote.DEFAULT)(_scale_shift)
scale_channels.vjp = lambda g, input, scale: (g * scale, g * input, g)


def _scale(input, scale, shift):
    """input * scale + shift; scale and shift have one element a channel."""
    dims = input.dim()
    operands = (input, per_channel(scale, dims), per_channel(shift, dims))
    if not core.needs_history(*operands):
        return scale_shift(*operands)
    before = core.set_grad_enabled(False)
    try:
        out = scale_shift(*operands)  # in the order of memory
    finally:
        core.set_grad_enabled(before)
    core.record_rows(scale_channels, operands, out, (0, *range(2, dims)))
    return out


@pointwise(register=False, accepts="f", promote=Promote.DEFAULT)
def approach(running, batch, *, momentum, factor):
    """running, moved by momentum towards batch * factor."""
    return running * (1 - momentum) + batch * (momentum * factor)


def _normalise_batch(input, weight, bias, eps):
    """(output, mean, biased variance) of each channel; weight and bias broadcast to input."""
    operands = [t for t in (input, weight, bias) if t is not None]
    if (bias is not None and weight is None) or any(t.dtype is not input.dtype for t in operands):
        return None
    shape = tuple(input.shape)
    channels = (1, shape[1], *(1 for _ in shape[2:]))
    mask = (1 << len(shape)) - 1 - 2
    found = _program.run(operands, shape, mask, (float(eps),), (shape, channels, channels))
    if found is not None and core.needs_history(*operands):
        axes = (0, *range(2, len(shape)))
        core.record_rows(_OPS[len(operands)], (*operands, float(eps)), found[0], axes)
    return found


def _move(running, batch, momentum, factor):
    if running is not None:
        batch = core.view(batch, running.shape)
        core.apply_inplace(approach, running, batch, float(momentum), factor)


def _check_batch_norm(input, running_mean, running_var, weight, bias, training):
    if input.dim() < 2:
        raise RuntimeError(
            "batch_norm: expected input of at least 2 dimensions (N, C, ...), got "
            f"{tuple(input.shape)}"
        )
    channels = input.size(1)
    for what, t in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if t is not None and t.numel() != channels:
            raise RuntimeError(f"{what} should contain {channels} elements not {t.numel()}")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError(
            "batch_norm: expected running_mean and running_var to be defined when training=False"
        )


@composite(namespaces=("nn.functional",), method=False)
def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-05,
):
    """Standardise every channel of (N, C, *) over the batch (training) or with running statistics.

    (input - mean) / sqrt(var + eps) * weight + bias; running statistics move by `momentum` towards
    the batch's mean and unbiased variance (Ioffe and Szegedy 2015).
    """
    if input.dim() == 1 and input.numel() == 0:
        return scaled_nothing(input, weight, bias)  # as PyTorch: nothing to normalise, no error
    _check_batch_norm(input, running_mean, running_var, weight, bias, training)
    dims = input.dim()
    w, b = per_channel(weight, dims), per_channel(bias, dims)
    if not training:
        scale = (running_var + eps).rsqrt()
        if weight is not None:
            scale = scale * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        return _scale(input, scale, shift)
    size = input.numel() // max(1, input.size(1))
    if size <= 1 and input.numel():
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    axes = (0, *range(2, dims))
    found = _normalise_batch(input, w, b, eps)
    if found is not None:
        out, mean, variance = found
    else:
        from .moments import var_body
        from .reduce import mean_body

        still = input.detach()
        mean, variance = mean_body(still, axes), var_body(still, axes, correction=0.0)
        out = standardised(input, axes, w, b, eps) if size else scaled_nothing(input, w, b)
    _move(running_mean, mean, momentum, 1.0)
    _move(running_var, variance, momentum, size / max(1, size - 1))
    return out


@composite(name="native_batch_norm", method=False, out=True)
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """batch_norm with the statistics used: (output, mean, 1 / sqrt(var + eps))."""
    if training:
        mean, inverse = statistics(input.detach(), (0, *range(2, input.dim())), eps)
    else:
        mean, inverse = core.empty((0,), input.dtype), core.empty((0,), input.dtype)
    return (
        batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps),
        mean,
        inverse,
    )


@composite(name="_native_batch_norm_legit", method=False, out=True)
def native_batch_norm_legit(input, weight, bias, *rest, **named):
    """native_batch_norm whose running statistics may be left out.

    (..., [mean, var,] training, momentum, eps).
    """
    if len(rest) + len(named) == 3:
        rest = (None, None, *rest)
    return native_batch_norm(input, weight, bias, *rest, **named)
