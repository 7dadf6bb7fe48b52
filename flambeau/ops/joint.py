"""All derivatives of a row program at once: one kernel reads what they share only once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.scalar import Expr
from .identity import identify
from .row_program import MOST_LAUNCHES, Launch, RowProgram, Shape

Places = list[tuple[int, Shape | None]]  # operand of each output, and the shape to view it in


class JointDerivative:
    """The cotangents of several operands, from the derivative given on the op's record."""

    def __init__(self, record: Any, derivative: Callable, name: str) -> None:
        code = derivative.__code__
        self.derivative, self.name = derivative, name
        self.reads = code.co_varnames[1 : code.co_argcount]
        self.operands = record.names[: record.operands]
        self.numbers = record.names[record.operands :]
        self.identity = identify(record) or ""
        self._programs: dict[tuple, RowProgram] = {}
        self._prepared: dict[tuple, tuple[Launch, Places] | None] = {}

    def __call__(
        self,
        g: Tensor,
        operands: Sequence[Tensor | None],
        shapes: Sequence[Shape | None],
        numbers: tuple | None,
        mask: int,
        needed: Sequence[bool],
    ) -> list[Tensor | None] | None:
        """A cotangent for each operand that is `needed`; None where no one kernel gives them all.

        Operands that no derivative reads are None; `shapes` are theirs where they differ from g's.
        """
        kinds = [None if x is None else (x.shape, x.dtype) for x in operands]
        key = (mask, g.shape, g.dtype, *shapes, *needed, *kinds)
        if key not in self._prepared:
            if len(self._prepared) > MOST_LAUNCHES:
                self._prepared.clear()
            self._prepared[key] = self._prepare(g, operands, shapes, numbers, mask, needed)
        found = self._prepared[key]
        if found is None:
            return None
        launch, places = found
        outs = launch.run([g, *(x for x in operands if x is not None)], numbers or ())
        result: list[Tensor | None] = [None] * len(needed)
        for out, (k, shape) in zip(outs, places, strict=True):
            result[k] = out if shape is None else core.view(out, shape)
        return result

    def _prepare(self, g, operands, shapes, numbers, mask, needed) -> tuple[Launch, Places] | None:
        present = tuple(k for k, x in enumerate(operands) if x is not None)
        tensors = [g, *(operands[k] for k in present)]
        if not all(t.is_floating_point() for t in tensors):
            return None
        shape, places = tuple(g.shape), [k for k, n in enumerate(needed) if n]
        own = [shape if shapes[k] is None else tuple(shapes[k]) for k in places]
        footprints = [(1,) * (len(shape) - len(o)) + o for o in own]
        program = self._program(tuple(needed), present)
        mask &= (1 << len(shape)) - 1
        launch = program.plan(tensors, shape, mask, len(numbers or ()), footprints)
        if launch is None:
            return None
        made = [s[1:] if summed else s for s, _, summed in launch.results]
        views = [
            o if m != o and math.prod(m) == math.prod(o) else None
            for m, o in zip(made, own, strict=True)
        ]
        return launch, list(zip(places, views, strict=True))

    def _program(self, needed: tuple[bool, ...], present: tuple[int, ...]) -> RowProgram:
        key = (needed, present)
        if key not in self._programs:
            identity = f"{self.identity} joint {needed} {present}" if self.identity else ""
            places = [k for k, n in enumerate(needed) if n]
            body = self._body(needed, present)
            self._programs[key] = RowProgram(self.name, body, places, identity)
        return self._programs[key]

    def _body(self, needed: tuple[bool, ...], present: tuple[int, ...]) -> Callable:
        def body(g: Expr, *rest: Expr) -> tuple:
            names = [self.operands[k] for k in present] + list(self.numbers)
            values = dict.fromkeys(self.operands, g)  # those not present are not read
            values |= dict(zip(names, rest, strict=True))
            parts = self.derivative(g, *(values[name] for name in self.reads))
            return tuple(p for p, n in zip(parts, needed, strict=True) if n)

        return body
