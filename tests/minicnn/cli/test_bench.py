"""`minicnn bench`: its workloads, its figures, the same work in torch, its files, its complaints."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import models
from minicnn.cli import main
from minicnn.cli.bench import command, limits, measure, operations, profile, show, workloads
from minicnn.cli.bench.limits import Cost, Limits
from minicnn.errors import MinicnnError
from minicnn.layers import Conv2d, MaxPool2d, ReLU

ROOT = Path(__file__).resolve().parents[3]
SLOW = Limits(flops=1e9, bytes=1e9)


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.0)


def run(capsys: Any, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *words])
    printed = capsys.readouterr()
    return stop.value.code or 0, printed.out, printed.err  # type: ignore[return-value]


# Workloads ------------------------------------------------------------------------------------------------------------


def test_every_name_in_the_table_is_a_workload() -> None:
    found = [workloads.workload(name) for name in workloads.WORKLOADS]
    assert [work.name for work in found] == list(workloads.WORKLOADS)
    assert {(work.kind, work.model, work.input_shape) for work in found[-3:]} == {
        ("predict", "alexnet", (1, 3, 224, 224)),
        ("predict", "vgg11_bn", (1, 3, 224, 224)),
        ("picture", "vgg19_trunk", (1, 3, 512, 512)),
    }
    assert set(workloads.QUICK) < set(workloads.WORKLOADS)


def test_other_batches_and_sizes_are_workloads_too() -> None:
    assert workloads.workload("resnet20-7").input_shape == (7, 3, 32, 32)
    assert workloads.workload("picture-96").input_shape == (1, 3, 96, 96)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-0", "lenet-64", "predict-picture-512", "vgg19_trunk-1", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(MinicnnError, match=f"no workload '{name}'"):
        workloads.workload(name)


@pytest.mark.parametrize("name", ["lenet5-3", "predict-lenet5-2", "picture-32"])
def test_a_step_runs(name: str) -> None:
    ready = workloads.prepare(workloads.workload(name))
    before = [p.value.copy() for p in ready.net.parameters()] if ready.net else []
    ready.step()
    assert ready.kernels in ("array", "native", "reference") and ready.net
    moved = any((p.value != b).any() for p, b in zip(ready.net.parameters(), before, strict=True))
    assert moved == (name == "lenet5-3") == bool(ready.optimizer_bytes)


# The same in torch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet5", "alexnet_cifar", "resnet20", "vgg11_bn_cifar"])
def test_torchs_network_computes_the_same(torch: Any, name: str) -> None:
    from minicnn.cli.bench import peer

    net = models.build(name).eval()
    module = peer.convert(net).eval()
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), module.parameters(), strict=True):
            theirs.copy_(torch.from_numpy(ours.value))
    x = np.random.default_rng(0).random((2, *net.input_shape), np.float32)
    normalized = net.activations(x, ["normalize"])["normalize"]  # torch gets its pictures so
    expected = module(torch.from_numpy(np.ascontiguousarray(normalized))).detach().numpy()
    np.testing.assert_allclose(net.forward(x), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["lenet5-2", "predict-lenet5-2", "picture-32"])
@pytest.mark.parametrize("memory_format", measure.TORCH_FORMATS)
def test_torchs_steps_run_in_both_formats(torch: Any, name: str, memory_format: str) -> None:
    from minicnn.cli.bench import peer

    work, before = workloads.workload(name), torch.get_num_threads()
    try:
        ready = peer.prepare(work, memory_format, 1)
        ready.step()
        ready.step()
    finally:
        torch.set_num_threads(before)
    assert ready.optimizer_bytes == workloads.prepare(work).optimizer_bytes


# Memory and turns -----------------------------------------------------------------------------------------------------


def test_a_layer_that_torch_has_not_is_named(torch: Any) -> None:
    from minicnn.cli.bench.peer import convert

    with pytest.raises(MinicnnError, match=r"a ZeroPad2d has no counterpart in torch"):
        convert(models.architecture("lenet5_1998"))


def test_memory_is_the_peak_of_the_steps_beyond_what_was_there() -> None:
    """In a process of its own: here, the step would be given memory that other tests have left."""
    code = """
import numpy as np
from minicnn.cli.bench import worker, workloads
np.ones(100 << 18, np.float32)  # 100 MiB that are gone again
ready = workloads.Prepared(lambda: np.ones(64 << 18, np.float32), "array", optimizer_bytes=16 << 20)
print(*worker.memory_of(ready, 3))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    mib, times = done.stdout.split(maxsplit=1)
    assert 44 < float(mib) < 56 and len(json.loads(times)) == 3


