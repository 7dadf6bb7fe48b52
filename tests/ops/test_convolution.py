"""Convolutions and their transposes against loops over the taps in NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


def convolve(x, w, stride, padding, dilation, groups):
    """One tap at a time."""
    n = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)]
    sizes = [(s - span) // st + 1 for s, span, st in zip(x.shape[2:], spans, stride, strict=True)]
    out = np.zeros((x.shape[0], w.shape[0], *sizes), np.result_type(x, w))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for tap in itertools.product(*map(range, w.shape[2:])):
        at = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, dilation, sizes, stride, strict=True)
        )
        for g in range(groups):
            part = x[(slice(None), slice(g * per_in, (g + 1) * per_in), *at)]
            weight = w[(slice(g * per_out, (g + 1) * per_out), slice(None), *tap)]
            mixed = np.tensordot(part, weight, ([1], [1]))
            out[:, g * per_out : (g + 1) * per_out] += np.moveaxis(mixed, -1, 1)
    assert out.ndim == n + 2
    return out


def transpose(x, w, stride, padding, output_padding, dilation, groups):
    """Every input element adds its multiple of the filter."""
    spatial = [
        (s - 1) * st + d * (k - 1) + 1 + e
        for s, st, d, k, e in zip(
            x.shape[2:], stride, dilation, w.shape[2:], output_padding, strict=True
        )
    ]
    per_in, per_out = w.shape[0] // groups, w.shape[1]
    out = np.zeros((x.shape[0], per_out * groups, *spatial))
    for tap in itertools.product(*map(range, w.shape[2:])):
        at = tuple(
            slice(t * d, t * d + (s - 1) * st + 1, st)
            for t, d, s, st in zip(tap, dilation, x.shape[2:], stride, strict=True)
        )
        for g in range(groups):
            part = x[:, g * per_in : (g + 1) * per_in]
            weight = w[(slice(g * per_in, (g + 1) * per_in), slice(None), *tap)]
            mixed = np.moveaxis(np.tensordot(part, weight, ([1], [0])), -1, 1)
            out[(slice(None), slice(g * per_out, (g + 1) * per_out), *at)] += mixed
    cut = tuple(slice(p, s - p) for p, s in zip(padding, spatial, strict=True))
    return out[(slice(None), slice(None), *cut)]


CASES = [
    # x, filters, stride, padding, dilation, groups
    ((2, 3, 9), (4, 3, 3), (1,), (0,), (1,), 1),
    ((2, 4, 12), (6, 2, 4), (2,), (3,), (2,), 2),
    ((2, 3, 8, 9), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 10, 11), (8, 1, 3, 2), (2, 3), (1, 2), (2, 1), 4),
    ((3, 2, 6, 6), (7, 2, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 2, 5, 6, 7), (4, 1, 2, 3, 2), (1, 2, 1), (1, 0, 1), (2, 1, 1), 2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
def test_values(case: tuple, dtype: str) -> None:
    x_shape, w_shape, stride, padding, dilation, groups = case
    x, w = uniform(*x_shape), uniform(*w_shape, seed=1)
    if dtype == "complex128":
        x, w = x + 1j * uniform(*x_shape, seed=2), w + 1j * uniform(*w_shape, seed=3)
    if dtype == "int64":
        x, w = (9 * x).astype(dtype), (9 * w).astype(dtype)
    kind = getattr(torch, dtype)
    found = CONV[len(stride)](
        torch.tensor(x, dtype=kind),
        torch.tensor(w, dtype=kind),
        None,
        stride,
        padding,
        dilation,
        groups,
    )
    assert found.dtype is kind
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    wanted = convolve(x, w, stride, padding, dilation, groups)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=tolerance, atol=tolerance)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_two_dimensions_of_any_geometry(data: st.DataObject) -> None:
    draw = data.draw
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(2))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(2))
    size = [
        d * (k - 1) + 1 + draw(st.integers(0, 5)) for d, k in zip(dilation, kernel, strict=True)
    ]
    groups = draw(st.integers(1, 2))
    x, w = uniform(2, 2 * groups, *size), uniform(3 * groups, 2, *kernel, seed=1)
    found = F.conv2d(torch.tensor(x), torch.tensor(w), None, stride, padding, dilation, groups)
    np.testing.assert_allclose(
        found.numpy(), convolve(x, w, stride, padding, dilation, groups), atol=1e-12
    )


def test_bias_unbatched_and_other_layouts() -> None:
    x, w, b = uniform(2, 3, 6, 5), uniform(4, 3, 3, 3, seed=1), uniform(4, seed=2)
    t, weight, bias = (torch.tensor(v) for v in (x, w, b))
    wanted = convolve(x, w, (1, 1), (0, 0), (1, 1), 1) + b.reshape(-1, 1, 1)
    np.testing.assert_allclose(F.conv2d(t, weight, bias).numpy(), wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        F.conv2d(t[1], weight, bias).numpy(), wanted[1], rtol=1e-10, atol=1e-12
    )
    turned = F.conv2d(t.transpose(2, 3), weight.transpose(2, 3), bias).numpy()
    np.testing.assert_allclose(turned, wanted.transpose(0, 1, 3, 2), rtol=1e-10, atol=1e-12)
    assert F.conv2d(t[:0], weight).shape == (0, 4, 4, 3)


def test_padding_by_name() -> None:
    x, w = uniform(1, 1, 7), uniform(1, 1, 4, seed=1)
    found = F.conv1d(torch.tensor(x), torch.tensor(w), padding="same")
    wanted = convolve(np.pad(x, [(0, 0), (0, 0), (1, 2)]), w, (1,), (0,), (1,), 1)
    np.testing.assert_allclose(found.numpy(), wanted)
    assert F.conv1d(torch.tensor(x), torch.tensor(w), padding="valid").shape == (1, 1, 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_carried_in_float32(dtype: str) -> None:
    kind = getattr(torch, dtype)
    x, w = (
        torch.tensor(uniform(1, 64, 8, 8)).to(kind),
        torch.tensor(uniform(4, 64, 3, 3, seed=1)).to(kind),
    )
    exact = F.conv2d(x.double(), w.double()).numpy()
    found = F.conv2d(x, w).double().numpy()
    np.testing.assert_allclose(
        found, exact, rtol=2 * torch.finfo(kind).eps, atol=1e-2 * torch.finfo(kind).eps * 64
    )


TRANSPOSES = [
    # x, filters, stride, padding, output padding, dilation, groups
    ((2, 4, 5), (4, 3, 3), (1,), (0,), (0,), (1,), 1),
    ((2, 4, 4, 5), (4, 2, 3, 2), (2, 3), (1, 0), (1, 2), (1, 2), 2),
    (
        (1, 2, 4, 4),
        (2, 2, 4, 5),
        (3, 2),
        (1, 2),
        (2, 3),
        (4, 4),
        1,
    ),  # output padding beyond the stride
    ((1, 2, 3, 2, 3), (2, 2, 2, 3, 2), (2, 1, 2), (0, 1, 0), (1, 0, 1), (1, 1, 1), 2),
]


@pytest.mark.parametrize("case", TRANSPOSES, ids=str)
def test_transposed_values(case: tuple) -> None:
    x_shape, w_shape, stride, padding, extra, dilation, groups = case
    x, w = uniform(*x_shape), uniform(*w_shape, seed=1)
    bias = uniform(w.shape[1] * groups, seed=2)
    found = TRANSPOSED[len(stride)](
        torch.tensor(x),
        torch.tensor(w),
        torch.tensor(bias),
        stride,
        padding,
        extra,
        groups,
        dilation,
    )
    wanted = transpose(x, w, stride, padding, extra, dilation, groups)
    wanted = wanted + bias.reshape(-1, *(1,) * len(stride))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[3], CASES[5]], ids=str)
def test_derivatives(case: tuple) -> None:
    x_shape, w_shape, *rest = case
    n = len(x_shape) - 2
    inputs = (double(1, *x_shape[1:]), double(*w_shape, seed=1), double(w_shape[0], seed=2))
    assert gradcheck(lambda x, w, b: CONV[n](x, w, b, *rest), inputs, fast_mode=True)


def test_derivatives_in_full() -> None:
    inputs = (double(1, 2, 4, 3), double(2, 1, 2, 2, seed=1), double(2, seed=2))
    assert gradcheck(lambda x, w, b: F.conv2d(x, w, b, (2, 1), 1, 1, 2), inputs)
    assert gradgradcheck(lambda x, w, b: F.conv2d(x, w, b, (2, 1), 1, 1, 2), inputs)
    inputs = (double(1, 2, 3), double(2, 2, 2, seed=1), double(2, seed=2))
    assert gradcheck(lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), inputs)
    assert gradgradcheck(lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), inputs)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (
            lambda: F.conv2d(torch.ones(1, 3, 5, 5), torch.ones(4, 2, 3, 3)),
            ("conv2d", "(4, 2, 3, 3)", "(1, 3, 5, 5)"),
        ),
        (
            lambda: F.conv2d(torch.ones(3, 5), torch.ones(4, 3, 3, 3)),
            ("conv2d", "[3, 5]", "[4, 3, 3, 3]"),
        ),
        (lambda: F.conv1d(torch.ones(1, 1, 2), torch.ones(1, 1, 3)), ("Kernel size", "(3,)")),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3).double()),
            ("float32", "float64"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), stride=0),
            ("conv1d", "stride"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), padding=-1),
            ("conv1d", "padding"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), torch.ones(2)),
            ("bias", "[2]"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), padding="sam"),
            ("conv1d", "sam"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), stride=2, padding="same"),
            ("same", "strided"),
        ),
        (
            lambda: F.conv1d(torch.ones(1, 4, 5), torch.ones(3, 2, 3), groups=2),
            ("conv1d", "3", "2 groups"),
        ),
        (lambda: F.conv_transpose1d(torch.ones(1, 2, 5), torch.ones(3, 1, 3)), ("3", "2 channels")),
        (
            lambda: F.conv_transpose1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), output_padding=1),
            ("conv_transpose1d", "output padding"),
        ),
    ],
)
def test_errors_name_the_op(call, parts: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_infinity_stays_in_its_windows():
    """Large convolutions work in tiles; a value that is not finite must not leave its windows."""
    x = torch.ones(2, 32, 16, 16)
    x[0, 3, 8, 8] = float("inf")
    y = torch.nn.functional.conv2d(x, torch.ones(32, 32, 3, 3), padding=1)
    hit = torch.isinf(y)
    assert hit.sum().item() == 32 * 9
    assert hit[0, :, 7:10, 7:10].all().item()
    assert torch.isfinite(y[1]).all().item()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batch", [1, 5])
def test_bfloat_gradient_of_filters_with_one_tap(stride, batch):
    """All images and pixels, summed in float32."""
    torch.manual_seed(0)
    x = torch.randn(batch, 40, 30, 29).bfloat16()
    weight = torch.randn(48, 40, 1, 1).bfloat16().requires_grad_()
    output = torch.nn.functional.conv2d(x, weight, stride=stride)
    dy = torch.randn(*output.shape).bfloat16()
    (ours,) = torch.autograd.grad(output, weight, dy)
    met = x[:, :, ::stride, ::stride].float()
    expected = torch.einsum("nohw,nchw->oc", dy.float(), met)
    assert ours.dtype == torch.bfloat16
    assert ours.shape == weight.shape
    np.testing.assert_allclose(
        ours.float().view(48, 40).numpy(), expected.numpy(), rtol=8e-3, atol=0.1
    )
