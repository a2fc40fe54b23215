"""Error function. NumPy has none, so it is computed here to full precision."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..op import ArrayLike, elementwise_function
from .approximation import ERFCX, LOG_ERFC, blockwise, computed_in
from .samples import unary

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def _normal_decay(xp: Any, x: Any) -> Any:
    """``exp(-x * x)`` without the rounding error of ``x * x``: of the leading half of the digits the square is exact."""
    bits = x.view(f"i{x.dtype.itemsize}")
    high = (bits & (-(1 << 27) if x.dtype.itemsize > 4 else -(1 << 12))).view(x.dtype)
    low = x - high
    high, low = high * high, low * (high + x)
    out = xp.exp(-high)
    out *= xp.exp(-low)
    return out


def _erf_rule(F: Any, t: Any, x: Any) -> Any:
    return t * (F.exp(-(x * x)) * _TWO_OVER_SQRT_PI)


@elementwise_function(cuda="erf({x})", d=(_erf_rule,), samples=unary(-2.5, 2.5))
@blockwise
def erf(xp: Any, x: ArrayLike) -> Any:
    """Error function, elementwise (`scipy.special.erf`), to two or three units in the last place.

    >>> import gpugrad as gg
    >>> gg.erf([0.0, 1.0])
    tensor([0.    , 0.8427])
    """
    x, dtype = computed_in(xp, x, numpy.float32)
    size = xp.minimum(xp.abs(x), 6.2 if x.dtype.itemsize > 4 else 4.2)  # from there on it is 1
    exponent = LOG_ERFC(size)
    exponent *= -size
    return xp.copysign(xp.expm1(exponent), x).astype(dtype, copy=False)


@elementwise_function(cuda="erfc({x})", d=(lambda F, t, x: -_erf_rule(F, t, x),), samples=unary(-2.5, 2.5))
@blockwise
def erfc(xp: Any, x: ArrayLike) -> Any:
    """``1 - erf(x)`` without cancellation for large `x` (`scipy.special.erfc`).

    >>> import gpugrad as gg
    >>> gg.erfc([0.0, 3.0])
    tensor([1.000e+00, 2.209e-05])
    """
    x, dtype = computed_in(xp, x, numpy.float32)
    size = xp.minimum(xp.abs(x), 28)  # from there on it is 0
    tail = ERFCX(size)
    with numpy.errstate(under="ignore"):
        tail *= _normal_decay(xp, size)
    side = xp.copysign(1, x)
    tail *= side
    tail += 1 - side  # for negative x, 2 - tail
    return tail.astype(dtype, copy=False)
