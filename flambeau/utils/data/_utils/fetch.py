"""From indices to batches, in this process or in a worker: one function per kind of dataset.

A fetcher is `fetch(index) -> batch`: `index` is a list of indices (or a single one without
batching). Streams raise StopIteration when they end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import flambeau
from flambeau import core
from flambeau.ops import launch_index as launch

from ..dataset import IterableDataset, Subset, TensorDataset
from .collate import default_collate


def make_fetcher(dataset, auto_collation: bool, collate_fn: Callable, drop_last: bool) -> Callable:
    """The fetcher for `dataset`; starts its iterator when it is a stream."""
    if isinstance(dataset, IterableDataset):
        return _make_stream_fetcher(iter(dataset), auto_collation, collate_fn, drop_last)
    if not auto_collation:
        return lambda index: collate_fn(dataset[index])
    gather = make_gatherer(dataset, collate_fn)
    if gather is not None:
        return lambda indices: gather(flambeau.tensor(indices, dtype=flambeau.int64))
    if callable(getattr(dataset, "__getitems__", None)):
        return lambda indices: collate_fn(dataset.__getitems__(indices))
    return lambda indices: collate_fn([dataset[index] for index in indices])


def _make_stream_fetcher(
    stream: Iterator, auto_collation: bool, collate_fn: Callable, drop_last: bool
) -> Callable:
    def fetch_one(index) -> Any:
        return collate_fn(next(stream))

    def fetch_batch(indices) -> Any:
        samples = list(itertools.islice(stream, len(indices)))
        if not samples or (drop_last and len(samples) < len(indices)):
            raise StopIteration
        return collate_fn(samples)

    return fetch_batch if auto_collation else fetch_one


def make_gatherer(dataset, collate_fn: Callable) -> Callable | None:
    """`gather(index) -> list of tensors` for rows of tensors under `default_collate`, else None.

    `index` is a 1-d int64 tensor. The result equals `default_collate([dataset[i] for i in index])`,
    without a Python loop over the samples. Holds for `TensorDataset` and `Subset`s of it, when no
    subclass has its own fetch.
    """
    if collate_fn is not default_collate:
        return None
    if type(dataset) is Subset:
        inner = make_gatherer(dataset.dataset, collate_fn)
        return None if inner is None else _make_subset_gatherer(dataset.indices, inner)
    if not isinstance(dataset, TensorDataset) or not _fetches_rows(dataset):
        return None
    tensors = dataset.tensors
    if any(type(tensor) is not flambeau.Tensor for tensor in tensors):
        return None
    takers = [_make_taker(tensor) for tensor in tensors]
    return lambda index: [take(index) for take in takers]


def _make_taker(tensor: Any) -> Callable:
    """`tensor[index]` for a 1-d int64 index, with all but the kernel call decided beforehand."""
    layout = launch.table_layout(tensor, 0)
    if layout is None or tensor.requires_grad:
        return tensor.__getitem__
    # An alias with a layout of its own: the original's may be changed in the middle of an epoch.
    table, tail, dtype, step = tensor.detach(), tensor.shape[1:], tensor.dtype, tensor.stride()[0]
    limits = launch.bounds("DataLoader", table, 0, wrap=True)
    run, empty = launch.run_take, core.empty  # type: ignore[attr-defined]

    def take(index: Any) -> Any:
        out = empty((index.numel(), *tail), dtype)
        run(out, table, index, layout, step, limits)
        return out

    return take


def _fetches_rows(dataset: TensorDataset) -> bool:
    own = type(dataset)
    return own.__getitem__ is TensorDataset.__getitem__ and not hasattr(own, "__getitems__")


def _make_subset_gatherer(indices, inner: Callable) -> Callable | None:
    if not isinstance(indices, (list, tuple, range)) or not all(type(i) is int for i in indices):
        return None
    table = flambeau.tensor(list(indices), dtype=flambeau.int64)
    return lambda index: inner(table[index])
