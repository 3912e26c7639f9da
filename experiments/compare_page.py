"""What `explain compare` shows: the maps side by side with their figures, the curves, and the page."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from minicnn.boxes import INK, SMALL_SIZE, WHITE, beside, centred, font, framed, stack, text_box
from minicnn.curves import diagrams
from minicnn.figures import colour_bar, heatmap, overlay
from minicnn.pictures import to_picture
from minicnn.report import Figure, Section, Table

if TYPE_CHECKING:
    from .compare import Comparison, Judged

COLUMNS, SHOWN = 4, 224  # cells in a row, and pixels of a map, about at least
HEAD = 22  # pixels that a name of one line takes, in any font
BEST, PALE = (20, 96, 170), (120, 124, 132)
LINES = (  # matplotlib's tab10, and black
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"),
    *("#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#000000"),
)
MEASURES = ("deletion", "insertion", "randomized")


def draw(found: Comparison, caption: str) -> Image.Image:
    """The figure, COLUMNS cells wide, the legends and what the numbers mean."""
    picture = to_picture(found.image)
    factor = max(1, SHOWN // picture.height)
    width, height = picture.width * factor, picture.height * factor

    def shown(one: Image.Image) -> Image.Image:
        return one.convert("RGB").resize((width, height), Image.Resampling.NEAREST)

    cells = [cell(caption, shown(picture), [text_box(f"explained: {found.target.name}", width, size=SMALL_SIZE)])]
    cells += [cell(one.name, shown(drawn(one, picture)), numbers(found, one, width)) for one in found.judged]
    lines = [beside(cells[i : i + COLUMNS], gap=16) for i in range(0, len(cells), COLUMNS)]
    body = stack(lines, gap=18, align=0)
    bars = [
        colour_bar(1, "maps from 0 up; 1: what 1 % of their pixels exceed", width=300),
        colour_bar(1, "maps with a sign: red speaks for it, blue against", signed=True, width=300),
    ]
    text = f"""deletion: the area under {found.asked} while pixels go black, the map's highest first; low is good.
    insertion: the same while they come back into a blurred picture; high is good. randomized: rank correlation with
    the map of the same network with weights drawn anew; near 0 is good. completeness: how far the values are from
    adding up to F(x) − F(black). Blue: the best."""
    foot = text_box(" ".join(text.split()), body.width, size=SMALL_SIZE)
    return framed(stack([body, beside(bars, gap=40), foot], gap=14), 14)


def drawn(one: Judged, picture: Image.Image) -> Image.Image:
    """The map as it is, or over the picture where it is coarse."""
    a = one.attribution
    return overlay(picture, a.map, signed=a.signed) if one.coarse else heatmap(a.map, signed=a.signed)


def cell(name: str, picture: Image.Image, lines: list[Image.Image]) -> Image.Image:
    """A picture under its name, and lines beneath it."""
    head = text_box(name, picture.width)
    return stack([centred(head, (picture.width, HEAD)), picture, stack(lines, gap=0)], gap=6)


def numbers(found: Comparison, one: Judged, width: int) -> list[Image.Image]:
    """What a map is worth, a line each; where it is the best of all, in blue."""
    if one.blank:
        return [text_box("0 everywhere: it says nothing here", width, size=SMALL_SIZE)]
    values = {
        "deletion": f"{one.deletion.auc:.4f}",
        "insertion": f"{one.insertion.auc:.4f}",
        "randomized": f"{one.randomized:+.2f}",
        "completeness": one.completeness() or "not promised",
    }
    lines = []
    for what, value in values.items():
        best = what in MEASURES and found.best(what) is one
        line = Image.new("RGB", (width, sum(font(SMALL_SIZE).getmetrics()) + 3), WHITE)
        pen = ImageDraw.Draw(line)
        pen.text((2, 1), what, font=font(SMALL_SIZE), fill=BEST if best else PALE, anchor="la")
        pen.text((width - 2, 1), value, font=font(SMALL_SIZE), fill=BEST if best else INK, anchor="ra")
        lines.append(line)
    return lines


def draw_curves(found: Comparison) -> Image.Image:
    """p(class), or the unit, against the share of the pixels, of deletion and of insertion; the best first."""

    def panel(measure: str, title: str, what: str) -> Callable[[Any], None]:
        colours = dict(zip((one.name for one in found.judged), cycle(LINES), strict=False))
        curves = {one.name: getattr(one, measure) for one in found.judged if not one.blank}

        def draw_into(axes: Any) -> None:
            for name in sorted(curves, key=lambda name: curves[name].auc * (1 if measure == "deletion" else -1)):
                curve = curves[name]
                label = f"{name}: {curve.auc:.3f}"
                axes.plot(100 * curve.share, curve.value, color=colours[name], linewidth=1.6, label=label)
            axes.set_title(title, fontsize=12, loc="left")
            axes.set_xlabel(what)
            axes.set_ylabel(found.asked)
            axes.grid(True, color="#e4e4e4", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
            if curves:
                axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, title="area")

        return draw_into

    first = panel("deletion", "Deletion: lower is better", "pixels black, per cent, the map's highest first")
    second = panel("insertion", "Insertion: higher is better", "pixels back in a blurred picture, per cent")
    return diagrams([first, second], size=(7.4, 4.2))


def table(found: Comparison) -> Table:
    """The numbers, and what each map took."""
    rows = [
        (
            one.name,
            *(("–",) * 3 if one.blank else (one.deletion.auc, one.insertion.auc, round(one.randomized, 3))),
            "the map is 0" if one.blank else one.completeness() or "not promised",
            f"{one.seconds:.2f} s",
        )
        for one in found.judged
    ]
    columns = ("method", "deletion", "insertion", "randomized", "completeness", "time of the map")
    return Table(columns, rows, "Small is good for deletion, large for insertion, near 0 for randomized.")


def sections(found: Comparison, figure: Path, curves: Path) -> list[Section]:
    """The page: the figure, the curves, the numbers, and what could not be done."""
    parts = [
        Section("The maps", MAPS, [Figure(figure, "Each map on its own scale.", "All maps, with their figures")]),
        Section("The curves", CURVES, [Figure(curves, alt="Curves of deletion and insertion")]),
        Section("The figures", FIGURES, [table(found)]),
    ]
    if found.left_out:
        text = "\n\n".join(f"{name}: {why}." for name, why in found.left_out.items())
        parts.append(Section("Left out", text))
    return parts


MAPS = """Each map says which pixels have to do with one number that the network computes. Black, purple, yellow: how
much. Red and blue: for and against. They do not agree, because they answer different questions: a gradient says what a
small change would do, the sums of integrated gradients and DeepLIFT divide up what the picture adds to a black one,
Grad-CAM and occlusion say where and not which pixel."""
CURVES = """A good map puts first what the network needs. Turn its highest pixels black and the probability should fall
at once; bring them back into a blurred picture and it should rise at once (Petsiuk, Das, Saenko 2018). Pixels turned
black one by one make pictures that no network was trained on, so a map of single pixels can win this by being an
attack."""
FIGURES = """The rank correlation compares each map with that of a network of the same layers whose weights are drawn at
random (Adebayo et al. 2018). A method that draws nearly the same map for a network that has learned nothing shows the
picture, not what was learned. The times are those of the map alone, on this machine. Unless --full
asks for what the methods' own commands do, SmoothGrad takes 20 copies, integrated gradients 50 nodes, and occlusion
steps of a tenth of the side."""
