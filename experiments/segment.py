"""Cut the object out by what the network looks at (Simonyan, Vedaldi, Zisserman 2013, section 3.2).

The saliency map M marks some pixels of the object, and some that are none. Their colours do the rest:

    foreground model    from the colours where M > its 95 % quantile
    background model    from the colours where M ≤ its 30 % quantile

Each is a mixture of five Gaussians. A pixel p gets the label l_p that makes

    Σ_p −log P(colour_p | model of l_p) + Σ_(p, q neighbours, l_p ≠ l_q) 50·exp(−β‖colour_p − colour_q‖²)

least, which a minimum cut finds; then the models are made again from what was cut out, and so on: GrabCut (Rother,
Kolmogorov, Blake 2004, section 3), OpenCV's. No pixel is fixed, the quantiles' own neither; only where that leaves no
foreground, or no background, both are held where they are. The largest connected piece of the foreground is the
object. The network was never told where anything is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image, ImageDraw

from minicnn.boxes import centred
from minicnn.cli.options import Device, LayerName, Model, Out, Photo, Seed, Target, Unit, Weights
from minicnn.errors import MinicnnError, whole_number
from minicnn.figures import heatmap, labelled_row
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_picture

from .attribution import Attribution, Goal, UnitIndex
from .attribution import Target as Explained
from .common import describe, photo_run, with_legend
from .saliency import saliency

FOREGROUND, BACKGROUND = 0.95, 0.30  # quantiles of M
ITERATIONS = 5
HEIGHT = 240  # of a panel, at least
FRAME, SEEN = (255, 59, 48), (255, 255, 255)  # colours of the box, and of what the network saw of a photo
HELD = "; red and blue had to be held, their colours are too much alike"
YES, NO = np.array([230, 60, 50]), np.array([50, 100, 220])  # of the seeds

Box = tuple[int, int, int, int]


class Placed(NamedTuple):
    """The object in a whole photo: mask (height, width) bool, its box, and the part (left, top, right, bottom) of the
    photo that the network saw; both in the photo's pixels, right and bottom exclusive."""

    mask: np.ndarray
    box: Box
    seen: Box


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The object that a network sees in a picture (C, H, W), its network's input.

    mask (H, W) bool; box: (left, top, right, bottom) around it, right and bottom exclusive; foreground and background
    (H, W) bool: the pixels that the first models were made of; held: whether these had to be held where they
    are, because their colours alone found all or nothing; saliency: the map M and its target.
    """

    saliency: Attribution = field(repr=False)
    foreground: np.ndarray = field(repr=False)
    background: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    box: Box
    held: bool

    @property
    def map(self) -> np.ndarray:
        """M (H, W)."""
        return self.saliency.map

    @property
    def target(self) -> Explained:
        """The class, or the unit, whose saliency it is."""
        return self.saliency.target

    def cutout(self) -> Image.Image:
        """The object in its box, transparent around it."""
        return cut_out(to_picture(self.saliency.image), self.mask, self.box)

    def placed(self, photo: Image.Image, net: Network) -> Placed:
        """The object in the photo that `net.prepare` cut the picture from: the mask is enlarged smoothly."""
        seen = seen_part(photo.size, net.input_shape, net.resize)
        size = seen[2] - seen[0], seen[3] - seen[1]
        smooth = Image.fromarray(255 * self.mask.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        mask = np.zeros((photo.height, photo.width), bool)
        shares = np.asarray(smooth)
        mask[seen[1] : seen[3], seen[0] : seen[2]] = shares >= min(128, shares.max())  # never empty
        return Placed(mask, box_of(mask), seen)

    def figure(self, caption: str = "the picture", photo: Image.Image | None = None) -> Image.Image:
        """The picture (or the photo, with its own box drawn) and its box, M, the pixels the models come from, the mask,
        and what is cut out."""
        picture = to_picture(self.saliency.image).convert("RGB")
        first = photo or framed_at(picture, self.box)
        height = max(HEIGHT, picture.height)
        panels = [
            (caption, first),
            (f"{self.saliency.method} for {self.target.name}", heatmap(self.map)),
            ("red: the object's first model is made of these; blue: the background's", seeds(self, picture)),
            (
                f"mask: {100 * self.mask.mean():.0f} % of the pixels{HELD * self.held}",
                edged(Image.fromarray(self.mask), height),
            ),
            ("cut out", on_checks(cut_out(picture, self.mask, (0, 0, *picture.size)))),
        ]
        return with_legend(labelled_row(panels, height=height), *self.saliency.legends())

    def save(self, path: str | os.PathLike[str], caption: str = "the picture") -> Path:
        """Write the figure as a PNG."""
        save_png(path, self.figure(caption))
        return Path(path)

    def show(self) -> None:
        """Open the figure in the system's picture viewer."""
        self.figure().show()


