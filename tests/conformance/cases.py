"""The entries of PyTorch's op table: which columns each has, its samples and tolerances."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.testing._internal.common_device_type import toleranceOverride
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import DecorateInfo, ErrorInput, OpInfo, SampleInput

from .columns import GRADIENT_DTYPES, VALUE_DTYPES
from .compare import Tolerance

# Samples looked at before choosing; a few entries have thousands.
SAMPLE_POOL = 64
# Tests in PyTorch whose tolerances are about values and gradients on the CPU.
TOLERANCE_TESTS = (None, "TestCommon", "TestUnaryUfuncs", "TestBinaryUfuncs", "TestReductions")
GRADIENT_TESTS = ("TestGradients", "TestBwdGradients", "TestGradgrad")


@functools.cache
def entries() -> dict[str, OpInfo]:
    """Return the table by full name, `name.variant`; all names differ."""
    return {entry.full_name: entry for entry in op_db}


def has_column(entry: OpInfo, column: str) -> bool:
    """Tell whether a column applies to an entry on the CPU."""
    dtypes = entry.supported_dtypes("cpu")
    if not dtypes or any(getattr(x, "__name__", "") == "onlyCUDA" for x in entry.decorators):
        return False
    if column in VALUE_DTYPES:
        return getattr(torch, column) in dtypes
    if column in GRADIENT_DTYPES:
        dtype = getattr(torch, GRADIENT_DTYPES[column])
        differentiable = entry.supports_autograd and dtype in entry.supported_backward_dtypes("cpu")
        return differentiable and (column != "gradgrad" or entry.supports_gradgrad)
    if column == "errors":
        return entry.error_inputs_func is not None
    if column == "inplace":
        return entry.get_inplace() is not None
    return entry.supports_out


def value_dtypes(entry: OpInfo) -> list[torch.dtype]:
    """Return the dtypes of the value columns that an entry supports."""
    return [getattr(torch, name) for name in VALUE_DTYPES if has_column(entry, name)]


def samples(
    entry: OpInfo, dtype: torch.dtype, limit: int, requires_grad: bool = False
) -> Iterator[tuple[int, SampleInput]]:
    """Yield numbered samples; with a limit, ones spread evenly over the first 64."""
    made = iter(entry.sample_inputs("cpu", dtype, requires_grad=requires_grad))
    if not limit:
        yield from enumerate(made)
    else:
        yield from spread(list(enumerate(itertools.islice(made, SAMPLE_POOL))), limit)


def spread(pool: list[Any], limit: int) -> list[Any]:
    """Choose at most `limit` items at even distances, the first and the last among them."""
    if len(pool) <= limit:
        return pool
    if limit == 1:
        return pool[:1]
    return [pool[round(i * (len(pool) - 1) / (limit - 1))] for i in range(limit)]


def error_inputs(entry: OpInfo) -> list[ErrorInput]:
    """Return the samples that must raise."""
    return list(entry.error_inputs("cpu"))


def tolerance(entry: OpInfo, dtype: torch.dtype, gradient: bool = False) -> Tolerance:
    """Return the widest tolerance the table gives for a dtype on the CPU."""
    tests = TOLERANCE_TESTS + (GRADIENT_TESTS if gradient else ())
    found = [override[dtype] for override in _overrides(entry, dtype, tests) if dtype in override]
    return Tolerance(
        atol=max((item.atol for item in found), default=None),
        rtol=max((item.rtol for item in found), default=None),
    )


def _overrides(
    entry: OpInfo, dtype: torch.dtype, tests: tuple[str | None, ...]
) -> Iterator[dict[torch.dtype, Any]]:
    for decorator in entry.decorators:
        if isinstance(decorator, toleranceOverride):
            yield decorator.d
        elif (
            isinstance(decorator, DecorateInfo)
            and decorator.device_type in (None, "cpu")
            and decorator.cls_name in tests
            and (decorator.dtypes is None or dtype in decorator.dtypes)
        ):
            inner = decorator.decorators
            yield from (item.d for item in inner if isinstance(item, toleranceOverride))
