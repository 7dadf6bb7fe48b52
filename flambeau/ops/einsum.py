"""Sums of products over dimensions that letters name (Einstein's convention)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ..core import Tensor
from .matmul import matmul
from .record import composite

# ---- einsum
# ----------------------------------------------------------------------------------------------

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _refuse(message: str) -> None:
    raise RuntimeError(f"einsum(): {message}")


def _from_sublists(args: tuple) -> tuple[str, list]:
    """The equation of einsum(a, [0, 1], b, [1, 2], [0, 2])."""

    def letters(sublist: Any) -> str:
        text = ""
        for n in sublist:
            if n is not Ellipsis and not (isinstance(n, int) and 0 <= n < 52):
                raise ValueError(
                    f"einsum(): subscripts in a list must be within the range [0, 52), got {n}"
                )
            text += "..." if n is Ellipsis else _LETTERS[n]
        return text

    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    pairs = len(args) // 2 * 2
    equation = ",".join(letters(s) for s in args[1:pairs:2])
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return equation, list(args[:pairs:2])


def _read_term(term: str, position: str) -> list:
    """Labels of one term: letters, and Ellipsis once."""
    labels: list = []
    text = term.replace(" ", "")
    i = 0
    while i < len(text):
        if text[i] == ".":
            if text[i : i + 3] != "...":
                _refuse(f"found '.' for {position} that is not part of any ellipsis")
            if Ellipsis in labels:
                _refuse(f"found '.' for {position} for which an ellipsis was already found")
            labels.append(Ellipsis)
            i += 3
            continue
        if text[i] not in _LETTERS:
            _refuse(
                f"invalid subscript given at index {i} in the equation string, subscripts must be "
                "in [a-zA-Z]"
            )
        labels.append(text[i])
        i += 1
    return labels


def _name_dims(labels: list, ndim: int, position: int) -> list:
    """One label a dimension; those under the ellipsis are numbered from the right: -1, -2, ..."""
    letters = len(labels) - (Ellipsis in labels)
    extra = ndim - letters
    if extra < 0:
        _refuse(
            f"the number of subscripts in the equation ({letters}) is more than the number of "
            f"dimensions ({ndim}) for operand {position}"
        )
    if extra > 0 and Ellipsis not in labels:
        _refuse(
            f"the number of subscripts in the equation ({letters}) does not match the number of "
            f"dimensions ({ndim}) for operand {position} and no ellipsis was given"
        )
    named: list = []
    for label in labels:
        named.extend(range(-extra, 0) if label is Ellipsis else [label])
    return named


def _output_labels(text: str | None, inputs: list[list]) -> list:
    ellipsis = min((n for labels in inputs for n in labels if isinstance(n, int)), default=0)
    if text is None:
        flat = [n for labels in inputs for n in labels if isinstance(n, str)]
        return [*range(ellipsis, 0), *sorted(n for n in set(flat) if flat.count(n) == 1)]
    result: list = []
    for label in _read_term(text, "the output"):
        if label is Ellipsis:
            result.extend(range(ellipsis, 0))
            continue
        if label in result:
            _refuse(f"output subscript {label} appears more than once in the output")
        if not any(label in labels for labels in inputs):
            _refuse(
                f"output subscript {label} does not appear in the equation for any input operand"
            )
        result.append(label)
    return result


def _check_sizes(operands: list, inputs: list[list]) -> None:
    sizes: dict = {}
    for t, labels in zip(operands, inputs, strict=True):
        for n, label in zip(t.shape, labels, strict=True):
            known = sizes.setdefault(label, n)
            if known == 1:
                sizes[label] = n
            elif n not in (1, known):
                _refuse(
                    f"subscript {label} has size {n} for an operand of shape {tuple(t.shape)} "
                    "which does not broadcast with "
                    f"previously seen size {known}"
                )


def _take_diagonals(t: Tensor, labels: list) -> tuple[Tensor, list]:
    """Dimensions with the same label become one."""
    labels = list(labels)
    i = 0
    while i < len(labels):
        j = labels.index(labels[i])
        if j < i:
            if t.shape[i] != t.shape[j]:
                _refuse(
                    f"subscript {labels[i]} is repeated for an operand but the sizes don't match, "
                    f"{t.shape[i]} != {t.shape[j]}"
                )
            t = t.diagonal(0, j, i)
            label = labels.pop(i)
            labels.pop(j)
            labels.append(label)
            i = 0
            continue
        i += 1
    return t, labels


def _sum_out(t: Tensor, labels: list, keep: set) -> tuple[Tensor, list]:
    gone = [i for i, label in enumerate(labels) if label not in keep]
    if not gone:
        return t, labels
    dtype = None if t.is_floating_point() or t.is_complex() else t.dtype
    return t.sum(gone, dtype=dtype), [label for label in labels if label in keep]


def _drop_ones(t: Tensor, labels: list, other: Tensor, other_labels: list) -> tuple[Tensor, list]:
    """Without the dimensions of size 1 that the other operand has larger: they broadcast."""
    ones = [
        i for i, label in enumerate(labels)
        if t.shape[i] == 1 and label in other_labels and other.shape[other_labels.index(label)] != 1
    ]  # fmt: skip
    if not ones:
        return t, labels
    return t.squeeze(ones), [label for i, label in enumerate(labels) if i not in ones]


def _contract(x: Tensor, lx: list, y: Tensor, ly: list, keep: set) -> tuple[Tensor, list]:
    """The product of two operands, summed over labels that nothing later needs, as one batched
    product.
    """
    x, lx = _drop_ones(x, lx, y, ly)
    y, ly = _drop_ones(y, ly, x, lx)
    x, lx = _sum_out(x, lx, keep | set(ly))
    y, ly = _sum_out(y, ly, keep | set(lx))
    batch = [n for n in lx if n in ly and n in keep]
    summed = [n for n in lx if n in ly and n not in keep]
    rows, columns = [n for n in lx if n not in ly], [n for n in ly if n not in lx]
    size_of = dict(zip([*lx, *ly], [*x.shape, *y.shape], strict=True))
    labels = [*batch, *rows, *columns]
    if not summed:
        return _align(x, lx, labels) * _align(y, ly, labels), labels
    count = {
        k: math.prod(size_of[n] for n in names)
        for k, names in enumerate((batch, rows, summed, columns))
    }
    left = x.permute([lx.index(n) for n in (*batch, *rows, *summed)]).reshape(
        count[0], count[1], count[2]
    )
    right = y.permute([ly.index(n) for n in (*batch, *summed, *columns)]).reshape(
        count[0], count[2], count[3]
    )
    product = matmul(left, right) if batch else matmul(left[0], right[0])
    return product.reshape([size_of[n] for n in labels]), labels


@lru_cache(maxsize=256)
def _find_product(equation: str, x_rank: int, y_rank: int) -> tuple | None:
    """How an equation is one product of matrices: the order (None: as it is) of the dimensions of
    both operands, and the pairs of dimensions that must agree. None where it is not.
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    x, _, y = inputs.partition(",")
    if any(len(set(term)) != len(term) or not set(term) <= set(_LETTERS) for term in (x, y)):
        return None
    batch = [n for n in x if n in y and n in output]
    summed = [n for n in x if n in y and n not in output]
    rows, columns = [n for n in x if n not in y], [n for n in y if n not in x]
    if not len(summed) == len(rows) == len(columns) == 1 or (len(x), len(y)) != (x_rank, y_rank):
        return None
    if output != "".join([*batch, *rows, *columns]):
        return None
    orders = [
        [term.index(n) for n in names]
        for term, names in ((x, [*batch, *rows, *summed]), (y, [*batch, *summed, *columns]))
    ]
    x_order, y_order = (None if order == sorted(order) else tuple(order) for order in orders)
    return x_order, y_order, [(x.index(n), y.index(n)) for n in [*batch, *summed]]


