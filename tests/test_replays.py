"""Replays: calls of ops written in Python, done again by what the first call of their kind did."""

import threading
import warnings

import numpy as np
import pytest

import flambeau as torch
from flambeau import core
from flambeau.ops.record import composite

functional = torch.nn.functional


def make_op(function):
    """An op of its own, with a memory."""
    return composite(register=False)(function)


def count_python(calls):
    """An op that notes how often its Python runs."""

    def shifted(input, amount=1):
        calls.append(amount)
        return torch.flip(input, (0,)) + amount

    return make_op(shifted)


def test_the_second_call_runs_no_python():
    calls = []
    op = count_python(calls)
    for k in range(4):
        x = torch.arange(3.0) + k
        assert op(x).tolist() == [3.0 + k, 2.0 + k, 1.0 + k]
    assert len(calls) == 1
    assert op.memory.replays == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x[:2],
        lambda x: x[::2],
        lambda x: x.reshape(1, 4),
        lambda x: x.clone().requires_grad_(),
    ],
)
def test_another_kind_of_argument_runs_the_python(change):
    calls = []
    op = count_python(calls)
    x = torch.arange(4.0)
    op(x)
    op(change(x))
    assert len(calls) == 2
    op(x)
    assert len(calls) == 2


def test_numbers_belong_to_the_kind():
    calls = []
    op = count_python(calls)
    x = torch.arange(2.0)
    assert [op(x, a)[0].item() for a in (1, 2, True, 1.0, -0.0, 0.0)] == [2, 3, 2, 2, 1, 1]
    assert len(calls) == 6


def test_which_arguments_are_the_same_belongs_to_the_kind():
    op = make_op(lambda a, b: torch.flip(a, (0,)) - b)
    x, y = torch.arange(3.0), torch.ones(3)
    assert op(x, x).tolist() == [2, 0, -2]
    assert op(x, y).tolist() == [1, 0, -1]
    assert op(y, x).tolist() == [1, 0, -1]
    assert op(y, y).tolist() == [0, 0, 0]


def test_a_result_is_new_each_time():
    x = torch.randn(3, 4)
    first, second = x.cumsum(0), x.cumsum(0)
    first.zero_()
    assert torch.equal(second, x.cumsum(0))
    assert not torch.equal(first, second)


def test_a_decision_by_the_data_is_taken_anew():
    def signed(input):
        return torch.flip(input, (0,)) if bool(input[0] > 0) else -input

    op = make_op(signed)
    for value in (1.0, -1.0, 2.0, -2.0):
        x = torch.tensor([value, 3.0])
        assert op(x).tolist() == ([3.0, value] if value > 0 else [-value, -3.0])
    assert op.memory.replays == 1  # the decision of the first call


def test_a_decision_that_seldom_falls_as_at_first_is_left_to_python():
    calls = []

    def step(input):
        calls.append(1)
        return input * int(input[0])

    op = make_op(step)
    for k in range(40):
        assert op(torch.tensor([k, 1])).tolist() == [k * k, k]
    assert op.memory.failures == 1
    assert len(calls) == 40


def test_numbers_that_were_read_are_read_again():
    op = make_op(lambda x: torch.flip(x, (0,)).repeat(x.tolist()))
    for values in ([1, 2], [1, 2], [2, 1], [1, 2]):
        x = torch.tensor(values)
        assert op(x).tolist() == [values[::-1] * values[1]] * values[0]
    assert op.memory.replays == 2


def test_fractions_that_are_read_spoil_a_tape():
    op = make_op(lambda x: x * (0.5 if str(x.sum().item()) == "-0.0" else 2))
    for zero in (0.0, 0.0, -0.0):
        assert op(torch.tensor([zero])).tolist() == [zero]
    assert op.memory.replays == 0


def test_a_flag_sends_the_call_back_to_python():
    table = torch.zeros(3, 2)
    index = torch.tensor([[0, 1], [2, 0]])
    for _ in range(3):
        assert table.scatter(0, index, 1.0).sum().item() == 4
    with pytest.raises(RuntimeError, match="out of bounds"):
        table.scatter(0, index + 1, 1.0)
    assert table.scatter(0, index, 1.0).sum().item() == 4


