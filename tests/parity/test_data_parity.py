"""Data loading beside PyTorch's: the same batches from the same seed."""

import warnings
from collections import OrderedDict

import pytest

import flambeau
import flambeau.utils.data
from tests.parity.plain import plain

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def run_both(torch, function, seed=7):
    """`function(framework)` in both, from the same seed; afterwards the generators must agree."""
    results = []
    for framework in (flambeau, torch):
        framework.manual_seed(seed)
        results.append((plain(function(framework)), framework.rand(2).tolist()))
    assert results[0] == results[1]


def make_rows(framework, count):
    rows = framework.arange(count * 3).reshape(count, 3)
    return framework.utils.data.TensorDataset(rows.to(framework.float32), framework.arange(count))


LOADERS = [
    {},
    {"batch_size": 4},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": 5, "shuffle": True},
    {"batch_size": 100, "shuffle": True},
    {"batch_size": None, "shuffle": True},
    {"sampler": [3, 1, 2], "batch_size": 2},
    {"batch_sampler": [[1, 2], [0]]},
]


@pytest.mark.parametrize("options", LOADERS)
@pytest.mark.parametrize("count", [20, 23])
@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs(torch, options, count, workers):
    def load(framework):
        data = framework.utils.data
        loader = data.DataLoader(make_rows(framework, count), num_workers=workers, **options)
        return [list(loader), list(loader), len(loader)]

    run_both(torch, load)


@pytest.mark.parametrize("count", [8, 9])
def test_own_generator(torch, count):
    def load(framework):
        generator = framework.Generator().manual_seed(11)
        loader = framework.utils.data.DataLoader(
            make_rows(framework, count), batch_size=4, shuffle=True, generator=generator
        )
        return [list(loader), list(loader), framework.rand(3, generator=generator)]

    run_both(torch, load)


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_leaving_early_leaves_the_generator_where_it_was(torch, stop):
    def load(framework):
        generator = framework.Generator().manual_seed(11)
        loader = framework.utils.data.DataLoader(
            make_rows(framework, 8), batch_size=4, shuffle=True, generator=generator
        )
        batches = iter(loader)
        seen = [next(batches, None) for _ in range(stop)]
        return [seen, framework.rand(3, generator=generator)]

    run_both(torch, load)


SAMPLERS = {
    "random": lambda f, g: f.utils.data.RandomSampler(range(33), generator=g),
    "more than there are": lambda f, g: f.utils.data.RandomSampler(
        range(7), num_samples=20, generator=g
    ),
    "fewer": lambda f, g: f.utils.data.RandomSampler(range(33), num_samples=5, generator=g),
    "replacement": lambda f, g: f.utils.data.RandomSampler(
        range(33), replacement=True, num_samples=70, generator=g
    ),
    "subset": lambda f, g: f.utils.data.SubsetRandomSampler([9, 4, 7, 1, 0], generator=g),
    "weighted": lambda f, g: f.utils.data.WeightedRandomSampler(
        [0.1, 0.2, 0.3, 0.4], 20, generator=g
    ),
    "weighted without": lambda f, g: f.utils.data.WeightedRandomSampler(
        [0.1, 0.2, 0.3, 0.4], 4, False, generator=g
    ),
    "batches": lambda f, g: f.utils.data.BatchSampler(
        f.utils.data.RandomSampler(range(10), generator=g), 4, False
    ),
    "distributed": lambda f, g: f.utils.data.DistributedSampler(range(11), 3, 1, seed=5),
    "distributed, cut": lambda f, g: f.utils.data.DistributedSampler(
        range(11), 3, 2, drop_last=True
    ),
}


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("own", [False, True])
def test_samplers(torch, name, own):
    def draw(framework):
        generator = framework.Generator().manual_seed(3) if own else None
        sampler = SAMPLERS[name](framework, generator)
        return [list(sampler), list(sampler), len(sampler)]

    run_both(torch, draw)


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3], [0.25, 0.25, 0.5], [1.0]])
def test_random_split(torch, lengths):
    run_both(
        torch,
        lambda f: [list(part) for part in f.utils.data.random_split(range(10), lengths)],
    )


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        [1.5, 2.5],
        [True, False],
        ["a", "b"],
        [b"a", b"b"],
        [(1, "x"), (2, "y")],
        [[1, 2], [3, 4]],
        [{"a": 1, "b": [1.0]}, {"a": 2, "b": [2.0]}],
        [OrderedDict(a=1), OrderedDict(a=2)],
        [[], []],
        [{"deep": [({"x": 1},)]}, {"deep": [({"x": 2},)]}],
    ],
)
def test_collate(torch, batch):
    run_both(torch, lambda f: f.utils.data.default_collate(batch))
    run_both(torch, lambda f: f.utils.data.default_convert(batch))


class Draw:
    """A dataset whose items are random numbers."""

    def __init__(self, framework):
        self.framework = framework

    def __len__(self):
        return 8

    def __getitem__(self, index):
        import random

        import numpy

        seed = self.framework.utils.data.get_worker_info().seed
        numbers = random.random(), int(numpy.random.randint(1 << 30))
        return index, seed, self.framework.rand(2), *numbers


def test_random_streams_in_workers(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_both(
            torch,
            lambda f: list(f.utils.data.DataLoader(Draw(f), batch_size=3, num_workers=2)),
        )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_streams_in_workers(torch, workers, drop_last):
    def load(framework):
        data = framework.utils.data

        class Stream(data.IterableDataset):
            def __iter__(self):
                info = data.get_worker_info()
                return iter(range(info.id * 100, info.id * 100 + 3 + 4 * info.id))

        loader = data.DataLoader(Stream(), batch_size=2, num_workers=workers, drop_last=drop_last)
        return list(loader)

    run_both(torch, load)


def test_persistent_workers_draw_the_seed_once(torch):
    def load(framework):
        loader = framework.utils.data.DataLoader(
            make_rows(framework, 9), 2, shuffle=True, num_workers=2, persistent_workers=True
        )
        result = [list(loader), list(loader)]
        del loader
        return result

    run_both(torch, load)
