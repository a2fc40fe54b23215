"""The benchmark harness: what it measures, what it refuses, and that the command runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import check, harness
from benchmarks.peers import by_hand, with_gpugrad
from benchmarks.workloads import WORKLOADS, make_problem

ROOT = Path(__file__).parent.parent


def test_interleave_times_every_step_in_every_round() -> None:
    calls: list[str] = []
    turns = {name: harness.in_process(lambda name=name: calls.append(name)) for name in "ab"}
    seconds = harness.interleave(turns, 5, warmup=2, calls={"b": 3})
    assert {name: len(values) for name, values in seconds.items()} == {"a": 5, "b": 5}
    assert (calls.count("a"), calls.count("b")) == (7, 21)
    assert all(value > 0 for values in seconds.values() for value in values)


def test_ratios_are_taken_round_by_round() -> None:
    assert harness.ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    middle = harness.spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (middle.p20, middle.median, middle.p80) == pytest.approx((1.8, 3.0, 4.2))


@pytest.mark.parametrize("name", ["W1", "W1d", "W2", "W4", "E1-1e3", "E2"])
def test_both_numpy_and_gpugrad_compute_what_is_timed(name: str) -> None:
    workload = WORKLOADS[name]
    problem = make_problem(workload)
    for peer in (by_hand, with_gpugrad):
        assert check.fault_in_answers(workload, problem, peer.build(workload, problem)) == ""


def test_a_peer_with_a_wrong_gradient_is_found_out() -> None:
    workload = WORKLOADS["W2"]
    problem = make_problem(workload)
    case = with_gpugrad.build(workload, problem)

    def wrong() -> tuple[float, list[np.ndarray]]:
        loss, gradients = case.gradients()
        return loss, [gradients[0] * 1.01, *gradients[1:]]

    assert "gradient 0 is off" in check.fault_in_answers(workload, problem, replace(case, gradients=wrong))


def run_module(*arguments: object) -> str:
    """What ``python -m`` prints; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", [[], ["--isolated"]], ids=["together", "isolated"])
def test_the_command_writes_a_table_and_a_file(tmp_path: Path, mode: list[str]) -> None:
    out = tmp_path / "result.json"
    shown = run_module("benchmarks", "W2", "E2", "--peers", "numpy,gpugrad", "--repeats", "3", "--out", out, *mode)
    assert "| W2 |" in shown
    assert "microseconds per operation" in shown
    assert "W2" in json.dumps(json.loads(out.read_text()))


def test_the_command_for_single_ops_compares_before_it_times(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "ops.json"
    run_module("benchmarks.ops", "mean, axis 1", "x[rows]", "--rounds", "1", "--dtypes", "float64", "--out", out)
    assert [row["name"] for row in json.loads(out.read_text())["rows"]] == ["mean, axis 1", "x[rows]"]


def test_a_wrong_result_of_a_single_op_is_found_out() -> None:
    from benchmarks.ops import _difference

    right = [np.ones(3), np.arange(3.0)]
    assert _difference(right, right, 1e-9) == ""
    assert _difference([right[0], right[1] * 1.01], right, 1e-3).startswith("gradient 0 off by")
    assert _difference([np.full(3, np.nan), right[1]], right, 1e-3).startswith("result off by")
