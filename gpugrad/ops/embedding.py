"""Rows of a table by number: embeddings and one-hot vectors."""

from __future__ import annotations

from typing import Any

import numpy

from ..backend import made_beside, on_device_of
from ..errors import BoundsError, DTypeError, ShapeError, describe
from ..op import ArrayLike, as_tensor, composed, primitive
from .indexing import add_at
from .samples import array, calls


def _check_rows(ids: Any, rows: int) -> None:
    """Refuse row numbers that are no integers or out of range: a GPU would read what lies there."""
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"row numbers must be integers, got {describe(ids)}")
    if ids.size:
        least, most = ids.min(), ids.max()
        if least < 0 or most >= rows:
            raise BoundsError(f"row numbers must be in 0..{rows - 1} for a table of {rows} rows; got {least}..{most}")


@primitive(
    vjp=(None, lambda F, t, ids, weight_shape, padding_idx: F.sum_rows(ids, t, weight_shape[0], padding_idx)),
    samples=calls(
        lambda rng: ((numpy.array([[0, 2], [2, 1]]), array(rng, 4, 3)), {}),
        lambda rng: ((numpy.array([3, 0, 3]), array(rng, 4, 3)), {"padding_idx": -2}),
    ),
)
def embedding(xp: Any, ids: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Any:
    """Rows of a table (`torch.nn.functional.embedding`).

    Parameters
    ----------
    ids : integer array
        Row numbers.
    weight : array of shape (rows, features)
    padding_idx : int, optional
        A row that gets no gradient; negative ones count from the end.

    >>> import gpugrad as gg
    >>> gg.nn.functional.embedding([1, 1], gg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [3., 4.]])
    """
    if weight.ndim != 2:
        raise ShapeError(f"weight must be a table of (rows, features), got {weight.shape}")
    if padding_idx is not None and not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise BoundsError(f"padding_idx must be a row of the table of {weight.shape[0]}, got {padding_idx}")
    ids = xp.asarray(ids)
    _check_rows(ids, weight.shape[0])
    return xp.take(weight, ids, axis=0)


def _rows_back(F: Any, t: Any, ids: Any, x_shape: tuple[int, ...], padding_idx: int | None) -> Any:
    if padding_idx is not None:
        t = F.index_set(t, F.zeros_of(F.getitem(t, padding_idx)), padding_idx)
    return F.embedding(ids, t)


@primitive(
    vjp=(None, _rows_back),
    samples=calls(
        lambda rng: ((numpy.array([[0, 2], [2, 1]]), array(rng, 2, 2, 3), 4), {}),
        lambda rng: ((numpy.array([3, 0, 3]), array(rng, 3, 2), 4), {"padding_idx": 3}),
    ),
)
def sum_rows(xp: Any, ids: ArrayLike, x: ArrayLike, rows: int, padding_idx: int | None = None) -> Any:
    """A table of `rows` rows, each the sum of those of `x` that have its number: the transpose of `embedding`.

    >>> import gpugrad as gg
    >>> gg.ops.embedding.sum_rows(gg.tensor([1, 1, 0]), gg.tensor([[1.0], [2.0], [3.0]]), 2)
    tensor([[3.],
            [3.]])
    """
    flat, values = ids.reshape(-1), x.reshape(ids.size, x.shape[-1])
    out = xp.zeros((rows, values.shape[1]), values.dtype)
    add_at(xp, out, flat, values)
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def one_hot(ids: ArrayLike, num_classes: int = -1) -> Any:
    """A 1 at each number's place along a new last axis, else 0 (`torch.nn.functional.one_hot`); -1: one past the largest.

    >>> import gpugrad as gg
    >>> gg.nn.functional.one_hot([2, 0], 3)
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    ids = as_tensor(ids)
    if num_classes == -1:
        if not ids.size:
            raise ShapeError("one_hot: num_classes must be given for no ids at all")
        num_classes = int(composed.max(ids)) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be positive, or -1; got {num_classes}")
    with on_device_of(ids._array):
        _check_rows(ids._array, num_classes)
    places = made_beside(ids._array, "arange", num_classes)
    return composed.cast(composed.equal(composed.expand_dims(ids, -1), places), "int64")


__all__ = ["embedding", "one_hot", "sum_rows"]
