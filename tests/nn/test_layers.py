"""Layers: shapes and values worked out by hand or in NumPy, modes, states and checks."""

import math

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F
from flambeau import nn


def assert_near(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours.detach().numpy(), expected, 1e-4, tolerance)


def test_linear_is_a_matrix_product():
    layer = nn.Linear(3, 2)
    x = flambeau.randn(4, 5, 3)
    expected = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    assert_near(layer(x), expected)
    assert nn.Linear(3, 2, bias=False).bias is None
    assert nn.Linear(3, 2, dtype=flambeau.float64).weight.dtype == flambeau.float64


def test_bilinear():
    layer = nn.Bilinear(2, 3, 4)
    a, b = flambeau.randn(5, 2), flambeau.randn(5, 3)
    expected = np.einsum("ni,kij,nj->nk", a.numpy(), layer.weight.detach().numpy(), b.numpy())
    assert_near(layer(a, b), expected + layer.bias.detach().numpy())
    with pytest.raises(RuntimeError, match="batch dimensions"):
        layer(a[:2], b)
    with pytest.raises(RuntimeError, match="input sizes"):
        layer(b, a)


def correlate2d(x, w, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    kh, kw = w.shape[2:]
    rows, columns = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    out = np.zeros((len(x), len(w), rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = x[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, :, i, j] = np.einsum("nchw,ochw->no", patch, w)
    return out


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_conv2d(stride, padding):
    layer = nn.Conv2d(3, 4, 3, stride=stride, padding=padding)
    x = flambeau.randn(2, 3, 7, 6)
    expected = correlate2d(x.numpy(), layer.weight.detach().numpy(), stride, padding)
    assert_near(layer(x), expected + layer.bias.detach().numpy()[:, None, None], 1e-4)
    assert_near(layer(x[0]), layer(x)[0].detach().numpy(), 1e-4)


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_padding_modes_of_convolutions(mode, numpy_mode):
    layer = nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode, bias=False)
    x = flambeau.randn(1, 1, 5, 4)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode=numpy_mode)
    assert_near(layer(x), correlate2d(padded, layer.weight.detach().numpy(), 1, 0), 1e-4)
    assert f"padding_mode={mode}" in repr(layer)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_keeps_the_size():
    x = flambeau.randn(1, 2, 9)
    for kernel, dilation, mode in (
        (3, 1, "zeros"),
        (4, 1, "zeros"),
        (3, 2, "circular"),
        (2, 3, "reflect"),
    ):
        layer = nn.Conv1d(2, 2, kernel, padding="same", dilation=dilation, padding_mode=mode)
        assert layer(x).shape == (1, 2, 9)


def test_transposed_convolution_is_the_gradient_of_convolution():
    down = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False)
    up = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, bias=False)
    up.load_state_dict(down.state_dict())
    x = flambeau.randn(1, 2, 8, 7, requires_grad=True)
    y = down(x)
    cotangent = flambeau.randn(y.shape)
    y.backward(cotangent)
    assert_near(up(cotangent, output_size=(8, 7)), x.grad.numpy(), 1e-4)
    assert up(cotangent).shape == (1, 2, 7, 7)
    with pytest.raises(ValueError, match="valid sizes range from"):
        up(cotangent, output_size=(9, 7))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"groups": 2}, "in_channels must be divisible"),
        ({"groups": 0}, "positive integer"),
        ({"padding": "same", "stride": 2}, "not supported for strided"),
        ({"padding": "full"}, "Invalid padding string"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of"),
    ],
)
def test_settings_of_convolutions_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        nn.Conv2d(3, 4, 3, **settings)
    if "padding_mode" in settings:
        with pytest.raises(ValueError, match="zeros"):
            nn.ConvTranspose2d(3, 4, 3, padding_mode="circular")


