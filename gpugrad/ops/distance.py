"""Lengths, distances and angles of vectors. Where a vector is 0, its length has gradient 0, as in PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..backend import made_beside
from ..dispatch import constant
from ..errors import ShapeError
from ..modes import no_grad
from ..op import ArrayLike, as_tensor, as_tensors
from ..op import composed as F


def wide(x: Any) -> Any:
    """`x`, in float32 where it is float16: for sums of squares, which would overflow at 256."""
    return F.astype(x, numpy.float32) if x.dtype == numpy.float16 else x


def as_dtype(x: Any, dtype: Any) -> Any:
    """`x` with a dtype, itself where it has it."""
    return x if x.dtype == dtype else F.astype(x, dtype)


def length(x: Any, p: float, axis: Any, keepdims: bool) -> Any:
    """``(sum |x|**p) ** (1 / p)`` over axes; the number of non-zero elements for p = 0, the largest size for infinity."""
    p = constant("norm", "p", p)
    if p == 2:
        return F.norm2(x, axis, keepdims)
    size = F.abs(x)
    if p == 1:
        return F.sum(size, axis, keepdims)
    if p in (math.inf, -math.inf):
        return (F.max if p > 0 else F.min)(size, axis, keepdims)
    if p == 0:
        return F.sum(F.astype(F.not_equal(x, 0), x.dtype), axis, keepdims)
    zero = size == 0  # a power has no derivative there
    total = F.sum(F.where(zero, 0.0 if p > 0 else math.inf, F.power(F.where(zero, 1.0, size), p)), axis, keepdims)
    flat = total == 0
    return F.where(flat, 0.0, F.power(F.where(flat, 1.0, total), 1 / p))


def at_least(x: Any, least: float) -> Any:
    """``max(x, least)`` that lets all gradients through: PyTorch clamps lengths and variances so."""
    least = constant("maximum", "eps", least)
    with no_grad():
        lift = F.maximum(x, least) - x
    return x + lift


def normalize(x: ArrayLike, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Any:
    """`x` divided by its length along an axis, and by `eps` where it is shorter (`torch.nn.functional.normalize`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.normalize([[3.0, 4.0], [0.0, 0.0]])
    tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    x = as_tensor(x)
    full = wide(x)
    return as_dtype(full / F.clip(length(full, p, axis, True), eps), x.dtype)


def cosine_similarity(x1: ArrayLike, x2: ArrayLike, axis: int = 1, eps: float = 1e-8) -> Any:
    """Cosine of the angle between vectors along an axis (`torch.nn.functional.cosine_similarity`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.cosine_similarity([[1.0, 0.0]], [[3.0, 4.0]])
    tensor([0.6])
    """
    x1, x2 = as_tensors(x1, x2)
    a, b = wide(x1), wide(x2)
    units = [v / at_least(F.norm2(v, axis, True), eps) for v in (a, b)]
    return as_dtype(F.sum(units[0] * units[1], axis), numpy.promote_types(x1.dtype, x2.dtype))


def pairwise_distance(x1: ArrayLike, x2: ArrayLike, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Any:
    """Length of ``x1 - x2 + eps`` along the last axis (`torch.nn.functional.pairwise_distance`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.pairwise_distance([[0.0, 0.0]], [[3.0, 4.0]])
    tensor([5.])
    """
    difference = F.subtract(*as_tensors(x1, x2))
    return as_dtype(length(wide(difference) + eps, p, -1, keepdims), difference.dtype)


def pdist(x: ArrayLike, p: float = 2.0) -> Any:
    """Distances between all pairs of N rows, as the N (N - 1) / 2 above the diagonal (`torch.nn.functional.pdist`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.pdist([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    tensor([5.    , 1.    , 4.2426])
    """
    x = as_tensor(x)
    if x.ndim != 2:
        raise ShapeError(f"pdist: x must be (N, features), got {x.shape}")
    if p < 0:
        raise ValueError(f"pdist: p cannot be negative, got {p}")
    i, j = made_beside(x._array, "triu_indices", x.shape[0], 1)
    full = wide(x)
    return as_dtype(length(full[i] - full[j], p, -1, False), x.dtype)


__all__ = ["cosine_similarity", "normalize", "pairwise_distance", "pdist"]