def test_the_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []

    class Side:
        def __init__(self, workload: str, side: str, first: int) -> None:
            self.side = side

        def __enter__(self) -> Side:
            return self

        def __exit__(self, *exception: object) -> None:
            turns.append("end")

        def turn(self) -> None:
            turns.append(self.side)

        def times(self) -> measure.Times:
            ms = {"ours": [1.0, 2.0, 9.0], "torch:contiguous": [6.0], "torch:channels_last": [5.0]}[self.side]
            return measure.Times("array", 10.0, ms)

    monkeypatch.setattr(measure, "Side", Side)
    line = measure.compare("lenet5-64", against_torch=True, rounds=2, tick=lambda _: None)
    assert turns == ["ours", "torch:contiguous", "torch:channels_last"] * 2 + ["end"] * 3
    assert line | {"ours_quartiles": 0, "torch_quartiles": 0} == {
        **{"workload": "lenet5-64", "kernels": "array", "ours_ms": 2.0, "torch_ms": 5.0, "ratio": 2.5},
        **{"ours_mib": 10.0, "torch_mib": 10.0, "torch_format": "channels_last"},
        **{"ours_quartiles": 0, "torch_quartiles": 0, "ours_least_ms": 1.0, "torch_least_ms": 5.0},
    }


def test_a_process_that_ends_is_an_error_in_one_line() -> None:
    with pytest.raises(MinicnnError, match=r"bench: nonsense-3 on ours: .*no workload 'nonsense-3'"):
        measure.Side("nonsense-3", "ours", 1)


# Limits and costs -----------------------------------------------------------------------------------------------------


def test_the_costs_of_a_convolution() -> None:
    conv, x, y, w = Conv2d(2, 3, 3, padding=1, bias=False), 2 * 4 * 5, 3 * 4 * 5, 54
    assert limits.forward_cost([conv], (2, 4, 5), 7) == Cost(2 * 7 * 54 * 20, 4 * (7 * (x + y) + w))
    both = limits.backward_cost([conv], (2, 4, 5), 7, need_dx=True, need_dparams=True)
    assert both == Cost(4 * 7 * 54 * 20, 4 * (7 * (2 * x + y) + 2 * w))
    first = limits.backward_cost([conv], (2, 4, 5), 7, need_dx=False, need_dparams=True)
    assert first == Cost(2 * 7 * 54 * 20, 4 * (7 * (x + y) + w))
    picture = limits.backward_cost([conv], (2, 4, 5), 7, need_dx=True, need_dparams=False)
    assert picture == Cost(2 * 7 * 54 * 20, 4 * (7 * (x + y) + w))
    assert limits.backward_cost([conv], (2, 4, 5), 7, need_dx=False, need_dparams=False) == Cost(0, 0)


def test_a_layer_without_weights_has_a_backward_pass_only_for_dx() -> None:
    assert limits.backward_cost([ReLU()], (2, 4, 5), 1, need_dx=False, need_dparams=True) == Cost(0, 0)
    assert limits.backward_cost([MaxPool2d(2)], (2, 4, 4), 1, need_dx=True, need_dparams=True).bytes >= 4 * (32 + 8)


def test_the_bound_is_by_the_nearer_limit() -> None:
    machine = Limits(flops=1e9, bytes=1e8)
    assert machine.bound_ms(Cost(1e6, 1e4)) == 1.0 and machine.bound_by(Cost(1e6, 1e4)) == "product"
    assert machine.bound_ms(Cost(1e6, 1e6)) == 10.0 and machine.bound_by(Cost(1e6, 1e6)) == "memory"


def test_the_machine_multiplies_and_copies() -> None:
    found = limits.measured_limits()
    assert 1e8 < found.flops < 1e15 and 1e8 < found.bytes < 1e13


def test_a_step_costs_what_its_layers_do() -> None:
    """Forward once, backward twice but for the first layer, which needs no dx."""
    net, work = models.architecture("lenet5"), workloads.workload("lenet5-64")
    cost, bound = profile.step_cost(work, SLOW)
    assert cost.flops == 2 * 64 * (3 * net.macs(net.input_shape) - net.layer("conv1").macs((1, 28, 28)))
    assert bound > 1e3 * max(cost.flops, cost.bytes) / 1e9
    alone = profile.step_cost(workloads.workload("predict-lenet5-64"), SLOW)[0]
    assert alone.flops == 2 * 64 * net.macs(net.input_shape)
    trunk = models.architecture("vgg19_trunk").macs((3, 64, 64))
    assert 0.5 < profile.step_cost(workloads.workload("picture-64"), SLOW)[0].flops / (4 * trunk) < 1


# Layers and profile ---------------------------------------------------------------------------------------------------


def test_every_layer_in_the_table_takes_its_input() -> None:
    for operation in operations.OPERATIONS:
        assert operation.make().output_shape(operation.input_shape)


def test_a_layer_is_measured_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "SECONDS", 0.0)
    operation = operations.Operation("test", lambda: Conv2d(2, 3, 3, padding=1), 4, (2, 8, 8))
    forward, backward = operations.measure_operation(operation, SLOW)
    assert (forward["layer"], forward["input"], forward["pass"]) == ("Conv2d 2→3, 3×3", [4, 2, 8, 8], "forward")
    assert backward["pass"] == "backward" and min(forward["ms"], backward["ms"]) > 0


