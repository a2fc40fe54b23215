"""Statistics composed of other ops: nan-aware reductions, averages, covariances, differences, convolutions."""

from __future__ import annotations

import builtins
from typing import Any

import numpy

from .. import backend, half
from ..op import ArrayLike, as_tensor, as_tensors, raw
from . import (
    comparison,
    complex_numbers,
    elementwise,
    floating,
    indexing,
    linalg,
    manipulation,
    padding,
    reduction,
    scan,
    shape,
    sorting,
)
from .axes import Axis, axes_of, axis_of, cut
from .placing import tensor_beside


def ptp(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest minus smallest element over axes (`numpy.ptp`).

    >>> import gpugrad as gg
    >>> gg.ptp([3.0, 1.0, 2.0])
    tensor(2.)
    """
    return elementwise.subtract(reduction.max(a, axis, keepdims), reduction.min(a, axis, keepdims))


def _filled(a: ArrayLike, value: Any, where: Any = None) -> tuple[Any, Any]:
    """The array with `value` for nan and where `where` is false, and which elements those are."""
    x = as_tensor(a)
    missing = comparison.isnan(x)
    if where is not None and where is not True:
        missing = shape.broadcast_to(comparison.logical_or(missing, comparison.logical_not(tensor_beside(where, x))), x.shape)
    elif not half.is_inexact(x.dtype):
        return x, missing
    return elementwise.where(missing, value if half.is_inexact(x.dtype) else x.dtype.type(value), x), missing


def _started(result: Any, initial: Any, join: Any) -> Any:
    """The result of a reduction that starts from a value."""
    return (
        result if initial is None else join(result, result.dtype.type(initial) if isinstance(initial, int | float) else initial)
    )


def nansum(a: ArrayLike, axis: Axis = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
    """Sum over axes, nan as 0 (`numpy.nansum`).

    >>> import gpugrad as gg
    >>> gg.nansum([1.0, float("nan"), 2.0])
    tensor(3.)
    """
    return _started(reduction.sum(_filled(a, 0, where)[0], axis, keepdims), initial, elementwise.add)


def nanprod(a: ArrayLike, axis: Axis = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
    """Product over axes, nan as 1 (`numpy.nanprod`).

    >>> import gpugrad as gg
    >>> gg.nanprod([2.0, float("nan"), 3.0])
    tensor(6.)
    """
    return _started(scan.prod(_filled(a, 1, where)[0], axis, keepdims), initial, elementwise.multiply)


def nancumsum(a: ArrayLike, axis: int | None = None) -> Any:
    """Running sums, nan as 0 (`numpy.nancumsum`).

    >>> import gpugrad as gg
    >>> gg.nancumsum([1.0, float("nan"), 2.0])
    tensor([1., 1., 3.])
    """
    return scan.cumsum(_filled(a, 0)[0], axis)


def nancumprod(a: ArrayLike, axis: int | None = None) -> Any:
    """Running products, nan as 1 (`numpy.nancumprod`).

    >>> import gpugrad as gg
    >>> gg.nancumprod([2.0, float("nan"), 3.0])
    tensor([2., 2., 6.])
    """
    return scan.cumprod(_filled(a, 1)[0], axis)


def _present(missing: Any, axis: Axis, keepdims: bool, dtype: Any) -> Any:
    return shape.cast(reduction.sum(comparison.logical_not(missing), axis, keepdims), dtype)


def nanmean(a: ArrayLike, axis: Axis = None, keepdims: bool = False, where: Any = None) -> Any:
    """Mean over axes of the numbers that are not nan (`numpy.nanmean`).

    >>> import gpugrad as gg
    >>> gg.nanmean([1.0, float("nan"), 3.0])
    tensor(2.)
    """
    return _mean_of(*_filled(a, 0, where), axis, keepdims)


def _mean_of(x: Any, missing: Any, axis: Axis, keepdims: bool) -> Any:
    """The mean of those that are there; the others are 0 in `x`."""
    x = x if half.is_inexact(x.dtype) else x.astype("float64")
    return elementwise.divide(reduction.sum(x, axis, keepdims), _present(missing, axis, keepdims, x.dtype))


def _var_of(x: Any, missing: Any, axis: Axis, ddof: float, keepdims: bool, mean: Any) -> Any:
    """The variance of those that are there, about `mean` if that is given."""
    mean = _mean_of(x, missing, axis, True) if mean is None else mean
    centred = elementwise.where(missing, 0.0, elementwise.subtract(x, mean))
    squares = complex_numbers.real(centred * complex_numbers.conjugate(centred))
    freedom = _present(missing, axis, keepdims, squares.dtype) - ddof
    return elementwise.divide(reduction.sum(squares, axis, keepdims), elementwise.maximum(freedom, 0))


def _root(var: Any) -> Any:
    constant = var == 0  # there the gradient is 0, as that of std
    return elementwise.where(constant, 0.0, elementwise.sqrt(elementwise.where(constant, 1.0, var)))


def nanvar(a: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, where: Any = None, mean: Any = None) -> Any:
    """Variance over axes of the numbers that are not nan (`numpy.nanvar`).

    >>> import gpugrad as gg
    >>> gg.nanvar([1.0, float("nan"), 3.0])
    tensor(1.)
    """
    return _var_of(*_filled(a, 0, where), axis, ddof, keepdims, mean)


def nanstd(a: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, where: Any = None, mean: Any = None) -> Any:
    """Standard deviation over axes of the numbers that are not nan (`numpy.nanstd`).

    >>> import gpugrad as gg
    >>> gg.nanstd([1.0, float("nan"), 3.0])
    tensor(1.)
    """
    return _root(nanvar(a, axis, ddof, keepdims, where, mean))


def _nan_extremum(a: Any, reduce: Any, join: Any, empty: float, axis: Axis, keepdims: bool, initial: Any, where: Any) -> Any:
    if where is not None and where is not True and initial is None:
        raise ValueError("with where=, an initial= is needed for where there are no elements")
    if not half.is_inexact(as_tensor(a).dtype):
        x = as_tensor(a) if initial is None else _filled(a, initial, where)[0]
        return _started(reduce(x, axis, keepdims), initial, join)
    x, missing = _filled(a, empty, where)
    if initial is not None:
        return _started(reduce(x, axis, keepdims), initial, join)
    return elementwise.where(reduction.all(missing, axis, keepdims), numpy.nan, reduce(x, axis, keepdims))


def nanmax(a: ArrayLike, axis: Axis = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
    """Largest of the numbers that are not nan, over axes (`numpy.nanmax`).

    >>> import gpugrad as gg
    >>> gg.nanmax([1.0, float("nan"), 3.0])
    tensor(3.)
    """
    return _nan_extremum(a, reduction.max, elementwise.maximum, -numpy.inf, axis, keepdims, initial, where)


def nanmin(a: ArrayLike, axis: Axis = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
    """Smallest of the numbers that are not nan, over axes (`numpy.nanmin`).

    >>> import gpugrad as gg
    >>> gg.nanmin([1.0, float("nan"), 3.0])
    tensor(1.)
    """
    return _nan_extremum(a, reduction.min, elementwise.minimum, numpy.inf, axis, keepdims, initial, where)


def _where(a: Any, where: Any) -> tuple[Any, Any]:
    """The array with 0 where `where` is false, and which elements those are; nan counts."""
    x = as_tensor(a)
    missing = shape.broadcast_to(comparison.logical_not(tensor_beside(where, x)), x.shape)
    return elementwise.where(missing, x.dtype.type(0), x), missing


def mean_where(a: ArrayLike, axis: Axis = None, keepdims: bool = False, where: Any = True) -> Any:
    """Mean over axes of the elements where `where` is true: `numpy.mean` with that option."""
    return _mean_of(*_where(a, where), axis, keepdims)


def var_where(
    a: ArrayLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    correction: float | None = None,
    where: Any = True,
    mean: Any = None,
) -> Any:
    """Variance over axes of the elements where `where` is true, about `mean`: `numpy.var` with those options."""
    return _var_of(*_where(a, where), axis, ddof if correction is None else correction, keepdims, mean)


def std_where(
    a: ArrayLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    correction: float | None = None,
    where: Any = True,
    mean: Any = None,
) -> Any:
    """Standard deviation over axes of the elements where `where` is true: `numpy.std` with its options."""
    return _root(var_where(a, axis, ddof, keepdims, correction, where, mean))


def average(a: ArrayLike, axis: Axis = None, weights: Any = None, keepdims: bool = False, returned: bool = False) -> Any:
    """Weighted mean over axes, differentiable by the weights too, and the sum of those if `returned` (`numpy.average`).

    >>> import gpugrad as gg
    >>> gg.average([1.0, 2.0], weights=[3.0, 1.0])
    tensor(1.25)
    """
    if weights is None:
        out = reduction.mean(a, axis, keepdims)
        count = as_tensor(a).size // builtins.max(out.size, 1)
        return (out, elementwise.add(indexing.zeros_of(out.detach()), count)) if returned else out
    x, w = as_tensors(a, weights)
    if w.shape != x.shape:
        if not isinstance(axis, int) or w.ndim != 1 or w.shape[0] != x.shape[axis_of(axis, x.ndim)]:
            raise ValueError(f"average: weights of shape {w.shape} fit neither the array {x.shape} nor its axis {axis}")
        w = shape.broadcast_to(_column(w, axis, x.ndim), x.shape)
    total = reduction.sum(w, axis, keepdims)
    out = elementwise.divide(reduction.sum(x * w, axis, keepdims), total)
    return (out, shape.broadcast_to(total, out.shape).astype(out.dtype)) if returned else out


def cov(
    m: ArrayLike,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """Covariance matrix: variables are rows, observations columns (`numpy.cov`), these repeated and weighted.

    >>> import gpugrad as gg
    >>> gg.cov([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    rows = [manipulation.atleast_2d(v) for v in ((m,) if y is None else as_tensors(m, y))]
    rows = [row.T if not rowvar and row.shape[0] != 1 else row for row in rows]
    x = shape.concatenate(rows, 0)
    less = (0 if bias else 1) if ddof is None else ddof
    if fweights is None and aweights is None:
        x = x - reduction.mean(x, 1, True)
        return shape.squeeze(linalg.matmul(x, complex_numbers.conjugate(x.T)) / (x.shape[1] - less))
    w, a = _cov_weights(x, fweights, aweights)
    total = reduction.sum(w)
    x = x - reduction.sum(x * w, 1, True) / total
    freedom = total - less if a is None else total - less * reduction.sum(w * a) / total
    return shape.squeeze(linalg.matmul(x * w, complex_numbers.conjugate(x.T)) / freedom)


def _cov_weights(x: Any, fweights: Any, aweights: Any) -> tuple[Any, Any]:
    """What each observation counts, and the part of it that is importance and not number."""
    f, a = (None if weights is None else as_tensors(x, weights)[1] for weights in (fweights, aweights))
    for name, given in (("fweights", f), ("aweights", a)):
        if given is not None and (given.shape != x.shape[1:] or bool((given.detach() < 0).any())):
            raise ValueError(f"cov: {name} must be a number of at least 0 for each of {x.shape[1]} observations")
    if f is not None and bool(comparison.not_equal(f.detach(), floating.rint(f.detach())).any()):
        raise TypeError("cov: fweights must be whole numbers")
    return (a if f is None else f if a is None else f * a), a


def corrcoef(x: ArrayLike, y: Any = None, rowvar: bool = True) -> Any:
    """Correlation coefficients of variables in rows (`numpy.corrcoef`).

    >>> import gpugrad as gg
    >>> gg.corrcoef([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    scale = elementwise.sqrt(complex_numbers.real(manipulation.diagonal(c)))
    return c / (shape.expand_dims(scale, 1) * scale)


def _along(a: Any, axis: int, part: slice) -> Any:
    return indexing.getitem(a, cut(a.ndim, axis, part))


def _column(v: Any, axis: int, ndim: int) -> Any:
    """A vector laid along one axis of `ndim`."""
    along = axis_of(axis, ndim)
    return shape.reshape(v, tuple(v.shape[0] if i == along else 1 for i in range(ndim)))


def trapezoid(y: ArrayLike, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Integral by the trapezoid rule (`numpy.trapezoid`).

    >>> import gpugrad as gg
    >>> gg.trapezoid([1.0, 2.0, 3.0])
    tensor(4.)
    """
    y = as_tensor(y)
    step: Any = dx
    if x is not None:
        _, x = as_tensors(y, x)
        step = _column(manipulation.diff(x), axis, y.ndim) if x.ndim == 1 else manipulation.diff(x, axis=axis)
    pairs = _along(y, axis, slice(1, None)) + _along(y, axis, slice(None, -1))
    return reduction.sum(pairs * step * 0.5, axis)


def gradient(f: ArrayLike, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Differences of second order along axes, one-sided at the ends (`numpy.gradient`); a tuple if over several axes.

    Parameters
    ----------
    f : array
    *varargs : numbers or vectors
        The distance of neighbours, or the places of the elements, differentiable too: none (1), one for all axes, or one
        for each.
    axis : int or tuple of int, optional
        All axes, if None.
    edge_order : 1 or 2
        Of the differences at the ends.

    >>> import gpugrad as gg
    >>> gg.gradient([1.0, 4.0, 9.0])
    tensor([3., 4., 5.])
    """
    f = as_tensor(f)
    axes = axes_of(axis, f.ndim)
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(steps) != len(axes):
        raise ValueError(f"gradient: {len(steps)} spacings for {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    parts = []
    for along, step in zip(axes, steps, strict=True):
        n = f.shape[along]
        if n <= edge_order:
            raise ValueError(f"gradient: axis {along} must have at least {edge_order + 1} elements, has {n}")
        _, places = as_tensors(f, step)
        if places.ndim > 1 or (places.ndim == 1 and places.shape[0] != n):
            raise ValueError(f"gradient: {places.shape[0]} places for {n} elements of axis {along}")
        parts.append(_differences(f, manipulation.diff(places) if places.ndim else places, along, edge_order))
    return parts[0] if len(parts) == 1 else tuple(parts)


def _differences(f: Any, widths: Any, axis: int, edge_order: int) -> Any:
    """The gradient along one axis: by one width, or by those between neighbours."""

    def at(start: int, stop: int | None) -> Any:
        return _along(f, axis, slice(start, stop))

    def widths_at(start: int, stop: int | None) -> Any:
        return _column(indexing.getitem(widths, slice(start, stop)), axis, f.ndim) if widths.ndim else widths

    n = f.shape[axis]
    if widths.ndim:
        before, after = widths_at(0, -1), widths_at(1, None)
        inner = (
            at(2, None) * before / (after * (before + after))
            + at(1, -1) * (after - before) / (before * after)
            - at(0, -2) * after / (before * (before + after))
        )
    else:
        inner = (at(2, None) - at(0, -2)) / (2 * widths)
    if edge_order == 1:
        first, last = (at(1, 2) - at(0, 1)) / widths_at(0, 1), (at(n - 1, n) - at(n - 2, n - 1)) / widths_at(-1, None)
    else:
        first = _end(at(0, 1), at(1, 2), at(2, 3), widths_at(0, 1), widths_at(1, 2))
        last = -_end(at(n - 1, n), at(n - 2, n - 1), at(n - 3, n - 2), widths_at(-1, None), widths_at(-2, -1))
    return shape.concatenate([first, inner, last], axis)


def _end(f0: Any, f1: Any, f2: Any, near: Any, far: Any) -> Any:
    """The slope at the first of three elements, of the parabola through them."""
    both = near + far
    return f1 * both / (near * far) - f0 * (near + both) / (near * both) - f2 * near / (far * both)


def interp(x: ArrayLike, xp: Any, fp: ArrayLike, left: Any = None, right: Any = None, period: float | None = None) -> Any:
    """Piecewise linear interpolation, differentiable by `x`, `xp` and `fp` (`numpy.interp`); of angles, with a `period`.

    >>> import gpugrad as gg
    >>> gg.interp(1.5, [1.0, 2.0], [10.0, 20.0])
    tensor(15.)
    """
    x, values, knots = as_tensors(x, fp, xp)
    if period is not None:
        x, knots, values = _unrolled(x, knots, values, builtins.abs(period))
        left = right = None
    found = elementwise.subtract(sorting.searchsorted(raw(knots), raw(x), "right"), 1)
    cell = raw(elementwise.clip(found, 0, max(knots.shape[0] - 2, 0)))
    ahead = raw(elementwise.clip(elementwise.add(cell, 1), None, knots.shape[0] - 1))
    k0, k1 = indexing.getitem(knots, cell), indexing.getitem(knots, ahead)
    f0, f1 = indexing.getitem(values, cell), indexing.getitem(values, ahead)
    inside = elementwise.clip(x, raw(knots)[0], raw(knots)[-1])
    share = (inside - k0) / elementwise.where(k1 == k0, 1.0, k1 - k0)
    before, after = x < knots[0], x > knots[-1]  # there the knots do not matter
    out = f0 + elementwise.where(before, 0.0, elementwise.where(after, 1.0, share)) * (f1 - f0)
    for beyond, value in ((before, left), (after, right)):
        out = out if value is None else elementwise.where(beyond, value, out)
    return out


def _unrolled(x: Any, knots: Any, values: Any, period: float) -> tuple[Any, Any, Any]:
    """Places within one period, and knots over a little more than that."""
    if not period or knots.ndim != 1 or knots.shape != values.shape:
        raise ValueError("interp: with a period, which must not be 0, xp and fp are vectors of one length")
    knots = elementwise.remainder(knots, period)
    order = raw(sorting.argsort(knots))
    knots, values = indexing.getitem(knots, order), indexing.getitem(values, order)
    last, first = slice(-1, None), slice(0, 1)
    knots = shape.concatenate([indexing.getitem(knots, last) - period, knots, indexing.getitem(knots, first) + period])
    values = shape.concatenate([indexing.getitem(values, last), values, indexing.getitem(values, first)])
    return elementwise.remainder(x, period), knots, values


def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Any:
    """Discrete convolution of two vectors (`numpy.convolve`), as a product with a matrix of windows.

    >>> import gpugrad as gg
    >>> gg.convolve([1.0, 2.0], [1.0, 1.0])
    tensor([1., 3., 2.])
    """
    a, v = as_tensors(a, v)
    if a.ndim != 1 or v.ndim != 1 or a.size == 0 or v.size == 0:
        raise ValueError(f"convolve: two vectors that are not empty are needed, got shapes {a.shape} and {v.shape}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"convolve: mode must be 'full', 'same' or 'valid', got {mode!r}")
    if v.size > a.size:
        a, v = v, a
    n, m = a.size, v.size
    padded = padding.pad(a, m - 1)
    windows = backend.beside(numpy.arange(n + m - 1)[:, None] + numpy.arange(m), padded._array)
    full = linalg.matmul(indexing.getitem(padded, windows), indexing.getitem(v, slice(None, None, -1)))
    if mode == "full":
        return full
    if mode == "valid":
        return indexing.getitem(full, slice(m - 1, n))
    return indexing.getitem(full, slice((m - 1) // 2, (m - 1) // 2 + n))


def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Any:
    """Cross-correlation of two vectors (`numpy.correlate`).

    >>> import gpugrad as gg
    >>> gg.correlate([1.0, 2.0, 3.0], [0.0, 1.0])
    tensor([2., 3.])
    """
    a, v = as_tensors(a, v)
    if v.size > a.size:  # NumPy slides the shorter one, and turns the outcome round
        return complex_numbers.conjugate(manipulation.flip(correlate(v, a, mode)))
    return convolve(a, complex_numbers.conjugate(manipulation.flip(v)), mode)


__all__ = [
    "average",
    "convolve",
    "corrcoef",
    "correlate",
    "cov",
    "gradient",
    "interp",
    "mean_where",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "ptp",
    "std_where",
    "trapezoid",
    "var_where",
]
