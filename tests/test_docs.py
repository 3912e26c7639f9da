"""The pages in docs/ are run: their code prints what they show, what they quote is there, every layer has its page."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minicnn.cli import main
from minicnn.layers import registered
from minicnn.layers.registry import _examples

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


class Block(NamedTuple):
    """A fenced block: what stands behind its opening fence, its text, and the line of its first line."""

    info: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    return [Block(m[1].strip(), m[2], page.count("\n", 0, m.start(2)) + 1) for m in BLOCK.finditer(page)]


def run_blocks(page: str, name: str = "page") -> list[str]:
    """What is wrong with the python blocks of a page: each prints exactly the text block that follows it."""
    wrong: list[str] = []
    names: dict[str, Any] = {"__name__": name}
    found = blocks(page)
    for block, after in pairwise([*found, Block("", "", 0)]):
        if block.info != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), names)
        if after.info != "text":
            wrong.append(f"{name}:{block.line}: no text block with its output follows")
        elif printed.getvalue() != after.text:
            wrong.append(f"{name}:{after.line}: the page shows\n{after.text}but the code prints\n{printed.getvalue()}")
    return wrong


def missing_quotes(page: str, root: Path = ROOT) -> list[str]:
    """The python and c blocks with source=FILE whose lines do not stand in that file, one after another."""
    wrong = []
    for block in blocks(page):
        kind, _, path = block.info.partition(" source=")
        if kind not in ("python", "c") or not path:
            continue
        quoted = textwrap.dedent(block.text).splitlines()
        lines = (root / path).read_text(encoding="utf-8").splitlines()
        windows = (lines[i : i + len(quoted)] for i in range(len(lines)))
        if not any(textwrap.dedent("\n".join(window)).splitlines() == quoted for window in windows):
            wrong.append(f"line {block.line}: not in {path}:\n{block.text}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_prints_what_the_page_shows(page: Path) -> None:
    assert not run_blocks(page.read_text(encoding="utf-8"), page.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_quotes_stands_in_the_source(page: Path) -> None:
    assert not missing_quotes(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


OURS = [layer.__name__ for layer in registered() if layer.__module__.startswith("minicnn.")]


@pytest.mark.parametrize("name", [*OURS, "GuidedReLU", "SoftmaxCrossEntropy"])
def test_a_layer_is_found_from_the_index(name: str) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = re.search(rf"\[`{name}`\]\((\w+\.md)\)", index)
    assert linked, f"docs/index.md has no [`{name}`](page.md)"
    assert re.search(rf"\b{name}\b", (DOCS / linked[1]).read_text(encoding="utf-8"))


def test_every_page_is_found_from_the_index() -> None:
    links = LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES} - {"index.md"} == {link for link in links if link.endswith(".md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_with_a_kernel_walks_from_the_formula_to_the_numbers(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if "source=kernels/reference/" in text:
        headings = ["Formula", "Derivation", "Reference", "Array", "Try it"]
        assert [h for h in re.findall(r"^## (.+)$", text, re.MULTILINE) if h in headings] == headings


def own_layer(folder: Path) -> Path:
    """The file that docs/new_layer.md shows."""
    page = (DOCS / "new_layer.md").read_text(encoding="utf-8")
    (block,) = [block for block in blocks(page) if block.info == "python file=swish.py"]
    assert block.text.count("\n") <= 30
    path = folder / "swish.py"
    path.write_text(block.text, encoding="utf-8")
    return path


def test_the_layer_of_ones_own_is_graded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("minicnn.layers.registry._examples", dict(_examples))
    with pytest.raises(SystemExit) as stop:
        main(["gradcheck", str(own_layer(tmp_path))])
    assert not stop.value.code
    assert "4 of 4 gradients are right" in capsys.readouterr().out


def test_the_layer_of_ones_own_keeps_every_contract(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contracts/test_layers.py"]
    command += ["--layers", str(own_layer(tmp_path)), "-k", "Swish-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d\d+ passed", done.stdout, re.MULTILINE)


# The tests above can fail ---------------------------------------------------------------------------------------------


def page(*parts: tuple[str, str]) -> str:
    return "\n\n".join(f"```{info}\n{text}```" for info, text in parts) + "\n"


def test_another_output_than_shown_is_found() -> None:
    shown = ("text", "2\n")
    assert not run_blocks(page(("python", "a = 2\nprint(a)\n"), shown, ("python", "print(a)\n"), shown))
    assert "prints\n2" in run_blocks(page(("python", "print(2)\n"), ("text", "3\n")))[0]
    assert "no text block" in run_blocks(page(("python", "print(2)\n")))[0]


def test_a_quote_that_is_not_in_the_source_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    x = 1\n\n    return x\n", encoding="utf-8")
    info = "python source=a.py"
    assert not missing_quotes(page((info, "    x = 1\n\n    return x\n"), (info, "x = 1\n")), tmp_path)
    assert missing_quotes(page((info, "x = 1\nreturn x\n")), tmp_path)
    assert missing_quotes(page((info, "x = 2\n")), tmp_path)
