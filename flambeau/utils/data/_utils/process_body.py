"""The body of a worker process."""

from __future__ import annotations

import multiprocessing
import queue
import random
import signal
import sys
import threading

import flambeau

from .errors import ExceptionWrapper
from .transport import BatchSender
from .worker import (
    WorkerInfo,
    WorkerPlan,
    answer,
    guard,
    list_numpy_entropy,
    restart,
    set_process_info,
    start,
)

_PARENT_CHECK_SECONDS = 5.0


def run_worker(plan: WorkerPlan, connection, inherited: list) -> None:
    """Serve tasks from `connection` until told to stop or the consumer is gone.

    `inherited` are connections of the consumer that a fork copied: closed here, or their other ends
    would never see that the consumer has closed them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the consumer; it stops us
    for other in inherited:
        other.close()
    sender = BatchSender(connection, plan.consumer_pid, plan.keep_blocks)
    tasks = _TaskQueue(connection)
    seeding = _set_up_process(plan)
    fetch = guard(start, plan)
    try:
        while (task := tasks.get()) is not None:
            fetch = _serve(task, fetch, plan, tasks, sender, seeding)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # the consumer has closed its end: nobody wants the rest


def _set_up_process(plan: WorkerPlan) -> _NumpySeeding:
    """One thread, and random streams of this worker's own."""
    flambeau.set_num_threads(1)
    random.seed(plan.seed)
    flambeau.manual_seed(plan.seed)
    set_process_info(WorkerInfo(plan.worker_id, plan.num_workers, plan.seed, plan.dataset))
    seeding = _NumpySeeding(plan.base_seed, plan.worker_id)
    seeding.apply()
    return seeding


class _NumpySeeding:
    """Seeds NumPy's legacy generator once NumPy is in use: a dataset may import it late."""

    def __init__(self, base_seed: int, worker_id: int) -> None:
        self._entropy = list_numpy_entropy(base_seed, worker_id)
        self._done = False

    def apply(self) -> None:
        numpy = sys.modules.get("numpy")
        if self._done or numpy is None or not hasattr(numpy, "random"):
            return
        numpy.random.seed(numpy.random.SeedSequence(self._entropy).generate_state(4))
        self._done = True


def _serve(task, fetch, plan: WorkerPlan, tasks: _TaskQueue, sender: BatchSender, seeding):
    """Answer one task; returns the fetcher for the next one."""
    kind, epoch, released, index = task
    sender.give_back(released)
    if kind == "restart":
        return guard(restart, plan)
    if epoch != tasks.epoch:
        return fetch  # the consumer has given up that epoch
    seeding.apply()
    head, value = answer(fetch, index, plan)
    try:
        sender.send((head, epoch), value)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        sender.send(("error", epoch), ExceptionWrapper(where=plan.where))
    return fetch


class _TaskQueue:
    """Tasks read off the pipe by a thread, so that the consumer never blocks on a busy worker."""

    def __init__(self, connection) -> None:
        self.epoch = 0
        self._connection = connection
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._stopped = False
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while (task := self._connection.recv()) is not None:
                self.epoch = task[1]
                self._tasks.put(task)
        except (EOFError, OSError):
            pass  # the consumer is gone: the same as being told to stop
        self._stopped = True
        self._tasks.put(None)

    def get(self) -> tuple | None:
        """The next task; None once the consumer has stopped us or died."""
        while not self._stopped:
            try:
                task = self._tasks.get(timeout=_PARENT_CHECK_SECONDS)
            except queue.Empty:
                # A sibling may hold a copy of the pipe, so its end alone does not show this.
                parent = multiprocessing.parent_process()
                if parent is None or not parent.is_alive():
                    return None
                continue
            return None if self._stopped else task
        return None
