"""`minicnn weights convert`: a file of torch, ONNX or another program as a safetensors file with our names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ... import models
from ...errors import MinicnnError
from ...models import catalogue
from ...weights import WeightsFile, read_weights, save_weights

SUFFIX = ".safetensors"


def command(
    file: Annotated[Path, typer.Argument(help="A .pth, .onnx or .safetensors file.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The network it is for (default: the one that its tensors fit).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The new file (default: MODEL.safetensors, in this folder).")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="float16: half as large, three digits.")] = False,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Number of classes.")] = None,
    without_head: Annotated[
        bool, typer.Option("--without-head", help="Draw the last layer anew, for --classes of your own.")
    ] = False,
) -> None:
    """Turn a file of another program into one that loads fast and needs nothing else; nothing in it is executed.

    The new file holds the preprocessing as well. It is read back by `--model MODEL --weights FILE`.
    """
    if out is not None and out.suffix.lower() != SUFFIX:
        raise MinicnnError(f"{out}: the new file is one of safetensors: expected a name that ends in {SUFFIX}")
    name = model or network_of(read_weights(file))
    target = out or Path(f"{name}{SUFFIX}")
    if target.exists() and target.samefile(file):
        raise MinicnnError(f"{target}: is the file that is read; name another one with --out")
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    net = models.load(name, weights=file, head=not without_head, **options)
    save_weights(net, target, dtype=np.float16 if half else np.float32)
    number = net.output_shape(net.input_shape)[0]
    print(
        f"{target}: {name}, {net.num_parameters():,} parameters, {number} classes, {target.stat().st_size / 1e6:.1f} MB"
    )


def network_of(file: WeightsFile) -> str:
    """The name that a file's tensors fit: the catalogue's for a file called as there, else the one network's."""
    named = [entry.name for entry in catalogue.entries().values() if entry.file == file.path.name]
    if named:
        return named[0]
    fitting = [name for name in models.ARCHITECTURES if fits(file, name)]
    if len(fitting) != 1:
        which = f"those of {', '.join(fitting)}" if fitting else "no network here"
        raise MinicnnError(f"{file.path}: its tensors fit {which}; say which network it is for with --model")
    return fitting[0]


def fits(file: WeightsFile, name: str) -> bool:
    """Whether a network has these tensors, but for the number of classes."""
    net = models.architecture(name)
    origins = models.foreign_names(name, net)
    if not file.tensors.keys() >= set(file.names(net, origins).values()):
        return False
    try:
        file.state(net, origins, keep=models.head_of(name))
    except MinicnnError:
        return False
    return True
