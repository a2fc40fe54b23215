"""Functions that the array API standard and NumPy have under names of their own, composed of other ops."""

from __future__ import annotations

import builtins
from typing import Any

import numpy
from numpy.typing import DTypeLike

from .. import backend, half
from ..op import ArrayLike, as_tensor, as_tensors, raw
from . import comparison, complex_numbers, elementwise, floating, indexing, manipulation, reduction, scan, shape, sorting
from .axes import Axis, axes_of, axis_of, cut
from .placing import beside_arguments


@beside_arguments
def _cumulative(name: str, scanned: Any, start: int, x: Any, axis: int | None, dtype: DTypeLike | None, with_start: bool) -> Any:
    x = as_tensor(x)
    if axis is None:
        x = shape.reshape(x, -1) if x.ndim == 0 else x
        if x.ndim != 1:
            raise ValueError(f"{name}: axis is needed for an array with {x.ndim} axes")
        axis = 0
    x = x if dtype is None else x.astype(dtype)
    out = scanned(x, axis)
    out = out if dtype is None else out.astype(dtype)
    if not with_start:
        return out
    first = tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape))
    array = raw(out)
    return shape.concatenate([backend.namespace_of(array).full(first, start, array.dtype), out], axis)


def cumulative_sum(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False) -> Any:
    """Running sums along an axis, after a 0 if `include_initial` (`numpy.cumulative_sum`).

    >>> import gpugrad as gg
    >>> gg.cumulative_sum([1.0, 2.0, 3.0], include_initial=True)
    tensor([0., 1., 3., 6.])
    """
    return _cumulative("cumulative_sum", scan.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False) -> Any:
    """Running products along an axis, after a 1 if `include_initial` (`numpy.cumulative_prod`).

    >>> import gpugrad as gg
    >>> gg.cumulative_prod([1.0, 2.0, 3.0])
    tensor([1., 2., 6.])
    """
    return _cumulative("cumulative_prod", scan.cumprod, 1, x, axis, dtype, include_initial)


# --- predicates ---------------------------------------------------------------------------------------------------


def isposinf(x: ArrayLike) -> Any:
    """Whether plus infinity, elementwise (`numpy.isposinf`).

    >>> import gpugrad as gg
    >>> gg.isposinf([float("inf"), 1.0])
    tensor([ True, False])
    """
    return comparison.equal(x, numpy.inf)


def isneginf(x: ArrayLike) -> Any:
    """Whether minus infinity, elementwise (`numpy.isneginf`).

    >>> import gpugrad as gg
    >>> gg.isneginf([float("inf"), -float("inf")])
    tensor([False,  True])
    """
    return comparison.equal(x, -numpy.inf)


def iscomplex(x: ArrayLike) -> Any:
    """Whether the imaginary part is not zero, elementwise (`numpy.iscomplex`).

    >>> import gpugrad as gg
    >>> gg.iscomplex([1 + 1j, 1])
    tensor([ True, False])
    """
    return comparison.not_equal(complex_numbers.imag(x), 0)


def isreal(x: ArrayLike) -> Any:
    """Whether the imaginary part is zero, elementwise (`numpy.isreal`).

    >>> import gpugrad as gg
    >>> gg.isreal([1 + 1j, 1])
    tensor([False,  True])
    """
    return comparison.equal(complex_numbers.imag(x), 0)


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Any:
    """Whether equal after broadcasting (`numpy.array_equiv`).

    >>> import gpugrad as gg
    >>> bool(gg.array_equiv([1.0, 1.0], 1.0))
    True
    """
    try:
        return reduction.all(comparison.equal(a1, a2))
    except ValueError:
        return as_tensor(numpy.array(False))


