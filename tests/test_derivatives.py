"""Jacobians, Hessians and their products, against closed forms and against each other."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 5))


@pytest.mark.parametrize("matrix", [A, A.T, RNG.normal(size=(4, 4))], ids=["wide", "tall", "square"])
def test_the_jacobian_of_a_linear_map_is_its_matrix(matrix: np.ndarray) -> None:
    jacobian = gg.jacobian(lambda x: matrix @ x)(RNG.normal(size=matrix.shape[1]))
    assert isinstance(jacobian, np.ndarray)
    np.testing.assert_array_equal(jacobian, matrix)


def test_shapes_are_those_of_the_value_and_then_the_argument() -> None:
    x = RNG.normal(size=(2, 3))
    jacobian = gg.jacobian(lambda x: gg.sin(x) @ A)(x)
    assert jacobian.shape == (2, 5, 2, 3)
    expected = np.einsum("ia,abj->ijab", np.eye(2), np.einsum("ab,bj->abj", np.cos(x), A))
    np.testing.assert_allclose(jacobian, expected, rtol=1e-13)
    assert gg.jacobian(lambda x: gg.sum(x))(x).shape == (2, 3)
    assert gg.jacobian(lambda x: x * np.ones(3))(2.0).shape == (3,)


def test_the_hessian_of_a_quadratic_form() -> None:
    q = RNG.normal(size=(4, 4))
    np.testing.assert_allclose(gg.hessian(lambda x: x @ q @ x)(RNG.normal(size=4)), q + q.T, rtol=1e-12)


def test_products_with_a_hessian_agree_with_the_hessian() -> None:
    def f(x: gg.Tensor) -> gg.Tensor:
        return gg.logsumexp(gg.tanh(A @ x)) + (x**4).sum()

    x, v = RNG.normal(size=5), RNG.normal(size=5)
    np.testing.assert_allclose(gg.hvp(f, (x,), (v,)), gg.hessian(f)(x) @ v, rtol=1e-12, atol=1e-14)


def test_a_hessian_vector_product_over_two_arguments() -> None:
    a, b, u, v = RNG.normal(size=(4, 3))
    got = gg.hvp(lambda a, b: (a * b * b).sum(), (a, b), (u, v))
    np.testing.assert_allclose(got[0], 2 * b * v, rtol=1e-12)
    np.testing.assert_allclose(got[1], 2 * b * u + 2 * a * v, rtol=1e-12)


def test_a_jacobian_can_be_differentiated() -> None:
    """d/dx of the trace of the Jacobian of sin is -sin."""
    x = RNG.normal(size=3)
    divergence = gg.grad(lambda x: (gg.jacobian(gg.sin)(x) * np.eye(3)).sum())
    np.testing.assert_allclose(divergence(x), -np.sin(x), rtol=1e-12)


def test_elementwise_gradients_nest() -> None:
    x = RNG.normal(size=(2, 3))
    third = gg.elementwise_grad(gg.elementwise_grad(gg.elementwise_grad(gg.sin)))
    np.testing.assert_allclose(third(x), -np.cos(x), rtol=1e-12)
