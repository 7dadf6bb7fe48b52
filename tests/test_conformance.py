"""The conformance runner finds known faults, and finds none in PyTorch itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
VALUES = ("float32", "float64", "int64", "bool")


def run(folder: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Run the command line; return its exit status, output and results."""
    file = folder / "results.json"
    command = [sys.executable, "-m", "tests.conformance", "--jobs", "1", "--json", str(file)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    entries = json.loads(file.read_text())["entries"] if file.exists() else {}
    return done.returncode, done.stdout + done.stderr, entries


def statuses(entries: dict[str, Any], name: str) -> dict[str, str]:
    """Return the status of each column of an entry."""
    return {column: found["status"] for column, found in entries[name].items()}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the runner finds in the faulty framework."""
    columns = "value,grad,gradgrad,errors,out"
    options = ("--against", "tests.faulty_framework", "--timeout", "2", "--max-samples", "2")
    pattern = "add|sub|mul|neg|sin|exp|log|cat|cos|nn.functional.dropout"
    folder = tmp_path_factory.mktemp("faults")
    status, output, entries = run(folder, *options, "--columns", columns, "--op", pattern)
    assert status == 0, output
    return entries


@pytest.mark.parity
class TestFaults:
    def test_wrong_values(self, faults: dict[str, Any]) -> None:
        found = faults["add"]["float32"]
        assert found["status"] == "fail"
        assert "values" in found["reason"]

    def test_a_missing_op(self, faults: dict[str, Any]) -> None:
        assert set(statuses(faults, "sub").values()) == {"fail"}
        assert faults["sub"]["float32"]["reason"] == "no tests.faulty_framework.sub"

    def test_a_wrong_dtype(self, faults: dict[str, Any]) -> None:
        assert faults["mul"]["float32"]["status"] == "fail"
        assert "expected torch.float32, got torch.float64" in faults["mul"]["float32"]["reason"]
        assert faults["mul"]["int64"]["status"] == "pass"

    def test_a_missing_gradient(self, faults: dict[str, Any]) -> None:
        found = statuses(faults, "neg")
        assert (found["float32"], found["grad"]) == ("pass", "fail")

    def test_an_ignored_out(self, faults: dict[str, Any]) -> None:
        assert "not the tensor given as out" in faults["neg"]["out"]["reason"]

    def test_a_wrong_second_derivative(self, faults: dict[str, Any]) -> None:
        found = statuses(faults, "sin")
        assert (found["float32"], found["grad"], found["gradgrad"]) == ("pass", "pass", "fail")

    def test_a_crash_costs_one_column(self, faults: dict[str, Any]) -> None:
        found = statuses(faults, "exp")
        assert (found["int64"], found["bool"]) == ("crash", "crash")
        assert (found["float32"], found["grad"]) == ("pass", "pass")
        assert "SIGABRT" in faults["exp"]["int64"]["reason"]
        assert "faulty_framework.py" in faults["exp"]["int64"]["reason"]

    def test_an_endless_loop(self, faults: dict[str, Any]) -> None:
        assert set(statuses(faults, "log").values()) == {"timeout"}

    def test_a_wrong_error(self, faults: dict[str, Any]) -> None:
        found = statuses(faults, "cat")
        assert (found["float32"], found["errors"]) == ("pass", "fail")

    def test_the_rest_passes(self, faults: dict[str, Any]) -> None:
        assert set(statuses(faults, "cos").values()) <= {"pass", "none"}
        assert set(statuses(faults, "nn.functional.dropout").values()) <= {"pass", "none"}


@pytest.fixture(scope="module")
def class_faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the runner finds in the classes of the faulty framework."""
    options = ("--against", "tests.faulty_framework", "--max-samples", "2")
    pattern = (
        r"nn\.(Tanh|PReLU|ReLU)|optim\.(RMSprop|Rprop|Adagrad)|lr_scheduler\.(StepLR|LinearLR)"
    )
    status, output, entries = run(tmp_path_factory.mktemp("faults"), *options, "--op", pattern)
    assert status == 0, output
    return entries


def failing(entries: dict[str, Any], name: str) -> set[str]:
    """Return the columns of an entry that fail; the others must have compared something."""
    found = statuses(entries, name)
    assert set(found.values()) <= {"pass", "fail", "none"}, found
    return {column for column, state in found.items() if state == "fail"}


@pytest.mark.parity
class TestClassFaults:
    def test_a_module_wrong_in_evaluation(self, class_faults: dict[str, Any]) -> None:
        assert failing(class_faults, "nn.Tanh") == {"eval", "grad", "gradgrad"}

    def test_a_module_with_another_state(self, class_faults: dict[str, Any]) -> None:
        broken = failing(class_faults, "nn.PReLU")
        assert {"state", "round_trip"} <= broken
        assert "repr" not in broken

    def test_an_optimiser_that_forgets(self, class_faults: dict[str, Any]) -> None:
        assert failing(class_faults, "optim.RMSprop") == {"resume"}

    def test_an_optimiser_that_steps_too_far(self, class_faults: dict[str, Any]) -> None:
        assert {"steps", "complex", "flags"} <= failing(class_faults, "optim.Rprop")

    def test_a_schedule_wrong_after_ten_steps(self, class_faults: dict[str, Any]) -> None:
        assert failing(class_faults, "lr_scheduler.StepLR") == {"rates", "resume"}

    @pytest.mark.parametrize("name", ["nn.ReLU", "optim.Adagrad", "lr_scheduler.LinearLR"])
    def test_the_rest_passes(self, class_faults: dict[str, Any], name: str) -> None:
        assert failing(class_faults, name) == set()


@pytest.mark.parity
def test_the_list_decides_the_exit_status(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    options = ("--against", "tests.faulty_framework", "--list", str(listed))
    listed.write_text("cos float32,grad\n")
    status, output, _ = run(tmp_path, *options)
    assert (status, "2 passed, 0 failed" in output) == (0, True), output
    listed.write_text("add float32\ncos float32\n")
    status, output, _ = run(tmp_path, *options)
    assert (status, "must pass: add float32" in output) == (1, True), output
    listed.write_text("no_such_entry float32\n")
    assert run(tmp_path, *options)[0] != 0
    listed.write_text("")
    assert run(tmp_path, *options)[0] != 0


@pytest.mark.parity
def test_writing_the_list_keeps_what_was_not_run(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("add float32\nzeros float32\n")
    options = ("--against", "tests.faulty_framework", "--columns", "float32", "--op", "add|cos")
    status, output, _ = run(tmp_path, *options, "--write-list", str(listed))
    assert status == 0, output
    assert listed.read_text() == "cos float32\nzeros float32\n"


@pytest.mark.parity
@pytest.mark.parametrize(
    "pattern",
    [
        "sum|sort|einsum|where",
        "uniform|linalg.svd|masked.mean",
        r"nn\.(LazyConv1d|LSTM|TransformerEncoder)|optim\.(LBFGS|SparseAdam)|lr_scheduler\.SWALR",
    ],
)
def test_pytorch_agrees_with_itself(tmp_path: Path, pattern: str) -> None:
    status, output, entries = run(tmp_path, "--against", "torch", "--op", pattern)
    assert status == 0, output
    found = {state for name in entries for state in statuses(entries, name).values()}
    assert found <= {"pass", "none"}, output
