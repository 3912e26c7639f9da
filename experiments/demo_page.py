"""The chapters of the demo's page: each makes pictures with the function of a technique, and says what they teach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from minicnn.boxes import INK, SMALL_SIZE, font, framed
from minicnn.cli.summary import rows
from minicnn.curves import training_curves
from minicnn.data import Dataset
from minicnn.figures import heatmap, labelled_grid, overlay, rescale, top_value
from minicnn.gradcheck import BOUND, Report
from minicnn.network import Network
from minicnn.parameter import to_host
from minicnn.pictures import to_picture
from minicnn.report import Figure, Section, Table
from minicnn.run import Run

from .activations import activations, draw_values, shades
from .common import probabilities, with_legend
from .filters import filters
from .fool import fool, magnification
from .guided import guided
from .occlusion import occlusion
from .saliency import saliency
from .visualize import visualize

HEIGHT = 84  # of a digit in a strip of ten
SHOWN, FOOLED = 4, 3  # the digits whose activations are drawn, and which is fooled
CONFIDENCE = 0.9  # with which it must take the fooled digit for the other
WEIGHTS = "--weights lenet5.safetensors"


@dataclass
class Lesson:
    """What all chapters draw from: the trained network, its data, and the folder."""

    run: Run
    net: Network
    train_set: Dataset
    test_set: Dataset
    history: Sequence[dict[str, float]]
    report: Report
    seed: int

    @cached_property
    def pictures(self) -> np.ndarray:
        """The test digits, float32 (N, 1, 28, 28) in [0, 1]."""
        return np.asarray(self.test_set.images[:], np.float32) / 255

    @cached_property
    def seen(self) -> np.ndarray:
        """The probabilities (N, 10) that the network gives the test digits."""
        parts = [self.pictures[i : i + 500] for i in range(0, len(self.pictures), 500)]
        return np.concatenate([probabilities(self.net, part) for part in parts])

    @cached_property
    def ten(self) -> list[np.ndarray]:
        """One test digit (1, 1, 28, 28) of each class: the first that is read rightly, if any is."""
        labels, right = self.test_set.labels, self.seen.argmax(axis=1) == self.test_set.labels
        chosen = [int(np.argmax((labels == k) * (1 + right))) for k in range(10)]
        return [self.pictures[i : i + 1] for i in chosen]

    def figure(self, name: str, picture: Image.Image, caption: str, alt: str) -> Figure:
        """A picture that is saved in the folder and shown on the page."""
        return Figure(self.run.save(name, picture), caption, alt)


def facts(lesson: Lesson) -> list[tuple[str, str]]:
    """The numbers at the head of the page."""
    return [
        ("test accuracy", f"{100 * lesson.history[-1]['test_accuracy']:.2f} %"),
        ("parameters", f"{lesson.net.num_parameters():,}"),
        ("digits to learn from", f"{len(lesson.train_set):,}"),
        ("largest gradient error", f"{lesson.report.worst:.0e}"),
    ]


def learning(lesson: Lesson) -> Section:
    """The curves."""
    epochs, net = len(lesson.history), lesson.net
    curves = lesson.figure(
        "curves.png",
        training_curves(lesson.history),
        "Loss and accuracy after each time through the training digits.",
        "Training curves: the loss falls, the accuracy rises",
    )
    text = f"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, here with ReLU and max pooling) saw each of
    {len(lesson.train_set):,} digits {epochs} times, each time a little turned, moved and sheared. After every few
    dozen digits all its {net.num_parameters():,} numbers took a small step against the gradient of the loss.

    The test digits were never learned from: their curve alone says how well the network reads what it has not seen."""
    return Section("How it learned", text, [curves], "minicnn train lenet5-mnist --out run")


