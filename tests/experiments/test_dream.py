"""Dreams: the published steps against torch, what grows, sizes and turns, the zoom, and what the command refuses."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.experiments.dream import Neuron, Settings, deep_dream, dream_layer, least_side, together, wishes, zoom
from minicnn.image import Amplify, Guide, Interrupted, Jitter, Unit, evaluate
from minicnn.kernels.backend import Array
from minicnn.network import Network
from minicnn.pictures import load_picture, save_png, to_array, to_picture

from ..twins import twin

module = sys.modules["minicnn.experiments.dream"]

FEW = Settings(octaves=2, steps=3)


@pytest.fixture
def photo() -> np.ndarray:
    """Waves in three colours, 3×20×24."""
    y, x = np.mgrid[:20, :24] / 6
    waves = np.stack([0.5 + 0.4 * np.sin(x + y), 0.5 + 0.3 * np.cos(x - y), 0.4 + 0.2 * np.sin(x * y)])
    return waves[None].astype(np.float32)


def strength(net: Network, x: Array, layer: str, channel: int | slice = slice(None)) -> float:
    return float((net.activations(x, [layer])[layer][:, channel] ** 2).sum())


def test_the_first_ten_steps_are_those_of_the_published_code(torch: Any, small: Network, photo: np.ndarray) -> None:
    small.to(dtype=np.float64)
    relu2 = torch.nn.Sequential(*list(twin(torch, small).children())[:6])
    draw, image = np.random.default_rng(5), photo.astype(np.float64)

    def resized(x: Any, size: Any) -> Any:
        return torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True)

    detail = torch.zeros(1, 3, 14, 17, dtype=torch.float64)
    for size in [(14, 17), (20, 24)]:
        base = resized(torch.tensor(image), size)
        src, moves = base + resized(detail, size), np.random.default_rng(int(draw.integers(1 << 32)))
        for _ in range(5):
            rows, columns = moves.integers(-(size[0] // 4), size[0] // 4 + 1, 2)
            moved = torch.roll(src, (int(rows), int(columns)), (2, 3)).requires_grad_(True)
            ((relu2(moved) ** 2).sum() / 2).backward()
            g = torch.roll(moved.grad, (-int(rows), -int(columns)), (2, 3))
            src = (src + 1.5 / 255 / g.abs().mean() * g).clip(0, 1)
        detail = src - base
    found = deep_dream(small, image, Amplify("relu2"), settings=Settings(octaves=2, steps=5), seed=5)
    np.testing.assert_allclose(found, src.numpy(), rtol=0, atol=1e-6)
    assert np.abs(found - image).max() > 0.05


def test_the_layer_the_channel_and_the_unit_that_are_asked_for_grow(small: Network, photo: np.ndarray) -> None:
    whole, one = (deep_dream(small, photo, wish, settings=FEW) for wish in (Amplify("relu2"), Amplify("relu2", 1)))
    assert whole.shape == photo.shape and whole.dtype == np.float32
    assert whole.min() >= 0 and whole.max() <= 1
    assert strength(small, whole, "relu2") > 1.2 * strength(small, photo, "relu2")
    assert strength(small, one, "relu2", 1) > strength(small, whole, "relu2", 1)
    still = Settings(octaves=1, jitter=0)
    place = deep_dream(small, photo, Neuron("conv2", 1, (0, 1)), settings=still)
    changed = np.abs(place - photo)[0].max(axis=0)
    assert changed[:7, -7:].max() > 0.05  # its field, 7×7; the rest is as it was
    assert changed[7:].max() == changed[:, :-7].max() == 0


def test_a_guide_makes_the_picture_like_another_one(small: Network, photo: np.ndarray) -> None:
    guide = 1 - photo[:, ::-1, :10, :12]
    (wish,) = wishes(small, ["relu2"], guide=guide)
    assert isinstance(wish, Guide)
    before, after = (
        float(wish.evaluate(small.activations(x, ["relu2"]))[0])
        for x in (photo, deep_dream(small, photo, wish, settings=FEW))
    )
    assert after > 1.1 * before


def test_several_objectives_take_turns_an_octave_each(small: Network, photo: np.ndarray) -> None:
    heard: list[tuple[str, tuple[int, ...]]] = []
    deep_dream(
        small,
        photo,
        Amplify("relu2"),
        Unit("conv2", 0),
        settings=Settings(octaves=3, octave_scale=1.2, steps=1),
        callbacks=[lambda now: heard.append((now.terms[0][0], now.image.shape[2:]))],
    )
    assert heard == [("Amplify", (14, 17)), ("Unit", (17, 20)), ("Amplify", (20, 24))]


def test_objectives_together_pull_equally_hard(small: Network, photo: np.ndarray) -> None:
    wanted = wishes(small, ["relu1", "relu2"], [0, 2])
    assert wanted == [Amplify(layer, channel) for layer in ("relu1", "relu2") for channel in (0, 2)]
    pulls = [
        np.abs(evaluate(small, ((weight, one),), photo)[1]).mean()
        for weight, one in together(small, photo, wanted).terms()
    ]
    np.testing.assert_allclose(pulls, 1, rtol=1e-5)
    assert together(small, photo, wanted[:1]) is wanted[0]


def test_a_pass_more_starts_over_on_the_result(small: Network, photo: np.ndarray) -> None:
    still = Settings(octaves=2, steps=2, jitter=0)
    once = deep_dream(small, photo, settings=still)
    np.testing.assert_array_equal(
        deep_dream(small, photo, settings=still._replace(passes=2)), deep_dream(small, once, settings=still)
    )


def test_the_same_seed_gives_the_same_bytes(small: Network, photo: np.ndarray) -> None:
    a, b, c = (deep_dream(small, photo, settings=FEW, seed=seed).tobytes() for seed in (3, 3, 4))
    assert a == b != c


def test_each_octave_is_moved_in_its_own_way_and_a_small_one_by_less(
    small: Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    jitters, seeds, real = [], [], module.optimize

    def optimize(*arguments: Any, **options: Any) -> Any:
        jitters.extend(options["transforms"])
        seeds.append(options["seed"])
        return real(*arguments, **options)

    monkeypatch.setattr(module, "optimize", optimize)
    deep_dream(small, photo, settings=FEW._replace(jitter=4))
    assert jitters == [Jitter(3), Jitter(4)] and seeds[0] != seeds[1]


def test_the_picture_is_made_on_the_networks_device(small: Network, photo: np.ndarray, on: Any) -> None:
    expected = deep_dream(small, photo, settings=FEW)
    found = deep_dream(on.place(small), on.upload(photo), settings=FEW)
    assert isinstance(found, on.xp.ndarray)
    np.testing.assert_allclose(on.download(found), expected, rtol=0, atol=1e-4)


def test_a_picture_too_small_for_its_octaves_is_refused(small: Network, photo: np.ndarray) -> None:
    with pytest.raises(MinicnnError, match="in 4 octaves begins with 5×5: the network needs 6×6; take fewer octaves"):
        deep_dream(small, photo[:, :, :13, :14])
    assert deep_dream(small, photo[:, :, :6, :6], settings=Settings(octaves=1)).shape == (1, 3, 6, 6)


def test_the_least_side_is_the_first_that_works(small: Network) -> None:
    assert [least_side(small, [layer]) for layer in ("relu1", "conv2", "fc3")] == [1, 6, 12]
    with pytest.raises(MinicnnError, match="small has no layer 'relu3'; did you mean 'relu2'"):
        least_side(small, ["relu3"])


@pytest.mark.parametrize(
    ("name", "layer"),
    [("squeezenet1_0", "fire8"), ("darknet_tiny", "relu12"), ("googlenet", "inception4a"), ("lenet5", "relu2")],
)
def test_the_default_layer_sees_about_half_of_the_picture(name: str, layer: str) -> None:
    assert dream_layer(models.build(name)) == layer


def test_a_network_without_a_convolution_has_nothing_to_dream_of(small: Network) -> None:
    small.score_layer = "fc3"
    for name in ("conv1", "relu1", "pool1", "conv2", "relu2"):
        del small.children()[name]
    with pytest.raises(MinicnnError, match="small: no convolution with a ReLU"):
        dream_layer(small)


def test_ctrl_c_in_a_small_octave_leaves_a_picture_of_full_size(small: Network, photo: np.ndarray) -> None:
    def stop(now: Any) -> None:
        if now.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        deep_dream(small, photo, settings=FEW, callbacks=[stop])
    kept = stopped.value.result.image
    assert kept.shape == photo.shape
    assert 0 < np.abs(kept - photo).mean() < 0.02  # one or two steps, and the photo as sharp as it was


def test_a_zoom_dreams_of_the_middle_of_the_last_dream(
    small: Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = zoom(small, photo, frames=2, settings=FEW, seed=3)
    np.testing.assert_array_equal(first, deep_dream(small, photo, settings=FEW, seed=3))
    assert second.shape == photo.shape and not np.array_equal(first, second)
    monkeypatch.setattr(module, "deep_dream", lambda net, image, **options: image)
    ramp = np.broadcast_to(np.linspace(0, 1, 21)[:, None], (1, 3, 21, 24))
    *_, third = zoom(small, ramp, frames=3)
    np.testing.assert_allclose(third, 0.5 + 0.95**2 * (ramp - 0.5), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(passes=0), "0 passes: expected 1 or more"),
        (Settings(octaves=0), "0 octaves"),
        (Settings(octaves=1, steps=0), "0 steps: expected 1 or more"),
        (Settings(octaves=1, jitter=-1), "Jitter: -1 pixels"),
        (Settings(octaves=1, step=0), "lr 0"),
    ],
)
def test_bad_settings_are_refused(small: Network, photo: np.ndarray, settings: Settings, message: str) -> None:
    with pytest.raises(MinicnnError, match=message):
        deep_dream(small, photo, settings=settings)


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(photo: np.ndarray, tmp_path: Any) -> Any:
    save_png(tmp_path / "photo.png", to_picture(photo).resize((48, 40)))
    return tmp_path / "photo.png"


SHORT = ("--model", "lenet5", "--octaves", 2, "--steps", 1)


def test_the_command_writes_the_picture_the_figure_and_the_record(minicnn: Any, file: Any, tmp_path: Any) -> None:
    status, said, _ = minicnn("make", "dream", file, *SHORT, "--image-size", 36, "-o", tmp_path / "out")
    assert status == 0 and "mean brightness" in said and "dream.png" in said
    assert load_picture(tmp_path / "out/dream.png").size == (36, 30)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert set(record["files"]) == {"dream.png", "beside.png"} and len(record["inputs"]) == 2
    assert record["settings"]["layers"] == ["relu2"] and record["settings"]["octaves"] == 2
    assert record["settings"].keys() >= {"octave_scale", "steps", "step", "jitter", "passes", "zoom", "image_size"}
    assert record["brightness"] == pytest.approx(
        to_array(load_picture(tmp_path / "out/dream.png", mode="L")).mean(), abs=1 / 255
    )


def test_the_same_seed_gives_the_same_files(minicnn: Any, file: Any, tmp_path: Any) -> None:
    for name in ("a", "b"):
        assert minicnn("make", "dream", file, *SHORT, "--zoom", 2, "--seed", 1, "-o", tmp_path / name)[0] == 0
    for name in ("dream.png", "beside.png", "zoom.gif"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_zoom_becomes_a_film(minicnn: Any, file: Any, tmp_path: Any) -> None:
    status, said, _ = minicnn("make", "dream", file, *SHORT, "--zoom", 3, "-o", tmp_path / "gif")
    assert status == 0 and "zoom.gif" in said
    with Image.open(tmp_path / "gif/zoom.gif") as film:
        assert film.n_frames == 3 and film.size == (48, 40)  # type: ignore[attr-defined]
    cv2 = pytest.importorskip("cv2")
    words = ("--zoom", 3, "--mp4", "--image-size", 37)  # 31×37: odd sides
    assert minicnn("make", "dream", file, *SHORT, *words, "-o", tmp_path / "mp4")[0] == 0
    film, frames = cv2.VideoCapture(str(tmp_path / "mp4/zoom.mp4")), []
    while (read := film.read())[0]:
        frames.append(read[1][:, :, ::-1].transpose(2, 0, 1) / 255)
    assert len(frames) == 3
    last = to_array(load_picture(tmp_path / "mp4/dream.png"))[:, :30, :36]
    assert np.abs(frames[-1] - last).mean() < 0.03 < np.abs(frames[-1] - last[:, ::-1]).mean()


def test_layers_channels_guides_and_places(minicnn: Any, file: Any, tmp_path: Any) -> None:
    for words in (
        ("--layer", "relu1", "--layer", "relu2", "--channel", 3),
        ("--layer", "relu1", "--layer", "relu2", "--alternate"),
        ("--layer", "relu2", "--position", "0.5,0.25"),
        ("--guide", file),
    ):
        assert minicnn("make", "dream", file, *SHORT, *words, "-o", tmp_path / "out")[0] == 0
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["settings"]["guide"] == str(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "relu9"], "no layer 'relu9'"),
        (["--layer", "relu1", "--channel", 99], "relu1: unit 99: expected 0 to 5"),
        (["--position", "2,0"], "position '2,0': expected two numbers from 0 to 1"),
        (["--position", "middle"], "position 'middle': expected two numbers from 0 to 1"),
        (["--guide", "none.jpg"], "none.jpg: there is no such file"),
        (["--image-size", 0], "0 pixels: expected 1 or more"),
        (["--octaves", 9], "in 9 octaves begins with"),
        (["--zoom", 0], "--zoom 0: expected 1 frame or more"),
    ],
)
def test_bad_input_is_one_line(refused: Any, file: Any, tmp_path: Any, words: list[Any], message: str) -> None:
    assert message in refused("make", "dream", file, "--model", "lenet5", *words, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_guide_with_a_channel_is_refused(refused: Any, file: Any, tmp_path: Any) -> None:
    words = ("--guide", file, "--channel", 1)
    assert "leave out --channel" in refused("make", "dream", file, *SHORT, *words, "-o", tmp_path / "out")


def test_ctrl_c_keeps_the_frames(minicnn: Any, file: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module.optimize, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)

        def interrupt(now: Any) -> None:
            if len(calls) == 4:  # the second octave of the second frame
                raise KeyboardInterrupt

        return real(*arguments, **options | {"callbacks": [interrupt]})

    monkeypatch.setattr(module, "optimize", interrupted)
    status, _, complaint = minicnn("make", "dream", file, *SHORT, "--zoom", 5, "-o", tmp_path / "out")
    assert status == 130 and "interrupted" in complaint
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "interrupted" and set(record["files"]) == {"dream.png", "beside.png", "zoom.gif"}
    assert record["frames"] == 2
