"""Dropout: elements, or whole channels, set to 0 at random while training."""

from __future__ import annotations

from typing import Any

import numpy

from .. import backend, half
from ..errors import ShapeError
from ..op import ArrayLike, as_tensor, linear
from ..op import composed as F
from ..tape import current_mode
from . import philox
from .random import default_generator
from .samples import array, calls


def uniform_on(x: Any, shape: tuple[int, ...]) -> Any:
    """Uniform numbers in [0, 1) from the default generator, on the device of `x`; float32, or float64 for float64."""
    return F.random_uniform(shape, numpy.promote_types(x.dtype, numpy.float32), None, x.device)


def _check_p(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is a probability, in [0, 1]; got {p}")


def _scale(p: float) -> float:
    """What elements that are kept are multiplied by."""
    return 0 if p == 1 else 1 / (1 - p)


def _dropped(name: str, x: Any, shape: tuple[int, ...], p: float, training: bool) -> Any:
    _check_p(name, p)
    if not training or p == 0:
        return x
    return x * F.multiply(F.greater_equal(uniform_on(x, shape), p), x.dtype.type(_scale(p)))


_STATE = numpy.array([1, 2, 3, 4, 5, 6], numpy.uint64)


@linear(
    transpose=lambda F, t, state, p: F.dropout_from(t, state, p),
    samples=calls(
        lambda rng: ((array(rng, 3, 7), _STATE), {}),
        lambda rng: ((array(rng, 5), _STATE), {"p": 0.25}),
        lambda rng: ((array(rng, 2), _STATE), {"p": 1.0}),
    ),
)
def dropout_from(xp: Any, x: ArrayLike, state: ArrayLike, p: float = 0.5) -> Any:
    """`dropout` by the numbers that follow a state of the generator, which its backward draws again: no mask is kept.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.ops.dropout.dropout_from(gg.ones(5), np.ones(6, "uint64"))
    tensor([2., 0., 0., 2., 2.])
    """
    drawn = numpy.promote_types(x.dtype, numpy.float32)
    kept = philox.uniform_from(xp, backend.on_host(state), x.shape, drawn) >= p
    return x * (kept.astype(x.dtype) * x.dtype.type(_scale(p)))


def dropout(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """Each element 0 with probability `p`, the others times ``1 / (1 - p)``, while training (`torch.nn.functional.dropout`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout([1.0, 2.0], training=False)
    tensor([1., 2.])
    >>> gg.nn.functional.dropout(gg.ones(1000)).max()
    tensor(2.)
    """
    x = as_tensor(x)
    bits: Any = default_generator().bit_generator
    if not training or p == 0 or not half.is_floating(x.dtype):
        return _dropped("dropout", x, x.shape, p, training)
    bits.advance(0)  # to the next block of the generator, where a kernel can begin: before and after, on all devices
    if x.device == "cpu" or current_mode().records is not None:  # a program would draw the same numbers again and again
        out = _dropped("dropout", x, x.shape, p, training)
        if x.size % 8:
            bits.advance(0)
        return out
    _check_p("dropout", p)
    state = backend.beside(philox.state_of(bits), x._array)
    bits.advance(philox.blocks_of(x.size, numpy.promote_types(x.dtype, numpy.float32)))
    return F.dropout_from(x, state, p)


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


__all__ = ["dropout", "dropout1d", "dropout2d", "dropout_from", "uniform_on"]
