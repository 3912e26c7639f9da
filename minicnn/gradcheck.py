"""Gradient checks: the hand-written backward pass against differences of the forward pass, in float64.

Take a random direction v of a tensor t and a random cotangent dy. With f(t) = ⟨dy, layer(t)⟩ the backward pass claims
f'(t)·v = ⟨dt, v⟩, and differences say so without it. One direction weighs every element at once, so an error in any
of them shows; correct code agrees to about 1e-11, a gradient that is wrong by 0.1 % differs by 5e-4. The bound is 1e-7.

The difference is Richardson's, (4·D(h) − D(2h))/3 with D(h) = (f(t + hv) − f(t − hv))/2h, whose error falls as h⁴.
ReLUs and max pools have kinks, across which no difference means anything: both keep on which side they were (the mask,
the switches), so h shrinks until no side changes between t − 2hv and t + 2hv. Where it cannot, the element on the edge
is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import MinicnnError
from .kernels.backend import Array
from .layers import Layer, Shape
from .layers.containers import Container

BOUND = 1e-7
STEPS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


@dataclass
class Check:
    """One tensor of one layer: the two derivatives along the random direction, and where to look if they differ."""

    layer: str
    tensor: str
    analytic: float
    numeric: float
    scale: float
    note: str = ""

    @property
    def error(self) -> float:
        """|analytic − numeric| relative to the size of the terms that were summed, 0 … about 1."""
        return abs(self.analytic - self.numeric) / max(self.scale, 1e-300)

    @property
    def ok(self) -> bool:
        return self.error <= BOUND


@dataclass
class Report:
    """The checks of a layer or a network. True when every one passed."""

    checks: list[Check] = field(default_factory=list)

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((check.error for check in self.checks), default=0.0)

    def __bool__(self) -> bool:
        return not self.failures


def check_gradients(
    layer: Layer, input_shape: Shape, *, batch: int = 2, seed: int = 0, training: bool = True
) -> Report:
    """Check dx and every parameter's gradient of a layer or a network on a random input (batch, *input_shape).

    A network is checked layer by layer, each on the input that it gets there, and then as a whole, from the picture to
    the scores. Parameters are converted to float64 for the check and put back as they were. Raises MinicnnError when
    the input does not fit.
    """
    generator = np.random.default_rng(seed)
    parameters = layer.parameters()
    before = (
        layer.state_dict(),
        layer.random_states(),
        layer.training,
        parameters[0].value.dtype if parameters else None,
    )
    layer.train(training).to(dtype=np.float64)
    try:
        x = generator.uniform(0, 1, (batch, *input_shape)) if isinstance(layer, Container) else None
        x = generator.standard_normal((batch, *input_shape)) if x is None else x
        report = Report()
        if isinstance(layer, Container):
            for path, leaf, inputs in leaf_inputs(layer, x):
                report.checks += check_layer(leaf, inputs, path, generator)
        report.checks += check_layer(layer, x, "whole" if report.checks else type(layer).__name__, generator)
        return report
    finally:
        layer.train(before[2]).to(dtype=before[3] or np.float32)
        layer.load_state_dict(before[0])
        layer.load_random_states(before[1])
        for parameter in parameters:
            parameter.grad = np.zeros_like(parameter.grad)


def leaf_inputs(net: Container, x: Array) -> list[tuple[str, Layer, Array]]:
    """(path, layer, an input like the one it gets) of every layer without layers inside, for one forward pass on x.

    A hundredth of noise is added: behind a ReLU many values are exactly 0, and a max pool would stand on the kink
    where they tie.
    """
    leaves = [(path, layer) for path, layer in net.layers() if not layer.children()]
    noise = np.random.default_rng(1)
    with watching(leaves) as inputs:
        net.forward(x)
        return [
            (path, layer, inputs[path] + 0.01 * inputs[path].std() * noise.standard_normal(inputs[path].shape))
            for path, layer in leaves
        ]


@contextmanager
def watching(layers: Sequence[tuple[str, Layer]]) -> Iterator[dict[str, Array]]:
    """Within the block, what each of the layers gets as its input lies in the dictionary that this gives."""
    inputs: dict[str, Array] = {}

    def spy(path: str, forward: Callable[..., Array]) -> Callable[..., Array]:
        def forward_and_tell(x: Array, **options: Any) -> Array:
            inputs[path] = x
            return forward(x, **options)

        return forward_and_tell

    for path, layer in layers:
        vars(layer)["forward"] = spy(path, layer.forward)
    try:
        yield inputs
    finally:
        for _, layer in layers:
            del vars(layer)["forward"]


def check_layer(layer: Layer, x: Array, name: str, generator: np.random.Generator) -> list[Check]:
    """Check dx and each parameter's gradient of one layer (or network) at x."""
    function = Function(layer, x)
    y = function()
    dy = generator.standard_normal(y.shape)
    gradients = function.gradients(dy)
    checks = []
    for tensor, gradient in gradients.items():
        target = function.tensors[tensor]
        if not target.size:
            continue
        direction = generator.standard_normal(target.shape)
        checks.append(check_tensor(function, name, tensor, gradient, direction, dy))
    return checks


