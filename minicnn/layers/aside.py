"""Layers beside the way through a network."""

from __future__ import annotations

from ..kernels.backend import Array
from .containers import Chain, Grads
from .layer import Remember, Shape, add_gradients


class Aside(Chain):
    """y = x. Its layers compute something from x on the side, where an activation inside is asked for.

    So they cost nothing where nobody asks. An auxiliary classifier is one (Szegedy et al. 2014, section 5): its scores
    are an activation inside, and the gradient injected there is added to that of the way through.
    """

    def trace(  # type: ignore[override]  # nothing fused
        self, x: Array, wanted: set[str], remember: Remember
    ) -> tuple[Array | None, dict[str, Array]]:
        _, found = self.trace_chain(x, wanted, remember, need_y=False)
        return x if "" in wanted else None, found

    def inject(  # type: ignore[override]  # nothing fused
        self, dy: Array | None, grads: Grads, need_dx: bool, need_dparams: bool
    ) -> Array | None:
        dx = self.inject_chain(None, grads, need_dx, need_dparams)
        return add_gradients(dy, dx) if need_dx else None

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
