"""Kernels of layers and losses on other machines than this one; tests/nn has their values."""

import pytest

from flambeau.kernels import bags, ctc, margin_lists
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_lists_of_classes_on_arm64(dtype: str) -> None:
    assert "\tbl\t" not in assemble(margin_lists.source(dtype, NEON).build(), NEON)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("backward", [False, True])
def test_alignments_on_arm64(dtype: str, backward: bool) -> None:
    (phase,) = ctc.plan(dtype, 3, 1, backward, NEON).phases
    assert "\tbl\t" not in assemble(phase.kernel.build(), NEON)


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_bags_on_arm64(dtype: str) -> None:
    for form in (bags.Form(False, True, False), bags.Form(True, False, True)):
        assert "\tbl\t" not in assemble(bags.source(dtype, form, NEON).build(), NEON)
