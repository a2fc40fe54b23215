"""Special functions under SciPy's names: values against SciPy, derivatives, SciPy's own ufuncs on Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck, gradgradcheck

X = np.array([-3.5, -0.75, 0.0, 0.3, 0.9, 4.0])
P = np.array([0.05, 0.3, 0.5, 0.9, 2.5, 30.0])
Q = np.array([0.06, 2.0, 0.5001, 0.8, 2.0, 1e-3])
EDGES = np.array([0.0, 0.0, 0.0, 1.0, 1.0, -1.0, 2.0, np.nan, 0.0, np.inf])
OTHERS = np.array([0.0, 2.0, -1.0, 0.0, -1.0, 1.0, np.inf, 1.0, np.nan, 1.0])

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("cbrt", (P,)),
    *[(name, (X,)) for name in ("erf", "erfc", "exp10", "exp2", "expit", "expm1", "i0", "i1", "log_expit", "ndtr", "sinc")],
    *[(name, (P,)) for name in ("digamma", "psi", "gammaln", "log1p", "entr")],
    *[(name, (P[:4],)) for name in ("erfinv", "logit")],
    *[(name, (P, Q)) for name in ("xlogy", "xlog1py", "rel_entr", "kl_div", "betaln")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), CALLS, ids=[name for name, _ in CALLS])
def test_values_and_gradients(name: str, args: tuple[np.ndarray, ...]) -> None:
    function = getattr(gg.special, name)
    gradcheck(function, args)
    gradgradcheck(function, args)
    special = pytest.importorskip("scipy.special")
    expected = getattr(special, name)(*args)
    np.testing.assert_allclose(function(*args).numpy(), expected, rtol=2e-13, atol=1e-15)
    theirs = getattr(special, name)(*[gg.tensor(a, requires_grad=True) for a in args])
    assert isinstance(theirs, gg.Tensor)
    assert theirs.requires_grad
    np.testing.assert_allclose(theirs.numpy(), expected, rtol=2e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py", "rel_entr", "kl_div"])
def test_edges_of_pairs(name: str) -> None:
    special = pytest.importorskip("scipy.special")
    with np.errstate(all="ignore"):
        found = getattr(gg.special, name)(EDGES, OTHERS).numpy()
        expected = getattr(special, name)(EDGES, OTHERS)
    known = ~((np.inf == EDGES) | (np.inf == OTHERS))
    np.testing.assert_array_equal(found[known], expected[known])


def test_gradients_at_zero_are_finite() -> None:
    x, y = gg.tensor([0.0, 0.0, 2.0], requires_grad=True), gg.tensor([0.0, 3.0, 5.0], requires_grad=True)
    gg.special.xlogy(x, y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, np.log(3), np.log(5)], rtol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), [0, 0, 0.4], rtol=1e-6)
    gg.special.rel_entr(x, y).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_edges_of_one() -> None:
    np.testing.assert_array_equal(gg.special.entr([0.0, -1.0, float("nan")]).numpy(), [0, -np.inf, np.nan])
    assert gg.special.ndtr(gg.tensor(-30.0, dtype="float64")).item() == pytest.approx(4.906713927148187e-198, rel=1e-12)
    assert gg.special.polygamma(1, 1.0).item() == pytest.approx(np.pi**2 / 6)


def test_a_special_function_without_a_rule_is_refused_by_name() -> None:
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match="ufunc jv has no rule for Tensors"):
        special.jv(0, gg.tensor([1.0], requires_grad=True))
