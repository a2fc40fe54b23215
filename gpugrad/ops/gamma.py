"""Functions of the gamma family, Bessel's i0, and the inverse error function, in array operations alone.

Written with functions that NumPy and CuPy share, so that both devices give the same. Errors are a few units in the last
place away from zeros of the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from ..op import ArrayLike, elementwise_function
from . import elementwise as basic
from .approximation import (
    DIGAMMA_FAR,
    DIGAMMA_NEAR,
    ERFCX,
    LGAMMA_FAR,
    LGAMMA_NEAR,
    LOG_ERFC,
    LOG_ERFC_INVERSE,
    blockwise,
    computed_in,
)
from .samples import array, calls, unary

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_LARGE = 12.0
"""From here on the asymptotic series of the gamma family has full precision."""


def _floating(xp: Any, x: Any) -> tuple[Any, Any]:
    """The argument in float64, and the dtype to give back."""
    return computed_in(xp, x, numpy.float64)


def _either(xp: Any, x: Any, low: Any, below: Callable[[Any], Any], above: Callable[[Any], Any]) -> Any:
    """One function where a condition holds and another elsewhere, each of the elements that it is for."""
    if low.all():
        return below(x)
    if not low.any():
        return above(x)
    out = xp.empty_like(x)
    out[low], out[~low] = below(x[low]), above(x[~low])
    return out


def _lgamma_positive(xp: Any, x: Any) -> Any:
    """For ``x > 0``: from 0 to 3 by a fraction that is exact in the zeros at 1 and 2, then by Stirling's formula."""

    def near(x: Any) -> Any:
        above = x - (x >= 1)  # below 1 it is lgamma(x + 1) - log(x)
        out = LGAMMA_NEAR(above)
        out *= above
        out *= above - 1
        out -= xp.log(xp.minimum(x, 1))
        out += 0.0  # at 1 it is not -0
        return out

    def far(x: Any) -> Any:
        out = LGAMMA_FAR(1 / (x * x))
        out /= x
        log = xp.log(x) - 1
        log *= x - 0.5
        out += log
        out += 0.5 * math.log(2 * math.pi) - 0.5
        return out

    return _either(xp, x, x < 3, near, far)


@elementwise_function(
    cuda="lgamma({x})",
    d=(lambda F, t, x: t * F.polygamma(x, 0),),
    samples=calls(*[lambda rng, s=s: ((array(rng, *s, low=0.2, high=6.0),), {}) for s in ((3, 4), (5,), ())],
                  lambda rng: ((numpy.array([-0.5, -1.3, -2.6]),), {})),
)  # fmt: skip
@blockwise
def lgamma(xp: Any, x: ArrayLike) -> Any:
    """Logarithm of the absolute value of the gamma function (`scipy.special.gammaln`, `torch.lgamma`).

    >>> import gpugrad as gg
    >>> gg.lgamma([1.0, 5.0])
    tensor([0.    , 3.1781])
    """
    x, dtype = _floating(xp, x)
    with numpy.errstate(all="ignore"):
        negative = x < 0
        if not negative.any():
            return _lgamma_positive(xp, x).astype(dtype, copy=False)
        out = _lgamma_positive(xp, xp.where(negative, 1 - x, x))
        reflected = math.log(math.pi) - xp.log(xp.abs(xp.sin(math.pi * (x - xp.rint(x))))) - out
        out = xp.where(negative, reflected, out)
        pole = negative & (x == xp.floor(x))  # -inf is one
        return xp.where(pole, math.inf, out).astype(dtype, copy=False)


_ZERO = (0.46163214496836236, -1.5522348162858677e-17)
"""The positive zero of digamma less 1, in two parts."""


