"""Random numbers: the streams are PyTorch's CPU streams, number for number, for the same seed."""

import zlib

import pytest

import flambeau as torch
from flambeau.nn import functional as F

# (call, numbers after seed 0, numbers after seed 1234)
GOLDEN = [
    (
        lambda: torch.rand(4),
        [0.4962566, 0.7682218, 0.08847743, 0.13203049],
        [0.028979242, 0.40189856, 0.25984418, 0.36664134],
    ),
    (
        lambda: torch.rand(3, dtype=torch.float64),
        [0.9700530018065531, 0.707819864399788, 0.45938294312745087],
        [0.2318341720884639, 0.07875386135027063, 0.46640616040796923],
    ),
    (
        lambda: torch.rand(4, dtype=torch.bfloat16),
        [0.49609375, 0.76953125, 0.088378906, 0.13183594],
        [0.028930664, 0.40234375, 0.25976562, 0.3671875],
    ),
    (
        lambda: torch.empty(3).uniform_(-0.37, 1.71),
        [0.6622137, 1.2279012, -0.18596695],
        [-0.3097232, 0.46594897, 0.17047589],
    ),
    (
        lambda: torch.empty(2, dtype=torch.float64).uniform_(-0.37, 1.71),
        [1.6477102437576305, 1.102265317951559],
        [0.11221507794400495, -0.20619196839143708],
    ),
    (
        lambda: torch.randn(5),
        [1.5409961, -0.2934289, -2.1787894, 0.56843126, -1.0845224],
        [0.046130463, 0.40240282, -1.0115291, 0.21673824, -0.6122731],
    ),
    (
        lambda: torch.randn(3, dtype=torch.float64),
        [1.5409961082440433, -0.2934289057609464, -2.1787893820745574],
        [0.04613046189666927, 0.4024028259218943, -1.0115290977852016],
    ),
    (
        lambda: torch.randn(16)[[0, 1, 7, 8, 15]],
        [-1.1258398, -1.1523602, -2.1152194, 0.32227492, -0.24727815],
        [-0.111718565, -0.4965901, -0.46749794, -0.21525294, -1.0218575],
    ),
    (
        lambda: torch.randn(17)[[0, 1, 16]],
        [-1.1258398, -1.6959312, 0.9318266],
        [-0.111718565, -0.09228753, -2.5273352],
    ),
    (
        lambda: torch.randn(16, dtype=torch.float64)[[0, 8]],
        [-2.310411800234176, -1.2956271403277857],
        [-0.0883100793877292, 0.7209026457458274],
    ),
    (
        lambda: torch.empty(4, 5).t().normal_(0.3, 1.7).t().flatten()[:3],
        [2.9196935, -0.19882914, -3.4039419],
        [0.37842178, 0.9840848, -1.4195994],
    ),
    (
        lambda: torch.view_as_real(torch.randn(2, dtype=torch.complex64)).flatten(),
        [1.0896488, -0.20748557, -1.5406368, 0.4019416],
        [0.032619163, 0.28454176, -0.7152591, 0.15325707],
    ),
    (
        lambda: torch.empty(3).exponential_(1.7),
        [2.0637212, 0.7237557, 0.36179066],
        [0.15514685, 0.04825178, 0.36948255],
    ),
    (
        lambda: torch.empty(2, dtype=torch.float64).exponential_(1.7),
        [2.063721286298613, 0.723755743635104],
        [0.15514685140141202, 0.04825178053668424],
    ),
    (lambda: torch.empty(6).geometric_(0.17), [1, 2, 5, 1, 3, 2], [8, 14, 5, 5, 6, 8]),
    (
        lambda: torch.empty(3).cauchy_(0.3, 1.7),
        [18.31614, 1.6001043, 0.08189112],
        [-1.6060178, -6.430339, 0.11991602],
    ),
    (
        lambda: torch.empty(3).log_normal_(0.3, 1.7),
        [18.535603, 0.8196899, 0.033241972],
        [1.4599786, 2.6753623, 0.24181086],
    ),
    (
        lambda: torch.empty(24).bernoulli_(0.3),
        [int(c) for c in "000000100101000001001010"],
        [int(c) for c in "110001111001001001001000"],
    ),
    (
        lambda: torch.bernoulli(torch.full((24,), 0.3)),
        [int(c) for c in "001100000000111000110000"],
        [int(c) for c in "101010100000001010100010"],
    ),
    (
        lambda: torch.bernoulli(torch.full((24,), 0.3, dtype=torch.float64)),
        [int(c) for c in "000000100101000001001010"],
        [int(c) for c in "110001111001001001001000"],
    ),
    (
        lambda: F.dropout(torch.ones(6), 0.3),
        [0.0, 0.0, 1.4285715, 0.0, 1.4285715, 0.0],
        [1.4285715] * 6,
    ),
    (
        lambda: torch.empty(2, dtype=torch.int64).random_(),
        [900450186894289455, 3969543146641149120],
        [3532910284440527571, 2252509165406510133],
    ),
    (
        lambda: torch.empty(3, dtype=torch.int32).random_(),
        [209652396, 398764591, 924231285],
        [822569775, 2137449171, 524453158],
    ),
    (
        lambda: torch.empty(5, dtype=torch.uint8).random_(),
        [172, 47, 117, 192, 67],
        [47, 211, 38, 53, 204],
    ),
    (lambda: torch.empty(3).random_(), [8325664, 12888472, 1484222], [486142, 6742612, 4359303]),
    (
        lambda: torch.randint(0, 10, (10,)),
        [4, 9, 3, 0, 3, 9, 7, 3, 7, 3],
        [5, 1, 6, 5, 6, 4, 2, 5, 5, 9],
    ),
    (
        lambda: torch.randint(0, 2**28, (3,)),
        [130329135, 136432832, 195187451],
        [258400979, 22928437, 213081460],
    ),
    (
        lambda: torch.randint(-5, 2**40, (2,)),
        [741234585336, 506077272957],
        [203984846263, 166669160343],
    ),
    (lambda: torch.randperm(10), [4, 1, 7, 5, 3, 9, 0, 8, 6, 2], [5, 4, 8, 2, 6, 9, 1, 7, 0, 3]),
    (
        lambda: torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 10, True),
        [3, 3, 2, 3, 3, 3, 1, 2, 2, 1],
        [1, 0, 2, 2, 2, 1, 1, 1, 1, 3],
    ),
    (
        lambda: torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 4),
        [2, 1, 3, 0],
        [1, 3, 2, 0],
    ),
    (
        lambda: torch.poisson(torch.full((8,), 3.3)),
        [6, 3, 3, 2, 4, 4, 4, 4],
        [1, 3, 2, 2, 4, 3, 3, 0],
    ),
    (
        lambda: torch.poisson(torch.full((6,), 23.3)),
        [23, 25, 18, 24, 23, 21],
        [19, 23, 22, 18, 20, 28],
    ),
    (
        lambda: torch._standard_gamma(torch.full((3,), 0.7)),
        [0.0070205084, 0.10439338, 0.48349395],
        [1.9720967, 1.0294918, 1.0640808],
    ),
    (
        lambda: torch._standard_gamma(torch.full((3,), 2.7)),
        [5.6169868, 1.9433484, 1.0595931],
        [2.4383454, 3.041267, 1.544181],
    ),
    (
        lambda: torch._sample_dirichlet(torch.tensor([0.5, 1, 2])),
        [0.0003942487, 0.05942698, 0.94017875],
        [0.3558721, 0.28008735, 0.36404058],
    ),
    (
        lambda: torch.binomial(torch.full((8,), 10.0), torch.full((8,), 0.3)),
        [6, 3, 3, 2, 4, 3, 4, 1],
        [1, 3, 2, 2, 3, 3, 2, 1],
    ),
    (
        lambda: torch.binomial(torch.full((6,), 100.0), torch.full((6,), 0.3)),
        [29, 32, 25, 31, 29, 28],
        [26, 30, 28, 25, 35, 33],
    ),
    (
        lambda: torch.normal(torch.zeros(3), torch.ones(3)),
        [1.5409961, -0.2934289, -2.1787894],
        [0.046130463, 0.40240282, -1.0115291],
    ),
]


