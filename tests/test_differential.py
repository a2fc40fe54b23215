"""What differential tests against NumPy, PyTorch and JAX found once: each stays found."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import gradcheck

F = gg.nn.functional
A = np.arange(6.0).reshape(2, 3) ** 1.5


def _element(a: Any, t: Any) -> None:
    a[0] = t


def _added(a: Any, t: Any) -> None:
    a[1] += t


def _flat(a: Any, t: Any) -> None:
    a.flat[0] = t


@pytest.mark.parametrize("store", [_element, _added, _flat])
@pytest.mark.parametrize("buffer", [lambda: np.zeros(3), lambda: np.zeros(3, int), lambda: np.zeros(3, complex)])
def test_a_gradient_is_not_lost_in_an_element_of_an_array(store: Callable[..., None], buffer: Callable[[], Any]) -> None:
    x = gg.tensor(np.array(1.5), requires_grad=True)
    kept = buffer()
    with pytest.raises((ValueError, gg.GradientError, TypeError)) as caught:
        store(kept, x)
    cause = caught.value if isinstance(caught.value, gg.GradientError) else caught.value.__cause__
    if store is not _flat:  # there NumPy's own error leaves no cause
        assert "would drop its gradient" in str(cause)
    with gg.no_grad():
        store(np.zeros(3), x)
    store(np.zeros(3), float(x))
    store(np.zeros(3), x.detach())


def test_nor_in_other_buffers() -> None:
    x = gg.tensor(np.array(1.5), requires_grad=True)
    numbers = array.array("d", [0.0])
    with pytest.raises(gg.GradientError, match="an element of an array"):
        numbers[0] = x
    kept: dict[Any, Any] = {float(x): 0.0}
    kept[float(x)] = x
    assert kept[1.5] is x


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
@pytest.mark.parametrize("flipped", [False, True])
def test_memory_orders(order: str, flipped: bool) -> None:
    x = A.T if flipped else A
    t = gg.tensor(A, requires_grad=True)
    t = t.T if flipped else t
    for ours, numpys in ((np.ravel(t, order=order), np.ravel(x, order=order)), (t.flatten(order), x.flatten(order))):
        assert np.array_equal(ours.detach().numpy(), numpys)
    if order != "K":
        for new in (6, (-1, 2), np.array([3, 2])):
            assert np.array_equal(t.reshape(new, order=order).detach().numpy(), x.reshape(new, order=order))
            assert np.array_equal(np.reshape(t, new, order).detach().numpy(), x.reshape(new, order=order))
        gradcheck(lambda a: np.reshape(np.sin(a), (3, -1), order=order) ** 2, [x])


def test_an_order_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(TypeError, match="K"):
        gg.tensor(A).reshape(6, order="K")
    with pytest.raises(TypeError, match="use 'C' or 'F'"):
        np.ravel(gg.tensor(np.arange(24.0).reshape(2, 3, 4)).transpose(0, 2, 1), order="K")


def test_trapezoid_with_places_along_an_axis() -> None:
    x = np.sort(np.random.default_rng(0).normal(size=(2, 2)), axis=0)
    y = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert np.allclose(np.trapezoid(gg.tensor(y), gg.tensor(x), axis=0).numpy(), np.trapezoid(y, x, axis=0))
    gradcheck(lambda y, x: gg.trapezoid(y, x, axis=0), [y, x])


@pytest.mark.parametrize("name", ["var", "std"])
def test_correction_is_ddof(name: str) -> None:
    ours, numpys = getattr(gg, name), getattr(np, name)
    for x in (A, gg.tensor(A)):
        assert np.allclose(np.asarray(ours(x, axis=1, correction=1)), numpys(A, axis=1, ddof=1))
    assert np.allclose(getattr(gg.tensor(A), name)(correction=0.5).numpy(), numpys(A, ddof=0.5))
    gradcheck(lambda x: ours(x, axis=1, correction=1.5), [A])
    with pytest.raises(ValueError, match="mean the same"):
        ours(A, ddof=1, correction=1)


def test_clip_as_a_method_takes_numpys_names() -> None:
    t = gg.tensor(A, requires_grad=True)
    for limits in ({"min": 1}, {"max": 2.0}, {"min": 1, "max": 2}, {"min": A / 2, "max": None}):
        assert np.array_equal(t.clip(**limits).detach().numpy(), A.clip(**limits))


def test_nothing_to_reduce() -> None:
    empty = np.ones((0, 2))
    for f in (gg.softmax, gg.log_softmax):
        assert gg.grad(lambda x, f=f: f(x, 0).sum())(empty).shape == (0, 2)
    assert np.array_equal(gg.logsumexp(empty, axis=0), [-np.inf, -np.inf])
    assert gg.grad(lambda x: gg.logsumexp(x, axis=0).sum())(empty).shape == (0, 2)
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.soft_margin_loss):
        assert np.isnan(loss(gg.tensor(empty), gg.tensor(empty)).item())


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
def test_cross_entropy_of_ignored_rows_alone_has_a_gradient_of_zero(shape: tuple[int, ...]) -> None:
    x, ids = np.random.default_rng(0).normal(size=shape), np.zeros((2, *shape[2:]), int)
    for weight in (None, np.array([0.5, 2.0])):
        f = lambda x, w=weight: gg.cross_entropy(x, ids, weight=w, ignore_index=0)  # noqa: E731
        assert np.isnan(f(x))
        assert not gg.grad(f)(x).any()
        assert not gg.hessian(f)(x).any()


def test_binary_cross_entropy_at_the_ends_in_both_modes() -> None:
    p, target = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.0, 1.0])
    f = lambda p: gg.binary_cross_entropy(p, target, reduction="sum")  # noqa: E731
    slopes = gg.grad(f)(p)
    assert np.allclose(slopes, [-0.5e12, 0.5e12, 0.0, 0.0])  # PyTorch's (p - target) / max(p (1 - p), 1e-12)
    assert np.allclose(gg.jvp(f, (p,), (np.array([1.0, 2.0, 3.0, 4.0]),))[1], slopes @ [1.0, 2.0, 3.0, 4.0])
    assert np.isfinite(gg.hessian(f)(p)).all()


def test_logit_held_from_the_ends() -> None:
    p = np.array([0.0, 0.05, 0.4, 1.0])
    assert np.allclose(gg.logit(p, 0.1), np.log([1 / 9, 1 / 9, 2 / 3, 9]))
    assert np.allclose(gg.grad(lambda p: gg.logit(p, 0.1).sum())(p), [0, 0, 1 / 0.24, 0])


X = np.array([0.3, -1.2, 2.1])
L = [0.1, 0.7, 0.3]
KNOTS = np.arange(3.0)
PRECISE: list[Callable[[Any], Any]] = [
    lambda x: np.inner(x, 0.1),
    lambda x: np.kron(x, 0.1),
    lambda x: np.vdot(x, L),
    lambda x: np.cross(x, L),
    lambda x: np.tensordot(x, L, 1),
    lambda x: np.einsum("i,i", x, L),
    lambda x: np.gradient(x, 0.1),
    lambda x: np.trapezoid(x, L),
    lambda x: np.average(x, weights=L),
    lambda x: np.interp(x, L, x),
    lambda x: np.interp(0.1, KNOTS, x),
    lambda x: np.convolve(x, L),
    lambda x: np.correlate(x, L),
    lambda x: np.cov(x, L),
    lambda x: np.polyval(L, x),
    lambda x: np.polymul(x, L),
    lambda x: np.polyadd(x, L),
    lambda x: np.polyfit(L, x, 1),
    lambda x: np.polyint(x, k=0.1),
    lambda x: np.append(x, 0.1),
    lambda x: np.insert(x, 1, 0.1),
    lambda x: np.concatenate([x, L]),
    lambda x: np.stack([x, L]),
    lambda x: np.vstack([x, L]),
    lambda x: np.column_stack([x, L]),
    lambda x: np.broadcast_arrays(x, L)[1],
    lambda x: np.meshgrid(x, L)[1],
    lambda x: np.diff(x, prepend=0.1, append=L),
    lambda x: np.ediff1d(x, to_end=0.1),
    lambda x: np.linspace(x, 0.1, 4),
    lambda x: np.linspace(0.1, x, 4),
    lambda x: np.piecewise(x, [x > 0], [0.1, 0.7]),
    lambda x: np.quantile(x, 0.1),
    lambda x: np.percentile(x, [10.1, 70.3]),
    lambda x: np.linalg.solve(np.outer(x, x) + np.diag(x * x), L),
    lambda x: np.linalg.lstsq(np.outer(x, x) + np.diag(x * x), L)[0],
]


@pytest.mark.parametrize("call", PRECISE, ids=range(len(PRECISE)))
def test_numbers_and_lists_lose_no_digits_beside_float64(call: Callable[[Any], Any]) -> None:
    result = call(gg.asarray(X)).numpy()
    assert result.dtype == np.float64
    assert np.allclose(result, call(X), rtol=1e-13, atol=1e-14)
    narrow = call(gg.asarray(X.astype(np.float32)))
    assert narrow.dtype == np.float32 or call is PRECISE[10]  # float32 stays what it is; knots of float64 widen it


def test_nor_in_assignment_losses_and_lists_of_arrays() -> None:
    t, copy = gg.tensor(X, requires_grad=True) * 1.0, gg.tensor(X)
    t[:], copy[:] = L, L
    assert np.array_equal(t.detach().numpy(), L)
    assert np.array_equal(copy.numpy(), L)
    assert np.isclose(F.l1_loss(gg.tensor(X), L).item(), np.abs(X - L).mean(), rtol=1e-14)
    assert np.isclose(F.gaussian_nll_loss(gg.tensor(X), 0 * X, 0.1).item(), 0.5 * np.mean(np.log(0.1) + X**2 / 0.1), rtol=1e-14)
    assert gg.asarray([X, X]).dtype == np.float64
    assert gg.asarray([[0.5, 1.0]]).dtype == np.float32
    assert (gg.tensor(X) * [1j, 0, 2]).dtype == np.complex128
    assert gg.add(gg.tensor([1, 2]), [0.1, 0.2]).dtype == np.float64


def test_ends_of_a_linspace_keep_their_dtype() -> None:
    ends = np.array(0.1), np.array([0.3, 0.7])
    assert np.array_equal(gg.linspace(*ends, 4).numpy(), np.linspace(*ends, 4))
    assert np.allclose(gg.linspace(0.0, gg.tensor(3), 4).numpy(), [0, 1, 2, 3])  # of integers too
    assert gg.linspace(gg.tensor(np.float16(1)), 2.0, 3).dtype == np.float16
    assert gg.geomspace(*ends, 4).dtype == np.float64
    assert gg.linspace(0, 1, 3).dtype == gg.geomspace(1, 2, 3).dtype == np.float32


def test_dtypes_as_in_numpy() -> None:
    ints, z = np.array([[1, 2], [3, 4]], np.int32), np.array([[1j, 2.0], [3.0, 1 - 1j]])
    for name in ("nansum", "nanprod", "nancumsum", "nanmax"):
        f = getattr(np, name)
        assert f(gg.tensor(ints)).dtype == np.asarray(f(ints)).dtype
        assert np.array_equal(f(gg.tensor(ints)).numpy(), f(ints))
    for name in ("nanvar", "nanstd"):
        f = getattr(np, name)
        assert f(gg.tensor(z)).dtype == np.float64
        assert np.allclose(f(gg.tensor(z)).numpy(), f(z))
    assert np.max(gg.tensor(ints), axis=1, initial=3.0).dtype == np.int32
    assert np.sum(gg.tensor(ints), initial=2.0).dtype == np.int64
    assert np.gradient(gg.tensor(X.astype(np.float16))).dtype == np.float16


def test_roll_along_one_axis_twice() -> None:
    assert np.array_equal(np.roll(gg.tensor(A), (1, 1, 3), (1, 1, 0)).numpy(), np.roll(A, (1, 1, 3), (1, 1, 0)))


def test_cumprod_with_zeros_is_linear_and_exact() -> None:
    rng = np.random.default_rng(0)
    for axis in (0, 1, None):
        x = rng.normal(size=(5, 6)) * (rng.random((5, 6)) > 0.3)
        t = rng.normal(size=np.cumprod(x, axis).shape)
        _, pull = gg.vjp(lambda x, a=axis: gg.cumprod(x, a), x)
        _, tangent = gg.jvp(lambda x, a=axis: gg.cumprod(x, a), (x,), (np.ones_like(x),))  # by the composition
        assert np.isclose(pull(t)[0].sum(), (t * tangent).sum(), rtol=1e-12)


def test_running_extrema_of_ties_and_nan_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (4, 9)).astype(float)
    x[1, 3] = x[2, 0] = x[2, 5] = np.nan
    t = rng.normal(size=x.shape)
    for name in ("cummax", "cummin"):
        out, pull = gg.vjp(lambda x, n=name: getattr(gg, n)(x, 1), x)
        other = torch.tensor(x, requires_grad=True)
        value = getattr(torch, name)(other, 1)[0]
        (grad,) = torch.autograd.grad(value, other, torch.tensor(t))
        assert np.array_equal(out, value.detach().numpy(), equal_nan=True)
        assert np.allclose(pull(t)[0], grad.numpy())


def test_sweeps_stand_in_for_accumulate_where_a_library_lacks_it() -> None:
    from gpugrad.ops.scan import _scanned

    x = np.random.default_rng(0).normal(size=(3, 11))
    assert np.array_equal(_scanned(np, np.maximum, x, 1), np.maximum.accumulate(x, 1))


def test_in_place_results_that_do_not_fit_are_refused() -> None:
    x = gg.tensor(X, requires_grad=True)
    y = x * 1.0
    with pytest.raises(TypeError, match=r"complex128 does not fit float64\[3\](.|\n)*at .*test_differential"):
        y += 1j
    with pytest.raises(ValueError, match=r"does not fit float64\[3\](.|\n)*at .*test_differential"):
        y += np.ones((2, 3))
    for dtype in (int, bool):
        counts = gg.tensor(np.zeros(3, dtype))
        with pytest.raises(gg.GradientError, match="would drop its gradient"):
            counts[0] = x[1]
        counts[0] = x[2].detach()
        assert counts[0]


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda t: np.einsum("ij,jk", t, t), ValueError, r"numpy\.einsum: the letter 'j'(.|\n)*float64\[2, 3\]"),
        (lambda t: np.pad(t, -1), ValueError, r"numpy\.pad: pad_width(.|\n)*array = float64\[2, 3\]"),
        (lambda t: np.take(t, [9], axis=1), IndexError, r"numpy\.take: indices(.|\n)*axis = 1"),
        (lambda t: np.linalg.multi_dot([t, t]), ValueError, r"float64\[2, 3\]"),
        (lambda t: np.full((2, 2), t[0, 0]), RuntimeError, "would drop its gradient"),
    ],
)
def test_errors_of_compositions_say_what_and_where(call: Callable[[Any], Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says + r"(.|\n)*at .*test_differential") as caught:
        call(gg.tensor(A, requires_grad=True))
    assert isinstance(caught.value, gg.GpugradError)


EDGES: list[tuple[Callable[..., Any], list[Any], list[Any]]] = [
    (gg.arctan2, [0.0, 0.0], [0.0, 0.0]),
    (gg.arctan2, [1e-200, 0.0], [0.0, -1e200]),
    (gg.arctan2, [3e200, 4e200], [4 / 25e200, -3 / 25e200]),
    (gg.logaddexp, [np.inf, 0.0], [1.0, 0.0]),
    (gg.logaddexp, [1e300, 1e300], [0.5, 0.5]),
    (gg.logaddexp, [0.0, -800.0], [1.0, np.exp(-800.0)]),
    (gg.logaddexp2, [1e300, 1e300], [0.5, 0.5]),
    (gg.logaddexp2, [3.0, np.inf], [0.0, 1.0]),
    (gg.remainder, [-1.0, np.inf], [1.0, 1.0]),
    (lambda x: gg.linalg.norm(x, 3), [np.zeros(2)], [[0.0, 0.0]]),
    (lambda x: gg.linalg.norm(x, 0.5), [np.array([0.0, 4.0])], [[0.0, 1.0]]),
    (lambda x: gg.linalg.norm(x, -1), [np.array([0.0, 4.0])], [[0.0, 0.0]]),
    (lambda x: F.huber_loss(x, np.zeros(2), "sum", 0.5), [np.array([-np.inf, 0.25])], [[-0.5, 0.25]]),
]


@pytest.mark.parametrize(("f", "x", "slopes"), EDGES)
def test_gradients_at_the_edges_are_those_of_torch_or_better(f: Callable[..., Any], x: list[Any], slopes: list[Any]) -> None:
    x = [np.asarray(v, float) for v in x]
    found = gg.grad(f, argnums=tuple(range(len(x))))(*x)
    for got, wanted in zip(found, slopes, strict=True):
        assert np.allclose(got, wanted, rtol=1e-12, atol=0)
    tangent = gg.jvp(f, tuple(x), tuple(np.ones_like(v) for v in x))[1]
    assert np.allclose(tangent, sum(np.sum(s) for s in slopes), rtol=1e-12)


def test_gamma_near_its_poles() -> None:
    x = np.array([-1e-10, -1e-300, 1e-300, -1 - 1e-10, -2 + 1e-9])
    wanted = [23.025850929998178, 690.7755278982137, 690.7755278982137, 23.02585084715781, 20.03011857456888]
    assert np.allclose(gg.lgamma(x).numpy(), wanted, rtol=1e-8)
    assert np.allclose(gg.lgamma(x[:3]).numpy(), wanted[:3], rtol=1e-13)
    assert np.array_equal(gg.digamma(np.array([0.0, -0.0])).numpy(), [-np.inf, np.inf])
