"""A run as a Markdown table for people and as JSON for the results folder."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .harness import Spread
from .runner import BASELINE, Row
from .workloads import WORKLOADS

__all__ = ["describe_device", "format_seconds", "line", "to_markdown", "write_json"]


def describe_device(threads: int, cores: Sequence[int]) -> dict[str, Any]:
    """The processor, and how much of it the run was held to."""
    return {
        "cpu": _processor(),
        "cores_in_machine": os.cpu_count(),
        "cores_pinned": len(cores),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
    }


def to_markdown(rows: Sequence[Row], device: dict[str, Any], versions: dict[str, str]) -> str:
    """Lay a run out as a table: a line for each workload, a column for each peer.

    Parameters
    ----------
    rows : sequence of Row
        From `run_workload`, workload by workload.
    device : dict
        From `describe_device`.
    versions : dict of str to str
        Names and versions of what took part.

    Returns
    -------
    str
        Markdown.
    """
    peers = list(dict.fromkeys(row.peer for row in rows if row.peer != BASELINE))
    cells = {(row.workload, row.peer): _cell(row) for row in rows}
    baseline = {row.workload: row for row in rows if row.peer == BASELINE}
    lines = [
        f"{device['cpu']}; {device['threads']} thread(s), held to {device['cores_pinned'] or 'no'} core(s)"
        f" of {device['cores_in_machine']}; {device['system']}.",
        "; ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        "Time as a ratio to NumPy by hand in the same round: median (p20-p80). Below 1 is faster.",
        "",
        line(["", "NumPy by hand", *peers, "rounds"]),
        line(["---"] * (len(peers) + 3)),
    ]
    for name, row in baseline.items():
        others = [cells.get((name, peer), "") for peer in peers]
        lines.append(line([name, _baseline_cell(row), *others, str(row.rounds)]))
    lines += ["", *(f"- {name}: {WORKLOADS[name].description}" for name in baseline)]
    return "\n".join(lines + _chain_lines(rows) + _fault_lines(rows))


def write_json(path: Path, rows: Sequence[Row], device: dict[str, Any], versions: dict[str, str], command: str) -> None:
    """Write a run to a file; what is in it is described in ``results/README.md``."""
    record = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": device,
        "versions": versions,
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def format_seconds(seconds: float) -> str:
    """Three significant digits in the unit that suits: ``334 us``, ``7.02 ms``, ``1.20 s``."""
    for scale, unit in ((1e-6, "us"), (1e-3, "ms"), (1.0, "s")):
        value = seconds / scale
        if value < 999.5 or unit == "s":
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("unreachable: the last unit takes everything")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _cell(row: Row) -> str:
    if row.ratio is None:
        return row.fault.partition(":")[0]
    return _spread_text(row.ratio) + (" (!)" if row.fault else "")


def _spread_text(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.p20:.2f}-{ratio.p80:.2f})"


def _baseline_cell(row: Row) -> str:
    return format_seconds(row.seconds.median) if row.seconds else row.fault


def _chain_lines(rows: Sequence[Row]) -> list[str]:
    """Microseconds per operation, forward and backward, where a workload counts operations."""
    chains = [row for row in rows if row.microseconds_per_op is not None]
    if not chains:
        return []
    figures = ", ".join(f"{row.peer} {row.microseconds_per_op:.2f}" for row in chains)
    return ["", f"{chains[0].workload}, microseconds per operation, forward and backward: {figures}."]


def _fault_lines(rows: Sequence[Row]) -> list[str]:
    faults = [f"- {row.workload}, {row.peer}: {row.fault}" for row in rows if row.fault]
    return ["", "Faults:", "", *faults] if faults else []
