"""`minicnn train`: a recipe, a folder, and a run that can be killed at any moment and resumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import experiments, models
from ..checkpoint import Checkpointer, RunState
from ..curves import compared_curves, training_curves
from ..data import Batches, Dataset, from_config
from ..data import load as load_data
from ..experiments.adversarial import Adversarial
from ..layers import Layer
from ..losses import SoftmaxCrossEntropy
from ..recipe import Recipe, load_recipes, parse_setting
from ..run import Run
from ..schedules import from_config as make_schedule
from ..training import Callback, Data, Evaluate, train
from ..weights import save_weights
from .options import Device
from .progress import Progress, ShowTraining, counted, loading

CHECKPOINT, LOG = "checkpoint.safetensors", "log.txt"
MEMORY = 1 << 30  # bytes of pictures that are decoded before the training begins
RECIPES = Path(experiments.__path__[0]) / "recipes"


def command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (lenet5-mnist, …) or a .toml file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run (default: runs/RECIPE).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Another data set, or a folder of pictures.")] = None,
    adversarial: Annotated[
        bool,
        typer.Option("--adversarial", help="Fool half of each batch, by FGSM unless the recipe says otherwise."),
    ] = False,
    device: Device = "cpu",
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, such as optimizer.lr=0.1.")] = None,
) -> None:
    """Train a network by a recipe. The folder gets weights, checkpoint, curves, log and run.json.

    Killed or interrupted, `--resume` goes on exactly where the last checkpoint was: the result has the same bytes as
    that of a run left alone. A recipe of several models trains one after the other, each in a folder of its own, and
    draws their curves into one figure.
    """
    chosen = dict(parse_setting(text) for text in settings or [])
    chosen |= {k: v for k, v in {"epochs": epochs, "seed": seed, "data": data}.items() if v is not None}
    plans = load_recipes(recipe, RECIPES, chosen)
    if adversarial:
        plans = [replace(plan, adversarial=plan.adversarial or {"method": "fgsm"}) for plan in plans]
    folder = out or Path("runs") / Path(recipe).stem
    for plan in plans:  # before the first of them is trained for hours
        models.architecture(plan.model, **plan.options)
    if len(plans) == 1:
        print(f"{accuracies(run_recipe(plans[0], folder, device, resume)[-1])} · weights, curves and log in {folder}")
    else:
        compare(plans, folder, device, resume)


History = list[dict[str, float]]


def run_recipe(plan: Recipe, folder: Path, device: str, resume: bool) -> History:
    """A training run in its folder; its history."""
    training = Training(plan, device)  # all that a wrong setting could break, before the folder holds a run
    decides = plan.settings() | {
        "train_set": training.batches.dataset.fingerprint(),
        "test_set": training.tests.dataset.fingerprint(),
    }
    with training_run(folder, decides, plan.seed, resume) as run:
        run.note(device=device)
        state = training.run(run)
        final = state.history[-1]
        save_weights(training.net, run.path(f"{plan.model}.safetensors"))
        run.save("curves.png", training_curves(state.history))
        for name in (f"{plan.model}.safetensors", CHECKPOINT, LOG):
            run.record(name)
        run.finish(**{key: value for key, value in final.items() if key != "epoch"}, history=state.history)
    return state.history


def compare(plans: list[Recipe], folder: Path, device: str, resume: bool) -> None:
    """Train the models one after the other, each in folder/MODEL; their curves in one figure, drawn anew after each."""
    settings = plans[0].settings() | {"model": [plan.model for plan in plans]}
    histories: dict[str, History] = {}
    with training_run(folder, settings, plans[0].seed, resume) as run:
        for plan in plans:
            histories[plan.model] = run_recipe(plan, folder / plan.model, device, resume)  # a finished one just ends
            run.save("curves.png", compared_curves(histories))
        run.finish(test_accuracy={name: history[-1]["test_accuracy"] for name, history in histories.items()})
    errors = ", ".join(f"{name} {100 - 100 * h[-1]['test_accuracy']:.2f} %" for name, h in histories.items())
    print(f"test errors: {errors} · curves in {folder / 'curves.png'}, each run in a folder beside it")


def training_run(folder: Path, settings: dict[str, Any], seed: int, resume: bool) -> Run:
    """The folder, which no other run may take."""
    command, exist = ["minicnn", *sys.argv[1:]], "resume" if resume else "error"
    return Run(folder, command=command, settings=settings, seed=seed, exist=exist, resumable=True)


class Training:
    """What a recipe names, made ready: data, network, loss, optimizer, schedule. Raises MinicnnError for what is wrong.

    The network has the classes of the data set; a folder's pictures are cut to its input.
    """

    def __init__(self, plan: Recipe, device: str = "cpu") -> None:
        self.plan = plan
        wanted = models.architecture(plan.model, **plan.options)
        with loading() as progress:
            train_set, test_set = (
                load_data(plan.data, split, shape=wanted.input_shape, resize=wanted.resize, progress=progress)
                for split in ("train", "test")
            )
        train_set, test_set = decoded(train_set), decoded(test_set)
        names = train_set.class_names
        self.net = models.build(plan.model, num_classes=len(names), seed=plan.seed, **plan.options)
        self.net.class_names = names
        self.net.to(device)
        self.loss = SoftmaxCrossEntropy(label_smoothing=plan.label_smoothing)
        self.optimizer = plan.make_optimizer(self.net.parameters())
        self.schedule = make_schedule(plan.schedule)
        augment = from_config(plan.augment) if plan.augment else None
        self.batches = Batches(train_set, plan.batch_size, seed=plan.seed, augment=augment, drop_last=True)
        self.tests = Batches(test_set, 250, shuffle=False)
        self.measures: list[Callback] = [Evaluate(self.tests)]
        self.lessons: Data = self.batches
        if plan.adversarial:
            how = {"seed": plan.seed, **plan.adversarial}
            self.lessons = Adversarial(self.batches, self.net, **how)
            self.measures.append(Evaluate(Adversarial(self.tests, self.net, **how | {"share": 1}), "fooled"))
            print(f"adversarial training: {self.lessons}")

    def run(self, run: Run) -> RunState:
        """Train, with the checkpoint and the log in the run's folder."""
        plan, data = self.plan, self.batches.dataset
        print(f"{plan.model}: {self.net.num_parameters():,} parameters; {data.name}: {counted(len(data), 'picture')}")
        if run.path(CHECKPOINT).exists():
            print(f"going on from {run.path(CHECKPOINT)}")
        with Log(run, plan.epochs, len(self.batches)) as log:
            return train(
                self.net,
                self.loss,
                self.optimizer,
                self.lessons,
                epochs=plan.epochs,
                schedule=self.schedule,
                callbacks=[*self.measures, log],
                checkpointer=Checkpointer(run.path(CHECKPOINT), settings=plan.settings()),
            )


