"""Arrays that are changed after the tape saved them: refused with both lines, and what does no harm is let through."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg


def leaf(value: Any) -> gg.Tensor:
    return gg.tensor(np.asarray(value, np.float64), requires_grad=True)


def gradient(tensor: gg.Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return tensor.grad.data


def no_grad_operator(x: gg.Tensor) -> None:
    with gg.no_grad():
        x *= 3.0  # CHANGED


def no_grad_item(x: gg.Tensor) -> None:
    with gg.no_grad():
        x[0] = 9.0  # CHANGED


def data_operator(x: gg.Tensor) -> None:
    x.data -= 1.0  # CHANGED


def data_item(x: gg.Tensor) -> None:
    x.data[0] = 9.0  # CHANGED


def data_slice(x: gg.Tensor) -> None:
    x.data[1:] += 1.0  # CHANGED


def data_out(x: gg.Tensor) -> None:
    np.multiply(2.0, 3.0, out=x.data)  # CHANGED


def data_kept(x: gg.Tensor) -> None:
    raw = x.data  # CHANGED
    raw.sort()
    raw += 1.0


def numpy_array(x: gg.Tensor) -> None:
    x.numpy().fill(0.0)  # CHANGED


def view(x: gg.Tensor) -> None:
    part = x.detach()[1:]
    part += 1.0  # CHANGED


def reshaped_view(x: gg.Tensor) -> None:
    with gg.no_grad():
        part = x.reshape(2, 1).T[0, :1]
        part[0] = 5.0  # CHANGED


def detached(x: gg.Tensor) -> None:
    alias = x.detach()
    alias -= 1.0  # CHANGED


def detached_data(x: gg.Tensor) -> None:
    x.detach().data[0] = 9.0  # CHANGED


def optimizer_update(x: gg.Tensor) -> None:
    gg.ops.updates.assign_(x, np.array([5.0, 5.0]))  # CHANGED


CHANGES = [
    no_grad_operator, no_grad_item, data_operator, data_item, data_slice, data_out, data_kept, numpy_array,
    view, reshaped_view, detached, detached_data, optimizer_update,
]  # fmt: skip


def line_of(function: Callable[..., Any], mark: str) -> str:
    """`file:line` of the line that is marked."""
    lines, start = inspect.getsourcelines(function)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if mark in line)},"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_saved_input_that_was_changed_is_refused(change: Callable[[gg.Tensor], None]) -> None:
    x = leaf([2.0, 1.0])
    y = x * x  # RAN
    change(x)
    with pytest.raises(gg.GradientError) as caught:
        y.sum().backward()
    message = str(caught.value)
    assert "backward of multiply: float64[2], which it had saved, was " in message
    assert line_of(change, "# CHANGED") in message
    assert line_of(test_a_saved_input_that_was_changed_is_refused, "# RAN") in message
    assert x.grad is None


RAW: list[Callable[[gg.Tensor], Any]] = [
    lambda x: x.data,
    lambda x: x.numpy(),
    np.asarray,
    lambda x: x.detach().data,
    lambda x: x.T.data,
    lambda x: x.reshape(-1).data,
]
VIEWS: list[Callable[[gg.Tensor], gg.Tensor]] = [
    lambda x: x,
    lambda x: x.T,
    lambda x: x[1:],
    lambda x: x[0],
    lambda x: x.reshape(-1),
]


@pytest.mark.parametrize("n", [3, 40])  # small arrays own their memory, larger ones view aligned memory
@pytest.mark.parametrize("raw", RAW)
@pytest.mark.parametrize("view", VIEWS)
def test_a_saved_view_that_was_written_to_through_the_whole_is_refused(
    view: Callable[[gg.Tensor], gg.Tensor], raw: Callable[[gg.Tensor], Any], n: int
) -> None:
    x, w = gg.tensor(np.ones((n, n))), leaf(np.ones((n, n)))
    y = view(x) * view(w)
    raw(x)[...] = 0.0
    with pytest.raises(gg.GradientError, match="which it had saved, was written to through the raw array"):
        y.sum().backward()


def test_a_saved_result_that_was_changed_is_refused() -> None:
    x = leaf([2.0, 1.0])
    y = gg.exp(x)
    loss = y.sum()
    y.data[0] = 0.0
    with pytest.raises(gg.GradientError, match=r"backward of exp: float64\[2\](.|\n)*exp ran at .*y = gg\.exp\(x\)"):
        loss.backward()


def test_an_update_after_backward_is_not_refused() -> None:
    x, w = leaf([2.0, 1.0]), leaf([1.0, 1.0])
    for _ in range(3):
        w.grad = None
        (x * w).sum().backward()
        w.data -= 0.1 * gradient(w)
        w.data[0] -= 0.1
        with gg.no_grad():
            w -= 0.1 * gradient(w)
    np.testing.assert_allclose(gradient(x), [1.0 + 0.5 + 0.0, 1.0 + 0.8 + 0.6], rtol=1e-15)


def test_changing_what_was_not_saved_is_not_refused() -> None:
    x, w, other = leaf([2.0, 1.0]), leaf([1.0, 1.0]), leaf([1.0, 1.0])
    y = (x + w) * other.detach().copy()  # an addition saves neither input
    x.data[0] = 5.0
    other.data[:] = 0.0
    with gg.no_grad():
        w *= 2.0
    y.sum().backward()
    np.testing.assert_array_equal(gradient(x), [1.0, 1.0])


def test_reading_and_renaming_what_was_saved_is_not_refused() -> None:
    x = leaf([2.0, 1.0])
    y = (x * x).sum()
    assert x.data.sum() == float(np.sum(x.numpy())) == 3.0
    x.data = np.zeros(2)  # another array takes the name; the recorded one is unharmed
    y.backward()
    np.testing.assert_array_equal(gradient(x), [4.0, 2.0])


def test_accumulating_over_many_steps_is_not_refused() -> None:
    w = leaf([1.0, 2.0])
    for _ in range(20):
        (w * w).sum().backward()
        w.grad.data[:] = gradient(w)  # type: ignore[union-attr]
    np.testing.assert_array_equal(gradient(w), 40 * w.data)


# --- an optimiser's changes, noted all at once ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda p: gg.optim.SGD(p, lr=0.1), lambda p: gg.optim.Adam(p, lr=0.1)])
def test_a_step_between_forward_and_backward_is_found_every_time(make: Any) -> None:
    a, b = (gg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    optimizer = make([a, b])
    for i in range(4):  # the first step enters the arrays, later ones only move the mark
        if i == 3:  # somebody else's change, after which the optimiser's must still be found
            with gg.no_grad():
                a += 1.0
        optimizer.zero_grad()
        (a * b).sum().backward()
        kept = a * b
        optimizer.step()
        with pytest.raises(gg.GradientError, match=r"was changed in place at .*optimizer.step"):
            kept.sum().backward()


def test_an_optimizer_sees_a_parameter_that_got_another_array() -> None:
    a = gg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = gg.optim.SGD([a], lr=0.1)
    for _ in range(2):
        (a * a).sum().backward()
        kept = a * a
        optimizer.step()
        with pytest.raises(gg.GradientError, match="changed in place"):
            kept.sum().backward()
        a.data = np.array([3.0, 4.0], "float32")
