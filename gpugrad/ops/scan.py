"""Running sums, products and extrema along an axis, and the product over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from ..backend import namespace_of, on_device_of
from ..errors import DTypeError, describe
from ..op import ArrayLike, fused, linear, primitive, raw
from .axes import Axis, axes_of, axis_of, cut, kept_shape
from .samples import array, calls, distinct


def _backwards(F: Any, x: Any, axis: int) -> Any:
    return F.getitem(x, cut(x.ndim, axis, slice(None, None, -1)))


def _line(F: Any, x: Any, axis: int | None) -> tuple[Any, int]:
    """The array and the axis to scan along: flattened where `axis` is None."""
    return (F.reshape(x, -1), 0) if axis is None else (x, axis_of(axis, x.ndim))


def _cumsum_transpose(F: Any, t: Any, x_shape: tuple[int, ...], axis: int | None) -> Any:
    along = 0 if axis is None else axis
    return F.reshape(_backwards(F, F.cumsum(_backwards(F, t, along), along), along), x_shape)


_ALONG = calls(
    lambda rng: ((array(rng, 3, 4),), {"axis": 1}),
    lambda rng: ((array(rng, 3, 4),), {"axis": -2}),
    lambda rng: ((array(rng, 2, 3),), {}),
    lambda rng: ((array(rng, 1),), {"axis": 0}),
)


@linear(transpose=_cumsum_transpose, samples=_ALONG)
def cumsum(xp: Any, x: ArrayLike, axis: int | None = None) -> Any:
    """Running sums along an axis, of the flattened array if `axis` is None (`numpy.cumsum`).

    >>> import gpugrad as gg
    >>> gg.cumsum([1.0, 2.0, 3.0])
    tensor([1., 3., 6.])
    """
    return xp.cumsum(x, axis=axis)


def _scanned(F: Any, combine: Callable[[Any, Any], Any], x: Any, axis: int | None) -> Any:
    """All running results of an associative function, in log2(n) sweeps (Hillis and Steele, 1986)."""
    x, along = _line(F, x, axis)
    shift = 1
    while shift < x.shape[along]:
        head = x[cut(x.ndim, along, slice(0, shift))]
        late = x[cut(x.ndim, along, slice(shift, None))]
        early = x[cut(x.ndim, along, slice(0, -shift))]
        x = F.concatenate([head, combine(early, late)], along)
        shift *= 2
    return x


def _cumprod_forward(xp: Any, x: Any, axis: int | None) -> Any:
    return xp.cumprod(xp.asarray(x), axis=axis), None


def _cumprod_rule(F: Any, t: Any, x: Any, out: Any, axis: int | None) -> Any:
    """``x_k`` gets the sum over ``j >= k`` of ``t_j out_j / x_k``; where zeros forbid the quotient, through the composition."""
    if not F.any(x == 0):
        return _cumsum_transpose(F, t * out, x.shape, axis) / x
    shape, (x, along) = x.shape, _line(F, x, axis)
    t, out = F.reshape(t, x.shape), F.reshape(out, x.shape)
    zeros = F.cumsum(F.astype(x == 0, int), along)  # how many so far
    first = F.logical_and(zeros == 1, x == 0)
    others = F.cumprod(F.where(first, 1.0, x), along)  # beyond the first zero: the products without it
    before = _cumsum_transpose(F, t * out, x.shape, along) / F.where(x == 0, 1.0, x)
    at_first = _cumsum_transpose(F, t * F.where(zeros == 0, 0.0, others), x.shape, along)
    return F.reshape(F.where(zeros == 0, before, F.where(first, at_first, 0.0)), shape)


def _with_zeros(rng: Any) -> Any:
    x = array(rng, 2, 5)
    x[0, 2] = x[1, 1] = x[1, 3] = 0
    return x


@fused(
    forward=_cumprod_forward,
    vjp=(_cumprod_rule,),
    samples=calls(
        lambda rng: ((array(rng, 3, 4, low=0.5),), {"axis": 1}),
        lambda rng: ((array(rng, 2, 3),), {}),
        lambda rng: ((_with_zeros(rng),), {"axis": -1}),
    ),
)
def cumprod(F: Any, x: ArrayLike, axis: int | None = None) -> Any:
    """Running products along an axis, of the flattened array if `axis` is None (`numpy.cumprod`). Zeros are no exception.

    >>> import gpugrad as gg
    >>> gg.cumprod([1.0, 2.0, 3.0])
    tensor([1., 2., 6.])
    """
    return _scanned(F, F.multiply, x, axis)


@fused(samples=_ALONG)
def logcumsumexp(F: Any, x: ArrayLike, axis: int | None = None) -> Any:
    """``log(cumsum(exp(x)))`` without overflow (`torch.logcumsumexp`).

    >>> import gpugrad as gg
    >>> gg.logcumsumexp([1000.0, 1000.0])
    tensor([1000.    , 1000.6932])
    """
    if x.dtype.kind == "c":
        raise DTypeError(f"logcumsumexp: it is defined for real numbers only, got {describe(x)}")
    return _scanned(F, F.logaddexp, x, axis)


_DISTINCT = calls(lambda rng: ((distinct(rng, 3, 5),), {"axis": 1}), lambda rng: ((distinct(rng, 2, 3),), {}))


def _accumulated(xp: Any, ufunc: Any, values: Any, axis: int) -> Any:
    """`ufunc.accumulate` on a raw array; CuPy has it for sums and products only."""
    return ufunc.accumulate(values, axis) if xp is numpy else _scanned(xp, ufunc, values, axis)


def _running(F: Any, larger: str, x: Any, axis: int | None) -> Any:
    """Each element's extremum so far, taken from where it last occurred."""
    x, along = _line(F, x, axis)
    values = raw(x)
    with on_device_of(values):
        places = _last_places(namespace_of(values), larger, values, along)
    return F.take_along_axis(x, places, along)


