"""Downloading, checking and unpacking."""

import bz2
import gzip
import hashlib
import tarfile
import zipfile
from pathlib import Path
from urllib.error import URLError

import pytest

from flambeau.vision.datasets import utils
from tests.vision.cifar_archive import add_file


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(b"flambeau" * 1000)
    return path


def test_checksums(source):
    md5 = hashlib.md5(source.read_bytes()).hexdigest()
    assert utils.calculate_md5(source, chunk_size=7) == md5
    assert utils.check_integrity(source, md5)
    assert utils.check_integrity(source)
    assert not utils.check_integrity(source, "0" * 32)
    assert not utils.check_integrity(source.with_name("missing"))


def test_download_writes_the_whole_file_or_nothing(source, tmp_path):
    md5 = utils.calculate_md5(source)
    utils.download_url(source.as_uri(), tmp_path / "to", "copy.bin", md5)
    assert (tmp_path / "to" / "copy.bin").read_bytes() == source.read_bytes()
    with pytest.raises(RuntimeError, match="MD5"):
        utils.download_url(source.as_uri(), tmp_path / "bad", None, "0" * 32)
    with pytest.raises(URLError):
        utils.download_url((tmp_path / "missing").as_uri(), tmp_path / "bad")
    assert list((tmp_path / "bad").iterdir()) == []


def test_good_copy_is_not_downloaded_again(source, tmp_path):
    url, md5 = source.as_uri(), utils.calculate_md5(source)
    utils.download_url(url, tmp_path / "to", md5=md5)
    source.unlink()
    utils.download_url(url, tmp_path / "to", md5=md5)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_single_file_is_decompressed(suffix, pack, tmp_path):
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(pack(b"content"))
    result = utils.extract_archive(path, remove_finished=True)
    assert Path(result).read_bytes() == b"content"
    assert not path.exists()


def test_tar_and_zip_are_unpacked(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        add_file(tar, "folder/a", b"from tar")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("folder/b", "from zip")
    for name in ("a.tar.gz", "b.zip"):
        utils.extract_archive(tmp_path / name, tmp_path / "to")
    assert (tmp_path / "to" / "folder" / "a").read_text() == "from tar"
    assert (tmp_path / "to" / "folder" / "b").read_text() == "from zip"


@pytest.mark.parametrize("name", ["../outside", "/absolute/outside", "a/../../outside"])
def test_tar_members_stay_inside(name, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_file(tar, name, b"x")
    target = tmp_path / "deep" / "to"
    with pytest.raises(RuntimeError, match="outside"):
        utils.extract_archive(tmp_path / "a.tar", target)
    outside = [path for path in tmp_path.rglob("outside") if target not in path.parents]
    assert outside == []


def test_tar_link_that_leads_outside_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(RuntimeError):
        utils.extract_archive(tmp_path / "a.tar", tmp_path / "to")


def test_zip_member_outside_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(RuntimeError, match="outside"):
        utils.extract_archive(tmp_path / "a.zip", tmp_path / "to")
    assert not (tmp_path / "outside").exists()


def test_unknown_format_is_named(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(RuntimeError, match="unknown format"):
        utils.extract_archive(tmp_path / "a.rar")
