"""Recurrent layers against a plain NumPy reference; packed sequences."""

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.nn.utils import rnn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(mode, x, state, w):
    """One time step on one row batch, written as in the papers."""
    hidden = state[0]
    gates_x = x @ w["weight_ih"].T + w.get("bias_ih", 0)
    gates_h = hidden @ w["weight_hh"].T + w.get("bias_hh", 0)
    if mode == "LSTM":
        i, f, g, o = np.split(gates_x + gates_h, 4, axis=-1)
        memory = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        return (hidden @ w["weight_hr"].T if "weight_hr" in w else hidden), memory
    if mode == "GRU":
        r_x, z_x, n_x = np.split(gates_x, 3, axis=-1)
        r_h, z_h, n_h = np.split(gates_h, 3, axis=-1)
        reset, update = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        new = np.tanh(n_x + reset * n_h)
        return ((1 - update) * new + update * hidden,)
    total = gates_x + gates_h
    return (np.tanh(total) if mode == "RNN_TANH" else np.maximum(total, 0),)


def run_reference(layer, x, state):
    """All layers and directions over (T, N, I); state parts are (layers directions, N, H)."""
    finals = []
    directions = ["", "_reverse"] if layer.bidirectional else [""]
    for index in range(layer.num_layers):
        outputs = []
        for number, suffix in enumerate(directions):
            end = f"_l{index}{suffix}"
            w = {
                name.removesuffix(end): p.detach().numpy()
                for name, p in layer.named_parameters()
                if name.endswith(end) and (suffix or "reverse" not in name)
            }
            now = tuple(part[index * len(directions) + number] for part in state)
            rows = [None] * len(x)
            for t in range(len(x)) if not suffix else reversed(range(len(x))):
                now = step(layer.mode, x[t], now, w)
                rows[t] = now[0]
            outputs.append(np.stack(rows))
            finals.append(now)
        x = np.concatenate(outputs, axis=-1)
    return x, tuple(np.stack(parts) for parts in zip(*finals, strict=True))


CASES = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    (nn.GRU, {"bidirectional": True, "num_layers": 2}),
    (nn.GRU, {"bias": False}),
    (nn.LSTM, {}),
    (nn.LSTM, {"bidirectional": True, "num_layers": 3}),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bias": False}),
]


def make_state(layer, batch):
    rows = layer.num_layers * (1 + layer.bidirectional)
    return tuple(flambeau.randn(rows, batch, size) for size in layer._state_sizes())


@pytest.mark.parametrize(("kind", "settings"), CASES)
@pytest.mark.parametrize("with_state", [False, True])
def test_against_numpy(kind, settings, with_state):
    layer = kind(4, 5, **settings)
    x = flambeau.randn(6, 3, 4)
    state = make_state(layer, 3)
    if not with_state:
        state = tuple(flambeau.zeros_like(part) for part in state)
    given = (state if kind is nn.LSTM else state[0]) if with_state else None
    output, final = layer(x, given)
    expected, expected_final = run_reference(layer, x.numpy(), [part.numpy() for part in state])
    np.testing.assert_allclose(output.detach().numpy(), expected, 1e-4, 1e-5)
    final = final if kind is nn.LSTM else (final,)
    for ours, reference in zip(final, expected_final, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), reference, 1e-4, 1e-5)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_batch_first_and_unbatched(kind):
    layer = kind(4, 5)
    first = kind(4, 5, batch_first=True)
    first.load_state_dict(layer.state_dict())
    x = flambeau.randn(6, 3, 4)
    expected = layer(x)[0]
    assert flambeau.allclose(first(x.transpose(0, 1))[0].transpose(0, 1), expected, atol=1e-6)
    alone, state = layer(x[:, 1])
    assert flambeau.allclose(alone, expected[:, 1], atol=1e-6)
    state = state[0] if kind is nn.LSTM else state
    assert state.shape == (1, 5)
    again, _ = layer(x[:, 1], (state, state) if kind is nn.LSTM else state)
    assert again.shape == (6, 5)


@pytest.mark.parametrize(
    ("cell", "layer", "nonlinearity"),
    [
        (nn.RNNCell, nn.RNN, "tanh"),
        (nn.RNNCell, nn.RNN, "relu"),
        (nn.GRUCell, nn.GRU, None),
        (nn.LSTMCell, nn.LSTM, None),
    ],
)
def test_cells_are_one_step_of_the_layers(cell, layer, nonlinearity):
    settings = {"nonlinearity": nonlinearity} if nonlinearity else {}
    one, all_steps = cell(4, 5, **settings), layer(4, 5, **settings)
    state = {name.removesuffix("_l0"): value for name, value in all_steps.state_dict().items()}
    one.load_state_dict(state)
    x = flambeau.randn(3, 2, 4)
    expected, _ = all_steps(x)
    now = None
    for t in range(3):
        now = one(x[t], now)
        hidden = now[0] if cell is nn.LSTMCell else now
        assert flambeau.allclose(hidden, expected[t], atol=1e-6)
    assert (one(x[0, 0])[0] if cell is nn.LSTMCell else one(x[0, 0])).shape == (5,)


