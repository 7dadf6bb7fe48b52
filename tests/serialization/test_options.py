"""Settings of saving and loading: mapping, byte order, devices of one's own, values left out."""

import doctest
import io
import mmap
import os
import pickle
import struct
import sys
import types

import pytest

import flambeau as torch
from flambeau import serialization
from flambeau._checkpoint import location
from flambeau.serialization import CheckpointError, LoadEndianness
from flambeau.utils.serialization import config


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "numbers.pt"
    torch.save({"a": torch.arange(1000)}, path)
    return path


def copy_through_file(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream)
    return torch.load(io.BytesIO(stream.getvalue()), **options)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such flags")
def test_shared_maps_write_to_the_file(path):
    with serialization.set_default_mmap_options(mmap.MAP_SHARED):
        torch.load(path, mmap=True)["a"][5] = 77
    assert serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
    torch.load(path, mmap=True)["a"][6] = 88
    serialization.set_crc32_options(False)
    try:
        assert torch.load(path)["a"][5:7].tolist() == [77, 6]
    finally:
        serialization.set_crc32_options(True)
    with pytest.raises(ValueError, match="MAP_PRIVATE"):
        serialization.set_default_mmap_options(0x10000)


def test_mmap_by_default(path, monkeypatch):
    monkeypatch.setattr(config.load, "mmap", True)
    assert torch.load(path)["a"].sum() == 499500
    with pytest.raises(ValueError, match="file path"):
        torch.load(io.BytesIO(path.read_bytes()))


def test_records_that_are_not_aligned_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(config.save, "storage_alignment", 1)
    torch.save(
        [torch.arange(7.0), torch.ones(3, dtype=torch.int8), torch.arange(5)], tmp_path / "x"
    )
    loaded = torch.load(tmp_path / "x", mmap=True)
    assert [t.sum().item() for t in loaded] == [21, 3, 10]
    assert all(t.data_ptr() % t.element_size() == 0 for t in loaded)


def test_byte_order_of_files_that_do_not_say():
    stream = io.BytesIO()
    torch.save(torch.tensor([1, 2], dtype=torch.int16), stream, _disable_byteorder_record=True)
    swapped = [256, 512] if sys.byteorder == "little" else [1, 2]
    try:
        for order, expected in (
            (None, [1, 2]),
            (LoadEndianness.NATIVE, [1, 2]),
            (LoadEndianness.LITTLE, [1, 2]),
            (LoadEndianness.BIG, swapped),
        ):
            serialization.set_default_load_endianness(order)
            assert serialization.get_default_load_endianness() is order
            assert torch.load(io.BytesIO(stream.getvalue())).tolist() == expected
    finally:
        serialization.set_default_load_endianness(None)
    with pytest.raises(TypeError, match="LoadEndianness"):
        serialization.set_default_load_endianness("big")


def test_devices_of_ones_own(monkeypatch):
    monkeypatch.setattr(location, "_packages", list(location._packages))
    seen = []

    def restore(storage, name):
        if name.startswith("npu"):
            seen.append(name)
            return storage
        return None

    serialization.register_package(5, lambda storage: "npu:1", restore)
    assert copy_through_file(torch.arange(3)).tolist() == [0, 1, 2]
    assert seen == ["npu:1"]
    assert serialization.location_tag(torch.ones(1).untyped_storage()) == "npu:1"
    monkeypatch.undo()
    assert serialization.location_tag(torch.ones(1).untyped_storage()) == "cpu"
    with pytest.raises(RuntimeError, match="npu"):
        serialization.default_restore_location(torch.ones(1).untyped_storage(), "npu:1")


def test_cuda_devices_are_checked():
    with pytest.raises(RuntimeError, match="map_location"):
        serialization.validate_cuda_device("cuda:99")


def test_values_left_out(tmp_path):
    tensors = {"a": torch.ones(300_000), "b": torch.arange(3)}
    with serialization.skip_data():
        torch.save(tensors, tmp_path / "some.pt")
        stream = io.BytesIO()
        torch.save(tensors, stream)
        with pytest.raises(RuntimeError, match="skip_data"):
            torch.save(tensors, io.BytesIO(), _use_new_zipfile_serialization=False)
    torch.save(tensors, tmp_path / "full.pt")
    assert os.path.getsize(tmp_path / "some.pt") == os.path.getsize(tmp_path / "full.pt")
    for file in (tmp_path / "some.pt", io.BytesIO(stream.getvalue())):
        loaded = torch.load(file)
        assert loaded["a"].shape == (300_000,)
        assert not loaded["a"].any()
        assert loaded["b"].tolist() == [0, 0, 0]
    with serialization.skip_data():
        assert torch.load(tmp_path / "full.pt")["b"].tolist() == [0, 0, 0]
    assert torch.load(tmp_path / "full.pt")["b"].tolist() == [0, 1, 2]


# ---- the format before ZIP -----------------------------------------------------------------------


