"""What `iter(DataLoader)` returns."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

from ..dataset import IterableDataset
from ..sampler import BatchSampler, RandomSampler, SequentialSampler, _draw_seed
from . import processes, threads
from .fetch import make_fetcher, make_gatherer
from .heap import keep_freed_memory
from .worker import WorkerPlan

_TENSOR_SAMPLERS = (RandomSampler, SequentialSampler)


class SingleProcessIterator:
    """Fetches each batch when it is asked for."""

    def __init__(self, loader) -> None:
        if loader.timeout != 0:
            raise AssertionError("DataLoader: timeout needs num_workers > 0")
        _warn_of_missing_accelerator(loader)
        self._index_sampler = loader._index_sampler
        self._base_seed = _draw_seed(loader.generator)  # PyTorch draws it here, needed or not
        gather = _find_gather(loader)
        if gather is not None:
            self._next_index: Any = loader.batch_sampler._index_tensors().__next__
            self._fetch = gather
            return
        keep_freed_memory()
        self._next_index = iter(loader._index_sampler).__next__
        self._fetch = make_fetcher(
            loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )
        if isinstance(loader.dataset, IterableDataset):
            self._fetch = _LengthCheck(loader).watch(self._fetch)

    def __iter__(self) -> SingleProcessIterator:
        return self

    def __next__(self) -> Any:
        return self._fetch(self._next_index())

    def __len__(self) -> int:
        return len(self._index_sampler)


def _find_gather(loader):
    """The gather function when indices may stay tensors all the way from the sampler, else None."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or type(batches.sampler) not in _TENSOR_SAMPLERS:
        return None
    return make_gatherer(loader.dataset, loader.collate_fn)


def _warn_of_missing_accelerator(loader) -> None:
    if loader.pin_memory:
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, then device"
            " pinned memory won't be used.",
            stacklevel=4,
        )


class _LengthCheck:
    """Warns, once, when a stream yields more batches than its `__len__` promised."""

    def __init__(self, loader) -> None:
        self._dataset = loader.dataset
        self._count = 0
        self._length: int | None = None
        with contextlib.suppress(TypeError):  # most streams have no length
            self._length = len(loader)

    def watch(self, fetch):
        """`fetch`, counted."""
        if self._length is None:
            return fetch

        def fetch_and_count(index):
            batch = fetch(index)
            self.count()
            return batch

        return fetch_and_count

    def count(self) -> None:
        self._count += 1
        if self._length is None or self._count != self._length + 1:
            return
        warnings.warn(
            f"Length of IterableDataset {self._dataset} was reported to be {self._length}"
            f" (when accessing len(dataloader)), but {self._count} samples have been fetched.",
            stacklevel=4,
        )


class WorkerIterator:
    """Hands tasks to worker processes or threads round robin and returns their batches.

    `prefetch_factor` tasks a worker are under way at any time. A worker answers its tasks in order,
    so in-order delivery needs no reordering: the next batch is the next answer of the worker whose
    turn it is.
    """

    def __init__(self, loader) -> None:
        _warn_of_missing_accelerator(loader)
        # The loader itself is not kept: it keeps this iterator, if the workers are persistent.
        self._in_order = loader.in_order
        self._persistent = loader.persistent_workers
        self._base_seed = _draw_seed(loader.generator)
        self._timeout = loader.timeout or None
        self._epoch = 0
        self._workers: list[Any] = []
        team: Any = threads if loader.worker_type == "thread" else processes
        self._wait_for_any = team.wait_for_any
        self._stop = weakref.finalize(self, team.stop_workers, self._workers, os.getpid())
        plans = [self._plan_worker(loader, worker_id) for worker_id in range(loader.num_workers)]
        team.start_workers(plans, loader.multiprocessing_context, self._workers)
        self._begin_epoch(loader)

    def _plan_worker(self, loader, worker_id: int) -> WorkerPlan:
        return WorkerPlan(
            dataset=loader.dataset,
            auto_collation=loader._auto_collation,
            collate_fn=loader.collate_fn,
            drop_last=loader.drop_last,
            init_fn=loader.worker_init_fn,
            base_seed=self._base_seed,
            worker_id=worker_id,
            num_workers=loader.num_workers,
            keep_blocks=loader.prefetch_factor + 1,
            consumer_pid=os.getpid(),
            worker_type=loader.worker_type,
        )

    def _begin_epoch(self, loader) -> None:
        self._index_sampler = loader._index_sampler
        self._indices = iter(self._index_sampler)
        self._turns: collections.deque[Any] = collections.deque()
        self._cycle = itertools.cycle(self._workers)
        stream = isinstance(loader.dataset, IterableDataset)
        self._length_check = _LengthCheck(loader) if stream else None
        for _ in range(loader.prefetch_factor * len(self._workers)):
            self._ask_next()

    def reset(self, loader) -> None:
        """Start the next epoch with the workers that are there."""
        self._epoch += 1
        with self._stop_after_a_death():
            for worker in self._workers:
                worker.restart(self._epoch)
            self._begin_epoch(loader)

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        return not self._stop.alive

    def _ask_next(self, preferred: Any = None) -> None:
        """Give the next task to the next active worker, or to `preferred`."""
        worker = preferred if preferred is not None and preferred.active else self._find_active()
        if worker is None:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            return
        worker.ask(self._epoch, index)
        self._turns.append(worker)

    def _find_active(self) -> Any:
        for worker in itertools.islice(self._cycle, len(self._workers)):
            if worker.active:
                return worker
        return None

    def __iter__(self) -> WorkerIterator:
        return self

    def __next__(self) -> Any:
        if self.closed:
            raise StopIteration
        with self._stop_after_a_death():
            return self._next_batch()

    @contextlib.contextmanager
    def _stop_after_a_death(self) -> Iterator[None]:
        """Stop the other workers too when an error is that one has died."""
        try:
            yield
        except RuntimeError:
            if any(not worker.is_alive() for worker in self._workers):
                self._stop()
            raise

    def _next_batch(self) -> Any:
        while self._turns:
            worker, (kind, value) = self._receive()
            if kind == "end":
                worker.active = False
                self._turns = collections.deque(w for w in self._turns if w is not worker)
                self._ask_next()
                continue
            self._ask_next(None if self._in_order else worker)
            if kind == "error":
                value.reraise()
            if self._length_check is not None:
                self._length_check.count()
            return value
        if not self._persistent:
            self._stop()
        raise StopIteration

    def _receive(self) -> tuple[Any, tuple[str, Any]]:
        """The next answer and its worker: the one whose turn it is, or the first to answer."""
        candidates = [self._turns[0]] if self._in_order else list(dict.fromkeys(self._turns))
        while True:
            worker = self._wait_for_any(candidates, self._timeout)
            if worker is None:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            answer = worker.receive(self._epoch)
            if answer is not None:
                self._turns.remove(worker)
                return worker, answer

    def __len__(self) -> int:
        return len(self._index_sampler)
