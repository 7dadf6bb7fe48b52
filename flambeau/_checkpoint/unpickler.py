"""A pickle reader that cannot run code.

It is a loop over opcodes, not Python's `pickle`: nothing is ever imported by name. A global in the
file is looked up in a table of allowed ones; only what stands in that table can be called, built or
referred to. Everything else in a pickle (INST, OBJ, extension codes, ...) is refused. Any fault in
the data is a CheckpointError. Time and memory grow with the size of the data alone: what a call
copies is counted, and keys whose hashes a file could make equal are limited.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

from .errors import CheckpointError, EmptyFileError

_PLAIN_KEYS = (str, int, float, bool, bytes, type(None), complex)
_KEY_NODES = 10_000  # parts of a tuple that is used as a key
_KEY_BITS = 64
_KEY_DEPTH = 100  # hashing recurses on the C stack, without a limit of its own
_HIGHEST_PROTOCOL = 5
_ENCODINGS = ("ascii", "utf-8", "utf8", "latin1", "latin-1", "bytes")
# A call copies its arguments; a file may name the same large one again and again. Without that
# trick, what is copied are items of which each takes a byte of the file at least.
_COPIES_OF_DATA = 2
_FREE_COPIES = 1 << 16  # items
_FREE_ELEMENTS = 1 << 16  # beyond one for each byte of the file
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
# Faults that damaged data causes in the machine; all of them are reported alike.
_FAULTS = (
    IndexError,
    KeyError,
    ValueError,  # with it UnicodeDecodeError
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
)


class Allowed:
    """A global of a pickle: `value` is what it means as data, `call` what calling it does.

    `make` serves NEWOBJ; what is left out is refused. A `trusted` global was added by the user: its
    faults are shown as they are. `measure(arguments)` gives how many elements of tensors a call
    goes through.
    """

    __slots__ = ("call", "make", "measure", "name", "trusted", "value")

    def __init__(
        self,
        name: str,
        value: Any,
        call: Callable | None = None,
        make: Callable | None = None,
        trusted: bool = False,
        measure: Callable[[tuple], int] | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.call = call
        self.make = make
        self.trusted = trusted
        self.measure = measure


class Placeholder:
    """In place of anything that a pickle would build, where it is only looked through."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def append(self, *values: Any) -> None:
        """As `extend` and `update`, forget the values."""

    extend = update = append

    def call(self, *arguments: Any, **options: Any) -> Placeholder:
        """Stand for what a call or a new object would give, too."""
        return self

    make = call
    name = "a placeholder"
    trusted = True
    measure = None


