"""Clipping of gradients, and parameters as one vector: against PyTorch, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import gradcheck

SHAPES = ((3, 4), (5,), (), (2, 1, 3))


def parameters(seed: int, dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape) for shape in SHAPES]
    return [(v + 1j * rng.normal(size=v.shape) if dtype == "complex128" else v).astype(dtype) for v in values]


def with_gradients(library: Any, make: Any, dtype: str) -> list[Any]:
    made = []
    for value, grad in zip(parameters(0, dtype), parameters(1, dtype), strict=True):
        p = make(value)
        p.grad = library.tensor(grad)
        made.append(p)
    return [*made, make(np.ones(2, dtype))]  # one without a gradient


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, float("inf")])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_clipping_by_norm_follows_pytorch(max_norm: float, norm_type: float, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours = with_gradients(gg, lambda v: gg.tensor(v, requires_grad=True), dtype)
    theirs = with_gradients(torch, lambda v: torch.tensor(v, requires_grad=True), dtype)
    total = nn.utils.clip_grad_norm_(iter(ours), max_norm, norm_type)
    np.testing.assert_allclose(total.item(), torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item(), rtol=1e-12)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    assert ours[-1].grad is None


def test_clipping_by_norm_by_hand() -> None:
    z = gg.tensor([3 + 4j, 12.0], requires_grad=True)
    z.grad = gg.tensor([3 + 4j, 12.0])
    assert nn.utils.clip_grad_norm_(z, 6.5).item() == pytest.approx(13)
    np.testing.assert_allclose(z.grad.numpy(), [1.5 + 2j, 6.0], rtol=1e-5)
    assert nn.utils.clip_grad_norm_(z, 3.0, float("inf")).item() == pytest.approx(6)
    np.testing.assert_allclose(z.grad.numpy(), [0.75 + 1j, 3.0], rtol=1e-5)


def test_a_norm_that_is_not_finite_is_an_error_where_asked_for() -> None:
    p = gg.tensor([1.0, 2.0], requires_grad=True)
    p.grad = gg.tensor([float("inf"), 1.0])
    with pytest.raises(gg.GradientError, match="the norm of the gradients is inf; they were left as they are"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad.numpy(), [np.inf, 1.0])


def test_clipping_by_value() -> None:
    (p,) = with_gradients(gg, lambda v: gg.tensor(v, requires_grad=True), "float64")[:1]
    before = p.grad.numpy().copy()
    nn.utils.clip_grad_value_(p, 0.3)
    np.testing.assert_array_equal(p.grad.numpy(), np.clip(before, -0.3, 0.3))


@pytest.mark.parametrize("clip", [nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_])
def test_clipping_needs_gradients(clip: Any) -> None:
    with pytest.raises(ValueError, match=f"{clip.__name__}: no parameter has a gradient"):
        clip([gg.tensor([1.0], requires_grad=True)], 1.0)


def test_parameters_to_vector_and_back() -> None:
    values = parameters(2)
    targets = [gg.tensor(np.zeros_like(v), requires_grad=True) for v in values]
    vector = nn.utils.parameters_to_vector(values)
    np.testing.assert_array_equal(vector.numpy(), np.concatenate([v.ravel() for v in values]))
    nn.utils.vector_to_parameters(vector, iter(targets))
    for target, value in zip(targets, values, strict=True):
        np.testing.assert_array_equal(target.numpy(), value)
        assert target.is_leaf
    gradcheck(lambda *p: gg.sin(nn.utils.parameters_to_vector(p)), tuple(values))
    for wrong in (vector[:-1], vector[None]):
        with pytest.raises(gg.ShapeError, match=f"for parameters of {vector.size} elements"):
            nn.utils.vector_to_parameters(wrong, targets)
