"""Values of either framework in a form that compares."""

from collections.abc import Callable
from typing import Any


def plain(value: Any, number: Callable[[float], Any] = repr) -> Any:
    """Tensors as (dtype, shape, numbers), containers by the name of their class, floats as
    `number` has them, and the rest as text.
    """
    if hasattr(value, "storage_offset"):
        numbers = value.detach().reshape(-1).tolist()
        return str(value.dtype).rpartition(".")[2], tuple(value.shape), plain(numbers, number)
    if isinstance(value, dict):
        return type(value).__name__, {repr(key): plain(part, number) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(part, number) for part in value]
    if isinstance(value, float):
        return number(value)
    return repr(value)
