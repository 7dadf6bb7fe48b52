"""A loop being built by `ir.Builder`."""

from __future__ import annotations


class Loop:
    """A loop being built: its index, and the values it carries from one turn to the next."""

    def __init__(self, index: str, values: list[str]) -> None:
        self.index = index
        self.values = values  # inside the loop: this turn's; after it: the final ones
        self._next: list[str] | None = None

    def next(self, *values: str) -> None:
        """Give the carried values of the next turn."""
        if len(values) != len(self.values):
            raise ValueError(f"loop carries {len(self.values)} values, got {len(values)}")
        self._next = list(values)
