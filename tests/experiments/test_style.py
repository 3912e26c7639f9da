"""Style transfer: the published losses and the steps against torch, what masks, colours and sizes do, the command."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from minicnn.errors import MinicnnError
from minicnn.experiments.common import optimization_memory
from minicnn.experiments.stages import pooling, stages
from minicnn.experiments.style import sizes_up_to, style_transfer
from minicnn.experiments.style_objective import CONVENTIONS, Settings, style_objective
from minicnn.image import Interrupted, evaluate
from minicnn.kernels.backend import get_array_module
from minicnn.layers import AvgPool2d, MaxPool2d
from minicnn.models import architecture
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_array, to_picture

from ..twins import twin

module = sys.modules["minicnn.experiments.style"]

CONTENT, STYLES = "relu2", ("relu1", "relu2")
LAYERS: dict[str, Any] = {"content_layers": CONTENT, "style_layers": ",".join(STYLES), "scales": 1}


def pictures(*shapes: tuple[int, int], dtype: Any = np.float32) -> list[np.ndarray]:
    return [np.random.default_rng(i).random((1, 3, *shape)).astype(dtype) for i, shape in enumerate(shapes)]


@pytest.fixture
def double(small: Network) -> Network:
    return small.to(dtype=np.float64)


# Against torch --------------------------------------------------------------------------------------------------------


class Theirs:
    """The same network in torch, and the losses as their authors write them, for pictures of one size."""

    def __init__(self, torch: Any, net: Network, kind: str) -> None:
        self.torch, self.net = torch, net
        self.modules = {name: twin(torch, layer) for name, layer in net.children().items()}
        if kind == "average":
            self.modules["pool1"] = torch.nn.AvgPool2d(2)

    def activations(self, x: Any) -> dict[str, Any]:
        found = {}
        for name in ("normalize", "conv1", "relu1", "pool1", "conv2", "relu2"):
            x = found[name] = self.modules[name](x)
        return found

    def loss(self, x: Any, content: Any, style: Any, loss: str, weights: tuple[float, float, float]) -> Any:
        torch = self.torch
        now, P, S = (self.activations(picture) for picture in (x, content, style))
        alpha, beta, gamma = weights
        F = now[CONTENT]
        squares = ((F - P[CONTENT]) ** 2).sum()
        whole = {
            "relative": squares / (P[CONTENT] ** 2).sum(),
            "gatys": squares / 2,
            "johnson": squares / F.numel(),
            "neural-style": torch.nn.functional.mse_loss(F, P[CONTENT]),
            "lecture": squares,
        }[loss]
        styles = []
        for layer in STYLES:
            _, N, H, W = now[layer].shape
            f, s = (a[layer].reshape(N, H * W) for a in (now, S))
            G, A = f @ f.T, s @ s.T
            mean, far = torch.nn.functional.mse_loss(G / (N * H * W), A / (N * H * W)), ((G - A) ** 2).sum()
            each = {
                "relative": far / (A**2).sum() / 2,
                "gatys": far / (4 * N**2 * (H * W) ** 2) / 2,
                "johnson": ((G / (N * H * W) - A / (N * H * W)) ** 2).sum(),
                "neural-style": mean,
                "lecture": far,
            }
            styles.append(each[loss])
        differences = sum((x.diff(dim=axis) ** 2).sum() for axis in (2, 3))
        scale = {"relative": 1 / x.numel(), "lecture": 1}.get(loss, 255**2 / 2)
        return alpha * whole + beta * sum(styles) + gamma * scale * differences


@pytest.mark.parametrize("kind", ["average", "max"])
@pytest.mark.parametrize("loss", CONVENTIONS)
def test_the_published_losses_and_their_gradients(double, loss, kind):
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    x, content, style = pictures((12, 14), (12, 14), (12, 14), dtype=np.float64)
    settings = Settings(**LAYERS, loss=loss, content_weight=2, style_weight=30, tv_weight=0.5, pooling=kind)
    with pooling(double, kind):
        terms, gradient = evaluate(double, style_objective(double, content, [style], settings).terms(), x)
    there = torch.tensor(x, requires_grad=True)
    expected = Theirs(torch, double, kind).loss(there, torch.tensor(content), torch.tensor(style), loss, (2, 30, 0.5))
    expected.backward()
    assert sum(float(value) for _, value in terms) == pytest.approx(float(expected.detach()), rel=1e-9)
    size = float(abs(there.grad).max())
    np.testing.assert_allclose(gradient, there.grad.numpy(), rtol=1e-9, atol=1e-9 * size)


def test_the_first_ten_steps_are_those_of_torchs_lbfgs(double, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    content, style = pictures((12, 14), (12, 14), dtype=np.float64)
    monkeypatch.setitem(module.OPTIMIZERS, "lbfgs", module.LBFGS())  # torch's has no bounds
    monkeypatch.setattr(module, "ValidPixels", Anything)
    monkeypatch.setattr(module, "BORDER", 0)
    settings = Settings(**LAYERS, iterations=10)
    found = style_transfer(double, content, style, settings).image

    theirs = Theirs(torch, double, "average")
    x = torch.tensor(content, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=10,
        max_eval=1000,
        history_size=10,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Any:
        optimizer.zero_grad()
        loss = theirs.loss(x, torch.tensor(content), torch.tensor(style), "relative", settings.weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(found - content).max() > 0.05
    np.testing.assert_allclose(found, x.detach().numpy(), atol=1e-6)


class Anything(module.ValidPixels):  # type: ignore[name-defined]
    """Pixels may have any value."""

    def due(self, step: int, steps: int) -> bool:
        return False


# Layers and pools -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]),  # Johnson et al. 2016, section 4
        ("squeezenet1_0", ["relu1", "fire4", "fire8", "fire9"]),
        ("darknet_tiny", ["relu1", "relu2", "relu6", "relu10", "relu15"]),
        ("resnet18", ["relu1", "stage1.relu2", "stage2.relu2", "stage3.relu2", "stage4.relu2"]),
        ("googlenet", ["relu1", "relu3", "inception3b", "inception4e", "inception5b"]),
        ("lenet5", ["relu1", "relu2"]),
    ],
)
def test_the_stages_are_the_last_layers_at_each_resolution(name, expected):
    assert stages(architecture(name)) == expected


def test_a_network_without_places_has_no_stages():
    from minicnn.layers import Flatten, Linear

    net = Network({"flatten": Flatten(), "fc": Linear(4, 2)}, input_shape=(1, 2, 2), name="flat")
    with pytest.raises(MinicnnError, match="flat has no layer with places"):
        stages(net)


def test_averaging_lasts_for_the_block_alone(small, image):
    before = small.activations(image, ["pool1", "relu1"])
    with pooling(small, "average"):
        assert isinstance(small.layer("pool1"), AvgPool2d)
        mean = small.activations(image, ["pool1"])["pool1"]
    blocks = before["relu1"].reshape(1, 4, 6, 2, 6, 2)
    np.testing.assert_allclose(mean, blocks.mean(axis=(3, 5)), atol=1e-6)
    assert isinstance(small.layer("pool1"), MaxPool2d)
    np.testing.assert_array_equal(small.activations(image, ["pool1"])["pool1"], before["pool1"])


def test_the_defaults_are_all_stages_falling_by_half_and_the_middle_one():
    content, style = Settings().layers(architecture("vgg16"))
    assert content == {"relu3_3": 1}
    assert style == {"relu1_2": 1, "relu2_2": 1 / 2, "relu3_3": 1 / 4, "relu4_3": 1 / 8, "relu5_3": 1 / 16}
    _, style = Settings(loss="gatys").layers(architecture("vgg16"))
    assert set(style.values()) == {1}
    content, style = Settings(content_layers="all", style_layers="relu1_1=3, relu2_1").layers(architecture("vgg16"))
    assert list(content.values()) == [1] * 5 and style == {"relu1_1": 3, "relu2_1": 1}


# What comes out -------------------------------------------------------------------------------------------------------


def style_loss(net: Network, image: np.ndarray, style: np.ndarray) -> float:
    settings = Settings(**LAYERS, content_weight=0, tv_weight=0)
    terms, _ = evaluate(net, style_objective(net, image, [style], settings).terms(), image)
    return sum(float(value) for _, value in terms)


def test_the_picture_takes_on_the_style_and_keeps_the_content(small):
    content, style = pictures((24, 20), (16, 18))
    style **= 3  # darker
    loose, faithful = (Settings(**LAYERS, iterations=30, tv_weight=0, content_weight=weight) for weight in (1, 1e4))
    result = style_transfer(small, content, style, loose)
    assert result.image.shape == content.shape and result.image.dtype == np.float32 and result.steps == 30
    assert result.image.min() >= 0 and result.image.max() <= 1
    assert style_loss(small, result.image, style) < 0.2 * style_loss(small, content, style)
    near = style_transfer(small, content, style, faithful).image
    assert abs(near - content).mean() < 0.5 * abs(result.image - content).mean()


def test_several_styles_are_the_one_of_their_mixed_gram_matrices(small):
    content, first, second = pictures((12, 12), (12, 14), (16, 12))
    both = style_objective(small, content, [first, second], Settings(**LAYERS, style_blend=(3, 1)))
    alone = [style_objective(small, content, [style], Settings(**LAYERS)) for style in (first, second)]
    targets = [[term.target for _, term in objective.terms() if hasattr(term, "per")] for objective in (both, *alone)]  # type: ignore[attr-defined]
    for mixed, a, b in zip(*targets, strict=True):
        np.testing.assert_allclose(mixed, 0.75 * a + 0.25 * b, rtol=1e-5)
    whole = style_objective(small, content, [first, second], Settings(**LAYERS, style_blend=(1, 0)))
    assert float(whole.evaluate(seen(small, second))[0]) == pytest.approx(
        float(alone[0].evaluate(seen(small, second))[0]), rel=1e-5
    )


def seen(net: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    x = x[:, :, :12, :12]
    return net.activations(x, [*STYLES, "input"])


def test_a_white_mask_changes_nothing_and_a_mask_keeps_a_style_in_its_place(small):
    content, dark, bright = pictures((16, 16), (16, 16), (16, 16))
    dark, bright = 0.2 * dark, 0.8 + 0.2 * bright
    settings = Settings(**LAYERS, iterations=15, content_weight=0)
    plain = style_transfer(small, content, dark, settings).image
    white = style_transfer(small, content, dark, settings, masks=[np.ones((16, 16), np.float32)]).image
    np.testing.assert_allclose(white, plain, atol=1e-3)
    left = np.zeros((16, 16), np.float32)
    left[:, :8] = 1
    apart = style_transfer(small, content, [dark, bright], settings, masks=[left, 1 - left]).image
    assert apart[..., :6].mean() < content.mean() - 0.1 < content.mean() + 0.1 < apart[..., 10:].mean()


def test_luminance_alone_leaves_the_contents_colours(small):
    content, style = pictures((16, 16), (16, 16))
    content = 0.4 + 0.2 * content  # so that nothing is clipped
    settings = Settings(**LAYERS, iterations=40, style_weight=1000, original_colors="luminance")
    result = style_transfer(small, content, style, settings).image
    luma = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
    beside = [x - (x * luma).sum(axis=1, keepdims=True) for x in (result, content)]
    np.testing.assert_allclose(beside[0], beside[1], atol=1e-5)
    assert abs(result - content).max() > 0.01


def test_matched_colours_have_the_mean_and_covariance_of_the_content():
    from minicnn.experiments.colours import matched_colours

    content, style = pictures((20, 20), (24, 16))
    content = 0.4 + 0.2 * content**2
    style[:, 1] = 0.5 * style[:, 0] + 0.5 * style[:, 1]  # correlated
    matched = matched_colours(style, like=content)
    ours, theirs = (x[0].reshape(3, -1) for x in (matched, content))
    np.testing.assert_allclose(ours.mean(axis=1), theirs.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(np.cov(ours, bias=True), np.cov(theirs, bias=True), atol=1e-5)


def test_a_grey_style_can_be_matched():
    from minicnn.experiments.colours import matched_colours

    content, style = pictures((20, 20), (24, 16))
    matched = matched_colours(np.repeat(style[:, :1], 3, axis=1), like=content)
    assert np.isfinite(matched).all() and matched.min() >= 0 and matched.max() <= 1


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((384, 512), 2, [(96, 128), (192, 256), (384, 512)]),
        ((512, 256), 2**0.5, [(128, 64), (181, 91), (256, 128), (362, 181), (512, 256)]),
        ((100, 120), 2, [(100, 120)]),
        ((512, 512), 1, [(512, 512)]),
    ],
)
def test_sizes_begin_at_about_128_pixels(size, factor, expected):
    assert sizes_up_to(size, factor) == expected


def test_the_sizes_follow_one_another_and_the_steps_are_counted_through(small, monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 16)
    content, style = pictures((24, 32), (20, 20))
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    states = []
    real = module.optimize

    def noting(*arguments, **options):
        states.append(options["state"])
        return real(*arguments, **options)

    monkeypatch.setitem(vars(module), "optimize", noting)
    settings = Settings(**LAYERS | {"scales": 2}, iterations=3)
    callbacks = [lambda now: seen.append((now.step, now.steps, now.image.shape[2:]))]
    result = style_transfer(small, content, style, settings, callbacks=callbacks)
    assert [step for step, *_ in seen] == [1, 2, 3, 4, 5, 6] and {steps for _, steps, _ in seen} == {6}
    assert [shape for *_, shape in seen] == [(12, 16)] * 3 + [(24, 32)] * 3
    assert states[0] is None and {a.shape for pair in states[1] for a in pair} == {(1, 3, 24, 32)}
    assert result.steps == 6 and result.image.shape == content.shape


def test_a_callback_can_end_it_at_any_size(small, monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 16)
    content, style = pictures((24, 32), (20, 20))
    settings = Settings(**LAYERS | {"scales": 2}, iterations=3)
    result = style_transfer(small, content, style, settings, callbacks=[lambda now: now.step == 2])
    assert result.steps == 2 and result.image.shape == (1, 3, 12, 16)


@pytest.mark.parametrize("init", ["content", "noise", "grey", "blank"])
def test_the_starts(small, init):
    content, style = pictures((12, 12), (12, 12))
    starts: list[np.ndarray] = []
    settings = Settings(**LAYERS, init=init, iterations=1, optimizer="adam")
    style_transfer(small, content, style, settings, seed=9, callbacks=[lambda now: starts.append(now.image)])
    expected = {"content": content, "grey": 0.5, "blank": 1.0}.get(init)
    if expected is not None:
        assert abs(starts[0] - expected).max() <= 10 / 255 + 1e-5  # one step of Adam
    else:
        assert abs(starts[0] - content).mean() > 0.2 and starts[0].std() > 0.2


def test_a_start_of_ones_own(small):
    content, style, start = pictures((12, 12), (12, 12), (12, 12))
    starts: list[np.ndarray] = []
    settings = Settings(**LAYERS, iterations=1, optimizer="adam")
    callbacks = [lambda now: starts.append(now.image)]
    style_transfer(small, content, style, settings, start=start, callbacks=callbacks)
    assert abs(starts[0] - start).max() <= 10 / 255 + 1e-5


def test_a_dream_makes_a_layer_stronger(small):
    content, style = pictures((16, 16), (16, 16))
    plain, dreamt = (
        style_transfer(small, content, style, Settings(**LAYERS, iterations=10, dream=dream, dream_weight=100)).image
        for dream in ("", "relu2")
    )
    strength = [float((small.activations(x, ["relu2"])["relu2"] ** 2).sum()) for x in (plain, dreamt)]
    assert strength[1] > 1.2 * strength[0]


def test_the_same_seed_gives_the_same_bytes(small):
    content, style = pictures((12, 12), (12, 12))
    settings = Settings(**LAYERS, init="noise", iterations=3)
    a, b, c = (style_transfer(small, content, style, settings, seed=seed).image.tobytes() for seed in (3, 3, 4))
    assert a == b != c


def test_the_arguments_stay_as_they_are(small):
    given = pictures((12, 12), (14, 12))
    kept = [x.copy() for x in given]
    masks = [np.ones((12, 12), np.float32)]
    settings = Settings(**LAYERS, iterations=2, original_colors="match")
    style_transfer(small, given[0], given[1], settings, masks=masks)
    for x, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(x, before)
    assert small.layer("pool1").windows()["kernel_size"] == (2, 2) and isinstance(small.layer("pool1"), MaxPool2d)


@pytest.mark.parametrize("colours", ["no", "luminance", "match"])
def test_it_is_made_on_the_networks_device(small, on, colours):
    content, style = pictures((12, 12), (14, 12))
    mask = np.linspace(0, 1, 144, dtype=np.float32).reshape(12, 12)
    settings = Settings(**LAYERS, iterations=2, original_colors=colours, dream="relu1")
    expected = style_transfer(small, content, style, settings, masks=[mask]).image
    on.place(small)
    there = style_transfer(small, on.upload(content), on.upload(style), settings, masks=[mask]).image
    assert get_array_module(there) is on.xp
    np.testing.assert_allclose(on.download(there), expected, atol=1e-4)


def test_ctrl_c_keeps_the_last_picture_at_any_moment(small, monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 16)
    content, style = pictures((24, 32), (20, 20))
    settings = Settings(**LAYERS | {"scales": 2}, iterations=3, original_colors="luminance")

    def interrupt(now):
        if now.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stop:
        style_transfer(small, content, style, settings, callbacks=[interrupt])
    assert stop.value.result.steps == 5 and stop.value.result.image.shape == content.shape

    real, calls = module.style_objective, []

    def between_two_sizes(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setitem(vars(module), "style_objective", between_two_sizes)
    with pytest.raises(Interrupted) as stop:
        style_transfer(small, content, style, settings)
    assert stop.value.result.steps == 3 and stop.value.result.image.shape == (1, 3, 12, 16)


@pytest.mark.parametrize("layers", [("relu2",), ("conv1",)])
def test_the_memory_that_is_told_is_what_it_takes(small, layers):
    content, style = pictures((160, 200), (160, 200))
    settings = Settings(content_layers=layers[0], style_layers=layers[0], scales=1, iterations=12)
    told = optimization_memory(small, content.shape[1:], layers)
    tracemalloc.start()
    try:
        style_transfer(small, content, style, settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.6 * peak < told < 1.7 * peak


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "gatis"}, "loss 'gatis'; did you mean 'gatys'"),
        ({"optimizer": "sgd"}, "optimizer 'sgd'; there is: lbfgs, adam"),
        ({"pooling": "mean"}, "pooling 'mean'"),
        ({"init": "nois"}, "init 'nois'; did you mean 'noise'"),
        ({"original_colors": "yes"}, "original colors 'yes'"),
        ({"style_weight": -1.0}, "style weight -1.0: expected 0 or more"),
        ({"tv_weight": float("nan")}, "tv weight nan: expected 0 or more"),
        ({"scales": 0.5}, "scales 0.5: expected 1, or the factor"),
        ({"iterations": 0}, "0 iterations: expected 1 or more"),
        ({"style_blend": (0.0, 0.0)}, "expected shares of 0 or more, not all of them 0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(MinicnnError, match=message):
        Settings(**options)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"style_layers": "relu3"}, {}, "no layer 'relu3'; did you mean"),
        ({"content_layers": "conv2=x"}, {}, "layer 'conv2=x': expected LAYER or LAYER=WEIGHT"),
        ({"style_layers": "fc3", "scales": 1.0}, {}, r"fc3"),
        ({"dream": "relu4"}, {}, "no layer 'relu4'"),
        ({"style_blend": (1.0, 2.0)}, {}, "2 shares in the style blend for 1 styles"),
        ({}, {"masks": [np.ones((12, 12)), np.ones((12, 12))]}, "2 masks for 1 styles: expected one for each"),
        ({}, {"masks": [np.ones((10, 12))]}, r"mask 1 \(10, 12\): expected the content's \(12, 12\)"),
        ({}, {"masks": [np.zeros((12, 12))]}, "mask 1 is black everywhere"),
        ({"style_blend": (1.0,)}, {"masks": [np.ones((12, 12))]}, "masks and a style blend"),
        ({}, {"start": np.zeros((1, 3, 8, 8), np.float32)}, r"start \(1, 3, 8, 8\): expected the content's"),
        ({}, {"styles": []}, "expected at least one style"),
        ({}, {"styles": np.zeros((3, 8, 8), np.float32)}, r"expected one style \(1, C, H, W\)"),
        ({}, {"styles": np.full((1, 3, 8, 8), np.nan, np.float32)}, "style: 192 of 192 values are NaN"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(small, image, settings, options, message):
    options = {"styles": image, **options}
    with pytest.raises(MinicnnError, match=message):
        style_transfer(small, image, settings=Settings(**settings), **options)


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, small, monkeypatch):
    """Two contents and two styles of different sizes, a mask, and `small` in the place of every network."""
    monkeypatch.setitem(vars(module), "load_network", lambda *_: small)
    monkeypatch.setitem(vars(module), "weights_used", lambda *_: tmp_path / "content.png")
    for name, shape, seed in (
        ("content", (24, 30), 0),
        ("other", (30, 24), 1),
        ("style", (20, 40), 2),
        ("ink", (9, 9), 3),
    ):
        save_png(tmp_path / f"{name}.png", to_picture(np.random.default_rng(seed).random((3, *shape))))
    save_png(tmp_path / "mask.png", to_picture(np.tri(24, 30)[None]))
    return tmp_path


@pytest.fixture
def make(minicnn, files):
    """Runs the command on the files' names, at 16 pixels: (what it said, its record)."""

    def run(*arguments: object, status: int = 0) -> tuple[str, dict[str, Any]]:
        paths = [files / name if (files / str(name)).is_file() else name for name in map(str, arguments)]
        short = ["--image-size", 16, "--iterations", 2, "--out", files / "out"]
        got, said, complaint = minicnn("make", "style", *short, *paths)
        assert got == status, complaint
        return said, json.loads((files / "out/run.json").read_text())

    return run


