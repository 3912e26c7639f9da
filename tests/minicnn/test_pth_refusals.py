"""torch's files with what should not be in them: refused by name, in little memory, and nothing is ever run."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
    storage,
    tensor,
    text,
    whole,
)


class Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_file_is_named_and_not_run(tmp_path: Path, protocol: int, container: str) -> None:
    proof = tmp_path / "it ran"
    evil = pickle.dumps({"state_dict": {}, "extra": Runs(os.system, f"touch '{proof}'")}, protocol)
    assert f"refused: it asks for {os.name}.system" in refusal(in_container(evil, container), tmp_path)
    assert not proof.exists()
    pickle.loads(evil)
    assert proof.exists()  # so it was a real one


@pytest.mark.parametrize(
    "function",
    [
        *(eval, exec, getattr, setattr, __import__, open, bytearray, print, map, builtins.compile),
        *(os.popen, os.execv, os.remove, subprocess.Popen, subprocess.call, sys.exit),
        *(pickle.loads, np.load, np.fromfile, np.frombuffer, np.array, io.open, np.array(1).__reduce__()[0]),
    ],
)
def test_no_other_function_is_reached(tmp_path: Path, function: Any) -> None:
    assert "refused: it asks for " in refusal(in_container(pickle.dumps([Runs(function, "x")], 2), "zip"), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "numpy.core.multiarray scalar.__self__",
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "_codecs decode",
        "torch.nn.modules.linear Linear",
        "torch.hub load_state_dict_from_url",
        "torch load",
        "torch.storage _load_from_bytes",
        "torch._utils _rebuild_sparse_tensor",
        "torch._utils _rebuild_tensor.__globals__",
        "torch._tensor _rebuild_from_type_v2",
        "torch FloatStorage.from_file",
        "collections OrderedDict.fromkeys",
        "collections defaultdict",
        "copyreg _reconstructor",
        "argparse ArgumentParser",
        "minicnn.pth read_pth",
        "mine Evil",
    ],
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_name_that_a_state_dict_does_not_need_is_refused(tmp_path: Path, name: str, container: str) -> None:
    module, function = name.split()
    message = refusal(in_container(whole(called(module, function, text("x"))), container), tmp_path)
    assert f"refused: it asks for {module}.{function}" in message


def test_a_name_in_strings_on_the_stack_is_refused(tmp_path: Path) -> None:
    assert "os.system" in refusal(archive(b"\x80\x04\x8c\x02os\x8c\x06system\x93."), tmp_path)


REBUILD = named("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    "program",
    [
        REBUILD + b"}(X\x04\x00\x00\x00callNub",  # an attribute for a function
        REBUILD + b"N}(X\x04\x00\x00\x00callNu\x86b",  # a slot of it
        REBUILD + b")\x81",  # a new object of it
        tensor(storage("0", 4), (2,), (1,)) + b"}(X\x04\x00\x00\x00sizeNub",  # an attribute for a tensor
        tensor(storage("0", 4), (2,), (1,)) + b")R",  # a call of a tensor
        named("torch", "FloatStorage") + b")R",  # a call of a storage's type
        called("torch._utils", "_rebuild_parameter", number(1)),
        called("torch._utils", "_rebuild_tensor_v2", number(1), number(0), b")", b")"),
        called("torch._utils", "_rebuild_tensor_v2", storage("0", 4), number(0), b")", several(number(1))),
        called("torch._utils", "_rebuild_tensor_v2", storage("0", 4), number(0), b"](I1\ne", several(number(1))),
        called("torch._utils", "_rebuild_tensor_v2", storage("0", 4), b"\x88", b")", b")"),
        called("torch._utils", "_rebuild_tensor_v2"),
        called("torch", "Size", b"](I1\ne"),
        called("collections", "OrderedDict", number(3)),
        several(text("module"), text("x"), text("0"), text("cpu"), number(4)) + b"Q",
        several(text("storage"), text("os.system"), text("0"), text("cpu"), number(4)) + b"Q",
        several(text("storage"), named("torch", "FloatStorage"), number(0), text("cpu"), number(4)) + b"Q",
        storage("0", -4),
        storage("0", 4) + b"0" + storage("0", 5),  # one key, two counts
        number(1) + b"Q",
        b"P1\n",  # a persistent id in text
        b"\x82\x01",  # from the registry of extensions
        b"h\x07",  # from a memo that is empty
    ],
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_misused_names_are_errors(tmp_path: Path, program: bytes, container: str) -> None:
    refusal(in_container(whole(mapping({**PAIR, "b": program})), container), tmp_path)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (3, 1), 0),
        ((4,), (1,), 1),
        ((), (), 4),
        ((2**40,), (0,), 0),  # one number, a million million times
        ((2**24 + 1,), (0,), 0),
        ((2**62, 2**62), (0, 0), 0),
        ((1, 2), (2**62, 2**62), 0),
        ((1,) * 65, (1,) * 65, 0),
    ],
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_shape_that_the_numbers_do_not_fill_names_the_tensor(
    tmp_path: Path, container: str, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    pickled = whole(mapping({"conv1.weight": tensor(storage("0", 4), size, stride, offset)}))
    assert "conv1.weight: shape" in refusal(in_container(pickled, container), tmp_path)


def test_a_shape_of_numbers_without_end_is_refused(tmp_path: Path) -> None:
    for size in ((2**70,), (-1,)):
        assert "no numbers" in refusal(archive(whole(mapping({"a": tensor(storage("0", 4), size, (1,))}))), tmp_path)


TUPLES = b"\x85" * 200_000  # one in the other, around what stands before them
DOUBLED = b"N\x85" + b"2\x86" * 60  # a pair of twice the same pair of twice the same pair …


@pytest.mark.parametrize(
    "program",
    [
        b"}N" + TUPLES + b"K\x01s",
        b"}" + DOUBLED + b"K\x01s",
        b"}(" + DOUBLED + b"K\x01u",
        b"(" + DOUBLED + b"K\x01d",
        b"(K\x01K\x02" + DOUBLED + b"K\x03d",
        b"\x8f(" + DOUBLED + b"\x90",  # a set
        b"(" + DOUBLED + b"\x91",  # a frozen one
        b"}" + DOUBLED + b"q\x07K\x01s",
        b"N" + DOUBLED + b"q\x070}h\x07K\x01s",  # back from the memo
        DOUBLED + b"\x940}h\x00K\x01s",
        called("collections", "OrderedDict", b"](](" + DOUBLED + b"K\x01ee"),
        b"}" + called("torch", "Size", DOUBLED) + b"K\x01s",
        b"}" + DOUBLED + b"(0K\x01s",  # with a mark that is taken away again
        b"}" + DOUBLED + b"(K\x05K\x061K\x01s",
        b"}" + tensor(storage("0", 4), (2,), (1,)) + b"K\x01s",
        b"}\x8b\x09\x00\x00\x00" + b"\x01" * 9 + b"K\x01s",  # of so large numbers many are alike to a dict
    ],
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_keys_that_take_for_ever_to_hash_are_refused_before_they_are(
    tmp_path: Path, program: bytes, container: str
) -> None:
    content = in_container(whole(mapping({**PAIR, "b": program})), container)
    assert "a dict or a set of what is neither text nor a number" in refusal(content, tmp_path)


@pytest.mark.parametrize("program", [b"N" + TUPLES, b"]" * 200_000 + b"a" * 199_999, b"](" + DOUBLED + b"e"])
def test_what_is_deep_and_no_key_is_passed_over(tmp_path: Path, program: bytes) -> None:
    assert list(read(in_container(whole(mapping({**PAIR, "b": program})), "zip"), tmp_path)) == ["a"]


def test_storages_that_lie_over_each_other_are_not_multiplied(tmp_path: Path) -> None:
    """Forty entries of the archive's directory lead to the same bytes, each to become float32."""
    pickled = {f"t{i}": tensor(storage(str(i), 5000, "BFloat16Storage"), (5000,), (1,)) for i in range(40)}
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
        file.writestr("archive/data.pkl", whole(mapping(pickled)))
        file.writestr("archive/data/0", bytes(10_000))
        for i in range(1, 40):
            entry = copy(file.getinfo("archive/data/0"))
            entry.filename = f"archive/data/{i}"
            file.filelist.append(entry)
    assert "lie over each other" in refusal((tmp_path / "w.pth").read_bytes(), tmp_path)


