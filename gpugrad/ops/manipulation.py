"""Shapes: joining, splitting, repeating, flipping, diagonals. All composed of reshapes, broadcasts and indexing."""

from __future__ import annotations

import builtins
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy

from .. import backend
from ..op import ArrayLike, as_tensor, as_tensors, linear, raw
from . import comparison, elementwise, indexing, reduction, shape
from .axes import axes_of, axis_of, cut
from .placing import tensor_beside
from .samples import array, calls

# --- more axes ----------------------------------------------------------------------------------------------------


def _at_least(arrays: tuple[Any, ...], widen: Any) -> Any:
    wide = tuple(widen(a) for a in as_tensors(*arrays))
    return wide[0] if len(wide) == 1 else wide


def atleast_1d(*arys: ArrayLike) -> Any:
    """With at least one axis (`numpy.atleast_1d`).

    >>> import gpugrad as gg
    >>> gg.atleast_1d(1.0)
    tensor([1.])
    """
    return _at_least(arys, lambda a: a if a.ndim else shape.reshape(a, (1,)))


def atleast_2d(*arys: ArrayLike) -> Any:
    """With at least two axes, new ones in front (`numpy.atleast_2d`).

    >>> import gpugrad as gg
    >>> gg.atleast_2d([1.0, 2.0])
    tensor([[1., 2.]])
    """
    return _at_least(arys, lambda a: a if a.ndim > 1 else shape.reshape(a, (1, a.size)))


def atleast_3d(*arys: ArrayLike) -> Any:
    """With at least three axes (`numpy.atleast_3d`).

    >>> import gpugrad as gg
    >>> gg.atleast_3d([1.0, 2.0]).shape
    (1, 2, 1)
    """

    def widen(a: Any) -> Any:
        if a.ndim > 2:
            return a
        return shape.reshape(a, (*a.shape, 1) if a.ndim == 2 else (1, a.size, 1))

    return _at_least(arys, widen)


def matrix_transpose(x: ArrayLike) -> Any:
    """The last two axes exchanged (`numpy.matrix_transpose`).

    >>> import gpugrad as gg
    >>> gg.matrix_transpose(gg.zeros((2, 3, 4))).shape
    (2, 4, 3)
    """
    return shape.swapaxes(x, -1, -2)


def broadcast_arrays(*arrays: ArrayLike) -> tuple[Any, ...]:
    """Arrays broadcast against each other (`numpy.broadcast_arrays`).

    >>> import gpugrad as gg
    >>> [a.shape for a in gg.broadcast_arrays([1.0, 2.0], [[1.0], [2.0]])]
    [(2, 2), (2, 2)]
    """
    tensors = as_tensors(*arrays)
    common = numpy.broadcast_shapes(*[t.shape for t in tensors])
    return tuple(shape.broadcast_to(t, common) for t in tensors)


