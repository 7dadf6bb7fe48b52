"""Making tensors: from data, of one value, in patterns; options and errors."""

import array as arrays
import math

import numpy as np
import pytest

import flambeau as torch

# ---- from data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        (3, "int64", 3),
        (2.5, "float32", 2.5),
        (True, "bool", True),
        (1j, "complex64", 1j),
        ([1, 2.5], "float32", [1, 2.5]),
        ([True, 2], "int64", [1, 2]),
        ([1, 2j], "complex64", [1, 2j]),
        (((1, 2), (3, 4)), "int64", [[1, 2], [3, 4]]),
        (range(4), "int64", [0, 1, 2, 3]),
        ([], "float32", []),
        ([[], []], "float32", [[], []]),
        (bytearray(b"ab"), "int64", [97, 98]),
        (arrays.array("d", [1, 2]), "float32", [1, 2]),
    ],
)
def test_tensor_infers_the_dtype(data: object, dtype: str, values: object) -> None:
    x = torch.tensor(data)
    assert x.dtype is getattr(torch, dtype)
    assert x.tolist() == values


def test_tensor_of_tensors() -> None:
    parts = [torch.tensor(1.0, dtype=torch.float64), 2]
    assert torch.tensor(parts).dtype is torch.float64
    assert torch.tensor([torch.tensor([1.0]), torch.tensor([2.0])]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="only one element"):
        torch.tensor([torch.ones(2), torch.ones(2)])
    with pytest.warns(UserWarning, match="detach"):
        assert torch.tensor(torch.ones(2)).tolist() == [1, 1]


