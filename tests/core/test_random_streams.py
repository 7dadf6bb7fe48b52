"""The random streams: same seed, same numbers, bit for bit, as PyTorch 2.13 on the CPU.

The expected numbers and checksums were recorded from it once; nothing here needs PyTorch.
Fills are called on NumPy buffers, below any tensor.
"""

import os
import pickle
import platform
import threading
import zlib

import numpy as np
import pytest

from flambeau.core import _core

CODES = {
    "bool": 0,
    "uint8": 1,
    "int8": 2,
    "int16": 3,
    "int32": 4,
    "int64": 5,
    "float16": 6,
    "bfloat16": 7,
    "float32": 8,
    "float64": 9,
    "complex64": 10,
    "complex128": 11,
    "uint16": 12,
    "uint32": 13,
    "uint64": 14,
}
FLOATS = ("float16", "bfloat16", "float32", "float64")
SEEDS = (0, 1234)
GLIBC = platform.libc_ver()[0] == "glibc"


def make_generator(seed):
    return _core.Generator().manual_seed(seed)


def make_buffer(n, dtype):
    return np.zeros(n, "uint16" if dtype == "bfloat16" else dtype)


def as_numbers(buffer, dtype):
    """bfloat16 bits become the float32 numbers they stand for."""
    if dtype != "bfloat16":
        return buffer
    return (buffer.astype(np.uint32) << 16).view(np.float32)


def fill(gen, kind, n, dtype, params=(), out_dtype=None):
    buffer = make_buffer(n, out_dtype or dtype)
    _core._random_fill(kind, gen, buffer.ctypes.data, n, CODES[dtype], params)
    return as_numbers(buffer, out_dtype or dtype)


def constants(value, n, dtype="float32"):
    return np.full(n, value, dtype)


def fill_elementwise(gen, kind, n, values, dtype="float32", extra=()):
    """Fills whose parameters are arrays, one number per element."""
    arrays = [constants(value, n, dtype) for value in values]
    return fill(gen, kind, n, dtype, (*(a.ctypes.data for a in arrays), *extra))


def fill_multinomial(gen, weights, samples, replacement):
    weights = np.asarray(weights, np.float32)
    params = (weights.ctypes.data, 1, weights.size, samples, replacement, False)
    return fill(gen, "multinomial", samples, "float32", params, out_dtype="int64")


def fill_bernoulli_like(gen, n, p, p_dtype):
    probabilities = constants(p, n, p_dtype)
    return fill(gen, "bernoulli_tensor", n, "float32", (probabilities.ctypes.data, CODES[p_dtype]))


def drop_out_ones(gen, n):
    return fill(gen, "bernoulli", n, "float32", (1 - 0.3,)) / np.float32(1 - 0.3)


