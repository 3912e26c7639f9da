"""Adversarial training (Goodfellow, Shlens, Szegedy 2015, section 6): learn from pictures that fool the network, too.

    J̃(x, y) = (1 − share)·J(x, y) + share·J(x + ε·sign ∇J(x, y), y)

in the mean: of every batch a share is replaced by what fools the network as it is at that step, with the same labels.
With PGD in the place of FGSM it is the training of Madry et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minicnn.errors import MinicnnError, nearest, whole_number
from minicnn.image import NotFinite
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.recipe import is_number
from minicnn.training import Data, to_device

from .attacks import WITHIN, radius, settings_within


class Adversarial:
    """The batches of `data`, the first `share` of each fooled: data to train on, or with share 1 to be measured on.

    method: fgsm, bim or pgd; epsilon, norm, steps and step: its settings, ε also as "8/255", by default `radius`'s. A
    batch is fooled when it is asked for, in evaluation mode, and nothing of the network changes by it. It depends on
    the weights, seed, epoch and number of the batch alone: a run that was stopped and goes on sees the same bits.

    Example: `evaluate(net, Adversarial(Batches(test, 250, shuffle=False), net, epsilon=0.25, share=1))`
    """

    def __init__(
        self,
        data: Data,
        net: Network,
        /,
        *,
        method: str = "fgsm",
        epsilon: float | str | None = None,
        share: float = 0.5,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.data, self.net, self.seed = data, net, whole_number("adversarial: seed", seed, 0)
        if not isinstance(method, str) or method not in WITHIN:
            raise MinicnnError(f"adversarial: method {method!r}{nearest(str(method), WITHIN)}")
        if not is_number(share) or not 0 <= share <= 1:
            raise MinicnnError(f"adversarial: share = {share!r}: expected a number from 0 to 1")
        known = settings_within(method)
        for name, value in settings.items():
            if name not in known:
                raise MinicnnError(f"adversarial: no setting {name!r} of {method}{nearest(name, known)}")
            if name == "steps":
                whole_number("adversarial: steps", value, 1)
            if name == "step" and not (is_number(value) and value > 0):
                raise MinicnnError(f"adversarial: step = {value!r}: expected a number above 0")
        self.attack, self.share, self.settings = WITHIN[method], share, {**known, **settings}
        self.epsilon = radius(epsilon, str(self.settings["norm"]), net.input_shape)
        self.method = method

    def __len__(self) -> int:
        return len(self.data)

    def __str__(self) -> str:
        return f"{100 * self.share:.0f} % of the pictures fooled by {self.method}, epsilon {self.epsilon:.4g}"

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """The batches of an epoch, from batch `start` on: pictures on the network's device, and their labels."""
        for batch, (x, y) in enumerate(self.data.epoch(epoch, start), start):
            yield self.fooled(to_device(x, self.net), y, (self.seed, epoch, batch)), y

    def fooled(self, x: Array, y: Array, seed: tuple[int, ...]) -> Array:
        """x (N, C, H, W), the first `share` of it fooled."""
        count = round(self.share * len(x))
        if not count:
            return x
        random = {"seed": seed} if self.method == "pgd" else {}
        try:
            changed = self.attack(self.net, x[:count], y[:count], self.epsilon, **self.settings, **random)
        except NotFinite:
            return x  # nor is the loss of this batch finite: training stops by it, and says where it began
        return get_array_module(x).concatenate([changed, x[count:]])