def _align(t: Tensor, labels: list, wanted: list) -> Tensor:
    """Dimensions in the wanted order, size 1 for those it lacks."""
    t = t.permute([labels.index(n) for n in wanted if n in labels])
    for i, n in enumerate(wanted):
        if n not in labels:
            t = t.unsqueeze(i)
    return t


@composite(method=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sum of products of elements, dimensions named by letters (Einstein's convention).

    >>> import flambeau as torch
    >>> torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    if isinstance(equation, str) and len(operands) == 2:
        x, y = operands
        found = _find_product(equation, len(x.shape), len(y.shape))
        if found is not None and all(x.shape[i] == y.shape[j] for i, j in found[2]):
            x_order, y_order, _ = found
            x = x if x_order is None else x.permute(x_order)
            return matmul(x, y if y_order is None else y.permute(y_order))
    if not isinstance(equation, str):
        equation, tensors = _from_sublists((equation, *operands))
    else:
        nested = len(operands) == 1 and isinstance(operands[0], tuple | list)
        tensors = list(operands[0] if nested else operands)
    if not tensors:
        _refuse("must provide at least one operand")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        more = "more" if len(terms) > len(tensors) else "fewer"
        _refuse(
            f"{more} operands were provided than specified in the equation: {len(tensors)} for "
            f"{len(terms)} terms"
        )
    inputs = [
        _name_dims(_read_term(term, f"operand {i}"), t.dim(), i)
        for i, (term, t) in enumerate(zip(terms, tensors, strict=True))
    ]
    output = _output_labels(right if arrow else None, inputs)
    prepared = [_take_diagonals(t, labels) for t, labels in zip(tensors, inputs, strict=True)]
    _check_sizes([t for t, _ in prepared], [labels for _, labels in prepared])
    return _evaluate(prepared, output)


def _evaluate(operands: list[tuple[Tensor, list]], output: list) -> Tensor:
    """Contract from left to right."""
    x, labels = operands[0]
    for i, (y, ly) in enumerate(operands[1:], 1):
        keep = set(output).union(*[later for _, later in operands[i + 1 :]])
        x, labels = _contract(x, labels, y, ly, keep)
    x, labels = _sum_out(x, labels, set(output))
    return x.permute([labels.index(n) for n in output]) if labels != output else x
