"""Adaptive softmax, fractional pooling, joined losses, one-process forms."""

import warnings

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.nn.attention import SDPBackend, sdpa_kernel


class TestAdaptiveLogSoftmax:
    def make(self, **options):
        torch.manual_seed(0)
        return nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 9, 14], div_value=2.0, **options)

    @pytest.mark.parametrize("head_bias", [False, True])
    def test_probabilities_sum_to_one(self, head_bias):
        softmax = self.make(head_bias=head_bias)
        log_prob = softmax.log_prob(torch.randn(6, 8))
        assert tuple(log_prob.shape) == (6, 20)
        assert torch.allclose(log_prob.exp().sum(1), torch.ones(6))

    def test_outputs_are_the_targets_log_probabilities(self):
        softmax, x = self.make(), torch.randn(20, 8, requires_grad=True)
        target = torch.arange(20)
        output, loss = softmax(x, target)
        expected = softmax.log_prob(x).gather(1, target.unsqueeze(1)).squeeze(1)
        assert torch.allclose(output, expected, atol=1e-6)
        assert torch.allclose(loss, -expected.mean())
        grads = torch.autograd.grad(loss, [x, *softmax.parameters()], retain_graph=True)
        wanted = torch.autograd.grad(-expected.mean(), [x, *softmax.parameters()])
        for one, other in zip(grads, wanted, strict=True):
            assert torch.allclose(one, other, atol=1e-6)

    def test_predictions_are_the_largest(self):
        softmax, x = self.make(), torch.randn(50, 8) * 5
        assert torch.equal(softmax.predict(x), softmax.log_prob(x).argmax(1))

    def test_one_input(self):
        softmax, x = self.make(), torch.randn(8)
        output, loss = softmax(x, torch.tensor(16))
        assert output.shape == ()
        assert torch.allclose(output, softmax.log_prob(x.unsqueeze(0))[0, 16])
        assert torch.allclose(loss, -output)

    @pytest.mark.parametrize(
        ("shape", "target", "message"),
        [
            ((3, 8), [1, 2], "same size in the batch"),
            ((3, 8), [[1], [2], [3]], "0D or 1D target"),
            ((2, 8), 1, "0D target tensor expects 1D"),
            ((2, 8), [1, 20], r"should be in \[0, 19\], but values in range \[1, 20\]"),
        ],
    )
    def test_errors(self, shape, target, message):
        with pytest.raises(RuntimeError, match=message):
            self.make()(torch.zeros(shape), torch.tensor(target))

    @pytest.mark.parametrize("cutoffs", [[], [5, 3], [3, 3], [0, 3], [3, 20]])
    def test_bad_cutoffs(self, cutoffs):
        with pytest.raises(ValueError, match="cutoffs should be"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs)


def pool_by_hand(x, samples, kernel, wanted):
    """Fractional pooling of one plane in NumPy; samples in the order of the dimensions."""
    starts = []
    for u, size, k, n in zip(samples, x.shape, kernel, wanted, strict=True):
        step = (size - k) / (n - 1) if n > 1 else 0.0
        row = [int((i + u) * step) - int(u * step) for i in range(n - 1)]
        starts.append([*row, size - k])
    made = np.empty(wanted)
    for place in np.ndindex(*wanted):
        window = tuple(
            slice(rows[i], rows[i] + k) for i, rows, k in zip(place, starts, kernel, strict=True)
        )
        made[place] = x[window].max()
    return made


@pytest.mark.parametrize(
    ("size", "kernel", "wanted"),
    [
        ((9, 7), (2, 3), (4, 3)),
        ((5, 5), (2, 2), (1, 4)),
        ((6, 7, 5), (2, 2, 1), (3, 4, 5)),
        ((31, 40), (9, 21), (5, 4)),
    ],
)
def test_fractional_pooling(size, kernel, wanted):
    dims = len(size)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    samples = torch.rand(2, 3, dims, dtype=torch.float64)
    pool = getattr(F, f"fractional_max_pool{dims}d")
    values, indices = pool(x, kernel, wanted, return_indices=True, _random_samples=samples)
    for n in range(2):
        for c in range(3):
            u = samples[n, c].tolist()
            u = u[::-1] if dims == 2 else u
            expected = pool_by_hand(x[n, c].detach().numpy(), u, kernel, wanted)
            assert values[n, c].tolist() == expected.tolist()
    flat = x.flatten(2)
    assert torch.equal(flat.gather(2, indices.flatten(2)).reshape(values.shape), values)
    weights = torch.randn_like(values)
    (gradient,) = torch.autograd.grad(values, x, weights)
    spread = torch.zeros_like(flat).scatter_add(2, indices.flatten(2), weights.flatten(2))
    assert torch.allclose(gradient.flatten(2), spread)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.rand(2, 3), "3 dimensions"),
        (torch.rand(1, 3, 2), "no less then input batch"),
        (torch.rand(2, 4, 2), "channel size"),
        (torch.rand(2, 3, 3), "equals to 2"),
        (torch.rand(2, 3, 2).double(), "same dtype"),
    ],
)
def test_fractional_pooling_checks_samples(samples, message):
    x = torch.rand(2, 3, 6, 6)
    with pytest.raises(RuntimeError, match=message):
        F.fractional_max_pool2d(x, 2, 3, _random_samples=samples)


