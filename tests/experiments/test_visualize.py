"""Class models: the pictures that come out, their determinism, and what the command refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import kernels
from minicnn.errors import MinicnnError
from minicnn.experiments.fool import fool
from minicnn.experiments.visualize import diversity, visualize
from minicnn.experiments.visualize_recipes import RECIPES
from minicnn.image import Channel, ClassScore, Diversity, TotalVariation, Unit
from minicnn.kernels.backend import get_array_module
from minicnn.layers import Softmax
from minicnn.models import load
from minicnn.network import Network
from minicnn.pictures import load_picture, to_array

module = sys.modules["minicnn.experiments.visualize"]  # the file, not the function of its name


@pytest.fixture(scope="module")
def lenet() -> Network:
    return load("lenet5")


@pytest.mark.parametrize("digit", range(10))
def test_every_class_model_is_seen_as_its_class(lenet, digit):
    picture = visualize(lenet, digit, steps=40)
    assert picture.shape == (1, 1, 28, 28) and picture.dtype == np.float32
    assert picture.min() >= 0 and picture.max() <= 1
    best = lenet.predict(picture)[0][0]
    assert best.class_index == digit and best.probability > 0.9


def test_the_regularizers_leave_a_smooth_drawing_on_black_paper(lenet):
    clear, plain = (visualize(lenet, 3, recipe=recipe, steps=60) for recipe in ("clear", "plain"))
    roughness = [float(TotalVariation().evaluate({"input": x})[0]) / float((x * x).sum()) for x in (clear, plain)]
    assert roughness[0] < 0.7 * roughness[1]
    assert (clear < 0.05).mean() > 0.5
    assert lenet.predict(plain)[0][0].name == "3"


def test_the_same_seed_gives_the_same_bytes(small):
    a, b, c = (visualize(small, "eel", steps=8, starts=2, seed=seed).tobytes() for seed in (3, 3, 4))
    assert a == b != c


def test_a_unit_without_a_gradient_at_the_start_is_woken_in_the_first_steps(small):
    small.layer("conv2").bias.value[...] = -2  # at the mean colour no ReLU behind it is active
    unit, rules = Unit("relu2", 1), []
    start = np.broadcast_to(np.array([0.5, 0.4, 0.3], np.float32)[:, None, None], (1, 3, 12, 12))
    assert not small.activations(start, ["relu2"])["relu2"].any()
    picture = visualize(
        small, unit, recipe="plain", steps=60, callbacks=[lambda now: rules.append(small.layer("relu2").rule)]
    )
    assert unit.evaluate(small.activations(picture, ["relu2"]))[0] > 0
    assert rules == ["redirected"] * 15 + ["gradient"] * 45
    assert small.layer("relu2").rule == "gradient"


@pytest.mark.parametrize("recipe", ["clear", "modern", "yosinski-4"])
def test_the_picture_is_made_on_the_networks_device(small, on, recipe):
    with kernels.using("array"):  # the same sums in the same order: where a pool's inputs tie, rounding decides
        expected = visualize(small, "cat", recipe=recipe, steps=4)
        on.place(small)
        there = visualize(small, "cat", recipe=recipe, steps=4)
    assert get_array_module(there) is on.xp
    np.testing.assert_allclose(on.download(there), expected, atol=1e-3)


def test_diverse_pictures_are_less_alike(small):
    unit = Unit("conv2", 3)
    alike = []
    for weight in (0, 30):
        pictures = visualize(small, unit + weight * Diversity("relu1"), starts=3, steps=30)
        alike.append(-float(Diversity("relu1").evaluate(small.activations(pictures, ["relu1"]))[0]))
    assert alike[1] < 0.9 * alike[0]


def test_units_are_drawn_in_any_size_and_classes_in_what_the_network_takes(small):
    assert visualize(small, Unit("conv2", 3), image_size=20, steps=2).shape == (1, 3, 20, 20)
    with pytest.raises(MinicnnError, match="made for pictures of 3×12×12, got 3×20×20"):
        visualize(small, "cat", image_size=20, steps=2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Unit("relu3", 0), "small has no layer 'relu3'; did you mean 'relu2'"),
        (Unit("relu2", 5), "relu2: unit 5: expected 0 to 4"),
    ],
)
def test_what_is_not_there_is_refused(small, target, message):
    with pytest.raises(MinicnnError, match=message):
        visualize(small, target)


def test_a_class_differs_at_the_last_layer_with_places_and_a_layer_at_itself(small):
    assert diversity(small, ClassScore(1)).layer == "relu2"
    assert diversity(small, Channel("relu1", 1)).layer == "relu1"
    assert diversity(small, Unit("fc3", 1)).layer == "relu2"


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_figure_the_picture_and_the_record(minicnn, tmp_path):
    status, said, _ = minicnn("make", "visualize", 3, "--model", "lenet5", "--steps", 60, "--out", tmp_path / "out")
    assert status == 0
    assert said.startswith("class 3: 3 (") and "visualize.png" in said
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["target"] == "class 3" and record["settings"]["steps"] == {"clear": 60}
    assert [Path(path).name for path in record["inputs"]] == ["lenet5.safetensors"]
    assert set(record["files"]) == {"visualize.png", "picture.png"}
    picture = load_picture(tmp_path / "out/picture.png", mode="L")
    assert picture.size == (28, 28)
    assert load("lenet5").predict(to_array(picture)[None])[0][0].name == "3"


def test_the_same_seed_gives_the_same_files(minicnn, tmp_path):
    for name in ("a", "b"):
        arguments = ("7", "--starts", 2, "--steps", 5, "--seed", 1, "--out", tmp_path / name)
        assert minicnn("make", "visualize", *arguments)[0] == 0
    for name in ("visualize.png", "picture-1.png", "picture-2.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_command_makes_pictures_of_units_channels_directions_and_plain_ones(minicnn, tmp_path):
    status, said, _ = minicnn("make", "visualize", "--layer", "relu2", "--unit", 3, "--steps", 5, "-o", tmp_path)
    assert status == 0 and said.startswith("unit 3 of relu2: ")
    status, said, _ = minicnn("make", "visualize", "--layer", "scores", "--unit", 3, "--steps", 5, "-o", tmp_path)
    assert status == 0 and said.startswith("unit 3 of fc5: activation ")
    status, said, _ = minicnn("make", "visualize", "--layer", "relu2", "--channel", 3, "--steps", 5, "-o", tmp_path)
    assert status == 0 and said.startswith("channel 3 of relu2: activation ")
    direction = ("--direction", "3:1,7:-0.5")
    status, said, _ = minicnn("make", "visualize", "--layer", "relu2", *direction, "--steps", 5, "-o", tmp_path)
    assert status == 0 and said.startswith("direction 3:1,7:-0.5 of relu2: activation ")
    assert minicnn("make", "visualize", "0", "--no-regularizer", "--steps", 5, "-o", tmp_path)[0] == 0
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["steps"] == {"plain": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["11"], "class 11: expected 0 to 9"),
        (["three"], "class 'three'"),
        ([], "expected a class, or else --layer and one of --unit, --channel, --direction"),
        (
            ["3", "--layer", "relu2", "--unit", 1],
            "expected a class, or else --layer and one of --unit, --channel, --direction",
        ),
        (["--layer", "relu2"], "expected a class, or else --layer and one of --unit, --channel, --direction"),
        (["--layer", "relu22", "--unit", 1], "no layer 'relu22'; did you mean 'relu2'"),
        (["--layer", "relu2", "--unit", 16], "relu2: unit 16: expected 0 to 15"),
        (["--layer", "relu2", "--unit", -1], "relu2: unit -1: expected 0 to 15"),
        (["--layer", "relu2", "--unit", 1, "--channel", 1], "expected a class, or else --layer and one of"),
        (["--layer", "relu2", "--channel", 16], "relu2: unit 16: expected 0 to 15"),
        (["--layer", "relu2", "--direction", "3"], "direction '3': expected CHANNEL:AMOUNT,CHANNEL:AMOUNT"),
        (["--layer", "relu2", "--direction", "16:1"], "direction '16:1': channel 16 of relu2: expected 0 to 15"),
        (["--layer", "relu2", "--direction", "-1:1"], "channel -1 of relu2: expected 0 to 15"),
        (["--layer", "relu2", "--direction", "3:0"], "direction '3:0': expected numbers, not all of them 0"),
        (["--layer", "relu2", "--direction", "3:nan"], "direction '3:nan': expected numbers, not all of them 0"),
        (["3", "--diversity", 1], "--diversity: expected --starts of 2 or more"),
        (["3", "--image-size", 40], "lenet5: made for pictures of 1×28×28, got 1×40×40"),
        (["3", "--steps", -5], "-5 steps: expected 1 or more"),
        (["3", "--starts", 0], "0 starts: expected 1 or more"),
        (["3", "--recipe", "simonian"], "recipe 'simonian'; did you mean 'simonyan'"),
        (["3", "--model", "lenet6"], "no model 'lenet6'; did you mean 'lenet5'"),
        (["3", "--weights", "none.safetensors"], "none.safetensors: no such weights file"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, arguments, message):
    assert message in refused("make", "visualize", *arguments, "--out", tmp_path)


def test_a_negative_seed_is_refused(minicnn, tmp_path):
    for command in (["make", "visualize", "3"], ["demo"]):
        status, _, complaint = minicnn(*command, "--seed", -1, "--out", tmp_path / "out")
        assert status == 2 and "--seed" in complaint and "Traceback" not in complaint
    assert not (tmp_path / "out").exists()


def test_all_recipes_side_by_side(minicnn, tmp_path):
    status, said, _ = minicnn("make", "visualize", "3", "--compare", "--steps", 2, "--out", tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert status == 0 and all(f"{recipe}: " in said for recipe in RECIPES)
    assert record["settings"]["steps"] == dict.fromkeys(RECIPES, 2)
    assert set(record["files"]) == {"visualize.png", *(f"{recipe}.png" for recipe in RECIPES)}


def test_ctrl_c_keeps_the_picture(minicnn, tmp_path, monkeypatch):
    real = module.optimize

    def interrupt(step):
        if step.step == 3:
            raise KeyboardInterrupt

    def interrupted(*arguments, **options):
        return real(*arguments, **options | {"callbacks": [interrupt]})

    monkeypatch.setitem(vars(module), "optimize", interrupted)
    status, _, complaint = minicnn("make", "visualize", "3", "--steps", 50, "--out", tmp_path)
    assert status == 130 and "interrupted" in complaint
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "interrupted" and set(record["files"]) == {"visualize.png", "picture.png"}


def test_a_softmax_at_the_end_changes_no_picture_that_is_made(small, image):
    ending = Network({**small.children(), "softmax": Softmax()}, input_shape=(3, 12, 12), class_names=small.class_names)
    target = int(small.scores(image).argmin())
    for recipe in ("clear", "plain"):
        found, expected = (visualize(net, target, recipe=recipe, steps=3) for net in (ending.eval(), small))
        np.testing.assert_array_equal(found, expected)
    for objective in ("score", "log-likelihood"):
        found, expected = (fool(net, image, target, objective=objective) for net in (ending, small))
        assert found.fooled and (found.after, found.l2) == (expected.after, expected.l2)
