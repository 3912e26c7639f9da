import numpy as np
import pytest

from minicnn import data
from minicnn.data import Dataset
from minicnn.errors import MinicnnError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), np.uint8)
LABELS = np.array([0, 2, 1, 2, 1])
CLASSES = ("a", "b", "c")


def make(images=IMAGES, labels=LABELS, class_names=CLASSES):
    return Dataset(images, labels, class_names, "toy")


def test_a_subset_keeps_pictures_labels_and_classes_together():
    dataset = make()
    assert len(dataset) == 5 and dataset.image_shape == (3, 4, 6)
    for indices in ([3, 0], np.array([3, 0]), np.array([-2, -5], np.int8)):
        part = dataset.subset(np.asarray(indices))
        assert np.array_equal(part.images, IMAGES[[3, 0]]) and part.labels.tolist() == [2, 0]
        assert part.class_names == CLASSES and part.name == "toy"
    assert np.array_equal(dataset.subset(slice(1, 3)).images, IMAGES[1:3])
    assert dataset.subset(LABELS == 2).labels.tolist() == [2, 2]


def test_the_arrays_cannot_be_changed_through_it_and_those_given_stay_writable():
    images, labels = IMAGES.copy(), LABELS.copy()
    dataset = make(images, labels)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 0
    images[0], labels[0] = 0, 0
    assert dataset.in_memory() is dataset


def test_the_fingerprint_sees_pictures_labels_order_classes_and_shape():
    others = [
        make(IMAGES ^ 1),
        make(labels=LABELS[::-1].copy()),
        make(IMAGES[::-1].copy(), LABELS[::-1].copy()),
        make(class_names=("a", "b", "d")),
        make(IMAGES.reshape(5, 3, 6, 4)),
    ]
    prints = {dataset.fingerprint() for dataset in (make(), *others)}
    assert len(prints) == 6 and {len(text) for text in prints} == {64}
    strided = make(np.asfortranarray(IMAGES))
    assert strided.fingerprint() == make().fingerprint()
    assert Dataset(IMAGES, LABELS, CLASSES, "another name").fingerprint() == make().fingerprint()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": IMAGES.astype(np.float32)}, "images are float32, expected uint8"),
        ({"images": IMAGES.tolist()}, "images are list, expected a uint8 array"),
        ({"images": IMAGES[:, 0]}, r"images have shape \(5, 4, 6\), expected \(N, C, H, W\)"),
        ({"images": IMAGES.transpose(0, 2, 3, 1)}, r"images have shape \(5, 4, 6, 3\), .* C = 1 or 3"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"images have shape \(0, 3, 4, 6\)"),
        ({"labels": LABELS.astype(np.uint8)}, r"labels are uint8 \(5,\), expected an int64 array"),
        ({"labels": LABELS.tolist()}, "labels are list, expected an int64 array"),
        ({"labels": LABELS[:4]}, "4 labels for 5 pictures"),
        ({"labels": np.array([0, 1, 3, 0, 0])}, r"picture 2 has label 3, expected 0 to 2 \(3 classes\)"),
        ({"labels": np.array([0, 1, 2, 0, -1])}, "picture 4 has label -1"),
        ({"class_names": ["a", "b", "c"]}, "class_names is .*, expected a tuple of strings"),
        ({"class_names": (1, 2, 3)}, "class_names is .*, expected a tuple of strings"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_once(changes, said):
    with pytest.raises(MinicnnError, match=f"^toy: {said}"):
        make(**changes)


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([5], "there is no picture 5, there are 5"),
        ([-6], "there is no picture -6"),
        ([0.5], "a subset by float64"),
        ([[0]], "a subset by int64"),
        ([True], "a subset by bool"),
    ],
)
def test_a_wrong_subset_is_told(indices, said):
    with pytest.raises(MinicnnError, match=f"^toy: {said}"):
        make().subset(np.array(indices))


# load


def test_the_digits_need_no_network_and_have_a_fixed_split():
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert train.images.shape == (1437, 1, 28, 28) and test.images.shape == (360, 1, 28, 28)
    assert np.bincount(test.labels).tolist() == [36] * 10
    assert str(data.available("digits")) == data.where("digits") and data.where("digits").endswith("sklearn")
    assert train.images.max() == 255 and train.images.min() == 0
    assert data.load("digits", "test").fingerprint() == test.fingerprint()
    everything = np.concatenate([train.images, test.images]).reshape(1797, -1)
    assert len(np.unique(everything, axis=0)) == 1797  # no digit in both


def test_an_enlarged_digit_is_where_and_what_it_was():
    from sklearn.datasets import load_digits

    train = data.load("digits", "train")
    small, labels = load_digits(return_X_y=True)
    # 2.5 pixels for each: blocks of 5x5 have the mean of 2x2, but for the blur.
    blocks = train.images[:, 0, 4:24, 4:24].reshape(-1, 4, 5, 4, 5).mean((2, 4)).reshape(-1, 16)
    means = small.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) * (255 / 16)
    for label in range(10):
        here, there = blocks[train.labels == label].mean(0), means[labels == label].mean(0)
        assert np.abs(here - there).max() < 20


@pytest.mark.parametrize(
    ("source", "split", "options", "said"),
    [
        ("mnst", "train", {}, "mnst: no data set of this name, and no folder; did you mean 'mnist'"),
        ("/no/such/folder", "train", {}, "/no/such/folder: no data set of this name, and no folder"),
        ("digits", "valid", {}, "split 'valid': expected 'train' or 'test'"),
        ("digits", None, {}, "digits: has splits; say which"),
        (
            "digits",
            "train",
            {"shape": (1, 32, 32)},
            r"digits: its pictures are \(1, 28, 28\), the network takes \(1, 32, 32\)",
        ),
        (__file__, "train", {}, "expected a folder of pictures, or an archive of CIFAR-10"),
    ],
)
def test_a_wrong_source_is_told(source, split, options, said):
    with pytest.raises(MinicnnError, match=said):
        data.load(source, split, **options)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(MinicnnError, match="there is no data set 'cifar'; did you mean 'cifar10'"):
        data.available("cifar")


def test_a_folder_called_like_a_data_set_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(data.load("digits", "test")) == 360
    with pytest.raises(MinicnnError, match="no pictures in it"):
        data.load("./digits", "test")
