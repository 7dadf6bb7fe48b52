"""Random tensors: the streams of core/random.pxi behind PyTorch's functions."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Generator, Tensor
from . import random_dropout, random_fill  # noqa: F401  registers the in-place fills and the dropout family
from .factory import (
    DTYPES,
    check_options,
    default_float,
    finish,
    new_like,
    read_dtype,
    read_size,
    take_out,
)
from .random_fill import (
    _FLOATS,
    _FLOATS_AND_COMPLEX,
    check_accepts,
    check_integer_bounds,
    check_probabilities,
    check_probability,
    check_std,
    draw_bernoulli,
    draw_into,
    pick_generator,
)
from .record import REGISTRY, function, primitive

_LONG = DTYPES["int64"]


# ---- uniform and normal ------------------------------------------------------------------------------


@function("rand")
def rand(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Numbers from the uniform distribution on [0, 1).

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    made = _make("rand", size, named, out, dtype, layout, device)
    check_accepts("rand", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "uniform", (0.0, 1.0), pick_generator("rand", generator))
    return finish(made, requires_grad)


@function("randn")
def randn(
    *size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Numbers from the normal distribution with mean 0 and variance 1.

    A complex result has real and imaginary parts of variance 1/2 each.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randn(2)
    tensor([ 1.5410, -0.2934])
    """
    made = _make("randn", size, named, out, dtype, layout, device)
    check_accepts("randn", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "normal", (0.0, 1.0, True), pick_generator("randn", generator))
    return finish(made, requires_grad)


def _make(name: str, size: tuple, named: dict, out, dtype, layout, device) -> Tensor:
    """The uninitialised result of a function that takes `*size` and the usual options."""
    if layout is not None or device is not None:
        check_options(name, layout, device)
    size = read_size(name, size, named)
    if out is not None:
        return take_out(name, out, size, dtype)
    return core.empty(size, default_float() if dtype is None else read_dtype(dtype))


@function("rand_like")
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the uniform distribution on [0, 1), in a tensor of input's shape."""
    check_options("rand_like", layout, device)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    check_accepts("rand_like", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "uniform", (0.0, 1.0), pick_generator("rand_like", generator))
    return finish(made, requires_grad)


@function("randn_like")
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Numbers from the normal distribution with mean 0 and variance 1, in a tensor of input's shape."""
    check_options("randn_like", layout, device)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    check_accepts("randn_like", made, _FLOATS_AND_COMPLEX)
    draw_into(made, "normal", (0.0, 1.0, True), pick_generator("randn_like", generator))
    return finish(made, requires_grad)


# ---- integers ----------------------------------------------------------------------------------------


