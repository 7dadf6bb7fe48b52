"""What ops give for tensors without data (`flambeau._meta`): shapes and dtypes, no numbers.

Most rules run the op itself on operands whose sizes are shrunk to 0 or 1, so dtypes and errors are
the op's own, and put the true sizes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import core
from ._meta import NO_DATA, MetaTensor, make, strip
from .core import Tensor
from .ops.convert import SHORTHANDS
from .ops.factory import DTYPES, read_dtype
from .ops.parts import broadcast_shapes
from .ops.record import METHODS


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Answered by the op itself, which reads and changes nothing but metadata.
_METADATA = _names(
    """
    H T adjoint as_strided as_strided_ broadcast_to chunk conj detach detach_ diagonal dsplit
    expand expand_as get_device hsplit imag is_pinned is_same_size is_set_to is_shared mH mT
    moveaxis movedim narrow permute real register_post_accumulate_grad_hook resolve_conj
    resolve_neg result_type select split split_with_sizes squeeze squeeze_ swapaxes swapaxes_
    swapdims swapdims_ t t_ tensor_split transpose transpose_ unbind unfold unsqueeze unsqueeze_
    view_as view_as_complex view_as_real vsplit
    """
)
_SIZED = frozenset(["empty", "zeros", "ones", "rand", "randn", "full", "randint", "normal"])
_FACTORIES = _SIZED | _names(
    """
    arange asarray as_tensor bartlett_window blackman_window empty_permuted empty_strided eye
    fftfreq hamming_window hann_window kaiser_window linspace logspace randperm range rfftfreq
    scalar_tensor tensor tril_indices triu_indices
    """
)
_NEW = frozenset(["new_empty", "new_zeros", "new_ones", "new_full", "new"])
# The result has the first operand's shape.
_SAME = _names(
    """
    alpha_dropout batch_norm bernoulli celu clone contiguous cumprod cumsum dropout dropout1d
    dropout2d dropout3d elu feature_alpha_dropout flip gelu group_norm hardsigmoid hardswish
    hardtanh instance_norm layer_norm leaky_relu log_softmax logcumsumexp mish nan_to_num
    normalize prelu relu relu6 rms_norm roll rrelu selu sigmoid silu softmax softmin softplus
    softsign tanh tanhshrink threshold tril triu
    """
)
# Pointwise, but not by a kernel of their own.
_POINTWISE = frozenset(["where", "masked_fill", "addcmul", "addcdiv", "lerp", "clamp", "pow"])
# Over all dimensions, or over dim.
_REDUCTIONS = _names(
    """
    all amax amin any argmax argmin count_nonzero logsumexp max mean median min nanmean nansum
    norm prod std std_mean sum var var_mean
    """
)
# Row i of the result comes from row i of the first operand.
_BY_ROWS = frozenset(
    [
        *("embedding", "interpolate", "pad", "pixel_shuffle", "pixel_unshuffle"),
        *(f"{kind}{d}d" for kind in ("conv", "conv_transpose") for d in (1, 2, 3)),
        *(f"{kind}_pool{d}d" for kind in ("avg", "max", "adaptive_avg") for d in (1, 2, 3)),
    ]
)


def is_factory(op: Any) -> bool:
    """Does it make a tensor on the default device?"""
    return getattr(op, "__name__", "") in _FACTORIES


# ---- making --------------------------------------------------------------------------------------


def create(op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an op that was asked for device="meta"."""
    name = op.__name__
    options = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
    if name == "to":
        return _move(args, kwargs)
    if name in _SIZED:
        return _create_sized(op, args, options)
    if name.endswith("_like"):
        return _create_like(op, args, options)
    if name in _NEW:
        return _create_new(op, args, options)
    if name in ("empty_strided", "empty_permuted") or name == "new_empty_strided":
        return _create_strided(op, args, options)
    if name == "new_tensor":
        return strip(op(core.empty((0,), args[0].dtype), *args[1:], **options))
    if "device" not in kwargs:
        raise NotImplementedError(f"{name}: no rule for making tensors without data")
    requires_grad = options.pop("requires_grad", False)
    return strip(op(*args, **options)).requires_grad_(requires_grad)


def _create_sized(op: Any, args: tuple, options: dict[str, Any]) -> MetaTensor:
    """empty(2, 3) and the like: the op run with size 0 gives the dtype."""
    if "size" in options:
        size, small = options["size"], op(*args, **{**options, "size": (0,)})
    elif op.__name__ in ("full", "randint", "normal"):
        at = 0 if op.__name__ == "full" else len(args) - 1
        size, small = args[at], op(*args[:at], (0,), *args[at + 1 :], **options)
    else:
        size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
        small = op((0,), **options)
    return make(_read_size(op, size), small.dtype, requires_grad=small.requires_grad)


