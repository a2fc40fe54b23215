"""Cotangents of parts: reading an array piece by piece costs as much backward as forward, and everything else still holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.modes import recording
from gpugrad.testing import gradcheck, gradgradcheck

rng = np.random.default_rng(2)
X = rng.normal(size=(4, 3))


def squares(parts: Any) -> Any:
    return sum(((part * part).sum() * (i + 1) for i, part in enumerate(parts)), 0.0)


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "iteration": squares,
    "unpacking": lambda x: (lambda a, b, c, d: (a * b + c * d * d).sum())(*x),
    "indices": lambda x: squares(x[i] for i in range(4)),
    "from the end, numpy's integers": lambda x: squares(x[np.int64(-i - 1)] for i in range(4)),
    "unstack": lambda x: squares(gg.unstack(x, 1)),
    "split": lambda x: squares(gg.split(x, 2)),
    "array_split": lambda x: squares(gg.array_split(x, 3, 1)),
    "single elements": lambda x: squares(x[i, j] for i in range(4) for j in range(3)),
    "of a vector": lambda x: squares(x.ravel()[i] for i in range(12)),
    "overlapping": lambda x: (x[1:] * x[:-1]).sum() + (x[:, ::2] ** 3).sum() + (x[::-1] * x[0]).sum(),
    "a part and the whole": lambda x: (x * x).sum() + (x[1] ** 3).sum(),
    "the whole after a part": lambda x: (x[1] ** 3).sum() + (gg.exp(x) * x).sum(),
    "masks and lists": lambda x: (x[[0, 0, 2]] ** 2).sum() + (x[x.data > 0] ** 3).sum() + (x[1] * x[2]).sum(),
    "of parts": lambda x: (x[1:][1:][0] * x[1:][0]).sum() + (x[1:, 1] ** 2).sum(),
    "of a result": lambda x: squares(gg.tanh(x)) + squares(gg.sin(x)[:, 0]),
    "new axes": lambda x: (x[None, 0] * x[:, None, 1:2]).sum() + (x[..., -1] ** 2).sum(),
    "broadcast": lambda x: (x[0] * gg.ones((5, 3), "float64")).sum() + x[0, 0] * 2.0,
    "nothing": lambda x: x[0:0].sum() + (x[2] ** 2).sum(),
    "a recurrence": lambda x: _recurrence(x),
}


def _recurrence(x: Any) -> Any:
    state = gg.zeros(3, "float64")
    for i in range(x.shape[0]):
        state = gg.tanh(x[i] + 0.5 * state)
    return (state * state).sum()


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_of_both_orders_in_both_modes(name: str) -> None:
    def program(x: Any) -> Any:
        return PROGRAMS[name](gg.asarray(x))

    assert gradcheck(program, (X,))
    assert gradgradcheck(program, (X,))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_recorded_walk_gives_the_same(name: str) -> None:
    x = gg.tensor(X, requires_grad=True)
    PROGRAMS[name](x).backward()
    expected = x.grad.numpy()
    y = gg.tensor(X, requires_grad=True)
    PROGRAMS[name](y).backward(create_graph=True)
    np.testing.assert_allclose(y.grad.detach().numpy(), expected, rtol=1e-13)
    z = gg.tensor(X, requires_grad=True)
    with recording():
        PROGRAMS[name](z).backward()
    np.testing.assert_allclose(z.grad.numpy(), expected, rtol=1e-13)
    with gg.detect_anomaly():
        w = gg.tensor(X, requires_grad=True)
        PROGRAMS[name](w).backward()
    np.testing.assert_array_equal(w.grad.numpy(), expected)


@pytest.mark.parametrize("interior", [False, True])
def test_one_array_is_made_for_all_the_parts(interior: bool) -> None:
    n = 50
    x = gg.tensor(np.ones((n, 2)), requires_grad=True)
    with recording() as records:
        loss = squares(gg.exp(x) if interior else x)
        start = len(records)
        loss.backward()
    made = [record for record in records[start:] if not isinstance(record.out, tuple) and record.out.shape == (n, 2)]
    assert [record.op.name for record in made] == ["index_sum"] + ["multiply"] * interior


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_dtypes_are_kept(dtype: str) -> None:
    x = gg.tensor(X.astype(dtype), requires_grad=True)
    gg.real(squares(x)).backward()
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(x.grad.numpy(), np.conj(2 * X.astype(dtype)) * np.arange(1, 5)[:, None], rtol=1e-3)


def test_gradients_are_nobody_elses() -> None:
    x = gg.tensor(X, requires_grad=True)
    y = x[:]
    (y + 0.0).sum().backward()
    kept = x.grad.numpy()
    x.grad = None
    squares(x).backward()
    x.grad.data[...] = 0
    np.testing.assert_array_equal(kept, np.ones((4, 3)))


def test_a_walk_twice_over_one_tape() -> None:
    x = gg.tensor(X, requires_grad=True)
    loss = squares(gg.sin(x))
    loss.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first, rtol=1e-14)


@pytest.mark.parametrize("interior", [False, True])
def test_hooks_see_the_whole(interior: bool) -> None:
    x = gg.tensor(X, requires_grad=True)
    h = gg.sin(x) if interior else x
    seen: list[gg.Tensor] = []
    h.register_hook(lambda gradient: seen.append(gradient) or 2 * gradient)  # type: ignore[func-returns-value]
    squares(h).backward()
    (gradient,) = seen
    expected = 2 * (np.sin(X) if interior else X) * np.arange(1, 5)[:, None]
    np.testing.assert_allclose(gradient.numpy(), expected)
    np.testing.assert_allclose(x.grad.numpy(), 2 * expected * (np.cos(X) if interior else 1))


def test_transforms_checkpoints_and_pictures() -> None:
    expected = 2 * X * np.arange(1, 5)[:, None]
    np.testing.assert_allclose(gg.grad(squares)(X), expected)
    np.testing.assert_allclose(gg.grad(lambda x: gg.checkpoint(lambda y: squares(y), x))(X), expected)
    np.testing.assert_allclose(gg.jacobian(lambda x: gg.stack([row.sum() for row in x]))(X).sum(0), np.ones((4, 3)))
    _, tangent = gg.jvp(squares, (X,), (np.ones((4, 3)),))
    np.testing.assert_allclose(tangent, expected.sum())
    np.testing.assert_allclose(gg.hvp(squares, (X,), (np.ones((4, 3)),)), expected / X)
    x = gg.tensor(X, requires_grad=True)
    h = gg.exp(x)
    loss = squares(h)
    loss.backward(retain_graph=True)
    assert "getitem" in str(gg.draw(loss))


def test_an_anomaly_in_a_part_is_found() -> None:
    x = gg.tensor(np.array([1.0, 0.0]), requires_grad=True)
    with gg.detect_anomaly(), pytest.raises(gg.AnomalyError, match=r"backward of sqrt"):
        (gg.sqrt(x[0]) + gg.sqrt(x[1])).backward()


def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, t = gg.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    for a, library in ((x, gg), (t, torch)):
        state, *rows = a
        for row in rows:
            state = library.cos(state * row) + a[1:3, :].sum(0)
        (library.stack([state, rows[1]]) ** 2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_many_directions_at_once(name: str) -> None:
    def program(x: Any) -> Any:
        return PROGRAMS[name](gg.asarray(x))

    direction = rng.normal(size=X.shape)
    hessian = gg.hessian(program)(X).reshape(12, 12)
    np.testing.assert_allclose(hessian @ direction.ravel(), gg.hvp(program, (X,), (direction,)).ravel(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("index", [(slice(None), np.array([0, 1, 0])), (slice(None), [[]]), np.zeros((0, 2), int)])
def test_parts_of_nothing(index: Any) -> None:
    x = np.ones((0, 2))
    assert gg.grad(lambda x: x[index].sum() + x[:, 0].sum())(x).shape == (0, 2)
    assert gg.hessian(lambda x: (x[index] ** 2).sum())(x).shape == (0, 2, 0, 2)


def test_a_sum_of_parts_that_fails_at_a_leaf_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def dense(*args: Any) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr("gpugrad.placed.Placed.dense", dense)
    with pytest.raises(gg.GpugradError, match=r"backward of a leaf failed: .*none left"):
        gg.tensor(X, requires_grad=True)[0].sum().backward()


@pytest.mark.parametrize("index", [np.array([2, 1, -2]), (np.array([[0, 0], [1, 0]]), np.array([1, 1])), [3, 3]])
def test_what_was_written_over_has_no_gradient(index: Any) -> None:
    def assigned(x: Any, v: Any) -> Any:
        y = gg.asarray(x) * 1.0
        y[index] = v
        return y**2

    value = rng.normal(size=X[index].shape)
    expected = X.copy()
    expected[index] = value
    np.testing.assert_array_equal(assigned(gg.tensor(X), value).numpy(), expected**2)
    assert gradcheck(assigned, (X, value))
    assert gradgradcheck(assigned, (X, value))
    rows = gg.jacobian(assigned, 1)(X, value)
    np.testing.assert_array_equal(gg.jacobian(assigned, 1, chunk_size=1)(X, value), rows)
