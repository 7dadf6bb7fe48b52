"""backward and grad: accumulation, arguments, errors, deep graphs, nodes."""

import gc
import warnings
import weakref

import pytest

import flambeau as torch
from flambeau import autograd


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], requires_grad=True)


def test_gradients_of_a_small_expression() -> None:
    a, b = leaf(1, 2, 3), leaf(4, 5, 6)
    assert ((a * b) + b).sum().backward() is None
    assert a.grad.tolist() == [4, 5, 6]
    assert b.grad.tolist() == [2, 3, 4]


def test_accumulation_is_in_place() -> None:
    x = leaf(1, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first
    assert first.tolist() == [4, 8]


def test_accumulation_with_create_graph_makes_a_new_tensor() -> None:
    x = leaf(1, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward(create_graph=True)
    assert x.grad is not first
    assert first.tolist() == [2, 4]
    assert x.grad.requires_grad


def test_leaves_do_not_share_gradient_memory() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    (x + y).sum().backward()
    x.grad.add_(1)
    assert y.grad.tolist() == [1, 1]


def test_given_gradient_is_not_adopted() -> None:
    x = leaf(1, 2)
    start = torch.ones(2)
    (x + 0).backward(start)
    x.grad.add_(5)
    assert start.tolist() == [1, 1]


def test_gradient_follows_the_layout_of_its_leaf() -> None:
    x = torch.ones(3, 2).t().detach().requires_grad_()
    (x * torch.ones(2, 3)).sum().backward()
    assert x.grad.stride() == x.stride() == (1, 2)
    assert x.grad.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_gradient_of_an_expanded_sum_has_memory_of_its_own() -> None:
    x = torch.ones(4, requires_grad=True)
    x.sum().backward()
    assert x.grad.is_contiguous()
    x.grad[0] = 7
    assert x.grad.tolist() == [7, 1, 1, 1]


def test_one_leaf_used_many_times_runs_its_hook_once() -> None:
    x = leaf(2)
    calls = []
    x.register_hook(lambda g: calls.append(g.item()))
    y = x * 3
    (x * y + x.exp() * 0 + x).sum().backward()
    assert calls == [13]


def test_diamond() -> None:
    x = leaf(2)
    a = x * x
    (a * a + a).sum().backward()
    assert x.grad.item() == 4 * 8 + 4


def test_third_and_fourth_derivative() -> None:
    x = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
    y = (x * x * x * x).sum()
    for expected in (4 * 1.5**3, 12 * 1.5**2, 24 * 1.5, 24.0):
        (y,) = autograd.grad(y.sum(), x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_backward_from_several_roots() -> None:
    x = leaf(1, 2)
    autograd.backward([x.sum(), x * x], [None, torch.ones(2)])
    assert x.grad.tolist() == [3, 5]


def test_backward_inputs_fills_only_those() -> None:
    x, y = leaf(1, 2), leaf(1, 1)
    z = x * y
    (z * z).sum().backward(inputs=[x, z])
    assert x.grad.tolist() == [2, 4]
    assert z.grad.tolist() == [2, 4]
    assert y.grad is None


def test_grad_of_a_tensor_in_the_middle() -> None:
    x = leaf(1, 2)
    y = x * x
    dy, dx = autograd.grad((y * 3).sum(), [y, x])
    assert dy.tolist() == [3, 3]
    assert dx.tolist() == [6, 12]
    assert x.grad is None


def test_grad_unused_and_materialized() -> None:
    x, y = leaf(1), leaf(1, 2)
    with pytest.raises(RuntimeError, match="allow_unused=True"):
        autograd.grad(x.sum(), [x, y])
    assert autograd.grad(x * 1, [x, y], allow_unused=True)[1] is None
    assert autograd.grad(x * 1, [x, y], materialize_grads=True)[1].tolist() == [0, 0]


def test_grad_of_a_batch_of_cotangents() -> None:
    x = leaf(1, 2, 3)
    (rows,) = autograd.grad(x * x, x, torch.eye(3), is_grads_batched=True)
    assert rows.tolist() == [[2, 0, 0], [0, 4, 0], [0, 0, 6]]


def test_gradient_edges_stand_for_tensors() -> None:
    x = leaf(1, 2)
    edge = autograd.graph.get_gradient_edge(x)
    assert autograd.grad((x * x).sum(), edge)[0].tolist() == [2, 4]
    y = autograd.graph.get_gradient_edge(x * 3)
    autograd.backward(y, torch.ones(2))
    assert x.grad.tolist() == [3, 3]


def test_complex_gradient_convention() -> None:
    x = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    (x * x.conj()).real.sum().backward()
    assert x.grad.tolist() == [2 + 4j, 6 - 2j]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: (x * x).backward(), "grad can be implicitly created only for scalar outputs"),
        (
            lambda x: x.detach().sum().backward(),
            "element 0 of tensors does not require grad and does not have a grad_fn",
        ),
        (lambda x: (x * x).backward(torch.ones(3)), "Mismatch in shape"),
        (
            lambda x: autograd.backward([x.sum(), x.detach().sum()]),
            "element 1 of tensors does not require grad",
        ),
        (lambda x: (x.sum()).backward(inputs=[]), "cannot be empty"),
        (lambda x: autograd.grad(x.sum(), x.detach()), "does not require grad"),
    ],
)
def test_errors_of_backward(run, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(leaf(1, 2))


def test_backward_twice_needs_retain_graph() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_backward_twice_is_fine_where_nothing_was_saved() -> None:
    x = leaf(1, 2)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2, 2]


