"""Layers for sequences and images: convolutions, pooling, resizing."""

from __future__ import annotations

import math
from typing import Any

from ..creation import empty
from ..errors import ShapeError
from ..ops import convolution, pooling, resize, unfold
from ..ops.padding import pad
from ..ops.windows import Ints, ints
from ..tensor import Tensor
from . import init
from .module import Module, Parameter
from .of_functions import OfFunction

_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _options(module: Any, names: str) -> str:
    """Attributes as a call would have them."""
    return ", ".join(f"{name}={getattr(module, name)}" for name in names.split())


class _Conv(Module):
    """What the convolutions have in common: options, parameters and how these start."""

    axes: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: Any,
        output_padding: Ints,
        dilation: Ints,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: str | None,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(f"{name}({in_channels}, {out_channels}): groups={groups} must divide both numbers of channels")
        if padding_mode not in _PAD_MODES or (self.transposed and padding_mode != "zeros"):
            allowed = "zeros" if self.transposed else ", ".join(_PAD_MODES)
            raise ShapeError(f"{name}: padding_mode must be {allowed}; got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size = ints("kernel_size", kernel_size, self.axes, 1)
        self.stride, self.dilation = ints("stride", stride, self.axes, 1), ints("dilation", dilation, self.axes, 1)
        self.padding: Any = padding if isinstance(padding, str) else ints("padding", padding, self.axes, 0)
        self.output_padding = ints("output_padding", output_padding, self.axes, 0)
        into, out = (out_channels, in_channels) if self.transposed else (in_channels, out_channels)
        self.weight = Parameter(empty((out, into // groups, *self.kernel_size), dtype, device))
        bound = 1 / math.sqrt(max(1, math.prod(self.weight.shape[1:])))
        init.uniform_(self.weight, -bound, bound)
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(empty((out_channels,), dtype, device))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Options that are not the default, as PyTorch shows them."""
        plain: dict[str, tuple[int, ...]] = {"padding": (0,), "output_padding": (0,), "dilation": (1,)}
        text = f"{self.in_channels}, {self.out_channels}, " + _options(self, "kernel_size stride")
        for name, default in plain.items():
            if getattr(self, name) != default * self.axes:
                text += ", " + _options(self, name)
        if self.groups != 1:
            text += ", " + _options(self, "groups")
        if self.bias is None:
            text += ", bias=False"
        return text + ("" if self.padding_mode == "zeros" else ", " + _options(self, "padding_mode"))


class _Forward(_Conv):
    """A convolution, with the arguments that PyTorch gives one."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints | str = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode, device, dtype
        )

    def forward(self, x: Any) -> Tensor:
        """Convolve (N, C, *sizes) or (C, *sizes)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            margins = convolution.margins_of(padding, self.kernel_size, self.stride, self.dilation)
            lead = ((0, 0),) * (len(x.shape) - self.axes)
            x, padding = pad(x, (*lead, *margins), mode=_PAD_MODES[self.padding_mode]), 0
        function = convolution.conv1d if self.axes == 1 else convolution.conv2d
        out: Tensor = function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return out


class Conv1d(_Forward):
    """Convolution of (N, C, L) (`torch.nn.Conv1d`); see `Conv2d`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.Conv1d(2, 3, 3, padding=1)(gg.zeros((5, 2, 8))).shape
    (5, 3, 8)
    """

    axes = 1


class Conv2d(_Forward):
    """Convolution of (N, C, H, W) (`torch.nn.Conv2d`).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or pair of ints
    padding : int, pair of ints, "same" or "valid"
    groups : int
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, kh, kw)
    bias : Parameter of shape (out_channels,), or None
        Both start uniform in ``±1/sqrt(fan_in)``, with the elements of one feature's weight as fan-in.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.Conv2d(2, 3, 3, stride=2)(gg.zeros((5, 2, 8, 8))).shape
    (5, 3, 3, 3)
    """

    axes = 2


class _Transposed(_Conv):
    """A transposed convolution, with the arguments that PyTorch gives one."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def forward(self, x: Any, output_size: Any = None) -> Tensor:
        """Transposed convolution of (N, C, *sizes) or (C, *sizes), of the several possible sizes to `output_size`."""
        extra = self.output_padding if output_size is None else self._extra(tuple(x.shape[-self.axes :]), tuple(output_size))
        function = convolution.conv_transpose1d if self.axes == 1 else convolution.conv_transpose2d
        out: Tensor = function(x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)
        return out

    def _extra(self, sizes: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives the wanted size, of the last axes."""
        wanted = wanted[-self.axes :]
        columns = zip(sizes, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in columns)
        extra = tuple(w - n for w, n in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
            raise ShapeError(f"{type(self).__name__}: output_size {wanted} must be between {least} and {most} for x of {sizes}")
        return extra


class ConvTranspose1d(_Transposed):
    """The transpose of a convolution, for (N, C, L) (`torch.nn.ConvTranspose1d`); see `ConvTranspose2d`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.ConvTranspose1d(2, 3, 2, stride=2)(gg.zeros((5, 2, 8))).shape
    (5, 3, 16)
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """The transpose of a convolution, for (N, C, H, W) (`torch.nn.ConvTranspose2d`).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or pair of ints
    output_padding : int or pair of ints
        Rows and columns added to the result at its end.
    groups : int
    bias : bool

    Attributes
    ----------
    weight : Parameter of shape (in_channels, out_channels / groups, kh, kw)
    bias : Parameter of shape (out_channels,), or None

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.ConvTranspose2d(2, 3, 2, stride=2)(gg.zeros((5, 2, 8, 8))).shape
    (5, 3, 16, 16)
    """

    axes = 2


# --- pooling and resizing -----------------------------------------------------------------------------------------


class MaxPool2d(Module):
    """Largest element of each window of (N, C, H, W) (`torch.nn.MaxPool2d`)."""

    _function = staticmethod(pooling.max_pool2d)

    def __init__(  # return_indices before ceil_mode, as in PyTorch's class and not its function
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return self._function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        """Options, as PyTorch shows them."""
        return _options(self, "kernel_size stride padding dilation ceil_mode")


class MaxPool1d(MaxPool2d):
    """Largest element of each window of (N, C, L) (`torch.nn.MaxPool1d`)."""

    _function = staticmethod(pooling.max_pool1d)


class AvgPool1d(OfFunction, function=pooling.avg_pool1d):
    """Mean of each window of (N, C, L) (`torch.nn.AvgPool1d`)."""


class AvgPool2d(OfFunction, function=pooling.avg_pool2d):
    """Mean of each window of (N, C, H, W) (`torch.nn.AvgPool2d`)."""


class AdaptiveAvgPool1d(OfFunction, function=pooling.adaptive_avg_pool1d):
    """Means of windows that cover (N, C, L) evenly (`torch.nn.AdaptiveAvgPool1d`)."""


class AdaptiveAvgPool2d(OfFunction, function=pooling.adaptive_avg_pool2d):
    """Means of windows that cover (N, C, H, W) evenly (`torch.nn.AdaptiveAvgPool2d`)."""


class AdaptiveMaxPool1d(OfFunction, function=pooling.adaptive_max_pool1d):
    """Largest elements of windows that cover (N, C, L) evenly (`torch.nn.AdaptiveMaxPool1d`)."""


class AdaptiveMaxPool2d(OfFunction, function=pooling.adaptive_max_pool2d):
    """Largest elements of windows that cover (N, C, H, W) evenly (`torch.nn.AdaptiveMaxPool2d`)."""


class LPPool1d(OfFunction, function=pooling.lp_pool1d):
    """``sum(x ** p) ** (1 / p)`` of each window of (N, C, L) (`torch.nn.LPPool1d`)."""


class LPPool2d(OfFunction, function=pooling.lp_pool2d):
    """``sum(x ** p) ** (1 / p)`` of each window of (N, C, H, W) (`torch.nn.LPPool2d`)."""


class Unfold(OfFunction, function=unfold.unfold):
    """Windows of (N, C, H, W) as columns (`torch.nn.Unfold`)."""


class Fold(OfFunction, function=unfold.fold):
    """Columns added up where they lie in (N, C, H, W) (`torch.nn.Fold`)."""


class PixelShuffle(OfFunction, function=resize.pixel_shuffle):
    """(N, C r r, H, W) as (N, C, H r, W r) (`torch.nn.PixelShuffle`)."""


class PixelUnshuffle(OfFunction, function=resize.pixel_unshuffle):
    """(N, C, H r, W r) as (N, C r r, H, W) (`torch.nn.PixelUnshuffle`)."""


class ChannelShuffle(OfFunction, function=resize.channel_shuffle):
    """Channels dealt out, one of each group in turn (`torch.nn.ChannelShuffle`)."""


class Upsample(OfFunction, function=resize.interpolate):
    """(N, C, L) or (N, C, H, W) at another size (`torch.nn.Upsample`); see `nn.functional.interpolate`."""
