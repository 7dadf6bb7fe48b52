"""DataLoader with workers, whether they are processes or threads."""

import pytest

import flambeau as torch
from flambeau.utils.data import DataLoader, IterableDataset, TensorDataset
from tests.data.samples import Fails, Items, Stream, identity, load

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.usefixtures("no_process_is_left_behind", "no_thread_is_left_behind"),
]
kinds = pytest.mark.parametrize("kind", ["process", "thread"])


@kinds
def test_same_batches_as_without_workers(kind):
    data = TensorDataset(torch.arange(60).view(30, 2), torch.arange(30))
    for options in ({"batch_size": 4}, {"batch_size": 4, "shuffle": True, "drop_last": True}):
        torch.manual_seed(3)
        alone = list(DataLoader(data, **options))
        for workers in (1, 2, 3, 5):
            torch.manual_seed(3)
            shared = list(load(data, kind, num_workers=workers, **options))
            for one, other in zip(alone, shared, strict=True):
                assert type(other) is list
                assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@kinds
@pytest.mark.parametrize("error", [KeyError, ValueError, IndexError, OSError, NotImplementedError])
def test_errors_keep_their_class_and_traceback(kind, error):
    loader = iter(load(Items(Fails(error("the reason"))), kind, batch_size=2))
    assert next(loader).tolist() == [0, 1]
    with pytest.raises(error, match="the reason") as caught:
        next(loader)
    text = str(caught.value)
    assert f"in DataLoader worker {kind} 1" in text
    assert "Traceback" in text
    assert "__call__" in text
    assert "\\n" not in text
    assert next(loader).tolist() == [4, 5]


def fail_to_start(worker):
    raise ValueError("no start")


@kinds
def test_errors_of_collation_init_and_iter(kind):
    with pytest.raises(RuntimeError, match="equal size"):
        list(load([[1], [1, 2]], kind, batch_size=2))
    with pytest.raises(ValueError, match="no start"):
        next(iter(load(Items(identity), kind, worker_init_fn=fail_to_start)))

    class Broken(IterableDataset):
        def __iter__(self):
            raise KeyError("no stream")

    with pytest.raises(KeyError, match="no stream"):
        next(iter(load(Broken(), kind)))


@kinds
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_streams_are_split(kind, workers):
    batches = list(load(Stream(10), kind, num_workers=workers, batch_size=2))
    assert sorted(int(i) for batch in batches for i in batch) == list(range(10))
    copies = list(load(Stream(3, split=False), kind, num_workers=workers, batch_size=None))
    assert sorted(copies) == sorted([0, 1, 2] * workers)
    options = {"num_workers": workers, "batch_size": 2, "persistent_workers": True}
    loader = load(Stream(7), kind, **options)
    for _ in range(3):
        assert sorted(int(i) for batch in loader for i in batch) == list(range(7))
    del loader
