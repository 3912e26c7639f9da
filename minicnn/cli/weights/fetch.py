"""`minicnn weights fetch`: published weights into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import models
from ...errors import MinicnnError, nearest
from ...models import catalogue
from ..progress import loading


def command(
    name: Annotated[str, typer.Argument(help="A name that `minicnn weights list` shows.")],
) -> None:
    """Fetch published weights, so that they load without a network; where they are here already, say so."""
    known = [*catalogue.entries(), *(name for name in models.ARCHITECTURES if models.has_weights(name))]
    if name not in known:
        raise MinicnnError(f"no weights are called {name!r}{nearest(name, known)}")
    with loading("fetching") as progress:
        path = models.weights_of(name, progress=progress)
    print(path)
