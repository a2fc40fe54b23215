"""Polynomials under NumPy's names: arrays of coefficients, from the highest power down."""

from __future__ import annotations

from typing import Any

import numpy

from .. import backend, half
from ..op import ArrayLike, as_tensor, as_tensors, raw
from . import complex_numbers, elementwise, indexing, reduction, shape, statistics
from .decompositions import eig, inv, pinv, svd_reduced
from .linalg import matmul
from .placing import beside_arguments
from .standard import vander

__all__ = ["poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub", "roots"]


@beside_arguments
def _coefficients(p: Any) -> Any:
    """A vector, without leading zeros."""
    p = shape.reshape(as_tensor(p), -1)
    (kept,) = raw(p).nonzero()
    return indexing.getitem(p, slice(int(kept[0]) if len(kept) else max(p.shape[0] - 1, 0), None))


@beside_arguments
def _zeros(n: int, like: Any) -> Any:
    """That many zeros, of the dtype of a Tensor and where it is."""
    return backend.namespace_of(raw(like)).zeros(n, like.dtype)


@beside_arguments
def _falling(n: int, like: Any) -> Any:
    """``n, ..., 1``, of the dtype of a Tensor and where it is."""
    return backend.namespace_of(raw(like)).arange(n, 0, -1).astype(like.dtype)


def _widened(p: Any, n: int) -> Any:
    """With zeros before the coefficients, `n` in all."""
    p = shape.reshape(as_tensor(p), -1)
    return shape.concatenate([_zeros(n - p.shape[0], p), p]) if n > p.shape[0] else p


def polyadd(a1: ArrayLike, a2: ArrayLike) -> Any:
    """Sum of two polynomials (`numpy.polyadd`).

    >>> import gpugrad as gg
    >>> gg.polyadd([1.0, 2.0], [3.0])
    tensor([1., 5.])
    """
    a1, a2 = as_tensors(a1, a2)
    n = max(a1.size, a2.size)
    return elementwise.add(_widened(a1, n), _widened(a2, n))


def polysub(a1: ArrayLike, a2: ArrayLike) -> Any:
    """Difference of two polynomials (`numpy.polysub`).

    >>> import gpugrad as gg
    >>> gg.polysub([1.0, 2.0], [3.0])
    tensor([ 1., -1.])
    """
    return polyadd(a1, elementwise.negative(a2))


def polymul(a1: ArrayLike, a2: ArrayLike) -> Any:
    """Product of two polynomials (`numpy.polymul`).

    >>> import gpugrad as gg
    >>> gg.polymul([1.0, 2.0], [1.0, 0.0])
    tensor([1., 2., 0.])
    """
    return statistics.convolve(*map(_coefficients, as_tensors(a1, a2)))


def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Any, Any]:
    """Quotient and remainder of two polynomials (`numpy.polydiv`).

    >>> import gpugrad as gg
    >>> gg.polydiv([2.0, 5.0, 3.0], [1.0, 1.0])
    (tensor([2., 3.]), tensor([0.]))
    """
    rest, divisor = as_tensors(u, v)
    steps, parts = rest.shape[0] - divisor.shape[0] + 1, []
    for k in range(steps):
        parts.append(indexing.getitem(rest, k) / indexing.getitem(divisor, 0))
        before, after = _zeros(k, rest), _zeros(steps - 1 - k, rest)
        rest = rest - shape.concatenate([before, parts[-1] * divisor, after])
    start = max(steps, 0)
    while start < rest.shape[0] - 1 and abs(rest[start].item()) <= 1e-8:
        start += 1
    quotient = shape.stack(parts) if parts else as_tensor(_zeros(1, rest))
    return quotient, indexing.getitem(rest, slice(min(start, rest.shape[0] - 1), None))


def polyder(p: ArrayLike, m: int = 1) -> Any:
    """Derivative number `m` of a polynomial (`numpy.polyder`).

    >>> import gpugrad as gg
    >>> gg.polyder([1.0, 1.0, 1.0])
    tensor([2., 1.])
    """
    p = as_tensor(p)
    for _ in range(m):
        n = p.shape[0] - 1
        p = elementwise.multiply(indexing.getitem(p, slice(0, max(n, 0))), _falling(n, p))
    return p


def polyint(p: ArrayLike, m: int = 1, k: Any = None) -> Any:
    """A polynomial integrated `m` times, with constants `k` (`numpy.polyint`).

    >>> import gpugrad as gg
    >>> gg.polyint([2.0, 1.0], k=5.0)
    tensor([1., 1., 5.])
    """
    p = as_tensor(p)
    p = p if half.is_inexact(p.dtype) else p.astype("float64")
    constants = shape.broadcast_to(as_tensors(p, 0.0 if k is None else k)[1].astype(p.dtype), (m,))
    for i in range(m):
        p = elementwise.divide(p, _falling(p.shape[0], p))
        p = shape.concatenate([p, indexing.getitem(constants, slice(i, i + 1))])
    return p


