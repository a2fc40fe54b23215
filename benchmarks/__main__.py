"""``python -m benchmarks [W1 W2 E1 ...]``: time gpugrad and its peers against NumPy by hand, and print a table."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from .pinning import pin

DEFAULT_PEERS = "numpy,gpugrad,torch,jax,autograd"


def main(arguments: list[str]) -> int:
    """Run the benchmarks that the arguments ask for.

    Parameters
    ----------
    arguments : list of str
        The command line after ``python -m benchmarks``.

    Returns
    -------
    int
        The exit status: 1 if a peer was wrong or failed, else 0.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        cores = pin(options.threads)
    except ValueError as error:
        parser.error(str(error))

    # Only now, with the thread counts in the environment, may NumPy and the others be imported.
    from . import report
    from .peers import MODULES
    from .runner import load_peers, run_workload, run_workload_isolated
    from .workloads import select

    names = [name.strip() for name in options.peers.split(",") if name.strip()]
    if unknown := [name for name in names if name not in MODULES]:
        parser.error(f"no peer named {', '.join(unknown)}; there are {', '.join(MODULES)}")
    try:
        workloads = select(options.workloads)
    except ValueError as error:
        parser.error(str(error))

    peers = load_peers(names, options.threads, _say)
    rows = []
    for workload in workloads:
        _say(f"{workload.name}: {workload.description}")
        limits = (options.budget_seconds, options.repeats, _say)
        if options.isolated:
            rows += run_workload_isolated(workload, list(peers), options.threads, *limits)
        else:
            rows += run_workload(workload, peers, *limits)

    versions = {"python": sys.version.split()[0]}
    for peer in peers.values():
        versions |= peer.versions()
    device = report.describe_device(options.threads, cores)
    print(report.to_markdown(rows, device, versions))
    if options.out:
        command = shlex.join(["python", "-m", "benchmarks", *arguments])
        report.write_json(options.out, rows, device, versions, command)
    return 1 if any(row.fault for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="W1 W1d W2 W3 W4 W5 E1 E2 E3; all if none")
    parser.add_argument(
        "--peers",
        default=DEFAULT_PEERS,
        help="comma-separated, also torch-compile and bare-tape; NumPy always runs (default: %(default)s)",
    )
    parser.add_argument("--threads", type=_positive(int), default=1, help="cores and threads (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=_positive(int), default=200, help="the most rounds to time a workload (default: %(default)s)"
    )
    parser.add_argument(
        "--budget-seconds",
        type=_positive(float),
        default=10.0,
        help="about how long to time a workload, all peers together, but at least 5 rounds (default: %(default)s)",
    )
    parser.add_argument(
        "--isolated",
        action="store_true",
        help="each peer in a process, and so with a heap, of its own; the turns still alternate",
    )
    parser.add_argument("--out", type=Path, help="also write the run to this JSON file")
    return parser


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An argument type: `kind`, and greater than zero."""

    def convert(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be greater than zero, not {text}")
        return value

    return convert


def _say(line: str) -> None:
    """Progress goes to stderr, so that stdout is the table alone."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
