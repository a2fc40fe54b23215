"""Shape: reshape, transpose, broadcast, join, cast. All linear: each op's transpose is another op of this file."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy
from numpy.typing import DTypeLike

from .. import backend, half
from ..errors import DTypeError, describe, format_site, user_site
from ..op import ArrayLike, as_tensor, linear, primitive, raw
from .samples import array, calls

Shape: TypeAlias = "int | Sequence[int]"


@linear(
    views=True,
    transpose=lambda F, t, x_shape: F.reshape(t, x_shape),
    samples=calls(
        lambda rng: ((array(rng, 3, 4), (2, -1)), {}),
        lambda rng: ((array(rng, 6), (2, 3)), {}),
        lambda rng: ((array(rng), (1,)), {}),
    ),
)
def reshape(xp: Any, x: ArrayLike, shape: Shape) -> Any:
    """The same elements in C order under another shape; one -1 is worked out (`numpy.reshape`).

    >>> import gpugrad as gg
    >>> gg.reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    tensor([[1., 2.],
            [3., 4.]])
    """
    return xp.reshape(x, shape)


def _transpose_back(F: Any, t: Any, axes: Sequence[int] | None) -> Any:
    return F.transpose(t, None if axes is None else tuple(numpy.argsort([a % len(axes) for a in axes]).tolist()))


@linear(
    views=True,
    transpose=_transpose_back,
    samples=calls(
        lambda rng: ((array(rng, 3, 4),), {}),
        lambda rng: ((array(rng, 2, 3, 4), (2, 0, -2)), {}),
        lambda rng: ((array(rng, 3),), {}),
    ),
)
def transpose(xp: Any, x: ArrayLike, axes: Sequence[int] | None = None) -> Any:
    """Axes in another order, reversed if `axes` is None; a view (`numpy.transpose`).

    >>> import gpugrad as gg
    >>> gg.transpose([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 3.],
            [2., 4.]])
    """
    return xp.transpose(x, axes)


def _read_order(a: Any, order: str) -> str:
    """What an order of NumPy's means for the memory of this array: "C" or "F"."""
    flags = getattr(raw(a), "flags", None)
    fortran = flags is not None and flags.f_contiguous and not flags.c_contiguous
    if order == "A":
        return "F" if fortran else "C"
    if order == "K" and (fortran or flags is None or flags.c_contiguous):
        return "F" if fortran else "C"
    if order not in ("C", "F"):
        raise DTypeError(f"order={order!r} of {describe(a)}: use 'C' or 'F'\n  at {format_site(user_site())}")
    return order


def reshape_in_order(a: ArrayLike, shape: Shape, order: str) -> Any:
    """`numpy.reshape`, in other orders than C too: for F the axes are reversed before and after."""
    tensor = as_tensor(a)
    if order == "K":
        raise DTypeError(f"reshape takes order='C', 'F' or 'A', got 'K'\n  at {format_site(user_site())}")
    if _read_order(tensor, order) == "C":
        return reshape(tensor, shape)
    new = tuple(numpy.atleast_1d(shape).tolist())
    return transpose(reshape(transpose(tensor), new[::-1]))


def ravel(a: ArrayLike, order: str = "C") -> Any:
    """One axis, in C order or another of NumPy's (`numpy.ravel`).

    >>> import gpugrad as gg
    >>> gg.ravel([[1.0], [2.0]])
    tensor([1., 2.])
    """
    if order == "C":
        return reshape(a, -1)
    tensor = as_tensor(a)
    return reshape(tensor if _read_order(tensor, order) == "C" else transpose(tensor), -1)


