"""Random functions beside PyTorch's: the same seed gives the same numbers and leaves the same
state.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

SEEDS = (0, 1, 1234, 2**32 - 1, 2**40 + 7, -3)
SIZES = (1, 3, 15, 16, 17, 100, 1001)
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


def same(call, seed: int) -> None:
    """Run call(library) on both after seeding; values, strides and generator state must agree."""
    results = []
    for library in (torch, flambeau):
        library.manual_seed(seed)
        value = call(library)
        results.append((value, library.get_rng_state().tolist()))
    (wanted, wanted_state), (found, found_state) = results
    assert found.dtype == getattr(flambeau, str(wanted.dtype).rpartition(".")[2])
    assert tuple(found.shape) == tuple(wanted.shape)
    assert found.stride() == wanted.stride()
    assert found.tolist() == wanted.tolist()
    assert found_state == wanted_state


def kinds(lib, n: int, dtype: str) -> dict:
    d = getattr(lib, dtype)
    return {
        "rand": lambda: lib.rand(n, dtype=d),
        "randn": lambda: lib.randn(n, dtype=d),
        "uniform_": lambda: lib.empty(n, dtype=d).uniform_(-0.37, 1.71),
        "normal_": lambda: lib.empty(n, dtype=d).normal_(0.3, 1.7),
        "exponential_": lambda: lib.empty(n, dtype=d).exponential_(1.7),
        "geometric_": lambda: lib.empty(n, dtype=d).geometric_(0.17),
        "cauchy_": lambda: lib.empty(n, dtype=d).cauchy_(0.3, 1.7),
        "log_normal_": lambda: lib.empty(n, dtype=d).log_normal_(0.3, 1.7),
        "bernoulli_": lambda: lib.empty(n, dtype=d).bernoulli_(0.3),
        "bernoulli": lambda: lib.bernoulli(lib.full((n,), 0.3, dtype=d)),
        "poisson": lambda: lib.poisson(lib.full((n,), 3.5, dtype=d)),
        "random_": lambda: lib.empty(n, dtype=d).random_(),
        "random_to": lambda: lib.empty(n, dtype=d).random_(3, 90),
        "randint": lambda: lib.randint(0, 100, (n,), dtype=d),
        "randperm": lambda: lib.randperm(min(n, 100), dtype=d),
        "dropout": lambda: lib.nn.functional.dropout(lib.ones(n, dtype=d), 0.3),
        "alpha_dropout": lambda: lib.nn.functional.alpha_dropout(lib.ones(n, dtype=d), 0.3, True),
        "rrelu": lambda: lib.nn.functional.rrelu(-lib.ones(n, dtype=d), 0.1, 0.3, True),
        "rand_like": lambda: lib.rand_like(lib.empty(n, dtype=d)),
        "randn_like": lambda: lib.randn_like(lib.empty(n, dtype=d)),
        "normal": lambda: lib.normal(lib.full((n,), 0.3, dtype=d), lib.full((n,), 1.7, dtype=d)),
        "normal_std": lambda: lib.normal(lib.full((n,), 0.3, dtype=d), 1.7),
        "normal_size": lambda: lib.normal(0.3, 1.7, (n,), dtype=d),
    }


@pytest.mark.parametrize("name", list(kinds(flambeau, 1, "float32")))
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(name: str, dtype: str) -> None:
    if (name, dtype) == ("rrelu", "float16"):
        pytest.skip("PyTorch has no such kernel")
    for seed, n in zip(SEEDS, SIZES[-len(SEEDS) :], strict=True):
        same(lambda lib, n=n: kinds(lib, n, dtype)[name](), seed)


@pytest.mark.parametrize(
    "name", ["random_", "random_to", "randint", "randperm", "bernoulli_", "geometric_"]
)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(name: str, dtype: str) -> None:
    for seed in SEEDS:
        same(lambda lib: kinds(lib, 100, dtype)[name](), seed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "call",
    [
        lambda lib, d: lib._standard_gamma(lib.full((50,), 0.7, dtype=d)),
        lambda lib, d: lib._standard_gamma(lib.full((50,), 2.7, dtype=d)),
        lambda lib, d: lib._sample_dirichlet(lib.tensor([[0.5, 1, 2], [3, 0.1, 1]], dtype=d)),
        lambda lib, d: lib.binomial(lib.full((50,), 100.0, dtype=d), lib.full((50,), 0.3, dtype=d)),
        lambda lib, d: lib.binomial(lib.full((50,), 10.0, dtype=d), lib.full((50,), 0.7, dtype=d)),
        lambda lib, d: lib.poisson(lib.linspace(0, 50, 51, dtype=d)),
        lambda lib, d: lib.multinomial(lib.arange(1, 9, dtype=d).reshape(2, 4), 3),
        lambda lib, d: lib.multinomial(lib.arange(1, 9, dtype=d).reshape(2, 4), 30, True),
        lambda lib, d: lib.multinomial(lib.arange(1, 9, dtype=d).reshape(4, 2).t(), 3),
        lambda lib, d: lib.multinomial(lib.arange(1, 9, dtype=d), 1),
        lambda lib, d: lib.nn.functional.dropout2d(lib.ones(3, 4, 2, 2, dtype=d), 0.4),
        lambda lib, d: lib.nn.functional.dropout1d(lib.ones(3, 4, dtype=d), 0.4),
        lambda lib, d: lib.nn.functional.dropout3d(lib.ones(3, 4, 2, 2, 2, dtype=d), 0.4),
        lambda lib, d: lib.nn.functional.feature_alpha_dropout(
            lib.ones(3, 4, 5, dtype=d), 0.4, True
        ),
        lambda lib, d: lib.native_dropout(lib.ones(20, dtype=d), 0.3, True)[0],
        lambda lib, d: lib.normal(lib.zeros(3, 1, dtype=d), lib.ones(4, dtype=d)),
        lambda lib, d: lib.normal(0.5, lib.ones(20, dtype=d)),
        lambda lib, d: lib.empty(20, dtype=d).bernoulli_(lib.linspace(0, 1, 20, dtype=d)),
    ],
)
def test_distributions(call, dtype: str) -> None:
    for seed in SEEDS:
        same(lambda lib: call(lib, getattr(lib, dtype)), seed)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x.reshape(2, 5, 6).permute(2, 0, 1),
        lambda x: x.reshape(2, 5, 6).permute(1, 2, 0)[:, 1:4],
        lambda x: x.reshape(1, 5, 2, 6).permute(0, 3, 1, 2),
    ],
)
@pytest.mark.parametrize("name", ["uniform_", "normal_", "random_", "bernoulli_"])
def test_order_of_memory(view, name: str) -> None:
    same(lambda lib: getattr(view(lib.zeros(6, 10)), name)(), 3)
    same(lambda lib: lib.randn_like(view(lib.zeros(6, 10))), 3)
    same(lambda lib: lib.nn.functional.dropout(view(lib.ones(6, 10)), 0.5), 3)


@pytest.mark.parametrize(
    "bounds", [(0, 2**28), (-5, 2**40), (-(2**63), 2**63 - 1), (2**40, 2**40 + 1)]
)
def test_wide_integers(bounds: tuple) -> None:
    same(lambda lib: lib.randint(*bounds, (20,)), 5)
    same(lambda lib: lib.empty(20, dtype=lib.int64).random_(*bounds), 5)


def test_open_ended_integers() -> None:
    same(lambda lib: lib.empty(20, dtype=lib.int64).random_(-(2**63), None), 5)
    same(lambda lib: lib.empty(20, dtype=lib.int32).random_(7, None), 5)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex(dtype: str) -> None:
    for n in (3, 8, 40):
        same(lambda lib, n=n: lib.randn(n, dtype=getattr(lib, dtype)), 1)
        same(lambda lib, n=n: lib.rand(n, dtype=getattr(lib, dtype)), 1)


def test_generators_and_states_travel() -> None:
    theirs, ours = torch.Generator().manual_seed(9), flambeau.Generator().manual_seed(9)
    torch.randn(5, generator=theirs)
    state = flambeau.from_numpy(theirs.get_state().numpy())
    ours.set_state(state)
    assert flambeau.randn(7, generator=ours).tolist() == torch.randn(7, generator=theirs).tolist()
    assert ours.get_state().tolist() == theirs.get_state().tolist()
