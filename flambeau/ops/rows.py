"""Row programs: softmax and the normalisations, one kernel each."""

from __future__ import annotations

import warnings

from .. import core
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, detach, reduce
from .promotion import Promote
from .record import alias, composite, rows

# ---- softmax -------------------------------------------------------------------------------------


@rows(dtype=True, register=False, accepts="f")
def softmax_body(input):
    """exp(input) / sum(exp(input)) along dim."""
    e = mathlib.exp(input - detach(reduce.max(input)))
    return e * (1 / reduce.add(e))


softmax_body.vjp = lambda g, out: out * (g - reduce.add(g * out))


@rows(dtype=True, register=False, accepts="f")
def log_softmax_body(input):
    """log(softmax(input)) along dim."""
    shifted = input - detach(reduce.max(input))
    return shifted - mathlib.log(reduce.add(mathlib.exp(shifted)))


log_softmax_body.vjp = lambda g, out: g - mathlib.exp(out) * reduce.add(g)


def _check(name, input, dim, dtype):
    if dim is None:
        raise TypeError(f"{name}() missing required argument: 'dim'")
    if dtype is None and not input.dtype.is_floating_point:
        raise RuntimeError(
            f"\"{name}\" not implemented for '{input.dtype.name}': give dtype=torch.float32 or "
            "convert the input"
        )


def _softmax_family(name, body, namespaces=("", "special")):
    def op(input, dim, dtype=None):
        _check(name, input, dim, dtype)
        return body(input, dim) if dtype is None else body(input, dim, dtype=dtype)

    op.__doc__ = body.record.doc
    public = composite(name=name, out=True, namespaces=namespaces)(op)

    def functional(input, dim=None, _stacklevel=3, dtype=None):
        if dim is None:
            core.not_replayable()
            warnings.warn(
                f"Implicit dimension choice for {name} has been deprecated. Change the call to "
                "include dim=X as an argument.",
                stacklevel=_stacklevel,
            )
            dim = 0 if input.dim() in (0, 1, 3) else 1
        return public(input, dim, dtype)

    functional.__doc__ = op.__doc__
    composite(name=f"{name}_functional", register=False)(functional)
    shown = composite(name=name, register=False)(functional)
    alias(name, shown, namespaces=("nn.functional",))
    core.use_plain(public, body)
    core.use_plain(shown, body)
    return public


softmax = _softmax_family("softmax", softmax_body)
log_softmax = _softmax_family("log_softmax", log_softmax_body)


@composite(namespaces=("nn.functional",), method=False)
def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """softmax(-input)."""
    from .record import NAMESPACES

    return NAMESPACES["nn.functional"]["softmax"](-input, dim, _stacklevel, dtype)


# ---- normalisations ------------------------------------------------------------------------------


def _standardise(input, eps):
    """(input - mean) / sqrt(variance + eps) along the row, with the biased variance."""
    n = count(input.dtype)
    deviation = input - reduce.add(input) / n
    variance = reduce.add(deviation * deviation) / n
    return deviation * (1 / scalar.sqrt(variance + eps))


def _standardise_vjp(g, input, eps):
    n = count(g.dtype)
    deviation = input - reduce.add(input) / n
    scale = 1 / scalar.sqrt(reduce.add(deviation * deviation) / n + eps)
    normal = deviation * scale
    return scale * (g - reduce.add(g) / n - normal * (reduce.add(g * normal) / n))


@rows(register=False, accepts="f", promote=Promote.DEFAULT)
def standardise(input, *, eps):
    """(input - mean) / sqrt(var + eps) along dim."""
    return _standardise(input, eps)


standardise.vjp = _standardise_vjp


@rows(register=False, accepts="f", promote=Promote.DEFAULT)
def standardise_scaled(input, weight, *, eps):
    """Standardised input times weight."""
    return _standardise(input, eps) * weight


standardise_scaled.vjp = lambda g, input, weight, eps: (
    _standardise_vjp(g * weight, input, eps),
    g * _standardise(input, eps),
)


@rows(register=False, accepts="f", promote=Promote.DEFAULT)
def standardise_affine(input, weight, bias, *, eps):
    """Standardised input times weight plus bias."""
    return _standardise(input, eps) * weight + bias


standardise_affine.vjp = lambda g, input, weight, bias, eps: (
    _standardise_vjp(g * weight, input, eps),
    g * _standardise(input, eps),
    g,
)


def standardised(input, dims, weight, bias, eps):
    """Standardise along dims.

    Then scale and shift where weight and bias (broadcastable) are given.
    """
    if weight is None and bias is None:
        return standardise(input, dims, eps=eps)
    if bias is None:
        return standardise_scaled(input, weight, dims, eps=eps)
    if weight is None:
        return standardise(input, dims, eps=eps) + bias
    return standardise_affine(input, weight, bias, dims, eps=eps)


