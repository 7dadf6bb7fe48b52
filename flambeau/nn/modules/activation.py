"""Activations, and attention with several heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau

from .. import functional as F
from .. import init
from ..parameter import Parameter
from .linear import NonDynamicallyQuantizableLinear
from .module import Module

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "MultiheadAttention",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class _WithInplace(Module):
    """An activation whose only setting is `inplace`: overwrite the input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_WithInplace):
    """max(0, x).

    >>> import flambeau as torch
    >>> torch.nn.ReLU()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.relu_() if self.inplace else input.relu()


class RReLU(Module):
    """x where positive, a x elsewhere, with a drawn from U(lower, upper) in training, their mean
    otherwise.

    >>> import flambeau as torch
    >>> torch.nn.RReLU(0.25, 0.25)(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.5000, -0.1250,  0.0000,  1.0000])
    """

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (
            ", inplace=True" if self.inplace else ""
        )


class Threshold(Module):
    """x where x > threshold, `value` elsewhere: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Threshold(0.5, 9.0)(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([9., 9., 9., 1.])
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + (
            ", inplace=True" if self.inplace else ""
        )


class Hardtanh(Module):
    """x limited to [min_val, max_val]: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Hardtanh()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-1.0000, -0.5000,  0.0000,  1.0000])
    """

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if self.max_val <= self.min_val:
            raise AssertionError(
                f"max_val must be larger than min_val, got min_val={self.min_val} and "
                f"max_val={self.max_val}"
            )

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (
            ", inplace=True" if self.inplace else ""
        )


class ReLU6(Hardtanh):
    """x limited to [0, 6]: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.ReLU6()(torch.tensor([-1.0, 3.0, 8.0]))
    tensor([0., 3., 6.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """1 / (1 + exp(-x)), in (0, 1).

    >>> import flambeau as torch
    >>> torch.nn.Sigmoid()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([0.1192, 0.3775, 0.5000, 0.7311])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Hardsigmoid(Module):
    """(x + 3) / 6 limited to [0, 1].

    >>> import flambeau as torch
    >>> torch.nn.Hardsigmoid()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([0.1667, 0.4167, 0.5000, 0.6667])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)


class Tanh(Module):
    """tanh(x), in (-1, 1).

    >>> import flambeau as torch
    >>> torch.nn.Tanh()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.9640, -0.4621,  0.0000,  0.7616])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class SiLU(_WithInplace):
    """x sigmoid(x), also called swish.

    >>> import flambeau as torch
    >>> torch.nn.SiLU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.2384, -0.1888,  0.0000,  0.7311])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, self.inplace)


class Mish(_WithInplace):
    """x tanh(softplus(x)).

    >>> import flambeau as torch
    >>> torch.nn.Mish()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.2525, -0.2207,  0.0000,  0.8651])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, self.inplace)


class Hardswish(Module):
    """x (x + 3) / 6 with the second factor limited to [0, 1].

    >>> import flambeau as torch
    >>> torch.nn.Hardswish()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.3333, -0.2083,  0.0000,  0.6667])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)


class ELU(Module):
    """x where positive, alpha (exp(x) - 1) elsewhere.

    >>> import flambeau as torch
    >>> torch.nn.ELU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.8647, -0.3935,  0.0000,  1.0000])
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class CELU(ELU):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1)).

    >>> import flambeau as torch
    >>> torch.nn.CELU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.8647, -0.3935,  0.0000,  1.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)


