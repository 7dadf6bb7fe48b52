"""Matrix products against NumPy: every element type, layout, epilogue and kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.kernels import gemm, gemm_direct, gemm_dot, gemm_packed, gemm_packed_plan, gemm_parts
from flambeau.kernels.gemm import plan_gemm
from flambeau.kernels.target import NEON, host
from tests.kernels.harness import assemble, run_plan, runnable
from tests.kernels.samples import NUMPY, assert_near, draw, wide

HOST = host()
TARGETS = runnable()
DTYPES = list(NUMPY)
SHAPES = [(32, 50, 10), (32, 1, 50), (1, 50, 10), (4, 120, 40), (7, 13, 5), (1, 1, 1), (65, 97, 33)]


def check(
    dtype, m, n, k, *, a_turned=False, b_turned=False, bias=None, relu=False, accumulate=False,
    batch=1, threads=1, target=HOST, gap=0, share_b=False,
):  # fmt: skip
    """Compare one product; turned operands are stored transposed, `gap` widens their rows."""

    def stored(rows, columns, turned, seed, count):
        shape = (columns, rows + gap) if turned else (rows, columns + gap)
        values = draw(dtype, (count, *shape), seed)
        view = values.transpose(0, 2, 1)[:, :rows] if turned else values[:, :, :columns]
        strides = (1, shape[1]) if turned else (shape[1], 1)
        return values, view, strides, shape[0] * shape[1] if count > 1 else 0

    a, a_view, a_strides, a_batch = stored(m, k, a_turned, 1, batch)
    b, b_view, b_strides, b_batch = stored(k, n, b_turned, 2, 1 if share_b else batch)
    c = draw(dtype, (batch, m, n), 3)
    offset = draw(dtype, (n if bias == "column" else m,), 4) if bias else None
    expected = wide(dtype, a_view) @ wide(dtype, b_view)
    if accumulate:
        expected = expected + wide(dtype, c)
    if bias:
        expected = expected + wide(dtype, offset)[None if bias == "column" else (slice(None), None)]
    if relu:
        expected = np.maximum(expected, 0)
    plan = plan_gemm(
        dtype, m, n, k, a_strides, b_strides, (n, 1), threads, bias=bias,
        activation="relu" if relu else None, accumulate=accumulate,
        batch=(batch, a_batch, b_batch, m * n), target=target,
    )  # fmt: skip
    run_plan(plan, [c, a, b, offset], target, threads)
    assert_near(dtype, c, expected)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(dtype, target):
    """All four layouts of all shapes, in place and batched on two threads."""
    for m, n, k in SHAPES:
        for turned in range(4):
            layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
            check(dtype, m, n, k, **layout, target=target)
            check(dtype, m, n, k, **layout, target=target, batch=3, threads=2, gap=3)


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16", "i32"])
@pytest.mark.parametrize("bias", [None, "column", "row"])
def test_epilogues(dtype, bias):
    """Bias, activation and accumulation in every kernel."""
    for m, n, k in [*SHAPES, (70, 80, 900)]:
        for turned in (False, True):
            check(dtype, m, n, k, b_turned=turned, bias=bias, relu=True)
            check(dtype, m, n, k, b_turned=turned, bias=bias, accumulate=True, threads=2)


@pytest.fixture
def always_packed(monkeypatch):
    """Operands are packed even where a panel at a time would do."""
    monkeypatch.setattr(gemm, "_packs_panels", lambda p, element: False)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16", "i64", "u8"])
@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("blocks", [False, True])
def test_packed(monkeypatch, dtype, target, turned, blocks):
    """Sizes for which operands are packed: panels of B, or both over several blocks of k."""
    if blocks:
        monkeypatch.setattr(gemm, "_packs_panels", lambda p, element: False)
    layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
    check(dtype, 200, 150, 900, **layout, threads=2, target=target)
    check(dtype, 129, 260, 300, **layout, bias="column", relu=dtype[0] == "f", target=target)


def test_packed_batch(always_packed):
    """Packed products in a batch, with operands of their own and with one shared."""
    for share_b in (False, True):
        check("f32", 150, 200, 300, batch=3, threads=2, share_b=share_b)
        check("f32", 150, 200, 300, batch=3, b_turned=True, share_b=share_b)


def test_packed_in_parts(monkeypatch, always_packed):
    """Parts of the sum, of the columns and of the rows, of few products and of many."""
    monkeypatch.setattr(gemm_packed_plan, "SHARED_BYTES", 1 << 18)
    monkeypatch.setattr(gemm_packed_plan, "OWN_BYTES", 1 << 17)
    monkeypatch.setattr(gemm_packed_plan, "A_BLOCK_BYTES", 1 << 16)
    for options in ({}, {"accumulate": True}, {"bias": "column", "relu": True}, {"bias": "row"}):
        for batch in (1, 3, 5):
            check("f32", 150, 200, 900, batch=batch, threads=2, **options)
            check("f16", 150, 200, 600, batch=batch, b_turned=True, **options)
            check("bf16", 150, 200, 601, batch=batch, a_turned=True, **options)


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "i64"])
def test_packed_products_of_a_large_batch(always_packed, dtype, turned):
    """Each task packs both operands, except one that all products share."""
    layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
    for share_b in (False, True):
        check(dtype, 150, 200, 300, **layout, batch=5, threads=2, share_b=share_b, gap=1)


@pytest.mark.parametrize("shape", [(4096, 256, 4096), (256, 4096, 4096), (4096, 4096, 4096)])
def test_what_is_packed_takes_some_megabytes(shape):
    m, n, k = shape
    for dtype in ("f32", "f64", "f16", "bf16"):
        for a in ((k, 1), (1, m)):
            plan = plan_gemm(dtype, m, n, k, a, (1, k), (n, 1), 2)
            assert plan.phases[0].kernel.key.startswith("gemm_packed")
            assert plan.workspace < 10 << 20


@pytest.mark.parametrize("m", [300, 1000])
def test_products_do_not_depend_on_threads(m):
    """Panels of B packed by each task, or both operands in blocks."""
    k = 500_000 // m
    a, b = draw("f32", (m, k), 1), draw("f32", (k, 400), 2)
    results = []
    for threads in (1, 2, 3):
        c = np.empty((m, 400), np.float32)
        plan = plan_gemm("f32", m, 400, k, (k, 1), (400, 1), (400, 1), threads)
        symbols = {phase.kernel.symbol for phase in plan.phases}
        assert symbols == ({"pack_shared", "tiles"} if m == 300 else {"direct"})
        run_plan(plan, [c, a, b, None], HOST, threads)
        results.append(c)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16", "i32", "c64"])
def test_few_columns_side_by_side_with_the_sum(dtype, target):
    """Dot products of rows, with either operand's rows few."""
    for m, n in ((50, 1), (50, 5), (9, 8), (5, 50), (8, 9)):
        check(dtype, m, n, 75, b_turned=True, target=target)
        check(dtype, m, n, 75, b_turned=True, batch=3, threads=2, gap=3, target=target)