def gradients(lesson: Lesson) -> Section:
    """The layers, and the errors of their gradients."""
    errors: dict[tuple[str, str], float] = {}
    for check in lesson.report.checks:
        key = check.layer, check.tensor.rpartition(".")[2]
        errors[key] = max(check.error, errors.get(key, 0.0))
    net = lesson.net
    layers = [(row.layer.path, *row.cells()[:2], row.parameters) for row in rows(net, net.input_shape)]
    layers.append(("whole", "all of them, one after another", "10", net.num_parameters()))
    cells = []
    for layer in layers:
        shown = [errors.get((layer[0], tensor)) for tensor in ("x", "weight", "bias")]
        cells.append((*layer, *("" if error is None else f"{error:.0e}" for error in shown)))
    text = f"""Every backward pass is written by hand, so every one is checked. Move the input or the weights of a
    layer a tiny step along a random direction: the backward pass must predict how the output changes. The last three
    columns are the relative errors of that prediction, in double precision. Each must be below {BOUND:.0e}; a
    gradient that is wrong by only 0.1 % would show up with 5e-04."""
    columns = ("layer", "kind", "output", "parameters", "input", "weights", "biases")
    caption = "The layers of the network, and how far each gradient is from what differences say."
    return Section("Its gradients are right", text, [Table(columns, cells, caption)], "minicnn gradcheck lenet5")


def mistakes(lesson: Lesson) -> Section:
    """The confusion matrix, and the digits whose right class got the least probability."""
    labels, guesses = lesson.test_set.labels, lesson.seen.argmax(axis=1)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, guesses), 1)
    wrong = int((labels != guesses).sum())
    right = lesson.seen[np.arange(len(labels)), labels]
    hardest = np.argsort(right, kind="stable")[:10]
    items = [
        (f"{labels[i]} as {guesses[i]}: {100 * lesson.seen[i].max():.0f} %", to_picture(lesson.pictures[i]))
        for i in hardest
    ]
    were = "was" if wrong == 1 else "were"
    strip = labelled_grid([("", items[:5]), ("", items[5:])], height=100)
    text = f"""{wrong} of {len(labels):,} test digits {were} misread. The numbers off the diagonal show which digits
    look alike to the network. Beside them are the ten digits that it found hardest: would you have read them all?"""
    parts = [
        lesson.figure("confusion.png", confusion(counts), "Rows: the digit. Columns: its reading.", "Confusion matrix"),
        lesson.figure("hardest.png", strip, "The hardest: what each was read as, and how surely.", "Ten odd digits"),
    ]
    data = lesson.test_set.name
    return Section("What it misreads", text, parts, f"minicnn evaluate lenet5 {WEIGHTS} --data {data}")


def confusion(counts: np.ndarray) -> Image.Image:
    """A table of counts (K, K), rows the true class, columns the guess; right ones blue, wrong ones red."""
    side, letters = 34, font(SMALL_SIZE)
    K = len(counts)
    whole = Image.new("RGB", (side * (K + 1), side * (K + 1)), "white")
    pen = ImageDraw.Draw(whole)
    most_right, most_wrong = max(1, counts.diagonal().max()), max(1, (counts - np.diag(counts.diagonal())).max())
    for i in range(K):
        for text, x, y in ((str(i), 0, i + 1), (str(i), i + 1, 0)):
            pen.text(((x + 0.5) * side, (y + 0.5) * side), text, font=letters, fill=INK, anchor="mm")
        for j in range(K):
            share = counts[i, j] / (most_right if i == j else most_wrong)
            full = np.array((33, 102, 172) if i == j else (214, 96, 77))
            colour = tuple(int(c) for c in np.rint(244 + (full - 244) * share * 0.9))
            corner = (side * (j + 1) + 1, side * (i + 1) + 1)
            pen.rectangle((*corner, corner[0] + side - 3, corner[1] + side - 3), fill=colour)
            if counts[i, j]:
                centre = (corner[0] + side / 2 - 1, corner[1] + side / 2 - 1)
                ink = "white" if share > 0.5 else INK
                pen.text(centre, str(counts[i, j]), font=font(11), fill=ink, anchor="mm")
    return framed(whole, 8)


