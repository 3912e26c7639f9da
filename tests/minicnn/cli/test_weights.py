"""`minicnn weights`: what there is, fetching it, and files of other programs turned into ours."""

import hashlib
import os
import pickle
import warnings

import numpy as np
import platformdirs
import pytest
from safetensors.numpy import load_file, save_file

from minicnn import models
from minicnn.data.download import DownloadError
from minicnn.models import catalogue
from minicnn.weights import Classes, read_classes, read_tensors

from ..torch_files import state_dict

MODEL = "squeezenet1_1"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, no MINICNN_DATA, no network; results go into a folder of their own."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "250")

    def offline(remote, folder, **_):
        raise DownloadError(f"{remote.name} cannot be downloaded: {remote.urls[0]}: no network")

    monkeypatch.setattr(catalogue, "fetch", offline)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def net():
    return models.build(MODEL, seed=1)


@pytest.fixture
def torch_file(net, tmp_path):
    """Its weights in torchvision's names, as torch writes them."""
    ours = net.state_dict()
    names = models.foreign_names(MODEL, net)[0].tensors
    path = tmp_path / "net.pth"
    path.write_bytes(state_dict({there: ours[path] for path, there in names.items()}))
    return path


def refused(outcome, *words):
    status, _, complaint = outcome
    assert status == 2
    assert complaint.startswith("minicnn: ") and complaint.count("\n") == 1, complaint
    for word in words:
        assert word in complaint


def test_the_list_names_every_set_of_weights_and_its_state(minicnn, cache):
    status, printed, _ = minicnn("weights", "list")
    assert status == 0
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    for name, entry in catalogue.entries().items():
        assert entry.licence in rows[name] and catalogue.state(entry).word in rows[name]
    assert "shipped" in rows["lenet5"] and "99.59" in rows["lenet5"]
    assert "to fetch" in rows["vgg16"] and "553 MB" in rows["vgg16"] and "71.6/90.4" in rows["vgg16"]
    assert "by hand" in rows["resnet18_places365"] and "missing" in rows["squeezenet1_0"]
    assert str(cache / "weights") in printed


def test_a_missing_folder_of_the_user_is_named_by_the_list_and_survived_by_doctor(minicnn, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "nowhere"))
    refused(minicnn("weights", "list"), "nowhere")
    status, printed, _ = minicnn("doctor")
    assert status == 0 and "nowhere, which is not a folder" in printed


def test_doctor_says_what_is_cached_and_what_would_be_fetched(minicnn, cache):
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / catalogue.entries()["resnet18"].file).write_bytes(b"")
    status, printed, _ = minicnn("doctor")
    lines = {line[:17].strip(): line[17:] for line in printed.splitlines()}
    assert status == 0
    assert "lenet5" in lines["weights shipped"] and "none" in lines["weights found"]
    assert lines["weights cached"].split() == ["resnet18"]
    assert "alexnet (244 MB)" in lines["weights to fetch"] and "resnet18 (" not in printed


def test_fetch_prints_where_the_file_is(minicnn, cache, monkeypatch):
    def fetch(remote, folder, **_):
        folder.mkdir(parents=True)
        (folder / remote.name).write_bytes(b"weights")
        return folder / remote.name

    monkeypatch.setattr(catalogue, "fetch", fetch)
    entry = catalogue.entries()[MODEL]
    assert minicnn("weights", "fetch", MODEL)[:2] == (0, f"{cache / 'weights' / entry.file}\n")
    assert minicnn("weights", "fetch", "lenet5")[1] == f"{models.weights_file('lenet5')}\n"
    refused(minicnn("weights", "fetch", MODEL), "not used: its SHA-256 is", hashlib.sha256(b"weights").hexdigest())


def test_fetch_without_a_network_or_of_an_unknown_name(minicnn, cache):
    entry = catalogue.entries()["vgg16"]
    refused(minicnn("weights", "fetch", "vgg16"), entry.urls[0], str(cache), "MINICNN_DATA")
    refused(minicnn("weights", "fetch", "vgg61"), "no weights are called 'vgg61'; did you mean", "'vgg16'")


