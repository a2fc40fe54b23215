"""The tape: nodes, the walk back from an output, and the ambient state that apply reads.

There is no global list of operations. Each recorded result points to a `Node`, each node to the nodes of its inputs; the
tape of an output is the set of nodes that reach it. Nodes carry a rising index, so falling index is a topological order:
`walk` needs no recursion and no sort, and the tape is freed by reference counting as soon as its output is dropped.
"""

from __future__ import annotations

import functools
import itertools
import operator
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush, heappushpop
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy

from . import backend
from .errors import AnomalyError, DeviceError, GpugradError, GradientError, OutOfMemoryError, Site, format_site, user_site

__all__ = ["Mode", "Node", "Record", "current_mode", "enable_grad", "no_grad", "recording", "walk"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

next_index = itertools.count(1).__next__


# --- ambient state ------------------------------------------------------------------------------------------------


class Mode:
    """What `apply` must know of its surroundings.

    Attributes
    ----------
    grad : bool
        Whether to make nodes.
    records : list of Record, or None
        Where to record what runs.
    tracing : bool
        Whether a transform traces.
    autocast : dtype or None
        In what products are computed, see `gpugrad.amp`.
    watchers : tuple of Watcher
        Who sees each op run, see `gpugrad.watch`.
    apart : bool
        Whether modules run layer by layer, also where they could run several as one op: for pictures and for blame.
    """

    __slots__ = ("apart", "autocast", "grad", "records", "tracing", "watchers")

    def __init__(
        self,
        grad: bool = True,
        records: list[Record] | None = None,
        tracing: bool = False,
        autocast: Any = None,
        watchers: tuple[Any, ...] = (),
        apart: bool = False,
    ) -> None:
        self.grad, self.records, self.tracing, self.autocast, self.watchers = grad, records, tracing, autocast, watchers
        self.apart = apart

    def but(self, **changes: Any) -> Mode:
        """This mode with some fields changed."""
        return Mode(**{name: getattr(self, name) for name in Mode.__slots__} | changes)


_DEFAULT, _NO_GRAD = Mode(), Mode(grad=False)
_mode: ContextVar[Mode] = ContextVar("gpugrad_mode", default=_DEFAULT)
current_mode = _mode.get


@contextmanager
def mode_with(**changes: Any) -> Iterator[Mode]:
    """Run a block under the current mode with some fields changed; seen by this thread and this task only."""
    mode = _mode.get().but(**changes)
    token = _mode.set(mode)
    try:
        yield mode
    finally:
        _mode.reset(token)


class _GradSwitch:
    """A context manager and decorator that sets gradient recording; instances may be nested and reused."""

    _grad: bool

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        mode = _mode.get()
        changed = _NO_GRAD if mode is _DEFAULT and not self._grad else mode.but(grad=self._grad)
        self._tokens.append(_mode.set(changed))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _mode.reset(self._tokens.pop())

    def __call__(self, function: AnyFunction) -> AnyFunction:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradSwitch):
    """Record nothing inside the block or the decorated function (`torch.no_grad`).

    Seen by the current thread and asyncio task only.

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0], requires_grad=True)
    >>> with gg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    >>> @gg.no_grad()
    ... def evaluate(x):
    ...     return x * 2
    >>> evaluate(x).requires_grad
    False
    """

    _grad = False


class enable_grad(_GradSwitch):
    """Record inside the block or the decorated function, also within `no_grad` (`torch.enable_grad`).

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0], requires_grad=True)
    >>> with gg.no_grad(), gg.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    _grad = True


# --- a program as a flat list -------------------------------------------------------------------------------------


class Record:
    """One op that ran: what a straight-line program is made of.

    Operands are the raw arrays themselves, so that a later record that reads an earlier one's result holds the same
    object. Ops that mutate name their targets in ``op.mutates``.
    """

    __slots__ = ("inputs", "op", "out", "params")

    def __init__(self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any], out: Any) -> None:
        self.op, self.inputs, self.params, self.out = op, inputs, params, out

    def __repr__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, numpy.ndarray):
                return f"%{id(value) & 0xFFFFFF:06x}:{value.dtype}{list(value.shape)}"
            if isinstance(value, tuple):
                return f"({', '.join(map(show, value))})"
            return repr(value)

        arguments = [show(value) for value in self.inputs] + [f"{k}={show(v)}" for k, v in self.params.items()]
        outs = self.out if isinstance(self.out, tuple) else (self.out,)
        target = (
            ", ".join(map(show, outs))
            if self.out is not None
            else "mutates " + ", ".join(show(self.inputs[i]) for i in self.op.mutates(len(self.inputs)))
        )
        return f"{target} = {self.op.name}({', '.join(arguments)})"


@contextmanager
def recording() -> Iterator[list[Record]]:
    """Collect a `Record` of everything that passes `op.apply` in the block: forward, backward, updates and draws.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad.tape import recording
    >>> x = gg.tensor([2.0], requires_grad=True)
    >>> with recording() as records:
    ...     (x * x).sum().backward()
    >>> [record.op.name for record in records]
    ['multiply', 'sum', 'broadcast_to', 'multiply', 'multiply', 'add']
    """
    records: list[Record] = []
    with mode_with(records=records):
        yield records


# --- nodes --------------------------------------------------------------------------------------------------------


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
    """

    __slots__ = ("__weakref__", "dtype", "grad", "index", "op", "params", "parents", "pullback", "saved", "shape", "site")

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


