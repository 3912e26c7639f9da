"""Segment: the object whose colours the saliency marks, and where it lies in the photo."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from minicnn.errors import MinicnnError
from minicnn.experiments.attribution import Attribution, Target
from minicnn.experiments.segment import Segmentation, box_of, cut_out, framed_at, seen_part, segment
from minicnn.layers import Flatten, Linear
from minicnn.network import Network
from minicnn.pictures import cut, load_picture, save_png, to_picture


@pytest.fixture
def looking_at() -> Network:
    """F₀ is the sum over a block of 16×16 pixels of 40×40, and a little over all others; F₁ = 0."""
    net = Network({"flatten": Flatten(), "fc": Linear(3 * 1600, 2, bias=False)}, input_shape=(3, 40, 40), name="block")
    net.initialize(0).eval()
    weights = np.random.default_rng(0).uniform(0, 0.01, (3, 40, 40))
    weights[:, 14:26, 14:26] += 1  # within the disc
    weights[:, :4] = 0
    rows = net.layer("fc").own_parameters()["weight"].value
    rows[0], rows[1] = weights.ravel(), 0
    return net


@pytest.fixture
def disc() -> np.ndarray:
    """A red disc, of radius 10, on blue, both a little noisy."""
    i, j = np.indices((40, 40))
    inside = (i - 20) ** 2 + (j - 20) ** 2 <= 100
    colours = np.where(inside, np.array([0.9, 0.2, 0.1])[:, None, None], np.array([0.1, 0.3, 0.8])[:, None, None])
    noise = np.random.default_rng(1).normal(0, 0.03, (3, 40, 40))
    return np.clip(colours + noise, 0, 1).astype(np.float32)[None]


@pytest.fixture
def found(looking_at, disc) -> Segmentation:
    pytest.importorskip("cv2")
    return segment(looking_at, disc, 0)


def test_the_object_is_what_has_the_colours_that_the_saliency_marks(found):
    """The saliency marks the middle of the disc, the cut finds all of it."""
    i, j = np.indices((40, 40))
    inside = (i - 20) ** 2 + (j - 20) ** 2 <= 100
    assert found.foreground.sum() == 80 and inside[found.foreground].all()  # 5 % of 1600
    assert (found.map[found.background] <= np.quantile(found.map, 0.3)).all()
    assert (found.mask != inside).mean() < 0.01
    assert found.box == (10, 10, 31, 31) and not found.held


def test_the_same_seed_cuts_the_same(found, looking_at, disc):
    np.testing.assert_array_equal(segment(looking_at, disc, 0).mask, found.mask)


def test_only_the_largest_piece_is_the_object(looking_at, disc):
    pytest.importorskip("cv2")
    disc[:, :, 33:37, 2:6] = np.array([0.9, 0.2, 0.1])[:, None, None]  # of the same red
    assert not segment(looking_at, disc, 0).mask[33:37, 2:6].any()


def test_where_colours_find_nothing_the_marked_pixels_are_held(looking_at):
    pytest.importorskip("cv2")
    grey = np.full((1, 3, 40, 40), 0.5, np.float32)
    result = segment(looking_at, grey, 0)
    assert result.held and result.mask[result.foreground].any() and not result.mask[result.background].any()


def test_a_unit_can_be_segmented_too(small, image):
    pytest.importorskip("cv2")
    assert segment(small, image, layer="relu2", unit=1).target.layer == "relu2"


def test_a_saliency_of_zeros_marks_nothing(looking_at, disc):
    pytest.importorskip("cv2")
    with pytest.raises(MinicnnError, match="the saliency for 1 is 0 everywhere"):
        segment(looking_at, disc, 1)


@pytest.mark.parametrize("quantiles", [{"foreground": 0.2}, {"background": 0.0}, {"foreground": 1.0}])
def test_quantiles_out_of_order_are_refused(small, image, quantiles):
    with pytest.raises(MinicnnError, match="expected 0 < background ≤ foreground < 1"):
        segment(small, image, **quantiles)


def test_without_opencv_one_line_says_what_to_install(small, image, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MinicnnError, match=r"pip install 'minicnn\[vision\]'"):
        segment(small, image)


# In the photo


@pytest.mark.parametrize(
    ("size", "shape", "resize"),
    [
        ((100, 60), (3, 40, 40), None),
        ((60, 100), (3, 40, 40), 50),
        ((97, 61), (3, 20, 30), 24),
        ((9, 7), (1, 14, 14), None),
    ],
)
def test_the_part_that_was_seen_is_the_part_that_is_cut_out(size, shape, resize):
    """A ramp in the photo is cut as everywhere else: its ends say which part that was."""
    ramp = Image.fromarray(np.tile(np.arange(size[0], dtype=np.float32), (size[1], 1)))
    left, top, right, bottom = seen_part(size, shape, resize)
    row = np.asarray(cut(ramp, *shape[1:], resize=resize))[0]
    assert abs(row[0] - left) < 1.5 + size[0] / 50 and abs(row[-1] - (right - 1)) < 1.5 + size[0] / 50
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert (right - left) / (bottom - top) == pytest.approx(shape[2] / shape[1], rel=0.1)


def segmentation_of(mask: np.ndarray) -> Segmentation:
    """A result with this mask; its saliency is 1 everywhere."""
    target = Target("fc", (0,), "disc")
    picture, ones = np.zeros((3, *mask.shape)), np.ones(mask.shape)
    saliency = Attribution("saliency", target, picture, ones, False, picture, "")
    return Segmentation(saliency, mask, ~mask, mask, box_of(mask), False)


def test_the_mask_lies_in_the_photo_where_the_object_is(looking_at):
    mask = np.zeros((40, 40), bool)
    mask[10:20, 0:30] = True
    placed = segmentation_of(mask).placed(Image.new("RGB", (140, 80)), looking_at)
    assert placed.seen == (30, 0, 110, 80) and placed.box == (30, 20, 90, 40)  # twice as large, 30 to the right
    assert placed.mask.shape == (80, 140) and placed.mask.sum() == 60 * 20


def test_a_photo_smaller_than_the_input_keeps_a_small_object(looking_at):
    mask = np.zeros((40, 40), bool)
    mask[7, 9] = True
    placed = segmentation_of(mask).placed(Image.new("RGB", (8, 8)), looking_at)
    assert placed.mask.any() and placed.box[2] <= 3 and placed.box[3] <= 3


def test_the_cut_out_is_clear_outside_of_the_mask():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:5] = True
    mask[1, 2] = False
    layered = cut_out(Image.new("RGB", (8, 6), (10, 20, 30)), mask, box_of(mask))
    assert layered.size == (3, 3) and layered.getpixel((1, 1)) == (10, 20, 30, 255) and not np.asarray(layered)[0, 0, 3]


@pytest.mark.parametrize("paper", [0, 255])
def test_a_frame_can_be_seen_on_every_colour(paper):
    framed = framed_at(Image.new("RGB", (320, 240), (paper,) * 3), (60, 50, 200, 180), colours=((255, 255, 255),))
    across = np.asarray(framed)[100, 50:80, 0]
    assert across.min() == 0 and across.max() == 255
    assert np.asarray(framed)[50, 100].tolist() == [255, 255, 255]  # the colour is at the box, the dark around it


def test_the_command_writes_mask_cutout_and_box(minicnn, tmp_path):
    pytest.importorskip("cv2")
    digit = np.zeros((1, 36, 56), np.float32)
    digit[:, 8:28, 26:30] = 1
    save_png(tmp_path / "one.png", to_picture(digit))
    command = ("explain", "segment", tmp_path / "one.png", "--model", "lenet5", "--out")
    status, said, _ = minicnn(*command, tmp_path / "a")
    assert status == 0 and "of 56×36 pixels; the network saw 10, 0, 46, 36" in said
    record = json.loads((tmp_path / "a/run.json").read_text(encoding="utf-8"))
    left, top, right, bottom = record["box"]
    with Image.open(tmp_path / "a/cutout.png") as layered:
        assert layered.size == (right - left, bottom - top) and layered.mode == "RGBA"
    mask = np.asarray(load_picture(tmp_path / "a/mask.png", mode="L"))
    assert mask.shape == (36, 56) and box_of(mask > 0) == (left, top, right, bottom)
    assert load_picture(tmp_path / "a/segment.png").width > 800
    minicnn(*command, tmp_path / "b")
    for name in ("segment.png", "mask.png", "cutout.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_figure_shows_the_picture_the_seeds_the_mask_and_the_cut_out(found, tmp_path):
    assert load_picture(found.save(tmp_path / "f.png")).width > 5 * 200
    assert found.cutout().size == (21, 21)
