"""The optimisers beyond SGD and Adam, against their formulas in plain Python."""

import math

import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.optim import swa_utils
from flambeau.optim._wolfe import search_strong_wolfe
from flambeau.optim.muon import orthogonalise
from tests.optim.harness import assert_follows, make_parameter

GRADIENTS = [0.5, -1.5, -2.0, 0.25, -0.125, 0.75, 0.0, 1.0]


def adadelta(p, g, s, t, *, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0):
    g += weight_decay * p
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g * g
    d = math.sqrt(s.get("c", 0) + eps) / math.sqrt(s["s"] + eps) * g
    s["c"] = rho * s.get("c", 0) + (1 - rho) * d * d
    return p - lr * d


def adamax(p, g, s, t, *, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    g += weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["u"] = max(betas[1] * s.get("u", 0), abs(g) + eps)
    return p - lr / (1 - betas[0] ** t) * s["m"] / s["u"]


def nadam(
    p, g, s, t, *, lr=2e-3, betas=(0.9, 0.999), weight_decay=0, momentum_decay=4e-3, decoupled=False
):
    p, g = (p * (1 - lr * weight_decay), g) if decoupled else (p, g + weight_decay * p)
    now, then = (betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
    product = s["M"] = s.get("M", 1) * now
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    change = (1 - now) / (1 - product) * g + then / (1 - product * then) * s["m"]
    return p - lr * change / (math.sqrt(s["v"] / (1 - betas[1] ** t)) + 1e-8)


def radam(p, g, s, t, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    g += weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    m = s["m"] / (1 - betas[0] ** t)
    most = 2 / (1 - betas[1]) - 1
    r = most - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if r <= 5:
        return p - lr * m
    c = math.sqrt((r - 4) * (r - 2) * most / ((most - 4) * (most - 2) * r))
    return p - lr * c * m * math.sqrt(1 - betas[1] ** t) / (math.sqrt(s["v"]) + eps)


def asgd(p, g, s, t, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0):
    eta = lr / (1 + lambd * lr * (t - 1)) ** alpha
    return p - eta * (g + weight_decay * p + lambd * p)


def rprop(p, g, s, t, *, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50)):
    turn = g * s.get("g", 0)
    factor = etas[1] if turn > 0 else etas[0] if turn < 0 else 1
    s["s"] = min(max(s.get("s", lr) * factor, step_sizes[0]), step_sizes[1])
    g = s["g"] = 0 if turn < 0 else g
    return p - (math.copysign(s["s"], g) if g else 0)


CASES = [
    (optim.Adadelta, adadelta, {}),
    (optim.Adadelta, adadelta, {"lr": 0.5, "rho": 0.7, "eps": 1e-2, "weight_decay": 0.2}),
    (optim.Adamax, adamax, {}),
    (optim.Adamax, adamax, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.2}),
    (optim.NAdam, nadam, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.NAdam, nadam, {"lr": 0.1, "betas": (0.5, 0.7), "momentum_decay": 0.1}),
    (optim.RAdam, radam, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.RAdam, radam, {"lr": 0.1, "betas": (0.5, 0.95), "eps": 1e-3}),
    (optim.ASGD, asgd, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.ASGD, asgd, {"lr": 0.1, "lambd": 0.5, "alpha": 0.3}),
    (optim.Rprop, rprop, {"lr": 0.1}),
    (optim.Rprop, rprop, {"lr": 0.1, "etas": (0.3, 1.9), "step_sizes": (0.05, 0.2)}),
]


@pytest.mark.parametrize(("kind", "formula", "options"), CASES)
@pytest.mark.parametrize("maximize", [False, True])
def test_steps_follow_the_formula(kind, formula, options, maximize):
    # eta and the product of momenta are kept in single precision, as in checkpoints
    assert_follows(kind, formula, options, GRADIENTS, maximize, rtol=1e-6)


@pytest.mark.parametrize("kind", [case[0] for case in CASES[::2]])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_every_dtype_learns(kind, dtype):
    parameter = make_parameter(1.0, dtype=getattr(torch, dtype))
    optimizer = kind([parameter], lr=1.0)
    parameter.grad = torch.ones_like(parameter)
    for _ in range(5):
        optimizer.step()
    assert parameter.dtype == getattr(torch, dtype)
    assert bool((torch.real(parameter.detach().to(torch.complex64)) < 1).all())


def test_decoupled_decay_scales_the_parameter():
    for kind in (optim.NAdam, optim.RAdam):
        plain, decayed = make_parameter(2.0), make_parameter(2.0)
        for parameter, decay in ((plain, 0.0), (decayed, 0.5)):
            parameter.grad = torch.ones_like(parameter)
            kind([parameter], lr=0.1, weight_decay=decay, decoupled_weight_decay=True).step()
        assert torch.allclose(plain - decayed, torch.full_like(plain, 2.0 * 0.1 * 0.5))


def test_differentiable_steps_have_gradients():
    for kind in (optim.Adadelta, optim.Adamax, optim.NAdam, optim.RAdam, optim.ASGD, optim.Rprop):
        start = torch.ones(3, dtype=torch.float64, requires_grad=True)
        parameter = start.clone()
        kind_options = {"differentiable": True}
        optimizer = kind([parameter], **kind_options)
        parameter.grad = torch.full_like(start, 0.5)
        optimizer.step()
        parameter.sum().backward()
        assert start.grad is not None
        assert bool((start.grad > 0.9).all()), kind


def test_asgd_averages_after_t0():
    parameter = make_parameter(1.0, (2,))
    optimizer = optim.ASGD([parameter], lr=0.5, lambd=0, t0=2)
    values = []
    for _ in range(6):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        values.append(parameter.detach().clone())
    averaged = optimizer.state[parameter]["ax"]
    assert torch.allclose(averaged, torch.stack(values[3:]).mean(0))


def test_adafactor_factors_the_squares_of_matrices():
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))
    optimizer = optim.Adafactor([matrix, vector], lr=0.1)
    start = matrix.detach().clone(), vector.detach().clone()
    matrix.grad, vector.grad = torch.randn(3, 4), torch.randn(5)
    optimizer.step()
    state = optimizer.state[matrix]
    squares = matrix.grad**2
    assert torch.allclose(state["row_var"], squares.mean(1, keepdim=True))
    assert torch.allclose(state["col_var"], squares.mean(0, keepdim=True))
    estimate = state["row_var"] @ state["col_var"] / state["row_var"].mean()
    for parameter, before, squares in (
        (matrix, start[0], estimate),
        (vector, start[1], vector.grad**2),
    ):
        update = parameter.grad / squares.sqrt()
        size = 0.1 * (before**2).mean().sqrt() / max(1.0, (update**2).mean().sqrt().item())
        assert torch.allclose(parameter, before - size * update, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3)])
