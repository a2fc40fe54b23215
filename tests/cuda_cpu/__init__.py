"""Runs the project's CUDA kernels on the CPU, to test them where there is no GPU.

`RawModule` stands in for CuPy's: it builds the unmodified text of a .cu file with g++ against `cuda_cpu.h`, and a launch
checks the number and the types of its arguments, which CUDA does not. `empty` and `array` give NumPy arrays with guards on
both sides: a write past an end is found at the end of the launch, and a read gives nan.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.cuda import compiler

HERE = Path(__file__).parent
SCHEDULES = ("round-robin", "round-robin, reverse", "greedy", "greedy, reverse")
_FLAGS = (
    *("-std=c++17", "-O1", "-fPIC", "-U_FORTIFY_SOURCE", "-fno-exceptions", "-w", "-fsanitize=alignment,bounds"),
    *("-fvisibility=hidden", "-fno-gnu-unique"),  # or two libraries would share the statics of a template, shared memory too
)
_GUARD = 256
_schedule = [0]
_guarded: dict[int, tuple[weakref.ref[np.ndarray], int, int]] = {}
"""Memory that is still in use, and where in it the array lies."""


class KernelError(Exception):
    """What would hang, fault, or be a wrong number on a GPU."""


def missing() -> str | None:
    """Why kernels cannot be run here, if so."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    if compiler.include_folder() is None:
        return "CUDA's headers are not installed (pip install nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl)"
    return None


@contextlib.contextmanager
def schedule(name: str) -> Iterator[None]:
    """In which order threads run: one of `SCHEDULES`."""
    _schedule.append(SCHEDULES.index(name))
    try:
        yield
    finally:
        _schedule.pop()


# --- memory -------------------------------------------------------------------------------------------------------


def empty(shape: int | tuple[int, ...], dtype: Any = np.float32, *, offset: int = 0) -> np.ndarray:
    """An array of nan, or of -1, between guards; its first byte lies `offset` bytes after a multiple of 256."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 3 * _GUARD + offset, 0xFF, np.uint8)
    start = -memory.ctypes.data % _GUARD + _GUARD + offset
    key = id(memory)
    _guarded[key] = (weakref.ref(memory, lambda _: _guarded.pop(key)), start, start + size)
    return memory[start : start + size].view(dtype).reshape(shape)


def array(values: Any, dtype: Any = None, *, offset: int = 0) -> np.ndarray:
    """A guarded copy."""
    values = np.asarray(values, dtype)
    out = empty(values.shape, values.dtype, offset=offset)
    out[...] = values
    return out


asarray = array


def zeros(shape: int | tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    out = empty(shape, dtype)
    out[...] = 0
    return out


def _check_guards(kernel: str) -> None:
    for ref, start, end in list(_guarded.values()):
        memory = ref()
        if memory is None:
            continue
        for side, guard in (("before", memory[:start]), ("after", memory[end:])):
            if not (guard == 0xFF).all():
                guard[:] = 0xFF
                raise KernelError(f"{kernel} wrote {side} an array of {end - start} bytes")


# --- building -----------------------------------------------------------------------------------------------------


def _folder() -> Path:
    """Where builds are kept, for later runs too; the latest three hundred."""
    path = HERE.parent.parent / "build" / "cuda_cpu"
    path.mkdir(parents=True, exist_ok=True)
    for old in sorted(path.glob("*.so"), key=lambda file: file.stat().st_mtime)[:-300]:
        old.unlink(missing_ok=True)
    return path


def _program(code: str, kernels: Sequence[str]) -> str:
    code = re.sub(
        r"extern\s+__shared__\s+(\w+)\s+(\w+)\[\];",
        r"\1* const \2 = reinterpret_cast<\1*>(cuda_cpu::dynamic_memory);",
        code,
    )
    entries = ",\n    ".join(f'cuda_cpu::entry("{name}", &{name})' for name in kernels)
    return f'#include "cuda_cpu.h"\n#line 1 "kernel.cu"\n{code}\nCUDA_CPU_TABLE({entries})\n'


def build(code: str, kernels: Sequence[str]) -> Path:
    """The shared library of a file's kernels; built once for one text, headers and compiler."""
    program = _program(code, kernels)
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    seen = "\0".join((program, (HERE / "cuda_cpu.h").read_text(encoding="utf-8"), *_FLAGS, version))
    target = _folder() / f"{hashlib.sha256(seen.encode()).hexdigest()[:24]}.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        source, library = Path(work, "kernel.cpp"), Path(work, "kernel.so")
        source.write_text(program, encoding="utf-8")
        include = ["-isystem", str(compiler.include_folder()), "-I", str(HERE)]
        done = subprocess.run(
            ["g++", *_FLAGS, *include, "-c", str(source), "-o", f"{work}/kernel.o"], capture_output=True, text=True
        )
        if done.returncode:
            raise KernelError(f"g++ refuses {', '.join(kernels)[:200]}:\n{done.stderr[:4000]}")
        subprocess.run(["g++", "-shared", f"{work}/kernel.o", "-o", str(library)], check=True)
        library.replace(target)  # in one step: other processes see all of it or nothing
    return target


