"""Devices: which array library holds an array, and how arrays move between them.

NumPy on ``"cpu"``, CuPy on ``"cuda"`` and ``"cuda:N"``. This is the only file that imports CuPy, and it does so only when
a GPU is asked for or a CuPy array comes in.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy
from numpy.typing import DTypeLike

from . import half
from .aligned import aligned_copy
from .errors import DeviceError, DTypeError, GpugradError, OutOfMemoryError, describe, format_site, user_site

__all__ = [
    "as_array",
    "as_result",
    "as_weak",
    "beside",
    "check_reports",
    "checking_linalg",
    "common_namespace",
    "copied",
    "cuda_failure",
    "cuda_is_available",
    "current_device",
    "default_dtype",
    "device_count",
    "device_of",
    "enter_device_of",
    "float32_matmul_precision",
    "forget_cupy",
    "from_dlpack",
    "made_beside",
    "namespace_of",
    "on_device",
    "on_device_of",
    "on_host",
    "resolve_device",
    "set_default_dtype",
    "set_float32_matmul_precision",
    "to_device",
    "translated",
]

_INSTALL = "install CuPy with `pip install gpugrad[cuda13]` (or `gpugrad[cuda12]` for a CUDA 12 driver)"

libraries: list[ModuleType] = []
"""CuPy, once one of its arrays was seen here; empty before, so that programs on the CPU pay nothing for it."""

detours: list[Any] = []
"""Why an op's forward must be looked up: `libraries`, and the watchers that are on in some thread. Mostly empty."""

other_arrays: tuple[type, ...] = ()
"""Classes of arrays that are not NumPy's: CuPy's, once one was seen, and those that `gpugrad.fuse` traces functions with."""

many_devices = False
"""Whether there are several GPUs, so that the current one of CuPy must be looked after."""

reports: dict[ModuleType, Callable[[], None]] = {}
"""What raises errors that kernels found while nobody waited, by the library; empty until there are such kernels."""

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
    """Dtype of tensors made from Python floats and lists, and of parameters (`torch.get_default_dtype`).

    >>> import gpugrad as gg
    >>> gg.default_dtype()
    dtype('float32')
    """
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
    new = half.dtype_from(dtype)
    if new.kind != "f":
        what = "takes bfloat16 only where it is asked for" if half.is_bfloat16(new) else "is not a floating-point dtype"
        raise DTypeError(f"set_default_dtype: got {new}, which {what}; use float32 or float64")
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


# --- CuPy, and what can be wrong with it --------------------------------------------------------------------------


def _cupy() -> ModuleType:
    """CuPy, with a working GPU behind it, or an error that says what to do."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise DeviceError(f"device 'cuda' was asked for, but CuPy is not installed: {_INSTALL}{_here()}") from error
        raise DeviceError(f"device 'cuda' was asked for, but {cuda_failure(error)}{_here()}") from error
    if not cupy.is_available():
        raise DeviceError(f"device 'cuda' was asked for and CuPy is installed, but {_why_not(cupy)}{_here()}")
    _note(cupy)
    return cupy


def _why_not(cupy: ModuleType) -> str:
    """Why CuPy has no GPU to work with, and what to do."""
    try:
        versions = cupy.cuda.runtime.driverGetVersion, cupy.cuda.runtime.runtimeGetVersion
        driver, runtime = (int(version()) for version in versions)
    except Exception:
        driver, runtime = 0, 0
    if driver and driver // 1000 < runtime // 1000:
        return (
            f"the NVIDIA driver is for CUDA {_version(driver)} and CuPy for CUDA {_version(runtime)}: update the driver, or "
            f"install CuPy for CUDA {driver // 1000} with `pip install gpugrad[cuda{driver // 1000}]`"
        )
    if driver:
        return "it finds no NVIDIA GPU: check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES, or use device='cpu'"
    return "it finds no NVIDIA GPU or driver: check `nvidia-smi`, or use device='cpu'"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def cuda_failure(error: BaseException) -> str:
    """What an exception of CuPy or CUDA that is nobody's bug means, and what to do about it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
    after = next((i + 1 for i, line in enumerate(lines[:-1]) if line.startswith("Original error")), 0)
    text = lines[after] if lines else type(error).__name__
    if isinstance(error, ImportError) or "NotFoundError" in type(error).__name__:
        return (
            f"a CUDA library is missing or of another version: {text}\n"
            f"  {_INSTALL}, and uninstall other CuPy packages; `python -m gpugrad info` tells what is found"
        )
    if "InsufficientDriver" in text:
        return (
            f"the NVIDIA driver is missing or too old for CuPy: {text}\n  check `nvidia-smi`; `python -m gpugrad info` tells more"
        )
    return (
        f"CUDA failed: {type(error).__name__}: {text}\n"
        "  the GPU reports errors late: with the environment variable CUDA_LAUNCH_BLOCKING=1 the line is the right one"
    )


