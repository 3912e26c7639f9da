"""The chapters of the gallery: each makes pictures with the functions of a technique, and says what is seen."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minicnn.boxes import beside, framed
from minicnn.cli.progress import counted
from minicnn.data import Dataset
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_grid, labelled_row, probability_bars, top_value
from minicnn.kernels.backend import Array
from minicnn.layers import Aside, Conv2d, Rectifier, Sigmoid, Tanh
from minicnn.layers.containers import Container
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture
from minicnn.receptive import activation_shape
from minicnn.report import Figure, Section, Table
from minicnn.run import Run

from .activations import activations, draw_values, shape_text
from .attribution import Progress, Target
from .collection import chosen, features_of
from .common import describe
from .compare import Comparison, compare
from .compare_page import CURVES, FIGURES, MAPS
from .embedding import draw_grid, draw_scatter, embedding, on_a_grid
from .filters import caption, filters
from .filters import draw as draw_filters
from .handmade import KERNELS, brightness, handmade, kernel_picture
from .neighbours import draw as draw_neighbours
from .neighbours import neighbours
from .patches import draw as draw_patches
from .patches import patches
from .segment import SEEN, cut_out, framed_at, frames, photo_with_box, seen_part, segment

LAYERS = 3  # with places, whose activations are drawn
UNITS, POINTS = 6, 1000  # of a layer whose patches are drawn; pictures on the plane
MOST_MAPS = 32  # drawn of a layer
NEAR = 8  # neighbours
HEIGHT = 240  # of a picture, at least


@dataclass
class Visit:
    """What all chapters draw from: the network, the photo as a file, a picture and the input x (1, C, H, W), what is
    explained, the data set if there is one, and what was given on the command line. `explaining` and `looking` hear
    how far the comparison of the methods is, and a pass over the data set."""

    run: Run
    net: Network
    photo: Path
    picture: Image.Image
    x: Array
    target: Target
    dataset: Dataset | None
    given: Mapping[str, Any]
    seed: int
    explaining: Progress = lambda done, total: None
    looking: Progress = lambda done, total: None

    @cached_property
    def comparison(self) -> Comparison:
        """All methods that explain, each run once."""
        return compare(self.net, self.x, self.target, seed=self.seed, progress=self.explaining)

    @property
    def input(self) -> Image.Image:
        """What the network gets, as a picture."""
        return to_picture(to_host(self.x))

    def figure(self, name: str, picture: Image.Image, text: str = "", alt: str = "") -> Figure:
        """A picture that is saved in the folder and shown on the page."""
        return Figure(self.run.save(name, picture), text, alt or text)

    def command(self, words: str, *more: str, photo: bool = True, target: bool = False) -> str:
        """The command line of a technique, for this photo and network."""
        given = [("model", self.given["model"]), ("weights", self.given["weights"])]
        given += [("target", self.given["target"])] if target else []
        options = [f"--{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
        about = [shlex.quote(str(self.photo))] if photo else []
        out = [f"--out {name}" for name in words.split()[1:2]]  # of a technique, which makes a folder
        return " ".join(["minicnn", words, *about, *options, *more, *out])

    def facts(self) -> list[tuple[str, str]]:
        """The numbers at the head of the page."""
        return [
            ("seen as", describe(self.net, self.x)),
            ("parameters", f"{self.net.num_parameters():,}"),
            ("input", "×".join(map(str, self.net.input_shape))),
        ]


# The photo, and kernels -----------------------------------------------------------------------------------------------


def the_photo(visit: Visit, heading: str) -> Section:
    """The photo, what is cut out of it, and the five likeliest classes."""
    seen = seen_part(visit.picture.size, visit.net.input_shape, visit.net.resize)
    row = [("{}×{} pixels, what the network gets".format(*visit.input.size), visit.input)]
    if visit.picture.size != visit.input.size:
        row.insert(0, ("the photo; in the frame what is cut out", framed_at(visit.picture, seen, colours=(SEEN,))))
    bars = probability_bars([(p.name, p.probability) for p in visit.net.predict(visit.x, top=5)[0]])
    picture = beside([labelled_row(row, height=max(HEIGHT, visit.input.height)), bars])
    text = """The photo is scaled until its short side fits, and its middle is cut out: the network sees no more than
    that. At its end stands one number for each class that it knows, its score; softmax turns the scores into
    probabilities that add up to 1. All that follows asks where these numbers come from."""
    part = visit.figure("photo.png", picture, alt=f"The photo, seen as {describe(visit.net, visit.x)}")
    return Section(heading, text, [part], visit.command("classify"))


def by_hand(visit: Visit, heading: str) -> Section:
    """The picture under three kernels that everybody knows."""
    pixels, cells, tables = to_host(visit.x)[0], [("the picture", visit.input)], []
    for name, kernel in KERNELS.items():
        found = handmade(pixels, kernel, padding=1)
        shown, _ = brightness(found.correlation, kernel, top_value(found.correlation, 98))
        cells.append((name, to_picture(shown)))
        tables.append(("", kernel_picture(kernel)))
    rows = [("", cells), ("", [("", Image.new("RGB", (1, 1), "white")), *tables])]
    text = """A convolution lays a small window of weights over every place of the picture, multiplies and adds up.
    These three sets of weights were made by hand. Equal weights blur; a large one in the middle of negative ones makes
    each pixel stand out from its neighbours; weights that sum to 0 answer to changes alone, so that flat parts become
    grey and edges remain. A network learns its weights, hundreds of such windows a layer."""
    part = visit.figure(
        "handmade.png", labelled_grid(rows, height=max(HEIGHT, visit.input.height)), alt="Three kernels"
    )
    command = f"minicnn look handmade {shlex.quote(str(visit.photo))} --kernel edges --out handmade"
    return Section(heading, text, [part], command)


def learned_filters(visit: Visit, heading: str) -> Section:
    """The filters of the first convolution, and of one in the middle of those that see neighbours."""
    first = filters(visit.net)
    parts = [visit.figure("filters-first.png", framed(draw_filters(first)), f"{caption(first)}.")]
    deep = [name for name, layer in visit.net.layers() if isinstance(layer, Conv2d) and max(layer.weight.shape[2:]) > 1]
    command = visit.command("look filters", photo=False).replace(" --model", "")
    text = """The filters that the network has learned. Among all patches of one length the one that a filter answers
    to most is the filter itself (argmax wᵀx for ‖x‖ = 1 is w/‖w‖), so the first layer's, drawn as pictures, show what
    it looks for: edges, gratings, spots of a colour (Krizhevsky, Sutskever and Hinton 2012, figure 3)."""
    if len(deep) > 1:
        deeper = filters(visit.net, deep[len(deep) // 2])
        parts.append(visit.figure("filters-deeper.png", framed(draw_filters(deeper)), f"{caption(deeper)}."))
        text += """ A deeper filter looks at maps and not at colours: a row of grey planes, one for each map, says
        little to the eye. What such a unit looks for is better seen by what excites it."""
    return Section(heading, text, parts, command)


def answers(visit: Visit, heading: str) -> Section:
    """The activations of some layers, from the first to the scores."""
    parts = []
    for layer in dict.fromkeys([*telling_layers(visit.net), visit.net.score_layer]):
        found = activations(visit.net, visit.x, layer)
        names = visit.net.class_names if layer == visit.net.score_layer else ()
        how = shape_text(found.values)
        if found.values.ndim == 3 and len(found.values) > MOST_MAPS:
            found = found._replace(values=found.values[:MOST_MAPS])
            how += f", of which the first {MOST_MAPS} are shown"
        name = f"activations-{layer.replace('.', '-')}.png"
        parts.append(visit.figure(name, draw_values(found, names), f"{layer}: {how}."))
    text = """Each filter makes a map: how strongly it answers at each place (Yosinski et al. 2015). The first maps
    still look like the photo. With every pooling they become coarser, and with every layer choosier: in the last
    most are dark, and the few that are bright have found something that matters for a class. In each map black is 0
    and white its own greatest value; where values can be negative grey is 0. The bars are the scores of the classes."""
    command = visit.command("look activations", f"--layer {telling_layers(visit.net)[-1]}")
    return Section(heading, text, parts, command)


def telling_layers(net: Network) -> list[str]:
    """Up to LAYERS layers that make maps, from the first to the last before the features; else that of the features."""
    found, last = [], net.feature_layer.split(".")[0]
    for (name, child), (_, shape) in zip(net.children().items(), net.inputs(net.input_shape), strict=True):
        if name == last:
            break
        y = child.output_shape(shape)
        answering = isinstance(child, Rectifier | Tanh | Sigmoid | Container) and not isinstance(child, Aside)
        if answering and len(y) == 3 and max(y[1:]) > 1:
            found.append(name)
    if not found:
        return [net.feature_layer]
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, LAYERS).round().astype(int))]


# Which pixels matter --------------------------------------------------------------------------------------------------


def explained(visit: Visit, heading: str, text: str, methods: Sequence[str], command: str) -> Section:
    """A chapter on methods, by their functions. Raises MinicnnError where the network can do none of them."""
    parts: list[Figure] = []
    for one in visit.comparison.judged:
        if one.function in methods:
            a = one.attribution
            name = "-".join(a.method.lower().replace("×", "x").replace("(", "").replace(")", "").split())
            parts.append(visit.figure(f"{name}.png", a.figure(), alt=f"{a.method} for {a.target.name}"))
    reasons = {visit.comparison.left_out[name] for name in methods if name in visit.comparison.left_out}
    if not parts:
        raise MinicnnError("; ".join(sorted(reasons)))
    for reason in sorted(reasons):
        text += f"\n\nLeft out: {reason}."
    return Section(heading, text, parts, visit.command(f"explain {command}", target=True))


def gradient(visit: Visit, heading: str) -> Section:
    text = f"""How much would each pixel change the score of {visit.target.name}? One backward pass says so: a 1 is put
    in at the score, and the gradient is read out at the picture (Simonyan, Vedaldi and Zisserman 2013, section 3). It
    jumps from pixel to pixel. The mean over noisy copies of the picture does so less, and shows larger shapes
    (SmoothGrad: Smilkov et al. 2017)."""
    return explained(visit, heading, text, ("saliency", "smoothgrad"), "saliency")


def adding_up(visit: Visit, heading: str) -> Section:
    text = """The gradient is about small changes at this picture. What made the score what it is? Start from black,
    which shows nothing, go straight to the picture and add up the gradient on the way: then the values of all pixels
    add up to the change of the score (Sundararajan, Taly and Yan 2017). DeepLIFT gets to such a sum with one pass back,
    by differences of the two pictures in place of derivatives (Shrikumar, Greenside and Kundaje 2017). The gradient
    times the picture, which is cheaper still, promises nothing of the kind."""
    methods = "gradient_times_input", "integrated_gradients", "deeplift"
    return explained(visit, heading, text, methods, "integrated-gradients")


def other_rules(visit: Visit, heading: str) -> Section:
    text = """The same backward pass with another rule at the ReLUs. The deconvnet lets what is positive on the way back
    pass, 1[R > 0]·R (Zeiler and Fergus 2014); guided backpropagation wants the ReLU to have been on as well,
    1[f > 0]·1[R > 0]·R (Springenberg et al. 2014). What speaks against the class is dropped at every layer, so that
    clean strokes are left. They are patterns that the network answers to, and no gradient any more: much of them
    would be there for another class too. The deconvnet takes nothing of the picture along but the places that its max
    pools chose: where there are few, little of the picture is left in it."""
    return explained(visit, heading, text, ("guided", "deconvnet"), "guided")


def where(visit: Visit, heading: str) -> Section:
    text = """The last layer with places knows what is there, if not exactly where. Grad-CAM weighs each of its maps by
    how much it speaks for the class, adds them up and keeps what is positive (Selvaraju et al. 2017). Multiplied by
    guided backpropagation, which is fine but tells classes apart badly, it gives both."""
    return explained(visit, heading, text, ("gradcam", "guided_gradcam"), "gradcam")


def hiding(visit: Visit, heading: str) -> Section:
    text = """No gradients at all: lay a patch of the mean colour over the picture, ask the network again, and do so at
    many places (Zeiler and Fergus 2014, section 4.2). Red is where the probability falls: the network needed what was
    hidden there. Blue is where it rises: what was hidden spoke for something else."""
    return explained(visit, heading, text, ("occlusion",), "occlusion")


def measured(visit: Visit, heading: str) -> Section:
    found = visit.comparison
    figure = found.figure(f"seen as {describe(visit.net, visit.x)}")
    parts: list[Figure | Table] = [
        visit.figure("compare.png", figure, "All maps, each on its own scale.", "All maps with their figures"),
        visit.figure("curves.png", found.curves(), alt="Curves of deletion and insertion"),
        found.table(),
    ]
    text = "\n\n".join([MAPS, CURVES, FIGURES])
    return Section(heading, text, parts, visit.command("explain compare", target=True))


def object_cut_out(visit: Visit, heading: str) -> Section:
    found = segment(visit.net, visit.x, visit.target, seed=visit.seed)
    at = found.placed(visit.picture, visit.net)
    figure = found.figure(frames(visit.picture, at), photo_with_box(visit.picture, at))
    whole = cut_out(visit.picture, at.mask, at.box)
    whole.thumbnail((640, 640))
    parts = [
        visit.figure("segment.png", figure, alt="The saliency, its seeds, the mask, and the object"),
        visit.figure("cutout.png", whole, "The object in its box, out of the photo."),
    ]
    text = f"""The network was never told where anything is, but its saliency knows. The colours of the most salient 5 %
    of the pixels make a model of the object, those of the least salient 30 % one of the background, and a minimum cut
    decides for every pixel (Simonyan et al. 2013, section 3.2; GrabCut: Rother et al. 2004). Colours are all that it
    has to go by: where {visit.target.name} and its background share them, it fails."""
    return Section(heading, text, parts, visit.command("explain segment", target=True))


# Beside other pictures ------------------------------------------------------------------------------------------------


def data_of(visit: Visit) -> Dataset:
    """The data set, in the chapters that have one."""
    assert visit.dataset is not None
    return visit.dataset


def data_name(visit: Visit) -> str:
    """How a command line names it."""
    return shlex.quote(str(visit.given["data"]))


def exciting_patches(visit: Visit, heading: str) -> Section:
    dataset, layer = data_of(visit), telling_layers(visit.net)[-1]
    best = patches(visit.net, dataset, layer, after_batch=lambda scan: visit.looking(scan.done, len(dataset)))
    strongest = activations(visit.net, visit.x, layer).values.reshape(activation_shape(visit.net, layer)[0], -1)
    units = np.argsort(-strongest.max(axis=1), kind="stable")[:UNITS].tolist()
    text = f"""What does a unit of a deep layer look for? Show the network {counted(len(dataset), "picture")}, and keep
    those patches that excite it most (Zeiler and Fergus 2014). Each is exactly what the unit can see, its receptive
    field; beneath it guided backpropagation shows what in the patch it answers to. These are the {len(units)} units of
    {layer} that this photo excites most, strongest first."""
    part = visit.figure("patches.png", draw_patches(visit.net, dataset, layer, units, best[layer]), alt="Patches")
    units_option = "--units " + ",".join(map(str, units))
    command = visit.command(f"look patches {data_name(visit)}", f"--layer {layer}", units_option, photo=False)
    return Section(heading, text, [part], command)


def nearest_pictures(visit: Visit, heading: str) -> Section:
    dataset = data_of(visit)
    found = neighbours(visit.net, visit.x, dataset, min(NEAR, len(dataset)), progress=visit.looking)
    rows = {"pixels": found.pixels, found.layer: found.features}
    text = """Which pictures are like this one? By their pixels, those with the same colours in the same places,
    whatever they show. By the activations of the last hidden layer, those that show the same, whatever its colours
    and places: that is what the layers are for (Krizhevsky, Sutskever and Hinton 2012, section 6.1)."""
    part = visit.figure("neighbours.png", draw_neighbours(to_host(visit.x)[0], dataset, rows), alt="Neighbours")
    return Section(heading, text, [part], visit.command("look neighbours", f"--data {data_name(visit)}"))


def on_a_plane(visit: Visit, heading: str) -> Section:
    dataset = chosen(data_of(visit), POINTS, visit.seed)
    layer = visit.net.feature_layer
    vectors = features_of(visit.net, dataset, layer, progress=visit.looking)
    found = embedding(vectors, layer, seed=visit.seed)
    parts = [
        visit.figure("embedding.png", draw_scatter(found, dataset), "Each point a picture, each colour a class."),
        visit.figure("embedding-grid.png", draw_grid(on_a_grid(found.tsne), dataset), "The pictures at their places."),
    ]
    text = f"""Each picture is a point in the space of the last hidden layer, {layer}. PCA looks at that space from
    where it is widest; t-SNE lays the points out on a plane so that neighbours stay neighbours (van der Maaten and
    Hinton 2008). Neither is told what is in the pictures, and yet those of one kind lie together: the layer has put
    them there. Distances between far groups mean little."""
    command = visit.command("look embedding", f"--data {data_name(visit)}", photo=False)
    return Section(heading, text, parts, command)


Chapter = Callable[[Visit, str], Section]
CHAPTERS: dict[str, Chapter] = {
    "What the network sees": the_photo,
    "Filters made by hand": by_hand,
    "Filters that it learned": learned_filters,
    "What its layers answer": answers,
    "Which pixels would change the score": gradient,
    "Which pixels made the score": adding_up,
    "The patterns that speak for it": other_rules,
    "Where it looks": where,
    "What it cannot do without": hiding,
    "All methods, measured": measured,
    "The object, cut out": object_cut_out,
}
FIRST_EXPLAINED = "Which pixels would change the score"
OF_DATA: dict[str, Chapter] = {
    "What excites its units": exciting_patches,
    "The nearest pictures": nearest_pictures,
    "All pictures on a plane": on_a_plane,
}
