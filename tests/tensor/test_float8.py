"""The 8-bit floating types: every code, rounding, what moves them and what refuses them."""

import copy
import io
import math
import pickle
import struct
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import flambeau as torch
from flambeau import safetensors

# exponent bits, mantissa bits, bias
FORMATS = {
    "float8_e4m3fn": (4, 3, 7),
    "float8_e5m2": (5, 2, 15),
    "float8_e4m3fnuz": (4, 3, 8),
    "float8_e5m2fnuz": (5, 2, 16),
}
NAMES = (*FORMATS, "float8_e8m0fnu")
CODES = list(range(256))
every_type = pytest.mark.parametrize("name", NAMES)


def decode(name: str, code: int) -> float:
    """A code's value, from the definition of its format."""
    if name == "float8_e8m0fnu":
        return math.nan if code == 255 else 2.0 ** (code - 127)
    width, digits, bias = FORMATS[name]
    sign, exponent = -1.0 if code >> 7 else 1.0, code >> digits & (1 << width) - 1
    mantissa = code & (1 << digits) - 1
    if name.endswith("uz"):
        if code == 0x80:
            return math.nan
    elif name == "float8_e5m2" and exponent == 31:
        return math.nan if mantissa else sign * math.inf
    elif name == "float8_e4m3fn" and code & 0x7F == 0x7F:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - digits)
    return sign * (1 + mantissa / (1 << digits)) * 2.0 ** (exponent - bias)


def of_codes(name: str, codes: list[int]) -> torch.Tensor:
    return torch.tensor(codes, dtype=torch.uint8).view(getattr(torch, name))


def codes_of(t: torch.Tensor) -> list:
    return t.view(torch.uint8).tolist()


def finite_values(name: str) -> list[float]:
    return [v for v in (decode(name, c) for c in CODES) if math.isfinite(v)]


def same(a: float, b: float) -> bool:
    if math.isnan(b):
        return math.isnan(a)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


# ---- values --------------------------------------------------------------------------------------


@every_type
def test_every_code_has_its_value(name):
    held = of_codes(name, CODES)
    for values in (held.tolist(), held.float().tolist(), held.double().tolist()):
        assert all(same(v, decode(name, c)) for c, v in zip(CODES, values, strict=True))
    assert all(same(held[c].item(), decode(name, c)) for c in CODES)


@every_type
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_code_survives_the_way_back(name, dtype):
    back = codes_of(of_codes(name, CODES).to(getattr(torch, dtype)).to(getattr(torch, name)))
    assert all(b == c for c, b in zip(CODES, back, strict=True) if not math.isnan(decode(name, c)))
    assert all(
        math.isnan(decode(name, b)) for c, b in enumerate(back) if math.isnan(decode(name, c))
    )


@pytest.mark.parametrize("name", FORMATS)
def test_rounds_to_the_nearest_code_and_ties_to_even(name):
    codes = [c for c in range(128) if math.isfinite(decode(name, c))]
    for low, high in pairwise(codes):
        a, b = Fraction(decode(name, low)), Fraction(decode(name, high))
        middle = float((a + b) / 2)
        near = [np.nextafter(np.float32(middle), np.float32(end)) for end in (0, np.inf)]
        tie = low if low % 2 == 0 else high
        made = torch.tensor([float(near[0]), middle, float(near[1])]).to(getattr(torch, name))
        assert codes_of(made) == [low, tie, high]


def test_powers_of_two_round_up_from_the_middle():
    name = torch.float8_e8m0fnu
    numbers = torch.tensor([1.0, 1.49, 1.5, 1.75, -3.0, 0.0, 2.0**-127, 1.5 * 2.0**-127])
    assert codes_of(numbers.to(name)) == [127, 127, 128, 128, 129, 0, 0, 1]


OVERFLOW = {  # of 464 (half-way), 465, 1e30, -1e30, inf, nan
    "float8_e4m3fn": [0x7E, 0x7E, 0x7E, 0xFE, 0x7E, 0x7F],
    "float8_e5m2": [0x5F, 0x5F, 0x7C, 0xFC, 0x7C, 0x7F],
    "float8_e4m3fnuz": [0x80] * 6,
    "float8_e5m2fnuz": [0x63, 0x63, *[0x80] * 4],
    "float8_e8m0fnu": [0x88, 0x88, 0xE3, 0xE3, 0xFF, 0xFF],
}


