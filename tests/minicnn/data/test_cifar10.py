import gzip
import importlib.machinery
import io
import os
import pickle
import tarfile
import types
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from minicnn import data
from minicnn.data import cifar10, cifar10_archives
from minicnn.errors import MinicnnError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 20, 3072), np.uint8)  # of data_batch_1 … 5, test_batch
LABELS = RNG.integers(0, 10, (6, 20))
BATCHES = [*cifar10.BATCHES["train"], *cifar10.BATCHES["test"]]


def write_binary(folder):
    folder.mkdir(parents=True)
    for name, pixels, labels in zip(BATCHES, PIXELS, LABELS, strict=True):
        records = np.column_stack([labels.astype(np.uint8), pixels])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def write_pickles(folder, protocol=2):
    folder.mkdir(parents=True)
    for name, pixels, labels in zip(BATCHES, PIXELS, LABELS, strict=True):
        batch = {"batch_label": name, "labels": labels.tolist(), "data": pixels, "filenames": ["x.png"] * 20}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    return folder


def pack(folder, archive):
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    return archive


def check(source):
    train, test = data.load(source, "train"), data.load(source, "test")
    assert np.array_equal(train.images, PIXELS[:5].reshape(100, 3, 32, 32))
    assert np.array_equal(train.labels, LABELS[:5].ravel())
    assert np.array_equal(test.images, PIXELS[5].reshape(20, 3, 32, 32))
    assert np.array_equal(test.labels, LABELS[5])
    assert train.class_names[:3] == ("airplane", "automobile", "bird")


def refusal(source, split="train"):
    with pytest.raises(MinicnnError) as caught:
        data.load(source, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The official forms


def test_the_binary_folder_is_read(tmp_path):
    check(write_binary(tmp_path / "any name"))


@pytest.mark.parametrize("protocol", range(6))
def test_the_folder_of_pickles_is_read(tmp_path, protocol):
    check(write_pickles(tmp_path / cifar10.PICKLES, protocol))


def test_the_binary_archive_is_read(tmp_path):
    check(pack(write_binary(tmp_path / cifar10.BINARY), tmp_path / cifar10.BINARY_ARCHIVE))


def test_the_archive_of_pickles_is_read_and_nothing_unpacked(tmp_path, monkeypatch):
    archive = pack(write_pickles(tmp_path / cifar10.PICKLES), tmp_path / cifar10.PICKLES_ARCHIVE)
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    check(archive)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before


def test_an_official_folder_comes_before_an_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    (tmp_path / cifar10.PICTURES_ARCHIVE).write_bytes(b"")
    assert data.available("cifar10") == tmp_path / cifar10.PICTURES_ARCHIVE
    write_pickles(tmp_path / cifar10.PICKLES)
    assert data.available("cifar10") == tmp_path / cifar10.PICKLES
    write_binary(tmp_path / "cifar10" / cifar10.BINARY)
    assert data.available("cifar10") == tmp_path / cifar10.PICKLES
    write_binary(tmp_path / cifar10.BINARY)
    assert data.available("cifar10") == tmp_path / cifar10.BINARY
    check("cifar10")


# What is refused


def test_a_truncated_binary_batch_names_file_and_sizes(tmp_path):
    path = write_binary(tmp_path / "bin") / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-3073])
    assert refusal(tmp_path / "bin") == f"{path}: 58,387 bytes, expected 61,460 (20 records of 3073)"


def test_a_missing_batch_is_named(tmp_path):
    (write_binary(tmp_path / "bin") / "data_batch_4.bin").unlink()
    assert refusal(tmp_path / "bin").startswith(
        f"{tmp_path / 'bin' / 'data_batch_4.bin'}: cannot be read: no such file"
    )


def test_a_label_out_of_range_is_located(tmp_path):
    path = write_binary(tmp_path / "bin") / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 7] = 10
    path.write_bytes(content)
    assert refusal(tmp_path / "bin") == f"{path}: label 10 of picture 7, expected 0 to 9"