def first_filters(lesson: Lesson) -> Section:
    """The filters of the first convolution, and what each answers to one digit."""
    tiles = [to_picture(tile) for tile in rescale(filters(lesson.net).weights)]
    maps = [to_picture(m) for m in shades(activations(lesson.net, lesson.ten[SHOWN], "relu1"))]
    lines = [
        ("filter", [("", tile) for tile in tiles]),
        (f"its answer to a {SHOWN}", [(str(i), answer) for i, answer in enumerate(maps)]),
    ]
    picture = labelled_grid(lines, height=112)
    text = """The first layer lays six windows of 5×5 weights over every place of the picture. Among all patches of
    one length, the one that a filter answers to most is the filter itself (argmax wᵀx for ‖x‖ = 1 is w/‖w‖), so its
    weights, drawn as a picture, show what it looks for: strokes and edges of one direction. Below each is the map of
    where it found them. The filters of deeper layers look at maps, not at ink, and say less to the eye: try --layer
    conv2."""
    caption = "The filters of conv1, from the least weight (black) to the greatest (white), and their maps in relu1."
    part = lesson.figure("filters.png", picture, caption, "Six grey filters and six maps of a digit")
    command = f"minicnn look filters lenet5 {WEIGHTS} --out filters"
    return Section("What the first layer looks for", text, [part], command)


def deeper_maps(lesson: Lesson) -> Section:
    """The deeper layers' answers to the same digit."""
    parts = []
    for layer, caption in (
        ("relu2", "relu2: sixteen maps of 10×10, made of the six maps above after they were halved."),
        ("fc5", "fc5: the ten scores. The largest wins."),
    ):
        names = lesson.net.class_names if layer == lesson.net.score_layer else ()
        picture = draw_values(activations(lesson.net, lesson.ten[SHOWN], layer), names)
        parts.append(lesson.figure(f"activations-{layer}.png", picture, caption, f"Activations of {layer}"))
    text = f"""The same {SHOWN} on its way through the network. The maps of the second convolution are coarser and
    choosier: each joins what several first maps have found. Pooling halves them once more, three layers mix what is
    left, and the last has no places at all: it says how much of each digit is there."""
    command = f"minicnn look activations digits/{SHOWN}.png {WEIGHTS} --layer relu2 --out activations"
    return Section("A digit on its way through", text, parts, command)


