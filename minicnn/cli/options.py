"""The options that commands share, written once so that they are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name of a network, or of weights.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", "-w", help="A .safetensors, .pth or .onnx file (default: the model's own).")
]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same pictures.")]
Photo = Annotated[Path, typer.Argument(help="A picture file.")]
Target = Annotated[
    str | None, typer.Option("--target", "-t", help="Class: name, number or WordNet id (default: the predicted).")
]
LayerName = Annotated[str | None, typer.Option("--layer", "-l", help="A layer (`minicnn summary MODEL` lists them).")]
Unit = Annotated[
    str | None, typer.Option("--unit", help="A unit of the layer: 12, or channel,row,column (default: the strongest).")
]
Data = Annotated[str, typer.Option("--data", "-d", help="mnist, cifar10, digits, or a folder of pictures.")]
Split = Annotated[str, typer.Option("--split", help="train or test, of a data set.")]
