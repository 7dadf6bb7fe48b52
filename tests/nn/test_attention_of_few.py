"""Attention of few queries, which reads keys and values where they lie."""

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.kernels import attention_few
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble
from tests.nn.test_fused_attention import check, compose, inputs

HALVES = [(flambeau.bfloat16, 2e-2), (flambeau.float16, 2e-3)]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("source", [1, 15, 16, 481, 1000])
@pytest.mark.parametrize("widths", [(1, 1), (8, 5), (33, 130)])
def test_sizes(length, source, widths):
    depth, width = widths
    tensors = inputs((2, 3, length, depth), (2, 3, source, depth), (2, 3, source, width))
    with flambeau.no_grad():
        out = F.scaled_dot_product_attention(*tensors)
        np.testing.assert_allclose(out.numpy(), compose(*tensors).numpy(), 0, 2e-6)
    check(tensors, F.scaled_dot_product_attention(*tensors), compose(*tensors))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("mask", [None, (1, 1, 1, 70), (2, 8, 2, 70)])
def test_heads_that_share_keys(groups, mask):
    q, k, v = inputs((2, 8, 2, 16), (2, groups, 70, 16), (2, groups, 70, 16))
    mask = None if mask is None else flambeau.rand(mask) > 0.3
    ours = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    wide = (t.repeat_interleave(8 // groups, 1) for t in (k, v))
    check((q, k, v), ours, compose(q, *wide, mask))


def test_a_query_that_sees_nothing_gives_zeros():
    q, k, v = inputs((1, 2, 3, 8), (1, 2, 20, 8), (1, 2, 20, 8))
    mask = flambeau.ones(3, 20, dtype=flambeau.bool)
    mask[1] = False
    out = F.scaled_dot_product_attention(q, k, v, mask)
    assert out[:, :, 1].abs().max() == 0
    np.testing.assert_allclose(
        out[:, :, 0].detach().numpy(), compose(q, k, v)[:, :, 0].detach().numpy(), 0, 2e-6
    )


def test_nan_reaches_only_its_row():
    q, k, v = (t.detach() for t in inputs((1, 1, 4, 8), (1, 1, 50, 8), (1, 1, 50, 8)))
    q[0, 0, 2, 3] = np.nan
    out = F.scaled_dot_product_attention(q, k, v).numpy()[0, 0]
    assert np.isnan(out[2]).all()
    assert np.isfinite(np.delete(out, 2, 0)).all()


@pytest.mark.parametrize(("dtype", "tolerance"), HALVES)
def test_half_types_are_summed_in_float32(dtype, tolerance):
    wide = inputs((2, 4, 1, 24), (2, 2, 600, 24), (2, 2, 600, 24))
    q, k, v = (t.detach().to(dtype) for t in wide)
    out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), enable_gqa=True)
    assert out.dtype == dtype
    assert flambeau.equal(out, expected.to(dtype)) or flambeau.allclose(
        out.float(), expected, atol=tolerance * 0.1
    )
    leaves = [t.requires_grad_() for t in (q, k, v)]
    F.scaled_dot_product_attention(*leaves, enable_gqa=True).float().sum().backward()
    assert all(t.grad is not None and t.grad.dtype == dtype for t in leaves)


def test_derivatives_of_both_orders():
    tensors = inputs((1, 2, 2, 3), (1, 2, 5, 3), (1, 2, 5, 3), dtype=flambeau.float64)
    assert gradcheck(F.scaled_dot_product_attention, tensors)
    assert gradgradcheck(F.scaled_dot_product_attention, tensors)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_do_not_depend_on_threads(threads):
    q, k, v = (t.detach() for t in inputs((3, 5, 1, 64), (3, 5, 900, 64), (3, 5, 900, 64)))
    before = flambeau.get_num_threads()
    expected = F.scaled_dot_product_attention(q, k, v)
    flambeau.set_num_threads(threads)
    try:
        for _ in range(3):
            assert flambeau.equal(F.scaled_dot_product_attention(q, k, v), expected)
    finally:
        flambeau.set_num_threads(before)


def test_rows_that_lie_apart():
    q, k, v = inputs((2, 3, 16, 1), (2, 3, 16, 40), (2, 40, 3, 16))
    turned = (q.transpose(2, 3), k.transpose(2, 3), v.transpose(1, 2))
    check((q, k, v), F.scaled_dot_product_attention(*turned), compose(*turned))


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "f16"])
def test_emits_arm64(dtype):
    assert "fmla" in assemble(attention_few.source(dtype, NEON, True).build(), NEON)
