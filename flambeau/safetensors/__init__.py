"""Safetensors files: tensors by name, and nothing that could run.

The names are those of the `safetensors` package, which `flambeau run` resolves to this one: here
are `safe_open` and the functions of `safetensors.torch`, and beside them `save_sharded` and
`load_sharded` for models in several files.

>>> import tempfile, os, flambeau as torch
>>> from flambeau.safetensors import load_file, safe_open, save_file
>>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
>>> save_file({"weight": torch.eye(3), "bias": torch.zeros(3)}, path, metadata={"format": "pt"})
>>> load_file(path)["bias"]
tensor([0., 0., 0.])
>>> with safe_open(path, framework="pt") as file:
...     file.keys(), file.get_slice("weight")[1:, :2]
(['bias', 'weight'], tensor([[0., 1.],
        [0., 0.]]))
"""

from __future__ import annotations

from .header import SafetensorError
from .reading import safe_open
from .sharded import load_sharded, save_sharded
from .torch import load, load_file, load_model, save, save_file, save_model

__all__ = [
    "SafetensorError",
    "load",
    "load_file",
    "load_model",
    "load_sharded",
    "safe_open",
    "save",
    "save_file",
    "save_model",
    "save_sharded",
]

__version__ = "0.8.0"  # of the package whose names these are
