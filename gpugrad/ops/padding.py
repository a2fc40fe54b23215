"""Padding: elements added around an array, along one axis after the other."""

from __future__ import annotations

from typing import Any

import numpy

from .. import backend, half
from ..op import ArrayLike, as_tensor, raw
from . import elementwise, floating, indexing, reduction, shape, sorting
from .axes import cut

__all__ = ["pad"]

_STATISTICS: dict[str, Any] = {
    "maximum": reduction.max,
    "mean": reduction.mean,
    "median": sorting.median,
    "minimum": reduction.min,
}
_MODES = ("constant", "edge", "empty", "linear_ramp", *_STATISTICS, "reflect", "symmetric", "wrap")


def _pairs(what: str, value: Any, ndim: int) -> Any:
    """An option as numbers before and after each axis."""
    try:
        return numpy.broadcast_to(numpy.asarray(value), (ndim, 2))
    except ValueError:
        raise ValueError(f"pad: {what} must be a number, a pair, or a pair for each of {ndim} axes, got {value!r}") from None


def pad(
    array: ArrayLike,
    pad_width: Any,
    mode: str = "constant",
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Any:
    """Elements added around, by all modes of `numpy.pad`; in mode "empty" they are zeros.

    >>> import gpugrad as gg
    >>> gg.pad([1.0, 2.0, 3.0], 1, mode="reflect")
    tensor([2., 1., 2., 3., 2.])
    """
    x = as_tensor(array)
    if mode not in _MODES:
        raise ValueError(f"pad: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if reflect_type not in ("even", "odd"):
        raise ValueError(f"pad: reflect_type must be 'even' or 'odd', got {reflect_type!r}")
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - x.ndim, (0, 0))) for i in range(x.ndim)]
    widths = _pairs("pad_width", pad_width, x.ndim)
    if widths.size and (widths.min() < 0 or widths.dtype.kind not in "iu"):
        raise ValueError(f"pad: pad_width must be integers of at least 0, got {pad_width}")
    if mode in ("constant", "empty"):
        return _constant(x, widths, constant_values if mode == "constant" else 0)
    ends = _pairs("end_values", end_values, x.ndim).tolist()
    lengths = [(None, None)] * x.ndim if stat_length is None else _pairs("stat_length", stat_length, x.ndim).tolist()
    for axis, (before, after) in enumerate(widths.tolist()):
        if not before and not after:
            continue
        if mode == "linear_ramp":
            parts = [_ramp(x, axis, before, ends[axis][0], 0), x, _ramp(x, axis, after, ends[axis][1], -1)]
        elif mode in _STATISTICS:
            parts = [_statistic(x, axis, before, lengths[axis][0], 0, mode), x]
            parts += [_statistic(x, axis, after, lengths[axis][1], -1, mode)]
        elif mode in ("reflect", "symmetric") and reflect_type == "odd" and x.shape[axis] > (mode == "reflect"):
            parts = [_odd(x, axis, before, mode, 0), x, _odd(x, axis, after, mode, -1)]
        else:
            places = numpy.pad(numpy.arange(x.shape[axis]), (before, after), mode=mode)  # type: ignore[call-overload]
            x = indexing.getitem(x, cut(x.ndim, axis, places))
            continue
        x = shape.concatenate(parts, axis)
    return x


def _constant(x: Any, widths: Any, values: Any) -> Any:
    full = tuple(int(n + a + b) for n, (a, b) in zip(x.shape, widths, strict=True))
    middle = tuple(slice(int(a), int(a) + n) for n, (a, _) in zip(x.shape, widths, strict=True))
    out = indexing.index_add_zeros(x, middle, full)
    if numpy.any(numpy.asarray(values) != 0):
        frame = numpy.pad(numpy.zeros(x.shape, x.dtype), widths, constant_values=values)
        out = out + backend.beside(frame, x._array)
    return out


def _end(x: Any, axis: int, side: int, count: int = 1) -> Any:
    """The first (side 0) or last (side -1) elements along an axis, which stays."""
    n = x.shape[axis]
    return indexing.getitem(x, cut(x.ndim, axis, slice(0, count) if side == 0 else slice(n - count, n)))


def _ramp(x: Any, axis: int, width: int, value: Any, side: int) -> Any:
    """From a value, which stands at the very end, towards the edge."""
    if x.shape[axis] == 0:
        raise ValueError(f"pad: axis {axis} has no elements to start a ramp from")
    whole = not half.is_inexact(x.dtype)
    edge = _end(x, axis, side)
    edge = edge.astype("float64") if whole else edge
    steps = numpy.arange(width, dtype=edge.dtype if half.is_floating(edge.dtype) else None)[:: 1 if side == 0 else -1]
    steps = backend.beside(steps.reshape(tuple(width if i == axis else 1 for i in range(x.ndim))), raw(x))
    out = elementwise.add(
        elementwise.multiply(elementwise.subtract(edge, value), elementwise.divide(steps, max(width, 1))), value
    )
    return floating.floor(out).astype(x.dtype) if whole else out.astype(x.dtype)


def _statistic(x: Any, axis: int, width: int, length: int | None, side: int, mode: str) -> Any:
    """The statistic of the elements near one end, `width` times."""
    count = x.shape[axis] if length is None else min(length, x.shape[axis])
    if count < 1:
        raise ValueError(f"pad: {mode} needs at least one element of axis {axis}: stat_length={length}, shape {x.shape}")
    found = _STATISTICS[mode](_end(x, axis, side, count), axis, keepdims=True)
    found = found if half.is_inexact(x.dtype) else floating.rint(found)
    return shape.broadcast_to(found.astype(x.dtype), tuple(width if i == axis else n for i, n in enumerate(x.shape)))


def _odd(x: Any, axis: int, width: int, mode: str, side: int) -> Any:
    """The mirror image, upside down too, about the element at the end: its image in turn about that one's end, and so on."""
    n, skipped = x.shape[axis], int(mode == "reflect")
    parts: list[Any] = []
    while True:
        inner = _end(x, axis, side, n)
        if skipped:
            inner = _end(inner, axis, -1 - side, n - 1)
        image = elementwise.subtract(elementwise.multiply(_end(x, axis, side), 2), _turned(inner, axis))
        take = min(width, n - skipped)
        parts.append(_end(image, axis, -1 - side, take))
        width -= take
        if not width:
            return shape.concatenate(parts[::-1] if side == 0 else parts, axis) if len(parts) > 1 else parts[0]
        x = (
            shape.concatenate([image, _end(x, axis, side)] if side == 0 else [_end(x, axis, side), image], axis)
            if skipped
            else image
        )


def _turned(x: Any, axis: int) -> Any:
    return indexing.getitem(x, cut(x.ndim, axis, slice(None, None, -1)))
