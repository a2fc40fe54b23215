"""Arrays of several names: what is written through one is seen through the others, as in NumPy, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck

X = np.arange(1.0, 7).reshape(2, 3)


def two_names(x: Any) -> Any:
    y = x * 2
    z = y
    z += 1
    return (y * z).sum()


def in_a_list(x: Any) -> Any:
    y = x * 2
    kept = [y]
    y *= x
    return (kept[0] * y).sum()


def an_argument(x: Any) -> Any:
    def scaled(v: Any) -> None:
        v /= 4

    y = x * x
    scaled(y)
    return (y**2).sum()


def by_index(x: Any) -> Any:
    y = x * 2
    y[0] *= 3
    y[:, 1:] -= y[0, 0]
    y[1, 2] = y[0, 1] * y[1, 0]
    return (y**2).sum()


def a_copy(x: Any) -> Any:
    y = x * 2
    row = y[0].copy()
    row *= 3
    return (y * row).sum()


def a_view_of_nothing_else(x: Any) -> Any:
    row = (x * 2)[0]
    row *= 3
    row[1] = row[0]
    return (row**2).sum()


@pytest.mark.parametrize("program", [two_names, in_a_list, an_argument, by_index, a_copy, a_view_of_nothing_else])
def test_programs_give_numpys_numbers(program: Callable[[Any], Any]) -> None:
    assert program(gg.tensor(X)).item() == program(X.copy())
    assert gradcheck(program, (X,))
    assert float(gg.value_and_grad(program)(X)[0]) == program(X.copy())


def a_row(y: Any) -> None:
    row = y[0]
    row *= 3


def every_row(y: Any) -> None:
    for row in y:
        row /= row.sum()


def an_element_of_a_view(y: Any) -> None:
    flat = y.ravel()
    flat[0] = 7.0


def an_element_of_a_row(y: Any) -> None:
    i = 1
    y[0][i] = 5.0


def a_transposed(y: Any) -> None:
    t = y.T
    t //= 2


def one_squeezed(y: Any) -> None:
    t = gg.squeeze(y)
    t *= 2


@pytest.mark.parametrize("write", [a_row, every_row, an_element_of_a_view, an_element_of_a_row, a_transposed, one_squeezed])
def test_a_write_through_a_view_that_would_be_lost_is_refused(write: Callable[[Any], None]) -> None:
    y = gg.tensor(X, requires_grad=True) * 2
    with pytest.raises(gg.GradientError, match=r"on a view, .*NumPy would change both") as caught:
        write(y)
    assert f"test_aliases.py:{write.__code__.co_firstlineno + 2}" in str(caught.value)
    with gg.no_grad():  # nothing is recorded, so memory is shared as in NumPy
        z = gg.tensor(X)
        write(z)
        expected = X.copy()
        write(expected)
        np.testing.assert_array_equal(z.numpy(), expected)
