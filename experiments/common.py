"""What the commands share: the network, the picture, and the folder that the results go to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minicnn import kernels, models
from minicnn.boxes import beside, framed, stack
from minicnn.cli.progress import Progress, loading
from minicnn.errors import MinicnnError
from minicnn.figures import colour_bar
from minicnn.kernels.backend import Array
from minicnn.layers import Conv2d, Layer, Shape
from minicnn.layers.containers import Container
from minicnn.network import INPUT, Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import load_picture, notes, to_array
from minicnn.receptive import activation_shape
from minicnn.run import Run

# Networks and pictures


def load_network(model: str, weights: Path | None = None, device: str = "cpu") -> Network:
    """A trained network on a device, in evaluation mode."""
    with loading("fetching") as progress:
        net = models.load(model, weights=weights, progress=progress)
    net.to(device)
    return net


def weights_used(model: str, weights: Path | None) -> Path:
    """The file that `load_network` takes the weights from: the one given, or the one that the name stands for."""
    return weights if weights is not None else models.weights_of(model)


def read_photo(path: Path, net: Network) -> Array:
    """A picture file as the network's input (1, C, H, W) on its device; says what is unusual in the file."""
    picture = load_picture(path)
    _, height, width = net.input_shape
    said = list(notes(picture))
    if picture.width < width or picture.height < height:
        said.append(f"{picture.width}×{picture.height} pixels, enlarged to the network's {width}×{height}")
    for note in said:
        print(f"{path}: {note}")
    try:
        prepared = net.prepare(picture)
    except MinicnnError as error:
        raise MinicnnError(f"{path}: {error}") from None
    return transfer(prepared, like=net.parameters()[0].value)


LARGEST = 512  # a photo's longer side, where nothing else is asked for


