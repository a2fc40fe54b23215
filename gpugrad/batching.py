"""Many directions in one walk: the interpreter under which a whole Jacobian is pulled back, or pushed forward, at once.

A walk multiplies by one direction. Here it carries a batch of them: its cotangents or tangents are `Batched`, arrays with one
axis more, in front, that no rule sees; what the tape saved has no such axis. Since rules are written against the interpreter
and operators, each runs as it is, once for the batch: in an elementwise op NumPy broadcasts over the axis in front, and
`batch_rules` says where it goes in the linear ops that rules are made of. Any other op runs once for each direction, and so
does a rule that looks inside its arrays, which a `Batched` refuses: slower, and right.

The arrays inside are raw, or Tensors where the walk itself is to be differentiated or recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from . import backend, dispatch
from .batch_rules import Batch, batch_rules, elementwise_rule, first_batch
from .interpret import TENSORS, pull_reference, push_one, raw_for
from .op import Op, registry
from .ops import shape
from .parts import Parts
from .tape import Node

__all__ = ["Batched", "batched_values", "batches_of"]


class NotBatchedError(TypeError, AttributeError):
    """A rule wants of a batch what it does not have; the rule is then run once for each direction."""


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def operate(self: Any, *others: Any) -> Any:
        return _run(None, registry[name], *((*others, self) if swapped else (self, *others)))

    return operate


class Batched(Batch):
    """Arrays of one shape, one for each direction, that a rule takes for one array: `shape` and all else is that of one.

    >>> import numpy as np
    >>> t = Batched(np.ones((5, 2, 3)))
    >>> t.shape, (np.ones(3) * t).T.shape, batches_of(t.inner).sum(t, axis=0).value.shape
    ((2, 3), (3, 2), (5, 3))
    """

    __slots__ = ()
    base = None

    T = property(lambda self: _run(None, registry["transpose"], self))

    __add__, __radd__ = _operator("add"), _operator("add", True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", True)
    __matmul__, __rmatmul__ = _operator("matmul"), _operator("matmul", True)
    __pow__, __neg__ = _operator("power"), _operator("negative")
    __getitem__, astype, reshape = _operator("getitem"), _operator("astype"), _operator("reshape")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        raise NotBatchedError(f"a batch of arrays has no {name}")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotBatchedError("a batch of arrays is not an array")

    def __bool__(self) -> bool:
        raise NotBatchedError("a batch of arrays is neither true nor false")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise NotBatchedError("a batch of arrays cannot be changed")

    def __iter__(self) -> Iterator[Any]:
        raise NotBatchedError("a batch of arrays cannot be iterated over")

    def apply(self, op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """What `gpugrad.dispatch.apply` does where a Tensor meets a batch: ``x * t``."""
        if op.kind == "elementwise" or op.variadic:
            return _run(None, op, *([list(inputs)] if op.variadic else inputs), **params)
        return _run(None, op, **dict(zip(op.inputs, inputs, strict=True)), **params)

    def each(self, function: Callable[[Any], Any]) -> Any:
        """``function`` of each direction's array, batched again."""
        return _each(lambda inner, one: function(one), self)

    def copy(self) -> Batched:
        """Itself: nobody can change it."""
        return self


