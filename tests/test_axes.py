"""Axes that are not there, and other bad input to NumPy's functions: refused, never wrapped round to another axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg

MATRIX = np.arange(6.0).reshape(2, 3)

BY_AXIS: dict[str, Callable[[Any, int], Any]] = {
    "flip": lambda x, axis: gg.flip(x, axis),
    "roll": lambda x, axis: gg.roll(x, 1, axis),
    "quantile": lambda x, axis: gg.quantile(x, 0.5, axis),
    "median": lambda x, axis: gg.median(x, axis),
    "nanmedian": lambda x, axis: gg.nanmedian(x, axis),
    "sort": lambda x, axis: gg.sort(x, axis),
    "argsort": lambda x, axis: gg.argsort(x, axis),
    "topk": lambda x, axis: gg.topk(x, 1, axis),
    "sum": lambda x, axis: gg.sum(x, axis),
    "mean": lambda x, axis: gg.mean(x, axis),
    "max": lambda x, axis: gg.max(x, axis),
    "var": lambda x, axis: gg.var(x, axis),
    "prod": lambda x, axis: gg.prod(x, axis),
    "cumsum": lambda x, axis: gg.cumsum(x, axis),
    "cumprod": lambda x, axis: gg.cumprod(x, axis),
    "cummax": lambda x, axis: gg.cummax(x, axis),
    "logcumsumexp": lambda x, axis: gg.logcumsumexp(x, axis),
    "nanmean": lambda x, axis: gg.nanmean(x, axis),
    "average": lambda x, axis: gg.average(x, axis),
    "average by weights": lambda x, axis: gg.average(x, axis, weights=[1.0, 2.0, 3.0]),
    "trapezoid": lambda x, axis: gg.trapezoid(x, axis=axis),
    "trapezoid at x": lambda x, axis: gg.trapezoid(x, [0.0, 1.0, 2.0], axis=axis),
    "gradient": lambda x, axis: gg.gradient(x, axis=axis),
    "diff": lambda x, axis: gg.diff(x, axis=axis),
    "diff prepend": lambda x, axis: gg.diff(x, axis=axis, prepend=0.0),
    "take": lambda x, axis: gg.take(x, [0], axis),
    "gather": lambda x, axis: gg.gather(x, axis, [[0]]),
    "scatter_add": lambda x, axis: gg.scatter_add(x, axis, [[0]], 1.0),
    "index_add": lambda x, axis: gg.index_add(x, axis, [0], [[1.0, 1.0, 1.0]]),
    "repeat": lambda x, axis: gg.repeat(x, 2, axis),
    "concatenate": lambda x, axis: gg.concatenate([x, x], axis),
    "stack": lambda x, axis: gg.stack([x, x], axis + (axis > 0) - (axis < 0)),
    "split": lambda x, axis: gg.split(x, 1, axis),
    "unstack": lambda x, axis: gg.unstack(x, axis=axis),
    "softmax": lambda x, axis: gg.softmax(x, axis),
    "logsumexp": lambda x, axis: gg.logsumexp(x, axis),
    "tensordot": lambda x, axis: gg.tensordot(x, x, ((axis,), (axis,))),
    "vecdot": lambda x, axis: gg.vecdot(x, x, axis),
    "cross": lambda x, axis: gg.cross(x, x, axis),
    "fft": lambda x, axis: gg.fft.fft(x, axis=axis),
    "irfft": lambda x, axis: gg.fft.irfft(x, axis=axis),
    "fftshift": lambda x, axis: gg.fft.fftshift(x, axis),
    "fft2": lambda x, axis: gg.fft.fft2(x, axes=(0, axis)),
    "norm": lambda x, axis: gg.linalg.norm(x, axis=axis),
    "count_nonzero": lambda x, axis: gg.count_nonzero(x, axis),
    "expand_dims": lambda x, axis: gg.expand_dims(x, axis + (axis > 0) - (axis < 0)),
    "squeeze": lambda x, axis: gg.squeeze(x, axis),
    "moveaxis": lambda x, axis: gg.moveaxis(x, axis, 0),
    "swapaxes": lambda x, axis: gg.swapaxes(x, axis, 0),
    "trace": lambda x, axis: gg.trace(x, 0, 0, axis),
    "diagonal": lambda x, axis: gg.diagonal(x, 0, 0, axis),
    "rot90": lambda x, axis: gg.rot90(x, 1, (0, axis)),
}


@pytest.mark.parametrize("axis", [2, 5, -3])
@pytest.mark.parametrize("name", BY_AXIS)
def test_an_axis_that_is_not_there_is_refused(name: str, axis: int) -> None:
    for x in (MATRIX, gg.tensor(MATRIX, requires_grad=True)):
        with pytest.raises(IndexError, match=r"axis|axes|dimension"):
            BY_AXIS[name](x, axis)


@pytest.mark.parametrize("name", ["flip", "sum", "quantile", "nanmean", "prod", "max", "var"])
def test_an_axis_named_twice_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"twice|duplicate"):
        BY_AXIS[name](MATRIX, (0, -2))  # type: ignore[arg-type]


def test_einsum_needs_square_diagonals() -> None:
    with pytest.raises(ValueError, match="'i' stands for axes of length 2 and 3"):
        gg.einsum("ii", MATRIX)
    with pytest.raises(ValueError, match="'i' stands for axes of length 2 and 3"):
        gg.einsum("iij->ij", np.zeros((3, 2, 1)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float32", "bool"])
def test_descending_order_of_any_dtype(dtype: str) -> None:
    values = np.array([3, 0, 255, 7, 128, 0], "uint8").astype(dtype)
    expected = -np.sort(-values.astype(float))
    np.testing.assert_array_equal(gg.sort(values, descending=True), expected)
    top = gg.topk(values, 3)
    np.testing.assert_array_equal(top.values, expected[:3])
    np.testing.assert_array_equal(values[np.asarray(top.indices)], expected[:3])


def test_descending_order_is_stable_and_has_nan_last() -> None:
    x = np.array([1.0, np.nan, 2.0, 1.0, 2.0])
    np.testing.assert_array_equal(gg.argsort(x, descending=True), [2, 4, 0, 3, 1])
    np.testing.assert_array_equal(gg.sort(x, descending=True), [2.0, 2.0, 1.0, 1.0, np.nan])


@pytest.mark.parametrize("f", [gg.median, gg.nanmedian, lambda x: gg.quantile(x, 0.3)])
def test_complex_numbers_have_no_median(f: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="complex"):
        f(np.array([1j, 2.0, 3.0]))


def test_the_gradient_of_a_quantile_by_its_place_is_refused_or_right() -> None:
    x = np.array([1.0, 2.0, 5.0, 9.0])
    slope = gg.grad(lambda q: gg.quantile(x, q))(0.4)
    np.testing.assert_allclose(slope, 3 * (5.0 - 2.0))
    with pytest.raises(TypeError, match="method"):
        gg.grad(lambda q: gg.quantile(x, q, method="nearest"))(0.4)
    np.testing.assert_allclose(gg.grad(lambda q: gg.percentile(x, q))(40.0), 9 / 100)


def test_nanstd_has_the_gradient_of_std() -> None:
    x = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])
    holes = np.concatenate([x, np.full((2, 1), np.nan)], 1)
    found = gg.grad(lambda x: gg.sum(gg.nanstd(x, 1)))(holes)
    np.testing.assert_allclose(found[0, :3], gg.grad(lambda x: gg.sum(gg.std(x, 1)))(x)[0])
    np.testing.assert_array_equal(found[1], 0)
    assert found[0, 3] == 0


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_convolve_and_correlate_of_all_lengths(n: int, m: int, mode: str) -> None:
    a, v = np.arange(1.0, n + 1), np.arange(2.0, m + 2) ** 2
    np.testing.assert_allclose(gg.correlate(a, v, mode), np.correlate(a, v, mode))
    np.testing.assert_allclose(gg.convolve(a, v, mode), np.convolve(a, v, mode))


@pytest.mark.parametrize("edge_order", [1, 2])
@pytest.mark.parametrize(
    "spacings", [(), (2.0,), (2.0, 0.5), (np.array([0.0, 1.0, 3.0, 4.5]), np.array([0.0, 0.5, 2.0])), (np.array([0, 1, 3, 7]), 2)]
)
def test_gradient_takes_spacings_and_places(spacings: tuple[Any, ...], edge_order: int) -> None:
    f = np.random.default_rng(0).standard_normal((4, 3))
    for ours, theirs in zip(
        gg.gradient(f, *spacings, edge_order=edge_order), np.gradient(f, *spacings, edge_order=edge_order), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    if len(spacings) == 1 and np.ndim(spacings[0]) == 0:
        np.testing.assert_allclose(gg.gradient(f, *spacings, axis=1), np.gradient(f, *spacings, axis=1))


def test_gradient_of_gradient_by_the_places() -> None:
    f, x = np.random.default_rng(0).standard_normal(5), np.array([0.0, 1.0, 2.5, 3.0, 4.5])
    gg.testing.gradcheck(lambda f, x: gg.gradient(f, x, edge_order=2), (f, x))
    with pytest.raises(ValueError, match="gradient: 3 places for 5 elements"):
        gg.gradient(f, np.arange(3.0))
    with pytest.raises(ValueError, match="gradient: 2 spacings for 1 axes"):
        gg.gradient(f, 1.0, 2.0)
