"""Formulas as one writes them in CuPy, without fusing: what the kernels are measured against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["SLOPES", "VALUES", "adam", "cross_entropy", "norm", "norm_backward", "softmax", "softmax_backward"]

Formula = Callable[[Any, Any], Any]


def _sigmoid(xp: Any, x: Any) -> Any:
    return 1 / (1 + xp.exp(-x))


def _softplus(xp: Any, x: Any) -> Any:
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


def _gelu(xp: Any, x: Any) -> Any:
    from cupyx.scipy.special import ndtr

    return x * ndtr(x)


def _tanh_gelu(xp: Any, x: Any) -> Any:
    return 0.5 * x * (1 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))


VALUES: dict[str, Formula] = {
    "sigmoid": _sigmoid,
    "tanh": lambda xp, x: xp.tanh(x),
    "relu": lambda xp, x: xp.maximum(x, 0),
    "leaky_relu": lambda xp, x: xp.where(x > 0, x, 0.01 * x),
    "elu": lambda xp, x: xp.where(x > 0, x, xp.expm1(x)),
    "selu": lambda xp, x: 1.0507009873554805 * xp.where(x > 0, x, 1.6732632423543772 * xp.expm1(x)),
    "celu": lambda xp, x: xp.where(x > 0, x, xp.expm1(x)),
    "gelu": _gelu,
    "gelu_tanh": _tanh_gelu,
    "silu": lambda xp, x: x * _sigmoid(xp, x),
    "mish": lambda xp, x: x * xp.tanh(_softplus(xp, x)),
    "softplus": _softplus,
    "logsigmoid": lambda xp, x: -_softplus(xp, -x),
    "softsign": lambda xp, x: x / (1 + abs(x)),
    "hardtanh": lambda xp, x: xp.clip(x, -1, 1),
    "hardsigmoid": lambda xp, x: xp.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda xp, x: x * xp.clip(x / 6 + 0.5, 0, 1),
    "softshrink": lambda xp, x: x - xp.clip(x, -0.5, 0.5),
    "hardshrink": lambda xp, x: xp.where(abs(x) <= 0.5, 0, x),
    "tanhshrink": lambda xp, x: x - xp.tanh(x),
}
"""Activation functions at the parameters that PyTorch has by default."""


def _gelu_slope(xp: Any, x: Any) -> Any:
    from cupyx.scipy.special import ndtr

    return ndtr(x) + x * xp.exp(-x * x / 2) * 0.3989422804014327


def _tanh_gelu_slope(xp: Any, x: Any) -> Any:
    t = xp.tanh(0.7978845608028654 * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 0.134145 * x * x)


def _mish_slope(xp: Any, x: Any) -> Any:
    t = xp.tanh(_softplus(xp, x))
    return t + x * _sigmoid(xp, x) * (1 - t * t)


SLOPES: dict[str, Formula] = {
    "sigmoid": lambda xp, x: _sigmoid(xp, x) * (1 - _sigmoid(xp, x)),
    "tanh": lambda xp, x: 1 - xp.tanh(x) ** 2,
    "relu": lambda xp, x: (x > 0).astype(x.dtype),
    "leaky_relu": lambda xp, x: xp.where(x > 0, x.dtype.type(1), x.dtype.type(0.01)),
    "elu": lambda xp, x: xp.where(x > 0, 1, xp.exp(x)),
    "selu": lambda xp, x: 1.0507009873554805 * xp.where(x > 0, 1, 1.6732632423543772 * xp.exp(x)),
    "celu": lambda xp, x: xp.where(x > 0, 1, xp.exp(x)),
    "gelu": _gelu_slope,
    "gelu_tanh": _tanh_gelu_slope,
    "mish": _mish_slope,
    "silu": lambda xp, x: _sigmoid(xp, x) * (1 + x * (1 - _sigmoid(xp, x))),
    "softplus": _sigmoid,
    "logsigmoid": lambda xp, x: _sigmoid(xp, -x),
    "softsign": lambda xp, x: 1 / (1 + abs(x)) ** 2,
    "hardtanh": lambda xp, x: (abs(x) < 1).astype(x.dtype),
    "hardsigmoid": lambda xp, x: (abs(x) < 3).astype(x.dtype) / 6,
    "hardswish": lambda xp, x: xp.where(x <= -3, 0, xp.where(x >= 3, 1, x / 3 + 0.5)),
    "softshrink": lambda xp, x: (abs(x) > 0.5).astype(x.dtype),
    "hardshrink": lambda xp, x: (abs(x) > 0.5).astype(x.dtype),
    "tanhshrink": lambda xp, x: xp.tanh(x) ** 2,
}
"""Their derivatives."""


def softmax(xp: Any, x: Any, log: bool = False) -> Any:
    """Softmax of each row, or its logarithm."""
    shifted = x - x.max(axis=1, keepdims=True)
    exps = xp.exp(shifted)
    sums = exps.sum(axis=1, keepdims=True)
    return shifted - xp.log(sums) if log else exps / sums


def softmax_backward(xp: Any, g: Any, y: Any, log: bool = False) -> Any:
    """The gradient of `softmax` from its result."""
    if log:
        return g - xp.exp(y) * g.sum(axis=1, keepdims=True)
    return y * (g - (g * y).sum(axis=1, keepdims=True))


def cross_entropy(xp: Any, x: Any, ids: Any) -> tuple[Any, Any]:
    """Mean cross-entropy and its gradient."""
    rows = xp.arange(len(ids))
    logs = softmax(xp, x, log=True)
    gradient = xp.exp(logs)
    gradient[rows, ids] -= 1
    return -logs[rows, ids].mean(), gradient / len(ids)


def norm(xp: Any, x: Any, weight: Any, bias: Any, eps: float, centered: bool) -> tuple[Any, Any]:
    """Layer or RMS normalisation of each row, and the normalised rows."""
    if centered:
        x = x - x.mean(axis=1, keepdims=True)
    h = x / xp.sqrt((x * x).mean(axis=1, keepdims=True) + eps)
    return (h * weight + bias if centered else h * weight), h


def norm_backward(xp: Any, g: Any, x: Any, weight: Any, eps: float, centered: bool) -> tuple[Any, Any, Any]:
    """The gradients of x, weight and bias."""
    if centered:
        x = x - x.mean(axis=1, keepdims=True)
    r = 1 / xp.sqrt((x * x).mean(axis=1, keepdims=True) + eps)
    h, k = x * r, g * weight
    gx = k - h * (k * h).mean(axis=1, keepdims=True)
    gx = r * (gx - k.mean(axis=1, keepdims=True) if centered else gx)
    return gx, (g * h).sum(axis=0), g.sum(axis=0)


def adam(xp: Any, p: Any, g: Any, m: Any, v: Any, rate: float, steps: int) -> tuple[Any, Any, Any]:
    """Parameter and moments after a step of Adam, the `steps`-th."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - rate * (m / (1 - 0.9**steps)) / (xp.sqrt(v / (1 - 0.999**steps)) + 1e-8), m, v
