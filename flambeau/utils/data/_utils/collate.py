"""From a list of samples to a batch."""

from __future__ import annotations

import collections.abc
import copy
import sys
from collections.abc import Callable, Sequence
from typing import Any

import flambeau

_UNKNOWN = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)
_UNEQUAL = "each element in list of batch should be of equal size"


def default_convert(data: Any) -> Any:
    """Turn NumPy arrays into tensors, inside mappings and sequences too; leave the rest as it is.

    This is the collate function of a `DataLoader` that does not batch.

    >>> from flambeau.utils.data import default_convert
    >>> default_convert({"name": "a"})
    {'name': 'a'}
    """
    if isinstance(data, flambeau.Tensor):
        return data
    if _is_numpy(data):
        # Arrays of strings, bytes or objects have no tensor form.
        return data if data.dtype.kind in "SUO" else flambeau.as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _rebuild_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(part) for part in data))
    if isinstance(data, tuple):
        return [default_convert(part) for part in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [default_convert(part) for part in data])
    return data


def default_collate(batch: Sequence) -> Any:
    """Stack a list of samples into one batch with a new first dimension.

    Tensors (and NumPy arrays) of shape S become one of shape (batch, *S); ints become int64 and
    floats float64 tensors; strings stay lists; mappings, named tuples and sequences are collated
    part by part. Raises TypeError for other types and RuntimeError when sequences differ in length.

    >>> from flambeau.utils.data import default_collate
    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Sequence, *, collate_fn_map: dict[Any, Callable] | None = None) -> Any:
    """`default_collate` with a table of your own.

    Each value of `collate_fn_map` is `fn(batch, *, collate_fn_map)`; its key is a type, or a tuple
    of types, matched exactly first and then by `isinstance`.
    """
    sample = batch[0]
    if collate_fn_map is not None:
        function = _find_collate_fn(sample, collate_fn_map)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(sample, collections.abc.Mapping):
        parts = {
            key: collate([other[key] for other in batch], collate_fn_map=collate_fn_map)
            for key in sample
        }
        return _rebuild_mapping(sample, parts)
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        columns = zip(*batch, strict=True)
        return type(sample)(*(collate(part, collate_fn_map=collate_fn_map) for part in columns))
    if isinstance(sample, collections.abc.Sequence):
        return _collate_sequences(sample, batch, collate_fn_map)
    raise TypeError(_UNKNOWN.format(type(sample)))


def _collate_sequences(sample, batch: Sequence, collate_fn_map) -> Any:
    size = len(sample)
    if any(len(other) != size for other in batch):
        raise RuntimeError(_UNEQUAL)
    parts = [collate(part, collate_fn_map=collate_fn_map) for part in zip(*batch, strict=True)]
    return parts if isinstance(sample, tuple) else _rebuild_sequence(sample, parts)


def _find_collate_fn(sample, collate_fn_map: dict) -> Callable | None:
    function = collate_fn_map.get(type(sample))
    if function is not None:
        return function
    if collate_fn_map is default_collate_fn_map and _register_numpy():
        return _find_collate_fn(sample, collate_fn_map)
    for kind, function in collate_fn_map.items():
        if isinstance(sample, kind):
            return function
    return None


def _rebuild_mapping(original: collections.abc.Mapping, parts: dict) -> Any:
    """`parts` in a container like `original` where it can be built, else the plain dict."""
    try:
        if isinstance(original, collections.abc.MutableMapping):
            clone = copy.copy(original)  # keeps what a subclass holds besides its items
            clone.update(parts)
            return clone
        return type(original)(parts)  # type: ignore[call-arg]
    except TypeError:
        return parts


def _rebuild_sequence(original: collections.abc.Sequence, parts: list) -> Any:
    """`parts` in a container like `original` where it can be built, else the plain list."""
    try:
        if isinstance(original, collections.abc.MutableSequence):
            clone = copy.copy(original)
            for i, part in enumerate(parts):
                clone[i] = part
            return clone
        return parts if isinstance(original, range) else type(original)(parts)  # type: ignore
    except TypeError:
        return parts


def _is_numpy(data) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(data, (numpy.ndarray, numpy.generic))


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """Stack tensors of one shape."""
    return flambeau.stack(tuple(batch), 0)


def collate_numpy_array_fn(batch, *, collate_fn_map=None):
    """Stack NumPy arrays of one shape; TypeError for strings, bytes and objects."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_UNKNOWN.format(batch[0].dtype))
    return flambeau.stack([flambeau.as_tensor(array) for array in batch], 0)


def collate_numpy_scalar_fn(batch, *, collate_fn_map=None):
    """NumPy scalars to a 1-d tensor of their dtype."""
    return flambeau.as_tensor(sys.modules["numpy"].array(batch))


def collate_float_fn(batch, *, collate_fn_map=None):
    """Python floats to a 1-d float64 tensor."""
    return flambeau.tensor(batch, dtype=flambeau.float64)


def collate_int_fn(batch, *, collate_fn_map=None):
    """Python ints to a 1-d int64 tensor (bools to a bool tensor)."""
    return flambeau.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map=None):
    """Strings and bytes stay as they are."""
    return batch


default_collate_fn_map: dict[Any, Callable] = {
    flambeau.Tensor: collate_tensor_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def _register_numpy() -> bool:
    """Add NumPy's types to the default table once NumPy is in use; True when it just did."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "ndarray") or numpy.ndarray in default_collate_fn_map:
        return False
    default_collate_fn_map[numpy.ndarray] = collate_numpy_array_fn
    for kind in (numpy.bool_, numpy.number, numpy.object_):
        default_collate_fn_map[kind] = collate_numpy_scalar_fn
    return True
