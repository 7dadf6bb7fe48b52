"""Automatic differentiation: `backward`, `grad`, custom functions, gradient modes and checks.

The graph and the engine are in the core; this package is their public face.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from .grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

_FROM = {
    "Function": "function",
    "NestedIOFunction": "function",
    "detect_anomaly": "anomaly_mode",
    "set_detect_anomaly": "anomaly_mode",
    "Variable": "variable",
}
_MODULES = frozenset(("anomaly_mode", "function", "functional", "graph", "variable"))


def __getattr__(name: str) -> Any:
    if name in _FROM:
        value = getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of the sum of `tensors`, weighted by `grad_tensors`, to the leaves'
    `.grad`.

    Args:
        tensors: a tensor (or gradient edge), or a sequence of them.
        grad_tensors: for each tensor its gradient, of the same shape; None for a scalar stands for
            1.
        retain_graph: keep what the graph saved for another call; `create_graph` when left out.
        create_graph: record the gradients' own computation, to differentiate it again.
        grad_variables: the older name of `grad_tensors`.
        inputs: accumulate for these tensors only.

    Raises:
        RuntimeError: a tensor needs no gradient, shapes differ, or the graph was freed before.

    >>> import flambeau as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.backward((x * x).sum())
    >>> x.grad
    tensor([2., 4.])
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                "`backward()`. "
                "Please only use `grad_tensors`."
            )
        grad_tensors = grad_variables
    wanted = None if inputs is None else _listed(inputs)
    if wanted is not None and not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    roots = _listed(tensors)
    grads = _start_gradients(roots, _gradients_given(grad_tensors, len(roots)))
    if wanted is not None:
        for t in wanted:
            if isinstance(t, Tensor):
                t.retain_grad()
        wanted = _values_of(wanted)
    roots, grads = _values_of(roots), _gradients_of_values(roots, grads)
    keep = create_graph if retain_graph is None else retain_graph
    core.run_backward(roots, grads, bool(keep), bool(create_graph), wanted, True)


def backward_from(
    tensor: Tensor, gradient: Any, retain_graph: bool | None, create_graph: bool, inputs: Any
) -> None:
    """`Tensor.backward` with arguments, or of a subclass."""
    if type(tensor) is not Tensor:
        from .. import _modes

        overloaded = _modes.find_overloaded((tensor,))
        if overloaded:
            method = vars(Tensor)["backward"]
            kwargs = {
                "gradient": gradient,
                "retain_graph": retain_graph,
                "create_graph": create_graph,
                "inputs": inputs,
            }
            return _modes.call_overrides(method, overloaded, (tensor,), kwargs)
    return backward(tensor, gradient, retain_graph, create_graph, inputs=inputs)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs`, weighted by `grad_outputs`, with respect to `inputs`.

    Args:
        outputs, inputs: a tensor (or gradient edge), or a sequence of them.
        grad_outputs: for each output its gradient, of the same shape; None for a scalar stands for
            1.
        retain_graph: keep what the graph saved for another call; `create_graph` when left out.
        create_graph: record the gradients' own computation, to differentiate it again.
        only_inputs: deprecated; only True.
        allow_unused: give None for an input that no output depends on, instead of an error.
        is_grads_batched: the first dimension of every `grad_outputs` counts vectors, and of the
            results.
        materialize_grads: give zeros instead of None.

    >>> import flambeau as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x**2, x)
    (tensor(6.),)
    """
    if not only_inputs:
        raise ValueError("only_inputs=False is not supported: use autograd.backward to fill .grad")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    keep = bool(create_graph if retain_graph is None else retain_graph)
    roots, wanted = _listed(outputs), _listed(inputs)
    given = _gradients_given(grad_outputs, len(roots))
    if is_grads_batched:
        found = _batched(roots, wanted, given, keep, bool(create_graph))
    else:
        grads = _gradients_of_values(roots, _start_gradients(roots, given))
        ends = _values_of(wanted)
        found = core.run_backward(_values_of(roots), grads, keep, bool(create_graph), ends, False)
        if ends is not wanted:
            found = [_as_sparse(g, x) for g, x in zip(found, wanted, strict=True)]
    return tuple(
        [
            _missing(x, allow_unused, materialize_grads) if g is None else g
            for g, x in zip(found, wanted, strict=True)
        ]
    )


