"""Corners of datasets, samplers, collation and options: values and errors beside PyTorch's."""

import array
import collections

import pytest

import flambeau
import flambeau.utils.data
from tests.parity.plain import plain

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Length of split at index:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*prefetch_factor.*:UserWarning"),
]
np = pytest.importorskip("numpy")
Pair = collections.namedtuple("Pair", "a b")


class OwnDict(collections.UserDict):
    pass


class OwnList(list):
    pass


class Numbers:
    """0, 1, ..., count - 1."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index


def make_stream(data, count):
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(count))

    return Stream()


def make_measured_stream(data, count):
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(count))

        def __len__(self):
            return count

    return Stream()


def list_sets(batch, *, collate_fn_map=None):
    return [sorted(part) for part in batch]


def list_options(loader):
    names = "batch_size num_workers prefetch_factor pin_memory drop_last timeout generator in_order"
    more = "persistent_workers pin_memory_device multiprocessing_context worker_init_fn"
    kinds = type(loader.sampler).__name__, type(loader.batch_sampler).__name__
    found = [getattr(loader, name) for name in f"{names} {more}".split()]
    return [*found, *kinds, loader.collate_fn.__name__]


def list_parts(parts):
    return [list(part.indices) for part in parts]


CASES = {
    "collate numpy": lambda t, D: D.default_collate(
        [np.ones(2, np.float32), np.zeros(2, np.float32)]
    ),
    "collate numpy scalar": lambda t, D: D.default_collate([np.float32(1), np.float32(2)]),
    "collate numpy int8": lambda t, D: D.default_collate([np.int8(1), np.int8(2)]),
    "collate numpy bool": lambda t, D: D.default_collate([np.bool_(1), np.bool_(0)]),
    "collate numpy 0-d": lambda t, D: D.default_collate([np.array(3), np.array(4)]),
    "collate numpy strings": lambda t, D: D.default_collate([np.array(["a"]), np.array(["b"])]),
    "collate numpy object": lambda t, D: D.default_collate([np.array([None])]),
    "collate numpy strings scalar": lambda t, D: D.default_collate([np.str_("a"), np.str_("b")]),
    "collate numpy float64 scalar (float subclass)": lambda t, D: D.default_collate(
        [np.float64(1), np.float64(2)]
    ),
    "collate none": lambda t, D: D.default_collate([None, None]),
    "collate object": lambda t, D: D.default_collate([object()]),
    "collate empty": lambda t, D: D.default_collate([]),
    "collate unequal": lambda t, D: D.default_collate([t.ones(2), t.ones(3)]),
    "collate unequal sequence": lambda t, D: D.default_collate([[1, 2], [1]]),
    "collate named tuple": lambda t, D: D.default_collate([Pair(1, "x"), Pair(2, "y")]),
    "collate dict missing": lambda t, D: D.default_collate([{"a": 1, "b": 2}, {"a": 1}]),
    "collate defaultdict": lambda t, D: D.default_collate([collections.defaultdict(int, a=1)] * 2),
    "collate user dict": lambda t, D: dict(D.default_collate([OwnDict(a=1)] * 2)),
    "collate list subclass": lambda t, D: D.default_collate([OwnList([1, 2])] * 2),
    "collate range": lambda t, D: D.default_collate([range(3)] * 2),
    "collate mixed int float": lambda t, D: D.default_collate([1, 2.5]),
    "collate mixed float int": lambda t, D: D.default_collate([1.5, 2]),
    "collate bool int": lambda t, D: D.default_collate([True, 2]),
    "collate deque": lambda t, D: D.default_collate([collections.deque([1, 2])] * 2),
    "collate complex": lambda t, D: D.default_collate([1j]),
    "collate array": lambda t, D: D.default_collate([array.array("i", [1, 2])] * 2),
    "collate set": lambda t, D: D.default_collate([{1, 2}]),
    "collate bytearray": lambda t, D: D.default_collate([bytearray(b"ab")] * 2),
    "convert numpy": lambda t, D: D.default_convert(
        [np.ones(2), np.array(["x"]), {"a": np.int64(3)}, (1, "s", b"b"), Pair(np.ones(1), 2)]
    ),
    "convert numpy scalar": lambda t, D: D.default_convert(np.float32(2)),
    "convert user dict": lambda t, D: dict(D.default_convert(OwnDict(a=np.ones(1)))),
    "convert set": lambda t, D: D.default_convert({1}),
    "custom map": lambda t, D: D._utils.collate.collate(
        [{1, 2}, {3}], collate_fn_map={set: list_sets}
    ),
    "custom map subclass": lambda t, D: D._utils.collate.collate(
        [OwnList([1])], collate_fn_map={list: lambda b, *, collate_fn_map=None: "L"}
    ),
    "custom map tuple key": lambda t, D: D._utils.collate.collate(
        [{1, 2}, {3}], collate_fn_map={(set, frozenset): list_sets}
    ),
    "custom nested": lambda t, D: D._utils.collate.collate(
        [(1, {2}), (3, {4})],
        collate_fn_map={set: list_sets, **D._utils.collate.default_collate_fn_map},
    ),
    "custom none": lambda t, D: D._utils.collate.collate([1], collate_fn_map={}),
    "concat index": lambda t, D: [
        D.ConcatDataset([Numbers(2), Numbers(0), Numbers(3)])[i] for i in (-5, -1, 0, 1, 2, 4)
    ],
    "concat stream": lambda t, D: D.ConcatDataset([make_stream(D, 3)]),
    "concat bad": lambda t, D: D.ConcatDataset([Numbers(2)])[-3],
    "concat over": lambda t, D: D.ConcatDataset([[1, 2]])[2],
    "concat empty": lambda t, D: D.ConcatDataset([]),
    "concat add": lambda t, D: (
        (D.TensorDataset(t.arange(2)) + D.TensorDataset(t.arange(3))).cumulative_sizes
    ),
    "chain": lambda t, D: list(D.ChainDataset([make_stream(D, 2), make_stream(D, 3)])),
    "chain len": lambda t, D: len(
        D.ChainDataset([make_measured_stream(D, 2), make_measured_stream(D, 3)])
    ),
    "chain without length": lambda t, D: len(D.ChainDataset([make_stream(D, 2)])),
    "chain bad": lambda t, D: list(D.ChainDataset([Numbers(2)])),
    "stack bad len": lambda t, D: D.StackDataset(Numbers(2), Numbers(3)),
    "stack both": lambda t, D: D.StackDataset(Numbers(2), a=Numbers(2)),
    "stack none": lambda t, D: D.StackDataset(),
    "stack items": lambda t, D: [
        D.StackDataset(Numbers(2), Numbers(2))[1],
        D.StackDataset(a=Numbers(2), b=Numbers(2))[1],
        D.StackDataset(Numbers(2), Numbers(2)).__getitems__([0, 1]),
        D.StackDataset(a=Numbers(2)).__getitems__([0, 1]),
    ],
    "subset": lambda t, D: [
        D.Subset(Numbers(9), [3, 4, 5])[1],
        D.Subset(Numbers(9), [3, 4, 5]).__getitems__([0, 2]),
        len(D.Subset(Numbers(9), [1])),
    ],
    "subset over": lambda t, D: D.Subset(Numbers(9), [3])[4],
    "subset tensor index": lambda t, D: D.Subset(Numbers(9), t.tensor([3, 4]))[1],
    "subset slice": lambda t, D: D.Subset([1, 2, 3], [0, 1, 2])[0:2],
    "tensor dataset mismatch": lambda t, D: D.TensorDataset(t.ones(2), t.ones(3)),
    "tensor dataset empty": lambda t, D: len(D.TensorDataset()),
    "tensor dataset slice": lambda t, D: D.TensorDataset(t.arange(4), t.arange(4))[1:3],
    "tensor dataset over": lambda t, D: D.TensorDataset(t.arange(4))[9],
    "dataset getitem": lambda t, D: D.Dataset()[0],
    "dataset len": lambda t, D: len(D.Dataset()),
    "stream base": lambda t, D: iter(D.IterableDataset()),
    "split sum": lambda t, D: D.random_split(Numbers(4), [1, 2]),
    "split frac>1": lambda t, D: D.random_split(Numbers(4), [0.5, 1.5, -1.0]),
    "split fractions neg": lambda t, D: D.random_split(Numbers(4), [1.5, -0.5]),
    "split fractions": lambda t, D: list_parts(
        D.random_split(Numbers(10), [0.33, 0.33, 0.34], generator=t.Generator().manual_seed(1))
    ),
    "split float sum": lambda t, D: list_parts(
        D.random_split(Numbers(10), [0.1] * 10, generator=t.Generator().manual_seed(1))
    ),
    "sampler base stream": lambda t, D: iter(D.Sampler()),
    "sampler base arg": lambda t, D: D.Sampler([1]) and 1,
    "sampler len": lambda t, D: len(D.Sampler()),
    "random replacement type": lambda t, D: D.RandomSampler(Numbers(3), replacement=1),
    "random count": lambda t, D: D.RandomSampler(Numbers(3), num_samples=0),
    "random count float": lambda t, D: D.RandomSampler(Numbers(3), num_samples=2.5),
    "random empty": lambda t, D: D.RandomSampler(Numbers(0)),
    "sequence empty": lambda t, D: list(D.SequentialSampler(Numbers(0))),
    "weighted bad count": lambda t, D: D.WeightedRandomSampler([1.0], 0),
    "weighted bad count bool": lambda t, D: D.WeightedRandomSampler([1.0], True),
    "weighted replacement": lambda t, D: D.WeightedRandomSampler([1.0], 1, replacement=1),
    "weighted 2d": lambda t, D: D.WeightedRandomSampler([[1.0]], 1),
    "weighted too many": lambda t, D: list(
        D.WeightedRandomSampler([1.0, 0.0], 2, replacement=False)
    ),
    "weighted too many2": lambda t, D: list(D.WeightedRandomSampler([1.0], 2, replacement=False)),
    "weighted neg": lambda t, D: list(D.WeightedRandomSampler([-1.0, 1.0], 2)),
    "batch sampler bad": lambda t, D: D.BatchSampler(Numbers(3), 0, False),
    "batch sampler bool": lambda t, D: D.BatchSampler(Numbers(3), True, False),
    "batch sampler drop": lambda t, D: D.BatchSampler(Numbers(3), 1, 1),
    "batch sampler": lambda t, D: [
        list(D.BatchSampler(D.SequentialSampler(Numbers(7)), 3, d)) for d in (0 == 1, True)
    ],
    "distributed rank": lambda t, D: D.DistributedSampler(Numbers(5), 2, 2),
    "distributed pad": lambda t, D: [
        list(D.DistributedSampler(Numbers(2), 5, r, shuffle=False)) for r in range(5)
    ],
    "distributed epoch": lambda t, D: (lambda s: (s.set_epoch(3), list(s))[1])(
        D.DistributedSampler(Numbers(11), 3, 1, seed=2)
    ),
    "distributed drop": lambda t, D: [
        list(D.DistributedSampler(Numbers(11), 4, r, drop_last=True)) for r in range(4)
    ],
    "distributed drop small": lambda t, D: [
        list(D.DistributedSampler(Numbers(2), 4, r, drop_last=True)) for r in range(4)
    ],
    "loader workers": lambda t, D: D.DataLoader(Numbers(3), num_workers=-1),
    "loader timeout": lambda t, D: D.DataLoader(Numbers(3), timeout=-1),
    "loader timeout alone": lambda t, D: iter(D.DataLoader(Numbers(3), timeout=1)),
    "loader prefetch": lambda t, D: D.DataLoader(Numbers(3), prefetch_factor=2),
    "loader prefetch neg": lambda t, D: D.DataLoader(Numbers(3), prefetch_factor=-1, num_workers=1),
    "loader persistent": lambda t, D: D.DataLoader(Numbers(3), persistent_workers=True),
    "loader sampler shuffle": lambda t, D: D.DataLoader(Numbers(3), sampler=[1], shuffle=True),
    "loader batch sampler": lambda t, D: D.DataLoader(
        Numbers(3), batch_sampler=[[1]], shuffle=True
    ),
    "loader none drop": lambda t, D: D.DataLoader(Numbers(3), batch_size=None, drop_last=True),
    "loader stream shuffle": lambda t, D: D.DataLoader(make_stream(D, 3), shuffle=True),
    "loader stream shuffle False": lambda t, D: list(
        D.DataLoader(make_stream(D, 3), shuffle=False)
    ),
    "loader stream sampler": lambda t, D: D.DataLoader(make_stream(D, 3), sampler=[1]),
    "loader stream batch sampler": lambda t, D: D.DataLoader(
        make_stream(D, 3), batch_sampler=[[1]]
    ),
    "loader len stream": lambda t, D: len(D.DataLoader(make_stream(D, 3))),
    "loader len measured stream": lambda t, D: [
        len(D.DataLoader(make_measured_stream(D, 7), 3)),
        len(D.DataLoader(make_measured_stream(D, 7), 3, drop_last=True)),
        len(D.DataLoader(make_measured_stream(D, 7), None)),
    ],
    "loader context alone": lambda t, D: D.DataLoader(Numbers(3), multiprocessing_context="fork"),
    "loader unknown context": lambda t, D: D.DataLoader(
        Numbers(3), num_workers=1, multiprocessing_context="foo"
    ),
    "loader no context": lambda t, D: D.DataLoader(
        Numbers(3), num_workers=1, multiprocessing_context=5
    ),
    "loader batch size 0": lambda t, D: D.DataLoader(Numbers(3), batch_size=0),
    "loader set": lambda t, D: setattr(D.DataLoader(Numbers(3)), "batch_size", 3),
    "loader set dataset": lambda t, D: setattr(D.DataLoader(Numbers(3)), "dataset", 3),
    "loader set sampler": lambda t, D: setattr(D.DataLoader(Numbers(3)), "sampler", 3),
    "loader set persistent": lambda t, D: setattr(
        D.DataLoader(Numbers(3)), "persistent_workers", 3
    ),
    "loader empty shuffle": lambda t, D: list(D.DataLoader(Numbers(0), shuffle=True)),
    "loader empty": lambda t, D: list(D.DataLoader(Numbers(0))),
    "loader empty workers": lambda t, D: list(D.DataLoader(Numbers(0), num_workers=1)),
    "loader attrs": lambda t, D: list_options(D.DataLoader(Numbers(3))),
    "loader attrs2": lambda t, D: list_options(
        D.DataLoader(Numbers(3), batch_size=None, num_workers=1, shuffle=True)
    ),
    "loader shuffle none": lambda t, D: list(D.DataLoader(Numbers(3), None)),
    "loader tensor sampler": lambda t, D: list(
        D.DataLoader(Numbers(9), 2, sampler=t.tensor([3, 1, 2]))
    ),
    "loader stream len": lambda t, D: len(iter(D.DataLoader(Numbers(9), 2))),
    "loader stream len workers": lambda t, D: len(iter(D.DataLoader(Numbers(9), 2, num_workers=1))),
    "loader dict distributed": lambda t, D: list(
        D.DataLoader({"a": 1, "b": 2}, sampler=["a", "b"], batch_size=2)
    ),
    "loader kinds": lambda t, D: [D._DatasetKind.Map, D._DatasetKind.Iterable],
    "loader generic": lambda t, D: [
        D.DataLoader[int] is not None,
        D.Dataset[int] is not None,
        D.Sampler[int] is not None,
    ],
}
# Errors that say more here.
OWN_WORDS = {
    "loader prefetch neg",
    "loader timeout alone",
    "sampler base stream",
    "split sum",
    "stack bad len",
    "stack both",
    "tensor dataset mismatch",
    "weighted neg",
    "weighted too many2",
}


def run(framework, name):
    framework.manual_seed(3)
    try:
        return "value", plain(CASES[name](framework, framework.utils.data))
    except Exception as error:
        return type(error).__name__, None if name in OWN_WORDS else str(error)


@pytest.mark.parametrize("name", list(CASES))
def test_corner(name):
    torch = pytest.importorskip("torch")
    assert run(flambeau, name) == run(torch, name)
