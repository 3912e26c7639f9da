"""Every architecture against the figures that its paper or torchvision publishes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.layers import Container, Normalize, Shape
from minicnn.network import Network

PARAMETERS = {  # torchvision's documentation, and of the others what their tables add up to
    "alexnet": 61_100_840,
    "alexnet_paper": 60_965_224,
    "alexnet_caffe": 60_965_224,
    "zfnet": 62_357_608,
    "zfnet_lecture": 107_627_624,
    "zfnet512": 87_250_536,  # 349 MB of float32 in the ONNX model zoo
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "vgg19_trunk": 20_024_384,
    "googlenet": 6_624_904,
    "googlenet_paper": 6_998_552,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "densenet121": 7_978_856,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "darknet_tiny": 1_042_104,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_published_numbers_of_parameters(name: str) -> None:
    assert models.architecture(name).num_parameters() == PARAMETERS[name]


@pytest.mark.parametrize(("name", "count"), [("googlenet", 13_004_888), ("googlenet_paper", 13_378_280)])
def test_the_published_numbers_of_parameters_with_auxiliary_heads(name: str, count: int) -> None:
    """torchvision's variant has batch norm and 3×3 filters for the paper's 5×5, so fewer."""
    assert models.architecture(name, heads=True).num_parameters() == count


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_a_plain_network_has_the_tensors_of_the_residual_one(depth: int) -> None:
    plain, residual = (models.architecture(f"{kind}{depth}") for kind in ("plain", "resnet"))
    shapes = [{name: p.shape for name, p in net.named_parameters().items()} for net in (plain, residual)]
    assert shapes[0] == shapes[1]
    assert plain.macs((3, 32, 32)) == residual.macs((3, 32, 32))


GIGA = {  # torchvision's "GFLOPS", which are multiply-adds
    **{"alexnet": 0.714, "vgg11": 7.609, "vgg13": 11.308, "vgg16": 15.470, "vgg19": 19.632, "vgg16_bn": 15.470},
    **{"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514},
    **{"densenet121": 2.834, "googlenet": 1.498, "squeezenet1_0": 0.819, "squeezenet1_1": 0.349},
}


@pytest.mark.parametrize("name", GIGA)
def test_the_published_multiply_adds(name: str) -> None:
    assert models.architecture(name).macs((3, 224, 224)) == pytest.approx(1e9 * GIGA[name], abs=1e6)


def test_the_multiply_adds_that_the_paper_prints_for_each_inception_module() -> None:
    """Table 1, in millions. Some are slips: the first convolution's 34 are 118, the 54 of inception5a are 51."""
    net = models.architecture("googlenet_paper")
    inputs = dict(zip(net.children(), net.inputs(net.input_shape), strict=True))
    printed = {
        **{"inception3a": 128, "inception3b": 304, "inception4a": 73, "inception4b": 88, "inception4c": 100},
        **{"inception4d": 119, "inception4e": 170, "inception5b": 71, "fc": 1},
    }
    found = {name: inputs[name][0].macs(inputs[name][1]) / 1e6 for name in printed}
    assert found == pytest.approx(printed, abs=0.65)


def test_the_ratio_of_the_lectures_between_alexnet_and_googlenet() -> None:
    """The claim is 12 times; the networks give 8.7."""
    alexnet, googlenet = (models.architecture(name) for name in ("alexnet_paper", "googlenet_paper"))
    assert alexnet.num_parameters() / googlenet.num_parameters() == pytest.approx(8.7, abs=0.02)
    assert googlenet.macs((3, 224, 224)) / alexnet.macs((3, 227, 227)) == pytest.approx(2.2, abs=0.02)