@function("randint")
def randint(
    *bounds_and_size: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Integers from [low, high): `randint(high, size)` or `randint(low, high, size)`.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(0, 10, (4,))
    tensor([4, 9, 3, 0])
    """
    low, high, size = _read_randint(bounds_and_size, named)
    check_options("randint", layout, device)
    if out is not None:
        made = take_out("randint", out, size, dtype)
    else:
        made = core.empty(size, _LONG if dtype is None else read_dtype(dtype))
    return finish(_draw_integers(made, low, high, pick_generator("randint", generator)), requires_grad)


def _read_randint(given: tuple, named: dict) -> tuple:
    *bounds, size = given if "size" not in named else (*given, named.pop("size"))
    if not isinstance(size, tuple | list):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    if len(bounds) == 1 and "high" not in named:
        bounds = [named.pop("low", 0), *bounds]
    low = bounds[0] if bounds else named.pop("low", 0)
    high = bounds[1] if len(bounds) > 1 else named.pop("high", None)
    if named or high is None or len(bounds) > 2:
        raise TypeError(f"randint() takes ([low,] high, size), got {given} and {sorted(named)}")
    return _to_int(low), _to_int(high), size


def _to_int(value: Any) -> int:
    return int(value.item()) if isinstance(value, Tensor) else int(value)


def _draw_integers(made: Tensor, low: int, high: int, generator: Generator) -> Tensor:
    check_accepts("random_", made, _ALL_REAL)
    check_integer_bounds(made.dtype.name, low, high)
    return draw_into(made, "randint", (low, high), generator)


_ALL_REAL = frozenset(d.name for d in core.dtypes if not d.is_complex)


@function("randint_like")
def randint_like(
    input: Tensor,
    low: int = 0,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """Integers from [low, high) in a tensor of input's shape and dtype; one bound is `high`."""
    check_options("randint_like", layout, device)
    low, high = (0, low) if high is None else (low, high)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    drawn = _draw_integers(made, _to_int(low), _to_int(high), pick_generator("randint_like", generator))
    return finish(drawn, requires_grad)


_LARGEST_PERMUTATION = {"float16": 2049, "bfloat16": 257, "float32": 16777217, "float64": 9007199254740993}


@function("randperm")
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """The integers 0 .. n-1 in random order.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randperm(5)
    tensor([0, 4, 2, 3, 1])
    """
    check_options("randperm", layout, device)
    made = take_out("randperm", out, (n,), dtype) if out is not None else None
    if made is None:
        made = core.empty((n,), _LONG if dtype is None else read_dtype(dtype))
    check_accepts("randperm", made, _ALL_REAL - {"bool"})
    _check_permutation(n, made.dtype)
    if not made.is_contiguous():
        held = draw_into(core.empty((n,), made.dtype), "randperm", (), pick_generator("randperm", generator))
        core.copy_plain(made, held)
        return finish(made, requires_grad)
    draw_into(made, "randperm", (), pick_generator("randperm", generator))
    return finish(made, requires_grad)


def _check_permutation(n: int, dtype: core.dtype) -> None:
    bits = 8 * dtype.itemsize - dtype.is_signed
    largest = _LARGEST_PERMUTATION.get(dtype.name, 1 << bits)
    if n > largest:
        raise RuntimeError(f"randperm: n cannot be greater than {largest} for {dtype}, got {n}")


# ---- distributions over tensors of parameters ----------------------------------------------------------


@function("normal")
def normal(
    mean: Tensor | float,
    std: Tensor | float = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Normal random numbers: mean and std are tensors that broadcast together, or numbers with a size."""
    generator = pick_generator("normal", generator)
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        return _normal_of_tensors(mean, std, generator=generator, out=out)
    if size is None:
        raise TypeError("normal(): with a number for mean and for std, argument 'size' is required")
    check_std(std)
    made = _make("normal", (tuple(size),), {}, out, dtype, layout, device)
    check_accepts("normal", made, _FLOATS_AND_COMPLEX)
    return finish(draw_into(made, "normal", (mean, std, True), generator), requires_grad)


@primitive(name="normal_tensors", register=False, out=True)
def _normal_of_tensors(mean: Any, std: Any, generator: Generator) -> Tensor:
    _check_normal(mean, std)
    if not isinstance(std, Tensor):  # drawn with the std, then moved: one rounding fewer
        made = core.empty(mean.shape, mean.dtype)
        draw_into(made, "normal", (0.0, std, True), generator)
        return REGISTRY["add"](made, mean)
    dtype = mean.dtype if isinstance(mean, Tensor) else std.dtype
    shape = _broadcast(mean.shape, std.shape) if isinstance(mean, Tensor) else std.shape
    made = core.empty(shape, dtype)
    draw_into(made, "normal", (0.0, 1.0, True), generator)
    return REGISTRY["add"](REGISTRY["mul"](made, REGISTRY["_to_copy"](std, dtype)), mean)


@_normal_of_tensors.vjp
def _(g, mean_like, std_like):
    zero = REGISTRY["zeros"]
    likes = [x for x in (mean_like, std_like) if hasattr(x, "dtype")]
    return tuple(zero(x.shape, dtype=x.dtype) for x in likes)


def _check_normal(mean: Any, std: Any) -> None:
    if isinstance(std, Tensor):
        if std.is_complex():
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if std.numel() and not bool((std >= 0).all()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
    else:
        check_std(std)
    for value in (mean, std if not isinstance(mean, Tensor) else None):
        if isinstance(value, Tensor):
            check_accepts("normal", value, _FLOATS_AND_COMPLEX)


def _broadcast(a: Any, b: Any) -> tuple:
    """The shape both broadcast to."""
    result = []
    for i in range(max(len(a), len(b))):
        x = a[-1 - i] if i < len(a) else 1
        y = b[-1 - i] if i < len(b) else 1
        if x != y and x != 1 and y != 1:
            raise RuntimeError(
                f"The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension "
                f"{max(len(a), len(b)) - 1 - i}: {tuple(a)} and {tuple(b)}"
            )
        result.append(y if x == 1 else x)
    return tuple(reversed(result))


@function("bernoulli", method=True)
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None
) -> Tensor:
    """Ones with the probabilities that input holds (or with probability p), and zeros.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.bernoulli(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0., 0., 1.])
    """
    if out is None:
        return _bernoulli(input, p, generator)
    if core.needs_history(input, out):
        raise RuntimeError(
            "bernoulli(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if tuple(out.shape) != tuple(input.shape):
        core.resize_(out, input.shape)
    return REGISTRY["bernoulli_"](out, input if p is None else p, generator=generator)


@primitive(name="bernoulli_of", register=False)
def _bernoulli(input: Tensor, p: float | None, generator: Generator | None) -> Tensor:
    chosen = pick_generator("bernoulli", generator)
    if p is None:
        check_probabilities("bernoulli", input)
        return draw_bernoulli(core.empty(input.shape, input.dtype), input, chosen)
    check_accepts("bernoulli", input, _ALL_REAL)
    check_probability("bernoulli_", p)
    return draw_into(new_like(input, input.dtype), "bernoulli", (p,), chosen)


@_bernoulli.vjp
def _(g, input_like):
    return _zeros(input_like)


def _zeros(like: Any) -> Tensor:
    return REGISTRY["zeros"](like.shape, dtype=like.dtype)


@primitive(out=True, method=True)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson random numbers with the rates that input holds."""
    check_accepts("poisson", input, _FLOATS)
    if input.numel() and not bool((input >= 0).all()):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    rates = core.contiguous_plain(input)
    made = core.empty(input.shape, input.dtype)
    return draw_into(made, "poisson", (rates.data_ptr(),), pick_generator("poisson", generator))


@poisson.vjp
def _(g, input_like):
    return _zeros(input_like)


@primitive
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes in `count` trials of probability `prob` each; count and prob broadcast."""
    if count.dtype.name not in _FLOATS:
        raise ValueError(f"binomial only supports floating-point dtypes for count, got: {count.dtype}")
    if prob.dtype.name not in _FLOATS:
        raise ValueError(f"binomial only supports floating-point dtypes for prob, got: {prob.dtype}")
    shape = _broadcast(count.shape, prob.shape)
    counts, probs = core.empty(shape, count.dtype), core.empty(shape, count.dtype)
    core.copy_plain(counts, count)
    core.copy_plain(probs, prob)
    params = (counts.data_ptr(), probs.data_ptr())
    return draw_into(core.empty(shape, count.dtype), "binomial", params, pick_generator("binomial", generator))


@binomial.vjp
def _(g, count_like, prob_like):
    return _zeros(count_like), _zeros(prob_like)


@function("multinomial", method=True)
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Indices drawn from each row of weights (which need not sum to one), as int64.

    >>> import flambeau as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 4)
    tensor([2, 1, 3, 0])
    """
    _check_multinomial(input, num_samples, replacement)
    if out is not None and out.dtype is not _LONG:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {out.dtype}")
    categories = input.shape[-1]
    rows = input.shape[0] if input.dim() == 2 else 1
    made = core.empty((*input.shape[:-1], num_samples), _LONG)
    if rows:
        transposed = input.dim() == 2 and not input.is_contiguous() and input.stride() == (1, rows)
        weights = input if transposed else core.contiguous_plain(input)
        params = (weights.data_ptr(), rows, categories, num_samples, bool(replacement), transposed)
        chosen = pick_generator("multinomial", generator)
        core._random_fill("multinomial", chosen, made.data_ptr(), made.numel(), input.dtype.code, params)
    return made if out is None else core.deliver_out("multinomial", out, made)


def _check_multinomial(weights: Tensor, samples: int, replacement: bool) -> None:
    if weights.dtype.name not in _FLOATS:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {weights.dtype}")
    if weights.dim() not in (1, 2):
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got shape {tuple(weights.shape)}")
    if samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples, got {samples}")
    if not replacement and samples > weights.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
            f"{samples} > {weights.shape[-1]}"
        )
    if weights.shape[-1] > 1 << 24:
        raise RuntimeError("multinomial: number of categories cannot exceed 2^24")
    if weights.numel() and not bool(((weights >= 0) & (weights < float("inf"))).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if weights.numel() and bool((REGISTRY["sum"](weights, -1) <= 0).any()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


@primitive(name="_standard_gamma")
def standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma random numbers with the shapes that input holds and rate 1."""
    check_accepts("_standard_gamma", input, _FLOATS)
    alphas = core.contiguous_plain(input)
    made = core.empty(input.shape, input.dtype)
    return draw_into(made, "standard_gamma", (alphas.data_ptr(),), pick_generator("_standard_gamma", generator))


@primitive(name="_sample_dirichlet")
def sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Dirichlet random vectors with the concentrations along input's last dimension."""
    check_accepts("_sample_dirichlet", input, _FLOATS)
    alphas = core.contiguous_plain(input)
    made = core.empty(input.shape, input.dtype)
    params = (alphas.data_ptr(), input.shape[-1] if input.dim() else 1)
    return draw_into(made, "dirichlet", params, pick_generator("_sample_dirichlet", generator))


# ---- the generator's state ----------------------------------------------------------------------------


def _tensor_of_bytes(data: bytes) -> Tensor:
    made = core.empty((len(data),), core.dtypes[1])
    core.write_bytes(made, data)
    return made


def _bytes_of_tensor(state: Any) -> bytes:
    if not isinstance(state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    if state.dtype.name != "uint8":
        raise TypeError(f"RNG state must be a torch.ByteTensor, got a tensor of {state.dtype}")
    return core.read_bytes(core.contiguous_plain(state))


core._set_generator_hooks(_tensor_of_bytes, _bytes_of_tensor, core.device)
