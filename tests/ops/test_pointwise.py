"""Arithmetic and elementary functions against NumPy: types, layouts, edges, errors, derivatives."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import core
from flambeau.autograd import gradcheck, gradgradcheck

FLOATS = ("float16", "bfloat16", "float32", "float64")
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "float64": 1e-13}
TOLERANCE |= {"complex64": 2e-5, "complex128": 1e-12}


def uniform(*shape: int, low: float = -2, high: float = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def double(*shape: int, low: float = -2, high: float = 2, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, low=low, high=high, seed=seed), requires_grad=True)


def complex_(*shape: int, seed: int = 0) -> np.ndarray:
    return uniform(*shape, seed=seed) + 1j * uniform(*shape, seed=seed + 1)


def numbers(x: torch.Tensor) -> np.ndarray:
    return (x.float() if x.dtype is torch.bfloat16 else x).numpy()


# ---- elementary functions ------------------------------------------------------------------------

UNARY = {
    "exp": (np.exp, -2, 2), "exp2": (np.exp2, -2, 2), "expm1": (np.expm1, -2, 2),
    "log": (np.log, 0.1, 5), "log2": (np.log2, 0.1, 5), "log10": (np.log10, 0.1, 5),
    "log1p": (np.log1p, -0.9, 5), "sqrt": (np.sqrt, 0.1, 5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 5),
    "sin": (np.sin, -4, 4), "cos": (np.cos, -4, 4), "tan": (np.tan, -1.4, 1.4),
    "asin": (np.arcsin, -0.9, 0.9), "acos": (np.arccos, -0.9, 0.9), "atan": (np.arctan, -3, 3),
    "sinh": (np.sinh, -2, 2), "cosh": (np.cosh, -2, 2), "tanh": (np.tanh, -2, 2),
    "asinh": (np.arcsinh, -3, 3), "acosh": (np.arccosh, 1.2, 5), "atanh": (np.arctanh, -0.9, 0.9),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -4, 4), "reciprocal": (lambda x: 1 / x, 0.3, 3),
    "neg": (np.negative, -3, 3), "abs": (np.abs, -3, 3), "square": (np.square, -3, 3),
    "floor": (np.floor, -3, 3), "ceil": (np.ceil, -3, 3), "trunc": (np.trunc, -3, 3),
    "round": (np.round, -3, 3), "sign": (np.sign, -3, 3),
    "frac": (lambda x: x - np.trunc(x), -3, 3),
    "deg2rad": (np.deg2rad, -90, 90), "rad2deg": (np.rad2deg, -3, 3),
    "sinc": (np.sinc, -3, 3), "nan_to_num": (np.nan_to_num, -3, 3),
}  # fmt: skip
SMOOTH = sorted(set(UNARY) - {"floor", "ceil", "trunc", "round", "sign"})
COMPLEX = [
    "exp",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "sigmoid",
    "reciprocal",
    "neg",
    "abs",
    "square",
]


@pytest.mark.parametrize("name", sorted(UNARY))
@pytest.mark.parametrize("dtype", FLOATS)
def test_unary_values(name: str, dtype: str) -> None:
    reference, low, high = UNARY[name]
    x = torch.tensor(uniform(7, 5, low=low, high=high)).to(getattr(torch, dtype))
    found = getattr(torch, name)(x)
    assert found.dtype is x.dtype
    assert found.shape == x.shape
    tolerance = TOLERANCE[dtype] * (4 if name in ("tan", "sinc", "frac") else 1)
    wanted = reference(numbers(x).astype("float64"))
    np.testing.assert_allclose(numbers(found), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", COMPLEX)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_unary_values_of_complex_numbers(name: str, dtype: str) -> None:
    z = complex_(6, 5)
    found = getattr(torch, name)(torch.tensor(z).to(getattr(torch, dtype)))
    assert found.is_complex() == (name != "abs")
    wanted = UNARY[name][0](z)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "tanh", "sigmoid", "log1p", "reciprocal"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integers_become_the_default_float(name: str, dtype: str) -> None:
    x = torch.tensor([1, 2, 1, 3]).to(getattr(torch, dtype))
    found = getattr(torch, name)(x)
    assert found.dtype is torch.float32
    np.testing.assert_allclose(found.numpy(), UNARY[name][0](x.double().numpy()), rtol=1e-6)


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "neg", "abs", "sign"])
def test_integers_stay_integers(name: str) -> None:
    x = torch.tensor([-3, 0, 4])
    found = getattr(torch, name)(x)
    assert found.dtype is torch.int64
    assert found.tolist() == UNARY[name][0](np.array([-3, 0, 4])).tolist()


@pytest.mark.parametrize("name", SMOOTH)
def test_unary_derivatives(name: str) -> None:
    _, low, high = UNARY[name]
    function = getattr(torch, name)
    assert gradcheck(function, (double(4, low=low, high=high),))
    assert gradgradcheck(function, (double(3, low=low, high=high),))


@pytest.mark.parametrize("name", COMPLEX)
def test_unary_derivatives_of_complex_numbers(name: str) -> None:
    z = torch.tensor(complex_(3, seed=5), requires_grad=True)
    assert gradcheck(getattr(torch, name), (z,))


@pytest.mark.parametrize("name", ["exp", "sqrt", "log", "tanh", "sigmoid", "atan", "erf", "floor"])
def test_special_values(name: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], "float32")
    with np.errstate(all="ignore"):
        wanted = np.array([math.erf(v) for v in x]) if name == "erf" else UNARY[name][0](x)
    np.testing.assert_array_equal(
        getattr(torch, name)(torch.tensor(x)).numpy(), wanted.astype("float32")
    )


def test_layouts_give_the_same_numbers() -> None:
    x = uniform(6, 4, 5)
    t = torch.tensor(x)
    np.testing.assert_array_equal(
        t.transpose(0, 2).exp().numpy(), t.exp().numpy().transpose(2, 1, 0)
    )
    np.testing.assert_array_equal(t[::2, :, 1::3].exp().numpy(), t.exp().numpy()[::2, :, 1::3])
    np.testing.assert_array_equal(
        t[:1].expand(3, 4, 5).exp().numpy(), t[:1].exp().numpy().repeat(3, 0)
    )
    assert t[:0].exp().shape == (0, 4, 5)
    assert torch.tensor(0.0).exp().shape == ()


# ---- arithmetic ----------------------------------------------------------------------------------

BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "atan2": np.arctan2,
    "hypot": np.hypot, "copysign": np.copysign, "fmod": np.fmod, "remainder": np.remainder,
    "floor_divide": np.floor_divide, "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2,
    "nextafter": np.nextafter, "float_power": np.float_power,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary_values(name: str) -> None:
    a, b = uniform(5, 1, 4, low=0.2, high=3), uniform(3, 4, low=0.2, high=3, seed=1)
    found = getattr(torch, name)(torch.tensor(a), torch.tensor(b))
    assert found.shape == (5, 3, 4)
    np.testing.assert_allclose(found.numpy(), BINARY[name](a, b), rtol=1e-13)


@pytest.mark.parametrize(
    "name", sorted(set(BINARY) - {"nextafter", "floor_divide", "remainder", "fmod"})
)
def test_binary_derivatives(name: str) -> None:
    a, b = double(3, 1, low=0.3, high=2), double(2, low=0.4, high=2, seed=3)
    assert gradcheck(getattr(torch, name), (a, b))
    assert gradgradcheck(getattr(torch, name), (a, b))


@given(
    st.lists(st.integers(1, 3), max_size=3), st.lists(st.integers(1, 3), max_size=3), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_broadcasting_is_numpys(left: list[int], right: list[int], transposed: bool) -> None:
    a, b = uniform(*left), uniform(*right, seed=1)
    x, y = torch.tensor(a), torch.tensor(b)
    if transposed:
        a, x = a.T, x.permute(*reversed(range(x.dim())))
    try:
        wanted = a * b + a
    except ValueError:
        with pytest.raises(RuntimeError, match="must match the size of tensor b"):
            x * y
        return
    np.testing.assert_allclose((x * y + x).numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("int32", "int64", "int64"), ("uint8", "int8", "int16"), ("bool", "uint8", "uint8"),
        ("int64", "float16", "float16"), ("float16", "bfloat16", "float32"),
        ("float32", "complex64", "complex64"), ("float64", "complex64", "complex128"),
        ("bool", "bool", "bool"),
    ],
)  # fmt: skip
def test_promotion(a: str, b: str, result: str) -> None:
    x, y = torch.ones(2, dtype=getattr(torch, a)), torch.ones(2, dtype=getattr(torch, b))
    assert (x + y).dtype is getattr(torch, result)
    assert (y * x).dtype is getattr(torch, result)


def test_numbers_and_0d_tensors_do_not_widen() -> None:
    half = torch.ones(2, dtype=torch.float16)
    assert (half + 1.5).dtype is torch.float16
    assert (half + torch.tensor(1.5, dtype=torch.float64)).dtype is torch.float16
    assert (torch.ones(2, dtype=torch.int32) + 1).dtype is torch.int32
    assert (torch.ones(2, dtype=torch.int32) + 1.5).dtype is torch.float32
    assert (torch.ones(2) + 1j).dtype is torch.complex64
    assert (torch.ones(2, dtype=torch.bool) + 1).dtype is torch.int64


def test_alpha() -> None:
    x = torch.tensor([1, 2])
    assert torch.add(x, 10, alpha=3).tolist() == [31, 32]
    assert torch.sub(x, x, alpha=2).tolist() == [-1, -2]
    assert torch.rsub(x, 10, alpha=2).tolist() == [8, 6]
    assert (10 - x).tolist() == [9, 8]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.float32, np.float64])
def test_division_and_remainders_of_every_sign(dtype: type) -> None:
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid([-7, -4, 0, 4, 7], [-3, -2, 2, 3]))
    x, y = torch.tensor(a), torch.tensor(b)
    np.testing.assert_array_equal((x // y).numpy(), a // b)
    np.testing.assert_array_equal((x % y).numpy(), a % b)
    np.testing.assert_array_equal(torch.fmod(x, y).numpy(), np.fmod(a, b))
    truncated = np.trunc(a / b).astype(dtype)
    np.testing.assert_array_equal(torch.div(x, y, rounding_mode="trunc").numpy(), truncated)
    np.testing.assert_array_equal(torch.div(x, y, rounding_mode="floor").numpy(), a // b)


def test_powers() -> None:
    x = torch.tensor([-2, 0, 3])
    assert (x**3).tolist() == [-8, 0, 27]
    assert torch.pow(2, x.clamp(min=0)).tolist() == [1, 1, 8]
    assert (torch.tensor([4.0, 9.0]) ** 0.5).tolist() == [2, 3]
    assert (torch.tensor([True, False]) ** torch.tensor([False, True])).tolist() == [True, False]
    np.testing.assert_allclose((torch.tensor([-8.0]) ** 3).numpy(), [-512])
    assert torch.tensor(3).float_power(2).dtype is torch.float64


def test_power_at_zero_has_a_gradient() -> None:
    x = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([2.0, 0.0], dtype=torch.float64, requires_grad=True)
    (x**y).sum().backward()
    assert x.grad.tolist() == [0, 0]
    np.testing.assert_allclose(y.grad.numpy(), [0, math.log(2)])


def test_logaddexp_of_complex_numbers_does_not_overflow() -> None:
    a, b = torch.tensor([1000 + 1j, -1000 + 2j]), torch.tensor([999 - 1j, -1000 + 1j])
    wanted = [1000 + 1j + np.log(1 + np.exp(-1 - 2j)), -1000 + 2j + np.log(1 + np.exp(-1j))]
    np.testing.assert_allclose(torch.logaddexp(a, b).numpy(), wanted, rtol=1e-6)


# ---- fused forms, clamping -----------------------------------------------------------------------


def test_fused_forms() -> None:
    a, b, c = (uniform(4, seed=k, low=1) for k in range(3))
    x, y, z = (torch.tensor(v) for v in (a, b, c))
    np.testing.assert_allclose(torch.addcmul(x, y, z, value=0.5).numpy(), a + 0.5 * b * c)
    np.testing.assert_allclose(torch.addcdiv(x, y, z, value=2).numpy(), a + 2 * b / c)
    np.testing.assert_allclose(torch.lerp(x, y, 0.3).numpy(), a + 0.3 * (b - a))
    np.testing.assert_allclose(torch.xlogy(x, y).numpy(), a * np.log(b))
    assert torch.xlogy(torch.tensor(0.0), torch.tensor(0.0)).item() == 0
    for op in (torch.addcmul, torch.addcdiv, torch.lerp):
        assert gradcheck(op, tuple(double(3, seed=k, low=0.5) for k in range(3)))


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (None, 0.5), (-0.5, None), (1, -1)])
def test_clamp(low: float | None, high: float | None) -> None:
    x = uniform(9)
    with np.errstate(invalid="ignore"):
        wanted = x if low is None else np.maximum(x, low)
        wanted = wanted if high is None else np.minimum(wanted, high)
    np.testing.assert_array_equal(torch.tensor(x).clamp(low, high).numpy(), wanted)


def test_clamp_keeps_nan_and_takes_tensors() -> None:
    assert math.isnan(torch.tensor([math.nan]).clamp(0, 1).item())
    limits = torch.tensor([[0.0], [1.0]])
    assert torch.tensor([-1.0, 2.0]).clamp(min=limits).tolist() == [[0, 2], [1, 2]]
    assert gradcheck(
        torch.clamp, (double(5), torch.tensor(-0.5).double(), torch.tensor(1.0).double())
    )


def test_nan_to_num() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 1.5])
    assert x.nan_to_num(7, 8, 9).tolist() == [7, 8, 9, 1.5]
    largest = np.finfo("float32").max
    assert x.nan_to_num().tolist() == [0, largest, -largest, 1.5]


def test_frexp_and_ldexp_are_inverses() -> None:
    x = torch.tensor([0.0, 1.0, -3.75, 1e-40, 6e30])
    mantissa, exponent = torch.frexp(x)
    wanted = np.frexp(x.numpy())
    np.testing.assert_array_equal(mantissa.numpy(), wanted[0])
    np.testing.assert_array_equal(exponent.numpy(), wanted[1])
    assert torch.ldexp(mantissa[1:3], exponent[1:3]).tolist() == [1, -3.75]


def test_rounding_to_decimals() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5])
    assert x.round().tolist() == [0, 2, 2, 0]
    assert torch.tensor([1234.5678], dtype=torch.float64).round(decimals=2).tolist() == [1234.57]
    assert torch.tensor([1250.0]).round(decimals=-2).tolist() == [1200]


# ---- in place and out= ---------------------------------------------------------------------------


def test_in_place() -> None:
    x = torch.tensor([1.0, 4.0])
    assert x.sqrt_() is x
    assert x.tolist() == [1, 2]
    assert x.add_(1).mul_(torch.tensor(2.0)).tolist() == [4, 6]
    view = torch.zeros(2, 2)
    view[:, 0].add_(torch.tensor([1.0, 2.0]))
    assert view.tolist() == [[1, 0], [2, 0]]


def test_out() -> None:
    out = torch.empty(2)
    assert torch.add(torch.ones(2), 1, out=out) is out
    assert out.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="can't be cast"):
        torch.exp(torch.ones(2), out=torch.empty(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.ones(2, 3) + torch.ones(4), RuntimeError, ("add", "3", "4")),
        (
            lambda: torch.ones(2, dtype=torch.int64).add_(1.5),
            RuntimeError,
            ("add_", "can't be cast"),
        ),
        (
            lambda: torch.ones(2, dtype=torch.bool) - torch.ones(2, dtype=torch.bool),
            (RuntimeError),
            ("sub",),
        ),
        (lambda: torch.tensor([1]) // 0, RuntimeError, ("floor_divide", "ZeroDivisionError")),
        (lambda: torch.tensor([1]) % torch.tensor([0]), RuntimeError, ("remainder", "zero")),
        (lambda: torch.tensor([2]) ** -1, RuntimeError, ("negative integer powers",)),
        (
            lambda: torch.div(torch.ones(1), 2, rounding_mode="up"),
            RuntimeError,
            ("rounding_mode", "up"),
        ),
        (lambda: torch.tensor([1j]).abs_(), RuntimeError, ("abs", "complex64")),
        (lambda: torch.ones(1).float_power_(2), RuntimeError, ("float_power_", "float64")),
        (lambda: torch.ones(1).clamp(), RuntimeError, ("clamp", "min")),
        (lambda: torch.clamp_min(2, torch.ones(1)), TypeError, ("clamp_min", "Tensor")),
        (
            lambda: torch.lerp(torch.ones(1), torch.ones(1).double(), 0.5),
            RuntimeError,
            ("lerp", "float64"),
        ),
        (lambda: torch.tensor([1j]).floor(), RuntimeError, ("floor", "complex64")),
        (lambda: torch.exp("a"), TypeError, ("exp", "str")),
        (lambda: torch.exp(), TypeError, ("exp", "input")),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


# ---- incomplete gamma functions ------------------------------------------------------------------


def test_incomplete_gamma_functions() -> None:
    x = uniform(9, low=0.05, high=30)
    t, half, one = torch.tensor(x), torch.tensor(0.5).double(), torch.tensor(1.0).double()
    erf = np.vectorize(math.erf)(np.sqrt(x))
    np.testing.assert_allclose(torch.igamma(half, t).numpy(), erf, rtol=1e-13)
    np.testing.assert_allclose(torch.igammac(one, t).numpy(), np.exp(-x), rtol=1e-13)
    edges = torch.igamma(
        torch.tensor([2.0, 2.0, 0.0, -1.0]), torch.tensor([0.0, math.inf, 1.0, 1.0])
    )
    np.testing.assert_array_equal(edges.numpy(), [0, 1, 1, math.nan])
    assert gradcheck(lambda x: torch.igamma(one * 2.5, x), (double(4, low=0.2, high=5),))
    assert gradcheck(lambda x: torch.igammac(one * 2.5, x), (double(4, low=0.2, high=5),))
    with pytest.raises(NotImplementedError, match=r"igamma.*int64"):
        torch.igamma(torch.tensor([1]), torch.tensor([1]))


# ---- more than the caches hold -------------------------------------------------------------------

STREAMED: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": lambda x, y: x + y,
    "exp": lambda x, y: x.exp(),
    "compare": lambda x, y: x > y,
    "choose": lambda x, y: torch.where(x > 0, x, y),
    "narrow": lambda x, y: x.to(torch.bfloat16),
    "widen": lambda x, y: x.double(),
    "to bytes": lambda x, y: x.to(torch.int8),
    "by a number": lambda x, y: torch.lerp(x, y, 0.3),
    "complex": lambda x, y: torch.complex(x, y),
}


@pytest.mark.parametrize("name", STREAMED)
def test_results_that_pass_the_caches(name: str) -> None:
    count, part = (1 << 23) + 777, 1 << 18
    x, y = torch.randn(2, count).unbind()
    found = STREAMED[name](x, y)
    parts = [STREAMED[name](x[i : i + part], y[i : i + part]) for i in range(0, count, part)]
    wanted = torch.cat(parts)
    assert found.dtype == wanted.dtype
    assert torch.equal(found, wanted)


def test_derivatives_that_pass_the_caches() -> None:
    count = (1 << 22) + 5
    x = torch.randn(count, requires_grad=True)
    y = torch.randn(count)
    (x * y).sigmoid().backward(y)
    s = torch.sigmoid(x.detach() * y)
    wanted = (y * y * s * (1 - s)).numpy()
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-4, atol=1e-6)


@pytest.fixture
def far_apart() -> Iterator[None]:
    """Kernels are told that the threads' cores share no cache."""
    core.cores_apart(1)
    yield
    core.cores_apart(-1)


