"""Dropout kernels on the CPU: NumPy's own random numbers, and the same mask in the backward."""

from __future__ import annotations

from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import DTYPES, EPS, SHAPES, assert_close, launcher, matrix, needs_cpu_runner, run
from test_kernels_elementwise import PARAMETERS, REFERENCES

from gpugrad.cuda import kernels

pytestmark = needs_cpu_runner


def generator(counter: int = 5) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=1234567890123456789012345, counter=counter))


def state_of(counter: int = 5) -> Any:
    return cuda_cpu.array(kernels.philox_state(generator(counter)))


def kept(shape: tuple[int, ...], p: float, counter: int = 5, dtype: str = "float32") -> Any:
    """As `gpugrad.nn.functional.dropout` draws it."""
    return generator(counter).random(shape, dtype=np.float64 if dtype == "float64" else np.float32) >= p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_keeps_what_numpy_would(p: float, dtype: str) -> None:
    for size, offset in [(0, 0), (1, 0), (8, 0), (1003, 0), (1003, 1), (20011, 0)]:
        x = matrix((size,), dtype, offset)
        y = run(lambda: kernels.dropout(launcher(), x, state_of(), p))  # noqa: B023
        mask = kept((size,), p, dtype=dtype)
        assert_close(y, np.where(mask, x.astype(float) / (1 - p if p < 1 else 1), 0), dtype, 4)
        assert ((y != 0) == (mask & (x != 0))).all()


@pytest.mark.parametrize("counter", [0, 2**64 - 2, 2**128 - 2, 2**192 - 3, 2**256 - 2])
def test_the_counter_carries(counter: int) -> None:
    x = cuda_cpu.array(np.ones(100, np.float32))
    np.testing.assert_array_equal(kernels.dropout(launcher(), x, state_of(counter), 0.5) > 0, kept((100,), 0.5, counter))


def test_advancing_draws_on() -> None:
    x, state = cuda_cpu.array(np.ones(96, np.float32)), state_of(2**128 - 2)
    kernels.philox_advance(launcher(), state, x[:30])  # begins a fourth block
    expected = kept((128,), 0.5, 2**128 - 2)[32:]
    np.testing.assert_array_equal(kernels.dropout(launcher(), x, state, 0.5) > 0, expected)


@pytest.mark.parametrize("counter", [0, 2**64 - 2, 2**256 - 2])
def test_words_are_those_of_numpys_generator(counter: int) -> None:
    for blocks in (0, 1, 3, 5000):
        bits = np.random.Philox(key=1234567890123456789012345, counter=counter)
        key = [int(word) for word in bits.state["state"]["key"]]
        words = kernels.philox_words(launcher(), counter, key, blocks)
        np.testing.assert_array_equal(words.ravel(), bits.random_raw(4 * blocks).astype(np.uint64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "hardtanh", "gelu"])
def test_bias_activation_dropout(name: str, dtype: str) -> None:
    forward, slope = REFERENCES[name]
    numbers, p = PARAMETERS.get(name, ()), 0.25
    for shape, offset in SHAPES:
        x, bias = matrix(shape, dtype, offset), matrix(shape[1:], dtype)
        g = matrix(shape, dtype, seed=1)
        z, mask = x.astype(float) + bias.astype(float), kept(shape, p, dtype=dtype) / (1 - p)
        y = run(lambda: kernels.bias_activation_dropout(launcher(), name, x, bias, state_of(), p, *numbers))  # noqa: B023
        assert_close(y, forward(z, *numbers) * mask, dtype, 8, 8 + z**4 * np.exp(-z * z / 2))
        gx, gb = run(
            lambda: kernels.bias_activation_dropout_backward(launcher(), name, g, x, bias, state_of(), p, *numbers)  # noqa: B023
        )
        expected, size = g.astype(float) * slope(z, *numbers) * mask, abs(g.astype(float)) * (1 + abs(z)) * mask
        for corner in numbers or (0.0,):  # where rounding decides the side
            expected = np.where(abs(z - corner) < 8 * EPS[dtype], gx.astype(float), expected)
        assert_close(gx, expected, dtype, 8, 8 * size)
        assert_close(gb, expected.sum(axis=0), dtype, 8, 8 * size.sum(axis=0))
        assert (gx[mask == 0] == 0).all()


def test_what_dropout_does_not_take_is_refused() -> None:
    drawn = generator()
    drawn.random(3, dtype=np.float32)
    for wrong in (drawn, np.random.default_rng(0)):
        with pytest.raises(ValueError, match="between two blocks"):
            kernels.philox_state(wrong)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1.5"):
        kernels.dropout(launcher(), matrix((3,), "float32"), state_of(), 1.5)
