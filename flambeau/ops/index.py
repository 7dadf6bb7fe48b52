"""Indexing: `x[key]` and `x[key] = value` for every kind of key, and index_put.

Numbers, slices, None and Ellipsis make a view. Index tensors, lists, arrays and masks then read or
write rows of that view: one index tensor goes straight to the row kernels, several are first turned
into offsets.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import core
from ..core import Tensor
from . import launch_index as launch
from .convert import to_dtype
from .gather import select_rows, spread_rows
from .launch_index import BOOL, INT64, bounds
from .masked import fill_where, true_positions
from .record import function, primitive
from .scatter import copy_rows
from .windows import zeros_plain

_INDEX_KINDS = ("int64", "int32", "uint8", "bool")


class Resolved(NamedTuple):
    """A key in normal form: a view, and index tensors (int64, row-major, one shape) of dims."""

    view: Tensor
    indices: tuple[Tensor, ...]
    dims: tuple[int, ...]


# ---- reading keys --------------------------------------------------------------------------------


def _as_items(key: Any) -> tuple:
    """The key as a tuple; a list that holds more than numbers stands for a tuple."""
    if type(key) is tuple:
        return key
    if isinstance(key, tuple):
        return tuple(key)
    if isinstance(key, list) and len(key) <= 32 and any(_is_structure(k) for k in key):
        core.not_replayable()
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated: use "
            "x[tuple(seq)] instead of x[seq].",
            stacklevel=4,
        )
        return tuple(key)
    return (key,)


def _is_structure(item: Any) -> bool:
    return item is None or item is Ellipsis or isinstance(item, slice | list | tuple | Tensor)


def _as_item(item: Any) -> Any:
    """An int, slice, None, Ellipsis, bool, or an int64 or bool tensor of at least one dimension."""
    if item is None or item is Ellipsis or type(item) in (int, slice, bool):
        return item
    if not isinstance(item, Tensor):
        if isinstance(item, list | tuple | range) or type(item).__module__ == "numpy":
            item = _sequence_to_tensor(item)
        elif hasattr(item, "__index__"):
            return item.__index__()
        else:
            raise _invalid(item)
    kind = item.dtype.name
    if kind not in _INDEX_KINDS:
        if item.numel():
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, got "
                f"{item.dtype!r}"
            )
        return to_dtype(item, INT64)
    if kind == "uint8":
        core.not_replayable()
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool "
            "instead.",
            stacklevel=4,
        )
        item = item != 0
    elif not item.ndim and kind != "bool":
        return item.item()
    return bool(item) if not item.ndim else to_dtype(item, INT64) if kind == "int32" else item


def _invalid(item: Any) -> Exception:
    return IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
        f"indices (got {type(item).__name__})"
    )


def _sequence_to_tensor(item: Any) -> Any:
    if type(item).__module__ == "numpy":
        import numpy as np

        from .array import from_array

        if not isinstance(item, np.ndarray):
            if hasattr(item, "__index__"):
                return from_array(np.asarray(item, dtype=np.int64))
            raise _invalid(item)
        return from_array(np.ascontiguousarray(item))
    return core.from_data(list(item)) if len(item) else core.empty((0,), INT64)


def _used(item: Any) -> int:
    """Dimensions that an item takes."""
    if isinstance(item, Tensor):
        return item.ndim if item.dtype is BOOL else 1
    return 1 if type(item) in (int, slice) else 0


def resolve(self: Tensor, key: Any) -> Resolved:
    """The key in normal form."""
    items = [_as_item(k) for k in _as_items(key)]
    used = sum([_used(k) for k in items])
    if used > self.ndim:
        raise IndexError(f"too many indices for tensor of dimension {self.ndim}")
    basic: list[Any] = []
    found: list[tuple[int, Tensor, int]] = []  # dimension of the view, index, position in the key
    dim = own = 0
    filled = False
    for place, item in enumerate(items):
        if item is Ellipsis:
            rest = 0 if filled else self.ndim - used
            filled = True
            basic += [slice(None)] * rest
            dim, own = dim + rest, own + rest
        elif item is None:
            basic.append(None)
            dim += 1
        elif isinstance(item, Tensor):
            width = _used(item)
            if item.dtype is BOOL:
                _check_mask_shape(item, self, own)
            basic += [slice(None)] * width
            found.append((dim, item, place))
            dim, own = dim + width, own + width
        elif type(item) is bool:
            basic.append(None)
            index = core.from_data([0], INT64) if item else core.empty((0,), INT64)
            found.append((dim, index, place))
            dim += 1
        else:
            basic.append(item)
            dim += type(item) is slice
            own += 1
    whole = all(type(b) is slice and b == slice(None) for b in basic)
    view = self if whole and found else core.basic_index(self, tuple(basic))
    return _normalise(view, found)


def _check_mask_shape(mask: Tensor, self: Tensor, first: int) -> None:
    for d, n in enumerate(mask.shape):
        if n != self.shape[first + d]:
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {d} does not match the shape "
                "of the indexed "
                f"tensor {list(self.shape)} at index {first + d}"
            )


def _normalise(view: Tensor, found: list[tuple[int, Tensor, int]]) -> Resolved:
    """Masks become positions (in their dimensions merged, if they lie as one); all broadcast."""
    indices: list[Tensor] = []
    dims: list[int] = []
    gone = 0  # dimensions that were merged away so far
    for dim, index, _ in found:
        dim -= gone
        if index.dtype is not BOOL:
            indices.append(index)
            dims.append(dim)
            continue
        positions, width = true_positions(index), index.ndim
        shape = view.shape
        merged = core.try_view(view, (*shape[:dim], index.numel(), *shape[dim + width :]))
        if merged is not None:
            view, gone = merged, gone + width - 1
            indices.append(positions)
            dims.append(dim)
        else:
            from .masked import coordinates

            columns = coordinates(positions, tuple(index.shape))
            n = columns.shape[0]
            for k in range(width):
                indices.append(core.restride(columns, (n,), (width,), k if n else 0))
                dims.append(dim + k)
    return Resolved(view, _broadcast(indices), tuple(dims))


def _broadcast(indices: list[Tensor]) -> tuple[Tensor, ...]:
    shapes = [i.shape for i in indices]
    if any(s != shapes[0] for s in shapes[1:]):
        from .views import broadcast_shapes

        try:
            common = broadcast_shapes(*shapes)
        except RuntimeError:
            listed = ", ".join(str(list(s)) for s in shapes)
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                f"{listed}"
            ) from None
        indices = [core.expand(i, common) for i in indices]
    return tuple([core.contiguous_plain(i) for i in indices])


def _together(resolved: Resolved) -> tuple[Tensor, int]:
    """The view with its indexed dimensions side by side (or moved in front), and the first."""
    view, _, dims = resolved
    first, n = dims[0], len(dims)
    if n == 1:
        return view, first
    if all(d == first + k for k, d in enumerate(dims)):
        return view, first
    rest = [d for d in range(view.ndim) if d not in dims]
    return core.permute(view, (*dims, *rest)), 0


# ---- rows that several indices name together -----------------------------------------------------


@primitive(register=False, name="index")
def take_block(input: Tensor, indices: Sequence[Tensor], first: int) -> Tensor:
    """input with the dimensions first.. replaced by the indices' common dimensions."""
    width = len(indices)
    layout = launch.table_layout(input, first, width)
    if layout is None:
        input = core.contiguous_plain(input)
        layout = launch.table_layout(input, first, width)
    offsets = launch.offsets_of(input, indices, range(first, first + width), "index")
    shape = input.shape
    made = core.empty((*shape[:first], *offsets.shape, *shape[first + width :]), input.dtype)
    launch.run_take(made, input, offsets, layout, 1, launch.offset_bounds("index", input))
    return made


