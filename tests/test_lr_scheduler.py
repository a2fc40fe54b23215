"""Learning rate schedules: PyTorch's step for step, hand values, states, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import optim
from gpugrad.optim import lr_scheduler

Make = Callable[[Any, Any], list[Any]]
"""Given a library's lr_scheduler and an optimiser, the schedules that act on it together."""

STEPS = 200

CASES: dict[str, Make] = {
    "step": lambda S, o: [S.StepLR(o, step_size=7, gamma=0.7)],
    "step, positional": lambda S, o: [S.StepLR(o, 30, 0.5)],
    "milestones": lambda S, o: [S.MultiStepLR(o, milestones=[3, 50, 50, 120], gamma=0.3)],
    "exponential": lambda S, o: [S.ExponentialLR(o, gamma=0.95)],
    "exponential, vanishing": lambda S, o: [S.ExponentialLR(o, gamma=0.01)],
    "linear": lambda S, o: [S.LinearLR(o)],
    "linear, to zero": lambda S, o: [S.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=150)],
    "cosine": lambda S, o: [S.CosineAnnealingLR(o, T_max=200)],
    "cosine, again and again": lambda S, o: [S.CosineAnnealingLR(o, T_max=13, eta_min=0.003)],
    "lambda": lambda S, o: [S.LambdaLR(o, lambda epoch: 1 / (1 + 0.1 * epoch))],
    "lambda for each group": lambda S, o: [S.LambdaLR(o, [lambda epoch: 0.98**epoch, lambda epoch: 1 + epoch % 3])],
    "one cycle": lambda S, o: [S.OneCycleLR(o, max_lr=1.5, total_steps=STEPS + 1)],
    "one cycle, linear": lambda S, o: [
        S.OneCycleLR(o, max_lr=[1.0, 0.1], epochs=21, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.25, div_factor=5)
    ],
    "one cycle, three phases": lambda S, o: [
        S.OneCycleLR(o, 1.0, STEPS + 1, three_phase=True, base_momentum=[0.6, 0.7], max_momentum=0.99, final_div_factor=10)
    ],
    "one cycle of the rate alone": lambda S, o: [S.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False)],
    "warm-up, then cosine": lambda S, o: [
        S.SequentialLR(o, [S.LinearLR(o, 0.1, total_iters=20), S.CosineAnnealingLR(o, 180)], [20])
    ],
    "three after another": lambda S, o: [
        S.SequentialLR(o, [S.LambdaLR(o, lambda epoch: epoch / 10), S.StepLR(o, 30, 0.5), S.ExponentialLR(o, 0.9)], [10, 100])
    ],
    "warm-up and decay at once": lambda S, o: [S.LinearLR(o, total_iters=10), S.ExponentialLR(o, 0.97), S.StepLR(o, 40)],
    "cosine and decay at once": lambda S, o: [S.CosineAnnealingLR(o, 31, 0.001), S.MultiStepLR(o, [20, 90])],
}

PLATEAUS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "maximum": {"mode": "max", "patience": 3, "factor": 0.5},
    "difference": {"threshold_mode": "abs", "threshold": 0.02, "patience": 2, "cooldown": 4, "factor": 0.8},
    "maximum by difference": {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 0, "factor": 0.9},
    "least rates": {"patience": 1, "factor": 0.3, "min_lr": [0.01, 0.02], "eps": 1e-3, "threshold": 0.0},
}


def make(name: str = "SGD", library: Any = gg) -> Any:
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [{"params": [library.ones(1)], "lr": 0.8}, {"params": [library.ones(1)], "lr": 0.05}]
    return getattr(library.optim, name)(groups, **options)


def rates(optimizer: Any) -> list[float]:
    """All that a schedule sets."""
    return [float(x) for g in optimizer.param_groups for x in (g["lr"], g.get("momentum", 0), *g.get("betas", ()))]


def metric(epoch: int) -> float:
    """Falls, then stays and wavers."""
    return math.exp(-epoch / 20) + 0.1 * math.sin(epoch * 1.7)