def test_fractional_layers():
    torch.manual_seed(0)
    pool = nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.7), return_indices=True)
    values, indices = pool(torch.randn(3, 8, 10))
    assert tuple(values.shape) == tuple(indices.shape) == (3, 4, 7)
    first = nn.FractionalMaxPool2d(2, output_size=4)
    torch.manual_seed(1)
    x = torch.randn(1, 1, 9, 9)
    draws = {str(first(x).tolist()) for _ in range(8)}
    assert len(draws) > 1
    with pytest.raises(ValueError, match="requires specifying either"):
        nn.FractionalMaxPool2d(2)
    with pytest.raises(ValueError, match="only one of"):
        nn.FractionalMaxPool3d(2, output_size=2, output_ratio=0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.FractionalMaxPool2d(2, output_ratio=1.5)
    with pytest.raises(RuntimeError, match="too large relative to input"):
        F.fractional_max_pool2d(torch.zeros(1, 1, 3, 3), 2, output_size=3)
    with pytest.raises(ValueError, match="output_size or an output_ratio"):
        F.fractional_max_pool3d(torch.zeros(1, 3, 3, 3), 2)
    nan = torch.zeros(1, 1, 4, 4)
    nan[0, 0, 1, 1] = float("nan")
    assert bool(F.fractional_max_pool2d(nan, 2, output_size=2).isnan().any())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("out_features", [(), (3, 2)])
@pytest.mark.parametrize("soft", [False, True])
def test_linear_cross_entropy(bias, out_features, soft):
    torch.manual_seed(0)
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    loss = nn.LinearCrossEntropyLoss(
        5, 4, out_features=out_features, bias=bias, label_smoothing=0.1, options=options
    )
    x = torch.randn(6, 5)
    target = torch.randint(4, (6, *out_features))
    if soft:
        target = torch.randn(6, 4, *out_features).softmax(1)
    logits = loss.linear(x).reshape(6, 4, *out_features)
    assert torch.allclose(loss(x, target), F.cross_entropy(logits, target, label_smoothing=0.1))


def test_linear_cross_entropy_errors():
    loss = nn.LinearCrossEntropyLoss(3, 2)
    with pytest.raises(RuntimeError, match="Expected floating point type"):
        loss(torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"batch_size \(4\)"):
        loss(torch.zeros(4, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(RuntimeError, match="last dimensions"):
        loss(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long))
    with pytest.raises(RuntimeError, match="weight shape"):
        nn.LinearCrossEntropyLoss(3, 2, weight=torch.ones(3))
    with pytest.raises(RuntimeError, match="label_smoothing"):
        nn.LinearCrossEntropyLoss(3, 2, label_smoothing=2.0)


def test_sync_batch_norm_is_batch_norm_in_one_process():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(4)))
    weight = net[1].weight
    net[2].eval()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert converted is net
    assert [type(net[i]).__name__ for i in (0, 1)] == ["Conv2d", "SyncBatchNorm"]
    assert type(net[2][0]) is nn.SyncBatchNorm
    assert net[1].weight is weight
    assert not net[2][0].training
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(net[1](x), nn.BatchNorm2d(3)(x))
    with pytest.raises(ValueError, match="at least 2D"):
        nn.SyncBatchNorm(3)(torch.zeros(3))


def test_batch_norm_of_no_batch_keeps_the_statistics():
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(3)
    assert tuple(norm(torch.zeros(0, 2, 4)).shape) == (0, 2, 4)
    assert norm.running_mean.tolist() == [3, 3]
    assert norm.num_batches_tracked == 1
    with pytest.raises(ValueError, match="eps must be positive"):
        nn.BatchNorm1d(2, eps=-1.0)(torch.zeros(3, 2))


