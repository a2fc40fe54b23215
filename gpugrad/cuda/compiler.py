"""The CUDA sources in ``kernels/``: where they are, what they hold, and their compilation.

CuPy compiles them when they are first used (`RawModule`), for the GPU at hand. `compile_file` asks NVRTC directly, for any
architecture and without a GPU, which is how they are checked.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DeviceError

__all__ = [
    "KERNELS",
    "OPTIONS",
    "Compiled",
    "compile_file",
    "compile_text",
    "include_folder",
    "kernel_folder",
    "kernel_name",
    "source",
]

OPTIONS = ("-std=c++17",)
"""What a compiler is told. CuPy adds where the headers of its own CUDA are."""

CTYPES = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}
"""C++'s name of each dtype that the kernels take."""

ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "selu": "Selu",
    "celu": "Celu",
    "gelu": "Gelu",
    "gelu_tanh": "GeluTanh",
    "silu": "Silu",
    "mish": "Mish",
    "softplus": "Softplus",
    "logsigmoid": "LogSigmoid",
    "softsign": "Softsign",
    "hardtanh": "HardTanh",
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "softshrink": "SoftShrink",
    "hardshrink": "HardShrink",
    "tanhshrink": "TanhShrink",
}
"""The functor in ``activations.cuh`` of each activation function."""


def kernel_name(template: str, *arguments: str) -> str:
    """A kernel's name expression: ``kernel_name("activation_forward", "Relu", "float")``."""
    return f"{template}<{', '.join(arguments)}>"


def _instances(templates: Sequence[str], *choices: Iterable[str]) -> tuple[str, ...]:
    return tuple(kernel_name(*names) for names in itertools.product(templates, *choices))


_EVERY_FORM = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardTanh", "Gelu")
"""The functors of `linear_layers`, and some that stand for all: gradient from the result or the input, 0 to 2 parameters."""

KERNELS: dict[str, tuple[str, ...]] = {
    "activations": _instances(("activation_forward", "activation_backward"), ACTIVATIONS.values(), CTYPES.values()),
    "bias_activation": _instances(("bias_activation_forward", "bias_activation_backward"), _EVERY_FORM, CTYPES.values()),
    "softmax_cross_entropy": (
        *_instances(("softmax_forward", "softmax_backward"), ("false", "true"), CTYPES.values()),
        *_instances(("cross_entropy",), CTYPES.values(), ("int", "long long")),
        *(kernel_name("cross_entropy", ctype, ctype) for ctype in CTYPES.values()),
        *_instances(("mean_weight",), ("float", "double"), ("int", "long long")),
    ),
    "dropout": (
        *_instances(("dropout",), CTYPES.values()),
        *_instances(
            ("bias_activation_dropout_forward", "bias_activation_dropout_backward"), ("Relu", "HardTanh", "Gelu"), CTYPES.values()
        ),
        "philox_advance",
        "philox_words",
    ),
    "layer_norm": _instances(("norm_forward", "norm_backward", "norm_backward_parameters"), ("false", "true"), CTYPES.values()),
    "optimizers": (
        *_instances(("sgd", "sgd_momentum"), CTYPES.values()),
        *_instances(("adam",), CTYPES.values(), ("false", "true")),
    ),
    "generated": (),  # those are written when they are needed
    "reduce": _instances(("sum_rows", "sum_columns"), CTYPES.values()),
}
"""Every kernel of every file, as the name expressions of the instances that are tested."""


# --- sources ------------------------------------------------------------------------------------------------------


@functools.cache
def kernel_folder() -> Path:
    """Where the sources are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise DeviceError(f"gpugrad's CUDA sources are missing: no kernels folder in {package}, nor beside it; reinstall gpugrad")


@functools.cache
def source(file: str) -> str:
    """The text of ``kernels/FILE.cu`` with our own headers written into it: CuPy's cache knows a kernel by its text alone."""
    return _inlined(kernel_folder() / f"{file}.cu", set())


