"""The interpreters a rule can be run under, and forward mode.

One rule serves every order because it is written against a namespace `F` and operators. Under `RawNamespace` it computes
on raw arrays: first order, the fast path. Under `TENSORS` it computes on Tensors, through `apply`: its steps are then
themselves recorded, for higher orders and for programs. Tangents are pushed through the same rules by `push`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy

from . import backend, half
from .cuda import kernel_forward, kernel_rules
from .dispatch import tensor_of
from .modes import current_mode, mode_with
from .op import Composed, Op, needed, registry
from .parts import Parts, has_parts, pick
from .tape import Node, Pullback, ancestors, freed, leaf, walk

__all__ = [
    "RAW",
    "RAW_ONCE",
    "TENSORS",
    "RawNamespace",
    "pull_reference",
    "push_one",
    "push_tangents",
    "raw_for",
]


_PRODUCTS = {"linear", "matmul", "mm"}
"""Ops with rules that are products: on a GPU those take bfloat16 and sum in float32. Other rules get float32 there."""


class RawNamespace:
    """Ops as functions on the raw arrays of one library: ``F.sum(t, axis=0)`` is a NumPy or CuPy call."""

    raw = True

    def __init__(self, xp: ModuleType, once: bool = False, adds: bool = False) -> None:
        self.library = xp
        self.adds = adds
        """Whether a rule may add the gradient of a leaf to its `grad` itself, and give None: in `backward` alone."""
        self.once = once
        """Whether each rule runs for the last time: what a fused forward kept for it may then be overwritten."""
        rules = {} if xp is numpy else kernel_rules(xp)
        self._rules = {registry[name]: rule for name, rule in rules.items() if name in registry}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in registry:
            raise AttributeError(f"no op is called {name!r}")
        op = registry[name]
        if op.reference is not None:
            function: Callable[..., Any] = functools.partial(op.reference, self)
        elif op.unchecked is not None:
            function = op.unchecked
        elif op.library_name is not None and hasattr(self.library, op.library_name):
            function = getattr(self.library, op.library_name)
        else:
            function = functools.partial(op.function, self.library) if op.takes_namespace else op.function
        if op.reference is None and self.library is not numpy:
            function = kernel_forward(name, self.library, function)
        setattr(self, name, function)
        return function

    def beside(self, value: Any) -> RawNamespace:
        """The interpreter for arrays like this one, or of these `Parts`, whose GPU becomes the current one."""
        if backend.many_devices:
            backend.enter_device_of(value)
        return raw_for(backend.first_on_gpu(getattr(value, "items", (value,))), self.once, self.adds)

    def restore(self, node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Saved values as the rules are to have them: as they are."""
        return saved

    def pull(self, node: Node, pullback: Pullback, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of a node's inputs, by kernels where there are some."""
        if node.op in self._rules:
            grads = self._rules[node.op](self, node, t, dict(zip(node.op.slots, saved, strict=True)))
            if grads is not NotImplemented:
                return grads
        if half.asked_for and self.library is not numpy and node.op.name not in _PRODUCTS:
            t, saved = half.widened(t), tuple(map(half.widened, saved))
        return pullback.call(self, t, saved)


class TensorNamespace(Composed):
    """Ops as functions on Tensors, recorded as the mode says."""

    raw = False

    def restore(self, node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Saved raw values as the Tensors they were: inputs as results of the parents, ``out`` as the result of `node`."""
        op = node.op
        values = []
        for name, value in zip(op.slots, saved, strict=True):
            if value is None or not (name == "out" or name in op.inputs):
                values.append(value)
            elif name == "out":
                values.append(_restored_parts(node, value) if has_parts(node) else tensor_of(value, node))
            elif op.variadic:
                values.append(tuple(_restored(v, p) for v, p in zip(value, node.parents, strict=True)))
            else:
                values.append(_restored(value, node.parents[op.inputs.index(name)]))
        return tuple(values)

    def pull(self, node: Node, pullback: Pullback, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of a node's inputs as Tensors, differentiable again where gradients are recorded."""
        if node.op.kind in ("function", "pick"):
            return pullback.call(self, t, pullback.restore(node, saved))  # type: ignore[attr-defined]
        values = self.restore(node, saved)
        if node.op.has_aux:
            return pull_reference(self, node, t, values)
        return pullback.call(self, t, values)


def pull_reference(F: Any, node: Node, t: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cotangents under `F` through the composition that defines a fused op, run again on its inputs, Tensors."""
    op: Op = node.op
    named = dict(zip(op.slots, values, strict=True))
    with mode_with(grad=True):
        out = op.reference(TENSORS, **{name: named[name] for name in op.inputs}, **node.params)  # type: ignore[misc]
    parents = {parent for parent in node.parents if parent is not None}
    found = {} if out._node is None else walk(F, [(out._node, t)], parents, retain=True, part=True).by_node
    return tuple([found.pop(parent, None) if parent is not None else None for parent in node.parents])


def _restored(value: Any, parent: Node | None) -> Any:
    return tensor_of(value, parent) if hasattr(value, "shape") and hasattr(value, "dtype") else value


def _restored_parts(node: Node, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The results of an op with several, as the Tensors they were."""
    return tuple(tensor_of(v, pick(node, i) if half.is_inexact(v.dtype) else None) for i, v in enumerate(values))


@functools.cache
def raw_namespace(xp: ModuleType, once: bool, adds: bool = False) -> RawNamespace:
    """The interpreter for raw arrays of one library."""
    return RawNamespace(xp, once, adds)


def raw_for(array: Any, once: bool = False, adds: bool = False) -> RawNamespace:
    """The interpreter for raw arrays of the library that `array` belongs to."""
    if array is None or array.__class__ is numpy.ndarray:
        return RAW_ONCE if once else RAW
    return raw_namespace(backend.namespace_of(array), once, adds)


RAW, RAW_ONCE = raw_namespace(numpy, False), raw_namespace(numpy, True)
TENSORS = TensorNamespace()


# --- forward mode -------------------------------------------------------------------------------------------------


def push_tangents(F: Any, roots: Sequence[Node], tangents: dict[Node, Any], floor: int) -> None:
    """Push tangents from leaves towards roots, along the tape in order of creation: forward mode (jvp).

    Parameters
    ----------
    F : namespace
        RAW for first order, TENSORS where the tangents are to be differentiated again.
    roots : sequence of Node
        Outputs; every node that reaches them and is not older than `floor` is visited once.
    tangents : dict of Node to array
        Tangents of the leaves; those of all other nodes are added to it.
    """
    push: Callable[..., Any] = getattr(F, "push", push_one)
    for watcher in current_mode().watchers:
        push = functools.partial(watcher.push, push)
    enter = F.beside if F.raw and backend.libraries else None
    with numpy.errstate(all="ignore"), backend.on_device_of(next(iter(tangents.values()), None)):
        for node in ancestors(roots, floor):
            if node.op is None or node in tangents:
                continue
            given = [tangents.get(parent) if parent is not None else None for parent in node.parents]
            if any(t is not None for t in given):
                if enter is not None:
                    F = enter(next(t for t in given if t is not None))
                tangent = push(F, node, given)
                if tangent is not None:
                    if tangent.shape != node.shape:
                        tangent = F.broadcast_to(tangent, node.shape)
                    tangents[node] = tangent if tangent.dtype == node.dtype else F.astype(tangent, node.dtype)


def push_one(F: Any, node: Node, tangents: list[Any]) -> Any:
    """The tangent of a node's result from those of its inputs (None where there is none)."""
    op: Op = node.op
    if node.saved is None:
        raise freed(node)
    if op.kind == "pick":
        return tangents[0].items[node.saved[0]]
    if op.kind == "function" and getattr(op, "push", None) is not None:
        return op.push(node, tangents)  # type: ignore[attr-defined]
    if op.jvp is None and (op.kind not in ("elementwise", "linear", "multilinear") or op.variadic):
        return _push_transposed(F, node, tangents)
    saved = F.restore(node, node.saved)
    named = dict(zip(op.slots, saved, strict=True))
    if op.jvp is not None:
        tangent = op.jvp(F, tangents, *[named[name] for name in needed(op.jvp)])
        return Parts(tangent, node.shape, node.dtype) if has_parts(node) else tangent
    total = None
    for i, t in enumerate(tangents):
        if t is None:
            continue
        if op.kind == "elementwise":
            rule = op.rules[i]
            if rule is None:
                continue
            term = rule(F, t, *[named[name] for name in needed(rule)])
        else:
            inputs = [t if j == i else named.get(name) for j, name in enumerate(op.inputs)]
            term = getattr(F, op.name)(*inputs, **node.params)
        total = term if total is None else total + term
    return total


def _push_transposed(F: Any, node: Node, tangents: list[Any]) -> Any:
    """The tangent of any op from its vjp alone: the vjp is linear in its cotangent, so its own vjp is the jvp."""
    assert node.saved is not None
    like = next(getattr(t, "_array", t) for t in tangents if t is not None)
    starts: list[Node | None] = []

    def start(shape: tuple[int, ...], dtype: Any) -> Any:
        cotangent = tensor_of(backend.made_beside(like, "zeros", shape, dtype))
        cotangent._node = leaf(cotangent._array) if half.is_inexact(dtype) else None
        starts.append(cotangent._node)
        return cotangent

    if has_parts(node):
        cotangent = Parts(tuple(map(start, node.shape, node.dtype)), node.shape, node.dtype)
    else:
        cotangent = start(node.shape, node.dtype)
    with mode_with(grad=True):
        pulled = TENSORS.pull(node, node.pullback, cotangent, node.saved)
        roots = []
        for parent, g, t in zip(node.parents, pulled, tangents, strict=True):
            if parent is None or g is None or t is None:
                continue
            if g.shape != parent.shape:
                g = TENSORS.sum_to(g, parent.shape)
            if g._node is not None:
                roots.append((g._node, t))
    found = walk(F, roots, {node for node in starts if node is not None}, retain=True, part=True).by_node
    pushed = tuple(None if start is None else found.get(start) for start in starts)
    return Parts(pushed, node.shape, node.dtype) if has_parts(node) else pushed[0]
