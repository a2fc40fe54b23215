"""Elementwise ops: arithmetic, powers, exponentials, trigonometry, extrema, comparisons.

Each rule is ``t -> d * t``; it serves reverse mode, forward mode and every order. Shapes broadcast as in NumPy and dtypes
promote as in NumPy (NEP 50: a Python number takes the array's dtype). Summing a cotangent over broadcast axes is the
walk's business, so no rule mentions it.
"""

from __future__ import annotations

from typing import Any

import numpy

from ..op import ArrayLike, elementwise, elementwise_function
from .samples import array, binary, calls, distinct, unary

# --- arithmetic ---------------------------------------------------------------------------------------------------


@elementwise(ufunc="add", cuda="{x} + {y}", d=(lambda F, t: t, lambda F, t: t), samples=binary())
def add(x: ArrayLike, y: ArrayLike) -> Any:
    """Sum, elementwise: ``x + y`` (`numpy.add`). The add gate distributes its cotangent.

    >>> import gpugrad as gg
    >>> gg.add([1.0, 2.0], 1.0)
    tensor([2., 3.])
    """


@elementwise(ufunc="subtract", cuda="{x} - {y}", d=(lambda F, t: t, lambda F, t: -t), samples=binary())
def subtract(x: ArrayLike, y: ArrayLike) -> Any:
    """Difference, elementwise: ``x - y`` (`numpy.subtract`).

    >>> import gpugrad as gg
    >>> gg.subtract([1.0, 2.0], 1.0)
    tensor([0., 1.])
    """


@elementwise(ufunc="multiply", cuda="{x} * {y}", d=(lambda F, t, y: t * y, lambda F, t, x: t * x), samples=binary())
def multiply(x: ArrayLike, y: ArrayLike) -> Any:
    """Product, elementwise: ``x * y`` (`numpy.multiply`). The mul gate swaps its inputs.

    >>> import gpugrad as gg
    >>> gg.multiply([1.0, 2.0], 3.0)
    tensor([3., 6.])
    """


@elementwise(
    ufunc="divide",
    cuda="{x} / {y}",
    d=(lambda F, t, y: t / y, lambda F, t, y, out: -(t * out) / y),
    samples=binary(low2=0.5, high2=2.0),
)
def divide(x: ArrayLike, y: ArrayLike) -> Any:
    """Quotient, elementwise: ``x / y`` (`numpy.divide`).

    >>> import gpugrad as gg
    >>> gg.divide([1.0, 2.0], 2.0)
    tensor([0.5, 1. ])
    """


@elementwise(ufunc="negative", cuda="-{x}", d=(lambda F, t: -t,), samples=unary())
def negative(x: ArrayLike) -> Any:
    """Numerical negative, elementwise: ``-x`` (`numpy.negative`).

    >>> import gpugrad as gg
    >>> gg.negative([1.0, -2.0])
    tensor([-1.,  2.])
    """


@elementwise(ufunc="positive", cuda="{x}", d=(lambda F, t: t,), samples=unary())
def positive(x: ArrayLike) -> Any:
    """A copy: ``+x`` (`numpy.positive`).

    >>> import gpugrad as gg
    >>> gg.positive([1.0, -2.0])
    tensor([ 1., -2.])
    """


@elementwise(ufunc="reciprocal", cuda="1 / {x}", d=(lambda F, t, out: -t * (out * out),), samples=unary(0.5, 2))
def reciprocal(x: ArrayLike) -> Any:
    """``1 / x``, elementwise (`numpy.reciprocal`).

    >>> import gpugrad as gg
    >>> gg.reciprocal([1.0, 2.0])
    tensor([1. , 0.5])
    """


# --- powers and roots ---------------------------------------------------------------------------------------------


def _power_x(F: Any, t: Any, x: Any, y: Any) -> Any:
    return t * (y * F.power(x, F.where(y == 0, 1, y) - 1.0))  # x**0 is flat, also at 0


