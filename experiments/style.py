"""Style transfer (Gatys, Ecker, Bethge 2016, "Image style transfer using convolutional neural networks"): what one
picture shows, painted as another one is.

    argmin over x of  α·L_content(x) + β·L_style(x) + γ·TV(x)

    L_content = Σ ‖F(x) − F(content)‖²     the same activations at the same places (section 2.1)
    L_style   = Σ ‖G(x) − G(style)‖²       the same channels high together, wherever (section 2.2)

The gradient enters at both kinds of layers: F − P, and (G − A)·F. style_objective.py has the factors, and the ways to
choose them. The other four choices of the engine:

    parametrization   the pixels
    transforms        a border, the picture's mirror image, so that its edges are painted too; nothing random, as a line
                      search needs the same objective at every step
    projections       valid pixels, which are the bounds of L-BFGS too
    optimizer         L-BFGS (section 2.3), or Adam
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from minicnn.cli.options import Device, Model, Out, Seed, Weights
from minicnn.cli.progress import Progress
from minicnn.errors import MinicnnError
from minicnn.image import (
    LBFGS,
    Adam,
    Callback,
    Interrupted,
    NotFinite,
    Pad,
    Pixels,
    Result,
    Step,
    ValidPixels,
    optimize,
    resize,
)
from minicnn.image.octaves import carried, octave_sizes
from minicnn.kernels.backend import Array, get_array_module
from minicnn.network import Network
from minicnn.parameter import transfer

from .colours import grey, luminance, matched_colours, matched_luminance, with_luminance
from .common import load_network, open_run, optimization_memory, weights_used
from .stages import POOLING, pooling
from .style_jobs import (
    KINDS,
    Job,
    Made,
    Snapshots,
    figure,
    in_words,
    jobs_of,
    losses,
    read,
    say_what_is_grey,
    shares_of,
)
from .style_objective import CHOICES, CONVENTIONS, Settings, style_objective

OPTIMIZERS = {"lbfgs": LBFGS(bounds=(0, 1)), "adam": Adam(10 / 255)}
SMALLEST = 128  # pixels of the long side where several sizes begin
BORDER = 8  # pixels


def style_transfer(
    net: Network,
    content: Array,
    styles: Array | Sequence[Array],
    settings: Settings | None = None,
    *,
    masks: Sequence[Array] = (),
    start: Array | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """What `content` shows, painted as `styles` are: the picture (1, C, H, W) in [0, 1], of the content's size.

    content (1, C, H, W) and each style (1, C, H′, W′) are RGB (grey for a grey network) in [0, 1], of any sizes that
    the network takes; strokes are as many pixels long in the result as in the style. masks: one (H, W) in [0, 1] for
    each style, where it is to be. start: the picture to begin with, in place of `settings.init`. Callbacks see the
    steps of all sizes counted through. Ctrl-C raises Interrupted, with the last whole picture. The same seed gives the
    same bytes.

    Example: `style_transfer(net, photo, painting, Settings(style_weight=100)).image`
    """
    settings = settings or Settings()
    styles = [styles] if hasattr(styles, "ndim") else list(styles)
    masks = checked(net, content, styles, masks, start, settings)
    content, styles, coloured = in_colours(content, styles, settings.original_colors)
    sizes = sizes_up_to(content.shape[2:], settings.scales)
    if start is None:
        start = canvas(resize(content, sizes[0]), settings.init, seed)
    result, taken = Result(start, 0, None), 0
    try:
        with pooling(net, settings.pooling):
            for size in sizes:
                factor = max(size) / max(content.shape[2:])
                border = Pad(min(BORDER, min(size) - 1), "reflect")
                drawn, *where = (border.apply(resize(x, size)) for x in (content, *masks))
                paintings = [resize(style, scaled(style.shape[2:], factor)) for style in styles]
                result = optimize(
                    net,
                    style_objective(net, drawn, paintings, settings, where),
                    Pixels(resize(result.image, size)),
                    transforms=[border],
                    projections=[ValidPixels()],
                    optimizer=OPTIMIZERS[settings.optimizer],
                    steps=settings.iterations,
                    callbacks=list(counted_through(callbacks, taken, settings.iterations * len(sizes), coloured)),
                    maximize=False,
                    state=carried(result.state, size),
                )
                taken += result.steps
                if result.steps < settings.iterations:  # a callback has said that it is enough
                    break
    except (KeyboardInterrupt, NotFinite) as stopped:
        image, steps, state = getattr(stopped, "result", result._replace(steps=0))  # none between two sizes
        result = Result(coloured(image), taken + steps, state)
        if isinstance(stopped, NotFinite):
            stopped.result = result
            raise
        raise Interrupted(result) from None
    return Result(coloured(result.image), taken, result.state)


def checked(
    net: Network,
    content: Array,
    styles: Sequence[Array],
    masks: Sequence[Array],
    start: Array | None,
    settings: Settings,
) -> list[Array]:
    """The masks (1, 1, H, W), where the content is. Raises MinicnnError for what does not fit together."""
    net.check_picture(content, "content")
    for style in styles:
        net.check_picture(style, "style")
    if not styles:
        raise MinicnnError("expected at least one style")
    settings.shares(len(styles))
    if settings.original_colors != "no" and content.shape[1] != 3:
        raise MinicnnError(f"original colors {settings.original_colors!r}: {net.name} sees grey pictures alone")
    if start is not None:
        net.check_picture(start, "start")
        if start.shape != content.shape:
            raise MinicnnError(f"start {tuple(start.shape)}: expected the content's {tuple(content.shape)}")
    if not masks:
        return []
    if len(masks) != len(styles):
        raise MinicnnError(f"{len(masks)} masks for {len(styles)} styles: expected one for each")
    if settings.style_blend:
        raise MinicnnError("masks and a style blend: expected one of the two")
    for i, mask in enumerate(masks, 1):
        if tuple(mask.shape) != content.shape[2:]:
            raise MinicnnError(f"mask {i} {tuple(mask.shape)}: expected the content's {content.shape[2:]}")
        if not mask.any():
            raise MinicnnError(f"mask {i} is black everywhere: its style would be nowhere")
    return [transfer(mask[None, None], like=content) for mask in masks]


def in_colours(
    content: Array, styles: Sequence[Array], how: str
) -> tuple[Array, list[Array], Callable[[Array], Array]]:
    """-> (content and styles that the network is to see, what makes the picture of what is drawn from them)."""
    if how == "luminance":
        shades = grey(content)
        return (
            shades,
            [matched_luminance(grey(style), like=shades) for style in styles],
            lambda image: with_luminance(resize(content, image.shape[2:]), luminance(image)),
        )
    if how == "match":
        styles = [matched_colours(style, like=content) for style in styles]
    return content, list(styles), lambda image: image


def canvas(content: Array, init: str, seed: int) -> Array:
    """The picture to begin with: the content itself, uniform noise, medium grey, or a blank (white) one."""
    if init == "noise":
        return transfer(np.random.default_rng(seed).uniform(0, 1, content.shape), like=content)
    xp = get_array_module(content)
    return content if init == "content" else xp.full_like(content, 0.5 if init == "grey" else 1.0)


def sizes_up_to(size: tuple[int, int], factor: float) -> list[tuple[int, int]]:
    """The sizes that are drawn one after the other, in steps of `factor`: the first is of about SMALLEST pixels."""
    steps = 0 if factor == 1 else max(0, round(log(max(size) / SMALLEST) / log(factor)))
    return octave_sizes(size, steps + 1, factor) if steps else [(size[0], size[1])]


def scaled(size: Sequence[int], factor: float) -> tuple[int, int]:
    """(H, W) times a factor, 1 pixel or more."""
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def counted_through(
    callbacks: Sequence[Callback], taken: int, steps: int, coloured: Callable[[Array], Array]
) -> Iterator[Callback]:
    """The callbacks, for steps that are counted through over all sizes, and pictures in their colours."""

    def told(callback: Callback) -> Callback:
        return lambda now: callback(Step(taken + now.step, steps, coloured(now.image), now.terms))

    return (told(callback) for callback in callbacks)


def memory(net: Network, content: Array, settings: Settings) -> str:
    """What a transfer takes, in one line, before it starts."""
    layers = {layer for layers in settings.layers(net) for layer in layers} | {settings.dream} - {""}
    need = optimization_memory(net, content.shape[1:], layers)
    return f"{content.shape[3]}×{content.shape[2]} pixels, {net.name}: about {need / 2**20:.0f} MiB beside the program"


def paint(net: Network, job: Job, masks: Sequence[Path], snapshots: Snapshots, made: Made) -> str:
    """Makes a job's picture, which joins those that are `made` even where it is interrupted; says how it went."""
    pictures, result = read(job, net, masks), None
    told: list[Step] = []
    print(memory(net, pictures.content, job.settings))
    try:
        with Progress("painting") as bar:

            def show(step: Step) -> None:
                told[:] = [step]
                bar.update(step.step, in_words(losses(step)), step.steps)

            result = style_transfer(
                net,
                pictures.content,
                pictures.styles,
                job.settings,
                masks=pictures.masks,
                start=pictures.start,
                seed=job.seed,
                callbacks=[show, snapshots],
            )
    except (Interrupted, NotFinite) as stopped:
        result = stopped.result
        raise
    finally:
        if result:
            snapshots.finish(result)
            made.append((job, pictures, result))
    return f"{job.title}: {in_words(losses(told[-1]))} after {result.steps} iterations"


