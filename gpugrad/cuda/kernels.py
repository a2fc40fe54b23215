"""The CUDA kernels as Python functions on arrays: checks, results, launch shapes. Nothing here differentiates.

Each takes a `Launcher` first, which knows the array library, and C-contiguous arrays of one floating dtype. What a kernel
does and moves is said in its file in ``kernels/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from ..errors import DTypeError, ShapeError, describe
from .compiler import ACTIVATIONS, CTYPES, kernel_name, options, source

__all__ = [
    "DEFAULTS",
    "FROM_INPUT",
    "CrossEntropy",
    "Launcher",
    "TensorTable",
    "activation",
    "activation_backward",
    "adam",
    "bias_activation",
    "bias_activation_backward",
    "cross_entropy",
    "mean_weight",
    "sgd",
    "sgd_momentum",
    "softmax",
    "softmax_backward",
    "sum_columns",
    "sum_rows",
    "tensor_table",
]

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
        CuPy, or what stands in for it: `RawModule`, `empty` and `zeros` are used.
    processors : int
        Multiprocessors of the device; launches are sized by it.
    stream : callable
        A name of the stream that is launched on. Kernels that count their blocks must not share counters between streams.
    """

    def __init__(self, xp: Any, processors: int = 132, stream: Callable[[], Any] = lambda: None) -> None:
        self.xp, self.processors, self._stream = xp, processors, stream
        self._functions: dict[tuple[str, str], Any] = {}
        self._counters: dict[Any, Any] = {}

    def counters(self, count: int) -> Any:
        """At least so many zeros for a kernel to count its blocks in; each launch leaves them at zero."""
        stream = self._stream()
        found = self._counters.get(stream)
        if found is None or found.size < count:
            found = self._counters[stream] = self.xp.zeros(max(1024, 2 * count), numpy.uint32)
        return found

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
    return numpy.float64 if dtype == numpy.float64 else numpy.float32


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


# --- columns of a matrix --------------------------------------------------------------------------------------------


class _Tiles(NamedTuple):
    """How columns.cuh divides a matrix: the launch, and room for what its blocks leave each other."""

    grid: tuple[int, int]
    block: tuple[int, int]
    partials: Any
    counters: Any


