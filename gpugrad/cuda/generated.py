"""CUDA kernels that are written for a chain of elementwise operations: their text, and their launches.

`Program` collects statements in single assignment, of which a second one alike is the first; `Kernel` is the text of those
that some results need, around the loop of ``kernels/common.cuh``. What the statements say comes from ``ops/expressions.py``;
nothing here knows an operation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from .compiler import CTYPES, source
from .launcher import THREADS, Launcher, cover

__all__ = ["Kernel", "Layout", "Program", "Slot", "ctype_in", "layout_of", "storage_of", "typed"]

INTEGERS = {
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned",
    "uint64": "unsigned long long",
}

NUMBERS: dict[str, type[Any]] = {"float": numpy.float32, "double": numpy.float64}
"""What Python passes for a number of a C++ type; of integers, `INTEGERS` says it."""


def storage_of(dtype: Any) -> str | None:
    """C++'s name of what an array of a dtype holds; None for dtypes that kernels do not take."""
    return CTYPES.get(dtype.name) or INTEGERS.get(dtype.name)


def ctype_in(dtype: Any) -> str:
    """C++'s name of what arithmetic on a dtype is done in: float for the half types."""
    name = dtype.name
    return "float" if name in ("float16", "bfloat16") else CTYPES.get(name) or INTEGERS[name]


def typed(value: Any, ctype: str) -> Any:
    """A number as the argument of a kernel."""
    if ctype in NUMBERS:
        with numpy.errstate(over="ignore"):
            return NUMBERS[ctype](value)
    return numpy.dtype(next(name for name, found in INTEGERS.items() if found == ctype)).type(value)


# --- statements ---------------------------------------------------------------------------------------------------


class Program:
    """Statements ``const TYPE NAME = TEXT;``, in an order in which each follows those that it names."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._statements: dict[str, tuple[str, str, tuple[str, ...]]] = {}
        self.numbers: dict[str, tuple[str, Any]] = {}
        """The numbers that are passed to the kernel, by name: their types and values."""

    def let(self, ctype: str, text: str, operands: Sequence[str]) -> str:
        """The name of the result of an expression, which names its operands."""
        name = self._names.get((ctype, text))
        if name is None:
            name = self._names[ctype, text] = f"v{len(self._statements)}"
            self._statements[name] = ctype, text, tuple(operands)
        return name

    def number(self, value: Any, ctype: str) -> str:
        """A number: in the text if it is a simple one, else as an argument, lest another number be another kernel."""
        if ctype == "bool":
            return "true" if value else "false"
        if ctype not in NUMBERS:
            value = int(value)
            return (
                str(value)
                if 0 <= value < 1 << 31
                else f"static_cast<{ctype}>({value})"
                if abs(value) < 1 << 63
                else f"{value}ull"
            )
        value = float(value)
        if abs(value) <= 64 and (value * 4).is_integer():
            text = f"{value}f" if ctype == "float" else f"{value}"
            return text if math.copysign(1, value) > 0 else f"({text})"
        for name, known in self.numbers.items():
            if known[0] == ctype and repr(known[1]) == repr(value):
                return name
        name = f"c{len(self.numbers)}"
        self.numbers[name] = ctype, value
        return name

    def needed(self, results: Sequence[str]) -> tuple[list[str], set[str]]:
        """The statements that some names need, in order, and all names that occur in them."""
        seen, waiting = set(), list(results)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += self._statements[name][2] if name in self._statements else ()
        return [self._line(name) for name in self._statements if name in seen], seen

    def _line(self, name: str) -> str:
        ctype, text, _ = self._statements[name]
        return f"const {ctype} {name} = {text};"


# --- arrays -------------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How an array lies to the result: ``whole`` of its shape, ``repeated``, ``one`` element, or a ``number`` and no array."""

    kind: str
    inner: int = 0
    length: int = 0


def layout_of(shape: tuple[int, ...], over: tuple[int, ...]) -> Layout | None:
    """How an array of a shape is broadcast to another; None if along axes in its middle, so that it must be spread out."""
    if shape == over:
        return Layout("whole")
    if math.prod(shape) == 1:
        return Layout("one")
    own = (1,) * (len(over) - len(shape)) + shape
    axes = [i for i, (n, m) in enumerate(zip(own, over, strict=True)) if n == m and n != 1]
    first, last = axes[0], axes[-1]
    if own[first : last + 1] != over[first : last + 1]:
        return None
    return Layout("repeated", math.prod(over[last + 1 :]), math.prod(shape))


class Slot(NamedTuple):
    """An argument of a kernel: the name of its value in the statements, the dtype and the layout of its array."""

    name: str
    dtype: Any
    kind: str


# --- kernels ------------------------------------------------------------------------------------------------------


