"""The Tensor itself: operators on both sides, attributes, indexing, what in-place syntax means, NumPy's protocols."""

from __future__ import annotations

import operator
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg


def leaf(value: Any, dtype: Any = np.float64) -> gg.Tensor:
    return gg.tensor(np.asarray(value, dtype), requires_grad=True)


def gradient(tensor: gg.Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return tensor.grad.data


# --- memory -------------------------------------------------------------------------------------------------------


def test_tensors_made_of_data_and_parameters_begin_with_a_line_of_the_cache() -> None:
    values = np.random.default_rng(0).standard_normal((64, 33))[1:]
    for made in (gg.tensor(values), gg.tensor(values, "float32"), gg.nn.Linear(64, 32).weight):
        assert made.data.__array_interface__["data"][0] % 64 == 0
    for given in (values, values.T, values[:, ::2], values[:, :0], values.astype(int)):
        copy = gg.tensor(given, "float32").data
        np.testing.assert_array_equal(copy, given.astype(np.float32))
        assert not np.shares_memory(copy, given)
        assert copy.flags.f_contiguous == given.astype(np.float32).flags.f_contiguous


def test_tensors_made_of_data_take_the_memory_of_one_array() -> None:
    values = np.ones((500, 500))
    for make in (lambda: gg.tensor(values), lambda: gg.empty((500, 500), "float64")):
        tracemalloc.start()
        make()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert values.nbytes <= peak < 1.5 * values.nbytes


# --- operators ----------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
DERIVATIVES: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "+": lambda x, y: (1, 1),
    "-": lambda x, y: (1, -1),
    "*": lambda x, y: (y, x),
    "/": lambda x, y: (1 / y, -x / y**2),
    "**": lambda x, y: (y * x ** (y - 1), x**y * np.log(x)),
}
OTHERS = {
    "int": 2,
    "float": 2.5,
    "bool": True,
    "NumPy scalar": np.float64(2.5),
    "0-d": np.array(2.5),
    "row": np.array([0.5, 1.5, 2.0]),
    "column": np.array([[0.5], [3.0]]),
    "list": [0.5, 1.5, 2.0],
    "narrower": np.array([0.5, 1.5, 2.0], np.float32),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("symbol", ARITHMETIC)
def test_operators_in_both_orders(symbol: str, other: Any) -> None:
    function, raw = ARITHMETIC[symbol], np.array([[0.5, 1.0, 2.0], [1.5, 2.5, 3.0]])
    values = np.asarray(other, float)
    weights = np.arange(1.0, 7.0).reshape(2, 3)
    for swap in (False, True):
        x = leaf(raw)
        out = function(other, x) if swap else function(x, other)
        assert type(out) is gg.Tensor
        np.testing.assert_allclose(out.data, function(values, raw) if swap else function(raw, values), rtol=1e-15)
        (out * weights).sum().backward()
        expected = DERIVATIVES[symbol](values, raw)[1] if swap else DERIVATIVES[symbol](raw, values)[0]
        np.testing.assert_allclose(gradient(x), expected * weights, rtol=1e-13)


@pytest.mark.parametrize("symbol", ARITHMETIC)
def test_operators_between_tensors_sum_gradients_over_broadcast_axes(symbol: str) -> None:
    x, y = leaf([[0.5, 1.0, 2.0], [1.5, 2.5, 3.0]]), leaf([0.5, 1.5, 2.0])
    ARITHMETIC[symbol](x, y).sum().backward()
    dx, dy = DERIVATIVES[symbol](x.data, y.data)
    np.testing.assert_allclose(gradient(x), np.broadcast_to(dx, (2, 3)), rtol=1e-13)
    np.testing.assert_allclose(gradient(y), np.broadcast_to(dy, (2, 3)).sum(0), rtol=1e-13)


@pytest.mark.parametrize("other", [np.array([1.0, 2.0, 3.0]), np.arange(6.0).reshape(3, 2)], ids=["vector", "matrix"])
def test_matmul_in_both_orders(other: np.ndarray) -> None:
    raw, columns = np.arange(6.0).reshape(2, 3), other.reshape(3, -1)
    x = leaf(raw)
    left, right = x @ other, other.T @ x.T
    assert type(left) is type(right) is gg.Tensor
    np.testing.assert_array_equal(left.data, raw @ other)
    np.testing.assert_array_equal(right.data, other.T @ raw.T)
    for out in (left, right):
        x.grad = None
        out.sum().backward()
        np.testing.assert_array_equal(gradient(x), np.tile(columns.sum(1), (2, 1)))


@pytest.mark.parametrize("function", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
@pytest.mark.parametrize("other", [2.0, np.array([1.0, 2.0, 3.0]), gg.tensor([1.0, 2.0, 3.0])], ids=["float", "array", "tensor"])
def test_comparisons_in_both_orders(function: Callable[[Any, Any], Any], other: Any) -> None:
    x = leaf([3.0, 2.0, 1.0])
    values = np.asarray(other)
    for out, expected in ((function(x, other), function(x.data, values)), (function(other, x), function(values, x.data))):
        assert type(out) is gg.Tensor
        assert (out.dtype, out.requires_grad) == (np.dtype(bool), False)
        np.testing.assert_array_equal(out.data, expected)


def test_unary_operators() -> None:
    x = leaf([-2.0, 3.0])
    (-x + 2 * +x + abs(x)).sum().backward()
    np.testing.assert_array_equal(gradient(x), [0.0, 2.0])
    np.testing.assert_array_equal((~(x > 0)).data, [True, False])


def test_dtypes_promote_as_in_numpy() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    assert x.dtype == np.float32
    assert (x * 2.5).dtype == (2.5 * x).dtype == np.float32
    assert (x * np.float64(2.5)).dtype == (np.array([1.0, 2.0]) * x).dtype == np.float64
    (np.array([1.0, 2.0]) * x).sum().backward()
    assert gradient(x).dtype == np.float32
    assert (gg.tensor([1, 2]) / 2).dtype == np.float64


# --- attributes ---------------------------------------------------------------------------------------------------


def test_data_is_not_a_copy_and_assignable() -> None:
    raw = np.array([1.0, 2.0], np.float32)
    x = gg.asarray(raw)
    assert x.data is raw
    assert x.numpy() is raw
    x.data = np.array([3, 4])
    assert x.dtype == np.float32
    x.data[0] = 7.0
    np.testing.assert_array_equal(x.data, [7, 4])
    np.testing.assert_array_equal(raw, [1, 2])
    assert not np.shares_memory(gg.tensor(raw).data, raw)


def test_data_of_a_leaf_keeps_its_gradient() -> None:
    w = leaf([1.0, 2.0])
    (w * w).sum().backward()
    w.data = w.data - 0.5 * gradient(w)
    assert w.requires_grad
    assert w.is_leaf
    np.testing.assert_array_equal(gradient(w), [2.0, 4.0])
    np.testing.assert_array_equal(w.data, [0.0, 0.0])


def test_grad_accumulates_until_it_is_set_to_none() -> None:
    x = leaf([1.0, 2.0])
    assert x.grad is None
    for times in (1, 2, 3):
        (x * 3).sum().backward()
        assert type(x.grad) is gg.Tensor
        np.testing.assert_array_equal(gradient(x), [3.0 * times] * 2)
    earlier = gradient(x)
    (x * 3).sum().backward()
    np.testing.assert_array_equal(earlier, [9.0, 9.0])
    x.grad = None
    assert x.grad is None
    (x * 3).sum().backward()
    np.testing.assert_array_equal(gradient(x), [3.0, 3.0])
    x.grad = np.array([10.0, 20.0])
    (x * 3).sum().backward()
    np.testing.assert_array_equal(gradient(x), [13.0, 23.0])


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: gg.concatenate([a, b]),
        lambda a, b: gg.stack([a, b]),
        lambda a, b: a.reshape(1, 2) + b,
        lambda a, b: a.copy() - (-b),
    ],
    ids=["add", "concatenate", "stack", "reshape", "copy"],
)
def test_gradients_of_two_leaves_never_share_memory(function: Callable[[gg.Tensor, gg.Tensor], gg.Tensor]) -> None:
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = function(a, b)
    upstream = np.ones(y.shape)
    y.backward(upstream)
    assert not np.shares_memory(gradient(a), gradient(b))
    gradient(a)[:] = 5.0
    np.testing.assert_array_equal(gradient(b), [1.0, 1.0])
    np.testing.assert_array_equal(upstream, np.ones(y.shape))


