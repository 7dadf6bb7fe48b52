"""`import flambeau` is quick because it imports nothing large."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "llvmlite", "PIL", "tqdm", "torch", "scipy", "multiprocessing", "asyncio")


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import flambeau",
        "import flambeau, flambeau.nn, flambeau.nn.functional, flambeau.optim",
        "import flambeau.cli",
    ],
)
def test_import_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_the_probe_sees_what_is_loaded() -> None:
    assert "multiprocessing" in loaded_after("import multiprocessing")