@every_type
def test_numbers_out_of_range(name):
    numbers = torch.tensor([464.0, 465.0, 1e30, -1e30, math.inf, math.nan])
    assert codes_of(numbers.to(getattr(torch, name))) == OVERFLOW[name]


def test_signed_zeros():
    zeros = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    assert codes_of(zeros.to(torch.float8_e4m3fn)) == [0, 0x80, 0, 0x80]
    assert codes_of(zeros.to(torch.float8_e5m2)) == [0, 0x80, 0, 0x80]
    assert codes_of(zeros.to(torch.float8_e4m3fnuz)) == [0, 0, 0, 0]


@every_type
@pytest.mark.parametrize("n", [1, 31, 33, 100003])
def test_long_conversions_are_those_of_each_element(name, n):
    numbers = torch.randn(n, generator=torch.Generator().manual_seed(0)) * 100
    made = numbers.to(getattr(torch, name))
    whole = codes_of(made)
    for i in {0, n // 3, n - 1}:
        assert codes_of(numbers[i : i + 1].to(made.dtype)) == [whole[i]]
    assert made.float()[-1].item() == decode(name, whole[-1])


# ---- layouts and other types ---------------------------------------------------------------------


@every_type
def test_conversions_of_other_types_and_layouts(name):
    dtype = getattr(torch, name)
    numbers = torch.tensor([[1, 2, 4], [8, 16, 32]])
    for source in (torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64):
        made = numbers.to(source).t().to(dtype)
        assert made.tolist() == numbers.t().tolist()
        assert made.to(source).tolist() == numbers.t().tolist()
        assert made.t().to(source).tolist() == numbers.tolist()
    target = torch.zeros(2, 3, 3, dtype=dtype)[..., 1].t()
    target.copy_(torch.tensor([1.0, 2.0]))
    assert target.tolist() == [[1.0, 2.0]] * 3
    assert torch.empty(3, 2).copy_(target).tolist() == [[1.0, 2.0]] * 3
    assert target.to(torch.bool).all()


def test_conversion_within_one_memory():
    whole = torch.tensor([1.0, 2.0, 3.0, 4.0])
    part = whole.view(torch.float8_e5m2)[4:8]
    part.copy_(whole)
    assert part.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_wrong_shapes_are_refused():
    with pytest.raises(RuntimeError, match="broadcast"):
        torch.zeros(3, dtype=torch.float8_e5m2).copy_(torch.zeros(2))


def test_gradients_pass_through_conversions():
    x = torch.randn(3, requires_grad=True)
    x.to(torch.float8_e4m3fn).clone().float().mul(2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


# ---- creation and moving -------------------------------------------------------------------------


@every_type
def test_creation(name):
    dtype = getattr(torch, name)
    assert codes_of(torch.zeros(3, dtype=dtype)) == [0, 0, 0]
    assert torch.ones(2, dtype=dtype).tolist() == [1.0, 1.0]
    assert torch.full((2,), 4, dtype=dtype).tolist() == [4.0, 4.0]
    assert torch.tensor([1.0, 2], dtype=dtype).dtype is dtype
    assert torch.tensor([torch.tensor(2.0, dtype=dtype)]).dtype is dtype
    assert torch.empty(2, dtype=dtype).fill_(8).tolist() == [8.0, 8.0]
    assert torch.ones(2, dtype=dtype).new_full((1,), 2).tolist() == [2.0]


def test_numbers_to_fill_with_are_checked():
    for name, number in (("float8_e4m3fn", 449.0), ("float8_e4m3fn", math.inf)):
        with pytest.raises(RuntimeError, match="without overflow"):
            torch.full((2,), number, dtype=getattr(torch, name))
    assert codes_of(torch.full((1,), math.inf, dtype=torch.float8_e5m2)) == [0x7C]
    assert codes_of(torch.full((1,), math.nan, dtype=torch.float8_e4m3fn)) == [0x7F]


@every_type
def test_moving_keeps_the_codes(name):
    x = of_codes(name, CODES).reshape(16, 16)
    codes = np.arange(256).reshape(16, 16)
    rows, mask = torch.tensor([3, 0]), torch.arange(256).reshape(16, 16) % 3 == 0
    written = x.clone()
    written[rows] = x[:2]
    expected = codes.copy()
    expected[[3, 0]] = codes[:2]
    pairs = [
        (x.t().contiguous(), codes.T),
        (x.t().clone(), codes.T),
        (x[rows], codes[[3, 0]]),
        (x.index_select(1, rows), codes[:, [3, 0]]),
        (x[mask], codes[codes % 3 == 0]),
        (torch.cat([x, x[:1]]), np.concatenate([codes, codes[:1]])),
        (torch.stack([x, x]), np.stack([codes, codes])),
        (torch.where(mask, x, x.t()), np.where(codes % 3 == 0, codes, codes.T)),
        (x.repeat(2, 1), np.tile(codes, (2, 1))),
        (x.roll(1, 0), np.roll(codes, 1, 0)),
        (torch.nn.functional.embedding(rows, x), codes[[3, 0]]),
        (written, expected),
    ]
    for made, wanted in pairs:
        assert made.dtype is x.dtype
        assert codes_of(made) == wanted.tolist()


def test_where_with_a_number():
    x = torch.ones(2, dtype=torch.float8_e5m2)
    assert torch.where(torch.tensor([True, False]), x, 2.0).tolist() == [1.0, 2.0]


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "kernel"),
    [
        (lambda x: x + x, "add_stub"),
        (lambda x: x + 1, "add_stub"),
        (lambda x: x / x, "div_cpu"),
        (lambda x: -x, "neg_cpu"),
        (lambda x: x.exp(), "exp_vml_cpu"),
        (lambda x: x.sum(), "sum_cpu"),
        (lambda x: x.add_(1), "add_stub"),
        (lambda x: x.float().sum(0, dtype=x.dtype), "sum_cpu"),
        (lambda x: x @ x, ""),
        (lambda x: x.sort(), ""),
        (lambda x: x.cumsum(0), ""),
    ],
)
def test_nothing_computes_in_eight_bits(compute, kernel):
    x = torch.ones(2, 2, dtype=torch.float8_e4m3fn)
    with pytest.raises(NotImplementedError, match=f"{kernel}.*not implemented for 'Float8_e4m3fn'"):
        compute(x)


