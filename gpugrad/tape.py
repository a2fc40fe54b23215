"""The tape: nodes, and the walk back from an output.

There is no global list of operations. Each recorded result points to a `Node`, each node to the nodes of its inputs; the
tape of an output is the set of nodes that reach it. Nodes carry a rising index, so falling index is a topological order:
`walk` needs no recursion and no sort, and the tape is freed by reference counting as soon as its output is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush, heappushpop
from typing import Any, NamedTuple

import numpy

from . import backend, mutations
from .errors import AnomalyError, DeviceError, GpugradError, GradientError, OutOfMemoryError, Site, format_site, user_site
from .modes import current_mode
from .mutations import check_unchanged, next_index

__all__ = ["Node", "walk"]


# --- nodes --------------------------------------------------------------------------------------------------------


class Pullback:
    """The rules of an op joined for one set of inputs that need a gradient.

    ``save(inputs, out, params, aux)`` takes the saved values, and is None where there are none; ``call(F, t, saved)`` gives a
    cotangent per input.
    """

    __slots__ = ("call", "save")

    def __init__(self, save: Callable[..., tuple[Any, ...]] | None, call: Callable[..., tuple[Any, ...]]) -> None:
        self.save, self.call = save, call


class Node:
    """One recorded result, or a leaf (then `op` is None and `grad` holds its gradient).

    Attributes
    ----------
    index : int
        Order of creation.
    op, params, parents : Op, dict, sequence of (Node or None)
        What ran, with what, on whose results; None for an input that needs no gradient.
    pullback, saved : Pullback, tuple
        The joined vjp rules and the values that they named; `saved` is None once the tape was freed.
    shape, dtype : tuple of int, dtype
        Of the result; every cotangent that arrives here has them.
    site : (code object, int)
        Where in the user's program it was made.
    hooks : dict
        Not set, mostly; see `gpugrad.hooks`.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "grad",
        "hooks",
        "index",
        "op",
        "params",
        "parents",
        "pullback",
        "saved",
        "shape",
        "site",
    )

    index: int
    op: Any
    params: dict[str, Any]
    parents: Sequence[Node | None]
    pullback: Any
    saved: tuple[Any, ...] | None
    shape: tuple[Any, ...]
    dtype: Any
    site: Site | None
    grad: Any
    hooks: dict[int, Callable[[Any], Any]]

    def __repr__(self) -> str:
        name = "leaf" if self.op is None else self.op.name
        return f"<Node {self.index} {name} {self.dtype}{list(self.shape)} at {format_site(self.site)}>"


def leaf(array: Any) -> Node:
    """A node for an array that gradients stop at."""
    node = Node()
    node.index = next_index()
    node.op = node.pullback = node.grad = None
    node.params, node.parents, node.saved = {}, (), ()
    node.shape, node.dtype, node.site = array.shape, array.dtype, user_site()
    return node


# --- the walk back ------------------------------------------------------------------------------------------------


class Cotangents(NamedTuple):
    """What a walk found: a cotangent per leaf node, and the leaves for which others may hold the same array."""

    by_node: dict[Node, Any]
    borrowed: set[Node]

    def owned(self, node: Node) -> Any:
        """The cotangent of a leaf as an array, or a Tensor around one, that nobody else holds."""
        cotangent = self.by_node[node]
        array = getattr(cotangent, "_array", cotangent)
        if node not in self.borrowed and array.base is None:
            return cotangent
        return cotangent.copy() if array is not cotangent else backend.copied(array)

    def conjugated(self, F: Any) -> Cotangents:
        """As gradients of real values are given: conjugate where complex (see `conjugate`)."""
        complex_ones = {node: conjugate(F, t) for node, t in self.by_node.items() if node.dtype.kind == "c"}
        if not complex_ones:
            return self
        return Cotangents(self.by_node | complex_ones, self.borrowed - complex_ones.keys())


