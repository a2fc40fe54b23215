"""Pooling: the mean, the largest element or a power mean of windows, over one axis or two.

All of it is done axis by axis, so that a window of 3 x 3 costs six steps rather than nine. Means are sparse linear maps
(`taps`); maxima hand their cotangent to the element that won, the first of several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ..errors import op_error
from ..op import ArrayLike, as_tensor, primitive, several
from . import elementwise, reduction
from .samples import array, calls, distinct
from .taps import Taps, adaptive_averages, adaptive_places, at, averages, resample, window_places
from .windows import Ints, ints


class MaxPooled(NamedTuple):
    """The largest element of every window, and its number within the last axes of the input, in C order."""

    values: Any
    indices: Any


# --- maxima -------------------------------------------------------------------------------------------------------


def _flat(xp: Any, indices: Any, size: int) -> Any:
    """Numbers within each image as numbers within the whole array."""
    return xp.asarray(indices) + (xp.arange(len(indices)) * size)[:, None]


@primitive(
    vjp=(lambda F, t, indices, x_shape: F.place_flat(t, indices, x_shape[1]), None),
    jvp=lambda F, tangents, indices: F.pick_flat(tangents[0], indices),
    samples=calls(lambda rng: ((array(rng, 2, 5), numpy.array([[4, 0, 4], [1, 2, 3]])), {})),
)
def pick_flat(xp: Any, x: ArrayLike, indices: ArrayLike) -> Any:
    """Elements of each row by their numbers.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.ops.pooling.pick_flat([[5.0, 6.0, 7.0]], np.array([[2, 0]]))
    tensor([[7., 5.]])
    """
    x = xp.asarray(x)
    return x.ravel()[_flat(xp, indices, x.shape[1])]


@primitive(
    vjp=(lambda F, t, indices: F.pick_flat(t, indices), None),
    jvp=lambda F, tangents, indices, size: F.place_flat(tangents[0], indices, size),
    samples=calls(lambda rng: ((array(rng, 2, 3), numpy.array([[4, 0, 4], [1, 2, 3]]), 5), {})),
)
def place_flat(xp: Any, x: ArrayLike, indices: ArrayLike, size: int) -> Any:
    """Rows of `size` zeros with elements added at their numbers: the transpose of `pick_flat`.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.ops.pooling.place_flat([[5.0, 6.0]], np.array([[2, 0]]), 3)
    tensor([[6., 0., 5.]])
    """
    x = xp.asarray(x)
    out = xp.zeros(len(x) * size, x.dtype)
    xp.add.at(out, _flat(xp, indices, size).ravel(), x.ravel())
    return out.reshape(len(x), size)


def _rows(F: Any, x: Any, axes: int) -> Any:
    lead = x.shape[: x.ndim - axes]
    return F.reshape(x, (math.prod(lead), math.prod(x.shape[x.ndim - axes :])))


def _max_rule(F: Any, t: Any, out: Any, x_shape: tuple[int, ...], taps: tuple[Taps, ...]) -> Any:
    axes = len(taps)
    placed = F.place_flat(_rows(F, t[0], axes), _rows(F, out[1], axes), math.prod(x_shape[len(x_shape) - axes :]))
    return F.reshape(placed, x_shape)


def _max_jvp(F: Any, tangents: list[Any], out: Any, taps: tuple[Taps, ...]) -> Any:
    axes = len(taps)
    picked = F.pick_flat(_rows(F, tangents[0], axes), _rows(F, out[1], axes))
    return F.reshape(picked, out[0].shape), None


def _best(xp: Any, x: Any, places: Any, axis: int, taps: Taps, scale: int) -> tuple[Any, Any]:
    """The largest of each window along one axis, and its place: the first of equals, as later taps must be greater.

    `places` are those of the elements of x, each below `scale`; what is returned is ``place along the axis * scale + place``.
    They rise from tap to tap, so that the maximum of old and new is the new one. A nan beats all others.
    """
    line = xp.arange(0, taps.size * scale, scale, dtype=places.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
    places = places + line
    best = where = None
    for _, source, _ in taps.rows_for(x):
        value, place = at(xp, x, axis, source), at(xp, places, axis, source)
        if best is None:
            best, where = value.copy(), place
            continue
        won = value > best
        if x.dtype.kind in "fc":
            won |= value != value
        where = xp.maximum(where, won * place)
        xp.maximum(best, value, out=best)
    return best, where


@several(
    returns=MaxPooled,
    vjp=(_max_rule,),
    jvp=_max_jvp,
    samples=calls(
        lambda rng: ((distinct(rng, 2, 7), (window_places(7, 3, 2, 1, 1, True),)), {}),
        lambda rng: ((distinct(rng, 2, 2, 5, 6), (window_places(5, 2, 2, 0, 1, False), window_places(6, 3, 1, 1, 2, False))), {}),
        lambda rng: ((distinct(rng, 5, 7), (adaptive_places(5, 3), adaptive_places(7, 2))), {}),
    ),
)
def max_pool(xp: Any, x: ArrayLike, taps: tuple[Taps, ...]) -> Any:
    """The largest elements of windows over the last axes, and where they are (`max_pool2d` for the user).

    >>> import gpugrad as gg
    >>> from gpugrad.ops.taps import adaptive_places
    >>> gg.ops.pooling.max_pool(gg.tensor([1.0, 5.0, 2.0, 3.0]), (adaptive_places(4, 2),))
    MaxPooled(values=tensor([5., 3.]), indices=tensor([1, 3]))
    """
    x = xp.asarray(x)
    sizes = x.shape[x.ndim - len(taps) :]
    small = math.prod(sizes) < 2**31
    value, where = x, xp.zeros((1,) * x.ndim, numpy.int32 if small else numpy.int64)
    for i in range(len(taps) - 1, -1, -1):
        value, where = _best(xp, value, where, x.ndim - len(taps) + i, taps[i], math.prod(sizes[i + 1 :]))
    return value, xp.broadcast_to(where, value.shape).astype(numpy.int64)


# --- for users ----------------------------------------------------------------------------------------------------


def _pooled(name: str, axes: int, x: Any, options: dict[str, Any], function: Callable[..., Any]) -> Any:
    """Call ``function(x, sizes)`` on (N, C, *sizes) or (C, *sizes), and explain what it refuses."""
    x = as_tensor(x)
    try:
        if x.ndim not in (axes + 1, axes + 2):
            names = "C, L" if axes == 1 else "C, H, W"
            raise ValueError(f"x must be (N, {names}) or ({names})")
        return function(x, x.shape[-axes:])
    except ValueError as error:
        raise op_error(name, ("x",), (x,), options, error) from None


def _max_pool(
    name: str, axes: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: bool
) -> Any:
    def run(x: Any, sizes: tuple[int, ...]) -> Any:
        kernels = ints("kernel_size", kernel, axes, 1)
        steps = kernels if stride is None else ints("stride", stride, axes, 1)
        margins, dilated = ints("padding", padding, axes, 0), ints("dilation", dilation, axes, 1)
        windows = zip(sizes, kernels, steps, margins, dilated, strict=True)
        found = max_pool(x, tuple(window_places(*window, bool(ceil_mode)) for window in windows))
        return found if indices else found.values

    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return _pooled(name, axes, x, options, run)


def max_pool1d(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of each window of (N, C, L) or (C, L) (`torch.nn.functional.max_pool1d`); see `max_pool2d`.

    >>> import gpugrad as gg
    >>> gg.nn.functional.max_pool1d([[1.0, 5.0, 2.0, 3.0]], 2)
    tensor([[5., 3.]])
    """
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest element of each window of (N, C, H, W) or (C, H, W) (`torch.nn.functional.max_pool2d`).

    Of equal elements the first wins, and gets the whole cotangent; a nan beats all others.

    Parameters
    ----------
    x : array
    kernel_size, dilation : int or pair of ints
    stride : int or pair of ints, optional
        The kernel's size if left out.
    padding : int or pair of ints
        At most half the kernel; it never wins.
    ceil_mode : bool
        Whether a last window may reach past the end.
    return_indices : bool
        Also where each was, counted within the image: a pair ``(values, indices)``.

    >>> import gpugrad as gg
    >>> gg.nn.functional.max_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2)
    tensor([[[4.]]])
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    name: str,
    axes: int,
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    include_pad: bool,
    divisor: float | None = None,
) -> Any:
    def run(x: Any, sizes: tuple[int, ...]) -> Any:
        kernels = ints("kernel_size", kernel, axes, 1)
        steps = kernels if stride is None else ints("stride", stride, axes, 1)
        margins = ints("padding", padding, axes, 0)
        if divisor == 0:
            raise ValueError("divisor_override must not be 0")
        for axis, window in enumerate(zip(sizes, kernels, steps, margins, strict=True)):
            share = None if divisor is None else divisor if axis == axes - 1 else 1.0  # once for the whole window
            x = resample(x, x.ndim - axes + axis, averages(*window, bool(ceil_mode), bool(include_pad), share))
        return x

    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    return _pooled(name, axes, x, options, run)


