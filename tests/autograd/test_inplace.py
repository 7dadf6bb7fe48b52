"""Writes in place: on bases and views, version checks, leaves, inference tensors."""

import pytest

import flambeau as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], requires_grad=True)


def test_write_through_a_view_reaches_the_base() -> None:
    x = leaf(1, 2, 3, 4)
    y = x * 1
    v = y[1:3]
    v.mul_(10)
    assert y.grad_fn.name() == "torch::autograd::CopySlices"
    y.sum().backward()
    assert x.grad.tolist() == [1, 10, 10, 1]


def test_write_through_a_view_of_a_view() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 1
    y.t()[0].mul_(torch.tensor([10.0, 20.0]))
    assert y.tolist() == [[10, 2], [60, 4]]
    (y * y).sum().backward()
    assert x.grad.tolist() == [[200, 4], [2400, 8]]


def test_views_see_writes_to_the_base() -> None:
    x = leaf(1, 2, 3)
    y = x * 1
    v = y[:2]
    y.mul_(3)
    v.sum().backward()
    assert x.grad.tolist() == [3, 3, 0]


def test_views_see_writes_through_sibling_views() -> None:
    x = leaf(1, 2, 3)
    y = x * 1
    a, b = y[:2], y[1:]
    a.mul_(5)
    (b * b).sum().backward()
    assert x.grad.tolist() == [0, 100, 6]


def test_base_without_gradient_gets_history_from_a_write() -> None:
    w = leaf(2, 3)
    b = torch.zeros(4)
    b[1:3].copy_(w * w)
    b[1:3] *= w
    assert b.requires_grad
    b.sum().backward()
    assert w.grad.tolist() == [12, 27]


def test_assignment_by_index() -> None:
    x, w = leaf(1, 2, 3), leaf(5)
    y = x * 2
    y[1] = w[0] * 3
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 0, 24]
    assert w.grad.tolist() == [90]


def test_many_writes_through_views() -> None:
    x = leaf(1, 1)
    y = x * 1
    for _ in range(2000):
        y[0].mul_(1.001)
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([1.001**2000, 1], rel=1e-3)


def test_deep_chain_of_view_writes_is_taken_apart_without_recursion() -> None:
    x = leaf(1, 1)
    y = x * 1
    for _ in range(30_000):
        y[0].mul_(1.0)
    del y


def test_old_value_is_kept_when_the_derivative_reads_it() -> None:
    x, w = leaf(3), leaf(4)
    y = x * 1
    y.mul_(w)
    y.sum().backward()
    assert (x.grad.item(), w.grad.item()) == (4, 3)


def test_overwriting_a_saved_result_is_an_error_that_names_the_op() -> None:
    x = leaf(1, 2)
    y = x.exp()
    y.add_(1)
    with pytest.raises(
        RuntimeError, match=r"modified by an inplace operation.*ExpBackward0.*version 1.*version 0"
    ):
        y.sum().backward()


def test_overwriting_what_nobody_saved_is_fine() -> None:
    x = leaf(1, 2)
    y = x * 2
    y.add_(1)
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_overwriting_through_a_view_of_a_saved_tensor_is_an_error() -> None:
    x = leaf(1, 2)
    y = x * 1
    z = y * y
    y[0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_writes_through_data_are_not_seen() -> None:
    x = leaf(1, 2)
    y = x * 1
    z = y * y
    y.data.mul_(10)
    z.sum().backward()
    assert x.grad.tolist() == [20, 40]


def test_leaves_are_protected() -> None:
    x = leaf(1, 2)
    with pytest.raises(
        RuntimeError,
        match="a leaf Variable that requires grad is being used in an in-place operation",
    ):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0].add_(1)
    with torch.no_grad():
        x.add_(1)
        x[0].add_(1)
    assert x.tolist() == [3, 3]


def test_expanded_memory_is_protected() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.ones(1).expand(3).add_(1)


def test_view_made_without_recording_may_not_be_written_with() -> None:
    y = leaf(1, 2) * 1
    with torch.no_grad():
        v = y[:1]
        v.mul_(1)
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
        v.mul_(2)
    y.detach()[:1].mul_(2)
    assert y.tolist() == [2, 2]


def test_inference_tensors() -> None:
    with torch.inference_mode():
        y = torch.ones(2)
        y.add_(1)
        v = y[:1]
    assert y.is_inference()
    assert v.is_inference()
    assert not (y + 1).is_inference()
    with pytest.raises(
        RuntimeError, match="Inplace update to inference tensor outside InferenceMode"
    ):
        y.add_(1)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        y * torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="inference tensor outside InferenceMode"):
        y.requires_grad_()
    w = torch.ones(2, requires_grad=True)
    (y.clone() * w).sum().backward()
    assert w.grad.tolist() == [2, 2]
