"""The child process of one framework: `python -m benchmarks.worker MODULE`.

It reads one JSON command a line and answers each with one line: `prepare` builds a workload and
finds how often to repeat it, `block` times it, `memory` measures the CNN step's peak.
"""

import gc
import importlib
import json
import sys
import timeit
from typing import Any

from .workloads import WORKLOADS, cnn_step

THREADS = 2
BLOCK_SECONDS = 0.03
WARM_UP_CALLS = 3
MEMORY_STEPS = 3


class Worker:
    """Holds the workload that is being timed."""

    def __init__(self, name: str) -> None:
        self.torch = importlib.import_module(name)
        for part in ("nn", "nn.functional", "optim", "utils.data"):
            importlib.import_module(f"{name}.{part}")
        self.torch.set_num_threads(THREADS)
        self.timer = timeit.Timer()
        self.repeats = 1

    def prepare(self, name: str) -> dict[str, Any]:
        """Build a workload, call it until its kernels exist, choose the repeats of a block."""
        workload = next(w for w in WORKLOADS if w.name == name)
        self.torch.manual_seed(0)
        statement, names = workload.build(self.torch)
        self.timer = timeit.Timer(statement, globals=names)
        self.timer.timeit(WARM_UP_CALLS)
        self.repeats = 1
        while (seconds := self.timer.timeit(self.repeats)) < BLOCK_SECONDS / 4:
            self.repeats *= 4
        self.repeats = max(1, round(self.repeats * BLOCK_SECONDS / seconds))
        return {"repeats": self.repeats}

    def block(self) -> dict[str, Any]:
        """Time one block; the answer is seconds for one call."""
        gc.collect()
        return {"seconds": self.timer.timeit(self.repeats) / self.repeats}

    def memory(self, batch: int) -> dict[str, Any]:
        """Return how far a few CNN steps raise the peak of resident memory, in bytes."""
        before = peak_bytes()
        statement, names = cnn_step(batch)(self.torch)
        timeit.Timer(statement, globals=names).timeit(MEMORY_STEPS)
        after = peak_bytes()
        return {"growth": after - before, "peak": after}


def peak_bytes() -> int:
    """Return this process's greatest resident size so far."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def answer(worker: Worker, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command; what goes wrong is the answer."""
    try:
        return getattr(worker, command.pop("do"))(**command)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]}


def main(name: str) -> None:
    """Answer commands until the input ends; what workloads print goes to the error stream."""
    answers, sys.stdout = sys.stdout, sys.stderr
    worker = Worker(name)
    for line in sys.stdin:
        print(json.dumps(answer(worker, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
