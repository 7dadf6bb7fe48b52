"""The consumer's view of its worker processes: start, feed, receive, stop."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from typing import Any

from .process_body import run_worker
from .transport import BatchReceiver
from .worker import STOP_SECONDS, WorkerPlan


def choose_context(wanted: Any):
    """The multiprocessing context: the wanted one, the program's choice, else fork on Linux."""
    if isinstance(wanted, str):
        return multiprocessing.get_context(wanted)
    if wanted is not None:
        return wanted
    chosen = multiprocessing.get_start_method(allow_none=True)
    if chosen is None and sys.platform.startswith("linux"):
        chosen = "fork"
    return multiprocessing.get_context(chosen)


class ProcessWorker:
    """A worker process and our end of its pipe."""

    def __init__(self, context, plan: WorkerPlan, siblings: list[ProcessWorker]) -> None:
        self.connection, theirs = context.Pipe()
        inherited = []
        if context.get_start_method() == "fork":
            inherited = [self.connection, *(sibling.connection for sibling in siblings)]
        self.process = context.Process(
            target=run_worker, args=(plan, theirs, inherited), daemon=True
        )
        self.process.start()
        theirs.close()
        self._receiver = BatchReceiver(self.connection)
        self.active = True

    def ask(self, epoch: int, index: Any) -> None:
        """Send a task; its answer is one `receive` away."""
        self._send(("task", epoch, self._receiver.take_released(), index))

    def restart(self, epoch: int) -> None:
        """Begin a new epoch: what is still under way for the old one is forgotten."""
        self._send(("restart", epoch, self._receiver.take_released(), None))
        self.active = True

    def _send(self, message: tuple) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            self.fail()

    def receive(self, epoch: int) -> tuple[str, Any] | None:
        """The next answer, `(kind, value)`; None for one of an earlier epoch."""
        if not self.process.is_alive() and not self.connection.poll():
            self.fail()
        try:
            (kind, sent_epoch), value = self._receiver.receive()
        except (EOFError, OSError):
            self.fail()
        if sent_epoch != epoch:
            return None
        return kind, value

    def fail(self) -> None:
        """Raise the RuntimeError that says how this worker ended."""
        self.process.join(STOP_SECONDS)
        raise RuntimeError(
            f"DataLoader worker (pid(s) {self.process.pid}) exited unexpectedly"
            f"{_describe_exit(self.process.exitcode)}"
        ) from None

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.is_alive()


def _describe_exit(code: int | None) -> str:
    if code is None:
        return ": it closed its pipe"
    if code >= 0:
        return f" with exit code {code}"
    return f": killed by signal {-code} ({signal.strsignal(-code)})"


def start_workers(plans: list[WorkerPlan], wanted: Any, workers: list[ProcessWorker]) -> None:
    """Start a process for each plan; `workers` grows as they start."""
    context = choose_context(wanted)
    for plan in plans:
        workers.append(ProcessWorker(context, plan, workers))


def wait_for_any(workers: list[ProcessWorker], timeout: float | None) -> ProcessWorker | None:
    """The first worker that has sent something or died; None after `timeout` seconds."""
    owners = {worker.connection: worker for worker in workers}
    deaths = {worker.process.sentinel: worker for worker in workers}
    ready = multiprocessing.connection.wait([*owners, *deaths], timeout)
    for thing in ready:
        if thing in owners:  # what a dead worker has sent before is still good
            return owners[thing]
    return deaths[ready[0]] if ready else None


def stop_workers(workers: list[ProcessWorker], owner_pid: int) -> None:
    """Tell workers to stop, wait a little, then end those that do not; nothing is left behind."""
    if os.getpid() != owner_pid:
        return  # a fork inherited the iterator: the workers are not its children
    for worker in workers:
        with contextlib.suppress(OSError):  # it may be dead already: it is joined below
            worker.connection.send(None)
        worker.connection.close()
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(1.0)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
    workers.clear()
