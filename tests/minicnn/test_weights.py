"""Weights in files: what was written comes back, and what does not fit is named."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.checkpoint import RunState, load_checkpoint, save_checkpoint
from minicnn.errors import MinicnnError
from minicnn.layers import Layer, Linear, Sequential
from minicnn.optimizers import SGD
from minicnn.weights import FORMAT, Classes, load_weights, read_classes, read_tensors, save_weights

from ..devices import device
from .nets import nested, pictures


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The weights of one network."""
    path = tmp_path / "weights.safetensors"
    save_weights(nested(seed=1), path)
    return path


def test_every_bit_comes_back(file: Path) -> None:
    net = nested(seed=2)
    load_weights(net, file)
    for name, value in nested(seed=1).state_dict().items():
        assert net.state_dict()[name].tobytes() == value.tobytes(), name


def test_the_same_weights_are_the_same_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "again.safetensors"
    save_weights(nested(seed=1), other)
    assert other.read_bytes() == file.read_bytes()


def test_another_program_reads_the_same(file: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = numpy.load_file(file)
    assert set(tensors) == set(nested().state_dict())
    np.testing.assert_array_equal(tensors["stem.conv1.weight"], nested(seed=1).state_dict()["stem.conv1.weight"])


def test_float16_is_half_as_large_and_comes_back_as_float32(file: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    save_weights(nested(seed=1), half, dtype=np.float16)
    assert {a.dtype for a in read_tensors(half).values()} == {np.dtype(np.float16)}
    assert half.stat().st_size < file.stat().st_size
    net = nested(seed=2)
    load_weights(net, half)
    for name, value in nested(seed=1).state_dict().items():
        loaded = net.state_dict()[name]
        assert loaded.dtype == np.float32
        np.testing.assert_array_equal(loaded, value.astype(np.float16).astype(np.float32), err_msg=name)
    assert net.forward(pictures(net, dtype=np.float32)).dtype == np.float32


def test_weights_travel_between_devices(file: Path, tmp_path: Path) -> None:
    net = device("strict").place(nested(seed=2))
    load_weights(net, file)
    save_weights(net, tmp_path / "from_device.safetensors")
    assert (tmp_path / "from_device.safetensors").read_bytes() == file.read_bytes()


def test_the_preprocessing_travels_with_the_weights(file: Path) -> None:
    net = nested()
    normalize = net.layer("normalize")
    normalize.mean.value[...] = 0  # type: ignore[attr-defined]
    load_weights(net, file)
    np.testing.assert_array_equal(normalize.mean.value, np.array([0.4, 0.5, 0.6], np.float32))  # type: ignore[attr-defined]


def test_a_checkpoint_is_a_weights_file_too(tmp_path: Path) -> None:
    trained = nested(seed=1)
    save_checkpoint(tmp_path / "checkpoint", trained, SGD(trained.parameters(), 0.1), RunState())
    net = nested(seed=2)
    load_weights(net, tmp_path / "checkpoint")
    assert all(net.state_dict()[name].tobytes() == value.tobytes() for name, value in trained.state_dict().items())


def tensors_of(file: Path) -> dict[str, np.ndarray]:
    return dict(read_tensors(file))


def write(file: Path, tensors: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("mix.a.weight"), r"mix\.a\.weight \(3, 4, 1, 1\) is missing"),
        (lambda t: t.update({"mix.a.wait": t.pop("mix.a.weight")}), r".*is missing; did you mean 'mix\.a\.wait'"),
        (lambda t: t.update({"mix.z.bias": t["mix.a.bias"]}), r"mix\.z\.bias is not in the network; did you mean"),
        (lambda t: t.update({"fc.bias": np.zeros(6, "f")}), r"fc\.bias has shape \(6,\), expected \(5,\)"),
        (lambda t: t.pop("stem.bn1.running_var"), r"stem\.bn1\.running_var \(4,\) is missing"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_changed(file: Path, change: Any, message: str) -> None:
    tensors = tensors_of(file)
    change(tensors)
    write(file, tensors)
    net = nested(seed=2)
    before = net.state_dict()
    with pytest.raises(MinicnnError, match=rf"weights\.safetensors: weights: {message}"):
        load_weights(net, file)
    assert all(net.state_dict()[name].tobytes() == value.tobytes() for name, value in before.items())


def test_tensors_that_are_no_floats_are_refused_by_name(file: Path) -> None:
    write(file, tensors_of(file) | {"fc.bias": np.zeros(5, np.int64)})
    with pytest.raises(MinicnnError, match=r"fc\.bias.*int64"):
        load_weights(nested(), file)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(file: Path, kept: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(MinicnnError, match=r"weights\.safetensors: not a safetensors file"):
        load_weights(nested(), file)


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04\x95 a pickle", b"PK\x03\x04" * 9, b"\xff" * 64, b"\x00" * 64, b"{}" * 32, b"\x02" + b"\0" * 7],
)
def test_what_is_no_safetensors_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(MinicnnError, match=r"weights\.safetensors: (not a safetensors file|no whole zip archive)"):
        load_weights(nested(), tmp_path / "weights.safetensors")


def test_a_float_type_that_numpy_lacks_is_refused_by_name(tmp_path: Path) -> None:
    header = b'{"fc.bias":{"dtype":"F8_E4M3","shape":[5],"data_offsets":[0,5]}}'
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + bytes(5))
    with pytest.raises(MinicnnError, match=r"w: not a safetensors file that NumPy can read \(.*(F8|f8|float8)"):
        load_weights(nested(), tmp_path / "w")


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[4,12]},"c":{"dtype":"BF16","shape":[],"data_offsets":[12,14]}}'
    )
    numbers = np.array([1.5], "<f4").tobytes() + np.array([0x3F80, 0xC020, 0x0000, 0x7F80, 0x4049], "<u2").tobytes()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + numbers)
    found = read_tensors(tmp_path / "w")
    assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}
    assert found["a"].tolist() == [1.5] and found["b"].tolist() == [[1, -2.5], [0, np.inf]]
    assert found["c"].shape == () and found["c"] == 3.140625


