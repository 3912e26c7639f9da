"""From kernels made by hand to learned ones (technique 1), and what a convolution is beside a Linear layer.

One linear classifier sees three things, and learns by the same recipe each time:

    raw       the pixels
    fixed     the pixels under eight kernels made by hand, W, then ReLU and max pooling
    learned   the same, but W is learned along with the classifier

A convolution is itself a Linear layer, y = M·x, whose matrix is sparse (a unit sees one window) and shared (all windows
have the same weights). For the weight w[f, c, u, v] at the window (i, j), with stride S and padding P:

    M[(f, i, j), (c, i·S + u − P, j·S + v − P)] = w[f, c, u, v], and 0 elsewhere
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn import SoftmaxCrossEntropy
from minicnn.boxes import framed, stack, text_box
from minicnn.cli.options import Out, Seed
from minicnn.cli.progress import Progress, ShowTraining, counted, loading
from minicnn.curves import COLOURS, diagrams
from minicnn.data import NAMES, Batches, Dataset, available, load
from minicnn.errors import MinicnnError
from minicnn.figures import heatmap, labelled_row, rescale, tiles
from minicnn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, Normalize, ReLU, Shape
from minicnn.network import Network
from minicnn.optimizers import Adam
from minicnn.parameter import to_host
from minicnn.schedules import one_cycle
from minicnn.training import evaluate, train

from .common import open_run
from .handmade import KERNELS

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
FIXED = {  # behind the ReLU a kernel and its negative see different things
    **KERNELS,
    "edges, negative": -KERNELS["edges"],
    "brighter to the right": SOBEL,
    "brighter to the left": -SOBEL,
    "brighter below": SOBEL.T,
    "brighter above": -SOBEL.T,
}
STAGES = ("raw", "fixed", "learned")
STEPS = 1800  # of the recipe, about: three epochs of MNIST
BATCH_SIZE = 100
FOLDER_SHAPE = (3, 32, 32)  # to which a folder's pictures are cut
SMALL = (1, 6, 6)  # the picture whose convolution is drawn as a matrix


class Stage(NamedTuple):
    """One of the three: the trained network, its accuracy on the test set, and how many numbers were learned."""

    net: Network
    accuracy: float
    learned: int


def learned(
    train_set: Dataset, test_set: Dataset, *, epochs: int | None = None, seed: int = 0, callbacks: Any = ()
) -> dict[str, Stage]:
    """Train the three classifiers on a data set, by Adam with one learning rate and the same batches: {name: Stage}.

    `epochs`: by default as many as make about STEPS steps. `callbacks(net, stage, epochs)` gives those of a training.

    Example: `learned(load("digits", "train"), load("digits", "test"))["fixed"].accuracy`
    """
    batch_size = min(BATCH_SIZE, max(1, len(train_set) // 20))
    epochs = max(1, round(STEPS * batch_size / len(train_set))) if epochs is None else epochs
    if epochs < 1:
        raise MinicnnError(f"epochs {epochs}: expected 1 or more")
    batches = Batches(train_set, batch_size, seed=seed)
    found = {}
    for stage in STAGES:
        net = classifier(stage, train_set)
        net.initialize(seed)
        if stage == "fixed":
            set_kernels(net)
        learning = net.layer("fc").parameters() if stage == "fixed" else net.parameters()
        watching = callbacks(stage, epochs) if callbacks else ()
        train(
            net,
            SoftmaxCrossEntropy(),
            Adam(learning, 3e-3),
            batches,
            epochs=epochs,
            schedule=one_cycle(),
            callbacks=watching,
        )
        accuracy, _ = evaluate(net, Batches(test_set, 500, shuffle=False))
        found[stage] = Stage(net, accuracy, sum(p.size for p in learning))
    return found


def classifier(stage: str, data: Dataset) -> Network:
    """The network of a stage for the pictures of a data set. Each colour has kernels of its own."""
    C, H, W = data.image_shape
    some = data.images[:1000] / 255.0
    layers: dict[str, Layer] = {"normalize": Normalize(some.mean((0, 2, 3)), some.std((0, 2, 3)) + 1e-6)}
    features: Shape = (C, H, W)
    if stage != "raw":
        count = len(FIXED)
        layers |= {"conv": Conv2d(C, count * C, 3, padding=1, groups=C), "relu": ReLU(), "pool": MaxPool2d(3)}
        features = count * C, H // 3, W // 3  # fewer numbers than there are pixels
    layers |= {"flatten": Flatten(), "fc": Linear(int(np.prod(features)), len(data.class_names))}
    return Network(layers, input_shape=(C, H, W), name=stage, class_names=data.class_names)


def set_kernels(net: Network) -> None:
    """Put the kernels made by hand into the convolution, each as large as those that are drawn: ‖w‖² = 2."""
    conv = net.layer("conv")
    assert isinstance(conv, Conv2d) and conv.bias is not None
    bank = np.stack([kernel * np.sqrt(2) / np.linalg.norm(kernel) for kernel in FIXED.values()])
    conv.weight.value = np.tile(bank, (conv.groups, 1, 1))[:, None].astype(np.float32)
    conv.bias.value[...] = 0


# Sparse and shared


def as_matrix(weight: np.ndarray, input_shape: Shape, *, stride: int = 1, padding: int = 0) -> np.ndarray:
    """A convolution's weights (F, C, KH, KW) as the matrix M (F·OH·OW, C·H·W) of a Linear layer, for one input size.

    Example: `as_matrix(weight, (1, 6, 6)) @ x.ravel()`
    """
    F, C, KH, KW = weight.shape
    _, H, W = input_shape
    OH, OW = (H - KH + 2 * padding) // stride + 1, (W - KW + 2 * padding) // stride + 1
    M = np.zeros((F, OH, OW, C, H, W), weight.dtype)
    for i, j, u, v in np.ndindex(OH, OW, KH, KW):
        row, column = i * stride + u - padding, j * stride + v - padding
        if 0 <= row < H and 0 <= column < W:
            M[:, i, j, :, row, column] = weight[:, :, u, v]
    return M.reshape(F * OH * OW, C * H * W)


class Equality(NamedTuple):
    """The matrix, and the largest difference of the two layers' outputs and of their gradients at the input."""

    matrix: np.ndarray
    forward: float
    backward: float


