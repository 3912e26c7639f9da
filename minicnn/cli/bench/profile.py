"""Where the time of a step goes: each layer forward and backward, beside the least that the machine would need."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minicnn import models
from minicnn.errors import MinicnnError, nearest
from minicnn.layers import Container, Layer, Remember, Shape
from minicnn.layers.fusion import fusion_of

from .limits import Cost, Limits, backward_cost, forward_cost
from .workloads import PICTURE_LAYER, WORKLOADS, Workload, prepare, workload

SECONDS, STEPS = 3.0, 5  # of profiling, whichever is longer

METHODS = {"compute": "forward", "rectified": "forward", "pullback": "backward"}  # of layers, that are timed
FREE = Cost(0, 0)
REMEMBER: dict[str, Remember] = {"train": "all", "predict": None, "picture": "input"}


class Part(NamedTuple):
    """A layer in a step, or several that one kernel computes, and what its two passes must do at least."""

    layers: list[Layer]
    forward: Cost
    backward: Cost

    @property
    def name(self) -> str:
        """ "stage1.block1.norm1 + relu1"."""
        head, *behind = (layer.path for layer in self.layers)
        return " + ".join([head, *(path.rpartition(".")[2] for path in behind)])


def profiled(name: str) -> Workload:
    """The workload that a model's name stands for: the first in the table with this model; or a workload's own name."""
    if name not in models.ARCHITECTURES:
        try:
            return workload(name)
        except MinicnnError:
            hint = nearest(name, [*models.ARCHITECTURES, *WORKLOADS])
            raise MinicnnError(f"--profile {name}: no such model or workload{hint}") from None
    known = (workload(known) for known in WORKLOADS)
    return next((work for work in known if work.model == name), None) or workload(f"{name}-32")


def parts(net: Container, work: Workload) -> list[Part]:
    """What a step runs, in order."""
    batch, *shape = work.input_shape
    need_dparams = work.kind == "train"
    found: list[Part] = []
    learning = False  # whether a layer before this one has parameters
    for group, before in groups(net, tuple(shape), REMEMBER[work.kind]):
        need_dx = work.kind == "picture" or (need_dparams and learning)
        backward = backward_cost(group, before, batch, need_dx=need_dx, need_dparams=need_dparams)
        found.append(Part(group, forward_cost(group, before, batch), backward))
        learning = learning or bool(group[0].parameters())
        if work.kind == "picture" and PICTURE_LAYER in (layer.path for layer in group):
            break
    return found


def groups(net: Container, input_shape: Shape, remember: Remember) -> Iterator[tuple[list[Layer], Shape]]:
    """The layers that have none inside, those together that run as one (fusion.py), and the shape of their input."""
    children = list(net.inputs(input_shape))
    while children:
        (layer, shape), *others = children
        length = fusion_of([child for child, _ in children], remember).size
        behind = [child for child, _ in others[: length - 1]]
        inner = list(groups(layer, shape, remember)) if isinstance(layer, Container) else [([layer], shape)]
        _, end = layer.end()  # the layer whose kernel computes those behind along
        yield from ((group + behind * (group[-1] is end), before) for group, before in inner)
        del children[:length]


def step_cost(work: Workload, limits: Limits) -> tuple[Cost, float]:
    """What a whole step must do at least, and its bound in milliseconds, the sum of those of its parts."""
    net = models.architecture(work.model)
    costs = [cost for part in parts(net, work) for cost in (part.forward, part.backward)]
    if work.kind == "train":  # the update reads value, gradient and momentum, and writes value and momentum
        costs.append(Cost(0, 5 * 4 * net.num_parameters()))
    total = Cost(sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs))
    return total, sum(limits.bound_ms(cost) for cost in costs)


class Stopwatch:
    """Times methods of objects, step by step; all in milliseconds."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], float] = defaultdict(float)
        self.steps: list[dict[tuple[str, str], float]] = []
        self.whole: list[float] = []  # of each step
        self.running = False  # a method that is timed; another one in it is part of it

    def hook(self, owner: Any, method: str, row: str, way: str) -> None:
        """From here on `owner.method` runs as before, and its time is added up under (row, way)."""
        run = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            if self.running:
                return run(*args, **options)
            self.running, start = True, time.perf_counter()
            try:
                return run(*args, **options)
            finally:
                self.running = False
                self.now[row, way] += 1e3 * (time.perf_counter() - start)

        vars(owner)[method] = timed

    def run(self, step: Callable[[], object]) -> None:
        """Run one step to warm up, and then as many as fit into the time."""
        step()
        self.now.clear()
        while len(self.steps) < STEPS or sum(self.whole) < 1e3 * SECONDS:
            start = time.perf_counter()
            step()
            self.whole.append(1e3 * (time.perf_counter() - start))
            self.steps.append(dict(self.now))
            self.now.clear()

    def ms(self, row: str, way: str) -> float:
        """The median over the steps."""
        return float(np.median([step.get((row, way), 0.0) for step in self.steps]))

    def rest(self) -> float:
        """What is in no row."""
        steps = zip(self.whole, self.steps, strict=True)
        return float(np.median([whole - sum(step.values()) for whole, step in steps]))


def profile(work: Workload, limits: Limits) -> list[dict[str, Any]]:
    """The lines of profile.json: a layer each, then what is not in a layer, then the whole step."""
    ready = prepare(work)
    watch = Stopwatch()
    net, loss, optimizer = ready.net, ready.loss, ready.optimizer
    assert net is not None
    rows = parts(net, work)
    for part in rows:
        for layer in part.layers:
            for method, way in METHODS.items():
                if hasattr(layer, method):
                    watch.hook(layer, method, part.name, way)
    for name, owner, methods in (
        ("loss", loss, ("forward", "backward")),
        ("optimizer", optimizer, ("zero_grad", "step")),
    ):
        if owner is not None:
            watch.hook(owner, methods[0], name, "forward")
            watch.hook(owner, methods[1], name, "backward")
    watch.run(ready.step)
    lines = [line(part.name, part.layers[0], watch, limits, part.forward, part.backward) for part in rows]
    if work.kind == "train":
        size = net.num_parameters()
        lines.append(line("loss", loss, watch, limits, FREE, FREE))
        lines.append(line("optimizer", optimizer, watch, limits, Cost(0, 4 * size), Cost(0, 20 * size)))
    _, bound = step_cost(work, limits)
    whole = float(np.median(watch.whole))
    return [
        *lines,
        {"layer": "between the layers", "kind": "", "ms": round(watch.rest(), 4)},
        {"layer": "all", "kind": work.name, "ms": round(whole, 4), "bound_ms": round(bound, 4)},
    ]


def line(name: str, thing: Any, watch: Stopwatch, limits: Limits, forward: Cost, backward: Cost) -> dict[str, Any]:
    """What a layer took in both passes, and their bounds."""
    settings = thing.describe() if isinstance(thing, Layer) else ""
    return {
        "layer": name,
        "kind": f"{type(thing).__name__} {settings}".strip(),
        "forward_ms": round(watch.ms(name, "forward"), 4),
        "forward_bound_ms": round(limits.bound_ms(forward), 4),
        "backward_ms": round(watch.ms(name, "backward"), 4),
        "backward_bound_ms": round(limits.bound_ms(backward), 4),
    }