def meshgrid(*xi: ArrayLike, indexing: str = "xy", sparse: bool = False) -> tuple[Any, ...]:
    """Coordinate arrays of a grid (`numpy.meshgrid`).

    >>> import gpugrad as gg
    >>> [g.shape for g in gg.meshgrid([1.0, 2.0], [1.0, 2.0, 3.0])]
    [(3, 2), (3, 2)]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    xi, n = as_tensors(*xi), len(xi)
    place = list(range(n))
    if indexing == "xy" and n > 1:
        place[:2] = 1, 0
    grids = [shape.reshape(x, [-1 if j == place[i] else 1 for j in range(n)]) for i, x in enumerate(xi)]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


# --- joining and splitting ----------------------------------------------------------------------------------------


def _list(arrays: Any) -> list[Any]:
    return list(as_tensors(*arrays))


def hstack(tup: Sequence[ArrayLike]) -> Any:
    """Joined along the second axis, vectors along their only one (`numpy.hstack`).

    >>> import gpugrad as gg
    >>> gg.hstack([[1.0], [2.0]])
    tensor([1., 2.])
    """
    arrays = [atleast_1d(a) for a in _list(tup)]
    return shape.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1)


def vstack(tup: Sequence[ArrayLike]) -> Any:
    """Joined as rows (`numpy.vstack`).

    >>> import gpugrad as gg
    >>> gg.vstack([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    return shape.concatenate([atleast_2d(a) for a in _list(tup)], 0)


def dstack(tup: Sequence[ArrayLike]) -> Any:
    """Joined along the third axis (`numpy.dstack`).

    >>> import gpugrad as gg
    >>> gg.dstack([[1.0, 2.0], [3.0, 4.0]]).shape
    (1, 2, 2)
    """
    return shape.concatenate([atleast_3d(a) for a in _list(tup)], 2)


def column_stack(tup: Sequence[ArrayLike]) -> Any:
    """Vectors as columns, joined with matrices (`numpy.column_stack`).

    >>> import gpugrad as gg
    >>> gg.column_stack([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 3.],
            [2., 4.]])
    """
    arrays = _list(tup)
    return shape.concatenate([a if a.ndim > 1 else shape.reshape(a, (a.size, 1)) for a in arrays], 1)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Any:
    """Two arrays joined, flattened if `axis` is None (`numpy.append`).

    >>> import gpugrad as gg
    >>> gg.append([1.0], [2.0, 3.0])
    tensor([1., 2., 3.])
    """
    return shape.concatenate([as_tensor(arr), tensor_beside(values, as_tensor(arr))], axis)


def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts along an axis: that many, as even as can be, or cut at these places (`numpy.array_split`).

    >>> import gpugrad as gg
    >>> gg.array_split([1.0, 2.0, 3.0], 2)
    [tensor([1., 2.]), tensor([3.])]
    """
    x = as_tensor(ary)
    n = x.shape[axis_of(axis, x.ndim)]
    if isinstance(indices_or_sections, int | numpy.integer):
        if indices_or_sections < 1:
            raise ValueError(f"array_split: there must be at least 1 part, got {indices_or_sections}")
        small, more = divmod(n, int(indices_or_sections))
        sizes = [small + 1] * more + [small] * (int(indices_or_sections) - more)
        cuts = [0, *numpy.cumsum(sizes).tolist()]
    else:
        cuts = [0, *map(operator.index, indices_or_sections), n]
    return [indexing.getitem(x, cut(x.ndim, axis, slice(a, b))) for a, b in itertools.pairwise(cuts)]


def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Equal parts along an axis, or parts cut at these places (`numpy.split`).

    >>> import gpugrad as gg
    >>> gg.split([1.0, 2.0, 3.0, 4.0], 2)
    [tensor([1., 2.]), tensor([3., 4.])]
    """
    x = as_tensor(ary)
    n = x.shape[axis_of(axis, x.ndim)]
    if isinstance(indices_or_sections, int | numpy.integer) and n % int(indices_or_sections):
        raise ValueError(f"split: {n} elements cannot be cut into {indices_or_sections} equal parts; use array_split")
    return array_split(ary, indices_or_sections, axis)


def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Any]:
    """`split` along the second axis, of a vector along its only one (`numpy.hsplit`).

    >>> import gpugrad as gg
    >>> [part.shape for part in gg.hsplit(gg.zeros((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    return split(ary, indices_or_sections, builtins.min(as_tensor(ary).ndim - 1, 1))


def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Any]:
    """`split` along the first axis (`numpy.vsplit`).

    >>> import gpugrad as gg
    >>> [part.shape for part in gg.vsplit(gg.zeros((2, 4)), 2)]
    [(1, 4), (1, 4)]
    """
    return split(ary, indices_or_sections, 0)


def dsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Any]:
    """`split` along the third axis (`numpy.dsplit`).

    >>> import gpugrad as gg
    >>> [part.shape for part in gg.dsplit(gg.zeros((2, 4, 2)), 2)]
    [(2, 4, 1), (2, 4, 1)]
    """
    return split(ary, indices_or_sections, 2)


def unstack(x: ArrayLike, axis: int = 0) -> tuple[Any, ...]:
    """The parts along an axis, without it (`numpy.unstack`).

    >>> import gpugrad as gg
    >>> gg.unstack([[1.0, 2.0], [3.0, 4.0]])
    (tensor([1., 2.]), tensor([3., 4.]))
    """
    x = as_tensor(x)
    return tuple(indexing.getitem(x, cut(x.ndim, axis, i)) for i in range(x.shape[axis_of(axis, x.ndim)]))


def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Any:
    """Without some elements along an axis (`numpy.delete`).

    >>> import gpugrad as gg
    >>> gg.delete([1.0, 2.0, 3.0], 1)
    tensor([1., 3.])
    """
    x = as_tensor(arr)
    x, along = (shape.reshape(x, -1), 0) if axis is None else (x, axis)
    kept = numpy.delete(numpy.arange(x.shape[axis_of(along, x.ndim)]), backend.on_host(raw(obj)))
    return indexing.getitem(x, cut(x.ndim, along, kept))


# --- repeating ----------------------------------------------------------------------------------------------------


def tile(A: ArrayLike, reps: Any) -> Any:
    """Copies side by side, that many along each axis (`numpy.tile`).

    >>> import gpugrad as gg
    >>> gg.tile([1.0, 2.0], 2)
    tensor([1., 2., 1., 2.])
    """
    x = as_tensor(A)
    counts = tuple(map(operator.index, (reps,) if isinstance(reps, int | numpy.integer) else reps))
    ndim = builtins.max(x.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    lengths = (1,) * (ndim - x.ndim) + x.shape
    apart = shape.reshape(x, [n for length in lengths for n in (1, length)])
    spread = shape.broadcast_to(apart, tuple(n for pair in zip(counts, lengths, strict=True) for n in pair))
    return shape.reshape(spread, tuple(c * n for c, n in zip(counts, lengths, strict=True)))


def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> Any:
    """Each element that many times in a row (`numpy.repeat`).

    >>> import gpugrad as gg
    >>> gg.repeat([1.0, 2.0], [2, 1])
    tensor([1., 1., 2.])
    """
    x = as_tensor(a)
    x, along = (shape.reshape(x, -1), 0) if axis is None else (x, axis)
    if isinstance(repeats, int) and repeats >= 0:  # a new axis, so that the backward is a sum over it
        along = axis_of(along, x.ndim)
        sizes = (*x.shape[: along + 1], repeats, *x.shape[along + 1 :])
        spread = shape.broadcast_to(shape.expand_dims(x, along + 1), sizes)
        return shape.reshape(spread, (*x.shape[:along], x.shape[along] * repeats, *x.shape[along + 1 :]))
    places = numpy.repeat(numpy.arange(x.shape[axis_of(along, x.ndim)]), backend.on_host(raw(repeats)))
    return indexing.getitem(x, cut(x.ndim, along, places))


# --- order along axes ---------------------------------------------------------------------------------------------


def flip(m: ArrayLike, axis: Any = None) -> Any:
    """Axes reversed in place; a view (`numpy.flip`).

    >>> import gpugrad as gg
    >>> gg.flip([1.0, 2.0])
    tensor([2., 1.])
    """
    x = as_tensor(m)
    turned = axes_of(axis, x.ndim)
    return indexing.getitem(x, tuple(slice(None, None, -1 if i in turned else None) for i in range(x.ndim)))


def fliplr(m: ArrayLike) -> Any:
    """The second axis reversed (`numpy.fliplr`).

    >>> import gpugrad as gg
    >>> gg.fliplr([[1.0, 2.0]])
    tensor([[2., 1.]])
    """
    return flip(m, 1)


def flipud(m: ArrayLike) -> Any:
    """The first axis reversed (`numpy.flipud`).

    >>> import gpugrad as gg
    >>> gg.flipud([[1.0], [2.0]])
    tensor([[2.],
            [1.]])
    """
    return flip(m, 0)


def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """Turned by quarters in the plane of two axes (`numpy.rot90`).

    >>> import gpugrad as gg
    >>> gg.rot90([[1.0, 2.0]])
    tensor([[2.],
            [1.]])
    """
    x = as_tensor(m)
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, axes)
    turned = shape.swapaxes(x, *axes)
    return flip(turned, axes[0] if k % 4 == 1 else axes[1])


def roll(a: ArrayLike, shift: Any, axis: Any = None) -> Any:
    """Elements moved along axes, those that fall off coming in again (`numpy.roll`).

    >>> import gpugrad as gg
    >>> gg.roll([1.0, 2.0, 3.0], 1)
    tensor([3., 1., 2.])
    """
    x = as_tensor(a)
    if axis is None:
        return shape.reshape(roll(shape.reshape(x, -1), shift, 0), x.shape)
    for by, place in numpy.broadcast(shift, axis):  # an axis may come twice
        along = axis_of(place, x.ndim)
        n = x.shape[along]
        start = (-operator.index(by)) % n if n else 0
        if start:
            ends = [indexing.getitem(x, cut(x.ndim, along, part)) for part in (slice(start, None), slice(0, start))]
            x = shape.concatenate(ends, along)
    return x


# --- diagonals and triangles --------------------------------------------------------------------------------------


@linear(
    transpose=lambda F, t, k: F.tril(t, k),
    samples=calls(lambda rng: ((array(rng, 3, 4),), {"k": 1}), lambda rng: ((array(rng, 2, 3, 3),), {})),
)
def tril(xp: Any, m: ArrayLike, k: int = 0) -> Any:
    """Zeros above diagonal `k` of the last two axes (`numpy.tril`).

    >>> import gpugrad as gg
    >>> gg.tril([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 0.],
            [3., 4.]])
    """
    return xp.tril(xp.asarray(m), k)


@linear(
    transpose=lambda F, t, k: F.triu(t, k),
    samples=calls(lambda rng: ((array(rng, 3, 4),), {"k": 1}), lambda rng: ((array(rng, 2, 3, 3),), {})),
)
def triu(xp: Any, m: ArrayLike, k: int = 0) -> Any:
    """Zeros below diagonal `k` of the last two axes (`numpy.triu`).

    >>> import gpugrad as gg
    >>> gg.triu([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [0., 4.]])
    """
    return xp.triu(xp.asarray(m), k)


@linear(transpose=lambda F, t: F.diag_part(t), samples=calls(lambda rng: ((array(rng, 2, 3),), {})))
def diag_embed(xp: Any, x: ArrayLike) -> Any:
    """Matrices with the last axis as their diagonals (`torch.diag_embed`).

    >>> import gpugrad as gg
    >>> gg.diag_embed([1.0, 2.0])
    tensor([[1., 0.],
            [0., 2.]])
    """
    x = xp.asarray(x)
    n = x.shape[-1]
    out = xp.zeros((*x.shape[:-1], n * n), x.dtype)
    out[..., :: n + 1] = x
    return out.reshape((*x.shape, n))


@linear(
    transpose=lambda F, t: F.diag_embed(t),
    samples=calls(lambda rng: ((array(rng, 2, 3, 3),), {})),
)
def diag_part(xp: Any, x: ArrayLike) -> Any:
    """The diagonals of square matrices in the last two axes, as a new last axis.

    >>> import gpugrad as gg
    >>> gg.diag_part([[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    x = xp.asarray(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"square matrices are needed, got shape {x.shape}")
    return xp.diagonal(x, 0, -2, -1).copy()


def _diagonal_index(rows: int, columns: int, offset: int) -> tuple[Any, Any]:
    count = builtins.max(builtins.min(rows + builtins.min(offset, 0), columns - builtins.max(offset, 0)), 0)
    start = numpy.arange(count)
    return start - builtins.min(offset, 0), start + builtins.max(offset, 0)


def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A diagonal of two axes, as a new last one (`numpy.diagonal`).

    >>> import gpugrad as gg
    >>> gg.diagonal([[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    x = as_tensor(a)
    if x.ndim < 2:
        raise ValueError(f"diagonal: an array with at least two axes is needed, got shape {x.shape}")
    x = shape.moveaxis(x, (axis1, axis2), (-2, -1))
    return indexing.getitem(x, (Ellipsis, *_diagonal_index(x.shape[-2], x.shape[-1], offset)))


def diag(v: ArrayLike, k: int = 0) -> Any:
    """The diagonal of a matrix, or a matrix with this diagonal (`numpy.diag`).

    >>> import gpugrad as gg
    >>> gg.diag([1.0, 2.0])
    tensor([[1., 0.],
            [0., 2.]])
    """
    x = as_tensor(v)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: a vector or a matrix is needed, got shape {x.shape}")
    n = x.size + builtins.abs(k)
    return indexing.index_add_zeros(x, _diagonal_index(n, n, k), (n, n))


def diagflat(v: ArrayLike, k: int = 0) -> Any:
    """A matrix with the flattened array as its diagonal (`numpy.diagflat`).

    >>> import gpugrad as gg
    >>> gg.diagflat([[1.0, 2.0]]).shape
    (2, 2)
    """
    return diag(shape.reshape(as_tensor(v), -1), k)


def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sum of a diagonal (`numpy.trace`).

    >>> import gpugrad as gg
    >>> gg.trace([[1.0, 2.0], [3.0, 4.0]])
    tensor(5.)
    """
    return reduction.sum(diagonal(a, offset, axis1, axis2), -1)


# --- differences ------------------------------------------------------------------------------------------------


def diff(a: ArrayLike, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours, `n` times (`numpy.diff`).

    >>> import gpugrad as gg
    >>> gg.diff([1.0, 4.0, 9.0])
    tensor([3., 5.])
    """
    x = as_tensor(a)
    if n < 0:
        raise ValueError(f"diff: n must be 0 or more, got {n}")

    def fitted(value: Any) -> Any:
        _, end = as_tensors(x, value)
        if end.ndim:
            return end
        end = end.to(x.device)
        return shape.broadcast_to(end, tuple(1 if i == axis_of(axis, x.ndim) else m for i, m in enumerate(x.shape)))

    ends = [fitted(prepend)] if prepend is not None else []
    ends += [x]
    ends += [fitted(append)] if append is not None else []
    x = shape.concatenate(ends, axis) if len(ends) > 1 else x
    for _ in range(n):
        later, earlier = (indexing.getitem(x, cut(x.ndim, axis, part)) for part in (slice(1, None), slice(None, -1)))
        x = comparison.not_equal(later, earlier) if x.dtype == bool else elementwise.subtract(later, earlier)
    return x


__all__ = [
    "append",
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "column_stack",
    "delete",
    "diag",
    "diag_embed",
    "diag_part",
    "diagflat",
    "diagonal",
    "diff",
    "dsplit",
    "dstack",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "matrix_transpose",
    "meshgrid",
    "repeat",
    "roll",
    "rot90",
    "split",
    "tile",
    "trace",
    "tril",
    "triu",
    "unstack",
    "vsplit",
    "vstack",
]
