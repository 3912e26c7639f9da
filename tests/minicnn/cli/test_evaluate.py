"""`minicnn evaluate`: labels meet the right outputs, pictures are cut as the network wants, published accuracies."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from minicnn import models
from minicnn.cli.evaluate import accuracies, border_of, pictures_for, views_of
from minicnn.data import Batches, Dataset
from minicnn.errors import MinicnnError
from minicnn.files import sha256
from minicnn.layers import Flatten, Linear
from minicnn.models.imagenet import CLASSES
from minicnn.network import Network


def knows_colours(names=(), outputs=3):
    """A network on 1×1 pictures whose k-th score is the k-th colour."""
    net = Network({"flatten": Flatten(), "fc": Linear(3, outputs)}, input_shape=(3, 1, 1), class_names=names)
    net.initialize(0)
    parameters = net.named_parameters()
    parameters["fc.weight"].value[...] = np.eye(outputs, 3)
    parameters["fc.bias"].value[...] = 0
    return net


def paint(folder, **colours):
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4), colour).save(folder / name / "1.png")


def test_labels_follow_the_networks_names_not_the_folders_order(tmp_path):
    paint(tmp_path, sky="#0000ff", leaf="#00ff00", apple="#ff0000")
    net = knows_colours(("apple", "leaf", "sky"))
    assert accuracies(net, Batches(pictures_for(net, str(tmp_path), "test"), 2, shuffle=False)) == (1, 1)
    wrong = knows_colours(("sky", "apple", "leaf"))
    assert accuracies(wrong, Batches(pictures_for(wrong, str(tmp_path), "test"), 2, shuffle=False)) == (0, 1)


def test_a_folder_of_part_of_unnamed_classes_is_refused_where_labels_would_be_guesses(tmp_path):
    paint(tmp_path, a="red", b="blue")
    with pytest.raises(MinicnnError, match="has 2 classes, network has 3"):
        pictures_for(knows_colours(), str(tmp_path), "test")


def test_a_network_without_classes_has_no_accuracy(tmp_path):
    paint(tmp_path, a="red")
    with pytest.raises(MinicnnError, match=r"vgg19_trunk has no classes: it ends in maps \(512, 7, 7\)"):
        pictures_for(models.architecture("vgg19_trunk"), str(tmp_path), "test")


def test_two_classes_of_one_name_are_told_apart_by_their_wordnet_ids(tmp_path):
    for name in ("n02012849_crane", "n03126707_crane", "n03710721_maillot"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    net = models.architecture("squeezenet1_0")
    pictures = pictures_for(net, str(tmp_path), "test")
    assert pictures.labels.tolist() == [134, 517, 639]
    assert pictures.class_names[:2] == CLASSES[:2]
    assert pictures.images.resize == 256 and pictures.image_shape == (3, 227, 227)


def test_the_first_five_of_a_tie_are_those_with_the_smaller_numbers():
    net = knows_colours(outputs=7)
    images = np.zeros((7, 3, 1, 1), np.uint8)
    pictures = Dataset(images, np.arange(7), tuple("abcdefg"), "ties")
    assert accuracies(net, Batches(pictures, 3, shuffle=False)) == (1 / 7, 5 / 7)


def test_the_record_says_which_weights_and_which_pictures(minicnn, tmp_path):
    paint(tmp_path / "set", **{"7": "white"})
    weights = models.weights_file("lenet5")
    records = []
    for colour in ("white", "gray", "white"):
        Image.new("RGB", (4, 4), colour).save(tmp_path / "set" / "7" / "1.png")
        status, printed, complaint = minicnn(
            "evaluate", "lenet5", "--data", tmp_path / "set", "--out", tmp_path / "out"
        )
        assert status == 0, complaint
        assert f"lenet5 on {tmp_path / 'set'}, 1 picture: top-1" in printed
        records.append(json.loads((tmp_path / "out" / "run.json").read_text()))
    assert all(record["inputs"] == {str(weights): sha256(weights)} for record in records)
    first, second, third = (record["settings"]["test_set"] for record in records)
    assert len(first) == 64 and first == third != second


def test_the_help_names_what_a_folder_can_be(minicnn):
    printed = " ".join(minicnn("evaluate", "--help")[1].replace("│", " ").split())
    assert "is its sub-folder, called by the class's name or its WordNet id, or," in printed
    assert "the WordNet id that the file's name begins with" in printed and "or name that" not in printed


@pytest.mark.parametrize(("model", "top1", "top5"), [("squeezenet1_0", 0.62, 0.82), ("darknet_tiny", 0.64, 0.86)])
def test_real_networks_on_real_pictures(minicnn, shared_data, tmp_path, model, top1, top5):
    """Every twentieth of the 1000. On all of them 62.4 / 83.2 % and 65.5 / 86.7 % are published, and reached.

    Another JPEG decoder may change the mind of a network about one picture.
    """
    with tarfile.open(shared_data / "imagenet-sample.tar") as tar:
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name)[::20]:
            content = tar.extractfile(member)
            assert content is not None
            (tmp_path / member.name.split("/")[1]).write_bytes(content.read())
    status, printed, complaint = minicnn("evaluate", model, "--data", tmp_path, "--out", tmp_path / "out")
    assert status == 0, complaint
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    shown = f"50 pictures: top-1 {100 * record['top1']:.1f} %, top-5 {100 * record['top5']:.1f} %"
    assert shown in " ".join(printed.split())
    assert (record["top1"], record["top5"]) == pytest.approx((top1, top5), abs=0.021)


def test_ten_views_are_the_middle_and_the_corners_each_also_mirrored():
    pictures = np.arange(2 * 3 * 6 * 8, dtype=np.float32).reshape(2, 3, 6, 8)
    found = list(views_of(pictures, (3, 4, 4), 10))
    assert len(found) == 10
    for view, (top, left) in zip(found[::2], [(1, 2), (0, 0), (0, 4), (2, 0), (2, 4)], strict=True):
        np.testing.assert_array_equal(view, pictures[:, :, top : top + 4, left : left + 4])
    for view, mirrored in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_array_equal(mirrored, view[..., ::-1])


def test_pictures_without_a_border_get_one_of_zeros_for_ten_views():
    pictures = np.ones((1, 3, 32, 32), np.float32)
    middle, _, corner, *_ = views_of(pictures, (3, 32, 32), 10)
    assert middle.all()
    assert not corner[:, :, :2].any()
    assert corner[:, :, 2:, 2:].all()


def test_one_view_is_the_middle_and_two_its_mirror_image_as_well():
    pictures = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    (one,) = views_of(pictures, (1, 4, 4), 1)
    np.testing.assert_array_equal(one, pictures)
    np.testing.assert_array_equal(list(views_of(pictures, (1, 4, 4), 2))[1], pictures[..., ::-1])


def test_probabilities_are_averaged_over_views_not_scores():
    net = Network({"flatten": Flatten(), "fc": Linear(2, 3)}, input_shape=(1, 1, 2)).initialize(0)
    parameters = net.named_parameters()
    parameters["fc.weight"].value[...] = [[10, 0], [0, 0], [0, 5.5]]
    parameters["fc.bias"].value[...] = [0, 5.5, 0]
    images = np.array([[[[0, 255]]]], np.uint8)  # scores 0 5.5 5.5, in the mirror 10 5.5 0: in the mean 5 5.5 2.75,
    pictures = Dataset(images, np.array([0]), ("a", "b", "c"), "one")  # but the mean probabilities are .50 .25 .25
    assert accuracies(net, Batches(pictures, 1, shuffle=False), 2)[0] == 1


def test_a_border_for_ten_views_is_what_fitting_cuts_off():
    assert border_of(models.architecture("resnet18")) == 16
    assert border_of(models.architecture("resnet20")) == 0


def test_other_numbers_of_views_are_refused(minicnn, tmp_path):
    status, _, error = minicnn("evaluate", "lenet5", "--data", str(tmp_path), "--views", "5")
    assert (status, error.strip()) == (2, "minicnn: --views 5: expected 1, 2, 10")
