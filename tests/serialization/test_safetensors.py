"""Safetensors files within Flambeau: whole, in parts, in several files, and damaged ones."""

import doctest
import gc
import importlib
import json
import os
import struct
import subprocess
import sys

import pytest

import flambeau as torch
from flambeau import nn, safetensors
from flambeau.safetensors import (
    SafetensorError,
    load,
    load_file,
    load_model,
    load_sharded,
    safe_open,
    save,
    save_file,
    save_model,
    save_sharded,
)

DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    *("bool", "complex64", "uint16", "uint32", "uint64"),
]
BACKENDS = ["mmap", "pread"]


def make_tensors():
    """A tensor of every dtype, of several shapes."""
    tensors = {}
    for i, name in enumerate(DTYPES):
        dtype = getattr(torch, name)
        tensors[f"{name}.vector"] = torch.arange(i + 3).to(dtype)
        tensors[f"{name}.matrix"] = torch.arange(6).to(dtype).view(2, 3)
    return {
        **tensors,
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0),
        "zero": torch.ones(3, 0),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype is tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(make_tensors(), path, {"format": "pt", "é": "ü"})
    return path


# ---- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_keep_every_dtype(path, backend):
    assert_same(load_file(path, backend=backend), make_tensors())


def test_bytes_and_files_are_the_same(path):
    data = save(make_tensors(), {"format": "pt", "é": "ü"})
    assert data == path.read_bytes()
    assert_same(load(data), make_tensors())
    assert len(save({})) % 8 == 0
    assert load(save({})) == {}


def test_load_reads_safetensors_files(path):
    assert_same(torch.load(path), make_tensors())
    assert_same(torch.load(path, map_location=torch.device("cpu")), make_tensors())
    with pytest.raises(RuntimeError, match="map_location"):
        torch.load(path, map_location={"cpu": "cpu"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_outlive_the_file_and_can_be_changed(path, backend):
    before = path.read_bytes()
    tensors = load_file(path, backend=backend)
    gc.collect()
    tensors["float32.matrix"][1, 2] = 100
    tensors["int8.vector"].zero_()
    assert tensors["float32.matrix"].sum() == 110
    assert path.read_bytes() == before


def test_tensors_that_are_not_aligned_are_copied():
    header = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
    }
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + b"\1\2\3" + struct.pack("<2f", 1.5, -2)
    found = load(data)
    assert found["b"].tolist() == [1.5, -2]
    assert found["b"].data_ptr() % 4 == 0


# ---- parts of files ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_opening_reads_names_first(path, backend):
    with safe_open(path, framework="pt", device="cpu", backend=backend) as file:
        assert file.keys() == sorted(make_tensors())
        assert set(file.offset_keys()) == set(make_tensors())
        assert file.metadata() == {"format": "pt", "é": "ü"}
        assert_same(file.get_tensors(), make_tensors())
        assert torch.equal(file.get_tensor("int16.matrix"), make_tensors()["int16.matrix"])
        with pytest.raises(SafetensorError, match="no-such"):
            file.get_tensor("no-such")
    with pytest.raises(SafetensorError, match="closed"):
        file.keys()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_slices_are_those_of_the_tensor(tmp_path, backend, name):
    tensor = torch.arange(2 * 5 * 4).to(getattr(torch, name)).view(5, 2, 4)
    save_file({"first": torch.ones(3), "x": tensor, "s": torch.tensor(4)}, tmp_path / "x")
    with safe_open(tmp_path / "x", "pt", backend=backend) as file:
        part = file.get_slice("x")
        assert part.get_shape() == [5, 2, 4]
        for index in (
            *(slice(None), slice(1, 3), slice(4, 2), slice(-2, None), slice(0, 5, 2), slice(9, 12)),
            *(2, -1, ..., (), (slice(1, 4), 1), (slice(None), slice(None), slice(1, 3))),
            *((..., 2), (slice(3, 5), ..., slice(0, 4, 2)), (slice(2, 3), 0, 0), (1, 1, 1)),
        ):
            found = part[index]
            assert torch.equal(found, tensor[index]), index
            assert found.is_contiguous()
        assert file.get_slice("s")[...] == 4
        assert file.get_slice("first").get_dtype() == "F32"
        with pytest.raises(IndexError):
            part[7]


def test_pread_reads_only_the_rows_that_are_wanted(tmp_path, monkeypatch):
    save_file({"x": torch.arange(1000).view(100, 10)}, tmp_path / "x")
    with safe_open(tmp_path / "x", "pt", backend="pread") as file:
        sizes, source = [], type(file._source)
        copy = source._copy

        def count(self, target, start):
            sizes.append(target.nbytes)
            copy(self, target, start)

        monkeypatch.setattr(source, "_copy", count)
        assert file.get_slice("x")[20:22, 3].tolist() == [203, 213]
    assert sizes == [2 * 10 * 8]


def test_arrays(path):
    from flambeau.safetensors import numpy as arrays

    with safe_open(path, "numpy") as file:
        assert file.get_tensor("float32.matrix").tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(SafetensorError, match="bfloat16"):
            file.get_tensor("bfloat16.matrix")
    import numpy

    values = {"a": numpy.arange(6).reshape(2, 3).T, "b": numpy.float32(2)}
    found = arrays.load(arrays.save(values))
    assert found["a"].tolist() == values["a"].tolist()
    assert found["b"].shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"framework": "tf"}, "framework"), ({"framework": "pt", "backend": "x"}, "backend")],
)
def test_wrong_options(path, options, message):
    with pytest.raises(SafetensorError, match=message):
        safe_open(path, **options)


