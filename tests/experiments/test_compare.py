"""Compare: every method is there, with the numbers that its measures give alone, and no time in any picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.attribution import METHODS, find_target
from minicnn.experiments.compare import CONTENDERS, compare, gradient_times_input
from minicnn.experiments.deeplift import deeplift
from minicnn.experiments.quality import deletion, insertion, randomization
from minicnn.experiments.smoothgrad import smoothgrad
from minicnn.layers import Flatten, Linear, ReLU, Tanh
from minicnn.network import Network

STEPS = 4


@pytest.fixture
def found(small, image):
    return compare(small, image, "dog", steps=STEPS)


def named(found, name):
    return next(one for one in found.judged if one.name == name)


def test_no_method_is_forgotten():
    assert set(METHODS) <= {one.function for one in CONTENDERS}


def test_every_method_is_there_with_its_numbers(found, small, image):
    assert len(found.judged) == len(CONTENDERS) and not found.left_out and found.target.name == "dog"
    one = named(found, "DeepLIFT (reveal-cancel)")
    alone = deeplift(small, image, "dog", rule="reveal-cancel")
    np.testing.assert_allclose(one.attribution.map, alone.map)
    assert one.deletion.auc == deletion(small, image, alone.map, "dog", steps=STEPS).auc
    assert one.insertion.auc == insertion(small, image, alone.map, "dog", steps=STEPS).auc
    checked = randomization(small, deeplift, image, "dog", rule="reveal-cancel").all
    assert one.randomized == pytest.approx(checked) and one.seconds > 0
    assert one.figures()["delta"] == alone.delta and "%" in one.completeness()
    assert named(found, "saliency").completeness() == "" and named(found, "saliency").figures()["delta"] is None


def test_a_quick_comparison_takes_fewer_copies_and_a_full_one_as_many_as_the_command(small, image, found):
    quick = smoothgrad(small, image, "dog", copies=20).map
    np.testing.assert_allclose(named(found, "SmoothGrad").attribution.map, quick)
    full = compare(small, image, "dog", steps=1, full=True)
    np.testing.assert_allclose(named(full, "SmoothGrad").attribution.map, smoothgrad(small, image, "dog").map)


def test_the_gradient_times_the_picture(small, image):
    result = gradient_times_input(small, image, "dog")
    change = 1e-3 * image
    there, here = (float(small.scores(x.astype(np.float32))[0, 1]) for x in (image + change, image - change))
    assert result.map.sum() == pytest.approx((there - here) / 2e-3, rel=1e-2)


def test_the_best_is_the_best_and_an_empty_map_never_is(found):
    assert found.best("deletion").deletion.auc == min(one.deletion.auc for one in found.judged)
    assert found.best("insertion").insertion.auc == max(one.insertion.auc for one in found.judged)
    first = found.judged[0]
    empty = replace(first, attribution=replace(first.attribution, map=np.zeros((12, 12))), randomized=0.0)
    found = replace(found, judged=(empty, *found.judged))
    assert empty.blank and found.best("randomized") is not empty
    assert found.figure().width > 900 and found.curves().width > 900


def test_what_a_network_cannot_do_is_left_out_with_the_reason(image):
    layers = {"flatten": Flatten(), "fc1": Linear(432, 5), "tanh": Tanh(), "fc2": Linear(5, 2)}
    net = Network(layers, input_shape=(3, 12, 12), name="plain").initialize(0).eval()
    found = compare(net, image, steps=1)
    assert set(found.left_out) == {"guided", "deconvnet", "gradcam", "guided_gradcam"}
    assert "no ReLU" in found.left_out["guided"] and "no layer with maps" in found.left_out["gradcam"]
    assert found.figure().width > 900


def test_maps_of_nothing_but_zeros_are_drawn(image):
    """A class without any weight, as an untrained head has it."""
    net = Network({"flatten": Flatten(), "relu": ReLU(), "fc": Linear(432, 2)}, input_shape=(3, 12, 12))
    net.initialize(0).eval()
    net.layer("fc").own_parameters()["weight"].value[:] = 0
    found = compare(net, image, 0, steps=1)
    assert all(one.blank for one in found.judged)
    assert found.figure().width > 900 and found.curves().width > 900 and len(found.table().rows) == len(found.judged)


def test_a_unit_is_compared_by_its_activation(small, image):
    found = compare(small, image, layer="relu2", unit=1, steps=1)
    assert found.asked.startswith("relu2: channel 1") and not found.of_class
    value = small.activations(image, ["relu2"])["relu2"][(0, *found.target.index)]
    assert named(found, "saliency").deletion.value[0] == pytest.approx(float(value), rel=1e-5)


def test_progress_ends_where_it_says(small, image):
    calls = []
    compare(small, image, steps=1, progress=lambda *done: calls.append(done))
    assert len(calls) == len(CONTENDERS) and calls[-1][0] == calls[-1][1]


def test_the_network_is_left_as_it_was(small, image):
    before = small.state_dict()
    goal = find_target(small, image)
    compare(small, image, goal, steps=1)
    for name, value in small.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(layer.rule == "gradient" for _, layer in small.layers() if isinstance(layer, ReLU))


def test_the_command_writes_the_same_pictures_again_and_times_in_the_record_alone(minicnn, photo, tmp_path):
    command = ("explain", "compare", photo, "--steps", 3, "--out")
    status, said, _ = minicnn(*command, tmp_path / "a")
    assert status == 0 and "11 methods for" in said
    minicnn(*command, tmp_path / "b")
    for name in ("compare.png", "curves.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    record = json.loads((tmp_path / "a/run.json").read_text(encoding="utf-8"))
    for numbers in record["methods"].values():
        assert numbers.keys() == {"deletion", "insertion", "randomized", "delta", "change", "seconds"}
    page = (tmp_path / "a/index.html").read_text(encoding="utf-8")
    assert all(name in page for name in record["methods"]) and "<script" not in page


def test_no_steps_are_refused(minicnn, small, image, photo, tmp_path):
    with pytest.raises(MinicnnError, match="steps 0: expected 1 or more"):
        compare(small, image, steps=0)
    assert minicnn("explain", "compare", photo, "--steps", 0, "--out", tmp_path / "a")[0] == 2
