"""The compiler's modules, imported when first used: a program that finds its kernels in the cache,
or
has not yet called an op, does not pay for loading the generators."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class _Module:
    """Stands for a module of this package until an attribute of it is wanted."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(f"{__package__}.{self._name}"), attribute)
        if attribute not in _CHANGING:
            self.__dict__[attribute] = value
        return value


_CHANGING = frozenset(("compiled",))  # module variables that are counters

attention = _Module("attention")
axis_maps = _Module("axis_maps")
bags = _Module("bags")
bidiagonal = _Module("bidiagonal")
bisection = _Module("bisection")
bunch_kaufman = _Module("bunch_kaufman")
cache = _Module("cache")
cdialect = _Module("cdialect")
compress = _Module("compress")
conv = _Module("conv")
conv_shape = _Module("conv_shape")
conv_weight_plan = _Module("conv_weight_plan")
count = _Module("count")
ctc = _Module("ctc")
derive = _Module("derive")
distances = _Module("distances")
factor_rows = _Module("factor_rows")
fourier = _Module("fourier")
gather = _Module("gather")
gemm = _Module("gemm")
lane_factors = _Module("lane_factors")
lane_orthogonal = _Module("lane_orthogonal")
lane_svd = _Module("lane_svd")
golub_kahan = _Module("golub_kahan")
loops = _Module("loops")
margin_lists = _Module("margin_lists")
mathlib = _Module("mathlib")
mix = _Module("mix")
pooling = _Module("pooling")
ql = _Module("ql")
recurrent = _Module("recurrent")
reflect = _Module("reflect")
runs = _Module("runs")
sample = _Module("sample")
scan = _Module("scan")
scatter = _Module("scatter")
search = _Module("search")
sort = _Module("sort")
sort_long = _Module("sort_long")
special = _Module("special")
strided_copy = _Module("strided_copy")
target = _Module("target")
triangular = _Module("triangular")
triangular_vector = _Module("triangular_vector")
tridiagonal = _Module("tridiagonal")
