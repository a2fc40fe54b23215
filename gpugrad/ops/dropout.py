"""Dropout: elements, or whole channels, set to 0 at random while training."""

from __future__ import annotations

from typing import Any

import numpy

from ..errors import ShapeError
from ..op import ArrayLike, as_tensor
from ..op import composed as F


def uniform_on(x: Any, shape: tuple[int, ...]) -> Any:
    """Uniform numbers in [0, 1) from the default generator, on the device of `x`; float32, or float64 for float64."""
    return F.random_uniform(shape, numpy.promote_types(x.dtype, numpy.float32), None, x.device)


def _dropped(name: str, x: Any, shape: tuple[int, ...], p: float, training: bool) -> Any:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is a probability, in [0, 1]; got {p}")
    if not training or p == 0:
        return x
    kept = F.astype(F.greater_equal(uniform_on(x, shape), p), x.dtype)
    return x * (kept if p == 1 else kept * (1 / (1 - p)))


def dropout(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """Each element 0 with probability `p`, the others times ``1 / (1 - p)``, while training (`torch.nn.functional.dropout`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout([1.0, 2.0], training=False)
    tensor([1., 2.])
    >>> gg.nn.functional.dropout(gg.ones(1000)).max()
    tensor(2.)
    """
    x = as_tensor(x)
    return _dropped("dropout", x, x.shape, p, training)


def _channels(name: str, x: Any, spatial: int, p: float, training: bool) -> Any:
    x = as_tensor(x)
    if x.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(f"{name}: x must have {spatial} axes after the channels, (N, C, ...) or (C, ...); got {x.shape}")
    return _dropped(name, x, x.shape[: x.ndim - spatial] + (1,) * spatial, p, training)


def dropout1d(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """`dropout` of whole channels of (N, C, L) or (C, L) (`torch.nn.functional.dropout1d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout1d(gg.ones((8, 4, 3)), p=1.0).sum()
    tensor(0.)
    """
    return _channels("dropout1d", x, 1, p, training)


def dropout2d(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """`dropout` of whole channels of (N, C, H, W) or (C, H, W) (`torch.nn.functional.dropout2d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout2d(gg.ones((8, 4, 3, 3)), training=False).sum()
    tensor(288.)
    """
    return _channels("dropout2d", x, 2, p, training)


__all__ = ["dropout", "dropout1d", "dropout2d", "uniform_on"]
