"""Pickling and deep copies: values, sharing, history, subclasses."""

import copy
import pickle
import subprocess
import sys
import weakref

import pytest

import flambeau as torch


class Marked(torch.Tensor):
    """A subclass of a user's."""


def pickled(value: object, protocol: int = pickle.HIGHEST_PROTOCOL) -> object:
    return pickle.loads(pickle.dumps(value, protocol))


COPIES = [copy.deepcopy, pickled, lambda value: pickled(value, 2)]


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex128"])
def test_values_and_strides(duplicate: object, dtype: str) -> None:
    x = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    for t in (x, x.t(), x[1:, ::2], x[0, 0], x[:0]):
        made = duplicate(t)
        assert made.dtype is t.dtype
        assert made.tolist() == t.tolist()
        assert made.stride() == t.stride()
        assert made.data_ptr() != t.data_ptr() or not t.numel()


@pytest.mark.parametrize("duplicate", COPIES)
def test_shared_memory_stays_shared(duplicate: object) -> None:
    x = torch.zeros(6)
    a, b, again = duplicate([x, x[2:4], x])
    a[3] = 7
    assert b.tolist() == [0, 7]
    assert again is a
    assert x.tolist() == [0] * 6


@pytest.mark.parametrize("duplicate", COPIES)
def test_leaves_parameters_and_subclasses(duplicate: object) -> None:
    leaf = torch.ones(2, requires_grad=True)
    assert duplicate(leaf).requires_grad
    parameter = duplicate(torch.nn.Parameter(torch.ones(2), requires_grad=False))
    assert type(parameter) is torch.nn.Parameter
    assert not parameter.requires_grad
    marked = torch.ones(2).as_subclass(Marked)
    marked.note = "kept"
    made = duplicate(marked)
    assert type(made) is Marked
    assert made.note == "kept"
    assert made.tolist() == [1, 1]


@pytest.mark.parametrize("duplicate", COPIES)
def test_attributes_travel(duplicate: object) -> None:
    x = torch.ones(2)
    x.tag = [1, 2]
    made = duplicate(x)
    assert made.tag == [1, 2]
    assert made.tag is not x.tag


def test_deepcopy_takes_the_gradient_along() -> None:
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    made = copy.deepcopy(x)
    assert made.grad.tolist() == [3, 3]
    made.grad.zero_()
    assert x.grad.tolist() == [3, 3]


def test_deepcopy_of_what_has_history_is_an_error() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x)


def test_pickling_leaves_history_out() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    with pytest.warns(UserWarning, match="non-leaf"):
        made = pickled(x)
    assert made.is_leaf
    assert made.requires_grad


def test_dtypes_devices_sizes_and_generators() -> None:
    for value in (torch.float32, torch.device("cpu"), torch.Size([2, 3]), torch.strided):
        assert pickled(value) == value
        assert type(pickled(value)) is type(value)
    g = torch.Generator().manual_seed(3)
    torch.rand(5, generator=g)
    assert pickled(g).get_state().tolist() == g.get_state().tolist()


def test_another_process_can_read_it() -> None:
    data = pickle.dumps(torch.arange(3))
    script = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", script], input=data, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"[0, 1, 2]"


def test_weak_references_and_attributes() -> None:
    x = torch.ones(2)
    x.anything = 1
    alive = weakref.ref(x)
    assert alive() is x
    del x
    assert alive() is None


def test_shared_memory() -> None:
    x = torch.arange(5.0)
    y = x[1:3].share_memory_()
    assert y.is_shared()
    assert not x.is_shared()
    assert y.tolist() == [1, 2]
    assert y.share_memory_() is y
    parameter = torch.nn.Parameter(torch.ones(2)).share_memory_()
    assert parameter.requires_grad
    assert parameter.is_shared()


def test_a_shallow_copy_is_another_tensor_over_the_same_memory() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    for t in (whole, whole.t(), whole[1:, ::2], whole[0, 0], whole[:0], whole.bfloat16()):
        made = copy.copy(t)
        assert made is not t
        assert made.tolist() == t.tolist()
        assert made.stride() == t.stride()
        assert made.data_ptr() == t.data_ptr()
    copy.copy(whole)[0, 0] = 7
    assert whole[0, 0] == 7


def test_a_shallow_copy_is_a_leaf_without_a_gradient() -> None:
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    for t in (x, x * 2):
        made = copy.copy(t)
        assert made.requires_grad
        assert made.is_leaf
        assert made.grad is None


def test_a_shallow_copy_keeps_the_class_and_shares_the_attributes() -> None:
    for t in (torch.ones(2).as_subclass(Marked), torch.nn.Parameter(torch.ones(2))):
        t.names_of = ["a"]
        made = copy.copy(t)
        assert type(made) is type(t)
        assert made.requires_grad == t.requires_grad
        assert made.data_ptr() == t.data_ptr()
        assert made.names_of is t.names_of
        made.other = 1
        assert not hasattr(t, "other")


def test_shallow_copies_of_what_has_no_elements_of_its_own() -> None:
    sparse = copy.copy(torch.eye(2).to_sparse())
    assert sparse.is_sparse
    assert sparse.to_dense().tolist() == [[1, 0], [0, 1]]
    meta = copy.copy(torch.ones(2, 3, device="meta"))
    assert meta.device.type == "meta"
    assert tuple(meta.shape) == (2, 3)
