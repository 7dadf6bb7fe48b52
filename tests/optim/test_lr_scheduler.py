"""Learning-rate schedules."""

import copy
import math
import warnings

import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.optim import lr_scheduler as schedules


def make_optimizer(lr=1.0, kind=optim.SGD, **options):
    if kind is optim.SGD:
        options.setdefault("momentum", 0.9)
    return kind([nn.Parameter(torch.ones(1))], lr=lr, **options)


def run(make, epochs, **options):
    """The rates of `epochs` epochs."""
    optimizer = make_optimizer(**options)
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == rates[-1:]
        optimizer.step()
        scheduler.step()
    return rates


def check(make, expected, **options):
    assert run(make, len(expected), **options) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_step():
    check(lambda o: schedules.StepLR(o, 2, 0.5), [1, 1, 0.5, 0.5, 0.25])


def test_multi_step():
    check(lambda o: schedules.MultiStepLR(o, [1, 3, 3], 0.5), [1, 0.5, 0.5, 0.125, 0.125])


def test_constant_and_linear():
    check(lambda o: schedules.ConstantLR(o, 0.5, 2), [0.5, 0.5, 1, 1])
    check(lambda o: schedules.LinearLR(o, 0.25, 1.0, 3), [0.25, 0.5, 0.75, 1, 1])


def test_exponential_and_polynomial():
    check(lambda o: schedules.ExponentialLR(o, 0.5), [1, 0.5, 0.25])
    check(lambda o: schedules.PolynomialLR(o, 4, 2), [1, 0.5625, 0.25, 0.0625, 0, 0])


def test_functions():
    check(lambda o: schedules.LambdaLR(o, lambda e: 1 / (1 + e)), [1, 1 / 2, 1 / 3])
    check(lambda o: schedules.MultiplicativeLR(o, lambda e: e), [1, 1, 2, 6])


def test_cosine():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(12)]
    check(lambda o: schedules.CosineAnnealingLR(o, 4, 0.1), expected)


def test_warm_restarts():
    places = [(0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4), (0, 8)]
    expected = [(1 + math.cos(math.pi * i / n)) / 2 for i, n in places]
    check(lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2), expected)
    optimizer = make_optimizer()
    scheduler = schedules.CosineAnnealingWarmRestarts(optimizer, 2, 2)
    scheduler.step(3.5)
    assert scheduler.get_last_lr()[0] == pytest.approx((1 + math.cos(math.pi * 1.5 / 4)) / 2)


def test_cyclic():
    check(lambda o: schedules.CyclicLR(o, 1.0, 2.0, 2), [1, 1.5, 2, 1.5, 1, 1.5])
    check(lambda o: schedules.CyclicLR(o, 1.0, 2.0, 1, mode="triangular2"), [1, 2, 1, 1.5, 1, 1.25])
    optimizer = make_optimizer()
    scheduler = schedules.CyclicLR(optimizer, 1.0, 2.0, 2, base_momentum=0.5, max_momentum=0.9)
    momenta = []
    for _ in range(4):
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert momenta == pytest.approx([0.9, 0.7, 0.5, 0.7])


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle(strategy, three_phase):
    def make(optimizer):
        return schedules.OneCycleLR(
            optimizer, 1.0, 20, anneal_strategy=strategy, three_phase=three_phase
        )

    rates = run(make, 20)
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 5
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_one_cycle_moves_beta1_and_ends():
    optimizer = make_optimizer(kind=optim.Adam)
    scheduler = schedules.OneCycleLR(optimizer, 1.0, epochs=2, steps_per_epoch=2)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    with pytest.raises(ValueError, match="total steps is 4"):
        scheduler.step()


def test_plateau():
    optimizer = make_optimizer()
    scheduler = schedules.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.3
    )
    rates = []
    for metric in (1, 1, 1, 1, 1, 1, torch.tensor(0.5), 1, 1, 1):
        scheduler.step(metric)
        rates.append(scheduler.get_last_lr()[0])
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]
    with pytest.raises(TypeError):
        scheduler.step()


def test_plateau_modes():
    for mode, metrics in (("min", [1, 0.95, 0.9]), ("max", [1, 1.05, 1.1])):
        for threshold_mode in ("rel", "abs"):
            scheduler = schedules.ReduceLROnPlateau(
                make_optimizer(), mode, 0.5, 0, threshold=0.2, threshold_mode=threshold_mode
            )
            for metric in metrics:
                scheduler.step(metric)
            assert scheduler.get_last_lr() == [0.25]


def test_sequence():
    def make(optimizer):
        parts = [schedules.ConstantLR(optimizer, 0.5, 9), schedules.ExponentialLR(optimizer, 0.5)]
        return schedules.SequentialLR(optimizer, parts, [2])

    check(make, [0.5, 0.5, 1, 0.5, 0.25])


