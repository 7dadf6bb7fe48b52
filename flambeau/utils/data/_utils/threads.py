"""Worker threads, for the consumer just like `processes` but without pickles and copies.

The consumer and its threads share the dataset and hand batches over as they are. A thread has its
own `get_worker_info()`, default generator, gradient mode and number of kernel threads (one).
"""

from __future__ import annotations

import collections
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import flambeau
from flambeau.core import own_context  # type: ignore[attr-defined]

from .errors import ExceptionWrapper
from .worker import (
    STOP_SECONDS,
    WorkerInfo,
    WorkerPlan,
    answer,
    guard,
    list_numpy_entropy,
    restart,
    set_thread_info,
    start,
)


class WorkerRandom:
    """`get_worker_info().rng`: generators that give the numbers a worker process would draw.

    Python's `random` and NumPy's `numpy.random` functions have one state for all threads, which
    workers leave alone. `random_generator` (a `random.Random`) and `numpy_generator` (a
    `numpy.random.RandomState`, None without NumPy) are the thread's own; so is `torch_generator`,
    which is behind the default generator in this thread anyway.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        self.random_generator = random.Random(plan.seed)
        self.torch_generator = flambeau.Generator().manual_seed(plan.seed)
        self._entropy = list_numpy_entropy(plan.base_seed, plan.worker_id)

    @cached_property
    def numpy_generator(self) -> Any:
        """Made on first use: NumPy is not imported for those who do not ask."""
        try:
            import numpy
        except ImportError:
            return None
        words = numpy.random.SeedSequence(self._entropy).generate_state(4)
        return numpy.random.RandomState(words)


class _Mailbox:
    """Answers of all threads: one queue to wait on, sorted by worker as they come out."""

    def __init__(self, count: int) -> None:
        self.incoming: queue.SimpleQueue = queue.SimpleQueue()
        self.sorted: list[collections.deque] = [collections.deque() for _ in range(count)]


@dataclass
class _Tasks:
    """What the consumer has to say to one thread."""

    queue: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    epoch: int = 0
    stopped: bool = False


class ThreadWorker:
    """A worker thread and its queues."""

    def __init__(self, plan: WorkerPlan, mailbox: _Mailbox) -> None:
        self.id = plan.worker_id
        self.mailbox = mailbox
        self.active = True
        self.tasks = _Tasks()
        self._ended = False
        # The thread does not know this object, nor the iterator: their end is its end.
        self.thread = threading.Thread(
            target=run_worker,
            args=(plan, self.tasks, mailbox.incoming.put),
            name=f"flambeau-loader-{plan.worker_id}",
            daemon=True,  # one that is stuck in a sample must not keep the program from ending
        )
        self.thread.start()

    def ask(self, epoch: int, index: Any) -> None:
        """Send a task; its answer is one `receive` away."""
        self.tasks.queue.put(("task", epoch, index))

    def restart(self, epoch: int) -> None:
        """Begin a new epoch: what is still under way for the old one is forgotten."""
        self.tasks.epoch = epoch
        self.tasks.queue.put(("restart", epoch, None))
        self.active = True

    def receive(self, epoch: int) -> tuple[str, Any] | None:
        """The next answer, `(kind, value)`; None for one of an earlier epoch."""
        sent_epoch, kind, value = self.mailbox.sorted[self.id].popleft()
        if kind == "exit":
            self._ended = True
            raise RuntimeError(
                f"DataLoader worker (thread {self.id}) exited unexpectedly\n{value.exc_msg}"
            )
        return (kind, value) if sent_epoch == epoch else None

    def is_alive(self) -> bool:
        """Whether the thread still serves."""
        return not self._ended and self.thread.is_alive()


def start_workers(plans: list[WorkerPlan], wanted: Any, workers: list[ThreadWorker]) -> None:
    """Start a thread for each plan; `workers` grows as they start."""
    mailbox = _Mailbox(len(plans))
    workers.extend(ThreadWorker(plan, mailbox) for plan in plans)


def wait_for_any(workers: list[ThreadWorker], timeout: float | None) -> ThreadWorker | None:
    """The first of `workers` that has sent something; None after `timeout` seconds."""
    mailbox = workers[0].mailbox
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        for worker in workers:
            if mailbox.sorted[worker.id]:
                return worker
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            sender, message = mailbox.incoming.get(timeout=left)
        except queue.Empty:
            return None
        mailbox.sorted[sender].append(message)


def stop_workers(workers: list[ThreadWorker], owner_pid: int) -> None:
    """Tell threads to stop and wait for them: each first finishes the batch that it is at.

    A thread cannot be ended from outside. One that takes longer than a few seconds is left to
    itself: it stops after that batch.
    """
    if os.getpid() != owner_pid:
        return  # a fork inherited the iterator, but no threads
    for worker in workers:
        worker.tasks.stopped = True
        worker.tasks.queue.put(None)
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        # The iterator may be collected in any thread, one of these too.
        if worker.thread is not threading.current_thread():
            worker.thread.join(max(0.0, deadline - time.monotonic()))
    workers.clear()


def run_worker(plan: WorkerPlan, tasks: _Tasks, put: Callable) -> None:
    """Serve tasks until told to stop."""
    rng = WorkerRandom(plan)
    set_thread_info(
        WorkerInfo(plan.worker_id, plan.num_workers, plan.seed, plan.dataset, rng, "thread")
    )
    try:
        with own_context(rng.torch_generator, 1):
            _serve(plan, tasks, put)
    except BaseException:  # SystemExit, for example: a process would be gone
        put((plan.worker_id, (tasks.epoch, "exit", ExceptionWrapper(where=plan.where))))
    finally:
        set_thread_info(None)


def _serve(plan: WorkerPlan, tasks: _Tasks, put: Callable) -> None:
    fetch = guard(start, plan)
    while (task := tasks.queue.get()) is not None and not tasks.stopped:
        kind, epoch, index = task
        if kind == "restart":
            fetch = guard(restart, plan)
        elif epoch == tasks.epoch:
            # The batch gets no name: here it would live on while the next task is waited for.
            put((plan.worker_id, (epoch, *answer(fetch, index, plan))))
