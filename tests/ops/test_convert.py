"""Conversions: dtypes, Python numbers, storages, writing in place, limits of dtypes."""

import math
import warnings

import numpy as np
import pytest

import flambeau as torch

NUMBERS = [0.0, 1.0, -1.5, 3.99, 127.0, 1000.25]


@pytest.mark.parametrize("source", ["float32", "float64", "float16", "int32", "bool", "complex64"])
@pytest.mark.parametrize(
    "target", ["float32", "float64", "float16", "int64", "int32", "bool", "complex128"]
)
def test_conversions_beside_numpy(source: str, target: str) -> None:
    array = np.array(NUMBERS).astype(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = array.astype(target)
        found = torch.from_numpy(array).to(getattr(torch, target))
    assert found.tolist() == wanted.tolist()


def test_to_returns_self_when_nothing_changes() -> None:
    x = torch.zeros(2)
    for same in (
        x.to(torch.float32),
        x.to("cpu"),
        x.to(x),
        x.float(),
        x.cpu(),
        x.type_as(x),
        x.to("cpu", torch.float32),
    ):
        assert same is x
    assert x.to(torch.float32, copy=True) is not x
    assert x.to("cpu", torch.float64).dtype is torch.float64
    assert x.to(torch.zeros(1, dtype=torch.int8)).dtype is torch.int8
    assert x.to(dtype=torch.int64).dtype is torch.int64


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float", "float32"),
        ("double", "float64"),
        ("half", "float16"),
        ("bfloat16", "bfloat16"),
        ("int", "int32"),
        ("long", "int64"),
        ("short", "int16"),
        ("char", "int8"),
        ("byte", "uint8"),
        ("bool", "bool"),
        ("cfloat", "complex64"),
        ("cdouble", "complex128"),
    ],
)
def test_shorthands(name: str, dtype: str) -> None:
    assert getattr(torch.ones(2), name)().dtype is getattr(torch, dtype)


def test_gradients_flow_through_conversions() -> None:
    x = torch.ones(2, requires_grad=True)
    (x.double() * 2).half().float().sum().backward()
    assert x.grad.dtype is torch.float32
    assert x.grad.tolist() == [2, 2]
    y = torch.ones(2, requires_grad=True)
    (y.to(torch.complex64) * 1j).imag.sum().backward()
    assert y.grad.tolist() == [1, 1]
    assert not torch.ones(2, requires_grad=True).long().requires_grad


def test_losing_the_imaginary_part_warns() -> None:
    with pytest.warns(UserWarning, match="imaginary"):
        assert torch.tensor([1 + 2j]).float().tolist() == [1]


def test_dense_strides_survive() -> None:
    x = torch.zeros(2, 3).t()
    assert x.double().stride() == (1, 3)
    assert x.to(torch.float64, memory_format=torch.contiguous_format).is_contiguous()


def test_type_names() -> None:
    assert torch.zeros(1).type() == "torch.FloatTensor"
    assert torch.zeros(1).type("torch.LongTensor").dtype is torch.int64
    assert torch.zeros(1).type(torch.int16).dtype is torch.int16
    assert torch.zeros(1).type(torch.DoubleTensor).dtype is torch.float64
    with pytest.raises(ValueError, match="invalid type"):
        torch.zeros(1).type("torch.NoTensor")


@pytest.mark.parametrize("wrong", ["cuda", "cuda:0", 0])
def test_other_devices_are_refused(wrong: object) -> None:
    with pytest.raises(RuntimeError, match="CPU only"):
        torch.zeros(2).to(wrong)
    with pytest.raises(RuntimeError, match="CPU only"):
        torch.zeros(2).cuda()
    with pytest.raises(NotImplementedError, match="no data"):
        torch.zeros(2).to("meta").to("cpu")


# ---- Python numbers ------------------------------------------------------------------------------


