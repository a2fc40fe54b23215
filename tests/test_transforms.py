"""grad, value_and_grad, vjp and jvp: what goes in and comes out, and how they nest."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import GradientError


def cubes(x: Any) -> Any:
    return (x**3).sum()


VECTOR = np.array([1.0, -2.0, 3.0])


# --- grad and value_and_grad --------------------------------------------------------------------------------------


def test_numpy_in_numpy_out() -> None:
    value, gradient = gg.value_and_grad(cubes)(VECTOR)
    assert type(value) is np.float64
    assert type(gradient) is np.ndarray
    assert value == 20.0
    np.testing.assert_allclose(gradient, 3 * VECTOR**2, rtol=1e-15)


def test_tensor_in_tensor_out() -> None:
    value, gradient = gg.value_and_grad(cubes)(gg.tensor(VECTOR))
    assert type(value) is type(gradient) is gg.Tensor
    assert not value.requires_grad
    assert not gradient.requires_grad
    np.testing.assert_allclose(gradient.data, 3 * VECTOR**2, rtol=1e-15)


@pytest.mark.parametrize("function", [lambda x: x, lambda x: x + 1, lambda x: x * 3, gg.floor])
def test_derivatives_by_a_number_are_numbers(function: Callable[[Any], Any]) -> None:
    assert type(gg.grad(function)(2.0)) is np.float64
    assert type(gg.vjp(function, 2.0)[1](1.0)[0]) is np.float64
    assert type(gg.jvp(function, (2.0,), (1.0,))[1]) is np.float64


def test_a_python_float_is_a_float64() -> None:
    assert gg.grad(lambda x: x * x)(3.0) == 6.0
    assert type(gg.grad(lambda x: x * x)(3.0)) is np.float64
    assert gg.grad(gg.exp)(0.1) == np.exp(0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_keep_the_dtype(dtype: str) -> None:
    gradient = gg.grad(lambda x: (x * np.arange(3.0)).sum())(VECTOR.astype(dtype))
    assert gradient.dtype == np.dtype(dtype)


def product(x: Any, y: Any, z: Any) -> Any:
    return (x * y**2 * z**3).sum()


@pytest.mark.parametrize("argnums", [0, 1, 2, -1, -3, (0,), (0, 2), (2, 0), (-1, 0), [1, 2]])
def test_argnums(argnums: Any) -> None:
    x, y, z = 2.0, 3.0, 5.0
    expected = (y**2 * z**3, 2 * x * y * z**3, 3 * x * y**2 * z**2)
    gradient = gg.grad(product, argnums)(x, y, z)
    assert gradient == (expected[argnums] if isinstance(argnums, int) else tuple(expected[i] for i in argnums))


@pytest.mark.parametrize("argnums", [3, -4, (0, 3)])
def test_argnums_out_of_range(argnums: Any) -> None:
    with pytest.raises(gg.GradientError, match=r"argnums=.* called with 3 positional argument(.|\n)*test_transforms\.py"):
        gg.grad(product, argnums)(1.0, 2.0, 3.0)


def test_has_aux() -> None:
    def loss(x: Any) -> Any:
        return cubes(x), {"doubled": x * 2, "name": "aux", "count": 3}

    (value, aux), gradient = gg.value_and_grad(loss, has_aux=True)(VECTOR)
    assert value == 20.0
    np.testing.assert_array_equal(aux["doubled"], 2 * VECTOR)
    assert type(aux["doubled"]) is np.ndarray
    assert (aux["name"], aux["count"]) == ("aux", 3)
    only, aux = gg.grad(loss, has_aux=True)(gg.tensor(VECTOR))
    np.testing.assert_array_equal(only.data, gradient)
    assert type(aux["doubled"]) is gg.Tensor
    assert not aux["doubled"].requires_grad


def test_keywords_are_passed_on_and_not_differentiated() -> None:
    def scaled(x: Any, *, scale: Any, flip: bool = False) -> Any:
        return (x * scale).sum() * (-1 if flip else 1)

    np.testing.assert_array_equal(gg.grad(scaled)(VECTOR, scale=np.arange(3.0), flip=True), -np.arange(3.0))
    np.testing.assert_array_equal(gg.grad(scaled)(VECTOR, scale=2), [2.0] * 3)


Pair = namedtuple("Pair", "w b")


@pytest.mark.parametrize("kind", ["dict", "list", "tuple", "namedtuple", "nested"])
def test_nested_arguments(kind: str) -> None:
    w, b, x = np.ones((3, 2)), np.zeros(2), np.arange(12.0).reshape(4, 3)
    pack: dict[str, Callable[..., Any]] = {
        "dict": lambda w, b: {"w": w, "b": b},
        "list": lambda w, b: [w, b],
        "tuple": lambda w, b: (w, b),
        "namedtuple": Pair,
        "nested": lambda w, b: {"layers": [(w, None), {"b": b}]},
    }
    unpack: dict[str, Callable[[Any], Any]] = {
        "dict": lambda p: (p["w"], p["b"]),
        "list": lambda p: p,
        "tuple": lambda p: p,
        "namedtuple": lambda p: (p.w, p.b),
        "nested": lambda p: (p["layers"][0][0], p["layers"][1]["b"]),
    }
    params = pack[kind](w, b)
    gradient = gg.grad(lambda p, x: (x @ unpack[kind](p)[0] + unpack[kind](p)[1]).sum())(params, x)
    assert type(gradient) is type(params)
    dw, db = unpack[kind](gradient)
    np.testing.assert_array_equal(dw, np.tile(x.sum(0)[:, None], (1, 2)))
    np.testing.assert_array_equal(db, [4.0, 4.0])


def test_an_argument_that_is_not_used_gets_zeros() -> None:
    dx, dy = gg.grad(lambda x, y: (x * 2).sum(), (0, 1))(VECTOR, np.ones((2, 2)))
    np.testing.assert_array_equal(dx, [2.0] * 3)
    np.testing.assert_array_equal(dy, np.zeros((2, 2)))
    np.testing.assert_array_equal(gg.grad(lambda x: 5.0)(VECTOR), np.zeros(3))
    np.testing.assert_array_equal(gg.grad(lambda x: x.detach().sum())(VECTOR), np.zeros(3))


def test_the_same_array_twice_is_two_arguments() -> None:
    x = gg.tensor(VECTOR, requires_grad=True)
    for argument in (VECTOR, x):
        dx, dy = gg.grad(lambda x, y: (x * y * y).sum(), (0, 1))(argument, argument)
        np.testing.assert_allclose(np.asarray(dx.tolist()), VECTOR**2)
        np.testing.assert_allclose(np.asarray(dy.tolist()), 2 * VECTOR**2)
        assert not np.shares_memory(dx if argument is VECTOR else dx.data, dy if argument is VECTOR else dy.data)


def test_gradients_do_not_share_memory() -> None:
    x, y = VECTOR.copy(), VECTOR.copy()
    dx, dy = gg.grad(lambda x, y: (x + y).sum(), (0, 1))(x, y)
    dx[:] = 7.0
    np.testing.assert_array_equal(dy, np.ones(3))


def test_closed_over_parameters_get_no_grad() -> None:
    w = gg.tensor(VECTOR, requires_grad=True)
    gradient = gg.grad(lambda x: (x * w).sum())(np.ones(3))
    np.testing.assert_array_equal(np.asarray(gradient.tolist()), VECTOR)
    assert w.grad is None
    gg.jvp(lambda x: x * w, (np.ones(3),), (np.ones(3),))
    gg.vjp(lambda x: x * w, np.ones(3))[1](np.ones(3))
    assert w.grad is None


def test_the_argument_gets_no_grad_and_keeps_its_node() -> None:
    x = gg.tensor(VECTOR, requires_grad=True)
    gradient = gg.grad(cubes)(x)
    assert x.grad is None
    assert gradient.requires_grad, "a Tensor that needs a gradient can be differentiated through gg.grad"
    gradient.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 6 * VECTOR)


def test_backward_through_value_and_grad() -> None:
    x = gg.tensor(VECTOR, requires_grad=True)
    value, gradient = gg.value_and_grad(cubes)(x)
    (value + (gradient * gradient).sum()).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 3 * VECTOR**2 + 36 * VECTOR**3)


def test_backward_inside_a_transform_reaches_outer_leaves() -> None:
    def step(x: Any) -> Any:
        w = gg.tensor(VECTOR, requires_grad=True)
        (w * w).sum().backward()
        assert w.grad is not None
        return (x * w.grad.detach()).sum()

    np.testing.assert_array_equal(gg.grad(step)(np.ones(3)), 2 * VECTOR)


def test_a_constant_whose_tape_was_freed_is_no_obstacle() -> None:
    def step(x: Any) -> Any:
        w = gg.tensor(VECTOR, requires_grad=True)
        h = w * w
        h.sum().backward()
        return (x * h).sum()  # h does not depend on x

    np.testing.assert_array_equal(gg.grad(step)(np.ones(3)), VECTOR**2)


def test_only_an_input_without_a_rule_is_asked_for() -> None:
    x = gg.tensor([1.0, 2.0], requires_grad=True)
    f = lambda y: (gg.copysign(x, y) * y**2).sum()  # noqa: E731
    np.testing.assert_array_equal(gg.grad(f)(np.array([3.0, -1.0])), [6.0, 4.0])
    np.testing.assert_array_equal(gg.hessian(f)(np.array([3.0, -1.0])), [[2.0, 0.0], [0.0, -4.0]])


@pytest.mark.parametrize("value", [3, np.arange(3), True, gg.tensor([1, 2])], ids=["int", "int array", "bool", "int tensor"])
def test_integer_arguments_are_refused(value: Any) -> None:
    with pytest.raises(gg.DTypeError, match=r"cannot differentiate by (int64|bool)\[.*floating(.|\n)*test_transforms\.py"):
        gg.grad(lambda x: (x * 1.0).sum())(value)


def test_values_that_are_no_scalars_are_refused() -> None:
    with pytest.raises(gg.GradientError, match=r"one element, this one returned float64\[3\](.|\n)*test_transforms\.py"):
        gg.grad(lambda x: x * 2)(VECTOR)
    with pytest.raises(gg.GradientError, match="returned str"):
        gg.grad(lambda x: "loss")(VECTOR)
    np.testing.assert_array_equal(gg.grad(lambda x: (x * x)[:1])(VECTOR), [2.0, 0.0, 0.0])


def test_under_no_grad() -> None:
    x = gg.tensor(VECTOR, requires_grad=True)
    with gg.no_grad():
        np.testing.assert_allclose(gg.grad(cubes)(VECTOR), 3 * VECTOR**2)
        gradient = gg.grad(cubes)(x)
        assert not gradient.requires_grad
        np.testing.assert_allclose(gradient.data, 3 * VECTOR**2)
        np.testing.assert_allclose(gg.grad(lambda x: gg.grad(cubes)(x).sum())(VECTOR), 6 * VECTOR)
        value, tangent = gg.jvp(cubes, (VECTOR,), (np.ones(3),))
        assert (value, tangent) == (20.0, 42.0)
        np.testing.assert_array_equal(gg.vjp(gg.square, VECTOR)[1](np.ones(3))[0], 2 * VECTOR)


def test_no_grad_inside_cuts() -> None:
    def f(x: Any) -> Any:
        with gg.no_grad():
            constant = x * x
        return (x * constant).sum()

    np.testing.assert_array_equal(gg.grad(f)(VECTOR), VECTOR**2)


# --- vjp and jvp --------------------------------------------------------------------------------------------------


def test_pull_may_be_called_again() -> None:
    value, pull = gg.vjp(lambda x, y: x * y, VECTOR, 2 * VECTOR)
    np.testing.assert_array_equal(value, 2 * VECTOR**2)
    for scale in (1.0, 3.0):
        dx, dy = pull(np.full(3, scale))
        np.testing.assert_array_equal(dx, scale * 2 * VECTOR)
        np.testing.assert_array_equal(dy, scale * VECTOR)


@pytest.mark.parametrize("wrap", [np.asarray, gg.tensor], ids=["NumPy", "Tensor"])
def test_vjp_and_jvp_of_nested_outputs(wrap: Callable[[Any], Any]) -> None:
    def f(x: Any, p: dict[str, Any]) -> Any:
        return x * p["a"], {"sum": x.sum(), "constant": np.ones(2)}

    primals = (wrap(VECTOR), {"a": wrap(np.array(2.0))})
    (out, rest), pull = gg.vjp(f, *primals)
    assert type(out) is type(rest["sum"]) if wrap is gg.tensor else isinstance(rest["sum"], np.float64)
    dx, dp = pull((wrap(np.ones(3)), {"sum": wrap(np.array(10.0)), "constant": wrap(np.ones(2))}))
    assert type(dx) is type(primals[0])
    np.testing.assert_array_equal(np.asarray(dx), [12.0] * 3)
    np.testing.assert_array_equal(np.asarray(dp["a"]), VECTOR.sum())

    (out, rest), (d_out, d_rest) = gg.jvp(f, primals, (wrap(np.ones(3)), {"a": wrap(np.array(1.0))}))
    np.testing.assert_array_equal(np.asarray(out), 2 * VECTOR)
    np.testing.assert_array_equal(np.asarray(d_out), 2 + VECTOR)
    np.testing.assert_array_equal(np.asarray(d_rest["sum"]), 3.0)
    np.testing.assert_array_equal(np.asarray(d_rest["constant"]), [0.0, 0.0])
    assert type(d_out) is type(out) is type(primals[0])


def test_cotangents_and_tangents_that_do_not_fit_are_refused() -> None:
    _, pull = gg.vjp(lambda x: (x, x), VECTOR)
    with pytest.raises(gg.ShapeError, match=r"2 output\(s\), but 1 cotangent"):
        pull(np.ones(3))
    with pytest.raises(gg.ShapeError, match=r"cotangent of shape \(2,\) for a value of shape \(3,\)"):
        pull((np.ones(3), np.ones(2)))
    with pytest.raises(gg.ShapeError, match=r"tangent of shape \(2,\) for a value of shape \(3,\)(.|\n)*test_transforms\.py"):
        gg.jvp(cubes, (VECTOR,), (np.ones(2),))
    with pytest.raises(gg.ShapeError, match=r"1 primal\(s\), but 2 tangent"):
        gg.jvp(cubes, (VECTOR,), (VECTOR, VECTOR))


OPS: dict[str, Callable[[Any], Any]] = {
    "exp": gg.exp,
    "softmax": gg.softmax,
    "max": lambda x: gg.max(x, axis=0),
    "matmul": lambda x: x.reshape(1, 3) @ gg.sin(x),
    "index": lambda x: x[[0, 0, 2]] * x[1:2],
    "item assignment": lambda x: assigned(x),
    "concatenate": lambda x: gg.concatenate([x, x * x]),
    "logsumexp": gg.logsumexp,
    "var": lambda x: x.var(),
    "where": lambda x: gg.where(x.detach() > 0, x * x, -x),
    "cast": lambda x: x.astype("float32").astype("float64") * x,
}


def assigned(x: Any) -> Any:
    y = x * x
    y[0] = x[1] * 3.0
    y *= 2.0
    return y


@pytest.mark.parametrize("name", OPS)
def test_forward_and_reverse_mode_agree(name: str) -> None:
    f, rng = OPS[name], np.random.default_rng(0)
    tangent = rng.standard_normal(3)
    value, pushed = gg.jvp(f, (VECTOR,), (tangent,))
    again, pull = gg.vjp(f, VECTOR)
    np.testing.assert_array_equal(value, again)
    cotangent = rng.standard_normal(np.shape(value))
    rtol = 1e-6 if name == "cast" else 1e-12
    np.testing.assert_allclose(np.sum(cotangent * pushed), pull(cotangent)[0] @ tangent, rtol=rtol)
    step = 1e-6 * tangent
    if name != "cast":  # float32 is too coarse for differences
        numeric = (np.asarray(f(gg.tensor(VECTOR + step))) - np.asarray(f(gg.tensor(VECTOR - step)))) / 2e-6
        np.testing.assert_allclose(pushed, numeric, rtol=1e-7, atol=1e-9)


# --- nesting ------------------------------------------------------------------------------------------------------


def test_five_orders() -> None:
    f: Callable[[Any], Any] = lambda x: x**6 + gg.sin(x)  # noqa: E731
    x = 0.7
    expected = [
        x**6 + np.sin(x), 6 * x**5 + np.cos(x), 30 * x**4 - np.sin(x), 120 * x**3 - np.cos(x),
        360 * x**2 + np.sin(x), 720 * x + np.cos(x),
    ]  # fmt: skip
    for order in range(1, 6):
        f = gg.grad(f)
        assert f(x) == pytest.approx(expected[order], rel=1e-12)


def forward(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The derivative of a function of one number by forward mode."""
    return lambda x: gg.jvp(f, (x,), (1.0,))[1]


