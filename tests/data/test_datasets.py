"""Datasets, samplers and collation."""

from collections import OrderedDict, namedtuple
from types import MappingProxyType

import pytest

import flambeau as torch
from flambeau.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)
from flambeau.utils.data._utils.collate import collate


class Stream(IterableDataset):
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def test_tensor_dataset():
    data = TensorDataset(torch.arange(6).view(3, 2), torch.arange(3))
    assert len(data) == 3
    assert data[1][0].tolist() == [2, 3]
    assert data[-1][1] == 2
    assert data[1:][1].tolist() == [1, 2]
    with pytest.raises(AssertionError, match=r"\(2,\), \(3,\)"):
        TensorDataset(torch.ones(2), torch.ones(3))


def test_dataset_without_getitem():
    with pytest.raises(NotImplementedError):
        Dataset()[0]


def test_concat_and_add():
    whole = TensorDataset(torch.arange(2)) + TensorDataset(torch.arange(10, 13))
    assert isinstance(whole, ConcatDataset)
    assert [int(whole[i][0]) for i in range(-5, 5)] == [0, 1, 10, 11, 12] * 2
    with pytest.raises(ValueError, match="exceed"):
        whole[-6]
    with pytest.raises(IndexError):
        whole[5]
    with pytest.raises(AssertionError, match="empty"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="IterableDataset"):
        ConcatDataset([Stream([1])])


def test_chain():
    assert list(Stream([1]) + Stream([2, 3])) == [1, 2, 3]
    with pytest.raises(AssertionError, match="IterableDataset"):
        list(ChainDataset([[1]]))


def test_stack():
    assert StackDataset([1, 2], "ab")[1] == (2, "b")
    named = StackDataset(x=[1, 2], y="ab")
    assert named.__getitems__([1, 0]) == [{"x": 2, "y": "b"}, {"x": 1, "y": "a"}]
    with pytest.raises(ValueError, match=r"\[2, 1\]"):
        StackDataset([1, 2], "a")
    with pytest.raises(ValueError, match="both"):
        StackDataset([1], x=[1])
    with pytest.raises(ValueError, match="At least one"):
        StackDataset()


def test_subset_passes_batches_on():
    class Batched(Dataset):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert Subset(Batched(), [5, 6, 7]).__getitems__([2, 0]) == [-7, -5]
    assert Subset("abc", [2, 0]).__getitems__([1]) == ["a"]


def test_random_split_lengths_and_fractions():
    parts = random_split(range(11), [0.5, 0.25, 0.25])
    assert [len(part) for part in parts] == [6, 3, 2]
    assert sorted(x for part in parts for x in part) == list(range(11))
    with pytest.raises(ValueError, match="does not equal"):
        random_split(range(3), [1, 1])
    with pytest.raises(ValueError, match="index 0"):
        random_split(range(3), [-0.5, 1.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(2), [0.9, 0.1])


def test_random_split_is_reproducible():
    first, second = (
        [list(part) for part in random_split(range(9), [4, 5], torch.Generator().manual_seed(3))]
        for _ in range(2)
    )
    assert first == second


def test_random_sampler_covers_everything_each_epoch():
    sampler = RandomSampler(range(10))
    epochs = [list(sampler) for _ in range(2)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len(list(RandomSampler(range(4), num_samples=10))) == 10
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=70))
    assert len(drawn) == 70
    assert set(drawn) == {0, 1, 2}


def test_sampler_options_are_checked():
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler([1], replacement=1)
    with pytest.raises(ValueError, match="num_samples"):
        RandomSampler([1], num_samples=-1)
    with pytest.raises(ValueError, match="num_samples"):
        WeightedRandomSampler([1.0], 0)
    with pytest.raises(ValueError, match="replacement"):
        WeightedRandomSampler([1.0], 1, replacement=1)
    with pytest.raises(ValueError, match="1d"):
        WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(ValueError, match="batch_size"):
        BatchSampler([1], 0, False)
    with pytest.raises(ValueError, match="drop_last"):
        BatchSampler([1], 1, 0)


def test_other_samplers():
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert sorted(SubsetRandomSampler([3, 5])) == [3, 5]
    assert set(WeightedRandomSampler([0, 1, 1], 50)) == {1, 2}
    assert sorted(WeightedRandomSampler([1, 1, 1], 3, replacement=False)) == [0, 1, 2]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 4, 6, 7])