def _tiles(launch: Launcher, x: Any, sums: int = 1) -> _Tiles:
    """Tiles for the matrix `x`, of which `sums` sums over the rows are made: 512 bytes wide, and parts of the rows."""
    rows, columns = x.shape
    width = 16 // x.dtype.itemsize
    threads = -(-columns // (width if columns % width == 0 else 1))
    across = min(32, _power_of_2(threads))
    down = _THREADS // across
    tiles = -(-threads // across)
    parts = max(1, min(-(-rows // (8 * down)), 8 * launch.processors // tiles, 1024))
    if parts == 1:
        return _Tiles((tiles, 1), (across, down), None, None)
    partials = launch.xp.empty(parts * sums * columns, _real(x.dtype))
    return _Tiles((tiles, parts), (across, down), partials, launch.counters(-(-columns // across)))


def _power_of_2(n: int) -> int:
    """The least power of 2 that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def _matrix(name: str, x: Any, **vectors: Any) -> tuple[numpy.int64, numpy.int64]:
    if x.ndim != 2:
        raise ShapeError(f"{name}: the CUDA kernel takes a matrix, got {describe(x)}; reshape it")
    for vector_name, vector in vectors.items():
        if vector.shape != x.shape[1:]:
            raise ShapeError(f"{name}: {vector_name} must have shape {x.shape[1:]} for rows of {x.shape}, got {vector.shape}")
    return numpy.int64(x.shape[0]), numpy.int64(x.shape[1])


def bias_activation(launch: Launcher, name: str, x: Any, bias: Any, *parameters: float, out: Any = None) -> Any:
    """``activation(x + bias)`` for the rows of a matrix; `out` may be `x`."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("bias_activation_forward", ACTIVATIONS[name], _ctype(name, x, bias, out))
    sizes = _matrix(name, x, bias=bias)
    _same_shapes(name, x, out)
    if x.size:
        tiles = _tiles(launch, x)
        numbers = _activation_parameters(name, parameters, x.dtype)
        launch("bias_activation", kernel, tiles.grid, tiles.block, x, bias, out, *sizes, *numbers)
    return out


def bias_activation_backward(
    launch: Launcher, name: str, gradient: Any, saved: Any, bias: Any, *parameters: float, out: Any = None
) -> tuple[Any, Any]:
    """The gradients of `x` and `bias`. `saved` is `x` for functions `FROM_INPUT`, else the result; `out` may be `gradient`."""
    out = launch.xp.empty(saved.shape, saved.dtype) if out is None else out
    kernel = kernel_name("bias_activation_backward", ACTIVATIONS[name], _ctype(name, gradient, saved, bias, out))
    sizes = _matrix(name, saved, bias=bias)
    _same_shapes(name, gradient, saved, out)
    if saved.size == 0:
        return out, launch.xp.zeros(bias.shape, bias.dtype)
    bias_gradient = launch.xp.empty(bias.shape, bias.dtype)
    tiles = _tiles(launch, saved)
    numbers = _activation_parameters(name, parameters, saved.dtype)
    arrays = gradient, saved, bias, out, bias_gradient, tiles.partials, tiles.counters
    launch("bias_activation", kernel, tiles.grid, tiles.block, *arrays, *sizes, *numbers)
    return out, bias_gradient


# --- sums -----------------------------------------------------------------------------------------------------------


def sum_columns(launch: Launcher, x: Any, scale: float = 1.0) -> Any:
    """``scale * x.sum(axis=0)`` of a matrix."""
    kernel, sizes = kernel_name("sum_columns", _ctype("sum", x)), _matrix("sum", x)
    if x.size == 0:
        return launch.xp.zeros(x.shape[1:], x.dtype)
    out, tiles = launch.xp.empty(x.shape[1:], x.dtype), _tiles(launch, x)
    launch("reduce", kernel, tiles.grid, tiles.block, x, out, tiles.partials, tiles.counters, *sizes, _real(x.dtype)(scale))
    return out


def sum_rows(launch: Launcher, x: Any, scale: float = 1.0) -> Any:
    """``scale * x.sum(axis=1)`` of a matrix. A sum over all elements is that of a matrix of one row."""
    kernel, sizes = kernel_name("sum_rows", _ctype("sum", x)), _matrix("sum", x)
    if x.size == 0:
        return launch.xp.zeros(x.shape[:1], x.dtype)
    out, (rows, columns) = launch.xp.empty(x.shape[:1], x.dtype), x.shape
    grid, block = _row_launch(launch, x)
    parts = max(1, min(8 * launch.processors // rows, columns // (8 * _THREADS * 16 // x.dtype.itemsize)))
    partials, counters = (None, None) if parts == 1 else (launch.xp.empty(rows * parts, _real(x.dtype)), launch.counters(rows))
    launch("reduce", kernel, (*grid, parts), block, x, out, partials, counters, *sizes, _real(x.dtype)(scale))
    return out


def _row_launch(launch: Launcher, x: Any) -> tuple[tuple[int], tuple[int, int]]:
    """A launch for rows.cuh: about two vectors of a row to a thread, and blocks of 128 threads or more."""
    rows, columns = x.shape
    across = min(_THREADS, _power_of_2(-(-columns * x.dtype.itemsize // 32)))
    down = max(1, 128 // across)
    return _cover(launch, rows, down), (across, down)


# --- softmax and cross-entropy --------------------------------------------------------------------------------------


def softmax(launch: Launcher, x: Any, *, log: bool = False) -> Any:
    """Softmax, or its logarithm, of each row of a matrix."""
    kernel = kernel_name("softmax_forward", str(log).lower(), _ctype("softmax", x))
    sizes, out = _matrix("softmax", x), launch.xp.empty(x.shape, x.dtype)
    if x.size:
        launch("softmax_cross_entropy", kernel, *_row_launch(launch, x), x, out, *sizes)
    return out


def softmax_backward(launch: Launcher, gradient: Any, y: Any, *, log: bool = False) -> Any:
    """The gradient of `softmax` from its result `y`."""
    kernel = kernel_name("softmax_backward", str(log).lower(), _ctype("softmax", gradient, y))
    sizes, out = _matrix("softmax", y), launch.xp.empty(y.shape, y.dtype)
    _same_shapes("softmax", gradient, y)
    if y.size:
        launch("softmax_cross_entropy", kernel, *_row_launch(launch, y), gradient, y, out, *sizes)
    return out


class CrossEntropy(NamedTuple):
    """What `cross_entropy` found; None for what was not asked for."""

    losses: Any
    total: Any
    gradient: Any


def cross_entropy(
    launch: Launcher,
    x: Any,
    target: Any,
    *,
    weights: Any = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    losses: bool = False,
    total: bool = False,
    gradient: bool = False,
) -> CrossEntropy:
    """Cross-entropy of the softmax of each row of `x`, of a weighted sum over the rows, and the gradient of that sum.

    Parameters
    ----------
    target : array
        Class ids, of a signed integer dtype; or probabilities, of the shape and dtype of `x`.
    weights : array, optional
        A number for each row, or one for all, in float32 (float64 for float64 logits); ``scale`` alone if not given. The
        mean's is `mean_weight`, or no array and ``scale=1/N`` where no id is ignored; in a backward they are cotangents.
    losses, total, gradient : bool
        What is wanted. Losses and total are in the dtype of the weights.

    An id that is no class makes its loss, and its row of the gradient, nan.
    """
    name, real, xp = "cross_entropy", _real(x.dtype), launch.xp
    sizes = _matrix(name, x)
    by_class = target.dtype.kind == "i"
    if by_class and (target.dtype.itemsize not in (4, 8) or not target.flags.c_contiguous):
        raise DTypeError(f"{name}: class ids must be contiguous int32 or int64, got {describe(target)}")
    if target.shape != (x.shape[:1] if by_class else x.shape):
        raise ShapeError(f"{name}: logits {x.shape} take class ids {x.shape[:1]} or probabilities {x.shape}, got {target.shape}")
    ctype = _ctype(name, x) if by_class else _ctype(name, x, target)
    if weights is not None and (weights.dtype != real or weights.size not in (1, x.shape[0])):
        raise DTypeError(f"{name}: weights must be {x.shape[0]} numbers or one of {numpy.dtype(real)}, got {describe(weights)}")
    out = CrossEntropy(
        xp.empty(x.shape[:1], real) if losses else None,
        (xp.empty if x.size else xp.zeros)((), real) if total else None,
        xp.empty(x.shape, x.dtype) if gradient else None,
    )
    if x.size:
        grid, block = _row_launch(launch, x)
        kernel = kernel_name(name, ctype, {4: "int", 8: "long long"}[target.dtype.itemsize] if by_class else ctype)
        partials, counter = (xp.empty(grid, real), launch.counters(1)) if total else (None, None)
        step = numpy.int64(weights is not None and weights.size > 1)
        numbers = numpy.int64(ignore_index), real(label_smoothing), real(scale)
        arrays = x, target, out.losses, out.gradient, out.total, weights, step, partials, counter
        launch("softmax_cross_entropy", kernel, grid, block, *arrays, *sizes, *numbers)
    return out


def mean_weight(launch: Launcher, ids: Any, dtype: Any, ignore_index: int = -100) -> Any:
    """1 / the number of class ids that are not ignored, as an array of one number; infinite where all are."""
    out = launch.xp.empty((1,), dtype)
    kernel = kernel_name("mean_weight", CTYPES[out.dtype.name], {4: "int", 8: "long long"}[ids.dtype.itemsize])
    block = min(_THREADS, max(32, _power_of_2(ids.size)))
    launch("softmax_cross_entropy", kernel, (1,), (block,), ids, out, numpy.int64(ids.size), numpy.int64(ignore_index))
    return out


# --- optimisers -----------------------------------------------------------------------------------------------------

_CHUNK = 4096  # as in optimizers.cu


class TensorTable(NamedTuple):
    """The arrays of an optimiser's step, as its kernels find them; valid while none of them moves."""

    rows: Any
    chunks: int
    states: int
    dtype: Any
    arrays: Any


def tensor_table(launch: Launcher, parameters: Sequence[Any], gradients: Sequence[Any], *states: Sequence[Any]) -> TensorTable:
    """A table of parameters, their gradients and up to three states each, in device memory."""
    arrays = [group for group in zip(parameters, gradients, *states, strict=True) if group[0].size]
    rows, chunks = [], 0
    for group in arrays:
        _ctype("optimizer", arrays[0][0], *group)
        _same_shapes("optimizer", *group)
        addresses = [_address(array) for array in group]
        rows.append([chunks, group[0].size, *addresses, *[0] * (5 - len(addresses))])
        chunks += -(-group[0].size // _CHUNK)
    table = numpy.array(rows, numpy.int64).reshape(-1, 7)
    return TensorTable(launch.xp.asarray(table), chunks, len(states), arrays[0][0].dtype if arrays else None, arrays)


def _address(array: Any) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(interface["data"][0])


def _step(
    launch: Launcher, template: str, table: TensorTable, states: int, scalars: tuple[Any, ...], *numbers: Any, kind: str = ""
) -> None:
    if table.states != states:
        raise ValueError(f"{template}: takes {states} states of each parameter, the table has {table.states}")
    for scalar in scalars:
        if scalar.dtype != numpy.float64 or scalar.size != 1:
            raise DTypeError(f"{template}: the learning rate and step are float64 arrays of one number, got {describe(scalar)}")
    if table.chunks:
        kernel = kernel_name(template, CTYPES[table.dtype.name], *([kind] if kind else []))
        arguments = table.rows, numpy.int64(table.rows.shape[0]), *scalars, *numbers
        launch("optimizers", kernel, (table.chunks,), (_THREADS,), *arguments)


def sgd(launch: Launcher, table: TensorTable, rate: Any, *, weight_decay: float = 0.0, maximize: bool = False) -> None:
    """A step of gradient descent; `rate` is an array of one float64 on the device."""
    _step(launch, "sgd", table, 0, (rate,), _real(table.dtype)(weight_decay), numpy.bool_(maximize))


def sgd_momentum(
    launch: Launcher,
    table: TensorTable,
    rate: Any,
    step: Any,
    *,
    momentum: float,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    """A step of gradient descent with momentum, whose buffers are the states; `step` counts the steps done before."""
    numbers = map(_real(table.dtype), (momentum, dampening, weight_decay))
    _step(launch, "sgd_momentum", table, 1, (rate, step), *numbers, numpy.bool_(nesterov), numpy.bool_(maximize))


def adam(
    launch: Launcher,
    table: TensorTable,
    rate: Any,
    step: Any,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> None:
    """A step of Adam (AdamW if `decoupled`), whose moments are the states; with a third state, of AMSGrad."""
    amsgrad = table.states == 3
    numbers = *map(numpy.float64, betas), *map(_real(table.dtype), (eps, weight_decay))
    flags = numpy.bool_(decoupled), numpy.bool_(maximize)
    _step(launch, "adam", table, 3 if amsgrad else 2, (rate, step), *numbers, *flags, kind=str(amsgrad).lower())
