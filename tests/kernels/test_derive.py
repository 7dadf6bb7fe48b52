"""The symbolic derivative against finite differences, through the NumPy interpreter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.kernels import derive, mathlib, scalar
from flambeau.kernels.mathlib import FUNCTIONS, exp, log, sin, tanh
from flambeau.kernels.oracle import NUMPY, evaluate
from flambeau.kernels.scalar import const, reduce, where


@pytest.fixture(autouse=True)
def _tracing():
    with scalar.tracing():
        yield


def handles(arrays):
    """Input nodes for arrays."""
    names = {np.dtype(t): n for n, t in NUMPY.items()}
    return [scalar.input(k, names[a.dtype]) for k, a in enumerate(arrays)]


def gradients(output, seed, arrays, axes=(), row_inputs=frozenset()):
    """Symbolic cotangents of all inputs for the cotangent `seed` of the output (zeros for None)."""
    inputs = handles(arrays)
    g = handles([*arrays, seed])[-1]
    grads = derive.vjp([output], [g], inputs, row_inputs)
    shape = np.broadcast_shapes(*(a.shape for a in arrays), seed.shape)
    zeros = [np.zeros(a.shape, a.dtype) for a in arrays]
    values = [
        z if e is None else evaluate([e], [*arrays, seed], axes)[0]
        for e, z in zip(grads, zeros, strict=True)
    ]
    return [
        np.broadcast_to(v, shape if a.shape == shape else a.shape)
        for v, a in zip(values, arrays, strict=True)
    ]


def numeric(output, seed, arrays, axes=(), step=1e-6):
    """Central differences of sum(Re(conj(seed) output)); dL/dx + i dL/dy for complex inputs."""

    def loss(values):
        out = evaluate([output], values, axes)[0]
        out = np.broadcast_to(out, np.broadcast_shapes(out.shape, seed.shape))
        return np.sum(seed.real * out.real + seed.imag * out.imag)

    result = []
    for k, a in enumerate(arrays):
        grad = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            for unit in (1.0, 1j)[: 2 if a.dtype.kind == "c" else 1]:
                ends = []
                for sign in (1, -1):
                    moved = a.copy()
                    moved[at] += sign * step * unit
                    ends.append(loss([*arrays[:k], moved, *arrays[k + 1 :]]))
                grad[at] += unit * (ends[0] - ends[1]) / (2 * step)
        result.append(grad)
    return result


def check(body, *arrays, axes=(), rtol=1e-6, row_inputs=frozenset(), row_output=False):
    """Compare the gradients of one body."""
    output = body(*handles(arrays))
    shape = evaluate([output], arrays, axes)[0].shape
    if not row_output:
        shape = np.broadcast_shapes(*(a.shape for a in arrays), shape)
    rng = np.random.default_rng(7)
    seed = rng.uniform(0.5, 1.5, shape)
    if output.dtype == "c128":
        seed = seed + 1j * rng.uniform(0.5, 1.5, shape)
    rows = row_inputs | ({len(arrays)} if row_output else frozenset())
    got = gradients(output, seed, arrays, axes, rows)
    want = numeric(output, seed, arrays, axes)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)


def points(low, high, count=7, seed=3):
    return np.random.default_rng(seed).uniform(low, high, count)


POINTWISE = {
    "polynomial": lambda x, y: (x + 2 * y) * x - y / x + (-x) * (-y),
    "square": lambda x, y: x * x + y,
    "fma": lambda x, y: scalar.fma(x, y, x),
    "abs": lambda x, y: abs(x - 1.3) * y,
    "sqrt": lambda x, y: scalar.sqrt(x * y + 1),
    "select": lambda x, y: where(x > y, x * y, x - y),
    "maximum": lambda x, y: scalar.maximum(x, y) * scalar.minimum(x, 2 * y),
    "copysign": lambda x, y: scalar.copysign(x - 1, y - 1.2) * x,
    "cast": lambda x, y: scalar.cast(scalar.cast(x, "f64") * y, "f64"),
    "rounding": lambda x, y: x * scalar.floor(y * 3) + scalar.rint(x) * y + scalar.ceil(x),
    "compare": lambda x, y: scalar.cast(x > 1, "f64") * y,
    "softplus": lambda x, y: mathlib.log1p(exp(-abs(x))) + scalar.maximum(x, 0) * y,
    "detach": lambda x, y: x * y + scalar.detach(const(3.0, "f64")),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name):
    check(POINTWISE[name], points(0.3, 2.5), points(0.4, 2.4, seed=4))


# where each function is smooth; its arguments if there are two
DOMAINS = {
    "log": (0.2, 4),
    "log2": (0.2, 4),
    "log10": (0.2, 4),
    "log1p": (-0.5, 3),
    "asin": (-0.8, 0.8),
    "acos": (-0.8, 0.8),
    "acosh": (1.3, 4),
    "atanh": (-0.8, 0.8),
    "erfinv": (-0.8, 0.8),
    "lgamma": (0.3, 4),
    "digamma": (0.5, 4),
    "ndtri": (0.1, 0.9),
    "pow": (0.3, 3),
    "sqrt": (0.3, 3),
}


@pytest.mark.parametrize("name", [n for n in mathlib.__all__ if n in FUNCTIONS])
def test_functions(name):
    arity = FUNCTIONS[name].arity
    low, high = DOMAINS.get(name, (-2, 2))
    arrays = [points(low, high, seed=k) for k in range(arity)]
    if name == "fmod":
        arrays[1] = arrays[1] + 3.0
    check(lambda *xs: scalar.call(name, *xs), *arrays, rtol=2e-6)


HOLOMORPHIC = ["exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "asin", "acos"]
HOLOMORPHIC += ["atan", "asinh", "acosh", "atanh", "log1p", "expm1", "log2", "log10", "exp2"]


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_holomorphic_functions(name):
    z = points(0.2, 0.8, 5) + 1j * points(0.2, 0.8, 5, seed=9)
    check(lambda a: scalar.call(name, a) * a, z)


COMPLEX = {
    "arithmetic": lambda z, w: z * w - z / w + w,
    "square": lambda z, w: z * z * w,
    "conj": lambda z, w: scalar.conj(z) * w,
    "abs": lambda z, w: scalar.absolute(z) * w,
    "parts": lambda z, w: scalar.real(z) * scalar.imag(w) * z,
    "complex": lambda z, w: scalar.make_complex(scalar.real(z), scalar.imag(w) * scalar.imag(z)),
    "pow": lambda z, w: scalar.call("pow", z, w),
    "select": lambda z, w: where(scalar.real(z) > 0.5, z, w * z),
    "to real": lambda z, w: scalar.real(z * w),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name):
    z = points(0.2, 1.5, 5) + 1j * points(-1, 1, 5, seed=9)
    w = points(0.5, 1.5, 5, seed=5) + 1j * points(-1, 1, 5, seed=6)
    check(COMPLEX[name], z, w)


def test_real_input_of_complex_expression_gets_the_real_part():
    x, w = points(0.5, 1.5, 4), points(0.5, 1.5, 4, seed=5) + 1j * points(-1, 1, 4, seed=6)
    check(lambda a, b: exp(a * b), x, w)


REDUCED = {
    "softmax": lambda x: exp(x - reduce.max(x)) / reduce.add(exp(x - reduce.max(x))),
    "standardise": lambda x: _standardise(x),
    "log-sum-exp": lambda x: log(reduce.add(exp(x))),
    "mean": lambda x: reduce.add(x) / scalar.count("f64"),
    "product": lambda x: reduce.mul(x),
    "max": lambda x: reduce.max(x) * x,
    "min": lambda x: reduce.min(sin(x)),
    "norm": lambda x: scalar.sqrt(reduce.add(x * x)),
    "sum of a row": lambda x: reduce.add(reduce.add(x) * x + reduce.max(x)),
    "row of a row": lambda x: reduce.add(reduce.max(x)) + reduce.mul(reduce.add(x)),
    "position": lambda x: x * scalar.cast(scalar.position(), "f64"),
}


def _standardise(x):
    n = scalar.count("f64")
    centred = x - reduce.add(x) / n
    return centred / scalar.sqrt(reduce.add(centred * centred) / n + 1e-3)


@pytest.mark.parametrize("name", REDUCED)
def test_reductions(name):
    x = points(0.3, 2, (2, 4))
    levels = evaluate([REDUCED[name](scalar.input(0, "f64"))], [x], (1,))[0].shape
    check(REDUCED[name], x, axes=(1,), row_output=levels == (2, 1))


def test_reductions_over_several_axes():
    check(REDUCED["softmax"], points(0, 2, (2, 3, 2)), axes=(0, 2))


def test_row_inputs_collect_their_elements():
    """y = (x - m) s + b with one m, s and b a row; also if the contribution is per row itself."""
    x, m, s = points(0, 2, (3, 4)), points(0, 1, (3, 1), 5), points(1, 2, (3, 1), 6)
    rows = frozenset({1, 2, 3})
    check(lambda x, m, s, b: (x - m) * s + b, x, m, s, m.copy(), axes=(1,), row_inputs=rows)
    check(
        lambda x, m, s: reduce.add(x * s + m) * reduce.max(m), x, m, s, axes=(1,),
        row_inputs=rows, row_output=True,
    )  # fmt: skip


def test_complex_reductions():
    z = points(0.5, 1.5, (2, 3)) + 1j * points(-1, 1, (2, 3), seed=9)
    check(lambda a: a / reduce.add(a * scalar.conj(a)), z, axes=(1,))
    check(lambda a: reduce.mul(a), z, axes=(1,), row_output=True)


def test_ties_share_the_gradient_of_an_extreme():
    x, g = np.array([[2.0, 5.0, 5.0, 1.0]]), np.array([[6.0]])
    (got,) = gradients(reduce.max(scalar.input(0, "f64")), g, [x], (1,), frozenset({1}))
    np.testing.assert_array_equal(got, [[0, 3, 3, 0]])


@pytest.mark.parametrize(
    ("row", "want"),
    [([2, 3, 4], [12, 8, 6]), ([2, 0, 4], [0, 8, 0]), ([0, 0, 4], [0, 0, 0])],
)
def test_product_with_zeros(row, want):
    x, g = np.array([row], float), np.array([[1.0]])
    (got,) = gradients(reduce.mul(scalar.input(0, "f64")), g, [x], (1,), frozenset({1}))
    np.testing.assert_array_equal(got, [want])


SECOND = {
    "cubic": lambda x: x * x * x + 1 / x,
    "tanh": lambda x: tanh(x) * x,
    "where": lambda x: where(x > 1, x * x, exp(x)),
    "abs": lambda x: abs(x - 1.1) * x * x,
    "pow": lambda x: scalar.call("pow", x, x),
    "lgamma": lambda x: scalar.call("erf", x) * log(x),
    "softmax": lambda x: exp(x - reduce.max(x)) / reduce.add(exp(x)) * sin(x),
    "standardise": lambda x: _standardise(x) * x,
    "product": lambda x: reduce.mul(x) * x,
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name):
    """The gradient, differentiated again with respect to the input and to the cotangent."""
    x, g = points(0.3, 2, (2, 4)), points(0.5, 1.5, (2, 4), seed=8)
    a, b = handles([x, g])
    (first,) = derive.vjp([SECOND[name](a)], [b], [a])
    check(lambda *_: first, x, g, axes=(1,), rtol=1e-5)


def test_complex_second_derivative():
    z = points(0.2, 0.8, 4) + 1j * points(0.2, 0.8, 4, seed=9)
    g = points(0.2, 0.8, 4, seed=2) + 1j * points(0.2, 0.8, 4, seed=4)
    a, b = handles([z, g])
    (first,) = derive.vjp([sin(a * a) * scalar.conj(a)], [b], [a])
    check(lambda *_: first, z, g)


# ---- what is passed on at all --------------------------------------------------------------------


def test_none_means_zero_everywhere():
    x, y, n = scalar.input(0, "f32"), scalar.input(1, "f32"), scalar.input(2, "i64")
    g = scalar.input(3, "f32")
    for output in (
        scalar.floor(x),
        scalar.detach(x),
        scalar.cast(scalar.cast(x, "i32"), "f32"),
        scalar.cast(x > y, "f32"),
        scalar.bitcast(scalar.bitcast(x, "i32") + 1, "f32"),
        scalar.cast(reduce.argmax(x), "f32"),
        const(1.0, "f32"),
    ):
        assert derive.vjp([output], [g], [x, y, n]) == [None, None, None]
    assert derive.vjp([x * scalar.cast(n, "f32")], [g], [x, n])[1] is None
    assert derive.vjp([x * y], [None], [x]) == [None]


def test_several_outputs_add_up():
    x, g, h = (scalar.input(k, "f64") for k in range(3))
    (got,) = derive.vjp([x * 3, sin(x), x], [g, h, h], [x])
    values = [np.array([0.3]), np.array([2.0]), np.array([5.0])]
    want = 3 * 2 + 5 * math.cos(0.3) + 5
    np.testing.assert_allclose(evaluate([got], values)[0], [want])


def test_branches_not_taken_cannot_spoil_the_gradient():
    """where(x > 0, sqrt(x), x) at 0: the other branch's infinite slope is not multiplied by 0."""
    x, g = np.array([0.0, -1.0, 4.0]), np.ones(3)
    (got,) = gradients(_guarded(scalar.input(0, "f64")), g, [x])
    np.testing.assert_array_equal(got, [1, 1, 0.25])


