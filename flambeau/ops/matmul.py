"""Matrix products and what is built on them."""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.dtypes import BY_CODE
from ..kernels.lazy import gemm
from ..kernels.scalar import cast
from .plans import find_plan
from .record import alias, composite, deliver, pointwise, primitive


def _plan(
    code, m, n, k, a_strides, b_strides, batch, biased, relu, accumulate, threads
) -> core.Plan:
    def make(threads: int) -> Any:
        return gemm.plan_gemm(
            BY_CODE[code].name,
            m,
            n,
            k,
            a_strides,
            b_strides,
            (n, 1),
            threads,
            bias="column" if biased else None,
            activation="relu" if relu else None,
            accumulate=accumulate,
            batch=batch,
        )

    name = BY_CODE[code].name
    key = ("gemm", name, m, n, k, a_strides, b_strides, batch, biased, relu, accumulate)
    return find_plan(key, threads, make)


core.set_product_planner(_plan)
product = core.product


def _check_dims(name: str, expected: int, *operands: tuple[str, Tensor]) -> None:
    for what, t in operands:
        if t.dim() != expected:
            raise RuntimeError(
                f"{name}: {what} must be a {'matrix' if expected == 2 else f'{expected}D tensor'}, "
                f"got {t.dim()}-D of shape {tuple(t.shape)}"
            )


@primitive(register=False)
def _mm(input, mat2):
    return product(input, mat2, name="mm")


@_mm.vjp
def _mm_vjp(g, input, mat2, needs):
    return _product_vjp(g, input, mat2, needs)


@composite(out=True, shortcut="mm")
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Matrix product of (n, m) and (m, p): (n, p)."""
    _check_dims("mm", 2, ("self", input), ("mat2", mat2))
    found = core.matrix_product(input, mat2, False, None, "mm", "MmBackward0")
    return _mm(input, mat2) if found is None else found


@composite(register=False)
def _recorded_vjp(g, a, b, swapped, needs_a, needs_b):
    """Cotangents of a @ b (or a @ b.T) in recorded ops, for products the core records itself."""
    if a.dim() > 2:
        flat = _recorded_vjp(
            g.reshape(-1, g.shape[-1]), a.reshape(-1, a.shape[-1]), b, swapped, needs_a, needs_b
        )
        return None if flat[0] is None else flat[0].reshape(a.shape), flat[1]
    ga = matmul(g, b.conj() if swapped else b.mH) if needs_a else None
    gb = None
    if needs_b:
        gb = matmul(g.mT, a.conj()) if swapped else matmul(a.mH, g)
    return ga, gb


core.set_product_vjp(_recorded_vjp)


def _product_vjp(g, a, b, needs):
    """Cotangents of a @ b; without Python-level views when nothing is recorded."""
    if core.grad_enabled() or g.is_complex():
        ga = matmul(g, b.mH) if needs[0] else None
        gb = matmul(a.mH, g) if needs[1] else None
        return ga, gb
    ga = product(g, b, tb=True) if needs[0] else None
    gb = product(a, g, ta=True) if needs[1] else None
    return ga, gb


@primitive(method=True, out=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Matrix products of two batches: (b, n, m) @ (b, m, p)."""
    _check_dims("bmm", 3, ("batch1", input), ("batch2", mat2))
    if input.size(0) != mat2.size(0):
        raise RuntimeError(f"bmm: batch sizes differ: {tuple(input.shape)} @ {tuple(mat2.shape)}")
    return product(input, mat2, name="bmm")


@bmm.vjp
def _bmm_vjp(g, input, mat2, needs):
    return _product_vjp(g, input, mat2, needs)


@primitive(register=False)
def _batched(input, mat2):
    """A batch times one matrix or a batch (sizes 1 repeat)."""
    return product(input, mat2, name="matmul")


@_batched.vjp
def _batched_vjp(g, input, mat2, needs):
    ga, gb = _product_vjp(g, input, mat2, needs)
    return (
        None if ga is None else core.sum_to_shape(ga, input.shape),
        None if gb is None else core.sum_to_shape(gb, mat2.shape),
    )


