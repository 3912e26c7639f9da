"""What a picture is to be like whatever it shows: small and smooth. Objectives as all others: less is better."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MinicnnError
from ..kernels.backend import Array, get_array_module
from ..network import INPUT
from .objectives import Activations, Gradients, Objective, per_channel
from .registry import Example, register


@register(Example({}), Example({"center": (0.4, 0.5, 0.6)}), Example({"layer": "fc1"}, {"fc1": (2, 5)}))
@dataclass(frozen=True)
class L2(Objective):
    """‖a − center‖² of a layer, of the picture unless another is named (‖I‖² in Simonyan et al. 2013, equation 1).

    center: a number, or one a channel: the paper's I is measured from the mean of the training pictures.
    """

    layer: str = INPUT
    center: float | tuple[float, ...] = 0.0

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        away = a - per_channel(self.center, a)
        return (away * away).sum(), {self.layer: 2 * away}


@register(
    Example({"alpha": 6.0}),
    Example({"alpha": 3.0, "center": (0.4, 0.5, 0.6)}),
    Example({"alpha": 1.5, "layer": "fc1"}, {"fc1": (2, 5)}),
)
@dataclass(frozen=True)
class AlphaNorm(Objective):
    """Σ|a − center|^α of a layer, of the picture unless another is named.

    Mahendran & Vedaldi 2015, section 3, with α = 6: values stay within a range, and are free inside it.
    """

    alpha: float = 6.0
    layer: str = INPUT
    center: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        if self.alpha <= 1:
            raise MinicnnError(f"AlphaNorm: alpha {self.alpha}: expected more than 1")

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        away = a - per_channel(self.center, a)
        power = abs(away) ** (self.alpha - 1)
        value = (power * abs(away)).sum()
        return value, {self.layer: self.alpha * power * get_array_module(a).sign(away)}


FLOOR = 1e-5


@register(
    *(Example({"beta": beta}) for beta in (1.0, 2.0, 3.0)),
    Example({"beta": 1.5, "layer": "conv1"}, {"conv1": (1, 2, 1, 4)}),
)
@dataclass(frozen=True)
class TotalVariation(Objective):
    """Σ (dx² + dy²)^(β/2) over the places of every channel; dx, dy: differences to the right and the lower neighbour.

    Mahendran & Vedaldi 2015, section 3. Channels are never compared with each other. With v = dx² + dy² and
    w = β·v^(β/2 − 1) the gradient is −div(w·∇a). For β < 2 it grows without bound as v falls to 0: below v = 1e-5 the
    power goes on as its tangent, so that the gradient stays finite and exact.
    """

    beta: float = 2.0
    layer: str = INPUT

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise MinicnnError(f"TotalVariation: beta {self.beta}: expected more than 0")

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def evaluate(self, activations: Activations) -> tuple[Array, Gradients]:
        a = activations[self.layer]
        if a.ndim != 4:
            raise MinicnnError(f"{self.layer}: total variation of {tuple(a.shape)}: expected (N, C, H, W)")
        xp, half = get_array_module(a), self.beta / 2
        down, right = a[:, :, 1:] - a[:, :, :-1], a[..., 1:] - a[..., :-1]  # (N, C, H − 1, W), (N, C, H, W − 1)
        v = xp.zeros_like(a)  # at the last row and column the missing difference is 0
        v[:, :, :-1] += down * down
        v[..., :-1] += right * right
        raised = xp.maximum(v, FLOOR) if half < 1 else v
        w = 2 * half * raised ** (half - 1)
        gradient = xp.zeros_like(a)
        flow = w[:, :, :-1] * down
        gradient[:, :, 1:] += flow
        gradient[:, :, :-1] -= flow
        flow = w[..., :-1] * right
        gradient[..., 1:] += flow
        gradient[..., :-1] -= flow
        value = (raised**half + (v - raised) * w / 2).sum()
        return value, {self.layer: gradient}
