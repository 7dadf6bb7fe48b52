"""Handles of registered hooks."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any

__all__ = ["RemovableHandle"]


class RemovableHandle:
    """Takes a hook out again: call `remove()`, or leave a `with handle:` block.

    `hooks_dict` holds the hook under `handle.id`; `extra_dict`, one dictionary or a list of them,
    holds what else is kept under that id. Both must allow weak references, as OrderedDict does.

    >>> from collections import OrderedDict
    >>> hooks = OrderedDict()
    >>> handle = RemovableHandle(hooks)
    >>> hooks[handle.id] = print
    >>> handle.remove(); len(hooks)
    0
    """

    _ids = itertools.count()

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = next(RemovableHandle._ids)
        extras = extra_dict if isinstance(extra_dict, (list, tuple)) else [extra_dict]
        tables = [hooks_dict, *(extra for extra in extras if extra is not None)]
        self._tables = [weakref.ref(table) for table in tables]

    def remove(self) -> None:
        """Take the hook out; again, or after its owner has died, does nothing."""
        for find in self._tables:
            table = find()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __getstate__(self) -> tuple:
        return self.id, [find() for find in self._tables]

    def __setstate__(self, state: tuple) -> None:
        self.id, tables = state
        # A table that had died comes back as an empty one, so that remove() stays harmless.
        self._tables = [weakref.ref(OrderedDict() if t is None else t) for t in tables]
