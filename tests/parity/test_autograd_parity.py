"""Autograd beside PyTorch: the same script on both, the same answers."""

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import flambeau

pytestmark = pytest.mark.parity


def leaf(torch: ModuleType, *values: float, dtype: str = "float32") -> Any:
    return torch.tensor([float(v) for v in values], dtype=getattr(torch, dtype), requires_grad=True)


def accumulation(torch: ModuleType) -> Any:
    x = leaf(torch, 1, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    second = x.grad is first
    (x * x * x).sum().backward(create_graph=True)
    return second, x.grad is first, x.grad.requires_grad, first.tolist(), x.grad.tolist()


def hooks(torch: ModuleType) -> Any:
    x, log = leaf(torch, 1, 2), []
    x.register_hook(lambda g: log.append(("leaf", g.tolist())))
    y = x * 3
    y.register_hook(lambda g: g * 2)
    y.grad_fn.register_prehook(lambda gs: log.append(("pre", gs[0].tolist())))
    y.grad_fn.register_hook(lambda gi, go: log.append(("post", gi[0].tolist(), go[0].tolist())))
    y.retain_grad()
    x.register_post_accumulate_grad_hook(lambda p: log.append(("after", p.grad.tolist())))
    (y * y).sum().backward()
    return log, y.grad.tolist()


def views(torch: ModuleType) -> Any:
    x = leaf(torch, 1, 2, 3, 4, 5, 6)
    y = (x * 1).view(2, 3)
    a, b = y[0], y.t()
    a.mul_(3)
    b[1:].add_(a[1:].unsqueeze(1) * 2)
    y[:, 0] = x[:2] * 7
    (y * y).sum().backward()
    return y.tolist(), x.grad.tolist(), b.is_leaf, y.grad_fn.name(), b._is_view(), y._version


def names(torch: ModuleType) -> Any:
    x = leaf(torch, 1, 2)
    out, todo = [], [((x.exp() * x).sigmoid().sum() / 2).grad_fn]
    while todo:
        node = todo.pop()
        out.append(node.name())
        todo.extend(n for n, _ in node.next_functions if n is not None)
    return [n.replace("TrueDiv", "Div") for n in out]


def derivatives(torch: ModuleType) -> Any:
    x = leaf(torch, 0.3, 1.2, dtype="float64")
    y, found = (x.sin() * x.exp() + x.tanh()).sum(), []
    for _ in range(3):
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        found.append([round(v, 8) for v in g.tolist()])
        y = g.sum()
    return found


def partial(torch: ModuleType) -> Any:
    x, w, u = leaf(torch, 1, 2), leaf(torch, 3, 4), leaf(torch, 1)
    y = x * w
    z = (y * y).sum()
    found = torch.autograd.grad(z, [y, x, u], retain_graph=True, allow_unused=True)
    z.backward(inputs=[w])
    return [None if g is None else g.tolist() for g in found], w.grad.tolist(), x.grad


def functions(torch: ModuleType) -> Any:
    class Weird(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, k):
            ctx.k = k
            ctx.save_for_backward(a, b)
            ctx.mark_non_differentiable(side := a + b)
            return a * b * k, side, a.clone()

        @staticmethod
        def backward(ctx, g, _, h):
            a, b = ctx.saved_tensors
            return g * b * ctx.k + h, g * a * ctx.k, None

    a, b = leaf(torch, 1, 2), leaf(torch, 3, 4)
    out, side, copy = Weird.apply(a, b, 2)
    (out.sum() + copy.sum() * 10).backward()
    flags = [t.requires_grad for t in (out, side, copy)]
    return a.grad.tolist(), b.grad.tolist(), flags, out.grad_fn.name(), copy.output_nr


def layouts(torch: ModuleType) -> Any:
    x = torch.ones(3, 4).t().detach().requires_grad_()
    y = torch.ones(4, 3)[:, ::2].detach().requires_grad_()
    (x * 2).sum().backward()
    (y * 2).sum().backward()
    return x.grad.stride(), y.grad.stride()


def errors(torch: ModuleType) -> Any:
    def fails(run: Callable[[], Any]) -> tuple[str, str]:
        try:
            run()
        except Exception as error:
            return type(error).__name__, str(error)
        raise AssertionError("no error")

    x = leaf(torch, 1, 2)
    y = x.exp()
    z = y.sum()
    z.backward()
    w = x.exp()
    w.add_(1)
    found = [
        fails(lambda: z.backward()),
        fails(lambda: w.sum().backward()),
        fails(lambda: x.add_(1)),
        fails(lambda: x[:1].add_(1)),
        fails(lambda: (x * 2).backward()),
        fails(lambda: (x * 2).requires_grad_(False)),
        fails(lambda: torch.ones(2).sum().backward()),
        fails(lambda: torch.ones(1).expand(2).add_(1)),
    ]
    # the beginning of the message, past the op's name that Flambeau puts first
    return [(kind, text.partition("_: ")[2][:40] or text[:40]) for kind, text in found]


SCRIPTS = [accumulation, hooks, views, names, derivatives, partial, functions, layouts, errors]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda f: f.__name__)
def test_same_answer(script: Callable[[ModuleType], Any]) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = script(torch)
    assert script(flambeau) == expected
