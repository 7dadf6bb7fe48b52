"""`DataLoader`: batches from a dataset, made when asked for or ahead by processes or threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from . import _utils
from ._utils.collate import default_collate, default_convert
from ._utils.worker import get_worker_info
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)
_FROZEN = frozenset(
    ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
)


class _DatasetKind:
    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler):
    """Stands in for a sampler where the dataset decides its own order."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset: a map-style `Dataset` (anything with `__getitem__` and `__len__`) or an
            `IterableDataset`.
        batch_size: samples a batch; None turns batching off.
        shuffle: visit the samples in a new random order every epoch.
        sampler, batch_sampler: your own order of indices, or of lists of indices.
        num_workers: worker processes (or threads); 0 loads when a batch is asked for.
        collate_fn: list of samples -> batch; `default_collate`, or `default_convert` without
            batching.
        pin_memory: copy batches to page-locked memory, where there is an accelerator.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a worker, 0 for ever.
        worker_init_fn: called in each worker with its id, after seeding.
        multiprocessing_context: "fork" (default on Linux), "spawn", "forkserver" or a context.
        generator: source of the order and of the base seed; worker i is seeded with base seed + i.
        prefetch_factor: batches under way per worker (2).
        persistent_workers: keep workers, and their copies of the dataset, from epoch to epoch.
        in_order: False takes batches as workers finish them.
        worker_type: "process", or "thread" for workers that are threads of this process. They share
            the dataset and copy nothing: good for large batches and for work that releases the
            interpreter lock (NumPy, Pillow, reading files), of no use for work in plain Python.

    Raises ValueError for options that exclude one another. An exception in a worker is raised here
    with its class and traceback text; a worker that dies is a RuntimeError that names it.

    A worker thread has its own `get_worker_info()` and default generator, seeded as a process's.
    Python's `random` and NumPy's `numpy.random` have one state for all threads, which is left
    alone: draw from `get_worker_info().rng.random_generator` and `.numpy_generator`, which give
    what a worker process would draw.

    >>> import flambeau as torch
    >>> from flambeau.utils.data import DataLoader, TensorDataset
    >>> for x, y in DataLoader(TensorDataset(torch.arange(3), torch.arange(3) * 2), batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0, 1] [0, 2]
    [2] [4]
    """

    dataset: Any
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    worker_type: str
    sampler: Sampler | Iterable
    pin_memory_device: str
    prefetch_factor: int | None
    _iterator: Any = None
    __initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        worker_type: str = "process",
    ) -> None:
        _check_worker_options(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_worker_type(worker_type, multiprocessing_context)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.worker_type = worker_type
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        if isinstance(dataset, IterableDataset):
            self._dataset_kind = _DatasetKind.Iterable
            _check_stream_options(shuffle, sampler, batch_sampler)
            shuffle = False
        else:
            self._dataset_kind = _DatasetKind.Map
        _check_exclusive_options(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            sampler = self._make_sampler(bool(shuffle), generator)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self.__initialized = True
        if num_workers and worker_type == "process":
            self.check_worker_number_rationality()

    def _make_sampler(self, shuffle: bool, generator: Any) -> Sampler:
        if self._dataset_kind == _DatasetKind.Iterable:
            return _InfiniteConstantSampler()
        if shuffle:
            return RandomSampler(self.dataset, generator=generator)
        return SequentialSampler(self.dataset)

    @property
    def multiprocessing_context(self):
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        _check_context(context, self.num_workers)
        self.__multiprocessing_context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in _FROZEN:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self):
        return self.batch_sampler if self._auto_collation else self.sampler

    def __iter__(self):
        if not self.persistent_workers or self.num_workers == 0:
            return self._get_iterator()
        if self._iterator is None or self._iterator.closed:
            self._iterator = self._get_iterator()
        else:
            self._iterator.reset(self)
        return self._iterator

    def _get_iterator(self):
        if self.num_workers == 0:
            return _utils.iterators.SingleProcessIterator(self)
        return _utils.iterators.WorkerIterator(self)

    def check_worker_number_rationality(self) -> None:
        """Warn when there are more worker processes than processors that may run them."""
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if count is None or self.num_workers <= count:
            return
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. Our"
            f" suggested max number of worker in current system is {count}, which is smaller than"
            " what this DataLoader is going to create. Please be aware that excessive worker"
            " creation might get DataLoader running slow or even freeze, lower the worker number"
            " to avoid potential slowness/freeze if necessary.",
            stacklevel=3,
        )

    def __len__(self) -> int:
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        # The stream's own estimate; the iterator warns when it turns out to be too low.
        length = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)


def _check_worker_options(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable"
            " multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if num_workers > 0 and prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor option should be positive, not {prefetch_factor}")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_worker_type(worker_type: str, context: Any) -> None:
    if worker_type not in ("process", "thread"):
        raise ValueError(f"worker_type option should be 'process' or 'thread', not {worker_type!r}")
    if worker_type == "thread" and context is not None:
        raise ValueError("multiprocessing_context option is for worker_type='process'")


def _check_stream_options(shuffle, sampler, batch_sampler) -> None:
    for name, value in (
        ("shuffle", shuffle or None),
        ("sampler", sampler),
        ("batch_sampler", batch_sampler),
    ):
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got"
                f" {name}={value}"
            )


def _check_exclusive_options(batch_size, shuffle: bool, sampler, batch_sampler, drop_last) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and"
            " drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )


def _check_context(context: Any, num_workers: int) -> None:
    import multiprocessing.context

    if context is None:
        return
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0),"
            f" but got num_workers={num_workers}"
        )
    methods = multiprocessing.get_all_start_methods()
    if isinstance(context, str) and context not in methods:
        raise ValueError(
            "multiprocessing_context option should specify a valid start method in"
            f" {methods!r}, but got multiprocessing_context={context!r}"
        )
    if not isinstance(context, (str, multiprocessing.context.BaseContext)):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying"
            f" the start method, but got multiprocessing_context={context}"
        )