@pytest.mark.parametrize("bias", [None, "column", "row"])
def test_few_columns_with_an_epilogue(bias):
    for m, n in ((50, 5), (5, 50)):
        check("f32", m, n, 75, b_turned=True, bias=bias, accumulate=True, threads=2)
        check("bf16", m, n, 75, b_turned=True, bias=bias, relu=True)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [t for t in DTYPES if t not in ("bool", "u8", "i8", "i16")])
def test_inner_products(dtype, target):
    """Parts of the sum from several threads, and every remainder."""
    for k in (1, 2, 7, 16, 127, 129, 1000):
        check(dtype, 1, 1, k, target=target)
        check(dtype, 1, 1, k, batch=5, threads=2, bias="column", accumulate=True, target=target)
    check(dtype, 1, 1, 70_001 if dtype in ("f32", "f64") else 2001, threads=2, target=target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", [t for t in DTYPES if t[0] != "c" and t != "bf16"])
@pytest.mark.parametrize("turned", range(4))
def test_long_sums(monkeypatch, dtype, target, turned):
    """Parts of the sum, the last of them short, in all layouts, with every epilogue."""
    monkeypatch.setattr(gemm, "PART_BYTES", 128)
    layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2), "target": target}
    check(dtype, 15, 29, 531, **layout, gap=1)
    check(dtype, 15, 29, 531, **layout, batch=3, threads=2, bias="column", accumulate=True)
    check(dtype, 70, 11, 600, **layout, bias="row", relu=dtype[0] == "f", threads=2)


def test_long_sums_do_not_depend_on_threads():
    """The parts are the same, and added up in the same order."""
    a, b = draw("f32", (30, 5000), 1), draw("f32", (5000, 40), 2)
    results = []
    for threads in (1, 2, 3):
        c = np.empty((30, 40), np.float32)
        plan = plan_gemm("f32", 30, 40, 5000, (5000, 1), (40, 1), (40, 1), threads)
        assert [phase.kernel.symbol for phase in plan.phases] == ["parts", "totals"]
        run_plan(plan, [c, a, b, None], HOST, threads)
        results.append(c)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(results[0] - exact).max() < 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("k", [27, 64, 75, 130])
def test_bfloat_pairs(turned, k):
    """Odd sums end in half a pair, even ones are read in place; batches, epilogues and two
    threads."""
    layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
    check("bf16", 61, 83, k, **layout, gap=1)
    check("bf16", 19, 17, k, **layout, gap=1, batch=9, bias="row")
    check("bf16", 61, 83, k, **layout, batch=3, threads=2, bias="column", accumulate=True)


def test_bfloat_pairs_at_any_stride():
    x = draw("bf16", (2, 150, 300), 1)
    a, b = x[0, ::2, ::2], x[1, ::2, ::2]
    c = np.zeros((75, 75), x.dtype)
    plan = plan_gemm("bf16", 75, 75, 150, (600, 2), (2, 600), (75, 1), 1)
    run_plan(plan, [c, x[0], x[1], None], HOST)
    assert_near("bf16", c, wide("bf16", a) @ wide("bf16", b).T)


