"""Recurrent layers: the fused kernels against the same layers step by step in recorded ops."""

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.nn._functional import rnn
from flambeau.nn.utils.rnn import pack_padded_sequence

MODES = ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]


def draw(mode, steps, batch, size, hidden, dtype=flambeau.float32, biased=True):
    """Input, state and cell, all wanting gradients."""
    flambeau.manual_seed(0)
    rows = {"LSTM": 4, "GRU": 3}.get(mode, 1) * hidden
    shapes = [(rows, size), (rows, hidden)] + [(rows,), (rows,)] * biased

    def leaf(*shape):
        return (flambeau.randn(*shape, dtype=dtype) * 0.4).requires_grad_()

    weights = [leaf(*shape) for shape in shapes]
    state = tuple(leaf(batch, hidden) for _ in range(2 if mode == "LSTM" else 1))
    return leaf(steps, batch, size), state, weights


def compare(mode, input, state, weights, *, biased=True, reverse=False, sizes=None, tolerance=1e-5):
    """Outputs, final states and all gradients of both ways."""
    cell = rnn.Recurrent(weights, biased)
    leaves = [input, *state, *weights]
    results = []
    for run in (rnn.run_direction, rnn.run_stepwise):
        flambeau.manual_seed(1)
        output, final = run(mode, input, state, cell, reverse, sizes)
        found = [output, *final]
        loss = sum((t * flambeau.randn(t.shape, dtype=t.dtype)).sum() for t in found)
        results.append([*found, *flambeau.autograd.grad(loss, leaves)])
    for ours, theirs in zip(*results, strict=True):
        bound = tolerance * max(1.0, theirs.abs().max().item())
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 0, bound)
    return results[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (5, 3, 4, 6), (4, 17, 10, 16), (3, 20, 7, 37)])
def test_sizes(mode, reverse, sizes):
    compare(mode, *draw(mode, *sizes), reverse=reverse)


@pytest.mark.parametrize("mode", MODES)
def test_without_bias_and_in_float64(mode):
    tensors = draw(mode, 6, 9, 5, 20, flambeau.float64, biased=False)
    compare(mode, *tensors, biased=False, tolerance=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_batch_first_in_memory_is_read_in_place(mode):
    input, state, weights = draw(mode, 9, 9, 5, 20)
    turned = input.detach().transpose(0, 1).requires_grad_()
    found = compare(mode, turned, state, weights)
    assert found[0].transpose(0, 1).is_contiguous()
    turned = input.detach()[:6].transpose(0, 1)
    with pytest.raises(RuntimeError, match=r"expected hidden of shape \(6, 20\)"):
        rnn.run_direction(mode, turned, state, rnn.Recurrent(weights, True), False, None)
    compare(mode, input.detach()[:, :, ::2].requires_grad_(), state,
            [weights[0].detach()[:, ::2].requires_grad_(), *weights[1:]])  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reverse", [False, True])
def test_packed_rows(mode, reverse):
    sizes = (19, 19, 12, 8, 3, 1)
    input, state, weights = draw(mode, 1, 19, 5, 20)
    input = flambeau.randn(sum(sizes), 5, requires_grad=True)
    compare(mode, input, state, weights, reverse=reverse, sizes=sizes)


def test_weights_larger_than_the_cache_are_read_for_several_tiles():
    compare("LSTM", *draw("LSTM", 2, 70, 8, 200), tolerance=1e-4)


def test_nothing_but_the_final_state_is_used():
    lstm = nn.LSTM(4, 6)
    _, (h, c) = lstm(flambeau.randn(5, 3, 4))
    (h.sum() + c.sum()).backward()
    assert all(p.grad.abs().sum() > 0 for p in lstm.parameters())


def test_frozen_weights_get_no_gradient():
    gru = nn.GRU(4, 6)
    gru.weight_hh_l0.requires_grad_(False)
    gru(flambeau.randn(5, 3, 4))[0].sum().backward()
    assert gru.weight_hh_l0.grad is None
    assert gru.weight_ih_l0.grad is not None


def test_the_two_biases_do_not_share_a_gradient():
    lstm = nn.LSTM(4, 6)
    lstm(flambeau.randn(5, 3, 4))[0].sum().backward()
    before = lstm.bias_hh_l0.grad.clone()
    lstm.bias_ih_l0.grad.zero_()
    assert flambeau.equal(lstm.bias_hh_l0.grad, before)


@pytest.mark.parametrize("mode", MODES[:3])
def test_derivatives_of_both_orders(mode):
    input, state, weights = draw(mode, 3, 2, 2, 3, flambeau.float64)

    def run(input, *rest):
        cell = rnn.Recurrent(list(rest[len(state) :]), True)
        output, final = rnn.run_direction(mode, input, rest[: len(state)], cell, False, None)
        return (output, *final)

    assert gradcheck(run, (input, *state, *weights))
    assert gradgradcheck(run, (input, *state, *weights))


def test_a_gradient_penalty_through_packed_sequences():
    gru = nn.GRU(3, 4).double()
    x = flambeau.randn(5, 3, 3, dtype=flambeau.float64, requires_grad=True)
    output, _ = gru(pack_padded_sequence(x, [5, 3, 2]))
    (g,) = flambeau.autograd.grad(output.data.sum(), x, create_graph=True)
    g.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in gru.parameters())


@pytest.mark.parametrize("dtype", [flambeau.bfloat16, flambeau.float16])
def test_half_types_compute_in_float32(dtype):
    layer = nn.LSTM(8, 12)
    x = flambeau.randn(6, 4, 8).to(dtype)
    wanted = layer.to(dtype).float()(x.float())[0]
    ours = layer.to(dtype)(x)[0]
    assert ours.dtype == dtype
    np.testing.assert_allclose(
        ours.float().detach().numpy(), wanted.to(dtype).float().detach().numpy(), 0, 1e-2
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_thread_counts_agree_and_runs_repeat(threads):
    before = flambeau.get_num_threads()
    flambeau.set_num_threads(threads)
    try:
        first = compare("LSTM", *draw("LSTM", 20, 21, 16, 64), tolerance=1e-4)
        again = compare("LSTM", *draw("LSTM", 20, 21, 16, 64), tolerance=1e-4)
    finally:
        flambeau.set_num_threads(before)
    assert all(flambeau.equal(a, b) for a, b in zip(first, again, strict=True))


def test_inference_keeps_nothing():
    gru = nn.GRU(4, 6)
    x = flambeau.randn(5, 3, 4)
    with flambeau.no_grad():
        output, final = gru(x)
    assert output.grad_fn is None
    assert flambeau.equal(output, gru(x)[0])
    assert flambeau.equal(final[0], output[-1])


def test_nan_stays_in_its_row_of_the_batch():
    rnn_ = nn.RNN(3, 4, nonlinearity="relu")
    x = flambeau.randn(5, 9, 3)
    x[2, 4] = float("nan")
    output = rnn_(x)[0].detach().numpy()
    assert np.isnan(output[2:, 4]).all()
    assert np.isfinite(np.delete(output, 4, 1)).all()