def _batched(
    roots: list, wanted: list, given: list, keep: bool, create_graph: bool
) -> list[Tensor | None]:
    """One backward per vector of the batch; the results stacked."""
    from ..ops import stack

    sizes = {len(g) for g in given if g is not None}
    if len(sizes) != 1:
        raise RuntimeError(
            "is_grads_batched: every grad_outputs needs the same first dimension, got "
            f"{sorted(sizes)}"
        )
    count = sizes.pop()
    rows = []
    for i in range(count):
        grads = _start_gradients(roots, [None if g is None else g[i] for g in given])
        last = i == count - 1
        rows.append(core.run_backward(roots, grads, keep or not last, create_graph, wanted, False))
    return [
        None if column[0] is None else stack(list(column)) for column in zip(*rows, strict=True)
    ]


def _missing(x: Any, allow_unused: bool, materialize: bool) -> Tensor | None:
    if not allow_unused:
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set "
            "allow_unused=True if this is the desired behavior."
        )
    if not materialize:
        return None
    from ..ops import zeros_like

    return zeros_like(x)


def _listed(value: Any) -> list:
    if isinstance(value, Tensor) or _is_edge(value):
        return [value]
    return list(value)


def _is_edge(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "output_nr")


def _values_of(tensors: list) -> list:
    """The values in place of each sparse tensor: they have its history."""
    if not core.any_sparse(tensors):
        return tensors
    return [t.value if core.any_sparse([t]) else t for t in tensors]


def _gradients_of_values(roots: list, grads: list) -> list:
    """The gradients of each root's values."""
    if not core.any_sparse(roots):
        return grads
    return [t._part_of(g) if core.any_sparse([t]) else g for t, g in zip(roots, grads, strict=True)]


def _as_sparse(gradient: Tensor | None, x: Any) -> Tensor | None:
    """The gradient of a sparse tensor, from that of its values."""
    return gradient if gradient is None or not core.any_sparse([x]) else x._like(gradient)


def _gradients_given(grads: Any, count: int) -> list:
    if grads is None:
        return [None] * count
    grads = [grads] if isinstance(grads, Tensor) else list(grads)
    if len(grads) != count:
        raise RuntimeError(f"got {count} tensors and {len(grads)} gradients")
    return grads


def _start_gradients(roots: Sequence, grads: Sequence) -> list[Tensor]:
    """A gradient for every root: the one given, checked, or 1 for a scalar."""
    return [_start(i, t, g) for i, (t, g) in enumerate(zip(roots, grads, strict=True))]


def _start(i: int, root: Any, gradient: Any) -> Tensor:
    if gradient is None:
        from ..ops import ones_like

        if not isinstance(root, Tensor):
            raise RuntimeError("a gradient edge has no shape: give its gradient explicitly")
        _check_scalar(i, root)
        before = core.set_grad_enabled(False)
        try:
            return ones_like(root)
        finally:
            core.set_grad_enabled(before)
    if not isinstance(gradient, Tensor):
        raise TypeError(
            f"gradients can be either Tensors or None, but got {type(gradient).__name__}"
        )
    if isinstance(root, Tensor):
        _check_start(i, root, gradient)
    return gradient


def _check_scalar(i: int, root: Tensor) -> None:
    if not root.requires_grad:
        return  # the engine says what is wrong
    if root.numel() != 1:
        raise RuntimeError(
            "grad can be implicitly created only for scalar outputs, got shape "
            f"{tuple(root.shape)} for "
            f"element {i}: pass a gradient of that shape"
        )
    if not root.is_floating_point():
        raise RuntimeError(
            f"grad can be implicitly created only for real scalar outputs but got {root.dtype}"
        )


def _check_start(i: int, root: Tensor, gradient: Tensor) -> None:
    if gradient.shape != root.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {gradient.shape} and "
            f"output[{i}] has a "
            f"shape of {root.shape}."
        )
    if gradient.is_complex() != root.is_complex():
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. "
            f"Mismatch in dtype: grad_output[{i}] has a dtype of {gradient.dtype} and "
            f"output[{i}] has a "
            f"dtype of {root.dtype}."
        )


# Here and now: the function must be what the attribute holds, not the submodule of the same name.
from .gradcheck import GradcheckError, gradcheck, gradgradcheck  # noqa: E402
