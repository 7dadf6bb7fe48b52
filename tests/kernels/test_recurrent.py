"""Recurrent kernels on every target against NumPy: tails of the hidden size, tiles of rows."""

import numpy as np
import pytest

from flambeau.kernels import recurrent_steps
from flambeau.kernels.recurrent import Recurrence, plan_backward, plan_forward
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

TARGETS = runnable()
NUMPY = {"f32": np.float32, "f64": np.float64}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run_lstm(gates, h, c, weight):
    """Gate values, outputs, and the states before each step, in float64."""
    kept = [[], [], [], []]
    for x in gates:
        i, f, g, o = np.split(x + h @ weight.T, 4, -1)
        values = np.concatenate([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)], -1)
        for name, value in zip(kept, (values, None, h, c), strict=True):
            name.append(value)
        i, f, g, o = np.split(values, 4, -1)
        c = f * c + i * g
        h = o * np.tanh(c)
        kept[1][-1] = h
    return [np.stack(x) for x in kept], h, c


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 3), (5, 20), (11, 33), (70, 180)])
def test_lstm(target, dtype, batch, hidden):
    """Values of the forward pass, and the gradient of a sum by a small step along it."""
    rng, kind, steps = np.random.default_rng(0), NUMPY[dtype], 3
    x = rng.standard_normal((steps, batch, 4 * hidden))
    h, c = rng.standard_normal((2, batch, hidden))
    weight = rng.standard_normal((4 * hidden, hidden)) / np.sqrt(hidden)
    (values, outputs, kept_h, kept_c), last_h, last_c = run_lstm(x, h, c, weight)
    table = np.array([*range(0, steps * batch, batch), *[batch] * steps])
    gates, ours_h, ours_c, w = (np.array(t, kind) for t in (x, h, c, weight))
    out, keeps = np.full(outputs.shape, np.nan, kind), np.full((2, *outputs.shape), np.nan, kind)
    p = Recurrence("LSTM", dtype, hidden, batch, steps, 1, False, False, True)
    arrays = [gates, out, ours_h, ours_c, w, None, keeps[0], keeps[1], None, table]
    run_plan(plan_forward(p, 2, target), arrays, target, 2)
    near = {"rtol": 0, "atol": 1e-4 if dtype == "f32" else 1e-12}
    for ours, theirs in ((gates, values), (out, outputs), (keeps[0], kept_h), (keeps[1], kept_c),
                         (ours_h, last_h), (ours_c, last_c)):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, **near)
    dout = rng.standard_normal(outputs.shape)
    dh, dc = (np.zeros((batch, hidden), kind) for _ in range(2))
    dgates = np.full(gates.shape, np.nan, kind)
    arrays = [gates, dout.astype(kind), dh, dc, w, dgates, None, keeps[0], keeps[1], None, table]
    run_plan(plan_backward(p, 2, target), arrays, target, 2)
    step = 1e-6
    moves = [rng.standard_normal(t.shape) for t in (x, h, c)]

    def loss(sign):
        moved = (t + sign * step * move for t, move in zip((x, h, c), moves, strict=True))
        return (run_lstm(*moved, weight)[0][1] * dout).sum()

    along = sum((d * move).sum() for d, move in zip((dgates, dh, dc), moves, strict=True))
    scale = sum(np.abs(d * move).sum() for d, move in zip((dgates, dh, dc), moves, strict=True))
    assert abs(along - (loss(1) - loss(-1)) / (2 * step)) <= 1e-6 * scale


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH"])
@pytest.mark.parametrize("backward", [False, True])
def test_emits_arm64(mode, backward):
    kernel = recurrent_steps.sources(mode, "f32", NEON, 8, backward)[1]
    assert "fmla" in assemble(kernel.build(), NEON)
