"""A function traced on expressions: its program, its tape, and the kernels that come of both. For `gpugrad.fuse`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from .. import backend
from ..dispatch import tensor_of
from ..errors import FusionError, GpugradError, ShapeError, describe, format_site, user_site
from ..half import is_floating
from ..modes import mode_with
from ..op import Op, apply, composed
from ..tape import ancestors, leaf, walk
from .expressions import Expression, Expressions

__all__ = ["Trace"]


class Step(NamedTuple):
    """An op that ran in a trace. Operands are expressions, and numbers."""

    op: Op
    inputs: tuple[Any, ...]
    params: dict[str, Any]
    out: Expression


class _Tracer:
    """Sees each op run, as other watchers do, and has it written instead."""

    inlines = True
    """Whether functions that are fused run as what they are made of."""

    def __init__(self, F: Expressions) -> None:
        self.F, self.steps = F, list[Step]()

    def forward(self, op: Op, forward: Any, *arrays: Any, **params: Any) -> Any:
        if not any(isinstance(x, Expression) for x in arrays) and op.kind in ("elementwise", "linear", "multilinear"):
            return forward(*arrays, **params)
        if op.mutates is not None or op.returns is not None or not arrays:
            raise FusionError(f"{self.F.name} cannot be one kernel with it; call it outside")
        out = self.F.run(op, arrays, params)
        self.steps.append(Step(op, arrays, params, out))
        return out


def _shape_over(name: str, arrays: Sequence[Any]) -> tuple[int, ...]:
    try:
        return numpy.broadcast_shapes(*[a.shape for a in arrays])
    except ValueError:
        got = ", ".join(map(describe, arrays))
        raise ShapeError(f"{name}: shapes do not broadcast: {got}\n  at {format_site(user_site())}") from None


class Trace:
    """What a function does to arrays of some shapes and dtypes.

    Attributes
    ----------
    inputs, out : Expression
    steps : list of Step
        The ops that ran.
    kernels : dict
        Those that were made of it, kept here by whoever makes them.
    lock : RLock
        Held while statements are written or read.
    """

    def __init__(self, function: Any, arrays: Sequence[Any]) -> None:
        self.name = function.name
        self.F = Expressions(self.name)
        self.inputs = [self.F.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
        self.over = _shape_over(self.name, arrays)
        self.leaves = [leaf(x) if is_floating(x.dtype) else None for x in self.inputs]
        tracer = _Tracer(self.F)
        mode = {"grad": True, "records": None, "tracing": True, "watchers": (tracer,), "apart": False}
        backend.detours.append(tracer)
        try:
            with mode_with(**mode):
                tensors = [tensor_of(x, node) for x, node in zip(self.inputs, self.leaves, strict=True)]
                out = function.call(composed, tensors)
        except (TypeError, AttributeError) as error:
            if isinstance(error, GpugradError):
                raise
            raise FusionError(
                f"{self.name} cannot be traced: {type(error).__name__}: {error}\n  at {format_site(user_site())}"
            ) from error
        finally:
            backend.detours.remove(tracer)
        self._take(out)
        self.steps, self.kernels, self.lock = tracer.steps, dict[Any, Any](), threading.RLock()
        self._cotangents: dict[tuple[bool, ...], list[Expression | None]] = {}

    def _take(self, out: Any) -> None:
        array = getattr(out, "_array", None)
        if not isinstance(array, Expression):
            raise FusionError(
                f"{self.name} must return one array that is computed from its arguments, got {type(out).__name__}\n"
                f"  at {format_site(user_site())}"
            )
        if array.shape != self.over:
            raise FusionError(
                f"{self.name}: the result has shape {array.shape}, where its arguments broadcast to {self.over}: it does not use "
                f"all of them, or changes their shape\n  at {format_site(user_site())}"
            )
        if out._node is not None and any(n.op is None and n not in self.leaves for n in ancestors([out._node])):
            raise FusionError(
                f"{self.name} takes a tensor from outside that requires a gradient, which would get none; make it an argument\n"
                f"  at {format_site(user_site())}"
            )
        self.out, self.root = array, out._node

    @functools.cached_property
    def follows_elements(self) -> bool:
        """Whether a part of the arrays gives that part of the result."""
        return all(step.op.name not in ("broadcast_to", "sum_to") for step in self.steps)

    def run(self, tensors: Sequence[Any]) -> Any:
        """The same ops on Tensors, of other shapes too."""
        values = dict(zip(map(id, self.inputs), tensors, strict=True))
        for op, inputs, params, out in self.steps:
            operands = tuple(values[id(x)] if isinstance(x, Expression) else x for x in inputs)
            values[id(out)] = apply(op, operands, params)
        return values[id(self.out)]

    def cotangents(self, wanted: tuple[bool, ...]) -> list[Expression | None]:
        """Those of the inputs, as expressions of the inputs and of ``t``, the cotangent of the result.

        Each has a number for every element of the result, also that of an input that was broadcast.
        """
        with self.lock:
            if wanted not in self._cotangents:
                self._cotangents[wanted] = self._walked(wanted)
        return self._cotangents[wanted]

    def _walked(self, wanted: tuple[bool, ...]) -> list[Expression | None]:
        if self.root is None:
            return [None] * len(self.inputs)
        t = self.F.input("t", self.out.shape, self.out.dtype)
        ends = {node for node, yes in zip(self.leaves, wanted, strict=True) if yes and node is not None}
        with mode_with(grad=False, records=None, watchers=()):
            found = walk(self.F, [(self.root, t)], ends, retain=True, part=True).by_node
        return [found.get(node) if node in ends else None for node in self.leaves]
