"""Indexing: every kind of key, read and written; gradients; errors before any write."""

import warnings

import numpy as np
import pytest

import flambeau as torch


def arange(*shape):
    return torch.arange(int(np.prod(shape))).view(*shape).double()


def as_torch(key):
    """The same key with NumPy arrays as tensors."""
    if isinstance(key, tuple):
        return tuple(as_torch(k) for k in key)
    return torch.from_numpy(np.array(key)) if isinstance(key, np.ndarray) else key


array = np.array
MASK = np.arange(12).reshape(3, 4) % 3 == 0
KEYS = {
    "rows": array([2, 0, -1]),
    "rows twice": array([[1, 1], [0, 2]]),
    "empty": np.zeros(0, dtype=np.int64),
    "two": (array([0, 2]), array([1, -1])),
    "broadcast": (array([[0], [2]]), array([1, 3])),
    "slice then rows": (slice(None), array([3, 0])),
    "rows then slice": (array([1, 0]), slice(1, None, 2)),
    "mask": MASK,
    "mask of rows": array([True, False, True]),
    "mask of columns": (slice(None), array([True, False, True, False])),
    "mask and rows": (array([True, False, True]), array([0, 3])),
    "nothing true": np.zeros((3, 4), dtype=bool),
    "none": (None, array([0, 1])),
    "ellipsis": (..., array([0, 1])),
    "apart": (array([0, 1]), None, array([1, 2])),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_reading(key, transposed):
    x = arange(4, 3).t() if transposed else arange(3, 4)
    np.testing.assert_array_equal(x[as_torch(key)].numpy(), x.numpy()[key])


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_gradient_of_reading_adds_up(key):
    x = arange(3, 4).requires_grad_()
    y = x[as_torch(key)]
    weights = np.arange(1, y.numel() + 1, dtype=float).reshape(y.shape)
    expected = np.zeros((3, 4))
    np.add.at(expected, key, weights)
    (g,) = torch.autograd.grad((y * torch.from_numpy(weights)).sum(), [x], create_graph=True)
    np.testing.assert_array_equal(g.detach().numpy(), expected)
    (g,) = torch.autograd.grad((y * y).sum(), [x], create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), [x])
    counts = np.zeros((3, 4))
    np.add.at(counts, key, np.ones(y.shape))
    np.testing.assert_array_equal(h.numpy(), 2 * counts)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_writing(key, transposed):
    x = arange(4, 3).t() if transposed else arange(3, 4)
    expected = x.numpy().copy()
    value = 100 + np.arange(expected[key].size, dtype=float).reshape(expected[key].shape)
    for v in (value, np.float64(-1.0)):
        x[as_torch(key)] = torch.tensor(v.tolist(), dtype=torch.float64).view(*v.shape)
        expected[key] = v
        np.testing.assert_array_equal(x.numpy(), expected)
    x[as_torch(key)] = 5
    expected[key] = 5
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("key", [KEYS["rows"], KEYS["two"], MASK, (slice(1), array([2]))])
def test_gradients_of_writing(key):
    """What was there gets no gradient, what was written gets it all."""
    x, v = arange(3, 4).requires_grad_(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y = x * 1
    y[as_torch(key)] = v
    gx, gv = torch.autograd.grad((y * arange(3, 4)).sum(), [x, v])
    weights = np.arange(12.0).reshape(3, 4)
    assert gv.item() == weights[key].sum()
    weights[key] = 0
    np.testing.assert_array_equal(gx.numpy(), weights)


def test_three_dimensions_with_masks_and_numbers():
    x = arange(2, 3, 4)
    a = x.numpy()
    mask = array([[True, False, True], [False, True, False]])
    np.testing.assert_array_equal(x[torch.from_numpy(mask)].numpy(), a[mask])
    np.testing.assert_array_equal(x[torch.from_numpy(mask), 1:3].numpy(), a[mask, 1:3])
    assert x[torch.tensor([0, 1]), :, torch.tensor([1, 2])].shape == (2, 3)
    assert x[:, torch.tensor([0, 2]), torch.tensor([1, 2])].shape == (2, 2)
    assert x[1, :, torch.tensor([1, 2])].tolist() == a[1][:, [1, 2]].tolist()


def test_bools_and_numbers_as_keys():
    x = arange(2, 3)
    assert x[True].shape == (1, 2, 3)
    assert x[False].shape == (0, 2, 3)
    assert x[torch.tensor(True)].shape == (1, 2, 3)
    assert x[torch.tensor(1)].tolist() == [3, 4, 5]
    assert x[np.int64(1), np.int64(2)].item() == 5
    assert x[[1, 0]].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert x[[True, False]].shape == (1, 3)
    assert x[()].shape == (2, 3)
    assert torch.tensor(3.0)[None].shape == (1,)
    assert torch.tensor(3.0)[True].shape == (1,)


def test_every_element_size():
    for dtype in (
        torch.bool,
        torch.int8,
        torch.float16,
        torch.bfloat16,
        torch.int32,
        torch.complex64,
        torch.complex128,
    ):
        x = torch.tensor([1, 0, 1]).to(dtype)
        assert x[torch.tensor([1, 2])].tolist() == [0, 1]
        x[torch.tensor([0])] = torch.tensor([0]).to(dtype)
        assert x.tolist() == [0, 0, 1]


def test_bytes_are_masks_with_a_warning():
    x = arange(3)
    with pytest.warns(UserWarning, match="uint8"):
        assert x[torch.tensor([1, 0, 1], dtype=torch.uint8)].tolist() == [0, 2]


def test_large_gathers_in_parallel():
    rows = np.random.default_rng(0).integers(-500, 500, 3000)
    x = torch.arange(500 * 64).view(500, 64)
    np.testing.assert_array_equal(x[torch.from_numpy(rows)].numpy(), x.numpy()[rows])
    flat = np.random.default_rng(1).integers(0, 32000, 200_000)
    got = x.reshape(-1)[torch.from_numpy(flat)]
    np.testing.assert_array_equal(got.numpy(), flat)
    mask = np.random.default_rng(2).random((500, 64)) > 0.5
    np.testing.assert_array_equal(x[torch.from_numpy(mask)].numpy(), x.numpy()[mask])
    big = np.random.default_rng(3).random(300_000) > 0.9
    found = torch.from_numpy(big).nonzero().view(-1).numpy()
    np.testing.assert_array_equal(found, np.flatnonzero(big))


def test_large_accumulation_is_exact_in_order():
    """Float sums depend on their order: the result is that of adding one by one."""
    rng = np.random.default_rng(4)
    index, values = rng.integers(0, 50, 40_000), rng.standard_normal(40_000)
    x = torch.zeros(50, dtype=torch.float64)
    x.index_put_((torch.from_numpy(index),), torch.from_numpy(values), accumulate=True)
    expected = np.zeros(50)
    np.add.at(expected, index, values)
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, i: x[i(3)], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        (lambda x, i: x[i(-4)], IndexError, "index -4 is out of bounds"),
        (lambda x, i: x[:, i(9)], IndexError, "dimension 1 with size 4"),
        (lambda x, i: x[i(0), i(9)], IndexError, "dimension 1 with size 4"),
        (lambda x, i: x.index_select(0, i(-1)), IndexError, "index_select: index -1"),
        (lambda x, i: x.gather(1, i(7).view(1, 1)), RuntimeError, "gather: index 7"),
        (lambda x, i: x.take(i(12)), IndexError, "take: index 12 .* a tensor of 12 elements"),
        (lambda x, i: torch.embedding(x, i(3)), IndexError, "embedding: index 3"),
        (lambda x, i: x[i(0).float()], IndexError, "must be long, int, byte or bool"),
        (lambda x, i: x[i(0), i(0), i(0)], IndexError, "too many indices"),
        (lambda x, i: x[1.0], IndexError, "only integers, slices"),
        (lambda x, i: x[torch.ones(2) > 0], IndexError, r"shape of the mask \[2\] at index 0"),
        (lambda x, i: x[torch.arange(2), torch.arange(3)], IndexError, r"shapes \[2\], \[3\]"),
        (lambda x, i: x.gather(0, i(0)), RuntimeError, "same number of dimensions"),
        (lambda x, i: x.index_select(0, i(0).float()), RuntimeError, "int32/int64"),
        (lambda x, i: "a" in x, RuntimeError, "only supports Tensor or scalar"),
    ],
)
def test_read_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(arange(3, 4), lambda n: torch.tensor([n]))


