"""Hints at the right name."""

from __future__ import annotations

from minicnn.errors import nearest


def test_names_with_the_very_word_come_before_those_that_are_spelled_alike():
    classes = ["crate", "oxcart", "tiger cat", "Egyptian_cat", "castle", "catamaran"]
    assert nearest("cat", classes).startswith("; did you mean 'tiger cat' or 'Egyptian_cat' or")
    assert nearest("Crane", ["canoe", "crane (bird)", "crane (machine)"]).startswith("; did you mean 'crane (bird)' or")


def test_a_name_is_hinted_at_once():
    assert nearest("relu", ["relu", "relu1"]) == "; did you mean 'relu' or 'relu1'?"


def test_where_nothing_is_near_the_names_are_listed():
    assert nearest("xyz", ["conv1", "fc8"]) == "; there is: conv1, fc8"
    assert nearest("xyz", []) == ""
