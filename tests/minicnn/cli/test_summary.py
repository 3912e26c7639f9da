"""`minicnn summary` of two networks and of all: what stands beside what, what it comes to, where numbers are from."""

import re

import pytest

from minicnn import models
from minicnn.cli.compare import match, ratio
from minicnn.cli.networks import lines, short
from minicnn.cli.summary import rows, sums
from minicnn.layers import Conv2d, Flatten, Linear, ReLU
from minicnn.models.catalogue import entries
from minicnn.network import Network


def net(**layers):
    return Network(layers, input_shape=(1, 6, 6))


def matched(a, b):
    return [
        (label, row_a and row_a.layer.path, row_b and row_b.layer.path)
        for label, row_a, row_b in match(rows(a, a.input_shape), rows(b, b.input_shape))
    ]


def test_layers_of_one_name_stand_in_one_row_and_others_alone_where_they_belong():
    a = net(conv1=Conv2d(1, 2, 3), relu1=ReLU(), flatten=Flatten(), fc2=Linear(32, 3))
    b = net(conv1=Conv2d(1, 2, 3), conv2=Conv2d(2, 2, 1), relu2=ReLU(), flatten=Flatten(), fc2=Linear(32, 3))
    assert matched(a, b) == [
        ("conv1", "conv1", "conv1"),
        ("conv2", None, "conv2"),
        ("relu2", None, "relu2"),
        ("relu1", "relu1", None),
        ("flatten", "flatten", "flatten"),
        ("fc2", "fc2", "fc2"),
    ]


def test_layers_of_one_role_stand_in_one_row_whatever_they_are_called():
    a = net(conv1=Conv2d(1, 2, 3), relu1=ReLU(), flatten=Flatten(), fc8=Linear(32, 3))
    b = net(conv1_1=Conv2d(1, 2, 3), relu1_1=ReLU(), conv1_2=Conv2d(2, 2, 1), flatten=Flatten(), fc=Linear(32, 3))
    assert matched(a, b) == [
        ("conv1, conv1_1", "conv1", "conv1_1"),
        ("relu1, relu1_1", "relu1", "relu1_1"),
        ("conv1_2", None, "conv1_2"),
        ("flatten", "flatten", "flatten"),
        ("fc8, fc", "fc8", "fc"),
    ]
    assert ("conv1_1, conv1", "conv1_1", "conv1") in matched(b, a)


@pytest.mark.parametrize("a", ["lenet5", "alexnet_cifar", "squeezenet1_0", "googlenet"])
@pytest.mark.parametrize("b", ["lenet5_1998", "vgg11_bn_cifar", "resnet20", "googlenet_paper"])
def test_every_layer_of_both_has_one_row(a, b):
    one, two = models.architecture(a), models.architecture(b)
    found = matched(one, two)
    for place, side in ((1, one), (2, two)):
        paths = [row.layer.path for row in rows(side, side.input_shape)]
        assert sorted(row[place] for row in found if row[place]) == sorted(paths)


def test_the_parts_add_up_to_the_whole():
    vgg16 = models.architecture("vgg16")
    found = sums(rows(vgg16, vgg16.input_shape))
    assert found["convolutions"].parameters == 14_714_688  # 14.71 M
    assert found["fully connected"].parameters == 123_642_856  # 123.64 M
    assert found["all"].parameters == vgg16.num_parameters() == 138_357_544
    assert found["all"].macs == vgg16.macs(vgg16.input_shape)
    assert found["all"].memory == vgg16.memory(vgg16.input_shape)


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [(2, 3, "×1.50"), (871, 100, "÷8.71"), (1, 1, "×1.00"), (1, 0, ""), (0, 1, ""), (1, 90_201.8, "×90,202")],
)
def test_ratios_read_as_times_more_or_less(a, b, text):
    assert ratio(a, b) == text


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_two_networks_side_by_side(minicnn, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    status, printed, complaint = minicnn("summary", "alexnet", "--compare", "zfnet")
    assert status == 0, complaint
    assert max(map(len, printed.splitlines())) <= int(columns)
    for number in ("61,100,840", "62,357,608", "×1.02", "714,188,480", "23,296", "14,208", "37,752,832"):
        assert number in printed
    norm1 = next(line for line in printed.splitlines() if line.strip().startswith("norm1"))
    assert "–" in norm1 and norm1.index("–") < norm1.index("Loc")
    assert ("55×55" in printed) == ("70,276,800" in printed and int(columns) > 140)


def test_a_comparison_that_nobody_can_see_at_once_is_whole(minicnn, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    printed = minicnn("summary", "alexnet_paper", "--compare", "googlenet_paper")[1]
    assert "÷8.71" in printed and "inception3a.branch3.conv2 " in printed and "…" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a network"),
        (["lenet5", "--all"], "expected a network"),
        (["--all", "--lecture"], "expected a network"),
        (["lenet5", "--markdown"], "expected a network"),
        (["lenet5", "--compare", "lenet"], "did you mean 'lenet5'"),
    ],
)
def test_options_that_do_not_fit_together_are_told(minicnn, arguments, said):
    status, _, complaint = minicnn("summary", *arguments)
    assert status == 2 and said in complaint and complaint.count("\n") == 1


def test_every_name_that_a_network_is_loaded_by_has_one_line():
    names = [line.name for line in lines()]
    assert len(names) == len(set(names))
    assert set(names) == {*models.ARCHITECTURES, *entries()}


def test_a_line_says_what_the_catalogue_or_the_log_says():
    found = {line.name: line for line in lines()}
    assert found["squeezenet1_0"].accuracy == "62.4 / 83.2"
    assert found["squeezenet1_0_torchvision"].input == "3×224×224"
    assert found["resnet50"].parameters == "25,557,032" and "torchvision" in found["resnet50"].weights
    assert found["lenet5"].accuracy == "99.59" and found["lenet5"].weights == "shipped"
    assert (
        found["resnet18_places365"].parameters
        == f"{models.architecture('resnet18', num_classes=365).num_parameters():,}"
    )
    assert found["alexnet_paper"].accuracy == found["alexnet_paper"].weights == ""


def test_the_table_in_markdown(minicnn):
    status, printed, _ = minicnn("summary", "--all", "--markdown")
    table = printed.splitlines()
    assert status == 0 and len(table) == 2 + len(list(lines()))
    assert all(re.fullmatch(r"\|.*\|", line) and line.count("|") == table[0].count("|") for line in table)
    assert "minicnn: " not in printed


def test_the_table_in_the_terminal(minicnn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, printed, _ = minicnn("summary", "--all")
    assert status == 0 and "138,357,544" in printed and "15.5 G" in printed


@pytest.mark.parametrize(
    ("n", "text"),
    [(999, "999"), (9_994, "9.99 k"), (999_600, "1.00 M"), (714_188_480, "714 M"), (15_470_264_320, "15.5 G")],
)
def test_large_numbers_are_shortened_to_three_digits(n, text):
    assert short(n) == text
