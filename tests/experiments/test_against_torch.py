"""The methods on networks with real weights against torch's autograd: rules as custom functions, the rest as defined.

The torch modules are torchvision's SqueezeNet and Darknet's tiny classifier as one writes it in torch. The weights lie
in a folder of MINICNN_DATA; without it these tests are skipped. Both sides compute in float64: in float32 a rounding
error takes a few of a million values to the other side of a kink, here and in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn import models
from minicnn.experiments.attribution import Attribution
from minicnn.experiments.deconvnet import deconvnet
from minicnn.experiments.gradcam import gradcam
from minicnn.experiments.guided import guided
from minicnn.experiments.integrated_gradients import gauss_legendre, integrated_gradients
from minicnn.experiments.saliency import saliency
from minicnn.network import Network

from ..models.definitions import darknet_tiny
from ..twins import twin

NAMES = ("squeezenet1_0", "darknet_tiny")
BOUND = 1e-8  # of the length of what is expected


class Real(NamedTuple):
    """A network, the same in torch from pictures in [0, 1] to scores before softmax, and a photograph (1, C, H, W)."""

    name: str
    net: Network
    module: Any
    maps: Any  # the module whose output Grad-CAM weighs
    layer: str  # one in the middle
    middle: Any  # the same in torch
    image: np.ndarray
    target: int


@pytest.fixture(scope="module", params=NAMES)
def real(request: pytest.FixtureRequest, torch: Any, shared_data: Path) -> Real:
    name = request.param
    if not (shared_data / f"{name}-expected.npz").is_file():
        pytest.skip(f"no {name}-expected.npz in {shared_data}")
    net = models.load(name)
    net.to(dtype=np.float64)
    if name == "squeezenet1_0":
        torchvision = request.getfixturevalue("torchvision")
        module = torchvision.models.squeezenet1_0()
        module.load_state_dict(weights_for(torch, net, name, module))
        maps, layer, middle = module.features, "fire5", module.features[7]
        module = torch.nn.Sequential(maps, module.classifier[1], torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    else:
        module = darknet_tiny(torch, 1000)
        module.load_state_dict(weights_for(torch, net, name, module), strict=False)  # torch counts batches
        maps, layer, middle = module.leaky14, "relu7", module.leaky6
    for inner in module.modules():
        inner.inplace = False
    with np.load(shared_data / f"{name}-expected.npz") as expected:
        image = expected["pixels"][:1].transpose(0, 3, 1, 2) / 255
        target = int(expected["classes"][0])
    # In an area of one colour max pools have ties, which rounding decides.
    image += np.random.default_rng(0).uniform(-1e-3, 1e-3, image.shape)
    whole = torch.nn.Sequential(twin(torch, net.layer("normalize")), module).double().eval().requires_grad_(False)
    return Real(name, net, whole, maps, layer, middle, image, target)


def weights_for(torch: Any, net: Network, name: str, module: Any) -> dict[str, Any]:
    origin = next(o for o in models.foreign_names(name, net) if set(o.tensors.values()) <= module.state_dict().keys())
    ours = net.state_dict()
    return {theirs: torch.tensor(ours[path]) for path, theirs in origin.tensors.items()}


def gradient_in_torch(torch: Any, real: Real, images: np.ndarray, inside: Any = None) -> np.ndarray:
    """Of the class's score; or of channel 5 in the middle of what the module `inside` gives."""
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    kept = []
    hook = (inside or real.module).register_forward_hook(lambda module, x, y: kept.append(y))
    real.module(x)
    hook.remove()
    (kept[0][:, 5, 9, 9] if inside else kept[0][:, real.target]).sum().backward()
    return x.grad.numpy()


