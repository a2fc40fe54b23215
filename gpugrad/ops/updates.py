"""Ops that change arrays in place: assignment and the optimisers' steps.

They pass `apply` like all others, so a recorded step holds them. An optimiser's op updates all parameters at once. Its
learning rate and step count are arrays, so that a recorded step reads their value of the day.
"""

from __future__ import annotations

from typing import Any

import numpy

from ..op import ArrayLike, update
from .samples import array, calls

_BLOCK = 1 << 15
"""Elements updated at a time: the parameter, its gradient and its moments then stay in the cache."""


_POSITIVE = calls(lambda rng: ((array(rng, 3, 4, low=0.5), array(rng, 4, low=0.5)), {}))


def _in_place(name: str) -> Any:
    def body(xp: Any, x: ArrayLike, y: ArrayLike) -> Any:
        getattr(xp, name)(x, y, x)

    body.__name__ = f"{name}_"
    body.__module__ = __name__
    body.__doc__ = f"""`numpy.{name}` of two arrays, written into the first.

    >>> import gpugrad as gg
    >>> x = gg.tensor([4.0])
    >>> gg.ops.updates.{name}_(x, 2.0)
    >>> x == gg.{name}(4.0, 2.0)
    tensor([ True])
    """
    return update(mutates=lambda count: (0,), samples=_POSITIVE)(body)


add_, subtract_, multiply_, divide_, power_ = map(_in_place, ("add", "subtract", "multiply", "divide", "power"))


@update(mutates=lambda count: (0,), samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4)), {})))
def assign_(xp: Any, x: ArrayLike, value: ArrayLike) -> Any:
    """`value` copied into `x` (`numpy.copyto`).

    >>> import gpugrad as gg
    >>> x = gg.zeros(2)
    >>> gg.ops.updates.assign_(x, [1.0, 2.0])
    >>> x
    tensor([1., 2.])
    """
    xp.copyto(x, value)


def _groups(tensors: tuple[Any, ...], count: int) -> Any:
    """A list of `count` runs of equal length, read side by side: parameter, gradient, first state, ..."""
    n = len(tensors) // count
    return zip(*(tensors[i * n : (i + 1) * n] for i in range(count)), strict=True)


def _blocks(arrays: tuple[Any, ...]) -> Any:
    """Arrays of one shape as flat pieces that fit the cache; whole where they are small or not contiguous."""
    size = arrays[0].size
    if size <= _BLOCK or not all(a.flags.c_contiguous for a in arrays):
        return (arrays,)
    flat = [a.reshape(-1) for a in arrays]
    return (tuple(a[start : start + _BLOCK] for a in flat) for start in range(0, size, _BLOCK))


def _steps(groups: int, leading: int, *options: dict[str, Any]) -> Any:
    """Samples of an optimiser's op: a learning rate, where `leading` is 2 a step count, and runs of two arrays each."""

    def one(kwargs: dict[str, Any]) -> Any:
        def make(rng: Any) -> Any:
            scalars = (numpy.array(0.1), numpy.array(1.0))[:leading]
            runs = [array(rng, *shape, low=0.1) for _ in range(groups) for shape in ((3, 4), (5,))]
            return (*scalars, *runs), kwargs

        return make

    return calls(*map(one, ({}, *options)))


def _mutated_groups(groups: int, mutated: tuple[int, ...], scalars: int) -> Any:
    def indices(count: int) -> list[int]:
        n = (count - scalars) // groups
        return [scalars + g * n + i for g in mutated for i in range(n)]

    return indices


@update(mutates=_mutated_groups(2, (0,), 1), samples=_steps(2, 1, {"weight_decay": 0.1, "maximize": True}))
def sgd_(xp: Any, lr: ArrayLike, *tensors: ArrayLike, weight_decay: float = 0.0, maximize: bool = False) -> Any:
    """One step of gradient descent, ``p -= lr * (g + weight_decay * p)``, over parameters and gradients (`torch.optim.SGD`).

    >>> import gpugrad as gg
    >>> p, g = gg.tensor([1.0, 2.0]), gg.tensor([1.0, -1.0])
    >>> gg.ops.updates.sgd_(0.5, p, g)
    >>> p
    tensor([0.5, 2.5])
    """
    rate = -float(lr) if maximize else float(lr)
    decay = -weight_decay if maximize else weight_decay
    for pair in _groups(tensors, 2):
        for p, g in (pair,) if pair[0].size <= _BLOCK else _blocks(pair):
            xp.subtract(p, (g + p * decay) * rate if decay else g * rate, p)


