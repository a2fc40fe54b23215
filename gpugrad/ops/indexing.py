"""Indexing: reading elements, and its transpose, adding into zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ..backend import namespace_of, on_device_of
from ..op import ArrayLike, first_input, linear, primitive, update
from ..placed import Placed
from .samples import array, calls


def is_basic(index: Any) -> bool:
    """Whether an index only slices: every element of the array is picked at most once, and the result is a view."""
    kind = type(index)
    if kind is int or kind is slice:  # most are
        return True
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or (isinstance(part, slice | int | numpy.integer) and not isinstance(part, bool))
        for part in parts
    )


def _check_bounds(index: Any, shape: tuple[int, ...]) -> None:
    """Refuse numbers beyond the ends, where a library would let them come in again at the other end, as CuPy does.

    For an index that is on the GPU this waits for it.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if not any(hasattr(part, "dtype") for part in parts):
        return
    masks = [hasattr(part, "dtype") and part.dtype.kind == "b" for part in parts]
    taken = sum(part.ndim if mask else not (part is None or part is Ellipsis) for part, mask in zip(parts, masks, strict=True))
    axis = 0
    for part, mask in zip(parts, masks, strict=True):
        if part is Ellipsis:
            axis += len(shape) - taken
        elif mask:
            axis += part.ndim
        elif part is not None:
            if hasattr(part, "dtype") and part.size and axis < len(shape):
                n = shape[axis]
                part = part if part.dtype.itemsize == 8 else part.astype("int64")  # in which n and -n can be had
                if ((part >= n) if part.dtype.kind == "u" else (part < -n) | (part >= n)).any():
                    raise IndexError(f"an index is out of bounds for axis {axis} with size {n}: {part.min()}..{part.max()}")
            axis += 1


_AT_ONCE = 1 << 16
"""Elements added at a time: their numbers are then still in the cache."""
_FEW = 1 << 8
"""Below so many indices the plain way is as fast."""


class Lines(NamedTuple):
    """What an index of whole axes and adjacent integer arrays picks from an array, seen as (lead, size, tail).

    `places` are numbers below `size`: the index picks ``[:, places, :]``.
    """

    lead: int
    size: int
    tail: int
    places: Any

    @classmethod
    def of(cls, index: Any, shape: tuple[int, ...]) -> Lines | None:
        """None for any other index, and for one out of bounds, which NumPy can explain better."""
        parts = index if isinstance(index, tuple) else (index,)
        arrays = [i for i, part in enumerate(parts) if not (isinstance(part, slice) and part == slice(None))]
        if not arrays or len(parts) > len(shape) or arrays[-1] - arrays[0] + 1 != len(arrays):
            return None
        places: Any = 0
        size = 1
        for i in arrays:
            part, n = parts[i], shape[i]
            if not isinstance(part, numpy.ndarray) or part.dtype.kind not in "iu" or not part.size:
                return None
            least, most = part.min(), part.max()
            if least < -n or most >= n:
                return None
            part = part.astype(numpy.intp, copy=False)
            places, size = places * n + (part if least >= 0 else part % n), size * n
        return cls(math.prod(shape[: arrays[0]]), size, math.prod(shape[arrays[-1] + 1 :]), places)

    def numbers(self, start: int, stop: int) -> Any:
        """Of the places from `start` to `stop`, all numbers within the flat array: (lead, places, tail)."""
        places = self.places.reshape(-1)[start:stop]
        if self.lead > 1:
            places = (numpy.arange(self.lead) * self.size)[:, None] + places
        return places if self.tail == 1 else (places * self.tail)[..., None] + numpy.arange(self.tail)


def add_at(xp: Any, out: Any, index: Any, x: Any) -> None:
    """``xp.add.at``. CuPy's has no complex numbers, and of integers only some: others are added as those."""
    kind = out.dtype.kind
    if xp is numpy:
        _add_at_numpy(out, index, x)
    elif kind == "f" or out.dtype.char in "iIQL":
        xp.add.at(out, index, x)
    elif kind == "c":
        xp.add.at(out.real, index, x.real)
        xp.add.at(out.imag, index, x.imag)
    else:
        wide = out.astype("int64").view("uint64")  # the bits of a sum are the same with and without a sign
        xp.add.at(wide, index, x.astype("int64").view("uint64"))
        out[...] = wide.view("int64").astype(out.dtype)


