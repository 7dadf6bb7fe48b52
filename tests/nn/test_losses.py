"""Losses against their formulas in NumPy, their reductions and their checks."""

import math

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F
from flambeau import nn


def log_softmax(x, axis=-1):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def logsigmoid(x):
    return -np.logaddexp(0, -x)


X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
P = np.random.default_rng(2).uniform(0.05, 0.95, (4, 5)).astype(np.float32)
SIGNS = np.sign(Y)
D = np.abs(X - Y)

ELEMENTWISE = [
    (nn.L1Loss, {}, (X, Y), D),
    (nn.MSELoss, {}, (X, Y), D**2),
    (nn.SmoothL1Loss, {"beta": 0.5}, (X, Y), np.where(D < 0.5, D * D, D - 0.25)),
    (nn.HuberLoss, {"delta": 0.5}, (X, Y), np.where(D < 0.5, 0.5 * D * D, 0.5 * (D - 0.25))),
    (nn.BCELoss, {}, (P, P[::-1]), -(P[::-1] * np.log(P) + (1 - P[::-1]) * np.log(1 - P))),
    (nn.BCEWithLogitsLoss, {}, (X, P), -(P * logsigmoid(X) + (1 - P) * logsigmoid(-X))),
    (nn.KLDivLoss, {}, (X, P), P * (np.log(P) - X)),
    (nn.KLDivLoss, {"log_target": True}, (X, Y), np.exp(Y) * (Y - X)),
    (nn.PoissonNLLLoss, {}, (X, P), np.exp(X) - P * X),
    (nn.HingeEmbeddingLoss, {}, (X, SIGNS), np.where(SIGNS == 1, X, np.maximum(0, 1 - X))),
    (nn.SoftMarginLoss, {}, (X, SIGNS), np.log1p(np.exp(-SIGNS * X))),
    (nn.MarginRankingLoss, {"margin": 0.3}, (X, Y, SIGNS), np.maximum(0, -SIGNS * (X - Y) + 0.3)),
    (nn.GaussianNLLLoss, {}, (X, Y, P), 0.5 * (np.log(P) + (X - Y) ** 2 / P)),
]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize(
    ("kind", "settings", "arrays", "expected"),
    ELEMENTWISE,
    ids=[c[0].__name__ for c in ELEMENTWISE],
)
@pytest.mark.filterwarnings("ignore:reduction")
def test_elementwise(kind, settings, arrays, expected, reduction):
    loss = kind(reduction=reduction, **settings)(*[flambeau.tensor(a.copy()) for a in arrays])
    if reduction != "none":
        expected = getattr(expected, reduction)()
    np.testing.assert_allclose(loss.numpy(), expected, 1e-4, 1e-5)


def test_cross_entropy_of_classes():
    target = np.array([0, 4, 2, 2])
    logs = log_softmax(X)
    expected = -logs[np.arange(4), target]
    x, t = flambeau.tensor(X), flambeau.tensor(target)
    assert F.cross_entropy(x, t).item() == pytest.approx(expected.mean(), rel=1e-5)
    assert F.cross_entropy(x[1], t[1]).item() == pytest.approx(expected[1], rel=1e-5)
    assert F.nll_loss(x.log_softmax(1), t, reduction="sum").item() == pytest.approx(
        expected.sum(), rel=1e-5
    )
    factors = np.array([1.0, 2.0, 3.0, 4.0, 0.5], dtype=np.float32)
    weighted = (expected * factors[target]).sum() / factors[target].sum()
    ours = F.cross_entropy(x, t, flambeau.tensor(factors))
    assert ours.item() == pytest.approx(weighted, rel=1e-5)
    ours = F.cross_entropy(x, t, ignore_index=2)
    assert ours.item() == pytest.approx(expected[:2].mean(), rel=1e-5)
    smooth = F.cross_entropy(x, t, label_smoothing=0.2).item()
    assert smooth == pytest.approx(0.8 * expected.mean() - 0.2 * logs.mean(), rel=1e-5)


def test_cross_entropy_of_probabilities():
    shares = P / P.sum(1, keepdims=True)
    ours = F.cross_entropy(flambeau.tensor(X), flambeau.tensor(shares)).item()
    assert ours == pytest.approx(-(shares * log_softmax(X)).sum(1).mean(), rel=1e-5)