class Runs:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_runs_a_command_is_refused_and_did_not_run(tmp_path):
    folder, proof = write_pickles(tmp_path / "py"), tmp_path / "it ran"
    (folder / "test_batch").write_bytes(pickle.dumps({"data": Runs(f"touch '{proof}'"), "labels": []}))
    text = refusal(folder, "test")
    assert text.startswith(f"{folder / 'test_batch'}: refused: the pickle asks for {os.name}.system")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "a pickle of list, expected a dict"),
        ({"labels": [0] * 20}, "a pickle without 'data'"),
        ({"data": PIXELS[0]}, "a pickle without 'labels'"),
        ({"data": PIXELS[0, :7], "labels": [0] * 20}, "data is uint8 (7, 3072), expected uint8 (20, 3072)"),
        ({"data": PIXELS[0].astype(np.int64), "labels": [0] * 20}, "data is int64 (20, 3072), expected uint8"),
        ({"data": "pixels", "labels": [0] * 20}, "data is str, expected uint8"),
        ({"data": PIXELS[0], "labels": [0] * 19}, "labels are 19 of them, expected a list of 20"),
        ({"data": PIXELS[0], "labels": "0" * 20}, "labels are str, expected a list of 20"),
        ({"data": PIXELS[0], "labels": [0] * 19 + ["cat"]}, "a label is 'cat', expected 0 to 9"),
        ({"data": PIXELS[0], "labels": [0] * 19 + [-1]}, "a label is -1, expected 0 to 9"),
        ({"data": PIXELS[0], "labels": [0] * 19 + [12]}, "label 12 of picture 19, expected 0 to 9"),
        ({"data": PIXELS[0], "labels": [0] * 19 + [None]}, "a label is None, expected 0 to 9"),
    ],
)
def test_a_pickle_of_something_else_says_what_it_holds(tmp_path, batch, said):
    path = write_pickles(tmp_path / "py") / "test_batch"
    path.write_bytes(pickle.dumps(batch))
    assert refusal(tmp_path / "py", "test").startswith(f"{path}: {said}")


def test_a_truncated_archive_is_told(tmp_path):
    archive = pack(write_binary(tmp_path / cifar10.BINARY), tmp_path / cifar10.BINARY_ARCHIVE)
    archive.write_bytes(archive.read_bytes()[:-200_000])
    assert refusal(archive) == f"{archive}: the archive is cut off"


def test_what_is_no_archive_is_told(tmp_path):
    archive = tmp_path / cifar10.PICKLES_ARCHIVE
    archive.write_bytes(b"<html>")
    assert refusal(archive).startswith(f"{archive}: damaged, or no .tar.gz")
    archive.write_bytes(gzip.compress(b"no tar" * 500))
    assert refusal(archive).startswith(f"{archive}: damaged, or no .tar.gz")


def test_an_archive_without_a_batch_names_it(tmp_path):
    (write_binary(tmp_path / cifar10.BINARY) / "test_batch.bin").unlink()
    archive = pack(tmp_path / cifar10.BINARY, tmp_path / cifar10.BINARY_ARCHIVE)
    assert refusal(archive, "test") == f"{archive}: there is no file cifar-10-batches-bin/test_batch.bin in it"


def test_an_archive_that_unpacks_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10_archives, "MAX_BYTES", 1 << 20)
    (tmp_path / "zeros").write_bytes(bytes(5 << 20))
    archive = pack(tmp_path / "zeros", tmp_path / cifar10.BINARY_ARCHIVE)
    assert "more than 1,048,576 bytes, refused" in refusal(archive)


def test_a_link_in_place_of_a_batch_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    folder = write_binary(tmp_path / cifar10.BINARY)
    (folder / "data_batch_1.bin").unlink()
    (folder / "data_batch_1.bin").symlink_to(tmp_path / "secret")
    archive = pack(folder, tmp_path / cifar10.BINARY_ARCHIVE)
    assert refusal(archive) == f"{archive}: cifar-10-batches-bin/data_batch_1.bin is not a plain file"


def test_without_network_one_line_says_what_to_do(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, urls=("http://127.0.0.1:9/x",)))
    text = refusal("cifar10")
    for part in ("127.0.0.1:9", "refused", "MINICNN_DATA (not set)", str(cache), "cifar-10-batches-bin"):
        assert part in text


# The archive of JPEGs


