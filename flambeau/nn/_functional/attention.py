"""Scaled dot-product attention, and attention with several heads."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import flambeau
from flambeau.ops import attention as kernels

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T / sqrt(E) + mask) v.

    Args:
        query: (*, L, E); key: (*, S, E); value: (*, S, Ev); the leading dimensions broadcast.
        attn_mask: broadcasts to (*, L, S); True (or 0.0) lets a position take part. A row with no
            such position gives zeros.
        dropout_p: share of attention weights dropped; applied whenever it is above 0.
        is_causal: position i sees positions up to i; excludes `attn_mask`.
        scale: replaces 1 / sqrt(E).
        enable_gqa: key and value have fewer heads (dimension -3), each serving several of the
            query's.

    Returns:
        (*, L, Ev).

    Reference: Vaswani et al., Attention Is All You Need (2017).
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    scale = 1 / math.sqrt(query.size(-1)) if scale is None else float(scale)
    if attn_mask is not None and attn_mask.dtype == flambeau.bool:
        attn_mask = flambeau.where(attn_mask, 0.0, -math.inf).to(query.dtype)
    if _can_fuse(query, key, value, attn_mask, dropout_p, enable_gqa):
        return _attend_fused(query, key, value, attn_mask, is_causal, scale)
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    weights = kernels.attention_weights(query, key, attn_mask, is_causal, scale)
    if dropout_p > 0.0:
        weights = primitives.dropout(weights, dropout_p, True)
    return weights @ value


_FUSED_TYPES = (flambeau.float32, flambeau.float64, flambeau.bfloat16, flambeau.float16)
# Keys are not worth packing for so few queries that share them; a backward pass packs them anyway.
_FEW, _FEW_IN_TRAINING = 8, 4


def _can_fuse(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, grouped: bool
) -> bool:
    """Whether the kernel that keeps no scores in memory knows this problem."""
    rank = query.dim()
    if dropout_p > 0.0 or rank not in (3, 4) or key.dim() != rank or value.dim() != rank:
        return False
    if query.is_meta:
        return False  # there is nothing to keep out of memory
    if query.dtype not in _FUSED_TYPES or not query.dtype == key.dtype == value.dtype:
        return False
    sizes = query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    lead = query.shape[:-2]
    if grouped:
        heads = key.shape[-3]
        sizes = sizes and heads > 0 and query.shape[-3] % heads == 0 and value.shape[-3] == heads
        lead = (*lead[:-1], heads)
    if not sizes or key.shape[:-2] != lead or value.shape[:-2] != lead:
        return False
    if 0 in query.shape or 0 in value.shape:
        return False
    return mask is None or (mask.dtype == query.dtype and not mask.requires_grad)


def _attend_fused(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    rank, dtype = query.dim(), query.dtype
    if mask is not None:
        mask = mask.expand(*query.shape[:-1], key.shape[-2])
    half = dtype in (flambeau.bfloat16, flambeau.float16)
    if half and mask is not None:
        mask = mask.float()
    if rank == 3:
        query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
        mask = None if mask is None else mask.unsqueeze(0)
    learning = flambeau.is_grad_enabled() and (
        query.requires_grad or key.requires_grad or value.requires_grad
    )
    queries = query.shape[1] // key.shape[1] * query.shape[2]
    if not is_causal and queries <= (_FEW_IN_TRAINING if learning else _FEW):
        out = _attend_few(query, key, value, mask, scale).to(dtype)
    else:
        if half:
            query, key, value = query.float(), key.float(), value.float()
        out = kernels.attend(query, key, value, mask, is_causal, scale)[0].to(dtype)
    return out.squeeze(0) if rank == 3 else out


def _attend_few(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """The queries of heads that share keys become the queries of one head."""
    batch, heads, length, depth = query.shape
    shared = (batch, key.shape[1], heads // key.shape[1] * length)
    if shared[1] != heads:
        query = query.reshape(*shared, depth)
        mask = None if mask is None else mask.reshape(*shared, key.shape[2])
    out = kernels.attend_few(query, key, value, mask, scale)
    return out.view(batch, heads, length, value.shape[3])


def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: object,
    other_name: str,
    target_type: object,
    check_other: bool = True,
) -> Tensor | None:
    """A mask to be added to scores: floating masks as they are, True of a boolean mask becomes
    -inf.
    """
    if mask is None:
        return None
    if mask.dtype != flambeau.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for "
            "both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    zeros = flambeau.zeros(mask.shape, dtype=target_type, device=mask.device)
    return zeros.masked_fill(mask, -math.inf)


def _none_or_dtype(tensor: Tensor | None) -> object:
    return None if tensor is None else tensor.dtype


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention with `num_heads` heads between projections of query (L, N, E), key and value (S, N,
    *).

    Args:
        in_proj_weight: (3 E, E), the projections stacked; or, with `use_separate_proj_weight`, the
            three `*_proj_weight`. in_proj_bias: (3 E).
        bias_k, bias_v: (1, 1, E), one more position appended to key and value.
        add_zero_attn: append a position of zeros.
        key_padding_mask: (N, S), True or -inf at positions to leave out.
        attn_mask: (L, S) or (N num_heads, L, S), True or -inf at pairs to leave out.
        need_weights: return the attention weights too, averaged over heads when
            `average_attn_weights`.
        is_causal: a hint that `attn_mask` is the causal mask, which must be given.
        static_k, static_v: (N num_heads, S, E / num_heads), used instead of the projections.

    Returns:
        Output (L, N, E), and weights (N, L, S) or (N, num_heads, L, S) or None. Inputs without N
        give outputs without N.
    """
    is_batched = _check_attention_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not is_batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, embed_dim = query.shape
    _check_attention_sizes(
        query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight
    )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. Use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    key_padding_mask = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # the hint alone suffices
    else:
        attn_mask = _canonical_mask(
            attn_mask, "attn_mask", None, "", query.dtype, check_other=False
        )
        is_causal = is_causal and key_padding_mask is None
    if attn_mask is not None:
        attn_mask = _expand_attention_mask(attn_mask, length, key.shape[0], batch, num_heads)

    weights = (
        (q_proj_weight, k_proj_weight, v_proj_weight)
        if use_separate_proj_weight
        else in_proj_weight
    )
    q, k, v = _project_inputs(query, key, value, weights, in_proj_bias)  # type: ignore[arg-type]
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value")
        k = flambeau.cat([k, bias_k.repeat(1, batch, 1)])
        v = flambeau.cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _pad_last(attn_mask), _pad_last(key_padding_mask)
    elif bias_k is not None or bias_v is not None:
        raise AssertionError("bias_k and bias_v must be given together")

    q = _split_heads(q, num_heads)
    k = (
        _split_heads(k, num_heads)
        if static_k is None
        else _check_static("key", static_k, q, num_heads)
    )
    v = (
        _split_heads(v, num_heads)
        if static_v is None
        else _check_static("value", static_v, q, num_heads)
    )
    if add_zero_attn:
        k, v = (flambeau.cat([t, t.new_zeros(*t.shape[:2], 1, t.shape[3])], dim=2) for t in (k, v))
        attn_mask, key_padding_mask = _pad_last(attn_mask), _pad_last(key_padding_mask)
    mask = _merge_masks(attn_mask, key_padding_mask, batch, num_heads, k.shape[2])

    dropout_p = dropout_p if training else 0.0
    if need_weights:
        heads, attention = _attend_with_weights(q, k, v, mask, dropout_p, is_causal)
    else:
        # A mask says already what the hint says.
        is_causal = is_causal and mask is None
        heads, attention = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal), None
    joined = heads.permute(2, 0, 1, 3).reshape(length, batch, embed_dim)
    output = _project(joined, out_proj_weight, out_proj_bias)
    if attention is not None and average_attn_weights:
        attention = attention.mean(1)
    if not is_batched:
        output = output.squeeze(1)
        attention = None if attention is None else attention.squeeze(0)
    return output, attention


