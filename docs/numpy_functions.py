"""Write docs/numpy_functions.md: what answers each function of NumPy on a Tensor. Run `python docs/numpy_functions.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

import gpugrad
from gpugrad.numpy_rules import functions, is_dispatched, rule_for, ufunc_rules

TARGET = Path(__file__).parent / "numpy_functions.md"
HEAD = """# NumPy's functions on Tensors

Written by `python docs/numpy_functions.py` from the table in `gpugrad/numpy_rules.py`. When a function of NumPy is called on
a Tensor, NumPy hands the call to us; this says what happens then, for every public function of `numpy`, `numpy.linalg` and
`numpy.fft`. All take NumPy's arguments. An option that means something and that we lack (`out=` into an array where a gradient
would be lost, `where=` of a ufunc) is refused by its name.

- **A name of ours**: the call is that op or composition, recorded, differentiable as [the table of ops](ops.md) says.
- **counts**: computed on the raw array, on its device; a Tensor without a gradient: an index, a count, bits.
- **asks**: a question about shape, dtype or memory, or text: NumPy answers it with a plain value.
- **in place**: it changes its first argument, a Tensor or an array, where no gradient is asked of any argument; else refused.
- **refused**: TypeError that names the function, and what to do instead.

The methods of ufuncs: `reduce` and `accumulate` of `add`, `multiply`, `maximum`, `minimum` and `logaddexp`, `reduce` of
`logical_and` and `logical_or`, and `outer` of all; `at` and `reduceat` are refused.

"""
LAST = """
## Not asked

These functions do not ask their arguments how they wish to be treated. Those that make an array of what they get
(`array`, `asarray`, `full`...) raise GradientError for a Tensor that requires a gradient, as `numpy.asarray(t)` does: see the
README. The others have to do with no array. `gpugrad.numpy` has the useful ones, for Tensors.

"""


def answer(function: Any) -> str:
    """What the table says of one function."""
    if isinstance(function, numpy.ufunc):
        ours = ufunc_rules()[function]
        return f"refused: {hint(function.__name__)}" if ours is None else f"`{ours.__name__}`"
    rule = rule_for(function)
    if rule.kind == "op":
        return f"`{rule.target}`"
    known = {"about": "asks", "counting": f"counts: {rule.target}", "in place": "in place"}
    return known.get(rule.kind) or f"refused: {rule.target or hint('')}"


def hint(name: str) -> str:
    """What to do where nothing of ours answers a function."""
    from gpugrad.numpy_rules import HINTS

    return HINTS.get(name, "use `x.numpy()` where no gradient is wanted")


def rows() -> Iterator[str]:
    """One row for each function that NumPy hands to us."""
    for name, function in functions():
        if is_dispatched(function):
            yield f"| `{name}` | {answer(function)} |"


def text() -> str:
    """The whole file."""
    others = ", ".join(f"`{name}`" for name, function in functions() if not is_dispatched(function))
    return HEAD + "| numpy | gpugrad |\n|---|---|\n" + "\n".join(rows()) + "\n" + LAST + others + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET} with NumPy {numpy.__version__}, gpugrad {gpugrad.__version__}")
