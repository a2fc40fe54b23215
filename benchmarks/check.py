"""Does a peer compute what it is timed for? Asked before the clock starts, and once more after it has stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .peers import Case
from .reference import reference_gradients, reference_parameters
from .workloads import Problem, Workload

__all__ = ["fault_in_answers", "fault_in_state", "relative_error"]

Array = npt.NDArray[Any]

UPDATES = 3
"""Training steps before parameters are compared: momentum and Adam's corrections show from the second on."""

# Distance to float64 that rounding alone may cause, over the norm of the whole array. In float32 a ReLU input within
# rounding of zero can fall on the other side, which moves a gradient's norm by far more than an epsilon.
_TOLERANCE = {"float32": 1e-3, "float64": 1e-9, "tf32": 2e-2, "bf16": 1e-1}


def fault_in_answers(workload: Workload, problem: Problem, case: Case) -> str:
    """Compare a peer's loss, gradients and updates with the float64 reference.

    The case's state moves on by a few training steps.

    Parameters
    ----------
    workload : Workload
        What is computed.
    problem : Problem
        The arrays that `case` was built from.
    case : Case
        The peer's program, fresh from its builder.

    Returns
    -------
    str
        What is wrong, or an empty string.
    """
    loss, gradients = reference_gradients(workload, problem)
    their_loss, their_gradients = case.gradients()
    tolerance = _TOLERANCE[workload.precision or workload.dtype]
    if not abs(their_loss - loss) <= tolerance * abs(loss):
        return f"loss is {their_loss:.8g}, should be {loss:.8g}"
    fault = _first_fault("gradient", their_gradients, gradients, workload.dtype, [tolerance] * len(gradients))
    if fault or not workload.update:
        return fault
    for _ in range(UPDATES):
        case.step()
    return _fault_in_updates(workload, problem, case.parameters())


def fault_in_state(arrays: Sequence[Array]) -> str:
    """Look for values that would have spoilt the timing: infinities, NaNs, and subnormals, which are slow to compute with.

    Parameters
    ----------
    arrays : sequence of ndarray
        Parameters and optimiser state after the last step.

    Returns
    -------
    str
        What is wrong, or an empty string.
    """
    for index, array in enumerate(arrays):
        if not np.isfinite(array).all():
            return f"state {index} is not finite"
        if array.dtype.kind == "f":
            magnitude = np.abs(array)
            subnormal = np.count_nonzero((magnitude > 0) & (magnitude < np.finfo(array.dtype).tiny))
            if subnormal > 1e-4 * array.size:
                return f"state {index} has {subnormal} subnormal values"
    return ""


def relative_error(actual: Array, expected: Array) -> float:
    """Norm of the difference over the norm of the expected array."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def _fault_in_updates(workload: Workload, problem: Problem, actual: Sequence[Array]) -> str:
    """Compare how far the parameters moved, not where they are: an update is small beside its parameter."""
    expected = reference_parameters(workload, problem, UPDATES)
    moved = [p - start for p, start in zip(expected, problem.parameters, strict=True)]
    their_moved = [p - start.astype(np.float64) for p, start in zip(actual, problem.parameters, strict=True)]
    # Each step rounds the parameter once, by half an epsilon at most.
    rounding = UPDATES * np.finfo(workload.dtype).eps
    tolerances = [
        10 * _TOLERANCE[workload.precision or workload.dtype] + rounding * float(np.linalg.norm(start) / np.linalg.norm(step))
        for start, step in zip(problem.parameters, moved, strict=True)
    ]
    return _first_fault("update", their_moved, moved, "float64", tolerances)


def _first_fault(what: str, actual: Sequence[Array], expected: Sequence[Array], dtype: str, tolerances: Sequence[float]) -> str:
    if len(actual) != len(expected):
        return f"{len(actual)} {what}s, should be {len(expected)}"
    for index, (mine, exact, tolerance) in enumerate(zip(actual, expected, tolerances, strict=True)):
        if mine.shape != exact.shape or mine.dtype != dtype:
            return f"{what} {index} is {mine.dtype}{mine.shape}, should be {dtype}{exact.shape}"
        error = relative_error(mine, exact)
        if not error <= tolerance:  # also when the error is NaN
            return f"{what} {index} is off by {error:.1e}, allowed is {tolerance:.1e}"
    return ""