def test_the_gradient_of_a_leaf_is_not_the_upstream_gradient() -> None:
    x, upstream = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    x.backward(gg.asarray(upstream))
    gradient(x)[:] = 0.0
    np.testing.assert_array_equal(upstream, [3.0, 4.0])


def test_detach_shares_memory_and_cuts() -> None:
    x = leaf([1.0, 2.0])
    y = x.detach()
    assert (y.requires_grad, y.is_leaf) == (False, True)
    assert np.shares_memory(x.data, y.data)
    (x * x.detach()).sum().backward()
    np.testing.assert_array_equal(gradient(x), [1.0, 2.0])


def test_item_numpy_tolist_and_python_numbers() -> None:
    x = leaf([[1.5]])
    assert (x.item(), float(x), int(x), bool(x), f"{x:.2f}") == (1.5, 1.5, 1, True, "1.50")
    assert type(x.item()) is float
    assert type(x.numpy()) is np.ndarray
    assert gg.tensor([[1, 2]]).tolist() == [[1, 2]]
    assert [10, 20, 30][gg.tensor(1)] == 20
    with pytest.raises(gg.ShapeError, match=r"item\(\) takes a tensor with one element, got float64\[2\]"):
        leaf([1.0, 2.0]).item()


def test_astype_casts_the_gradient_back_and_integers_cut_it() -> None:
    x = gg.tensor([1.5, -2.5], requires_grad=True)
    y = x.astype("float64")
    assert y.dtype == np.float64
    (y * y).sum().backward()
    assert gradient(x).dtype == np.float32
    np.testing.assert_array_equal(gradient(x), [3.0, -5.0])
    for dtype in ("int64", "bool", "uint8"):
        cut = abs(x).astype(dtype)
        assert (cut.dtype, cut.requires_grad) == (np.dtype(dtype), False)
    with pytest.raises(gg.DTypeError, match="only floating"):
        x.astype(int).requires_grad_()


