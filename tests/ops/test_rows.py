"""Softmax and the normalisations against formulas in NumPy."""

import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


def standardised(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


# ---- softmax -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_softmax(dim: int, dtype: str) -> None:
    t = torch.tensor(uniform(3, 17, 9)).to(getattr(torch, dtype))
    x = t.double().numpy()
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6, "float64": 1e-14}[dtype]
    found = torch.softmax(t, dim)
    assert found.dtype is t.dtype
    np.testing.assert_allclose(found.double().numpy(), softmax(x, dim), rtol=tolerance)
    logs = torch.log_softmax(t, dim).double().numpy()
    np.testing.assert_allclose(logs, np.log(softmax(x, dim)), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        F.softmin(t, dim).double().numpy(), softmax(-x, dim), rtol=2 * tolerance
    )


def test_softmax_of_other_layouts() -> None:
    x = uniform(6, 5, 4)
    t = torch.tensor(x)
    np.testing.assert_allclose(t.transpose(0, 2).softmax(0).numpy(), softmax(x.T, 0))
    np.testing.assert_allclose(t[::2, :, 1:3].softmax(1).numpy(), softmax(x[::2, :, 1:3], 1))
    assert torch.ones(0, 3).softmax(1).shape == (0, 3)
    assert torch.ones(3, 0).softmax(1).shape == (3, 0)
    assert torch.tensor(2.0).softmax(0).item() == 1


def test_softmax_of_extreme_values() -> None:
    x = torch.tensor([[1000.0, 1000.0], [-math.inf, 0.0], [math.nan, 0.0], [-math.inf, -math.inf]])
    found = x.softmax(1)
    assert found[:2].tolist() == [[0.5, 0.5], [0, 1]]
    assert found[2:].isnan().all()
    assert x[:2].log_softmax(1)[0].tolist() == pytest.approx([-math.log(2)] * 2)


def test_softmax_computes_in_the_dtype_asked_for() -> None:
    assert torch.softmax(torch.tensor([1, 2]), 0, dtype=torch.float64).dtype is torch.float64
    assert F.log_softmax(torch.ones(2), dim=0, dtype=torch.float64).dtype is torch.float64


@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax, F.softmin])
@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_derivatives(function, dim: int) -> None:
    assert gradcheck(lambda x: function(x, dim), (double(3, 4),))
    assert gradgradcheck(lambda x: function(x, dim), (double(2, 3),))


# ---- norms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_weight", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (5, 6)])
def test_layer_norm(dtype: str, with_weight: bool, with_bias: bool, shape: tuple[int, ...]) -> None:
    x, weight, bias = uniform(4, 5, 6), uniform(*shape, seed=1), uniform(*shape, seed=2)
    kind = getattr(torch, dtype)
    found = F.layer_norm(
        torch.tensor(x, dtype=kind),
        shape,
        torch.tensor(weight, dtype=kind) if with_weight else None,
        torch.tensor(bias, dtype=kind) if with_bias else None,
    )
    wanted = standardised(x, tuple(range(3 - len(shape), 3)))
    wanted = wanted * weight if with_weight else wanted
    wanted = wanted + bias if with_bias else wanted
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found.numpy(), wanted, rtol=tolerance, atol=tolerance)


