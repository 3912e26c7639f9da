"""Optimizers: one pass over the flat arrays that hold a network's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import kernels
from .errors import MinicnnError
from .kernels.backend import Array, get_array_module
from .parameter import Parameter, Stretch, pack, stretches, transfer


class Optimizer:
    """What all optimizers share: the learning rate, the state arrays, and which parameters decay.

    Weight decay is added to the gradient; it spares norms and biases unless `decay_all`.
    """

    state_names: tuple[str, ...] = ()  # of the arrays that it keeps beside the parameters

    def __init__(
        self, parameters: Sequence[Parameter], lr: float, *, weight_decay: float = 0.0, decay_all: bool = False
    ) -> None:
        if not parameters:
            raise MinicnnError("optimizer: no parameters")
        if not (lr > 0 and weight_decay >= 0):
            raise MinicnnError(f"optimizer: lr {lr}, weight decay {weight_decay}: expected above 0, 0 or more")
        self.parameters = list(parameters)
        self.lr, self.weight_decay, self.decay_all, self.steps = lr, weight_decay, decay_all, 0
        pack(self.parameters)
        self._state: dict[str, list[Array]] = {}
        self._place: list[Any] = []  # of the parameters, when their stretches were looked for last
        self._found: list[Stretch] = []

    def zero_grad(self) -> None:
        """Set every gradient to 0."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def step(self) -> None:
        """Update every parameter from its gradient."""
        self.steps += 1
        for parameter in self.parameters:
            parameter.grad  # noqa: B018  one that nothing was added to becomes zeros
        found = self._stretches()
        for name in self.state_names:
            if name not in self._state:
                self._state[name] = [zeros(stretch) for stretch in found]
            self._check_place(self._state[name], found)
        for index, stretch in enumerate(found):
            state = {name: arrays[index] for name, arrays in self._state.items()}
            self.update(stretch.value, stretch.grad, stretch.decay, **state)

    def update(self, value: Array, grad: Array, decay: float, **state: Array) -> None:
        """One step on a stretch of the flat arrays, in place."""
        raise TypeError(f"{type(self).__name__} does not say how it steps")

    def state_dict(self) -> dict[str, Array]:
        """Copies of the state by name and parameter ("velocity.conv1.weight"), and the number of steps."""
        state: dict[str, Array] = {"steps": np.asarray(self.steps, np.int64)}
        for name, arrays in self._state.items():
            for key, view in self._views(arrays):
                state[f"{name}.{key}"] = view.copy()
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from `state_dict`. Raises MinicnnError that names what is missing or misshaped."""
        self.steps = int(state["steps"])
        self._state = {}
        if self.steps == 0:
            return
        for name in self.state_names:
            arrays = [zeros(stretch) for stretch in self._stretches()]
            for key, view in self._views(arrays):
                saved = state.get(f"{name}.{key}")
                if saved is None or saved.shape != view.shape:
                    raise MinicnnError(f"optimizer: {name}.{key} {view.shape} is missing or misshaped")
                view[...] = transfer(saved, like=view)
            self._state[name] = arrays

    def _stretches(self) -> list[Stretch]:
        """The stretches of `parameters`; found anew where one has moved or decays otherwise."""
        place = [self.weight_decay, self.decay_all, *((p.flat, p.offset, p.decay) for p in self.parameters)]
        if place != self._place:
            self._place = place
            self._found = stretches(self.parameters, self.weight_decay, decay_all=self.decay_all)
        return self._found

    def _views(self, arrays: list[Array]) -> list[tuple[str, Array]]:
        """Each parameter's name (its number, where it has none) with its part of the state arrays."""
        views, found = [], self._stretches()
        for number, parameter in enumerate(self.parameters):
            for stretch, array in zip(found, arrays, strict=True):
                start = parameter.offset - stretch.where.start
                if parameter.flat is stretch.flat and 0 <= start < array.size:
                    part = array[start : start + parameter.size].reshape(parameter.shape)
                    views.append((parameter.name or str(number), part))
        return views

    @staticmethod
    def _check_place(arrays: list[Array], found: list[Stretch]) -> None:
        """Raise MinicnnError when the parameters were moved, converted or replaced since the state was made."""
        here = [(type(array), array.dtype, array.size) for array in arrays]
        if here != [(type(stretch.value), stretch.value.dtype, stretch.value.size) for stretch in found]:
            raise MinicnnError("optimizer: the network was moved or changed after the first step: make it anew")


def zeros(stretch: Stretch) -> Array:
    """State for a stretch of the flat arrays."""
    return get_array_module(stretch.value).zeros_like(stretch.value)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's on request; torch's formulas."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_all: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay=weight_decay, decay_all=decay_all)
        if not 0 <= momentum < 1 or (nesterov and not momentum):
            raise MinicnnError(f"SGD: momentum {momentum}: expected 0 to below 1, and above 0 for Nesterov")
        self.momentum, self.nesterov = momentum, nesterov
        self.state_names = ("velocity",) if momentum else ()

    def update(self, value: Array, grad: Array, decay: float, **state: Array) -> None:
        kernels.sgd_step(
            value,
            grad,
            state.get("velocity"),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=decay,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1), weight decay in the gradient as torch's Adam."""

    state_names = ("m", "v")

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_all: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay=weight_decay, decay_all=decay_all)
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and eps > 0):
            raise MinicnnError(f"Adam: beta1 {beta1}, beta2 {beta2}, eps {eps}: expected 0 to below 1, eps above 0")
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def update(self, value: Array, grad: Array, decay: float, **state: Array) -> None:
        kernels.adam_step(
            value,
            grad,
            state["m"],
            state["v"],
            lr=self.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=decay,
            step=self.steps,
        )
