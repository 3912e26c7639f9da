"""index.html: whole, self-contained, its text escaped."""

import base64
import errno
import os
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from minicnn import pictures
from minicnn.errors import MinicnnError
from minicnn.report import Figure, Section, Table, write_index

NASTY = '<script>alert("1 & 2")</script>'
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def page(folder, *args, **options):
    path = write_index(folder, *args, **options)
    assert path == folder / "index.html"
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.open == []  # every tag that was opened is closed, in order
    return parsed


def images(parsed):
    return [attrs for tag, attrs in parsed.tags if tag == "img"]


def test_every_text_is_escaped(tmp_path):
    small = Image.new("L", (5, 5))
    parts: list[Figure | Table] = [Figure(small, NASTY, NASTY), Table([NASTY], [[NASTY]], NASTY)]
    sections = [Section(NASTY, NASTY, parts, NASTY)] * 3
    parsed = page(tmp_path, NASTY, sections, lead=NASTY, facts=[(NASTY, NASTY)])
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert (
        parsed.said.count(NASTY) == 2 + 1 + 2 + 3 * 8
    )  # title, lead, fact; a section: link, heading, text, captions, cells, command
    assert all(image["alt"] == NASTY for image in images(parsed))


def test_nothing_outside_the_page_is_referred_to(tmp_path):
    parts: list[Figure | Table] = [Figure(Image.new("RGB", (90, 90)), "a"), Table(["a"], [[1]])]
    parsed = page(tmp_path, "Title", [Section("One", "Text", parts)])
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//|url\(|@import|<script", re.sub(r"base64,[\w+/=]*", "", text))
    for _, attrs in parsed.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:"))


def test_pictures_are_inside_with_their_pixels_and_alt_texts(tmp_path):
    picture = Image.radial_gradient("L")
    pictures.save_png(tmp_path / "a.png", picture)
    parsed = page(
        tmp_path, "T", [Section("S", "", [Figure(picture, "caption"), Figure(tmp_path / "a.png", alt="alt")])]
    )
    first, second = images(parsed)
    assert (first["alt"], second["alt"]) == ("caption", "alt")
    data = base64.b64decode(second["src"].removeprefix("data:image/png;base64,"))
    assert data == (tmp_path / "a.png").read_bytes()
    assert (first["width"], first["height"]) == ("256", "256") and "class" not in first


def test_an_animation_stays_one(tmp_path):
    pictures.save_gif(tmp_path / "a.gif", [Image.new("L", (99, 99), value) for value in (0, 99)])
    (image,) = images(page(tmp_path, "T", [Section("S", "", [Figure(tmp_path / "a.gif")])]))
    assert image["src"].startswith("data:image/gif;base64,")


def test_small_pictures_are_enlarged_to_crisp_squares(tmp_path):
    (image,) = images(page(tmp_path, "T", [Section("S", "", [Figure(Image.new("L", (28, 14)))])]))
    assert image["class"] == "crisp" and (image["width"], image["height"]) == ("196", "98")


def test_columns_of_numbers_are_aligned_and_readable(tmp_path):
    table = Table(["layer", "parameters", "error"], [["conv1", 61706, 3.14159e-11], ["fc", 0, 0.5]])
    page(tmp_path, "T", [Section("S", "", [table])])
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<tr><td>conv1</td><td class="number">61,706</td><td class="number">3.142e-11</td></tr>' in text


def test_a_ragged_table_is_an_error(tmp_path):
    with pytest.raises(MinicnnError, match="a row of 1 cells in a table of 2 columns"):
        write_index(tmp_path, "T", [Section("S", "", [Table(["a", "b"], [[1]])])])


def test_paragraphs_are_split_at_empty_lines(tmp_path):
    parsed = page(tmp_path, "T", [Section("S", "one\ntwo\n\nthree")])
    assert [tag for tag, _ in parsed.tags].count("p") == 2 and "one two" in parsed.said


def test_the_same_page_has_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_index(tmp_path / name, "T", [Section("S", "text", [Figure(Image.new("L", (9, 9)), "c")])])
    assert (tmp_path / "a/index.html").read_bytes() == (tmp_path / "b/index.html").read_bytes()


@pytest.mark.parametrize(
    ("name", "text"), [("no.png", "cannot be read"), ("a.txt", "expected a picture that a browser")]
)
def test_a_picture_that_cannot_be_shown_is_named(tmp_path, name, text):
    with pytest.raises(MinicnnError, match=f"{name}: {text}"):
        write_index(tmp_path, "T", [Section("S", "", [Figure(tmp_path / name)])])
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(MinicnnError, match=r"bad\.png: not a picture"):
        write_index(tmp_path, "T", [Section("S", "", [Figure(tmp_path / "bad.png")])])


def test_a_full_disk_leaves_no_half_written_page(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MinicnnError, match=r"index\.html: cannot be written: no space left on device"):
        write_index(tmp_path, "T", [])
    assert os.listdir(tmp_path) == []