def by_rule(torch: Any, rule: Callable[[Any, Any, float], Any]) -> Callable[[Any, float], Any]:
    """A rectifier that goes back by rule(f, R, slope)."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, f: Any, slope: float) -> Any:
            context.save_for_backward(f)
            context.slope = slope
            return torch.nn.functional.leaky_relu(f, slope)

        @staticmethod
        def backward(context: Any, *R: Any) -> Any:
            return rule(context.saved_tensors[0], R[0], context.slope), None

    return Rule.apply


def rectifiers(torch: Any, module: Any) -> list[Any]:
    found = [m for m in module.modules() if isinstance(m, torch.nn.ReLU | torch.nn.LeakyReLU)]
    assert len(found) > 10
    return found


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    length = np.linalg.norm(expected)
    assert length > 0
    assert np.linalg.norm(found - expected) <= BOUND * length


def test_the_gradient_of_saliency(torch: Any, real: Real) -> None:
    result = saliency(real.net, real.image, real.target)
    expected = gradient_in_torch(torch, real, real.image)[0]
    assert_equal(result.values, expected)
    assert_equal(result.map, np.abs(expected).max(axis=0))
    fast = models.load(real.name)
    error = np.abs(saliency(fast, real.image.astype(np.float32), real.target).values - expected)
    assert np.mean(error > 1e-4 * np.abs(expected).max()) < 0.05
    assert np.median(error) < 1e-5 * np.abs(expected).max()


RULES = {
    "guided": (guided, lambda f, R, slope: (R > 0) * R * ((f > 0) + slope * (f <= 0))),
    "deconvnet": (deconvnet, lambda f, R, slope: (R > 0) * R),
}


@pytest.mark.parametrize("name", RULES)
def test_another_rule_of_the_rectifiers(torch: Any, real: Real, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a unit in the middle: from a class no positive gradient may reach a picture by the deconvnet's rule."""
    method, rule = RULES[name]
    function = by_rule(torch, rule)
    for inner in rectifiers(torch, real.module):
        slope = getattr(inner, "negative_slope", 0.0)
        monkeypatch.setattr(inner, "forward", lambda f, slope=slope: function(f, slope))
    expected = gradient_in_torch(torch, real, real.image, real.middle)[0]
    result: Attribution = method(real.net, real.image, layer=real.layer, unit=(5, 9, 9))
    assert_equal(result.values, expected)
    assert_equal(result.map, expected.sum(axis=0))
    expected = gradient_in_torch(torch, real, real.image)[0]
    found = method(real.net, real.image, real.target).values
    if expected.any():
        assert_equal(found, expected)
    else:
        assert not found.any()


def test_integrated_gradients(torch: Any, real: Real) -> None:
    start = np.full_like(real.image, 0.5)
    alphas, weights = gauss_legendre(2)
    way = start + alphas[:, None, None, None] * (real.image - start)
    gradients = gradient_in_torch(torch, real, way)
    expected = (real.image - start)[0] * np.tensordot(weights, gradients, axes=1)
    result = integrated_gradients(real.net, real.image, real.target, baseline="grey", nodes=2, tolerance=None)
    assert_equal(result.values, expected)
    with torch.no_grad():
        ends = real.module(torch.tensor(np.concatenate([start, real.image])).double())[:, real.target].numpy()
    assert result.change == pytest.approx(ends[1] - ends[0], rel=1e-8)
    assert result.delta == pytest.approx(expected.sum() - (ends[1] - ends[0]), abs=1e-8 * abs(ends[1] - ends[0]))


def test_gradcam(torch: Any, real: Real) -> None:
    kept: dict[str, Any] = {}

    def keep(module: Any, x: Any, y: Any) -> None:
        y.retain_grad()
        kept["maps"] = y

    hook = real.maps.register_forward_hook(keep)
    try:
        gradient_in_torch(torch, real, real.image)
    finally:
        hook.remove()
    alphas = kept["maps"].grad.mean(dim=(2, 3), keepdim=True)
    coarse = (alphas * kept["maps"]).sum(dim=1, keepdim=True).clamp(min=0).detach()
    fine = torch.nn.functional.interpolate(coarse, real.image.shape[2:], mode="bilinear")[0, 0].numpy()
    result = gradcam(real.net, real.image, real.target)
    assert_equal(result.alphas, alphas.flatten().numpy())
    assert_equal(result.coarse, coarse[0, 0].numpy())
    np.testing.assert_allclose(result.map, fine, rtol=0, atol=1e-6 * fine.max())  # Pillow enlarges in float32
