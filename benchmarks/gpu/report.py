"""A run as Markdown for people and as JSON for the results folder."""

from __future__ import annotations

import datetime
import importlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..report import describe_device, line
from .parts import Row
from .running import Outcome

__all__ = ["describe_gpu", "to_markdown", "versions", "write"]

PACKAGES = (
    *("gpugrad", "numpy", "cupy-cuda12x", "cupy-cuda13x", "cupy", "nvidia-cuda-nvrtc", "nvidia-cublas", "ml_dtypes"),
    *("torch", "triton", "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin"),
)


def describe_gpu(cupy: Any) -> dict[str, Any]:
    """The current GPU, its driver, and the machine around it."""
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    driver, toolkit = (int(version()) for version in (runtime.driverGetVersion, runtime.runtimeGetVersion))
    machine = describe_device(0, ())
    return {
        "gpu": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": int(properties["multiProcessorCount"]),
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "driver": _driver_name(),
        "driver_cuda": f"{driver // 1000}.{driver % 1000 // 10}",
        "runtime_cuda": f"{toolkit // 1000}.{toolkit % 1000 // 10}",
        **{key: machine[key] for key in ("cpu", "cores_in_machine", "system")},
    }


def _driver_name() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    return next((word for word in text.split() if word[:1].isdigit() and word.count(".") >= 1), "unknown")


def versions(cupy: Any) -> dict[str, str]:
    """What took part, as far as it is installed."""
    import gpugrad

    found = {"gpugrad": gpugrad.__version__, "CuPy": cupy.__version__}
    for name in PACKAGES:
        try:
            found.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return found


def to_markdown(outcomes: Sequence[Outcome], device: dict[str, Any], versions: dict[str, str], seconds: float) -> str:
    """The goals, then a table for each part, then what went wrong."""
    lines = [
        f"{device['gpu']} (compute capability {device['compute_capability']}, {device['multiprocessors']} multiprocessors,"
        f" {device['memory_gib']} GiB); driver {device['driver']}, CUDA {device['driver_cuda']};"
        f" CUDA {device['runtime_cuda']} runtime; {device['cpu']}, {device['system']}.",
        "; ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        f"The run took {seconds:.0f} s.",
        "",
    ]
    goals = [row for outcome in outcomes for row in outcome.rows if "goal" in row]
    if goals:
        lines += ["Goals:", "", *(f"- {row['name']}: {row['goal']}: **{row['reached']}**" for row in goals), ""]
    for outcome in outcomes:
        lines += [f"## {outcome.part.title}", ""]
        if outcome.fault:
            lines += [f"**{outcome.fault}** ({len(outcome.rows)} rows until then)", ""]
        lines += [*_table(outcome), f"{outcome.seconds:.0f} s.", ""]
    faults = [f"- {outcome.part.name}: {fault}" for outcome in outcomes for fault in outcome.faults]
    return "\n".join([*lines, *(["## Faults", "", *faults] if faults else ["No faults."])])


def _table(outcome: Outcome) -> list[str]:
    rows = _cells(outcome)
    headers = [key for key in dict.fromkeys(key for row in rows for key in row) if any(row.get(key) for row in rows) or not key]
    if not headers:
        return []
    body = [line([str(row.get(key, "")).replace("|", "\\|") for key in headers]) for row in rows]
    return [line(headers), line(["---"] * len(headers)), *body, ""]


def _cells(outcome: Outcome) -> list[Row]:
    if not outcome.rows:
        return []
    return list(importlib.import_module(f".{outcome.part.name}", __package__).table(outcome.rows))


def write(path: Path, outcomes: Sequence[Outcome], device: dict[str, Any], versions: dict[str, str], command: str) -> None:
    """Write all rows of a run to a file, as JSON."""
    record = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": device,
        "versions": versions,
        "parts": [
            {"name": o.part.name, "title": o.part.title, "seconds": round(o.seconds, 1), "fault": o.fault, "rows": o.rows}
            for o in outcomes
        ],
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