def changed(file: Path, name: str, values: Any) -> dict[str, np.ndarray]:
    """The tensors of a file, the last numbers of one replaced."""
    tensors = tensors_of(file)
    tensors[name] = tensors[name].astype(np.asarray(values).dtype)
    tensors[name].reshape(-1)[-np.size(values) :] = values
    return tensors


NAN, INF = np.float32("nan"), np.float32("inf")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("fc.bias", NAN, r"fc\.bias has 1 of 5 numbers that are NaN, infinite or too large for float32"),
        ("fc.bias", [-INF, INF], r"fc\.bias has 2 of 5 numbers that are NaN"),
        ("fc.bias", np.float16("inf"), r"fc\.bias has 1 of 5 numbers that are NaN"),
        ("fc.bias", np.float64(1e300), r"fc\.bias has 1 of 5 numbers that are .*too large for float32"),
        ("stem.bn1.running_mean", NAN, r"stem\.bn1\.running_mean has 1 of 4 numbers"),
        ("stem.bn1.running_var", np.float32(-1), r"stem\.bn1\.running_var has a variance of -1, expected 0 or more"),
        ("normalize.std", np.float32(0), r"normalize\.std has 0, expected more than 0"),
        ("normalize.scale", np.float32(-1), r"normalize\.scale has -1, expected more than 0"),
        (
            "normalize.order",
            np.array([7, 8, 9], np.float32),
            r"normalize\.order has \[7.0, 8.0, 9.0\], expected an order of",
        ),
        ("normalize.order", np.array([0.5, 1, 2], np.float32), r"normalize\.order has .*: \[0, 1, 2\] or \[2, 1, 0\]"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name_and_nothing_is_changed(
    file: Path, name: str, values: Any, message: str
) -> None:
    write(file, changed(file, name, values))
    net = nested(seed=2)
    before = net.state_dict()
    with pytest.raises(MinicnnError, match=rf"weights\.safetensors: weights: {message}"):
        load_weights(net, file)
    assert all(net.state_dict()[path].tobytes() == value.tobytes() for path, value in before.items())


def test_large_numbers_whose_sum_is_none_are_no_fault(file: Path) -> None:
    largest = np.finfo(np.float32).max
    write(file, changed(file, "fc.bias", np.full(5, largest)))
    net = nested(seed=2)
    load_weights(net, file)
    assert (net.state_dict()["fc.bias"] == largest).all()


def test_what_diverged_can_still_be_resumed(tmp_path: Path) -> None:
    net = nested(seed=1)
    net.named_parameters()["fc.bias"].value[0] = np.nan
    optimizer = SGD(net.parameters(), 0.1)
    save_checkpoint(tmp_path / "checkpoint", net, optimizer, RunState(step=3))
    assert load_checkpoint(tmp_path / "checkpoint", net, optimizer).step == 3
    with pytest.raises(MinicnnError, match=r"fc\.bias has 1 of 5 numbers that are NaN"):
        load_weights(nested(), tmp_path / "checkpoint")


def test_what_float16_cannot_hold_is_refused_by_name_and_not_written(tmp_path: Path) -> None:
    net = nested(seed=1)
    net.named_parameters()["fc.bias"].value[0] = 1e5
    with pytest.raises(
        MinicnnError, match=r"w: weights: not written: fc\.bias has a number beyond 65504, .* of float16"
    ):
        save_weights(net, tmp_path / "w", dtype=np.float16)
    assert list(tmp_path.iterdir()) == []
    save_weights(net, tmp_path / "w")


def test_no_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(MinicnnError, match=f"{path}: no such weights file"):
            load_weights(nested(), path)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(MinicnnError, match="no such file or directory"):
        save_weights(nested(), tmp_path / "missing" / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_a_model_loads_from_a_file(tmp_path: Path, name: str) -> None:
    net = models.build(name, seed=4)
    save_weights(net, tmp_path / "w")
    loaded = models.load(name, weights=tmp_path / "w")
    assert not loaded.training
    x = pictures(net, dtype=np.float32)
    np.testing.assert_array_equal(loaded.forward(x), net.eval().forward(x))
    digest = hashlib.sha256((tmp_path / "w").read_bytes()).hexdigest()
    save_weights(loaded, tmp_path / "again")
    assert hashlib.sha256((tmp_path / "again").read_bytes()).hexdigest() == digest


def test_a_file_knows_its_classes_and_the_network_that_is_loaded_has_them(tmp_path: Path) -> None:
    net = models.build("lenet5", num_classes=3)
    net.class_names = ("bar", "cross", "dot")
    save_weights(net, tmp_path / "w")
    assert read_classes(tmp_path / "w") == Classes(3, ("bar", "cross", "dot"))
    loaded = models.load("lenet5", weights=tmp_path / "w")
    assert loaded.class_names == ("bar", "cross", "dot")
    assert loaded.output_shape(loaded.input_shape) == (3,)
    with pytest.raises(MinicnnError, match=r"fc5\.weight has shape \(3, 84\), expected \(10, 84\)"):
        models.load("lenet5", weights=tmp_path / "w", num_classes=10)


def test_the_metadata_of_the_first_weights_files_says_nothing_of_classes(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    net = models.build("lenet5")
    save_file(net.state_dict(), tmp_path / "w", metadata={"format": "minicnn weights 1"})
    assert read_classes(tmp_path / "w") is None
    assert models.load("lenet5", weights=tmp_path / "w").class_names == tuple("0123456789")


def test_names_of_classes_cannot_command_a_terminal(tmp_path: Path) -> None:
    net = models.build("lenet5", num_classes=2)
    net.class_names = ("a  \x1b[31mred\nline", "Käse ‌🧀")
    save_weights(net, tmp_path / "w")
    names = models.load("lenet5", weights=tmp_path / "w").class_names
    assert names == ("a  \\x1b[31mred\\nline", "Käse ‌🧀")


def test_a_network_with_a_layer_called_net_is_no_checkpoint(tmp_path: Path) -> None:
    def own() -> Layer:
        layer = Sequential(net=Linear(3, 2), last=Linear(2, 2))
        layer.initialize(0)
        return layer

    save_weights(own(), tmp_path / "w")
    load_weights(own(), tmp_path / "w")


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[1]",
        "3",
        '{"num_classes": 3}',
        '{"num_classes": 0, "class_names": []}',
        '{"num_classes": true, "class_names": []}',
        '{"num_classes": 3, "class_names": ["a"]}',
        '{"num_classes": 1, "class_names": [7]}',
        "[" * 100_000,
    ],
)
def test_damaged_words_about_the_classes_are_refused_by_name(tmp_path: Path, said: str) -> None:
    from safetensors.numpy import save_file

    save_file(models.build("lenet5").state_dict(), tmp_path / "w", metadata={FORMAT: said})
    with pytest.raises(MinicnnError, match="w: what it says of its classes is damaged"):
        models.load("lenet5", weights=tmp_path / "w")