def read_whole(path: Path, net: Network, longest: int | None = None) -> Array:
    """All of a picture file as (1, C, H, W) on the network's device, its longer side scaled to `longest` pixels.

    Without `longest` it keeps its size, up to LARGEST. Says what is unusual in the file.
    """
    picture = load_picture(path, mode="L" if net.input_shape[0] == 1 else "RGB")
    for note in notes(picture):
        print(f"{path}: {note}")
    longest = min(max(picture.size), LARGEST) if longest is None else longest
    if longest < 1:
        raise MinicnnError(f"{longest} pixels: expected 1 or more")
    width, height = (max(1, round(side * longest / max(picture.size))) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return transfer(to_array(picture)[None], like=net.parameters()[0].value)


def check_one(image: Array) -> None:
    """Raise MinicnnError when `image` is not one picture (1, C, H, W)."""
    if image.ndim != 4 or image.shape[0] != 1:
        raise MinicnnError(f"expected one picture (1, C, H, W), got {tuple(image.shape)}")


def first_convolution(net: Network) -> str:
    """The name of the first convolution. Raises MinicnnError where there is none."""
    name = next((path for path, layer in net.layers() if isinstance(layer, Conv2d)), None)
    if name is None:
        raise MinicnnError(f"{net.name} has no convolution")
    return name


def probabilities(net: Network, x: Array) -> np.ndarray:
    """The probabilities of the classes (N, classes) of pictures (N, C, H, W)."""
    return to_host(kernels.softmax_forward(net.scores(x), remember=None)[0])


def describe(net: Network, x: Array) -> str:
    """The class that the network sees, and how sure it is: "7 (98.3 %)"."""
    best = net.predict(x, top=1)[0][0]
    return f"{best.name} ({100 * best.probability:.1f} %)"


MEMORY = 64 << 20  # bytes that the activations of a batch may take


def pictures_at_once(net: Network, input_shape: Shape, memory: int = MEMORY, *, back: bool = False) -> int:
    """How many pictures (C, H, W) can go forward at once within `memory` bytes, nothing remembered; at least 1.

    back: forward and back again, with what the gradient at the picture needs remembered.
    """
    return max(1, memory // pass_memory(net, input_shape, back=back))


def pass_memory(net: Network, input_shape: Shape, layers: Iterable[str] = (), *, back: bool = False) -> int:
    """A bound of the bytes that one picture (C, H, W) takes on its way forward, float32, nothing remembered.

    layers: as far as the deepest of them, else to the end. back: as in `pictures_at_once`.
    """
    names = list(net.children())
    depth = max((1 + names.index(path.split(".")[0]) for path in layers if path != INPUT), default=len(names))
    way = list(islice(net.inputs(input_shape), depth))
    last, shape = way[-1]
    ends = prod(input_shape) + prod(last.output_shape(shape))
    kept = sum(_kept(layer, s) for layer, s in way) if back else 0
    return 4 * (ends + max(_widest(layer, s) for layer, s in way)) + kept


def optimization_memory(net: Network, input_shape: Shape, layers: Iterable[str], pairs: int = 10) -> int:
    """About how many bytes it takes to optimize one picture (C, H, W) through the activations of `layers`.

    Those of a pass forward and back; the activations there, what they are compared with, and their gradients; and what
    L-BFGS keeps: `pairs` times two pictures.
    """
    layers = set(layers)
    larger = prod(input_shape) / prod(net.input_shape)
    there = sum(larger * prod(activation_shape(net, layer)) for layer in layers)
    return pass_memory(net, input_shape, layers, back=True) + round(
        4 * (3 * there + (2 * pairs + 12) * prod(input_shape))
    )


def _widest(layer: Layer, shape: Shape) -> int:
    """A bound of the numbers held at once for one picture: what each level takes and gives, and the widest inside."""
    inner = layer.inputs(shape) if isinstance(layer, Container) else ()
    return prod(shape) + prod(layer.output_shape(shape)) + max((_widest(child, s) for child, s in inner), default=0)


def _kept(layer: Layer, shape: Shape) -> int:
    """A bound of the bytes that remember="input" keeps of one picture: a layer with weights keeps no input then."""
    if isinstance(layer, Container):
        return sum(_kept(child, s) for child, s in layer.inputs(shape))
    return 0 if layer.own_parameters() else layer.memory(shape)


@contextmanager
def bar_over(what: str, things: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for the `progress(done, of all)` of a method: "hiding … 12 of 400 places"."""
    with Progress(what) as bar:
        yield lambda done, total: bar.update(done, f"{done} of {total} {things}", total)


# Results


def open_run(out: Path, *, seed: int, inputs: Iterable[Path], **settings: Any) -> Run:
    """The folder of a picture command, which records the hashes of `inputs`; an earlier run in it is overwritten."""
    run = Run(out, command=["minicnn", *sys.argv[1:]], settings=settings, seed=seed, exist="overwrite")
    try:
        for path in inputs:
            run.hash_input(path)
    except MinicnnError as error:
        run.__exit__(type(error), error, error.__traceback__)  # it leaves nothing
        raise
    return run


@contextmanager
def photo_run(
    photo: Path, model: str, weights: Path | None, device: str, out: Path, seed: int, **settings: Any
) -> Iterator[tuple[Run, Network, Array]]:
    """What a command about one picture works with: (its folder, the network, the network's input (1, C, H, W))."""
    net = load_network(model, weights, device)
    x = read_photo(photo, net)
    files = [photo, weights_used(model, weights)]
    with (
        open_run(out, seed=seed, inputs=files, model=model, device=device, **settings) as run,
        kernels.frozen_weights(),
    ):
        yield run, net, x


def with_legend(figure: Image.Image, *bars: tuple[float, str, bool]) -> Image.Image:
    """A figure, and beneath it the colour bars of its maps: (the top value, what it means, whether it is signed)."""
    drawn = [colour_bar(top, meaning, signed=signed, width=300) for top, meaning, signed in bars]
    return stack([figure, framed(beside(drawn, gap=40), 8)], gap=0)
