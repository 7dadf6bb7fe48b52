"""What ops say to 8-bit floating tensors, which are stored and converted but not computed with."""

from __future__ import annotations

from collections.abc import Sequence

from .. import core
from ..kernels.dtypes import FLOAT8
from .promotion import Rank, result_type, title

# What PyTorch's messages name, where that is not the op's name and "_cpu".
_KERNELS = {
    "add": "add_stub",
    "sub": "add_stub",
    "rsub": "add_stub",
    "amax": "max_values_cpu",
    "amin": "min_values_cpu",
    "mean": "sum_cpu",
    "prod": "prod_out_cpu",
    "relu": "clamp_min_scalar_cpu",
    "pow": "pow",
    "square": "pow",
    "masked_fill": "masked_fill",
    "nan_to_num": "nan_to_num",
    "log_softmax": "log_softmax_lastdim_kernel_impl",
    "softmax": "softmax_lastdim_kernel_impl",
    "lerp": "lerp_kernel_scalar",
}
_VECTOR_MATH = ("exp", "log", "sin", "cos", "tan", "tanh", "sqrt", "round", "floor", "ceil")


def refuse(name: str, ranks: Sequence[Rank]) -> None:
    """Raise: the operands have no common type, or no op computes in it."""
    tensors = [(code, rank) for code, rank in ranks if rank != 2]
    if name in ("where", "masked_fill"):
        tensors = [(code, rank) for code, rank in tensors if code != 0]  # masks
    result_type(tensors)  # raises where types differ
    kernel = f"{name}_vml_cpu" if name in _VECTOR_MATH else _KERNELS.get(name, f"{name}_cpu")
    held = next(code for code, _ in tensors if code in FLOAT8)
    raise NotImplementedError(f"\"{kernel}\" not implemented for '{title(held)}'")


core.set_float8_refusal(refuse)
