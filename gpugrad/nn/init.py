"""Initialisers: they fill a Tensor in place and return it (`torch.nn.init`)."""

from __future__ import annotations

import math

from ..errors import ShapeError, describe
from ..modes import no_grad
from ..ops import random
from ..ops.updates import assign_
from ..tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


@no_grad()
def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform in [low, high).

    >>> import gpugrad as gg
    >>> gg.nn.init.uniform_(gg.zeros((2, 3)), -1, 1).shape
    (2, 3)
    """
    assign_(tensor, random.uniform(tensor.shape, low, high, tensor.dtype, device=tensor.device))
    return tensor


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with a mean and a standard deviation.

    >>> import gpugrad as gg
    >>> gg.nn.init.normal_(gg.zeros((2, 3))).shape
    (2, 3)
    """
    assign_(tensor, random.normal(tensor.shape, mean, std, tensor.dtype, device=tensor.device))
    return tensor


@no_grad()
def constant_(tensor: Tensor, value: float) -> Tensor:
    """One value everywhere.

    >>> import gpugrad as gg
    >>> gg.nn.init.constant_(gg.zeros((2,)), 3.0)
    tensor([3., 3.])
    """
    assign_(tensor, value)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros.

    >>> import gpugrad as gg
    >>> gg.nn.init.zeros_(gg.ones((2,)))
    tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones.

    >>> import gpugrad as gg
    >>> gg.nn.init.ones_(gg.zeros((2,)))
    tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor by which to widen a layer's initial weights for the activation behind it (`torch.nn.init.calculate_gain`).

    >>> import gpugrad as gg
    >>> round(gg.nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"no gain is known for {nonlinearity!r}: use one of {', '.join([*_GAINS, 'leaky_relu'])}")
    return _GAINS[nonlinearity]


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight of shape (out, in, ...)."""
    if tensor.ndim < 2:
        raise ShapeError(f"fan-in and fan-out need a weight of shape (out, in, ...), got {describe(tensor)}")
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance ``2 gain^2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010).

    >>> import gpugrad as gg
    >>> w = gg.nn.init.xavier_uniform_(gg.zeros((3, 5)))
    >>> bool((abs(w) <= (6 / 8) ** 0.5).all())
    True
    """
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance ``2 gain^2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010).

    >>> import gpugrad as gg
    >>> gg.nn.init.xavier_normal_(gg.zeros((3, 5))).shape
    (3, 5)
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[mode == "fan_out"])


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform with variance ``gain^2 / fan`` (He et al., 2015).

    >>> import gpugrad as gg
    >>> w = gg.nn.init.kaiming_uniform_(gg.zeros((3, 6)))
    >>> bool((abs(w) <= 1).all())
    True
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with variance ``gain^2 / fan`` (He et al., 2015).

    >>> import gpugrad as gg
    >>> gg.nn.init.kaiming_normal_(gg.zeros((3, 6))).shape
    (3, 6)
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))