def test_numbers_are_converted() -> None:
    assert torch.tensor([1.9, -1.9], dtype=torch.int32).tolist() == [1, -1]
    assert torch.tensor([-1], dtype=torch.uint8).tolist() == [255]
    assert torch.tensor([0.1], dtype=float).dtype is torch.float64
    assert torch.tensor([1e40]).tolist() == [math.inf]
    assert torch.tensor([0, 2], dtype=torch.bool).tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: torch.tensor("a"), TypeError, "invalid data type 'str'"),
        (lambda: torch.tensor(None), RuntimeError, "infer dtype of NoneType"),
        (lambda: torch.tensor([1, None]), RuntimeError, "infer dtype of NoneType"),
        (lambda: torch.tensor({1: 2}), RuntimeError, "infer dtype of dict"),
        (lambda: torch.tensor([[1, 2], [3]]), ValueError, r"length 2 at dim 1 \(got 1\)"),
        (lambda: torch.tensor([1, [3]]), TypeError, "depth"),
        (lambda: torch.tensor([300], dtype=torch.uint8), RuntimeError, "without overflow"),
        (lambda: torch.tensor(math.nan, dtype=torch.int32), RuntimeError, "without overflow"),
        (lambda: torch.tensor([1j], dtype=torch.float32), TypeError, "complex"),
        (lambda: torch.tensor([1.0], dtype="f"), TypeError, "dtype"),
        (lambda: torch.tensor([1], requires_grad=True), RuntimeError, "floating point and complex"),
        (lambda: torch.tensor([1.0], device="cuda"), RuntimeError, "CPU only"),
        (lambda: torch.zeros(2, layout=torch.sparse_csr), RuntimeError, "strided"),
        (lambda: torch.zeros(2, dtype=3), TypeError, "dtype"),
        (lambda: torch.zeros(-1), RuntimeError, "negative"),
        (lambda: torch.zeros(), TypeError, "size"),
        (lambda: torch.zeros(2.0), TypeError, "tuple of ints"),
        (lambda: torch.zeros(2, bogus=1), TypeError, "bogus"),
        (lambda: torch.zeros(1 << 45), RuntimeError, "memory"),
        (lambda: torch.zeros(1 << 40, 1 << 40), RuntimeError, "more elements"),
        (lambda: torch.full(2, 3), TypeError, "tuple of ints"),
        (lambda: torch.full((2,), math.nan, dtype=torch.int32), RuntimeError, "without overflow"),
        (lambda: torch.full((2,), torch.ones(1)), TypeError, "must be Number"),
        (lambda: torch.ones_like([1]), TypeError, "must be Tensor, not list"),
        (lambda: torch.empty_strided((2, 3), (1,)), RuntimeError, "dimensionality"),
        (lambda: torch.empty_permuted((2, 3), (0, 0)), RuntimeError, "Duplicate"),
        (lambda: torch.empty_permuted((2, 3), (0,)), RuntimeError, "Number of dimensions"),
        (lambda: torch.empty(2, memory_format=torch.channels_last), RuntimeError, "rank 4"),
    ],
)
def test_errors(call: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_frombuffer() -> None:
    data = bytearray(np.arange(4, dtype=np.int16).tobytes())
    x = torch.frombuffer(data, dtype=torch.int16)
    assert x.tolist() == [0, 1, 2, 3]
    x[0] = 9
    assert data[0] == 9
    assert torch.frombuffer(data, dtype=torch.int16, count=2, offset=2).tolist() == [1, 2]
    with pytest.warns(UserWarning, match="not writable"):
        assert torch.frombuffer(b"abc", dtype=torch.uint8).tolist() == [97, 98, 99]
    for wrong in ({"offset": 1}, {"offset": 8}, {"count": 5}, {"count": 0}):
        with pytest.raises(ValueError, match="frombuffer"):
            torch.frombuffer(data, dtype=torch.int16, **wrong)


def test_asarray() -> None:
    x = torch.ones(2, requires_grad=True)
    assert torch.asarray(x).data_ptr() == x.data_ptr()
    assert not torch.asarray(x).requires_grad
    assert torch.asarray([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="sequence"):
        torch.asarray([1, 2], copy=False)


# ---- of one value --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "complex128"]
)
def test_constants(dtype: str) -> None:
    d = getattr(torch, dtype)
    assert torch.zeros(2, 3, dtype=d).tolist() == [[0] * 3] * 2
    assert torch.ones((2,), dtype=d).tolist() == [1, 1]
    assert torch.full((70000,), 1, dtype=d).to(torch.complex128).sum().item() == 70000
    assert torch.zeros(2, dtype=d).dtype is d


def test_sizes_may_be_given_in_many_ways() -> None:
    for x in (
        torch.zeros(2, 3),
        torch.zeros((2, 3)),
        torch.zeros([2, 3]),
        torch.zeros(size=(2, 3)),
    ):
        assert x.shape == (2, 3)
    assert torch.zeros(torch.Size([2])).shape == (2,)
    assert torch.zeros(torch.tensor(2), 3).shape == (2, 3)
    assert torch.zeros(()).dim() == 0
    assert torch.zeros(0, 3).shape == (0, 3)


def test_fill_value_gives_the_dtype() -> None:
    kinds = {3: "int64", 2.5: "float32", 1j: "complex64", False: "bool"}
    for value, dtype in kinds.items():
        assert torch.full((1,), value).dtype is getattr(torch, dtype)
    assert torch.full((2,), torch.tensor(3)).tolist() == [3, 3]


def test_new_tensors_have_version_0() -> None:
    assert torch.zeros(2)._version == torch.full((2,), 1)._version == torch.arange(3)._version == 0


def test_likes_keep_dense_strides() -> None:
    x = torch.zeros(2, 3, 4).permute(2, 0, 1)
    for made in (
        torch.zeros_like(x),
        torch.ones_like(x),
        torch.full_like(x, 2),
        torch.empty_like(x),
    ):
        assert made.stride() == x.stride()
    assert torch.zeros_like(x, memory_format=torch.contiguous_format).is_contiguous()
    assert torch.zeros_like(torch.zeros(3, 1).expand(3, 4)).is_contiguous()
    assert torch.zeros_like(x, dtype=torch.int8).dtype is torch.int8
    nchw = torch.empty(2, 3, 4, 5, memory_format=torch.channels_last)
    assert nchw.stride() == (60, 1, 15, 3)


def test_new_methods_take_the_dtype() -> None:
    x = torch.zeros(2, dtype=torch.int16)
    assert x.new_zeros(2, 3).dtype is torch.int16
    assert x.new_full((2,), 3.7).tolist() == [3, 3]
    assert x.new_tensor([1, 2]).dtype is torch.int16
    assert x.new_ones((2,), dtype=torch.float64).dtype is torch.float64
    assert x.new_empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert x.new(2, 3).shape == (2, 3)


def test_out() -> None:
    out = torch.empty(0)
    assert torch.zeros(2, 3, out=out) is out
    assert out.tolist() == [[0] * 3] * 2
    with pytest.raises(RuntimeError, match="does not match dtype of out"):
        torch.ones(2, out=out, dtype=torch.float64)


def test_old_constructors() -> None:
    assert torch.FloatTensor([1, 2]).dtype is torch.float32
    assert torch.LongTensor(2, 3).shape == (2, 3)
    assert isinstance(torch.zeros(1), torch.FloatTensor)
    assert not isinstance(torch.zeros(1), torch.LongTensor)
    assert torch.Tensor(2, 3).shape == (2, 3)


# ---- patterns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ((5,), "int64"),
        ((2, 9, 3), "int64"),
        ((10, 0, -3), "int64"),
        ((0, 1, 0.25), "float32"),
        ((3.0,), "float32"),
    ],
)
def test_arange(arguments: tuple, dtype: str) -> None:
    x = torch.arange(*arguments)
    assert x.dtype is getattr(torch, dtype)
    assert x.tolist() == np.arange(*arguments).tolist()