def test_muon_orthogonalises(shape):
    torch.manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    spectrum = torch.linspace(1.0, 2.0, min(shape))
    made = orthogonalise(u * spectrum @ vh, (3.4445, -4.775, 2.0315), 5, 1e-7).float()
    assert bool((abs(torch.linalg.svdvals(made) - 1) < 0.35).all())
    along = (u.T @ made @ vh.T).diagonal()
    assert torch.allclose(torch.linalg.svdvals(made).sum(), along.sum(), rtol=0.02)


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match="only supports 2D"):
        optim.Muon([nn.Parameter(torch.zeros(3))])


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def test_lbfgs_finds_a_curved_valley():
    x = nn.Parameter(torch.tensor([-1.5, 2.0], dtype=torch.float64))
    optimizer = optim.LBFGS([x], max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert first.item() == rosenbrock(torch.tensor([-1.5, 2.0])).item()
    optimizer.step(closure)
    assert torch.allclose(x, torch.ones_like(x), atol=1e-6)
    state = optimizer.state[x]
    assert state["func_evals"] >= state["n_iter"] > 10


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("history_size", [2, 100])
def test_lbfgs_solves_a_quadratic(search, history_size):
    torch.manual_seed(0)
    root = torch.randn(4, 4, dtype=torch.float64)
    matrix, target = root @ root.T + torch.eye(4), torch.randn(4, dtype=torch.float64)
    x = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    options = {"history_size": history_size, "tolerance_change": 1e-15}
    optimizer = optim.LBFGS([x], max_iter=100, line_search_fn=search, **options)

    def closure():
        optimizer.zero_grad()
        loss = 0.5 * x @ (matrix @ x) - target @ x
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.allclose(x, torch.linalg.solve(matrix, target), atol=1e-6)
    assert len(optimizer.state[x]["ro"]) <= history_size


def test_lbfgs_refuses_groups_and_other_searches():
    x = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="per-parameter options"):
        optim.LBFGS([{"params": [x]}, {"params": [nn.Parameter(torch.zeros(1))]}])
    optimizer = optim.LBFGS([x], line_search_fn="golden")

    def closure():
        optimizer.zero_grad()
        loss = (x - 1).square().sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="strong_wolfe"):
        optimizer.step(closure)


@pytest.mark.parametrize("length", [0.1, 1.0, 30.0])
def test_the_line_search_satisfies_the_wolfe_conditions(length):
    def loss_and_gradient(t):
        x = torch.tensor([t], dtype=torch.float64)
        return (x**4 - 3 * x**3 + 2).item(), 4 * x**3 - 9 * x**2

    direction = torch.ones(1, dtype=torch.float64)
    loss, gradient = loss_and_gradient(0.5)
    evaluate = lambda t: loss_and_gradient(0.5 + float(t))
    slope = gradient.dot(direction)
    point, calls = search_strong_wolfe(evaluate, direction, length, loss, gradient, slope)
    assert calls < 25
    assert point.loss <= loss + 1e-4 * float(point.length) * slope.item()
    assert abs(point.slope.item()) <= 0.9 * abs(slope.item())


