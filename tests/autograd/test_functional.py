"""jacobian, hessian and the products with vectors."""

import pytest

import flambeau as torch
from flambeau.autograd import functional

X = torch.tensor([1.0, 2.0])
Y = torch.tensor([3.0, 4.0])
V = torch.tensor([1.0, -1.0])


def cubes(x):
    return (x * x * x).sum()


def test_jacobian() -> None:
    assert functional.jacobian(lambda x: x * x, X).tolist() == [[2, 0], [0, 4]]
    by_x, by_y = functional.jacobian(lambda x, y: x * y, (X, Y))
    assert by_x.tolist() == [[3, 0], [0, 4]]
    assert by_y.tolist() == [[1, 0], [0, 2]]
    rows = functional.jacobian(lambda x: (x.sum(), x * 2), X)
    assert [r.tolist() for r in rows] == [[1, 1], [[2, 0], [0, 2]]]
    table = functional.jacobian(lambda x, y: (x * 2, y * 3), (X, Y))
    assert table[0][1].tolist() == [[0, 0], [0, 0]]


def test_jacobian_of_a_matrix() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    j = functional.jacobian(lambda x: x.sum(1), x)
    assert j.shape == (2, 2, 3)
    assert j[0].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_jacobian_can_be_differentiated() -> None:
    x = X.clone().requires_grad_()
    functional.jacobian(lambda x: x * x * x, x, create_graph=True).sum().backward()
    assert x.grad.tolist() == [6, 12]


def test_hessian() -> None:
    assert functional.hessian(cubes, X).tolist() == [[6, 0], [0, 12]]
    h = functional.hessian(lambda x, y: (x * y).sum(), (X, Y))
    assert [[b.tolist() for b in row] for row in h] == [
        [[[0, 0], [0, 0]], [[1, 0], [0, 1]]],
        [[[1, 0], [0, 1]], [[0, 0], [0, 0]]],
    ]


def test_products() -> None:
    out, product = functional.vjp(lambda x: x * x * x, X, V)
    assert (out.tolist(), product.tolist()) == ([1, 8], [3, -12])
    out, product = functional.jvp(lambda x: x * x * x, X, V)
    assert (out.tolist(), product.tolist()) == ([1, 8], [3, -12])
    for which in (functional.hvp, functional.vhp):
        out, product = which(cubes, X, V)
        assert (out.item(), product.tolist()) == (9, [6, -12])
        assert not product.requires_grad


def test_jvp_with_several_inputs_and_outputs() -> None:
    outs, products = functional.jvp(lambda x, y: (x * y, x + y), (X, Y), (V, V))
    assert [o.tolist() for o in outs] == [[3, 8], [4, 6]]
    assert [p.tolist() for p in products] == [[4, -6], [2, -2]]


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="v is a tuple of invalid length"):
        functional.vjp(lambda x: x, X, (V, V))
    with pytest.raises(RuntimeError, match="v has invalid size"):
        functional.vjp(lambda x: x, X, torch.ones(3))
    with pytest.raises(RuntimeError, match="can only be None"):
        functional.vjp(lambda x: x, X)
    with pytest.raises(RuntimeError, match="single element"):
        functional.hvp(lambda x: x, X, V)
    with pytest.raises(TypeError, match="Tensor"):
        functional.jacobian(lambda x: x, 3)
    with pytest.raises(RuntimeError, match="strict"):
        functional.jacobian(lambda x, y: x * 1, (X, Y), strict=True)
    with pytest.raises(ValueError, match="strategy"):
        functional.jacobian(lambda x: x, X, strategy="other")
