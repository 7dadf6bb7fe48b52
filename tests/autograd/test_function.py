"""Custom functions: saving, flags, in-place, several outputs, checks of what backward returns."""

import pytest

import flambeau as torch
from flambeau import autograd
from flambeau.autograd import Function, gradcheck, gradgradcheck
from flambeau.autograd.function import once_differentiable


def leaf(*values: float, dtype=torch.float32) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], dtype=dtype, requires_grad=True)


class ScaledExp(Function):
    @staticmethod
    def forward(ctx, x, k):
        y = x.exp() * k
        ctx.save_for_backward(y)
        ctx.k = k
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y, None


class Increment(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.add_(1)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * 5


def function(forward, backward) -> type[Function]:
    return type(
        "Made", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )


def test_saved_output_and_other_arguments() -> None:
    x = leaf(0, 1)
    y = ScaledExp.apply(x, 2.0)
    assert y.grad_fn.name() == "ScaledExpBackward"
    assert y.grad_fn.k == 2.0
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([2, 2 * 2.7182817])


def test_double_backward_through_saved_output() -> None:
    x = leaf(0.5, -0.3, dtype=torch.float64)
    assert gradcheck(lambda x: ScaledExp.apply(x, 2.0), (x,))
    assert gradgradcheck(lambda x: ScaledExp.apply(x, 2.0), (x,))


def test_nothing_is_recorded_without_need() -> None:
    assert not ScaledExp.apply(torch.ones(1), 1.0).requires_grad
    with torch.no_grad():
        assert not ScaledExp.apply(leaf(1), 1.0).requires_grad


def test_needs_input_grad() -> None:
    seen = []

    def backward(ctx, grad):
        seen.append(ctx.needs_input_grad)
        return grad, None, None

    made = function(lambda ctx, a, b, k: a + b, backward)
    made.apply(leaf(1), torch.ones(1), 3).sum().backward()
    assert seen == [(True, False, False)]


def test_missing_gradients_come_as_zeros_or_none() -> None:
    got = []

    def forward(ctx, a, b, materialize):
        ctx.set_materialize_grads(materialize)
        return a * 2, b * 3

    def backward(ctx, ga, gb):
        got.append(None if gb is None else gb.tolist())
        return ga * 2, None, None

    made = function(forward, backward)
    for materialize in (True, False):
        a, b = leaf(1), leaf(1, 2)
        made.apply(a, b, materialize)[0].sum().backward()
        assert a.grad.tolist() == [2]
        assert b.grad is None
    assert got == [[0, 0], None]


def test_written_input_keeps_its_identity() -> None:
    x = leaf(1, 2)
    y = x * 2
    z = Increment.apply(y)
    assert z is y
    assert y.grad_fn.name() == "IncrementBackward"
    z.sum().backward()
    assert x.grad.tolist() == [10, 10]


def test_written_view_reaches_its_base() -> None:
    x = leaf(1, 2)
    y = x * 2
    Increment.apply(y[:1])
    assert y.tolist() == [3, 4]
    y.sum().backward()
    assert x.grad.tolist() == [10, 2]


def test_written_leaf_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        Increment.apply(leaf(1))


def test_mark_dirty_needs_an_input_that_is_returned() -> None:
    def dirty_other(ctx, x):
        y = x * 1
        ctx.mark_dirty(y)
        return y

    def not_returned(ctx, x):
        ctx.mark_dirty(x)
        return x * 1

    with pytest.raises(RuntimeError, match="mark_dirty"):
        function(dirty_other, lambda ctx, g: g).apply(leaf(1))
    with pytest.raises(RuntimeError, match="must all be outputs"):
        function(not_returned, lambda ctx, g: g).apply(leaf(1) * 1)


def test_returned_input_becomes_another_tensor() -> None:
    x = leaf(1, 2)
    y = function(lambda ctx, x: x, lambda ctx, g: g * 5).apply(x)
    assert y is not x
    assert x.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_outputs_without_gradient() -> None:
    def forward(ctx, x):
        other = x * 2
        ctx.mark_non_differentiable(other)
        return x * 1, other, x > 1, "text"

    y, other, mask, text = function(forward, lambda ctx, g, *rest: g * 5).apply(leaf(1, 2))
    assert (y.requires_grad, other.requires_grad, mask.requires_grad, text) == (
        True,
        False,
        False,
        "text",
    )
    y.sum().backward()


def test_setup_context_form_with_keyword_arguments() -> None:
    class Scale(Function):
        @staticmethod
        def forward(x, k=3):
            return x * k

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.k, None

    x = leaf(1, 2)
    Scale.apply(x, k=4).sum().backward()
    assert x.grad.tolist() == [4, 4]
    assert Scale.apply(x).tolist() == [3, 6]


def test_gradient_is_summed_over_broadcast_dimensions() -> None:
    a, b = leaf(1), leaf(1, 2, 3)
    function(lambda ctx, a, b: a + b, lambda ctx, g: (g, g)).apply(a, b).sum().backward()
    assert a.grad.tolist() == [3]
    assert b.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda g: (g, g), RuntimeError, r"incorrect number of gradients \(expected 1, got 2\)"),
        (
            lambda g: torch.ones(3),
            RuntimeError,
            r"got \[3\] but expected shape compatible with \[2\]",
        ),
        (lambda g: 3, RuntimeError, r"expected Variable or None \(got int\)"),
    ],
)
def test_what_backward_returns_is_checked(returned, error, message: str) -> None:
    made = function(lambda ctx, x: x * 1, lambda ctx, g: returned(g))
    with pytest.raises(error, match=message):
        made.apply(leaf(1, 2)).sum().backward()


def test_trailing_nones_are_forgiven() -> None:
    x = leaf(1)
    function(lambda ctx, x: x * 1, lambda ctx, g: (g, None, None)).apply(x).sum().backward()
    assert x.grad.tolist() == [1]


def test_freed_tensors_are_named() -> None:
    y = ScaledExp.apply(leaf(1), 1.0).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"second time.*ScaledExpBackward"):
        y.backward()


def test_saved_input_is_version_checked() -> None:
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    x = leaf(1, 2) * 1
    y = function(forward, lambda ctx, g: 2 * g * ctx.saved_tensors[0]).apply(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*MadeBackward"):
        y.sum().backward()


def test_only_tensors_are_saved() -> None:
    with pytest.raises(TypeError, match="argument 0 is of type int"):
        function(lambda ctx, x: ctx.save_for_backward(3), None).apply(leaf(1))


def test_once_differentiable() -> None:
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @once_differentiable
    def backward(ctx, grad):
        assert not torch.is_grad_enabled()
        return 3 * grad * ctx.saved_tensors[0] ** 2

    made = function(forward, backward)
    x, w = leaf(2), leaf(1)
    (g,) = autograd.grad((made.apply(x) * w).sum(), x, create_graph=True)
    assert g.item() == 12
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_clear_errors_for_what_is_missing() -> None:
    class Empty(Function):
        pass

    with pytest.raises(NotImplementedError, match="forward"):
        Empty.apply(leaf(1))
    with pytest.raises(NotImplementedError, match="either the backward or vjp"):
        type("F", (Function,), {"forward": staticmethod(lambda ctx, x: x * 1)}).apply(
            leaf(1)
        ).sum().backward()
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Empty()
    with pytest.raises(NotImplementedError, match="vmap"):
        Empty.vmap(None, None)
    with pytest.raises(NotImplementedError, match="jvp"):
        Empty.jvp(None)