# call, then for seed 0 and seed 1234 the first values (a string of digits: one element each) and
# the checksum of 1000 elements ("" where none was recorded). Decimals are shortest round-trip ones.
STREAMS = {
    "rand float32": (
        lambda g, n: fill(g, "uniform", n, "float32", (0, 1)),
        ([0.4962566, 0.7682218, 0.08847743, 0.13203049], "838af051"),
        ([0.028979242, 0.40189856, 0.25984418, 0.36664134], "f0faafc3"),
    ),
    "rand float64": (
        lambda g, n: fill(g, "uniform", n, "float64", (0, 1)),
        ([0.9700530018065531, 0.707819864399788, 0.45938294312745087], "2f634f8c"),
        ([0.2318341720884639, 0.07875386135027063, 0.46640616040796923], "40018b91"),
    ),
    "rand float16": (
        lambda g, n: fill(g, "uniform", n, "float16", (0, 1)),
        ([0.4963, 0.768, 0.0885, 0.1321], "e0d642b8"),
        ([0.02898, 0.4019, 0.2598, 0.3667], "196041e4"),
    ),
    "rand bfloat16": (
        lambda g, n: fill(g, "uniform", n, "bfloat16", (0, 1)),
        ([0.49609375, 0.76953125, 0.088378906, 0.13183594], "1a475773"),
        ([0.028930664, 0.40234375, 0.25976562, 0.3671875], "91a92a74"),
    ),
    "uniform_ float32": (
        lambda g, n: fill(g, "uniform", n, "float32", (-0.37, 1.71)),
        ([0.6622137, 1.2279012, -0.18596695], "c27824fd"),
        ([-0.3097232, 0.46594897, 0.17047589], "ebe66b75"),
    ),
    "uniform_ float64": (
        lambda g, n: fill(g, "uniform", n, "float64", (-0.37, 1.71)),
        ([1.6477102437576305, 1.102265317951559], "2dc30b9e"),
        ([0.11221507794400495, -0.20619196839143708], "e45aedf8"),
    ),
    "exponential_ float32": (
        lambda g, n: fill(g, "exponential", n, "float32", (1.7,)),
        ([2.0637212, 0.7237557, 0.36179066], "bb3abef3"),
        ([0.15514685, 0.04825178, 0.36948255], "ed8f33b6"),
    ),
    "geometric_ float32": (
        lambda g, n: fill(g, "geometric", n, "float32", (0.17,)),
        ([1, 2, 5, 1, 3, 2], "b221bf1f"),
        ([8, 14, 5, 5, 6, 8], "aac653f0"),
    ),
    "cauchy_ float32": (
        lambda g, n: fill(g, "cauchy", n, "float32", (0.3, 1.7)),
        ([18.31614, 1.6001043, 0.08189112], "a07b7249"),
        ([-1.6060178, -6.430339, 0.11991602], "39dd60f4"),
    ),
    "log_normal_ float32": (
        lambda g, n: fill(g, "log_normal", n, "float32", (0.3, 1.7)),
        ([18.535603, 0.8196899, 0.033241972], "0f9bf9ad"),
        ([1.4599786, 2.6753623, 0.24181086], "1f0b73fb"),
    ),
    "bernoulli_(0.3)": (
        lambda g, n: fill(g, "bernoulli", n, "float32", (0.3,)),
        ("000000100101000001001010", "16db3050"),
        ("110001111001001001001000", "4a247266"),
    ),
    "bernoulli(float32 p)": (
        lambda g, n: fill_bernoulli_like(g, n, 0.3, "float32"),
        ("001100000000111000110000", "179b17ee"),
        ("101010100000001010100010", "91e47d0b"),
    ),
    "bernoulli(float64 p)": (
        lambda g, n: fill_bernoulli_like(g, n, 0.3, "float64"),
        ("000000100101000001001010", ""),
        ("110001111001001001001000", ""),
    ),
    "dropout(ones, 0.3)": (
        drop_out_ones,
        ([0, 0, 1.4285715, 0, 1.4285715, 0], "b750baa5"),
        ([1.4285715] * 6, "f07316de"),
    ),
    "random_ int64": (
        lambda g, n: fill(g, "random", n, "int64"),
        ([900450186894289455, 3969543146641149120], "c43256c9"),
        ([3532910284440527571, 2252509165406510133], "b1d67527"),
    ),
    "random_ int32": (
        lambda g, n: fill(g, "random", n, "int32"),
        ([209652396, 398764591, 924231285], ""),
        ([822569775, 2137449171, 524453158], ""),
    ),
    "random_ uint8": (
        lambda g, n: fill(g, "random", n, "uint8"),
        ([172, 47, 117, 192, 67], ""),
        ([47, 211, 38, 53, 204], ""),
    ),
    "random_ float32": (
        lambda g, n: fill(g, "random", n, "float32"),
        ([8325664, 12888472, 1484222], ""),
        ([486142, 6742612, 4359303], ""),
    ),
    "randint(0, 10)": (
        lambda g, n: fill(g, "randint", n, "int64", (0, 10)),
        ("4930397373", "7d085108"),
        ("5165642559", "dceda0d0"),
    ),
    "randint(0, 2**28)": (
        lambda g, n: fill(g, "randint", n, "int64", (0, 2**28)),
        ([130329135, 136432832, 195187451], ""),
        ([258400979, 22928437, 213081460], ""),
    ),
    "randint(-5, 2**40)": (
        lambda g, n: fill(g, "randint", n, "int64", (-5, 2**40)),
        ([741234585336, 506077272957], "bd4b536c"),
        ([203984846263, 166669160343], "d9177f1a"),
    ),
    "multinomial with replacement": (
        lambda g, n: fill_multinomial(g, [0.1, 0.2, 0.3, 0.4], n, True),
        ("3323331221", "c1eed036"),
        ("1022211113", "aa1cca02"),
    ),
    "multinomial without": (
        lambda g, n: fill_multinomial(g, [0.1, 0.2, 0.3, 0.4], n, False),
        ("2130", ""),
        ("1320", ""),
    ),
    "poisson 3.3": (
        lambda g, n: fill_elementwise(g, "poisson", n, [3.3]),
        ("63324444", "20445d91"),
        ("13224330", "486224cb"),
    ),
    "poisson 23.3": (
        lambda g, n: fill_elementwise(g, "poisson", n, [23.3]),
        ([23, 25, 18, 24, 23, 21], "c5b1e8e2"),
        ([19, 23, 22, 18, 20, 28], "d0363be8"),
    ),
    "gamma 0.7": (
        lambda g, n: fill_elementwise(g, "standard_gamma", n, [0.7]),
        ([0.0070205084, 0.10439338, 0.48349395], "1ea5ecea"),
        ([1.9720967, 1.0294918, 1.0640808], "e1c849b3"),
    ),
    "gamma 2.7": (
        lambda g, n: fill_elementwise(g, "standard_gamma", n, [2.7]),
        ([5.6169868, 1.9433484, 1.0595931], "b43a14c3"),
        ([2.4383454, 3.041267, 1.544181], "c7808e9d"),
    ),
    "binomial(10, 0.3)": (
        lambda g, n: fill_elementwise(g, "binomial", n, [10, 0.3]),
        ("63324341", "0fe21891"),
        ("13223321", "e8dff07c"),
    ),
    "binomial(100, 0.3)": (
        lambda g, n: fill_elementwise(g, "binomial", n, [100, 0.3]),
        ([29, 32, 25, 31, 29, 28], "e3c9967f"),
        ([26, 30, 28, 25, 35, 33], "eef36f22"),
    ),
}