def nanargmax(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the largest element that is not nan (`numpy.nanargmax`).

    >>> import gpugrad as gg
    >>> gg.nanargmax([1.0, float("nan"), 3.0])
    tensor(2)
    """
    return reduction.argmax(_without_nan(a, -numpy.inf, axis), axis, keepdims)


def nanargmin(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the smallest element that is not nan (`numpy.nanargmin`).

    >>> import gpugrad as gg
    >>> gg.nanargmin([3.0, float("nan"), 1.0])
    tensor(2)
    """
    return reduction.argmin(_without_nan(a, numpy.inf, axis), axis, keepdims)


@beside_arguments
def _without_nan(a: Any, filler: float, axis: int | None) -> Any:
    x = as_tensor(a)
    missing = comparison.isnan(x)
    if bool(raw(reduction.all(missing, axis)).any()):
        raise ValueError("nanargmax and nanargmin: all elements along the axis are nan")
    return elementwise.where(missing, filler, x)


# --- quotients with remainders ------------------------------------------------------------------------------------


def divmod(x: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
    """``(x // y, x % y)``, elementwise (`numpy.divmod`).

    >>> import gpugrad as gg
    >>> gg.divmod([7.0], 2.0)
    (tensor([3.]), tensor([1.]))
    """
    return elementwise.floor_divide(x, y), elementwise.remainder(x, y)


def modf(x: ArrayLike) -> tuple[Any, Any]:
    """Fractional and integral part, both with the sign of `x`, elementwise (`numpy.modf`).

    >>> import gpugrad as gg
    >>> gg.modf([2.5, -1.5])
    (tensor([ 0.5, -0.5]), tensor([ 2., -1.]))
    """
    whole = floating.trunc(x)
    rest = elementwise.where(
        comparison.isinf(x), 0.0, elementwise.subtract(x, elementwise.where(comparison.isinf(x), 0.0, whole))
    )
    return floating.copysign(rest, x), whole


# --- shapes -------------------------------------------------------------------------------------------------------


def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Any:
    """An axis moved to stand before another (`numpy.rollaxis`); see `moveaxis`.

    >>> import gpugrad as gg
    >>> gg.rollaxis(gg.zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    x = as_tensor(a)
    if not (-x.ndim <= axis < x.ndim and -x.ndim <= start <= x.ndim):
        raise IndexError(f"rollaxis: axis {axis} and start {start} of an array with {x.ndim} axes")
    source, before = axis % x.ndim, start + x.ndim if start < 0 else start
    return shape.moveaxis(x, source, before - 1 if source < before else before)


def _depth(arrays: Any) -> int:
    return 1 + builtins.max(map(_depth, arrays)) if isinstance(arrays, list) else 0


def block(arrays: Any) -> Any:
    """Nested lists of blocks joined: the innermost along the last axis (`numpy.block`).

    >>> import gpugrad as gg
    >>> gg.block([[gg.ones((1, 2)), gg.zeros((1, 1))]])
    tensor([[1., 1., 0.]])
    """
    depth = _depth(arrays)

    def leaves(value: Any) -> list[Any]:
        return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]

    ndim = builtins.max([depth, *[as_tensor(leaf).ndim for leaf in leaves(arrays)]])

    def joined(value: Any, level: int) -> Any:
        if isinstance(value, list):
            if not value:
                raise ValueError("block: lists must not be empty")
            return shape.concatenate([joined(part, level + 1) for part in value], level - depth)
        if level != depth:
            raise ValueError(f"block: all blocks must be nested {depth} deep, got one at depth {level}")
        tensor = as_tensor(value)
        return shape.reshape(tensor, (1,) * (ndim - tensor.ndim) + tensor.shape)

    return joined(arrays, 0)


def ediff1d(ary: ArrayLike, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours of the flattened array, with more before and after (`numpy.ediff1d`).

    >>> import gpugrad as gg
    >>> gg.ediff1d([1.0, 4.0, 9.0], to_end=0.0)
    tensor([3., 5., 0.])
    """
    parts = [to_begin, manipulation.diff(shape.reshape(as_tensor(ary), -1)), to_end]
    return shape.concatenate([shape.reshape(part, -1) for part in as_tensors(*[p for p in parts if p is not None])])


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Any:
    """With values before one or several places along an axis (`numpy.insert`).

    >>> import gpugrad as gg
    >>> gg.insert([1.0, 3.0], 1, 2.0)
    tensor([1., 2., 3.])
    >>> gg.insert([1.0, 3.0], [0, 2], 2.0)
    tensor([2., 1., 3., 2.])
    """
    x, new = as_tensors(arr, values)
    x, along = (shape.reshape(x, -1), 0) if axis is None else (x, axis_of(axis, x.ndim))
    n = x.shape[along]
    places = numpy.arange(n)[obj] if isinstance(obj, slice) else numpy.asarray(backend.on_host(raw(obj)))
    places = places.astype(int) if not places.size else places.nonzero()[0] if places.dtype == bool else places
    if places.dtype.kind not in "iu" or places.ndim > 1:
        raise TypeError(f"insert: places must be an integer, a slice, or a vector of integers, got {obj!r}")
    if places.size and (places.min() < -n or places.max() > n):
        raise IndexError(f"insert: places {places} are out of bounds for axis {along} with {n} elements")
    new = shape.reshape(new, (*(1,) * (x.ndim - new.ndim), *new.shape))
    new = shape.moveaxis(new, 0, along) if places.ndim == 0 else new
    places = numpy.where(places < 0, places + n, places).reshape(-1)
    count = new.shape[along] if places.size == 1 else places.size
    new = shape.broadcast_to(new, tuple(count if i == along else m for i, m in enumerate(x.shape))).astype(x.dtype)
    places = numpy.broadcast_to(places, count)
    before = numpy.concatenate([numpy.arange(n), places - 0.5])  # sorting by it puts each value where it belongs
    order = numpy.argsort(before, kind="stable")
    return indexing.getitem(shape.concatenate([x, new], along), cut(x.ndim, along, order))


def resize(a: ArrayLike, new_shape: Any) -> Any:
    """Another shape, elements repeated or left out as needed (`numpy.resize`).

    >>> import gpugrad as gg
    >>> gg.resize([1.0, 2.0], (3,))
    tensor([1., 2., 1.])
    """
    flat = shape.reshape(as_tensor(a), -1)
    target = (new_shape,) if isinstance(new_shape, int | numpy.integer) else tuple(new_shape)
    count = int(numpy.prod(target, dtype=int))
    if not flat.size:
        raise ValueError("resize: an array without elements cannot be repeated")
    return shape.reshape(indexing.getitem(flat, numpy.arange(count) % flat.size), target)


def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of a vector as columns (`numpy.vander`).

    >>> import gpugrad as gg
    >>> gg.vander([2.0, 3.0], 3)
    tensor([[4., 2., 1.],
            [9., 3., 1.]])
    """
    x = as_tensor(x)
    powers = numpy.arange(x.shape[0] if N is None else N)
    powers = powers if increasing else powers[::-1].copy()
    powers = backend.beside(powers.astype(x.dtype) if half.is_inexact(x.dtype) else powers, raw(x))
    return elementwise.power(shape.expand_dims(x, -1), powers)


@beside_arguments
def trim_zeros(filt: ArrayLike, trim: str = "fb", axis: Axis = None) -> Any:
    """Without its zeros in front (f) and at the back (b), along all axes or some (`numpy.trim_zeros`).

    >>> import gpugrad as gg
    >>> gg.trim_zeros([0.0, 1.0, 0.0, 2.0, 0.0])
    tensor([1., 0., 2.])
    """
    x = as_tensor(filt)
    trim = trim.lower()
    if trim not in ("f", "b", "fb", "bf"):
        raise ValueError(f"trim_zeros: trim must be 'f', 'b' or 'fb', got {trim!r}")
    cuts = [slice(None)] * x.ndim
    axes = axes_of(axis, x.ndim)
    kept = raw(x).nonzero() if x.ndim else ()
    for i in axes:
        if not len(kept[i]):
            cuts[i] = slice(0, 0)
        else:
            cuts[i] = slice(int(kept[i].min()) if "f" in trim else None, int(kept[i].max()) + 1 if "b" in trim else None)
    return indexing.getitem(x, tuple(cuts))


@beside_arguments
def ix_(*args: ArrayLike) -> tuple[Any, ...]:
    """Indices of all combinations, one array along each axis (`numpy.ix_`).

    >>> import gpugrad as gg
    >>> [i.shape for i in gg.ix_([0, 1], [True, False, True])]
    [(2, 1), (1, 2)]
    """
    out = []
    for k, arg in enumerate(args):
        x = as_tensor(arg)
        x = as_tensor(raw(x).nonzero()[0]) if x.dtype == bool else x
        if x.ndim != 1:
            raise ValueError(f"ix_: vectors are needed, got shape {x.shape}")
        out.append(shape.reshape(x, (1,) * k + x.shape + (1,) * (len(args) - k - 1)))
    return tuple(out)


@beside_arguments
def unwrap(p: ArrayLike, discont: float | None = None, axis: int = -1, *, period: float = 2 * numpy.pi) -> Any:
    """Phases with jumps of more than half a period taken out (`numpy.unwrap`).

    >>> import gpugrad as gg
    >>> gg.unwrap([0.0, 6.0], period=6.0)
    tensor([0., 0.])
    """
    x = as_tensor(p)
    array = raw(x)
    smooth = backend.namespace_of(array).unwrap(array, discont, axis, period=period)
    return elementwise.add(x, smooth - array)


@beside_arguments
def frexp(x: ArrayLike) -> tuple[Any, Any]:
    """Mantissa, in [0.5, 1), and exponent of two, elementwise (`numpy.frexp`); by the mantissa differentiable.

    >>> import gpugrad as gg
    >>> gg.frexp([3.0])
    (tensor([0.75]), tensor([2], dtype=int32))
    """
    x = as_tensor(x)
    array = raw(x)
    exponent = backend.namespace_of(array).frexp(array)[1]
    return floating.ldexp(x, -exponent), as_tensor(exponent)


def apply_along_axis(func1d: Any, axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Any:
    """A function of vectors, along an axis (`numpy.apply_along_axis`): one call for each vector.

    >>> import gpugrad as gg
    >>> gg.apply_along_axis(gg.sum, 0, gg.ones((2, 3)))
    tensor([2., 2., 2.])
    """
    x = as_tensor(arr)
    (axis,) = axes_of(axis, x.ndim)
    x = shape.moveaxis(x, axis, -1)
    lead = x.shape[:-1]
    parts = [as_tensor(func1d(indexing.getitem(x, place), *args, **kwargs)) for place in numpy.ndindex(*lead)]
    if not parts:
        raise ValueError("apply_along_axis: there is no vector to call it with")
    out = shape.reshape(shape.stack(parts), lead + parts[0].shape)
    new = tuple(range(len(lead), out.ndim))
    return shape.moveaxis(out, new, tuple(range(axis, axis + len(new)))) if new else out


def apply_over_axes(func: Any, a: ArrayLike, axes: Any) -> Any:
    """A reduction over one axis after the other, all of them kept (`numpy.apply_over_axes`).

    >>> import gpugrad as gg
    >>> gg.apply_over_axes(gg.sum, gg.ones((2, 3)), [0, 1])
    tensor([[6.]])
    """
    x = as_tensor(a)
    for axis in axes_of(tuple(numpy.atleast_1d(axes).tolist()), x.ndim):
        out = as_tensor(func(x, axis))
        x = out if out.ndim == x.ndim else shape.expand_dims(out, axis)
    return x


def piecewise(x: ArrayLike, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """A function for each condition, called on the elements for which it holds (`numpy.piecewise`).

    >>> import gpugrad as gg
    >>> x = gg.tensor([-1.0, 4.0])
    >>> gg.piecewise(x, [x > 0], [gg.sqrt, 0.0])
    tensor([0., 2.])
    """
    x = as_tensor(x)
    conditions = condlist if isinstance(condlist, list | tuple) and numpy.ndim(raw(condlist[0])) == x.ndim else [condlist]
    places = [shape.broadcast_to(as_tensor(c).astype(bool), x.shape) for c in conditions]
    if len(funclist) == len(places) + 1:
        places.append(comparison.logical_not(reduction.any(shape.stack(places), 0)))
    if len(funclist) != len(places):
        raise ValueError(f"piecewise: {len(places)} conditions need as many functions, or one more, got {len(funclist)}")
    out: Any = elementwise.where(False, x, numpy.zeros((), x.dtype))
    for place, function in zip(places, funclist, strict=True):
        where = raw(place)
        value = function(indexing.getitem(x, where), *args, **kw) if callable(function) else function
        out = indexing.index_set(out, as_tensors(x, value)[1].astype(x.dtype), where)
    return out


def sort_complex(a: ArrayLike) -> Any:
    """Sorted by real, then imaginary part, as complex numbers (`numpy.sort_complex`).

    >>> import gpugrad as gg
    >>> gg.sort_complex([2.0, 1.0]).dtype
    dtype('complex128')
    """
    x = sorting.sort(a)
    return x if x.dtype.kind == "c" else x.astype("complex64" if x.dtype.char in "bhBH" else "complex128")


def polyval(p: ArrayLike, x: ArrayLike) -> Any:
    """A polynomial with coefficients from the highest power down, by Horner's rule (`numpy.polyval`).

    >>> import gpugrad as gg
    >>> gg.polyval([3.0, 0.0, 1.0], [2.0])
    tensor([13.])
    """
    p, x = as_tensors(p, x)
    out: Any = elementwise.multiply(x, 0)
    for i in range(p.shape[0]):
        out = elementwise.add(elementwise.multiply(out, x), indexing.getitem(p, i))
    return out


__all__ = [
    "apply_along_axis",
    "apply_over_axes",
    "array_equiv",
    "block",
    "cumulative_prod",
    "cumulative_sum",
    "divmod",
    "ediff1d",
    "frexp",
    "insert",
    "iscomplex",
    "isneginf",
    "isposinf",
    "isreal",
    "ix_",
    "modf",
    "nanargmax",
    "nanargmin",
    "piecewise",
    "polyval",
    "resize",
    "rollaxis",
    "sort_complex",
    "trim_zeros",
    "unwrap",
    "vander",
]
