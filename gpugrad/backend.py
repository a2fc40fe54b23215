"""Devices: which array library holds an array, and how arrays move between them.

NumPy on ``"cpu"``, CuPy on ``"cuda"`` and ``"cuda:N"``. This is the only file that imports CuPy, and it does so only when
a GPU is asked for or a CuPy array comes in.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy
from numpy.typing import DTypeLike

from .errors import DeviceError, DTypeError, format_site, user_site

__all__ = [
    "as_array",
    "as_result",
    "common_namespace",
    "cuda_is_available",
    "default_dtype",
    "device_count",
    "device_of",
    "float32_matmul_precision",
    "from_dlpack",
    "namespace_of",
    "resolve_device",
    "set_default_dtype",
    "set_float32_matmul_precision",
    "to_device",
]

_INSTALL = "install CuPy with `pip install gpugrad[cuda13]` (or `gpugrad[cuda12]` for a CUDA 12 driver)"

libraries: list[ModuleType] = []
"""CuPy, once one of its arrays was seen here; empty before, so that programs on the CPU pay nothing for it."""

detours: list[Any] = []
"""Why an op's forward must be looked up: `libraries`, and the watchers that are on in some thread. Mostly empty."""

_default_dtype: numpy.dtype[Any] = numpy.dtype(numpy.float32)


def _keep_freed_memory() -> None:
    """Have the C library keep up to 64 MiB that arrays freed, so that the next step need not fault it in again.

    A training step frees as much as it allocates. glibc hands freed memory at the end of its heap back to the system above
    a threshold, which it raises to twice the size of the largest block, of up to 32 MiB, that was ever mapped and freed.
    So one such block is mapped and freed here, untouched. Where MALLOC_TRIM_THRESHOLD_ is set, glibc follows that instead.
    """
    numpy.empty((32 << 20) - (64 << 10), numpy.uint8)


_keep_freed_memory()


def default_dtype() -> numpy.dtype[Any]:
    """Dtype of tensors made from Python floats and lists, and of parameters."""
    return _default_dtype


def set_default_dtype(dtype: DTypeLike) -> None:
    """Set the dtype that Python floats, lists and new parameters get (float32 at the start).

    Parameters
    ----------
    dtype : dtype-like
        A floating-point dtype. Arrays always keep their own dtype.

    Raises
    ------
    DTypeError
        If `dtype` is not a floating-point dtype.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.set_default_dtype("float64")
    >>> gg.tensor([1.0, 2.0]).dtype
    dtype('float64')
    >>> gg.set_default_dtype("float32")
    """
    global _default_dtype
    new = numpy.dtype(dtype)
    if new.kind != "f":
        raise DTypeError(f"set_default_dtype: got {new}, which is not a floating-point dtype; use float32 or float64")
    _default_dtype = new


_matmul_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how float32 matrix products are computed on a GPU (`torch.set_float32_matmul_precision`).

    Parameters
    ----------
    precision : {"highest", "high"}
        ``"highest"``, the default: full float32. ``"high"``: TF32 on tensor cores, several times as fast, with operands
        rounded to 10 bits of mantissa (a relative error near 1e-3) and sums in float32. The CPU always computes in full.

    Raises
    ------
    ValueError
        For any other word.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.set_float32_matmul_precision("high")
    >>> gg.float32_matmul_precision()
    'high'
    >>> gg.set_float32_matmul_precision("highest")
    """
    global _matmul_precision
    if precision not in ("highest", "high"):
        raise ValueError(f"set_float32_matmul_precision: got {precision!r}; use 'highest' (float32) or 'high' (TF32)")
    _matmul_precision = precision


def float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` chose.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.float32_matmul_precision()
    'highest'
    """
    return _matmul_precision


def _here() -> str:
    return f"\n  at {format_site(user_site())}"


