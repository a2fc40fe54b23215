"""Values where formulas break: huge, infinite and missing numbers, ties and kinks, arrays without elements or axes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import value_and_gradients

import gpugrad as gg
from gpugrad.errors import BoundsError, GpugradError, ShapeError
from gpugrad.op import registry

INF, NAN = math.inf, math.nan
F = gg.nn.functional


def check(function: Callable[..., Any], arrays: Any, value: Any, *gradients: Any, dtype: str = "float64") -> None:
    """The value of a function and the gradients of the sum of its elements, exact but for rounding."""
    given = [np.asarray(array, dtype) for array in arrays]
    shape = function(*given).shape
    found, found_gradients = value_and_gradients(function, given, np.ones(shape))
    rtol = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found, value, rtol=rtol, atol=0)
    for got, want in zip(found_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=0)


# --- elementwise functions at extreme values ----------------------------------------------------------------------

E100 = math.exp(-100)
SCALE = 1.0507009873554804934193349852946
SELU = SCALE * 1.6732632423543772848170429916717

EXTREME: list[tuple[str, list[float], list[float], list[float]]] = [
    ("sigmoid", [-1000, -INF, 0, 1000, INF, NAN], [0, 0, 0.5, 1, 1, NAN], [0, 0, 0.25, 0, 0, NAN]),
    ("sigmoid", [-100], [E100], [E100]),
    ("tanh", [-1000, -INF, 0, 1000, INF, NAN], [-1, -1, 0, 1, 1, NAN], [0, 0, 1, 0, 0, NAN]),
    ("softplus", [-1000, -INF, 0, 1000, INF, NAN], [0, 0, math.log(2), 1000, INF, NAN], [0, 0, 0.5, 1, 1, NAN]),
    ("softplus", [-100], [E100], [E100]),
    ("logsigmoid", [-1000, -INF, 0, 1000, INF, NAN], [-1000, -INF, -math.log(2), 0, 0, NAN], [1, 1, 0.5, 0, 0, NAN]),
    ("logsigmoid", [100], [-E100], [E100]),
    ("silu", [-1000, 0, 1000, INF], [0, 0, 1000, INF], [0, 0.5, 1, NAN]),
    ("gelu", [-1000, 0, 1000], [0, 0, 1000], [0, 0.5, 1]),
    ("elu", [-1000, -INF, 0, 1000, INF], [-1, -1, 0, 1000, INF], [0, 0, 1, 1, 1]),
    ("elu", [-30], [math.expm1(-30)], [math.exp(-30)]),
    ("selu", [-1000, -30, 0, 1000], [-SELU, SELU * math.expm1(-30), 0, 1000 * SCALE], [0, SELU * math.exp(-30), SELU, SCALE]),
    ("celu", [-1000, -INF, -30, 0, INF], [-1, -1, math.expm1(-30), 0, INF], [0, 0, math.exp(-30), 1, 1]),
    ("mish", [-1000, 0, 1000, INF, NAN], [0, 0, 1000, INF, NAN], [0, 0.6, 1, 1, NAN]),
    ("mish", [-100], [-100 * E100], [-99 * E100]),
    ("hardsigmoid", [-INF, -4, -3, 0, 3, 4, INF], [0, 0, 0, 0.5, 1, 1, 1], [0, 0, 0, 1 / 6, 0, 0, 0]),
    ("hardswish", [-4, -3, 0, 3, 4, INF], [0, 0, 0, 3, 4, INF], [0, 0, 0.5, 1, 1, 1]),
    ("softshrink", [-INF, -1, -0.5, 0, 0.5, 1, NAN], [-INF, -0.5, 0, 0, 0, 0.5, NAN], [1, 1, 0, 0, 0, 1, 1]),
    ("hardshrink", [-INF, -1, -0.5, 0, 0.5, 1, NAN], [-INF, -1, 0, 0, 0, 1, NAN], [1, 1, 0, 0, 0, 1, 1]),
    ("tanhshrink", [-INF, -1000, 0, 1000, INF], [-INF, -999, 0, 999, INF], [1, 1, 0, 1, 1]),
    ("relu", [-1000, -INF, 0, 1000, INF], [0, 0, 0, 1000, INF], [0, 0, 0, 1, 1]),
    ("relu", [-0.0, 0.0], [0, 0], [0, 0]),
    ("leaky_relu", [-1000, 0, 1000], [-10, 0, 1000], [0.01, 0.01, 1]),
    ("abs", [-INF, -1, -0.0, 0, 1, INF], [INF, 1, 0, 0, 1, INF], [-1, -1, 0, 0, 1, 1]),
    ("erf", [-1000, -INF, 0, 1000, INF, NAN], [-1, -1, 0, 1, 1, NAN], [0, 0, 2 / math.sqrt(math.pi), 0, 0, NAN]),
    ("erfc", [-1000, -INF, 0, 1000, INF, NAN], [2, 2, 1, 0, 0, NAN], [0, 0, -2 / math.sqrt(math.pi), 0, 0, NAN]),
    ("exp", [-1000, -INF, 0], [0, 0, 1], [0, 0, 1]),
    ("sign", [-INF, -0.0, 0, INF, NAN], [-1, 0, 0, 1, NAN], []),
    ("sqrt", [0, INF], [0, INF], [INF, 0]),
    ("square", [-1000, INF], [1e6, INF], [-2000, INF]),
]


@pytest.mark.parametrize(("name", "x", "value", "gradient"), EXTREME, ids=[f"{e[0]}-{len(e[1])}" for e in EXTREME])
def test_extreme_values(name: str, x: list[float], value: list[float], gradient: list[float]) -> None:
    if gradient:
        check(registry[name].public, [x], value, gradient)
    else:
        np.testing.assert_array_equal(registry[name].public(np.array(x)).numpy(), value)


SMOOTH = [
    "sigmoid",
    "softplus",
    "logsigmoid",
    "silu",
    "gelu",
    "elu",
    "selu",
    "celu",
    "mish",
    "softsign",
    "tanhshrink",
    "tanh",
    "erf",
    "erfc",
]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_activations_are_finite_and_quiet_everywhere(name: str, dtype: str) -> None:
    x = np.array([-1e4, -1000, -100, -50, -20, -1e-4, -0.0, 0.0, 1e-4, 20, 50, 100, 1000, 1e4], dtype)
    value, (gradient,) = value_and_gradients(registry[name].public, [x])
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient) <= 3).all()


@pytest.mark.parametrize(("name", "most"), [("erf", 4), ("erfc", 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_functions_are_right_to_a_few_units_in_the_last_place(name: str, most: int, dtype: str) -> None:
    end = 9 if dtype == "float32" else 26  # beyond, erfc is subnormal
    x = np.concatenate([np.linspace(-6, end, 20001), np.geomspace(1e-8, end, 10001)]).astype(dtype)
    expected = np.array([getattr(math, name)(value) for value in x.tolist()])
    np.testing.assert_allclose(registry[name].public(x).numpy(), expected, rtol=most * np.finfo(dtype).eps)


def test_power_at_its_edges() -> None:
    check(lambda x: x**3, [[-2.0, 0.0, INF]], [-8, 0, INF], [12, 0, INF])
    check(lambda x: gg.power(x, 0.0), [[0.0, 2.0]], [1, 1], [0, 0])
    check(lambda x: gg.power(x, 1.0), [[0.0, -2.0]], [0, -2], [1, 1])
    check(lambda y: gg.power(0.0, y), [[0.0, 2.0]], [1, 0], [0, 0])
    check(gg.power, [[0.0, 0.0], [0.0, 1.0]], [1, 0], [0, 1], [0, 0])
    check(lambda x: gg.power(x, 2), [[-3.0, 0.0]], [9, 0], [-6, 0])


def test_where_keeps_bad_numbers_of_the_other_branch_out() -> None:
    def safe_sqrt(x: Any) -> Any:
        return gg.where(x > 0, gg.sqrt(gg.where(x > 0, x, 1.0)), 0.0)

    check(safe_sqrt, [[-1.0, 0.0, 4.0]], [0, 0, 2], [0, 0, 0.25])
    check(lambda x: gg.where(x > 1, x, NAN), [[0.5, 2.0]], [NAN, 2], [0, 1])


def test_clip_passes_the_gradient_at_its_limits() -> None:
    check(lambda x: gg.clip(x, -1, 1), [[-INF, -2, -1, 0, 1, 2, INF]], [-1, -1, -1, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0])


# --- ties ---------------------------------------------------------------------------------------------------------


def test_a_tie_of_two_halves_the_cotangent() -> None:
    check(gg.maximum, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], [2, 2, 3], [0, 0.5, 1], [1, 0.5, 0])
    check(gg.minimum, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], [1, 2, 2], [1, 0.5, 0], [0, 0.5, 1])
    check(lambda x: gg.maximum(x, 0.0), [[-1.0, 0.0, 1.0]], [0, 0, 1], [0, 0.5, 1])
    check(lambda x: gg.maximum(x, x), [[2.0]], [2], [1])


@pytest.mark.parametrize("sign", [1, -1])
def test_ties_of_a_reduction_share_the_cotangent(sign: int) -> None:
    reduce = gg.max if sign > 0 else gg.min
    x = np.array([[1.0, 2.0, 2.0], [2.0, 0.0, 1.0]]) * sign
    third = 1 / 3
    check(reduce, [x], 2 * sign, [[0, third, third], [third, 0, 0]])
    check(lambda a: reduce(a, axis=1), [x], [2 * sign, 2 * sign], [[0, 0.5, 0.5], [1, 0, 0]])
    check(lambda a: reduce(a, axis=0, keepdims=True), [x * 0], [[0, 0, 0]], np.full((2, 3), 0.5))
    check(lambda a: reduce(a, axis=(0, 1)), [[[INF, -INF, 0.0]]], INF * sign, [[[1, 0, 0], [0, 1, 0]][sign < 0]])


def test_argmax_gives_the_first_of_several() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])
    np.testing.assert_array_equal(gg.argmax(x, axis=1).numpy(), [1, 0])
    np.testing.assert_array_equal(gg.argmin(-x, axis=1).numpy(), [1, 0])
    assert gg.argmax(x).item() == 1


# --- softmax and its family ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_at_extreme_logits(dtype: str) -> None:
    def first(function: Any) -> Any:
        return lambda x: function(x)[0]

    check(first(gg.softmax), [[1000.0, 1000.0]], 0.5, [0.25, -0.25], dtype=dtype)
    check(first(gg.softmax), [[-1000.0, 1000.0]], 0, [0, 0], dtype=dtype)
    check(first(gg.softmax), [[0.0, -INF, 0.0]], 0.5, [0.25, 0, -0.25], dtype=dtype)
    check(first(gg.log_softmax), [[-1000.0, 1000.0]], -2000, [1, -1], dtype=dtype)
    check(first(gg.log_softmax), [[0.0, -INF]], 0, [0, 0], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logsumexp_at_extreme_values(dtype: str) -> None:
    for x in (1000.0, -1000.0):
        value, (gradient,) = value_and_gradients(gg.logsumexp, [np.full(2, x, dtype)], 1)
        np.testing.assert_allclose(value, x + math.log(2), rtol=2 * np.finfo(dtype).eps)
        # exp(x - out) has the rounding error of `out`, as in PyTorch
        np.testing.assert_allclose(gradient, [0.5, 0.5], rtol=1000 * np.finfo(dtype).eps)
    check(gg.logsumexp, [[-INF, 0.0]], 0, [0, 1], dtype=dtype)
    assert gg.logsumexp(np.array([-INF, -INF], dtype)).item() == -INF
    assert gg.logsumexp(np.array([INF, 0], dtype)).item() == INF
    assert np.isnan(gg.logsumexp(np.array([NAN, 0], dtype)).item())


def test_cross_entropy_at_extreme_logits() -> None:
    ids = np.array([0, 0])
    check(lambda x: F.cross_entropy(x, ids, reduction="sum"), [[[1000.0, 0], [0, 1000]]], 1000, [[0, 0], [-1, 1]])
    check(lambda x: F.cross_entropy(x, ids[:1]), [[[0.0, -INF]]], 0, [[0, 0]])
    check(lambda x: F.cross_entropy(x, np.array([1])), [[[-INF, 0.0, 0.0]]], math.log(2), [[0, -0.5, 0.5]])


def test_binary_losses_at_extreme_predictions() -> None:
    def with_logits(x: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x, np.array([1.0, 0, 1, 0]), reduction="none")

    check(with_logits, [[1000.0, 1000, -1000, -1000]], [0, 1000, 1000, 0], [0, 1, -1, 0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_binary_cross_entropy_of_sure_predictions(dtype: str) -> None:
    """Held at 100 where wrong, with PyTorch's slope there: (x - y) / max(x (1 - x), 1e-12), so that training can leave."""
    least = max(1e-12, float(np.finfo(dtype).tiny))

    def loss(x: Any) -> Any:
        return F.binary_cross_entropy(x, np.array([0, 1, 1, 0, 0.5], dtype), reduction="none")

    value, (gradient,) = value_and_gradients(loss, [np.array([0, 1, 0, 1, 1], dtype)], np.ones(5))
    np.testing.assert_array_equal(value, [0, 0, 100, 100, 50])
    np.testing.assert_allclose(gradient, [0, 0, -1 / least, 1 / least, 0.5 / least], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0, 3.0, 1.0, 1.0, 0.1]])