@composite(out=True, shortcut="matmul")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product: vectors, matrices, or batches of matrices that broadcast."""
    a, b = input.dim(), other.dim()
    if a == 2 and b == 2:
        return mm(input, other)
    if a == 0 or b == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D"
        )
    if a == 1 and b == 1:
        return dot(input, other)
    if a == 1:
        return matmul(input.unsqueeze(0), other).squeeze(-2)
    if b == 1:
        return matmul(input, other.unsqueeze(-1)).squeeze(-1)
    if b == 2:
        # one matrix for the whole batch: a single large product
        _check_inner("matmul", input, other)
        shape = input.shape
        rows = math.prod(shape[:-1])
        return mm(input.reshape(rows, shape[-1]), other).view(*shape[:-1], other.shape[1])
    return _matmul_batches(input, other)


def _check_inner(name, a, b):
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"{name}: inner sizes differ: {tuple(a.shape)} @ {tuple(b.shape)}: {a.shape[-1]} != "
            f"{b.shape[-2]} "
            "(mat1 and mat2 shapes cannot be multiplied)"
        )


def _matmul_batches(a, b):
    _check_inner("matmul", a, b)
    if a.dim() == 2:
        a = a.unsqueeze(0)
    lead_a, lead_b = tuple(a.shape[:-2]), tuple(b.shape[:-2])
    if lead_a == lead_b and len(lead_a) == 1:
        return bmm(a, b)
    lead = _broadcast(lead_a, lead_b, a, b)
    n, m, p = a.shape[-2], a.shape[-1], b.shape[-1]
    count = math.prod(lead)
    a3 = a.reshape(1, n, m) if _all_one(lead_a) else a.expand(*lead, n, m).reshape(count, n, m)
    b3 = b.reshape(1, m, p) if _all_one(lead_b) else b.expand(*lead, m, p).reshape(count, m, p)
    return _batched(a3, b3).view(*lead, n, p)


def _all_one(sizes) -> bool:
    return all(s == 1 for s in sizes)


def _broadcast(x, y, a, b):
    k = max(len(x), len(y))
    x, y = (1,) * (k - len(x)) + x, (1,) * (k - len(y)) + y
    for s, t in zip(x, y, strict=True):
        if s != t and s != 1 and t != 1:
            raise RuntimeError(
                f"matmul: batch sizes do not broadcast: {tuple(a.shape)} @ {tuple(b.shape)}: {s} "
                f"and {t}"
            )
    return tuple(t if s == 1 else s for s, t in zip(x, y, strict=True))


@primitive(register=False)
def _linear(input, weight, bias):
    return _linear_values(input, weight, bias)


def _linear_values(input, weight, bias):
    if input.dim() == 2:
        return product(input, weight, False, True, bias, False, "linear")
    shape = input.shape
    flat = core.contiguous_plain(input).view(-1, shape[-1])
    return product(flat, weight, False, True, bias, False, "linear").view(
        *shape[:-1], weight.shape[0]
    )


@_linear.vjp
def _linear_vjp(g, input, weight, needs):
    if core.grad_enabled() or g.is_complex():
        flat_g, flat_x = g.reshape(-1, g.shape[-1]), input.reshape(-1, input.shape[-1])
        gx = matmul(g, weight.conj()) if needs[0] else None
        gw = matmul(flat_g.mT, flat_x.conj()) if needs[1] else None
        gb = flat_g.sum(0) if len(needs) > 2 and needs[2] else None
        return gx, gw, gb
    if g.dim() != 2:
        g, flat_x = (
            core.contiguous_plain(g).view(-1, g.shape[-1]),
            core.contiguous_plain(input).view(-1, input.shape[-1]),
        )
    else:
        flat_x = input
    gx = product(g, weight) if needs[0] else None
    gw = product(g, flat_x, True) if needs[1] else None
    gb = g.sum(0) if len(needs) > 2 and needs[2] else None
    if gx is not None and input.dim() != 2:
        gx = gx.view(*input.shape)
    return gx, gw, gb


@composite(namespaces=("nn.functional",), method=False, shortcut="linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Any = None) -> Tensor:
    """input @ weight.T + bias; input (*, in), weight (out, in), bias (out,)."""
    if out is not None:
        return deliver("linear", out, linear(input, weight, bias))
    if weight.dim() == 2 and input.dim() >= 2:
        found = core.matrix_product(input, weight, True, bias, "linear", "AddmmBackward0")
        if found is not None:
            return found
        if input.shape[-1] != weight.shape[1]:
            raise RuntimeError(
                f"linear: inner sizes differ: input {tuple(input.shape)}, weight "
                f"{tuple(weight.shape)}: "
                f"{input.shape[-1]} != {weight.shape[1]} (mat1 and mat2 shapes cannot be "
                "multiplied)"
            )
        if bias is None or (
            bias.dim() == 1 and bias.is_contiguous() and bias.shape[0] == weight.shape[0]
        ):
            return _linear(input, weight, bias)
    result = matmul(input, weight.t() if weight.dim() == 2 else weight)
    return result if bias is None else result + bias


# ---- vectors
# -------------------------------------------------------------------------------------------


def _check_vectors(name, a, b):
    if a.dim() != 1 or b.dim() != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {a.dim()}D and {b.dim()}D tensors ({name})"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found {a.dtype} and {b.dtype}"
        )
    if a.shape[0] != b.shape[0]:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to "
            f"have the same number of elements ({name})"
        )


@composite(out=True, shortcut="dot")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors' elements."""
    _check_vectors("dot", input, tensor)
    return mm(input.unsqueeze(0), tensor.unsqueeze(1)).view(())


