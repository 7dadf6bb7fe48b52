"""CIFAR-10 and CIFAR-100 from archives in the real format."""

import pickle
import tarfile

import numpy as np
import pytest

import flambeau as torch
from flambeau.utils.data import DataLoader
from flambeau.vision import transforms
from flambeau.vision.datasets import CIFAR10, CIFAR100
from tests.vision.cifar_archive import (
    CLASSES,
    add_file,
    make_archive,
    make_batch,
    pickle_as_python2,
)

pytest.importorskip("PIL")


@pytest.fixture
def small_cifar(tmp_path):
    """A subclass of CIFAR10 that reads an archive of 20 images a batch."""
    return type("SmallCIFAR", (CIFAR10,), make_archive(tmp_path / "server"))


def test_the_helper_writes_what_python2_wrote():
    batch = make_batch(3, 0)
    read = pickle.loads(pickle_as_python2(batch), encoding="latin1")
    assert read["labels"] == batch["labels"]
    np.testing.assert_array_equal(read["data"], batch["data"])


def test_download_verifies_unpacks_and_reads(small_cifar, tmp_path, capsys):
    train = small_cifar(tmp_path / "data", train=True, download=True)
    test = small_cifar(str(tmp_path / "data"), train=False)
    assert (len(train), len(test)) == (100, 20)
    assert train.classes == CLASSES
    assert train.class_to_idx["frog"] == 6
    assert train.data.shape == (100, 32, 32, 3)
    assert "cifar-10-python.tar.gz" in capsys.readouterr().err  # the progress bar


def test_images_and_labels_are_those_of_the_batches(small_cifar, tmp_path):
    train = small_cifar(tmp_path, download=True)
    batch = make_batch(20, 1)
    image, label = train[25]
    planes = batch["data"][5].reshape(3, 32, 32)
    np.testing.assert_array_equal(np.asarray(image), planes.transpose(1, 2, 0))
    assert label == batch["labels"][5]
    assert image.mode == "RGB"


def test_transforms_and_a_loader_with_workers(small_cifar, tmp_path):
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
    )
    test = small_cifar(tmp_path, train=False, transform=transform, download=True)
    batches = list(DataLoader(test, batch_size=8, num_workers=2))
    assert [tuple(images.shape) for images, _ in batches] == [(8, 3, 32, 32)] * 2 + [(4, 3, 32, 32)]
    expected = (make_batch(20, 5)["data"].reshape(-1, 3, 32, 32) / 255 - 0.5) / 0.5
    found = torch.cat([images for images, _ in batches]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert torch.cat([labels for _, labels in batches]).tolist() == test.targets


def test_missing_data_says_how_to_get_them(small_cifar, tmp_path):
    with pytest.raises(RuntimeError, match=r"was not found.*download=True"):
        small_cifar(tmp_path)


def test_tampered_batch_is_refused(small_cifar, tmp_path):
    small_cifar(tmp_path, download=True)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match="data_batch_3 is corrupted"):
        small_cifar(tmp_path)


def test_tampered_download_is_refused(small_cifar, tmp_path):
    small_cifar.tgz_md5 = "0" * 32
    with pytest.raises(RuntimeError, match="MD5"):
        small_cifar(tmp_path / "data", download=True)
    assert list((tmp_path / "data").iterdir()) == []


def test_hostile_batch_is_refused_although_its_checksum_fits(small_cifar, tmp_path):
    small_cifar(tmp_path, download=True)
    marker = tmp_path / "executed"
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    small_cifar.test_list = [["test_batch", None]]
    with pytest.raises(pickle.UnpicklingError, match=r"refused to load os\.system"):
        small_cifar(tmp_path, train=False)
    assert not marker.exists()


def test_archive_that_would_write_outside_is_refused(small_cifar, tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        add_file(tar, "../outside", b"x")
    small_cifar.url, small_cifar.tgz_md5 = archive.as_uri(), None
    with pytest.raises(RuntimeError):
        small_cifar(tmp_path / "data", download=True)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": np.zeros((20, 100), np.uint8)}, "rows of 3072"),
        ({"labels": [1, 2]}, "expected 20 labels"),
        ({"data": "text"}, "rows of 3072"),
    ],
)
def test_batch_of_another_shape_is_refused(small_cifar, tmp_path, change, message):
    small_cifar(tmp_path, download=True)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle_as_python2(make_batch(20, 0) | change))
    small_cifar.test_list = [["test_batch", None]]
    with pytest.raises(RuntimeError, match=message):
        small_cifar(tmp_path, train=False)


def test_cifar100_reads_fine_labels(tmp_path):
    class Small(CIFAR100):
        train_list = [["train", None]]
        test_list = [["test", None]]
        meta = CIFAR100.meta | {"md5": None}

    folder = tmp_path / Small.base_folder
    folder.mkdir()
    batch = make_batch(5, 0)
    labels = [99, 0, 50, 7, 8]
    renamed = {"data": batch["data"], "fine_labels": labels, "coarse_labels": [0] * 5}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle_as_python2(renamed))
    names = [f"class {index}" for index in range(100)]
    (folder / "meta").write_bytes(pickle_as_python2({"fine_label_names": names}))
    data = Small(tmp_path)
    assert data.targets == labels
    assert data.classes[99] == "class 99"


def test_repr(small_cifar, tmp_path):
    data = small_cifar(tmp_path, download=True, transform=transforms.ToTensor())
    assert repr(data).splitlines() == [
        "Dataset SmallCIFAR",
        "    Number of datapoints: 100",
        f"    Root location: {tmp_path}",
        "    Split: Train",
        "    StandardTransform",
        "Transform: ToTensor()",
    ]
