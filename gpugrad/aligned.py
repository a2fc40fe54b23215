"""NumPy arrays that begin where a line of the CPU's cache does: what parameters and tensors made of data are kept in.

NumPy's own begin 16 bytes into a line, so that most vectors that BLAS reads from them straddle two. For matrices large enough
to be packed first that is nothing; for the small ones of a small net, which are read in place, it is up to a third: 64 x 784
by 784 x 16 in float32 took 15.1 us, and 10.0 with both matrices aligned.
"""

from __future__ import annotations

from typing import Any

import numpy

__all__ = ["aligned_copy", "aligned_empty", "fills_its_base"]

_LINE = 64
_SMALL = 1 << 10
"""Bytes below which it does not matter."""


def aligned_empty(shape: Any, dtype: Any) -> Any:
    """`numpy.empty`, aligned: a view of an array that has up to one line more, on one axis."""
    dtype = numpy.dtype(dtype)
    array = numpy.empty(shape, dtype)
    if array.nbytes < _SMALL or dtype.hasobject or _LINE % dtype.itemsize:
        return array
    shape, size = array.shape, array.size
    del array  # there may not be room for both
    memory = numpy.empty(size + _LINE // dtype.itemsize, dtype)
    start = -memory.__array_interface__["data"][0] % _LINE // dtype.itemsize
    return memory[start : start + size].reshape(shape)


def aligned_copy(array: Any, dtype: Any = None) -> Any:
    """A copy of a NumPy array, of another dtype if one is given, aligned where it is contiguous."""
    if array.nbytes < _SMALL or not array.flags.c_contiguous:
        return numpy.array(array, dtype, copy=True, subok=False)
    copy = aligned_empty(array.shape, array.dtype if dtype is None else dtype)
    copy[...] = array
    return copy


def fills_its_base(array: Any) -> bool:
    """Whether an array has all memory of another, as aligned ones have: who views it then holds that one."""
    base = array.base
    return base.__class__ is numpy.ndarray and base.nbytes <= array.nbytes + _LINE
