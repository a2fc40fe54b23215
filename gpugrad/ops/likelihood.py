"""Losses that are negative log-likelihoods: of classes, counts and normal errors; and the divergence of distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy

from .. import half
from ..backend import check_reports, made_beside, namespace_of, reports
from ..errors import DTypeError, ShapeError, describe
from ..op import ArrayLike, apply, as_tensor, as_tensors, composed, fused, raw, registry
from . import loss
from .chain import fuse
from .distance import at_least
from .indexing import add_at
from .loss import check_targets, complex_loss, reduce, same_shape
from .samples import array, calls

# --- classes ------------------------------------------------------------------------------------------------------


def _places(xp: Any, shape: tuple[int, ...], ids: Any) -> tuple[Any, ...]:
    """The index that picks ``x[n, ids[n, ...], ...]`` from x of (N, C, ...)."""
    axes = [n for i, n in enumerate(shape) if i != 1]
    index = [xp.arange(n).reshape((-1,) + (1,) * (len(axes) - 1 - i)) for i, n in enumerate(axes)]
    return (index[0], ids, *index[1:])


def _check_nll(x: Any, target: Any, weight: Any, ignore_index: int) -> None:
    if x.dtype.kind == "c":
        raise complex_loss()
    if len(x.shape) < 2:
        raise ShapeError(f"log-probabilities must be (N, classes, ...), got {x.shape}")
    if getattr(target, "dtype", numpy.dtype(float)).kind not in "iu":
        raise DTypeError(f"class ids must be integers, got {describe(target)}")
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(f"weight must have one entry per class, {x.shape[1:2]}; got {weight.shape}")
    check_targets(x.shape, target, ignore_index)


def _nll_forward(xp: Any, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """The loss; the index of the chosen entries, their weights and what they are divided by."""
    _check_nll(x, target, weight, ignore_index)
    ignored = target == ignore_index
    some = bool(ignored.any())
    ids = xp.where(ignored, 0, target) if some else target
    places = _places(xp, x.shape, ids)
    losses = -x[places]
    weights = None if weight is None else weight[ids].astype(x.dtype, copy=False)
    if some:
        weights = (~ignored).astype(x.dtype) if weights is None else xp.where(ignored, weights.dtype.type(0), weights)
        losses = xp.where(ignored, losses.dtype.type(0), losses)
    if weights is not None:
        losses = losses * weights
    if reduction == "mean":
        count = target.size if weights is None else xp.sum(weights)
        with numpy.errstate(invalid="ignore"):  # nothing to take the mean of: nan, as in PyTorch
            return xp.divide(xp.sum(losses), count).astype(x.dtype), (places, weights, count)
    return reduce(xp, losses, reduction), (places, weights, None)


def _nll_rule(F: Any, t: Any, x_shape: tuple[int, ...], x_dtype: Any, aux: Any) -> Any:
    places, weights, count = aux
    slopes = -t if weights is None else -(t * weights)
    if count is not None:
        with numpy.errstate(all="ignore"):
            slopes = slopes / count
        if weights is not None:  # what counts for nothing has no slope, also where nothing counts at all
            slopes = namespace_of(t).where(weights == 0, slopes.dtype.type(0), slopes)
    grad = namespace_of(t).zeros(x_shape, x_dtype)
    grad[places] = slopes
    return grad


def _nll_weight_rule(F: Any, t: Any, x: Any, target: Any, ignore_index: int, aux: Any) -> Any:
    places, weights, count = aux
    xp = namespace_of(t)
    slopes = -x[places]
    if count is not None:
        with numpy.errstate(all="ignore"):
            slopes = (slopes - xp.sum(slopes * weights) / count) / count
    grad = xp.zeros(x.shape[1], x.dtype)
    add_at(xp, grad, places[1], xp.where(target == ignore_index, slopes.dtype.type(0), slopes * t))
    return grad


def _nll_samples() -> Any:
    def one(reduction: str, shape: tuple[int, ...], weighted: bool, ignored: int) -> Any:
        def make(rng: Any) -> Any:
            ids = rng.integers(0, shape[1], (shape[0], *shape[2:]))
            ids.flat[0] = ignored
            return (array(rng, *shape), ids, array(rng, shape[1], low=0.5) if weighted else None), {"reduction": reduction}

        return make

    shapes: tuple[tuple[int, ...], ...] = ((3, 5), (2, 3, 4), (2, 3, 2, 2))
    return calls(*[one(r, s, w, i) for r in loss._REDUCTIONS for s, w, i in zip(shapes, (False, True, True), (0, 1, -100))])


@fused(forward=_nll_forward, vjp=(_nll_rule, None, _nll_weight_rule), samples=_nll_samples())
def nll_loss(
    F: Any,
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """Minus the log-probability of each class id (`torch.nn.functional.nll_loss`); the mean is weighted.

    Parameters
    ----------
    x : array of shape (N, classes, ...)
        Log-probabilities, as from `log_softmax` along axis 1.
    target : integer array of shape (N, ...)
        Class ids.
    weight : array of shape (classes,), optional
        Of the classes.
    ignore_index : int
        A class id that counts for nothing.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.nn.functional.nll_loss(gg.tensor([[-1.0, -2.0]]), np.array([1]))
    tensor(2.)
    """
    _check_nll(x, target, weight, ignore_index)
    line = (-1,) + (1,) * (x.ndim - 2)
    target = raw(target)
    classes = made_beside(raw(x), "arange", x.shape[1]).reshape(line)
    kept = F.not_equal(target, ignore_index)
    chosen = F.logical_and(F.equal(F.expand_dims(target, 1), classes), F.expand_dims(kept, 1))
    losses = -F.sum(F.where(chosen, x, 0.0), axis=1)
    if weight is None:
        weights = F.astype(kept, x.dtype)
    else:
        weights = F.sum(F.where(chosen, F.astype(F.reshape(weight, line), x.dtype), 0.0), axis=1)
    losses = losses * weights
    if reduction != "mean":
        return reduce(F, losses, reduction)
    total = F.sum(weights)
    return F.where(total == 0, numpy.nan, F.sum(losses) / F.where(total == 0, 1.0, total))


def cross_entropy(
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax cross-entropy of logits (`torch.nn.functional.cross_entropy`).

    Parameters
    ----------
    x : array of shape (N, classes), (N, classes, ...) or (classes,)
        Unnormalised scores.
    target : integer array of shape (N, ...), or floating array of the shape of `x`
        Class ids, or probabilities.
    weight : array of shape (classes,), optional
        Of the classes; the mean over class ids is then a weighted one.
    ignore_index : int
        A class id that counts for nothing.
    label_smoothing : float
        How much of each target is spread evenly over all classes.

    Raises
    ------
    ShapeError
        If the shapes do not fit, or a class id is out of range. A GPU is not waited for to find that out: the loss is then nan,
        and the error, with this line, comes from where its value is read, or from a later loss.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.cross_entropy(gg.tensor([[0.0, 0.0]]), np.array([1]))
    tensor(0.6931)
    """
    if reports:
        check_reports()
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    if weight is None and getattr(x, "ndim", 2) == 2:
        options = {"reduction": reduction, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
        return apply(_unweighted, (x, target), options)
    return _any_cross_entropy(as_tensor(x), as_tensor(target), weight, ignore_index, reduction, label_smoothing)


_unweighted = registry["cross_entropy"]


def _any_cross_entropy(x: Any, target: Any, weight: Any, ignored: int, reduction: str, smoothing: float) -> Any:
    """Cross-entropy with all its options, composed."""
    F = composed
    if x.ndim == 0:
        raise ShapeError("cross_entropy: logits must be (N, classes, ...) or (classes,), got ()")
    if x.ndim == 1:  # one row
        one = _any_cross_entropy(x[None], target[None], weight, ignored, reduction, smoothing)
        return one[0] if reduction == "none" else one
    check_targets(x.shape, target, ignored)
    classes, line = x.shape[1], (-1,) + (1,) * (x.ndim - 2)
    logs = F.log_softmax(x, 1)
    weight = None if weight is None else as_tensor(weight)
    scaled = logs if weight is None else logs * F.reshape(F.astype(weight, x.dtype), line)
    if half.is_floating(target.dtype):
        soft = target * (1 - smoothing) + smoothing / classes if smoothing else target
        return reduce(F, -F.sum(scaled * soft, 1), reduction)
    hard = F.nll_loss(logs, target, weight, ignored, reduction)
    if not smoothing:
        return hard
    units = made_beside(x._array, "full", x.shape, -1.0, x.dtype)
    count = F.nll_loss(units, target, None, ignored, "none")
    spread = F.where(count == 0, 0.0, -F.sum(scaled, 1))
    if reduction == "mean":
        spread = F.sum(spread) / F.nll_loss(units, target, weight, ignored, "sum")
    else:
        spread = reduce(F, spread, reduction)
    return hard * (1 - smoothing) + spread * (smoothing / classes)


# --- distributions ------------------------------------------------------------------------------------------------


def kl_div(x: ArrayLike, target: ArrayLike, reduction: str = "mean", log_target: bool = False) -> Any:
    """Divergence ``target * (log target - x)`` of log-probabilities `x` (`torch.nn.functional.kl_div`).

    ``reduction="batchmean"`` divides the sum by the length of the first axis, which is what the mathematics means;
    ``"mean"`` divides it by the number of elements. With `log_target` the target is a log-probability too.

    >>> import gpugrad as gg
    >>> gg.nn.functional.kl_div(gg.log([[0.5, 0.5]]), [[1.0, 0.0]], "batchmean")
    tensor(0.6931)
    """
    F = composed
    same_shape("kl_div", x, target)
    x, target = as_tensors(x, target)
    losses = divergence.within(F, x, target, log_target)
    if reduction == "batchmean":
        return F.sum(losses) / (x.shape[0] if x.ndim else 1)
    return reduce(F, losses, reduction)


@fuse
def divergence(F: Any, x: Any, target: Any, log_target: bool) -> Any:
    """``target * (log target - x)``."""
    share, log_share = (F.exp(target), target) if log_target else (target, F.log(F.where(target == 0, 1.0, target)))
    return share * (log_share - x)


def poisson_nll_loss(
    x: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Any:
    """Minus the log-likelihood of counts (`torch.nn.functional.poisson_nll_loss`).

    ``exp(x) - target * x`` where `x` is the logarithm of the rate, else ``x - target * log(x + eps)``; with `full`, Stirling's
    approximation of ``log(target!)`` is added for targets above 1.

    >>> import gpugrad as gg
    >>> gg.nn.functional.poisson_nll_loss([0.0], [3.0])
    tensor(1.)
    """
    F = composed
    same_shape("poisson_nll_loss", x, target)
    x, target = as_tensors(x, target)
    return reduce(F, poisson_nll.within(F, x, target, log_input, full, eps), reduction)


@fuse
def poisson_nll(F: Any, x: Any, target: Any, log_input: bool, full: bool, eps: float) -> Any:
    """``x - target * log(x)``, without or with ``log(target!)``."""
    losses = F.exp(x) - target * x if log_input else x - target * F.log(x + eps)
    if full:
        many = F.where(target > 1, target, 1.0)
        stirling = many * F.log(many) - many + 0.5 * F.log(2 * math.pi * many)
        losses = losses + F.where(target > 1, stirling, 0.0)
    return losses


def gaussian_nll_loss(
    x: ArrayLike, target: ArrayLike, var: ArrayLike, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """``(log var + (x - target)**2 / var) / 2`` (`torch.nn.functional.gaussian_nll_loss`).

    Parameters
    ----------
    var : array
        Variances, at least 0, counted as `eps` where less: of the shape of `x`, or one for each row of its last axis.
    full : bool
        Whether to add the constant ``log(2 pi) / 2``.

    >>> import gpugrad as gg
    >>> gg.nn.functional.gaussian_nll_loss([1.0], [3.0], [1.0])
    tensor(2.)
    """
    F = composed
    same_shape("gaussian_nll_loss", x, target)
    x, var = as_tensors(x, var)
    if var.shape == x.shape[:-1] and var.shape != x.shape and var.ndim:
        var = F.expand_dims(var, -1)
    elif var.ndim and var.shape != x.shape and var.shape != (*x.shape[:-1], 1):
        raise ShapeError(f"gaussian_nll_loss: var must have shape {x.shape} or {x.shape[:-1]}, got {var.shape}")
    if var.size and var._array.min() < 0:
        raise ValueError(f"gaussian_nll_loss: variances cannot be negative; the least is {var._array.min()}")
    return reduce(F, gaussian_nll.within(F, x, target, at_least(var, eps), full), reduction)


@fuse
def gaussian_nll(F: Any, x: Any, target: Any, var: Any, full: bool) -> Any:
    """``(log var + (x - target)**2 / var) / 2``."""
    losses = 0.5 * (F.log(var) + F.square(F.subtract(x, target)) / var)
    return losses + 0.5 * math.log(2 * math.pi) if full else losses


__all__ = ["cross_entropy", "gaussian_nll_loss", "kl_div", "nll_loss", "poisson_nll_loss"]
