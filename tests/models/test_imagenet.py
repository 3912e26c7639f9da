"""ImageNet's classes: their order is what every label and every name hangs on."""

import re

import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.models.imagenet import CLASSES, NAMES, WNIDS


def test_there_are_1000_classes_in_the_order_of_their_wordnet_ids():
    assert len(CLASSES) == len(WNIDS) == len(NAMES) == 1000
    assert list(WNIDS) == sorted(WNIDS)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in WNIDS)
    assert (CLASSES[0], CLASSES[207], CLASSES[281], CLASSES[999]) == (
        "tench",
        "golden retriever",
        "tabby",
        "toilet tissue",
    )


def test_names_that_two_classes_share_are_told_apart():
    assert len(set(CLASSES)) == 1000
    assert (CLASSES[134], CLASSES[517]) == ("crane (bird)", "crane (machine)")
    assert (CLASSES[638], CLASSES[639]) == ("maillot (tights)", "maillot (tank suit)")


def test_the_list_is_the_one_that_the_shared_pictures_come_with(shared_data):
    lines = (shared_data / "imagenet-classes.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(WNIDS)
    assert all(
        name.split(" (")[0] == line.split()[1].replace("_", " ") for name, line in zip(CLASSES, lines, strict=True)
    )


def test_a_class_of_imagenet_is_found_by_its_name_however_it_is_written():
    net = models.architecture("squeezenet1_0")
    assert net.class_index("golden_retriever") == net.class_index("Golden Retriever") == net.class_index("207") == 207


def test_a_class_of_imagenet_is_found_by_its_wordnet_id():
    net = models.architecture("squeezenet1_0")
    assert [net.class_index(wnid) for wnid in WNIDS] == list(range(1000))
    with pytest.raises(MinicnnError, match="no class 'n02123046'"):
        net.class_index("n02123046")
    net.class_names = ("cat", "dog")  # as after training on other pictures
    with pytest.raises(MinicnnError, match="no class 'n02123045'; there is: cat, dog"):
        net.class_index("n02123045")


def test_networks_of_1000_classes_know_their_names_and_how_they_are_tested():
    for name in models.ARCHITECTURES:
        net = models.architecture(name)
        if net.output_shape(net.input_shape) == (1000,):
            assert net.class_names == CLASSES, name
            assert net.resize == 256, name
