"""A data set on a plane (technique 5): each picture a point, near to those that a layer, or the pixels, take for alike.

The vectors v of the pictures (a layer's activations, averaged over its places, or the raw pixels) go through

    PCA      the directions in which they vary most (Pearson 1901): the first two are a picture, the first 50 go on to
    t-SNE    places y on the plane that have the same neighbours (van der Maaten & Hinton 2008): with
             p_ij ∝ exp(−‖v_i − v_j‖²/2σ_i²), σ_i so that each has about `perplexity` neighbours, and
             q_ij ∝ 1/(1 + ‖y_i − y_j‖²), it minimizes Σ p·log(p/q)

Distances between far groups mean little in t-SNE, nor does the size of a group.
"""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.cli.options import Data, Device, Out, Seed, Split, Weights
from minicnn.cli.progress import Progress, counted
from minicnn.curves import diagrams
from minicnn.data import NAMES, Dataset
from minicnn.errors import MinicnnError
from minicnn.pictures import to_picture

from .collection import check_vectors, features_of, picture, pictures_of
from .common import bar_over, load_network, open_run, weights_used

COMPONENTS, PERPLEXITY, STEPS = 50, 30.0, 1000  # van der Maaten & Hinton: at most 30 components there
LEAST_STEPS = 500  # for the first 250 scikit-learn exaggerates p, which leaves all points in one clump
NAMED = 20  # so many classes have a colour of their own and a name in the legend
GRID = 2000  # pixels of the grid of pictures, about
FOLDER_SHAPE = (3, 64, 64)  # of a folder's pictures, where no network says otherwise


class Embedding(NamedTuple):
    """Places on the plane (N, 2): of the first two principal components, which hold `share` of the variance, and of
    t-SNE; `layer` is that of the vectors, or "pixels"."""

    pca: np.ndarray
    tsne: np.ndarray
    share: float
    layer: str


