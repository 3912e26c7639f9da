"""Activation functions, and the rules by which a ReLU goes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from .. import kernels
from ..errors import MinicnnError
from ..kernels.array.relu import RULES
from ..kernels.backend import Array, get_array_module
from .layer import Layer, Memory, Remember, Shape, channels_last
from .registry import Example, register


class Rectifier(Layer):
    """What ReLU and LeakyReLU share: a kink at 0, and a `rule`, one of RULES (kernels/array/relu.py), for going back.

    They remember on which side of it each element lay.
    """

    rule = "gradient"

    def memory(self, input_shape: Shape) -> int:
        return -(-prod(input_shape) // 8)  # one bit an element

    def sides(self, x: Array) -> Array | None:
        return x > 0


@register(Example({}, (3, 4, 5)), Example({}, (7,)), Example({}, (2, 9)))
class ReLU(Rectifier):
    """y = max(x, 0), any shape. `rule` is how it goes back."""

    def __init__(self, rule: str = "gradient") -> None:
        check_rule(rule)
        self.rule = rule

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.relu_forward(x, remember=remember)

    def rectified(self, y: Array, remember: Remember) -> None:
        """Remember a forward pass whose output another kernel has computed: the signs of y are those of x."""
        _, cache = kernels.relu_forward(channels_last(y), rectified=True, remember=remember)
        self._memory = Memory(remember, cache, y.shape, y.shape, y.dtype)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.relu_backward(dy, cache, rule=self.rule)

    def describe(self) -> str:
        return "" if self.rule == "gradient" else self.rule


class GuidedReLU(ReLU):
    """A ReLU whose backward lets positive gradients alone pass (Springenberg et al. 2014, section 3.4)."""

    def __init__(self) -> None:
        super().__init__("guided")


def check_rule(rule: str) -> None:
    """Raise MinicnnError for an unknown rule."""
    if rule not in RULES:
        raise MinicnnError(f"backward rule {rule!r}: there is {', '.join(RULES)}")


@contextmanager
def backward_rule(net: Layer, rule: str) -> Iterator[None]:
    """Within a `with` block, every rectifier of the network goes back by `rule`. The forward pass may lie before it."""
    check_rule(rule)
    rectifiers = [layer for _, layer in net.nodes() if isinstance(layer, Rectifier)]
    before = [layer.rule for layer in rectifiers]
    for layer in rectifiers:
        layer.rule = rule
    try:
        yield
    finally:
        for layer, old in zip(rectifiers, before, strict=True):
            layer.rule = old


@register(Example({}, (3, 4, 5)), Example({"negative_slope": 0.1}, (7,)))
class LeakyReLU(Rectifier):
    """y = x where x > 0, negative_slope·x elsewhere; any shape.

    By the rules "guided" and "deconvnet" it goes back as a ReLU does, in two steps: what is negative of the gradient is
    dropped; then "guided" multiplies by the derivative, which is nowhere 0 here, and "deconvnet" lets all pass. It is
    never dead: "redirected" is the gradient.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.leaky_relu_forward(x, slope=self.negative_slope, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        if self.rule in ("guided", "deconvnet"):
            dy = get_array_module(dy).maximum(dy, 0)
        return dy if self.rule == "deconvnet" else kernels.leaky_relu_backward(dy, cache)

    def describe(self) -> str:
        return f"{self.negative_slope:g}"


class Smooth(Layer):
    """What the smooth activations share: they keep their output, of which the derivative is a function."""

    def memory(self, input_shape: Shape) -> int:
        return 4 * prod(input_shape)


@register(Example({}, (3, 4, 5)), Example({"gain": 1.7159, "slope": 2 / 3}, (6,)))
class Tanh(Smooth):
    """y = gain·tanh(slope·x), any shape; LeCun et al. 1998, appendix A, take 1.7159 and 2/3."""

    def __init__(self, *, gain: float = 1.0, slope: float = 1.0) -> None:
        self.gain, self.slope = gain, slope

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        y, cache = kernels.tanh_forward(x if self.slope == 1 else x * self.slope, remember=remember)
        return y if self.gain == 1 else y * self.gain, cache

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        factor = self.gain * self.slope
        return kernels.tanh_backward(dy if factor == 1 else dy * factor, cache)


@register(Example({}, (3, 4, 5)), Example({}, (6,)))
class Sigmoid(Smooth):
    """y = 1/(1 + e^−x), any shape."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.sigmoid_forward(x, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.sigmoid_backward(dy, cache)


@register(Example({}, (6,)), Example({}, (4, 3, 2)))
class Softmax(Smooth):
    """y = eˣ/Σeˣ over the channels: (N, C, …) -> (N, C, …)."""

    def compute(self, x: Array, remember: Remember) -> tuple[Array, Any]:
        return kernels.softmax_forward(x, remember=remember)

    def pullback(self, dy: Array, cache: Any, need_dx: bool, need_dparams: bool) -> Array | None:
        return kernels.softmax_backward(dy, cache)