def test_sizes_that_depend_on_data():
    def ends(input):
        found = torch.nonzero(input)
        return found[0] - found[-1]

    op = make_op(ends)
    for row in ([1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]):
        assert op(torch.tensor(row)).item() == row.index(1) - (2 - row[::-1].index(1))


def test_a_failing_call_leaves_nothing_behind():
    for _ in range(3):
        with pytest.raises(IndexError, match="Dimension out of range"):
            torch.randn(3).cumsum(2)
    assert core.mode_depth() == 0
    assert torch.ones(3).cumsum(0).tolist() == [1, 2, 3]


def test_writes_and_their_checks_are_done_each_time():
    x = torch.zeros(2, 3)
    for k in range(3):
        x.index_add_(0, torch.tensor([1]), torch.ones(1, 3))
        assert x[1].tolist() == [k + 1.0] * 3
        assert x._version == k + 1
    leaf = torch.zeros(2, 3, requires_grad=True)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="leaf"):
            leaf.index_add_(0, torch.tensor([1]), torch.ones(1, 3))


def test_random_numbers_go_on():
    torch.manual_seed(3)
    fresh = [torch.randint(0, 1000, (5,)).tolist() for _ in range(3)]
    torch.manual_seed(3)
    assert [torch.randint(0, 1000, (5,)).tolist() for _ in range(3)] == fresh
    assert fresh[0] != fresh[1]
    x = torch.ones(64)
    kept = [functional.dropout(x, 0.5) for _ in range(3)]
    assert not torch.equal(kept[1], kept[2])


def test_a_random_number_is_drawn_once_a_call():
    torch.manual_seed(0)
    alone = torch.randn(4)
    weights = torch.ones(3)
    torch.multinomial(weights, 2)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="inf"):
        torch.multinomial(weights * float("nan"), 2)
    assert torch.equal(torch.randn(4), alone)


def test_warnings_come_each_time():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            functional.dropout2d(torch.ones(2, 3, 4))
    assert len(seen) >= 3


def test_gradients_of_any_order_are_replayed():
    def third(x):
        y = (x.cumsum(0) ** 3).sum()
        for _ in range(2):
            (g,) = torch.autograd.grad(y, x, create_graph=True)
            y = (g * g).sum()
        return torch.autograd.grad(y, x)[0]

    for k in range(3):
        x = torch.linspace(0.1, 0.4, 4, dtype=torch.float64) * (k + 1)
        x.requires_grad_()
        fresh = x.detach().clone().requires_grad_()
        result = third(x)
        core.remember_calls(torch.cumsum, False)
        try:
            assert torch.equal(result, third(fresh))
        finally:
            core.remember_calls(torch.cumsum)


def test_grad_mode_belongs_to_the_kind():
    x = torch.randn(3, 3, requires_grad=True)
    for _ in range(3):
        assert torch.movedim(x, 0, 1).requires_grad
        with torch.no_grad():
            assert not torch.movedim(x, 0, 1).requires_grad


def test_views_stay_views():
    base = torch.zeros(2, 3, 4)
    for _ in range(3):
        moved = base.movedim(0, -1)
        assert moved._base is base
        moved[0, 0, 0] += 1
    assert base[0, 0, 0].item() == 3


def test_a_view_of_another_place_is_not_mixed_up():
    whole = torch.arange(12.0)
    for start in (0, 1, 2):
        part = whole[start : start + 4]
        assert torch.as_strided(part, (2,), (2,)).tolist() == [start, start + 2]
        assert torch.as_strided(part, (2,), (2,), 0).tolist() == [0, 2]


def test_the_default_dtype_belongs_to_the_kind():
    x = torch.arange(3)
    assert torch.softmax(x.float(), 0).dtype is torch.float32
    op = make_op(lambda a: torch.true_divide(torch.flip(a, (0,)), 2))
    assert op(x).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert op(x).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert op(x).dtype is torch.float32


def test_modes_see_every_op():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    x = torch.randn(3)
    x.cumsum(0)
    for _ in range(2):
        with Watch():
            x.cumsum(0)
    assert len(seen) >= 2


