"""Normalisation: values brought to mean 0 and variance 1, over features, channels, groups of them, or a batch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy

from ..backend import made_beside, namespace_of
from ..errors import ShapeError
from ..modes import no_grad
from ..op import ArrayLike, as_tensor, composed, fused, several
from . import updates
from .distance import as_dtype, wide
from .samples import array, calls
from .shape import ones_vector

_BLOCK = 1 << 16
"""Elements normalised at a time, in whole rows: what one row operation reads is then still in the cache for the next."""


# --- over the last axes: layer norm and RMS norm ------------------------------------------------------------------


def _row_length(x: Any, normalized_shape: Any, weight: Any, bias: Any) -> tuple[int, ...]:
    """The normalised shape as a tuple, checked against the last axes of `x` and against the parameters."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[len(x.shape) - len(shape) :] != shape or len(x.shape) < len(shape):
        raise ShapeError(f"normalized_shape must be the last axes of x {tuple(x.shape)}, got {shape}")
    for label, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and tuple(parameter.shape) != shape:
            raise ShapeError(f"{label} must have shape {shape}, got {tuple(parameter.shape)}")
    return shape


def _raw_wide(xp: Any, x: Any) -> Any:
    """A raw array, in float32 where it is narrower."""
    if x.dtype.kind != "f":
        raise TypeError(f"values to normalise must be floating, got {x.dtype}")
    return x.astype(numpy.float32) if x.dtype.itemsize < 4 else x


