"""Convolutions over any number of axes, as one product with the windows of the input.

A convolution is linear in its input and in its weight. With its two transposes it makes a closed system of three ops: the
transpose of each, by either argument, is one of the others. So every order of derivative, in both modes, is one of these.

The windows ("im2col") take ``prod(kernel)`` times the memory of the input. On a CPU they are therefore made for a few
images at a time, in a block that stays in the cache, and made again for the gradient of the weight instead of kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ..errors import op_error
from ..op import ArrayLike, as_tensor, multilinear, primitive
from . import shape as shapes
from .samples import Generator, array, calls
from .windows import Ints, Padding, Sizes, add_windows, even, fitting, interior, ints, padded, window_view

_CACHED, _ON_GPU = 1 << 20, 1 << 30
"""Bytes of windows at a time."""


def _wide(xp: Any, *arrays: Any) -> tuple[Any, Any]:
    """The dtype of a result, and of its sums: NumPy has no fast product of float16."""
    dtype = numpy.result_type(*[a.dtype for a in arrays if a is not None])
    return dtype, numpy.dtype(numpy.float32) if dtype == numpy.float16 and xp is numpy else dtype


def _blocks(xp: Any, count: int, rows: int, dtype: Any) -> Iterator[slice]:
    """Runs of images whose windows, `rows` numbers each, fit into the cache."""
    step = max(1, (_CACHED if xp is numpy else _ON_GPU) // max(1, rows * dtype.itemsize))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


class Room:
    """An array that is used for one block after the other: fresh memory costs as much as the arithmetic."""

    def __init__(self, xp: Any, dtype: Any) -> None:
        self.xp, self.dtype, self.flat = xp, dtype, xp.empty(0, dtype)

    def of(self, shape: Sizes) -> Any:
        """An array of that shape, with whatever is in it."""
        size = math.prod(shape)
        if len(self.flat) < size:
            self.flat = self.xp.empty(size, self.dtype)
        return self.flat[:size].reshape(shape)

    def product(self, left: Any, right: Any) -> Any:
        """The product of stacks of matrices, of equal dtype."""
        multiply = self.xp.multiply if left.shape[2] == 1 else self.xp.matmul  # three times as fast, for one channel a group
        return multiply(left, right, out=self.of((*left.shape[:2], right.shape[2])))


def _columns(
    xp: Any, x: Any, groups: int, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, out: Sizes, dtype: Any
) -> Iterator[tuple[slice, Any]]:
    """Block by block, the images it holds and their windows as matrices: (groups, channels x kernel, images x out)."""
    channels, taps, places = x.shape[1], math.prod(kernel), math.prod(out)
    room, frame = Room(xp, dtype), None
    for part in _blocks(xp, len(x), channels * taps * places, dtype):
        images, n = x[part], part.stop - part.start
        if any(map(any, padding)):
            if frame is None:  # its margin stays zero
                frame = padded(xp, images.astype(dtype), padding)
            frame[:n][interior(padding, x.shape[2:])] = images
            images = frame[:n]
        view = xp.moveaxis(window_view(xp, images, kernel, stride, dilation, out), 0, 1 + len(kernel))
        columns = room.of(view.shape)
        columns[...] = view
        yield part, columns.reshape(groups, channels // groups * taps, n * places)


def _matrices(images: Any, groups: int, dtype: Any) -> Any:
    """Images (n, channels, *sizes) as matrices (groups, channels of a group, n x places)."""
    moved = images.astype(dtype, copy=False).swapaxes(0, 1)
    return moved.reshape(groups, images.shape[1] // groups, len(images) * math.prod(images.shape[2:]))


def _cropped(F: Any, out: Any, sizes: Sizes) -> Any:
    """The first windows: where an output padding leaves room for more than there are."""
    return out if out.shape[2:] == sizes else F.getitem(out, (Ellipsis, *map(slice, sizes)))


def _forwards(F: Any, t: Any, weight: Any, sizes: Sizes, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return _cropped(F, F.convolution(t, weight, None, stride, padding, dilation, groups), sizes)


def _sum_bias(F: Any, t: Any) -> Any:
    return F.sum(F.sum(F.reshape(t, (*t.shape[:2], math.prod(t.shape[2:]))), axis=2), axis=0)


def _is_product(xp: Any, sizes: Sizes, groups: int, kernel: Sizes, stride: Sizes, padding: Padding) -> bool:
    """Whether each image is its own windows, and large enough: then no copy is needed."""
    return xp is numpy and groups == 1 and math.prod(sizes) >= 16 and {*kernel, *stride} == {1} and not any(map(any, padding))


def _product(rows: Any, x: Any, bias: Any, sizes: Sizes, dtype: Any) -> Any:
    """A matrix (features, channels) times each image, whose elements are those windows."""
    images = x.astype(rows.dtype, copy=False).reshape(*x.shape[:2], math.prod(sizes))
    result = numpy.matmul(rows, images).astype(dtype, copy=False)
    if bias is not None:
        result += bias[:, None]
    return result.reshape(len(x), len(rows), *sizes)


def _flipped(y: Any, weight: Any, size: Sizes, padding: Padding, dilation: Sizes, groups: int) -> tuple[Any, Padding] | None:
    """The weight and padding by which a convolution of `y` is the transposed one, of stride 1; None if it would have to crop.

    To gather windows of `y` is faster than to add windows into the result, unless they are much larger.
    """
    if max(weight.shape[2:]) > 1 and len(weight) > 2 * groups * weight.shape[1]:
        return None
    margins = []
    for n, m, k, d, (before, _) in zip(size, y.shape[2:], weight.shape[2:], dilation, padding, strict=True):
        reach = d * (k - 1)
        margins.append((reach - before, n - m + before))
    if min(map(min, margins)) < 0:
        return None
    features, kernel = len(weight) // groups, weight.shape[2:]
    flipped = numpy.flip(weight, tuple(range(2, weight.ndim))).reshape(groups, features, *weight.shape[1:]).swapaxes(1, 2)
    return flipped.reshape(groups * weight.shape[1], features, *kernel), tuple(margins)


# --- the three ops ------------------------------------------------------------------------------------------------


def _samples(maker: Callable[..., Any]) -> Any:
    """Samples over one and two axes, with leftovers, groups, dilation and uneven padding."""
    options: tuple[Any, ...] = (  # x, weight, stride, padding, dilation, groups
        ((2, 2, 5), (3, 2, 3), (1,), ((1, 1),), (1,), 1),
        ((2, 4, 7), (6, 2, 2), (3,), ((0, 1),), (2,), 2),
        ((2, 2, 5, 4), (3, 2, 3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 1),
        ((2, 4, 6, 5), (4, 1, 2, 2), (2, 1), ((0, 0), (1, 2)), (1, 2), 4),
        ((1, 2, 4, 4), (3, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    )
    return calls(*[lambda rng, o=o: maker(rng, *o) for o in options])


def _sizes(x: Any, weight: Any, stride: Any, padding: Any, dilation: Any) -> Sizes:
    return fitting(x[2:], weight[2:], stride, padding, dilation)


def _convolution_x(F: Any, t: Any, weight: Any, x_shape: Sizes, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return F.convolution_transpose(t, weight, None, x_shape[2:], stride, padding, dilation, groups)


def _convolution_weight(
    F: Any, t: Any, x: Any, weight_shape: Sizes, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    return F.convolution_weight(x, t, weight_shape[2:], stride, padding, dilation, groups)


def _jvp(name: str, F: Any, tangents: list[Any], x: Any, weight: Any, **options: Any) -> Any:
    """The tangents of an op with input, weight and bias; None where all three are missing."""
    x_t, weight_t, bias_t = tangents
    op, total = getattr(F, name), None
    if x_t is not None:
        total = op(x_t, weight, None, **options)
    if weight_t is not None:
        term = op(x, weight_t, None, **options)
        total = term if total is None else total + term
    if bias_t is not None:
        axes = len(options["stride"])
        term = F.reshape(bias_t, (bias_t.shape[0],) + (1,) * axes)
        total = term if total is None else total + term
    return total


def _convolution_jvp(
    F: Any, tangents: list[Any], x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _jvp("convolution", F, tangents, x, weight, **options)


@primitive(
    vjp=(_convolution_x, _convolution_weight, _sum_bias),
    jvp=_convolution_jvp,
    samples=_samples(lambda rng, x, w, *rest: ((array(rng, *x), array(rng, *w), array(rng, w[0]), *rest), {})),
)
def convolution(
    xp: Any,
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    """Convolution of (N, C, *sizes) with (O, C / groups, *kernel), over as many axes as there are (`conv2d` for the user).

    >>> import gpugrad as gg
    >>> x, weight = gg.tensor([[[1.0, 2.0, 4.0]]]), gg.tensor([[[1.0, -1.0]]])
    >>> gg.ops.convolution.convolution(x, weight, None, (1,), ((0, 0),), (1,), 1)
    tensor([[[-1., -2.]]])
    """
    dtype, wide = _wide(xp, x, weight, bias)
    kernel = weight.shape[2:]
    out = fitting(x.shape[2:], kernel, stride, padding, dilation)
    features = len(weight) // groups
    rows = weight.astype(wide, copy=False).reshape(groups, features, math.prod(weight.shape[1:]))
    if _is_product(xp, out, groups, kernel, stride, padding):
        return _product(rows[0], x, bias, out, dtype)
    result = xp.empty((len(x), groups, features, math.prod(out)), dtype)
    spread = None if bias is None else bias.reshape(groups, features, 1, 1)
    room = Room(xp, wide)
    for part, columns in _columns(xp, x, groups, kernel, stride, padding, dilation, out, wide):
        place = result[part].transpose(1, 2, 0, 3)
        made = room.product(rows, columns).reshape(place.shape)
        if spread is None:
            place[...] = made
        else:
            xp.add(made, spread, out=place)
    return result.reshape(len(x), len(weight), *out)


_convolution_forward = convolution.op.function  # type: ignore[attr-defined]


def _transpose_y(F: Any, t: Any, weight: Any, y_shape: Sizes, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return _forwards(F, t, weight, y_shape[2:], stride, padding, dilation, groups)


def _transpose_weight(F: Any, t: Any, y: Any, weight_shape: Sizes, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return F.convolution_weight(t, y, weight_shape[2:], stride, padding, dilation, groups)


def _transpose_jvp(
    F: Any, tangents: list[Any], y: Any, weight: Any, size: Sizes, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    options = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _jvp("convolution_transpose", F, tangents, y, weight, **options)


def _transpose_sample(rng: Generator, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    y = (x[0], w[0], *_sizes(x, w, stride, padding, dilation))
    arguments = (array(rng, *y), array(rng, *w), array(rng, x[1]), x[2:], stride, padding, dilation, groups)
    return arguments, {}


@primitive(vjp=(_transpose_y, _transpose_weight, _sum_bias), jvp=_transpose_jvp, samples=_samples(_transpose_sample))
def convolution_transpose(
    xp: Any,
    y: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Any:
    """The transpose of `convolution` by its input, which is of `size` (`conv_transpose2d` for the user).

    >>> import gpugrad as gg
    >>> y, weight = gg.tensor([[[1.0, 2.0]]]), gg.tensor([[[1.0, -1.0]]])
    >>> gg.ops.convolution.convolution_transpose(y, weight, None, (3,), (1,), ((0, 0),), (1,), 1)
    tensor([[[ 1.,  1., -2.]]])
    """
    dtype, wide = _wide(xp, y, weight, bias)
    flipped = _flipped(y, weight, size, padding, dilation, groups) if set(stride) == {1} and xp is numpy else None
    if flipped is not None:
        return _convolution_forward(xp, y, flipped[0], bias, stride, flipped[1], dilation, groups)
    kernel, out, channels = weight.shape[2:], y.shape[2:], weight.shape[1] * groups
    rows = weight.astype(wide, copy=False).reshape(groups, len(weight) // groups, math.prod(weight.shape[1:])).swapaxes(1, 2)
    result = xp.zeros((len(y), channels, *size), wide)
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(size))
    room = Room(xp, wide)
    for part in _blocks(xp, len(y), channels * math.prod(kernel) * math.prod(out), wide):
        columns = room.product(rows, _matrices(y[part], groups, wide))
        windows = columns.reshape(channels, *kernel, part.stop - part.start, *out)
        add_windows(result[part].swapaxes(0, 1), windows, kernel, stride, padding, dilation)
    return result.astype(dtype, copy=False)


def _weight_x(F: Any, t: Any, x_shape: Sizes, y: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return F.convolution_transpose(y, t, None, x_shape[2:], stride, padding, dilation, groups)


def _weight_y(F: Any, t: Any, x: Any, y_shape: Sizes, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return _forwards(F, x, t, y_shape[2:], stride, padding, dilation, groups)


def _weight_sample(rng: Generator, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    y = (x[0], w[0], *_sizes(x, w, stride, padding, dilation))
    return (array(rng, *x), array(rng, *y), w[2:], stride, padding, dilation, groups), {}


@multilinear(transposes=(_weight_x, _weight_y), samples=_samples(_weight_sample))
def convolution_weight(
    xp: Any, x: ArrayLike, y: ArrayLike, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    """The transpose of `convolution` by its weight: its gradient, for a cotangent `y` of the result.

    >>> import gpugrad as gg
    >>> x, y = gg.tensor([[[1.0, 2.0, 4.0]]]), gg.tensor([[[1.0, 1.0]]])
    >>> gg.ops.convolution.convolution_weight(x, y, (2,), (1,), ((0, 0),), (1,), 1)
    tensor([[[3., 6.]]])
    """
    dtype, wide = _wide(xp, x, y)
    features, channels = y.shape[1] // groups, x.shape[1] // groups
    if _is_product(xp, y.shape[2:], groups, kernel, stride, padding) and x.shape[2:] == y.shape[2:]:
        left, right = (a.astype(wide, copy=False).reshape(*a.shape[:2], math.prod(a.shape[2:])) for a in (y, x))
        total = numpy.zeros((features, channels), wide)
        for mine, theirs in zip(left, right, strict=True):
            total += numpy.dot(mine, theirs.T)
        return total.astype(dtype, copy=False).reshape(features, channels, *kernel)
    total, room = xp.zeros((groups, features, channels * math.prod(kernel)), wide), Room(xp, wide)
    for part, columns in _columns(xp, x, groups, kernel, stride, padding, dilation, y.shape[2:], wide):
        rows = _matrices(y[part], groups, wide)
        if features < 128:  # the product is a third faster this way round; to turn a large result costs more than that
            total += room.product(columns, rows.swapaxes(1, 2)).swapaxes(1, 2)
        else:
            total += room.product(rows, columns.swapaxes(1, 2))
    return total.astype(dtype, copy=False).reshape(y.shape[1], channels, *kernel)


# --- for users ----------------------------------------------------------------------------------------------------


def margins_of(padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Padding:
    """Padding as pairs, from ints or a word; "same" puts the odd element behind, as PyTorch does."""
    if padding == "valid":
        return even((0,) * len(kernel))
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError("padding='same' needs stride 1")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    if isinstance(padding, str):
        raise ValueError(f"padding must be an int, a tuple of ints, 'same' or 'valid', got {padding!r}")
    return even(ints("padding", padding, len(kernel), 0))


def _checked(axes: int, x: Any, weight: Any, bias: Any, in_axis: int, groups: Any) -> None:
    """Refuse shapes that do not fit; `in_axis` is the axis of the weight that is grouped with the channels of x."""
    names = "N, C, L" if axes == 1 else "N, C, H, W"
    if x.ndim not in (axes + 1, axes + 2):
        raise ValueError(f"x must be ({names}) or ({names[3:]})")
    if weight.ndim != axes + 2:
        raise ValueError(f"weight must have {axes + 2} axes, {axes} of them for the kernel")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError("groups must be an int of at least 1")
    channels, needed = x.shape[-axes - 1], weight.shape[in_axis] * (groups if in_axis else 1)
    if channels != needed:
        raise ValueError(f"x has {channels} channels, and the weight with groups={groups} is for {needed}")
    if weight.shape[0] % groups:
        raise ValueError(f"groups={groups} does not divide the {weight.shape[0]} {'features' if in_axis else 'channels'}")
    features = weight.shape[0] if in_axis else weight.shape[1] * groups
    if bias is not None and bias.shape != (features,):
        raise ValueError(f"bias must have shape ({features},), one entry per feature")


def _batched(function: Callable[..., Any], axes: int, x: Any, *args: Any) -> Any:
    """Call with a leading axis for images where there is none, and take it away again."""
    if x.ndim == axes + 2:
        return function(x, *args)
    out = function(shapes.reshape(x, (1, *x.shape)), *args)
    return shapes.reshape(out, out.shape[1:])


def _conv(name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    x, weight, bias = as_tensor(x), as_tensor(weight), None if bias is None else as_tensor(bias)
    try:
        _checked(axes, x, weight, bias, 1, groups)
        steps, dilated = ints("stride", stride, axes, 1), ints("dilation", dilation, axes, 1)
        margins = margins_of(padding, weight.shape[2:], steps, dilated)
        fitting(x.shape[-axes:], weight.shape[2:], steps, margins, dilated)
    except ValueError as error:
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        raise op_error(name, ("x", "weight", "bias"), (x, weight, bias), options, error) from None
    return _batched(convolution, axes, x, weight, bias, steps, margins, dilated, groups)


def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Any:
    """Convolution of (N, C, L), or (C, L), with a weight (O, C / groups, k) (`torch.nn.functional.conv1d`).

    As there, the kernel is not flipped: it is a cross-correlation.

    >>> import gpugrad as gg
    >>> x, weight = gg.tensor([[1.0, 2.0, 4.0]]), gg.tensor([[[1.0, -1.0]]])
    >>> gg.nn.functional.conv1d(x, weight)
    tensor([[-1., -2.]])
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Any:
    """Convolution of (N, C, H, W), or (C, H, W), with a weight (O, C / groups, kh, kw) (`torch.nn.functional.conv2d`).

    Parameters
    ----------
    x, weight, bias : arrays
        The bias has one entry for each of the O features.
    stride, dilation : int or pair of ints
    padding : int, pair of ints, "same" or "valid"
        Zeros on both sides; "same" keeps the size, for stride 1.
    groups : int
        Channels and features are cut into as many groups, which do not see each other.

    >>> import gpugrad as gg
    >>> gg.nn.functional.conv2d(gg.ones((1, 1, 3, 3)), gg.ones((1, 1, 3, 3)), padding=1)
    tensor([[[[4., 6., 4.],
              [6., 9., 6.],
              [4., 6., 4.]]]])
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    name: str,
    axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Any:
    x, weight, bias = as_tensor(x), as_tensor(weight), None if bias is None else as_tensor(bias)
    try:
        _checked(axes, x, weight, bias, 0, groups)
        steps, dilated = ints("stride", stride, axes, 1), ints("dilation", dilation, axes, 1)
        margins, extra = ints("padding", padding, axes, 0), ints("output_padding", output_padding, axes, 0)
        if any(e >= max(s, d) for e, s, d in zip(extra, steps, dilated, strict=True)):
            raise ValueError("output_padding must be smaller than the stride or the dilation")
        size = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1 + e
            for n, s, p, d, k, e in zip(x.shape[-axes:], steps, margins, dilated, weight.shape[2:], extra, strict=True)
        )
        if min(size) < 1:
            raise ValueError(f"the result would have size {size}: the padding takes all of it")
    except ValueError as error:
        options = {"stride": stride, "padding": padding, "output_padding": output_padding, "groups": groups, "dilation": dilation}
        raise op_error(name, ("x", "weight", "bias"), (x, weight, bias), options, error) from None
    return _batched(convolution_transpose, axes, x, weight, bias, size, steps, even(margins), dilated, groups)


def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Any:
    """The transpose of `conv1d` by its input: (N, O, L) and a weight (O, C / groups, k) (`torch.nn.functional.conv_transpose1d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.conv_transpose1d([[1.0, 2.0]], gg.tensor([[[1.0, -1.0]]]), stride=2)
    tensor([[ 1., -1.,  2., -2.]])
    """
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Any:
    """The transpose of `conv2d` by its input (`torch.nn.functional.conv_transpose2d`), for (N, O, H, W) or (O, H, W).

    Parameters
    ----------
    x : array of shape (N, O, H, W)
    weight : array of shape (O, C / groups, kh, kw)
        As a `conv2d` from C to O would have it.
    output_padding : int or pair of ints
        Rows and columns added to the result at its end: with a stride, several sizes convolve to one.

    >>> import gpugrad as gg
    >>> gg.nn.functional.conv_transpose2d(gg.ones((1, 1, 2, 2)), gg.ones((1, 1, 2, 2)))
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


__all__ = [
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "convolution",
    "convolution_transpose",
    "convolution_weight",
]
