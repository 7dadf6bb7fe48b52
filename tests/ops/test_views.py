"""Views: sizes, strides, shared memory, gradients, errors."""

import numpy as np
import pytest

import flambeau as torch


def arange(*shape):
    return torch.arange(int(np.prod(shape))).view(*shape)


def gradient(fn, x):
    """The gradient of sum(fn(x) * weights), with weights 1, 2, 3, ..."""
    x = x.double().requires_grad_()
    y = fn(x)
    weights = torch.arange(1, y.numel() + 1).double().view(y.shape)
    (g,) = torch.autograd.grad((y * weights).sum(), [x])
    return g


VIEWS = {
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    "transpose": (lambda x: x.transpose(0, -1), lambda a: a.swapaxes(0, -1)),
    "movedim": (lambda x: x.movedim(0, 2), lambda a: np.moveaxis(a, 0, 2)),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    "select": (lambda x: x.select(1, -1), lambda a: a[:, -1]),
    "narrow": (lambda x: x.narrow(2, 1, 2), lambda a: a[:, :, 1:3]),
    "slices": (lambda x: x[1, ::2, 1:], lambda a: a[1, ::2, 1:]),
    "none": (lambda x: x[:, None, ..., 0], lambda a: a[:, None, ..., 0]),
    "diagonal": (lambda x: x.diagonal(1, 0, 2), lambda a: a.diagonal(1, 0, 2)),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    "flatten": (lambda x: x.flatten(1), lambda a: a.reshape(a.shape[0], -1)),
    "unflatten": (lambda x: x.unflatten(2, (2, -1)), lambda a: a.reshape(*a.shape[:2], 2, -1)),
    "expand": (lambda x: x[:, :1].expand(-1, 5, -1), lambda a: np.repeat(a[:, :1], 5, 1)),
    "strided": (lambda x: x.as_strided((2, 2), (5, 1), 3), lambda a: a.ravel()[[[3, 4], [8, 9]]]),
    "unfold": (
        lambda x: x.unfold(2, 2, 1),
        lambda a: np.stack([a[..., k : k + 2] for k in range(a.shape[2] - 1)], 2),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_view_shares_memory_and_values(name):
    fn, reference = VIEWS[name]
    x = arange(2, 3, 4)
    y = fn(x)
    np.testing.assert_array_equal(y.numpy(), reference(x.numpy()))
    x.add_(100)
    np.testing.assert_array_equal(y.numpy(), reference(x.numpy()))


@pytest.mark.parametrize("layout", ["dense", "transposed", "sliced", "expanded"])
@pytest.mark.parametrize("name", VIEWS)
def test_view_gradients(name, layout):
    """The transpose of a linear map, checked entry by entry against the map itself."""
    fn, _ = VIEWS[name]
    make = {
        "dense": lambda t: t,
        "transposed": lambda t: t.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        "sliced": lambda t: torch.stack([t, t], 3)[..., 0],
        "expanded": lambda t: t[:1].expand(2, -1, -1),
    }[layout]
    if name == "strided" and layout != "dense":
        pytest.skip("as_strided looks at memory, not at elements")
    x = arange(2, 3, 4).double()
    y = fn(make(x))
    weights = np.arange(1, y.numel() + 1, dtype=float)
    columns = []
    for k in range(x.numel()):
        unit = torch.zeros(24, dtype=torch.float64)
        unit[k] = 1
        columns.append(fn(make(unit.view(2, 3, 4))).reshape(-1).numpy() @ weights)
    got = gradient(lambda t: fn(make(t)), x)
    np.testing.assert_allclose(got.numpy().ravel(), columns)


def test_double_backward_of_an_overlapping_view():
    x = torch.arange(5).double().requires_grad_()
    y = x.unfold(0, 3, 1)
    (g,) = torch.autograd.grad((y**3).sum(), [x], create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), [x])
    count = np.array([1, 2, 3, 2, 1])
    np.testing.assert_allclose(h.numpy(), 6 * count * x.detach().numpy())


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y[1].mul_(3),
        lambda y: y.t()[0].mul_(3),
        lambda y: y[:, ::2].fill_(7),
        lambda y: y.diagonal().copy_(y.diagonal() * 5),
        lambda y: y.view(-1)[2:4].mul_(2),
    ],
)
def test_writes_through_views_reach_the_base(write):
    """Against finite differences, through a chain that reads base and view."""
    start = torch.arange(9).double().view(3, 3) + 1

    def run(x):
        y = x * 1
        write(y)
        return (y * y * y).sum()

    x = start.clone().requires_grad_()
    (g,) = torch.autograd.grad(run(x), [x])
    for k in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[k] = 1e-5
        step = step.view(3, 3)
        slope = (run(start + step) - run(start - step)).item() / 2e-5
        assert abs(g.view(-1)[k].item() - slope) < 1e-4 * max(1, abs(slope))