def _read_size(op: Any, size: Any) -> tuple[int, ...]:
    shape = (size,) if isinstance(size, int) else tuple(int(n) for n in size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"{op.__name__}: negative size in {shape}")
    return shape


def _create_like(op: Any, args: tuple, options: dict[str, Any]) -> MetaTensor:
    """ones_like(x, ...): x may have data or none."""
    source = args[0]
    small = op(core.empty((0,), source.dtype), *args[1:], **options)
    strides = source.stride() if _is_dense(source) else None
    return make(source.shape, small.dtype, strides, small.requires_grad)


def _is_dense(tensor: Tensor) -> bool:
    """Does it fill its memory without gaps or repeats?"""
    expected = 1
    for step, n in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True)):
        if n != 1 and step != expected:
            return False
        expected = step * n if n != 1 else expected
    return True


def _create_new(op: Any, args: tuple, options: dict[str, Any]) -> MetaTensor:
    """x.new_zeros(size, ...)."""
    source, *rest = args
    dtype = options.get("dtype") or source.dtype
    size = options.get("size", rest[0] if len(rest) == 1 or op.__name__ == "new_full" else rest)
    made = make(_read_size(op, size), dtype)
    return made.requires_grad_(options.get("requires_grad", False))


def _create_strided(op: Any, args: tuple, options: dict[str, Any]) -> MetaTensor:
    source = args[0] if op.__name__.startswith("new") else None
    size, order = args[1:] if source is not None else args
    dtype = options.get("dtype") or (core.get_default_dtype() if source is None else source.dtype)
    if op.__name__ == "empty_permuted":
        packed = make([size[d] for d in order], dtype)
        back = sorted(range(len(order)), key=lambda i: order[i])
        order = [packed.stride()[i] for i in back]
    return make(size, dtype, order, options.get("requires_grad", False))


