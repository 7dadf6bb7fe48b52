"""Activation functions."""

from __future__ import annotations

import math

from .. import core
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import const, where
from .elementary import sigmoid, sigmoid_body
from .promotion import Promote
from .record import alias, composite, function, make_inplace, pointwise, primitive

_F = ("nn.functional",)


def _zero(x):
    return const(0, x.dtype)


@pointwise(accepts="uif", inplace=True)
def relu(input):
    """max(input, 0)."""
    # NaN sits in the else slot and passes through
    return where(input <= 0, _zero(input), input)


relu.vjp = lambda g, out: where(out <= 0, _zero(g), g)


def _functional(name, op, *, extra=(), doc=None):
    """The nn.functional form of an op: with the argument inplace."""
    written = make_inplace(op, name)

    def call(input, *args, inplace=False, **kwargs):
        if args and len(args) > len(extra):
            *args, inplace = args  # type: ignore[assignment]
        return (written if inplace else op)(input, *args, **kwargs)

    call.__doc__ = doc or op.__doc__
    call.__name__ = name
    public = function(name, namespaces=_F)(call)
    if isinstance(op, core.LoopOp):
        core.use_plain(public, op)
    alias(name + "_", written, namespaces=_F)
    return public


_functional("relu", relu)


@pointwise(register=False, accepts="uif")
def hardtanh_body(input, *, min_val=-1.0, max_val=1.0):
    """input limited to [min_val, max_val]."""
    low, high = scalar.cast(min_val, input.dtype), scalar.cast(max_val, input.dtype)
    return where(input <= low, low, where(input >= high, high, input))


def _hardtanh_vjp(g, input, min_val, max_val):
    inside = (input > min_val) & (input < max_val)
    return where(inside, g, _zero(g))


hardtanh_body.vjp = _hardtanh_vjp


@composite(namespaces=_F, method=False, out=True)
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input limited to [min_val, max_val]."""
    if input.dtype.code in (0, 1, 12, 13, 14) and (min_val < 0 or max_val < 0):
        raise RuntimeError(
            "hardtanh: cannot do hardtanh on an unsigned type with negative limits, got "
            f"{input.dtype}"
        )
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} cannot be greater than max_val {max_val}")
    return _apply(hardtanh_body, input, inplace, min_val=min_val, max_val=max_val)


def _apply(op, input, inplace, **scalars):
    """Run an op, over its input if so asked."""
    if inplace:
        from .record import METHODS

        written = METHODS.get(op.name + "_") or make_inplace(op, op.name)
        METHODS.setdefault("_" + op.name + "_", written)
        return written(input, **scalars)
    return op(input, **scalars)


@function("relu6", namespaces=_F)
def relu6(input, inplace=False):
    """input limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def _simple(name, signature_doc, body, vjp=None, accepts="f", promote=Promote.FLOAT, method=False):
    """A pointwise activation `name(input, inplace=False)`."""

    def kernel(input):
        return body(input)

    kernel.__doc__ = signature_doc
    op = pointwise(name=name, register=False, accepts=accepts, promote=promote)(kernel)
    if vjp is not None:
        op.vjp = vjp

    def call(input, inplace=False):
        return _apply(op, input, inplace)

    call.__doc__ = signature_doc
    call.__name__ = name
    composite(name=name, namespaces=_F, method=method, out=True)(call)
    return op


silu = _simple(
    "silu",
    "input * sigmoid(input) (Elfwing et al. 2017).",
    lambda x: x * sigmoid_body(x),
    lambda g, input: g * scalar.conj(sigmoid_body(input) * (1 + input * (1 - sigmoid_body(input)))),
    accepts="fc",
)


def _mish_parts(x):
    """(w, n) with w = exp(x) and tanh(softplus(x)) = n / (n + 2); past 20 that is 1."""
    w = mathlib.exp(scalar.minimum(x, 20.0))
    return w, w * (w + 2)


def _mish(x):
    _, n = _mish_parts(x)
    return x * (n / (n + 2))


def _mish_vjp(g, input):
    w, n = _mish_parts(input)
    slope = 4 * w * (w + 1) / ((n + 2) * (n + 2))
    return g * (n / (n + 2) + where(input < 20, input * slope, _zero(input)))