def _guarded(x):
    return where(x > 0, scalar.sqrt(x), x)


def test_slopes_at_corners():
    x, g = np.array([0.0, -0.0]), np.ones(2)
    (got,) = gradients(abs(scalar.input(0, "f64")), g, [x])
    np.testing.assert_array_equal(got, [0, 0])
    (got,) = gradients(scalar.call("pow", scalar.input(0, "f64"), const(0.0, "f64")), g, [x])
    np.testing.assert_array_equal(got, [0, 0])


def test_types_are_kept():
    x, g = scalar.input(0, "f16"), scalar.input(1, "f16")
    wide = scalar.cast(x, "f32")
    (got,) = derive.vjp([scalar.cast(exp(wide), "f16")], [g], [x])
    assert got.dtype == "f16"
    z = scalar.input(0, "c64")
    (got,) = derive.vjp([scalar.absolute(z)], [scalar.input(1, "f32")], [z])
    assert got.dtype == "c64"


def test_missing_derivative_is_reported(monkeypatch):
    monkeypatch.setattr(FUNCTIONS["exp"], "partials", None)
    x, g = scalar.input(0, "f32"), scalar.input(1, "f32")
    with pytest.raises(NotImplementedError, match="derivative of exp"):
        derive.vjp([exp(x)], [g], [x])


