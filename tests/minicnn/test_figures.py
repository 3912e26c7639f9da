"""Figures: values keep their meaning, pixels stay crisp, text is never cut off, the same input gives the same bytes."""

import numpy as np
import pytest
from PIL import Image

from minicnn import boxes, figures, pictures
from minicnn.errors import MinicnnError


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def ink(image):
    """How many pixels of a picture differ from its upper left one."""
    pixels = np.asarray(image.convert("RGB"), dtype=int)
    return int((np.abs(pixels - pixels[0, 0]).max(axis=-1) > 20).sum())


# Values


def test_each_tile_gets_its_own_range_or_all_get_one():
    array = np.stack([random(1, 4, 4), 10 * random(1, 4, 4, seed=1)])
    each, one = figures.rescale(array), figures.rescale(array, "all")
    assert [(a.min(), a.max()) for a in each] == [(0, 1), (0, 1)]
    assert (one.min(), one.max()) == (0, 1) and one[0].max() < 0.2
    assert each.dtype == np.float32


def test_symmetric_rescaling_keeps_zero_grey_and_signs_comparable():
    array = np.array([-1.0, 0.0, 4.0]).reshape(1, 1, 3)
    assert figures.rescale(array, "symmetric").ravel().tolist() == [0.375, 0.5, 1.0]


@pytest.mark.parametrize("mode", ["tile", "all"])
def test_a_constant_picture_becomes_mid_grey(mode):
    assert (figures.rescale(np.full((3, 2, 2), 7.0), mode) == 0.5).all()
    assert (figures.rescale(np.zeros((3, 2, 2)), "symmetric") == 0.5).all()


def test_rescaling_leaves_its_argument_alone():
    array = random(3, 4, 4)
    before = array.copy()
    figures.rescale(array)
    assert np.array_equal(array, before)


@pytest.mark.parametrize("draw", [lambda a: figures.rescale(a[None]), figures.heatmap, figures.top_value])
def test_nan_is_an_error_that_says_so(draw):
    with pytest.raises(MinicnnError, match="2 of 4 values to draw are NaN or infinite"):
        draw(np.array([[0, np.nan], [np.inf, 1]]))


def test_a_wrong_mode_or_shape_names_the_right_ones():
    with pytest.raises(MinicnnError, match="did you mean 'symmetric'"):
        figures.rescale(np.zeros((1, 2, 2)), "symetric")
    with pytest.raises(MinicnnError, match=r"expected a map \(H, W\), got shape \(3, 2, 2\)"):
        figures.heatmap(np.zeros((3, 2, 2)))


def test_heat_map_colours_agree_with_matplotlibs_tables():
    colormaps = pytest.importorskip("matplotlib").colormaps
    steps = np.linspace(0, 1, 256)
    for values, signed, name in ((steps, False, "magma"), (2 * steps - 1, True, "RdBu_r")):
        ours = np.asarray(figures.heatmap(values[None], signed=signed, top=1), dtype=int)[0]
        assert np.abs(ours - 255 * colormaps[name](steps)[:, :3]).max() <= 4


def test_one_outlier_does_not_darken_the_map():
    values = np.ones((20, 20))
    values[0, 0] = 1000
    assert figures.top_value(values) == 1
    assert figures.top_value(np.eye(200)[:, :1]) == 1  # 199 of 200 are zero, and do not count
    assert figures.top_value(np.append(np.zeros(9900), np.arange(101))) == pytest.approx(99, abs=0.1)


def test_zero_is_the_middle_colour_of_a_signed_map_and_black_otherwise():
    zeros = np.zeros((2, 2))
    assert figures.heatmap(zeros, signed=True).getpixel((0, 0)) == (247, 247, 247)
    assert figures.heatmap(zeros).getpixel((0, 0)) == (0, 0, 4)


def test_negative_values_in_an_unsigned_map_are_an_error():
    with pytest.raises(MinicnnError, match=r"negative values \(down to -2\): draw it with signed=True"):
        figures.heatmap(np.array([[-2.0, 1.0]]))


