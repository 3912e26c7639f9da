"""Building and finding the native kernels: whatever is wrong is said once, and the array kernels do the work."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import kernels
from minicnn.kernels.native import build, library

from .levels import needs_native

ROOT = Path(__file__).resolve().parents[2]
compiles = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler here")
SMALL = "int has_avx512(void) { return 0; } int has_avx2(void) { return 0; } int keep_memory(void) { return 1; }\n"
WHOLE = f"{SMALL} static int n; int set_threads(int k) {{ return n = k; }} int thread_count(void) {{ return n; }}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of C files for the native kernels to be built in, in place of the real one."""
    for name in ("CC", "CFLAGS", "LDFLAGS", "MINICNN_NATIVE_LEVEL", "MINICNN_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "all.c").write_text(WHOLE)
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(library, "library", library.library.__wrapped__)  # not what was loaded before
    monkeypatch.setattr(kernels, "family", kernels.family.__wrapped__)
    return tmp_path


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / build.RECORD).read_text())
    return found


def loaded_level() -> Any:
    return library.library().level


def replace(folder: Path, level: str, content: bytes) -> None:
    """Another file for a level, which the record takes for the right one."""
    library.file(level).unlink()  # the old one may be mapped
    library.file(level).write_bytes(content)
    changed = record(folder)
    changed["libraries"][level] = build.checksum(library.file(level))
    (folder / build.RECORD).write_text(json.dumps(changed))


# Building -----------------------------------------------------------------------------------------------------------


@compiles
def test_what_is_built_is_loaded(folder: Path) -> None:
    files = build.build(folder, folder)
    assert {file.name for file in files} == {build.RECORD, *(f"{level}.so" for level in record(folder)["libraries"])}
    assert loaded_level() == "baseline"  # this one says that the processor has nothing better
    assert library.set_threads(3) == 3
    assert sorted(file.name for file in folder.iterdir()) == sorted({"all.c", *(file.name for file in files)})


@pytest.mark.parametrize(
    ("compiler", "reason"), [("false", "exit status 1"), ("/nowhere/cc", "No such file"), ("true", "exit status 0")]
)
def test_a_compiler_that_fails_is_warned_of_once_and_leaves_nothing_old(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], compiler: str, reason: str
) -> None:
    library.file("baseline").write_bytes(b"of an earlier build")
    monkeypatch.setenv("CC", compiler)
    assert [file.name for file in build.build(folder, folder)] == [build.RECORD]
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "the native kernels are not built" in warning and reason in warning
    assert not library.file("baseline").exists()
    with pytest.raises(library.Unavailable, match=f"not built when minicnn was installed: {compiler}: {reason}"):
        library.library()
    assert kernels.family("native") is kernels.family("array")  # without a warning, which would be an error here


def test_a_compiler_that_cannot_be_read_is_one_that_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "gcc '")
    build.build(folder, folder)
    assert "CC, CFLAGS or LDFLAGS: No closing quotation" in capsys.readouterr().err


@compiles
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one level")
def test_a_compiler_that_knows_only_some_levels_builds_those(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = folder / "old-cc"
    old.write_text(
        '#!/bin/sh\ncase "$*" in *x86-64-v4*) echo "cc: error: no such -march" >&2; exit 1;; esac\nexec cc "$@"\n'
    )
    old.chmod(0o755)
    monkeypatch.setenv("CC", str(old))
    build.build(folder, folder)
    assert (
        "no native kernels for avx512: " in (warning := capsys.readouterr().err) and "error: no such -march" in warning
    )
    assert list(record(folder)["libraries"]) == ["avx2", "baseline"]
    assert loaded_level() == "baseline"


# Finding ------------------------------------------------------------------------------------------------------------


def test_where_nothing_was_built_nobody_is_warned(folder: Path) -> None:
    with pytest.raises(library.Unavailable, match="not built") as reason:
        library.library()
    assert not isinstance(reason.value, library.Broken)
    assert kernels.family("native") is kernels.family("array")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[]", b'{"machine": "x", "sources": 1, "libraries": []}'])
def test_a_damaged_record_is_warned_of(folder: Path, content: bytes) -> None:
    (folder / build.RECORD).write_bytes(content)
    with pytest.warns(UserWarning, match=r"native kernels: built.json is damaged: make native"):
        assert kernels.family("native") is kernels.family("array")


def cut_short(folder: Path) -> None:
    content = library.file("baseline").read_bytes()
    library.file("baseline").unlink()
    library.file("baseline").write_bytes(content[: len(content) // 2])


def of_another_machine(folder: Path) -> None:
    (folder / build.RECORD).write_text(json.dumps({**record(folder), "machine": "vax"}))


def compile_instead(folder: Path, text: str, *options: str) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "other.c").write_text(text)
    command = ["cc", "-shared", "-fPIC", str(other / "other.c"), "-o", str(other / "other.so"), *options]
    subprocess.run(command, check=True)
    replace(folder, "baseline", (other / "other.so").read_bytes())


def without_a_symbol(folder: Path) -> None:
    compile_instead(folder, SMALL)


def without_its_library(folder: Path) -> None:
    (folder / "thread.c").write_text("int needed;")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "thread.c", "-o", "libthread-x.so", "-Wl,-soname,libthread-x.so"],
        cwd=folder,
        check=True,
    )
    compile_instead(
        folder, f"{WHOLE} extern int needed; int use(void) {{ return needed; }}", f"-L{folder}", "-lthread-x"
    )
    (folder / "libthread-x.so").unlink()
    (folder / "thread.c").unlink()


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (cut_short, "baseline.so is not the file that was built"),
    "gone": (lambda folder: library.file("baseline").unlink(), "baseline.so is not the file that was built"),
    "no library at all": (lambda folder: replace(folder, "baseline", b"#!/bin/sh\n"), "baseline.so"),
    "another processor": (of_another_machine, f"built for vax, and this is {platform.machine()}"),
    "older than the sources": (lambda folder: (folder / "all.c").write_text("int x;"), "the C files have changed"),
    "a missing symbol": (without_a_symbol, "set_threads"),
    "a missing thread library": (without_its_library, "libthread-x.so"),
}


