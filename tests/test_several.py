"""Ops with several results: what each hands back, alone and together, in both modes and orders."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.modes import recording
from gpugrad.op import ArrayLike, registry, several
from gpugrad.ops.samples import array, calls
from gpugrad.testing import gradcheck, gradgradcheck

Polar = namedtuple("Polar", "sine cosine sign")


@pytest.fixture
def polar() -> Iterator[Any]:
    """Sine, cosine and the sign as an integer, of one array."""

    def rule(F: Any, t: Any, out: Any) -> Any:
        assert t[2] is None
        return t[0] * out[1] - t[1] * out[0]

    @several(returns=Polar, vjp=(rule,), samples=calls(lambda rng: ((array(rng, 3),), {})))
    def polar(xp: Any, x: ArrayLike) -> Any:
        """Doc."""
        return xp.sin(x), xp.cos(x), xp.sign(x).astype(int)

    yield polar
    del registry["polar"]


X = np.array([0.3, -1.2, 2.0])


def test_results_come_named(polar: Any) -> None:
    out = polar(X)
    assert isinstance(out, Polar)
    np.testing.assert_array_equal(out.sine.numpy(), np.sin(X))
    assert out.sign.dtype == np.dtype(int)
    assert not out.sine.requires_grad


def test_each_alone_and_all_together(polar: Any) -> None:
    for f in (
        lambda x: polar(x).sine,
        lambda x: polar(x).cosine * 2,
        lambda x: polar(x).sine * polar(x).cosine,
        lambda x: (lambda p: p.sine * p.cosine + p.sine)(polar(x)),
        lambda x: {"a": polar(x * x), "b": x},
    ):
        assert gradcheck(f, X)
        assert gradgradcheck(f, X)
    assert not polar(gg.tensor(X, requires_grad=True)).sign.requires_grad


def test_third_order(polar: Any) -> None:
    f = gg.elementwise_grad(gg.elementwise_grad(gg.elementwise_grad(lambda x: polar(x)[0])))
    np.testing.assert_allclose(f(X), -np.cos(X))


def test_backward_twice_is_refused_by_name(polar: Any) -> None:
    x = gg.tensor(X, requires_grad=True)
    y = polar(x).sine.sum()
    y.backward()
    with pytest.raises(gg.GradientError, match="second time"):
        y.backward()
    out = polar(x)
    out.sine.sum().backward()
    with pytest.raises(gg.GradientError, match="backward through polar a second time"):
        out.cosine.sum().backward()


def test_it_is_one_record(polar: Any) -> None:
    with recording() as records:
        polar(X)
    (record,) = records
    assert len(record.out) == 3
    assert "= polar(" in repr(record)


def test_a_pruned_walk_passes_through(polar: Any) -> None:
    """Where only some inputs are asked for, the walk keeps to ways that lead there."""
    w = gg.tensor(X, requires_grad=True)

    def f(x: Any) -> Any:
        p = polar(x + w)
        return (p.sine * w).sum()

    np.testing.assert_allclose(gg.grad(f)(gg.tensor(X)).numpy(), np.cos(2 * X) * X)