def test_reshape_and_transpose() -> None:
    x = leaf(np.arange(6.0).reshape(2, 3))
    for y in (x.reshape(3, 2), x.reshape((3, 2)), x.reshape(3, -1)):
        assert y.shape == (3, 2)
    assert (x.T.shape, x.mT.shape, x.ravel().shape) == ((3, 2), (3, 2), (6,))
    assert x.transpose(1, 0).shape == x.transpose((1, 0)).shape == x.transpose().shape == (3, 2)
    weights = np.arange(6.0).reshape(3, 2)
    (x.reshape(3, 2) * weights + x.T * weights).sum().backward()
    np.testing.assert_array_equal(gradient(x), weights.reshape(2, 3) + weights.T)


def test_lengths_and_iteration() -> None:
    x = leaf(np.arange(6.0).reshape(2, 3))
    assert (len(x), x.ndim, x.size, x.nbytes, x.shape, x.device) == (2, 2, 6, 48, (2, 3), "cpu")
    first, second = x
    (first * second).sum().backward()
    np.testing.assert_array_equal(gradient(x), [[3, 4, 5], [0, 1, 2]])
    for function in (len, iter):
        with pytest.raises(TypeError, match="0-d"):
            function(leaf(1.0))


REPRS: dict[str, Callable[[], gg.Tensor]] = {
    "tensor([1., 2.])": lambda: gg.tensor([1.0, 2.0]),
    "tensor([1., 2.], requires_grad=True)": lambda: gg.tensor([1.0, 2.0], requires_grad=True),
    "tensor([1., 2.], dtype=float64)": lambda: gg.tensor(np.array([1.0, 2.0])),
    "tensor([1., 2.], dtype=float64, requires_grad=True)": lambda: leaf([1.0, 2.0]),
    "tensor([2., 3.], dtype=float64, op=add)": lambda: leaf([1.0, 2.0]) + 1,
    "tensor([1, 2])": lambda: gg.tensor([1, 2]),
    "tensor([1, 2], dtype=int32)": lambda: gg.tensor(np.array([1, 2], np.int32)),
    "tensor([ True, False])": lambda: gg.tensor([True, False]),
    "tensor(2.)": lambda: gg.tensor(2.0),
    "tensor([], dtype=float32)": lambda: gg.zeros(0),
    "tensor([], dtype=float32, shape=(0, 3))": lambda: gg.zeros((0, 3)),
    "tensor([[1., 2.],\n        [3., 4.]])": lambda: gg.tensor([[1.0, 2.0], [3.0, 4.0]]),
}


@pytest.mark.parametrize("expected", REPRS, ids=[text.split("\n")[0] for text in REPRS])
def test_repr(expected: str) -> None:
    tensor = REPRS[expected]()
    assert repr(tensor) == str(tensor) == f"{tensor}" == expected


