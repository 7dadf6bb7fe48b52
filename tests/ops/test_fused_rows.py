"""Fused derivatives, losses of class indices, chunked reductions: values, shapes, threads."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import grad, gradcheck, gradgradcheck

TOLERANCE = {"float16": 1e-2, "bfloat16": 6e-2, "float32": 2e-5, "float64": 1e-11}


def normal(*shape: int, dtype: str = "float64", seed: int = 0) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(x).to(getattr(torch, dtype)).requires_grad_()


def assert_near(found: torch.Tensor, wanted: np.ndarray, tolerance: float) -> None:
    scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
    np.testing.assert_allclose(
        found.detach().double().numpy(), wanted, rtol=tolerance, atol=tolerance * scale
    )


# ---- one kernel for all derivatives --------------------------------------------------------------

NORMS: dict[str, Callable[..., torch.Tensor]] = {
    "layer_norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
    "rms_norm": lambda x, w, b: F.rms_norm(x, w.shape, w, 1e-5) + b,
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "evaluated": lambda x, w, b: F.batch_norm(
        x, torch.ones_like(w).detach(), torch.full_like(w, 2.0).detach(), w, b, False
    ),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "instance_norm": lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
}
SHAPES = {
    "layer_norm": [(7, 5), (1, 33), (65, 1), (3, 5, 130), (300, 70)],
    "rms_norm": [(7, 5), (1, 33), (3, 5, 130), (300, 70)],
    "batch_norm": [(9, 3), (70, 65), (4, 6, 5), (3, 4, 7, 9), (1, 3, 40, 41), (2, 4, 3, 3, 3)],
    "evaluated": [(9, 3), (70, 65), (4, 6, 5), (3, 4, 7, 9)],
    "group_norm": [(4, 6, 5), (3, 4, 7, 9), (1, 2, 40, 41), (2, 4, 3, 3, 3)],
    "instance_norm": [(4, 6, 5), (3, 4, 7, 9), (2, 4, 3, 3, 3)],
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


def norm_arguments(name: str, shape: tuple[int, ...], dtype: str) -> list[torch.Tensor]:
    channels = shape[-1] if name in ("layer_norm", "rms_norm") else shape[1]
    return [normal(*shape, dtype=dtype), *(normal(channels, dtype=dtype, seed=k) for k in (1, 2))]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_fused_derivative_is_that_of_the_operands_apart(
    name: str, shape: tuple[int, ...], dtype: str
) -> None:
    arguments = norm_arguments(name, shape, dtype)
    exact = [t.detach().double().requires_grad_() for t in arguments]
    g = normal(*shape, dtype=dtype, seed=3).detach()
    fused = grad(NORMS[name](*arguments), arguments, g)
    apart = grad(NORMS[name](*exact), exact, g.double(), create_graph=True)
    for found, wanted, argument in zip(fused, apart, arguments, strict=True):
        assert found.dtype is argument.dtype
        assert found.shape == argument.shape
        assert_near(found, wanted.detach().numpy(), TOLERANCE[dtype])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_some_of_the_derivatives(wanted: tuple[int, ...]) -> None:
    arguments = norm_arguments("layer_norm", (40, 17), "float64")
    every = grad(NORMS["layer_norm"](*arguments), arguments, normal(40, 17, seed=3).detach())
    for k, t in enumerate(arguments):
        t.requires_grad_(k in wanted)
    some = [arguments[k] for k in wanted]
    found = grad(NORMS["layer_norm"](*arguments), some, normal(40, 17, seed=3).detach())
    for k, t in zip(wanted, found, strict=True):
        assert_near(t, every[k].numpy(), 1e-12)


def test_layouts_that_no_kernel_walks() -> None:
    x = normal(6, 5, 4, 3)
    w = normal(3, 6, seed=1)
    out = F.layer_norm(x.permute(2, 1, 3, 0), (3, 6), w, w)
    found = grad(out, [x, w], torch.ones_like(out) * out.detach(), create_graph=False)
    out = F.layer_norm(x.permute(2, 1, 3, 0), (3, 6), w, w)
    wanted = grad(out, [x, w], torch.ones_like(out) * out.detach(), create_graph=True)
    for a, b in zip(found, wanted, strict=True):
        assert_near(a, b.detach().numpy(), 1e-12)


def test_a_write_to_what_was_saved_is_noticed() -> None:
    x, w, b = norm_arguments("layer_norm", (4, 5), "float32")
    out = F.layer_norm(x, (5,), w, b)
    with torch.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


# ---- losses of class indices ---------------------------------------------------------------------


def class_loss(
    x: np.ndarray, target: np.ndarray, weight: np.ndarray, ignored: int, smoothing: float, how: str
) -> np.ndarray:
    """cross_entropy by its definition; classes along axis 1."""
    x = np.moveaxis(x, 1, -1)
    top = x.max(-1, keepdims=True)
    log_p = x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))
    valid = target != ignored
    safe = np.where(valid, target, 0)
    factor = np.where(valid, weight[safe], 0)
    nll = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    even = -(log_p * weight).sum(-1) / x.shape[-1]
    loss = np.where(valid, (1 - smoothing) * nll * factor + smoothing * even, 0)
    return {"none": loss, "sum": loss.sum(), "mean": loss.sum() / factor.sum()}[how]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (64, 3), (300, 130), (2, 1000), (3, 5, 8), (2, 7, 5, 9)])
@pytest.mark.parametrize("how", ["mean", "sum", "none"])
def test_cross_entropy(shape: tuple[int, ...], how: str, dtype: str) -> None:
    x = normal(*shape, dtype=dtype)
    rng = np.random.default_rng(1)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.reshape(-1)[1] = 2
    weight = torch.tensor(rng.uniform(0.5, 2, shape[1])).to(x.dtype)
    for smoothing in (0.0, 0.3):
        for w in (None, weight):
            found = F.cross_entropy(
                x, torch.tensor(target), w, ignore_index=2, label_smoothing=smoothing, reduction=how
            )
            assert found.dtype is x.dtype
            factors = np.ones(shape[1]) if w is None else w.double().numpy()
            values = x.detach().double().numpy()
            wanted = class_loss(values, target, factors, 2, smoothing, how)
            assert_near(found, np.asarray(wanted), TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 1), (2, 3, 4), (2, 1, 4)])
@pytest.mark.parametrize("how", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_derivatives_of_class_losses(shape: tuple[int, ...], how: str, smoothing: float) -> None:
    x = normal(*shape)
    classes = shape[0] if len(shape) == 1 else shape[1]
    rng = np.random.default_rng(2)
    places = () if len(shape) == 1 else (shape[0], *shape[2:])
    target = torch.tensor(rng.integers(0, classes, places))
    weight = torch.tensor(rng.uniform(0.5, 2, classes))
    for w in (None, weight):
        ignored = 1 if classes > 1 and places else -100

        def entropy(x, w=w, ignored=ignored):
            return F.cross_entropy(
                x, target, w, ignore_index=ignored, label_smoothing=smoothing, reduction=how
            )

        def likelihood(x, w=w, ignored=ignored):
            return F.nll_loss(x, target, w, ignore_index=ignored, reduction=how)

        if bool((target == ignored).all()) and how == "mean":
            continue
        assert gradcheck(entropy, (x,))
        assert gradgradcheck(entropy, (x,))
        assert gradcheck(likelihood, (x,))


def test_class_losses_of_infinities() -> None:
    x = torch.tensor([[-math.inf, 0.0, 1.0], [math.nan, 0.0, 1.0], [0.0, 0.0, 0.0]])
    losses = F.cross_entropy(x, torch.tensor([1, 1, 0]), reduction="none").tolist()
    assert losses[0] == pytest.approx(math.log(1 + math.e), rel=1e-6)
    assert math.isnan(losses[1])
    assert F.nll_loss(x, torch.tensor([0, 7, 7]), ignore_index=7).item() == math.inf


@pytest.mark.parametrize("wrong", [-1, 3, 10**9])
def test_classes_out_of_range(wrong: int) -> None:
    for function in (F.cross_entropy, F.nll_loss):
        for x, target in (
            (torch.zeros(4, 3), [0, 1, wrong, 2]),
            (torch.zeros(1, 3, 2), [[0, wrong]]),
        ):
            with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
                function(x, torch.tensor(target))


# ---- reductions in chunks ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40000, 3), (30011, 7), (5000, 63), (4099, 257), (3, 40000)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "uint8"])
def test_long_columns(shape: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(0).integers(-4, 9, shape) + (4 if dtype == "uint8" else 0)
    t = torch.tensor(x).to(getattr(torch, dtype))
    total = t.double().sum(0).numpy()
    np.testing.assert_allclose(t.sum(0).double().numpy(), x.sum(0), rtol=1e-2)
    np.testing.assert_array_equal(total, x.sum(0))
    np.testing.assert_array_equal(t.amax(0).double().numpy(), x.max(0))
    np.testing.assert_array_equal(t.argmin(0).numpy(), x.argmin(0))
    np.testing.assert_array_equal(t.t().contiguous().sum(1).double().numpy(), t.sum(0).double())


@pytest.mark.parametrize("width", [1, 2, 3, 5, 16, 17, 28, 64, 65])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16"])
def test_short_rows(width: int, dtype: str) -> None:
    x = np.random.default_rng(0).integers(-50, 50, (333, width)).astype(np.float64)
    t = torch.tensor(x).to(getattr(torch, dtype))
    np.testing.assert_allclose(t.sum(1).double().numpy(), x.sum(1), rtol=1e-3)
    values, indices = t.max(1)
    np.testing.assert_array_equal(values.double().numpy(), x.max(1))
    np.testing.assert_array_equal(indices.numpy(), x.argmax(1))
    np.testing.assert_array_equal(t.argmin(1).numpy(), x.argmin(1))
    if dtype.startswith("float"):
        wanted = np.log(np.exp(x - 50).sum(1)) + 50
        np.testing.assert_allclose(t.logsumexp(1).double().numpy(), wanted, rtol=2e-3, atol=2e-3)


def test_nan_passes_through_chunks() -> None:
    x = torch.zeros(40000, 3)
    x[39999, 1] = math.nan
    assert x.amax(0).isnan().tolist() == [False, True, False]
    assert x.sum(0).isnan().tolist() == [False, True, False]
    values, indices = x.max(0)
    assert values.isnan().tolist() == [False, True, False]
    assert indices.tolist() == [0, 39999, 0]


@pytest.mark.parametrize("shape", [(300007,), (2, 131077), (3, 2, 70001)])
def test_losses_of_long_pairs(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    x, y, d = torch.tensor(a), torch.tensor(b), np.abs(a.astype(np.float64) - b)
    huber = np.where(d < 0.7, d * d / 2, 0.7 * (d - 0.35))
    for name, each, options in (
        ("mse_loss", d * d, {}),
        ("l1_loss", d, {}),
        ("huber_loss", huber, {"delta": 0.7}),
    ):
        for reduction, wanted in (("sum", each.sum()), ("mean", each.mean())):
            found = getattr(F, name)(x, y, reduction=reduction, **options).item()
            assert found == pytest.approx(wanted, rel=2e-6), (name, reduction)
    every_second = F.mse_loss(x[..., ::2], y[..., ::2]).item()
    assert every_second == pytest.approx((d[..., ::2] ** 2).mean(), rel=2e-6)
    one_number = F.l1_loss(x, y.flatten()[:1].expand(shape)).item()
    assert one_number == pytest.approx(np.abs(a - np.float64(b.flat[0])).mean(), rel=2e-6)


def test_threads_do_not_change_losses_of_long_pairs() -> None:
    x, y = torch.randn(300007), torch.randn(300007)
    before, found = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.add((F.mse_loss(x, y).item(), F.huber_loss(x, y, delta=0.7).item()))
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "uint8"])
@pytest.mark.parametrize("step", [1, 3])
def test_positions_in_long_lines(dtype: str, step: int) -> None:
    x = np.random.default_rng(0).integers(0, 200, (2, 130003 * step))
    t = torch.tensor(x).to(getattr(torch, dtype))[:, ::step]
    x = x[:, ::step]
    np.testing.assert_array_equal(t.argmax(1).numpy(), x.argmax(1))
    np.testing.assert_array_equal(t.argmin(1).numpy(), x.argmin(1))
    assert t.argmax().item() == x.argmax()
    values, indices = t.max(1)
    np.testing.assert_array_equal(indices.numpy(), x.argmax(1))
    np.testing.assert_array_equal(values.double().numpy(), x.max(1))


def test_the_first_nan_of_a_long_line_is_the_greatest() -> None:
    x = torch.zeros(200000)
    x[70001], x[70000], x[199999] = math.nan, math.inf, math.nan
    assert (x.argmax().item(), x.argmin().item()) == (70001, 70001)


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_derivative_of_a_product_with_zeros(zeros: int) -> None:
    x = normal(3, 9)
    with torch.no_grad():
        x[:, :zeros] = 0
    assert gradcheck(lambda t: t.prod(1), (x,))
    assert gradcheck(lambda t: t.prod(), (x,))
    assert gradgradcheck(lambda t: t.prod(1), (x,))
    assert gradgradcheck(lambda t: t.prod(0, True), (x,))


# ---- scans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 15, 16, 17, 65535, 65536, 65537, 100003])
def test_scans_of_any_length(length: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, length)
    for dtype in ("float32", "float64", "int64", "int32"):
        t = torch.tensor(x).to(getattr(torch, dtype))
        np.testing.assert_array_equal(t.cumsum(0).double().numpy(), np.cumsum(x))
        values, indices = t.cummax(0)
        best = np.maximum.accumulate(x)
        np.testing.assert_array_equal(values.double().numpy(), best)
        last = np.maximum.accumulate(np.where(x == best, np.arange(length), 0))
        np.testing.assert_array_equal(indices.numpy(), last)


@pytest.mark.parametrize("shape", [(70000,), (3, 40), (40, 3), (5, 9, 4), (2, 30, 33)])
def test_derivative_of_a_cumulative_sum_is_one_from_the_end(shape: tuple[int, ...]) -> None:
    for dim in range(len(shape)):
        x, g = normal(*shape), normal(*shape, seed=1).detach()
        (found,) = grad(x.cumsum(dim), x, g)
        wanted = np.flip(np.cumsum(np.flip(g.numpy(), dim), dim), dim)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)


# ---- the same bits -------------------------------------------------------------------------------


def training_bits() -> list[bytes]:
    """Results whose computation is shared between threads."""
    results = []
    for name, shape in (
        ("layer_norm", (700, 130)),
        ("batch_norm", (16, 24, 21, 20)),
        ("batch_norm", (3000, 70)),
        ("group_norm", (16, 24, 21, 20)),
    ):
        arguments = norm_arguments(name, shape, "float32")
        out = NORMS[name](*arguments)
        results += [out, *grad(out, arguments, normal(*shape, dtype="float32", seed=3).detach())]
    x = normal(4000, 33, dtype="float32")
    target = torch.arange(4000) % 33
    loss = F.cross_entropy(x, target)
    long = normal(300007, dtype="float32").detach()
    results += [loss, grad(loss, x)[0], long.sum(), long.cumsum(0), long.logsumexp(0)]
    results += [long[:300000].reshape(-1, 3).sum(0), long[:300000].reshape(3, -1).sum(1)]
    return [t.detach().numpy().tobytes() for t in results]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            found.append(training_bits())
    finally:
        torch.set_num_threads(before)
    assert all(bits == found[0] for bits in found)
