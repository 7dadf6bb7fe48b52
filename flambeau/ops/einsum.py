"""Sums of products over named or numbered dimensions: einsum, tensordot, kron, cross, cdist and kin."""

from __future__ import annotations

import math
from typing import Any

from ..core import Tensor
from .dims import wrap
from .lapack import check_float, linalg
from .matmul import matmul
from .record import composite, primitive
from .reduce import vector_norm_along

# ---- einsum ----------------------------------------------------------------------------------------------

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _refuse(message: str) -> None:
    raise RuntimeError(f"einsum(): {message}")


def _from_sublists(args: tuple) -> tuple[str, list]:
    """The equation of einsum(a, [0, 1], b, [1, 2], [0, 2])."""

    def letters(sublist: Any) -> str:
        text = ""
        for n in sublist:
            if n is not Ellipsis and not (isinstance(n, int) and 0 <= n < 52):
                raise ValueError(f"einsum(): subscripts in a list must be within the range [0, 52), got {n}")
            text += "..." if n is Ellipsis else _LETTERS[n]
        return text

    if len(args) < 2:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list")
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
            _refuse(f"invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]")
        labels.append(text[i])
        i += 1
    return labels


def _name_dims(labels: list, ndim: int, position: int) -> list:
    """One label a dimension; those under the ellipsis are numbered from the right: -1, -2, ..."""
    extra = ndim - (len(labels) - (Ellipsis in labels))
    if extra < 0 or (extra > 0 and Ellipsis not in labels):
        _refuse(
            f"the number of subscripts in the equation ({len(labels) - (Ellipsis in labels)}) does not match the number of "
            f"dimensions ({ndim}) for operand {position} and no ellipsis was given"
            if extra > 0
            else f"the number of subscripts in the equation ({len(labels) - (Ellipsis in labels)}) is more than the number "
            f"of dimensions ({ndim}) for operand {position}"
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
            _refuse(f"output subscript {label} does not appear in the equation for any input operand")
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
                    f"subscript {label} has size {n} for an operand of shape {tuple(t.shape)} which does not broadcast with "
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
                    f"subscript {labels[i]} is repeated for an operand but the sizes don't match, {t.shape[i]} != {t.shape[j]}"
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
    """The product of two operands, summed over labels that nothing later needs, as one batched product."""
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
    count = {k: math.prod(size_of[n] for n in names) for k, names in enumerate((batch, rows, summed, columns))}
    left = x.permute([lx.index(n) for n in (*batch, *rows, *summed)]).reshape(count[0], count[1], count[2])
    right = y.permute([ly.index(n) for n in (*batch, *summed, *columns)]).reshape(count[0], count[2], count[3])
    product = matmul(left, right) if batch else matmul(left[0], right[0])
    return product.reshape([size_of[n] for n in labels]), labels


def _align(t: Tensor, labels: list, wanted: list) -> Tensor:
    """Dimensions in the wanted order, size 1 for those it lacks."""
    t = t.permute([labels.index(n) for n in wanted if n in labels])
    for i, n in enumerate(wanted):
        if n not in labels:
            t = t.unsqueeze(i)
    return t


@composite(method=False)
def einsum(equation, *operands):
    """Sum of products of elements, dimensions named by letters (Einstein's convention).

    >>> import flambeau as torch
    >>> torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    if not isinstance(equation, str):
        equation, operands = _from_sublists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = operands[0]
    operands = list(operands)
    if not operands:
        _refuse("must provide at least one operand")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        more = "more" if len(terms) > len(operands) else "fewer"
        _refuse(f"{more} operands were provided than specified in the equation: {len(operands)} for {len(terms)} terms")
    inputs = [
        _name_dims(_read_term(term, f"operand {i}"), t.dim(), i)
        for i, (term, t) in enumerate(zip(terms, operands, strict=True))
    ]
    output = _output_labels(right if arrow else None, inputs)
    prepared = [_take_diagonals(t, labels) for t, labels in zip(operands, inputs, strict=True)]
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


# ---- products over several dimensions ------------------------------------------------------------------


def _read_pairs(dims: Any, a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    if isinstance(dims, Tensor):
        dims = dims.tolist() if dims.dim() else dims.item()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.dim() - dims, a.dim())), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError(f"both dimension lists should have same length, got {first} and {second} (tensordot)")
    return [wrap("tensordot", d, a.dim()) for d in first], [wrap("tensordot", d, b.dim()) for d in second]


@composite(method=False, out=True)
def tensordot(a, b, dims=2):
    """Sum of products over the last dims of a and the first of b, or over two lists of dimensions.

    >>> import flambeau as torch
    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), dims=1).shape
    torch.Size([2, 4])
    """
    first, second = _read_pairs(dims, a, b)
    if a.dtype is not b.dtype:
        raise RuntimeError(f"tensordot: both inputs should have same dtype, got {a.dtype} and {b.dtype}")
    for i, j in zip(first, second, strict=True):
        if a.shape[i] == b.shape[j]:
            continue
        if a.shape[i] == 1:
            b = b.sum((j,), True)
        elif b.shape[j] == 1:
            a = a.sum((i,), True)
        else:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j} (tensordot)"
            )
    rows, columns = [d for d in range(a.dim()) if d not in first], [d for d in range(b.dim()) if d not in second]
    n_rows, n_columns = math.prod(a.shape[d] for d in rows), math.prod(b.shape[d] for d in columns)
    summed = math.prod(a.shape[d] for d in first)
    left = a.permute(*rows, *first).reshape(n_rows, summed) if a.dim() else a.reshape(1, 1)
    right = b.permute(*second, *columns).reshape(summed, n_columns) if b.dim() else b.reshape(1, 1)
    return matmul(left, right).reshape([a.shape[d] for d in rows] + [b.shape[d] for d in columns])


@composite(out=True)
def kron(input, other):
    """The Kronecker product: every element of input times other.

    >>> import flambeau as torch
    >>> torch.kron(torch.tensor([1, 2]), torch.tensor([1, 1]))
    tensor([1, 1, 2, 2])
    """
    rank = max(input.dim(), other.dim())
    a = (1,) * (rank - input.dim()) + tuple(input.shape)
    b = (1,) * (rank - other.dim()) + tuple(other.shape)
    wide_a = [n for size in a for n in (size, 1)]
    wide_b = [n for size in b for n in (1, size)]
    return (input.reshape(wide_a) * other.reshape(wide_b)).reshape([m * n for m, n in zip(a, b, strict=True)])


# ---- chains of matrices ----------------------------------------------------------------------------------


def _chain_order(sizes: list[int]) -> list[list[int]]:
    """Where to split each sub-chain for the fewest multiplications (dynamic programming)."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            cost[i][j] = min(options)
            split[i][j] = i + options.index(cost[i][j])
    return split


