"""Distinct values and membership. Values are picked elements, so they have gradients; indices and counts have none."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import backend
from ..op import ArrayLike, as_tensor, raw
from . import indexing, shape
from .axes import axis_of, cut
from .placing import beside_arguments, tensor_beside
from .sorting import sort


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Any
    inverse_indices: Any


@beside_arguments
def _distinct(x: Any, axis: int | None, equal_nan: bool) -> UniqueAll:
    """Distinct elements, or parts along an axis, in order, and the places of the first of each."""
    x = as_tensor(x)
    flat, along = (shape.reshape(x, -1), 0) if axis is None else (x, axis_of(axis, x.ndim))
    array = raw(flat)
    xp = backend.namespace_of(array)
    options: dict[str, Any] = {"equal_nan": equal_nan} | ({} if axis is None else {"axis": along})
    _, first, inverse, counts = xp.unique(array, return_index=True, return_inverse=True, return_counts=True, **options)
    values = indexing.getitem(flat, cut(flat.ndim, along, first))
    inverse = inverse.reshape(x.shape if axis is None else -1)
    return UniqueAll(values, as_tensor(first), as_tensor(inverse), as_tensor(counts))


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    equal_nan: bool = True,
) -> Any:
    """Sorted elements without repeats, or parts along an axis (`numpy.unique`); the gradient goes to the first of each.

    >>> import gpugrad as gg
    >>> gg.unique([3.0, 1.0, 3.0])
    tensor([1., 3.])
    """
    found = _distinct(ar, axis, equal_nan)
    wanted = ((return_index, found.indices), (return_inverse, found.inverse_indices), (return_counts, found.counts))
    more = [part for yes, part in wanted if yes]
    return (found.values, *more) if more else found.values


def unique_all(x: ArrayLike) -> UniqueAll:
    """Distinct values, where each comes first, which of them each element is, and how many there are (`numpy.unique_all`).

    A nan is distinct from every other, as the array API has it.

    >>> import gpugrad as gg
    >>> gg.unique_all([3.0, 1.0, 3.0]).counts
    tensor([1, 2])
    """
    return _distinct(x, None, False)


def unique_counts(x: ArrayLike) -> UniqueCounts:
    """Distinct values and how many there are of each (`numpy.unique_counts`).

    >>> import gpugrad as gg
    >>> gg.unique_counts([3.0, 1.0, 3.0])
    UniqueCounts(values=tensor([1., 3.]), counts=tensor([1, 2]))
    """
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: ArrayLike) -> UniqueInverse:
    """Distinct values and which of them each element is (`numpy.unique_inverse`).

    >>> import gpugrad as gg
    >>> gg.unique_inverse([3.0, 1.0, 3.0]).inverse_indices
    tensor([1, 0, 1])
    """
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: ArrayLike) -> Any:
    """Distinct values, in order (`numpy.unique_values`).

    >>> import gpugrad as gg
    >>> gg.unique_values([3.0, 1.0, 3.0])
    tensor([1., 3.])
    """
    return unique_all(x).values


@beside_arguments
def isin(element: ArrayLike, test_elements: ArrayLike, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is among the others (`numpy.isin`, `torch.isin`).

    >>> import gpugrad as gg
    >>> gg.isin([1, 2, 3], [3, 1])
    tensor([ True, False,  True])
    """
    x = as_tensor(element)
    array, others = raw(x), raw(tensor_beside(test_elements, x))
    return as_tensor(backend.namespace_of(array).isin(array, others, assume_unique=assume_unique, invert=invert))


def union1d(ar1: ArrayLike, ar2: ArrayLike) -> Any:
    """Distinct values of both (`numpy.union1d`).

    >>> import gpugrad as gg
    >>> gg.union1d([3.0, 1.0], [1.0, 2.0])
    tensor([1., 2., 3.])
    """
    return unique(shape.concatenate([ar1, ar2], None))


@beside_arguments
def _pooled(ar1: Any, ar2: Any, assume_unique: bool) -> tuple[Any, Any]:
    """The distinct values of each, sorted together, and which are equal to their successor."""
    ar1 = as_tensor(ar1)
    ar2 = tensor_beside(ar2, ar1)
    pool = sort(shape.concatenate([ar1, ar2] if assume_unique else [unique(ar1), unique(ar2)], None))
    array = raw(pool)
    return pool, array[1:] == array[:-1]


@beside_arguments
def intersect1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """Distinct values that are in both (`numpy.intersect1d`), and if `return_indices` where they come first in each.

    >>> import gpugrad as gg
    >>> gg.intersect1d([3.0, 1.0], [1.0, 2.0])
    tensor([1.])
    """
    if return_indices:
        x = as_tensor(ar1)
        (left, i), (right, j) = unique(x, True), unique(tensor_beside(ar2, x), True)
        mine, theirs = raw(isin(left, right)), raw(isin(right, left))
        return indexing.getitem(left, mine), indexing.getitem(i, mine), indexing.getitem(j, theirs)
    pool, twice = _pooled(ar1, ar2, assume_unique)
    return indexing.getitem(pool, twice.nonzero()[0])


@beside_arguments
def setxor1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> Any:
    """Distinct values that are in one of both only (`numpy.setxor1d`).

    >>> import gpugrad as gg
    >>> gg.setxor1d([3.0, 1.0], [1.0, 2.0])
    tensor([2., 3.])
    """
    pool, twice = _pooled(ar1, ar2, assume_unique)
    xp = backend.namespace_of(twice)
    edge = xp.zeros(1 if pool.shape[0] else 0, bool)
    alone = ~(xp.concatenate([edge, twice]) | xp.concatenate([twice, edge]))
    return indexing.getitem(pool, alone.nonzero()[0])


@beside_arguments
def setdiff1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> Any:
    """Distinct values of the first that are not in the second (`numpy.setdiff1d`).

    >>> import gpugrad as gg
    >>> gg.setdiff1d([3.0, 1.0], [1.0, 2.0])
    tensor([3.])
    """
    values = shape.reshape(as_tensor(ar1), -1) if assume_unique else unique(ar1)
    return indexing.getitem(values, raw(isin(values, ar2, invert=True)).nonzero()[0])


__all__ = [
    "UniqueAll", "UniqueCounts", "UniqueInverse", "intersect1d", "isin", "setdiff1d", "setxor1d", "union1d", "unique",
    "unique_all", "unique_counts", "unique_inverse", "unique_values",
]  # fmt: skip
