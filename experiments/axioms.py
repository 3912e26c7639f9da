"""What an attribution A of F(x) − F(x′) may promise, and what each method keeps: measured on networks of a few weights
(Sundararajan, Taly, Yan 2017, sections 2 to 4).

    completeness              Σ A = F(x) − F(x′)
    sensitivity               if x and x′ differ in one pixel alone and F differs, then A of that pixel is not 0
    dummy                     A of a pixel on which the function does not depend is 0
    implementation invariance two networks that compute the same function for every x have the same A
    linearity                 A of a·F₁ + b·F₂ is a·A₁ + b·A₂
    symmetry                  if F(u, v) = F(v, u) for all u and v, equal pixels have equal A

Each is about the function. A method that depends on how it is computed can therefore be made to break dummy and
symmetry as well as invariance, by a network that computes a thing in two ways. What is measured is how far off the
equation is, in parts of the larger side: 0 where a promise is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from minicnn.boxes import Colour, centred, text_box
from minicnn.errors import MinicnnError
from minicnn.figures import labelled_grid
from minicnn.initialization import zeros
from minicnn.layers import Concat, Flatten, Layer, Linear, ReLU, Sequential
from minicnn.network import Network
from minicnn.report import Figure, Section, Table

from .attribution import Attribution
from .common import open_run
from .deconvnet import deconvnet
from .deeplift import deeplift
from .guided import guided
from .integrated_gradients import integrated_gradients
from .occlusion import occlusion
from .saliency import saliency
from .smoothgrad import smoothgrad

OUT = {"layer": "out", "unit": 0}  # F, the last layer's only number
TOLERANCE = 1e-3  # of the larger side: integrated gradients reach it with the nodes taken here

Method = Callable[[Network, np.ndarray], np.ndarray]  # (net, x (1, 1, 1, pixels)) -> A (pixels,)


def signed(method: Callable[..., Attribution], **options: Any) -> Method:
    """A method of ours as one number a pixel, with its sign."""

    def explain(net: Network, x: np.ndarray) -> np.ndarray:
        result = method(net, x, **OUT, **options)
        return np.asarray(result.map if result.values is None else result.values, np.float64).ravel()

    return explain


def gradient_times_input(net: Network, x: np.ndarray) -> np.ndarray:
    return signed(saliency)(net, x) * x.ravel()


METHODS: dict[str, Method] = {
    "gradient": signed(saliency),
    "gradient × input": gradient_times_input,
    "guided": signed(guided),
    "deconvnet": signed(deconvnet),
    "SmoothGrad": signed(smoothgrad, noise=0.05),
    "integrated gradients": signed(integrated_gradients, nodes=200, tolerance=1e-4),
    "DeepLIFT rescale": signed(deeplift, rule="rescale"),
    "DeepLIFT reveal-cancel": signed(deeplift, rule="reveal-cancel"),
    "occlusion": signed(occlusion, window=1, stride=1, fill="black"),
}
RULES = {"guided", "deconvnet"}  # rules of ReLUs that are no derivative
GRADIENTS = {"gradient", "gradient × input", "SmoothGrad"}  # of the function, at or around x alone
QUOTIENTS = {"DeepLIFT rescale", "DeepLIFT reveal-cancel"}  # of the changes of every single layer


# Networks -------------------------------------------------------------------------------------------------------------


def linear(weight: list[list[float]], bias: float | list[float] = 0) -> Linear:
    """y = W x + b."""
    layer = Linear(len(weight[0]), len(weight), init=zeros)
    layer.weight.value = np.array(weight, np.float64)
    assert layer.bias is not None
    layer.bias.value = np.zeros(len(weight)) + bias
    return layer


def chain(*layers: Layer) -> Sequential:
    return Sequential(**{f"layer{number}": layer for number, layer in enumerate(layers, 1)})


def network(pixels: int, branches: list[Sequential], mix: list[float]) -> Network:
    """F = Σ mix · branch, each branch a function of the same row of pixels."""
    body = Concat(**{f"branch{number}": branch for number, branch in enumerate(branches, 1)})
    layers = {"flatten": Flatten(), "body": body, "out": linear([mix])}
    return Network(layers, input_shape=(1, 1, pixels), name="a small network").eval()


def picture(*pixels: float) -> np.ndarray:
    return np.array(pixels, np.float64).reshape(1, 1, 1, -1)


def saturated(pixels: int = 1) -> Sequential:
    """1 − max(0, 1 − 2u), which is 1 from u = ½ on."""
    return chain(linear([[-2.0] + [0.0] * (pixels - 1)], 1), ReLU(), linear([[-1]], 1))


def late(u: list[float], v: list[float]) -> Sequential:
    """max(0, max(0, 2u) − 0.3 − max(0, v)), where u and v pick a pixel each (the paper's appendix has such a pair)."""
    return chain(linear([[2 * a for a in u], v]), ReLU(), linear([[1, -1]], -0.3), ReLU())


def early(u: list[float], v: list[float]) -> Sequential:
    """max(0, max(0, 2u − 0.3) − max(0, v)): the same function, where the 0.3 is taken off before the inner maximum."""
    return chain(linear([[2 * a for a in u], v], [-0.3, 0]), ReLU(), linear([[1, -1]]), ReLU())


def in_one_step(u: list[float], v: list[float]) -> Sequential:
    """max(0, 2u − v)."""
    return chain(linear([[2 * a - b for a, b in zip(u, v, strict=True)]]), ReLU())


def in_two_steps(u: list[float], v: list[float]) -> Sequential:
    """The same, one linear layer behind the other."""
    return chain(linear([[2 * a - b for a, b in zip(u, v, strict=True)]]), linear([[1]]), ReLU())


def straight(u: list[float], v: list[float]) -> Sequential:
    """max(0, u)."""
    return chain(linear([u]), ReLU())


def there_and_back(u: list[float], v: list[float]) -> Sequential:
    """2 max(0, u) − max(0, u): the same, by a detour."""
    return chain(linear([u, u]), ReLU(), linear([[2, -1]]))


PAIRS = [(late, early), (in_one_step, in_two_steps), (straight, there_and_back)]  # each pair is one function


# Measures -------------------------------------------------------------------------------------------------------------


def off(a: np.ndarray | float, b: np.ndarray | float) -> float:
    """How far a and b are apart, in parts of the larger."""
    size = max(np.abs(a).max(), np.abs(b).max())
    return float(np.abs(np.subtract(a, b)).max() / size) if size else 0.0


def change(net: Network, x: np.ndarray) -> float:
    """F(x) − F(x′), x′ being black."""
    return float(net.forward(x, remember=None)[0, 0] - net.forward(0 * x, remember=None)[0, 0])


def completeness(method: Method) -> float:
    x = picture(0.9, 0.3)
    nets = [network(2, [late([1, 0], [0, 1])], [1]), network(2, [saturated(2)], [1])]
    return max(off(method(net, x).sum(), change(net, x)) for net in nets)


def sensitivity(method: Method) -> float:
    net, x = network(2, [saturated(2)], [1]), picture(0.95, 0)
    return max(0.0, 1 - abs(method(net, x)[0] / change(net, x)))


def dummy(method: Method) -> float:
    """max(0, u) + Σ (one − other)(v, w), which depends on u alone."""
    places = ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    twice = [make(*places) for pair in PAIRS for make in pair]
    net = network(3, [chain(linear([[1, 0, 0]]), ReLU()), *twice], [1, *[1, -1] * len(PAIRS)])
    found = method(net, picture(0.5, 0.9, 0.3))
    return float(np.abs(found[1:]).max() / np.abs(found).max())


def invariance(method: Method) -> float:
    x, places = picture(0.9, 0.3), ([1.0, 0.0], [0.0, 1.0])
    return max(off(*(method(network(2, [make(*places)], [1]), x) for make in pair)) for pair in PAIRS)


def linearity(method: Method) -> float:
    x, places = picture(0.9, 0.3), ([1.0, 0.0], [0.0, 1.0])
    first, second = (method(network(2, [make(*places)], [1]), x) for make in (late, in_one_step))
    together = method(network(2, [late(*places), in_one_step(*places)], [2, -3]), x)
    return off(together, 2 * first - 3 * second)


def symmetry(method: Method) -> float:
    """Σ one(u, v) + other(v, u), at u = v."""
    u, v = [1.0, 0.0], [0.0, 1.0]
    branches = [make for one, other in PAIRS for make in (one(u, v), other(v, u))]
    found = method(network(2, branches, [1] * len(branches)), picture(0.9, 0.9))
    return off(found[0], found[1])


class Axiom(NamedTuple):
    """measure(method) is how far off it is; broken_by: the methods that theory says break it; why they do."""

    measure: Callable[[Method], float]
    broken_by: set[str]
    why: str


AXIOMS = {
    "completeness": Axiom(
        completeness,
        GRADIENTS | RULES | {"occlusion"},
        "Integrated gradients keep it by the fundamental theorem, DeepLIFT by construction, layer by layer. A gradient "
        "knows nothing of x′. What pixels do together, occlusion counts for each of them, or for none.",
    ),
    "sensitivity": Axiom(
        sensitivity,
        GRADIENTS | RULES,
        "Where a rectifier is saturated at x its derivative is 0, however much it has done on the way. Guided "
        "backpropagation and the deconvnet let even less pass. SmoothGrad sees only as far as its noise reaches.",
    ),
    "dummy": Axiom(
        dummy,
        RULES | QUOTIENTS,
        "What depends on the function alone keeps it. The others see two ways of computing one thing, whose difference "
        "is 0, and do not find that they cancel.",
    ),
    "invariance": Axiom(
        invariance,
        RULES | QUOTIENTS,
        "Gradients obey the chain rule, so the layers in between do not matter; finite quotients do not obey it, and "
        "neither does what passes a rectifier by its sign. Occlusion asks for F alone.",
    ),
    "linearity": Axiom(
        linearity,
        RULES,
        "All that comes back is added up, and is multiplied by the weights, except where its sign decides.",
    ),
    "symmetry": Axiom(
        symmetry,
        RULES | QUOTIENTS,
        "As with dummy: if u comes in by one network and v by another that computes the same, only methods that depend "
        "on the function alone cannot tell them apart.",
    ),
}


class Finding(NamedTuple):
    """How far a method is off an axiom; whether it keeps it, and whether theory says so."""

    axiom: str
    method: str
    violation: float
    holds: bool
    expected: bool


def axioms(methods: dict[str, Method] | None = None) -> list[Finding]:
    """Every axiom for every method (default: METHODS; one that theory has nothing about is expected to keep them).

    Example: `[f for f in axioms() if f.holds != f.expected]`
    """
    found = []
    for name, axiom in AXIOMS.items():
        for method, explain in (METHODS if methods is None else methods).items():
            violation = axiom.measure(explain)
            if not np.isfinite(violation):
                raise MinicnnError(f"{method}: {name} is off by {violation}")
            found.append(Finding(name, method, violation, violation <= TOLERANCE, method not in axiom.broken_by))
    return found


# The table ------------------------------------------------------------------------------------------------------------

KEPT: Colour = (214, 236, 214)
BROKEN: Colour = (247, 214, 209)


def written(finding: Finding) -> str:
    """What was measured: "holds (2e-16)" or "off by 0.33", and a mark where theory says otherwise."""
    text = f"holds ({finding.violation:.1g})" if finding.holds else f"off by {finding.violation:.2g}"
    return text if finding.holds == finding.expected else f"{text} (!)"


def broken(axiom: Axiom) -> str:
    """What theory says."""
    return f"broken, says theory, by {', '.join(method for method in METHODS if method in axiom.broken_by)}"


def lines(found: list[Finding]) -> list[list[str]]:
    """A row a method: its name, and what is written of each axiom."""
    names = dict.fromkeys(finding.method for finding in found)
    return [[name, *(written(finding) for finding in found if finding.method == name)] for name in names]


def draw(found: list[Finding]) -> Image.Image:
    """The table, green where an axiom holds and red where it is broken."""
    rows = []
    for method in dict.fromkeys(finding.method for finding in found):
        colours = [(finding, KEPT if finding.holds else BROKEN) for finding in found if finding.method == method]
        cells = [
            ("", centred(text_box(written(finding), 110, background=colour), (120, 44), background=colour))
            for finding, colour in colours
        ]
        rows.append((method, cells))
    return labelled_grid(rows, columns=list(AXIOMS), height=44)


def command(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the table as a page.")] = None,
) -> None:
    """What the methods promise, measured on networks built to test it; status 1 where theory says otherwise."""
    found = axioms()
    table = [["", *AXIOMS], *lines(found)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for name, axiom in AXIOMS.items():
        print(f"{name}: {broken(axiom)}")
    wrong = [finding for finding in found if finding.holds != finding.expected]
    print(f"{len(found) - len(wrong)} of {len(found)} as theory says" + ("; (!) differs" if wrong else ""))
    if out is not None:
        write(out, found)
    if wrong:
        raise typer.Exit(1)


def write(out: Path, found: list[Finding]) -> None:
    """The table as a picture and as a page, and run.json with the figures."""
    with open_run(out, seed=0, inputs=()) as run:
        figure = draw(found)
        run.save("axioms.png", figure)
        numbers = [
            [name, *(f.violation for f in found if f.method == name)] for name in dict.fromkeys(f.method for f in found)
        ]
        sections = [
            Section("The table", "Green: the promise is kept. Red: by how much it is not.", [Figure(figure)]),
            Section("The figures", "0 is right, 1 is wrong by all there is.", [Table(["method", *AXIOMS], numbers)]),
            *(Section(name, f"{axiom.why}\n\n{broken(axiom).capitalize()}.") for name, axiom in AXIOMS.items()),
        ]
        run.write_index("What explanations promise", sections, lead="Measured on networks of a few weights.")
        run.finish(violations={f"{f.axiom}, {f.method}": f.violation for f in found})
