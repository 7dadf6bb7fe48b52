"""Derivatives of functions: `vjp`, `jvp`, `jacobian`, `hessian`, `hvp`, `vhp`.

Functions take and return a tensor or a tuple of tensors; results keep that form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import core
from ..core import Tensor
from . import grad
from .grad_mode import enable_grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and v times the Jacobian: sum_j v_j d out_j / d in_i.

    Args:
        v: of the output's shape; may be left out for an output of one element.
        create_graph: let the results be differentiated again.
        strict: raise when an output does not depend on an input, instead of giving zeros.

    >>> import flambeau as torch
    >>> torch.autograd.functional.vjp(lambda x: x * x, torch.tensor([1.0, 2.0]), torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        xs, single = _prepare(inputs, "inputs", create_graph)
        outs, single_out = _outputs(func(*xs), "vjp", strict)
        vs = _cotangents(v, outs)
        results = _grad(outs, xs, vs, create_graph)
        results = _fill(results, xs, strict, "vjp")
    return _finish(outs, single_out, create_graph), _finish(results, single, create_graph)


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and the Jacobian times v: sum_i d out_j / d in_i v_i.

    The vjp is linear in its cotangent; differentiating it by that gives the jvp (two backward
    passes).

    >>> import flambeau as torch
    >>> torch.autograd.functional.jvp(lambda x: x * x, torch.tensor([1.0, 2.0]), torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        xs, _ = _prepare(inputs, "inputs", create_graph)
        vs = _tangents(v, xs)
        outs, single_out = _outputs(func(*xs), "jvp", strict)
        dual = tuple(_zeros_like(o).requires_grad_() for o in outs)
        first = _grad(outs, xs, dual, True)
        first = _fill(first, xs, strict, "jvp")
        results = _grad(first, dual, vs, create_graph)
        results = _fill(results, outs, strict, "jvp")
    return _finish(outs, single_out, create_graph), _finish(results, single_out, create_graph)


def jacobian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """d func / d inputs: a tensor of shape out.shape + in.shape for every pair of output and input.

    A tensor for one input and output; a tuple where one of them is a tuple; a tuple of tuples,
    outputs
    first, where both are. `vectorize` is accepted: rows are computed one at a time either way.

    >>> import flambeau as torch
    >>> torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(
            "Expected strategy to be either 'forward-mode' or 'reverse-mode'. Hint: If your "
            "function has "
            "more outputs than inputs, 'forward-mode' tends to be more performant. Otherwise, "
            "prefer to "
            "use 'reverse-mode'."
        )
    if strategy == "forward-mode":
        return _forward_jacobian(func, inputs, create_graph, strict)
    with enable_grad():
        xs, single_in = _prepare(inputs, "inputs", create_graph)
        outs, single_out = _outputs(func(*xs), "jacobian", strict)
        table = tuple(_rows(o, xs, create_graph, strict) for o in outs)
    finished = tuple(_finish(row, single_in, create_graph) for row in table)
    return finished[0] if single_out else finished


def _rows(out: Tensor, xs: tuple, create_graph: bool, strict: bool) -> tuple:
    """d out / d x for every x, stacked over out's elements."""
    from ..ops import stack, zeros

    rows: list[list] = [[] for _ in xs]
    for i in range(out.numel()):
        unit = _zeros_like(out)
        core.copy_plain(core.basic_index(core.view(unit, (-1,)), i), core.from_data(1, out.dtype))
        found = _grad((out,), xs, (unit,), create_graph, keep=True)
        for column, g in zip(rows, _fill(found, xs, strict, "jacobian"), strict=True):
            column.append(g)
    return tuple(
        stack(column).reshape(tuple(out.shape) + tuple(x.shape))
        if column
        else zeros(tuple(out.shape) + tuple(x.shape), dtype=x.dtype)
        for column, x in zip(rows, xs, strict=True)
    )


