"""DataLoader with worker processes."""

import contextlib
import gc
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest

import flambeau as torch
from flambeau.utils.data import DataLoader, Dataset, get_worker_info
from tests.data.samples import Fails, Items, identity, load

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.usefixtures("no_process_is_left_behind"),
]
BIG = 100_000  # elements: large enough to travel through shared memory


def describe_worker(index):
    info = get_worker_info()
    return info.id, info.num_workers, info.seed, os.getpid()


def make_big(index):
    return torch.full((BIG,), index)


class NeedsTwo(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def test_worker_info_and_seeds():
    torch.manual_seed(0)
    seen = {
        worker[:3] for worker in load(Items(describe_worker), batch_size=None, collate_fn=tuple)
    }
    seeds = {worker: seed for worker, _, seed in seen}
    assert set(seeds) == {0, 1}
    assert seeds[1] == seeds[0] + 1
    assert {count for _, count, _ in seen} == {2}
    assert get_worker_info() is None
    info = next(iter(load(Items(lambda i: repr(get_worker_info())), batch_size=None)))
    assert info.startswith("WorkerInfo(id=0, num_workers=2, seed=")


def change_worker_info(index):
    get_worker_info().id = 5


def test_worker_info_cannot_be_changed():
    with pytest.raises(RuntimeError, match="Cannot assign attributes to WorkerInfo"):
        list(load(Items(change_worker_info)))


def draw_numbers(index):
    return float(torch.rand(1)), random.random(), get_worker_info().seed


def test_random_streams_of_workers():
    first, second = (
        [torch.manual_seed(4), list(load(Items(draw_numbers), batch_size=None))][1] for _ in "ab"
    )
    assert first == second
    value, other, seed = first[0]
    torch.manual_seed(seed)
    assert float(torch.rand(1)) == value
    assert random.Random(seed).random() == other
    assert first[0][:2] != first[1][:2]


def draw_numpy(index):
    import numpy

    return int(numpy.random.randint(1 << 30)), get_worker_info().seed


def test_numpy_is_seeded():
    numpy = pytest.importorskip("numpy")
    torch.manual_seed(4)
    value, seed = next(iter(load(Items(draw_numpy), batch_size=None)))
    words = [0, seed & 0xFFFFFFFF, seed >> 32, 0]
    state = numpy.random.RandomState(numpy.random.SeedSequence(words).generate_state(4))
    assert value == state.randint(1 << 30)


def test_workers_use_one_thread_and_can_compute():
    def compute(index):
        a = torch.ones(64, 64)
        return float((a @ a).sum() + torch.exp(torch.zeros(1000)).sum()), torch.get_num_threads()

    torch.ones(200, 200) @ torch.ones(200, 200)  # the pool is up when the workers fork
    assert (
        list(load(Items(compute, 4), batch_size=None, collate_fn=tuple))
        == [(64.0**3 + 1000, 1)] * 4
    )


class Init:
    def __init__(self, path):
        self.path = path

    def __call__(self, worker):
        random.seed(worker)
        (self.path / str(worker)).touch()


def test_worker_init_fn(tmp_path):
    loader = load(Items(lambda i: random.random()), batch_size=None, worker_init_fn=Init(tmp_path))
    assert next(iter(loader)) == random.Random(0).random()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


# ---- large tensors -------------------------------------------------------------------------------


def test_large_tensors_keep_their_values_while_they_are_alive():
    batches = list(load(Items(make_big, 20), batch_size=2))
    for i, batch in enumerate(batches):
        assert batch.shape == (2, BIG)
        assert bool((batch[0] == 2 * i).all())
        assert bool((batch[1] == 2 * i + 1).all())
    batches[0] += 1
    assert bool((batches[0][0] == 1).all())


def many_kinds(index):
    base = torch.arange(20_000)
    return {
        "transposed": base.view(100, 200).t(),
        "bfloat16": base.to(torch.bfloat16),
        "bool": base > 5,
        "complex": base.to(torch.complex64),
        "zero rows": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "leaf": torch.ones(5000, requires_grad=True),
        "text": "x" * 100_000,
        "twice": [base, base],
    }


def test_all_kinds_of_values_travel():
    value = next(iter(load(Items(many_kinds), batch_size=None)))
    expected = many_kinds(0)
    assert value.keys() == expected.keys()
    for name, tensor in expected.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        assert value[name].dtype == tensor.dtype
        assert torch.equal(value[name], tensor)
        assert value[name].requires_grad == tensor.requires_grad
    assert value["text"] == expected["text"]
    assert value["twice"][0] is value["twice"][1]


def test_numpy_arrays_travel():
    numpy = pytest.importorskip("numpy")
    array = next(
        iter(load(Items(lambda i: numpy.arange(50_000)), batch_size=None, collate_fn=identity))
    )
    assert numpy.array_equal(array, numpy.arange(50_000))


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident_shared():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssShmem"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_and_descriptors_do_not_grow():
    loader = load(Items(make_big, 300), batch_size=1)
    shared, descriptors = [], []
    for batch in loader:
        shared.append(resident_shared())
        descriptors.append(count_descriptors())
        del batch
    one_batch = BIG * 8 // 1024
    assert max(shared) <= 12 * one_batch + 4096  # 2 workers x (prefetch + 1) blocks, and a margin
    assert max(descriptors) <= descriptors[0] + 2


def list_shared_memory():
    """What is there of shared memory: named blocks of ours, mappings, open descriptors."""
    with open("/proc/self/maps") as file:
        mapped = [line.split()[-1] for line in file if "memfd:" in line or "/dev/shm" in line]
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    named = sorted(name for name in os.listdir("/dev/shm") if "flambeau" in name)
    return named, mapped, len(links)


def take_all(loader):
    return len(list(loader))


def take_one(loader):
    return len(next(iter(loader)))


def take_until_a_death(loader):
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("use", "how"),
    [
        (take_all, None),
        (take_one, None),
        (take_until_a_death, "kill_self"),
        (take_until_a_death, "exit_at_once"),
    ],
)
def test_nothing_is_left_of_shared_memory(use, how, persistent):
    make = make_big if how is None else MakeUntil(globals()[how])
    gc.collect()
    before = list_shared_memory()
    for _ in range(3):
        use(load(Items(make, 12), batch_size=1, persistent_workers=persistent))
    gc.collect()
    assert list_shared_memory() == before


