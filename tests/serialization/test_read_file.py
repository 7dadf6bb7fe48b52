"""Large records are read by several threads; what they hold and what is refused stay the same."""

import gzip
import io
import os
import random
import zlib

import pytest

import flambeau as torch
from flambeau import core
from flambeau._checkpoint.zip_file import ZipReader

LARGE = 1 << 22
on_files = pytest.mark.skipif(not core.reads_files(), reason="the system has no pread")


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {str(i): torch.arange(LARGE // 16) + i for i in range(8)}


@on_files
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 1_000_003])
def test_any_run_of_a_file(tmp_path, size, threads) -> None:
    data = random.Random(size).randbytes(size + 100)
    (tmp_path / "data").write_bytes(data)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with open(tmp_path / "data", "rb") as file:
            for at, summed in ((0, True), (57, True), (100, False)):
                target = bytearray(size)
                found = core.read_file(file.fileno(), at, target, summed)
                assert target == data[at : at + size]
                assert found == (zlib.crc32(target) if summed else 0)
    finally:
        torch.set_num_threads(before)


@on_files
def test_what_cannot_be_read(tmp_path) -> None:
    (tmp_path / "data").write_bytes(bytes(600_000))
    with open(tmp_path / "data", "rb") as file:
        for at in (1, 600_000, 10**12):
            with pytest.raises(EOFError, match="ends before"):
                core.read_file(file.fileno(), at, bytearray(600_000), True)
        with pytest.raises(OSError, match="Invalid argument"):
            core.read_file(file.fileno(), -1, bytearray(8), True)
        with pytest.raises(BufferError):
            core.read_file(file.fileno(), 0, bytes(8), True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        core.read_file(os.sysconf("SC_OPEN_MAX"), 0, bytearray(8), True)


def test_every_storage_is_complete(tmp_path, state) -> None:
    torch.save(state, tmp_path / "large.pt")
    found = torch.load(tmp_path / "large.pt")
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_a_damaged_record_is_refused(tmp_path, state) -> None:
    path = tmp_path / "large.pt"
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file:
        record = ZipReader(file).find("data/5")
    data[record.offset + record.size - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match="does not match its CRC-32"):
        torch.load(path)


def test_a_file_whose_descriptor_holds_other_bytes_is_read_through_it(tmp_path, state) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = tmp_path / "large.pt.gz"
    path.write_bytes(gzip.compress(buffer.getvalue(), 1))
    with gzip.open(path) as file:
        assert file.fileno() >= 0
        found = torch.load(file)
    assert all(torch.equal(found[key], value) for key, value in state.items())
