"""Samplers: the order in which samples are visited.

Built-in samplers also offer `_index_tensors()`: the same order as `__iter__`, drawn at the same
moments, but as whole int64 tensors. `DataLoader` slices those for its gather path instead of
collecting Python integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import flambeau

T_co = TypeVar("T_co", covariant=True)
_REPLACEMENT_CHUNK = (
    32  # PyTorch draws indices with replacement 32 at a time: part of the random stream
)


class Sampler(Generic[T_co]):
    """Base of samplers: an iterable of indices (or of lists of them); `__len__` is optional.

    >>> import flambeau as torch
    >>> class Backwards(torch.utils.data.Sampler):
    ...     def __init__(self, data):
    ...         self.size = len(data)
    ...
    ...     def __iter__(self):
    ...         return iter(range(self.size - 1, -1, -1))
    >>> data = [10, 20, 30]
    >>> list(torch.utils.data.DataLoader(data, None, sampler=Backwards(data)))
    [30, 20, 10]
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} needs an __iter__ that yields indices")


class SequentialSampler(Sampler[int]):
    """0, 1, ..., len(data_source) - 1.

    >>> from flambeau.utils.data import SequentialSampler
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)

    def _index_tensors(self) -> Iterator:
        yield flambeau.arange(len(self.data_source))


class RandomSampler(Sampler[int]):
    """Indices in random order: a permutation, or draws with replacement.

    `num_samples` (default: the length) may exceed the length: then several permutations follow one
    another. Without a `generator`, each iteration seeds a fresh one from the default generator.

    >>> from flambeau.utils.data import RandomSampler
    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got"
                f" num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many indices one iteration yields; follows the dataset's length when not given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        for indices in self._index_tensors():
            yield from indices.tolist()

    def __len__(self) -> int:
        return self.num_samples

    def _index_tensors(self) -> Iterator:
        """The order as int64 tensors, each drawn only when the one before it is used up."""
        generator = self.generator if self.generator is not None else _make_seeded_generator()
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            whole, rest = divmod(wanted, _REPLACEMENT_CHUNK)
            for size in [_REPLACEMENT_CHUNK] * whole + [rest]:
                yield flambeau.randint(
                    high=n, size=(size,), dtype=flambeau.int64, generator=generator
                )
            return
        for _ in range(wanted // n if n else 0):
            yield flambeau.randperm(n, generator=generator)
        # The cut permutation is drawn even when nothing of it is needed: later draws depend on it.
        yield flambeau.randperm(n, generator=generator)[: wanted % n if n else 0]


def _draw_seed(generator: Any = None) -> int:
    """A non-negative int64: two words of the stream of `generator`, or of the default one."""
    return int(flambeau.empty((), dtype=flambeau.int64).random_(generator=generator).item())


def _make_seeded_generator():
    """A new generator, seeded by one draw from the default generator."""
    generator = flambeau.Generator()
    generator.manual_seed(_draw_seed())
    return generator


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order, without replacement.

    >>> from flambeau.utils.data import SubsetRandomSampler
    >>> sorted(SubsetRandomSampler([5, 7, 9]))
    [5, 7, 9]
    """

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in flambeau.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, drawn in proportion to `weights`, which need not sum to 1.

    >>> from flambeau.utils.data import WeightedRandomSampler
    >>> list(WeightedRandomSampler([0.0, 1.0, 0.0], 3))
    [1, 1, 1]
    """

    weights: Any
    num_samples: int
    replacement: bool

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(
                f"num_samples should be a positive integer value, but got num_samples={num_samples}"
            )
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        weights_tensor = flambeau.as_tensor(weights, dtype=flambeau.float64)
        if weights_tensor.dim() != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape"
                f" {tuple(weights_tensor.shape)}"
            )
        self.weights = weights_tensor
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = flambeau.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list]):
    """Groups the indices of another sampler into lists of `batch_size`.

    >>> from flambeau.utils.data import BatchSampler
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    sampler: Any
    batch_size: int
    drop_last: bool

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"batch_size should be a positive integer value, but got batch_size={batch_size}"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list]:
        if type(self.sampler) in (SequentialSampler, RandomSampler):
            yield from self._cut_lists()
            return
        indices = iter(self.sampler)
        while batch := [*itertools.islice(indices, self.batch_size)]:
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def _cut_lists(self) -> Iterator[list]:
        """Slices of whole lists: the sampler need not yield its indices one by one."""
        size = self.batch_size
        rest: list[int] = []
        for chunk in self.sampler._index_tensors():
            indices = rest + chunk.tolist()
            whole = len(indices) - len(indices) % size
            for start in range(0, whole, size):
                yield indices[start : start + size]
            rest = indices[whole:]
        if rest and not self.drop_last:
            yield rest

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _index_tensors(self) -> Iterator:
        """Batches as int64 tensors, for samplers that offer `_index_tensors` themselves."""
        chunks = self.sampler._index_tensors()
        size, rest = self.batch_size, None
        for chunk in chunks:
            if rest is not None:
                chunk, rest = flambeau.cat([rest, chunk]), None
            n = chunk.size(0)
            whole = n - n % size
            for start in range(0, whole, size):
                yield chunk[start : start + size]
            if whole != n:
                rest = chunk[whole:]
        if rest is not None and not self.drop_last:
            yield rest
