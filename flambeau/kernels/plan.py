"""How generated kernels are handed to the core: kernel sources, phases and plans."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .ir import Builder


class KernelSource(NamedTuple):
    """One function of a module of LLVM IR that need not be generated yet."""

    key: str  # names the module: equal keys mean equal text, so machine code is found by key
    build: Callable[[], str]  # the text of the module
    symbol: str  # the function, with the entry every kernel has (see `ir.Builder.kernel`)


class Phase(NamedTuple):
    """One parallel loop: `kernel(args, desc, begin, end, thread)` over chunks of range(tasks)."""

    kernel: KernelSource
    desc: tuple[int, ...]
    tasks: int
    grain: int


class Plan(NamedTuple):
    """Phases run in order, each complete before the next, on the same args.

    args are the operation's buffers followed by a 64-byte aligned workspace of `workspace` bytes
    and an i64: 1 where the threads' cores are far apart, see core/distance.hpp.
    With `otherwise`, the workspace's first number is zero at the start; where a kernel sets it,
    that plan runs afterwards on the same args.
    """

    phases: tuple[Phase, ...]
    workspace: int
    otherwise: Callable[[], Plan] | None = None


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """The smallest multiple of b that is at least a."""
    return ceil_div(a, b) * b


class Fields:
    """Names for the leading numbers of a desc, shared by a kernel's generator and its planner."""

    def __init__(self, names: str) -> None:
        self.names = names.split()

    def load(self, b: Builder) -> SimpleNamespace:
        """All the numbers, loaded; by name."""
        return SimpleNamespace(**{name: b.size(k) for k, name in enumerate(self.names)})

    def pack(self, **values: int) -> tuple[int, ...]:
        """The desc with these values: every name must be given."""
        if values.keys() != set(self.names):
            raise ValueError(f"desc fields differ: {sorted(values.keys() ^ set(self.names))}")
        return tuple(int(values[name]) for name in self.names)
