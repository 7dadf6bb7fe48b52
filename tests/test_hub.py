"""Downloads of weights: whole or not at all, checked, kept, and without running anything."""

import hashlib
import os
import pickle
from urllib.error import URLError

import pytest

import flambeau as torch


@pytest.fixture
def weights(tmp_path):
    """A checkpoint whose name carries its hash, as PyTorch's published weights do."""
    path = tmp_path / "server" / "net.pth"
    path.parent.mkdir()
    torch.save({"weight": torch.arange(3.0)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"net-{digest[:8]}.pth"))


def test_weights_are_kept(weights, tmp_path):
    folder, url = tmp_path / "cache", weights.as_uri()
    options = {"model_dir": folder, "check_hash": True, "progress": False}
    state = torch.hub.load_state_dict_from_url(url, **options)
    assert state["weight"].tolist() == [0, 1, 2]
    weights.unlink()
    again = torch.hub.load_state_dict_from_url(url, **options)
    assert again["weight"].tolist() == [0, 1, 2]
    assert [path.name for path in folder.iterdir()] == [weights.name]


def test_damaged_and_missing_files_leave_nothing(weights, tmp_path):
    target = tmp_path / "copy.pth"
    with pytest.raises(RuntimeError, match="SHA-256"):
        torch.hub.download_url_to_file(weights.as_uri(), target, hash_prefix="none", progress=False)
    with pytest.raises(URLError):
        torch.hub.download_url_to_file((tmp_path / "none").as_uri(), target, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_weights_run_no_code(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(pickle.UnpicklingError):
        torch.hub.load_state_dict_from_url(path.as_uri(), tmp_path / "cache", progress=False)


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_folder", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torch.hub.get_dir() == str(tmp_path / "hub")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert torch.hub.get_dir() == str(tmp_path / "torch" / "hub")
    torch.hub.set_dir(tmp_path / "mine")
    assert torch.hub.get_dir() == str(tmp_path / "mine")


def test_what_is_absent_says_what_to_do():
    assert not hasattr(torch.hub, "load")
    with pytest.raises(AttributeError, match="load_state_dict_from_url"):
        _ = torch.hub.load
