"""Runs plans without the core: compiles the phases with llvmlite and calls them through ctypes."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np

from flambeau.kernels.plan import KernelSource, Plan
from flambeau.kernels.target import AVX2, AVX512, NEON, SSE, Target

SIGNATURE = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
)
_engines: dict[str, tuple] = {}


def machine(target: Target):
    """A code generator for the target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    chosen = llvm.Target.from_triple(target.triple)
    return chosen.create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def assemble(text: str, target: Target) -> str:
    """Assembly of a module, for any target."""
    module = llvm.parse_assembly(text)
    module.verify()
    return machine(target).emit_assembly(module)


def host_target() -> Target:
    """The best target this machine runs."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw") and features.get("avx512vl"):
        return AVX512
    if features.get("avx2"):
        return AVX2
    return SSE if "x86" in llvm.get_process_triple() else NEON


def function(kernel: KernelSource, target: Target):
    """The compiled kernel, callable."""
    if kernel.key not in _engines:
        module = llvm.parse_assembly(kernel.build())
        module.verify()
        engine = llvm.create_mcjit_compiler(module, machine(target))
        engine.finalize_object()
        _engines[kernel.key] = (engine, {})
    engine, functions = _engines[kernel.key]
    if kernel.symbol not in functions:
        functions[kernel.symbol] = SIGNATURE(engine.get_function_address(kernel.symbol))
    return functions[kernel.symbol]


class Runner:
    """A plan bound to arrays, ready to be called."""

    def __init__(self, plan: Plan, arrays: list[np.ndarray | None], target: Target, threads: int = 1):
        workspace = np.full(plan.workspace + 128, 0xFF, np.uint8)  # NaN, so that stale reads show
        at = (workspace.ctypes.data + 63) // 64 * 64
        pointers = [0 if a is None else a.ctypes.data for a in arrays]
        self.args = (ctypes.c_void_p * (len(pointers) + 1))(*pointers, at)
        self.threads = threads
        self.keep = (workspace, arrays)
        self.phases = []
        for phase in plan.phases:
            desc = (ctypes.c_int64 * len(phase.desc))(*phase.desc)
            self.phases.append((function(phase.kernel, target), desc, phase.tasks, phase.grain))

    def __call__(self) -> None:
        for run, desc, tasks, grain in self.phases:
            if self.threads == 1 or tasks <= grain:
                run(self.args, desc, 0, tasks, 0)
            else:
                self._share(run, desc, tasks)

    def _share(self, run, desc, tasks: int) -> None:
        cuts = [tasks * t // self.threads for t in range(self.threads + 1)]
        with ThreadPoolExecutor(self.threads) as pool:
            parts = zip(cuts, cuts[1:], range(self.threads), strict=False)
            list(pool.map(lambda p: run(self.args, desc, *p), parts))


def run_plan(plan: Plan, arrays: list[np.ndarray | None], target: Target, threads: int = 1) -> None:
    """Run a plan once."""
    Runner(plan, arrays, target, threads)()