def test_cross_entropy_over_positions():
    x = np.random.default_rng(3).standard_normal((2, 5, 3)).astype(np.float32)
    target = np.array([[0, 1, 2], [4, 3, 0]])
    expected = -np.take_along_axis(log_softmax(x, 1), target[:, None], 1)[:, 0]
    ours = F.cross_entropy(flambeau.tensor(x), flambeau.tensor(target), reduction="none")
    np.testing.assert_allclose(ours.numpy(), expected, 1e-4, 1e-5)


def test_gradient_of_cross_entropy_is_softmax_minus_target():
    x = flambeau.tensor(X, requires_grad=True)
    F.cross_entropy(x, flambeau.tensor([0, 4, 2, 2])).backward()
    expected = np.exp(log_softmax(X))
    expected[np.arange(4), [0, 4, 2, 2]] -= 1
    np.testing.assert_allclose(x.grad.numpy(), expected / 4, 1e-4, 1e-6)


def test_ignored_places_get_no_gradient_even_from_infinities():
    x = flambeau.tensor([[-math.inf, 0.0], [0.5, 0.5]], requires_grad=True)
    loss = F.nll_loss(x, flambeau.tensor([0, 1]), ignore_index=0)
    assert loss.item() == -0.5
    loss.backward()
    assert x.grad.tolist() == [[0, 0], [0, -1]]


def test_all_ignored_is_nan_as_a_mean_of_nothing():
    x = flambeau.tensor(X)
    target = flambeau.full((4,), -100)
    assert math.isnan(F.cross_entropy(x, target).item())
    assert F.cross_entropy(x, target, reduction="sum").item() == 0


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ([0, 5, 1, 1], IndexError, "Target 5 is out of bounds"),
        ([0, -1, 1, 1], IndexError, "Target -1 is out of bounds"),
        ([0, 1], ValueError, r"batch_size \(4\) to match target batch_size \(2\)"),
        ([[0], [1], [1], [1]], RuntimeError, "expected target of shape"),
        ([0.0, 1.0, 1.0, 1.0], RuntimeError, "int64"),
    ],
)
def test_cross_entropy_checks_its_target(target, error, text):
    with pytest.raises(error, match=text):
        F.cross_entropy(flambeau.tensor(X), flambeau.tensor(target))


def test_cross_entropy_checks_its_settings():
    x, t = flambeau.tensor(X), flambeau.tensor([0, 1, 2, 3])
    with pytest.raises(RuntimeError, match="label_smoothing"):
        F.cross_entropy(x, t, label_smoothing=1.5)
    with pytest.raises(RuntimeError, match="weight tensor"):
        F.cross_entropy(x, t, flambeau.ones(4))
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        F.cross_entropy(x, t, reduction="average")


def test_bce_at_the_ends_is_finite():
    x = flambeau.tensor([0.0, 1.0])
    assert F.binary_cross_entropy(x, flambeau.tensor([1.0, 0.0]), reduction="none").tolist() == [
        100,
        100,
    ]
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(x * 2, x)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(x / 0, x)  # NaN
    for reduction, share in (("none", 1), ("sum", 1), ("mean", 4)):
        y = flambeau.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
        loss = F.binary_cross_entropy(y, flambeau.tensor([0.0, 1, 1, 0]), reduction=reduction)
        (g,) = flambeau.autograd.grad(loss.sum(), y)
        assert (g * share).allclose(flambeau.tensor([0, 0, -1e12, 1e12]))
    logits = flambeau.tensor([-1000.0, 1000.0])
    assert F.binary_cross_entropy_with_logits(logits, x).item() == 0


def test_gradient_at_zero_is_the_middle():
    x = flambeau.zeros(1, requires_grad=True)
    F.logsigmoid(x).sum().backward()
    assert x.grad.item() == 0.5
    x.grad = None
    F.binary_cross_entropy_with_logits(x, flambeau.tensor([1.0])).backward()
    assert x.grad.item() == -0.5


