"""The CUDA kernels as Python functions on arrays: checks, results, launch shapes. Nothing here differentiates.

Each takes a `Launcher` first, which knows the array library, and C-contiguous arrays of one floating dtype. What a kernel
does and moves is said in its file in ``kernels/``.
"""

from __future__ import annotations

from typing import Any

import numpy

from ..errors import DTypeError, ShapeError, describe
from .compiler import ACTIVATIONS, CTYPES, kernel_name, options, source

__all__ = ["DEFAULTS", "Launcher", "activation", "activation_backward"]

DEFAULTS: dict[str, tuple[float, ...]] = {
    "leaky_relu": (0.01,),
    "elu": (1.0,),
    "celu": (1.0,),
    "hardtanh": (-1.0, 1.0),
    "softshrink": (0.5,),
    "hardshrink": (0.5,),
}
"""Parameters of the activation functions that have some, at PyTorch's defaults."""

FROM_INPUT = frozenset(("gelu", "gelu_tanh", "silu", "mish", "hardswish", "tanhshrink"))
"""Activation functions whose gradient is computed from the input; that of the others from the result."""

_AT_LEAST_0 = frozenset(("leaky_relu", "elu", "softshrink", "hardshrink"))
_THREADS = 256


class Launcher:
    """Starts kernels on the arrays of one library.

    Parameters
    ----------
    xp : module
        CuPy, or what stands in for it: `RawModule` and `empty` are used.
    processors : int
        Multiprocessors of the device; launches are sized by it.
    """

    def __init__(self, xp: Any, processors: int = 132) -> None:
        self.xp, self.processors = xp, processors
        self._functions: dict[tuple[str, str], Any] = {}

    def function(self, file: str, kernel: str) -> Any:
        """The kernel of a file by its name expression; compiled when first asked for."""
        found = self._functions.get((file, kernel))
        if found is None:
            module = self.xp.RawModule(code=source(file), options=options(), name_expressions=(kernel,))
            found = self._functions[file, kernel] = module.get_function(kernel)
        return found

    def __call__(self, file: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any) -> None:
        """Start a kernel. Numbers are NumPy scalars of the declared type; None is a null pointer."""
        self.function(file, kernel)(grid, block, tuple(numpy.uintp(0) if a is None else a for a in arguments))


# --- arguments ----------------------------------------------------------------------------------------------------


def _ctype(name: str, *arrays: Any) -> str:
    """C++'s name of the arrays' dtype; refused unless they share one that the kernels take, and are contiguous."""
    dtype = arrays[0].dtype
    for array in arrays:
        if array.dtype != dtype or dtype.name not in CTYPES:
            got = ", ".join(a.dtype.name for a in arrays)
            raise DTypeError(f"{name}: the CUDA kernel takes arrays of one dtype of {', '.join(CTYPES)}; got {got}")
        if not array.flags.c_contiguous:
            raise ShapeError(
                f"{name}: the CUDA kernel takes C-contiguous arrays; got strides {array.strides} for {describe(array)}"
            )
    return CTYPES[dtype.name]


def _same_shapes(name: str, *arrays: Any) -> None:
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ShapeError(f"{name}: shapes differ: {', '.join(str(array.shape) for array in arrays)}")


def _real(dtype: Any) -> type[numpy.floating[Any]]:
    """What arithmetic on arrays of a dtype is done in, and so the type of a kernel's numbers."""
    return numpy.float64 if dtype.name == "float64" else numpy.float32


def _cover(launch: Launcher, work: int, per_block: int) -> tuple[int]:
    """A grid that covers the work, or fills the device and strides."""
    return (min(-(-work // per_block), 8 * launch.processors),)


# --- activations --------------------------------------------------------------------------------------------------


def _activation_parameters(name: str, given: tuple[float, ...], dtype: Any) -> list[Any]:
    values = given or DEFAULTS.get(name, ())
    if len(values) != len(DEFAULTS.get(name, ())):
        raise ValueError(f"{name} has {len(DEFAULTS.get(name, ()))} parameters, got {given}")
    if name in _AT_LEAST_0 and not values[0] >= 0:
        raise ValueError(f"{name}: the CUDA kernel takes a parameter of 0 or more, got {values[0]}")
    return [_real(dtype)(value) for value in (*values, 0.0, 0.0)[:2]]


def activation(launch: Launcher, name: str, x: Any, *parameters: float, out: Any = None) -> Any:
    """An activation function by its name in `ACTIVATIONS`; `out` may be `x`."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("activation_forward", ACTIVATIONS[name], _ctype(name, x, out))
    _same_shapes(name, x, out)
    if x.size:
        grid = _cover(launch, x.size, _THREADS * 16 // x.dtype.itemsize)
        numbers = _activation_parameters(name, parameters, x.dtype)
        launch("activations", kernel, grid, (_THREADS,), x, out, numpy.int64(x.size), *numbers)
    return out


def activation_backward(launch: Launcher, name: str, gradient: Any, saved: Any, *parameters: float, out: Any = None) -> Any:
    """The gradient of `activation`. `saved` is its input for functions `FROM_INPUT`, else its result."""
    out = launch.xp.empty(saved.shape, saved.dtype) if out is None else out
    kernel = kernel_name("activation_backward", ACTIVATIONS[name], _ctype(name, gradient, saved, out))
    _same_shapes(name, gradient, saved, out)
    if saved.size:
        grid = _cover(launch, saved.size, _THREADS * 16 // saved.dtype.itemsize)
        numbers = _activation_parameters(name, parameters, saved.dtype)
        launch("activations", kernel, grid, (_THREADS,), gradient, saved, out, numpy.int64(saved.size), *numbers)
    return out