def test_pooling():
    x = flambeau.arange(16.0).reshape(1, 1, 4, 4)
    assert nn.MaxPool2d(2)(x).flatten().tolist() == [5, 7, 13, 15]
    assert nn.AvgPool2d(2)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert nn.AdaptiveAvgPool2d(1)(x).item() == 7.5
    assert nn.AdaptiveMaxPool2d((1, 2))(x).flatten().tolist() == [13, 15]
    values, where = nn.MaxPool2d(2, return_indices=True)(x)
    assert where.flatten().tolist() == [5, 7, 13, 15]
    back = nn.MaxUnpool2d(2)(values, where)
    assert back.flatten()[where.flatten()].tolist() == [5, 7, 13, 15]
    assert back.sum().item() == 40
    assert nn.LPPool2d(2, 2)(x)[0, 0, 0, 0].item() == pytest.approx(math.sqrt(0 + 1 + 16 + 25))
    with pytest.raises(RuntimeError, match="shape of indices"):
        nn.MaxUnpool2d(2)(values, where[:, :, :1])
    with pytest.raises(RuntimeError, match="invalid"):
        nn.MaxUnpool2d(2)(values, where + 50)
    with pytest.raises(ValueError, match="invalid output_size"):
        nn.MaxUnpool2d(2)(values, where, output_size=[9, 9])


def test_batch_norm_normalizes_and_keeps_statistics():
    layer = nn.BatchNorm2d(3, momentum=0.2)
    x = flambeau.randn(4, 3, 5, 6) * 3 + 2
    y = layer(x)
    assert_near(y.mean((0, 2, 3)), np.zeros(3))
    assert_near(y.var((0, 2, 3), unbiased=False), np.ones(3), 1e-3)
    assert_near(layer.running_mean, 0.2 * x.mean((0, 2, 3)).numpy())
    assert_near(layer.running_var, 0.8 + 0.2 * x.var((0, 2, 3)).numpy())
    assert layer.num_batches_tracked.item() == 1
    before = layer.running_mean.clone()
    layer.eval()
    expected = (x - layer.running_mean[:, None, None]) / (layer.running_var + 1e-5).sqrt()[
        :, None, None
    ]
    assert_near(layer(x), expected.numpy())
    assert flambeau.equal(layer.running_mean, before)


def test_batch_norm_with_cumulative_mean():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [flambeau.randn(8, 2) for _ in range(3)]
    for batch in batches:
        layer(batch)
    assert_near(layer.running_mean, flambeau.stack(batches).mean((0, 1)).numpy())
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0


def test_batch_norm_without_statistics_uses_the_batch_always():
    layer = nn.BatchNorm1d(2, track_running_stats=False, affine=False).eval()
    assert list(layer.state_dict()) == []
    assert_near(layer(flambeau.randn(16, 2)).mean(0), np.zeros(2))


