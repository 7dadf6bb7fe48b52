"""The child process of one framework: `python -m benchmarks.worker MODULE eager|compile`.

It reads one JSON command a line and answers each with one line: `prepare` builds a workload and
finds how often to repeat it, `block` times it, `memory` measures the peak of a few repetitions,
`warm_up` starts the compiler.
"""

import gc
import importlib
import json
import os
import sys
import timeit
from typing import Any

from .workloads import WORKLOADS

BLOCK_SECONDS = 0.03
WARM_UP_CALLS = 3
MEMORY_STEPS = 3
COMPILED = ("f", "step")


class Worker:
    """Holds the workload that is being timed."""

    def __init__(self, name: str, mode: str) -> None:
        self.torch = importlib.import_module(name)
        for part in ("nn", "nn.functional", "optim", "utils.data"):
            importlib.import_module(f"{name}.{part}")
        self.torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.compiled = mode == "compile"
        self.timer = timeit.Timer()
        self.repeats = 1

    def warm_up(self) -> dict[str, Any]:
        """Compile something, so that the first workload does not pay for the compiler's start."""
        self.torch.compile(lambda x: x.exp() + 1)(self.torch.ones(100))
        return {}

    def build(self, key: str) -> timeit.Timer:
        """Return a timer of the workload."""
        workload = next(w for w in WORKLOADS if w.key == key)
        self.torch.manual_seed(0)
        statement, names = workload.build(self.torch)
        if self.compiled:
            # Workloads share code, of which only so many versions are compiled before it gives up.
            importlib.import_module(f"{self.torch.__name__}._dynamo").reset()
            for name in COMPILED:
                if name in names:
                    names[name] = self.torch.compile(names[name])
        return timeit.Timer(statement, globals=names)

    def prepare(self, key: str) -> dict[str, Any]:
        """Build a workload, call it until its kernels exist, choose the repeats of a block."""
        self.timer = timeit.Timer()  # lets go of the last workload's memory
        self.timer = self.build(key)
        self.timer.timeit(WARM_UP_CALLS)
        self.repeats = 1
        while (seconds := self.timer.timeit(self.repeats)) < BLOCK_SECONDS / 4:
            self.repeats *= 4
        self.repeats = max(1, round(self.repeats * BLOCK_SECONDS / seconds))
        return {"repeats": self.repeats, "seconds": seconds}

    def block(self) -> dict[str, Any]:
        """Time one block; the answer is seconds for one call."""
        gc.collect()
        return {"seconds": self.timer.timeit(self.repeats) / self.repeats}

    def memory(self, key: str) -> dict[str, Any]:
        """Return how far a few repetitions raise the peak of resident memory, in bytes."""
        before = peak_bytes()
        self.build(key).timeit(MEMORY_STEPS)
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


def main(name: str, mode: str) -> None:
    """Answer commands until the input ends; what workloads print goes to the error stream."""
    answers, sys.stdout = sys.stdout, sys.stderr
    worker = Worker(name, mode)
    for line in sys.stdin:
        print(json.dumps(answer(worker, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
