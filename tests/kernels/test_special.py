"""Special functions against values to 40 digits, and what is special about some arguments."""

import math

import numpy as np
import pytest

from flambeau.kernels import derive, scalar, special
from flambeau.kernels.target import host
from tests.kernels.bodies import compiled, interpret

# computed with mpmath to 40 digits: (argument, value)
GOLDEN = {
    "i0": [
        (0.5, 1.0634833707413236),
        (3.0, 4.8807925858650245),
        (7.75, 338.5137537472759),
        (12.5, 30596.335155785153),
        (-300.0, 4.475847367935052e128),
    ],
    "i1": [
        (0.5, 0.2578943053908963),
        (3.0, 3.9533702174026093),
        (-7.75, -315.85248092400343),
        (12.5, 29345.74964207113),
        (300.0, 4.468381385036955e128),
    ],
    "i0e": [
        (0.5, 0.6450352704491501),
        (-3.0, 0.2430003541618254),
        (12.5, 0.1140219294622889),
        (100000.0, 0.0012615678379767768),
    ],
    "i1e": [
        (0.5, 0.1564208031848717),
        (-3.0, -0.19682671329730086),
        (12.5, 0.10936143099065089),
        (100000.0, 0.0012615615301218171),
    ],
    "k0": [
        (1e-05, 11.628856980944363),
        (0.5, 0.9244190712276659),
        (1.75, 0.1553798123866036),
        (2.25, 0.08404311197465811),
        (30.0, 2.1324774964630563e-14),
    ],
    "k1": [
        (1e-05, 99999.99993935571),
        (0.5, 1.656441120003301),
        (1.75, 0.19547745347439302),
        (2.25, 0.10121630256832526),
        (30.0, 2.1677320018915495e-14),
    ],
    "k0e": [(0.5, 1.5241093857739094), (2.25, 0.7973788452810561), (10000.0, 0.012532984717699286)],
    "k1e": [(0.5, 2.731009708211786), (2.25, 0.960313541101207), (10000.0, 0.012533611351270506)],
    "bessel_j0": [
        (0.5, 0.9384698072408129),
        (-3.0, -0.26005195490193345),
        (7.5, 0.2663396578803784),
        (8.5, 0.041939251842934504),
        (1000.0, 0.024786686152420176),
    ],
    "bessel_j1": [
        (0.5, 0.2422684576748739),
        (-3.0, -0.3390589585259365),
        (7.5, 0.1352484275797055),
        (8.5, 0.2731219636740537),
        (1000.0, 0.004728311907089524),
    ],
    "bessel_y0": [
        (1e-05, -7.40316028370197),
        (0.5, -0.44451873350670656),
        (3.0, 0.3768500100127904),
        (7.5, 0.11731328614820863),
        (8.5, 0.27020510536578746),
        (1000.0, 0.0047159179776228135),
    ],
    "bessel_y1": [
        (1e-05, -63661.97727536548),
        (0.5, -1.471472392670243),
        (3.0, 0.3246744247918),
        (7.5, -0.25912851048611624),
        (8.5, -0.02616867939853747),
        (1000.0, -0.024784331292351778),
    ],
    "erfcx": [
        (-20.0, 1.0442939379528289e174),
        (-1.0, 5.008980080762283),
        (0.25, 0.7703465477309968),
        (3.0, 0.17900115118138996),
        (1000.0, 0.0005641893014533876),
    ],
    "ndtri": [
        (0.25, -0.6744897501960817),
        (0.625, 0.31863936396437514),
        (0.9375, 1.5341205443525463),
        (1e-05, -4.264890793922825),
        (1e-30, -11.464024688443615),
        (1e-300, -37.0470962993612),
    ],
    "log_ndtr": [
        (-40.0, -804.6084420137538),
        (-1.5, -2.7059444008238898),
        (0.5, -0.3689464152886564),
        (5.0, -2.866516129637636e-07),
    ],
    "entr": [(0.25, 0.34657359027997264), (1.5, -0.6081976621622466), (30.0, -102.03592144986466)],
    "polygamma1": [
        (-3.25, 19.474085068082154),
        (0.25, 17.19732915450711),
        (1.5, 0.9348022005446793),
        (40.0, 0.02531510384129103),
    ],
    "polygamma2": [
        (-3.25, 123.95521103942203),
        (0.25, -129.32773993753693),
        (1.5, -0.82879664423432),
        (40.0, -0.0006408202718352986),
    ],
    "polygamma5": [
        (-3.25, 492231.2373357213),
        (0.25, 491552.5137676813),
        (1.5, 11.113548602435497),
        (40.0, 2.4938943509996704e-07),
    ],
}
GOLDEN_PAIRS = {
    "zeta": [
        (1.25, 0.5, 6.333967529208202),
        (2.0, 1.0, 1.6449340668482264),
        (3.0, -2.5, 0.0541020258208637),
        (8.0, 3.5, 5.2028165183160983e-05),
        (30.0, 1.5, 5.215096203815732e-06),
    ],
    "xlogy": [(0.5, 3.0, 0.5493061443340549), (-2.0, 1e-05, 23.025850929940457)],
    "xlog1py": [(0.5, 3.0, 0.6931471805599453), (-2.0, 1e-05, -1.9999900000666664e-05)],
}


