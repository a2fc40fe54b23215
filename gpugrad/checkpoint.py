"""Checkpointing: compute a part of a program again in the backward instead of keeping what it saved."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy

from .aligned import fills_its_base
from .amp import autocast
from .dispatch import NO_PARAMS, tensor_of
from .errors import GradientError, format_site, user_site
from .modes import current_mode, mode_with
from .mutations import next_index
from .ops.random import default_generator
from .parts import Parts, pick
from .tape import Node, walk
from .tensor import Tensor
from .tree import flatten

__all__ = ["checkpoint"]


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, keeping its arguments alone, and computed again when the backward needs more.

    A chain of parts that are each checkpointed takes the memory of one part, and one more forward. Random numbers drawn
    from the default generator, and autocast, are the same the second time (`torch.utils.checkpoint`,
    `jax.checkpoint`).

    Parameters
    ----------
    function : callable
        Returns a Tensor or a nested tuple, list or dict. Must compute the same each time; what it does besides is done
        twice. Tensors that it uses without being given them, such as parameters of a module, get their gradients too.
    *args, **kwargs
        Anything; Tensors may be nested in tuples, lists and dicts.

    Raises
    ------
    GradientError
        In the backward, if the second run gives other shapes than the first, or a tensor was changed in between.

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0, 2.0], requires_grad=True)
    >>> gg.checkpoint(lambda x: gg.exp(gg.sin(x)), x).sum().backward()
    >>> x.grad
    tensor([ 1.2534, -1.0331])
    """
    if not current_mode().grad:
        return function(*args, **kwargs)
    part = _Part(function, (args, kwargs))
    values, rebuild = flatten(part.run())
    outs = [v for v in values if isinstance(v, Tensor) and v._node is not None]
    if not outs:
        return rebuild(values)
    nodes = [out._node for out in outs]
    part.inputs = _older(nodes, part.floor)
    watched = _watched(nodes, part.floor)
    results = {id(out): tensor_of(out._array) for out in outs}
    node = Node()
    node.index, node.op, node.params, node.parents = next_index(), _CheckpointOp(function), NO_PARAMS, part.inputs
    node.shape, node.dtype, node.site = outs[0].shape, outs[0].dtype, part.site
    if len(outs) > 1:
        node.shape, node.dtype = tuple(out.shape for out in outs), tuple(out.dtype for out in outs)
    for i, out in enumerate(outs):
        results[id(out)]._node = pick(node, i) if len(outs) > 1 else node
    final = rebuild([results.get(id(value), value) for value in values])
    own = {id(out._array) for out in outs}
    del nodes, outs, out, values, rebuild  # what the first run saved goes; arrays that others hold stay
    alive = ((ref(), shape) for ref, shape in watched)
    node.saved = tuple(_shaped(array, shape) for array, shape in alive if array is not None and id(array) not in own)
    node.pullback = part
    return final


class _CheckpointOp:
    """Stands in a node's `op`."""

    kind, jvp, has_aux, variadic, mutates = "function", None, False, True, None
    inputs: tuple[str, ...] = ()

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = f"checkpoint({getattr(function, '__name__', type(function).__name__)})"


class _Part:
    """A function and its arguments as they were, to run again; the pullback of its node."""

    inputs: Sequence[Node]
    batches = True  # its call takes a batch of cotangents

    def __init__(self, function: Callable[..., Any], arguments: Any) -> None:
        values, self.rebuild = flatten(arguments)
        self.values = [tensor_of(v._array, v._node) if isinstance(v, Tensor) else v for v in values]
        self.function, self.site = function, user_site()
        self.floor = next_index()
        self.autocast = current_mode().autocast
        self.state = copy.deepcopy(default_generator().bit_generator.state)

    def run(self) -> Any:
        """What the function returns, on the tape."""
        args, kwargs = self.rebuild([tensor_of(v._array, v._node) if isinstance(v, Tensor) else v for v in self.values])
        return self.function(*args, **kwargs)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The random state and the mode of the first run."""
        generator = default_generator().bit_generator
        now = copy.deepcopy(generator.state)
        with ExitStack() as stack:
            stack.enter_context(mode_with(grad=True, autocast=None))
            if self.autocast is not None:
                stack.enter_context(autocast(self.autocast))
            generator.state = self.state
            try:
                yield
            finally:
                generator.state = now

    def call(self, F: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cotangents of what went in, from another run."""
        with self.surroundings():
            values = flatten(self.run())[0]
        outs = [v for v in values if isinstance(v, Tensor) and v._node is not None]
        given = t.items if isinstance(t, Parts) else (t,)
        shapes = t.shape if isinstance(t, Parts) else (t.shape,)
        if [out.shape for out in outs] != list(shapes):
            raise GradientError(
                f"checkpoint: the function returned shapes {[out.shape for out in outs]} when run again, {list(shapes)} the "
                f"first time; it must compute the same each time\n  checkpoint was called at {format_site(self.site)}"
            )
        roots = [(out._node, g) for out, g in zip(outs, given, strict=True) if g is not None]
        found = walk(F, roots, set(self.inputs), retain=not F.raw, part=True)
        return tuple(found.owned(node) if node in found.by_node else None for node in self.inputs)

    def restore(self, node: Node, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """Nothing to connect: the arguments are kept with their nodes."""
        return saved


def _inside(roots: Sequence[Node], floor: int) -> tuple[list[Node], list[Node]]:
    """The nodes from which `roots` were made: those since `floor`, and the older ones that these start from."""
    seen: set[Node] = set()
    since, older = [], []
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.index < floor:
            older.append(node)
        else:
            since.append(node)
            stack.extend(parent for parent in node.parents if parent is not None)
    return since, older


def _older(roots: Sequence[Node], floor: int) -> list[Node]:
    return _inside(roots, floor)[1]


def _watched(roots: Sequence[Node], floor: int) -> list[tuple[weakref.ref[Any], tuple[int, ...] | None]]:
    """Arrays that the first run saved: those that outlive it came from outside, and must not change until the second.

    With each stands its shape, where it is not that of what owns its memory, see aligned.py: errors are to name it.
    """
    arrays: dict[int, tuple[weakref.ref[Any], tuple[int, ...] | None]] = {}
    for node in _inside(roots, floor)[0]:
        for value in node.saved or ():
            for array in value if isinstance(value, tuple) else (value,):
                if hasattr(array, "base") and hasattr(array, "dtype"):
                    owner = array if array.base is None else array.base
                    if hasattr(owner, "dtype") and not isinstance(owner, numpy.generic):  # a scalar never changes
                        aligned = owner.ndim == 1 and fills_its_base(array)
                        arrays[id(owner)] = weakref.ref(owner), array.shape if aligned else None
    return list(arrays.values())


def _shaped(owner: Any, shape: tuple[int, ...] | None) -> Any:
    return owner if shape is None else owner[: math.prod(shape)].reshape(shape)  # a view, so that changes of the owner are seen
