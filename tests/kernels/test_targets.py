"""Every target: kernels are emitted for all, run where this machine can, and relocated for
AArch64."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flambeau import core
from flambeau.kernels import cache, conv, gemm, loops, pooling, scalar, scan
from flambeau.kernels import dtypes as dt
from flambeau.kernels.conv_weight_plan import plan_conv_backward_weight
from flambeau.kernels.target import BY_NAME, NEON, Target, host
from tests.cdialect.harness import COMPILER
from tests.cdialect.programs import POINTWISE, assert_right, make_program, prepare, shapes
from tests.kernels.harness import runnable
from tests.kernels.loop_ops import CODES, derivatives, label, loop_ops, trace
from tests.kernels.loop_runner import run_on_cpu

HERE = Path(__file__).resolve().parent
OTHERS = [t for t in runnable() if t is not host()]
F32 = dt.INFO["f32"].code


@pytest.fixture(scope="module")
def relocate(tmp_path_factory: pytest.TempPathFactory):
    """A function that loads an object as the loader does on AArch64; the error or None."""
    if COMPILER is None:
        pytest.skip("no C++ compiler to build the loader's AArch64 path with")
    library = tmp_path_factory.mktemp("relocate") / "relocate.so"
    headers = HERE.parents[1] / "flambeau" / "core"
    command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{headers}", "-o", library]
    subprocess.run([*command, HERE / "relocate.cpp"], check=True)
    function = ctypes.CDLL(str(library)).relocate_for_aarch64
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lambda code: function(code, len(code))


def sampled_programs(step: int = 1):
    """Each op in one type and form in turn: float32 every other time."""
    for index, op in list(enumerate(loop_ops()))[::step]:
        forms = ("flat", "nest") if op.record.form == POINTWISE else ("reduce", "columns")
        wanted = [F32, CODES[index % len(CODES)]][:: 1 if index % 2 else -1]
        found = (make_program(op, code, forms[index // 2 % 2], index) for code in wanted)
        program = next((p for p in found if p is not None), None)
        if program is not None:
            yield program
        for rule in derivatives(op)[:1]:
            own = ("flat", "nest") if rule.record.form == POINTWISE else ("reduce", "columns")
            yield make_program(rule, F32, own[index % 2], 1000 + index)


def load(code: bytes, target: Target, relocate) -> str | None:
    """The loader's complaint about an object of a target, if any."""
    if target is NEON and host() is not NEON:
        error = relocate(code)
        return None if error is None else error.decode()
    if (target is NEON) != (host() is NEON):
        return None  # x86 code on AArch64: emitted only
    core.load_object(code)
    return None


@pytest.mark.parametrize("target", BY_NAME.values(), ids=lambda t: t.name)
def test_loop_kernels_are_emitted_and_loaded(target: Target, relocate) -> None:
    for program in sampled_programs(2):
        with scalar.tracing():
            program = make_program(program.op, program.code, program.form, 0)
            code = cache.compile_object(loops.build(program.spec, target), target)
        assert load(code, target, relocate) is None, label(program.op)


@pytest.mark.parametrize("target", OTHERS, ids=lambda t: t.name)
def test_loop_kernels_match_the_oracle(target: Target) -> None:
    for program in sampled_programs(2):
        with scalar.tracing():
            graph = trace(program.op.record, program.code)[0]
            runs = [prepare(program, shape, graph) for shape in shapes(program)]
        for run in runs:
            what = f"{target.name}: {label(program.op)}, {program.name}, {run.shape}"
            assert_right(program, run_on_cpu(program, run, target), run.expected, what)


