"""The command line. Only what a command needs is imported, when it is called: `minicnn --help` answers at once.

A command is a module with a function `command`, annotated for Typer; the tables below are all that names them.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from minicnn.errors import MinicnnError, printable

COMMANDS = {
    "demo": ("minicnn.experiments.demo", "Train a network on handwriting and look inside it."),
    "train": ("minicnn.cli.train", "Train a network by a recipe, with checkpoints; --resume goes on exactly."),
    "evaluate": ("minicnn.cli.evaluate", "Measure a network's accuracy on a data set."),
    "classify": ("minicnn.cli.classify", "Name what is in photos, with probabilities."),
    "summary": ("minicnn.cli.summary", "Shapes, parameters, multiply-adds and memory of every layer."),
    "gradcheck": ("minicnn.cli.gradcheck", "Check every hand-written backward pass against differences."),
    "exercise": ("minicnn.cli.exercise", "Write a backward pass yourself and have it graded."),
    "bench": ("minicnn.cli.bench.command", "Time and memory of layers and whole steps, on this machine."),
    "doctor": ("minicnn.cli.doctor", "What this machine has, what is cached, and what would be downloaded."),
}
GROUPS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "look": (
        "Look at filters and activations.",
        {
            "filters": ("minicnn.experiments.filters", "The filters of a convolution, several networks side by side."),
            "handmade": ("minicnn.experiments.handmade", "Blur, sharpen, find edges: convolution by hand."),
            "learned": ("minicnn.experiments.learned", "From kernels made by hand to learned ones, on digits."),
            "activations": ("minicnn.experiments.activations", "What every map of a layer answers to a picture."),
            "patches": ("minicnn.experiments.patches", "The patches of a data set that excite a unit most."),
            "neighbours": ("minicnn.experiments.neighbours", "The nearest pictures in pixels and in features."),
            "embedding": ("minicnn.experiments.embedding", "A data set on a plane, by PCA and by t-SNE."),
            "gallery": ("minicnn.experiments.gallery", "All that looking in gives for a photo, on one page."),
        },
    ),
    "explain": (
        "Show which pixels matter for a class, or for any unit.",
        {
            "saliency": ("minicnn.experiments.saliency", "Which pixels would change the class score most."),
            "smoothgrad": ("minicnn.experiments.smoothgrad", "Saliency, the mean over noisy copies of the picture."),
            "guided": ("minicnn.experiments.guided", "The same, letting positive gradients alone through the ReLUs."),
            "deconvnet": ("minicnn.experiments.deconvnet", "The pattern that excites a unit: the network in reverse."),
            "gradcam": ("minicnn.experiments.gradcam", "Where the maps are active that speak for a class."),
            "integrated-gradients": (
                "minicnn.experiments.integrated_gradients",
                "What each pixel adds to the score, starting from a picture that shows nothing.",
            ),
            "deeplift": ("minicnn.experiments.deeplift", "The same by one pass back: quotients for derivatives."),
            "axioms": ("minicnn.experiments.axioms", "What the methods promise, measured on small networks."),
            "occlusion": (
                "minicnn.experiments.occlusion",
                "How the probability drops where a patch hides the picture.",
            ),
            "segment": ("minicnn.experiments.segment", "Cut the object out: saliency and GrabCut."),
            "compare": ("minicnn.experiments.compare", "All of these on one picture, measured, in one figure."),
        },
    ),
    "make": (
        "Make pictures by optimization.",
        {
            "visualize": ("minicnn.experiments.visualize", "The picture that a class, or a unit, likes best."),
            "fool": ("minicnn.experiments.fool", "Change a picture a little until the network sees another class."),
            "invert": ("minicnn.experiments.invert", "The picture that a layer's activations still tell of."),
            "dream": ("minicnn.experiments.dream", "What a network dreams of a photo."),
            "style": ("minicnn.experiments.style", "Paint what one picture shows as another one is painted."),
        },
    ),
    "weights": (
        "Trained weights: which there are, and files of other programs.",
        {
            "list": ("minicnn.cli.weights.show", "The trained weights that load by name, here or to be fetched."),
            "fetch": ("minicnn.cli.weights.fetch", "Fetch published weights into the cache."),
            "convert": ("minicnn.cli.weights.convert", "Turn a .pth or .onnx file into a .safetensors of ours."),
        },
    ),
}
BAD_INPUT = 2  # exit status
_debug = False


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command line (`sys.argv` by default) and exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × and → shows ? for them
    warnings.formatwarning = lambda message, *_, **__: _line(str(message))
    words = [word for word in arguments if not word.startswith("-")]
    app(words)(arguments, prog_name="minicnn")


def app(words: Sequence[str]) -> typer.Typer:
    """The application for a command line that begins with these words: other commands are known by name alone."""
    root = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    root.callback()(_options)
    for name, (module, text) in COMMANDS.items():
        _add(root, name, module, text, wanted=words[:1] == [name])
    for name, (text, commands) in GROUPS.items():
        group = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
        for inner, (module, inner_text) in commands.items():
            _add(group, inner, module, inner_text, wanted=words[:2] == [name, inner])
        root.add_typer(group, name=name, help=text)
    return root


def _print_version(asked: bool) -> None:
    if asked:
        from minicnn import __version__

        print(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """minicnn: a deep learning framework from scratch, and what can be seen inside its networks."""
    global _debug
    _debug = debug


def _add(group: typer.Typer, name: str, module: str, text: str, *, wanted: bool) -> None:
    """Add a command: the real one, imported, when it is the one that is called, else its name and its line of help."""
    if wanted:
        group.command(name)(_command(module))
    else:
        group.command(name, help=text)(lambda: None)


def _command(module: str) -> Callable[..., Any]:
    """The function `command` of a module, its errors turned into one line and an exit status."""
    function = importlib.import_module(module).command

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> None:
        try:
            _check_kernels()
            function(*args, **options)
        except MinicnnError as error:
            _stop(str(error), BAD_INPUT)
        except OSError as error:
            _stop(f"{error.filename or 'file'}: {error.strerror or error}", BAD_INPUT)
        except MemoryError:
            _stop("out of memory: take a smaller picture, batch or network", BAD_INPUT)
        except KeyboardInterrupt:
            _stop("interrupted; what was finished is kept", 130)

    return run


def _check_kernels() -> None:
    """Raise MinicnnError when MINICNN_KERNELS, or another variable that the kernels read, makes no sense."""
    from minicnn import kernels

    try:
        kernels.choose("conv2d_forward")
    except ValueError as error:
        raise MinicnnError(str(error)) from None


def _stop(text: str, status: int) -> None:
    """Print one line and exit; with --debug the exception goes on instead."""
    if _debug:
        raise
    print(_line(text), end="", file=sys.stderr)
    raise typer.Exit(status)


def _line(text: str) -> str:
    """What the command line says of an error: one line, on which a terminal finds nothing to obey."""
    return f"minicnn: {printable(' '.join(text.split()))}\n"