def _body(name):
    if name.startswith("polygamma"):
        return lambda x: special.polygamma(int(name[9:]), x)
    return lambda *args: scalar.call(name, *args)


@pytest.mark.parametrize("name", GOLDEN)
def test_values(name):
    x, want = (np.array(column) for column in zip(*GOLDEN[name], strict=True))
    np.testing.assert_allclose(interpret(_body(name), x), want, rtol=3e-14)
    with np.errstate(over="ignore"):
        x32 = x.astype(np.float32)
        exact = x32 == x
        got = interpret(_body(name), x32)
        np.testing.assert_array_equal(got[exact], want.astype(np.float32)[exact])


@pytest.mark.parametrize("name", GOLDEN_PAIRS)
def test_values_of_pairs(name):
    x, y, want = (np.array(column) for column in zip(*GOLDEN_PAIRS[name], strict=True))
    np.testing.assert_allclose(interpret(_body(name), x, y), want, rtol=1e-13)


@pytest.mark.parametrize("name", ["i0", "bessel_j1", "k1", "ndtri", "polygamma2"])
def test_compiled_code_agrees(name):
    x = np.random.default_rng(0).uniform(0.01, 0.99, 500) * (1 if name == "ndtri" else 30)
    run = compiled(_body(name), "f64", 1, host())
    np.testing.assert_allclose(run(x), interpret(_body(name), x), rtol=1e-13, atol=1e-16)


