"""What `minicnn make style` makes of a command line: one picture or several, the files of each, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from PIL import Image

from minicnn.errors import MinicnnError, nearest, printable
from minicnn.figures import labelled_grid, labelled_row
from minicnn.image import Result, Step, number, resize
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import to_host, transfer
from minicnn.pictures import load_picture, to_array, to_picture
from minicnn.run import Run

from .common import read_whole
from .style_objective import Settings

KINDS = get_type_hints(Settings) | {"image_size": int, "style_scale": float, "seed": int}
SLACK = 0.02  # by how much the proportions of a mask may differ from the picture's: it was scaled to whole pixels
TERMS = {"Features": "content", "Gram": "style", "TotalVariation": "variation", "Amplify": "dream"}


class Job(NamedTuple):
    """One picture to make: the files, how large (pixels of the long side), the settings, and what tells it apart."""

    content: Path
    styles: tuple[Path, ...]
    settings: Settings
    start: Path | None  # the picture to begin with, where that is a file
    image_size: int
    style_scale: float
    seed: int
    caption: str
    name: str  # of its picture file

    @property
    def title(self) -> str:
        return f"{name_of(self.content)} in the style of {' and '.join(map(name_of, self.styles))}"


class Pictures(NamedTuple):
    """What a job's files hold, on the network's device: pictures (1, C, H, W), and masks (H, W)."""

    content: Array
    styles: list[Array]
    masks: list[Array]
    start: Array | None


def jobs_of(
    contents: Sequence[Path], styles: Sequence[Path], options: Mapping[str, Any], *, grid: bool, sweep: str | None
) -> list[Job]:
    """The pictures to make: one; for a grid one for each pair of a content and a style; one for each value of a sweep.

    options: the fields of Settings, image_size, style_scale and seed.
    """
    if grid and sweep:
        raise MinicnnError("--grid and --sweep: expected one of them")
    if len(contents) > 1 and not grid:
        raise MinicnnError("--content: another content picture makes a grid: give --grid")
    if grid:
        pairs = [(one, style) for one in contents for style in styles]
        return [job(one, (style,), options, "", f"picture-{i}") for i, (one, style) in enumerate(pairs, 1)]
    if not sweep:
        return [job(contents[0], tuple(styles), options, "", "picture")]
    name, values = sweep_of(sweep)
    words = name.replace("_", " ")
    return [
        job(contents[0], tuple(styles), {**options, name: value}, f"{words} {shown}", f"picture-{i}")
        for i, (shown, value) in enumerate(values.items(), 1)
    ]


def job(content: Path, styles: tuple[Path, ...], options: Mapping[str, Any], caption: str, name: str) -> Job:
    rest = dict(options)
    image_size, style_scale, seed = (rest.pop(name) for name in ("image_size", "style_scale", "seed"))
    if image_size < 1:
        raise MinicnnError(f"image size {image_size}: expected 1 pixel or more")
    if not 0 < style_scale < float("inf"):
        raise MinicnnError(f"style scale {style_scale}: expected more than 0")
    if seed < 0:
        raise MinicnnError(f"seed {seed}: expected 0 or more")
    start = Path(rest["init"]) if Path(rest["init"]).is_file() else None
    settings = Settings(**rest | ({"init": "content"} if start else {}))
    return Job(content, styles, settings, start, image_size, style_scale, seed, caption, name)


def sweep_of(text: str) -> tuple[str, dict[str, Any]]:
    """ "style-weight=1,10" as the name of a setting and {what stands there: the value}."""
    name, _, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in KINDS:
        raise MinicnnError(f"--sweep {text!r}: no setting {name!r}{nearest(name, KINDS)}")
    try:
        return name, {value.strip(): value_of(KINDS[name], value.strip()) for value in values.split(",")}
    except ValueError:
        raise MinicnnError(f"--sweep {text!r}: expected SETTING=VALUE,VALUE,…, values of {name}") from None


def value_of(kind: Any, text: str) -> Any:
    """A setting from the command line. Raises ValueError for what is none."""
    if kind is str:
        return text
    if kind == tuple[float, ...]:
        return shares_of(text)
    return int(text) if kind is int else float(text)


def shares_of(text: str) -> tuple[float, ...]:
    """ "2,1" or "2/1" as numbers; () for no text. Raises MinicnnError, a ValueError, for what is none."""
    try:
        return tuple(float(share) for share in text.replace("/", ",").split(",")) if text else ()
    except ValueError:
        raise MinicnnError(f"style blend {text!r}: expected a share for each style, such as 2,1") from None


def read(job: Job, net: Network, masks: Sequence[Path]) -> Pictures:
    """The files of a job, scaled. Says what is unusual in them."""
    content = read_whole(job.content, net, job.image_size)
    styles = [read_whole(style, net, max(1, round(job.style_scale * job.image_size))) for style in job.styles]
    start = None
    if job.start:
        start = resize(read_whole(job.start, net, job.image_size), content.shape[2:])
    return Pictures(content, styles, [read_mask(mask, content) for mask in masks], start)


def say_what_is_grey(paths: Sequence[Path], net: Network) -> None:
    """A line for each picture without colours, or with colours that the network cannot see."""
    for path in dict.fromkeys(paths):
        picture = np.asarray(load_picture(path)).astype(int)
        coloured = bool(np.ptp(picture, axis=2).any())
        if coloured and net.input_shape[0] == 1:
            print(f"{path}: in shades of grey, all that {net.name} sees")
        if not coloured and net.input_shape[0] == 3:
            print(f"{path}: a grey picture; its three colours are alike")


def read_mask(path: Path, content: Array) -> Array:
    """A grey picture as (H, W) of the content's size, 1 where it is white; it must have the content's proportions."""
    mask = load_picture(path, mode="L")
    height, width = content.shape[2:]
    if abs(mask.width * height / (mask.height * width) - 1) > SLACK + 1 / min(height, width):
        raise MinicnnError(
            f"{path}: a mask of {mask.width}×{mask.height} pixels for a picture of {width}×{height}: "
            "expected the same proportions"
        )
    scaled = mask.resize((width, height), Image.Resampling.BILINEAR)
    return transfer(to_array(scaled)[0], like=content)


def losses(step: Step) -> dict[str, float]:
    """{"content": …, "style": …} of a step, each the sum of its weighted terms."""
    found: dict[str, float] = {}
    for term, value in step.terms:
        found[TERMS[term]] = found.get(TERMS[term], 0.0) + number(value)
    return found


def in_words(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


class Snapshots:
    """Writes the picture of each `every`-th step, and at the end an animation of them all."""

    def __init__(self, run: Run, name: str, every: int | None) -> None:
        if every is not None and every < 1:
            raise MinicnnError(f"--save-every {every}: expected 1 or more")
        self.run, self.name, self.every = run, name, every
        self.paths: list[Path] = []

    def __call__(self, step: Step) -> None:
        if self.every and step.step % self.every == 0:
            digits = len(str(step.steps))
            self.paths.append(self.run.save(f"{self.name}-{step.step:0{digits}}.png", to_host(step.image)))

    def finish(self, result: Result) -> None:
        """Writes the last picture, and the animation, whose frames have its size."""
        last = to_picture(to_host(result.image))
        self.run.save(f"{self.name}.png", last)
        if self.paths:
            frames = (load_picture(path).resize(last.size, Image.Resampling.BICUBIC) for path in self.paths)
            self.run.save_animation(f"{self.name}.gif", frames, fps=8)


def overlay(pictures: Pictures, shares: Sequence[float]) -> Array:
    """The naive way: half the content, half the styles, one laid on the other."""
    size = pictures.content.shape[2:]
    styles = (share * resize(style, size) for share, style in zip(shares, pictures.styles, strict=True))
    return (pictures.content + sum(styles)) / 2


def name_of(path: Path) -> str:
    """A file's name as people read it: the_scream.jpg is "the scream"."""
    return printable(path.stem.replace("_", " "))


