"""Checkpoints made to do harm: each must raise a clear error, quickly, and do nothing else."""

import contextlib
import io
import os
import pickle
import struct
import sys
import threading
import zipfile
import zlib
from random import Random

import pytest

import flambeau as torch
from flambeau import serialization

REFUSALS = (pickle.UnpicklingError, RuntimeError, EOFError)
P = pickle


def short_text(text: str) -> bytes:
    return P.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()


def zip_around(pickled: bytes, **records: bytes) -> bytes:
    """A well-formed checkpoint archive around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return stream.getvalue()


def refuse(data: bytes, *kinds: type[BaseException]) -> BaseException:
    with pytest.raises(kinds or REFUSALS) as caught:
        torch.load(io.BytesIO(data))
    return caught.value


def call(module: str, name: str, arguments: bytes) -> bytes:
    """PROTO 2, the global, its arguments (a tuple), REDUCE, STOP."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def trap(tmp_path):
    """A path that an attack would create: it must not exist afterwards."""
    path = tmp_path / "owned"
    yield str(path)
    assert not path.exists()


def list_attacks(path: str) -> dict[str, bytes]:
    command = f"touch {path}".encode()
    argument = b"X" + struct.pack("<I", len(command)) + command
    system = f"{os.system.__module__}\nsystem\n".encode()
    module, name = short_text(os.system.__module__), short_text("system")
    code = f"open({path!r}, 'w')".encode()
    code_argument = b"X" + struct.pack("<I", len(code)) + code
    return {
        "global": b"\x80\x02c" + system + argument + b"\x85R.",
        "global os": b"\x80\x02cos\nsystem\n" + argument + b"\x85R.",
        "stack global": b"\x80\x04" + module + name + b"\x93" + argument + b"\x85R.",
        "stack global by memo": (
            b"\x80\x04" + module + b"\x940" + name + b"\x940h\x00h\x01\x93" + argument + b"\x85R."
        ),
        "eval": call("builtins", "eval", code_argument + b"\x85"),
        "eval, Python 2 name": call("__builtin__", "eval", code_argument + b"\x85"),
        "exec": call("builtins", "exec", code_argument + b"\x85"),
        "getattr": call("builtins", "getattr", b"cos\nenviron\n" + short_text("clear") + b"\x86"),
        "import": call("builtins", "__import__", short_text("antigravity") + b"\x85"),
        "open": call("builtins", "open", short_text("owned") + short_text("w") + b"\x86"),
        "inst": b"(" + argument + b"i" + system + b".",
        "obj": b"(c" + system + argument + b"o.",
        "newobj": b"\x80\x02cbuiltins\nobject\n)\x81.",
        "newobj_ex": b"\x80\x04cbuiltins\nobject\n)}\x92.",
        "build with __setstate__": (
            b"\x80\x02ccollections\nOrderedDict\n)R}"
            + short_text("__setstate__")
            + b"c"
            + system
            + b"sb"
            + argument
            + b"b."
        ),
        "build __class__": (
            b"\x80\x02ccollections\nOrderedDict\n)R}" + short_text("__class__") + b"K\x01sb."
        ),
        "extension code": b"\x80\x02\x82\x01.",
        "persistent text id": b"Psystem\n.",
        "class walk": call("builtins", "type", short_text("x") + b")}\x87"),
        "torch internals": call("torch.hub", "load", argument + b"\x85"),
        "dotted name": b"\x80\x04" + short_text("torch") + short_text("nn.os.system") + b"\x93.",
        "our own modules": call("flambeau.serialization", "os.system", argument + b"\x85"),
        "collections' own imports": b"\x80\x02ccollections\n_sys\n.",
        "functools.partial": call("functools", "partial", b"c" + system + argument + b"\x86"),
        "reduce on text": b"\x80\x02" + short_text("system") + argument + b"\x85R.",
        "reduce on a storage class": b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.",
        "type rebuild of a function": (
            b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\ndevice\nctorch\nTensor\n"
            + short_text("cpu")
            + b"\x85}tR."
        ),
        "default factory": call("collections", "defaultdict", b"ctorch\ndevice\n\x85"),
        "pickled by pickle": pickle.dumps(Attack(os.system, command.decode()), 2),
        "pickled by pickle 4": pickle.dumps(Attack(os.system, command.decode()), 4),
        "hidden in a state dict": pickle.dumps({"w": [Attack(eval, code.decode())]}, 2),
    }


