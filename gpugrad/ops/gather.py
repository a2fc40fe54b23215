"""Picking and placing by indices and masks: NumPy's take and choose, PyTorch's gather and scatter (with `axis` for `dim`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from .. import backend
from ..op import ArrayLike, as_tensor, as_tensors, raw
from . import comparison, elementwise, indexing, shape
from .axes import axis_of, cut


def _array(value: Any) -> Any:
    """An index or a mask as a raw array, where it is."""
    value = raw(value)
    return value if hasattr(value, "dtype") else numpy.asarray(value)


def _integers(name: str, indices: Any, length: int, like: Any) -> Any:
    """Raw indices beside the Tensor `like`, checked: a wrong one must be an error on every device."""
    index = _array(indices)
    if index.dtype.kind not in "iu" and index.size:
        raise TypeError(f"{name}: indices must be integers, got {index.dtype}")
    with backend.on_device_of(index):
        if index.size and (index.min() < -length or index.max() >= length):
            raise IndexError(f"{name}: indices must be in {-length}..{length - 1}, got {index.min()}..{index.max()}")
        index = index.astype(numpy.int64) if not index.size else index
    return backend.beside(index, like._array)


def _places(condition: Any) -> Any:
    """Where a vector of conditions is true."""
    array = _array(condition)
    with backend.on_device_of(array):
        return array.reshape(-1).nonzero()[0]


def take(a: ArrayLike, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    """Elements along an axis, of the flattened array if `axis` is None (`numpy.take`); modes raise, wrap and clip.

    >>> import gpugrad as gg
    >>> gg.take([1.0, 2.0, 3.0], [2, 0])
    tensor([3., 1.])
    """
    x = as_tensor(a)
    x, along = (shape.reshape(x, -1), 0) if axis is None else (x, axis)
    n = x.shape[axis_of(along, x.ndim)]
    index = _limited("take", _array(indices), n, mode)
    return indexing.getitem(x, cut(x.ndim, along, _integers("take", index, n, x)))


def index_select(x: ArrayLike, axis: int, index: Any) -> Any:
    """Slices along an axis (`torch.index_select`).

    >>> import gpugrad as gg
    >>> gg.index_select([[1.0, 2.0], [3.0, 4.0]], 1, [1, 1])
    tensor([[2., 2.],
            [4., 4.]])
    """
    return take(x, index, axis)


def _grid(name: str, x: Any, axis: int, index: Any) -> tuple[Any, ...]:
    """The full index that picks along one axis and runs along the others, as far as `index` does."""
    along = axis_of(axis, x.ndim)
    index = _integers(name, index, x.shape[along], x)
    if index.ndim != x.ndim or any(index.shape[i] > n for i, n in enumerate(x.shape) if i != along):
        raise ValueError(f"{name}: an index of shape {index.shape} does not fit {x.shape} along axis {axis}")
    with backend.on_device_of(index):
        grid = list(backend.namespace_of(index).ogrid[tuple(slice(n) for n in index.shape)])
    grid[along] = index
    return tuple(grid)


def gather(x: ArrayLike, axis: int, index: Any) -> Any:
    """``out[i, j] = x[index[i, j], j]`` for axis 0, and so on (`torch.gather`).

    >>> import gpugrad as gg
    >>> gg.gather([[1.0, 2.0], [3.0, 4.0]], 1, [[0, 0], [1, 0]])
    tensor([[1., 1.],
            [4., 3.]])
    """
    x = as_tensor(x)
    return indexing.getitem(x, _grid("gather", x, axis, index))


def _source(x: Any, src: Any, grid: tuple[Any, ...], axis: int) -> Any:
    index = grid[axis_of(axis, x.ndim)]
    _, source = as_tensors(x, src)
    source = source.astype(x.dtype) if source.dtype != x.dtype else source
    if source.ndim == 0:
        return shape.broadcast_to(source.to(x.device), index.shape)
    return indexing.getitem(source, tuple(slice(0, n) for n in index.shape))


def scatter(x: ArrayLike, axis: int, index: Any, src: Any) -> Any:
    """A copy of `x` with ``out[index[i, j], j] = src[i, j]`` for axis 0, and so on (`torch.scatter`).

    >>> import gpugrad as gg
    >>> gg.scatter(gg.zeros((1, 3)), 1, [[2, 0]], [[5.0, 6.0]])
    tensor([[6., 0., 5.]])
    """
    x = as_tensor(x)
    grid = _grid("scatter", x, axis, index)
    return indexing.index_set(x, _source(x, src, grid, axis), grid)


def scatter_add(x: ArrayLike, axis: int, index: Any, src: Any) -> Any:
    """`x` with ``src[i, j]`` added at ``[index[i, j], j]`` for axis 0, and so on; repeats add up (`torch.scatter_add`).

    >>> import gpugrad as gg
    >>> gg.scatter_add(gg.zeros((1, 3)), 1, [[2, 2]], [[5.0, 6.0]])
    tensor([[ 0.,  0., 11.]])
    """
    x = as_tensor(x)
    grid = _grid("scatter_add", x, axis, index)
    return elementwise.add(x, indexing.index_add_zeros(_source(x, src, grid, axis), grid, x.shape))


def index_add(x: ArrayLike, axis: int, index: Any, source: ArrayLike, alpha: float = 1) -> Any:
    """`x` with slices of `source`, times `alpha`, added along an axis (`torch.index_add`).

    >>> import gpugrad as gg
    >>> gg.index_add(gg.zeros(3), 0, [0, 0], [1.0, 2.0])
    tensor([3., 0., 0.])
    """
    x, source = as_tensors(x, source)
    where = cut(x.ndim, axis, _integers("index_add", index, x.shape[axis_of(axis, x.ndim)], x))
    added = source if alpha == 1 else source * alpha
    return elementwise.add(x, indexing.index_add_zeros(added, where, x.shape))


def masked_fill(x: ArrayLike, mask: Any, value: ArrayLike) -> Any:
    """`value` where the mask is true, else `x` (`torch.masked_fill`).

    >>> import gpugrad as gg
    >>> gg.masked_fill([1.0, 2.0], [True, False], 0.0)
    tensor([0., 2.])
    """
    return elementwise.where(mask, value, as_tensor(x))


def masked_select(x: ArrayLike, mask: Any) -> Any:
    """The elements where the mask is true, in one axis (`torch.masked_select`).

    >>> import gpugrad as gg
    >>> gg.masked_select([1.0, 2.0], [True, False])
    tensor([1.])
    """
    x = as_tensor(x)
    mask = backend.beside(_array(mask), x._array)
    common = numpy.broadcast_shapes(x.shape, mask.shape)
    mask = backend.made_beside(mask, "broadcast_to", mask.astype(bool, copy=False), common)
    return indexing.getitem(shape.broadcast_to(x, common), mask)


def compress(condition: Any, a: ArrayLike, axis: int | None = None) -> Any:
    """Slices along an axis where a vector of conditions is true (`numpy.compress`).

    >>> import gpugrad as gg
    >>> gg.compress([True, False, True], [1.0, 2.0, 3.0])
    tensor([1., 3.])
    """
    return take(a, _places(condition), axis)


def extract(condition: Any, arr: ArrayLike) -> Any:
    """The elements where a condition is true, in one axis (`numpy.extract`).

    >>> import gpugrad as gg
    >>> gg.extract([True, False], [1.0, 2.0])
    tensor([1.])
    """
    return take(arr, _places(condition))


def choose(a: Any, choices: Sequence[ArrayLike], mode: str = "raise") -> Any:
    """Each element from the choice that `a` numbers (`numpy.choose`); modes raise, wrap and clip.

    >>> import gpugrad as gg
    >>> gg.choose([1, 0], [[1.0, 2.0], [10.0, 20.0]])
    tensor([10.,  2.])
    """
    out: Any = choices[-1]
    n = len(choices)
    index = _limited("choose", _array(a), n, mode)
    with backend.on_device_of(index):
        if index.size and index.min() < 0:
            raise ValueError(f"choose: numbers of choices must be in 0..{n - 1}, got {index.min()}")
    number = _integers("choose", index, n, as_tensor(out))
    for i in range(n - 2, -1, -1):
        out = elementwise.where(comparison.equal(number, i), choices[i], out)
    return shape.broadcast_to(as_tensor(out), numpy.broadcast_shapes(number.shape, as_tensor(out).shape))


def _limited(name: str, index: Any, n: int, mode: str) -> Any:
    """Indices below n, as a mode makes those that are not."""
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"{name}: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    with backend.on_device_of(index):
        return index % n if mode == "wrap" else index.clip(0, n - 1) if mode == "clip" else index


def select(condlist: Sequence[Any], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Any:
    """Each element from the first choice whose condition is true (`numpy.select`).

    >>> import gpugrad as gg
    >>> gg.select([[True, False]], [[1.0, 2.0]], 9.0)
    tensor([1., 9.])
    """
    if len(condlist) != len(choicelist):
        raise ValueError(f"select: {len(condlist)} conditions for {len(choicelist)} choices")
    out: Any = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = elementwise.where(condition, choice, out)
    return as_tensor(out)


__all__ = [
    "choose",
    "compress",
    "extract",
    "gather",
    "index_add",
    "index_select",
    "masked_fill",
    "masked_select",
    "scatter",
    "scatter_add",
    "select",
    "take",
]