# --- launching ----------------------------------------------------------------------------------------------------

_POINTEES = {
    "f": "float32", "d": "float64", "6__half": "float16", "13__nv_bfloat16": "bfloat16",
    "x": "int64", "y": "uint64", "i": "int32", "j": "uint32", "b": "bool",
    "a": "int8", "h": "uint8", "s": "int16", "t": "uint16",
    "6Tensor": "int64", "11PhiloxState": "uint64",
}  # fmt: skip


def _argument(kernel: str, position: int, declared: str, value: Any) -> Any:
    """A ctypes value for one parameter; refused where CUDA would reinterpret bytes."""
    where = f"argument {position} of {kernel}"
    if declared.startswith("P"):
        expected = _POINTEES[declared.removeprefix("P").removeprefix("K").removeprefix("V")]
        if isinstance(value, np.uintp) and value == 0:
            return ctypes.c_void_p(None)
        if not hasattr(value, "__array_interface__") or np.isscalar(value):
            raise KernelError(f"{where} must be an array of {expected}, got {value!r}")
        if np.dtype(value.dtype).name != expected:
            raise KernelError(f"{where} must be an array of {expected}, got one of {np.dtype(value.dtype).name}")
        return ctypes.c_void_p(value.__array_interface__["data"][0])
    expected = _POINTEES[declared]
    if isinstance(value, bool | int | float):  # as CuPy passes them
        value = (np.bool_ if isinstance(value, bool) else np.int64 if isinstance(value, int) else np.float64)(value)
    if not isinstance(value, np.generic) or value.dtype.name != expected:
        raise KernelError(f"{where} must be {expected}, got {getattr(value, 'dtype', type(value).__name__)} {value!r}")
    return np.ctypeslib.as_ctypes_type(value.dtype)(value.item())


class Function:
    """A kernel; called as CuPy's: ``function(grid, block, arguments, shared_mem=0)``."""

    def __init__(self, library: ctypes.CDLL, index: int, name: str) -> None:
        self._library, self._index, self._name = library, index, name
        library.cuda_cpu_type.restype = library.cuda_cpu_launch.restype = ctypes.c_char_p
        self._types: list[str] = []
        while (declared := library.cuda_cpu_type(index, len(self._types))) is not None:
            self._types.append(declared.decode())

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        grid, block = ((*shape, 1, 1)[:3] for shape in (grid, block))
        if min(grid) < 1 or max(grid[1:]) > 65535 or grid[0] >= 1 << 31:
            raise KernelError(f"{self._name}: a GPU takes no grid of {grid}")
        if min(block) < 1 or np.prod(block) > 1024 or block[2] > 64 or shared_mem > 48 << 10:
            raise KernelError(f"{self._name}: a GPU takes no block of {block} with {shared_mem} bytes of shared memory")
        if len(args) != len(self._types):
            raise KernelError(f"{self._name} takes {len(self._types)} arguments, got {len(args)}")
        values = [_argument(self._name, i, t, a) for i, (t, a) in enumerate(zip(self._types, args, strict=True))]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = [(ctypes.c_uint * 3)(*shape) for shape in (grid, block)]
        message = self._library.cuda_cpu_launch(
            self._index, *sizes, ctypes.c_size_t(shared_mem), pointers, ctypes.c_int(_schedule[-1])
        )
        if message is not None:
            raise KernelError(f"{self._name}: {message.decode()}")
        _check_guards(self._name)


class RawModule:
    """Stands in for `cupy.RawModule`. A file of the project is built once, with all of its kernels."""

    def __init__(self, *, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = ()) -> None:
        for file, names in compiler.KERNELS.items():
            if set(name_expressions) <= set(names) and compiler.source(file) == code:
                name_expressions = names
        self._names = list(name_expressions)
        self._library = ctypes.CDLL(str(build(code, self._names)))

    def get_function(self, name: str) -> Function:
        return Function(self._library, self._names.index(name), name)