def test_the_command_writes_the_picture_the_figure_and_the_record(make, files):
    said, record = make("content.png", "style.png")
    assert "16×13 pixels, small: about" in said and "content in the style of style: content " in said
    assert set(record["files"]) == {"style.png", "picture.png"} and record["settings"]["iterations"] == 2
    assert load_picture(files / "out/picture.png").size == (16, 13)
    assert {path.rsplit("/")[-1] for path in record["inputs"]} == {"content.png", "style.png"}


def test_the_same_seed_gives_the_same_files(make, files):
    written = []
    for _ in range(2):
        make("content.png", "style.png", "ink.png", "--init", "noise", "--seed", 5, "--save-every", 1)
        written.append([(files / "out" / name).read_bytes() for name in ("style.png", "picture.png", "picture.gif")])
    assert written[0] == written[1]


def test_snapshots_are_kept_and_animated(make, files):
    _, record = make("content.png", "style.png", "--save-every", 1)
    assert set(record["files"]) == {"style.png", "picture.png", "picture-1.png", "picture-2.png", "picture.gif"}
    assert (files / "out/picture-2.png").read_bytes() == (files / "out/picture.png").read_bytes()


def test_a_grid_has_each_content_in_each_style(make):
    said, record = make("content.png", "style.png", "ink.png", "--content", "other.png", "--grid")
    assert {f"picture-{i}.png" for i in (1, 2, 3, 4)} | {"style.png"} == set(record["files"])
    for pair in ("content in the style of ink", "other in the style of style"):
        assert pair in said


