"""The base class of image data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from flambeau.utils.data import Dataset

Transform = Callable[..., Any]


class VisionDataset(Dataset):
    """A data set in a folder whose samples pass through transforms.

    `transform` takes the image, `target_transform` the target, `transforms` both together; the last
    excludes the first two. Raises ValueError when both kinds are given.
    """

    _repr_indent = 4

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transforms: Transform | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("pass either transforms or transform/target_transform, not both")
        self.root: Any = None if root is None else os.path.expanduser(os.fspath(root))
        self.transform = transform
        self.target_transform = target_transform
        if transform is not None or target_transform is not None:
            transforms = StandardTransform(transform, target_transform)
        self.transforms = transforms

    def __getitem__(self, index: int) -> Any:
        """Give the sample at `index`; every data set has its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")

    def __len__(self) -> int:
        """Give the number of samples; every data set has its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def _apply_transforms(self, image: Any, target: Any) -> tuple[Any, Any]:
        # Read on every call: scripts replace `dataset.transform` after making the data set.
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transforms is not None:
            body.append(repr(self.transforms))
        lines = [" " * self._repr_indent + line for line in body]
        return "\n".join([f"Dataset {type(self).__name__}", *lines])

    def extra_repr(self) -> str:
        """Give the lines that a data set adds to its `repr`."""
        return ""


class StandardTransform:
    """Applies one transform to the image and another to the target."""

    def __init__(
        self, transform: Transform | None = None, target_transform: Transform | None = None
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, image: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        body = [type(self).__name__]
        if self.transform is not None:
            body += format_transform(self.transform, "Transform: ")
        if self.target_transform is not None:
            body += format_transform(self.target_transform, "Target transform: ")
        return "\n".join(body)


def format_transform(transform: Transform, head: str) -> list[str]:
    """Write a transform's `repr` with its lines aligned below the first."""
    first, *rest = repr(transform).splitlines()
    return [head + first, *(" " * len(head) + line for line in rest)]
