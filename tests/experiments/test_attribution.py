"""What all methods share: the target, the gradient in batches, the baseline, and the figure."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from minicnn import experiments
from minicnn.errors import MinicnnError
from minicnn.experiments.attribution import (
    Attribution,
    Target,
    baseline_for,
    colour_named,
    explained,
    find_target,
    gradient_of,
    methods,
    per_cent,
    values_of,
)
from minicnn.experiments.common import pictures_at_once
from minicnn.experiments.guided import InColours
from minicnn.experiments.integrated_gradients import integrated_gradients
from minicnn.experiments.saliency import saliency
from minicnn.layers import Flatten, Linear, Softmax
from minicnn.models import build
from minicnn.network import Network
from minicnn.pictures import load_picture


def test_the_class_predicted_is_explained_at_the_scores(small, image):
    c = int(small.scores(image)[0].argmax())
    assert find_target(small, image) == Target("fc3", (c,), small.class_name(c))
    assert find_target(small, image, "eel") == find_target(small, image, 2) == Target("fc3", (2,), "eel")


def test_behind_a_softmax_the_scores_before_it_are_explained(small, image):
    predicted = find_target(small, image)
    small.replace("softmax", Softmax())
    assert small.score_layer == "fc3" and find_target(small, image) == predicted


def test_where_the_scores_are_not_the_end_the_class_is_the_one_predicted():
    net = build("squeezenet1_0", num_classes=5)
    x = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    target = find_target(net, x)
    assert target.layer == "score.flatten" and target.index == (net.predict(x)[0][0].class_index,)


def test_of_a_channel_the_place_is_explained_that_the_picture_excites_most(small, image):
    a = small.activations(image, ["relu2"])["relu2"][0]
    row, column = np.unravel_index(a[3].argmax(), a[3].shape)
    expected = Target("relu2", (3, int(row), int(column)), f"relu2: channel 3 at {row}, {column}")
    assert find_target(small, image, layer="relu2", unit=3) == expected
    assert find_target(small, image, layer="relu2", unit="3") == expected
    channel = int(np.unravel_index(a.argmax(), a.shape)[0])
    assert find_target(small, image, layer="relu2").index[0] == channel


@pytest.mark.parametrize("unit", ["4,1,2", " 4, 1, 2", (4, 1, 2)])
def test_a_place_may_be_given(small, image, unit):
    assert find_target(small, image, layer="conv2", unit=unit) == Target("conv2", (4, 1, 2), "conv2: channel 4 at 1, 2")


def test_a_layer_without_places_has_units(small, image):
    assert find_target(small, image, layer="flatten", unit=7) == Target("flatten", (7,), "flatten: unit 7")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layer": "rellu2"}, "no layer 'rellu2'; did you mean 'relu2'"),
        ({"layer": "conv2", "unit": 5}, "conv2: unit 5: expected 0 to 4"),
        ({"layer": "conv2", "unit": -1}, "conv2: unit -1: expected 0 to 4"),
        ({"layer": "conv2", "unit": "1,4,0"}, "conv2: row 4: expected 0 to 3"),
        ({"layer": "conv2", "unit": "1,0,4"}, "conv2: column 4: expected 0 to 3"),
        ({"layer": "conv2", "unit": "1,2"}, "conv2: unit 1,2: expected 1 or 3 numbers"),
        ({"layer": "flatten", "unit": "1,2,3"}, "flatten: unit 1,2,3: expected one number"),
        ({"layer": "conv2", "unit": "first"}, "conv2: unit 'first': expected a number"),
        ({"unit": 3}, "unit 3: of which layer?"),
        ({"target": 1, "layer": "conv2"}, "not both"),
        ({"target": 3}, "class 3: expected 0 to 2"),
        ({"target": "cats"}, "did you mean 'cat'"),
        ({"target": True}, "no class True; there is: cat, dog, eel"),
        ({"target": Target("fc3", (3,), "a class")}, "fc3: unit 3: expected 0 to 2"),
        ({"target": Target("fc3", (-1,), "a class")}, "fc3: unit -1: expected 0 to 2"),
        ({"layer": "conv2", "unit": (1.5,)}, "conv2: unit \\(1.5,\\): expected a number"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        find_target(small, image, **options)


def test_the_gradient_is_that_of_the_unit(small, image):
    small.to(dtype=np.float64)
    x = image.astype(np.float64)
    target, gradient = gradient_of(small, x, layer="conv2", unit=(2, 1, 3))
    direction = np.random.default_rng(2).standard_normal(x.shape)
    ahead, behind = values_of(small, np.concatenate([x + 1e-6 * direction, x - 1e-6 * direction]), target)
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


def test_each_picture_of_a_batch_is_explained_by_itself(small, image):
    images = np.concatenate([image, image[:, :, ::-1], 0.5 * image])
    target = find_target(small, image, layer="relu2", unit="1,2,3")
    for memory in (1, 1 << 30):
        values, gradients = explained(small, images, target, memory=memory)
        np.testing.assert_allclose(values, values_of(small, images, target, memory=memory), atol=1e-6)
        for k in range(3):
            expected = gradient_of(small, images[k : k + 1], target)[1]
            np.testing.assert_allclose(gradients[k], expected, atol=1e-6)


def test_the_same_gradients_on_every_device(small, image, on):
    images = np.concatenate([image, 1 - image])
    target = find_target(small, image)
    expected = explained(small, images, target)
    on.place(small)
    values, gradients = explained(small, on.upload(images), target)
    np.testing.assert_allclose(values, expected[0], atol=1e-5)
    np.testing.assert_allclose(on.download(gradients), expected[1], atol=1e-5)


def test_a_batch_there_and_back_fits_the_memory():
    """NumPy tells tracemalloc of its arrays."""
    net = build("squeezenet1_0", num_classes=10)
    memory, shape = 24 << 20, (3, 113, 113)
    count = pictures_at_once(net, shape, memory, back=True)
    assert 3 < count <= pictures_at_once(net, shape, memory)
    x = np.random.default_rng(0).random((count, *shape), np.float32)
    target = find_target(net, x[:1])
    explained(net, x[:1], target)
    tracemalloc.start()
    try:
        explained(net, x, target, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - 2 * x.nbytes < 1.5 * memory  # without the pictures, and what is returned


def test_baselines_are_colours_or_pictures(small, image):
    assert (baseline_for(small, image, "white") == 1).all() and (baseline_for(small, image, "black") == 0).all()
    mean = baseline_for(small, image, "mean")
    np.testing.assert_allclose(mean[0, :, 5, 7], (0.5, 0.4, 0.3))
    assert mean.shape == image.shape and mean.dtype == image.dtype
    assert baseline_for(small, image, image[:, :, ::-1])[0, 0, 0, 0] == image[0, 0, -1, 0]
    for number in (0.25, np.float32(0.25), 1):
        assert (baseline_for(small, image, number) == number).all()
    assert baseline_for(small, image, 0).dtype == image.dtype


@pytest.mark.parametrize(
    ("baseline", "text"),
    [
        (np.zeros((1, 3, 6, 12)), r"baseline of shape \(1, 3, 6, 12\): expected .* or a picture \(1, 3, 12, 12\)"),
        ("gray", "baseline 'gray'; did you mean 'grey'"),
        (None, "baseline None: expected mean, grey, black, white, a number or a picture .*; the default is black"),
        (True, "baseline True: expected"),
        ([0.5], r"baseline \[0.5\]: expected"),
        (float("nan"), "baseline: 432 of 432 values are NaN or infinite"),
        (np.full((1, 3, 12, 12), np.inf), "baseline: 432 of 432 values are NaN or infinite"),
    ],
)
def test_what_is_no_baseline_is_refused(small, image, baseline, text):
    with pytest.raises(MinicnnError, match=text):
        baseline_for(small, image, baseline)


def found(signed: bool, **completeness: float) -> Attribution:
    map = np.linspace(-1 if signed else 0, 1, 144).reshape(12, 12)
    target = Target("conv2", (1, 2, 3), "conv2: channel 1 at 2, 3")
    return Attribution(
        "saliency", target, np.full((3, 12, 12), 0.5), map, signed, map[None], "what it is", **completeness
    )


def test_a_signed_map_is_white_at_zero_blue_below_and_red_above():
    panel = np.asarray(found(signed=True).panels("")[1][1].convert("RGB")).astype(int)
    blue, red = panel[0, 0], panel[11, 11]
    assert blue[2] > blue[0] + 50 and red[0] > red[2] + 50
    assert panel[6, 0].min() > 230  # the value next to 0


def test_a_unit_that_sees_little_is_shown_close_up():
    map, picture = np.zeros((12, 16)), np.random.default_rng(0).random((3, 12, 16))
    map[3:7, 5:9] = 1
    result = Attribution("guided", Target("conv1", (0, 1, 2), "unit"), picture, map, True, map[None], "")
    assert result.seen() == (slice(3, 7), slice(5, 9))
    assert [(name, panel.size) for name, panel in result.panels("")[3:]] == [("close up", (4, 4)), ("its map", (4, 4))]
    map[:, 5] = 1
    assert result.seen() == (slice(None), slice(None)) and len(result.panels("")) == 3


def test_the_figure_is_the_same_in_a_file(tmp_path):
    result = found(signed=False)
    path = result.save(tmp_path / "map.png", "a grey square")
    saved = np.asarray(load_picture(path))
    np.testing.assert_array_equal(saved, np.asarray(result.figure("a grey square").convert("RGB")))
    assert not np.array_equal(saved, np.asarray(result.figure().convert("RGB")))


def test_the_legend_says_how_well_the_values_add_up():
    assert found(signed=True).completeness() == ""
    said = found(signed=True, delta=-0.02, change=4.0).legends()[0][1]
    assert said == "what it is; the values add up to F(x) − F(x′) = 4 but for -0.02 (0.5 %)"
    assert "(" not in found(signed=True, delta=0.1, change=0.0).completeness().replace("F(x", "")


def test_a_map_that_is_zero_is_said_to_be():
    """By the deconvnet's rule nothing at all may arrive at the picture."""
    target = Target("fc3", (1,), "dog")
    nothing = Attribution("deconvnet", target, np.zeros((1, 9, 9)), np.zeros((9, 9)), True, np.zeros((1, 9, 9)), "what")
    assert nothing.legends() == [(0, "what; the map is 0 at every pixel", True)]
    assert nothing.figure().width > 300


