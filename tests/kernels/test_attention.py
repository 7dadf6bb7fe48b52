"""Attention kernels against NumPy in float64: every target, mask, layout and share of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.kernels import attention, attention_backward, attention_forward
from flambeau.kernels.attention import Attention, plan_backward, plan_forward
from flambeau.kernels.target import NEON, host
from tests.kernels.harness import assemble, run_plan, runnable

TARGETS = runnable()
NUMPY = {"f32": np.float32, "f64": np.float64}
TOLERANCE = {"f32": 2e-5, "f64": 1e-12}
SIZES = [(1, 1, 1, 1), (7, 9, 5, 3), (37, 53, 20, 12), (64, 64, 32, 32), (130, 70, 33, 65)]


def strides(array):
    """Batch, head and row steps in elements."""
    return tuple(s // array.itemsize for s in array.strides[:3])


def draw(rng, dtype, *shape, packed=False):
    """Random numbers; packed: stored with the heads of a position side by side."""
    if packed:
        n, h, rows, columns = shape
        values = rng.standard_normal((n, rows, h, columns)).transpose(0, 2, 1, 3)
        return values.astype(NUMPY[dtype], order="K")
    return rng.standard_normal(shape).astype(NUMPY[dtype])


def reference(q, k, v, g, mask, causal, scale):
    """Result and gradients in float64, with heads of k and v repeated."""
    q, k, v, g = (x.astype(np.float64) for x in (q, k, v, g))
    scores = q @ np.swapaxes(k, -1, -2) * scale
    if causal:
        visible = np.tril(np.ones(scores.shape[-2:], bool))
        scores = np.where(visible, scores, -np.inf)
    if mask is not None:
        scores = scores + mask
    highest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isinf(highest), 0, highest))
    total = weights.sum(-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    change = g @ np.swapaxes(v, -1, -2)
    change = weights * (change - (change * weights).sum(-1, keepdims=True)) * scale
    dq, dk = change @ k, np.swapaxes(change, -1, -2) @ q
    return weights @ v, dq, dk, np.swapaxes(weights, -1, -2) @ g


def check(
    sizes, *, dtype="f32", target=None, batch=2, heads=3, group=1, causal=False, mask=None,
    packed=False, threads=1, scale=0.3,
):  # fmt: skip
    """Compare both passes; returns the results, for tests of determinism."""
    target = target or host()
    length, source, depth, width = sizes
    rng = np.random.default_rng(0)
    q = draw(rng, dtype, batch, heads, length, depth, packed=packed)
    k = draw(rng, dtype, batch, heads // group, source, depth, packed=packed)
    v = draw(rng, dtype, batch, heads // group, source, width, packed=packed)
    g = draw(rng, dtype, batch, heads, length, width, packed=packed)
    added = None
    if mask is not None:
        added = rng.standard_normal((length, source)).astype(NUMPY[dtype])
        added[rng.random((length, source)) < mask] = -np.inf
        added = np.broadcast_to(added, (batch, heads, length, source))
    out, dq, dk, dv = (
        np.full_like(x, np.nan) for x in (g, q, k.repeat(group, 1), v.repeat(group, 1))
    )
    lse = np.full((batch, heads, length), np.nan, NUMPY[dtype])
    p = Attention(
        dtype, batch, heads, group, length, source, depth, width, strides(q), strides(k),
        strides(v), strides(out), None if added is None else strides(added), causal, scale,
    )  # fmt: skip
    run_plan(plan_forward(p, threads, target), [out, lse, q, k, v, added], target, threads)
    plan = plan_backward(p, strides(g), strides(dq), strides(dk), strides(dv), threads, target)
    run_plan(plan, [dq, dk, dv, g, out, lse, q, k, v, added], target, threads)
    expected = reference(q, k.repeat(group, 1), v.repeat(group, 1), g, added, causal, scale)
    for ours, theirs in zip((out, dq, dk, dv), expected, strict=True):
        bound = TOLERANCE[dtype] * max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
    return out, dq, dk, dv


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("causal", [False, True])
def test_sizes(target, dtype, causal):
    for sizes in SIZES:
        check(sizes, dtype=dtype, target=target, causal=causal)
        check(sizes, dtype=dtype, target=target, causal=causal, packed=True, threads=2)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_masks(target, share):
    """Some hidden positions, and rows that see nothing."""
    for sizes in SIZES:
        check(sizes, target=target, mask=share, threads=2)


def test_several_blocks_of_keys():
    check((300, 1100, 16, 24), batch=1, heads=1)
    check((700, 700, 64, 64), batch=1, heads=2, causal=True, threads=2)
    check((90, 1000, 16, 16), batch=1, heads=1, mask=0.9)


@pytest.mark.parametrize("causal", [False, True])
def test_one_head_is_shared_by_ranges_of_keys(causal):
    """Their shares of dq are added in order: the same bits on every run."""
    sizes = (260, 500, 40, 32)
    first = check(sizes, batch=1, heads=1, causal=causal, threads=2)
    for ours, again in zip(
        first, check(sizes, batch=1, heads=1, causal=causal, threads=2), strict=True
    ):
        np.testing.assert_array_equal(ours, again)
    check(sizes, batch=1, heads=3, causal=causal, threads=4)


def test_grouped_heads():
    check((33, 40, 16, 16), heads=6, group=3, causal=True, threads=2)


def test_negative_and_zero_scale():
    check((20, 30, 8, 8), scale=-1.7)
    check((20, 30, 8, 8), scale=0.0)


def test_large_scores_do_not_overflow():
    check((20, 30, 8, 8), scale=60.0)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 80)] * 2, *[st.integers(1, 40)] * 2),
    st.booleans(), st.sampled_from([None, 0.0, 0.5]), st.booleans(), st.integers(1, 3),
)  # fmt: skip
def test_any_size(sizes, causal, mask, packed, threads):
    check(sizes, causal=causal and mask is None, mask=mask, packed=packed, threads=threads)


def test_nan_reaches_only_its_row():
    rng = np.random.default_rng(1)
    q, k, v = (draw(rng, "f32", 1, 1, 20, 8) for _ in range(3))
    q[0, 0, 3, 2] = np.nan
    out, lse = np.zeros_like(v), np.zeros((1, 1, 20), np.float32)
    p = Attention("f32", 1, 1, 1, 20, 20, 8, 8, *[strides(q)] * 3, strides(out), None, False, 0.5)
    run_plan(plan_forward(p, 1), [out, lse, q, k, v, None], host())
    assert np.isnan(out[0, 0, 3]).all()
    assert np.isfinite(np.delete(out[0, 0], 3, 0)).all()


@pytest.mark.parametrize("dtype", NUMPY)
def test_emits_arm64(dtype):
    for kernel in (
        attention_forward.source(dtype, NEON, True),
        attention_backward.sources(dtype, NEON, False)[0],
    ):
        assert "fmla" in assemble(kernel.build(), NEON)


def test_small_problems_are_one_task():
    p = Attention("f32", 2, 2, 1, 8, 8, 8, 8, *[(128, 64, 8)] * 4, None, False, 1.0)
    (phase,) = attention.plan_forward(p, 8).phases
    assert phase.tasks <= phase.grain