def test_binary_cross_entropy_has_pytorchs_gradients_at_the_edges(dtype: str, weight: list[float] | None) -> None:
    torch = pytest.importorskip("torch")
    probabilities = np.array([0, 1, 1e-14, 1e-12, 1e-6, 1 - 2**-20, 0.3], dtype)
    for target in (0.0, 1.0, 0.25):
        x, y = gg.tensor(probabilities, requires_grad=True), torch.tensor(probabilities, requires_grad=True)
        given = np.full(7, target, dtype)
        ours = F.binary_cross_entropy(x, given, None if weight is None else np.array(weight, dtype))
        theirs = torch.nn.functional.binary_cross_entropy(
            y, torch.tensor(given), None if weight is None else torch.tensor(weight, dtype=y.dtype)
        )
        ours.backward(), theirs.backward()
        np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-6)
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)


def test_kinks_of_losses() -> None:
    zero = np.zeros(3)
    check(lambda x: F.l1_loss(x, zero, reduction="sum"), [[-1.0, 0, 1]], 2, [-1, 0, 1])
    check(lambda x: F.huber_loss(x, zero, reduction="sum"), [[-1.0, 0, 1]], 1, [-1, 0, 1])
    check(lambda x: F.hinge_loss(x, np.ones(3), reduction="sum"), [[0.0, 1, 2]], 1, [-1, 0, 0])


