"""Activation functions. Where the mathematics allows it, the backward needs the output only: (1 - y) * y for sigmoid."""

from __future__ import annotations

import math
from typing import Any

import numpy

from ..backend import real_only
from ..errors import ShapeError
from ..op import ArrayLike, as_tensor, elementwise_function, fused, primitive
from ..op import composed as F
from .approximation import NORMAL_TAIL, blockwise, computed_in
from .axes import axis_of, cut
from .samples import array, calls, distinct, unary

_ZEROS, _ONES = ({char: numpy.full((), value, char) for char in "fdFD"} for value in (0, 1))
_zeros: dict[tuple[tuple[int, ...], Any], Any] = {}


def zero_of(x: Any) -> Any:
    """A zero of the dtype of a NumPy array: a Python number is converted anew by each call."""
    return _ZEROS.get(x.dtype.char, 0)


def one_of(x: Any) -> Any:
    """A one of the dtype of a NumPy array."""
    return _ONES.get(x.dtype.char, 1)


def kept_zeros(xp: Any, x: Any) -> Any:
    """A zero to compare `x` with: an array of its shape, kept, since ``maximum(x, 0)`` takes three times as long."""
    if xp is not numpy or not isinstance(x, numpy.ndarray) or x.size > 1 << 17:
        return 0
    try:
        return _zeros[x.shape, x.dtype]
    except KeyError:
        if len(_zeros) >= 32:
            _zeros.clear()
        zeros = _zeros[x.shape, x.dtype] = numpy.zeros(x.shape, x.dtype)
        return zeros


def relu_in_place(xp: Any, x: Any) -> Any:
    """`relu` of a raw array of its own, written over it."""
    if x.dtype.kind == "c":
        real_only(x)
    return xp.maximum(x, kept_zeros(xp, x), out=x)


@elementwise_function(cuda="1 / (1 + exp(-{x}))", d=(lambda F, t, out: t * ((1 - out) * out),), samples=unary(-4, 4))
def sigmoid(xp: Any, x: ArrayLike) -> Any:
    """Logistic function ``1 / (1 + exp(-x))``, elementwise; no overflow at any `x` (`torch.sigmoid`).

    >>> import gpugrad as gg
    >>> gg.sigmoid([-1000.0, 0.0, 1000.0])
    tensor([0. , 0.5, 1. ])
    """
    x = xp.asarray(x)
    out = xp.negative(x if x.dtype.kind in "fc" else x.astype(float))
    into = out if out.ndim else None  # NumPy makes scalars of 0-d results, which cannot be written to
    with numpy.errstate(over="ignore", under="ignore"):
        out = xp.exp(out, out=into)
        one = one_of(out) if xp is numpy else 1
        out += one
        return xp.divide(one, out, out=into)


@elementwise_function(cuda="fmax({x}, 0)", d=(lambda F, t, out: t * (out > 0).astype(t.dtype),), samples=unary())
def relu(xp: Any, x: ArrayLike) -> Any:
    """``max(x, 0)``, elementwise (`torch.relu`). Its gradient at 0 is 0, and at nan too.

    >>> import gpugrad as gg
    >>> gg.relu([1.0, -2.0])
    tensor([1., 0.])
    """
    return xp.maximum(real_only(x), kept_zeros(xp, x))


def _sloped(F: Any, x: Any, dtype: Any, below: Any) -> Any:
    """1 where x is positive, elsewhere `below`, which must be finite: exact, and several times as fast as `where`."""
    positive = F.astype(x > 0, dtype)
    return positive + (1 - positive) * below


def _leaky_rule(F: Any, t: Any, x: Any, negative_slope: float) -> Any:
    return t * _sloped(F, x, t.dtype, negative_slope)


@elementwise_function(
    cuda="{x} > 0 ? {x} : {negative_slope} * {x}",
    d=(_leaky_rule,),
    samples=calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((array(rng, 5), 0.2), {})),
)
def leaky_relu(xp: Any, x: ArrayLike, negative_slope: float = 0.01) -> Any:
    """`x` where positive, else ``negative_slope * x`` (`torch.nn.functional.leaky_relu`; the lectures use 0.1).

    >>> import gpugrad as gg
    >>> gg.leaky_relu([1.0, -2.0], 0.1)
    tensor([ 1. , -0.2])
    """
    low = xp.multiply(real_only(x), negative_slope)
    if negative_slope == 0:  # of infinity it is nan
        return xp.where(xp.greater(x, 0), x, low)
    return (xp.maximum if negative_slope <= 1 else xp.minimum)(x, low)


