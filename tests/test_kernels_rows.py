"""Kernels over the rows of a matrix, on the CPU against float64: softmax, cross-entropy, normalisation."""

from __future__ import annotations

from typing import Any

import cuda_cpu
import numpy as np
import pytest
from kernel_cases import DTYPES, EPS, SHAPES, assert_close, dtype_of, launcher, matrix, needs_cpu_runner, run
from scipy import special

from gpugrad.cuda import kernels
from gpugrad.errors import DTypeError, ShapeError

pytestmark = needs_cpu_runner


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(log: bool, dtype: str) -> None:
    function = special.log_softmax if log else special.softmax
    for shape, offset in SHAPES:
        x, g = matrix(shape, dtype, offset), matrix(shape, dtype, seed=1)
        x *= 3
        y = run(lambda: kernels.softmax(launcher(), x, log=log))  # noqa: B023
        assert_close(y, function(x.astype(float), axis=1) if x.size else x, dtype, 40, abs(x.astype(float)) + 8 if log else 0)
        gx = run(lambda: kernels.softmax_backward(launcher(), g, y, log=log))  # noqa: B023
        saved, exact_g = y.astype(float), g.astype(float)
        terms = exact_g if log else exact_g * saved
        rest = np.exp(saved) if log else saved
        expected = (exact_g if log else terms) - rest * terms.sum(axis=1, keepdims=True)
        assert_close(
            gx, expected, dtype, 8, 8 * (abs(exact_g) * (1 if log else saved) + rest * abs(terms).sum(axis=1, keepdims=True))
        )