def trajectory(optimizer: Any, schedules: list[Any], steps: int, first: int = 0) -> list[list[float]]:
    seen = [rates(optimizer)]
    for epoch in range(first, first + steps):
        optimizer.step()
        for schedule in schedules:
            schedule.step(*[metric(epoch)] if hasattr(schedule, "best") else [])
        seen.append(rates(optimizer))
    return seen


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's own, of step() within its SequentialLR
def test_two_hundred_steps_follow_pytorch(case: str, optimizer: str) -> None:
    torch = pytest.importorskip("torch")
    mine, other = make(optimizer), make(optimizer, torch)
    expected = trajectory(other, CASES[case](torch.optim.lr_scheduler, other), STEPS - 1)
    np.testing.assert_allclose(trajectory(mine, CASES[case](lr_scheduler, mine), STEPS - 1), expected, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("case", PLATEAUS)
def test_two_hundred_metrics_follow_pytorch(case: str) -> None:
    torch = pytest.importorskip("torch")
    mine, other = make(), make(library=torch)
    expected = trajectory(other, [torch.optim.lr_scheduler.ReduceLROnPlateau(other, **PLATEAUS[case])], STEPS)
    got = trajectory(mine, [lr_scheduler.ReduceLROnPlateau(mine, **PLATEAUS[case])], STEPS)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert got[0] != got[-1]


ALL: dict[str, Make] = CASES | {
    f"plateau, {name}": lambda S, o, options=options: [S.ReduceLROnPlateau(o, **options)] for name, options in PLATEAUS.items()
}


@pytest.mark.parametrize("case", ALL)
def test_a_saved_schedule_goes_on_where_it_was(case: str, tmp_path: Any) -> None:
    optimizer = make()
    schedules = ALL[case](lr_scheduler, optimizer)
    trajectory(optimizer, schedules, 60)
    gg.save({"optimizer": optimizer.state_dict(), "schedules": [s.state_dict() for s in schedules]}, tmp_path / "state")
    expected = trajectory(optimizer, schedules, 60, 60)

    state = gg.load(tmp_path / "state")
    again = make()
    resumed = ALL[case](lr_scheduler, again)
    again.load_state_dict(state["optimizer"])
    for schedule, saved in zip(resumed, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    assert trajectory(again, resumed, 60, 60) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (lambda o: lr_scheduler.StepLR(o, 2, 0.5), [0.8, 0.8, 0.4, 0.4, 0.2]),
        (lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.5), [0.8, 0.4, 0.4, 0.4, 0.2]),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.5), [0.8, 0.4, 0.2, 0.1, 0.05]),
        (lambda o: lr_scheduler.LinearLR(o, 0.25, 1, 3), [0.2, 0.4, 0.6, 0.8, 0.8]),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 2, 0.2), [0.8, 0.5, 0.2, 0.5, 0.8]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: t), [0, 0.8, 1.6, 2.4, 3.2]),
        (lambda o: lr_scheduler.OneCycleLR(o, 2.5, 5, pct_start=0.6, anneal_strategy="linear"), [0.1, 1.3, 2.5, 1.250005, 1e-5]),
    ],
)
def test_rates_by_hand(of: Any, expected: list[float]) -> None:
    optimizer = make()
    schedule = of(optimizer)
    np.testing.assert_allclose([row[0] for row in trajectory(optimizer, [schedule], 4)], expected, rtol=1e-10)
    assert schedule.get_last_lr()[0] == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("case", ["step", "cosine", "lambda", "one cycle"])
def test_last_epoch_goes_on_from_an_optimisers_own_rates(case: str) -> None:
    optimizer = make()
    (schedule,) = CASES[case](lr_scheduler, optimizer)
    trajectory(optimizer, [schedule], 20)
    again = make()
    again.load_state_dict(optimizer.state_dict())
    arguments = {
        "step": lambda o: lr_scheduler.StepLR(o, 7, 0.7, last_epoch=20),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 200, last_epoch=20),
        "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + 0.1 * epoch), last_epoch=20),
        "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 1.5, STEPS + 1, last_epoch=20),
    }
    resumed = arguments[case](again)
    schedule.step()
    np.testing.assert_allclose(rates(again), rates(optimizer), rtol=1e-12)
    assert resumed.last_epoch == schedule.last_epoch == 21


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda o: lr_scheduler.StepLR(0.1, 3), "StepLR takes an optimiser first, got float"),
        (lambda o: lr_scheduler.StepLR(o, 0), "StepLR: step_size must be at least 1, got 0"),
        (lambda o: lr_scheduler.StepLR(o), "step_size"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=0), "T_max must be at least 1"),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9, last_epoch=3), "last_epoch=3 needs 'initial_lr'"),
        (lambda o: lr_scheduler.LinearLR(o, start_factor=0), "factors must be in"),
        (lambda o: lr_scheduler.LambdaLR(o, [math.exp]), "got 1 values for 2 groups"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0), "must be at least 1"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 10, anneal_strategy="cubic"), "'cubic'"),
        (lambda o: lr_scheduler.OneCycleLR(optim.Adagrad([gg.ones(1)]), 1.0, 10), "Adagrad has no momentum"),
        (lambda o: trajectory(o, [lr_scheduler.OneCycleLR(o, 1.0, 10)], 11), "step 11 of a cycle of 10"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), "factor must be below 1"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="least"), "'least'"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr: got 1 values for 2 groups"),
        (lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 3)], [5]), "1 schedules need one fewer"),
        (
            lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 3)] * 3, [5, 2]),
            r"milestones, got \[5, 2\]",
        ),
        (lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.ReduceLROnPlateau(o)], []), "takes a metric"),
        (lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(make(), 3)], []), "for another optimiser"),
        (lambda o: lr_scheduler.StepLR(o, 3).load_state_dict({"last_epoch": 3}), "lacks base_lrs, gamma, step_size"),
        (
            lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 3)], []).load_state_dict({}),
            "has 0 schedules, expected 1",
        ),
    ],
)
def test_bad_arguments_are_refused(misuse: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, gg.CheckpointError), match=message):
        misuse(make())