def jpeg(colour, size=(32, 32), kind="JPEG", mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, quality=100)
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Gives a function that writes an archive of 3 + 2 pictures a class, whose red is 20 times the class."""
    monkeypatch.setattr(cifar10_archives, "PER_CLASS", {"train": 3, "test": 2})

    def write(changes=None, folder=tmp_path):
        members = {
            f"{split}/{name}/{number:04}.jpg": jpeg((20 * label, 40 * number, 200))
            for split, count in (("train", 3), ("test", 2))
            for label, name in enumerate(cifar10.CLASS_NAMES)
            for number in range(count)
        }
        members.update(changes or {})
        archive = folder / cifar10.PICTURES_ARCHIVE
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for name, content in members.items():
                if content is not None:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        return archive

    return write


def test_jpegs_are_decoded_once_and_mixed(pictures, cache, monkeypatch):
    archive, steps = pictures(), []
    train, test = data.load(archive, "train", progress=lambda *s: steps.append(s)), data.load(archive, "test")
    assert len(train) == 30 and len(test) == 20
    assert np.abs(train.images[:, 0].mean((1, 2)) - 20 * train.labels).max() < 4
    assert np.bincount(train.labels).tolist() == [3] * 10
    assert (np.diff(train.labels) < 0).sum() > 5  # not sorted by class
    monkeypatch.setattr(cifar10_archives, "_decode_archive", None)
    assert data.load(archive, "train").fingerprint() == train.fingerprint()
    assert {path.name for path in cache.rglob("*.*")} == {"train.npy", "test.npy"}


def test_another_archive_is_decoded_anew(pictures, tmp_path):
    first = data.load(pictures(), "train")
    (tmp_path / "other").mkdir()
    changed = pictures({"train/cat/0001.jpg": jpeg("white")}, tmp_path / "other")
    assert data.load(changed, "train").fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no picture", "train/cat/0001.jpg: no readable JPEG"),
        (jpeg("red", kind="PNG"), "train/cat/0001.jpg: no readable JPEG"),
        (jpeg("red", size=(33, 32)), "train/cat/0001.jpg: 33x32 RGB, expected 32x32 RGB"),
        (jpeg("red", size=(20_000, 9_000)), "train/cat/0001.jpg: "),
        (jpeg(7, mode="L"), "train/cat/0001.jpg: 32x32 L, expected 32x32 RGB"),
        (jpeg("red")[:-100], "train/cat/0001.jpg: no readable JPEG"),
        (None, "1 of 50 pictures are missing, the first is train/cat/0001.jpg"),
    ],
)
def test_a_bad_picture_is_named_and_nothing_kept(pictures, cache, content, said):
    archive = pictures({"train/cat/0001.jpg": content})
    assert refusal(archive).startswith(f"{archive}: {said}")
    assert list(cache.rglob("*.npy")) == []


def test_names_that_lead_elsewhere_are_passed_over(pictures, tmp_path):
    archive = pictures({"../../evil.jpg": b"x", "/evil.jpg": b"x", "train/cat/../evil.jpg": b"x"})
    assert len(data.load(archive, "test")) == 20
    assert not list(tmp_path.rglob("evil.jpg"))


def test_a_cache_that_cannot_be_written_is_one_line(pictures, cache):
    cache.write_text("a file in the way")
    assert refusal(pictures()).endswith(f"{cache} is a file")


def test_a_full_disk_leaves_no_half_array(pictures, cache, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert refusal(pictures()).endswith("cannot be written: no space left on device")
    assert [path.name for path in cache.rglob("*.*")] == []


def test_a_damaged_cache_says_what_to_delete(pictures, cache):
    archive = pictures()
    data.load(archive, "train")
    path = next(cache.rglob("train.npy"))
    path.write_bytes(path.read_bytes()[:-10])
    assert refusal(archive).startswith(f"{path}: damaged")
    np.save(path, np.zeros((3, 3)))
    assert refusal(archive).startswith(f"{path}: holds float64 (3, 3), expected uint8 (30, 3073)")


# The real one, and the script that makes the official folders from it


def script(archive):
    path = archive.parent.parent / "tools" / "make_cifar10_batches.py"
    if not path.is_file():
        pytest.skip("tools/make_cifar10_batches.py is not beside MINICNN_DATA")
    loader = importlib.machinery.SourceFileLoader("make_cifar10_batches", str(path))
    module = types.ModuleType(loader.name)
    module.__file__ = str(path)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", ["pickles", "binary"])
def test_what_the_script_writes_is_read_as_it_was_meant(real_data, tmp_path, monkeypatch, form):
    tool = script(real_data("cifar10-images.tar.gz"))
    monkeypatch.setattr(cifar10, "BATCH_SIZE", 20)
    names = np.array([b"x.jpg"] * 100)
    images = {
        "train": (PIXELS[:5].reshape(100, 3072), LABELS[:5].ravel(), names),
        "test": (PIXELS[5], LABELS[5], names),
    }
    orders = {"train": np.split(np.arange(100), 5), "test": [np.arange(20)]}
    getattr(tool, f"write_{form}")(images, orders, tmp_path / "batches")
    check(tmp_path / "batches")


def test_the_real_pictures_hold_what_is_known_of_them_in_the_order_of_the_script(real_data):
    archive = real_data("cifar10-images.tar.gz")
    train, test = data.load(archive, "train"), data.load(archive, "test")
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert np.allclose(train.images.mean((0, 2, 3)) / 255, (0.4913, 0.4821, 0.4465), atol=5e-5)
    assert np.allclose(train.images.std((0, 2, 3)) / 255, (0.2452, 0.2428, 0.2606), atol=5e-5)
    tool = script(archive)
    for split, dataset, order in zip(("train", "test"), (train, test), script_orders(), strict=True):
        label, number = divmod(int(order[0]), len(dataset) // 10)
        name = f"{split}/{cifar10.CLASS_NAMES[label]}/{number:04}.jpg"
        content = next(content for member, content in tool.tar_members(archive) if member == name)
        assert np.array_equal(dataset.images[0].reshape(1, 3072), tool.decode([content]))
        assert dataset.labels[0] == label


def script_orders():
    random = np.random.RandomState(0)
    return random.permutation(50_000), random.permutation(10_000)
