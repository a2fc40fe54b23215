"""Jacobians by chunks of directions against Jacobians by one direction at a time, for every op, in both modes and nested."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import cupy_standin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import DIFFERENTIABLE, Case, params

import gpugrad as gg
from gpugrad import batching, derivatives
from gpugrad.batching import Batched, batches_of
from gpugrad.derivatives import _by_columns, _by_rows
from gpugrad.interpret import RAW
from gpugrad.modes import recording
from gpugrad.op import registry
from gpugrad.transforms import _Trace

LOOPED = {"convolution", "convolution_transpose", "convolution_weight"}
"""Ops that run once for each direction, where the directions are in one of several groups of channels."""


def blocks(function: Callable[..., Any], arrays: list[Any], way: Any, chunk: int) -> list[Any]:
    """The derivatives of one output by each array, by rows or by columns, `chunk` of them in a walk."""
    trace = _Trace("jacobian", arrays)
    return way(trace, [gg.asarray(trace.run(function, trace.aliases, {}))], chunk)[0]  # type: ignore[no-any-return]


def assert_close(found: Any, expected: Any) -> None:
    for got, want in zip(found, expected, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


@pytest.fixture
def looped(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of ops and rules that were run once for each direction."""
    names: set[str] = set()
    each = batching._each

    def noted(function: Any, values: Any) -> Any:
        caller = sys._getframe(1).f_locals
        names.add((caller["op"] if "op" in caller else caller["node"].op).name)
        return each(function, values)

    monkeypatch.setattr(batching, "_each", noted)
    return names


@pytest.mark.parametrize("way", [_by_rows, _by_columns], ids=["rows", "columns"])
@params(DIFFERENTIABLE)
def test_every_op(case: Case, way: Any, looped: set[str]) -> None:
    function, arrays = case.function()
    try:
        expected = blocks(function, arrays, way, 1)
    except gg.GradientError:
        pytest.skip("not holomorphic")
    for chunk in (3, 1000):
        assert_close(blocks(function, arrays, way, chunk), expected)
    assert looped <= LOOPED


@pytest.mark.parametrize("way", [_by_rows, _by_columns], ids=["rows", "columns"])
@params(DIFFERENTIABLE)
def test_every_op_where_the_walk_is_differentiated(case: Case, way: Any, looped: set[str]) -> None:
    function, arrays = case.function()

    def all_of_it(chunk: int) -> list[Any]:
        inputs = [gg.asarray(array).requires_grad_() for array in arrays]
        jacobians = blocks(function, inputs, way, chunk)
        rng = np.random.default_rng(0)
        total = gg.sum(gg.stack([gg.sum(gg.abs(j) ** 2 * rng.uniform(1, 2, j.shape)) for j in jacobians]))
        if total.requires_grad:
            total.backward()
        seconds = [np.zeros(a.shape, a.dtype) if x.grad is None else x.grad.numpy() for x, a in zip(inputs, arrays, strict=True)]
        return [j.detach().numpy() for j in jacobians] + seconds

    try:
        expected = all_of_it(1)
    except gg.GradientError:
        pytest.skip("not holomorphic")
    assert_close(all_of_it(1000), expected)
    assert looped <= LOOPED


# --- programs -----------------------------------------------------------------------------------------------------


class Cube(gg.Function):
    """A user's own op, whose backward wants to see numbers."""

    @staticmethod
    def forward(ctx: gg.Context, x: gg.Tensor) -> gg.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: gg.Context, grad: gg.Tensor) -> gg.Tensor:
        (x,) = ctx.saved_tensors
        assert isinstance(grad, gg.Tensor)
        assert grad.shape == x.shape
        return 3 * x * x * grad


class SinCos(gg.Function):
    @staticmethod
    def forward(ctx: gg.Context, x: gg.Tensor) -> tuple[gg.Tensor, gg.Tensor]:
        ctx.save_for_backward(x)
        return gg.sin(x), gg.cos(x)

    @staticmethod
    def backward(ctx: gg.Context, s: gg.Tensor, c: gg.Tensor) -> gg.Tensor:
        (x,) = ctx.saved_tensors
        return s * gg.cos(x) - c * gg.sin(x)


