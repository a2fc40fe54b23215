"""Arithmetic of integers and their bits: nothing to differentiate."""

from __future__ import annotations

from typing import Any

import numpy

from ..op import ArrayLike, elementwise, elementwise_function
from .samples import calls

_PAIRS = calls(
    lambda rng: ((rng.integers(0, 60, (3, 4)), rng.integers(0, 6, (3, 4))), {}),
    lambda rng: ((rng.integers(0, 60, (3, 1)), rng.integers(0, 6, 4)), {}),
)


@elementwise(ufunc="left_shift", cuda="{x} << {y}", samples=_PAIRS)
def bitwise_left_shift(x: ArrayLike, y: ArrayLike) -> Any:
    """Bits moved `y` places up, ``x << y``, elementwise (`numpy.left_shift`, `torch.bitwise_left_shift`).

    >>> import gpugrad as gg
    >>> gg.bitwise_left_shift([1, 3], 2)
    tensor([ 4, 12])
    """


@elementwise(ufunc="right_shift", cuda="{x} >> {y}", samples=_PAIRS)
def bitwise_right_shift(x: ArrayLike, y: ArrayLike) -> Any:
    """Bits moved `y` places down, ``x >> y``, elementwise (`numpy.right_shift`, `torch.bitwise_right_shift`).

    >>> import gpugrad as gg
    >>> gg.bitwise_right_shift([4, 12], 2)
    tensor([1, 3])
    """


@elementwise(ufunc="gcd", samples=_PAIRS)
def gcd(x: ArrayLike, y: ArrayLike) -> Any:
    """Greatest common divisor, elementwise (`numpy.gcd`, `torch.gcd`).

    >>> import gpugrad as gg
    >>> gg.gcd([4, 9], 6)
    tensor([2, 3])
    """


@elementwise(ufunc="lcm", samples=_PAIRS)
def lcm(x: ArrayLike, y: ArrayLike) -> Any:
    """Least common multiple, elementwise (`numpy.lcm`, `torch.lcm`).

    >>> import gpugrad as gg
    >>> gg.lcm([4, 9], 6)
    tensor([12, 18])
    """


_ONES_IN_BYTE = numpy.array([bin(n).count("1") for n in range(256)], numpy.uint8)


@elementwise_function(
    samples=calls(lambda rng: ((rng.integers(-60, 60, (3, 4)),), {}), lambda rng: ((rng.integers(0, 9, 5),), {}))
)
def bitwise_count(xp: Any, x: ArrayLike) -> Any:
    """How many bits of ``abs(x)`` are set, elementwise (`numpy.bitwise_count`).

    >>> import gpugrad as gg
    >>> gg.bitwise_count([7, -8])
    tensor([3, 1], dtype=uint8)
    """
    x = xp.asarray(x)
    if x.dtype.kind not in "iub":
        raise TypeError("it is defined for integers only")
    if xp is numpy:
        return numpy.bitwise_count(x)
    bits = xp.ascontiguousarray(xp.abs(x))  # CuPy has no such ufunc: byte by byte, by a table
    table = xp.asarray(_ONES_IN_BYTE)
    return table[bits.reshape(-1).view(xp.uint8)].reshape(*x.shape, bits.dtype.itemsize).sum(axis=-1).astype(xp.uint8)


__all__ = ["bitwise_count", "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm"]
