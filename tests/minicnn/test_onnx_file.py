"""Weights in ONNX files: read without running anything, and what cannot be read is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.errors import MinicnnError
from minicnn.onnx_file import read_onnx

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def onnx() -> Any:
    return pytest.importorskip("onnx", reason="onnx reads and writes such files: pip install 'minicnn[onnx]'")


def model(onnx: Any, *tensors: Any) -> bytes:
    graph = onnx.helper.make_graph([], "net", [], [], initializer=list(tensors))
    content: bytes = onnx.helper.make_model(graph).SerializeToString()
    return content


def write(folder: Path, content: bytes) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(content)
    return path


def test_initializers_come_back_by_name_and_shapes_are_left_out(onnx: Any, tmp_path: Path) -> None:
    make = onnx.numpy_helper.from_array
    tensors: dict[str, np.ndarray] = {"fc_w_0": WEIGHT, "half": WEIGHT.astype("f2"), "double": WEIGHT.astype("f8")}
    listed = [make(a, name) for name, a in tensors.items()]
    listed.append(onnx.helper.make_tensor("fc_b_0", onnx.TensorProto.FLOAT, [2], [1.0, 2.0]))  # not as raw bytes
    listed.append(make(np.array([1, -1]), "OC2_DUMMY_0"))
    found = read_onnx(write(tmp_path, model(onnx, *listed)))
    assert list(found) == ["fc_w_0", "half", "double", "fc_b_0"]
    for name, a in {**tensors, "fc_b_0": np.array([1, 2], np.float32)}.items():
        assert found[name].dtype == a.dtype
        np.testing.assert_array_equal(found[name], a)


def test_data_in_another_file_are_refused_by_name(onnx: Any, tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(WEIGHT, "conv1_w_0")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    with pytest.raises(MinicnnError, match=r"net\.onnx: 'conv1_w_0' lies in another file"):
        read_onnx(write(tmp_path, model(onnx, tensor)))


def test_bytes_that_do_not_fit_the_shape_name_the_tensor(onnx: Any, tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(WEIGHT, "conv1_w_0")
    tensor.dims[:] = [2**40, 3]
    with pytest.raises(MinicnnError, match=r"net\.onnx: 'conv1_w_0' is damaged"):
        read_onnx(write(tmp_path, model(onnx, tensor)))


def test_two_tensors_of_one_name_are_refused(onnx: Any, tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(WEIGHT, "a")
    with pytest.raises(MinicnnError, match="two initializers 'a'"):
        read_onnx(write(tmp_path, model(onnx, tensor, tensor)))


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"PK\x03\x04" * 9, b"\xff" * 64])
def test_what_is_no_onnx_file_is_refused(onnx: Any, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MinicnnError, match=r"net\.onnx: .*no ONNX file"):
        read_onnx(write(tmp_path, content))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MinicnnError, match=r"net\.onnx: .*pip install 'minicnn\[onnx\]'"):
        read_onnx(write(tmp_path, b""))


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_raise_nothing_else(onnx: Any, tmp_path_factory: Any, data: st.DataObject) -> None:
    content = bytearray(model(onnx, onnx.numpy_helper.from_array(WEIGHT, "a")))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_onnx(write(tmp_path_factory.mktemp("w"), bytes(content[: data.draw(st.integers(0, len(content)))])))
    except MinicnnError as error:
        assert "\n" not in str(error)
