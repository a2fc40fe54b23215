"""Order: sorting, selection, quantiles. Gradients go to the elements that were picked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from .. import backend, half
from ..errors import DTypeError, format_site, user_site
from ..op import ArrayLike, as_tensor, primitive, raw
from . import comparison, elementwise, floating, indexing, reduction, shape
from .axes import Axis, axes_of, axis_of, cut, kept_shape
from .samples import array, calls, distinct
from .scan import cumsum

_MANY = 1 << 10
"""From so many elements on, it pays to sort without stability and to mend the ties."""


def _keys(xp: Any, x: Any, descending: bool) -> Any:
    x = xp.asarray(x)
    if not descending:
        return x
    return xp.invert(x) if x.dtype.kind in "biu" else xp.negative(x)  # ~n is -1 - n: it does not wrap round at the ends


def _order(xp: Any, keys: Any, axis: int | None) -> Any:
    """The stable order along an axis. NumPy's unstable one takes a fifth of the time: equal keys are then put in order."""
    if xp is not numpy or keys.size < _MANY or keys.dtype.kind not in "iuf" or keys.dtype.itemsize < 4:
        return xp.argsort(keys, axis=axis, kind="stable")
    keys = keys.reshape(-1) if axis is None else numpy.moveaxis(keys, axis, -1)
    order = numpy.argsort(keys, axis=-1)
    ordered = numpy.take_along_axis(keys, order, -1)
    tied = ordered[..., 1:] == ordered[..., :-1]
    if keys.dtype.kind == "f":
        tied |= numpy.isnan(ordered[..., :-1])  # nans come last, and equal each other
    count = numpy.count_nonzero(tied)
    if count > keys.size // 8:
        order = numpy.argsort(keys, axis=-1, kind="stable")
    elif count:
        _mend_ties(order, tied)
    return order if axis is None else numpy.moveaxis(order, -1, axis)


def _mend_ties(order: Any, tied: Any) -> None:
    """Put the indices of each run of equal keys in order; `tied` says which places hold the same key as the next."""
    member, first = numpy.zeros(order.shape, bool), numpy.ones(order.shape, bool)
    member[..., :-1] = tied
    member[..., 1:] |= tied
    first[..., 1:] = ~tied
    where, flat = numpy.flatnonzero(member), order.reshape(-1)
    found, run = flat[where], numpy.cumsum(first.reshape(-1)[where])
    flat[where] = found[numpy.lexsort((found, run))]


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4),), {"axis": 0}), lambda rng: ((distinct(rng, 3, 4),), {"axis": None})))
def argsort(
    xp: Any, x: ArrayLike, axis: int | None = -1, kind: str | None = None, stable: bool | None = None, descending: bool = False
) -> Any:
    """Indices that sort (`numpy.argsort`), nan last, always stable.

    >>> import gpugrad as gg
    >>> gg.argsort([3.0, 1.0, 2.0])
    tensor([1, 2, 0])
    """
    return _order(xp, _keys(xp, x, descending), axis)


@primitive(
    samples=calls(lambda rng: ((distinct(rng, 3, 8), 2, 1, True), {}), lambda rng: ((distinct(rng, 8, 3), 3, 0, False), {}))
)
def top_places(xp: Any, x: ArrayLike, k: int, axis: int, largest: bool) -> Any:
    """Where the `k` largest or smallest elements along an axis are, in order, the first of equals first.

    >>> import gpugrad as gg
    >>> gg.ops.sorting.top_places([3.0, 1.0, 2.0], 2, 0, True)
    tensor([0, 2])
    """
    keys = _keys(xp, x, largest)
    n, found = keys.shape[axis], None
    if xp is numpy and keys.dtype.kind in "iuf" and 0 < k < n // 4:
        found = _few(keys, k, axis)
    return _order(xp, keys, axis)[cut(keys.ndim, axis, slice(0, k))] if found is None else found


