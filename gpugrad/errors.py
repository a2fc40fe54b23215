"""Exceptions, and the one place where an error message is put together.

A message says which op failed, what it got (shapes, dtypes, devices), what it would have taken, and the user's
line. Every exception here also derives from the built-in type a NumPy or PyTorch user would catch.
"""

from __future__ import annotations

import linecache
import opcode
import os
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any

import numpy

__all__ = [
    "AnomalyError",
    "BoundsError",
    "CheckpointError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "DistributedError",
    "FusionError",
    "GpugradError",
    "GradientError",
    "LinearAlgebraError",
    "OutOfMemoryError",
    "ShapeError",
    "describe",
    "format_site",
    "user_site",
]

Site = tuple[CodeType, int]
"""A place in the user's program: a code object and an instruction offset. Cheap to take; the line is worked out later."""

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep

_STORES = {opcode.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in opcode.opmap}
_MOVES = {opcode.opmap.get("CACHE", 0), opcode.opmap["SWAP"]}
_NUMPY = os.path.dirname(os.path.abspath(numpy.__file__)) + os.sep


class GpugradError(Exception):
    """Base of all exceptions that gpugrad raises on purpose."""

    reason: str | None = None
    """What went wrong alone, where a public function has told it with what it was given."""
    of_earlier = False
    """Whether it tells of an earlier call than the one that raised it, and of that one's line."""


class ShapeError(GpugradError, ValueError):
    """Shapes that an op cannot take."""


class DTypeError(GpugradError, TypeError):
    """A dtype or a type that an op cannot take or cannot differentiate."""


class BoundsError(GpugradError, IndexError):
    """An index or an axis that is not there."""


class DeviceError(GpugradError, RuntimeError):
    """A device that is missing, or operands on different devices."""


class OutOfMemoryError(GpugradError, MemoryError):
    """A device that has no memory left for what it was asked for."""


class GradientError(GpugradError, RuntimeError):
    """A gradient that was asked for and cannot be had."""


class FusionError(GpugradError, ValueError):
    """A function that `gpugrad.fuse` cannot make one elementwise kernel of."""


class AnomalyError(GpugradError, FloatingPointError):
    """A nan or an infinity that `gpugrad.detect_anomaly` found."""


class LinearAlgebraError(GpugradError, numpy.linalg.LinAlgError):
    """A matrix that is singular, not positive definite, or otherwise not what an algorithm needs."""


class DataError(GpugradError, ValueError):
    """A data file or a data set that is damaged or not what it should be."""


class CheckpointError(GpugradError, ValueError):
    """A checkpoint that is damaged or does not fit the model."""


class DistributedError(GpugradError, RuntimeError):
    """Processes of a job that do not do the same, or one that is gone."""


def user_frame(depth: int = 1) -> FrameType:
    """First frame, from `depth` callers up, whose code lies outside this package and NumPy, which may have called it."""
    frame = sys._getframe(depth)
    while frame.f_code.co_filename.startswith((PACKAGE, _NUMPY)) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def is_storing(depth: int) -> bool:
    """Whether the frame `depth` callers up is at ``a[i] = value``; what C code calls meanwhile has no frame of its own."""
    frame = sys._getframe(depth)
    return frame.f_code.co_code[frame.f_lasti] in _STORES


def is_storing_back(depth: int) -> bool:
    """Whether the frame `depth` callers up is at ``a[i] += value``, of which the result is stored where it came from."""
    frame = sys._getframe(depth)
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] in _MOVES:
        at += 2
    return at < len(code) and code[at] in _STORES


def user_site() -> Site:
    """Where the user's program is now."""
    frame = user_frame(2)
    return frame.f_code, frame.f_lasti


def format_site(site: Site | None) -> str:
    """`file:line, in function: text of the line`, as far as it can be had."""
    if site is None:
        return "an unknown line"
    code, offset = site
    line = next((n for start, end, n in code.co_lines() if start <= offset < end and n is not None), code.co_firstlineno)
    text = linecache.getline(code.co_filename, line).strip()
    return f"{code.co_filename}:{line}, in {code.co_name}" + (f": {text}" if text else "")


def short_site(site: Site | None) -> str:
    """`format_site` without the folder: for tables and pictures."""
    return format_site(site) if site is None else format_site(site).removeprefix(os.path.dirname(site[0].co_filename) + os.sep)


def describe(value: Any) -> str:
    """A value as an error shows it: `float32[3, 4] on cpu`, `int 3`, `None`."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return "None" if value is None else f"{type(value).__name__} {str(value)[:40]}"
    device = getattr(value, "device", "cpu")
    requires_grad = ", requires_grad" if getattr(value, "requires_grad", False) else ""
    where = f"cuda:{device.id}" if hasattr(device, "id") else device
    return f"{dtype}[{', '.join(map(str, shape))}] on {where}{requires_grad}"


def op_error(
    name: str, names: Sequence[str], inputs: Sequence[Any], params: dict[str, Any] | None, cause: Exception
) -> GpugradError:
    """The exception for an op whose forward failed: built on the failure path only, so it may take its time."""
    got = [f"    {label} = {describe(value)}" for label, value in zip(names, inputs, strict=False)]
    got += [f"    {label} = {value!r}"[:120] for label, value in (params or {}).items()]
    devices = {str(value.device) for value in inputs if hasattr(value, "_array")}
    kind: type[GpugradError] = BoundsError if isinstance(cause, IndexError) else ShapeError
    if isinstance(cause, numpy.linalg.LinAlgError):
        kind = LinearAlgebraError
    if isinstance(cause, TypeError | AttributeError):
        kind = DTypeError
    if isinstance(cause, GpugradError):
        kind = type(cause)
    hint = ""
    if "Implicit conversion to a NumPy array" in str(cause):
        kind, hint = (
            DeviceError,
            "\n  an array on a GPU meets one on the CPU: move one with .to(device), .cpu() or .cuda()",
        )
    if len(devices) > 1 and not isinstance(cause, GpugradError):
        kind, hint = DeviceError, f"\n  the operands are on {' and '.join(sorted(devices))}: move one with .to(device)"
    return kind(
        f"{name}: {str(cause) or type(cause).__name__}\n  got\n" + "\n".join(got) + hint + f"\n  at {format_site(user_site())}"
    )
