"""Convolutions and their transposes, in one to three spatial dimensions."""

from __future__ import annotations

from .. import core
from ..kernels.lazy import conv as planner
from ..kernels.lazy import conv_shape, conv_weight_plan
from .plans import planned
from .record import composite, primitive

# (stride, padding, dilation, groups); the first three have one entry a spatial dimension
Settings = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]


def _same_dtype(name, a, b, what):
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Input type ({a.dtype.name}) and {what} type ({b.dtype.name}) should be the "
            "same"
        )


@primitive(register=False)
def convolve(input, weight, bias, settings):
    """Correlation of (N, C, *) with (O, C / groups, *) filters."""
    stride, padding, dilation, groups = settings
    x, w = core.contiguous_plain(input), core.contiguous_plain(weight)
    sizes = [
        conv_shape.output_size(*row)
        for row in zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    ]
    out = core.empty((x.shape[0], w.shape[0], *sizes), x.dtype)
    if out.numel() == 0:
        return out
    if w.shape[1] == 0:
        return (
            out.zero_()
            if bias is None
            else core.copy_(out, bias.reshape((-1,) + (1,) * len(stride)))
        )
    key = ("conv", x.dtype.code, tuple(x.shape), tuple(w.shape), settings, bias is None)
    plan = planned(
        key,
        lambda threads: planner.plan_conv_forward(
            x.dtype.short,
            x.shape,
            w.shape,
            stride,
            padding,
            dilation,
            groups,
            threads,
            bias=bias is not None,
        ),
    )
    plan.run(out, x, w, None if bias is None else core.contiguous_plain(bias))
    return out


@convolve.vjp
def _convolve_vjp(g, input, weight, settings, needs):
    gx = convolve_data(g, weight.conj(), tuple(input.shape), settings) if needs[0] else None
    gw = convolve_weight(input.conj(), g, tuple(weight.shape), settings) if needs[1] else None
    gb = g.sum((0, *range(2, g.dim()))) if len(needs) > 2 and needs[2] else None
    return gx, gw, gb


@primitive(register=False)
def convolve_data(cotangent, weight, shape, settings):
    """What `convolve` sends back to an input of `shape`: the transposed convolution."""
    stride, padding, dilation, groups = settings
    dy, w = core.contiguous_plain(cotangent), core.contiguous_plain(weight)
    out = core.empty(shape, dy.dtype)
    if out.numel() == 0:
        return out
    if dy.numel() == 0 or w.numel() == 0:
        return out.zero_()
    key = ("conv_data", dy.dtype.code, shape, tuple(w.shape), settings)
    plan = planned(
        key,
        lambda threads: planner.plan_conv_backward_data(
            dy.dtype.short, shape, w.shape, stride, padding, dilation, groups, threads
        ),
    )
    plan.run(out, dy, w, None)
    return out


@convolve_data.vjp
def _convolve_data_vjp(g, cotangent, weight, settings, needs):
    back = convolve(g, weight.conj(), None, settings) if needs[0] else None
    gw = convolve_weight(g, cotangent.conj(), tuple(weight.shape), settings) if needs[1] else None
    return back, gw


@primitive(register=False)
def convolve_weight(input, cotangent, shape, settings):
    """What `convolve` sends back to filters of `shape`."""
    stride, padding, dilation, groups = settings
    x, dy = core.contiguous_plain(input), core.contiguous_plain(cotangent)
    out = core.empty(shape, x.dtype)
    if out.numel() == 0:
        return out
    if x.numel() == 0 or dy.numel() == 0:
        return out.zero_()
    key = ("conv_weight", x.dtype.code, tuple(x.shape), shape, settings)
    plan = planned(
        key,
        lambda threads: conv_weight_plan.plan_conv_backward_weight(
            x.dtype.short, x.shape, shape, stride, padding, dilation, groups, threads
        ),
    )
    plan.run(out, x, dy)
    return out


@convolve_weight.vjp
def _convolve_weight_vjp(g, input, cotangent, settings, needs):
    gx = convolve_data(cotangent, g, tuple(input.shape), settings) if needs[0] else None
    gy = convolve(input.conj(), g, None, settings) if needs[1] else None
    return gx, gy


# ---- public forms --------------------------------------------------------------------------------


