"""Feature inversion (Mahendran & Vedaldi 2015, "Understanding deep image representations by inverting them"): what does
a layer still tell of the picture?

    argmin over x of  ‖Φ(x) − Φ₀‖²/‖Φ₀‖² + λ_α/σ²·Σ|x − ½|^α + λ_V/σ²·Σ(dx² + dy²)^(β/2)

    {layer: 2·(Φ − Φ₀)/‖Φ₀‖²}

Φ₀ is all that is known of the photo; x starts from nothing. The second term keeps its values in a range; the third,
total variation, keeps it smooth.

The published pixels are x̃ = 255·(x − mean) and their σ̃² is the mean ‖x̃‖² of natural pictures: with σ = σ̃/255 a λ of
theirs is λ·255^(α − 2) here, and λ·255^(β − 2). So their λ_α = 4e-10 becomes 1.7, and λ_V stays as it is.

The variables are not theirs. They follow the gradient at the pixels by momentum; the spectrum of the picture
(fourier.py) and Adam find the large forms and the colours as well, which a deep layer hardly says anything about.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.curves import diagrams
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import labelled_grid
from minicnn.files import write_bytes
from minicnn.image import (
    Adam,
    AlphaNorm,
    Callback,
    Features,
    Fourier,
    Interrupted,
    NotFinite,
    Objective,
    Step,
    TotalVariation,
    optimize,
    path_of,
)
from minicnn.kernels.backend import Array, get_array_module
from minicnn.layers import evaluating
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import to_picture
from minicnn.run import Run
from minicnn.schedules import cosine

from .chain import main_layers
from .collection import picture, pictures_of
from .common import photo_run

VARIANCE = 0.073  # σ²/(C·H·W): σ̃ = 2.71e4 of the published code, for 3×227×227 values
LAMBDA_ALPHA = 4e-10
LAMBDA_TV = (0.5, 5.0, 50.0)  # of shallow, middle and deep layers
INIT = {"blank": 0.0, "noise": 1.0}  # the deviation of the variables
SAMPLE = 50  # pictures of which the mean distance is measured
# AlexNet's normalized errors in per cent, the mean of 100 pictures: table 3, each layer with the smallest λ_V.
PUBLISHED = {
    **{"conv1": 10.0, "relu1": 11.3, "pool1": 21.9, "norm1": 20.3},
    **{"conv2": 12.4, "conv3": 14.5, "conv4": 14.9, "conv5": 12.6, "fc6": 12.4, "fc7": 12.8, "fc8": 5.3},
}


class Prior(NamedTuple):
    """What is known of pictures: the exponents, and the weights λ for pixels in [0, 1].

    Where a weight is None it is the published one: LAMBDA_ALPHA, or that of LAMBDA_TV for the layer's depth.
    """

    alpha: float = 6.0
    beta: float = 2.0
    lambda_alpha: float | None = None
    lambda_tv: float | None = None

    def weights(self, depth: int) -> tuple[float, float]:
        """(λ_α, λ_V) for a layer in the first, second or last third of a network: depth 0, 1 or 2."""
        alpha, tv = LAMBDA_ALPHA * 255 ** (self.alpha - 2), LAMBDA_TV[depth] * 255 ** (self.beta - 2)
        return (
            alpha if self.lambda_alpha is None else self.lambda_alpha,
            tv if self.lambda_tv is None else self.lambda_tv,
        )


NATURAL = Prior()


def invert(
    net: Network,
    image: Array,
    layer: str,
    *,
    prior: Prior = NATURAL,
    steps: int = 200,
    init: str = "blank",
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Array:
    """A picture (1, C, H, W) in [0, 1] to which the layer answers as it does to `image`, which has that shape.

    init: "blank", or "noise", of which each seed gives another answer. The same seed gives the same bytes. Raises
    MinicnnError where the layer's activation is 0 everywhere.

    Example: `invert(net, net.prepare(load_picture("cat.jpg")), "fire4")`
    """
    if init not in INIT:
        raise MinicnnError(f"init {init!r}{nearest(init, INIT)}")
    return optimize(
        net,
        inversion(net, image, layer, prior),
        Fourier(get_array_module(image).zeros_like(image) + 0.5, sd=INIT[init], seed=seed),
        optimizer=Adam(0.05, schedule=cosine()),
        steps=steps,
        callbacks=callbacks,
        maximize=False,
    ).image


def inversion(net: Network, image: Array, layer: str, prior: Prior = NATURAL) -> Objective:
    """The three terms, whose sum is to become small."""
    net.check_picture(image)
    target = features(net, image, layer)
    energy, sigma2 = norm(target) ** 2, VARIANCE * image.size
    if not energy:
        raise MinicnnError(f"{layer} of {net.name} is 0 everywhere for this picture: there is nothing to invert")
    lambda_alpha, lambda_tv = prior.weights(depth(net, layer))
    return (
        1 / energy * Features(path_of(net, layer), target)
        + lambda_alpha / sigma2 * AlphaNorm(prior.alpha, center=0.5)
        + lambda_tv / sigma2 * TotalVariation(prior.beta)
    )


def features(net: Network, image: Array, layer: str) -> Array:
    """Φ(image)."""
    path = path_of(net, layer)
    with evaluating(net):
        return net.activations(image, [path])[path]


def norm(a: Array) -> float:
    """‖a‖, added up in float64."""
    return float(np.linalg.norm(to_host(a).astype(np.float64)))


def depth(net: Network, layer: str) -> int:
    """0, 1 or 2: in which third of the network a layer lies."""
    way = [path for path, _ in net.layers()]
    return 3 * way.index(path_of(net, layer)) // len(way)


def error(net: Network, image: Array, found: Array, layer: str) -> float:
    """‖Φ(found) − Φ(image)‖."""
    return norm(features(net, found, layer) - features(net, image, layer))


def mean_distances(net: Network, layers: Sequence[str], pictures: Iterable[Array]) -> dict[str, float]:
    """N_Φ of each layer (section 5): the mean ‖Φ(a) − Φ(b)‖ over pairs of natural pictures (1, C, H, W).

    The pairs are each picture and the next one, and the last with the first. Raises MinicnnError for fewer than two.
    """
    distances: dict[str, list[float]] = {layer: [] for layer in layers}
    first = last = None
    for one in pictures:
        with evaluating(net):
            now = net.activations(one, layers)
        for layer in layers if last else ():  # type: ignore[var-annotated]
            distances[layer].append(norm(now[layer] - last[layer]))  # type: ignore[index]
        first, last = first or now, now
    if not distances[layers[0]]:
        raise MinicnnError("the distance between pictures: expected two or more")
    for layer, found in distances.items():
        if len(found) > 1:
            found.append(norm(first[layer] - last[layer]))  # type: ignore[index]
    return {layer: float(np.mean(found)) for layer, found in distances.items()}


def natural_pictures(net: Network, data: str | None, seed: int) -> Iterator[Array]:
    """SAMPLE pictures of a data set or a folder. By default digits for a grey network, else scikit-learn's photos."""
    like = net.parameters()[0].value
    if data is None and net.input_shape[0] == 3:
        from sklearn.datasets import load_sample_images

        for pixels in load_sample_images().images:
            yield transfer(net.prepare(Image.fromarray(pixels)), like=like)
        return
    found = pictures_of(data or "digits", shape=net.input_shape, resize=net.resize, count=SAMPLE, seed=seed)
    for i in range(len(found)):
        yield transfer(net.prepare(picture(found, i)), like=like)