def walk(F: Any, roots: Sequence[tuple[Node, Any]], wanted: set[Node] | None = None, retain: bool = False) -> Cotangents:
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

    Returns
    -------
    Cotangents
        One for every leaf, or wanted node, that was reached.
    """
    pending: dict[Node, Any] = {}
    borrowed: set[Node] = set()
    heap: list[tuple[int, Node]] = []
    following: tuple[int, Node] | None = None  # the first parent of a node: in a chain, it is next and need not be heaped
    get, raw, last_change = pending.get, F.raw, _last_change
    kept = None if wanted is None else _leading_to(wanted, [node for node, _ in roots])
    watchers = current_mode().watchers
    enter, device = (F.beside, backend.current_device()) if raw and backend.libraries else (None, None)
    if watchers:
        F, raw, enter = _WatchedRules(F, watchers), False, None
    for node, cotangent in roots:
        if kept is not None and node not in kept:
            continue
        borrowed.add(node)
        if node in pending:
            pending[node] = pending[node] + cotangent
        else:
            pending[node] = cotangent
            if node.op is not None and (wanted is None or node not in wanted):
                heappush(heap, (-node.index, node))
    try:
        with numpy.errstate(all="ignore"):
            while heap or following is not None:
                node = (heappop(heap) if following is None else heappushpop(heap, following))[1]
                following = None
                t = pending.pop(node)
                pullback = node.pullback if kept is None else _pullback_into(node, kept)
                saved = node.saved
                if saved is None:
                    raise freed(node)
                if node.index < last_change:
                    _check_unchanged(node, saved)
                if enter is not None:
                    F = enter(t)
                grads = pullback.call(F, t, saved) if raw else F.pull(node, pullback, t, saved)
                if not retain:
                    node.saved = None
                saved = None
                for parent, g in zip(node.parents, grads):
                    if parent is None or g is None or (kept is not None and parent not in kept):
                        continue
                    if g is t:
                        borrowed.add(parent)
                    elif enter is not None:
                        F = enter(g)
                    if g.shape != parent.shape:
                        g = F.sum_to(g, parent.shape)
                    if g.dtype is not parent.dtype and g.dtype != parent.dtype:
                        g = F.astype(g, parent.dtype)
                    previous = get(parent)
                    if previous is not None:
                        pending[parent] = previous + g
                    else:
                        pending[parent] = g
                        if parent.op is not None and (wanted is None or parent not in wanted):
                            if following is None:
                                following = (-parent.index, parent)
                            else:
                                heappush(heap, (-parent.index, parent))
    except (GradientError, AnomalyError):
        raise
    except Exception as error:
        raise _failed(node, error) from error
    finally:
        if device is not None:
            device.use()
    for watcher in watchers:
        watcher.walked(pending)
    return Cotangents(pending, borrowed)


class _WatchedRules:
    """An interpreter that lets watchers see each rule run."""

    raw = False

    def __init__(self, F: Any, watchers: Sequence[Any]) -> None:
        self._F, self._watchers = F, watchers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._F, name)

    def pull(self, node: Node, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The cotangents of a node's inputs."""
        F = self._F.beside(t) if self._F.raw and backend.libraries else self._F
        rule = functools.partial(pullback.call, F) if F.raw else functools.partial(F.pull, node, pullback)
        for watcher in self._watchers:
            rule = functools.partial(watcher.backward, node, rule)
        grads: tuple[Any, ...] = rule(t, saved)
        return grads


