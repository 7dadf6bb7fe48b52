"""Attention and transformers against NumPy and against themselves."""

import math

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F
from flambeau import nn


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(q, k, v, mask=None, scale=None):
    scores = q @ np.swapaxes(k, -1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    weights = softmax(scores if mask is None else scores + mask)
    return weights @ v, weights


def test_scaled_dot_product_attention():
    q, k, v = flambeau.randn(2, 3, 4, 8), flambeau.randn(2, 3, 5, 8), flambeau.randn(2, 3, 5, 6)
    expected, _ = attend(q.numpy(), k.numpy(), v.numpy())
    np.testing.assert_allclose(
        F.scaled_dot_product_attention(q, k, v).numpy(), expected, 1e-4, 1e-5
    )
    expected, _ = attend(q.numpy(), k.numpy(), v.numpy(), scale=0.7)
    ours = F.scaled_dot_product_attention(q, k, v, scale=0.7)
    np.testing.assert_allclose(ours.numpy(), expected, 1e-4, 1e-5)


def test_causal_and_masks_agree():
    q = flambeau.randn(2, 4, 8)
    causal = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    visible = flambeau.ones(4, 4, dtype=flambeau.bool).tril()
    assert flambeau.allclose(causal, F.scaled_dot_product_attention(q, q, q, visible), atol=1e-6)
    added = nn.Transformer.generate_square_subsequent_mask(4)
    assert flambeau.allclose(causal, F.scaled_dot_product_attention(q, q, q, added), atol=1e-6)
    assert flambeau.allclose(causal[:, 0], q[:, 0], atol=1e-6)
    with pytest.raises(RuntimeError, match="is_causal=True"):
        F.scaled_dot_product_attention(q, q, q, visible, is_causal=True)


def test_rows_that_see_nothing_give_zeros_and_zero_gradients():
    q = flambeau.randn(1, 2, 4, requires_grad=True)
    mask = flambeau.tensor([[True, True], [False, False]])
    out = F.scaled_dot_product_attention(q, q, q, mask)
    assert out[0, 1].tolist() == [0, 0, 0, 0]
    out.sum().backward()
    assert bool(q.grad.isfinite().all())


def test_grouped_heads():
    q, k = flambeau.randn(1, 4, 3, 8), flambeau.randn(1, 2, 5, 8)
    ours = F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    repeated = k.repeat_interleave(2, 1)
    assert flambeau.allclose(ours, F.scaled_dot_product_attention(q, repeated, repeated), atol=1e-6)


def reference_attention(module, query, key, value, mask=None):
    """Several heads in NumPy, batch first, all sizes equal."""
    size, heads = module.embed_dim, module.num_heads
    weight, bias = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
    parts = []
    for i, x in enumerate((query, key, value)):
        y = x @ weight[i * size : (i + 1) * size].T + bias[i * size : (i + 1) * size]
        parts.append(y.reshape(*y.shape[:2], heads, size // heads).transpose(0, 2, 1, 3))
    joined, weights = attend(*parts, mask)
    joined = joined.transpose(0, 2, 1, 3).reshape(query.shape)
    out = module.out_proj
    return joined @ out.weight.detach().numpy().T + out.bias.detach().numpy(), weights


@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention(need_weights):
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    nn.init.normal_(module.in_proj_bias)
    q, k = flambeau.randn(3, 4, 8), flambeau.randn(3, 5, 8)
    padding = flambeau.zeros(3, 5, dtype=flambeau.bool)
    padding[1, 3:] = True
    mask = np.where(padding.numpy(), -np.inf, 0)[:, None, None]
    output, weights = module(q, k, k, key_padding_mask=padding, need_weights=need_weights)
    expected, expected_weights = reference_attention(module, q.numpy(), k.numpy(), k.numpy(), mask)
    np.testing.assert_allclose(output.detach().numpy(), expected, 1e-4, 1e-5)
    if not need_weights:
        assert weights is None
        return
    np.testing.assert_allclose(weights.detach().numpy(), expected_weights.mean(1), 1e-4, 1e-5)
    assert flambeau.allclose(weights.sum(-1), flambeau.ones(3, 4), atol=1e-5)
    _, per_head = module(q, k, k, average_attn_weights=False)
    assert per_head.shape == (3, 2, 4, 5)


def test_batch_first_and_unbatched_agree():
    first = nn.MultiheadAttention(8, 2, batch_first=True)
    second = nn.MultiheadAttention(8, 2)
    second.load_state_dict(first.state_dict())
    x = flambeau.randn(3, 4, 8)
    ours, _ = first(x, x, x)
    theirs, _ = second(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1))
    assert flambeau.allclose(ours, theirs.transpose(0, 1), atol=1e-6)
    alone, weights = first(x[1], x[1], x[1])
    assert flambeau.allclose(alone, ours[1], atol=1e-6)
    assert weights.shape == (4, 4)


def test_separate_sizes_and_extra_positions():
    module = nn.MultiheadAttention(8, 2, kdim=5, vdim=6, add_bias_kv=True, add_zero_attn=True)
    assert module.in_proj_weight is None
    assert module.k_proj_weight.shape == (8, 5)
    q, k, v = flambeau.randn(3, 2, 8), flambeau.randn(4, 2, 5), flambeau.randn(4, 2, 6)
    output, weights = module(q, k, v, attn_mask=flambeau.zeros(3, 4))
    assert output.shape == (3, 2, 8)
    assert weights.shape == (2, 3, 6)


def test_the_causal_hint_needs_its_mask():
    module = nn.MultiheadAttention(8, 2)
    x = flambeau.randn(4, 2, 8)
    with pytest.raises(RuntimeError, match="Need attn_mask"):
        module(x, x, x, is_causal=True)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    hinted, _ = module(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
    plain, _ = module(x, x, x, attn_mask=mask)
    assert flambeau.allclose(hinted, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "text"),
    [(flambeau.zeros(3, 3), "2D attn_mask is"), (flambeau.zeros(5, 4, 4), "3D attn_mask is")],
)
def test_mask_shapes(mask, text):
    x = flambeau.randn(4, 2, 8)
    with pytest.raises(RuntimeError, match=text):
        nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=mask)


def test_integer_masks_are_refused():
    x = flambeau.randn(4, 2, 8)
    with pytest.raises(AssertionError, match="only bool and floating"):
        nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=flambeau.zeros(4, 4, dtype=flambeau.int64))


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_is_its_parts(norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=norm_first)
    x = flambeau.randn(5, 3, 8)

    def attention(y):
        return layer.self_attn(y, y, y)[0]

    def feed(y):
        return layer.linear2(layer.linear1(y).relu())

    if norm_first:
        y = x + attention(layer.norm1(x))
        expected = y + feed(layer.norm2(y))
    else:
        y = layer.norm1(x + attention(x))
        expected = layer.norm2(y + feed(y))
    assert flambeau.allclose(layer(x), expected, atol=1e-5)