@pytest.mark.parametrize(
    "sweep",
    ["style-weight=1,10,100", "loss=gatys,johnson,lecture", "image-size=12,14,16", "style-layers=relu1,relu2,conv1"],
)
def test_a_sweep_has_one_picture_a_value(make, sweep):
    said, record = make("content.png", "style.png", "--sweep", sweep)
    assert {"picture-1.png", "picture-2.png", "picture-3.png", "style.png"} == set(record["files"])
    assert said.count("content in the style of style") == 3


def test_a_mask_and_a_start_are_read(make, files):
    make("content.png", "style.png", "--mask", "mask.png")
    masked = (files / "out/picture.png").read_bytes()
    make("content.png", "style.png")
    plain = (files / "out/picture.png").read_bytes()
    _, record = make("content.png", "style.png", "--init", "other.png")
    assert len({masked, plain, (files / "out/picture.png").read_bytes()}) == 3
    assert record["settings"]["init"].endswith("other.png")
    assert any(path.endswith("other.png") for path in record["inputs"])


def test_style_scale_is_the_size_of_the_style(make, monkeypatch):
    sizes = []
    real = module.style_transfer

    def noting(net, content, styles, *arguments, **options):
        sizes.append((content.shape[2:], styles[0].shape[2:]))
        return real(net, content, styles, *arguments, **options)

    monkeypatch.setitem(vars(module), "style_transfer", noting)
    make("content.png", "style.png", "--style-scale", 1.5)
    assert sizes == [((13, 16), (12, 24))]