def test_one_device():
    layer = nn.Linear(2, 3)
    parallel = nn.DataParallel(layer, device_ids=None)
    x = torch.randn(4, 2)
    assert torch.equal(parallel(x), layer(x))
    assert torch.equal(nn.parallel.data_parallel(layer, x), layer(x))
    assert list(parallel.state_dict()) == ["module.weight", "module.bias"]
    assert [name for name, _ in nn.Container(a=layer).named_children()] == ["a"]


def test_factory_kwargs():
    assert nn.factory_kwargs(None) == {}
    assert nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"dtype": torch.half}}) == {
        "device": "cpu",
        "dtype": torch.half,
    }
    with pytest.raises(TypeError, match="unexpected"):
        nn.factory_kwargs({"size": 1})
    with pytest.raises(TypeError, match="twice"):
        nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"device": "cpu"}})


def test_the_choice_of_attention_changes_nothing():
    q = torch.randn(1, 2, 3, 4)
    expected = F.scaled_dot_product_attention(q, q, q)
    for choice in (SDPBackend.FLASH_ATTENTION, [SDPBackend.MATH, SDPBackend.CUDNN_ATTENTION]):
        with sdpa_kernel(choice):
            assert torch.equal(F.scaled_dot_product_attention(q, q, q), expected)
    with pytest.raises(TypeError, match="SDPBackend"), sdpa_kernel("flash"):
        pass


def test_conv_tbc():
    x, w, b = torch.randn(6, 2, 3), torch.randn(3, 3, 4), torch.randn(4)
    y = F.conv_tbc(x, w, b, pad=1)
    padded = torch.cat([torch.zeros(1, 2, 3), x, torch.zeros(1, 2, 3)])
    expected = sum(padded[k : k + 6] @ w[k] for k in range(3)) + b
    assert torch.allclose(y, expected, atol=1e-5)


def test_grouped_products():
    ends = torch.tensor([2, 2, 5])
    a, b = torch.randn(5, 4), torch.randn(3, 4, 6)
    rows = F.grouped_mm(a, b, offs=ends)
    assert torch.allclose(rows, torch.cat([a[:2] @ b[0], a[2:] @ b[2]]), atol=1e-6)
    columns = F.grouped_mm(b.mT, a.T, offs=ends)
    assert torch.allclose(columns, torch.cat([b[0].T @ a.T[:, :2], b[2].T @ a.T[:, 2:]], 1))
    sums = F.grouped_mm(a.T, torch.ones(5, 2), offs=ends, out_dtype=torch.float64)
    assert sums.dtype == torch.float64
    assert torch.allclose(sums[0].float(), a.T[:, :2] @ torch.ones(2, 2))
    assert sums[1].tolist() == [[0, 0]] * 4
    assert torch.equal(F.grouped_mm(b, b.mT), b @ b.mT)
    with pytest.raises(RuntimeError, match="offs"):
        F.grouped_mm(a, b)


def test_flags_and_sizes_of_recurrent_layers():
    for options, error in (
        ({"bias": 0}, TypeError),
        ({"batch_first": 1}, TypeError),
        ({"input_size": 0}, ValueError),
        ({"input_size": 2.0}, TypeError),
    ):
        with pytest.raises(error):
            nn.GRU(**{"input_size": 2, "hidden_size": 3, **options})


def test_ctc_gradient_counts_the_softmax():
    torch.manual_seed(0)
    logits = torch.randn(6, 2, 4, dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(2)
    lengths = torch.tensor([6, 4]), torch.tensor([2, 1])
    loss = F.ctc_loss(log_probs, torch.tensor([[1, 2], [3, 0]]), *lengths, reduction="sum")
    by_probs, by_logits = torch.autograd.grad(loss, [log_probs, logits])
    # What log_softmax passes on is the same: the rows of the first sum to zero already.
    assert torch.allclose(by_probs, by_logits)
    assert torch.equal(by_probs[4:, 1], torch.zeros(2, 4).double())


def test_losses_refuse_what_they_cannot_use():
    with pytest.raises(TypeError, match="delta must be"):
        nn.HuberLoss(delta=1j)
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        F.cross_entropy(torch.zeros(2, 3), torch.ones(2, 3), ignore_index=1)
    with pytest.raises(ValueError, match="expected 2D or 3D"):
        nn.CircularPad1d(1)(torch.zeros(2, 2, 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, t, v = torch.randn(4, 3), torch.randn(4, 3), torch.rand(1, 3) + 0.1
    loss = F.gaussian_nll_loss(x, t, v)
    assert torch.allclose(loss, F.gaussian_nll_loss(x, t, v.expand(4, 3)))