def _add_at_numpy(out: Any, index: Any, x: Any) -> None:
    """``numpy.add.at``, which is several times as fast with one vector of numbers as with any other index."""
    lines = Lines.of(index, out.shape)
    if lines is None or not out.size or not out.flags.c_contiguous:
        numpy.add.at(out, index, x)
        return
    count = lines.places.size
    if x.size != lines.lead * count * lines.tail:  # to be broadcast
        x = numpy.broadcast_to(x, out[index].shape)
    flat, x = out.reshape(-1), x.reshape(lines.lead, count, lines.tail)
    step = max(1, _AT_ONCE // max(1, lines.lead * lines.tail))
    for start in range(0, count, step):
        numbers = lines.numbers(start, start + step)
        numpy.add.at(flat, numbers.reshape(-1), x[:, start : start + step].reshape(-1))


def _picked(x: Any, index: Any) -> Any:
    """``x[index]`` of a NumPy array; faster for integers along an axis other than the first, or along all axes."""
    if type(index) is not tuple or not 1 < len(index) <= x.ndim or getattr(index[-1], "size", 0) < _FEW:
        return x[index]
    if index[-1].dtype.kind in "iu" and all(isinstance(part, slice) and part == slice(None) for part in index[:-1]):
        return x.take(index[-1], len(index) - 1)
    lines = Lines.of(index, x.shape) if len(index) == x.ndim and x.flags.c_contiguous else None
    return x[index] if lines is None or lines.lead > 1 else x.reshape(-1).take(lines.places)


_INDICES: tuple[Any, ...] = (
    1,
    (slice(None), -1),
    (slice(None, None, -2), None, Ellipsis),
    numpy.array([0, 2, 0, -1]),
    (numpy.array([0, 2, 0]), numpy.array([1, 1, 1])),
    (numpy.array([[0], [2]]), slice(1, 3)),
    numpy.array([True, False, True]),
)


@linear(
    views=True,
    transpose=lambda F, t, index, x_shape: Placed(t, index, x_shape),
    samples=calls(*[lambda rng, index=index: ((array(rng, 3, 4), index), {}) for index in _INDICES]),
)
def getitem(xp: Any, x: ArrayLike, index: Any) -> Any:
    """``x[index]`` for every index that NumPy takes; an element picked twice gets both cotangents.

    >>> import gpugrad as gg
    >>> gg.getitem([1.0, 2.0, 3.0], [0, 0, 2])
    tensor([1., 1., 3.])
    """
    if xp is numpy:
        return _picked(numpy.asarray(x), index)
    _check_bounds(index, x.shape)
    return xp.asarray(x)[index]


@linear(
    transpose=lambda F, t, index: F.getitem(t, index),
    samples=calls(
        *[lambda rng, index=index: ((array(rng, *numpy.zeros((3, 4))[index].shape), index, (3, 4)), {}) for index in _INDICES]
    ),
)
def index_add_zeros(xp: Any, x: ArrayLike, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with ``x`` added at `index`, repeats adding up: the transpose of `getitem`.

    >>> import gpugrad as gg
    >>> gg.index_add_zeros(gg.tensor([1.0, 2.0, 3.0]), [0, 0, 2], (3,))
    tensor([3., 0., 3.])
    """
    out = xp.zeros(shape, x.dtype)
    if is_basic(index):
        out[index] = x
    else:
        add_at(xp, out, index, x)
    return out


def _parts_of(rng: Any) -> tuple[list[Any], tuple[Any, ...], tuple[int, ...]]:
    return [array(rng, *numpy.zeros((3, 4))[index].shape) for index in _INDICES], _INDICES, (3, 4)


@linear(
    transpose=lambda F, t, indices: tuple(F.getitem(t, index) for index in indices),
    samples=calls(lambda rng: (_parts_of(rng), {}), lambda rng: (([array(rng, 4), array(rng, 3, 4)], (0, Ellipsis), (3, 4)), {})),
)
def index_sum(xp: Any, arrays: Sequence[ArrayLike], indices: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with each array added at its index: the sum of many `index_add_zeros`, in one array.

    >>> import gpugrad as gg
    >>> gg.index_sum([gg.tensor([1.0, 2.0]), gg.tensor(3.0)], (slice(0, 2), -1), (4,))
    tensor([1., 2., 0., 3.])
    """
    dtypes = {x.dtype for x in arrays}
    out = xp.zeros(shape, dtypes.pop() if len(dtypes) == 1 else numpy.result_type(*dtypes))
    for x, index in zip(arrays, indices):
        if not is_basic(index):
            add_at(xp, out, index, x)
        elif (part := out[index]).ndim:
            part += x  # a view: half the time of out[index] += x
        else:
            out[index] += x
    return out


def _written(F: Any, t: Any, index: Any) -> Any:
    """The cotangent of what was assigned: none of that which was written over at once, where `index` picks a place twice."""
    picked = F.getitem(t, index)
    parts = index if isinstance(index, tuple) else (index,)
    if all(is_basic(part) or getattr(getattr(part, "dtype", None), "kind", "") == "b" for part in parts):
        return picked
    like = getattr(t, "_array", t)
    with on_device_of(like):
        xp = namespace_of(like)
        places = xp.empty(t.shape, "int64")
        numbers = xp.arange(math.prod(picked.shape)).reshape(picked.shape)
        places[index] = numbers
        last = places[index] == numbers
    return F.where(last, picked, 0)


@primitive(
    vjp=(lambda F, t, index: F.index_set(t, F.zeros_of(F.getitem(t, index)), index), _written),
    samples=calls(
        lambda rng: ((array(rng, 3, 4), array(rng, 4), 1), {}),
        lambda rng: ((array(rng, 3, 4), array(rng, 2, 4), numpy.array([0, 2])), {}),
        lambda rng: ((array(rng, 3, 4), array(rng, 3, 4), numpy.array([1, 2, 1])), {}),
    ),
)
def index_set(xp: Any, x: ArrayLike, value: ArrayLike, index: Any) -> Any:
    """A copy of `x` with ``value`` at `index`: what ``x[index] = value`` means for a recorded tensor.

    Where `index` picks an element twice, the last value stays and has the gradient.

    >>> import gpugrad as gg
    >>> gg.index_set([1.0, 2.0], 5.0, 0)
    tensor([5., 2.])
    """
    if xp is not numpy:
        _check_bounds(index, x.shape)
    out = xp.array(x, copy=True)
    out[index] = value
    return out


@linear(transpose=lambda F, t: F.zeros_of(t), samples=calls(lambda rng: ((array(rng, 3),), {})))
def zeros_of(xp: Any, x: ArrayLike) -> Any:
    """Zeros with the shape, dtype and device of `x` (`numpy.zeros_like`).

    >>> import gpugrad as gg
    >>> gg.zeros_of([1.0, 2.0])
    tensor([0., 0.])
    """
    return xp.zeros_like(x)


@linear(
    transpose=lambda F, t, indices, axis, x_shape: F.put_along_axis_zeros(t, indices, axis, x_shape),
    samples=calls(
        lambda rng: ((array(rng, 3, 4), numpy.array([[0, 0], [1, 2], [3, -1]]), 1), {}),
        lambda rng: ((array(rng, 3, 4), numpy.array([[0, 1, 2, 1]]), 0), {}),
    ),
)
def take_along_axis(xp: Any, x: ArrayLike, indices: Any, axis: int = -1) -> Any:
    """One element per index along an axis (`numpy.take_along_axis`, `torch.gather`).

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.take_along_axis([[1.0, 2.0], [3.0, 4.0]], np.array([[1], [0]]), axis=1)
    tensor([[2.],
            [3.]])
    """
    if xp is not numpy:
        indices = xp.asarray(indices)
        _check_bounds((Ellipsis, indices), x.shape[axis : axis + 1 or None])
    return xp.take_along_axis(xp.asarray(x), indices, axis)


@linear(
    transpose=lambda F, t, indices, axis: F.take_along_axis(t, indices, axis),
    samples=calls(lambda rng: ((array(rng, 3, 2), numpy.array([[0, 0], [1, 2], [3, -1]]), 1, (3, 4)), {})),
)
def put_along_axis_zeros(xp: Any, x: ArrayLike, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with `x` added at `indices` along an axis: the transpose of `take_along_axis`.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.put_along_axis_zeros(gg.tensor([[5.0]]), np.array([[1]]), 1, (1, 3))
    tensor([[0., 5., 0.]])
    """
    out = xp.zeros(shape, x.dtype)
    grid = list(xp.ogrid[tuple(slice(n) for n in shape)])  # the other axes of `indices` may be 1, and are then broadcast
    grid[axis] = xp.asarray(indices)
    add_at(xp, out, tuple(grid), x)
    return out


@update(mutates=first_input, samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4), 1), {})))
def setitem_(xp: Any, x: ArrayLike, value: ArrayLike, index: Any) -> Any:
    """``x[index] = value``, in place.

    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0, 2.0])
    >>> gg.ops.indexing.setitem_(x, 5.0, 0)
    >>> x
    tensor([5., 2.])
    """
    if xp is not numpy:
        _check_bounds(index, x.shape)
    x[index] = value


__all__ = [
    "getitem",
    "index_add_zeros",
    "index_set",
    "index_sum",
    "is_basic",
    "put_along_axis_zeros",
    "setitem_",
    "take_along_axis",
    "zeros_of",
]