def test_batch_norm_checks():
    with pytest.raises(ValueError, match="expected 4D input"):
        nn.BatchNorm2d(3)(flambeau.ones(2, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(flambeau.ones(1, 3))
    assert nn.BatchNorm1d(3).eval()(flambeau.ones(1, 3)).shape == (1, 3)


def test_instance_norm():
    x = flambeau.randn(2, 3, 5, 6) * 4 + 1
    layer = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    y = layer(x)
    assert_near(y.mean((2, 3)), np.zeros((2, 3)))
    assert_near(layer.running_mean, 0.1 * x.mean((2, 3)).mean(0).numpy())
    assert_near(layer(x[0]), y[0].detach().numpy())
    layer.eval()
    assert not flambeau.allclose(layer(x), y)
    with pytest.raises(ValueError, match="match num_features"):
        layer(flambeau.ones(2, 4, 5, 6))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        nn.InstanceNorm1d(3)(flambeau.ones(2, 3, 1))


def test_layer_group_and_rms_norm():
    x = flambeau.randn(2, 6, 4)
    a = x.numpy()
    expected = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    assert_near(nn.LayerNorm(4)(x), expected)
    grouped = a.reshape(2, 3, -1)
    expected = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(
        grouped.var(-1, keepdims=True) + 1e-5
    )
    assert_near(nn.GroupNorm(3, 6)(x), expected.reshape(a.shape))
    expected = a / np.sqrt((a * a).mean(-1, keepdims=True) + 1e-3)
    assert_near(nn.RMSNorm(4, eps=1e-3)(x), expected)
    with pytest.raises(ValueError, match="divisible by num_groups"):
        nn.GroupNorm(4, 6)


def test_local_response_norm():
    x = flambeau.randn(1, 4, 3)
    a = x.numpy()
    padded = np.pad(a * a, ((0, 0), (1, 1), (0, 0)))
    means = sum(padded[:, i : i + 4] for i in range(3)) / 3
    assert_near(nn.LocalResponseNorm(3, alpha=0.5)(x), a / (1 + 0.5 * means) ** 0.75)


def test_dropout_scales_what_it_keeps():
    x = flambeau.ones(1000)
    layer = nn.Dropout(0.25)
    y = layer(x)
    assert sorted(set(y.tolist())) == pytest.approx([0, 4 / 3])
    assert 680 < (y != 0).sum().item() < 820
    assert flambeau.equal(layer.eval()(x), x)
    channels = nn.Dropout2d(0.5)(flambeau.ones(20, 10, 2, 2)).reshape(200, 4)
    assert flambeau.equal(channels.min(1)[0], channels.max(1)[0])
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(p)


def test_embedding():
    table = nn.Embedding(5, 3, padding_idx=-1)
    assert table.padding_idx == 4
    x = flambeau.tensor([[0, 4], [0, 2]])
    y = table(x)
    assert flambeau.equal(y[1, 1], table.weight[2])
    y.sum().backward()
    assert table.weight.grad.sum(1).tolist() == [6, 0, 3, 0, 0]
    fixed = nn.Embedding.from_pretrained(flambeau.eye(3))
    assert not fixed.weight.requires_grad
    assert fixed(flambeau.tensor([2])).tolist() == [[0, 0, 1]]
    with pytest.raises(IndexError):
        table(flambeau.tensor([5]))
    with pytest.raises(AssertionError):
        nn.Embedding(3, 2, padding_idx=3)


def test_embedding_limits_norms_of_used_rows_only():
    table = nn.Embedding.from_pretrained(flambeau.full((3, 4), 2.0), freeze=False, max_norm=1.0)
    table(flambeau.tensor([0, 0, 2]))
    norms = table.weight.detach().norm(dim=1)
    assert_near(norms, [1.0, 4.0, 1.0], 1e-4)


@pytest.mark.parametrize("width", [1, 16, 70, 131])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_embedding_bags_between_offsets(width, mode, last):
    flambeau.manual_seed(0)
    starts = [0, 3, 3, 4, 40]
    index = flambeau.randint(0, 9, (47,))
    for dtype, close in ((flambeau.float64, 1e-12), (flambeau.float32, 1e-5)):
        table = flambeau.randn(9, width, dtype=dtype, requires_grad=True)
        offsets = flambeau.tensor([*starts, 47] if last else starts)
        found = F.embedding_bag(index, table, offsets, mode=mode, include_last_offset=last)
        rows = []
        for begin, end in zip(starts, [*starts[1:], 47], strict=True):
            bag = table[index[begin:end]]
            if begin == end:
                rows.append(table.new_zeros(width))
            else:
                rows.append(bag.amax(0) if mode == "max" else getattr(bag, mode)(0))
        wanted = flambeau.stack(rows)
        assert flambeau.allclose(found, wanted, rtol=close, atol=close)
        if mode == "max":  # ties share the gradient of amax
            continue
        g = flambeau.randn(5, width, dtype=dtype)
        a, b = (flambeau.autograd.grad(y, table, g)[0] for y in (found, wanted))
        assert flambeau.allclose(a, b, rtol=close, atol=close)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("width", [1, 20, 200])
def test_embedding_bags_of_one_length(width, mode):
    flambeau.manual_seed(0)
    index = flambeau.randint(0, 50, (7, 5))
    table = flambeau.randn(50, width, dtype=flambeau.float64, requires_grad=True)
    factors = flambeau.randn(7, 5, dtype=flambeau.float64, requires_grad=True)
    given = {"per_sample_weights": factors} if mode == "sum" else {}
    rows = table[index] * (factors.unsqueeze(2) if given else 1)
    wanted = rows.amax(1) if mode == "max" else getattr(rows, mode)(1)
    g = flambeau.randn(7, width, dtype=flambeau.float64)
    leaves = (table, factors) if given else (table,)
    expected = flambeau.autograd.grad(wanted, leaves, g)
    for i, offsets in ((index, None), (index.int().reshape(-1), flambeau.arange(0, 35, 5))):
        if given and offsets is not None:
            given["per_sample_weights"] = factors.reshape(-1)
        found = F.embedding_bag(i, table, offsets, mode=mode, **given)
        assert flambeau.allclose(found, wanted)
        if mode == "max" and len(set(index.flatten().tolist())) < 35:
            flambeau.autograd.grad(found, leaves, g)  # a row twice in a bag: ties are shared
            continue
        for a, b in zip(flambeau.autograd.grad(found, leaves, g), expected, strict=True):
            assert flambeau.allclose(a, b)
    half = F.embedding_bag(index, table.detach().bfloat16(), mode=mode)
    plain = table.detach().bfloat16().double()[index]
    near = plain.amax(1) if mode == "max" else getattr(plain, mode)(1)
    assert flambeau.allclose(half.double(), near, rtol=1e-2, atol=1e-2)


def test_the_first_of_equal_maxima_gets_the_gradient():
    table = flambeau.tensor([[1.0, 5.0], [1.0, 4.0], [0.0, 5.0]], requires_grad=True)
    index, offsets = flambeau.tensor([2, 0, 1, 0]), flambeau.tensor([0, 3, 3])
    out = F.embedding_bag(index, table, offsets, mode="max")
    assert out.tolist() == [[1, 5], [0, 0], [1, 5]]
    out.backward(flambeau.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]]))
    assert table.grad.tolist() == [[17, 32], [0, 0], [0, 2]]


