"""The child processes that run the workloads."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


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
        return {**os.environ, **dict.fromkeys(names, str(self.threads))}


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

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; a dead child raises RuntimeError."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
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
