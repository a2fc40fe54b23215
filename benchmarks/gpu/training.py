"""W1 to W6 and E1 to E3 on the GPU, gradients checked first, beside PyTorch eager, torch.compile and JAX's jit.

The programs are those of ``benchmarks/peers``, with a device. A turn is many steps and one wait for the GPU at its end, as in
training. Libraries that compile for long come last, so that what they take goes to nobody else's account.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..report import format_seconds
from ..runner import Row as Timing
from ..runner import load_peers, run_workload
from ..workloads import GPU_WORKLOADS, Workload, make_problem, smaller
from .parts import Row, Settings, reason

__all__ = ["rows", "table"]

OURS = "gpugrad"
SMALL_SCALE = 64
COMPILING = 15.0
"""Seconds without which torch.compile is not begun."""
ORDER = ("W1", "W2", "W3", "W4", "W5", "W6", "E1-1e8", "E2", "E3", "W6-bf16", "E1-1e5", "E1-1e3", "W1d")
"""What is asked for first comes first, should the time not suffice."""


def rows(settings: Settings) -> Iterator[Row]:
    """A row for each workload and library."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory when it starts
    notes: list[str] = []
    at_once = [name for name in settings.peers if name != "torch-compile"]
    for names in (at_once, [name for name in settings.peers if name == "torch-compile"]):
        peers = load_peers([OURS, *names], threads=os.cpu_count() or 1, say=notes.append)
        peers = {name: peer for name, peer in peers.items() if name in (OURS, *names) and _usable(name, peer, notes)}
        if names is not at_once and len(peers) == 1:
            continue
        for number, name in settings.each(enumerate(ORDER)):
            if names is not at_once and settings.left() < COMPILING:
                notes.append(f"{names[0]}: no time for {', '.join(ORDER[number:])}")
                break
            workload = GPU_WORKLOADS[name]
            if settings.small:
                workload = smaller(workload, SMALL_SCALE)
            budget = min(0.1 if settings.small else 3.0, settings.left() / (len(ORDER) - number) * 0.3)
            for row in _run(workload, peers, budget):
                if names is at_once or row["peer"] != OURS:
                    yield row
            _release()
    for note in notes:
        yield {"name": note, "peer": ""}


def _usable(name: str, peer: Any, notes: list[str]) -> bool:
    """Whether a library can compute on the GPU at all; ours is measured even if not, so that its faults are seen."""
    if name == OURS:
        return True
    workload = smaller(GPU_WORKLOADS["E1-1e3"], SMALL_SCALE)
    try:
        peer.build(workload, make_problem(workload), device="cuda").gradients()
    except Exception as error:
        notes.append(f"{name}: skipped, cannot use the GPU ({reason(error)})")
        return False
    return True


def _release() -> None:
    """Give back what the libraries keep for later: each has a pool of its own."""
    gc.collect()
    sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def _run(workload: Workload, peers: Any, budget: float) -> Iterator[Row]:
    try:
        timings: list[Timing] = run_workload(workload, peers, budget, 50, lambda line: None, device="cuda", baseline=OURS)
    except Exception as error:
        yield {"name": f"{workload.name} {OURS}", "workload": workload.name, "peer": OURS, "fault": f"failed: {reason(error)}"}
        return
    measured = any(timing.peer == OURS and timing.seconds for timing in timings)
    for timing in timings:
        row = {key: value for key, value in asdict(timing).items() if value not in (None, "")}
        if not measured:
            row.pop("ratio", None)  # of another's time
        yield {"name": f"{workload.name} {timing.peer}"} | row


def table(rows: list[Row]) -> list[dict[str, str]]:
    """A line for each workload: each library's time, and how many times gpugrad's that is."""
    timed = [row for row in rows if row["peer"]]
    peers = list(dict.fromkeys([OURS, *(row["peer"] for row in timed)]))
    lines: dict[str, dict[str, str]] = {}
    for row in timed:
        line = lines.setdefault(row["workload"], {"": row["workload"]} | dict.fromkeys(peers, ""))
        line[row["peer"]] = _cell(row)
    return [*lines.values(), *({"": row["name"]} for row in rows if not row["peer"])]


def _cell(row: Row) -> str:
    if "seconds" not in row:
        return row["fault"].partition(":")[0]
    times = f" ({row['ratio']['median']:.2f})" if row["peer"] != OURS and "ratio" in row else ""
    return format_seconds(row["seconds"]["median"]) + times + (" (!)" if row.get("fault") else "")
