"""A forked child computes, compiles and differentiates although the parent's pool was in use."""

import os
import sys
import threading
import traceback

import pytest

import flambeau as torch

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is a POSIX call"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]


def busy_step() -> float:
    """Large enough for every thread of the pool."""
    x = torch.full((400_000,), 2.0, requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.min().item() == x.grad.max().item() == 4
    return x.grad.sum().item()


def in_child(work) -> None:
    """Run work in a forked child, with a time limit; its failure fails the test."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            timer = threading.Timer(60, os._exit, (3,))
            timer.daemon = True
            timer.start()
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_pool_and_gradients_work_in_a_child() -> None:
    busy_step()
    in_child(busy_step)
    busy_step()


def test_new_kernels_are_compiled_in_a_child() -> None:
    busy_step()

    def work() -> None:
        x = torch.ones(7, 5, 3, dtype=torch.float64, requires_grad=True)
        (x.permute(2, 0, 1).sin() * torch.ones(5, dtype=torch.float64)).sum(
            1
        ).cos().sum().backward()
        assert x.grad.shape == x.shape

    in_child(work)


def test_a_fork_while_other_threads_are_computing() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            busy_step()

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(5):
            in_child(busy_step)
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_a_graph_made_before_the_fork() -> None:
    x = torch.full((100_000,), 3.0, requires_grad=True)
    y = (x * x).sum()

    def work() -> None:
        y.backward()
        assert x.grad.max().item() == 6

    in_child(work)
    assert x.grad is None
    y.backward()
    assert x.grad.max().item() == 6


def test_children_of_children() -> None:
    in_child(lambda: in_child(busy_step))