def strips(lesson: Lesson, name: str, maps: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """The ten digits, and beneath each its map with a caption."""
    digits = [("", to_picture(x)) for x in lesson.ten]
    return labelled_grid([("digit", digits), (name, maps)], height=HEIGHT)


def saliency_maps(lesson: Lesson) -> Section:
    """The saliency of ten digits."""
    for k, x in enumerate(lesson.ten):
        lesson.run.save(f"digits/{k}.png", to_picture(x))
    maps = [saliency(lesson.net, x).map for x in lesson.ten]
    top = max(top_value(m) for m in maps)
    picture = strips(lesson, "saliency", [("", heatmap(m, top=top)) for m in maps])
    picture = with_legend(picture, (top, "change of the score for a change of the pixel", False))
    text = """The gradient of a class score with respect to the picture says how much each pixel matters: one backward
    pass, with a 1 put in at the score of the class and read out at the picture (Simonyan, Vedaldi and Zisserman
    2013). Bright pixels would change the score most. Many lie beside the strokes: ink there would make it another
    digit."""
    part = lesson.figure("saliency.png", picture, "Saliency of ten test digits.", "Ten digits and their saliency maps")
    command = f"minicnn explain saliency digits/3.png {WEIGHTS} --out saliency"
    return Section("Which pixels matter", text, [part], command)


def guided_maps(lesson: Lesson) -> Section:
    """Guided backpropagation of ten digits."""
    maps = [guided(lesson.net, x).map for x in lesson.ten]
    tops = [top_value(m) for m in maps]
    coloured = [("", heatmap(m, signed=True, top=top)) for m, top in zip(maps, tops, strict=True)]
    text = """The same backward pass, but each ReLU lets only positive gradients through (Springenberg et al. 2014):
    1[f > 0] · 1[R > 0] · R in place of 1[f > 0] · R. What speaks against the class is dropped at every layer, and
    what is left are the strokes that speak for it. It looks tidier than the gradient, and is no gradient any more."""
    caption = "Guided backpropagation of ten test digits, each on its own scale: red for, blue against, white 0."
    part = lesson.figure("guided.png", strips(lesson, "guided", coloured), caption, "Ten digits and their guided maps")
    command = f"minicnn explain guided digits/3.png {WEIGHTS} --out guided"
    return Section("What speaks for a digit", text, [part], command)


def occlusion_maps(lesson: Lesson) -> Section:
    """The occlusion of ten digits."""
    results = [occlusion(lesson.net, x) for x in lesson.ten]
    top = max(top_value(r.map) for r in results)
    maps = [
        (f"to {100 * r.answers.min():.0f} %", overlay(to_picture(x), r.map, signed=True, top=top))
        for x, r in zip(lesson.ten, results, strict=True)
    ]
    picture = strips(lesson, "hidden", maps)
    picture = with_legend(picture, (top, "red: the probability falls when this is hidden; blue: it rises", True))
    side, places = results[0].window, results[0].drop.size
    text = f"""No gradients at all: hide a patch of {side}×{side} pixels, ask the network again, and do so at {places}
    places (Zeiler and Fergus 2014). Where the probability of the digit falls, the network needed what was hidden. A
    digit that stays pale has no single stroke that it cannot do without."""
    caption = "Under each digit: how low its probability falls with the patch at the worst place."
    part = lesson.figure("occlusion.png", picture, caption, "Ten digits with the places that the network needs")
    command = f"minicnn explain occlusion digits/3.png {WEIGHTS} --out occlusion"
    return Section("What it cannot do without", text, [part], command)


def class_models(lesson: Lesson) -> Section:
    """The picture that each class likes best, beside the mean digit of the class."""
    models = [visualize(lesson.net, k, seed=lesson.seed) for k in range(10)]
    images, labels = lesson.train_set.images[:], lesson.train_set.labels
    means = [images[labels == k].mean(axis=0).astype(np.float32) / 255 for k in range(10)]
    read = [probabilities(lesson.net, model)[0] for model in models]
    made = [(f"{k}: {100 * read[k][k]:.0f} %", to_picture(model)) for k, model in enumerate(models)]
    lines = [("made for", made), ("mean digit", [("", to_picture(mean)) for mean in means])]
    text = """Now the network draws. Start from an empty picture, and change its pixels, not the weights, so that one
    class becomes ever more likely: gradient ascent on the input (Simonyan, Vedaldi and Zisserman 2013). These are no
    digits that it was shown, as the mean digits below are, but what it would most like to see."""
    caption = "A picture made for each class, and how sure the network then is. Below, the mean of the training digits."
    part = lesson.figure("visualize.png", labelled_grid(lines, height=HEIGHT), caption, "Class models of ten digits")
    return Section("What it would like to see", text, [part], f"minicnn make visualize 3 {WEIGHTS} --out visualize")


def fooled_digit(lesson: Lesson) -> Section:
    """One digit, changed a little until it is seen as each of the other nine."""
    x = lesson.ten[FOOLED]
    seen = int(probabilities(lesson.net, x)[0].argmax())
    results = {k: fool(lesson.net, x, k, confidence=CONFIDENCE) for k in range(10) if k != seen}
    factor = magnification(np.stack([result.change for result in results.values()]))
    top = 0.5 / factor  # white and black of the figure that `make fool` draws
    digits, changes = [("as it was", to_picture(x))], [("", heatmap(np.zeros(x.shape[2:]), signed=True))]
    for k, result in results.items():
        after = f"{k}: {100 * result.after:.0f} %" if result.fooled else "not fooled"
        digits.append((after, to_picture(to_host(result.image))))
        change = heatmap(result.change[0], signed=True, top=top)
        changes.append((f"length {result.l2:.2f}", change))
    picture = labelled_grid([("seen as", digits), (f"difference ×{factor}", changes)], height=HEIGHT)
    picture = with_legend(picture, (top, "change of the pixel, which goes from 0 to 1", True))
    text = f"""The same ascent, but from a real {FOOLED}, and only until the network sees something else (Szegedy et al.
    2014). To us every one of these is still a {FOOLED}. The network reads nine other digits: it has learned what tells
    digits apart, not what a digit is."""
    caption = (
        f"A {FOOLED} made into all other digits, and what was added, magnified. Length: the L2 norm, pixels in [0, 1]."
    )
    part = lesson.figure("fool.png", picture, caption, "Ten nearly equal digits and their differences")
    command = f"minicnn make fool digits/{FOOLED}.png --target 8 {WEIGHTS} --out fool"
    return Section("How it is fooled", text, [part], command)


CHAPTERS: tuple[Callable[[Lesson], Section], ...] = (
    learning,
    gradients,
    mistakes,
    first_filters,
    deeper_maps,
    saliency_maps,
    guided_maps,
    occlusion_maps,
    class_models,
    fooled_digit,
)
