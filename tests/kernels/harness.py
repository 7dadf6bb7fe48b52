"""Runs plans without tensors: phases are compiled for any target and called through ctypes."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np

from flambeau.kernels import cache
from flambeau.kernels.plan import KernelSource, Plan
from flambeau.kernels.target import AVX2, AVX512, NEON, SSE, Target, host

SIGNATURE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
)
_functions: dict[tuple[str, str], Callable[..., None]] = {}


def runnable() -> list[Target]:
    """The targets this machine can run, its own first."""
    if host() is NEON:
        return [NEON]
    family = [AVX512, AVX2, SSE]
    return family[family.index(host()) :]


def assemble(text: str, target: Target) -> str:
    """Assembly of a module, for any target."""
    llvm.parse_assembly(text).verify()
    return cache.assembly(text, target)


def function(kernel: KernelSource, target: Target):
    """The compiled kernel, callable."""
    name = kernel.key, kernel.symbol
    if name not in _functions:
        address = cache.function(kernel.build(), kernel.symbol, target)
        _functions[name] = SIGNATURE(address)
    return _functions[name]


def _as_bits(value: float) -> int:
    """The 64 bits of a desc's number: floats lie there as doubles."""
    return struct.unpack("q", struct.pack("d", value))[0] if isinstance(value, float) else value


class Runner:
    """A plan bound to arrays, ready to be called."""

    def __init__(
        self,
        plan: Plan,
        arrays: list[np.ndarray | None],
        target: Target,
        threads: int = 1,
        far: bool = False,
    ):
        workspace = np.full(plan.workspace + 128, 0xFF, np.uint8)  # NaN, so that stale reads show
        at = (workspace.ctypes.data + 63) // 64 * 64
        pointers = [0 if a is None else a.ctypes.data for a in arrays]
        distance = np.array([far], np.int64)
        pointers += [at, distance.ctypes.data]
        self.args = (ctypes.c_void_p * len(pointers))(*pointers)
        self.threads = threads
        self.keep = (workspace, arrays, distance)
        self.flag = workspace[at - workspace.ctypes.data :][:8]
        self.otherwise = plan.otherwise
        self.again = lambda: Runner(plan.otherwise(), arrays, target, threads, far)()
        self.phases = []
        for phase in plan.phases:
            desc = (ctypes.c_int64 * len(phase.desc))(*map(_as_bits, phase.desc))
            self.phases.append((function(phase.kernel, target), desc, phase.tasks, phase.grain))

    def __call__(self) -> None:
        if self.otherwise:
            self.flag[:] = 0
        for run, desc, tasks, grain in self.phases:
            if self.threads == 1 or tasks <= grain:
                run(self.args, desc, 0, tasks, 0)
            else:
                self._share(run, desc, tasks)
        if self.otherwise and self.flag.any():
            self.again()

    def _share(self, run, desc, tasks: int) -> None:
        cuts = [tasks * t // self.threads for t in range(self.threads + 1)]
        with ThreadPoolExecutor(self.threads) as pool:
            parts = zip(cuts, cuts[1:], range(self.threads), strict=False)
            list(pool.map(lambda p: run(self.args, desc, *p), parts))


def run_plan(
    plan: Plan,
    arrays: list[np.ndarray | None],
    target: Target,
    threads: int = 1,
) -> None:
    """Run a plan once; several threads are told that their cores are far apart."""
    Runner(plan, arrays, target, threads, far=threads > 1)()