def save_legacy(value):
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def test_the_format_before_zip(tmp_path):
    base = torch.arange(6.0).view(2, 3)
    value = {"base": base, "row": base[1], "half": torch.ones(2, dtype=torch.bfloat16), "n": [None]}
    torch.save(value, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert (tmp_path / "old.pt").read_bytes()[:2] == b"\x80\x02"
    loaded = torch.load(tmp_path / "old.pt")
    loaded["base"][1, 1] = 9
    assert loaded["row"].tolist() == [3, 9, 5]
    assert loaded["half"].dtype is torch.bfloat16
    with pytest.raises(RuntimeError, match="ZIP"):
        torch.load(tmp_path / "old.pt", mmap=True)


def test_old_files_with_views_of_storages():
    data = save_legacy(torch.arange(10))
    # The identity ends in None, where PyTorch before 0.4 wrote (key, offset, size) for a view.
    at = data.index(b"N", data.index(b"cpu"))

    def load(offset, size):
        view = b"(X\x01\x00\x00\x00v" + bytes([75, offset, 75, size]) + b"t"
        return torch.load(
            io.BytesIO((data[:at] + view + data[at + 1 :]).replace(b"K\x0a\x85", b"K\x03\x85"))
        )

    assert load(2, 3).tolist() == [2, 3, 4]
    with pytest.raises(CheckpointError, match="outside"):
        load(8, 3)
    with pytest.raises(CheckpointError, match="needs 24 bytes"):
        load(2, 2)


def test_a_map_of_locations_sees_filled_storages():
    seen = []

    def place(storage, name):
        seen.append((struct.unpack("<2q", storage.tobytes()), name))

    assert torch.load(io.BytesIO(save_legacy(torch.tensor([3, 4]))), place).tolist() == [3, 4]
    assert seen == [((3, 4), "cpu")]


def test_text_of_python_2():
    pickled = b"\x80\x02}U\x03key" + b"U\x02\xc3\xa9s."
    data = io.BytesIO()
    writer = serialization.ZipWriter(data, "archive")
    writer.write_record("data.pkl", pickled)
    writer.close()
    assert torch.load(io.BytesIO(data.getvalue())) == {"key": "é"}
    with pytest.warns(UserWarning, match="pickle_load_args"):
        loaded = torch.load(io.BytesIO(data.getvalue()), encoding="bytes")
    assert loaded == {b"key": b"\xc3\xa9"}
    unsafe = torch.load(io.BytesIO(data.getvalue()), weights_only=False, encoding="latin1")
    assert unsafe == {"key": "\xc3\xa9"}


# ---- picklers and permission ---------------------------------------------------------------------


class CountingPickler(pickle._Pickler):
    """A pickler of another module, as dill's is."""

    dumped = 0

    def dump(self, obj):
        CountingPickler.dumped += 1
        super().dump(obj)


def test_other_pickle_modules():
    module = types.SimpleNamespace(Pickler=CountingPickler)
    stream = io.BytesIO()
    torch.save([torch.ones(2), torch.float16], stream, pickle_module=module)
    loaded = torch.load(io.BytesIO(stream.getvalue()))
    assert loaded[0].tolist() == [1, 1]
    assert loaded[1] is torch.float16
    assert CountingPickler.dumped == 1
    module.Pickler = object
    with pytest.raises(ValueError, match="pickle_module"):
        torch.save(1, io.BytesIO(), pickle_module=module)


def test_old_dill_is_refused():
    dill = types.SimpleNamespace(__name__="dill", __version__="0.2.9", Pickler=pickle.Pickler)
    with pytest.raises(ValueError, match="dill"):
        torch.save(1, io.BytesIO(), pickle_module=dill)
    dill.__version__ = "odd"
    check = serialization.check_module_version_greater_or_equal
    with pytest.raises(RuntimeError, match="malformed"):
        check(dill, (0, 3))
    with pytest.warns(UserWarning, match="malformed"):
        assert check(dill, (0, 3), error_if_malformed=False)
    dill.__version__ = "0.10.1"
    assert check(dill, (0, 3, 1))


def test_the_environment_can_forbid_free_pickles(monkeypatch):
    assert copy_through_file(range(3), weights_only=False) == range(3)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match="range"):
        copy_through_file(range(3), weights_only=False)


def test_modules_of_the_system_stay_out_even_when_added():
    pickled = b"\x80\x02cos\ngetcwd\n)R."
    stream = io.BytesIO()
    writer = serialization.ZipWriter(stream, "archive")
    writer.write_record("data.pkl", pickled)
    writer.close()
    with (
        serialization.safe_globals([(os.getcwd, "os.getcwd")]),
        pytest.raises(CheckpointError, match=r"os\.getcwd"),
    ):
        torch.load(io.BytesIO(stream.getvalue()))


class Named:
    """Made by __new__ with a name, which NEWOBJ_EX carries."""

    def __new__(cls, *, name):
        made = super().__new__(cls)
        made.name = name
        return made

    def __getnewargs_ex__(self):
        return (), {"name": self.name}


def test_objects_made_with_keywords():
    stream = io.BytesIO()
    torch.save(Named(name="n"), stream, pickle_protocol=4)
    with serialization.safe_globals([Named]):
        assert torch.load(io.BytesIO(stream.getvalue())).name == "n"


@pytest.mark.parametrize(
    "module",
    [
        "flambeau.serialization",
        "flambeau.utils.serialization.config",
        *(f"flambeau._checkpoint.{name}" for name in ("errors", "location", "options")),
        "flambeau._checkpoint.safe_globals",
    ],
)
def test_examples(module, monkeypatch):
    monkeypatch.setattr(location, "_packages", list(location._packages))
    found = doctest.testmod(sys.modules.get(module) or __import__(module, fromlist=["x"]))
    assert found.failed == 0
    assert found.attempted > 0
