"""Filters and activations as pictures."""

import json

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.activations import activations, bars, draw_values, first_activation, shades
from minicnn.experiments.filters import PLANES, ROWS, caption, draw, filters, side_by_side
from minicnn.files import sha256
from minicnn.layers import Conv2d, Normalize
from minicnn.models import build, weights_file
from minicnn.pictures import load_picture, save_png, to_picture
from minicnn.weights import save_weights


def test_the_first_convolution_is_the_default(small):
    found = filters(small)
    assert found.layer == "conv1" and found.colours
    np.testing.assert_array_equal(found.weights, small.layer("conv1").weight.value)


def test_each_filter_is_stretched_from_black_to_white(small):
    pixels = np.asarray(draw(filters(small)))
    scale = (pixels.shape[1] - 5 * 4) // 4 // 3  # four filters of 3 pixels in a row, 4 pixels between
    for i in range(4):
        left = 4 + i * (3 * scale + 4)
        tile = pixels[4 : 4 + 3 * scale, left : left + 3 * scale]
        assert tile.min() == 0 and tile.max() == 255


def test_filters_of_a_bgr_network_are_shown_in_their_true_colours(small):
    weights = small.layer("conv1").weight.value.copy()
    small.replace("normalize", Normalize((0.3, 0.4, 0.5), (1, 1, 1), bgr=True))
    np.testing.assert_array_equal(filters(small).weights, weights[:, ::-1])
    assert not np.array_equal(filters(small, "conv2").weights, filters(small, "conv2").weights[:, ::-1])


def test_the_table_of_connections_is_applied_to_the_filters():
    net = build("lenet5_1998")
    weights = filters(net, "conv2").weights
    assert (np.abs(weights).sum(axis=(2, 3)) == 0).sum() == 16 * 6 - 60  # only 60 of the 96 planes are connected


def test_a_deeper_layer_is_a_row_of_planes_for_each_filter_and_says_what_is_left_out():
    net = build("alexnet_cifar")
    found = filters(net, "conv2")
    assert f"the first {ROWS} filters are shown, {PLANES} planes of each" in caption(found)
    assert "shown" not in caption(filters(net))
    picture = draw(found)
    assert picture.width > PLANES * 5 and picture.height > ROWS * 5


def test_a_constant_filter_is_grey(small):
    small.layer("conv1").weight.value[...] = 1
    colours = {tuple(c) for c in np.asarray(draw(filters(small))).reshape(-1, 3)}
    assert (128, 128, 128) in colours and len(colours) == 2


def test_what_is_no_convolution_is_refused_with_those_there_are(small):
    with pytest.raises(MinicnnError, match="fc3 of small is a Linear: expected a convolution; there is: conv1, conv2"):
        filters(small, "fc3")
    with pytest.raises(MinicnnError, match="no layer 'conf1'; did you mean 'conv1'"):
        filters(small, "conf1")


def test_networks_stand_side_by_side(small):
    one, two = (side_by_side([(str(i), filters(small)) for i in range(count)]) for count in (1, 2))
    assert two.width > 1.8 * one.width


def test_the_filters_command_takes_several_networks(minicnn, tmp_path):
    files = []
    for model in ("lenet5_1998", "alexnet_cifar"):
        save_weights(build(model), tmp_path / f"{model}.safetensors")
        files += ["--weights", tmp_path / f"{model}.safetensors"]
    out = tmp_path / "out"
    arguments = ("look", "filters", "lenet5_1998", "alexnet_cifar", "--layer", "conv1", *files, "--out", out)
    status, printed, _ = minicnn(*arguments)
    assert status == 0
    assert "6 filters of 1×5×5" in printed and "64 filters of 3×5×5" in printed and "filters.png" in printed
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["models"] == ["lenet5_1998", "alexnet_cifar"]
    assert list(record["inputs"]) == [str(file) for file in files[1::2]]


def test_bad_input_to_filters_is_one_line_each(refused, photo, tmp_path):
    look, out = ("look", "filters"), ("--out", tmp_path / "out")
    assert "did you mean 'conv1'" in refused(*look, "lenet5", "--layer", "conv11", *out)
    assert "did you mean 'lenet5'" in refused(*look, "lenet", *out)
    assert "1 weights files for 2 networks" in refused(*look, "lenet5", "lenet5", "--weights", photo, *out)
    assert "no weights come with minicnn" in refused(*look, "lenet5", "alexnet_lecture", *out)
    assert "is a file" in refused(*look, "lenet5", "--out", photo)


