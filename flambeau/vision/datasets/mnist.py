"""MNIST and the sets that share its format: 28x28 grey images in ten classes, in IDX files.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998; H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017; T. Clanuwat et al.,
"Deep Learning for Classical Japanese Literature" (KMNIST), 2018.
"""

from __future__ import annotations

import os
import struct
from typing import Any
from urllib.error import URLError

import flambeau as torch
from flambeau.vision._lazy import require_numpy, require_pillow
from flambeau.vision.datasets.utils import check_integrity, download_and_extract_archive
from flambeau.vision.datasets.vision import Transform, VisionDataset

# Third byte of an IDX file -> NumPy type code; numbers are stored with the high byte first.
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read an IDX file: a tensor of the shape and dtype that its header states.

    Header: two zero bytes, a type code, the number of dimensions, then each size as a 32-bit
    integer, high byte first. Raises RuntimeError for another kind of file or a truncated one.
    """
    np = require_numpy()
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise RuntimeError(f"{os.fspath(path)} is not an IDX file")
    dtype, rank = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise RuntimeError(f"{os.fspath(path)} is truncated")
    shape = struct.unpack(f">{rank}I", data[4:start])
    if len(data) - start != dtype.itemsize * _count(shape):
        raise RuntimeError(
            f"{os.fspath(path)} is truncated: shape {shape} and {len(data) - start} bytes"
        )
    array = np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)
    return torch.from_numpy(array.astype(dtype.newbyteorder("=")))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


class MNIST(VisionDataset):
    """MNIST: 60,000 handwritten digits to train with and 10,000 to test.

    A sample is an image (grey, 28x28 Pillow image before `transform`) and its class, an int 0..9.
    `data` is a uint8 tensor of shape (N, 28, 28), `targets` an int64 tensor of shape (N,). Files
    are in `root/<class name>/raw`. Raises RuntimeError when they are missing or damaged.
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources: list[tuple[str, str | None]] = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_exists():
            raise RuntimeError(
                f"Dataset not found in {self.raw_folder}. You can use download=True to download it"
            )
        self.data, self.targets = self._load_data()

    def _load_data(self) -> tuple[torch.Tensor, torch.Tensor]:
        split = "train" if self.train else "t10k"
        images = read_idx(os.path.join(self.raw_folder, f"{split}-images-idx3-ubyte"))
        labels = read_idx(os.path.join(self.raw_folder, f"{split}-labels-idx1-ubyte"))
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise RuntimeError(
                f"{self.raw_folder}: images of shape {tuple(images.shape)} do not fit "
                f"labels of shape {tuple(labels.shape)}"
            )
        return images, labels.to(torch.int64)

    @property
    def raw_folder(self) -> str:
        """The folder of the IDX files."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The class of each name."""
        return {name: index for index, name in enumerate(self.classes)}

    def _check_exists(self) -> bool:
        stems = (os.path.splitext(name)[0] for name, _ in self.resources)
        return all(check_integrity(os.path.join(self.raw_folder, stem)) for stem in stems)

    def download(self) -> None:
        """Download and unpack the files that are missing, from the first mirror that answers."""
        if self._check_exists():
            return
        for name, md5 in self.resources:
            self._download_file(name, md5)

    def _download_file(self, name: str, md5: str | None) -> None:
        failures = []
        for mirror in self.mirrors:
            try:
                return download_and_extract_archive(
                    mirror + name, self.raw_folder, filename=name, md5=md5
                )
            except (URLError, RuntimeError) as error:
                failures.append(f"{mirror}: {error}")
        raise RuntimeError(f"{name} could not be downloaded: " + "; ".join(failures))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Give the image and the class at `index`, transformed."""
        image = require_pillow().fromarray(self.data[index].numpy())
        return self._apply_transforms(image, int(self.targets[index]))

    def __len__(self) -> int:
        """Give the number of images of this split."""
        return len(self.data)

    def extra_repr(self) -> str:
        """Name the split."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Fashion-MNIST: as `MNIST`, with pictures of clothes."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """Kuzushiji-MNIST: as `MNIST`, with cursive Japanese characters."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
