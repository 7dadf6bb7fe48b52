"""Elementwise functions, bounded by memory or by the polynomials they evaluate."""

from collections.abc import Iterator
from typing import Any

from .common import (
    Body,
    Build,
    Maker,
    Work,
    Workload,
    forward,
    integers,
    normal,
    size_name,
    with_backward,
)

SIZES = (1 << 14, 1 << 20, 1 << 23)
UNARY = (
    "exp",
    "tanh",
    "gelu",
    "silu",
    "sigmoid",
    "log",
    "log1p",
    "sin",
    "erf",
    "sqrt",
)
BACKWARD = ("exp", "tanh", "gelu", "silu", "sigmoid", "relu", "softplus")
TARGETS = {"exp, 2^20": 0.35, "tanh, 2^20": 0.35, "sigmoid, 2^20": 0.35, "log, 2^20": 0.35}
TARGETS |= {"a + b, 2^24": 0.5, "a + b.t(), 2048^2": 0.2}


def find(torch: Any, name: str) -> Any:
    """Return the function from torch or nn.functional."""
    return getattr(torch, name, None) or getattr(torch.nn.functional, name)


def unary(name: str, count: int, dtype: str = "float32", backward: bool = False) -> Build:
    """Return a function of one tensor with values in (0.5, 1.5)."""

    def build(torch: Any) -> Body:
        x = (torch.rand(count) + 0.5).to(getattr(torch, dtype))
        f = find(torch, name)
        return with_backward(torch, f, x) if backward else forward(f, x)

    return build


def expression(text: str, **makers: Maker) -> Build:
    """Return an expression over tensors that the keywords' functions make."""

    def build(torch: Any) -> Body:
        return text, {"torch": torch, **{name: make(torch) for name, make in makers.items()}}

    return build


def power_backward(torch: Any) -> Body:
    """Return x**y with both gradients."""
    x, y = torch.rand(1 << 20) + 0.5, torch.rand(1 << 20)
    return with_backward(torch, torch.pow, x, y)


def product_backward(torch: Any) -> Body:
    """Return a row-broadcast product with both gradients."""
    return with_backward(torch, torch.mul, torch.randn(1024, 1024), torch.randn(1024))


def dropout(torch: Any) -> Body:
    """Return dropout in training."""
    return forward(torch.nn.functional.dropout, torch.randn(1 << 20))


M = 1 << 20
FLOAT = 4


