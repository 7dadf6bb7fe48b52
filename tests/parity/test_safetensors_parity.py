"""Safetensors files between Flambeau and the safetensors package, both ways."""

import json
import struct

import pytest

import flambeau
from flambeau import safetensors as ours

pytestmark = pytest.mark.parity
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    *("bool", "complex64", "uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"),
]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def theirs(torch):
    return pytest.importorskip("safetensors.torch")


def make_tensors(framework):
    numbers = [0, 1, 2, 3, 100, 7]
    tensors = {n: framework.tensor(numbers).to(getattr(framework, n)) for n in DTYPES}
    tensors["matrix.é"] = framework.arange(6.0).reshape(2, 3)
    tensors["scalar"] = framework.tensor(1.5)
    tensors["empty"] = framework.ones(2, 0)
    return tensors


def assert_same(found, framework, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert str(found[name].dtype) == str(tensor.dtype)
        assert tuple(found[name].shape) == tuple(tensor.shape)
        assert found[name].tolist() == tensor.tolist()
        assert isinstance(found[name], framework.Tensor)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"a\n": 'é\u2028\x7f\x01"\\/'}])
def test_the_bytes_are_the_same(torch, theirs, metadata):
    assert ours.save(make_tensors(flambeau), metadata) == theirs.save(make_tensors(torch), metadata)


def test_both_read_the_other(torch, theirs, tmp_path):
    path = tmp_path / "x.safetensors"
    theirs.save_file(make_tensors(torch), path)
    for backend in ("mmap", "pread"):
        assert_same(ours.load_file(path, backend=backend), flambeau, make_tensors(torch))
    ours.save_file(make_tensors(flambeau), path, {"by": "ours"})
    assert_same(theirs.load_file(path), torch, make_tensors(flambeau))
    assert_same(flambeau.load(path), flambeau, make_tensors(torch))
    with pytest.importorskip("safetensors").safe_open(path, "pt") as file:
        assert file.metadata() == {"by": "ours"}
        expected = (file.keys(), file.offset_keys())
    with ours.safe_open(path, "pt") as file:
        assert (file.keys(), file.offset_keys()) == expected


INDICES = [
    *(slice(None), slice(1, 3), slice(0, 0), slice(-2, None), 1, -1, ...),
    *((slice(1, 3), 1), (slice(None), slice(None), slice(1, 3)), (..., 2)),
    *((2, slice(0, 1), 3), (1, 1, 1), (slice(0, 4, 2),)),
]


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_slices(torch, theirs, tmp_path, backend):
    path = tmp_path / "x.safetensors"
    theirs.save_file({"x": torch.arange(40).reshape(5, 2, 4)}, path)
    package = pytest.importorskip("safetensors")
    with package.safe_open(path, "pt") as file, ours.safe_open(path, "pt", backend=backend) as mine:
        expected, found = file.get_slice("x"), mine.get_slice("x")
        assert found.get_shape() == expected.get_shape()
        assert found.get_dtype() == expected.get_dtype()
        for index in INDICES:
            assert found[index].tolist() == expected[index].tolist(), index


def test_models_with_shared_tensors(torch, theirs, tmp_path):
    def make(framework):
        model = framework.nn.Sequential(framework.nn.Linear(3, 3), framework.nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    path = str(tmp_path / "x.safetensors")
    source = make(torch)
    theirs.save_model(source, path)
    model = make(flambeau)
    assert ours.load_model(model, path) == (set(), [])
    assert model[1].weight.tolist() == source[1].weight.tolist()
    ours.save_model(model, path)
    missing, unexpected = theirs.load_model(make(torch), path)
    assert (len(missing), len(unexpected)) == (0, 0)


def build(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def place(dtype="U8", shape=(4,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


DAMAGED = {
    "nothing": b"",
    "short": b"\x10\0\0",
    "length outside": struct.pack("<Q", 1000) + b"{}",
    "huge length": struct.pack("<Q", 2**63) + b"{}",
    "no object": build(b"[]", b""),
    "broken": build(b'{"a"', b""),
    "text": build(b'{"a": "\xff"}', b""),
    "gap": build({"a": place(), "b": place(offsets=(5, 9))}, bytes(9)),
    "overlap": build({"a": place(), "b": place(offsets=(2, 6))}, bytes(6)),
    "backwards": build({"a": place(offsets=(4, 0))}, bytes(4)),
    "not from zero": build({"a": place(offsets=(1, 5))}, bytes(5)),
    "too long": build({"a": place()}, bytes(5)),
    "too short": build({"a": place()}, bytes(3)),
    "another size": build({"a": place("F32")}, bytes(4)),
    "overflow": build({"a": place(shape=(2**62, 2**62))}, bytes(4)),
    "negative": build({"a": place(shape=(-4,))}, bytes(4)),
    "unknown dtype": build({"a": place("F99")}, bytes(4)),
    "metadata": build({"__metadata__": {"a": 1}, "b": place()}, bytes(4)),
    "half a byte": build({"a": place("F4", (3,), (0, 2))}, bytes(2)),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_both_refuse_the_same_files(theirs, name):
    with pytest.raises(pytest.importorskip("safetensors").SafetensorError):
        theirs.load(DAMAGED[name])
    with pytest.raises(ours.SafetensorError):
        ours.load(DAMAGED[name])
