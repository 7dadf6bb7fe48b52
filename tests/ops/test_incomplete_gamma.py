"""igamma and igammac beside values worked out with 40 digits."""

import pytest

import flambeau as torch

# a, x, P(a, x), Q(a, x)
NEAR_A_LARGE_ONE = [
    (25.0, 20.0, 0.15677262182623773, 0.84322737817376227),
    (25.0, 32.0, 0.91189931051650396, 0.088100689483496039),
    (1e3, 1e3, 0.50420524418021551, 0.49579475581978449),
    (1e6, 997500.0, 0.0061790059173419734, 0.99382099408265803),
    (1e8, 100040000.0, 0.99996826179263119, 3.1738207368808895e-5),
    (78455329.0, 78404701.0, 5.4202416745669336e-9, 0.99999999457975833),
]


@pytest.mark.parametrize(("a", "x", "lower", "upper"), NEAR_A_LARGE_ONE)
def test_near_a_large_one(a: float, x: float, lower: float, upper: float) -> None:
    given = torch.tensor([a, x], dtype=torch.float64)
    assert torch.igamma(given[0], given[1]).item() == pytest.approx(lower, rel=2e-14)
    assert torch.igammac(given[0], given[1]).item() == pytest.approx(upper, rel=2e-14)


def test_ways_of_computing_meet() -> None:
    """P(a, x) - P(a + 1, x) is x**a exp(-x) / Gamma(a + 1), wherever series give way to others."""
    a = torch.tensor([0.5, 19.5, 20.0, 20.5, 40.0, 300.0], dtype=torch.float64).view(-1, 1)
    ratio = torch.linspace(0.5, 1.6, 45, dtype=torch.float64)
    x = a * ratio
    step = torch.exp(a * x.log() - x - torch.lgamma(a + 1))
    fall = torch.igamma(a, x) - torch.igamma(a + 1, x)
    assert torch.allclose(fall, step, rtol=1e-10, atol=1e-14)
    assert torch.allclose(torch.igamma(a, x) + torch.igammac(a, x), torch.ones_like(x), rtol=1e-14)