def test_there_is_no_promotion():
    x = torch.ones(2, dtype=torch.float8_e5m2)
    message = "Promotion for Float8 Types is not supported, attempted to promote Float8_e5m2 and "
    for other in (torch.ones(2), torch.ones(2, dtype=torch.float8_e4m3fn), torch.arange(2)):
        for join in (lambda a, b: a + b, lambda a, b: torch.cat([a, b]), torch.result_type):
            with pytest.raises(RuntimeError, match=message):
                join(x, other)
    assert torch.result_type(x, 1.0) is x.dtype
    assert torch.promote_types(x.dtype, x.dtype) is x.dtype
    with pytest.raises(TypeError, match="Float8_e5m2"):
        x.numpy()
    with pytest.raises(TypeError, match="Float8_e5m2Storage"):
        torch.set_default_dtype(x.dtype)


# ---- limits, text and files ----------------------------------------------------------------------


@every_type
def test_limits(name):
    info, values = torch.finfo(getattr(torch, name)), finite_values(name)
    assert (info.bits, info.dtype) == (8, name)
    assert (info.max, info.min) == (max(values), min(values))
    assert getattr(torch, name).is_signed is (name != "float8_e8m0fnu")


def test_printing():
    x = torch.tensor([1.0, 0.5], dtype=torch.float8_e4m3fn)
    assert repr(x) == "tensor([1.0000, 0.5000], dtype=torch.float8_e4m3fn)"
    assert (
        repr(torch.zeros(1, dtype=torch.float8_e8m0fnu))
        == "tensor([0.], dtype=torch.float8_e8m0fnu)"
    )


@every_type
def test_files_and_copies(name):
    x = of_codes(name, CODES)
    buffer = io.BytesIO()
    torch.save({"x": x}, buffer)
    buffer.seek(0)
    copies = [
        torch.load(buffer)["x"],
        safetensors.load(safetensors.save({"x": x}))["x"],
        pickle.loads(pickle.dumps(x)),
        copy.deepcopy(x),
        torch.from_dlpack(x),
    ]
    for made in copies:
        assert made.dtype is x.dtype
        assert codes_of(made) == CODES


def test_names_in_safetensors_files():
    data = safetensors.save({"x": torch.zeros(4, dtype=torch.float8_e4m3fn)})
    (length,) = struct.unpack("<Q", data[:8])
    assert b'"F8_E4M3"' in data[8 : 8 + length]
