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
from tests.hostile.pickles import (
    DAMAGED,
    FOUR,
    GEOMETRY,
    ONE,
    STORAGES,
    ZERO,
    Attack,
    call,
    list_attacks,
    rebuild,
    short_text,
    storage_id,
    zip_around,
)

REFUSALS = (pickle.UnpicklingError, RuntimeError, EOFError)


def refuse(data: bytes, *kinds: type[BaseException]) -> BaseException:
    with pytest.raises(kinds or REFUSALS) as caught:
        torch.load(io.BytesIO(data))
    return caught.value


@pytest.fixture
def trap(tmp_path):
    """A path that an attack would create: it must not exist afterwards."""
    path = tmp_path / "owned"
    yield str(path)
    assert not path.exists()


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


@pytest.mark.parametrize("name", list(GEOMETRY))
def test_impossible_tensors_are_refused(name):
    attack = rebuild(storage_id(), *GEOMETRY[name])
    refuse(zip_around(attack, data__0=b"\0" * 16))


def test_a_possible_tensor_is_not_refused():
    good = rebuild(storage_id(), b"K\x01", b"K\x03\x85", ONE + b"\x85")
    content = struct.pack("<4f", 0, 1, 2, 3)
    tensor = torch.load(io.BytesIO(zip_around(good, data__0=content)))
    assert tensor.tolist() == [1, 2, 3]


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