def _power_y(F: Any, t: Any, x: Any, y: Any, out: Any) -> Any:
    flat = (x == 0) & (y >= 0)  # 0**y is constant for y > 0, and log(0) must not spoil it
    return t * F.where(flat, 0.0, out * F.log(F.astype(F.where(flat, 1.0, x), out.dtype)))


@elementwise(
    ufunc="power",
    cuda="pow({x}, {y})",
    d=(_power_x, _power_y),
    samples=calls(
        lambda rng: ((array(rng, 3, 4, low=0.5), array(rng, 3, 4)), {}),
        lambda rng: ((array(rng, 3, 1, low=0.5), array(rng, 4)), {}),
        lambda rng: ((array(rng, 4), 3), {}),
        lambda rng: ((array(rng, 4, low=0.5), -1.5), {}),
        lambda rng: ((2.0, array(rng, 4)), {}),
    ),
)
def power(x: ArrayLike, y: ArrayLike) -> Any:
    """``x ** y``, elementwise (`numpy.power`).

    The gradient by `x` at ``y = 0`` is 0, and that by `y` at ``x = 0, y >= 0`` is 0 (as in PyTorch).

    >>> import gpugrad as gg
    >>> gg.power([1.0, 2.0], 3)
    tensor([1., 8.])
    """


def _small_power_rule(F: Any, t: Any, x: Any, n: int) -> Any:
    return t * (F.small_power(x, n - 1) * n)


@elementwise_function(
    d=(_small_power_rule,),
    samples=calls(lambda rng: ((array(rng, 3, 4), 3), {}), lambda rng: ((array(rng, 5), 4), {})),
)
def small_power(xp: Any, x: ArrayLike, n: int) -> Any:
    """``x ** n`` for a small n of at least 0, by products: of negative numbers the power function is thirty times as slow.

    >>> import gpugrad as gg
    >>> gg.ops.elementwise.small_power([1.0, -2.0], 3)
    tensor([ 1., -8.])
    """
    x = xp.asarray(x)
    if n < 2 or x.dtype.kind != "f":
        return xp.power(x, n)
    square = xp.multiply(x, x)
    if n == 2:
        return square
    return xp.multiply(small_power.op.function(xp, x, n - 2), square)  # type: ignore[attr-defined]


@elementwise(ufunc="square", cuda="{x} * {x}", d=(lambda F, t, x: t * (x + x),), samples=unary())
def square(x: ArrayLike) -> Any:
    """``x * x``, elementwise (`numpy.square`).

    >>> import gpugrad as gg
    >>> gg.square([1.0, -2.0])
    tensor([1., 4.])
    """


@elementwise(ufunc="sqrt", cuda="sqrt({x})", d=(lambda F, t, out: t / (out * 2),), samples=unary(0.5, 2))
def sqrt(x: ArrayLike) -> Any:
    """Square root, elementwise (`numpy.sqrt`); its gradient at 0 is infinite.

    >>> import gpugrad as gg
    >>> gg.sqrt([1.0, 4.0])
    tensor([1., 2.])
    """


@elementwise(ufunc="cbrt", cuda="cbrt({x})", d=(lambda F, t, out: t / (out * out * 3),), samples=unary(0.5, 2))
def cbrt(x: ArrayLike) -> Any:
    """Cube root, elementwise (`numpy.cbrt`).

    >>> import gpugrad as gg
    >>> gg.cbrt([1.0, 8.0])
    tensor([1., 2.])
    """


@elementwise_function(cuda="rsqrt({x})", d=(lambda F, t, out: t * (out * out * out) * -0.5,), samples=unary(0.5, 2))
def rsqrt(xp: Any, x: ArrayLike) -> Any:
    """``1 / sqrt(x)``, elementwise (`torch.rsqrt`).

    >>> import gpugrad as gg
    >>> gg.rsqrt([1.0, 4.0])
    tensor([1. , 0.5])
    """
    return 1 / xp.sqrt(x)


# --- exponentials and logarithms ----------------------------------------------------------------------------------