# --- no elements, no axes -----------------------------------------------------------------------------------------

ELEMENTWISE = [op for op in registry.values() if op.kind == "elementwise"]


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in ELEMENTWISE])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)], ids=str)
def test_elementwise_ops_on_no_elements(op: Any, shape: tuple[int, ...]) -> None:
    dtype = int if op.name.startswith(("bitwise", "invert", "gcd", "lcm")) else float
    arrays = [np.zeros(shape, bool if name == "condition" else dtype) for name in op.inputs]
    if op.name == "ldexp":
        arrays[1] = arrays[1].astype(int)
    required = [1 for name in op.params if op.signature.parameters[name].default is op.signature.empty]
    out = op.public(*arrays, *required)
    assert out.shape == shape
    if not any(rule is not None for rule in op.rules):
        return
    tensors = [
        gg.asarray(a).requires_grad_() if a.dtype == float and rule is not None else a
        for a, rule in zip(arrays, op.rules, strict=False)
    ]
    op.public(*tensors, *arrays[len(tensors) :], *required).sum().backward()
    for tensor in tensors:
        if isinstance(tensor, gg.Tensor):
            assert tensor.grad is not None
            assert tensor.grad.shape == shape


NO_ELEMENTS: list[tuple[str, Callable[..., Any], list[tuple[int, ...]], tuple[int, ...], float | None]] = [
    ("sum", gg.sum, [(0, 3)], (), 0),
    ("sum axis", lambda x: gg.sum(x, axis=0), [(0, 3)], (3,), 0),
    ("sum keepdims", lambda x: gg.sum(x, axis=1, keepdims=True), [(0, 3)], (0, 1), None),
    ("max", lambda x: gg.max(x, axis=1), [(0, 3)], (0,), None),
    ("mean", lambda x: gg.mean(x, axis=1), [(0, 3)], (0,), None),
    ("var", lambda x: gg.var(x, axis=1), [(0, 3)], (0,), None),
    ("std", lambda x: gg.std(x, axis=1), [(0, 3)], (0,), None),
    ("logsumexp", lambda x: gg.logsumexp(x, axis=1), [(0, 3)], (0,), None),
    ("softmax", gg.softmax, [(0, 3)], (0, 3), None),
    ("log_softmax", gg.log_softmax, [(0, 3)], (0, 3), None),
    ("maxout", lambda x: gg.maxout(x, 3), [(0, 6)], (0, 2), None),
    ("reshape", lambda x: gg.reshape(x, (3, 0, 2)), [(0, 3)], (3, 0, 2), None),
    ("transpose", gg.transpose, [(0, 3)], (3, 0), None),
    ("broadcast", lambda x: gg.broadcast_to(x, (0, 3)), [(1, 3)], (0, 3), None),
    ("broadcast one", lambda x: gg.broadcast_to(x, (0, 3)), [(1, 1)], (0, 3), None),
    ("broadcast in add", gg.add, [(0, 3), (3,)], (0, 3), None),
    ("broadcast in mul", gg.multiply, [(0, 3), (1, 1)], (0, 3), None),
    ("concatenate", lambda x, y: gg.concatenate([x, y]), [(0, 3), (2, 3)], (2, 3), 0),
    ("concatenate flat", lambda x, y: gg.concatenate([x, y], axis=None), [(0, 3), (2,)], (2,), 0),
    ("stack", lambda x, y: gg.stack([x, y]), [(0,), (0,)], (2, 0), None),
    ("slice", lambda x: x[2:2], [(4, 3)], (0, 3), None),
    ("no rows", lambda x: x[np.zeros(0, int)], [(4, 3)], (0, 3), None),
    ("empty list", lambda x: x[[]], [(4, 3)], (0, 3), None),
    ("false mask", lambda x: x[np.zeros(4, bool)], [(4, 3)], (0, 3), None),
    ("matmul no rows", gg.matmul, [(0, 4), (4, 5)], (0, 5), None),
    ("matmul no inner", gg.matmul, [(3, 0), (0, 5)], (3, 5), 0),
    ("matmul no stack", gg.matmul, [(0, 3, 4), (4, 5)], (0, 3, 5), None),
    ("dot no elements", gg.matmul, [(0,), (0,)], (), 0),
    ("linear", F.linear, [(0, 4), (5, 4), (5,)], (0, 5), None),
    ("linear no inputs", F.linear, [(3, 0), (5, 0), (5,)], (3, 5), 0),
    ("linear no inputs, stack", F.linear, [(2, 3, 0), (5, 0), (5,)], (2, 3, 5), 0),
    ("linear no outputs, stack", F.linear, [(2, 3, 4), (0, 4), (0,)], (2, 3, 0), None),
    ("cross entropy", lambda x: F.cross_entropy(x, np.zeros(0, int), reduction="sum"), [(0, 3)], (), 0),
    ("mse", lambda x: F.mse_loss(x, x.detach(), reduction="sum"), [(0, 3)], (), 0),
]


