"""The GPU's benchmark command on the stand-in for CuPy, with kernels that run on the CPU: every part at tiny sizes.

What no machine without a GPU can tell is whether the figures are right; here it is that each part runs, that its answers are
checked, and that what fails is reported while the rest goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import needs_cpu_runner

from benchmarks.gpu import accuracy, parts, running, sanitizer, training, worker
from benchmarks.gpu.parts import PARTS, Settings

ROOT = Path(__file__).parent.parent


def command(*arguments: str, cupy: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    folders = [ROOT / "tests" / "cupy_on_path", ROOT / "tests"] if cupy else []
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--small", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        timeout=280,
        check=False,
    )


@needs_cpu_runner
def test_the_whole_command(tmp_path: Path) -> None:
    done = command("--peers", "", "--out", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {part["name"]: part["rows"] for part in report["parts"]}
    assert list(rows) == list(PARTS)
    assert [part["fault"] for part in report["parts"]] == [""] * len(PARTS)
    faults = {row["name"]: row["fault"] for part in rows.values() for row in part if row.get("fault")}
    assert not faults, faults
    assert done.returncode == 0, done.stderr

    assert report["device"]["gpu"] == "Stand-in"
    assert {"gpugrad", "CuPy", "numpy"} <= report["versions"].keys()
    assert len(rows["registry"]) > 15
    names = {row["name"] for row in rows["accuracy"]}
    assert {
        "sigmoid forward",
        "bias + gelu backward",
        "layer_norm backward",
        "fused chain backward",
        "amsgrad",
        "philox_advance",
        "philox_words",
        "bias + gelu + dropout backward",
    } <= names
    assert all(row["kernel"]["worst"] >= 0 for row in rows["accuracy"])
    assert {row["reached"] for row in rows["bandwidth"] if "goal" in row} <= {"yes", "no", "not measured"}
    assert any("its operations" in row.get("more", {}) for row in rows["bandwidth"])
    assert {row["workload"] for row in rows["training"]} == set(training.ORDER)

    text = (tmp_path / "report.md").read_text()
    assert text == done.stdout
    assert "Stand-in (compute capability 9.0" in text
    assert "| sigmoid forward | float32 |" in text
    assert "| W1 | " in text
    for part in PARTS.values():
        assert f"## {part.title}" in text
        assert f"{part.name}: {part.title}" in done.stderr  # progress


@needs_cpu_runner
def test_a_part_that_crashes_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    done = command("--parts", "accuracy,registry", "--out", str(tmp_path / "report.json"), CUPY_ABORTS_AT="philox_advance")
    crashed, through = json.loads((tmp_path / "report.json").read_text())["parts"]
    assert crashed["fault"] == "ended by SIGABRT"
    assert through["fault"] == ""
    assert through["rows"]
    assert "- accuracy: ended by SIGABRT" in done.stdout
    assert done.returncode == 1


def test_without_cupy_it_says_what_to_install() -> None:
    if "cupy" in sys.modules or (os.environ.get("PYTHONPATH") and "cupy_on_path" in os.environ["PYTHONPATH"]):
        pytest.skip("CuPy is here")
    done = command(cupy=False, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert not done.stdout
    assert "needs a GPU" in done.stderr
    assert "pip install gpugrad[cuda13]" in done.stderr or "nvidia-smi" in done.stderr


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    for arguments, text in (["--parts", "nothing"], "no part named nothing"), (["--out", f"{tmp_path}/no/x"], "no folder"):
        done = command(*arguments)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr


# --- parts --------------------------------------------------------------------------------------------------------


def emitted(monkeypatch: pytest.MonkeyPatch, rows: Any) -> list[parts.Row]:
    monkeypatch.setattr("benchmarks.gpu.sanitizer.rows", rows)
    found: list[parts.Row] = []
    worker.run("sanitizer", Settings(10), found.append, lambda line: None)
    return found


def test_a_part_that_raises_keeps_the_rows_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(settings: Settings) -> Any:
        yield {"name": "first"}
        raise ValueError("broken\nin two lines")

    assert emitted(monkeypatch, rows) == [{"name": "first"}, {"fault": "ValueError: broken"}]


def test_a_part_out_of_time_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(settings: Settings) -> Any:
        for name in settings.each("abc"):
            yield {"name": name}
            settings.seconds = 0

    assert emitted(monkeypatch, rows) == [{"name": "a"}, {"fault": "OutOfTime: out of time: 2 of 3 were left out"}]


def test_a_row_that_raises_is_a_row() -> None:
    assert parts.attempt("x", lambda: 1 / 0) == {"name": "x", "fault": "ZeroDivisionError: division by zero"}  # type: ignore


SCRIPT = 'import time; print(\'{"name": "a"}\', flush=True); '


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("time.sleep(60)", "stopped after 1 s"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("print('{\"na')", ""),
        ('print(\'{"fault": "wrong"}\')', "wrong"),
    ],
)
def test_a_process_is_watched(script: str, fault: str) -> None:
    outcome = running.run_part(PARTS["registry"], 1.0, command=[sys.executable, "-c", SCRIPT + script])
    assert outcome.rows == [{"name": "a"}]
    assert outcome.fault == fault


def test_the_parts_fit_into_eight_minutes() -> None:
    seconds = [part.seconds for part in PARTS.values()]
    assert sum(seconds) + (running.GRACE - 1) * max(seconds) < 480 - 10


# --- figures ------------------------------------------------------------------------------------------------------


def test_units_of_the_last_place() -> None:
    exact = np.array([1.0, -1.5, 4.0, 0.0, 1e-46])
    got = exact + np.array([2.0**-23, 2.0**-24, -(2.0**-21), 2.0**-149, 0])
    assert accuracy.ulps(got, exact, "float32").tolist() == [1, 0.5, 1, 1, 0]
    assert accuracy.ulps(np.array([1.0, 2.0**-20]), np.array([1.0, 0.0]), "float32", cancels=True).tolist() == [0, 8192]


def test_a_wrong_kernel_is_a_fault() -> None:
    case = accuracy.Case("k", "float32", [], list, list)
    exact = np.linspace(1, 2, 100)
    assert accuracy._fault([exact * (1 + 1e-7)], [exact], case) == ""
    assert "off by" in accuracy._fault([exact * (1 + 1e-4)], [exact], case)
    assert "off by" in accuracy._fault([exact * np.nan], [exact], case)
    assert "shape (5,), should have (100,)" in accuracy._fault([exact[:5]], [exact], case)


@needs_cpu_runner
def test_pytorch_beside_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    import cuda_cpu

    from gpugrad.cuda.launcher import Launcher

    library = accuracy.Library(Launcher(cuda_cpu, processors=1), cuda_cpu, torch, "cpu")
    seen = 0
    for case in accuracy.cases(small=True):
        if case.torch is not None:
            row = accuracy._measure(case, library)
            assert isinstance(row["torch"], dict), row
            assert not row.get("fault")
            seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ('{"name": "a"}\n========= ERROR SUMMARY: 0 errors\n', ""),
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", ""),
        ("========= Invalid read\n=========     at kernel+0x10\n========= ERROR SUMMARY: 2 errors\n", "2 errors; at kernel+0x10"),
        ("========= Error: no device\n", "no summary: ========= Error: no device"),
    ],
)
def test_what_the_sanitizer_says(output: str, fault: str) -> None:
    row = sanitizer.judge("memcheck", output, 0)
    assert fault in row.get("fault", "")
    assert bool(row.get("fault")) == bool(fault)


def test_a_sanitizer_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    (row,) = sanitizer.rows(Settings())
    assert "pip install nvidia-cuda-sanitizer-api" in row["result"]


def test_training_is_shown_by_workload() -> None:
    def row(peer: str, seconds: float, ratio: float) -> parts.Row:
        return {"name": "W1", "workload": "W1", "peer": peer, "seconds": {"median": seconds}, "ratio": {"median": ratio}}

    rows = [row("gpugrad", 1e-4, 1), row("torch", 2e-4, 2), {"name": "", "workload": "W1", "peer": "jax", "fault": "wrong: x"}]
    assert training.table(rows) == [{"": "W1", "gpugrad": "100 us", "torch": "200 us (2.00)", "jax": "wrong"}]
