"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels in 10 or 100 classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import os
from typing import Any

from flambeau.vision._lazy import require_numpy, require_pillow
from flambeau.vision.datasets.array_pickle import load_array_pickle
from flambeau.vision.datasets.utils import check_integrity, download_and_extract_archive
from flambeau.vision.datasets.vision import Transform, VisionDataset


class CIFAR10(VisionDataset):
    """CIFAR-10 from its archive for Python, downloaded (170 MB) where `download=True` asks for it.

    A sample is an image (RGB, 32x32 Pillow image before `transform`) and its class, an int of 0..9.
    `data` is a uint8 array of shape (N, 32, 32, 3), `targets` a list of N ints, `classes` names.
    Every file's MD5 checksum is verified, and batches are unpickled without running anything in
    them. Raises RuntimeError when the files are missing or damaged.

    A subclass may read another archive of the same format: it overrides `url`, `filename`,
    `tgz_md5`, `base_folder`, `train_list`, `test_list` and `meta`. None instead of a checksum skips
    the check.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5: str | None = "c58f30108f718f92721af3b95e74349a"
    train_list: list[list[Any]] = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"],
        ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"],
        ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]
    test_list: list[list[Any]] = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    meta: dict[str, Any] = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": "5ff9c542aee3614f3951f8cda6e48888",
    }

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
        self._require_integrity()
        self.data, self.targets = self._load_batches()
        self.classes: list[str] = self._load_classes()
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}

    def _path(self, name: str) -> str:
        return os.path.join(self.root, self.base_folder, name)

    def _files(self) -> list[tuple[str, str | None]]:
        listed = [(name, md5) for name, md5 in (*self.train_list, *self.test_list)]
        return [*listed, (self.meta["filename"], self.meta["md5"])]

    def _check_integrity(self) -> bool:
        return all(check_integrity(self._path(name), md5) for name, md5 in self._files())

    def _require_integrity(self) -> None:
        for name, md5 in self._files():
            path = self._path(name)
            if not check_integrity(path, md5):
                fault = "is corrupted" if os.path.exists(path) else "was not found"
                raise RuntimeError(
                    f"Dataset not found or corrupted: {path} {fault}. "
                    "You can use download=True to download it"
                )

    def _load_batches(self) -> tuple[Any, list[int]]:
        np = require_numpy()
        images: list[Any] = []
        targets: list[int] = []
        for name, _ in self.train_list if self.train else self.test_list:
            batch = load_array_pickle(self._path(name))
            rows, labels = self._check_batch(name, batch)
            images.append(rows)
            targets.extend(labels)
        # Stored plane by plane; Pillow wants the three values of a pixel together.
        data = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(data), targets

    def _check_batch(self, name: str, batch: Any) -> tuple[Any, list[int]]:
        if not isinstance(batch, dict) or "data" not in batch:
            raise RuntimeError(f"{self._path(name)} is corrupted: it has no entry 'data'")
        rows = batch["data"]
        labels = batch.get("labels", batch.get("fine_labels"))
        shape = getattr(rows, "shape", None)
        if shape is None or shape[1:] != (3072,) or str(rows.dtype) != "uint8":
            raise RuntimeError(f"{self._path(name)} is corrupted: its data are not N rows of 3072")
        if not isinstance(labels, list) or len(labels) != len(rows):
            raise RuntimeError(f"{self._path(name)} is corrupted: expected {len(rows)} labels")
        return rows, labels

    def _load_classes(self) -> list[str]:
        meta = load_array_pickle(self._path(self.meta["filename"]))
        return list(meta[self.meta["key"]])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Give the image and the class at `index`, transformed."""
        image = require_pillow().fromarray(self.data[index])
        return self._apply_transforms(image, self.targets[index])

    def __len__(self) -> int:
        """Give the number of images of this split."""
        return len(self.data)

    def download(self) -> None:
        """Download and unpack the archive, unless good files are there."""
        if not self._check_integrity():
            download_and_extract_archive(
                self.url, self.root, filename=self.filename, md5=self.tgz_md5
            )

    def extra_repr(self) -> str:
        """Name the split."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """CIFAR-100 from its archive for Python: as `CIFAR10`, with 100 classes of 600 images."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {
        "filename": "meta",
        "key": "fine_label_names",
        "md5": "7973b15100ade9c7d40fb424638fde48",
    }
