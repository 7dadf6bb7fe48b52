"""Pickles that are small and would take much time or memory."""

import struct

from tests.hostile.pickles import ONE, ZERO, big, call, rebuild, short_text, storage_id


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def repeat_call(module: str, name: str, argument: bytes, more: bytes, count: int) -> bytes:
    """`[f(x), f(x), ...]` with one large x that the memo keeps."""
    function = f"c{module}\n{name}\n".encode() + b"q\x00"
    return (
        b"\x80\x02" + function + b"0" + argument + b"q\x010]("
        + (b"h\x00h\x01" + more + b"R") * count
        + b"e."
    )  # fmt: skip


# Lists of ten times the list before.
LAUGHS = b"\x80\x02]q\x00" + b"".join(
    b"](" + (b"h" + bytes([i])) * 10 + b"e" + b"q" + bytes([i + 1]) for i in range(100)
)


def list_bombs() -> dict[str, bytes]:
    """Each asks for a thousand times its size, or for ever."""
    wide = text("x" * 100_000)
    numbers = b"](" + ONE * 20_000 + b"e"
    doubling = b")" + b"2\x86" * 200
    metadata = b"}" + short_text("neg") + b"\x88s"
    rebuilt = rebuild(storage_id(), ZERO, big(2**40) + b"\x85", ZERO + b"\x85")
    negated = rebuilt[:-3] + metadata + b"tR."
    return {
        "text copied to bytes again and again": repeat_call(
            "_codecs", "encode", wide, b"\x85", 5_000
        ),
        "list copied to sets again and again": repeat_call(
            "__builtin__", "set", numbers, b"\x85", 5_000
        ),
        "list copied to sizes again and again": repeat_call(
            "torch", "Size", numbers, b"\x85", 5_000
        ),
        "state set again and again": (
            b"\x80\x02ccollections\nOrderedDict\nq\x000}("
            + b"".join(text(f"k{i}") + ONE for i in range(4_000))
            + b"uq\x010]("
            + b"h\x00)Rh\x01b" * 5_000
            + b"e."
        ),
        "keys with the same hash": (
            b"\x80\x02}(" + b"".join(
                b"\x8a\x10" + ((2**61 - 1) * i).to_bytes(16, "little") + b"N"
                for i in range(1, 30_000)
            ) + b"u."
        ),
        "keys that hash for ever": b"\x80\x02}" + doubling + ONE + b"s.",
        "members of a set that hash for ever": call(
            "__builtin__", "set", b"](" + doubling + b"e\x85"
        ),
        "memo places far apart": (
            b"\x80\x02]" + b"".join(b"r" + struct.pack("<I", 2**32 - 1 - i) for i in range(1000))
            + b"j" + struct.pack("<I", 5) + b"."
        ),
        "negated tensor of 4 TB over 16 bytes": negated,
        "laughs whose last is odd": LAUGHS + b"s.",
        "lists in lists, 100 000 deep, then nothing": b"\x80\x02" + b"]" * 100_000 + b"a" * 100_001,
        "copies on the stack": b"\x80\x02" + wide + b"2" * 300_000 + b"s.",
    }  # fmt: skip


def list_harmless() -> dict[str, bytes]:
    """Pickles that may load, and do so at once."""
    return {
        "a billion laughs, a hundred times": LAUGHS + b".",
        "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
        "expanded to 4 TB": rebuild(storage_id(), ZERO, big(2**40) + b"\x85", ZERO + b"\x85"),
        "marks without number": b"\x80\x02" + b"(" * 300_000 + b"K\x01.",
        "a list in itself": b"\x80\x02]q\x00h\x00a.",
        "many frames": b"\x80\x04" + b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f" * 1000 + b"N.",
    }