def test_batch_sampler(size, drop_last):
    batches = BatchSampler(SequentialSampler(range(12)), size, drop_last)
    expected = [list(range(12))[i : i + size] for i in range(0, 12, size)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == size]
    assert list(batches) == expected
    assert [batch.tolist() for batch in batches._index_tensors()] == expected
    assert len(batches) == len(expected)


@pytest.mark.parametrize("size", [1, 7, 32, 40, 100])
@pytest.mark.parametrize("options", [{}, {"num_samples": 75}, {"replacement": True}])
def test_index_tensors_are_the_batches(size, options):
    torch.manual_seed(1)
    sampler = BatchSampler(RandomSampler(range(33), **options), size, False)
    lists = list(sampler)
    torch.manual_seed(1)
    assert [batch.tolist() for batch in sampler._index_tensors()] == lists
    torch.manual_seed(1)
    own = type("Own", (RandomSampler,), {})  # whose indices are asked for one by one
    assert list(BatchSampler(own(range(33), **options), size, False)) == lists


def test_distributed_sampler():
    parts = [list(DistributedSampler(range(10), 4, rank, seed=1)) for rank in range(4)]
    assert [len(part) for part in parts] == [3] * 4
    assert {i for part in parts for i in part} == set(range(10))
    sampler = DistributedSampler(range(10), 4, 0, drop_last=True)
    first = list(sampler)
    assert len(first) == 2
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(DistributedSampler([7], 3, 2, shuffle=False)) == [0]
    with pytest.raises(ValueError, match="rank 4"):
        DistributedSampler([1], 4, 4)


# ---- collation -----------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


def test_collate_scalars_and_tensors():
    assert default_collate([1, 2]).dtype == torch.int64
    assert default_collate([1.0, 2.0]).dtype == torch.float64
    assert default_collate([True, False]).dtype == torch.bool
    assert default_collate(["a", "b"]) == ["a", "b"]
    stacked = default_collate([torch.zeros(2), torch.ones(2)])
    assert stacked.tolist() == [[0, 0], [1, 1]]


def test_collate_containers():
    assert default_collate([(1, "a"), (2, "b")])[1] == ("a", "b")
    batch = default_collate([{"x": 1, "y": [1, 2]}, {"x": 3, "y": [4, 5]}])
    assert batch["x"].tolist() == [1, 3]
    assert [part.tolist() for part in batch["y"]] == [[1, 4], [2, 5]]
    pair = default_collate([Pair(1, 2.0), Pair(3, 4.0)])
    assert isinstance(pair, Pair)
    assert pair.x.tolist() == [1, 3]
    assert isinstance(default_collate([OrderedDict(a=1), OrderedDict(a=2)]), OrderedDict)
    assert default_collate([MappingProxyType({"a": 1})])["a"].tolist() == [1]


def test_collate_leaves_the_samples_alone():
    samples = [{"x": [1, 2]}, {"x": [3, 4]}]
    default_collate(samples)
    assert samples == [{"x": [1, 2]}, {"x": [3, 4]}]


def test_collate_refuses():
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="object"):
        default_collate([object(), object()])
    with pytest.raises(RuntimeError):
        default_collate([torch.ones(2), torch.ones(3)])


def test_collate_with_a_table():
    class Image:
        pass

    table = {Image: lambda batch, *, collate_fn_map: len(batch)}
    assert collate([(Image(),), (Image(),)], collate_fn_map=table) == [2]


def test_collate_numpy():
    numpy = pytest.importorskip("numpy")
    arrays = default_collate([numpy.zeros(2, "float32"), numpy.ones(2, "float32")])
    assert arrays.dtype == torch.float32
    assert arrays.tolist() == [[0, 0], [1, 1]]
    assert default_collate([numpy.float32(1), numpy.float32(2)]).dtype == torch.float32
    assert default_collate([numpy.int16(1)]).dtype == torch.int16
    with pytest.raises(TypeError):
        default_collate([numpy.array(["a"])])


def test_convert():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(3)
    converted = default_convert({"a": array, "b": (array, "text"), "c": Pair(array, 1)})
    assert converted["a"].tolist() == [0, 1, 2]
    assert converted["b"][1] == "text"
    assert converted["c"].x.tolist() == [0, 1, 2]
    assert default_convert(numpy.array(["a"])).dtype.kind == "U"
