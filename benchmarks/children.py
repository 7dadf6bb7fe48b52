"""The child processes that run the workloads."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = {"eager": 600.0, "compile": 60.0}  # seconds that an answer may take, by mode
FIRST_PATIENCE = 600.0  # the first compilation compiles a minute's worth of headers too


@dataclass(frozen=True)
class Side:
    """One of the two things compared: a framework under its settings."""

    module: str
    mode: str = "eager"
    threads: int = 2

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which the number of threads is fixed."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FLAMBEAU_NUM_THREADS")
        found = {**os.environ, **dict.fromkeys(names, str(self.threads))}
        if self.mode == "compile":  # kept, as a child that is killed would take its headers along
            cache = Path(tempfile.gettempdir()) / "flambeau-benchmark-inductor"
            found.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        return found


class Child:
    """A worker process; its temporary files go when it does."""

    def __init__(self, side: Side) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="flambeau-benchmark-")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", side.module, side.mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**side.environment, "TMPDIR": self.folder.name},
        )
        self.patience = FIRST_PATIENCE
        if side.mode == "compile":
            with contextlib.suppress(RuntimeError):  # every row will say what is wrong
                self.ask(do="warm_up")
        self.patience = PATIENCE[side.mode]

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        A dead child raises RuntimeError, and so does one that takes too long, which is killed.
        """
        timer = threading.Timer(self.patience, self.process.kill)
        timer.start()
        line = self._exchange(json.dumps(command))
        is_late = not timer.is_alive()
        timer.cancel()
        if not line:
            status = self.process.wait()
            late = f"no answer within {self.patience:.0f} s"
            raise RuntimeError(late if is_late else f"the process ended with status {status}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def _exchange(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except BrokenPipeError:
            return ""

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()  # closes the pipes too
        self.folder.cleanup()


@dataclass
class Pair:
    """Two children; one that died is started again for the next workload."""

    sides: tuple[Side, Side]
    children: list[Child] = field(default_factory=list)

    def __enter__(self) -> "Pair":
        self.children = [Child(side) for side in self.sides]
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.close()

    def revive(self) -> None:
        """Start again what died."""
        for i, side in enumerate(self.sides):
            if self.children[i].process.poll() is not None:
                self.children[i].close()
                self.children[i] = Child(side)
