"""The lecture's printed counts beside the computed ones: the computed ones are held here."""

import pytest

from minicnn.models.lecture import PRINTED, counts

COMPUTED = {
    "lenet5": {"conv1": 150, "conv2": 2400, "fc3": 48120, "fc4": 10164},
    "lenet5_1998": {"conv1": 156, "conv2": 1516, "conv3": 48120, "fc4": 10164},
    "alexnet_lecture": {"conv2": 614_400, "conv3": 884_736, "conv4": 1_327_104, "fc6": 4_194_304, "all": 28_813_344},
    "alexnet_paper": {"conv2": 307_200, "conv3": 884_736, "conv4": 663_552, "fc6": 37_748_736, "all": 60_954_656},
    "alexnet": {"conv2": 307_200, "conv3": 663_552, "conv4": 884_736, "fc6": 37_748_736, "all": 61_090_496},
    "zfnet": {"conv1 − alexnet_lecture's": -20_736, "conv3 − alexnet_lecture's": 0, "conv5 − alexnet_lecture's": 0},
    "zfnet_lecture": {
        "conv1 − alexnet_lecture's": -20_736,
        "conv3 − alexnet_lecture's": 294_912,
        "conv5 − alexnet_lecture's": 3_833_856,
    },
    "vgg16": {"outside the FC layers": 14_714_688, "in the FC layers": 123_642_856},
    "googlenet_paper": {
        "parameters, against alexnet_paper": 60_965_224 / 6_998_552,
        "multiply-adds, against alexnet_paper": 1_582_671_872 / 724_406_816,
        "inception3a.branch3": 15_872,
    },
    "googlenet": {
        "parameters, against alexnet_paper": 60_965_224 / 6_624_904,
        "multiply-adds, against alexnet_paper": 1_498_376_192 / 724_406_816,
    },
}


@pytest.mark.parametrize("model", list(PRINTED))
def test_the_computed_counts(model):
    assert {count.layer: count.computed for count in counts(model)} == COMPUTED[model]


@pytest.mark.parametrize("model", list(PRINTED))
def test_every_printed_count_comes_with_its_reason(model):
    assert all(count.why for count in counts(model))
