"""A small builder of LLVM IR text: structured loops and branches, vectors, named values.

Kernels are functions `void k(ptr args, ptr desc, i64 begin, i64 end, i64 thread)`; see
`Builder.kernel`.
Values are strings (`%v12`, `7`); their types are passed beside them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .loop_state import Loop
from .target import Target

ATTRIBUTES = '{{ nounwind "prefer-vector-width"="{bits}" "no-trapping-math"="true"{more} }}'


def float_bits(value: float, llvm_type: str) -> str:
    """A float constant as LLVM writes it: the bits of the double with that value."""
    if llvm_type == "half":
        return "0xH" + struct.pack(">e", value).hex().upper()
    if llvm_type == "float":
        value = _round_to_float(value)
    return "0x" + struct.pack(">d", value).hex().upper()


def _round_to_float(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Builder:
    """Emits one function at a time into one module."""

    def __init__(self, target: Target, *features: str) -> None:
        self.target = target
        self.features = features  # what the module uses beyond the target
        self._module: list[str] = []
        self._declarations: dict[str, str] = {}
        self._lines: list[str] = []
        self._stack: list[str] = []
        self._kept: dict[tuple[str, str], str] = {}
        self._globals: dict[tuple[str, str], str] = {}
        self._free = 0  # vector registers left for constants
        self.keeps = 0  # how many registers constants may fill; 0: LLVM decides where they are
        self.reloads = 0  # how many constants found no room
        self.company: dict = {}  # of scalar nodes: those that are computed in one branch
        self._count = 0
        self._label = "entry"

    # ---- text ------------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        """A name not used before in this module."""
        self._count += 1
        return f"%{stem}{self._count}"

    def emit(self, text: str) -> str:
        """Append `name = text`; the name."""
        name = self.fresh()
        self._lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without a result."""
        self._lines.append(f"  {text}")

    def declare(self, name: str, declaration: str) -> None:
        """Declare an external function or intrinsic once."""
        self._declarations.setdefault(name, declaration)

    def need(self, feature: str) -> None:
        """Let the module use a feature beyond the target's."""
        if feature not in self.features:
            self.features = (*self.features, feature)

    def intrinsic(self, name: str, result: str, *args: tuple[str, str]) -> str:
        """Call `@name` with (type, value) arguments."""
        types = ", ".join(t for t, _ in args)
        self.declare(name, f"declare {result} @{name}({types})")
        return self.emit(f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in args)})")

    def global_constant(self, llvm_type: str, value: str, align: int = 64) -> str:
        """A private constant; its address."""
        self._count += 1
        name = f"@c{self._count}"
        self._module.append(
            f"{name} = private unnamed_addr constant {llvm_type} {value}, align {align}"
        )
        return name

    def constant_vector(self, llvm_type: str, value: str, registers: int, keep: bool) -> str:
        """A constant LLVM doesn't look into: what it tries on those it knows, lane by lane, is a
        tenth of the compilation and more.

        It is in a register from the function's start on if `keep`, while there is room; else it is
        loaded where it is used.
        """
        key = (llvm_type, value)
        found = self._kept.get(key)
        if found is not None:
            return found
        place = self._globals.get(key)
        if place is None:
            place = self._globals[key] = self.global_constant(llvm_type, value)
        text = f"load {llvm_type}, ptr {place}, align 64"
        if not keep or self._free < registers:
            self.reloads += keep
            return self.emit(text)
        self._free -= registers
        name = self._kept[key] = self.fresh()
        self._stack.append(f"  {name} = {text}")
        return name

    # ---- control flow ----------------------------------------------------------------------------

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self._lines.append(f"{label[1:]}:")
        self._label = label[1:]

    def branch(self, label: str) -> None:
        """Jump."""
        self.do(f"br label {label}")

    def branch_if(self, condition: str, yes: str, no: str) -> None:
        """Jump by an i1."""
        self.do(f"br i1 {condition}, label {yes}, label {no}")

    @contextmanager
    def loop(
        self, begin: str, end: str, step: str | int = 1, carry: Sequence[tuple[str, str]] = ()
    ) -> Iterator[Loop]:
        """for (index = begin; index < end; index += step), carrying (type, initial) values.

        Inside, call `loop.next(...)` with the carried values' successors; after the block
        `loop.values` are the final ones.
        """
        form = self._turned_loop if self.keeps else self._headed_loop
        with form(begin, end, step, carry) as state:
            yield state

    @contextmanager
    def _headed_loop(
        self, begin: str, end: str, step: str | int, carry: Sequence[tuple[str, str]]
    ) -> Iterator[Loop]:
        """A test, then a turn, and back."""
        head, body, done = self.fresh("head"), self.fresh("body"), self.fresh("done")
        before = self._label
        self.branch(head)
        self.start(head)
        state, phi_at = self._begin_turn(carry)
        first = Loop(state.index, list(state.values))
        inside = self.emit(f"icmp slt i64 {state.index}, {end}")
        self.branch_if(inside, body, done)
        self.start(body)
        yield state
        following = self.emit(f"add nsw i64 {state.index}, {step}")
        self._end_turn(phi_at, first, self._steps(begin, carry, state, following), before)
        self.branch(head)
        self.start(done)
        state.values, state.index = first.values, first.index

    @contextmanager
    def _turned_loop(
        self, begin: str, end: str, step: str | int, carry: Sequence[tuple[str, str]]
    ) -> Iterator[Loop]:
        """The test at the end of a turn, and once before: for where no pass of LLVM's will put it
        there."""
        body, done = self.fresh("body"), self.fresh("done")
        before = self._label
        always = begin.isdigit() and end.isdigit() and int(begin) < int(end)
        if always:
            self.branch(body)
        else:
            self.branch_if(self.less(begin, end), body, done)
        self.start(body)
        state, phi_at = self._begin_turn(carry)
        first = Loop(state.index, list(state.values))
        yield state
        following = self.emit(f"add nsw i64 {state.index}, {step}")
        latch, steps = self._label, self._steps(begin, carry, state, following)
        self._end_turn(phi_at, first, steps, before)
        self.branch_if(self.less(following, end), body, done)
        self.start(done)
        state.index, *state.values = [
            later if always else self.emit(f"phi {t} [{start}, %{before}], [{later}, %{latch}]")
            for t, start, later in steps
        ]

    def _begin_turn(self, carry: Sequence[tuple[str, str]]) -> tuple[Loop, int]:
        """Names of the index and of what is carried, and where their lines will be."""
        state = Loop(self.fresh("i"), [self.fresh("c") for _ in carry])
        self._lines.extend([""] * (1 + len(carry)))
        return state, len(self._lines) - 1 - len(carry)

    def _steps(
        self, begin: str, carry: Sequence[tuple[str, str]], state: Loop, following: str
    ) -> list[tuple[str, str, str]]:
        """Type, first and next value of the index and of what is carried."""
        if carry and state._next is None:
            raise ValueError("loop carries values but next() was not called")
        pairs = zip(carry, state._next or [], strict=True)
        return [("i64", begin, following), *((t, first, later) for (t, first), later in pairs)]

    def _end_turn(
        self, phi_at: int, first: Loop, steps: list[tuple[str, str, str]], before: str
    ) -> None:
        """Write what the index and the carried values are at a turn's begin."""
        names = [first.index, *first.values]
        for k, (name, (t, start, later)) in enumerate(zip(names, steps, strict=True)):
            text = f"  {name} = phi {t} [{start}, %{before}], [{later}, %{self._label}]"
            self._lines[phi_at + k] = text

    @contextmanager
    def blocks(
        self, begin: str, end: str, lanes: int, carry: Sequence[tuple[str, str]] = ()
    ) -> Iterator[tuple[Loop, str]]:
        """A loop over [begin, end) by `lanes`, and a mask <lanes x i1> of the numbers below end.

        The body is there once: an outer loop takes whole blocks with a mask that is all ones, then
        what is left with a mask that is not.
        """
        bits = f"<{lanes} x i1>"
        whole = self.sub(end, lanes - 1)
        state = [("i64", begin), ("i64", whole), (bits, "splat (i1 true)"), *carry]
        with self.loop("0", "2", 1, state) as turn:
            start, stop, mask, *values = turn.values
            again = [(t, v) for (t, _), v in zip(carry, values, strict=True)]
            with self.loop(start, stop, lanes, again) as block:
                yield block, mask
            rest = self.lanes_below(self.sub(end, block.index), lanes)
            turn.next(block.index, end, rest, *block.values)
        block.values = turn.values[3:]

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Run the block only if the i1 holds."""
        yes, done = self.fresh("then"), self.fresh("endif")
        self.branch_if(condition, yes, done)
        self.start(yes)
        yield
        self.branch(done)
        self.start(done)

    def choose(
        self, condition: str, yes, no, types: Sequence[str] = (), rare: bool = False
    ) -> list[str]:
        """if/else: `yes()` and `no()` emit the branches and return values of the given types.

        `rare`: the condition hardly ever holds, so registers and layout should favour `no`.
        """
        a, b, done = self.fresh("then"), self.fresh("else"), self.fresh("endif")
        if rare:
            self.declare("!9", '!9 = !{!"branch_weights", i32 1, i32 4095}')
            self.do(f"br i1 {condition}, label {a}, label {b}, !prof !9")
        else:
            self.branch_if(condition, a, b)
        ends = []
        for label, emit_branch in ((a, yes), (b, no)):
            self.start(label)
            results = emit_branch() or []
            ends.append((self._label, results))
            self.branch(done)
        self.start(done)
        (la, ra), (lb, rb) = ends
        return [
            self.emit(f"phi {t} [{x}, %{la}], [{y}, %{lb}]")
            for t, x, y in zip(types, ra, rb, strict=True)
        ]

    def switch(self, value: str, cases: Sequence[tuple[int, Callable[[], object]]]) -> None:
        """Run the case whose number equals the i64, the last one when none does."""
        labels, done = [self.fresh("case") for _ in cases], self.fresh("endcase")
        rows = " ".join(f"i64 {n}, label {at}" for (n, _), at in zip(cases, labels, strict=True))
        self.do(f"switch i64 {value}, label {labels[-1]} [{rows}]")
        for (_, emit_case), label in zip(cases, labels, strict=True):
            self.start(label)
            emit_case()
            self.branch(done)
        self.start(done)

    @contextmanager
    def function(
        self,
        name: str,
        parameters: Sequence[tuple[str, str]],
        linkage: str = "",
        attributes: str = "",
    ) -> Iterator[None]:
        """void name(parameters): (type, %name) pairs. Functions do not nest."""
        if self._lines:
            raise ValueError("functions do not nest")
        self._label = "entry"
        text = ", ".join(f"{t} {v}" for t, v in parameters)
        head = f"define {linkage} void @{name}({text}) {attributes} #0 {{".replace("  ", " ")
        self._lines, self._stack = [head, "entry:"], []
        self._kept, self._free = {}, self.keeps
        yield
        self._lines[2:2] = self._stack
        self._lines += ["  ret void", "}"]
        self._module.append("\n".join(self._lines))
        self._lines = []

    @contextmanager
    def kernel(self, name: str = "k") -> Iterator[None]:
        """The entry every kernel has: %args, %desc, %begin, %end, %thread."""
        parameters = [
            ("ptr noalias nocapture readonly", "%args"),
            ("ptr noalias nocapture readonly", "%desc"),
            ("i64", "%begin"),
            ("i64", "%end"),
            ("i64", "%thread"),
        ]
        with self.function(name, parameters):
            yield

    def module(self) -> str:
        """The whole module as text."""
        bits = self.target.vector_bytes * 8
        more = ""
        if self.features:
            names = f"{self.target.features},{','.join(f'+{name}' for name in self.features)}"
            more = f' "target-cpu"="{self.target.cpu}" "target-features"="{names}"'
        parts = [f'target triple = "{self.target.triple}"', *self._module]
        parts += self._declarations.values()
        parts.append(f"attributes #0 = {ATTRIBUTES.format(bits=bits, more=more)}")
        return "\n".join(parts) + "\n"

    # ---- values ----------------------------------------------------------------------------------

    def argument(self, index: int | str) -> str:
        """Pointer number `index` of args."""
        slot = self.emit(f"getelementptr ptr, ptr %args, i64 {index}")
        return self.emit(f"load ptr, ptr {slot}, !invariant.load !{{}}")

    def size(self, index: int | str) -> str:
        """int64 number `index` of desc."""
        slot = self.emit(f"getelementptr i64, ptr %desc, i64 {index}")
        return self.emit(f"load i64, ptr {slot}, !invariant.load !{{}}")

    def add(self, a: str | int, b: str | int) -> str:
        """i64 a + b, folded when constant."""
        if isinstance(a, int) and isinstance(b, int):
            return str(a + b)
        if str(a) == "0":
            return str(b)
        return str(a) if str(b) == "0" else self.emit(f"add i64 {a}, {b}")

    def sub(self, a: str | int, b: str | int) -> str:
        """i64 a - b."""
        return str(a) if str(b) == "0" else self.emit(f"sub i64 {a}, {b}")

    def mul(self, a: str | int, b: str | int) -> str:
        """i64 a * b, folded when trivial."""
        if str(a) == "0" or str(b) == "0":
            return "0"
        if str(a) == "1":
            return str(b)
        return str(a) if str(b) == "1" else self.emit(f"mul i64 {a}, {b}")

    def divide(self, a: str, b: str) -> tuple[str, str]:
        """Quotient and remainder of i64 that are not negative."""
        quotient = self.emit(f"udiv i64 {a}, {b}")
        return quotient, self.sub(a, self.mul(quotient, b))

    def less(self, a: str, b: str) -> str:
        """i64 a < b (signed)."""
        return self.emit(f"icmp slt i64 {a}, {b}")

    def min(self, a: str, b: str) -> str:
        """i64 minimum."""
        return self.emit(f"select i1 {self.less(a, b)}, i64 {a}, i64 {b}")

    def max(self, a: str, b: str) -> str:
        """i64 maximum."""
        return self.emit(f"select i1 {self.less(a, b)}, i64 {b}, i64 {a}")

    def select(self, condition: str, llvm_type: str, a: str, b: str) -> str:
        """a where the i1 holds, else b."""
        return self.emit(f"select i1 {condition}, {llvm_type} {a}, {llvm_type} {b}")

    def offset(self, pointer: str, count: str | int, unit: str = "i8") -> str:
        """pointer + count elements of `unit` (bytes by default)."""
        if str(count) == "0":
            return pointer
        return self.emit(f"getelementptr {unit}, ptr {pointer}, i64 {count}")

    def load(self, llvm_type: str, pointer: str, align: int = 1) -> str:
        """A plain load."""
        return self.emit(f"load {llvm_type}, ptr {pointer}, align {align}")

    def store(self, llvm_type: str, value: str, pointer: str, align: int = 1) -> None:
        """A plain store."""
        self.do(f"store {llvm_type} {value}, ptr {pointer}, align {align}")

    def stream(self, llvm_type: str, value: str, pointer: str, align: int) -> None:
        """A store past the caches; a fence must follow before other threads read."""
        self.declare("!0", "!0 = !{i32 1}")
        self.do(f"store {llvm_type} {value}, ptr {pointer}, align {align}, !nontemporal !0")

    def hand_over(
        self, llvm_type: str, value: str, pointer: str, align: int, far: str | None
    ) -> None:
        """A store of what another thread reads next: past the caches where `far` (see `is_far`).
        A fence must follow."""

        def past() -> None:
            self.stream(llvm_type, value, pointer, align)

        def plain() -> None:
            self.store(llvm_type, value, pointer, align)

        plain() if far is None else self.choose(far, past, plain)

    def is_far(self, flag: str) -> str | None:
        """i1: is the flag of core/distance.hpp (i64) set? None without stores past the caches."""
        return self.emit(f"icmp ne i64 {flag}, 0") if self.target.has_streams else None

    def fence(self) -> None:
        """Order the stores past the caches before what follows."""
        if self.target.has_streams:
            self.declare("llvm.x86.sse.sfence", "declare void @llvm.x86.sse.sfence()")
            self.do("call void @llvm.x86.sse.sfence()")

    def stack(self, llvm_type: str, align: int = 64) -> str:
        """Room for one value in the function's frame, whatever loop this is called in; its
        address.
        """
        name = self.fresh()
        self._stack.append(f"  {name} = alloca {llvm_type}, align {align}")
        return name

    # ---- vectors ---------------------------------------------------------------------------------

    def splat(self, value: str, element: str, lanes: int) -> str:
        """`lanes` copies of a scalar."""
        if lanes == 1:
            return value
        vector = f"<{lanes} x {element}>"
        one = self.emit(f"insertelement {vector} poison, {element} {value}, i32 0")
        return self.emit(
            f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer"
        )

    def shuffle(self, a: str, b: str, llvm_type: str, picks: Sequence[int]) -> str:
        """Lanes of a then b by number (compile-time)."""
        mask = ", ".join(f"i32 {p}" for p in picks)
        return self.emit(
            f"shufflevector {llvm_type} {a}, {llvm_type} {b}, <{len(picks)} x i32> <{mask}>"
        )

    def lanes_below(self, limit: str, lanes: int) -> str:
        """Mask <lanes x i1>: lane number < limit (i64)."""
        capped = self.min(limit, str(lanes))
        narrow = self.emit(f"trunc i64 {capped} to i32")
        wide = self.splat(narrow, "i32", lanes)
        numbers = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
        return self.emit(f"icmp slt <{lanes} x i32> {numbers}, {wide}")

    def masked_load(self, element: str, lanes: int, pointer: str, mask: str, align: int = 1) -> str:
        """Lanes where the mask holds, zero elsewhere; no fault on the others."""
        vector = f"<{lanes} x {element}>"
        name = f"llvm.masked.load.v{lanes}{suffix(element)}.p0"
        self.declare(name, f"declare {vector} @{name}(ptr, <{lanes} x i1>, {vector})")
        return self.emit(
            f"call {vector} @{name}(ptr align {align} {pointer}, <{lanes} x i1> {mask}, "
            f"{vector} zeroinitializer)"
        )

    def masked_store(
        self, element: str, lanes: int, value: str, pointer: str, mask: str, align: int = 1
    ) -> None:
        """Store the lanes where the mask holds."""
        vector = f"<{lanes} x {element}>"
        name = f"llvm.masked.store.v{lanes}{suffix(element)}.p0"
        self.declare(name, f"declare void @{name}({vector}, ptr, <{lanes} x i1>)")
        self.do(
            f"call void @{name}({vector} {value}, ptr align {align} {pointer}, <{lanes} x i1> "
            f"{mask})"
        )

    def prefetch(self, pointer: str, level: int = 1) -> None:
        """Ask for the cache line at an address, which need not exist, down to a cache's level."""
        name = "llvm.prefetch.p0"
        self.declare(name, f"declare void @{name}(ptr, i32, i32, i32)")
        self.do(f"call void @{name}(ptr {pointer}, i32 0, i32 {4 - level}, i32 1)")


def suffix(element: str) -> str:
    return {"float": "f32", "double": "f64", "half": "f16"}.get(element, element)
