"""Checking derivatives against finite differences: `gradcheck` and `gradgradcheck`.

Every tensor is looked at as real numbers: a complex element counts as two. For a real functional
L = Re(conj(v) * output), PyTorch's gradient convention is dL/dRe(x) + i dL/dIm(x), so one row of
the analytical Jacobian is one backward call with v = 1, or v = i for an output's imaginary part.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import core
from ..core import Tensor
from . import grad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """An analytical gradient differs from the numerical one."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Do the gradients of `func` at `inputs` equal central differences?

    |analytical - numerical| <= atol + rtol * |numerical| must hold for every element.

    Args:
        func: takes tensors, returns a tensor or a tuple of tensors.
        inputs: its arguments; those that require gradients are checked. Use float64 or complex128.
        eps: the step of the differences.
        nondet_tol: how much two backward calls may differ.
        check_undefined_grad: with several outputs, each is differentiated alone, so the others'
            gradients are undefined; this is always done.
        check_grad_dtypes: also demand that gradients have the inputs' dtypes.
        check_batched_grad: also compare `is_grads_batched` with single calls.
        fast_mode: accepted; the whole Jacobian is compared either way.
        raise_exception: raise instead of returning False.

    >>> import flambeau as torch
    >>> x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(lambda x: x * x, (x,))
    True
    """
    if check_forward_ad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck: there is no forward-mode differentiation to check")
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        _check_inputs(arguments)
        if check_backward_ad:
            _check_all(func, arguments, eps, atol, rtol, nondet_tol, check_grad_dtypes)
        if check_batched_grad:
            _check_batched(func, arguments)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Do the second derivatives of `func` equal central differences of the first?

    `grad_outputs` are the cotangents; random ones when left out. The rest is as in `gradcheck`.

    >>> import flambeau as torch
    >>> x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradgradcheck(lambda x: x * x * x, (x,))
    True
    """
    if check_fwd_over_rev:
        raise NotImplementedError(
            "gradgradcheck: there is no forward-mode differentiation to check"
        )
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    if grad_outputs is None:
        outputs = _differentiable(_call(func, arguments))
        cotangents = tuple(_random_like(o, gen_non_contig_grad_outputs) for o in outputs)
    else:
        cotangents = grad_outputs if isinstance(grad_outputs, tuple) else (grad_outputs,)
    count = len(cotangents)

    def first_derivatives(*args: Any) -> tuple:
        own, given = args[:-count], args[-count:]
        own = tuple(_alias(a) if _needs(a) else a for a in own)
        outputs = _differentiable(_call(func, own))
        wanted = tuple(a for a in own if _needs(a))
        found = grad(outputs, wanted, given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_derivatives,
        arguments + cotangents,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        fast_mode=fast_mode,
        masked=masked,
    )