def _check_attention_shapes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether the inputs have a batch dimension.

    Errors:
        AssertionError: the numbers of dimensions do not go together.
    """
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query "
            "tensor"
        )
    kind = "batched (3-D)" if query.dim() == 3 else "unbatched (2-D)"
    if not key.dim() == value.dim() == query.dim():
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {query.dim()}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != query.dim() - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {query.dim() - 1}-D "
            "but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
            f"{attn_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() == 3 and query.dim() == 2:
        expected = (num_heads, query.shape[0], key.shape[0])
        if tuple(attn_mask.shape) != expected:
            raise AssertionError(
                f"Expected `attn_mask` shape to be {expected} but got {tuple(attn_mask.shape)}"
            )
    return query.dim() == 3


def _check_attention_sizes(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_heads: int, separate: bool
) -> None:
    if query.shape[-1] != embed_dim:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}"
        )
    if embed_dim % num_heads:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    same = key.shape[:2] == value.shape[:2] if separate else key.shape == value.shape
    if not same:
        what = "sequence and batch dims" if separate else "shape"
        raise AssertionError(
            f"key's {what} {tuple(key.shape)} does not match value's {tuple(value.shape)}"
        )


def _expand_attention_mask(
    mask: Tensor, length: int, source: int, batch: int, num_heads: int
) -> Tensor:
    """A mask of three dimensions, the first 1 or batch times heads."""
    expected = (length, source) if mask.dim() == 2 else (batch * num_heads, length, source)
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be "
            f"{expected}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _project_inputs(
    query: Tensor, key: Tensor, value: Tensor, weights: Tensor | tuple, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project query, key and value; one matrix product serves inputs that are the same tensor."""
    if not isinstance(weights, tuple):
        if key is value and query is key:
            return _project(query, weights, bias).chunk(3, -1)
        if key is value:
            size = query.shape[-1]
            w_q, w_kv = weights.split([size, 2 * size])
            b_q, b_kv = (None, None) if bias is None else bias.split([size, 2 * size])
            k, v = _project(key, w_kv, b_kv).chunk(2, -1)
            return _project(query, w_q, b_q), k, v
        weights = weights.chunk(3)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    q, k, v = (
        _project(x, weight, part)
        for x, weight, part in zip((query, key, value), weights, biases, strict=True)
    )
    return q, k, v


