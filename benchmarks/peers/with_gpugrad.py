"""gpugrad, eager: plain tensors where the workload is a formula, nn and optim with default arguments for the nets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.nn import functional as F

from ..workloads import Problem, Workload
from . import Case

__all__ = ["build", "configure", "versions"]

Array = npt.NDArray[Any]
Tensor = gg.Tensor


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"gpugrad": gg.__version__}


def configure(threads: int) -> None:
    """Nothing to set: on the CPU it computes with NumPy."""


def build(workload: Workload, problem: Problem, device: str = "cpu") -> Case:
    """Make the program of a workload."""
    gg.set_float32_matmul_precision("high" if workload.precision == "tf32" else "highest")
    case = _BUILD[workload.family](workload, problem, device)
    return replace(case, synchronize=_synchronize) if device != "cpu" else case


def _synchronize() -> None:
    import cupy

    cupy.cuda.Device().synchronize()


def _plain_case(forward: Callable[..., Tensor], leaves: list[Tensor], lr: float) -> Case:
    """A program on leaf tensors; with a rate of 0 there is no update."""

    def backward() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        loss = forward(*leaves)
        loss.backward()
        return loss

    def step() -> Tensor:
        loss = backward()
        with gg.no_grad():
            for leaf in leaves:
                leaf -= lr * leaf.grad
        return loss

    def gradients() -> tuple[float, list[Array]]:
        loss = backward().item()
        return loss, _arrays(leaf.grad for leaf in leaves)

    return Case(
        step=step if lr else backward,
        gradients=gradients,
        parameters=lambda: _arrays(leaves),
        state=lambda: _arrays(leaves),
    )


def _arrays(tensors: Iterable[Any]) -> list[Array]:
    return [np.array(t.numpy()) for t in tensors]


def _leaves(problem: Problem, device: str) -> list[Tensor]:
    return [gg.tensor(p, device=device, requires_grad=True) for p in problem.parameters]


def _square_net(workload: Workload, problem: Problem, device: str) -> Case:
    x, y = gg.tensor(problem.x, device=device), gg.tensor(problem.y, device=device)

    def forward(w1: Tensor, w2: Tensor) -> Tensor:
        y_pred = gg.sigmoid(x @ w1) @ w2
        return gg.square(y_pred - y).sum()

    return _plain_case(forward, _leaves(problem, device), workload.lr)


def _elementwise(workload: Workload, problem: Problem, device: str) -> Case:
    def forward(x: Tensor) -> Tensor:
        return (gg.sigmoid(x) * gg.tanh(x) + gg.relu(x)).sum()

    return _plain_case(forward, _leaves(problem, device), workload.lr)


def _chain(workload: Workload, problem: Problem, device: str) -> Case:
    start, pairs = gg.tensor(problem.x, device=device), workload.sizes[0] // 2

    def forward(a: Tensor, b: Tensor) -> Tensor:
        y = start
        for _ in range(pairs):
            y = y * a
            y = y + b
        return y

    return _plain_case(forward, _leaves(problem, device), workload.lr)


def _cross_entropy(workload: Workload, problem: Problem, device: str) -> Case:
    labels = gg.tensor(problem.y, device=device)

    def forward(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)

    return _plain_case(forward, _leaves(problem, device), workload.lr)


def _mlp(workload: Workload, problem: Problem, device: str) -> Case:
    x, labels = gg.tensor(problem.x, device=device), gg.tensor(problem.y, device=device)
    model = _model(workload, problem).to(device)
    optimizer = _optimizer(workload, model)

    def forward() -> Tensor:
        return F.cross_entropy(model(x), labels)

    def forward_in_bfloat16() -> Tensor:
        with gg.autocast("bfloat16"):
            return forward()

    loss_of = forward_in_bfloat16 if workload.precision == "bf16" else forward

    def backward() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    def step() -> Tensor:
        loss = backward()
        optimizer.step()
        return loss

    def gradients() -> tuple[float, list[Array]]:
        loss = backward().item()
        return loss, _canonical(p.grad for p in model.parameters())

    return Case(
        step,
        gradients,
        parameters=lambda: _canonical(model.parameters()),
        state=lambda: _arrays(model.parameters()),
    )


def _model(workload: Workload, problem: Problem) -> nn.Sequential:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[workload.activation]
    modules: list[nn.Module] = []
    for weight, bias in zip(problem.parameters[::2], problem.parameters[1::2], strict=True):
        linear = nn.Linear(*weight.shape)
        with gg.no_grad():
            linear.weight[...] = weight.T
            linear.bias[...] = bias
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def _optimizer(workload: Workload, model: nn.Module) -> Any:
    if workload.update == "adam":
        return optim.Adam(model.parameters(), lr=workload.lr)
    return optim.SGD(model.parameters(), lr=workload.lr, momentum=workload.momentum)


def _canonical(tensors: Iterable[Any]) -> list[Array]:
    """Weights of nn.Linear are (out, in); the problem's are (in, out)."""
    return [array.T if array.ndim == 2 else array for array in _arrays(tensors)]


_BUILD: dict[str, Callable[[Workload, Problem, str], Case]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
