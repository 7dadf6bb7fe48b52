"""Decide whether a result equals PyTorch's: dtype, shape, then values within a tolerance."""

from dataclasses import dataclass
from typing import Any

import torch

# Errors up to this multiple of PyTorch's own, both measured against double precision, are rounding.
ROUNDING_FACTOR = 4.0
ROUNDING_LIMIT = 1e-3


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted difference, `atol + rtol * abs(expected)`; None: the dtype's default."""

    atol: float | None = None
    rtol: float | None = None


class MismatchError(Exception):
    """Two results differ; the message says in what."""


class ValueMismatchError(MismatchError):
    """Two results of the same structure, dtype and shape differ in their values."""


def compare(expected: Any, actual: Any, tolerance: Tolerance, values: bool = True) -> None:
    """Raise MismatchError unless `actual` equals `expected`, both given as PyTorch values."""
    if isinstance(expected, torch.Tensor):
        _compare_tensors(expected, actual, tolerance, values)
    elif isinstance(expected, (tuple, list)):
        _compare_sequences(expected, actual, tolerance, values)
    elif isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            raise MismatchError(f"keys: expected {list(expected)}, got {actual!r:.80}")
        for key in expected:
            compare(expected[key], actual[key], tolerance, values)
    else:
        _compare_scalars(expected, actual, tolerance, values)


def _compare_sequences(expected: Any, actual: Any, tolerance: Tolerance, values: bool) -> None:
    if not isinstance(actual, (tuple, list)) or len(actual) != len(expected):
        got = f"{len(actual)}" if isinstance(actual, (tuple, list)) else type(actual).__name__
        raise MismatchError(f"expected {len(expected)} outputs, got {got}")
    for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
        try:
            compare(one, other, tolerance, values)
        except MismatchError as error:
            raise type(error)(f"output {index}: {error}") from None


def _compare_scalars(expected: Any, actual: Any, tolerance: Tolerance, values: bool) -> None:
    if type(expected) is not type(actual):
        raise MismatchError(f"expected {expected!r:.60}, got {describe(actual)}")
    if not values:
        return
    if isinstance(expected, (float, complex)):
        _assert_close(torch.tensor(expected), torch.tensor(actual), tolerance)
    elif expected != actual:
        raise ValueMismatchError(f"expected {expected!r:.60}, got {actual!r:.60}")


def _compare_tensors(
    expected: torch.Tensor, actual: Any, tolerance: Tolerance, values: bool
) -> None:
    if not isinstance(actual, torch.Tensor):
        raise MismatchError(f"expected a tensor, got {type(actual).__name__} {actual!r:.60}")
    if expected.dtype != actual.dtype:
        raise MismatchError(f"dtype: expected {expected.dtype}, got {actual.dtype}")
    if expected.shape != actual.shape:
        raise MismatchError(f"shape: expected {tuple(expected.shape)}, got {tuple(actual.shape)}")
    if expected.layout != actual.layout:
        raise MismatchError(f"layout: expected {expected.layout}, got {actual.layout}")
    if values:
        _assert_close(expected.to_dense(), actual.to_dense(), tolerance)


def _assert_close(expected: torch.Tensor, actual: torch.Tensor, tolerance: Tolerance) -> None:
    # A given tolerance only widens the default of the dtype, as in PyTorch's own tests.
    rtol, atol = torch.testing._comparison.default_tolerances(expected)
    rtol, atol = max(rtol, tolerance.rtol or 0.0), max(atol, tolerance.atol or 0.0)
    try:
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        raise ValueMismatchError(_shorten(str(error), expected, actual)) from None


def _shorten(message: str, expected: torch.Tensor, actual: torch.Tensor) -> str:
    """Keep the counts and the greatest difference, add the first pair that differs."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    kept = [line for line in lines if line.startswith(("Mismatched", "Greatest absolute"))]
    text = "; ".join(kept) if kept else lines[0]
    differs = ~torch.isclose(actual, expected, equal_nan=True)
    if expected.numel() and differs.any():
        at = tuple(differs.nonzero()[0].tolist())
        text += f"; at {at} expected {expected[at].item()}, got {actual[at].item()}"
    return f"values: {text}"


def is_rounding(expected: Any, actual: Any, exact: Any) -> bool:
    """Tell whether `actual` is about as near to the double-precision result as PyTorch's own."""
    if isinstance(expected, (tuple, list)):
        return all(map(is_rounding, expected, actual, exact))
    if not isinstance(expected, torch.Tensor) or not (
        expected.is_floating_point() or expected.is_complex()
    ):
        return bool(torch.equal(expected, actual)) if torch.is_tensor(expected) else True
    wide = torch.complex128 if expected.is_complex() else torch.float64
    if exact.shape != expected.shape or not torch.isfinite(exact).all():
        return False
    theirs = (expected.to(wide) - exact.to(wide)).abs()
    ours = (actual.to(wide) - exact.to(wide)).abs()
    if not theirs.numel():
        return True
    # Beyond that PyTorch's own result is no rounding of it, but a random number or a jump.
    limit = ROUNDING_LIMIT * max(1.0, float(exact.abs().max()))
    return bool(theirs.max() <= limit and ours.max() <= ROUNDING_FACTOR * theirs.max())


def describe(value: Any) -> str:
    """Describe a value in a few characters, tensors as `float32[2, 3]`."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(describe, value)) + "]"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
