"""Occlusion: each probability is that of the picture with the patch there, whatever the batches."""

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.common import pictures_at_once
from minicnn.experiments.occlusion import occlusion
from minicnn.layers import Normalize
from minicnn.models import build


def test_every_probability_is_that_of_the_picture_with_the_patch_there(small, image):
    result = occlusion(small, image, "dog", window=4, stride=3, fill="grey")
    assert list(result.rows) == list(result.columns) == [0, 3, 6, 8]  # the last touches the border
    for i, row in enumerate(result.rows):
        for j, column in enumerate(result.columns):
            hidden = image.copy()
            hidden[:, :, row : row + 4, column : column + 4] = 0.5
            expected = next(p.probability for p in small.predict(hidden)[0] if p.name == "dog")
            assert result.answers[i, j] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(result.drop, result.whole - result.answers)


def test_of_a_unit_the_activation_is_what_falls(small, image):
    result = occlusion(small, image, layer="relu2", unit="2,1,3", window=4, stride=4, fill="black")
    assert result.whole == pytest.approx(small.activations(image, ["relu2"])["relu2"][0, 2, 1, 3])
    hidden = image.copy()
    hidden[:, :, 4:8, 8:12] = 0
    assert result.answers[1, 2] == pytest.approx(small.activations(hidden, ["relu2"])["relu2"][0, 2, 1, 3], abs=1e-6)
    assert result.asked == "relu2: channel 2 at 1, 3"


def test_a_score_that_is_named_as_a_unit_is_no_probability(small, image):
    result = occlusion(small, image, layer="fc3", unit=1)
    assert result.whole == pytest.approx(small.scores(image)[0, 1], abs=1e-6)
    assert result.figure().width > 300  # also where some answers are negative


def test_the_map_is_the_mean_drop_of_the_patches_over_each_pixel(small, image):
    result = occlusion(small, image, window=6, stride=6)
    np.testing.assert_allclose(result.map, np.kron(result.drop, np.ones((6, 6))))
    overlapping = occlusion(small, image, window=8, stride=4)
    np.testing.assert_allclose(overlapping.map[5, 5], overlapping.drop.mean())
    np.testing.assert_allclose(overlapping.map[0, 0], overlapping.drop[0, 0])


def test_pixels_between_the_patches_have_no_drop(small, image):
    result = occlusion(small, image, window=1, stride=4)
    assert result.map[1, 1] == 0 and np.isfinite(result.map).all()


def test_the_mean_colour_is_what_the_network_subtracts(small, image):
    colour = occlusion(small, image, window=6, stride=6).fill
    np.testing.assert_allclose(colour, (0.5, 0.4, 0.3))
    patch = np.tile(colour[None, :, None, None], (1, 1, 12, 12))
    np.testing.assert_allclose(small.activations(patch, ["normalize"])["normalize"], 0, atol=1e-6)


def test_the_mean_colour_is_in_the_order_of_the_picture():
    layer = Normalize((104, 117, 123), (1, 1, 1), scale=255, bgr=True)
    net = build("alexnet_cifar")
    net.replace("normalize", layer)
    x = np.zeros((1, 3, 32, 32), np.float32)
    assert occlusion(net, x, 0, window=32).fill == pytest.approx(np.array([123, 117, 104]) / 255)


def test_the_size_of_the_batches_changes_nothing(small, image):
    calls = []
    one = occlusion(small, image, memory=1, progress=lambda *done: calls.append(done))
    assert calls == [(i, 121) for i in range(1, 122)]
    np.testing.assert_allclose(occlusion(small, image).answers, one.answers, atol=1e-6)


def test_batches_grow_with_the_memory_that_is_allowed(small):
    few, many = (pictures_at_once(small, (3, 12, 12), memory) for memory in (100_000, 1_000_000))
    assert 1 <= few < many
    assert many * 4 * (3 + 4) * 144 < 1_000_000  # what conv1 takes and gives fits
    assert pictures_at_once(small, (3, 12, 12), 1) == 1


def test_the_same_result_on_every_device(small, image, on):
    expected = occlusion(small, image, window=4, stride=4)
    on.place(small)
    result = occlusion(small, on.upload(image), window=4, stride=4)
    np.testing.assert_allclose(result.answers, expected.answers, atol=1e-5)


def test_the_picture_itself_is_not_changed(small, image):
    before = image.copy()
    occlusion(small, image)
    np.testing.assert_array_equal(image, before)


def test_the_worst_place_is_where_the_network_looks(small, image):
    result = occlusion(small, image)
    row, column = result.worst_place()
    i, j = list(result.rows).index(row), list(result.columns).index(column)
    assert result.drop[i, j] == result.drop.max()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": 13}, "window 13: expected 1 to 12, a whole number"),
        ({"window": 0}, "window 0: expected 1 to 12"),
        ({"window": 2.5}, "window 2.5: expected 1 to 12, a whole number"),
        ({"stride": 0}, "stride 0: expected 1 or more"),
        ({"fill": "gray"}, "fill 'gray'; did you mean 'grey'"),
        ({"target": "cats"}, "did you mean 'cat'"),
    ],
)
def test_bad_settings_say_what_was_expected(small, image, options, text):
    with pytest.raises(MinicnnError, match=text):
        occlusion(small, image, **options)


def test_the_command_says_the_drop_and_where(minicnn, photo, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = minicnn("explain", "occlusion", photo, "--window", 9, "--stride", 5, "--out", out)
    assert status == 0
    assert "a patch of 9 pixels at row" in printed and "25 places" in printed
    assert (out / "occlusion.png").exists()


def test_a_window_larger_than_the_picture_is_one_line(refused, photo, tmp_path):
    command = ("explain", "occlusion", photo, "--out", tmp_path / "out", "--window")
    assert "window 29: expected 1 to 28" in refused(*command, 29)
