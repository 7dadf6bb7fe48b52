"""The choice of an implementation of `scaled_dot_product_attention`; there is one here."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.IntEnum):
    """PyTorch's implementations of attention, by its numbers.

    >>> import flambeau as torch
    >>> torch.nn.attention.SDPBackend.MATH.value
    0
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(
    backends: list[SDPBackend] | SDPBackend, set_priority: bool = False
) -> Iterator[None]:
    """Accepted for PyTorch's sake: attention has one implementation, which every choice means.

    Raises TypeError or ValueError for what is no choice.

    >>> import flambeau as torch
    >>> from flambeau.nn.attention import SDPBackend, sdpa_kernel
    >>> with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
    ...     q = torch.zeros(1, 2, 3)
    ...     y = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    >>> y.shape
    torch.Size([1, 2, 3])
    """
    chosen = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not all(isinstance(backend, SDPBackend) for backend in chosen):
        raise TypeError(f"sdpa_kernel: expected SDPBackend or a list of them, got {backends!r}")
    if not chosen:
        raise ValueError("sdpa_kernel: at least one backend is needed")
    yield
