"""Losses with a margin: a right answer that is right by enough costs nothing."""

from __future__ import annotations

from typing import Any

from ..backend import made_beside
from ..errors import DTypeError, ShapeError, describe
from ..op import ArrayLike, as_tensor, as_tensors
from ..op import composed as F
from .distance import as_dtype, pairwise_distance, wide
from .loss import check_ids, reduce, same_shape


def _at_least_0(x: Any) -> Any:
    """``max(x, 0)`` whose slope at 0 is 1, as PyTorch's clamp has it."""
    return F.clip(x, 0)


def hinge_embedding_loss(x: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean") -> Any:
    """`x` for targets of 1, ``max(0, margin - x)`` for -1 (`torch.nn.functional.hinge_embedding_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.hinge_embedding_loss([0.5, 0.25], [1.0, -1.0], reduction="none")
    tensor([0.5 , 0.75])
    """
    same_shape("hinge_embedding_loss", x, target)
    x, target = as_tensors(x, target)
    return reduce(F, F.where(target != 1, _at_least_0(margin - x), 0.0) + F.where(target != -1, x, 0.0), reduction)


def margin_ranking_loss(x1: ArrayLike, x2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean") -> Any:
    """``max(0, margin - target * (x1 - x2))``: `x1` should be the larger for 1 (`torch.nn.functional.margin_ranking_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.margin_ranking_loss([1.0, 1.0], [3.0, 3.0], [1.0, -1.0])
    tensor(1.)
    """
    same_shape("margin_ranking_loss", x1, x2)
    same_shape("margin_ranking_loss", x1, target)
    return reduce(F, _at_least_0(margin - F.multiply(target, F.subtract(x1, x2))), reduction)


def soft_margin_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """``log(1 + exp(-target * x))`` for targets of -1 and 1, without overflow (`torch.nn.functional.soft_margin_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.soft_margin_loss([0.0, 1000.0], [1.0, -1.0], reduction="none")
    tensor([6.9315e-01, 1.0000e+03])
    """
    same_shape("soft_margin_loss", x, target)
    return reduce(F, F.softplus(-F.multiply(x, target)), reduction)


def cosine_embedding_loss(x1: ArrayLike, x2: ArrayLike, target: ArrayLike, margin: float = 0.0, reduction: str = "mean") -> Any:
    """``1 - cos`` of the angle for targets of 1, ``max(0, cos - margin)`` for -1 (`torch.nn.functional.cosine_embedding_loss`).

    Takes two arrays of (N, D) and targets of (N,), or two vectors and one target.

    >>> import gpugrad as gg
    >>> gg.nn.functional.cosine_embedding_loss([1.0, 0.0], [3.0, 4.0], 1)
    tensor(0.4)
    """
    x1, x2, target = as_tensors(x1, x2, target)
    if x1.ndim not in (1, 2) or x2.ndim not in (1, 2) or target.ndim != x1.ndim - 1:
        raise ShapeError(
            "cosine_embedding_loss: x1 and x2 must be (N, D) with targets (N,), or (D,) with one target; "
            f"got {x1.shape}, {x2.shape} and {target.shape}"
        )
    a, b = wide(x1), wide(x2)
    tiny = 1e-12  # PyTorch's: the gradient at 0 is finite
    squares = (F.sum(F.square(a), -1) + tiny) * (F.sum(F.square(b), -1) + tiny)
    cosine = F.sum(a * b, -1) / F.sqrt(squares)
    losses = F.where(target == 1, 1 - cosine, 0.0) + F.where(target == -1, _at_least_0(cosine - margin), 0.0)
    return reduce(F, as_dtype(losses, x1.dtype), reduction)


def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """``max(0, margin + |anchor - positive| - |anchor - negative|)`` (`torch.nn.functional.triplet_margin_loss`).

    Lengths are those of `pairwise_distance`. With `swap`, the negative's distance is the smaller of those to the anchor and to
    the positive.

    >>> import gpugrad as gg
    >>> gg.nn.functional.triplet_margin_loss([[0.0]], [[2.0]], [[1.0]])
    tensor(2.)
    """
    if not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin must be positive, got {margin}")
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = F.minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduce(F, _at_least_0(margin + near - far), reduction)


# --- several classes ----------------------------------------------------------------------------------------------


def _rows(name: str, x: Any, target: Any, per_row: bool) -> tuple[Any, Any, bool]:
    """Scores as (N, classes), ids as (N,) or as (N, classes), and whether they came as one row."""
    x, target = as_tensor(x), as_tensor(target)
    single = x.ndim == 1
    if single:
        x, target = x[None], target[None] if target.ndim == (0 if per_row else 1) else target
    if x.ndim != 2 or target.shape != (x.shape[:1] if per_row else x.shape):
        wanted = "(N,) for scores (N, classes)" if per_row else "the scores' shape, (N, classes)"
        raise ShapeError(f"{name}: class ids must have shape {wanted}; got {target.shape} for {x.shape}")
    if target.dtype.kind not in "iu":
        raise DTypeError(f"{name}: class ids must be integers, got {describe(target)}")
    return x, target, single


def multi_margin_loss(
    x: ArrayLike,
    target: ArrayLike,
    p: int = 1,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Any:
    """Mean over classes of ``max(0, margin + x_j - x_y)**p``, j other than y (`torch.nn.functional.multi_margin_loss`).

    `p` is 1 or 2; `weight` has one entry per class, that of y counts.

    >>> import gpugrad as gg
    >>> gg.nn.functional.multi_margin_loss([[3.0, 5.0, -1.0]], [0])
    tensor(1.)
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, got {p}")
    x, target, single = _rows("multi_margin_loss", x, target, True)
    classes = x.shape[1]
    check_ids(target._array, classes)
    right = target[:, None] == made_beside(x._array, "arange", classes)
    over = F.relu(x - F.sum(F.where(right, x, 0.0), 1, True) + margin)
    if p == 2:
        over = F.square(over)
    if weight is not None:
        weight = as_tensor(weight)
        if weight.shape != (classes,):
            raise ShapeError(f"multi_margin_loss: weight must have shape {(classes,)}, got {weight.shape}")
        over = over * F.sum(F.where(right, F.astype(weight, x.dtype), 0.0), 1, True)
    losses = F.sum(F.where(right, 0.0, over), 1) / classes
    return reduce(F, losses[0] if single else losses, reduction)


def multilabel_margin_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """Mean over classes of ``max(0, 1 + x_i - x_y)``, for each y of a row's classes and i that is none of them.

    Parameters
    ----------
    x : array of shape (N, classes)
        Scores.
    target : integer array of shape (N, classes)
        Each row's class ids, ended by -1 (`torch.nn.functional.multilabel_margin_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.multilabel_margin_loss([[1.0, 2.0]], [[0, -1]])
    tensor(1.)
    """
    x, target, single = _rows("multilabel_margin_loss", x, target, False)
    classes = x.shape[1]
    check_ids(target._array, classes, -1)
    listed = F.cumprod(F.cast(target >= 0, "int64"), 1) > 0
    names = made_beside(x._array, "arange", classes)
    named = (F.expand_dims(target, -1) == names) & F.expand_dims(listed, -1)  # (N, place, class)
    times = F.sum(F.astype(named, x.dtype), 1)
    over = F.relu(1 - F.expand_dims(x, -1) + F.expand_dims(x, 1))  # (N, y, i)
    pairs = F.expand_dims(times, -1) * F.expand_dims(F.astype(times == 0, x.dtype), 1)
    losses = F.sum(over * pairs, (1, 2)) / classes
    return reduce(F, losses[0] if single else losses, reduction)


def multilabel_soft_margin_loss(x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean") -> Any:
    """Binary cross-entropy of logits, its mean over the classes (`torch.nn.functional.multilabel_soft_margin_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.multilabel_soft_margin_loss([[0.0, 0.0]], [[1.0, 0.0]])
    tensor(0.6931)
    """
    same_shape("multilabel_soft_margin_loss", x, target)
    losses = F.softplus(x) - F.multiply(x, target)
    return reduce(F, F.mean(losses if weight is None else F.multiply(losses, weight), -1), reduction)


__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]