def test_grey_pictures_are_said(make, files):
    save_png(files / "ink.png", to_picture(np.random.default_rng(3).random((1, 20, 20))))
    said, _ = make("content.png", "ink.png")
    assert "ink.png: a grey picture" in said and "content.png: a grey" not in said


def test_a_grey_network_sees_grey_pictures(minicnn, files, monkeypatch):
    monkeypatch.undo()
    out = ["--model", "lenet5", "--image-size", 28, "--iterations", 2, "--out", files / "out"]
    status, said, _ = minicnn("make", "style", files / "content.png", files / "style.png", *out)
    assert status == 0 and "content.png: in shades of grey, all that lenet5 sees" in said
    assert to_array(load_picture(files / "out/picture.png", mode="L")).shape == (1, 22, 28)


def test_ctrl_c_keeps_the_picture(make, files, monkeypatch):
    real = module.optimize

    def interrupt(step):
        if step.step == 2:
            raise KeyboardInterrupt

    def interrupted(*arguments, **options):
        return real(*arguments, **options | {"callbacks": [*options["callbacks"], interrupt]})

    monkeypatch.setitem(vars(module), "optimize", interrupted)
    _, record = make("content.png", "style.png", "--sweep", "style-weight=1,2", "--iterations", 4, status=130)
    assert record["status"] == "interrupted" and set(record["files"]) == {"style.png", "picture-1.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["content.png", "none.png"], "none.png: cannot be read: no such file or directory"),
        (["content.png", "style.png", "--style-layers", "relu9"], "no layer 'relu9'; did you mean"),
        (["content.png", "style.png", "--loss", "gaty"], "loss 'gaty'; did you mean 'gatys'"),
        (["content.png", "style.png", "--init", "none.jpg"], "init 'none.jpg'"),
        (["content.png", "style.png", "--image-size", 0], "image size 0: expected 1 pixel or more"),
        (["content.png", "style.png", "--style-scale", 0], "style scale 0.0: expected more than 0"),
        (["content.png", "style.png", "--style-blend", "1,x"], "style blend '1,x'"),
        (["content.png", "style.png", "--style-blend", "1,2"], "2 shares in the style blend for 1 styles"),
        (["content.png", "style.png", "--content", "other.png"], "another content picture makes a grid"),
        (["content.png", "style.png", "--sweep", "weight=1,2"], "no setting 'weight'; did you mean"),
        (["content.png", "style.png", "--sweep", "style-weight=1,b"], "expected SETTING=VALUE,VALUE"),
        (["content.png", "style.png", "--sweep", "seed=1,2", "--grid"], "--grid and --sweep: expected one of them"),
        (["content.png", "style.png", "--save-every", 0], "--save-every 0: expected 1 or more"),
        (["content.png", "style.png", "--mask", "style.png"], "a mask of 40×20 pixels for a picture of 16×13"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(refused, files, arguments, message):
    paths = [files / name if (files / str(name)).is_file() else name for name in map(str, arguments)]
    short = ["--image-size", 16, "--iterations", 2] if "--image-size" not in paths else []
    assert message in refused("make", "style", *short, *paths, "--out", files / "out")
    assert not (files / "out").exists()