Made = list[tuple[Job, Pictures, Result]]


def figure(net: Network, made: Made, grid: bool) -> Image.Image:
    """All that was made, with what it was made of."""
    return grid_figure(made) if grid else row_figure(net, made)


def row_figure(net: Network, made: Made) -> Image.Image:
    """The content, the styles, the one laid on the other, and what was made."""
    job, pictures, _ = made[0]
    shares = [1 / len(job.styles)] * len(job.styles) if pictures.masks else job.settings.shares(len(job.styles))
    row = [(f"content: {name_of(job.content)}", pictures.content)]
    row += [(f"style: {name_of(path)}", style) for path, style in zip(job.styles, pictures.styles, strict=True)]
    row += [("laid on one another: half of each", overlay(pictures, shares))] if len(made) == 1 else []
    row += [(job.caption or f"after {result.steps} iterations", result.image) for job, _, result in made]
    height = min(made[-1][2].image.shape[2], 480)
    cells = [(caption, to_picture(to_host(x))) for caption, x in row]
    return labelled_row(cells, title=f"{job.title}, {net.name}", height=height)


def grid_figure(made: Made) -> Image.Image:
    """Styles above, contents on the left, and where they meet the one in the style of the other."""
    by_content: dict[Path, list[tuple[str, Image.Image]]] = {}
    styles: dict[Path, Image.Image] = {}
    for job, pictures, result in made:
        styles.setdefault(job.styles[0], to_picture(to_host(pictures.styles[0])))
        row = by_content.setdefault(job.content, [("", to_picture(to_host(pictures.content)))])
        row.append(("", to_picture(to_host(result.image))))
    blank = Image.new("RGB", (160, 160), "white")
    head = ("", [("", blank), *((name_of(path), style) for path, style in styles.items())])
    rows = [(name_of(path), cells) for path, cells in by_content.items()]
    return labelled_grid([head, *rows], height=min(240, max(x.height for _, row in rows for _, x in row)))