def avg_pool1d(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """Mean of each window of (N, C, L) or (C, L) (`torch.nn.functional.avg_pool1d`); see `avg_pool2d`.

    >>> import gpugrad as gg
    >>> gg.nn.functional.avg_pool1d([[1.0, 5.0, 2.0, 3.0]], 2)
    tensor([[3. , 2.5]])
    """
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> Any:
    """Mean of each window of (N, C, H, W) or (C, H, W) (`torch.nn.functional.avg_pool2d`).

    Parameters
    ----------
    x : array
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        The kernel's size if left out.
    padding : int or pair of ints
        Zeros on both sides, at most half the kernel.
    ceil_mode : bool
        Whether a last window may reach past the end.
    count_include_pad : bool
        Whether the zeros of the padding count among what a sum is divided by.
    divisor_override : float, optional
        What sums are divided by instead.

    >>> import gpugrad as gg
    >>> gg.nn.functional.avg_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2)
    tensor([[[2.5]]])
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lengths(size: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The output size of adaptive pooling; None keeps an axis as it is."""
    given = size if isinstance(size, tuple | list) else (size,) * len(sizes)
    if len(given) == len(sizes):
        given = tuple(n if g is None else g for g, n in zip(given, sizes, strict=True))
    lengths = ints("output_size", given, len(sizes), 1)
    if min(sizes) < 1:
        raise ValueError("there is nothing to pool")
    return lengths


def _adaptive_avg_pool(name: str, axes: int, x: Any, size: Any) -> Any:
    def run(x: Any, sizes: tuple[int, ...]) -> Any:
        for axis, (n, length) in enumerate(zip(sizes, _lengths(size, sizes), strict=True)):
            along = x.ndim - axes + axis
            x = reduction.mean(x, along, keepdims=True) if length == 1 else resample(x, along, adaptive_averages(n, length))
        return x

    return _pooled(name, axes, x, {"output_size": size}, run)


def _adaptive_max_pool(name: str, axes: int, x: Any, size: Any, indices: bool) -> Any:
    def run(x: Any, sizes: tuple[int, ...]) -> Any:
        found = max_pool(x, tuple(map(adaptive_places, sizes, _lengths(size, sizes))))
        return found if indices else found.values

    return _pooled(name, axes, x, {"output_size": size}, run)


def adaptive_avg_pool1d(x: ArrayLike, output_size: int) -> Any:
    """Means of windows that cover (N, C, L) evenly (`torch.nn.functional.adaptive_avg_pool1d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.adaptive_avg_pool1d([[1.0, 5.0, 3.0]], 1)
    tensor([[3.]])
    """
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool2d(x: ArrayLike, output_size: Any) -> Any:
    """Means of windows that cover (N, C, H, W) evenly (`torch.nn.functional.adaptive_avg_pool2d`); None keeps an axis.

    >>> import gpugrad as gg
    >>> gg.nn.functional.adaptive_avg_pool2d([[[1.0, 2.0], [4.0, 3.0]]], (1, None))
    tensor([[[2.5, 2.5]]])
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_max_pool1d(x: ArrayLike, output_size: int, return_indices: bool = False) -> Any:
    """Largest elements of windows that cover (N, C, L) evenly (`torch.nn.functional.adaptive_max_pool1d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.adaptive_max_pool1d([[1.0, 5.0, 3.0]], 1)
    tensor([[5.]])
    """
    return _adaptive_max_pool("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool2d(x: ArrayLike, output_size: Any, return_indices: bool = False) -> Any:
    """Largest elements of windows that cover (N, C, H, W) evenly (`torch.nn.functional.adaptive_max_pool2d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.adaptive_max_pool2d([[[1.0, 2.0], [4.0, 3.0]]], (1, None))
    tensor([[[4., 3.]]])
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, x, output_size, return_indices)


def _lp_pool(name: str, axes: int, x: Any, p: float, kernel: Any, stride: Any, ceil_mode: bool) -> Any:
    mean = _avg_pool(name, axes, elementwise.power(x, p), kernel, stride, 0, ceil_mode, True)
    total = mean * float(math.prod(ints("kernel_size", kernel, axes, 1)))
    return elementwise.power(elementwise.maximum(total, 0.0), 1.0 / p)


def lp_pool1d(x: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False) -> Any:
    """``sum(x ** p) ** (1 / p)`` of each window (`torch.nn.functional.lp_pool1d`); a negative sum counts as 0.

    >>> import gpugrad as gg
    >>> gg.nn.functional.lp_pool1d([[3.0, 4.0]], 2, 2)
    tensor([[5.]])
    """
    return _lp_pool("lp_pool1d", 1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(x: ArrayLike, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False) -> Any:
    """``sum(x ** p) ** (1 / p)`` of each window (`torch.nn.functional.lp_pool2d`); a negative sum counts as 0.

    >>> import gpugrad as gg
    >>> gg.nn.functional.lp_pool2d([[[3.0, 4.0]]], 2, (1, 2))
    tensor([[[5.]]])
    """
    return _lp_pool("lp_pool2d", 2, x, norm_type, kernel_size, stride, ceil_mode)


__all__ = [
    "MaxPooled",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "pick_flat",
    "place_flat",
]
