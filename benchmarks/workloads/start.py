"""Checkpoints; what concerns whole processes (import, first step) is timed in `measure.py`."""

import tempfile
from pathlib import Path
from typing import Any

from .common import Body, Work, Workload
from .networks import resnet18

FOLDER = Path(tempfile.gettempdir())


def weights(torch: Any) -> dict[str, Any]:
    """Return a state of 100 MB in 25 tensors."""
    return {f"layer{i}.weight": torch.randn(1000, 1000) for i in range(25)}


def save(torch: Any) -> Body:
    """Return the saving of 100 MB."""
    path = FOLDER / f"flambeau-benchmark-{torch.__name__}.pt"
    return "f(state, path)", {"f": torch.save, "state": weights(torch), "path": path}


def load(torch: Any) -> Body:
    """Return the loading of 100 MB."""
    path = FOLDER / f"flambeau-benchmark-{torch.__name__}.pt"
    torch.save(weights(torch), path)
    return "f(path)", {"f": torch.load, "path": path}


def load_mapped(torch: Any) -> Body:
    """Return the loading of 100 MB by mapping the file."""
    path = FOLDER / f"flambeau-benchmark-{torch.__name__}.pt"
    torch.save(weights(torch), path)
    return "f(path, mmap=True)", {"f": torch.load, "path": path}


def state_round_trip(torch: Any) -> Body:
    """Return state_dict and load_state_dict of ResNet-18."""
    model = resnet18(torch, small=True)
    return "model.load_state_dict(model.state_dict())", {"model": model}


def construct(torch: Any) -> Body:
    """Return the making of ResNet-18 with its initial values."""
    return "f(torch, True)", {"f": resnet18, "torch": torch}


SIZE = 100e6
WORKLOADS = (
    Workload("start", "save a checkpoint of 100 MB", save, Work(bytes=2 * SIZE)),
    Workload("start", "load a checkpoint of 100 MB", load, Work(bytes=2 * SIZE)),
    Workload("start", "load a checkpoint of 100 MB, mapped", load_mapped),
    Workload("start", "state_dict round trip, ResNet-18", state_round_trip),
    Workload("start", "construct ResNet-18", construct),
)