def test_a_file_of_torch_becomes_one_of_ours(minicnn, net, torch_file, tmp_path):
    out = tmp_path / "ours.safetensors"
    status, printed, complaint = minicnn("weights", "convert", torch_file, "--out", out)
    assert status == 0, complaint
    assert printed.startswith(f"{out}: {MODEL}, 1,235,496 parameters, 1000 classes, 5.0 MB")
    for path, value in net.state_dict().items():
        np.testing.assert_array_equal(load_file(out)[path], value, err_msg=path)
    assert read_classes(out) == Classes(1000, net.class_names)
    again = models.load(MODEL, weights=out)
    np.testing.assert_array_equal(again.state_dict()["conv1.weight"], net.state_dict()["conv1.weight"])


def test_half_of_it_has_float16_and_the_name_of_the_network(minicnn, torch_file, tmp_path):
    assert minicnn("weights", "convert", torch_file, "--model", MODEL, "--half")[0] == 0
    out = tmp_path / "here" / f"{MODEL}.safetensors"
    assert {a.dtype for a in read_tensors(out).values()} == {np.dtype(np.float16)}
    refused(minicnn("weights", "convert", out), "is the file that is read; name another one with --out")


@pytest.mark.parametrize("name", ["a.pth", "a.onnx", "a.tar", "a", "safetensors"])
def test_a_name_by_which_it_could_not_be_read_back_is_refused(minicnn, torch_file, tmp_path, name):
    outcome = minicnn("weights", "convert", torch_file, "--out", name)
    refused(outcome, f"{name}: the new file", "expected a name that ends in .safetensors")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_name_in_a_file_cannot_command_the_terminal(minicnn, tmp_path):
    evil = {"\x1b[31mevil\x1b]0;title\x07\u202e": np.zeros(3, np.float32)}
    (tmp_path / "w.pth").write_bytes(state_dict(evil))
    outcome = minicnn("weights", "convert", tmp_path / "w.pth", "--model", MODEL)
    refused(outcome, r"\x1b[31mevil\x1b]0;title\x07\u202e")
    assert outcome[2].removesuffix("\n").isprintable()


def test_a_warning_is_one_line_too(minicnn, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    minicnn("--version")
    assert warnings.formatwarning("two\nlines \x1b[0m", UserWarning, "a.py", 1) == "minicnn: two lines \\x1b[0m\n"


def test_a_new_head_for_classes_of_ones_own(minicnn, net, torch_file, tmp_path):
    refused(minicnn("weights", "convert", torch_file, "--model", MODEL, "--classes", 5), "--without-head")
    out = tmp_path / "start.safetensors"
    outcome = minicnn("weights", "convert", torch_file, "--model", MODEL, "--classes", 5, "--without-head", "-o", out)
    assert outcome[0] == 0, outcome
    assert read_classes(out) == Classes(5)
    np.testing.assert_array_equal(load_file(out)["conv1.weight"], net.state_dict()["conv1.weight"])


def test_an_onnx_file_is_converted_and_without_the_package_the_extra_is_named(minicnn, net, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx", reason="onnx reads and writes such files: pip install 'minicnn[onnx]'")
    ours = net.state_dict()
    names = models.foreign_names(MODEL, net)[0].tensors
    tensors = [onnx.numpy_helper.from_array(ours[path], there) for path, there in names.items()]
    graph = onnx.helper.make_graph([], "net", [], [], initializer=tensors)
    (tmp_path / "net.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert minicnn("weights", "convert", tmp_path / "net.onnx")[0] == 0
    np.testing.assert_array_equal(load_file(f"{MODEL}.safetensors")["conv1.weight"], ours["conv1.weight"])
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused(minicnn("weights", "convert", tmp_path / "net.onnx"), "pip install 'minicnn[onnx]'")


def test_a_file_that_fits_no_network_or_several_asks_for_the_name(minicnn, tmp_path):
    save_file({"a.weight": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    refused(minicnn("weights", "convert", tmp_path / "w.safetensors"), "its tensors fit no network here", "--model")
    save_file({"a.weight": np.zeros(3, np.float32)}, tmp_path / catalogue.entries()["darknet_tiny"].file)
    refused(minicnn("weights", "convert", tmp_path / "darknet_tiny.safetensors", "-o", "o.safetensors"), "is missing")


def test_a_command_in_a_file_is_refused_by_name_and_not_run(minicnn, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    refused(minicnn("weights", "convert", tmp_path / "evil.pth"), "evil.pth: ", f"asks for {os.name}.system")
    assert not (tmp_path / "ran").exists()
    refused(minicnn("weights", "convert", tmp_path / "no.pth"), "no.pth: no such weights file")