@pytest.mark.parametrize("which", range(len(GOLDEN)))
@pytest.mark.parametrize("seed", [0, 1])
def test_golden_numbers(which: int, seed: int) -> None:
    call, *expected = GOLDEN[which]
    torch.manual_seed((0, 1234)[seed])
    found = call()
    wanted = torch.tensor(expected[seed], dtype=found.dtype)
    assert found.tolist() == wanted.tolist()


# crc32 of the bytes of a thousand numbers: (call, after seed 0, after seed 1234)
CHECKSUMS = [
    (lambda: torch.rand(1000), "838af051", "f0faafc3"),
    (lambda: torch.rand(1000, dtype=torch.float64), "2f634f8c", "40018b91"),
    (lambda: torch.rand(1000, dtype=torch.float16), "e0d642b8", "196041e4"),
    (lambda: torch.rand(1000, dtype=torch.bfloat16).float(), "1a475773", "91a92a74"),
    (lambda: torch.empty(1000).uniform_(-0.37, 1.71), "c27824fd", "ebe66b75"),
    (lambda: torch.randn(1000), "c9069c66", "92a33229"),
    (lambda: torch.randn(1000, dtype=torch.float64), "27d84e1c", "9b6ec889"),
    (lambda: torch.randn(1000, dtype=torch.float16), "dbbeca7e", "c083e566"),
    (lambda: torch.randn(1000, dtype=torch.bfloat16).float(), "0fea3e00", "644de6b5"),
    (lambda: torch.empty(1000).exponential_(1.7), "bb3abef3", "ed8f33b6"),
    (lambda: torch.empty(1000).geometric_(0.17), "b221bf1f", "aac653f0"),
    (lambda: torch.empty(1000).cauchy_(0.3, 1.7), "a07b7249", "39dd60f4"),
    (lambda: torch.empty(1000).log_normal_(0.3, 1.7), "0f9bf9ad", "1f0b73fb"),
    (lambda: torch.empty(1000).bernoulli_(0.3), "16db3050", "4a247266"),
    (lambda: torch.bernoulli(torch.full((1000,), 0.3)), "179b17ee", "91e47d0b"),
    (lambda: F.dropout(torch.ones(1000), 0.3), "b750baa5", "f07316de"),
    (lambda: torch.empty(1000, dtype=torch.int64).random_(), "c43256c9", "b1d67527"),
    (lambda: torch.randint(0, 10, (1000,)), "7d085108", "dceda0d0"),
    (lambda: torch.randint(-5, 2**40, (1000,)), "bd4b536c", "d9177f1a"),
    (lambda: torch.randperm(1000), "458fa90f", "cd6ea15d"),
    (lambda: torch.poisson(torch.full((1000,), 3.3)), "20445d91", "486224cb"),
    (lambda: torch.poisson(torch.full((1000,), 23.3)), "c5b1e8e2", "d0363be8"),
    (lambda: torch._standard_gamma(torch.full((1000,), 0.7)), "1ea5ecea", "e1c849b3"),
    (lambda: torch._standard_gamma(torch.full((1000,), 2.7)), "b43a14c3", "c7808e9d"),
]


