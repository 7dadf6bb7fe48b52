"""The core floor: the names of the compiled extension."""

from typing import TYPE_CHECKING, Any

from . import _core
from ._core import *
from ._core import _random_fill, _set_generator_hooks, default_generator

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


__all__ = [name for name in dir(_core) if not name.startswith("_")]
