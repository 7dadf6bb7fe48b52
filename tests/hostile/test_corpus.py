"""Every hostile file is refused with the one exception, at little cost, and nothing else happens.

More damaged files: FLAMBEAU_FUZZ_ROUNDS=100000 python -m pytest tests/hostile -k damaged
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau as torch
from flambeau import safetensors
from flambeau.serialization import CheckpointError
from tests.hostile.make import list_allowed, list_refused, write_files
from tests.hostile.mutate import make_seeds
from tests.hostile.tripwire import TRIPPED

ROOT = Path(__file__).resolve().parents[2]
REFUSED = list_refused()
FUZZ_ROUNDS = int(os.environ.get("FLAMBEAU_FUZZ_ROUNDS", "2500"))


def run_tripwire(*arguments: str) -> list[dict]:
    """The outcomes that the child process reports."""
    folders = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.tripwire", *arguments],
        capture_output=True,
        cwd=ROOT,
        env=environment,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(name: str, data: bytes) -> object:
    """The object in a file of the format that its name says."""
    if name.endswith(".safetensors"):
        return safetensors.load(data)
    return torch.load(io.BytesIO(data))


def list_faults(reports: list[dict]) -> list[str]:
    """Outcomes that are neither a load nor a documented refusal."""
    return [
        f"{report['name']}, {way}: {outcome}"
        for report in reports
        for way, outcome in report["outcomes"].items()
        if outcome is not None
        and (not outcome.startswith("CheckpointError") or "MemoryError" in outcome)
    ]


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_with_a_message(name):
    data = REFUSED[name]
    with pytest.raises(CheckpointError) as caught:
        load(name, data)
    message = str(caught.value)
    assert 10 < len(message) < 1000
    if not data:
        assert isinstance(caught.value, EOFError)
    if name.endswith(".safetensors"):
        assert isinstance(caught.value, safetensors.SafetensorError)


def test_nothing_runs_and_little_is_taken(tmp_path):
    trap = tmp_path / "owned"
    folder = tmp_path / "files"
    folder.mkdir()
    paths = write_files(folder, list_refused(str(trap)) | list_allowed())
    reports = run_tripwire("files", str(folder))
    assert len(reports) == len(set(paths)) == len(REFUSED) + len(list_allowed())
    assert list_faults(reports) == []
    assert not trap.exists()
    refused = [r for r in reports if next(iter(r["outcomes"].values())) is not None]
    assert len(refused) >= len(REFUSED)


def test_damaged_files_are_refused_or_harmless():
    reports = run_tripwire("fuzz", "0", str(FUZZ_ROUNDS))
    assert len(reports) == FUZZ_ROUNDS
    assert list_faults(reports) == []
    outcomes = [outcome for report in reports for outcome in report["outcomes"].values()]
    assert any(outcome is None for outcome in outcomes)
    assert sum(outcome is not None for outcome in outcomes) > len(outcomes) / 3


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import antigravity", "import"),
        ("open('/dev/null')", "open"),
        ("eval('1')", "compile|exec"),
        ("import os; os.system('true')", "import|os.system"),
    ],
)
def test_the_tripwire_is_sharp(tmp_path, code, event):
    """The hook ends a process in which a file does run something."""
    script = f"""
import sys
from tests.hostile import tripwire
wire = tripwire.Tripwire()
sys.addaudithook(wire)
wire.path = "file"
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == TRIPPED
    assert any(f"file: {kind} " in done.stderr for kind in event.split("|"))


def test_the_seeds_of_the_damage_load():
    for name, data in make_seeds().items():
        found = load(name, data)
        if name.endswith(".pt"):
            assert found["plain"][0] == 1
        else:
            assert found["b"].tolist() == [0, 1, 2, 3]
