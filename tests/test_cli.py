"""The `flambeau` command: PyTorch scripts run unmodified, as Python would run them."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flambeau._compat import AliasFinder, install, module_exists, resolve_alias
from flambeau.cli import format_bytes

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def run(*command, cwd=None, env=None, code=0):
    """Run Flambeau's command in a process of its own; give what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "flambeau.cli", *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


def run_script(tmp_path, source, *args, code=0):
    """Write a script, run it with `flambeau run`, give what it printed."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(source))
    return run("run", path, *args, code=code)


# ---- names


def test_metadata_tells_the_version_of_the_api(tmp_path):
    script = """
        from importlib.metadata import PackageNotFoundError, version
        import torch
        assert version("torch") == torch.version.pytorch, version("torch")
        try:
            version("surely-not-installed")
        except PackageNotFoundError:
            print("told")
    """
    assert run_script(tmp_path, script).stdout.strip() == "told"


def test_names_of_pytorch():
    assert resolve_alias("torch") == "flambeau"
    assert resolve_alias("torch.utils.data") == "flambeau.utils.data"
    assert resolve_alias("torchvision.transforms") == "flambeau.vision.transforms"
    assert resolve_alias("torchaudio") is None
    assert resolve_alias("numpy.torch") is None


def test_finder_answers_for_pytorch_alone():
    assert AliasFinder().find_spec("numpy", None) is None
    assert AliasFinder().find_spec("torchmetrics", None) is None
    assert AliasFinder().find_spec("torch", None) is not None


def test_existing_modules():
    assert module_exists("json.decoder")
    assert not module_exists("json.nothing")
    assert not module_exists("nothing.at.all")


def test_install_refuses_to_mix_with_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(RuntimeError, match="torch was imported before"):
        install()


def test_modules_are_the_same_objects_imported_once(tmp_path):
    run_script(
        tmp_path,
        """
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.optim as optim
        import torch.utils.data
        import torch.autograd
        from torch.utils.data import DataLoader
        import torchvision
        import torchvision.transforms as transforms
        from torchvision.datasets import CIFAR10
        import flambeau, flambeau.nn, flambeau.vision

        assert torch is flambeau and nn is flambeau.nn and torch.nn is nn
        assert F is flambeau.nn.functional and optim is flambeau.optim
        assert DataLoader is flambeau.utils.data.DataLoader is torch.utils.data.DataLoader
        assert torchvision is flambeau.vision and transforms is flambeau.vision.transforms
        assert CIFAR10 is flambeau.vision.datasets.CIFAR10
        assert flambeau.nn.__spec__.name == "flambeau.nn" and nn.__name__ == "flambeau.nn"
        assert isinstance(torch.ones(2), torch.Tensor)

        import sys
        files = [m.__file__ for m in set(sys.modules.values()) if getattr(m, "__file__", None)]
        ours = [file for file in files if "flambeau" in file]
        assert len(ours) == len(set(ours)), "a module was imported twice"
        """,
    )


def test_missing_module_is_named_and_can_be_caught(tmp_path):
    result = run_script(
        tmp_path,
        """
        try:
            import torch.nonsense.deeper
        except ImportError as error:
            print(error, "|", error.name)
        from torchvision.nonsense import x
        """,
        code=1,
    )
    assert "Flambeau does not have flambeau.nonsense yet | torch.nonsense" in result.stdout
    assert "No module named 'torchvision.nonsense'" in result.stderr


# ---- running as Python does


def test_script_sees_what_python_would_show(tmp_path):
    (tmp_path / "neighbour.py").write_text("value = 42")
    source = """
        import os, sys
        from neighbour import value
        assert value == 42 and __name__ == "__main__" and __spec__ is None
        assert sys.modules["__main__"].value == 42
        assert sys.path[0] == os.path.dirname(os.path.realpath(__file__))
        print(sys.argv[1:], os.path.basename(sys.argv[0]))
        """
    result = run_script(tmp_path, source, "-m", "--epochs", "3", "-h", "--", "x")
    assert result.stdout.strip() == "['-m', '--epochs', '3', '-h', '--', 'x'] script.py"


def test_module(tmp_path):
    package = tmp_path / "project"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text(
        "import os, sys, torch\nfrom . import helper\n"
        "assert sys.path[0] == os.getcwd() and __name__ == '__main__'\n"
        "print(os.path.basename(sys.argv[0]), sys.argv[1:], torch.__name__, __spec__.name)\n"
    )
    (package / "helper.py").write_text("")
    result = run("run", "-m", "project.train", "--lr", "1", cwd=tmp_path)
    assert result.stdout.split() == ["train.py", "['--lr',", "'1']", "flambeau", "project.train"]
    result = run("run", "-m", "project.missing", cwd=tmp_path, code=2)
    assert "No module named project.missing" in result.stderr


@pytest.mark.parametrize(
    ("source", "code"),
    [("import sys; sys.exit(3)", 3), ("raise SystemExit('bye')", 1), ("raise SystemExit", 0)],
)
def test_exit_status(tmp_path, source, code):
    run_script(tmp_path, source, code=code)


def test_error_shows_the_frames_of_the_script_alone(tmp_path):
    result = run_script(tmp_path, "def f():\n    return 1 / 0\nf()\n", code=1)
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert result.stderr.count("File ") == 2
    assert "cli.py" not in result.stderr
    result = run_script(tmp_path, "x = (", code=1)
    assert "SyntaxError" in result.stderr


def test_missing_script(tmp_path):
    result = run("run", tmp_path / "nothing.py", code=2)
    assert "can't open file" in result.stderr
    assert "No such file" in result.stderr


def test_exit_handlers_still_find_the_scripts_names(tmp_path):
    source = """
        import atexit
        value = "kept"
        @atexit.register
        def report():
            import __main__
            print(__main__.value)
        """
    assert run_script(tmp_path, source).stdout.strip() == "kept"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes_have_the_names_too(tmp_path, method):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    source = f"""
        import multiprocessing
        import torch
        from torch import nn

        class Job:
            def __init__(self, size):
                self.layer = nn.Linear(size, 1)

        def work(job):
            import sys, torch.nn.functional as F
            assert torch.__name__ == "flambeau" and F.__name__ == "flambeau.nn.functional"
            return float(torch.ones(job.layer.in_features).sum())

        if __name__ == "__main__":
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print(pool.map(work, [Job(3), Job(5)]))
        """
    assert run_script(tmp_path, source).stdout.strip() == "[3.0, 5.0]"


# ---- information and cache


def test_info_names_versions_and_folders(tmp_path):
    result = run("info", env={"FLAMBEAU_CACHE": str(tmp_path)})
    for word in ("flambeau", "python", "processor", "threads", "numpy", "llvmlite", str(tmp_path)):
        assert word in result.stdout


def test_cache_is_shown_and_cleared(tmp_path):
    env = {"FLAMBEAU_CACHE": str(tmp_path)}
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kernel.o").write_bytes(bytes(1500))
    assert "1 objects of machine code, 1.5 kB" in run("cache", "show", env=env).stdout
    assert "removed 1 files (1.5 kB)" in run("cache", "clear", env=env).stdout
    assert "0 objects" in run("cache", "show", env=env).stdout


def test_help_and_wrong_commands():
    help_text = run("--help").stdout
    for command in ("run", "info", "cache"):
        assert command in help_text
    assert "Examples" in run("run", "--help").stdout
    assert "required" in run(code=2).stderr
    assert "invalid choice" in run("cache", "burn", code=2).stderr


def test_import_of_the_command_is_cheap():
    code = (
        "import sys, flambeau; before = set(sys.modules); import flambeau.cli; "
        "print(*(set(sys.modules) - before))"
    )
    heavy = {
        "argparse",
        "multiprocessing",
        "numpy",
        "PIL",
        "llvmlite",
        "runpy",
        "importlib.metadata",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "flambeau.cli" in result.stdout.split()
    assert heavy.isdisjoint(result.stdout.split())


def test_bytes_for_people():
    sizes = [format_bytes(count) for count in (0, 999, 1000, 12_345_678, 5 * 10**9, 10**13)]
    assert sizes == ["0 B", "999 B", "1.0 kB", "12.3 MB", "5.0 GB", "10000.0 GB"]


# ---- examples: untouched PyTorch scripts


def test_examples_do_not_mention_flambeau_in_code():
    for path in EXAMPLES.glob("*.py"):
        if not path.name.startswith("digits_"):
            assert "import flambeau" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["polynomial_manual", "polynomial_autograd"])
def test_polynomial_finds_pytorchs_coefficients(name):
    last = run("run", EXAMPLES / f"{name}.py").stdout.splitlines()[-1]
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", last)]
    # What PyTorch prints from the same seed.
    assert found == pytest.approx([0.0586, 0.8372, -0.0101, -0.0906], abs=3e-4)


@pytest.mark.slow
def test_two_layer_regression_learns():
    out = run("run", EXAMPLES / "two_layer_regression.py", "--epochs", "20").stdout
    losses = [float(number) for number in re.findall(r"train loss (\S+)", out)]
    assert losses[-1] < 0.06
    assert "test loss" in out


@pytest.mark.slow
def test_custom_dataset_with_workers_learns():
    out = run("run", EXAMPLES / "custom_dataset.py", "--epochs", "15").stdout
    assert float(re.findall(r"accuracy (\S+)%", out)[-1]) > 95


@pytest.mark.slow
def test_cifar_tutorial_on_a_small_archive(tmp_path):
    """The tutorial itself, untouched; only the archive's address and checksums are the test's."""
    pytest.importorskip("PIL")
    from tests.vision.cifar_archive import make_archive

    attributes = make_archive(tmp_path / "server", count=60, bright=True)
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import runpy, sys, torch\n"
        "from torchvision.datasets import CIFAR10\n"
        "torch.manual_seed(0)\n"
        f"for name, value in {attributes!r}.items():\n"
        "    setattr(CIFAR10, name, value)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    tutorial, data = EXAMPLES / "cifar10_tutorial.py", tmp_path / "data"
    options = ["--root", data, "--report-every", "25", "--save", tmp_path / "net.pt"]
    out = run("run", driver, tutorial, *options).stdout
    losses = [float(number) for number in re.findall(r"loss: (\S+)", out)]
    assert len(losses) == 6
    assert all(1.5 < loss < 2.6 for loss in losses)
    assert "Finished Training" in out
    assert "Accuracy of the network on the 60 test images" in out
    assert len(re.findall(r"Accuracy for class: \w+ +is", out)) == 10
    assert (tmp_path / "net.pt").stat().st_size > 200_000