def _row_blocks(xp: Any, rows: int, length: int) -> list[slice]:
    step = max(1, _BLOCK // max(length, 1) if xp is numpy else rows)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _weighted_sums(xp: Any, x: Any, weight: Any) -> Any:
    """``sum(x * weight)`` of each row, as a column; on the CPU a matrix product, five times as fast as a sum of rows."""
    return (numpy.dot(x, weight) if xp is numpy else xp.sum(x * weight, axis=1))[:, None]


def _column_sums(xp: Any, x: Any) -> Any:
    return numpy.dot(ones_vector(x.shape[0], x.dtype), x) if xp is numpy else xp.sum(x, axis=0)


def _norm_forward(xp: Any, x: Any, weight: Any, bias: Any, shape: tuple[int, ...], eps: float, centered: bool) -> Any:
    """Rows brought to mean 0 (where `centered`) and mean square 1, scaled and shifted; kept: each row's mean and scale."""
    length = math.prod(shape)
    rows = _raw_wide(xp, x).reshape(math.prod(x.shape[: x.ndim - len(shape)]), length)
    out, count = xp.empty_like(rows), max(length, 1)
    w, b = (None if p is None else p.reshape(length).astype(rows.dtype, copy=False) for p in (weight, bias))
    means = _weighted_sums(xp, rows, ones_vector(length, rows.dtype) if xp is numpy else 1) / count if centered else None
    scales = xp.empty((rows.shape[0], 1), rows.dtype)
    for part in _row_blocks(xp, *rows.shape):
        block, scale = out[part], scales[part]
        xp.subtract(rows[part], 0 if means is None else means[part], block)
        scale[...] = 1 / xp.sqrt(xp.einsum("ij,ij->i", block, block)[:, None] / count + eps)
        block *= scale
        if w is not None:
            block *= w
        if b is not None:
            block += b
    return out.reshape(x.shape).astype(x.dtype, copy=False), (rows, means, scales, len(shape))


def _norm_rule(t: Any, x: Any, weight: Any, aux: Any, wanted: tuple[bool, ...], centered: bool) -> Any:
    """Cotangents of x, weight and bias. That of a row has no part along the row itself, nor, where centred, along ones."""
    rows, means, scales, ndim = aux
    xp, length, shape = namespace_of(rows), rows.shape[1], x.shape[x.ndim - ndim :]
    t, count = _raw_wide(xp, t).reshape(rows.shape).astype(rows.dtype, copy=False), max(length, 1)
    w = None if weight is None else weight.reshape(length).astype(rows.dtype, copy=False)
    each = w if w is not None else ones_vector(length, rows.dtype) if xp is numpy else 1
    grad, slope = xp.empty_like(rows), xp.zeros(length, rows.dtype)
    for part in _row_blocks(xp, *rows.shape):
        block, cotangent, scale = grad[part], t[part], scales[part]
        line = rows[part] if means is None else rows[part] - means[part]
        xp.multiply(cotangent, line, block)
        if wanted[1]:
            slope += numpy.dot(scale[:, 0], block) if xp is numpy else xp.sum(scale * block, axis=0)
        if not wanted[0]:
            continue
        line = line * (_weighted_sums(xp, block, each) * (scale * scale) / count)
        if centered:
            line += _weighted_sums(xp, cotangent, each) / count
        xp.subtract(cotangent if w is None else xp.multiply(cotangent, w, block), line, block)
        block *= scale
    t_x = grad.reshape(x.shape).astype(x.dtype, copy=False) if wanted[0] else None
    t_weight = slope.reshape(shape) if wanted[1] else None
    return (t_x, t_weight, _column_sums(xp, t).reshape(shape) if wanted[2] else None) if centered else (t_x, t_weight)


def _layer_norm_forward(xp: Any, x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> Any:
    shape = _row_length(x, normalized_shape, weight, bias)
    return _norm_forward(xp, x, weight, bias, shape, eps, True)


def _layer_norm_rule(F: Any, t: Any, x: Any, weight: Any, aux: Any, wanted: tuple[bool, ...]) -> Any:
    return _norm_rule(t, x, weight, aux, wanted, True)


def _rms_norm_forward(xp: Any, x: Any, weight: Any, normalized_shape: Any, eps: float | None) -> Any:
    shape = _row_length(x, normalized_shape, weight, None)
    return _norm_forward(xp, x, weight, None, shape, _rms_eps(x, eps), False)


def _rms_eps(x: Any, eps: float | None) -> float:
    return float(numpy.finfo(numpy.promote_types(x.dtype, numpy.float32)).eps) if eps is None else eps


def _rms_norm_rule(F: Any, t: Any, x: Any, weight: Any, aux: Any, wanted: tuple[bool, ...]) -> Any:
    return _norm_rule(t, x, weight, aux, wanted, False)


def _norm_samples(biased: bool) -> Any:
    def one(shape: tuple[int, ...], last: Any, affine: bool) -> Any:
        size = (last,) if isinstance(last, int) else last

        def make(rng: Any) -> Any:
            x = array(rng, *shape)
            if not affine:
                return (x, last), {"eps": 1e-3}
            return (x, last, *[array(rng, *size) for _ in range(1 + biased)]), {}

        return make

    return calls(one((3, 5), 5, True), one((2, 3, 4), (3, 4), True), one((2, 3, 4), (4,), False))


@fused(forward=_layer_norm_forward, vjp=_layer_norm_rule, samples=_norm_samples(True))
def layer_norm(
    F: Any,
    x: ArrayLike,
    normalized_shape: int | tuple[int, ...],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Any:
    """Mean 0 and variance 1 over the last axes, then scale and shift (`torch.nn.functional.layer_norm`).

    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Lengths of the last axes: those that are normalised, together.
    weight, bias : array of that shape, optional

    >>> import gpugrad as gg
    >>> gg.nn.functional.layer_norm(gg.tensor([[1.0, 3.0], [5.0, 5.0]]), 2)
    tensor([[-1.,  1.],
            [ 0.,  0.]])
    """
    axes = tuple(range(-len(_row_length(x, normalized_shape, weight, bias)), 0))
    full = _wide(F, x)
    centered = full - F.mean(full, axis=axes, keepdims=True)
    out = centered * F.rsqrt(F.mean(centered * centered, axis=axes, keepdims=True) + eps)
    return _back(F, _affine(out, weight, bias), x)


@fused(forward=_rms_norm_forward, vjp=_rms_norm_rule, samples=_norm_samples(False))
def rms_norm(
    F: Any,
    x: ArrayLike,
    normalized_shape: int | tuple[int, ...],
    weight: ArrayLike | None = None,
    eps: float | None = None,
) -> Any:
    """Mean square 1 over the last axes, then scale (`torch.nn.functional.rms_norm`).

    Zhang and Sennrich, "Root mean square layer normalization" (2019). `eps` is the machine epsilon of the dtype where None.

    >>> import gpugrad as gg
    >>> gg.nn.functional.rms_norm(gg.tensor([[1.0, 1.0], [3.0, -3.0]]), 2)
    tensor([[ 1.,  1.],
            [ 1., -1.]])
    """
    axes = tuple(range(-len(_row_length(x, normalized_shape, weight, None)), 0))
    full = _wide(F, x)
    out = full * F.rsqrt(F.mean(full * full, axis=axes, keepdims=True) + _rms_eps(x, eps))
    return _back(F, _affine(out, weight, None), x)


def _wide(F: Any, x: Any) -> Any:
    return F.astype(x, numpy.float32) if x.dtype.itemsize < 4 else x


def _back(F: Any, out: Any, x: Any) -> Any:
    return out if out.dtype == x.dtype else F.astype(out, x.dtype)


def _affine(out: Any, weight: Any, bias: Any) -> Any:
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


# --- over a batch -------------------------------------------------------------------------------------------------


class Standardized(NamedTuple):
    """Normalised values, and the mean and the variance of each channel."""

    values: Any
    mean: Any
    var: Any


def _but_channels(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim))


def _per_channel(F: Any, x: Any, ndim: int) -> Any:
    """A vector over channels, in a shape that meets axis 1."""
    return F.reshape(x, (1, -1) + (1,) * (ndim - 2))


def _batch_rule(F: Any, t: Any, x: Any, weight: Any, out: Any, eps: float, wanted: tuple[bool, ...]) -> Any:
    t_values, t_mean, t_var = t
    ndim, axes = x.ndim, _but_channels(x.ndim)
    count = math.prod(x.shape) // max(x.shape[1], 1)
    t_values = _wide(F, t_values)
    centered = _wide(F, x) - _per_channel(F, out[1], ndim)
    scale = F.rsqrt(out[2] + eps)
    t_bias, t_weight = F.sum(t_values, axis=axes), F.sum(t_values * centered, axis=axes) * scale
    t_x = None
    if wanted[0]:  # scale * weight * (t - mean(t) - unit * mean(t * unit)), gathered into one line per channel
        steep = scale if weight is None else scale * weight
        tilt, shift = (2 * t_var - steep * scale * t_weight) / count, (t_mean - steep * t_bias) / count
        line = centered * _per_channel(F, tilt, ndim) + _per_channel(F, shift, ndim)
        t_x = _back(F, t_values * _per_channel(F, steep, ndim) + line, x)
    return t_x, t_weight if wanted[1] else None, t_bias if wanted[2] else None


def _batch_samples() -> Any:
    return calls(
        lambda rng: ((array(rng, 4, 3), array(rng, 3), array(rng, 3)), {}),
        lambda rng: ((array(rng, 2, 3, 4), None, None), {"eps": 1e-2}),
        lambda rng: ((array(rng, 2, 2, 3, 2), array(rng, 2), array(rng, 2)), {}),
    )


@several(returns=Standardized, vjp=_batch_rule, samples=_batch_samples())
def standardize_batch(
    xp: Any, x: ArrayLike, weight: ArrayLike | None = None, bias: ArrayLike | None = None, eps: float = 1e-5
) -> Any:
    """Mean 0 and variance 1 of each channel, axis 1, then scale and shift; and the mean and variance that it had.

    >>> import gpugrad as gg
    >>> gg.ops.normalization.standardize_batch(gg.tensor([[1.0], [3.0]])).values
    tensor([[-1.],
            [ 1.]])
    """
    axes, full = _but_channels(x.ndim), _raw_wide(xp, x)
    mean = xp.mean(full, axis=axes, keepdims=True)
    values = full - mean
    var = xp.mean(values * values, axis=axes, keepdims=True)
    scale = 1 / xp.sqrt(var + eps)
    values *= scale if weight is None else scale * _per_channel(xp, weight, x.ndim)
    if bias is not None:
        values += _per_channel(xp, bias, x.ndim)
    return values.astype(x.dtype, copy=False), mean.reshape(-1), var.reshape(-1)


def _check_channels(name: str, x: Any, least: int, **vectors: Any) -> None:
    if x.ndim < least:
        raise ShapeError(f"{name}: x must have {least} axes or more, (N, C, ...); got {x.shape}")
    for label, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != x.shape[1:2]:
            raise ShapeError(f"{name}: {label} must have one entry per channel, {x.shape[1:2]}; got {tuple(vector.shape)}")


def batch_norm(
    x: ArrayLike,
    running_mean: Any,
    running_var: Any,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Mean 0 and variance 1 of each channel, then scale and shift (Ioffe and Szegedy, 2015; `torch.nn.functional.batch_norm`).

    Parameters
    ----------
    x : array of shape (N, C, ...)
    running_mean, running_var : arrays of shape (C,), or None
        While training, changed in place to ``(1 - momentum) * running + momentum * of_this_batch``, with the variance divided
        by ``n - 1``; otherwise what is normalised by.
    training : bool
        Whether to normalise by the mean and the variance of this batch.

    >>> import gpugrad as gg
    >>> mean, var = gg.zeros(1), gg.ones(1)
    >>> gg.nn.functional.batch_norm(gg.tensor([[1.0], [3.0]]), mean, var, training=True, momentum=0.5)
    tensor([[-1.],
            [ 1.]])
    >>> mean, var
    (tensor([1.]), tensor([1.5]))
    """
    F, x = composed, as_tensor(x)
    _check_channels("batch_norm", x, 2, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training=True")
        scale = F.rsqrt(F.add(running_var, eps))
        scale = scale if weight is None else scale * weight
        shift = -F.multiply(running_mean, scale)
        shift = shift if bias is None else shift + bias
        return as_dtype(wide(x) * _per_channel(F, scale, x.ndim) + _per_channel(F, shift, x.ndim), x.dtype)
    count = x.size // max(x.shape[1], 1)
    if count < 2:
        raise ShapeError(f"batch_norm: training needs more than one value per channel, got x {x.shape}")
    result = F.standardize_batch(x, weight, bias, eps)
    _follow(running_mean, running_var, result.mean, result.var, count, momentum)
    return result.values


def _follow(running_mean: Any, running_var: Any, mean: Any, var: Any, count: int, momentum: Any) -> None:
    """Move running statistics towards those of a batch, of `count` values per channel."""
    with no_grad():
        if running_mean is not None:
            updates.lerp_(running_mean, mean, momentum)
        if running_var is not None:
            updates.lerp_(running_var, var * (count / (count - 1)), momentum)


# --- over parts of each sample ------------------------------------------------------------------------------------


def _groups(x: Any, groups: int, weight: Any, bias: Any, eps: float) -> Any:
    """Each sample's channels normalised in groups, then scaled and shifted one by one."""
    F = composed
    length = x.size // max(x.shape[0] * groups, 1)
    out = F.reshape(F.layer_norm(F.reshape(x, (x.shape[0], groups, length)), (length,), None, None, eps), x.shape)
    return as_dtype(
        _affine(
            out,
            None if weight is None else _per_channel(F, weight, x.ndim),
            None if bias is None else _per_channel(F, bias, x.ndim),
        ),
        x.dtype,
    )


def group_norm(
    x: ArrayLike, num_groups: int, weight: ArrayLike | None = None, bias: ArrayLike | None = None, eps: float = 1e-5
) -> Any:
    """Mean 0 and variance 1 of groups of channels in each sample (Wu and He, 2018; `torch.nn.functional.group_norm`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.group_norm(gg.tensor([[1.0, 3.0, 10.0, 30.0]]), 2)
    tensor([[-1.,  1., -1.,  1.]])
    """
    x = as_tensor(x)
    _check_channels("group_norm", x, 2, weight=weight, bias=bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm: {x.shape[1]} channels cannot be cut into {num_groups} groups")
    return _groups(x, num_groups, weight, bias, eps)


def instance_norm(
    x: ArrayLike,
    running_mean: Any = None,
    running_var: Any = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Mean 0 and variance 1 of each channel of each sample (Ulyanov et al., 2016; `torch.nn.functional.instance_norm`).

    Running statistics, if given, follow the mean over samples of each sample's own; with ``use_input_stats=False`` they are
    what is normalised by.

    >>> import gpugrad as gg
    >>> gg.nn.functional.instance_norm(gg.tensor([[[1.0, 3.0], [10.0, 30.0]]]))
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    F, x = composed, as_tensor(x)
    _check_channels("instance_norm", x, 3, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = math.prod(x.shape[2:])
    if count < 2:
        raise ShapeError(f"instance_norm: more than one value per channel is needed, got x {x.shape}")
    if running_mean is not None or running_var is not None:
        with no_grad():
            axes, full = tuple(range(2, x.ndim)), wide(x)
            mean, var = F.mean(F.mean(full, axes), 0), F.mean(F.var(full, axes), 0)
        _follow(running_mean, running_var, mean, var, count, momentum)
    return _groups(x, x.shape[1], weight, bias, eps)


def local_response_norm(x: ArrayLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """Each value over a power of its neighbours' squares, along channels (`torch.nn.functional.local_response_norm`).

    ``x / (k + alpha * mean of the squares of size neighbours along axis 1, zeros beyond the ends) ** beta``.

    >>> import gpugrad as gg
    >>> gg.nn.functional.local_response_norm(gg.tensor([[[3.0], [4.0]]]), 2, alpha=1.0, beta=1.0)
    tensor([[[0.5455],
             [0.2963]]])
    """
    F, x = composed, as_tensor(x)
    if x.ndim < 3:
        raise ShapeError(f"local_response_norm: x must be (N, C, ...) with 3 axes or more, got {x.shape}")
    full = wide(x)
    padded = _padded_channels(full * full, size // 2, (size - 1) // 2)
    total = padded[:, : x.shape[1]]
    for start in range(1, size):
        total = total + padded[:, start : start + x.shape[1]]
    return as_dtype(full / F.power(total * (alpha / size) + k, beta), x.dtype)


def _padded_channels(x: Any, before: int, after: int) -> Any:
    ends = [made_beside(x._array, "zeros", (x.shape[0], n, *x.shape[2:]), x.dtype) for n in (before, after)]
    return composed.concatenate([ends[0], x, ends[1]], axis=1)


__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
    "standardize_batch",
]