@take_block.vjp
def _(g, input_like, indices, first):
    zero = zeros_plain(input_like.shape, g.dtype)
    return put_block(zero, indices, g, first, True), None


@primitive(register=False, name="index_put")
def put_block(
    input: Tensor, indices: Sequence[Tensor], values: Tensor, first: int, accumulate: bool
) -> Tensor:
    """A copy of input with values written or added where take_block reads."""
    made = core.empty(input.shape, input.dtype)
    core.copy_plain(made, input)
    write_block(made, indices, values, first, accumulate)
    return made


@put_block.vjp
def _(g, indices, values_like, first, accumulate):
    g_values = take_block(g, indices, first)
    if accumulate:
        return g, None, g_values
    zero = core.expand(zeros_plain((), g.dtype), values_like.shape)
    return put_block(g, indices, zero, first, False), None, g_values


def write_block(
    table: Tensor, indices: Sequence[Tensor], values: Tensor, first: int, accumulate: bool
) -> None:
    """Write or add values in place where take_block reads; without history."""
    width = len(indices)
    layout = launch.table_layout(table, first, width)
    if layout is None:
        whole = core.contiguous_plain(table)
        write_block(whole, indices, values, first, accumulate)
        core.copy_plain(table, whole)
        return
    offsets = launch.offsets_of(table, indices, range(first, first + width), "index_put_")
    place = (first, offsets.ndim)
    mode = "add" if accumulate else "put"
    limits = launch.offset_bounds("index_put_", table)
    launch.run_put(mode, table, offsets, values, place, layout, 1, limits)