def conjugate(F: Any, t: Any) -> Any:
    """A cotangent between the convention of users and that of rules.

    Users see PyTorch's: the gradient of a real value by z = x + iy is dx + i dy, the direction of steepest ascent. Rules
    and walks use its conjugate, so that the transpose of multiplying by a number is multiplying by it, in both modes, and
    no rule of a holomorphic function mentions conjugation.
    """
    if t.dtype.kind != "c":
        return t
    with backend.on_device_of(t):
        return F.conjugate(t)


hooked: Any = None
"""What runs the hooks of nodes, once some node has had one; set by hooks.py, which cannot be imported from here."""


def walk(
    F: Any, roots: Sequence[tuple[Node, Any]], wanted: set[Node] | None = None, retain: bool = False, part: bool = False
) -> Cotangents:
    """Pull cotangents back from roots to leaves: reverse mode.

    Parameters
    ----------
    F : namespace
        The interpreter that the rules run under: raw arrays (first order) or Tensors (higher order, recording).
    roots : sequence of (Node, cotangent)
        Where to start, and with what.
    wanted : set of Node, optional
        Where to stop, instead of at the leaves; all that does not lead there is a constant.
    retain : bool
        Keep the saved values for another walk. Otherwise they are freed as the walk passes.
    part : bool
        Whether this is a part of another walk, which will run the hooks of the nodes where this one ends.

    Returns
    -------
    Cotangents
        One for every leaf, or wanted node, that was reached.
    """
    pending: dict[Node, Any] = {}
    heap: list[tuple[int, Node]] = []
    kept = None if wanted is None else _leading_to(wanted, [node for node, _ in roots])
    for node, cotangent in roots:
        if kept is not None and node not in kept:
            continue
        if node in pending:
            pending[node] = pending[node] + cotangent
        else:
            pending[node] = cotangent
            if node.op is not None and (wanted is None or node not in wanted):
                heappush(heap, (-node.index, node))
    borrowed = set(pending)
    watchers, rules = current_mode().watchers, F
    if watchers:
        rules = watchers[0].rules(rules, watchers)
    if hooked is not None:
        rules = hooked.rules(rules)
    device = backend.current_device() if F.raw and backend.libraries else None
    try:
        with numpy.errstate(all="ignore"):
            _pull_all(rules, F, heap, pending, borrowed, wanted, kept, retain)
    finally:
        if device is not None:
            device.use()
    if hooked is not None and not part:
        hooked.finish(pending, borrowed)
    for watcher in watchers:
        watcher.walked(pending)
    return Cotangents(pending, borrowed)


def _pull_all(
    F: Any,
    plain: Any,
    heap: list[tuple[int, Node]],
    pending: dict[Node, Any],
    borrowed: set[Node],
    wanted: set[Node] | None,
    kept: set[Node] | None,
    retain: bool,
) -> None:
    """The loop of `walk`, newest node first, under the rules of `F`, which may watch those of `plain`."""
    enter = plain.beside if F.raw and backend.libraries else None
    direct = F.raw and not backend.libraries
    placed: set[Node] = set()  # those whose cotangents are collected in parts, see placed.py
    following: Node | None = None  # the first parent of a node: in a chain, it is next and need not be heaped
    get, last_change = pending.get, mutations.last_change
    try:
        while heap or following is not None:
            if following is None:
                node = heappop(heap)[1]
            else:
                node = heappushpop(heap, (-following.index, following))[1] if heap else following
                following = None
            t = pending.pop(node)
            if placed and node in placed:
                t = _dense(plain, t)
            pullback = node.pullback if kept is None else _pullback_into(node, kept)
            saved = node.saved
            if saved is None:
                raise freed(node)
            if node.index < last_change:
                check_unchanged(node, saved)
            if enter is not None:
                F = enter(t)
            grads = pullback.call(F, t, saved) if direct else F.pull(node, pullback, t, saved)
            if not retain:
                node.saved = None
            saved = None
            parents, i = node.parents, -1
            for g in grads:  # counted by hand, which is faster than zip
                i += 1
                parent = parents[i]
                if parent is None or g is None or (kept is not None and parent not in kept):
                    continue
                if g is t:
                    borrowed.add(parent)
                elif enter is not None:
                    F = enter(g)
                if g.shape != parent.shape:
                    if g.shape is None:
                        placed.add(parent)
                        g.dtype = parent.dtype
                        previous = get(parent)
                        if previous is not None and previous.shape is not None:
                            pending[parent] = g + previous
                            continue
                    else:
                        g = F.sum_to(g, parent.shape)
                if g.dtype is not parent.dtype and g.dtype != parent.dtype:
                    g = F.astype(g, parent.dtype)
                previous = get(parent)
                if previous is not None:
                    pending[parent] = previous + g
                    continue
                pending[parent] = g
                if parent.op is not None and (wanted is None or parent not in wanted):
                    if following is None:
                        following = parent
                    else:
                        heappush(heap, (-parent.index, parent))
        for node in placed.intersection(pending):  # leaves, or wanted
            pending[node] = _dense(plain, pending[node])
    except (GradientError, AnomalyError):
        raise
    except Exception as error:
        raise _failed(node, error) from error