def decoded(dataset: Dataset) -> Dataset:
    """A folder's pictures in memory, if they are not too many: they are used often, and a damaged one shows at once."""
    size = prod(dataset.images.shape)
    if isinstance(dataset.images, np.ndarray) or size > MEMORY:
        return dataset
    print(f"{dataset.name}: decoding {counted(len(dataset), 'picture')}, {size / 1e6:.0f} MB")
    return dataset.in_memory()


def accuracies(last: Mapping[str, float]) -> str:
    """What an epoch's figures say of the test pictures: as they are, and fooled where that was measured."""
    fooled = f", fooled {100 * last['fooled_accuracy']:.2f} %" if "fooled_accuracy" in last else ""
    return f"test accuracy {100 * last['test_accuracy']:.2f} %{fooled}"


class Log(ShowTraining):
    """Progress with the time left on the screen; one line an epoch there and in log.txt; the curves drawn anew."""

    def __init__(self, run: Run, epochs: int, epoch_steps: int) -> None:
        super().__init__(Progress("training", epochs * epoch_steps), epochs)
        self.run, self.start = run, time.monotonic()

    def __enter__(self) -> Log:
        self.bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.__exit__(*exception)

    def after_epoch(self, net: Layer, state: RunState) -> None:
        last = state.history[-1]
        line = (
            f"epoch {state.epoch:3d}/{self.epochs}  train loss {last['train_loss']:.4f}"
            f"  test loss {last['test_loss']:.4f}  {accuracies(last)}"
            f"  {time.monotonic() - self.start:6.0f} s"
        )
        self.bar.print(line)
        with open(self.run.path(LOG), "a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.run.save("curves.png", training_curves(state.history))
