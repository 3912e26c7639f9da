"""Every architecture against torch: the same weights give the same scores, and the same gradient at the picture and at
every parameter, in training and in evaluation mode.

The weights travel in a `.pth` file that torch writes, in its new container for float32 here and in its old one for
float64, whose kernels are others too. torch computes in float64. Hidden layers of 4096 units, nine weights of ten, are
narrower: they are the same product. Nothing is dropped.

In float32 a rounding error may take one of a million values to the other side of a kink, of a ReLU or a max pool, and
the gradients of some layers change. Then other pictures are tried: a gradient that is wrong is wrong for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn import models
from minicnn.layers import BatchNorm2d, Dropout
from minicnn.models import alexnet, lenet, vgg, zfnet
from minicnn.network import Network

from ..twins import twin
from . import definitions, test_alexnet, test_lenet

CLASSES, HIDDEN = 7, 24
DTYPES = (np.float32, np.float64)
SCORES = {np.float32: 1e-4, np.float64: 1e-8}  # of the largest, or of 1
GRADIENTS = {np.float32: 1e-3, np.float64: 1e-8}  # of the largest in the layer


class Case(NamedTuple):
    """A module of torch that a network shall equal, and the pictures to try them on: few, as small as it takes them."""

    make: Callable[[Any, Any], Any] | None  # (torch, torchvision) -> module; None: a twin of our own layers
    size: int
    batch: int = 2
    heads: tuple[str, ...] = ("",)  # where what the module gives is to be found here, "" being the end


def published(name: str, size: int, heads: tuple[str, ...] = ("",), **options: Any) -> Case:
    """One that torchvision has."""

    def make(torch: Any, torchvision: Any) -> Any:
        with torch.device("meta"):  # nothing is drawn
            module = torchvision.models.get_model(name, num_classes=CLASSES, **options)
            linear = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
            for layer, following in pairwise(linear) if "aux1" not in dir(module) else ():
                layer.__init__(layer.in_features, HIDDEN)
                following.__init__(HIDDEN, CLASSES)
        return module.to_empty(device="cpu")

    return Case(make, size, heads=heads)


def by_hand(
    define: Callable[..., Any],
    *arguments: Any,
    size: int,
    batch: int = 1,
    heads: tuple[str, ...] = ("",),
    **options: Any,
) -> Case:
    """One that is written down in these tests."""
    return Case(lambda torch, _: define(torch, *arguments, **options), size, batch, heads)


TABLE = np.array([[mark == "X" for mark in row] for row in lenet.C3_CONNECTIONS.split()]).T
DEPTHS = (20, 32, 44, 56, 110)
CASES: dict[str, Case] = {
    "lenet5": by_hand(test_lenet.by_hand, size=28),
    "lenet5_1998": by_hand(definitions.lenet5_1998, TABLE, size=28),
    "alexnet": published("alexnet", 63),
    "alexnet_paper": by_hand(test_alexnet.by_hand, "alexnet_paper", HIDDEN, CLASSES, size=227),
    "alexnet_caffe": Case(None, 227, 1),
    "alexnet_lecture": by_hand(test_alexnet.by_hand, "alexnet_lecture", HIDDEN, CLASSES, size=227),
    "alexnet_cifar": by_hand(test_alexnet.by_hand, "alexnet_cifar", HIDDEN, CLASSES, size=32),
    **{name: by_hand(definitions.zfnet, name, HIDDEN, CLASSES, size=224) for name in ("zfnet", "zfnet_lecture")},
    "zfnet512": by_hand(definitions.zfnet, "zfnet512", HIDDEN, CLASSES, size=224),
    **{f"vgg{n}{bn}": published(f"vgg{n}{bn}", 32, init_weights=False) for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    "vgg11_bn_cifar": Case(None, 32, 3),
    "vgg19_trunk": Case(None, 32, 1),
    "googlenet": published("googlenet", 64, init_weights=False, aux_logits=False),
    "googlenet with heads": published("googlenet", 64, ("", "aux2.fc2", "aux1.fc2"), init_weights=False),
    "googlenet_paper": by_hand(definitions.googlenet_paper, CLASSES, size=64, batch=2),
    "googlenet_paper with heads": by_hand(
        definitions.googlenet_paper, CLASSES, size=224, heads=("aux1.fc2", "aux2.fc2", ""), auxiliary=True
    ),
    **{f"resnet{n}": published(f"resnet{n}", 64) for n in (18, 34, 50, 101, 152)},
    **{f"resnet{n}": by_hand(definitions.cifar_resnet, n, CLASSES, size=16, batch=3) for n in DEPTHS},
    **{f"plain{n}": by_hand(definitions.cifar_resnet, n, CLASSES, size=16, batch=3, shortcuts=False) for n in DEPTHS},
    "densenet121": published("densenet121", 64),
    "squeezenet1_0": published("squeezenet1_0", 64),
    "squeezenet1_1": published("squeezenet1_1", 64),
    "darknet_tiny": by_hand(definitions.darknet_tiny, CLASSES, size=48, batch=2),
    "cifar_small": Case(None, 16, 3),
}
RUNS = [
    (which, dtype)
    for which in CASES
    for dtype in DTYPES
    # in float32 some value of such large pictures as these heads want is always on the other side of a kink
    if (which, dtype) != ("googlenet_paper with heads", np.float32)
]
FED_AS = {"squeezenet1_0": "squeezenet1_0_torchvision"}  # where the network's own name means other weights
LARGE = ("vgg16_bn", "vgg19_bn", "resnet101", "resnet152")


def test_every_architecture_is_compared() -> None:
    assert {case.split()[0] for case in CASES} == models.ARCHITECTURES.keys()


@pytest.mark.parametrize(("which", "dtype"), RUNS, ids=[f"{which}-{np.dtype(dtype)}" for which, dtype in RUNS])
def test_torch_computes_the_same(
    torch: Any, torchvision: Any, which: str, dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch)
    case, (name, *heads) = CASES[which], which.split()
    options: dict[str, Any] = {"heads": True} if heads else {}
    classes = {} if name in ("lenet5", "lenet5_1998", "vgg19_trunk") else {"num_classes": CLASSES}
    net = (models.architecture if case.make else models.build)(name, **classes, **options)
    module = (case.make(torch, torchvision) if case.make else twin(torch, net)).double()
    shape = (case.batch, net.input_shape[0], case.size, case.size)
    x = np.random.default_rng(0).random(shape, np.float32)
    whole = behind(torch, module, net) if case.make else module
    randomize(torch, whole, torch.tensor(x).double(), (1.0, 2.0) if dtype is np.float32 else (0.0, 1.0))
    names = names_of(module, name, net)
    file = written(torch, module, name, net, names, tmp_path, dtype)
    net = models.load(FED_AS.get(name, name), weights=file, **options)
    net.to(dtype=dtype)
    whole = behind(torch, module, net) if case.make else module
    for training in modes(name, net, dtype):
        wrong: dict[str, str] | None = None
        for seed in range(8 if dtype is np.float32 else 1):
            x = np.random.default_rng(seed).random(shape, np.float32)
            theirs = of_torch(torch, whole, module, x, training, case.heads)
            ours = of_ours(net, x.astype(dtype), training, theirs.scores.keys())
            found = differences(ours, theirs, names, dtype)
            wrong = found if wrong is None else {what: text for what, text in wrong.items() if what in found}
            if not wrong:
                break
        assert not wrong, f"in {'training' if training else 'evaluation'}: {wrong}"


def modes(name: str, net: Network, dtype: Any) -> tuple[bool, ...]:
    """Whether to train: one after the other; just one where that changes nothing, or takes long."""
    normed = any(isinstance(layer, BatchNorm2d) for _, layer in net.layers())
    return (True, False) if normed and name not in LARGE else (dtype is np.float64,)


def behind(torch: Any, module: Any, net: Network) -> Any:
    """The module behind the preprocessing of a network."""
    names = list(net.children())
    before = names[: names.index("normalize") + 1]
    return torch.nn.Sequential(*(twin(torch, net.layer(path)) for path in before), module)


class Results(NamedTuple):
    """Of one forward and backward pass: scores by path, gradients by parameter, "x" the picture's, running averages."""

    scores: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hidden layer that has 4096 units gets fewer."""
    for family in (alexnet, vgg, zfnet):

        def fewer(features: int, _: int, *rest: Any, whole: Any = family.fully_connected, **__: Any) -> Any:
            return whole(features, HIDDEN, *rest)

        monkeypatch.setattr(family, "fully_connected", fewer)


def randomize(torch: Any, module: Any, x: Any, shift: tuple[float, float]) -> None:
    """All weights, factors and averages their own, and float32 numbers; what goes to a ReLU is of size 1 about `shift`.

    So few values lie near the kink, and a deep network keeps the size of what goes through. Drops nothing.
    """
    generator = torch.Generator().manual_seed(0)

    def put(tensor: Any, values: Any) -> None:
        tensor.data.copy_(values.float())

    def draw(tensor: Any, low: float, high: float) -> None:
        put(tensor, torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    def settle(layer: Any, _: Any, y: Any) -> Any:
        if layer.bias is None:
            return y
        alone = y[:, 0].numel() == 1 or y.ndim == 2  # with nothing to take the mean of
        mean = torch.zeros_like(layer.bias) if alone else y.mean(dim=(0, 2, 3))
        y = y - mean.view(-1, *(1,) * (y.ndim - 2))
        size = y.std(correction=0)
        draw(layer.bias, *shift)
        y = y / size + layer.bias.view(-1, *(1,) * (y.ndim - 2))
        put(layer.weight, layer.weight / size)
        put(layer.bias, layer.bias - mean / size)
        return y

    hooks = []
    for parameter in module.parameters():
        bound = (6 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0
        draw(parameter, -bound or 0.5, bound or 1.5)
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            draw(layer.bias, *shift)
            layer.momentum = 1.0  # averages of these very pictures
        elif isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            if layer.bias is not None:
                layer.bias.data.zero_()
            hooks.append(layer.register_forward_hook(settle))
        elif isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    for name, buffer in module.named_buffers():
        if not name.endswith("num_batches_tracked"):
            buffer.fill_(1)
        else:
            buffer.zero_()
    with torch.no_grad():
        module.train()(x)
    for hook in hooks:
        hook.remove()
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 0.1
            put(layer.running_mean, layer.running_mean)
            put(layer.running_var, 1.2 * layer.running_var + 0.01)


def names_of(module: Any, name: str, net: Network) -> dict[str, str]:
    """{path here: the module's name}: the one that such files have, where the module has those, otherwise in order."""
    for origin in models.foreign_names(name, net):
        if set(origin.tensors.values()) <= module.state_dict().keys():
            return origin.tensors
    buffers = [path for path in net.named_buffers() if "running" in path]
    theirs = [*(n for n, _ in module.named_parameters()), *(n for n, _ in module.named_buffers() if "running" in n)]
    return dict(zip([*net.named_parameters(), *buffers], theirs, strict=True))


def written(
    torch: Any, module: Any, name: str, net: Network, names: Mapping[str, str], folder: Path, dtype: Any
) -> Path:
    """The weights in one of torch's containers, with the module's names where the family knows them, else with ours."""
    state = {n: t.float() if t.is_floating_point() else t.clone() for n, t in module.state_dict().items()}
    if all(origin.tensors != names for origin in models.foreign_names(name, net)):
        rest = {n: torch.tensor(b.value) for n, b in net.named_buffers().items() if n not in names}
        state = {path: state[theirs] for path, theirs in names.items()} | rest
    torch.save(state, folder / "weights.pth", _use_new_zipfile_serialization=dtype is np.float32)
    return folder / "weights.pth"


def cotangent(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """A gradient at the scores of `path`, of float32 numbers."""
    return np.random.default_rng(len(path)).standard_normal(shape, np.float32)


def of_torch(torch: Any, whole: Any, module: Any, x: np.ndarray, training: bool, heads: tuple[str, ...]) -> Results:
    whole.train(training).zero_grad()
    pixels = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = whole(pixels)
    found = dict(zip(heads, y, strict=True)) if isinstance(y, tuple) else {"": y}
    torch.autograd.backward(
        list(found.values()), [torch.tensor(cotangent(path, y.shape)).double() for path, y in found.items()]
    )
    gradients = {
        n: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy() for n, p in module.named_parameters()
    }
    buffers = {n: b.numpy().copy() for n, b in module.named_buffers() if "running" in n}
    return Results({p: y.detach().numpy() for p, y in found.items()}, gradients | {"x": pixels.grad.numpy()}, buffers)


def of_ours(net: Network, x: np.ndarray, training: bool, paths: Any) -> Results:
    net.train(training)
    for _, layer in net.layers():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    for parameter in net.parameters():
        parameter.zero_grad()
    y, inside = net.trace(x, set(paths), "all")
    assert y is not None
    scores = {path: inside[path] if path else y for path in paths}
    grads = {path: cotangent(path, y.shape).astype(x.dtype) for path, y in scores.items()}
    dx = net.inject(grads.pop(""), grads, True, True)
    assert dx is not None
    gradients = {path: parameter.grad.copy() for path, parameter in net.named_parameters().items()}
    buffers = {path: b.value.copy() for path, b in net.named_buffers().items() if "running" in path}
    return Results(scores, gradients | {"x": dx}, buffers)


def differences(ours: Results, theirs: Results, names: Mapping[str, str], dtype: Any) -> dict[str, str]:
    """What differs by more than its bound, and by how much."""
    found: dict[str, str] = {}

    def compare(what: str, actual: np.ndarray, wanted: np.ndarray, bound: float) -> None:
        error = float(abs(actual - wanted).max())
        if not error <= bound:
            found[what] = f"{error:.1e} off, at most {bound:.1e}"

    for path, y in ours.scores.items():
        wanted = theirs.scores[path]
        compare(f"the scores {path}", y, wanted, SCORES[dtype] * max(1, float(abs(wanted).max())))
    for path, average in ours.buffers.items():
        wanted = theirs.buffers[names[path]]
        compare(path, average, wanted, SCORES[dtype] * max(1, float(abs(wanted).max())))
    gradients = {path: theirs.gradients[names.get(path, path)] for path in ours.gradients}
    largest: dict[str, float] = {}
    for path, gradient in gradients.items():
        layer = path.rpartition(".")[0]
        largest[layer] = max(largest.get(layer, 0), float(abs(gradient).max()))
    # Where all that a layer's gradient is a sum of cancels, as before a batch norm, float32 leaves the rounding errors.
    least = 1e-3 * max(largest.values()) if dtype is np.float32 else 0.0
    for path, gradient in gradients.items():
        scale = max(least, largest[path.rpartition(".")[0]])
        compare(f"the gradient of {path}", ours.gradients[path], gradient, GRADIENTS[dtype] * scale)
    return found