def test_group_norm() -> None:
    x, weight, bias = uniform(2, 6, 3, 2), uniform(6, seed=1), uniform(6, seed=2)
    found = F.group_norm(torch.tensor(x), 3, torch.tensor(weight), torch.tensor(bias))
    wanted = standardised(x.reshape(2, 3, -1), (2,)).reshape(x.shape)
    wanted = wanted * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_rms_norm() -> None:
    x, weight = uniform(3, 8), uniform(8, seed=1)
    wanted = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3) * weight
    found = F.rms_norm(torch.tensor(x), (8,), torch.tensor(weight), 1e-3)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)
    z = uniform(3, 8) + 1j * uniform(3, 8, seed=3)
    found = F.rms_norm(torch.tensor(z), (8,), eps=0.5)
    np.testing.assert_allclose(found.numpy(), z / np.sqrt((z * z).mean(1, keepdims=True) + 0.5))


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_batch_norm_in_training_updates_the_running_statistics(shape: tuple[int, ...]) -> None:
    x = uniform(*shape)
    axes = (0, *range(2, len(shape)))
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    found = F.batch_norm(torch.tensor(x), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(found.numpy(), standardised(x, axes), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mean.numpy(), 0.25 * x.mean(axes))
    np.testing.assert_allclose(var.numpy(), 0.75 + 0.25 * x.var(axes, ddof=1))


def test_batch_norm_in_evaluation_uses_them() -> None:
    x, mean, var = uniform(4, 3, 2), uniform(3, seed=1), uniform(3, seed=2) ** 2
    weight, bias = uniform(3, seed=3), uniform(3, seed=4)
    found = F.batch_norm(*(torch.tensor(v) for v in (x, mean, var, weight, bias)))
    across = (1, 3, 1)
    wanted = (x - mean.reshape(across)) / np.sqrt(var.reshape(across) + 1e-5)
    wanted = wanted * weight.reshape(across) + bias.reshape(across)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def test_native_forms_return_the_statistics() -> None:
    x = uniform(4, 6)
    _, mean, inverse = torch.native_layer_norm(torch.tensor(x), (6,), None, None, 1e-5)
    np.testing.assert_allclose(mean.numpy(), x.mean(1, keepdims=True))
    np.testing.assert_allclose(inverse.numpy(), 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5))
    _, mean, _ = torch.native_batch_norm(torch.tensor(x), None, None, None, None, True, 0.1, 1e-5)
    np.testing.assert_allclose(mean.numpy(), x.mean(0))
    _, mean, _ = torch.native_group_norm(torch.tensor(x), None, None, 4, 6, 1, 2, 1e-5)
    np.testing.assert_allclose(mean.numpy(), x.reshape(4, 2, 3).mean(2))


DERIVATIVES = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), ((3, 4), (4,), (4,))),
    "layer_norm plain": (lambda x: F.layer_norm(x, (3, 2)), ((2, 3, 2),)),
    "layer_norm scaled": (lambda x, w: F.layer_norm(x, (4,), w), ((2, 4), (4,))),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), ((2, 4, 3), (4,), (4,))),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w, 0.1), ((3, 4), (4,))),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        ((3, 2, 2), (2,), (2,)),
    ),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_norm_derivatives(name: str) -> None:
    function, shapes = DERIVATIVES[name]
    inputs = tuple(double(*shape, seed=k) for k, shape in enumerate(shapes))
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.softmax(torch.tensor([1, 2]), 0), RuntimeError, ("softmax", "int64")),
        (lambda: torch.softmax(torch.ones(2), 1), IndexError, ("Dimension out of range",)),
        (
            lambda: F.layer_norm(torch.ones(2, 3), (4,)),
            RuntimeError,
            ("layer_norm", "[4]", "[2, 3]"),
        ),
        (
            lambda: F.layer_norm(torch.ones(2, 3), (3,), torch.ones(2)),
            RuntimeError,
            ("weight", "[2]"),
        ),
        (lambda: F.layer_norm(torch.ones(2, 3), ()), RuntimeError, ("at least 1-dimensional",)),
        (
            lambda: F.group_norm(torch.ones(2, 5), 2),
            RuntimeError,
            ("group_norm", "divisible", "[2, 5]"),
        ),
        (lambda: F.group_norm(torch.ones(2, 4), 2, torch.ones(3)), RuntimeError, ("weight", "[3]")),
        (lambda: F.batch_norm(torch.ones(2, 3), None, None), RuntimeError, ("running_mean",)),
        (
            lambda: F.batch_norm(torch.ones(1, 3), None, None, training=True),
            ValueError,
            ("1 value per channel", "1, 3"),
        ),
        (
            lambda: F.batch_norm(torch.ones(2, 3), torch.ones(2), torch.ones(3)),
            RuntimeError,
            ("running_mean", "3", "2"),
        ),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_batch_norm_needs_more_than_one_value_per_channel() -> None:
    with pytest.raises(ValueError, match=r"more than 1 value per channel.*torch\.Size\(\[1, 3\]\)"):
        torch.nn.BatchNorm1d(3)(torch.ones(1, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_that_lie_across_memory(dtype: torch.dtype) -> None:
    x = torch.randn(40, 3, 50).to(dtype)
    for order in ((2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1)):
        t = x.permute(order)
        for dim in range(3):
            for found, wanted in (
                (torch.softmax(t, dim), torch.softmax(t.contiguous(), dim)),
                (torch.log_softmax(t, dim), torch.log_softmax(t.contiguous(), dim)),
            ):
                assert found.is_contiguous()
                assert torch.equal(found, wanted)
    strided = torch.randn(40, 100).to(dtype)[:, ::2]
    assert torch.equal(torch.softmax(strided, 1), torch.softmax(strided.contiguous(), 1))
