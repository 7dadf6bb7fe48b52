"""What this machine can do at best: FMA peak and memory rates on two threads.

The floor of a workload is the greater of its bytes at the rate of the level its data fits in and
its floating-point operations at the peak.
"""

from __future__ import annotations

import ctypes
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .workloads.common import Work

if TYPE_CHECKING:
    from flambeau.kernels.target import Target

THREADS = 2
CHAINS = 12  # independent accumulators hide the latency of an FMA
KERNEL = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64
)


@dataclass(frozen=True)
class Machine:
    """Rates by which floors are stated: fp32 flop/s; bytes/s by the working set's size."""

    cpu: str
    peak: float
    bandwidth: dict[int, float]

    def floor(self, work: Work | None) -> float | None:
        """Return the seconds that no implementation can go below."""
        if work is None:
            return None
        rate = next((r for size, r in self.bandwidth.items() if work.bytes <= size), None)
        rate = rate or min(self.bandwidth.values())
        return max(work.flops / self.peak, work.bytes / rate)


def describe() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure() -> Machine:
    """Measure the machine; takes about a second."""
    sizes = (1 << 20, 1 << 24, 1 << 28)
    return Machine(describe(), measure_peak(), {size: measure_bandwidth(size) for size in sizes})


def measure_peak() -> float:
    """Return fp32 flop/s of independent FMA chains on every thread."""
    from flambeau.kernels import cache, target

    lanes = target.host().vector_bytes // 4
    run = KERNEL(cache.function(chain_source(lanes)))
    count = 2_000_000
    flops = 2.0 * THREADS * CHAINS * lanes * count

    def work(_: int) -> None:
        run(None, None, 0, count, 0)

    return flops / best_time(work)


def chain_source(lanes: int) -> str:
    """Return LLVM IR that applies `count` FMAs to each of CHAINS vectors."""
    vector = f"<{lanes} x float>"
    ones = ", ".join(["float 0x3FEFFFFFE0000000"] * lanes)
    phis = [f"  %a{i} = phi {vector} [ <{ones}>, %entry ], [ %b{i}, %loop ]" for i in range(CHAINS)]
    fma = f"call {vector} @llvm.fma.v{lanes}f32"
    steps = [
        f"  %b{i} = {fma}({vector} %a{i}, {vector} <{ones}>, {vector} <{ones}>)"
        for i in range(CHAINS)
    ]
    # `asm sideeffect` keeps the chains alive without storing them.
    sinks = [f'  call void asm sideeffect "", "v"({vector} %b{i})' for i in range(CHAINS)]
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
            "define void @k(i8* %args, i8* %desc, i64 %begin, i64 %end, i64 %thread) {",
            "entry:",
            "  br label %loop",
            "loop:",
            "  %n = phi i64 [ %begin, %entry ], [ %next, %loop ]",
            *phis,
            *steps,
            "  %next = add i64 %n, 1",
            "  %more = icmp slt i64 %next, %end",
            "  br i1 %more, label %loop, label %done",
            "done:",
            *sinks,
            "  ret void",
            "}",
        ]
    )


def measure_bandwidth(size: int) -> float:
    """Return bytes/s of `a = b + c` whose three arrays have `size` bytes together."""
    import numpy as np

    count = size // 12 // THREADS
    arrays = [np.ones((3, count), np.float32) for _ in range(THREADS)]
    repeats = max(1, (1 << 26) // size)

    def work(thread: int) -> None:
        a, b, c = arrays[thread]
        for _ in range(repeats):
            np.add(b, c, out=a)

    return size * repeats / best_time(work)


def measure_streaming(size: int = 1 << 26) -> float:
    """Return bytes/s, read and written, of copies of `size` bytes that leave the caches alone."""
    import numpy as np

    from flambeau.kernels import cache, target

    host = target.host()
    run = KERNEL(cache.function(copy_source(host)))
    step = 16 * host.vector_bytes
    count = size // 2 // THREADS // step * step
    arrays = [np.ones((2, count + 64), np.uint8) for _ in range(THREADS)]
    pointers = []
    for pair in arrays:
        aligned = [(row.ctypes.data + 63) // 64 * 64 for row in pair]
        pointers.append((ctypes.c_void_p * 2)(*aligned))

    def work(thread: int) -> None:
        run(ctypes.addressof(pointers[thread]), None, 0, count, 0)

    return 2 * THREADS * count / best_time(work)


def copy_source(target: Target) -> str:
    """Return LLVM IR that copies the bytes [begin, end) past the caches."""
    from flambeau.kernels.ir import Builder

    b, size = Builder(target), target.vector_bytes
    vector = f"<{size} x i8>"
    with b.kernel():
        to, source = b.argument(0), b.argument(1)
        with b.loop("%begin", "%end", 4 * size) as loop:
            for k in range(4):
                at = b.add(loop.index, k * size)
                value = b.load(vector, b.offset(source, at), size)
                b.hand_over(vector, value, b.offset(to, at), size, b.is_far("1"))
        b.fence()
    return b.module()


def best_time(work: object, rounds: int = 7) -> float:
    """Return the least seconds in which all threads did the work at the same time."""
    assert callable(work)
    best = float("inf")
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(work, range(THREADS)))
            best = min(best, time.perf_counter() - start)
    return best