def _forward_jacobian(func: Callable, inputs: Any, create_graph: bool, strict: bool) -> Any:
    if create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` '
            "are not supported together (yet). Please either set `create_graph=False` or "
            '`strategy="reverse-mode"`.'
        )
    return jacobian(func, inputs, create_graph, strict)


def hessian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of a function with one output element: the Jacobian of its gradient.

    >>> import flambeau as torch
    >>> torch.autograd.functional.hessian(lambda x: (x * x * x).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    _, single = _as_tuple(inputs, "inputs")

    def scalar(*xs: Tensor) -> Tensor:
        outs, single_out = _as_tuple(func(*xs), "outputs of the user-provided function")
        if not single_out or outs[0].numel() != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should contain a single "
                "element"
            )
        return core.view(outs[0], ()) if outs[0].ndim else outs[0]

    def gradient(*xs: Tensor) -> tuple:
        found = jacobian(scalar, xs if not single else xs[0], create_graph=True, strict=strict)
        return found if isinstance(found, tuple) else (found,)

    table = jacobian(gradient, inputs, create_graph=create_graph, strict=strict)
    return table[0] if single else table


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and v times the Hessian of a function with one output element."""
    with enable_grad():
        xs, single = _prepare(inputs, "inputs", create_graph)
        vs = _tangents(v, xs)
        outs = _scalar_outputs(func(*xs), "vhp", strict)
        first = _fill(_grad(outs, xs, None, True), xs, strict, "vhp")
        results = _fill(_grad(first, xs, vs, create_graph), xs, strict, "vhp")
    return _finish(outs, True, create_graph), _finish(results, single, create_graph)


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and the Hessian of a function with one output element times v.

    >>> import flambeau as torch
    >>> x, v = torch.tensor([1.0, 2.0]), torch.ones(2)
    >>> torch.autograd.functional.hvp(lambda x: (x * x * x).sum(), x, v)
    (tensor(9.), tensor([ 6., 12.]))
    """
    with enable_grad():
        xs, single = _prepare(inputs, "inputs", create_graph)
        vs = _tangents(v, xs)
        outs = _scalar_outputs(func(*xs), "hvp", strict)
        first = _fill(_grad(outs, xs, None, True), xs, strict, "hvp")
        dual = tuple(_zeros_like(x).requires_grad_() for x in xs)
        second = _fill(_grad(first, xs, dual, True), xs, strict, "hvp")
        results = _fill(_grad(second, dual, vs, create_graph), xs, strict, "hvp")
    return _finish(outs, True, create_graph), _finish(results, single, create_graph)


# ---- shared steps
# ------------------------------------------------------------------------------------


def _as_tuple(value: Any, what: str) -> tuple[tuple, bool]:
    """The tensors as a tuple, and whether there was just one outside any tuple."""
    single = not isinstance(value, tuple | list)
    items = (value,) if single else tuple(value)
    for i, item in enumerate(items):
        if not isinstance(item, Tensor):
            where = f"{what} must be" if single else f"{what} at index {i} must be"
            raise TypeError(
                f"The {where} either a Tensor or a tuple of Tensors, got {type(item).__name__}"
            )
    return items, single


def _prepare(inputs: Any, what: str, create_graph: bool) -> tuple[tuple, bool]:
    """The inputs as tensors that require gradients, without touching the user's."""
    items, single = _as_tuple(inputs, what)
    if create_graph:  # the user's own history goes on through an alias
        return tuple(core.alias(t) if t.requires_grad else _fresh(t) for t in items), single
    return tuple(_fresh(t) for t in items), single


def _fresh(t: Tensor) -> Tensor:
    return t.detach().requires_grad_()


def _outputs(value: Any, what: str, strict: bool) -> tuple[tuple, bool]:
    outs, single = _as_tuple(value, "outputs of the user-provided function")
    for i, o in enumerate(outs):
        if strict and not o.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The "
                "outputs must be "
                f"computed in a differentiable manner from the input when running {what} in "
                "strict mode."
            )
    return outs, single


def _scalar_outputs(value: Any, what: str, strict: bool) -> tuple:
    outs, single = _outputs(value, what, strict)
    if not single or outs[0].numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {what} should contain a single element"
        )
    return outs


def _cotangents(v: Any, outs: tuple) -> tuple:
    if v is None:
        if len(outs) != 1 or outs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a "
                "single element."
            )
        return (None,)
    return _matching(v, outs)


def _tangents(v: Any, xs: tuple) -> tuple:
    if v is None:
        if len(xs) != 1 or xs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the input to the user-provided function is a "
                "single Tensor "
                "with a single element."
            )
        from ..ops import ones_like

        return (ones_like(xs[0].detach()),)
    return _matching(v, xs)


def _matching(v: Any, others: tuple) -> tuple:
    vs, _ = _as_tuple(v, "v")
    if len(vs) != len(others):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(others)} but got {len(vs)}."
        )
    for i, (a, b) in enumerate(zip(vs, others, strict=True)):
        if a.shape != b.shape:
            raise RuntimeError(
                f"v has invalid size at index {i}: should be {tuple(b.shape)} but got "
                f"{tuple(a.shape)}."
            )
    return vs


def _grad(
    outs: tuple, xs: tuple, vs: tuple | None, create_graph: bool, keep: bool = False
) -> tuple:
    """Gradients; None for everything no output depends on."""
    given = (None,) * len(outs) if vs is None else vs
    pairs = [(o, v) for o, v in zip(outs, given, strict=True) if o.requires_grad]
    if not pairs:
        return (None,) * len(xs)
    return grad(
        [o for o, _ in pairs],
        xs,
        [v for _, v in pairs],
        retain_graph=True if keep else None,
        create_graph=create_graph,
        allow_unused=True,
    )


def _fill(found: tuple, like: tuple, strict: bool, what: str) -> tuple:
    if strict and any(g is None for g in found):
        i = [g is None for g in found].index(True)
        raise RuntimeError(
            f"The output of the user-provided function is independent of input {i}. This is not "
            "allowed in "
            f"strict mode ({what})."
        )
    return tuple(_zeros_like(x) if g is None else g for g, x in zip(found, like, strict=True))


def _zeros_like(t: Tensor) -> Tensor:
    from ..ops import zeros

    return zeros(tuple(t.shape), dtype=t.dtype)


def _finish(items: tuple, single: bool, create_graph: bool) -> Any:
    """The user's form of a result; without history unless asked for."""
    if not create_graph:
        items = tuple(t.detach() for t in items)
    return items[0] if single else items
