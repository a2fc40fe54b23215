"""`fuse`: a function of elementwise operations as one op, on a GPU one generated kernel forward and one backward.

The function defines the op; what is generated is got from it. For each set of shapes and dtypes it is run once on expressions
instead of arrays (``ops/tracing.py``): that writes the forward, refuses what is not elementwise, and leaves a tape of
expressions, whose walk writes the backward. On a CPU the function itself runs, and its operations are on the tape; on large
arrays it is one op there too, that walks them in blocks which stay in the cache.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy

from .. import backend
from ..errors import FusionError, describe, format_site, user_site
from ..half import is_floating
from ..modes import current_mode, mode_with
from ..op import ArrayLike, apply, as_tensor, composed, fused, registry
from ..tape import leaf, walk
from .samples import array, calls

__all__ = ["Fused", "fuse"]

_BLOCK_BYTES = 1 << 17
_LARGE = 1 << 24
"""Bytes of a result from which blocks pay, though the backward computes the forward again: several times a cache."""

_MOST_KEPT = 64


class Fused:
    """A function that runs as one op. Made by `fuse`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, getattr(function, "__name__", "a function")
        parameters = list(inspect.signature(function).parameters)
        self.takes_namespace = bool(parameters) and parameters[0] == "F"
        self._calls: OrderedDict[Any, Call] = OrderedDict()

    def __repr__(self) -> str:
        return f"fuse({self.name})"

    def __reduce__(self) -> str:  # as functions are pickled: by name
        return str(self.function.__qualname__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function of these arguments: as one op, or as it is where that is better."""
        values = [as_tensor(v) if type(v) is list else v for v in (*args, *kwargs.values())]
        arrays = tuple([v for v in values if hasattr(v, "dtype")])
        if not arrays:
            raise FusionError(f"{self.name}: fuse takes arrays, got none\n  at {format_site(user_site())}")
        call, raw = self._bound(values, tuple(kwargs)), [getattr(v, "_array", v) for v in arrays]
        if not _in_parts():
            trace = call.trace(raw)  # what cannot be fused is refused here, on a CPU too
            if backend.first_on_gpu(raw) is not None or _in_blocks(raw, trace):
                return apply(_chain, arrays, {"function": call})
        return call.call(composed, tuple([v if hasattr(v, "_array") else as_tensor(v) for v in arrays]))

    def within(self, F: Any, *args: Any) -> Any:
        """The function in the composition of an op: on a GPU as one op, where kernels take the arrays, else as it is."""
        if backend.first_on_gpu(args) is None or _in_parts() or not all(map(_taken, args)):
            return self.function(F, *args)
        return F.chain([v for v in args if hasattr(v, "dtype")], self._bound(args, ()))

    def _bound(self, values: Sequence[Any], names: tuple[str, ...]) -> Call:
        return self._call(tuple([None if hasattr(v, "dtype") else _Static(v) for v in values]), names)

    def _call(self, values: tuple[Any, ...], names: tuple[str, ...]) -> Call:
        key = (tuple(None if v is None else v.key() for v in values), names)
        try:
            return _kept(self._calls, key, lambda: Call(self, values, names))
        except TypeError:
            given = ", ".join(describe(v.value) for v in values if v is not None)
            what = f"{self.name}: fuse takes arrays, numbers and strings, got {given}"
            raise FusionError(f"{what}\n  at {format_site(user_site())}") from None


def _in_parts() -> bool:
    """Whether functions are to run as what they are made of: for pictures and for blame, and where another one is traced."""
    mode = current_mode()
    return mode.apart or any(getattr(watcher, "inlines", False) for watcher in mode.watchers)


def _taken(value: Any) -> bool:
    return is_floating(value.dtype) if hasattr(value, "dtype") else value is None or isinstance(value, int | float)


class _Static(NamedTuple):
    """An argument that is no array."""

    value: Any

    def key(self) -> Any:
        return type(self.value), repr(self.value) if isinstance(self.value, float) else self.value


def _kept(cache: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """What a cache has for a key; of its entries, those that were used last stay."""
    with _keeping:
        found = cache.get(key)
        if found is None:
            found = cache[key] = make()
            if len(cache) > _MOST_KEPT:
                cache.popitem(last=False)
        else:
            cache.move_to_end(key)
    return found


_keeping = threading.RLock()


class Call:
    """A fused function with all of its arguments but the arrays: what the op's one parameter is."""

    def __init__(self, fused: Fused, values: tuple[Any, ...], names: tuple[str, ...]) -> None:
        self.fused, self.name, self._values, self._names = fused, fused.name, values, names
        self._traces: OrderedDict[Any, Any] = OrderedDict()

    def __repr__(self) -> str:
        positional = len(self._values) - len(self._names)
        shown = ["..." if v is None else repr(v.value) for v in self._values]
        named = [f"{name}={value}" for name, value in zip(self._names, shown[positional:], strict=True)]
        return f"{self.name}({', '.join(shown[:positional] + named)})"

    def call(self, F: Any, arrays: Sequence[Any]) -> Any:
        """The function itself, on Tensors, or under the namespace `F` if it takes one."""
        places = iter(arrays)
        values = [next(places) if v is None else v.value for v in self._values]
        positional = len(values) - len(self._names)
        named = dict(zip(self._names, values[positional:], strict=True))
        if self.fused.takes_namespace:
            return self.fused.function(F, *values[:positional], **named)
        return self.fused.function(*values[:positional], **named)

    def trace(self, arrays: Sequence[Any]) -> Any:
        """The function traced for arrays like these."""
        key = (tuple([(a.shape, a.dtype) for a in arrays]), current_mode().autocast, _numbers_outside(self.fused.function))
        return _kept(self._traces, key, lambda: _traced(self, arrays))


def _traced(call: Call, arrays: Sequence[Any]) -> Any:
    from .tracing import Trace

    return Trace(call, arrays)


def _numbers_outside(function: Any) -> tuple[Any, ...]:
    """The numbers, also as arrays, that a function reads from outside of it; where they change, it is traced again."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ()
    found = [function.__globals__.get(name) for name in code.co_names]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not assigned yet
            found.append(cell.cell_contents)
    found = [v.item() if getattr(v, "shape", None) == () else v for v in found]
    return tuple([(type(v), repr(v)) for v in found if isinstance(v, int | float | str)])


# --- the op -------------------------------------------------------------------------------------------------------


class _Tape(NamedTuple):
    """What the function recorded: its result's node, and those of its arguments."""

    root: Any
    leaves: list[Any]


def _leaves(arrays: Sequence[Any], grad: bool) -> list[Any]:
    """Tensors around raw arrays and numbers, as leaves of a tape."""
    tensors = [as_tensor(a) for a in arrays]
    for tensor in tensors:
        if grad and is_floating(tensor.dtype):
            tensor._node = leaf(tensor._array)
    return tensors


def _recorded(arrays: Sequence[Any], function: Call, grad: bool) -> tuple[Any, _Tape | None]:
    """The function on raw arrays: its result, and what it recorded."""
    with mode_with(grad=grad, records=None, watchers=()):
        tensors = _leaves(arrays, grad)
        out = function.call(composed, tensors)
    result = out._array
    result = backend.copied(result) if any(result is tensor._array for tensor in tensors) else result
    return result, _Tape(out._node, [tensor._node for tensor in tensors]) if grad else None


def _forward(xp: Any, arrays: Sequence[Any], function: Call) -> tuple[Any, _Tape | None]:
    trace = function.trace(arrays)
    if xp is numpy and _in_blocks(arrays, trace):
        return _forward_in_blocks(arrays, trace), None
    return _recorded(arrays, function, current_mode().grad)


def _rule(F: Any, t: Any, arrays: Sequence[Any], aux: Any, function: Call, wanted: tuple[bool, ...]) -> Sequence[Any]:
    if not isinstance(aux, _Tape):
        trace = function.trace(arrays)
        if F.library is numpy and _in_blocks(arrays, trace):
            return _backward_in_blocks(F, t, arrays, trace, wanted)
        aux = _recorded(arrays, function, True)[1]
    return _pulled(F, aux, t, wanted)


def _pulled(F: Any, tape: _Tape, t: Any, wanted: Sequence[bool]) -> list[Any]:
    """Cotangents of the leaves of a tape that are wanted, each an array of its own."""
    if tape.root is None:
        return [None] * len(tape.leaves)
    ends = {node for node, yes in zip(tape.leaves, wanted, strict=False) if yes and node is not None}
    with mode_with(grad=False, records=None, watchers=()):
        found = walk(F, [(tape.root, t)], ends, retain=True, part=True).by_node
    grads: list[Any] = []
    for node in tape.leaves:
        g = found.get(node) if node in ends else None
        grads.append(backend.copied(g) if g is not None and g is not t and any(g is other for other in grads) else g)
    return grads


def _samples() -> Any:
    def line(F: Any, x: Any, slope: Any, bias: Any) -> Any:
        return F.tanh(x * slope + bias) * x - 0.3

    def gate(F: Any, x: Any, y: Any) -> Any:
        return F.where(x > 0, F.sigmoid(x) * F.exp(-y), x / (2.5 + y**2))

    def call(function: Any, count: int) -> Any:
        return Fused(function)._call((None,) * count, ())

    return calls(
        lambda rng: (([array(rng, 3, 4), array(rng), array(rng, 4)], call(line, 3)), {}),
        lambda rng: (([array(rng, 3, 1), array(rng, 2, 3, 4), array(rng, 3, 4)], call(line, 3)), {}),
        lambda rng: (([array(rng, 5), array(rng, 5)], call(gate, 2)), {}),
    )


@fused(forward=_forward, vjp=_rule, samples=_samples())
def chain(F: Any, arrays: Sequence[ArrayLike], function: Call) -> Any:
    """A chain of elementwise operations as one op: what functions decorated with `gpugrad.fuse` run as.

    >>> import gpugrad as gg
    >>> @gg.fuse
    ... def gate(x, y):
    ...     return gg.sigmoid(x) * y
    >>> gate(gg.tensor([0.0, 1000.0]), gg.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    if function.fused.takes_namespace or not getattr(F, "raw", False):
        return function.call(F, arrays)
    with mode_with(grad=False, records=None):
        return function.call(F, [as_tensor(a) for a in arrays])._array


_chain = registry["chain"]


# --- large arrays on a CPU, in blocks -----------------------------------------------------------------------------


def _in_blocks(arrays: Sequence[Any], trace: Any) -> bool:
    """Whether the arrays are so large that passes over all of them would miss the cache, and can be walked side by side."""
    over = trace.out.shape
    return (
        trace.out.size * trace.out.dtype.itemsize >= _LARGE
        and all(numpy.size(a) == 1 or (a.shape == over and a.flags.c_contiguous) for a in arrays)
        and trace.follows_elements
    )


def _blocks(trace: Any) -> Iterator[slice]:
    step = _BLOCK_BYTES // trace.out.dtype.itemsize
    for start in range(0, trace.out.size, step):
        yield slice(start, start + step)


def _flat(arrays: Sequence[Any]) -> list[Any]:
    """Arrays of one axis, and single numbers of none."""
    return [numpy.reshape(a, () if numpy.size(a) == 1 else -1) for a in arrays]


def _forward_in_blocks(arrays: Sequence[Any], trace: Any) -> Any:
    out = numpy.empty(trace.out.size, trace.out.dtype)
    flat = _flat(arrays)
    with mode_with(grad=False, records=None, watchers=()):
        for block in _blocks(trace):
            out[block] = trace.run(_leaves([a[block] if a.ndim else a for a in flat], False))._array
    return out.reshape(trace.out.shape)


def _backward_in_blocks(F: Any, t: Any, arrays: Sequence[Any], trace: Any, wanted: tuple[bool, ...]) -> list[Any]:
    """The forward once more, and its walk back, block by block."""
    flat, grads = _flat(arrays), list[Any]([None] * len(arrays))
    even = all(stride == 0 for stride in t.strides)  # the cotangent of a sum: one number
    flat_t = None if even else numpy.reshape(t, -1)
    for block in _blocks(trace):
        with mode_with(grad=True, records=None, watchers=()):
            tensors = _leaves([a[block] if a.ndim else a for a in flat], True)
            out = trace.run(tensors)
        part = numpy.broadcast_to(t[(0,) * t.ndim], out.shape) if flat_t is None else flat_t[block]
        for i, g in enumerate(_pulled(F, _Tape(out._node, [tensor._node for tensor in tensors]), part, wanted)):
            if g is None:
                continue
            if grads[i] is None:
                grads[i] = numpy.zeros(flat[i].shape, g.dtype) if flat[i].ndim == 0 else numpy.empty(flat[i].shape, g.dtype)
            if flat[i].ndim:
                grads[i][block] = g
            else:
                grads[i] = grads[i] + g
    return [None if g is None else numpy.reshape(g, numpy.shape(a)) for g, a in zip(grads, arrays, strict=True)]


# --- the decorator ------------------------------------------------------------------------------------------------


def fuse(function: Callable[..., Any]) -> Fused:
    """Run a function of elementwise operations as one op: a decorator (`cupy.fuse`, with a gradient).

    On a GPU it becomes one kernel, and its gradient another, in place of one for each operation; on a CPU, large arrays are
    walked in blocks that stay in the cache. Arithmetic in a kernel is in float32, for float64 in float64, and half types
    are rounded at the end. It can be differentiated to any order, as the function can.

    Parameters
    ----------
    function : callable
        Of Tensors that broadcast against each other, to one Tensor, in elementwise operations of gpugrad or NumPy: arithmetic,
        comparisons, `where`, casts, and functions such as `exp` and `sigmoid`. Other arguments (numbers, strings) are constants
        of a call. It is traced once for each set of shapes and dtypes, so it may not depend on the arrays' values; what else
        changes from call to call must be an argument.

    Raises
    ------
    FusionError
        In a call: for a reduction, another shape, or a look at an array's values inside, by name and line.

    Examples
    --------
    >>> import gpugrad as gg
    >>> @gg.fuse
    ... def swiglu(x, gate, beta=1.0):
    ...     return x * gate * gg.sigmoid(beta * gate)
    >>> x = gg.tensor([1.0, 2.0], requires_grad=True)
    >>> swiglu(x, gg.tensor([0.0, 1000.0])).sum().backward()
    >>> x.grad
    tensor([   0., 1000.])
    """
    return Fused(function)