def test_reshape_copies_only_when_it_must():
    x = arange(2, 3)
    assert x.reshape(6).data_ptr() == x.data_ptr()
    assert x.t().reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(RuntimeError, match=r"Use \.reshape"):
        x.t().view(6)


def test_sizes_follow_from_minus_one():
    assert arange(4, 6).view(-1, 8).shape == (3, 8)
    with pytest.raises(RuntimeError, match="only one dimension can be inferred"):
        arange(4).view(-1, -1)
    with pytest.raises(RuntimeError, match=r"invalid for input of size 4"):
        arange(4).view(3)


def test_squeeze_forms():
    x = torch.zeros(1, 2, 1, 1)
    assert x.squeeze().shape == (2,)
    assert x.squeeze(1).shape == (1, 2, 1, 1)
    assert x.squeeze((0, 2)).shape == (2, 1)
    assert x.squeeze(-1).shape == (1, 2, 1)


def test_in_place_forms_change_the_tensor_itself():
    x = arange(2, 3).double()
    assert x.t_() is x
    assert x.shape == (3, 2)
    assert x.unsqueeze_(0).squeeze_().transpose_(0, 1).shape == (2, 3)
    w = torch.ones(2, 3).requires_grad_()
    y = w * 2
    y.t_()
    (g,) = torch.autograd.grad((y * torch.arange(6).view(3, 2)).sum(), [w])
    assert g.tolist() == [[0, 4, 8], [2, 6, 10]]


def test_splitting():
    x = arange(7)
    assert [t.tolist() for t in x.split(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(t) for t in x.split([2, 5])] == [2, 5]
    assert [len(t) for t in x.chunk(3)] == [3, 3, 1]
    assert [len(t) for t in x.tensor_split(3)] == [3, 2, 2]
    assert [t.tolist() for t in x.tensor_split((2, 4))] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [len(t) for t in torch.zeros(0).chunk(2)] == [0, 0]
    with pytest.raises(RuntimeError, match="sum exactly to 7"):
        x.split([3, 3])
    with pytest.raises(RuntimeError, match="not divisible by the split_size 2"):
        x.hsplit(2)


def test_complex_parts_share_memory():
    x = torch.tensor([1 + 2j, 3 - 4j])
    assert x.real.tolist() == [1, 3]
    assert x.imag.tolist() == [2, -4]
    x.real[0] = 9
    assert x[0].item() == 9 + 2j
    assert torch.view_as_complex(torch.view_as_real(x)).tolist() == x.tolist()
    assert x.conj().tolist() == [9 - 2j, 3 + 4j]
    y = torch.tensor([1.0])
    assert y.real is y
    with pytest.raises(RuntimeError, match="imag is not implemented"):
        _ = y.imag


def test_view_as_another_dtype():
    x = torch.tensor([1.0, -2.0])
    assert x.view(torch.int32).tolist() == [0x3F800000, 0xC0000000 - (1 << 32)]
    assert x.view(torch.int16).shape == (4,)
    assert torch.arange(4, dtype=torch.int16).view(torch.int64).shape == (1,)
    with pytest.raises(RuntimeError, match="divisible by 2"):
        torch.zeros(3, dtype=torch.int16).view(torch.int32)


def test_broadcasting_helpers():
    assert torch.broadcast_shapes((2, 1), (1, 3), (3,)) == (2, 3)
    a, b = torch.broadcast_tensors(torch.zeros(2, 1), torch.zeros(3))
    assert a.shape == b.shape == (2, 3)
    with pytest.raises(RuntimeError, match="cannot be broadcast"):
        torch.broadcast_shapes((2,), (3,))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: x.transpose(0, 2), IndexError, r"transpose: .*\[-2, 1\], but got 2"),
        (lambda x: x.permute(0, 0), RuntimeError, "appears multiple times"),
        (lambda x: x.permute(0), RuntimeError, r"input.dim\(\) = 2"),
        (lambda x: x.select(0, 5), IndexError, "select.*index 5 out of range"),
        (lambda x: x.narrow(0, 1, 9), RuntimeError, "exceeds dimension size"),
        (lambda x: x.expand(3, 3), RuntimeError, "must match the existing size"),
        (lambda x: x.unfold(0, 9, 1), RuntimeError, "maximum size"),
        (lambda x: x.as_strided((9, 9), (9, 1)), RuntimeError, "out of bounds for storage"),
        (lambda x: x.unflatten(0, (3, -1)), RuntimeError, "don't multiply up"),
        (lambda x: x.diagonal(0, 1, 1), RuntimeError, "cannot be identical"),
        (lambda x: x[0, 0, 0], IndexError, "too many indices"),
        (lambda x: x[5], IndexError, "out of bounds for dimension 0 with size 2"),
        (lambda x: x[::-1], ValueError, "step must be positive"),
        (lambda x: x[0][0][0], IndexError, "dimension 0"),
        (lambda x: iter(x[0, 0]), TypeError, "0-d tensor"),
    ],
)
def test_errors_name_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text):
        call(arange(2, 3))