INF, NAN = math.inf, math.nan
ENDS = {
    "i0": [(0, 1), (INF, INF), (-INF, INF), (NAN, NAN)],
    "i1": [(0, 0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "i0e": [(0, 1), (INF, 0)],
    "i1e": [(0, 0), (INF, 0)],
    "k0": [(0, INF), (INF, 0), (-1, NAN)],
    "k1": [(0, INF), (INF, 0), (-1, NAN)],
    "bessel_j0": [(0, 1), (INF, 0), (-INF, 0), (NAN, NAN)],
    "bessel_j1": [(0, 0), (INF, 0), (-INF, 0), (NAN, NAN)],
    "bessel_y0": [(0, -INF), (INF, 0), (-1, NAN)],
    "bessel_y1": [(0, -INF), (INF, 0), (-1, NAN)],
    "ndtri": [(0, -INF), (1, INF), (0.5, 0), (-0.1, NAN), (1.1, NAN), (NAN, NAN)],
    "log_ndtr": [(-INF, -INF), (INF, 0), (NAN, NAN)],
    "erfcx": [(INF, 0), (-INF, INF), (NAN, NAN)],
    "entr": [(0, 0), (-1, -INF), (NAN, NAN), (INF, -INF)],
    "polygamma1": [(0, INF), (-3, INF), (INF, 0)],
    "polygamma2": [(0, -INF), (-3, -INF)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ENDS)
def test_ends(name, dtype):
    x, want = np.array(ENDS[name], dtype).T
    np.testing.assert_array_equal(interpret(_body(name), x.copy()), want)


def test_zeta_domain():
    x = np.array([1.0, 0.5, 2.0, 2.0, 2.5, 2.0, NAN, 3.0])
    q = np.array([3.0, 3.0, 0.0, -3.0, -0.5, INF, 1.0, NAN])
    want = [INF, NAN, INF, INF, NAN, 0, NAN, NAN]
    np.testing.assert_array_equal(interpret(special.zeta, x, q), want)


def test_products_with_logarithms():
    x = np.array([0.0, 0.0, 2.0, 0.0])
    y = np.array([0.0, NAN, 0.0, -1.0])
    np.testing.assert_array_equal(interpret(special.xlogy, x, y), [0, NAN, -INF, 0])
    np.testing.assert_array_equal(interpret(special.xlog1py, x, y), [0, NAN, 0, 0])


def test_plain_bodies():
    x = np.array([0.0, 0.5, -1.5, INF])
    np.testing.assert_allclose(interpret(special.sinc, x[:3]), np.sinc(x[:3]), rtol=1e-15)
    np.testing.assert_allclose(
        interpret(special.spherical_bessel_j0, x), [1, math.sin(0.5) / 0.5, math.sin(1.5) / 1.5, 0]
    )
    want = [0.5 * math.erfc(-v * math.sqrt(0.5)) for v in x]
    np.testing.assert_allclose(interpret(special.ndtr, x), want, rtol=1e-14)


def test_polygamma_needs_an_order():
    with scalar.tracing():
        x = scalar.input(0, "f32")
        assert special.polygamma(0, x).value == "digamma"
        with pytest.raises(RuntimeError, match="n = -1 is negative"):
            special.polygamma(-1, x)


SLOPES = {
    "i0": (0.5, 12),
    "i1": (-4, 12),
    "i0e": (0.5, 12),
    "i1e": (0.5, 12),
    "k0": (0.5, 4),
    "k1": (0.5, 4),
    "k0e": (0.5, 4),
    "k1e": (0.5, 4),
    "bessel_j0": (-10, 10),
    "bessel_j1": (-10, 10),
    "bessel_y0": (0.5, 10),
    "bessel_y1": (0.5, 10),
    "erfcx": (-1, 4),
    "ndtri": (0.1, 0.9),
    "log_ndtr": (-4, 3),
    "entr": (0.2, 3),
    "polygamma1": (0.5, 4),
    "digamma": (0.5, 4),
    "lgamma": (0.5, 4),
}


@pytest.mark.parametrize("name", SLOPES)
def test_derivatives(name):
    x = np.random.default_rng(1).uniform(*SLOPES[name], 20)
    step = 1e-6
    with scalar.tracing():
        a = scalar.input(0, "f64")
        (slope,) = derive.vjp([_body(name)(a)], [scalar.const(1.0, "f64")], [a])
        got = interpret(lambda _: slope, x)
    ends = [interpret(_body(name), x + s) for s in (step, -step)]
    np.testing.assert_allclose(got, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_zeta_has_one_derivative():
    with scalar.tracing():
        x, q, g = (scalar.input(k, "f64") for k in range(3))
        (slope,) = derive.vjp([special.zeta(x, q)], [g], [q])
        at = [np.array([2.5]), np.array([1.5]), np.array([1.0])]
        got = interpret(lambda *_: slope, *at)
        np.testing.assert_allclose(got, -2.5 * interpret(special.zeta, at[0] + 1, at[1]), 1e-13)
        with pytest.raises(NotImplementedError, match="derivative of zeta"):
            derive.vjp([special.zeta(x, q)], [g], [x])
