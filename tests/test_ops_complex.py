"""Every op that takes complex arrays: its samples made complex, in both modes and orders, and dtypes of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import DIFFERENTIABLE, Case, inner, params, random_like, value_and_gradients

import gpugrad as gg
from gpugrad.errors import GpugradError, GradientError
from gpugrad.testing import gradcheck, gradgradcheck

REAL_ONLY = {
    "chain",
    "arctan2",
    "bessel_i",
    "bias_activation_dropout_from",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "binary_nll",
    "cbrt",
    "ceil",
    "celu",
    "clipped_square",
    "copysign",
    "cross_entropy",
    "deg2rad",
    "elu",
    "erf",
    "erfc",
    "erfinv",
    "fabs",
    "fix",
    "floor",
    "floor_divide",
    "fmod",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "gelu_slope",
    "hardtanh",
    "heaviside",
    "hinge_loss",
    "huber_loss",
    "hypot",
    "layer_norm",
    "ldexp",
    "leaky_relu",
    "lgamma",
    "logaddexp",
    "logaddexp2",
    "logcumsumexp",
    "logsigmoid",
    "mish",
    "mse_loss",
    "multiclass_svm_loss",
    "nll_loss",
    "polygamma",
    "rad2deg",
    "relu",
    "remainder",
    "rfft",
    "rms_norm",
    "selu",
    "sloped_relu",
    "softplus",
    "softshrink",
    "softsign",
    "standardize_batch",
    "trunc",
}
"""Ops that are defined for real numbers alone, and say so."""


def made_complex(case: Case) -> Case:
    """The case with an imaginary part on every differentiable array."""
    rng = np.random.default_rng(11)

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(v) for v in value]
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return value + 0.5j * rng.uniform(0.2, 1, value.shape)
        return value

    return case._replace(sample=case.sample._replace(args=tuple(map(turned, case.sample.args))))


HERMITIAN = {"cholesky", "eig", "eigh", "svd_reduced"}
"""Tried in test_linalg: for Hermitian matrices alone, or up to the phases of vectors, which differences see and nobody should."""


@params([c for c in DIFFERENTIABLE if c.op.name not in HERMITIAN and not any(map(np.iscomplexobj, c.function()[1]))])
def test_complex_arguments(case: Case) -> None:
    function, arrays = made_complex(case).function()
    if (case.op.name in REAL_ONLY or "relu" in str(case.sample.args)) and case.sample.kwargs.get("approximate") != "tanh":
        with pytest.raises(GpugradError):
            function(*arrays)
        return
    assert gradcheck(function, arrays, eps=3e-6, atol=1e-8, rtol=1e-7)
    assert gradgradcheck(function, arrays, eps=3e-6, atol=1e-8, rtol=1e-7)
    rng = np.random.default_rng(5)
    value, pull = gg.vjp(function, *arrays)
    cotangent = random_like(value, rng)
    pulled = pull(cotangent)
    tangents = [random_like(array, rng) for array in arrays]
    pushed = gg.jvp(function, arrays, tangents)[1]
    total = sum(inner(p, t) for p, t in zip(pulled, tangents, strict=True))
    assert inner(cotangent, pushed) == pytest.approx(total, rel=1e-9, abs=1e-9)
    low = [array.astype("complex64") for array in arrays]
    _, gradients = value_and_gradients(function, low)
    assert [g.dtype for g in gradients] == ["complex64"] * len(low)


def test_the_convention_is_the_direction_of_steepest_ascent() -> None:
    z = np.array([1 + 2j, -3j])
    np.testing.assert_allclose(gg.grad(lambda z: gg.sum(gg.abs(z) ** 2))(z), 2 * z)
    np.testing.assert_allclose(gg.grad(lambda z: gg.real(gg.sum(z * z)))(z), 2 * z.conj())
    t = gg.tensor(z, requires_grad=True)
    gg.imag(t * (1 + 1j)).sum().backward()
    assert t.grad is not None
    np.testing.assert_allclose(t.grad.numpy(), [1 + 1j, 1 + 1j])


def test_a_real_input_of_a_complex_value_has_a_real_gradient() -> None:
    x = np.array([1.0, 2.0])
    gradient = gg.grad(lambda x: gg.abs(gg.exp(1j * x) + x).sum())(x)
    assert gradient.dtype == "float64"
    assert gradcheck(lambda x: gg.abs(gg.exp(1j * x) + x), x)


def test_a_complex_value_has_no_gradient_of_its_own() -> None:
    z = gg.tensor([1j], requires_grad=True)
    with pytest.raises(GradientError, match="real value"):
        (z * z).sum().backward()
    with pytest.raises(GradientError, match="real value"):
        gg.grad(lambda z: z * z)(1j)


def test_higher_orders_of_complex_values() -> None:
    z = np.array([0.3 + 0.2j, -0.4 + 1j])
    f = lambda z: gg.sum(gg.abs(gg.sin(z)) ** 2)  # noqa: E731
    assert gradcheck(gg.grad(f), z)
    assert gradgradcheck(gg.grad(f), z)
