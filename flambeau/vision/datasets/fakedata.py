"""Random images, for trying a program without data."""

from __future__ import annotations

from typing import Any

import flambeau as torch
from flambeau.vision.datasets.vision import Transform, VisionDataset


class FakeData(VisionDataset):
    """A data set of `size` random images of shape `image_size` (C, H, W) and random classes.

    The same index gives the same image every time; `random_offset` shifts the seeds. The default
    generator is left as it was.

    >>> image, target = FakeData(size=10, image_size=(3, 8, 8))[0]
    >>> image.size
    (8, 8)
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size = size
        self.num_classes = num_classes
        self.image_size = image_size
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Give the image and the class at `index`, transformed; IndexError past the end."""
        from flambeau.vision.transforms.functional import to_pil_image

        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index {index} out of range")
        # A generator of its own draws what the default one would after the same seed.
        generator = torch.Generator().manual_seed(index + self.random_offset)
        image = torch.randn(*self.image_size, generator=generator)
        target = torch.randint(0, self.num_classes, (1,), generator=generator, dtype=torch.long)
        return self._apply_transforms(to_pil_image(image), target[0].item())

    def __len__(self) -> int:
        """Give the number of images."""
        return self.size
