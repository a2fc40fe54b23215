"""Sliding windows along the last axes: their sizes, a strided view of them, and its transpose, adding them back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy

Sizes: TypeAlias = tuple[int, ...]
Padding: TypeAlias = tuple[tuple[int, int], ...]
"""Elements added before and after, for each axis."""
Ints: TypeAlias = "int | Sequence[int]"


def ints(name: str, value: Any, count: int, least: int) -> Sizes:
    """An option of a window as one int per axis: an int stands for all of them."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    values = values * count if len(values) == 1 else values
    if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int | numpy.integer) for v in values):
        raise ValueError(f"{name} must be an int or {count} of them, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return tuple(map(int, values))


def fitting(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Sizes:
    """How many windows fit along each axis."""
    full = tuple(n + before + after for n, (before, after) in zip(sizes, padding, strict=True))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(n < r for n, r in zip(full, reach, strict=True)):
        dilated = f", dilated {_by(reach)}," if reach != kernel else ""
        raise ValueError(f"a kernel of {_by(kernel)}{dilated} is larger than the padded input of {_by(full)}")
    return tuple((n - r) // s + 1 for n, r, s in zip(full, reach, stride, strict=True))


def _by(sizes: Sizes) -> str:
    return " x ".join(map(str, sizes))


def even(padding: Sizes) -> Padding:
    """As many elements before as after, for each axis."""
    return tuple((p, p) for p in padding)


def window_view(xp: Any, x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Any:
    """Every window of an array that is padded already, as a view of shape (..., *kernel, *out)."""
    lead = x.ndim - len(kernel)
    steps = x.strides[lead:]
    inner = tuple(step * d for step, d in zip(steps, dilation, strict=True))
    outer = tuple(step * s for step, s in zip(steps, stride, strict=True))
    return xp.lib.stride_tricks.as_strided(x, (*x.shape[:lead], *kernel, *out), (*x.strides[:lead], *inner, *outer))


def interior(padding: Padding, sizes: Sizes) -> tuple[Any, ...]:
    """The index of an array within its padded one."""
    return (Ellipsis, *[slice(before, before + n) for (before, _), n in zip(padding, sizes, strict=True)])


def padded(xp: Any, x: Any, padding: Padding) -> Any:
    """The array with zeros around its last axes; itself where there is no padding."""
    if not any(map(any, padding)):
        return x
    sizes = x.shape[x.ndim - len(padding) :]
    full = tuple(n + before + after for n, (before, after) in zip(sizes, padding, strict=True))
    out = xp.zeros((*x.shape[: x.ndim - len(padding)], *full), x.dtype)
    out[interior(padding, sizes)] = x
    return out


def _meeting(size: int, out: int, stride: int, offset: int) -> tuple[slice, slice]:
    """Which elements of an axis are at `offset` from the start of some window, and of which windows."""
    first = max(0, -(offset // stride))
    stop = max(first, min(out, (size - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(start, start + (stop - first) * stride, stride), slice(first, stop)


def add_windows(target: Any, windows: Any, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> None:
    """Add windows of shape (lead, *kernel, ..., *out) into (lead, ..., *sizes): the transpose of the view, tap by tap.

    What lies in the padding is left out.
    """
    axes = len(kernel)
    sizes, out = target.shape[target.ndim - axes :], windows.shape[windows.ndim - axes :]
    for tap in itertools.product(*map(range, kernel)):
        met = [_meeting(sizes[i], out[i], stride[i], k * dilation[i] - padding[i][0]) for i, k in enumerate(tap)]
        place = target[(Ellipsis, *[source for source, _ in met])]
        place += windows[(slice(None), *tap, Ellipsis, *[where for _, where in met])]
