"""Where the axis of directions goes in the ops that derivative rules are made of: one short rule for each; see `batching`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from .interpret import TENSORS, raw_for
from .ops.axes import axes_of
from .ops.indexing import is_basic
from .parts import Lifted, Parts

__all__ = ["Batch", "batch_rules", "elementwise_rule", "first_batch"]

batch_rules: dict[str, Callable[..., Any]] = {}
"""``rule(F, name, *args)`` gives, for arguments of an op of which some are batches, the array inside the result.

`F` is for what is inside. NotImplemented means one direction after the other, for what does not occur or does not pay.
"""


class Batch(Lifted):
    """An array for each of some directions, along a first axis of `value`; its shape and all else is that of one of them."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    count = property(lambda self: self.value.shape[0], doc="How many directions there are.")
    shape = property(lambda self: self.value.shape[1:])
    ndim = property(lambda self: self.value.ndim - 1)
    size = property(lambda self: math.prod(self.value.shape[1:]))
    dtype = property(lambda self: self.value.dtype)

    @property
    def _array(self) -> Any:
        """The raw array of all directions, for those who ask where it lives or whether it is finite."""
        return getattr(self.value, "_array", self.value)

    @property
    def inner(self) -> Any:
        """The interpreter for what is inside."""
        return TENSORS if self.value is not self._array else raw_for(self.value)


def first_batch(values: Any) -> Batch | None:
    """A batch among values, which may be nested."""
    if isinstance(values, Batch):
        return values
    if isinstance(values, Parts):
        values = values.items
    if isinstance(values, list | tuple):
        return next((found for found in map(first_batch, values) if found is not None), None)
    return None


def _aligned(F: Any, value: Any, ndim: int) -> Any:
    """The array inside a batch, with ones between its first axis and the others, so that these meet those of `ndim` axes."""
    if not isinstance(value, Batch):
        return value
    if value.ndim == ndim:
        return value.value
    return F.reshape(value.value, (value.count, *(1,) * (ndim - value.ndim), *value.shape))