def _cupy() -> ModuleType:
    """CuPy, with a working GPU behind it, or an error that says what to do."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"device 'cuda' was asked for, but CuPy is not installed: {_INSTALL}{_here()}") from error
    if not cupy.is_available():
        raise DeviceError(
            "device 'cuda' was asked for and CuPy is installed, but it finds no NVIDIA GPU or driver: "
            f"check `nvidia-smi`, or use device='cpu'{_here()}"
        )
    _note(cupy)
    return cupy


def _note(library: ModuleType) -> None:
    if library not in libraries:
        libraries.append(library)
        detours.append(library)


def device_count() -> int:
    """Number of CUDA devices; 0 without CuPy, a driver or a GPU. Never raises.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.device_count() >= 0
    True
    """
    try:
        return int(_cupy().cuda.runtime.getDeviceCount())
    except Exception:
        return 0


def cuda_is_available() -> bool:
    """Whether ``device="cuda"`` will work here.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.cuda_is_available() == (gg.device_count() > 0)
    True
    """
    return device_count() > 0


def resolve_device(device: str | None) -> str:
    """The full name of a device: ``"cpu"`` or ``"cuda:N"``.

    `None` is the CPU; ``"auto"`` is a GPU when there is one. There is no silent fallback for ``"cuda"``.

    Raises
    ------
    DeviceError
        If the name is unknown, or names a device that is not there.
    """
    if device is None or device == "cpu":
        return "cpu"
    if device == "auto":
        return "cuda:0" if cuda_is_available() else "cpu"
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or not (number == "" or number.isdecimal()):
        raise DeviceError(f"unknown device {device!r}: use 'cpu', 'cuda', 'cuda:N' or 'auto'{_here()}")
    count = int(_cupy().cuda.runtime.getDeviceCount())
    if int(number or 0) >= count:
        raise DeviceError(f"device {device!r} was asked for, but this machine has {count} CUDA device(s){_here()}")
    return f"cuda:{int(number or 0)}"


def _is_cupy(array: Any) -> bool:
    cupy = sys.modules.get("cupy")
    if cupy is None or not isinstance(array, cupy.ndarray):
        return False
    _note(cupy)
    return True


def device_of(array: Any) -> str:
    """The device that holds a raw array; scalars and everything else count as the CPU's."""
    return f"cuda:{array.device.id}" if _is_cupy(array) else "cpu"


def namespace_of(array: Any) -> ModuleType:
    """The array library of a raw array: `numpy` or `cupy`."""
    return sys.modules["cupy"] if _is_cupy(array) else numpy


def common_namespace(arrays: Sequence[Any]) -> ModuleType:
    """The array library of the operands of one op; Python and NumPy numbers, and 0-d NumPy arrays, go with any.

    Raises
    ------
    DeviceError
        If arrays of several devices meet.
    """
    cupy = libraries[0]
    devices = {device_of(a) for a in arrays if isinstance(a, cupy.ndarray) or (isinstance(a, numpy.ndarray) and a.ndim)}
    if len(devices) > 1:
        raise DeviceError(f"operands are on {' and '.join(sorted(devices))}: move one with .to(device), .cpu() or .cuda()")
    return numpy if devices <= {"cpu"} else cupy


def real_only(x: Any) -> Any:
    """A raw argument that may not be complex, for forwards that would take one and mean something else."""
    if getattr(x, "dtype", numpy.dtype(float)).kind == "c" or isinstance(x, complex):
        raise TypeError("it is defined for real numbers only; take gpugrad.real(x) or gpugrad.abs(x) where that is meant")
    return x


def as_result(value: Any) -> Any:
    """What a forward returned as an array: NumPy's scalars become 0-d arrays."""
    return value if libraries and isinstance(value, libraries[0].ndarray) else numpy.asarray(value)


def to_device(array: Any, device: str | None) -> Any:
    """A raw array on `device`: itself where it already is there, else a copy."""
    target = resolve_device(device)
    if device_of(array) == target:
        return array
    if target == "cpu":
        return sys.modules["cupy"].asnumpy(array)
    cupy = _cupy()
    with cupy.cuda.Device(int(target[5:])):
        return cupy.asarray(array)


def from_dlpack(value: Any) -> Any:
    """A CuPy array that shares the memory of another library's array on a GPU."""
    return _cupy().from_dlpack(value)


def as_array(value: Any, dtype: DTypeLike | None = None, device: str | None = None, copy: bool = False) -> Any:
    """A raw array from an array, a scalar or a nested list.

    Arrays keep their dtype and device unless told otherwise; Python numbers and lists of floats get the default dtype.

    Raises
    ------
    DTypeError
        If the value is ragged, masked, or not numeric.
    """
    if isinstance(value, numpy.ma.MaskedArray):
        raise DTypeError("masked arrays are not supported: use .filled(value) and a mask of your own")
    if _is_cupy(value):
        array = value.astype(dtype, copy=copy) if dtype is not None else (value.copy() if copy else value)
        return array if device is None else to_device(array, device)
    typed = (
        isinstance(value, numpy.ndarray | numpy.generic) or hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__")
    )
    try:
        array = numpy.array(value, dtype=dtype, copy=True if copy else None, subok=False)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"cannot make an array of {type(value).__name__}: {error}") from error
    if array.dtype.kind not in "biufc":
        raise DTypeError(f"cannot make a tensor of dtype {array.dtype}: values must be numbers, all rows of one length")
    if not typed and dtype is None and array.dtype.kind in "fc":
        array = array.astype(_default_dtype if array.dtype.kind == "f" else numpy.result_type(_default_dtype, numpy.complex64))
    return array if device is None else to_device(array, device)