@pytest.mark.parametrize("call", STREAMS)
@pytest.mark.parametrize("column", [0, 1], ids=["seed 0", "seed 1234"])
def test_stream_equals_recorded_values(call, column):
    draw, *columns = STREAMS[call]
    values, checksum = columns[column]
    expected = [int(v) for v in values] if isinstance(values, str) else values
    drawn = draw(make_generator(SEEDS[column]), len(expected))
    # float16 decimals are short; the others round-trip exactly.
    np.testing.assert_array_equal(drawn, np.asarray(expected).astype(drawn.dtype))
    if checksum:
        thousand = draw(make_generator(SEEDS[column]), 1000)
        assert f"{zlib.crc32(thousand.tobytes()):08x}" == checksum


# The rule depends on the length, so the recorded elements come with the length of their call.
NORMALS = [
    ("float32", 0, 5, [0, 1, 2, 3, 4], [1.5409961, -0.2934289, -2.1787894, 0.56843126, -1.0845224]),
    (
        "float32",
        1234,
        5,
        [0, 1, 2, 3, 4],
        [0.046130463, 0.40240282, -1.0115291, 0.21673824, -0.6122731],
    ),
    ("float64", 0, 3, [0, 1, 2], [1.5409961082440433, -0.2934289057609464, -2.1787893820745574]),
    ("float64", 1234, 2, [0, 1], [0.04613046189666927, 0.4024028259218943]),
    (
        "float32",
        0,
        16,
        [0, 1, 7, 8, 15],
        [-1.1258398, -1.1523602, -2.1152194, 0.32227492, -0.24727815],
    ),
    (
        "float32",
        1234,
        16,
        [0, 1, 7, 8, 15],
        [-0.111718565, -0.4965901, -0.46749794, -0.21525294, -1.0218575],
    ),
    ("float32", 0, 17, [0, 1, 16], [-1.1258398, -1.6959312, 0.9318266]),
    ("float32", 1234, 17, [0, 1, 16], [-0.111718565, -0.09228753, -2.5273352]),
    ("float64", 0, 16, [0, 8], [-2.310411800234176, -1.2956271403277857]),
    ("float64", 1234, 16, [0, 8], [-0.0883100793877292, 0.7209026457458274]),
    ("float16", 0, 20, [0, 3, 4, 19], [-1.126, -0.4338, -1.353, -0.8438]),
    ("float16", 1234, 20, [0, 3, 4, 19], [-0.1117, -0.882, 0.799, 1.216]),
    ("bfloat16", 0, 20, [0, 3, 4, 19], [-1.125, -0.43359375, -1.3515625, -0.84375]),
    ("bfloat16", 1234, 20, [0, 3, 4, 19], [-0.111816406, -0.8828125, 0.80078125, 1.21875]),
]