def test_item_and_numbers() -> None:
    assert type(torch.tensor(3).item()) is int
    assert type(torch.tensor(True).item()) is bool
    assert torch.tensor([[2.5]]).item() == 2.5
    assert (int(torch.tensor(2.9)), float(torch.tensor(2)), complex(torch.tensor(1j))) == (
        2,
        2.0,
        1j,
    )
    assert [10, 20][torch.tensor(1)] == 20
    with pytest.raises(RuntimeError, match="3 elements cannot be converted to Scalar"):
        torch.zeros(3).item()
    with pytest.raises(TypeError, match="index"):
        [1, 2][torch.tensor(1.0)]
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(torch.zeros(2))


def test_format() -> None:
    assert f"{torch.tensor(3.14159):.2f}" == "3.14"
    assert f"{torch.tensor(7)}" == "7"
    assert f"{torch.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError, match="format"):
        f"{torch.tensor([1.0]):.2f}"


# ---- writing -------------------------------------------------------------------------------------


def test_fill_and_zero() -> None:
    x = torch.zeros(2, 3)
    assert x.fill_(2.5) is x
    assert x.t()[::2].fill_(1).tolist() == [[1, 1], [1, 1]]
    assert x.tolist() == [[1, 2.5, 1], [1, 2.5, 1]]
    assert x.zero_().tolist() == [[0] * 3] * 2
    assert torch.fill(x, 4).tolist() == [[4] * 3] * 2
    assert x.sum().item() == 0
    with pytest.raises(RuntimeError, match="0-dimension"):
        x.fill_(torch.ones(2))
    with pytest.raises(RuntimeError, match="overflow"):
        x.fill_(1j)


def test_gradient_of_fill_goes_to_the_value() -> None:
    value = torch.tensor(2.0, requires_grad=True)
    x = torch.ones(3, requires_grad=True)
    y = x * 3
    y.fill_(value)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert value.grad.item() == 6
    assert x.grad.tolist() == [0, 0, 0]


def test_copy_broadcasts_and_converts() -> None:
    x = torch.zeros(2, 3, dtype=torch.int32)
    assert x.copy_(torch.tensor([1.9, 2.9, 3.9])).tolist() == [[1, 2, 3]] * 2
    with pytest.raises(RuntimeError, match="shape"):
        x.copy_(torch.zeros(2))
    with pytest.raises(TypeError, match="must be Tensor"):
        x.copy_([1, 2, 3])


def test_apply_and_map() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    assert x.apply_(lambda v: v + 1).tolist() == [[1, 2], [3, 4]]
    assert x.map_(torch.tensor([10.0, 20.0]), lambda a, b: a * b).tolist() == [[10, 40], [30, 80]]


# ---- storages ------------------------------------------------------------------------------------


def test_storages() -> None:
    x = torch.arange(6)
    assert x.storage().tolist() == list(range(6))
    assert x[2:].storage().size() == 6
    assert x[2:].untyped_storage() == x.untyped_storage()
    assert x.untyped_storage().nbytes() == 48
    assert torch.is_storage(x.storage())
    assert torch.is_storage(x.untyped_storage())
    assert not torch.is_storage(x)


def test_set_checks_bounds() -> None:
    x = torch.arange(6.0)
    y = torch.empty(0).set_(x.untyped_storage(), 1, (2, 2), (2, 1))
    assert y.tolist() == [[1, 2], [3, 4]]
    y[0, 0] = 50
    assert x[1].item() == 50
    assert torch.empty(0).set_(x).is_set_to(x)
    assert torch.ones(3).set_().shape == (0,)
    with pytest.raises(RuntimeError, match="out of bounds"):
        torch.empty(0).set_(x.untyped_storage(), 1, (6,), (1,))
    with pytest.raises(RuntimeError, match="float32"):
        torch.empty(0).set_(torch.arange(3))


def test_resize() -> None:
    x = torch.arange(4.0)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    assert x.resize_((3,)).tolist() == [0, 1, 2]
    assert x.resize_as_(torch.zeros(2, 3)).shape == (2, 3)
    assert x.flatten()[:3].tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="require grad"):
        torch.zeros(2, requires_grad=True).resize_(3)
    with pytest.raises(RuntimeError, match="negative"):
        x.resize_(-1)


