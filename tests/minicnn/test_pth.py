"""torch's files: what torch writes comes back, and what is damaged or something else is named."""

from __future__ import annotations

import argparse
import io
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import pth, torch_pickle
from minicnn.errors import MinicnnError
from minicnn.pth import read_pth

from .torch_files import (
    CONTAINERS,
    FOUR,
    PAIR,
    archive,
    called,
    in_container,
    legacy,
    mapping,
    named,
    number,
    read,
    refusal,
    several,
    state_dict,
    text,
    whole,
)

# What torch writes


def saved(torch: Any, value: Any, container: str) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=container == "zip")
    return out.getvalue()


def as_array(value: Any) -> np.ndarray:
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).detach().numpy()


def same(found: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        wanted = as_array(value)
        assert found[name].dtype == wanted.dtype and found[name].shape == wanted.shape, name
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_type_of_number_comes_back(torch: Any, tmp_path: Path, container: str) -> None:
    values = torch.tensor([[0.0, 1.0, -2.5], [3.0, 100.0, 7.0]])
    kinds = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "bool"]
    tensors = {kind: values.to(getattr(torch, kind)) for kind in kinds}
    same(read(saved(torch, tensors, container), tmp_path), tensors)


@pytest.mark.parametrize("container", CONTAINERS)
def test_parameters_views_and_shared_storages_come_back(torch: Any, tmp_path: Path, container: str) -> None:
    base = torch.randn(4, 6)
    tensors = {
        "whole": base,
        "turned": base.t(),
        "part": base[1:3, ::2],
        "same": base,
        "number": torch.tensor(3),
        "nothing": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 500),
        "one": torch.ones(1).expand(64),
    }
    same(read(saved(torch, tensors, container), tmp_path), tensors)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("key", ["state_dict", "model", "net", "state_dict_ema", "model_ema"])
def test_what_wraps_a_state_dict_is_taken_off(torch: Any, tmp_path: Path, container: str, key: str) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    parallel = {f"module.{name}": value for name, value in net.state_dict().items()}
    checkpoint = {
        "epoch": 7,
        "arch": "resnet18",
        "best_prec1": torch.tensor(71.5),
        key: parallel,
        "optimizer": optimizer.state_dict(),
    }
    same(read(saved(torch, checkpoint, container), tmp_path), net.state_dict())


def test_the_weights_themselves_win_over_their_running_averages(torch: Any, tmp_path: Path) -> None:
    saved_both = {"model_ema": {"a": torch.zeros(2)}, "model": {"a": torch.ones(2)}}
    np.testing.assert_array_equal(read(saved(torch, saved_both, "zip"), tmp_path)["a"], [1, 1])


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "beside",
    [np.float64(71.5), np.float32(3), np.int64(5), np.bool_(True), argparse.Namespace(lr=0.1, best=np.float64(3))],
)
def test_what_people_save_beside_the_weights_is_passed_over(
    torch: Any, tmp_path: Path, container: str, beside: Any
) -> None:
    tensors = {"a": torch.arange(3.0)}
    same(read(saved(torch, {"best": beside, "state_dict": tensors}, container), tmp_path), tensors)


def test_a_compiled_network_has_plain_names_too(torch: Any, tmp_path: Path) -> None:
    names = ["_orig_mod.conv1.weight", "_orig_mod.module.fc.bias"]
    content = saved(torch, {name: torch.ones(2) for name in names}, "zip")
    assert list(read(content, tmp_path)) == ["conv1.weight", "fc.bias"]


def test_a_part_of_a_network_that_ran_in_parallel_has_plain_names_too(torch: Any, tmp_path: Path) -> None:
    content = saved(torch, {"state_dict": {"features.module.0.weight": torch.ones(2)}}, "zip")  # as Places365's AlexNet
    assert list(read(content, tmp_path)) == ["features.0.weight"]


@settings(max_examples=30)
@given(st.data())
def test_any_strides_and_offset_give_what_torch_gives(torch: Any, tmp_path_factory: Any, data: st.DataObject) -> None:
    size = data.draw(st.lists(st.integers(0, 4), max_size=4))
    stride = data.draw(st.lists(st.integers(1, 5), min_size=len(size), max_size=len(size)))
    offset = data.draw(st.integers(0, 5))
    need = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    kind = data.draw(st.sampled_from(["float32", "float64", "bfloat16"]))
    base = torch.arange(max(need, prod(size) + offset, 1)).to(getattr(torch, kind))
    view = {"view": torch.as_strided(base, size, stride, offset), "base": base}
    container = data.draw(st.sampled_from(CONTAINERS))
    same(read(saved(torch, view, container), tmp_path_factory.mktemp("w")), view)


def test_numbers_of_a_big_endian_machine(torch: Any, tmp_path: Path) -> None:
    values = FOUR.astype(">f4").tobytes()
    content = archive(whole(mapping(PAIR)), {"0": values}, byteorder=b"big")
    found = read(content, tmp_path)
    np.testing.assert_array_equal(found["a"], FOUR.reshape(2, 2))
    np.testing.assert_array_equal(found["a"], torch.load(tmp_path / "w.pth", weights_only=True)["a"].numpy())


def test_the_files_of_these_tests_are_those_of_torch(torch: Any, tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(2.0)}
    for container in CONTAINERS:
        (tmp_path / container).write_bytes(state_dict(arrays, container=container))
        theirs = torch.load(tmp_path / container, weights_only=True)
        same(read_pth(tmp_path / container), theirs)


