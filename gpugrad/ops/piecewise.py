"""Activations made of straight pieces: clipped lines, shrinkage, thresholds, learnt and random slopes."""

from __future__ import annotations

from typing import Any

import numpy

from ..backend import real_only
from ..errors import DTypeError, ShapeError, describe, format_site, user_site
from ..op import ArrayLike, as_tensor, as_tensors, elementwise_function
from ..op import composed as F
from .dropout import uniform_on
from .samples import array, calls, distinct


def _strictly_inside(F: Any, t: Any, x: Any, min_val: float, max_val: float) -> Any:
    return t * ((x > min_val) & (x < max_val))


@elementwise_function(
    cuda="fmin(fmax({x}, {min_val}), {max_val})",
    d=(_strictly_inside,),
    samples=calls(lambda rng: ((distinct(rng, 3, 4) * 3,), {}), lambda rng: ((distinct(rng, 5), -0.13, 0.11), {})),
)
def hardtanh(xp: Any, x: ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """`x` held in [`min_val`, `max_val`] (`torch.nn.functional.hardtanh`); flat at the limits, where `clip` is not.

    >>> import gpugrad as gg
    >>> gg.nn.functional.hardtanh([-2.0, 0.5, 2.0])
    tensor([-1. ,  0.5,  1. ])
    """
    return xp.clip(real_only(x), min_val, max_val)


def relu6(x: ArrayLike) -> Any:
    """``min(max(x, 0), 6)``, elementwise (`torch.nn.functional.relu6`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.relu6([-1.0, 3.0, 9.0])
    tensor([0., 3., 6.])
    """
    return F.hardtanh(x, 0.0, 6.0)


@elementwise_function(
    cuda="fmin(fmax({x} + 3, 0), 6) / 6",
    d=(lambda F, t, out: t * ((out > 0) & (out < 1)) * (1 / 6),),
    samples=calls(lambda rng: ((distinct(rng, 3, 4) * 9,), {})),
)
def hardsigmoid(xp: Any, x: ArrayLike) -> Any:
    """``x / 6 + 1/2`` held in [0, 1], elementwise (`torch.nn.functional.hardsigmoid`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.hardsigmoid([-9.0, 0.0, 9.0])
    tensor([0. , 0.5, 1. ])
    """
    return xp.clip(xp.add(real_only(x), 3), 0, 6) / 6


def _hardswish_rule(F: Any, t: Any, x: Any) -> Any:
    return t * (F.where(x >= 3, F.astype(1.0, t.dtype), F.clip(x, -3.0, 3.0) / 3 + 0.5) * (x > -3))


@elementwise_function(
    cuda="{x} * fmin(fmax({x} + 3, 0), 6) / 6",
    d=(_hardswish_rule,),
    samples=calls(lambda rng: ((distinct(rng, 3, 4) * 9,), {})),
)
def hardswish(xp: Any, x: ArrayLike) -> Any:
    """``x * hardsigmoid(x)``, elementwise (Howard et al., 2019; `torch.nn.functional.hardswish`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.hardswish([-9.0, 3.0, 9.0])
    tensor([-0.,  3.,  9.])
    """
    with numpy.errstate(invalid="ignore"):
        return xp.multiply(x, xp.clip(xp.add(real_only(x), 3), 0, 6) / 6)


def _check_lambd(lambd: float) -> None:
    if lambd < 0:
        raise ValueError(f"lambd cannot be negative, got {lambd}")


def _shrunk() -> Any:
    return calls(lambda rng: ((distinct(rng, 3, 4) * 3,), {}), lambda rng: ((distinct(rng, 5), 0.13), {}))


@elementwise_function(cuda="{x} - fmin(fmax({x}, -{lambd}), {lambd})", d=(lambda F, t, out: t * (out != 0),), samples=_shrunk())
def softshrink(xp: Any, x: ArrayLike, lambd: float = 0.5) -> Any:
    """`x` brought towards 0 by `lambd`, and not past it (`torch.nn.functional.softshrink`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.softshrink([-2.0, 0.25, 1.0])
    tensor([-1.5,  0. ,  0.5])
    """
    _check_lambd(lambd)
    return xp.subtract(x, xp.clip(real_only(x), -lambd, lambd))


@elementwise_function(
    cuda="fabs({x}) <= {lambd} ? 0 : {x}",
    d=(lambda F, t, out: t * (out != 0),),
    samples=_shrunk(),
)
def hardshrink(xp: Any, x: ArrayLike, lambd: float = 0.5) -> Any:
    """`x` where it is larger than `lambd` in size, else 0 (`torch.nn.functional.hardshrink`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.hardshrink([-2.0, 0.25, 1.0])
    tensor([-2.,  0.,  1.])
    """
    _check_lambd(lambd)
    return xp.multiply(x, xp.abs(real_only(x)) > lambd)


def threshold(x: ArrayLike, threshold: float, value: float) -> Any:
    """`x` where it is above a threshold, else `value` (`torch.nn.functional.threshold`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.threshold([0.5, 2.0], 1.0, -3.0)
    tensor([-3.,  2.])
    """
    x = as_tensor(x)
    if x.dtype.kind == "c":
        raise DTypeError(f"threshold: it is for real numbers, got {describe(x)}\n  at {format_site(user_site())}")
    return F.where(x <= threshold, value, x)


# --- slopes -------------------------------------------------------------------------------------------------------


@elementwise_function(
    cuda="{x} > 0 ? {x} : {slope} * {x}",
    d=(
        lambda F, t, x, slope: t * F.where(x > 0, F.astype(1.0, t.dtype), slope),
        lambda F, t, x: t * F.where(x > 0, F.astype(0.0, t.dtype), x),
    ),
    samples=calls(
        lambda rng: ((distinct(rng, 3, 4), array(rng, 3, 4)), {}),
        lambda rng: ((distinct(rng, 2, 3, 4), array(rng, 3, 1)), {}),
        lambda rng: ((distinct(rng, 4), 0.25), {}),
    ),
)
def sloped_relu(xp: Any, x: ArrayLike, slope: ArrayLike) -> Any:
    """`x` where positive, else ``slope * x``; the slope is an array, and learnt.

    >>> import gpugrad as gg
    >>> gg.ops.piecewise.sloped_relu([1.0, -2.0], [0.5, 0.25])
    tensor([ 1. , -0.5])
    """
    return xp.where(xp.greater(real_only(x), 0), x, xp.multiply(x, slope))


def prelu(x: ArrayLike, weight: ArrayLike) -> Any:
    """Leaky ReLU with a learnt slope, one for all or one per channel: axis 1 (He et al., 2015; `torch.nn.functional.prelu`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.prelu([1.0, -2.0], gg.tensor([0.25]))
    tensor([ 1. , -0.5])
    """
    x, weight = as_tensors(x, weight)
    if weight.size != 1 and (weight.ndim != 1 or x.ndim < 2 or weight.shape[0] != x.shape[1]):
        raise ShapeError(f"prelu: weight must have one slope, or one per channel (axis 1) of x {x.shape}; got {weight.shape}")
    if weight.size == 1:
        return F.sloped_relu(x, F.reshape(weight, ()))
    return F.sloped_relu(x, F.reshape(weight, (-1,) + (1,) * (x.ndim - 2)))


def rrelu(x: ArrayLike, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    """Leaky ReLU, while training with a random slope per element (`torch.nn.functional.rrelu`).

    The slopes are uniform in [`lower`, `upper`), from the default generator; otherwise the slope is their mean.

    >>> import gpugrad as gg
    >>> gg.nn.functional.rrelu([1.0, -2.0], 0.25, 0.75)
    tensor([ 1., -1.])
    """
    if not lower <= upper:
        raise ValueError(f"rrelu: lower ({lower}) must not be larger than upper ({upper})")
    x = as_tensor(x)
    if not training:
        return F.leaky_relu(x, (lower + upper) / 2)
    return F.sloped_relu(x, F.astype(uniform_on(x, x.shape) * (upper - lower) + lower, x.dtype))


__all__ = [
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "prelu",
    "relu6",
    "rrelu",
    "sloped_relu",
    "softshrink",
    "threshold",
]