@pytest.mark.parametrize("name", list(list_attacks("")))
def test_no_attack_runs_code(trap, name):
    attack = list_attacks(trap)[name]
    modules = set(sys.modules)
    refuse(zip_around(attack), pickle.UnpicklingError)
    refuse(attack)  # as a file of the old format
    with contextlib.suppress(pickle.UnpicklingError):  # some are no valid pickles
        serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(zip_around(attack)))
    assert "antigravity" not in set(sys.modules) - modules


def test_message_names_the_global_and_the_way_out():
    error = refuse(zip_around(call("os", "system", short_text("x") + b"\x85")))
    assert "os.system" in str(error)
    assert "add_safe_globals" in str(error)


def test_unsafe_globals_are_listed_without_being_run(trap):
    attack = pickle.dumps({"a": Attack(os.system, f"touch {trap}"), "b": [Attack(eval, "1")]}, 2)
    names = serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(zip_around(attack)))
    assert names == [f"{os.system.__module__}.system", "builtins.eval"]


DAMAGED = {
    "empty": b"",
    "no stop": b"\x80\x02]",
    "stop on an empty stack": b"\x80\x02.",
    "protocol 9": b"\x80\x09]..",
    "unknown opcode": b"\x80\x02\xff.",
    "pop beyond a mark": b"\x80\x02](0a.",
    "mark without end": b"\x80\x02t.",
    "tuple of too little": b"\x80\x02K\x01\x87.",
    "odd items": b"\x80\x02}(K\x01u.",
    "append to a dict": b"\x80\x02}K\x01a.",
    "append to text": b"\x80\x02" + short_text("x") + b"K\x01a.",
    "setitem on a list": b"\x80\x02]K\x01K\x01s.",
    "memo miss": b"\x80\x02h\x05.",
    "memo of an empty stack": b"\x80\x02q\x05.",
    "long with negative size": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "long of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2^63": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "bytearray of 2^60": b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x10abc.",
    "broken utf-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "global without end": b"\x80\x02cos\nsyst",
    "global of control characters": b"\x80\x02c\x00\n\x00\n.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "unhashable set item": b"\x80\x02c__builtin__\nset\n](]e\x85R.",
    "bytearray by number": call("builtins", "bytearray", b"J\xff\xff\xff\x7f\x85"),
    "unknown device": call("torch", "device", short_text("nonsense") + b"\x85"),
    "size of text": call("torch", "Size", b"](" + short_text("x") + b"e\x85"),
    "negative size": call("torch", "Size", b"K\x01J\xff\xff\xff\xff\x86\x85") + b"junk"[:0],
    "wrong number of arguments": call("torch._utils", "_rebuild_tensor_v2", b")"),
    "tensor on a number": call(
        "torch._utils", "_rebuild_tensor_v2", b"(K\x01K\x00K\x01\x85K\x01\x85\x89]t"
    ),
    "parameter of a list": call("torch._utils", "_rebuild_parameter", b"]\x88]\x87"),
    "persistent id of no storage": b"\x80\x02" + short_text("storage") + b"Q.",
    "persistent id with too little": b"\x80\x02" + short_text("storage") + b"\x85Q.",
}
ALLOWED_RESULT = {"negative size"}  # a Size is data: any integers do


@pytest.mark.parametrize("name", list(DAMAGED))
def test_damaged_pickles_are_refused(name):
    if name in ALLOWED_RESULT:
        assert len(torch.load(io.BytesIO(zip_around(DAMAGED[name])))) == 2
        return
    refuse(zip_around(DAMAGED[name]))


