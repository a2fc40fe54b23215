"""HIPS autograd: the loss in its NumPy, the update in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy.typing as npt
from autograd import numpy as np
from autograd import value_and_grad
from autograd.scipy.special import logsumexp

from ..workloads import Problem, Workload
from . import Case
from .by_hand import make_update

__all__ = ["build", "configure", "versions"]

Array = npt.NDArray[Any]
Loss = Callable[[list[Array]], Any]


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"autograd": metadata.version("autograd")}


def configure(threads: int) -> None:
    """Nothing to set: it computes with NumPy."""


def build(workload: Workload, problem: Problem) -> Case:
    """Make the program of a workload."""
    parameters = [p.copy() for p in problem.parameters]
    backward = value_and_grad(_LOSS[workload.family](workload, problem))
    update, moments = make_update(workload, parameters)

    def step() -> object:
        loss, gradients = backward(parameters)
        update(parameters, gradients)
        return loss

    def gradients_now() -> tuple[float, list[Array]]:
        loss, gradients = backward(parameters)
        return float(loss), gradients

    return Case(
        step=step if workload.update else lambda: backward(parameters),
        gradients=gradients_now,
        parameters=lambda: [p.copy() for p in parameters],
        state=lambda: [*parameters, *moments],
    )


def _square_net(workload: Workload, problem: Problem) -> Loss:
    def loss_of(parameters: list[Array]) -> Any:
        w1, w2 = parameters
        h = 1 / (1 + np.exp(-np.dot(problem.x, w1)))
        return np.sum(np.square(np.dot(h, w2) - problem.y))

    return loss_of


def _mlp(workload: Workload, problem: Problem) -> Loss:
    activate = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[workload.activation]
    targets = _one_hot(problem.y, workload.sizes[-1], workload.dtype)

    def loss_of(parameters: list[Array]) -> Any:
        h = problem.x
        for w, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            h = activate(np.dot(h, w) + b)
        return _softmax_cross_entropy(np.dot(h, parameters[-2]) + parameters[-1], targets)

    return loss_of


def _one_hot(labels: Array, classes: int, dtype: str) -> Array:
    return np.eye(classes, dtype=dtype)[labels]


def _softmax_cross_entropy(logits: Array, targets: Array) -> Any:
    """As autograd's own examples write it: its rule for indexing by class ids is slower than one-hot targets."""
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    return -np.sum(log_p * targets) / len(targets)


def _elementwise(workload: Workload, problem: Problem) -> Loss:
    def loss_of(parameters: list[Array]) -> Any:
        (x,) = parameters
        return np.sum(1 / (1 + np.exp(-x)) * np.tanh(x) + np.maximum(x, 0))

    return loss_of


def _chain(workload: Workload, problem: Problem) -> Loss:
    def loss_of(parameters: list[Array]) -> Any:
        a, b = parameters
        y = problem.x
        for _ in range(workload.sizes[0] // 2):
            y = y * a
            y = y + b
        return y[0]

    return loss_of


def _cross_entropy(workload: Workload, problem: Problem) -> Loss:
    targets = _one_hot(problem.y, workload.sizes[1], workload.dtype)
    return lambda parameters: _softmax_cross_entropy(parameters[0], targets)


_LOSS: dict[str, Callable[[Workload, Problem], Loss]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
