"""Rational approximations, and functions evaluated in blocks that stay in the cache: what special functions are made of.

A function of thirty array operations on a large array reads and writes main memory thirty times. In blocks it does so once,
and its temporaries are small ones, which the allocator hands out again and again.

The coefficients were computed with 60 digits: each fraction meets its function at the Chebyshev points of
``(x - c) / (x + c)`` on its interval, with the `c` of the least relative error, which is given beside it. All of them are
positive, so for positive arguments nothing cancels. Denominators end in 1, and lists begin with the constant term.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy

from ..backend import real_only

__all__ = [
    "DIGAMMA_FAR",
    "DIGAMMA_NEAR",
    "ERFCX",
    "LGAMMA_FAR",
    "LGAMMA_NEAR",
    "LOG_ERFC",
    "LOG_ERFC_INVERSE",
    "NORMAL_TAIL",
    "Rational",
    "blockwise",
    "computed_in",
]

_BLOCK = 1 << 14
"""Elements at a time: some six arrays of them fit into a core's second cache."""


class Rational:
    """A quotient of polynomials, by Horner's rule in place."""

    def __init__(self, top: tuple[float, ...], bottom: tuple[float, ...]) -> None:
        assert bottom[-1] == 1
        self.top, self.bottom = top, bottom

    def __call__(self, x: Any) -> Any:
        """The value at a raw array, whose precision the coefficients are rounded to."""
        above, below = x * self.top[-1], x + self.bottom[-2]
        above += self.top[-2]
        for c in self.top[-3::-1]:
            above *= x
            above += c
        for c in self.bottom[-3::-1]:
            below *= x
            below += c
        above /= below
        return above

    def scaled(self, outer: float, inner: float) -> Rational:
        """``outer * self(inner * x)``, which then costs no multiplications."""
        last = inner ** (len(self.bottom) - 1)
        bottom = tuple(c * inner**k / last for k, c in enumerate(self.bottom))
        return Rational(tuple(outer * c * inner**k / last for k, c in enumerate(self.top)), bottom)


def computed_in(xp: Any, x: Any, least: Any) -> tuple[Any, Any]:
    """A real argument as a floating array of the precision `least` or more, and the dtype to give back."""
    x = real_only(xp.asarray(x))
    dtype = x.dtype if x.dtype.kind == "f" else numpy.dtype(numpy.float64)
    return x.astype(numpy.promote_types(dtype, least), copy=False), dtype


