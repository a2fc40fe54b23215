"""Losses. `reduction` is ``"mean"``, ``"sum"`` or ``"none"``, as in PyTorch."""

from __future__ import annotations

import functools
import inspect
import operator
import warnings
from typing import Any

import numpy

from .. import backend
from ..backend import real_only
from ..errors import DTypeError, ShapeError, describe, format_site, user_frame, user_site
from ..op import ArrayLike, composed, elementwise_function, fused
from .chain import fuse
from .samples import array, calls, distinct
from .shape import ones_vector

_BLOCK = 1 << 16
_REDUCTIONS = ("mean", "sum", "none")


def reduce(F: Any, values: Any, reduction: str) -> Any:
    """Losses under a `reduction`: their mean, their sum, or themselves."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    if values.dtype.kind == "c":
        raise complex_loss()
    if reduction == "mean" and not values.size:  # nan, as in PyTorch, without NumPy's warning
        return F.sum(values) * numpy.nan
    return values if reduction == "none" else getattr(F, reduction)(values)


def complex_loss() -> DTypeError:
    """The error for a loss of complex numbers."""
    return DTypeError(
        "a loss is a real number, and this one would be complex: give it real predictions and targets\n"
        f"  at {format_site(user_site())}"
    )


def _stacklevel() -> int:
    """How far up the user's line is, for a warning."""
    users, frame, level = user_frame(1), inspect.currentframe(), 0
    while frame is not None and frame is not users:
        frame, level = frame.f_back, level + 1
    return level


def same_shape(name: str, x: Any, target: Any) -> None:
    """Warn where NumPy would broadcast prediction and target against each other: nearly always a lost axis."""
    x_shape, target_shape = numpy.shape(x), numpy.shape(target)
    if x_shape != target_shape and target_shape != ():
        warnings.warn(
            f"{name}: prediction {x_shape} and target {target_shape} differ in shape and will be broadcast against each "
            f"other, which is rarely meant; reshape one, for instance target.reshape({x_shape})",
            UserWarning,
            stacklevel=_stacklevel(),
        )


def _pairs(**kwargs: Any) -> Any:
    def one(reduction: str) -> Any:
        return lambda rng: ((distinct(rng, 3, 4), array(rng, 3, 4) * 5), {"reduction": reduction} | kwargs)

    return calls(*map(one, _REDUCTIONS))


@fuse
def squared_error(F: Any, x: Any, target: Any) -> Any:
    """``(x - target)**2``."""
    return F.square(F.subtract(x, target))


