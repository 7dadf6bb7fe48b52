"""Indexing in the core gives what the general path of ops/index.py gives."""

import itertools

import pytest

import flambeau as torch
from flambeau.ops import index

ROWS, COLUMNS = torch.tensor([1, 0, -1]), torch.tensor([2, 2, 0])
MASK = torch.tensor([[True, False, True], [False, True, True]])
KEYS = [
    0,
    -1,
    2,
    (0, 1),
    (1, -1, 0),
    slice(0, 1),
    (slice(None), 1),
    (Ellipsis, 0),
    None,
    torch.tensor(1),
    torch.tensor(-3),
    torch.tensor(1, dtype=torch.int32),
    ROWS,
    ROWS[:, None],
    (ROWS, COLUMNS),
    (ROWS, COLUMNS, ROWS),
    (ROWS, 0),
    (ROWS[:, None], COLUMNS),
    (slice(None), COLUMNS),
    (slice(None), slice(None), ROWS),
    (slice(0, 1), COLUMNS),
    (slice(None), ROWS, COLUMNS),
    (None, ROWS),
    torch.tensor([5]),
    (ROWS, torch.tensor([0, 9, 0])),
    MASK,
    MASK[:, 0],
    (MASK, 0),
    MASK[:1],
    torch.zeros(2, 3, dtype=torch.bool),
    torch.ones(2, 3, 4, dtype=torch.bool),
    [0, 1],
    [True, False],
    [],
    [0, [1, 0]],
    torch.empty(0, dtype=torch.int64),
    1.5,
    "a",
]
VALUES = [
    2,
    2.5,
    True,
    float("nan"),
    1j,
    "a",
    torch.tensor(3.0),
    torch.tensor([1.0, 2.0, 3.0, 4.0]),
    torch.arange(12.0).reshape(3, 4),
    torch.arange(3.0),
    torch.ones(3, 4, dtype=torch.float64),
]
SHAPES = [(2, 3, 4), (2, 3), (3,), ()]


def outcome(call):
    try:
        made = call()
    except Exception as error:
        return type(error)
    grad = None if made.grad_fn is None else made.grad_fn.name().replace("Select", "AsStrided")
    return repr(made.tolist()), tuple(made.shape), made.dtype, made.requires_grad, grad is None


def tensors(dtype=torch.float32):
    for shape in SHAPES:
        count = int(torch.ones(shape).numel())
        whole = torch.arange(float(count)).reshape(shape).to(dtype)
        yield whole
        if len(shape) > 1:
            yield whole.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.filterwarnings("ignore:Using a non-tuple")
@pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k).replace("\n", "")[:40])
def test_reading(key):
    for x, needs in itertools.product(tensors(), (False, True)):
        x = x.detach().requires_grad_(needs)
        expected = outcome(lambda x=x: index.getitem.function(x, key))
        assert outcome(lambda x=x: x[key]) == expected


def written(x, key, value, write):
    x = x.clone()

    def call():
        write(x, key, value)
        assert x._version == 1
        return x

    result = outcome(call)
    if isinstance(result, type):
        assert x._version == 0
    return result


@pytest.mark.filterwarnings("ignore:Using a non-tuple")
@pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k).replace("\n", "")[:40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_writing(key, dtype):
    for x, value in itertools.product(tensors(dtype), VALUES):
        short = written(x, key, value, lambda x, k, v: x.__setitem__(k, v))
        whole = written(x, key, value, index.setitem.function)
        if isinstance(whole, type) and not isinstance(value, torch.Tensor) and value != value:
            assert isinstance(short, type)  # key and value may both be wrong: either is reported
        else:
            assert short == whole, value


def test_gradients_of_masked_reads():
    x = torch.randn(2, 3, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: x[MASK] * 2, (x,))
    assert torch.autograd.gradcheck(lambda x: x[MASK[:, 0]] * x[torch.tensor(1)], (x,))


def test_writing_keeps_history():
    x = torch.randn(3, dtype=torch.float64).requires_grad_()

    def f(x):
        y = x * 1
        y[torch.tensor([0])] = 5.0
        y[1] = 2.0
        y[y > 4.0] = 0.0
        return y

    assert torch.autograd.gradcheck(f, (x,))
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x[torch.tensor([0])] = 1.0
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x[0] = 1.0
    with torch.no_grad():
        x[torch.tensor([0, 2])] = 1.0
        x[1] = 7.0
    assert x.tolist() == [1.0, 7.0, 1.0]


def test_the_last_of_equal_places_is_kept():
    x = torch.zeros(3)
    x[torch.tensor([1, 1])] = torch.tensor([4.0, 5.0])
    assert x.tolist() == [0.0, 5.0, 0.0]


def test_iterating_gives_views():
    x = torch.zeros(3, 2)
    for i, row in enumerate(x):
        row.fill_(i)
    assert x.tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(TypeError, match="0-d"):
        iter(torch.tensor(1.0))