def test_activations_are_those_of_the_network(small, image):
    found = activations(small, image, "relu2")
    np.testing.assert_array_equal(found.values, small.activations(image, ["relu2"])["relu2"][0])
    assert found.values.shape == (5, 4, 4) and not found.signed


def test_the_default_is_what_follows_the_first_convolution(small):
    assert first_activation(small) == "relu1"
    assert first_activation(build("lenet5_1998")) == "tanh1"


def test_a_silent_map_is_black_and_is_counted(small, image):
    small.layer("conv1").bias.value[1] = -100
    found = activations(small, image)
    assert found.silent() == 1
    pictures = shades(found)
    assert pictures[1].max() == 0 and pictures[0].max() == 1


def test_zero_is_grey_where_there_are_negative_values(small, image):
    found = activations(small, image, "conv1")
    pictures = shades(found)
    assert found.signed and pictures.min() >= 0 and pictures.max() <= 1
    np.testing.assert_array_equal(np.sign(pictures[:, 0] - 0.5), np.sign(found.values))


def test_a_vector_becomes_bars_with_their_names():
    values = np.array([1.0, -1.0, 0.5, 0.0], np.float32)
    chart = np.asarray(bars(values, ("a", "b", "c", "d"))).astype(int)
    red, blue = (chart[:, :, 0] - chart[:, :, 2] > 100), (chart[:, :, 2] - chart[:, :, 0] > 100)
    assert red.any(axis=1).sum() == pytest.approx(blue.any(axis=1).sum(), abs=2)  # as long up as down
    assert 1.4 < red.sum() / blue.sum() < 1.6


@pytest.mark.parametrize("size", [1, 10, 84, 1000, 4096])
def test_bars_stay_on_the_page(size):
    assert bars(np.random.default_rng(0).standard_normal(size)).width < 1000


def test_the_maps_of_a_large_picture_are_made_smaller(small):
    small.input_shape = (3, 400, 300)
    x = np.random.default_rng(0).random((1, 3, 400, 300), np.float32)
    assert draw_values(activations(small, x)).width < 1000


def test_a_layer_with_one_place_is_a_vector(small, image):
    small.replace("flatten", Conv2d(5, 3, 4))
    assert activations(small, image, "flatten").values.shape == (3,)


def test_the_same_activations_on_every_device(small, image, on):
    expected = activations(small, image).values
    on.place(small)
    np.testing.assert_allclose(activations(small, on.upload(image)).values, expected, atol=1e-5)


@pytest.mark.parametrize("layer", [None, "conv2", "relu4", "fc5", "input"])
def test_the_activations_command_draws_any_layer(minicnn, photo, tmp_path, layer):
    out = tmp_path / "out"
    chosen = [] if layer is None else ["--layer", layer]
    status, printed, _ = minicnn("look", "activations", photo, "--model", "lenet5", *chosen, "--out", out)
    assert status == 0
    assert (layer or "relu1") in printed and str(out / "activations.png") in printed
    assert load_picture(out / "activations.png").width > 300


def test_bad_input_to_activations_is_one_line_each(refused, photo, tmp_path):
    look, out = ("look", "activations"), ("--out", tmp_path / "out")
    assert "did you mean 'relu1'" in refused(*look, photo, "--layer", "rel1", *out)
    assert "there is no such file" in refused(*look, tmp_path / "none.png", *out)
    assert "no weights come with minicnn" in refused(*look, photo, "--model", "alexnet_lecture", *out)
    assert "is a file" in refused(*look, photo, "--out", photo)


def test_the_pictures_have_the_same_bytes_each_time(minicnn, photo, tmp_path):
    for out in ("a", "b"):
        assert minicnn("look", "activations", photo, "--out", tmp_path / out / "maps")[0] == 0
        assert minicnn("look", "filters", "lenet5", "--layer", "conv2", "--out", tmp_path / out)[0] == 0
    for name in ("maps/activations.png", "filters.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    weights = weights_file("lenet5")  # which came by name
    assert json.loads((tmp_path / "a" / "run.json").read_text())["inputs"] == {str(weights): sha256(weights)}


def test_a_figure_can_be_saved(small, image, tmp_path):
    save_png(tmp_path / "maps.png", draw_values(activations(small, image)))
    save_png(tmp_path / "picture.png", to_picture(image))
    assert load_picture(tmp_path / "maps.png").height > 40
