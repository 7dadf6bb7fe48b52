"""Matrix products: every element type, broadcasting, empty sizes, scaled sums, errors,
derivatives.
"""

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
FLOATS = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]
SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((5, 2, 0), (0, 4)),
    ((0, 2, 3), (0, 3, 4)),
    ((5, 0, 3), (3, 0)),
    ((33, 65), (65, 17)),
]


def values(dtype, *shape):
    if dtype in INTEGERS:
        return torch.randint(0, 5, shape).to(dtype)
    return torch.randn(*shape, dtype=dtype if dtype.is_complex else torch.float32).to(dtype)


def array(t):
    return (t.float() if t.dtype is torch.bfloat16 else t).numpy()


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_matmul(dtype, shapes):
    a, b = (values(dtype, *s) for s in shapes)
    result = a @ b
    expected = np.matmul(array(a).astype(np.result_type(array(a), np.int8)), array(b))
    tolerance = {
        torch.float16: 1e-2,
        torch.bfloat16: 1e-1,
        torch.float32: 1e-4,
        torch.complex64: 1e-4,
    }.get(dtype, 1e-9)
    assert result.dtype is dtype
    assert tuple(result.shape) == expected.shape
    wide = complex if dtype.is_complex else float
    expected = expected.astype(array(result).dtype)
    np.testing.assert_allclose(
        array(result).astype(wide), expected.astype(wide), rtol=tolerance, atol=tolerance
    )


def test_strided_operands():
    a, b = torch.randn(40, 30), torch.randn(50, 40)
    for x, y in (
        (a.t(), b.t()),
        (a[::2].t(), b[:, ::2].t()),
        (a.t().contiguous()[:, :7], b.t()[:7]),
    ):
        np.testing.assert_allclose((x @ y).numpy(), x.numpy() @ y.numpy(), rtol=1e-4, atol=1e-4)
    wide = torch.randn(3, 1).expand(3, 8)
    np.testing.assert_allclose(
        (wide @ wide.t()).numpy(), wide.numpy() @ wide.numpy().T, rtol=1e-4, atol=1e-4
    )


def test_scaled_sums():
    c, a, b = torch.randn(2, 4), torch.randn(2, 3), torch.randn(3, 4)
    expected = 0.5 * c.numpy() + 2 * (a.numpy() @ b.numpy())
    np.testing.assert_allclose(torch.addmm(c, a, b, beta=0.5, alpha=2).numpy(), expected, rtol=1e-5)
    nan = torch.full((2, 4), float("nan"))
    assert torch.isfinite(torch.addmm(nan, a, b, beta=0)).all()
    batch = torch.baddbmm(torch.zeros(1, 1, 4), a.expand(3, 2, 3), b.expand(3, 3, 4))
    np.testing.assert_allclose(batch[2].numpy(), a.numpy() @ b.numpy(), rtol=1e-5)
    total = torch.addbmm(torch.zeros(2, 4), a.expand(3, 2, 3), b.expand(3, 3, 4))
    np.testing.assert_allclose(total.numpy(), 3 * (a.numpy() @ b.numpy()), rtol=1e-5)
    assert torch.addr(
        torch.zeros(2, 2), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    ).tolist() == [[3, 4], [6, 8]]
    target = torch.zeros(2, 4)
    assert target.addmm_(a, b) is target


def test_integer_factors_lose_their_fractions():
    ones = torch.ones(2, 2, dtype=torch.int64)
    assert torch.addmm(ones, ones, ones, beta=1.7, alpha=1.7).tolist() == [[3, 3], [3, 3]]
    with pytest.raises(RuntimeError, match="floating point number"):
        torch.addr(ones, ones[0], ones[0], beta=1.5)


def test_linear():
    x, w, b = torch.randn(5, 2, 3), torch.randn(4, 3), torch.randn(4)
    expected = x.numpy() @ w.numpy().T + b.numpy()
    linear = torch.nn.functional.linear
    np.testing.assert_allclose(linear(x, w, b).numpy(), expected, rtol=1e-4, atol=1e-5)
    out = torch.empty(0)
    assert linear(x, w, b, out=out) is out
    assert out.shape == (5, 2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: torch.ones(32, 10) @ torch.ones(12, 50),
            r"inner sizes differ: \(32, 10\) @ \(12, 50\): 10 != 12",
        ),
        (lambda: torch.mm(torch.ones(2), torch.ones(2, 2)), "must be a matrix"),
        (lambda: torch.bmm(torch.ones(2, 2, 2), torch.ones(3, 2, 2)), "batch sizes differ"),
        (lambda: torch.matmul(torch.tensor(1.0), torch.ones(2)), "at least 1D"),
        (lambda: torch.ones(2, 2) @ torch.ones(2, 2).double(), "same dtype"),
        (lambda: torch.ones(2, 3, 3, 3) @ torch.ones(4, 3, 3), "do not broadcast"),
        (lambda: torch.dot(torch.ones(2), torch.ones(3)), "inconsistent tensor size"),
        (lambda: torch.mv(torch.ones(2, 2), torch.ones(2, 2)), "expected"),
        (
            lambda: torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 5)),
            "inner sizes differ",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((2, 3), (3, 2)), ((2, 2, 3), (3, 2)), ((2, 1, 2, 3), (2, 3, 2))]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives(shapes, dtype):
    leaves = tuple(torch.randn(*s, dtype=dtype, requires_grad=True) for s in shapes)
    assert gradcheck(torch.matmul, leaves)
    assert gradgradcheck(torch.matmul, leaves)


