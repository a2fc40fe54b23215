"""Kernels over the rows and columns of a matrix, on the CPU against float64: bias and activation, sums."""

from __future__ import annotations

from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import DTYPES, EPS, SHAPES, assert_close, launcher, matrix, needs_cpu_runner, run
from test_kernels_elementwise import PARAMETERS, REFERENCES

from gpugrad.cuda import kernels
from gpugrad.cuda.launcher import Launcher
from gpugrad.errors import ShapeError

pytestmark = needs_cpu_runner


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "hardtanh", "gelu"])
def test_bias_activation(name: str, dtype: str) -> None:
    forward, slope = REFERENCES[name]
    numbers = PARAMETERS.get(name, ())
    for shape, offset in SHAPES:
        x, bias = matrix(shape, dtype, offset), matrix(shape[1:], dtype)
        g = matrix(shape, dtype, seed=1)
        z = x.astype(float) + bias.astype(float)
        y = run(lambda: kernels.bias_activation(launcher(), name, x, bias, *numbers))  # noqa: B023
        assert_close(y, forward(z, *numbers), dtype, 8, 8 + z**4 * np.exp(-z * z / 2))
        saved = x if name in kernels.FROM_INPUT else y
        gx, gb = run(lambda: kernels.bias_activation_backward(launcher(), name, g, saved, bias, *numbers))  # noqa: B023
        expected, size = g.astype(float) * slope(z, *numbers), abs(g.astype(float)) * (1 + abs(z))
        for corner in {"hardtanh": numbers, "gelu": ()}.get(name, (0.0,)):  # where rounding decides the side
            expected = np.where(abs(z - corner) < 8 * EPS[dtype], gx.astype(float), expected)
        assert_close(gx, expected, dtype, 8, 8 * size)
        assert_close(gb, expected.sum(axis=0), dtype, 8, 8 * size.sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums(dtype: str) -> None:
    """Summed in float: what rounding the terms and sums to a half type would lose is not lost."""
    summing = 1.0 if dtype == "float64" else EPS["float32"] / EPS[dtype]
    for shape, offset in [*SHAPES, ((1, 50000), 0), ((1, 50001), 1), ((20000, 1), 0)]:
        x = matrix(shape, dtype, offset)
        exact = x.astype(float)
        for call, axis in ((kernels.sum_columns, 0), (kernels.sum_rows, 1)):
            out = run(lambda: call(launcher(), x, 0.5))  # noqa: B023
            assert_close(out, 0.5 * exact.sum(axis=axis), dtype, 1.01, 32 * summing * abs(exact).sum(axis=axis))


def test_sums_have_the_same_bits_in_every_run() -> None:
    x = matrix((3000, 33), "float32", 0)
    one, many = (Launcher(cuda_cpu, processors=n) for n in (1, 132))
    for call in (kernels.sum_columns, kernels.sum_rows):
        first = run(lambda: call(many, x))  # noqa: B023
        for _ in range(3):
            assert call(many, x).tobytes() == first.tobytes()
        np.testing.assert_allclose(call(one, x), first, rtol=1e-4, atol=1e-4)
    assert not many.counters(1).any()  # ready for the next launch


def test_empty_matrices_launch_nothing() -> None:
    launch: Any = launcher()
    launch.function = None
    assert kernels.sum_rows(launch, matrix((3, 0), "float32")).tolist() == [0, 0, 0]
    assert kernels.sum_columns(launch, matrix((0, 2), "float32")).tolist() == [0, 0]
    x, bias = matrix((0, 3), "float32"), matrix((3,), "float32")
    assert kernels.bias_activation(launch, "relu", x, bias).shape == (0, 3)
    assert kernels.bias_activation_backward(launch, "relu", x, x, bias)[1].tolist() == [0, 0, 0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, bias = matrix((4, 3), "float32"), matrix((4,), "float32")
    with pytest.raises(ShapeError, match=r"relu: bias must have shape \(3,\) for rows of \(4, 3\), got \(4,\)"):
        kernels.bias_activation(launcher(), "relu", x, bias)
    with pytest.raises(ShapeError, match="takes a matrix, got"):
        kernels.sum_rows(launcher(), bias)
