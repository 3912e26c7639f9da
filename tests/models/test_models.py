"""The architectures by name."""

from __future__ import annotations

import pytest

from minicnn import models
from minicnn.errors import MinicnnError


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_model_says_what_it_is(name: str) -> None:
    net = models.architecture(name)
    assert net.name == name
    assert not any(parameter.initialized for parameter in net.parameters())  # nothing is drawn to be summed up
    classes = net.output_shape(net.input_shape)
    squeezed = name.startswith("squeezenet")  # behind its scores is one more ReLU
    assert net.score_layer == ("score.flatten" if squeezed else list(net.children())[-1])
    if name.endswith("_trunk"):  # without a classifier
        assert len(classes) == 3
        return
    assert len(classes) == 1
    assert len(net.class_names) in (0, classes[0])
    assert len(net.layer(net.feature_layer).output_shape(classes)) == 1
    assert models.architecture(name, num_classes=3).output_shape(net.input_shape) == (3,)


def test_the_same_seed_builds_the_same_network() -> None:
    one, same, other = (models.build("lenet5", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(one[name].tobytes() == same[name].tobytes() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_an_unknown_model_or_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(MinicnnError, match="no model 'lenet'; did you mean 'lenet5'"):
        models.build("lenet")
    with pytest.raises(MinicnnError, match="model lenet5: no option 'classes'; did you mean 'num_classes'"):
        models.build("lenet5", classes=3)