class SELU(_WithInplace):
    """ELU with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al., 2017).

    >>> import flambeau as torch
    >>> torch.nn.SELU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-1.5202, -0.6918,  0.0000,  1.0507])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class GLU(Module):
    """a sigmoid(b) with a and b the halves of the input along `dim`: (*, 2 n, *) -> (*, n, *).

    Reference: Dauphin et al., Language Modeling with Gated Convolutional Networks (2016).

    >>> import flambeau as torch
    >>> torch.nn.GLU()(torch.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5000, 1.0000])
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class GELU(Module):
    """x Phi(x) with the normal distribution function Phi; `approximate="tanh"` for its tanh
    form.

    >>> import flambeau as torch
    >>> torch.nn.GELU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.0455, -0.1543,  0.0000,  0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Hardshrink(Module):
    """x where |x| > lambd, 0 elsewhere: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Hardshrink()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-2.,  0.,  0.,  1.])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class LeakyReLU(Module):
    """x where positive, negative_slope x elsewhere: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.LeakyReLU()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.0200, -0.0050,  0.0000,  1.0000])
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class LogSigmoid(Module):
    """log(sigmoid(x)).

    >>> import flambeau as torch
    >>> torch.nn.LogSigmoid()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-2.1269, -0.9741, -0.6931, -0.3133])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x is above `threshold`.

    >>> import flambeau as torch
    >>> torch.nn.Softplus()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([0.1269, 0.4741, 0.6931, 1.3133])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softshrink(Module):
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 elsewhere: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Softshrink()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-1.5000, -0.0000,  0.0000,  0.5000])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softsign(Module):
    """x / (1 + |x|).

    >>> import flambeau as torch
    >>> torch.nn.Softsign()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-0.6667, -0.3333,  0.0000,  0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> import flambeau as torch
    >>> torch.nn.Tanhshrink()(torch.tensor([-2.0, -0.5, 0.0, 1.0]))
    tensor([-1.0360, -0.0379,  0.0000,  0.2384])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class PReLU(Module):
    """x where positive, weight x elsewhere, with one learned weight or one per channel (dimension
    1).

    >>> import flambeau as torch
    >>> torch.nn.PReLU()(torch.tensor([-2.0, -0.5, 0.0, 1.0])).detach()
    tensor([-0.5000, -0.1250,  0.0000,  1.0000])
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(flambeau.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every weight to `init`."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _SoftmaxAlong(Module):
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_SoftmaxAlong):
    """exp(x_i) / sum_j exp(x_j) along `dim`: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Softmax(dim=0)(torch.zeros(2))
    tensor([0.5000, 0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, 5)


class Softmin(_SoftmaxAlong):
    """exp(-x_i) / sum_j exp(-x_j) along `dim`: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.Softmin(dim=0)(torch.zeros(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim, 5)


class LogSoftmax(_SoftmaxAlong):
    """x_i - log sum_j exp(x_j) along `dim`: (*) -> (*).

    >>> import flambeau as torch
    >>> torch.nn.LogSoftmax(dim=0)(torch.zeros(4))
    tensor([-1.3863, -1.3863, -1.3863, -1.3863])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, 5)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).

    >>> import flambeau as torch
    >>> torch.nn.Softmax2d()(torch.zeros(1, 4, 1, 2)).sum(1)
    tensor([[[1., 1.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead"
            )
        return F.softmax(input, -3, 5)


class MultiheadAttention(Module):
    """Attention with several heads: each projects query, key and value and attends; the results are
    joined.

    Args:
        embed_dim: size E of query and output; `num_heads` divides it.
        dropout: share of attention weights dropped while training.
        add_bias_kv: append a learned position to key and value.
        add_zero_attn: append a position of zeros.
        kdim, vdim: sizes of key and value; E by default.
        batch_first: tensors are (N, L, E) instead of (L, N, E).

    Reference: Vaswani et al., Attention Is All You Need (2017).

    >>> import flambeau as torch
    >>> attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.randn(3, 5, 8)
    >>> output, weights = attention(x, x, x)
    >>> output.shape, weights.shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 5]))
    """

    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self._add_projections(bias, device, dtype)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k = Parameter(flambeau.empty((1, 1, embed_dim), device=device, dtype=dtype))
            self.bias_v = Parameter(flambeau.empty((1, 1, embed_dim), device=device, dtype=dtype))
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _add_projections(self, bias: bool, device: Any, dtype: Any) -> None:
        size = self.embed_dim
        shapes = {
            "q_proj_weight": (size, size),
            "k_proj_weight": (size, self.kdim),
            "v_proj_weight": (size, self.vdim),
            "in_proj_weight": (3 * size, size),
            "in_proj_bias": (3 * size,),
        }
        unused = set(list(shapes)[:3]) if self._qkv_same_embed_dim else {"in_proj_weight"}
        if not bias:
            unused.add("in_proj_bias")
        for name, shape in shapes.items():
            parameter = None
            if name not in unused:
                parameter = Parameter(flambeau.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, parameter)

    def _reset_parameters(self) -> None:
        weights = (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        for weight in weights:
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
        if self.bias_v is not None:
            init.xavier_normal_(self.bias_v)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.setdefault("_qkv_same_embed_dim", True)  # files from before kdim and vdim existed
        super().__setstate__(state)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `query` (L, N, E) to `key` (S, N, kdim) and `value` (S, N, vdim); N is
        optional.

        Args:
            key_padding_mask: (N, S), True or -inf at positions to leave out.
            attn_mask: (L, S) or (N num_heads, L, S), True or -inf at pairs to leave out.
            need_weights: return the weights too, averaged over heads when `average_attn_weights`.
            is_causal: a hint that `attn_mask` is the causal mask.

        Returns:
            Output shaped like `query`, and weights (N, L, S) or (N, num_heads, L, S) or None.
        """
        is_swapped = self.batch_first and query.dim() == 3
        if is_swapped:
            query, key, value = _swap_batch_and_time(query, key, value)
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(1, 0) if is_swapped else output), weights


def _swap_batch_and_time(
    query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Transpose, keeping equal tensors the same object: shared inputs are projected together."""
    swapped_query = query.transpose(1, 0)
    swapped_key = swapped_query if key is query else key.transpose(1, 0)
    if value is key:
        return swapped_query, swapped_key, swapped_key
    return swapped_query, swapped_key, value.transpose(1, 0)