def test_an_overlay_shows_the_grey_picture_where_the_map_is_zero():
    picture = Image.new("RGB", (64, 64), (10, 200, 30))
    grey = picture.convert("L").getpixel((0, 0))
    values = np.zeros((4, 4))
    values[0, 0] = 1
    over = figures.overlay(picture, values)
    assert over.size == (64, 64)
    assert over.getpixel((60, 60)) == (grey,) * 3 and over.getpixel((2, 2)) != (grey,) * 3


# Tiles


def test_tiles_are_crisp_and_in_reading_order():
    small = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]).reshape(6, 1, 1, 1) * np.ones((1, 1, 5, 5))
    grid = np.asarray(figures.tiles(small, columns=3, padding=2, background=(255, 0, 0)))
    assert grid.shape == (2 + 2 * 42, 2 + 3 * 42, 3)  # 5 pixels eight-fold
    for i, value in enumerate([0, 51, 102, 153, 204, 255]):
        y, x = 2 + 42 * (i // 3), 2 + 42 * (i % 3)
        assert (grid[y : y + 40, x : x + 40] == value).all()
        assert (grid[y - 1, x - 1] == (255, 0, 0)).all()


def test_enlarged_pixels_stay_squares_of_one_colour():
    tile = random(3, 5, 5).astype(np.float32)
    grid = np.asarray(figures.tiles([tile], padding=0))
    assert np.array_equal(grid, np.asarray(pictures.to_picture(tile)).repeat(8, 0).repeat(8, 1))


def test_the_number_of_columns_fills_the_rows():
    assert [figures._columns(n) for n in (1, 6, 10, 16, 20, 32, 64, 96, 11)] == [1, 6, 5, 4, 5, 8, 8, 12, 4]


def test_labels_make_room_for_themselves():
    digits = random(4, 1, 28, 28)
    plain = figures.tiles(digits, columns=2)
    labelled = figures.tiles(digits, columns=2, labels=["0", "a name that must wrap", "", "incomprehensibilities"])
    assert labelled.width == plain.width and labelled.height > plain.height


def test_tiles_of_different_shapes_or_none_are_an_error():
    with pytest.raises(MinicnnError, match=r"tiles of one shape .* got \[\(1, 2, 2\), \(3, 2, 2\)\]"):
        figures.tiles([np.zeros((1, 2, 2)), np.zeros((3, 2, 2))])
    with pytest.raises(MinicnnError, match="got none"):
        figures.tiles([])
    with pytest.raises(MinicnnError, match="1 labels for 2 tiles"):
        figures.tiles(np.zeros((2, 1, 2, 2)), labels=["a"])


# Bars


def test_a_probability_is_a_bar_of_that_share_of_the_width():
    shares = (1.0, 0.25, 0.004, 0.0)
    drawn = np.asarray(figures.probability_bars([("cat", share) for share in shares], width=200))
    blue = (drawn == figures.BAR_COLOURS[1]).all(axis=-1).sum(axis=1)
    assert [int(n) for n in blue if n] == [200] * figures.BAR + [50] * figures.BAR + [1] * figures.BAR


def test_long_names_of_classes_are_wrapped_not_cut():
    short = figures.probability_bars([("x", 0.5)])
    long = figures.probability_bars([("the American Staffordshire terrier of my neighbour", 0.5)])
    assert long.width == short.width and long.height > short.height
    assert ink(long) > ink(short)


def test_no_classes_or_a_probability_that_is_none_is_refused():
    with pytest.raises(MinicnnError, match="at least one class"):
        figures.probability_bars([])
    with pytest.raises(MinicnnError, match="1 of 1 values"):
        figures.probability_bars([("x", float("nan"))])


# Text


@pytest.mark.parametrize("width", [12, 40, 90, 400])
@pytest.mark.parametrize(
    "text", ["tiger shark, Galeocerdo cuvieri", "supercalifragilisticexpialidocious", "\u03b1 → \u03b2 ≥ 7 \u00d7 8"]
)
def test_text_is_never_cut_off(text, width):
    box = boxes.text_box(text, width)
    pixels = np.asarray(box.convert("L"))
    assert box.width == width
    assert (pixels[:, [0, -1]] > 200).all()  # nothing touches the edges
    wide = ink(boxes.text_box(text, 2000, size=boxes.SMALLEST_SIZE))
    assert ink(box) > 0.7 * wide


def test_wrapping_loses_no_letter():
    text = "a few words and onewordthatisverylongindeed at the end"
    for width in (20, 60, 200):
        letters = boxes.font(12)
        lines = boxes.wrapped(text, letters, width)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(letters.getlength(line) <= width for line in lines)


def test_a_number_and_a_difference_stay_on_one_line():
    letters = boxes.font(13)
    text = "they add up to F(x) − F(0) but for Irish setter (10.5 %); red: the box"
    for width in range(80, 400, 5):
        lines = boxes.wrapped(text, letters, width)
        assert " ".join(lines) == text and any("F(x) − F(0)" in line for line in lines)
        assert not any(line.startswith("%") for line in lines)


@pytest.mark.parametrize(
    "text", ["p(Irish setter) by the place of the patch", "the pixels in a row of the left half, and more"]
)
def test_no_word_is_left_alone_on_the_last_line(text):
    letters = boxes.font(13)
    plain = boxes.wrapped(text, letters, 220)
    assert len(plain) == 2 and " " not in plain[-1]  # or the test would show nothing
    lines = boxes.evenly_wrapped(text, letters, 220)
    assert len(lines) == 2 and " ".join(lines) == text
    assert letters.getlength(lines[1]) > letters.getlength(lines[0]) / 2
    for one_line in ("", "text", "supercalifragilisticexpialidocious"):
        assert boxes.evenly_wrapped(one_line, letters, 250) == [one_line]


def test_text_is_light_on_dark():
    box = np.asarray(boxes.text_box("label", 80, background=(20, 20, 20)))
    assert box.max() > 200


def test_letters_that_pillows_font_lacks_are_drawn():
    assert not np.array_equal(np.asarray(boxes.text_box("→", 30)), np.asarray(boxes.text_box("≥", 30)))


# Rows and grids


def test_pictures_of_a_row_are_scaled_to_one_height_without_blur():
    digit = np.zeros((1, 28, 28))
    digit[0, ::2] = 1
    row = np.asarray(figures.labelled_row([("a", digit), ("b", digit)]))
    cell = row[boxes.GAP : boxes.GAP + 28 * 6, boxes.GAP : boxes.GAP + 28 * 6]
    assert np.array_equal(cell[:, 0, 0], np.tile([255, 0], 14).repeat(6))


def test_a_grid_has_room_for_titles_labels_and_captions():
    items = [("caption", random(1, 28, 28)), ("", random(3, 40, 60))]
    bare = figures.labelled_grid([("", [("", picture) for _, picture in items])])
    captioned = figures.labelled_grid([("", items)])
    full = figures.labelled_grid([("row", items), ("row 2", items[:1])], columns=["one", "two"], title="A title")
    assert captioned.width == bare.width and captioned.height > bare.height
    assert full.width > captioned.width and full.height > 2 * captioned.height - 40
    assert np.array_equal(np.asarray(full), np.asarray(figures.labelled_grid(
        [("row", items), ("row 2", items[:1])], columns=["one", "two"], title="A title")))  # fmt: skip


@pytest.mark.parametrize("rows", [[], [("a", [])]])
def test_an_empty_grid_is_an_error(rows):
    with pytest.raises(MinicnnError, match="at least one picture"):
        figures.labelled_grid(rows)


def test_a_colour_bar_runs_from_the_colour_of_zero_to_that_of_the_top():
    bar = figures.colour_bar(0.5, "drop of the probability", width=200)
    assert bar.width == 200
    assert bar.getpixel((0, 5)) == (0, 0, 4) and bar.getpixel((199, 5)) == (252, 253, 191)
    signed = figures.colour_bar(0.5, "effect", signed=True)
    assert signed.getpixel((0, 5)) == (5, 48, 97) and signed.getpixel((239, 5)) == (103, 0, 31)
