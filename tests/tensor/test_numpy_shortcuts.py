"""Arrays that share memory with tensors, by the short way and by the long one."""

import gc

import numpy as np
import pytest

import flambeau as torch

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2],
    np.arange(6, dtype=np.float64).reshape(2, 3).T,
    np.array(3.0),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.ones(2, dtype=np.complex64),
    np.ones(2, dtype=np.uint16),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}-{a.shape}")
def test_sharing_in_both_directions(array):
    x = torch.from_numpy(array)
    assert x.shape == array.shape
    assert x.numpy().dtype == array.dtype
    assert np.array_equal(x.numpy(), array)
    if array.size:
        assert x.stride() == tuple(s // array.itemsize for s in array.strides)
        x.fill_(1)
        assert (array == 1).all()
        assert np.shares_memory(x.numpy(), array)
    copied = torch.tensor(array)

    assert not np.shares_memory(copied.numpy(), array)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.arange(3.0)[::-1], ValueError),
        (np.zeros(3, ">f4"), ValueError),
        (np.zeros(3, "U2"), TypeError),
        ([1.0], TypeError),
    ],
    ids=str,
)
def test_what_cannot_be_shared(array, error):
    with pytest.raises(error):
        torch.from_numpy(array)


def test_read_only_arrays_warn():
    with pytest.warns(UserWarning, match="not writable"):
        torch.from_numpy(np.broadcast_to(np.ones(2), (3, 2)))


def test_memory_outlives_either_side():
    x = torch.arange(6.0)
    array = x[2:].numpy()
    del x
    gc.collect()
    assert array.tolist() == [2.0, 3.0, 4.0, 5.0]
    x = torch.from_numpy(array.copy())
    gc.collect()
    assert x.tolist() == [2.0, 3.0, 4.0, 5.0]


def test_numpy_of_tensors_with_history():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()
    assert x.numpy(force=True).tolist() == [1.0, 1.0]
    assert x.detach().numpy().tolist() == [1.0, 1.0]
