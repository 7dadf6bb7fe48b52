"""Random numbers written into existing tensors: `uniform_`, `normal_` and their kin.

Elements are drawn in the order in which they lie in memory, so a transposed tensor holds the same
numbers,
seed for seed, as the tensor it is a view of.
"""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Generator, Tensor
from .factory import DTYPES
from .record import function

_EXACT_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # of the mantissa
_FLOATS = frozenset(_EXACT_BITS)
_REAL = frozenset(d.name for d in core.dtypes if not d.is_complex)
_FLOATS_AND_COMPLEX = _FLOATS | {"complex64", "complex128"}
_INTEGER_RANGE = {
    d.name: (-(1 << (8 * d.itemsize - 1)), (1 << (8 * d.itemsize - 1)) - 1)
    if d.is_signed
    else (0, (1 << (8 * d.itemsize)) - 1)
    for d in core.dtypes
    if not d.is_floating_point and not d.is_complex
} | {"bool": (0, 1)}
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


def pick_generator(name: str, generator: Any) -> Generator:
    """The generator given, or the default one."""
    if generator is None:
        return core.default_generator
    if not isinstance(generator, Generator):
        raise TypeError(
            f"{name}(): argument 'generator' must be Generator, not {type(generator).__name__}"
        )
    return generator


def check_accepts(name: str, input: Tensor, accepted: frozenset) -> None:
    """Raise unless the distribution has values of this dtype."""
    if input.dtype.name not in accepted:
        wanted = "a floating-point" if accepted <= _FLOATS_AND_COMPLEX else "a real, non-bool"
        raise NotImplementedError(
            f'"{name}" not implemented for {input.dtype}: expected {wanted} dtype'
        )


def check_continuous(name: str, input: Tensor) -> None:
    """Raise unless the dtype is a real floating-point type."""
    if input.dtype.name not in _FLOATS:
        raise RuntimeError(
            f"{name}: {name.strip('_').capitalize()} distribution is a continuous probability "
            "distribution. "
            f"dtype must be a floating point but you specified {input.dtype}"
        )


def draw_into(made: Tensor, kind: str, params: tuple, generator: Generator) -> Tensor:
    """Fill a tensor in memory order; returns it. The dtype must be one the kind knows."""
    if not made.numel():
        return made
    if made.is_contiguous():
        core.random_fill(kind, generator, made, params)
        return made
    if kind == "normal":  # the block rule is for row-major tensors only
        params = (*params[:2], False)
    if _fills_its_memory(made):
        core.random_fill(kind, generator, made, params)
        return made
    held = core.empty_strided(made.shape, _packed_strides(made), made.dtype)
    core.random_fill(kind, generator, held, params)
    core.copy_plain(made, held)
    return made


def _packed_strides(made: Tensor) -> list[int]:
    """Strides without gaps in the same order of dimensions."""
    shape, stride = made.shape, made.stride()
    packed, step = [0] * len(shape), 1
    for d in sorted(range(len(shape)), key=lambda d: (stride[d], -d)):
        packed[d] = step
        step *= shape[d]
    return packed


def _fills_its_memory(made: Tensor) -> bool:
    packed = _packed_strides(made)
    return all(n == 1 or a == b for n, a, b in zip(made.shape, made.stride(), packed, strict=True))


def write_random(self: Tensor, name: str, kind: str, params: tuple, generator: Any) -> Tensor:
    """The in-place op: checks, draws, counts the write; the gradient of the old values is zero."""
    generator = pick_generator(name, generator)
    core.check_inplace(self, name)
    if core.needs_history(self):
        held = core.empty_strided(self.shape, _packed_strides(self), self.dtype)
        return core.copy_(self, draw_into(held, kind, params, generator))
    draw_into(self, kind, params, generator)
    core.bump_version(self)
    return self


def _bounds(name: str, given: tuple, named: dict, low: Any, high: Any) -> tuple:
    """The arguments `from` (a keyword of Python's) and `to`."""
    if len(given) > 2:
        raise TypeError(
            f"{name}(): takes at most 2 positional arguments (from, to), got {len(given)}"
        )
    values = dict(zip(("from", "to"), given, strict=False))
    for key, value in named.items():
        if key not in ("from", "to") or key in values:
            raise TypeError(
                f"{name}() got an unexpected argument '{key}'; it takes from, to and generator"
            )
        values[key] = value
    return values.get("from", low), values.get("to", high)


@function("uniform_", method=True, namespaces=(), shortcut=True)
def uniform_(
    self: Tensor, *bounds: float, generator: Generator | None = None, **named: float
) -> Tensor:
    """Fill with numbers from the uniform distribution on [from, to); by default [0, 1).

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.empty(3).uniform_(0, 10)
    tensor([4.9626, 7.6822, 0.8848])
    """
    low, high = _bounds("uniform_", bounds, named, 0.0, 1.0)
    check_accepts("uniform_", self, _FLOATS_AND_COMPLEX)
    check_uniform_bounds(self, low, high)
    return write_random(self, "uniform_", "uniform", (low, high), generator)


