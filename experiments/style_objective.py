"""What is to become small when a picture is shown in the style of another, and how the losses are scaled.

F (N, M) holds the activations of a layer, N channels at M places, P those of the content; G = F·Fᵀ/M is the Gram
matrix, A that of the style. Over the layers, with weights w,

    α·Σ w·c·‖F − P‖²  +  β·Σ w·s·‖G − A‖²  +  γ·t·Σ(dx² + dy²)  −  δ·‖F‖²/‖P‖²

the content, the style, the total variation of the picture, and a dream of one layer (Mordvintsev et al. 2015) where it
is asked for. Published losses differ in their factors alone. Each picture's G is divided by its own M, so that pictures
of any sizes compare: for equal sizes, these are the published numbers.

    loss            c         s          t            Σw
    relative        1/‖P‖²    1/‖A‖²     1/(C·H·W)    1     each layer by its own size: alike in any network
    gatys           1/2       1/(4N²)    255²/2       1     Gatys, Ecker, Bethge 2016, equations 1, 4, 5, 7
    johnson         1/(NM)    1/N²       255²/2       –     Johnson, Alahi, Fei-Fei 2016, section 3.2: FFᵀ/(NM)
    neural-style    1/(NM)    1/N⁴       255²/2       –     jcjohnson/neural-style: the same, mean squared errors
    lecture         1         M²         1            –     FFᵀ, not normalized

Layers weigh alike; those of the style, unless others are named, weigh half as much from one to the next where the loss
is "relative": what is deep is hard to reach, and by force it makes noise. The published α, β and γ were found for VGG
on pixels from 0 to 255, in which their total variation counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from minicnn.errors import MinicnnError, nearest
from minicnn.image import Amplify, Features, Gram, Objective, Sum, TotalVariation, gram, number, resize
from minicnn.kernels import frozen_weights
from minicnn.kernels.backend import Array
from minicnn.layers import evaluating
from minicnn.network import Network

from .stages import POOLING, stages


class Convention(NamedTuple):
    """The factors c(N, M, ‖P‖²), s(N, M, ‖A‖²) and t(numbers of the picture); whether Σw is 1; the weights α, β, γ that
    go with them; and what w is multiplied by from one layer of the style to the next."""

    content: Callable[[int, int, float], float]
    style: Callable[[int, int, float], float]
    tv: Callable[[int], float]
    mean: bool
    weights: tuple[float, float, float]
    falling: float = 1.0


def of_bytes(size: int) -> float:
    """For half the squares of the differences of pixels from 0 to 255."""
    return 255**2 / 2


CONVENTIONS = {
    "relative": Convention(lambda N, M, P: 1 / P, lambda N, M, A: 1 / A, lambda size: 1 / size, True, (1, 30, 10), 0.5),
    "gatys": Convention(lambda N, M, P: 1 / 2, lambda N, M, A: 1 / (4 * N**2), of_bytes, True, (1, 1e3, 0)),
    "johnson": Convention(lambda N, M, P: 1 / (N * M), lambda N, M, A: 1 / N**2, of_bytes, False, (1, 5, 1e-6)),
    "neural-style": Convention(lambda N, M, P: 1 / (N * M), lambda N, M, A: 1 / N**4, of_bytes, False, (5, 100, 1e-3)),
    "lecture": Convention(lambda N, M, P: 1, lambda N, M, A: M**2, lambda size: 1, False, (1, 1, 0)),
}
CHOICES: dict[str, Collection[str]] = {
    "loss": CONVENTIONS,
    "original_colors": ("no", "luminance", "match"),
    "init": ("content", "noise", "grey", "blank"),
    "optimizer": ("lbfgs", "adam"),
    "pooling": POOLING,
}


@dataclass(frozen=True)
class Settings:
    """All that can be set in a style transfer. Raises MinicnnError for what makes no sense.

    content_layers, style_layers: names with commas between them, each with its weight w if that is not 1, such as
    "relu1=2,fire4"; "all" the stages of the network (stages.py); "" the middle one for the content, all for the style.
    content_weight α, style_weight β, tv_weight γ: None is the loss's own. style_blend: the shares of several styles,
    () the same for each. original_colors: "luminance", shades of grey alone are transferred, or "match", the style is
    first given the content's colours. dream: a layer, dream_weight its δ. iterations: at each size. scales: from about
    128 pixels up to the picture's size by this factor; 1 is that size at once. CHOICES has what else one can choose.
    """

    content_layers: str = ""
    style_layers: str = ""
    content_weight: float | None = None
    style_weight: float | None = None
    tv_weight: float | None = None
    loss: str = "relative"
    style_blend: tuple[float, ...] = ()
    original_colors: str = "no"
    dream: str = ""
    dream_weight: float = 1.0
    init: str = "content"
    iterations: int = 100
    optimizer: str = "lbfgs"
    scales: float = 2.0
    pooling: str = "average"
    centred: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise MinicnnError(f"{name.replace('_', ' ')} {value!r}{nearest(value, choices)}")
        for name in ("content_weight", "style_weight", "tv_weight", "dream_weight"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise MinicnnError(f"{name.replace('_', ' ')} {value}: expected 0 or more")
        if self.scales != 1 and not 1.1 <= self.scales < float("inf"):
            raise MinicnnError(f"scales {self.scales}: expected 1, or the factor between two sizes, such as 1.414 or 2")
        shares = self.style_blend
        if not all(0 <= share < float("inf") for share in shares) or (shares and not sum(shares)):
            raise MinicnnError(f"style blend {shares}: expected shares of 0 or more, not all of them 0")
        if self.iterations < 1:
            raise MinicnnError(f"{self.iterations} iterations: expected 1 or more")

    @property
    def weights(self) -> tuple[float, float, float]:
        """α, β, γ."""
        given = (self.content_weight, self.style_weight, self.tv_weight)
        own = CONVENTIONS[self.loss].weights
        alpha, beta, gamma = (o if weight is None else weight for weight, o in zip(given, own, strict=True))
        return alpha, beta, gamma

    def shares(self, count: int) -> list[float]:
        """Those of so many styles; their sum is 1."""
        blend = self.style_blend or (1.0,) * count
        if len(blend) != count:
            raise MinicnnError(f"{len(blend)} shares in the style blend for {count} styles")
        return [share / sum(blend) for share in blend]

    def layers(self, net: Network) -> tuple[dict[str, float], dict[str, float]]:
        """{layer: w} of the content, and of the style."""
        whole, falling = stages(net), CONVENTIONS[self.loss].falling
        middle = whole[(len(whole) - 1) // 2]
        content = dict.fromkeys(whole if self.content_layers else [middle], 1.0)
        style = {layer: falling**i for i, layer in enumerate(whole)}
        return named(net, self.content_layers) or content, named(net, self.style_layers) or style


def named(net: Network, given: str) -> dict[str, float]:
    """ "relu1=2,fire4" as {layer: weight}; {} for "" and "all". Raises MinicnnError with the nearest names."""
    found: dict[str, float] = {}
    for part in given.split(",") if given not in ("", "all") else ():
        name, _, text = (word.strip() for word in part.partition("="))
        try:
            weight = float(text or 1)
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise MinicnnError(f"layer {part.strip()!r}: expected LAYER or LAYER=WEIGHT, a weight above 0")
        net.layer(name)
        found[name] = weight
    return found


def style_objective(
    net: Network, content: Array, styles: Sequence[Array], settings: Settings, masks: Sequence[Array] = ()
) -> Objective:
    """The loss of pictures of the content's size, as in this file's docstring.

    content (1, C, H, W); styles: pictures (1, C, ·, ·) of any sizes. Several are one style whose A is the sum of
    theirs, each times its share. Or each has a mask (1, 1, H, W): its Gram matrix is that of the places which the mask
    shows, and its loss counts by the part of the picture that they are.
    """
    convention, (alpha, beta, gamma) = CONVENTIONS[settings.loss], settings.weights
    content_layers, style_layers = settings.layers(net)
    with evaluating(net), frozen_weights():
        found = net.activations(content, {*content_layers, *style_layers, settings.dream} - {""})
        grams = [grams_of(net, style, style_layers, settings.centred) for style in styles]
    terms: list[tuple[float, Objective]] = []
    for layer, w in shared(content_layers, convention.mean).items():
        P = found[layer]
        N = P.shape[1]
        terms += [(alpha * w * convention.content(N, P.size // N, squares(P)), Features(layer, P))]
    for layer, w in shared(style_layers, convention.mean).items():
        _, N, *places = found[layer].shape
        for A, mask, share in styles_at([A[layer] for A in grams], settings, masks, places):
            s = convention.style(N, places[0] * places[1], squares(A))
            terms += [(beta * w * share * s, Gram(layer, A, centred=settings.centred, mask=mask))]
    terms += [(gamma * convention.tv(content.size), TotalVariation())]
    if settings.dream:
        terms += [(-settings.dream_weight * 2 / squares(found[settings.dream]), Amplify(settings.dream))]
    return Sum(tuple(terms))


def grams_of(net: Network, style: Array, layers: Collection[str], centred: bool = False) -> dict[str, Array]:
    """{layer: A (N, N)} of a picture. Raises MinicnnError for a layer without places."""
    found = net.activations(style, layers)
    for layer, a in found.items():
        if a.ndim != 4:
            raise MinicnnError(f"style layer {layer}: expected one with places (N, C, H, W), it gives {tuple(a.shape)}")
    return {layer: gram(a, centred=centred)[0] for layer, a in found.items()}


def styles_at(
    grams: Sequence[Array], settings: Settings, masks: Sequence[Array], places: Sequence[int]
) -> list[tuple[Array, Array | None, float]]:
    """(A, the mask of its places, what its loss counts) of each Gram term at a layer."""
    if not masks:
        shares = settings.shares(len(grams))
        return [(sum(share * A for share, A in zip(shares, grams, strict=True)), None, 1.0)]
    small = [resize(mask, (places[0], places[1]))[0, 0] for mask in masks]
    return [(A, mask, number(mask.mean())) for A, mask in zip(grams, small, strict=True)]


def shared(layers: Mapping[str, float], mean: bool) -> dict[str, float]:
    """The weights as they are, or, for a mean, with the sum 1."""
    total = sum(layers.values()) if mean else 1
    return {layer: w / total for layer, w in layers.items()}


def squares(a: Array) -> float:
    """‖a‖²; 1 where that is 0, so that nothing is divided by it."""
    return number((a * a).sum()) or 1.0
