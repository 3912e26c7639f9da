"""The first thing to run: LeNet-5 learns handwriting, its gradients are checked, and then one looks inside it.

Nothing is fetched: the digits are MNIST's where they lie on this machine already, else those of scikit-learn. All
pictures are made by the functions of the other files of this folder, and can be made alone by their commands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from minicnn import models
from minicnn.cli.gradcheck import show
from minicnn.cli.options import Out, Seed
from minicnn.cli.progress import Progress, ShowTraining, loading
from minicnn.data import Batches, Dataset, RandomAffine, available
from minicnn.data import load as load_data
from minicnn.errors import MinicnnError, nearest
from minicnn.gradcheck import BOUND, Report, check_gradients
from minicnn.losses import SoftmaxCrossEntropy
from minicnn.network import Network
from minicnn.optimizers import Adam
from minicnn.run import Run
from minicnn.schedules import one_cycle
from minicnn.training import Evaluate, train
from minicnn.weights import save_weights

from .demo_page import CHAPTERS, Lesson, facts

EPOCHS = {"digits": 30, "mnist": 4}  # enough for about 99 %, in seconds and in a minute and a half
BATCH_SIZE = {"digits": 32, "mnist": 64}
WEIGHTS = "lenet5.safetensors"


def demo(out: Path, *, data: str | None = None, epochs: int | None = None, seed: int = 0) -> Path:
    """Train LeNet-5, check it, and write its pictures and index.html into the folder `out`; returns the page's path.

    `data` is "digits" or "mnist"; by default MNIST where it is on this machine. Raises MinicnnError.
    """
    name = data or ("mnist" if available("mnist") else "digits")
    if name not in EPOCHS:
        raise MinicnnError(f"data {name!r}{nearest(name, EPOCHS)}")
    count = EPOCHS[name] if epochs is None else epochs
    if count < 1:
        raise MinicnnError(f"epochs {count}: expected 1 or more")
    settings = {"data": name, "epochs": count}
    command = ["minicnn", *sys.argv[1:]]
    with Run(out, command=command, settings=settings, seed=seed, exist="overwrite") as run:
        with loading() as progress:
            train_set, test_set = (load_data(name, split, progress=progress) for split in ("train", "test"))
        run.note(train_set=train_set.fingerprint(), test_set=test_set.fingerprint())
        net, history = teach(train_set, test_set, count, seed)
        save_weights(net, run.path(WEIGHTS))
        run.record(WEIGHTS)
        report = check_gradients(net, net.input_shape, seed=seed)
        print_report(report)
        lesson = Lesson(run, net, train_set, test_set, history, report, seed)
        with Progress("making pictures", len(CHAPTERS)) as bar:
            sections = []
            for done, chapter in enumerate(CHAPTERS):
                bar.update(done, chapter.__name__.replace("_", " "))
                sections.append(chapter(lesson))
        page = run.write_index("Inside LeNet-5", sections, lead=LEAD, facts=facts(lesson))
        run.finish(test_accuracy=history[-1]["test_accuracy"], gradient_error=report.worst, history=history)
    print(f"{len(sections)} chapters of pictures and the trained weights are in {out}: open {page}")
    return page


LEAD = """A small convolutional network has just learned to read handwritten digits on this machine, by backward passes
that are all written by hand. Here is how it learned, proof that its gradients are right, and what can be seen inside.
The line under each chapter makes its pictures for any digit: run it in this folder."""


def teach(train_set: Dataset, test_set: Dataset, epochs: int, seed: int) -> tuple[Network, list[dict[str, float]]]:
    """A LeNet-5 that has learned the digits, each changed a little each time, and the history of its epochs."""
    net = models.build("lenet5", seed=seed)
    print(
        f"LeNet-5, {net.num_parameters():,} parameters, learns {train_set.name}: "
        f"{len(train_set):,} digits to train on, {len(test_set):,} to test on"
    )
    affine = RandomAffine(degrees=10, translate=1.5, scale=0.1, shear=10)
    batches = Batches(train_set, BATCH_SIZE[train_set.name], seed=seed, augment=affine)
    with Progress("training", epochs * len(batches)) as bar:
        state = train(
            net,
            SoftmaxCrossEntropy(),
            Adam(net.parameters(), 2e-3),
            batches,
            epochs=epochs,
            schedule=one_cycle(),
            callbacks=[Evaluate(Batches(test_set, 500, shuffle=False)), ShowTraining(bar, epochs)],
        )
    accuracy = state.history[-1]["test_accuracy"]
    wrong = round((1 - accuracy) * len(test_set))
    print(f"test accuracy {100 * accuracy:.2f} % after {epochs} epochs: {wrong} of {len(test_set):,} digits misread")
    return net, state.history


def print_report(report: Report) -> None:
    """The table of the gradient check, and what it says. Raises MinicnnError where a gradient is wrong."""
    show(report, title="LeNet-5")
    if report:
        print(f"all agree: the largest error is {report.worst:.0e} of {BOUND:.0e}; 0.1 % off would give 5e-04")
    else:
        wrong = ", ".join(f"{check.layer} {check.tensor}: {check.note}" for check in report.failures)
        raise MinicnnError(f"a gradient of LeNet-5 is wrong: {wrong}")


def command(
    out: Out = Path("demo"),
    data: Annotated[str | None, typer.Option("--data", help="digits or mnist (default: mnist if it is here).")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Times through the data (default: 30, mnist 4).")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Train LeNet-5 on handwriting, check its gradients, and look inside it: one folder of pictures, one page."""
    demo(out, data=data, epochs=epochs, seed=seed)
