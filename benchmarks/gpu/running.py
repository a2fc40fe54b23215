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
    command = command or [sys.executable, "-m", "benchmarks.gpu.worker", part.name, "--seconds", f"{seconds:.1f}", *options]
    outcome, started = Outcome(part), time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        process = subprocess.Popen(command, stdout=lines, env=environment, start_new_session=True)
        try:
            process.wait(seconds * GRACE)
        except subprocess.TimeoutExpired:
            outcome.fault = f"stopped after {seconds * GRACE:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # with what it started: compilers, the sanitizer
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines.seek(0)
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # a last line may be cut off
                outcome.rows.append(json.loads(line))
    for row in [row for row in outcome.rows if "name" not in row]:
        outcome.rows.remove(row)
        outcome.fault = row["fault"]
    if not outcome.fault and process.returncode:
        code = process.returncode
        outcome.fault = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    outcome.seconds = time.monotonic() - started
    return outcome
