"""The C dialect: every loop op's kernel, run through the host compiler, against the NumPy
oracle."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flambeau.kernels import cache, cdialect, loops, scalar, target
from flambeau.kernels import dtypes as dt
from tests.cdialect import harness
from tests.cdialect.programs import (
    POINTWISE,
    Program,
    assert_right,
    launch,
    make_program,
    prepare,
    shapes,
)
from tests.kernels.harness import SIGNATURE
from tests.kernels.loop_ops import CODES, derivatives, label, loop_ops, trace

needs_compiler = pytest.mark.skipif(
    harness.COMPILER is None,
    reason="no C++ compiler (g++ or clang++) to compile the C dialect with",
)
GROUPS = 6  # compilation units
ALWAYS = (dt.INFO["f32"].code,)


def all_programs() -> list[Program]:
    """Each op in float32 and in two more of its types in turn, in both of its forms in turn."""
    found = []
    for index, op in enumerate(loop_ops()):
        forms = ("flat", "nest") if op.record.form == POINTWISE else ("reduce", "columns")
        accepted = [c for c in CODES if c not in ALWAYS and _accepts(op, c)]
        more = [accepted[(index + k * 5) % len(accepted)] for k in range(2)] if accepted else []
        for k, code in enumerate(dict.fromkeys([*ALWAYS, *more])):
            some = forms if k == 0 else (forms[(index + k) % 2],)
            found += [make_program(op, code, form, index) for form in some]
        for rule in derivatives(op):
            forms = ("flat", "nest") if rule.record.form == POINTWISE else ("reduce", "columns")
            found.append(make_program(rule, ALWAYS[0], forms[index % 2], 1000 + len(found)))
    return [program for program in found if program is not None]


def _accepts(op, code: int) -> bool:
    with scalar.tracing():
        return trace(op.record, code) is not None


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    return all_programs()


def compile_group(
    group: list[Program], folder: Path, extra: tuple[str, ...] = ()
) -> harness.Launcher:
    return harness.Launcher(harness.compile_kernels([p.text for p in group], folder, extra))


def check(program: Program, launcher: harness.Launcher, spaces: list[tuple[int, ...]]) -> None:
    """The oracle's answer, whatever the blocks and threads."""
    with scalar.tracing():
        graph = trace(program.op.record, program.code)[0]
        runs = [prepare(program, shape, graph) for shape in spaces]
    meets = not cdialect.is_barrier_free(program.spec)
    for run in runs:
        for schedule in harness.SCHEDULES if meets else harness.SCHEDULES[1::2]:
            got = launch(program, launcher, run, schedule)
            what = f"{label(program.op)}, {program.name}, shape {run.shape}, schedule {schedule}"
            assert_right(program, got, run.expected, what)


@needs_compiler
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_loop_op_matches_the_oracle(
    group: int, programs: list[Program], tmp_path: Path
) -> None:
    mine = programs[group::GROUPS]
    launcher = compile_group(mine, tmp_path)
    for program in mine:
        check(program, launcher, shapes(program))


@needs_compiler
def test_pointwise_kernels_agree_with_the_cpu_bit_for_bit(
    programs: list[Program], tmp_path: Path
) -> None:
    """Both backends emit the same graph, operation by operation, without contraction."""
    some = [p for p in programs if p.form == "flat" and not _calls_the_c_library(p)][::5]
    launcher = compile_group(some, tmp_path)
    for program in some:
        with scalar.tracing():
            graph = trace(program.op.record, program.code)[0]
            run = prepare(program, (1000,), graph, with_oracle=False)
            text = loops.build(program.spec, target.host())
        got = launch(program, launcher, run, harness.SCHEDULES[3])
        out = np.empty_like(got)
        arrays = [out, *(np.atleast_1d(x) for x in run.arrays[1:])]
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        SIGNATURE(cache.function(text))(pointers, None, 0, out.size, 0)
        np.testing.assert_array_equal(got, out, err_msg=f"{label(program.op)}, {program.name}")


def _calls_the_c_library(program: Program) -> bool:
    return any(
        f"{t}_{f}(" in program.text
        for t in ("f32", "f64")
        for f in ("sin", "cos", "tan", "fmod", "lgamma")
    )


@needs_compiler
@pytest.mark.slow
def test_kernels_stay_inside_their_arrays(programs: list[Program], tmp_path: Path) -> None:
    """The same under AddressSanitizer and UndefinedBehaviorSanitizer, in a process that preloads
    them."""
    runtime = subprocess.run(
        [str(harness.COMPILER), "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("the compiler has no AddressSanitizer runtime")
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, "-m", "tests.cdialect.sanitized", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]


@pytest.mark.parametrize("device", ["cuda", "opencl"])
def test_devices_share_the_kernels_text(device: str) -> None:
    from flambeau.kernels.cdialect_prelude import prelude

    op = next(o for o in loop_ops() if o.name == "exp")
    program = make_program(op, ALWAYS[0], "flat", 0)
    with scalar.tracing():
        graph = trace(op.record, ALWAYS[0])[0]
        whole = cdialect.build(program.spec._replace(roots=(graph,)), device, program.name)
    assert whole == prelude(device) + program.text


def test_unknown_device_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a device of cuda, opencl, got 'metal'"):
        cdialect.build(loops.LoopSpec("flat", (), (), ()), "metal")


# ---- the shim must notice what it is there for ---------------------------------------------------

BROKEN_BARRIER = """
KERNEL(broken)(GLOBAL i64 *p0) {
  if (TID == 0) { BARRIER(); }
  p0[TID] = TID;
}
END_KERNEL(broken)
"""
RACE = """
KERNEL(race)(GLOBAL i64 *p0) {
  SHARED(i64, box, 64);
  box[TID] = TID;
  p0[TID] = box[NT - 1 - TID];
}
END_KERNEL(race)
"""


@needs_compiler
def test_shim_reports_divergent_barriers_and_shows_races(tmp_path: Path) -> None:
    launcher = harness.Launcher(harness.compile_kernels([BROKEN_BARRIER, RACE], tmp_path))
    out = np.zeros(8, np.int64)
    values = [ctypes.c_void_p(out.ctypes.data)]
    with pytest.raises(AssertionError, match="broken: threads 0 and 1 part at the barrier"):
        launcher("broken", values, blocks=1, threads=8, meets=True, backwards=False)
    launcher("race", values, blocks=1, threads=8, meets=True, backwards=False)
    assert out.tolist() != list(range(7, -1, -1))  # a missing barrier shows
