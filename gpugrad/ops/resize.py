"""Changing the size of images: interpolation, and channels traded for places."""

from __future__ import annotations

from typing import Any

import numpy

from ..errors import op_error
from ..op import ArrayLike, as_tensor
from . import shape as shapes
from .taps import adaptive_averages, cubic_taps, linear_taps, nearest_taps, resample, scale_of, scaled
from .windows import Ints, ints

_AXES = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "nearest": (1, 2), "nearest-exact": (1, 2), "area": (1, 2)}
_BETWEEN = ("linear", "bilinear", "bicubic")


def interpolate(
    x: ArrayLike,
    size: Ints | None = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Any:
    """(N, C, L) or (N, C, H, W) at another size (`torch.nn.functional.interpolate`).

    Parameters
    ----------
    x : array
    size : int or tuple of ints
        Of the result. Either this or `scale_factor`.
    scale_factor : float or tuple of floats
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "area"}
    align_corners : bool
        Whether the corner elements stay where they are, rather than the corners of the outermost cells; for the modes that
        take something between elements.
    recompute_scale_factor : bool
        Take the scale from the sizes, which are whole, and not from `scale_factor`.

    >>> import gpugrad as gg
    >>> gg.nn.functional.interpolate([[[1.0, 3.0]]], 4, mode="linear")
    tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    x = as_tensor(x)
    try:
        return _interpolated(x, size, scale_factor, mode, align_corners, bool(recompute_scale_factor))
    except ValueError as error:
        options = {"size": size, "scale_factor": scale_factor, "mode": mode, "align_corners": align_corners}
        raise op_error("interpolate", ("x",), (x,), options, error) from None


def _interpolated(x: Any, size: Any, factor: Any, mode: str, align_corners: bool | None, recompute: bool) -> Any:
    axes = x.ndim - 2
    if mode not in _AXES:
        raise ValueError(f"mode must be one of {', '.join(_AXES)}")
    if axes not in _AXES[mode]:
        raise ValueError(f"mode {mode!r} is for x of {' or '.join(str(2 + n) for n in _AXES[mode])} axes, got {x.ndim}")
    if align_corners is not None and mode not in _BETWEEN:
        raise ValueError(f"align_corners is for {', '.join(_BETWEEN)}")
    if (size is None) == (factor is None):
        raise ValueError("give either size or scale_factor")
    factors: tuple[Any, ...] = (None,) * axes
    if size is None:
        factors = tuple(factor) if isinstance(factor, tuple | list) else (factor,) * axes
        if len(factors) != axes or min(factors) <= 0:
            raise ValueError(f"scale_factor must be positive, one for all or one for each of {axes} axes")
        lengths = tuple(map(scaled, x.shape[2:], factors))
    else:
        lengths = ints("size", size, axes, 1)
    if min(*x.shape[2:], *lengths) < 1:
        raise ValueError(f"sizes must be at least 1: from {x.shape[2:]} to {lengths}")
    dtype = "float64" if (x.dtype.itemsize >= 8 and x.dtype.kind == "f") or x.dtype.char == "D" else "float32"
    for axis in range(axes):
        given = None if recompute else factors[axis]
        taps = _taps(mode, x.shape[2 + axis], lengths[axis], bool(align_corners), given, dtype)
        x = resample(x, 2 + axis, taps)
    return x


def _taps(mode: str, size: int, length: int, align_corners: bool, factor: float | None, dtype: str) -> Any:
    if mode == "area":
        return adaptive_averages(size, length)
    scale = scale_of(size, length, align_corners, factor)
    if mode == "bicubic":
        return cubic_taps(size, length, scale, align_corners, dtype)
    if mode in ("linear", "bilinear"):
        return linear_taps(size, length, scale, align_corners, dtype)
    return nearest_taps(size, length, scale, 0.5 if mode == "nearest-exact" else 0.0, dtype)


# --- channels and places ------------------------------------------------------------------------------------------


def _refuse(name: str, x: Any, number: Any, message: str) -> None:
    raise op_error(name, ("x",), (x,), {"factor": number}, ValueError(message))


def _factor(name: str, x: Any, number: Any, axes: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int | numpy.integer) or number < 1:
        _refuse(name, x, number, f"needs an int of at least 1, got {number!r}")
    if x.ndim < axes:
        _refuse(name, x, number, f"x must have at least {axes} axes")


def pixel_shuffle(x: ArrayLike, upscale_factor: int) -> Any:
    """(..., C r r, H, W) as (..., C, H r, W r) (`torch.nn.functional.pixel_shuffle`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.pixel_shuffle(gg.arange(4.0).reshape(4, 1, 1), 2)
    tensor([[[0., 1.],
             [2., 3.]]])
    """
    x, r = as_tensor(x), upscale_factor
    _factor("pixel_shuffle", x, r, 3)
    *lead, channels, height, width = x.shape
    if channels % (r * r):
        _refuse("pixel_shuffle", x, r, f"{channels} channels cannot be cut into squares of {r} x {r}")
    n, kept = len(lead), channels // (r * r)
    split = shapes.reshape(x, (*lead, kept, r, r, height, width))
    moved = shapes.transpose(split, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return shapes.reshape(moved, (*lead, kept, height * r, width * r))


def pixel_unshuffle(x: ArrayLike, downscale_factor: int) -> Any:
    """(..., C, H r, W r) as (..., C r r, H, W): the inverse of `pixel_shuffle` (`torch.nn.functional.pixel_unshuffle`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.pixel_unshuffle(gg.arange(4.0).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    x, r = as_tensor(x), downscale_factor
    _factor("pixel_unshuffle", x, r, 3)
    *lead, channels, height, width = x.shape
    if height % r or width % r:
        _refuse("pixel_unshuffle", x, r, f"{height} x {width} cannot be cut into squares of {r} x {r}")
    n = len(lead)
    split = shapes.reshape(x, (*lead, channels, height // r, r, width // r, r))
    moved = shapes.transpose(split, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return shapes.reshape(moved, (*lead, channels * r * r, height // r, width // r))


def channel_shuffle(x: ArrayLike, groups: int) -> Any:
    """Channels of (N, C, ...) dealt out: one of each group in turn (`torch.nn.functional.channel_shuffle`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.channel_shuffle(gg.arange(4.0).reshape(1, 4, 1), 2).ravel()
    tensor([0., 2., 1., 3.])
    """
    x = as_tensor(x)
    _factor("channel_shuffle", x, groups, 3)
    batch, channels, *rest = x.shape
    if channels % groups:
        _refuse("channel_shuffle", x, groups, f"{channels} channels cannot be cut into {groups} groups")
    split = shapes.reshape(x, (batch, groups, channels // groups, *rest))
    return shapes.reshape(shapes.swapaxes(split, 1, 2), x.shape)


__all__ = ["channel_shuffle", "interpolate", "pixel_shuffle", "pixel_unshuffle"]