SHAPES: dict[str, dict[str, Shape]] = {
    "zfnet": {
        **{"conv1": (96, 110, 110), "pool1": (96, 55, 55), "conv2": (256, 26, 26), "pool2": (256, 13, 13)},
        **{"conv3": (384, 13, 13), "conv4": (384, 13, 13), "conv5": (256, 13, 13), "pool5": (256, 6, 6)},
    },
    "zfnet_lecture": {"conv3": (512, 13, 13), "conv4": (1024, 13, 13), "conv5": (512, 13, 13), "pool5": (512, 6, 6)},
    "zfnet512": {  # as tools print the file of the ONNX model zoo
        **{"conv1": (96, 109, 109), "pool1": (96, 54, 54), "conv2": (256, 25, 25), "pool2": (256, 12, 12)},
        **{"conv5": (512, 12, 12), "pool5": (512, 6, 6), "fc6": (4096,), "fc7": (1024,), "fc8": (1000,)},
    },
    "vgg16": {
        f"pool{n}": (c, s, s) for n, c, s in ((1, 64, 112), (2, 128, 56), (3, 256, 28), (4, 512, 14), (5, 512, 7))
    },
    "googlenet_paper": {
        **{"conv1": (64, 112, 112), "pool1": (64, 56, 56), "conv3": (192, 56, 56), "pool2": (192, 28, 28)},
        **{"inception3a": (256, 28, 28), "inception3b": (480, 28, 28), "pool3": (480, 14, 14)},
        **{"inception4a": (512, 14, 14), "inception4b": (512, 14, 14), "inception4c": (512, 14, 14)},
        **{"inception4d": (528, 14, 14), "inception4e": (832, 14, 14), "pool4": (832, 7, 7)},
        **{"inception5a": (832, 7, 7), "inception5b": (1024, 7, 7), "avgpool": (1024, 1, 1)},
    },
    "resnet18": {f"stage{n}": (c, s, s) for n, c, s in ((1, 64, 56), (2, 128, 28), (3, 256, 14), (4, 512, 7))},
    "resnet50": {
        **{"conv1": (64, 112, 112), "pool1": (64, 56, 56), "stage2.block1.conv1": (128, 56, 56)},
        **{f"stage{n}": (c, s, s) for n, c, s in ((1, 256, 56), (2, 512, 28), (3, 1024, 14), (4, 2048, 7))},
    },
    "resnet110": {"stage1": (16, 32, 32), "stage2": (32, 16, 16), "stage3": (64, 8, 8), "avgpool": (64, 1, 1)},
    "densenet121": {
        **{"pool1": (64, 56, 56), "dense1": (256, 56, 56), "transition1": (128, 28, 28), "dense2": (512, 28, 28)},
        **{"transition2": (256, 14, 14), "dense3": (1024, 14, 14), "transition3": (512, 7, 7), "dense4": (1024, 7, 7)},
    },
    "squeezenet1_0": {  # the paper's table 1, whose input is 224 with a border of its own
        **{"conv1": (96, 111, 111), "pool1": (96, 55, 55), "fire2": (128, 55, 55), "fire4": (256, 55, 55)},
        **{"pool4": (256, 27, 27), "fire8": (512, 27, 27), "pool8": (512, 13, 13), "fire9": (512, 13, 13)},
        **{"fire9.squeeze": (64, 13, 13), "fire9.expand3x3": (256, 13, 13), "conv10": (1000, 13, 13)},
    },
    "squeezenet1_1": {"conv1": (64, 111, 111), "pool3": (128, 27, 27), "pool5": (256, 13, 13), "fire9": (512, 13, 13)},
    "darknet_tiny": {
        **{"conv1": (16, 224, 224), "pool2": (32, 56, 56), "pool6": (128, 28, 28), "pool10": (256, 14, 14)},
        **{"conv14": (512, 14, 14), "conv15": (128, 14, 14), "conv16": (1000, 14, 14)},
    },
}