_LN2 = 0.6931471805599453
_LN10 = 2.302585092994046


@elementwise(ufunc="exp", cuda="exp({x})", d=(lambda F, t, out: t * out,), samples=unary())
def exp(x: ArrayLike) -> Any:
    """``e ** x``, elementwise (`numpy.exp`).

    >>> import gpugrad as gg
    >>> gg.exp([0.0, 1.0])
    tensor([1.    , 2.7183])
    """


@elementwise(ufunc="exp2", cuda="exp2({x})", d=(lambda F, t, out: t * (out * _LN2),), samples=unary())
def exp2(x: ArrayLike) -> Any:
    """``2 ** x``, elementwise (`numpy.exp2`).

    >>> import gpugrad as gg
    >>> gg.exp2([0.0, 3.0])
    tensor([1., 8.])
    """


@elementwise(ufunc="expm1", cuda="expm1({x})", d=(lambda F, t, out: t * (out + 1),), samples=unary())
def expm1(x: ArrayLike) -> Any:
    """``exp(x) - 1``, exact for small `x` (`numpy.expm1`).

    >>> import gpugrad as gg
    >>> gg.expm1([0.0, 1e-6])
    tensor([0.e+00, 1.e-06])
    """


@elementwise(ufunc="log", cuda="log({x})", d=(lambda F, t, x: t / x,), samples=unary(0.5, 3))
def log(x: ArrayLike) -> Any:
    """Natural logarithm, elementwise (`numpy.log`).

    >>> import gpugrad as gg
    >>> gg.log([1.0, 2.0])
    tensor([0.    , 0.6931])
    """


@elementwise(ufunc="log2", cuda="log2({x})", d=(lambda F, t, x: t / (x * _LN2),), samples=unary(0.5, 3))
def log2(x: ArrayLike) -> Any:
    """Logarithm to base 2, elementwise (`numpy.log2`).

    >>> import gpugrad as gg
    >>> gg.log2([1.0, 8.0])
    tensor([0., 3.])
    """


@elementwise(ufunc="log10", cuda="log10({x})", d=(lambda F, t, x: t / (x * _LN10),), samples=unary(0.5, 3))
def log10(x: ArrayLike) -> Any:
    """Logarithm to base 10, elementwise (`numpy.log10`).

    >>> import gpugrad as gg
    >>> gg.log10([1.0, 100.0])
    tensor([0., 2.])
    """


@elementwise(ufunc="log1p", cuda="log1p({x})", d=(lambda F, t, x: t / (x + 1),), samples=unary(-0.5, 3))
def log1p(x: ArrayLike) -> Any:
    """``log(1 + x)``, exact for small `x` (`numpy.log1p`).

    >>> import gpugrad as gg
    >>> gg.log1p([0.0, 1.0])
    tensor([0.    , 0.6931])
    """


@elementwise(
    ufunc="logaddexp",
    cuda="{x} == {y} ? {x} + {C}(0.6931471805599453) : ({x} > {y} ? {x} : {y}) + log1p(exp(-fabs({x} - {y})))",
    d=(lambda F, t, x, y: t * F.sigmoid(x - y), lambda F, t, x, y: t * F.sigmoid(y - x)),
    samples=binary(),
)
def logaddexp(x: ArrayLike, y: ArrayLike) -> Any:
    """``log(exp(x) + exp(y))`` without overflow (`numpy.logaddexp`).

    >>> import gpugrad as gg
    >>> gg.logaddexp([1000.0], 1000.0)
    tensor([1000.6932])
    """


# --- trigonometry -------------------------------------------------------------------------------------------------


@elementwise(ufunc="sin", cuda="sin({x})", d=(lambda F, t, x: t * F.cos(x),), samples=unary(-3, 3))
def sin(x: ArrayLike) -> Any:
    """Sine of an angle in radians, elementwise (`numpy.sin`).

    >>> import gpugrad as gg
    >>> gg.sin([0.0, 1.5707964])
    tensor([0., 1.])
    """