def test_sparse_adam_touches_the_rows_of_the_gradient():
    sparse, dense = make_parameter(1.0, (4, 2)), make_parameter(1.0, (4, 2))
    optimizer, other = optim.SparseAdam([sparse], lr=0.1), optim.Adam([dense], lr=0.1)
    for step in range(3):
        values = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64) + step
        sparse.grad = torch.sparse_coo_tensor([[0, 2]], values, (4, 2))
        optimizer.step()
        dense.grad = torch.zeros_like(dense)
        dense.grad[[0, 2]] = values
        other.step()
    assert torch.allclose(sparse[[0, 2]], dense[[0, 2]], atol=1e-6)
    assert torch.equal(sparse[[1, 3]], torch.ones_like(sparse[[1, 3]]))
    assert torch.equal(optimizer.state[sparse]["exp_avg"][1], torch.zeros(2).double())


def test_sparse_adam_refuses_dense_gradients():
    parameter = make_parameter()
    parameter.grad = torch.ones_like(parameter)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        optim.SparseAdam([parameter]).step()


class TestAverages:
    def make(self, **options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
        return model, swa_utils.AveragedModel(model, **options)

    def train(self, model, average, steps=5):
        values = []
        for step in range(steps):
            with torch.no_grad():
                for i, parameter in enumerate(model.parameters()):
                    parameter.add_((step + 1) * (i + 1))
            average.update_parameters(model)
            values.append([p.detach().clone() for p in model.parameters()])
        return values

    @pytest.mark.parametrize("option", ["avg_fn", "multi_avg_fn", None])
    def test_swa_is_the_mean(self, option):
        make = {"avg_fn": swa_utils.get_swa_avg_fn, "multi_avg_fn": swa_utils.get_swa_multi_avg_fn}
        model, average = self.make(**({option: make[option]()} if option else {}))
        values = self.train(model, average)
        for i, parameter in enumerate(average.parameters()):
            assert torch.allclose(parameter, torch.stack([v[i] for v in values]).mean(0))
        assert average.n_averaged == 5

    @pytest.mark.parametrize("option", ["avg_fn", "multi_avg_fn"])
    def test_ema_forgets(self, option):
        make = {"avg_fn": swa_utils.get_ema_avg_fn, "multi_avg_fn": swa_utils.get_ema_multi_avg_fn}
        model, average = self.make(**{option: make[option](0.75)})
        values = self.train(model, average)
        for i, parameter in enumerate(average.parameters()):
            expected = values[0][i]
            for value in values[1:]:
                expected = 0.75 * expected + 0.25 * value[i]
            assert torch.allclose(parameter, expected)

    def test_buffers_are_copied_or_averaged(self):
        for use_buffers in (False, True):
            model, average = self.make(use_buffers=use_buffers)
            for value in (2.0, 4.0):
                model[1].running_mean.fill_(value)
                average.update_parameters(model)
            expected = 3.0 if use_buffers else 4.0
            assert average.module[1].running_mean.tolist() == [expected] * 4

    def test_update_bn_computes_the_statistics_of_a_pass(self):
        model = nn.Sequential(nn.BatchNorm1d(2)).eval()
        batches = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [9.0, 0.0]])]
        swa_utils.update_bn([(batch, "label") for batch in batches], model)
        mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
        assert torch.allclose(model[0].running_mean, mean)
        assert model[0].momentum == 0.1
        assert not model.training

    def test_both_functions_are_refused(self):
        with pytest.raises(AssertionError, match="Only one of"):
            swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=sum, multi_avg_fn=sum)
        with pytest.raises(ValueError, match="Invalid decay"):
            swa_utils.get_ema_avg_fn(1.5)


def test_swapping_in_other_parameters():
    weight = make_parameter(1.0, (2,))
    optimizer = optim.Adam([weight], lr=0.5)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state, params = optimizer.state, optimizer.param_groups[0]["params"]
    other = torch.full((2,), 5.0, dtype=torch.float64, requires_grad=True)
    other.grad = torch.ones_like(other)
    swap = optim.swap_in_optimizer_params_and_state
    with swap(optimizer, {"w": other}, optimizer.state_dict()):
        assert optimizer.param_groups[0]["params"][0] is other
        optimizer.step()
    assert optimizer.state is state
    assert optimizer.param_groups[0]["params"] is params
    assert torch.allclose(other, torch.full_like(other, 4.5))
    with pytest.raises(ValueError, match="groups of"):
        swap(optimizer, {}, optimizer.state_dict()).__enter__()
