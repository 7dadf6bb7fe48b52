"""Recurrent layers: the cells, and loops over time for padded and for packed sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau
from flambeau.ops.recurrent import recur

from . import primitives

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau import Tensor

    State = tuple[Tensor, ...]
    Sizes = tuple[int, ...] | None  # of the batch at each step, where sequences are packed
    # (input part of the gates, state before, recurrent weights) -> state after
    Step = Callable[[Tensor, State, "Recurrent"], State]


_FUSED_TYPES = (flambeau.float32, flambeau.float64)


class Recurrent:
    """Weights of one layer in one direction: input, hidden, and for LSTMs with projection the
    projection.
    """

    __slots__ = ("bias_hh", "bias_ih", "weight_hh", "weight_hr", "weight_ih")

    def __init__(self, weights: list[Tensor], has_bias: bool) -> None:
        self.weight_ih, self.weight_hh = weights[:2]
        biases: Any = weights[2:4] if has_bias else (None, None)
        self.bias_ih, self.bias_hh = biases
        rest = weights[4 if has_bias else 2 :]
        self.weight_hr = rest[0] if rest else None


def step_lstm(gates_x: Tensor, state: State, cell: Recurrent) -> State:
    """c' = f c + i g, h' = o tanh(c'), with the gates i, f, g, o = gates_x + W_hh h + b_hh in this
    order.
    """
    hidden, memory = state
    gates = gates_x + primitives.linear(hidden, cell.weight_hh, cell.bias_hh)
    i, f, g, o = gates.chunk(4, -1)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * memory.tanh()
    if cell.weight_hr is not None:
        hidden = primitives.linear(hidden, cell.weight_hr)
    return hidden, memory


def step_gru(gates_x: Tensor, state: State, cell: Recurrent) -> State:
    """h' = (1 - z) n + z h with r, z = sigmoid(x_ + h_) and n = tanh(x_n + r h_n)."""
    (hidden,) = state
    r_x, z_x, n_x = gates_x.chunk(3, -1)
    r_h, z_h, n_h = primitives.linear(hidden, cell.weight_hh, cell.bias_hh).chunk(3, -1)
    reset = (r_x + r_h).sigmoid()
    update = (z_x + z_h).sigmoid()
    new = (n_x + reset * n_h).tanh()
    return (new + update * (hidden - new),)


def step_rnn_tanh(gates_x: Tensor, state: State, cell: Recurrent) -> State:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return ((gates_x + primitives.linear(state[0], cell.weight_hh, cell.bias_hh)).tanh(),)


def step_rnn_relu(gates_x: Tensor, state: State, cell: Recurrent) -> State:
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return (primitives.relu(gates_x + primitives.linear(state[0], cell.weight_hh, cell.bias_hh)),)


STEPS: dict[str, Step] = {
    "LSTM": step_lstm,
    "GRU": step_gru,
    "RNN_TANH": step_rnn_tanh,
    "RNN_RELU": step_rnn_relu,
}


def run_direction(
    mode: str, input: Tensor, state: State, cell: Recurrent, reverse: bool, sizes: Sizes
) -> tuple[Tensor, State]:
    """Run one layer in one direction over (T, N, I), or packed rows with `sizes`, from a state."""
    dtype = input.dtype
    fused = dtype.is_floating_point and cell.weight_hr is None and input.numel() > 0
    if not fused or flambeau.is_autocast_enabled("cpu"):
        return run_stepwise(mode, input, state, cell, reverse, sizes)
    tensors: tuple[Tensor | None, ...] = (
        input, state[0], state[1] if len(state) > 1 else None,
        cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh,
    )  # fmt: skip
    if dtype not in _FUSED_TYPES:
        tensors = tuple(None if t is None else t.float() for t in tensors)
    keep = flambeau.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    found = recur(*tensors, mode, reverse, sizes, keep, _differentiate_again)
    if dtype not in _FUSED_TYPES:
        found = tuple(t.to(dtype) for t in found[: 1 + len(state)])
    return found[0], found[1 : 1 + len(state)]


def _differentiate_again(
    grads: tuple[Tensor | None, ...], tensors: tuple[Tensor | None, ...], mode: str, reverse: bool,
    sizes: Sizes,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The derivative of a layer in recorded ops, for derivatives of higher order."""
    input, hidden, memory, *weights = tensors
    cell = Recurrent([w for w in weights if w is not None], weights[2] is not None)  # type: ignore[misc]
    state = (hidden,) if memory is None else (hidden, memory)
    output, final = run_stepwise(mode, input, state, cell, reverse, sizes)  # type: ignore[arg-type]
    pairs = [(o, g) for o, g in zip((output, *final), grads, strict=False) if g is not None]
    given = [t for t in tensors if t is not None]
    wanted = [t for t in given if t.requires_grad]
    found = iter(
        flambeau.autograd.grad(
            [o for o, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if t.requires_grad else None for t in given)


def run_stepwise(
    mode: str, input: Tensor, state: State, cell: Recurrent, reverse: bool, sizes: Sizes
) -> tuple[Tensor, State]:
    """`run_direction` in recorded ops, step by step."""
    if sizes is not None:
        return run_packed_layer(mode, input, list(sizes), state, cell, reverse)
    return run_layer(mode, input, state, cell, reverse)


def run_layer(
    mode: str, input: Tensor, state: State, cell: Recurrent, reverse: bool
) -> tuple[Tensor, State]:
    """Run one layer in one direction over (T, N, I) -> (T, N, H) and the final state."""
    step = STEPS[mode]
    # One matrix product for the inputs of all times; only the hidden part has to go step by step.
    gates = primitives.linear(input, cell.weight_ih, cell.bias_ih).unbind(0)
    outputs = []
    for gates_x in reversed(gates) if reverse else gates:
        state = step(gates_x, state, cell)
        outputs.append(state[0])
    if reverse:
        outputs.reverse()
    return flambeau.stack(outputs), state


def run_packed_layer(
    mode: str, data: Tensor, sizes: list[int], state: State, cell: Recurrent, reverse: bool
) -> tuple[Tensor, State]:
    """`run_layer` over packed rows (sum(sizes), I), where the batch has sizes[t] rows at time t."""
    step = STEPS[mode]
    gates = primitives.linear(data, cell.weight_ih, cell.bias_ih).split(sizes)
    outputs, final = (_run_shrinking, _run_growing)[reverse](step, gates, sizes, state, cell)
    return flambeau.cat(outputs), final


def _run_shrinking(
    step: Step, gates: list[Tensor], sizes: list[int], state: State, cell: Recurrent
) -> tuple[list[Tensor], State]:
    """Forward in time: sequences, sorted by length, drop out at the end of the batch; keep their
    states.
    """
    outputs: list[Tensor] = []
    finished: list[State] = []
    for gates_x, size in zip(gates, sizes, strict=True):
        if size < state[0].shape[0]:
            finished.append(tuple(part[size:] for part in state))
            state = tuple(part[:size] for part in state)
        state = step(gates_x, state, cell)
        outputs.append(state[0])
    finished.append(state)
    finished.reverse()
    return outputs, tuple(flambeau.cat(parts) for parts in zip(*finished, strict=True))


def _run_growing(
    step: Step, gates: list[Tensor], sizes: list[int], state: State, cell: Recurrent
) -> tuple[list[Tensor], State]:
    """Backward in time: sequences join at the end of the batch, each with its initial state."""
    outputs: list[Tensor] = []
    initial = state
    state = tuple(part[: sizes[-1]] for part in initial)
    for gates_x, size in zip(reversed(gates), reversed(sizes), strict=True):
        have = state[0].shape[0]
        if size > have:
            state = tuple(
                flambeau.cat([part, start[have:size]])
                for part, start in zip(state, initial, strict=True)
            )
        state = step(gates_x, state, cell)
        outputs.append(state[0])
    outputs.reverse()
    return outputs, state


def run_layers(
    mode: str,
    input: Tensor,
    state: State,
    weights: list[list[Tensor]],
    *,
    has_bias: bool,
    bidirectional: bool,
    dropout: float,
    training: bool,
    batch_sizes: list[int] | None = None,
) -> tuple[Tensor, State]:
    """Run a stack of recurrent layers.

    Args:
        input: (T, N, I), or packed rows with `batch_sizes`.
        state: per part (hidden, and cell for LSTMs) (layers directions, N, H).
        weights: per layer and direction, in this order, the tensors `Recurrent` takes.
        dropout: share dropped between layers while training.

    Returns:
        Outputs of the last layer, directions concatenated, and the final state like `state`.
    """
    directions = 2 if bidirectional else 1
    finals: list[State] = []
    for layer in range(len(weights) // directions):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            start = tuple(part[index] for part in state)
            cell = Recurrent(weights[index], has_bias)
            sizes = None if batch_sizes is None else tuple(batch_sizes)
            output, final = run_direction(mode, input, start, cell, direction == 1, sizes)
            outputs.append(output)
            finals.append(final)
        input = outputs[0] if directions == 1 else flambeau.cat(outputs, -1)
        is_last = layer == len(weights) // directions - 1
        if dropout and training and not is_last:
            input = primitives.dropout(input, dropout, True)
    return input, tuple(flambeau.stack(parts) for parts in zip(*finals, strict=True))


def run_cell(
    mode: str,
    input: Tensor,
    state: State,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
) -> State:
    """One step of a cell on (N, I) or (I)."""
    has_bias = bias_ih is not None
    weights = [weight_ih, weight_hh, bias_ih, bias_hh] if has_bias else [weight_ih, weight_hh]
    gates_x = primitives.linear(input, weight_ih, bias_ih)
    return STEPS[mode](gates_x, state, Recurrent(weights, has_bias))  # type: ignore[arg-type]
