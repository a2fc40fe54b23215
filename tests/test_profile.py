"""profile: what is counted, as what, on which line; the peak and who holds it; the trace file."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backend, nn
from gpugrad.watchers.profiler import Profile


def calls(profile: Profile) -> dict[tuple[str, str], int]:
    return {(row.name, row.phase): row.calls for row in profile.by_op()}


def made(profile: Profile) -> dict[tuple[str, str], int]:
    return {(row.name, row.phase): row.nbytes for row in profile.by_op()}


def test_ops_forward_backward_and_updates_are_counted() -> None:
    p = nn.Parameter(np.ones((10, 10)))
    optimizer = gg.optim.SGD([p], lr=0.1)
    with gg.profile() as profile:
        for _ in range(3):
            optimizer.zero_grad()
            (gg.exp(p) @ p).sum().backward()
            optimizer.step()
    ops = {(name, phase): 3 for name in ("exp", "matmul", "sum") for phase in ("forward", "backward")}
    assert calls(profile) == ops | {("sgd_", "update"): 3}
    assert made(profile)["exp", "forward"] == 3 * 800
    assert made(profile)["matmul", "backward"] == 3 * 1600
    assert made(profile)["sgd_", "update"] == 0
    assert not backend.detours


def test_lines_take_forward_and_backward_together() -> None:
    x = gg.tensor(np.ones(1000), requires_grad=True)
    with gg.profile() as profile:
        y = gg.exp(x)
        z = gg.sin(y).sum()
        z.backward()
    rows = {row.name: row for row in profile.by_line()}
    where, functions = "test_profile.py:", "in test_lines_take_forward_and_backward_together"
    assert {name.partition(": ")[2]: row.calls for name, row in rows.items()} == {"y = gg.exp(x)": 2, "z = gg.sin(y).sum()": 4}
    assert all(name.startswith(where) and functions in name for name in rows)
    assert {row.nbytes for row in rows.values()} == {16000}


def test_time_is_that_of_the_ops() -> None:
    class Slow(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            time.sleep(0.02)
            return grad * 2

    x = gg.tensor([1.0], requires_grad=True)
    with gg.profile() as profile:
        time.sleep(0.02)
        Slow.apply(x).sum().backward()
    rows = {(row.name, row.phase): row for row in profile.by_op()}
    assert profile.by_op()[0] == rows["Slow", "backward"]
    assert rows["Slow", "backward"].seconds >= 0.02
    assert sum(row.seconds for row in rows.values()) <= profile.seconds - 0.02
    assert profile.seconds >= 0.04
    assert rows["multiply", "forward"].calls == 2  # the backward of a Function is a program of its own


def test_a_backward_on_tensors_counts_as_its_rules() -> None:
    with gg.profile() as profile:
        gg.grad(gg.grad(lambda x: gg.sin(x)))(1.0)
    assert {name for name, _ in calls(profile)} <= {"sin", "cos", "alias", "multiply", "negative", "add"}
    assert calls(profile)["sin", "forward"] == 1
    with gg.profile() as profile:
        gg.jvp(gg.sin, (1.0,), (1.0,))
    assert calls(profile)["sin", "tangent"] == 1


def test_a_checkpoint_shows_its_second_forward() -> None:
    x = gg.tensor(np.ones(5), requires_grad=True)
    with gg.profile() as profile:
        gg.checkpoint(lambda x: gg.exp(gg.sin(x)), x).sum().backward()
    assert calls(profile)["exp", "forward"] == 2
    assert calls(profile)["exp", "backward"] == 1


def test_the_peak_and_who_holds_it() -> None:
    x = np.ones(100_000)
    with gg.profile() as profile:
        t = gg.asarray(x)
        first = gg.exp(t)
        second = gg.sin(first)
        del first
        third = gg.cos(t)
        del third, second
        for _ in range(5):
            gg.sqrt(t)  # never more than one at a time
    assert profile.peak == 3 * x.nbytes
    held = {name.partition(",")[0]: nbytes for name, nbytes in profile.at_peak()}
    assert held == {"given to ops": x.nbytes, "exp forward": x.nbytes, "sin forward": x.nbytes}


def test_views_take_no_memory() -> None:
    x = gg.tensor(np.ones((10, 10)), requires_grad=True)
    with gg.profile() as profile:
        x.reshape(100).T.sum().backward()
    assert profile.peak < 2 * x.nbytes
    assert made(profile)["reshape", "forward"] == 0


def test_the_table() -> None:
    x = gg.tensor(np.ones(1000), requires_grad=True)
    with gg.profile() as profile:
        gg.exp(x).sum().backward()
    text = str(profile).splitlines()
    assert text[0].startswith("4 ops took ")
    assert text[0].endswith("at most 24.1 kB were held by arrays")
    op, line = (next(i for i, row in enumerate(text) if row.split()[:1] == [word]) for word in ("op", "line"))
    assert text[op].split() == ["op", "calls", "time", "share", "made"]
    assert {tuple(row.split()[:3]) for row in text[op + 1 : op + 5]} == {
        (name, phase, "1") for name in ("exp", "sum") for phase in ("forward", "backward")
    }
    assert text[line + 1].startswith("test_profile.py:")
    assert "held at the peak" in text
    assert repr(profile).startswith("<Profile of 4 ops in ")


def test_an_empty_block() -> None:
    with gg.profile() as profile:
        pass
    assert profile.by_op() == profile.by_line() == profile.at_peak() == []
    assert str(profile).startswith("0 ops took 0 ns of ")


def test_what_was_measured_stays_when_the_block_fails() -> None:
    def fail() -> None:
        gg.exp(gg.ones(3))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), gg.profile() as profile:
        fail()
    assert calls(profile) == {("exp", "forward"): 1}
    assert not backend.detours


def test_the_trace_file(tmp_path: Path) -> None:
    x = gg.tensor(np.ones(1000), requires_grad=True)
    with gg.profile() as profile:
        gg.exp(x).sum().backward()
    profile.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    ops = [event for event in events if event["ph"] == "X"]
    assert [(event["name"], event["cat"]) for event in ops] == [
        ("exp", "forward"), ("sum", "forward"), ("sum", "backward"), ("exp", "backward")
    ]  # fmt: skip
    assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(ops))
    assert all("test_profile.py:" in event["args"]["line"] for event in ops)
    memory = [event["args"]["bytes"] for event in events if event["ph"] == "C"]
    assert max(memory) == profile.peak
    assert {event["tid"] for event in ops} == {1}


def test_both_watchers_at_once() -> None:
    with gg.profile() as profile, gg.detect_anomaly(), pytest.raises(gg.AnomalyError):
        gg.sqrt(gg.tensor([0.0], requires_grad=True)).backward()
    assert calls(profile)["sqrt", "forward"] == 1


def test_on_a_gpu_times_are_the_devices(tmp_path: Path) -> None:
    with cupy_standin.installed():
        x, ones = gg.ones(1000, device="cuda", requires_grad=True), gg.ones(1000, device="cuda")
        with gg.profile() as profile:
            gg.exp(x).backward(ones)
            assert cupy_standin.cuda.synchronizations == 0
        assert cupy_standin.cuda.synchronizations == 1
        assert cupy_standin.cuda.nvtx.ranges == ["exp forward", "pop", "exp backward", "pop"]
        assert all(row.seconds > 0 for row in profile.by_op())
        profile.save_trace(tmp_path / "trace.json")
        events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
        assert [event["name"] for event in events if event.get("tid") == 2] == ["thread_name", "exp", "exp"]
        assert cupy_standin.cuda.synchronizations == 1
