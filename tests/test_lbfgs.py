"""L-BFGS: minima that are known, PyTorch's losses step for step, state, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import optim

WOLFE = {"line_search_fn": "strong_wolfe"}


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


LOSSES: dict[str, Any] = {
    "quadratic": lambda m, a, b, matrix: ((a @ matrix - 1) ** 2).sum() + ((b * b).sum() - 2) ** 2,
    "rosenbrock": lambda m, a, b, matrix: rosenbrock(b) + rosenbrock(a.reshape(-1)),
    "cosines": lambda m, a, b, matrix: m.cos(a).sum() + (b**4 - b**2).sum() + 0.1 * (a**2).sum(),
}


def minimise(optimizer: Any, loss: Any, steps: int) -> list[float]:
    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return [optimizer.step(closure).item() for _ in range(steps)]


def test_the_minimum_of_rosenbrocks_function_is_found() -> None:
    x = gg.tensor(np.array([-1.2, 1.0, -0.5, 0.8]), requires_grad=True)
    minimise(optim.LBFGS([x], max_iter=100, **WOLFE), lambda: rosenbrock(x), 3)
    np.testing.assert_allclose(x.numpy(), np.ones(4), rtol=1e-5)


def test_a_quadratic_form_takes_as_many_steps_as_it_has_dimensions() -> None:
    """With exact line searches; here they are nearly so, since the cubic through two points of a parabola is the parabola."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 4))
    matrix, x = matrix @ matrix.T + np.eye(4), gg.tensor(rng.normal(size=4), requires_grad=True)
    optimizer = optim.LBFGS([x], max_iter=30, **WOLFE)
    minimise(optimizer, lambda: 0.5 * x @ matrix @ x - x.sum(), 1)
    np.testing.assert_allclose(x.numpy(), np.linalg.solve(matrix, np.ones(4)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "max_iter": 7},
        WOLFE,
        WOLFE | {"history_size": 3, "lr": 0.5},
        WOLFE | {"max_iter": 4, "max_eval": 5},
        WOLFE | {"max_eval": 3},
    ],
)
@pytest.mark.parametrize("problem", LOSSES)
def test_losses_follow_pytorch(problem: str, options: dict[str, Any]) -> None:
    """For about thirty evaluations: after that, PyTorch's own losses from starts that differ by 1e-15 part by per cents."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    start, other, matrix = rng.normal(size=(3, 4)) / 2, rng.normal(size=5) / 2, rng.normal(size=(4, 4)) / 4
    if problem == "rosenbrock" and "lr" in options:
        options = options | {"lr": 0.001}
    losses = []
    for library, tensor in ((gg, gg.tensor), (torch, torch.tensor)):
        a, b = tensor(start, requires_grad=True), tensor(other, requires_grad=True)
        constants = library, a, b, tensor(matrix)
        losses.append(minimise(library.optim.LBFGS([a, b], **options), lambda c=constants: LOSSES[problem](*c), 4))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("options", [{}, WOLFE])
def test_a_state_of_pytorch_is_taken_over(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    t = torch.tensor([0.3, -0.8, 1.2], dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.LBFGS([t], max_iter=3, **options)
    minimise(theirs, lambda: (torch.cos(t) + t**2 * (t - 1) ** 2).sum(), 2)
    w = gg.tensor(t.detach().numpy().copy(), requires_grad=True)
    ours = optim.LBFGS([w])
    ours.load_state_dict(theirs.state_dict())
    expected = minimise(theirs, lambda: (torch.cos(t) + t**2 * (t - 1) ** 2).sum(), 3)
    np.testing.assert_allclose(minimise(ours, lambda: (gg.cos(w) + w**2 * (w - 1) ** 2).sum(), 3), expected, rtol=1e-8)


@pytest.mark.parametrize("options", [{"lr": 0.001}, WOLFE])
def test_a_saved_state_goes_on_where_it_stopped(options: dict[str, Any], tmp_path: Path) -> None:
    x = gg.tensor(np.array([-1.2, 1.0, 0.5]), requires_grad=True)
    optimizer = optim.LBFGS([x], max_iter=4, **options)
    minimise(optimizer, lambda: rosenbrock(x), 3)
    gg.save({"x": x, "optimizer": optimizer.state_dict()}, tmp_path / "state")
    expected = minimise(optimizer, lambda: rosenbrock(x), 3)

    saved = gg.load(tmp_path / "state")
    y = gg.tensor(saved["x"], requires_grad=True)
    again = optim.LBFGS([y])
    again.load_state_dict(saved["optimizer"])
    assert minimise(again, lambda: rosenbrock(y), 3) == expected


def test_a_state_of_another_size_is_refused_whole() -> None:
    x, y = gg.tensor([1.0, 2.0], requires_grad=True), gg.tensor([1.0], requires_grad=True)
    first, second = optim.LBFGS([x]), optim.LBFGS([y])
    minimise(first, lambda: (x**2).sum(), 1)
    with pytest.raises(gg.CheckpointError, match=r"has shape \(2,\), expected \(1,\); nothing was loaded"):
        second.load_state_dict(first.state_dict())
    assert second.state_dict()["state"] == {}
    with pytest.raises(gg.CheckpointError, match="other parameters; nothing was loaded"):
        optim.LBFGS([x, y]).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.LBFGS([w], line_search_fn="armijo"), "must be None or 'strong_wolfe'"),
        (lambda w: optim.LBFGS([{"params": [w]}, {"params": [gg.ones(1)]}]), "one group"),
        (lambda w: optim.LBFGS([w]).add_param_group({"params": [gg.ones(1)]}), "one group"),
        (lambda w: optim.LBFGS([w, gg.ones(2, dtype="float64")]), "one dtype on one device"),
        (lambda w: optim.LBFGS([gg.tensor([1j])]), "takes real parameters"),
        (lambda w: optim.LBFGS([w]).step(), "needs a closure"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make(gg.tensor([1.0], requires_grad=True))