def _failed(node: Node, error: Exception) -> GpugradError:
    """The error for a rule that raised: it names the line of the forward that made the node."""
    error = backend.translated(error, node.saved or ())
    cause = str(error).split("\n  at ")[0] if isinstance(error, GpugradError) else f"{type(error).__name__}: {error}"
    kind = type(error) if isinstance(error, DeviceError | OutOfMemoryError) else GradientError
    return kind(
        f"backward of {node.op.name} failed: {cause}\n  its result was {node.dtype}{list(node.shape)}, made"
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
    return node.op.pullback(sum(1 << i for i, parent in enumerate(node.parents) if parent in kept))


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


# --- arrays that were changed after the tape saved them -----------------------------------------------------------
#
# Nodes and mutations draw their index from one counter, so "changed since it was saved" is one comparison, and an op
# that saves an array pays nothing. Arrays are known by the array that owns their memory, so views need no bookkeeping.

_last_change = 0
"""Index of the last mutation or hand-out: what was saved after it needs no check."""
_mutations: dict[int, tuple[weakref.ref[Any], Change]] = {}
_handed_out: dict[int, tuple[weakref.ref[Any], int, Site, int]] = {}


class Change:
    """When an array was last changed in place, and where."""

    __slots__ = ("index", "site")

    def __init__(self, index: int, site: Site | None) -> None:
        self.index, self.site = index, site


_entries = 0
"""How often the tables below were added to, `Mutations` apart."""


def owner_of(array: Any) -> Any:
    """The array that owns the memory of a (possibly viewing) array."""
    base = array.base
    while base is not None and hasattr(base, "base") and hasattr(base, "dtype"):
        array, base = base, base.base
    return array


def log_mutation(arrays: Iterable[Any]) -> None:
    """Note that arrays are changed in place now, by the user's current line."""
    global _last_change, _entries
    _last_change = index = next_index()
    _entries += 1
    _enter(arrays, Change(index, user_site()))


def _enter(arrays: Iterable[Any], change: Change) -> None:
    for array in arrays:
        owner = array if array.base is None else owner_of(array)
        key = id(owner)
        known = _mutations.get(key)
        reference = known[0] if known is not None and known[0]() is owner else _watch(owner, key)
        _mutations[key] = (reference, change)
        if _handed_out:
            _handed_out.pop(key, None)


class Mutations:
    """The changes that one optimiser makes to the same arrays again and again, noted by one assignment a step.

    All its arrays share a `Change`. They are entered anew where somebody else changed an array, handed one out, or gave it
    to a Tensor, since their last step.
    """

    __slots__ = ("_arrays", "_at", "_change")

    def __init__(self) -> None:
        self._arrays: tuple[Any, ...] = ()
        self._at = -1
        self._change = Change(0, None)

    def __reduce__(self) -> Any:
        return Mutations, ()

    def over(self, arrays: tuple[Any, ...]) -> Mutations:
        """These changes, now of `arrays`."""
        if len(arrays) != len(self._arrays) or any(map(operator.is_not, arrays, self._arrays)):
            self._arrays, self._at = arrays, -1
        return self

    def note(self) -> None:
        """Note that the arrays are changed now, by the user's current line."""
        global _last_change
        if self._at != _entries:
            self._change = Change(0, None)  # others may still hold the old one
            _enter(self._arrays, self._change)
            self._at = _entries
        _last_change = self._change.index = next_index()
        self._change.site = user_site()


def _watch(owner: Any, key: int) -> weakref.ref[Any]:
    def forget(reference: weakref.ref[Any]) -> None:
        for table in (_mutations, _handed_out):
            entry = table.get(key)
            if entry is not None and entry[0] is reference:
                del table[key]

    return weakref.ref(owner, forget)


def hand_out(array: Any) -> None:
    """Note that the user got hold of an array that others hold too (a tape, perhaps), so may write to it unseen.

    Its checksum is what tells later whether that happened. Arrays that only one Tensor holds never come here.
    """
    global _last_change, _entries
    owner = owner_of(array)
    if not isinstance(owner, numpy.ndarray) or owner.dtype.hasobject:
        return
    checksum = _checksum(owner)
    known = _handed_out.get(id(owner))
    if known is not None and known[0]() is owner:
        if known[3] == checksum:
            return
        log_mutation([owner])
    _entries += 1
    _last_change = index = next_index()
    _handed_out[id(owner)] = (_watch(owner, id(owner)), index, user_site(), checksum)


def _checksum(array: Any) -> int:
    return zlib.crc32(numpy.ascontiguousarray(array).data.cast("B")) if array.size else 0


def _check_unchanged(node: Node, saved: tuple[Any, ...]) -> None:
    """Raise if a value that `node` saved was changed in place after it was saved."""
    for value in itertools.chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in saved):
        if not hasattr(value, "base"):
            continue
        owner = owner_of(value)
        entry = _mutations.get(id(owner))
        if entry is not None and entry[0]() is owner and entry[1].index > node.index:
            raise _changed(node, value, f"was changed in place at {format_site(entry[1].site)}")
        handed = _handed_out.get(id(owner))
        if handed is not None and handed[0]() is owner and handed[1] > node.index and _checksum(owner) != handed[3]:
            raise _changed(node, value, f"was written to through the raw array taken at {format_site(handed[2])}")


def _changed(node: Node, value: Any, what: str) -> GradientError:
    return GradientError(
        f"backward of {node.op.name}: {value.dtype}{list(value.shape)}, which it had saved, {what}\n"
        f"  {node.op.name} ran at {format_site(node.site)}\n"
        f"  change a copy instead (x = x + 1 makes a new tensor), or change it after backward()"
    )
