"""The kernels as calls on arrays, each with its exact result and the same in CuPy and PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad.cuda import kernels, optimizers
from gpugrad.cuda.compiler import ACTIVATIONS
from gpugrad.op import registry

from . import formulas

__all__ = ["Case", "cases"]

Arrays = list[Any]
P, RATE, EPS = 0.25, 0.125, 1e-5
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Case:
    """A kernel on some inputs. Each callable takes those (NumPy's in float64, CuPy's, PyTorch's) and returns a list of results.

    Attributes
    ----------
    cancels : bool
        Whether a result near zero may be the difference of large numbers.
    """

    name: str
    dtype: str
    inputs: Arrays
    kernel: Callable[..., Arrays]
    exact: Callable[..., Arrays]
    cupy: Callable[..., Arrays] | None = None
    torch: Callable[..., Arrays] | None = None
    cancels: bool = False


def cases(small: bool) -> Iterator[Case]:
    """Every kernel: all in float32, those that differ by dtype in the others too, the most telling first."""
    yield from _of_dtype("float32", tuple(ACTIVATIONS), small)
    if not small:
        yield from _of_dtype("float16", tuple(ACTIVATIONS), small)
        yield from _of_dtype("float64", ("relu", "gelu"), small)
    if not small and importlib.util.find_spec("ml_dtypes") is not None:
        yield from _of_dtype("bfloat16", ("relu", "gelu"), small)


def _of_dtype(dtype: str, activations: tuple[str, ...], small: bool) -> Iterator[Case]:
    for name in activations:
        yield from _activation(name, dtype, 1003 if small else 100_003)
    shape = (37, 400) if small else (513, 1000)
    for name in ("relu", "gelu"):
        yield from _bias_activation(name, dtype, shape)
    yield from _chain(dtype, shape)
    yield from _softmax(dtype, shape)
    yield from _norms(dtype, shape)
    yield from _sums(dtype, shape)
    yield from _dropout(dtype, shape)
    yield from _optimizers(dtype, 1003 if small else 100_003)


def _numbers(dtype: str, *shape: int, seed: int = 0, positive: bool = False) -> Any:
    values = np.random.default_rng((seed, *shape)).standard_normal(shape)
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16

        return (abs(values) if positive else values).astype(bfloat16)
    return (abs(values) if positive else values).astype(dtype)


# --- one function for two libraries: gpugrad in float64 is exact, PyTorch is compared ---

Function = Callable[..., Any]


def _value(function: Function, *arrays: Any) -> Arrays:
    with gg.no_grad():
        return [gg.asarray(function(gg.nn.functional, *arrays)).numpy()]


def _gradients(function: Function, moving: int, gradient: Any, *arrays: Any) -> Arrays:
    _, pull = gg.vjp(lambda *moved: function(gg.nn.functional, *moved, *arrays[moving:]), *arrays[:moving])
    return [gg.asarray(g).numpy() for g in pull(gradient)]


def _torch_value(function: Function, torch: Any, *tensors: Any) -> Arrays:
    return [function(torch.nn.functional, *tensors)]


def _torch_gradients(function: Function, moving: int, torch: Any, gradient: Any, *tensors: Any) -> Arrays:
    leaves = [t.requires_grad_() for t in tensors[:moving]]
    return list(torch.autograd.grad(function(torch.nn.functional, *leaves, *tensors[moving:]), leaves, gradient))


def _named(name: str) -> Function:
    if name == "gelu_tanh":
        return lambda F, x: F.gelu(x, approximate="tanh")
    return lambda F, x: getattr(F, name)(x)


# --- the kernels ---


def _activation(name: str, dtype: str, size: int) -> Iterator[Case]:
    x, g, function = _numbers(dtype, size), _numbers(dtype, size, seed=1), _named(name)
    value, slope = formulas.VALUES[name], formulas.SLOPES[name]
    yield Case(
        f"{name} forward",
        dtype,
        [x],
        lambda launch, x: [kernels.activation(launch, name, x)],
        partial(_value, function),
        lambda xp, x: [value(xp, x)],
        partial(_torch_value, function),
    )

    def backward(launch: Any, g: Any, x: Any) -> Arrays:
        saved = x if name in kernels.FROM_INPUT else kernels.activation(launch, name, x)
        return [kernels.activation_backward(launch, name, g, saved)]

    yield Case(
        f"{name} backward",
        dtype,
        [g, x],
        backward,
        partial(_gradients, function, 1),
        lambda xp, g, x: [g * slope(xp, x)],
        partial(_torch_gradients, function, 1),
    )


def _bias_activation(name: str, dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    x, bias, g = _numbers(dtype, *shape), _numbers(dtype, shape[1]), _numbers(dtype, *shape, seed=1)
    value, slope = formulas.VALUES[name], formulas.SLOPES[name]

    def function(F: Any, x: Any, bias: Any) -> Any:
        return _named(name)(F, x + bias)

    yield Case(
        f"bias + {name} forward",
        dtype,
        [x, bias],
        lambda launch, x, bias: [kernels.bias_activation(launch, name, x, bias)],
        partial(_value, function),
        lambda xp, x, bias: [value(xp, x + bias)],
        partial(_torch_value, function),
        cancels=True,
    )

    def backward(launch: Any, g: Any, x: Any, bias: Any) -> Arrays:
        saved = x if name in kernels.FROM_INPUT else kernels.bias_activation(launch, name, x, bias)
        return list(kernels.bias_activation_backward(launch, name, g, saved, bias))

    def in_cupy(xp: Any, g: Any, x: Any, bias: Any) -> Arrays:
        out = g * slope(xp, x + bias)
        return [out, out.sum(axis=0)]

    yield Case(
        f"bias + {name} backward",
        dtype,
        [g, x, bias],
        backward,
        partial(_gradients, function, 2),
        in_cupy,
        partial(_torch_gradients, function, 2),
        cancels=True,
    )


def _chain(dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    """Kernels that are generated, with a row that is repeated."""
    x, row, g = _numbers(dtype, *shape), _numbers(dtype, shape[1]), _numbers(dtype, *shape, seed=1)

    def function(F: Any, x: Any, row: Any) -> Any:
        return F.sigmoid(x) * F.tanh(x + row) + F.relu(x)

    fused = gg.fuse(lambda x, row: function(gg.nn.functional, x, row))
    yield Case(
        "fused chain forward",
        dtype,
        [x, row],
        lambda launch, x, row: [fused(x, row).data],
        partial(_value, function),
        torch=partial(_torch_value, function),
        cancels=True,
    )

    def backward(launch: Any, g: Any, x: Any, row: Any) -> Arrays:
        leaves = [gg.asarray(a).requires_grad_() for a in (x, row)]
        fused(*leaves).backward(gg.asarray(g))
        return [leaf.grad.data for leaf in leaves]  # type: ignore[union-attr]

    yield Case(
        "fused chain backward",
        dtype,
        [g, x, row],
        backward,
        partial(_gradients, function, 2),
        torch=partial(_torch_gradients, function, 2),
        cancels=True,
    )


def _along_rows(name: str, F: Any, x: Any) -> Any:
    return getattr(F, name)(x, 1)


def _softmax(dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    x, g = _numbers(dtype, *shape), _numbers(dtype, *shape, seed=1)
    for log in (False, True):
        name = "log_softmax" if log else "softmax"
        function: Function = partial(_along_rows, name)
        yield Case(
            f"{name} forward",
            dtype,
            [x],
            lambda launch, x, log=log: [kernels.softmax(launch, x, log=log)],
            partial(_value, function),
            lambda xp, x, log=log: [formulas.softmax(xp, x, log)],
            partial(_torch_value, function),
            cancels=True,
        )
        yield Case(
            f"{name} backward",
            dtype,
            [g, x],
            lambda launch, g, x, log=log: [kernels.softmax_backward(launch, g, kernels.softmax(launch, x, log=log), log=log)],
            partial(_gradients, function, 1),
            lambda xp, g, x, log=log: [formulas.softmax_backward(xp, g, formulas.softmax(xp, x, log), log)],
            partial(_torch_gradients, function, 1),
            cancels=True,
        )
    ids = np.random.default_rng(0).integers(0, shape[1], shape[0])

    def kernel(launch: Any, x: Any, ids: Any) -> Arrays:
        weight = kernels.mean_weight(launch, ids, np.float64 if dtype == "float64" else np.float32)
        got = kernels.cross_entropy(launch, x, ids, weights=weight, total=True, gradient=True)
        return [got.total, got.gradient]

    def loss(F: Any, x: Any, ids: Any) -> Any:
        return F.cross_entropy(x, ids)

    def in_torch(torch: Any, x: Any, ids: Any) -> Arrays:
        x.requires_grad_()
        value = torch.nn.functional.cross_entropy(x, ids)
        return [value, torch.autograd.grad(value, x)[0]]

    def exact(x: Any, ids: Any) -> Arrays:
        return [*_value(loss, x, ids), *_gradients(loss, 1, 1.0, x, ids)]

    in_cupy = formulas.cross_entropy
    yield Case("cross_entropy with gradient", dtype, [x, ids], kernel, exact, in_cupy, in_torch, cancels=True)


def _norms(dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    rows, columns = shape
    x, g = _numbers(dtype, rows, columns) + _numbers(dtype, 1, 1, positive=True), _numbers(dtype, rows, columns, seed=1)
    weight, bias = (_numbers(dtype, columns, seed=seed) for seed in (2, 3))
    for centered in (True, False):
        name = "layer_norm" if centered else "rms_norm"

        def function(F: Any, x: Any, weight: Any, bias: Any, centered: bool = centered) -> Any:
            if centered:
                return F.layer_norm(x, (columns,), weight, bias, EPS)
            return F.rms_norm(x, (columns,), weight, EPS) + 0 * bias  # an input of both, so that cases are alike

        def forward(launch: Any, x: Any, weight: Any, bias: Any, centered: bool = centered) -> Any:
            return kernels.norm(launch, x, weight, bias if centered else None, eps=EPS, centered=centered)

        def backward(launch: Any, g: Any, x: Any, weight: Any, bias: Any, forward: Any = forward) -> Arrays:
            kept = forward(launch, x, weight, bias)
            gx = kernels.norm_backward(launch, g, x, weight, kept.means, kept.scales)
            gw, gb = kernels.norm_backward_parameters(launch, g, x, kept.means, kept.scales)
            return [gx, gw, gb] if kept.means is not None else [gx, gw]

        def some(call: Any, centered: bool = centered) -> Any:
            return lambda *args: list(call(*args))[: 3 if centered else 2]

        def in_cupy(xp: Any, g: Any, x: Any, weight: Any, bias: Any, centered: bool = centered) -> Any:
            return formulas.norm_backward(xp, g, x, weight, EPS, centered)

        yield Case(
            f"{name} forward",
            dtype,
            [x, weight, bias],
            lambda launch, *arrays, forward=forward: [forward(launch, *arrays).y],
            partial(_value, function),
            lambda xp, x, w, b, centered=centered: [formulas.norm(xp, x, w, b, EPS, centered)[0]],
            partial(_torch_value, function),
            cancels=True,
        )
        yield Case(
            f"{name} backward",
            dtype,
            [g, x, weight, bias],
            backward,
            some(partial(_gradients, function, 3)),
            some(in_cupy),
            some(partial(_torch_gradients, function, 3)),
            cancels=True,
        )


def _sums(dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    x = _numbers(dtype, *shape)
    for name, axis in (("sum_columns", 0), ("sum_rows", 1)):
        yield Case(
            name,
            dtype,
            [x],
            lambda launch, x, name=name: [getattr(kernels, name)(launch, x)],
            lambda x, axis=axis: [x.sum(axis=axis)],
            lambda xp, x, axis=axis: [x.sum(axis=axis)],
            lambda torch, x, axis=axis: [x.sum(axis)],
            cancels=True,
        )


def _dropout(dtype: str, shape: tuple[int, int]) -> Iterator[Case]:
    x, bias, g = _numbers(dtype, *shape), _numbers(dtype, shape[1]), _numbers(dtype, *shape, seed=1)

    def generator() -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=7))

    state = kernels.philox_state(generator())
    mask = (generator().random(shape, dtype=np.float64 if dtype == "float64" else np.float32) >= P) / (1 - P)
    yield Case(
        "dropout", dtype, [x, state], lambda launch, x, state: [kernels.dropout(launch, x, state, P)], lambda x, _: [x * mask]
    )
    gelu = _named("gelu")
    exact = partial(_gradients, lambda F, x, bias: gelu(F, x + bias) * mask, 2)
    yield Case(
        "bias + gelu + dropout forward",
        dtype,
        [x, bias, state],
        lambda launch, x, bias, state: [kernels.bias_activation_dropout(launch, "gelu", x, bias, state, P)],
        lambda x, bias, _: [_value(gelu, x + bias)[0] * mask],
        cancels=True,
    )
    yield Case(
        "bias + gelu + dropout backward",
        dtype,
        [g, x, bias, state],
        lambda launch, g, x, bias, state: list(kernels.bias_activation_dropout_backward(launch, "gelu", g, x, bias, state, P)),
        lambda g, x, bias, _: exact(g, x, bias),
        cancels=True,
    )

    def advanced(launch: Any, x: Any, state: Any) -> Arrays:
        state = state.copy()
        kernels.philox_advance(launch, state, x)
        return [state[:4]]

    blocks = -(-x.size // (4 if dtype == "float64" else 8))
    yield Case("philox_advance", dtype, [x, state], advanced, lambda x, state: [state[:4] + np.array([blocks, 0, 0, 0])])

    def words(launch: Any, _: Any) -> Arrays:
        counter = sum(int(word) << 64 * i for i, word in enumerate(state[:4]))
        return [kernels.philox_words(launch, counter, [int(word) for word in state[4:]], blocks) >> 11]  # exact in float64

    drawn = generator().bit_generator.random_raw(4 * blocks).reshape(blocks, 4) >> np.uint64(11)
    yield Case("philox_words", dtype, [state], words, lambda _: [drawn])


def _optimizers(dtype: str, size: int) -> Iterator[Case]:
    p, g, m = (_numbers(dtype, size, seed=seed) for seed in range(3))
    v, top = (_numbers(dtype, size, seed=seed, positive=True) for seed in (3, 4))
    t, kinds = 6, {"sgd": [], "sgd_momentum": [m], "adam": [m, v], "amsgrad": [m, v, top]}
    options: dict[str, Any] = {
        "sgd": {},
        "sgd_momentum": {"momentum": 0.9},
        "adam": {"betas": BETAS},
        "amsgrad": {"betas": BETAS},
    }
    for name, states in kinds.items():
        call = getattr(optimizers, "adam" if name == "amsgrad" else name)

        def kernel(launch: Any, *arrays: Any, name: str = name, call: Any = call) -> Arrays:
            arrays = tuple(a.copy() for a in arrays)
            scalars = [launch.xp.asarray(np.array(value)) for value in (RATE, float(t))]
            table = optimizers.tensor_table(launch, *([a] for a in arrays))
            call(launch, table, *scalars[: 1 if name == "sgd" else 2], **options[name])
            return [arrays[0], *arrays[2:]]

        def exact(*arrays: Any, name: str = name) -> Arrays:
            arrays = tuple(a.copy() for a in arrays)
            scalars = (np.array(RATE),) if name == "sgd" else (np.array(RATE), np.array(float(t)))
            registry[f"{name}_"].numpy(*scalars, *arrays, **options[name])
            return [arrays[0], *arrays[2:]]

        in_cupy = (lambda xp, *arrays: list(formulas.adam(xp, *arrays, RATE, t + 1))) if name == "adam" else None
        yield Case(name, dtype, [p, g, *states], kernel, exact, in_cupy, cancels=True)
