"""Layers that normalise: over features, a batch, groups of channels, or each channel of each sample."""

from __future__ import annotations

from typing import Any

import numpy

from ..creation import ones, zeros
from ..errors import ShapeError
from ..modes import no_grad
from ..ops import normalization, updates
from ..ops.elementwise import reciprocal
from ..ops.shape import astype
from ..tensor import Tensor, asarray
from .module import Buffer, Module, Parameter


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last axes, then scale and shift (`torch.nn.LayerNorm`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> layer = gg.nn.LayerNorm(4)
    >>> layer(gg.zeros((2, 4))).shape
    (2, 4)
    >>> list(layer.state_dict())
    ['weight', 'bias']
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(ones(self.normalized_shape, dtype, device)) if elementwise_affine else None
        self.bias = Parameter(zeros(self.normalized_shape, dtype, device)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        """Normalise the last axes of x."""
        return normalization.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class RMSNorm(Module):
    """Mean square 1 over the last axes, then scale (`torch.nn.RMSNorm`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.RMSNorm(2)(gg.tensor([[3.0, -3.0]])).detach()
    tensor([[ 1., -1.]])
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(ones(self.normalized_shape, dtype, device)) if elementwise_affine else None

    def forward(self, x: Any) -> Tensor:
        """Normalise the last axes of x."""
        return normalization.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class GroupNorm(Module):
    """Mean 0 and variance 1 of groups of channels in each sample (`torch.nn.GroupNorm`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.GroupNorm(2, 4)(gg.zeros((3, 4, 5))).shape
    (3, 4, 5)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(f"GroupNorm: {num_channels} channels cannot be cut into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(ones((num_channels,), dtype, device)) if affine else None
        self.bias = Parameter(zeros((num_channels,), dtype, device)) if affine and bias else None

    def forward(self, x: Any) -> Tensor:
        """Normalise x of shape (N, C, ...)."""
        return normalization.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


class _RunningNorm(Module):
    """What batch and instance norm share: parameters and running statistics, one of each per channel."""

    axes: tuple[int, ...] = ()
    tracks = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool | None = None,
        track_running_stats: bool | None = None,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        affine = self.tracks if affine is None else affine
        track = self.tracks if track_running_stats is None else track_running_stats
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(ones((num_features,), dtype, device)) if affine else None
        self.bias = Parameter(zeros((num_features,), dtype, device)) if affine and bias else None
        self.running_mean = Buffer(zeros((num_features,), dtype, device)) if track else None
        self.running_var = Buffer(ones((num_features,), dtype, device)) if track else None
        self.num_batches_tracked = Buffer(zeros((), numpy.int64, device)) if track else None

    def _checked(self, x: Any) -> Tensor:
        x = asarray(x)
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            axes = " or ".join(map(str, self.axes))
            raise ShapeError(f"{type(self).__name__}: x must have {axes} axes, (N, {self.num_features}, ...); got {x.shape}")
        return x

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}, "
            f"track_running_stats={self.running_mean is not None}"
        )


class _BatchNorm(_RunningNorm):
    def forward(self, x: Any) -> Tensor:
        """Normalise each channel of x by this batch in training, by the running statistics otherwise."""
        x, momentum = self._checked(x), self._next_weight()
        batch = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        return normalization.batch_norm(x, mean, var, self.weight, self.bias, batch, momentum, self.eps)

    def _next_weight(self) -> Any:
        """What the running statistics take of this batch, which is counted; without a momentum, they are plain means."""
        if not self.training or self.num_batches_tracked is None:
            return self.momentum or 0.0
        with no_grad():
            updates.add_(self.num_batches_tracked, 1)
            return reciprocal(astype(self.num_batches_tracked, numpy.float32)) if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm):
    """Mean 0 and variance 1 of each channel over a batch of (N, C) or (N, C, L) (`torch.nn.BatchNorm1d`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> layer = gg.nn.BatchNorm1d(2)
    >>> layer(gg.tensor([[1.0, 0.0], [3.0, 0.0]])).detach()
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Mean 0 and variance 1 of each channel over a batch of (N, C, H, W) (`torch.nn.BatchNorm2d`)."""

    axes = (4,)


class BatchNorm3d(_BatchNorm):
    """Mean 0 and variance 1 of each channel over a batch of (N, C, D, H, W) (`torch.nn.BatchNorm3d`)."""

    axes = (5,)


class _InstanceNorm(_RunningNorm):
    tracks = False

    def forward(self, x: Any) -> Tensor:
        """Normalise each channel of each sample of x."""
        x, momentum = self._checked(x), self.momentum or 0.0
        own = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        return normalization.instance_norm(x, mean, var, self.weight, self.bias, own, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Mean 0 and variance 1 of each channel of each sample of (N, C, L) (`torch.nn.InstanceNorm1d`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.InstanceNorm1d(1)(gg.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.,  1.]]])
    """

    axes = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Mean 0 and variance 1 of each channel of each sample of (N, C, H, W) (`torch.nn.InstanceNorm2d`)."""

    axes = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Mean 0 and variance 1 of each channel of each sample of (N, C, D, H, W) (`torch.nn.InstanceNorm3d`)."""

    axes = (5,)
