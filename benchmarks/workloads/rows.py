"""Normalisations, softmaxes and losses along rows."""

import math
from collections.abc import Iterator
from typing import Any

from .common import (
    Body,
    Build,
    Work,
    Workload,
    forward,
    function_of,
    integers,
    normal,
    normals,
    with_backward,
)

FLOAT = 4


def cross_entropy(rows: int, classes: int, backward: bool, options: str = "") -> Build:
    """Return the cross entropy of class indices."""
    text = f"F.cross_entropy(x, y{options})"
    return function_of(text, backward, x=normal(rows, classes), y=integers(0, classes, rows))


def batch_norm(shape: tuple[int, ...], training: bool, backward: bool) -> Build:
    """Return batch norm over dimension 1 with running statistics."""

    def build(torch: Any) -> Body:
        channels = shape[1]
        mean, var = torch.zeros(channels), torch.ones(channels)
        function = torch.nn.functional.batch_norm

        def f(x: Any, w: Any, b: Any) -> Any:
            return function(x, mean, var, w, b, training)

        inputs = (torch.randn(*shape), torch.randn(channels), torch.randn(channels))
        return with_backward(torch, f, *inputs) if backward else forward(f, *inputs)

    return build


IMAGE = (32, 64, 28, 28)
OPS: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "softmax, 1024^2": ("F.softmax(x, -1)", ((1024, 1024),)),
    "softmax, (64,8,128,128)": ("F.softmax(x, -1)", ((64, 8, 128, 128),)),
    "softmax, (65536,10)": ("F.softmax(x, -1)", ((65536, 10),)),
    "softmax over channels, (8,21,128,128)": ("F.softmax(x, 1)", ((8, 21, 128, 128),)),
    "log_softmax, (512,32000)": ("F.log_softmax(x, -1)", ((512, 32000),)),
    "log_softmax, 1024^2": ("F.log_softmax(x, -1)", ((1024, 1024),)),
    "layer_norm, (4096,256)": (
        "F.layer_norm(x, (256,), w, b)",
        ((4096, 256), (256,), (256,)),
    ),
    "layer_norm, (1024,1024)": (
        "F.layer_norm(x, (1024,), w, b)",
        ((1024, 1024), (1024,), (1024,)),
    ),
    "rms_norm, (4096,256)": ("F.rms_norm(x, (256,), w)", ((4096, 256), (256,))),
    "group_norm, (32,64,28,28)": ("F.group_norm(x, 8, w, b)", (IMAGE, (64,), (64,))),
    "instance_norm, (32,64,28,28)": ("F.instance_norm(x)", (IMAGE,)),
    "normalize, (4096,256)": ("F.normalize(x, dim=1)", ((4096, 256),)),
    "mse_loss, 2^20": ("F.mse_loss(x, w)", ((1 << 20,), (1 << 20,))),
    "smooth_l1_loss, 2^20": ("F.smooth_l1_loss(x, w)", ((1 << 20,), (1 << 20,))),
    "softmax of a transposed matrix, 1024^2": ("torch.softmax(x.t(), 1)", ((1024, 1024),)),
    "huber_loss, 2^20": ("F.huber_loss(x, w, delta=0.5)", ((1 << 20,), (1 << 20,))),
    "l1_loss, 2^23": ("F.l1_loss(x, w)", ((1 << 23,), (1 << 23,))),
    "cosine_similarity, (4096,256)": (
        "F.cosine_similarity(x, w)",
        ((4096, 256), (4096, 256)),
    ),
}


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads."""
    group = "rows"
    for backward in (False, True):
        suffix = ", with backward" if backward else ""
        passes = 5 if backward else 2
        for name, (text, shapes) in OPS.items():
            work = Work(bytes=passes * FLOAT * math.prod(shapes[0]))
            build = function_of(text, backward, **normals("xwb", shapes))
            yield Workload(group, name + suffix, build, work, large="1024" in name)
        for shape in (IMAGE, (256, 512)):
            work = Work(bytes=passes * FLOAT * math.prod(shape))
            name = f"batch_norm, {shape}".replace(" ", "").replace(",(", ", (")
            yield Workload(group, name + suffix, batch_norm(shape, True, backward), work)
        for rows, classes in ((128, 10), (512, 32000), (4096, 256)):
            work = Work(bytes=(4 if backward else 1) * FLOAT * rows * classes)
            build = cross_entropy(rows, classes, backward)
            yield Workload(group, f"cross_entropy, ({rows},{classes})" + suffix, build, work)
        smooth = cross_entropy(4096, 256, backward, ", label_smoothing=0.1")
        yield Workload(group, "cross_entropy with smoothing, (4096,256)" + suffix, smooth)
    evaluate = batch_norm(IMAGE, False, False)
    yield Workload(group, "batch_norm in evaluation", evaluate, Work(bytes=8 * math.prod(IMAGE)))


WORKLOADS = tuple(make_rows())