@fused(samples=_pairs())
def mse_loss(F: Any, x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """Squared error ``(x - target)**2`` (`torch.nn.functional.mse_loss`).

    Warns where the shapes differ, as ``(N, 1)`` against ``(N,)``: NumPy would make an (N, N) of it.

    >>> import gpugrad as gg
    >>> gg.mse_loss([1.0, 2.0], [1.0, 4.0])
    tensor(2.)
    """
    same_shape("mse_loss", x, target)
    return reduce(F, squared_error.within(F, x, target), reduction)


@fuse
def absolute_error(F: Any, x: Any, target: Any) -> Any:
    """``|x - target|``."""
    return F.abs(F.subtract(x, target))


@fused(samples=_pairs())
def l1_loss(F: Any, x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """Absolute error ``|x - target|`` (`torch.nn.functional.l1_loss`).

    >>> import gpugrad as gg
    >>> gg.l1_loss([1.0, 2.0], [1.0, 4.0])
    tensor(1.)
    """
    same_shape("l1_loss", x, target)
    return reduce(F, absolute_error.within(F, x, target), reduction)


@fused(samples=_pairs(delta=1.5))
def huber_loss(F: Any, x: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Squared error near 0, absolute beyond `delta` (`torch.nn.functional.huber_loss`).

    >>> import gpugrad as gg
    >>> gg.huber_loss([0.0, 0.0], [1.0, 4.0])
    tensor(2.)
    """
    same_shape("huber_loss", x, target)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    return reduce(F, clipped_error.within(F, x, target, delta), reduction)


@fuse
def clipped_error(F: Any, x: Any, target: Any, edge: float, scale: float = 1.0) -> Any:
    """`clipped_square` of the difference, over a scale."""
    out = F.clipped_square(F.subtract(x, target), edge)
    return out if scale == 1 else out / scale


@elementwise_function(
    cuda="clamp({x}, -{edge}, {edge}) * ({x} - {C}(0.5) * clamp({x}, -{edge}, {edge}))",
    d=(lambda F, t, x, edge: t * F.clip(x, -edge, edge),),
    samples=calls(lambda rng: ((distinct(rng, 3, 4) * 3, 1.5), {}), lambda rng: ((distinct(rng, 5), 0.11), {})),
)
def clipped_square(xp: Any, x: ArrayLike, edge: float) -> Any:
    """Half the square near 0, and beyond `edge` the line that continues it.

    >>> import gpugrad as gg
    >>> gg.ops.loss.clipped_square([1.0, -3.0], 2.0)
    tensor([0.5, 4. ])
    """
    near = xp.clip(real_only(x), -edge, edge)
    return near * (x - 0.5 * near)


def smooth_l1_loss(x: ArrayLike, target: ArrayLike, reduction: str = "mean", beta: float = 1.0) -> Any:
    """`huber_loss` divided by its edge `beta`; the absolute error for 0 (`torch.nn.functional.smooth_l1_loss`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.smooth_l1_loss([0.0, 0.0], [1.0, 4.0])
    tensor(2.)
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta cannot be negative, got {beta}")
    if beta == 0:
        return l1_loss(x, target, reduction)
    same_shape("smooth_l1_loss", x, target)
    return reduce(composed, clipped_error.within(composed, x, target, beta, beta), reduction)


# --- classification -----------------------------------------------------------------------------------------------


def _is_ids(target: Any) -> bool:
    return bool(numpy.dtype(getattr(target, "dtype", float)).kind in "iu")


def _check_classes(x: Any, target: Any, ignored: int | None = None) -> bool:
    """Refuse logits and targets that do not fit; whether some ids are no class but the ignored one."""
    shape = x.shape
    if x.dtype.kind == "c":
        raise complex_loss()
    if len(shape) != 2:
        raise ShapeError(f"logits must be (N, classes), got {shape}")
    return check_targets(shape, target, ignored)


def check_ids(raw: Any, classes: int, ignored: int | None = None) -> bool:
    """Refuse a class id out of range: it would give a wrong number, not an error. Whether some are, but are ignored."""
    if backend.many_devices:
        with backend.on_device_of(raw):
            return _check_ids(raw, classes, ignored)
    return _check_ids(raw, classes, ignored)


_UNSIGNED = {n: numpy.dtype(f"u{n}") for n in (1, 2, 4, 8)}
maximum = numpy.maximum


def _check_ids(raw: Any, classes: int, ignored: int | None) -> bool:
    unsigned = raw.view(_UNSIGNED[raw.dtype.itemsize])  # a negative id is a huge one: one pass finds both
    if unsigned.size and (unsigned.item(unsigned.argmax()) if raw.__class__ is numpy.ndarray else unsigned.max()) >= classes:
        outside = (raw < 0) | (raw >= classes)
        bad = raw[outside if ignored is None else outside & (raw != ignored)]
        if bad.size:
            raise ShapeError(f"class ids must be in 0..{classes - 1} for {classes} logits; got {bad[0]}")
        return True
    return False


def check_targets(shape: tuple[int, ...], target: Any, ignored: int | None = None) -> bool:
    """Refuse targets that do not fit logits of `shape`, (N, classes, ...); whether some are no class, but ignored."""
    if target.dtype.kind in "iu":
        if target.shape != (shape[0], *shape[2:]):
            raise ShapeError(f"class ids must have shape {(shape[0], *shape[2:])}, got {target.shape}")
        return check_ids(getattr(target, "_array", target), shape[1], ignored)
    if target.dtype.kind == "b":
        raise DTypeError("targets must be class ids (integers) or probabilities (floats); got booleans")
    if target.shape != shape:
        raise ShapeError(
            f"probability targets must have the logits' shape {shape}, got {describe(target)}; class ids must be integers"
        )
    return False


@functools.lru_cache(maxsize=16)
def _rows(n: int) -> Any:
    return numpy.arange(n)


@functools.lru_cache(maxsize=16)
def _starts(rows: int, columns: int) -> Any:
    """Where each row of a matrix starts in its elements one after another."""
    return numpy.arange(rows) * columns


_INT64 = numpy.dtype(numpy.int64)


def _rows_of(x: Any) -> Any:
    """The numbers of the rows of `x`, beside it."""
    return backend.beside(_rows(x.shape[0]), _constant(x))


def _exp_rows(xp: Any, x: Any) -> tuple[Any, Any, Any]:
    """``exp(x - max)`` of each row, its sum and the maximum; in blocks of rows that stay in the cache from pass to pass."""
    rows, columns = x.shape
    if xp is not numpy:
        largest = xp.max(x, axis=1)
    elif 0 < columns <= 64:  # NumPy is slow along narrow rows: three times as slow at 10, and more by number
        largest = maximum.reduce(x.T.copy(), 0)
    else:
        largest = maximum.reduce(x, 1)
    ones = ones_vector(columns, x.dtype) if xp is numpy and x.dtype.char in "fd" else None
    if ones is not None and rows * columns <= _BLOCK:
        exps = numpy.subtract(x, largest[:, None], order="C")
        numpy.exp(exps, exps)
        return exps, exps.dot(ones), largest
    exps = xp.empty(x.shape, x.dtype)
    totals = xp.empty_like(largest)
    step = max(1, _BLOCK // max(columns, 1) if xp is numpy else rows)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        part = exps[block]
        xp.subtract(x[block], largest[block, None], part)
        xp.exp(part, part)
        if ones is None:
            xp.add.reduce(part, 1, None, totals[block])
        else:
            numpy.dot(part, ones, totals[block])
    return exps, totals, largest


def _may_ignore(x: Any, target: Any, ignore_index: int) -> bool:
    """Whether some class ids may be the one that counts for nothing; after a check of them all."""
    outside = _check_classes(x, target, ignore_index)
    return outside or (target.dtype.kind in "iu" and 0 <= ignore_index < x.shape[1])


def _cross_entropy_forward(xp: Any, x: Any, target: Any, reduction: str, ignore_index: int, label_smoothing: float) -> Any:
    """The loss; and ``exp(x - max)``, its row sums, where the entries are that ids chose, which of these count, and how many."""
    kept = target != ignore_index if _may_ignore(x, target, ignore_index) else None
    places, count = None, x.shape[0]
    exps, totals, largest = _exp_rows(xp, x)
    losses = xp.log(totals)
    if target.dtype.kind in "iu":
        ids = target if kept is None else xp.where(kept, target, 0)
        starts = _starts(*x.shape) if xp is numpy else xp.arange(0, x.size, x.shape[1])
        places = starts + (ids if ids.dtype is _INT64 else ids.astype(_INT64))
        chosen = x.reshape(-1)[places]
        if label_smoothing:
            chosen = chosen * (1 - label_smoothing) + xp.add.reduce(x, axis=1) * (label_smoothing / x.shape[1])
        losses -= chosen - largest
        if kept is not None:
            losses, count = xp.where(kept, losses, losses.dtype.type(0)), kept.sum()
    else:
        target = _smoothed(target, label_smoothing)
        losses = losses * xp.add.reduce(target, axis=1) - xp.add.reduce((x - largest[:, None]) * target, axis=1)
    return _reduced(xp, losses, reduction, count), (exps, totals, places, kept, count)


def _smoothed(target: Any, smoothing: float) -> Any:
    return target * (1 - smoothing) + smoothing / target.shape[1] if smoothing else target


def _reduced(xp: Any, losses: Any, reduction: str, count: Any) -> Any:
    if reduction == "mean":
        if not losses.shape[0]:
            return xp.full((), xp.nan, losses.dtype)
        if type(count) is int:
            return xp.add.reduce(losses) / count
        with numpy.errstate(invalid="ignore"):  # of nothing: nan
            return xp.divide(xp.add.reduce(losses), count).astype(losses.dtype, copy=False)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    return xp.add.reduce(losses) if reduction == "sum" else losses


def _cross_entropy_rule(F: Any, t: Any, target: Any, reduction: str, label_smoothing: float, aux: Any) -> Any:
    """``softmax - target`` per row, times the cotangent; written over what the forward kept where that is not needed again."""
    exps, totals, places, kept, count = aux
    if reduction == "mean":  # as a number of NumPy's, which costs a fifth of an array without axes
        t = t[()] / count if kept is None else (t / count).astype(t.dtype, copy=False)
    if kept is not None:
        t = F.where(kept, t, t.dtype.type(0))
    if places is None:
        target = _smoothed(target, label_smoothing)
        scale = (t * target.sum(axis=1) / totals)[:, None]
    else:
        scale = (t / totals)[:, None]
    grad = operator.imul(exps, scale) if F.once else exps * scale
    if places is None:
        grad -= (t[:, None] if reduction == "none" else t) * target
        return grad
    grad.reshape(-1)[places] -= t * (1 - label_smoothing) if label_smoothing else t
    if label_smoothing:
        grad -= (t[:, None] if t.ndim else t) * (label_smoothing / exps.shape[1])
    return grad


def _ids(rng: Any) -> Any:
    return numpy.array([0, 4, 2])


def _probabilities(rng: Any) -> Any:
    p = rng.uniform(0.1, 1, (3, 5))
    return p / p.sum(axis=1, keepdims=True)


def _classes(**kwargs: Any) -> Any:
    def one(reduction: str, target: Any) -> Any:
        return lambda rng: ((array(rng, 3, 5), target(rng)), {"reduction": reduction} | kwargs)

    return calls(*[one(reduction, target) for reduction in _REDUCTIONS for target in (_ids, _probabilities)])


def _cross_entropy_samples() -> Any:
    options: tuple[dict[str, Any], ...] = (
        {},
        {"ignore_index": 4},
        {"label_smoothing": 0.2},
        {"ignore_index": 2, "label_smoothing": 0.3},
    )

    def make(rng: Any) -> Any:
        for given in options:
            yield from _classes(**given)(rng)

    return make


def _cross_entropy_target_rule(F: Any, t: Any, x: Any, reduction: str, label_smoothing: float) -> Any:
    logs = F.log_softmax(x, axis=1) * (1 - label_smoothing)
    return -logs * (t[:, None] if reduction == "none" else t / x.shape[0] if reduction == "mean" else t)


@fused(forward=_cross_entropy_forward, vjp=(_cross_entropy_rule, _cross_entropy_target_rule), samples=_cross_entropy_samples())
def cross_entropy(
    F: Any,
    x: ArrayLike,
    target: ArrayLike,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax cross-entropy of logits (`torch.nn.functional.cross_entropy`).

    This op has no weights, and logits of shape (N, classes): what the public function runs where it can. Targets are class
    ids, integers of shape (N,), or probabilities of shape (N, classes).

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.cross_entropy(gg.tensor([[0.0, 0.0]]), np.array([1]))
    tensor(0.6931)
    """
    ids = _constant(target)
    kept = F.not_equal(ids, ignore_index) if _may_ignore(x, target, ignore_index) else None
    logs = F.log_softmax(x, axis=1)
    if target.dtype.kind not in "iu":
        return reduce(F, -F.sum(logs * _smoothed(target, label_smoothing), axis=1), reduction)
    ids = ids if kept is None else _constant(F.where(kept, ids, 0))
    losses = -F.getitem(logs, (_rows_of(x), ids))
    if label_smoothing:
        losses = losses * (1 - label_smoothing) - F.mean(logs, axis=1) * label_smoothing
    if kept is None:
        return reduce(F, losses, reduction)
    losses = F.where(kept, losses, 0.0)
    return F.sum(losses) / F.astype(F.sum(kept), x.dtype) if reduction == "mean" else reduce(F, losses, reduction)


def _constant(target: Any) -> Any:
    """The raw array of a target: losses are not differentiated by it."""
    return getattr(target, "_array", target)


def _check_probability(name: str, x: Any) -> None:
    raw = _constant(x)
    with backend.on_device_of(raw):
        inside = not raw.size or (raw.min() >= 0 and raw.max() <= 1)
    if not inside:
        raise ValueError(f"{name}: predictions must be probabilities in [0, 1]; for logits use {name}_with_logits")


def _clamped_logs(xp: Any, x: Any) -> tuple[Any, Any]:
    """``log x`` and ``log(1 - x)``, neither below -100."""
    with numpy.errstate(divide="ignore"):
        return xp.maximum(xp.log(x), -100.0), xp.maximum(xp.log1p(xp.negative(x)), -100.0)


def _binary_nll_rule(F: Any, t: Any, x: Any, target: Any) -> Any:
    least = max(1e-12, float(numpy.finfo(x.dtype).tiny))  # 1e-12 is PyTorch's; in float16 that would be 0
    return t * ((x - target) / F.maximum(x * (1 - x), least))


def _binary_nll_target_rule(F: Any, t: Any, x: Any) -> Any:
    log_yes, log_no = _clamped_logs(F, x)
    return t * (log_no - log_yes)


@elementwise_function(
    d=(_binary_nll_rule, _binary_nll_target_rule),
    samples=calls(lambda rng: ((array(rng, 3, 4, low=0.1, high=0.9), array(rng, 3, 4, low=0, high=1)), {})),
)
def binary_nll(xp: Any, x: ArrayLike, target: ArrayLike) -> Any:
    """``-(target log x + (1 - target) log(1 - x))``, elementwise, with each logarithm held at -100 or above.

    An op of its own for its gradient: that of the logarithms would be 0 where they are held.

    >>> import gpugrad as gg
    >>> gg.ops.loss.binary_nll(gg.tensor([0.5, 0.0]), [1.0, 1.0])
    tensor([  0.6931, 100.    ])
    """
    log_yes, log_no = _clamped_logs(xp, backend.real_only(x))
    return xp.negative(xp.multiply(target, log_yes) + xp.multiply(xp.subtract(1, target), log_no))


@fused(
    samples=calls(
        *[
            lambda rng, r=r: ((array(rng, 3, 4, low=0.1, high=0.9), array(rng, 3, 4, low=0, high=1)), {"reduction": r})
            for r in _REDUCTIONS
        ]
    )
)
def binary_cross_entropy(
    F: Any, x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, reduction: str = "mean"
) -> Any:
    """``-(target log x + (1 - target) log(1 - x))`` of probabilities (`torch.nn.functional.binary_cross_entropy`).

    Each logarithm is held at -100 or above, as in PyTorch, so that a sure and wrong prediction costs 100, not infinity; its
    gradient is ``(x - target) / max(x (1 - x), 1e-12)``. To train, `binary_cross_entropy_with_logits` is the stable way.

    >>> import gpugrad as gg
    >>> gg.binary_cross_entropy(gg.tensor([0.5]), [1.0])
    tensor(0.6931)
    """
    _check_probability("binary_cross_entropy", x)
    same_shape("binary_cross_entropy", x, target)
    losses = F.binary_nll(x, target)
    return reduce(F, losses if weight is None else F.multiply(losses, weight), reduction)


@fused(samples=_pairs())
def binary_cross_entropy_with_logits(
    F: Any,
    x: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    pos_weight: ArrayLike | None = None,
) -> Any:
    """Binary cross-entropy of logits, exact at any size (`torch.nn.functional.binary_cross_entropy_with_logits`).

    `pos_weight` multiplies the loss of positive targets, `weight` that of all.

    >>> import gpugrad as gg
    >>> gg.binary_cross_entropy_with_logits([0.0, 1000.0], [1.0, 1.0], reduction="none")
    tensor([0.6931, 0.    ])
    """
    same_shape("binary_cross_entropy_with_logits", x, target)
    return reduce(F, nll_of_logits.within(F, x, target, weight, pos_weight), reduction)


@fuse
def nll_of_logits(F: Any, x: Any, target: Any, weight: Any, pos_weight: Any) -> Any:
    """``-(target log sigmoid(x) + (1 - target) log sigmoid(-x))``, weighted."""
    if pos_weight is None:
        losses = F.softplus(x) - F.multiply(x, target)
    else:
        losses = F.subtract(1, target) * x + (F.multiply(F.subtract(pos_weight, 1), target) + 1) * F.softplus(F.negative(x))
    return losses if weight is None else F.multiply(losses, weight)


@fused(
    samples=calls(
        *[lambda rng, r=r: ((distinct(rng, 3, 4), numpy.sign(array(rng, 3, 4))), {"reduction": r}) for r in _REDUCTIONS]
    )
)
def hinge_loss(F: Any, x: ArrayLike, target: ArrayLike, reduction: str = "mean") -> Any:
    """``max(0, 1 - target * x)`` for targets of -1 and 1 (the binary support vector machine).

    >>> import gpugrad as gg
    >>> gg.hinge_loss([0.5, -2.0], [1.0, -1.0])
    tensor(0.25)
    """
    same_shape("hinge_loss", x, target)
    return reduce(F, hinge.within(F, x, target), reduction)


@fuse
def hinge(F: Any, x: Any, target: Any) -> Any:
    """``max(0, 1 - target * x)``."""
    return F.relu(1 - F.multiply(x, target))


def _svm_samples() -> Any:
    return calls(*[lambda rng, r=r: ((distinct(rng, 3, 5, gap=0.3), _ids(rng)), {"reduction": r}) for r in _REDUCTIONS])


@fused(samples=_svm_samples())
def multiclass_svm_loss(F: Any, x: ArrayLike, target: ArrayLike, margin: float = 1.0, reduction: str = "mean") -> Any:
    """``sum over j != y of max(0, s_j - s_y + margin)`` per row of scores (lecture "Neural networks", slide 2).

    Unlike `torch.nn.functional.multi_margin_loss` it is not divided by the number of classes.

    Parameters
    ----------
    x : array of shape (N, classes)
        Scores.
    target : integer array of shape (N,)
        Class ids.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.multiclass_svm_loss(gg.tensor([[3.2, 5.1, -1.7]]), np.array([0]))
    tensor(2.9)
    """
    target = numpy.asarray(_constant(target)) if isinstance(target, list | tuple) else _constant(target)
    if not _is_ids(target):
        raise DTypeError(f"multiclass_svm_loss: target must be integer class ids, got {describe(target)}")
    _check_classes(x, target)
    right = F.getitem(x, (_rows_of(x)[:, None], target[:, None]))
    return reduce(F, F.sum(F.relu(x - right + margin), axis=1) - margin, reduction)
