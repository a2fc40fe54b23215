"""What the tests of CUDA kernels share: dtypes, tolerances, guarded arrays, every schedule of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cuda_cpu
import numpy as np
import pytest

from gpugrad.cuda.launcher import Launcher

needs_cpu_runner = pytest.mark.skipif(cuda_cpu.missing() is not None, reason=str(cuda_cpu.missing()))

try:
    from ml_dtypes import bfloat16
except ImportError:
    DTYPES = ["float16", "float32", "float64"]
    EPS: dict[str, float] = {}
else:
    DTYPES = ["float16", "bfloat16", "float32", "float64"]
    EPS = {"bfloat16": 2.0**-8}
EPS |= {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
"""Half the distance of neighbours near 1: the most that rounding changes a number by, relatively."""
SMALLEST = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 2.0**-1074}
"""Distance of neighbours near 0."""


def dtype_of(name: str) -> Any:
    return np.dtype(bfloat16) if name == "bfloat16" else np.dtype(name)


SHAPES = [
    *[(shape, 0) for shape in ((0, 5), (5, 0), (1, 1), (3, 10), (37, 64), (130, 33), (600, 8), (5, 400), (5, 800), (3, 2100))],
    ((37, 64), 1),
]
"""Matrices, and by how many elements they miss a multiple of 16 bytes."""


def matrix(shape: tuple[int, ...], dtype: str, offset: int = 0, seed: int = 0) -> Any:
    """Normal numbers in a guarded array."""
    values = np.random.default_rng((seed, *shape)).standard_normal(shape)
    return cuda_cpu.array(values, dtype_of(dtype), offset=offset * dtype_of(dtype).itemsize)


def launcher() -> Launcher:
    """A small device, so that loops over the grid are walked more than once."""
    return Launcher(cuda_cpu, processors=1)


def run(call: Callable[[], Any]) -> Any:
    """What a launch gives: the same bits under every schedule, or a barrier is missing."""
    first: Any = None
    for schedule in cuda_cpu.SCHEDULES:
        with cuda_cpu.schedule(schedule):
            result = call()
        first = result if first is None else first
        for one, other in zip(_arrays(first), _arrays(result), strict=True):
            assert one.tobytes() == other.tobytes(), f"the result depends on the schedule: {schedule}"
    return first


def _arrays(result: Any) -> list[Any]:
    return [a for a in (result if isinstance(result, tuple) else (result,)) if a is not None]


def assert_close(got: Any, expected: Any, dtype: str, relative: float, absolute: Any = 0.0) -> None:
    """Results in `dtype` miss the expected by so many roundings of the expected, and of `absolute`; nan where expected."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    with np.errstate(invalid="ignore"):
        error = np.abs(got - expected) - EPS[dtype] * (relative * np.abs(expected) + absolute) - SMALLEST[dtype]
    if (worst := error[finite].max(initial=-1)) > 0 or np.isnan(got[finite]).any():
        at = np.argmax(np.where(finite, np.where(np.isnan(got), np.inf, error), -1))
        raise AssertionError(f"element {at}: got {got.flat[at]!r}, expected {expected.flat[at]!r}: {worst:.2g} too far")
