"""A yardstick, not a library: about the least that a define-by-run tape in Python can do on these workloads.

A tape is a list of values in order of creation, and each value has a closure for its rule. There are no errors, no checks of
shapes, dtypes or class ids, no broadcasting, devices, orders, hooks or threads, and nobody's line is remembered. What it
takes beyond NumPy by hand, any such tape around NumPy's calls takes; the rest of gpugrad's time is the price of what is
missing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..workloads import Problem, Workload
from . import Case
from .by_hand import make_update

__all__ = ["build", "configure", "versions"]

Array = npt.NDArray[Any]
Rule = Callable[[Any], tuple[Any, ...]]


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"numpy": np.__version__}


def configure(threads: int) -> None:
    """Nothing to set: it computes with NumPy."""


class Value:
    """An array, and what it was computed from: ``pull(t)`` gives a cotangent for each parent."""

    __slots__ = ("data", "grad", "parents", "pull")

    def __init__(self, data: Any, parents: tuple[Value, ...] = (), pull: Rule | None = None) -> None:
        self.data, self.parents, self.pull = data, parents, pull
        self.grad: Any = None


class Tape:
    """What was computed, in order, and the functions that compute it."""

    def __init__(self) -> None:
        self.values: list[Value] = []

    def _add(self, data: Any, parents: tuple[Value, ...], pull: Rule) -> Value:
        value = Value(data, parents, pull)
        self.values.append(value)
        return value

    def backward(self, out: Value) -> None:
        """Add gradients of `out` to all it was computed from."""
        out.grad = np.ones_like(out.data)
        for value in reversed(self.values):
            pull, t, value.grad = value.pull, value.grad, None
            assert pull is not None
            for parent, g in zip(value.parents, pull(t)):
                parent.grad = g if parent.grad is None else parent.grad + g

    def matmul(self, x: Value, w: Value) -> Value:
        """``x @ w``, with a cotangent for x only where it was computed."""
        if x.pull is None:
            return self._add(x.data @ w.data, (w,), lambda t: (x.data.T @ t,))
        return self._add(x.data @ w.data, (x, w), lambda t: (t @ w.data.T, x.data.T @ t))

    def layer(self, x: Value, w: Value, b: Value, activation: str) -> Value:
        """``activation(x @ w + b)`` as one op."""
        y = np.dot(x.data, w.data)
        y += b.data
        if activation == "relu":
            np.maximum(y, np.zeros_like(y), out=y)
        elif activation == "tanh":
            np.tanh(y, y)
        ones = np.ones(len(y), y.dtype)

        def pull(t: Any) -> tuple[Any, ...]:
            if activation == "relu":
                t = t * (y > 0)
            elif activation == "tanh":
                t = t * (1 - y * y)
            own = (np.dot(x.data.T, t), np.dot(ones, t))
            return own if x.pull is None else (*own, np.dot(t, w.data.T))

        return self._add(y, (w, b) if x.pull is None else (w, b, x), pull)

    def cross_entropy(self, x: Value, labels: Array) -> Value:
        """Mean softmax cross-entropy."""
        rows = np.arange(len(labels))
        largest = x.data.max(axis=1)
        exps = np.exp(x.data - largest[:, None])
        sums = exps.sum(axis=1)
        losses = np.log(sums) + largest - x.data[rows, labels]

        def pull(t: Any) -> tuple[Any, ...]:
            t = t / x.data.dtype.type(len(labels))
            gradient = exps * (t / sums)[:, None]
            gradient[rows, labels] -= t
            return (gradient,)

        return self._add(losses.mean(), (x,), pull)

    def sigmoid(self, x: Value) -> Value:
        """``1 / (1 + exp(-x))``."""
        y = 1 / (1 + np.exp(-x.data))
        return self._add(y, (x,), lambda t: (t * (1 - y) * y,))

    def tanh(self, x: Value) -> Value:
        """Hyperbolic tangent."""
        y = np.tanh(x.data)
        return self._add(y, (x,), lambda t: (t * (1 - y * y),))

    def relu(self, x: Value) -> Value:
        """``max(x, 0)``."""
        return self._add(np.maximum(x.data, 0), (x,), lambda t: (t * (x.data > 0),))

    def square(self, x: Value) -> Value:
        """``x ** 2``."""
        return self._add(np.square(x.data), (x,), lambda t: (2 * t * x.data,))

    def minus(self, x: Value, constant: Array) -> Value:
        """``x - constant``."""
        return self._add(x.data - constant, (x,), lambda t: (t,))

    def plus(self, x: Value, y: Value) -> Value:
        """``x + y`` of one shape."""
        return self._add(x.data + y.data, (x, y), lambda t: (t, t))

    def times(self, x: Value, y: Value) -> Value:
        """``x * y`` of one shape."""
        return self._add(x.data * y.data, (x, y), lambda t: (t * y.data, t * x.data))

    def total(self, x: Value) -> Value:
        """The sum of all elements."""
        return self._add(x.data.sum(), (x,), lambda t: (np.broadcast_to(t, x.data.shape),))


def build(workload: Workload, problem: Problem) -> Case:
    """Make the program of a workload."""
    parameters = [p.copy() for p in problem.parameters]
    forward = _FORWARD[workload.family](workload, problem)
    update, moments = make_update(workload, parameters)

    def backward() -> tuple[Any, list[Array]]:
        tape, leaves = Tape(), [Value(p) for p in parameters]
        loss = forward(tape, leaves)
        tape.backward(loss)
        return loss.data, [leaf.grad for leaf in leaves]

    def step() -> object:
        loss, gradients = backward()
        if workload.update:
            update(parameters, gradients)
        return loss

    def gradients_now() -> tuple[float, list[Array]]:
        loss, gradients = backward()
        return float(np.ravel(loss)[0]), gradients

    return Case(step, gradients_now, lambda: [p.copy() for p in parameters], lambda: [*parameters, *moments])


Forward = Callable[[Tape, list[Value]], Value]


def _square_net(workload: Workload, problem: Problem) -> Forward:
    x = Value(problem.x)
    return lambda tape, w: tape.total(tape.square(tape.minus(tape.matmul(tape.sigmoid(tape.matmul(x, w[0])), w[1]), problem.y)))


def _mlp(workload: Workload, problem: Problem) -> Forward:
    x = Value(problem.x)

    def forward(tape: Tape, leaves: list[Value]) -> Value:
        h = x
        for i in range(0, len(leaves) - 2, 2):
            h = tape.layer(h, leaves[i], leaves[i + 1], workload.activation)
        return tape.cross_entropy(tape.layer(h, leaves[-2], leaves[-1], ""), problem.y)

    return forward


def _elementwise(workload: Workload, problem: Problem) -> Forward:
    def forward(tape: Tape, leaves: list[Value]) -> Value:
        (x,) = leaves
        return tape.total(tape.plus(tape.times(tape.sigmoid(x), tape.tanh(x)), tape.relu(x)))

    return forward


def _chain(workload: Workload, problem: Problem) -> Forward:
    def forward(tape: Tape, leaves: list[Value]) -> Value:
        y, (a, b) = Value(problem.x), leaves
        for _ in range(workload.sizes[0] // 2):
            y = tape.plus(tape.times(y, a), b)
        return y

    return forward


def _cross_entropy(workload: Workload, problem: Problem) -> Forward:
    return lambda tape, leaves: tape.cross_entropy(leaves[0], problem.y)


_FORWARD: dict[str, Callable[[Workload, Problem], Forward]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
