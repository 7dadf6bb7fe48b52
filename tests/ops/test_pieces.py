"""Flips, rolls and paddings: copies made of pieces, and their transposes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.ops.pieces import runs

F = torch.nn.functional
DTYPES = ["bool", "uint8", "int16", "float32", "int64", "complex128"]


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_flip_of_rows_of_any_length(dtype: str) -> None:
    for width in (*range(1, 70), 127, 128, 129):
        a = numbers((3, width), dtype)
        np.testing.assert_array_equal(torch.tensor(a).flip(1).numpy(), a[:, ::-1])


@pytest.mark.parametrize("dims", [0, -1, (0, -1), [1], np.int64(1), torch.tensor(1), True])
def test_dimensions_of_flip(dims) -> None:
    a = numbers((3, 5), "float32")
    axes = tuple(dims) if isinstance(dims, list) else dims if isinstance(dims, tuple) else int(dims)
    for _ in range(2):  # what the first call remembers serves the second
        np.testing.assert_array_equal(torch.tensor(a).flip(dims).numpy(), np.flip(a, axes))
        with pytest.raises(IndexError, match="flip"):
            torch.tensor(a).flip(2)
        with pytest.raises(RuntimeError, match="dim 1 appears multiple times"):
            torch.tensor(a).flip(1, -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (7,), (70, 33), (3, 1, 130), (2, 3, 4, 5)])
def test_flip_and_roll_of_every_dimension(dtype: str, shape: tuple[int, ...]) -> None:
    a = numbers(shape, dtype)
    x = torch.tensor(a)
    for d in range(len(shape)):
        np.testing.assert_array_equal(x.flip(d).numpy(), np.flip(a, d))
        for shift in (0, 1, -3, 50):
            np.testing.assert_array_equal(x.roll(shift, d).numpy(), np.roll(a, shift, d))
    every = tuple(range(len(shape)))
    np.testing.assert_array_equal(x.flip(every).numpy(), np.flip(a))
    np.testing.assert_array_equal(x.roll(5).numpy(), np.roll(a, 5))
    if len(shape) > 1:
        np.testing.assert_array_equal(x.mT.flip(0).numpy(), np.flip(a.swapaxes(-1, -2), 0))


@given(st.integers(-3, 6), st.integers(-3, 6), st.integers(-2, 4), st.integers(-2, 4))
@settings(max_examples=60, deadline=None)
def test_constant_padding_and_cutting(left: int, right: int, top: int, bottom: int) -> None:
    a = numbers((2, 9, 8), "float32")
    made = F.pad(torch.tensor(a), (left, right, top, bottom), value=-1.0).numpy()
    cut = a[:, max(-top, 0) : 9 - max(-bottom, 0), max(-left, 0) : 8 - max(-right, 0)]
    around = [(0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
    np.testing.assert_array_equal(made, np.pad(cut, around, constant_values=-1))


@pytest.mark.parametrize(
    ("mode", "other"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4))
@settings(max_examples=20, deadline=None)
def test_padding_with_elements(mode: str, other: str, widths: list[int]) -> None:
    a = numbers((2, 3, 5, 6), "float64")
    around = [(0, 0), (0, 0), (widths[2], widths[3]), (widths[0], widths[1])]
    made = F.pad(torch.tensor(a), tuple(widths), mode=mode).numpy()
    np.testing.assert_array_equal(made, np.pad(a, around, mode=other))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_gradients_of_padding(mode: str) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    for widths in ((2, 3, 1, 2), (0, 4, 3, 0), (-1, 2, 0, -2)):
        f = lambda x, widths=widths: F.pad(x, widths, mode=mode)
        assert gradcheck(f, x)
        assert gradgradcheck(f, x)


def test_gradients_of_flip_and_roll() -> None:
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x.flip(0, 2), x)
    assert gradcheck(lambda x: x.roll((1, -2), (0, 2)), x)
    assert gradgradcheck(lambda x: x.roll(2, 1).flip(1), x)


def test_runs_of_positions() -> None:
    assert runs([2, 1, 0, 1]) == [(0, 3, 2, -1), (3, 1, 1, 1)]
    assert runs([0, 0, 0], 4) == [(4, 3, 0, 0)]
    assert runs([]) == []


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_padding_of_many_planes(mode: str, threads: int) -> None:
    other = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    a = numbers((6, 40, 9, 30), "float32")
    layouts = {
        "dense": lambda v: v,
        "one of three channels": lambda v: v[:, 1:2],
        "every other": lambda v: v[::2, ::2],
        "channels last": lambda v: v.swapaxes(1, 3),
        "planes last": lambda v: v.swapaxes(0, 3),
        "no planes": lambda v: v[2, 7:8],
    }
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, view in layouts.items():
            around = [(0, 0)] * (view(a).ndim - 2) + [(2, 1), (0, 3)]
            made = F.pad(view(torch.tensor(a)), (0, 3, 2, 1), mode=mode).numpy()
            np.testing.assert_array_equal(made, np.pad(view(a), around, mode=other[mode]), name)
    finally:
        torch.set_num_threads(before)


def test_roll_and_flip_across_many_rows() -> None:
    a = numbers((3000, 5, 9), "int16")
    x = torch.tensor(a)
    np.testing.assert_array_equal(x.roll((7, 2), (0, 2)).numpy(), np.roll(a, (7, 2), (0, 2)))
    np.testing.assert_array_equal(x.flip(0).roll(4, 2).numpy(), np.roll(a[::-1], 4, 2))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(6, 40, 9, 30), (2, 7, 300), (1, 1, 200, 301), (3, 4, 5, 6, 7)])
def test_gradients_are_the_same_in_every_type_and_layout(mode: str, shape: tuple) -> None:
    widths = (2, 1, 0, 3, 1, 2)[: 2 * min(len(shape) - 2, 3)]
    a = numbers(shape, "float64")
    seed = F.pad(torch.tensor(a), widths, mode=mode)
    before, found = torch.get_num_threads(), []
    try:
        for dtype in (torch.float64, torch.float32, torch.float16):  # halves go another way
            for threads in (1, 2):
                torch.set_num_threads(threads)
                x = torch.tensor(a, dtype=dtype, requires_grad=True)
                y, g = F.pad(x, widths, mode=mode), (seed % 7).to(dtype)
                found += torch.autograd.grad(y, x, g, retain_graph=True)
                found += torch.autograd.grad(y, x, g.mT.contiguous().mT)
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other.double().numpy(), found[0].numpy())


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("widths", [(3, 3), (1, 1, 1), (1, 2, 5), (33, 7), (0, 4), (40, 100)])
def test_rows_of_few_bytes_are_joined(widths, dtype):
    for rows in (1, 2, 15, 16, 17, 40000):
        x = [np.random.default_rng(w).integers(0, 99, (rows, w)).astype(dtype) for w in widths]
        parts = [torch.from_numpy(a) for a in x]
        np.testing.assert_array_equal(torch.cat(parts, 1).numpy(), np.concatenate(x, 1))
        if len(set(widths)) == 1:
            np.testing.assert_array_equal(torch.stack(parts, -1).numpy(), np.stack(x, -1))
