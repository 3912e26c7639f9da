"""What the commands share: the network, the picture, and the folder that the results go to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minicnn import models
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.parameter import transfer
from minicnn.pictures import load_picture, notes, to_picture
from minicnn.run import Run


def load_network(model: str, weights: Path | None = None, device: str = "cpu") -> Network:
    """A trained network on a device, in evaluation mode."""
    net = models.load(model, weights=weights)
    net.to(device)
    return net


def open_run(out: Path, *, seed: int, inputs: list[Path | None], **settings: Any) -> Run:
    """The folder of a picture command; an earlier picture run in it is overwritten."""
    run = Run(out, command=["minicnn", *sys.argv[1:]], settings=settings, seed=seed, exist="overwrite")
    for path in inputs:
        if path is not None:
            run.hash_input(path)
    return run


def read_photo(path: Path, net: Network) -> tuple[Array, Image.Image]:
    """(the network's input (1, C, H, W), the picture that it sees); says what was unusual about the file."""
    picture = load_picture(path)
    for note in notes(picture):
        print(f"{path}: {note}")
    x = net.prepare(picture)
    return transfer(x, like=net.parameters()[0].value), to_picture(x[0])


def describe(net: Network, x: Array) -> str:
    """ "7 (98.3 %)": the class that the network sees, and how sure it is."""
    best = net.predict(x, top=1)[0][0]
    return f"{best.name} ({100 * best.probability:.1f} %)"


def to_numpy(a: Array) -> np.ndarray:
    """An array of any device on the host."""
    return a if isinstance(a, np.ndarray) else a.get()