def test_questions() -> None:
    x = torch.zeros(2, 3)
    assert (x.is_cuda, x.is_cpu, x.is_sparse, x.is_meta, x.is_quantized) == (
        False,
        True,
        False,
        False,
        False,
    )
    assert (x.element_size(), x.nbytes, x.numel(), torch.numel(x)) == (4, 24, 6, 6)
    assert torch.is_tensor(x)
    assert torch.is_floating_point(x)
    assert not torch.is_complex(x)
    assert torch.is_nonzero(torch.tensor(2))
    assert x.is_same_size(torch.ones(2, 3))
    assert x.get_device() == -1
    assert x.pin_memory() is x
    assert not x.is_pinned()


# ---- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_finfo_beside_numpy(name: str) -> None:
    ours, theirs = torch.finfo(getattr(torch, name)), np.finfo(name)
    for key in ("max", "min", "eps", "tiny", "smallest_normal", "resolution"):
        wanted = (
            float(str(getattr(theirs, key))) if key == "resolution" else float(getattr(theirs, key))
        )
        assert getattr(ours, key) == wanted
    assert (ours.bits, ours.dtype) == (theirs.bits, name)


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_iinfo_beside_numpy(name: str) -> None:
    ours, theirs = torch.iinfo(getattr(torch, name)), np.iinfo(name)
    assert (ours.min, ours.max, ours.bits) == (theirs.min, theirs.max, theirs.bits)


def test_limits_of_others() -> None:
    assert torch.finfo(torch.bfloat16).max == float.fromhex("0x1.fep127")
    assert torch.finfo() == torch.finfo(torch.float32) == torch.finfo(torch.complex64)
    for call in (
        lambda: torch.finfo(torch.int8),
        lambda: torch.iinfo(torch.float32),
        lambda: torch.iinfo(torch.bool),
    ):
        with pytest.raises(TypeError):
            call()


def test_promotion() -> None:
    assert torch.promote_types(torch.int8, torch.uint8) is torch.int16
    assert torch.promote_types(torch.float16, torch.bfloat16) is torch.float32
    assert torch.result_type(torch.zeros(2, dtype=torch.int8), 1.5) is torch.float32
    assert torch.result_type(torch.zeros(2, dtype=torch.float16), 1.5) is torch.float16
    assert torch.result_type(torch.zeros(2, dtype=torch.int8), torch.tensor(5)) is torch.int8
    assert torch.result_type(1, 2) is torch.int64
    assert torch.can_cast(torch.int64, torch.int8)
    assert not torch.can_cast(torch.float32, torch.int64)
    assert math.isinf(torch.tensor(1e30).half().item())


def test_old_views_survive_a_resize() -> None:
    x = torch.arange(4.0)
    first = x[1:]
    x.resize_(2000)
    second = x[2:4]
    x.resize_(50000)
    torch.rand(2000)
    assert first.tolist() == [1, 2, 3]
    assert second.tolist() == [2, 3]
    assert x[:4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("shape", "wrap", "places"),
    [
        ((3, 3), False, [0, 4, 8]),
        ((2, 4), True, [0, 5]),
        ((7, 3), False, [0, 4, 8]),
        ((7, 3), True, [0, 4, 8, 12, 16, 20]),
        ((2, 2, 2), False, [0, 7]),
    ],
)
def test_fill_diagonal_(shape, wrap, places) -> None:
    filled = torch.zeros(shape).fill_diagonal_(2.0, wrap=wrap)
    assert filled.flatten().nonzero().flatten().tolist() == places
    assert filled.sum() == 2 * len(places)


def test_fill_diagonal_cuts_the_gradient_there_and_checks_its_input() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    (x * 3).fill_diagonal_(0).sum().backward()
    assert x.grad.tolist() == [[0, 3], [3, 0]]
    with pytest.raises(RuntimeError, match="larger than 1"):
        torch.zeros(3).fill_diagonal_(1)
    with pytest.raises(RuntimeError, match="equal length"):
        torch.zeros(2, 2, 3).fill_diagonal_(1)
