"""Both formats of checkpoints between Flambeau and PyTorch, both ways, with all they may hold."""

import io
import sys
import types
import warnings
from collections import OrderedDict

import pytest

import flambeau

pytestmark = pytest.mark.parity
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    *("bool", "complex64", "complex128", "uint16", "uint32", "uint64"),
]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["to flambeau", "to torch", "to itself"])
def pair(request, torch):
    """(source, target) frameworks."""
    pairs = {"to flambeau": (torch, flambeau), "to torch": (flambeau, torch)}
    return pairs.get(request.param, (flambeau, flambeau))


@pytest.fixture(params=["zip", "legacy"])
def send(request, pair):
    """A function that saves by one framework and loads by the other, in one of the formats."""
    source, target = pair

    def send(value, **options):
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, of typed storages
            source.save(value, stream, _use_new_zipfile_serialization=request.param == "zip")
            stream.seek(0)
            return target.load(stream, **options)

    send.legacy = request.param == "legacy"
    return send


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(pair, send, name):
    source, target = pair
    if send.legacy and target.__name__ == "torch" and name in ("uint16", "uint32", "uint64"):
        pytest.skip("PyTorch does not read them back in its own old format")
    tensors = [
        source.tensor([0, 1, 2, 100]).to(getattr(source, name)),
        source.zeros(2, 3).to(getattr(source, name)).t(),
    ]
    for mine, theirs in zip(tensors, send(tensors), strict=True):
        assert theirs.dtype is getattr(target, name)
        assert theirs.tolist() == mine.tolist()
        assert tuple(theirs.stride()) == tuple(mine.stride())


def test_views_sharing_and_odd_shapes(pair, send):
    source, _ = pair
    base = source.arange(24.0).reshape(4, 6)
    tensors = [
        *(base, base.t(), base[1:3, ::2], base[2], base[:, 3], base[3, 5], base[0:0]),
        *(source.tensor(2.5), source.empty(0), source.empty(3, 0, 2), source.ones(1).expand(5)),
    ]
    loaded = send({"all": tensors, "again": base})
    for mine, theirs in zip(tensors, loaded["all"], strict=True):
        assert tuple(theirs.shape) == tuple(mine.shape)
        assert tuple(theirs.stride()) == tuple(mine.stride())
        assert theirs.storage_offset() == mine.storage_offset()
        assert theirs.tolist() == mine.tolist()
    assert loaded["again"] is loaded["all"][0]
    loaded["again"][2, 4] = -1
    assert loaded["all"][1][4, 2] == loaded["all"][2][1, 2] == loaded["all"][3][4] == -1


def test_conjugates(pair, send):
    source, _ = pair
    number = source.tensor([1 + 2j, 3 - 1j])
    loaded = send([number.conj(), number])
    assert loaded[0].tolist() == [1 - 2j, 3 + 1j]
    assert loaded[1].tolist() == [1 + 2j, 3 - 1j]
    assert send(number.conj().imag).tolist() == [-2, 1]


def test_parameters_buffers_and_attributes(pair, send):
    source, target = pair
    weight = source.nn.Parameter(source.ones(2))
    weight.tag = ["t", 1]
    buffer = source.nn.Buffer(source.zeros(2), persistent=False)
    loaded = send(OrderedDict(w=weight, b=buffer, leaf=source.ones(2, requires_grad=True)))
    assert type(loaded) is OrderedDict
    assert type(loaded["w"]) is target.nn.Parameter
    assert loaded["w"].tag == ["t", 1]
    assert isinstance(loaded["b"], target.nn.Buffer)
    assert loaded["b"].persistent is False
    assert loaded["leaf"].requires_grad
    assert not isinstance(loaded["leaf"], target.nn.Parameter)


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_storages(pair, send):
    source, target = pair
    tensor = source.arange(4.0)
    values = [tensor, tensor.storage()]
    loaded = send(values)
    assert isinstance(loaded[1], target.storage.TypedStorage)
    assert list(loaded[1]) == [0, 1, 2, 3]
    loaded[0][1] = 7
    assert loaded[1][1] == 7


def test_layouts_sizes_dtypes_devices(pair, send):
    source, target = pair
    value = {"size": (2, 3), "dtype": "bool", "layout": "strided"}
    loaded = send(
        {
            "size": source.Size([2, 3]),
            "dtype": source.bool,
            "layout": source.strided,
            "device": source.device("cpu"),
            "nested": [({"x": [1, (2.5, None)]}, "é", b"\0\xff", -(2**70))],
        }
    )
    assert loaded["size"] == target.Size(value["size"])
    assert type(loaded["size"]) is target.Size
    assert loaded["dtype"] is target.bool
    assert loaded["layout"] is target.strided
    assert loaded["device"] == target.device("cpu")
    assert loaded["nested"] == [({"x": [1, (2.5, None)]}, "é", b"\0\xff", -(2**70))]