def test_arange_is_exact_in_int64() -> None:
    start = 2**62 + 1
    assert torch.arange(start, start + 3).tolist() == [start, start + 1, start + 2]


def test_arange_takes_tensors_and_dtypes() -> None:
    assert torch.arange(torch.tensor(3)).tolist() == [0, 1, 2]
    assert torch.arange(3, dtype=torch.float16).dtype is torch.float16
    assert torch.arange(0.5, 3, dtype=torch.int64).tolist() == [0, 1, 2]
    assert torch.arange(end=3).tolist() == [0, 1, 2]
    out = torch.empty(6)[::2]
    assert torch.arange(3, out=out).tolist() == [0, 1, 2]


def test_linspace_and_logspace() -> None:
    assert torch.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert torch.linspace(0, 10, 4, dtype=torch.int32).tolist() == [0, 3, 6, 10]
    assert torch.linspace(0, 1, 1).tolist() == [0]
    assert torch.linspace(0, 1, 0).tolist() == []
    assert torch.linspace(0, 1j, 3).tolist() == [0, 0.5j, 1j]
    assert torch.logspace(0, 3, 4).tolist() == [1, 10, 100, 1000]
    x = torch.linspace(0.1, 7.3, 1001, dtype=torch.float64)
    assert np.allclose(x.numpy(), np.linspace(0.1, 7.3, 1001), rtol=1e-15, atol=0)


def test_range_is_deprecated() -> None:
    with pytest.warns(UserWarning, match="arange"):
        assert torch.range(1, 3).tolist() == [1, 2, 3]


def test_eye_and_vander() -> None:
    assert torch.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert torch.eye(0).shape == (0, 0)
    assert torch.eye(2, dtype=torch.bool).tolist() == [[True, False], [False, True]]
    x = torch.tensor([1, 2, 3])
    assert torch.vander(x).tolist() == np.vander([1, 2, 3]).tolist()
    assert torch.vander(x, 2, increasing=True).tolist() == [[1, 1], [1, 2], [1, 3]]