def check_uniform_bounds(self: Tensor, low: float, high: float) -> None:
    """Raise unless low <= high and both, and their difference, are finite in the dtype."""
    largest = _LARGEST[self.dtype.to_real().name]
    for which, value in (("from", low), ("to", high)):
        if not -largest <= value <= largest:
            raise RuntimeError(f"uniform_: {which}={value} is out of bounds for {self.dtype}")
    if not low <= high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}"
        )
    if high - low > largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= {largest}, the largest {self.dtype}, but found "
            f"to={high} and from={low}"
        )


_LARGEST = {
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep127"),
    "float32": float.fromhex("0x1.fffffep127"),
    "float64": float.fromhex("0x1.fffffffffffffp1023"),
}


@function("normal_", method=True, namespaces=(), shortcut=True)
def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers from the normal distribution with the given mean and standard deviation.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.empty(2).normal_()
    tensor([ 1.5410, -0.2934])
    """
    check_accepts("normal_", self, _FLOATS_AND_COMPLEX)
    check_std(std)
    return write_random(self, "normal_", "normal", (mean, std, True), generator)


def check_std(std: float) -> None:
    """Raise unless std is a number that is not negative."""
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


@function("exponential_", method=True, namespaces=())
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the exponential distribution, density lambd * exp(-lambd * x)."""
    check_continuous("exponential_", self)
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return write_random(self, "exponential_", "exponential", (lambd,), generator)


@function("geometric_", method=True, namespaces=())
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, each of probability p."""
    check_accepts("geometric_", self, _REAL - {"bool"})
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return write_random(self, "geometric_", "geometric", (p,), generator)


@function("cauchy_", method=True, namespaces=())
def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers from the Cauchy distribution, density sigma / (pi (sigma^2 + (x -
    median)^2)).
    """
    check_continuous("cauchy_", self)
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return write_random(self, "cauchy_", "cauchy", (median, sigma), generator)


@function("log_normal_", method=True, namespaces=())
def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with exp(x) for x from the normal distribution with the given mean and standard
    deviation.
    """
    check_accepts("log_normal_", self, _FLOATS)
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return write_random(self, "log_normal_", "log_normal", (mean, std), generator)


@function("random_", method=True, namespaces=())
def random_(
    self: Tensor, *bounds: int | None, generator: Generator | None = None, **named: int | None
) -> Tensor:
    """Fill with integers from [from, to); one bound is `to`; none is the whole non-negative range
    of the dtype.

    For a floating-point dtype the range ends where integers stop being exact.
    """
    check_accepts("random_", self, _REAL)
    if len(bounds) == 1 and not named:
        bounds = (0, *bounds)
    if not bounds and not named:
        return write_random(self, "random_", "random", (), generator)
    low, high = _bounds("random_", bounds, named, 0, None)
    if high is None:
        _check_integer_bound(self.dtype.name, "from", low)
        return write_random(self, "random_", "random_from", (low,), generator)
    check_integer_bounds(self.dtype.name, low, high)
    return write_random(self, "random_", "randint", (low, high), generator)


def check_integer_bounds(dtype: str, low: int, high: int) -> None:
    """Raise unless low < high and both ends of [low, high) exist in the dtype."""
    if not low < high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    _check_integer_bound(dtype, "from", low)
    _check_integer_bound(dtype, "to - 1", high - 1)


def _check_integer_bound(dtype: str, which: str, value: int) -> None:
    low, high = _INTEGER_RANGE.get(dtype, (_INT64_MIN, _INT64_MAX))
    if dtype in _FLOATS:
        low, high = max(low, -int(_LARGEST[dtype])), min(high, int(_LARGEST[dtype]))
    if not low <= value <= high:
        raise RuntimeError(
            f"random_: {which} is out of bounds for {DTYPES[dtype]}: {value}, expected "
            f"{low}..{high}"
        )


@function("bernoulli_", method=True, namespaces=())
def bernoulli_(
    self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None
) -> Tensor:
    """Fill with ones, each with probability p (a number, or a tensor of them), and zeros."""
    check_accepts("bernoulli_", self, _REAL)
    if not isinstance(p, Tensor):
        check_probability("bernoulli_", p)
        return write_random(self, "bernoulli_", "bernoulli", (p,), generator)
    check_probabilities("bernoulli_", p)
    core.check_inplace(self, "bernoulli_")
    held = core.empty_strided(self.shape, _packed_strides(self), self.dtype)
    drawn = draw_bernoulli(held, p, pick_generator("bernoulli_", generator))
    return core.copy_(self, drawn)


def draw_bernoulli(made: Tensor, p: Tensor, generator: Generator) -> Tensor:
    """Fill a tensor without gaps with ones and zeros, one probability per element; returns it."""
    kept = core.empty_strided(made.shape, made.stride(), p.dtype)
    core.copy_plain(kept, p)
    return draw_into(made, "bernoulli_tensor", (kept, p.dtype.code), generator)


def check_probability(name: str, p: float) -> None:
    """Raise unless p is in [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"{name} expects p to be in [0, 1], but got p={p}")


def check_probabilities(name: str, p: Tensor) -> None:
    """Raise unless p holds floating-point numbers in [0, 1]."""
    check_accepts(name, p, _FLOATS)
    if p.numel() and not bool(((p >= 0) & (p <= 1)).all()):
        raise RuntimeError(
            f"{name} expects all probabilities to be in [0, 1] (p_in >= 0 && p_in <= 1)"
        )
