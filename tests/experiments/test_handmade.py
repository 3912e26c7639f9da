"""Convolution by hand: against plain sums, scipy, and the numbers of the lecture."""

import json

import numpy as np
import pytest
from PIL import Image

from minicnn.errors import MinicnnError
from minicnn.experiments.handmade import (
    KERNELS,
    SIGNAL,
    WEIGHTS,
    brightness,
    correlate,
    detail,
    draw,
    draw_smoothing,
    handmade,
    matrix,
    numbers,
    size_formula,
    smooth,
)
from minicnn.pictures import load_picture

ROWS = "1 2 3; 4 5 6"  # no symmetry


@pytest.fixture
def colour():
    return np.random.default_rng(0).random((3, 11, 14), np.float32)


def by_hand(x, w, stride, padding):
    """The formula of the module, with loops."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    KH, KW = w.shape
    OH, OW = (x.shape[1] - KH) // stride + 1, (x.shape[2] - KW) // stride + 1
    y = np.zeros((len(x), OH, OW))
    for i, j, u, v in np.ndindex(OH, OW, KH, KW):
        y[:, i, j] += w[u, v] * x[:, i * stride + u, j * stride + v]
    return y


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("kernel", [*KERNELS, ROWS, "7"])
def test_correlation_and_convolution_are_the_sums(colour, kernel, stride, padding):
    w = matrix(kernel)
    found = handmade(colour, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(found.correlation, by_hand(colour, w, stride, padding), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.convolution, by_hand(colour, w[::-1, ::-1], stride, padding), rtol=1e-4, atol=1e-5)


def test_convolution_is_that_of_scipy(colour):
    signal = pytest.importorskip("scipy.signal")
    found = handmade(colour[:1], ROWS)
    w = matrix(ROWS)
    np.testing.assert_allclose(found.convolution[0], signal.convolve2d(colour[0], w, "valid"), rtol=1e-5)
    np.testing.assert_allclose(found.correlation[0], signal.correlate2d(colour[0], w, "valid"), rtol=1e-5)


def test_pools_take_the_largest_and_the_mean(colour):
    found = handmade(colour, "blur", pool=3)
    blocks = found.correlation[:, :9, :12].reshape(3, 3, 3, 4, 3)
    np.testing.assert_array_equal(found.max_pool, blocks.max(axis=(2, 4)))
    np.testing.assert_allclose(found.average_pool, blocks.mean(axis=(2, 4)), rtol=1e-5)


def test_the_smoothing_of_the_lecture():
    expected = "1.811 1.967 2.112 2.269 2.413 2.569"
    assert " ".join(f"{y:.3f}" for y in smooth(SIGNAL, WEIGHTS)) == expected


def test_windows_look_back_ahead_and_both_ways():
    step = np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
    w = np.array([0.25, 0.75])  # the last is the present's
    np.testing.assert_allclose(smooth(step, w), [0, 0, 0, 0.75, 1, 1, 1])  # at 1 … 7
    np.testing.assert_allclose(smooth(step, w, "succeeding"), [0, 0, 0, 0.25, 1, 1, 1])  # at 0 … 6
    np.testing.assert_allclose(smooth(step, w, "centred"), [0, 0, 0.2, 0.8, 1, 1])  # at 1 … 6
    for window in ("preceding", "succeeding", "centred"):
        np.testing.assert_allclose(smooth(np.full(20, 3.0), WEIGHTS, window), 3, rtol=1e-6)


def test_the_size_formula_is_what_comes_out(colour):
    for stride, padding in (((1, 1), (0, 0)), ((2, 3), (1, 2))):
        w = matrix(ROWS)
        y = correlate(colour, w, stride, padding)
        text = size_formula(colour, w, stride, padding)
        assert f"+ 1 = {y.shape[2]}, H₂" in text and text.endswith(f"+ 1 = {y.shape[1]}")
    assert "⌊" in text  # rounded down, and said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [[1]]),
        ("0 -1 0; -1 5 -1; 0 -1 0", [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1/4 .5 1e-1", [[0.25, 0.5, 0.1]]),
        ("1 2;3 4;", [[1, 2], [3, 4]]),
    ],
)
def test_a_matrix_is_read(text, expected, tmp_path):
    np.testing.assert_allclose(matrix(text), expected)
    (tmp_path / "kernel.txt").write_text(text)
    np.testing.assert_allclose(matrix(str(tmp_path / "kernel.txt")), expected)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("shapen", "did you mean 'sharpen'"),
        ("1 2; 3", "rows of 2, 1 numbers"),
        ("", "rows of no numbers"),
        (" ; ", "rows of no numbers"),
        ("1 x", "expected blur, sharpen, edges, a matrix"),
        ("nan", "expected blur"),
        ("1/0", "expected blur"),
        ("1e999999999", "expected blur"),
        ("a" * 5000, "expected blur"),
        ("\0", "expected blur"),
    ],
)
def test_what_is_no_matrix_is_refused(text, complaint):
    with pytest.raises(MinicnnError, match=complaint) as caught:
        matrix(text)
    assert len(str(caught.value)) < 250


def test_a_kernel_that_does_not_fit_is_refused(colour):
    with pytest.raises(MinicnnError, match="a kernel of 2×12: a window of 12 does not fit into 11 pixels"):
        handmade(colour, np.ones((12, 2)))
    with pytest.raises(MinicnnError, match="pool 12: expected 1 to 9"):
        handmade(colour, "blur", pool=12)
    with pytest.raises(MinicnnError, match="stride 0"):
        handmade(colour, "blur", stride=0)
    with pytest.raises(MinicnnError, match="did you mean 'centred'"):
        smooth(SIGNAL, WEIGHTS, "centered")
    with pytest.raises(MinicnnError, match="smooth: a window of 7"):
        smooth(SIGNAL[:5], WEIGHTS)
    for text in ("x", "1,2,3", "-1", ""):
        with pytest.raises(MinicnnError, match="expected a whole number"):
            numbers(text, "stride")


def test_brightness_is_true_and_what_is_cut_off_is_said():
    values = np.array([[[-0.5, 0.25, 0.5, 2]]])
    pixels, how = brightness(values, KERNELS["sharpen"], 1.0)
    assert pixels.tolist() == [[[0, 0.25, 0.5, 1]]] and how.startswith("50.0 % of the values are cut off")
    assert brightness(values[:, :, 1:3], KERNELS["blur"], 1.0)[1] == "true brightness"
    pixels, how = brightness(values, KERNELS["edges"], 1.0)  # around grey
    assert pixels.tolist() == [[[0.25, 0.625, 0.75, 1]]] and "grey is 0" in how


def test_a_detail_shows_the_same_place_of_pictures_of_several_sizes():
    picture = np.zeros((1, 1000, 1200))
    picture[:, 490:510, 590:610] = 1
    half = picture[:, ::2, ::2]
    for values, size in ((picture, (320, 400)), (half, (160, 200))):
        part = detail(values, picture)
        assert part.shape == (1, *size) and part.sum() == values.sum()
    assert detail(picture[:, :50, :60], picture[:, :50, :60]).shape == (1, 50, 60)


@pytest.mark.parametrize("size", [(3, 12), (2000, 20), (40, 50)])
def test_the_figure_stays_on_the_page(size):
    picture = np.random.default_rng(0).random((3, *size), np.float32)
    assert draw(picture, handmade(picture, "edges", pool=1), "formula").width < 1700


def test_the_smoothing_figure_is_the_same_each_time():
    assert draw_smoothing(3).tobytes() == draw_smoothing(3).tobytes() != draw_smoothing(4).tobytes()


@pytest.mark.parametrize("kernel", ["blur", "sharpen", "edges", ROWS])
def test_the_command_keeps_the_photos_size(minicnn, tmp_path, kernel):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    out = tmp_path / "out"
    command = ("look", "handmade", tmp_path / "photo.png", "--kernel", kernel, "--padding", "1", "--out", out)
    status, printed, _ = minicnn(*command)
    assert status == 0 and "W₂ = (41 − 3 + 2·1)/1 + 1 = 41" in printed and "1.811 1.967" in printed
    written = load_picture(out / "correlation.png")
    assert written.size[0] == 41 and written.mode == "RGB"
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["kernel"] == matrix(kernel).tolist() and record["status"] == "finished"
    before = (out / "handmade.png").read_bytes()
    assert minicnn(*command)[0] == 0 and (out / "handmade.png").read_bytes() == before


def test_a_grey_photo_stays_grey(minicnn, photo, tmp_path):
    assert minicnn("look", "handmade", photo, "--stride", "2,1", "--out", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out" / "correlation.png") as written:
        assert written.mode == "L" and written.size == (26, 13)


def test_bad_input_to_the_command_is_one_line_each(refused, photo, tmp_path):
    look, out = ("look", "handmade"), ("--out", tmp_path / "out")
    assert "there is no such file" in refused(*look, tmp_path / "none.png", *out)
    assert "did you mean 'blur'" in refused(*look, photo, "--kernel", "blurr", *out)
    assert "does not fit" in refused(*look, photo, "--kernel", " ".join("1" * 40), *out)
    assert "pool 100" in refused(*look, photo, "--pool", "100", *out)
    assert not (tmp_path / "out").exists()
