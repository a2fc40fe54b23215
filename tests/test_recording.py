"""A whole training step is a flat list of op records: everything that computes passes `apply`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.modes import Record, recording
from gpugrad.nn import functional as F


def make(optimizer: str) -> tuple[nn.Module, optim.Optimizer, np.ndarray, np.ndarray]:
    gg.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    makers = {
        "sgd": lambda p: optim.SGD(p, lr=0.05),
        "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=1e-3),
        "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
        "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
        "adagrad": lambda p: optim.Adagrad(p, lr=0.05, lr_decay=0.1),
        "adadelta": lambda p: optim.Adadelta(p),
        "adamax": lambda p: optim.Adamax(p, lr=0.01),
        "nadam": lambda p: optim.NAdam(p, lr=0.01),
        "radam": lambda p: optim.RAdam(p, lr=0.01),
    }
    return model, makers[optimizer](model.parameters()), np.zeros((32, 6), np.float32), np.zeros(32, np.int64)


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    return [(rng.normal(size=(32, 6)).astype(np.float32), rng.integers(0, 4, 32)) for _ in range(count)]


def step(model: nn.Module, optimizer: optim.Optimizer, x: np.ndarray, y: np.ndarray) -> gg.Tensor:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def replay(records: list[Record]) -> dict[int, Any]:
    """Run the list by hand: each op's plain NumPy forward, on the arrays that earlier records made."""
    made: dict[int, Any] = {}
    for record in records:
        inputs = [made.get(id(value), value) for value in record.inputs]
        out = record.op.numpy(*inputs, **record.params)
        if record.op.mutates is None:
            made[id(record.out)] = np.asarray(out[0] if record.op.has_aux else out)
    return made


@pytest.mark.parametrize(
    "name", ["sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam"]
)
def test_a_recorded_step_replays_to_the_eager_numbers(name: str) -> None:
    data = batches(22)
    model, optimizer, x, y = make(name)
    eager_losses = []
    for bx, by in data:
        x[...], y[...] = bx, by
        eager_losses.append(step(model, optimizer, x, y).item())
    eager = {k: v.numpy().copy() for k, v in model.state_dict().items()}

    model, optimizer, x, y = make(name)
    x[...], y[...] = data[0]
    losses = [step(model, optimizer, x, y).item()]  # makes the optimiser's state
    x[...], y[...] = data[1]
    with recording() as records:
        loss = step(model, optimizer, x, y)
    losses.append(loss.item())
    for bx, by in data[2:]:
        x[...], y[...] = bx, by
        losses.append(replay(records)[id(loss.data)].item())

    np.testing.assert_allclose(losses, eager_losses, rtol=1e-6)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), eager[key], rtol=2e-5, atol=1e-6, err_msg=key)
    assert eager_losses[-1] < eager_losses[0]  # and it trained


def test_a_recorded_step_prints_as_a_flat_program() -> None:
    model, optimizer, x, y = make("adam")
    step(model, optimizer, x, y)
    with recording() as records:
        step(model, optimizer, x, y)
    text = [repr(record) for record in records]
    names = [record.op.name for record in records]
    assert names[:2] == ["linear_layers", "cross_entropy"]
    assert names[-2:] == ["adam_", "add_"]
    assert "float32[32, 6]" in text[0]
    assert "= linear_layers(" in text[0]
    assert "mutates" in text[-1]
    assert all("\n" not in line for line in text)


def test_every_operand_of_a_recorded_step_is_an_input_a_state_or_an_earlier_result() -> None:
    """Nothing was computed beside `apply`: an array from nowhere would be a constant that a replay could not renew."""
    model, optimizer, x, y = make("adam")
    step(model, optimizer, x, y)
    with recording() as records:
        step(model, optimizer, x, y)
    known = {id(x), id(y), id(optimizer._rates[0])} | {id(p.data) for p in model.parameters()}
    known |= {id(a) for state in optimizer._state.values() for a in state.values()}
    constants = []
    for record in records:
        for value in record.inputs:
            if isinstance(value, np.ndarray) and id(value) not in known:
                constants.append((record.op.name, value))
        known.add(id(record.out))
    assert all(value.size == 1 for _, value in constants), constants  # the cotangent of the loss, 1, and no other
    assert len(constants) <= 2


def test_random_draws_are_recorded() -> None:
    with recording() as records:
        nn.init.kaiming_uniform_(gg.zeros((3, 2)))
    assert [r.op.name for r in records] == ["random_uniform", "multiply", "add", "assign_"]