class RestrictedUnpickler:
    """Reads one pickle from `data` at `position`, which then moves behind it.

    `find_global(module, name)` gives an `Allowed` or raises; `load_persistent(id)` gives the object
    behind a persistent id; `find_build(instance)` gives the function that BUILD applies to it, or
    None.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        find_global: Callable[[str, str], Allowed],
        load_persistent: Callable[[Any], Any],
        find_build: Callable[[Any], Callable | None],
        position: int = 0,
        encoding: str = "utf-8",
        file_size: int = 0,
    ) -> None:
        if encoding.lower() not in _ENCODINGS:
            raise ValueError(f"load: unknown encoding {encoding!r}: use one of {_ENCODINGS}")
        self._data = memoryview(data)
        self._encoding = encoding.lower()
        self._copied = 0
        self._elements_left = _FREE_ELEMENTS + file_size
        self.position = position
        self._find_global = find_global
        self._load_persistent = load_persistent
        self._find_build = find_build
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object; CheckpointError for anything unexpected, also for no data at all."""
        if self.position >= len(self._data):
            raise EmptyFileError("Ran out of input")
        try:
            return self._run()
        except CheckpointError:
            raise
        except _FAULTS as fault:
            raise CheckpointError(
                f"invalid pickle at byte {self.position}: {type(fault).__name__}: {fault}"
            ) from fault

    def _run(self) -> Any:
        data, handlers = self._data, _HANDLERS
        while True:
            if self.position >= len(data):
                raise CheckpointError("pickle data was truncated")
            opcode = data[self.position]
            self.position += 1
            if opcode == _STOP:
                return _as_value(self._pop())
            handler = handlers.get(opcode)
            if handler is None:
                raise CheckpointError(
                    f"Unsupported operand {opcode} ({bytes([opcode])!r}) at byte"
                    f" {self.position - 1}"
                )
            handler(self)

    # ---- input and stack -------------------------------------------------------------------------

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self._data):
            raise CheckpointError(f"pickle data was truncated: {size} bytes wanted")
        part = self._data[self.position : end]
        self.position = end
        return part

    def _take_number(self, layout: struct.Struct) -> int:
        return layout.unpack(self._take(layout.size))[0]

    def _take_line(self) -> str:
        limit = min(len(self._data), self.position + 4096)
        line, newline, _ = bytes(self._data[self.position : limit]).partition(b"\n")
        if not newline:
            raise CheckpointError("pickle data was truncated: a name without an end")
        self.position += len(line) + 1
        return line.decode()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        """Take the top of the stack; never from below the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise CheckpointError("the pickle takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self) -> list[Any]:
        """Everything above the last mark, as values."""
        if not self._marks:
            raise CheckpointError("the pickle has no mark to go back to")
        start = self._marks.pop()
        items = [_as_value(item) for item in self._stack[start:]]
        del self._stack[start:]
        return items

    # ---- opcodes ---------------------------------------------------------------------------------

    def _check_protocol(self) -> None:
        protocol = self._take(1)[0]
        if protocol > _HIGHEST_PROTOCOL:
            raise CheckpointError(f"unsupported pickle protocol: {protocol}")

    def _skip_frame(self) -> None:
        self._take(8)

    def _set_mark(self) -> None:
        self._marks.append(len(self._stack))

    def _drop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _duplicate(self) -> None:
        self._push(self._top())

    def _load_long(self, size: int) -> None:
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _load_text(self, size: int) -> None:
        self._push(str(self._take(size), "utf-8", "surrogatepass"))

    def _load_bytes(self, size: int) -> None:
        self._push(bytes(self._take(size)))

    def _load_old_string(self, size: int) -> None:
        # Python 2's str, bytes or text.
        raw = bytes(self._take(size))
        self._push(raw if self._encoding == "bytes" else raw.decode(self._encoding))

    def _append(self) -> None:
        value = _as_value(self._pop())
        _check_kind(self._top(), list, "APPEND").append(value)

    def _append_many(self) -> None:
        items = self._pop_mark()
        _check_kind(self._top(), list, "APPENDS").extend(items)

    def _set_item(self) -> None:
        value, key = _as_value(self._pop()), _as_value(self._pop())
        _check_kind(self._top(), dict, "SETITEM")[check_key(key)] = value

    def _set_items(self) -> None:
        items = self._pop_mark()
        if len(items) % 2:
            raise CheckpointError("SETITEMS: a key without a value")
        target = _check_kind(self._top(), dict, "SETITEMS")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def _add_items(self) -> None:
        items = self._pop_mark()
        _check_kind(self._top(), set, "ADDITEMS").update(map(check_key, items))

    def _make_frozenset(self) -> None:
        self._push(frozenset(map(check_key, self._pop_mark())))

    def _make_dict(self) -> None:
        items = self._pop_mark()
        pairs = zip(items[::2], items[1::2], strict=True)
        self._push({check_key(key): value for key, value in pairs})

    def _make_tuple(self, size: int) -> None:
        items = [_as_value(self._pop()) for _ in range(size)]
        self._push(tuple(reversed(items)))

    def _load_global(self) -> None:
        module = self._take_line()
        self._push(self._find_global(module, self._take_line()))

    def _load_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("STACK_GLOBAL requires str")
        self._push(self._find_global(module, name))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, (Allowed, Placeholder)) or function.call is None:
            raise CheckpointError(
                f"Trying to call reduce for unrecognized function {_describe(function)}"
            )
        arguments = _check_kind(arguments, tuple, "REDUCE")
        if function.trusted:
            self._push(function.call(*arguments))
            return
        for argument in arguments:
            self._count_copy(argument)
        if function.measure is not None:
            self._elements_left -= function.measure(arguments)
            if self._elements_left < 0:
                raise CheckpointError("the pickle goes through the same tensors again and again")
        try:
            self._push(function.call(*arguments))
        except CheckpointError:
            raise
        except RuntimeError as fault:
            raise CheckpointError(f"{function.name} refuses its arguments: {fault}") from fault

    def _count_copy(self, value: Any) -> None:
        if isinstance(value, _SIZED):
            self._copied += len(value)
            if self._copied > _FREE_COPIES + _COPIES_OF_DATA * len(self._data):
                raise CheckpointError("the pickle copies the same data again and again")

    def _make_object(self) -> None:
        self._make(self._pop(), {})

    def _make_object_with_names(self) -> None:
        options = _check_kind(self._pop(), dict, "NEWOBJ_EX")
        self._make(self._pop(), options)

    def _make(self, arguments: Any, options: dict) -> None:
        kind = self._pop()
        if not isinstance(kind, (Allowed, Placeholder)) or kind.make is None:
            raise CheckpointError(
                f"Trying to create a new object of unrecognized class {_describe(kind)}"
            )
        self._push(kind.make(*_check_kind(arguments, tuple, "NEWOBJ"), **options))

    def _build(self) -> None:
        state, instance = _as_value(self._pop()), self._top()
        build = None if isinstance(instance, Allowed) else self._find_build(instance)
        if build is None:
            raise CheckpointError(
                f"Can only build Tensor, Parameter, OrderedDict or types allowlisted via"
                f" `add_safe_globals`, but got {_describe(instance)}"
            )
        self._count_copy(state)
        build(instance, state)

    def _load_persistent_id(self) -> None:
        self._push(self._load_persistent(_as_value(self._pop())))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise CheckpointError(f"Memo value not found at index {index}")
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()


def _as_value(item: Any) -> Any:
    """What an item of the stack is as data."""
    return item.value if isinstance(item, Allowed) else item


def _check_kind(value: Any, kind: type, opcode: str) -> Any:
    """`value`, which must be of `kind` or of an allowed subclass."""
    if not isinstance(value, (kind, Placeholder)):
        raise CheckpointError(f"{opcode} cannot be applied to {_describe(value)}")
    return value


def _describe(value: Any) -> str:
    return value.name if isinstance(value, Allowed) else f"an object of type {type(value).__name__}"


def check_key(key: Any) -> Any:
    """`key`, unless hashing it could take for ever or overflow the stack: a deep tuple, or one of
    many huge integers with the same hash.
    """
    if isinstance(key, int) and key.bit_length() > _KEY_BITS:
        raise CheckpointError("an integer key of a dict or set has more than 64 bits")
    if isinstance(key, _PLAIN_KEYS) or not isinstance(key, (tuple, frozenset)):
        return key
    pending, count = [(key, 0)], 0
    while pending:
        part, depth = pending.pop()
        count += 1
        if count > _KEY_NODES or depth > _KEY_DEPTH:
            raise CheckpointError("a key of a dict or set is nested too deeply")
        if isinstance(part, int):
            check_key(part)
        elif isinstance(part, (tuple, frozenset)):
            pending.extend((inner, depth + 1) for inner in part)
    return key


def _sized(code: str, load: Callable) -> Callable:
    """The handler of an opcode that starts with a size (or an index)."""
    layout = struct.Struct(code)

    def handle(machine: RestrictedUnpickler) -> None:
        load(machine, machine._take_number(layout))

    return handle


def _number(code: str) -> Callable:
    layout = struct.Struct(code)
    return lambda machine: machine._push(machine._take_number(layout))


def _constant(make: Callable[[], Any]) -> Callable:
    return lambda machine: machine._push(make())


def _tuple_of(size: int) -> Callable:
    return lambda machine: machine._make_tuple(size)


_STOP = pickle.STOP[0]
_Machine = RestrictedUnpickler
_TABLE: dict[bytes, Callable] = {
    pickle.PROTO: _Machine._check_protocol,
    pickle.FRAME: _Machine._skip_frame,
    pickle.MARK: _Machine._set_mark,
    pickle.POP: _Machine._drop,
    pickle.POP_MARK: _Machine._pop_mark,
    pickle.DUP: _Machine._duplicate,
    pickle.NONE: _constant(lambda: None),
    pickle.NEWTRUE: _constant(lambda: True),
    pickle.NEWFALSE: _constant(lambda: False),
    pickle.BININT: _number("<i"),
    pickle.BININT1: _number("<B"),
    pickle.BININT2: _number("<H"),
    pickle.LONG1: _sized("<B", _Machine._load_long),
    pickle.LONG4: _sized("<i", _Machine._load_long),
    pickle.BINFLOAT: _number(">d"),
    pickle.SHORT_BINUNICODE: _sized("<B", _Machine._load_text),
    pickle.BINUNICODE: _sized("<I", _Machine._load_text),
    pickle.BINUNICODE8: _sized("<Q", _Machine._load_text),
    pickle.SHORT_BINBYTES: _sized("<B", _Machine._load_bytes),
    pickle.BINBYTES: _sized("<I", _Machine._load_bytes),
    pickle.BINBYTES8: _sized("<Q", _Machine._load_bytes),
    pickle.BYTEARRAY8: _sized(
        "<Q", lambda machine, size: machine._push(bytearray(machine._take(size)))
    ),
    pickle.SHORT_BINSTRING: _sized("<B", _Machine._load_old_string),
    pickle.BINSTRING: _sized("<i", _Machine._load_old_string),
    pickle.EMPTY_LIST: _constant(list),
    pickle.EMPTY_DICT: _constant(dict),
    pickle.EMPTY_SET: _constant(set),
    pickle.EMPTY_TUPLE: _constant(tuple),
    pickle.LIST: lambda machine: machine._push(machine._pop_mark()),
    pickle.DICT: _Machine._make_dict,
    pickle.TUPLE: lambda machine: machine._push(tuple(machine._pop_mark())),
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.APPEND: _Machine._append,
    pickle.APPENDS: _Machine._append_many,
    pickle.SETITEM: _Machine._set_item,
    pickle.SETITEMS: _Machine._set_items,
    pickle.ADDITEMS: _Machine._add_items,
    pickle.FROZENSET: _Machine._make_frozenset,
    pickle.GLOBAL: _Machine._load_global,
    pickle.STACK_GLOBAL: _Machine._load_stack_global,
    pickle.REDUCE: _Machine._reduce,
    pickle.NEWOBJ: _Machine._make_object,
    pickle.NEWOBJ_EX: _Machine._make_object_with_names,
    pickle.BUILD: _Machine._build,
    pickle.BINPERSID: _Machine._load_persistent_id,
    pickle.BINGET: _sized("<B", _Machine._get),
    pickle.LONG_BINGET: _sized("<I", _Machine._get),
    pickle.BINPUT: _sized("<B", _Machine._put),
    pickle.LONG_BINPUT: _sized("<I", _Machine._put),
    pickle.MEMOIZE: _Machine._memoize,
}
_HANDLERS = {opcode[0]: handler for opcode, handler in _TABLE.items()}
