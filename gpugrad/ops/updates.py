"""Ops that change arrays in place: assignment and the optimisers' steps.

They pass `apply` like all others, so a recorded step holds them. An optimiser's op updates all parameters at once; its
inputs are the learning rate and the number of steps done, which are arrays, so that a recorded step reads their value of
the day, and then one run of arrays after another: parameters, gradients, first states, ... See `step_rule`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy

from ..op import ArrayLike, Sample, Samples, first_input, update
from .arena import BLOCK, blocks, pieces, shared_out, together
from .samples import array, calls

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
    return update(mutates=first_input, samples=_POSITIVE)(body)


add_, subtract_, multiply_, divide_, power_ = map(_in_place, ("add", "subtract", "multiply", "divide", "power"))


@update(mutates=first_input, samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4)), {})))
def assign_(xp: Any, x: ArrayLike, value: ArrayLike) -> Any:
    """`value` copied into `x` (`numpy.copyto`).

    >>> import gpugrad as gg
    >>> x = gg.zeros(2)
    >>> gg.ops.updates.assign_(x, [1.0, 2.0])
    >>> x
    tensor([1., 2.])
    """
    xp.copyto(x, value)


def _steps(runs: int, scalars: tuple[float, ...], options: tuple[dict[str, Any], ...]) -> Samples:
    """Samples of an optimiser's op: its numbers, and runs of two arrays each."""

    def make(rng: Any) -> Any:
        for kwargs in ({}, *options):
            arrays = [array(rng, *shape, low=0.1) for _ in range(runs) for shape in ((3, 4), (5,))]
            yield Sample((*map(numpy.array, scalars), *arrays), kwargs)

    return make


