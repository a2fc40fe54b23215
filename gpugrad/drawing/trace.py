"""What a drawing shows, got from a tape as it is, or from a function that is run once, forward and backward."""

from __future__ import annotations

import inspect
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from .. import backend
from ..errors import GradientError, describe, format_site, user_site
from ..interpret import raw_for
from ..modes import Record, mode_with
from ..mutations import next_index
from ..nn.module import Module
from ..parts import has_parts
from ..tape import Node, ancestors, conjugate, leaf, walk
from ..tensor import Tensor, wrap
from ..tree import flatten
from .fold import folded
from .graph import Known, Names, gates_of, known_to_tape, note_inputs
from .picture import Drawing

__all__ = ["draw_function", "draw_tensor"]


def draw_tensor(tensor: Tensor, names: Names, surroundings: Sequence[Mapping[str, Any]], limit: int) -> Drawing:
    """What the tape of a tensor still knows."""
    if tensor._node is None:
        raise _no_tape(tensor)
    for namespace in surroundings:
        names.collect(namespace)
    known = known_to_tape([tensor._node])
    known.values[tensor._node] = tensor._array
    gates, note = folded(gates_of([tensor._node], known, names), limit)
    return Drawing(gates, names.by_node.get(tensor._node) or "a tensor", note)


def _no_tape(value: Any) -> GradientError:
    return GradientError(
        f"draw: {describe(value)} was computed from nothing that requires a gradient, so there is no tape to draw\n"
        f"  make an input with requires_grad=True, or draw a function at floats: gg.draw(f, 2.0)\n"
        f"  at {format_site(user_site())}"
    )


# --- a function, run once -----------------------------------------------------------------------------------------


class _Run(list[Any]):
    """Stands where a mode records: keeps, for each op that runs, its inputs and the module that it runs in.

    A node and the record of the op that made it are brought together by the counter that numbers nodes: the record takes a
    number just before the node does.
    """

    def __init__(self, root: Any) -> None:
        self.paths = _paths_of(root) if isinstance(root, Module) else {}
        self.stamps: list[int] = []

    def append(self, record: Record) -> None:
        super().append((record, self._module()))
        self.stamps.append(next_index())

    def of(self, node: Node) -> tuple[Record, str] | None:
        """The record of the op that made a node, and the module's name."""
        i = bisect_right(self.stamps, node.index) - 1
        return self[i] if i >= 0 and self[i][0].op is node.op else None

    def _module(self) -> str:
        """The name of the innermost module whose forward is running, by way of the outermost."""
        frame, innermost, outermost = sys._getframe(2), None, None
        while frame is not None:
            if frame.f_code.co_name == "forward" and isinstance(frame.f_locals.get("self"), Module):
                outermost = frame.f_locals["self"]
                innermost = outermost if innermost is None else innermost
            frame = frame.f_back  # type: ignore[assignment]
        if innermost is None:
            return ""
        if id(outermost) not in self.paths:
            self.paths |= _paths_of(outermost)
        return self.paths.get(id(innermost), type(innermost).__name__)


def _paths_of(module: Module) -> dict[int, str]:
    return {id(child): path.removesuffix(".") for path, child in module._named_modules("", set())}


class _KeepingRules:
    """The interpreter for raw arrays; keeps every cotangent that comes by, and on request the local gradients."""

    raw = False  # so that the walk calls `pull`

    def __init__(self, F: Any, known: Known, local: bool) -> None:
        self.F, self.known, self.local = F, known, local

    def __getattr__(self, name: str) -> Any:
        return getattr(self.F, name)

    def pull(self, node: Node, pullback: Any, t: Any, saved: tuple[Any, ...]) -> tuple[Any, ...]:
        """The cotangents of a node's inputs."""
        F = self.F.beside(t) if backend.libraries else self.F
        self.known.gradients[node] = t if has_parts(node) else conjugate(F, t)
        if self.local and node.op.kind not in ("pick", "function") and not has_parts(node):
            shapes = {parent.shape for parent in node.parents if parent is not None} | {node.shape}
            if shapes == {()} or (node.op.kind == "elementwise" and len(shapes) == 1):
                self.known.locals[node] = pullback.call(F, F.exp(F.zeros_of(t)), saved)
        return F.pull(node, pullback, t, saved)


def draw_function(
    function: Callable[..., Any],
    args: Sequence[Any],
    names: Names,
    surroundings: Sequence[Mapping[str, Any]],
    local: bool,
    limit: int,
) -> Drawing:
    """All that a function computes at some arguments, and all gradients."""
    leaves, rebuild = flatten(list(args))
    made = [_leaf(value) for value in leaves]
    given = rebuild(made)
    for name, value in zip(_parameter_names(function, len(args)), given, strict=True):
        _name_argument(names, name, value)
    names.collect_function(function)
    for namespace in surroundings:
        names.collect(namespace)
    run = _Run(function)
    with mode_with(grad=True, records=run, apart=True):
        result = function(*given)
    outputs = [out for out in flatten(result)[0] if isinstance(out, Tensor) and out._node is not None]
    if not outputs:
        raise _no_tape(result)
    known = Known({}, {}, {}, {}, {})
    roots = list(dict.fromkeys(out._node for out in outputs))
    for node in ancestors(roots):
        found = run.of(node) if node.op is not None and node.op.kind not in ("function", "pick") else None
        if found is not None:
            record, known.modules[node] = found
            known.inputs[node] = record.inputs
            known.values[node] = record.out
            note_inputs(node, record.inputs, known)
    known.values.update({out._node: out._array for out in outputs} | {a._node: a._array for a in made if isinstance(a, Tensor)})
    F = raw_for(outputs[0]._array)
    with mode_with(grad=False, records=None), backend.on_device_of(outputs[0]._array):
        ones = [(out._node, backend.made_beside(out._array, "ones", out.shape, out.dtype)) for out in outputs]
        found_gradients = walk(_KeepingRules(F, known, local), ones, retain=True).conjugated(F)
    known.gradients.update(found_gradients.by_node)
    gates, note = folded(gates_of(roots, known, names), limit)
    return Drawing(gates, getattr(function, "__name__", type(function).__name__), note)


def _leaf(value: Any) -> Any:
    """A floating argument as a leaf of its own; others as they are."""
    if isinstance(value, float | complex):
        array = numpy.asarray(value)
    elif isinstance(value, Tensor):
        array = value._array
    elif hasattr(value, "dtype"):
        array = backend.as_array(value)
    else:
        return value
    tensor = wrap(array)
    if array.dtype.kind in "fc":
        tensor._node = leaf(array)
    return tensor


def _name_argument(names: Names, name: str, value: Any) -> None:
    """Call an argument as the function does; parts of a nested one by place: ``params[0]``."""
    parts = flatten(value)[0]
    for i, part in enumerate(parts):
        if isinstance(part, Tensor):
            called = name if part is value else f"{name}[{i}]"
            names.collect({called: part})
            names.by_array[id(part._array)] = called


def _parameter_names(function: Callable[..., Any], count: int) -> list[str]:
    """What a function calls its positional arguments."""
    try:
        parameters = inspect.signature(function.forward if isinstance(function, Module) else function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have none
        parameters = ()  # type: ignore[assignment]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "x")
    return [named[i] if i < len(named) else f"{star}{i - len(named)}" for i in range(count)]