@pytest.mark.parametrize("name", ["lenet5-4", "predict-lenet5-2", "picture-32"])
def test_a_profile_has_every_layer_and_sums_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.0)
    monkeypatch.setattr(profile, "STEPS", 1)  # whose medians add up
    work = workloads.workload(name)
    *layers, between, whole = profile.profile(work, SLOW)
    paths = [part.name for part in profile.parts(models.architecture(work.model), work)]
    assert [line["layer"] for line in layers] == paths + ["loss", "optimizer"] * (work.kind == "train")
    assert all(line["forward_ms"] > 0 for line in layers)
    assert all((line["backward_ms"] > 0) == (work.kind != "predict") for line in layers if line["layer"] != "normalize")
    inside = sum(line["forward_ms"] + line["backward_ms"] for line in layers)
    assert whole["kind"] == name and inside + between["ms"] == pytest.approx(whole["ms"], abs=0.01)


def test_layers_that_run_as_one_are_one_line() -> None:
    resnet, picture = (workloads.workload(name) for name in ("resnet20-2", "picture-64"))
    names = [part.name for part in profile.parts(models.architecture("resnet20"), resnet)]
    assert names[:4] == ["normalize", "conv1", "norm1 + relu1", "stage1.block1.conv1"]
    assert "stage1.block1.norm2 + relu1" in names and "stage2.block1.shortcut" in names
    layers = [layer for part in profile.parts(models.architecture("resnet20"), resnet) for layer in part.layers]
    leaves = [layer for _, layer in models.architecture("resnet20").layers() if not layer.children()]
    assert len(layers) == len(leaves)
    names = [part.name for part in profile.parts(models.architecture("vgg19_trunk"), picture)]
    assert names[-1] == "conv4_1 + relu4_1"


def test_a_models_name_stands_for_its_workload() -> None:
    names = ("resnet20", "vgg11_bn", "vgg19_trunk", "alexnet", "alexnet_cifar", "lenet5-128")
    found = [profile.profiled(name).name for name in names]
    assert found == [
        *("resnet20-128", "predict-vgg11_bn-1", "picture-512", "alexnet-1", "alexnet_cifar-32", "lenet5-128")
    ]


# The command ----------------------------------------------------------------------------------------------------------

KEYS = ["workload", "kernels", "ours_ms", "torch_ms", "ratio", "ours_mib", "torch_mib"]


def test_one_workload_leaves_its_figures_and_a_chart(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "layers.json").write_text("of an earlier measurement")
    status, printed, complaint = run(capsys, "--quick", "--only", "lenet5-2", "--out", str(tmp_path))
    assert status == 0, complaint
    assert not (tmp_path / "layers.json").exists()
    assert "lenet5-2" in printed and "GFLOP/s" in printed
    (line,) = json.loads((tmp_path / "bench.json").read_text())
    assert list(line)[: len(KEYS)] == KEYS
    assert line["workload"] == "lenet5-2" and line["ours_ms"] > 0 and line["ours_mib"] >= 0
    assert [line[key] for key in ("torch_ms", "ratio", "torch_mib")] == [None] * 3
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "finished" and set(record["files"]) == {"bench.json", "bench.png"}
    assert record["machine"]["flops"] > 0


def test_the_table_against_torch(capsys: Any) -> None:
    line = {"workload": "lenet5-64", "kernels": "native", "ours_ms": 2.0, "torch_ms": 5.0, "ratio": 2.5}
    line |= {"ours_mib": 10.0, "torch_mib": 20.0, "ours_quartiles": [1.9, 2.1], "gflops": 80.0, "share": 0.25}
    show.print_workloads(show.Console(width=80), [line])
    printed = capsys.readouterr().out
    assert "native" in printed and "1.9–2.1" in printed and "2.50" in printed and "0.50" in printed
    assert show.chart([line, line | {"workload": "b"}]).size[0] > 1000


def test_growth_is_by_picture(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [measure.Times("array", 20.0, [2.0]), measure.Times("array", 320.0, [40.0])]
    monkeypatch.setattr(command, "measure", lambda *_, **__: found)
    lines = command.growth()
    assert [line["per_picture"] for line in lines] == [1.25] * len(command.GROWTH)
    for small, large, factor in command.GROWTH:
        a, b = (np.prod(workloads.workload(name).input_shape) for name in (small, large))
        assert b == factor * a
    show.print_growth(show.Console(width=80), lines)
    assert "1.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "jax"], "--against jax"),
        (["--profile", "resnet2"], "--profile resnet2: no such model or workload; did you mean 'resnet"),
        (["--profile", "lenet5", "--quick"], "--profile goes alone"),
        (["--only", "picture-16"], "workload picture-16: expected a picture of 32 pixels or more"),
        (["--only", "lenet-64"], "no workload 'lenet-64'; did you mean 'lenet5-64'"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(capsys: Any, words: list[str], message: str) -> None:
    status, _, complaint = run(capsys, *words)
    assert status == 2 and complaint.startswith("minicnn: ") and complaint.count("\n") == 1
    assert message in complaint


def test_without_torch_one_line_says_so(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a))
    status, _, complaint = run(capsys, "--against", "torch")
    assert status == 2 and "torch is not installed" in complaint and complaint.count("\n") == 1
