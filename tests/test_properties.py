"""Properties that hold for all shapes, axes and indices, tried on many drawn ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gpugrad as gg
from gpugrad.testing import gradcheck

some = settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FULL_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values in (0.5, 2), all different."""
    size = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    return ((rng.permutation(size) + rng.uniform(0.1, 0.9, size)) / max(size, 1) * 1.5 + 0.5).reshape(shape)


def gradients(function: Callable[..., Any], *arrays: np.ndarray) -> tuple[Any, Any, list[Any]]:
    """A result, a cotangent for it, and what it is pulled back to."""
    value, pull = gg.vjp(function, *arrays)
    cotangent = numbers(np.shape(value), seed=9)
    return np.asarray(value), cotangent, [np.asarray(g) for g in pull(cotangent)]


# --- broadcasting -------------------------------------------------------------------------------------------------

BINARY: dict[str, tuple[Any, Any, Any]] = {  # NumPy's function, and the two partial derivatives
    "add": (np.add, lambda x, y: 1, lambda x, y: 1),
    "subtract": (np.subtract, lambda x, y: 1, lambda x, y: -1),
    "multiply": (np.multiply, lambda x, y: y, lambda x, y: x),
    "divide": (np.divide, lambda x, y: 1 / y, lambda x, y: -x / y**2),
    "power": (np.power, lambda x, y: y * x ** (y - 1), lambda x, y: x**y * np.log(x)),
    "maximum": (np.maximum, lambda x, y: x > y, lambda x, y: y > x),
    "minimum": (np.minimum, lambda x, y: x < y, lambda x, y: y < x),
    "arctan2": (np.arctan2, lambda x, y: y / (x**2 + y**2), lambda x, y: -x / (x**2 + y**2)),
    "logaddexp": (np.logaddexp, lambda x, y: 1 / (1 + np.exp(y - x)), lambda x, y: 1 / (1 + np.exp(x - y))),
}


