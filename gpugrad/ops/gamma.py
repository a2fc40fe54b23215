"""Functions of the gamma family, Bessel's i0, and the inverse error function, in array operations alone.

Written with functions that NumPy and CuPy share, so that both devices give the same. Errors are a few units in the last
place away from zeros of the function.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..op import ArrayLike, elementwise_function
from . import elementwise as basic
from .approximation import ERFCX, LOG_ERFC, LOG_ERFC_INVERSE, blockwise, computed_in
from .samples import array, calls, unary

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_LARGE = 12.0
"""From here on the asymptotic series of the gamma family has full precision."""


def _floating(xp: Any, x: Any) -> tuple[Any, Any]:
    """The argument in float64, and the dtype to give back."""
    return computed_in(xp, x, numpy.float64)


def _stirling(xp: Any, x: Any) -> Any:
    """``log(gamma(x))`` for large `x`."""
    inverse, total = 1 / (x * x), xp.zeros_like(x)
    for k in range(len(_BERNOULLI), 0, -1):
        total = total * inverse + _BERNOULLI[k - 1] / (2 * k * (2 * k - 1))
    return (x - 0.5) * xp.log(x) - x + 0.5 * math.log(2 * math.pi) + total / x


_ZETA = (
    0.6449340668482264,
    0.2020569031595943,
    0.08232323371113819,
    0.03692775514336993,
    0.01734306198444914,
    0.008349277381922827,
    0.00407735619794434,
    0.0020083928260822143,
    0.0009945751278180853,
    0.0004941886041194645,
    0.0002460865533080483,
    0.00012271334757848915,
    6.124813505870483e-05,
    3.058823630702049e-05,
    1.528225940865187e-05,
    7.637197637899763e-06,
    3.81729326499984e-06,
    1.908212716553939e-06,
    9.539620338727962e-07,
    4.769329867878064e-07,
    2.38450502727733e-07,
    1.1921992596531106e-07,
    5.960818905125948e-08,
    2.980350351465228e-08,
    1.4901554828365043e-08,
    7.45071178983543e-09,
    3.725334024788457e-09,
    1.862659723513049e-09,
)
"""Riemann's zeta(k) - 1 for k = 2, 3, ...: the series of log-gamma at 2."""


def _lgamma_near_two(xp: Any, z: Any) -> Any:
    """``log(gamma(2 + z))`` for ``|z| <= 0.5``, exact in the zero at 2."""
    total = xp.zeros_like(z)
    for k in range(len(_ZETA) + 1, 1, -1):
        total = ((-1) ** k * _ZETA[k - 2] / k + total) * z
    return z * (1 - 0.5772156649015329 + total)


def _lgamma_positive(xp: Any, x: Any) -> Any:
    """For ``x >= 0.5``: near 1 and 2 by the series at 2, elsewhere by Stirling's, shifted to where it is exact."""
    product, shifted = xp.ones_like(x), x
    for _ in range(int(_LARGE)):
        small = shifted < _LARGE
        product = xp.where(small, product * shifted, product)
        shifted = xp.where(small, shifted + 1, shifted)
    far = _stirling(xp, shifted) - xp.log(product)
    below = x < 1.5
    near = _lgamma_near_two(xp, xp.clip(xp.where(below, x - 1, x - 2), -0.5, 0.5)) - xp.where(below, xp.log(x), 0.0)
    return xp.where(x < 2.5, near, far)


@elementwise_function(
    cuda="lgamma({x})",
    d=(lambda F, t, x: t * F.polygamma(x, 0),),
    samples=calls(*[lambda rng, s=s: ((array(rng, *s, low=0.2, high=6.0),), {}) for s in ((3, 4), (5,), ())],
                  lambda rng: ((numpy.array([-0.5, -1.3, -2.6]),), {})),
)  # fmt: skip
def lgamma(xp: Any, x: ArrayLike) -> Any:
    """Logarithm of the absolute value of the gamma function (`scipy.special.gammaln`, `torch.lgamma`).

    >>> import gpugrad as gg
    >>> gg.lgamma([1.0, 5.0])
    tensor([0.    , 3.1781])
    """
    x, dtype = _floating(xp, x)
    with numpy.errstate(all="ignore"):
        mirrored = xp.where(x < 0.5, 1 - x, x)
        far = mirrored > 1e16
        out = _lgamma_positive(xp, xp.where(far, 1.0, mirrored))
        out = xp.where(far, mirrored * (xp.log(mirrored) - 1), out)
        reflected = math.log(math.pi) - xp.log(xp.abs(xp.sin(math.pi * (x - xp.rint(x))))) - out
        out = xp.where(x < 0.5, reflected, out)
        pole = (x <= 0) & (x == xp.floor(x))
        return xp.where(pole | xp.isinf(x), math.inf, out).astype(dtype)


def _polygamma_large(xp: Any, x: Any, n: int) -> Any:
    """The asymptotic series of the n-th derivative of digamma."""
    inverse, total = 1 / (x * x), xp.zeros_like(x)
    for k in range(len(_BERNOULLI), 0, -1):
        total = (total + _BERNOULLI[k - 1] * math.gamma(2 * k + n) / math.factorial(2 * k)) * inverse
    if n == 0:
        return xp.log(x) - 0.5 / x - total
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
def polygamma(xp: Any, x: ArrayLike, n: int) -> Any:
    """Derivative number `n` of digamma at `x`; digamma itself for 0 (`scipy.special.polygamma` with its arguments swapped).

    >>> import gpugrad as gg
    >>> gg.polygamma([1.0], 1)
    tensor([1.6449])
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"n must be an integer of at least 0, got {n!r}")
    x, dtype = _floating(xp, x)
    start = _LARGE + n
    lowest = float(x.min()) if x.size and not bool(xp.isnan(x).any()) else 0.0
    if lowest < -1e4:
        raise ValueError(f"arguments below -10000 are not supported; got {lowest}")
    with numpy.errstate(all="ignore"):
        total, shifted = xp.zeros_like(x), x
        for _ in range(math.ceil(start - min(lowest, start))):
            small = shifted < start
            total = xp.where(small, total + 1 / xp.where(small, shifted, 1.0) ** (n + 1), total)
            shifted = xp.where(small, shifted + 1, shifted)
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

_ANGLES = [(math.cos(math.pi * i / 128), 1.0 if i else 0.5) for i in range(64)]
"""Cosines and weights of the trapezoid rule on a quarter of the circle, which for periodic functions converges at once."""


def _bessel_rule(F: Any, t: Any, x: Any, n: int) -> Any:
    if n == 0:
        return t * F.bessel_i(x, 1)
    return t * ((F.bessel_i(x, n - 1) + F.bessel_i(x, n + 1)) * 0.5)


@elementwise_function(
    d=(_bessel_rule,),
    samples=calls(lambda rng: ((array(rng, 3, 4), 0), {}), lambda rng: ((array(rng, 5, low=-9, high=9), 1), {})),
)
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
        for cosine, weight in _ANGLES:
            total = total + wave(x * cosine) * (weight * math.cos(n * math.acos(cosine)))
        total = total + (0.5 * math.cos(n * math.pi / 2) if n % 2 == 0 else 0.0)  # the angle pi / 2, where cosh(0) = 1
        return (total / 64).astype(dtype)


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
