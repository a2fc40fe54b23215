"""Special functions under SciPy's names (`scipy.special`): what scipy.special's own functions dispatch to on Tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy

from .op import ArrayLike, as_tensors
from .ops.activation import log_softmax, sigmoid, softmax, softplus
from .ops.activation import logsigmoid as log_expit
from .ops.comparison import equal, greater, greater_equal, isinf, isnan, less, less_equal, logical_and, logical_or
from .ops.elementwise import cbrt, divide, exp2, expm1, log, log1p, multiply, negative, power, subtract, where
from .ops.floating import sinc
from .ops.gamma import bessel_i, digamma, erfinv, i0, logit
from .ops.gamma import lgamma as gammaln
from .ops.gamma import polygamma as _polygamma
from .ops.reduction import logsumexp
from .ops.special import erf, erfc
from .public import explain_errors

__all__ = [
    "betaln",
    "cbrt",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "exp10",
    "expit",
    "expm1",
    "gammaln",
    "i0",
    "i1",
    "kl_div",
    "log1p",
    "log_expit",
    "log_softmax",
    "logit",
    "logsumexp",
    "ndtr",
    "polygamma",
    "psi",
    "rel_entr",
    "sinc",
    "softmax",
    "softplus",
    "xlog1py",
    "xlogy",
]

expit, psi = sigmoid, digamma


def polygamma(n: int, x: ArrayLike) -> Any:
    """Derivative number `n` of digamma (`scipy.special.polygamma`).

    >>> import gpugrad as gg
    >>> gg.special.polygamma(1, [1.0]).round(4)
    tensor([1.6449])
    """
    return _polygamma(x, n)


def i1(x: ArrayLike) -> Any:
    """Modified Bessel function of order 1 (`scipy.special.i1`, `torch.special.i1`).

    >>> import gpugrad as gg
    >>> gg.special.i1([0.0])
    tensor([0.])
    """
    return bessel_i(x, 1)


def exp10(x: ArrayLike) -> Any:
    """``10 ** x`` (`scipy.special.exp10`).

    >>> import gpugrad as gg
    >>> gg.special.exp10([0.0, 2.0])
    tensor([  1., 100.])
    """
    return power(10.0, x)


def ndtr(x: ArrayLike) -> Any:
    """Distribution function of the standard normal distribution (`scipy.special.ndtr`), exact in both tails.

    >>> import gpugrad as gg
    >>> gg.special.ndtr([0.0])
    tensor([0.5])
    """
    return multiply(0.5, erfc(multiply(x, -math.sqrt(0.5))))


def betaln(a: ArrayLike, b: ArrayLike) -> Any:
    """Logarithm of the modulus of the beta function (`scipy.special.betaln`).

    >>> import gpugrad as gg
    >>> gg.special.betaln(1.0, 1.0)
    tensor(0.)
    """
    a, b = as_tensors(a, b)
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def _with_log(x: Any, y: Any, function: Any, undefined: Any) -> Any:
    """``x * function(y)``, 0 where x is 0 and the logarithm undefined, there with gradient 0."""
    gap = logical_and(equal(x, 0), logical_or(undefined, isinf(y)))
    return multiply(x, function(where(gap, 1.0, y)))


def xlogy(x: ArrayLike, y: ArrayLike) -> Any:
    """``x * log(y)``, 0 where `x` is 0 (`scipy.special.xlogy`, `torch.special.xlogy`).

    >>> import gpugrad as gg
    >>> gg.special.xlogy([0.0, 2.0], [0.0, 1.0])
    tensor([0., 0.])
    """
    return _with_log(x, y, log, less_equal(y, 0))


def xlog1py(x: ArrayLike, y: ArrayLike) -> Any:
    """``x * log1p(y)``, 0 where `x` is 0 (`scipy.special.xlog1py`, `torch.special.xlog1py`).

    >>> import gpugrad as gg
    >>> gg.special.xlog1py([0.0, 2.0], [-1.0, 0.0])
    tensor([0., 0.])
    """
    return _with_log(x, y, log1p, less_equal(y, -1))


def entr(x: ArrayLike) -> Any:
    """``-x * log(x)``: 0 at 0, -inf below (`scipy.special.entr`, `torch.special.entr`).

    >>> import gpugrad as gg
    >>> gg.special.entr([0.0, 1.0, -1.0])
    tensor([  0.,   0., -inf])
    """
    below = less(x, 0)
    inside = where(below, 1.0, x)
    return where(below, -numpy.inf, subtract(0.0, xlogy(inside, inside)))


def rel_entr(x: ArrayLike, y: ArrayLike) -> Any:
    """``x * log(x / y)``: 0 where `x` is 0, inf outside its domain (`scipy.special.rel_entr`).

    >>> import gpugrad as gg
    >>> gg.special.rel_entr([0.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    tensor([ 0.,  0., inf])
    """
    inside = logical_and(greater(x, 0), greater(y, 0))
    u, v = where(inside, x, 1.0), where(inside, y, 1.0)
    near = logical_and(less(u, 2 * v), less(v, 2 * u))  # there a difference of logarithms would cancel
    w = where(near, v, u)
    value = multiply(u, where(near, log1p(divide(u - w, w)), log(u) - log(v)))
    outside = where(logical_and(equal(x, 0), greater_equal(y, 0)), 0.0, numpy.inf)
    outside = where(logical_or(isnan(x), isnan(y)), numpy.nan, outside)
    return where(inside, value, outside.astype(value.dtype))


def kl_div(x: ArrayLike, y: ArrayLike) -> Any:
    """``x * log(x / y) - x + y`` (`scipy.special.kl_div`).

    >>> import gpugrad as gg
    >>> gg.special.kl_div([1.0, 0.0], [1.0, 2.0])
    tensor([0., 2.])
    """
    return rel_entr(x, y) + negative(x) + y


explain_errors(globals())