def _tuple(name, what, value, n):
    if isinstance(value, int):
        return (value,) * n
    values = tuple(int(v) for v in value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(
            f"{name}: expected {what} to be a single integer value or a list of {n} values, but "
            f"got {what}={list(values)}"
        )
    return values


def _same_padding(name, x, weight, stride, dilation):
    """Pad so that the output is as large as the input; an odd remainder goes to the right."""
    if any(s != 1 for s in stride):
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    left = tuple(t // 2 for t in total)
    if any(t % 2 for t in total):
        from .padding import pad

        extra = [v for t in reversed(total) for v in (0, t % 2)]
        x = pad(x, extra)
    return x, left


def _convolution(name, n, input, weight, bias, stride, padding, dilation, groups):
    _same_dtype(name, input, weight, "weight")
    if bias is not None:
        _same_dtype(name, input, bias, "bias")
        if bias.dim() != 1 or bias.shape[0] != weight.shape[0]:
            raise RuntimeError(
                f"{name}: Given weight of size {list(weight.shape)}, expected bias to be "
                f"1-dimensional with {weight.shape[0]} elements, but got bias of size "
                f"{list(bias.shape)} instead"
            )
    if weight.dim() != n + 2 or input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name} and a "
            f"{n + 2}D weight, but got input of size: {list(input.shape)} and weight of size "
            f"{list(weight.shape)}"
        )
    stride = _tuple(name, "stride", stride, n)
    dilation = _tuple(name, "dilation", dilation, n)
    unbatched = input.dim() == n + 1
    x = input.unsqueeze(0) if unbatched else input
    if isinstance(padding, str):
        if padding == "same":
            x, padding = _same_padding(name, x, weight, stride, dilation)
        elif padding == "valid":
            padding = (0,) * n
        else:
            raise RuntimeError(
                f"{name}: Invalid padding string: '{padding}': expected 'same' or 'valid'"
            )
    padding = _tuple(name, "padding", padding, n)
    conv_shape.check(x.shape, weight.shape, stride, padding, dilation, groups)
    for size, kernel, p, d in zip(x.shape[2:], weight.shape[2:], padding, dilation, strict=True):
        if size + 2 * p < d * (kernel - 1) + 1:
            padded = " x ".join(str(s + 2 * q) for s, q in zip(x.shape[2:], padding, strict=True))
            raise RuntimeError(
                f"{name}: Calculated padded input size per channel: ({padded}). Kernel size: "
                f"{tuple(weight.shape[2:])} with dilation {dilation}. Kernel size can't be "
                "greater than actual input size"
            )
    out = convolve(x, weight, bias, (stride, padding, dilation, groups))
    return out.squeeze(0) if unbatched else out


def _conv(n):
    name = f"conv{n}d"

    def op(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return _convolution(name, n, input, weight, bias, stride, padding, dilation, groups)

    op.__doc__ = (
        f"{n}-d convolution (cross-correlation) of (N, C, *) with (O, C / groups, *) filters; "
        "padding a size, 'same' or 'valid'."
    )
    return composite(name=name, namespaces=("", "nn.functional"), method=False)(op)


conv1d, conv2d, conv3d = _conv(1), _conv(2), _conv(3)


def _transposed(name, n, input, weight, bias, stride, padding, output_padding, groups, dilation):
    _same_dtype(name, input, weight, "weight")
    if weight.dim() != n + 2 or input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D (unbatched) or {n + 2}D (batched) input and a {n + 2}D "
            f"weight, but got input of size: {list(input.shape)} and weight of size "
            f"{list(weight.shape)}"
        )
    stride, padding = _tuple(name, "stride", stride, n), _tuple(name, "padding", padding, n)
    dilation = _tuple(name, "dilation", dilation, n)
    extra = _tuple(name, "output_padding", output_padding, n)
    unbatched = input.dim() == n + 1
    x = input.unsqueeze(0) if unbatched else input
    if x.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"{name}: Given transposed=1, weight of size {list(weight.shape)}, expected "
            f"input{list(x.shape)} to have {weight.shape[0]} channels, but got {x.shape[1]} "
            "channels instead"
        )
    for what, values, least in (
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
        ("output_padding", extra, 0),
    ):
        if min(values) < least:
            raise RuntimeError(f"{name}: {what} must be at least {least}, got {values}")
    if groups < 1 or weight.shape[0] % groups:
        raise RuntimeError(
            f"{name}: {weight.shape[0]} input channels cannot be divided into {groups} groups"
        )
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output padding must be smaller than either stride or dilation, but got "
            f"output_padding: {extra}, stride: {stride}, dilation: {dilation}"
        )
    sizes = [
        conv_shape.transposed_output_size(*row)
        for row in zip(x.shape[2:], weight.shape[2:], stride, padding, extra, dilation, strict=True)
    ]
    if min(sizes) < 1:
        raise RuntimeError(
            f"{name}: the output size {tuple(sizes)} is too small for input {tuple(x.shape)} and "
            f"padding {padding}"
        )
    shape = (x.shape[0], weight.shape[1] * groups, *sizes)
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        x = _pad_whole_strides(x, extra, stride)
    out = convolve_data(x, weight, shape, (stride, padding, dilation, groups))
    if bias is not None:
        if bias.dim() != 1 or bias.shape[0] != shape[1]:
            raise RuntimeError(
                f"{name}: Given transposed=1, weight of size {list(weight.shape)}, expected bias "
                f"to be 1-dimensional with {shape[1]} elements, but got bias of size "
                f"{list(bias.shape)} instead"
            )
        out = out + bias.reshape((-1,) + (1,) * n)
    return out.squeeze(0) if unbatched else out


def _pad_whole_strides(x, extra, stride):
    """An output padding of whole strides is zeros at the end of the input."""
    from .padding import pad

    return pad(
        x, [v for e, s in zip(reversed(extra), reversed(stride), strict=True) for v in (0, e // s)]
    )


def _conv_transpose(n):
    name = f"conv_transpose{n}d"

    def op(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return _transposed(
            name, n, input, weight, bias, stride, padding, output_padding, groups, dilation
        )

    op.__doc__ = f"{n}-d transposed convolution of (N, C, *) with (C, O / groups, *) filters."
    return composite(name=name, namespaces=("", "nn.functional"), method=False)(op)


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_conv_transpose(n) for n in (1, 2, 3))
