"""JAX: the whole step in one jit, with parameters and optimiser state donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jaxlib
import numpy as np
import numpy.typing as npt
from jax import numpy as jnp

from ..workloads import Problem, Workload
from . import Case

__all__ = ["build", "configure", "versions"]

Array = npt.NDArray[Any]
Leaves = list[jax.Array]
Loss = Callable[[Leaves, jax.Array, jax.Array], jax.Array]
State = tuple[Leaves, Leaves, Leaves, jax.Array]
"""Parameters, first moments, second moments, step count; the moments are empty where they are not needed."""


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def configure(threads: int) -> None:
    """Allow float64; the environment has set the thread count. float32 arrays stay float32."""
    jax.config.update("jax_enable_x64", True)


def build(workload: Workload, problem: Problem, device: str = "cpu") -> Case:
    """Make the program of a workload."""
    loss_of = _LOSS[workload.family](workload)
    # By itself JAX would compute in TF32 on a GPU, and the others in float32.
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if workload.precision == "tf32" else "highest")
    place = jax.devices(device)[0]

    def put(array: Array) -> jax.Array:
        # A copy, because JAX may share memory with a NumPy array, and a donated buffer is overwritten.
        return jax.device_put(jnp.array(array, copy=True), place)

    x, y = put(problem.x), put(problem.y)
    if y.dtype == jnp.int64:
        y = y.astype(jnp.int32)  # JAX's own default
    state, last = _start(workload, [put(p) for p in problem.parameters]), None
    wait = jax.block_until_ready if device == "cpu" else lambda result: result
    evaluate = jax.jit(jax.value_and_grad(loss_of))
    train = jax.jit(partial(_train, workload, loss_of), donate_argnums=0)

    def step() -> object:
        nonlocal state, last
        state, loss = last = train(state, x, y)
        return wait((state, loss))

    def step_without_update() -> object:
        nonlocal last
        last = evaluate(state[0], x, y)
        return wait(last)

    def gradients() -> tuple[float, list[Array]]:
        loss, gradients = evaluate(state[0], x, y)
        return float(loss), [np.array(g) for g in gradients]

    return Case(
        step=step if workload.update else step_without_update,
        gradients=gradients,
        parameters=lambda: [np.array(p) for p in state[0]],
        state=lambda: [np.array(leaf) for leaf in jax.tree.leaves(state)],
        synchronize=lambda: jax.block_until_ready(last),
    )


def _start(workload: Workload, parameters: Leaves) -> State:
    first = [jnp.zeros_like(p) for p in parameters] if workload.update in ("momentum", "adam") else []
    second = [jnp.zeros_like(p) for p in parameters] if workload.update == "adam" else []
    return parameters, first, second, jnp.zeros((), jnp.int32)


def _train(workload: Workload, loss_of: Loss, state: State, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
    parameters, first, second, t = state
    loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
    lr, t = workload.lr, t + 1
    if workload.update == "adam":
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, gradients, strict=True)]
        second = [beta2 * v + (1 - beta2) * g**2 for v, g in zip(second, gradients, strict=True)]
        steps = [
            (m / (1 - jnp.float32(beta1) ** t)) / (jnp.sqrt(v / (1 - jnp.float32(beta2) ** t)) + epsilon)
            for m, v in zip(first, second, strict=True)
        ]
    elif workload.update == "momentum":
        steps = first = [workload.momentum * v + g for v, g in zip(first, gradients, strict=True)]
    else:
        steps = gradients
    parameters = [p - lr * step for p, step in zip(parameters, steps, strict=True)]
    return (parameters, first, second, t), loss


def _square_net(workload: Workload) -> Loss:
    def loss_of(parameters: Leaves, x: jax.Array, y: jax.Array) -> jax.Array:
        w1, w2 = parameters
        y_pred = jax.nn.sigmoid(x @ w1) @ w2
        return jnp.square(y_pred - y).sum()

    return loss_of


def _mlp(workload: Workload) -> Loss:
    activate = {"relu": jax.nn.relu, "tanh": jnp.tanh}[workload.activation]

    def loss_of(parameters: Leaves, x: jax.Array, labels: jax.Array) -> jax.Array:
        half = workload.precision == "bf16"
        h, *parameters = (a.astype(jnp.bfloat16) if half else a for a in (x, *parameters))
        for w, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            h = activate(h @ w + b)
        return _softmax_cross_entropy((h @ parameters[-2] + parameters[-1]).astype(workload.dtype), labels)

    return loss_of


def _softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """As Optax writes it for class ids."""
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=1) - chosen).mean()


def _elementwise(workload: Workload) -> Loss:
    def loss_of(parameters: Leaves, x: jax.Array, y: jax.Array) -> jax.Array:
        (leaf,) = parameters
        return (jax.nn.sigmoid(leaf) * jnp.tanh(leaf) + jax.nn.relu(leaf)).sum()

    return loss_of


def _chain(workload: Workload) -> Loss:
    def loss_of(parameters: Leaves, start: jax.Array, _: jax.Array) -> jax.Array:
        a, b = parameters
        y = start
        for _ in range(workload.sizes[0] // 2):
            y = y * a
            y = y + b
        return y[0]

    return loss_of


def _cross_entropy(workload: Workload) -> Loss:
    def loss_of(parameters: Leaves, x: jax.Array, labels: jax.Array) -> jax.Array:
        return _softmax_cross_entropy(parameters[0], labels)

    return loss_of


_LOSS: dict[str, Callable[[Workload], Loss]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
