"""What an optimiser remembers of many small parameters, one after another in one array.

A rule of ten calls takes as long on ten elements as on a thousand. Where the states are parts of an `Arena`, one run of the
rule serves many parameters: only their gradients are copied together, and the changes shared out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

__all__ = ["BLOCK", "arranged", "blocks", "joined", "pieces", "shared_out", "together"]

BLOCK = 1 << 15
"""Elements updated at a time: the parameters, their gradients and their moments then stay in the cache."""


class Arena(numpy.ndarray[Any, Any]):
    """One axis of memory; `parts` are the identities of the arrays that it was divided into, in order."""

    parts: tuple[int, ...] = ()


def arranged(arrays: Sequence[Any]) -> Sequence[Any]:
    """The same values as parts of one `Arena`; unchanged where there is but one, or they differ in dtype or device."""
    dtype = arrays[0].dtype
    if len(arrays) < 2 or any(a.__class__ is not numpy.ndarray or a.dtype != dtype for a in arrays):
        return arrays
    arena = Arena((sum(a.size for a in arrays),), dtype)
    parts, start = [], 0
    for a in arrays:
        part: Any = numpy.ndarray(a.shape, dtype, arena, start)
        part[...] = a
        parts.append(part)
        start += a.nbytes
    arena.parts = tuple(map(id, parts))
    return parts


def joined(parts: Sequence[Any]) -> Any:
    """The one array that these are, in order, all parts of; None where they are not."""
    arena = parts[0].base
    if arena.__class__ is not Arena or arena.parts != tuple(map(id, parts)):
        return None
    for part in parts:  # since identities are given anew
        if part.base is not arena:
            return None
    return arena.view(numpy.ndarray)


def pieces(xp: Any, runs: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Work of a good size, from runs of parameters, gradients and states: a list of parameters, their gradient, their states.

    The last are flat, and a gradient of several parameters is a copy of theirs.
    """
    parameters, gradients, *states = runs
    wholes: list[Any] = [joined(run) for run in states] if xp is numpy and len(parameters) > 1 else [None]
    dtype = gradients[0].dtype
    fit = all(whole is not None and whole.dtype is dtype for whole in wholes)
    if not (fit and all(p.shape == s.shape and g.dtype is dtype for p, g, s in zip(parameters, gradients, states[0]))):
        for arrays in zip(*runs, strict=True):
            yield from blocks(xp, *arrays)
        return
    start = first = 0
    sizes = [p.size for p in parameters]
    while first < len(sizes):
        stop, last = start + sizes[first], first + 1
        while last < len(sizes) and stop - start + sizes[last] <= BLOCK:
            stop += sizes[last]
            last += 1
        kept = [whole[start:stop] for whole in wholes]
        if last == first + 1:
            p, g = parameters[first], gradients[first]
            yield from blocks(xp, p, g, *[k.reshape(p.shape) for k in kept])
        else:
            yield parameters[first:last], together(gradients[first:last]), *kept
        start, first = stop, last


def blocks(xp: Any, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    """A parameter and what belongs to it in flat pieces that fit the cache; whole where small, not contiguous or on a GPU."""
    if not arrays[0].ndim:  # NumPy makes scalars of results without axes, which cannot be written to
        arrays = tuple(a.reshape(1) for a in arrays)
    size = arrays[0].size
    if size <= BLOCK or xp is not numpy or not all(a.flags.c_contiguous for a in arrays):
        yield arrays[:1], *arrays[1:]
        return
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, size, BLOCK):
        p, *rest = [a[start : start + BLOCK] for a in flat]
        yield (p,), *rest


def together(arrays: Sequence[Any]) -> Any:
    """All elements on one axis; an array alone as it is."""
    return arrays[0] if len(arrays) == 1 else numpy.concatenate([a.reshape(-1) for a in arrays])


def shared_out(values: Any, arrays: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each array with its part of the values on one axis."""
    if len(arrays) == 1:
        yield arrays[0], values
        return
    start = 0
    for array in arrays:
        stop = start + array.size
        yield array, values[start:stop].reshape(array.shape)
        start = stop
