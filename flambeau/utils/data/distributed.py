"""Sampling when several processes share one dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, TypeVar

import flambeau

from .sampler import Sampler

T_co = TypeVar("T_co", covariant=True)


class DistributedSampler(Sampler[T_co]):
    """The part of the dataset that belongs to process `rank` of `num_replicas`.

    The order (shuffled by a generator seeded with `seed + epoch`, the same on every process) is
    padded by repeating its start, or cut when `drop_last`, to a multiple of `num_replicas`; rank r
    takes every `num_replicas`-th index from r. Call `set_epoch` before each epoch for a new order.

    >>> from flambeau.utils.data import DistributedSampler
    >>> list(DistributedSampler("abcde", num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = _get_process_group().get_world_size()
        if rank is None:
            rank = _get_process_group().get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.num_samples = _count_samples_per_rank(len(dataset), num_replicas, drop_last)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        indices = self._draw_order()
        if not self.drop_last:
            missing = self.total_size - len(indices)
            repeats = math.ceil(missing / len(indices)) if indices else 0
            indices += (indices * repeats)[:missing]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def _draw_order(self) -> list[int]:
        n = len(self.dataset)
        if not self.shuffle:
            return list(range(n))
        generator = flambeau.Generator()
        generator.manual_seed(self.seed + self.epoch)
        return flambeau.randperm(n, generator=generator).tolist()

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch number that, added to `seed`, fixes the order of the next iteration."""
        self.epoch = epoch


def _count_samples_per_rank(n: int, num_replicas: int, drop_last: bool) -> int:
    if drop_last:
        return n // num_replicas
    return -(-n // num_replicas)


def _get_process_group():
    """The `flambeau.distributed` module, when a process group is up."""
    there = find_spec("flambeau.distributed") is not None
    if not there or not flambeau.distributed.is_available():
        raise RuntimeError(
            "Requires distributed package to be available: pass num_replicas and rank to"
            " DistributedSampler"
        )
    return flambeau.distributed