def hooked(a: gg.Tensor) -> gg.Tensor:
    b = a * 1.5
    if b.requires_grad:
        b.register_hook(lambda gradient: gradient.reshape(b.shape) * 2)
    return gg.sin(b)


def assigned(a: gg.Tensor) -> gg.Tensor:
    b = a * 1.0
    b[1, 1:3] = a[0, :2] * 2
    b[[0, 2], 1] = a[1, 3]
    return b


def svd(a: gg.Tensor) -> gg.Tensor:
    u, s, v = np.linalg.svd(a, full_matrices=False)
    return (u * gg.sin(s)) @ v


PROGRAMS: dict[str, Callable[[gg.Tensor], Any]] = {  # each of an array of shape (3, 4)
    "function": lambda a: Cube.apply(gg.sin(a)) * a,
    "function of two results": lambda a: gg.multiply(*SinCos.apply(a)) + SinCos.apply(a * a)[0],
    "hooked": hooked,
    "checkpoint": lambda a: gg.checkpoint(lambda b: gg.tanh(b @ b.T) @ b, a) * a,
    "checkpoint of two results": lambda a: gg.add(*gg.checkpoint(lambda b: (gg.sin(b), b * b), a)),
    "assigned": assigned,
    "gathered": lambda a: a[:, [1, 1, 3]].T[..., np.array([0, 2])] * a[1, :1] + a[a.numpy() > 100].sum(),
    "indices apart": lambda a: a.reshape(2, 3, 2)[np.array([0, 1, 1]), :, np.array([[1], [0]])],
    "several": lambda a: gg.concatenate([gg.sort(a, 0), a[::-1].T.reshape(3, 4), gg.cumprod(a, 1)], 1),
    "einsum": lambda a: gg.einsum("ij,kj,kl->il", a, a, a),
    "svd": svd,
    "solve": lambda a: np.linalg.solve(a @ a.T + 2 * np.eye(3), a),
    "norms": lambda a: gg.nn.functional.layer_norm(a, 4) + gg.softmax(a, 0) * gg.std(a),
    "loss": lambda a: gg.nn.functional.cross_entropy(gg.nn.functional.log_softmax(a), np.array([0, 3, 1])) * a,
    "conv": lambda a: gg.nn.functional.conv1d(a[None, :1], a[1:, None, :2])[0] + gg.nn.functional.max_pool1d(a, 2)[:1, :1],
    "constant": lambda a: gg.broadcast_to(a[0, 0], (2, 5)) * np.arange(5.0),
    "gradient": gg.grad(lambda a: gg.sum(gg.tanh(a @ a.T) ** 2)),
    "inner jacobian": lambda a: gg.jacobian(lambda b: gg.sin(b) * gg.sum(b))(a[0]) @ a.T[:, :2],
}
A = np.random.default_rng(3).uniform(0.2, 1.5, (3, 4))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    program = PROGRAMS[name]
    for way in (_by_rows, _by_columns):
        expected = blocks(program, [A], way, 1)
        for chunk in (2, 5, 1000):
            assert_close(blocks(program, [A], way, chunk), expected)
    weights = np.random.default_rng(4).normal(size=program(gg.tensor(A)).shape)
    scalar = lambda a: gg.sum(gg.sin(program(a)) * weights)  # noqa: E731
    assert_close([gg.hessian(scalar)(A)], [gg.hessian(scalar, chunk_size=1)(A)])


STEPS: dict[str, Callable[[Any], Any]] = {  # each of an array of shape (3, 4), and giving one
    "sin": gg.sin,
    "gauss": lambda a: gg.exp(-a * a) + a,
    "transposed": lambda a: a.T.reshape(3, 4),
    "rows": lambda a: a[[2, 0, 2]],
    "slices": lambda a: gg.concatenate([a[:, 2:], a[:, :2] * a[:, ::2]], axis=1),
    "centred": lambda a: a - gg.mean(a, axis=1, keepdims=True) * gg.max(a, axis=0),
    "where": lambda a: gg.where(a > 0.3, a * a, 0.1 * a),
    "product": lambda a: gg.tanh(a @ a.T) @ a,
    "powers": lambda a: (a * a + 0.5) ** 1.7 / (1 + gg.abs(a)),
    "softmax": lambda a: gg.softmax(a, axis=0) + a,
    "cumulative": lambda a: gg.cumsum(a[::-1], axis=0) * 0.5,
    "function": lambda a: Cube.apply(gg.tanh(a)),
    "checkpoint": lambda a: gg.checkpoint(lambda b: gg.sigmoid(b) * b, a),
    "fourier": lambda a: gg.real(gg.fft.fft(a)) * 0.3,
    "derived": lambda a: gg.jvp(lambda b: b * gg.cos(b), (a,), (a,))[1],
}


