"""The pool keeps to the processors it is given, whatever their number and its own."""

import os
import subprocess
import sys
import threading

import pytest

import flambeau as torch
from flambeau.nn import functional

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system"
)

SCRIPT = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import flambeau as torch
assert torch.get_num_threads() == 1, torch.get_num_threads()
torch.manual_seed(0)
x = torch.randn(300, 300)
alone = (x @ x).exp().sum().item()
torch.set_num_threads(4)
for _ in range(20):
    assert (x @ x).exp().sum().item() == alone
for thread in os.listdir("/proc/self/task") if os.path.exists("/proc/self/task") else []:
    assert len(os.sched_getaffinity(int(thread))) == 1
"""


@pytest.fixture
def threads():
    """Set the number of threads; the old one comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def compute() -> list[float]:
    """A step with products, rows, reductions and convolutions, large enough to be shared out."""
    torch.manual_seed(0)
    x = torch.randn(8, 16, 28, 28, requires_grad=True)
    w = torch.randn(16, 16, 3, 3, requires_grad=True)
    y = functional.conv2d(x, w, padding=1).flatten(1)
    loss = functional.log_softmax(y @ y.T, 1).sum() + functional.silu(y).mean()
    loss.backward()
    return [loss.item(), *x.grad.flatten()[:50].tolist(), *w.grad.flatten().tolist()]


def test_the_callers_mask_is_left_alone(threads) -> None:
    before = os.sched_getaffinity(0)
    for count in (2, 3, 1, 2):
        threads(count)
        for _ in range(5):
            compute()
            assert os.sched_getaffinity(0) == before


def test_results_are_the_same_however_the_caller_is_bound(threads) -> None:
    before, results = os.sched_getaffinity(0), []
    threads(2)
    try:
        for mask in (before, *({i} for i in sorted(before)[:4]), before):
            os.sched_setaffinity(0, mask)
            results.append(compute())
            assert os.sched_getaffinity(0) == mask
    finally:
        os.sched_setaffinity(0, before)
    assert all(found == results[0] for found in results)


def test_callers_on_processors_of_their_own(threads) -> None:
    threads(2)
    expected, found = compute(), []

    def work(processor: int) -> None:
        os.sched_setaffinity(0, {processor})
        for _ in range(5):
            y = torch.full((300_000,), float(processor)) * 2 + 1
            found.append(y.min().item() == y.max().item() == 2 * processor + 1)

    callers = [threading.Thread(target=work, args=(i,)) for i in sorted(os.sched_getaffinity(0))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 5 * len(callers)
    assert all(found)
    assert compute() == expected


def test_one_processor() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