@pytest.mark.parametrize(("function", "shapes", "shape", "value"), [pytest.param(*case[1:], id=case[0]) for case in NO_ELEMENTS])
def test_ops_on_no_elements(function: Any, shapes: Any, shape: Any, value: float | None) -> None:
    arrays = [np.zeros(s) for s in shapes]
    found, gradients = value_and_gradients(lambda *a: function(*a), arrays, np.ones(shape))
    assert found.shape == shape
    if value is not None:
        np.testing.assert_array_equal(found, np.full(shape, value))
    assert [g.shape for g in gradients] == shapes
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("function", [gg.max, gg.min, gg.argmax, gg.argmin], ids=lambda f: f.__name__)
def test_extrema_of_nothing_are_refused(function: Any) -> None:
    with pytest.raises(ShapeError, match=f"{function.__name__}: "):
        function(np.zeros((0, 3)), axis=0)


def test_means_of_nothing_are_nan_as_in_numpy() -> None:
    x = gg.tensor(np.zeros((0, 3)), requires_grad=True)
    for function in (gg.mean, gg.var, gg.std):
        with warnings.catch_warnings(action="ignore"):  # NumPy's "Mean of empty slice"
            out = function(x, axis=0)
            out.sum().backward()
        assert np.isnan(out.numpy()).all()
        assert x.grad is not None
        assert x.grad.shape == (0, 3)
    assert math.isnan(F.cross_entropy(x, np.zeros(0, int)).item())