def _few(keys: Any, k: int, axis: int) -> Any:
    """The places of the `k` smallest keys, without sorting the others; None where it is open which of equal ones are meant."""
    places = numpy.argpartition(keys, k - 1, axis=axis)[cut(keys.ndim, axis, slice(0, k))]
    places.sort(axis=axis)
    chosen = numpy.take_along_axis(keys, places, axis)
    largest = chosen.max(axis=axis, keepdims=True)
    if numpy.count_nonzero(keys <= largest) != chosen.size:  # others equal a largest one, or there are nans
        return None
    return numpy.take_along_axis(places, numpy.argsort(chosen, axis=axis, kind="stable"), axis)


@primitive(samples=calls(lambda rng: ((numpy.sort(array(rng, 5)), array(rng, 2, 3)), {"side": "right"})))
def searchsorted(xp: Any, a: ArrayLike, v: ArrayLike, side: str = "left") -> Any:
    """Where to insert `v` into the sorted `a` (`numpy.searchsorted`).

    >>> import gpugrad as gg
    >>> gg.searchsorted([1.0, 2.0, 3.0], 2.5)
    tensor(2)
    """
    return xp.searchsorted(xp.asarray(a), xp.asarray(v), side)


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4) > 0,), {})))
def count_nonzero(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements are not zero (`numpy.count_nonzero`).

    >>> import gpugrad as gg
    >>> gg.count_nonzero([0.0, 1.0, 2.0])
    tensor(2)
    """
    return xp.sum(xp.asarray(x) != 0, axis=axis, keepdims=keepdims)


def _flat(x: Any, axis: int | None) -> tuple[Any, int]:
    x = as_tensor(x)
    return (shape.reshape(x, -1), 0) if axis is None else (x, axis)


def sort(a: ArrayLike, axis: int | None = -1, kind: str | None = None, descending: bool = False) -> Any:
    """Sorted along an axis, nan last (`numpy.sort`).

    >>> import gpugrad as gg
    >>> gg.sort([3.0, 1.0, 2.0])
    tensor([1., 2., 3.])
    """
    x, along = _flat(a, axis)
    order = raw(argsort(x, along, descending=descending))
    return indexing.take_along_axis(x, order, along)


class TopK(NamedTuple):
    """What `topk` returns."""

    values: Any
    indices: Any


def topk(x: ArrayLike, k: int, axis: int = -1, largest: bool = True) -> TopK:
    """The `k` largest (or smallest) elements along an axis, in order, and where they are (`torch.topk`).

    >>> import gpugrad as gg
    >>> gg.topk([3.0, 1.0, 2.0], 2)
    TopK(values=tensor([3., 2.]), indices=tensor([0, 2]))
    """
    x = as_tensor(x)
    if not 0 <= k <= x.shape[axis_of(axis, x.ndim)]:
        raise ValueError(f"topk: k must be in 0..{x.shape[axis]}, the length of axis {axis}; got {k}")
    indices = top_places(x, k, axis, largest)
    return TopK(indexing.take_along_axis(x, raw(indices), axis), indices)


def _joined_last(a: Any, axis: Axis) -> tuple[Any, tuple[int, ...]]:
    """The array with the reduced axes joined into a last one; and its shape with those axes as ones."""
    x = as_tensor(a)
    kept = kept_shape(x.shape, axis)
    if axis is None:
        x = shape.reshape(x, -1)
    else:
        axes = axes_of(axis, x.ndim)
        rest = tuple(i for i in range(x.ndim) if i not in axes)
        lengths = [x.shape[i] for i in rest]
        x = shape.reshape(shape.transpose(x, (*rest, *axes)), (*lengths, int(numpy.prod([x.shape[i] for i in axes]))))
    if x.dtype.kind == "c":
        raise DTypeError(
            f"quantile: complex numbers have no order: take the real or imaginary part\n  at {format_site(user_site())}"
        )
    if not half.is_floating(x.dtype):
        x = x.astype("float64")
    if x.shape[-1] == 0:
        raise ValueError("quantile: there are no elements along the axis")
    return x, kept


def _sorted_last(a: Any, axis: Axis) -> tuple[Any, tuple[int, ...]]:
    """`_joined_last`, sorted along the last axis."""
    x, kept = _joined_last(a, axis)
    return sort(x), kept


_STRAIGHT = {
    "linear": (-1.0, 0.0),
    "interpolated_inverted_cdf": (0.0, -1.0),
    "hazen": (0.0, -0.5),
    "weibull": (1.0, -1.0),
    "median_unbiased": (1 / 3, -2 / 3),
    "normal_unbiased": (1 / 4, -5 / 8),
}
"""Methods by which the place of quantile q among n sorted elements is ``q * (n + a) + b``."""

_STEPS: dict[str, Any] = {
    "lower": floating.floor,
    "higher": floating.ceil,
    "nearest": floating.rint,
    "midpoint": lambda place: (floating.floor(place) + floating.ceil(place)) / 2,
}
"""Methods by which the place is a rounded one."""


def _averaged(place: Any) -> Any:
    whole = floating.floor(place)
    return elementwise.where(place == whole, place + 0.5, whole + 1)


def _closest(place: Any) -> Any:
    """Rounded, halves to the element with an even number, counted from 1."""
    lower = floating.floor(place - 0.5)
    tie = comparison.logical_and(lower == place - 0.5, elementwise.remainder(lower, 2) == 1)
    return elementwise.where(tie, lower, lower + 1)


_COUNTED: dict[str, Any] = {
    "inverted_cdf": floating.ceil,
    "averaged_inverted_cdf": _averaged,
    "closest_observation": _closest,
}
"""Methods by which the place is ``q * n - 1``, rounded."""

_METHODS = {**_STRAIGHT, **_STEPS, **_COUNTED}


def _check_method(name: str, method: str) -> None:
    if method not in _METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(_METHODS)}, got {method!r}")


def _place(q: Any, n: Any, method: str) -> Any:
    """Where among n sorted elements quantile `q`, a Tensor, lies: on the tape if `q` is."""
    last = elementwise.maximum(n - 1, 0)
    if method not in _STRAIGHT and getattr(q, "requires_grad", False):
        raise DTypeError(f"quantile: by method {method!r} there is no gradient by q\n  at {format_site(user_site())}")
    if method in _STEPS:
        return _STEPS[method](q * last)
    if method in _COUNTED:
        place = _COUNTED[method](q * n - 1)
    else:
        a, b = _STRAIGHT[method]
        place = q * (n + a) + b
    return elementwise.minimum(elementwise.maximum(place, 0.0), last)


def _weighted(name: str, a: Any, q: Any, axis: Axis, method: str, keepdims: bool, weights: Any, skip_nan: bool) -> Any:
    """Quantiles of elements that count as much as their weights say; these, and `q`, have no gradient."""
    if method != "inverted_cdf":
        raise ValueError(f"{name}: weights go with method='inverted_cdf' only, as in NumPy, not {method!r}")
    x, w = as_tensor(a), as_tensor(weights)
    for what, given in (("the weights", w), ("q", q)):
        if getattr(given, "requires_grad", False):
            raise DTypeError(
                f"{name}: by method {method!r} there is no gradient by {what}: use detach()\n  at {format_site(user_site())}"
            )
    if w.shape != x.shape:
        if not isinstance(axis, int) or w.ndim != 1 or w.shape[0] != x.shape[axis_of(axis, x.ndim)]:
            raise ValueError(f"{name}: weights of shape {w.shape} fit neither the array {x.shape} nor its axis {axis}")
        w = shape.reshape(w, tuple(-1 if i == axis_of(axis, x.ndim) else 1 for i in range(x.ndim)))
        w = shape.broadcast_to(w, x.shape)
    x, kept = _joined_last(x, axis)
    w = _joined_last(w, axis)[0].astype("float64")
    missing = comparison.isnan(x)
    w = elementwise.where(missing, 0.0, w) if skip_nan else w
    order = raw(argsort(x))
    x, w = indexing.take_along_axis(x, order, -1), indexing.take_along_axis(w, order, -1)
    whole = reduction.sum(w, -1, True)
    if bool((w < 0).any()) or not bool((whole + (whole == 0) * skip_nan > 0).all()):
        raise ValueError(f"{name}: weights must be at least 0, and not all of them 0")
    parts = as_tensor(q if hasattr(q, "dtype") else numpy.asarray(q, numpy.float64)).detach().to(x.device)
    if parts.size and not (parts.min() >= 0 and parts.max() <= 1):
        raise ValueError(f"{name}: q must be in [0, 1]")
    share = cumsum(w, -1) / elementwise.where(whole == 0, 1.0, whole)
    share = shape.expand_dims(elementwise.where(share == 0, -1.0, share), -2)
    found = reduction.sum(shape.cast(comparison.less(share, shape.reshape(parts, (-1, 1))), "int64"), -1)
    out = indexing.take_along_axis(x, raw(elementwise.minimum(found, x.shape[-1] - 1)), -1)
    lost = reduction.all(missing, -1, True) if skip_nan else reduction.any(missing, -1, True)
    out = shape.moveaxis(elementwise.where(lost, numpy.nan, out), -1, 0)
    return shape.reshape(out, parts.shape + (kept if keepdims else out.shape[1:]))


def quantile(a: ArrayLike, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False, weights: Any = None) -> Any:
    """Quantiles over axes (`numpy.quantile`); differentiable by `a`, and by `q` where the method is not one of rounding.

    With nan among the elements, nan. With weights, by method "inverted_cdf" only.

    >>> import gpugrad as gg
    >>> gg.quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    tensor(2.5)
    """
    _check_method("quantile", method)
    if weights is not None:
        return _weighted("quantile", a, q, axis, method, keepdims, weights, False)
    x, kept = _sorted_last(a, axis)
    parts = as_tensor(q if hasattr(q, "dtype") else numpy.asarray(q, numpy.float64)).to(x.device)
    if parts.size and not (parts.detach().min() >= 0 and parts.detach().max() <= 1):
        raise ValueError("quantile: q must be in [0, 1]")
    n = x.shape[-1]
    place = _place(parts, n, method)
    below = raw(shape.cast(elementwise.clip(floating.floor(raw(place)), 0, n - 1), "int64"))
    above = raw(elementwise.minimum(elementwise.add(below, 1), n - 1))
    share = (place - below).astype(x.dtype)
    lower, upper = indexing.getitem(x, (Ellipsis, below)), indexing.getitem(x, (Ellipsis, above))
    unused = comparison.logical_and(comparison.equal(share, 0), comparison.isinf(upper))  # infinity times 0 would be nan
    upper = elementwise.where(unused, 0.0, upper)
    out = elementwise.add(elementwise.multiply(lower, 1 - share), elementwise.multiply(upper, share))
    last = indexing.getitem(x, (Ellipsis, slice(n - 1, n)))
    last = shape.reshape(last, (*last.shape[:-1], *(1,) * parts.ndim))
    out = elementwise.where(comparison.isnan(last), last, out)
    lead = out.ndim - parts.ndim
    out = shape.moveaxis(out, tuple(range(lead, out.ndim)), tuple(range(parts.ndim)))
    return shape.reshape(out, (*parts.shape, *kept)) if keepdims else out


def percentile(
    a: ArrayLike, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False, weights: Any = None
) -> Any:
    """`quantile` in per cent (`numpy.percentile`).

    >>> import gpugrad as gg
    >>> gg.percentile([1.0, 2.0, 3.0], 50)
    tensor(2.)
    """
    q = q if hasattr(q, "dtype") else numpy.asarray(q, numpy.float64)
    return quantile(a, elementwise.divide(q, 100), axis, method, keepdims, weights)


def median(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Median over axes: of an even number, the mean of the middle two (`numpy.median`).

    >>> import gpugrad as gg
    >>> gg.median([3.0, 1.0, 2.0, 10.0])
    tensor(2.5)
    """
    return quantile(a, 0.5, axis, "midpoint", keepdims)


def nanmedian(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Median over axes of the numbers that are not nan (`numpy.nanmedian`).

    >>> import gpugrad as gg
    >>> gg.nanmedian([3.0, float("nan"), 1.0])
    tensor(2.)
    """
    x, kept = _sorted_last(a, axis)
    count = raw(reduction.sum(comparison.logical_not(comparison.isnan(x)), axis=-1, keepdims=True))
    with backend.on_device_of(count):
        low, high = (count - 1).clip(0, None) // 2, (count // 2).clip(None, x.shape[-1] - 1)
    pair = [indexing.take_along_axis(x, index, -1) for index in (low, high)]
    out = elementwise.multiply(elementwise.add(*pair), 0.5)
    return shape.reshape(out, kept if keepdims else out.shape[:-1])


def nanquantile(
    a: ArrayLike, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False, weights: Any = None
) -> Any:
    """Quantiles over axes of the numbers that are not nan (`numpy.nanquantile`); of none, nan.

    >>> import gpugrad as gg
    >>> gg.nanquantile([1.0, float("nan"), 3.0], 0.25)
    tensor(1.5)
    """
    _check_method("nanquantile", method)
    if weights is not None:
        return _weighted("nanquantile", a, q, axis, method, keepdims, weights, True)
    x, kept = _sorted_last(a, axis)
    parts = as_tensor(q if hasattr(q, "dtype") else numpy.asarray(q, numpy.float64)).to(x.device)
    if parts.size and not (parts.detach().min() >= 0 and parts.detach().max() <= 1):
        raise ValueError("nanquantile: q must be in [0, 1]")
    count = reduction.sum(comparison.logical_not(comparison.isnan(x)), axis=-1, keepdims=True).detach()
    last = elementwise.maximum(count - 1, 0)
    place = _place(shape.reshape(parts, (-1,)), count, method)
    below = shape.cast(floating.floor(raw(place)), "int64")
    pair = [indexing.take_along_axis(x, raw(index), -1) for index in (below, elementwise.minimum(below + 1, last))]
    share, step = (place - below).astype(x.dtype), pair[1] - pair[0]
    unused = comparison.logical_and(comparison.equal(share, 0), comparison.logical_not(comparison.isfinite(step)))
    out = pair[0] + elementwise.where(unused, 0.0, step) * share  # infinity times 0 would be nan
    out = shape.moveaxis(out, -1, 0)
    return shape.reshape(out, parts.shape + (kept if keepdims else out.shape[1:]))


def nanpercentile(
    a: ArrayLike, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False, weights: Any = None
) -> Any:
    """`nanquantile` in per cent (`numpy.nanpercentile`).

    >>> import gpugrad as gg
    >>> gg.nanpercentile([1.0, float("nan"), 3.0], 50)
    tensor(2.)
    """
    q = q if hasattr(q, "dtype") else numpy.asarray(q, numpy.float64)
    return nanquantile(a, elementwise.divide(q, 100), axis, method, keepdims, weights)


# --- sets: values and indices without gradients -------------------------------------------------------------------


def nonzero(a: ArrayLike) -> tuple[Any, ...]:
    """Indices of the elements that are not zero, one array per axis (`numpy.nonzero`).

    >>> import gpugrad as gg
    >>> gg.nonzero([0.0, 2.0, 3.0])
    (tensor([1, 2]),)
    """
    array = as_tensor(a)._array
    with backend.on_device_of(array):
        return tuple(as_tensor(index) for index in array.nonzero())


def flatnonzero(a: ArrayLike) -> Any:
    """Indices into the flattened array of the elements that are not zero (`numpy.flatnonzero`).

    >>> import gpugrad as gg
    >>> gg.flatnonzero([[0.0, 2.0], [3.0, 0.0]])
    tensor([1, 2])
    """
    return nonzero(shape.reshape(as_tensor(a), -1))[0]


def argwhere(a: ArrayLike) -> Any:
    """Indices of the elements that are not zero, one row each (`numpy.argwhere`).

    >>> import gpugrad as gg
    >>> gg.argwhere([[0.0, 2.0], [3.0, 0.0]])
    tensor([[0, 1],
            [1, 0]])
    """
    return shape.stack(nonzero(a), axis=1)


def partition(a: ArrayLike, kth: int | Sequence[int], axis: int | None = -1) -> Any:
    """With the element that sorting would put there at place `kth`, smaller ones before it: sorted (`numpy.partition`).

    >>> import gpugrad as gg
    >>> gg.partition([3.0, 1.0, 2.0], 1)
    tensor([1., 2., 3.])
    """
    return sort(a, axis)


__all__ = [
    "TopK",
    "argsort",
    "argwhere",
    "count_nonzero",
    "flatnonzero",
    "median",
    "nanmedian",
    "nonzero",
    "partition",
    "percentile",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
]
