"""Large checkpoints are read by two threads; what they hold and what they refuse stay the same."""

import gzip
import io

import pytest

import flambeau as torch
from flambeau._checkpoint.zip_file import LARGE, ZipReader


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {str(i): torch.arange(LARGE // 16) + i for i in range(8)}


def test_every_storage_is_complete(tmp_path, state) -> None:
    torch.save(state, tmp_path / "large.pt")
    with open(tmp_path / "large.pt", "rb") as file:
        assert ZipReader(file).reads_in_parallel
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