def test_repr_shows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpugrad.backend.device_of", lambda array: "cuda:1")
    monkeypatch.setattr("gpugrad.backend.to_device", lambda array, device: array)
    assert repr(gg.asarray(np.ones(1, np.float32))) == "tensor([1.], device='cuda:1')"


# --- indexing -----------------------------------------------------------------------------------------------------

INDICES: dict[str, Any] = {
    "int": 1,
    "NumPy int": np.int64(2),
    "slice": slice(1, None),
    "steps": (slice(None, None, -2), slice(None, None, 3)),
    "ellipsis": (..., 0),
    "none": (None, slice(None), None, 1),
    "list": [0, 2],
    "repeats": np.array([0, 2, 0, -3]),
    "pairs": (np.array([0, 1, 0]), np.array([3, 3, 3])),
    "mixed": (slice(1, 3), np.array([0, 0, 3])),
    "mask": np.arange(12).reshape(3, 4) % 3 == 0,
    "row mask": np.array([True, False, True]),
    "bool list": [True, False, True],
    "mask and slice": (np.array([True, False, True]), slice(0, 2)),
    "bool": True,
    "empty list": [],
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing(index: Any) -> None:
    raw = np.arange(12.0).reshape(3, 4)
    x = leaf(raw)
    y = x[index]
    assert type(y) is gg.Tensor
    assert y.shape == raw[index].shape
    np.testing.assert_array_equal(y.data, raw[index])
    weights = np.arange(1.0, 1.0 + y.size).reshape(y.shape)
    (y * weights).sum().backward()
    expected = np.zeros((3, 4))
    np.add.at(expected, index, weights)
    np.testing.assert_array_equal(gradient(x), expected)


def test_indexing_with_tensors() -> None:
    x = leaf([1.0, 2.0, 3.0])
    (x[gg.tensor([0, 0, 2])] * np.array([1.0, 2.0, 4.0])).sum().backward()
    np.testing.assert_array_equal(gradient(x), [3.0, 0.0, 4.0])
    x.grad = None
    x[x > 1.5].sum().backward()
    np.testing.assert_array_equal(gradient(x), [0.0, 1.0, 1.0])
    with pytest.raises(IndexError, match=r"getitem: index 5 is out of bounds(.|\n)*x = float64\[3\](.|\n)*test_tensor.py"):
        x[5]


# --- in-place syntax ----------------------------------------------------------------------------------------------


def test_in_place_operators_on_the_tape_leave_what_was_recorded() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    same, kept = y, y.data
    z = y * 3
    y += 1.0
    y -= x
    y *= 2
    y /= 4
    y **= 2
    assert y is same, "as in NumPy"
    np.testing.assert_array_equal(kept, [1.0, 4.0])
    np.testing.assert_array_equal(y.data, [0.25, 2.25])
    (y + z).sum().backward()
    inner = (x.data**2 + 1 - x.data) / 2
    np.testing.assert_allclose(gradient(x), 2 * inner * (2 * x.data - 1) / 2 + 6 * x.data, rtol=1e-15)


def test_in_place_operators_with_a_recorded_operand() -> None:
    total, x = gg.zeros(2, dtype="float64"), leaf([1.0, 2.0])
    for _ in range(3):
        total += x * x
    total.sum().backward()
    np.testing.assert_array_equal(gradient(x), [6.0, 12.0])


def test_item_assignment_on_the_tape_acts_on_the_name() -> None:
    x, v = leaf([1.0, 2.0, 3.0]), leaf(10.0)
    y = x * x
    kept = y.data
    z = (y * y).sum()
    y[1] = v * 2
    y[gg.tensor([2])] = 0.0
    np.testing.assert_array_equal(kept, [1.0, 4.0, 9.0])
    np.testing.assert_array_equal(y.data, [1.0, 20.0, 0.0])
    (y * np.array([1.0, 10.0, 100.0])).sum().backward(retain_graph=True)
    np.testing.assert_array_equal(gradient(x), [2.0, 0.0, 0.0])
    np.testing.assert_array_equal(gradient(v), 20.0)
    x.grad = None
    z.backward()
    np.testing.assert_array_equal(gradient(x), 4 * x.data**3)


def test_item_assignment_of_a_recorded_value_into_a_plain_tensor() -> None:
    out, x = gg.zeros(3, dtype="float64"), leaf([1.0, 2.0])
    out[1:] = x * 5
    out[0] = x[0]
    assert out.requires_grad
    out.sum().backward()
    np.testing.assert_array_equal(gradient(x), [6.0, 5.0])


def test_in_place_on_a_leaf_under_no_grad() -> None:
    w = leaf([1.0, 2.0])
    raw, same = w.data, w
    with gg.no_grad():
        w -= 0.5
        w[0] = 7.0
    assert w is same
    assert w.data is raw
    assert w.requires_grad
    np.testing.assert_array_equal(w.data, [7.0, 1.5])


IN_PLACE: dict[str, Callable[[Any], Any]] = {
    "+=": lambda w: operator.iadd(w, 2.0),
    "-=": lambda w: operator.isub(w, 2.0),
    "*=": lambda w: operator.imul(w, 2.0),
    "/=": lambda w: operator.itruediv(w, 2.0),
    "**=": lambda w: operator.ipow(w, 2.0),
    "item assignment": lambda w: operator.setitem(w, 0, 2.0),
}


@pytest.mark.parametrize("symbol", IN_PLACE)
def test_in_place_on_a_leaf_outside_no_grad_is_refused(symbol: str) -> None:
    w = leaf([1.0, 2.0])
    with pytest.raises(gg.GradientError) as caught:
        IN_PLACE[symbol](w)
    message = str(caught.value)
    assert message.startswith(f"{symbol} on a leaf that requires a gradient: float64[2] on cpu")
    assert "no_grad" in message
    assert "test_tensor.py" in message
    np.testing.assert_array_equal(w.data, [1.0, 2.0])


# --- NumPy's protocols --------------------------------------------------------------------------------------------


def test_asarray_of_a_recorded_tensor_is_refused() -> None:
    x = leaf([1.0, 2.0])
    for convert in (np.asarray, np.array, lambda t: np.array([t, t])):
        with pytest.raises(gg.GradientError, match=r"float64\[2\] on cpu(.|\n)*would drop its gradient(.|\n)*\.numpy\(\)"):
            convert(x)
    np.testing.assert_array_equal(np.asarray(x.detach()), [1.0, 2.0])
    assert np.asarray(x.detach(), np.float32).dtype == np.float32
    with gg.no_grad():
        np.testing.assert_array_equal(np.asarray(x), [1.0, 2.0])


def test_ufuncs_are_the_ops() -> None:
    x = leaf([0.5, 1.0])
    for out in (np.sin(x), np.array([1.0, 2.0]) * x, np.multiply(2.0, x), np.matmul(np.eye(2), x)):
        assert type(out) is gg.Tensor
        assert out.requires_grad
    np.sin(x).sum().backward()
    np.testing.assert_array_equal(gradient(x), np.cos(x.data))


def test_a_ufunc_without_a_rule_is_refused_by_name() -> None:
    x = leaf([0.5, 1.0])
    with pytest.raises(gg.DTypeError, match=r"numpy\.isnat has no rule(.|\n)*test_tensor\.py"):
        np.isnat(x)
    with pytest.raises(gg.DTypeError, match=r"numpy\.add\.reduceat has no rule"):
        np.add.reduceat(x, [0])
    with pytest.raises(gg.DTypeError, match=r"numpy\.add with out=(.|\n)*has no rule"):
        np.add(np.ones(2), x, out=np.zeros(2))
    array = np.ones(2)
    with pytest.raises(gg.DTypeError, match=r"numpy\.add with out="):
        array += x


M = np.array([[True, False, True], [True, True, False]])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(0, np.float64), lambda x: x.sum(dtype="float64"), lambda x: x.sum(where=M), lambda x: x.mean(1, where=M),
        lambda x: x.max(initial=0.5), lambda x: x.min(0, where=M, initial=9.0), lambda x: x.prod(axis=1, dtype=float),
        lambda x: x.mean(0, float), lambda x: x.sum(0, keepdims=1), lambda x: x.astype(float, copy=False),
        lambda x: x.argsort(kind="stable"), lambda x: x.cumsum(0, float), lambda x: x.cumprod(dtype=float),
        lambda x: (x > 0).any(axis=1, where=M), lambda x: (x > 0).all(where=M),
    ],
)  # fmt: skip
def test_methods_take_the_options_of_numpy(call: Any) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    for tensor in (gg.tensor(x), gg.tensor(x, requires_grad=True)):
        out = call(tensor)
        assert out.shape == call(x).shape
        np.testing.assert_allclose(out.detach().numpy(), call(x), rtol=1e-15)


def test_a_missing_method_says_what_to_use() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'sort'; use .*numpy.sort\(t\)"):
        gg.tensor([1.0]).sort()
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        gg.tensor([1.0]).nonsense