@pytest.mark.parametrize("which", range(len(CHECKSUMS)))
@pytest.mark.parametrize("seed", [0, 1])
def test_checksums_of_a_thousand(which: int, seed: int) -> None:
    call, *expected = CHECKSUMS[which]
    torch.manual_seed((0, 1234)[seed])
    data = call().numpy().tobytes()
    assert f"{zlib.crc32(data):08x}" == expected[seed]


# ---- order, generators and state -----------------------------------------------------------------


def test_elements_are_drawn_in_memory_order() -> None:
    torch.manual_seed(0)
    plain = torch.empty(3, 4).uniform_()
    torch.manual_seed(0)
    turned = torch.empty(3, 4).t().uniform_()
    assert torch.equal(turned.t(), plain)


def test_gaps_are_left_alone() -> None:
    base = torch.zeros(4, 6)
    torch.manual_seed(0)
    base[:, ::2].uniform_()
    torch.manual_seed(0)
    assert torch.equal(base[:, ::2], torch.rand(4, 3))
    assert bool((base[:, 1::2] == 0).all())


def test_likes_keep_dense_strides_and_fill_in_memory_order() -> None:
    source = torch.zeros(3, 4).t()
    torch.manual_seed(3)
    found = torch.rand_like(source)
    torch.manual_seed(3)
    assert found.stride() == source.stride()
    assert torch.equal(found.t(), torch.rand(3, 4))


def test_a_generator_of_ones_own_leaves_the_default_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = torch.Generator().manual_seed(7)
    two = torch.Generator().manual_seed(7)
    assert torch.equal(torch.randn(20, generator=one), torch.randn(20, generator=two))
    assert torch.equal(before, torch.get_rng_state())


def test_state_restores_the_stream() -> None:
    torch.manual_seed(5)
    torch.randn(3)  # leaves a cached normal, part of the state
    state = torch.get_rng_state()
    first = torch.randn(7)
    torch.set_rng_state(state)
    assert torch.equal(torch.randn(7), first)
    assert state.dtype is torch.uint8
    assert state.shape == (5056,)


def test_fork_rng_restores_even_after_an_error() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def fail() -> None:
        with torch.random.fork_rng():
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(enabled=False):
        torch.rand(3)
    assert not torch.equal(before, torch.get_rng_state())


