"""Everything that is made by optimization, for one photo, one painting, one texture and one network, on one page.

Each chapter runs a command of `minicnn make` into a folder of its own; beside index.html, gallery.png shows what came
out at a glance. What a network cannot do is left out with a line that says why.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from minicnn.cli.options import Device, Model, Out, Photo, Seed, Weights
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_grid
from minicnn.pictures import load_picture
from minicnn.report import Figure, Section

from .common import load_network, open_run, read_photo, weights_used

HEIGHT = 300  # of a picture in gallery.png


@dataclass(frozen=True)
class Chapter:
    """A technique: its command, what it is given (the names stand for what the gallery is given), and what is shown.

    pictures: files of its folder, the first as it is in gallery.png, all of them on the page.
    """

    heading: str
    text: str
    name: str
    inputs: tuple[str, ...]
    pictures: tuple[str, ...]
    options: Mapping[str, Any]

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of its `command`, but for those that all have."""
        return {name: given[name] for name in self.inputs} | dict(self.options)

    def line(self, given: Mapping[str, Any], out: Path) -> str:
        """What makes this chapter alone."""
        places = [str(part) for name in self.inputs for part in listed(given[name]) if name != "image_size"]
        options = {"model": given["model"], "weights": given["weights"], **self.options, "out": out}
        if "image_size" in self.inputs:
            options["image_size"] = given["image_size"]
        words = [f"--{name.replace('_', '-')} {shlex.quote(str(x))}" for name, x in options.items() if x is not None]
        return " ".join(["minicnn make", self.name, *map(shlex.quote, places), *words])


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


CHAPTERS = (
    Chapter(
        "What a class looks like",
        """The weights stay as they are, and the picture is what is learned: gradient ascent from next to nothing on the
        score of a class (Simonyan et al. 2013). Without anything else it ends in noise that the network takes for the
        class all the same. Here the picture is a spectrum whose colours are not correlated, and it is moved, scaled and
        turned a little before each step, so that only what survives that can grow (Olah et al. 2017).""",
        "visualize",
        ("target",),
        ("picture.png",),
        {},
    ),
    Chapter(
        "Fooled",
        """The same ascent, from the photo and on another class, until the network sees that class: the change is too
        small to be seen, so it is shown magnified (Szegedy et al. 2014).""",
        "fool",
        ("photo", "target"),
        ("fool.png", "fooled.png"),
        {},
    ),
    Chapter(
        "What the layers still know",
        """Pictures made from nothing but the activations of one layer (Mahendran and Vedaldi 2015). The first layers
        know the photo, the last ones the objects in it, wherever and however large they are.""",
        "invert",
        ("photo",),
        ("invert.png",),
        {},
    ),
    Chapter(
        "A dream",
        """Whatever a layer sees in the photo, more of it: the gradient that is sent back is the activation itself, at
        four sizes one after the other (Mordvintsev, Olah, Tyka 2015).""",
        "dream",
        ("photo", "image_size"),
        ("dream.png", "beside.png"),
        {},
    ),
    Chapter(
        "More of a texture",
        """How often channels are high together, wherever: their Gram matrices are all that is kept of the sample, and
        noise is moved until it has the same (Gatys, Ecker, Bethge 2015).""",
        "texture",
        ("sample",),
        ("texture.png", "beside.png"),
        {},
    ),
    Chapter(
        "In the style of a painting",
        """The activations of the photo and the Gram matrices of the painting in one picture (Gatys, Ecker, Bethge
        2016).""",
        "style",
        ("photo", "painting", "image_size"),
        ("picture.png", "style.png"),
        {},
    ),
)
LEAD = """What one network makes of one photo. In all of it the weights stay as they are, and the picture is what is
learned, by the gradient that hand-written backward passes send back to the pixels. The techniques differ in five
choices alone: what a picture is made of, what it is to become, what is done to it before the network looks, what after
each step, and how it moves."""


def command(
    photo: Photo,
    painting: Annotated[Path, typer.Argument(help="A painting, whose style the photo gets.")],
    sample: Annotated[Path, typer.Argument(help="A texture, of which more is made.")],
    target: Annotated[str, typer.Option("--target", "-t", help="The class that is drawn, and seen in the end.")],
    model: Model = "squeezenet1_0",
    image_size: Annotated[int, typer.Option(help="Pixels of the long side of dream and painting.")] = 512,
    out: Out = Path("make-gallery"),
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Everything that is made by optimization, on one page."""
    net = load_network(model, weights, device)
    net.class_index(target)
    read_photo(photo, net)
    given = {
        **{"photo": photo, "painting": painting, "sample": sample, "target": target},
        **{"model": model, "weights": weights, "image_size": image_size},
    }
    files = [photo, painting, sample, weights_used(model, weights)]
    shared = {"model": model, "weights": weights, "device": device, "seed": seed}
    with open_run(out, seed=seed, inputs=files, device=device, **given) as run:
        sections, cells, left_out = [], [("the photo", load_picture(photo))], {}
        for chapter in CHAPTERS:
            folder = out / chapter.name
            try:
                made = pictures_of(chapter, {**chapter.arguments(given), **shared}, folder)
            except MinicnnError as error:
                left_out[chapter.name] = str(error)
                sections.append(Section(chapter.heading, f"Left out: {error}."))
                continue
            cells.append((chapter.heading, load_picture(made[0])))
            parts = [Figure(path, alt=chapter.heading) for path in made]
            sections.append(Section(chapter.heading, chapter.text, parts, chapter.line(given, folder)))
        half = (len(cells) + 1) // 2
        run.save("gallery.png", labelled_grid([("", cells[:half]), ("", cells[half:])], height=HEIGHT))
        page = run.write_index(f"Made with {net.name}", sections, lead=LEAD)
        run.finish(left_out=left_out)
    for name, why in left_out.items():
        print(f"{name}: left out: {why}")
    print(f"{len(CHAPTERS) - len(left_out)} chapters are in {out}: open {page}")


def pictures_of(chapter: Chapter, arguments: dict[str, Any], folder: Path) -> list[Path]:
    """Runs a chapter's command; the paths of its pictures."""
    run: Callable[..., None] = import_module(f"{__package__}.{chapter.name}").command
    run(**arguments, out=folder)
    return [folder / name for name in chapter.pictures]