@composite(out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """dot with the first vector conjugated."""
    _check_vectors("vdot", input, other)
    return dot(input.conj(), other)


@composite(out=True, shortcut="mv")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Matrix (n, m) times vector (m,)."""
    if input.dim() != 2 or vec.dim() != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.dim()}, {vec.dim()} (mv: "
            f"{tuple(input.shape)} @ {tuple(vec.shape)})"
        )
    return mm(input, vec.unsqueeze(1)).squeeze(1)


@composite(out=True, aliases=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors' elements: (n, m)."""
    if input.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(f"outer: Expected 1-D arguments, got {input.dim()}-D and {vec2.dim()}-D")
    return input.unsqueeze(1) * vec2.unsqueeze(0)


@composite(out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products along the last dimension of both."""
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    flat_a, flat_b = input.reshape(-1, input.shape[-1]), other.reshape(-1, other.shape[-1])
    return mm(flat_a, flat_b.t()).reshape(*input.shape[:-1], *other.shape[:-1])


# ---- scaled sums of products
# ---------------------------------------------------------------------------


def _scaled_sum(name, input, value, beta, alpha):
    """beta * input + alpha * value; input is ignored (even NaN) when beta is 0."""
    if not (value.dtype.is_floating_point or value.dtype.is_complex):
        beta, alpha = _whole(name, beta, alpha)
    scaled = value if alpha == 1 else value * alpha
    if beta == 0:
        return scaled
    if tuple(input.shape) != tuple(value.shape):
        input = input.expand(value.shape)
    return scaled + (input if beta == 1 else input * beta)


_HALVES = ("float16", "bfloat16")


def _scaled_product(name, input, a, b, beta, alpha, multiply):
    """beta * input + alpha * multiply(a, b); half types are added in float32 and rounded once."""
    if a.dtype.name not in _HALVES or not a.dtype == b.dtype == input.dtype:
        return _scaled_sum(name, input, multiply(a, b), beta, alpha)
    plain = beta == 1 and alpha == 1 and a.dim() == b.dim() == {mm: 2, bmm: 3}.get(multiply)
    if plain and a.shape[-1] == b.shape[-2] and a.shape[:-2] == b.shape[:-2]:
        return _add_product(input.expand(*a.shape[:-1], b.shape[-1]), a, b)
    total = _scaled_sum(name, input.float(), multiply(a.float(), b.float()), beta, alpha)
    return total.to(a.dtype)


@primitive(register=False)
def _add_product(input, mat1, mat2):
    """input + mat1 @ mat2 of matrices or two batches; input has the product's shape."""
    return product(mat1, mat2, name="addmm", start=input)


@_add_product.vjp
def _add_product_vjp(g, mat1, mat2, needs):
    return (g if needs[0] else None, *_product_vjp(g, mat1, mat2, needs[1:]))


def _whole(name, beta, alpha):
    """Factors of integers: the products of matrices take their whole parts, addr refuses
    fractions.
    """
    if name == "addr" and (isinstance(beta, float) or isinstance(alpha, float)):
        raise RuntimeError(
            "addr: For integral input tensors, argument alpha and beta must not be a floating "
            "point number."
        )
    return int(beta), int(alpha)


@composite(inplace=True, out=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    if input.dim() == 1 and mat1.dim() == mat2.dim() == 2 and beta == 1 and alpha == 1:
        found = core.matrix_product(mat1, mat2, False, input, "addmm", "AddmmBackward0")
        if found is not None:
            return found
    return _scaled_product("addmm", input, mat1, mat2, beta, alpha, mm)


@composite(inplace=True, out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    return _scaled_product("addmv", input, mat, vec, beta, alpha, mv)


@pointwise(register=False, accepts="uifc")
def _add_outer(input, column, row, *, beta=1, alpha=1):
    """beta * input + alpha * column * row."""
    return cast(beta, input.dtype) * input + cast(alpha, input.dtype) * column * row


@composite(inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    if vec1.dtype.code == 0 and input.dtype.code == 0:
        product_ = outer(vec1, vec2)
        return (input | product_) if beta else product_
    same = input.dtype is vec1.dtype is vec2.dtype and vec1.dim() == vec2.dim() == 1
    if same and beta != 0 and not isinstance(beta, complex) and not isinstance(alpha, complex):
        if not vec1.dtype.is_floating_point and not vec1.dtype.is_complex:
            beta, alpha = _whole("addr", beta, alpha)
        input = input.expand(vec1.shape[0], vec2.shape[0])
        return _add_outer(input, vec1.unsqueeze(1), vec2, beta=beta, alpha=alpha)
    return _scaled_sum("addr", input, outer(vec1, vec2), beta, alpha)


@composite(inplace=True, out=True)
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    return _scaled_product("baddbmm", input, batch1, batch2, beta, alpha, bmm)


@composite(inplace=True, out=True)
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * sum of the batch's products."""

    def multiply(a: Tensor, b: Tensor) -> Tensor:
        return bmm(a, b).sum(0)

    return _scaled_product("addbmm", input, batch1, batch2, beta, alpha, multiply)


alias("matmul", matmul, namespaces=("linalg",))