def test_gradients_match_differences():
    layer = nn.LSTM(3, 2, bidirectional=True).double()
    x = flambeau.randn(4, 2, 3, dtype=flambeau.float64, requires_grad=True)

    def loss():
        output, (hidden, memory) = layer(x)
        return (output * output).sum() + (hidden * 2).sum() + memory.sin().sum()

    loss().backward()
    for tensor in (x, layer.weight_hh_l0_reverse, layer.bias_ih_l0):
        flat, grads = tensor.data.view(-1), tensor.grad.view(-1)
        for place in range(0, flat.numel(), 3):
            before = flat[place].item()
            flat[place] = before + 1e-6
            high = loss().item()
            flat[place] = before - 1e-6
            low = loss().item()
            flat[place] = before
            assert grads[place].item() == pytest.approx((high - low) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_rows_equal_single_sequences(kind, bidirectional):
    layer = kind(4, 5, num_layers=2, bidirectional=bidirectional)
    lengths = [2, 5, 1, 4]
    rows = [flambeau.randn(length, 4) for length in lengths]
    output, state = layer(rnn.pack_sequence(rows, enforce_sorted=False))
    unpacked = rnn.unpack_sequence(output)
    state = state if kind is nn.LSTM else (state,)
    for number, row in enumerate(rows):
        alone, final = layer(row)
        assert flambeau.allclose(unpacked[number], alone, atol=1e-6)
        final = final if kind is nn.LSTM else (final,)
        for part, expected in zip(state, final, strict=True):
            assert flambeau.allclose(part[:, number], expected, atol=1e-6)


def test_packed_initial_state_follows_the_sorting():
    layer = nn.GRU(2, 3)
    rows = [flambeau.randn(length, 2) for length in (1, 3, 2)]
    start = flambeau.randn(1, 3, 3)
    _, state = layer(rnn.pack_sequence(rows, enforce_sorted=False), start)
    for number, row in enumerate(rows):
        _, expected = layer(row, start[:, number])
        assert flambeau.allclose(state[:, number], expected, atol=1e-6)


def test_dropout_acts_between_layers_while_training():
    layer = nn.GRU(3, 4, num_layers=2, dropout=1.0)
    x = flambeau.randn(5, 2, 3)
    assert not flambeau.equal(layer(x)[0], layer.eval()(x)[0])
    single_input, _ = layer.train()(x)
    other_input, _ = layer(flambeau.randn(5, 2, 3))
    assert flambeau.equal(single_input, other_input)  # everything between the layers is dropped
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.GRU(3, 4, dropout=0.5)


def test_pack_and_pad():
    padded = flambeau.tensor([[1, 4, 6], [2, 5, 0], [3, 0, 0]])
    packed = rnn.pack_padded_sequence(padded, flambeau.tensor([3, 2, 1]))
    assert packed.data.tolist() == [1, 4, 6, 2, 5, 3]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices is None
    back, lengths = rnn.pad_packed_sequence(packed)
    assert back.tolist() == padded.tolist()
    assert lengths.tolist() == [3, 2, 1]
    back, _ = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1, total_length=4)
    assert back.tolist() == [[1, 2, 3, -1], [4, 5, -1, -1], [6, -1, -1, -1]]
    with pytest.raises(ValueError, match="total_length"):
        rnn.pad_packed_sequence(packed, total_length=2)
    assert packed.double().data.dtype == flambeau.float64


def test_pad_sequence():
    rows = [flambeau.ones(2, 2), flambeau.ones(1, 2)]
    assert rnn.pad_sequence(rows).shape == (2, 2, 2)
    left = rnn.pad_sequence(rows, batch_first=True, padding_value=7, padding_side="left")
    assert left[1].tolist() == [[7, 7], [1, 1]]
    lengths = flambeau.tensor([2, 1])
    for row, back in zip(rows, rnn.unpad_sequence(left.flip(1), lengths, True), strict=True):
        assert flambeau.equal(row, back)
    with pytest.raises(RuntimeError, match="left or right"):
        rnn.pad_sequence(rows, padding_side="top")


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([1, 2], "sorted in decreasing order"),
        ([2, 0], "<= 0"),
        ([2], "batch_size"),
        ([9, 1], "longest"),
    ],
)
def test_pack_errors(lengths, text):
    with pytest.raises(RuntimeError, match=text):
        rnn.pack_padded_sequence(flambeau.ones(3, 2), lengths)


def test_errors():
    layer = nn.LSTM(3, 4)
    x = flambeau.randn(5, 2, 3)
    with pytest.raises(RuntimeError, match="Expected 3, got 7"):
        layer(flambeau.randn(5, 2, 7))
    with pytest.raises(ValueError, match="2D or 3D, got 4D"):
        layer(x.unsqueeze(0))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(1, 2, 4\)"):
        layer(x, (flambeau.zeros(1, 3, 4), flambeau.zeros(1, 2, 4)))
    with pytest.raises(RuntimeError, match="hx should also be 3-D"):
        layer(x, (flambeau.zeros(2, 4), flambeau.zeros(2, 4)))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        layer(x.double())
    with pytest.raises(ValueError, match="Unknown nonlinearity"):
        nn.RNN(3, 4, nonlinearity="sin")
    with pytest.raises(ValueError, match="only supported for LSTM"):
        nn.GRU(3, 4, proj_size=2)
    with pytest.raises(RuntimeError, match="inconsistent input_size"):
        nn.GRUCell(3, 4)(flambeau.ones(2, 5))
    with pytest.raises(RuntimeError, match="expected hidden of shape"):
        nn.GRUCell(3, 4)(flambeau.ones(2, 3), flambeau.ones(3, 4))


def test_parameter_names_and_all_weights():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    assert list(layer.state_dict())[:5] == [
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_hh_l0",
        "weight_ih_l0_reverse",
    ]
    assert layer.weight_ih_l1.shape == (16, 8)
    assert layer.all_weights[1][0] is layer.weight_ih_l0_reverse
    layer.flatten_parameters()
    assert repr(layer) == "LSTM(3, 4, num_layers=2, bidirectional=True)"