def _inlined(path: Path, seen: set[str]) -> str:
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        include = re.match(r'\s*#include "(.+)"', line)
        if include is None:
            lines.append("" if line.startswith("#pragma once") else line)
        elif include[1] not in seen:
            seen.add(include[1])
            lines += [_inlined(path.parent / include[1], seen), f'#line {number + 1} "{path.name}"']
        else:
            lines.append("")
    return "\n".join(lines)


@functools.cache
def _nvidia_folders() -> tuple[Path, ...]:
    """Where CUDA's pip wheels are, newest first: ``nvidia/cu13`` for CUDA 13, ``nvidia/cuda_nvrtc`` and so on for CUDA 12."""
    spec = importlib.util.find_spec("nvidia")
    roots = [] if spec is None else map(Path, spec.submodule_search_locations or [])
    return tuple(folder for root in roots for folder in sorted(root.glob("cu*"), reverse=True))


@functools.cache
def include_folder() -> Path | None:
    """The folder of CUDA's headers among its pip wheels, or None."""
    needed = ("cuda_fp16.h", "crt/host_defines.h", "nv/target")
    folders = (folder / "include" for folder in _nvidia_folders())
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


# --- NVRTC --------------------------------------------------------------------------------------------------------


class Compiled(NamedTuple):
    """What NVRTC made: cubin, or PTX for a ``compute_`` architecture; its log; each kernel's symbol."""

    image: bytes
    log: str
    symbols: dict[str, str]


@functools.cache
def _nvrtc() -> Any:
    found = [str(path) for folder in _nvidia_folders() for path in sorted(folder.glob("lib/libnvrtc.so.*"))]
    for candidate in (*found, "libnvrtc.so.13", "libnvrtc.so.12"):
        try:
            library = ctypes.CDLL(candidate)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise DeviceError("NVRTC is not installed: pip install nvidia-cuda-nvrtc")


def compile_file(file: str, arch: str, kernels: Sequence[str] | None = None) -> Compiled:
    """Compile ``kernels/FILE.cu`` by NVRTC; needs no GPU.

    Parameters
    ----------
    file : str
        A key of `KERNELS`.
    arch : str
        ``"sm_90"`` for machine code, ``"compute_75"`` for PTX.
    kernels : sequence of str, optional
        Name expressions; all of the file if not given.

    Raises
    ------
    DeviceError
        If NVRTC is missing or refuses the source; with its log.
    """
    return compile_text(file, source(file), arch, KERNELS[file] if kernels is None else kernels)


def compile_text(file: str, text: str, arch: str, kernels: Sequence[str]) -> Compiled:
    """`compile_file`, of any text."""
    library, program = _nvrtc(), ctypes.c_void_p()

    def check(result: int) -> None:
        if result:
            raise DeviceError(f"{file}.cu for {arch}: {library.nvrtcGetErrorString(result).decode()}\n{log()}")

    def read(what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw

    def log() -> str:
        return read("ProgramLog").rstrip(b"\0").decode()

    name = f"{file}.cu".encode()
    check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name, 0, None, None))
    try:
        for kernel in kernels:
            check(library.nvrtcAddNameExpression(program, kernel.encode()))
        told = [f"--gpu-architecture={arch}", *OPTIONS, *(["--ptxas-options=-v"] if arch.startswith("sm_") else [])]
        told += [f"-I{folder}"] if (folder := include_folder()) else []
        check(library.nvrtcCompileProgram(program, len(told), (ctypes.c_char_p * len(told))(*map(str.encode, told))))
        symbols = {}
        for kernel in kernels:
            symbol = ctypes.c_char_p()
            check(library.nvrtcGetLoweredName(program, kernel.encode(), ctypes.byref(symbol)))
            symbols[kernel] = (symbol.value or b"").decode()
        return Compiled(read("CUBIN" if arch.startswith("sm_") else "PTX"), log(), symbols)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
