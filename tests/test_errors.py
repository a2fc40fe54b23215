"""Messages: each names the op, the shapes, dtypes and devices it got, what to do, and the user's own line."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.op import registry


def leaf(value: Any, dtype: Any = np.float64) -> gg.Tensor:
    return gg.tensor(np.asarray(value, dtype), requires_grad=True)


def here(function: Callable[..., Any], mark: str = "# HERE") -> str:
    """`file:line, in name` of the marked line of a function."""
    lines, start = inspect.getsourcelines(function)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if mark in line)}, in {function.__name__}"


def message_of(kind: type[Exception], function: Callable[[], Any]) -> str:
    """The message of the exception that a function raises; its marked line must be in it."""
    with pytest.raises(kind) as caught:
        function()
    message = str(caught.value)
    assert here(function) in message
    assert isinstance(caught.value, gg.GpugradError)
    return message


# --- shapes and dtypes --------------------------------------------------------------------------------------------


def test_shapes_that_do_not_broadcast() -> None:
    x, y = gg.zeros((3, 4), requires_grad=True), gg.zeros((2, 4), dtype="float64")

    def add() -> Any:
        return x + y  # HERE

    message = message_of(ValueError, add)
    assert message.startswith("add: ")
    assert "x = float32[3, 4] on cpu, requires_grad" in message
    assert "y = float64[2, 4] on cpu" in message
    assert "# HERE" in message, "the text of the line is shown"


def test_shapes_that_do_not_multiply() -> None:
    x, y = gg.zeros((3, 4)), gg.zeros((3, 4))

    def matmul() -> Any:
        return x @ y  # HERE

    message = message_of(gg.ShapeError, matmul)
    assert message.startswith("matmul: ")
    assert "x = float32[3, 4] on cpu" in message
    assert "y = float32[3, 4] on cpu" in message


OPS: dict[str, Callable[[], Any]] = {
    "reshape": lambda: gg.zeros((2, 3)).reshape(4),  # HERE reshape
    "concatenate": lambda: gg.concatenate([gg.zeros((2, 3)), gg.zeros((2, 2))]),  # HERE concatenate
    "stack": lambda: gg.stack([gg.zeros((2, 3)), gg.zeros((2, 2))]),  # HERE stack
    "broadcast_to": lambda: gg.broadcast_to(gg.zeros((2, 3)), (3, 2)),  # HERE broadcast_to
    "transpose": lambda: gg.transpose(gg.zeros((2, 3)), (0, 0)),  # HERE transpose
    "sum": lambda: gg.zeros((2, 3)).sum(axis=2),  # HERE sum
    "max": lambda: gg.zeros((2, 3)).max(axis=-3),  # HERE max
    "getitem": lambda: gg.zeros((2, 3))[:, 5],  # HERE getitem
    "squeeze": lambda: gg.zeros((2, 3)).squeeze(0),  # HERE squeeze
    "where": lambda: gg.where(gg.zeros((2, 3)) > 0, gg.zeros(2), 0.0),  # HERE where
}


@pytest.mark.parametrize("name", OPS)
def test_every_kind_of_op_names_itself(name: str) -> None:
    with pytest.raises(gg.GpugradError) as caught:
        OPS[name]()
    message = str(caught.value)
    lines = Path(__file__).read_text(encoding="utf-8").split("\n")
    number = 1 + next(i for i, line in enumerate(lines) if line.endswith(f"# HERE {name}"))
    assert name in registry
    assert message.startswith(f"{name}: ")
    assert "[2, 3] on cpu" in message
    assert f"{__file__}:{number}, in <lambda>" in message


def test_operands_that_are_no_numbers() -> None:
    x = gg.zeros((2, 3))

    def add() -> Any:
        return x + "a"  # HERE

    message = message_of(TypeError, add)
    assert message.startswith("add: ")
    assert "x = float32[2, 3] on cpu" in message
    assert "y = str a" in message


def test_a_dtype_without_a_gradient() -> None:
    def integers() -> Any:
        return gg.tensor([1, 2], requires_grad=True)  # HERE

    def booleans() -> Any:
        return gg.tensor([True, False]).requires_grad_()  # HERE

    def transformed() -> Any:
        return gg.grad(lambda x: x * 1.0)(3)  # HERE

    assert "floating" in message_of(TypeError, integers)
    assert "got int64[2] on cpu" in message_of(gg.DTypeError, integers)
    assert "got bool[2] on cpu" in message_of(gg.DTypeError, booleans)
    assert "int64[] on cpu" in message_of(gg.DTypeError, transformed)


def test_a_slot_for_the_gradient_takes_only_what_fits() -> None:
    x = leaf([1.0, 2.0])

    def assign() -> Any:
        x.grad = np.zeros(3)  # HERE

    message = message_of(gg.ShapeError, assign)
    assert "float64[2] on cpu" in message
    assert "float64[3] on cpu" in message


# --- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize(
    "make",
    [
        lambda device: gg.tensor([1.0], device=device),
        lambda device: gg.zeros(3, device=device),
        lambda device: gg.tensor([1.0]).to(device),
        lambda device: gg.tensor([1.0]).cuda(device),
    ],
    ids=["tensor", "zeros", "to", "cuda"],
)
def test_a_device_without_cupy(make: Callable[[str], Any], device: str) -> None:
    with pytest.raises(gg.DeviceError, match=r"CuPy is not installed(.|\n)*pip install gpugrad\[cuda13\]") as caught:
        make(device)
    assert "test_errors.py" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


def test_a_device_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class CuPy:
        ndarray = type("ndarray", (), {})
        is_available = staticmethod(lambda: False)

    monkeypatch.setitem(sys.modules, "cupy", CuPy)
    with pytest.raises(gg.DeviceError, match=r"no NVIDIA GPU or driver(.|\n)*nvidia-smi"):
        gg.tensor([1.0], device="cuda")
    assert gg.tensor([1.0], device="auto").device == "cpu"


def test_an_unknown_device() -> None:
    def make() -> Any:
        return gg.tensor([1.0], device="tpu")  # HERE

    message = message_of(gg.DeviceError, make)
    assert "unknown device 'tpu'" in message
    assert "'cpu', 'cuda', 'cuda:N' or 'auto'" in message


# --- backward -----------------------------------------------------------------------------------------------------


def test_backward_from_something_that_is_no_scalar() -> None:
    y = leaf(np.ones((2, 3)), np.float32) * 2

    def go() -> Any:
        y.backward()  # HERE

    message = message_of(RuntimeError, go)
    assert "backward needs a scalar" in message
    assert "float32[2, 3] on cpu" in message
    assert ".sum()" in message


def test_backward_with_a_gradient_of_another_shape() -> None:
    y = leaf(np.ones((2, 3))) * 2

    def go() -> Any:
        y.backward(np.ones(3))  # HERE

    message = message_of(gg.ShapeError, go)
    assert "float64[3]" in message
    assert "float64[2, 3]" in message


def test_backward_from_something_without_a_tape() -> None:
    y = gg.ones((2, 3)).sum()

    def go() -> Any:
        y.backward()  # HERE

    message = message_of(gg.GradientError, go)
    assert "float32[] on cpu" in message
    assert "requires_grad=True" in message


def test_backward_twice() -> None:
    x = leaf([1.0, 2.0])

    def go() -> Any:
        y = gg.exp(x)  # RAN
        z = y.sum()
        y.backward(np.ones(2))
        z.backward()  # HERE

    message = message_of(gg.GradientError, go)
    assert "backward through exp a second time" in message
    assert "retain_graph=True" in message
    assert here(go, "# RAN") in message


def test_a_saved_array_changed_in_place() -> None:
    x = leaf(np.ones((2, 3)), np.float32)

    def go() -> Any:
        y = gg.sin(x)  # RAN
        x.data *= 2.0  # HERE
        y.sum().backward()

    message = message_of(gg.GradientError, go)
    assert "backward of sin: float32[2, 3], which it had saved, was changed in place at" in message
    assert here(go, "# RAN") in message
    assert "change a copy instead" in message


def test_a_failing_backward_names_the_line_of_the_forward() -> None:
    class Fails(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, grad: gg.Tensor) -> Any:
            return grad @ gg.ones((7, 7))

    def go() -> Any:
        y = Fails.apply(leaf(np.ones((2, 3))))  # HERE
        y.sum().backward()

    message = message_of(gg.GradientError, go)
    assert "backward of Fails failed: matmul: " in message
    assert "its result was float64[2, 3], made" in message
    assert "x = float64[2, 3]" in message
    assert "y = float32[7, 7]" in message


def test_losing_a_gradient_unseen_is_refused() -> None:
    x = leaf([1.0, 2.0])

    def asarray() -> Any:
        return np.asarray(x)  # HERE

    def ufunc() -> Any:
        return np.isnat(x)  # HERE

    assert "float64[2] on cpu, requires_grad" in message_of(gg.GradientError, asarray)
    assert "numpy.isnat has no rule for Tensors" in message_of(gg.DTypeError, ufunc)


def test_a_tensor_as_a_constant() -> None:
    x, slope = leaf([-1.0, 2.0]), gg.tensor(0.5, requires_grad=True)

    def activate() -> Any:
        return gg.leaky_relu(x, slope)  # HERE

    message = message_of(RuntimeError, activate)
    assert "leaky_relu: negative_slope is a constant of this op" in message
    assert "negative_slope.detach()" in message
    with pytest.raises(gg.GradientError, match=r"nan_to_num: .* is a constant of this op"):
        gg.nan_to_num(leaf([np.nan]), nan=slope)
    functional = gg.nn.functional
    composed: list[Callable[[Any], Any]] = [
        lambda p: gg.linalg.vector_norm(x, ord=p),
        lambda p: functional.pairwise_distance(x, 2 * x, p=p),
        lambda p: functional.normalize(x[None], p=p),
        lambda p: functional.cosine_similarity(x[None], x[None], eps=p),
        lambda p: functional.gaussian_nll_loss(x, 2 * x, x * x, eps=p),
    ]
    for function in composed:
        for value in (0.5, 1.0, 2.0):
            with pytest.raises(gg.GradientError, match="is a constant of this op"):
                function(gg.tensor(value, requires_grad=True))
            assert function(gg.tensor(value)).numpy() == pytest.approx(function(value).numpy())
    with gg.no_grad():
        np.testing.assert_array_equal(gg.leaky_relu(x, slope).numpy(), [-0.5, 2.0])
    out = gg.leaky_relu(x, slope.detach())
    out.sum().backward()
    np.testing.assert_array_equal(gg.asarray(x.grad).numpy(), [0.5, 1.0])


def test_a_tensor_that_is_one_is_no_constant() -> None:
    x = np.random.default_rng(0).uniform(0.5, 1, (2, 3, 3))
    for function in (
        lambda one: gg.nn.functional.softplus(x, beta=one),
        lambda one: gg.addmm(x[0], x[0], x[1], beta=one),
        lambda one: gg.addmm(x[0], x[0], x[1], alpha=one),
        lambda one: gg.baddbmm(x, x, x, beta=one),
        lambda one: gg.baddbmm(x, x, x, alpha=one),
    ):
        assert gg.testing.gradcheck(function, (np.array(1.0),))


def test_an_in_place_change_of_a_leaf() -> None:
    x = leaf([1.0, 2.0])

    def go() -> Any:
        x[0] = 3.0  # HERE

    message = message_of(gg.GradientError, go)
    assert "item assignment on a leaf that requires a gradient: float64[2] on cpu" in message
    assert "with gg.no_grad():" in message


def test_every_exception_is_also_the_built_in_one() -> None:
    kinds = {
        gg.ShapeError: ValueError,
        gg.DTypeError: TypeError,
        gg.DeviceError: RuntimeError,
        gg.GradientError: RuntimeError,
        gg.DataError: ValueError,
        gg.CheckpointError: ValueError,
    }
    for kind, built_in in kinds.items():
        assert issubclass(kind, gg.GpugradError)
        assert issubclass(kind, built_in)


def test_any_value_can_be_described() -> None:
    torch = pytest.importorskip("torch")
    for value in (np.uint8, np.float64(1), np.ndarray, [np.ones(2)], object(), torch.ones(2), None, {"a": 1}):
        assert isinstance(gg.errors.describe(value), str)
    assert gg.errors.describe(np.uint8).startswith("type ")
    assert gg.errors.describe(torch.ones(2, 3)) == "torch.float32[2, 3] on cpu"
