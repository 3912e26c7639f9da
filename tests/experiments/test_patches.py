"""The patches that excite a unit most: against every picture looked at by itself, and stopped half-way."""

import csv
import importlib
import json
from typing import Any

import numpy as np
import pytest

from minicnn.data import Dataset, load
from minicnn.errors import MinicnnError
from minicnn.experiments.patches import (
    Best,
    Patch,
    Scan,
    cut_out,
    draw,
    patches,
    patches_of,
    unit_numbers,
)
from minicnn.models import build
from minicnn.pictures import load_picture, save_png, to_picture
from minicnn.receptive import Field, receptive_field

module = importlib.import_module("minicnn.experiments.patches")  # the package has the function by this name


@pytest.fixture
def dataset():
    images = np.random.default_rng(3).integers(0, 256, (13, 3, 12, 12), np.uint8)
    return Dataset(images, np.arange(13) % 3, ("cat", "dog", "eel"), "noise")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i, pixels in enumerate(np.random.default_rng(4).random((7, 1, 30, 28), np.float32)):
        save_png(tmp_path / "pictures" / f"noise {i}.png", to_picture(pixels))
    return tmp_path / "pictures"


def by_hand(net, dataset, layer, top):
    """{unit: [(value, picture, place), …]} from one picture at a time."""
    found: dict[int, list[tuple[float, int, int]]] = {}
    for i in range(len(dataset)):
        a = net.activations(dataset.images[i : i + 1] / np.float32(255), [layer])[layer][0]
        for unit, values in enumerate(a.reshape(len(a), -1)):
            found.setdefault(unit, []).append((float(values.max()), -i, int(values.argmax())))
    return {unit: sorted(some, reverse=True)[:top] for unit, some in found.items()}


@pytest.mark.parametrize("layer", ["conv1", "relu2", "fc3", "flatten"])
@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_the_best_pictures_and_places_are_those_of_every_picture_by_itself(small, dataset, layer, memory):
    best = patches(small, dataset, layer, top=4, memory=memory)[layer]
    for unit, expected in by_hand(small, dataset, layer, 4).items():
        np.testing.assert_allclose(best.value[unit], [value for value, _, _ in expected], rtol=1e-5, atol=1e-6)
        assert best.picture[unit].tolist() == [-i for _, i, _ in expected]
        assert best.place[unit].tolist() == [place for _, _, place in expected]


def test_of_equal_activations_the_earlier_picture_counts(small):
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 3, 12, 12), np.uint8), 5, axis=0)
    same = Dataset(images, np.zeros(5, np.int64), ("cat",), "five times the same")
    for memory in (1, 1 << 30):
        assert (patches(small, same, "conv1", top=3, memory=memory)["conv1"].picture == [0, 1, 2]).all()


def test_a_picture_counts_once_a_unit(small, dataset):
    best = patches(small, dataset, "conv1", top=9)["conv1"]
    assert all(len(set(row)) == 9 for row in best.picture.tolist())


def test_several_layers_are_scanned_in_one_pass(small, dataset):
    both = patches(small, dataset, ["conv1", "relu2"], top=3)
    assert list(both) == ["conv1", "relu2"]
    np.testing.assert_array_equal(both["relu2"].value, patches(small, dataset, "relu2", top=3)["relu2"].value)


def test_fewer_pictures_than_asked_for_leave_the_rest_out(small, dataset):
    best = patches(small, dataset.subset(slice(2)), "relu2", top=9)["relu2"]
    assert [patch.picture for patch in patches_of(small, "relu2", 0, best)] == [i for i in best.picture[0] if i >= 0]
    assert len(patches_of(small, "relu2", 0, best)) == 2