@compiles
@pytest.mark.skipif(sys.platform != "linux", reason="the messages of other systems are others")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_library_that_cannot_be_used_is_warned_of_with_the_reason(folder: Path, fault: str) -> None:
    build.build(folder, folder)
    change, reason = FAULTS[fault]
    change(folder)
    with pytest.raises(library.Broken, match=reason):
        library.library()
    with pytest.warns(
        UserWarning, match=f"native kernels: .*{reason}.*; the array kernels take their place"
    ) as warnings:
        assert kernels.family("native") is kernels.family("array")
    assert len(warnings) == 1


@compiles
def test_a_level_may_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build(folder, folder)
    monkeypatch.setenv("MINICNN_NATIVE_LEVEL", "baseline")
    assert loaded_level() == "baseline"
    monkeypatch.setenv("MINICNN_NATIVE_LEVEL", "avx512")
    with pytest.raises(library.Broken, match=r"avx512 is not (for this processor|built)"):
        library.library()
    monkeypatch.setenv("MINICNN_NATIVE_LEVEL", "mmx")
    with pytest.raises(ValueError, match="MINICNN_NATIVE_LEVEL='mmx': there is avx512, avx2, baseline"):
        library.library()


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

# The environment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MINICNN_THREADS": "3", "OMP_NUM_THREADS": "2"}, 3),
        ({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "4"}, 2),
        ({"OMP_NUM_THREADS": "2,1"}, 2),
        ({"OPENBLAS_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "many", "OPENBLAS_NUM_THREADS": "0"}, CORES),
        ({"MINICNN_THREADS": ""}, CORES),
    ],
)
def test_the_number_of_threads_is_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: int
) -> None:
    for name in ("MINICNN_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert library.default_threads() == expected


@needs_native
@pytest.mark.parametrize("count", [10**20, 2**32 + 3])
def test_more_threads_than_there_can_be_are_as_many_as_there_can_be(count: int) -> None:
    before = library.threads()
    try:
        assert library.set_threads(count) == library.MOST_THREADS
    finally:
        library.set_threads(before)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_senseless_number_of_threads_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MINICNN_THREADS", value)
    with pytest.raises(ValueError, match=r"MINICNN_THREADS=.*: expected a whole number above 0"):
        library.default_threads()


def in_a_process(code: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MINICNN_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True
    )
    return done.stdout + done.stderr


CHOSEN = "from minicnn import kernels; print(kernels.choose('conv2d_forward').__name__)"


@pytest.mark.parametrize("name", ["reference", "array", pytest.param("native", marks=needs_native)])
def test_the_environment_chooses_the_family(name: str) -> None:
    assert in_a_process(CHOSEN, MINICNN_KERNELS=name) == f"minicnn.kernels.{name}\n"


def test_a_family_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    assert "MINICNN_KERNELS" in (error := in_a_process(CHOSEN, MINICNN_KERNELS="fast").splitlines()[-1])
    assert "'fast'" in error and "reference, array, native" in error
    with pytest.raises(ValueError, match="reference, array, native"), kernels.using("fast"):
        pass


@pytest.mark.parametrize("variable", ["MINICNN_THREADS", "MINICNN_NATIVE_LEVEL"])
def test_the_command_line_says_in_one_line_which_variable_is_wrong(variable: str) -> None:
    found = in_a_process("from minicnn.cli import main; main(['summary', 'lenet5'])", **{variable: "x"})
    assert found.startswith(f"minicnn: {variable}='x': ") and found.count("\n") == 1


# Doctor -------------------------------------------------------------------------------------------------------------


@needs_native
@pytest.mark.usefixtures("asked_again")
def test_doctor_says_which_kernels_compute_and_with_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from minicnn.cli.doctor import kernels_in_use

    monkeypatch.delenv("MINICNN_KERNELS", raising=False)
    level, threads = library.library().level, library.threads()
    assert kernels_in_use() == f"native: {level}, {threads} thread{'s' * (threads > 1)}; float64 by array"
    monkeypatch.setenv("MINICNN_KERNELS", "array")
    assert kernels_in_use() == "array: MINICNN_KERNELS=array"
    with kernels.using("reference"):
        assert kernels_in_use() == "reference"


@pytest.mark.usefixtures("asked_again")
def test_doctor_says_why_there_are_no_native_kernels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minicnn.cli.doctor import kernels_in_use

    assert kernels_in_use() == "array: native kernels: not built"
    monkeypatch.setenv("CC", "/nowhere/cc")
    build.build(folder, folder)
    why = "/nowhere/cc: No such file or directory"
    assert kernels_in_use() == f"array: native kernels: not built when minicnn was installed: {why}"


@needs_native
def test_float64_and_what_the_native_family_lacks_go_to_the_array_kernels() -> None:
    x = np.ones((1, 3, 3, 2))
    _, cache = kernels.relu_forward(x)
    assert cache.family is kernels.family("array")
    _, cache = kernels.relu_forward(x.astype(np.float32))
    assert cache.family is kernels.family("native")
    assert kernels.choose("tanh_forward", x.astype(np.float32)) is kernels.family("array")
