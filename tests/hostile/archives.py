"""ZIP archives made to do harm."""

import io
import struct
import warnings
import zipfile

from tests.hostile.pickles import ONE, ZERO, rebuild, storage_id, zip_around

TENSOR = rebuild(storage_id(), ZERO, ONE + b"\x85", ONE + b"\x85")
CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
SIZE_AT, OFFSET_AT = 20, 42  # of the two sizes and the header offset in a directory entry


def make_archive(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with any names, also twice the same."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def make_sound() -> bytearray:
    """A checkpoint of one tensor over 16 bytes, which loads."""
    return bytearray(zip_around(TENSOR, data__0=b"\0" * 16, data__1=b"\1" * 16))


def find(data: bytes, mark: bytes, number: int) -> int:
    """Where the mark stands for the `number`-th time, from 0."""
    at = -1
    for _ in range(number + 1):
        at = data.index(mark, at + 1)
    return at


def change(mark: bytes, number: int, at: int, new: bytes) -> bytes:
    """The sound archive with other bytes at `at` behind a mark."""
    data = make_sound()
    start = find(data, mark, number) + at
    data[start : start + len(new)] = new
    return bytes(data)


def list_truncations() -> dict[str, bytes]:
    """The sound archive, cut off in each of its sections and at each of their borders."""
    data = bytes(make_sound())
    places = {"after one byte": 1, "in the first mark": 3, "in the first header": 17}
    for number in range(3):
        at = find(data, LOCAL, number)
        name_size = struct.unpack_from("<H", data, at + 26)[0]
        places |= {
            f"before header {number}": at,
            f"in name {number}": at + 32,
            f"before data {number}": at + 30 + name_size,
            f"in data {number}": at + 30 + name_size + 5,
            f"before directory entry {number}": find(data, CENTRAL, number),
            f"in directory entry {number}": find(data, CENTRAL, number) + 30,
        }
    places |= {"before the end": find(data, END, 0), "in the end": len(data) - 5}
    places["without the last byte"] = len(data) - 1
    return {f"cut off {name}": data[:size] for name, size in places.items() if size}


def make_zip64(size: int, offset: int | None = None) -> bytes:
    """The sound archive whose second record claims a 64-bit size, or place."""
    data = make_sound()
    at = find(data, CENTRAL, 1)
    name_size = struct.unpack_from("<H", data, at + 28)[0]
    data[at + SIZE_AT : at + SIZE_AT + 8] = b"\xff" * 8
    extra = struct.pack("<2H2Q", 1, 16, size, size)
    if offset is not None:
        data[at + OFFSET_AT : at + OFFSET_AT + 4] = b"\xff" * 4
        extra = struct.pack("<2H3Q", 1, 24, size, size, offset)
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    data[at + 46 + name_size : at + 46 + name_size] = extra
    end = find(data, END, 0)
    data[end + 12 : end + 16] = struct.pack("<I", end - find(data, CENTRAL, 0))
    return bytes(data)


def list_overlaps() -> dict[str, bytes]:
    """Records over records: a few bytes that claim to be many."""
    data = make_sound()
    second, third = find(data, CENTRAL, 1), find(data, CENTRAL, 2)
    same_place = bytearray(data)
    same_place[third + OFFSET_AT : third + OFFSET_AT + 4] = data[
        second + OFFSET_AT : second + OFFSET_AT + 4
    ]
    into_next = bytearray(data)
    into_next[second + SIZE_AT : second + SIZE_AT + 8] = struct.pack("<2I", 60, 60)
    over_directory = bytearray(data)
    over_directory[third + SIZE_AT : third + SIZE_AT + 8] = struct.pack("<2I", 60, 60)
    many = bytearray(data)
    entry = bytes(data[second:third])
    many[third:third] = entry * 20_000
    end = find(many, END, 0)
    size = struct.unpack_from("<I", many, end + 12)[0] + len(entry) * 20_000
    many[end + 8 : end + 16] = struct.pack("<2HI", 20_003, 20_003, size)
    return {
        "two records at one place": bytes(same_place),
        "a record over the next": bytes(into_next),
        "a record over the directory": bytes(over_directory),
        "twenty thousand records at one place": bytes(many),
    }


def list_archives() -> dict[str, bytes]:
    """Archives that must be refused."""
    names = {
        "absolute": ["/data.pkl"],
        "above": ["../data.pkl"],
        "above, inside": ["archive/data.pkl", "archive/../../etc/passwd"],
        "backslash": ["archive\\data.pkl"],
        "drive": ["c:\\data.pkl", "archive/data.pkl"],
        "zero byte kept": ["archive/data.pkl", "other/x"],
        "no folder": ["data.pkl"],
        "no pickle": ["archive/other"],
        "twice the pickle": ["archive/data.pkl", "archive/data.pkl"],
        "twice a storage": ["archive/data.pkl", "archive/data/0", "archive/data/0"],
        "two folders": ["archive/data.pkl", "other/data/0"],
        "a program": ["archive/constants.pkl", "archive/code/x.py"],
    }
    sound = bytes(make_sound())
    result = {
        f"names: {name}": make_archive([(path, TENSOR) for path in paths])
        for name, paths in names.items()
    }
    for method, kind in ((zipfile.ZIP_DEFLATED, "deflated"), (zipfile.ZIP_LZMA, "lzma")):
        entries = [("archive/data.pkl", TENSOR), ("archive/data/0", b"\0" * 3_000_000)]
        result[f"bomb, {kind}"] = make_archive(entries, method)
    result |= list_truncations() | list_overlaps()
    return result | {
        "an empty archive": make_archive([]),
        "a terabyte in the directory": make_zip64(2**40),
        "a size beyond 63 bits": make_zip64(2**64 - 1),
        "a place beyond 63 bits": make_zip64(16, 2**64 - 1),
        "a 64-bit size left out": change(CENTRAL, 1, SIZE_AT, b"\xff" * 8),
        "4 GB in the directory": change(CENTRAL, 1, SIZE_AT, b"\xfe\xff\xff\xff" * 2),
        "sizes that differ": change(CENTRAL, 1, SIZE_AT, struct.pack("<2I", 16, 17)),
        "a smaller size than the storage": change(CENTRAL, 1, SIZE_AT, struct.pack("<2I", 8, 8)),
        "wrong CRC of the pickle": change(CENTRAL, 0, 16, b"\1\2\3\4"),
        "wrong CRC of a storage": change(CENTRAL, 1, 16, b"\1\2\3\4"),
        "an encrypted record": change(CENTRAL, 1, 8, b"\1"),
        "a compressed record": change(CENTRAL, 1, 10, b"\x08"),
        "compressed in its own header only": change(LOCAL, 1, 8, b"\x08"),
        "another name in its own header": change(LOCAL, 1, 38, b"X"),
        "a longer name in its own header": change(LOCAL, 1, 26, b"\xff\xff"),
        "a place outside": change(CENTRAL, 1, OFFSET_AT, b"\xf0\xff\xff\x7f"),
        "a place inside other data": change(CENTRAL, 1, OFFSET_AT, b"\x05\0\0\0"),
        "a name that is no text": change(CENTRAL, 1, 46, b"\xff\xfe"),
        "a name with a zero byte": change(CENTRAL, 1, 50, b"\0"),
        "no mark in the directory": change(CENTRAL, 1, 0, b"XXXX"),
        "more records than the directory holds": change(END, 0, 8, b"\xff\xfe\xff\xfe"),
        "one record more": change(END, 0, 8, b"\4\0\4\0"),
        "a directory outside": change(END, 0, 16, b"\xf0\xff\xff\x7f"),
        "a directory of 2 GB": change(END, 0, 12, b"\xff\xff\xff\x7f"),
        "64-bit end without a locator": change(END, 0, 16, b"\xff\xff\xff\xff"),
        "a locator that points outside": (
            sound[: find(sound, END, 0)]
            + struct.pack("<4sIQI", b"PK\x06\x07", 0, 2**63, 1)
            + END
            + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        ),
        "a locator that points to itself": (
            sound[: find(sound, END, 0)]
            + struct.pack("<4sIQI", b"PK\x06\x07", 0, find(sound, END, 0), 1)
            + END
            + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        ),
        "a second end in a comment": sound[:-2] + struct.pack("<H", 22) + END + b"\0" * 18,
        "only the first mark": LOCAL,
        "the first mark, then zeros": LOCAL + bytes(1000),
        "unknown byte order": zip_around(TENSOR, data__0=bytes(16), byteorder=b"middle"),
        "a storage that is missing": zip_around(TENSOR),
    }
