"""What `op.source(...)` says of ops that are not loop programs: what they are, and of what."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Any

from ..core import LoopOp, Op

_COMMENT = {"cpu": ";", "cuda": "//", "opencl": "//"}


def explain(op: Op, device: str, names: Sequence[str], stage: str) -> str:
    """For a composite, its parts and the kernels of those that are loop programs; for a
    primitive, where its kernels come from. All but the kernels is comments."""
    if device not in _COMMENT:
        raise ValueError(
            f"{op.name}.source: expected a device of cpu, cuda, opencl, got {device!r}"
        )
    mark = "#" if stage == "asm" else _COMMENT[device]
    if op.record is not None:
        return _comment(mark, f"{op.name} is a primitive: {_HOW}")
    parts = list(dict.fromkeys(_parts(op.function, set(), 0)))
    text = [
        _comment(
            mark,
            f"{op.name} is a composite: Python in terms of other ops, without a kernel of its own.",
        )
    ]
    if parts:
        text.append(_comment(mark, f"It may call {', '.join(sorted({p.name for p in parts}))}."))
    for part in parts:
        if isinstance(part, LoopOp):
            text.append(_part_source(part, mark, device, names, stage))
        elif part.record is not None:
            text.append(_comment(mark, f"---- {part.name} is a primitive: {_HOW}"))
    return "\n".join(text)


_HOW = (
    "its Python function chooses kernels by shape, layout and type, and launches them.\n"
    "FLAMBEAU_SHOW=ir (or asm) prints them as they are made."
)


def _comment(mark: str, text: str) -> str:
    return "\n".join(f"{mark} {line}" for line in text.splitlines())


def _part_source(part: LoopOp, mark: str, device: str, names: Sequence[str], stage: str) -> str:
    wanted = (names[0],) * part.record.operands if names else ()
    try:
        text = part.source(device, *wanted, stage=stage)
    except RuntimeError as error:  # the part is for other types
        return _comment(mark, f"---- {part.name}: {error}")
    return f"{_comment(mark, f'---- {part.name}')}\n{text}"


def _parts(function: Any, seen: set[int], depth: int) -> Iterator[LoopOp | Op]:
    """Ops that a function names, itself or through helpers of the ops floor."""
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, types.FunctionType) or id(function) in seen or depth > 4:
        return
    seen.add(id(function))
    for value in _named(function):
        if isinstance(value, LoopOp | Op):
            yield value
            if isinstance(value, Op) and value.record is None:
                yield from _parts(value.function, seen, depth + 1)
        elif isinstance(value, types.FunctionType) and value.__module__.startswith("flambeau.ops."):
            yield from _parts(value, seen, depth + 1)


def _named(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    names = set(function.__code__.co_names)
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and value.__name__.startswith("flambeau.ops."):
            yield from (vars(value)[n] for n in sorted(names) if n in vars(value))
        elif value is not None:
            yield value
