"""What `Module.summary` prints."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ..creation import zeros
from ..modes import no_grad
from ..ops.random import default_generator
from ..tensor import Tensor
from ..tree import flatten
from .module import Buffer, Module, Parameter

__all__ = ["summary"]


def summary(module: Module, inputs: tuple[Any, ...]) -> str:
    """A table with a row for each module inside."""
    outputs = _outputs(module, inputs) if inputs else {}
    rows = [("module", "type", *(("output",) if inputs else ()), "parameters", "bytes", *(("output bytes",) if inputs else ()))]
    counted: set[int] = set()
    for path, inside in module.named_modules():
        own = [v for v in vars(inside).values() if isinstance(v, Parameter | Buffer) and id(v) not in counted]
        counted.update(map(id, own))
        count = sum(v.size for v in own if isinstance(v, Parameter))
        row = [path or ".", type(inside).__name__, f"{count:,}", f"{sum(v.nbytes for v in own):,}"]
        if inputs:
            shapes, nbytes = outputs.get(id(inside), ("-", 0))
            row.insert(2, shapes)
            row.append(f"{nbytes:,}")
        rows.append(tuple(row))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = 3 if inputs else 2
    lines = [
        "  ".join(cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*(line.rstrip() for line in lines), "", *_totals(module, outputs)])


def _totals(module: Module, outputs: dict[int, tuple[str, int]]) -> list[str]:
    parameters, buffers = list(module.parameters()), list(module.buffers())
    trained = sum(p.size for p in parameters if p.requires_grad)
    lines = [
        f"parameters: {sum(p.size for p in parameters):,} ({trained:,} trained), {sum(p.nbytes for p in parameters):,} bytes"
    ]
    if buffers:
        lines.append(f"buffers: {sum(b.size for b in buffers):,}, {sum(b.nbytes for b in buffers):,} bytes")
    if outputs:
        leaves = {id(m) for m in module.modules() if not any(True for _ in m.children())}
        total = sum(nbytes for key, (_, nbytes) in outputs.items() if key in leaves)
        lines.append(f"outputs of modules without others inside: {total:,} bytes")
    return lines


def _outputs(module: Module, inputs: tuple[Any, ...]) -> dict[int, tuple[str, int]]:
    """Shapes and bytes of what each module returns, of all its calls in one run."""
    found: dict[int, tuple[str, int]] = {}

    def note(inside: Module, args: Any, output: Any) -> None:
        tensors = [leaf for leaf in flatten(output)[0] if isinstance(leaf, Tensor)]
        shapes = ", ".join(str(t.shape) for t in tensors) or "-"
        before = found.get(id(inside), ("", 0))[1]
        found[id(inside)] = shapes, before + sum(t.nbytes for t in tensors)

    like = next(module.parameters(), None)
    given = [_sample(value, like) for value in inputs]
    modes = {inside: inside.training for inside in module.modules()}
    generator = default_generator().bit_generator
    state = generator.state
    with ExitStack() as stack:
        for inside in modes:
            stack.enter_context(inside.register_forward_hook(note))
        stack.enter_context(no_grad())
        try:
            module.eval()
            module(*given)
        finally:
            generator.state = state
            for inside, mode in modes.items():
                inside.training = mode
    return found


def _sample(value: Any, like: Tensor | None) -> Any:
    """Zeros of a shape, where and of which dtype the parameters are; arrays as they are."""
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        return zeros(value) if like is None else zeros(value, like.dtype, like.device)
    return value
