"""The catalogue of published weights: what it says is whole, and a file is found, fetched or refused as it says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from minicnn import models
from minicnn.data.download import DownloadError, RemoteFile
from minicnn.errors import MinicnnError
from minicnn.layers import Normalize
from minicnn.models import catalogue
from minicnn.models.catalogue import Entry, entries
from minicnn.weights import save_weights

ENTRIES = list(entries().values())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, no MINICNN_DATA, and no network."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_DATA", raising=False)

    def offline(remote: RemoteFile, folder: Path, **_: object) -> Path:
        raise DownloadError(f"{remote.name} cannot be downloaded: {remote.urls[0]}: no network")

    monkeypatch.setattr(catalogue, "fetch", offline)
    return tmp_path / "cache"


def made_for(path: Path) -> Entry:
    """An entry of a file."""
    return replace(
        entries()["squeezenet1_0"], file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=None
    )


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_fits_its_network(entry: Entry) -> None:
    net = models.architecture(entry.network)
    entry.prepare(net)
    assert net.input_shape == (3, entry.input, entry.input) and net.resize == 256
    net.output_shape(net.input_shape)
    assert entry.licence and (entry.measured or entry.top1 is None)
    assert entry.top1 is None or 50 < entry.top1 < (entry.top5 or 95) < 96
    assert models.foreign_names(entry.network, net)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_hash_is_whole_or_the_eight_digits_of_the_name(entry: Entry) -> None:
    assert len(entry.sha256) in (0, 8, 64) and set(entry.sha256) <= set("0123456789abcdef")
    if entry.source == "torchvision":
        assert entry.file == f"{entry.file.rpartition('-')[0]}-{entry.sha256[:8]}.pth"
        assert entry.urls == (f"https://download.pytorch.org/models/{entry.file}",)
    assert entry.fetchable == (len(entry.sha256) > 0 and bool(entry.urls))
    if entry.fetchable:
        assert all(url.startswith("https://") and url.endswith(f"/{entry.file}") for url in entry.urls)
        assert entry.bytes or entry.about


@pytest.mark.parametrize("name", sorted(entries().keys() & models.ARCHITECTURES.keys() - {"squeezenet1_0"}))
def test_a_network_is_fed_as_the_weights_of_its_name_want_it(name: str) -> None:
    net, prepared = models.architecture(name), models.architecture(name)
    entries()[name].prepare(prepared)
    assert (net.input_shape, net.resize) == (prepared.input_shape, prepared.resize)
    ours, theirs = net.layer("normalize"), prepared.layer("normalize")
    assert isinstance(ours, Normalize) and isinstance(theirs, Normalize)
    x = np.random.default_rng(0).random((1, 3, 2, 2))
    np.testing.assert_allclose(ours.forward(x), theirs.forward(x), rtol=1e-6)


def test_what_torchvision_says_of_its_weights_is_the_same(torchvision: object) -> None:
    found = {}
    module = torchvision.models  # type: ignore[attr-defined]
    for name in module.list_models(module=module):
        for weights in module.get_model_weights(name):
            found[weights.url] = weights
    for entry in ENTRIES:
        if entry.source != "torchvision":
            continue
        weights = found[entry.urls[0]]
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]
        assert entry.classes == "none" or (entry.top1, entry.top5) == (accuracy["acc@1"], accuracy["acc@5"])
        size = entry.bytes or entry.about
        assert size is not None and abs(size / 2**20 - weights.meta["_file_size"]) < 0.001
        transform = weights.transforms()
        assert (transform.crop_size, transform.resize_size) == ([entry.input], [entry.resize])
        if entry.name != "googlenet":  # torchvision changes its preprocessing within the network
            assert (list(entry.mean), list(entry.std)) == (transform.mean, transform.std)


def test_the_files_of_the_real_data_are_found_by_name_and_hash(shared_data: Path) -> None:
    for name in ("squeezenet1_0", "darknet_tiny"):
        path = catalogue.find(entries()[name])
        if path is None:
            pytest.skip(f"{name} is not in MINICNN_DATA")
        assert path.stat().st_size == entries()[name].bytes
        assert catalogue.state(entries()[name]) == ("found", str(path))
        net = models.load(name)
        assert net.input_shape[1] == entries()[name].input and len(net.class_names) == 1000


@pytest.mark.parametrize("sub", [".", "weights"])
def test_a_file_is_found_in_a_folder_of_the_user_before_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sub: str
) -> None:
    (tmp_path / "mine" / sub).mkdir(parents=True, exist_ok=True)
    path = tmp_path / "mine" / sub / "w.pth"
    path.write_bytes(b"weights")
    entry = made_for(path)
    assert catalogue.find(entry) is None
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / "w.pth").write_bytes(b"weights")
    assert catalogue.state(entry) == ("cached", str(cache / "weights" / "w.pth"))
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "mine"))
    assert catalogue.find(entry) == path and catalogue.state(entry).word == "found"
    assert catalogue.obtain(replace(entry, sha256=entry.sha256[:8])) == path


def test_a_file_with_another_hash_is_not_used(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / "w.pth").write_bytes(b"weights")
    entry = made_for(cache / "w.pth")
    (cache / "w.pth").write_bytes(b"others!")
    with pytest.raises(
        MinicnnError, match=rf"w\.pth: not used: its SHA-256 is [0-9a-f]{{64}}, .* {entry.sha256}"
    ) as told:
        catalogue.obtain(entry)
    assert str(told.value).endswith(f"use it all the same by `--model squeezenet1_0 --weights {cache / 'w.pth'}`")


def test_without_a_network_the_error_says_where_it_looked_and_what_to_do(cache: Path) -> None:
    with pytest.raises(MinicnnError) as caught:
        models.load("resnet18")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("https://download.pytorch.org/models/resnet18-f37072fd.pth", "MINICNN_DATA (not set)", str(cache)):
        assert part in message
    assert "put resnet18-f37072fd.pth there" in message


def test_a_file_that_nobody_could_check_is_fetched_by_hand(cache: Path) -> None:
    assert catalogue.state(entries()["resnet18_places365"]).word == "by hand"
    with pytest.raises(MinicnnError, match=r"by hand from http://places2.*resnet18_places365\.pth\.tar: looked in"):
        models.load("resnet18_places365")
    with pytest.raises(MinicnnError, match=r"squeezenet1_0\.safetensors is not on this machine: looked in"):
        models.load("squeezenet1_0")
    assert catalogue.state(entries()["squeezenet1_0"]).word == "missing"


def test_what_is_fetched_is_checked_by_what_the_entry_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(remote: RemoteFile, folder: Path, **options: object) -> Path:
        asked.append((remote, folder))
        return folder / remote.name

    monkeypatch.setattr(catalogue, "fetch", fetch)
    entry = entries()["alexnet_caffe"]
    assert catalogue.obtain(entry) == cache / "weights" / "bvlcalexnet-12.onnx"
    ((remote, _),) = asked
    assert remote == RemoteFile(entry.file, entry.bytes, entry.sha256, entry.urls)
    assert len(remote.urls) == 2 and all(url.endswith("/alexnet/model/bvlcalexnet-12.onnx") for url in remote.urls)


def test_a_file_of_the_catalogue_is_fed_its_own_way_whatever_it_is_called(shared_data: Path, tmp_path: Path) -> None:
    path = catalogue.find(entries()["squeezenet1_0"])
    if path is None:
        pytest.skip("squeezenet1_0 is not in MINICNN_DATA")
    (tmp_path / "w").write_bytes(path.read_bytes())
    for name in ("squeezenet1_0", "squeezenet1_0_torchvision"):
        loaded = models.load(name, weights=tmp_path / "w")
        assert loaded.state_dict()["normalize.scale"] == 255 and loaded.input_shape == (3, 227, 227)


def test_a_file_that_nobody_knows_is_fed_as_its_name_says_and_the_other_way_is_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    net = models.build("squeezenet1_0", num_classes=2)
    tensors = net.state_dict()
    names = models.foreign_names("squeezenet1_0", net)[0].tensors
    save_file({there: tensors[path] for path, there in names.items()}, tmp_path / "w.safetensors")
    warning = (
        r"w\.safetensors: does not say how .* 0 to 255, mean 123 117 104, .*227×227.* by the name squeezenet1_0_torch"
    )
    with pytest.warns(UserWarning, match=warning):
        loaded = models.load("squeezenet1_0", weights=tmp_path / "w.safetensors")
    assert loaded.state_dict()["normalize.scale"] == 255
    other = models.load(
        "squeezenet1_0_torchvision", weights=tmp_path / "w.safetensors"
    )  # which is meant, says its name
    assert other.state_dict()["normalize.scale"] == 1 and other.input_shape == (3, 224, 224)
    save_weights(other, tmp_path / "said.safetensors")
    said = models.load("squeezenet1_0", weights=tmp_path / "said.safetensors")  # and this file says so itself
    assert said.state_dict()["normalize.scale"] == 1


def test_an_entry_feeds_its_network_its_own_way(cache: Path, tmp_path: Path) -> None:
    net = models.build("squeezenet1_0", seed=3)
    tensors = net.state_dict()
    names = models.foreign_names("squeezenet1_0", net)[0].tensors
    from safetensors.numpy import save_file

    save_file({there: tensors[path] for path, there in names.items()}, tmp_path / "w.safetensors")
    loaded = models.load("squeezenet1_0_torchvision", weights=tmp_path / "w.safetensors")
    assert loaded.input_shape == (3, 224, 224)
    np.testing.assert_allclose(loaded.state_dict()["normalize.mean"], [0.485, 0.456, 0.406], rtol=1e-6)
    assert loaded.state_dict()["normalize.scale"] == 1
    # What was saved from it is fed the same way, whatever it is called.
    save_weights(loaded, tmp_path / "ours.safetensors")
    again = models.load("squeezenet1_0", weights=tmp_path / "ours.safetensors")
    assert again.state_dict()["normalize.scale"] == 1