@pytest.mark.parametrize("ddof", [1, 2])
def test_too_few_for_a_variance_is_nan_as_in_numpy(ddof: int) -> None:
    x = gg.tensor([3.0], dtype="float64", requires_grad=True)
    with pytest.warns(RuntimeWarning):
        out = gg.var(x, ddof=ddof)
    out.backward()
    assert x.grad is not None
    assert np.isnan(x.grad.numpy()).all()


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var", "std", "logsumexp"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_of_no_axes(name: str, keepdims: bool) -> None:
    reduce = registry[name].public
    value, (gradient,) = value_and_gradients(lambda x: reduce(x, keepdims=keepdims), [np.array(2.5)])
    assert value.shape == gradient.shape == ()
    assert value == pytest.approx(0 if name in ("var", "std") else 2.5)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "var", "logsumexp"])
def test_reductions_over_an_empty_tuple_of_axes(name: str) -> None:
    x = np.array([1.0, 2.0])
    value, (gradient,) = value_and_gradients(lambda a: registry[name].public(a, axis=()), [x])
    np.testing.assert_allclose(value, [0, 0] if name == "var" else x)
    assert gradient.shape == (2,)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "argmax", "softmax", "log_softmax", "logsumexp"])
def test_an_axis_that_is_not_there(name: str) -> None:
    with pytest.raises(BoundsError, match=f"{name}: .*axis 2 is out of bounds"):
        registry[name].public(np.zeros((2, 3)), axis=2)
    with pytest.raises(GpugradError):
        gg.matmul(np.zeros((2, 3)), np.array(1.0))


def test_a_standard_deviation_of_zero_has_gradient_zero() -> None:
    x = gg.tensor(np.array([[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), requires_grad=True)
    gg.std(x, axis=1).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0, 0], [-(1.5**-0.5) / 3 * 1.5, 0, (1.5**-0.5) / 3 * 1.5]], rtol=1e-12)


def test_linear_refuses_a_number() -> None:
    with pytest.raises(gg.ShapeError, match=r"x must be \(\.\.\., in_features\)"):
        gg.nn.functional.linear(gg.tensor(2.0), gg.zeros((3, 4)))