def _project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The linear layer, computed in the order of memory: a batch that comes first is not copied."""
    turned = x.transpose(0, 1)
    if x.is_contiguous() or not turned.is_contiguous():
        return primitives.linear(x, weight, bias)
    return primitives.linear(turned, weight, bias).transpose(0, 1)


def _pad_last(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else primitives.pad(mask, (0, 1))


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(L, N, E) -> (N, num_heads, L, E / num_heads), a view."""
    return x.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)


def _check_static(name: str, static: Tensor, q: Tensor, num_heads: int) -> Tensor:
    batch, size = q.shape[0], q.shape[3]
    if static.shape[0] != batch * num_heads or static.shape[2] != size:
        raise AssertionError(
            f"multi_head_attention_forward: expected static {name} of shape "
            f"({batch * num_heads}, S, {size}), got {tuple(static.shape)}"
        )
    return static.unflatten(0, (batch, num_heads))


def _merge_masks(
    attn_mask: Tensor | None, padding: Tensor | None, batch: int, num_heads: int, source: int
) -> Tensor | None:
    """Sum of both masks, to broadcast with scores (N, num_heads, L, S)."""
    if attn_mask is not None:
        whole = attn_mask.shape[0] == 1
        attn_mask = attn_mask.unflatten(0, (1, 1) if whole else (batch, num_heads))
    if padding is None:
        return attn_mask
    if tuple(padding.shape) != (batch, source):
        raise AssertionError(
            f"expecting key_padding_mask shape of {(batch, source)}, but got {tuple(padding.shape)}"
        )
    padding = padding.reshape(batch, 1, 1, source)
    return padding if attn_mask is None else attn_mask + padding


def _attend_with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool
) -> tuple[Tensor, Tensor]:
    if is_causal and mask is None:
        raise AssertionError("FIXME: is_causal not implemented for need_weights")
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    weights = primitives.softmax(scores if mask is None else scores + mask, -1)
    if dropout_p > 0.0:
        weights = primitives.dropout(weights, dropout_p)
    return weights @ v, weights
