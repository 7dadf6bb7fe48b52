"""Many Python threads calling ops and backward at once, alone and on one graph."""

import threading
from collections.abc import Callable

import pytest

import flambeau as torch
from flambeau import autograd

THREADS = 8


def run_together(work: Callable[[int], None]) -> None:
    """Run work(0..THREADS-1) in threads that start at once; the first error is raised here."""
    barrier = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def body(i: int) -> None:
        barrier.wait()
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive(), "a thread is stuck"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("size", [10, 200_000])
def test_graphs_of_their_own(size: int) -> None:
    def work(i: int) -> None:
        for _ in range(200 if size < 100 else 5):
            x = torch.full((size,), float(i), requires_grad=True)
            (x * x + x).sum().backward()
            assert x.grad.min().item() == x.grad.max().item() == 2 * i + 1

    run_together(work)


@pytest.mark.parametrize("size", [10, 200_000])
def test_one_leaf_accumulates_every_contribution(size: int) -> None:
    x = torch.zeros(size, requires_grad=True)
    rounds = 200 if size < 100 else 5

    def work(i: int) -> None:
        for _ in range(rounds):
            (x * (i + 1.0)).sum().backward()

    x.grad = torch.zeros(size)
    run_together(work)
    total = rounds * THREADS * (THREADS + 1) / 2
    assert x.grad.min().item() == x.grad.max().item() == total


@pytest.mark.parametrize("size", [10, 200_000])
def test_backward_through_one_graph(size: int) -> None:
    x = torch.full((size,), 2.0, requires_grad=True)
    y = x * 1
    for _ in range(20):
        y = y * x.detach() * 0.5
    loss = (y * y).sum()
    expected = autograd.grad(loss, x, retain_graph=True)[0][0].item()

    def work(i: int) -> None:
        for _ in range(50 if size < 100 else 3):
            (g,) = autograd.grad(loss, x, retain_graph=True)
            assert g.min().item() == g.max().item() == expected

    run_together(work)


def test_kernels_compiled_at_once() -> None:
    def work(i: int) -> None:
        for n in range(1, 6):
            t = torch.ones(n, 3, i + 1)
            assert (t.transpose(0, 2) + n).sum().item() == t.numel() * (1 + n)

    run_together(work)


def test_modes_do_not_mix() -> None:
    def work(i: int) -> None:
        for _ in range(200):
            with torch.set_grad_enabled(i % 2 == 0):
                y = torch.ones(3, requires_grad=True) * 2
                assert y.requires_grad is (i % 2 == 0)

    run_together(work)


def test_saved_tensor_hooks_belong_to_a_thread() -> None:
    def work(i: int) -> None:
        packed = []
        x = torch.full((3,), float(i), requires_grad=True)
        for _ in range(50):
            with autograd.graph.saved_tensors_hooks(
                lambda t: (packed.append(t), t)[1], lambda t: t
            ):
                y = x * x
            y.sum().backward()
        assert all(t is x for t in packed)

    run_together(work)


def test_hooks_run_in_the_calling_thread() -> None:
    def work(i: int) -> None:
        seen = []
        x = torch.ones(4, requires_grad=True)
        x.register_hook(lambda g: seen.append(threading.get_ident()))
        (x * 2).sum().backward()
        assert seen == [threading.get_ident()]

    run_together(work)
