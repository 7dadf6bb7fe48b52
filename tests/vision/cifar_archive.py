"""Makes archives in CIFAR's format: pickles as Python 2 wrote them, in a compressed tar file."""

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def pickle_as_python2(value) -> bytes:
    """Pickle dicts, lists, strings, ints and uint8 matrices with the opcodes of Python 2."""
    return b"\x80\x02" + _encode(value) + b"."


def _encode(value) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_encode(k) + _encode(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_encode, value)) + b"e"
    if isinstance(value, str):
        return _encode_bytes(value.encode("latin1"))
    if isinstance(value, bytes):
        return _encode_bytes(value)
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    return _encode_matrix(value)


def _encode_bytes(data: bytes) -> bytes:
    # BINSTRING: text and bytes were one type
    return b"T" + struct.pack("<i", len(data)) + data


def _encode_matrix(array: np.ndarray) -> bytes:
    assert array.dtype == np.uint8
    rows, columns = array.shape
    minus_one = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + minus_one * 2 + b"K\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + _encode(rows) + _encode(columns) + b"t"
    return start + b"(K\x01" + shape + dtype + b"\x89" + _encode_bytes(array.tobytes()) + b"tb"


def make_batch(count: int, seed: int, bright: bool = False) -> dict:
    """Make a batch of random images; `bright` makes an image's brightness tell its class."""
    random = np.random.default_rng(seed)
    labels = [int(label) for label in random.integers(0, 10, count)]
    data = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    if bright:
        levels = 12 + 25 * np.array(labels)[:, None]
        data = (levels + random.integers(-10, 10, data.shape)).astype(np.uint8)
    names = [f"image_{seed}_{index}.png" for index in range(count)]
    return {"data": data, "labels": labels, "batch_label": f"batch {seed}", "filenames": names}


def make_archive(folder: Path, count: int = 20, bright: bool = False) -> dict:
    """Write the archive of a small CIFAR-10; give the attributes of a class that reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data_batch_{index}" for index in range(1, 6)] + ["test_batch"]
    files = {
        name: pickle_as_python2(make_batch(count, seed, bright)) for seed, name in enumerate(names)
    }
    files["batches.meta"] = pickle_as_python2({"label_names": CLASSES, "num_vis": 3072})
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in files.items():
            add_file(tar, f"cifar-10-batches-py/{name}", data)
    return describe_archive(archive, files)


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file of that name and content to an open tar archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def describe_archive(archive: Path, files: dict[str, bytes]) -> dict:
    """Give url and checksums in the form in which the class has them."""
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    return {
        "url": archive.as_uri(),
        "tgz_md5": hashlib.md5(archive.read_bytes()).hexdigest(),
        "train_list": [[name, sums[name]] for name in files if name.startswith("data_batch")],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": {
            "filename": "batches.meta",
            "key": "label_names",
            "md5": sums["batches.meta"],
        },
    }


if __name__ == "__main__":
    print(pickle.loads(pickle_as_python2(make_batch(2, 0)), encoding="latin1"))