@update(mutates=lambda count: range(1, 1 + count // 2), samples=_steps(2, (0.1,), ({"weight_decay": 0.1, "maximize": True},)))
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
    half = len(tensors) // 2
    dtype = scale = None
    for p, g in zip(tensors[:half], tensors[half:]):
        if g.dtype is not dtype:  # a number of another type is converted anew by each call
            dtype = g.dtype
            scale = xp.asarray(rate, dtype)
        if p.size <= BLOCK and not decay:
            xp.subtract(p, xp.multiply(g, scale), p)
        else:
            for (p_,), g_ in blocks(xp, p, g):
                xp.subtract(p_, xp.multiply(g_ + p_ * decay if decay else g_, scale), p_)


def step_rule(states: int, *options: dict[str, Any], decoupled: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Declare an optimiser's op by its rule.

    ``rule(xp, rate, t, **options)`` gets the learning rate and the number of the step, from 1, and returns a function
    ``direction(g, *states)`` that updates the states in place and returns what to subtract from the parameter, in memory of
    its own. It is called for one cache-sized block of a parameter after another. `g` is the gradient to follow downhill,
    with weight decay in it. Further arguments of the rule after `t` are 0-d arrays that it updates itself.

    Parameters
    ----------
    states : int
        Arrays kept for each parameter.
    *options : dict
        What samples are made with, beside the defaults.
    decoupled : bool
        The op has an option `decoupled_weight_decay`: to shrink the parameter, as AdamW does.
    """
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD

    def declare(rule: Callable[..., Any]) -> Any:
        own = list(inspect.signature(rule).parameters.values())
        more = [p.name for p in own[3:] if p.kind is positional]
        first, runs = 2 + len(more), 2 + states

        def body(
            xp: Any,
            lr: Any,
            step: Any,
            *tensors: Any,
            weight_decay: float = 0.0,
            decoupled_weight_decay: bool = False,
            maximize: bool = False,
            **options: Any,
        ) -> None:
            rate = float(lr)
            direction = rule(xp, rate, float(step) + 1, *tensors[: first - 2], **options)
            tensors = tensors[first - 2 :]
            n = len(tensors) // runs
            for parameters, g, *kept in pieces(xp, [tensors[i * n : (i + 1) * n] for i in range(runs)]):
                if maximize:
                    g = -g
                if weight_decay and not decoupled_weight_decay:
                    g = g + together(parameters) * weight_decay
                for p, change in shared_out(direction(g, *kept), parameters):
                    if weight_decay and decoupled_weight_decay:
                        p *= 1 - rate * weight_decay
                    p -= change

        def mutated(count: int) -> list[int]:
            n = (count - first) // runs
            return [*range(2, first + n), *range(first + 2 * n, count)]

        common = {"weight_decay": 0.0} | ({"decoupled_weight_decay": False} if decoupled else {}) | {"maximize": False}
        parameters = [
            inspect.Parameter("xp", positional),
            *(inspect.Parameter(name, positional, annotation="ArrayLike") for name in ("lr", "step", *more)),
            inspect.Parameter("tensors", inspect.Parameter.VAR_POSITIONAL, annotation="ArrayLike"),
            *(p for p in own if p.kind is keyword),
            *(inspect.Parameter(name, keyword, default=d, annotation=type(d).__name__) for name, d in common.items()),
        ]
        body.__name__, body.__doc__, body.__module__ = rule.__name__, rule.__doc__, rule.__module__
        body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return update(mutates=mutated, samples=_steps(runs, (0.1, 1.0, 0.9)[:first], options))(body)

    return declare


def decay_(mean: Any, value: Any, rate: float, xp: Any, work: Any) -> None:
    """``mean = rate * mean + (1 - rate) * value``, in place; `work` is scratch memory, and may be `value`."""
    mean *= rate
    mean += xp.multiply(value, 1 - rate, out=work)


def over_root(xp: Any, rate: float, numerator: Any, square: Any, eps: float, work: Any) -> Any:
    """``rate * numerator / (sqrt(square) + eps)``, in `work`, which may be `square`."""
    xp.sqrt(square, out=work)
    work += eps
    xp.divide(numerator, work, out=work)
    if rate != 1:
        work *= rate
    return work


@step_rule(1, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True, "maximize": True})
def sgd_momentum_(
    xp: Any, rate: float, t: float, *, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False
) -> Any:
    """One step of gradient descent with momentum over parameters, gradients and buffers (`torch.optim.SGD`).

    At step 0 the buffer is set to the gradient, undampened.

    >>> import gpugrad as gg
    >>> p, g, buffer = gg.tensor([1.0]), gg.tensor([1.0]), gg.zeros(1)
    >>> for step in range(2):
    ...     gg.ops.updates.sgd_momentum_(0.1, step, p, g, buffer, momentum=0.5)
    >>> p, buffer
    (tensor([0.75]), tensor([1.5]))
    """

    def direction(g: Any, buffer: Any) -> Any:
        if t == 1:
            xp.copyto(buffer, g)
        else:
            buffer *= momentum
            buffer += g if dampening == 0 else g * (1 - dampening)
        return (g + buffer * momentum if nesterov else buffer) * rate

    return direction


def _adam(xp: Any, rate: float, t: float, betas: tuple[float, float], eps: float) -> Any:
    """The direction of Adam, and, where a largest second moment is kept, of AMSGrad."""
    beta1, beta2 = betas
    correction = (1 - beta2**t) ** 0.5  # of the root, taken out of it: two passes over memory less
    rate, eps = rate * correction / (1 - beta1**t), eps * correction

    def direction(g: Any, m: Any, v: Any, largest: Any = None) -> Any:
        work = xp.empty_like(g)
        decay_(m, g, beta1, xp, work)
        decay_(v, xp.multiply(g, g, out=work), beta2, xp, work)
        if largest is not None:
            v = xp.maximum(largest, v, out=largest)
        return over_root(xp, rate, m, v, eps, work)

    return direction


_DECAYS = ({"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True})


@step_rule(2, *_DECAYS, decoupled=True)
def adam_(xp: Any, rate: float, t: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Any:
    """One step of Adam, or of AdamW, over parameters, gradients and two moments (`torch.optim.Adam`).

    Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2019).

    >>> import gpugrad as gg
    >>> p, g, m, v = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.updates.adam_(0.125, 0, p, g, m, v)
    >>> p, m
    (tensor([0.875]), tensor([0.4]))
    """
    return _adam(xp, rate, t, betas, eps)


@step_rule(3, *_DECAYS, decoupled=True)
def amsgrad_(xp: Any, rate: float, t: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Any:
    """`adam_` with the largest second moment so far as a fifth list (Reddi et al., 2018).

    >>> import gpugrad as gg
    >>> p, g, m, v, largest = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.updates.amsgrad_(0.125, 0, p, g, m, v, largest)
    >>> p, largest
    (tensor([0.875]), tensor([0.016]))
    """
    return _adam(xp, rate, t, betas, eps)


@update(mutates=first_input, samples=calls(lambda rng: ((array(rng, 3, 4), array(rng, 4), 0.25), {})))
def lerp_(xp: Any, x: ArrayLike, y: ArrayLike, weight: ArrayLike) -> Any:
    """``x + weight * (y - x)``, written into `x`: a running mean (`torch.Tensor.lerp_`).

    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0, 2.0])
    >>> gg.ops.updates.lerp_(x, [3.0, 2.0], 0.5)
    >>> x
    tensor([2., 2.])
    """
    x += ((y - x) * weight).astype(x.dtype, copy=False)