def test_seeds() -> None:
    assert torch.manual_seed(-1) is torch.default_generator
    assert torch.initial_seed() == 2**64 - 1
    assert 0 <= torch.seed() < 2**64
    assert torch.Generator().initial_seed() == 67280421310721


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (3, TypeError),
        (torch.zeros(3), TypeError),
        (torch.zeros(3, dtype=torch.uint8), RuntimeError),
    ],
)
def test_wrong_states(state: object, error: type) -> None:
    with pytest.raises(error):
        torch.Generator().set_state(state)


# ---- history -------------------------------------------------------------------------------------


def test_filling_a_leaf_that_requires_grad_is_an_error() -> None:
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.normal_()
    with torch.no_grad():
        x.normal_()
    assert x.requires_grad


def test_old_values_get_no_gradient() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.uniform_()
    (y * y).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_writes_are_counted() -> None:
    x = torch.zeros(3)
    x.uniform_()
    x.bernoulli_(0.5)
    assert x._version == 2


def test_dropout_scales_gradients_with_the_same_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = F.dropout(x, 0.25)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert set(y.detach().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}


# ---- dropout family ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shape"),
    [(F.dropout1d, (8, 5, 4)), (F.dropout2d, (4, 6, 3, 3)), (F.dropout3d, (3, 5, 2, 2, 2))],
)
def test_channels_drop_as_a_whole(op: object, shape: tuple) -> None:
    y = op(torch.ones(shape), 0.5)
    by_channel = y.flatten(2)
    assert bool((by_channel == by_channel[..., :1]).all())
    assert set(y.flatten().tolist()) == {0.0, 2.0}


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = torch.randn(40000)
    y = F.alpha_dropout(x, 0.2, training=True)
    assert abs(y.mean().item()) < 0.02
    assert abs(y.var().item() - 1) < 0.04


@pytest.mark.parametrize("op", [F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.dropout1d])
def test_no_dropout_in_evaluation(op: object) -> None:
    x = torch.ones(2, 3, 4)
    state = torch.get_rng_state()
    assert op(x, 0.5, training=False) is x
    assert op(x, 0.0, training=True) is x
    assert torch.equal(state, torch.get_rng_state())


def test_dropping_everything_draws_nothing() -> None:
    state = torch.get_rng_state()
    assert F.dropout(torch.ones(3), 1.0).tolist() == [0, 0, 0]
    assert torch.equal(state, torch.get_rng_state())


def test_rrelu() -> None:
    x = torch.tensor([-2.0, -1.0, 0.0, 3.0])
    assert F.rrelu(x, 0.1, 0.3).tolist() == pytest.approx([-0.4, -0.2, 0.0, 3.0])
    y = F.rrelu(x, 0.1, 0.3, training=True)
    slopes = (y[:2] / x[:2]).tolist()
    assert all(0.1 <= s <= 0.3 for s in slopes)
    assert y[3].item() == 3.0


# ---- edges and errors ----------------------------------------------------------------------------


def test_empty_results_draw_nothing() -> None:
    state = torch.get_rng_state()
    assert torch.rand(0, 3).shape == (0, 3)
    assert torch.randn(2, 0).shape == (2, 0)
    assert torch.randperm(0).tolist() == []
    assert torch.multinomial(torch.ones(0, 3), 1).shape == (0, 1)
    assert torch.equal(state, torch.get_rng_state())