def test_embedding_bag_checks_indices_and_offsets():
    table, index = flambeau.randn(4, 3), flambeau.tensor([0, 1, 3])
    for wrong in ([1, 2], [0, 4], [0, 2, 1]):
        with pytest.raises(RuntimeError, match="embedding_bag: offsets"):
            F.embedding_bag(index, table, flambeau.tensor(wrong), mode="sum")
    for bad in (-1, 4):
        with pytest.raises(IndexError, match="out of range"):
            F.embedding_bag(index.clone().fill_(bad), table, flambeau.tensor([0]), mode="sum")
    assert F.embedding_bag(index[:0], table, flambeau.tensor([0, 0])).tolist() == [[0.0] * 3] * 2


def test_embedding_bag():
    table = nn.EmbeddingBag.from_pretrained(flambeau.arange(10.0).reshape(5, 2), mode="mean")
    flat = flambeau.tensor([0, 1, 4, 2])
    y = table(flat, flambeau.tensor([0, 2, 2]))
    assert y.tolist() == [[1, 2], [0, 0], [6, 7]]
    weights = flambeau.tensor([1.0, 2.0, 0.5, 0.0])
    table.mode = "sum"
    assert table(flat, flambeau.tensor([0, 3]), weights).tolist() == [[8, 11.5], [0, 0]]
    table.mode = "max"
    assert table(flat.reshape(2, 2)).tolist() == [[2, 3], [8, 9]]
    with pytest.raises(ValueError, match="offsets has to be"):
        table(flat)