@pytest.mark.parametrize(("dtype", "seed", "n", "places", "expected"), NORMALS)
def test_normal_equals_recorded_values(dtype, seed, n, places, expected):
    drawn = fill(make_generator(seed), "normal", n, dtype, (0, 1, True))[places]
    if dtype == "float64" and not GLIBC:  # another C library may differ in the last bit
        np.testing.assert_allclose(drawn, expected, rtol=1e-14)
    else:
        np.testing.assert_array_equal(drawn, np.asarray(expected).astype(drawn.dtype))


@pytest.mark.parametrize(
    ("dtype", "checksums"),
    [
        ("float32", ("c9069c66", "92a33229")),
        ("float16", ("dbbeca7e", "c083e566")),
        ("bfloat16", ("0fea3e00", "644de6b5")),
        pytest.param(
            "float64",
            ("27d84e1c", "9b6ec889"),
            marks=pytest.mark.skipif(not GLIBC, reason="recorded with glibc's sin, cos and log"),
        ),
    ],
)
def test_thousand_normals_have_recorded_checksums(dtype, checksums):
    for seed, checksum in zip(SEEDS, checksums, strict=True):
        drawn = fill(make_generator(seed), "normal", 1000, dtype, (0, 1, True))
        assert f"{zlib.crc32(drawn.tobytes()):08x}" == checksum


def test_non_contiguous_outputs_take_the_serial_rule():
    drawn = fill(make_generator(0), "normal", 20, "float32", (0.3, 1.7, False))
    np.testing.assert_array_equal(drawn[:3], np.float32([2.9196935, -0.19882914, -3.4039419]))


def test_complex_normals_are_real_pairs():
    drawn = fill(make_generator(0), "normal", 2, "complex64", (0, 1, True))
    expected = np.float32([1.0896488, -0.20748557, -1.5406368, 0.4019416])
    np.testing.assert_array_equal(drawn.view(np.float32), expected)


def test_exponential_in_double():
    drawn = fill(make_generator(0), "exponential", 2, "float64", (1.7,))
    np.testing.assert_allclose(drawn, [2.063721286298613, 0.723755743635104], rtol=1e-15)


@pytest.mark.parametrize(
    ("seed", "ten", "checksum"), [(0, "4175390862", "458fa90f"), (1234, "5482691703", "cd6ea15d")]
)
def test_randperm(seed, ten, checksum):
    assert "".join(map(str, fill(make_generator(seed), "randperm", 10, "int64"))) == ten
    thousand = fill(make_generator(seed), "randperm", 1000, "int64")
    assert sorted(thousand) == list(range(1000))
    assert f"{zlib.crc32(thousand.tobytes()):08x}" == checksum


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0.0003942487, 0.05942698, 0.94017875]),
        (1234, [0.3558721, 0.28008735, 0.36404058]),
    ],
)
def test_dirichlet(seed, expected):
    alphas = np.float32([0.5, 1, 2])
    drawn = fill(make_generator(seed), "dirichlet", 3, "float32", (alphas.ctypes.data, 3))
    np.testing.assert_array_equal(drawn, np.float32(expected))


def test_dirichlet_rows_sum_to_one_whatever_their_length():
    for categories in (1, 4, 5, 16, 17, 100, 1000, 4097):
        alphas = constants(0.8, 2 * categories, "float64")
        drawn = fill(
            make_generator(3), "dirichlet", alphas.size, "float64", (alphas.ctypes.data, categories)
        )
        np.testing.assert_allclose(drawn.reshape(2, -1).sum(1), 1, rtol=1e-13)


def test_rrelu_noise_draws_for_non_positive_inputs_only():
    x = np.float32([1, -1, 0, 2])
    gen, twin = make_generator(0), make_generator(0)
    noise = fill(gen, "rrelu_noise", 4, "float32", (0.125, 0.25, x.ctypes.data))
    u = fill(twin, "uniform", 2, "float64", (0.125, 0.25))
    np.testing.assert_array_equal(noise, np.float32([1, u[0], u[1], 1]))
    assert gen._get_state_bytes() == twin._get_state_bytes()


