"""The kernels of `gpugrad.fuse` on arrays: one forward, one backward, generated from a trace of the function."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..errors import GpugradError
from .generated import Kernel, Layout, Slot, ctype_in, layout_of, typed

__all__ = ["forward", "rule"]


class _BrokenError(Exception):
    """A kernel that the compiler refused."""


def forward(launch_for: Callable[..., Any], xp: Any, *arrays: Any, function: Any) -> Any:
    """The result of a fused function, and its trace, for the backward."""
    trace = function.trace(arrays)
    inputs, layouts = _prepared(xp, arrays, trace.out.shape)
    out = xp.empty(trace.out.shape, trace.out.dtype)
    try:
        _run(launch_for(out, xp), trace, "generated_forward", inputs, layouts, [(trace.out, out)])
    except _BrokenError:
        return NotImplemented
    return out, trace


def rule(launch_for: Callable[..., Any], F: Any, node: Any, t: Any, saved: dict[str, Any]) -> Any:
    """A cotangent per input; those of inputs that were broadcast are summed by kernels of their own."""
    xp, arrays, trace = F.library, saved["arrays"], saved["aux"]
    if not hasattr(trace, "cotangents"):
        return NotImplemented
    try:
        found = trace.cotangents(tuple(parent is not None for parent in node.parents))
    except GpugradError:  # a rule with an operation that has no CUDA text
        return NotImplemented
    over = trace.out.shape
    if t.size > 1 and not any(t.strides):  # of a sum or a mean: one number
        t = t[(*(0,) * t.ndim, ...)]
    inputs, layouts = _prepared(xp, (*arrays, t), over)
    outs = [(g, None if g is None else xp.empty(over, g.dtype)) for g in found]
    try:
        _run(launch_for(t, xp), trace, "generated_backward", inputs, layouts, [pair for pair in outs if pair[0] is not None])
    except _BrokenError:
        return NotImplemented
    grads = [out for _, out in outs]
    return [g if g is None or g.shape == a.shape else F.sum_to(g, a.shape) for g, a in zip(grads, arrays, strict=True)]


def _prepared(xp: Any, arrays: Sequence[Any], over: tuple[int, ...]) -> tuple[list[Any], list[Layout]]:
    """Arrays as kernels take them, and how they lie to the result: one of them at least has its shape."""
    inputs, layouts = [], []
    for a in arrays:
        layout = layout_of(a.shape, over) if isinstance(a, xp.ndarray) else Layout("number")
        if layout is None:
            a, layout = xp.broadcast_to(a, over), Layout("whole")
        elif layout.kind == "number":
            a = typed(a, ctype_in(a.dtype))
        inputs.append(a if layout.kind == "number" or a.flags.c_contiguous else xp.ascontiguousarray(a))
        layouts.append(layout)
    if all(layout.kind != "whole" for layout in layouts):
        at = next(i for i, layout in enumerate(layouts) if layout.kind != "number")
        inputs[at], layouts[at] = xp.ascontiguousarray(xp.broadcast_to(inputs[at], over)), Layout("whole")
    return inputs, layouts


def _run(launch: Any, trace: Any, name: str, inputs: Sequence[Any], layouts: Sequence[Layout], outs: Sequence[Any]) -> None:
    """Launch the kernel of these results; made when first needed."""
    if not outs or not math.prod(trace.out.shape):
        return
    kinds = tuple([layout.kind for layout in layouts])
    key = (name, kinds, tuple([g.name for g, _ in outs]))
    with trace.lock:
        kernel = trace.kernels.get(key)
        if kernel is None:
            names = [x.name for x in trace.inputs] + ["t"]
            slots = [Slot(n, numpy.dtype(a.dtype), kind) for n, a, kind in zip(names, inputs, kinds, strict=False)]
            kernel = trace.kernels[key] = Kernel(name, trace.F.program, slots, [(g.name, out.dtype) for g, out in outs])
    if isinstance(kernel, _BrokenError):
        raise kernel
    try:
        kernel(launch, inputs, layouts, [out for _, out in outs])
    except Exception as error:
        if type(error).__name__ != "CompileException":
            raise
        what = f"{trace.name}: its CUDA kernel cannot be compiled, and it runs unfused: {str(error)[:500]}"
        warnings.warn(what, RuntimeWarning, stacklevel=2)
        trace.kernels[key] = _BrokenError()
        raise trace.kernels[key] from error
