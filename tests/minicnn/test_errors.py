"""Hints at the right name, and at the right number."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn.errors import MinicnnError, nearest, whole_number


def test_names_with_the_very_word_come_before_those_that_are_spelled_alike():
    classes = ["crate", "oxcart", "tiger cat", "Egyptian_cat", "castle", "catamaran"]
    assert nearest("cat", classes).startswith("; did you mean 'tiger cat' or 'Egyptian_cat' or")
    assert nearest("Crane", ["canoe", "crane (bird)", "crane (machine)"]).startswith("; did you mean 'crane (bird)' or")


def test_a_name_is_hinted_at_once():
    assert nearest("relu", ["relu", "relu1"]) == "; did you mean 'relu' or 'relu1'?"


def test_where_nothing_is_near_the_names_are_listed():
    assert nearest("xyz", ["conv1", "fc8"]) == "; there is: conv1, fc8"
    assert nearest("xyz", []) == ""


@pytest.mark.parametrize("value", [2.5, 0, 4, -1, True, "2", None, np.bool_(True), np.float32(2)])
def test_what_is_no_whole_number_in_its_range_is_refused(value):
    with pytest.raises(MinicnnError, match=r"window .*: expected 1 to 3, a whole number"):
        whole_number("window", value, 1, 3)


def test_a_number_of_numpy_becomes_one_of_python():
    assert type(whole_number("copies", np.int64(2), 1)) is int