class Inverted(NamedTuple):
    """What a layer's activation was turned into: a picture (1, C, H, W).

    error: ‖Φ(x) − Φ₀‖/‖Φ₀‖; normalized_error: ‖Φ(x) − Φ₀‖/N_Φ, as the paper has it.
    """

    layer: str
    image: Array
    error: float
    normalized_error: float


def measured(net: Network, image: Array, found: Array, layer: str, distance: float) -> Inverted:
    away = error(net, image, found, layer)
    return Inverted(layer, found, away / norm(features(net, image, layer)), away / distance)


def save(run: Run, net: Network, image: Array, found: Sequence[Inverted]) -> None:
    """Writes each picture, the figure invert.png, the table errors.csv, and of several layers the curve errors.png."""
    cells = [("the photo", to_picture(to_host(image)))]
    for one in found:
        picture = to_picture(to_host(one.image))
        run.save(f"{one.layer}.png", picture)
        cells.append((f"{one.layer}: {100 * one.normalized_error:.1f} %", picture))
    columns = min(len(cells), max(4, isqrt(2 * len(cells))))
    rows = [("", cells[i : i + columns]) for i in range(0, len(cells), columns)]
    run.save("invert.png", labelled_grid(rows, title=f"What the layers of {net.name} still tell: the error of each"))
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["layer", "error", "normalized_error"])
    writer.writerows([one.layer, f"{one.error:.6f}", f"{one.normalized_error:.6f}"] for one in found)
    write_bytes(run.path("errors.csv"), table.getvalue().encode())
    run.record("errors.csv")
    if len(found) > 1:
        run.save("errors.png", diagrams([lambda axes: draw_errors(axes, net.name, found)], (0.4 * len(found) + 3, 3.9)))
    run.note(errors={one.layer: {"error": one.error, "normalized_error": one.normalized_error} for one in found})


