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


def build(storage: bytes, size: bytes, stride: bytes) -> bytes:
    """A tensor over a storage, inside a pickle."""
    return rebuild(storage, ZERO, size, stride)[2:-1]


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
    layout = b"ctorch.serialization\n_get_layout\n" + short_text("torch.sparse_coo") + b"\x85R"
    rebuilt = rebuild(storage_id(), ZERO, big(2**40) + b"\x85", ZERO + b"\x85")
    negated = rebuilt[:-3] + metadata + b"tR."
    row = storage_id("LongStorage", "1", b"M\xd0\x07")  # 2000 zeros
    one = storage_id("LongStorage", "1", ONE)
    floats = build(storage_id(), b"K\x04\x85", ONE + b"\x85")
    index = build(row, b"K\x01M\xd0\x07\x86", b"M\xd0\x07K\x01\x86")
    values = build(row, b"M\xd0\x07\x85", ONE + b"\x85")
    endless = build(one, b"K\x01" + big(2**40) + b"\x86", ZERO + ZERO + b"\x86")
    many = build(one, big(2**40) + b"\x85", ZERO + b"\x85")
    start = b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\nq\x01(" + layout + b"("
    stop = b"K\x0a\x85\x89t"
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
        "negated again and again": (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000("
            + storage_id("LongStorage", "1", b"M\xd0\x07") + ZERO + b"M\xd0\x07\x85" + ONE
            + b"\x85\x89]" + metadata + b"tq\x010](" + b"h\x00h\x01R" * 10_000 + b"e."
        ),
        "sparse again and again": (
            start + index + values + stop + b"tq\x020](" + b"h\x01h\x02R" * 10_000 + b"e."
        ),
        "sparse of 2^40 elements over 8 bytes": start + endless + many + stop + b"tR.",
        "sparse of a negative size": start + index + values + big(-5) + b"\x85\x89ttR.",
        "sparse of a size that is text": start + index + values + short_text("x") + b"ttR.",
        "sparse of an index outside": (
            start + index + values + ZERO + b"\x85\x89ttR."
        ),
        "sparse of no tensors": start + b"K\x01K\x02" + stop + b"tR.",
        "sparse of floating indices": start + floats + floats + stop + b"tR.",
        "no data, of an impossible shape": call(
            "torch._utils", "_rebuild_meta_tensor_no_storage",
            b"(ctorch\nfloat32\n" + big(2**62) + big(2**62) + b"\x86" + ONE + ONE + b"\x86\x89t",
        ),
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