class MakeUntil:
    """Makes large tensors until it dies."""

    def __init__(self, how):
        self.how = how

    def __call__(self, index):
        if index == 7:
            self.how()
        return make_big(index)


def stop_collecting(worker_id):
    gc.disable()


def collate_and_count(items):
    """A batch and the bytes of tensors that the worker holds, this batch's among them."""
    batch = torch.stack(items)
    return batch, torch.core.memory_stats()["allocated"]


def test_a_worker_lets_go_of_a_batch_once_it_is_sent():
    # Without waiting for cycles to be collected, so that the next batch gets the same warm memory.
    loader = load(
        Items(make_big, 40),
        batch_size=4,
        num_workers=1,
        collate_fn=collate_and_count,
        worker_init_fn=stop_collecting,
    )
    held = [allocated for _, allocated in loader]
    one_batch = 4 * BIG * 8
    assert max(held) < held[0] + one_batch


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_batches_that_are_kept_take_no_descriptors():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count_descriptors() + 40, hard))
    try:
        kept = list(load(Items(make_small, 200), batch_size=1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [int(batch[0, 0]) for batch in kept] == list(range(200))


def make_small(index):
    return torch.full((2000,), index)


def grow(index):
    return torch.zeros(1000 * (index + 1))


def test_batches_that_grow():
    sizes = [batch.numel() for batch in load(Items(grow, 60), batch_size=None)]
    assert sizes == [1000 * (i + 1) for i in range(60)]


# ---- errors --------------------------------------------------------------------------------------


def test_errors_that_cannot_be_built_from_a_message():
    with pytest.raises(RuntimeError, match="Caught NeedsTwo in DataLoader worker process 1"):
        list(load(Items(Fails(NeedsTwo(1, 2)), 6), batch_size=2))


class CannotBeLoaded:
    def __reduce__(self):
        return fail_to_load, ()


def fail_to_load():
    raise OSError("cannot be loaded")


def make_unloadable(index):
    return CannotBeLoaded() if index == 1 else index


def test_values_that_cannot_be_unpickled():
    loader = iter(load(Items(make_unloadable, 4), batch_size=None))
    assert next(loader) == 0
    with pytest.raises(OSError, match="cannot be loaded"):
        next(loader)
    assert list(loader) == [2, 3]


def test_values_that_cannot_be_pickled():
    with pytest.raises(Exception, match=r"pickle|local object"):
        next(iter(load(Items(lambda i: lambda: i), batch_size=None)))
    with pytest.raises(RuntimeError, match="detach"):
        next(iter(load(Items(lambda i: torch.ones(2, requires_grad=True) * 2), batch_size=None)))


def sleep_long(index):
    time.sleep(60 if index == 2 else 0)
    return index


def test_timeout():
    loader = iter(load(Items(sleep_long), batch_size=1, timeout=0.5))
    with pytest.raises(RuntimeError, match=r"timed out after 0\.5 seconds"):
        list(loader)
    stop_children()
    del loader


def stop_children():
    for process in multiprocessing.active_children():
        process.kill()


class Kill:
    def __init__(self, how):
        self.how = how

    def __call__(self, index):
        if index == 3:
            time.sleep(0.1)
            self.how()
        return index


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once():
    os._exit(7)


@pytest.mark.parametrize(
    ("how", "message"), [(kill_self, "killed by signal 9"), (exit_at_once, "exit code 7")]
)
def test_a_worker_that_dies_is_named(how, message):
    loader = iter(load(Items(Kill(how), 40), batch_size=2))
    pids = [process.pid for process in multiprocessing.active_children()]
    with pytest.raises(
        RuntimeError, match=rf"DataLoader worker \(pid\(s\) \d+\).*{message}"
    ) as caught:
        list(loader)
    assert any(str(pid) in str(caught.value) for pid in pids)
    with pytest.raises(StopIteration):
        next(loader)


def test_a_worker_killed_from_outside():
    loader = iter(load(Items(make_big, 100), batch_size=1))
    next(loader)
    stop_children()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)


# ---- life cycle ----------------------------------------------------------------------------------


def test_leaving_early_stops_the_workers():
    started = time.monotonic()
    for batch in load(Items(make_big, 100), batch_size=1):
        del batch
        break
    gc.collect()
    assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 5


def test_an_interrupt_stops_the_workers():
    def interrupted():
        for _ in load(Items(make_big, 100), batch_size=1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert multiprocessing.active_children() == []


def test_ctrl_c_does_not_reach_the_workers():
    loader = iter(load(Items(make_big, 12), batch_size=1))
    next(loader)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGINT)
    assert len(list(loader)) == 11


def test_an_iterator_that_is_never_used():
    iter(load(Items(make_big, 100)))
    gc.collect()
    assert multiprocessing.active_children() == []


def test_batches_outlive_the_workers():
    batches = list(load(Items(make_big, 6), batch_size=1))
    gc.collect()
    assert [int(batch.max()) for batch in batches] == list(range(6))


def test_many_epochs():
    loader = load(Items(identity, 8), batch_size=3)
    for _ in range(5):
        assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6, 7]]


