"""NumPy's own functions on Tensors: recorded where there is a rule, refused by name where there is none."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad as gg


def leaf() -> gg.Tensor:
    return gg.tensor(np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]), requires_grad=True)


@pytest.mark.parametrize(
    "function",
    [
        lambda t: np.sum(t, axis=0),
        lambda t: np.mean(t, axis=1, keepdims=True),
        lambda t: np.concatenate([t, np.ones((1, 3))]),
        lambda t: np.stack([t, t], axis=-1),
        lambda t: np.where(t.data > 0, t, 0.0),
        lambda t: np.clip(t, -0.6, 0.9),
        lambda t: np.transpose(t),
        lambda t: np.reshape(t, (3, 2)),
        lambda t: np.max(t, axis=1),
        lambda t: np.dot(t, np.ones((3, 2))),
        lambda t: np.sin(t) * np.ones(3),
        lambda t: np.var(t, ddof=1),
        lambda t: np.matmul(np.ones((4, 2)), t),
    ],
)
def test_numpy_functions_are_recorded(function) -> None:
    t = leaf()
    out = function(t)
    assert isinstance(out, gg.Tensor)
    expected = function(np_like(t))
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-13)
    out.sum().backward()
    step = 1e-6
    direction = np.arange(6.0).reshape(2, 3) - 2
    moved = [function(np_like(t, s * step * direction)).sum() for s in (1, -1)]
    assert (t.grad.numpy() * direction).sum() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-6, abs=1e-8)


class np_like(np.ndarray):
    """The tensor's values as an array that has `.data` as a Tensor does."""

    def __new__(cls, t: gg.Tensor, shift: np.ndarray | float = 0.0) -> np.ndarray:
        return np.array(t.numpy() + shift).view(cls)

    @property
    def data(self) -> np.ndarray:
        return np.asarray(self)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: np.fft.fft(t), "fft"),
        (lambda t: np.linalg.svd(t), "svd"),
        (lambda t: np.add.reduceat(t, [0]), r"numpy\.add\.reduceat"),
        (lambda t: np.frexp(t), r"numpy\.frexp"),
        (lambda t: np.sum(t, where=[True, False, True]), "where"),
        (lambda t: np.add(t, 1, out=np.zeros((2, 3))), "out="),
    ],
)
def test_a_function_without_a_rule_is_refused_by_name(call, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}(.|\n)*has no rule for Tensors(.|\n)*test_protocols"):
        call(leaf())
