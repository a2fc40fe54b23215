"""``python -m benchmarks.gpu --out FILE``: everything that only a machine with a GPU can tell; the table goes to stdout.

Five parts, each in a process and under a limit of its own; what fails is reported, and the others go on. FILE gets all
figures as JSON, and the table lies beside it with the ending .md. Progress goes to stderr. Takes under eight minutes.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from .parts import PARTS
from .running import run_part

TOTAL_SECONDS = 455.0
"""For all parts; with what starting and stopping them takes, under eight minutes."""


def main(arguments: list[str]) -> int:
    """Run the parts that the arguments ask for.

    Returns
    -------
    int
        0 if all is well, 1 if anything failed or was left out, 2 if there is no GPU or an argument is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file, and the table beside it as .md")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--peers", default="torch,torch-compile,jax", help="libraries to compare with (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command: the figures mean nothing")
    options = parser.parse_args(arguments)
    names = [name.strip() for name in options.parts.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.out is not None and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    cupy = _cupy()
    if cupy is None:
        return 2

    from . import report

    device, versions = report.describe_gpu(cupy), report.versions(cupy)
    _say(f"{device['gpu']}, driver {device['driver']}")
    started, outcomes = time.monotonic(), []
    given = [f"--peers={options.peers}", *(["--small"] if options.small else [])]
    for name in names:
        part = PARTS[name]
        seconds = min(part.seconds, TOTAL_SECONDS - (time.monotonic() - started))
        _say(f"{name}: {part.title}, {seconds:.0f} s at most")
        outcomes.append(run_part(part, max(seconds, 1.0), given))
        _say(f"{name}: {len(outcomes[-1].rows)} rows in {outcomes[-1].seconds:.0f} s; {outcomes[-1].fault or 'through'}")

    text = report.to_markdown(outcomes, device, versions, time.monotonic() - started)
    print(text)
    if options.out is not None:
        command = shlex.join(["python", "-m", "benchmarks.gpu", *arguments])
        report.write(options.out, outcomes, device, versions, command)
        options.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def _cupy() -> object:
    """CuPy with a GPU behind it; or None, having said what to install."""
    try:
        from gpugrad import backend
        from gpugrad.errors import DeviceError
    except ImportError as error:
        _say(f"gpugrad cannot be imported: {error}; pip install -e .[cuda13] in the checkout")
        return None
    try:
        backend.resolve_device("cuda")
    except DeviceError as error:
        _say(f"python -m benchmarks.gpu needs a GPU: {error}")
        return None
    return sys.modules["cupy"]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
