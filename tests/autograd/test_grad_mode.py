"""Gradient modes as contexts and decorators, per thread."""

import threading

import pytest

import flambeau as torch


def test_contexts_nest_and_restore() -> None:
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            assert torch.is_grad_enabled()
        with torch.set_grad_enabled(True):
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_restored_after_an_error() -> None:
    with pytest.raises(KeyError), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()


def test_set_grad_enabled_as_a_function() -> None:
    torch.set_grad_enabled(False)
    try:
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.no_grad(),
        lambda: torch.no_grad,
        lambda: torch.inference_mode(),
        lambda: torch.inference_mode,
        lambda: torch.set_grad_enabled(False),
    ],
)
def test_decorators(make) -> None:
    decorator = make()

    @decorator
    def run(depth: int = 2) -> bool:
        """Doc."""
        return run(depth - 1) if depth else torch.is_grad_enabled()

    assert run() is False
    assert torch.is_grad_enabled()
    assert (run.__name__, run.__doc__) == ("run", "Doc.")


def test_decorating_leaves_the_mode_alone() -> None:
    torch.set_grad_enabled(False)(lambda: None)
    assert torch.is_grad_enabled()


def test_generators_run_inside_and_yield_outside() -> None:
    @torch.no_grad()
    def numbers():
        try:
            got = yield torch.is_grad_enabled()
            yield got, torch.is_grad_enabled()
        except KeyError:
            yield "caught", torch.is_grad_enabled()
        return "done"

    g = numbers()
    assert next(g) is False
    assert torch.is_grad_enabled()
    assert g.send(7) == (7, False)
    assert g.throw(KeyError) == ("caught", False)
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == "done"
    assert torch.is_grad_enabled()


def test_classes_are_not_decorated() -> None:
    with pytest.raises(TypeError, match="methods"):
        torch.no_grad()(int)


def test_inference_mode_off_inside() -> None:
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
        with torch.inference_mode(False):
            assert not torch.is_inference_mode_enabled()
            assert torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()


def test_modes_belong_to_a_thread() -> None:
    seen = []
    with torch.no_grad(), torch.inference_mode():
        t = threading.Thread(
            target=lambda: seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        )
        t.start()
        t.join()
    assert seen == [(True, False)]
