"""Saving and loading within Flambeau."""

import io
import os
import pickle
import stat
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict, namedtuple

import pytest

import flambeau as torch
from flambeau import nn, serialization


def copy_through_file(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return torch.load(stream, **options)


DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
]


@pytest.mark.parametrize("name", [*DTYPES, "complex64", "complex128"])
def test_every_dtype_keeps_its_bits(name):
    tensor = torch.tensor([0, 1, 2, 100]).to(getattr(torch, name))
    loaded = copy_through_file(tensor)
    assert loaded.dtype == tensor.dtype
    assert torch.equal(loaded, tensor)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shapes(shape):
    loaded = copy_through_file(torch.ones(shape))
    assert tuple(loaded.shape) == shape
    assert torch.equal(loaded, torch.ones(shape))


def test_containers_and_numbers():
    value = {
        "list": [1, 2.5, None, True, "é", b"\x00\xff", 1j, -(2**40), 2**70],
        "tuple": (1, (2,), ()),
        "set": {1, 2},
        "frozen": frozenset([3]),
        "ordered": OrderedDict(b=1, a=2),
        "counter": Counter("aab"),
        "default": defaultdict(list, {"x": [1]}),
        "bytes": bytearray(b"abc"),
        (1, "key"): "tuple key",
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        stream = io.BytesIO()
        torch.save(value, stream, pickle_protocol=protocol)
        loaded = torch.load(io.BytesIO(stream.getvalue()))
        assert loaded == value
        assert {key: type(part) for key, part in loaded.items()} == {
            key: type(part) for key, part in value.items()
        }


def test_tensors_that_share_memory_share_it_again():
    base = torch.arange(12.0).view(3, 4)
    loaded = copy_through_file([base, base.t(), base[1], base[:, 2], base])
    assert loaded[0] is loaded[4]
    assert loaded[1].stride() == (1, 4)
    loaded[0][1, 2] = 77
    assert loaded[1][2, 1] == loaded[2][2] == loaded[3][1] == 77
    assert base[1, 2] == 6


def test_a_shared_storage_is_written_once():
    base = torch.zeros(100_000)
    stream = io.BytesIO()
    torch.save([base[i:] for i in range(10)], stream)
    assert len(stream.getvalue()) < 500_000


def test_tensors_of_two_dtypes_over_one_storage_are_refused():
    base = torch.zeros(4)
    with pytest.raises(RuntimeError, match="different types"):
        torch.save([base, base.view(torch.int32)], io.BytesIO())


def test_self_reference():
    value: list = [1]
    value.append(value)
    loaded = copy_through_file(value)
    assert loaded[1] is loaded


def test_parameters_and_gradients():
    parameter = nn.Parameter(torch.ones(2))
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    leaf = torch.ones(2, requires_grad=True)
    loaded = copy_through_file([parameter, frozen, leaf, parameter, leaf * 2])
    assert type(loaded[0]) is nn.Parameter
    assert loaded[0] is loaded[3]
    assert [tensor.requires_grad for tensor in loaded] == [True, False, True, True, True]
    assert all(tensor.is_leaf for tensor in loaded)


def test_attributes_of_tensors():
    tensor = torch.ones(2)
    tensor.note = {"x": 1}
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "p"
    first, second = copy_through_file([tensor, parameter])
    assert first.note == {"x": 1}
    assert second.note == "p"
    assert type(second) is nn.Parameter


def test_module_and_optimizer_state(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "state.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    loaded = torch.load(path)
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    other.load_state_dict(loaded["model"])
    other_optimizer = torch.optim.Adam(other.parameters())
    other_optimizer.load_state_dict(loaded["optimizer"])
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(
            optimizer.state[mine]["exp_avg_sq"], other_optimizer.state[theirs]["exp_avg_sq"]
        )
    assert other_optimizer.param_groups[0]["lr"] == 0.1
    assert loaded["model"]._metadata == model.state_dict()._metadata


# ---- files ---------------------------------------------------------------------------------------


def test_records_are_aligned_and_the_archive_is_sound(tmp_path):
    path = tmp_path / "name.pt"
    torch.save([torch.ones(3), torch.ones(100), torch.ones(1)], path)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names[0] == "name/data.pkl"
        assert {"name/version", "name/byteorder", "name/data/2"} <= set(names)
        for record in archive.infolist():
            name_size, extra_size = struct.unpack_from("<2H", raw, record.header_offset + 26)
            assert (record.header_offset + 30 + name_size + extra_size) % 64 == 0
            assert record.compress_type == zipfile.ZIP_STORED


def test_mmap_reads_lazily_and_leaves_the_file_alone(tmp_path):
    path = tmp_path / "big.pt"
    torch.save({"a": torch.arange(1000), "e": torch.empty(0)}, path)
    before = path.read_bytes()
    loaded = torch.load(path, mmap=True)
    assert torch.equal(loaded["a"], torch.arange(1000))
    loaded["a"][0] = 5
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="mmap"):
        torch.load(io.BytesIO(before), mmap=True)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(1, path)
    os.chmod(path, 0o640)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        torch.save({"bad": lambda: None}, path)
    assert torch.load(path) == 1
    torch.save(2, path)
    assert torch.load(path) == 2
    assert os.listdir(tmp_path) == ["model.pt"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_a_save_that_dies_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save(1, path)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(serialization, "_write_records", fail)
    with pytest.raises(OSError, match="disk full"):
        torch.save(2, path)
    assert torch.load(path) == 1
    assert os.listdir(tmp_path) == ["model.pt"]


def test_links_stay_links(tmp_path):
    target, link = tmp_path / "real.pt", tmp_path / "link.pt"
    torch.save(1, target)
    link.symlink_to(target)
    torch.save(2, link)
    assert link.is_symlink()
    assert torch.load(target) == 2


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory"):
        torch.save(1, tmp_path / "no" / "x.pt")
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "x.pt")


def test_several_objects_at_the_end_of_other_data():
    stream = io.BytesIO(b"header")
    stream.seek(6)
    torch.save(torch.ones(2), stream)
    stream.seek(6)
    assert torch.equal(torch.load(stream), torch.ones(2))


@pytest.mark.parametrize("bad", [3, None, object()])
def test_things_that_are_no_files(bad):
    with pytest.raises((AttributeError, TypeError)):
        torch.save(1, bad)
    with pytest.raises((AttributeError, TypeError)):
        torch.load(bad)


# ---- placement and permission --------------------------------------------------------------------


def test_map_location():
    tensor = torch.arange(3)
    seen = []

    def place(storage, location):
        seen.append((storage.nbytes(), location))
        return storage

    for where in (None, "cpu", torch.device("cpu"), {"cpu": "cpu"}, place, lambda s, name: None):
        assert torch.equal(copy_through_file(tensor, map_location=where), tensor)
    assert seen == [(24, "cpu")]
    with pytest.raises(RuntimeError, match=r"CUDA|cuda"):
        copy_through_file(tensor, map_location="cuda:7")


class Config:
    def __init__(self, size):
        self.size = size

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


Point = namedtuple("Point", "x y")


def test_user_classes_need_permission():
    with pytest.raises(pickle.UnpicklingError, match="Config"):
        copy_through_file(Config(3))
    with serialization.safe_globals([Config, Point]):
        assert copy_through_file([Config(3), Point(1, 2)]) == [Config(3), Point(1, 2)]
    assert serialization.get_safe_globals() == []
    assert copy_through_file(Config(3), weights_only=False) == Config(3)
    serialization.add_safe_globals([(Config, f"{__name__}.Config")])
    try:
        assert copy_through_file(Config(4)) == Config(4)
    finally:
        serialization.clear_safe_globals()
    with pytest.raises(TypeError, match=r"callable|functions"):
        serialization.add_safe_globals([3])


def test_a_pickle_module_excludes_weights_only():
    with pytest.raises(RuntimeError, match="pickle_module"):
        copy_through_file(1, pickle_module=pickle, weights_only=True)
    assert copy_through_file(1, pickle_module=pickle) == 1


def test_pickle_module_and_whole_modules():
    model = nn.Linear(2, 2)
    with pytest.raises(pickle.UnpicklingError, match="Linear"):
        copy_through_file(model)
    loaded = copy_through_file(model, weights_only=False)
    assert torch.equal(loaded.weight, model.weight)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_geometry_of_any_size(protocol):
    base = torch.arange(70_000)
    views = [base[offset : offset + 3] for offset in (0, 255, 256, 65535, 65536)]
    views += [base[:1].as_strided((1,), (step,)) for step in (2**31 - 1, 2**31, 2**40, 2**62)]
    views += [base[:24].view(shape) for shape in ((24,), (2, 12), (2, 3, 4), (1, 2, 3, 4))]
    views += [base[7], base[:0], views[0], torch.ones(2, requires_grad=True)]
    stream = io.BytesIO()
    torch.save(views, stream, pickle_protocol=protocol)
    stream.seek(0)
    found = torch.load(stream)
    for one, other in zip(views, found, strict=True):
        assert torch.equal(one, other)
        assert (one.stride(), one.storage_offset()) == (other.stride(), other.storage_offset())
        assert one.requires_grad == other.requires_grad
    assert found[-2] is found[0]
