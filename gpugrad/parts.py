"""What walks carry beside arrays: the `Parts` of ops with several results, and what is `Lifted` out of their sight.

An op with several results has one node, and a light one for each result that hands its cotangent over. The op's node has
a tuple of shapes and a tuple of dtypes, and `Parts` has them too: so the walks add, check and pass on the cotangents of all
results together as they do one array, and know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import half
from .mutations import next_index
from .tape import Node

__all__ = ["Lifted", "Parts", "has_parts", "pick"]


class Lifted:
    """A value that takes over the ops that meet it: `gpugrad.dispatch.apply` returns what its method does."""

    __slots__ = ()
    __array_ufunc__ = None  # so that the operators of arrays leave it to its own

    def apply(self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """The result of an op, one of whose inputs it is. To be overridden."""
        raise NotImplementedError

    def each(self, function: Callable[[Any], Any]) -> Any:
        """``function`` of each of the arrays inside. To be overridden."""
        raise NotImplementedError


class Parts:
    """Cotangents, or tangents, of the results of one op; None for a result that has none."""

    __slots__ = ("base", "dtype", "items", "shape")

    def __init__(self, items: tuple[Any, ...], shape: tuple[Any, ...], dtype: tuple[Any, ...]) -> None:
        self.items, self.shape, self.dtype, self.base = items, shape, dtype, None

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.items, other.items, strict=True)
        return Parts(tuple(b if a is None else a if b is None else a + b for a, b in pairs), self.shape, self.dtype)

    def filled(self, F: Any) -> tuple[Any, ...]:
        """The items, with zeros for those that are missing; None for results without a derivative (integers)."""
        given = next(item for item in self.items if item is not None)
        like = F.zeros_of(F.sum(F.getitem(given, (slice(0, 1),) * given.ndim)))  # a zero on its device
        return tuple(
            None if not half.is_inexact(dtype) else F.broadcast_to(F.astype(like, dtype), shape) if item is None else item
            for item, shape, dtype in zip(self.items, self.shape, self.dtype, strict=True)
        )


def has_parts(node: Node) -> bool:
    """Whether a node stands for an op with several results."""
    return type(node.dtype) is tuple


class PickOp:
    """What the node of one of several results has for an op."""

    kind, has_aux, variadic, mutates = "pick", False, False, None

    def __init__(self, name: str) -> None:
        self.name = name


class _PickPullback:
    """Hands the cotangent of one result to the op's node."""

    @staticmethod
    def call(F: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Parts]:
        number, shape, dtype = saved
        return (Parts(tuple(t if i == number else None for i in range(len(shape))), shape, dtype),)

    @staticmethod
    def restore(node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        return saved


_PULLBACK = _PickPullback()


def pick(node: Node, number: int) -> Node:
    """A node for result `number` of an op's node."""
    result = Node()
    result.index = next_index()
    result.op, result.params, result.parents = PickOp(node.op.name), {"number": number}, (node,)
    result.pullback, result.saved = _PULLBACK, (number, node.shape, node.dtype)
    result.shape, result.dtype, result.site = node.shape[number], node.dtype[number], node.site
    return result