class Once(Items):
    """Counts, in the worker's copy, how many items it has made."""

    made = 0

    def __getitem__(self, index):
        self.made += 1
        return os.getpid(), self.made


def test_persistent_workers_keep_their_state():
    loader = load(Once(identity), batch_size=None, persistent_workers=True)
    epochs = [list(loader) for _ in range(3)]
    assert len({pid for epoch in epochs for pid, _ in epoch}) == 2
    assert max(made for _, made in epochs[-1]) > 8
    del loader
    assert multiprocessing.active_children() == []


def test_persistent_workers_after_leaving_early():
    loader = load(Items(make_big, 10), batch_size=1, persistent_workers=True)
    for _ in range(4):
        for batch in loader:
            del batch
            break
    assert [int(batch[0, 0]) for batch in loader] == list(range(10))
    del loader


def test_persistent_workers_restart_after_a_death():
    loader = load(Items(make_big, 4), batch_size=1, persistent_workers=True)
    list(loader)
    stop_children()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)
    assert len(list(loader)) == 4
    del loader


def slow_first(index):
    time.sleep(0.5 if index == 0 else 0)
    return index


def test_batches_out_of_order():
    loader = load(Items(slow_first, 12), batch_size=1, in_order=False)
    seen = [int(batch) for batch in loader]
    assert sorted(seen) == list(range(12))
    assert seen[0] != 0


