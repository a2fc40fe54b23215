"""The optimisers' steps on a GPU: all parameters in one launch of a kernel in ``kernels/optimizers.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from ..errors import DTypeError, describe
from .compiler import CTYPES, kernel_name
from .launcher import THREADS, Launcher, ctype_of, real_of, same_shapes

__all__ = ["TensorTable", "adam", "sgd", "sgd_momentum", "tensor_table"]

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
        ctype_of("optimizer", arrays[0][0], *group)
        same_shapes("optimizer", *group)
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
        launch("optimizers", kernel, (table.chunks,), (THREADS,), *arguments)


def sgd(launch: Launcher, table: TensorTable, rate: Any, *, weight_decay: float = 0.0, maximize: bool = False) -> None:
    """A step of gradient descent; `rate` is an array of one float64 on the device."""
    _step(launch, "sgd", table, 0, (rate,), real_of(table.dtype)(weight_decay), numpy.bool_(maximize))


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
    numbers = map(real_of(table.dtype), (momentum, dampening, weight_decay))
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
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> None:
    """A step of Adam (AdamW if `decoupled_weight_decay`), whose moments are the states; with a third state, of AMSGrad."""
    amsgrad = table.states == 3
    numbers = *map(numpy.float64, betas), *map(real_of(table.dtype), (eps, weight_decay))
    flags = numpy.bool_(decoupled_weight_decay), numpy.bool_(maximize)
    _step(launch, "adam", table, 3 if amsgrad else 2, (rate, step), *numbers, *flags, kind=str(amsgrad).lower())
