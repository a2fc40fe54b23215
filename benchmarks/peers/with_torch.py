"""PyTorch, eager: plain tensors where the workload is a formula, nn and optim with default arguments for the nets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..workloads import Problem, Workload
from . import Case

__all__ = ["build", "configure", "versions"]

Array = npt.NDArray[Any]
Wrap = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"torch": torch.__version__}


def configure(threads: int) -> None:
    """Set the thread count; the environment sets only its upper bound."""
    torch.set_num_threads(threads)


def build(workload: Workload, problem: Problem, device: str = "cpu", wrap: Wrap = lambda function: function) -> Case:
    """Make the program of a workload; `wrap` is applied to the function that computes the loss."""
    torch.set_float32_matmul_precision("high" if workload.precision == "tf32" else "highest")
    case = _BUILD[workload.family](workload, problem, device, wrap)
    return replace(case, synchronize=torch.cuda.synchronize) if device != "cpu" else case


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
        with torch.no_grad():
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


def _arrays(tensors: Any) -> list[Array]:
    return [t.detach().cpu().numpy().copy() for t in tensors]


def _leaves(problem: Problem, device: str) -> list[Tensor]:
    return [torch.tensor(p, device=device, requires_grad=True) for p in problem.parameters]


def _square_net(workload: Workload, problem: Problem, device: str, wrap: Wrap) -> Case:
    x, y = torch.tensor(problem.x, device=device), torch.tensor(problem.y, device=device)

    def forward(w1: Tensor, w2: Tensor) -> Tensor:
        y_pred = torch.sigmoid(x @ w1) @ w2
        return (y_pred - y).square().sum()

    return _plain_case(wrap(forward), _leaves(problem, device), workload.lr)


def _elementwise(workload: Workload, problem: Problem, device: str, wrap: Wrap) -> Case:
    def forward(x: Tensor) -> Tensor:
        return (torch.sigmoid(x) * torch.tanh(x) + torch.relu(x)).sum()

    return _plain_case(wrap(forward), _leaves(problem, device), workload.lr)


def _chain(workload: Workload, problem: Problem, device: str, wrap: Wrap) -> Case:
    start, pairs = torch.tensor(problem.x, device=device), workload.sizes[0] // 2

    def forward(a: Tensor, b: Tensor) -> Tensor:
        y = start
        for _ in range(pairs):
            y = y * a
            y = y + b
        return y

    return _plain_case(wrap(forward), _leaves(problem, device), workload.lr)


def _cross_entropy(workload: Workload, problem: Problem, device: str, wrap: Wrap) -> Case:
    labels = torch.tensor(problem.y, device=device)

    def forward(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)

    return _plain_case(wrap(forward), _leaves(problem, device), workload.lr)


def _mlp(workload: Workload, problem: Problem, device: str, wrap: Wrap) -> Case:
    x, labels = torch.tensor(problem.x, device=device), torch.tensor(problem.y, device=device)
    model = _model(workload, problem).to(device)
    optimizer = _optimizer(workload, model)

    def forward() -> Tensor:
        return F.cross_entropy(model(x), labels)

    def forward_in_bfloat16() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return forward()

    loss_of = wrap(forward_in_bfloat16 if workload.precision == "bf16" else forward)

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
        return loss, _canonical([p.grad for p in model.parameters()])

    def state() -> list[Array]:
        kept = [t for slots in optimizer.state.values() for t in slots.values() if isinstance(t, Tensor)]
        return [*_arrays(model.parameters()), *_arrays(kept)]

    return Case(step, gradients, parameters=lambda: _canonical(list(model.parameters())), state=state)


def _model(workload: Workload, problem: Problem) -> nn.Sequential:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[workload.activation]
    modules: list[nn.Module] = []
    for weight, bias in zip(problem.parameters[::2], problem.parameters[1::2], strict=True):
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight).T)
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def _optimizer(workload: Workload, model: nn.Module) -> torch.optim.Optimizer:
    if workload.update == "adam":
        return torch.optim.Adam(model.parameters(), lr=workload.lr)
    return torch.optim.SGD(model.parameters(), lr=workload.lr, momentum=workload.momentum)


def _canonical(tensors: Sequence[Any]) -> list[Array]:
    """Weights of nn.Linear are (out, in); the problem's are (in, out)."""
    return [array.T if array.ndim == 2 else array for array in _arrays(tensors)]


_BUILD: dict[str, Callable[[Workload, Problem, str, Wrap], Case]] = {
    "square_net": _square_net,
    "mlp": _mlp,
    "elementwise": _elementwise,
    "chain": _chain,
    "cross_entropy": _cross_entropy,
}
