"""Windows of images as columns, and their transpose, adding columns up where they lie."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..op import ArrayLike, linear
from .samples import array, calls
from .windows import Ints, Padding, Sizes, add_windows, even, fitting, ints, padded, window_view


def _fold_back(F: Any, t: Any, x_shape: Sizes, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Any:
    return F.fold(t, x_shape[-2:], kernel_size, dilation, padding, stride)


_UNFOLDED: tuple[Any, ...] = (
    ((2, 3, 5, 4), (3, 2), {"padding": 1}),
    ((3, 5, 4), 2, {"stride": (2, 3)}),
    ((1, 2, 5, 6), (2, 3), {"dilation": 2, "padding": (0, 1), "stride": (2, 1)}),
)


@linear(
    transpose=_fold_back,
    samples=calls(*[lambda rng, s=s: ((array(rng, *s[0]), s[1]), s[2]) for s in _UNFOLDED]),
)
def unfold(xp: Any, x: ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Any:
    """Windows of (N, C, H, W) as columns (N, C kh kw, windows) (`torch.nn.functional.unfold`); N may be left out.

    >>> import gpugrad as gg
    >>> gg.nn.functional.unfold([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], 2)
    tensor([[1., 2.],
            [2., 3.],
            [4., 5.],
            [5., 6.]])
    """
    x = xp.asarray(x)
    if x.ndim not in (3, 4):
        raise ValueError(f"x must be (N, C, H, W) or (C, H, W), got {x.shape}")
    kernel, step, dilated, margin = _window_options(kernel_size, stride, dilation, padding)
    out = fitting(x.shape[-2:], kernel, step, margin, dilated)
    view = window_view(xp, padded(xp, x, margin), kernel, step, dilated, out)
    return view.reshape(*x.shape[:-3], x.shape[-3] * math.prod(kernel), math.prod(out))


def _window_options(kernel_size: Ints, stride: Ints, dilation: Ints, padding: Ints) -> tuple[Sizes, Sizes, Sizes, Padding]:
    return (
        ints("kernel_size", kernel_size, 2, 1),
        ints("stride", stride, 2, 1),
        ints("dilation", dilation, 2, 1),
        even(ints("padding", padding, 2, 0)),
    )


@linear(
    transpose=lambda F, t, kernel_size, dilation, padding, stride: F.unfold(t, kernel_size, dilation, padding, stride),
    samples=calls(
        lambda rng: ((array(rng, 2, 12, 6), (3, 4), 2), {}),
        lambda rng: ((array(rng, 12, 9), (6, 7), (2, 3)), {"stride": (2, 3), "padding": (0, 1)}),
        lambda rng: ((array(rng, 1, 4, 16), 6, 2), {"dilation": 2}),
    ),
)
def fold(
    xp: Any,
    x: ArrayLike,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Any:
    """Columns (N, C kh kw, windows) added up where they lie: the transpose of `unfold` (`torch.nn.functional.fold`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.fold(gg.ones((4, 2)), (2, 3), 2)
    tensor([[[1., 2., 1.],
             [1., 2., 1.]]])
    """
    x, size = xp.asarray(x), ints("output_size", output_size, 2, 1)
    kernel, step, dilated, margin = _window_options(kernel_size, stride, dilation, padding)
    out = fitting(size, kernel, step, margin, dilated)
    taps, places = math.prod(kernel), math.prod(out)
    if x.ndim not in (2, 3) or x.shape[-2] % taps or x.shape[-1] != places:
        raise ValueError(f"x must be (N, C x {taps}, {places}) for these options, or without N; got {x.shape}")
    lead = (*x.shape[:-2], x.shape[-2] // taps)
    wide = numpy.float32 if x.dtype == numpy.float16 else x.dtype
    result = xp.zeros((math.prod(lead), *size), wide)
    add_windows(result, x.reshape(math.prod(lead), *kernel, *out), kernel, step, margin, dilated)
    return result.astype(x.dtype, copy=False).reshape(*lead, *size)


__all__ = ["fold", "unfold"]