def _digamma(xp: Any, x: Any) -> Any:
    """By a fraction that is exact in the zero, from 0 to 3, then by the asymptotic series; reflected for negative x."""

    def near(x: Any) -> Any:
        above = x - (x >= 1)  # below 1 it is digamma(x + 1) - 1 / x
        out = DIGAMMA_NEAR(above)
        above -= _ZERO[0]
        above -= _ZERO[1]
        out *= above
        out -= (x < 1) / x
        return out

    def far(x: Any) -> Any:
        inverse = 1 / x
        square = inverse * inverse
        inverse *= -0.5
        inverse += xp.log(x)
        square *= DIGAMMA_FAR(square)
        inverse -= square
        return inverse

    negative = x < 0
    if not negative.any():
        return _either(xp, x, x < 3, near, far)
    mirrored = xp.where(negative, 1 - x, x)
    out = _either(xp, mirrored, mirrored < 3, near, far)
    out -= xp.where(negative, math.pi / xp.tan(math.pi * (x - xp.rint(x))), 0.0)
    return xp.where(negative & (x == xp.floor(x)), math.nan, out)


def _polygamma_large(xp: Any, x: Any, n: int) -> Any:
    """The asymptotic series of the n-th derivative of digamma."""
    inverse, total = 1 / (x * x), xp.zeros_like(x)
    for k in range(len(_BERNOULLI), 0, -1):
        total = (total + _BERNOULLI[k - 1] * math.gamma(2 * k + n) / math.factorial(2 * k)) * inverse
    return (-1) ** (n - 1) * (math.factorial(n - 1) / x**n + math.factorial(n) / (2 * x ** (n + 1)) + total / x**n)


