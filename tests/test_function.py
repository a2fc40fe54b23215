"""Functions of the user's own: what the context holds, every order and mode, and what a wrong backward is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck, gradgradcheck


def leaf(value: Any) -> gg.Tensor:
    return gg.tensor(np.asarray(value, np.float64), requires_grad=True)


def gradient(tensor: gg.Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return tensor.grad.data


class Cube(gg.Function):
    """Saves its input."""

    @staticmethod
    def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad: gg.Tensor) -> gg.Tensor:
        (x,) = ctx.saved_tensors
        return 3.0 * x * x * grad


class Exp(gg.Function):
    """Saves its own result."""

    @staticmethod
    def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
        out = gg.exp(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: gg.Tensor) -> gg.Tensor:
        return ctx.saved_tensors[0] * grad


class Scale(gg.Function):
    """Takes a plain argument and keeps things on the context; broadcasts."""

    seen: Any = None

    @staticmethod
    def forward(ctx: Any, x: gg.Tensor, scale: float, y: gg.Tensor) -> gg.Tensor:
        ctx.scale = scale
        ctx.save_for_backward(x, None, y)
        Scale.seen = ctx.needs_input_grad
        assert not (x * y).requires_grad, "nothing in forward is recorded"
        return x * scale * y

    @staticmethod
    def backward(ctx: Any, grad: gg.Tensor) -> Any:
        x, nothing, y = ctx.saved_tensors
        assert nothing is None
        dx = grad * ctx.scale * y if ctx.needs_input_grad[0] else None
        dy = (grad * ctx.scale * x).sum() if ctx.needs_input_grad[2] else None
        return dx, None, dy


def test_context_and_plain_arguments() -> None:
    x, y = leaf([1.0, 2.0]), leaf(4.0)
    out = Scale.apply(x, 3.0, y)
    np.testing.assert_array_equal(out.data, [12.0, 24.0])
    out.backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(gradient(x), [12.0, 120.0])
    np.testing.assert_array_equal(gradient(y), 63.0)


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True), (False, False)])
def test_needs_input_grad(wanted: tuple[bool, bool]) -> None:
    x = gg.tensor(np.array([1.0, 2.0]), requires_grad=wanted[0])
    y = gg.tensor(np.array(4.0), requires_grad=wanted[1])
    out = Scale.apply(x, 3.0, y)
    assert Scale.seen == (wanted[0], False, wanted[1])
    assert out.requires_grad == any(wanted)
    if any(wanted):
        out.sum().backward()
    assert [x.grad is not None, y.grad is not None] == list(wanted)


def test_under_no_grad() -> None:
    x = leaf([1.0, 2.0])
    with gg.no_grad():
        out = Scale.apply(x, 3.0, leaf(4.0))
    assert Scale.seen == (False, False, False)
    assert not out.requires_grad


def test_none_stands_for_no_gradient() -> None:
    class First(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
            return x + y

        @staticmethod
        def backward(ctx: Any, grad: gg.Tensor) -> Any:
            return grad, None

    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    upstream = np.array([5.0, 6.0])
    First.apply(x, y).backward(upstream)
    np.testing.assert_array_equal(gradient(x), [5.0, 6.0])
    assert not np.shares_memory(gradient(x), upstream)
    assert y.grad is None


def test_between_other_ops_and_used_twice() -> None:
    x = leaf([0.5, 1.0])
    y = gg.sin(x)
    (Cube.apply(y) * Cube.apply(y) + Exp.apply(y)).sum().backward()
    s = np.sin(x.data)
    np.testing.assert_allclose(gradient(x), (6 * s**5 + np.exp(s)) * np.cos(x.data), rtol=1e-14)


def test_the_result_may_be_the_argument() -> None:
    class Same(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
            return x

        @staticmethod
        def backward(ctx: Any, grad: gg.Tensor) -> gg.Tensor:
            return -grad

    x = leaf([1.0, 2.0])
    Same.apply(x).sum().backward()
    np.testing.assert_array_equal(gradient(x), [-1.0, -1.0])
    assert x.is_leaf


@pytest.mark.parametrize(("function", "plain"), [(Cube, lambda x: x**3), (Exp, gg.exp)], ids=["input saved", "result saved"])
def test_every_order_and_mode(function: Any, plain: Any) -> None:
    f, g = (lambda x: (function.apply(x) * x).sum()), (lambda x: (plain(x) * x).sum())
    x, v = np.array([0.5, -1.5]), np.array([1.0, 3.0])
    for transform in (
        gg.grad,
        lambda f: gg.grad(lambda x: (gg.grad(f)(x) * v).sum()),
        lambda f: gg.grad(lambda x: gg.grad(lambda x: (gg.grad(f)(x) * v).sum())(x).sum()),
        lambda f: lambda x: gg.jvp(f, (x,), (v,))[1],
        lambda f: lambda x: gg.jvp(gg.grad(f), (x,), (v,))[1],
        lambda f: gg.grad(lambda x: gg.jvp(f, (x,), (v,))[1]),
    ):
        np.testing.assert_allclose(transform(f)(x), transform(g)(x), rtol=1e-13)


def test_double_backward_by_create_graph() -> None:
    x = leaf([0.5, -1.5])
    Cube.apply(x).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    assert first is not None
    (first * first).sum().backward()
    np.testing.assert_allclose(gradient(x), 36 * x.data**3, rtol=1e-14)


def test_backward_twice_and_retained() -> None:
    x = leaf([2.0])
    y = Cube.apply(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(gradient(x), [24.0])
    with pytest.raises(gg.GradientError, match="a second time"):
        y.backward()


def test_a_saved_array_that_was_changed_is_refused() -> None:
    x = leaf([2.0])
    y = Cube.apply(x)
    x.data[0] = 1.0
    with pytest.raises(gg.GradientError, match=r"backward of Cube: float64\[1\](.|\n)*Cube ran at .*test_function\.py"):
        y.backward()


# --- a backward that is wrong -------------------------------------------------------------------------------------


class Wrong(gg.Function):
    """Returns from backward what the class attribute says."""

    answer: Any = None

    @staticmethod
    def forward(ctx: Any, x: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
        return x * y

    @staticmethod
    def backward(ctx: Any, grad: gg.Tensor) -> Any:
        if isinstance(Wrong.answer, Exception):
            raise Wrong.answer
        return Wrong.answer


def failure(answer: Any) -> str:
    """The message of a backward that returns (or raises) this."""
    Wrong.answer = answer
    out = Wrong.apply(leaf([1.0, 2.0]), leaf([3.0, 4.0])).sum()  # APPLIED
    with pytest.raises(gg.GradientError) as caught:
        out.backward()
    message = str(caught.value)
    lines = Path(__file__).read_text(encoding="utf-8").split("\n")
    number = 1 + next(i for i, line in enumerate(lines) if line.endswith("# APPLIED"))
    assert f"{__file__}:{number}, in failure: out = Wrong.apply(" in message
    return message


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_number_of_gradients(count: int) -> None:
    message = failure((gg.ones(2, dtype="float64"),) * count)
    assert f"Wrong.backward returned {count} gradient(s) for 2 argument(s)" in message
    assert "None" in message


def test_one_gradient_instead_of_two() -> None:
    assert "Wrong.backward returned 1 gradient(s) for 2 argument(s)" in failure(gg.ones(2, dtype="float64"))


def test_a_gradient_of_the_wrong_shape() -> None:
    message = failure((gg.ones(2, dtype="float64"), gg.ones((2, 1), dtype="float64")))
    assert "Wrong.backward returned a gradient of shape (2, 1) for argument 1, which has shape (2,)" in message


def test_an_exception_in_backward_keeps_its_cause() -> None:
    message = failure(KeyError("lost"))
    assert "backward of Wrong failed: KeyError: 'lost'" in message


def test_saving_something_else_is_refused() -> None:
    class Saves(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
            ctx.save_for_backward(x, 3.0)
            return x

    with pytest.raises(gg.GradientError, match=r"save_for_backward takes Tensors, got float 3\.0(.|\n)*ctx\.name = value"):
        Saves.apply(leaf([1.0]))


def test_methods_that_are_missing_are_named() -> None:
    with pytest.raises(NotImplementedError, match=r"static method forward\(ctx"):
        gg.Function.apply(leaf([1.0]))


class PolarParts(gg.Function):
    """Radius and angle of a point, as two results; the third is an integer."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        radius = gg.sqrt(x * x + y * y)
        ctx.save_for_backward(x, y, radius)
        return radius, gg.arctan2(y, x), gg.asarray(np.arange(3))

    @staticmethod
    def backward(ctx: Any, grad_radius: Any, grad_angle: Any, grad_count: Any) -> Any:
        x, y, radius = ctx.saved_tensors
        assert grad_count is None
        square = radius * radius
        return grad_radius * x / radius - grad_angle * y / square, grad_radius * y / radius + grad_angle * x / square


def test_several_results() -> None:
    x, y = np.array([1.0, -2.0]), np.array([0.5, 1.5])
    assert not PolarParts.apply(gg.tensor(x), gg.tensor(y))[0].requires_grad
    for f in (
        lambda x, y: PolarParts.apply(x, y)[:2],
        lambda x, y: PolarParts.apply(x, y)[1],
        lambda x, y: (lambda p: p[0] * p[1])(PolarParts.apply(x, y)),
    ):
        assert gradcheck(f, (x, y))
        assert gradgradcheck(f, (x, y))
    assert not PolarParts.apply(gg.tensor(x, requires_grad=True), gg.tensor(y))[2].requires_grad


class ComplexSquare(gg.Function):
    """A square whose backward is written in PyTorch's convention, with the conjugate."""

    @staticmethod
    def forward(ctx: Any, z: Any) -> Any:
        ctx.save_for_backward(z)
        return z * z

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * gg.conjugate(ctx.saved_tensors[0]) * 2


def test_complex_gradients_come_in_the_users_convention() -> None:
    z = np.array([1 + 2j, -0.5j])
    assert gradcheck(lambda z: ComplexSquare.apply(z * 1j), z)
    assert gradgradcheck(lambda z: ComplexSquare.apply(z * 1j), z)
