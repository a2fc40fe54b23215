"""Write docs/ops.md: what every op can do, found out by calling it. Run `python docs/tables.py` after changing an op."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

import gpugrad
from gpugrad import fft, linalg, nn
from gpugrad.errors import GpugradError
from gpugrad.op import Op, registry
from gpugrad.testing import iterate_samples

TARGET = Path(__file__).parent / "ops.md"
FLOATING = ("float16", "float32", "float64", "complex64", "complex128")
COUNTING = ("bool", "int64")
HEAD = """# Ops

Written by `python docs/tables.py` from the registry: each op was called on each dtype. Derivatives are those of both modes,
reverse (`grad`, `vjp`, `backward`) and forward (`jvp`), and of any order, since every rule is itself made of ops; the tests
compare both modes and the second order with finite differences. Each op runs on NumPy arrays on the CPU and on CuPy arrays
on a GPU through the same record. The last column says what a user of NumPy, PyTorch or SciPy knows it as.

"""


def cast(value: Any, dtype: str, kinds: str) -> Any:
    """Arrays of a sample, of some kinds, in another dtype."""
    if isinstance(value, list | tuple):
        return type(value)(cast(part, dtype, kinds) for part in value)
    if isinstance(value, numpy.ndarray) and value.dtype.kind in kinds:
        return value.real.astype(dtype)
    return value


def takes(op: Op, dtype: str, differentiated: bool) -> bool:
    """Whether some sample runs in a dtype, and gives a gradient of that dtype where that is the question."""
    for sample, positions in iterate_samples(op):
        has_floats = any(isinstance(part, numpy.ndarray) and part.dtype.kind in "fc" for part in flat(sample.args))
        args = [cast(value, dtype, "fc" if has_floats else "biu") for value in sample.args]
        if not any(isinstance(part, numpy.ndarray) and part.dtype == dtype for part in flat(args)):
            continue
        if differentiated and not positions:
            continue
        try:
            args = [on_tape(value, dtype) if differentiated else value for value in args]
            result = op.public(*args, **sample.kwargs)
            results = [part for part in (result if op.returns is not None else [result]) if part.requires_grad]
            if not differentiated or results:
                for part in results:
                    part.backward(numpy.ones(part.shape, part.dtype), retain_graph=True)
                return True
        except (GpugradError, TypeError, ValueError):
            continue
    return False


def flat(values: Any) -> Iterator[Any]:
    """All arguments, those in lists too."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


def on_tape(value: Any, dtype: str) -> Any:
    """The arrays of a dtype as Tensors that require gradients."""
    if isinstance(value, list | tuple):
        return type(value)(on_tape(part, dtype) for part in value)
    if isinstance(value, numpy.ndarray) and value.dtype == dtype:
        return gpugrad.asarray(value).requires_grad_()
    return value


def summary(doc: str) -> tuple[str, str]:
    """The first line of a docstring, and the equivalents that it names."""
    line = re.sub(r"\s+", " ", doc.split("\n\n")[0].split(">>>")[0]).strip()
    known = re.findall(r"`((?:numpy|torch|scipy|jax)\.[\w.]+)`", line)
    line = re.sub(r"\s*\((?:of )?`(?:numpy|torch|scipy|jax)\.[^)]*\)", "", line).replace("``", "`").replace("|", "\\|")
    return line, ", ".join(f"`{name}`" for name in known)


def names(dtypes: list[str]) -> str:
    """A list of dtypes, shorter where it is all of a kind."""
    text = ", ".join(dtypes)
    text = text.replace("float16, float32, float64", "floats").replace("complex64, complex128", "complex")
    return text.replace("float32, float64", "float32/64") or "-"


def op_rows() -> Iterator[str]:
    """One row for each op."""
    for name, op in sorted(registry.items()):
        what, known = summary(op.doc)
        if op.kind == "update":
            yield f"| `{name}` | {what} | in place | | {known} |"
            continue
        smooth = [dtype for dtype in FLOATING if takes(op, dtype, True)] if op.rules or op.reference or op.variadic else []
        other = [dtype for dtype in (*FLOATING, *COUNTING) if dtype not in smooth and takes(op, dtype, False)]
        yield f"| `{name}` | {what} | {names(smooth)} | {names(other)} | {known} |"


def composed() -> Iterator[tuple[str, Any]]:
    """Public functions that are compositions of ops."""
    for prefix, module in (("", gpugrad), ("linalg.", linalg), ("fft.", fft), ("nn.functional.", nn.functional)):
        for name, value in sorted(vars(module).items()):
            home = getattr(value, "__module__", "") or ""
            ours = home.startswith(("gpugrad.ops.", "gpugrad.linalg", "gpugrad.fft"))
            if inspect.isfunction(value) and ours and not name.startswith("_") and name not in registry:
                yield prefix + name, value


def composition_rows() -> Iterator[str]:
    """One row for each composition, under its first name."""
    seen: set[Any] = set()
    for name, function in composed():
        if function not in seen:
            seen.add(function)
            what, known = summary(inspect.getdoc(function) or "")
            yield f"| `{name}` | {what} | {known} |"


def text() -> str:
    """The whole file."""
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        ops = "\n".join(op_rows())
    return (
        HEAD
        + "| op | what it computes | derivatives in | values only in | known as |\n|---|---|---|---|---|\n"
        + ops
        + "\n\n## Compositions\n\n"
        + "Functions made of the ops above; their derivatives, dtypes and devices are those of their parts.\n\n"
        + "| function | what it computes | known as |\n|---|---|---|\n"
        + "\n".join(composition_rows())
        + "\n"
    )


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
