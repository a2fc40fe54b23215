"""The CUDA kernels as Python functions on arrays: checks, results, launch shapes. Nothing here differentiates.

Each takes a `Launcher` first, which knows the array library, and C-contiguous arrays of one floating dtype. What a kernel
does and moves is said in its file in ``kernels/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ..errors import DTypeError, ShapeError, describe
from .compiler import ACTIVATIONS, CTYPES, kernel_name
from .launcher import THREADS, Launcher, cover, ctype_of, matrix_sizes, power_of_2, real_of, row_launch, same_shapes, tiles_of

__all__ = [
    "AT_LEAST_0",
    "DEFAULTS",
    "FROM_INPUT",
    "CrossEntropy",
    "Normalized",
    "activation",
    "activation_backward",
    "bias_activation",
    "bias_activation_backward",
    "bias_activation_dropout",
    "bias_activation_dropout_backward",
    "cross_entropy",
    "dropout",
    "mean_weight",
    "norm",
    "norm_backward",
    "norm_backward_parameters",
    "philox_advance",
    "philox_state",
    "philox_words",
    "softmax",
    "softmax_backward",
    "sum_columns",
    "sum_rows",
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

FROM_INPUT = frozenset(["elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softsign", "hardswish", "tanhshrink"])
"""Activation functions whose gradient is computed from the input; that of the others from the result."""

AT_LEAST_0 = frozenset(("leaky_relu", "softshrink", "hardshrink"))
"""Activation functions whose parameter the kernels take only if it is 0 or more."""


# --- activations --------------------------------------------------------------------------------------------------


def _activation_parameters(name: str, given: tuple[float, ...], dtype: Any) -> list[Any]:
    values = given or DEFAULTS.get(name, ())
    if len(values) != len(DEFAULTS.get(name, ())):
        raise ValueError(f"{name} has {len(DEFAULTS.get(name, ()))} parameters, got {given}")
    if name in AT_LEAST_0 and not values[0] >= 0:
        raise ValueError(f"{name}: the CUDA kernel takes a parameter of 0 or more, got {values[0]}")
    return [real_of(dtype)(value) for value in (*values, 0.0, 0.0)[:2]]


def activation(launch: Launcher, name: str, x: Any, *parameters: float, out: Any = None) -> Any:
    """An activation function by its name in `ACTIVATIONS`; `out` may be `x`."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("activation_forward", ACTIVATIONS[name], ctype_of(name, x, out))
    same_shapes(name, x, out)
    if x.size:
        grid = cover(launch, x.size, THREADS * 16 // x.dtype.itemsize)
        numbers = _activation_parameters(name, parameters, x.dtype)
        launch("activations", kernel, grid, (THREADS,), x, out, numpy.int64(x.size), *numbers)
    return out


def activation_backward(launch: Launcher, name: str, gradient: Any, saved: Any, *parameters: float, out: Any = None) -> Any:
    """The gradient of `activation`. `saved` is its input for functions `FROM_INPUT`, else its result."""
    out = launch.xp.empty(saved.shape, saved.dtype) if out is None else out
    kernel = kernel_name("activation_backward", ACTIVATIONS[name], ctype_of(name, gradient, saved, out))
    same_shapes(name, gradient, saved, out)
    if saved.size:
        grid = cover(launch, saved.size, THREADS * 16 // saved.dtype.itemsize)
        numbers = _activation_parameters(name, parameters, saved.dtype)
        launch("activations", kernel, grid, (THREADS,), gradient, saved, out, numpy.int64(saved.size), *numbers)
    return out


# --- columns of a matrix --------------------------------------------------------------------------------------------


def bias_activation(launch: Launcher, name: str, x: Any, bias: Any, *parameters: float, out: Any = None) -> Any:
    """``activation(x + bias)`` for the rows of a matrix; `out` may be `x`."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("bias_activation_forward", ACTIVATIONS[name], ctype_of(name, x, bias, out))
    sizes = matrix_sizes(name, x, bias=bias)
    same_shapes(name, x, out)
    if x.size:
        tiles = tiles_of(launch, x)
        numbers = _activation_parameters(name, parameters, x.dtype)
        launch("bias_activation", kernel, tiles.grid, tiles.block, x, bias, out, *sizes, *numbers)
    return out


def bias_activation_backward(
    launch: Launcher, name: str, gradient: Any, saved: Any, bias: Any, *parameters: float, out: Any = None
) -> tuple[Any, Any]:
    """The gradients of `x` and `bias`. `saved` is `x` for functions `FROM_INPUT`, else the result; `out` may be `gradient`."""
    out = launch.xp.empty(saved.shape, saved.dtype) if out is None else out
    kernel = kernel_name("bias_activation_backward", ACTIVATIONS[name], ctype_of(name, gradient, saved, bias, out))
    sizes = matrix_sizes(name, saved, bias=bias)
    same_shapes(name, gradient, saved, out)
    if saved.size == 0:
        return out, launch.xp.zeros(bias.shape, bias.dtype)
    bias_gradient = launch.xp.empty(bias.shape, bias.dtype)
    tiles = tiles_of(launch, saved)
    numbers = _activation_parameters(name, parameters, saved.dtype)
    arrays = gradient, saved, bias, out, bias_gradient, tiles.partials, tiles.counters
    launch("bias_activation", kernel, tiles.grid, tiles.block, *arrays, *sizes, *numbers)
    return out, bias_gradient


# --- sums -----------------------------------------------------------------------------------------------------------


def sum_columns(launch: Launcher, x: Any, scale: float = 1.0) -> Any:
    """``scale * x.sum(axis=0)`` of a matrix."""
    kernel, sizes = kernel_name("sum_columns", ctype_of("sum", x)), matrix_sizes("sum", x)
    if x.size == 0:
        return launch.xp.zeros(x.shape[1:], x.dtype)
    out, tiles = launch.xp.empty(x.shape[1:], x.dtype), tiles_of(launch, x)
    launch("reduce", kernel, tiles.grid, tiles.block, x, out, tiles.partials, tiles.counters, *sizes, real_of(x.dtype)(scale))
    return out


def sum_rows(launch: Launcher, x: Any, scale: float = 1.0) -> Any:
    """``scale * x.sum(axis=1)`` of a matrix. A sum over all elements is that of a matrix of one row."""
    kernel, sizes = kernel_name("sum_rows", ctype_of("sum", x)), matrix_sizes("sum", x)
    if x.size == 0:
        return launch.xp.zeros(x.shape[:1], x.dtype)
    out, (rows, columns) = launch.xp.empty(x.shape[:1], x.dtype), x.shape
    grid, block = row_launch(launch, x)
    parts = max(1, min(8 * launch.processors // rows, columns // (8 * THREADS * 16 // x.dtype.itemsize)))
    partials, counters = (None, None) if parts == 1 else (launch.xp.empty(rows * parts, real_of(x.dtype)), launch.counters(rows))
    launch("reduce", kernel, (*grid, parts), block, x, out, partials, counters, *sizes, real_of(x.dtype)(scale))
    return out


# --- softmax and cross-entropy --------------------------------------------------------------------------------------


def softmax(launch: Launcher, x: Any, *, log: bool = False) -> Any:
    """Softmax, or its logarithm, of each row of a matrix."""
    kernel = kernel_name("softmax_forward", str(log).lower(), ctype_of("softmax", x))
    sizes, out = matrix_sizes("softmax", x), launch.xp.empty(x.shape, x.dtype)
    if x.size:
        launch("softmax_cross_entropy", kernel, *row_launch(launch, x), x, out, *sizes)
    return out


def softmax_backward(launch: Launcher, gradient: Any, y: Any, *, log: bool = False) -> Any:
    """The gradient of `softmax` from its result `y`."""
    kernel = kernel_name("softmax_backward", str(log).lower(), ctype_of("softmax", gradient, y))
    sizes, out = matrix_sizes("softmax", y), launch.xp.empty(y.shape, y.dtype)
    same_shapes("softmax", gradient, y)
    if y.size:
        launch("softmax_cross_entropy", kernel, *row_launch(launch, y), gradient, y, out, *sizes)
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
    mean: Any = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    report: tuple[Any, numpy.int64] = (None, numpy.int64(0)),
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
    mean : array, optional
        One number of that dtype. With `total`, that is divided by the number of rows that are not ignored, and this becomes
        1 / that number; without, it is another factor of the weights.
    report : (address, number)
        Where an id that is no class, and then the number, are left; see `ClassIds`.
    losses, total, gradient : bool
        What is wanted. Losses and total are in the dtype of the weights.

    An id that is no class makes its loss, and its row of the gradient, nan.
    """
    name, real, xp = "cross_entropy", real_of(x.dtype), launch.xp
    sizes = matrix_sizes(name, x)
    by_class = target.dtype.kind == "i"
    if by_class and (target.dtype.itemsize not in (4, 8) or not target.flags.c_contiguous):
        raise DTypeError(f"{name}: class ids must be contiguous int32 or int64, got {describe(target)}")
    if target.shape != (x.shape[:1] if by_class else x.shape):
        raise ShapeError(f"{name}: logits {x.shape} take class ids {x.shape[:1]} or probabilities {x.shape}, got {target.shape}")
    ctype = ctype_of(name, x) if by_class else ctype_of(name, x, target)
    if weights is not None and (weights.dtype != real or weights.size not in (1, x.shape[0])):
        raise DTypeError(f"{name}: weights must be {x.shape[0]} numbers or one of {numpy.dtype(real)}, got {describe(weights)}")
    if mean is not None and (mean.dtype != real or mean.size != 1):
        raise DTypeError(f"{name}: mean must be one number of {numpy.dtype(real)}, got {describe(mean)}")
    out = CrossEntropy(
        xp.empty(x.shape[:1], real) if losses else None,
        (xp.empty if x.size else xp.zeros)((), real) if total else None,
        xp.empty(x.shape, x.dtype) if gradient else None,
    )
    if x.size:
        grid, block = row_launch(launch, x)
        kernel = kernel_name(name, ctype, {4: "int", 8: "long long"}[target.dtype.itemsize] if by_class else ctype)
        partials, counter = (xp.empty(2 * grid[0], real), launch.counters(1)) if total else (None, None)
        step = numpy.int64(weights is not None and weights.size > 1)
        numbers = numpy.int64(ignore_index), real(label_smoothing), real(scale)
        arrays = x, target, out.losses, out.gradient, out.total, weights, step, mean, partials, counter
        launch("softmax_cross_entropy", kernel, grid, block, *arrays, *sizes, *numbers, *report)
    return out


def mean_weight(launch: Launcher, ids: Any, dtype: Any, ignore_index: int = -100) -> Any:
    """1 / the number of class ids that are not ignored, as an array of one number; infinite where all are."""
    out = launch.xp.empty((1,), dtype)
    kernel = kernel_name("mean_weight", CTYPES[out.dtype.name], {4: "int", 8: "long long"}[ids.dtype.itemsize])
    block = min(THREADS, max(32, power_of_2(ids.size)))
    launch("softmax_cross_entropy", kernel, (1,), (block,), ids, out, numpy.int64(ids.size), numpy.int64(ignore_index))
    return out


# --- layer and RMS normalisation ------------------------------------------------------------------------------------


class Normalized(NamedTuple):
    """The result, and what the backward needs: mean (None for RMS) and 1 / standard deviation of each row."""

    y: Any
    means: Any
    scales: Any


def _vectors(name: str, x: Any, **given: Any) -> tuple[str, tuple[numpy.int64, numpy.int64]]:
    given = {key: value for key, value in given.items() if value is not None}
    return ctype_of(name, x, *given.values()), matrix_sizes(name, x, **given)


def _norm_name(centered: bool) -> str:
    return "layer_norm" if centered else "rms_norm"


def norm(launch: Launcher, x: Any, weight: Any = None, bias: Any = None, *, eps: float, centered: bool = True) -> Normalized:
    """Layer normalisation of each row of a matrix, or if not `centered` RMS normalisation, scaled and shifted."""
    ctype, sizes = _vectors(_norm_name(centered), x, weight=weight, bias=bias)
    xp, real = launch.xp, real_of(x.dtype)
    out = Normalized(xp.empty(x.shape, x.dtype), xp.empty(x.shape[:1], real) if centered else None, xp.empty(x.shape[:1], real))
    if x.size:
        kernel = kernel_name("norm_forward", str(centered).lower(), ctype)
        launch("layer_norm", kernel, *row_launch(launch, x), x, weight, bias, *out, *sizes, real(eps))
    return out


def norm_backward(launch: Launcher, gradient: Any, x: Any, weight: Any, means: Any, scales: Any) -> Any:
    """The gradient of `x` in `norm`; `means` is None where it was not centered."""
    ctype, sizes = _vectors(_norm_name(means is not None), x, weight=weight)
    ctype_of("norm", gradient, x)
    same_shapes("norm", gradient, x)
    out = launch.xp.empty(x.shape, x.dtype)
    if x.size:
        kernel = kernel_name("norm_backward", str(means is not None).lower(), ctype)
        launch("layer_norm", kernel, *row_launch(launch, x), gradient, x, weight, means, scales, out, *sizes)
    return out


def norm_backward_parameters(
    launch: Launcher, gradient: Any, x: Any, means: Any, scales: Any, *, weight: bool = True, bias: bool = True
) -> tuple[Any, Any]:
    """The gradients of weight and bias in `norm`; None for one that is not wanted."""
    ctype, sizes = ctype_of("norm", gradient, x), matrix_sizes("norm", x)
    same_shapes("norm", gradient, x)
    make = launch.xp.empty if x.size else launch.xp.zeros
    weights, biases = (make(x.shape[1:], x.dtype) if wanted else None for wanted in (weight, bias))
    if x.size:
        tiles = tiles_of(launch, x, sums=2)
        kernel = kernel_name("norm_backward_parameters", str(means is not None).lower(), ctype)
        arrays = gradient, x, means, scales, weights, biases, tiles.partials, tiles.counters
        launch("layer_norm", kernel, tiles.grid, tiles.block, *arrays, *sizes)
    return weights, biases


# --- dropout --------------------------------------------------------------------------------------------------------


def philox_state(generator: numpy.random.Generator) -> Any:
    """The state of a NumPy Philox generator as the kernels take it, to be copied to the device.

    The generator must stand between two blocks of 4 words, as a fresh one does.
    """
    state = generator.bit_generator.state
    if state["bit_generator"] != "Philox" or state["buffer_pos"] != 4 or state["has_uint32"]:
        raise ValueError("dropout: the generator must be a numpy.random.Philox between two blocks, such as a fresh one")
    return numpy.concatenate([state["state"]["counter"], state["state"]["key"]]).astype(numpy.uint64)


def _draws(dtype: Any) -> int:
    """How many numbers a block of the generator is: of float64, or of float32 for all others."""
    return 4 if dtype == numpy.float64 else 8


def _drop_numbers(p: float, dtype: Any) -> tuple[Any, Any]:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    return real_of(dtype)(p), real_of(dtype)(0.0 if p == 1 else 1 / (1 - p))


def dropout(launch: Launcher, x: Any, state: Any, p: float, *, out: Any = None) -> Any:
    """``x / (1 - p)`` where ``generator.random(x.shape, dtype) >= p``, else 0; also its backward, of the gradient.

    The numbers are drawn in float32, in float64 for float64.
    """
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("dropout", ctype_of("dropout", x, out))
    same_shapes("dropout", x, out)
    numbers = _drop_numbers(p, x.dtype)
    if x.size:
        launch(
            "dropout",
            kernel,
            cover(launch, x.size, THREADS * _draws(x.dtype)),
            (THREADS,),
            x,
            out,
            numpy.int64(x.size),
            state,
            *numbers,
        )
    return out


def bias_activation_dropout(
    launch: Launcher, name: str, x: Any, bias: Any, state: Any, p: float, *parameters: float, out: Any = None
) -> Any:
    """`dropout` of `bias_activation`, in one pass."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("bias_activation_dropout_forward", ACTIVATIONS[name], ctype_of(name, x, bias, out))
    sizes = matrix_sizes(name, x, bias=bias)
    same_shapes(name, x, out)
    numbers = *_activation_parameters(name, parameters, x.dtype), state, *_drop_numbers(p, x.dtype)
    if x.size:
        tiles = tiles_of(launch, x, width=_draws(x.dtype))
        launch("dropout", kernel, tiles.grid, tiles.block, x, bias, out, *sizes, *numbers)
    return out


def bias_activation_dropout_backward(
    launch: Launcher, name: str, gradient: Any, x: Any, bias: Any, state: Any, p: float, *parameters: float, out: Any = None
) -> tuple[Any, Any]:
    """The gradients of `x` and `bias`, from its input and the state that the forward had."""
    out = launch.xp.empty(x.shape, x.dtype) if out is None else out
    kernel = kernel_name("bias_activation_dropout_backward", ACTIVATIONS[name], ctype_of(name, gradient, x, bias, out))
    sizes = matrix_sizes(name, x, bias=bias)
    same_shapes(name, gradient, x, out)
    numbers = *_activation_parameters(name, parameters, x.dtype), state, *_drop_numbers(p, x.dtype)
    if x.size == 0:
        return out, launch.xp.zeros(bias.shape, bias.dtype)
    bias_gradient, tiles = launch.xp.empty(bias.shape, bias.dtype), tiles_of(launch, x, width=_draws(x.dtype))
    arrays = gradient, x, bias, out, bias_gradient, tiles.partials, tiles.counters
    launch("dropout", kernel, tiles.grid, tiles.block, *arrays, *sizes, *numbers)
    return out, bias_gradient


def philox_advance(launch: Launcher, state: Any, x: Any) -> None:
    """Move a state on the device past the blocks that dropout of `x` drew."""
    launch("dropout", "philox_advance", (1,), (1,), state, numpy.int64(-(-x.size // _draws(x.dtype))))


def philox_words(launch: Launcher, counter: int, key: Sequence[int], blocks: int) -> Any:
    """The words of the blocks that follow a counter, as an array of shape (blocks, 4): what NumPy's generator draws from."""
    out = launch.xp.empty((blocks, 4), numpy.uint64)
    if blocks:
        state = [numpy.uint64(counter >> 64 * i & 0xFFFFFFFFFFFFFFFF) for i in range(4)] + [numpy.uint64(word) for word in key]
        launch("dropout", "philox_words", cover(launch, blocks, THREADS), (THREADS,), out, numpy.int64(blocks), *state)
    return out
