"""Products. No Jacobian is ever formed: each transpose is a product itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy

from ..backend import namespace_of
from ..errors import ShapeError
from ..op import ArrayLike, fused, multilinear, primitive, registry
from .activation import one_of, relu_in_place, zero_of
from .samples import array, calls
from .shape import ones_vector

_ndarray = numpy.ndarray

_LARGE = 1 << 14 if numpy.lib.NumpyVersion(numpy.__version__) >= "2.3.0" else sys.maxsize
"""Elements of a product from which on it costs more to fill it with zeros, as `dot` does first, than to call `matmul`.

Before NumPy 2.3, `matmul` gives to BLAS only what lies in memory as that likes it: with the gradient of a sum, which is one
number for all elements, or with every second column, it took sixty times as long as `dot`.
"""


def product(x: Any, y: Any) -> Any:
    """Of two raw matrices."""
    if (x.__class__ is _ndarray and y.__class__ is _ndarray) or namespace_of(x) is not numpy:
        if len(x) * y.shape[1] < _LARGE or x.shape[1] != len(y):  # the errors of dot say which axes do not fit
            return x.dot(y)
        return x @ y
    return numpy.dot(x, y)  # what other libraries call dot may be another function


@multilinear(
    transposes=(lambda F, t, y: F.mm(t, y.T), lambda F, t, x: F.mm(x.T, t)),
    unchecked=product,
    samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4, 5)), {})),
)
def mm(xp: Any, x: ArrayLike, y: ArrayLike) -> Any:
    """Product of two matrices (`torch.mm`): `matmul` for two axes each, and nothing else.

    >>> import gpugrad as gg
    >>> gg.mm([[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[11.]])
    """
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError("both must have two axes; use matmul for vectors and stacks")
    return product(x, y)


def _matmul_x(F: Any, t: Any, y: Any, x_shape: tuple[int, ...]) -> Any:
    """``t @ y.T``, for every shape rule of matmul."""
    if y.ndim == 2 and len(x_shape) == 2:
        return F.mm(t, y.T)
    if y.ndim == 1:
        return F.expand_dims(t, -1) * y
    if len(x_shape) > 1:
        return F.matmul(t, F.swapaxes(y, -1, -2))
    if y.ndim == 2:
        return F.matmul(y, t)
    row = F.matmul(F.expand_dims(t, -2), F.swapaxes(y, -1, -2))  # (..., 1, K)
    return F.reshape(F.sum_to(row, (1, *x_shape)), x_shape)


def _matmul_y(F: Any, t: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    """``x.T @ t``, for every shape rule of matmul."""
    if x.ndim == 2 and len(y_shape) == 2:
        return F.mm(x.T, t)
    if x.ndim == 1:
        if len(y_shape) == 1:
            return t * x
        return F.expand_dims(x, -1) * F.expand_dims(t, -2)
    if len(y_shape) > 1:
        return F.matmul(F.swapaxes(x, -1, -2), t)
    if x.ndim == 2:
        return F.matmul(t, x)
    column = F.matmul(F.swapaxes(x, -1, -2), F.expand_dims(t, -1))  # (..., K, 1)
    return F.reshape(F.sum_to(column, (*y_shape, 1)), y_shape)


_SHAPES = (
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((0, 4), (4, 5)),
)


@multilinear(
    transposes=(_matmul_x, _matmul_y),
    samples=calls(*[lambda rng, s=s: ((array(rng, *s[0]), array(rng, *s[1])), {}) for s in _SHAPES]),
)
def matmul(xp: Any, x: ArrayLike, y: ArrayLike) -> Any:
    """Matrix product ``x @ y``, with NumPy's rules for vectors and stacks (`numpy.matmul`).

    The backward is two products, ``t @ y.T`` and ``x.T @ t`` (lecture "Backprop with matrices"): for x of (N, D) and w of
    (D, M) it takes O(ND + DM) memory, not the O(NDM) of a Jacobian.

    >>> import gpugrad as gg
    >>> gg.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    tensor([[11.]])
    """
    if getattr(x, "ndim", 0) == 2 and getattr(y, "ndim", 0) == 2:
        return product(x, y)  # the same with less overhead
    return xp.matmul(x, y)


def dot(x: ArrayLike, y: ArrayLike) -> Any:
    """Dot product with NumPy's rules (`numpy.dot`): the last axis of `x` with the second last of `y`; scalars multiply.

    >>> import gpugrad as gg
    >>> gg.dot([1.0, 2.0], [3.0, 4.0])
    tensor(11.)
    """
    from . import elementwise, shape

    x_ndim, y_ndim = numpy.ndim(x) if not hasattr(x, "ndim") else x.ndim, numpy.ndim(y) if not hasattr(y, "ndim") else y.ndim
    if x_ndim == 0 or y_ndim == 0:
        return elementwise.multiply(x, y)
    if (x_ndim <= 2 and y_ndim <= 2) or y_ndim == 1:
        return matmul(x, y)
    x_shape, y_shape = numpy.shape(x), numpy.shape(y)
    if x_shape[-1] != y_shape[-2]:
        raise ShapeError(f"dot: the last axis of x {x_shape} and the second last of y {y_shape} must be equal")
    left = shape.reshape(x, (math.prod(x_shape[:-1]), x_shape[-1]))
    right = shape.reshape(shape.moveaxis(y, -2, 0), (y_shape[-2], math.prod((*y_shape[:-2], y_shape[-1]))))
    return shape.reshape(matmul(left, right), (*x_shape[:-1], *y_shape[:-2], y_shape[-1]))


# --- the affine layer ---------------------------------------------------------------------------------------------


def _linear_x(F: Any, t: Any, weight: Any) -> Any:
    return F.mm(t, weight) if t.ndim == 2 else F.matmul(t, weight)


def _linear_weight(F: Any, t: Any, x: Any) -> Any:
    if t.ndim == 2:
        return F.mm(t.T, x)
    rows = math.prod(t.shape[:-1])  # -1 could not be worked out where there are no features
    return F.mm(F.reshape(t, (rows, t.shape[-1])).T, F.reshape(x, (rows, x.shape[-1])))


def _linear_jvp(F: Any, tangents: list[Any], x: Any, weight: Any) -> Any:
    x_t, weight_t, bias_t = tangents
    terms = [] if x_t is None else [F.linear(x_t, weight, None)]
    terms += [] if weight_t is None else [F.linear(x, weight_t, None)]
    terms += [] if bias_t is None else [bias_t]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@primitive(
    vjp=(
        _linear_x,
        _linear_weight,
        lambda F, t: F.sum_to(t, t.shape[-1:]),
    ),
    jvp=_linear_jvp,
    samples=calls(
        lambda rng: ((array(rng, 3, 4), array(rng, 5, 4), array(rng, 5)), {}),
        lambda rng: ((array(rng, 2, 3, 4), array(rng, 5, 4), array(rng, 5)), {}),
        lambda rng: ((array(rng, 4), array(rng, 5, 4), array(rng, 5)), {}),
        lambda rng: ((array(rng, 3, 4), array(rng, 5, 4)), {}),
    ),
)
def linear(xp: Any, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Any:
    """Affine map of the last axis: ``x @ weight.T + bias`` (`torch.nn.functional.linear`).

    Parameters
    ----------
    x : array of shape (..., in_features)
    weight : array of shape (out_features, in_features)
    bias : array of shape (out_features,), optional

    Returns
    -------
    Tensor of shape (..., out_features)

    >>> import gpugrad as gg
    >>> gg.nn.functional.linear([[1.0, 2.0]], gg.tensor([[3.0, 4.0]]), gg.tensor([0.5]))
    tensor([[11.5]])
    """
    return _affine(xp, x, weight, bias)


def _affine(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    if weight.ndim != 2 or x.ndim == 0:
        raise ValueError("x must be (..., in_features) and weight (out_features, in_features)")
    across = weight.T
    if x.__class__ is _ndarray and weight.__class__ is _ndarray:
        if 1 << 10 <= weight.size <= 1 << 13 and x.size >= 32 * weight.shape[1]:
            across = across.copy()  # OpenBLAS is up to twice as slow with a transposed matrix of this size, which costs more
        out = x.dot(across)
    else:
        out = xp.dot(x, across)
    if bias is None:
        return out
    if bias.shape != out.shape[-1:]:
        raise ValueError(f"bias must have shape {weight.shape[:1]}, one entry per output feature; got {bias.shape}")
    if out.dtype is bias.dtype:
        out += bias
        return out
    return out + bias


_IN_PLACE: dict[str | None, Any] = {
    "relu": relu_in_place,
    "tanh": lambda xp, z: xp.tanh(z, z),
    "sigmoid": lambda xp, z: registry["sigmoid"].body(xp, z),
    "gelu_tanh": lambda xp, z: registry["gelu"].body(xp, z, "tanh"),
}
"""Activations of layers. The slope is a function of the value, so that what goes in need not be kept, but for the GELU."""


def _layers_forward(xp: Any, arrays: Sequence[Any], activations: tuple[str | None, ...]) -> Any:
    x, values, entered, at = arrays[0], [], [], 1
    for activation in activations:
        try:
            x = _affine(xp, x, arrays[at], arrays[at + 1])
            if activation is not None:
                if activation == "gelu_tanh":
                    entered.append(x)
                x = _IN_PLACE[activation](xp, x)
        except (ValueError, TypeError) as error:
            shapes = f"x of shape {x.shape} with a weight of shape {arrays[at].shape}"
            raise type(error)(f"layer {at // 2}: {error}; {shapes}") from None
        values.append(x)
        at += 2
    return x, (*values, *entered)


def _layers_rule(
    F: Any, t: Any, arrays: Sequence[Any], aux: Sequence[Any], activations: tuple[str | None, ...], wanted: tuple[bool, ...]
) -> Any:
    cotangents: list[Any] = [None] * len(arrays)
    if t.ndim != 2:  # leading axes as one
        rows = math.prod(t.shape[:-1])
        x = arrays[0].reshape(rows, arrays[0].shape[-1])
        aux = tuple([value.reshape(rows, value.shape[-1]) for value in aux])
        found = _layers_rule(F, t.reshape(rows, t.shape[-1]), (x, *arrays[1:]), aux, activations, wanted)
        return [found[0] if found[0] is None else found[0].reshape(arrays[0].shape), *found[1:]]
    dot = F.mm
    on_cpu = F.library is numpy
    ones = ones_vector(len(t), t.dtype) if on_cpu and t.dtype.char in "fd" and len(t) <= 1 << 16 else None
    rules = _RULES  # the cotangent given may be anybody's; those made here are written over
    lowest = wanted.index(True)  # below this array nobody wants a cotangent
    asked, last = len(wanted) - 1, len(aux)
    for i in range(len(activations) - 1, -1, -1):
        at = 2 * i + 1
        if activations[i] == "gelu_tanh":
            last -= 1
            t = registry["gelu"].rules[0](F, t, aux[last], "tanh")  # type: ignore[misc]
        elif activations[i] is not None:
            t = rules[activations[i]](F, t, aux[i])
        if at <= asked and wanted[at]:
            cotangents[at] = dot(t.T, aux[i - 1] if i else arrays[0])
        if at < asked and wanted[at + 1]:
            cotangents[at + 1] = F.sum_to(t, t.shape[1:]) if ones is None else ones.dot(t)
        if lowest >= at:
            return cotangents
        t = dot(t, arrays[at])
        if on_cpu:
            rules = _RULES_IN_PLACE
    cotangents[0] = t
    return cotangents


_RULES: dict[str | None, Any] = {name: registry[name].rules[0] for name in ("relu", "tanh", "sigmoid")}


def _relu_rule_in_place(F: Any, t: Any, out: Any) -> Any:
    return numpy.multiply(t, (out > zero_of(out)).astype(t.dtype), t)


def _tanh_rule_in_place(F: Any, t: Any, out: Any) -> Any:
    slope = out * out
    numpy.subtract(one_of(out), slope, slope)
    return numpy.multiply(t, slope, t)


def _sigmoid_rule_in_place(F: Any, t: Any, out: Any) -> Any:
    slope = one_of(out) - out
    numpy.multiply(slope, out, slope)
    return numpy.multiply(t, slope, t)


_RULES_IN_PLACE: dict[str | None, Any] = {
    "relu": _relu_rule_in_place,
    "tanh": _tanh_rule_in_place,
    "sigmoid": _sigmoid_rule_in_place,
}
"""The same, the result written over the cotangent."""


def _layer_samples(*activations: str | None, shape: tuple[int, ...] = (3, 4), bias: bool = True) -> Any:
    def make(rng: Any) -> Any:
        arrays: list[Any] = [array(rng, *shape)]
        for i in range(len(activations)):
            fan_in, fan_out = shape[-1] + i, shape[-1] + i + 1
            arrays += [array(rng, fan_out, fan_in), array(rng, fan_out) if bias else None]
        return (arrays, activations), {}

    return make


@fused(
    forward=_layers_forward,
    vjp=_layers_rule,
    samples=calls(
        _layer_samples("relu", "tanh", None),
        _layer_samples("sigmoid", shape=(2, 3, 4)),
        _layer_samples("tanh", None, bias=False),
        _layer_samples("gelu_tanh", "gelu_tanh"),
    ),
)
def linear_layers(F: Any, arrays: Sequence[ArrayLike | None], activations: tuple[str | None, ...]) -> Any:
    """Layers ``activation(x @ weight.T + bias)`` one after another as one op: what `nn.Sequential` runs.

    A net of small layers takes a third less time than layer by layer, and each activation is written over the affine map
    that it is of.

    Parameters
    ----------
    arrays : sequence of arrays
        x of shape (..., fan-in), then for each layer its weight of shape (fan-out, fan-in) and its bias, or None.
    activations : tuple of {"relu", "tanh", "sigmoid", "gelu_tanh", None}
        One for each layer; the GELU is the one by tanh.

    >>> import gpugrad as gg
    >>> weight, bias = gg.tensor([[3.0, -4.0]]), gg.tensor([0.5])
    >>> gg.ops.linalg.linear_layers([gg.tensor([[1.0, 2.0]]), weight, bias], ("relu",))
    tensor([[0.]])
    """
    x = arrays[0]
    for i, activation in enumerate(activations):
        x = F.linear(x, arrays[2 * i + 1], arrays[2 * i + 2])
        if activation is not None:
            x = F.gelu(x, "tanh") if activation == "gelu_tanh" else getattr(F, activation)(x)
    return x