def test_a_whole_network_is_refused_by_the_name_of_its_class(torch: Any, tmp_path: Path) -> None:
    for container in CONTAINERS:
        message = refusal(saved(torch, torch.nn.Sequential(torch.nn.Linear(2, 2)), container), tmp_path)
        assert "refused: it asks for torch.nn.modules.container.Sequential, which a state dict does not need" in message


# Without torch


@pytest.mark.parametrize("container", CONTAINERS)
def test_arrays_come_back_and_cannot_be_written_to(tmp_path: Path, container: str) -> None:
    arrays = {"w": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b": np.array(3.0, np.float32)}
    found = read(state_dict(arrays, container=container), tmp_path)
    for name, a in arrays.items():
        np.testing.assert_array_equal(found[name], a)
        assert not found[name].flags.writeable


def test_a_file_of_python_2_and_early_torch(tmp_path: Path) -> None:
    def old(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    view = several(old("1"), number(1), number(2))  # two numbers of the four, from the second on
    where = (
        several(old("storage"), named("torch.cuda", "FloatStorage"), old("0"), old("cuda:0"), number(4), view) + b"Q"
    )
    two = called("torch._utils", "_rebuild_tensor", where, number(0), several(number(2)), several(number(1)))
    pairs = b"]" + b"(" + b"](" + old("module.a") + two + b"e" + b"e"
    pickled = whole(called("collections", "OrderedDict", pairs))
    found = read(in_container(pickled, "legacy"), tmp_path)
    np.testing.assert_array_equal(found["a"], FOUR[1:3])


# Archives that torch would not have written


def rewritten(change: Any) -> bytes:
    """A good archive of which `change(writer, name, data)` writes each member anew."""
    out = io.BytesIO()
    good = zipfile.ZipFile(io.BytesIO(archive(whole(mapping(PAIR)), {"0": FOUR.tobytes()})))
    with zipfile.ZipFile(out, "w") as file:
        for name in good.namelist():
            change(file, name, good.read(name))
    return out.getvalue()


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    def squeeze(file: zipfile.ZipFile, name: str, data: bytes) -> None:
        file.writestr(name, data, zipfile.ZIP_DEFLATED)

    assert "compressed or encrypted" in refusal(rewritten(squeeze), tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(rewritten(lambda file, name, data: file.writestr(name, data)))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "compressed or encrypted" in refusal(bytes(content), tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../evil", "archive/../x", "\\\\server\\x"])
def test_a_member_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    def add(file: zipfile.ZipFile, member: str, data: bytes) -> None:
        file.writestr(member, data)
        if member.endswith("version"):
            file.writestr(name, b"x")

    assert "refused: the archive has a member" in refusal(rewritten(add), tmp_path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    def twice(file: zipfile.ZipFile, name: str, data: bytes) -> None:
        for _ in range(1 + name.endswith("data.pkl")):
            file.writestr(name, data)

    with pytest.warns(UserWarning, match="Duplicate name"):
        content = rewritten(twice)
    assert "two members of one name" in refusal(content, tmp_path)


def test_archives_of_other_things_are_told_apart(tmp_path: Path) -> None:
    program = rewritten(lambda file, name, data: file.writestr(name.replace("byteorder", "constants.pkl"), data))
    assert "TorchScript" in refusal(program, tmp_path)
    other = rewritten(lambda file, name, data: file.writestr(name.replace("data.pkl", "data.txt"), data))
    assert "not of torch.save" in refusal(other, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x80\x04\x95 a pickle", b"PK\x03\x04" * 9, b"\xff" * 64, b"\x00" * 64, b"{}" * 32, whole(number(7))],
)
def test_what_is_no_file_of_torch_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(content, tmp_path)


def test_no_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MinicnnError, match=r"nothing\.pth: no such weights file"):
        read_pth(tmp_path / "nothing.pth")
    with pytest.raises(MinicnnError, match=f"{tmp_path}: cannot be read"):
        read_pth(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"](I1\ne", "holds a list, expected a dict of tensors"),
        (mapping({"epoch": number(3)}), "no tensors where a state dict should be; there is: 'epoch'"),
        (b"}", "there is: nothing"),
        (mapping({"a": PAIR["a"], "module.a": PAIR["a"]}), "two tensors 'a'"),
        (b"}q\x01(" + text("model") + b"h\x01u", "there is: 'model'"),  # a dict that holds itself
    ],
)
def test_what_holds_no_state_dict_says_what_it_holds(tmp_path: Path, value: bytes, message: str) -> None:
    for container in CONTAINERS:
        pickled = whole(value)
        content = in_container(pickled, container) if b"Storage" in pickled or container == "zip" else legacy(pickled)
        assert message in refusal(content, tmp_path)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kept", [1, 4, 30, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, container: str, kept: float) -> None:
    content = state_dict({"a": FOUR, "b": FOUR}, container=container)
    refusal(content[: int(kept * len(content)) if isinstance(kept, float) else kept], tmp_path)


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_raise_nothing_else(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("w")
    container = data.draw(st.sampled_from(CONTAINERS))
    content = bytearray(state_dict({"a": FOUR.reshape(2, 2), "conv1.bias": FOUR}, container=container))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    before = dict(vars(pth)), dict(vars(torch_pickle)), dict(vars(torch_pickle._Passed))
    try:
        found = read(bytes(content), folder)
        assert all(a.size <= 4 for a in found.values())
    except MinicnnError as error:
        assert "\n" not in str(error)
    assert (vars(pth), vars(torch_pickle), dict(vars(torch_pickle._Passed))) == before
