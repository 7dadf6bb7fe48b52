"""Elementary functions of complex numbers against Python's cmath and NumPy."""

import cmath
import math

import numpy as np
import pytest

from flambeau.kernels import mathlib, oracle, scalar

FUNCTIONS = {
    "exp": cmath.exp,
    "log": cmath.log,
    "log10": cmath.log10,
    "sqrt": cmath.sqrt,
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "asin": cmath.asin,
    "acos": cmath.acos,
    "atan": cmath.atan,
    "asinh": cmath.asinh,
    "acosh": cmath.acosh,
    "atanh": cmath.atanh,
    "exp2": lambda z: cmath.exp(z * math.log(2)),
    "log2": lambda z: cmath.log(z) / math.log(2),
}


def run(name, *arrays):
    """The function's body, on complex128 or complex64."""
    dtype = {np.dtype(np.complex64): "c64", np.dtype(np.complex128): "c128"}[arrays[0].dtype]
    with scalar.tracing():
        handles = [scalar.input(k, dtype) for k in range(len(arrays))]
        body = mathlib.FUNCTIONS[name].expand["complex"](*handles)
        return oracle.evaluate([body], arrays)[0]


def reference(function, z):
    return np.array([function(complex(v)) for v in z])


def plane(count=3000):
    """Numbers of many sizes in all directions, and some close to the unit circle."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=count) + 1j * rng.normal(size=count)
    circle = np.exp(1j * rng.uniform(0, 7, count)) * (1 + 1e-4 * rng.normal(size=count))
    return np.concatenate([z * np.exp(rng.uniform(-6, 3, count)), circle])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    z = plane()
    want = reference(FUNCTIONS[name], z)
    error = np.abs(run(name, z) - want) / np.abs(want)
    assert error.max() < 5e-15, z[error.argmax()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_in_single_precision(name):
    z = plane(1000).astype(np.complex64)
    want = reference(FUNCTIONS[name], z)
    error = np.abs(run(name, z) - want) / np.abs(want)
    assert error.max() < 4e-6, z[error.argmax()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_branch_cuts(name):
    """On the axes the sign of zero chooses the side of a cut."""
    sides = [0.0, -0.0, 0.5, -0.5, 2.0, -2.0, 30.0, -30.0]
    z = np.array([complex(a, b) for a in sides for b in sides])
    if "log" in name:
        z = z[z != 0]
    np.testing.assert_allclose(run(name, z), reference(FUNCTIONS[name], z), rtol=1e-13, atol=1e-15)


def test_log1p_and_expm1_near_zero():
    z = np.array([1e-9 + 1e-9j, -1e-5 + 1e-3j, 1e-300j, 0.3 - 0.2j, -3 + 4j])
    exact = np.array([v - v * v / 2 + v**3 / 3 - v**4 / 4 + v**5 / 5 for v in z[:3]])
    np.testing.assert_allclose(run("log1p", z[:3]), exact, rtol=1e-12)
    np.testing.assert_allclose(run("log1p", z[3:]), np.log(1 + z[3:]), rtol=1e-14)
    exact = np.array([v + v * v / 2 + v**3 / 6 + v**4 / 24 for v in z[:3]])
    np.testing.assert_allclose(run("expm1", z[:3]), exact, rtol=1e-13)
    np.testing.assert_allclose(run("expm1", z[3:]), np.exp(z[3:]) - 1, rtol=1e-14)


def test_powers():
    z, w = plane(500), plane(500)[::-1] * 0.5
    keep = np.abs(np.log(z) * w) < 50
    want = np.exp(w * np.log(z))
    np.testing.assert_allclose(run("pow", z, w)[keep], want[keep], rtol=1e-12)
    zero, one = np.zeros(3, complex), np.array([0, 2, 1 + 1j])
    np.testing.assert_array_equal(run("pow", zero, one), [1, 0, 0])


def test_infinities():
    inf = math.inf
    got = run("sqrt", np.array([complex(1, inf), complex(-inf, 1), complex(inf, 1)]))
    np.testing.assert_array_equal(got, [complex(inf, inf), complex(0, inf), complex(inf, 0)])
    assert run("tanh", np.array([complex(inf, 0)]))[0] == 1
    assert run("exp", np.array([complex(-inf, 1), complex(inf, 0)])).tolist() == [
        0,
        complex(inf, 0),
    ]