class Kernel:
    """One kernel: the statements that some results need.

    Parameters
    ----------
    name : str
    program : Program
    slots : sequence of Slot
        Arrays and numbers it may read; it takes those that are needed, of which one at least is ``whole``.
    results : sequence of (str, dtype)
        The names of what it writes, and the dtypes of the arrays.
    """

    def __init__(self, name: str, program: Program, slots: Sequence[Slot], results: Sequence[tuple[str, Any]]) -> None:
        lines, seen = program.needed([result for result, _ in results])
        self.name = name
        self.taken = [slot.name in seen for slot in slots]
        used = [slot for slot in slots if slot.name in seen]
        if not any(slot.kind == "whole" for slot in used):  # the loop goes along one
            at = next(i for i, slot in enumerate(slots) if slot.kind == "whole")
            self.taken[at] = True
            used = [slot for slot, taken in zip(slots, self.taken, strict=True) if taken]
        self.constants = [typed(value, ctype) for c, (ctype, value) in program.numbers.items() if c in seen]
        whole = [slot.name for slot in used if slot.kind == "whole"]
        outs = [(f"y{k}", result, dtype) for k, (result, dtype) in enumerate(results)]
        dtypes = [slot.dtype for slot in used if slot.kind == "whole"] + [dtype for _, dtype in results]
        widest = max(dtypes, key=lambda dtype: dtype.itemsize)
        self.lanes = 16 // widest.itemsize
        self.code = "\n".join(
            [
                source("generated"),
                '#line 1 "chain.cu"',
                f"__global__ void __launch_bounds__({THREADS}) {name}({', '.join(_parameters(used, outs, program, seen))}) {{",
                "    const index_t thread = blockIdx.x * static_cast<index_t>(blockDim.x) + threadIdx.x;",
                "    const index_t threads = gridDim.x * static_cast<index_t>(blockDim.x);",
                *[f"    const {ctype_in(s.dtype)} {s.name} = to_real(*{s.name}_at);" for s in used if s.kind == "one"],
                f"    const bool vectors = aligned({', '.join([f'{w}_at' for w in whole] + [y for y, _, _ in outs])});",
                f"    for_range<{storage_of(widest)}>(n, thread, threads, vectors, "
                f"[&](index_t i, {', '.join(f'auto {w}_all' for w in whole)}) {{",
                f"        constexpr int N = sizeof({whole[0]}_all) / sizeof({whole[0]}_all.at[0]);",
                *[
                    f"        const auto {s.name}_all = load_repeated<N>({s.name}_at, i, n, {s.name}_inner, {s.name}_length);"
                    for s in used
                    if s.kind == "repeated"
                ],
                *[f"        Values<{ctype_in(dtype)}, N> {y}_all;" for y, _, dtype in outs],
                "#pragma unroll",
                "        for (int k = 0; k < N; ++k) {",
                *[
                    f"            const {ctype_in(s.dtype)} {s.name} = {s.name}_all.at[k];"
                    for s in used
                    if s.kind in ("whole", "repeated")
                ],
                *[f"            {line}" for line in lines],
                *[f"            {y}_all.at[k] = {result};" for y, result, _ in outs],
                "        }",
                *[f"        store({y} + i, {y}_all);" for y, _, _ in outs],
                f"    }}, {', '.join(f'{w}_at' for w in whole)});",
                "}",
            ]
        )

    def __call__(self, launch: Launcher, inputs: Sequence[Any], layouts: Sequence[Layout], outs: Sequence[Any]) -> None:
        """Start it. The inputs are those of all slots: C-contiguous arrays, and NumPy numbers."""
        n = outs[0].size
        if n == 0:
            return
        given = [(a, layout) for a, layout, taken in zip(inputs, layouts, self.taken, strict=True) if taken]
        sizes = [numpy.int64(size) for _, layout in given if layout.kind == "repeated" for size in layout[1:]]
        function = launch.text(self.code, self.name)
        arguments = (*[a for a, _ in given], *outs, numpy.int64(n), *sizes, *self.constants)
        function(cover(launch, n, THREADS * self.lanes), (THREADS,), arguments)


def _parameters(used: Sequence[Slot], outs: Sequence[Any], program: Program, seen: set[str]) -> list[str]:
    """The parameters of a kernel: what it reads, what it writes, how many, where repeated arrays lie, and its numbers."""
    reads = [f"{ctype_in(s.dtype)} {s.name}" if s.kind == "number" else f"const {storage_of(s.dtype)}* {s.name}_at" for s in used]
    places = [f"index_t {s.name}_{what}" for s in used if s.kind == "repeated" for what in ("inner", "length")]
    numbers = [f"{ctype} {c}" for c, (ctype, _) in program.numbers.items() if c in seen]
    return [*reads, *[f"{storage_of(dtype)}* {y}" for y, _, dtype in outs], "index_t n", *places, *numbers]