@update(
    mutates=_mutated_groups(3, (0, 2), 2),
    samples=_steps(3, 2, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True}),
)
def sgd_momentum_(
    xp: Any,
    lr: ArrayLike,
    step: ArrayLike,
    *tensors: ArrayLike,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Any:
    """One step of gradient descent with momentum over parameters, gradients and buffers (`torch.optim.SGD`).

    `step` is the number of steps done; at 0 the buffer is set to the gradient, undampened.

    >>> import gpugrad as gg
    >>> p, g, buffer = gg.tensor([1.0]), gg.tensor([1.0]), gg.zeros(1)
    >>> for step in range(2):
    ...     gg.ops.updates.sgd_momentum_(0.1, step, p, g, buffer, momentum=0.5)
    >>> p, buffer
    (tensor([0.75]), tensor([1.5]))
    """
    rate, first = float(lr), float(step) == 0
    for p, g, b in _groups(tensors, 3):
        for p_, g_, b_ in _blocks((p, g, b)):
            if maximize:
                g_ = -g_
            if weight_decay:
                g_ = g_ + p_ * weight_decay
            if first:
                xp.copyto(b_, g_)
            else:
                b_ *= momentum
                b_ += g_ if dampening == 0 else g_ * (1 - dampening)
            p_ -= (g_ + b_ * momentum if nesterov else b_) * rate


def _adam_block(
    xp: Any,
    arrays: tuple[Any, ...],
    rate: float,
    t: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Adam on one block: parameter, gradient, moments, and for AMSGrad the largest second moment so far."""
    p, g, m, v, *largest = arrays
    beta1, beta2 = betas
    if maximize:
        g = -g
    if decay and decoupled:
        p *= 1 - rate * decay
    elif decay:
        g = g + p * decay
    work = xp.empty_like(p)
    m *= beta1
    m += xp.multiply(g, 1 - beta1, out=work)
    v *= beta2
    xp.multiply(g, g, out=work)
    work *= 1 - beta2
    v += work
    if largest:
        xp.maximum(largest[0], v, out=largest[0])
        v = largest[0]
    xp.sqrt(v, out=work)
    work *= 1 / (1 - beta2**t) ** 0.5
    work += eps
    xp.divide(m, work, out=work)
    work *= rate / (1 - beta1**t)
    p -= work


@update(
    mutates=_mutated_groups(4, (0, 2, 3), 2),
    samples=_steps(4, 2, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True, "maximize": True}),
)
def adam_(
    xp: Any,
    lr: ArrayLike,
    step: ArrayLike,
    *tensors: ArrayLike,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> Any:
    """One step of Adam, or with `decoupled` of AdamW, over parameters, gradients and two moments (`torch.optim.Adam`).

    `step` is the number of steps done before this one. Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2019).

    >>> import gpugrad as gg
    >>> p, g, m, v = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.updates.adam_(0.125, 0, p, g, m, v)
    >>> p, m
    (tensor([0.875]), tensor([0.4]))
    """
    rate, t = float(lr), float(step) + 1
    for arrays in _groups(tensors, 4):
        for block in _blocks(arrays):
            _adam_block(xp, block, rate, t, betas, eps, weight_decay, decoupled, maximize)


@update(mutates=_mutated_groups(5, (0, 2, 3, 4), 2), samples=_steps(5, 2, {"weight_decay": 0.1}))
def amsgrad_(
    xp: Any,
    lr: ArrayLike,
    step: ArrayLike,
    *tensors: ArrayLike,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> Any:
    """`adam_` with the largest second moment so far as a fifth list (Reddi et al., 2018).

    >>> import gpugrad as gg
    >>> p, g, m, v, largest = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.updates.amsgrad_(0.125, 0, p, g, m, v, largest)
    >>> p, largest
    (tensor([0.875]), tensor([0.016]))
    """
    rate, t = float(lr), float(step) + 1
    for arrays in _groups(tensors, 5):
        for block in _blocks(arrays):
            _adam_block(xp, block, rate, t, betas, eps, weight_decay, decoupled, maximize)
