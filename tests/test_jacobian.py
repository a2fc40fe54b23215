"""Jacobians and Hessians over several arguments, trees and complex numbers; gradients over trees, in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 2)), RNG.normal(size=4)


def test_several_arguments() -> None:
    f = lambda a, b, c: gg.sum(a) * b * c  # noqa: E731
    by_a, by_b = gg.jacobian(f, argnums=(0, 1))(A, B, 2.0)
    assert (by_a.shape, by_b.shape) == ((4, 3, 2), (4, 4))
    np.testing.assert_allclose(by_a, np.broadcast_to(2 * B[:, None, None], (4, 3, 2)))
    np.testing.assert_allclose(by_b, 2 * A.sum() * np.eye(4))
    (alone,) = gg.jacobian(f, argnums=(-2,))(A, B, 2.0)
    np.testing.assert_array_equal(alone, by_b)


@pytest.mark.parametrize("rows", [2, 40])
def test_trees_in_and_out_in_both_modes(rows: int) -> None:
    def f(p: Any) -> Any:
        return {"y": gg.broadcast_to(p["w"][0] * 2, (rows,)), "z": (gg.sum(p["v"] ** 2), p["w"])}

    p = {"w": np.array([1.0, 2.0]), "v": np.array([3.0, 4.0, 5.0])}
    j = gg.jacobian(f)(p)
    assert set(j) == {"y", "z"}
    np.testing.assert_array_equal(j["y"]["w"], np.tile([2.0, 0.0], (rows, 1)))
    np.testing.assert_array_equal(j["y"]["v"], np.zeros((rows, 3)))
    np.testing.assert_array_equal(j["z"][0]["v"], 2 * p["v"])
    np.testing.assert_array_equal(j["z"][1]["w"], np.eye(2))


def test_the_hessian_of_several_arguments_and_of_a_dict() -> None:
    f = lambda a, b: gg.sum(a * a) * gg.sum(b**3)  # noqa: E731
    a, b = np.array([1.0, 2.0]), np.array([0.5, 1.0, 2.0])
    (aa, ab), (ba, bb) = gg.hessian(f, (0, 1))(a, b)
    np.testing.assert_allclose(aa, 2 * np.eye(2) * (b**3).sum())
    np.testing.assert_allclose(ab, np.outer(2 * a, 3 * b**2))
    np.testing.assert_allclose(ba, ab.T)
    np.testing.assert_allclose(bb, np.diag(6 * b) * (a * a).sum())
    nested = gg.hessian(lambda p: f(p["a"], p["b"][0]))({"a": a, "b": [b]})
    np.testing.assert_allclose(nested["a"]["b"][0], ab)
    np.testing.assert_allclose(nested["b"][0]["b"][0], bb)


def test_the_function_runs_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return x * x

    gg.jacobian(f)(B)
    assert len(calls) == 1


def test_constants_and_empty_arrays() -> None:
    np.testing.assert_array_equal(gg.jacobian(lambda x: np.ones(2))(B), np.zeros((2, 4)))
    assert gg.jacobian(lambda x: x * 2)(np.zeros((0, 3))).shape == (0, 3, 0, 3)
    assert gg.jacobian(lambda x: x[:0])(B).shape == (0, 4)


def test_tensors_in_tensors_out_and_on_the_tape() -> None:
    x = gg.tensor(B, requires_grad=True)
    j = gg.jacobian(lambda x: x**3)(x)
    assert isinstance(j, gg.Tensor)
    j.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 6 * B)


Z = RNG.normal(size=3) + 1j * RNG.normal(size=3)


@pytest.mark.parametrize("rows", [1, 5])
def test_holomorphic_functions_have_complex_derivatives(rows: int) -> None:
    m = RNG.normal(size=(rows, 3)) + 1j * RNG.normal(size=(rows, 3))
    np.testing.assert_allclose(gg.jacobian(lambda z: m @ gg.exp(z))(Z), m * np.exp(Z), rtol=1e-13)


@pytest.mark.parametrize("rows", [1, 7])
def test_a_complex_value_of_a_real_argument(rows: int) -> None:
    m = RNG.normal(size=(rows, 3)) + 1j * RNG.normal(size=(rows, 3))
    np.testing.assert_allclose(gg.jacobian(lambda x: m @ (x * x))(Z.real), m * 2 * Z.real, rtol=1e-13)


@pytest.mark.parametrize("rows", [1, 12])
def test_a_real_value_of_a_complex_argument_has_rows_that_are_gradients(rows: int) -> None:
    m = RNG.normal(size=(rows, 3))
    j = gg.jacobian(lambda z: m @ gg.abs(z) ** 2)(Z)
    for i in range(rows):
        np.testing.assert_allclose(j[i], gg.grad(lambda z, i=i: (m @ gg.abs(z) ** 2)[i])(Z), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 12])
def test_a_function_that_is_not_holomorphic_is_refused(rows: int) -> None:
    with pytest.raises(gg.GradientError, match="not holomorphic"):
        gg.jacobian(lambda z: gg.broadcast_to(gg.conjugate(z)[0], (rows,)))(Z)
    with pytest.raises(gg.GradientError, match="not holomorphic"):
        gg.hessian(lambda z: gg.real(gg.sum(z * z)))(Z)


def test_hessians_of_complex_arguments() -> None:
    np.testing.assert_allclose(gg.hessian(lambda z: gg.sum(gg.abs(z) ** 2))(Z), 2 * np.eye(3), atol=1e-14)
    f = lambda x, y: gg.sum(gg.abs(gg.sin(x + 1j * y)) ** 2)  # noqa: E731
    (xx, _), (yx, _) = gg.hessian(f, (0, 1))(Z.real, Z.imag)
    np.testing.assert_allclose(xx, np.diag(2 * np.cos(2 * Z.real)), rtol=1e-10, atol=1e-12)  # sin(x)^2 + sinh(y)^2
    np.testing.assert_allclose(yx, np.zeros((3, 3)), atol=1e-12)


def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    expected = torch.autograd.functional.jacobian(
        lambda a, b: (torch.sin(a) @ b[:2], a.sum() * b), (torch.tensor(A), torch.tensor(B))
    )
    got = gg.jacobian(lambda a, b: (gg.sin(a) @ b[:2], gg.sum(a) * b), (0, 1))(A, B)
    for row, other in zip(got, expected, strict=True):
        for g, e in zip(row, other, strict=True):
            np.testing.assert_allclose(g, e.numpy(), rtol=1e-12, atol=1e-14)


def test_any_number_of_arguments_in_any_structure() -> None:
    def f(a: Any, pair: Any, table: Any, *rest: Any) -> Any:
        x, (y, z) = pair
        return gg.sum(a * x * y) + z * table["w"][0] * table["w"][1] + sum(gg.sum(r) for r in rest)

    args = (B, (B + 1, [B * 2, 3.0]), {"w": (5.0, 7.0), "unused": B}, B, A)
    by_a, (by_x, (by_y, by_z)), table, r0, r1 = gg.grad(f, argnums=(0, 1, 2, 3, 4))(*args)
    np.testing.assert_allclose(by_a, (B + 1) * B * 2)
    np.testing.assert_allclose(by_x, B * B * 2)
    np.testing.assert_allclose(by_y, B * (B + 1))
    assert (by_z, table["w"]) == (35.0, (21.0, 15.0))
    np.testing.assert_array_equal(table["unused"], np.zeros(4))
    np.testing.assert_array_equal(r0, np.ones(4))
    np.testing.assert_array_equal(r1, np.ones((3, 2)))
    value, pull = gg.vjp(lambda d: {"s": [d["x"] * 2, d["y"] ** 2]}, {"x": B, "y": A})
    (pulled,) = pull({"s": [B, A]})
    np.testing.assert_allclose(pulled["x"], 2 * B)
    np.testing.assert_allclose(pulled["y"], 2 * A * A)
    value, tangent = gg.jvp(lambda d: (d["x"] * 2, {"q": d["y"] ** 2}), ({"x": B, "y": A},), ({"x": B, "y": A},))
    np.testing.assert_allclose(tangent[0], 2 * B)
    np.testing.assert_allclose(tangent[1]["q"], 2 * A * A)
    assert isinstance(value, tuple)
