"""Random numbers with tensors of parameters: normal, bernoulli, poisson, multinomial, ..."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Generator, Tensor
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
    check_probabilities,
    check_probability,
    check_std,
    draw_bernoulli,
    draw_into,
    pick_generator,
)
from .record import REGISTRY, function, primitive

_LONG = DTYPES["int64"]
_ALL_REAL = frozenset(d.name for d in core.dtypes if not d.is_complex)


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
    """Normal random numbers: mean and std are tensors that broadcast together, or numbers with a
    size.
    """
    generator = pick_generator("normal", generator)
    if isinstance(mean, Tensor) and not isinstance(std, Tensor) and out is not None:
        _check_normal(mean, std)  # out keeps its shape, to which mean must broadcast
        return REGISTRY["normal_"](out, 0.0, std, generator=generator).add_(mean)
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        return _normal_of_tensors(mean, std, generator=generator, out=out)
    if size is None:
        raise TypeError("normal(): with a number for mean and for std, argument 'size' is required")
    check_std(std)
    check_options("normal", layout, device)
    if out is not None:
        made = take_out("normal", out, tuple(size), dtype)
    else:
        made = core.empty(
            read_size("normal", (tuple(size),)),
            default_float() if dtype is None else read_dtype(dtype),
        )
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
                f"The size of tensor a ({x}) must match the size of tensor b ({y}) at "
                "non-singleton dimension "
                f"{max(len(a), len(b)) - 1 - i}: {tuple(a)} and {tuple(b)}"
            )
        result.append(y if x == 1 else x)
    return tuple(reversed(result))


@function("bernoulli", method=True)
def bernoulli(
    input: Tensor,
    p: float | None = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
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
            "bernoulli(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the "
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
    return draw_into(made, "poisson", (rates,), pick_generator("poisson", generator))


@poisson.vjp
def _(g, input_like):
    return _zeros(input_like)


@primitive
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes in `count` trials of probability `prob` each; count and prob
    broadcast.
    """
    if count.dtype.name not in _FLOATS:
        raise ValueError(
            f"binomial only supports floating-point dtypes for count, got: {count.dtype}"
        )
    if prob.dtype.name not in _FLOATS:
        raise ValueError(
            f"binomial only supports floating-point dtypes for prob, got: {prob.dtype}"
        )
    shape = _broadcast(count.shape, prob.shape)
    counts, probs = core.empty(shape, count.dtype), core.empty(shape, count.dtype)
    core.copy_plain(counts, count)
    core.copy_plain(probs, prob)
    params = (counts, probs)
    return draw_into(
        core.empty(shape, count.dtype), "binomial", params, pick_generator("binomial", generator)
    )


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
        params = (weights, rows, categories, num_samples, bool(replacement), transposed)
        chosen = pick_generator("multinomial", generator)
        core.random_fill("multinomial", chosen, made, params, input.dtype.code)
    return made if out is None else core.deliver_out("multinomial", out, made)


def _check_multinomial(weights: Tensor, samples: int, replacement: bool) -> None:
    if weights.dtype.name not in _FLOATS:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {weights.dtype}"
        )
    if weights.dim() not in (1, 2):
        raise RuntimeError(
            f"multinomial: prob_dist must be 1 or 2 dim, got shape {tuple(weights.shape)}"
        )
    if samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples, got {samples}")
    if not replacement and samples > weights.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
            f"{samples} > {weights.shape[-1]}"
        )
    if weights.shape[-1] > 1 << 24:
        raise RuntimeError("multinomial: number of categories cannot exceed 2^24")
    if weights.numel() and not core.read_flag(((weights >= 0) & (weights < float("inf"))).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if weights.numel() and core.read_flag((REGISTRY["sum"](weights, -1) <= 0).any()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


@primitive(name="_standard_gamma")
def standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma random numbers with the shapes that input holds and rate 1."""
    check_accepts("_standard_gamma", input, _FLOATS)
    alphas = core.contiguous_plain(input)
    made = core.empty(input.shape, input.dtype)
    return draw_into(
        made, "standard_gamma", (alphas,), pick_generator("_standard_gamma", generator)
    )


@primitive(name="_sample_dirichlet")
def sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Dirichlet random vectors with the concentrations along input's last dimension."""
    check_accepts("_sample_dirichlet", input, _FLOATS)
    alphas = core.contiguous_plain(input)
    made = core.empty(input.shape, input.dtype)
    params = (alphas, input.shape[-1] if input.dim() else 1)
    return draw_into(made, "dirichlet", params, pick_generator("_sample_dirichlet", generator))


@standard_gamma.vjp
def _(g, input_like):
    raise NotImplementedError("_standard_gamma: the derivative by the shapes is not implemented")


@sample_dirichlet.vjp
def _(g, input_like):
    raise NotImplementedError("_sample_dirichlet: the derivative is not implemented")