def summed_over_broadcast_axes(full: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each element of an array of `shape` gets the sum of the elements it was repeated into."""
    padded = (1,) * (full.ndim - len(shape)) + shape
    out = np.zeros(padded)
    for index in np.ndindex(full.shape):
        out[tuple(0 if n == 1 else i for i, n in zip(index, padded, strict=True))] += full[index]
    return out.reshape(shape)


@pytest.mark.parametrize("name", BINARY)
@some
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
def test_gradients_of_broadcast_operands_are_summed(name: str, shapes: Any) -> None:
    reference, *partials = BINARY[name]
    x, y = numbers(shapes.input_shapes[0], 1), numbers(shapes.input_shapes[1], 2) * 1.01
    value, cotangent, pulled = gradients(getattr(gg, name), x, y)
    assert value.shape == shapes.result_shape
    np.testing.assert_allclose(value, reference(x, y), rtol=1e-14)
    for array, partial, gradient in zip((x, y), partials, pulled, strict=True):
        assert gradient.shape == array.shape
        full = cotangent * np.broadcast_to(partial(x, y), value.shape)
        np.testing.assert_allclose(gradient, summed_over_broadcast_axes(full, array.shape), rtol=1e-11)


@some
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 3, 2), max_dims=3))
def test_sum_to_and_broadcast_to_are_transposes(shapes: Any) -> None:
    (small,), large = shapes.input_shapes, shapes.result_shape
    x, t = numbers(small, 1), numbers(large, 2)
    forth = gg.broadcast_to(x, large).numpy()
    back = gg.sum_to(t, small).numpy()
    assert forth.shape == large
    assert back.shape == small
    assert float(np.vdot(forth, t)) == pytest.approx(float(np.vdot(x, back)), rel=1e-12, abs=1e-14)


# --- reductions ---------------------------------------------------------------------------------------------------


@st.composite
def shape_and_axis(draw: Any) -> tuple[tuple[int, ...], Any]:
    """A shape without empty axes, and None, one axis or some, counted from either end."""
    shape = draw(FULL_SHAPES)
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(one, max_size=len(shape), unique_by=lambda a: a % len(shape)).map(tuple)
    return shape, draw(st.none() | one | several)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var", "std", "logsumexp"])
@some
@given(case=shape_and_axis(), keepdims=st.booleans())
def test_reductions_over_any_axes(name: str, case: Any, keepdims: bool) -> None:
    shape, axis = case
    x = numbers(shape)
    if name == "std":
        counted = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if np.prod([shape[a] for a in counted]) == 1:
            return  # the slope of a square root at 0
    function = functools.partial(getattr(gg, name), axis=axis, keepdims=keepdims)
    expected = (
        np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))
        if name == "logsumexp"
        else getattr(np, name)(x, axis=axis, keepdims=keepdims)
    )
    value = function(x)
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-13, atol=1e-15)
    assert gradcheck(function, x, atol=1e-7, rtol=1e-6)


# --- indexing -----------------------------------------------------------------------------------------------------


def scattered(shape: tuple[int, ...], index: Any, cotangent: np.ndarray) -> np.ndarray:
    """Zeros with the cotangent of each picked element added, one at a time."""
    out = np.zeros(int(np.prod(shape)))
    picked = np.asarray(np.arange(out.size).reshape(shape)[index])
    for n, t in zip(picked.ravel(), cotangent.ravel(), strict=True):
        out[n] += t
    return out.reshape(shape)


@st.composite
def shape_and_index(draw: Any) -> tuple[tuple[int, ...], Any]:
    shape = draw(FULL_SHAPES)
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed", "some axes"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "mask":
        of = draw(st.integers(1, len(shape)))
        return shape, draw(hnp.arrays(bool, shape[:of]))
    if kind == "mixed":
        rows = draw(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=4))
        index = (np.array(rows, int), *draw(st.tuples(*[st.just(slice(None, None, -1))] * (len(shape) - 1))))
        return shape, index if draw(st.booleans()) else (*index[:1], Ellipsis)
    result = hnp.array_shapes(max_dims=2, max_side=4)
    if kind == "some axes":
        return shape, np.array(draw(hnp.arrays(int, result, elements=st.integers(-shape[0], shape[0] - 1))))
    return shape, draw(hnp.integer_array_indices(shape, result_shape=result))


@settings(some, max_examples=150)
@given(case=shape_and_index())
def test_indexing_and_its_transpose(case: Any) -> None:
    shape, index = case
    x = numbers(shape)
    value, cotangent, (gradient,) = gradients(lambda a: a[index], x)
    np.testing.assert_array_equal(value, x[index])
    expected = scattered(shape, index, cotangent)
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)
    np.testing.assert_allclose(gg.index_add_zeros(cotangent, index, shape).numpy(), expected, rtol=1e-13)
    tangent = gg.jvp(lambda a: a[index], (x,), (x * x,))[1]
    np.testing.assert_array_equal(tangent, (x * x)[index])


@settings(some, max_examples=80)
@given(case=shape_and_index(), data=st.data())
def test_item_assignment_on_the_tape(case: Any, data: Any) -> None:
    shape, index = case
    picked = np.asarray(np.arange(int(np.prod(shape))).reshape(shape)[index])
    if len(set(picked.ravel().tolist())) != picked.size:
        return  # which of two values written to one place stays is not defined
    small = data.draw(st.sampled_from([picked.shape, (), (1,) * min(picked.ndim, 1)]))
    x, value = numbers(shape), numbers(small, 1)

    def assign(a: Any, b: Any) -> Any:
        a = a * 1
        a[index] = b
        return a

    out, cotangent, (by_x, by_value) = gradients(assign, x, value)
    expected = x.copy()
    expected[index] = value
    np.testing.assert_array_equal(out, expected)
    kept = cotangent.copy()
    kept[index] = 0
    np.testing.assert_array_equal(by_x, kept)
    np.testing.assert_allclose(by_value, summed_over_broadcast_axes(np.asarray(cotangent[index]), small), rtol=1e-13)


@st.composite
def shape_axis_and_indices(draw: Any) -> tuple[tuple[int, ...], int, np.ndarray]:
    """Indices along an axis; their other axes are the array's, or 1, which NumPy broadcasts."""
    shape = draw(FULL_SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sides = [draw(st.sampled_from([n, 1])) for n in shape]
    sides[axis] = draw(st.integers(1, 4))
    n = shape[axis]
    return shape, axis, draw(hnp.arrays(int, tuple(sides), elements=st.integers(-n, n - 1)))


@some
@given(case=shape_axis_and_indices())
def test_take_along_axis_and_its_transpose(case: Any) -> None:
    shape, axis, indices = case
    x = numbers(shape)
    value, cotangent, (gradient,) = gradients(lambda a: gg.take_along_axis(a, indices, axis), x)
    np.testing.assert_array_equal(value, np.take_along_axis(x, indices, axis))
    picked = np.take_along_axis(np.arange(x.size).reshape(shape), indices, axis)
    expected = np.bincount(picked.ravel(), cotangent.ravel(), minlength=x.size).reshape(shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)
    assert gradcheck(lambda t: gg.put_along_axis_zeros(t, indices, axis, shape), cotangent)


# --- products -----------------------------------------------------------------------------------------------------


@some
@given(shapes=hnp.mutually_broadcastable_shapes(signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, min_side=0, max_side=3))
def test_matmul_over_all_shape_rules(shapes: Any) -> None:
    x, y = numbers(shapes.input_shapes[0], 1), numbers(shapes.input_shapes[1], 2)
    value, _, pulled = gradients(gg.matmul, x, y)
    np.testing.assert_allclose(value, np.matmul(x, y), rtol=1e-13)
    assert [g.shape for g in pulled] == [x.shape, y.shape]
    assert gradcheck(gg.matmul, (x, y), atol=1e-7, rtol=1e-6)


@some
@given(left=SHAPES, right=SHAPES, inner=st.integers(0, 3))
def test_dot_over_all_shape_rules(left: tuple[int, ...], right: tuple[int, ...], inner: int) -> None:
    x = numbers((*left[:2], inner) if left else ())
    y = numbers((*right[:-1], inner, right[-1]) if len(right) > 1 else (inner,) * len(right), 2)
    value = gg.dot(x, y)
    expected = np.dot(x, y)
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-13)
    assert gradcheck(gg.dot, (x, y), atol=1e-7, rtol=1e-6)


# --- shapes -------------------------------------------------------------------------------------------------------


def check_round_trip(there: Callable[[Any], Any], back: Callable[[Any], Any], x: np.ndarray) -> None:
    value, cotangent, (gradient,) = gradients(lambda a: back(there(a)), x)
    np.testing.assert_array_equal(value, x)
    np.testing.assert_array_equal(gradient, cotangent)
    moved, cotangent, (gradient,) = gradients(there, x)
    np.testing.assert_array_equal(gradient, back(gg.asarray(cotangent)).numpy())
    np.testing.assert_array_equal(gg.jvp(there, (x,), (x,))[1], moved)


@some
@given(shape=SHAPES, data=st.data())
def test_transpositions_come_back(shape: tuple[int, ...], data: Any) -> None:
    x = numbers(shape)
    axes = data.draw(st.permutations(range(len(shape))))
    signed = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    inverse = [axes.index(i) for i in range(len(shape))]
    np.testing.assert_array_equal(gg.transpose(x, signed).numpy(), x.transpose(axes))
    check_round_trip(lambda a: gg.transpose(a, signed), lambda a: gg.transpose(a, inverse), x)
    check_round_trip(gg.transpose, gg.transpose, x)
    if len(shape) > 1:
        one, other = axes[0], signed[1]
        check_round_trip(lambda a: gg.swapaxes(a, one, other), lambda a: gg.swapaxes(a, other, one), x)
        check_round_trip(lambda a: gg.moveaxis(a, one, other), lambda a: gg.moveaxis(a, other, one), x)


@some
@given(shape=SHAPES, data=st.data())
def test_reshapes_come_back(shape: tuple[int, ...], data: Any) -> None:
    x = numbers(shape)
    order = data.draw(st.permutations(shape))
    check_round_trip(lambda a: gg.reshape(a, order), lambda a: gg.reshape(a, shape), x)
    check_round_trip(lambda a: gg.reshape(a, (1, *shape, 1)), lambda a: gg.squeeze(a, (0, -1)), x)
    axis = data.draw(st.integers(0, len(shape)))
    check_round_trip(lambda a: gg.expand_dims(a, axis), lambda a: gg.squeeze(a, axis), x)
    if x.size:
        check_round_trip(lambda a: a.ravel(), lambda a: gg.reshape(a, (*shape[:-1], -1) if shape else ()), x)


@some
@given(shape=FULL_SHAPES, data=st.data())
def test_what_was_cut_is_joined_again(shape: tuple[int, ...], data: Any) -> None:
    x = numbers(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    cut = data.draw(st.integers(0, shape[axis]))
    before = (slice(None),) * (axis % len(shape))

    def parts(a: Any) -> Any:
        return [a[(*before, slice(None, cut))], a[(*before, slice(cut, None))]]

    check_round_trip(lambda a: gg.concatenate(parts(a), axis=axis), lambda a: a, x)
    slices = range(shape[axis])
    check_round_trip(lambda a: gg.stack([a[(*before, i)] for i in slices], axis=axis), lambda a: a, x)