@elementwise_function(
    d=(lambda F, t, x, n: t * F.polygamma(x, n + 1),),
    samples=calls(
        lambda rng: ((array(rng, 3, 4, low=0.4, high=6.0), 0), {}),
        lambda rng: ((array(rng, 5, low=0.4, high=6.0), 1), {}),
        lambda rng: ((numpy.array([-0.5, -1.3, -2.6]), 0), {}),
        lambda rng: ((numpy.array([0.7, -1.3, 20.0]), 2), {}),
    ),
)
@blockwise
def polygamma(xp: Any, x: ArrayLike, n: int) -> Any:
    """Derivative number `n` of digamma at `x`; digamma itself for 0 (`scipy.special.polygamma` with its arguments swapped).

    >>> import gpugrad as gg
    >>> gg.polygamma([1.0], 1)
    tensor([1.6449])
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"n must be an integer of at least 0, got {n!r}")
    x, dtype = _floating(xp, x)
    if n == 0:
        with numpy.errstate(all="ignore"):
            return _digamma(xp, x).astype(dtype, copy=False)
    start = _LARGE + n
    lowest = float(x.min()) if x.size and not bool(xp.isnan(x).any()) else 0.0
    if lowest < -1e4:
        raise ValueError(f"arguments below -10000 are not supported; got {lowest}")
    with numpy.errstate(all="ignore"):
        total, shifted = xp.zeros_like(x), xp.array(x)
        for _ in range(math.ceil(start - min(lowest, start))):
            small = shifted < start
            power = shifted * shifted
            for _ in range(n - 1):
                power *= shifted
            total += small / power
            shifted += small
        out = _polygamma_large(xp, shifted, n) - (-1) ** n * math.factorial(n) * total
        pole = (x < 0) & (x == xp.floor(x))  # at 0 the sum is infinite, of the right sign
        return xp.where(pole, math.nan, out).astype(dtype)


def digamma(x: ArrayLike) -> Any:
    """Derivative of `lgamma` (`scipy.special.digamma`, `torch.digamma`).

    >>> import gpugrad as gg
    >>> gg.digamma([1.0])
    tensor([-0.5772])
    """
    return polygamma(x, 0)


# --- Bessel -------------------------------------------------------------------------------------------------------


def _nodes(xp: Any, x: Any, n: int) -> int:
    """How many points of a quarter of the circle the trapezoid rule needs: four times as many must exceed the argument by far."""
    largest = float(xp.abs(x).max()) if x.size and n <= 4 else math.inf
    return 8 if largest <= 7 else 16 if largest <= 30 else 64  # nan takes 64


def _bessel_rule(F: Any, t: Any, x: Any, n: int) -> Any:
    if n == 0:
        return t * F.bessel_i(x, 1)
    return t * ((F.bessel_i(x, n - 1) + F.bessel_i(x, n + 1)) * 0.5)


@elementwise_function(
    d=(_bessel_rule,),
    samples=calls(lambda rng: ((array(rng, 3, 4), 0), {}), lambda rng: ((array(rng, 5, low=-9, high=9), 1), {})),
)
@blockwise
def bessel_i(xp: Any, x: ArrayLike, n: int) -> Any:
    """Modified Bessel function of the first kind, of integer order (`scipy.special.iv`).

    The integral ``1/pi int_0^pi exp(x cos a) cos(n a) da`` by the trapezoid rule.

    >>> import gpugrad as gg
    >>> gg.bessel_i([1.0], 1)
    tensor([0.5652])
    """
    x, dtype = _floating(xp, x)
    wave = xp.cosh if n % 2 == 0 else xp.sinh
    with numpy.errstate(over="ignore"):
        total = xp.zeros_like(x)
        nodes = _nodes(xp, x, n)
        for i in range(nodes):
            angle = math.pi * i / (2 * nodes)
            term = wave(x * math.cos(angle))
            term *= math.cos(n * angle) if i else 0.5
            total += term
        total += 0.5 * math.cos(n * math.pi / 2) if n % 2 == 0 else 0.0  # the angle pi / 2, where cosh(0) = 1
        total /= nodes
        return total.astype(dtype, copy=False)


def i0(x: ArrayLike) -> Any:
    """Modified Bessel function of the first kind, order 0 (`numpy.i0`).

    >>> import gpugrad as gg
    >>> gg.i0([0.0, 1.0])
    tensor([1.    , 1.2661])
    """
    return bessel_i(x, 0)


# --- inverse error function ---------------------------------------------------------------------------------------


@elementwise_function(
    cuda="erfinv({x})",
    d=(lambda F, t, out: t * (F.exp(out * out) * (math.sqrt(math.pi) / 2)),),
    samples=unary(-0.95, 0.95),
)
@blockwise
def erfinv(xp: Any, x: ArrayLike) -> Any:
    """Inverse of `erf` on (-1, 1) (`scipy.special.erfinv`): one of Halley's steps, which cubes the error of a close start.

    >>> import gpugrad as gg
    >>> gg.erfinv([0.0, 0.5])
    tensor([0.    , 0.4769])
    """
    x, dtype = computed_in(xp, x, numpy.float64)
    with numpy.errstate(all="ignore"):
        size = xp.abs(x)
        target = -xp.log1p(-size)  # of -log(erfc(y)), which has full precision at both ends
        y = LOG_ERFC_INVERSE(target)
        y *= target
        off = LOG_ERFC(y)
        off *= y
        off -= target
        steep = (2 / math.sqrt(math.pi)) / ERFCX(y)  # the derivative; the second one is steep * (steep - 2 * y)
        off /= steep
        curve = steep
        curve *= 0.5
        curve -= y
        curve *= off
        curve -= 1
        off /= curve
        y += off
        y = xp.copysign(y, x)
        edge = size >= 1
        if edge.any():
            y = xp.where(size == 1, xp.copysign(math.inf, x), xp.where(edge, math.nan, y))
        return y.astype(dtype, copy=False)


# --- compositions -------------------------------------------------------------------------------------------------


def logit(x: ArrayLike, eps: float | None = None) -> Any:
    """``log(x / (1 - x))``, the inverse of sigmoid (`scipy.special.logit`, `torch.logit`), of x held to ``[eps, 1 - eps]``.

    >>> import gpugrad as gg
    >>> gg.logit([0.5])
    tensor([0.])
    """
    x = x if eps is None else basic.clip(x, eps, 1 - eps)
    return basic.subtract(basic.log(x), basic.log1p(basic.negative(x)))


__all__ = ["bessel_i", "digamma", "erfinv", "i0", "lgamma", "logit", "polygamma"]