@pytest.mark.parametrize("count", [1 << 16, 100003])
@pytest.mark.parametrize("name", STREAMED)
def test_results_that_other_cores_have_read(name: str, count: int, far_apart: None) -> None:
    x, y = torch.randn(2, count).unbind()
    found = STREAMED[name](x, y)
    core.cores_apart(0)
    assert torch.equal(found, STREAMED[name](x, y))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_cores_far_apart(dtype: str, flip: tuple[bool, bool], far_apart: None) -> None:
    sizes = ((300, 411), (411, 257))
    made = [uniform(*reversed(s)) if f else uniform(*s) for s, f in zip(sizes, flip, strict=True)]
    factors = [torch.tensor(x).to(getattr(torch, dtype)) for x in made]
    a, b = (x.t() if f else x for x, f in zip(factors, flip, strict=True))
    found = a @ b
    core.cores_apart(0)
    assert torch.equal(found, a @ b)


def test_cores_are_near_or_far() -> None:
    assert core.cores_apart(0) is False
    assert core.cores_apart(1) is True
    assert core.cores_apart(-1) in (False, True)


def test_signs_of_bfloat16_are_changed_as_bits():
    bits = np.arange(65536, dtype=np.uint16).view(np.int16)
    x = torch.from_numpy(bits.copy()).view(torch.bfloat16)
    number = ~np.isnan(x.float().numpy())
    for result, expected in (
        (-x, bits ^ np.int16(-32768)),
        (x.abs(), bits & 0x7FFF),
        (x.copysign(x.flip(0)), (bits & 0x7FFF) | (bits[::-1] & np.int16(-32768))),
    ):
        found = result.view(torch.int16).numpy()
        np.testing.assert_array_equal(found[number], expected[number])
        assert result[torch.from_numpy(~number)].isnan().all()


@pytest.mark.parametrize("degrees", [0, 1, 2, 5, 24, 25, None])
def test_polynomials_by_degree_are_numpys(degrees):
    from numpy.polynomial import chebyshev, hermite, legendre

    x = np.random.default_rng(0).uniform(-1, 1, 300)
    n = np.arange(300) % 14 if degrees is None else np.full(300, degrees)
    given = torch.from_numpy(n) if degrees is None else degrees
    for op, module, letter in (
        (torch.special.chebyshev_polynomial_t, chebyshev, "cheb"),
        (torch.special.hermite_polynomial_h, hermite, "herm"),
        (torch.special.legendre_polynomial_p, legendre, "leg"),
    ):
        value = getattr(module, f"{letter}val")
        expected = [value(v, [0] * k + [1]) for v, k in zip(x, n, strict=True)]
        np.testing.assert_allclose(op(torch.from_numpy(x), given).numpy(), expected, rtol=1e-9)
