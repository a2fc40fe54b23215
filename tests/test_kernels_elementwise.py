"""Elementwise kernels on the CPU against float64: activations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import DTYPES, assert_close, dtype_of, launcher, needs_cpu_runner, run
from scipy import special

import gpugrad as gg
from gpugrad.cuda import compiler, kernels
from gpugrad.errors import DTypeError, ShapeError

pytestmark = needs_cpu_runner
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
CUBIC = 0.044715
LAYOUTS = [(0, 0), (1, 0), (1003, 0), (1003, 1), (20011, 0)]
"""Sizes, and by how many elements the array misses a multiple of 16 bytes."""


def step(x: Any) -> Any:
    return (x > 0).astype(float)


def tanh_gelu_u(x: Any) -> Any:
    return np.sqrt(2 / np.pi) * (x + CUBIC * x**3)


def mish_slope(x: Any) -> Any:
    th = np.tanh(np.logaddexp(0, x))
    return th + x * special.expit(x) * (1 - th) * (1 + th)


def tanh_gelu_slope(x: Any) -> Any:
    s = special.expit(2 * tanh_gelu_u(x))
    return s + x * s * (1 - s) * 2 * np.sqrt(2 / np.pi) * (1 + 3 * CUBIC * x * x)


REFERENCES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0), step),
    "leaky_relu": (lambda x, a: np.where(x > 0, x, a * x), lambda x, a: np.where(x > 0, 1, a)),
    "elu": (lambda x, a: np.where(x > 0, x, a * np.expm1(x)), lambda x, a: np.where(x > 0, 1, a * np.exp(x))),
    "selu": (
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
        lambda x: SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(x)),
    ),
    "celu": (lambda x, a: np.where(x > 0, x, a * np.expm1(x / a)), lambda x, a: np.where(x > 0, 1, np.exp(x / a))),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    ),
    "gelu_tanh": (lambda x: x * special.expit(2 * tanh_gelu_u(x)), tanh_gelu_slope),
    "silu": (lambda x: x * special.expit(x), lambda x: special.expit(x) * (1 + x * special.expit(-x))),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), mish_slope),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "logsigmoid": (special.log_expit, lambda x: special.expit(-x)),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "hardtanh": (np.clip, lambda x, low, high: ((x > low) & (x < high)).astype(float)),
    "hardsigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: (abs(x) < 3) / 6),
    "hardswish": (
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
    ),
    "softshrink": (lambda x, a: np.sign(x) * np.maximum(abs(x) - a, 0), lambda x, a: (abs(x) > a).astype(float)),
    "hardshrink": (lambda x, a: np.where(abs(x) <= a, 0, x), lambda x, a: (abs(x) > a).astype(float)),
    "tanhshrink": (lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2),
}
"""Value and slope of every activation function, in float64."""

PARAMETERS = {
    "leaky_relu": (0.125,),
    "elu": (0.5,),
    "celu": (2.0,),
    "hardtanh": (-0.5, 2.0),
    "softshrink": (0.25,),
    "hardshrink": (0.25,),
}
FORWARD_ERROR: dict[str, Callable[..., Any]] = {
    "tanhshrink": lambda x: 4 * abs(x),  # a difference of neighbours
    "hardsigmoid": lambda x: 1.0,
    "hardswish": abs,
    "gelu": lambda x: x**4 * np.exp(-x * x / 2),  # exp(-x^2 / 2) has x^2 times the relative error of its argument
    "gelu_tanh": lambda x: x**4 * np.exp(-x * x / 2),
}
"""By how many units of rounding a result may miss, where not relative to itself."""


def inputs(size: int, dtype: Any, offset: int) -> Any:
    rng = np.random.default_rng(size)
    values = rng.standard_normal(size) * np.where(rng.random(size) < 0.1, 6, 1.5)
    return cuda_cpu.array(values, dtype, offset=offset * dtype.itemsize)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_activations(name: str, dtype: str) -> None:
    forward, slope = REFERENCES[name]
    numbers = PARAMETERS.get(name, ())
    for size, offset in LAYOUTS:
        x, g = inputs(size, dtype_of(dtype), offset), inputs(size, dtype_of(dtype), 0)[::-1].copy()
        g = cuda_cpu.array(g)
        exact_x, exact_g = x.astype(float), g.astype(float)
        y = run(lambda: kernels.activation(launcher(), name, x, *numbers))  # noqa: B023
        assert_close(y, forward(exact_x, *numbers), dtype, 8, FORWARD_ERROR.get(name, lambda x: 0)(exact_x))
        saved = x if name in kernels.FROM_INPUT else y
        gx = run(lambda: kernels.activation_backward(launcher(), name, g, saved, *numbers))  # noqa: B023
        assert_close(gx, exact_g * slope(exact_x, *numbers), dtype, 8, 8 * abs(exact_g) * (1 + abs(exact_x) if saved is x else 1))


@pytest.mark.parametrize("name", REFERENCES)
def test_activations_at_the_ends(name: str) -> None:
    """Nan stays nan; no overflow on the way, and the slopes of far ends."""
    numbers = PARAMETERS.get(name, ()) or kernels.DEFAULTS.get(name, ())
    forward, slope = REFERENCES[name]
    x = cuda_cpu.array(np.array([np.nan, 1e4, -1e4, 1e30, -1e30, 0.0], np.float32))
    exact = x.astype(float)
    with np.errstate(over="ignore", invalid="ignore"):
        expected, slopes = forward(exact, *numbers), slope(exact, *numbers)
    y = kernels.activation(launcher(), name, x, *numbers)
    assert_close(y, expected, "float32", 8)
    saved = x if name in kernels.FROM_INPUT else y
    gx = kernels.activation_backward(launcher(), name, cuda_cpu.array(np.ones_like(x)), saved, *numbers)
    slopes[exact == -1e30], slopes[exact == 1e30] = slopes[exact == -1e4], slopes[exact == 1e4]
    assert_close(gx[1:], slopes[1:], "float32", 8, 8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["elu", "selu", "celu"])
def test_slopes_of_the_tail_keep_their_digits(name: str, dtype: str) -> None:
    x = cuda_cpu.array(np.linspace(-8, 0, 1001), dtype_of(dtype))
    numbers = kernels.DEFAULTS.get(name, ())
    gx = kernels.activation_backward(launcher(), name, cuda_cpu.array(np.ones_like(x)), x, *numbers)
    assert_close(gx, REFERENCES[name][1](x.astype(float), *numbers), dtype, 4)


def test_every_activation_has_a_reference() -> None:
    assert list(REFERENCES) == list(compiler.ACTIVATIONS)


def test_the_functors_are_what_python_takes_them_for() -> None:
    text = (compiler.kernel_folder() / "activations.cuh").read_text(encoding="utf-8")
    forms = {name: (form, int(count)) for name, form, count in re.findall(r"struct (\w+) : From(Input|Output)<(\d)>", text)}
    assert forms == {
        functor: ("Input" if name in kernels.FROM_INPUT else "Output", len(kernels.DEFAULTS.get(name, ())))
        for name, functor in compiler.ACTIVATIONS.items()
    }


def test_activations_in_place() -> None:
    x = cuda_cpu.array([-1.0, 2.0, -3.0])
    assert kernels.activation(launcher(), "relu", x, out=x) is x
    np.testing.assert_array_equal(x, [0, 2, 0])


def test_what_the_kernels_do_not_take_is_refused() -> None:
    x = cuda_cpu.array(np.ones((4, 4), np.float32))
    with pytest.raises(DTypeError, match=r"relu.*float16.*got int32"):
        kernels.activation(launcher(), "relu", x.astype(np.int32))
    with pytest.raises(DTypeError, match="one dtype"):
        kernels.activation_backward(launcher(), "relu", x, x.astype(np.float64))
    with pytest.raises(ShapeError, match="contiguous"):
        kernels.activation(launcher(), "relu", x.T[1:])
    with pytest.raises(ShapeError, match="shapes differ"):
        kernels.activation_backward(launcher(), "relu", x, x[:2])
    with pytest.raises(ValueError, match="0 or more, got -1"):
        kernels.activation(launcher(), "leaky_relu", x, -1.0)
    with pytest.raises(ValueError, match="0 parameters"):
        kernels.activation(launcher(), "relu", x, 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", list(compiler.ACTIVATIONS))
def test_infinities_and_nan_are_as_in_the_op(name: str, dtype: str) -> None:
    huge = 6e4 if dtype == "float16" else 1e30
    x = np.array([-np.inf, np.inf, np.nan, -huge, huge], dtype)
    leaf, op = gg.tensor(x, requires_grad=True), getattr(gg.nn.functional, name.removesuffix("_tanh"))
    with np.errstate(all="ignore"):
        out = op(leaf, "tanh") if name == "gelu_tanh" else op(leaf)
        out.backward(gg.ones_like(out))
    assert leaf.grad is not None
    y = kernels.activation(launcher(), name, cuda_cpu.array(x))
    np.testing.assert_allclose(y, out.numpy(), rtol=1e-3)
    saved = cuda_cpu.array(x) if name in kernels.FROM_INPUT else y
    slope = kernels.activation_backward(launcher(), name, cuda_cpu.array(np.ones_like(x)), saved)
    np.testing.assert_allclose(slope, leaf.grad.numpy(), rtol=1e-3)