def draw_errors(axes: Any, name: str, found: Sequence[Inverted]) -> None:
    """The normalized errors of the layers, and beside them those that were published of AlexNet."""
    layers = [one.layer for one in found]
    axes.plot(layers, [100 * one.normalized_error for one in found], marker="o", color="#1a6fb5", label=name)
    same = [layer for layer in layers if layer in PUBLISHED]
    if name.startswith("alexnet"):
        axes.plot(same, [PUBLISHED[layer] for layer in same], "o", color="#b4530a", label="AlexNet, in the paper")
    else:
        axes.axhspan(min(PUBLISHED.values()), max(PUBLISHED.values()), color="#f3e3d3", label="AlexNet, in the paper")
    axes.set_ylim(bottom=0)
    axes.set_title("Normalized error in percent", fontsize=12, loc="left")
    axes.tick_params(axis="x", labelrotation=90)
    axes.grid(True, axis="y", color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def command(
    photo: Photo,
    model: Model = "lenet5",
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="A layer, several times for several (default: all).")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Steps for each layer.")] = 200,
    out: Out = Path("invert"),
    init: Annotated[str, typer.Option("--init", help=f"Start from {' or '.join(INIT)}.")] = "blank",
    alpha: Annotated[float, typer.Option("--alpha", help="Exponent of the term that keeps values in a range.")] = 6.0,
    beta: Annotated[float, typer.Option("--beta", help="Exponent of the total variation.")] = 2.0,
    lambda_alpha: Annotated[float | None, typer.Option("--lambda-alpha", help="Its weight.")] = None,
    lambda_tv: Annotated[
        float | None,
        typer.Option("--lambda-tv", help=f"Its weight (default: {', '.join(map(str, LAMBDA_TV))} by depth)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Pictures whose mean distance is an error of 100 %: a folder, cifar10, …"),
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """What do the layers of a network still tell of a picture?"""
    prior = Prior(alpha, beta, lambda_alpha, lambda_tv)
    shown = {"layers": layer, "steps": steps, "init": init, "data": data, **prior._asdict()}
    with photo_run(photo, model, weights, device, out, seed, **shown) as (run, net, x):
        layers = [path_of(net, name) for name in layer or main_layers(net)]
        distances = mean_distances(net, layers, natural_pictures(net, data, seed))
        found: list[Inverted] = []
        try:
            with Progress("inverting", steps * len(layers)) as bar:
                for name in layers:

                    def show(now: Step, before: int = steps * len(found), name: str = name) -> None:
                        bar.update(before + now.step, f"{name}: {now.text()}")

                    made = invert(net, x, name, prior=prior, steps=steps, init=init, seed=seed, callbacks=[show])
                    found.append(measured(net, x, made, name, distances[name]))
        except (Interrupted, NotFinite) as stopped:
            last = measured(net, x, stopped.result.image, name, distances[name])
            save(run, net, x, [*found, last])
            raise
        save(run, net, x, found)
        run.finish(distances=distances)
        worst = max(found, key=lambda one: one.normalized_error)
        print(
            f"{len(found)} of {net.name}'s layers: errors up to {100 * worst.normalized_error:.1f} % ({worst.layer}); "
            f"see {run.path('invert.png')}"
        )