def test_gradients_stay_small():
    """Masks merge, row factors leave the sums: the graphs do not grow needlessly."""
    x, g = scalar.input(0, "f32"), scalar.input(1, "f32")
    (relu,) = derive.vjp([where(x > 0, x, 0)], [g], [x])
    assert relu is where(x > 0, g, 0)
    (both,) = derive.vjp([where(x > 0, x, 2 * x)], [g], [x])
    assert both is where(x > 0, g, g * 2)
    e = exp(x - scalar.detach(reduce.max(x)))
    (softmax,) = derive.vjp([e / reduce.add(e)], [g], [x])
    assert len(scalar.topological([softmax])) <= 16


# ---- random programs -----------------------------------------------------------------------------


@st.composite
def programs(draw):
    """A function of two handles made of smooth operations, as a list of steps."""
    kinds = ["add", "sub", "mul", "div", "sin", "tanh", "square", "where", "fma", "sum", "max"]
    size = draw(st.integers(1, 7))
    return [
        (draw(st.sampled_from(kinds)), *(draw(st.integers(0, 100)) for _ in range(3)))
        for _ in range(size)
    ]


def build(program, x, y):
    """Run the steps; every value stays moderate, so that differences are accurate."""
    values = [x, y]
    for kind, i, j, k in program:
        a, b, c = (values[n % len(values)] for n in (i, j, k))
        steps = {
            "add": lambda a, b, c: a + b,
            "sub": lambda a, b, c: a - 2 * b,
            "mul": lambda a, b, c: tanh(a) * b,
            "div": lambda a, b, c: a / (1.5 + sin(b)),
            "sin": lambda a, b, c: sin(a),
            "tanh": lambda a, b, c: tanh(b),
            "square": lambda a, b, c: sin(a) * sin(a),
            "where": lambda a, b, c: where(x > y, a, -c),
            "fma": lambda a, b, c: scalar.fma(sin(a), tanh(b), c),
            "sum": lambda a, b, c: reduce.add(tanh(a)) / scalar.count("f64"),
            "max": lambda a, b, c: b - reduce.max(x) * 0.1,
        }
        values.append(steps[kind](a, b, c))
    return values[-1] + 0 * x


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 1000))
def test_random_programs(program, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-2, 2, (2, 3)), rng.uniform(-2, 2, (2, 3))
    with scalar.tracing():
        check(lambda a, b: build(program, a, b), x, y, axes=(1,), rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(programs(), st.integers(0, 1000))
def test_random_programs_twice(program, seed):
    rng = np.random.default_rng(seed)
    x, y, g = (rng.uniform(-2, 2, (2, 3)) for _ in range(3))
    with scalar.tracing():
        a, b, c = handles([x, y, g])
        (first,) = derive.vjp([build(program, a, b)], [c], [a])
        check(lambda *_: first + 0 * a, x, y, g, axes=(1,), rtol=1e-4)