def _last_places(xp: Any, larger: str, values: Any, along: int) -> Any:
    hit = (values == _accumulated(xp, getattr(xp, larger), values, along)) | (values != values)  # from a nan on, nan
    places = xp.arange(values.shape[along]).reshape([-1 if i == along else 1 for i in range(values.ndim)])
    return _accumulated(xp, xp.maximum, xp.where(hit, places, 0), along)


@fused(samples=_DISTINCT)
def cummax(F: Any, x: ArrayLike, axis: int | None = None) -> Any:
    """Running maxima along an axis (`numpy.maximum.accumulate`). Of ties the last gets the cotangent (`torch.cummax`).

    >>> import gpugrad as gg
    >>> gg.cummax([1.0, 3.0, 2.0])
    tensor([1., 3., 3.])
    """
    return _running(F, "maximum", x, axis)


@fused(samples=_DISTINCT)
def cummin(F: Any, x: ArrayLike, axis: int | None = None) -> Any:
    """Running minima along an axis (`numpy.minimum.accumulate`). Of ties the last gets the cotangent (`torch.cummin`).

    >>> import gpugrad as gg
    >>> gg.cummin([3.0, 1.0, 2.0])
    tensor([3., 1., 1.])
    """
    return _running(F, "minimum", x, axis)


# --- the product over axes ----------------------------------------------------------------------------------------


def _exclusive(F: Any, x: Any) -> Any:
    """Along the last axis, the product of all elements before each."""
    start = F.astype(F.zeros_of(F.getitem(x, (Ellipsis, slice(0, 1)))) + 1.0, x.dtype)
    return F.cumprod(F.concatenate([start, F.getitem(x, (Ellipsis, slice(0, -1)))], -1), -1)


def _prod_rule(F: Any, t: Any, x: Any, out: Any, axis: Axis) -> Any:
    """Each element gets the product of all others: the whole one over it; where that says nothing, of those before and after."""
    axes, kept = axes_of(axis, x.ndim), kept_shape(x.shape, axis)
    if x.size == 0 or not axes:
        return F.broadcast_to(F.reshape(t, kept), x.shape)
    if x.dtype.kind == "f" and F.all((F.abs(out) >= float(numpy.finfo(x.dtype).tiny)) & F.isfinite(out)):
        return F.reshape(t * out, kept) / x
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*rest, *axes)
    moved = F.transpose(x, order)
    flat = F.reshape(moved, (*[x.shape[i] for i in rest], math.prod(x.shape[i] for i in axes)))
    others = _exclusive(F, flat) * _backwards(F, _exclusive(F, _backwards(F, flat, -1)), -1)
    back = tuple(int(i) for i in numpy.argsort(order))
    return F.reshape(t, kept_shape(x.shape, axis)) * F.transpose(F.reshape(others, moved.shape), back)


@primitive(
    vjp=(_prod_rule,),
    samples=calls(
        lambda rng: ((array(rng, 3, 4),), {"axis": 1}),
        lambda rng: ((array(rng, 2, 3, 2),), {"axis": (0, 2), "keepdims": True}),
        lambda rng: ((array(rng, 2, 3),), {}),
        lambda rng: ((_with_zeros(rng),), {"axis": 1}),
        lambda rng: ((array(rng),), {}),
    ),
)
def prod(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Product over axes (`numpy.prod`). The gradient is right with any number of zeros.

    >>> import gpugrad as gg
    >>> gg.prod([2.0, 3.0, 4.0])
    tensor(24.)
    """
    return xp.prod(xp.asarray(x), axis=axis, keepdims=keepdims)


__all__ = ["cummax", "cummin", "cumprod", "cumsum", "logcumsumexp", "prod"]
