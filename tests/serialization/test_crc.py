"""The core's CRC-32 is zlib's."""

import random
import zlib

import pytest

import flambeau as torch
from flambeau import core
from flambeau._checkpoint.zip_file import ZipReader

PART = 1 << 18  # what a thread sums at a time
LENGTHS = [*range(70), 79, 80, 127, 128, 129, 255, 256, 511, 512, 513, 767, 768, 1000, 4096, 65537]
LENGTHS += [PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 77]


@pytest.mark.parametrize("start", [0, 1, 7])
def test_lengths_and_alignments(start):
    data = memoryview(random.Random(start).randbytes(4 * PART))
    for length in LENGTHS:
        part = data[start : start + length]
        assert core.crc32(part) == zlib.crc32(part), length
        assert core.crc32(part, 12345) == zlib.crc32(part, 12345), length


def test_in_parts():
    data = random.Random(3).randbytes(5000)
    for cut in (0, 1, 15, 16, 63, 64, 100, 4999, 5000):
        assert core.crc32(data[cut:], core.crc32(data[:cut])) == zlib.crc32(data)


def test_needs_a_flat_buffer():
    with pytest.raises(BufferError):
        core.crc32(memoryview(bytes(8))[::2])
    with pytest.raises(TypeError):
        core.crc32("text")


def test_large_files_have_their_sums_and_no_spare_room(tmp_path):
    state = {"a": torch.arange(1 << 20), "b": torch.ones(3), "c": torch.empty(0)}
    torch.save(state, tmp_path / "x.pt")
    raw = (tmp_path / "x.pt").read_bytes()
    with open(tmp_path / "x.pt", "rb") as file:
        records = ZipReader(file).records
    assert len(records) > 6
    for name, r in records.items():
        assert r.crc == zlib.crc32(raw[r.offset : r.offset + r.size]), name
    assert raw[-22:-18] == b"PK\x05\x06"  # the directory's end is the file's
    assert torch.equal(torch.load(tmp_path / "x.pt")["a"], state["a"])