def test_threads_tape_for_themselves():
    x = torch.randn(16, 16)
    wanted = x.numpy().cumsum(1)[:, ::-1]
    failed = threading.Event()

    def work():
        op = make_op(lambda a: torch.flip(a.cumsum(1), (1,)))
        for _ in range(200):
            if not np.allclose(op(x).numpy(), wanted, atol=1e-5):
                failed.set()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed.is_set()


def test_an_op_forgets_what_it_has_seen_too_much_of():
    op = count_python([])
    for n in range(1, 400):
        op(torch.zeros(n))
    for _ in range(2):
        assert op(torch.zeros(7)).tolist() == [1.0] * 7


def test_results_of_several_kinds():
    op = make_op(lambda a: (torch.flip(a, (0,)), None, [a, torch.flip(a, (0,))]))
    x = torch.arange(2.0)
    for _ in range(3):
        flipped, nothing, (same, other) = op(x)
        assert flipped.tolist() == other.tolist() == [1, 0]
        assert nothing is None
        assert same is x
    pair = [torch.ones(2, 3).sort(1) for _ in range(3)][-1]
    assert pair.values.shape == pair.indices.shape == (2, 3)


def test_in_place_writes_between_calls_are_seen():
    x = torch.zeros(3)
    for k in range(3):
        assert torch.flip(x, (0,)).sum().item() == 3 * k
        x += 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_plain_short_cuts_agree_with_the_python(dtype):
    x = torch.tensor([[0.0, 1.0, 2.0], [3.0, -0.0, 5.0]]).to(dtype)
    assert x.to(dtype) is x.to("cpu") is x.to(torch.device("cpu")) is x.to(x) is x
    assert x.contiguous() is x
    assert x.t().contiguous().is_contiguous()
    assert torch.equal(x, x.clone())
    assert not torch.equal(x, x.reshape(3, 2))
    assert not torch.equal(x, 1 - x if dtype is not torch.bool else ~x)
    assert torch.equal(x.t(), x.t().contiguous())
    version = x._version
    assert not x.zero_().any()
    assert x._version == version + 1


def test_equality_is_by_value():
    nan = torch.tensor([float("nan")])
    assert not torch.equal(nan, nan)
    assert torch.equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert torch.equal(torch.empty(0), torch.empty(0))


def test_fills_refuse_what_they_must():
    leaf = torch.ones(2, requires_grad=True)
    for write in (leaf.zero_, lambda: leaf.fill_(1.0)):
        with pytest.raises(RuntimeError, match="leaf"):
            write()
    y = leaf * 2
    y.fill_(3.0)
    y.sum().backward()
    assert leaf.grad.tolist() == [0, 0]


def test_in_place_ops_take_names():
    x = torch.ones(3)
    x.add_(torch.ones(3), alpha=2)
    x.sub_(other=torch.ones(3), alpha=0.5)
    assert x.tolist() == [2.5] * 3
    assert x.addcmul_(x, x, value=2).tolist() == [15.0] * 3
    with pytest.raises(TypeError, match="multiple values"):
        x.add_(x, other=x)
    with pytest.raises(TypeError, match="missing"):
        x.add_(alpha=2)
    with pytest.raises(TypeError, match="unexpected"):
        x.add_(x, beta=2)


def test_backward_with_a_gradient_of_its_own():
    x = torch.ones(3, requires_grad=True)
    g = torch.tensor([1.0, 2.0, 3.0])
    (x * 2).backward(g)
    assert x.grad.tolist() == [2, 4, 6]
    assert g.tolist() == [1, 2, 3]
    with pytest.raises(RuntimeError, match="shape"):
        (x * 2).backward(torch.ones(2))
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(3).backward(g)


def test_data_read_through_numpy_is_read_anew():
    op = make_op(lambda a: torch.from_numpy(np.asarray(a) + 1.0))
    assert [op(torch.full((2,), k)).tolist() for k in (1.0, 2.0, 3.0)] == [
        [k, k] for k in (2, 3, 4)
    ]
    assert op.memory.replays == 0


def test_large_tensors_are_not_taped():
    calls = []
    op = count_python(calls)
    x = torch.zeros(1 << 19)
    for _ in range(3):
        op(x)
    assert len(calls) == 3