def _needs(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _alias(t: Tensor) -> Tensor:
    # func may write in place, which a leaf does not allow
    return core.alias(t) if t.is_leaf else t


def _call(func: Callable[..., Any], arguments: tuple) -> tuple:
    result = func(*arguments)
    return (
        result
        if isinstance(result, tuple)
        else tuple(result)
        if isinstance(result, list)
        else (result,)
    )


def _differentiable(outputs: tuple) -> tuple:
    return tuple(o for o in outputs if _needs(o))


def _random_like(o: Tensor, spread: bool) -> Tensor:
    """Random numbers of o's shape and dtype that require a gradient; `spread`: not contiguous."""
    import random

    draw = random.Random(o.numel() + 17)
    count = o.numel() * (2 if spread else 1)
    numbers: list = [draw.gauss(0, 1) for _ in range(count)]
    if o.is_complex():
        numbers = [complex(x, draw.gauss(0, 1)) for x in numbers]
    flat = core.from_data(numbers, o.dtype) if count else core.empty((0,), o.dtype)
    if spread:
        strides = [2 * s for s in core.empty(tuple(o.shape), o.dtype).stride()]
        return core.restride(flat, tuple(o.shape), strides).detach().requires_grad_()
    return core.view(flat, tuple(o.shape)).detach().requires_grad_()


def _check_inputs(arguments: tuple) -> None:
    """At least one input must require a gradient, and none may repeat elements in memory."""
    if not any(_needs(a) for a in arguments):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the "
            "them have "
            "requires_grad=True."
        )
    for i, a in enumerate(arguments):
        if not _needs(a):
            continue
        if a.dtype.itemsize != (16 if a.is_complex() else 8):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. "
                "This check will likely fail if all the inputs are not of double precision "
                "floating "
                "point or complex.",
                stacklevel=3,
            )
        if any(s == 0 and n > 1 for s, n in zip(a.stride(), a.shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You "
                "should call "
                ".contiguous on the input before passing it to gradcheck."
            )


def _check_all(
    func: Callable,
    arguments: tuple,
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_dtypes: bool,
) -> None:
    wanted = [i for i, a in enumerate(arguments) if _needs(a)]
    outputs = _call(func, arguments)
    checked = [o for o, out in enumerate(outputs) if isinstance(out, Tensor) and _is_float(out)]
    if not any(_needs(outputs[o]) for o in checked):
        _check_flat(func, arguments, wanted, checked, eps, atol)
        return
    numerical = _numerical(func, arguments, wanted, checked, eps)
    for o in checked:
        if not _needs(outputs[o]):
            continue
        rows = _analytical(func, arguments, wanted, o, nondet_tol, check_dtypes)
        for k, i in enumerate(wanted):
            _compare(rows[k], numerical[k, o], atol, rtol, o, i)


def _is_float(t: Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def _check_flat(
    func: Callable, arguments: tuple, wanted: list, checked: list, eps: float, atol: float
) -> None:
    """Outputs without history: the numerical gradient must be zero."""
    import numpy as np

    for table in _numerical(func, arguments, wanted, checked, eps).values():
        if not np.allclose(table, 0, rtol=0, atol=atol):
            raise GradcheckError("Numerical gradient for function expected to be zero")


def _reals(t: Tensor) -> Any:
    """Elements of t as a flat array of real numbers: real and imaginary parts in turn."""
    import numpy as np

    flat = np.array(
        t.detach().tolist(), dtype=np.complex128 if t.is_complex() else np.float64
    ).reshape(-1)
    return flat.view(np.float64)


def _elements(t: Tensor) -> Iterator[int]:
    """Offset of every element in t's memory, in row-major order."""
    for index in itertools.product(*[range(n) for n in t.shape]):
        yield sum(i * s for i, s in zip(index, t.stride(), strict=True))


def _numerical(
    func: Callable, arguments: tuple, wanted: Sequence[int], checked: Sequence[int], eps: float
) -> dict[tuple[int, int], Any]:
    """Central differences: (position in wanted, output) -> array of (input reals, output reals)."""
    import numpy as np

    tables: dict[tuple[int, int], list] = {(k, o): [] for k in range(len(wanted)) for o in checked}
    for k, i in enumerate(wanted):
        steps = (eps, eps * 1j) if arguments[i].is_complex() else (eps,)
        for offset in _elements(arguments[i]):
            for step in steps:
                above = _shifted(func, arguments, i, offset, step, checked)
                below = _shifted(func, arguments, i, offset, -step, checked)
                for o, a, b in zip(checked, above, below, strict=True):
                    tables[k, o].append((a - b) / (2 * eps))
    return {key: np.array(rows).reshape(len(rows), -1) for key, rows in tables.items()}


def _shifted(
    func: Callable, arguments: tuple, i: int, offset: int, step: complex, checked: Sequence[int]
) -> list:
    """The outputs (as reals) with one element of argument i moved."""
    element = core.restride(arguments[i].data, (), (), offset)
    before = element.item()
    core.copy_plain(element, core.from_data(before + step, arguments[i].dtype))
    try:
        outputs = _call(func, arguments)
        return [_reals(outputs[o]) for o in checked]
    finally:
        core.copy_plain(element, core.from_data(before, arguments[i].dtype))


def _analytical(
    func: Callable,
    arguments: tuple,
    wanted: Sequence[int],
    o: int,
    nondet_tol: float,
    check_dtypes: bool,
) -> list:
    """Backward calls, one per real of output o: per input, (input reals, output reals)."""
    import numpy as np

    output = _call(func, arguments)[o]
    tensors = [arguments[i] for i in wanted]
    columns: list[list] = [[] for _ in wanted]
    units = (1, 1j) if output.is_complex() else (1,)
    for position in range(output.numel()):
        for unit in units:
            cotangent = _unit(output, position, unit)
            found = grad(output, tensors, cotangent, retain_graph=True, allow_unused=True)
            again = grad(output, tensors, cotangent, retain_graph=True, allow_unused=True)
            for k, (g, h, x) in enumerate(zip(found, again, tensors, strict=True)):
                _check_shape(g, x, check_dtypes)
                row = np.zeros(_reals(x).shape) if g is None else _reals_as(g, x)
                if (
                    g is not None
                    and h is not None
                    and not np.allclose(
                        row, _reals_as(h, x), rtol=0, atol=nondet_tol, equal_nan=True
                    )
                ):
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and "
                        "grad_output "
                        "multiple times gives different values, although analytical gradient "
                        "matches "
                        f"numerical gradient. The tolerance for nondeterminism was {nondet_tol}."
                    )
                columns[k].append(row)
    return [
        np.array(c).T if c else np.zeros((_reals(x).size, 0))
        for c, x in zip(columns, tensors, strict=True)
    ]


def _unit(output: Tensor, position: int, unit: complex) -> Tensor:
    """A cotangent that is `unit` at one element and 0 elsewhere."""
    numbers: list[complex] = [0] * output.numel()
    numbers[position] = unit
    return core.view(core.from_data(numbers, output.dtype), tuple(output.shape))


def _reals_as(g: Tensor, x: Tensor) -> Any:
    import numpy as np

    values = _reals(g)
    if x.is_complex() and not g.is_complex():
        return np.stack([values, np.zeros_like(values)], axis=-1).reshape(-1)
    return values


def _check_shape(g: Tensor | None, x: Tensor, check_dtypes: bool) -> None:
    if g is None:
        return
    if g.shape != x.shape:
        raise GradcheckError(f"grad has shape {tuple(g.shape)}, its input {tuple(x.shape)}")
    if check_dtypes and g.dtype is not x.dtype:
        raise GradcheckError(f"grad has dtype {g.dtype}, its input {x.dtype}")


def _compare(analytical: Any, numerical: Any, atol: float, rtol: float, o: int, i: int) -> None:
    import numpy as np

    numerical = numerical.reshape(analytical.shape)
    if np.allclose(analytical, numerical, rtol=rtol, atol=atol):
        return
    worst = np.abs(analytical - numerical).max()
    raise GradcheckError(
        f"Jacobian mismatch for output {o} with respect to input {i} (largest difference "
        f"{worst:.6g}),\n"
        f"numerical:{numerical}\nanalytical:{analytical}\n"
    )


def _check_batched(func: Callable, arguments: tuple) -> None:
    """A batch of two cotangents must give what two calls give."""
    import numpy as np

    tensors = [a for a in arguments if _needs(a)]
    for output in _differentiable(_call(func, arguments)):
        pair = [_random_like(output, False).detach(), _random_like(output, True).detach()]
        both = core.empty((2, *output.shape), output.dtype)
        for i in range(2):
            core.copy_plain(core.basic_index(both, i), pair[i])
        batched = grad(
            output, tensors, both, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        for i in range(2):
            single = grad(output, tensors, pair[i], retain_graph=True, allow_unused=True)
            for b, s in zip(batched, single, strict=True):
                if s is not None and not np.allclose(_reals(core.basic_index(b, i)), _reals(s)):
                    raise GradcheckError(
                        "the gradient of a batch differs from the gradients one by one"
                    )