def shapes(net: Container, input_shape: Shape, prefix: str = "") -> dict[str, Shape]:
    """The output shape of every layer, by path."""
    found: dict[str, Shape] = {}
    inputs = {id(layer): shape for layer, shape in net.inputs(input_shape)}
    for name, layer in net.children().items():
        found[prefix + name] = layer.output_shape(inputs[id(layer)])
        if isinstance(layer, Container):
            found |= shapes(layer, inputs[id(layer)], f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_the_sizes_that_the_papers_print(name: str) -> None:
    net = models.architecture(name)
    found = shapes(net, net.input_shape)
    assert {path: found[path] for path in SHAPES[name]} == SHAPES[name]


@pytest.mark.parametrize("name", [name for name in models.ARCHITECTURES if name.startswith(("resnet", "plain"))])
def test_a_residual_network_has_a_batch_norm_behind_every_convolution_and_no_dropout(name: str) -> None:
    kinds = [type(layer).__name__ for _, layer in models.architecture(name).layers() if not layer.children()]
    assert "Dropout" not in kinds
    assert all(after == "BatchNorm2d" for kind, after in pairwise(kinds) if kind == "Conv2d")


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_the_layers_know_their_paths_and_no_tensor_is_there_twice(name: str) -> None:
    net = models.architecture(name)
    assert all(layer.path == path for path, layer in net.layers())
    paths = [path for path, _ in net.layers()]
    assert len(set(paths)) == len(paths)
    assert all(parameter.name == path for path, parameter in net.named_parameters().items())


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_names_from_elsewhere_are_there_once_for_each_tensor(name: str) -> None:
    net = models.architecture(name)
    wanted = {*net.named_parameters(), *net.named_buffers()} - preprocessing(net)
    for found in models.foreign_names(name, net):
        assert found.tensors.keys() == wanted
        assert len(set(found.tensors.values())) == len(wanted)
        assert not found.dropped & set(found.tensors.values())


def preprocessing(net: Network) -> set[str]:
    return {
        f"{path}.{buffer}"
        for path, layer in net.layers()
        if isinstance(layer, Normalize)
        for buffer in layer.own_buffers()
    }


CAFFE2 = {
    "alexnet_caffe": {"conv1.weight": "conv1_w_0", "conv2.bias": "conv2_b_0", "fc8.weight": "fc8_w_0"},
    "zfnet512": {"conv1.weight": "gpu_0/conv1_w_0", "fc6.bias": "gpu_0/fc6_b_0"},
    "googlenet_paper": {
        "conv1.weight": "conv1/7x7_s2_w_0",
        "conv2.bias": "conv2/3x3_reduce_b_0",
        "conv3.weight": "conv2/3x3_w_0",
        "inception3a.branch1.conv1.weight": "inception_3a/1x1_w_0",
        "inception4e.branch3.conv2.bias": "inception_4e/5x5_b_0",
        "inception5b.branch4.conv1.weight": "inception_5b/pool_proj_w_0",
        "fc.weight": "loss3/classifier_w_0",
    },
}


@pytest.mark.parametrize("name", CAFFE2)
def test_the_names_of_the_onnx_model_zoo(name: str) -> None:
    (found,) = models.foreign_names(name, models.architecture(name))
    assert {path: found.tensors[path] for path in CAFFE2[name]} == CAFFE2[name]
    assert "OC2_DUMMY_1" in found.dropped


def test_the_published_file_of_densenet_has_its_old_names() -> None:
    today, old = models.foreign_names("densenet121", models.architecture("densenet121"))
    path = "dense3.layer12.norm2.running_var"
    assert today.tensors[path] == "features.denseblock3.denselayer12.norm2.running_var"
    assert old.tensors[path] == "features.denseblock3.denselayer12.norm.2.running_var"
    assert old.tensors["transition2.conv.weight"] == "features.transition2.conv.weight"


def test_the_heads_in_torchvisions_file_are_left_out_or_loaded(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    whole = models.build("googlenet", num_classes=3, heads=True)
    (names,) = models.foreign_names("googlenet", whole)
    state = whole.state_dict()
    path = tmp_path / "googlenet.safetensors"
    save_file({theirs: state[ours] for ours, theirs in names.tensors.items()}, path)
    for heads in (False, True):
        net = models.load("googlenet", weights=path, heads=heads)
        assert ("aux1" in net.children()) == heads
        for ours, value in net.state_dict().items():
            assert ours.startswith("normalize") or (value == state[ours]).all()


def test_the_trunk_is_read_from_a_whole_network() -> None:
    (trunk,), (whole,) = (models.foreign_names(name, models.architecture(name)) for name in ("vgg19_trunk", "vgg19"))
    assert trunk.tensors.items() <= whole.tensors.items()
    assert trunk.dropped == set(whole.tensors.values()) - set(trunk.tensors.values())


SMALL = {  # where not, the fully connected layers want the whole input
    **dict.fromkeys(("resnet18", "densenet121", "squeezenet1_0", "squeezenet1_1", "googlenet"), 48),
    **dict.fromkeys(("darknet_tiny", "resnet20", "plain20", "cifar_small"), 32),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_picture_goes_forward_and_back_with_another_number_of_classes(name: str) -> None:
    net = models.build(name, num_classes=3)
    x = np.random.default_rng(0).random((2, 3, SMALL[name], SMALL[name]), np.float32)
    y = net.forward(x)
    assert y.shape == (2, 3)
    dx = net.backward(np.ones_like(y))
    assert dx is not None and dx.shape == x.shape
    assert all(parameter.grad.any() for path, parameter in net.named_parameters().items() if path.endswith("weight"))


def test_squeezenets_scores_have_a_gradient_where_its_output_has_none() -> None:
    net = models.build("squeezenet1_1", num_classes=4)
    bias: Any = net.layer("conv10").bias  # type: ignore[attr-defined]
    bias.value[1] = -100  # the map of this class is nowhere positive
    x = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    one = np.eye(4, dtype=np.float32)[1:2]
    net.eval()
    assert net.forward(x)[0, 1] == 0
    dx = net.backward(one)
    assert dx is not None and not dx.any()
    scores = net.activations(x, [net.score_layer], remember="input")[net.score_layer]
    assert scores.shape == (1, 4) and scores[0, 1] < -90
    assert net.input_gradient({net.score_layer: one}).any()
    np.testing.assert_array_equal(net.scores(x), net.forward(x))  # what is predicted is what comes out
