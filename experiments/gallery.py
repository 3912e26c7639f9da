"""Everything that looking in gives for one photo and one network, on one page.

The chapters are in gallery_page.py, the techniques in the other files of this folder, and each can be run alone. What a
network cannot do (no convolution, no ReLU, no data set given) is left out of the page with a line that says why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minicnn import kernels
from minicnn.cli.options import Device, Model, Out, Photo, Seed, Target, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError
from minicnn.pictures import load_picture
from minicnn.report import Section

from .attribution import find_target
from .collection import pictures_of
from .common import describe, load_network, open_run, read_photo, weights_used
from .gallery_page import CHAPTERS, FIRST_EXPLAINED, OF_DATA, Visit

COMPARED = 30  # steps of the bar for running all methods, which takes the most time; the first chapter of them does


def gallery(
    photo: Path,
    out: Path,
    *,
    model: str = "lenet5",
    weights: Path | None = None,
    target: str | None = None,
    data: str | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Path:
    """Write the pictures of all techniques and index.html into the folder `out`; returns the page's path.

    target: the class that is explained (default: the one predicted); data: a folder of pictures, or the name of a data
    set, for the chapters on patches, neighbours and embedding. Raises MinicnnError for a photo, network, class or
    folder that there is not.

    Example: `gallery(Path("cat.jpg"), Path("gallery"), model="squeezenet1_0")`
    """
    net = load_network(model, weights, device)
    x = read_photo(photo, net)
    goal = find_target(net, x, target)
    dataset = pictures_of(data, shape=net.input_shape, resize=net.resize) if data is not None else None
    given = {"model": model, "weights": weights, "target": target, "data": data}
    files = [photo, weights_used(model, weights)]
    chapters = CHAPTERS | (OF_DATA if dataset is not None else {})
    with (
        open_run(out, seed=seed, inputs=files, device=device, **given) as run,
        kernels.frozen_weights(),
        Progress("gallery", len(chapters) + COMPARED) as bar,
    ):
        if dataset is not None:
            run.identify(pictures=dataset.fingerprint())
        visit = Visit(run, net, photo, load_picture(photo), x, goal, dataset, given, seed)
        sections, left_out, done = [], {}, 0
        for heading, chapter in chapters.items():
            following(visit, bar, done, heading)
            try:
                sections.append(chapter(visit, heading))
            except MinicnnError as error:
                left_out[heading] = str(error)
                sections.append(Section(heading, f"Left out: {error}."))
            done += 1 + COMPARED * (heading == FIRST_EXPLAINED)
        if dataset is None:
            again = visit.command("look gallery", "--data FOLDER")
            sections.append(Section("Beside other pictures", WITHOUT_DATA, command=again))
        title = f"Inside {net.name}"
        page = run.write_index(title, sections, lead=LEAD, facts=visit.facts())
        run.finish(target=goal.name, seen_as=describe(net, x), left_out=left_out)
    for heading, why in left_out.items():
        print(f"{heading}: left out: {why}")
    print(f"{len(chapters) - len(left_out)} chapters are in {out}: open {page}")
    return page


def following(visit: Visit, bar: Progress, done: int, heading: str) -> None:
    """The bar is at this chapter, and hears how far it is."""
    bar.update(done, heading)
    visit.explaining = lambda some, all: bar.update(done + round(COMPARED * some / all), heading)
    visit.looking = lambda some, all: bar.update(done, f"{heading}: {some:,} of {all:,} pictures")


LEAD = """One photo on its way through one network: what its filters look for, what its layers answer, and which pixels
decide. Every picture is computed by forward and backward passes that are written by hand. The line under each chapter
makes its pictures alone."""
WITHOUT_DATA = """Three more chapters compare the photo with a data set: the patches that excite the units of a layer
most, the pictures that are nearest to this one, and all of them on a plane. Give a folder of pictures, or the name of a
data set, to see them."""


def command(
    photo: Photo,
    model: Model = "lenet5",
    out: Out = Path("gallery"),
    target: Target = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="A folder of pictures, or mnist, cifar10, digits: three more chapters."),
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Everything that looking in gives for a photo and a network, on one page."""
    gallery(photo, out, model=model, weights=weights, target=target, data=data, device=device, seed=seed)
