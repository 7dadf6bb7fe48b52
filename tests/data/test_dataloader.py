"""DataLoader in one process."""

import pytest

import flambeau as torch
from flambeau.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
)
from flambeau.utils.data._utils.fetch import make_gatherer


class Squares(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == 13:
            raise KeyError("thirteen")
        return torch.tensor(index * index), str(index)


class Counting(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class Lying(Counting):
    def __len__(self):
        return 2


def rows(count=10):
    return TensorDataset(torch.arange(count * 2).view(count, 2), torch.arange(count))


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_of_rows(drop_last):
    loader = DataLoader(rows(), batch_size=4, drop_last=drop_last)
    batches = list(loader)
    assert [batch[1].tolist() for batch in batches] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ][: 2 if drop_last else 3]
    assert len(loader) == len(batches)
    assert type(batches[0]) is list
    assert batches[0][0].shape == (4, 2)


def test_shuffling_visits_every_row_once():
    loader = DataLoader(rows(50), batch_size=8, shuffle=True)
    epochs = [torch.cat([y for _, y in loader]).tolist() for _ in range(2)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    for x, y in loader:
        assert torch.equal(x[:, 0], y * 2)


def test_the_gather_path_equals_the_sample_path():
    data = rows(37)
    for options in ({}, {"shuffle": True}, {"drop_last": True, "shuffle": True}):
        torch.manual_seed(5)
        fast = list(DataLoader(data, batch_size=5, **options))
        torch.manual_seed(5)
        slow = list(
            DataLoader(data, batch_size=5, collate_fn=lambda b: default_collate(b), **options)
        )
        for one, other in zip(fast, slow, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_the_gather_path_takes():
    class Own(TensorDataset):
        def __getitem__(self, index):
            return "own"

    class OwnBatches(TensorDataset):
        def __getitems__(self, indices):
            return ["own"] * len(indices)

    data = rows()
    assert make_gatherer(data, default_collate) is not None
    assert make_gatherer(Subset(data, [1, 2]), default_collate) is not None
    for other in (Own(*data.tensors), OwnBatches(*data.tensors), [1, 2], Subset([1, 2], [0])):
        assert make_gatherer(other, default_collate) is None
    assert make_gatherer(data, list) is None
    assert next(iter(DataLoader(Own(*data.tensors), batch_size=2))) == ["own", "own"]
    assert next(iter(DataLoader(OwnBatches(*data.tensors), batch_size=2))) == ["own", "own"]


def test_subsets_of_rows():
    first, second = random_split(rows(20), [15, 5])
    seen = [y for part in (first, second) for _, y in DataLoader(part, batch_size=4)]
    assert sorted(torch.cat(seen).tolist()) == list(range(20))
    nested = Subset(Subset(rows(20), range(10, 20)), [3, -1])
    assert next(iter(DataLoader(nested, batch_size=2)))[1].tolist() == [13, 19]


def test_general_datasets():
    numbers, names = next(iter(DataLoader(Squares(5), batch_size=3)))
    assert numbers.tolist() == [0, 1, 4]
    assert names == ("0", "1", "2")
    assert list(DataLoader([1, 2, 3], batch_size=None)) == [1, 2, 3]
    assert list(DataLoader([1, 2, 3], batch_size=2, collate_fn=list)) == [[1, 2], [3]]


def test_an_error_does_not_end_the_iteration():
    loader = iter(DataLoader(Squares(16), batch_size=4, sampler=range(10, 16)))
    with pytest.raises(KeyError, match="thirteen"):
        next(loader)
    assert next(loader)[1] == ("14", "15")


def test_batch_fetching():
    class Batched(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert next(iter(DataLoader(Batched(4), batch_size=3))).tolist() == [0, -1, -2]


def test_samplers():
    data = rows(6)
    assert [y.tolist() for _, y in DataLoader(data, sampler=[5, 1], batch_size=2)] == [[5, 1]]
    batches = DataLoader(data, batch_sampler=[[0, 1], [5]])
    assert [y.tolist() for _, y in batches] == [[0, 1], [5]]
    assert batches.batch_size is None
    own = BatchSampler(RandomSampler(data, num_samples=9), 4, False)
    assert sum(len(y) for _, y in DataLoader(data, batch_sampler=own)) == 9
    assert isinstance(DataLoader(data).sampler, SequentialSampler)


def test_streams():
    assert [b.tolist() for b in DataLoader(Counting(5), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Counting(5), batch_size=2, drop_last=True)] == [
        [0, 1],
        [2, 3],
    ]
    assert list(DataLoader(Counting(3), batch_size=None)) == [0, 1, 2]
    with pytest.raises(TypeError):
        len(DataLoader(Counting(3)))
    with pytest.warns(UserWarning, match="reported to be 2"):
        list(DataLoader(Lying(4)))


def test_generator():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        state = torch.get_rng_state()
        order = [int(y) for _, y in DataLoader(rows(), shuffle=True, generator=generator)]
        assert torch.equal(torch.get_rng_state(), state)
        return order

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"prefetch_factor": 2}, "prefetch_factor"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor"),
        ({"persistent_workers": True}, "persistent_workers"),
        ({"sampler": [1], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "drop_last": True}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "mutually exclusive"),
        ({"batch_size": 0}, "batch_size"),
        ({"multiprocessing_context": "fork"}, "num_workers > 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(rows(), **options)


def test_stream_options_are_checked():
    for options in ({"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            DataLoader(Counting(3), **options)


def test_fixed_attributes():
    loader = DataLoader(rows())
    for name in ("batch_size", "sampler", "drop_last", "dataset", "batch_sampler"):
        with pytest.raises(ValueError, match=name):
            setattr(loader, name, None)


def test_pinning_without_an_accelerator_warns():
    with pytest.warns(UserWarning, match="pin_memory"):
        next(iter(DataLoader(rows(), pin_memory=True)))


def test_two_iterations_at_once():
    loader = DataLoader(rows(4), batch_size=2)
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [([0, 1], [0, 1]), ([2, 3], [2, 3])]
