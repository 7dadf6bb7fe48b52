"""The workloads by group: ordinary PyTorch code, run with either framework.

`GROUPS` gives the bound on each group's geometric mean of the ratios to PyTorch's time.
"""

from . import (
    convolution,
    data,
    elementwise,
    indexing,
    linalg,
    matmul,
    models,
    modules,
    overhead,
    reductions,
    rows,
    spectral,
    start,
)
from .common import Workload

GROUPS = {
    "overhead": 0.15,
    "data": 0.3,
    "elementwise": 0.4,
    "reductions": 0.7,
    "rows": 0.5,
    "indexing": 0.6,
    "matmul": 0.95,
    "linalg": 0.6,
    "convolution": 0.6,
    "modules": 0.6,
    "models": 0.6,
    "spectral": 0.6,
    "start": 1.0,
}
SUITE_TARGET = 0.4

WORKLOADS: tuple[Workload, ...] = (
    *overhead.WORKLOADS,
    *data.WORKLOADS,
    *elementwise.WORKLOADS,
    *reductions.WORKLOADS,
    *rows.WORKLOADS,
    *indexing.WORKLOADS,
    *matmul.WORKLOADS,
    *linalg.WORKLOADS,
    *convolution.WORKLOADS,
    *modules.WORKLOADS,
    *models.WORKLOADS,
    *spectral.WORKLOADS,
    *start.WORKLOADS,
)
