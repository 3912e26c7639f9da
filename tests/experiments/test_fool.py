"""Fooling images: that they fool as the file they are kept in, the numbers, and what the command refuses."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from minicnn.data import load as load_data
from minicnn.errors import MinicnnError
from minicnn.experiments.attacks import deepfool
from minicnn.experiments.fool import METHODS, Goal, attack, beyond, fool, magnification, rounded
from minicnn.image import Interrupted, Step
from minicnn.models import load
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_picture


@pytest.fixture(scope="module")
def lenet() -> Network:
    return load("lenet5")


@pytest.fixture(scope="module")
def digits(lenet) -> np.ndarray:
    """Ten real digits, 0 to 9, that LeNet-5 reads right, on 256 levels."""
    data = load_data("digits", "test")
    pictures = data.images[:].astype(np.float32) / 255
    right = lenet.scores(pictures).argmax(axis=1) == data.labels
    return np.stack([pictures[np.flatnonzero(right & (data.labels == k))[0]] for k in range(10)])


@pytest.fixture
def seven(digits, tmp_path):
    save_png(tmp_path / "seven.png", to_picture(digits[7]))
    return tmp_path / "seven.png"


@pytest.mark.parametrize("objective", ["score", "log-likelihood"])
def test_any_digit_becomes_another_one_by_a_small_change(lenet, digits, objective):
    for k in range(0, 10, 3):
        target = (k + 1) % 10
        result = fool(lenet, digits[k : k + 1], target, objective=objective)
        assert result.fooled and (result.seen, result.target) == (k, target)
        assert lenet.predict(result.image)[0][0].class_index == target
        assert result.before < 0.5 and result.after == pytest.approx(lenet.predict(result.image)[0][0].probability)
        assert 0 < result.l2 < 4  # the digits themselves have a norm of about 9


def test_the_picture_fools_as_eight_bits(lenet, digits, tmp_path):
    result = fool(lenet, digits[2:3], 8)
    np.testing.assert_array_equal(result.image, np.rint(result.image * 255) / np.float32(255))
    save_png(tmp_path / "x.png", to_picture(result.image))
    again = lenet.prepare(load_picture(tmp_path / "x.png", mode="L"))
    np.testing.assert_array_equal(again, result.image)


def test_the_numbers_are_those_of_the_change(lenet, digits):
    result = fool(lenet, digits[4:5], 9)
    change = (result.image - digits[4:5])[0]
    assert result.change.shape == (1, 28, 28)
    assert result.l2 == pytest.approx(np.sqrt((change**2).sum()))
    assert result.linf == np.abs(change).max()
    assert result.rms == pytest.approx(np.sqrt((change**2).mean()))


def test_a_confidence_is_reached_and_costs_more(lenet, digits):
    first, sure = (fool(lenet, digits[5:6], 6, confidence=c) for c in (0.0, 0.95))
    assert first.after < 0.95 <= sure.after and sure.fooled
    assert sure.l2 > first.l2


def test_the_change_is_the_smallest_on_its_line_and_smaller_than_the_first_that_fools(lenet, digits):
    x = digits[3:4]
    result = fool(lenet, x, 5)
    goal = Goal(lenet, x, 5)
    assert goal.reached(result.image)
    assert not goal.reached(rounded(x + 0.9 * (result.image - x)))
    coarse = fool(lenet, x, 5, step=1.0)
    assert coarse.l2 < 1.3 * result.l2  # one step was too far; the way back makes up for it


def test_the_way_back_ends_and_its_steps_are_heard_too(lenet, digits, monkeypatch):
    module = sys.modules["minicnn.experiments.fool"]
    climbs: list[Step] = []
    monkeypatch.setattr(module.Goal, "distance", lambda goal, image: 0.5 ** len(climbs))  # ever nearer

    def heard(step):
        if step.step == 1:
            climbs.append(step)

    result = fool(lenet, digits[7:8], 3, callbacks=[heard])
    assert result.fooled
    assert 1 < len(climbs) <= 1 + module.ROUNDS


def test_what_cannot_be_reached_is_said_and_kept(lenet, digits):
    result = fool(lenet, digits[0:1], 1, steps=2)
    assert not result.fooled and result.steps == 2
    assert 0 < result.l2 <= 0.15
    assert result.after > result.before
    assert not fool(lenet, digits[0:1], 1, steps=4, confidence=0.99).fooled


def test_several_colours_and_every_device(small, image, on):
    target = int(small.scores(image).argmin())
    expected = fool(small, image, target)
    on.place(small)
    result = fool(small, on.upload(image), target)
    assert result.fooled and expected.fooled
    assert result.l2 == pytest.approx(expected.l2, rel=0.05)
    np.testing.assert_array_equal(rounded(image), np.rint(image * 255) / np.float32(255))


def test_ctrl_c_on_the_way_back_keeps_a_picture_that_fools(lenet, digits, monkeypatch):
    module = sys.modules["minicnn.experiments.fool"]
    real, calls = module.optimize, []

    def second_is_interrupted(*arguments, **options):
        calls.append(1)
        result = real(*arguments, **options)
        if len(calls) == 2:
            raise Interrupted(result)
        return result

    monkeypatch.setitem(vars(module), "optimize", second_is_interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        fool(lenet, digits[7:8], 3)
    assert isinstance(stop.value, Interrupted)
    assert lenet.predict(stop.value.result.image)[0][0].class_index == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 7}, r"target 7: the picture is seen as 7 \(\d+\.\d %\) already"),
        ({"target": 10}, "class 10: expected 0 to 9"),
        ({"target": "x"}, "class 'x'"),
        ({"objective": "scores"}, "objective 'scores'; did you mean 'score'"),
        ({"confidence": 1.0}, "confidence 1.0: expected 0 to below 1"),
        ({"steps": -1}, "-1 steps: expected 1 or more"),
        ({"step": 0.0}, "lr 0.0: expected more than 0"),
    ],
)
def test_bad_settings_are_refused(lenet, digits, options, message):
    with pytest.raises(MinicnnError, match=message):
        fool(lenet, digits[7:8], options.pop("target", 3), **options)


def test_without_a_target_any_other_class_will_do(lenet, digits):
    result = fool(lenet, digits[4:5])
    assert result.fooled and result.seen == 4 != result.target
    assert lenet.predict(result.image)[0][0].class_index == result.target
    assert result.l2 < fool(lenet, digits[4:5], 0).l2


def test_ctrl_c_between_the_climbs_keeps_a_picture_too(lenet, digits, monkeypatch):
    module = sys.modules["minicnn.experiments.fool"]

    def interrupt(goal, far):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Goal, "smallest", interrupt)
    with pytest.raises(Interrupted) as stop:
        fool(lenet, digits[7:8], 3)
    assert lenet.predict(stop.value.result.image)[0][0].class_index == 3


@pytest.mark.parametrize(
    ("method", "target"), [*((method, None) for method in METHODS), ("iterative", 9), ("bim", 9), ("pgd", 9)]
)
def test_every_method_gives_a_rounded_picture_that_fools(lenet, digits, method, target):
    goal, settings = Goal(lenet, digits[4:5], target), dict(METHODS[method])
    settings.pop("confidence", None)
    if "epsilon" in settings:
        settings["epsilon"] = 64 / 255
    image, steps = attack(goal, method, **settings)
    assert goal.reached(image) and 1 <= steps <= settings.get("steps", 1)
    np.testing.assert_array_equal(image, rounded(image))
    if "epsilon" in settings:
        assert abs(image - digits[4:5]).max() == pytest.approx(64 / 255, abs=1e-6)


def test_what_rounding_takes_from_deepfool_is_made_up_for(lenet, digits):
    goal = Goal(lenet, digits[4:5])
    near = digits[4:5] + (deepfool(lenet, digits[4:5]) - digits[4:5]) / 3  # that far it fools nobody
    assert not goal.reached(rounded(near)) and goal.reached(beyond(goal, near))


def test_several_pictures_at_once_are_refused(lenet, digits):
    with pytest.raises(MinicnnError, match=r"one picture \(1, C, H, W\), got \(10, 1, 28, 28\)"):
        fool(lenet, digits, 3)


@pytest.mark.parametrize(("largest", "expected"), [(0.9, 1), (0.2, 2), (0.06, 5), (0.008, 50), (0.0, 100)])
def test_a_change_is_magnified_as_far_as_it_fits(largest, expected):
    assert magnification(np.linspace(-largest, largest, 2000).reshape(1, 40, 50)) == expected


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_picture_the_figure_and_the_numbers(minicnn, seven, tmp_path):
    out = tmp_path / "out"
    status, said, _ = minicnn("make", "fool", seven, "--model", "lenet5", "--target", 3, "--out", out)
    assert status == 0
    assert said.startswith("7 (") and " → 3 (" in said and "RMS" in said and "fool.png" in said
    record = json.loads((out / "run.json").read_text())
    assert record["fooled"] is True and (record["seen"], record["target"]) == ("7", "3")
    assert set(record["files"]) == {"fooled.png", "fool.png"}
    before, after = (load("lenet5").prepare(load_picture(path, mode="L")) for path in (seven, out / "fooled.png"))
    assert record["l2"] == pytest.approx(np.linalg.norm(after - before), rel=1e-4)
    best = load("lenet5").predict(after)[0][0]
    assert best.name == "3" and best.probability == pytest.approx(record["probability"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-t", 9, "--confidence", 0.8], ("fooled.png", "fool.png")),
        (["--method", "pgd", "--norm", "l2", "--slice"], ("fooled.png", "fool.png", "slice.png")),
    ],
)
def test_the_same_command_gives_the_same_files(minicnn, seven, tmp_path, options, names):
    for folder in ("a", "b"):
        assert minicnn("make", "fool", seven, *options, "--out", tmp_path / folder)[0] == 0
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert set(json.loads((tmp_path / "a/run.json").read_text())["files"]) == set(names)


def test_a_quarter_is_rounded_down_to_whole_levels_of_the_file(minicnn, seven, tmp_path):
    out = tmp_path / "out"
    assert minicnn("make", "fool", seven, "--method", "fgsm", "--out", out)[0] == 0
    record = json.loads((out / "run.json").read_text())
    assert record["epsilon"] == 63 / 255 and record["linf"] == pytest.approx(63 / 255, abs=1e-6)
    assert record["settings"]["norm"] == "linf" and record["steps"] == 1


def test_the_change_of_pgd_stays_within_epsilon_as_a_file(minicnn, seven, tmp_path):
    out = tmp_path / "out"
    assert minicnn("make", "fool", seven, "--method", "pgd", "--epsilon", "40/255", "-t", 3, "--out", out)[0] == 0
    before, after = (load("lenet5").prepare(load_picture(path, mode="L")) for path in (seven, out / "fooled.png"))
    assert abs(after - before).max() == pytest.approx(40 / 255, abs=1e-6)


def test_what_is_not_fooled_ends_with_status_2_and_is_kept(refused, seven, tmp_path):
    complaint = refused("make", "fool", seven, "--target", 3, "--steps", 2, "--out", tmp_path / "out")
    assert "not fooled: 7 (" in complaint and "after 2 steps" in complaint and "RMS" in complaint
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["fooled"] is False and record["steps"] == 2
    assert (tmp_path / "out/fooled.png").is_file() and (tmp_path / "out/fool.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "fgms"], "method 'fgms'; did you mean 'fgsm'"),
        (["--epsilon", "0.1"], "--epsilon: no setting of --method iterative, but of fgsm, bim, pgd"),
        (["--method", "fgsm", "--steps", 3], "--steps: no setting of --method fgsm, but of iterative, bim, pgd"),
        (["--method", "deepfool", "--norm", "l2"], "--norm: no setting of --method deepfool"),
        (["--method", "deepfool", "--target", 3], "deepfool goes to the nearest class: no --target"),
        (["--method", "pgd", "--epsilon", "8"], "epsilon 8: expected more than 0 to 1, pixels"),
        (["--method", "pgd", "--epsilon", "a/b"], "epsilon a/b: expected more than 0"),
        (["--method", "bim", "--epsilon", "0.001"], "epsilon 0.001: expected at least 1/255"),
        (["--method", "bim", "--norm", "l1"], "norm 'l1'; did you mean 'l2'"),
        (["--method", "bim", "--step", "0"], "expected more than 0"),
        (["--target", 7], "target 7: the picture is seen as 7"),
        (["--target", "eleven"], "class 'eleven'"),
        (["--target", 3, "--steps", -1], "-1 steps: expected 1 or more"),
        (["--target", 3, "--objective", "logit"], "objective 'logit'"),
        (["--target", 3, "--confidence", 2], "confidence 2.0: expected 0 to below 1"),
        (["--target", 3, "--model", "lenet"], "no model 'lenet'; did you mean 'lenet5'"),
    ],
)
def test_bad_input_is_one_line(refused, seven, tmp_path, arguments, message):
    assert message in refused("make", "fool", seven, *arguments, "--out", tmp_path / "out")


def test_a_picture_that_is_none_is_one_line(refused, tmp_path):
    (tmp_path / "photo.png").write_text("no picture")
    assert "photo.png: not a picture" in refused("make", "fool", tmp_path / "photo.png", "-t", 3, "-o", tmp_path / "o")
    assert "no such file" in refused("make", "fool", tmp_path / "none.png", "-t", 3, "-o", tmp_path / "o")


def test_ctrl_c_keeps_what_was_reached(minicnn, seven, tmp_path, monkeypatch):
    module = sys.modules["minicnn.experiments.fool"]
    real = module.optimize

    def interrupt(step):
        raise KeyboardInterrupt

    def interrupted(*arguments, **options):
        return real(*arguments, **options | {"callbacks": [interrupt]})

    monkeypatch.setitem(vars(module), "optimize", interrupted)
    status, _, complaint = minicnn("make", "fool", seven, "--target", 3, "--out", tmp_path / "out")
    assert status == 130 and "interrupted" in complaint
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "interrupted" and record["steps"] == 1
    assert set(record["files"]) == {"fooled.png", "fool.png"}


def test_the_numbers_of_a_network_that_scales_pictures_are_of_the_written_one_as_it_is(tmp_path):
    """A picture of the input's own size must not be scaled and cut again when it is read back."""
    from minicnn import models
    from minicnn.cli import main
    from minicnn.layers import AdaptiveAvgPool2d, Conv2d, Flatten, Normalize, ReLU
    from minicnn.weights import save_weights

    class_names = ("a", "b", "c")

    def small(num_classes: int = 3) -> Network:
        layers = {"normalize": Normalize((0.5,) * 3, (0.25,) * 3), "conv1": Conv2d(3, 8, 3), "relu1": ReLU()}
        layers |= {"conv2": Conv2d(8, num_classes, 3), "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten()}
        return Network(layers, input_shape=(3, 24, 24), resize=32, class_names=class_names)

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "photo.png")
    save_weights(small().initialize(0), tmp_path / "w.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.ARCHITECTURES, "small", small)
        with pytest.raises(SystemExit):
            words = [
                "make",
                "fool",
                str(tmp_path / "photo.png"),
                "--model",
                "small",
                "--target",
                "b",
                "--out",
                str(tmp_path / "out"),
            ]
            main([*words, "--weights", str(tmp_path / "w.safetensors")])
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    written = np.asarray(Image.open(tmp_path / "out" / "fooled.png").convert("RGB")).transpose(2, 0, 1) / 255
    original = rounded(small().prepare(load_picture(tmp_path / "photo.png")))[0]
    assert written.shape == original.shape == (3, 24, 24)
    assert record["l2"] == pytest.approx(np.linalg.norm(written - original), rel=1e-3)
