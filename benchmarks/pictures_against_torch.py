"""Style transfer and DeepDream beside the same algorithms written on torch: the same losses, and the time of a step.

    MINICNN_DATA=DATA python benchmarks/pictures_against_torch.py --out benchmarks/results/pictures

On SqueezeNet 1.0, Tübingen in the style of The Starry Night. Four questions:

    exact    the first ten iterations in float64: how far apart are the pictures?
    adam     200 iterations of Adam: how far apart are the last losses?
    lbfgs    200 iterations of L-BFGS without bounds, from three pictures of noise: and the medians of the last losses?
    time     of an iteration at 512 pixels: style by Adam, a step of DeepDream; the two sides take turns, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from minicnn import models
from minicnn.experiments.stages import pooling
from minicnn.experiments.style_objective import Settings, style_objective
from minicnn.image import LBFGS, Adam, Amplify, GradientAscent, Pixels, optimize
from minicnn.pictures import load_picture, to_array

CONTENT, STYLE = "images/content/tubingen.jpg", "images/style/starry_night.jpg"
STYLE_LAYERS, CONTENT_LAYER, DREAM_LAYER = ("relu1", "fire4", "fire8", "fire9"), "fire4", "fire8"
SETTINGS = Settings(style_layers=",".join(STYLE_LAYERS), content_layers=CONTENT_LAYER)
LR = 10 / 255
MEMORY = 10  # pairs that L-BFGS keeps


class Fire(nn.Module):
    """Iandola et al. 2016, section 3.2."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = torch.relu_(self.squeeze(x))
        return torch.cat([torch.relu_(self.one(x)), torch.relu_(self.three(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 as far as its features, with our weights; {layer: activation} of some of its layers."""

    def __init__(self, net: Any, average: bool) -> None:
        super().__init__()
        ceil = net.layer("pool1").ceil_mode
        kind = nn.AvgPool2d if average else nn.MaxPool2d
        layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 96, 7, 2), "relu1": nn.ReLU(inplace=True)}
        channels, widths = 96, {2: 64, 3: 64, 4: 128, 5: 128, 6: 192, 7: 192, 8: 256, 9: 256}
        layers["pool1"] = kind(3, 2, ceil_mode=ceil)
        for number_, width in widths.items():
            layers[f"fire{number_}"] = Fire(channels, width // 4, width)
            channels = 2 * width
            if number_ in (4, 8):
                layers[f"pool{number_}"] = kind(3, 2, ceil_mode=ceil)
        self.layers = nn.ModuleDict(layers)
        mine = [p.value for name, p in net.named_parameters().items() if name.startswith(("conv1", "fire"))]
        for theirs, ours in zip(self.parameters(), mine, strict=True):
            theirs.data = torch.tensor(ours)
        self.requires_grad_(False)
        normalize = net.layer("normalize")
        self.mean, self.std = (torch.tensor(np.asarray(a)).reshape(1, 3, 1, 1) for a in (normalize.mean, normalize.std))

    def forward(self, x: Any, wanted: tuple[str, ...]) -> dict[str, Any]:
        found, x = {}, (x - self.mean) / self.std
        for name, layer in self.layers.items():
            x = layer(x)
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return found


def gram(F: Any) -> Any:
    F = F.flatten(2)[0]
    return F @ F.T / F.shape[1]


def style_loss(net: SqueezeNet, content: Any, style: Any) -> Callable[[Any], Any]:
    """The default losses of `minicnn make style`, as one writes them on torch."""
    alpha, beta, gamma = SETTINGS.weights
    layers = (*STYLE_LAYERS, CONTENT_LAYER)
    with torch.no_grad():
        P = net(content, layers)[CONTENT_LAYER].clone()
        A = {name: gram(a) for name, a in net(style, layers).items() if name in STYLE_LAYERS}

    def loss(x: Any) -> Any:
        found = net(x, tuple(dict.fromkeys(layers)))
        total = alpha * ((found[CONTENT_LAYER] - P) ** 2).sum() / (P**2).sum()
        for name in STYLE_LAYERS:
            total = total + beta / len(STYLE_LAYERS) * ((gram(found[name]) - A[name]) ** 2).sum() / (A[name] ** 2).sum()
        down, right = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
        return total + gamma * ((down**2).sum() + (right**2).sum()) / x.numel()

    return loss


def climb_on_torch(
    loss: Callable[[Any], Any], start: np.ndarray, optimizer: str, steps: int
) -> tuple[np.ndarray, float]:
    """-> (the picture, the loss there) after so many iterations."""
    x = torch.tensor(start, requires_grad=True)

    def closure() -> Any:
        theirs.zero_grad()
        value = loss(x)
        value.backward()
        return value

    if optimizer == "adam":
        theirs: Any = torch.optim.Adam([x], lr=LR)
        for _ in range(steps):
            theirs.step(closure)
    else:
        options = {"history_size": MEMORY, "tolerance_grad": 0, "tolerance_change": 0, "max_eval": 26 * steps}
        theirs = torch.optim.LBFGS([x], max_iter=steps, line_search_fn="strong_wolfe", **options)
        theirs.step(closure)
    with torch.no_grad():
        return x.numpy(), float(loss(x))


def pictures(size: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Content and style, (1, 3, H, W) with the long side `size`."""
    found = []
    for name in (CONTENT, STYLE):
        picture = load_picture(Path(os.environ["MINICNN_DATA"]) / name)
        scale = size / max(picture.size)
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        found.append(to_array(small)[None].astype(dtype))
    return found[0], found[1]


class Sides:
    """Both networks, in one precision, and the losses of one size on both."""

    def __init__(self, size: int, dtype: Any) -> None:
        self.net = models.load("squeezenet1_0")
        self.net.to(dtype=dtype)
        self.content, style = pictures(size, dtype)
        with pooling(self.net, SETTINGS.pooling):
            self.objective = style_objective(self.net, self.content, [style], SETTINGS)
        self.torch = SqueezeNet(self.net, SETTINGS.pooling == "average")
        self.loss = style_loss(self.torch, torch.tensor(self.content), torch.tensor(style))

    def ours(self, start: np.ndarray, optimizer: str, steps: int) -> tuple[np.ndarray, float]:
        chosen = Adam(LR) if optimizer == "adam" else LBFGS(MEMORY)
        with pooling(self.net, SETTINGS.pooling):
            image = optimize(
                self.net, self.objective, Pixels(start), optimizer=chosen, steps=steps, maximize=False
            ).image
        with torch.no_grad():  # by one and the same measure
            return image, float(self.loss(torch.tensor(image)))

    def theirs(self, start: np.ndarray, optimizer: str, steps: int) -> tuple[np.ndarray, float]:
        return climb_on_torch(self.loss, start, optimizer, steps)


def exact() -> dict[str, float]:
    sides = Sides(128, np.float64)
    found = {}
    for optimizer in ("adam", "lbfgs"):
        ours, theirs = (side(sides.content, optimizer, 10)[0] for side in (sides.ours, sides.theirs))
        found[optimizer] = float(abs(ours - theirs).max())
    return found


def adam(size: int, steps: int) -> dict[str, float]:
    sides = Sides(size, np.float32)
    ours, theirs = (side(sides.content, "adam", steps)[1] for side in (sides.ours, sides.theirs))
    return {"ours": ours, "torch": theirs, "apart": abs(ours / theirs - 1)}


def lbfgs(size: int, steps: int) -> dict[str, Any]:
    sides = Sides(size, np.float32)
    starts = [np.random.default_rng(seed).uniform(0, 1, sides.content.shape).astype(np.float32) for seed in range(3)]
    ours, theirs = ([side(start, "lbfgs", steps)[1] for start in starts] for side in (sides.ours, sides.theirs))
    return {"ours": ours, "torch": theirs, "apart": abs(statistics.median(ours) / statistics.median(theirs) - 1)}


def step_times(size: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of an iteration, in turns."""
    sides = Sides(size, np.float32)
    deep = SqueezeNet(sides.net, average=False)
    x = torch.tensor(sides.content, requires_grad=True)

    def dream_on_torch() -> None:
        a = deep(x, (DREAM_LAYER,))[DREAM_LAYER]
        (g,) = torch.autograd.grad(a, x, a.detach())
        with torch.no_grad():
            x.add_(1.5 / 255 * g / g.abs().mean()).clamp_(0, 1)

    def dream() -> None:
        ascent = GradientAscent(1.5 / 255, "mean")
        optimize(sides.net, Amplify(DREAM_LAYER), Pixels(sides.content), optimizer=ascent, steps=STEPS)

    both = {
        "style": (
            lambda: sides.ours(sides.content, "adam", STEPS),
            lambda: sides.theirs(sides.content, "adam", STEPS),
        ),
        "dream": (dream, lambda: [dream_on_torch() for _ in range(STEPS)]),
    }
    found = {}
    for name, (ours, theirs) in both.items():
        ours(), theirs()
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for side, kept in zip((ours, theirs), times, strict=True):
                start = time.perf_counter()
                side()
                kept.append(1000 * (time.perf_counter() - start) / STEPS)
        mine, other = map(statistics.median, times)
        found[name] = {"ours_ms": mine, "torch_ms": other, "of_torch": mine / other}
    return found


STEPS = 5  # that are timed together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="of the pictures that are timed (default 512)")
    parser.add_argument("--loss-size", type=int, default=256, help="of those whose losses are compared (default 256)")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=["exact", "adam", "lbfgs", "time"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jobs: dict[str, Callable[[], Any]] = {
        "exact": exact,
        "adam": lambda: adam(options.loss_size, options.steps),
        "lbfgs": lambda: lbfgs(options.loss_size, options.steps),
        "time": lambda: step_times(options.size, options.rounds),
    }
    found = {}
    for name in options.only:
        found[name] = jobs[name]()
        print(name, json.dumps(found[name]), flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "pictures.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
