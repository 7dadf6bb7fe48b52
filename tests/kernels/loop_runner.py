"""Runs a loop program's CPU kernel on the data of `tests.cdialect.programs`, for any target."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np

from flambeau.kernels import cache, loops, scalar
from flambeau.kernels.target import Target
from tests.cdialect.programs import Program, Run, fresh_like
from tests.kernels.harness import SIGNATURE


def emit(program: Program, target: Target) -> str:
    """IR of the program's kernel. The graph is traced anew: it must be called within
    `scalar.tracing()`."""
    return loops.build(program.spec, target)


def run_on_cpu(program: Program, run: Run, target: Target, pieces: int = 1) -> np.ndarray:
    """The output of one index space, computed in `pieces` chunks of the parallel range."""
    out = fresh_like(run.arrays[0])
    arrays = [out, *run.arrays[1:]]
    with scalar.tracing():
        kernel = SIGNATURE(cache.function(emit(program, target), "k", target))
    numbers = [np.atleast_1d(np.asarray(x)) for x in arrays[1 + program.op.record.operands :]]
    tensors = arrays[: 1 + program.op.record.operands]
    if program.form == "flat":
        _call(kernel, [*tensors, *numbers], [0], out.size, pieces)
        return out
    if program.form == "nest":
        _nest(kernel, run, tensors, numbers, pieces)
        return out
    outer, inner = run.shape[-2:]
    desc = [outer, inner, outer * inner]
    for x in tensors:
        strides = list(x.strides) + [0] * (len(run.shape) - x.ndim)
        desc += [strides[program.rank - 1], strides[-2], strides[-1]]
    if x.ndim and program.spec.per_row:
        desc[4:6] = [0, 0]
    desc += [0] * (3 * len(numbers))
    for lead in np.ndindex(run.shape[: program.rank - 1]):
        _call(
            kernel,
            [*(x[lead] for x in tensors), *numbers],
            desc,
            run.shape[program.rank - 1],
            pieces,
        )
    return out


def _nest(kernel, run: Run, tensors: list, numbers: list, pieces: int) -> None:
    desc = [run.shape[-1]]
    for x in tensors:
        desc += [x.strides[-2], x.strides[-1]]
    desc += [0] * (2 * len(numbers))
    for lead in np.ndindex(run.shape[:-2]):
        _call(kernel, [*(x[lead] for x in tensors), *numbers], desc, run.shape[-2], pieces)


def _call(kernel, arrays: list, desc: list[int], count: int, pieces: int) -> None:
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    sizes = (ctypes.c_int64 * len(desc))(*desc)
    cuts = [count * k // pieces for k in range(pieces + 1)]
    for begin, end in itertools.pairwise(cuts):
        kernel(pointers, sizes, begin, end, 0)