def test_nothing_is_drawn_of_a_map_that_is_zero_but_the_map():
    black = np.zeros((3, 9, 9))
    nothing = InColours("deconvnet", Target("fc3", (1,), "dog"), black, black[0], True, black, "")
    assert [name for name, _ in nothing.panels("seen as dog")] == ["seen as dog", "deconvnet for dog"]


@pytest.mark.parametrize(("share", "text"), [(-0.00364, "0.364 %"), (1.5, "150 %"), (-3e-8, "< 0.01 %")])
def test_shares_are_written_as_people_read_them(share, text):
    assert per_cent(share) == text


def test_a_legend_says_what_is_explained(small, image):
    assert "F, the score of dog," in saliency(small, image, "dog").meaning
    assert "F, conv2: channel 1 at 2, 3," in saliency(small, image, layer="conv2", unit="1,2,3").meaning
    for baseline, called in (("black", "from black (x′) to"), (0.5, "from 0.5 (x′) to"), (0 * image, "from x′ to")):
        assert called in integrated_gradients(small, image, nodes=1, tolerance=None, baseline=baseline).meaning


def test_a_result_can_be_shown(monkeypatch):
    shown = []
    monkeypatch.setattr("PIL.Image.Image.show", lambda picture: shown.append(picture.size))
    found(signed=False).show()
    assert shown == [found(signed=False).figure().size]