def polyfit(
    x: ArrayLike, y: ArrayLike, deg: int, rcond: float | None = None, w: Any = None, full: bool = False, cov: bool | str = False
) -> Any:
    """Coefficients of the polynomial that fits best in the sense of least squares (`numpy.polyfit`).

    With `full`, also what `lstsq` returns of the scaled problem; with `cov`, also the covariance matrix of the estimates.

    >>> import gpugrad as gg
    >>> gg.polyfit(gg.arange(4.0), 2 * gg.arange(4.0) + 1, 1).round(3)
    tensor([2., 1.])
    """
    x, y = as_tensors(x, y)
    x, y = (t if half.is_inexact(t.dtype) else t.astype("float64") for t in (x, y))
    if x.ndim != 1 or y.ndim not in (1, 2) or x.shape[0] != y.shape[0] or deg < 0:
        raise ValueError(f"polyfit: x must be (n,), y (n,) or (n, k) and deg at least 0, got {x.shape}, {y.shape} and {deg}")
    powers = vander(x, deg + 1)
    if w is not None:
        _, w = as_tensors(x, w)
        powers = powers * shape.expand_dims(w, -1)
        y = y * (w if y.ndim == 1 else shape.expand_dims(w, -1))
    scale = elementwise.sqrt(reduction.sum(elementwise.square(powers), 0))
    limit = x.shape[0] * numpy.finfo(x.dtype).eps if rcond is None else rcond
    scaled = powers / scale
    solution = matmul(pinv(scaled, limit), y)
    out = solution / (scale if y.ndim == 1 else shape.expand_dims(scale, -1))
    if not full and not cov:
        return out
    residuals = reduction.sum(elementwise.square(elementwise.abs(y - matmul(scaled, solution))), 0, keepdims=y.ndim == 1)
    if full:
        s = svd_reduced(scaled).S
        rank = int(reduction.sum(s.detach() > limit * s.detach().max()).item())
        if rank <= deg or x.shape[0] <= deg + 1:
            residuals = indexing.getitem(residuals, slice(0, 0))
        return out, residuals, rank, s, limit
    covariance = inv(matmul(scaled.T, scaled)) / (shape.expand_dims(scale, -1) * scale)
    if cov != "unscaled":
        if x.shape[0] <= deg + 1:
            raise ValueError(f"polyfit: a covariance needs more than {deg + 1} points; cov='unscaled' does not")
        residuals = residuals / (x.shape[0] - deg - 1)
        residuals = indexing.getitem(residuals, 0) if y.ndim == 1 else residuals
        covariance = covariance * residuals if y.ndim == 1 else shape.expand_dims(covariance, -1) * residuals
    elif y.ndim > 1:
        covariance = shape.expand_dims(covariance, -1)
    return out, covariance


@beside_arguments
def roots(p: ArrayLike) -> Any:
    """Roots of a polynomial, complex, differentiable where they are apart from each other (`numpy.roots`).

    >>> import gpugrad as gg
    >>> gg.roots([1.0, 0.0, -4.0])
    tensor([-2.+0.j,  2.+0.j], dtype=complex64)
    """
    p = _coefficients(p)
    p = p if half.is_inexact(p.dtype) else p.astype("float64")
    (kept,) = raw(p).nonzero()
    if not len(kept):
        return as_tensor(_zeros(0, p))
    zeros, n = p.shape[0] - int(kept[-1]) - 1, int(kept[-1])
    if not n:
        return as_tensor(_zeros(zeros, p))
    first = elementwise.divide(elementwise.negative(indexing.getitem(p, slice(1, n + 1))), indexing.getitem(p, 0))
    below = backend.namespace_of(raw(p)).eye(n - 1, n, dtype=p.dtype)
    companion = shape.concatenate([shape.expand_dims(first, 0), below], 0)
    found = eig(companion).eigenvalues
    return shape.concatenate([found, _zeros(zeros, found)]) if zeros else found


@beside_arguments
def poly(seq_of_zeros: ArrayLike) -> Any:
    """The polynomial with those roots, or the characteristic one of a square matrix (`numpy.poly`).

    >>> import gpugrad as gg
    >>> gg.poly([2.0, -2.0])
    tensor([ 1.,  0., -4.])
    """
    zeros = as_tensor(seq_of_zeros)
    zeros = eig(zeros).eigenvalues if zeros.ndim == 2 else zeros
    one = backend.namespace_of(raw(zeros)).ones(1, zeros.dtype)
    out: Any = as_tensor(one)
    for i in range(zeros.shape[0]):
        out = statistics.convolve(out, shape.concatenate([one, elementwise.negative(indexing.getitem(zeros, slice(i, i + 1)))]))
    values = backend.on_host(raw(zeros))
    if zeros.dtype.kind == "c" and numpy.all(numpy.sort(values) == numpy.sort(values.conjugate())):
        return complex_numbers.real(out)
    return out
