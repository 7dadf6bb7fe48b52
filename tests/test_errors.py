"""Bad input: a clear exception of PyTorch's class that names the op, and everything left intact."""

import math
import pickle

import pytest

import flambeau as torch
import flambeau.nn.functional as F


def leaf(*sizes):
    return torch.ones(sizes, requires_grad=True)


CASES = {
    "shapes that do not broadcast": (
        lambda: torch.ones(2, 3) + torch.ones(4),
        RuntimeError,
        "add.*2, 3.*4",
    ),
    "inner sizes": (lambda: torch.ones(32, 10) @ torch.ones(12, 50), RuntimeError, r"10 != 12"),
    "linear": (lambda: F.linear(torch.ones(2, 3), torch.ones(5, 4)), RuntimeError, r"3 != 4"),
    "view of other size": (
        lambda: torch.ones(6).view(4, 2),
        RuntimeError,
        "invalid for input of size 6",
    ),
    "negative size": (lambda: torch.empty(-1), RuntimeError, "negative"),
    "too many indices": (lambda: torch.ones(2)[0, 0], IndexError, "too many indices"),
    "index past the end": (lambda: torch.ones(3)[3], IndexError, "out of bounds.*size 3"),
    "index tensor past the end": (lambda: torch.ones(3)[torch.tensor([0, 5])], IndexError, "5.*3"),
    "negative index past the end": (lambda: torch.ones(3)[torch.tensor([-4])], IndexError, "-4.*3"),
    "gather past the end": (
        lambda: torch.ones(3).gather(0, torch.tensor([3])),
        (RuntimeError, IndexError),
        "gather.*3",
    ),
    "embedding past the end": (
        lambda: F.embedding(torch.tensor([7]), torch.ones(3, 2)),
        (RuntimeError, IndexError),
        "",
    ),
    "float index": (lambda: torch.ones(3)[torch.tensor([math.nan])], IndexError, ""),
    "dimension out of range": (
        lambda: torch.ones(2, 3).sum(2),
        IndexError,
        "Dimension out of range",
    ),
    "dimension twice": (lambda: torch.ones(2, 3).sum((0, 0)), RuntimeError, "multiple times"),
    "mean of integers": (lambda: torch.tensor([1, 2]).mean(), RuntimeError, "mean"),
    "matrix product of unlike types": (
        lambda: torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.float64),
        RuntimeError,
        "dtype",
    ),
    "gradient of integers": (lambda: torch.tensor([1]).requires_grad_(), RuntimeError, "floating"),
    "in place into integers": (lambda: torch.tensor([1]).add_(0.5), RuntimeError, "can't be cast"),
    "in place on a leaf": (lambda: leaf(2).add_(1), RuntimeError, "leaf"),
    "in place through a view of a leaf": (lambda: leaf(2)[0].mul_(2), RuntimeError, "leaf"),
    "in place on an expanded tensor": (
        lambda: torch.ones(1).expand(3).add_(1),
        RuntimeError,
        "single memory location",
    ),
    "backward of a non-scalar": (lambda: (leaf(2) * 2).backward(), RuntimeError, "scalar outputs"),
    "backward without history": (
        lambda: torch.ones(1).backward(),
        RuntimeError,
        "does not require grad",
    ),
    "truth of many": (lambda: bool(torch.ones(2)), RuntimeError, "ambiguous"),
    "item of many": (lambda: torch.ones(2).item(), RuntimeError, "2 elements"),
    "integer division by zero": (
        lambda: torch.tensor([1]) // torch.tensor([0]),
        RuntimeError,
        "ZeroDivisionError",
    ),
    "kernel larger than input": (
        lambda: F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3)),
        RuntimeError,
        "conv2d",
    ),
    "ragged nested lists": (lambda: torch.tensor([[1, 2], [3]]), ValueError, "length 2"),
    "unknown argument": (lambda: torch.exp(torch.ones(1), base=2), TypeError, "base"),
    "not a tensor": (lambda: torch.exp("x"), TypeError, "exp.*Tensor.*str"),
    "another device": (
        lambda: torch.ones(1, device="cuda"),
        (RuntimeError, AssertionError),
        "cuda|CPU",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    call, kind, text = CASES[name]
    with pytest.raises(kind, match=f"(?s){text}"):
        call()


def test_a_terabyte_is_a_clean_error():
    with pytest.raises(RuntimeError, match=r"not enough memory.*274877906944"):
        torch.empty(2**38)
    assert torch.ones(3).sum().item() == 3


def test_more_elements_than_can_be_counted():
    with pytest.raises(RuntimeError):
        torch.empty(2**40, 2**40)


def test_backward_twice():
    x = leaf(3)
    y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    assert torch.allclose(x.grad, torch.ones(3).exp())


def test_write_to_a_saved_tensor_names_the_op():
    x = leaf(3)
    y = x.exp()
    z = y.sum()
    y.mul_(2)
    w = x.sigmoid()
    w.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*SigmoidBackward0"):
        w.sum().backward()
    assert z.item() == pytest.approx(3 * math.e, rel=1e-6)


def test_a_failed_scatter_writes_nothing():
    x = torch.zeros(4)
    with pytest.raises((RuntimeError, IndexError)):
        x.scatter_(0, torch.tensor([1, 9]), torch.ones(2))
    assert x.tolist() == [0, 0, 0, 0]


def test_a_failed_assignment_writes_nothing():
    x = torch.zeros(4)
    with pytest.raises(IndexError):
        x[torch.tensor([0, 9])] = 1.0
    assert x.tolist() == [0, 0, 0, 0]


def test_truncated_checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.arange(1000.0)}, path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
        torch.load(path)


def test_hostile_checkpoint(tmp_path):
    class Attack:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w').close()",))

    path = tmp_path / "attack.pt"
    path.write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)
    assert not (tmp_path / "owned").exists()
