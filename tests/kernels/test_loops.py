"""Loop nests against the NumPy oracle: all forms, layouts and types, through the compiler and the
core."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.kernels import dtypes as dt
from flambeau.kernels import scalar
from flambeau.kernels.target import host
from tests.cdialect.programs import POINTWISE, assert_right, make_program, prepare, shapes
from tests.kernels.loop_ops import CODES, derivatives, label, loop_ops, trace
from tests.kernels.loop_runner import run_on_cpu

GROUPS = 6
F32 = dt.INFO["f32"].code


def programs(group: int):
    """Each op in float32 and one more of its types in turn, each in one of its forms in turn."""
    for index, op in itertools.islice(enumerate(loop_ops()), group, None, GROUPS):
        forms = ("flat", "nest") if op.record.form == POINTWISE else ("reduce", "columns")
        accepted = [c for c in CODES if c != F32 and _accepts(op, c)]
        more = [accepted[(index // GROUPS) % len(accepted)]] if accepted else []
        for k, code in enumerate([F32, *more]):
            found = make_program(op, code, forms[(index + k) % 2], index)
            if found is not None:
                yield found
        for rule in derivatives(op):
            own = ("flat", "nest") if rule.record.form == POINTWISE else ("reduce", "columns")
            yield make_program(rule, F32, own[index % 2], 1000 + index)


def _accepts(op, code: int) -> bool:
    with scalar.tracing():
        return trace(op.record, code) is not None


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_loop_op_matches_the_oracle(group: int) -> None:
    for program in programs(group):
        with scalar.tracing():
            graph = trace(program.op.record, program.code)[0]
            runs = [prepare(program, shape, graph) for shape in shapes(program)]
        for run in runs:
            got = run_on_cpu(program, run, host(), pieces=1 + len(run.shape))
            assert_right(
                program, got, run.expected, f"{label(program.op)}, {program.name}, {run.shape}"
            )


# ---- through the core ----------------------------------------------------------------------------

DTYPES = {
    "bool": np.bool_, "uint8": np.uint8, "int8": np.int8, "int16": np.int16, "int32": np.int32,
    "int64": np.int64, "float16": np.float16, "float32": np.float32, "float64": np.float64,
}  # fmt: skip
SUMS = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-10}
sizes = st.sampled_from([0, 1, 2, 3, 7, 8, 9, 16, 17, 33, 70])


@st.composite
def layouts(draw):
    """A shape, an order of the dimensions in memory, and the step of the innermost one."""
    shape = tuple(
        draw(st.lists(sizes, min_size=1, max_size=4).filter(lambda s: np.prod(s) < 20000))
    )
    return shape, tuple(draw(st.permutations(range(len(shape))))), draw(st.sampled_from([1, 1, 2]))


def strided(layout, dtype: str, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """A tensor of that layout and the same values in NumPy."""
    shape, order, step = layout
    rng = np.random.default_rng(seed)
    memory = [shape[d] for d in order]
    memory[-1] *= step
    if dtype == "bool":
        values = rng.integers(0, 2, memory).astype(np.bool_)
    elif dtype.startswith(("int", "uint")):
        values = rng.integers(0 if dtype[0] == "u" else -9, 10, memory).astype(DTYPES[dtype])
    else:
        values = rng.standard_normal(memory).astype(DTYPES[dtype])
    values = values[..., ::step].transpose(np.argsort(order))
    tensor = torch.from_numpy(np.ascontiguousarray(_base(values))).reshape(memory)[..., ::step]
    return tensor.permute(tuple(np.argsort(order).tolist())), values


def _base(x: np.ndarray) -> np.ndarray:
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


axes = st.sets(st.integers(0, 3), max_size=4)


@settings(max_examples=60, deadline=None)
@given(layouts(), axes, st.booleans(), st.sampled_from(list(DTYPES)), st.integers(0, 99))
def test_sums_over_any_axes(layout, picked, keepdim, dtype, seed) -> None:
    x, values = strided(layout, dtype, seed)
    dims = tuple(sorted(d for d in picked if d < x.dim()))
    wide = np.float64 if dtype.startswith("float") else np.int64
    expected = values.sum(axis=dims or None, keepdims=keepdim, dtype=wide)
    got = torch.sum(x, dims, keepdim) if dims else torch.sum(x)
    if not dims and keepdim:
        expected = expected.reshape(())
    assert tuple(got.shape) == expected.shape
    if dtype in SUMS:
        np.testing.assert_allclose(
            got.numpy().astype(np.float64), expected, rtol=SUMS[dtype], atol=SUMS[dtype] * 30
        )
    else:
        assert got.dtype == torch.int64
        np.testing.assert_array_equal(got.numpy(), expected)


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(0, 3), st.sampled_from(list(DTYPES)), st.integers(0, 99))
def test_extremes_and_their_places(layout, dim, dtype, seed) -> None:
    x, values = strided(layout, dtype, seed)
    dim %= x.dim()
    if x.shape[dim] == 0:
        return
    for name in ("max", "min"):
        got = getattr(torch, f"a{name}")(x, dim)
        np.testing.assert_array_equal(got.numpy(), getattr(values, name)(axis=dim))
        if dtype == "bool":
            continue
        place = getattr(torch, f"arg{name}")(x, dim)
        np.testing.assert_array_equal(place.numpy(), getattr(values, f"arg{name}")(axis=dim))


@settings(max_examples=40, deadline=None)
@given(layouts(), axes, st.sampled_from(list(DTYPES)), st.integers(0, 99))
def test_any_and_all(layout, picked, dtype, seed) -> None:
    x, values = strided(layout, dtype, seed)
    dims = tuple(sorted(d for d in picked if d < x.dim()))
    if not dims:
        return
    np.testing.assert_array_equal(torch.any(x, dims).numpy(), (values != 0).any(axis=dims))
    np.testing.assert_array_equal(torch.all(x, dims).numpy(), (values != 0).all(axis=dims))


@settings(max_examples=60, deadline=None)
@given(layouts(), st.data(), st.sampled_from(["uint8", "int32", "float16", "float32", "float64"]))
def test_pointwise_over_any_layouts(layout, data, dtype) -> None:
    shape, order, _ = layout
    other = tuple(n if data.draw(st.booleans()) else 1 for n in shape)
    x, a = strided(layout, dtype, 1)
    y, b = strided((other, data.draw(st.permutations(order)), 1), dtype, 2)
    np.testing.assert_array_equal((x * y).numpy(), a * b)
    np.testing.assert_array_equal((x < y).numpy(), a < b)
    np.testing.assert_array_equal(torch.maximum(y, x).numpy(), np.maximum(a, b))


@settings(max_examples=25, deadline=None)
@given(layouts(), st.integers(0, 3), st.sampled_from(["float16", "float32", "float64"]))
def test_softmax_along_any_axis(layout, dim, dtype) -> None:
    x, values = strided(layout, dtype, 5)
    dim %= x.dim()
    if values.size == 0:
        return
    wide = values.astype(np.float64)
    e = np.exp(wide - wide.max(axis=dim, keepdims=True))
    got = torch.softmax(x, dim).numpy().astype(np.float64)
    np.testing.assert_allclose(got, e / e.sum(axis=dim, keepdims=True), rtol=3e-3, atol=1e-6)


@pytest.mark.parametrize("size", [1, 1000, 70_001, 300_007])
@pytest.mark.parametrize("shape", ["line", "plane", "turned"])
def test_long_reductions_are_the_same_for_any_number_of_threads(size: int, shape: str) -> None:
    values = np.random.default_rng(size).standard_normal(6 * size).astype(np.float32)
    plane = values.reshape(3, 2 * size)
    x = torch.from_numpy({"line": values, "plane": plane, "turned": plane.T}[shape])
    dims = {"line": (0,), "plane": (1,), "turned": (0,)}[shape]
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append((torch.sum(x, dims).numpy(), torch.amax(x, dims).numpy()))
    finally:
        torch.set_num_threads(threads)
    expected = (values if shape == "line" else plane).astype(np.float64).sum(axis=-1)
    for total, largest in found:
        np.testing.assert_allclose(total, expected, atol=size**0.5 * 1e-4)
        np.testing.assert_array_equal(largest, (values if shape == "line" else plane).max(axis=-1))
    for total, _ in found[2:]:
        np.testing.assert_array_equal(total, found[1][0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("length", [1, 5, 16, 33, 100])
def test_nan_wins_and_ties_go_to_the_first(dtype: str, length: int) -> None:
    x = torch.zeros(9, length).to(getattr(torch, dtype))
    assert torch.argmax(x, 1).tolist() == [0] * 9 == torch.argmin(x, 1).tolist()
    assert torch.argmax(x.t(), 0).tolist() == [0] * 9
    at = length // 2
    x[:, at] = float("nan")
    x[:, 0] = 5.0 if at else float("nan")
    for y, dim in ((x, 1), (x.t(), 0)):
        assert torch.argmax(y, dim).tolist() == [at] * 9 == torch.argmin(y, dim).tolist()
        assert bool(torch.isnan(torch.amax(y, dim)).all())
        assert bool(torch.isnan(torch.amin(y, dim)).all())
    assert torch.argmax(x).item() == at


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
def test_integers_are_summed_in_int64(dtype: str) -> None:
    high = int(np.iinfo(dtype).max)
    x = torch.full((3, 1001), high, dtype=getattr(torch, dtype))
    assert torch.sum(x, 1).tolist() == [high * 1001] * 3
    assert torch.sum(x, 0).tolist() == [high * 3] * 1001
    assert (
        torch.sum(x, 1, dtype=getattr(torch, dtype)).tolist() == [_wrapped(high * 1001, dtype)] * 3
    )


def _wrapped(value: int, dtype: str) -> int:
    return int(np.array(value, np.int64).astype(dtype))


def test_halves_are_summed_in_single_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.ones(3000).to(dtype)
        assert (
            abs(torch.sum(x).item() - 3000) <= 8
        )  # in its own precision it would stop at 2048 or 256
        assert (
            torch.sum(torch.ones(3000, 9).to(dtype), 0).float().tolist()
            == [torch.tensor(3000.0).to(dtype).item()] * 9
        )


def test_more_than_two_reduced_dimensions() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4, 5, 6, 7))
    x = torch.from_numpy(values)
    for dims in itertools.combinations(range(5), 3):
        np.testing.assert_allclose(
            torch.sum(x, dims).numpy(), values.sum(axis=dims), rtol=1e-12, atol=1e-12
        )
        turned = x.permute(4, 2, 0, 3, 1)
        got = torch.amax(turned, dims).numpy()
        np.testing.assert_array_equal(got, values.transpose(4, 2, 0, 3, 1).max(axis=dims))
    np.testing.assert_array_equal(
        torch.argmax(x.permute(2, 0, 4, 1, 3)).item(), np.argmax(values.transpose(2, 0, 4, 1, 3))
    )


def test_row_programs_over_dimensions_apart() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4, 5, 6, 2)).astype(np.float32)
    for order in ((0, 1, 2, 3, 4), (4, 2, 0, 3, 1)):
        turned = values.transpose(order)
        x = torch.from_numpy(values).permute(order)
        for dims in ((0, 2, 4), (0, 1, 3), (1, 2, 4)):
            got = torch.logsumexp(x, dims).numpy()
            expected = np.log(np.exp(turned.astype(np.float64)).sum(axis=dims))
            np.testing.assert_allclose(got, expected, rtol=1e-5)
            center = torch.var(x, dims, keepdim=True).numpy()
            np.testing.assert_allclose(
                center, turned.var(axis=dims, keepdims=True, ddof=1), rtol=1e-4
            )
            x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(torch.amax(x, dims).sum(), x)
            x = x.detach()
            hits = turned == turned.max(axis=dims, keepdims=True)
            np.testing.assert_array_equal(
                gradient.numpy(), hits / hits.sum(axis=dims, keepdims=True)
            )