def test_multi_margin():
    x, t = flambeau.tensor([[0.1, 0.2, 0.4, 0.8]]), flambeau.tensor([3])
    assert F.multi_margin_loss(x, t).item() == pytest.approx((0.3 + 0.4 + 0.6) / 4, rel=1e-5)
    squares = (0.3**2 + 0.4**2 + 0.6**2) / 4
    assert F.multi_margin_loss(x, t, p=2).item() == pytest.approx(squares, rel=1e-5)
    with pytest.raises(RuntimeError, match="out of range"):
        F.multi_margin_loss(x, flambeau.tensor([4]))


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_of_rows_and_its_gradient(p):
    flambeau.manual_seed(0)
    x = flambeau.randn(5, 7, dtype=flambeau.float64, requires_grad=True)
    t, w = flambeau.randint(0, 7, (5,)), flambeau.rand(7, dtype=flambeau.float64)
    other = flambeau.arange(7) != t.unsqueeze(1)
    gaps = (0.7 - x.gather(1, t.unsqueeze(1)) + x).clamp_min(0) ** p
    wanted = (flambeau.where(other, gaps, 0.0) * w[t].unsqueeze(1)).mean(1)
    loss = F.multi_margin_loss(x, t, p, 0.7, w, reduction="none")
    assert flambeau.allclose(loss, wanted)
    a, b = (flambeau.autograd.grad(y.sum(), x)[0] for y in (loss, wanted))
    assert flambeau.allclose(a, b)
    with pytest.raises(RuntimeError, match="out of range"):
        F.multi_margin_loss(x, t - 7)
    for function in (F.multi_margin_loss, F.multilabel_margin_loss):
        with pytest.raises(ValueError, match="not a valid value for reduction"):
            function(x, t, reduction="average")


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64, flambeau.float16])
@pytest.mark.parametrize("classes", [1, 5, 40])
def test_multilabel_margin_of_rows_and_its_gradient(classes, dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-8, 8, (6, classes)) / 4
    lists = rng.integers(0, classes, (6, classes))  # classes may be listed twice
    for row, end in enumerate((0, 1, 2, classes, 3, 2)):
        lists[row, end:] = -1
    x = flambeau.tensor(a, dtype=dtype, requires_grad=True)
    loss = F.multilabel_margin_loss(x, flambeau.tensor(lists), reduction="none")
    (g,) = flambeau.autograd.grad(loss.double().sum(), x)
    for row in range(6):
        end = int(np.argmax(lists[row] < 0)) if (lists[row] < 0).any() else classes
        listed, total, slopes = lists[row, :end].tolist(), 0.0, np.zeros(classes)
        for j in listed:
            for i in set(range(classes)) - set(listed):
                gap = 1 - a[row, j] + a[row, i]
                total += max(0.0, gap)
                slopes[i] += gap > 0
                slopes[j] -= gap > 0
        assert loss[row].item() == pytest.approx(total / classes, rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(g[row].double().numpy(), slopes / classes, rtol=1e-3)
    with pytest.raises(RuntimeError, match="out of range"):
        F.multilabel_margin_loss(x, flambeau.full((6, classes), classes))


def test_multilabel_margin():
    x = flambeau.tensor([0.1, 0.2, 0.4, 0.8])
    # Targets 3 and 0: 1 - (0.8 - 0.2), 1 - (0.8 - 0.4), 1 - (0.1 - 0.2), 1 - (0.1 - 0.4).
    loss = F.multilabel_margin_loss(x, flambeau.tensor([3, 0, -1, 1]))
    assert loss.item() == pytest.approx((0.4 + 0.6 + 1.1 + 1.3) / 4, rel=1e-5)


def test_embedding_losses():
    a, b = flambeau.tensor([[1.0, 0.0]]), flambeau.tensor([[0.0, 2.0]])
    one = flambeau.ones(1)
    assert F.cosine_embedding_loss(a, a * 3, one).item() == pytest.approx(0, abs=1e-6)
    assert F.cosine_embedding_loss(a, a, -one, margin=0.25).item() == pytest.approx(0.75, abs=1e-6)
    assert F.cosine_embedding_loss(a, b, one).item() == pytest.approx(1, abs=1e-6)
    loss = F.triplet_margin_loss(a, a, b)
    assert loss.item() == 0
    loss = F.triplet_margin_loss(a, b, a, margin=0.5)
    assert loss.item() == pytest.approx(math.sqrt(5) + 0.5, rel=1e-4)
    swapped = nn.TripletMarginWithDistanceLoss(
        distance_function=lambda x, y: (x - y).abs().sum(-1), swap=True
    )
    assert swapped(a, b, 2 * a).item() == pytest.approx(3 - 1 + 1, rel=1e-5)


def sum_alignments(probabilities, labels, blank=0):
    """The probability of `labels` by trying every path: what CTC sums up cleverly."""
    times, classes = probabilities.shape
    total = 0.0
    for path in np.ndindex(*[classes] * times):
        joined = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in joined if c != blank] == list(labels):
            total += math.prod(probabilities[t, c] for t, c in enumerate(path))
    return total


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_ctc_sums_over_all_paths(labels):
    logs = log_softmax(np.random.default_rng(5).standard_normal((5, 3)).astype(np.float32))
    ours = F.ctc_loss(
        flambeau.tensor(logs), flambeau.tensor(labels), (5,), (len(labels),), reduction="none"
    )
    assert ours.item() == pytest.approx(-math.log(sum_alignments(np.exp(logs), labels)), rel=1e-4)