def test_complex_and_polar() -> None:
    real, imag = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0], [4.0]])
    z = torch.complex(real, imag)
    assert z.dtype is torch.complex64
    assert z.tolist() == [[1 + 3j, 2 + 3j], [1 + 4j, 2 + 4j]]
    z.real.sum().backward()
    assert real.grad.tolist() == [2, 2]
    w = torch.polar(torch.tensor([2.0]), torch.tensor([math.pi / 2]))
    assert w.item() == pytest.approx(2j, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: torch.arange(0, 5, 0), RuntimeError, "step must be nonzero"),
        (lambda: torch.arange(5, 0), RuntimeError, "inconsistent with step sign"),
        (lambda: torch.arange(0, math.inf), RuntimeError, "unsupported range"),
        (lambda: torch.arange(0, math.nan), RuntimeError, "unsupported range"),
        (lambda: torch.arange(3j), RuntimeError, "real numbers"),
        (lambda: torch.arange(0, 2, 0.5, dtype=torch.int64), ValueError, "step must be nonzero"),
        (lambda: torch.arange(3, dtype=torch.bool), NotImplementedError, "bool"),
        (lambda: torch.linspace(0, 1, -1), RuntimeError, "non-negative"),
        (lambda: torch.linspace(0, 1, 2.0), TypeError, "steps"),
        (lambda: torch.linspace(0, 1j, 3, dtype=torch.float32), RuntimeError, "complex"),
        (lambda: torch.linspace(torch.zeros(1), 1, 3), RuntimeError, "0-dimensional"),
        (lambda: torch.eye(-1), RuntimeError, "greater or equal to 0"),
        (lambda: torch.eye(2.0), TypeError, "must be int"),
        (lambda: torch.vander(torch.ones(2, 2)), RuntimeError, "one-dimensional"),
        (lambda: torch.complex(torch.ones(2), torch.ones(2).double()), RuntimeError, "scalar type"),
        (lambda: torch.complex(torch.ones(2), torch.ones(3)), RuntimeError, "must match|broadcast"),
        (lambda: torch.hann_window(-1), RuntimeError, "non-negative"),
        (lambda: torch.hann_window(4, dtype=torch.int64), RuntimeError, "floating point"),
    ],
)
def test_pattern_errors(call: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


# ---- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hanning", "hamming", "blackman", "bartlett"])
@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_windows_beside_numpy(name: str, n: int) -> None:
    ours = {"hanning": "hann"}.get(name, name)
    wanted = getattr(np, name)(n)
    whole = getattr(torch, f"{ours}_window")(n, periodic=False, dtype=torch.float64)
    signal = getattr(torch.signal.windows, ours)(n, dtype=torch.float64)
    assert np.allclose(whole.numpy(), wanted, atol=1e-12)
    assert np.allclose(signal.numpy(), wanted, atol=1e-12)
    periodic = getattr(torch, f"{ours}_window")(n, dtype=torch.float64)
    assert np.allclose(
        periodic.numpy(), getattr(np, name)(n + 1)[:-1] if n > 1 else [1], atol=1e-12
    )


def test_kaiser_window() -> None:
    x = torch.kaiser_window(9, periodic=False, beta=8.0, dtype=torch.float64)
    assert np.allclose(x.numpy(), np.kaiser(9, 8.0), atol=1e-6)
    assert torch.kaiser_window(0).shape == (0,)


def test_numpys_numbers_have_their_types() -> None:
    kinds = ["bool_", "uint8", *(f"int{n}" for n in (8, 16, 32, 64))]
    kinds += ["float16", "float32", "float64", "complex64", "complex128"]
    for _ in range(2):  # what the first call remembers serves the second
        for name in kinds:
            number = getattr(np, name)(1)
            made = torch.tensor([number, number])
            assert made.dtype is getattr(torch, name.rstrip("_"))
            assert made.tolist() == [1, 1]
        for name in kinds[1:]:  # arrays of one element are of one class and many types
            assert torch.tensor([np.array(1, name)]).dtype is getattr(torch, name)
    assert torch.tensor([np.float32(1), np.float64(2)]).dtype is torch.float64
    assert torch.tensor([[np.int32(1), 2.5], [True, 3]]).tolist() == [[1, 2.5], [1, 3]]
    with pytest.raises((TypeError, RuntimeError, ValueError)):
        torch.tensor([np.datetime64("2020-01-01")])
