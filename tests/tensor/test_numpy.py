"""NumPy arrays and tensors over the same memory."""

import gc
import weakref

import numpy as np
import pytest

import flambeau as torch

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "uint16",
    "uint32",
    "uint64",
]


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_travel_both_ways(name: str) -> None:
    array = np.array([0, 1, 1, 0]).astype(name)
    x = torch.from_numpy(array)
    assert x.dtype is getattr(torch, name)
    back = x.numpy()
    assert back.dtype == array.dtype
    assert (back == array).all()


def test_writes_show_on_the_other_side() -> None:
    array = np.zeros((2, 3), dtype=np.float32)
    x = torch.from_numpy(array)
    x[0, 1] = 5
    array[1, 2] = 7
    assert array[0, 1] == 5
    assert x[1, 2].item() == 7
    y = torch.zeros(2, 2)
    y.numpy()[0] = 3
    assert y.tolist() == [[3, 3], [0, 0]]


def test_strides_are_kept() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    for view in (array.T, array[:, ::2], array[:, 1:, 1], array.transpose(1, 0, 2)):
        x = torch.from_numpy(view)
        assert x.tolist() == view.tolist()
        assert (x.numpy() == view).all()
        assert x.numpy().strides == view.strides
    broadcast = torch.zeros(3, 1).expand(3, 4).numpy()
    assert broadcast.strides[1] == 0


def test_memory_lives_as_long_as_either_side() -> None:
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    x = torch.from_numpy(array)[10:20]
    del array
    gc.collect()
    assert alive() is not None
    assert x.tolist() == list(range(10, 20))
    del x
    gc.collect()
    assert alive() is None
    kept = torch.arange(1000.0).numpy()[5:8]
    torch.rand(1000)
    assert kept.tolist() == [5, 6, 7]


def test_0d_and_empty() -> None:
    assert torch.tensor(3.0).numpy().shape == ()
    assert torch.zeros(0, 3).numpy().shape == (0, 3)
    assert torch.from_numpy(np.zeros((2, 0))).shape == (2, 0)
    assert torch.from_numpy(np.array(5)).item() == 5


def test_array_protocol() -> None:
    x = torch.tensor([1.0, 2.0])
    assert np.asarray(x).dtype == np.float32
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, dtype=np.int64).tolist() == [1, 2]
    assert np.stack([x, x]).shape == (2, 2)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=np.int64, copy=False)


def test_numpy_scalars_are_numbers() -> None:
    x = torch.tensor(np.float64(2.5))
    assert x.dtype is torch.float64
    assert torch.tensor([np.int32(1), np.int32(2)]).dtype is torch.int32
    assert torch.tensor([np.float32(1), 2]).dtype is torch.float32
    assert torch.tensor([np.arange(2), np.arange(2)]).tolist() == [[0, 1], [0, 1]]


def test_arithmetic_and_indexing_with_numpy() -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    for y in (x + np.float32(2), np.float32(2) + x, np.float64(2) + x, x + np.int64(2)):
        assert type(y) is torch.Tensor
        assert y.dtype is torch.float32
        assert y.tolist() == [3, 4, 5]
    assert x[np.int64(1)].item() == 2
    assert x[np.array([0, 2])].tolist() == [1, 3]
    assert x[np.array([True, False, True])].tolist() == [1, 3]
    assert (x * np.ones(3)).tolist() == [1, 2, 3]
    assert type(np.sqrt(x)) is torch.Tensor


def test_tensor_copies_arrays() -> None:
    array = np.zeros(3)
    x = torch.tensor(array)
    array[0] = 1
    assert x.tolist() == [0, 0, 0]
    assert torch.tensor(np.arange(3)[::-1]).tolist() == [2, 1, 0]
    assert torch.tensor(np.arange(3, dtype=">i4")).tolist() == [0, 1, 2]


def test_as_tensor_and_asarray_share() -> None:
    array = np.zeros(3)
    torch.as_tensor(array)[0] = 1
    torch.asarray(array)[1] = 2
    assert array.tolist() == [1, 2, 0]
    torch.asarray(array, copy=True)[2] = 3
    assert array.tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="alias"):
        torch.asarray(array, dtype=torch.float32, copy=False)


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="detach"):
        torch.zeros(2, requires_grad=True).numpy()
    assert torch.zeros(2, requires_grad=True).numpy(force=True).tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="detach"):
        np.asarray(torch.zeros(2, requires_grad=True))
    with pytest.raises(TypeError, match="BFloat16"):
        torch.zeros(2, dtype=torch.bfloat16).numpy()
    with pytest.raises(TypeError, match=r"expected np.ndarray \(got list\)"):
        torch.from_numpy([1, 2])
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(np.arange(3)[::-1])
    with pytest.raises(ValueError, match="byte order"):
        torch.from_numpy(np.zeros(2, dtype=">f4"))
    with pytest.raises(TypeError, match="object_"):
        torch.from_numpy(np.zeros(2, dtype=object))
    with pytest.raises(TypeError, match="str_"):
        torch.tensor(np.array(["a"]))


def test_read_only_arrays_warn() -> None:
    array = np.zeros(2)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        torch.from_numpy(array)
    assert torch.tensor(array).tolist() == [0, 0]