Names = Annotated[str, typer.Option(help="LAYER,LAYER=WEIGHT,…, or all, one at each resolution.")]


def command(
    content: Annotated[Path, typer.Argument(help="The picture that says what is to be seen.")],
    styles: Annotated[list[Path], typer.Argument(metavar="STYLE...", help="Pictures that say how it is painted.")],
    model: Model = "squeezenet1_0",
    image_size: Annotated[int, typer.Option(help="Pixels of the long side.")] = 384,
    iterations: Annotated[int, typer.Option(help="Steps of the optimizer, at each size.")] = Settings.iterations,
    out: Out = Path("style"),
    content_weight: Annotated[float | None, typer.Option(help="α (default: the loss's own).")] = None,
    style_weight: Annotated[float | None, typer.Option(help="β (default: the loss's own).")] = None,
    tv_weight: Annotated[float | None, typer.Option(help="Of the total variation: higher is smoother.")] = None,
    style_scale: Annotated[float, typer.Option(help="Size of the style pictures, times the content's.")] = 1.0,
    style_blend: Annotated[str, typer.Option(help="Shares of several styles, such as 2,1.")] = "",
    original_colors: Annotated[
        str, typer.Option(help=f"{', '.join(CHOICES['original_colors'])}: keep the content's colours.")
    ] = "no",
    init: Annotated[str, typer.Option(help=f"{', '.join(CHOICES['init'])}, or a picture file.")] = "content",
    scales: Annotated[
        float, typer.Option(help="From about 128 pixels up, by this factor; 1: at once.")
    ] = Settings.scales,
    content_layers: Names = "",
    style_layers: Names = "",
    loss: Annotated[str, typer.Option(help=f"{', '.join(CONVENTIONS)}: how the losses are scaled.")] = "relative",
    optimizer: Annotated[str, typer.Option(help=f"{' or '.join(OPTIMIZERS)}.")] = "lbfgs",
    pooling: Annotated[str, typer.Option(help=f"{' or '.join(POOLING)}, in the network.")] = "average",
    mask: Annotated[list[Path] | None, typer.Option(help="Where a style is to be, white; one for each.")] = None,
    dream: Annotated[str, typer.Option(help="A layer whose activations grow along with it.")] = "",
    dream_weight: Annotated[float, typer.Option(help="How much that counts.")] = 1.0,
    save_every: Annotated[int | None, typer.Option(help="Keep each N-th picture, and animate them.")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Each content in each style.")] = False,
    more: Annotated[list[Path] | None, typer.Option("--content", help="For --grid: another content picture.")] = None,
    sweep: Annotated[str | None, typer.Option(help="One picture a value: style-weight=3,30,300.")] = None,
    weights: Weights = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Paint what one picture shows as others are painted."""
    options = {name: value for name, value in locals().items() if name in KINDS}
    options["style_blend"] = shares_of(style_blend)
    contents, masks = [content, *(more or [])], mask or []
    jobs = jobs_of(contents, styles, options, grid=grid, sweep=sweep)
    net = load_network(model, weights, device)
    files = [*contents, *styles, *masks, *(job.start for job in jobs if job.start), weights_used(model, weights)]
    shown = {**options, "contents": contents, "styles": styles, "masks": masks, "grid": grid, "sweep": sweep}
    with open_run(out, inputs=dict.fromkeys(files), model=model, device=device, **shown) as run:
        say_what_is_grey([*contents, *styles], net)
        made: Made = []
        try:
            for job in jobs:
                print(paint(net, job, masks, Snapshots(run, job.name, save_every), made))
        finally:
            if made:
                run.save("style.png", figure(net, made, grid))
        print(f"see {run.path('style.png')}")
