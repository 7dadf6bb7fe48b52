"""The regularised incomplete gamma functions, igamma and igammac."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from .arithmetic import need_tensor
from .elementary import exp, log
from .record import alias, composite, primitive
from .special import erfc, lgamma


def _gamma_series(a, x):
    """sum of x**n / ((a + 1) ... (a + n)), n from 0 (Abramowitz and Stegun 6.5.29).

    Quick for x < a + 1.
    """
    import numpy

    term = total = numpy.ones_like(x)
    divisor = a
    while term.size and (numpy.abs(term) > 1e-17 * numpy.abs(total)).any():
        divisor = divisor + 1
        term = term * (x / divisor)
        total = total + term
    return total


def _gamma_fraction(a, x):
    """Continued fraction of Gamma(a, x) x**-a exp(x), by Lentz's method.

    Abramowitz and Stegun 6.5.31.
    """
    import numpy

    tiny = 1e-300
    b = x + 1 - a
    c, d = numpy.full_like(x, 1 / tiny), 1 / numpy.where(b == 0, tiny, b)
    h, k = d, 0
    change = numpy.zeros_like(x)
    while x.size and (numpy.abs(change - 1) > 2.5e-16).any() and k < 100_000:
        k += 1
        step, b = -k * (k - a), b + 2
        d = step * d + b
        c = b + step / c
        d, c = 1 / numpy.where(d == 0, tiny, d), numpy.where(c == 0, tiny, c)
        change = d * c
        h = h * change
    return h


# Powers of 1 / a and of eta in the uniform expansion: what is left out is below 1e-16 from a = 20
# on, where |eta| < 0.36.
_INVERSES, _POWERS = 13, 17


@cache
def _uniform_coefficients():
    """d[k][n] of the uniform expansion (DLMF, dlmf.nist.gov, 8.12.11 to 8.12.13)."""
    size = _POWERS + 2 * _INVERSES + 2
    alpha = [Fraction(0), Fraction(1)]
    for n in range(2, size):
        mixed = sum(j * alpha[j] * alpha[n - j + 1] for j in range(2, n))
        alpha.append((alpha[n - 1] - mixed) / (n + 1))
    first = [(n + 2) * alpha[n + 2] - (n == 0) for n in range(size - 2)]
    rows, odd = [first], 1
    for k in range(1, _INVERSES):
        odd *= -(2 * k + 1)
        above, stirling = rows[-1], odd * alpha[2 * k + 1]
        rows.append([stirling * first[n] + (n + 2) * above[n + 2] for n in range(len(above) - 2)])
    return [[float(d) for d in row[:_POWERS]] for row in rows]


def _gamma_uniform(a, x, upper):
    """Q(a, x), or else P(a, x), of x near a large a, by Temme's expansion (DLMF 8.12.3, 8.12.7).

    With eta**2 / 2 = mu - log(1 + mu), mu = x / a - 1, both are half an error function, less or
    more a series in 1 / a.
    """
    import numpy
    from numpy.polynomial import polynomial

    from .creation import from_numpy

    mu = (x - a) / a
    # mu - log(1 + mu) cancels: summed as mu**2 (1/2 - mu / 3 + mu**2 / 4 ...)
    half = mu * mu * polynomial.polyval(mu, [(-1) ** n / (n + 2) for n in range(34)])
    eta = numpy.copysign(numpy.sqrt(2 * half), mu)
    rows = [polynomial.polyval(eta, row) for row in _uniform_coefficients()]
    series = sum(row * a ** float(-k) for k, row in enumerate(rows))
    rest = numpy.exp(-a * half) / numpy.sqrt(2 * numpy.pi * a) * series
    bend = eta * numpy.sqrt(a / 2)
    sign = 1 if upper else -1
    return 0.5 * erfc(from_numpy(sign * bend)).numpy() + sign * rest


def _incomplete_gamma(a, x, upper):
    """The regularised incomplete gamma function of float64 arrays."""
    import numpy

    from .creation import from_numpy

    result = numpy.full(a.shape, numpy.nan)
    usual = (a > 0) & (x > 0) & numpy.isfinite(a) & numpy.isfinite(x)
    with numpy.errstate(invalid="ignore"):
        near = usual & (a > 20) & (numpy.abs(x - a) < 0.3 * a)
    if near.any():
        result[near] = _gamma_uniform(a[near], x[near], upper)
    low = usual & ~near & (x < a + 1)
    high = usual & ~near & ~low
    for mask, function, is_upper in ((low, _gamma_series, False), (high, _gamma_fraction, True)):
        a_, x_ = a[mask], x[mask]
        offset = lgamma(from_numpy(a_ if is_upper else a_ + 1)).numpy()
        with numpy.errstate(all="ignore"):
            value = numpy.exp(a_ * numpy.log(x_) - x_ - offset) * function(a_, x_)
        result[mask] = value if is_upper == upper else 1 - value
    ends = (a >= 0) & (x >= 0)
    zero, one = (1.0, 0.0) if upper else (0.0, 1.0)
    result[ends & (x == 0) & (a > 0)] = zero
    result[ends & numpy.isinf(a) & numpy.isfinite(x)] = zero
    result[ends & numpy.isinf(x) & numpy.isfinite(a)] = one
    result[ends & (a == 0) & (x > 0)] = one
    return result


@primitive(register=False)
def incomplete_gamma(input, other, upper):
    """P(input, other), or 1 - P, of two tensors of one shape and floating-point type."""
    import numpy

    from .creation import from_numpy

    a, x = (numpy.asarray(t.detach().double().numpy()) for t in (input, other))
    found = _incomplete_gamma(a.reshape(-1), x.reshape(-1), upper)
    return from_numpy(found.reshape(a.shape)).to(input.dtype)


@incomplete_gamma.vjp
def _incomplete_gamma_vjp(g, input, other, upper, needs):
    if needs[0]:
        raise NotImplementedError(
            "igamma: the derivative for 'input' is not implemented: detach it"
        )
    density = exp((input - 1) * log(other) - other - lgamma(input))
    return None, g * (-density if upper else density)


def _define_incomplete_gamma(name, upper, doc):
    def op(input, other):
        from .type_info import result_type
        from .views import broadcast_tensors

        need_tensor(name, input)
        need_tensor(name, other, "other", 2)
        kind = result_type(input, other)
        if not kind.is_floating_point:
            raise NotImplementedError(
                f"{name}: \"{name}_cpu\" not implemented for '{kind.name}': it takes floating point"
            )
        a, x = broadcast_tensors(input.to(kind), other.to(kind))
        return incomplete_gamma(a, x, upper)

    op.__doc__ = doc
    return composite(name=name, inplace=True, out=True)(op)


igamma = _define_incomplete_gamma(
    "igamma", False, "Regularised lower incomplete gamma function P(input, other)."
)
igammac = _define_incomplete_gamma(
    "igammac", True, "Regularised upper incomplete gamma function 1 - P(input, other)."
)
alias("gammainc", igamma, namespaces=("special",))
alias("gammaincc", igammac, namespaces=("special",))