@linear(
    views=True,
    transpose=lambda F, t, axis1, axis2: F.swapaxes(t, axis1, axis2),
    samples=calls(lambda rng: ((array(rng, 2, 3, 4), 0, -1), {})),
)
def swapaxes(xp: Any, x: ArrayLike, axis1: int, axis2: int) -> Any:
    """Two axes exchanged; a view (`numpy.swapaxes`).

    >>> import gpugrad as gg
    >>> gg.swapaxes(gg.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    return xp.swapaxes(x, axis1, axis2)


@linear(
    views=True,
    transpose=lambda F, t, source, destination: F.moveaxis(t, destination, source),
    samples=calls(lambda rng: ((array(rng, 2, 3, 4), 0, -1), {}), lambda rng: ((array(rng, 2, 3, 4), (0, 1), (2, 0)), {})),
)
def moveaxis(xp: Any, x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Axes moved to other places; a view (`numpy.moveaxis`).

    >>> import gpugrad as gg
    >>> gg.moveaxis(gg.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return xp.moveaxis(x, source, destination)


@linear(
    views=True,
    transpose=lambda F, t, x_shape: F.reshape(t, x_shape),
    samples=calls(lambda rng: ((array(rng, 3, 4), 1), {}), lambda rng: ((array(rng, 3), (0, -1)), {})),
)
def expand_dims(xp: Any, x: ArrayLike, axis: int | tuple[int, ...]) -> Any:
    """New axes of length one; a view (`numpy.expand_dims`).

    >>> import gpugrad as gg
    >>> gg.expand_dims([1.0, 2.0], 1).shape
    (2, 1)
    """
    if axis == -1:
        return x[..., None]  # a tenth of the time
    return xp.expand_dims(x, axis)


@linear(
    views=True,
    transpose=lambda F, t, x_shape: F.reshape(t, x_shape),
    samples=calls(lambda rng: ((array(rng, 1, 3, 1),), {}), lambda rng: ((array(rng, 1, 3, 1),), {"axis": -1})),
)
def squeeze(xp: Any, x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """Axes of length one left out; a view (`numpy.squeeze`).

    >>> import gpugrad as gg
    >>> gg.squeeze([[1.0, 2.0]]).shape
    (2,)
    """
    return xp.squeeze(x, axis)


@linear(
    transpose=lambda F, t, x_shape: F.sum_to(t, x_shape),
    samples=calls(lambda rng: ((array(rng, 3, 1), (2, 3, 4)), {}), lambda rng: ((array(rng), (3,)), {})),
)
def broadcast_to(xp: Any, x: ArrayLike, shape: Shape) -> Any:
    """Repeated along new axes and axes of length one; a read-only view (`numpy.broadcast_to`).

    >>> import gpugrad as gg
    >>> gg.broadcast_to([1.0, 2.0], (2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    if xp is numpy and isinstance(x, numpy.ndarray) and x.size == 1 and isinstance(shape, tuple) and len(shape) >= x.ndim:
        spread = numpy.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))  # a fifth of the time: a loss's first step back
        spread.flags.writeable = False
        return spread
    return xp.broadcast_to(x, shape)


@functools.lru_cache(maxsize=64)
def ones_vector(n: int, dtype: Any) -> Any:
    """Ones to sum with: a BLAS product with them is up to five times faster than a sum, and ten on narrow rows."""
    return numpy.ones(n, dtype)


@linear(
    transpose=lambda F, t, x_shape: F.broadcast_to(t, x_shape),
    samples=calls(
        lambda rng: ((array(rng, 2, 3, 4), (3, 1)), {}),
        lambda rng: ((array(rng, 3, 4), (4,)), {}),
        lambda rng: ((array(rng, 3), ()), {}),
    ),
)
def sum_to(xp: Any, x: ArrayLike, shape: tuple[int, ...]) -> Any:
    """Summed over the axes along which `shape` would be broadcast to ``x.shape``: the transpose of `broadcast_to`.

    >>> import gpugrad as gg
    >>> gg.sum_to([[1.0, 2.0], [3.0, 4.0]], (2,))
    tensor([4., 6.])
    """
    if xp is numpy and len(x.shape) == 2 and shape == x.shape[1:] and x.dtype.char in "fd" and x.shape[0] <= 1 << 16:
        return ones_vector(x.shape[0], x.dtype).dot(x)
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1)
    return xp.reshape(xp.add.reduce(x, axis=axes) if axes else x, shape)


# --- joining ------------------------------------------------------------------------------------------------------


def _split_back(F: Any, t: Any, shapes: tuple[tuple[int, ...], ...], axis: int | None) -> tuple[Any, ...]:
    if axis is None:
        sizes = [math.prod(shape) for shape in shapes]
        parts = _split_back(F, t, tuple((n,) for n in sizes), 0)
        return tuple(F.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True))
    before: tuple[slice, ...] = (slice(None),) * (axis % len(shapes[0]))
    stops = numpy.cumsum([shape[axis] for shape in shapes]).tolist()
    return tuple(F.getitem(t, (*before, slice(a, b))) for a, b in zip([0, *stops], stops, strict=False))