def ctc_of_logits(x, labels, lengths, **options):
    return F.ctc_loss(x.log_softmax(-1), labels, *lengths, **options)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_ctc_gradients(reduction):
    flambeau.manual_seed(0)
    x = flambeau.randn(9, 5, 4, dtype=flambeau.float64, requires_grad=True)
    labels = flambeau.tensor([[1, 1, 3], [2, 1, 9], [3, -7, 9], [1, 2, 3], [9, 9, 9]])
    lengths = ([9, 4, 1, 7, 5], [3, 2, 1, 3, 0])  # what lies behind the ends is not looked at
    f = lambda x: ctc_of_logits(x, labels, lengths, reduction=reduction)
    assert flambeau.autograd.gradcheck(f, x)
    joined = flambeau.tensor([1, 1, 3, 2, 1, 3, 1, 2, 3])
    other = ctc_of_logits(x, joined, lengths, reduction=reduction)
    assert flambeau.equal(f(x), other)


def test_ctc_of_long_rows_is_the_same_in_every_type_and_on_every_thread():
    flambeau.manual_seed(0)
    x = flambeau.randn(120, 6, 33, dtype=flambeau.float64)
    labels = flambeau.randint(1, 33, (6, 40))
    lengths = ([120, 100, 119, 77, 90, 120], [40, 39, 3, 20, 1, 33])
    found, before = [], flambeau.get_num_threads()
    try:
        for dtype in (flambeau.float64, flambeau.float32):
            for threads in (1, 2, 2):
                flambeau.set_num_threads(threads)
                y = x.to(dtype).requires_grad_()
                loss = ctc_of_logits(y, labels, lengths, reduction="none")
                found.append((loss, *flambeau.autograd.grad(loss.sum(), y)))
    finally:
        flambeau.set_num_threads(before)
    for group in (found[:3], found[3:]):
        for other in group[1:]:
            assert all(flambeau.equal(a, b) for a, b in zip(group[0], other, strict=True))
    for a, b in zip(found[0], found[3], strict=True):
        assert flambeau.allclose(a, b.double(), rtol=1e-4, atol=1e-4)


def test_ctc_without_times_or_without_paths():
    x = flambeau.randn(3, 4, 5, requires_grad=True)
    labels, lengths = flambeau.tensor([[1, 1, 1]] * 4), ([0, 0, 3, 3], [0, 2, 3, 2])
    loss = ctc_of_logits(x, labels, lengths, reduction="none")
    assert loss[:3].tolist() == [0, math.inf, math.inf]
    loss = ctc_of_logits(x, labels, lengths, reduction="none", zero_infinity=True)
    assert loss[:3].tolist() == [0, 0, 0]
    (g,) = flambeau.autograd.grad(loss.sum(), x)
    assert not g[:, :3].any()
    assert g[:, 3].isfinite().all()
    assert g[:, 3].any()
    with pytest.raises(RuntimeError, match="ctc_loss: a label"):
        ctc_of_logits(x, labels + 4, lengths)
    with pytest.raises(RuntimeError, match="not implemented"):
        ctc_of_logits(x.half(), labels, lengths)