def run_with_limit(function, seconds: float = 20.0):
    """Run in a thread with a small stack, which recursion would overflow, for a limited time."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    before = threading.stack_size(1 << 18)
    try:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join(seconds)
    assert outcome, "it hangs"
    return outcome[0]


def test_deep_nesting_does_not_overflow_the_stack():
    deep = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    value = run_with_limit(lambda: torch.load(io.BytesIO(zip_around(deep))))
    assert isinstance(value, list)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_keys_that_are_costly_to_hash_are_refused(depth):
    doubling = b")" + b"2\x86" * depth  # t = (t, t), again and again
    attack = b"\x80\x02}" + doubling + b"K\x01s."
    error = run_with_limit(lambda: torch.load(io.BytesIO(zip_around(attack))))
    assert isinstance(error, pickle.UnpicklingError)


# ---- tensors over storages -----------------------------------------------------------------------


def rebuild(storage: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    return call(
        "torch._utils", "_rebuild_tensor_v2", b"(" + storage + offset + size + stride + b"\x89]t"
    )


def storage_id(kind: str = "FloatStorage", key: str = "0", count: bytes = b"K\x04") -> bytes:
    return (
        b"("
        + short_text("storage")
        + f"ctorch\n{kind}\n".encode()
        + short_text(key)
        + short_text("cpu")
        + count
        + b"tQ"
    )


def big(number: int) -> bytes:
    raw = number.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


ONE, FOUR, ZERO = b"K\x01", b"K\x04", b"K\x00"
GEOMETRY = {
    "too long": (ZERO, b"K\x05\x85", ONE + b"\x85"),
    "offset outside": (b"K\x05", ONE + b"\x85", ONE + b"\x85"),
    "offset outside, no elements": (b"K\x05", ZERO + b"\x85", ONE + b"\x85"),
    "negative offset": (big(-1), ONE + b"\x85", ONE + b"\x85"),
    "stride outside": (ZERO, b"K\x02\x85", b"K\x04\x85"),
    "negative stride": (b"K\x03", b"K\x02\x85", big(-1) + b"\x85"),
    "negative size": (ZERO, big(-4) + b"\x85", ONE + b"\x85"),
    "product overflows": (ZERO, big(2**32) + big(2**32) + b"\x86", ZERO + ZERO + b"\x86"),
    "size beyond int64": (ZERO, big(2**64) + b"\x85", ZERO + b"\x85"),
    "stride beyond int64": (ZERO, ONE + b"\x85", big(2**100) + b"\x85"),
    "end overflows": (ZERO, b"K\x02\x85", big(2**63 - 1) + b"\x85"),
    "fewer strides": (ZERO, b"K\x02K\x02\x86", ONE + b"\x85"),
    "size is a float": (ZERO, b"G\x40\x00\x00\x00\x00\x00\x00\x00\x85", ONE + b"\x85"),
    "size is a bool": (ZERO, b"\x88\x85", ONE + b"\x85"),
    "size is text": (ZERO, short_text("ab"), short_text("ab")),
    "size is no tuple": (ZERO, ONE, ONE),
    "65 dimensions": (ZERO, b"(" + ONE * 65 + b"t", b"(" + ONE * 65 + b"t"),
}


@pytest.mark.parametrize("name", list(GEOMETRY))
def test_impossible_tensors_are_refused(name):
    attack = rebuild(storage_id(), *GEOMETRY[name])
    refuse(zip_around(attack, data__0=b"\0" * 16))


def test_a_possible_tensor_is_not_refused():
    good = rebuild(storage_id(), b"K\x01", b"K\x03\x85", ONE + b"\x85")
    content = struct.pack("<4f", 0, 1, 2, 3)
    tensor = torch.load(io.BytesIO(zip_around(good, data__0=content)))
    assert tensor.tolist() == [1, 2, 3]


STORAGES = {
    "more elements than bytes": storage_id(count=b"K\x05"),
    "wider elements": storage_id("DoubleStorage"),
    "a terabyte": storage_id(count=big(2**38)),
    "negative count": storage_id(count=big(-1)),
    "count is text": storage_id(count=short_text("4")),
    "missing record": storage_id(key="7"),
    "path trick": storage_id(key="../data.pkl"),
    "unknown class": storage_id("QInt8Storage"),
    "class of no storage": storage_id("Size"),
}


@pytest.mark.parametrize("name", list(STORAGES))
def test_impossible_storages_are_refused(name):
    attack = rebuild(STORAGES[name], ZERO, ONE + b"\x85", ONE + b"\x85")
    refuse(zip_around(attack, data__0=b"\0" * 16))


def test_one_storage_named_with_two_sizes_is_refused():
    first = rebuild(storage_id(), ZERO, ONE + b"\x85", ONE + b"\x85")[2:-1]
    second = rebuild(storage_id("DoubleStorage"), ZERO, FOUR + b"\x85", ONE + b"\x85")[2:-1]
    refuse(zip_around(b"\x80\x02" + first + second + b"\x86.", data__0=b"\0" * 16))


# ---- the archive ---------------------------------------------------------------------------------


def save_sample() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.arange(100), "b": torch.ones(3)}, stream)
    return stream.getvalue()


def test_every_truncation_is_refused():
    data = save_sample()
    for size in [*range(64), *range(64, len(data), 37), len(data) - 1]:
        refuse(data[:size])


def test_flipped_bytes_are_noticed_or_harmless():
    data = save_sample()
    original = torch.load(io.BytesIO(data))
    for position in range(0, len(data), 11):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        try:
            value = torch.load(io.BytesIO(damaged))
        except REFUSALS:
            continue
        assert torch.equal(value["a"], original["a"]), position
        assert torch.equal(value["b"], original["b"]), position


def test_a_zip_bomb_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "archive/data.pkl", rebuild(storage_id(), ZERO, ONE + b"\x85", ONE + b"\x85")
        )
        archive.writestr("archive/data/0", b"\0" * 10_000_000)
    assert "compressed" in str(refuse(stream.getvalue(), RuntimeError))


def make_archive(entries: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # about duplicate names
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "names",
    [
        ["archive/data.pkl", "archive/data.pkl"],
        ["archive/data.pkl", "archive/data/0", "archive/data/0"],
        ["archive/data.pkl", "other/data/0"],
        ["archive/data.pkl", "archive/../../etc/passwd"],
        ["../data.pkl"],
        ["/data.pkl"],
        ["archive\\data.pkl"],
        ["data.pkl"],
        ["archive/other"],
    ],
)
def test_record_names_that_play_tricks_are_refused(names):
    refuse(make_archive([(name, b"\x80\x02].") for name in names]), RuntimeError)


def test_overlapping_records_are_refused():
    data = bytearray(zip_around(b"\x80\x02].", data__0=b"\0" * 16, data__1=b"\0" * 16))
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", directory + 4)
    third = data.index(b"PK\x01\x02", second + 4)
    data[third + 42 : third + 46] = data[second + 42 : second + 46]  # the header offset
    refuse(bytes(data), RuntimeError)


def test_a_directory_that_claims_too_much_is_refused():
    data = bytearray(zip_around(b"\x80\x02]."))
    end = data.rindex(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<2H", 65000, 65000)
    refuse(bytes(data), RuntimeError)


def test_a_changed_record_is_noticed_by_its_checksum():
    data = bytearray(save_sample())
    place = bytes(data).index(struct.pack("<2q", 40, 41))
    data[place] = 99
    assert "CRC-32" in str(refuse(bytes(data), RuntimeError))
    serialization.set_crc32_options(False)
    try:
        assert torch.load(io.BytesIO(data))["a"][40] == 99
    finally:
        serialization.set_crc32_options(True)


def test_text_and_noise_are_refused():
    for noise in (
        b"hello world\n" * 30,
        bytes(range(256)) * 4,
        zlib.compress(b"x" * 100),
        b"PK\x03\x04",
    ):
        refuse(noise)


# ---- random damage -------------------------------------------------------------------------------

VALUE = {
    "tensor": torch.arange(6.0).view(2, 3).t(),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "plain": [1, 2.5, (1, 2), {"x": None}, {3}, torch.Size([1]), torch.float16],
}
OPCODES = sorted(
    value[0] for value in vars(pickle).values() if isinstance(value, bytes) and len(value) == 1
)


def mutate(data: bytes, random: Random) -> bytes:
    """Change, remove, repeat or insert bytes, in one to eight places."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        at, other = random.randrange(len(result)), random.randrange(len(result))
        size = random.randrange(1, 8)
        change = random.randrange(6)
        if change == 0:
            result[at] = random.randrange(256)
        elif change == 1:
            result[at] = random.choice(OPCODES)
        elif change == 2 and len(result) > 20:
            del result[at : at + size]
        elif change == 3:
            result[at:at] = result[other : other + 4 * size]
        elif change == 4:
            result[at : at + 4] = random.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"))
        else:
            result.insert(at, random.choice(OPCODES))
    return bytes(result)


def load_or_refuse(data: bytes) -> None:
    """Only the three kinds of refusal may come out."""
    with contextlib.suppress(*REFUSALS):
        torch.load(io.BytesIO(data))


def test_random_damage_to_the_pickle_is_refused_or_harmless():
    stream = io.BytesIO()
    torch.save(VALUE, stream)
    with zipfile.ZipFile(stream) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    pickled = records.pop("data.pkl")
    storages = {name.replace("/", "__"): data for name, data in records.items()}
    random = Random(1)
    for _ in range(1500):
        load_or_refuse(zip_around(mutate(pickled, random), **storages))


def test_random_damage_to_the_archive_is_refused_or_harmless():
    stream = io.BytesIO()
    torch.save(VALUE, stream)
    random = Random(2)
    serialization.set_crc32_options(False)
    try:
        for _ in range(3000):
            load_or_refuse(mutate(stream.getvalue(), random))
    finally:
        serialization.set_crc32_options(True)