def test_a_generator_goes_on():
    g = torch.Generator().manual_seed(5)
    first = [torch.randint(0, 1000, (4,), generator=g).tolist() for _ in range(3)]
    g.manual_seed(5)
    assert [torch.randint(0, 1000, (4,), generator=g).tolist() for _ in range(3)] == first
    other = torch.Generator().manual_seed(5)
    assert torch.randint(0, 1000, (4,), generator=other).tolist() == first[0]


def test_class_losses_keep_their_history():
    for k in range(3):
        x = torch.randn(4, 5, requires_grad=True)
        y = torch.tensor([0, 1, 2, 3]).roll(k)
        loss = functional.cross_entropy(x, y)
        (g,) = torch.autograd.grad(loss, x, create_graph=True)
        wanted = torch.softmax(x, 1) - functional.one_hot(y, 5)
        assert torch.allclose(g, wanted / 4, atol=1e-6)
        (second,) = torch.autograd.grad(g[0, 0], x)
        p = torch.softmax(x[0], 0)
        assert torch.allclose(second[0, 0], p[0] * (1 - p[0]) / 4, atol=1e-6)
    for _ in range(3):
        with pytest.raises(IndexError, match="out of bounds"):
            functional.cross_entropy(x, torch.tensor([0, 1, 2, 9]))


def test_few_elements_are_looked_for_one_by_one():
    x, wanted = torch.tensor([[1, 2], [3, 4]]), torch.tensor([4, 1])
    for _ in range(2):
        assert torch.isin(x, wanted).tolist() == [[True, False], [False, True]]
        assert torch.isin(x, wanted, invert=True).tolist() == [[False, True], [True, False]]
    assert torch.isin(x, wanted[:0]).tolist() == [[False, False], [False, False]]
    nan = torch.tensor([float("nan"), 0.0])
    assert torch.isin(nan, -nan).tolist() == [False, True]


def test_limits_of_a_dtype_are_one_object():
    assert torch.finfo(torch.float32) is torch.finfo(torch.float32)
    assert torch.finfo(torch.float64).bits == torch.finfo(torch.complex128).bits == 64
    with pytest.raises(TypeError, match="floating point"):
        torch.finfo(torch.int32)


def steps_of(op):
    """The names of the functions that the newest replay of an op calls."""
    return op.memory.list_steps()[-1]


def test_the_steps_of_a_nested_replay_stand_in_its_callers_list():
    inner = make_op(lambda x: torch.flip(x, (0,)) * 2)
    outer = make_op(lambda x: inner(x) + inner(x + 1))
    x = torch.arange(3.0)
    for k in range(3):
        assert outer(x + k).tolist() == [2 * (2 * (2 - i + k) + 1) for i in range(3)]
    assert outer.memory.replays == 2
    assert "<lambda>" not in steps_of(outer)
    assert steps_of(outer).count("mul") == 2


def test_a_nested_call_may_return_its_argument_or_several_tensors():
    same = make_op(lambda x: (x, torch.flip(x, (0,)), 3))
    outer = make_op(lambda x: same(x)[0] + same(x)[1] * same(x)[2])
    for k in range(3):
        x = torch.arange(3.0) + k
        assert outer(x).tolist() == (x + 3 * x.flip(0)).tolist()
    assert outer.memory.replays == 2


def test_gradients_pass_through_nested_replays():
    inner = make_op(lambda x: torch.flip(x, (0,)) * x)
    outer = make_op(lambda x: inner(x).cumsum(0))
    for _ in range(3):
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        outer(x).sum().backward()
        assert x.grad.tolist() == [(3 + 1) * 3, (2 + 2) * 2, (1 + 3) * 1]
    assert outer.memory.replays == 2


def test_steps_that_depend_on_no_argument_are_done_once():
    op = make_op(lambda x: x * (torch.arange(x.shape[0]) % 2 == 0))
    for k in range(3):
        assert op(torch.ones(4) + k).tolist() == [1 + k, 0, 1 + k, 0]
    assert steps_of(op) == ["mul"]


