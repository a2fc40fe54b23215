"""Every barrier in the kernels is needed, and the CPU runner sees when it is missing: each is taken out in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import launcher, matrix, needs_cpu_runner

from gpugrad.cuda import compiler, kernels, optimizers
from gpugrad.cuda.launcher import Launcher

pytestmark = needs_cpu_runner
BARRIER = "__syncthreads();"


def sums(call: Any, *shapes: tuple[int, int]) -> Callable[[Launcher], list[Any]]:
    """Also of matrices that are not aligned, where a block has several tiles."""
    return lambda launch: [call(launch, matrix(shape, "float32", offset)) for shape in shapes for offset in (0, 1)]


def total(launch: Launcher) -> list[Any]:
    ids = cuda_cpu.array(np.arange(500) % 30)
    mean = cuda_cpu.empty(1)
    return [kernels.cross_entropy(launch, matrix((500, 30), "float32"), ids, mean=mean, total=True).total, mean]


def adam(launch: Launcher) -> list[Any]:
    p, g, m, v = ([cuda_cpu.array(np.full(500, 0.5, np.float32))] for _ in range(4))
    rate = cuda_cpu.array(np.array(0.125))
    optimizers.adam(launch, optimizers.tensor_table(launch, p, g, m, v), rate, rate)
    return p


RUNS: dict[str, tuple[str, str, Callable[[Launcher], list[Any]]]] = {
    "sum_columns": ("reduce", "columns.cuh", sums(kernels.sum_columns, (600, 8), (40, 1000))),
    "sum_rows": ("reduce", "rows.cuh", sums(kernels.sum_rows, (600, 2000), (2, 50000))),
    "sum_rows in parts": ("reduce", "common.cuh", sums(kernels.sum_rows, (2, 50000))),
    "cross_entropy": ("softmax_cross_entropy", "common.cuh", total),
    "mean of cross_entropy": ("softmax_cross_entropy", "softmax_cross_entropy.cu", total),
    "adam": ("optimizers", "optimizers.cu", adam),
}
"""Launches that pass the barriers of a file, and the source in which those stand."""


def barriers(file: str, header: str) -> list[tuple[int, str]]:
    """Where the barriers of a source stand in the text of a file, and the function that each is in."""
    code, found, here, function = compiler.source(file), [], "", ""
    at = 0
    for line in code.splitlines(keepends=True):
        if line.startswith("#line"):
            here = line.split('"')[1]
        elif "inline" in line or "__global__" in line:
            function = line
        if BARRIER in line and here == header:
            found.append((at + line.index(BARRIER), function))
        at += len(line)
    return found


CASES = [
    pytest.param(run, n, id=f"{run}-{n}")
    for run, (file, header, _) in RUNS.items()
    for n, (_, function) in enumerate(barriers(file, header))
    if header != "common.cuh" or ("sum_block" in function) == (run == "cross_entropy")
]
BETWEEN_BLOCKS = "sum_rows in parts-0"
"""Keeps a block from being counted before all of its threads have written: blocks run one after another here."""


@pytest.mark.parametrize(("run", "n"), CASES)
def test_a_barrier_taken_out_is_missed(run: str, n: int, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    file, header, call = RUNS[run]
    expected = [out.tobytes() for out in call(launcher())]
    code, (at, _) = compiler.source(file), barriers(file, header)[n]
    planted = code[:at] + " " * len(BARRIER) + code[at + len(BARRIER) :]
    monkeypatch.setattr("gpugrad.cuda.launcher.source", lambda _: planted)
    noticed = False
    for schedule in cuda_cpu.SCHEDULES:
        with cuda_cpu.schedule(schedule):
            try:
                noticed |= [out.tobytes() for out in call(launcher())] != expected
            except cuda_cpu.KernelError:
                noticed = True
    assert noticed == (request.node.callspec.id != BETWEEN_BLOCKS)


def test_every_barrier_is_taken_out() -> None:
    texts = [path.read_text(encoding="utf-8") for path in compiler.kernel_folder().glob("*.cu*")]
    assert sum(text.count(BARRIER) for text in texts) == len(CASES)