@pytest.mark.parametrize("name", methods())
def test_every_method_explains_a_class_and_a_unit(small, image, name):
    for options in ({"target": "dog"}, {"layer": "conv2", "unit": "1,2,3"}):
        result = methods()[name](small, image, **options)
        assert isinstance(result, Attribution) and result.map.shape == (12, 12)
        assert result.target == find_target(small, image, **options)
        assert np.isfinite(result.map).all() and (result.signed or result.map.min() >= 0)
        assert np.array_equal(result.image, image[0]) and result.figure().width > 300
        again = methods()[name](small, image, result.target)
        np.testing.assert_array_equal(again.map, result.map)
        if result.delta is not None:
            assert result.delta == pytest.approx(result.values.sum() - result.change, abs=1e-5)


@pytest.mark.parametrize("name", [*methods(), "segment", "compare", "guided_gradcam"])
def test_a_picture_with_a_nan_is_refused_by_every_method(small, image, name):
    image[0, 1, 2, 3] = np.nan
    with pytest.raises(MinicnnError, match="picture: 1 of 432 values are NaN or infinite"):
        getattr(experiments, name)(small, image)


@pytest.mark.parametrize("name", methods())
def test_a_softmax_at_the_end_changes_no_explanation(small, image, name):
    ending = Network({**small.children(), "softmax": Softmax()}, input_shape=(3, 12, 12), class_names=small.class_names)
    found, expected = (methods()[name](net.eval(), image) for net in (ending, small))
    assert found.target == expected.target
    np.testing.assert_array_equal(found.map, expected.map)


@pytest.mark.parametrize("name", methods())
def test_the_map_has_the_precision_of_the_network(small, image, name):
    small.to(dtype=np.float64)
    result = methods()[name](small, image.astype(np.float64))
    assert result.map.dtype == result.values.dtype == np.float64


def test_a_network_that_subtracts_no_mean_hides_with_black_by_default():
    net = Network({"flatten": Flatten(), "fc": Linear(12, 2)}, input_shape=(3, 2, 2))
    np.testing.assert_array_equal(colour_named(net, "mean"), np.zeros(3, np.float32))
