"""Recurrent layers and cells."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import TYPE_CHECKING, Any

import flambeau

from .. import init
from .._functional.rnn import run_cell, run_layers
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: settings, parameters, and the handling of layers and batches.

    Parameters per layer k (suffix `_reverse` for the second direction): `weight_ih_lk`,
    `weight_hh_lk`, `bias_ih_lk`, `bias_hh_lk`, and `weight_hr_lk` with projections; the gates are
    stacked.

    >>> import flambeau as torch
    >>> [name for name, _ in torch.nn.LSTM(2, 3).named_parameters()]
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(flag).__name__}")
        _check_sizes(input_size, hidden_size)
        _check_settings(mode, hidden_size, num_layers, dropout, proj_size)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in ("", "_reverse") if bidirectional else ("",):
                for name, shape in self._list_shapes(layer, suffix):
                    setattr(
                        self, name, Parameter(flambeau.empty(shape, device=device, dtype=dtype))
                    )
        self.reset_parameters()

    def _list_shapes(self, layer: int, suffix: str) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters of one layer in one direction."""
        directions = 2 if self.bidirectional else 1
        output_size = self.proj_size or self.hidden_size
        input_size = self.input_size if layer == 0 else output_size * directions
        rows = GATES[self.mode] * self.hidden_size
        shapes: list[tuple[str, tuple[int, ...]]] = [
            ("weight_ih", (rows, input_size)),
            ("weight_hh", (rows, output_size)),
        ]
        if self.bias:
            shapes += [("bias_ih", (rows,)), ("bias_hh", (rows,))]
        if self.proj_size:
            shapes.append(("weight_hr", (self.proj_size, self.hidden_size)))
        return [(f"{name}_l{layer}{suffix}", shape) for name, shape in shapes]

    def reset_parameters(self) -> None:
        """Draw every parameter anew, uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """Per layer and direction the list of its parameters."""
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [
            [getattr(self, name) for name, _ in self._list_shapes(layer, suffix)]
            for layer in range(self.num_layers)
            for suffix in suffixes
        ]

    @property
    def _flat_weights_names(self) -> list[str]:
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [
            name
            for layer in range(self.num_layers)
            for suffix in suffixes
            for name, _ in self._list_shapes(layer, suffix)
        ]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight for weights in self.all_weights for weight in weights]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Files written by PyTorch hold lists of the parameters that are computed here.
        computed = ("_flat_weights", "_flat_weights_names", "_flat_weight_refs", "_all_weights")
        super().__setstate__(
            {"proj_size": 0, **{k: v for k, v in state.items() if k not in computed}}
        )

    def flatten_parameters(self) -> None:
        """Does nothing: the kernels here need no common block of memory."""

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.proj_size != 0:
            parts.append(f"proj_size={self.proj_size}")
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        if self.batch_first is not False:
            parts.append(f"batch_first={self.batch_first}")
        if self.dropout != 0:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional is not False:
            parts.append(f"bidirectional={self.bidirectional}")
        return ", ".join(parts)

    def _state_sizes(self) -> tuple[int, ...]:
        """Sizes of the parts of the state: hidden, and cell for LSTMs."""
        return (self.hidden_size,)

    def _run(self, input: Any, state: tuple[Tensor, ...] | None) -> tuple[Any, tuple[Tensor, ...]]:
        """Run all layers on a padded or packed batch; the state is a tuple of its parts."""
        if isinstance(input, PackedSequence):
            return self._run_packed(input, state)
        if input.dim() not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead"
            )
        is_batched = input.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not is_batched:
            input = input.unsqueeze(batch_dim)
            state = self._add_batch_dim(state)
        elif state is not None:
            self._check_state_dims(state)
        self._check_input_size(input)
        state = self._complete_state(state, input, input.size(batch_dim))
        output, final = self._run_layers(
            input.transpose(0, 1) if self.batch_first else input, state, None
        )
        output = output.transpose(0, 1) if self.batch_first else output
        if is_batched:
            return output, final
        return output.squeeze(batch_dim), tuple(part.squeeze(1) for part in final)

    def _run_packed(
        self, input: PackedSequence, state: tuple[Tensor, ...] | None
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        data, batch_sizes, sorted_indices, unsorted_indices = input
        self._check_input_size(data)
        sizes = batch_sizes.tolist()
        if state is not None and sorted_indices is not None:
            state = tuple(part.index_select(1, sorted_indices) for part in state)
        state = self._complete_state(state, data, sizes[0])
        output, final = self._run_layers(data, state, sizes)
        if unsorted_indices is not None:
            final = tuple(part.index_select(1, unsorted_indices) for part in final)
        return PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices), final

    def _run_layers(
        self, input: Tensor, state: tuple[Tensor, ...], batch_sizes: list[int] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return run_layers(
            self.mode,
            input,
            state,
            self.all_weights,
            has_bias=bool(self.bias),
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            training=self.training,
            batch_sizes=batch_sizes,
        )

    def _check_input_size(self, input: Tensor) -> None:
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.size(-1)}"
            )
        weight = self.weight_ih_l0
        if input.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})"
            )

    def _add_batch_dim(self, state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
        if state is None:
            return None
        for part in state:
            if part.dim() != 2:
                raise RuntimeError(
                    f"For unbatched 2-D input, hx should also be 2-D but got {part.dim()}-D tensor"
                )
        return tuple(part.unsqueeze(1) for part in state)

    def _check_state_dims(self, state: tuple[Tensor, ...]) -> None:
        for part in state:
            if part.dim() != 3:
                raise RuntimeError(
                    f"For batched 3-D input, hx should also be 3-D but got {part.dim()}-D tensor"
                )

    def _complete_state(
        self, state: tuple[Tensor, ...] | None, like: Tensor, batch: int
    ) -> tuple[Tensor, ...]:
        """The given state, checked, or zeros."""
        rows = self.num_layers * (2 if self.bidirectional else 1)
        shapes = [(rows, batch, size) for size in self._state_sizes()]
        if state is None:
            return tuple(like.new_zeros(shape) for shape in shapes)
        for index, (part, shape) in enumerate(zip(state, shapes, strict=True)):
            if tuple(part.shape) != shape:
                name = "hidden" if len(shapes) == 1 else f"hidden[{index}]"
                raise RuntimeError(f"Expected {name} size {shape}, got {list(part.shape)}")
        return state


def _check_sizes(input_size: int, hidden_size: int) -> None:
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")


def _check_settings(
    mode: str, hidden_size: int, num_layers: int, dropout: float, proj_size: int
) -> None:
    if mode not in GATES:
        raise ValueError("Unrecognized RNN mode: " + mode)
    is_number = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
    if not is_number or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element "
            "being zeroed"
        )
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            "expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )


class RNN(RNNBase):
    """Elman network: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), in `num_layers` layers.

    Args:
        input_size, hidden_size: sizes of x_t and h_t.
        nonlinearity: "tanh" or "relu".
        batch_first: input and output are (N, T, *) instead of (T, N, *).
        dropout: share dropped from the outputs of all layers but the last, while training.
        bidirectional: run a second set of weights backwards in time and concatenate.

    `forward(input, h_0=None)` takes (T, N, input_size), (T, input_size) or a PackedSequence and
    returns the outputs of the last layer and h_n (layers directions, N, hidden_size).

    >>> import flambeau as torch
    >>> output, h_n = torch.nn.RNN(10, 20, 2)(torch.randn(5, 3, 10))
    >>> output.shape, h_n.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:  # input_size, hidden_size, num_layers, nonlinearity, bias, ...
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        modes = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
        if nonlinearity not in modes:
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(modes[nonlinearity], *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden


class GRU(RNNBase):
    """Gated recurrent unit, in `num_layers` layers.

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z likewise, n = tanh(W_in x + b_in + r (W_hn h +
    b_hn)), h' = (1 - z) n + z h. Arguments, inputs and outputs as in `RNN`.

    Reference: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014).

    >>> import flambeau as torch
    >>> output, last = torch.nn.GRU(3, 5, num_layers=2)(torch.randn(7, 4, 3))
    >>> output.shape, last.shape
    (torch.Size([7, 4, 5]), torch.Size([2, 4, 5]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden


class LSTM(RNNBase):
    """Long short-term memory, in `num_layers` layers.

    i, f, o = sigmoid(W_i x + b_i + W_h h + b_h), g = tanh(...), c' = f c + i g, h' = o tanh(c').
    Arguments as in `RNN`, and `proj_size`: project h' to so many values. The state is a pair (h,
    c).

    Reference: Hochreiter and Schmidhuber, Long Short-Term Memory (1997).

    >>> import flambeau as torch
    >>> output, (h_n, c_n) = torch.nn.LSTM(10, 20, batch_first=True)(torch.randn(3, 5, 10))
    >>> output.shape, h_n.shape, c_n.shape
    (torch.Size([3, 5, 20]), torch.Size([1, 3, 20]), torch.Size([1, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        output, (hidden, memory) = self._run(input, None if hx is None else tuple(hx))
        return output, (hidden, memory)


class RNNCellBase(Module):
    """What the cells share: one step of a recurrent layer.

    >>> import flambeau as torch
    >>> torch.nn.LSTMCell(2, 3)
    LSTMCell(2, 3)
    """

    mode: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        for name, shape in shapes.items():
            setattr(self, name, Parameter(flambeau.empty(shape, device=device, dtype=dtype)))
        for name in ("bias_ih", "bias_hh"):
            parameter = (
                Parameter(flambeau.empty(rows, device=device, dtype=dtype)) if bias else None
            )
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter anew, uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else text + f", nonlinearity={nonlinearity}"

    def _step(
        self, mode: str, input: Tensor, state: tuple[Tensor, ...] | None, parts: int
    ) -> tuple:
        """One step on (N, input_size) or (input_size)."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.size(-1)} expected "
                f"{self.input_size}"
            )
        if state is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            state = (zeros,) * parts
        for part in state:
            if part.dim() not in (1, 2):
                raise ValueError(
                    f"{name}: Expected hidden to be 1D or 2D, got {part.dim()}D instead"
                )
            if part.size(-1) != self.hidden_size or part.shape[:-1] != input.shape[:-1]:
                raise RuntimeError(
                    f"{name}: expected hidden of shape {(*input.shape[:-1], self.hidden_size)}, "
                    f"got {tuple(part.shape)}"
                )
        return run_cell(
            mode, input, state, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        )


class RNNCell(RNNCellBase):
    """One step of `RNN`: (N, input_size), (N, hidden_size) -> (N, hidden_size).

    >>> import flambeau as torch
    >>> torch.nn.RNNCell(3, 5)(torch.randn(4, 3)).shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        mode = "RNN_TANH" if self.nonlinearity == "tanh" else "RNN_RELU"
        (hidden,) = self._step(mode, input, None if hx is None else (hx,), 1)
        return hidden


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: (N, input_size), (h, c) -> (h', c').

    >>> import flambeau as torch
    >>> h, c = torch.nn.LSTMCell(3, 5)(torch.randn(4, 3))
    >>> h.shape, c.shape
    (torch.Size([4, 5]), torch.Size([4, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._step("LSTM", input, None if hx is None else tuple(hx), 2)


class GRUCell(RNNCellBase):
    """One step of `GRU`: (N, input_size), (N, hidden_size) -> (N, hidden_size).

    >>> import flambeau as torch
    >>> torch.nn.GRUCell(3, 5)(torch.randn(4, 3)).shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        (hidden,) = self._step("GRU", input, None if hx is None else (hx,), 1)
        return hidden