class Function:
    """A layer's forward pass as a function of the input and the parameters, any one of them moved along a direction."""

    def __init__(self, layer: Layer, x: Array) -> None:
        self.layer, self.x = layer, x
        self.tensors = {"x": x} | {n: p.value for n, p in layer.named_parameters().items()}
        self.random = layer.random_states()
        self.buffers = {name: b.value.copy() for name, b in layer.named_buffers().items()}
        self.kinked = [(path, la) for path, la in [("", layer), *layer.layers()] if la.sides(x[:0]) is not None]

    def __call__(self, h: float = 0.0, tensor: str = "x", direction: Array | float = 0.0) -> Array:
        """y with `tensor` moved by h·direction; the same dropout and the same running averages every time."""
        self.layer.load_random_states(self.random)
        for name, buffer in self.layer.named_buffers().items():
            buffer.value[...] = self.buffers[name]
        if tensor == "x":
            return self.layer.forward(self.x + h * direction)
        target = self.tensors[tensor]
        kept = target.copy()
        target += h * direction
        try:
            return self.layer.forward(self.x)
        finally:
            target[...] = kept

    def with_sides(self, h: float, tensor: str, direction: Array) -> tuple[Array, dict[str, Array]]:
        """y, and on which side of its kinks each kinked layer was."""
        with watching(self.kinked) as inputs:
            y = self(h, tensor, direction)
        return y, {path: layer.sides(inputs[path]) for path, layer in self.kinked}

    def gradients(self, dy: Array) -> dict[str, Array]:
        """What the backward pass gives for each tensor at the point itself."""
        self()
        for parameter in self.layer.parameters():
            parameter.grad = np.zeros_like(parameter.grad)
        dx = self.layer.backward(dy)
        if dx is None or dx.shape != self.x.shape:
            got = "None" if dx is None else f"shape {dx.shape}"
            raise MinicnnError(f"{type(self.layer).__name__}: backward gave {got}, expected dx of shape {self.x.shape}")
        return {"x": dx} | {n: p.grad.copy() for n, p in self.layer.named_parameters().items()}


def check_tensor(function: Function, name: str, tensor: str, gradient: Array, direction: Array, dy: Array) -> Check:
    """Compare ⟨gradient, direction⟩ with the difference along the direction; look closer where they differ."""
    analytic = float(np.vdot(gradient, direction))
    scale = float(np.linalg.norm(gradient * direction))  # of the terms summed: their sum may cancel
    for h in STEPS:
        numeric, crossed, resolution = difference(function, tensor, direction, dy, h)
        if not crossed:
            break
    check = Check(name, tensor, analytic, numeric, max(scale, resolution / BOUND))
    if not check.ok:
        kink = f"a kink at {crossed} lies within {h:g}" if crossed else ""
        check.note = "; ".join(filter(None, [kink, worst_element(function, tensor, gradient, dy)]))
    return check


def difference(function: Function, tensor: str, direction: Array, dy: Array, h: float) -> tuple[float, str, float]:
    """(the derivative of ⟨dy, y⟩ along the direction, the kink that was crossed or "", what rounding leaves open)."""
    (y1, _), (y_1, _) = (function.with_sides(k * h, tensor, direction) for k in (1, -1))
    (y2, ahead), (y_2, behind) = (function.with_sides(k * h, tensor, direction) for k in (2, -2))
    crossed = ""
    for path, there in ahead.items():
        changed = np.argwhere(there != behind[path])
        if len(changed):
            crossed = f"{path or 'the layer'} ({', '.join(str(int(i)) for i in changed[0])})"
            break
    near, far = float(np.vdot(dy, y1 - y_1)) / (2 * h), float(np.vdot(dy, y2 - y_2)) / (4 * h)
    resolution = float(np.finfo(np.float64).eps * np.linalg.norm(dy * y1) / h)
    return (4 * near - far) / 3, crossed, resolution


def worst_element(function: Function, tensor: str, gradient: Array, dy: Array, limit: int = 2000) -> str:
    """Check single elements (all, or `limit` of them) and describe the one that is most wrong."""
    flat = np.arange(gradient.size)
    if gradient.size > limit:
        flat = np.random.default_rng(0).choice(gradient.size, limit, replace=False)
    worst, text = -1.0, ""
    for index in flat:
        where = np.unravel_index(index, gradient.shape)
        direction = np.zeros(gradient.shape)
        direction[where] = 1
        numeric, crossed, _ = difference(function, tensor, direction, dy, 1e-6)
        wrong = abs(numeric - gradient[where])
        if wrong > worst:
            place = "(" + ", ".join(str(int(i)) for i in where) + ")"
            worst = wrong
            text = f"worst element {tensor}{place}: backward {gradient[where]:.9g}, difference {numeric:.9g}"
            text += f", within 2e-6 of a kink at {crossed}" if crossed else ", no kink within 2e-6"
    return text
