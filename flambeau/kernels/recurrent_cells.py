"""What each kind of recurrent layer computes at a step, element by element.

Bodies are functions of scalar handles: `forward` from the gates' sums and the state to what is kept
and the new state, `backward` from those and the gradient of the new state to gradients of the sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .mathlib import sigmoid, tanh
from .scalar import Expr, where


class Cell(NamedTuple):
    """One kind of layer.

    forward(*sums, [reset], h, c): gate values, then the new h and c. backward(*gates, [reset], h,
    c, dh, dc): gradients of the sums, [of the hidden part of the new gate and the share of dh that
    does not go through the sums], and dc of the step before.
    """

    gates: int
    has_memory: bool  # a second state, c
    has_reset: bool  # the last gate's hidden part enters through a factor, so it is kept apart
    forward: Callable[..., list[Expr]]
    backward: Callable[..., list[Expr]]

    def runs(self, hidden: int) -> list[int]:
        """Columns of weight_hh^T whose products go to the same place."""
        if self.has_reset:
            return [(self.gates - 1) * hidden, hidden]
        return [self.gates * hidden]


def _lstm(i, f, g, o, h, c):
    """c' = f c + i g, h' = o tanh(c')."""
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    memory = f * c + i * g
    return [i, f, g, o, o * tanh(memory), memory]


def _lstm_backward(i, f, g, o, h, c, dh, dc):
    squashed = tanh(f * c + i * g)
    dc = dc + dh * o * (1 - squashed * squashed)
    return [
        dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g),
        dh * squashed * o * (1 - o), dc * f,
    ]  # fmt: skip


def _gru(r, z, n, reset, h):
    """h' = n + z (h - n), n = tanh(n + r reset)."""
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(n + r * reset)
    return [r, z, n, n + z * (h - n)]


def _gru_backward(r, z, n, reset, h, dh):
    dn = dh * (1 - z) * (1 - n * n)
    return [dn * reset * r * (1 - r), dh * (h - n) * z * (1 - z), dn, dn * r, dh * z]


def _tanh(x, h):
    x = tanh(x)
    return [x, x]


def _relu(x, h):
    x = where(x <= 0, 0, x)  # NaN is kept
    return [x, x]


CELLS = {
    "LSTM": Cell(4, True, False, _lstm, _lstm_backward),
    "GRU": Cell(3, False, True, _gru, _gru_backward),
    "RNN_TANH": Cell(1, False, False, _tanh, lambda x, h, dh: [dh * (1 - x * x)]),
    "RNN_RELU": Cell(1, False, False, _relu, lambda x, h, dh: [where(x <= 0, 0, dh)]),
}
