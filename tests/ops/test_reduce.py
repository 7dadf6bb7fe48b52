"""Reductions against NumPy: dims, types, empties, NaN, errors, derivatives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck


def uniform(*shape: int, low: float = -2, high: float = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


PLAIN = {
    "sum": np.sum, "mean": np.mean, "prod": np.prod, "amax": np.max, "amin": np.min,
    "nansum": np.nansum,
    "any": np.any, "all": np.all, "nanmean": np.nanmean,
}  # fmt: skip
MULTI = sorted(set(PLAIN) - {"prod"})


@pytest.mark.parametrize("name", sorted(PLAIN))
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_along_one_dimension(name: str, dim: int, keepdim: bool) -> None:
    x = uniform(3, 4, 5)
    found = getattr(torch, name)(torch.tensor(x), dim, keepdim)
    wanted = PLAIN[name](x, axis=dim, keepdims=keepdim)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-13)


@pytest.mark.parametrize("name", MULTI)
@pytest.mark.parametrize("dims", [(0, 1), (0, 2), (-1, 0), (0, 1, 2)])
def test_along_several_dimensions(name: str, dims: tuple[int, ...]) -> None:
    x = uniform(3, 4, 5)
    t = torch.tensor(x)
    for source, array in ((t, x), (t.permute(2, 0, 1), x.transpose(2, 0, 1)), (t[::2], x[::2])):
        found = getattr(torch, name)(source, dims)
        np.testing.assert_allclose(found.numpy(), PLAIN[name](array, axis=dims), rtol=1e-12)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sum_of_any_shape_and_layout(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
    order = data.draw(st.permutations(range(len(shape))))
    dims = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
    x = uniform(*shape)
    found = torch.tensor(x).permute(*order).sum(dims, keepdim=True)
    wanted = x.transpose(order).sum(axis=tuple(dims), keepdims=True)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_integers_sum_in_int64(dtype: str) -> None:
    x = torch.tensor([[1, 0, 1], [1, 1, 1]]).to(getattr(torch, dtype))
    for name in ("sum", "prod"):
        found = getattr(x, name)(1)
        assert found.dtype is torch.int64
        assert found.tolist() == getattr(x.numpy().astype("int64"), name)(1).tolist()
    assert torch.full((300,), 100, dtype=torch.int8).sum().item() == 30000


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_halves_and_floats_add_up_precisely(dtype: str) -> None:
    x = torch.full((4096,), 0.1, dtype=getattr(torch, dtype))
    exact = x.double().sum().item()
    slack = 8 if dtype == "float32" else 1  # halves are carried in float32
    assert abs(x.sum().item() - exact) <= exact * slack * torch.finfo(x.dtype).eps
    assert x.mean().dtype is x.dtype


def test_complex_numbers() -> None:
    z = uniform(4, 5) + 1j * uniform(4, 5, seed=1)
    t = torch.tensor(z)
    np.testing.assert_allclose(t.sum(0).numpy(), z.sum(0))
    np.testing.assert_allclose(t.mean().numpy(), z.mean())
    np.testing.assert_allclose(t.prod(1).numpy(), z.prod(1))
    np.testing.assert_allclose(t.var(0).numpy(), z.var(0, ddof=1))
    np.testing.assert_allclose(torch.logsumexp(t, 1).numpy(), np.log(np.exp(z).sum(1)))


def test_dtype_argument() -> None:
    x = torch.tensor([1, 2], dtype=torch.int32)
    assert x.sum(dtype=torch.float64).dtype is torch.float64
    assert x.mean(dtype=torch.float32).item() == 1.5
    assert x.prod(0, dtype=torch.float32).item() == 2


def test_nothing_to_reduce() -> None:
    empty = torch.ones(0, 3)
    assert empty.sum().item() == 0
    assert empty.prod(0).tolist() == [1, 1, 1]
    assert math.isnan(empty.mean().item())
    assert empty.sum(1).shape == (0,)
    assert empty.any().item() is False
    assert empty.all().item() is True
    assert torch.logsumexp(empty, 0).tolist() == [-math.inf] * 3
    for name in ("amax", "amin", "argmax"):
        with pytest.raises((RuntimeError, IndexError), match=name):
            getattr(empty, name)(0)
    with pytest.raises(RuntimeError, match="max"):
        empty.max()
    with pytest.raises(IndexError, match="min"):
        empty.min(0)


def test_0d() -> None:
    x = torch.tensor(3.0)
    for name in ("sum", "mean", "prod", "amax", "logsumexp"):
        assert getattr(x, name)(0).item() == 3
    assert x.max(0).indices.item() == 0
    assert x.argmax().item() == 0


def test_nan_wins() -> None:
    x = torch.tensor([1.0, math.nan, 3.0])
    for name in ("sum", "mean", "amax", "amin", "prod"):
        assert math.isnan(getattr(x, name)().item())
    assert x.argmax().item() == x.argmin().item() == 1
    assert math.isnan(x.max(0).values.item())
    assert x.nansum().item() == 4
    assert x.nanmean().item() == 2


def test_extremes_with_indices() -> None:
    x = uniform(4, 5, 3)
    t = torch.tensor(x)
    for dim in range(3):
        values, indices = t.max(dim)
        np.testing.assert_array_equal(values.numpy(), x.max(dim))
        np.testing.assert_array_equal(indices.numpy(), x.argmax(dim))
        np.testing.assert_array_equal(t.transpose(0, 2).argmin(dim).numpy(), x.T.argmin(dim))
    assert t.argmax().item() == x.argmax()
    assert t.argmax(keepdim=True).shape == (1, 1, 1)
    pair = torch.min(t, dim=1, keepdim=True)
    assert pair.indices.shape == (4, 1, 3)
    assert torch.aminmax(t).max.item() == x.max()


def test_the_first_of_equal_elements_is_chosen() -> None:
    x = torch.tensor([[1, 3, 3], [2, 2, 0]])
    assert x.argmax(1).tolist() == [1, 0]
    assert x.max(1).indices.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "bfloat16", "float64"])
def test_extremes_of_every_type(dtype: str) -> None:
    x = torch.tensor([3, 1, 7, 5]).to(getattr(torch, dtype))
    assert x.max().dtype is x.dtype
    assert (x.max().item(), x.min().item(), x.argmax().item()) == (7, 1, 2)


@pytest.mark.parametrize("correction", [0, 1, 2])
def test_variance(correction: int) -> None:
    x = uniform(4, 6) + 1e6
    t = torch.tensor(x)
    np.testing.assert_allclose(
        t.var(1, correction=correction).numpy(), x.var(1, ddof=correction), rtol=1e-8
    )
    np.testing.assert_allclose(
        t.std(correction=correction).numpy(), x.std(ddof=correction), rtol=1e-8
    )
    variance, mean = torch.var_mean(t, 0, correction=correction, keepdim=True)
    assert variance.shape == mean.shape == (1, 6)
    assert t.var(0, False).tolist() == t.var(0, unbiased=False).tolist()


def test_variance_of_too_few_elements_warns() -> None:
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert math.isnan(torch.ones(1).var().item())


def test_logsumexp_does_not_overflow() -> None:
    x = torch.tensor(
        [[1000.0, 1000.0], [-1000.0, -1001.0], [-math.inf, -math.inf], [math.inf, 0.0]]
    )
    wanted = [1000 + math.log(2), -1000 + math.log(1 + math.exp(-1)), -math.inf, math.inf]
    np.testing.assert_allclose(torch.logsumexp(x, 1).numpy(), wanted, rtol=1e-6)
    assert torch.logsumexp(torch.tensor([1000 + 1j, 1000 + 1j]), 0).real.item() > 1000


def test_count_nonzero_and_truth() -> None:
    x = torch.tensor([[0, 2, 0], [1, 1, 1]])
    assert torch.count_nonzero(x).item() == 4
    assert torch.count_nonzero(x, 1).tolist() == [1, 3]
    assert x.any(0).tolist() == [True, True, True]
    assert x.all(1).tolist() == [False, True]
    assert x.to(torch.uint8).any().dtype is torch.uint8


DIFFERENTIABLE = {
    "sum": lambda x: x.sum((0, 2)), "mean": lambda x: x.mean(1), "prod": lambda x: x.prod(0),
    "whole prod": lambda x: x.prod(), "amax": lambda x: x.amax((0, 1)),
    "max": lambda x: x.max(1).values,
    "min": lambda x: x.min(), "var": lambda x: x.var((0, 2)),
    "std": lambda x: x.std(1, keepdim=True),
    "logsumexp": lambda x: x.logsumexp((1, 2)), "norm": lambda x: x.norm(2, 1),
    "p norm": lambda x: x.norm(3),
    "1-norm": lambda x: x.norm(1, 0), "nanmean": lambda x: torch.nanmean(x, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name: str) -> None:
    assert gradcheck(DIFFERENTIABLE[name], (double(2, 3, 2),))
    assert gradgradcheck(DIFFERENTIABLE[name], (double(2, 2, 2),))


def test_product_with_zeros_has_the_right_gradient() -> None:
    x = torch.tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]], requires_grad=True)
    x.prod(1).sum().backward()
    assert x.grad.tolist() == [[0, 6, 0], [0, 0, 0]]


def test_gradient_reaches_empty_products() -> None:
    x = torch.ones(0, requires_grad=True)
    x.prod().backward()
    assert x.grad.shape == (0,)


def test_out() -> None:
    out = torch.empty(2)
    assert torch.sum(torch.ones(2, 3), 1, out=out) is out
    assert out.tolist() == [3, 3]
    values, indices = torch.empty(2), torch.empty(2, dtype=torch.int64)
    torch.max(torch.tensor([[1.0, 2.0], [4.0, 3.0]]), 1, out=(values, indices))
    assert (values.tolist(), indices.tolist()) == ([2, 4], [1, 0])


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.ones(2, 3).sum(2), IndexError, ("Dimension out of range", "2")),
        (lambda: torch.ones(2, 3).sum((0, 0)), RuntimeError, ("dim 0 appears multiple times",)),
        (lambda: torch.ones(2, dtype=torch.int64).mean(), RuntimeError, ("mean", "int64")),
        (lambda: torch.ones(2, dtype=torch.int64).var(), RuntimeError, ("var", "int64")),
        (lambda: torch.tensor([1j]).amax(), RuntimeError, ("amax", "complex64")),
        (lambda: torch.tensor([1j, 2j]).max(0), RuntimeError, ("max", "complex64")),
        (lambda: torch.tensor([True]).argmax(), RuntimeError, ("argmax", "Bool")),
        (lambda: torch.ones(2).max(1), IndexError, ("Dimension out of range", "1")),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_sum_to_size() -> None:
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    assert x.sum_to_size(1, 3).tolist() == [[3, 5, 7]]
    assert x.sum_to_size((2, 1)).tolist() == [[3], [12]]
    assert x.sum_to_size(3).tolist() == [3, 5, 7]
    x.sum_to_size(3)[1].backward()
    assert x.grad.tolist() == [[0, 1, 0], [0, 1, 0]]
    for size in ((2,), (1, 2, 3)):
        with pytest.raises(RuntimeError, match="not expandable"):
            x.sum_to_size(size)
