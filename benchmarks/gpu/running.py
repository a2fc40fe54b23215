"""Parts in processes of their own: started, watched, stopped when their time is up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .parts import Part, Row

__all__ = ["Outcome", "run_part"]

ROOT = Path(__file__).parent.parent.parent
GRACE = 1.1
"""A part is told of nine tenths of its time and stopped at this much of it."""


@dataclass
class Outcome:
    """How a part went. `fault` says how the part itself failed; the rows that it gave until then are kept."""

    part: Part
    seconds: float = 0.0
    fault: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that went wrong, a line each."""
        found = [f"{row['name']}: {row['fault']}" for row in self.rows if row.get("fault")]
        return ([self.fault] if self.fault else []) + found


def run_part(part: Part, seconds: float, options: Sequence[str] = (), command: Sequence[str] | None = None) -> Outcome:
    """Run a part for about so many seconds at most.

    Parameters
    ----------
    part : Part
        What to run.
    seconds : float
        Its limit.
    options : sequence of str
        For the worker.
    command : sequence of str, optional
        What to start instead of the worker.
    """
    worker = [sys.executable, "-m", "benchmarks.gpu.worker", part.name, "--seconds", f"{seconds:.1f}", *options]
    shares = min(part.shares, os.cpu_count() or 1)
    commands = [command] if command else [[*worker, "--share", f"{number}/{shares}"] for number in range(shares)]
    outcome, started = Outcome(part), time.monotonic()
    processes = [_Process(command) for command in commands]
    for process in processes:
        rows, fault = process.end(max(0.0, started + seconds * GRACE - time.monotonic()))
        outcome.rows += rows
        outcome.fault = outcome.fault or (f"stopped after {seconds * GRACE:.0f} s" if fault is None else fault)
    outcome.seconds = time.monotonic() - started
    return outcome


class _Process:
    """A process that writes rows."""

    def __init__(self, command: Sequence[str]) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._lines = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=self._lines, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
        )

    def end(self, seconds: float) -> tuple[list[Row], str | None]:
        """Wait for so long, then stop it; its rows, and its fault, None if it was stopped."""
        fault: str | None = ""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            fault = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # with what it started: compilers, the sanitizer
                os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        rows = []
        with self._lines as lines:
            lines.seek(0)
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):  # a last line may be cut off
                    rows.append(json.loads(line))
        for row in [row for row in rows if "name" not in row]:
            rows.remove(row)
            fault = row["fault"]
        if fault == "" and code:
            fault = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return rows, fault
