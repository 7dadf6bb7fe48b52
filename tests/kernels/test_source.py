"""Kernels can be looked at: op.source for every kind of op, FLAMBEAU_SHOW for every stage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau as torch
from flambeau.core import Op
from flambeau.kernels.target import BY_NAME, host
from flambeau.ops.record import REGISTRY

ROOT = Path(__file__).resolve().parents[2]


def test_llvm_of_a_pointwise_op() -> None:
    text = torch.exp.source("cpu")
    assert "define void @k(" in text
    assert f"{host().vector_bytes // 4} x float>" in text
    assert "double" in torch.exp.source("cpu", "float64")
    assert torch.exp.source() == text


def test_machine_code_of_a_pointwise_op() -> None:
    text = torch.add.source("cpu", "float32", "float32", stage="asm")
    assert (
        "vaddps"
        if host() in (BY_NAME["avx512"], BY_NAME["avx2"])
        else "fmla"
        if host().name == "neon"
        else "ps"
    ) in text
    assert "k:" in text


def test_c_of_a_pointwise_op() -> None:
    cuda, opencl = torch.neg.source("cuda"), torch.neg.source("opencl")
    assert "KERNEL(neg_kernel)(GLOBAL f32 *p0, i64 o0, GLOBAL const f32 *p1, i64 o1, i64 n)" in cuda
    assert "__global__" in cuda
    assert "__kernel" in opencl
    assert cuda[cuda.index("KERNEL(neg_kernel)") :] == opencl[opencl.index("KERNEL(neg_kernel)") :]


def test_c_of_a_reduction_meets_in_shared_memory() -> None:
    text = torch.amax.source("cuda", "float16")
    assert "SHARED(f32, shared_f32_0, 256)" in text
    assert "BARRIER();" in text
    assert "STORE_f16(p0," in text


def test_numbers_are_passed_by_value() -> None:
    assert "GLOBAL const i64 *p2, i64 o2, i64 v3, i64 n)" in torch.add.source(
        "cuda", "int64", "int64"
    )


def test_composites_say_so_and_show_their_parts() -> None:
    text = torch.softmax.source("cpu")
    assert text.startswith("; softmax is a composite")
    assert "; ---- softmax\n" in text
    assert "define void @k(" in text
    assert torch.softmax.source("cuda").startswith("// softmax is a composite")
    assert torch.softmax.source("cpu", stage="asm").startswith("# softmax is a composite")


def test_primitives_say_so() -> None:
    primitive = next(x for x in REGISTRY.values() if isinstance(x, Op) and x.record is not None)
    assert f"; {primitive.name} is a primitive" in primitive.source()
    assert "FLAMBEAU_SHOW=ir" in primitive.source()
    assert "is a primitive: its Python function chooses kernels" in torch.mm.source()


def test_inplace_variants_have_their_ops_kernel() -> None:
    assert REGISTRY["exp_"].source("cpu") == torch.exp.source("cpu")


def test_every_op_made_by_a_decorator_has_a_source() -> None:
    plain = {"copy_"} | {name for name in REGISTRY if name.endswith("_window")}
    for name, op in REGISTRY.items():
        assert name in plain or callable(op.source), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("metal",), "exp.source: expected a device of cpu, cuda, opencl, got 'metal'"),
        (("cpu", "float33"), "exp.source: expected 1 of the types bool, uint8.* got float33"),
        (("cpu", "float32", "float32"), "exp.source: expected 1 of the types"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch.exp.source(*arguments)
    with pytest.raises(ValueError, match="expected a stage of ir, asm, got 'wasm'"):
        torch.exp.source("cpu", stage="wasm")
    with pytest.raises(ValueError, match="expected a device"):
        torch.softmax.source("metal")


def show(stages: str, folder: Path) -> str:
    """What a process that adds two tensors writes to stderr under FLAMBEAU_SHOW."""
    environment = {**os.environ, "FLAMBEAU_CACHE": str(folder), "FLAMBEAU_SHOW": stages}
    command = [sys.executable, "-c", "import flambeau as t; t.ones(3) + t.ones(3)"]
    run = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stderr


def test_stages_are_shown_whether_cached_or_not(tmp_path: Path) -> None:
    for _ in range(2):
        text = show("graph,ir,asm", tmp_path)
        assert (
            "--- graph\nadd ['f32', 'f32', 'f32'] -> f32: add(in0:f32, mul(in1:f32, in2:f32))"
            in text
        )
        assert "--- ir\ntarget triple" in text
        assert "--- asm\n" in text
    assert "wrote" in show("cache", tmp_path / "empty")
    assert "found" in show("cache", tmp_path / "empty")
    assert "wrote" not in show("cache", tmp_path / "empty")
    assert show("", tmp_path) == ""
