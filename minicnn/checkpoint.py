"""Checkpoints: everything that a run needs to go on exactly where it was, in one safetensors file.

The file is written beside its place and renamed, so at any moment there is either the last checkpoint or the new one.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MinicnnError
from .files import write_bytes
from .layers import Layer
from .optimizers import Optimizer
from .parameter import to_host

FORMAT = "minicnn checkpoint 1"  # the only key of the file's metadata: safetensors writes several in any order


@dataclass
class RunState:
    """The position of a training run, and what it has measured.

    `batch` counts within the epoch, `step` over the whole run; `loss_sum` is that of the epoch so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, net: Layer, optimizer: Optimizer, state: RunState, *, settings: Any = None) -> None:
    """Write weights, optimizer, position, history and random states to `path`, whole or not at all."""
    from safetensors.numpy import save

    tensors = {f"net.{name}": to_host(a) for name, a in net.state_dict().items()}
    tensors |= {f"optimizer.{name}": to_host(a) for name, a in optimizer.state_dict().items()}
    run = {"state": asdict(state), "random": net.random_states(), "settings": settings}
    write_bytes(path, save(tensors, metadata={FORMAT: json.dumps(run)}))


def load_checkpoint(path: Path, net: Layer, optimizer: Optimizer, *, settings: Any = None) -> RunState:
    """Put a checkpoint back into the network and the optimizer, and return its position.

    Raises MinicnnError when the file is damaged or was made with other settings.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise MinicnnError(f"{path}: not a readable checkpoint ({error})") from None
    if FORMAT not in metadata:
        raise MinicnnError(f"{path}: expected a {FORMAT}, found other tensors")
    try:
        run = json.loads(metadata[FORMAT])
        other = difference(run["settings"], settings) if settings is not None else ""
        if not other:
            net.load_state_dict(part(tensors, "net."))
            optimizer.load_state_dict(part(tensors, "optimizer."))
            net.load_random_states(run["random"])
            return RunState(**run["state"])
    except (MinicnnError, KeyError, TypeError, json.JSONDecodeError, RecursionError) as error:
        raise MinicnnError(f"{path}: does not fit this run, or is damaged ({error})") from None
    raise MinicnnError(f"{path}: this run was started with other settings: {other}")


def part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name[len(prefix) :]: a for name, a in tensors.items() if name.startswith(prefix)}


def difference(saved: Any, settings: Any) -> str:
    """Which settings differ, for the error message; "" when none does."""
    old, new = saved or {}, json.loads(json.dumps(settings))
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys)


class Checkpointer:
    """Writes a checkpoint every `seconds`, and after each epoch as long as that takes a twentieth of the time."""

    def __init__(self, path: Path, *, seconds: float = 30.0, settings: Any = None) -> None:
        self.path, self.seconds, self.settings = Path(path), seconds, settings
        self._last, self._took = time.monotonic(), 0.0

    def due(self, *, epoch_ended: bool = False) -> bool:
        """Whether it is time for the next one."""
        since = time.monotonic() - self._last
        return since >= self.seconds or (epoch_ended and since >= 20 * self._took)

    def save(self, net: Layer, optimizer: Optimizer, state: RunState) -> None:
        """Write one now."""
        start = time.monotonic()
        save_checkpoint(self.path, net, optimizer, state, settings=self.settings)
        self._last = time.monotonic()
        self._took = self._last - start

    def restore(self, net: Layer, optimizer: Optimizer) -> RunState | None:
        """The last checkpoint put back, or None when there is none."""
        return load_checkpoint(self.path, net, optimizer, settings=self.settings) if self.path.exists() else None