def is_cuda_failure(error: BaseException) -> bool:
    """Whether an exception comes from CuPy or the CUDA libraries under it, not from what it was called with."""
    module = type(error).__module__.partition(".")[0]
    return bool(libraries) and (isinstance(error, ImportError) or module in ("cupy", "cupy_backends", "cuda"))


def _note(library: ModuleType) -> None:
    global many_devices, other_arrays
    if library not in libraries:
        libraries.append(library)
        other_arrays = (library.ndarray, *other_arrays)
        detours.append(library)
        many_devices = int(library.cuda.runtime.getDeviceCount()) > 1


def forget_cupy() -> None:
    """As if no CuPy array had been seen: for tests that put something in its place."""
    global many_devices, other_arrays
    detours[:] = [detour for detour in detours if detour not in libraries]
    other_arrays = tuple(cls for cls in other_arrays if cls not in [library.ndarray for library in libraries])
    libraries.clear()
    reports.clear()
    many_devices = False


def check_reports() -> None:
    """Raise what kernels found wrong while nobody waited: called where the GPU has been waited for, or could be."""
    for check in reports.values():
        check()


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

    `None` is the CPU; ``"cuda"`` is the current GPU, the first one unless CuPy was told otherwise; ``"auto"`` is that where
    there is one. There is no silent fallback for ``"cuda"``.

    Raises
    ------
    DeviceError
        If the name is unknown, or names a device that is not there.
    """
    if device is None or device == "cpu":
        return "cpu"
    if device == "auto":
        return resolve_device("cuda") if cuda_is_available() else "cpu"
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise DeviceError(f"unknown device {device!r}: use 'cpu', 'cuda', 'cuda:N' or 'auto'{_here()}")
    runtime = _cupy().cuda.runtime
    if not number:
        return f"cuda:{int(runtime.getDevice())}"
    count = int(runtime.getDeviceCount())
    if int(number) >= count:
        names = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError(f"device {device!r} was asked for, but this machine has {count} CUDA device(s): {names}{_here()}")
    return f"cuda:{int(number)}"


# --- which library, which device ----------------------------------------------------------------------------------


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


def common_namespace(arrays: Sequence[Any], mask: int = 0, kept: Iterable[int] = ()) -> ModuleType:
    """The array library of the operands of one op; Python and NumPy numbers, and 0-d NumPy arrays, go with any.

    In a list of operands, 0-d arrays of the CPU that meet some of a GPU are replaced by their numbers, which CuPy takes, but
    for those to be `kept`. They may be none of those that need a gradient (the bits of `mask`): it would be on the GPU.

    Raises
    ------
    DeviceError
        If arrays of several devices meet.
    """
    cupy = libraries[0]
    devices = {device_of(a) for a in arrays if isinstance(a, cupy.ndarray) or (isinstance(a, numpy.ndarray) and a.ndim)}
    if len(devices) > 1:
        raise DeviceError(f"operands are on {' and '.join(sorted(devices))}: move one with .to(device), .cpu() or .cuda()")
    if devices <= {"cpu"}:
        return numpy
    for i, array in enumerate(arrays if isinstance(arrays, list) else ()):
        if isinstance(array, numpy.ndarray) and i not in kept:
            if mask >> i & 1:
                raise DeviceError(
                    f"operands are on cpu and {devices.pop()}, and that on cpu requires a gradient: move it with .to()"
                )
            arrays[i] = array[()]  # type: ignore[index]
    return cupy


def first_on_gpu(values: Sequence[Any]) -> Any:
    """The first raw array of a GPU among arrays, Tensors and other things; None if there is none."""
    arrays = (getattr(value, "_array", value) for value in (values if libraries else ()))
    return next((array for array in arrays if _is_cupy(array)), None)


def guarded(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that runs with the GPU of its arrays as the current one; itself where there is only one."""
    return functools.partial(_run_beside, forward) if many_devices else forward