ACTIVATIONS = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.Hardtanh(-0.5, 2), lambda x: np.clip(x, -0.5, 2)),
    (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    (nn.Tanh(), np.tanh),
    (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    (nn.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    (nn.CELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7))),
    (
        nn.SELU(),
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    (
        nn.GELU("tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    (nn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    (nn.PReLU(init=0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    (nn.Hardsigmoid(), lambda x: np.clip(x + 3, 0, 6) / 6),
    (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    (nn.Softplus(2), lambda x: np.log1p(np.exp(2 * x)) / 2),
    (nn.Softsign(), lambda x: x / (1 + abs(x))),
    (nn.Tanhshrink(), lambda x: x - np.tanh(x)),
    (nn.Softshrink(0.4), lambda x: np.sign(x) * np.maximum(abs(x) - 0.4, 0)),
    (nn.Hardshrink(0.4), lambda x: np.where(abs(x) > 0.4, x, 0)),
    (nn.Threshold(0.2, 7), lambda x: np.where(x > 0.2, x, 7)),
    (nn.LogSigmoid(), lambda x: -np.log1p(np.exp(-x))),
    (nn.Softmax(-1), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (nn.Softmin(0), lambda x: np.exp(-x) / np.exp(-x).sum(0)),
    (nn.LogSoftmax(1), lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
    (nn.GLU(0), lambda x: x[:3] / (1 + np.exp(-x[3:]))),
]


@pytest.mark.parametrize(("layer", "formula"), ACTIVATIONS, ids=[repr(a[0]) for a in ACTIVATIONS])
def test_activation(layer, formula):
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32) * 2
    assert_near(layer(flambeau.tensor(x)), formula(x.astype(np.float64)), 1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(True),
        nn.ReLU6(True),
        nn.ELU(inplace=True),
        nn.SiLU(True),
        nn.LeakyReLU(inplace=True),
    ],
    ids=repr,
)
def test_inplace_activations_overwrite(layer):
    x = flambeau.linspace(-2, 2, 5)
    expected = type(layer)()(x)
    result = layer(x)
    assert flambeau.equal(result, expected)
    assert flambeau.equal(x, expected)
    assert "inplace=True" in repr(layer)


def test_rrelu_draws_slopes_in_training_only():
    layer = nn.RReLU(0.1, 0.3)
    x = -flambeau.ones(500)
    slopes = -layer(x)
    assert 0.1 <= slopes.min().item() < 0.12
    assert 0.28 < slopes.max().item() <= 0.3
    assert_near(-layer.eval()(x), np.full(500, 0.2))


def test_softmax_guesses_its_dimension_with_a_warning():
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        y = nn.Softmax()(flambeau.zeros(2, 4))
    assert y[0, 0].item() == 0.25
    with pytest.raises(ValueError, match="3D or 4D"):
        nn.Softmax2d()(flambeau.zeros(2, 4))


def test_padding_layers():
    x = flambeau.arange(3.0).reshape(1, 1, 3)
    assert nn.ConstantPad1d((1, 2), 9)(x).flatten().tolist() == [9, 0, 1, 2, 9, 9]
    assert nn.ZeroPad1d(1)(x).flatten().tolist() == [0, 0, 1, 2, 0]
    assert nn.ReflectionPad1d(2)(x).flatten().tolist() == [2, 1, 0, 1, 2, 1, 0]
    assert nn.ReplicationPad1d((0, 2))(x).flatten().tolist() == [0, 1, 2, 2, 2]
    assert nn.CircularPad1d((1, 0))(x).flatten().tolist() == [2, 0, 1, 2]
    assert nn.ZeroPad2d((1, 0, 2, 0))(flambeau.ones(1, 1, 2, 2)).shape == (1, 1, 4, 3)


def test_shuffles_undo_each_other():
    x = flambeau.arange(32.0).reshape(1, 8, 2, 2)
    up = nn.PixelShuffle(2)(x)
    assert up.shape == (1, 2, 4, 4)
    assert up[0, 0, :2, :2].flatten().tolist() == [0, 4, 8, 12]
    assert flambeau.equal(nn.PixelUnshuffle(2)(up), x)
    mixed = nn.ChannelShuffle(2)(x)
    assert mixed[0, :, 0, 0].tolist() == [0, 16, 4, 20, 8, 24, 12, 28]
    assert flambeau.equal(nn.ChannelShuffle(4)(mixed), x)
    with pytest.raises(RuntimeError, match="divisible by the square"):
        nn.PixelShuffle(3)(x)
    with pytest.raises(RuntimeError, match="divisible by groups"):
        nn.ChannelShuffle(3)(x)


def test_flatten_fold_and_upsample():
    x = flambeau.randn(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Unflatten(1, (3, 1))(x).shape == (2, 3, 1, 4, 5)
    columns = nn.Unfold(2, stride=2)(x[..., :4])
    assert columns.shape == (2, 12, 4)
    assert flambeau.equal(nn.Fold((4, 4), 2, stride=2)(columns), x[..., :4])
    grown = nn.Upsample(scale_factor=2)(x)
    assert flambeau.equal(grown[..., ::2, ::2], x)
    assert flambeau.equal(grown[..., 1::2, 1::2], x)


def test_distances():
    a, b = flambeau.tensor([[3.0, 0.0]]), flambeau.tensor([[0.0, 4.0]])
    assert nn.PairwiseDistance(eps=0.0)(a, b).item() == 5
    assert nn.CosineSimilarity()(a, b).item() == 0
    assert nn.CosineSimilarity()(a, a * 7).item() == pytest.approx(1)
    x = flambeau.randn(4, 3)
    distances = F.pdist(x)
    expected = [
        np.linalg.norm(x[i].numpy() - x[j].numpy()) for i in range(4) for j in range(i + 1, 4)
    ]
    assert_near(distances, expected)


def test_one_hot():
    assert F.one_hot(flambeau.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert F.one_hot(flambeau.tensor(2)).tolist() == [0, 0, 1]
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        F.one_hot(flambeau.tensor([3]), 3)
    with pytest.raises(RuntimeError, match="empty tensor"):
        F.one_hot(flambeau.zeros(0, dtype=flambeau.int64))


def test_gumbel_softmax():
    x = flambeau.randn(50, 4, requires_grad=True)
    soft = F.gumbel_softmax(x, tau=0.5)
    assert_near(soft.sum(-1), np.ones(50))
    hard = F.gumbel_softmax(x, hard=True)
    assert set(hard.detach().round().flatten().tolist()) == {0.0, 1.0}
    hard[:, 0].sum().backward()
    assert x.grad.abs().sum().item() > 0


def test_affine_grid_of_the_identity_is_the_pixel_centres():
    theta = flambeau.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    grid = F.affine_grid(theta, [1, 1, 2, 4], align_corners=False)
    assert grid[0, 0, :, 0].tolist() == pytest.approx([-0.75, -0.25, 0.25, 0.75])
    assert grid[0, :, 0, 1].tolist() == pytest.approx([-0.5, 0.5])
    with pytest.raises(ValueError, match="affine matrices"):
        F.affine_grid(theta[:, :1], [1, 1, 2, 4], align_corners=False)


def test_every_public_name_exists_and_every_layer_prints():
    for name in nn.__all__:
        assert hasattr(nn, name), name
    for name in F.__all__:
        assert callable(getattr(F, name)), name
    assert repr(nn.Conv2d(1, 2, 3, padding=1, bias=False)) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)"
    )
    assert repr(nn.BatchNorm2d(3)) == (
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    )
    assert repr(nn.MaxPool2d(2)) == (
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    )
    assert repr(nn.Embedding(3, 2, padding_idx=0)) == "Embedding(3, 2, padding_idx=0)"
    assert repr(nn.Dropout()) == "Dropout(p=0.5, inplace=False)"
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"
