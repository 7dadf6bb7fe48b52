"""Reductions, scans, sorting and selection."""

import math
from collections.abc import Iterator

from .common import Work, Workload, function_of, integers, normal

M = 1 << 20
FLOAT = 4


LINE, SQUARE, IMAGE, LONG = (M,), (1024, 1024), (64, 128, 28, 28), (1 << 23,)

FORWARD: dict[str, tuple[str, tuple[int, ...]]] = {
    "sum, 2^20": ("x.sum()", LINE),
    "sum, 2^23": ("x.sum()", LONG),
    "sum rows, 1024^2": ("x.sum(1)", SQUARE),
    "sum columns, 1024^2": ("x.sum(0)", SQUARE),
    "mean of the middle, (64,128,784)": ("x.mean(1)", (64, 128, 784)),
    "mean of the image, (64,128,28,28)": ("x.mean((2, 3))", IMAGE),
    "mean of all but channels": ("x.mean((0, 2, 3))", IMAGE),
    "sum of three, (2^18,3)": ("x.sum(1)", (1 << 18, 3)),
    "std, 2^20": ("x.std()", LINE),
    "var rows, 1024^2": ("x.var(1)", SQUARE),
    "max rows with indices, 1024^2": ("x.max(1)", SQUARE),
    "max columns with indices, 1024^2": ("x.max(0)", SQUARE),
    "amax, 2^20": ("x.amax()", LINE),
    "argmax, 2^20": ("x.argmax()", LINE),
    "argmax rows, 1024^2": ("x.argmax(1)", SQUARE),
    "logsumexp rows, 1024^2": ("x.logsumexp(1)", SQUARE),
    "norm, 2^20": ("x.norm()", LINE),
    "norm of rows, 1024^2": ("torch.linalg.vector_norm(x, dim=1)", SQUARE),
    "prod rows, 1024^2": ("x.prod(1)", SQUARE),
    "any, 2^20": ("(x > 9).any()", LINE),
    "cumsum, 2^20": ("x.cumsum(0)", LINE),
    "cumsum rows, 1024^2": ("x.cumsum(1)", SQUARE),
    "cumsum columns, 1024^2": ("x.cumsum(0)", SQUARE),
    "sort, 2^20": ("x.sort()", LINE),
    "sort rows, 4096x512": ("x.sort(1)", (4096, 512)),
    "argsort rows, 256x32": ("x.argsort(1)", (256, 32)),
    "topk 100, 2^20": ("x.topk(100)", LINE),
    "topk 5 of rows, 1024^2": ("x.topk(5, 1)", SQUARE),
    "median, 2^20": ("x.median()", LINE),
    "kthvalue rows, 1024^2": ("x.kthvalue(10, 1)", SQUARE),
}
INTEGER: dict[str, tuple[str, tuple[int, ...]]] = {
    "sum, int64, 2^20": ("x.sum()", LINE),
    "sort, int64, 2^20": ("x.sort()", LINE),
    "unique, int64, 2^20": ("x.unique()", LINE),
    "unique with inverse and counts, int64, 2^20": (
        "x.unique(return_inverse=True, return_counts=True)",
        LINE,
    ),
    "bincount, 2^20": ("torch.bincount(x)", LINE),
}
# What fell to slow paths: short rows of 64 bits, scans of extremes, runs, halves one by one, rows
# of few bytes, recurrences in many passes; and what still does.
SIZES = {"float16": 2, "bfloat16": 2, "float32": FLOAT, "float64": 8, "int64": 8}
SHORT = (1 << 16, 16)
ODD: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "sum of 16, float64, 2^20": ("x.sum(1)", "float64", SHORT),
    "sum of 16, int64, 2^20": ("x.sum(1)", "int64", SHORT),
    "norm of 16, float64, 2^20": ("x.norm(dim=1)", "float64", SHORT),
    "sum of 49, 2^20": ("x.sum(1)", "float32", (21399, 49)),
    "sum columns of 16, float64, 2^20": ("x.sum(0)", "float64", SHORT),
    "cummax, 2^21": ("x.cummax(0)", "float32", (2 * M,)),
    "cummin, bfloat16, 2^21": ("x.cummin(0)", "bfloat16", (2 * M,)),
    "unique_consecutive, 2^19": ("x.unique_consecutive()", "float32", (M // 2,)),
    "masked_select, 2^19": ("x.masked_select(x > 0)", "float32", (M // 2,)),
    "argwhere, 1024x512": ("x.argwhere()", "float32", (1024, 512)),
    "neg, bfloat16, 2^19": ("-x", "bfloat16", (M // 2,)),
    "cat columns, float16, (2^16,3)": ("torch.cat((x, x), 1)", "float16", (1 << 16, 3)),
    "hermite_polynomial_h, float64, 2^18": (
        "torch.special.hermite_polynomial_h(x, 5)",
        "float64",
        (M // 4,),
    ),
    "max_pool1d k3, (32,64,1024)": (
        "torch.nn.functional.max_pool1d(x, 3, 1, 1)",
        "float32",
        (32, 64, 1024),
    ),
    "trace, 2048^2": ("x.trace()", "float32", (2048, 2048)),
}
BACKWARD: dict[str, tuple[str, tuple[int, ...]]] = {
    "sum, with backward, 2^20": ("x.sum()", LINE),
    "mean rows, with backward, 1024^2": ("x.mean(1)", SQUARE),
    "std, with backward, 2^20": ("x.std()", LINE),
    "max rows, with backward, 1024^2": ("x.max(1)", SQUARE),
    "logsumexp rows, with backward, 1024^2": ("x.logsumexp(1)", SQUARE),
    "norm, with backward, 2^20": ("x.norm()", LINE),
    "cumsum rows, with backward, 1024^2": ("x.cumsum(1)", SQUARE),
    "logcumsumexp rows, with backward, 512^2": ("x.logcumsumexp(1)", (512, 512)),
    "cummax, with backward, 2^20": ("x.cummax(0)", LINE),
    "trapezoid rows, with backward, 1024^2": ("torch.trapezoid(x)", SQUARE),
    "sort rows, with backward, 1024^2": ("x.sort(1)", SQUARE),
    "topk 5 of rows, with backward, 1024^2": ("x.topk(5, 1)", SQUARE),
}


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads; each must at least read its input once."""
    group = "reductions"
    for name, (text, shape) in FORWARD.items():
        work = Work(bytes=FLOAT * math.prod(shape))
        yield Workload(
            group, name, function_of(text, x=normal(*shape)), work, large=math.prod(shape) > M
        )
    for name, (text, shape) in INTEGER.items():
        build = function_of(text, x=integers(0, 1000, *shape))
        yield Workload(group, name, build, Work(bytes=8 * math.prod(shape)))
    for name, (text, dtype, shape) in ODD.items():
        build = function_of(text, x=normal(*shape, dtype=dtype))
        yield Workload(group, name, build, Work(bytes=SIZES[dtype] * math.prod(shape)))
    for name, (text, shape) in BACKWARD.items():
        work = Work(bytes=2 * FLOAT * math.prod(shape))
        yield Workload(group, name, function_of(text, backward=True, x=normal(*shape)), work)


WORKLOADS = tuple(make_rows())
