"""Sample generators: the arguments that an op's tests are generated from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from ..op import Sample, Samples

Generator = numpy.random.Generator


def array(rng: Generator, *shape: int, low: float = -2.0, high: float = 2.0) -> numpy.ndarray[Any, Any]:
    """A float64 array of uniform values."""
    return rng.uniform(low, high, shape)


def complex_array(rng: Generator, *shape: int) -> numpy.ndarray[Any, Any]:
    """A complex128 array with both parts uniform in (-2, 2)."""
    return rng.uniform(-2, 2, shape) + 1j * rng.uniform(-2, 2, shape)


def distinct(rng: Generator, *shape: int, gap: float = 0.1) -> numpy.ndarray[Any, Any]:
    """Values in random order that are at least about `gap` apart: no ties, so that maxima are differentiable."""
    size = int(numpy.prod(shape))
    values = (rng.permutation(size) - size / 2) * gap + rng.uniform(0, gap / 4, size)
    return values.reshape(shape)


def unary(low: float = -2.0, high: float = 2.0, **kwargs: Any) -> Samples:
    """One array: a matrix, a vector and a 0-d array with values in (low, high)."""

    def make(rng: Generator) -> Iterable[Sample]:
        for shape in ((3, 4), (5,), ()):
            yield Sample((array(rng, *shape, low=low, high=high),), kwargs)

    return make


def binary(low: float = -2.0, high: float = 2.0, low2: float | None = None, high2: float | None = None) -> Samples:
    """Two arrays of the same shape, of shapes that broadcast both ways, and a 0-d one."""
    low2, high2 = low if low2 is None else low2, high if high2 is None else high2

    def make(rng: Generator) -> Iterable[Sample]:
        for left, right in (((3, 4), (3, 4)), ((3, 1), (4,)), ((2, 3, 4), (3, 1)), ((), (3,)), ((), ())):
            yield Sample((array(rng, *left, low=low, high=high), array(rng, *right, low=low2, high=high2)))

    return make


def reductions(low: float = -2.0, high: float = 2.0, **kwargs: Any) -> Samples:
    """One array without ties, over every form of `axis` and `keepdims`."""

    def make(rng: Generator) -> Iterable[Sample]:
        for axis in (None, 0, -1, (0, 2)):
            for keepdims in (False, True):
                values = distinct(rng, 2, 3, 4, gap=(high - low) / 24) + (low + high) / 2
                yield Sample((values,), {"axis": axis, "keepdims": keepdims} | kwargs)

    return make


def calls(*makers: Any) -> Samples:
    """Samples given one by one, as functions of the generator that return the arguments and keyword arguments."""

    def make(rng: Generator) -> Iterable[Sample]:
        for maker in makers:
            args, kwargs = maker(rng)
            yield Sample(args, kwargs)

    return make
