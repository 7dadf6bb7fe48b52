"""All entries that are compared, and the check of each: ops, modules, optimisers, schedules."""

import functools
import types
from typing import Any

from . import cases, checks, modules, optimizers, schedulers
from .checks import Outcome
from .columns import FAMILIES, family

# Each gives `entries`, `has_column`, and a `Check` with a method `column`.
SOURCES: dict[str, Any] = {
    "ops": types.SimpleNamespace(
        entries=cases.entries, has_column=cases.has_column, Check=checks.Check
    ),
    "modules": modules,
    "optimizers": optimizers,
    "schedulers": schedulers,
}


@functools.cache
def entries() -> dict[str, Any]:
    """Return every entry by name."""
    found = {k: v for source in SOURCES.values() for k, v in source.entries().items()}
    for name in found:
        assert name in SOURCES[family(name)].entries(), name
    return found


def has_column(name: str, column: str) -> bool:
    """Tell whether a column applies to an entry on the CPU."""
    kind = family(name)
    return column in FAMILIES[kind] and SOURCES[kind].has_column(entries()[name], column)


def check(framework: types.ModuleType, name: str, limit: int, column: str) -> Outcome:
    """Compare one column of an entry on at most `limit` samples (0: all)."""
    source = SOURCES[family(name)]
    return source.Check(framework, entries()[name], limit).column(column)