def test_a_scan_that_was_stopped_goes_on_with_the_same_result(small, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.experiments.collection.pictures_at_once", lambda *_: 5)

    class Stop(Exception):
        pass

    def stop(scan):
        scan.save(tmp_path / "scan.safetensors")
        raise Stop

    whole = patches(small, dataset, ["conv1", "fc3"])
    with pytest.raises(Stop):
        patches(small, dataset, ["conv1", "fc3"], after_batch=stop)
    scan = Scan.load(tmp_path / "scan.safetensors")
    assert scan.done == 5
    resumed = patches(small, dataset, ["conv1", "fc3"], scan=scan)
    assert scan.done == len(dataset)
    for layer, best in whole.items():
        np.testing.assert_array_equal(resumed[layer].picture, best.picture)
        np.testing.assert_array_equal(resumed[layer].place, best.place)
        np.testing.assert_allclose(resumed[layer].value, best.value, rtol=1e-6)
    again = patches(small, dataset, ["conv1", "fc3"], scan=scan)  # all are seen: nothing is scanned
    np.testing.assert_array_equal(again["fc3"].value, resumed["fc3"].value)


def test_a_scan_goes_on_with_the_same_layers_alone(small, dataset):
    scan = Scan()
    patches(small, dataset, "conv1", top=3, scan=scan)
    for layers, top in ((["conv1", "conv2"], 3), (["conv1"], 4), (["relu1"], 3)):
        with pytest.raises(MinicnnError, match="a scan of conv1 cannot go on with"):
            patches(small, dataset, layers, top=top, scan=scan)


def test_a_damaged_scan_is_refused(tmp_path):
    file = tmp_path / "scan.safetensors"
    Scan(3, {"conv1": Best.none(2, 3)}).save(file)
    assert Scan.load(file).done == 3
    for damaged in (file.read_bytes()[:-5], b"", b"\xff" * 100):
        file.write_bytes(damaged)
        with pytest.raises(MinicnnError, match="not a readable scan"):
            Scan.load(file)


def test_a_patch_at_the_border_keeps_its_place(small):
    pixels = np.arange(3 * 12 * 12, dtype=np.float32).reshape(3, 12, 12) + 1
    index = (0, 0, 11)  # conv1: 3×3, padding 1
    cut = cut_out(pixels, small, "conv1", Patch(0, 1.0, index, receptive_field(small, "conv1", index)))
    assert cut.shape == (3, 3, 3)
    np.testing.assert_array_equal(cut[:, 1:, :2], pixels[:, :2, 10:])
    assert (cut[:, 0] == 0.5).all() and (cut[:, :, 2] == 0.5).all()


def test_a_field_as_large_as_the_picture_is_the_picture(small):
    pixels = np.random.default_rng(0).random((3, 12, 12), np.float32)
    cut = cut_out(pixels, small, "fc3", Patch(0, 1.0, (1,), Field(0, 0, 12, 12)))
    np.testing.assert_array_equal(cut, pixels)


def test_the_figure_has_two_rows_a_unit(small, dataset):
    best = patches(small, dataset, "relu2", top=3)["relu2"]
    one, two = (draw(small, dataset, "relu2", units, best) for units in ([0], [0, 3]))
    assert two.height > 1.7 * one.height and two.width == one.width


def drawn(net, dataset, layer, units, best, monkeypatch):
    """The rows of the figure: {label: captions}, and its title."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(module, "labelled_grid", lambda rows, title, height: told.update(rows=rows, title=title))
    draw(net, dataset, layer, units, best)
    return {label: [caption for caption, _ in cells] for label, cells in told["rows"]}, told["title"]


def test_a_patch_that_does_not_excite_a_unit_is_not_drawn(small, dataset, monkeypatch):
    best = patches(small, dataset, "relu2", top=3)["relu2"]
    best.value[0], best.value[1], best.value[2] = (3, 2, 1), (4, 0, 0), 0
    rows, _ = drawn(small, dataset, "relu2", [0, 1], best, monkeypatch)
    assert {label: len(cells) for label, cells in rows.items()} == {"unit 0": 3, "unit 1": 1, "guided": 1}
    rows, _ = drawn(small, dataset, "relu2", [2], best, monkeypatch)
    assert rows == {"unit 2": [""]}
    best.value[3] = (-1, -2, -3)
    monkeypatch.undo()
    assert draw(small, dataset, "relu2", [2, 3], best).height > 200


def test_a_figure_is_bounded_and_says_so(small, dataset, monkeypatch):
    monkeypatch.setattr(module, "SHOWN", 4)
    best = patches(small, dataset, "relu2", top=10**9)["relu2"]
    assert best.value.shape[1] == len(dataset)
    best.value[:] = 1
    rows, title = drawn(small, dataset, "relu2", [0], best, monkeypatch)
    assert len(rows["unit 0"]) == len(rows["guided"]) == 4 and title.endswith("13 pictures; the first 4 of each")


def test_a_network_without_relus_has_gradients_in_place_of_guided_ones():
    net = build("lenet5_1998").eval()
    dataset = load("digits", "test").subset(slice(4))
    assert draw(net, dataset, "tanh1", [0], patches(net, dataset, "tanh1", top=2)["tanh1"]).height > 100


def test_units_are_read_from_text():
    assert unit_numbers(None, 4) == [0, 1, 2, 3] and unit_numbers(None, 100) == list(range(9))
    assert unit_numbers("all", 12) == list(range(12))
    assert unit_numbers("0-2, 5,1", 6) == [0, 1, 2, 5]
    for wrong in ("6", "0-6", "3-1", "x", "", "1,", "-1", "1-2-3"):
        with pytest.raises(MinicnnError, match="units"):
            unit_numbers(wrong, 6)


def test_the_same_patches_on_every_device(small, dataset, on):
    expected = patches(small, dataset, ["relu1", "fc3"], top=3)
    on.place(small)
    for layer, best in patches(small, dataset, ["relu1", "fc3"], top=3).items():
        np.testing.assert_array_equal(best.picture, expected[layer].picture)
        np.testing.assert_array_equal(best.place, expected[layer].place)


def test_the_command_draws_and_lists_the_patches_and_draws_others_later(minicnn, folder, tmp_path):
    out = tmp_path / "out"
    command = ("look", "patches", folder, "--model", "lenet5", "--layer", "relu1", "--out", out, "--top", "3")
    status, printed, _ = minicnn(*command, "--units", "0-1")
    assert status == 0 and "6 units from 7 pictures" in printed
    assert load_picture(out / "relu1-0-1.png").width > 300
    with open(out / "patches.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3
    net = build("lenet5")
    for row in rows[:5]:
        index = (int(row["unit"]), int(row["row"]), int(row["column"]))
        box = receptive_field(net, "relu1", index)
        assert [int(row[name]) for name in ("top", "left", "bottom", "right")] == list(box)
    before = (out / "scan.safetensors").read_bytes()
    assert minicnn(*command, "--units", "4", "--resume")[0] == 0
    assert (out / "relu1-4-4.png").is_file() and (out / "scan.safetensors").read_bytes() == before
    record = json.loads((out / "run.json").read_text())
    assert record["went_on_at"] == 7 and record["drawn"] == {"relu1": [4]}


def test_a_scan_that_has_not_ended_is_not_written_over(minicnn, refused, folder, photo, tmp_path):
    out = tmp_path / "out"
    command = ("look", "patches", folder, "--layer", "conv2", "--units", "0", "--out", out)
    with pytest.MonkeyPatch.context() as stopped:
        stopped.setattr(module, "SAVE_EVERY", -1.0)
        stopped.setattr("minicnn.experiments.collection.pictures_at_once", lambda *_: 2)
        stopped.setattr("minicnn.cli.progress.Progress.update", interrupt_at(4))
        status, _, complaint = minicnn(*command)
    assert status == 130 and "interrupted" in complaint
    left = {path.name: path.read_bytes() for path in out.iterdir()}
    for other in (command, ("explain", "saliency", photo, "--out", out)):
        assert "holds a run that can be resumed" in refused(*other)
    assert "cannot resume with top = 2, the run has top = 9" in refused(*command, "--resume", "--top", "2")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == left
    assert minicnn(*command, "--resume")[0] == 0
    assert json.loads((out / "run.json").read_text())["went_on_at"] == 4
    assert minicnn(*command[:-1], tmp_path / "whole")[0] == 0
    for name in ("conv2-0-0.png", "patches.csv", "scan.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def interrupt_at(done):
    def update(self, count, text="", *_):
        if text == f"{done} of 7 pictures":
            raise KeyboardInterrupt

    return update


def test_what_people_wrote_is_compared_before_anything_is_loaded(minicnn, refused, folder, tmp_path, monkeypatch):
    command = ("look", "patches", folder, "--layer", "conv2", "--units", "0", "--out", tmp_path / "out")
    assert minicnn(*command)[0] == 0
    save_png(folder / "new.png", to_picture(np.zeros((1, 28, 28))))
    assert "the pictures are not those that the run began with" in refused(*command, "--resume")
    monkeypatch.setattr(module, "load_network", None)
    complaint = refused(*command, "--resume", "--model", "squeezenet1_0")
    assert "cannot resume with model = 'squeezenet1_0', the run has model = 'lenet5'" in complaint


def test_a_damaged_picture_is_named_and_left_out_and_no_number_shifts(minicnn, refused, folder, tmp_path):
    (folder / "noise 3.png").write_bytes((folder / "noise 3.png").read_bytes()[:300])
    command = ("look", "patches", folder, "--layer", "relu1", "--units", "0", "--out", tmp_path / "out")
    for more in ((), ("--units", "1", "--resume")):
        status, printed, _ = minicnn(*command, *more)
        assert status == 0 and "6 units from 6 pictures" in printed
        assert "left out 1 picture that cannot be read: " in printed and "noise 3.png: a damaged PNG" in printed
    table = (tmp_path / "out/patches.csv").read_text()
    assert "noise 3.png" not in table and "noise 4.png" in table
    (folder / "noise 3.png").write_bytes((folder / "noise 4.png").read_bytes())  # mended
    assert "the pictures are not those" in refused(*command, "--resume")
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    assert "noise 0.png: not a picture" in refused(*command[:-1], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_bad_input_is_one_line_each(refused, folder, tmp_path):
    look, out = ("look", "patches"), ("--out", tmp_path / "out")
    assert "did you mean 'relu1'" in refused(*look, folder, "--layer", "rel1", *out)
    assert "units '6'" in refused(*look, folder, "--layer", "conv1", "--units", "6", *out)
    assert "no data set of this name" in refused(*look, tmp_path / "none", "--layer", "conv1", *out)
    (tmp_path / "empty").mkdir()
    assert "no pictures in it" in refused(*look, tmp_path / "empty", "--layer", "conv1", *out)
    assert not (tmp_path / "out").exists()