def test_a_constant_result_is_new_each_time():
    op = make_op(lambda n: torch.arange(n).flip(0) + 1)
    for _ in range(3):
        made = op(4)
        assert made.tolist() == [4, 3, 2, 1]
        made.zero_()
    assert steps_of(op) == ["clone_plain"]


def test_constant_results_of_one_storage_share_it_each_time():
    def halves(n):
        whole = torch.arange(2 * n)
        return whole[:n], whole

    op = make_op(halves)
    for _ in range(3):
        half, whole = op(2)
        half.fill_(7)
        assert whole.tolist() == [7, 7, 2, 3]


@pytest.mark.parametrize(
    "write",
    [
        lambda target, x: target.__setitem__(1, x[0]),
        lambda target, x: target.add_(x),
        lambda target, x: target.copy_(x),
        lambda target, x: target[1:].mul_(x[1:]),
        lambda target, x: target.index_add_(0, torch.tensor([0, 2, 1]), x),
        lambda target, x: target.scatter_(0, torch.tensor([2, 0]), x[:2]),
        lambda target, x: target.masked_fill_(x > 1, 5.0),
        lambda target, x: torch.add(x, 1, out=target),
        lambda target, x: torch.cumsum(x, 0, out=target),
    ],
)
def test_what_an_argument_is_written_to_is_no_constant(write):
    def written(x):
        target = torch.ones(3)
        torch.arange(3)
        write(target, x)
        return target * 2

    op = make_op(written)
    for k in range(4):
        x = torch.arange(3.0) + k
        assert op(x).tolist() == written(x).tolist()


def test_chance_is_no_constant():
    op = make_op(lambda n: torch.rand(n) + torch.zeros(n).normal_() + torch.randperm(n))
    torch.manual_seed(3)
    found = [op(4).tolist() for _ in range(4)]
    assert len({tuple(f) for f in found}) == 4


def test_elements_of_constants_may_be_read():
    op = make_op(lambda x: x * int(torch.arange(x.shape[0]).sum()))
    assert [op(torch.ones(4) * k).tolist() for k in range(3)] == [[6 * k] * 4 for k in range(3)]
    assert op.memory.replays == 2


def test_elements_of_what_an_argument_was_written_to_are_read_each_time():
    def read(x):
        target = torch.zeros(2)
        target[0] = x[0]
        return x + int(target.sum())

    op = make_op(read)
    assert [op(torch.ones(1) * k).tolist() for k in range(4)] == [[0], [2], [4], [6]]
    assert op.memory.replays == 0


def test_constants_that_need_gradients_are_made_anew():
    op = make_op(lambda n: torch.ones(n, requires_grad=True) * 2)
    first, second = op(2), op(2)
    assert first.requires_grad
    assert second.requires_grad
    assert first.grad_fn is not second.grad_fn


def test_what_nobody_reads_is_left_out():
    op = make_op(lambda x: (torch.exp(x), torch.flip(x, (0,)) + 1)[1])
    for k in range(3):
        assert op(torch.arange(2.0) + k).tolist() == [k + 2, k + 1]
    assert "exp" not in steps_of(op)


def test_a_number_of_elements_that_is_read_is_compared():
    op = make_op(lambda x: torch.flip(x, (0,)) + torch.nonzero(x).shape[0])
    for values in ([1, 0], [0, 0], [3, 2], [0, 4]):
        x = torch.tensor(values)
        assert op(x).tolist() == [v + sum(u != 0 for u in values) for v in values[::-1]]


def test_functions_in_front_of_ops_are_repeated():
    before = functional.one_hot.memory.replays
    for first in (0, 1, 2):
        made = functional.one_hot(torch.tensor([first, 1]), 3)
        assert made.tolist() == [[float(c == first) for c in range(3)], [0, 1, 0]]
    assert functional.one_hot.memory.replays == before + 2
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        functional.one_hot(torch.tensor([3, 1]), 3)
    with pytest.raises(RuntimeError, match="non-negative"):
        functional.one_hot(torch.tensor([-1, 1]), 3)


def test_functions_that_warn_do_so_each_time():
    x = torch.rand(2, 3)
    for _ in range(3):
        with pytest.warns(UserWarning, match="batchmean"):
            torch.nn.functional.kl_div(x, x)
