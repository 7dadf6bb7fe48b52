"""Checkpoints between Flambeau and PyTorch, both ways."""

import io
from collections import Counter, OrderedDict

import pytest

import flambeau

pytestmark = pytest.mark.parity
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    *("bool", "complex64", "complex128"),
]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["to flambeau", "to torch"])
def pair(request, torch):
    """(source, target) frameworks."""
    return (torch, flambeau) if request.param == "to flambeau" else (flambeau, torch)


def send(pair, value, save_options=(), **options):
    source, target = pair
    stream = io.BytesIO()
    source.save(value, stream, **dict(save_options))
    stream.seek(0)
    return target.load(stream, **options)


def send_with_protocol(pair, value, protocol):
    """PyTorch's own restricted unpickler reads protocol 2 only."""
    restricted = protocol == 2 or pair[1] is flambeau
    return send(pair, value, {"pickle_protocol": protocol}, weights_only=restricted)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_dtypes(pair, name, protocol):
    source, target = pair
    tensor = source.tensor([0, 1, 2, 100]).to(getattr(source, name))
    loaded = send_with_protocol(pair, tensor, protocol)
    assert loaded.dtype == getattr(target, name)
    assert loaded.tolist() == tensor.tolist()


def test_views_share_storage(pair):
    source, _ = pair
    base = source.arange(12).reshape(3, 4)
    views = [base, base.t(), base[1], base[:, 2], base[1:, 1:3], base]
    loaded = send(pair, views)
    assert loaded[0] is loaded[5]
    for mine, theirs in zip(views, loaded, strict=True):
        assert tuple(mine.stride()) == tuple(theirs.stride())
        assert mine.storage_offset() == theirs.storage_offset()
        assert mine.tolist() == theirs.tolist()
    loaded[0][1, 2] = 99
    assert [loaded[2][2], loaded[3][1], loaded[4][0, 1], loaded[1][2, 1]] == [99] * 4


def test_odd_tensors(pair):
    source, _ = pair
    tensors = [source.tensor(3.5), source.empty(0, 3), source.ones(1).expand(5), source.ones(2, 0)]
    for mine, theirs in zip(tensors, send(pair, tensors), strict=True):
        assert tuple(mine.shape) == tuple(theirs.shape)
        assert tuple(mine.stride()) == tuple(theirs.stride())
        assert mine.tolist() == theirs.tolist()


def test_parameters(pair):
    source, target = pair
    parameter = source.nn.Parameter(source.ones(3))
    frozen = source.nn.Parameter(source.ones(3), requires_grad=False)
    leaf = source.ones(3, requires_grad=True)
    loaded = send(pair, [parameter, frozen, leaf, parameter])
    assert loaded[0] is loaded[3]
    assert [type(part) is target.nn.Parameter for part in loaded] == [True, True, False, True]
    assert [part.requires_grad for part in loaded] == [True, False, True, True]


def test_attributes(pair):
    source, _ = pair
    tensor, parameter = source.ones(2), source.nn.Parameter(source.ones(2))
    tensor.note, parameter.note = {"x": [1]}, "p"
    first, second = send(pair, [tensor, parameter])
    assert first.note == {"x": [1]}
    assert second.note == "p"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers(pair, protocol):
    source, target = pair

    def make(framework):
        return {
            "plain": [1, 2.5, None, True, "é", b"\x00\xff", 1j, -(2**40), 2**70, ()],
            "ordered": OrderedDict(b=1, a=2),
            "counter": Counter("aab"),
            "size": framework.Size([2, 3]),
            "dtype": framework.bfloat16,
            "device": framework.device("cpu"),
            "set": {1, 2},
            (1, "key"): 3,
        }

    assert send_with_protocol(pair, make(source), protocol) == make(target)


def make_model(framework):
    nn = framework.nn
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))


def test_state_dicts_of_modules(pair):
    source, target = pair
    model, other = make_model(source), make_model(target)
    state = send(pair, model.state_dict())
    assert state._metadata == model.state_dict()._metadata
    other.load_state_dict(state)
    x = [[1.0, -2.0, 0.5]]
    expected = model(source.tensor(x)).tolist()[0]
    assert other(target.tensor(x)).tolist()[0] == pytest.approx(expected, rel=1e-5)


def test_files_and_mmap(pair, tmp_path):
    source, target = pair
    path = tmp_path / "checkpoint.pt"
    source.save({"a": source.arange(1000), "b": source.ones(3)}, path)
    for options in ({}, {"mmap": True}, {"weights_only": False}, {"map_location": "cpu"}):
        loaded = target.load(str(path), **options)
        assert loaded["a"].tolist() == list(range(1000))
        assert loaded["b"].tolist() == [1, 1, 1]


def test_the_format_before_zip(torch):
    base = torch.arange(6.0).reshape(2, 3)
    value = {"a": base, "row": base[1], "p": torch.nn.Parameter(torch.ones(2)), "n": [1, "x"]}
    loaded = send((torch, flambeau), value, {"_use_new_zipfile_serialization": False})
    assert loaded["a"].tolist() == base.tolist()
    assert type(loaded["p"]) is flambeau.nn.Parameter
    assert loaded["n"] == [1, "x"]
    loaded["a"][1, 0] = 50
    assert loaded["row"][0] == 50


def test_files_without_checksums(torch):
    torch.serialization.set_crc32_options(False)
    try:
        assert send((torch, flambeau), torch.ones(3)).tolist() == [1, 1, 1]
    finally:
        torch.serialization.set_crc32_options(True)


def test_cuda_files_need_a_map(torch):
    stream = io.BytesIO()
    torch.save(torch.ones(2), stream)
    # The location is text in the pickle: as long as "cpu", so that the archive stays whole.
    data = stream.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xpu")
    flambeau.serialization.set_crc32_options(False)
    try:
        with pytest.raises(RuntimeError, match="xpu"):
            flambeau.load(io.BytesIO(data))
        loaded = flambeau.load(io.BytesIO(data), map_location="cpu")
        assert loaded.tolist() == [1, 1]
        assert flambeau.load(io.BytesIO(data), map_location={"xpu": "cpu"}).tolist() == [1, 1]
    finally:
        flambeau.serialization.set_crc32_options(True)


def test_whole_modules_are_refused_like_pytorch_does(torch):
    stream = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), stream)
    names = flambeau.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(stream.getvalue()))
    assert names == torch.serialization.get_unsafe_globals_in_checkpoint(
        io.BytesIO(stream.getvalue())
    )