# ---- reading -------------------------------------------------------------------------------------


@function("__getitem__", namespaces=())
def getitem(self: Tensor, key: Any) -> Tensor:
    """self[key]: a view for numbers, slices, None, Ellipsis; a copy for index tensors and masks."""
    if type(key) is Tensor and key.dtype is INT64 and key.ndim and self.ndim:
        if not key.is_contiguous():
            key = core.contiguous_plain(key)
        return select_rows(self, 0, key, True, "index")
    found = core.basic_index(self, key)
    return found if found is not None else read(resolve(self, key))


def read(resolved: Resolved) -> Tensor:
    """The elements a resolved key names."""
    view, indices, dims = resolved
    if not indices:
        return view
    if len(indices) == 1:
        return select_rows(view, dims[0], indices[0], True, "index")
    view, first = _together(resolved)
    return take_block(view, indices, first)


# ---- writing -------------------------------------------------------------------------------------


@function("__setitem__", namespaces=())
def setitem(self: Tensor, key: Any, value: Any) -> None:
    """self[key] = value; the value broadcasts to the elements named."""
    value = _as_value(self, value)
    part = core.basic_index(self, key)
    if part is not None:
        core.copy_(part, value)
        return
    if type(key) is Tensor and key.dtype is INT64 and key.ndim and self.ndim:
        write(Resolved(self, (core.contiguous_plain(key),), (0,)), value, False)
        return
    if _fills(self, key, value):
        core.apply_inplace(fill_where, self, _trailing(key, self.ndim), to_dtype(value, self.dtype))
        return
    resolved = resolve(self, key)
    if not resolved.indices:
        core.copy_(resolved.view, value)
        return
    write(resolved, value, False)


def _as_value(self: Tensor, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, bool | int | float | complex):
        raise TypeError(
            f"can't assign a {type(value).__name__} to a {self.dtype!r} tensor: expected a number "
            "or a Tensor"
        )
    if isinstance(value, complex) and not self.is_complex():
        raise RuntimeError(
            f"value cannot be converted to type {self.dtype.name} without overflow: {value}"
        )
    return core.from_data(value, self.dtype)


def _fills(self: Tensor, key: Any, value: Tensor) -> bool:
    """Is it one mask over the leading dimensions, and one value?"""
    return (
        isinstance(key, Tensor)
        and key.dtype is BOOL
        and key.ndim > 0
        and value.numel() == 1
        and value.ndim == 0
        and key.shape == self.shape[: key.ndim]
    )


def _trailing(mask: Tensor, ndim: int) -> Tensor:
    """The mask with as many dimensions as the tensor it is for."""
    if mask.ndim == ndim:
        return mask
    return core.view(core.contiguous_plain(mask), (*mask.shape, *[1] * (ndim - mask.ndim)))


