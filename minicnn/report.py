"""One page to look at a run: a self-contained index.html, with its pictures inside and no script.

write_index("out", "LeNet-5", [Section("Filters", "The first layer.", [Figure(picture, "Six filters of 5x5.")])])
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import TypeGuard

from PIL import Image, UnidentifiedImageError

from .errors import MinicnnError
from .files import make_folder, reason, write_bytes

TYPES = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
SMALL = 64  # pictures up to this size are enlarged to crisp squares
ENLARGED = 200


@dataclass(frozen=True)
class Figure:
    """A picture (PIL, or the path of a PNG, GIF or JPEG file), its caption, and `alt` for those who cannot see it."""

    picture: Image.Image | str | os.PathLike[str]
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers under the names of their columns. Floats are shown to four digits."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, its explanation (an empty line starts a new paragraph), figures and tables in their order, and the
    command line that makes them alone."""

    heading: str
    text: str = ""
    parts: Sequence[Figure | Table] = ()
    command: str = ""


def write_index(
    folder: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes `folder`/index.html, whole or not at all, and returns its path; the same bytes for the same arguments.

    `lead` is a paragraph under the title, `facts` the few numbers to see first: ("test accuracy", "99.1 %"). All text
    is plain: it is escaped. Raises MinicnnError if a picture cannot be read or the file not written.
    """
    path = make_folder(folder) / "index.html"
    write_bytes(path, _page(title, sections, lead, facts).encode())
    return path


def _page(title: str, sections: Sequence[Section], lead: str, facts: Sequence[tuple[str, str]]) -> str:
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    links = "".join(f'<li><a href="#s{i}">{escape(section.heading)}</a></li>' for i, section in enumerate(sections, 1))
    parts = [
        HEAD.replace("TITLE", escape(title), 1),
        f"<header>\n<h1>{escape(title)}</h1>\n{_paragraphs(lead)}",
        f"<dl>{shown}</dl>\n" if facts else "",
        f"<nav><ul>{links}</ul></nav>\n" if len(sections) > 2 else "",
        "</header>\n<main>\n",
        *(_section(i, section) for i, section in enumerate(sections, 1)),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _section(number: int, section: Section) -> str:
    parts = "".join(_figure(part) if isinstance(part, Figure) else _table(part) for part in section.parts)
    body = f'<div class="parts">\n{parts}</div>\n' if parts else ""
    command = f"<pre><code>{escape(section.command)}</code></pre>\n" if section.command else ""
    heading = f"<h2>{escape(section.heading)}</h2>\n"
    return f'<section id="s{number}">\n{heading}{_paragraphs(section.text)}{body}{command}</section>\n'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(' '.join(part.split()))}</p>\n" for part in text.split("\n\n") if part.strip())


def _figure(figure: Figure) -> str:
    data, kind, (width, height) = _picture(figure.picture)
    crisp = max(width, height) <= SMALL
    factor = max(1, round(ENLARGED / max(width, height))) if crisp else 1
    size = f'width="{width * factor}" height="{height * factor}"' + (' class="crisp"' if crisp else "")
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    alt = escape(figure.alt or figure.caption)
    # Its own width, so that the caption wraps beneath the picture and both shrink together on a small screen.
    return f'<figure style="width: {width * factor}px"><img src="{url}" {size} alt="{alt}">{caption}</figure>\n'


def _picture(picture: Image.Image | str | os.PathLike[str]) -> tuple[bytes, str, tuple[int, int]]:
    """The bytes to embed, their media type, and the size in pixels."""
    if isinstance(picture, Image.Image):
        plain = picture.copy()
        plain.info = {}
        buffer = BytesIO()
        plain.save(buffer, format="PNG", optimize=True)
        return buffer.getvalue(), TYPES[".png"], picture.size
    path = Path(picture)
    if path.suffix.lower() not in TYPES:
        raise MinicnnError(f"{path}: expected a picture that a browser shows ({', '.join(TYPES)})")
    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data)) as image:
            return data, TYPES[path.suffix.lower()], image.size
    except UnidentifiedImageError as error:
        raise MinicnnError(f"{path}: not a picture") from error
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from error


def _table(table: Table) -> str:
    wrong = next((row for row in table.rows if len(row) != len(table.columns)), None)
    if wrong is not None:
        raise MinicnnError(f"a row of {len(wrong)} cells in a table of {len(table.columns)} columns: {wrong!r}")
    numeric = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]
    kinds = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in table.rows
    )
    caption = f"<figcaption>{escape(table.caption)}</figcaption>" if table.caption else ""
    return (
        f'<figure class="table"><div><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
        f"{caption}</figure>\n"
    )


def _is_number(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if _is_number(value):
        number = float(value)
        return f"{int(number):,}" if number.is_integer() and abs(number) < 1e15 else f"{number:.4g}"
    return escape(str(value))


HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>TITLE</title>
<style>
:root { --page: #faf9f7; --ink: #23252a; --soft: #666a73; --line: #e3e1dc; --card: #fff; --accent: #1a5fa0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16171a; --ink: #e6e6e3; --soft: #9a9da5; --line: #303238; --card: #1f2125; --accent: #7db6ea; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2.5rem) 5rem; max-width: 68rem;
  background: var(--page); color: var(--ink); font: 1.0625rem/1.6 system-ui, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; }
h1 { margin: 0 0 .6rem; font-size: clamp(1.8rem, 4vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 .5rem; font-size: 1.4rem; line-height: 1.25; letter-spacing: -.01em; }
p { margin: 0 0 .8rem; max-width: 42rem; text-wrap: pretty; }
header p { font-size: 1.15rem; color: var(--soft); }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
dl { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1.6rem 0; }
dt { font-size: .875rem; color: var(--soft); }
dd { margin: 0; font-size: 1.75rem; font-weight: 600; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: 1.4rem 0 0; padding: 0; list-style: none;
  font-size: .95rem; }
section { margin-top: 3rem; padding-top: 2.2rem; border-top: 1px solid var(--line); scroll-margin-top: 1rem; }
.parts { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1.5rem; margin-top: 1.3rem; }
figure { margin: 0; max-width: 100%; min-width: min(12rem, 100%); }
figure img { display: block; max-width: 100%; height: auto; border-radius: 8px; background: #fff;
  box-shadow: 0 0 0 1px var(--line), 0 2px 10px rgb(0 0 0 / 7%); }
figure img.crisp { image-rendering: pixelated; }
figcaption { margin-top: .6rem; font-size: .9rem; line-height: 1.45; color: var(--soft); text-wrap: pretty; }
figure.table div { overflow-x: auto; border-radius: 8px; background: var(--card); box-shadow: 0 0 0 1px var(--line); }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem 1.1rem; text-align: left; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: .875rem; }
tbody tr { border-top: 1px solid var(--line); }
.number { text-align: right; }
pre { margin: 1.3rem 0 0; padding: .6rem .9rem; max-width: max-content; overflow-x: auto; border-radius: 8px;
  background: var(--card); box-shadow: 0 0 0 1px var(--line); font-size: .875rem; line-height: 1.5; }
pre::before { content: "$ "; color: var(--soft); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print { body { max-width: none; } figure, tr { break-inside: avoid; } }
</style>
</head>
<body>
"""
