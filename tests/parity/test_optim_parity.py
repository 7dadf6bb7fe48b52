"""Optimisers and schedules beside PyTorch's, step by step."""

import copy
import io
import warnings

import pytest

import flambeau
from flambeau import optim as ours

pytestmark = pytest.mark.parity
SHAPES = ((3, 4), (4,), (), (2, 0), (5, 1))
STEPS = 6
OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.5, "dampening": 0.3, "maximize": True},
    ],
    "Adam": [
        {},
        {"lr": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "amsgrad": True, "maximize": True, "betas": (0.7, 0.8), "eps": 1e-3},
        {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.2},
    ],
    "AdamW": [{"lr": 0.1}, {"lr": 0.1, "amsgrad": True, "weight_decay": 0.3}],
    "RMSprop": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "centered": True, "weight_decay": 0.1},
        {"lr": 0.1, "centered": True, "momentum": 0.5, "maximize": True, "alpha": 0.8},
    ],
    "Adagrad": [
        {"lr": 0.1},
        {"lr_decay": 0.1, "weight_decay": 0.2, "initial_accumulator_value": 0.5, "maximize": True},
    ],
}
CASES = [(name, options) for name, cases in OPTIONS.items() for options in cases]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def make_parameters(framework, torch, dtype):
    """The same parameters in either framework."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    kind = getattr(framework, dtype)
    return [
        framework.nn.Parameter(framework.tensor(v.tolist()).reshape(v.shape).to(kind))
        for v in values
    ]


def set_gradients(framework, torch, parameters, step):
    generator = torch.Generator().manual_seed(step)
    for i, parameter in enumerate(parameters):
        value = torch.randn(SHAPES[i], generator=generator, dtype=torch.float64)
        gradient = framework.tensor(value.tolist()).reshape(value.shape).to(parameter.dtype)
        parameter.grad = None if i == 1 and step < 2 else gradient


def flatten(tensor):
    return tensor.detach().reshape(-1).tolist()


def check_equal(mine, theirs, tolerance):
    assert str(mine.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2]
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert flatten(mine) == pytest.approx(flatten(theirs), rel=tolerance, abs=tolerance)


def check_states_equal(mine, theirs, tolerance):
    assert mine["param_groups"] == theirs["param_groups"]
    assert mine["state"].keys() == theirs["state"].keys()
    for number, state in mine["state"].items():
        assert list(state) == list(theirs["state"][number])
        for name, value in state.items():
            check_equal(value, theirs["state"][number][name], tolerance)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-11)])
def test_steps(torch, name, options, dtype, tolerance):
    mine, theirs = (make_parameters(framework, torch, dtype) for framework in (flambeau, torch))
    first, second = (
        getattr(ours, name)(mine, **options),
        getattr(torch.optim, name)(theirs, **options),
    )
    assert repr(first) == repr(second)
    for step in range(STEPS):
        set_gradients(flambeau, torch, mine, step)
        set_gradients(torch, torch, theirs, step)
        first.step()
        second.step()
        for one, other in zip(mine, theirs, strict=True):
            check_equal(one, other, tolerance)
        check_states_equal(first.state_dict(), second.state_dict(), tolerance)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("to_flambeau", [False, True])
def test_checkpoints_cross_over(torch, name, options, to_flambeau):
    """Three steps here, the state to the other framework through a file, two more steps in both."""
    source, target = (torch, flambeau) if to_flambeau else (flambeau, torch)
    parameters = make_parameters(source, torch, "float32")
    optimizer = getattr(source.optim, name)(parameters, **options)
    for step in range(3):
        set_gradients(source, torch, parameters, step)
        optimizer.step()
    stream = io.BytesIO()
    source.save([optimizer.state_dict(), [p.detach() for p in parameters]], stream)
    stream.seek(0)
    state, values = target.load(stream)
    copies = [target.nn.Parameter(value) for value in values]
    other = getattr(target.optim, name)(copies, **options)
    other.load_state_dict(state)
    for step in range(3, 5):
        set_gradients(source, torch, parameters, step)
        set_gradients(target, torch, copies, step)
        optimizer.step()
        other.step()
    for one, copied in zip(parameters, copies, strict=True):
        check_equal(copied, one, 1e-5)
    check_states_equal(other.state_dict(), optimizer.state_dict(), 1e-5)


# ---- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 2, 5, 9], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.9, 0.1, 7),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 7, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, 30),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.6], epochs=6, steps_per_epoch=5, three_phase=True, anneal_strategy="linear"
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 0.5, 3, 5, mode="triangular2"),
    "CyclicLR, exp": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 4, mode="exp_range", gamma=0.9, cycle_momentum=False
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.5), s.CosineAnnealingLR(o, 4)], [3, 8]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]
    ),
}


def make_two_groups(framework, kind):
    options = {"lr": 0.1, "momentum": 0.9} if kind == "SGD" else {"lr": 0.1}
    first, second = (framework.nn.Parameter(framework.ones(1)) for _ in range(2))
    groups = [{"params": [first]}, {"params": [second], "lr": 0.3}]
    return getattr(framework.optim, kind)(groups, **options)


def read_options(optimizer):
    names = ("lr", "momentum", "betas", "initial_lr")
    return [[group.get(name) for name in names] for group in optimizer.param_groups]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedules_are_bit_equal(torch, name, kind):
    frameworks = (flambeau, torch)
    mine, theirs = optimizers = [make_two_groups(framework, kind) for framework in frameworks]
    schedulers = [
        SCHEDULES[name](framework.optim.lr_scheduler, optimizer)
        for framework, optimizer in zip(frameworks, optimizers, strict=True)
    ]
    for epoch in range(25):
        assert read_options(mine) == read_options(theirs)
        assert schedulers[0].get_last_lr() == schedulers[1].get_last_lr()
        if epoch == 11:
            check_scheduler_states(torch, name, kind, optimizers, schedulers)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()


def check_scheduler_states(torch, name, kind, optimizers, schedulers):
    """The state dicts are the same, and each can go on in the other framework."""
    states = [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]
    assert repr(sorted(states[0].items())) == repr(sorted(states[1].items()))
    others = [make_two_groups(framework, kind) for framework in (flambeau, torch)]
    for framework, other, source, state in zip(
        (flambeau, torch), others, optimizers[::-1], states[::-1], strict=True
    ):
        scheduler = SCHEDULES[name](framework.optim.lr_scheduler, other)
        other.load_state_dict(source.state_dict())
        scheduler.load_state_dict(state)
        other.step()
        scheduler.step()
    assert read_options(others[0]) == read_options(others[1])


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("options", [{}, {"cooldown": 2}, {"min_lr": [0.01, 0.1]}, {"eps": 0.1}])
def test_plateau(torch, mode, threshold_mode, options):
    common = {"factor": 0.5, "patience": 1, "threshold": 0.1, "threshold_mode": threshold_mode}
    optimizers = [make_two_groups(framework, "SGD") for framework in (flambeau, torch)]
    first, second = (
        framework.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, **common, **options)
        for framework, optimizer in zip((flambeau, torch), optimizers, strict=True)
    )
    metrics = torch.rand(30, generator=torch.Generator().manual_seed(1)).tolist()
    for metric in metrics:
        first.step(metric)
        second.step(metric)
        assert first.state_dict() == second.state_dict()
        assert first.get_last_lr() == second.get_last_lr()


RESUMABLE = {
    "StepLR": lambda s, o, e: s.StepLR(o, 3, 0.5, last_epoch=e),
    "CosineAnnealingLR": lambda s, o, e: s.CosineAnnealingLR(o, 5, last_epoch=e),
    "LinearLR": lambda s, o, e: s.LinearLR(o, last_epoch=e),
    "PolynomialLR": lambda s, o, e: s.PolynomialLR(o, 9, last_epoch=e),
    "OneCycleLR": lambda s, o, e: s.OneCycleLR(o, 0.5, 30, last_epoch=e),
    "CyclicLR": lambda s, o, e: s.CyclicLR(o, 0.1, 0.5, 3, last_epoch=e),
    "CosineAnnealingWarmRestarts": lambda s, o, e: s.CosineAnnealingWarmRestarts(
        o, 3, 2, last_epoch=e
    ),
}


@pytest.mark.parametrize("name", list(RESUMABLE))
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_resuming_at_an_epoch(torch, name):
    frameworks = (flambeau, torch)
    optimizers = [make_two_groups(framework, "SGD") for framework in frameworks]
    for last_epoch in (-1, 4):
        schedulers = [
            RESUMABLE[name](framework.optim.lr_scheduler, optimizer, last_epoch)
            for framework, optimizer in zip(frameworks, optimizers, strict=True)
        ]
        for _ in range(5):
            assert read_options(optimizers[0]) == read_options(optimizers[1])
            for scheduler in schedulers:
                scheduler.step()


@pytest.mark.parametrize("name", ["StepLR", "LinearLR", "CosineAnnealingLR", "PolynomialLR"])
def test_closed_forms(torch, name):
    frameworks = (flambeau, torch)
    optimizers = [make_two_groups(framework, "SGD") for framework in frameworks]
    schedulers = [
        SCHEDULES[name](framework.optim.lr_scheduler, optimizer)
        for framework, optimizer in zip(frameworks, optimizers, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in (3, 7, 2, 20):
            for scheduler in schedulers:
                scheduler.step(epoch)
            assert read_options(optimizers[0]) == read_options(optimizers[1])