def test_dtypes_that_are_absent_are_refused_alone():
    header = {
        "a": {"dtype": "F6_E2M3", "shape": [16], "data_offsets": [0, 12]},
        "b": {"dtype": "F4", "shape": [2, 4], "data_offsets": [12, 16]},
        "c": {"dtype": "I32", "shape": [1], "data_offsets": [16, 20]},
    }
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(16) + b"\7\0\0\0"
    with pytest.raises(SafetensorError, match="F6_E2M3"):
        load(data)
    source = safetensors.reading.open_bytes(data)
    assert source.read("c").tolist() == [7]


# ---- what cannot be saved ------------------------------------------------------------------------


def test_what_cannot_be_saved(tmp_path):
    base = torch.arange(6.0).view(2, 3)
    path = tmp_path / "x.safetensors"
    for tensors, error, message in (
        ([base], ValueError, "dict"),
        ({"a": 3}, ValueError, "expected torch.Tensor"),
        ({"a": base.t()}, ValueError, "contiguous"),
        ({"a": base.to(torch.complex128)}, ValueError, "complex128"),
        ({3: base}, (ValueError, TypeError), "name|str"),
        ({"__metadata__": base}, ValueError, "name"),
        ({"a": base, "b": base}, RuntimeError, r"\['a', 'b'\]"),
        ({"a": base, "b": base[1]}, RuntimeError, "share memory"),
    ):
        with pytest.raises(error, match=message):
            save_file(tensors, path)
    with pytest.raises(ValueError, match="texts"):
        save_file({"a": base}, path, {"epoch": 3})
    assert os.listdir(tmp_path) == []
    save_file({"a": base[0], "b": base[1]}, path)  # parts that do not overlap
    assert load_file(path)["b"].tolist() == [3, 4, 5]


# ---- models --------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)


def test_models_with_shared_tensors(tmp_path):
    torch.manual_seed(1)
    model, path = Tied(), tmp_path / "tied.safetensors"
    save_model(model, str(path), {"by": "test"})
    with safe_open(path, "pt") as file:
        assert "head.weight" not in file.keys()  # noqa: SIM118
        assert file.metadata() == {"by": "test", "head.weight": "embed.weight"}
    other = Tied()
    assert load_model(other, path) == (set(), [])
    for (name, mine), theirs in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    assert other.head.weight is other.embed.weight


