import tarfile
from math import prod

import numpy as np
import pytest
from PIL import Image

from minicnn import data, pictures
from minicnn.data import Batches, folder
from minicnn.errors import MinicnnError
from minicnn.layers import Flatten, Linear
from minicnn.network import Network


def save(path, colour="red", size=(12, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def noise(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def refusal(source, split="test", **options):
    with pytest.raises(MinicnnError) as caught:
        data.load(source, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sub_folders_are_the_classes_in_sorted_order(tmp_path):
    save(tmp_path / "dog" / "1.png", "red")
    save(tmp_path / "cat" / "deep" / "2.JPG", "blue")
    save(tmp_path / "cat" / "1.webp", "blue", lossless=True)
    (tmp_path / "cat" / "notes.txt").write_text("passed over")
    (tmp_path / ".hidden").mkdir()
    dataset = data.load(tmp_path, "test")
    assert dataset.class_names == ("cat", "dog") and dataset.labels.tolist() == [0, 0, 1]
    assert dataset.images.shape == (3, 3, 8, 12)
    assert dataset.images[2, :, 0, 0].tolist() == [255, 0, 0]


def test_wordnet_ids_of_names_are_the_classes(tmp_path):
    for name in ("n00000002_great_white_shark", "n00000001_tench", "n00000002_other", "n00000003_0017"):
        save(tmp_path / f"{name}.JPEG", size=(8, 8))
    dataset = data.load(tmp_path, "test")
    assert dataset.class_names == ("tench", "great white shark", "n00000003")
    assert dataset.labels.tolist() == [0, 1, 1, 2]


def test_pictures_of_no_class_are_taken_where_nobody_asks_for_one(tmp_path):
    for name in ("beach", "n00000001_tench", "a"):
        save(tmp_path / f"{name}.png", size=(8, 8))
    dataset = data.load(tmp_path, "test", any_name=True)
    assert dataset.class_names == ("", "tench") and dataset.labels.tolist() == [0, 0, 1]


def test_underscores_of_a_folders_name_are_spaces_to_people_and_do_not_matter_to_labels(tmp_path):
    for name in ("golden_retriever", "tench"):
        save(tmp_path / name / "1.png")
    assert data.load(tmp_path, "test").class_names == ("golden retriever", "tench")
    for classes in (["tench", "golden retriever"], ["tench", "golden_retriever"]):
        assert data.load(tmp_path, "test", classes=classes).labels.tolist() == [1, 0]


def test_labels_follow_the_classes_of_a_trained_network(tmp_path):
    save(tmp_path / "n00000005_b.png")
    save(tmp_path / "n00000003_a.png")
    dataset = data.load(tmp_path, "test", classes=[f"n0000000{k}" for k in range(7)])
    assert dataset.labels.tolist() == [3, 5] and len(dataset.class_names) == 7
    assert dataset.class_names[3] == "a" and dataset.class_names[4] == "n00000004"
    text = refusal(tmp_path, classes=["n00000003", "n00000004"])
    assert "n00000005_b.png: class 'n00000005' is not among the 2 classes; did you mean 'n00000004'" in text


def test_a_class_is_found_by_what_its_wordnet_id_is_called(tmp_path):
    for name in ("n00000005_crane.png", "n00000003_crane.png", "n00000004_stork.png"):
        save(tmp_path / name)
    called = {"n00000003": "crane (machine)", "n00000005": "crane (bird)"}
    dataset = data.load(tmp_path, "test", classes=["stork", "crane (bird)", "crane (machine)"], wordnet=called)
    assert dataset.labels.tolist() == [2, 0, 1]


def test_the_test_split_takes_the_class_numbers_of_the_train_split(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / "train" / name / "1.png")
    save(tmp_path / "val" / "c" / "1.png")
    assert data.load(tmp_path, "train").labels.tolist() == [0, 1, 2]
    assert data.load(tmp_path, "test").labels.tolist() == [2]
    save(tmp_path / "val" / "d" / "1.png")
    assert "class 'd' is not among the 3 classes" in refusal(tmp_path)
    assert "has splits; say which" in refusal(tmp_path, None)


def test_training_on_a_folder_without_splits_is_refused(tmp_path):
    save(tmp_path / "a" / "1.png")
    assert "to train on it, it needs sub-folders train and test" in refusal(tmp_path, "train")
    assert len(data.load(tmp_path, None)) == 1


def test_one_of_two_splits_is_not_the_other(tmp_path):
    save(tmp_path / "train" / "a" / "1.png")
    assert "has no sub-folder test or val" in refusal(tmp_path)


@pytest.mark.parametrize("lazily", [True, False])
def test_grey_16_bit_transparent_and_turned_pictures_become_upright_rgb(tmp_path, lazily):
    save(tmp_path / "a" / "1 grey.png", 51, (8, 8), "L")
    Image.fromarray(np.full((8, 8), 51 * 257, np.uint16)).save(tmp_path / "a" / "2 deep.png")
    save(tmp_path / "a" / "3 clear.png", (255, 0, 0, 0), (8, 8), "RGBA")
    turned = Image.new("RGB", (8, 8), "black")
    turned.paste("white", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row belongs to the right
    turned.save(tmp_path / "a" / "4 turned.png", exif=exif)
    images = data.load(tmp_path, "test", shape=(3, 8, 8) if lazily else None).in_memory().images
    assert (images[0] == 51).all() and (images[1] == 51).all() and (images[2] == 255).all()
    assert (images[3, :, :, 4:] == 255).all() and (images[3, :, :, :4] == 0).all()


def test_grey_networks_get_one_channel(tmp_path):
    save(tmp_path / "a" / "1.png", "white", (30, 30))
    dataset = data.load(tmp_path, "test", shape=(1, 28, 28))
    assert dataset.images.shape == (1, 1, 28, 28) and (dataset.images[:] == 255).all()


def test_pictures_of_several_sizes_need_a_size(tmp_path):
    save(tmp_path / "a" / "1.png", size=(12, 8))
    save(tmp_path / "a" / "2.png", size=(12, 9))
    assert refusal(tmp_path).endswith(
        "2.png: 12x9, but 1.png is 12x8: pictures of several sizes need a shape to be cut to"
    )
    assert data.load(tmp_path, "test", shape=(3, 8, 8)).images[:].shape == (2, 3, 8, 8)


def test_the_middle_is_cropped_without_resampling_where_the_short_side_fits(tmp_path):
    wide = noise(tmp_path / "a" / "wide.png", (342, 256)).transpose(2, 0, 1)
    tall = noise(tmp_path / "a" / "tall.png", (256, 341)).transpose(2, 0, 1)
    images = data.load(tmp_path, "test", shape=(3, 227, 227), resize=256).images[:]
    assert np.array_equal(images[0], tall[:, 57:284, 14:241])
    assert np.array_equal(images[1], wide[:, 14:241, 57:284])


def test_resizing_is_pillows_before_the_crop(tmp_path):
    pixels = noise(tmp_path / "a" / "1.png", (60, 40))
    whole = np.asarray(Image.fromarray(pixels).resize((30, 20), Image.Resampling.BICUBIC))
    image = data.load(tmp_path, "test", shape=(3, 20, 18)).images[:][0]
    assert np.array_equal(image, whole[:, 6:24].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 30), (9, 60), (28, 28), (300, 280)])
@pytest.mark.parametrize(
    ("shape", "resize"), [((1, 28, 28), None), ((3, 20, 32), 24), ((3, 20, 32), 40), ((3, 227, 227), 256)]
)
def test_a_folder_gives_the_pixels_that_a_network_prepares_from_one_picture(tmp_path, size, shape, resize):
    path = tmp_path / "a" / "1.png"
    noise(path, size)
    net = Network({"flatten": Flatten(), "scores": Linear(prod(shape), 2)}, input_shape=shape, resize=resize)
    images, _ = next(Batches(data.load(tmp_path, "test", shape=shape, resize=resize), 1).epoch(0))
    assert np.array_equal(images, net.prepare(pictures.load_picture(path)))


def test_labels_follow_the_names_of_a_network_that_learned_from_wordnet_ids(tmp_path):
    save(tmp_path / "n00000005_great_white_shark.png")
    save(tmp_path / "n00000003_tench.png")
    dataset = data.load(tmp_path, "test", classes=["crab", "great white shark", "tench"])
    assert dataset.labels.tolist() == [2, 1]
    assert dataset.class_names == ("crab", "great white shark", "tench")


def test_pictures_are_decoded_only_when_asked_for(tmp_path, monkeypatch):
    for k in range(6):
        save(tmp_path / "a" / f"{k}.png", (40 * k, 0, 0))
    opened = []

    def load_picture(path, mode):
        opened.append(path.name)
        return pictures.load_picture(path, mode=mode)

    monkeypatch.setattr(folder, "load_picture", load_picture)
    dataset = data.load(tmp_path, "test", shape=(3, 8, 8))
    part = dataset.subset(np.array([5, 1])).subset(slice(1, 2))
    assert len(dataset) == 6 and len(part) == 1 and opened == []
    assert part.images[:][0, 0, 0, 0] == 40
    assert opened == ["1.png"]


def test_batches_of_files_are_those_of_the_decoded_pictures(tmp_path):
    for k in range(7):
        noise(tmp_path / "ab"[k % 2] / f"x{'x' * k}.png", (9, 8))
    lazy = data.load(tmp_path, "test", shape=(3, 8, 8))
    for mine, whole in zip(Batches(lazy, 3).epoch(1), Batches(lazy.in_memory(), 3).epoch(1), strict=True):
        assert np.array_equal(mine[0], whole[0]) and np.array_equal(mine[1], whole[1])


def test_the_fingerprint_sees_changed_files_and_sizes(tmp_path):
    path = save(tmp_path / "a" / "1.png", "red")
    first = data.load(tmp_path, "test", shape=(3, 8, 8))
    assert data.load(tmp_path, "test", shape=(3, 8, 8)).fingerprint() == first.fingerprint()
    assert data.load(tmp_path, "test", shape=(3, 8, 9)).fingerprint() != first.fingerprint()
    assert data.load(tmp_path, "test", shape=(3, 8, 8), resize=9).fingerprint() != first.fingerprint()
    before = first.fingerprint()
    save(path, "blue")
    assert first.fingerprint() != before
    path.unlink()
    with pytest.raises(MinicnnError, match=r"1\.png: cannot be read: no such file"):
        first.fingerprint()


# What is refused


def test_a_picture_that_is_none_is_named(tmp_path):
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_text("no picture")
    assert "2.png: not a picture" in refusal(tmp_path)
    lazy = data.load(tmp_path, "test", shape=(3, 8, 8))
    with pytest.raises(MinicnnError, match=r"2\.png: not a picture"):
        list(Batches(lazy, 2).epoch(0))


def test_the_pictures_that_cannot_be_read_are_known_by_number(tmp_path):
    for k in range(5):
        save(tmp_path / "a" / f"{k}.png", "red")
    (tmp_path / "a" / "1.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:50])
    save(tmp_path / "a" / "3.png", size=(60_000, 1))
    images = data.load(tmp_path, "test", shape=(3, 224, 224)).images
    seen = []
    found = images.unreadable(lambda what, done, total: seen.append((done, total)))
    assert list(found) == [1, 3] and "1.png: a damaged" in found[1] and "3.png: 60000x1 is too narrow" in found[3]
    assert seen[-1] == (5, 5)
    assert images.subset(np.array([0, 2, 4])).unreadable() == {}


def test_a_decompression_bomb_is_named_and_not_decoded(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png", size=(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(MinicnnError, match=r"1\.png: more than .* refused as a decompression bomb"):
        data.load(tmp_path, "test", shape=(3, 8, 8)).images[:]


def test_a_thread_of_a_picture_is_not_blown_up(tmp_path):
    save(tmp_path / "a" / "1.png", size=(60_000, 1))
    with pytest.raises(MinicnnError, match=r"1\.png: 60000x1 is too narrow to be cut to 224x224"):
        data.load(tmp_path, "test", shape=(3, 224, 224)).images[:]


def test_more_pictures_than_memory_should_hold_need_a_size(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png")
    monkeypatch.setattr(folder, "MAX_BYTES", 200)
    assert "1 pictures of 12x8: give a shape" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no pictures in it"),
        (["tench.png"], "tench.png: of no class: expected one sub-folder a class, or names that begin with a WordNet"),
        (["a/1.png", "loose.png"], "loose.png: lies beside sub-folders of pictures; which class"),
        (["a/1.png", "b/notes.txt"], "b: no pictures in the sub-folder of this class"),
    ],
)
def test_pictures_without_a_class_are_told(tmp_path, names, said):
    for name in names:
        if name.endswith("png"):
            save(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text("")
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shape": (3, 0, 8)}, "shape (3, 0, 8): expected (C, H, W) with C = 1 or 3, H and W from 1 to 8192"),
        ({"shape": (3, 8, 8193)}, "shape (3, 8, 8193): expected (C, H, W)"),
        ({"shape": (2, 8, 8)}, "shape (2, 8, 8): expected (C, H, W)"),
        ({"shape": (8, 8)}, "shape (8, 8): expected (C, H, W)"),
        ({"shape": (3, 8, 8), "resize": 0}, "resize 0: expected 1 to 8192 pixels"),
    ],
)
def test_wrong_options_are_told_at_once(tmp_path, options, said):
    save(tmp_path / "a" / "1.png")
    assert said in refusal(tmp_path, **options)


def test_the_sample_of_imagenet_has_a_picture_of_each_class(real_data, tmp_path):
    archive = real_data("imagenet-sample.tar")
    known = real_data("imagenet-classes.txt").read_text().split("\n")
    with tarfile.open(archive) as tar:
        for member in [m for m in tar if m.isfile()][::50]:
            content = tar.extractfile(member)
            assert content is not None
            (tmp_path / member.name.split("/")[1]).write_bytes(content.read())
    ids = [line.split()[0] for line in known if line]
    dataset = data.load(tmp_path, "test", shape=(3, 227, 227), classes=ids)
    assert dataset.labels.tolist() == list(range(0, 1000, 50))
    images = dataset.subset(slice(0, 4)).images[:]
    assert images.shape == (4, 3, 227, 227) and 60 < images.mean() < 180
