"""Finding places in sorted sequences."""

from __future__ import annotations

from .. import core
from .record import composite
from .unique import from_numpy, to_numpy

_INT64 = core.dtypes[5]


@composite(out=True, method=False)
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each element of input would be put to keep sorted_sequence's last dimension sorted."""
    import numpy

    from .creation import scalar_tensor

    if side is not None and side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    side = "right" if right or side == "right" else "left"
    number = not hasattr(input, "dtype")
    if number:
        input = scalar_tensor(input, dtype=sorted_sequence.dtype)
    if input.dtype != sorted_sequence.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same "
            f"dtype, but got boundary tensor has dtype {sorted_sequence.dtype}, input value has "
            f"dtype {input.dtype}"
        )
    if sorter is not None and sorter.shape != sorted_sequence.shape:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
            f"tensor {list(sorted_sequence.shape)}and got sorter tensor {list(sorter.shape)}"
        )
    edges, values = to_numpy(sorted_sequence), to_numpy(input)
    if sorter is not None:
        edges = numpy.take_along_axis(edges, to_numpy(sorter), -1)
    if edges.ndim == 1:
        found = numpy.searchsorted(edges, values, side)
    else:
        if edges.ndim != values.ndim or edges.shape[:-1] != values.shape[:-1]:
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                "dimensions of boundaries tensor and input value tensor must match, but got "
                f"boundaries tensor {list(edges.shape)} and input value tensor "
                f"{list(values.shape)}"
            )
        rows, wanted = edges.reshape(-1, edges.shape[-1]), values.reshape(-1, values.shape[-1])
        found = (
            numpy.stack([numpy.searchsorted(r, v, side) for r, v in zip(rows, wanted, strict=True)])
            if len(rows)
            else wanted
        )
        found = found.reshape(values.shape)
    return from_numpy(numpy.asarray(found), core.dtypes[4] if out_int32 else _INT64)


@composite(out=True, method=False)
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The bucket, between sorted boundaries, of each element."""
    if boundaries.dim() != 1:
        raise RuntimeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})"
        )
    if hasattr(input, "dtype") and input.dtype != boundaries.dtype:
        wide = _common(input, boundaries)
        input, boundaries = input.to(wide), boundaries.to(wide)
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def _common(a, b):
    from .type_info import promote_types

    return promote_types(a.dtype, b.dtype)
