"""DLPack both ways, with and without versions."""

import gc
import weakref

import numpy as np
import pytest

import flambeau as torch
from flambeau.utils.dlpack import from_dlpack, to_dlpack


class Exporter:
    """Another library's tensor, of one of the protocol's ages."""

    def __init__(self, array: np.ndarray, versioned: bool) -> None:
        self.array = array
        self.versioned = versioned

    def __dlpack_device__(self) -> tuple:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **wishes: object) -> object:
        if wishes and not self.versioned:
            raise TypeError("no such argument")
        return self.array.__dlpack__(**wishes)


@pytest.mark.parametrize("versioned", [False, True])
def test_import_shares_memory_and_keeps_it_alive(versioned: bool) -> None:
    array = np.zeros((3, 4))
    array[:] = np.arange(12.0).reshape(3, 4)
    alive = weakref.ref(array)
    x = torch.from_dlpack(Exporter(array[:, 1:], versioned))
    assert x.tolist() == array[:, 1:].tolist()
    x[0, 0] = 50
    assert array[0, 1] == 50
    del array
    gc.collect()
    assert alive() is not None
    assert x[2, 2].item() == 11
    del x
    gc.collect()
    assert alive() is None


def test_export_shares_memory_and_keeps_it_alive() -> None:
    x = torch.arange(6.0).reshape(2, 3).t()
    array = np.from_dlpack(x)
    assert array.tolist() == x.tolist()
    x[0, 0] = 9
    assert array[0, 0] == 9
    del x
    gc.collect()
    torch.rand(100)
    assert array[0, 0] == 9


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ],
)
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_round_trip(dtype: str, version: tuple | None) -> None:
    x = torch.tensor([[0, 1], [1, 1]]).to(getattr(torch, dtype))
    back = from_dlpack(x.__dlpack__(max_version=version))
    assert back.dtype is x.dtype
    assert back.tolist() == x.tolist()
    assert back.data_ptr() == x.data_ptr()


def test_copies_on_request() -> None:
    x = torch.zeros(3)
    assert torch.from_dlpack(x, copy=True).data_ptr() != x.data_ptr()
    assert torch.from_dlpack(x).data_ptr() == x.data_ptr()


def test_0d_and_empty() -> None:
    assert torch.from_dlpack(torch.tensor(3.0)).item() == 3
    assert torch.from_dlpack(torch.zeros(0, 2)).shape == (0, 2)


def test_a_capsule_serves_once() -> None:
    capsule = to_dlpack(torch.zeros(2))
    from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="consumed"):
        from_dlpack(capsule)


def test_capsules_nobody_takes_release_the_memory() -> None:
    start = torch.core.memory_stats()["allocated"]
    for version in (None, (1, 0)):
        for _ in range(100):
            torch.zeros(10000).__dlpack__(max_version=version)
    gc.collect()
    assert torch.core.memory_stats()["allocated"] <= start + 100000


def test_read_only_exporters_stay_read_only() -> None:
    array = np.zeros(3)
    array.flags.writeable = False
    x = torch.from_dlpack(array)
    with pytest.raises(RuntimeError, match="read-only"):
        x.add_(1)


def test_errors() -> None:
    with pytest.raises(BufferError, match="require gradient"):
        torch.zeros(2, requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match="device"):
        torch.zeros(2).__dlpack__(dl_device=(2, 0))
    assert torch.zeros(2).__dlpack_device__() == (1, 0)
    with pytest.raises(RuntimeError, match="capsule"):
        from_dlpack(3)
