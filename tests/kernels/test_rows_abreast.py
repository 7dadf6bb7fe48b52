"""Short rows, reduced as many at a time as a vector has lanes."""

import numpy as np
import pytest

import flambeau as torch

ROWS = (1, 2, 7, 8, 9, 16, 17, 63, 64, 65, 200)
WIDTHS = (1, 3, 6, 7, 8, 9, 15, 16, 17, 31, 33, 49, 63, 64, 65, 129)
DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool", "float16", "bfloat16")


def _make(rows, width, dtype):
    numbers = np.random.default_rng(rows * width).integers(-1, 2, (rows, width))
    return torch.from_numpy(numbers).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_sums_and_extremes_are_numpys(width, dtype):
    for rows in ROWS:
        x = _make(rows, width, dtype)
        exact = x.to(torch.float64).numpy()
        np.testing.assert_array_equal(x.sum(1).double().numpy(), exact.sum(1))
        np.testing.assert_array_equal(x.amax(1).double().numpy(), exact.max(1))
        np.testing.assert_array_equal(x.any(1).numpy(), exact.any(1))
        np.testing.assert_array_equal(x.all(1).numpy(), exact.all(1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_norms_and_products(dtype):
    for width in WIDTHS:
        x = torch.from_numpy(np.random.default_rng(width).uniform(0.5, 1.5, (100, width)))
        x = x.to(getattr(torch, dtype))
        exact = x.double().numpy()
        tolerance = 1e-13 if dtype == "float64" else 2e-5
        for got, expected in (
            (x.mean(1), exact.mean(1)),
            (x.norm(dim=1), np.sqrt((exact * exact).sum(1))),
            (x.prod(1), exact.prod(1)),
            (x.logsumexp(1), np.log(np.exp(exact).sum(1))),
        ):
            np.testing.assert_allclose(got.double().numpy(), expected, rtol=tolerance)


def test_nan_stays_in_its_row():
    x = torch.ones(50, 9)
    x[17, 8] = float("nan")
    for found in (x.sum(1), x.amax(1), x.prod(1)):
        assert found.isnan().nonzero().flatten().tolist() == [17]


@pytest.mark.parametrize("width", [7, 16, 49, 64])
def test_a_row_has_the_same_sum_wherever_it_is(width):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((83, width)).astype(np.float32))
    together = x.sum(1)
    for k in range(0, 83, 5):
        assert x[k : k + 1].sum(1).item() == together[k].item()
        assert x[k : k + 19].sum(1)[0].item() == together[k].item()


def test_sums_do_not_depend_on_the_number_of_threads():
    numbers = np.random.default_rng(1).standard_normal((4, 30011, 16))
    x = torch.from_numpy(numbers.astype(np.float32))[:, :, :13]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(x.sum(2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_results_may_lie_apart():
    x = torch.from_numpy(np.arange(40 * 12, dtype=np.float32).reshape(40, 12))
    out = torch.zeros(40, 2)
    torch.sum(x, 1, out=out[:, 0])
    np.testing.assert_array_equal(out[:, 0].numpy(), x.numpy().sum(1))
    assert not out[:, 1].any()
    several = torch.from_numpy(np.arange(8 * 5 * 12, dtype=np.float32).reshape(8, 5, 12))
    np.testing.assert_array_equal(
        several.transpose(0, 1).sum(2).numpy(), several.numpy().transpose(1, 0, 2).sum(2)
    )
