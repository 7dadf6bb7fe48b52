"""Files of the format before ZIP, made to do harm."""

import pickle
import struct

from tests.hostile.pickles import ONE, ZERO, list_attacks, short_text

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {
    "protocol_version": VERSION,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def storage_id(count: bytes = b"K\x04", key: str = "7", view: bytes = b"N", kind="FloatStorage"):
    """The persistent id of a storage of four floats."""
    return (
        b"(" + short_text("storage") + f"ctorch\n{kind}\n".encode() + short_text(key)
        + short_text("cpu") + count + view + b"tQ"
    )  # fmt: skip


def tensor(storage: bytes, size: bytes = b"K\x04\x85", stride: bytes = ONE + b"\x85") -> bytes:
    """The pickle of a tensor over a storage."""
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + ZERO
        + size
        + stride
        + b"\x89]tR."
    )


def make_file(
    pickled: bytes | None = None,
    magic: object = MAGIC,
    version: object = VERSION,
    system: object = SYSTEM,
    keys: object = ("7",),
    tail: bytes = struct.pack("<q4f", 4, 1, 2, 3, 4),
) -> bytes:
    """A file that loads, unless an argument spoils it; bytes stand for pickles themselves."""
    keys = list(keys) if isinstance(keys, tuple) else keys
    parts = (magic, version, system, tensor(storage_id()) if pickled is None else pickled, keys)
    written = (part if isinstance(part, bytes) else pickle.dumps(part, 2) for part in parts)
    return b"".join(written) + tail


def list_legacy_files() -> dict[str, bytes]:
    """Files that must be refused."""
    sound = make_file()
    borders, at = [], 0
    while at < len(sound) - 24:  # the five pickles end in a dot that no other byte here is
        at = sound.index(b".", at) + 1
        borders.append(at)
    cuts = {place + shift for place in borders for shift in (-1, 0, 1, 5)}
    cuts = {size for size in cuts if 0 < size < len(sound)} | {len(sound) - 1, len(sound) - 17}
    terabyte = b"\x8a\x06" + (2**38).to_bytes(6, "little")
    result = {f"cut off after {size} bytes": sound[:size] for size in sorted(cuts)}
    for name in ("magic", "version", "system", "keys"):
        result |= {
            f"{name} is an attack": make_file(**{name: list_attacks("owned")["global"]}),
            f"{name} is a storage": make_file(**{name: b"\x80\x02" + storage_id() + b"."}),
            f"{name} is a list": make_file(**{name: [1, 2]}),
            f"{name} is empty": make_file(**{name: b""}),
        }
    return result | {
        "a terabyte": make_file(tensor(storage_id(terabyte))),
        "a terabyte, with its count": make_file(
            tensor(storage_id(terabyte)), tail=struct.pack("<q", 2**38)
        ),
        "negative elements": make_file(tensor(storage_id(b"J\xff\xff\xff\xff"))),
        "a negative count": make_file(tail=struct.pack("<q4f", -4, 1, 2, 3, 4)),
        "another count": make_file(tail=struct.pack("<q4f", 3, 1, 2, 3, 4)),
        "a count of 2^62": make_file(tail=struct.pack("<q4f", 2**62, 1, 2, 3, 4)),
        "no key": make_file(keys=()),
        "another key": make_file(keys=("8",)),
        "one key more": make_file(keys=("7", "8")),
        "a key twice": make_file(keys=("7", "7")),
        "a key that is a number": make_file(keys=(7,)),
        "a key that is a deep list": make_file(keys=b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
        "big endian, which it is not": make_file(system={**SYSTEM, "little_endian": False}),
        "a storage named with two sizes": make_file(
            b"\x80\x02" + storage_id() + storage_id(b"K\x08") + b"\x86."
        ),
        "a view outside": make_file(
            tensor(storage_id(view=b"(" + short_text("v") + b"K\x02K\x09t"))
        ),
        "a view before": make_file(
            tensor(storage_id(view=b"(" + short_text("v") + b"J\xff\xff\xff\xffK\x01t"))
        ),
        "a view that is text": make_file(tensor(storage_id(view=short_text("v")))),
        "a view of a terabyte": make_file(
            tensor(storage_id(view=b"(" + short_text("v") + ZERO + terabyte + b"t"))
        ),
        "a tensor outside": make_file(tensor(storage_id(), size=b"K\x05\x85")),
        "a stride outside": make_file(tensor(storage_id(), b"K\x02\x85", b"K\x09\x85")),
        "a module's class": make_file(
            b"\x80\x02(" + short_text("module") + b"cos\nsystem\n" + short_text("x") * 2 + b"tQ."
        ),
        "an unknown class of storages": make_file(tensor(storage_id(kind="QInt8Storage"))),
        "a tar archive": bytes(257) + b"ustar\0" + bytes(300),
        "text": b"hello world\n" * 30,
        "all bytes": bytes(range(256)) * 4,
        "one byte": b"\x80",
    }
