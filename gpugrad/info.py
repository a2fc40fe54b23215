"""What gpugrad finds on this machine, and what is missing and how to install it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from . import backend
from .errors import DeviceError

__all__ = ["report"]

_OPTIONAL = {"safetensors": "gpugrad[train]", "tqdm": "gpugrad[train]"}


def report() -> str:
    """Versions, devices, CUDA libraries and the kernel cache, as lines of text.

    Examples
    --------
    >>> from gpugrad.info import report
    >>> print(report().splitlines()[1].split()[0])
    python
    """
    lines = [("gpugrad", _version("gpugrad")), ("python", f"{platform.python_version()} on {platform.platform()}")]
    lines += [("numpy", numpy.__version__)]
    lines += [(name, _version(name) or f"missing: pip install {extra}") for name, extra in _OPTIONAL.items()]
    lines += list(_cuda())
    return "\n".join(f"{name:<12} {text}" for name, text in lines)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "" if name != "gpugrad" else "not installed, run from its folder"


def _cuda() -> Iterator[tuple[str, str]]:
    try:
        cupy, _ = backend.on_device(backend.resolve_device("cuda"))
    except DeviceError as error:
        if "cupy" in sys.modules:
            yield "cupy", _asked(lambda: sys.modules["cupy"].__version__)
        what = str(error).split("\n  at ")[0].partition("was asked for")[2]
        yield "cuda", "none: " + what.lstrip(", ").removeprefix("but ").removeprefix("and ")
        if "cupy" in sys.modules:  # the rest of the installation
            yield from _compiler(sys.modules["cupy"])
        return
    runtime = cupy.cuda.runtime
    yield "cupy", cupy.__version__
    yield "driver", "for CUDA " + _asked(lambda: _cuda_version(runtime.driverGetVersion()))
    yield "runtime", "CUDA " + _asked(lambda: _cuda_version(runtime.runtimeGetVersion()))
    yield from _compiler(cupy)
    for number in range(int(runtime.getDeviceCount())):
        yield f"cuda:{number}", _asked(lambda number=number: _device(cupy, number))


def _compiler(cupy: Any) -> Iterator[tuple[str, str]]:
    yield "compiler", _asked(lambda: "NVRTC " + ".".join(map(str, cupy.cuda.nvrtc.getVersion())))
    yield "cublasLt", _asked(_cublaslt)
    yield "cache", _asked(_cache)


def _asked(question: Any) -> str:
    """The answer, or what went wrong: a report must not fail at what it is there to report."""
    try:
        return str(question())
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return f"missing ({reason}): reinstall gpugrad[cuda13] or gpugrad[cuda12], as the driver is"


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _cublaslt() -> str:
    from .cuda import gemm

    return "found" if gemm.is_available() else "missing: matrix products go to CuPy's matmul"


def _cache() -> str:
    folder = Path(os.environ.get("CUPY_CACHE_DIR", Path.home() / ".cupy" / "kernel_cache"))
    files = [entry for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
    return f"{folder}, {len(files)} kernels, {sum(entry.stat().st_size for entry in files) / 2**20:.1f} MiB"


def _device(cupy: Any, number: int) -> str:
    properties = cupy.cuda.runtime.getDeviceProperties(number)
    name = properties["name"].decode() if isinstance(properties["name"], bytes) else properties["name"]
    with cupy.cuda.Device(number):
        free, total = cupy.cuda.runtime.memGetInfo()
    capability = f"{properties['major']}.{properties['minor']}"
    return f"{name}, compute capability {capability}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"
