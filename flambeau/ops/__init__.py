"""The ops floor: every op of the library, one record each, in a file per family."""

from __future__ import annotations

from . import (
    activation,
    arithmetic,
    batch_norm,
    clamping,
    compare,
    complex_views,
    conv,
    convert,
    creation,
    distance,
    einsum,
    elementary,
    extremes,
    fft,
    filled,
    float8,
    fused,
    gather,
    grid_sample,
    histogram,
    incomplete_gamma,
    index,
    join,
    linalg,
    linalg_decompose,
    linalg_eigen,
    linalg_exp,
    linalg_ldl,
    linalg_lowrank,
    linalg_lstsq,
    linalg_lu,
    linalg_norm,
    linalg_solve,
    masked,
    matmul,
    moments,
    norms,
    padding,
    parts,
    pooling,
    powers,
    products,
    quantile,
    random,
    rearrange,
    reduce,
    resample,
    rows,
    runs,
    scan,
    scatter,
    scatter_reduce,
    search,
    services,
    sort,
    sparse_methods,
    special,
    splitting,
    statistics,
    stft,
    unique,
    unpooling,
    view_copies,
    views,
)
from .record import METHODS, NAMESPACES, REGISTRY, composite, primitive
from .record import pointwise as pointwise_op

services.connect()

_public = {**NAMESPACES["nn.functional"], **NAMESPACES[""]}


def __getattr__(name: str):
    """Every registered op is an attribute of this package."""
    try:
        return _public[name]
    except KeyError:
        raise AttributeError(f"module 'flambeau.ops' has no op {name!r}") from None


__all__ = ["METHODS", "NAMESPACES", "REGISTRY", "composite", "pointwise_op", "primitive"]
