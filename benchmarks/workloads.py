"""What is timed: the workloads, and the arrays that every peer starts from.

Learning rates are small on purpose. The cost of a step does not depend on them, but thousands of timed steps must not
drive a net to where gradients underflow: arithmetic on subnormal numbers is many times slower and would be timed too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "GPU_WORKLOADS",
    "WORKLOADS",
    "Problem",
    "Workload",
    "make_problem",
    "select",
    "smaller",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    `family` names the program (and the function that builds it in each peer); the other fields are its sizes. For nets,
    `sizes` are the layers' widths; for the elementwise and cross-entropy families, the shape of the one leaf; for the
    chain, the number of operations. `update` is empty where nothing is updated. `precision` says in what matrices are
    multiplied, if not in `dtype`. What takes float64 on a CPU too long is checked at sizes `check_scale` times smaller.
    """

    name: str
    family: Literal["square_net", "mlp", "elementwise", "chain", "cross_entropy"]
    description: str
    sizes: tuple[int, ...]
    batch: int = 0
    activation: Literal["", "relu", "tanh"] = ""
    update: Literal["", "sgd", "momentum", "adam"] = ""
    lr: float = 0.0
    momentum: float = 0.0
    dtype: str = "float32"
    precision: Literal["", "tf32", "bf16"] = ""
    check_scale: int = 1


_LECTURES = "1000-100-10, sigmoid, no bias, batch 64; sum of squares, gradient descent"
_ELEMENTWISE = "sum(sigmoid(x)*tanh(x) + relu(x)), forward and backward"

_TABLE = (
    Workload("W1", "square_net", _LECTURES, (1000, 100, 10), 64, "", "sgd", 1e-5),
    Workload("W1d", "square_net", f"{_LECTURES}; float64", (1000, 100, 10), 64, "", "sgd", 1e-5, dtype="float64"),
    Workload(
        "W2",
        "mlp",
        "784-16-16-10, ReLU, batch 64; softmax cross-entropy, SGD",
        (784, 16, 16, 10),
        64,
        "relu",
        "sgd",
        lr=1e-3,
    ),
    Workload(
        "W3",
        "mlp",
        "784-512-512-10, ReLU, batch 128; softmax cross-entropy, Adam",
        (784, 512, 512, 10),
        128,
        "relu",
        "adam",
        lr=1e-6,
    ),
    Workload(
        "W4",
        "mlp",
        "64-(64 x 20)-10, tanh, batch 32; softmax cross-entropy, SGD",
        (64, *[64] * 20, 10),
        32,
        "tanh",
        "sgd",
        lr=1e-3,
    ),
    Workload(
        "W5",
        "mlp",
        "2048-2048-2048-2048-10, ReLU, batch 256; softmax cross-entropy, SGD with momentum",
        (2048, 2048, 2048, 2048, 10),
        256,
        "relu",
        "momentum",
        lr=1e-3,
        momentum=0.9,
    ),
    Workload("E1-1e3", "elementwise", f"{_ELEMENTWISE}, n = 1e3", (1_000,)),
    Workload("E1-1e5", "elementwise", f"{_ELEMENTWISE}, n = 1e5", (100_000,)),
    Workload("E1-1e7", "elementwise", f"{_ELEMENTWISE}, n = 1e7", (10_000_000,)),
    Workload("E2", "chain", "200 one-element operations, y*a and y+b by turns, gradients of a and b", (200,)),
    Workload("E3", "cross_entropy", "softmax cross-entropy, forward and backward, 4096 x 1000 logits", (4096, 1000)),
)

WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _TABLE}

_WIDE = "4 x (4096-4096), ReLU, batch 4096; softmax cross-entropy, Adam"
_W6 = Workload("W6", "mlp", f"{_WIDE}; TF32", (4096,) * 5, 4096, "relu", "adam", 1e-6, precision="tf32", check_scale=16)
_GPU_ONLY = (
    _W6,
    replace(_W6, name="W6-bf16", description=f"{_WIDE}; bfloat16, parameters in float32", precision="bf16"),
    Workload("E1-1e8", "elementwise", f"{_ELEMENTWISE}, n = 1e8", (100_000_000,), check_scale=16),
)

GPU_WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in sorted((*_TABLE, *_GPU_ONLY), key=lambda workload: workload.name)
    if workload.name != "E1-1e7"
}
"""What is timed on a GPU."""


