"""Marks for symbolic tracing, which Flambeau does not have: `wrap` gives its argument back."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["Proxy", "wrap"]

T = TypeVar("T")


class Proxy:
    """The type of values in a symbolic trace, of which there are none."""

    def __init__(self) -> None:
        raise TypeError("fx.Proxy: Flambeau has no symbolic tracing; modules run as they are")


def wrap(fn_or_name: T) -> T:
    """Mark a function that symbolic tracing should not look into; it stays as it is.

    >>> import flambeau as torch
    >>> torch.fx.wrap(len)([1, 2])
    2
    """
    return fn_or_name


def __getattr__(name: str) -> Any:
    raise AttributeError(f"fx.{name}: Flambeau has no symbolic tracing; modules run as they are")
