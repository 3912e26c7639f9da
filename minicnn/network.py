"""The network: a tree of named layers that can be asked for any activation and take a gradient at any layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import kernels
from .errors import MinicnnError, nearest
from .kernels.backend import Array, get_array_module
from .layers import Flatten, Layer, Remember, Sequential, Shape, Softmax, evaluating
from .layers.layer import add_gradients, own_copy
from .parameter import to_host

if TYPE_CHECKING:
    from PIL.Image import Image

INPUT = "input"  # the pseudo-layer that is the picture itself


class Prediction(NamedTuple):
    """One class and its probability."""

    name: str
    probability: float
    class_index: int


class Network(Sequential):
    """A `Sequential` that knows its pictures: their size, its classes, and where its scores and features are.

    `forward`, `activations` and `input_gradient` take and return RGB (or grey) in [0, 1]: the first layer, Normalize,
    holds the mean, the scale and the colour order that the weights want. Scores are what stands before softmax, whether
    or not the network ends in one.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        *,
        input_shape: tuple[int, int, int],
        name: str = "network",
        class_names: Sequence[str] = (),
        score_layer: str = "",
        feature_layer: str = "",
        resize: int | None = None,
        auxiliary: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(**layers)
        self.name, self.input_shape, self.class_names = name, input_shape, tuple(class_names)
        self.resize = resize  # the short side that a picture is scaled to before its middle is cut out
        names = list(layers)
        if not names:
            raise MinicnnError(f"{name}: a network needs at least one layer")
        self.other_names: Mapping[str, str] = {}  # by which classes are found too: a WordNet id, the class's name
        self.score_layer = score_layer or self.prediction_layer
        before_scores = names[: names.index(self.prediction_layer.split(".")[0])]
        self.feature_layer = feature_layer or (before_scores or names)[-1]
        self._input_shape: Shape | None = None  # of the last forward pass that remembers
        self.auxiliary = dict(auxiliary or {})
        for path in (self.score_layer, self.feature_layer, *self.auxiliary):
            self.layer(path)

    def forward(self, x: Array, *, remember: Remember = "all") -> Array:  # type: ignore[override]  # nothing fused
        """x (N, C, H, W) in [0, 1] -> y (N, classes): the scores, or probabilities where a softmax is the end."""
        self._check_pictures(x, remember)
        self._input_shape = x.shape if remember else None
        with self._saying_the_size(x):
            y = super().forward(x, remember=remember)
        return y if remember is None else own_copy(y)  # what is returned is the caller's, to write into as well

    def activations(self, x: Array, names: Iterable[str], *, remember: Remember = None) -> dict[str, Array]:
        """The activations of the layers `names` (paths; "input" is x), running no deeper than the deepest of them.

        `remember="input"` keeps what `input_gradient` needs. Raises MinicnnError with the nearest names.
        """
        wanted = set([names] if isinstance(names, str) else names)
        self._check_names(wanted)
        self._check_pictures(x, remember)
        self._input_shape = x.shape if remember else None
        found = {INPUT: x} if INPUT in wanted else {}
        if wanted == found.keys():
            self.forget()
            return found
        with self._saying_the_size(x):
            _, traced = self.trace(x, wanted - {INPUT}, remember)
        return found | (traced if remember is None else {name: own_copy(a) for name, a in traced.items()})

    def input_gradient(self, grads: Mapping[str, Array]) -> Array:
        """dx (N, C, H, W) of Σ ⟨activation, gradient⟩ over {layer: gradient}, after a pass that remembers.

        Runs back from those layers alone and touches no parameter's gradient.
        """
        self._check_names(grads)
        if not grads:
            raise MinicnnError("input_gradient: expected at least one {layer: gradient}")
        if self._input_shape is None:
            raise MinicnnError(
                "input_gradient without a pass that remembers: "
                'call forward(x) or activations(x, …, remember="input") first'
            )
        dx = self.inject(None, {name: g for name, g in grads.items() if name != INPUT}, True, False)
        direct = grads.get(INPUT)
        if direct is not None and tuple(direct.shape) != self._input_shape:
            raise MinicnnError(f"input: expected a gradient {self._input_shape}, got {tuple(direct.shape)}")
        total = add_gradients(dx, direct)
        assert total is not None  # every layer that is named gives a gradient
        return total.copy() if dx is None else total  # never the caller's own array

    @property
    def prediction_layer(self) -> str:
        """Where the scores come out that predictions are made of: the last layer, or the one before it where that is a
        softmax (and nothing but flattens behind it)."""
        way_back = dropwhile(lambda found: isinstance(found[1], Flatten), _way_back(self))
        (_, last), (before, _) = (next(way_back, ("", None)) for _ in range(2))
        return before if before and isinstance(last, Softmax) else list(self.children())[-1]

    def scores(self, x: Array) -> Array:
        """The class scores before softmax, (N, classes), in evaluation mode and without keeping anything.

        They are those of `prediction_layer`. Explanations begin at `score_layer`, which need not be that: there a class
        has a gradient where what comes out has none.
        """
        layer = self.prediction_layer
        with evaluating(self):
            if layer == list(self.children())[-1]:
                y = self.forward(x, remember=None)
            else:
                y = self.activations(x, [layer])[layer]
        return y.reshape(x.shape[0], prod(y.shape[1:]))

    def predict(self, images: Array, *, top: int = 5) -> list[list[Prediction]]:
        """The `top` classes of each picture with their probabilities, best first. images (N, C, H, W) in [0, 1]."""
        probabilities = to_host(kernels.softmax_forward(self.scores(images), remember=None)[0])
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [Prediction(self.class_name(int(k)), float(row[k]), int(k)) for k in order]
            for row, order in zip(probabilities, best, strict=True)
        ]

    def class_name(self, index: int) -> str:
        """The name of class `index`, or its number where the names are not known."""
        return self.class_names[index] if index < len(self.class_names) else str(index)

    def class_index(self, target: int | str) -> int:
        """A class by its number or its name; ImageNet's also by the WordNet id. Raises MinicnnError with the nearest
        names."""
        count = self.output_shape(self.input_shape)[0]
        wanted = self.other_names.get(str(target), str(target))
        if wanted in self.class_names:
            return self.class_names.index(wanted)
        if wanted.lstrip("-").isdigit():
            if 0 <= int(wanted) < count:
                return int(wanted)
            raise MinicnnError(f"class {target}: expected 0 to {count - 1}")
        plain = [name.lower().replace("_", " ") for name in (wanted, *self.class_names)]
        named = [i for i, name in enumerate(plain[1:]) if name == plain[0]]
        if named:
            return named[0]
        hint = nearest(str(target), self.class_names) or f": expected 0 to {count - 1}"
        raise MinicnnError(f"no class {target!r}{hint}")

    def prepare(self, picture: Image | Array) -> np.ndarray:
        """A picture (Pillow, or an array (C, H, W) in [0, 1]) as this network's input: (1, C, H, W) in [0, 1], of the
        parameters' dtype (what is finer than float32 is rounded to that first).

        Its short side is scaled to `resize` pixels (None: to the input's) and the middle is cut out; grey and colour
        are converted. Mean and scale are the network's own.
        """
        from .pictures import fit

        dtype = next((p.value.dtype for p in self.parameters() if p.initialized), np.dtype(np.float32))
        return fit(picture, self.input_shape, resize=self.resize)[None].astype(dtype, copy=False)

    def check_picture(self, image: Array, what: str = "picture") -> None:
        """Raise MinicnnError, which calls it `what`, when `image` is not one picture (1, C, H, W) of finite numbers."""
        if getattr(image, "ndim", 0) != 4 or image.shape[0] != 1:
            got = tuple(image.shape) if hasattr(image, "shape") else type(image).__name__
            raise MinicnnError(f"expected one {what} (1, C, H, W), got {got}")
        self._check_pictures(image, None)
        bad = int(to_host((~get_array_module(image).isfinite(image)).sum()))
        if bad:
            raise MinicnnError(f"{what}: {bad} of {image.size} values are NaN or infinite")

    def _check_pictures(self, x: Array, remember: Remember) -> None:
        get_array_module(x)
        if remember not in ("all", "once", "input", None):
            raise MinicnnError(f'remember={remember!r}: expected "all", "once", "input" or None')
        if x.ndim != 4 or x.shape[1] != self.input_shape[0]:
            raise MinicnnError(
                f"{self.name}: expected pictures (N, {', '.join(map(str, self.input_shape))}), got {tuple(x.shape)}"
            )
        if x.dtype.kind != "f":
            raise MinicnnError(f"{self.name}: expected float32 pictures in [0, 1], got {x.dtype}")

    @contextmanager
    def _saying_the_size(self, x: Array) -> Iterator[None]:
        """What a layer complains of within the block may come from pictures of another size than the network's."""
        try:
            yield
        except MinicnnError as error:
            got, wanted = ("×".join(map(str, shape)) for shape in (x.shape[1:], self.input_shape))
            if got == wanted:
                raise
            raise MinicnnError(f"{self.name}: made for pictures of {wanted}, got {got}: {error}") from None

    def _check_names(self, names: Iterable[str]) -> None:
        known = [path for path, _ in self.layers()]
        for name in names:
            if name not in known and name != INPUT:
                raise MinicnnError(f"{self.name} has no layer {name!r}{nearest(name, known)}")


def _way_back(chain: Sequential) -> Iterator[tuple[str, Layer]]:
    """The layers that a picture passes one after another, with their paths, from the last; of a Sequential those in
    it."""
    for name, layer in reversed(chain.children().items()):
        if isinstance(layer, Sequential):
            yield from ((f"{name}.{path}", inner) for path, inner in _way_back(layer))
        else:
            yield name, layer
