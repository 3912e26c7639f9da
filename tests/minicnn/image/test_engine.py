"""The engine: the gradient through network, transforms and regularizers; callbacks, Ctrl-C, NaN, seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.errors import MinicnnError
from minicnn.image import (
    L2,
    SCORES,
    Adam,
    Blur,
    Channel,
    ClassScore,
    GradientAscent,
    Interrupted,
    Jitter,
    LogProbability,
    NotFinite,
    Objective,
    Pixels,
    Step,
    TotalVariation,
    Unit,
    ValidPixels,
    evaluate,
    optimize,
)
from minicnn.kernels.native import conv
from minicnn.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, Normalize, ReLU, Tanh
from minicnn.network import Network

from ...devices import DEVICES, device
from ...kernels.levels import needs_native


@pytest.fixture
def net() -> Network:
    """Smooth where finite differences look, with all that behaves otherwise in training."""
    net = Network(
        {
            "normalize": Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
            "conv1": Conv2d(3, 4, 3, padding=1),
            "tanh1": Tanh(),
            "pool1": MaxPool2d(2),
            "drop1": Dropout(0.5),
            "flatten": Flatten(),
            "fc2": Linear(4 * 4 * 4, 5),
        },
        input_shape=(3, 8, 8),
        feature_layer="flatten",
        name="small",
    )
    net.initialize(0)
    return net


def picture(dtype: Any = np.float64, count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, 3, 8, 8)).astype(dtype)


def ascent(net: Network, objective: Objective, **options: Any) -> Any:
    """A short run with everything in it."""
    settings: dict[str, Any] = {
        "transforms": [Jitter(2), Blur(0.6)],
        "projections": [ValidPixels()],
        "optimizer": Adam(0.05),
        "steps": 5,
    }
    return optimize(net, objective, Pixels(picture(np.float32)), **settings | options)


EVERYTHING = LogProbability(3) - 0.3 * L2() + Unit("tanh1", 2) - TotalVariation() + 0.5 * Channel("fc2", 1)


@pytest.mark.parametrize("objective", [ClassScore(1), Unit("pool1", 3), EVERYTHING, -TotalVariation()])
def test_the_gradient_at_the_picture_is_the_derivative(net: Network, objective: Objective) -> None:
    net.to(dtype=np.float64).eval()
    x, v = picture(), np.random.default_rng(1).standard_normal((1, 3, 8, 8))
    drawn = [Jitter(2).sample(np.random.default_rng(3)), Blur(0.8)]

    def value(h: float) -> float:
        return float(sum(term for _, term in evaluate(net, objective.terms(), x + h * v, drawn)[0]))

    gradient = evaluate(net, objective.terms(), x, drawn)[1]
    h = 1e-5
    numeric = (4 * (value(h) - value(-h)) / (2 * h) - (value(2 * h) - value(-2 * h)) / (4 * h)) / 3
    assert abs(numeric - np.vdot(gradient, v)) <= 1e-7 * np.linalg.norm(gradient * v)


def test_the_layer_input_is_the_picture_before_the_transforms(net: Network) -> None:
    x = picture(np.float32)
    gradient = evaluate(net, L2().terms(), x, [Blur(2.0)])[1]
    np.testing.assert_array_equal(gradient, 2 * x)


def test_scores_and_the_name_of_the_score_layer_are_one(net: Network) -> None:
    net.eval()
    x = picture(np.float32)
    once = evaluate(net, (2 * ClassScore(1)).terms(), x)[1]
    twice = evaluate(net, (ClassScore(1) + Channel("fc2", 1)).terms(), x)[1]
    np.testing.assert_allclose(once, twice, rtol=1e-6)


def test_the_objective_rises_and_maximize_false_goes_down(net: Network) -> None:
    seen: dict[bool, list[float]] = {True: [], False: []}
    for up, values in seen.items():
        ascent(
            net,
            ClassScore(2),
            transforms=(),
            maximize=up,
            callbacks=[lambda s, v=values: v.append(float(s.terms[0][1]))],
        )
    assert seen[True] == sorted(seen[True]) and seen[True][0] < seen[True][-1]
    assert seen[False] == sorted(seen[False], reverse=True) and seen[False][0] == seen[True][0]


def test_parameter_gradients_and_the_mode_are_left_alone(net: Network) -> None:
    net.train()
    frozen = next(path for path, _ in net.layers())
    net.layer(frozen).eval()
    for parameter in net.parameters():
        parameter.grad = np.full(parameter.shape, 7, np.float32)
    ascent(net, EVERYTHING)
    assert net.training and [path for path, layer in net.layers() if not layer.training] == [frozen]
    assert all((parameter.grad == 7).all() for parameter in net.parameters())


def test_dropout_does_not_drop_while_a_picture_is_made(net: Network) -> None:
    net.train()
    a = ascent(net, ClassScore(0)).image
    net.eval()
    assert a.tobytes() == ascent(net, ClassScore(0)).image.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(net: Network) -> None:
    a, b, c = (ascent(net, EVERYTHING, seed=seed).image.tobytes() for seed in (4, 4, 5))
    assert a == b != c


def test_a_run_in_two_parts_that_hands_on_its_state_is_one_run(net: Network) -> None:
    whole = ascent(net, EVERYTHING, transforms=())
    first = ascent(net, EVERYTHING, transforms=(), steps=2)
    pixels = Pixels(first.image)
    rest = optimize(
        net, EVERYTHING, pixels, projections=[ValidPixels()], optimizer=Adam(0.05), steps=3, state=first.state
    )
    assert rest.image.tobytes() == whole.image.tobytes()
    assert whole.state[2] == 5


def test_the_pictures_of_a_batch_are_made_as_if_alone(net: Network) -> None:
    pictures, objective = picture(np.float32, 3), LogProbability(1) - L2()
    batch = optimize(net, objective, Pixels(pictures), optimizer=GradientAscent(0.1, "l2"), steps=4).image
    for i in range(3):
        one = Pixels(pictures[i : i + 1])
        alone = optimize(net, objective, one, optimizer=GradientAscent(0.1, "l2"), steps=4).image
        np.testing.assert_allclose(batch[i : i + 1], alone, atol=1e-5)


def test_callbacks_see_the_picture_and_the_terms_and_can_stop(net: Network) -> None:
    steps: list[Step] = []

    def stop_after_three(step: Step) -> bool:
        steps.append(step)
        return step.step == 3

    others: list[int] = []
    result = ascent(net, EVERYTHING, callbacks=[stop_after_three, lambda step: others.append(step.step)])
    assert result.steps == 3 and others == [1, 2, 3]
    assert steps[-1].image.tobytes() == result.image.tobytes()
    assert [name for name, _ in steps[0].terms] == ["LogProbability", "L2", "Unit", "TotalVariation", "Channel"]
    assert steps[0].text().startswith("LogProbability -") and steps[0].text().count(", ") == 4
    assert len({step.image.tobytes() for step in steps}) == 3  # no step writes into the last one's picture


def test_ctrl_c_keeps_the_last_whole_picture(net: Network) -> None:
    seen: list[np.ndarray] = []

    def interrupt(step: Step) -> None:
        seen.append(step.image)
        if step.step == 3:
            raise KeyboardInterrupt

    pixels = Pixels(picture(np.float32))
    net.train()
    with pytest.raises(KeyboardInterrupt) as stop:
        optimize(net, EVERYTHING, pixels, optimizer=Adam(0.05), steps=9, callbacks=[interrupt])
    assert isinstance(stop.value, Interrupted)
    assert stop.value.result.steps == 3
    assert stop.value.result.image.tobytes() == seen[-1].tobytes() == pixels.image().tobytes()
    assert net.training


@dataclass(frozen=True)
class Fails(Objective):
    """A gradient that is not finite from the third step on."""

    calls: list[int]
    layer: str = "tanh1"

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Any) -> Any:
        self.calls.append(1)
        a = activations[self.layer]
        return a.sum(), {self.layer: a * 0 + (1 if len(self.calls) < 3 else np.inf)}

    def __str__(self) -> str:
        return "Fails"


def test_a_gradient_that_is_not_finite_names_step_term_and_layer_and_keeps_the_last_picture(net: Network) -> None:
    with pytest.raises(NotFinite, match=r"^step 3: the gradient of Fails at tanh1 is not finite$") as stop:
        ascent(net, ClassScore(0) + Fails([]))
    assert stop.value.result.steps == 2
    assert np.isfinite(stop.value.result.image).all()
    with pytest.raises(MinicnnError, match="the gradient of Fails at input is not finite"):
        ascent(net, ClassScore(0) + Fails([], "input"))


def test_a_weight_that_is_not_finite_is_found_in_the_activation(net: Network) -> None:
    net.named_parameters()["fc2.weight"].value[0, 0] = np.nan
    with pytest.raises(NotFinite, match="step 1: the activation of fc2 holds values that are not finite"):
        ascent(net, ClassScore(0))


def test_a_backward_pass_that_overflows_is_found(net: Network) -> None:
    net.named_parameters()["fc2.weight"].value *= np.float32(1e20)
    with pytest.raises(NotFinite, match=r"of ClassScore\(target=0\), finite at fc2, is not finite at the picture"):
        ascent(net, 1e25 * ClassScore(0), transforms=())


def test_a_picture_that_holds_nan_is_said(net: Network) -> None:
    x = picture(np.float32)
    x[0, 0, 0, 0] = np.nan
    with pytest.raises(NotFinite, match="step 1: the picture holds values that are not finite"):
        optimize(net, ClassScore(0), Pixels(x), optimizer=Adam(0.1), steps=2)


def test_two_infinite_terms_that_only_fail_together_are_said(net: Network) -> None:
    with pytest.raises(NotFinite, match=r"the sum of the gradients of L2\(.*, L2\(.* is not finite"):
        ascent(net, 1e38 * L2(center=-0.5) + 1e38 * L2(center=-0.5))


@needs_native
def test_filters_are_packed_once_a_run_and_anew_in_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, prepared = [], conv.prepared

    def counted(*args: Any) -> np.ndarray:
        packed.append(args)
        return prepared(*args)

    monkeypatch.setattr(conv, "prepared", counted)

    def run(net: Network, steps: int) -> np.ndarray:
        packed.clear()
        pixels, ascent = Pixels(picture(np.float32)), GradientAscent(0.1, "l2")
        return optimize(net, Channel("tanh1", 0), pixels, optimizer=ascent, steps=steps).image

    def network(factor: float) -> Network:
        net = Network({"conv1": Conv2d(3, 16, 3), "tanh1": Tanh()}, input_shape=(3, 8, 8)).initialize(0)
        net.parameters()[0].value *= factor
        return net

    with kernels.using("native"):
        net = network(1)
        run(net, 1)
        of_one_step = len(packed)
        run(net, 4)
        assert len(packed) == of_one_step > 0
        net.parameters()[0].value *= 2
        np.testing.assert_array_equal(run(net, 4), run(network(2), 4))


@pytest.mark.parametrize("steps", [0, -3])
def test_no_step_is_no_run(net: Network, steps: int) -> None:
    with pytest.raises(MinicnnError, match=f"{steps} steps: expected 1 or more"):
        ascent(net, ClassScore(0), steps=steps)


def test_a_layer_that_does_not_exist_gives_the_nearest_name(net: Network) -> None:
    with pytest.raises(MinicnnError, match="small has no layer 'tanh2'; did you mean 'tanh1'"):
        ascent(net, Unit("tanh2", 0))


def test_an_objective_without_the_network_runs_none_of_it(net: Network) -> None:
    net.layer("conv1").forward = None  # type: ignore[method-assign,assignment]
    result = optimize(net, TotalVariation(), Pixels(picture()), optimizer=GradientAscent(0.1), steps=20, maximize=False)
    assert float(TotalVariation().evaluate({"input": result.image})[0]) < 0.5 * float(
        TotalVariation().evaluate({"input": picture()})[0]
    )


@pytest.mark.parametrize("name", DEVICES)
def test_the_same_picture_on_every_device(net: Network, name: str) -> None:
    net = Network({**net.children(), "relu": ReLU()}, input_shape=(3, 8, 8), score_layer="fc2", feature_layer="flatten")
    expected = ascent(net, EVERYTHING)
    there = device(name)
    there.place(net)
    found = optimize(
        net,
        EVERYTHING,
        Pixels(there.upload(picture(np.float32))),
        transforms=[Jitter(2), Blur(0.6)],
        projections=[ValidPixels()],
        optimizer=Adam(0.05),
        steps=5,
    )
    np.testing.assert_allclose(there.download(found.image), expected.image, atol=1e-3)


def test_the_pseudo_layer_scores_is_no_layer_of_a_network(net: Network) -> None:
    with pytest.raises(MinicnnError, match="no layer 'scores'"):
        net.activations(picture(np.float32), [SCORES])