def elementwise_rule(F: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Any elementwise op: NumPy broadcasts over the axis in front."""
    ndim = max(getattr(v, "ndim", 0) for v in (*args, *kwargs.values()))
    aligned = {name: _aligned(F, v, ndim) for name, v in kwargs.items()}
    return getattr(F, name)(*[_aligned(F, v, ndim) for v in args], **aligned)


def _of(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(rule: Callable[..., Any]) -> Callable[..., Any]:
        batch_rules.update(dict.fromkeys(names, rule))
        return rule

    return keep


def _after(axis: Any) -> Any:
    """Axes behind the one of directions; those counted from the end are."""
    if isinstance(axis, tuple | list):
        return tuple(map(_after, axis))
    return axis if axis < 0 else axis + 1


def _full(F: Any, x: Any, count: int) -> Any:
    """The array inside a batch, or a plain one repeated for every direction."""
    return x.value if isinstance(x, Batch) else F.broadcast_to(F.expand_dims(x, 0), (count, *x.shape))


def _last(F: Any, x: Any) -> Any:
    """The array inside with the axis of directions behind; a plain one with an axis of one there."""
    return F.moveaxis(x.value, 0, -1) if isinstance(x, Batch) else F.expand_dims(x, -1)


@_of("astype", "copy", "alias", "to_device", "zeros_of", "diag_embed", "diag_part", "tril", "triu")
def _same(F: Any, name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
    if name in ("tril", "triu") and x.ndim < 2:  # NumPy makes a matrix of a vector
        return NotImplemented
    return getattr(F, name)(x.value, *args, **kwargs)


@_of("sum", "mean")
def _reduction(F: Any, name: str, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return getattr(F, name)(x.value, axis=tuple(a + 1 for a in axes_of(axis, x.ndim)), keepdims=keepdims)


@_of("reshape", "broadcast_to")
def _shaped(F: Any, name: str, x: Any, shape: Any) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    value = _aligned(F, x, len(shape)) if name == "broadcast_to" else x.value
    return getattr(F, name)(value, (x.count, *shape))


@_of("sum_to")
def _sum_to(F: Any, name: str, x: Any, shape: Any) -> Any:
    kept = (x.count, *(1,) * (x.ndim - len(shape)), *shape)
    return F.reshape(F.sum_to(x.value, kept), (x.count, *shape))


@_of("transpose")
def _transpose(F: Any, name: str, x: Any, axes: Any = None) -> Any:
    axes = range(x.ndim)[::-1] if axes is None else axes
    return F.transpose(x.value, (0, *[a % x.ndim + 1 for a in axes]))


@_of("swapaxes")
def _swapaxes(F: Any, name: str, x: Any, axis1: int, axis2: int) -> Any:
    return F.swapaxes(x.value, _after(axis1), _after(axis2))


@_of("moveaxis")
def _moveaxis(F: Any, name: str, x: Any, source: Any, destination: Any) -> Any:
    return F.moveaxis(x.value, _after(source), _after(destination))


@_of("expand_dims", "squeeze")
def _ones(F: Any, name: str, x: Any, axis: Any = None) -> Any:
    axis = tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axis
    return getattr(F, name)(x.value, _after(axis))


@_of("cumsum")
def _cumsum(F: Any, name: str, x: Any, axis: Any = None) -> Any:
    return F.cumsum(F.reshape(x.value, (x.count, x.size)), 1) if axis is None else F.cumsum(x.value, _after(axis))


@_of("fft", "ifft", "rfft", "irfft")
def _fourier(F: Any, name: str, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return getattr(F, name)(x.value, n, _after(axis), norm)


@_of("resample")
def _resample(F: Any, name: str, x: Any, axis: int, taps: Any) -> Any:
    return F.resample(x.value, _after(axis), taps)


@_of("concatenate", "stack")
def _join(F: Any, name: str, arrays: Any, axis: Any = 0) -> Any:
    batch = first_batch(arrays)
    assert batch is not None
    values = [_full(F, x, batch.count) for x in arrays]
    if axis is None:
        values, axis = [F.reshape(v, (batch.count, math.prod(v.shape[1:]))) for v in values], 0
    return getattr(F, name)(values, _after(axis))


@_of("dropout_from")
def _dropout_from(F: Any, name: str, x: Any, state: Any, p: float = 0.5) -> Any:
    ones = F.zeros_of(F.getitem(x.value, (0, Ellipsis))) + 1.0  # drawn once, for the array that the forward had
    return x.value * F.dropout_from(ones, state, p)


# indexing: slices leave the axis in front alone; indices of arrays may move it, and never one at the end


def _behind(index: Any) -> Any:
    """An index of one array as that of an array with the axis of directions behind."""
    parts = index if isinstance(index, tuple) else (index,)
    return (*parts, slice(None)) if any(part is Ellipsis for part in parts) else parts


def _before(index: Any) -> Any:
    return (slice(None), *(index if isinstance(index, tuple) else (index,)))


@_of("getitem")
def _getitem(F: Any, name: str, x: Any, index: Any) -> Any:
    if is_basic(index):
        return F.getitem(x.value, _before(index))
    return F.moveaxis(F.getitem(_last(F, x), _behind(index)), -1, 0)


@_of("index_add_zeros")
def _index_add_zeros(F: Any, name: str, x: Any, index: Any, shape: Any) -> Any:
    if is_basic(index):
        ndim = numpy.broadcast_to(numpy.int8(0), shape)[index].ndim
        return F.index_add_zeros(_aligned(F, x, ndim), _before(index), (x.count, *shape))
    return F.moveaxis(F.index_add_zeros(_last(F, x), _behind(index), (*shape, x.count)), -1, 0)


@_of("index_sum")
def _index_sum(F: Any, name: str, arrays: Any, indices: Any, shape: Any) -> Any:
    batch = first_batch(arrays)
    assert batch is not None
    if all(map(is_basic, indices)):
        one = numpy.broadcast_to(numpy.int8(0), shape)
        aligned = [_aligned(F, x, one[index].ndim) for x, index in zip(arrays, indices, strict=True)]
        return F.index_sum(aligned, tuple(map(_before, indices)), (batch.count, *shape))
    behind = [_last(F, x) for x in arrays]
    return F.moveaxis(F.index_sum(behind, tuple(map(_behind, indices)), (*shape, batch.count)), -1, 0)


@_of("index_set")
def _index_set(F: Any, name: str, x: Any, value: Any, index: Any) -> Any:
    batch = first_batch((x, value))
    assert batch is not None
    target = F.moveaxis(_full(F, x, batch.count), 0, -1)
    return F.moveaxis(F.index_set(target, _last(F, value), _behind(index)), -1, 0)


@_of("take_along_axis")
def _take_along_axis(F: Any, name: str, x: Any, indices: Any, axis: int) -> Any:
    return F.take_along_axis(x.value, numpy.expand_dims(indices, 0), _after(axis))


@_of("put_along_axis_zeros")
def _put_along_axis_zeros(F: Any, name: str, x: Any, indices: Any, axis: int, shape: Any) -> Any:
    return F.put_along_axis_zeros(x.value, numpy.expand_dims(indices, 0), _after(axis), (x.count, *shape))


@_of("embedding")
def _embedding(F: Any, name: str, ids: Any, weight: Any, padding_idx: Any = None) -> Any:
    return _getitem(F, name, weight, getattr(ids, "_array", ids))


@_of("sum_rows")
def _sum_rows(F: Any, name: str, ids: Any, x: Any, rows: int, padding_idx: Any = None) -> Any:
    wide = F.reshape(F.moveaxis(x.value, 0, -2), (*x.shape[:-1], x.count * x.shape[-1]))
    return F.moveaxis(F.reshape(F.sum_rows(ids, wide, rows, padding_idx), (rows, x.count, x.shape[-1])), 1, 0)


# products


@_of("matmul", "mm")
def _matmul(F: Any, name: str, x: Any, y: Any) -> Any:
    if isinstance(x, Batch) and isinstance(y, Batch):
        return NotImplemented
    ndim = max(x.ndim, y.ndim)
    if isinstance(x, Batch):
        if y.ndim == 2:  # one product of all rows of all directions
            rows = F.matmul(F.reshape(x.value, (x.count * math.prod(x.shape[:-1]), x.shape[-1])), y)
            return F.reshape(rows, (x.count, *x.shape[:-1], y.shape[1]))
        if x.ndim == 1 and y.ndim > 2:
            return F.squeeze(F.matmul(F.expand_dims(_aligned(F, x, ndim - 1), -2), y), -2)
        return F.matmul(x.value if y.ndim == 1 else _aligned(F, x, ndim), y)
    if y.ndim == 1:
        if x.ndim <= 2:
            return F.matmul(y.value, x.T)
        return F.squeeze(F.matmul(x, F.expand_dims(_aligned(F, y, ndim - 1), -1)), -1)
    return F.matmul(x, y.value if x.ndim == 1 else _aligned(F, y, ndim))


@_of("linear")
def _linear(F: Any, name: str, x: Any, weight: Any, bias: Any = None) -> Any:
    if isinstance(bias, Batch):
        return NotImplemented
    out = _matmul(F, name, x, weight.T)
    return out if bias is None or out is NotImplemented else out + bias


@_of("einsum_pair")
def _einsum_pair(F: Any, name: str, x: Any, y: Any, subscripts: str) -> Any:
    if isinstance(x, Batch) and isinstance(y, Batch):
        return NotImplemented
    terms, out = subscripts.split("->")
    left, right = terms.split(",")
    free = next(c for c in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in subscripts)
    if isinstance(x, Batch):
        return F.einsum_pair(x.value, y, f"{free}{left},{right}->{free}{out}")
    return F.einsum_pair(x, y.value, f"{left},{free}{right}->{free}{out}")


@_of("solve")
def _solve(F: Any, name: str, a: Any, b: Any) -> Any:
    if isinstance(a, Batch) or a.ndim > 2:
        return NotImplemented if isinstance(a, Batch) or b.ndim == 1 else F.solve(a, _aligned(F, b, max(a.ndim, b.ndim)))
    columns = F.moveaxis(b.value, -1 if b.ndim == 1 else -2, 0)  # one factorisation for the columns of all directions
    solved = F.solve(a, F.reshape(columns, (columns.shape[0], math.prod(columns.shape[1:]))))
    return F.moveaxis(F.reshape(solved, columns.shape), 0, -1 if b.ndim == 1 else -2)


# images: directions go where there are samples or channels already

_SAMPLES = (0, 0)
_FOLDED = {
    "convolution": (_SAMPLES, (0, 1)),
    "convolution_transpose": (_SAMPLES, (1, 1)),
    "convolution_weight": ((1, 1), (1, 0)),
    "unfold": (_SAMPLES,),
    "fold": (_SAMPLES,),
}
"""For each operand the axis of it that takes the directions in, and the axis of the result that they come out of."""


@_of(*_FOLDED)
def _images(F: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    places = [i for i, a in enumerate(args) if isinstance(a, Batch)]
    if len(places) != 1 or places[0] >= len(_FOLDED[name]):
        return NotImplemented
    x, (at, out_at) = args[places[0]], _FOLDED[name][places[0]]
    if (at, out_at) != _SAMPLES and kwargs.get("groups", args[-1]) != 1:
        return NotImplemented
    if x.ndim == {"unfold": 3, "fold": 2}.get(name):  # one sample without that axis
        return getattr(F, name)(x.value, *args[1:], **kwargs)
    full = (*x.shape[:at], x.count * x.shape[at], *x.shape[at + 1 :])
    folded = F.reshape(F.moveaxis(x.value, 0, at), full)
    out = getattr(F, name)(*[folded if a is x else a for a in args], **kwargs)
    split = (*out.shape[:out_at], x.count, out.shape[out_at] // x.count, *out.shape[out_at + 1 :])
    return F.moveaxis(F.reshape(out, split), out_at, 0)


@_of("pick_flat", "place_flat")
def _flat(F: Any, name: str, x: Any, indices: Any, *size: int, **named: int) -> Any:
    rows = F.broadcast_to(F.expand_dims(indices, 0), (x.count, *indices.shape))
    rows = F.reshape(rows, (x.count * x.shape[0], indices.shape[1]))
    out = getattr(F, name)(F.reshape(x.value, (x.count * x.shape[0], x.shape[1])), rows, *size, **named)
    return F.reshape(out, (x.count, x.shape[0], out.shape[1]))
