"""What tensors print, beside PyTorch's, on random tensors of all kinds."""

from __future__ import annotations

import math
import random

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

DTYPES = [
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
]
SHAPES = ([0, 1, 2, 3, 5, 9, 40], [1, 2, 3, 4])


def make_part(shape: list[int], rng: random.Random) -> torch.Tensor:
    """Numbers that call for one style of printing or another."""
    x = torch.randn(shape, dtype=torch.float64)
    kind = rng.choice(["plain", "big", "small", "whole", "wide", "inf", "nan", "zero"])
    if kind == "big":
        return x * 10 ** rng.randint(0, 12)
    if kind == "small":
        return x * 10 ** -rng.randint(0, 12)
    if kind == "whole":
        return (x * 10 ** rng.randint(0, 6)).round()
    if kind == "wide":
        return torch.exp(8 * x)
    if kind == "zero":
        return torch.where(torch.rand(shape) < 0.7, 0.0, x)
    if kind in ("inf", "nan"):
        rest = x if rng.random() < 0.5 else x.round()
        return torch.where(torch.rand(shape) < 0.3, float(kind) * (-1) ** rng.randint(0, 1), rest)
    return x


def make_tensor(rng: random.Random) -> torch.Tensor:
    """A random tensor."""
    shape = [rng.choice(rng.choice(SHAPES)) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4]))]
    while math.prod(shape) > 20000:
        shape.pop()
    dtype = getattr(torch, rng.choice(DTYPES))
    x = make_part(shape, rng)
    if dtype.is_complex:
        x = torch.complex(x, make_part(shape, rng))
    elif not dtype.is_floating_point:
        x = torch.nan_to_num(x, 0, 0, 0).clamp(-1e6, 1e6)
    return x.to(dtype)


def make_options(rng: random.Random) -> dict:
    """Arguments of set_printoptions."""
    if rng.random() < 0.7:
        return {}
    return {
        "precision": rng.choice([None, 0, 2, 6]),
        "threshold": rng.choice([None, 5, 20]),
        "edgeitems": rng.choice([None, 1, 2]),
        "linewidth": rng.choice([None, 20, 40, 120]),
        "sci_mode": rng.choice([None, None, True, False]),
    }


@pytest.fixture(autouse=True)
def _default_options():
    yield
    torch.set_printoptions(profile="default")
    flambeau.set_printoptions(profile="default")


@pytest.mark.parametrize("seed", range(8))
def test_random_tensors(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for _ in range(80):
        options = make_options(rng)
        for library in (torch, flambeau):
            library.set_printoptions(profile="default")
            library.set_printoptions(**options)
        theirs = make_tensor(rng)
        ours = flambeau.from_numpy(theirs.numpy())
        if rng.random() < 0.3 and (theirs.is_floating_point() or theirs.is_complex()):
            theirs.requires_grad_()
            ours.requires_grad_()
            if rng.random() < 0.5:
                theirs, ours = theirs + 1, ours + 1
        assert repr(ours) == repr(theirs), options


def test_bfloat16_and_parameters() -> None:
    for library in (torch, flambeau):
        library.manual_seed(0)
    makers = [
        lambda lib: lib.randn(3, 4).to(lib.bfloat16),
        lambda lib: lib.nn.Parameter(lib.randn(2, 3)),
        lambda lib: lib.zeros(2, dtype=lib.float32),
        lambda lib: lib.tensor(3.5).requires_grad_().sum(),
        lambda lib: lib.zeros(2, 0, dtype=lib.bool),
        lambda lib: lib.full((3, 1500), 2.5)[:, ::2],
    ]
    for make in makers:
        assert repr(make(flambeau)) == repr(make(torch))


def test_default_dtype_decides_what_is_named() -> None:
    try:
        for library in (torch, flambeau):
            library.set_default_dtype(library.float64)
        for name in ("float32", "float64", "complex64", "complex128", "int64"):
            theirs = torch.zeros(2, dtype=getattr(torch, name))
            ours = flambeau.zeros(2, dtype=getattr(flambeau, name))
            assert repr(ours) == repr(theirs)
    finally:
        for library in (torch, flambeau):
            library.set_default_dtype(library.float32)


@pytest.mark.parametrize("spec", ["", ".2f", ">10"])
def test_format(spec: str) -> None:
    for value in (3.14159, 7, True):
        assert format(flambeau.tensor(value), spec) == format(torch.tensor(value), spec)
