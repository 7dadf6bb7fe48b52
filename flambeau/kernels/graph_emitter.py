"""Emission of scalar graphs in any language: the walk is here, the words are the backend's."""

from __future__ import annotations

from collections.abc import Callable

from .scalar import Expr, Number


class GraphEmitter:
    """Walks graphs; a backend says how a constant and an operation are written."""

    def constant(self, value: Number, dtype: str) -> str:
        """A constant, as the backend writes it."""
        raise NotImplementedError

    def operation(self, e: Expr, args: list[str]) -> str:
        """Emit one node, its arguments already emitted; the name of its value."""
        raise NotImplementedError

    def rarely(self, e: Expr, leaf: Callable[[Expr], str | None], known: dict[Expr, str]) -> str:
        """Emit a `rarely` node, condition and quick value already known; as a choice unless the
        backend knows better."""
        slow = self.graph([e.args[2]], leaf, known)[0]
        return self.operation(e, [known[e.args[0]], known[e.args[1]], slow])

    def graph(
        self, roots: list[Expr], leaf: Callable[[Expr], str | None], known: dict[Expr, str]
    ) -> list[str]:
        """Values of the roots. `leaf` answers for inputs and the like; `known` keeps what was
        emitted."""
        stack = list(reversed(roots))
        while stack:
            current = stack[-1]
            if current in known:
                stack.pop()
                continue
            value = (
                self.constant(current.value, current.dtype)
                if current.op == "const"
                else leaf(current)
            )
            if value is None:
                rare = current.op == "rarely"
                args = current.args[:2] if rare else current.args
                missing = [a for a in args if a not in known]
                if missing:
                    stack.extend(reversed(missing))
                    continue
                if rare:
                    value = self.rarely(current, leaf, known)
                else:
                    value = self.operation(current, [known[a] for a in args])
            known[current] = value
            stack.pop()
        return [known[root] for root in roots]
