"""Images in folders, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from flambeau.vision._lazy import require_pillow
from flambeau.vision.datasets.vision import Transform, VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Path = str | os.PathLike[str]


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Say whether a file's name ends with one of the extensions, in any case.

    >>> has_file_allowed_extension("cat.JPG", (".jpg", ".png"))
    True
    """
    return filename.lower().endswith(extensions)


def is_image_file(filename: str) -> bool:
    """Say whether a file's name ends with an extension of an image."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: Path) -> tuple[list[str], dict[str, int]]:
    """List the folders in a directory, sorted, and number them.

    Raises FileNotFoundError when there is none.
    """
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {os.fspath(directory)}.")
    return classes, {name: index for index, name in enumerate(classes)}


def make_dataset(
    directory: Path,
    class_to_idx: dict[str, int] | None = None,
    extensions: str | tuple[str, ...] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """List the files below `directory/<class>` as pairs (path, class), sorted.

    Exactly one of `extensions` and `is_valid_file` chooses the files. Raises ValueError when both
    or neither is given, FileNotFoundError when a class has no file and `allow_empty` is False.
    """
    directory = os.path.expanduser(os.fspath(directory))
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    if not class_to_idx:
        raise ValueError("class_to_idx must have at least one entry to collect any samples.")
    is_wanted = _choose_filter(extensions, is_valid_file)
    samples = []
    for name in sorted(class_to_idx):
        paths = [path for path in _walk_files(os.path.join(directory, name)) if is_wanted(path)]
        if not paths and not allow_empty:
            raise FileNotFoundError(_describe_empty(name, extensions))
        samples += [(path, class_to_idx[name]) for path in paths]
    return samples


def _choose_filter(
    extensions: str | tuple[str, ...] | None, is_valid_file: Callable[[str], bool] | None
) -> Callable[[str], bool]:
    if extensions is not None and is_valid_file is None:
        return lambda path: has_file_allowed_extension(path, extensions)
    if extensions is None and is_valid_file is not None:
        return is_valid_file
    raise ValueError("Both extensions and is_valid_file cannot be None or not None")


def _describe_empty(name: str, extensions: str | tuple[str, ...] | None) -> str:
    message = f"Found no valid file for the class {name}."
    if extensions is None:
        return message
    listed = extensions if isinstance(extensions, str) else ", ".join(extensions)
    return f"{message} Supported extensions are: {listed}"


def _walk_files(folder: str) -> list[str]:
    walk = sorted(os.walk(folder, followlinks=True))
    return [os.path.join(parent, name) for parent, _, names in walk for name in sorted(names)]


def pil_loader(path: str) -> Any:
    """Open an image file as an RGB Pillow image."""
    with open(path, "rb") as file:
        return require_pillow().open(file).convert("RGB")


def default_loader(path: str) -> Any:
    """Open an image file with the default library, Pillow."""
    return pil_loader(path)


class DatasetFolder(VisionDataset):
    """Files in `root/<class>/...`, opened by `loader`.

    `classes` are the sorted names of the folders, `samples` the pairs (path, class), `targets` the
    classes alone. Errors: those of `find_classes` and `make_dataset`.
    """

    def __init__(
        self,
        root: Path,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(
            self.root, self.class_to_idx, extensions, is_valid_file, allow_empty
        )
        self.loader = loader
        self.extensions = extensions
        self.targets = [target for _, target in self.samples]

    @staticmethod
    def make_dataset(
        directory: Path,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """List the samples; a subclass may choose others."""
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: Path) -> tuple[list[str], dict[str, int]]:
        """List and number the classes; a subclass may choose others."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Give the loaded file and its class at `index`, transformed."""
        path, target = self.samples[index]
        return self._apply_transforms(self.loader(path), target)

    def __len__(self) -> int:
        """Give the number of files."""
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Images in `root/<class>/...`: a `DatasetFolder` of the usual image formats."""

    def __init__(
        self,
        root: Path,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(
            root, loader, extensions, transform, target_transform, is_valid_file, allow_empty
        )
        self.imgs = self.samples