def segment(
    net: Network,
    image: Array,
    target: Goal = None,
    *,
    layer: str | None = None,
    unit: UnitIndex = None,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> Segmentation:
    """The object of a class (default: the one predicted), or of a unit, in `image` (1, C, H, W) in [0, 1].

    foreground, background: the quantiles of M above and up to which pixels make the first models; iterations: of
    GrabCut, whose mixtures begin at random, by `seed`. Needs OpenCV. Raises MinicnnError without it, and for a saliency
    that is 0 everywhere.

    Example: `segment(net, net.prepare(load_picture("cat.jpg"))).box`
    """
    if not 0 < background <= foreground < 1:
        raise MinicnnError(f"quantiles {background:g} and {foreground:g}: expected 0 < background ≤ foreground < 1")
    iterations, seed = whole_number("iterations", iterations, 1), whole_number("seed", seed, 0)
    cv2 = opencv()
    found = saliency(net, image, target, layer=layer, unit=unit)
    if not found.map.max() > 0:
        raise MinicnnError(f"the saliency for {found.target.name} is 0 everywhere: it marks no object to cut out")
    low, high = np.quantile(found.map, [background, foreground])
    sure, rest = found.map > high, found.map <= low
    if not sure.any():
        raise MinicnnError(f"the saliency for {found.target.name} has no pixels above its {foreground:g} quantile")
    pixels = np.array(to_picture(found.image).convert("RGB"))  # OpenCV has blue first, which makes no difference here
    cv2.setRNGSeed(seed)
    cut = grab_cut(cv2, pixels, sure, rest, iterations)
    held = bool(cut.all() or not cut.any())
    if held:
        cut = grab_cut(cv2, pixels, sure, rest, iterations, held=True)
    mask = largest_piece(cv2, cut)
    return Segmentation(found, sure, rest, mask, box_of(mask), held)


def grab_cut(
    cv2: Any, pixels: np.ndarray, sure: np.ndarray, rest: np.ndarray, iterations: int, *, held: bool = False
) -> np.ndarray:
    """The foreground (H, W) of pixels (H, W, 3): models from those at `sure` and `rest`, then cut, learn, cut …

    held: `sure` and `rest` themselves stay what they are.
    """
    models = np.zeros((1, 65)), np.zeros((1, 65))  # five Gaussians: weight, mean, covariance
    # The first models come from a "picture" of the marked pixels alone, in one row: from the whole picture OpenCV
    # would put every other pixel into one of them.
    marked = np.concatenate([pixels[sure], pixels[rest]])[None]
    labels = np.full((1, marked.shape[1]), cv2.GC_BGD, np.uint8)
    labels[:, : int(sure.sum())] = cv2.GC_FGD
    cv2.grabCut(marked, labels, None, *models, 1, cv2.GC_INIT_WITH_MASK)
    labels = np.full(sure.shape, cv2.GC_PR_BGD, np.uint8)
    if held:
        labels[sure], labels[rest] = cv2.GC_FGD, cv2.GC_BGD
    cv2.grabCut(pixels, labels, None, *models, 1, cv2.GC_EVAL_FREEZE_MODEL)
    if iterations > 1 and len(np.unique(labels)) > 1:  # else there is nothing to make one of the models of
        cv2.grabCut(pixels, labels, None, *models, iterations - 1, cv2.GC_EVAL)
    return np.asarray((labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD))


def largest_piece(cv2: Any, mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (H, W) that has one; pixels touch at corners too."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax())  # 0 is the background


def box_of(mask: np.ndarray) -> Box:
    """(left, top, right, bottom) around the True of a mask, right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def opencv() -> Any:
    """OpenCV. Raises MinicnnError, with how to install it, where it is missing."""
    try:
        import cv2
    except ImportError:
        raise MinicnnError("segment needs OpenCV: pip install 'minicnn[vision]'") from None
    return cv2


def seen_part(size: tuple[int, int], shape: tuple[int, int, int], resize: int | None) -> Box:
    """The part of a photo of `size` (width, height) that `minicnn.pictures.cut` makes the network's input of."""
    (width, height), (_, H, W) = size, shape
    factor = max(H / height, W / width, (resize or 0) / min(size))
    wide, high = max(W, round(factor * width)), max(H, round(factor * height))
    left, top = (wide - W) // 2, (high - H) // 2
    ends = np.array([left, top, left + W, top + H]) * np.array([width / wide, height / high] * 2)
    return tuple(int(end) for end in np.rint(ends))  # type: ignore[return-value]


# What is drawn --------------------------------------------------------------------------------------------------------


def cut_out(picture: Image.Image, mask: np.ndarray, box: Box) -> Image.Image:
    """The box of a picture, transparent outside of the mask (H, W)."""
    layered = picture.convert("RGB")
    layered.putalpha(Image.fromarray(255 * mask.astype(np.uint8)))
    return layered.crop(box)


def framed_at(picture: Image.Image, *boxes: Box, colours: tuple[tuple[int, int, int], ...] = (FRAME,)) -> Image.Image:
    """The picture with frames around boxes, each in its colour between dark edges; thick enough for a figure.

    A panorama stands in the middle of white paper that is half as high as wide, so that a figure stays readable.
    """
    whole = picture.convert("RGB")
    if whole.height < HEIGHT:  # a digit: lines finer than its pixels
        factor = HEIGHT // whole.height
        whole = whole.resize((whole.width * factor, whole.height * factor), Image.Resampling.NEAREST)
        boxes = tuple(tuple(factor * side for side in box) for box in boxes)  # type: ignore[misc]
    paper = whole.width, max(whole.height, whole.width // 2)
    line = max(1, round(paper[1] / HEIGHT))
    pen = ImageDraw.Draw(whole)
    for (left, top, right, bottom), colour in zip(boxes, colours, strict=True):
        around = left - line, top - line, right - 1 + line, bottom - 1 + line
        pen.rectangle(around, outline=(0, 0, 0), width=4 * line)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=2 * line)
    return centred(whole, paper)


def seeds(found: Segmentation, picture: Image.Image) -> Image.Image:
    """The picture in grey, with the pixels in colour that the models were made of."""
    shown = np.asarray(picture.convert("L").convert("RGB")).copy()
    for where, colour in ((found.background, NO), (found.foreground, YES)):
        shown[where] = np.rint(0.35 * shown[where] + 0.65 * colour)
    return Image.fromarray(shown)


def edged(picture: Image.Image, height: int) -> Image.Image:
    """The picture at `height`, with a grey line along its border, so that what is white there has an edge on white."""
    width = round(picture.width * height / picture.height)
    whole = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    ImageDraw.Draw(whole).rectangle((0, 0, width - 1, height - 1), outline=(170, 170, 175))
    return whole


def on_checks(layered: Image.Image, side: int = 8) -> Image.Image:
    """A picture with transparency over the grey squares that stand for nothing."""
    side = min(side, max(1, layered.height // 28))
    i, j = np.indices((layered.height, layered.width)) // side
    squares = np.where((i + j) % 2, 236, 208).astype(np.uint8)
    below = Image.fromarray(squares).convert("RGB")
    below.paste(layered, mask=layered.getchannel("A"))
    return below


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("segment"),
    target: Target = None,
    layer: LayerName = None,
    unit: Unit = None,
    foreground: Annotated[
        float, typer.Option("--foreground", help="Quantile of the saliency above which the object's model begins.")
    ] = FOREGROUND,
    background: Annotated[
        float, typer.Option("--background", help="Quantile up to which the background's model begins.")
    ] = BACKGROUND,
    iterations: Annotated[int, typer.Option("--iterations", help="Of GrabCut.")] = ITERATIONS,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Cut the object out of a photo: its colours where the saliency is high, and GrabCut."""
    opencv()
    settings: dict[str, Any] = {"target": target, "layer": layer, "unit": unit}
    settings |= {"foreground": foreground, "background": background, "iterations": iterations}
    with photo_run(photo, model, weights, device, out, seed, **settings) as (run, net, x):
        result = segment(
            *(net, x, target),
            layer=layer,
            unit=unit,
            foreground=foreground,
            background=background,
            iterations=iterations,
            seed=seed,
        )
        whole = load_picture(photo)
        at, seen = result.placed(whole, net), describe(net, x)
        run.save("segment.png", result.figure(f"seen as {seen}; {frames(whole, at)}", photo_with_box(whole, at)))
        run.save("mask.png", Image.fromarray(255 * at.mask.astype(np.uint8)))
        run.save("cutout.png", cut_out(whole, at.mask, at.box))
        run.finish(
            target=result.target.name,
            seen_as=seen,
            box=at.box,
            seen_part=at.seen,
            box_in_input=result.box,
            held=result.held,
        )
        print(
            f"seen as {seen}; {result.target.name} is at {', '.join(map(str, at.box))} (left, top, right, bottom) of "
            f"{whole.width}×{whole.height} pixels; the network saw {', '.join(map(str, at.seen))}, and the mask is "
            f"enlarged from its {x.shape[3]}×{x.shape[2]}; see {run.path('segment.png')}"
        )


def frames(photo: Image.Image, at: Placed) -> str:
    """What the frames are, in words."""
    return "red: the box" + ("" if at.seen == (0, 0, *photo.size) else "; white: what the network got")


def photo_with_box(photo: Image.Image, at: Placed) -> Image.Image:
    """The photo with the object's box, and a white frame around what the network saw where that is not all."""
    if at.seen == (0, 0, *photo.size):
        return framed_at(photo, at.box)
    return framed_at(photo, at.seen, at.box, colours=(SEEN, FRAME))
