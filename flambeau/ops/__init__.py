"""The ops floor: every op of the library, one record each, in a file per family."""

from __future__ import annotations

from .. import core
from . import pointwise, reduce
from .record import METHODS, NAMESPACES, REGISTRY, install
