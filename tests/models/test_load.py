"""Trained weights in networks: by name, from files of ours and of others, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.network import Network
from minicnn.weights import Classes, read_weights, save_weights

from ..minicnn.torch_files import state_dict

MODEL = "squeezenet1_1"  # 1.2 million parameters, in torchvision's names elsewhere


@pytest.fixture(scope="module")
def net() -> Network:
    return models.build(MODEL, seed=1)


@pytest.fixture
def foreign(net: Network) -> dict[str, np.ndarray]:
    """The weights of `net` as torchvision calls them."""
    ours = net.state_dict()
    return {there: ours[path] for path, there in models.foreign_names(MODEL, net)[0].tensors.items()}


def same(loaded: Network, net: Network, *, but: tuple[str, ...] = ()) -> None:
    expected = net.state_dict()
    for path, value in loaded.state_dict().items():
        if path not in but:
            np.testing.assert_array_equal(value, expected[path], err_msg=path)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_file_of_torch_loads(tmp_path: Path, net: Network, foreign: dict[str, np.ndarray], container: str) -> None:
    (tmp_path / "w.pth").write_bytes(state_dict(foreign, container=container))
    loaded = models.load(MODEL, weights=tmp_path / "w.pth")
    same(loaded, net)
    assert not loaded.training and loaded.class_names == net.class_names


def test_a_file_of_torch_is_known_by_its_first_bytes(tmp_path: Path, foreign: dict[str, np.ndarray]) -> None:
    for container in ("zip", "legacy"):
        (tmp_path / "w").write_bytes(state_dict(foreign, container=container))
        assert list(read_weights(tmp_path / "w").tensors) == list(foreign)


def test_foreign_names_in_safetensors_load(tmp_path: Path, net: Network, foreign: dict[str, np.ndarray]) -> None:
    save_file(foreign, tmp_path / "w.safetensors")
    same(models.load(MODEL, weights=tmp_path / "w.safetensors"), net)


def test_an_onnx_file_loads(tmp_path: Path, net: Network, foreign: dict[str, np.ndarray]) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx reads and writes such files: pip install 'minicnn[onnx]'")
    tensors = [onnx.numpy_helper.from_array(a, name) for name, a in foreign.items()]
    graph = onnx.helper.make_graph([], "net", [], [], initializer=tensors)
    (tmp_path / "w.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    same(models.load(MODEL, weights=tmp_path / "w.onnx"), net)


def test_the_classes_are_those_of_the_head_in_the_file(tmp_path: Path) -> None:
    few = models.build(MODEL, num_classes=7, seed=2)
    ours = few.state_dict()
    names = models.foreign_names(MODEL, few)[0].tensors
    (tmp_path / "w.pth").write_bytes(state_dict({there: ours[path] for path, there in names.items()}))
    loaded = models.load(MODEL, weights=tmp_path / "w.pth")
    same(loaded, few)
    assert loaded.output_shape(loaded.input_shape) == (7,) and loaded.class_names == ()


def test_a_wrong_number_of_classes_says_how_to_load_all_but_the_head(
    tmp_path: Path, net: Network, foreign: dict[str, np.ndarray]
) -> None:
    (tmp_path / "w.pth").write_bytes(state_dict(foreign))
    message = (
        r"w\.pth: weights: classifier\.1\.weight has shape \(1000, 512, 1, 1\), expected \(5, 512, 1, 1\); "
        r"`weights convert --without-head`, in Python head=False, takes all but the head"
    )
    with pytest.raises(MinicnnError, match=message):
        models.load(MODEL, weights=tmp_path / "w.pth", num_classes=5)
    loaded = models.load(MODEL, weights=tmp_path / "w.pth", num_classes=5, head=False)
    head = models.head_of(MODEL)
    assert len(head) == 2 and loaded.output_shape(loaded.input_shape) == (5,) and loaded.class_names == ()
    same(loaded, net, but=head)
    again = models.load(MODEL, weights=tmp_path / "w.pth", num_classes=5, head=False)
    assert all(np.array_equal(again.state_dict()[path], loaded.state_dict()[path]) for path in head)  # drawn by a seed
    assert np.any(loaded.state_dict()[head[0]])


def test_a_new_head_forgets_the_names_of_the_old_classes(tmp_path: Path) -> None:
    save_weights(models.build("lenet5"), tmp_path / "w")
    assert read_weights(tmp_path / "w").classes == Classes(10, tuple("0123456789"))
    loaded = models.load("lenet5", weights=tmp_path / "w", num_classes=3, head=False)
    assert loaded.class_names == () and loaded.output_shape(loaded.input_shape) == (3,)
    assert models.load("lenet5", weights=tmp_path / "w", head=False).class_names == ()  # though there are as many


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_the_head_is_the_last_layer_and_those_beside_it(name: str) -> None:
    head = models.head_of(name)
    assert len(head) == (0 if name.endswith("_trunk") else 2), head
    options = {"heads": True} if name.startswith("googlenet") else {}
    assert len(models.head_of(name, **options)) == (6 if options else len(head))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("features.0.bias"),
            r"features\.0\.bias \(conv1\.bias here\) \(64,\) is missing$",
        ),
        (
            lambda t: t.update({"features.0.bios": t.pop("features.0.bias")}),
            r"features\.0\.bias \(conv1\.bias here\) \(64,\) is missing; did you mean 'features\.0\.bios'",
        ),
        (
            lambda t: t.update({"features.0.extra": np.zeros(2, "f")}),
            r"features\.0\.extra is not in the network; did you mean",
        ),
        (
            lambda t: t.update({"features.0.bias": np.zeros(63, "f")}),
            r"features\.0\.bias \(conv1\.bias here\) has shape \(63,\), expected \(64,\)",
        ),
        (lambda t: t.update({"features.0.bias": np.zeros(64, "i8")}), r"conv1\.bias is int64, expected floats"),
        (
            lambda t: t.update({"features.0.bias": np.full(64, np.nan, "f")}),
            r"features\.0\.bias \(conv1\.bias here\) has 64 of 64 numbers that are NaN",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_as_there_and_here(
    tmp_path: Path, foreign: dict[str, np.ndarray], change: object, message: str
) -> None:
    assert callable(change)
    change(foreign)
    (tmp_path / "w.pth").write_bytes(state_dict(foreign))
    with pytest.raises(MinicnnError, match=rf"w\.pth: weights: {message}"):
        models.load(MODEL, weights=tmp_path / "w.pth")


def test_other_models_weights_are_refused_by_name(tmp_path: Path, foreign: dict[str, np.ndarray]) -> None:
    save_weights(models.build("lenet5"), tmp_path / "w")
    with pytest.raises(MinicnnError, match=r"w: weights: \w+.\w+ \(.*\) is missing"):
        models.load("lenet5_1998", weights=tmp_path / "w")
    with pytest.raises(MinicnnError, match=r"fc5\.weight has shape \(10, 84\), expected \(3, 84\)"):
        models.load("lenet5", weights=tmp_path / "w", num_classes=3)
    assert models.load("lenet5", weights=tmp_path / "w").predict(np.zeros((1, 1, 28, 28), np.float32))
    save_file(foreign, tmp_path / "w")
    with pytest.raises(MinicnnError, match=r"w: weights: .* is missing"):
        models.load("darknet_tiny", weights=tmp_path / "w")


def test_a_missing_weights_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MinicnnError, match=r"nothing\.safetensors: no such weights file"):
        models.load("lenet5", weights=tmp_path / "nothing.safetensors")


def test_a_network_without_weights_says_which_have_some() -> None:
    with pytest.raises(MinicnnError, match=r"model alexnet_lecture: no weights come with minicnn .*lenet5.*--weights"):
        models.load("alexnet_lecture")


def test_an_unknown_name_is_refused_with_the_nearest_of_networks_and_weights() -> None:
    with pytest.raises(MinicnnError, match="no model 'resnet18_place365'; did you mean 'resnet18_places365'"):
        models.load("resnet18_place365")
