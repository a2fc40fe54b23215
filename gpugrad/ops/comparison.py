"""Comparisons and predicates: boolean results, nothing to differentiate."""

from __future__ import annotations

from typing import Any

from ..op import ArrayLike, elementwise
from .samples import array, binary, calls, unary


@elementwise(ufunc="equal", cuda="{x} == {y}", samples=binary())
def equal(x: ArrayLike, y: ArrayLike) -> Any:
    """``x == y``, elementwise (`numpy.equal`).

    >>> import gpugrad as gg
    >>> gg.equal([1.0, 2.0], 2.0)
    tensor([False,  True])
    """


@elementwise(ufunc="not_equal", cuda="{x} != {y}", samples=binary())
def not_equal(x: ArrayLike, y: ArrayLike) -> Any:
    """``x != y``, elementwise (`numpy.not_equal`).

    >>> import gpugrad as gg
    >>> gg.not_equal([1.0, 2.0], 2.0)
    tensor([ True, False])
    """


@elementwise(ufunc="less", cuda="{x} < {y}", samples=binary())
def less(x: ArrayLike, y: ArrayLike) -> Any:
    """``x < y``, elementwise (`numpy.less`).

    >>> import gpugrad as gg
    >>> gg.less([1.0, 2.0], 2.0)
    tensor([ True, False])
    """


@elementwise(ufunc="less_equal", cuda="{x} <= {y}", samples=binary())
def less_equal(x: ArrayLike, y: ArrayLike) -> Any:
    """``x <= y``, elementwise (`numpy.less_equal`).

    >>> import gpugrad as gg
    >>> gg.less_equal([1.0, 3.0], 2.0)
    tensor([ True, False])
    """


@elementwise(ufunc="greater", cuda="{x} > {y}", samples=binary())
def greater(x: ArrayLike, y: ArrayLike) -> Any:
    """``x > y``, elementwise (`numpy.greater`).

    >>> import gpugrad as gg
    >>> gg.greater([1.0, 3.0], 2.0)
    tensor([False,  True])
    """


@elementwise(ufunc="greater_equal", cuda="{x} >= {y}", samples=binary())
def greater_equal(x: ArrayLike, y: ArrayLike) -> Any:
    """``x >= y``, elementwise (`numpy.greater_equal`).

    >>> import gpugrad as gg
    >>> gg.greater_equal([1.0, 2.0], 2.0)
    tensor([False,  True])
    """


@elementwise(ufunc="logical_and", cuda="{x} && {y}", samples=binary())
def logical_and(x: ArrayLike, y: ArrayLike) -> Any:
    """Both are true, elementwise (`numpy.logical_and`); ``x & y`` on boolean tensors.

    >>> import gpugrad as gg
    >>> gg.logical_and([True, False], True)
    tensor([ True, False])
    """


@elementwise(ufunc="logical_or", cuda="{x} || {y}", samples=binary())
def logical_or(x: ArrayLike, y: ArrayLike) -> Any:
    """At least one is true, elementwise (`numpy.logical_or`); ``x | y`` on boolean tensors.

    >>> import gpugrad as gg
    >>> gg.logical_or([True, False], False)
    tensor([ True, False])
    """


@elementwise(ufunc="logical_xor", cuda="!{x} != !{y}", samples=binary())
def logical_xor(x: ArrayLike, y: ArrayLike) -> Any:
    """Exactly one is true, elementwise (`numpy.logical_xor`).

    >>> import gpugrad as gg
    >>> gg.logical_xor([True, False], True)
    tensor([False,  True])
    """


@elementwise(ufunc="logical_not", cuda="!{x}", samples=unary())
def logical_not(x: ArrayLike) -> Any:
    """Not true, elementwise (`numpy.logical_not`); ``~x`` on boolean tensors.

    >>> import gpugrad as gg
    >>> gg.logical_not([True, False])
    tensor([False,  True])
    """


@elementwise(ufunc="isnan", cuda="isnan({x})", samples=unary())
def isnan(x: ArrayLike) -> Any:
    """Whether not a number, elementwise (`numpy.isnan`).

    >>> import gpugrad as gg
    >>> gg.isnan([1.0, float("nan")])
    tensor([False,  True])
    """


@elementwise(ufunc="isinf", cuda="isinf({x})", samples=unary())
def isinf(x: ArrayLike) -> Any:
    """Whether infinite, elementwise (`numpy.isinf`).

    >>> import gpugrad as gg
    >>> gg.isinf([1.0, float("inf")])
    tensor([False,  True])
    """


@elementwise(ufunc="isfinite", cuda="isfinite({x})", samples=unary())
def isfinite(x: ArrayLike) -> Any:
    """Whether neither infinite nor nan, elementwise (`numpy.isfinite`).

    >>> import gpugrad as gg
    >>> gg.isfinite([1.0, float("inf")])
    tensor([ True, False])
    """


_BOOLEANS = calls(lambda rng: ((array(rng, 3, 4) > 0, array(rng, 4) > 0), {}), lambda rng: ((rng.integers(0, 9, 4), 5), {}))


@elementwise(ufunc="bitwise_and", cuda="{x} & {y}", samples=_BOOLEANS)
def bitwise_and(x: ArrayLike, y: ArrayLike) -> Any:
    """``x & y`` of booleans or integers (`numpy.bitwise_and`).

    >>> import gpugrad as gg
    >>> gg.bitwise_and(gg.tensor([6, 5]), 4)
    tensor([4, 4])
    """


@elementwise(ufunc="bitwise_or", cuda="{x} | {y}", samples=_BOOLEANS)
def bitwise_or(x: ArrayLike, y: ArrayLike) -> Any:
    """``x | y`` of booleans or integers (`numpy.bitwise_or`).

    >>> import gpugrad as gg
    >>> gg.bitwise_or(gg.tensor([6, 5]), 1)
    tensor([7, 5])
    """


@elementwise(ufunc="bitwise_xor", cuda="{x} ^ {y}", samples=_BOOLEANS)
def bitwise_xor(x: ArrayLike, y: ArrayLike) -> Any:
    """``x ^ y`` of booleans or integers (`numpy.bitwise_xor`).

    >>> import gpugrad as gg
    >>> gg.bitwise_xor(gg.tensor([6, 5]), 4)
    tensor([2, 1])
    """


@elementwise(ufunc="invert", samples=calls(lambda rng: ((array(rng, 3, 4) > 0,), {})))
def invert(x: ArrayLike) -> Any:
    """``~x``: not, for booleans; all bits flipped, for integers (`numpy.invert`).

    >>> import gpugrad as gg
    >>> gg.invert(gg.tensor([True, False]))
    tensor([False,  True])
    """