def test_ctc_checks():
    x = flambeau.zeros(4, 2, 3).log_softmax(-1)
    t = flambeau.tensor([[1, 2], [1, 1]])
    for arguments in (
        (x, t, (4,), (2, 2)),
        (x, t, (5, 4), (2, 2)),
        (x, t, (4, 4), (3, 2)),
        (x, t, (4, 4), (2, 2), 7),
        (x, t.view(-1), (4, 4), (2, 1)),
    ):
        with pytest.raises(RuntimeError, match="ctc_loss"):
            F.ctc_loss(*arguments)


def test_deprecated_arguments_warn_and_work():
    x, y = flambeau.tensor(X), flambeau.tensor(Y)
    with pytest.warns(UserWarning, match="reduction='sum'"):
        loss = nn.MSELoss(size_average=False)
    assert loss.reduction == "sum"
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert F.l1_loss(x, y, reduce=False).shape == (4, 5)


def test_different_sizes_warn():
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(flambeau.ones(3), flambeau.ones(2, 3))
    with pytest.raises(ValueError, match="Target size"):
        F.binary_cross_entropy_with_logits(flambeau.ones(3), flambeau.ones(2, 3))


def test_weights_are_buffers():
    loss = nn.CrossEntropyLoss(weight=flambeau.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype == flambeau.float64
    assert list(nn.BCEWithLogitsLoss(pos_weight=flambeau.ones(1)).state_dict()) == ["pos_weight"]


PAIRED = {
    "mse_loss": lambda x, t: (x - t) ** 2,
    "l1_loss": lambda x, t: (x - t).abs(),
    "smooth_l1_loss": lambda x, t: F.huber_loss(x, t, reduction="none"),
    "huber_loss": lambda x, t: flambeau.where(
        (x - t).abs() <= 1, 0.5 * (x - t) ** 2, (x - t).abs() - 0.5
    ),
    "binary_cross_entropy_with_logits": lambda x, t: (
        -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
    ),
    "kl_div": lambda x, t: flambeau.xlogy(t, t) - t * x,
    "poisson_nll_loss": lambda x, t: x.exp() - t * x,
    "soft_margin_loss": lambda x, t: flambeau.log1p(flambeau.exp(-t * x)),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses_of_pairs_and_their_gradients(name, reduction):
    flambeau.manual_seed(0)
    for shape in ((7,), (3, 5), (40, 33), (), (4, 6)):
        x = flambeau.randn(shape, dtype=flambeau.float64, requires_grad=True)
        t = flambeau.rand(shape, dtype=flambeau.float64, requires_grad=True)
        if shape == (4, 6):
            x = x.detach().t().requires_grad_()
            t = t.detach().t().requires_grad_()
        loss = getattr(F, name)(x, t, reduction=reduction)
        expected = PAIRED[name](x, t)
        expected = expected if reduction == "none" else getattr(expected, reduction)()
        assert flambeau.allclose(loss, expected, rtol=1e-12)
        got = flambeau.autograd.grad(loss.sum(), (x, t))
        wanted = flambeau.autograd.grad(expected.sum(), (x, t))
        for a, b in zip(got, wanted, strict=True):
            assert flambeau.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gaussian_and_poisson_likelihoods_and_their_gradients(full, reduction):
    flambeau.manual_seed(0)
    x, t = (flambeau.randn(6, 5, dtype=flambeau.float64, requires_grad=True) for _ in range(2))
    v = flambeau.rand(6, 1, dtype=flambeau.float64).requires_grad_()
    reduce = (lambda loss: loss) if reduction == "none" else getattr(flambeau, reduction)
    constant = 0.5 * math.log(2 * math.pi) if full else 0
    pairs = [
        (
            F.gaussian_nll_loss(x, t, v, full=full, reduction=reduction),
            reduce(0.5 * (v.log() + (x - t) ** 2 / v) + constant),
            (x, t, v),
        )
    ]
    counts = 4 * t.detach().abs()
    rate = x.detach().abs().requires_grad_()
    stirling = counts * counts.log() - counts + 0.5 * (2 * math.pi * counts).log()
    extra = flambeau.where(counts > 1, stirling, 0.0) if full else 0
    options = {"full": full, "reduction": reduction}
    for log_input, place, loss in (
        (True, x, x.exp() - counts * x),
        (False, rate, rate - counts * (rate + 1e-8).log()),
    ):
        got = F.poisson_nll_loss(place, counts, log_input, **options)
        pairs.append((got, reduce(loss + extra), (place,)))
    for got, wanted, leaves in pairs:
        assert flambeau.allclose(got, wanted, rtol=1e-12)
        grads = (flambeau.autograd.grad(y.sum(), leaves) for y in (got, wanted))
        for a, b in zip(*grads, strict=True):
            assert flambeau.allclose(a, b, rtol=1e-10)


def test_small_variances_are_raised_and_keep_their_gradient():
    v = flambeau.tensor([1e-9, 0.0, 0.5], requires_grad=True)
    x = flambeau.tensor([1e-3, 0.0, 1.0])
    loss = F.gaussian_nll_loss(x, flambeau.zeros(3), v, reduction="none")
    raised = flambeau.tensor([1e-6, 1e-6, 0.5])
    assert flambeau.allclose(loss, 0.5 * (raised.log() + x * x / raised))
    (g,) = flambeau.autograd.grad(loss.sum(), v)
    assert flambeau.allclose(g, 0.5 * (1 / raised - (x / raised) ** 2))


def test_hinge_and_multilabel_gradients():
    x = flambeau.tensor([[0.5, -2.0, 1.5], [2.0, 0.25, -1.0]], requires_grad=True)
    signs = flambeau.tensor([[1, -1, -1], [-1, 1, 1]])
    loss = F.hinge_embedding_loss(x, signs, margin=1.0, reduction="none")
    assert loss.tolist() == [[0.5, 3.0, 0.0], [0.0, 0.25, -1.0]]
    (g,) = flambeau.autograd.grad(F.hinge_embedding_loss(x, signs, reduction="sum"), x)
    assert g.tolist() == [[1, -1, 0], [0, 1, 1]]
    t = flambeau.tensor([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]])
    each = -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
    for reduction, wanted in (("none", each.mean(1)), ("mean", each.mean())):
        got = F.multilabel_soft_margin_loss(x, t, reduction=reduction)
        assert flambeau.allclose(got, wanted)
        a, b = (flambeau.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (got, wanted))
        assert flambeau.allclose(a, b)


def test_margin_ranking_of_numbers_and_of_rows():
    a = flambeau.tensor([[0.5, 1.0, -1.0]], requires_grad=True)
    b = flambeau.tensor([[0.75], [2.0]], requires_grad=True)
    t = flambeau.tensor([[1.0], [-1.0]])
    loss = F.margin_ranking_loss(a, b, t, margin=0.25, reduction="none")
    assert loss.tolist() == [[0.5, 0.0, 2.0], [0.0, 0.0, 0.0]]
    g, h = flambeau.autograd.grad(F.margin_ranking_loss(a, b, t, 0.25, reduction="sum"), (a, b))
    assert g.tolist() == [[-1, -1, -1]]  # at the corner the gradient passes, as clamp_min's does
    assert h.tolist() == [[3], [0]]
    whole = flambeau.tensor([3, 1])
    assert F.margin_ranking_loss(whole, whole - 1, whole, reduction="sum").item() == 0


@pytest.mark.parametrize("name", PAIRED)
def test_losses_of_pairs_keep_nan(name):
    x = flambeau.tensor([1.0, float("nan")], requires_grad=True)
    loss = getattr(F, name)(x, flambeau.tensor([0.5, 0.5]), reduction="none")
    assert loss.isnan().tolist() == [False, True]


def test_empty_losses():
    x = flambeau.zeros(0)
    assert F.mse_loss(x, x, reduction="sum").item() == 0
    assert F.mse_loss(x, x).isnan().item()