def _dense(F: Any, t: Any) -> Any:
    """A cotangent that was collected in parts, as an array."""
    return t.dense(F.beside(t) if F.raw and backend.libraries else F)


def _failed(node: Node, error: Exception) -> GpugradError:
    """The error for a rule that raised: it names the line of the forward that made the node."""
    error = backend.translated(error, node.saved or ())
    cause = str(error).split("\n  at ")[0] if isinstance(error, GpugradError) else f"{type(error).__name__}: {error}"
    kind = type(error) if isinstance(error, DeviceError | OutOfMemoryError) else GradientError
    name = "a leaf" if node.op is None else node.op.name
    return kind(
        f"backward of {name} failed: {cause}\n  its result was {node.dtype}{list(node.shape)}, made"
        f"\n  at {format_site(node.site)}"
    )


def _leading_to(wanted: set[Node], roots: Sequence[Node]) -> set[Node]:
    """The wanted nodes, and those from which a way leads on to a wanted node."""
    oldest = min((node.index for node in wanted), default=0)
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen and node.index > oldest:
            seen.add(node)
            if node not in wanted:
                stack.extend(parent for parent in node.parents if parent is not None)
    kept = set(wanted)
    for node in sorted(seen - wanted, key=lambda node: node.index):
        if any(parent in kept for parent in node.parents):
            kept.add(node)
    return kept


def _pullback_into(node: Node, kept: set[Node]) -> Any:
    """The pullback of a node into those of its parents that are kept."""
    if node.op.kind in ("function", "pick"):
        return node.pullback
    mask = sum(1 << i for i, parent in enumerate(node.parents) if parent in kept)
    return node.op.pullback(mask) or _NO_GRADIENT


_NO_GRADIENT = Pullback(None, lambda F, t, saved: ())
"""For a node that leads to wanted ones only through inputs without a rule, as the sign of `copysign`."""


def freed(node: Node) -> GradientError:
    """The error for a node whose saved values are gone."""
    return GradientError(
        f"backward through {node.op.name} a second time: its saved values were freed by the first backward\n"
        f"  use backward(retain_graph=True) the first time, or run the forward again\n"
        f"  the result was made at {format_site(node.site)}\n  backward was called at {format_site(user_site())}"
    )


def ancestors(roots: Iterable[Node], floor: int = 0) -> list[Node]:
    """All nodes from which `roots` were made, not older than `floor`, in order of creation; the roots too."""
    seen: set[Node] = set()
    stack = [node for node in roots if node.index >= floor]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(p for p in node.parents if p is not None and p.index >= floor and p not in seen)
    return sorted(seen, key=lambda node: node.index)