@linear(
    transpose=_split_back,
    samples=calls(
        lambda rng: (([array(rng, 3, 2), array(rng, 3, 4)],), {"axis": 1}),
        lambda rng: (([array(rng, 3), array(rng, 4)],), {}),
        lambda rng: (([array(rng, 3, 2), array(rng, 4)],), {"axis": None}),
    ),
)
def concatenate(xp: Any, arrays: Sequence[ArrayLike], axis: int | None = 0) -> Any:
    """Arrays joined along an existing axis; flattened first if `axis` is None (`numpy.concatenate`).

    >>> import gpugrad as gg
    >>> gg.concatenate([[1.0, 2.0], [3.0]])
    tensor([1., 2., 3.])
    """
    return xp.concatenate(arrays, axis=axis)


def _unstack(F: Any, t: Any, shapes: tuple[tuple[int, ...], ...], axis: int) -> tuple[Any, ...]:
    before: tuple[slice, ...] = (slice(None),) * (axis % (len(shapes[0]) + 1))
    return tuple(F.getitem(t, (*before, i)) for i in range(len(shapes)))


@linear(
    transpose=_unstack,
    samples=calls(
        lambda rng: (([array(rng, 3, 2), array(rng, 3, 2)],), {"axis": -1}), lambda rng: (([array(rng), array(rng)],), {})
    ),
)
def stack(xp: Any, arrays: Sequence[ArrayLike], axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis (`numpy.stack`).

    >>> import gpugrad as gg
    >>> gg.stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([[1., 3.],
            [2., 4.]])
    """
    return xp.stack(arrays, axis=axis)


# --- casting and copying ------------------------------------------------------------------------------------------


@linear(
    transpose=lambda F, t, x_dtype: F.astype(t, x_dtype),
    samples=calls(lambda rng: ((array(rng, 3, 4), "float64"), {})),
)
def astype(xp: Any, x: ArrayLike, dtype: DTypeLike) -> Any:
    """A copy with another dtype (`numpy.astype`); complex to real takes the real part.

    Its gradient is cast back. A cast to an integer or boolean dtype cuts the gradient: its result needs none.

    >>> import gpugrad as gg
    >>> gg.astype([1.0, 2.0], "float64").dtype
    dtype('float64')
    """
    x = xp.asarray(x)
    dtype = half.dtype_from(dtype)
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        x = x.real
    return x.astype(dtype)


@primitive(samples=calls(lambda rng: ((array(rng, 3, 4), "int64"), {})))
def cast(xp: Any, x: ArrayLike, dtype: DTypeLike) -> Any:
    """A copy with a dtype that has no gradient: integer or boolean (`numpy.astype`).

    >>> import gpugrad as gg
    >>> gg.cast([1.5, 2.5], "int64")
    tensor([1, 2])
    """
    return xp.asarray(x).astype(dtype)


@linear(transpose=lambda F, t, x_device: F.to_device(t, x_device), samples=calls(lambda rng: ((array(rng, 3, 4), "cpu"), {})))
def to_device(xp: Any, x: ArrayLike, device: str) -> Any:
    """On another device; the cotangent comes back to the first one.

    >>> import gpugrad as gg
    >>> gg.to_device(gg.tensor([1.0]), "cpu").device
    'cpu'
    """
    return backend.to_device(x, device)


@linear(transpose=lambda F, t: t, samples=calls(lambda rng: ((array(rng, 3, 4),), {})))
def copy(xp: Any, x: ArrayLike) -> Any:
    """A copy, on the tape (`numpy.copy`, `torch.clone`).

    >>> import gpugrad as gg
    >>> gg.copy([1.0, 2.0])
    tensor([1., 2.])
    """
    return xp.array(x, copy=True)


@linear(transpose=lambda F, t: t, samples=calls(lambda rng: ((array(rng, 3, 4),), {})))
def alias(xp: Any, x: ArrayLike) -> Any:
    """The same array as another result: how a transform tells its argument from the caller's.

    >>> import gpugrad as gg
    >>> gg.ops.shape.alias(gg.tensor([1.0]))
    tensor([1.])
    """
    return x
