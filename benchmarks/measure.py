"""Drive the two children and collect the rows of the table."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
THREADS = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "FLAMBEAU_NUM_THREADS": "2"}
IMPORT_ROUNDS = 7
IMPORT_TARGET = 0.12
MEMORY_BATCH = 64
MEMORY_ROWS = (
    f"CNN step batch {MEMORY_BATCH}, memory above import",
    f"CNN step batch {MEMORY_BATCH}, peak of the process",
)
DEMO_ROWS = ("demo, first run, cold cache", "demo, second run to first step")
DEMO = [sys.executable, str(ROOT / "examples" / "digits_demo.py"), "--fresh", "--out"]
DEMO_COLD_SECONDS = 15.0
DEMO_WARM_SECONDS = 5.0
# The demo says when it had done its first training step, counted from its first line of code.
FIRST_STEP = re.compile(r"first training step after\s+([\d.]+) s")
DEMO_LIMIT_SECONDS = 180


@dataclass
class Row:
    """One line of the table; `target` bounds the ratio, or Flambeau's figure where `absolute`."""

    name: str
    unit: str
    flambeau: float | None = None
    torch: float | None = None
    target: float | None = None
    absolute: bool = False
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """Return Flambeau's figure divided by PyTorch's."""
        if self.flambeau is None or not self.torch:
            return None
        return self.flambeau / self.torch

    @property
    def reached(self) -> bool | None:
        """Tell whether the target is met; None where there is none."""
        if self.target is None:
            return None
        figure = self.flambeau if self.absolute else self.ratio
        return figure is not None and figure <= self.target


class Child:
    """A worker process of one framework."""

    def __init__(self, module: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **THREADS},
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


@dataclass
class Pair:
    """The two children; one that died is started again for the next workload."""

    subject: str
    children: dict[str, Child]

    @classmethod
    def start(cls, subject: str) -> "Pair":
        """Start both frameworks."""
        return cls(subject, {"flambeau": Child(subject), "torch": Child("torch")})

    def close(self) -> None:
        """End both."""
        for child in self.children.values():
            child.close()

    def revive(self) -> None:
        """Start again what died."""
        for key, module in (("flambeau", self.subject), ("torch", "torch")):
            if self.children[key].process.poll() is not None:
                self.children[key] = Child(module)


def time_workload(pair: Pair, name: str, target: float | None, rounds: int) -> Row:
    """Time one workload in both frameworks, block by block in turn."""
    row = Row(name, "us", target=target)
    pair.revive()
    times: dict[str, list[float]] = {}
    for key, child in pair.children.items():
        try:
            child.ask(do="prepare", name=name)
            times[key] = []
        except RuntimeError as error:
            row.error = f"{key}: {error}"
    try:
        for _ in range(rounds):
            for key, found in times.items():
                found.append(pair.children[key].ask(do="block")["seconds"])
    except RuntimeError as error:
        row.error = row.error or str(error)
    for key, found in times.items():
        if found:
            setattr(row, key, statistics.median(found) * 1e6)
    return row


def time_workloads(
    subject: str, pattern: re.Pattern[str], rounds: int, show: Callable[[Row], None]
) -> None:
    """Time every workload whose name matches."""
    chosen = [w for w in WORKLOADS if pattern.search(w.name)]
    if not chosen:
        return
    pair = Pair.start(subject)
    try:
        for workload in chosen:
            show(time_workload(pair, workload.name, workload.target, rounds))
    finally:
        pair.close()


def time_import(subject: str) -> Row:
    """Time a whole process that only imports the framework."""
    row = Row("import, whole process", "ms", target=IMPORT_TARGET)
    times: dict[str, list[float]] = {"flambeau": [], "torch": []}
    # Installed packages have their bytecode beside them; a checkout must be allowed to write its
    # own.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", f"import {subject}"], cwd=ROOT, env=environment)
    for _ in range(IMPORT_ROUNDS):
        for key, module in (("flambeau", subject), ("torch", "torch")):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", f"import {module}"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            times[key].append(time.perf_counter() - start)
            if done.returncode:
                row.error = f"{key}: {done.stderr.strip().splitlines()[-1]}"[:200]
                return row
    row.flambeau = statistics.median(times["flambeau"]) * 1e3
    row.torch = statistics.median(times["torch"]) * 1e3
    return row


def measure_memory(subject: str) -> list[Row]:
    """Measure the CNN step's memory in processes of their own, kernels already in the cache."""
    rows = [Row(name, "MB") for name in MEMORY_ROWS]
    for key, module in (("flambeau", subject), ("torch", "torch")):
        try:
            _ask_once(module)  # the compiler must not count: fill the kernel cache first
            reply = _ask_once(module)
        except RuntimeError as error:
            rows[0].error = rows[1].error = f"{key}: {error}"
            continue
        setattr(rows[0], key, reply["growth"] / 1e6)
        setattr(rows[1], key, reply["peak"] / 1e6)
    return rows


def _ask_once(module: str) -> dict[str, Any]:
    child = Child(module)
    try:
        return child.ask(do="memory", batch=MEMORY_BATCH)
    finally:
        child.close()


def time_demo() -> list[Row]:
    """Time the demo with an empty kernel cache, then its second run up to the first step."""
    cold = Row(DEMO_ROWS[0], "s", target=DEMO_COLD_SECONDS, absolute=True)
    warm = Row(DEMO_ROWS[1], "s", target=DEMO_WARM_SECONDS, absolute=True)
    with tempfile.TemporaryDirectory(prefix="flambeau-demo-") as folder:
        try:
            cold.flambeau, _ = _run_demo(Path(folder))
            _, warm.flambeau = _run_demo(Path(folder))
        except RuntimeError as error:
            cold.error = warm.error = f"demo: {error}"
    return [cold, warm]


def _run_demo(folder: Path) -> tuple[float, float]:
    """Return the seconds of a whole run and those up to its first training step."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **THREADS, "PYTHONPATH": paths}
    environment["FLAMBEAU_CACHE"] = str(folder / "kernels")
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [*DEMO, str(folder / "out")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEMO_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {DEMO_LIMIT_SECONDS} s") from None
    seconds = time.perf_counter() - start
    first = FIRST_STEP.search(done.stdout)
    if done.returncode or not first:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no output"]
        raise RuntimeError(f"status {done.returncode}: {last[0]}"[:200])
    return seconds, float(first[1])