def blockwise(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward ``(xp, x, *params)`` that is elementwise, run on one block of a large NumPy array after the other."""

    @functools.wraps(forward)
    def run(xp: Any, x: Any, *args: Any, **params: Any) -> Any:
        x = xp.asarray(x)
        if xp is not numpy or x.size <= _BLOCK:
            return forward(xp, x, *args, **params)
        flat = x.reshape(-1)
        first = forward(xp, flat[:_BLOCK], *args, **params)
        out = numpy.empty(x.size, first.dtype)
        out[:_BLOCK] = first
        for start in range(_BLOCK, x.size, _BLOCK):
            out[start : start + _BLOCK] = forward(xp, flat[start : start + _BLOCK], *args, **params)
        return out.reshape(x.shape)

    return run


class ByPrecision:
    """Two fractions for one function, of which the dtype of the argument chooses."""

    def __init__(self, single: Rational, double: Rational) -> None:
        self.single, self.double = single, double

    def __call__(self, x: Any) -> Any:
        return (self.double if x.dtype.itemsize > 4 else self.single)(x)

    def scaled(self, outer: float, inner: float) -> ByPrecision:
        return ByPrecision(self.single.scaled(outer, inner), self.double.scaled(outer, inner))


ERFCX = ByPrecision(
    Rational(  # 7.7e-9 up to 10.5
        (16.96365407, 21.0875357, 12.4927693, 3.926958263, 0.564195465),
        (16.96365399, 40.22897874, 40.92250019, 22.63605059, 6.960758564, 1.0),
    ),
    Rational(  # 1.8e-18 up to 28
        (
            38224.372701535107,
            89754.345962471215,
            104445.90665918175,
            77850.94807958448,
            40781.480928145612,
            15617.671899261823,
            4422.4219745395239,
            915.51782762888519,
            133.12329935479314,
            12.365568052594917,
            0.56418958354784772,
        ),
        (
            38224.372701535106,
            132885.93179417785,
            216167.25099427165,
            217638.02947013123,
            151044.07336255086,
            76085.833537045582,
            28482.00062598117,
            7956.0163081730483,
            1633.6717986103361,
            236.45490458452206,
            21.91739871348359,
            1.0,
        ),
    ),
)
"""``exp(x * x) * erfc(x)`` for x >= 0."""

NORMAL_TAIL = ERFCX.scaled(0.5, math.sqrt(0.5))
"""``exp(x * x / 2) * Phi(-x)`` for x >= 0, with the normal distribution function Phi."""

LOG_ERFC = ByPrecision(
    Rational(  # 3.6e-9 up to 4.2
        (27.75457696, 38.02388181, 23.33096927, 7.312248624, 0.9989081635),
        (24.59685332, 19.82050629, 7.253647319, 1.0),
    ),
    Rational(  # 1.0e-18 up to 6.2
        (
            777819.69411439204,
            1987002.5284819299,
            2452009.0673896454,
            1880733.7328745776,
            978099.73254150265,
            354782.99802041596,
            89087.029641892188,
            14811.883711598928,
            1470.117144713956,
            69.022684408220773,
            0.99997651647136642,
        ),
        (
            689324.75607160236,
            1372025.2946262011,
            1336170.4832082973,
            799625.08265428183,
            317366.53959627343,
            84402.730119097717,
            14527.609558089508,
            1464.4454697337593,
            69.014993255833245,
            1.0,
        ),
    ),
)
"""``-log(erfc(x)) / x`` for x >= 0."""

LOG_ERFC_INVERSE = Rational(  # 3.0e-7 up to 37.5
    (827459.7826, 1462188.078, 717720.3887, 108994.1477, 4512.741743, 33.76268528),
    (933688.6532, 2116731.432, 1468330.671, 355044.1066, 27263.99719, 510.1953193, 1.0),
)
"""``y / z`` for the y >= 0 with ``-log(erfc(y)) = z``: where steps to the inverse error function start."""

LGAMMA_NEAR = Rational(  # 3.8e-17 for 0 to 2
    (
        128570.22151430935,
        374751.77959778476,
        420085.02001699425,
        228168.75641961175,
        62257.067416804156,
        8026.3950707395756,
        408.61889216242002,
        5.1154553731955338,
    ),
    (
        222742.08641971305,
        743880.67966423015,
        983862.80306416534,
        657442.11771126244,
        235058.47366449643,
        43972.071365874474,
        3915.1284758740463,
        133.82729372618276,
        1.0,
    ),
)
"""``lgamma(1 + x) / (x * (x - 1))``."""

DIGAMMA_NEAR = Rational(  # 8.7e-18 for 0 to 2
    (
        609514.51871152022,
        940770.06526085499,
        516849.99010274948,
        126465.81195963729,
        13878.059734346153,
        591.11061118460506,
        6.1819604473408654,
    ),
    (
        487463.37248168279,
        1085591.2794390557,
        862055.38215191718,
        315662.6072167395,
        56203.712454419883,
        4612.0050467772395,
        144.42676000162697,
        1.0,
    ),
)
"""``digamma(1 + x)`` over x less its zero."""

LGAMMA_FAR = Rational(  # 6.7e-17 up to 1 / 9
    (1.2833878158296947, 14.246348966538912, 42.497137627648266, 37.030181615726673, 6.7338262985598621),
    (15.400653789956338, 171.46954272479693, 515.53463006329229, 460.0236283882529, 92.299408333571088, 1.0),
)
"""Of ``1 / x**2``: what Stirling's formula lacks of lgamma(x), times x."""

DIGAMMA_FAR = Rational(  # 8.9e-16 up to 1 / 9
    (0.22109558748300525, 2.813386439120113, 9.8546377784904871, 10.423098123515152, 2.4040673829108836),
    (2.6531470497960654, 34.025951974416654, 121.53190820498088, 135.74274205310822, 38.095963652541162, 1.0),
)
"""Of ``1 / x**2``: what ``log(x) - 1 / (2 * x)`` exceeds digamma(x) by, times ``x**2``."""