@elementwise(ufunc="cos", cuda="cos({x})", d=(lambda F, t, x: -t * F.sin(x),), samples=unary(-3, 3))
def cos(x: ArrayLike) -> Any:
    """Cosine of an angle in radians, elementwise (`numpy.cos`).

    >>> import gpugrad as gg
    >>> gg.cos([0.0])
    tensor([1.])
    """


@elementwise(ufunc="tan", cuda="tan({x})", d=(lambda F, t, out: t * (out * out + 1),), samples=unary(-1, 1))
def tan(x: ArrayLike) -> Any:
    """Tangent of an angle in radians, elementwise (`numpy.tan`).

    >>> import gpugrad as gg
    >>> gg.tan([0.0])
    tensor([0.])
    """


@elementwise(ufunc="arcsin", cuda="asin({x})", d=(lambda F, t, x: t / F.sqrt(1 - x * x),), samples=unary(-0.9, 0.9))
def arcsin(x: ArrayLike) -> Any:
    """Inverse sine in radians, elementwise (`numpy.arcsin`).

    >>> import gpugrad as gg
    >>> gg.arcsin([0.0, 1.0])
    tensor([0.    , 1.5708])
    """


@elementwise(ufunc="arccos", cuda="acos({x})", d=(lambda F, t, x: -t / F.sqrt(1 - x * x),), samples=unary(-0.9, 0.9))
def arccos(x: ArrayLike) -> Any:
    """Inverse cosine in radians, elementwise (`numpy.arccos`).

    >>> import gpugrad as gg
    >>> gg.arccos([1.0, 0.0])
    tensor([0.    , 1.5708])
    """


@elementwise(ufunc="arctan", cuda="atan({x})", d=(lambda F, t, x: t / (x * x + 1),), samples=unary())
def arctan(x: ArrayLike) -> Any:
    """Inverse tangent in radians, elementwise (`numpy.arctan`).

    >>> import gpugrad as gg
    >>> gg.arctan([0.0, 1.0])
    tensor([0.    , 0.7854])
    """


def _turn(F: Any, x: Any, y: Any) -> Any:
    """``x / (x**2 + y**2)``, without overflow or underflow; 0 at the origin."""
    r = F.hypot(x, y)
    r = F.where(r == 0, 1.0, r)
    return x / r / r


@elementwise(
    ufunc="arctan2",
    cuda="atan2({x}, {y})",
    d=(lambda F, t, x, y: t * _turn(F, y, x), lambda F, t, x, y: -t * _turn(F, x, y)),
    samples=binary(0.3, 2),
)
def arctan2(x: ArrayLike, y: ArrayLike) -> Any:
    """Angle in radians of the point (y, x): ``arctan(x / y)`` in the right quadrant (`numpy.arctan2`).

    >>> import gpugrad as gg
    >>> gg.arctan2([1.0], [-1.0])
    tensor([2.3562])
    """


@elementwise(ufunc="sinh", cuda="sinh({x})", d=(lambda F, t, x: t * F.cosh(x),), samples=unary())
def sinh(x: ArrayLike) -> Any:
    """Hyperbolic sine, elementwise (`numpy.sinh`).

    >>> import gpugrad as gg
    >>> gg.sinh([0.0])
    tensor([0.])
    """


@elementwise(ufunc="cosh", cuda="cosh({x})", d=(lambda F, t, x: t * F.sinh(x),), samples=unary())
def cosh(x: ArrayLike) -> Any:
    """Hyperbolic cosine, elementwise (`numpy.cosh`).

    >>> import gpugrad as gg
    >>> gg.cosh([0.0])
    tensor([1.])
    """


@elementwise(ufunc="tanh", cuda="tanh({x})", d=(lambda F, t, out: t * (1 - out * out),), samples=unary(-3, 3))
def tanh(x: ArrayLike) -> Any:
    """Hyperbolic tangent, elementwise (`numpy.tanh`). Its backward needs the output only.

    >>> import gpugrad as gg
    >>> gg.tanh([0.0, 1000.0])
    tensor([0., 1.])
    """


