"""Reductions: sums, means, extrema, variances. `axis` is None, an int or a tuple of ints; `keepdims` as in NumPy."""

from __future__ import annotations

import builtins
from typing import Any

from ..op import ArrayLike, linear, primitive
from ..tape import conjugate
from .axes import Axis as Axis
from .axes import kept_shape as kept_shape
from .samples import calls, distinct, reductions


def count_reduced(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements one result of a reduction is made of."""
    count = 1
    for n, kept in zip(shape, kept_shape(shape, axis), strict=True):
        count *= n if kept == 1 else 1
    return count


def _spread(F: Any, t: Any, x_shape: tuple[int, ...], axis: Axis) -> Any:
    """The transpose of a sum: the cotangent repeated along the reduced axes."""
    return F.broadcast_to(t if axis is None else F.reshape(t, kept_shape(x_shape, axis)), x_shape)


@linear(transpose=lambda F, t, x_shape, axis: _spread(F, t, x_shape, axis), samples=reductions())
def sum(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over axes (`numpy.sum`).

    >>> import gpugrad as gg
    >>> gg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([4., 6.])
    """
    return xp.add.reduce(x, axis=axis, keepdims=keepdims)


def _mean_transpose(F: Any, t: Any, x_shape: tuple[int, ...], axis: Axis) -> Any:
    return _spread(F, t / builtins.max(count_reduced(x_shape, axis), 1), x_shape, axis)


@linear(transpose=_mean_transpose, samples=reductions())
def mean(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over axes (`numpy.mean`).

    >>> import gpugrad as gg
    >>> gg.mean([[1.0, 2.0], [3.0, 4.0]], axis=1)
    tensor([1.5, 3.5])
    """
    return xp.mean(x, axis=axis, keepdims=keepdims)


def _arg_extremum(F: Any, t: Any, x: Any, out: Any, axis: Axis) -> Any:
    kept = kept_shape(x.shape, axis)
    won = F.astype(x == F.reshape(out, kept), t.dtype)
    return won * (F.reshape(t, kept) / F.sum(won, axis=axis, keepdims=True))


@primitive(vjp=(_arg_extremum,), samples=reductions())
def max(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest element over axes (`numpy.max`). Ties share the cotangent equally (`torch.amax`).

    >>> import gpugrad as gg
    >>> gg.max([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([3., 4.])
    """
    return xp.max(x, axis=axis, keepdims=keepdims)


@primitive(vjp=(_arg_extremum,), samples=reductions())
def min(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Smallest element over axes (`numpy.min`). Ties share the cotangent equally (`torch.amin`).

    >>> import gpugrad as gg
    >>> gg.min([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([1., 2.])
    """
    return xp.min(x, axis=axis, keepdims=keepdims)


def _centered(F: Any, x: Any, axis: Axis) -> Any:
    return x - F.mean(x, axis=axis, keepdims=True)


def _less(ddof: float, correction: float | None) -> float:
    """NumPy's `ddof` under either of its names."""
    if ddof and correction is not None:
        raise ValueError(f"ddof and correction mean the same: give one, got ddof={ddof} and correction={correction}")
    return ddof if correction is None else correction


def _freedom(x: Any, axis: Axis, ddof: float, correction: float | None) -> float:
    """What a variance is divided by: 0, which gives nan, where there are too few elements."""
    return builtins.max(count_reduced(x.shape, axis) - _less(ddof, correction), 0)


def _var_rule(F: Any, t: Any, x: Any, axis: Axis, ddof: float, correction: float | None) -> Any:
    t = F.reshape(t, kept_shape(x.shape, axis)) * 2 / _freedom(x, axis, ddof, correction)
    return t * conjugate(F, _centered(F, x, axis))


@primitive(vjp=(_var_rule,), samples=reductions(ddof=1))
def var(
    xp: Any, x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None
) -> Any:
    """Variance over axes, divided by ``n - ddof``, which the array API calls `correction` (`numpy.var`).

    >>> import gpugrad as gg
    >>> gg.var([1.0, 2.0, 3.0, 4.0])
    tensor(1.25)
    """
    return xp.var(x, axis=axis, ddof=_less(ddof, correction), keepdims=keepdims)


def _std_rule(F: Any, t: Any, x: Any, out: Any, axis: Axis, ddof: float, correction: float | None) -> Any:
    kept = kept_shape(x.shape, axis)
    per_std = F.where(out == 0, 0.0, t / F.where(out == 0, 1.0, out))  # no spread, no direction: 0, as in PyTorch
    return F.reshape(per_std, kept) / _freedom(x, axis, ddof, correction) * conjugate(F, _centered(F, x, axis))


@primitive(vjp=(_std_rule,), samples=reductions(ddof=1))
def std(
    xp: Any, x: ArrayLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None
) -> Any:
    """Standard deviation over axes: ``sqrt(var)`` (`numpy.std`). Where it is 0, its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.std([1.0, 3.0])
    tensor(1.)
    """
    return xp.std(x, axis=axis, ddof=_less(ddof, correction), keepdims=keepdims)


def _logsumexp_rule(F: Any, t: Any, x: Any, out: Any, axis: Axis) -> Any:
    kept = kept_shape(x.shape, axis)
    return F.reshape(t, kept) * F.exp(x - F.reshape(out, kept))


@primitive(vjp=(_logsumexp_rule,), samples=reductions())
def logsumexp(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` over axes without overflow (`torch.logsumexp`).

    >>> import gpugrad as gg
    >>> gg.logsumexp([1000.0, 1000.0])
    tensor(1000.6932)
    """
    x = xp.asarray(x)
    largest = (xp.max if x.size else xp.sum)(x, axis=axis, keepdims=True)  # over no elements: 0, and the result -inf
    largest = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    with _quiet():
        out = xp.log(xp.sum(xp.exp(x - largest), axis=axis, keepdims=True)) + largest
    return (
        out
        if keepdims
        else out.reshape(xp.sum(x[:0] if x.ndim else x, axis=axis).shape)
        if axis is None
        else xp.squeeze(out, axis)
    )


def _quiet() -> Any:
    import numpy

    return numpy.errstate(divide="ignore", over="ignore")  # over beside nan or infinity only


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4),), {"axis": 1}), lambda rng: ((distinct(rng, 3, 4),), {})))
def argmax(xp: Any, x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the largest element, the first of several (`numpy.argmax`).

    >>> import gpugrad as gg
    >>> gg.argmax([[1.0, 3.0], [4.0, 2.0]], axis=1)
    tensor([1, 0])
    """
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4),), {"axis": 1}), lambda rng: ((distinct(rng, 3, 4),), {})))
def argmin(xp: Any, x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the smallest element, the first of several (`numpy.argmin`).

    >>> import gpugrad as gg
    >>> gg.argmin([[1.0, 3.0], [4.0, 2.0]], axis=1)
    tensor([0, 1])
    """
    return xp.argmin(x, axis=axis, keepdims=keepdims)


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4) > 0,), {"axis": 1})))
def any(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether any element is true (`numpy.any`).

    >>> import gpugrad as gg
    >>> gg.any([[True, False], [False, False]], axis=1)
    tensor([ True, False])
    """
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive(samples=calls(lambda rng: ((distinct(rng, 3, 4) > 0,), {"axis": 1})))
def all(xp: Any, x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether all elements are true (`numpy.all`).

    >>> import gpugrad as gg
    >>> gg.all([[True, True], [True, False]], axis=1)
    tensor([ True, False])
    """
    return xp.all(x, axis=axis, keepdims=keepdims)