def write(resolved: Resolved, value: Tensor, accumulate: bool) -> None:
    """Write (or add) a value, which broadcasts, into the elements a key names; in place."""
    core.check_inplace(resolved.view, "index_put_")
    view, first = _together(resolved)
    value = _fit_value(view, resolved, value, first)
    if not core.needs_history(view, value):
        _write_plain(view, resolved, value, first, accumulate)
        return
    core.copy_(view, _written(view, resolved, value, first, accumulate))


def _fit_value(view: Tensor, resolved: Resolved, value: Tensor, first: int) -> Tensor:
    """The value expanded to the shape of what is written."""
    plain = len(resolved.dims) == 1 and not first and value.dtype is view.dtype
    if plain and value.shape == (*resolved.indices[0].shape, *view.shape[1:]):
        return value
    if value.dtype is not view.dtype:
        if value.ndim:
            raise RuntimeError(
                "Index put requires the source and destination dtypes match, got "
                f"{view.dtype.name} for the "
                f"destination and {value.dtype.name} for the source."
            )
        value = to_dtype(value, view.dtype)
    shape, width = view.shape, len(resolved.dims)
    wanted = (*shape[:first], *resolved.indices[0].shape, *shape[first + width :])
    while value.ndim > len(wanted) and value.shape[0] == 1:
        value = core.basic_index(value, 0)
    try:
        return core.expand(value, wanted)
    except RuntimeError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to "
            "indexing "
            f"result of shape {list(wanted)}"
        ) from None


def _write_plain(
    view: Tensor, resolved: Resolved, value: Tensor, first: int, accumulate: bool
) -> None:
    indices = resolved.indices
    if len(indices) == 1:
        mode = "add" if accumulate else "put"
        limits = bounds("index_put_", view, first, True)
        launch.put_rows(mode, view, first, indices[0], value, limits)
    else:
        write_block(view, indices, value, first, accumulate)


def _written(
    view: Tensor, resolved: Resolved, value: Tensor, first: int, accumulate: bool
) -> Tensor:
    """A copy of the view with the value written; gradients flow through both."""
    indices = resolved.indices
    if len(indices) > 1:
        return put_block(view, indices, value, first, accumulate)
    if accumulate:
        return view + spread_rows(value, view.shape, first, indices[0], True)
    return copy_rows(view, first, indices[0], value, True)


# ---- index_put -----------------------------------------------------------------------------------


def _put_key(name: str, indices: Any) -> tuple:
    if not isinstance(indices, tuple | list):
        raise TypeError(
            f"{name}(): argument 'indices' must be tuple of Tensors, not {type(indices).__name__}"
        )
    for i, index in enumerate(indices):
        if index is not None and not isinstance(index, Tensor):
            raise TypeError(
                f"{name}(): expected Tensor as element {i} of 'indices', but got "
                f"{type(index).__name__}"
            )
    return tuple([slice(None) if i is None else i for i in indices])


@function("index_put_", method=True)
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) values, which broadcast, at the elements that index tensors name together.

    >>> import flambeau as torch
    >>> torch.zeros(3).index_put_((torch.tensor([0, 0]),), torch.tensor(1.0), accumulate=True)
    tensor([2., 0., 0.])
    """
    key = _put_key("index_put_", indices)
    if not isinstance(values, Tensor):
        raise TypeError(
            f"index_put_(): argument 'values' must be Tensor, not {type(values).__name__}"
        )
    if values.dtype is not self.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype.name} "
            "for the "
            f"destination and {values.dtype.name} for the source."
        )
    if not accumulate:
        self[key] = values
        return self
    resolved = resolve(self, key)
    if resolved.indices:
        write(resolved, values, True)
    else:
        resolved.view.add_(values)
    return self


@function("index_put", method=True)
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of input with values written (or added) at the elements that index tensors name."""
    from .views import clone

    return index_put_(clone(input), indices, values, accumulate)


# ---- membership ----------------------------------------------------------------------------------


@function("__contains__", namespaces=())
def contains(self: Tensor, value: Any) -> bool:
    """Is any element equal to value?"""
    if not isinstance(value, Tensor | bool | int | float | complex):
        raise RuntimeError(
            "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{type(value)}."
        )
    return bool((self == value).any())
