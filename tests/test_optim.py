"""Optimisers: PyTorch's update rules to rounding, options, groups, state, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import optim

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.02}),
    ("SGD", {"lr": 0.02, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.0002, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.0002, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.005, "maximize": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
]


def quadratic(a: Any, b: Any, matrix: Any) -> Any:
    """A loss that is not separable, on two parameters of different shapes."""
    return ((a @ matrix - 1) ** 2).sum() + ((b * b).sum() - 2) ** 2


@pytest.mark.parametrize(("name", "options"), CASES)
def test_two_hundred_steps_follow_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start, other, matrix = rng.normal(size=(3, 4)), rng.normal(size=5), rng.normal(size=(4, 4)) / 4
    a, b = gg.tensor(start, requires_grad=True), gg.tensor(other, requires_grad=True)
    ta, tb = torch.tensor(start, requires_grad=True), torch.tensor(other, requires_grad=True)
    ours, theirs = getattr(optim, name)([a, b], **options), getattr(torch.optim, name)([ta, tb], **options)
    steps = 20 if options.get("maximize") else 200
    for i in range(steps):
        ours.zero_grad()
        theirs.zero_grad()
        quadratic(a, b, matrix).backward()
        quadratic(ta, tb, torch.tensor(matrix)).backward()
        if i % 5 == 3:  # a step that leaves one parameter out
            b.grad = tb.grad = None
        ours.step()
        theirs.step()
    np.testing.assert_allclose(a.numpy(), ta.detach().numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(b.numpy(), tb.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_large_parameters_are_updated_as_small_ones(name: str, options: dict[str, Any]) -> None:
    """Blocks that fit the cache, against one pass: more elements than a block, a number that it does not divide."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=70_001)
    whole = gg.tensor(values, requires_grad=True)
    pieces = [gg.tensor(part, requires_grad=True) for part in np.array_split(values, 7)]
    many, few = getattr(optim, name)(pieces, **options), getattr(optim, name)([whole], **options)
    for _ in range(3):
        grads = rng.normal(size=70_001)
        whole.grad = grads
        for piece, grad in zip(pieces, np.array_split(grads, 7), strict=True):
            piece.grad = grad
        many.step()
        few.step()
    np.testing.assert_allclose(np.concatenate([p.numpy() for p in pieces]), whole.numpy(), rtol=1e-12)


def test_groups_have_options_of_their_own_that_may_change() -> None:
    a, b = gg.tensor([1.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    (a + b).sum().backward()
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([0.9, 0.5])
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([0.8, 0.25])


def test_weight_decay_is_l2_regularisation() -> None:
    """The lectures' loss + lambda * sum(w**2) has the gradient that weight_decay = 2 lambda adds."""
    w, v = gg.tensor([2.0, -1.0], requires_grad=True), gg.tensor([2.0, -1.0], requires_grad=True)
    (w.sum() + 0.05 * (w * w).sum()).backward()
    v.sum().backward()
    optim.SGD([w], lr=0.1).step()
    optim.SGD([v], lr=0.1, weight_decay=0.1).step()
    np.testing.assert_allclose(w.numpy(), v.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {"amsgrad": True})])
def test_state_goes_on_where_it_stopped(name: str, options: dict[str, Any]) -> None:
    def run(w: gg.Tensor, optimizer: optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()

    w = gg.tensor([1.0, -2.0], requires_grad=True)
    optimizer = getattr(optim, name)([w], lr=0.05, **options)
    run(w, optimizer, 5)
    saved, values = optimizer.state_dict(), w.numpy().copy()
    run(w, optimizer, 5)
    again = gg.tensor(values, requires_grad=True)
    other = getattr(optim, name)([again], lr=0.9, **options)
    other.load_state_dict(saved)
    run(again, other, 5)
    np.testing.assert_array_equal(w.numpy(), again.numpy())


def test_a_state_of_other_shapes_is_refused_whole() -> None:
    w, v = gg.tensor([1.0, 2.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    first, second = optim.Adam([w]), optim.Adam([v])
    w.grad = [1.0, 1.0]
    first.step()
    with pytest.raises(gg.CheckpointError, match="state of parameter 0"):
        second.load_state_dict(first.state_dict())
    with pytest.raises(gg.CheckpointError, match="other parameter groups"):
        optim.Adam([{"params": [v]}, {"params": [w]}]).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.SGD([], lr=0.1), "no parameters"),
        (lambda w: optim.SGD([w], lr=-1), "lr must be 0 or more, got -1"),
        (lambda w: optim.SGD([w], lr=float("nan")), "lr must be 0 or more, got nan"),
        (lambda w: optim.SGD([w, w], lr=1), "appears twice"),
        (lambda w: optim.SGD([w * 2], lr=1), "takes leaves"),
        (lambda w: optim.SGD([3.0], lr=1), "takes Tensors, got float"),
        (lambda w: optim.SGD([w], lr=1, nesterov=True), "nesterov=True needs momentum"),
        (lambda w: optim.Adam([w], betas=(0.9, 1.0)), r"betas must be in \[0, 1\)"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ValueError, gg.GpugradError), match=message):
        make(gg.tensor([1.0], requires_grad=True))
