"""Finding places in sorted sequences."""

from __future__ import annotations

from .. import core
from ..core import Tensor
from ..kernels.lazy import search as searches
from ..kernels.lazy import target as targets
from ..kernels.plan import Phase, Plan
from .convert import fill_plain
from .plans import planned
from .record import composite

_INT64 = core.dtypes[5]


@composite(out=True, method=False)
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each element of input would be put to keep sorted_sequence's last dimension sorted."""
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
    edges, values = sorted_sequence.detach(), input.detach()
    if sorter is not None:
        edges = edges.gather(-1, sorter)
    if edges.ndim > 1 and (edges.ndim != values.ndim or edges.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but got "
            f"boundaries tensor {list(edges.shape)} and input value tensor {list(values.shape)}"
        )
    return _find(edges, values, side == "right", out_int32)


def _find(edges: Tensor, values: Tensor, right: bool, narrow: bool) -> Tensor:
    """Where the values belong among the edges of their line."""
    found = core.empty(values.shape, core.dtypes[4] if narrow else _INT64)
    size, n = edges.shape[-1] if edges.ndim else 1, found.numel()
    if not n:
        return found
    if not size:
        return fill_plain(found, 0)
    shared = edges.ndim < 2
    count = n if shared else values.shape[-1]
    name = edges.dtype.short
    key = ("search", name, right, narrow, size, n, count, shared)

    def make(threads):
        desc = searches.SEARCH_FIELDS.pack(
            size=size, count=count, edges_line=0 if shared else size, turns=(size - 1).bit_length()
        )
        kernel = searches.search_source(name, right, narrow, targets.host())
        return Plan((Phase(kernel, desc, n, 2048),), 0)

    edges, values = core.contiguous_plain(edges), core.contiguous_plain(values)
    planned(key, make).run(found, edges, values)
    return found


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