def test_softmax_of_infinite_logits() -> None:
    inf = np.inf
    x = cuda_cpu.array(
        [[-inf, 0, -inf, 0, 1000], [-inf] * 5, [1, 2, np.nan, 3, 4], [-inf, -inf, -inf, -inf, -3.4e38]], np.float32
    )
    y, log = (kernels.softmax(launcher(), x, log=log) for log in (False, True))
    np.testing.assert_array_equal(y, [[0, 0, 0, 0, 1], [np.nan] * 5, [np.nan] * 5, [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(log[0], [-inf, -1000, -inf, -1000, 0])


def reference(x: Any, q: Any, w: Any) -> tuple[Any, Any]:
    """Losses and the gradient of their weighted sum, in float64, for target weights q."""
    logs = special.log_softmax(x, axis=1) if x.size else x
    return -(q * logs).sum(axis=1), w[:, None] * (q.sum(axis=1, keepdims=True) * np.exp(logs) - q)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
@pytest.mark.parametrize("target", ["int32", "int64", "probabilities"])
def test_cross_entropy(target: str, smoothing: float, dtype: str) -> None:
    real = np.float64 if dtype == "float64" else np.float32
    for shape, offset in SHAPES:
        rows, columns = shape
        if columns == 0:
            continue
        rng = np.random.default_rng(shape)
        x = matrix(shape, dtype, offset)
        ids = rng.integers(0, columns, rows)
        if target == "probabilities":
            q = cuda_cpu.array(rng.dirichlet(np.ones(columns), rows).reshape(shape), dtype_of(dtype))
            given, q = q, q.astype(float)
        else:
            given, q = cuda_cpu.array(ids, target), np.eye(columns)[ids]
            given[1::3] = -1  # ignored
            q[1::3] = 0
        q = q * (1 - smoothing) + smoothing / columns
        if target != "probabilities":
            q[1::3] = 0
        t = cuda_cpu.array(rng.uniform(0.5, 1.5, rows), real)
        options = {"ignore_index": -1, "label_smoothing": smoothing, "scale": 0.5}
        losses, slopes = reference(x.astype(float), q, 0.5 * t.astype(float))
        spread = abs(x.astype(float)).max(axis=1, initial=1) + 8

        def call(given: Any = given, x: Any = x, t: Any = t, options: Any = options, **wanted: bool) -> Any:
            return run(lambda: kernels.cross_entropy(launcher(), x, given, weights=t, **options, **wanted))

        got = call(losses=True, total=True, gradient=True)
        kind = "float64" if dtype == "float64" else "float32"
        assert_close(got.losses, losses, kind, 16, 8 * spread)
        assert_close(got.total, (losses * 0.5 * t).sum(), kind, 16, 16 * abs(spread * t).sum())
        assert_close(got.gradient, slopes, dtype, 16, 8 * t[:, None] * (q + 1 / columns))
        assert_close(call(losses=True).losses, losses, kind, 16, 8 * spread)
        assert call(gradient=True).gradient.tobytes() == got.gradient.tobytes()


def test_mean_over_what_is_not_ignored() -> None:
    x = matrix((1500, 10), "float32")
    ids = cuda_cpu.array(np.random.default_rng(0).integers(-1, 10, 1500))
    weight = run(lambda: kernels.mean_weight(launcher(), ids, np.float32, -1))
    got = run(lambda: kernels.cross_entropy(launcher(), x, ids, weights=weight, ignore_index=-1, total=True, gradient=True))
    kept = ids >= 0
    losses, slopes = reference(x.astype(float)[kept], np.eye(10)[ids[kept]], np.full(kept.sum(), 1 / kept.sum()))
    assert_close(got.total, losses.mean(), "float32", 16)
    assert_close(got.gradient[kept], slopes, "float32", 16, 16 / kept.sum())
    assert not got.gradient[~kept].any()
    assert got.losses is None

    def apart() -> tuple[Any, Any, Any]:
        """The loss, and the gradient by a launch of its own."""
        mean, t = cuda_cpu.empty(1), cuda_cpu.array(np.ones((), np.float32))
        total = kernels.cross_entropy(launcher(), x, ids, mean=mean, ignore_index=-1, total=True).total
        back = kernels.cross_entropy(launcher(), x, ids, weights=t, mean=mean, ignore_index=-1, gradient=True)
        return total, mean, back.gradient

    total, mean, gradient = run(apart)
    np.testing.assert_array_equal(mean, weight)
    assert_close(total, losses.mean(), "float32", 16)
    assert gradient.tobytes() == got.gradient.tobytes()


def test_an_id_that_is_no_class_is_reported() -> None:
    x = matrix((600, 5), "float32")
    ids = cuda_cpu.array(np.arange(600) % 5)
    ids[[37, 411]] = 9, -3
    for bad in (ids, ids.astype(np.int32)):
        words = cuda_cpu.zeros(2, np.int64)
        kernels.cross_entropy(launcher(), x, bad, report=(words, np.int64(12)), total=True)
        assert words.tolist() in ([9, 12], [-3, 12])
        words[:] = 4, 11  # an earlier one stays
        kernels.cross_entropy(launcher(), x, bad, report=(words, np.int64(12)), total=True)
        assert words.tolist() == [4, 11]
        words[:] = 0
        kernels.cross_entropy(launcher(), x, bad % 5, report=(words, np.int64(12)), total=True)
        kernels.cross_entropy(launcher(), x[:38], bad[:38], ignore_index=9, report=(words, np.int64(12)), total=True)
        assert words.tolist() == [0, 0]


def test_hard_rows_of_cross_entropy() -> None:
    """No overflow; masked logits cost nothing where no weight is on them; a class that does not exist is nan, not a number."""
    inf = np.inf
    x = cuda_cpu.array([[1000.0, 0, -1000], [-inf, 0, 0], [0, 0, 0], [0, 0, 0], [np.nan, 1, 2]], np.float32)
    ids = cuda_cpu.array([1, 1, 3, -5, -100])
    for gradient in (False, True):
        got = kernels.cross_entropy(launcher(), x, ids, losses=True, gradient=gradient)
        np.testing.assert_allclose(got.losses, [1000, np.log(2), np.nan, np.nan, 0], rtol=1e-6)
    expected = [[1, -1, 0], [0, -0.5, 0.5], [np.nan] * 3, [np.nan] * 3, [0] * 3]
    np.testing.assert_allclose(got.gradient, expected, atol=1e-7)


def test_what_cross_entropy_does_not_take_is_refused() -> None:
    x, ids = matrix((4, 3), "float32"), cuda_cpu.array([0, 1, 2, 0])
    with pytest.raises(ShapeError, match=r"logits \(4, 3\) take class ids \(4,\) or probabilities \(4, 3\), got \(3,\)"):
        kernels.cross_entropy(launcher(), x, ids[:3])
    with pytest.raises(DTypeError, match="int32 or int64"):
        kernels.cross_entropy(launcher(), x, ids.astype(np.int8))
    with pytest.raises(DTypeError, match="weights must be 4 numbers or one of float32"):
        kernels.cross_entropy(launcher(), x, ids, weights=cuda_cpu.array(np.ones(4)))


# --- normalisation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("centered", [True, False])
def test_norm(centered: bool, affine: bool, dtype: str) -> None:
    eps = 1e-3
    for shape, offset in SHAPES:
        x, g = matrix(shape, dtype, offset), matrix(shape, dtype, seed=1)
        x += 3
        weight, bias = (matrix(shape[1:], dtype, seed=s) if affine else None for s in (2, 3))
        bias = bias if centered else None
        got = run(lambda: kernels.norm(launcher(), x, weight, bias, eps=eps, centered=centered))  # noqa: B023
        if 0 in shape:
            assert got.y.shape == shape
            continue
        exact, t = x.astype(float), g.astype(float)
        w, b = (0.0 if v is None and k else 1.0 if v is None else v.astype(float) for k, v in enumerate((weight, bias)))
        mean = exact.mean(axis=1, keepdims=True) * centered
        r = 1 / np.sqrt(((exact - mean) ** 2).mean(axis=1, keepdims=True) + eps)
        h = (exact - mean) * r
        real = "float64" if dtype == "float64" else "float32"
        carried = EPS[real] / EPS[dtype] * 64 * r * (abs(exact).max() + 1)  # from the mean into the rest
        assert_close(got.y, h * w + b, dtype, 4, 4 * abs(h * w) + 4 * abs(b) + carried * abs(w))
        assert_close(got.scales, r[:, 0], real, 64)
        if centered:
            assert_close(got.means, mean[:, 0], real, 64)
        gx = run(lambda: kernels.norm_backward(launcher(), g, x, weight, got.means, got.scales))  # noqa: B023
        k = t * w
        expected = r * (k - centered * k.mean(axis=1, keepdims=True) - h * (k * h).mean(axis=1, keepdims=True))
        assert_close(gx, expected, dtype, 8, (carried + 8) * r * (abs(k) + abs(h)) * (abs(k).max() + 1))
        gw, gb = run(
            lambda: kernels.norm_backward_parameters(launcher(), g, x, got.means, got.scales, bias=centered)  # noqa: B023
        )
        assert_close(gw, (t * h).sum(axis=0), dtype, 4, ((8 + carried) * abs(t) * (abs(h) + 1)).sum(axis=0))
        if centered:
            assert_close(gb, t.sum(axis=0), dtype, 4, 8 * abs(t).sum(axis=0))
        else:
            assert gb is None


def test_norm_far_from_zero() -> None:
    """A mean a thousand times the deviation leaves the variance its digits."""
    x = matrix((4, 1000), "float32")
    x += 1000
    exact = x.astype(float)
    expected = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    got = kernels.norm(launcher(), x, eps=0.0)
    assert_close(got.y, expected, "float32", 16, 8 * 1000)
    np.testing.assert_allclose(got.scales, 1 / exact.std(axis=1), rtol=1e-6)