def reverse(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same by vjp."""
    return lambda x: gg.vjp(f, x)[1](1.0)[0]


MODES = {"grad": gg.grad, "forward": forward, "reverse": reverse}


@pytest.mark.parametrize("inner", MODES)
@pytest.mark.parametrize("outer", MODES)
def test_modes_nest(outer: str, inner: str) -> None:
    def f(x: Any) -> Any:
        return gg.exp(2 * x) * gg.tanh(x)

    x = 0.3
    t, e = np.tanh(x), np.exp(2 * x)
    expected = e * (4 * t + 4 * (1 - t**2) - 2 * t * (1 - t**2))
    assert MODES[outer](MODES[inner](f))(x) == pytest.approx(expected, rel=1e-12)
    assert MODES["grad"](MODES[outer](MODES[inner](lambda x: x**4)))(x) == pytest.approx(24 * x, rel=1e-12)


@pytest.mark.parametrize("inner", MODES)
@pytest.mark.parametrize("outer", MODES)
def test_perturbations_are_not_confused(outer: str, inner: str) -> None:
    def f(x: Any) -> Any:
        return x * MODES[inner](lambda y: x * y * y)(3.0)

    assert MODES[outer](f)(2.0) == 24.0  # d/dx of x * 2 x 3

    def g(x: Any) -> Any:
        return x * MODES[inner](lambda y: x + y)(1.0)

    assert MODES[outer](g)(5.0) == 1.0

    def h(x: Any) -> Any:
        return MODES[inner](lambda y: MODES[inner](lambda z: x * y * z)(y) * y)(x)

    assert MODES[outer](h)(2.0) == 8.0  # the inner is d/dy of x y y = 2 x y at y = x


def mlp(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Any:
    hidden = gg.tanh(x @ params["w1"] + params["b1"])
    return gg.cross_entropy(gg.relu(hidden) @ params["w2"] + hidden @ params["w3"], y)


@pytest.fixture
def problem() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"w1": (4, 3), "b1": (3,), "w2": (3, 2), "w3": (3, 2)}
    params, direction = ({name: rng.standard_normal(shape) for name, shape in shapes.items()} for _ in range(2))
    return params, direction, rng.standard_normal((5, 4)), np.array([0, 1, 1, 0, 1])


def flat(tree: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in tree.values()])


def test_hessian_vector_products_of_an_mlp(problem: Any) -> None:
    params, direction, x, y = problem
    gradient = gg.grad(lambda p: mlp(p, x, y))

    def along(p: dict[str, Any]) -> Any:
        return sum((gradient(p)[name] * direction[name]).sum() for name in p)

    _, forward_over_reverse = gg.jvp(gradient, (params,), (direction,))
    reverse_over_reverse = gg.grad(along)(params)
    reverse_over_forward = gg.grad(lambda p: gg.jvp(lambda q: mlp(q, x, y), (p,), (direction,))[1])(params)

    names, sizes = list(params), [value.size for value in params.values()]
    basis = np.eye(sum(sizes))
    rows = []
    for row in basis:
        parts = np.split(row, np.cumsum(sizes)[:-1])
        unit = {name: part.reshape(params[name].shape) for name, part in zip(names, parts, strict=True)}
        rows.append(flat(gg.jvp(gradient, (params,), (unit,))[1]))
    hessian = np.array(rows)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10, atol=1e-14)
    numeric = [(flat(gradient({n: params[n] + s * 1e-5 * direction[n] for n in names}))) * s / 2e-5 for s in (1.0, -1.0)]
    for product_ in (forward_over_reverse, reverse_over_reverse, reverse_over_forward):
        np.testing.assert_allclose(flat(product_), hessian @ flat(direction), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(flat(product_), sum(numeric), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("f", [math.sin, lambda x: float(x) * 2.0, lambda x: complex(x).real])
def test_a_number_in_place_of_a_traced_tensor_is_refused(f: Callable[[Any], Any]) -> None:
    with pytest.raises(GradientError, match=r"into a number would drop its gradient(.|\n)*t\.item\(\)"):
        gg.grad(f)(1.0)
    with pytest.raises(GradientError, match="would drop its gradient"):
        gg.jvp(f, (1.0,), (1.0,))


def test_numbers_that_are_asked_for_may_be_taken() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append((x.item(), float(x.detach()), f"{x:.1f}", bool(x > 0), int(np.asarray(3))))
        return x * x

    assert gg.grad(f)(3.0) == 6.0
    assert seen == [(3.0, 3.0, "3.0", True, 3)]
    x = gg.tensor(2.0, requires_grad=True)
    loss = x * x
    assert float(loss) == 4.0
    loss.backward()
