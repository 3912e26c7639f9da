import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.data import unpickling
from minicnn.data.unpickling import load_plain
from minicnn.errors import MinicnnError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)


def refusal(data):
    with pytest.raises(MinicnnError) as caught:
        load_plain(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_protocol_gives_the_same(protocol, order):
    batch = {"data": np.array(PIXELS, order=order), "labels": [1, 2, 300], b"raw": b"\x00\xff", "name": "ü"}
    back = load_plain(pickle.dumps(batch, protocol))
    assert np.array_equal(back.pop("data"), PIXELS)
    assert back == {"labels": [1, 2, 300], b"raw": b"\x00\xff", "name": "ü"}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<i4"])
def test_integer_arrays_keep_their_values_in_either_byte_order(protocol, dtype):
    back = load_plain(pickle.dumps({"labels": np.arange(5, dtype=dtype)}, protocol))["labels"]
    assert back.tolist() == [0, 1, 2, 3, 4] and back.dtype.isnative


@pytest.mark.parametrize("protocol", range(6))
def test_the_names_of_old_and_new_numpy_both_lead_to_the_array(protocol):
    new = pickle.dumps({"data": PIXELS}, protocol)
    old = new.replace(b"numpy._core", b"numpy.core")
    if protocol >= 4:  # there a name has its length before it, and a frame its own
        old = new.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        old = old.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
        old = old[:3] + (int.from_bytes(old[3:11], "little") - 1).to_bytes(8, "little") + old[11:]
    assert old != new
    assert np.array_equal(load_plain(old)["data"], PIXELS)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_in_a_pickle_is_named_and_not_run(tmp_path, protocol):
    proof = tmp_path / "it ran"
    evil = pickle.dumps({"data": Runs(os.system, f"touch '{proof}'")}, protocol)
    assert f"refused: the pickle asks for {os.name}.system" in refusal(evil)
    assert not proof.exists()
    pickle.loads(evil)
    assert proof.exists()  # so the pickle was a real one


@pytest.mark.parametrize(
    "function", [eval, exec, getattr, __import__, open, np.load, np.fromfile, np.array, bytearray, pickle.loads]
)
def test_no_other_function_is_reached(function):
    assert "refused: the pickle asks for " in refusal(pickle.dumps([Runs(function, "x")], 2))


def test_a_name_within_a_name_is_not_followed():
    assert "refused: the pickle asks for numpy.ndarray.tofile" in refusal(
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    )
    assert "refused: the pickle asks for numpy.core.os.system" in refusal(b"cnumpy.core.os\nsystem\n.")


@pytest.mark.parametrize(
    "program",
    [
        b"cnumpy\nndarray\n(I1000000000000\ntR.",  # a call of what is only an argument
        b"cnumpy\ndtype\n}(S'__call__'\nNub.",  # state for a class
        b"cnumpy\ndtype\nN}(S'name'\nS'x'\nu\x86b.",  # slot state for it
        b"c_codecs\nencode\n(VA\nVrot13\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I1000000\ntNI00\nS''\ntb.",  # no dtype
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I9\ntcnumpy\ndtype\n(S'u1'\ntRI00\nS''\ntb.",  # no bytes
        b"cnumpy\ndtype\n(S'O'\ntR.",  # an array of objects
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"P1\n.",  # a persistent id
        b"\x82\x01.",  # from the registry of extensions
    ],
)
def test_misused_names_are_errors(program):
    refusal(program)


def test_a_pickle_leaves_nothing_behind():
    before = dict(vars(unpickling))
    for state in (b"}(S'name'\nS'x'\nub.", b"N}(S'name'\nS'x'\nu\x86b.", b"}(S'dtype'\nS'x'\nub."):
        refusal(b"cnumpy\nndarray\n" + state)
    assert vars(unpickling) == before
    assert np.array_equal(load_plain(pickle.dumps({"data": PIXELS}))["data"], PIXELS)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pickles_raise_nothing_else(change):
    protocol = change.draw(st.integers(0, 5))
    content = bytearray(pickle.dumps({"data": PIXELS, "labels": [1, 2, 3], "names": ["a", "b"]}, protocol))
    for _ in range(change.draw(st.integers(1, 4))):
        content[change.draw(st.integers(0, len(content) - 1))] = change.draw(st.integers(0, 255))
    try:
        load_plain(bytes(content[: change.draw(st.integers(0, len(content)))]))
    except MinicnnError as error:
        assert "\n" not in str(error)
