"""The body of a worker process."""

from __future__ import annotations

import multiprocessing
import queue
import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flambeau

from .errors import ExceptionWrapper
from .fetch import make_fetcher
from .transport import BatchSender

_PARENT_CHECK_SECONDS = 5.0
_worker_info: WorkerInfo | None = None


class WorkerInfo:
    """What `get_worker_info()` tells: the worker's id (from 0), its seed, its dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.__dict__.update(id=id, num_workers=num_workers, seed=seed, dataset=dataset)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


def get_worker_info() -> WorkerInfo | None:
    """In a worker process the `WorkerInfo` of it, elsewhere None.

    >>> from flambeau.utils.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return _worker_info


@dataclass
class WorkerPlan:
    """What a worker needs to know; travels by fork or by pickle."""

    dataset: Any
    auto_collation: bool
    collate_fn: Callable
    drop_last: bool
    init_fn: Callable | None
    base_seed: int
    worker_id: int
    num_workers: int
    keep_blocks: int
    consumer_pid: int


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
    fetch = _guard(lambda: _start(plan), plan)
    try:
        while (task := tasks.get()) is not None:
            fetch = _serve(task, fetch, plan, tasks, sender, seeding)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # the consumer has closed its end: nobody wants the rest


def _set_up_process(plan: WorkerPlan) -> _NumpySeeding:
    """One thread, and random streams of this worker's own."""
    global _worker_info
    flambeau.set_num_threads(1)
    seed = plan.base_seed + plan.worker_id
    random.seed(seed)
    flambeau.manual_seed(seed)
    _worker_info = WorkerInfo(plan.worker_id, plan.num_workers, seed, plan.dataset)
    seeding = _NumpySeeding(plan.base_seed, plan.worker_id)
    seeding.apply()
    return seeding


class _NumpySeeding:
    """Seeds NumPy's legacy generator once NumPy is in use: a dataset may import it late."""

    def __init__(self, base_seed: int, worker_id: int) -> None:
        self._entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
        self._done = False

    def apply(self) -> None:
        numpy = sys.modules.get("numpy")
        if self._done or numpy is None or not hasattr(numpy, "random"):
            return
        numpy.random.seed(numpy.random.SeedSequence(self._entropy).generate_state(4))
        self._done = True


def _start(plan: WorkerPlan) -> Callable:
    if plan.init_fn is not None:
        plan.init_fn(plan.worker_id)
    return _make_fetcher(plan)


def _make_fetcher(plan: WorkerPlan) -> Callable:
    return make_fetcher(plan.dataset, plan.auto_collation, plan.collate_fn, plan.drop_last)


def _guard(make: Callable, plan: WorkerPlan) -> Callable:
    """`make()`, or a fetcher that reports its exception when the first task comes."""
    try:
        return make()
    except Exception:
        error = ExceptionWrapper(where=f"in DataLoader worker process {plan.worker_id}")
        return lambda index: error


def _serve(task, fetch, plan: WorkerPlan, tasks: _TaskQueue, sender: BatchSender, seeding):
    """Answer one task; returns the fetcher for the next one."""
    kind, epoch, released, index = task
    sender.give_back(released)
    if kind == "restart":
        return _guard(lambda: _make_fetcher(plan), plan)
    if epoch != tasks.epoch:
        return fetch  # the consumer has given up that epoch
    seeding.apply()
    head, value = _fetch(fetch, index, plan)
    try:
        sender.send((head, epoch), value)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        where = f"in DataLoader worker process {plan.worker_id}"
        sender.send(("error", epoch), ExceptionWrapper(where=where))
    return fetch


def _fetch(fetch: Callable, index, plan: WorkerPlan) -> tuple[str, Any]:
    try:
        value = fetch(index)
    except StopIteration:
        return "end", None
    except Exception:
        where = f"in DataLoader worker process {plan.worker_id}"
        return "error", ExceptionWrapper(where=where)
    return ("error" if isinstance(value, ExceptionWrapper) else "batch"), value


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