def expressions() -> dict[str, tuple[Build, int]]:
    """Return builders by name with the bytes each must move."""
    square, big = normal(1024, 1024), normal(1 << 24)
    row, column = normal(1024), normal(1024, 1)
    count, short = integers(1, 100, 1 << 20), normal(1 << 20, dtype="bfloat16")
    return {
        "a + b, 2^24": (expression("a + b", a=big, b=big), 3 * FLOAT << 24),
        "a + b, 2^20": (expression("a + b", a=square, b=square), 3 * FLOAT * M),
        "a / b, 2^20": (expression("a / b", a=square, b=square), 3 * FLOAT * M),
        "a + row, 2^20": (expression("a + b", a=square, b=row), 2 * FLOAT * M),
        "a + column, 2^20": (expression("a + b", a=square, b=column), 2 * FLOAT * M),
        "a * b, 2^23": (expression("a * b", a=normal(1 << 23), b=normal(1 << 23)), 12 << 23),
        "relu(a + b), 2^23": (
            expression("torch.relu(a + b)", a=normal(1 << 23), b=normal(1 << 23)),
            5 * FLOAT << 23,
        ),
        "a > b, 2^24": (expression("a > b", a=big, b=big), 9 << 24),
        "a + b, bfloat16, 2^24": (
            expression(
                "a + b", a=normal(1 << 24, dtype="bfloat16"), b=normal(1 << 24, dtype="bfloat16")
            ),
            6 << 24,
        ),
        "a + b.t(), 2048^2": (
            expression("a + b.t()", a=normal(2048, 2048), b=normal(2048, 2048)),
            3 * FLOAT << 22,
        ),
        "a + every second column, 2^20": (
            expression("a + b[:, ::2]", a=square, b=normal(1024, 2048)),
            4 * FLOAT * M,
        ),
        "a.add_(b), 2^20": (expression("a.add_(b)", a=square, b=square), 3 * FLOAT * M),
        "a.mul_(0.999), 2^23": (expression("a.mul_(0.999)", a=normal(1 << 23)), 2 * FLOAT << 23),
        "a + b, int64, 2^20": (expression("a + b", a=count, b=count), 24 * M),
        "a * b, int64, 2^20": (expression("a * b", a=count, b=count), 24 * M),
        "a // b, int64, 2^20": (expression("a // b", a=count, b=count), 24 * M),
        "int64 to float32, 2^20": (expression("a.to(torch.float32)", a=count), 12 * M),
        "float32 to bfloat16, 2^20": (expression("a.to(torch.bfloat16)", a=square), 6 * M),
        "bfloat16 to float32, 2^20": (expression("a.to(torch.float32)", a=short), 6 * M),
        "float32 to int64, 2^20": (expression("a.to(torch.int64)", a=square), 12 * M),
        "a > b, 2^20": (expression("a > b", a=square, b=square), 9 * M),
        "a == 0, 2^20": (expression("a == 0", a=square), 5 * M),
        "where(a > 0, a, b), 2^20": (
            expression(
                "torch.where(c, a, b)", a=square, b=square, c=lambda t: t.rand(1024, 1024) > 0.5
            ),
            13 * M,
        ),
        "pow(a, b), 2^20": (
            expression("a ** b", a=lambda t: t.rand(1 << 20) + 0.5, b=normal(1 << 20)),
            12 * M,
        ),
        "a ** 2, 2^20": (expression("a ** 2", a=square), 8 * M),
        "clamp, 2^20": (expression("a.clamp(-1, 1)", a=square), 8 * M),
        "maximum, 2^20": (expression("torch.maximum(a, b)", a=square, b=square), 12 * M),
        "lerp, 2^20": (expression("torch.lerp(a, b, 0.3)", a=square, b=square), 12 * M),
        "addcmul, 2^20": (
            expression("torch.addcmul(a, b, c)", a=square, b=square, c=square),
            16 * M,
        ),
        "a + b, bfloat16, 2^20": (expression("a + b", a=short, b=short), 6 * M),
        "fill_, 2^23": (expression("a.fill_(1.0)", a=normal(1 << 23)), FLOAT << 23),
        "clone, 2^23": (expression("a.clone()", a=normal(1 << 23)), 2 * FLOAT << 23),
        "rand, 2^20": (expression("torch.rand(1 << 20)"), FLOAT * M),
        "randn, 2^20": (expression("torch.randn(1 << 20)"), FLOAT * M),
    }


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads."""
    group = "elementwise"
    for count in SIZES:
        for name in UNARY:
            title = f"{name}, {size_name(count)}"
            work = Work(bytes=2 * FLOAT * count)
            target = TARGETS.get(title, 1.0)
            build = unary(name, count)
            yield Workload(group, title, build, work, target, large=count >= M)
    for dtype, size in (("float64", 8), ("bfloat16", 2), ("float16", 2)):
        for name in ("exp", "tanh", "gelu", "sin"):
            work = Work(bytes=2 * size * M)
            yield Workload(group, f"{name}, {dtype}, 2^20", unary(name, M, dtype), work)
    for name in BACKWARD:
        build = unary(name, M, backward=True)
        work = Work(bytes=5 * FLOAT * M)  # x, y, seed and again x or y read or written, dx written
        yield Workload(group, f"{name} with backward, 2^20", build, work)
    yield Workload(group, "pow(x, y) with backward, 2^20", power_backward)
    yield Workload(group, "a * row with backward, 2^20", product_backward)
    yield Workload(group, "dropout, 2^20", dropout, Work(bytes=2 * FLOAT * M))
    for name, (build, size) in expressions().items():
        target = TARGETS.get(name, 1.0)
        yield Workload(group, name, build, Work(bytes=size), target, large="2^24" in name)


WORKLOADS = tuple(make_rows())
