"""``python -m benchmarks.ops [NAME ...]``: single ops, forward and backward, against PyTorch and NumPy/SciPy by hand.

It is there to find traps: calls that cost several times what a user of PyTorch would expect. The two libraries take turns
in one process, on one thread, after their results and gradients have been compared.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pinning import pin

if TYPE_CHECKING:
    from .op_cases import Case

Row = dict[str, Any]
LOOSE = {"float32": 2e-3, "float64": 1e-7}
"""How far the two may differ before a case is called wrong; PyTorch has some constants in float32 alone."""
RANDOM = ("dropout",)


def main(arguments: list[str]) -> int:
    """Time the calls that the arguments name, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names or kinds of calls; all if none")
    parser.add_argument("--dtypes", default="float32,float64", help="comma-separated (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="cores and threads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each library (default: %(default)s)")
    parser.add_argument("--trap", type=float, default=3.0, help="mark ratios to PyTorch above this (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the run to this JSON file")
    options = parser.parse_args(arguments)
    cores = pin(options.threads)

    from .op_cases import CASES
    from .report import describe_device

    chosen = [c for c in CASES.values() if not options.names or any(n in c.name or n == c.kind for n in options.names)]
    if not chosen:
        parser.error(f"no call matches {' '.join(options.names)}; there are {', '.join(CASES)}")
    device, found = describe_device(options.threads, cores), _versions(options.threads)
    dtypes = options.dtypes.split(",")
    rows = []
    for case in chosen:
        rows.append({"name": case.name, "kind": case.kind} | {dtype: measure(case, dtype, options.rounds) for dtype in dtypes})
        print(rows[-1], file=sys.stderr, flush=True)
    print(to_markdown(rows, dtypes, options.trap, device, found))
    if options.out:
        command = shlex.join(["python", "-m", "benchmarks.ops", *arguments])
        lines = ",\n".join(json.dumps(row) for row in rows)
        head = json.dumps({"command": command, "device": device, "versions": found}, indent=1).removesuffix("\n}")
        options.out.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    return 1 if any(row[dtype]["fault"] for row in rows for dtype in dtypes) else 0


def _versions(threads: int) -> dict[str, str]:
    import numpy
    import torch

    torch.set_num_threads(threads)
    return {"python": sys.version.split()[0], "numpy": numpy.__version__, "torch": torch.__version__}


def measure(case: Case, dtype: str, rounds: int) -> Row:
    """Milliseconds in both libraries, and the median ratio to PyTorch and to what is written by hand."""
    import numpy

    from .harness import calls_per_turn, in_process, interleave, ratios

    steps, fault = _steps(case, dtype)
    turns = {name: in_process(step) for name, step in steps.items()}
    calls = {name: calls_per_turn(turn, 0.01) for name, turn in turns.items()}
    seconds = interleave(turns, rounds, calls=calls)
    row: Row = {"ms": _three(1e3 * statistics.median(seconds["gpugrad"])), "fault": fault}
    for other in ("torch", "by hand"):
        if other in seconds:
            row[other] = _three(statistics.median(ratios(seconds["gpugrad"], seconds[other])))
    assert numpy.isfinite(row["ms"])
    return row


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _steps(case: Case, dtype: str) -> tuple[dict[str, Callable[[], Any]], str]:
    """What to time, by name, and in what the two libraries differ."""
    import numpy
    import torch

    import gpugrad as gg

    inputs = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.inputs(numpy.random.default_rng(0))]
    floating = [a.dtype.kind == "f" for a in inputs]
    ours = [gg.tensor(a, requires_grad=True) if f else a for a, f in zip(inputs, floating, strict=True)]
    theirs = [torch.tensor(a, requires_grad=f) for a, f in zip(inputs, floating, strict=True)]
    with gg.no_grad():
        shape = case.ours(gg, gg.nn.functional, *ours).shape
    cotangent = numpy.random.default_rng(1).standard_normal(shape).astype(dtype)
    steps = {
        "gpugrad": _step(case.ours, (gg, gg.nn.functional), ours, floating, gg.tensor(cotangent)),
        "torch": _step(case.theirs, (torch, torch.nn.functional), theirs, floating, torch.tensor(cotangent)),
    }
    mine, reference = (
        [a.detach().numpy() for a in (step(), *[x.grad for x, f in zip(leaves, floating, strict=True) if f])]
        for step, leaves in ((steps["gpugrad"], ours), (steps["torch"], theirs))
    )
    fault = "" if case.name in RANDOM else _difference(mine, reference, LOOSE[dtype])
    if case.by_hand is not None and not _missing("scipy"):
        by_hand = case.by_hand
        if not fault:
            fault = _difference(by_hand(*inputs, cotangent), reference, LOOSE[dtype]) and "by hand it is another function"
        steps["by hand"] = lambda: by_hand(*inputs, cotangent)
    return steps, fault


def _step(call: Callable[..., Any], modules: Any, inputs: list[Any], floating: list[bool], cotangent: Any) -> Callable[[], Any]:
    leaves = [x for x, f in zip(inputs, floating, strict=True) if f]

    def step() -> Any:
        for leaf in leaves:
            leaf.grad = None
        out = call(*modules, *inputs)
        out.backward(cotangent)
        return out

    return step


def _difference(found: Any, expected: Any, tolerance: float) -> str:
    import numpy

    for i, (a, b) in enumerate(zip(found, expected, strict=False)):
        if a.shape != b.shape:
            return f"shape {a.shape} against {b.shape}"
        off = float(numpy.abs(a - b).max() / (numpy.abs(b).max() + 1e-30))
        if not off <= tolerance:
            return f"{'result' if i == 0 else f'gradient {i - 1}'} off by {off:.1e}"
    return ""


def _missing(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is None


def to_markdown(rows: list[Row], dtypes: list[str], trap: float, device: Row, versions: dict[str, str]) -> str:
    """The table: a line for each call, ratios above `trap` in bold."""
    from .report import line

    lines = [
        f"{device['cpu']}, {device['threads']} thread(s); " + ", ".join(f"{k} {v}" for k, v in versions.items()) + ".",
        "",
        "Forward and backward, time as a ratio to PyTorch and to NumPy/SciPy by hand: medians of interleaved turns.",
        "",
        line(["", *[f"{d}{part}" for d in dtypes for part in (", ms", " / torch", " / by hand")]]),
        line(["---"] * (1 + 3 * len(dtypes))),
    ]
    kind = None
    for row in rows:
        if row["kind"] != kind:
            kind = row["kind"]
            lines.append(line([f"*{kind}*", *[""] * (3 * len(dtypes))]))
        cells = []
        for figures in (row[dtype] for dtype in dtypes):
            mark = "**" if figures["torch"] > trap else ""
            cells += [f"{figures['ms']:g}", f"{mark}{figures['torch']:.2f}{mark}"]
            cells.append(f"{figures['by hand']:.2f}" if "by hand" in figures else "")
        lines.append(line([row["name"], *cells]))
    faults = [f"- {row['name']}, {d}: {row[d]['fault']}" for row in rows for d in dtypes if row[d]["fault"]]
    return "\n".join([*lines, *(["", "Faults:", "", *faults] if faults else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
