"""Dropout: elements, or whole channels, set to 0 at random while training."""

from __future__ import annotations

from typing import Any

import numpy

from .. import backend, half
from ..errors import ShapeError
from ..modes import current_mode
from ..op import ArrayLike, as_tensor, as_tensors, fused, linear, needed, registry
from ..op import composed as F
from . import philox
from .random import default_generator
from .samples import array, calls


def uniform_on(x: Any, shape: tuple[int, ...]) -> Any:
    """Uniform numbers in [0, 1) from the default generator, on the device of `x`; float32, or float64 for float64."""
    return F.random_uniform(shape, numpy.promote_types(x.dtype, numpy.float32), None, x.device)


def _check_p(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is a probability, in [0, 1]; got {p}")


def _scale(p: float) -> float:
    """What elements that are kept are multiplied by."""
    return 0 if p == 1 else 1 / (1 - p)


def _dropped(name: str, x: Any, shape: tuple[int, ...], p: float, training: bool) -> Any:
    _check_p(name, p)
    if not training or p == 0:
        return x
    return x * F.multiply(F.greater_equal(uniform_on(x, shape), p), x.dtype.type(_scale(p)))


_STATE = numpy.array([1, 2, 3, 4, 5, 6], numpy.uint64)


@linear(
    transpose=lambda F, t, state, p: F.dropout_from(t, state, p),
    samples=calls(
        lambda rng: ((array(rng, 3, 7), _STATE), {}),
        lambda rng: ((array(rng, 5), _STATE), {"p": 0.25}),
        lambda rng: ((array(rng, 2), _STATE), {"p": 1.0}),
    ),
)
def dropout_from(xp: Any, x: ArrayLike, state: ArrayLike, p: float = 0.5) -> Any:
    """`dropout` by the numbers that follow a state of the generator, which its backward draws again: no mask is kept.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.ops.dropout.dropout_from(gg.ones(5), np.ones(6, "uint64"))
    tensor([2., 0., 0., 2., 2.])
    """
    return x * _kept(xp, x, state, p)


def _kept(xp: Any, x: Any, state: Any, p: float) -> Any:
    """The mask for `x`: 0, or the scale."""
    drawn = numpy.promote_types(x.dtype, numpy.float32)
    kept = philox.uniform_from(xp, backend.on_host(state), x.shape, drawn) >= p
    return kept.astype(x.dtype) * x.dtype.type(_scale(p))


def _fused_forward(xp: Any, x: Any, bias: Any, state: Any, activation: str, p: float) -> Any:
    """The result; and what went into the activation, what came out, and the mask."""
    z = backend.real_only(x) + bias
    y = registry[activation].forward_in(xp)(z)
    kept = _kept(xp, y, state, p)
    return y * kept, (z, y, kept)


def _fused_rule(F: Any, t: Any, bias_shape: tuple[int, ...], activation: str, aux: Any) -> Any:
    z, y, kept = aux
    op = registry[activation]
    rule: Any = op.rules[0]
    values = {name: op.signature.parameters[name].default for name in op.params} | {"x": z, "out": y}
    t = rule(F, t * kept, *[values[name] for name in needed(rule)])
    return t, F.sum_to(t, bias_shape), None


def _fused_samples(*cases: tuple[str, float]) -> Any:
    return calls(*[lambda rng, c=c: ((array(rng, 3, 8), array(rng, 8), _STATE, *c), {}) for c in cases])


@fused(forward=_fused_forward, vjp=_fused_rule, samples=_fused_samples(("tanh", 0.5), ("gelu", 0.25), ("hardtanh", 0.0)))
def bias_activation_dropout_from(
    F: Any, x: ArrayLike, bias: ArrayLike, state: ArrayLike, activation: str = "relu", p: float = 0.5
) -> Any:
    """`bias_activation_dropout` by the numbers that follow a state of the generator; one kernel each way on a GPU.

    >>> import gpugrad as gg
    >>> import numpy as np
    >>> gg.ops.dropout.bias_activation_dropout_from(gg.ones(5), gg.ones(5), np.ones(6, "uint64"))
    tensor([4., 0., 0., 4., 4.])
    """
    return F.dropout_from(getattr(F, activation)(F.add(x, bias)), state, p)


def dropout(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """Each element 0 with probability `p`, the others times ``1 / (1 - p)``, while training (`torch.nn.functional.dropout`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout([1.0, 2.0], training=False)
    tensor([1., 2.])
    >>> gg.nn.functional.dropout(gg.ones(1000)).max()
    tensor(2.)
    """
    x = as_tensor(x)
    bits: Any = default_generator().bit_generator
    if not training or p == 0 or not half.is_floating(x.dtype):
        return _dropped("dropout", x, x.shape, p, training)
    if not draws_on_device(x):
        bits.advance(0)  # to the next block of the generator, where a kernel can begin: before and after, on all devices
        out = _dropped("dropout", x, x.shape, p, training)
        if x.size % 8:
            bits.advance(0)
        return out
    _check_p("dropout", p)
    return F.dropout_from(x, _next_state(x), p)


def draws_on_device(x: Any) -> bool:
    """Whether a mask is to be drawn beside `x`. In a program it is not: that would draw the same numbers again and again."""
    return x.device != "cpu" and current_mode().records is None


def _next_state(x: Any) -> Any:
    """The state from which a mask for `x` is drawn, beside it; the generator moves on past the numbers."""
    bits: Any = default_generator().bit_generator
    bits.advance(0)
    state = backend.beside(philox.state_of(bits), x._array)
    bits.advance(philox.blocks_of(x.size, numpy.promote_types(x.dtype, numpy.float32)))
    return state


def bias_activation_dropout(
    x: ArrayLike, bias: ArrayLike, activation: str = "relu", p: float = 0.5, training: bool = True
) -> Any:
    """``dropout(activation(x + bias), p)``, which on a GPU is one kernel forward and one backward.

    `nn.Sequential` runs it after the product of a `Linear` that an activation and a `Dropout` follow.

    Parameters
    ----------
    activation : str
        An elementwise op of one array, by name; at its defaults.

    >>> import gpugrad as gg
    >>> gg.nn.functional.bias_activation_dropout([[-3.0, 1.0]], [1.0, 1.0], "relu", training=False)
    tensor([[0., 2.]])
    """
    op = registry.get(activation)
    if op is None or op.kind != "elementwise" or len(op.inputs) != 1:
        raise ValueError(f"bias_activation_dropout: activation must name an elementwise op of one array, got {activation!r}")
    x, bias = as_tensors(x, bias)
    if not training or p == 0 or x.dtype.kind != "f" or x.dtype != bias.dtype or not draws_on_device(x):
        return dropout(getattr(F, activation)(F.add(x, bias)), p, training)
    _check_p("bias_activation_dropout", p)
    if bias.shape != x.shape[-1:]:
        raise ShapeError(f"bias_activation_dropout: bias must have shape {x.shape[-1:]} for x {x.shape}, got {bias.shape}")
    return F.bias_activation_dropout_from(x, bias, _next_state(x), activation, p)


def _channels(name: str, x: Any, spatial: int, p: float, training: bool) -> Any:
    x = as_tensor(x)
    if x.ndim not in (spatial + 1, spatial + 2):
        raise ShapeError(f"{name}: x must have {spatial} axes after the channels, (N, C, ...) or (C, ...); got {x.shape}")
    return _dropped(name, x, x.shape[: x.ndim - spatial] + (1,) * spatial, p, training)


def dropout1d(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """`dropout` of whole channels of (N, C, L) or (C, L) (`torch.nn.functional.dropout1d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout1d(gg.ones((8, 4, 3)), p=1.0).sum()
    tensor(0.)
    """
    return _channels("dropout1d", x, 1, p, training)


def dropout2d(x: ArrayLike, p: float = 0.5, training: bool = True) -> Any:
    """`dropout` of whole channels of (N, C, H, W) or (C, H, W) (`torch.nn.functional.dropout2d`).

    >>> import gpugrad as gg
    >>> gg.nn.functional.dropout2d(gg.ones((8, 4, 3, 3)), training=False).sum()
    tensor(288.)
    """
    return _channels("dropout2d", x, 2, p, training)


__all__ = [
    "bias_activation_dropout",
    "bias_activation_dropout_from",
    "draws_on_device",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout_from",
    "uniform_on",
]
