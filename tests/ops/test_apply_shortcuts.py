"""Products, look-ups and extremes: the core's short cuts against the ops' own Python functions."""

import itertools

import pytest

import flambeau as torch
from flambeau.ops.record import METHODS, NAMESPACES

FUNCTIONAL = NAMESPACES["nn.functional"]
SHAPES = [(), (3,), (4,), (3, 4), (4, 3), (0, 4), (3, 0), (2, 3, 4)]
TYPES = [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64]


def make(shape, dtype=torch.float32, needs=False):
    torch.manual_seed(len(shape))
    x = torch.randint(-3, 4, shape).to(dtype)
    return x.requires_grad_() if needs and dtype.is_floating_point else x


def outcome(call, *args, **kwargs):
    """What a call gives and the gradients of it, or the kind of error."""
    try:
        made = call(*args, **kwargs)
    except Exception as error:
        return type(error)
    parts = made if isinstance(made, tuple) else (made,)
    said = [(p.tolist(), tuple(p.shape), p.dtype, p.requires_grad) for p in parts]
    if parts[0].requires_grad:
        inputs = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
        weights = torch.arange(float(parts[0].numel())).reshape(parts[0].shape)
        grads = torch.autograd.grad((parts[0] * weights).sum(), inputs)
        said.append(([g.tolist() for g in grads], parts[0].grad_fn.name()))
    return type(made).__name__, said


@pytest.mark.parametrize("name", ["mm", "mv", "dot", "matmul"])
@pytest.mark.parametrize("dtype", TYPES)
def test_products(name, dtype):
    op = METHODS[name]
    for a, b in itertools.product(SHAPES, SHAPES):
        for needs in (False, True):
            operands = make(a, dtype, needs), make(b, dtype)
            assert outcome(op, *operands) == outcome(op.function, *operands)
    a = make((4, 3), dtype)
    assert outcome(op, a.t(), a) == outcome(op.function, a.t(), a)
    assert outcome(op, a, make((3,), torch.float64)) == outcome(
        op.function, a, make((3,), torch.float64)
    )
    if dtype is not torch.complex64:
        column = make((4, 3), dtype)[:, 1]
        assert outcome(op, column, column) == outcome(op.function, column, column)


def test_linear():
    op = FUNCTIONAL["linear"]
    for shape, bias in itertools.product(SHAPES, (None, make((5,)), make((4,)), make((1,)))):
        for needs in (False, True):
            args = make(shape, needs=needs), make((5, 4)), bias
            assert outcome(op, *args) == outcome(op.function, *args)


EXTREMES = [
    ((), {}),
    ((0,), {}),
    ((-1,), {}),
    ((1, True), {}),
    ((), {"dim": 0}),
    ((), {"dim": 1, "keepdim": True}),
    ((5,), {}),
    ((), {"keepdim": True}),
    ((0, False, 3), {}),
    ((), {"nonsense": 1}),
]


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "mean"])
@pytest.mark.parametrize(("args", "named"), EXTREMES, ids=str)
@pytest.mark.parametrize("dtype", TYPES)
def test_extremes(name, args, named, dtype):
    op = METHODS[name]
    for shape in SHAPES:
        for needs in (False, True):
            x = make(shape, dtype, needs)
            assert repr(outcome(op, x, *args, **named)) == repr(
                outcome(op.function, x, *args, **named)
            )


def test_extremes_meet_nan_and_strides():
    x = torch.tensor([[1.0, float("nan"), 2.0], [4.0, 3.0, 5.0]]).t()
    assert x.max(0).indices.tolist() == [1, 2]
    assert x.max(1).indices.tolist() == [1, 0, 1]
    assert x.argmax().item() == 2
    assert x.max(0).values.isnan().tolist() == [True, False]
    assert type(x.max(0)).__name__ == "max"


INDICES = [
    torch.tensor([[0, 1, 0, 1]]),
    torch.tensor([[2, 0]]),
    torch.tensor([[0], [1], [2]]),
    torch.tensor([[0, 5, 0, 1]]),
    torch.tensor([[0, -1, 0, 1]]),
    torch.tensor([0, 1]),
    torch.tensor([], dtype=torch.int64),
    torch.tensor([[0, 1, 0, 1]], dtype=torch.int32),
    torch.tensor([[0, 1, 0, 1]]).t(),
    torch.tensor(1),
    3,
]


@pytest.mark.parametrize("name", ["gather", "index_select"])
@pytest.mark.parametrize("dim", [0, 1, -1, 2])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_looking_up_along_a_dimension(name, dim, index):
    op = METHODS[name]
    for shape in SHAPES:
        for needs in (False, True):
            x = make(shape, needs=needs)
            assert outcome(op, x, dim, index) == outcome(op.function, x, dim, index)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_embedding(index):
    op = FUNCTIONAL["embedding"]
    for shape in SHAPES:
        for needs in (False, True):
            weight = make(shape, needs=needs)
            assert outcome(op, index, weight) == outcome(op.function, index, weight)


@pytest.mark.parametrize("name", ["relu", "softmax", "log_softmax", "silu", "elu"])
@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((), {}),
        ((0,), {}),
        ((-1,), {}),
        ((), {"dim": 0}),
        ((), {"dim": None}),
        ((), {"dim": 1, "dtype": torch.float64}),
        ((), {"inplace": False}),
        ((5,), {}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Implicit dimension")
def test_plain_calls_of_functionals(name, args, named):
    op = FUNCTIONAL[name]
    for shape, dtype in itertools.product(SHAPES, (torch.float32, torch.int64)):
        for needs in (False, True):
            x, y = make(shape, dtype, needs), make(shape, dtype, needs)  # some write in place
            assert outcome(op, x, *args, **named) == outcome(op.function, y, *args, **named)