@pytest.mark.parametrize(
    "write",
    [
        lambda x, i: x.__setitem__(i, 1.0),
        lambda x, i: x.index_add_(0, i, torch.ones(2, 4, dtype=torch.float64)),
        lambda x, i: x.index_copy_(0, i, torch.ones(2, 4, dtype=torch.float64)),
        lambda x, i: x.index_fill_(0, i, 1.0),
        lambda x, i: x.scatter_(0, i.view(2, 1), 1.0),
        lambda x, i: x.scatter_add_(0, i.view(2, 1), torch.ones(2, 1, dtype=torch.float64)),
        lambda x, i: x.__setitem__((i, i), 1.0),
        lambda x, i: x.put_(i * 4, torch.ones(2, dtype=torch.float64)),
    ],
)
def test_nothing_is_written_when_an_index_is_out_of_range(write):
    x = arange(3, 4)
    before = x.clone()
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        write(x, torch.tensor([0, 3]))
    assert x.equal(before) if hasattr(x, "equal") else bool((x == before).all())


def test_write_errors():
    x = arange(3, 4)
    with pytest.raises(RuntimeError, match=r"value tensor of shape \[3\] cannot be broadcast"):
        x[torch.tensor([0, 1])] = torch.ones(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="destination dtypes match"):
        x[torch.tensor([0, 1])] = torch.ones(4)
    with pytest.raises(TypeError, match="can't assign a list"):
        x[0] = [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="without overflow"):
        x[0] = 1j
    leaf = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        leaf[torch.tensor([0])] = 1.0


def test_values_that_alias_the_target():
    x = arange(5)
    x[torch.tensor([1, 2, 3, 4])] = x[:4]
    assert x.tolist() == [0, 0, 1, 2, 3]


def test_iteration_and_membership():
    x = arange(2, 2)
    assert [r.tolist() for r in x] == [[0, 1], [2, 3]]
    assert 3.0 in x
    assert 7 not in x


def test_index_tensor_changed_before_backward():
    x, i = arange(3).requires_grad_(), torch.tensor([0, 1])
    y = x[i]
    i[0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_no_warning_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = arange(3, 4)
        x[torch.tensor([0, 1])][:, 0].sum()
        x[x > 3] = 0