def test_sizes_and_options() -> None:
    assert torch.rand(()).dim() == 0
    assert torch.rand(size=(2,)).shape == torch.rand((2,)).shape == torch.rand([2]).shape == (2,)
    assert torch.randn(2, requires_grad=True).requires_grad
    assert torch.randint(5, (2,), dtype=torch.float32).dtype is torch.float32
    out = torch.empty(0)
    assert torch.rand(3, out=out) is out
    assert out.shape == (3,)
    assert torch.normal(0.0, 1.0, (2, 3)).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: torch.rand(), TypeError, "size"),
        (lambda: torch.rand(2.5), TypeError, "must be tuple of ints"),
        (lambda: torch.rand(-1), RuntimeError, "negative dimension"),
        (
            lambda: torch.rand(2, dtype=torch.int64),
            NotImplementedError,
            "not implemented for torch.int64",
        ),
        (lambda: torch.rand(2, generator=3), TypeError, "must be Generator"),
        (lambda: torch.rand(2, device="cuda"), RuntimeError, "CPU only"),
        (lambda: torch.zeros(3).uniform_(1, 0), RuntimeError, "from=1 > to=0"),
        (lambda: torch.zeros(3).uniform_(0, float("inf")), RuntimeError, "out of bounds"),
        (lambda: torch.zeros(3).normal_(0, -1), RuntimeError, "std >= 0.0, but found std -1"),
        (lambda: torch.zeros(3).exponential_(0), RuntimeError, "lambda > 0.0"),
        (lambda: torch.zeros(3, dtype=torch.int64).exponential_(), RuntimeError, "continuous"),
        (lambda: torch.zeros(3).geometric_(1.0), RuntimeError, r"in \(0, 1\)"),
        (lambda: torch.zeros(3).cauchy_(0, 0), RuntimeError, "sigma > 0.0"),
        (lambda: torch.zeros(3).log_normal_(0, 0), RuntimeError, "std > 0.0"),
        (lambda: torch.zeros(3).random_(3, 3), RuntimeError, "from=3 >= to=3"),
        (lambda: torch.zeros(3, dtype=torch.uint8).random_(0, 257), RuntimeError, "out of bounds"),
        (lambda: torch.zeros(3).bernoulli_(1.5), RuntimeError, r"in \[0, 1\], but got p=1.5"),
        (lambda: torch.bernoulli(torch.full((2,), 2.0)), RuntimeError, "probabilities"),
        (lambda: torch.bernoulli(torch.full((2,), float("nan"))), RuntimeError, "probabilities"),
        (lambda: torch.randint(5, 5, (2,)), RuntimeError, "less than"),
        (lambda: torch.randint(0, 5), TypeError, "size"),
        (lambda: torch.randperm(-1), RuntimeError, "negative dimension"),
        (lambda: torch.randperm(300, dtype=torch.uint8), RuntimeError, "cannot be greater than"),
        (lambda: torch.multinomial(torch.ones(2), 3), RuntimeError, "3 > 2"),
        (lambda: torch.multinomial(torch.ones(2), 0), RuntimeError, "n_sample <= 0"),
        (lambda: torch.multinomial(torch.tensor([-1.0, 1]), 1), RuntimeError, "element < 0"),
        (lambda: torch.multinomial(torch.tensor([float("inf"), 1]), 1), RuntimeError, "inf"),
        (lambda: torch.multinomial(torch.zeros(2), 1), RuntimeError, "sum of probabilities <= 0"),
        (lambda: torch.multinomial(torch.ones(2, 2, 2), 1), RuntimeError, "1 or 2 dim"),
        (lambda: torch.poisson(torch.tensor([-1.0])), RuntimeError, "non-negative"),
        (
            lambda: torch.binomial(torch.tensor([1]), torch.tensor([0.5])),
            ValueError,
            "floating-point",
        ),
        (lambda: torch.normal(torch.zeros(2), -torch.ones(2)), RuntimeError, "std >= 0.0"),
        (lambda: torch.normal(torch.zeros(3), torch.ones(2)), RuntimeError, "must match the size"),
        (lambda: torch.normal(0.0, 1.0), TypeError, "size"),
        (lambda: torch.zeros(1).expand(3).normal_(), RuntimeError, "single memory location"),
        (lambda: F.dropout(torch.ones(3), 1.5), ValueError, "between 0 and 1, but got 1.5"),
        (lambda: F.dropout1d(torch.ones(3)), RuntimeError, "Expected 2D or 3D input"),
        (lambda: F.dropout(torch.ones(3, dtype=torch.int64)), RuntimeError, "can't be cast"),
        (lambda: F.rrelu(torch.ones(3), 0.5, 0.2), RuntimeError, "Lower bound"),
    ],
)
def test_errors(call: object, error: type, text: str) -> None:
    state = torch.get_rng_state()
    with pytest.raises(error, match=text):
        call()
    assert torch.equal(state, torch.get_rng_state()), "a refused call must not draw"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("kind", ["even", "skewed", "gaps", "one"])
def test_many_and_few_draws_find_the_same_categories(dtype, kind):
    """Many draws go through a table, few through a binary search."""
    torch.manual_seed(5)
    weights = torch.rand(2, 600).double()
    if kind == "skewed":
        weights = weights**30
    if kind == "gaps":
        weights = weights * (torch.rand(2, 600) < 0.1)
    if kind == "one":
        weights = torch.full((2, 600), 1e-6, dtype=torch.float64)
        weights[:, 7] = 1
    weights = weights.to(dtype)[:1]
    torch.manual_seed(9)
    many = torch.multinomial(weights, 600, replacement=True)
    torch.manual_seed(9)
    few = torch.multinomial(weights, 149, replacement=True)
    assert many[:, :149].tolist() == few.tolist()
    assert (weights[0, many[0]] > 0).all()
