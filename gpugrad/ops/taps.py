"""Sparse linear maps along one axis: averages over windows, interpolation. The transpose of one is another."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy

from .. import backend
from ..op import ArrayLike, linear
from .samples import array, calls

Array = numpy.ndarray[Any, Any]


class Taps:
    """A sparse matrix from an axis of `size` elements to one of `length`.

    It is applied as ``out[where] += weight * x[source]`` for each of `rows`, none of which names an element of `out` twice.
    Made once for each geometry by the functions below, and kept.
    """

    def __init__(self, size: int, length: int, rows: list[tuple[Array, Array, Array]]) -> None:
        self.size, self.length, self.entries = size, length, rows
        self.rows = [(_as_slice(where), _as_slice(source), _as_number(weight)) for where, source, weight in rows if len(where)]
        self._kept: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<Taps {self.size} to {self.length}>"

    def rows_for(self, x: Any, dtype: Any = None) -> list[tuple[Any, Any, Any]]:
        """The rows with their arrays on the device of x, and weights of a dtype; kept, so that only a first call copies."""
        key = backend.device_of(x), dtype
        if key not in self._kept:
            xp = backend.namespace_of(x)

            def put(value: Any, dtype: Any = None) -> Any:
                return xp.asarray(value, dtype) if isinstance(value, numpy.ndarray) else value

            self._kept[key] = [(put(where), put(source), put(weight, dtype)) for where, source, weight in self.rows]
        return self._kept[key]

    @functools.cached_property
    def transposed(self) -> Taps:
        """The transpose: source and target exchanged, and rows made anew where that names an element twice."""
        if all(len(numpy.unique(source)) == len(source) for _, source, _ in self.entries):
            return Taps(self.length, self.size, [(source, where, weight) for where, source, weight in self.entries])
        out, source, weight = map(numpy.concatenate, zip(*self.entries, strict=True))
        order = numpy.lexsort((out, source))
        out, source, weight = out[order], source[order], weight[order]
        rank = numpy.arange(len(source)) - numpy.searchsorted(source, source)
        chosen = [rank == r for r in range(int(rank.max()) + 1)]
        return Taps(self.length, self.size, [(source[c], out[c], weight[c]) for c in chosen])

    @property
    def matrix(self) -> Array:
        """As a dense matrix."""
        out = numpy.zeros((self.length, self.size))
        for where, source, weight in self.entries:
            numpy.add.at(out, (where, source), weight)
        return out


def _as_slice(places: Array) -> Any:
    """A slice for places in an arithmetic progression, so that they are a view; else as they are."""
    steps = numpy.diff(places)
    if len(places) == 1 or (steps[0] > 0 and (steps == steps[0]).all()):
        step = int(steps[0]) if len(steps) else 1
        return slice(int(places[0]), int(places[-1]) + 1, step)
    return places


def _as_number(weight: Array) -> Any:
    return float(weight[0]) if (weight == weight[0]).all() else weight


def _table(size: int, source: Array, weight: Array, valid: Any = True) -> Taps:
    """From one row for each tap: the source and weight for every element of the result, and which of them count."""
    rows, valid = [], numpy.broadcast_to(valid, source.shape)
    for sources, weights, chosen in zip(source, numpy.broadcast_to(weight, source.shape), valid, strict=True):
        where = numpy.flatnonzero(chosen)
        rows.append((where, sources[where], weights[where]))
    return Taps(size, source.shape[1], rows)


# --- windows ------------------------------------------------------------------------------------------------------


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows; with `ceil_mode` also one that reaches past the end, if it starts before it."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0 and not (ceil_mode and room + stride > 0):
        raise ValueError(f"a kernel of {dilation * (kernel - 1) + 1} is larger than the padded input of {size + 2 * padding}")
    if padding > kernel // 2:
        raise ValueError(f"padding must be at most half the kernel: got {padding} for a kernel of {kernel}")
    length = (-(-room // stride) if ceil_mode else room // stride) + 1
    return length - (ceil_mode and (length - 1) * stride >= size + padding)


def _grid(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> tuple[Array, Array]:
    """Where each tap (row) of each window (column) lies, and which lie within the axis."""
    length = pooled_size(size, kernel, stride, padding, dilation, ceil_mode)
    places = numpy.arange(kernel)[:, None] * dilation + numpy.arange(length) * stride - padding
    return places, (places >= 0) & (places < size)


@functools.lru_cache(maxsize=256)
def averages(
    size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, include_pad: bool, divisor: float | None = None
) -> Taps:
    """Means over windows. What counts of the padding is divided by, but not what `ceil_mode` adds; or `divisor` is."""
    places, valid = _grid(size, kernel, stride, padding, 1, ceil_mode)
    count = (places < size + padding).sum(axis=0) if include_pad else valid.sum(axis=0)
    return _table(size, places, 1 / (count if divisor is None else numpy.full(places.shape[1], divisor)), valid)


@functools.lru_cache(maxsize=256)
def window_places(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> Taps:
    """The places of windows, for maxima: what lies outside is the nearest tap of the same window that does not."""
    places, valid = _grid(size, kernel, stride, padding, dilation, ceil_mode)
    if not valid.any(axis=0).all():
        raise ValueError(f"some windows lie in the padding alone: kernel {kernel}, dilation {dilation}, for an input of {size}")
    first, last = numpy.where(valid, places, size).min(axis=0), numpy.where(valid, places, -1).max(axis=0)
    return _table(size, numpy.clip(places, first, last), numpy.ones(1))


def _adaptive(size: int, length: int) -> tuple[Array, Array]:
    """Where each tap of each of `length` windows lies that cover an axis evenly, and how many taps each has."""
    number = numpy.arange(length)
    start, stop = number * size // length, -(-(number + 1) * size // length)
    count = stop - start
    return start + numpy.arange(count.max(initial=1))[:, None], count


@functools.lru_cache(maxsize=256)
def adaptive_averages(size: int, length: int) -> Taps:
    """Means over `length` windows that cover an axis evenly."""
    places, count = _adaptive(size, length)
    return _table(size, places, 1 / count, places < places[0] + count)


@functools.lru_cache(maxsize=256)
def adaptive_places(size: int, length: int) -> Taps:
    """The places of `length` windows that cover an axis evenly, for maxima."""
    places, count = _adaptive(size, length)
    return _table(size, numpy.minimum(places, places[0] + count - 1), numpy.ones(1))


# --- interpolation ------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def nearest_taps(size: int, length: int, scale: float, shift: float, dtype: str) -> Taps:
    """The element at or before ``(i + shift) * scale``, rounded as PyTorch does, so that it is the same one."""
    real = numpy.dtype(dtype).type
    centre = ((numpy.arange(length) + shift) * float(real(scale)) - shift).astype(dtype)  # rounded once
    places = numpy.floor((centre + real(shift)).astype(numpy.float32)).astype(int)
    return _table(size, numpy.clip(places, 0, size - 1)[None], numpy.ones(1))


def _centres(length: int, scale: float, align_corners: bool, dtype: str) -> Array:
    """Where the elements of the result lie between those of the source."""
    real, number = numpy.dtype(dtype).type, numpy.arange(length, dtype=dtype)
    return number * real(scale) if align_corners else (number + real(0.5)) * real(scale) - real(0.5)


@functools.lru_cache(maxsize=256)
def linear_taps(size: int, length: int, scale: float, align_corners: bool, dtype: str) -> Taps:
    """Between two neighbours."""
    real = numpy.maximum(_centres(length, scale, align_corners, dtype), 0)
    first = numpy.minimum(real.astype(int), size - 1)
    share = numpy.clip(real - first, 0, 1)
    places = numpy.stack([first, numpy.minimum(first + 1, size - 1)])
    return _table(size, places, numpy.stack([1 - share, share]))


@functools.lru_cache(maxsize=256)
def cubic_taps(size: int, length: int, scale: float, align_corners: bool, dtype: str) -> Taps:
    """Between four neighbours, by Keys' cubic with a = -0.75; the ends are repeated."""
    real, a = _centres(length, scale, align_corners, dtype), -0.75
    first = numpy.floor(real)
    t = real - first

    def near(d: Array) -> Array:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Array) -> Array:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    places = numpy.clip(first.astype(int) + numpy.arange(-1, 3)[:, None], 0, size - 1)
    return _table(size, places, numpy.stack([far(t + 1), near(t), near(1 - t), far(2 - t)]))


