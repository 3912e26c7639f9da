import gzip
import hashlib
import os
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn import data
from minicnn.data import mnist
from minicnn.errors import MinicnnError

RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (6, 28, 28), np.uint8), "t10k": RNG.integers(0, 256, (4, 28, 28), np.uint8)}
LABELS = {"train": np.array([5, 0, 4, 1, 9, 2], np.uint8), "t10k": np.array([7, 2, 1, 0], np.uint8)}


def idx(array, magic=b"\0\0\x08"):
    return magic + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in ("train", "t10k"):
        for name, array in (("images-idx3", IMAGES[prefix]), ("labels-idx1", LABELS[prefix])):
            content = idx(array)
            path = folder / f"{prefix}-{name}-ubyte{'.gz' * packed}"
            path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
    return folder


def refusal(folder, split="train"):
    with pytest.raises(MinicnnError) as caught:
        data.load(folder, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_idx_files_is_read(tmp_path, packed):
    dataset = data.load(write(tmp_path / "here", packed), "train")
    assert dataset.images.shape == (6, 1, 28, 28)
    assert np.array_equal(dataset.images[:, 0], IMAGES["train"])
    assert dataset.labels.tolist() == [5, 0, 4, 1, 9, 2] and dataset.labels.dtype == np.int64
    assert dataset.name == "mnist" and dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize("sub", ["mnist", "MNIST/raw", "."])
def test_the_folders_of_the_variable_come_before_the_cache(tmp_path, cache, monkeypatch, sub):
    folder = write(tmp_path / "second" / sub)
    write(cache / "mnist")
    (tmp_path / "first").mkdir()
    monkeypatch.setenv("MINICNN_DATA", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    assert data.available("mnist") == folder
    assert data.where("mnist") == str(folder)
    assert len(data.load("mnist", "test")) == 4


def test_a_wrong_folder_in_the_variable_is_told_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "misspelt"))
    with pytest.raises(MinicnnError, match=r"MINICNN_DATA names .*misspelt, which is not a folder"):
        data.available("mnist")


def test_a_truncated_idx_file_names_its_missing_bytes(tmp_path):
    path = write(tmp_path, packed=False) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-10])
    assert refusal(tmp_path) == f"{path}: 10 of 4,704 bytes are missing"


def test_a_truncated_gzip_file_is_told(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(tmp_path) == f"{path}: the gzip file is cut off"


def test_a_header_that_is_cut_off_is_told(tmp_path):
    path = write(tmp_path, packed=False) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:9])
    assert refusal(tmp_path) == f"{path}: ends within its header, after 9 bytes"
    path.write_bytes(b"")
    assert "begins with nothing, expected 00 00 08 03" in refusal(tmp_path)


def test_bytes_left_over_are_an_error(tmp_path):
    path = write(tmp_path, packed=False) / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"x")
    assert refusal(tmp_path) == f"{path}: more bytes than the 6 that its header announces"


@pytest.mark.parametrize("magic", [b"\0\0\x0d", b"\x89PN"])
def test_a_wrong_magic_number_shows_both(tmp_path, magic):
    path = write(tmp_path, packed=False) / "train-images-idx3-ubyte"
    path.write_bytes(idx(IMAGES["train"], magic))
    assert f"begins with {magic.hex(' ')} 03, expected 00 00 08 03" in refusal(tmp_path)


def test_exchanged_files_are_told(tmp_path):
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes((tmp_path / "train-labels-idx1-ubyte.gz").read_bytes())
    assert "begins with 00 00 08 01, expected 00 00 08 03" in refusal(tmp_path)


def test_what_is_no_gzip_file_is_told(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"<html>not found</html>")
    assert refusal(tmp_path).startswith(f"{path}: damaged, or no gzip file")


def test_a_header_that_announces_too_much_is_refused_before_reading(tmp_path):
    path = write(tmp_path, packed=False) / "train-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1))
    assert "expected 1 to 1,073,741,824" in refusal(tmp_path)