def other_kernels(target: Target, dtype: str):
    """Matrix products, convolutions, poolings and scans."""
    x, w = (2, 8, 13, 18), (12, 8, 3, 3)
    options = (x, w, (2, 1), (1, 1), (1, 1), 1, 2)
    yield gemm.plan_gemm(dtype, 65, 97, 33, (33, 1), (97, 1), (97, 1), 2, target=target)
    yield gemm.plan_gemm(dtype, 300, 300, 300, (1, 300), (1, 300), (300, 1), 2, target=target)
    yield gemm.plan_gemm(dtype, 1, 50, 10, (10, 1), (50, 1), (50, 1), 2, target=target)
    yield conv.plan_conv_forward(dtype, *options, bias=True, activation="relu", target=target)
    yield conv.plan_conv_backward_data(dtype, *options, target=target)
    yield plan_conv_backward_weight(dtype, *options, target=target)
    window = ((2, 8, 13, 18), (2, 3), (2, 2), (1, 1), (1, 1), False, 2)
    yield pooling.plan_max_pool(dtype, *window, target=target)


@pytest.mark.parametrize("dtype", ["f32", "f16", "i32"])
@pytest.mark.parametrize("target", BY_NAME.values(), ids=lambda t: t.name)
def test_other_kernels_are_emitted_and_loaded(target: Target, dtype: str, relocate) -> None:
    sources = {p.kernel.key: p.kernel for plan in other_kernels(target, dtype) for p in plan.phases}
    for kind in ("add", "max"):
        for across in (False, True):
            kernel = scan.source(kind, dtype, dtype, across, target)
            sources[kernel.key] = kernel
    assert len(sources) > 8
    for key, kernel in sources.items():
        assert load(cache.compile_object(kernel.build(), target), target, relocate) is None, key


PROGRAM = """
import sys
import numpy as np
import flambeau as torch
import flambeau.nn.functional as F

torch.manual_seed(0)
x = torch.randn(9, 37)
y = torch.randn(37, 21)
results = [x + x, (x * 3).t() - 1.5, torch.exp(x), torch.tanh(x), torch.erf(x), torch.log(x.abs())]
results += [x @ y, x.double() @ y.double(), torch.softmax(x, 1), torch.softmax(x, 0), x.sum(0)]
results += [x.half() * 2, x.bfloat16() + 1, x.to(torch.int32) // 3, x.argmax(1), x.cumsum(1), x > 0]
results += [torch.complex(x, -x) * torch.complex(x, x), x.half().sum(1), torch.pow(x.abs(), 1.7)]
image = torch.randn(2, 3, 12, 12, requires_grad=True)
filters = torch.randn(8, 3, 3, 3, requires_grad=True)
z = F.max_pool2d(F.relu(F.conv2d(image, filters, padding=1)), 2)
weights = torch.arange(z.numel()).view_as(z) / z.numel()
(F.layer_norm(z, z.shape[1:]).pow(2) * weights).sum().backward()
results += [z, image.grad, filters.grad]
results = [r.detach().float() if r.dtype is torch.bfloat16 else r.detach() for r in results]
np.savez(sys.argv[1], *[r.numpy() for r in results])
"""


def run_program(target: str | None, folder: Path) -> list[np.ndarray]:
    """The results of PROGRAM in a process of its own."""
    environment = {**os.environ, "FLAMBEAU_CACHE": str(folder / "cache")}
    environment.pop("FLAMBEAU_TARGET", None)
    if target is not None:
        environment["FLAMBEAU_TARGET"] = target
    path = folder / f"{target}.npz"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    root = HERE.parents[1]
    run = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    with np.load(path) as found:
        return [found[name] for name in found.files]


def test_environment_chooses_the_target(tmp_path: Path) -> None:
    expected = run_program(None, tmp_path)
    for target in OTHERS:
        got = run_program(target.name, tmp_path)
        for k, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert a.dtype == b.dtype
            loose = 1e-2 if a.dtype == np.float16 else 2e-4
            np.testing.assert_allclose(
                a, b, rtol=loose, atol=loose, err_msg=f"{target.name}, result {k}"
            )
        assert list(
            (tmp_path / "cache" / target.name).glob("*.o")
        )  # each target has its own objects


def test_unknown_target_is_an_error(tmp_path: Path) -> None:
    environment = {**os.environ, "FLAMBEAU_TARGET": "vax", "FLAMBEAU_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", "import flambeau as t; t.ones(3) + 1"]
    run = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "FLAMBEAU_TARGET=vax: expected one of avx512, avx2, sse, neon" in run.stderr
