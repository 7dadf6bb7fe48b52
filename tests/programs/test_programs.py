"""Ordinary PyTorch programs, run unmodified: they learn, and print what PyTorch prints.

Each program asserts what it should achieve. `expected/` holds what it prints under PyTorch with the
same seed; where PyTorch is installed, it is run too. Numbers may differ in their last digits.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAMS = sorted(path.stem for path in HERE.glob("*.py") if path.stem != Path(__file__).stem)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
TOLERANCE = 2e-3


def run_program(name: str, *launcher: str) -> list[str]:
    """Run a program in a process of its own; give the lines it printed."""
    result = subprocess.run(
        [sys.executable, *launcher, str(HERE / f"{name}.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def find_differences(lines: list[str], expected: list[str]) -> list[str]:
    """Describe the lines that differ in their words, or in a number by more than the tolerance."""
    found = [
        f"printed:  {line}\nexpected: {wanted}"
        for line, wanted in zip(lines, expected, strict=False)
        if not agree(line, wanted)
    ]
    if len(lines) != len(expected):
        found.append(f"{len(lines)} lines printed, {len(expected)} expected")
    return found


def agree(line: str, wanted: str) -> bool:
    """Compare two lines: words and spaces exactly, numbers to the tolerance."""
    if NUMBER.sub("#", line) != NUMBER.sub("#", wanted):
        return False
    pairs = zip(NUMBER.findall(line), NUMBER.findall(wanted), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE * max(1, abs(float(b))) for a, b in pairs)


def read_expected(name: str) -> list[str]:
    """What a program prints under PyTorch."""
    return (HERE / "expected" / f"{name}.txt").read_text().splitlines()


def test_every_program_has_its_expected_output() -> None:
    found = sorted(path.stem for path in (HERE / "expected").glob("*.txt"))
    assert found == PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_what_is_expected(name: str) -> None:
    differences = find_differences(
        run_program(name, "-m", "flambeau.cli", "run"), read_expected(name)
    )
    assert not differences, "\n".join(differences)


@pytest.mark.parity
@pytest.mark.parametrize("name", PROGRAMS)
def test_pytorch_prints_what_is_expected(name: str) -> None:
    differences = find_differences(run_program(name), read_expected(name))
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize(
    ("line", "wanted", "same"),
    [
        ("loss 1.2345", "loss 1.2346", True),
        ("loss 1.2345", "loss 1.2445", False),
        ("loss 1.2", "norm 1.2", False),
        ("loss 1.2", "loss 1.2 1.2", False),
        ("tensor([1., 2.])", "tensor([1.,  2.])", False),
        ("tensor([-inf])", "tensor([inf])", False),
    ],
)
def test_comparison_of_lines(line: str, wanted: str, same: bool) -> None:
    assert agree(line, wanted) is same