def test_chain():
    def make(optimizer):
        parts = [schedules.ConstantLR(optimizer, 0.5, 2), schedules.ExponentialLR(optimizer, 0.5)]
        return schedules.ChainedScheduler(parts)

    check(make, [0.5, 0.25, 0.25, 0.125])


MAKERS = [
    lambda o: schedules.StepLR(o, 2, 0.5),
    lambda o: schedules.MultiStepLR(o, [3, 5]),
    lambda o: schedules.LambdaLR(o, lambda e: 0.9**e),
    lambda o: schedules.CosineAnnealingLR(o, 5),
    lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
    lambda o: schedules.OneCycleLR(o, 1.0, 20),
    lambda o: schedules.CyclicLR(o, 0.1, 1.0, 3),
    lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.5), schedules.ExponentialLR(o, 0.9)], [6]
    ),
    lambda o: schedules.ChainedScheduler([schedules.LinearLR(o), schedules.ExponentialLR(o, 0.9)]),
]


@pytest.mark.parametrize("make", MAKERS)
def test_state_goes_on_elsewhere(make):
    first = make_optimizer()
    scheduler = make(first)
    for _ in range(4):
        first.step()
        scheduler.step()
    second = make_optimizer()
    other = make(second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    other.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for _ in range(4):
        first.step()
        second.step()
        scheduler.step()
        other.step()
        assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"]
        assert scheduler.get_last_lr() == other.get_last_lr()


class Decay:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


def test_callable_objects_are_saved():
    saved = schedules.LambdaLR(make_optimizer(), Decay(0.5)).state_dict()
    assert saved["lr_lambdas"] == [{"rate": 0.5}]
    other = schedules.LambdaLR(make_optimizer(), Decay(0.9))
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].rate == 0.5


def test_a_tensor_as_learning_rate_is_changed_in_place():
    rate = torch.tensor(1.0)
    optimizer = make_optimizer(lr=rate)
    scheduler = schedules.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 0.5
    assert scheduler.base_lrs[0] == 1.0


def test_groups():
    optimizer = optim.SGD(
        [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 2.0)], momentum=0.9
    )
    scheduler = schedules.LambdaLR(optimizer, [lambda e: 0.5, lambda e: 0.25])
    assert scheduler.get_last_lr() == [0.5, 0.5]
    with pytest.raises(ValueError, match="Expected 2 lr_lambdas, but got 1"):
        schedules.LambdaLR(optimizer, [lambda e: 1])
    with pytest.raises(ValueError, match="max_lr has 3 values, param_groups has 2"):
        schedules.OneCycleLR(optimizer, [1.0, 2.0, 3.0], 5)


def test_wrong_order_warns():
    scheduler = schedules.StepLR(make_optimizer(), 2)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    optimizer = make_optimizer()
    scheduler = schedules.StepLR(optimizer, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()


def test_direct_calls_and_epochs_warn():
    optimizer = make_optimizer()
    scheduler = schedules.StepLR(optimizer, 2, 0.5)
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(5)
    assert scheduler.get_last_lr() == [0.25]


def test_resuming_needs_the_initial_rate():
    with pytest.raises(KeyError, match="initial_lr"):
        schedules.StepLR(make_optimizer(), 2, last_epoch=3)
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        schedules.StepLR(3, 2)


BAD = [
    (lambda o: schedules.ConstantLR(o, 2), "between 0 and 1"),
    (lambda o: schedules.LinearLR(o, 0), "Starting multiplicative factor"),
    (lambda o: schedules.LinearLR(o, 0.5, 2), "Ending multiplicative factor"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), "T_0"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 1, 0), "T_mult"),
    (lambda o: schedules.OneCycleLR(o, 1.0), "either total_steps OR"),
    (lambda o: schedules.OneCycleLR(o, 1.0, 0), "total_steps"),
    (lambda o: schedules.OneCycleLR(o, 1.0, 5, pct_start=2), "pct_start"),
    (lambda o: schedules.OneCycleLR(o, 1.0, 5, anneal_strategy="x"), "anneal_strategy"),
    (lambda o: schedules.CyclicLR(o, 0.1, 1.0, mode="x"), "mode is invalid"),
    (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), "Factor should be < 1.0"),
    (lambda o: schedules.ReduceLROnPlateau(o, mode="x"), "mode x is unknown"),
    (lambda o: schedules.ReduceLROnPlateau(o, min_lr=[1, 2]), "expected 1 min_lrs, got 2"),
    (lambda o: schedules.SequentialLR(o, [], []), "at least one scheduler"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [1]), "one more than"),
    (lambda o: schedules.ChainedScheduler([schedules.ReduceLROnPlateau(o)]), "ReduceLROnPlateau"),
    (
        lambda o: schedules.ChainedScheduler([schedules.StepLR(make_optimizer(), 1)], o),
        "same optimizer",
    ),
    (
        lambda o: schedules.OneCycleLR(make_optimizer(kind=optim.Adagrad), 1.0, 5),
        "momentum or beta1",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make(make_optimizer())