def embedding(
    vectors: np.ndarray, layer: str = "pixels", *, perplexity: float = PERPLEXITY, steps: int = STEPS, seed: int = 0
) -> Embedding:
    """The vectors (N, D) on the plane, by PCA and by t-SNE of their first 50 components.

    The same seed gives the same places. Raises MinicnnError where there are no more vectors than `perplexity`, fewer
    than LEAST_STEPS steps, or no vectors of finite numbers that differ.

    Example: `embedding(images.reshape(len(images), -1)).tsne`
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    check_vectors(vectors, least=2, name=layer)
    count, size = vectors.shape
    if not 1 <= perplexity < count:
        raise MinicnnError(
            f"perplexity {perplexity:g}: expected 1 or more, and more pictures than it: there are {count}"
        )
    if steps < LEAST_STEPS:
        raise MinicnnError(f"steps {steps}: expected {LEAST_STEPS} or more, with fewer the points are still one clump")
    if np.ptp(vectors, axis=0).max() == 0:
        raise MinicnnError(f"{layer}: has the same values for all pictures")
    pca = PCA(min(COMPONENTS, count, size), random_state=seed, svd_solver="auto")
    components = pca.fit_transform(vectors.astype(np.float64))
    components = np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1]))))
    tsne = TSNE(
        n_components=2, perplexity=perplexity, max_iter=steps, init="pca", learning_rate="auto", random_state=seed
    )
    share = float(pca.explained_variance_ratio_[:2].sum())
    return Embedding(components[:, :2], tsne.fit_transform(components), share, layer)


def on_a_grid(places: np.ndarray) -> np.ndarray:
    """A cell (row, column) of a square grid for each place (N, 2): (N, 2) integers, no two alike.

    The cells are those that make the sum of squared distances smallest (linear assignment; Jonker & Volgenant 1987).
    """
    from scipy.optimize import linear_sum_assignment

    if np.shape(places)[1:] != (2,):
        raise MinicnnError(f"places {np.shape(places)}: expected (N, 2)")
    check_vectors(places, name="places")
    side = ceil(sqrt(len(places)))
    low, high = places.min(axis=0), places.max(axis=0)
    unit = (places - low) / np.where(high > low, high - low, 1)  # in [0, 1]
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    x, y = cells[:, 1] / max(1, side - 1), 1 - cells[:, 0] / max(1, side - 1)  # y points up, rows go down
    cost = (unit[:, :1] - x) ** 2 + (unit[:, 1:] - y) ** 2  # (N, cells)
    _, chosen = linear_sum_assignment(cost)
    return cells[chosen]


# Pictures


def draw_scatter(found: Embedding, dataset: Dataset) -> Image.Image:
    """PCA and t-SNE side by side, a colour a class; the names of up to NAMED classes in a legend."""

    def scatter(places: np.ndarray, title: str, legend: bool) -> Any:
        def draw_into(axes: Any) -> None:
            colours, names = class_colours(dataset)
            size = float(np.clip(6000 / len(places), 4, 30))
            axes.scatter(*places.T, c=colours[dataset.labels], s=size, linewidths=0)
            axes.set_aspect("equal", adjustable="datalim")  # a distance is one, whichever way it lies
            axes.set_title(title, fontsize=12, loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
            if legend:
                handles = [axes.scatter([], [], color=colours[k], s=30) for k in names]
                axes.legend(handles, names.values(), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)

        return draw_into

    what = f"of {found.layer}, {counted(len(found.pca), 'picture')}"
    first = scatter(found.pca, f"PCA {what}; {100 * found.share:.0f} % of the variance", False)
    return diagrams([first, scatter(found.tsne, f"t-SNE {what}", True)], size=(7.2, 6))


def class_colours(dataset: Dataset) -> tuple[np.ndarray, dict[int, str]]:
    """A colour (K, 4) for each class, and the classes to be named: all, or of many some along the scale of colours."""
    from matplotlib import colormaps

    count, here = len(dataset.class_names), np.unique(dataset.labels)
    if len(here) <= NAMED:
        table = colormaps["tab10" if len(here) <= 10 else "tab20"]
        colours = np.zeros((count, 4))
        colours[here] = table(np.arange(len(here)))
        return colours, {int(k): dataset.class_names[k] or "of no class" for k in here}
    some = here[np.linspace(0, len(here) - 1, 12).round().astype(int)]
    return colormaps["turbo"](np.linspace(0, 1, count)), {int(k): f"{k}: {dataset.class_names[k]}" for k in some}


def draw_grid(cells: np.ndarray, dataset: Dataset) -> Image.Image:
    """The pictures in their cells (N, 2), made smaller to fit about GRID pixels."""
    side = int(cells.max()) + 1
    tile = max(16, min(96, GRID // side))
    if (own := max(dataset.image_shape[1:])) < tile:
        tile = own * max(1, tile // own)  # whole pixels
    sheet = Image.new("RGB", (side * tile, side * tile), "white")
    for i, (row, column) in enumerate(cells):
        small = to_picture(picture(dataset, i))
        scale = tile / max(small.size)
        size = max(1, round(small.width * scale)), max(1, round(small.height * scale))
        small = small.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
        sheet.paste(small, (int(column) * tile, int(row) * tile))
    return sheet


def agreement(places: np.ndarray, labels: np.ndarray) -> float:
    """The share of places (N, 2) whose nearest other place has the same label."""
    from scipy.spatial import cKDTree

    check_vectors(places, labels=labels, least=2, name="places")
    _, nearest_two = cKDTree(places).query(places, k=2)
    return float((labels[nearest_two[:, 1]] == labels).mean())


# The command


def command(
    data: Data,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of a network, or of weights (default: none, the pixels).")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="A layer (default: the last hidden one).")] = None,
    pixels: Annotated[bool, typer.Option("--pixels", help="The pixels; with --model as that network gets them.")] = (
        False
    ),
    pictures: Annotated[int, typer.Option("--pictures", "-n", min=3, help="How many, drawn at random.")] = 1000,
    perplexity: Annotated[float, typer.Option("--perplexity", help="About how many neighbours count.")] = PERPLEXITY,
    steps: Annotated[int, typer.Option("--steps", min=LEAST_STEPS, help="Steps of t-SNE.")] = STEPS,
    split: Split = "test",
    out: Out = Path("embedding"),
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """A data set on a plane: PCA and t-SNE of a network's layer (default: the last hidden one), or of the pixels."""
    if model is None and (layer is not None or weights is not None):
        raise MinicnnError(f"{'--layer' if weights is None else '--weights'}: of which network? Give --model")
    if pixels and layer is not None:
        raise MinicnnError("--pixels and --layer: expected one of them")
    net = load_network(model, weights, device) if model else None
    shape, resize = (net.input_shape, net.resize) if net else (None if data in NAMES else FOLDER_SHAPE, None)
    dataset = pictures_of(data, split, shape=shape, resize=resize, count=pictures, seed=seed)
    inputs = [weights_used(model, weights)] if model else []
    settings = {"data": data, "split": split, "pictures": pictures, "perplexity": perplexity, "steps": steps}
    settings |= {"model": model, "layer": layer, "pixels": pixels or net is None, "device": device}
    with open_run(out, seed=seed, inputs=inputs, **settings) as run:
        run.identify(pictures=dataset.fingerprint())
        if pixels or net is None:
            name, vectors = "pixels", dataset.in_memory().images.reshape(len(dataset), -1) / np.float32(255)
        else:
            name = layer or net.feature_layer
            with bar_over("looking", "pictures") as progress:
                vectors = features_of(net, dataset, name, progress=progress)
        with Progress("t-SNE"):
            found = embedding(vectors, name, perplexity=perplexity, steps=steps, seed=seed)
        run.save("scatter.png", draw_scatter(found, dataset))
        run.save("grid.png", draw_grid(on_a_grid(found.tsne), dataset))
        same = {kind: agreement(getattr(found, kind), dataset.labels) for kind in ("pca", "tsne")}
        run.finish(vectors=vectors.shape, variance_of_two=found.share, nearest_is_of_the_same_class=same)
    print(f"{counted(len(dataset), 'picture')}, {name}: see {out / 'scatter.png'} and {out / 'grid.png'}")
    if np.bincount(dataset.labels).max() > 1 and any(dataset.class_names):
        shares = f"{100 * same['pca']:.1f} % in PCA, {100 * same['tsne']:.1f} % in t-SNE"
        print(f"the nearest point is of the same class for {shares}")
