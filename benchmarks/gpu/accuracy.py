"""Every kernel against float64: its error in units of the last place, next to CuPy's formulas and PyTorch's functions.

The exact results are those of the op's composition on the CPU in float64, or a formula's. A unit is the distance of
neighbouring numbers in the kernel's dtype at the exact result; where a sum may cancel, at a thousandth of the largest
result or more, since no order of summation is exact near zero.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import Case, cases
from .parts import Row, Settings, attempt, reason

__all__ = ["rows", "table", "ulps"]

FORMATS = {"float16": (10, -24), "bfloat16": (7, -133), "float32": (23, -149), "float64": (52, -1074)}
"""Bits behind the point, and the exponent of the least number, of each dtype."""

WRONG = 64
"""Units of rounding, over the norm of the whole result, beyond which a result is wrong and not merely rounded."""


@dataclass
class Library:
    """What a case is run with, on the GPU."""

    launch: Any
    cupy: Any
    torch: Any
    torch_device: str = "cuda"
    compiles: bool = False
    """Whether torch.compile is to be compared with, where that is."""


def rows(settings: Settings) -> Iterator[Row]:
    """A row for each kernel and dtype."""
    library = open_library(settings)
    for case in settings.each(cases(settings.small)):
        yield attempt(case.name, functools.partial(_measure, case, library)) | {"dtype": case.dtype}


def open_library(settings: Settings) -> Library:
    """CuPy, a launcher for the GPU, and PyTorch where it is installed with CUDA."""
    import cupy

    from gpugrad.cuda.launcher import Launcher

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    torch = None
    if "torch" in settings.peers and importlib.util.find_spec("torch") is not None:
        import torch

        torch = torch if torch.cuda.is_available() else None
    launch = Launcher(cupy, processors=int(properties["multiProcessorCount"]))
    return Library(launch, cupy, torch, compiles="torch-compile" in settings.peers)


def table(rows: list[Row]) -> list[dict[str, str]]:
    """Worst and mean error of each kernel."""
    return [
        {
            "kernel": row["name"],
            "dtype": row["dtype"],
            "error, ulp: worst (mean)": _cell(row.get("kernel")),
            "CuPy's": _cell(row.get("cupy")),
            "PyTorch's": _cell(row.get("torch")),
            "fault": row.get("fault", ""),
        }
        for row in rows
    ]


def _cell(errors: Any) -> str:
    return "" if errors is None else errors if isinstance(errors, str) else f"{errors['worst']:.3g} ({errors['mean']:.2g})"


def ulps(got: Any, exact: Any, dtype: str, cancels: bool = False) -> np.ndarray[Any, Any]:
    """The error of each element in units of the last place of its exact value."""
    bits, least = FORMATS[dtype]
    magnitude = np.abs(exact)
    if cancels:
        magnitude = np.maximum(magnitude, 2.0**-10 * magnitude.max(initial=0))
    exponents = np.where(magnitude > 0, np.maximum(np.frexp(magnitude)[1] - 1 - bits, least), least)
    return np.abs(got - exact) / np.ldexp(1.0, exponents)


def _measure(case: Case, library: Library) -> Row:
    exact = case.exact(*(a.astype(np.float64) if a.dtype.kind not in "iu" else a for a in case.inputs))
    arrays = [library.cupy.asarray(a) for a in case.inputs]
    got = [_float64(out) for out in case.kernel(library.launch, *arrays)]
    found: Row = {"kernel": _errors(got, exact, case), "elements": sum(out.size for out in got)}
    fault = _fault(got, exact, case)
    if case.cupy is not None:
        found["cupy"] = _other(case, exact, lambda: case.cupy(library.cupy, *arrays))
    if case.torch is not None and library.torch is not None:
        found["torch"] = _other(case, exact, lambda: case.torch(library.torch, *_tensors(library, case)))
    return found | ({"fault": fault} if fault else {})


def _other(case: Case, exact: list[Any], call: Callable[[], list[Any]]) -> Any:
    """Another library's errors; what it cannot do is said in its cell."""
    try:
        return _errors([_float64(out) for out in call()], exact, case)
    except Exception as error:
        return f"failed ({reason(error)[:60]})"


def _tensors(library: Library, case: Case) -> list[Any]:
    torch = library.torch
    kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
    return [
        torch.tensor(a if a.dtype.kind == "i" else a.astype(np.float64), device=library.torch_device).to(
            torch.int64 if a.dtype.kind == "i" else kinds[a.dtype.name]
        )
        for a in case.inputs
    ]


def _float64(out: Any) -> Any:
    if hasattr(out, "detach"):
        return out.detach().double().cpu().numpy()
    return np.asarray(out.get() if hasattr(out, "get") else out).astype(np.float64)


def _errors(got: list[Any], exact: list[Any], case: Case) -> dict[str, float]:
    every = [ulps(a, e, case.dtype, case.cancels).ravel() for a, e in zip(got, exact, strict=True)]
    joined = np.concatenate(every)
    return {"worst": float(joined.max(initial=0)), "mean": float(joined.mean()) if joined.size else 0.0}


def _fault(got: list[Any], exact: list[Any], case: Case) -> str:
    unit = 2.0 ** -(FORMATS[case.dtype][0] + 1)
    for number, (a, e) in enumerate(zip(got, exact, strict=True)):
        if a.shape != e.shape:
            return f"result {number} has shape {a.shape}, should have {e.shape}"
        error = float(np.linalg.norm(a - e) / max(np.linalg.norm(e), np.finfo(np.float64).tiny)) / unit
        if not error <= WRONG:
            return f"result {number} is off by {error:.1e} units of rounding, over its norm"
    return ""
