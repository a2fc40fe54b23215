"""The right answers: losses, gradients and updated parameters, worked out by hand in float64.

Written in the plainest way and apart from the float32 baseline, so that the baseline is checked like any other peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .workloads import Problem, Workload

__all__ = ["reference_gradients", "reference_parameters"]

Array = npt.NDArray[Any]

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


def reference_gradients(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    """The loss and the gradients of the parameters, by hand in float64.

    Parameters
    ----------
    workload : Workload
        The workload.
    problem : Problem
        Its arrays, in any floating-point dtype.

    Returns
    -------
    loss : float
        The value that is differentiated.
    gradients : list of ndarray
        One for each of the problem's parameters, in float64.
    """
    return _ANSWER[workload.family](workload, _exact(problem))


def reference_parameters(workload: Workload, problem: Problem, steps: int) -> list[Array]:
    """The parameters after `steps` training steps, by hand in float64."""
    exact = _exact(problem)
    first = [np.zeros_like(p) for p in exact.parameters]
    second = [np.zeros_like(p) for p in exact.parameters]
    beta1, beta2 = ADAM_BETAS
    for t in range(1, steps + 1):
        _, gradients = reference_gradients(workload, exact)
        for p, g, m, v in zip(exact.parameters, gradients, first, second, strict=True):
            if workload.update == "adam":
                m[...] = beta1 * m + (1 - beta1) * g
                v[...] = beta2 * v + (1 - beta2) * g**2
                p -= workload.lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + ADAM_EPSILON)
            else:  # momentum is 0 for plain gradient descent
                m[...] = workload.momentum * m + g
                p -= workload.lr * m
    return exact.parameters


def _exact(problem: Problem) -> Problem:
    """A copy in float64; class ids stay integers."""
    y = problem.y.astype(np.float64) if problem.y.dtype.kind == "f" else problem.y
    return Problem([p.astype(np.float64) for p in problem.parameters], problem.x.astype(np.float64), y)


def _answer_square_net(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    w1, w2 = problem.parameters
    h = _sigmoid(problem.x @ w1)
    error = h @ w2 - problem.y
    d_h = 2 * error @ w2.T
    return float(np.sum(error**2)), [problem.x.T @ (d_h * h * (1 - h)), h.T @ (2 * error)]


def _answer_mlp(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    weights, biases = problem.parameters[::2], problem.parameters[1::2]
    values = [problem.x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        z = values[-1] @ w + b
        values.append(np.tanh(z) if workload.activation == "tanh" else np.where(z > 0, z, 0.0))
    loss, delta = _cross_entropy(values[-1] @ weights[-1] + biases[-1], problem.y)
    gradients: list[Array] = []
    for layer in reversed(range(len(weights))):
        gradients = [values[layer].T @ delta, delta.sum(axis=0), *gradients]
        slope = 1 - values[layer] ** 2 if workload.activation == "tanh" else values[layer] > 0
        delta = (delta @ weights[layer].T) * slope
    return loss, gradients


def _answer_elementwise(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    (x,) = problem.parameters
    s, t = _sigmoid(x), np.tanh(x)
    return float(np.sum(s * t + np.where(x > 0, x, 0.0))), [s * (1 - s) * t + s * (1 - t**2) + (x > 0)]


def _answer_chain(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    # Forward mode, so that it shares nothing with the peers' backward loops.
    a, b = problem.parameters
    y, dy_da, dy_db = problem.x, np.zeros(1), np.zeros(1)
    for _ in range(workload.sizes[0] // 2):
        y, dy_da, dy_db = y * a + b, dy_da * a + y, dy_db * a + 1
    return float(y[0]), [dy_da, dy_db]


def _answer_cross_entropy(workload: Workload, problem: Problem) -> tuple[float, list[Array]]:
    loss, gradient = _cross_entropy(problem.parameters[0], problem.y)
    return loss, [gradient]


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _cross_entropy(logits: Array, classes: Array) -> tuple[float, Array]:
    """Mean cross-entropy and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(logits.shape[1])[classes]
    return float(-np.mean(np.sum(one_hot * log_p, axis=1))), (np.exp(log_p) - one_hot) / len(classes)


_ANSWER: dict[str, Callable[[Workload, Problem], tuple[float, list[Array]]]] = {
    "square_net": _answer_square_net,
    "mlp": _answer_mlp,
    "elementwise": _answer_elementwise,
    "chain": _answer_chain,
    "cross_entropy": _answer_cross_entropy,
}
