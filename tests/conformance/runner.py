"""Run entries in worker processes: a crash or an endless loop costs one column, not the run."""

import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import types
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Settings:
    """What every worker needs to know."""

    against: str
    max_samples: int
    timeout: float


@dataclass(frozen=True)
class Result:
    """The outcome of one column of one entry."""

    entry: str
    column: str
    status: str  # pass, fail, crash, timeout, none
    passed: int = 0
    total: int = 0
    reason: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for the JSON file."""
        return {k: v for k, v in asdict(self).items() if k not in ("entry", "column")}


Job = tuple[str, tuple[str, ...]]


def run_jobs(
    jobs: list[Job], settings: Settings, workers: int, report: Callable[[Result], None]
) -> None:
    """Check every column of every job; `report` is called once for each, in order of completion."""
    pool = _Pool(deque(jobs), settings, report)
    pool.run(min(workers, len(jobs)))


class _Worker:
    """A process with a job: the columns it still owes, and when it last answered."""

    def __init__(self, context: Any, settings: Settings) -> None:
        self.log = Path(tempfile.mkstemp(prefix="conformance-", suffix=".log")[1])
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=_work, args=(other, settings, str(self.log)), daemon=True
        )
        self.process.start()
        other.close()
        self.entry = ""
        self.owed: list[str] = []
        self.heard = time.monotonic()

    def give(self, job: Job) -> None:
        self.entry, self.owed = job[0], list(job[1])
        self.heard = time.monotonic()
        self.connection.send(job)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.log.unlink(missing_ok=True)


class _Pool:
    def __init__(
        self, jobs: deque[Job], settings: Settings, report: Callable[[Result], None]
    ) -> None:
        methods = multiprocessing.get_all_start_methods()
        # A fork starts at once, with PyTorch's tables loaded; they are imported in `run`.
        self.context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        self.jobs, self.settings, self.report = jobs, settings, report
        self.workers: list[_Worker] = []

    def run(self, count: int) -> None:
        if self.context.get_start_method() == "fork":
            importlib.import_module(".families", __package__)
        try:
            for _ in range(count):
                self._start()
            while any(worker.owed for worker in self.workers):
                self._listen()
        finally:
            for worker in self.workers:
                worker.stop()

    def _start(self) -> None:
        worker = _Worker(self.context, self.settings)
        self.workers.append(worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        if self.jobs:
            worker.give(self.jobs.popleft())

    def _listen(self) -> None:
        busy = {worker.connection: worker for worker in self.workers if worker.owed}
        for connection in wait(list(busy), timeout=POLL_SECONDS):
            self._hear(busy[connection])
        for worker in [w for w in self.workers if w.owed]:
            if time.monotonic() - worker.heard > self.settings.timeout:
                limit = f"no answer in {self.settings.timeout:g} s"
                self._replace(worker, "timeout", limit)

    def _hear(self, worker: _Worker) -> None:
        try:
            result = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._replace(worker, "crash", _crash_reason(worker))
            return
        worker.heard = time.monotonic()
        worker.owed.remove(result.column)
        self.report(result)
        if not worker.owed:
            self._next(worker)

    def _replace(self, worker: _Worker, status: str, reason: str) -> None:
        """Record the column that was lost and carry on with the next ones in a new process."""
        column, *rest = worker.owed
        self.report(Result(worker.entry, column, status, reason=reason))
        if rest:
            self.jobs.appendleft((worker.entry, tuple(rest)))
        worker.stop()
        self.workers.remove(worker)
        self._start()


def _crash_reason(worker: _Worker) -> str:
    """Name the signal and the Python line that were last seen."""
    code = worker.process.exitcode or 0
    name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    frames = [x.strip() for x in worker.log.read_text().splitlines() if x.startswith("  File")]
    return f"{name} at {frames[0]}" if frames else name


def _work(connection: Connection, settings: Settings, log: str) -> None:
    """Answer jobs until the parent closes the connection."""
    with open(log, "w") as crash_log, contextlib.suppress(EOFError):
        faulthandler.enable(crash_log)
        check = _prepare(settings)
        while True:
            entry, columns = connection.recv()
            for column in columns:
                connection.send(check(entry, column))


def _import_framework(name: str) -> types.ModuleType:
    """Import what is checked; PyTorch itself goes through a stand-in, so that it is translated."""
    module = importlib.import_module(name)
    if name != "torch":
        return module
    stand_in = types.ModuleType(name)
    stand_in.__getattr__ = lambda attribute: getattr(module, attribute)  # type: ignore[method-assign]
    return stand_in


def _prepare(settings: Settings) -> Callable[[str, str], Result]:
    """Import both frameworks in the worker and return the function that checks a column."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from . import checks, families

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # samples provoke PyTorch's deprecations on purpose
    sys.setrecursionlimit(10_000)
    try:
        framework = _import_framework(settings.against)
    except Exception as error:
        problem = f"import {settings.against}: {checks.explain(error)}"
        return lambda entry, column: Result(entry, column, "fail", reason=problem)

    def check(entry: str, column: str) -> Result:
        start = time.perf_counter()
        outcome = families.check(framework, entry, settings.max_samples, column)
        seconds = round(time.perf_counter() - start, 3)
        found = (outcome.status, outcome.passed, outcome.total, outcome.reason, seconds)
        return Result(entry, column, *found)

    return check
