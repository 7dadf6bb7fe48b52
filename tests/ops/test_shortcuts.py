"""The core's short cuts give what the ops' own Python functions give."""

import itertools

import pytest

import flambeau as torch
from flambeau.ops.record import METHODS

VIEWS = {
    "view": [(6, 4), (-1,), (2, -1), ((4, 6),), ([24],), (5, 5), (-1, -1), (-1, 7), (2.0, 12)],
    "reshape": [(6, 4), (-1,), ((4, -1),), (torch.Size([24]),), (7,), (-2, 12)],
    "view_as": [(torch.ones(4, 6),), (torch.ones(5),), (3,)],
    "flatten": [(), (1,), (0, 1), (-2, -1), (2, 0), (0, 3)],
    "transpose": [(0, 1), (-1, 0), (1, 1), (0, 3), ("a", 0)],
    "t": [()],
    "permute": [(2, 0, 1), ((1, 0, 2),), (0, -1, 1), (0, 0, 1), (0, 1), (0, 1, 3)],
    "expand": [(2, 3, 4), (5, 2, 3, 4), (-1, 3, -1), (2, 3, 5), (4,), (-1, 2, 3, 4)],
    "unsqueeze": [(0,), (-1,), (3,), (-4,), (4,), (True,)],
    "squeeze": [(), (0,), (-1,), ((0, 1),), (3,)],
    "select": [(0, 1), (-1, -1), (1, 3), (3, 0)],
    "narrow": [(0, 0, 1), (1, 1, 2), (2, 4, 0), (1, -2, 1), (1, 2, 2), (0, 0, -1)],
    "chunk": [(2,), (3, 1), (5, -1), (0,), (2, 3)],
    "split": [(1,), (2, 1), ([1, 2], 1), (3, -1), (0,), (-1,)],
    "unbind": [(), (1,), (-1,), (3,)],
}


def inputs():
    whole = torch.arange(24.0).reshape(2, 3, 4)
    yield whole
    yield whole.permute(2, 0, 1)
    yield whole[:, :, ::2]
    yield torch.arange(24.0).reshape(6, 4)
    yield torch.ones(1, 3, 1)
    yield torch.tensor(1.0)
    yield torch.ones(2, 0, 3)


def outcome(call, *args, **kwargs):
    """What a call gives, in a form that compares: results, or the kind of error."""
    try:
        made = call(*args, **kwargs)
    except Exception as error:
        return type(error)
    parts = made if isinstance(made, tuple) else (made,)
    return [
        (
            p.tolist(),
            tuple(p.shape),
            p.stride(),
            p.storage_offset(),
            p.requires_grad,
            None if p.grad_fn is None else p.grad_fn.name(),
            p._base is not None,
        )
        for p in parts
    ]


def cases():
    return [(name, args) for name, calls in VIEWS.items() for args in calls]


@pytest.mark.parametrize(("name", "args"), cases(), ids=lambda x: str(x)[:30])
def test_views_as_the_python_function(name, args):
    op = METHODS[name]
    for x, needs in itertools.product(inputs(), (False, True)):
        x = x.detach().requires_grad_(needs)
        short, whole = outcome(op, x, *args), outcome(op.function, x, *args)
        if name == "unsqueeze" and isinstance(short, list):  # strides of size 1 are free
            short, whole = [r[:2] + r[3:] for r in short], [r[:2] + r[3:] for r in whole]
        assert short == whole


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("unsqueeze", {"dim": 1}),
        ("squeeze", {"dim": 0}),
        ("flatten", {"start_dim": 1}),
        ("chunk", {"chunks": 2, "dim": -1}),
        ("unbind", {"dim": 2}),
        ("unbind", {"nonsense": 2}),
    ],
)
def test_named_arguments(name, named):
    x = torch.arange(24.0).reshape(2, 3, 4)
    op = METHODS[name]
    assert outcome(op, x, **named) == outcome(op.function, x, **named)


def test_gradients_flow_through_views():
    x = torch.randn(2, 3, 4, dtype=torch.float64).requires_grad_()
    rows = lambda x: [v * v for v in x.transpose(0, 2).flatten(1).chunk(2, dim=1)]
    assert torch.autograd.gradcheck(lambda x: tuple(rows(x)), (x,))
    assert torch.autograd.gradcheck(lambda x: x.unbind(1)[1] * x[:, 0].unsqueeze(0), (x,))


def test_writes_through_views_reach_the_base():
    x = torch.zeros(2, 3, requires_grad=True)
    y = x * 1
    y.t().select(0, 1).fill_(3.0)
    y.unsqueeze(0).squeeze(0).narrow(0, 0, 1).mul_(2.0)
    assert y.tolist() == [[0, 6, 0], [0, 3, 0]]
    y.sum().backward()
    assert x.grad.tolist() == [[2, 0, 2], [1, 0, 1]]