@elementwise(ufunc="arcsinh", cuda="asinh({x})", d=(lambda F, t, x: t / F.sqrt(x * x + 1),), samples=unary())
def arcsinh(x: ArrayLike) -> Any:
    """Inverse hyperbolic sine, elementwise (`numpy.arcsinh`).

    >>> import gpugrad as gg
    >>> gg.arcsinh([0.0])
    tensor([0.])
    """


@elementwise(ufunc="arccosh", cuda="acosh({x})", d=(lambda F, t, x: t / (F.sqrt(x - 1) * F.sqrt(x + 1)),), samples=unary(1.2, 3))
def arccosh(x: ArrayLike) -> Any:
    """Inverse hyperbolic cosine, elementwise (`numpy.arccosh`).

    >>> import gpugrad as gg
    >>> gg.arccosh([1.0])
    tensor([0.])
    """


@elementwise(ufunc="arctanh", cuda="atanh({x})", d=(lambda F, t, x: t / (1 - x * x),), samples=unary(-0.8, 0.8))
def arctanh(x: ArrayLike) -> Any:
    """Inverse hyperbolic tangent, elementwise (`numpy.arctanh`).

    >>> import gpugrad as gg
    >>> gg.arctanh([0.0])
    tensor([0.])
    """


# --- extrema, choice ----------------------------------------------------------------------------------------------


def _two_distinct(rng: Any) -> Any:
    values = distinct(rng, 2, 3, 4)
    return (values[0], values[1]), {}


def _abs_rule(F: Any, t: Any, x: Any, out: Any) -> Any:
    if x.dtype.kind != "c":
        return t * F.sign(x)
    return t * (F.conjugate(x) / F.where(out == 0, 1.0, out))


@elementwise(ufunc="absolute", cuda="fabs({x})", d=(_abs_rule,), samples=unary())
def abs(x: ArrayLike) -> Any:
    """Absolute value, elementwise (`numpy.abs`). The gradient at 0 is 0.

    >>> import gpugrad as gg
    >>> gg.abs([1.0, -2.0])
    tensor([1., 2.])
    """


def _tie(F: Any, larger: Any, equal: Any, like: Any) -> Any:
    """1 where the input won, one half where it tied, else 0."""
    return F.astype(larger, like.dtype) + F.astype(equal, like.dtype) * 0.5


@elementwise(
    ufunc="maximum",
    cuda="{x} > {y} || {x} != {x} ? {x} : {y}",
    d=(lambda F, t, x, y: t * _tie(F, x > y, x == y, t), lambda F, t, x, y: t * _tie(F, y > x, x == y, t)),
    samples=calls(_two_distinct, lambda rng: ((distinct(rng, 3, 4), 0.01), {})),
)
def maximum(x: ArrayLike, y: ArrayLike) -> Any:
    """The larger of two, elementwise (`numpy.maximum`). The max gate routes its cotangent; a tie halves it (PyTorch).

    >>> import gpugrad as gg
    >>> gg.maximum([1.0, -2.0], 0.0)
    tensor([1., 0.])
    """


@elementwise(
    ufunc="minimum",
    cuda="{x} < {y} || {x} != {x} ? {x} : {y}",
    d=(lambda F, t, x, y: t * _tie(F, x < y, x == y, t), lambda F, t, x, y: t * _tie(F, y < x, x == y, t)),
    samples=calls(_two_distinct, lambda rng: ((distinct(rng, 3, 4), 0.01), {})),
)
def minimum(x: ArrayLike, y: ArrayLike) -> Any:
    """The smaller of two, elementwise (`numpy.minimum`). A tie halves the cotangent, as in PyTorch.

    >>> import gpugrad as gg
    >>> gg.minimum([1.0, -2.0], 0.0)
    tensor([ 0., -2.])
    """


def _inside(F: Any, t: Any, x: Any, a_min: Any, a_max: Any) -> Any:
    if a_min is not None:
        t = t * (x >= a_min)
    return t if a_max is None else t * (x <= a_max)


