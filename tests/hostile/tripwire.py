"""Loads files in every way, in a process that ends at once when loading does anything else.

    python -m tests.hostile.tripwire files FOLDER       all files of a folder
    python -m tests.hostile.tripwire fuzz FIRST COUNT   damaged files by number

It prints a line of JSON for each file. An audit hook watches for what no loading needs: starting
programs, running or compiling code, importing modules, opening other files, sockets. Once armed it
cannot be taken off. The memory of the process is limited, so that a claim of terabytes fails.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import flambeau as torch
from flambeau import safetensors, serialization
from flambeau.serialization import CheckpointError
from tests.hostile.mutate import make_damaged, make_seeds

TRIPPED = 77
ROOM = 400 << 20  # bytes beyond what the process has when it is armed
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.remove"),
    *("os.rename", "os.putenv", "os.chmod", "os.mkdir", "os.listdir", "os.scandir", "os.truncate"),
    *("subprocess.Popen", "exec", "compile", "import", "socket.", "ctypes.dlopen", "shutil."),
    *("pty.spawn", "webbrowser.open", "urllib.Request", "tempfile.", "pickle.find_class"),
    *("code.__new__", "function.__new__", "sys.addaudithook", "signal.pthread_kill", "os.kill"),
)


class Tripwire:
    """The audit hook: only `path` may be opened, and only while it is set."""

    def __init__(self) -> None:
        self.path: str | None = None

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.path is None:
            return
        is_other_file = event == "open" and arguments[0] != self.path
        if is_other_file or event.startswith(FORBIDDEN):
            os.write(2, f"\ntripped by {self.path}: {event} {arguments!r:.300}\n".encode())
            os._exit(TRIPPED)


def limit_memory() -> None:
    """Let the process take `ROOM` more than it has, where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    status = Path("/proc/self/statm")
    if status.exists():
        size = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))


def load_all(path: str) -> dict[str, str | None]:
    """What each way of loading a file came to: the error, or None when it loaded."""
    outcomes: dict[str, str | None] = {}
    for name, load in list_ways(path):
        try:
            load()
            outcomes[name] = None
        except CheckpointError as error:
            outcomes[name] = f"CheckpointError: {str(error)[:2000]}"
        except MemoryError as error:
            outcomes[name] = f"MemoryError: {error}"
        except Exception as error:
            outcomes[name] = f"{type(error).__module__}.{type(error).__name__}: {error}"
    return outcomes


def list_ways(path: str) -> Iterator[tuple[str, Callable]]:
    """The ways of loading a file, with their names."""
    if path.endswith(".safetensors"):
        yield "mapped", lambda: safetensors.load_file(path)
        yield "read", lambda: safetensors.load_file(path, backend="pread")
        yield "bytes", lambda: safetensors.load(Path(path).read_bytes())
        yield "by name", lambda: torch.load(path)
        return
    yield "path", lambda: torch.load(path)
    yield "bytes", lambda: torch.load(io.BytesIO(Path(path).read_bytes()))
    if Path(path).read_bytes()[:4] == b"PK\x03\x04":
        yield "mapped", lambda: torch.load(path, mmap=True)
        yield "listed", lambda: serialization.get_unsafe_globals_in_checkpoint(path)


def warm_up(folder: Path) -> None:
    """Import all that sound files and ordinary refusals need."""
    for name, data in make_seeds().items():
        path = folder / name
        path.write_bytes(data)
        outcomes = load_all(str(path))
        assert not any(outcomes.values()), outcomes
        path.write_bytes(data[:-9] + b"123456789")
        load_all(str(path))
    negated = io.BytesIO()
    torch.save(torch.ones(2), negated)
    for location in ("cuda:0", "xpu:1"):
        try:
            torch.load(io.BytesIO(negated.getvalue()), map_location=location)
        except RuntimeError:
            continue
    load_kernels()
    warnings.simplefilter("ignore")


def load_kernels() -> None:
    """Load, or compile, the kernels that checks and conjugates use: they are files, too."""
    rows = torch.zeros(2000, dtype=torch.int64)
    for tensor in (torch.ones(2), torch.ones(2, dtype=torch.complex64), rows):
        tensor.neg()
        tensor.conj()
    index = rows.view(1, -1)
    for size in ((10,), (0,)):
        with contextlib.suppress(RuntimeError):
            torch.sparse_coo_tensor(index, rows, size, is_coalesced=False)


def run(files: Iterator[tuple[str, bytes | None]], folder: Path) -> None:
    """Load files, given by path or to be written first, and print what came of each."""
    wire = Tripwire()
    sys.addaudithook(wire)
    limit_memory()
    for name, data in files:
        path = name if data is None else str(folder / f"damaged{Path(name).suffix}")
        if data is not None:
            Path(path).write_bytes(data)
        wire.path = path
        outcomes = load_all(path)
        wire.path = None
        print(json.dumps({"name": name, "outcomes": outcomes}), flush=True)


def main() -> None:
    """Read the command line."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        warm_up(folder)
        if sys.argv[1] == "files":
            run(((str(path), None) for path in sorted(Path(sys.argv[2]).iterdir())), folder)
        else:
            first, count = map(int, sys.argv[2:])
            seeds = make_seeds()
            run((make_damaged(seeds, number) for number in range(first, first + count)), folder)


if __name__ == "__main__":
    main()