mish = _simple("mish", "input * tanh(softplus(input)) (Misra 2019).", _mish, _mish_vjp)
hardsigmoid = _simple(
    "hardsigmoid",
    "clamp(input / 6 + 1/2, 0, 1).",
    lambda x: scalar.minimum(scalar.maximum(x + 3, 0.0), 6.0) * (1 / 6),
    lambda g, input: where((input > -3) & (input < 3), g * (1 / 6), _zero(g)),
)
hardswish = _simple(
    "hardswish",
    "input * clamp(input + 3, 0, 6) / 6 (Howard et al. 2019).",
    lambda x: x * scalar.minimum(scalar.maximum(x + 3, 0.0), 6.0) * (1 / 6),
    lambda g, input: where(input <= -3, _zero(g), where(input < 3, g * (input * (1 / 3) + 0.5), g)),
)
logsigmoid = _simple(
    "logsigmoid",
    "log(sigmoid(input)).",
    lambda x: scalar.minimum(x, 0.0) - mathlib.log1p(mathlib.exp(-scalar.absolute(x))),
    lambda g, input: g * sigmoid_body(-input),
)


def _softsign(x):
    return x / scalar.cast(1 + scalar.absolute(x), x.dtype)


softsign = _simple("softsign", "input / (1 + |input|).", _softsign, accepts="fc")
tanhshrink = _simple(
    "tanhshrink", "input - tanh(input).", lambda x: x - mathlib.tanh(x), accepts="fc"
)


def _softplus(x):
    return scalar.maximum(x, 0.0) + mathlib.log1p(mathlib.exp(-scalar.absolute(x)))


@pointwise(register=False, accepts="f", promote=Promote.FLOAT)
def softplus_body(input, *, beta, threshold):
    """log(1 + exp(beta * input)) / beta, linear above threshold."""
    scaled = input * beta
    return where(scaled > threshold, input, _softplus(scaled) / beta)


softplus_body.vjp = lambda g, input, beta, threshold: where(
    input * beta > threshold, g, g * sigmoid_body(input * beta)
)


@composite(namespaces=_F, method=False, out=True)
def softplus(input, beta=1, threshold=20):
    """log(1 + exp(beta * input)) / beta; the identity where beta * input > threshold."""
    return softplus_body(input, beta=float(beta), threshold=float(threshold))


@pointwise(register=False, accepts="f", promote=Promote.FLOAT)
def elu_body(input, *, alpha, scale, input_scale):
    """scale * (input, or alpha * (exp(input_scale * input) - 1) below 0)."""
    return scale * where(input > 0, input, alpha * mathlib.expm1(input * input_scale))


elu_body.vjp = lambda g, input, alpha, scale, input_scale: (
    g * where(input > 0, scale, scale * alpha * input_scale * mathlib.exp(input * input_scale))
)


@composite(namespaces=_F, method=False, out=True)
def elu(input, alpha=1.0, inplace=False):
    """input where positive, alpha * (exp(input) - 1) elsewhere (Clevert et al. 2015)."""
    return _apply(elu_body, input, inplace, alpha=float(alpha), scale=1.0, input_scale=1.0)


@function("selu", namespaces=_F)
def selu(input, inplace=False):
    """Self-normalising ELU (Klambauer et al. 2017)."""
    return _apply(
        elu_body,
        input,
        inplace,
        alpha=1.6732632423543772,
        scale=1.0507009873554805,
        input_scale=1.0,
    )


@function("celu", namespaces=_F)
def celu(input, alpha=1.0, inplace=False):
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _apply(elu_body, input, inplace, alpha=float(alpha), scale=1.0, input_scale=1.0 / alpha)


@pointwise(register=False, accepts="f")
def leaky_relu_body(input, *, negative_slope):
    """input, times negative_slope where negative."""
    return where(input > 0, input, input * negative_slope)


leaky_relu_body.vjp = lambda g, input, negative_slope: where(input > 0, g, g * negative_slope)


