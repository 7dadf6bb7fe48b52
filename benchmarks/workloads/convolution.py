"""Convolutions of known networks, pooling and resampling, forward and with backward."""

from collections.abc import Iterator
from typing import Any

from .common import Body, Build, Work, Workload, forward, function_of, normal, with_backward


def convolution(
    kind: str,
    x: tuple[int, ...],
    out: int,
    kernel: int,
    backward: bool,
    dtype: str = "float32",
    **options: int,
) -> Build:
    """Return a convolution layer's call."""

    def build(torch: Any) -> Body:
        layer = getattr(torch.nn, kind)(x[1], out, kernel, **options).to(getattr(torch, dtype))
        inputs = torch.randn(*x).to(getattr(torch, dtype))
        parameters = tuple(layer.parameters())
        if backward:
            return with_backward(torch, layer, inputs, parameters=parameters)
        for p in parameters:
            p.requires_grad_(False)
        return forward(layer, inputs)

    return build


def count_flops(
    x: tuple[int, ...], out: int, kernel: int, stride: int, padding: int, dilation: int, groups: int
) -> float:
    """Return the floating-point operations of a forward convolution."""
    pixels, taps = 1, 1
    for size in x[2:]:
        pixels *= (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        taps *= kernel
    return 2.0 * x[0] * out * pixels * taps * (x[1] // groups)


# name: input shape, output channels, kernel, options
LAYERS: dict[str, tuple[tuple[int, ...], int, int, dict[str, int]]] = {
    "LeNet 1>6 k5 28^2 batch 64": ((64, 1, 28, 28), 6, 5, {"padding": 2}),
    "LeNet 6>16 k5 14^2 batch 64": ((64, 6, 14, 14), 16, 5, {}),
    "CIFAR 3>6 k5 32^2 batch 4": ((4, 3, 32, 32), 6, 5, {}),
    "CIFAR 3>64 k3 32^2 batch 4": ((4, 3, 32, 32), 64, 3, {"padding": 1}),
    "CIFAR 256>512 k3 s2 8^2 batch 4": ((4, 256, 8, 8), 512, 3, {"stride": 2, "padding": 1}),
    "ResNet stem 3>64 k7 s2 224^2 batch 2": ((2, 3, 224, 224), 64, 7, {"stride": 2, "padding": 3}),
    "ResNet 64 k3 56^2 batch 4": ((4, 64, 56, 56), 64, 3, {"padding": 1}),
    "ResNet 128>256 k3 s2 28^2 batch 8": ((8, 128, 28, 28), 256, 3, {"stride": 2, "padding": 1}),
    "ResNet 256 k3 14^2 batch 8": ((8, 256, 14, 14), 256, 3, {"padding": 1}),
    "ResNet 512 k3 7^2 batch 8": ((8, 512, 7, 7), 512, 3, {"padding": 1}),
    "1x1 256>1024 14^2 batch 8": ((8, 256, 14, 14), 1024, 1, {}),
    "1x1 2048>512 7^2 batch 1": ((1, 2048, 7, 7), 512, 1, {}),
    "1x1 16>96 112^2 batch 2": ((2, 16, 112, 112), 96, 1, {}),
    "1x1 17>35 27^2 batch 4": ((4, 17, 27, 27), 35, 1, {}),
    "1x1 s2 128>256 28^2 batch 8": ((8, 128, 28, 28), 256, 1, {"stride": 2}),
    "dilated 128 k3 28^2 batch 4": ((4, 128, 28, 28), 128, 3, {"padding": 2, "dilation": 2}),
    "patches 3>768 k16 s16 224^2 batch 4": ((4, 3, 224, 224), 768, 16, {"stride": 16}),
    "48>128 k5 27^2 batch 4": ((4, 48, 27, 27), 128, 5, {"padding": 2}),
    "grouped 32, 256 k3 28^2 batch 4": ((4, 256, 28, 28), 256, 3, {"padding": 1, "groups": 32}),
    "depthwise 96 k3 56^2 batch 8": ((8, 96, 56, 56), 96, 3, {"padding": 1, "groups": 96}),
    "depthwise 96 k3 112^2 batch 2": ((2, 96, 112, 112), 96, 3, {"padding": 1, "groups": 96}),
    "depthwise 96 k3 s2 56^2 batch 8": (
        (8, 96, 56, 56),
        96,
        3,
        {"padding": 1, "groups": 96, "stride": 2},
    ),
}
BFLOAT = (
    "ResNet stem 3>64 k7 s2 224^2 batch 2",
    "ResNet 128>256 k3 s2 28^2 batch 8",
    "ResNet 512 k3 7^2 batch 8",
    "1x1 256>1024 14^2 batch 8",
    "patches 3>768 k16 s16 224^2 batch 4",
    "48>128 k5 27^2 batch 4",
    "grouped 32, 256 k3 28^2 batch 4",
)
TRANSPOSED = {
    "transposed 64>32 k4 s2 28^2 batch 8": (
        (8, 64, 28, 28),
        32,
        4,
        {"stride": 2, "padding": 1},
    ),
}
LINES = {
    "conv1d 64 k3 1024 batch 16": ((16, 64, 1024), 64, 3, {"padding": 1}),
    "conv1d 384 k3 s2 3000 batch 1": ((1, 384, 3000), 384, 3, {"stride": 2, "padding": 1}),
}
VOLUMES = {"conv3d 16>32 k3 16^3 batch 4": ((4, 16, 16, 16, 16), 32, 3, {"padding": 1})}
POOLS = {
    "max_pool k2 (16,64,112,112)": ("F.max_pool2d(x, 2)", (16, 64, 112, 112)),
    "max_pool k3 s2 (8,64,112,112)": ("F.max_pool2d(x, 3, 2, 1)", (8, 64, 112, 112)),
    "avg_pool k2 (16,64,56,56)": ("F.avg_pool2d(x, 2)", (16, 64, 56, 56)),
    "adaptive_avg_pool to 1 (32,512,7,7)": ("F.adaptive_avg_pool2d(x, 1)", (32, 512, 7, 7)),
    "adaptive_avg_pool to 6 (8,64,13,13)": ("F.adaptive_avg_pool2d(x, 6)", (8, 64, 13, 13)),
    "upsample nearest (8,64,28,28)": ("F.interpolate(x, scale_factor=2)", (8, 64, 28, 28)),
    "upsample bilinear (8,64,28,28)": (
        "F.interpolate(x, scale_factor=2, mode='bilinear')",
        (8, 64, 28, 28),
    ),
    "unfold k3 (8,16,56,56)": ("F.unfold(x, 3, padding=1)", (8, 16, 56, 56)),
}


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads."""
    group = "convolution"
    families = (("Conv2d", LAYERS), ("Conv1d", LINES), ("Conv3d", VOLUMES))
    for backward in (False, True):
        suffix = ", with backward" if backward else ""
        times = 3 if backward else 1
        for kind, layers in families:
            for name, (x, out, kernel, options) in layers.items():
                full = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
                work = Work(flops=times * count_flops(x, out, kernel, **full))
                build = convolution(kind, x, out, kernel, backward, **options)
                yield Workload(group, name + suffix, build, work, large="batch 8" in name)
        for name in BFLOAT:
            x, out, kernel, options = LAYERS[name]
            build = convolution("Conv2d", x, out, kernel, backward, "bfloat16", **options)
            yield Workload(group, f"{name}, bfloat16{suffix}", build)
        for name, (x, out, kernel, options) in TRANSPOSED.items():
            build = convolution("ConvTranspose2d", x, out, kernel, backward, **options)
            work = Work(flops=times * 2.0 * x[0] * x[1] * out * x[2] * x[3] * kernel**2)
            yield Workload(group, name + suffix, build, work)
        for name, (text, shape) in POOLS.items():
            yield Workload(group, name + suffix, function_of(text, backward, x=normal(*shape)))


WORKLOADS = tuple(make_rows())