@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=5), st.integers(2, 13))
@settings(max_examples=40)
def test_compositions(names: list[str], chunk: int) -> None:
    def program(a: Any) -> Any:
        for name in names:
            a = STEPS[name](a)
        return a

    for way in (_by_rows, _by_columns):
        assert_close(blocks(program, [A], way, chunk), blocks(program, [A], way, 1))
    scalar = lambda a: gg.sum(program(a) ** 2)  # noqa: E731
    found, expected = gg.hessian(scalar, chunk_size=chunk)(A), gg.hessian(scalar, chunk_size=1)(A)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("name", ["gathered", "einsum", "norms", "function"])
def test_jacobians_of_jacobians(name: str) -> None:
    program = PROGRAMS[name]
    x = A + 0.1

    def second(chunk: int | None) -> Any:
        inner = gg.jacobian(program, chunk_size=chunk)
        return gg.jacobian(lambda a: gg.sum(inner(a), axis=0), chunk_size=chunk)(x)

    assert_close([second(None), second(5)], [second(1)] * 2)


def test_hooks_see_one_gradient_at_a_time() -> None:
    shapes = []

    def f(x: gg.Tensor) -> gg.Tensor:
        y = x * 2
        y.register_hook(lambda gradient: shapes.append(gradient.shape))
        return y @ np.ones((4, 2))

    np.testing.assert_array_equal(gg.jacobian(f)(np.ones(4)), np.full((2, 4), 2.0))
    assert shapes == [(4,), (4,)]


def test_under_watchers_and_recorded() -> None:
    f = PROGRAMS["norms"]
    expected = gg.jacobian(f)(A)
    with gg.detect_anomaly():
        np.testing.assert_array_equal(gg.jacobian(f)(A), expected)
        with pytest.raises(gg.AnomalyError, match="sqrt"):
            gg.jacobian(lambda x: gg.sqrt(x - x)[:3])(np.ones(4))
    with gg.profile() as profile:
        gg.jacobian(lambda x: gg.sin(x)[:5])(np.ones(10))
    assert [row.calls for row in profile.by_op() if (row.name, row.phase) == ("sin", "backward")] == [1]
    with recording() as records:
        np.testing.assert_allclose(gg.jacobian(f)(A), expected, rtol=1e-12)
    assert records[-1].out.size == expected.size


