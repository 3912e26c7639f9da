"""Convolution by hand (technique 1): a small matrix of weights slides over a signal or a picture.

What networks compute and call convolution is correlation; the mathematicians' convolution turns the kernel round first:

    correlation    y(i, j) = Σ_u Σ_v w(u, v)·x(i·S + u − P, j·S + v − P)
    convolution    the same with w(F − 1 − u, F − 1 − v)

    W₂ = (W₁ − F + 2P)/S + 1            (size W, kernel F, padding P with zeros, stride S; rounded down)

Weights that sum to 1 keep the brightness; weights that sum to 0 answer to changes alone. In one dimension the window
may look back, ahead, or both ways (`smooth`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn import kernels
from minicnn.boxes import beside, centred, framed, stack, text_box
from minicnn.cli.options import Out, Photo, Seed
from minicnn.curves import COLOURS, diagrams
from minicnn.errors import MinicnnError, nearest
from minicnn.figures import labelled_grid, top_value
from minicnn.kernels.geometry import Pair, conv_output_size
from minicnn.layers.conv import pair
from minicnn.pictures import load_picture, notes, to_array, to_picture

from .common import open_run

KERNELS = {
    "blur": np.full((3, 3), 1 / 9),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float),
    "edges": np.array([[1, 1, 1], [1, -8, 1], [1, 1, 1]], float),
}

# The lecture's aeroplane: a position each second, and the weights of the last seven, the oldest first. (It prints 1.80
# as the first result, which is 1.811.)
SIGNAL = np.array([1.0, 1.1, 1.2, 1.4, 1.7, 1.8, 1.9, 2.1, 2.2, 2.4, 2.5, 2.7])
WEIGHTS = np.array([0.01, 0.01, 0.02, 0.02, 0.04, 0.4, 0.5])
WINDOWS = ("preceding", "succeeding", "centred")

DETAIL = (320, 400)  # rows and columns of the picture that the figure shows as they are
HEIGHT = DETAIL[0]
STRONGEST = 98  # percentile of the magnitudes that becomes black or white, around grey
CELL = 36  # pixels: a smaller cell of a drawn kernel has no number


class Handmade(NamedTuple):
    """kernel (KH, KW); correlation and convolution (C, H₂, W₂); the correlation after max and average pooling."""

    kernel: np.ndarray
    correlation: np.ndarray
    convolution: np.ndarray
    max_pool: np.ndarray
    average_pool: np.ndarray


def handmade(
    picture: np.ndarray, kernel: str | np.ndarray, *, stride: int | Pair = 1, padding: int | Pair = 0, pool: int = 2
) -> Handmade:
    """A picture (C, H, W) under a kernel: each colour by itself, correlated and convolved, and then pooled.

    `kernel` is a name of KERNELS, a text as `matrix` reads it, or an array (KH, KW). stride and padding: one number, or
    (rows, columns). Raises MinicnnError where the kernel or the pool does not fit into the picture.

    Example: `handmade(to_array(load_picture("cat.jpg")), "sharpen").correlation`
    """
    weights = matrix(kernel) if isinstance(kernel, str) else np.asarray(kernel, float)
    y = correlate(picture, weights, stride, padding)
    if not 1 <= pool <= min(y.shape[1:]):
        raise MinicnnError(f"pool {pool}: expected 1 to {min(y.shape[1:])}, what the kernel gives is {size_text(y)}")
    window: dict[str, Any] = {"kernel_size": (pool, pool), "stride": (pool, pool), "remember": None}
    x = np.ascontiguousarray(y[..., None])
    most, mean = (pooled(x, **window)[0][..., 0] for pooled in (kernels.max_pool2d_forward, kernels.avg_pool2d_forward))
    return Handmade(weights, y, correlate(picture, weights[::-1, ::-1], stride, padding), most, mean)


def correlate(picture: np.ndarray, kernel: np.ndarray, stride: int | Pair = 1, padding: int | Pair = 0) -> np.ndarray:
    """(C, H, W) -> (C, H₂, W₂), each colour by itself. Raises MinicnnError for a kernel that does not fit."""
    (SH, SW), (PH, PW) = pair(stride), pair(padding)
    if min(SH, SW) < 1 or min(PH, PW) < 0:
        raise MinicnnError(f"stride {stride}, padding {padding}: expected 1 or more, 0 or more")
    w = np.ascontiguousarray(kernel, np.float32)[None, None]  # (1, 1, KH, KW)
    planes = np.ascontiguousarray(picture, np.float32)[:, None, :, :, None]  # (C, 1, H, W, 1): one after another
    try:
        found = [
            kernels.conv2d_forward(x, w, stride=(SH, SW), padding=((PH, PH), (PW, PW)), remember=None)[0]
            for x in planes
        ]
    except ValueError as error:
        raise MinicnnError(f"a kernel of {kernel.shape[1]}×{kernel.shape[0]}: {error}") from None
    return np.concatenate(found)[..., 0]


def smooth(signal: np.ndarray, weights: np.ndarray, window: str = "preceding") -> np.ndarray:
    """The weighted means of a signal (L,), one for each position of the window in it: (L − F + 1,), or for "centred",
    whose window is nearly twice as long, (L − 2F + 2,).

    The last weight is that of the present. "preceding" looks back: y_t = Σ_a w_{F−1−a}·x_{t−a}; "succeeding" ahead:
    y_t = Σ_a w_{F−1−a}·x_{t+a}; "centred" both ways, and the weights are divided by their sum.

    Example: `smooth(SIGNAL, WEIGHTS)`
    """
    if window not in WINDOWS:
        raise MinicnnError(f"window {window!r}{nearest(window, WINDOWS)}")
    w = np.asarray(weights, np.float32)
    if window == "centred":
        w = np.concatenate([w, w[-2::-1]]) / (2 * w.sum() - w[-1])
    elif window == "succeeding":
        w = w[::-1]
    x = np.asarray(signal, np.float32)[None, :, None]  # (1, L, 1)
    try:
        return kernels.conv1d_forward(x, np.ascontiguousarray(w)[None, None], remember=None)[0][0, :, 0]
    except ValueError as error:
        raise MinicnnError(f"smooth: {error}") from None


def matrix(text: str) -> np.ndarray:
    """A kernel (KH, KW): by a name of KERNELS, or as rows of numbers, "0 -1 0; -1 5 -1; 0 -1 0", or a file of such.

    Numbers may be fractions, 1/9. Raises MinicnnError for what is no matrix.
    """
    if text in KERNELS:
        return KERNELS[text]
    rows = Path(text).read_text(encoding="utf-8", errors="replace") if _is_file(text) else text
    lines = [re.split(r"[\s,]+", line.strip()) for line in re.split(r"[;\n]", rows) if line.strip()]
    try:
        numbers = [[_number(word) for word in line] for line in lines]
    except (ValueError, ZeroDivisionError):
        hint = nearest(text, KERNELS) if re.fullmatch(r"\w+", text) else ""
        shown = text if len(text) < 60 else text[:57] + "…"
        raise MinicnnError(
            f"kernel {shown!r}: expected {', '.join(KERNELS)}, a matrix such as '0 -1 0; -1 5 -1; 0 -1 0', "
            f"or a file with one{hint if 'did you' in hint else ''}"
        ) from None
    lengths = [len(line) for line in numbers]
    if len(set(lengths)) != 1:
        raise MinicnnError(f"kernel: rows of {', '.join(map(str, lengths)) or 'no'} numbers, expected equally many")
    return np.array(numbers)


def _number(word: str) -> float:
    """ "-8", ".5" or "1/9". Raises ValueError for others."""
    over, _, under = word.partition("/")
    number = float(over) / float(under or 1)
    if not np.isfinite(number):
        raise ValueError(word)
    return number


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name
        return False


# What is seen


def brightness(values: np.ndarray, kernel: np.ndarray, top: float) -> tuple[np.ndarray, str]:
    """Values as pixels in [0, 1], and how: as they are, cut off at black and white; or, where the weights sum to 0 or
    less, around grey, up to ±`top`."""
    if not keeps_brightness(kernel):
        return 0.5 + np.clip(values / (top or 1), -1, 1) / 2, f"grey is 0, white {top:.3g} or more, black −{top:.3g}"
    outside = float(((values < -1e-6) | (values > 1 + 1e-6)).mean())
    how = f"{100 * outside:.1f} % of the values are cut off at black or white" if outside else "true brightness"
    return np.clip(values, 0, 1), how


def keeps_brightness(kernel: np.ndarray) -> bool:
    """Whether the weights sum to more than 0, rounding aside."""
    return bool(kernel.sum() > 1e-6 * np.abs(kernel).sum())


def size_text(values: np.ndarray) -> str:
    """(C, H, W) -> "W×H"."""
    return f"{values.shape[2]}×{values.shape[1]}"


def size_formula(picture: np.ndarray, kernel: np.ndarray, stride: Pair, padding: Pair) -> str:
    """W₂ and H₂ by the formula, with numbers."""
    said = []
    for name, size, F, S, P in zip("HW", picture.shape[1:], kernel.shape, stride, padding, strict=True):
        exact = (size - F + 2 * P) % S == 0
        result = conv_output_size(size, F, S, (P, P))
        fraction = f"({size} − {F} + 2·{P})/{S}"
        said.append(f"{name}₂ = {fraction if exact else f'⌊{fraction}⌋'} + 1 = {result}")
    return ", ".join(reversed(said))


def kernel_picture(kernel: np.ndarray) -> Image.Image:
    """The weights as a table, red above 0 and blue below, HEIGHT pixels high."""
    KH, KW = kernel.shape
    cell = max(4, min(96, (HEIGHT - 40) // max(KH, KW)))
    top = float(np.abs(kernel).max()) or 1.0
    rows, lines = [], (150, 150, 155)
    for line in kernel:
        cells = []
        for weight in line:
            strength = weight / top
            paler = round(255 - 110 * abs(strength))
            colour = (255, paler, paler) if strength > 0 else (paler, paler, 255)
            text = text_box(f"{weight:.3g}", cell - 4, background=colour) if cell >= CELL else None
            cells.append(centred(text or Image.new("RGB", (1, 1), colour), (cell, cell), background=colour))
        rows.append(beside(cells, gap=1, background=lines))
    table = framed(stack(rows, gap=1, background=lines), 1, background=lines)
    return centred(table, (HEIGHT * 2 // 3, HEIGHT))


def detail(values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The part of (C, h, w) that shows the middle DETAIL of the picture (C, H, W), or all of a smaller one."""
    places = []
    for size, whole, wanted in zip(values.shape[1:], picture.shape[1:], DETAIL, strict=True):
        length = max(1, min(size, round(wanted * size / whole)))
        places.append(slice((size - length) // 2, (size - length) // 2 + length))
    return values[:, places[0], places[1]]


def on_paper(shown: Image.Image) -> Image.Image:
    """Scaled to fit on white paper of the details' size: to crisp squares where it at least doubles."""
    height, width = DETAIL
    scale = min(height / shown.height, width / shown.width)
    scale = int(scale) if scale >= 2 else scale
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return centred(shown.convert("RGB").resize(size, how), (width, height))


def draw(picture: np.ndarray, result: Handmade, formula: str) -> Image.Image:
    """The picture and the kernel; then a detail, each pixel as it is: correlated, convolved, and after the pools."""
    top = top_value(result.correlation, STRONGEST)
    same = np.array_equal(result.kernel, result.kernel[::-1, ::-1])
    KH, KW = result.kernel.shape

    def cell(name: str, what: str) -> tuple[str, Image.Image]:
        values = getattr(result, name)
        pixels, how = brightness(values, result.kernel, top)
        return f"{what}, {size_text(values)}; {how}", on_paper(to_picture(detail(pixels, picture)))

    rows = [
        [
            (f"the picture, {size_text(picture)}", on_paper(to_picture(picture))),
            ("a detail of it", on_paper(to_picture(detail(picture, picture)))),
            (f"kernel, {KW}×{KH}, sum {result.kernel.sum():.3g}", kernel_picture(result.kernel)),
        ],
        [
            cell("correlation", "correlation, what networks compute"),
            cell("convolution", "convolution"),
            (
                "for the convolution it is turned round" + (", and is the same" if same else ""),
                kernel_picture(result.kernel[::-1, ::-1]),
            ),
        ],
        [
            cell("max_pool", "max pooling of the correlation"),
            cell("average_pool", "average pooling of the correlation"),
        ],
    ]
    grid = labelled_grid([("", row) for row in rows], height=HEIGHT)
    return stack([grid, framed(text_box(formula, grid.width - 40), 6)], gap=0)


def noisy_path(seed: int, length: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """An aeroplane's true positions, and what a noisy instrument says of them."""
    t = np.linspace(0, 1, length)
    truth = 1 + 2 * t + 0.6 * np.sin(2 * np.pi * 1.5 * t)
    return truth, truth + np.random.default_rng(seed).normal(0, 0.25, length)


def draw_smoothing(seed: int) -> Image.Image:
    """The noisy signal under each of the three windows: the lecture's weights, and seven equal ones."""
    truth, signal = noisy_path(seed)

    def panel(title: str, weights: np.ndarray) -> Any:
        def draw_into(axes: Any) -> None:
            axes.plot(signal, ".", color="#b8bcc4", label="measured")
            axes.plot(truth, color="#26262a", linewidth=1, label="true")
            F = len(weights)
            for window, colour in zip(WINDOWS, COLOURS[1::2], strict=False):
                y = smooth(signal, weights, window)
                first = 0 if window == "succeeding" else F - 1
                error = float(np.sqrt(np.mean((y - truth[first : first + len(y)]) ** 2)))
                axes.plot(np.arange(first, first + len(y)), y, color=colour, label=f"{window}: off by {error:.3f}")
            axes.set_title(title, fontsize=12, loc="left")
            axes.set_xlabel("second")
            axes.set_ylabel("position")
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, loc="lower right", fontsize=9)

        return draw_into

    titles = {"The lecture's weights: " + " ".join(f"{w:g}".lstrip("0") for w in WEIGHTS): WEIGHTS}
    titles["Seven equal weights"] = np.full(7, 1 / 7)
    return diagrams([panel(title, weights) for title, weights in titles.items()], size=(6.4, 4.2))


# The command


def numbers(text: str, what: str) -> Pair:
    """ "2" -> (2, 2), "2,1" -> (2, 1). Raises MinicnnError."""
    if not re.fullmatch(r"\d{1,6}(,\d{1,6})?", text):
        raise MinicnnError(f"{what} {text!r}: expected a whole number, or rows,columns")
    first, _, second = text.partition(",")
    return int(first), int(second or first)


def command(
    photo: Photo,
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help='blur, sharpen, edges, "0 -1 0; -1 5 -1; 0 -1 0", or a file.')
    ] = "edges",
    stride: Annotated[str, typer.Option("--stride", help="2, or rows,columns.")] = "1",
    padding: Annotated[
        str, typer.Option("--padding", help="Rows and columns of zeros around: 1, or rows,columns.")
    ] = "0",
    pool: Annotated[int, typer.Option("--pool", help="Side of the pools' windows.")] = 2,
    out: Out = Path("handmade"),
    seed: Seed = 0,
) -> None:
    """A photo under a kernel made by hand: correlation, convolution, pooling; and a noisy signal, smoothed."""
    loaded = load_picture(photo)
    for note in notes(loaded):
        print(f"{photo}: {note}")
    picture, steps, border = to_array(loaded), numbers(stride, "stride"), numbers(padding, "padding")
    if (picture == picture[:1]).all():
        picture = picture[:1]  # grey: one plane says it all
    result = handmade(picture, kernel, stride=steps, padding=border, pool=pool)
    formula = size_formula(picture, result.kernel, steps, border)
    settings = {"kernel": result.kernel, "stride": steps, "padding": border, "pool": pool}
    with open_run(out, seed=seed, inputs=[photo], **settings) as run:
        top, said = top_value(result.correlation, STRONGEST), {}
        for name in result._fields[1:]:
            pixels, said[name] = brightness(getattr(result, name), result.kernel, top)
            run.save(f"{name}.png", pixels)
        run.save("handmade.png", draw(picture, result, formula))
        run.save("smoothing.png", draw_smoothing(seed))
        run.finish(size=formula, shown=said, smoothed=smooth(SIGNAL, WEIGHTS))
    print(f"{formula}; {said['correlation']}")
    print(f"the lecture's signal, smoothed: {' '.join(f'{y:.3f}' for y in smooth(SIGNAL, WEIGHTS))}")
    print(f"all sizes are true in {out}; see {out / 'handmade.png'}")