def test_stacks_are_copies_and_causality_holds():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2)
    assert flambeau.equal(encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight)
    assert encoder.layers[0].linear1.weight is not encoder.layers[1].linear1.weight
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    x = flambeau.randn(5, 1, 8)
    changed = x.clone()
    changed[4] += 1
    before, after = encoder(x, mask=mask), encoder(changed, mask=mask)
    assert flambeau.allclose(before[:4], after[:4], atol=1e-6)
    assert not flambeau.allclose(before[4], after[4], atol=1e-3)


def test_transformer_learns_to_copy():
    flambeau.manual_seed(0)
    model = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
    table, head = nn.Embedding(8, 16), nn.Linear(16, 8)
    parameters = [*model.parameters(), *table.parameters(), *head.parameters()]
    tokens = flambeau.randint(0, 8, (8, 5))
    losses = []
    for _ in range(25):
        logits = head(model(table(tokens), table(tokens)))
        loss = F.cross_entropy(logits.transpose(1, 2), tokens)
        loss.backward()
        losses.append(loss.item())
        with flambeau.no_grad():
            for p in parameters:
                p -= 0.1 * p.grad
                p.grad = None
    assert losses[-1] < 0.5 * losses[0]


def test_transformer_checks_its_inputs():
    model = nn.Transformer(8, 2, 1, 1, 16)
    with pytest.raises(RuntimeError, match="batch number"):
        model(flambeau.ones(3, 2, 8), flambeau.ones(3, 4, 8))
    with pytest.raises(RuntimeError, match="d_model"):
        model(flambeau.ones(3, 2, 8), flambeau.ones(3, 2, 6))
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