# --- the size of a chunk ------------------------------------------------------------------------------------------


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each walk, back or forward."""
    seen: list[Any] = []

    def counted(walk: Any) -> Any:
        return lambda *args, **kwargs: seen.append(args) or walk(*args, **kwargs)

    for name in ("walk", "push_tangents"):
        monkeypatch.setattr(derivatives, name, counted(getattr(derivatives, name)))
    return seen


@pytest.mark.parametrize("rows", [10, 30])
def test_one_walk_for_each_chunk(rows: int, walks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    m = np.random.default_rng(0).normal(size=(rows, 20))
    f, x, elements = lambda x: m @ gg.tanh(x), np.ones(20), min(rows, 20)
    expected = m * (1 - np.tanh(1) ** 2)
    np.testing.assert_allclose(gg.jacobian(f)(x), expected)
    assert len(walks) == 1
    np.testing.assert_allclose(gg.jacobian(f, chunk_size=4)(x), expected)
    assert len(walks) == 1 + -(-elements // 4)
    monkeypatch.setattr(derivatives, "CHUNK_BYTES", 2 * 8 * max(rows, 20) + 7)  # two of the largest array
    np.testing.assert_allclose(gg.jacobian(f)(x), expected)
    assert len(walks) == 1 + -(-elements // 4) + elements // 2
    gg.hessian(lambda x: gg.sum(f(x) ** 2), chunk_size=7)(x)
    assert len(walks) == 1 + -(-elements // 4) + elements // 2 + 3


@pytest.mark.parametrize("chunk_size", [0, -1, 2.0, "all"])
def test_chunk_sizes_that_are_none(chunk_size: Any) -> None:
    for transform in (gg.jacobian, gg.hessian):
        with pytest.raises(ValueError, match=r"chunk_size must be a positive integer.* got"):
            transform(gg.sin, chunk_size=chunk_size)


def test_results_are_the_callers_own() -> None:
    x = np.ones(3)
    (same, again), ones = gg.jacobian(lambda x: ((x, x), gg.broadcast_to(x[0], (2, 2))))(x)
    for array in (same, again, ones, gg.jacobian(lambda x: x.sum() * np.ones(2))(x), gg.jacobian(lambda x: x, chunk_size=2)(x)):
        assert array.flags.writeable
        assert array.flags.c_contiguous
    assert not np.shares_memory(same, again)


# --- what a batch refuses -----------------------------------------------------------------------------------------


def test_a_batch_is_no_array() -> None:
    t = Batched(np.arange(6.0).reshape(2, 3))
    for use in (
        np.asarray,
        np.sum,
        bool,
        len,
        iter,
        float,
        lambda t: t.mean(),
        lambda t: t > 0,
        lambda t: np.where(True, 0, t),
        lambda t: np.multiply(t, 2),
        lambda t: t.__setitem__(0, 1),
        lambda t: np.zeros(3).__setitem__(0, t),
    ):
        with pytest.raises((TypeError, ValueError)):
            use(t)
    one, inside = gg.ones(3, dtype="float64"), Batched(gg.tensor(t.value))
    for mixed in (t * np.ones(3), np.ones(3) * t, np.float64(1) * t, one * inside, inside / one, gg.where(True, inside, one)):
        assert isinstance(mixed, Batched)
        np.testing.assert_array_equal(mixed._array, t.value)
    assert (np.ones((4, 1)) - t).shape == (4, 3)
    assert ((t == 1).value == (t.value == 1)).all()
    F = batches_of(RAW)
    assert F.sum(np.ones(3)) == 3
    with pytest.raises(TypeError, match="setitem_"):
        F.setitem_(np.zeros(3), t, slice(None))


def test_a_rule_that_looks_inside_its_arrays_runs_for_each_direction(monkeypatch: pytest.MonkeyPatch, looped: set[str]) -> None:
    def looking(F: Any, t: Any, x: Any) -> Any:
        t = getattr(t, "_array", t) if isinstance(t, gg.Tensor) else np.asarray(t)
        assert t.shape == x.shape
        return t * np.cos(getattr(x, "_array", x))

    monkeypatch.setattr(registry["sin"], "rules", (looking,))
    monkeypatch.setattr(registry["sin"], "pullbacks", {})
    for way in (_by_rows, _by_columns):
        np.testing.assert_allclose(blocks(gg.sin, [np.arange(3.0)], way, 10)[0], np.diag(np.cos(np.arange(3.0))))
    assert looped == {"sin"}


# --- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["assigned", "gathered", "several", "norms", "function", "checkpoint", "svd", "gradient"])
def test_on_a_gpu(name: str) -> None:
    if name == "gathered":
        program: Any = lambda a: a[:, [1, 1, 3]].T[..., np.array([0, 2])] * a[1, :1]  # noqa: E731
    else:
        program = PROGRAMS[name]
    expected = [blocks(program, [A], way, 1000)[0] for way in (_by_rows, _by_columns)]
    with cupy_standin.installed(devices=2):
        x = gg.tensor(A, device="cuda:1")
        for way, want in zip((_by_rows, _by_columns), expected, strict=True):
            (found,) = blocks(program, [x], way, 1000)
            assert found.device == "cuda:1"
            np.testing.assert_allclose(found.numpy(), want, rtol=1e-9, atol=1e-12)
