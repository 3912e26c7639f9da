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
    metadata = {
        "format": "minicnn checkpoint 1",
        "state": json.dumps(asdict(state)),
        "random": json.dumps(net.random_states()),
        "settings": json.dumps(settings, sort_keys=True),
    }
    write_bytes(path, save(tensors, metadata=metadata))


def load_checkpoint(path: Path, net: Layer, optimizer: Optimizer, *, settings: Any = None) -> RunState:
    """Put a checkpoint back into the network and the optimizer, and return its position.

    Raises MinicnnError when the file is damaged or was made with other settings.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise MinicnnError(f"{path}: not a readable checkpoint ({error})") from None
    if not metadata.get("format", "").startswith("minicnn checkpoint"):
        raise MinicnnError(f"{path}: expected a minicnn checkpoint, found other tensors")
    if settings is not None and metadata["settings"] != json.dumps(settings, sort_keys=True):
        raise MinicnnError(
            f"{path}: this run was started with other settings: {difference(metadata['settings'], settings)}"
        )
    net.load_state_dict(part(tensors, "net."))
    optimizer.load_state_dict(part(tensors, "optimizer."))
    net.load_random_states(json.loads(metadata["random"]))
    return RunState(**json.loads(metadata["state"]))


def part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name[len(prefix) :]: a for name, a in tensors.items() if name.startswith(prefix)}


def difference(saved: str, settings: Any) -> str:
    """Which settings differ, for the error message."""
    old, new = json.loads(saved) or {}, json.loads(json.dumps(settings))
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys)


def to_host(a: Any) -> np.ndarray:
    """A NumPy copy of an array of any device."""
    return np.asarray(a if isinstance(a, np.ndarray) else a.get(), order="C")


class Checkpointer:
    """Writes a checkpoint every `seconds`, and at the end of each epoch when that is later. A training callback."""

    def __init__(self, path: Path, *, seconds: float = 30.0, settings: Any = None) -> None:
        self.path, self.seconds, self.settings = Path(path), seconds, settings
        self._last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.seconds

    def save(self, net: Layer, optimizer: Optimizer, state: RunState) -> None:
        save_checkpoint(self.path, net, optimizer, state, settings=self.settings)
        self._last = time.monotonic()

    def restore(self, net: Layer, optimizer: Optimizer) -> RunState | None:
        """The last checkpoint put back, or None when there is none."""
        return load_checkpoint(self.path, net, optimizer, settings=self.settings) if self.path.exists() else None
