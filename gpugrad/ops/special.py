"""Error function. NumPy has none, so it is computed here to full precision."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..backend import real_only
from ..op import ArrayLike, elementwise_function
from .samples import unary

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
_SPLIT = 0.65
"""Below this |x| the Taylor series gives erf, above it the Chebyshev series gives erfc."""

_TAYLOR = tuple((-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(16))


def _chebyshev_of_erfc(terms: int = 34, center: float = 3.75) -> tuple[float, ...]:
    """Chebyshev coefficients of ``(1 + 2x) exp(x^2) erfc(x)`` in ``(x - 3.75) / (x + 3.75)``, x >= 0.

    The transformation is that of M. M. Shepherd and J. G. Laframboise, Mathematics of Computation 36 (1981) 249-253. The
    coefficients are computed, not copied: the function is sampled at the Chebyshev points, by Python's `math.erfc` where
    that is exact and by the continued fraction of the tail elsewhere.
    """

    def scaled(x: float) -> float:
        if x < 5:
            hi = math.floor(x * 1024) / 1024  # exp(x^2) without the rounding error of x * x
            return (1 + 2 * x) * math.exp(hi * hi) * math.exp((x - hi) * (x + hi)) * math.erfc(x)
        fraction = x
        for k in range(80, 0, -1):
            fraction = x + k / 2 / fraction
        return (1 + 2 * x) / (math.sqrt(math.pi) * fraction)

    n = 2 * terms
    # cos(pi i / 2n), looked up by i modulo 4n: cos(j * angle) would have the rounding error of a large argument
    cosines = [math.cos(math.pi * i / (2 * n)) for i in range(4 * n)]
    points = [cosines[2 * k + 1] for k in range(n)]
    values = [scaled(center * (1 + c) / (1 - c)) for c in points]
    return tuple(
        (1 if j == 0 else 2) / n * math.fsum(v * cosines[j * (2 * k + 1) % (4 * n)] for k, v in enumerate(values))
        for j in range(terms)
    )


_coefficients: tuple[float, ...] = ()


def _series(x: Any) -> tuple[float, ...]:
    """As many Chebyshev terms as the dtype can use."""
    global _coefficients
    if not _coefficients:
        _coefficients = _chebyshev_of_erfc()
    return _coefficients if x.dtype.itemsize > 4 else _coefficients[:16]


def _erfc_positive(xp: Any, x: Any) -> Any:
    """Erfc for x >= 0."""
    t = 1 - 7.5 / (x + 3.75)  # (x - 3.75) / (x + 3.75), but 1 at infinity
    ahead = behind = xp.zeros_like(x)
    coefficients = _series(x)
    for c in coefficients[:0:-1]:
        ahead, behind = (2 * t) * ahead - behind + c, ahead
    scaled = t * ahead - behind + coefficients[0]
    with numpy.errstate(all="ignore"):
        high = xp.floor(x * 64) / 64
        decay = xp.exp(-high * high) * xp.exp(-(x - high) * (x + high))
        decay = xp.where(x > 30, xp.zeros_like(x), decay)
        return decay * scaled / (1 + 2 * x)


def _erf_small(xp: Any, x: Any) -> Any:
    square = x * x
    total = xp.zeros_like(x)
    for c in reversed(_TAYLOR):
        total = total * square + c
    return x * total * _TWO_OVER_SQRT_PI


def _prepared(xp: Any, x: Any) -> tuple[Any, Any]:
    """The argument as a floating array, computed in float32 at least, and the dtype to give back."""
    x = real_only(xp.asarray(x))
    dtype = x.dtype if x.dtype.kind == "f" else numpy.dtype(numpy.float64)
    return x.astype(numpy.promote_types(dtype, numpy.float32)), dtype


def _erf_rule(F: Any, t: Any, x: Any) -> Any:
    return t * (F.exp(-(x * x)) * _TWO_OVER_SQRT_PI)


@elementwise_function(cuda="erf({x})", d=(_erf_rule,), samples=unary(-2.5, 2.5))
def erf(xp: Any, x: ArrayLike) -> Any:
    """Error function, elementwise (`scipy.special.erf`), to a few units in the last place.

    >>> import gpugrad as gg
    >>> gg.erf([0.0, 1.0])
    tensor([0.    , 0.8427])
    """
    x, dtype = _prepared(xp, x)
    size = xp.abs(x)
    large = xp.copysign(1 - _erfc_positive(xp, size), x)
    small = _erf_small(xp, xp.clip(x, -_SPLIT, _SPLIT))
    return xp.where(size < _SPLIT, small, large).astype(dtype)


@elementwise_function(cuda="erfc({x})", d=(lambda F, t, x: -_erf_rule(F, t, x),), samples=unary(-2.5, 2.5))
def erfc(xp: Any, x: ArrayLike) -> Any:
    """``1 - erf(x)`` without cancellation for large `x` (`scipy.special.erfc`).

    >>> import gpugrad as gg
    >>> gg.erfc([0.0, 3.0])
    tensor([1.000e+00, 2.209e-05])
    """
    x, dtype = _prepared(xp, x)
    size = xp.abs(x)
    tail = _erfc_positive(xp, size)
    large = xp.where(x < 0, 2 - tail, tail)
    small = 1 - _erf_small(xp, xp.clip(x, -_SPLIT, _SPLIT))
    return xp.where(size < _SPLIT, small, large).astype(dtype)
