"""Plain pickles: of Flambeau's modules, and of PyTorch's read by `flambeau run`."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

ROOT = Path(__file__).resolve().parent.parent.parent
READ = """
import pickle, sys, torch
found = pickle.load(open(sys.argv[1], "rb"))
layer, scale, half = found["layer"], found["scale"], found["half"]
print(type(layer.weight).__name__, layer.weight.tolist(), layer.bias.requires_grad)
print(type(scale).__name__, scale.note, scale.requires_grad, half)
"""
PRINTED = """\
Parameter [[1.0, 1.0], [1.0, 1.0]] True
Parameter kept False tensor([0.5000, 0.5000], dtype=torch.float16)
"""


def make_objects(torch) -> dict:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(layer.weight)
    scale = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    scale.note = "kept"
    return {"layer": layer, "scale": scale, "half": torch.full((2,), 0.5, dtype=torch.float16)}


def read_in_flambeau(tmp_path, text: bytes) -> str:
    (tmp_path / "objects.pkl").write_bytes(text)
    (tmp_path / "read.py").write_text(READ)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "flambeau.cli",
            "run",
            tmp_path / "read.py",
            tmp_path / "objects.pkl",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_own_pickles_are_read(tmp_path) -> None:
    assert read_in_flambeau(tmp_path, pickle.dumps(make_objects(flambeau))) == PRINTED


@pytest.mark.parity
def test_pickles_of_pytorch_are_read(tmp_path) -> None:
    import torch

    assert read_in_flambeau(tmp_path, pickle.dumps(make_objects(torch))) == PRINTED
