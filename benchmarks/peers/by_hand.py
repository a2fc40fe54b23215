"""The baseline: NumPy with the backward pass by hand, as one would write it for exactly these nets.

No ``out=``, no reused buffers, no fused formulas: those are what the libraries may do better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..workloads import Problem, Workload
from . import Case

__all__ = ["build", "configure", "make_update", "versions"]

Array = npt.NDArray[Any]
LossAndGradients = tuple[Any, list[Array]]
Update = Callable[[Sequence[Array], Sequence[Array]], None]


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"numpy": np.__version__}


def configure(threads: int) -> None:
    """Nothing to set: BLAS reads its thread count from the environment."""


def build(workload: Workload, problem: Problem) -> Case:
    """Make the program of a workload."""
    parameters = [p.copy() for p in problem.parameters]
    backward = _BUILD[workload.family](workload, problem, parameters)
    update, moments = make_update(workload, parameters)

    def step() -> object:
        loss, gradients = backward()
        update(parameters, gradients)
        return loss

    def gradients_now() -> tuple[float, list[Array]]:
        loss, gradients = backward()
        return float(loss), gradients

    return Case(
        step=step if workload.update else backward,
        gradients=gradients_now,
        parameters=lambda: [p.copy() for p in parameters],
        state=lambda: [*parameters, *moments],
    )


def make_update(workload: Workload, parameters: Sequence[Array]) -> tuple[Update, list[Array]]:
    """The optimiser of a workload, by its textbook formula.

    Parameters
    ----------
    workload : Workload
        Names the update and its rates.
    parameters : sequence of ndarray
        Only their shapes are used.

    Returns
    -------
    update : callable
        ``update(parameters, gradients)`` changes the parameters in place.
    moments : list of ndarray
        What the update remembers.
    """
    lr = workload.lr
    if workload.update == "adam":
        return _adam(lr, parameters)
    if workload.update == "momentum":
        return _momentum(lr, workload.momentum, parameters)

    def descend(parameters: Sequence[Array], gradients: Sequence[Array]) -> None:
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g

    return descend, []


def _momentum(lr: float, momentum: float, parameters: Sequence[Array]) -> tuple[Update, list[Array]]:
    velocity = [np.zeros_like(p) for p in parameters]

    def update(parameters: Sequence[Array], gradients: Sequence[Array]) -> None:
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            velocity[i] = momentum * velocity[i] + g
            p -= lr * velocity[i]

    return update, velocity


def _adam(
    lr: float, parameters: Sequence[Array], beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> tuple[Update, list[Array]]:
    count = len(parameters)
    moments = [np.zeros_like(p) for p in [*parameters, *parameters]]  # the first moments, then the second
    t = 0

    def update(parameters: Sequence[Array], gradients: Sequence[Array]) -> None:
        nonlocal t
        t += 1
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            m = moments[i] = beta1 * moments[i] + (1 - beta1) * g
            v = moments[count + i] = beta2 * moments[count + i] + (1 - beta2) * g**2
            m_hat = m / (1 - beta1**t)
            v_hat = v / (1 - beta2**t)
            p -= lr * m_hat / (np.sqrt(v_hat) + epsilon)

    return update, moments


def _square_net(workload: Workload, problem: Problem, parameters: list[Array]) -> Callable[[], LossAndGradients]:
    x, y = problem.x, problem.y
    w1, w2 = parameters

    def backward() -> LossAndGradients:
        h = 1 / (1 + np.exp(-(x @ w1)))
        y_pred = h @ w2
        loss = np.square(y_pred - y).sum()
        grad_y_pred = 2 * (y_pred - y)
        grad_w2 = h.T @ grad_y_pred
        grad_h = grad_y_pred @ w2.T
        grad_w1 = x.T @ (grad_h * h * (1 - h))
        return loss, [grad_w1, grad_w2]

    return backward


def _mlp(workload: Workload, problem: Problem, parameters: list[Array]) -> Callable[[], LossAndGradients]:
    x, labels = problem.x, problem.y
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    activate, activate_backward = _ACTIVATIONS[workload.activation]
    last = len(layers) - 1

    def backward() -> LossAndGradients:
        h = x
        inputs, sums = [], []
        for i, (w, b) in enumerate(layers):
            inputs.append(h)
            z = h @ w + b
            sums.append(z)
            h = activate(z) if i < last else z
        loss, g = _softmax_cross_entropy(h, labels)

        gradients = []
        for i in range(last, -1, -1):
            gradients.append(g.sum(axis=0))
            gradients.append(inputs[i].T @ g)
            if i > 0:
                g = activate_backward(g @ layers[i][0].T, sums[i - 1], inputs[i])
        return loss, gradients[::-1]

    return backward


def _relu(z: Array) -> Array:
    return np.maximum(z, 0)


def _relu_backward(g: Array, z: Array, h: Array) -> Array:
    return g * (z > 0)


def _tanh_backward(g: Array, z: Array, h: Array) -> Array:
    return g * (1 - h * h)


def _softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Any, Array]:
    """Mean cross-entropy and its gradient for the logits."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exps = np.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    loss = (np.log(sums[:, 0]) - shifted[rows, labels]).mean()
    gradient = exps / sums
    gradient[rows, labels] -= 1
    gradient /= len(labels)
    return loss, gradient


def _elementwise(workload: Workload, problem: Problem, parameters: list[Array]) -> Callable[[], LossAndGradients]:
    (x,) = parameters

    def backward() -> LossAndGradients:
        s = 1 / (1 + np.exp(-x))
        t = np.tanh(x)
        value = (s * t + np.maximum(x, 0)).sum()
        gradient = s * (1 - s) * t + s * (1 - t * t) + (x > 0)
        return value, [gradient]

    return backward


def _chain(workload: Workload, problem: Problem, parameters: list[Array]) -> Callable[[], LossAndGradients]:
    start = problem.x
    a, b = parameters
    pairs = workload.sizes[0] // 2

    def backward() -> LossAndGradients:
        y = start
        factors = []
        for _ in range(pairs):
            factors.append(y)
            y = y * a
            y = y + b

        # `x = x + y`, because on one element NumPy's in-place form is more than twice as slow.
        g = np.ones_like(y)
        grad_a, grad_b = np.zeros_like(a), np.zeros_like(b)
        for factor in reversed(factors):
            grad_b = grad_b + g
            grad_a = grad_a + g * factor
            g = g * a
        return y[0], [grad_a, grad_b]

    return backward


def _cross_entropy(workload: Workload, problem: Problem, parameters: list[Array]) -> Callable[[], LossAndGradients]:
    (logits,), labels = parameters, problem.y

    def backward() -> LossAndGradients:
        loss, gradient = _softmax_cross_entropy(logits, labels)
        return loss, [gradient]

    return backward


_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array, Array], Array]]] = {
    "relu": (_relu, _relu_backward),
    "tanh": (np.tanh, _tanh_backward),
}

_BUILD: dict[str, Callable[[Workload, Problem, list[Array]], Callable[[], LossAndGradients]]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