def _multiply_chain(matrices: list[Tensor], split: list[list[int]], i: int, j: int) -> Tensor:
    if i == j:
        return matrices[i]
    k = split[i][j]
    return matmul(_multiply_chain(matrices, split, i, k), _multiply_chain(matrices, split, k + 1, j))


@linalg("multi_dot")
def linalg_multi_dot(tensors):
    """The product of two or more matrices in the cheapest order; the first and last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0].dim(), tensors[-1].dim()
    for i, t in enumerate(tensors):
        edge = i in (0, len(tensors) - 1)
        if t.dim() != 2 and not (edge and t.dim() == 1):
            raise RuntimeError(
                f"multi_dot(): {'the first and last tensors must be 1D or 2D' if edge else f'tensor {i} must be 2D'} but got {t.dim()}D"
            )
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype. Expected {tensors[0].dtype} but got {t.dtype}"
            )
    if first == 1:
        tensors[0] = tensors[0].unsqueeze(0)
    if last == 1:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for i in range(len(tensors) - 1):
        if tensors[i].shape[1] != tensors[i + 1].shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {tuple(tensors[i].shape)} and "
                f"{tuple(tensors[i + 1].shape)} cannot be multiplied"
            )
    sizes = [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    result = _multiply_chain(tensors, _chain_order(sizes), 0, len(tensors) - 1)
    if first == 1:
        result = result.squeeze(0)
    return result.squeeze(-1) if last == 1 else result


@composite(method=False)
def chain_matmul(*matrices, out=None):
    """The product of matrices in the cheapest order; see linalg.multi_dot."""
    if len(matrices) == 1 and isinstance(matrices[0], tuple | list):
        matrices = tuple(matrices[0])
    if len(matrices) == 1:
        return matrices[0]
    return linalg_multi_dot(matrices) if out is None else linalg_multi_dot(matrices, out=out)


# ---- vectors -----------------------------------------------------------------------------------------------


def _cross(name: str, a: Tensor, b: Tensor, dim: int) -> Tensor:
    if a.dim() != b.dim():
        raise RuntimeError(f"{name}: inputs must have the same number of dimensions, got {a.dim()} and {b.dim()}")
    dim = wrap(name, dim, a.dim())
    if a.dim() == 0 or a.shape[dim] != 3 or b.shape[dim] != 3:
        sizes = [tuple(t.shape) for t in (a, b)]
        raise RuntimeError(f"{name}: inputs dimension {dim} must have length 3. Got shapes {sizes[0]} and {sizes[1]}")
    from .join import stack
    from .views import broadcast_tensors

    a, b = broadcast_tensors(a, b)
    (a0, a1, a2), (b0, b1, b2) = a.unbind(dim), b.unbind(dim)
    return stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], dim)


@linalg("cross")
def linalg_cross(input, other, *, dim=-1):
    """The cross product of 3-vectors along dim."""
    return _cross("linalg.cross", input, other, dim)


@composite(out=True)
def cross(input, other, dim=None):
    """The cross product of 3-vectors along dim (None: the first dimension of size 3)."""
    if dim is None:
        found = [i for i, n in enumerate(input.shape) if n == 3]
        if not found:
            raise RuntimeError(f"no dimension of size 3 in input of shape {tuple(input.shape)} (cross)")
        dim = found[0]
    return _cross("linalg.cross", input, other, dim)


@linalg("vecdot")
def linalg_vecdot(x, y, *, dim=-1):
    """The sum of conj(x) * y along dim."""
    check_float("linalg.vecdot", x, low_precision=True)
    return ((x.conj() if x.is_complex() else x) * y).sum(dim)


@linalg("diagonal", out=False)
def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonals of a batch of matrices, a view."""
    return A.diagonal(offset, dim1, dim2)


