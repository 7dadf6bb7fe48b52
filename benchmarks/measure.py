"""Drive the children and make the rows of the table."""

import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .children import ROOT, Child, Pair, Side
from .machine import Machine, measure_streaming
from .workloads import Workload

PROCESS_ROUNDS = 7
SLOWEST_BLOCK = 0.3  # seconds; slower workloads get fewer blocks
IMPORT_TARGET = 0.12
GAIN = 1.7  # of a second thread, at least
STREAMED = 48 << 20  # bytes that no cache keeps
NEAR_FLOOR = 0.8  # of what memory allows
# Builds the tutorial's network, trains it one step, and ends.
FIRST_STEP = """
import importlib
torch = importlib.import_module("{module}")
from benchmarks.workloads.models import ROWS
statement, names = ROWS["tutorial CNN step, batch 4"](torch)
exec(statement, names)
"""


@dataclass
class Row:
    """One line of the table; `floor` is the least possible time in the row's unit."""

    group: str
    name: str
    unit: str = "us"
    flambeau: float | None = None
    torch: float | None = None
    target: float | None = None
    floor: float | None = None
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """Return Flambeau's figure divided by PyTorch's."""
        if self.flambeau is None or not self.torch:
            return None
        return self.flambeau / self.torch

    @property
    def share(self) -> float | None:
        """Return the share of the machine's limit that Flambeau reaches."""
        if not self.floor or not self.flambeau:
            return None
        return self.floor / self.flambeau

    @property
    def reached(self) -> bool | None:
        """Tell whether the target is met; None where there is none or nothing to compare."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target


Show = Callable[[Row], None]


def time_pair(pair: Pair, key: str, rounds: int) -> tuple[list[float | None], str]:
    """Time a workload in both children, block by block in turn: median seconds, what failed."""
    pair.revive()
    times: list[list[float]] = [[], []]
    errors, ready = [], []
    for i, child in enumerate(pair.children):
        try:
            seconds = child.ask(do="prepare", key=key)["seconds"]
            rounds = min(rounds, max(3, int(rounds * SLOWEST_BLOCK / seconds)))
            ready.append(i)
        except RuntimeError as error:
            errors.append(f"{pair.sides[i].module}: {error}")
    try:
        for _ in range(rounds):
            for i in ready:
                times[i].append(pair.children[i].ask(do="block")["seconds"])
    except RuntimeError as error:
        errors.append(str(error))
    return [statistics.median(found) if found else None for found in times], "; ".join(errors)


def time_workloads(
    sides: tuple[Side, Side],
    workloads: Iterable[Workload],
    machine: Machine,
    rounds: int,
    show: Show,
) -> None:
    """Time the workloads in both frameworks."""
    with Pair(sides) as pair:
        for workload in workloads:
            (ours, theirs), error = time_pair(pair, workload.key, rounds)
            row = Row(workload.group, workload.name, target=workload.target, error=error)
            row.flambeau = None if ours is None else ours * 1e6
            row.torch = None if theirs is None else theirs * 1e6
            floor = machine.floor(workload.work)
            row.floor = None if floor is None else floor * 1e6
            show(row)


def measure_memory(sides: tuple[Side, Side], workloads: Iterable[Workload], show: Show) -> None:
    """Measure the growth of peak memory by model steps, each in a process of its own."""
    for workload in workloads:
        row = Row("memory", workload.name, "MB", target=1.0)
        for i, side in enumerate(sides):
            try:
                _ask_memory(side, workload.key)  # fills the kernel cache: compiling must not count
                growth = _ask_memory(side, workload.key) / 1e6
            except RuntimeError as error:
                row.error = f"{side.module}: {error}"
                continue
            setattr(row, ("flambeau", "torch")[i], growth)
        show(row)


def _ask_memory(side: Side, key: str) -> float:
    child = Child(side)
    try:
        return child.ask(do="memory", key=key)["growth"]
    finally:
        child.close()


def time_processes(
    name: str, sides: tuple[Side, Side], script: str, target: float, rounds: int, cold: bool = False
) -> Row:
    """Time whole processes that run a script; `cold` gives each an empty kernel cache."""
    row = Row("start", name, "ms", target=target)
    times: list[list[float]] = [[], []]
    for turn in range(-1, rounds):  # the first turn fills the caches of files and bytecode
        for i, side in enumerate(sides):
            command = [sys.executable, "-c", script.format(module=side.module)]
            with tempfile.TemporaryDirectory(prefix="flambeau-benchmark-") as folder:
                environment = side.environment
                # Installed packages have their bytecode beside them; a checkout must be allowed to
                # write its own.
                environment.pop("PYTHONDONTWRITEBYTECODE", None)
                if cold:
                    environment["FLAMBEAU_CACHE"] = folder
                start = time.perf_counter()
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, capture_output=True, text=True
                )
                seconds = time.perf_counter() - start
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["no output"]
                row.error = f"{side.module}: {last[0]}"[:200]
                return row
            if turn >= 0:
                times[i].append(seconds * 1e3)
    row.flambeau, row.torch = (statistics.median(found) for found in times)
    return row


def time_starts(sides: tuple[Side, Side], only: re.Pattern[str], show: Show) -> None:
    """Time imports and first steps in whole processes."""
    rows = (
        ("import, whole process", "import {module}", IMPORT_TARGET, PROCESS_ROUNDS, False),
        ("first CNN step, kernels cached", FIRST_STEP, 0.5, PROCESS_ROUNDS, False),
        ("first CNN step, nothing cached", FIRST_STEP, 1.0, 3, True),
    )
    for name, script, target, rounds, cold in rows:
        if only.search(f"start: {name}"):
            show(time_processes(name, sides, script, target, rounds, cold))


def scaling_row(workload: Workload, two: float | None, one: float | None, rate: float) -> Row:
    """Return the row of two threads' seconds beside one's, where memory moves `rate` bytes/s.

    What streams from memory has the time that this takes as its floor; its goal is GAIN, or
    NEAR_FLOOR of what the floor allows.
    """
    row = Row("scaling", workload.key, target=1 / GAIN)
    row.flambeau = None if two is None else two * 1e6
    row.torch = None if one is None else one * 1e6
    if workload.work is not None and workload.work.bytes >= STREAMED and one:
        floor = workload.work.bytes / rate
        row.floor = floor * 1e6
        row.target = min(1.0, max(1 / GAIN, floor / one / NEAR_FLOOR))
    return row


def time_scaling(module: str, workloads: Iterable[Workload], rounds: int, show: Show) -> None:
    """Compare two threads with one; the columns are `two threads` and `one thread`.

    Memory's rate is measured with each row: virtual machines are moved between processors.
    """
    with Pair((Side(module, threads=2), Side(module, threads=1))) as pair:
        for workload in workloads:
            (two, one), error = time_pair(pair, workload.key, rounds)
            row = scaling_row(workload, two, one, measure_streaming())
            row.error = error
            show(row)


def time_neighbour(module: str, workloads: Iterable[Workload], rounds: int, show: Show) -> None:
    """Compare a machine with one busy core with a quiet one; the columns are in that order."""
    spin = "import os, sys\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {0})\n"
    spinner = subprocess.Popen([sys.executable, "-c", spin + "while True: pass"])
    child = Child(Side(module))
    try:
        for workload in workloads:
            row = Row("neighbour", workload.key, target=2.5)
            try:
                child.ask(do="prepare", key=workload.key)
                times: list[list[float]] = [[], []]
                for _ in range(rounds):
                    for i, action in enumerate((signal.SIGCONT, signal.SIGSTOP)):
                        spinner.send_signal(action)
                        times[i].append(child.ask(do="block")["seconds"] * 1e6)
                row.flambeau, row.torch = (statistics.median(found) for found in times)
            except RuntimeError as error:
                row.error = str(error)
            show(row)
    finally:
        spinner.kill()
        spinner.wait()
        child.close()


def time_demo(show: Show) -> None:
    """Time the demo with an empty kernel cache; it has no counterpart in PyTorch."""
    row = Row("start", "demo, first run, nothing cached", "s")
    with tempfile.TemporaryDirectory(prefix="flambeau-demo-") as folder:
        script = str(ROOT / "examples" / "digits_demo.py")
        environment = {**Side("flambeau").environment, "PYTHONPATH": str(ROOT)}
        environment["FLAMBEAU_CACHE"] = str(Path(folder) / "kernels")
        command = [sys.executable, script, "--fresh", "--out", str(Path(folder) / "out")]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        row.flambeau = time.perf_counter() - start
        if done.returncode:
            row.error = (done.stderr.strip().splitlines()[-1:] or ["no output"])[0][:200]
    show(row)