def test_raw_words():
    gen = make_generator(0)
    assert [gen._raw32() for _ in range(4)] == [2357136044, 2546248239, 3071714933, 3626093760]
    gen = make_generator(1234)
    assert [gen._raw64() for _ in range(2)] == [3532910284440527571, 11475881202261285941]


@pytest.mark.parametrize("n", [1, 15, 16, 17, 623, 624, 625, 1000, 5000])
def test_bulk_and_single_draws_are_one_stream(n):
    bulk, single = make_generator(7), make_generator(7)
    drawn = fill(bulk, "uniform", n, "float32", (0, 1))
    words = np.array([single._raw32() for _ in range(n)], np.uint32)
    np.testing.assert_array_equal(drawn, (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24))
    assert bulk._get_state_bytes() == single._get_state_bytes()


def test_large_normal_equals_a_word_by_word_recomputation():
    """float32 blocks against double arithmetic: the worst rounding of the angle is 4e-6."""
    n = 4000
    u = fill(make_generator(5), "uniform", n, "float32", (0, 1)).astype(np.float64).reshape(-1, 16)
    radius = np.sqrt(-2 * np.log(1 - u[:, :8]))
    angle = 2 * np.pi * u[:, 8:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    drawn = fill(make_generator(5), "normal", n, "float32", (0, 1, True))
    np.testing.assert_allclose(drawn, expected, atol=4e-6)


def test_cached_normal_is_shared_by_serial_draws_and_left_alone_by_blocks():
    gen = make_generator(0)
    first = fill(gen, "normal", 1, "float64", (0, 1, True))
    fill(gen, "normal", 16, "float32", (0, 1, True))
    second = fill(gen, "log_normal", 1, "float64", (0, 1))
    pair = fill(make_generator(0), "normal", 2, "float64", (0, 1, True))
    np.testing.assert_allclose([first[0], np.log(second[0])], pair, rtol=1e-15)


def test_uniform_never_returns_its_upper_bound():
    drawn = fill(make_generator(0), "uniform", 20000, "bfloat16", (0, 1))
    assert drawn.max() < 1
    assert (drawn == 0).any()


def test_state_has_pytorchs_layout():
    gen = make_generator(2**40 + 7)
    fill(gen, "normal", 1, "float32", (0, 1, True))
    state = gen._get_state_bytes()
    assert len(state) == 5056
    assert int.from_bytes(state[:8], "little") == 2**40 + 7
    left, seeded = np.frombuffer(state, np.int32, 2, 8)
    assert (left, seeded) == (625 - 4, 1)
    assert int.from_bytes(state[16:24], "little") == 4
    assert int.from_bytes(state[5040:5044], "little") == 1


def test_state_round_trip_continues_the_stream():
    gen = make_generator(9)
    fill(gen, "normal", 701, "float32", (0, 1, False))
    clone = gen.clone_state()
    restored = pickle.loads(pickle.dumps(gen))
    ahead = fill(gen, "normal", 50, "float32", (0, 1, False))
    np.testing.assert_array_equal(fill(clone, "normal", 50, "float32", (0, 1, False)), ahead)
    np.testing.assert_array_equal(fill(restored, "normal", 50, "float32", (0, 1, False)), ahead)
    assert restored.initial_seed() == 9


def corrupt(offset, value, size):
    state = bytearray(make_generator(0)._get_state_bytes())
    state[offset : offset + size] = value.to_bytes(size, "little", signed=value < 0)
    return bytes(state)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        bytes(5055),
        bytes(5056),
        corrupt(8, 0, 4),
        corrupt(8, -5, 4),
        corrupt(8, 625, 4),
        corrupt(8, 624, 4),  # left without a matching next would read past the words
        corrupt(16, 2**63, 8),
        corrupt(16, 625, 8),
        corrupt(12, 0, 4),
    ],
)
def test_damaged_state_is_refused_and_changes_nothing(state):
    gen = make_generator(3)
    before = gen._get_state_bytes()
    with pytest.raises(RuntimeError, match="state"):
        gen._set_state_bytes(state)
    assert gen._get_state_bytes() == before


@pytest.mark.parametrize(
    ("seed", "kept"),
    [(0, 0), (-1, 2**64 - 1), (-(2**63), 2**63), (2**64 - 1, 2**64 - 1), (np.int64(5), 5)],
)
def test_seeds_are_kept_as_64_bits(seed, kept):
    assert make_generator(seed).initial_seed() == kept


