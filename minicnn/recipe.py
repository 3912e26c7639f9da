"""Recipes: everything that decides how a network is trained, in one TOML file.

model = "lenet5"
data = "mnist"
epochs = 8
batch_size = 64
seed = 0
optimizer = { name = "sgd", lr = 0.05, momentum = 0.9 }
schedule = { name = "one_cycle" }
augment = [{ name = "shift", pixels = 2 }]
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import MinicnnError, nearest
from .optimizers import SGD, Adam, Optimizer
from .parameter import Parameter

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run; `optimizer`, `schedule` and `augment` name their parts and give their options.

    `options` are those of the model, such as its dropout; `adversarial`, unless it is empty, those of adversarial
    training: {"method": "fgsm", "epsilon": 0.25, "share": 0.5}.
    """

    model: str
    data: str
    epochs: int
    batch_size: int = 64
    seed: int = 0
    label_smoothing: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "sgd", "lr": 0.05, "momentum": 0.9})
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"name": "constant"})
    augment: Sequence[Mapping[str, Any]] = ()
    adversarial: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = dict.fromkeys(("options", "optimizer", "schedule", "adversarial"), Mapping)
        kinds: dict[str, type] = {"model": str, "data": str, **tables, "augment": Sequence}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
                raise MinicnnError(f"recipe: {name} = {value!r}: expected a {kind.__name__.lower()}")
        for name, least in {"epochs": 1, "batch_size": 1, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise MinicnnError(f"recipe: {name} = {value!r}: expected a whole number of {least} or more")
        if not is_number(self.label_smoothing) or not 0 <= self.label_smoothing < 1:
            raise MinicnnError(
                f"recipe: label_smoothing = {self.label_smoothing!r}: expected a number from 0 to below 1"
            )
        if "num_classes" in self.options:
            raise MinicnnError("recipe: options.num_classes: the number of classes is the data set's")

    def settings(self) -> dict[str, Any]:
        """As plain values, for run.json and the checkpoint: `adversarial` only where there is any."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value or name != "adversarial"}

    def make_optimizer(self, parameters: Sequence[Parameter]) -> Optimizer:
        """The optimizer it names. Raises MinicnnError for unknown names and options."""
        options = dict(self.optimizer)
        name = options.pop("name", "sgd")
        if not isinstance(name, str) or name not in OPTIMIZERS:
            raise MinicnnError(f"optimizer {name!r}{nearest(str(name), OPTIMIZERS)}")
        known = dict(list(inspect.signature(OPTIMIZERS[name]).parameters.items())[1:])
        for option, value in options.items():
            if option not in known:
                raise MinicnnError(f"optimizer {name!r} has no option {option!r}{nearest(option, known)}")
            switch = isinstance(known[option].default, bool)
            if not (isinstance(value, bool) if switch else is_number(value)):
                expected = "true or false" if switch else "a number"
                raise MinicnnError(f"optimizer {name!r}: {option} = {value!r}: expected {expected}")
        for option, parameter in known.items():
            if parameter.default is parameter.empty and option not in options:
                raise MinicnnError(f"optimizer {name!r}: {option} is missing")
        return OPTIMIZERS[name](parameters, **options)


def is_number(value: object) -> bool:
    """Whether it is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def load_recipes(name: str, folder: Path, overrides: Mapping[str, Any] | None = None) -> list[Recipe]:
    """A recipe of `folder` by its name, or a .toml file by its path; `overrides` replace single settings.

    One, or one for each model of a file that says `models = ["plain20", "resnet20"]` in place of `model`. Raises
    MinicnnError that names the file and the setting.
    """
    shipped = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    path = Path(name) if name.endswith(".toml") else shipped.get(name)
    if path is None:
        raise MinicnnError(f"no recipe {name!r}{nearest(name, shipped)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MinicnnError(f"{path}: not a TOML file: {error}") from None
    except OSError as error:
        raise MinicnnError(f"{path}: {error.strerror}") from None
    for key, value in (overrides or {}).items():
        table, _, inner = key.partition(".")
        if inner:
            if not isinstance(content.setdefault(table, {}), dict):
                raise MinicnnError(f"setting {key}: {table} is not a table")
            content[table][inner] = value
        else:
            content[key] = value
    several = _models(content, path)
    known = [f.name for f in dataclasses.fields(Recipe)]
    for key in content:
        if key not in known:
            raise MinicnnError(f"{path}: unknown setting {key!r}{nearest(key, known)}")
    for key in ("model", "data", "epochs"):
        if key not in content and not (key == "model" and several):
            raise MinicnnError(f"{path}: {key} is missing")
    return [Recipe(**{**content, "model": model}) for model in several or [content["model"]]]


def _models(content: dict[str, Any], path: Path) -> list[str]:
    """Takes `models` out of a recipe's file; empty where there is none."""
    models = content.pop("models", None)
    if models is None:
        return []
    texts = isinstance(models, list) and all(isinstance(model, str) for model in models)
    if not texts or not models or len(set(models)) != len(models) or "model" in content:
        raise MinicnnError(f"{path}: models = {models!r}: expected a list of different models, and no model beside it")
    return list(models)


def parse_setting(text: str) -> tuple[str, Any]:
    """ "optimizer.lr=0.1" -> ("optimizer.lr", 0.1): the value as TOML reads it, or else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise MinicnnError(f"--set {text!r}: expected NAME=VALUE, such as optimizer.lr=0.1")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