def test_an_error_in_a_hook_leaves_the_graph_usable() -> None:
    x = leaf(1, 2)
    y = x * x

    def fail(grad):
        raise KeyError("hook")

    handle = y.register_hook(fail)
    with pytest.raises(KeyError):
        y.sum().backward()
    handle.remove()
    assert torch.is_grad_enabled()
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_assigned_grad_is_checked() -> None:
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match="size"):
        x.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="data type"):
        x.grad = torch.ones(2, dtype=torch.float64)
    with pytest.raises(TypeError, match="Tensor or None"):
        x.grad = 3
    x.grad = torch.ones(2)
    del x.grad
    assert x.grad is None


def test_reading_grad_of_a_non_leaf_warns() -> None:
    y = leaf(1) * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert y.grad is None
    y.retain_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert y.grad is None


def test_requires_grad_rules() -> None:
    x = leaf(1)
    y = x * 2
    with pytest.raises(RuntimeError, match="leaf variables"):
        y.requires_grad_(False)
    with pytest.raises(RuntimeError, match="can require gradients"):
        torch.tensor([1]).requires_grad_()
    assert not y.detach().requires_grad
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad


def test_detach_in_place_of_a_view_is_refused() -> None:
    y = leaf(1, 2) * 2
    with pytest.raises(RuntimeError, match="Can't detach views in-place"):
        y[:1].detach_()


def test_graph_can_be_walked() -> None:
    x = leaf(1, 2)
    z = (x * x).sum()
    assert z.grad_fn.name() == "SumBackward0"
    ((mul, nr),) = z.grad_fn.next_functions
    assert (mul.name(), nr) == ("MulBackward0", 0)
    accumulate = mul.next_functions[0][0]
    assert accumulate.name() == "torch::autograd::AccumulateGrad"
    assert accumulate.variable is x
    assert isinstance(mul, autograd.graph.Node)
    mul.metadata["note"] = 1
    assert mul.metadata == {"note": 1}


@pytest.mark.parametrize("saved", [False, True])
def test_a_graph_of_100000_nodes(saved: bool) -> None:
    x, c = leaf(1), torch.tensor([1.00001], requires_grad=saved)
    y = x
    for _ in range(100_000):
        y = y * c
    y.backward()
    assert x.grad.item() == pytest.approx(1.00001**100_000, rel=1e-2)
    z = x
    for _ in range(100_000):
        z = z * c
    last = weakref.ref(z)
    del y, z  # taken apart without recursion
    assert last() is None


def test_anomaly_mode_names_the_forward_line() -> None:
    x = torch.zeros(1, requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        mode = autograd.detect_anomaly()
    with mode:
        y = (x / x).sum()  # the culprit
    failing = pytest.raises(RuntimeError, match="returned nan values in its 1th output")
    with pytest.warns(UserWarning, match="# the culprit"), mode, failing:
        y.backward()


def test_anomaly_mode_can_be_set_and_restored() -> None:
    assert not torch.is_anomaly_enabled()
    with autograd.set_detect_anomaly(True, check_nan=False):
        assert torch.is_anomaly_enabled()
        (torch.zeros(1, requires_grad=True).log().sum()).backward()
    assert not torch.is_anomaly_enabled()


def test_derivatives_of_any_order() -> None:
    x = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    y, factor = (x**6).sum(), 1.0
    for order in range(1, 7):
        (y,) = autograd.grad(y.sum(), x, create_graph=True)
        factor *= 7 - order
        assert y.item() == pytest.approx(factor * 0.7 ** (6 - order))


def test_a_graph_outlives_its_leaf() -> None:
    log = []

    def make() -> torch.Tensor:
        x = leaf(1, 2)
        x.register_hook(lambda g: log.append(g.tolist()))
        return (x * 3).sum()

    y = make()
    y.backward()
    accumulate = y.grad_fn.next_functions[0][0].next_functions[0][0]
    assert log == [[3, 3]]
    assert accumulate.variable.grad.tolist() == [3, 3]


def test_accumulator_of_a_leaf_keeps_its_hooks_between_graphs() -> None:
    x, log = leaf(1), []
    (x * 1).grad_fn.next_functions[0][0].register_hook(
        lambda *_, keep=x: log.append(keep.grad.item())
    )
    (x * 2).sum().backward()
    assert log == [2]
    last = weakref.ref(x)
    del x
    gc.collect()
    assert last() is None