def _trailing(name, input, normalized_shape, weight, bias=None):
    """The trailing dimensions a norm runs over; shapes checked."""
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape)
    k = len(shape)
    if k == 0:
        raise RuntimeError(
            f"{name}: Expected normalized_shape to be at least 1-dimensional, got {shape}"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"{name}: Expected {what} to be of same shape as normalized_shape, but got {what} "
                f"of shape {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    if input.dim() < k or tuple(input.shape[-k:]) != shape:
        raise RuntimeError(
            f"{name}: Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size{list(input.shape)}"
        )
    return tuple(range(-k, 0))


@composite(namespaces=("", "nn.functional"), method=False)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True):
    """Standardise over the trailing dimensions of shape normalized_shape, then weight and bias.

    (input - mean) / sqrt(var + eps) * weight + bias, with the biased variance (Ba et al. 2016).
    """
    dims = _trailing("layer_norm", input, normalized_shape, weight, bias)
    return standardised(input, dims, weight, bias, eps)


@rows(register=False, accepts="fc", promote=Promote.DEFAULT)
def rms_rows(input, *, eps):
    """input / sqrt(mean(input**2) + eps)."""
    return input * (1 / scalar.sqrt(reduce.add(input * input) / count(input.dtype) + eps))


def _inverse_rms(input, eps):
    return 1 / scalar.sqrt(reduce.add(input * input) / count(input.dtype) + eps)


@rows(register=False, accepts="f", promote=Promote.DEFAULT)
def rms_scaled(input, weight, *, eps):
    """input / sqrt(mean(input**2) + eps) times weight."""
    return input * _inverse_rms(input, eps) * weight


def _rms_vjp(g, input, weight, eps):
    scale = _inverse_rms(input, eps)
    weighted, normal = g * weight, input * scale
    mean = reduce.add(weighted * normal) / count(input.dtype)
    return scale * (weighted - normal * mean), g * normal


rms_scaled.vjp = _rms_vjp


@composite(namespaces=("", "nn.functional"), method=False)
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """input / sqrt(mean(input**2) + eps) * weight over the trailing dimensions.

    Zhang and Sennrich 2019.
    """
    dims = _trailing("rms_norm", input, normalized_shape, weight)
    if eps is None:
        eps = {
            "f64": 2.220446049250313e-16,
            "c128": 2.220446049250313e-16,
            "f16": 0.0009765625,
            "bf16": 0.0078125,
        }.get(input.dtype.short, 1.1920928955078125e-07)
    if weight is None:
        return rms_rows(input, dims, eps=eps)
    if input.is_complex() or weight.is_complex():
        return rms_rows(input, dims, eps=eps) * weight
    return rms_scaled(input, weight, dims, eps=eps)


@composite(namespaces=("", "nn.functional"), method=False)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True):
    """Standardise each group of channels of (N, C, *).

    Then a weight and bias per channel (Wu and He 2018).
    """
    if input.dim() < 2:
        raise RuntimeError(
            "group_norm: Expected at least 2 dimensions for input tensor but received "
            f"{input.dim()}"
        )
    channels = input.size(1)
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "group_norm: Expected number of channels in input to be divisible by num_groups, but "
            f"got input of shape {list(input.shape)} and num_groups={num_groups}"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and (t.dim() != 1 or t.numel() != channels):
            raise RuntimeError(
                f"group_norm: Expected {what} to be a vector of size equal to the number of "
                f"channels in input, but got {what} of shape {list(t.shape)} and input of shape "
                f"{list(input.shape)}"
            )
    if input.numel() == 0:
        return scaled_nothing(
            input, per_channel(weight, input.dim()), per_channel(bias, input.dim())
        )
    grouped = input.contiguous().reshape(input.size(0), num_groups, channels // num_groups, -1)
    shape = (num_groups, channels // num_groups, 1)
    out = standardised(
        grouped,
        (2, 3),
        None if weight is None else weight.reshape(shape),
        None if bias is None else bias.reshape(shape),
        eps,
    )
    return out.reshape(input.shape)


def per_channel(t, dims):
    """A (C,) vector shaped to broadcast over (N, C, *)."""
    return None if t is None else t.reshape((-1,) + (1,) * (dims - 2)) if dims > 2 else t


def scaled_nothing(input, weight, bias):
    """An empty result, with the history of all three."""
    out = input * 1 if weight is None else input * weight
    return out if bias is None else out + bias


def statistics(input, axes, eps, keepdim=False):
    """(mean, 1 / sqrt(var + eps)) along axes."""
    from .moments import var_body
    from .reduce import mean_body

    return mean_body(input, axes, keepdim), (
        var_body(input, axes, keepdim, correction=0.0) + eps
    ).rsqrt()


@composite(name="native_group_norm", method=False)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """group_norm of (N, C, *) with the statistics used.

    (output, mean, 1 / sqrt(var + eps)), (N, group) each.
    """
    grouped = input.contiguous().reshape(N, group, C // group * HxW)
    return group_norm(input, group, weight, bias, eps), *statistics(grouped, (2,), eps)


@composite(name="native_layer_norm", method=False)
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """layer_norm with the statistics used: (output, mean, 1 / sqrt(var + eps))."""
    dims = _trailing("native_layer_norm", input, normalized_shape, weight, bias)
    return layer_norm(input, normalized_shape, weight, bias, eps), *statistics(
        input.detach(), dims, eps, True
    )