def test_models_that_do_not_match(tmp_path):
    save_model(nn.Linear(3, 2), str(tmp_path / "x"))
    other = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.bias"):
        load_model(other, tmp_path / "x")
    missing, unexpected = load_model(other, tmp_path / "x", strict=False)
    assert missing == {"0.weight", "0.bias"}
    assert sorted(unexpected) == ["bias", "weight"]


# ---- several files -------------------------------------------------------------------------------


def make_layers(count=6, size=100):
    return {f"layer{i}": torch.full((size,), float(i)) for i in range(count)}


def test_sharded_models(tmp_path):
    names = save_sharded(make_layers(), tmp_path, max_shard_size="1KB", metadata={"format": "pt"})
    assert names == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 2400}
    assert index["weight_map"]["layer3"] == names[1]
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "model.safetensors.index.json"])
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert_same(load_sharded(path), make_layers())
    assert_same(load_sharded(tmp_path, backend="pread"), make_layers())


def test_fewer_files_take_the_place_of_more(tmp_path):
    save_sharded(make_layers(), tmp_path, max_shard_size=400)
    (tmp_path / "model-notes.txt").write_text("mine")
    assert len(os.listdir(tmp_path)) == 8
    save_sharded(make_layers(2), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["model-notes.txt", "model.safetensors"]
    assert_same(load_sharded(tmp_path), make_layers(2))


def test_a_failed_sharded_save_leaves_the_old_files(tmp_path):
    save_sharded(make_layers(), tmp_path, max_shard_size="1KB")
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(ValueError, match="contiguous"):
        save_sharded({**make_layers(9), "bad": torch.ones(3, 3).t()}, tmp_path, "1KB")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    tensor = torch.ones(4)
    with pytest.raises(RuntimeError, match="share"):
        save_sharded({"a": tensor, "b": tensor}, tmp_path, 16)


@pytest.mark.parametrize("size", ["0", "-3", "5 apples", "1.5GB", ""])
def test_sizes_of_shards(tmp_path, size):
    with pytest.raises(ValueError, match="max_shard_size"):
        save_sharded({"a": torch.ones(2)}, tmp_path, size)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff{}",
        b'{"weight_map": []}',
        b'{"weight_map": {"a": 3}}',
        b'{"weight_map": {"a": "../secret.safetensors"}}',
        b'{"weight_map": {"a": "/etc/x.safetensors"}}',
        b'{"weight_map": {"a": "c:x.safetensors"}}',
        b'{"weight_map": {"a": "weights.pt"}}',
        b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
        b'{"weight_map": {"layer9": "model-00001-of-00003.safetensors"}}',
        b"[" * 100_000,
    ],
)
def test_damaged_indices(tmp_path, content):
    save_sharded(make_layers(), tmp_path, max_shard_size="1KB")
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(SafetensorError):
        load_sharded(tmp_path)


# ---- scripts -------------------------------------------------------------------------------------

SCRIPT = """
import safetensors
from safetensors import safe_open
from safetensors.numpy import load as load_arrays
from safetensors.torch import load_file, load_model, save, save_file, save_model
import torch

save_file({"a": torch.ones(2)}, "a.safetensors")
assert type(load_file("a.safetensors")["a"]) is torch.Tensor
assert load_arrays(save({"a": torch.ones(2)}))["a"].tolist() == [1, 1]
with safe_open("a.safetensors", framework="pt") as file:
    print(file.keys(), torch.__name__, safetensors.__name__, safetensors.__version__[0])
"""


def test_scripts_that_import_the_package(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "flambeau.cli", "run", "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['a'] flambeau flambeau.safetensors 0\n", done.stderr


@pytest.mark.parametrize("name", ["", ".torch", ".numpy", ".reading", ".sharded"])
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"flambeau.safetensors{name}"))
    assert found.failed == 0
    assert found.attempted > 0
