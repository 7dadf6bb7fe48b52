"""Every signature an op accepts compiles: all loop ops, all types, all forms."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau import core
from flambeau.kernels import cache, loops, scalar, target
from flambeau.kernels import dtypes as dt
from flambeau.kernels.loops import LoopSpec, Operand
from tests.kernels.loop_ops import CODES, derivatives, label, loop_ops, ranks, trace

POINTWISE, REDUCTION = 0, 1
FORMS = {
    POINTWISE: ("flat", "nest", "tile"),
    REDUCTION: ("reduce", "columns"),
    2: ("reduce", "columns"),
}
GROUPS = 8
FLOATS = tuple(dt.INFO[n].code for n in ("f16", "bf16", "f32", "f64"))


def signatures(step: int, group: int, groups: int):
    """(op, type, form): each op in every `step`th of its types and one of its forms, all if step
    is 1."""
    for index, op in list(enumerate(loop_ops()))[group::groups]:
        for which, rule in enumerate([op, *derivatives(op)]):
            forms = FORMS[rule.record.form]
            for k, code in enumerate(CODES if which == 0 else FLOATS):
                if (index + k) % step:
                    continue
                for form in forms if step == 1 else (forms[(index + k) // step % len(forms)],):
                    yield rule, code, form


def compile_signature(op, code: int, form: str) -> bool:
    """Emit and compile; False if the op refuses the type or the form is not for it."""
    with scalar.tracing():
        found = trace(op.record, code)
        if found is None:
            return False
        root, stored, result = found
        if form == "tile" and not all(_tiles(s) for s in [*stored, result]):
            return False
        access = "t" if form == "tile" else "c"
        ins = [Operand(s, access if k < op.record.operands else "s") for k, s in enumerate(stored)]
        spec = LoopSpec(
            form, (Operand(result, "c"),), tuple(ins), (root,), op.record.form == REDUCTION
        )
        text = loops.build(spec, target.host())
    try:
        core.load_object(cache.compile_object(text))
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"{label(op)} of {dt.BY_CODE[code].name}, {form}: {error}") from error
    return True


def _tiles(stored: str) -> bool:
    return dt.INFO[stored].size == 4 and not dt.is_complex(stored)


@pytest.mark.parametrize("group", range(2))
def test_sampled_signatures_compile(group: int) -> None:
    assert sum(compile_signature(*s) for s in signatures(7, group, 2)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_accepted_signature_compiles(group: int) -> None:
    assert sum(compile_signature(*s) for s in signatures(1, group, GROUPS)) > 300


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_mixed_types_compile() -> None:
    """Pairs of unlike types through the public operators."""
    kinds = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16]
    kinds += [torch.float32, torch.float64, torch.complex64, torch.complex128]
    for a in kinds:
        for b in kinds:
            x, y = torch.ones(5).to(a), torch.ones(5).to(b)
            assert (x + y).dtype is torch.promote_types(a, b)
            assert bool((x == y).all())
            assert x.to(b).dtype is b
            z = torch.ones(5).to(b)
            assert z.copy_(x).dtype is b


def test_a_refused_type_names_what_the_op_takes() -> None:
    op = next(o for o in loop_ops() if o.record.accepts == "f")
    with scalar.tracing(), pytest.raises(RuntimeError, match="it takes floating point"):
        op.record.trace(ranks(op.record, dt.INFO["c64"].code), None)