def _one_or(F: Any, t: Any, x: Any, slope: Any) -> Any:
    """`t` where `x` is positive, else times a slope."""
    return t * _sloped(F, x, t.dtype, slope)


def _elu_rule(F: Any, t: Any, x: Any, alpha: float) -> Any:
    """From the input: the result, plus alpha, would have lost the digits of the tail."""
    return _one_or(F, t, x, F.exp(F.clip(x, -math.inf, 0.0)) * alpha)


def _alphas() -> Any:
    return calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((array(rng, 5), 0.5), {}))


@elementwise_function(cuda="{x} > 0 ? {x} : {alpha} * expm1({x})", d=(_elu_rule,), samples=_alphas())
def elu(xp: Any, x: ArrayLike, alpha: float = 1.0) -> Any:
    """`x` where positive, else ``alpha * (exp(x) - 1)`` (`torch.nn.functional.elu`).

    >>> import gpugrad as gg
    >>> gg.elu([1.0, -1000.0])
    tensor([ 1., -1.])
    """
    return xp.maximum(real_only(x), 0) + xp.expm1(xp.minimum(x, 0)) * alpha


@elementwise_function(
    cuda="fmax({x}, 0) + log1p(exp(-fabs({x})))", d=(lambda F, t, out: t * -F.expm1(-out),), samples=unary(-4, 4)
)
def softplus(xp: Any, x: ArrayLike) -> Any:
    """``log(1 + exp(x))`` without overflow, elementwise (`torch.nn.functional.softplus`).

    >>> import gpugrad as gg
    >>> gg.softplus([0.0, 1000.0])
    tensor([6.9315e-01, 1.0000e+03])
    """
    return xp.maximum(real_only(x), 0) + xp.log1p(xp.exp(-xp.abs(x)))


@elementwise_function(
    cuda="fmin({x}, 0) - log1p(exp(-fabs({x})))", d=(lambda F, t, out: t * -F.expm1(out),), samples=unary(-4, 4)
)
def logsigmoid(xp: Any, x: ArrayLike) -> Any:
    """``log(sigmoid(x))``, exact in the far negative tail too (`torch.nn.functional.logsigmoid`).

    >>> import gpugrad as gg
    >>> gg.logsigmoid([0.0, -1000.0])
    tensor([-6.9315e-01, -1.0000e+03])
    """
    return xp.minimum(real_only(x), 0) - xp.log1p(xp.exp(-xp.abs(x)))


def _silu_rule(F: Any, t: Any, x: Any) -> Any:
    s = F.sigmoid(x)
    return t * (s * (1 + x * (1 - s)))


@elementwise_function(cuda="{x} / (1 + exp(-{x}))", d=(_silu_rule,), samples=unary(-4, 4))
def silu(xp: Any, x: ArrayLike) -> Any:
    """``x * sigmoid(x)``, elementwise (`torch.nn.functional.silu`).

    >>> import gpugrad as gg
    >>> gg.silu([0.0, 1000.0])
    tensor([   0., 1000.])
    """
    with numpy.errstate(over="ignore", invalid="ignore"):  # -inf gives nan, as in PyTorch
        below = xp.exp(xp.negative(x))
        below += 1
        return xp.divide(x, below)