def smaller(workload: Workload, scale: int) -> Workload:
    """The same program, with sizes divided by `scale` (those of 10 or less are kept)."""
    sizes = tuple(max(min(size, 10), size // scale) for size in workload.sizes)
    return replace(workload, sizes=sizes, batch=min(workload.batch, max(8, workload.batch // scale)))


def select(names: list[str]) -> list[Workload]:
    """Look workloads up by name, in the table's order; ``E1`` stands for its three sizes, no names for all.

    Parameters
    ----------
    names : list of str
        Names as typed, for example ``["W2", "E1"]``.

    Returns
    -------
    list of Workload

    Raises
    ------
    ValueError
        If a name is none of the table's.
    """
    wanted = set(names) or set(WORKLOADS)
    if "E1" in wanted:
        wanted = wanted - {"E1"} | {name for name in WORKLOADS if name.startswith("E1-")}
    unknown = sorted(wanted - set(WORKLOADS))
    if unknown:
        raise ValueError(f"no workload named {', '.join(unknown)}; there are E1, {', '.join(WORKLOADS)}")
    return [workload for name, workload in WORKLOADS.items() if name in wanted]


@dataclass(frozen=True)
class Problem:
    """The arrays that every peer starts from; a peer must copy what it will change.

    `parameters` are the leaves that get gradients: the weights (in, out) and biases of a net by layers, or `x`, or `a` and
    `b`, or the logits. `x` and `y` are the input and the target, where there are any.
    """

    parameters: list[Array]
    x: Array
    y: Array


def make_problem(workload: Workload) -> Problem:
    """Draw the parameters and data of a workload from a fixed seed."""
    rng = np.random.default_rng(20240229)
    problem = _DRAW[workload.family](workload, rng)
    return Problem(
        [_cast(p, workload.dtype) for p in problem.parameters],
        _cast(problem.x, workload.dtype),
        _cast(problem.y, workload.dtype),
    )


def _cast(array: Array, dtype: str) -> Array:
    """A copy in the given dtype; class ids stay integers."""
    return array.astype(dtype) if array.dtype.kind == "f" else array.copy()


def _draw_square_net(workload: Workload, rng: np.random.Generator) -> Problem:
    inputs, _, outputs = workload.sizes
    weights = [_weight(rng, m, n, 1.0) for m, n in zip(workload.sizes, workload.sizes[1:], strict=False)]
    return Problem(weights, rng.standard_normal((workload.batch, inputs)), rng.random((workload.batch, outputs)))


def _draw_mlp(workload: Workload, rng: np.random.Generator) -> Problem:
    gain = 2.0 if workload.activation == "relu" else 1.0
    parameters = []
    for m, n in zip(workload.sizes, workload.sizes[1:], strict=False):
        # Biases are not zero, or a peer that forgot to add them would pass.
        parameters += [_weight(rng, m, n, gain), 0.1 * rng.standard_normal(n)]
    x = rng.standard_normal((workload.batch, workload.sizes[0]))
    return Problem(parameters, x, rng.integers(workload.sizes[-1], size=workload.batch))


def _weight(rng: np.random.Generator, inputs: int, outputs: int, gain: float) -> Array:
    """A weight that keeps the scale of what passes through it."""
    return rng.standard_normal((inputs, outputs)) * np.sqrt(gain / inputs)


def _draw_elementwise(workload: Workload, rng: np.random.Generator) -> Problem:
    return Problem([rng.standard_normal(workload.sizes)], np.empty(0), np.empty(0))


def _draw_chain(workload: Workload, rng: np.random.Generator) -> Problem:
    # Close to 1 and to 0, so that a hundred multiplications neither overflow nor vanish.
    return Problem([np.array([1.001]), np.array([0.002])], np.array([1.0]), np.empty(0))


def _draw_cross_entropy(workload: Workload, rng: np.random.Generator) -> Problem:
    rows, classes = workload.sizes
    return Problem([rng.standard_normal((rows, classes))], np.empty(0), rng.integers(classes, size=rows))


_DRAW: dict[str, Callable[[Workload, np.random.Generator], Problem]] = {
    "square_net": _draw_square_net,
    "mlp": _draw_mlp,
    "elementwise": _draw_elementwise,
    "chain": _draw_chain,
    "cross_entropy": _draw_cross_entropy,
}
