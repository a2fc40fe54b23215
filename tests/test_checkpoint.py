"""checkpoint: the same values and gradients in less memory, alone, nested, in every transform."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck, gradgradcheck

X = np.array([0.3, -1.2, 2.0])


def part(x: Any, w: Any = 2.0) -> Any:
    return gg.tanh(gg.sin(x) * w) + x


def test_same_value_and_gradient() -> None:
    expected = gg.value_and_grad(lambda x: part(part(x)).sum())(X)
    got = gg.value_and_grad(lambda x: gg.checkpoint(part, gg.checkpoint(part, x)).sum())(X)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
    x = gg.tensor(X, requires_grad=True)
    gg.checkpoint(part, x).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), gg.grad(lambda x: part(x).sum())(X))


def test_both_modes_and_higher_orders() -> None:
    f = lambda x, w: gg.checkpoint(part, x, w=w)  # noqa: E731
    assert gradcheck(f, (X, X + 1))
    assert gradgradcheck(f, (X, X + 1))
    third = gg.elementwise_grad(gg.elementwise_grad(gg.elementwise_grad(lambda x: gg.checkpoint(gg.sin, x))))
    np.testing.assert_allclose(third(X), -np.cos(X), rtol=1e-12)
    np.testing.assert_allclose(gg.hessian(lambda x: gg.checkpoint(part, x).sum())(X), gg.hessian(lambda x: part(x).sum())(X))


def test_numpy_scalars_inside() -> None:
    f = lambda x: (x * np.float64(2.0) + np.complex128(1j)).real  # noqa: E731
    np.testing.assert_array_equal(gg.jacobian(lambda x: gg.checkpoint(f, x))(X), 2 * np.eye(3))


def test_a_graph_can_be_made_of_it() -> None:
    x = gg.tensor(X, requires_grad=True)
    gg.checkpoint(lambda x: x**3, x).sum().backward(create_graph=True)
    assert x.grad is not None
    first, x.grad = x.grad, None
    first.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 6 * X)


def test_it_nests() -> None:
    inner = lambda x: gg.checkpoint(part, gg.checkpoint(part, x))  # noqa: E731
    assert gradcheck(lambda x: gg.checkpoint(inner, x), X)
    assert gradgradcheck(lambda x: gg.checkpoint(inner, x), X)


def test_trees_in_and_out_and_things_that_are_not_tensors() -> None:
    def f(d: Any, scale: float, names: list[str]) -> Any:
        a, b = d["pair"]
        return {"product": a * b * scale, "many": [a + b, gg.argmax(a)], "name": names[0]}

    def g(a: Any, b: Any) -> Any:
        out = gg.checkpoint(f, {"pair": (a, b)}, 3.0, ["n"])
        assert out["name"] == "n"
        assert out["many"][1].dtype.kind == "i"
        return out["product"] * 2 + out["many"][0]

    assert gradcheck(g, (X, X + 1))
    assert gradgradcheck(g, (X, X + 1))


def test_one_of_several_results_is_enough() -> None:
    x = gg.tensor(X, requires_grad=True)
    gg.checkpoint(lambda x: (gg.sin(x), gg.cos(x)), x)[1].sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), -np.sin(X))


def test_what_it_uses_without_being_given_has_gradients_too() -> None:
    layer = gg.nn.Linear(3, 2)
    gg.checkpoint(layer, gg.tensor(X, dtype="float32")).sum().backward()
    got = [p.grad.numpy() for p in layer.parameters() if p.grad is not None]
    assert len(got) == 2
    for p in layer.parameters():
        p.grad = None
    layer(gg.tensor(X, dtype="float32")).sum().backward()
    for g, p in zip(got, layer.parameters(), strict=True):
        assert p.grad is not None
        np.testing.assert_array_equal(g, p.grad.numpy())
    np.testing.assert_allclose(gg.grad(lambda w: gg.checkpoint(lambda x: x * w, gg.tensor(X)).sum())(X), X)


def test_random_draws_repeat_and_the_generator_goes_on() -> None:
    def noisy(x: Any) -> Any:
        return x * gg.random.uniform((3,), dtype="float64")

    gg.manual_seed(3)
    x = gg.tensor(X, requires_grad=True)
    out = gg.checkpoint(noisy, x)
    after = gg.random.uniform((2,)).numpy()
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), out.numpy() / X)
    following = gg.random.uniform((2,)).numpy()
    gg.manual_seed(3)
    noisy(x)
    np.testing.assert_array_equal(after, gg.random.uniform((2,)).numpy())
    np.testing.assert_array_equal(following, gg.random.uniform((2,)).numpy())


def test_autocast_is_the_same_the_second_time() -> None:
    w = gg.tensor(np.ones((3, 3)), dtype="float32", requires_grad=True)
    seen = []

    def f(w: Any) -> Any:
        out = w @ w
        seen.append(out.dtype.name)
        return out

    with gg.autocast("float16"):
        out = gg.checkpoint(f, w)
    out.sum().backward()
    other = gg.checkpoint(f, w)
    with gg.autocast("float16"):
        other.sum().backward()
    assert seen == ["float16", "float16", "float32", "float32"]


def test_nothing_is_kept_but_what_went_in() -> None:
    made: list[Any] = []

    def f(x: Any) -> Any:
        middle = gg.exp(x)
        made.append(weakref.ref(middle._array))
        return gg.sin(middle * 1.0)

    x = gg.tensor(np.ones(1000), requires_grad=True)
    out = gg.checkpoint(f, x)
    gc.collect()
    assert made[0]() is None
    out.sum().backward()
    assert len(made) == 2


def test_a_freed_tape_a_changed_input_and_another_result_are_refused() -> None:
    x = gg.tensor(X, requires_grad=True)
    out = gg.checkpoint(part, x).sum()
    out.backward()
    with pytest.raises(gg.GradientError, match="second time"):
        out.backward()
    w = gg.tensor(X, requires_grad=True)
    out = gg.checkpoint(lambda x: x * w, x).sum()
    with gg.no_grad():
        w += 1.0
    with pytest.raises(gg.GradientError, match="changed in place"):
        out.backward()
    sizes = iter((3, 2))
    out = gg.checkpoint(lambda x: x[: next(sizes)] * 2, x).sum()
    with pytest.raises(gg.GradientError, match="returned shapes"):
        out.backward()


@pytest.mark.parametrize("n", [3, 40])  # small arrays own their memory, larger ones view aligned memory
def test_the_error_for_a_changed_array_names_its_dtype_and_shape(n: int) -> None:
    w, x = gg.tensor(np.ones((n, n)), requires_grad=True), gg.tensor(np.ones((n, n)), requires_grad=True)
    for change in (lambda: w.detach().__imul__(2), lambda: w.data.fill(0)):
        y = gg.checkpoint(lambda x: gg.tanh(x @ w), x)
        change()
        with pytest.raises(gg.GradientError, match=rf"checkpoint\(<lambda>\): float64\[{n}, {n}\], which it had saved, was "):
            y.sum().backward()


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("view", [lambda w: w.T, lambda w: w[1:], lambda w: w[:, ::2], lambda w: w])
def test_a_change_of_what_was_saved_as_a_view_is_refused(view: Any, order: Any, n: int) -> None:
    w, x = gg.tensor(np.ones((n, n), order=order)), gg.tensor(np.ones((n, n)), requires_grad=True)
    y = gg.checkpoint(lambda x: gg.tanh(view(x) * view(w)), x)
    with gg.no_grad():
        w *= 2
    with pytest.raises(gg.GradientError, match="which it had saved, was changed in place"):
        y.sum().backward()


def test_without_gradients_it_is_a_call() -> None:
    with gg.no_grad():
        assert not gg.checkpoint(part, gg.tensor(X, requires_grad=True)).requires_grad
    assert not gg.checkpoint(part, gg.tensor(X)).requires_grad
    assert gg.checkpoint(lambda: 5) == 5


def test_an_input_that_is_returned_as_it_is() -> None:
    x = gg.tensor(X, requires_grad=True)
    a, b = gg.checkpoint(lambda x: (x, x * 2), x)
    (a + b).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 3.0))