def test_only_the_low_32_bits_of_a_seed_reach_the_stream():
    assert make_generator(5)._raw64() == make_generator(5 + 2**32)._raw64()
    assert make_generator(-1)._raw64() == make_generator(2**32 - 1)._raw64()


def test_bad_seeds_are_refused():
    gen = make_generator(4)
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            gen.manual_seed(seed)
    for seed in (1.5, "1", True, None):
        with pytest.raises(RuntimeError, match="manual_seed expected a long, but got"):
            gen.manual_seed(seed)
    assert gen.initial_seed() == 4


def test_fresh_generators():
    assert _core.Generator().initial_seed() == 67280421310721
    with pytest.raises(RuntimeError, match="'cuda'"):
        _core.Generator("cuda")
    gen = _core.Generator("cpu")
    assert gen.seed() == gen.initial_seed() != 67280421310721


@pytest.mark.parametrize("kind", ["uniform", "normal", "exponential", "random", "randperm"])
def test_empty_fills_draw_nothing(kind):
    params = {"uniform": (0, 1), "normal": (0, 1, True), "exponential": (1,)}.get(kind, ())
    gen = make_generator(0)
    before = gen._get_state_bytes()
    _core._random_fill(kind, gen, 0, 0, CODES["float32"], params)
    assert gen._get_state_bytes() == before


def test_bad_requests_are_refused():
    gen = make_generator(0)
    buffer = np.zeros(4, np.float32)
    address = buffer.ctypes.data
    with pytest.raises(ValueError, match="unknown kind 'triangular'"):
        _core._random_fill("triangular", gen, address, 4, CODES["float32"], ())
    with pytest.raises(ValueError, match="1 params, expected 2"):
        _core._random_fill("uniform", gen, address, 4, CODES["float32"], (0.0,))
    with pytest.raises(TypeError, match="dtype code 5"):
        _core._random_fill("uniform", gen, address, 4, CODES["int64"], (0, 1))
    assert gen._get_state_bytes() == make_generator(0)._get_state_bytes()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", *FLOATS, "uint16", "uint32"])
def test_integer_ranges_stay_inside_their_bounds(dtype):
    for low, high in ((0, 2), (0, 100), (50, 120)):
        drawn = fill(make_generator(1), "randint", 2000, dtype, (low, high))
        assert drawn.min() == low
        assert drawn.max() == high - 1


def test_float_ranges_are_tightened_to_what_the_dtype_holds():
    """Rounding a drawn integer up to the excluded bound must not happen."""
    high = 2**40 - 3
    drawn = fill(make_generator(0), "randint", 20000, "float32", (2**40 - 2**20, high))
    assert drawn.max() < high
    drawn = fill(make_generator(0), "random_from", 5, "int64", (-(2**63),))
    words = make_generator(0)
    assert [int(v) % 2**64 for v in drawn] == [words._raw64() for _ in range(5)]


def test_nan_parameters_give_nan_and_end():
    nan = float("nan")
    for kind, values in (
        ("poisson", [nan]),
        ("standard_gamma", [nan]),
        ("standard_gamma", [-3.0]),
        ("binomial", [nan, 0.5]),
        ("binomial", [9.0, nan]),
    ):
        assert np.isnan(fill_elementwise(make_generator(0), kind, 4, values)).all()


def test_threads_share_a_generator_without_losing_or_repeating_numbers():
    n, threads, gen = 40000, 4, make_generator(0)
    parts = [None] * threads

    def draw(index):
        parts[index] = fill(gen, "uniform", n, "float64", (0, 1))

    workers = [threading.Thread(target=draw, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expected = fill(make_generator(0), "uniform", n * threads, "float64", (0, 1))
    # Each fill is one unbroken run; only the order of the threads is open.
    drawn = np.concatenate(sorted(parts, key=lambda part: np.flatnonzero(expected == part[0])[0]))
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_default_generator_survives_a_fork():
    reader, writer = os.pipe()
    state = _core.default_generator.clone_state()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, _core.default_generator._raw64().to_bytes(8, "little"))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert int.from_bytes(os.read(reader, 8), "little") == state._raw64()
    os.close(reader)
    os.close(writer)