def test_a_name_of_two_lines_makes_an_error_of_one(tmp_path: Path) -> None:
    pickled = whole(mapping({"conv1\nweight": tensor(storage("0", 4), (5,), (1,))}))
    assert "conv1 weight: shape" in refusal(archive(pickled, {"0": FOUR.tobytes()}), tmp_path)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("count", [3, 5, 2**34, 2**62])
def test_a_storage_without_the_numbers_it_announces_is_named(tmp_path: Path, container: str, count: int) -> None:
    pickled = whole(mapping({"a": tensor(storage("0", count), (2,), (1,))}))
    assert "storage '0'" in refusal(in_container(pickled, container), tmp_path)


def test_a_missing_storage_is_named(tmp_path: Path) -> None:
    for container in (archive, legacy):
        assert "'0'" in refusal(container(whole(mapping(PAIR))), tmp_path) or container is archive
    assert "no member 'archive/data/0'" in refusal(archive(whole(mapping(PAIR))), tmp_path)


PAIRS = b"](" + b"](I1\nI2\ne" * 3000 + b"e"


@pytest.mark.parametrize(
    "program",
    [
        b"Nr\xff\xff\xff\x7f",  # a place in the memo far away
        b"Np2000000000\n",
        b"\x96\x00\x00\x00\x00\x00\x01\x00\x00",  # a bytearray of 2^40 bytes
        b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00",  # bytes
        b"\x8d\x00\x00\x00\x00\x00\x01\x00\x00",  # text
        b"\x8b\xff\xff\xff\x7f",  # a number of 2^31 bytes
        PAIRS + b"q\x010" + b"(" + (named("collections", "OrderedDict") + b"h\x01\x85R") * 3000 + b"l",
    ],
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_what_a_few_bytes_announce_takes_no_memory(tmp_path: Path, program: bytes, container: str) -> None:
    content = in_container(whole(mapping({**PAIR, "b": program})), container)
    tracemalloc.start()
    refusal(content, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_numbers_stay_in_the_file_until_they_are_wanted(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(5_000_000, np.float32)}
    for container in CONTAINERS:
        content = state_dict(arrays, container=container)
        (tmp_path / "w.pth").write_bytes(content)
        del content
        tracemalloc.start()
        read_pth(tmp_path / "w.pth")
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()
