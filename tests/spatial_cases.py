"""References for convolutions, windows and sparse maps along an axis: loops over every window and every tap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def window_pairs(x: Any, kernel: Any, out: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """Tap and window, and the element of x under it, for all that do not lie in the padding."""
    for window in np.ndindex(*out):
        for tap in np.ndindex(*kernel):
            place = tuple(o * s + k * d - p[0] for o, s, k, d, p in zip(window, stride, tap, dilation, padding, strict=True))
            if all(0 <= i < n for i, n in zip(place, x, strict=True)):
                yield tap, window, place


def grouped_pairs(x: Any, weight: Any, groups: int) -> Any:
    """Slices of the features, of the channels, and how the weight's second axis numbers these, for each group."""
    features, channels = weight[0] // groups, weight[1]
    for g in range(groups):
        yield slice(g * features, (g + 1) * features), slice(g * channels, (g + 1) * channels)


def convolution(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    out = tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    result = np.zeros((len(x), len(weight), *out), x.dtype) + bias.reshape(-1, *[1] * len(out))
    for tap, window, place in window_pairs(x.shape[2:], weight.shape[2:], out, stride, padding, dilation):
        for features, channels in grouped_pairs(x.shape, weight.shape, groups):
            result[:, features, *window] += x[:, channels, *place] @ weight[features, :, *tap].T
    return result


def convolution_transpose(
    y: Any, weight: Any, bias: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    result = np.zeros((len(y), weight.shape[1] * groups, *size), y.dtype) + bias.reshape(-1, *[1] * len(size))
    for tap, window, place in window_pairs(size, weight.shape[2:], y.shape[2:], stride, padding, dilation):
        for features, channels in grouped_pairs(result.shape, weight.shape, groups):
            result[:, channels, *place] += y[:, features, *window] @ weight[features, :, *tap]
    return result


def convolution_weight(x: Any, y: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    result = np.zeros((y.shape[1], x.shape[1] // groups, *kernel), x.dtype)
    for tap, window, place in window_pairs(x.shape[2:], kernel, y.shape[2:], stride, padding, dilation):
        for features, channels in grouped_pairs(x.shape, result.shape, groups):
            result[features, :, *tap] += y[:, features, *window].T @ x[:, channels, *place]
    return result


def pair(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value, value)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """A convolution with unit vectors."""
    kernel, channels = pair(kernel_size), x.shape[-3]
    units = np.eye(channels * math.prod(kernel), dtype=x.dtype).reshape(-1, channels, *kernel)
    margins = [(p, p) for p in pair(padding)]
    images = x.reshape(-1, *x.shape[-3:])
    out = convolution(images, units, np.zeros(1), pair(stride), margins, pair(dilation), 1).astype(x.dtype)
    return out.reshape(*x.shape[:-3], len(units), -1)


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    kernel, size = pair(kernel_size), pair(output_size)
    channels, margins = x.shape[-2] // math.prod(kernel), [(p, p) for p in pair(padding)]
    columns = zip(size, kernel, pair(stride), margins, pair(dilation), strict=True)
    out = tuple((n + 2 * p[0] - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in columns)
    units = np.eye(x.shape[-2], dtype=x.dtype).reshape(-1, channels, *kernel)
    columns = x.reshape(-1, x.shape[-2], *out)
    folded = convolution_transpose(columns, units, np.zeros(1), size, pair(stride), margins, pair(dilation), 1)
    return folded.astype(x.dtype).reshape(*x.shape[:-2], channels, *size)


def resample(x: Any, axis: int, taps: Any) -> Any:
    return np.moveaxis(np.tensordot(taps.matrix.astype(x.dtype), x, (1, axis)), 0, axis)


def max_pool(x: Any, taps: Any) -> Any:
    """By a search of every window."""
    lead, sizes, lengths = x.shape[: x.ndim - len(taps)], x.shape[x.ndim - len(taps) :], [t.length for t in taps]
    values, indices = np.zeros((*lead, *lengths), x.dtype), np.zeros((*lead, *lengths), int)
    for window in np.ndindex(*lengths):
        inside = np.ix_(*[np.flatnonzero(t.matrix[i]) for t, i in zip(taps, window, strict=True)])
        numbers = np.arange(math.prod(sizes)).reshape(sizes)[inside].ravel()
        candidates = x.reshape(*lead, -1)[..., numbers]
        values[(..., *window)] = candidates.max(axis=-1)
        indices[(..., *window)] = numbers[candidates.argmax(axis=-1)]
    return values, indices


SPATIAL: dict[str, Callable[..., Any]] = {
    "convolution": convolution,
    "convolution_transpose": convolution_transpose,
    "convolution_weight": convolution_weight,
    "fold": fold,
    "max_pool": max_pool,
    "pick_flat": lambda x, indices: np.take_along_axis(x, indices, 1),
    "place_flat": lambda x, indices, size: (np.eye(size, dtype=x.dtype)[indices] * x[..., None]).sum(axis=1),
    "resample": resample,
    "unfold": unfold,
}
