"""Pointwise ops over memory that is strided, broadcast, transposed, or given by out=."""

import numpy as np
import pytest

import flambeau as torch

LENGTHS = [1, 15, 1000, 32769, 100_003]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("step", [2, 3, 7])
def test_one_long_strided_row_is_computed_like_a_dense_one(n: int, step: int) -> None:
    x = torch.rand(n * step)[::step]
    y = torch.rand(n)
    assert np.array_equal((x + y).numpy(), x.numpy() + y.numpy())
    assert np.array_equal((x * x).numpy(), x.numpy() * x.numpy())
    assert torch.equal(x.exp(), x.contiguous().exp())


@pytest.mark.parametrize("n", LENGTHS)
def test_writing_to_a_strided_row_leaves_its_gaps_alone(n: int) -> None:
    whole = torch.zeros(n, 2)
    whole[:, 1].copy_(torch.arange(n))
    whole[:, 1].add_(1)
    assert whole[:, 0].abs().sum().item() == 0
    assert np.array_equal(whole[:, 1].numpy(), np.arange(1, n + 1, dtype=np.float32))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cut_rows_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    x = torch.rand(3, 200_001)[:, ::2]
    before = torch.get_num_threads()
    expected = x.contiguous().sin()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(x.sin(), expected)
    finally:
        torch.set_num_threads(before)


def test_out_is_written_in_place_where_it_is_what_the_result_would_be() -> None:
    x, y, out = torch.rand(40, 50), torch.rand(40, 50), torch.empty(40, 50)
    address, version = out.data_ptr(), out._version
    assert torch.add(x, y, out=out) is out
    assert out.data_ptr() == address
    assert out._version == version + 1
    assert torch.equal(out, x + y)
    assert torch.equal(torch.mul(x, y[:, :1], out=out), x * y[:, :1])
    turned = torch.empty(50, 40).t()
    assert torch.equal(torch.add(x, y, out=turned), x + y)
    assert turned.stride() == (1, 40)


def test_out_of_a_wider_type_takes_the_converted_result() -> None:
    x, out = torch.rand(70), torch.empty(70, dtype=torch.float64)
    assert torch.equal(torch.exp(x, out=out), x.exp().double())


def test_out_that_overlaps_an_operand_waits_for_the_whole_result() -> None:
    x = torch.arange(10.0)
    torch.add(x[1:], 1.0, out=x[:-1])
    assert x.tolist() == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 9.0]
    x = torch.arange(4.0)
    assert torch.add(x, x, out=x).tolist() == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32769, 100_003])
def test_progressions_written_in_chunks_are_those_of_numpy(n: int) -> None:
    for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        expected = (np.arange(n) * 3 + 5).astype(str(dtype).split(".")[1])
        assert np.array_equal(torch.arange(5, 5 + 3 * n, 3).to(dtype).numpy(), expected)
        made = torch.arange(5, 5 + 3 * n, 3, dtype=dtype)
        assert np.array_equal(made.numpy(), expected)
    points = torch.linspace(-3, 7, n, dtype=torch.float64).numpy()
    assert np.allclose(points, np.linspace(-3, 7, n), rtol=1e-15, atol=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "int64", "complex128"])
@pytest.mark.parametrize("n", [1, 5, 63, 65, 40_000, 100_001])
def test_fills_reach_every_element_and_no_further(dtype: str, n: int) -> None:
    whole = torch.zeros(n + 2, dtype=getattr(torch, dtype))
    whole[1:-1].fill_(3)
    values = whole.numpy()
    assert (values[1:-1] == 3).all()
    assert values[0] == 0
    assert values[-1] == 0
