"""The axioms: the networks are what they are said to be, the table is what theory says, and a liar is found."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from minicnn.experiments.axioms import (
    AXIOMS,
    METHODS,
    PAIRS,
    axioms,
    chain,
    early,
    in_one_step,
    late,
    linear,
    network,
    off,
    picture,
    saturated,
)
from minicnn.experiments.saliency import saliency
from minicnn.layers import ReLU
from minicnn.pictures import load_picture

U, V = [1.0, 0.0], [0.0, 1.0]
SOME = np.random.default_rng(0).random((200, 1, 1, 2))


@pytest.fixture(scope="module")
def found():
    return axioms()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].__name__}-{pair[1].__name__}")
def test_two_networks_of_a_pair_compute_one_function(pair):
    first, second = (network(2, [make(U, V)], [1]).forward(SOME) for make in pair)
    np.testing.assert_allclose(first, second, atol=1e-15)
    assert np.ptp(first) > 0.1


def test_the_networks_compute_what_they_say():
    u, v = SOME[:, 0, 0].T
    for make, expected in (
        (late, np.maximum(0, np.maximum(0, 2 * u) - 0.3 - np.maximum(0, v))),
        (in_one_step, np.maximum(0, 2 * u - v)),
    ):
        np.testing.assert_allclose(network(2, [make(U, V)], [1]).forward(SOME)[:, 0], expected, atol=1e-15)
    np.testing.assert_allclose(
        network(2, [saturated(2)], [1]).forward(SOME)[:, 0], 1 - np.maximum(0, 1 - 2 * u), atol=1e-15
    )


def test_every_method_is_as_theory_says(found):
    assert len(found) == len(AXIOMS) * len(METHODS)
    assert [f for f in found if f.holds != f.expected] == []


def test_what_the_lecture_says_of_it_is_in_the_table(found):
    holds = {(f.axiom, f.method): f.holds for f in found}
    assert not holds["sensitivity", "gradient"] and not holds["sensitivity", "guided"]
    assert not holds["invariance", "DeepLIFT rescale"] and not holds["invariance", "guided"]
    assert all(holds[axiom, "integrated gradients"] for axiom in AXIOMS)


def test_what_is_broken_is_off_by_far_more_than_what_holds(found):
    assert max(f.violation for f in found if f.holds) < 3e-4
    assert min(f.violation for f in found if not f.holds) > 0.03


def test_the_papers_own_example_of_two_networks():
    """Sundararajan et al. 2017, appendix: 1.5, −0.5 by integrated gradients; 2, −1 by DeepLIFT in the second one."""
    one = network(2, [chain(linear([U, V]), ReLU(), linear([[1, -1]], -1), ReLU())], [1])
    other = network(2, [chain(linear([U, V], [-1, 0]), ReLU(), linear([[1, -1]]), ReLU())], [1])
    x = picture(3, 1)
    for net in (one, other):
        np.testing.assert_allclose(METHODS["integrated gradients"](net, x), [1.5, -0.5], atol=1e-3)
    np.testing.assert_allclose(METHODS["DeepLIFT rescale"](one, x), [1.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(METHODS["DeepLIFT rescale"](other, x), [2, -1], atol=1e-12)


def test_a_method_that_breaks_everything_is_found():
    def clumsy(net, x):
        """The gradient, with something on every pixel that depends on how many weights there are."""
        bias = sum(p.size for p in net.parameters()) * np.arange(1.0, x.size + 1)
        return saliency(net, x, layer="out", unit=0).values.ravel() * 0 + (bias - bias[0])

    found = axioms({"clumsy": clumsy})
    assert {f.axiom for f in found if not f.holds} == set(AXIOMS)
    assert all(f.expected for f in found)


def test_how_far_off_is_in_parts_of_the_larger():
    assert off(np.array([1.0, 2]), np.array([1.0, 4])) == 0.5
    assert off(0.0, 0.0) == 0 and off(3.0, 0.0) == 1


def test_the_pairs_differ_where_deeplift_does():
    x = picture(0.9, 0.3)
    one, other = (METHODS["DeepLIFT rescale"](network(2, [make(U, V)], [1]), x) for make in (late, early))
    assert off(one, other) == pytest.approx(0.04)


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_page_a_picture_and_the_figures(minicnn, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = minicnn("explain", "axioms", "--out", out)
    assert status == 0
    assert "54 of 54 as theory says" in printed
    assert "linearity: broken, says theory, by guided, deconvnet" in printed
    rows = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "off by 1" in rows["gradient"] and "holds (0)" in rows["gradient"]
    assert load_picture(out / "axioms.png").width > 600
    assert "Measured on networks of a few weights" in (out / "index.html").read_text()
    record = json.loads((out / "run.json").read_text())
    assert record["violations"]["sensitivity, gradient"] == 1 and record["status"] == "finished"


def test_without_a_folder_nothing_is_written(minicnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert minicnn("explain", "axioms")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_the_status_says_that_theory_says_otherwise(minicnn, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[axioms.__module__], "METHODS", {"occlusion": METHODS["gradient"]})
    status, printed, _ = minicnn("explain", "axioms", "--out", tmp_path / "out")
    assert status == 1
    assert "off by 1 (!)" in printed and "5 of 6 as theory says; (!) differs" in printed
    assert (tmp_path / "out" / "axioms.png").exists()
