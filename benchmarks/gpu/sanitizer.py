"""The kernels at small sizes under NVIDIA's compute-sanitizer: accesses out of bounds, races, barriers that not all reach."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .parts import Row, Settings, attempt

__all__ = ["find", "rows", "table"]

TOOLS = ("memcheck", "racecheck", "synccheck")
MISSING = "compute-sanitizer is not installed: pip install nvidia-cuda-sanitizer-api, or install the CUDA toolkit"


def find() -> str | None:
    """The program: on the path, in CUDA's pip wheels, or in the toolkit's usual place."""
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else map(Path, spec.submodule_search_locations or [])
    inside = [path for root in roots for path in sorted(root.glob("*/compute-sanitizer/compute-sanitizer"), reverse=True)]
    usual = [*inside, Path("/usr/local/cuda/bin/compute-sanitizer")]
    return shutil.which("compute-sanitizer") or next((str(path) for path in usual if path.is_file()), None)


def rows(settings: Settings) -> Iterator[Row]:
    """A row for each of its tools; one that says so where it is missing."""
    program = find()
    if program is None:
        yield {"name": "compute-sanitizer", "result": MISSING}
        return
    for number, tool in settings.each(enumerate(TOOLS)):
        seconds = settings.left() / (len(TOOLS) - number)
        yield attempt(tool, functools.partial(_run, program, tool, seconds))


def table(rows: list[Row]) -> list[dict[str, str]]:
    """What each tool said."""
    return [{"tool": row["name"], "result": row.get("result", ""), "fault": row.get("fault", "")} for row in rows]


def _run(program: str, tool: str, seconds: float) -> Row:
    kernels = [sys.executable, "-m", "benchmarks.gpu.worker", "accuracy", "--small", "--unpooled"]
    kernels += ["--seconds", f"{seconds:.1f}"]
    try:
        done = subprocess.run([program, "--tool", tool, *kernels], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        return {"fault": f"stopped after {seconds:.0f} s, {_kernels(output)} kernels through"}
    return judge(tool, done.stdout + done.stderr, done.returncode)


def judge(tool: str, output: str, status: int) -> Row:
    """What a tool's output says."""
    # memcheck and synccheck: "ERROR SUMMARY: 0 errors"; racecheck: "RACECHECK SUMMARY: 0 hazards displayed (0 errors, ...)"
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) .*", output)
    if summary is None:
        last = next((line for line in reversed(output.splitlines()) if line.strip()), f"status {status}")
        return {"fault": f"no summary: {last[:200]}"}
    found: Row = {"result": f"{summary[0]}, {_kernels(output)} kernels"}
    first = next((line.lstrip("= ") for line in output.splitlines() if line.startswith("=========") and " at " in line), "")
    return found | ({"fault": f"{summary[0]}; {first}"} if int(summary[1]) else {})


def _kernels(output: str) -> int:
    return len(re.findall(r'^\{"name": ', output, flags=re.MULTILINE))