@elementwise_function(
    d=(_inside,),
    samples=calls(
        lambda rng: ((distinct(rng, 3, 4), -0.31, 0.33), {}),
        lambda rng: ((distinct(rng, 5), None, 0.11), {}),
        lambda rng: ((distinct(rng, 5),), {"a_min": -0.11}),
    ),
)
def clip(xp: Any, x: ArrayLike, a_min: Any = None, a_max: Any = None) -> Any:
    """Limit values to [`a_min`, `a_max`] (`numpy.clip`); no gradient flows to the limits or from values outside.

    >>> import gpugrad as gg
    >>> gg.clip([-2.0, 0.5, 2.0], -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    return xp.clip(x, a_min, a_max)


@elementwise_function(
    cuda="{condition} ? {x} : {y}",
    d=(None, lambda F, t, condition: F.where(condition, t, 0), lambda F, t, condition: F.where(condition, 0, t)),
    samples=calls(
        lambda rng: ((array(rng, 3, 4) > 0, array(rng, 3, 4), array(rng, 3, 4)), {}),
        lambda rng: ((array(rng, 3, 1) > 0, array(rng, 4), array(rng, 3, 1)), {}),
        lambda rng: ((array(rng, 4) > 0, array(rng, 4), 0.5), {}),
    ),
)
def where(xp: Any, condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Any:
    """`x` where `condition` holds, else `y` (`numpy.where`). No gradient leaks from the branch not taken.

    >>> import gpugrad as gg
    >>> gg.where([True, False], [1.0, 2.0], 0.0)
    tensor([1., 0.])
    """
    if xp is not numpy:  # CuPy takes no numbers for conditions
        condition = xp.asarray(condition)
    return xp.where(condition, x, y)


@elementwise(
    ufunc="remainder",
    cuda="python_remainder({x}, {y})",
    d=(lambda F, t: t, lambda F, t, x, y: -t * F.floor_divide(x, y)),
    samples=calls(
        lambda rng: ((array(rng, 3, 4), array(rng, 4, low=0.7, high=0.9)), {}), lambda rng: ((array(rng, 5), 0.77), {})
    ),
)
def remainder(x: ArrayLike, y: ArrayLike) -> Any:
    """``x % y``, with the sign of `y` (`numpy.remainder`).

    >>> import gpugrad as gg
    >>> gg.remainder([5.0, -1.0], 3.0)
    tensor([2., 2.])
    """


# --- piecewise constant: their gradient is 0, so their results need none ------------------------------------------


def _sign_rule(F: Any, t: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return F.zeros_of(t)
    size = F.abs(x)
    size = F.where(size == 0, 1.0, size)
    return t / size - F.real(t * x) * (F.conjugate(x) / (size * size * size))


def _sign_jvp(F: Any, tangents: list[Any], x: Any) -> Any:
    return F.conjugate(_sign_rule(F, F.conjugate(tangents[0]), x))


@elementwise(ufunc="sign", cuda="{x} > 0 ? 1 : {x} < 0 ? -1 : {x}", d=(_sign_rule,), jvp=_sign_jvp, samples=unary())
def sign(x: ArrayLike) -> Any:
    """-1, 0 or 1 (`numpy.sign`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.sign([-2.0, 0.0, 3.0])
    tensor([-1.,  0.,  1.])
    """


def flat(F: Any, t: Any) -> Any:
    """The rule of steps: they do not rise but where they jump."""
    return F.zeros_of(t)


@elementwise(ufunc="floor_divide", cuda="python_quotient({x}, {y})", d=(flat, flat), samples=binary(0.5, 3))
def floor_divide(x: ArrayLike, y: ArrayLike) -> Any:
    """``x // y``: the quotient, rounded down (`numpy.floor_divide`); its gradient is 0.

    >>> import gpugrad as gg
    >>> gg.floor_divide([5.0, -1.0], 3.0)
    tensor([ 1., -1.])
    """
