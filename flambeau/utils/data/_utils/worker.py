"""What a worker is and does, whether it is a process or a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ExceptionWrapper
from .fetch import make_fetcher
from .heap import keep_freed_memory

STOP_SECONDS = 5.0
_process_info: WorkerInfo | None = None
_thread = threading.local()


class WorkerInfo:
    """What `get_worker_info()` tells: the worker's id (from 0), its seed, its dataset.

    `worker_method` is "multiprocessing" or "thread". In a thread, `rng` holds generators of its
    own, which draw what a worker process would (`threads.WorkerRandom`); it is None in a process.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any
    worker_method: str

    def __init__(
        self,
        id: int,
        num_workers: int,
        seed: int,
        dataset: Any,
        rng: Any = None,
        worker_method: str = "multiprocessing",
    ) -> None:
        self.__dict__.update(id=id, num_workers=num_workers, seed=seed, dataset=dataset)
        self.__dict__.update(rng=rng, worker_method=worker_method)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


def get_worker_info() -> WorkerInfo | None:
    """In a worker, process or thread, the `WorkerInfo` of it, elsewhere None.

    >>> from flambeau.utils.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return getattr(_thread, "info", None) or _process_info


def set_process_info(info: WorkerInfo) -> None:
    """Make `info` what `get_worker_info()` tells in every thread of this process."""
    global _process_info
    _process_info = info
    _thread.info = None  # a process forked from a worker thread has a copy of the thread's


def set_thread_info(info: WorkerInfo | None) -> None:
    """Make `info` what `get_worker_info()` tells in this thread."""
    _thread.info = info


@dataclass
class WorkerPlan:
    """What a worker needs to know; a process gets it by fork or by pickle."""

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
    worker_type: str

    @property
    def seed(self) -> int:
        """Seeds the random streams of this worker."""
        return self.base_seed + self.worker_id

    @property
    def where(self) -> str:
        """For messages."""
        return f"in DataLoader worker {self.worker_type} {self.worker_id}"


def start(plan: WorkerPlan) -> Callable:
    """The fetcher of a worker's first epoch, after its `worker_init_fn`."""
    keep_freed_memory()
    if plan.init_fn is not None:
        plan.init_fn(plan.worker_id)
    return restart(plan)


def restart(plan: WorkerPlan) -> Callable:
    """The fetcher of a worker's next epoch."""
    return make_fetcher(plan.dataset, plan.auto_collation, plan.collate_fn, plan.drop_last)


def guard(make: Callable[[WorkerPlan], Callable], plan: WorkerPlan) -> Callable:
    """`make(plan)`, or a fetcher that reports its exception when the first task comes."""
    try:
        return make(plan)
    except Exception:
        error = ExceptionWrapper(where=plan.where)
        return lambda index: error


def answer(fetch: Callable, index: Any, plan: WorkerPlan) -> tuple[str, Any]:
    """Do a task: its result's kind ("batch", "error" or, of a stream, "end") and value."""
    try:
        value = fetch(index)
    except StopIteration:
        return "end", None
    except Exception:
        return "error", ExceptionWrapper(where=plan.where)
    return ("error" if isinstance(value, ExceptionWrapper) else "batch"), value


def list_numpy_entropy(base_seed: int, worker_id: int) -> list[int]:
    """What NumPy's generators in a worker are seeded from: PyTorch's words."""
    return [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