@composite(namespaces=_F, method=False, out=True)
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input where positive, negative_slope * input elsewhere."""
    return _apply(leaky_relu_body, input, inplace, negative_slope=float(negative_slope))


@pointwise(register=False, accepts="uif")
def threshold_body(input, *, threshold, value):
    """input where above threshold, value elsewhere."""
    return where(
        input <= scalar.cast(threshold, input.dtype), scalar.cast(value, input.dtype), input
    )


threshold_body.vjp = lambda g, input, threshold, value: where(input <= threshold, _zero(g), g)


@function("threshold", namespaces=("", "nn.functional"))
def threshold(input, threshold, value, inplace=False):
    """input where above threshold, value elsewhere."""
    return _apply(threshold_body, input, inplace, threshold=threshold, value=value)


@pointwise(register=False, accepts="f")
def hardshrink_body(input, *, lambd):
    """0 where |input| <= lambd."""
    return where((input >= -lambd) & (input <= lambd), _zero(input), input)


hardshrink_body.vjp = lambda g, input, lambd: where(
    (input >= -lambd) & (input <= lambd), _zero(g), g
)


@composite(namespaces=("", "nn.functional"), out=True)
def hardshrink(input, lambd=0.5):
    """input, 0 where |input| <= lambd."""
    return hardshrink_body(input, lambd=float(lambd))


@pointwise(register=False, accepts="f")
def softshrink_body(input, *, lambd):
    """input moved towards 0 by lambd."""
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0.0))


softshrink_body.vjp = lambda g, input, lambd: where(
    (input >= -lambd) & (input <= lambd), _zero(g), g
)


@composite(namespaces=_F, method=False, out=True)
def softshrink(input, lambd=0.5):
    """input moved towards 0 by lambd, 0 within."""
    if lambd < 0:
        raise RuntimeError(
            f"softshrink: lambda must be greater or equal to 0, but found to be {lambd}."
        )
    return softshrink_body(input, lambd=float(lambd))


_SQRT_HALF, _INV_SQRT_2PI, _SQRT_2_PI = (
    math.sqrt(0.5),
    1 / math.sqrt(2 * math.pi),
    math.sqrt(2 / math.pi),
)


@pointwise(register=False, accepts="f")
def gelu_erf(input):
    """input * Phi(input), Phi the normal distribution function."""
    return input * mathlib.normal_cdf(input)


gelu_erf.vjp = lambda g, input: (
    g * (mathlib.normal_cdf(input) + input * _INV_SQRT_2PI * mathlib.exp(-0.5 * input * input))
)


@pointwise(register=False, accepts="f")
def gelu_tanh(input):
    """The tanh approximation of gelu."""
    inner = _SQRT_2_PI * (input + 0.044715 * input * input * input)
    return 0.5 * input * (1 + mathlib.tanh(inner))


@composite(namespaces=_F, method=False, out=True)
def gelu(input, approximate="none"):
    """input * Phi(input) (Hendrycks and Gimpel 2016), exactly or by tanh."""
    if approximate == "none":
        return gelu_erf(input)
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    return gelu_tanh(input)


@pointwise(register=False, accepts="f")
def prelu_body(input, weight):
    """input where positive, weight * input elsewhere."""
    return where(input > 0, input, weight * input)


prelu_body.vjp = lambda g, input, weight: (
    where(input > 0, g, g * weight),
    where(input > 0, _zero(g), g * input),
)


@function("prelu", namespaces=("", "nn.functional"), method=True)
def prelu(input, weight):
    """input where positive, weight * input elsewhere; one weight, or one a channel (dim 1)."""
    if weight.dim() > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}"
        )
    if weight.numel() != 1:
        if input.dim() == 0:
            raise RuntimeError("prelu: Not allow zero-dim input tensor.")
        channels = input.size(1) if input.dim() > 1 else 1
        if weight.numel() != channels:
            raise RuntimeError(
                "prelu: Mismatch of parameter numbers and input channel size. Found parameter "
                f"numbers = {weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape((-1,) + (1,) * (input.dim() - 2))
    if weight.dtype != input.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}"
        )
    return prelu_body(
        input, weight.reshape(()) if weight.numel() == 1 and input.dim() == 0 else weight
    )


@pointwise(register=False, accepts="fc")
def _gated(input, gate):
    """input * sigmoid(gate)."""
    return input * sigmoid_body(gate)


@pointwise(register=False, accepts="fc")
def _gated_slope(g, input, gate):
    """The derivative by the gate."""
    open_ = sigmoid_body(gate)
    return g * scalar.conj(input * (open_ * (1 - open_)))


@pointwise(register=False, accepts="fc")
def _gated_share(g, gate):
    """The derivative by the input."""
    return g * scalar.conj(sigmoid_body(gate))


def _halves(input, dim):
    half = input.size(dim) // 2
    return input.narrow(dim, 0, half), input.narrow(dim, half, half)


@primitive(register=False, name="glu")
def _gate_halves(input, dim):
    """The first half times sigmoid of the second."""
    return _gated(*_halves(input, dim))


@_gate_halves.vjp
def _gate_halves_vjp(g, input, dim):
    first, second = _halves(input, dim)
    if core.grad_enabled():
        from .join import cat

        return cat((_gated_share(g, second), _gated_slope(g, first, second)), dim)
    made = core.empty(input.shape, input.dtype)
    of_first, of_second = _halves(made, dim)
    _gated_share(g, second, out=of_first)
    _gated_slope(g, first, second, out=of_second)
    return made


@composite(namespaces=_F, method=False)
def glu(input, dim=-1):
    """First half times sigmoid of the second half along dim (Dauphin et al. 2016)."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.size(dim) % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim} is size {input.size(dim)}"
        )
    if not (input.is_floating_point() or input.is_complex()):
        first, second = _halves(input, dim)
        return first * sigmoid(second)
    return _gate_halves(input, dim)