def _move(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """x.to(device, dtype, ...) to or from the device meta."""
    from .ops.convert import _read_targets

    source, dtype, device = args[0], kwargs.get("dtype"), kwargs.get("device")
    other, flags = kwargs.get("other"), []
    if len(args) > 1:
        dtype, device, other, flags = _read_targets(args[1:], dtype, device, other)
    if other is not None:
        dtype, device = other.dtype, other.device
    device = source.device if device is None else core.device(device)
    if device.type != "meta":
        raise NotImplementedError(NO_DATA)
    copy = kwargs.get("copy", len(flags) > 1 and flags[1])
    if type(source) is MetaTensor and not copy and dtype in (None, source.dtype):
        return source
    moved = strip(source, dtype)
    return _follow(moved, source)


def _follow(result: Any, *sources: Any) -> Any:
    """The result, requiring a gradient if a source does (there is no history to go back along)."""
    if not core.grad_enabled() or not (result.dtype.is_floating_point or result.dtype.is_complex):
        return result
    if any(isinstance(s, Tensor) and s.requires_grad for s in sources):
        result.requires_grad_()
    return result


# ---- computing -----------------------------------------------------------------------------------


def infer(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an op that got a tensor without data."""
    name = getattr(func, "__name__", repr(func))
    before = core.disable_overrides(True)
    try:
        return _find_rule(func, name, args)(func, args, kwargs)
    finally:
        core.disable_overrides(before)


def _find_rule(func: Any, name: str, args: tuple) -> Callable:
    pointwise = isinstance(func, core.LoopOp) and func.form == 0
    if pointwise or name in _POINTWISE or (name in ("max", "min") and _is_tensor(args[1:2])):
        return _compute_pointwise
    if name in _RULES:
        return _RULES[name]
    reduces = isinstance(func, core.LoopOp) and func.form == 1 and len(args) > 1
    if reduces and all(isinstance(a, Tensor) for a in args):
        return _compute_total
    if name.endswith("_") and not name.endswith("__"):
        return _write
    raise NotImplementedError(
        f"{name}: no rule for tensors without data (device='meta'). Module.to_empty(device='cpu')"
        " and torch.empty_like(tensor, device='cpu') make tensors with data"
    )


def _is_tensor(values: tuple) -> bool:
    return len(values) > 0 and isinstance(values[0], Tensor)


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The op itself; its tensors, which are views, become tensors without data."""
    return _wrap(func(*args, **kwargs))


def _wrap(result: Any) -> Any:
    if isinstance(result, MetaTensor):
        return result
    if isinstance(result, Tensor):
        return core.as_subclass(result, MetaTensor)
    if isinstance(result, tuple | list):
        return getattr(result, "_make", type(result))(_wrap(part) for part in result)
    return result


def _index(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """x[i]: views only, as other indices are data."""
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if any(isinstance(i, Tensor | list | bool) or hasattr(i, "__array__") for i in index):
        raise NotImplementedError(
            "__getitem__: no rule for indexing tensors without data (device='meta') by tensors"
        )
    return _run(func, args, kwargs)


def _view(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """view, reshape, flatten, ...: a view where strides allow it, else new strides."""
    try:
        return _run(METHODS["view"], (args[0], _shape_of(func, args, kwargs)), {})
    except RuntimeError:
        if func.__name__ == "view":
            raise
        return _follow(make(_shape_of(func, args, kwargs), args[0].dtype), args[0])


def _shape_of(func: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[int, ...]:
    """The shape that reshape and the like give, by the op on an expanded number."""
    number = core.empty((), args[0].dtype)
    return tuple(func(METHODS["expand"](number, args[0].shape), *args[1:], **kwargs).shape)


def _write(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """In-place ops have nothing to do."""
    target = args[0]
    if type(target) is not MetaTensor:
        raise NotImplementedError(NO_DATA)
    if target.requires_grad and target.is_leaf and core.grad_enabled():
        raise RuntimeError(
            f"{func.__name__}: a leaf Variable that requires grad is being used in an in-place"
            " operation. Wrap the write in torch.no_grad(), or write to a clone()."
        )
    return target


def _set_item(func: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    _write(func, args, kwargs)


def _cast(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    return _move(args[:1], {"dtype": DTYPES[SHORTHANDS[func.__name__]]})


def _set_type(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    if len(args) < 2 and not kwargs:
        return f"torch.meta.{type(args[0]).__name__}"
    return _move(args[:1], {"dtype": read_dtype(args[1] if len(args) > 1 else kwargs["dtype"])})


def _derive(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """x.new_zeros(...), zeros_like(x), ...: on x's device unless another is given."""
    device = kwargs.get("device")
    if device is None or core.device(device).type == "meta":
        return create(func, args, kwargs)
    return func(*args, **kwargs)  # reads no data of x


def _compute_pointwise(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The shapes broadcast; the dtype is the op's own for no elements."""
    tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    _check_devices(func, tensors)
    shape = broadcast_shapes(*(t.shape for t in tensors))
    named = {key: _shrink(value, 0) for key, value in kwargs.items()}
    small = func(*(_shrink(a, 0) for a in args), **named)
    return _follow(make(shape, small.dtype), *tensors)


def _compute_total(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """One number from all elements of several operands: what losses are."""
    tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    _check_devices(func, tensors)
    broadcast_shapes(*(t.shape for t in tensors))
    named = {key: _shrink(value, 1) for key, value in kwargs.items()}
    small = func(*(_shrink(a, 1) for a in args), **named)
    return _follow(make((), small.dtype), *tensors)


def _check_devices(func: Any, tensors: list[Tensor]) -> None:
    if any(type(t) is not MetaTensor and t.dim() for t in tensors):
        raise RuntimeError(
            f"{func.__name__}: Expected all tensors to be on the same device, but found at least"
            " two devices, meta and cpu!"
        )


def _shrink(value: Any, size: int) -> Any:
    """A real tensor of the same rank with all sizes `size`; other values as they are."""
    if not isinstance(value, Tensor):
        return value
    return core.empty((size,) * value.dim(), value.dtype).requires_grad_(False).zero_()


def _compute_same(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The first operand's shape and strides."""
    source = args[0]
    dtype = kwargs.get("dtype") or source.dtype
    if func.__name__ in ("cumsum", "cumprod") and kwargs.get("dtype") is None:
        dtype = func(_shrink(source, 1), *args[1:], **kwargs).dtype
    strides = source.stride() if _is_dense(source) else None
    return _follow(make(source.shape, dtype, strides), *args)


def _reduce(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The op on two elements a dimension tells dtypes and kept dimensions."""
    source = args[0]
    small = func(_shrink(source, 2), *args[1:], **kwargs)
    at = 2 if func.__name__ == "norm" else 1
    dims = kwargs.get("dim", args[at] if len(args) > at else None)
    if dims is None or isinstance(dims, bool) or dims == ():
        dims = range(source.dim())
    over = {d % max(source.dim(), 1) for d in (dims if hasattr(dims, "__iter__") else (dims,))}
    kept = [n for d, n in enumerate(source.shape) if d not in over]
    whole = [1 if d in over else n for d, n in enumerate(source.shape)]

    def enlarge(part: Tensor) -> Tensor:
        shape = whole if part.dim() == source.dim() else kept
        return _follow(make(shape, part.dtype), source)

    if isinstance(small, tuple):
        return getattr(small, "_make", type(small))(enlarge(part) for part in small)
    return enlarge(small)


def _compute_by_rows(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The op on no rows tells the other sizes."""
    source, *others = args
    _check_devices(func, [a for a in others if isinstance(a, Tensor)])
    single = func.__name__.startswith("conv") and source.dim() == others[0].dim() - 1
    if source.dim() == 0 or (func.__name__ == "pad" and len(others[0]) >= 2 * source.dim()):
        raise NotImplementedError(
            f"{func.__name__}: no rule for a tensor of shape {tuple(source.shape)} without data"
        )
    small = func(_take_rows(source.unsqueeze(0) if single else source), *others, **kwargs)
    shape = small.shape[1:] if single else (source.shape[0], *small.shape[1:])
    return _follow(make(shape, small.dtype), *args)


def _take_rows(source: Tensor) -> Tensor:
    """A real tensor like source, without rows."""
    return core.empty((0, *source.shape[1:]), source.dtype)


def _multiply(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """linear, matmul, mm, bmm, mv: the op on no rows, for operands of one dimension on one."""
    left, right = args[:2]
    _check_devices(func, [left, right])
    inner = right.shape[-1 if func.__name__ == "linear" or right.dim() == 1 else -2]
    if left.shape[-1] != inner:
        raise RuntimeError(
            f"{func.__name__}: inner sizes differ: {tuple(left.shape)} and {tuple(right.shape)}:"
            f" {left.shape[-1]} != {inner} (mat1 and mat2 shapes cannot be multiplied)"
        )
    if left.dim() < 2:
        lifted = make((1, *left.shape), left.dtype)
        result = _multiply(func, (lifted, *args[1:]), kwargs)
        rows = -2 if args[1].dim() > 1 else -1
        return _follow(make(result.select(rows, 0).shape, result.dtype), *args)
    rows = core.empty((*left.shape[:-2], 0, left.shape[-1]), left.dtype)
    small = func(rows, *args[1:], **kwargs)
    shape = list(small.shape)
    shape[shape.index(0, max(len(shape) - 2, 0)) if args[1].dim() > 1 else -1] = left.shape[-2]
    return _follow(make(shape, small.dtype), *args)


def _repeat(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """repeat and tile: how often one element is repeated, times the sizes."""
    source = args[0]
    small = func(_shrink(source, 1), *args[1:], **kwargs)
    sizes = (1,) * (small.dim() - source.dim()) + tuple(source.shape)
    shape = [times * n for times, n in zip(small.shape, sizes, strict=True)]
    return _follow(make(shape, small.dtype), source)


def _join(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """cat and stack, by the op on expanded numbers of no extent along the other dimensions."""
    tensors = list(args[0])
    _check_devices(func, tensors)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    small = func([_shrink(t, 1) for t in tensors], dim)
    d = dim % small.dim()
    if func.__name__ == "stack":
        first = list(tensors[0].shape)
        if any(list(t.shape) != first for t in tensors):
            raise RuntimeError("stack expects each tensor to be equal size")
        return _follow(make((*first[:d], len(tensors), *first[d:]), small.dtype), *tensors)
    rest = {(*t.shape[:d], *t.shape[d + 1 :]) for t in tensors}
    if len(rest) > 1:
        raise RuntimeError(f"{func.__name__}: sizes must match except in dimension {d}")
    shape = list(tensors[0].shape)
    shape[d] = sum(t.shape[d] for t in tensors)
    return _follow(make(shape, small.dtype), *tensors)


def _list_rules() -> dict[str, Callable]:
    rules: dict[str, Callable] = dict.fromkeys(_METADATA, _run)
    rules.update(dict.fromkeys(_SAME, _compute_same))
    rules.update(dict.fromkeys(_REDUCTIONS, _reduce))
    rules.update(dict.fromkeys(_BY_ROWS, _compute_by_rows))
    rules.update(dict.fromkeys(SHORTHANDS, _cast))
    rules.update(dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv"), _multiply))
    rules.update(repeat=_repeat, tile=_repeat)
    rules.update(dict.fromkeys(("cat", "concat", "concatenate", "stack"), _join))
    rules.update(dict.fromkeys(("view", "reshape", "flatten", "unflatten", "ravel"), _view))
    rules.update(dict.fromkeys((*_NEW, "new_empty_strided", "new_tensor"), _derive))
    likes = ("empty", "zeros", "ones", "full", "rand", "randn", "randint")
    rules.update(dict.fromkeys((f"{kind}_like" for kind in likes), _derive))
    rules.update(to=lambda func, args, kwargs: _move(args, kwargs), type=_set_type)
    rules.update(__getitem__=_index, __setitem__=_set_item)
    return rules


_RULES = _list_rules()
