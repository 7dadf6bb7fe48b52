"""Checkpoints; what concerns whole processes (import, first step) is timed in `measure.py`."""

import tempfile
from pathlib import Path
from typing import Any

from .common import Body, Build, Work, Workload
from .networks import resnet18

FOLDER = Path(tempfile.gettempdir())


def weights(torch: Any, count: int, size: int) -> dict[str, Any]:
    """Return a state of so many tensors of so many numbers."""
    return {f"layer{i}.weight": torch.randn(size) for i in range(count)}


def save(count: int, size: int) -> Build:
    """Return the saving of a state."""

    def build(torch: Any) -> Body:
        path = FOLDER / f"flambeau-benchmark-{torch.__name__}.pt"
        return "f(state, path)", {
            "f": torch.save,
            "state": weights(torch, count, size),
            "path": path,
        }

    return build


def load(count: int, size: int, **options: bool) -> Build:
    """Return the loading of a state."""

    def build(torch: Any) -> Body:
        path = FOLDER / f"flambeau-benchmark-{torch.__name__}.pt"
        torch.save(weights(torch, count, size), path)
        return "f(path, **options)", {"f": torch.load, "path": path, "options": options}

    return build


def state_round_trip(torch: Any) -> Body:
    """Return state_dict and load_state_dict of ResNet-18."""
    model = resnet18(torch, small=True)
    return "model.load_state_dict(model.state_dict())", {"model": model}


def construct(torch: Any) -> Body:
    """Return the making of ResNet-18 with its initial values."""
    return "f(torch, True)", {"f": resnet18, "torch": torch}


SIZE = 100e6
WORKLOADS = (
    Workload("start", "save a checkpoint of 100 MB", save(25, 10**6), Work(bytes=2 * SIZE)),
    Workload("start", "load a checkpoint of 100 MB", load(25, 10**6), Work(bytes=2 * SIZE)),
    Workload("start", "load a checkpoint of 100 MB, mapped", load(25, 10**6, mmap=True)),
    Workload("start", "save a checkpoint of 4 MB", save(10, 10**5)),
    Workload("start", "save 2000 small tensors", save(2000, 100)),
    Workload("start", "load 2000 small tensors", load(2000, 100)),
    Workload("start", "state_dict round trip, ResNet-18", state_round_trip),
    Workload("start", "construct ResNet-18", construct),
)
