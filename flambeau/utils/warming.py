"""The kernels that most programs need, as a program that uses them.

`warm` runs each step; what it calls is compiled and kept on disk. Sizes matter only where they
choose a kernel, layouts where they choose a loop form.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

Step = tuple[str, Callable[[], Any]]
Progress = Callable[[int, int, str], Any]

_UNARY = (
    "neg",
    "abs",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "tanh",
    "sigmoid",
    "relu",
    "square",
    "reciprocal",
    "sin",
    "cos",
    "erf",
    "log1p",
    "expm1",
    "floor",
    "round",
    "sign",
    "isnan",
    "isfinite",
)
_BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "maximum",
    "minimum",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
)
_TENSORS_ONLY = ("maximum", "minimum")
_WHOLE = ("add", "sub", "mul", "floor_divide", "remainder", "eq", "ne", "lt", "le", "gt", "ge")
_REDUCTIONS = (
    "sum",
    "mean",
    "amax",
    "amin",
    "argmax",
    "std",
    "norm",
    "logsumexp",
    "softmax",
    "log_softmax",
)


def warm(progress: Progress | None = None) -> int:
    """Compile the common kernels into the kernel cache; how many were not there yet.

    `progress(done, total, name)` is called before each step and after the last one.
    """
    import flambeau
    from flambeau.kernels import cache

    before = cache.compiled
    program = steps(flambeau)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values do not matter here, nor what is said of them
        for done, (name, run) in enumerate(program):
            if progress is not None:
                progress(done, len(program), name)
            run()
    if progress is not None:
        progress(len(program), len(program), "")
    return cache.compiled - before


def steps(torch: Any) -> list[Step]:
    """Named calls, given the public package."""
    result: list[Step] = []
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.").removeprefix("flambeau.")
        result += [(f"{op} {name}", _pointwise(torch, op, dtype)) for op in (*_UNARY, *_BINARY)]
        result += [(f"{op} {name}", _reduction(torch, op, dtype)) for op in _REDUCTIONS]
        result.append((f"matmul {name}", partial(_products, torch, dtype)))
    result += [(f"{op} int64", _pointwise(torch, op, torch.int64)) for op in _WHOLE]
    result += [
        (f"convert {d}", partial(_convert, torch, d))
        for d in (torch.bool, torch.uint8, torch.int64)
    ]
    result += [
        ("convolution", lambda: _convolution(torch)),
        ("linear layers", lambda: _perceptron(torch)),
        ("normalisation", lambda: _normalisation(torch)),
        ("indexing", lambda: _indexing(torch)),
        ("random", lambda: _random(torch)),
    ]
    return result


def _is_binary(op: str) -> bool:
    return op in _BINARY or op in _WHOLE


def _pointwise(torch: Any, op: str, dtype: Any) -> Callable[[], Any]:
    def run() -> None:
        function = getattr(torch, op)
        x = torch.ones(4, 20, dtype=dtype)
        if not _is_binary(op):
            _forward_and_back(torch, lambda v: function(v), x)
            return
        others = [torch.ones(shape, dtype=dtype) for shape in ((4, 20), (20,), (4, 1))]
        for other in others if op in _TENSORS_ONLY else [*others, 2]:
            _forward_and_back(torch, lambda v, other=other: function(v, other), x)

    return run


def _reduction(torch: Any, op: str, dtype: Any) -> Callable[[], Any]:
    def run() -> None:
        function = getattr(torch, op)
        x = torch.ones(20, 20, dtype=dtype)
        for dim in (0, 1):
            _forward_and_back(torch, lambda v, dim=dim: function(v, dim=dim), x)
        if op in ("sum", "mean", "amax", "argmax", "std", "norm"):
            _forward_and_back(torch, function, x)

    return run


def _forward_and_back(torch: Any, function: Callable, x: Any) -> None:
    if not x.is_floating_point():
        function(x)
        return
    x = x.detach().clone().requires_grad_()
    y = function(x)
    if y.requires_grad:
        y.sum().backward()


def _products(torch: Any, dtype: Any) -> None:
    for m, k, n in ((32, 50, 10), (1, 50, 10), (300, 300, 300)):
        a = torch.ones(m, k, dtype=dtype, requires_grad=True)
        b = torch.ones(k, n, dtype=dtype, requires_grad=True)
        (a @ b).sum().backward()
    a = torch.ones(2, 8, 8, dtype=dtype, requires_grad=True)
    (a @ a).sum().backward()


def _convert(torch: Any, dtype: Any) -> None:
    torch.ones(20).to(dtype).to(torch.float32)


def _convolution(torch: Any) -> None:
    nn, functional = torch.nn, torch.nn.functional
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    out = network(torch.ones(4, 3, 32, 32)).flatten(1)
    functional.cross_entropy(out, torch.zeros(4, dtype=torch.int64)).backward()


def _perceptron(torch: Any) -> None:
    nn, optim = torch.nn, torch.optim
    network = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))
    x, y = torch.ones(32, 10), torch.ones(32, 1)
    for make in (
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9),
        lambda p: optim.Adam(p),
        lambda p: optim.AdamW(p),
    ):
        optimizer = make(network.parameters())
        for loss in (nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()):
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()


def _normalisation(torch: Any) -> None:
    network = torch.nn.Sequential(torch.nn.LayerNorm(20), torch.nn.GELU(), torch.nn.Dropout(0.1))
    network(torch.ones(4, 20, requires_grad=True)).sum().backward()


def _indexing(torch: Any) -> None:
    x = torch.ones(20, 20, requires_grad=True)
    index = torch.arange(4)
    (x[index].sum() + x[:, index].sum() + torch.cat([x, x.t()]).sum()).backward()
    torch.nn.functional.embedding(index, x).sum().backward()
    torch.where(x > 0, x, -x).sum().backward()
    x.detach().sort(), x.detach().topk(3), x.detach().cumsum(0)


def _random(torch: Any) -> None:
    state = torch.get_rng_state()
    torch.rand(20), torch.randn(20), torch.randint(0, 9, (20,)), torch.randperm(20)
    torch.set_rng_state(state)