MADE = [
    ((3,), {}),
    ((2, 3), {}),
    (((2, 3),), {}),
    (([4],), {}),
    ((torch.Size([2]),), {}),
    ((), {}),
    (((),), {}),
    ((0, 3), {}),
    ((-1,), {}),
    ((2.0,), {}),
    ((2,), {"dtype": torch.float64}),
    ((2,), {"dtype": torch.int64}),
    ((2,), {"dtype": torch.bfloat16}),
    ((2,), {"dtype": float}),
    ((2,), {"device": "cpu"}),
    ((2,), {"device": "nowhere"}),
    ((2,), {"requires_grad": True}),
    ((2,), {"requires_grad": True, "dtype": torch.int32}),
    ((2,), {"size": 3}),
    ((), {"size": (3,)}),
]


def described(call, *args, **kwargs):
    """Values, type and flags of what a call makes after a fixed seed."""
    torch.manual_seed(3)
    try:
        made = call(*args, **kwargs)
    except Exception as error:
        return type(error)
    return made.tolist(), made.dtype, tuple(made.shape), made.stride(), made.requires_grad


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
@pytest.mark.parametrize(("args", "named"), MADE, ids=str)
def test_making_tensors(name, args, named):
    op = getattr(torch, name)
    assert described(op, *args, **named) == described(op.function, *args, **named)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like"])
@pytest.mark.parametrize("named", [n for _, n in MADE], ids=str)
def test_making_tensors_like_another(name, named):
    op = getattr(torch, name)
    for x in inputs():
        assert described(op, x, **named) == described(op.function, x, **named)


@pytest.mark.parametrize("name", ["uniform_", "normal_"])
@pytest.mark.parametrize("given", [(), (0.5,), (0, 2), (2, 1), (1.0, -1.0), (0, float("inf"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_random_fills(name, given, dtype):
    op = METHODS[name]
    for shape in ((20,), (3, 4), (0,)):
        short, whole = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
        assert described(op, short, *given) == described(op.function, whole, *given)
    written = torch.zeros(3)
    written.uniform_()
    assert written._version == 1


def test_random_fills_check_what_they_write():
    leaf = torch.zeros(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf.uniform_()
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.zeros(1).expand(3).normal_()


CUTS = {
    "chunk": lambda x: x.chunk(2, dim=1),
    "split": lambda x: x.split(2, dim=-1),
    "split_sizes": lambda x: x.split([1, 3, 0, 1], dim=2),
    "unbind": lambda x: x.unbind(1),
    "iteration": lambda x: list(x),
    "tensor_split": lambda x: x.tensor_split((1, 4), dim=2),
    "overlapping_split": lambda x: x.tensor_split((3, 1), dim=2),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("transposed", [False, True])
def test_parts_share_one_node(cut, transposed):
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    x = (x.transpose(0, 1).contiguous().transpose(0, 1) if transposed else x).requires_grad_()
    power = lambda parts: sum([(p**k).sum() for k, p in enumerate(parts, 2)])
    assert torch.autograd.gradcheck(lambda x: power(cut(x)), (x,))
    assert torch.autograd.gradgradcheck(lambda x: power(cut(x)), (x,))
    assert torch.autograd.gradcheck(lambda x: cut(x)[1] * 2, (x,))  # no gradient for the others
    assert torch.autograd.gradcheck(lambda x: cut(x.t() if x.ndim < 3 else x.mT.mT)[0] * 3, (x,))


def test_large_parts_have_the_gradient_of_small_ones():
    x = torch.randn(64, 3, 1024, requires_grad=True)
    weights = torch.randn(3, 64, 1024)
    sum([(a * w).sum() for a, w in zip(x.unbind(1), weights, strict=True)]).backward()
    assert x.grad.equal(weights.transpose(0, 1))
    left, right = x.chunk(2, dim=2)
    (g,) = torch.autograd.grad((right.transpose(0, 2) * 2).sum(), x)
    assert g[:, :, :512].eq(0).all()
    assert g[:, :, 512:].eq(2).all()
    assert not left._is_view() or left._base is x


def test_writing_into_a_part_is_seen_by_the_others_gradient():
    x = torch.arange(4.0, requires_grad=True)
    y = x * 1
    a, b = y.chunk(2)
    a.mul_(3.0)
    (y * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 6.0, 3.0, 4.0]
    assert (b * 2).requires_grad
    assert a.tolist() == [0.0, 3.0]


def test_gradients_of_windows():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    for f in (
        lambda x: x[1:3, ::2] * 2,
        lambda x: x[:, 1:] * x[:, :-1],
        lambda x: x.unfold(1, 2, 1) * 2,
        lambda x: x.as_strided((2, 2), (1, 1)) * 2,
        lambda x: x.diagonal() * 2,
        lambda x: x[0].expand(5, 4)[1:, 2] * 3,
    ):
        assert torch.autograd.gradcheck(f, (x,))
        assert torch.autograd.gradgradcheck(f, (x,))
    (g,) = torch.autograd.grad((x[2:2] * 2).sum(), x)
    assert g.eq(0).all()