_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def _check_approximate(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


_FLAT = 40.0
"""Beyond this size the normal density and the tanh of GELU are flat in every dtype; the powers of `x` are held to it."""


def _gelu_slope_rule(F: Any, t: Any, x: Any) -> Any:
    square = F.square(F.clip(x, -_FLAT, _FLAT))
    return t * (F.exp(-0.5 * square) * (2 - square) * (0.5 * _SQRT_2_OVER_PI))


@elementwise_function(d=(_gelu_slope_rule,), samples=unary(-4, 4))
@blockwise
def gelu_slope(xp: Any, x: ArrayLike) -> Any:
    """Derivative of `gelu`: ``Phi(x) + x * Phi'(x)``.

    >>> import gpugrad as gg
    >>> gg.ops.activation.gelu_slope([0.0, 1.0])
    tensor([0.5   , 1.0833])
    """
    x, dtype = computed_in(xp, x, numpy.float32)
    size = xp.minimum(xp.abs(x), _FLAT)
    out = size * (0.5 * _SQRT_2_OVER_PI)
    out -= NORMAL_TAIL(size)
    out *= _normal_decay(xp, size)
    side = xp.copysign(1, x)
    out *= side
    side += 1
    side *= 0.5
    out += side  # Phi(x) = 1 - Phi(-x)
    return out.astype(dtype, copy=False)


def _normal_decay(xp: Any, size: Any) -> Any:
    out = size * size
    out *= -0.5
    with numpy.errstate(under="ignore"):
        return xp.exp(out)


def _gelu_rule(F: Any, t: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":
        return t * F.gelu_slope(x)
    x = F.clip(x, -_FLAT, _FLAT)
    th = F.tanh((x + 0.044715 * (x * x * x)) * _SQRT_2_OVER_PI)
    slope = (1 - th * th) * (1 + 0.134145 * (x * x)) * _SQRT_2_OVER_PI
    return t * (0.5 * (1 + th + x * slope))


@elementwise_function(
    cuda="{x} * normcdf({x})",
    d=(_gelu_rule,),
    samples=calls(lambda rng: ((array(rng, 3, 4),), {}), lambda rng: ((array(rng, 5),), {"approximate": "tanh"})),
)
@blockwise
def gelu(xp: Any, x: ArrayLike, approximate: str = "none") -> Any:
    """``x * Phi(x)`` with the normal distribution function Phi; or its tanh form (`torch.nn.functional.gelu`).

    >>> import gpugrad as gg
    >>> gg.gelu([0.0, 1.0])
    tensor([0.    , 0.8413])
    """
    _check_approximate(approximate)
    if approximate == "tanh":
        near = xp.clip(x, -_FLAT, _FLAT)
        with numpy.errstate(invalid="ignore"):
            return 0.5 * x * (1 + xp.tanh((near + 0.044715 * (near * near * near)) * _SQRT_2_OVER_PI))
    x, dtype = computed_in(xp, x, numpy.float32)
    size = xp.minimum(xp.abs(x), _FLAT)
    tail = NORMAL_TAIL(size)
    tail *= _normal_decay(xp, size)
    tail *= size
    out = xp.maximum(x, 0)
    out -= tail  # x * Phi(x) = x - x * Phi(-x)
    return out.astype(dtype, copy=False)


@elementwise_function(
    cuda="{x} / (1 + fabs({x}))", d=(lambda F, t, x: t * F.square(F.reciprocal(1 + F.abs(x))),), samples=unary(-4, 4)
)
def softsign(xp: Any, x: ArrayLike) -> Any:
    """``x / (1 + |x|)``, elementwise (`torch.nn.functional.softsign`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.softsign([1.0, -3.0])
    tensor([ 0.5 , -0.75])
    """
    with numpy.errstate(invalid="ignore"):
        return xp.divide(real_only(x), 1 + xp.abs(x))


@elementwise_function(cuda="{x} - tanh({x})", d=(lambda F, t, x: t * F.square(F.tanh(x)),), samples=unary(-4, 4))
def tanhshrink(xp: Any, x: ArrayLike) -> Any:
    """``x - tanh(x)``, elementwise (`torch.nn.functional.tanhshrink`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.tanhshrink([0.0, 1000.0])
    tensor([  0., 999.])
    """
    return xp.subtract(x, xp.tanh(x))


def _mish_rule(F: Any, t: Any, x: Any) -> Any:
    x = F.minimum(x, _FLAT)
    th = F.tanh(F.softplus(x))
    return t * (th + x * F.sigmoid(x) * (1 - th * th))


@elementwise_function(cuda="{x} * tanh(fmax({x}, 0) + log1p(exp(-fabs({x}))))", d=(_mish_rule,), samples=unary(-4, 4))
def mish(xp: Any, x: ArrayLike) -> Any:
    """``x * tanh(softplus(x))``, elementwise (Misra, 2019; `torch.nn.functional.mish`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.mish([0.0, 1.0])
    tensor([0.    , 0.8651])
    """
    with numpy.errstate(invalid="ignore"):
        return xp.multiply(x, xp.tanh(xp.maximum(real_only(x), 0) + xp.log1p(xp.exp(-xp.abs(x)))))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _selu_rule(F: Any, t: Any, x: Any) -> Any:
    return _one_or(F, t, x, F.exp(F.clip(x, -math.inf, 0.0)) * _SELU_ALPHA) * _SELU_SCALE


@elementwise_function(
    cuda=f"{_SELU_SCALE!r} * ({{x}} > 0 ? {{x}} : {_SELU_ALPHA!r} * expm1({{x}}))", d=(_selu_rule,), samples=unary()
)
def selu(xp: Any, x: ArrayLike) -> Any:
    """ELU with the scale and `alpha` that keep mean 0 and variance 1 from layer to layer (Klambauer et al., 2017).

    >>> import gpugrad as gg
    >>> gg.nn.functional.selu([1.0, -1000.0])
    tensor([ 1.0507, -1.7581])
    """
    return xp.where(xp.greater(real_only(x), 0), x, xp.expm1(xp.minimum(x, 0)) * _SELU_ALPHA) * _SELU_SCALE


@elementwise_function(
    cuda="{x} > 0 ? {x} : {alpha} * expm1({x} / {alpha})",
    d=(lambda F, t, x, alpha: _one_or(F, t, x, F.exp(F.clip(x, -math.inf, 0.0) / alpha)),),
    samples=_alphas(),
)
def celu(xp: Any, x: ArrayLike, alpha: float = 1.0) -> Any:
    """``max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)``: an ELU without a kink (`torch.nn.functional.celu`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.celu([1.0, -1000.0], 0.5)
    tensor([ 1. , -0.5])
    """
    if alpha == 0:
        raise ValueError("alpha cannot be 0")
    with numpy.errstate(over="ignore"):
        return xp.where(xp.greater(real_only(x), 0), x, xp.expm1(xp.minimum(x, 0) / alpha) * alpha)


# --- along an axis ------------------------------------------------------------------------------------------------


def _axes() -> Any:
    return calls(
        lambda rng: ((array(rng, 3, 4),), {}),
        lambda rng: ((array(rng, 2, 3, 4),), {"axis": 1}),
        lambda rng: ((array(rng, 5),), {"axis": 0}),
    )


def _shifted(xp: Any, x: Any, axis: int) -> Any:
    """``x - max(x)`` along `axis`; of no elements, which have no largest, as they are."""
    return xp.subtract(x, xp.max(x, axis=axis, keepdims=True)) if x.size else x


def _exp_shifted(xp: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """``exp(x - max(x))`` and its sum along `axis`."""
    out = xp.exp(_shifted(xp, x, axis))
    return out, xp.sum(out, axis=axis, keepdims=True)


@primitive(vjp=(lambda F, t, out, axis: out * (t - F.sum(t * out, axis=axis, keepdims=True)),), samples=_axes())
def softmax(xp: Any, x: ArrayLike, axis: int = -1) -> Any:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow (`torch.softmax`).

    >>> import gpugrad as gg
    >>> gg.softmax([0.0, 0.0])
    tensor([0.5, 0.5])
    """
    exps, total = _exp_shifted(xp, x, axis)
    return exps / total


@primitive(vjp=(lambda F, t, out, axis: t - F.exp(out) * F.sum(t, axis=axis, keepdims=True),), samples=_axes())
def log_softmax(xp: Any, x: ArrayLike, axis: int = -1) -> Any:
    """``log(softmax(x))`` along an axis, without overflow or underflow (`torch.log_softmax`).

    >>> import gpugrad as gg
    >>> gg.log_softmax([0.0, 1000.0])
    tensor([-1000.,     0.])
    """
    shifted = _shifted(xp, x, axis)
    if not x.size:
        return xp.exp(shifted)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


def softmin(x: ArrayLike, axis: int = -1) -> Any:
    """Softmax of ``-x`` along an axis (`torch.nn.functional.softmin`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.softmin([0.0, 1000.0])
    tensor([1., 0.])
    """
    return F.softmax(F.negative(x), axis)


def glu(x: ArrayLike, axis: int = -1) -> Any:
    """The first half along an axis, times the sigmoid of the second half (`torch.nn.functional.glu`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.glu([4.0, 0.0])
    tensor([2.])
    """
    x = as_tensor(x)
    length = x.shape[axis_of(axis, x.ndim)]
    if length % 2:
        raise ShapeError(f"glu: axis {axis} of {x.shape} cannot be halved")
    return x[cut(x.ndim, axis, slice(length // 2))] * F.sigmoid(x[cut(x.ndim, axis, slice(length // 2, None))])


@fused(samples=calls(lambda rng: ((distinct(rng, 3, 4), 2), {}), lambda rng: ((distinct(rng, 6, 2), 3), {"axis": 0})))
def maxout(F: Any, x: ArrayLike, pieces: int, axis: int = -1) -> Any:
    """Largest of each run of `pieces` neighbours along an axis (Goodfellow et al., 2013).

    The lectures' ``max(w1 @ x + b1, w2 @ x + b2)`` is ``maxout`` of one linear layer of twice the width.

    >>> import gpugrad as gg
    >>> gg.maxout(gg.tensor([1.0, 3.0, 2.0, -1.0]), 2)
    tensor([3., 2.])
    """
    axis = axis_of(axis, x.ndim)
    if x.shape[axis] % pieces:
        raise ShapeError(f"maxout: axis {axis} of {x.shape} cannot be cut into runs of {pieces}")
    split = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    return F.max(F.reshape(x, split), axis=axis + 1)