@composite
def trace(input):
    """The sum of a matrix's diagonal."""
    if input.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.dim()}")
    return input.diagonal().sum()


@linalg("vander", out=False)
def linalg_vander(x, *, N=None):
    """The Vandermonde matrix: powers 0 to N-1 of the elements along a new last dimension.

    >>> import flambeau as torch
    >>> torch.linalg.vander(torch.tensor([2, 3]))
    tensor([[1, 2],
            [1, 3]])
    """
    from .creation import ones
    from .join import cat

    if (N is None and x.dim() < 1) or (N is not None and N <= 1):
        raise RuntimeError(
            f"linalg.vander: N must be greater than 1 (and given for a tensor without dimensions), got shape {tuple(x.shape)}, N={N}"
        )
    n = x.shape[-1] if N is None else N
    x = x if x.dim() else x.unsqueeze(0)
    x = x.long() if x.dtype.code < 6 else x
    one = ones((*x.shape, 1), dtype=x.dtype)
    return cat([one, x.unsqueeze(-1).expand(*x.shape, n - 1)], -1).cumprod(-1)


# ---- distances between rows ----------------------------------------------------------------------------------


@primitive(register=False)
def euclidean(x1, x2):
    """|x - y| for every row x of x1 and y of x2, from |x|^2 + |y|^2 - 2 xy."""
    squares = (x1 * x1).sum(-1, keepdim=True) + (x2 * x2).sum(-1).unsqueeze(-2)
    return (squares - matmul(x1, x2.mT) * 2).clamp(min=0).sqrt()


@euclidean.vjp
def _(g, x1, x2, out):
    zero = (out == 0).to(out.dtype)
    weight = g * (1 - zero) / (out + zero)
    g1 = x1 * weight.sum(-1, keepdim=True) - matmul(weight, x2)
    g2 = x2 * weight.sum(-2).unsqueeze(-1) - matmul(weight.mT, x1)
    return g1, g2


# Below this many rows on both sides the distances are computed from differences, without cancellation.
_MANY_ROWS = 25
_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def _use_product(x1: Tensor, x2: Tensor, p: float, mode: Any) -> bool:
    mode = 0 if mode is None else _MODES.index(mode) if isinstance(mode, str) else mode
    many = x1.shape[-2] > _MANY_ROWS or x2.shape[-2] > _MANY_ROWS
    return p == 2 and many and mode != 2


@composite(method=False)
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The p-norm distance between every row of x1 (..., P, M) and of x2 (..., R, M): (..., P, R).

    >>> import flambeau as torch
    >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """
    for what, x in (("X1", x1), ("X2", x2)):
        if not x.is_floating_point():
            raise RuntimeError(f"cdist only supports floating-point dtypes, {what} got: {x.dtype}: convert with .float()")
        if x.dim() < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {what} got: {x.dim()}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]} (cdist)"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    if _use_product(x1, x2, p, compute_mode):
        return _expand_euclidean(x1, x2)
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if difference.shape[-1] == 0:
        return difference.sum(-1)
    return vector_norm_along(difference, p, (-1,), False)


def _expand_euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    from .lapack import broadcast_batches

    x1, x2 = broadcast_batches("cdist", x1, x2)
    return euclidean(x1, x2)