@pytest.mark.parametrize("prefetch", [1, 5])
def test_prefetch_factor(prefetch):
    loader = load(Items(identity, 20), batch_size=None, prefetch_factor=prefetch)
    assert list(loader) == list(range(20))


class Traced(Dataset):
    """Can be pickled; says what happened in its worker."""

    started = None

    def __len__(self):
        return 6

    def __getitem__(self, index):
        info = get_worker_info()
        seen = info.id, info.seed, float(torch.rand(1)), random.random(), torch.get_num_threads()
        return index, torch.full((BIG,), index), seen, self.started


def note_start(worker):
    get_worker_info().dataset.started = worker


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method):
    epochs = []
    for chosen in ("fork", method):
        torch.manual_seed(2)
        options = {"multiprocessing_context": chosen, "worker_init_fn": note_start}
        loader = load(
            Traced(), batch_size=3, collate_fn=identity, persistent_workers=True, **options
        )
        epochs.append([list(loader), list(loader)])
        del loader
    for one, other in zip(*epochs, strict=True):
        for a, b in zip(one, other, strict=True):
            for (i, big, *seen), (j, same, *also) in zip(a, b, strict=True):
                assert (i, seen) == (j, also)
                assert torch.equal(big, same)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_errors_and_deaths_with_other_start_methods(method):
    options = {"batch_size": 1, "num_workers": 1, "multiprocessing_context": method}
    with pytest.raises(KeyError, match=r"(?s)DataLoader worker process 0.*the reason"):
        list(load(Items(Fails(KeyError("the reason"))), **options))
    with pytest.raises(RuntimeError, match="exit code 7"):
        list(load(Items(Kill(exit_at_once)), **options))


def test_multiprocessing_context():
    context = multiprocessing.get_context("fork")
    assert len(list(load(Items(identity), multiprocessing_context=context))) == 8
    with pytest.raises(ValueError, match="nonsense"):
        load(Items(identity), multiprocessing_context="nonsense")
    with pytest.raises(TypeError, match="context object"):
        load(Items(identity), multiprocessing_context=3)


def load_inside(index):
    return sum(DataLoader([1, 2, 3], batch_size=None))


def test_a_loader_in_a_worker():
    assert list(load(Items(load_inside, 3), batch_size=None)) == [6, 6, 6]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_stop_its_parents_workers():
    loader = iter(load(Items(make_big, 10), batch_size=1))
    first = next(loader)
    child = os.fork()
    if child == 0:
        del loader, first
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(loader)) == 9


def test_two_loaders_at_once():
    one, two = load(Items(make_big, 6), batch_size=1), load(Items(identity, 6), batch_size=1)
    for big, small in zip(one, two, strict=True):
        assert int(big[0, 0]) == int(small)
