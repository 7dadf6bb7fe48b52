"""DataLoader with worker threads."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

import flambeau as torch
from flambeau.utils.data import DataLoader, get_worker_info
from tests.data import samples
from tests.data.samples import Items, identity

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.usefixtures("no_thread_is_left_behind"),
]


def load(dataset, worker_type="thread", **options):
    if options.get("batch_size", 1) is None:
        options.setdefault("collate_fn", identity)
    return samples.load(dataset, worker_type, **options)


def fork(dataset, **options):
    return load(dataset, "process", multiprocessing_context="fork", **options)


def test_nothing_is_copied():
    samples = [object() for _ in range(5)]
    assert list(load(samples, batch_size=None)) == samples
    tensors = [torch.ones(3, requires_grad=True) * 2]
    assert next(iter(load(tensors, batch_size=None))) is tensors[0]


def test_threads_of_this_process():
    def describe(index):
        info = get_worker_info()
        return info.id, info.num_workers, info.worker_method, threading.get_ident(), os.getpid()

    seen = list(load(Items(describe), batch_size=None))
    assert [item[:3] for item in seen] == [(0, 2, "thread"), (1, 2, "thread")] * 4
    assert {item[4] for item in seen} == {os.getpid()}
    assert len({item[3] for item in seen} | {threading.get_ident()}) == 3
    assert get_worker_info() is None


# ---- random numbers and other state of a thread --------------------------------------------------


def draw(index):
    info = get_worker_info()
    return info.seed, torch.rand(3).tolist(), torch.randn(20).tolist(), torch.initial_seed()


@pytest.mark.parametrize("own", [False, True])
def test_the_numbers_of_worker_processes(own):
    results = []
    for make in (load, fork):
        generator = torch.Generator().manual_seed(5) if own else None
        torch.manual_seed(4)
        loader = make(Items(draw, 12), batch_size=3, collate_fn=tuple, generator=generator)
        results.append((list(loader), torch.rand(2).tolist()))
    assert results[0] == results[1]


def test_the_programs_generator_is_not_disturbed():
    def seed_and_draw(index):
        torch.manual_seed(index)
        return torch.rand(1).item()

    iterator = iter(load(Items(seed_and_draw), batch_size=None))
    torch.manual_seed(9)
    drawn = [torch.rand(1).item() for _ in iterator]
    torch.manual_seed(9)
    assert drawn == [torch.rand(1).item() for _ in range(8)]


def draw_from_python_and_numpy(index):
    import numpy

    rng = get_worker_info().rng
    if rng is None:
        return random.random(), numpy.random.rand(2).tolist(), int(numpy.random.randint(1 << 30))
    drawn = rng.numpy_generator
    return rng.random_generator.random(), drawn.rand(2).tolist(), int(drawn.randint(1 << 30))


def test_generators_for_python_and_numpy():
    numpy = pytest.importorskip("numpy")
    results = []
    state = random.getstate(), numpy.random.get_state()[1].tolist()
    for make in (load, fork):
        torch.manual_seed(4)
        data = Items(draw_from_python_and_numpy)
        results.append(list(make(data, batch_size=2, collate_fn=tuple)))
    assert results[0] == results[1]
    assert state == (random.getstate(), numpy.random.get_state()[1].tolist())


def test_settings_of_a_thread():
    def describe(index):
        a = torch.ones(300, 300, requires_grad=True)
        return torch.is_grad_enabled(), torch.get_num_threads(), (a @ a).requires_grad

    threads = torch.get_num_threads()
    with torch.no_grad():
        assert list(load(Items(describe), batch_size=None)) == [(True, 1, True)] * 8
    assert torch.get_num_threads() == threads


def test_work_while_the_program_trains():
    def make(index):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, 64, 64, generator=generator)
        return torch.nn.functional.interpolate(image[None], size=(48, 48), mode="bilinear")[0]

    model = torch.nn.Conv2d(3, 4, 3)
    expected = torch.stack([make(i) for i in range(32)])
    for epoch in range(3):
        seen = []
        for batch in load(Items(make, 32), batch_size=4):
            model.zero_grad()
            model(batch).square().mean().backward()
            seen.append(batch)
        assert torch.equal(torch.cat(seen), expected), epoch


def test_worker_init_fn():
    ready = []
    loader = load(Items(identity), worker_init_fn=lambda i: ready.append((i, get_worker_info().id)))
    assert len(list(loader)) == 8
    assert sorted(ready) == [(0, 0), (1, 1)]


# ---- errors --------------------------------------------------------------------------------------


def test_a_thread_that_exits_is_named():
    def exit_at_three(index):
        if index == 3:
            sys.exit("enough")
        return index

    loader = load(Items(exit_at_three), batch_size=None, persistent_workers=True)
    iterator = iter(loader)
    with pytest.raises(RuntimeError, match=r"(?s)\(thread 1\) exited unexpectedly.*enough"):
        list(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert next(iter(loader)) == 0
    del loader, iterator


def test_timeout():
    go_on = threading.Event()
    loader = iter(load(Items(lambda i: go_on.wait(60)), batch_size=1, timeout=0.2))
    with pytest.raises(RuntimeError, match=r"timed out after 0\.2 seconds"):
        next(loader)
    go_on.set()
    assert next(loader).tolist() == [True]


def test_options():
    with pytest.raises(ValueError, match="'process' or 'thread', not 'fiber'"):
        DataLoader([1], worker_type="fiber")
    with pytest.raises(ValueError, match="multiprocessing_context"):
        load([1], multiprocessing_context="fork")
    assert list(DataLoader([1, 2], worker_type="thread", batch_size=None)) == [1, 2]
    assert DataLoader([1]).worker_type == "process"
    with pytest.warns(UserWarning, match="pin_memory"):
        assert len(list(load([1, 2], pin_memory=True))) == 2


# ---- life cycle ----------------------------------------------------------------------------------


def test_leaving_early_stops_the_threads():
    before = threading.active_count()
    for _ in load(Items(identity, 1000)):
        assert threading.active_count() == before + 2
        break
    gc.collect()
    assert threading.active_count() == before


def test_an_iterator_in_a_cycle_is_collected_by_a_worker():
    class Ring:
        def __init__(self, dataset):
            self.iterator, self.ring = iter(load(dataset)), self

    before = threading.active_count()
    Ring(Items(lambda i: gc.collect()))
    gc.collect()
    assert threading.active_count() == before


def test_an_interrupt_stops_the_threads():
    before = threading.active_count()

    def interrupted():
        for _ in load(Items(identity, 1000)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_wait_for_a_thread():
    waiting, release = threading.Event(), threading.Event()
    main = threading.main_thread().ident

    def interrupt(index):
        waiting.wait(60)
        signal.pthread_kill(main, signal.SIGINT)
        return release.wait(60)

    loader = iter(load(Items(interrupt), num_workers=1, prefetch_factor=1))

    def take():
        waiting.set()  # no sooner: the interrupt must not come before it is expected
        return next(loader)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            take()
    finally:
        signal.signal(signal.SIGINT, before)
        release.set()


def test_batches_die_with_their_consumer():
    class Sample:
        pass

    made = []

    def make(index):
        sample = Sample()
        made.append(weakref.ref(sample))
        return sample

    iterator = iter(load(Items(make, 4), batch_size=None, num_workers=1))
    kept = [next(iterator) for _ in range(4)]
    assert next(iterator, None) is None
    del kept
    assert [ref() for ref in made] == [None] * 4


def test_tasks_under_way():
    started = []
    loader = load(Items(started.append, 40), batch_size=None, num_workers=2, prefetch_factor=3)
    iterator = iter(loader)
    deadline = time.monotonic() + 30
    while len(started) < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(started) == 6
    next(iterator)
    while len(started) < 7 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(started) == 7


def test_batches_out_of_order():
    others = threading.Semaphore(0)

    def wait_for_others(index):
        if index == 0:
            assert others.acquire(timeout=60)
        elif index == 3:
            others.release()
        return index

    seen = list(load(Items(wait_for_others, 12), batch_size=None, in_order=False))
    assert sorted(seen) == list(range(12))
    assert seen[0] == 1


def test_persistent_threads():
    loader = load(Items(lambda i: threading.get_ident()), batch_size=None, persistent_workers=True)
    epochs = [list(loader) for _ in range(3)]
    assert len({thread for epoch in epochs for thread in epoch}) == 2
    for _ in range(3):
        for _ in loader:
            break
    assert len(list(loader)) == 8
    del loader


def test_persistent_threads_draw_on():
    results = []
    for make in (load, fork):
        torch.manual_seed(4)
        loader = make(Items(draw), batch_size=2, collate_fn=tuple, persistent_workers=True)
        results.append([list(loader), list(loader)])
        del loader
    assert results[0] == results[1]


def test_loaders_inside_a_thread():
    def load_inside(index):
        alone = sum(DataLoader([1, 2, 3], batch_size=None))
        return alone, sum(load([1, 2, 3], batch_size=None))

    assert list(load(Items(load_inside, 4), batch_size=None)) == [(6, 6)] * 4


def describe_random(index):
    info = get_worker_info()
    torch.manual_seed(index)
    return info.worker_method, info.id, torch.rand(1).item()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_inside_a_thread():
    def load_inside(index):
        return list(fork(Items(describe_random, 2), batch_size=None))

    expected = []
    for i in range(2):
        torch.manual_seed(i)
        expected.append(("multiprocessing", i, torch.rand(1).item()))
    assert list(load(Items(load_inside, 2), batch_size=None, num_workers=1)) == [expected] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_stop_its_parents_threads():
    loader = iter(load(Items(identity, 10), batch_size=None))
    first = next(loader)
    child = os.fork()
    if child == 0:
        del loader
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [first, *loader] == list(range(10))


def test_a_program_that_ends_in_the_middle():
    program = """
import flambeau as torch
from flambeau.utils.data import DataLoader
loader = DataLoader(range(1000), num_workers=2, worker_type="thread", persistent_workers=True)
for batch in loader:
    break
print(int(batch))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