def kernel_of(m, n, k, *, a_turned=False, b_turned=False, dtype="f32"):
    """The kernel chosen for one product on this machine."""
    a, b = (1, m) if a_turned else (k, 1), (1, k) if b_turned else (n, 1)
    return plan_gemm(dtype, m, n, k, a, b, (n, 1), 1).phases[0].kernel.key.split(":")[0]


@pytest.mark.skipif(HOST.name != "avx512", reason="bounds were measured on such machines")
def test_larger_operands_are_read_in_place_by_more_rows():
    assert kernel_of(12, 256, 256, b_turned=True) == "gemm_dot"
    assert kernel_of(32, 256, 256, b_turned=True) != "gemm_dot"
    assert kernel_of(32, 1024, 1024, b_turned=True) == "gemm_dot"
    assert kernel_of(1024, 32, 1024) == "gemm_direct"
    assert kernel_of(48, 1024, 2048) == "gemm_direct"
    assert kernel_of(256, 256, 256) == "gemm_direct"
    assert kernel_of(1024, 1024, 1024) == "gemm_direct"
    assert kernel_of(1024, 1024, 2048) == "gemm_packed"
    assert kernel_of(256, 256, 256, dtype="f16") == "gemm_packed"
    assert kernel_of(16, 256, 64, dtype="f16") == "gemm_direct"


@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_in_place(threads):
    check("f32", 48, 1000, 700, bias="column", threads=threads)
    check("f32", 40, 300, 1000, b_turned=True, bias="row", relu=True, threads=threads)
    check("f32", 300, 40, 1000, b_turned=True, accumulate=True, threads=threads)
    check("f32", 200, 272, 400, threads=threads)
    check("f32", 200, 272, 400, a_turned=True, threads=threads, batch=2)
    check("f64", 33, 130, 520, b_turned=True, threads=threads, gap=1)


def test_streamed_row():
    """A long row vector against a wide matrix."""
    check("f32", 1, 3000, 700, bias="column", threads=2)
    check("f64", 1, 1500, 700, accumulate=True, relu=True)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_streamed_row_of_a_half_type_is_rounded_once(dtype, target):
    check(dtype, 1, 3001, 701, bias="column", threads=2, target=target)
    check(dtype, 1, 1500, 300, bias="row", accumulate=True, relu=True, target=target)
    check(dtype, 1, 900, 90, accumulate=True, batch=3, gap=1, target=target)


@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(0, 70)),
    turned=st.integers(0, 3),
    dtype=st.sampled_from(["f32", "f64", "f16", "c64", "i32"]),
    bias=st.sampled_from([None, "column", "row"]),
    accumulate=st.booleans(),
    gap=st.integers(0, 2),
    threads=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
def test_any_size(sizes, turned, dtype, bias, accumulate, gap, threads):
    """Any sizes at all."""
    layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
    check(dtype, *sizes, **layout, bias=bias, accumulate=accumulate, gap=gap, threads=threads)


def test_nothing_summed_gives_bias():
    """k = 0."""
    c, bias = np.full((3, 5), 7, np.float32), np.arange(5, dtype=np.float32)
    plan = plan_gemm("f32", 3, 5, 0, (0, 1), (5, 1), (5, 1), 1, bias="column", target=HOST)
    run_plan(plan, [c, np.empty(0), np.empty(0), bias], HOST)
    np.testing.assert_array_equal(c, np.broadcast_to(bias, (3, 5)))


@pytest.mark.parametrize("sizes", [(0, 4, 3), (4, 0, 3)])
def test_empty_result_has_no_phases(sizes):
    """m = 0 or n = 0."""
    assert plan_gemm("f32", *sizes, (3, 1), (4, 1), (4, 1), 2, target=HOST).phases == ()


def test_nan_and_infinity_reach_only_their_row():
    """Padding and copies of edge rows must not spread what is not finite."""
    a, b = np.ones((9, 20), np.float32), np.ones((20, 19), np.float32)
    a[4, 3], a[8, 0] = np.nan, np.inf
    c = np.empty((9, 19), np.float32)
    run_plan(
        plan_gemm("f32", 9, 19, 20, (20, 1), (19, 1), (19, 1), 1, target=HOST),
        [c, a, b, None],
        HOST,
    )
    assert np.isnan(c[4]).all()
    assert np.isinf(c[8]).all()
    np.testing.assert_array_equal(np.delete(c, [4, 8], 0), np.full((7, 19), 20, np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_emits_arm64(dtype):
    """Every module is valid for arm64 and calls nothing outside itself."""
    kernels = [gemm_direct.source(dtype, NEON), gemm_packed.sources(dtype, NEON, False)[0]]
    if dtype[0] != "c":
        kernels += [gemm_dot.source(dtype, NEON), gemm_parts.sources(dtype, NEON)[0]]
    for kernel in kernels:
        calls = [
            line.split()[1]
            for line in assemble(kernel.build(), NEON).splitlines()
            if "\tbl\t" in line
        ]
        assert all(name.startswith(("tile", "pack", "add")) for name in calls)
