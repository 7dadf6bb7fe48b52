"""Attention through autograd: the fused kernels against the same formula in recorded ops."""

import math

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.autograd import gradcheck, gradgradcheck


def compose(q, k, v, mask=None, causal=False, scale=None):
    """The textbook formula, every intermediate a tensor."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ k.transpose(-2, -1) * scale
    if causal:
        visible = flambeau.ones(scores.shape[-2:], dtype=flambeau.bool).tril()
        scores = scores.masked_fill(~visible, -math.inf)
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, -math.inf) if mask.dtype == flambeau.bool else scores + mask
        )
    return scores.softmax(-1) @ v


def inputs(*shapes, dtype=flambeau.float32):
    flambeau.manual_seed(0)
    return tuple(flambeau.randn(*shape, dtype=dtype).requires_grad_() for shape in shapes)


def check(tensors, ours, theirs, tolerance=2e-5):
    g = flambeau.randn_like(theirs)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 0, tolerance)
    for mine, wanted in zip(
        flambeau.autograd.grad(ours, tensors, g), flambeau.autograd.grad(theirs, tensors, g),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(mine.numpy(), wanted.numpy(), 0, tolerance * 10)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"scale": 0.3}])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_ranks(options, lead):
    q, k, v = tensors = inputs((*lead, 17, 8), (*lead, 23, 8), (*lead, 23, 5))
    renamed = {"is_causal" if name == "causal" else name: x for name, x in options.items()}
    ours = F.scaled_dot_product_attention(q, k, v, **renamed)
    check(tensors, ours, compose(q, k, v, **options))


@pytest.mark.parametrize("shape", [(9, 12), (3, 1, 12), (2, 1, 9, 12), (2, 3, 9, 12)])
@pytest.mark.parametrize("boolean", [True, False])
def test_masks_broadcast(shape, boolean):
    q, k, v = tensors = inputs((2, 3, 9, 8), (2, 3, 12, 8), (2, 3, 12, 8))
    mask = flambeau.rand(shape) > 0.3 if boolean else flambeau.randn(shape)
    if boolean:
        mask[..., 0] = True
    ours = F.scaled_dot_product_attention(q, k, v, mask)
    check(tensors, ours, compose(q, k, v, mask))


def test_a_mask_that_learns_gets_its_gradient():
    q, mask = inputs((2, 3, 9, 8), (9, 9))
    ours = F.scaled_dot_product_attention(q, q, q, mask)
    check((q, mask), ours, compose(q, q, q, mask))


def test_packed_projection_is_read_in_place():
    (x,) = inputs((2, 20, 3 * 4 * 8))
    q, k, v = (t.view(2, 20, 4, 8).transpose(1, 2) for t in x.split(32, 2))
    ours = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert ours.transpose(1, 2).is_contiguous()  # so that heads are joined without a copy
    check((x,), ours, compose(q, k, v, causal=True))


def test_layouts_that_must_be_copied():
    tensors = inputs((2, 3, 8, 17), (2, 3, 8, 17), (2, 3, 5, 17))
    turned = [t.transpose(2, 3) for t in tensors]
    ours = F.scaled_dot_product_attention(*turned)
    check(tensors, ours, compose(*turned))
    (wide,) = inputs((1, 1, 17, 8))
    shared = wide.expand(2, 3, 17, 8)
    check((wide,), F.scaled_dot_product_attention(shared, shared, shared), compose(*[shared] * 3))


def test_grouped_heads_sum_their_gradients():
    q, k, v = tensors = inputs((2, 6, 9, 8), (2, 2, 12, 8), (2, 2, 12, 8))
    ours = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    check(tensors, ours, compose(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1)))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"enable_gqa": True}])
def test_derivatives_of_both_orders(options):
    tensors = inputs((1, 2, 5, 3), *[(1, 1 if options.get("enable_gqa") else 2, 5, 3)] * 2,
                     dtype=flambeau.float64)  # fmt: skip

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **options)

    assert gradcheck(attend, tensors)
    assert gradgradcheck(attend, tensors)


def test_second_order_with_a_row_that_sees_nothing():
    tensors = inputs(*[(1, 5, 3)] * 3, dtype=flambeau.float64)
    mask = flambeau.ones(5, 5, dtype=flambeau.bool).tril(-1)
    assert gradgradcheck(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), tensors)


@pytest.mark.parametrize("dtype", [flambeau.bfloat16, flambeau.float16])
def test_half_types_compute_in_float32(dtype):
    q, k, v = (t.detach().to(dtype) for t in inputs(*[(2, 3, 20, 16)] * 3))
    ours = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    wanted = compose(q.float(), k.float(), v.float(), causal=True)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours.float().numpy(), wanted.to(dtype).float().numpy(), 0, 2e-2)


def test_short_queries_and_dropout_take_the_other_path():
    q, k = inputs((2, 3, 1, 8), (2, 3, 12, 8))
    check((q, k), F.scaled_dot_product_attention(q, k, k), compose(q, k, k))
    flambeau.manual_seed(0)
    dropped = F.scaled_dot_product_attention(k, k, k, dropout_p=0.5)
    assert not flambeau.allclose(dropped, compose(k, k, k))


def test_results_repeat_bit_for_bit():
    q, k, v = inputs((1, 1, 300, 16), (1, 1, 400, 16), (1, 1, 400, 16))
    runs = []
    for _ in range(3):
        out = F.scaled_dot_product_attention(q, k, v)
        runs.append([out, *flambeau.autograd.grad(out.sum(), (q, k, v))])
    for again in runs[1:]:
        assert all(flambeau.equal(a, b) for a, b in zip(runs[0], again, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_thread_counts_agree(threads):
    q, k, v = tensors = inputs((1, 3, 150, 16), (1, 3, 140, 16), (1, 3, 140, 16))
    before = flambeau.get_num_threads()
    flambeau.set_num_threads(threads)
    try:
        check(tensors, F.scaled_dot_product_attention(q, k, v), compose(q, k, v))
    finally:
        flambeau.set_num_threads(before)


def test_encoder_layer_in_training_and_inference_agree():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    x = flambeau.randn(2, 10, 16)
    trained = layer(x)
    layer.eval()
    with flambeau.no_grad():
        assert flambeau.allclose(layer(x), trained, atol=1e-5)


def test_a_batch_that_comes_first_in_memory_is_not_copied():
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    x = flambeau.randn(3, 10, 16)
    output, _ = attention(x, x, x, need_weights=False)
    assert output.is_contiguous()
    other = nn.MultiheadAttention(16, 4)
    other.load_state_dict(attention.state_dict())
    turned = x.transpose(0, 1).contiguous()
    wanted, _ = other(turned, turned, turned, need_weights=False)
    assert flambeau.allclose(output, wanted.transpose(0, 1), atol=1e-6)
