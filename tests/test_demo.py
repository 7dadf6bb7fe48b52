"""The digits demo: reaches its goal, writes its report, goes on after an interruption."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, str(ROOT / "examples" / "digits_demo.py")]

pytestmark = pytest.mark.slow
pytest.importorskip("PIL")


def start(out, *options):
    """Start the demo in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, "--out", str(out), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell hands down an ignored Ctrl-C
        preexec_fn=None if sys.platform == "win32" else _listen_to_interrupts,
    )


def _listen_to_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process, *codes):
    """Wait for the demo; give its output and its messages."""
    out, err = process.communicate(timeout=300)
    assert process.returncode in codes, out + err
    return out, err


def load_weights(out):
    """Read the weights of the checkpoint as nested lists."""
    import flambeau as torch

    state = torch.load(out / "checkpoint.pt", weights_only=True)
    return {name: value.tolist() for name, value in state["model"].items()}, state["history"]


def test_demo_reaches_the_goal_and_reports(tmp_path):
    out, err = finish(start(tmp_path), 0)
    assert float(re.search(r"held-out images +(\S+)%", out)[1]) >= 98
    for line in ("first training step after", "total time", "report  "):
        assert line in out
    assert "loss=" in err
    assert "accuracy=" in err
    check_report((tmp_path / "report.html").read_text(encoding="utf-8"))


def check_report(page):
    """Look for the parts of the report; nothing in it is fetched from elsewhere."""
    assert page.count("<svg") >= 3
    assert page.count("data:image/png;base64,") >= 359
    for part in ("Loss", "Accuracy", "Confusion matrix", "Every mistake", "All 359 readings"):
        assert part in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "{{" not in page
    mistakes = int(re.search(r"<b>(\d+)</b><span>mistakes", page)[1])
    assert page.count('class="reading wrong"') == mistakes == page.count('class="mistake"')


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process")
def test_interrupted_run_goes_on_to_the_same_result(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--epochs", "8"]
    finish(start(whole, *options), 0, 1)
    process = start(parts, *options)
    wait_for(parts / "checkpoint.pt", process)
    process.send_signal(signal.SIGINT)
    _, err = finish(process, 130)
    assert re.search(r"Interrupted after \d of 8 epochs", err)
    assert "again to go on" in err
    _, err = finish(start(parts, "--epochs", "9"), 1)
    assert "give the same options to go on" in err
    out, _ = finish(start(parts, *options), 0, 1)
    assert "Going on after epoch" in out
    (weights, history), (expected, expected_history) = load_weights(parts), load_weights(whole)
    assert weights == expected
    assert len(history) == len(expected_history) == 8
    assert history[-1]["test_loss"] == expected_history[-1]["test_loss"]


def wait_for(path, process):
    """Wait until a file is there."""
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_damaged_checkpoint_is_explained(tmp_path):
    finish(start(tmp_path, "--epochs", "1"), 0, 1)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    _, err = finish(start(tmp_path, "--epochs", "1"), 1)
    assert "cannot be read" in err
    assert "--fresh" in err
    finish(start(tmp_path, "--epochs", "1", "--fresh"), 0, 1)


def test_goal_missed_is_exit_status_1(tmp_path):
    _, err = finish(start(tmp_path, "--epochs", "1"), 1)
    assert "goal of 98% was missed" in err