def scale_of(size: int, length: int, align_corners: bool, factor: float | None) -> float:
    """The distance, in elements of the source, between neighbours in the result."""
    if align_corners:
        return (size - 1) / (length - 1) if length > 1 else 0.0
    return size / length if factor is None else 1 / factor


def scaled(size: int, factor: float) -> int:
    """The size that a factor makes of an axis."""
    return math.floor(size * factor)


# --- the op ---------------------------------------------------------------------------------------------------------


def at(xp: Any, x: Any, axis: int, places: Any) -> Any:
    """The elements at places along an axis; a view where they are a slice."""
    return x[(slice(None),) * axis + (places,)] if isinstance(places, slice) else xp.take(x, places, axis)


@linear(
    transpose=lambda F, t, axis, taps: F.resample(t, axis, taps.transposed),
    samples=calls(
        lambda rng: ((array(rng, 2, 5), 1, averages(5, 3, 2, 1, False, True)), {}),
        lambda rng: ((array(rng, 7, 2), 0, adaptive_averages(7, 3)), {}),
        lambda rng: ((array(rng, 2, 3, 2), -2, linear_taps(3, 7, 3 / 7, False, "float64")), {}),
        lambda rng: ((array(rng, 4), 0, nearest_taps(4, 7, 4 / 7, 0.0, "float64")), {}),
    ),
)
def resample(xp: Any, x: ArrayLike, axis: int, taps: Taps) -> Any:
    """A sparse linear map applied along an axis.

    >>> import gpugrad as gg
    >>> from gpugrad.ops.taps import adaptive_averages, resample
    >>> resample(gg.tensor([1.0, 2.0, 6.0]), 0, adaptive_averages(3, 2))
    tensor([1.5, 4. ])
    """
    x = xp.asarray(x)
    axis %= x.ndim
    lead: tuple[Any, ...] = (slice(None),) * axis
    plain = all(isinstance(weight, float) and weight == 1 for _, _, weight in taps.rows)
    narrow = x.dtype == numpy.float16
    dtype = numpy.dtype(numpy.float32) if narrow else x.dtype if plain else numpy.result_type(x.dtype, numpy.float16)
    out = None
    for where, source, weight in taps.rows_for(x, dtype):
        part = at(xp, x, axis, source)
        if not isinstance(weight, float):
            weight = weight.reshape(-1, *[1] * (x.ndim - axis - 1))
        if not plain:
            fresh = part.dtype == dtype and not isinstance(source, slice)
            part = xp.multiply(part, weight, out=part) if fresh else xp.multiply(part, weight, dtype=dtype)
        if out is None and part.shape[axis] == taps.length:
            out = part.astype(dtype, copy=plain)
            continue
        if out is None:
            out = xp.zeros((*x.shape[:axis], taps.length, *x.shape[axis + 1 :]), dtype)
        out[(*lead, where)] += part
    if out is None:
        out = xp.zeros((*x.shape[:axis], taps.length, *x.shape[axis + 1 :]), dtype)
    return out.astype(x.dtype) if narrow else out
