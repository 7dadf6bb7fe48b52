"""Computation for memory: `checkpoint` forgets activations; backward computes them again."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flambeau import Tensor, core
from flambeau.autograd import backward as run_backward
from flambeau.autograd.function import Function
from flambeau.autograd.grad_mode import enable_grad, set_grad_enabled
from flambeau.autograd.graph import saved_tensors_hooks
from flambeau.random import get_rng_state, set_rng_state

__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "checkpoint",
    "checkpoint_sequential",
    "noop_context_fn",
    "set_checkpoint_early_stop",
]

_early_stop = True


class CheckpointError(RuntimeError):
    """The second computation of a checkpointed function differs from the first."""


def noop_context_fn() -> tuple[Any, Any]:
    """The default `context_fn`: nothing special around either computation."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Inside the block, whether a recomputation ends once every saved tensor is there again."""
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Run `function(*args, **kwargs)` without keeping its activations; backward computes them
    again.

    Args:
        use_reentrant: True differentiates by a backward call inside backward: at least one
            argument must
            require a gradient, `autograd.grad` does not work through it, and keyword arguments are
            not taken. False (recommended) swaps the saved tensors only.
        context_fn: returns two contexts, for the first and the second computation.
        determinism_check: "default" compares shapes and dtypes of the saved tensors, "none"
            nothing.
        preserve_rng_state: draw the same random numbers (dropout) the second time.

    >>> import flambeau as torch
    >>> from flambeau.utils.checkpoint import checkpoint
    >>> x = torch.ones(2, requires_grad=True)
    >>> checkpoint(lambda x: x.exp().exp(), x, use_reentrant=False).sum().backward()
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly; "
            "use_reentrant=False is recommended, True is the default.",
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant:
        if kwargs:
            raise ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}")
        if context_fn is not noop_context_fn or debug:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return CheckpointFunction.apply(function, preserve_rng_state, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check must be 'default' or 'none', got {determinism_check!r}"
        )
    frame = _Frame(
        function,
        args,
        kwargs,
        context_fn,
        preserve_rng_state,
        determinism_check == "default",
        early_stop,
    )
    return frame.run()


# ---- recomputing through saved-tensor hooks
# ----------------------------------------------------------


class _Holder:
    """Stands in the graph for one saved tensor."""

    __slots__ = ("__weakref__", "dtype", "index", "shape")

    def __init__(self, index: int, t: Tensor) -> None:
        self.index = index
        self.shape = tuple(t.shape)
        self.dtype = t.dtype


class _StopRecomputation(Exception):  # noqa: N818 (a signal, not an error)
    """Everything needed is there."""


class _Frame:
    """One checkpointed call."""

    def __init__(
        self,
        function: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        context_fn: Callable,
        preserve_rng: bool,
        check: bool,
        early_stop: bool,
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.contexts = context_fn()
        self.rng_state = get_rng_state() if preserve_rng else None
        self.check = check
        self.early_stop = early_stop and _early_stop
        self.holders: list[weakref.ref[_Holder]] = []
        self.values: weakref.WeakKeyDictionary[_Holder, Tensor] = weakref.WeakKeyDictionary()
        self.filled_by = -1  # the backward call that `values` belongs to

    def run(self) -> Any:
        """The first computation."""
        with saved_tensors_hooks(self._pack, self._unpack), self.contexts[0]:
            return self.function(*self.args, **self.kwargs)

    def _pack(self, t: Tensor) -> _Holder:
        holder = _Holder(len(self.holders), t)
        self.holders.append(weakref.ref(holder))
        return holder

    def _unpack(self, holder: _Holder) -> Tensor:
        run = core.current_run()
        if self.filled_by != run or holder not in self.values:
            self.values.clear()
            self._recompute()
            self.filled_by = run
        if holder not in self.values:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the "
                "original forward "
                f"and recomputation: number {holder.index} is missing."
            )
        return self.values[holder]

    def _recompute(self) -> None:
        state = get_rng_state()
        if self.rng_state is not None:
            set_rng_state(self.rng_state)
        collector = _Collector(self)
        try:
            with (
                enable_grad(),
                saved_tensors_hooks(collector.pack, collector.unpack),
                self.contexts[1],
            ):
                self.function(*self.args, **self.kwargs)
        except _StopRecomputation:
            pass
        finally:
            if self.rng_state is not None:
                set_rng_state(state)


class _Collector:
    """Gathers the tensors that a second computation saves, in order."""

    def __init__(self, frame: _Frame) -> None:
        self.frame = frame
        self.count = 0

    def pack(self, t: Tensor) -> Tensor:
        """Give the next saved tensor to its holder."""
        frame, i = self.frame, self.count
        self.count += 1
        if i >= len(frame.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: trying to save more tensors during recomputation than "
                "during the "
                f"original forward pass ({len(frame.holders)})."
            )
        holder = frame.holders[i]()
        if holder is not None:
            self._keep(holder, t)
        if frame.early_stop and self.count == len(frame.holders):
            raise _StopRecomputation
        return t.detach()

    def _keep(self, holder: _Holder, t: Tensor) -> None:
        if self.frame.check and (holder.shape != tuple(t.shape) or holder.dtype is not t.dtype):
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have "
                "different metadata "
                f"than during the forward pass: number {holder.index} was {holder.shape} "
                f"{holder.dtype}, is "
                f"{tuple(t.shape)} {t.dtype}."
            )
        self.frame.values[holder] = t.detach()

    def unpack(self, t: Tensor) -> Tensor:
        """A backward inside the checkpointed function."""
        return t


# ---- recomputing by a backward inside backward
# ---------------------------------------------------------


class CheckpointFunction(Function):
    """The reentrant form: forward keeps no history; backward computes and differentiates anew."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        """Compute and keep the arguments."""
        ctx.run_function = run_function
        ctx.rng_state = get_rng_state() if preserve_rng_state else None
        ctx.arguments = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if args and not any(args[i].requires_grad for i in ctx.places):
            warnings.warn(
                "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=3
            )
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        """Compute again with history and run backward through it."""
        arguments = list(ctx.arguments)
        for i, t in zip(ctx.places, ctx.saved_tensors, strict=True):
            arguments[i] = t.detach().requires_grad_(t.requires_grad)
        outputs = _compute_again(ctx, arguments)
        pairs = [
            (o, g)
            for o, g in zip(outputs, grads, strict=True)
            if isinstance(o, Tensor) and o.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        run_backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *[a.grad if isinstance(a, Tensor) else None for a in arguments])


def _compute_again(ctx: Any, arguments: list) -> tuple:
    state = get_rng_state()
    if ctx.rng_state is not None:
        set_rng_state(ctx.rng_state)
    try:
        with set_grad_enabled(True):
            outputs = ctx.run_function(*arguments)
    finally:
        if ctx.rng_state is not None:
            set_rng_state(state)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run modules one after another in `segments` parts; all but the last are checkpointed.

    Args:
        functions: a Sequential, or a sequence of modules or functions of one argument.
        segments: how many parts.
        input: the first one's argument.
    """
    layers: Sequence[Callable] = list(functions)
    if not 1 <= segments <= len(layers):
        raise ValueError(
            f"checkpoint_sequential: segments must be in 1..{len(layers)}, got {segments}"
        )
    size = len(layers) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(
            _chain(layers[start : start + size]), input, use_reentrant=use_reentrant, **kwargs
        )
    return _chain(layers[size * (segments - 1) :])(input)


def _chain(layers: Sequence[Callable]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return run
