"""More of NumPy's floating-point ufuncs: sizes, signs, angles, steps, and functions of bits."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..op import ArrayLike, elementwise, elementwise_function, primitive
from . import elementwise as basic
from .elementwise import _power_x, _power_y, flat
from .samples import array, binary, calls, distinct, unary


def _per(F: Any, x: Any, out: Any) -> Any:
    """``x / out``, and 0 where `out` is 0."""
    return F.where(out == 0, 0.0, x / F.where(out == 0, 1.0, out))


@elementwise(ufunc="fabs", cuda="fabs({x})", d=(lambda F, t, x: t * F.sign(x),), samples=unary())
def fabs(x: ArrayLike) -> Any:
    """Absolute value of real numbers, elementwise, always floating (`numpy.fabs`).

    >>> import gpugrad as gg
    >>> gg.fabs([-2.0, 1.0])
    tensor([2., 1.])
    """


@elementwise(
    ufunc="hypot",
    cuda="hypot({x}, {y})",
    d=(lambda F, t, x, out: t * _per(F, x, out), lambda F, t, y, out: t * _per(F, y, out)),
    samples=binary(0.5, 2),
)
def hypot(x: ArrayLike, y: ArrayLike) -> Any:
    """``sqrt(x**2 + y**2)`` without overflow, elementwise (`numpy.hypot`). The gradient at (0, 0) is 0.

    >>> import gpugrad as gg
    >>> gg.hypot([3.0], 4.0)
    tensor([5.])
    """


_LN2 = math.log(2)


@elementwise(
    ufunc="logaddexp2",
    d=(lambda F, t, x, y: t * F.sigmoid((x - y) * _LN2), lambda F, t, x, y: t * F.sigmoid((y - x) * _LN2)),
    samples=binary(),
)
def logaddexp2(x: ArrayLike, y: ArrayLike) -> Any:
    """``log2(2**x + 2**y)`` without overflow, elementwise (`numpy.logaddexp2`).

    >>> import gpugrad as gg
    >>> gg.logaddexp2([1000.0], 1000.0)
    tensor([1001.])
    """


@elementwise(
    ufunc="copysign",
    cuda="copysign({x}, {y})",
    d=(lambda F, t, x, out: t * F.sign(x) * F.sign(out), None),
    samples=binary(),
)
def copysign(x: ArrayLike, y: ArrayLike) -> Any:
    """The size of `x` with the sign of `y`, elementwise (`numpy.copysign`); flat in `y`, and at ``x = 0``.

    >>> import gpugrad as gg
    >>> gg.copysign([1.0, -2.0], -1.0)
    tensor([-1., -2.])
    """


@elementwise(
    ufunc="fmod",
    cuda="fmod({x}, {y})",
    d=(lambda F, t: t, lambda F, t, x, y: -t * F.trunc(x / y)),
    samples=binary(low2=0.6, high2=1.1),
)
def fmod(x: ArrayLike, y: ArrayLike) -> Any:
    """What is left of ``x / y``, with the sign of `x`, elementwise (`numpy.fmod`).

    >>> import gpugrad as gg
    >>> gg.fmod([-3.5, 3.5], 2.0)
    tensor([-1.5,  1.5])
    """


@elementwise(
    ufunc="float_power",
    cuda="pow((double){x}, (double){y})",
    d=(_power_x, _power_y),
    samples=calls(lambda rng: ((array(rng, 3, 1, low=0.5), array(rng, 4)), {}), lambda rng: ((array(rng, 4), 3), {})),
)
def float_power(x: ArrayLike, y: ArrayLike) -> Any:
    """``x ** y`` in float64 or complex128, elementwise (`numpy.float_power`).

    >>> import gpugrad as gg
    >>> gg.float_power([2.0], -1)
    tensor([0.5], dtype=float64)
    """


@elementwise(
    ufunc="heaviside",
    cuda="{x} > 0 ? 1 : {x} == 0 ? {y} : {x} < 0 ? 0 : {x}",
    d=(flat, lambda F, t, x: t * (x == 0)),
    samples=calls(lambda rng: ((numpy.array([-1, 0, 2]), array(rng, 3)), {}), lambda rng: ((array(rng, 3), array(rng, 3)), {})),
)
def heaviside(x: ArrayLike, y: ArrayLike) -> Any:
    """0 below zero, `y` at zero, 1 above, elementwise (`numpy.heaviside`); flat in `x`.

    >>> import gpugrad as gg
    >>> gg.heaviside([-1.0, 0.0, 2.0], 0.5)
    tensor([0. , 0.5, 1. ])
    """


def _won(F: Any, x: Any, out: Any, like: Any) -> Any:
    return F.astype(x == out, like.dtype)


def _f_extremum(F: Any, t: Any, x: Any, y: Any, out: Any) -> Any:
    won = _won(F, x, out, t)
    return t * won / F.maximum(won + _won(F, y, out, t), 1.0)


def _f_extremum_y(F: Any, t: Any, x: Any, y: Any, out: Any) -> Any:
    return _f_extremum(F, t, y, x, out)


def _apart(rng: Any) -> Any:
    values = distinct(rng, 2, 3, 4)
    return (values[0], values[1]), {}


@elementwise(ufunc="fmax", cuda="fmax({x}, {y})", d=(_f_extremum, _f_extremum_y), samples=calls(_apart))
def fmax(x: ArrayLike, y: ArrayLike) -> Any:
    """The larger of two, a number before nan, elementwise (`numpy.fmax`); a tie halves the cotangent.

    >>> import gpugrad as gg
    >>> gg.fmax([1.0, float("nan")], 0.0)
    tensor([1., 0.])
    """


@elementwise(ufunc="fmin", cuda="fmin({x}, {y})", d=(_f_extremum, _f_extremum_y), samples=calls(_apart))
def fmin(x: ArrayLike, y: ArrayLike) -> Any:
    """The smaller of two, a number before nan, elementwise (`numpy.fmin`); a tie halves the cotangent.

    >>> import gpugrad as gg
    >>> gg.fmin([1.0, float("nan")], 0.0)
    tensor([0., 0.])
    """


@elementwise(ufunc="deg2rad", cuda="{x} * {C}(0.017453292519943295)", d=(lambda F, t: t * (math.pi / 180),), samples=unary())
def deg2rad(x: ArrayLike) -> Any:
    """Degrees to radians, elementwise (`numpy.deg2rad`, `numpy.radians`).

    >>> import gpugrad as gg
    >>> gg.deg2rad([180.0])
    tensor([3.1416])
    """


@elementwise(ufunc="rad2deg", cuda="{x} * {C}(57.29577951308232)", d=(lambda F, t: t * (180 / math.pi),), samples=unary())
def rad2deg(x: ArrayLike) -> Any:
    """Radians to degrees, elementwise (`numpy.rad2deg`, `numpy.degrees`).

    >>> import gpugrad as gg
    >>> gg.rad2deg([gg.pi])
    tensor([180.])
    """


radians, degrees = deg2rad, rad2deg


@elementwise(
    ufunc="ldexp",
    d=(lambda F, t, y: F.ldexp(t, y), None),
    samples=calls(lambda rng: ((array(rng, 3, 4), numpy.array([0, 1, -2, 3])), {})),
)
def ldexp(x: ArrayLike, y: ArrayLike) -> Any:
    """``x * 2**y`` for integers `y`, elementwise (`numpy.ldexp`).

    >>> import gpugrad as gg
    >>> gg.ldexp([3.0], 2)
    tensor([12.])
    """


@elementwise(ufunc="nextafter", samples=binary())
def nextafter(x: ArrayLike, y: ArrayLike) -> Any:
    """The next representable number after `x` towards `y` (`numpy.nextafter`); has no gradient.

    >>> import gpugrad as gg
    >>> gg.nextafter(1.0, 2.0) > 1
    tensor(True)
    """


@elementwise(ufunc="spacing", samples=unary())
def spacing(xp: Any, x: ArrayLike) -> Any:
    """Distance to the next representable number (`numpy.spacing`); has no gradient.

    >>> import gpugrad as gg
    >>> gg.spacing(gg.tensor(1.0, dtype="float64")) == 2**-52
    tensor(True)
    """
    size = xp.abs(x)  # for CuPy, which lacks it
    return xp.copysign(xp.nextafter(size, numpy.inf) - size, x)


@elementwise(ufunc="signbit", cuda="signbit({x})", samples=unary())
def signbit(x: ArrayLike) -> Any:
    """Whether the sign bit is set, also of -0.0 (`numpy.signbit`).

    >>> import gpugrad as gg
    >>> gg.signbit([-0.0, 1.0])
    tensor([ True, False])
    """


@elementwise_function(
    d=(lambda F, t, x: t * F.isfinite(x),),
    samples=calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((array(rng, 4), False), {"nan": 1.0})),
)
def nan_to_num(
    xp: Any, x: ArrayLike, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """Numbers in place of nan and infinities (`numpy.nan_to_num`); no gradient passes where one was put.

    >>> import gpugrad as gg
    >>> gg.nan_to_num([1.0, float("nan")])
    tensor([1., 0.])
    """
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _sinc_rule(F: Any, t: Any, x: Any, out: Any) -> Any:
    small = F.abs(x) < 0.03
    safe = F.where(small, 1.0, x)
    far = (F.cos(safe * math.pi) - out) / safe
    square = x * x
    near = x * (-(math.pi**2) / 3 + square * (math.pi**4 / 30 - square * (math.pi**6 / 840 - square * (math.pi**8 / 45360))))
    return t * F.where(small, near, far)


@elementwise_function(d=(_sinc_rule,), samples=calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((numpy.zeros(2),), {})))
def sinc(xp: Any, x: ArrayLike) -> Any:
    """``sin(pi x) / (pi x)``, 1 at 0, elementwise (`numpy.sinc`).

    >>> import gpugrad as gg
    >>> gg.sinc([0.0, 0.5])
    tensor([1.    , 0.6366])
    """
    return xp.sinc(xp.asarray(x))


@elementwise(ufunc="floor", cuda="floor({x})", d=(flat,), samples=unary())
def floor(x: ArrayLike) -> Any:
    """Largest integer not above (`numpy.floor`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.floor([-1.5, 1.5])
    tensor([-2.,  1.])
    """


@elementwise(ufunc="ceil", cuda="ceil({x})", d=(flat,), samples=unary())
def ceil(x: ArrayLike) -> Any:
    """Smallest integer not below (`numpy.ceil`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.ceil([-1.5, 1.5])
    tensor([-1.,  2.])
    """


@elementwise(ufunc="rint", cuda="rint({x})", d=(flat,), samples=unary())
def rint(x: ArrayLike) -> Any:
    """Nearest integer, halves to even (`numpy.rint`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.rint([0.5, 1.5])
    tensor([0., 2.])
    """


@elementwise(ufunc="trunc", cuda="trunc({x})", d=(flat,), samples=unary())
def trunc(x: ArrayLike) -> Any:
    """Integer part, towards zero (`numpy.trunc`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.trunc([-1.5, 1.5])
    tensor([-1.,  1.])
    """


@elementwise_function(d=(flat,), samples=calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((array(rng, 4), 1), {})))
def round(xp: Any, x: ArrayLike, decimals: int = 0) -> Any:
    """To a number of decimals, halves to even, elementwise (`numpy.round`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.round([1.25, 2.5], 1)
    tensor([1.2, 2.5])
    """
    return xp.round(xp.asarray(x), decimals)


around = round


@elementwise_function(d=(flat,), samples=unary())
def fix(xp: Any, x: ArrayLike) -> Any:
    """To the next integer towards zero, elementwise (`numpy.trunc`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.fix([-1.5, 1.5])
    tensor([-1.,  1.])
    """
    return xp.trunc(x)


# --- comparisons to a tolerance: no gradient ----------------------------------------------------------------------


@primitive(samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4)), {})))
def isclose(xp: Any, a: ArrayLike, b: ArrayLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether equal to a tolerance, elementwise (`numpy.isclose`).

    >>> import gpugrad as gg
    >>> gg.isclose([1.0, 2.0], [1.0, 2.1])
    tensor([ True, False])
    """
    return xp.isclose(a, b, rtol, atol, equal_nan)


@primitive(samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4)), {})))
def allclose(xp: Any, a: ArrayLike, b: ArrayLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all are equal to a tolerance (`numpy.allclose`).

    >>> import gpugrad as gg
    >>> bool(gg.allclose([1.0, 2.0], [1.0, 2.0]))
    True
    """
    return xp.all(xp.isclose(a, b, rtol, atol, equal_nan))


@primitive(samples=calls(lambda rng: ((array(rng, 3), array(rng, 4)), {}), lambda rng: ((numpy.ones(2), numpy.ones(2)), {})))
def array_equal(xp: Any, a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Any:
    """Whether two arrays have the same shape and elements (`numpy.array_equal`).

    >>> import gpugrad as gg
    >>> bool(gg.array_equal([1.0], [1.0, 1.0]))
    False
    """
    return xp.asarray(xp.array_equal(xp.asarray(a1), xp.asarray(a2), equal_nan))


# --- compositions -------------------------------------------------------------------------------------------------


def lerp(start: ArrayLike, end: ArrayLike, weight: ArrayLike) -> Any:
    """``start + weight * (end - start)`` (`torch.lerp`).

    >>> import gpugrad as gg
    >>> gg.lerp([0.0], [4.0], 0.25)
    tensor([1.])
    """
    return basic.add(start, basic.multiply(weight, basic.subtract(end, start)))


__all__ = [
    "allclose",
    "around",
    "array_equal",
    "ceil",
    "copysign",
    "deg2rad",
    "degrees",
    "fabs",
    "fix",
    "float_power",
    "floor",
    "fmax",
    "fmin",
    "fmod",
    "heaviside",
    "hypot",
    "isclose",
    "ldexp",
    "lerp",
    "logaddexp2",
    "nan_to_num",
    "nextafter",
    "rad2deg",
    "radians",
    "rint",
    "round",
    "signbit",
    "sinc",
    "spacing",
    "trunc",
]
