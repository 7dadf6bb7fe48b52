"""Handwritten digits of 8x8 pixels that come with Flambeau: nothing to download."""

from __future__ import annotations

import gzip
import os
from typing import Any

import flambeau as torch
from flambeau.vision._lazy import require_numpy, require_pillow
from flambeau.vision.datasets.vision import Transform, VisionDataset

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data")
_FILE = "optdigits.csv.gz"


class Digits(VisionDataset):
    """1,797 handwritten digits of 8x8 pixels, split into images to train and to test with.

    A sample is an image (grey, 8x8 Pillow image before `transform`) and its digit, an int of 0..9.
    `data` is a uint8 tensor of shape (N, 8, 8) with values 0 (paper) to 255 (ink), `targets` an
    int64 tensor of shape (N,), `indices` the place of each image in the file. `train` chooses the
    part: the held-out `test_fraction` of a permutation that depends on `seed` alone, or the others.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, doi 10.24432/C50P49, licence CC BY 4.0.

    >>> digits = Digits(train=False)
    >>> len(digits), digits.data.shape[1:]
    (359, torch.Size([8, 8]))
    """

    classes = [str(digit) for digit in range(10)]

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        test_fraction: float = 0.2,
        seed: int = 0,
    ) -> None:
        if not 0 <= test_fraction <= 1:
            raise ValueError(f"Digits: test_fraction must be in 0..1, got {test_fraction}")
        super().__init__(_FOLDER, transform=transform, target_transform=target_transform)
        self.train = train
        images, digits = read_digits()
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
        held_out = int(len(digits) * test_fraction)
        self.indices = order[held_out:] if train else order[:held_out]
        self.data, self.targets = images[self.indices], digits[self.indices]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Give the image and the digit at `index`, transformed."""
        image = require_pillow().fromarray(self.data[index].numpy())
        return self._apply_transforms(image, int(self.targets[index]))

    def __len__(self) -> int:
        """Give the number of images of this part."""
        return len(self.targets)

    def extra_repr(self) -> str:
        """Name the part."""
        return f"Split: {'Train' if self.train else 'Test'}"


def read_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Read all images, uint8 (1797, 8, 8) scaled to 0..255, and all digits, int64 (1797,)."""
    np = require_numpy()
    with gzip.open(os.path.join(_FOLDER, _FILE)) as file:
        lines = file.read().decode("ascii").split()
    table = np.array([line.split(",") for line in lines], dtype=np.uint8)
    scaled = (table[:, :-1].astype(np.uint16) * 255 + 8) // 16
    images = torch.from_numpy(scaled.astype(np.uint8).reshape(-1, 8, 8))
    return images, torch.from_numpy(table[:, -1].astype(np.int64))
