"""MNIST's family, folders of images, random images and the digits that Flambeau carries."""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import datasets, transforms
from flambeau.vision._lazy import require_pillow
from flambeau.vision.datasets.mnist import read_idx

Image = pytest.importorskip("PIL.Image")


def idx_file(array: np.ndarray) -> bytes:
    kinds = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
    head = bytes([0, 0, kinds[str(array.dtype)], array.ndim])
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return head + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def small_mnist(tmp_path):
    """A subclass of MNIST whose mirror is a folder, and its arrays."""
    random = np.random.default_rng(0)
    server = tmp_path / "server"
    server.mkdir()
    arrays, resources = {}, []
    for split, count in (("train", 12), ("t10k", 5)):
        arrays[split] = (
            random.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            random.integers(0, 10, count, dtype=np.uint8),
        )
        for array, kind in zip(arrays[split], ("images-idx3", "labels-idx1"), strict=True):
            name = f"{split}-{kind}-ubyte.gz"
            data = gzip.compress(idx_file(array))
            (server / name).write_bytes(data)
            resources.append((name, hashlib.md5(data).hexdigest()))
    missing = (tmp_path / "missing").as_uri() + "/"
    attributes = {"mirrors": [missing, server.as_uri() + "/"], "resources": resources}
    return type("SmallMNIST", (datasets.MNIST,), attributes), arrays


def test_mnist_downloads_from_the_mirror_that_answers(small_mnist, tmp_path):
    kind, arrays = small_mnist
    train = kind(tmp_path, download=True)
    test = kind(tmp_path, train=False, transform=transforms.ToTensor())
    np.testing.assert_array_equal(train.data.numpy(), arrays["train"][0])
    assert train.targets.dtype == torch.int64
    assert train.targets.tolist() == arrays["train"][1].tolist()
    image, label = test[3]
    np.testing.assert_allclose(image[0].numpy(), arrays["t10k"][0][3] / 255, atol=1e-7)
    assert label == arrays["t10k"][1][3]
    assert train[0][0].mode == "L"


def test_mnist_errors(small_mnist, tmp_path):
    kind, _ = small_mnist
    with pytest.raises(RuntimeError, match="download=True"):
        kind(tmp_path)
    kind.mirrors = kind.mirrors[:1]
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        kind(tmp_path, download=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_read_idx(dtype, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx_file(array))
    result = read_idx(tmp_path / "a")
    assert str(result.dtype).endswith(dtype)
    np.testing.assert_array_equal(result.numpy(), array)


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x08", b"\0\0\x07\1", b"\0\0\x08\2\0\0\0\1", b"GIF89a"]
)
def test_read_idx_refuses_other_files(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RuntimeError, match=r"not an IDX file|truncated"):
        read_idx(tmp_path / "a")


def test_read_idx_refuses_a_truncated_file(tmp_path):
    (tmp_path / "a").write_bytes(idx_file(np.zeros((4, 4), np.uint8))[:-1])
    with pytest.raises(RuntimeError, match="truncated"):
        read_idx(tmp_path / "a")


@pytest.fixture
def image_tree(tmp_path):
    for name, color in (("cat", (255, 0, 0)), ("dog", (0, 255, 0))):
        folder = tmp_path / name / "deeper"
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 3), color).save(tmp_path / name / "b.PNG")
        Image.new("L", (4, 3), 7).save(folder / "a.png")
        (folder / "notes.txt").write_text("not an image")
    return tmp_path


def test_image_folder(image_tree):
    data = datasets.ImageFolder(image_tree, transform=transforms.ToTensor())
    assert data.classes == ["cat", "dog"]
    assert data.targets == [0, 0, 1, 1]
    assert [Path(path).name for path, _ in data.imgs] == ["b.PNG", "a.png"] * 2
    image, target = data[2]
    assert image[:, 0, 0].tolist() == [0.0, 1.0, 0.0]
    assert target == 1
    assert data[1][0].shape == (3, 3, 4)  # grey became RGB


def test_image_folder_without_classes_or_files(image_tree, tmp_path):
    (image_tree / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="class empty"):
        datasets.ImageFolder(image_tree)
    data = datasets.ImageFolder(image_tree, allow_empty=True)
    assert data.classes == ["cat", "dog", "empty"]
    with pytest.raises(FileNotFoundError, match="class folder"):
        datasets.ImageFolder(image_tree / "empty")


def test_dataset_folder_with_a_loader_and_a_filter(image_tree):
    data = datasets.DatasetFolder(
        image_tree, lambda path: Path(path).read_text(), is_valid_file=lambda p: p.endswith(".txt")
    )
    assert data[0] == ("not an image", 0)
    with pytest.raises(ValueError, match="is_valid_file"):
        datasets.DatasetFolder(image_tree, open)


def test_fake_data_is_the_same_every_time_and_leaves_the_generator():
    data = datasets.FakeData(size=5, image_size=(3, 6, 4), transform=transforms.PILToTensor())
    state = torch.get_rng_state()
    first, again = data[3], data[3]
    assert bool((first[0] == again[0]).all())
    assert first[1] == again[1]
    assert first[0].shape == (3, 6, 4)
    assert bool((torch.get_rng_state() == state).all())
    with pytest.raises(IndexError):
        data[5]


def test_digits_are_all_there_once():
    train, test = datasets.Digits(train=True), datasets.Digits(train=False)
    assert (len(train), len(test)) == (1438, 359)
    assert sorted(train.indices.tolist() + test.indices.tolist()) == list(range(1797))
    counts = torch.cat([train.targets, test.targets]).bincount().tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(train.data.max()) == 255
    assert int(train.data.min()) == 0


def test_digits_split_depends_on_the_seed_alone():
    torch.manual_seed(1)
    first = datasets.Digits(train=False).indices
    torch.manual_seed(2)
    assert datasets.Digits(train=False).indices.tolist() == first.tolist()
    assert datasets.Digits(train=False, seed=1).indices.tolist() != first.tolist()


def test_first_digit_is_the_zero_of_the_file():
    every = datasets.Digits(train=True, test_fraction=0.0)
    place = every.indices.tolist().index(0)
    row = [0, 0, 5, 13, 9, 1, 0, 0]
    assert every.data[place][0].tolist() == [(16 * 255 * v // 16 + 8) // 16 for v in row]
    assert every[place][1] == 0


def test_digits_file_is_the_one_described():
    folder = Path(sys.modules["flambeau.vision"].__file__).parent / "data"
    packed = (folder / "optdigits.csv.gz").read_bytes()
    text = (folder / "README.md").read_text()
    assert len(packed) < 100_000
    assert hashlib.sha256(packed).hexdigest() in text
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() in text
    assert "CC BY 4.0" in text


def test_both_kinds_of_transforms_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        datasets.VisionDataset("x", transforms=lambda a, b: (a, b), transform=lambda a: a)


def test_missing_pillow_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image")
    with pytest.raises(ModuleNotFoundError, match="pip install pillow"):
        require_pillow()
