"""An interrupted save leaves the old file whole, and no other files where it can help it."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import flambeau as torch
from flambeau import core, safetensors, serialization
from flambeau._checkpoint import atomic
from flambeau.utils.serialization import config

ROOT = Path(__file__).resolve().parents[2]
OLD = {"a": torch.arange(10)}
NEW = {"a": torch.zeros(2_000_000)}  # 8 MB
FORMATS = {
    "zip": lambda value, path: torch.save(value, path),
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda value, path: safetensors.save_file(value, path),
}


@pytest.fixture(params=list(FORMATS))
def save(request, tmp_path):
    """A function that saves in one of the formats; `path` is an old file in that format."""
    save = FORMATS[request.param]
    save.path = tmp_path / ("model.safetensors" if request.param == "safetensors" else "model.pt")
    save(OLD, save.path)
    return save


def assert_old(path, alone=True):
    assert torch.load(path)["a"].tolist() == list(range(10))
    if alone:
        assert os.listdir(path.parent) == [path.name]


def run_child(script: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a script, with `save` as one of the formats."""
    head = """
        import os, sys
        import flambeau as torch
        from tests.serialization.test_atomic import FORMATS, NEW
        save = FORMATS[sys.argv[1]]
    """
    folders = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": folders},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_killed_save_leaves_the_old_file(save, request):
    """The child kills itself at each of its writes in turn, until it gets through."""
    script = """
        import io, signal
        left = int(sys.argv[3])
        fdopen = os.fdopen

        class Deadly:
            def __init__(self, file):
                self.file = file

            def write(self, data):
                global left
                left -= 1
                if left < 0:
                    self.file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                return self.file.write(data)

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                self.file.close()

        os.fdopen = lambda *arguments: Deadly(fdopen(*arguments))
        save(NEW, sys.argv[2])
    """
    name = request.node.callspec.params["save"]
    unnamed = atomic._open_unnamed(str(save.path.parent))
    leaves_nothing = unnamed is not None
    if unnamed is not None:
        os.close(unnamed)
    killed = 0
    for writes in (0, 1, 3, 7, 12, 40):
        done = run_child(script, name, str(save.path), str(writes))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert_old(save.path, alone=leaves_nothing)
        for other in set(os.listdir(save.path.parent)) - {save.path.name}:
            (save.path.parent / other).unlink()
        killed += 1
    assert killed
    assert done.returncode == 0
    assert torch.load(save.path)["a"].shape == (2_000_000,)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of that kind")
def test_a_full_disk_leaves_the_old_file(save, request):
    """A limit on the size of files stands for the disk: reserving and writing both fail."""
    script = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            save(NEW, sys.argv[2])
        except OSError as error:
            print(error.errno)
    """
    done = run_child(script, request.node.callspec.params["save"], str(save.path))
    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert_old(save.path)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_no_other_files(save, monkeypatch, error):
    def fail(descriptor, nbytes):
        os.write(descriptor, b"half a file")
        raise error

    monkeypatch.setattr(atomic, "_reserve", fail)
    with pytest.raises(type(error)):
        save(NEW, save.path)
    assert_old(save.path)


def test_a_failed_rename_leaves_no_other_files(save, monkeypatch):
    def fail(source, target):
        raise PermissionError("not now")

    monkeypatch.setattr(atomic, "_take_place", fail)
    with pytest.raises(PermissionError):
        save(NEW, save.path)
    monkeypatch.undo()
    assert_old(save.path)


def test_what_cannot_be_pickled_leaves_no_other_files(tmp_path):
    for legacy in (False, True):
        with pytest.raises((AttributeError, TypeError, serialization.pickle.PicklingError)):
            torch.save([1, lambda: 0], tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    assert os.listdir(tmp_path) == []


def test_syncing_waits_for_the_file_before_its_name(save, monkeypatch):
    events = []
    fsync, take_place = os.fsync, atomic._take_place
    monkeypatch.setattr(os, "fsync", lambda d: (events.append("sync"), fsync(d)))
    rename = lambda a, b: (events.append("rename"), take_place(a, b))
    monkeypatch.setattr(atomic, "_take_place", rename)
    save(NEW, save.path)
    assert events == ["rename"]
    monkeypatch.setattr(config.save, "sync", True)
    save(NEW, save.path)
    expected = ["rename", "sync", "rename"]
    assert events == (expected if os.name == "nt" else [*expected, "sync"])


def test_sharded_models_are_complete_before_they_take_their_places(tmp_path, monkeypatch):
    tensors = {f"layer{i}": torch.full((100,), float(i)) for i in range(6)}
    safetensors.save_sharded(tensors, tmp_path, 800)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    reserve, calls = atomic._reserve, []

    def fail(descriptor, nbytes):
        calls.append(nbytes)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "full")
        reserve(descriptor, nbytes)

    monkeypatch.setattr(atomic, "_reserve", fail)
    with pytest.raises(OSError, match="full"):
        safetensors.save_sharded({k: v + 1 for k, v in tensors.items()}, tmp_path, 800)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_systems_without_unnamed_files(save, monkeypatch):
    monkeypatch.setattr(atomic, "_open_unnamed", lambda folder: None)
    save(NEW, save.path)
    assert torch.load(save.path)["a"].shape == (2_000_000,)
    assert os.listdir(save.path.parent) == [save.path.name]
    save(OLD, save.path)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "full")

    for module, name in ((atomic, "_reserve"), (atomic, "_take_place"), (os, "chmod")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(OSError, match="full"):
                save(NEW, save.path)
        assert_old(save.path)


def test_systems_that_cannot_exchange_names(save, monkeypatch):
    monkeypatch.setattr(core, "exchange_names", lambda one, other: False)
    save(NEW, save.path)
    assert torch.load(save.path)["a"].shape == (2_000_000,)
    assert os.listdir(save.path.parent) == [save.path.name]


def test_exchanged_names(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    assert not core.exchange_names(bytes(one), bytes(other))  # there is nothing to exchange with
    other.write_bytes(b"2")
    if core.exchange_names(bytes(one), bytes(other)):
        assert (one.read_bytes(), other.read_bytes()) == (b"2", b"1")
    else:
        assert (one.read_bytes(), other.read_bytes()) == (b"1", b"2")


@pytest.mark.parametrize("count", [1, 40])
def test_room_that_is_reserved_suffices_and_is_given_back(tmp_path, monkeypatch, count):
    reserved, reserve = [], atomic._reserve
    monkeypatch.setattr(atomic, "_WORTH_RESERVING", 0)
    note = lambda descriptor, nbytes: (reserved.append(nbytes), reserve(descriptor, nbytes))
    monkeypatch.setattr(atomic, "_reserve", note)
    path = tmp_path / ("n" * 200 + ".pt")
    torch.save({f"{i}": torch.full((i * 1000,), i) for i in range(count)}, path)
    size = path.stat().st_size
    assert size <= reserved[0] < size + 600 * (count + 10)
    assert path.read_bytes()[-22:-18] == b"PK\x05\x06"
    assert len(torch.load(path)) == count


def test_long_names(tmp_path):
    path = tmp_path / ("n" * 240 + ".pt")
    torch.save(OLD, path)
    assert_old(path)
