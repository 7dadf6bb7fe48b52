"""What the linear algebra ops share: NumPy's LAPACK over tensors, checks of matrices, errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import core
from ..core import Tensor
from .array import from_array, to_numpy
from .named_results import named_result
from .record import alias, composite

_NAMES = {"float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double"}
INT32, INT64 = core.dtypes[4], core.dtypes[5]
_COMPUTED = frozenset(
    d for d in core.dtypes if d.name in ("float32", "float64", "complex64", "complex128")
)


class LinAlgError(RuntimeError):
    """A decomposition or solver could not finish: a singular matrix, no convergence."""

    __module__ = "flambeau.linalg"


# ---- to NumPy and back
# -------------------------------------------------------------------------------


def array(t: Tensor) -> Any:
    """The elements as a NumPy array over the tensor's memory."""
    return to_numpy(t, force=True)


def tensor(values: Any, like: Any = None) -> Tensor:
    """A tensor over a NumPy result, in C order; `like`: an array whose element type it takes."""
    import numpy

    values = numpy.asarray(values)
    wanted = values.dtype if like is None else like.dtype
    values = numpy.asarray(values, dtype=wanted, order="C")
    return from_array(values if values.flags.writeable else values.copy())


def quiet() -> Any:
    """A block in which NumPy gives inf and NaN without warnings, as every other op does."""
    import numpy

    return numpy.errstate(all="ignore")


def per_matrix(run: Callable, fallback: Callable, *arrays: Any) -> Any:
    """`run` on the whole batch; if LAPACK refuses one matrix, `fallback` on each matrix by
    itself.
    """
    import numpy

    try:
        return run(*arrays)
    except numpy.linalg.LinAlgError:
        return fallback(*arrays)


def run_lapack(name: str, general: Callable, a: Any) -> Any:
    """A decomposition in the precision of the array, or LinAlgError.

    `general` is NumPy's function, which computes float32 in float64; the loop `name` under it has
    LAPACK's routine for either type, and no wrapper.
    """
    import numpy

    loop = getattr(getattr(numpy.linalg, "_umath_linalg", None), name, None)
    if loop is None or not a.size:
        return general(a)
    with numpy.errstate(all="ignore", invalid="raise"):  # how a loop says that LAPACK gave up
        try:
            return loop(a)
        except FloatingPointError:
            raise numpy.linalg.LinAlgError(name) from None


# ---- checks
# ------------------------------------------------------------------------------------------


def check_matrix(name: str, a: Tensor, what: str = "A") -> None:
    """Raise unless the tensor has at least two dimensions."""
    if not isinstance(a, Tensor):
        raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {type(a).__name__}")
    if a.dim() < 2:
        raise RuntimeError(
            f"{name}: The input tensor {what} must have at least 2 dimensions, got shape "
            f"{tuple(a.shape)}"
        )


def check_square(name: str, a: Tensor, what: str = "A") -> None:
    """Raise unless the last two dimensions are equal."""
    check_matrix(name, a, what)
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"{name}: {what} must be batches of square matrices, but they are {a.shape[-2]} by "
            f"{a.shape[-1]} matrices"
        )


def check_float(name: str, a: Tensor, low_precision: bool = False) -> None:
    """Raise unless the elements are float32, float64, complex64 or complex128."""
    dtype = a.dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {dtype.name}: "
            "convert with .float()"
        )
    if not low_precision and dtype.name in ("float16", "bfloat16"):
        raise RuntimeError(
            f"{name}: Low precision dtypes not supported. Got {_NAMES[dtype.name]}: convert with "
            ".float()"
        )


def check_same_dtype(name: str, a: Tensor, b: Tensor) -> None:
    """Raise unless both have one element type."""
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {a.dtype.name} "
            "and B of type "
            f"{b.dtype.name} instead"
        )


def prepare(name: str, a: Tensor, square: bool = False) -> None:
    """The checks of most decompositions."""
    if isinstance(a, Tensor) and a.dtype in _COMPUTED:
        shape = a.shape
        if len(shape) >= 2 and (not square or shape[-1] == shape[-2]):
            return
    (check_square if square else check_matrix)(name, a)
    check_float(name, a)


def check_finite(name: str, values: Any) -> None:
    """Raise LinAlgError if an array holds NaN or infinity."""
    import numpy

    if not numpy.isfinite(values).all():
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix contained "
            "non-finite values."
        )


def broadcast_batches(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with a common batch shape."""
    if a.shape[:-2] == b.shape[:-2]:
        return a, b
    from .views import broadcast_shapes

    try:
        batch = tuple(broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2])))
    except RuntimeError:
        raise RuntimeError(
            f"{name}: The batch dimensions of A {tuple(a.shape)} and B {tuple(b.shape)} must be "
            "broadcastable"
        ) from None
    return a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])


def check_sides(name: str, a: Tensor, b: Tensor, left: bool) -> None:
    """Raise unless the sizes fit the equation A X = B, or X A = B."""
    if a.shape[-1] != (b.shape[-2] if left else b.shape[-1]):
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )


def check_info(name: str, a: Tensor, info: Tensor, text: str) -> None:
    """Raise LinAlgError for the first matrix whose `info` is not 0; `text` has a place for that."""
    if not any_set(info):
        return
    found = info.reshape(-1).tolist()
    i = next(i for i, value in enumerate(found) if value)
    raise LinAlgError(f"{name}: {batch_element(i, a)}{text.format(found[i])}")


def any_set(info: Tensor) -> bool:
    """Whether any number of a tensor differs from 0."""
    if info.numel() <= 1:
        return info.numel() == 1 and info.item() != 0
    return bool((info != 0).any())


def batch_element(index: int, a: Tensor) -> str:
    """`(Batch element 3): ` for a batch, nothing for one matrix."""
    return f"(Batch element {index}): " if a.dim() > 2 else ""


# ---- results
# -----------------------------------------------------------------------------------------


def named(name: str, fields: Sequence[str], *values: Any) -> Any:
    """The named tuple an op returns."""
    return named_result(name, fields, *values)


def real_dtype(dtype: core.dtype) -> core.dtype:
    """The type of the parts of a complex type; a real type is its own."""
    return dtype.to_real() if dtype.is_complex else dtype


def machine_epsilon(dtype: core.dtype) -> float:
    """Distance from 1 to the next number of the type (of its parts)."""
    return {
        "float16": 2.0**-10,
        "bfloat16": 2.0**-7,
        "float32": 2.0**-23,
        "complex64": 2.0**-23,
    }.get(dtype.name, 2.0**-52)


def as_real_if(real: bool, value: Tensor) -> Tensor:
    """The real part where the operand is real (a complex cotangent of a real operand)."""
    return value.real.contiguous() if real and value.is_complex() else value


def linalg(public: str, *, out: bool = True, also: Sequence[str] = ()) -> Callable:
    """Register a composite as `linalg.<public>` (the op itself is named `linalg_<public>`)."""

    def make(function: Callable) -> Any:
        op = composite(name=f"linalg_{public}", namespaces=(), method=False, out=out)(function)
        for name in (public, *also):
            alias(name, op, namespaces=("linalg",))
        return op

    return make
