"""`gpugrad.fuse` on a CPU: what it takes, what it refuses, and large arrays in blocks. Its kernels: test_kernels_generated."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.modes import recording
from gpugrad.ops import chain
from gpugrad.testing import gradcheck, gradgradcheck

X = np.random.default_rng(0).normal(size=(4, 5))


@gg.fuse
def swish(x: Any, gate: Any, beta: float = 1.0) -> Any:
    return x * gg.sigmoid(beta * gate)


def names(function: Callable[[], Any]) -> list[str]:
    with recording() as records:
        function()
    return [record.op.name for record in records]


# --- it is the function -------------------------------------------------------------------------------------------


def tensors(value: Any) -> Any:
    return value if isinstance(value, float) else gg.asarray(value)


def test_it_computes_what_the_function_does() -> None:
    for args, kwargs in (((X, X[0]), {}), ((X, 0.5), {"beta": 2.0}), (([1.0, 2.0], gg.ones(2)), {}), ((X[0, 0], X), {})):
        np.testing.assert_array_equal(swish(*args, **kwargs).numpy(), swish.function(*map(tensors, args), **kwargs).numpy())
    assert swish.__doc__ == swish.function.__doc__
    assert swish.__name__ == "swish"
    assert repr(swish) == "fuse(swish)"
    assert pickle.loads(pickle.dumps(swish)) is swish


def test_small_arrays_run_operation_by_operation() -> None:
    assert names(lambda: swish(X, X)) == ["multiply", "sigmoid", "multiply"]


def test_functions_of_numpy_and_of_a_namespace() -> None:
    out = gg.fuse(lambda x: np.exp(x) * np.where(x > 0, x, 0.5))(gg.asarray(X))
    np.testing.assert_allclose(out.numpy(), np.exp(X) * np.where(X > 0, X, 0.5))
    out = gg.fuse(lambda F, x: F.exp(x))(X)
    np.testing.assert_array_equal(out.numpy(), np.exp(X))


def test_fused_functions_call_each_other() -> None:
    outer = gg.fuse(lambda x, y: swish(x, y) + 1)
    np.testing.assert_array_equal(outer(X, X).numpy(), swish(X, X).numpy() + 1)


def test_a_number_outside_may_change() -> None:
    scale: Any = 2.0

    def scaled(x: Any) -> Any:
        return x * scale

    function = gg.fuse(scaled)
    with_blocks = [op_of(function, [X])]
    scale = 3.0
    with_blocks.append(op_of(function, [X]))
    np.testing.assert_array_equal(with_blocks[1], with_blocks[0] * 1.5)
    scale = gg.tensor(2.0)
    np.testing.assert_array_equal(op_of(function, [X]), with_blocks[0])
    scale.data[...] = 3.0
    np.testing.assert_array_equal(op_of(function, [X]), with_blocks[1])


def op_of(function: Any, arrays: list[Any]) -> Any:
    """The result of the op itself, whatever the size."""
    return chain.chain(arrays, function._call((None,) * len(arrays), ())).numpy()


def test_derivatives_of_the_op() -> None:
    call = swish._call((None, None), ())
    gradcheck(lambda x, y: chain.chain([x, y], call), [X, X[0]])
    gradgradcheck(lambda x, y: chain.chain([x, y], call), [X[:2, :2], X[:2, :1]])
    x = gg.tensor(X, requires_grad=True)
    out = chain.chain([x, x], call).sum()
    out.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    out.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * once)


def test_results_and_gradients_are_arrays_of_their_own() -> None:
    same = gg.fuse(lambda x: x)
    assert not np.shares_memory(op_of(same, [X]), X)
    x, y = (gg.tensor(X, requires_grad=True) for _ in range(2))
    chain.chain([x, y], gg.fuse(lambda x, y: (x + y) * 2)._call((None, None), ())).sum().backward()
    x.grad.data[...] = 7
    assert (y.grad.numpy() == 2).all()


def test_its_name_is_in_a_picture() -> None:
    x = gg.tensor(X, requires_grad=True)
    assert "swish" in str(gg.draw(chain.chain([x, x], swish._call((None, None), ()))))


# --- what it refuses ----------------------------------------------------------------------------------------------


def refused(function: Callable[..., Any], *args: Any, match: str, kind: type[Exception] = gg.FusionError) -> None:
    with pytest.raises(kind, match=match) as caught:
        gg.fuse(function)(*args)
    assert "test_fuse.py" in str(caught.value), "it names no line"


WEIGHTS, LEARNT = gg.tensor(X), gg.tensor(2.0, requires_grad=True)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x / x.sum(), r"(?s)^sum: it is not elementwise.*compute it before or after.*x / x\.sum"),
        (lambda x: x.reshape(-1), "^reshape: it is not elementwise"),
        (lambda x: x @ x, "^matmul: it is not elementwise"),
        (lambda x: gg.softmax(x), "^softmax: it is not elementwise"),
        (lambda x: x[0], "(?s)^getitem: it is not elementwise"),
        (lambda x: x * WEIGHTS, r"(?s)^multiply: <lambda> takes an array of shape \(4, 5\) from outside; make it an argument"),
        (lambda x: x if x > 0 else -x, r"(?s)reads the values of an array.*gpugrad\.where"),
        (lambda x: x * x.item() if x.size == 1 else x * float(x[0, 0]), "it is not elementwise"),
        (lambda x: x * gg.random.normal(shape=()), "cannot be one kernel with it"),
        (lambda x: x * LEARNT, "a tensor from outside that requires a gradient"),
        (lambda x: (x, x), "must return one array"),
        (lambda x: 3.0, "must return one array"),
        (lambda x: gg.nn.functional.dropout(x), "cannot be"),
        (lambda x: gg.ldexp(x, 2), "^ldexp: it has no CUDA text for float64"),
        (lambda x: x.nothing, "(?s)cannot be traced: AttributeError"),
    ],
)
def test_what_is_no_chain(function: Callable[..., Any], match: str) -> None:
    refused(function, X, match=match)


def test_what_is_no_argument() -> None:
    refused(lambda x: x * 2, 2.0, match="takes arrays, got none")
    refused(lambda x, how: x, X, {}, match="takes arrays, numbers and strings, got dict")
    refused(lambda x, y: y * 2, X, X[0], match=r"shape \(5,\), where its arguments broadcast to \(4, 5\)")
    with pytest.raises(gg.DTypeError, match="complex128 is no dtype"):
        gg.fuse(lambda x: x * 2)(X + 1j)
    refused(lambda x, y: x * y, X, X.T, match=r"do not broadcast: float64\[4, 5\] on cpu, float64\[5, 4\]", kind=gg.ShapeError)


# --- large arrays -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_LARGE", 64)
    monkeypatch.setattr(chain, "_BLOCK_BYTES", 7 * 8)


def both(function: Any, arrays: list[Any], how: Callable[..., Any]) -> None:
    """Values and gradients through `function` are those of the composition."""
    found = []
    for f in (function, function.function):
        leaves = [gg.tensor(a, requires_grad=True) for a in arrays]
        how(f(*leaves)).backward()
        found.append([f(*leaves).numpy(), *[None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.usefixtures("small_blocks")
def test_in_blocks() -> None:
    assert names(lambda: swish(X, X)) == ["chain"]
    both(swish, [X, X[::-1].copy()], lambda out: out.sum())
    both(swish, [X, X[0, 0]], lambda out: (out**2).sum())
    both(swish, [np.array([[0.3]]), X], lambda out: out.mean())
    both(swish, [X.T, X.T], lambda out: (out**2).sum())  # not in C order: not in blocks
    both(swish, [X, X[0]], lambda out: (out**2).sum())
    both(gg.fuse(lambda x: (x > 0) * x.astype("float32")), [X], lambda out: out.sum())
    assert names(lambda: swish(X, X[0])) == ["multiply", "sigmoid", "multiply"]


@pytest.mark.usefixtures("small_blocks")
def test_blocks_to_second_order_and_forward() -> None:
    gradgradcheck(swish, [X, X])
    tangent = gg.jvp(swish, (X, X), (X, np.ones_like(X)))[1]
    np.testing.assert_allclose(tangent, gg.jvp(swish.function, (X, X), (X, np.ones_like(X)))[1])


@pytest.mark.usefixtures("small_blocks")
def test_jacobians_of_blocks() -> None:
    np.testing.assert_allclose(gg.jacobian(swish)(X, X), gg.jacobian(swish.function)(X, X))
    np.testing.assert_allclose(gg.hessian(lambda x: swish(x, x).sum())(X), gg.hessian(lambda x: swish.function(x, x).sum())(X))


@pytest.mark.usefixtures("small_blocks")
def test_shapes_that_a_function_asks_for_are_those_of_the_whole() -> None:
    both(gg.fuse(lambda x: x * x / x.size + x.ndim), [X], lambda out: out.sum())


@pytest.mark.usefixtures("small_blocks")
def test_only_what_is_wanted() -> None:
    x, y = gg.tensor(X), gg.tensor(X, requires_grad=True)
    swish(x, y).sum().backward()
    assert x.grad is None
    want = gg.grad(lambda y: swish.function(x, y).sum())(gg.asarray(X))
    np.testing.assert_allclose(y.grad.numpy(), want.numpy())
