"""Data sets, loaders and image transforms."""

from typing import Any

from .common import Body, Build, Workload


def tensor_epoch(batch: int, shuffle: bool) -> Build:
    """Return an epoch over 2000 rows held in tensors."""

    def build(torch: Any) -> Body:
        data = torch.utils.data
        rows = data.TensorDataset(torch.randn(2000, 10), torch.randn(2000, 1))
        loader = data.DataLoader(rows, batch_size=batch, shuffle=shuffle)
        return "for x, y in loader: pass", {"loader": loader}

    return build


class Samples:
    """A data set in Python: an image-like tensor and a label."""

    def __init__(self, torch: Any, count: int, shape: tuple[int, ...]) -> None:
        self.torch = torch
        self.count = count
        self.base = torch.randn(*shape)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.base + index, index % 10


def python_epoch(workers: int, count: int, shape: tuple[int, ...]) -> Build:
    """Return an epoch over a data set of Python items."""

    def build(torch: Any) -> Body:
        loader = torch.utils.data.DataLoader(
            Samples(torch, count, shape),
            batch_size=32,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        return "for x, y in loader: pass", {"loader": loader}

    return build


def collate_dicts(torch: Any) -> Body:
    """Return the collation of 32 dictionaries."""
    rows = [{"x": torch.randn(16), "y": i, "name": str(i)} for i in range(32)]
    return "f(rows)", {"f": torch.utils.data.default_collate, "rows": rows}


def collate_numpy_numbers(torch: Any) -> Body:
    """Return the collation of 32 numbers of NumPy's."""
    import numpy  # when it is built: importing the workloads must not

    rows = [numpy.float32(i) for i in range(32)]
    return "f(rows)", {"f": torch.utils.data.default_collate, "rows": rows}


def tensor_of_numpy_numbers(torch: Any) -> Body:
    """Return a tensor of 32 numbers of NumPy's."""
    import numpy

    return "f(rows)", {"f": torch.tensor, "rows": [numpy.float32(i) for i in range(32)]}


def flip_images(torch: Any) -> Body:
    """Return the mirroring of images whose rows are shorter than a vector."""
    images = torch.randint(0, 256, (64, 3, 40, 40), dtype=torch.uint8)
    return "x.flip(-1)", {"x": images}


def weighted_sampler(torch: Any) -> Body:
    """Return the indices of an epoch drawn by weight."""
    sampler = torch.utils.data.WeightedRandomSampler(torch.rand(10000), 10000)
    return "list(sampler)", {"sampler": sampler}


def batch_sampler(torch: Any) -> Body:
    """Return the batches of a shuffled epoch of 10000."""
    data = torch.utils.data
    sampler = data.BatchSampler(data.RandomSampler(range(10000)), 32, False)
    return "list(sampler)", {"sampler": sampler}


def image_transform(torch: Any) -> Body:
    """Return flip, crop and normalisation of an image of bytes, written with tensor operations."""
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)

    def f(image: Any) -> Any:
        x = image.flip(-1)[:, 4:36, 4:36]
        return (x.to(torch.float32) / 255 - mean) / std

    return "f(image)", {"f": f, "image": image}


def resize(torch: Any) -> Body:
    """Return an antialiased bilinear resize of a photograph-sized image."""
    image = torch.rand(1, 3, 256, 256)
    f = torch.nn.functional.interpolate
    return "f(x, size=(224, 224), mode='bilinear', antialias=True)", {"f": f, "x": image}


ROWS: dict[str, Build] = {
    "TensorDataset epoch, batch 32, shuffled": tensor_epoch(32, True),
    "TensorDataset epoch, batch 32": tensor_epoch(32, False),
    "TensorDataset epoch, batch 1": tensor_epoch(1, True),
    "TensorDataset epoch, batch 256": tensor_epoch(256, True),
    "Python items, 0 workers": python_epoch(0, 512, (3, 32, 32)),
    "Python items, 2 workers": python_epoch(2, 512, (3, 32, 32)),
    "large Python items, 2 workers": python_epoch(2, 128, (3, 224, 224)),
    "collate dictionaries": collate_dicts,
    "collate NumPy's numbers": collate_numpy_numbers,
    "tensor of NumPy's numbers": tensor_of_numpy_numbers,
    "flip images, 40x40 bytes": flip_images,
    "WeightedRandomSampler, 10000": weighted_sampler,
    "BatchSampler, 10000": batch_sampler,
    "image transform, 40x40 bytes": image_transform,
    "resize 256 to 224, antialias": resize,
}

WORKLOADS = tuple(
    Workload("data", name, build, target=0.1 if "batch 32, shuffled" in name else 1.0)
    for name, build in ROWS.items()
)