class BatchNamespace:
    """Ops as functions on batches and plain values, in any mixture; without a batch among them as the plain ones."""

    raw = once = False  # so that a walk calls `pull`, and no rule overwrites what was saved

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        """The interpreter for what is inside."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in registry:
            raise AttributeError(f"no op is called {name!r}")
        function = functools.partial(_run, self.inner, registry[name])
        setattr(self, name, function)
        return function

    def restore(self, node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Saved values as the rules are to have them."""
        return self.inner.restore(node, saved)

    def pull(self, node: Node, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of a node's inputs, of all directions."""
        batch = first_batch(t)
        if batch is None:  # a rule put zeros of its own in place of the batch
            return _plain(self.inner, getattr(t, "items", (t,))).pull(node, pullback, t, saved)
        F, kind = batches_of(batch.inner), node.op.kind
        with backend.on_device_of(batch._array):
            if kind == "pick" or getattr(pullback, "batches", False):
                return pullback.call(F, t, saved)
            if kind != "function" and node.op.has_aux:  # its own rules are for arrays: by the composition that defines it
                return pull_reference(F, node, t, TENSORS.restore(node, saved))
            try:
                if kind != "function":
                    return pullback.call(F, t, F.restore(node, saved))
            except (TypeError, ValueError):
                pass
            return _each(lambda inner, one: inner.pull(node, pullback, one, saved), t)

    def push(self, F: Any, node: Node, tangents: list[Any]) -> Any:
        """The tangent of a node's result, of all directions."""
        batch = first_batch(tangents)
        if batch is None:
            return push_one(_plain(self.inner, tangents), node, tangents)
        with backend.on_device_of(batch._array):
            try:
                return push_one(batches_of(batch.inner), node, tangents)
            except (TypeError, ValueError):
                return _each(lambda inner, given: push_one(inner, node, given), tangents)


@functools.cache
def batches_of(inner: Any) -> BatchNamespace:
    """The interpreter for batches of what `inner` is for."""
    return BatchNamespace(inner)


def _run(inner: Any, op: Op, *args: Any, **kwargs: Any) -> Any:
    """An op on batches and plain values."""
    values = (*args, *kwargs.values())
    batch = first_batch(values)
    if batch is None:
        return getattr(_plain(inner, values), op.name)(*args, **kwargs)
    if op.mutates is not None:
        raise NotBatchedError(f"{op.name} of a batch of arrays would run once for each")
    F = batch.inner
    rule = elementwise_rule if op.kind == "elementwise" else batch_rules.get(op.name, _unknown)
    with backend.on_device_of(batch._array):
        out = rule(F, op.name, *args, **kwargs)
        if out is not NotImplemented:
            return Batched(out)
        if op.reference is not None:
            return op.reference(batches_of(F), *args, **kwargs)
        return _each(lambda F, given: getattr(F, op.name)(*given[0], **given[1]), (args, kwargs))


def _unknown(F: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return NotImplemented


def _plain(inner: Any, values: Any) -> Any:
    """The interpreter for values of which none is a batch; `inner` where that could be any."""
    if inner is TENSORS:
        return inner
    array = next((v for v in values if hasattr(v, "dtype")), None)
    return inner if array is None else TENSORS if isinstance(array, dispatch.Tensor) else raw_for(array)


def _each(function: Callable[[Any, Any], Any], values: Any) -> Any:
    """``function(F, one)`` of one direction after the other, for nested values with batches among them; batched again."""
    batch = first_batch(values)
    assert batch is not None
    F = batch.inner

    def one(value: Any, i: int) -> Any:
        if isinstance(value, Batched):
            return F.getitem(value.value, (i, Ellipsis))
        if isinstance(value, Parts):
            return Parts(one(value.items, i), value.shape, value.dtype)
        if isinstance(value, dict):
            return {name: one(v, i) for name, v in value.items()}
        return type(value)([one(v, i) for v in value]) if type(value) in (list, tuple) else value

    return _joined(F, [function(F, one(values, i)) for i in range(batch.count)])


def _joined(F: Any, outs: list[Any]) -> Any:
    """Results of one function for each direction, batched."""
    first = next((out for out in outs if out is not None), None)
    if isinstance(first, Parts):
        return Parts(_joined(F, [out.items for out in outs]), first.shape, first.dtype)
    if isinstance(first, list | tuple):
        return tuple(_joined(F, list(parts)) for parts in zip(*outs, strict=True))
    if first is None:
        return None
    return Batched(F.stack([F.zeros_of(first) if out is None else out for out in outs]))


def batched_values(found: Any, like: Any, count: int) -> Any:
    """What a walk found for a node, with the axis of `count` directions: zeros where nothing came."""
    if isinstance(found, Batched):
        return found.value
    if found is None:
        return backend.made_beside(like._array, "zeros", (count, *like.shape), like.dtype)
    return shape.broadcast_to(found, (count, *like.shape))
