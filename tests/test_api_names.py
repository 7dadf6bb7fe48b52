"""Every public name of the compared namespaces exists, or is listed as left out with a reason."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "api_names.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("api_names", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["api_names"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool():
    return load_tool()


@pytest.mark.parity
def test_nothing_is_missing_but_what_is_listed(tool, capsys):
    status = tool.main([])
    output = capsys.readouterr().out
    assert status == 0, output
    assert "nn.functional" in output
    assert "listed as absent, but it is there" not in output


@pytest.mark.parity
def test_faults_are_found(tool, capsys, monkeypatch):
    import flambeau

    monkeypatch.delattr(flambeau.nn, "Linear")
    monkeypatch.setattr(flambeau.nn, "Bilinear", lambda in1_features, other: None)
    monkeypatch.setattr(flambeau.nn, "Dropout", lambda inplace, p: None)
    assert tool.main(["nn"]) == 1
    output = capsys.readouterr().out
    assert "nn.Linear: missing" in output
    assert "nn.Bilinear: lacks in2_features" in output
    assert "nn.Dropout: positional inplace, p; PyTorch's p, inplace" in output


@pytest.mark.parity
def test_reasons_that_no_longer_hold_are_found(tool, capsys, monkeypatch, tmp_path):
    listed = tmp_path / "absences.txt"
    listed.write_text("# nothing\nnn.init.ones_  not needed\n")
    monkeypatch.setattr(tool, "ABSENCES", listed)
    assert tool.main(["nn.init"]) == 1
    assert "listed as absent, but it is there: nn.init.ones_" in capsys.readouterr().out


def test_every_absence_has_a_reason(tool):
    absences = tool.read_absences()
    assert len(absences) > 10
    assert all(len(reason.split()) > 2 for reason in absences.values())