def _run_beside(forward: Callable[..., Any], *arrays: Any, **params: Any) -> Any:
    with on_device_of(first_on_gpu(arrays)):
        return forward(*arrays, **params)


def shape_of(value: Any) -> tuple[int, ...]:
    """Lengths of the axes; none for a number."""
    return value.shape if hasattr(value, "shape") else numpy.shape(value)


def dtype_of(value: Any) -> Any:
    """Dtype of an array, and what NumPy would make of a number."""
    return value.dtype if hasattr(value, "dtype") else numpy.result_type(value)


_NOTHING: AbstractContextManager[Any] = nullcontext()


def on_device_of(array: Any) -> AbstractContextManager[Any]:
    """The block in which CuPy makes arrays beside this one. Matters only with several GPUs: CuPy has a current one."""
    return array.device if many_devices and _is_cupy(array) else _NOTHING


def made_beside(like: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What the function of a name, such as ``"zeros"``, of the library of `like` makes on the device of `like`."""
    with on_device_of(like):
        return getattr(namespace_of(like), name)(*args, **kwargs)


def copied(array: Any) -> Any:
    """A copy on the same device: CuPy's own would be on the current one."""
    try:
        with on_device_of(array):
            return array.copy()
    except MemoryError as error:
        raise OutOfMemoryError(f"copy of {describe(array)}: {out_of_memory([array], error)}{_here()}") from error


def on_device(device: str) -> tuple[ModuleType, AbstractContextManager[Any]]:
    """The array library of a resolved device, and the block in which it makes arrays there."""
    if device == "cpu":
        return numpy, _NOTHING
    cupy = _cupy()
    return cupy, cupy.cuda.Device(int(device[5:]))


def enter_device_of(value: Any) -> None:
    """Make the GPU of a raw array, or of several results' cotangents, the current one, for good."""
    for array in getattr(value, "items", (value,)):
        if _is_cupy(array):
            array.device.use()


def current_device() -> Any:
    """CuPy's current GPU; its method `use` makes it that again."""
    return libraries[0].cuda.Device()


def real_only(x: Any) -> Any:
    """A raw argument that may not be complex, for forwards that would take one and mean something else."""
    if getattr(x, "dtype", numpy.dtype(float)).kind == "c" or isinstance(x, complex):
        raise TypeError("it is defined for real numbers only; take gpugrad.real(x) or gpugrad.abs(x) where that is meant")
    return x


def as_result(value: Any) -> Any:
    """What a forward returned as an array: NumPy's scalars become 0-d arrays."""
    return value if isinstance(value, other_arrays) else numpy.asarray(value)


def to_device(array: Any, device: str | None) -> Any:
    """A raw array on `device`: itself where it already is there, else a copy."""
    target = resolve_device(device)
    if device_of(array) == target:
        return array
    if target == "cpu":
        return sys.modules["cupy"].asnumpy(array)
    cupy, there = on_device(target)
    with there:
        try:
            return cupy.asarray(array)
        except MemoryError as error:
            full = out_of_memory([], error)
            raise OutOfMemoryError(f"to_device: {full}\n  for a copy of {describe(array)} to {target}{_here()}") from error


def beside(array: Any, like: Any) -> Any:
    """An index or a mask, as a raw array on the device of `like`."""
    array = array if hasattr(array, "dtype") else numpy.asarray(array)
    return to_device(array, device_of(like)) if libraries else array


def checking_linalg(xp: ModuleType) -> AbstractContextManager[Any]:
    """The block in which a matrix that is singular or not positive definite is an error; CuPy would return what it got."""
    if xp is numpy:
        return _NOTHING
    checking: AbstractContextManager[Any] = importlib.import_module("cupyx").errstate(linalg="raise")
    return checking


def on_host(value: Any) -> Any:
    """Counts, places and other numbers that decide what is done, as a NumPy array or as they are."""
    return to_device(value, "cpu") if libraries and hasattr(value, "dtype") else value


def translated(error: Exception, values: Sequence[Any]) -> Exception:
    """An exception of CuPy, CUDA or an allocation as one of ours; any other as it is."""
    if isinstance(error, GpugradError):
        return error
    if isinstance(error, MemoryError):
        return out_of_memory(values, error)
    return DeviceError(cuda_failure(error)) if is_cuda_failure(error) else error


def out_of_memory(values: Sequence[Any], error: BaseException) -> OutOfMemoryError:
    """The error for a device that has no memory left: what it was asked for, has given, and can be done.

    The device is that of the values; where they are on none, the current one, if it is CuPy's error.
    """
    like = first_on_gpu(values)
    if like is None and not (libraries and type(error).__name__ == "OutOfMemoryError"):
        return OutOfMemoryError(str(error) or "out of memory")
    text = str(error).partition("(")[0].strip().rstrip(".") or "Out of memory"
    try:
        cupy = libraries[0]
        device = cupy.cuda.Device() if like is None else like.device
        with device:
            pool = cupy.get_default_memory_pool()
            used, held, limit = pool.used_bytes(), pool.total_bytes(), pool.get_limit()
            free, total = cupy.cuda.runtime.memGetInfo()
    except Exception:  # the figures are a help: the first error is what matters
        return OutOfMemoryError(text)
    return OutOfMemoryError(
        f"{text} on cuda:{device.id}: arrays use {used:,} bytes, CuPy's pool holds {held:,}"
        + (f" of at most {limit:,}" if limit else "")
        + f", and {free:,} of the device's {total:,} are free\n"
        "  use a smaller batch, gg.no_grad() where no gradient is needed, or gg.checkpoint; let go of tensors;\n"
        "  cupy.get_default_memory_pool().free_all_blocks() gives back what the pool holds unused"
    )


def from_dlpack(value: Any) -> Any:
    """A CuPy array that shares the memory of another library's array on a GPU."""
    return _cupy().from_dlpack(value)


def is_typed(value: Any) -> bool:
    """Whether a value has a dtype of its own: an array, a scalar of NumPy's, or a list that begins with one."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return (
        isinstance(value, numpy.ndarray | numpy.generic) or hasattr(value, "__array_interface__") or hasattr(value, "__dlpack__")
    )


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
    if not isinstance(value, numpy.ndarray) and hasattr(value, "__cuda_array_interface__"):
        return _as_cuda_array(value, dtype, device, copy)
    dtype = None if dtype is None else half.dtype_from(dtype)
    copy = copy and (device is None or device == "cpu")  # to a GPU it is a copy anyway
    try:
        if copy and value.__class__ is numpy.ndarray:
            array = aligned_copy(value, dtype)
        else:
            array = numpy.array(value, dtype=dtype, copy=True if copy else None, subok=False)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"cannot make an array of {type(value).__name__}: {error}") from error
    if array.dtype.kind == "O" and hasattr(value, "__dlpack_device__"):  # of a library that has no other way in
        return _as_cuda_array(from_dlpack(value), dtype, device, copy)
    if array.dtype.kind not in "biufc" and not half.is_bfloat16(half.dtype_from(array.dtype)):
        raise DTypeError(f"cannot make a tensor of dtype {array.dtype}: values must be numbers, all rows of one length")
    if dtype is None and array.dtype.kind in "fc" and not is_typed(value):
        array = array.astype(_default_dtype if array.dtype.kind == "f" else numpy.result_type(_default_dtype, numpy.complex64))
    return array if device is None else to_device(array, device)


def _as_cuda_array(value: Any, dtype: DTypeLike | None, device: str | None, copy: bool) -> Any:
    """`as_array` for CuPy's arrays and, without a copy, those of other libraries on a GPU."""
    array = value if _is_cupy(value) else _cupy().asarray(value)
    dtype = half.dtype_from(array.dtype if dtype is None else dtype)
    with on_device_of(array):
        array = array.astype(dtype, copy=copy)
    return array if device is None else to_device(array, device)


def as_weak(value: Any, others: Sequence[Any], arithmetic: bool) -> Any:
    """A list or number as an array of the dtype that the typed ones have among `others`; of its own, if those are none.

    It is on the device of those.

    Only floating numbers change so, and in arithmetic integers that meet floating ones.
    """
    where = first_on_gpu(others)
    dtypes = [d for d in (getattr(other, "dtype", None) for other in others) if isinstance(d, numpy.dtype)]
    floating = [dtype for dtype in dtypes if half.is_inexact(dtype)]
    array = as_array(value)
    takes = half.is_inexact(array.dtype) or (arithmetic and bool(floating))
    gives = bool(floating) or (arithmetic and bool(dtypes))
    if is_typed(value) or not (takes and gives):
        return beside(array, where)
    dtype = half.promoted(floating) if floating else numpy.result_type(array.dtype, *dtypes)
    dtype = numpy.result_type(dtype, numpy.complex64) if array.dtype.kind == "c" else dtype
    return beside(as_array(value, dtype), where)
