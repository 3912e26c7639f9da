"""Files appear whole or not at all."""

import errno
import hashlib
import os

import pytest

from minicnn import files
from minicnn.errors import MinicnnError


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_written_file_has_its_bytes_and_nothing_beside_it(tmp_path):
    files.write_bytes(tmp_path / "a.bin", b"abc")
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    files.write_bytes(tmp_path / "a.bin", b"old")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(MinicnnError, match=r"a\.bin: cannot be written: no space left on device$"):
        files.write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_exception_while_writing_leaves_nothing(tmp_path):
    def write():
        with files.replacing(tmp_path / "a.bin") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(b"half of a longer one")
    files.write_bytes(tmp_path / "a.bin", b"whole")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_a_folder_of_that_name_is_one_clear_error(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(MinicnnError, match=r"a\.bin: cannot be written: is a directory$"):
        files.write_bytes(tmp_path / "a.bin", b"x")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(MinicnnError, match=r"cannot be written: no such file or directory$"):
        files.write_bytes(tmp_path / "no" / "a.bin", b"x")


def test_folders_are_made_with_their_parents(tmp_path):
    assert files.make_folder(tmp_path / "a" / "b").is_dir()
    assert files.make_folder(tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", ["", "b/c"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, below):
    (tmp_path / "a").write_text("")
    with pytest.raises(MinicnnError, match=r"cannot make this folder: .*/a is a file$"):
        files.make_folder(tmp_path / "a" / below)


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(MinicnnError, match=r"none: cannot be read: no such file or directory$"):
        files.sha256(tmp_path / "none")
