"""The run folder: run.json is whole, strict and complete; earlier runs are safe; failures leave what is there."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import run as run_module
from minicnn.errors import MinicnnError
from minicnn.report import Section
from minicnn.run import Run, read_run


def start(folder, **options):
    return Run(folder, **{"command": ["minicnn", "demo"], "settings": {"steps": 3}, "seed": 7, **options})


def strict(folder):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_tells_how_it_came_about(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    with start(tmp_path / "deep" / "out") as run:
        assert strict(run.folder)["status"] == "running"
        digest = run.hash_input(tmp_path / "cat.jpg")
        path = run.save("sub/a.png", np.zeros((1, 4, 4)))
        run.finish(test_accuracy=np.float32(0.5), classes=[np.int64(3)])
    record = strict(run.folder)
    assert record["status"] == "finished" and record["test_accuracy"] == 0.5 and record["classes"] == [3]
    assert record["command"] == ["minicnn", "demo"] and record["seed"] == 7 and record["settings"] == {"steps": 3}
    assert {"minicnn", "python", "numpy", "platform"} <= record["versions"].keys()
    assert record["inputs"] == {str(tmp_path / "cat.jpg"): digest} and digest == hashlib.sha256(b"cat").hexdigest()
    assert record["files"] == {"sub/a.png": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert record["started"].endswith("+00:00") and record["duration_seconds"] >= 0
    assert read_run(run.folder) == record


def test_a_run_that_says_nothing_at_its_end_is_finished(tmp_path):
    with start(tmp_path):
        pass
    assert strict(tmp_path)["status"] == "finished"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("bad\nthing"), "failed")]
)
def test_a_run_that_breaks_off_keeps_what_it_has(tmp_path, error, status):
    with pytest.raises(type(error)), start(tmp_path) as run:
        run.save("a.png", Image.new("L", (2, 2)))
        raise error
    record = strict(tmp_path)
    assert record["status"] == status and "a.png" in record["files"] and (tmp_path / "a.png").exists()
    assert record.get("error") == (None if status == "interrupted" else "ValueError: bad thing")


def test_a_full_disk_at_the_end_does_not_hide_the_error_under_way(tmp_path, monkeypatch):
    with pytest.raises(ZeroDivisionError), start(tmp_path):
        monkeypatch.setattr(os, "fsync", full_disk)
        _ = 1 / 0
    assert strict(tmp_path)["status"] == "running"


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(MinicnnError, match=r"run\.json: cannot be written: no space left on device$"):
        start(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    for folder in ("out", "out/deeper"):
        with pytest.raises(MinicnnError, match=r"cannot make this folder: .*/out is a file$"):
            start(tmp_path / folder)


def test_an_unwritable_folder_is_one_clear_error(tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", forbidden)
    with pytest.raises(MinicnnError, match=r"run\.json: cannot be written: permission denied$"):
        start(tmp_path)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(MinicnnError, match=r"new: cannot make this folder: permission denied$"):
        start(tmp_path / "new")


# What is in the folder already


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    start(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(MinicnnError, match=r"already holds a run \(minicnn demo\): choose another folder"):
        start(tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_folder_with_other_files_is_no_run(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert not start(tmp_path).resumed


def test_a_run_is_overwritten_but_never_one_that_can_be_resumed(tmp_path):
    with start(tmp_path) as run:
        run.finish(score=1)
    with pytest.raises(KeyboardInterrupt), start(tmp_path, exist="overwrite", seed=8, resumable=True) as run:
        leave(run, "work.bin")
        raise KeyboardInterrupt
    assert strict(tmp_path)["seed"] == 8 and "score" not in strict(tmp_path)
    before = contents(tmp_path)
    for exist in ("overwrite", "error"):
        with pytest.raises(MinicnnError, match=r"run that can be resumed \(minicnn demo\): resume it, or choose"):
            start(tmp_path, exist=exist)
    assert contents(tmp_path) == before
    with start(tmp_path, exist="resume", seed=8, resumable=True):
        pass
    with pytest.raises(MinicnnError, match="run that can be resumed"):
        Run(tmp_path, command=["minicnn", "other"], settings={}, seed=8, exist="overwrite")
    start(tmp_path, exist="overwrite", seed=9, resumable=True)  # the same command, which is finished


def leave(run, name, content=b"made"):
    run.path(name).write_bytes(content)
    run.record(name)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_an_overwritten_run_stay_and_are_no_longer_its_files(tmp_path):
    with start(tmp_path) as run:
        leave(run, "old.png")
    with start(tmp_path, exist="overwrite") as run:
        leave(run, "new.png")
    assert contents(tmp_path).keys() == {"run.json", "old.png", "new.png"}
    assert set(strict(tmp_path)["files"]) == {"new.png"}


def test_a_resumed_run_knows_what_it_began_with(tmp_path):
    with start(tmp_path, resumable=True) as run:
        run.identify(pictures="a1", weights="b2")
    with start(tmp_path, exist="resume", resumable=True) as run:
        run.identify(pictures="a1")
        with pytest.raises(MinicnnError, match="cannot resume: the weights are not those that the run began with"):
            run.identify(weights="b3")
    assert strict(tmp_path)["fingerprints"] == {"pictures": "a1", "weights": "b2"}


def test_a_resumed_run_keeps_its_start_and_adds_up_its_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt), start(tmp_path) as first:
        first.save("a.png", Image.new("L", (2, 2)))
        now[0] += 5
        raise KeyboardInterrupt
    record = strict(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**record, "started": "then"}))
    (tmp_path / "checkpoint.safetensors").touch()
    with start(tmp_path, exist="resume") as second:
        assert second.resumed
        now[0] += 2
    resumed = strict(tmp_path)
    assert resumed["started"] == "then" and resumed["duration_seconds"] == 7
    assert resumed["files"] == record["files"] and resumed["status"] == "finished" and "error" not in resumed


def test_resuming_where_nothing_is_starts(tmp_path):
    assert not start(tmp_path / "new", exist="resume").resumed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 8}, "cannot resume with seed = 8, the run has seed = 7"),
        ({"settings": {"steps": 4}}, "cannot resume with steps = 4, the run has steps = 3"),
        ({"settings": {"steps": 3, "lr": 0.1}}, "cannot resume with lr = 0.1, the run has lr = nothing"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(tmp_path, change, text):
    start(tmp_path)
    with pytest.raises(MinicnnError, match=text):
        start(tmp_path, exist="resume", **change)


def test_settings_that_json_holds_differently_are_still_the_same(tmp_path):
    settings = {"size": (3, 4), "out": Path("a"), "limit": float("inf"), "lr": np.float64(0.1), "none": None}
    start(tmp_path, settings=settings)
    assert start(tmp_path, settings=settings, exist="resume").resumed
    assert strict(tmp_path)["settings"] == {"size": [3, 4], "out": "a", "limit": "inf", "lr": 0.1, "none": None}


def test_an_unknown_choice_is_an_error(tmp_path):
    with pytest.raises(MinicnnError, match="did you mean 'overwrite'"):
        start(tmp_path, exist="overwite")


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "damaged"), ("[]", "expected an object"), ('{"files": []}', "files: expected an"), (None, "holds no run")],
)
def test_a_damaged_record_is_one_clear_error(tmp_path, text, why):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(MinicnnError, match=why):
        read_run(tmp_path)


# What goes in


def test_values_that_are_not_finite_become_texts_that_float_reads(tmp_path):
    with start(tmp_path) as run:
        run.finish(loss=float("nan"), losses=np.array([1.0, -np.inf]))
    record = strict(tmp_path)
    assert np.isnan(float(record["loss"])) and [float(x) for x in record["losses"]] == [1.0, -np.inf]


def test_final_values_cannot_replace_the_record(tmp_path):
    with pytest.raises(MinicnnError, match=r"run\.json has its own seed"):
        start(tmp_path).finish(seed=1)


def test_what_json_cannot_hold_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MinicnnError, match=r"run\.json cannot hold a object"), start(tmp_path) as run:
        run.finish(value=object())
    with pytest.raises(MinicnnError, match=r"run\.json cannot hold a set"):
        start(tmp_path / "new", settings={"layers": {"a"}})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "", "run.json", "a/../../b.png"])
def test_files_stay_inside_the_folder(tmp_path, name):
    with pytest.raises(MinicnnError, match="inside the run's folder"):
        start(tmp_path / "out").path(name)


def test_a_name_says_what_a_file_is(tmp_path):
    run = start(tmp_path)
    with pytest.raises(MinicnnError, match=r"ends in \.png"):
        run.save("a.jpg", Image.new("L", (2, 2)))
    with pytest.raises(MinicnnError, match=r"ends in \.gif"):
        run.save_animation("a.png", [Image.new("L", (2, 2))])


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(MinicnnError, match=r"no\.jpg: cannot be read: no such file or directory"):
        start(tmp_path / "out").hash_input(tmp_path / "no.jpg")


def test_times_are_in_run_json_alone(tmp_path):
    for name in ("a", "b"):
        with start(tmp_path / name) as run:
            run.save("p.png", np.linspace(0, 1, 12).reshape(1, 3, 4))
            run.save_animation("p.gif", [Image.new("L", (4, 4), value) for value in (0, 99)])
            run.write_index("Title", [Section("One")])
    assert strict(tmp_path / "a")["files"] == strict(tmp_path / "b")["files"]
    assert set(strict(tmp_path / "a")["files"]) == {"p.png", "p.gif", "index.html"}


def test_a_run_that_fails_before_it_made_anything_leaves_no_trace(tmp_path):
    with pytest.raises(MinicnnError, match="no such layer"), start(tmp_path / "new"):
        raise MinicnnError("no such layer")
    assert not (tmp_path / "new").exists()


def test_a_run_that_fails_before_it_made_anything_keeps_the_record_of_the_one_before(tmp_path):
    with start(tmp_path, settings={"steps": 300}) as run:
        run.save("a.png", np.zeros((1, 4, 4), np.float32))
    before = contents(tmp_path)
    with pytest.raises(MinicnnError, match="steps 0"), start(tmp_path, settings={"steps": 0}, exist="overwrite"):
        raise MinicnnError("steps 0: expected 1 or more")
    assert contents(tmp_path) == before
    with pytest.raises(MinicnnError, match="too late"), start(tmp_path, exist="overwrite") as run:
        run.save("a.png", np.ones((1, 4, 4), np.float32))
        raise MinicnnError("too late")
    assert strict(tmp_path)["status"] == "failed"  # something was made: the record says how it ended
