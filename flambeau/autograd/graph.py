"""The graph itself: nodes, edges, hooks on saved tensors and on several gradients at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from .. import core
from ..core import Node, Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class GradientEdge(NamedTuple):
    """Where a tensor's gradient goes: a node, and which of its outputs the tensor is."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge of a tensor that requires a gradient; backward and grad take it in the tensor's
    stead.

    >>> import flambeau as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.autograd.graph.get_gradient_edge(x * 2).node.name()
    'MulBackward0'
    """
    node, output_nr = core.gradient_edge(tensor)
    if node is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    return GradientEdge(node, output_nr)


class _Disabled(threading.local):
    message: str | None = None


_disabled = _Disabled()


class saved_tensors_hooks:
    """Inside the block, tensors saved for backward go through `pack_hook`, and back through
    `unpack_hook`.

    `unpack_hook(pack_hook(t))` must hold the same values as t. What pack_hook returns is kept by
    the graph.

    >>> import flambeau as torch
    >>> def pack(t):
    ...     return t.tolist()
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(pack, torch.tensor):
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if _disabled.message is not None:
            raise RuntimeError(_disabled.message)
        core.push_saved_hooks(self.pack_hook, self.unpack_hook)

    def __exit__(self, *exc: object) -> None:
        core.pop_saved_hooks()


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors in main memory; here they are there already, so only copies are made.

    Args:
        pin_memory: accepted for compatibility.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(t: Tensor) -> Tensor:
            return t.detach().clone()

        super().__init__(pack, lambda t: t)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside the block, entering `saved_tensors_hooks` raises RuntimeError(error_message)."""
    before, _disabled.message = _disabled.message, error_message
    try:
        yield
    finally:
        _disabled.message = before


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Tell autograd that a tensor's memory was written by something it did not see."""
    for t in [tensor] if isinstance(tensor, Tensor) else tensor:
        core.bump_version(t)


class _MultiHandle:
    """Removes a hook that sits on several tensors."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take the hook away."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _MultiHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor],
    fn: Callable[[Sequence[Tensor | None]], None] | Callable[[Tensor], None],
    *,
    mode: Literal["all", "any"] = "all",
) -> _MultiHandle:
    """Call fn once per backward, with the gradients of several tensors.

    Args:
        tensors: tensors that require gradients.
        fn: called with all gradients (None where there is none), or with the first one to arrive.
        mode: "all" waits for the gradients of all tensors that this backward reaches; "any" does
            not.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    if mode == "any":
        return _hook_first(tensors, fn)
    return _hook_all(tensors, fn)


def _hook_first(tensors: Sequence[Tensor], fn: Callable) -> _MultiHandle:
    last_run: list[int] = [-1]
    lock = threading.Lock()

    def hook(grad: Tensor) -> None:
        run = core.current_run()
        with lock:
            if last_run[0] == run:
                return
            last_run[0] = run
        fn(grad)

    return _MultiHandle([t.register_hook(hook) for t in tensors])


def _hook_all(tensors: Sequence[Tensor], fn: Callable) -> _MultiHandle:
    waiting: dict[int, list] = {}  # backward call -> [gradients, how many are still expected]
    lock = threading.Lock()
    edges = [core.gradient_edge(t)[0] for t in tensors]

    def make_hook(i: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            run = core.current_run()
            with lock:
                if run not in waiting:
                    waiting[run] = [[None] * len(tensors), sum(core.will_run(n) for n in edges)]
                entry = waiting[run]
                entry[0][i] = grad
                entry[1] -= 1
                if entry[1] > 0:
                    return
                del waiting[run]
            fn(entry[0])

        return hook

    return _MultiHandle([t.register_hook(make_hook(i)) for i, t in enumerate(tensors)])