def test_subclasses_of_tensors(pair, send, monkeypatch):
    source, target = pair
    home = types.ModuleType("home_of_tensors")
    monkeypatch.setitem(sys.modules, "home_of_tensors", home)

    class Tagged(source.Tensor):
        pass

    Tagged.__module__, Tagged.__qualname__ = "home_of_tensors", "Tagged"
    home.Tagged = Tagged
    tensor = source.arange(3).as_subclass(Tagged)
    tensor.tag = "here"
    if source is target:
        kind = Tagged
    else:
        kind = type("Tagged", (target.Tensor,), {"__module__": "home_of_tensors"})
    with pytest.raises(flambeau.serialization.CheckpointError if target is flambeau else Exception):
        send(tensor)
    with target.serialization.safe_globals([(kind, "home_of_tensors.Tagged")]):
        loaded = send(tensor)
    assert type(loaded) is kind
    assert loaded.tolist() == [0, 1, 2]
    assert loaded.tag == "here"


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
def test_states_of_optimizers(pair, send, name):
    source, target = pair

    def make(framework):
        framework.manual_seed(0)
        model = framework.nn.Linear(3, 2)
        options = {"momentum": 0.9} if name == "SGD" else {}
        return model, getattr(framework.optim, name)(model.parameters(), lr=0.05, **options)

    def step(framework, model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = (model(framework.tensor([[1.0, 2.0, 3.0]])) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    model, optimizer = make(source)
    for _ in range(2):
        step(source, model, optimizer)
    state = send({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    other, other_optimizer = make(target)
    other.load_state_dict(state["model"])
    other_optimizer.load_state_dict(state["optimizer"])
    step(source, model, optimizer)
    step(target, other, other_optimizer)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        expected = pytest.approx(mine.reshape(-1).tolist(), rel=1e-4, abs=1e-6)
        assert theirs.reshape(-1).tolist() == expected


def test_whole_modules(pair, send):
    source, target = pair
    nn = source.nn
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()).eval()
    x = source.arange(25.0).reshape(1, 1, 5, 5)
    loaded = send(model, weights_only=False)
    assert type(loaded[0]) is target.nn.Conv2d
    expected = pytest.approx(model(x).tolist()[0], rel=1e-4)
    assert loaded(target.arange(25.0).reshape(1, 1, 5, 5)).tolist()[0] == expected


def test_files_without_values(pair, tmp_path):
    source, target = pair
    path = tmp_path / "empty.pt"
    tensors = {"a": source.ones(1000), "b": source.ones(3, dtype=source.int8)}
    with source.serialization.skip_data():
        source.save(tensors, path)
    loaded = target.load(path)
    assert loaded["a"].tolist() == [0] * 1000
    assert loaded["b"].tolist() == [0] * 3


@pytest.mark.parametrize("alignment", [64, 4096])
def test_files_without_checksums_and_other_alignments(pair, tmp_path, alignment):
    source, target = pair
    config = source.utils.serialization.config
    path = tmp_path / "plain.pt"
    before = config.save.storage_alignment
    config.save.storage_alignment = alignment
    source.serialization.set_crc32_options(False)
    try:
        source.save([source.arange(5), source.ones(7)], path)
    finally:
        source.serialization.set_crc32_options(True)
        config.save.storage_alignment = before
    for mapped in (False, True):
        assert [t.tolist() for t in target.load(path, mmap=mapped)] == [[0, 1, 2, 3, 4], [1] * 7]


def test_sparse_tensors_and_tensors_without_data(pair, send):
    source, target = pair
    sparse = source.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
    empty = source.empty((2, 3), dtype=source.float16, device="meta")
    found = send([sparse, empty])
    assert found[0].layout is target.sparse_coo
    assert found[0].to_dense().tolist() == [[0, 2], [3, 0]]
    assert found[1].device.type == "meta"
    assert (tuple(found[1].shape), found[1].dtype) == ((2, 3), target.float16)


def test_quantised_tensors_are_refused_by_name(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    stream = io.BytesIO()
    torch.save(quantised, stream)
    with pytest.raises(flambeau.serialization.CheckpointError, match="dequantize"):
        flambeau.load(io.BytesIO(stream.getvalue()))


def test_the_same_names_are_unsafe(torch):
    stream = io.BytesIO()
    torch.save([torch.nn.LSTM(2, 2), range(3)], stream)
    mine, theirs = (
        set(framework.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(stream.getvalue())))
        for framework in (flambeau, torch)
    )
    assert mine == theirs
    assert "builtins.range" in mine
