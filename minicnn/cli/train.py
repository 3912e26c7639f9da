"""`minicnn train`: a recipe, a folder, and a run that can be killed at any moment and resumed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .. import experiments, models
from ..checkpoint import Checkpointer, RunState
from ..data import Batches, from_config
from ..data import load as load_data
from ..errors import MinicnnError
from ..figures import training_curves
from ..layers import Layer
from ..losses import SoftmaxCrossEntropy
from ..recipe import Recipe, load_recipe, parse_setting
from ..run import Run
from ..schedules import from_config as make_schedule
from ..training import Callback, Evaluate, train
from ..weights import save_weights
from .options import Device
from .progress import Progress

CHECKPOINT = "checkpoint.safetensors"
RECIPES = Path(experiments.__path__[0]) / "recipes"


def command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (lenet5-mnist, …) or a .toml file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run (default: runs/RECIPE).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Another data set, or its folder.")] = None,
    device: Device = "cpu",
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, such as optimizer.lr=0.1.")] = None,
) -> None:
    """Train a network by a recipe. The folder gets weights, checkpoint, curves, log and run.json.

    Killed or interrupted, `--resume` goes on exactly where the last checkpoint was: the result has the same bytes as
    that of a run left alone.
    """
    chosen = dict(parse_setting(text) for text in settings or [])
    chosen |= {k: v for k, v in {"epochs": epochs, "seed": seed, "data": data}.items() if v is not None}
    plan = load_recipe(recipe, RECIPES, chosen)
    folder = out or Path("runs") / Path(recipe).stem
    with Run(
        folder,
        command=["minicnn", *sys.argv[1:]],
        settings=plan.settings(),
        seed=plan.seed,
        exist="resume" if resume else "error",
    ) as run:
        net, state = train_recipe(plan, run, device=device)
        final = state.history[-1]
        save_weights(net, run.path(f"{plan.model}.safetensors"))
        run.record(f"{plan.model}.safetensors")
        run.save("curves.png", training_curves(state.history))
        run.finish(**{key: value for key, value in final.items() if key != "epoch"}, history=state.history)
    print(f"test accuracy {100 * final['test_accuracy']:.2f} % · weights, curves and log in {folder}")


def train_recipe(plan: Recipe, run: Run, *, device: str = "cpu") -> tuple[Layer, RunState]:
    """Train as the recipe says, with the checkpoint and the log in the run's folder, and return the trained network."""
    train_set, test_set = (load_data(plan.data, split) for split in ("train", "test"))
    net = models.build(plan.model, num_classes=len(train_set.class_names), seed=plan.seed, **plan.options)
    if net.input_shape != train_set.image_shape:
        raise MinicnnError(
            f"{plan.model} takes pictures {net.input_shape}, those of {train_set.name} are {train_set.image_shape}"
        )
    net.to(device)
    augment = from_config(plan.augment) if plan.augment else None
    batches = Batches(train_set, plan.batch_size, seed=plan.seed, augment=augment, drop_last=True)
    tests = Batches(test_set, 250, shuffle=False)
    print(f"{plan.model}: {net.num_parameters():,} parameters; {train_set.name}: {len(train_set):,} pictures")
    with Log(run, plan.epochs, len(batches)) as log:
        state = train(
            net,
            SoftmaxCrossEntropy(label_smoothing=plan.label_smoothing),
            plan.make_optimizer(net.parameters()),
            batches,
            epochs=plan.epochs,
            schedule=make_schedule(plan.schedule),
            callbacks=[Evaluate(tests), log],
            checkpointer=Checkpointer(run.path(CHECKPOINT), settings=plan.settings()),
        )
    if "test_accuracy" not in state.history[-1]:  # killed between the last epoch and its evaluation
        Evaluate(tests).after_epoch(net, state)
    return net, state


class Log(Callback):
    """Progress with the time left on the screen; one line an epoch there and in log.txt; the curves drawn anew."""

    def __init__(self, run: Run, epochs: int, epoch_steps: int) -> None:
        self.run, self.epochs, self.start = run, epochs, time.monotonic()
        self.progress = Progress("training", epochs * epoch_steps)

    def __enter__(self) -> Log:
        self.progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.__exit__(*exception)

    def after_step(self, net: Layer, state: RunState) -> None:
        loss = state.loss_sum / state.batch if state.batch else 0.0
        self.progress.update(state.step, f"epoch {state.epoch + 1}/{self.epochs}, loss {loss:.4f}")

    def after_epoch(self, net: Layer, state: RunState) -> None:
        last = state.history[-1]
        line = (
            f"epoch {state.epoch:3d}/{self.epochs}  train loss {last['train_loss']:.4f}"
            f"  test loss {last['test_loss']:.4f}  test accuracy {100 * last['test_accuracy']:.2f} %"
            f"  {time.monotonic() - self.start:6.0f} s"
        )
        self.progress.print(line)
        with open(self.run.path("log.txt"), "a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.run.save("curves.png", training_curves(state.history))