def test_derivatives_of_empty_products():
    a, b = torch.ones(2, 3, 0, requires_grad=True), torch.ones(0, 4, requires_grad=True)
    (a @ b).sum().backward()
    assert a.grad.shape == (2, 3, 0)
    assert b.grad.shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["addmm", "addmv", "baddbmm", "addbmm"])
@pytest.mark.parametrize("factors", [{}, {"beta": 0.5, "alpha": 3}, {"beta": 0}])
def test_sums_with_products_of_half_types_are_rounded_once(dtype, name, factors):
    """beta * input + alpha * product in float32, then rounded; whatever the input's shape."""
    torch.manual_seed(5)
    shapes = {
        "addmm": [((30, 20), (20,), (30, 1)), (30, 40), (40, 20)],
        "addmv": [((30,), (1,)), (30, 40), (40,)],
        "baddbmm": [((3, 30, 20), (20,), (3, 1, 1)), (3, 30, 40), (3, 40, 20)],
        "addbmm": [((30, 20), (20,)), (3, 30, 40), (3, 40, 20)],
    }[name]
    a, b = (torch.randn(*shape).to(dtype) for shape in shapes[1:])
    for shape in shapes[0]:
        start = torch.randn(*shape).to(dtype) * 10
        got = getattr(torch, name)(start, a, b, **factors)
        wide = getattr(torch, name)(start.double(), a.double(), b.double(), **factors)
        assert got.dtype == dtype
        near = (got.double() - wide).abs()
        # Half a unit in the last place of the result; float32's sums can tip a tie.
        assert (near <= torch.finfo(dtype).eps * 0.51 * wide.abs() + 1e-4).all()


def test_gradients_of_a_sum_with_a_product_of_half_types():
    torch.manual_seed(6)
    tensors = [torch.randn(*s).bfloat16().requires_grad_() for s in ((5, 1), (5, 4), (4, 3))]
    torch.addmm(*tensors).sum().backward()
    wide = [t.detach().double().requires_grad_() for t in tensors]
    torch.addmm(*wide).sum().backward()
    for t, w in zip(tensors, wide, strict=True):
        assert (t.grad.double() - w.grad).abs().max() <= 0.02 * w.grad.abs().max()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64", "int64"])
@pytest.mark.parametrize("strided", [False, True])
def test_addmm_of_a_row(dtype, strided):
    """A row that is added to the product: fused where it lies side by side."""
    kind = getattr(torch, dtype)
    row = torch.arange(10.0).to(kind)[::2] if strided else torch.arange(5.0).to(kind)
    a, b = (torch.arange(21) % 3).view(7, 3).to(kind), (torch.arange(15) % 4).view(3, 5).to(kind)
    leaves = [row, a, b]
    if dtype != "int64":
        leaves = [t.clone() if t is not row else t.detach() for t in leaves]
        leaves = [t.requires_grad_() for t in leaves]
    out = torch.addmm(*leaves)
    assert out.tolist() == (a @ b + row).tolist()
    assert torch.addmm(*leaves, beta=2, alpha=3).tolist() == (3 * (a @ b) + 2 * row).tolist()
    if dtype != "int64":
        ones = torch.ones_like(out.detach())
        found = torch.autograd.grad(out, leaves, ones)
        expected = [ones.sum(0), ones @ b.mH, a.mH @ ones]
        assert [g.tolist() for g in found] == [g.tolist() for g in expected]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64"])
def test_addr_is_one_sum(dtype):
    """beta * input + alpha * outer, of whole numbers exactly; a wider input is refused."""
    kind = getattr(torch, dtype)
    base, column, row = (torch.arange(n).to(kind) for n in (12, 3, 4))
    base = base.view(3, 4)
    expected = 2 * base + 3 * torch.outer(column, row)
    assert torch.addr(base, column, row, beta=2, alpha=3).tolist() == expected.tolist()
    assert torch.addr(row, column, row).tolist() == (row + torch.outer(column, row)).tolist()
    with pytest.raises(RuntimeError, match="expand"):
        torch.addr(torch.zeros(2, 3, 4, dtype=kind), column, row)
