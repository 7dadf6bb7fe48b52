"""Convolution by strips of output rows: results written by the tiles, and results kept aside."""

import re

import pytest

from flambeau.kernels import (
    conv_images_plan,
    conv_masked,
    conv_masked_plan,
    conv_patches_plan,
    conv_pixel_plan,
    conv_placed,
    conv_strip_plan,
    conv_winograd_plan,
)
from flambeau.kernels.conv import plan_conv_forward
from flambeau.kernels.target import AVX512, host
from tests.kernels.harness import assemble, runnable
from tests.kernels.test_conv import CASES, check

# input, filter, stride, padding, dilation, groups
SMALL = [
    ((2, 3, 7, 5), (9, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # vectors of more than two rows
    ((2, 4, 33, 33), (20, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((1, 3, 70, 17), (11, 3, 5, 3), (2, 2), (2, 1), (1, 1), 1),
    ((2, 17, 13, 13), (35, 17, 1, 1), (1, 1), (0, 0), (1, 1), 1),  # in place, without margins
    ((1, 5, 9, 16), (8, 5, 1, 3), (1, 1), (0, 1), (1, 1), 1),
    ((1, 2, 3, 9, 10), (7, 2, 3, 3, 3), (1, 1, 1), (1, 0, 1), (1, 2, 1), 1),
    ((3, 1, 100), (6, 1, 9), (1,), (4,), (1,), 1),
    ((1, 130, 5, 6), (20, 130, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # sums in two runs
]


@pytest.fixture
def strips(monkeypatch):
    """Also where another kernel would take less time."""
    others = (
        conv_images_plan, conv_masked_plan, conv_patches_plan, conv_pixel_plan, conv_winograd_plan,
    )  # fmt: skip
    for planner in others:
        monkeypatch.setattr(planner, "choose", lambda c: None)


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "f16", "i32", "c64"])
def test_cases(strips, dtype, target):
    for case in SMALL if dtype == "f32" else SMALL[:4]:
        check(dtype, case, target=target)
        check(dtype, case, bias=True, relu=dtype[0] in "bfi", threads=2, target=target)


def test_short_strips(strips, monkeypatch):
    """Several strips of a plane, the last of fewer rows."""
    monkeypatch.setattr(conv_strip_plan, "WORKSPACE", 1 << 11)
    monkeypatch.setattr(conv_strip_plan, "IN_PLACE", 1 << 11)
    for case in SMALL[:5]:
        check("f32", case, bias=True, threads=2)


@pytest.mark.skipif(host() is not AVX512, reason="results are kept aside")
def test_tiles_write_their_results_where_sums_are_short(strips):
    keys = [plan_conv_forward("f32", *case, 1, bias=True).phases[0].kernel.key for case in SMALL]
    assert [key.split(":")[0] for key in keys] == ["conv_placed"] * 7 + ["conv_strip"]


def test_other_cases(strips):
    for case in CASES[::2]:
        check("f32", case, bias=True)


@pytest.mark.parametrize("module", [conv_placed, conv_masked], ids=["placed", "masked"])
def test_sums_stay_in_registers(module):
    """No loop of products keeps a vector on the stack."""
    for rows, vectors in conv_strip_plan.TILES[32]:
        text = assemble(module.source("f32", AVX512, rows, vectors).build(), AVX512)
        loops = re.findall(r"^(\.LBB\w+):.*\n((?:\t.*\n)+?\tj\w+\t\1)$", text, re.MULTILINE)
        products = [body for _, body in loops if body.count("vfmadd") > 1]
        assert len(products) >= vectors - 1
        assert not any(re.search(r"zmm.*\(%rsp\)|\(%rsp\).*zmm", body) for body in products)
