"""The container of checkpoints: a ZIP file of uncompressed records at multiples of 64 bytes.

Written here rather than by `zipfile` because records must be aligned (they are mapped into memory),
and read here because every number in a file from elsewhere is checked before it is used. Names are
only ever dictionary keys: nothing is extracted to the file system.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .. import core
from .errors import CheckpointError

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ZIP64 = struct.Struct("<2H2Q")  # an extra field with the two sizes
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64_MARK, _LOCATOR64_MARK = b"PK\x06\x06", b"PK\x06\x07"
_UTF8_FLAG = 0x800
_DATE = 0x21  # 1980-01-01, for files that depend on their contents alone
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_MAX_COMMENT = 0xFFFF
_CHUNK = 1 << 18  # bytes that are still in the cache when they are used a second time
_LONGEST_NAME = 32  # bytes of a record's name behind the folder's


def starts_zip(first: bytes) -> bool:
    """Whether the first bytes of a file are those of a ZIP file."""
    return first[:4] == _LOCAL_MARK


# zlib's takes a buffer of any length, but goes through it at a third of the memory's speed.
_crc32 = core.crc32 if core.crc32_is_fast() else zlib.crc32


def bound_size(prefix: str, sizes: Iterable[int], alignment: int) -> int:
    """Bytes that an archive of records of these sizes, and of a few short ones, never exceeds."""
    sizes = [*sizes, *[64] * 8]
    name = len(prefix.encode()) + _LONGEST_NAME
    header = _LOCAL.size + _ZIP64.size + 4 + alignment + name
    entry = _CENTRAL.size + _ZIP64.size + 8 + name
    ends = _END64.size + _LOCATOR64.size + _END.size
    return sum(sizes) + len(sizes) * (header + entry) + ends


class ZipWriter:
    """Writes records one after another to anything with `write`; `close` adds the directory.

    `is_new` says that nothing stands in the file yet: what is left out there reads as zeros.
    """

    def __init__(
        self,
        file: Any,
        prefix: str,
        with_crc: bool = True,
        alignment: int = 64,
        is_new: bool = False,
    ) -> None:
        self._file = file
        self._prefix = prefix
        self._with_crc = with_crc
        self._alignment = alignment
        self._is_new = is_new
        self._position = 0
        self._directory: list[tuple[bytes, int, int, int]] = []

    def write_record(self, name: str, data: Any) -> None:
        """Add the record `prefix/name` with the bytes of `data`."""
        view = _flatten(data)
        self._write_header(name, _crc32(view) if self._with_crc else 0, view.nbytes)
        self._write(view)

    def write_room(self, name: str, size: int) -> None:
        """Add the record `prefix/name` with `size` zeros, and without a checksum."""
        self._write_header(name, 0, size)
        if self._is_new:
            self._file.seek(size, io.SEEK_CUR)
            self._position += size
            return
        for start in range(0, size, _CHUNK):
            self._write(bytes(min(_CHUNK, size - start)))

    def _write_header(self, name: str, crc: int, size: int) -> None:
        path = f"{self._prefix}/{name}".encode()
        entry = path, crc, size, self._position
        self._directory.append(entry)
        self._write(_make_local_header(*entry, self._alignment))

    def close(self) -> None:
        """Write the directory; the file itself stays open."""
        start = self._position
        for entry in self._directory:
            self._write(_make_central_header(*entry))
        size, count = self._position - start, len(self._directory)
        if count > _MAX16 or start > _MAX32:
            end_at = self._position
            self._write(
                _END64.pack(_END64_MARK, 44, 45, 45, 0, 0, count, count, size, start)
                + _LOCATOR64.pack(_LOCATOR64_MARK, 0, end_at, 1)
            )
        few = min(count, _MAX16)
        tail = (few, few, min(size, _MAX32), min(start, _MAX32), 0)
        self._write(_END.pack(_END_MARK, 0, 0, *tail))

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._position += memoryview(data).nbytes


def _flatten(data: Any) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _make_local_header(path: bytes, crc: int, size: int, position: int, alignment: int) -> bytes:
    large = size >= _MAX32
    extra = _ZIP64.pack(1, 16, size, size) if large else b""
    end = position + _LOCAL.size + len(path) + len(extra) + 4
    padding = -end % alignment
    extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding
    short = _MAX32 if large else size
    version = 45 if large else 20
    fields = (version, _UTF8_FLAG, 0, 0, _DATE, crc, short, short, len(path), len(extra))
    return _LOCAL.pack(_LOCAL_MARK, *fields) + path + extra


def _make_central_header(path: bytes, crc: int, size: int, position: int) -> bytes:
    wide = b""
    if size >= _MAX32:
        wide += struct.pack("<2Q", size, size)
    if position >= _MAX32:
        wide += struct.pack("<Q", position)
    extra = struct.pack("<2H", 1, len(wide)) + wide if wide else b""
    version, short = (45 if wide else 20), min(size, _MAX32)
    fields = (version, version, _UTF8_FLAG, 0, 0, _DATE, crc, short, short)
    tail = (len(path), len(extra), 0, 0, 0, 0, min(position, _MAX32))
    return _CENTRAL.pack(_CENTRAL_MARK, *fields, *tail) + path + extra


@dataclass(frozen=True)
class Record:
    """Where the bytes of a record lie in the file."""

    offset: int
    size: int
    crc: int


class ZipReader:
    """The records of a checkpoint, by name without the prefix.

    Raises CheckpointError for a file that is cut off, inconsistent, compressed or encrypted.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        # Only a plain file has a descriptor that stands for its own bytes.
        plain = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)
        is_fast = core.reads_files() and core.crc32_is_fast()
        self._descriptor = file.fileno() if plain and is_fast else None
        self._base = file.tell()
        self.size = file.seek(0, 2) - self._base
        entries = self._read_directory()
        self.prefix = entries[0][0].partition("/")[0] if entries else ""
        self.records = self._locate_all(entries)

    def find(self, name: str) -> Record | None:
        """The record called `name`, if there is one."""
        return self.records.get(name)

    def read(self, name: str, check_crc: bool = True) -> bytes:
        """The bytes of a record."""
        record = self.records.get(name)
        if record is None:
            raise _corrupt(f"it has no record {name!r}")
        buffer = bytearray(record.size)
        self.read_into(record, memoryview(buffer), name, check_crc)
        return bytes(buffer)

    def read_into(
        self, record: Record, target: memoryview, name: str, check_crc: bool = True
    ) -> None:
        """Fill `target` with the record's first bytes; all of it is checked against its CRC-32.

        A CRC of 0 means that the writer left it out.
        """
        check = bool(check_crc and record.crc and target.nbytes == record.size)
        try:
            crc = self._fill(target, self._base + record.offset, check)
        except EOFError:
            raise _corrupt(f"record {name!r} is cut off") from None
        if check and crc != record.crc:
            raise _corrupt(
                f"record {name!r} does not match its CRC-32"
                " (serialization.set_crc32_options(False) loads it all the same)"
            )

    def _fill(self, target: memoryview, at: int, check: bool) -> int:
        """Read what is at `at`; the CRC-32 if it is to be checked."""
        if self._descriptor is not None:
            return core.read_file(self._descriptor, at, target, check)
        self._file.seek(at)
        done = crc = 0
        while done < target.nbytes:
            part = target[done : done + _CHUNK]
            count = self._file.readinto(part)
            if not count:
                raise EOFError
            done += count
            if check:
                crc = _crc32(part[:count], crc)
        return crc

    # ---- directory -------------------------------------------------------------------------------

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise _corrupt("its directory points outside the file")
        self._file.seek(self._base + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise _corrupt("it is cut off")
        return data

    def _read_directory(self) -> list[tuple[str, int, int, int]]:
        """(name, header offset, size, CRC) of every record, as the directory has it."""
        start, size, count = self._find_directory()
        self._directory_at = start
        data = self._read_at(start, size)
        if count * _CENTRAL.size > size:
            raise _corrupt(f"its directory of {size} bytes cannot hold {count} records")
        entries, position = [], 0
        for _ in range(count):
            entry, position = _parse_central_header(data, position)
            entries.append(entry)
        return entries

    def _find_directory(self) -> tuple[int, int, int]:
        """Offset, size and number of entries of the directory, from the end of the file."""
        tail_size = min(self.size, _END.size + _MAX_COMMENT)
        tail = self._read_at(self.size - tail_size, tail_size)
        at = tail.rfind(_END_MARK)
        if at < 0 or at + _END.size > len(tail):
            raise _corrupt("it has no ZIP directory at its end: is it cut off?")
        _, _, _, _, count, size, start, _ = _END.unpack_from(tail, at)
        if count == _MAX16 or size == _MAX32 or start == _MAX32:
            return self._find_directory64(self.size - tail_size + at)
        return start, size, count

    def _find_directory64(self, end_at: int) -> tuple[int, int, int]:
        locator = self._read_at(end_at - _LOCATOR64.size, _LOCATOR64.size)
        mark, _, at, _ = _LOCATOR64.unpack(locator)
        if mark != _LOCATOR64_MARK:
            raise _corrupt("its ZIP64 locator is missing")
        fields = _END64.unpack(self._read_at(at, _END64.size))
        if fields[0] != _END64_MARK:
            raise _corrupt("its ZIP64 directory end is missing")
        count, size, start = fields[7:10]
        return start, size, count

    def _locate_all(self, entries: list[tuple[str, int, int, int]]) -> dict[str, Record]:
        records: dict[str, Record] = {}
        end = 0
        for path, header_at, size, crc in sorted(entries, key=lambda entry: entry[1]):
            # Records that overlap would let a small file claim any amount of memory.
            if header_at < end:
                raise _corrupt(f"record {path!r} overlaps another")
            offset = self._find_data(path, header_at)
            end = offset + size
            if end > self._directory_at:
                raise _corrupt(f"record {path!r} of {size} bytes reaches outside the file")
            prefix, _, name = path.partition("/")
            if prefix != self.prefix or not name:
                raise _corrupt(f"record {path!r} lies outside the folder {self.prefix!r}")
            if name in records:
                raise _corrupt(f"it has two records {name!r}")
            records[name] = Record(offset, size, crc)
        return records

    def _find_data(self, path: str, header_at: int) -> int:
        header = _LOCAL.unpack(self._read_at(header_at, _LOCAL.size))
        name_size, extra_size = header[-2:]
        if header[0] != _LOCAL_MARK or header[3] != 0:
            raise _corrupt(f"the header of record {path!r} is damaged")
        if self._read_at(header_at + _LOCAL.size, name_size) != path.encode():
            raise _corrupt(f"record {path!r} has another name in its header")
        return header_at + _LOCAL.size + name_size + extra_size


def _parse_central_header(data: bytes, position: int) -> tuple[tuple[str, int, int, int], int]:
    if position + _CENTRAL.size > len(data):
        raise _corrupt("its directory is cut off")
    fields = _CENTRAL.unpack_from(data, position)
    mark, flags, method, crc, packed, size = (fields[i] for i in (0, 3, 4, 7, 8, 9))
    name_size, extra_size, comment_size = fields[10:13]
    header_at = fields[16]
    position += _CENTRAL.size
    end = position + name_size + extra_size + comment_size
    if mark != _CENTRAL_MARK or end > len(data):
        raise _corrupt("its directory is damaged")
    path = _decode_name(data[position : position + name_size])
    extra = data[position + name_size : position + name_size + extra_size]
    size, packed, header_at = _widen(extra, size, packed, header_at)
    if method != 0 or flags & 1 or size != packed:
        raise _corrupt(f"record {path!r} is compressed or encrypted: checkpoints store it plainly")
    return (path, header_at, size, crc), end


def _decode_name(raw: bytes) -> str:
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        raise _corrupt(f"the record name {raw!r} is not UTF-8") from None
    parts = path.split("/")
    if "\0" in path or "\\" in path or ".." in parts or parts[0] in ("", "."):
        raise _corrupt(f"the record name {path!r} is no plain relative path")
    return path


def _widen(extra: bytes, *fields: int) -> list[int]:
    """The fields that stand at their 32-bit maximum, from the ZIP64 extra field."""
    position, wide = 0, b""
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = extra[position + 4 : position + 4 + size]
        position += 4 + size
    result = []
    for field in fields:
        if field == _MAX32:
            if len(wide) < 8:
                raise _corrupt("its ZIP64 sizes are missing")
            field, wide = struct.unpack_from("<Q", wide)[0], wide[8:]
        result.append(field)
    return result


def _corrupt(what: str) -> CheckpointError:
    return CheckpointError(f"load: the checkpoint cannot be read: {what}")