def test_rearranging_against_numpy():
    x = arange(2, 3, 4)
    a = x.numpy()
    pairs = [
        (x.flip(0, 2), np.flip(a, (0, 2))),
        (x.fliplr(), np.fliplr(a)),
        (x.rot90(1, (1, 2)), np.rot90(a, 1, (1, 2))),
        (x.rot90(-1), np.rot90(a, -1)),
        (x.roll((1, -2), (0, 2)), np.roll(a, (1, -2), (0, 2))),
        (x.roll(5), np.roll(a, 5)),
        (x.repeat(2, 1, 1, 2), np.tile(a, (2, 1, 1, 2))),
        (x.tile(2), np.tile(a, 2)),
        (x.repeat_interleave(2, 1), np.repeat(a, 2, 1)),
        (x.repeat_interleave(torch.tensor([2, 0, 1]), 1), np.repeat(a, [2, 0, 1], 1)),
        (x.tril(1), np.tril(a, 1)),
        (x.triu(-1), np.triu(a, -1)),
        (x[0].diagonal(-1), np.diagonal(a[0], -1)),
        (torch.diag(x[0, 0], 1), np.diag(a[0, 0], 1)),
        (torch.tril_indices(3, 4, -1), np.stack(np.tril_indices(3, -1, 4))),
        (torch.triu_indices(3, 4, 1), np.stack(np.triu_indices(3, 1, 4))),
    ]
    for got, expected in pairs:
        np.testing.assert_array_equal(got.numpy(), expected)


def test_triangles_do_not_spread_nan():
    x = torch.full((2, 2), float("nan")).tril()
    assert x[0, 1].item() == 0


def test_grids():
    a, b = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="xy")
    expected = np.meshgrid(np.arange(2), np.arange(3), indexing="xy")
    np.testing.assert_array_equal(a.numpy(), expected[0])
    np.testing.assert_array_equal(b.numpy(), expected[1])
    product = torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert product.tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert torch.combinations(torch.arange(3)).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_scatters_of_views_copy():
    x = torch.zeros(2, 3)
    y = torch.select_scatter(x, torch.ones(3), 0, 1)
    assert y.tolist() == [[0, 0, 0], [1, 1, 1]]
    assert x.sum().item() == 0
    assert torch.slice_scatter(x, torch.ones(2, 1), 1, 2).tolist() == [[0, 0, 1], [0, 0, 1]]
    assert torch.diagonal_scatter(x, torch.ones(2)).tolist() == [[1, 0, 0], [0, 1, 0]]
    with pytest.raises(RuntimeError, match="expected src to have a size equal"):
        torch.select_scatter(x, torch.ones(2), 0, 1)


def test_writes_that_history_cannot_follow_are_refused():
    x = torch.tensor([1 + 2j], requires_grad=True)
    y = x * 1
    with pytest.raises(RuntimeError, match="another dtype"):
        y.real.mul_(2)
    z = torch.zeros(1, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="history does not follow"):
        z.real.copy_(torch.ones(1, requires_grad=True))
    with torch.no_grad():
        y.imag.fill_(0)
    assert y.tolist() == [1]