def compared(weight: np.ndarray, input_shape: Shape, seed: int = 0) -> Equality:
    """A Conv2d with these weights (F, C, KH, KW) beside the Linear layer with its matrix, on one random picture."""
    F, C, KH, KW = weight.shape
    conv = Conv2d(C, F, (KH, KW), bias=False)
    M = as_matrix(weight, input_shape)
    linear = Linear(M.shape[1], M.shape[0], bias=False)
    conv.weight.value, linear.weight.value = weight, M
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((1, *input_shape)).astype(np.float32)
    ours, theirs = conv.forward(x), linear.forward(x.reshape(1, -1))
    dy = generator.standard_normal(ours.shape).astype(np.float32)
    dx, flat = conv.backward(dy), linear.backward(dy.reshape(1, -1))
    assert dx is not None and flat is not None
    forward, backward = (float(np.abs(a.ravel() - b.ravel()).max()) for a, b in ((ours, theirs), (dx, flat)))
    return Equality(M, forward, backward)


def counts(input_shape: Shape, filters: int, kernel: int, *, stride: int = 1, padding: int = 0) -> dict[str, int]:
    """The parameters, with biases, of three layers between the same two arrays: dense; locally connected, where each
    window has weights of its own; and the convolution, where all windows share theirs."""
    C, H, W = input_shape
    places = ((H - kernel + 2 * padding) // stride + 1) * ((W - kernel + 2 * padding) // stride + 1)
    window = C * kernel * kernel
    return {
        "dense": filters * places * (C * H * W + 1),
        "locally connected": filters * places * (window + 1),
        "convolution": filters * (window + 1),
    }


CASES = {  # what is counted: (input, filters, kernel, padding)
    "1×6×6, one 3×3": (SMALL, 1, 3, 0),
    "1×28×28, six 5×5 (LeNet-5's first)": ((1, 28, 28), 6, 5, 2),
    "1×28×28, eight 3×3 (these, on MNIST)": ((1, 28, 28), 8, 3, 1),
}


# Pictures


def draw(stages: dict[str, Stage]) -> Image.Image:
    """The three accuracies as bars, and the kernels: those made by hand, and what was learned in their place."""

    def bars(axes: Any) -> None:
        errors = [100 * (1 - stage.accuracy) for stage in stages.values()]
        names = ["raw pixels", "kernels by hand", "learned kernels"]
        drawn = axes.barh(names, errors, color=[COLOURS[2], COLOURS[0], COLOURS[5]], height=0.6)
        labels = [f"{100 * s.accuracy:.2f} % right, {s.learned:,} numbers learned" for s in stages.values()]
        axes.bar_label(drawn, labels, padding=4, fontsize=10)
        axes.invert_yaxis()
        axes.set_xlim(0, 2 * max(*errors, 0.1))
        axes.set_xlabel("of the test set wrong, in percent")
        axes.spines[["top", "right"]].set_visible(False)

    def filters(stage: str) -> Image.Image:
        conv = stages[stage].net.layer("conv")
        assert isinstance(conv, Conv2d)
        weights = to_host(conv.weight.value)[: len(FIXED)]  # of the first colour
        return tiles(rescale(weights), scale=16, columns=4, background=(203, 215, 230))

    below = labelled_row([("kernels by hand", filters("fixed")), ("learned kernels", filters("learned"))], height=180)
    return stack([diagrams([bars], size=(7.2, 2.6)), below], gap=0)


def draw_matrix(found: Equality, weight: np.ndarray) -> Image.Image:
    """The kernel, and the matrix of the Linear layer that does the same: red is above 0, blue below."""
    rows, columns = found.matrix.shape
    top = float(np.abs(weight).max())
    zoom = max(1, 560 // columns)
    drawn = heatmap(found.matrix, signed=True, top=top).resize((columns * zoom, rows * zoom), Image.Resampling.NEAREST)
    kernel = heatmap(weight[0, 0], signed=True, top=top).resize((144, 144), Image.Resampling.NEAREST)
    zeros = float((found.matrix == 0).mean())
    text = (
        f"A convolution of {SMALL[1]}×{SMALL[2]} pixels as a Linear layer: {rows}×{columns} weights, "
        f"{100 * zeros:.0f} % of them 0, the others the kernel's {weight.size}, again and again. The outputs of the "
        f"two layers differ {apart(found.forward)}, their gradients at the input {apart(found.backward)}."
    )
    height = rows * zoom
    figure = labelled_row([("a learned kernel", kernel), (f"its matrix, {rows}×{columns}", drawn)], height=height)
    return stack([figure, framed(text_box(text, figure.width - 60), 8)], gap=0)


# The command


def data_sets(data: str | None) -> tuple[str, Dataset, Dataset]:
    """The name, and the two splits: MNIST where it is on this machine, or else the digits."""
    name = data or ("mnist" if available("mnist") else "digits")
    shape = None if name in NAMES else FOLDER_SHAPE
    with loading() as progress:
        train_set, test_set = (load(name, split, shape=shape, progress=progress) for split in ("train", "test"))
    return name, train_set, test_set


def command(
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="mnist, digits, cifar10, or a folder with train and test.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Times through the data (MNIST: 3).")] = None,
    out: Out = Path("learned"),
    seed: Seed = 0,
) -> None:
    """Raw pixels, kernels made by hand, learned kernels: three accuracies; and a convolution as a Linear layer."""
    name, train_set, test_set = data_sets(data)
    settings = {"data": name, "epochs": epochs, "train": train_set.fingerprint(), "test": test_set.fingerprint()}
    with open_run(out, seed=seed, inputs=[], **settings) as run, Progress("training") as bar:

        def watch(stage: str, epochs: int) -> list[ShowTraining]:
            bar.print(f"{stage}: {counted(epochs, 'epoch')} of {counted(len(train_set), 'picture')}")
            return [ShowTraining(bar, epochs)]

        stages = learned(train_set, test_set, epochs=epochs, seed=seed, callbacks=watch)
        run.save("learned.png", draw(stages))
        conv = stages["learned"].net.layer("conv")
        assert isinstance(conv, Conv2d)
        weight = to_host(conv.weight.value)[:1]  # (1, 1, 3, 3)
        found = compared(weight, SMALL, seed)
        run.save("matrix.png", draw_matrix(found, weight))
        counted_cases = {case: counts(shape, F, K, padding=P) for case, (shape, F, K, P) in CASES.items()}
        run.finish(
            accuracies={stage: result.accuracy for stage, result in stages.items()},
            learned={stage: result.learned for stage, result in stages.items()},
            difference={"forward": found.forward, "backward": found.backward},
            parameters=counted_cases,
        )
    report(stages, found, counted_cases)
    print(f"see {out / 'learned.png'} and {out / 'matrix.png'}")


def apart(difference: float) -> str:
    """How far two results differ."""
    return f"by {difference:.0e} at most" if difference else "not at all"


def report(stages: dict[str, Stage], found: Equality, cases: dict[str, dict[str, int]]) -> None:
    """The numbers in the terminal."""
    for stage, result in stages.items():
        print(f"{stage:8}{100 * result.accuracy:6.2f} % of the test set, {result.learned:,} numbers learned")
    print(f"a convolution and its matrix: outputs differ {apart(found.forward)}, gradients {apart(found.backward)}")
    names = next(iter(cases.values()))
    print(f"{'parameters of':36}" + "".join(f"{name:>19}" for name in names))
    for case, numbers in cases.items():
        print(f"{case:36}" + "".join(f"{number:19,}" for number in numbers.values()))