def test_a_decompression_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(IMAGES["train"]) + bytes(50_000_000), 1))
    read, real = [], mnist._chunks

    def chunks(file, limit):
        for chunk in real(file, limit):
            read.append(len(chunk))
            yield chunk

    monkeypatch.setattr(mnist, "_chunks", chunks)
    assert "more bytes than the 4,704" in refusal(tmp_path)
    assert sum(read) == 4705


def test_a_label_out_of_range_is_located(tmp_path):
    write(tmp_path, packed=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([5, 0, 4, 17, 9, 2], np.uint8)))
    assert refusal(tmp_path).endswith("label 17 of picture 3, expected 0 to 9")


def test_labels_and_pictures_must_be_as_many(tmp_path):
    write(tmp_path, packed=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    assert refusal(tmp_path).endswith("5 labels, but train-images-idx3-ubyte has 6 pictures")


def test_another_set_in_the_same_format_is_told(tmp_path):
    write(tmp_path, packed=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((6, 32, 32), np.uint8)))
    assert "pictures of 32x32, MNIST's are 28x28" in refusal(tmp_path)
    write(tmp_path, packed=False)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES["train"]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS["train"]))
    assert refusal(tmp_path, "test").endswith("6 pictures, MNIST's test set has 4")


def test_without_network_one_line_says_where_it_looked_and_what_to_do(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(mnist, "FILES", tuple(replace(f, urls=("http://127.0.0.1:9/x",)) for f in mnist.FILES))
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    assert data.available("mnist") is None
    text = refusal("mnist")
    for part in ("127.0.0.1:9", "refused", str(tmp_path), str(cache), "put the four files there or set MINICNN_DATA"):
        assert part in text


def test_it_is_fetched_into_the_cache(tmp_path, cache, monkeypatch, server):
    write(tmp_path / "origin")
    files = []
    for file in mnist.FILES:
        content = server.contents[file.name] = (tmp_path / "origin" / file.name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files.append(replace(file, size=len(content), sha256=digest, urls=(server.url(file.name),)))
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    promise = rf"not on this machine; would be fetched \(0 MB\) from 127\.0\.0\.1:\d+ into {cache / 'mnist'}"
    assert re.fullmatch(promise, data.where("mnist"))
    assert data.load("mnist", "train").labels.tolist() == [5, 0, 4, 1, 9, 2]
    assert data.available("mnist") == cache / "mnist"
    assert len(server.asked) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.data(), packed=st.booleans())
def test_damaged_files_are_errors_or_harmless(tmp_path, change, packed):
    name = change.draw(st.sampled_from(["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])) + ".gz" * packed
    path = write(tmp_path, packed) / name
    content = bytearray(path.read_bytes())
    for _ in range(change.draw(st.integers(1, 4))):
        content[change.draw(st.integers(0, len(content) - 1))] = change.draw(st.integers(0, 255))
    del content[change.draw(st.integers(1, len(content))) :]
    path.write_bytes(content)
    try:
        dataset = data.load(tmp_path, "train")
    except MinicnnError as error:
        assert str(path) in str(error) or str(tmp_path) in str(error)
        assert "\n" not in str(error)
    else:
        assert dataset.images.shape == (6, 1, 28, 28) and len(dataset) == 6
    finally:
        for file in tmp_path.glob("*-ubyte*"):
            file.unlink()


def test_the_real_files_hold_what_is_known_of_them(real_data):
    folder = real_data("mnist")
    train, test = data.load(folder, "train"), data.load(folder, "test")
    assert train.images.shape == (60_000, 1, 28, 28) and test.images.shape == (10_000, 1, 28, 28)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    unpacked = hashlib.md5(idx(train.images[:, 0])).hexdigest()
    assert unpacked == "6bbc9ace898e44ae57da46a324031adb"  # the original file's
