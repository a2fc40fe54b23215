"""detect_anomaly: which op is named, with what; what is let pass; that nothing is asked when it is off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cupy_standin
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backend

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def found(function: Callable[[], Any], **options: Any) -> str:
    """The message of the error that a function raises."""
    with pytest.raises(gg.AnomalyError) as caught, gg.detect_anomaly(**options):
        function()
    assert caught.match(r"at .*test_anomaly\.py:\d+, in ")
    assert isinstance(caught.value, FloatingPointError)
    return str(caught.value)


def leaf(*values: float) -> gg.Tensor:
    return gg.tensor(values, dtype="float64", requires_grad=True)


def test_forward_names_op_inputs_and_line() -> None:
    x = leaf(-1.0, 0.0, 3.0)
    lines = found(lambda: gg.exp(gg.log(x)).sum()).splitlines()
    assert lines[:3] == [
        "log produced nan in 1, -inf in 1 of 3 elements",
        "  got",
        "    x = float64[3] on cpu, from -1 to 3",
    ]
    assert lines[3].endswith("lines = found(lambda: gg.exp(gg.log(x)).sum()).splitlines()")


def test_backward_names_the_line_of_the_forward() -> None:
    x = leaf(0.0, 4.0)
    y = gg.sqrt(x)
    lines = found(lambda: y.sum().backward()).splitlines()
    assert lines[:4] == [
        "backward of sqrt produced inf in 1 of 2 elements of the gradient of x",
        "  got",
        "    gradient of the result = float64[2] on cpu, all 1",
        "    out = float64[2] on cpu, from 0 to 2",
    ]
    assert lines[4].endswith("test_backward_names_the_line_of_the_forward: y = gg.sqrt(x)")
    assert x.grad is None


def nan_grad() -> Any:
    class Bad(gg.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return gg.log(grad - 2)

    return Bad.apply(leaf(1.0)).sum().backward()


def overflowing_sum(x: gg.Tensor) -> gg.Tensor:
    return (x * 1e308 + x * 1e308).sum()


def bad_step() -> None:
    p = gg.nn.Parameter(np.ones(2))
    p.grad = gg.tensor([1e200, 0.0], dtype="float64")
    gg.optim.SGD([p], lr=1e200).step()


PLACES: dict[str, tuple[Callable[[], Any], str]] = {
    "a number among the inputs": (lambda: leaf(1.0) / 0, r"divide produced inf in 1 of 1 element\n.*\n.*all 1\n    y = int 0"),
    "higher order": (
        lambda: gg.sqrt(leaf(0.0)).sum().backward(create_graph=True),
        "divide produced inf in 1 of 1 element in the backward of sqrt",
    ),
    "gg.grad": (lambda: gg.grad(gg.sqrt)(0.0), "backward of sqrt produced inf"),
    "second derivative": (lambda: gg.grad(gg.grad(lambda x: x**1.5))(0.0), "in the backward of power|backward of power"),
    "forward mode": (lambda: gg.jvp(gg.sqrt, (0.0,), (1.0,)), "the tangent of the result of sqrt has inf"),
    "a Function's backward": (nan_grad, "log produced nan in 1 of 1 element in the backward of Bad"),
    "a checkpoint": (lambda: gg.checkpoint(gg.sqrt, leaf(0.0)).backward(np.ones(1)), "backward of sqrt produced inf"),
    "several results": (lambda: gg.linalg.slogdet(gg.zeros((2, 2))), "slogdet produced -inf in 1 of 2 elements"),
    "a sum at a leaf": (lambda: overflowing_sum(leaf(0.5)).backward(), "the summed gradient of a leaf has inf"),
    "an optimiser's step": (bad_step, r"sgd_ produced -inf in 1 of 2 elements\n.*\n    lr = .*\n    tensors\[1\] = float64\[2\]"),
    "data": (lambda: leaf(1.0) * np.array([np.nan]), "y = float64\\[1\\] on cpu, already nan in 1 of 1 element"),
    "a gradient that was given": (
        lambda: gg.sin(leaf(1.0)).backward(np.array([np.nan])),
        "the gradient that arrived at sin, given to backward or summed, has nan",
    ),
    "complex numbers": (
        lambda: gg.log(gg.tensor([0j, 1.0 + 1j])),
        r"log produced .*inf in 1 of 2 elements\n.*\n.*, modulus from 0 to 1\.41421",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_found_everywhere(name: str) -> None:
    function, message = PLACES[name]
    with pytest.raises(gg.AnomalyError, match=message), gg.detect_anomaly():
        function()


def test_masks_pass() -> None:
    x = leaf(0.0, 2.0)
    with gg.detect_anomaly():
        masked = gg.where(np.array([True, False]), x, -np.inf)
        gg.softmax(masked).sum().backward()
        assert float(gg.max(masked)) == 0.0
        assert float(gg.max(x + np.array([0.0, -np.inf]))) == 0.0


def test_nan_only_lets_infinities_pass() -> None:
    with gg.detect_anomaly(nan_only=True):
        assert np.isinf(float((leaf(1.0) / 0).sum()))
    assert "log produced nan" in found(lambda: gg.log(leaf(-1.0)), nan_only=True)


def test_only_the_block_and_only_this_thread() -> None:
    others: list[float] = []
    with gg.detect_anomaly():
        thread = threading.Thread(target=lambda: others.append(float(gg.log(leaf(-1.0)).sum())))
        thread.start()
        thread.join()
        assert backend.detours
    assert np.isnan(others[0])
    assert not backend.detours
    assert np.isnan(float(gg.log(leaf(-1.0)).sum()))


def test_values_and_gradients_are_those_without_it() -> None:
    def run() -> np.ndarray[Any, Any]:
        net = gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.GELU(), gg.nn.Linear(4, 2))
        for i, p in enumerate(net.parameters()):
            p.data = np.sin(np.arange(p.size, dtype=np.float32) + i).reshape(p.shape)
        loss = gg.nn.functional.cross_entropy(net(np.ones((5, 3), np.float32)), np.array([0, 1, 1, 0, 1]))
        loss.backward()
        return np.concatenate([loss.numpy().reshape(1), *(p.grad.numpy().ravel() for p in net.parameters())])  # type: ignore[union-attr]

    plain = run()
    with gg.detect_anomaly():
        np.testing.assert_array_equal(run(), plain)


def test_on_a_gpu_nothing_is_fetched_until_the_end() -> None:
    with cupy_standin.installed():
        x = gg.tensor([-1.0, 4.0], "float64", "cuda")
        watching = gg.detect_anomaly()
        watching.__enter__()
        y = gg.exp(gg.log(x) * 2)  # the product of nan is not the first to blame
        assert y.device == "cuda:0"
        assert cupy_standin.cuda.synchronizations == 0
        with pytest.raises(gg.AnomalyError) as caught:
            watching.__exit__(None, None, None)
        assert cupy_standin.cuda.synchronizations > 0
        lines = str(caught.value).splitlines()
        assert lines[0] == "log produced nan or inf (2 elements)"
        assert "x = float64[2] on cuda:0, from -1 to 4" in lines[2]
        assert "y = gg.exp(gg.log(x) * 2)" in lines[3]
        with gg.detect_anomaly():
            gg.exp(x)
            gg.max(gg.where(x > 0, x, -np.inf))


def test_on_a_gpu_a_backward_is_looked_at_when_it_ends() -> None:
    with cupy_standin.installed():
        x = gg.tensor([0.0, 4.0], device="cuda", requires_grad=True)
        with gg.detect_anomaly():
            y = gg.sqrt(x)
            with pytest.raises(gg.AnomalyError, match=r"backward of sqrt produced nan or inf[\s\S]*y = gg\.sqrt\(x\)"):
                y.backward(gg.ones(2, device="cuda"))
