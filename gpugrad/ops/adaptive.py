"""Ops for one step of the adaptive optimisers beside Adam, each by its rule (see `updates.step_rule`)."""

from __future__ import annotations

from typing import Any

from .updates import _DECAYS, decay_, over_root, step_rule

Betas = tuple[float, float]


def _rmsprop(xp: Any, rate: float, alpha: float, eps: float, centered: bool, momentum: float | None) -> Any:
    """The direction of RMSprop in its four forms: they keep the mean square, and the mean, the momentum, both or neither."""

    def direction(g: Any, square: Any, *more: Any) -> Any:
        work = g * g
        decay_(square, work, alpha, xp, work)
        if centered:
            decay_(more[0], g, alpha, xp, work)
            xp.multiply(more[0], more[0], out=work)
            xp.subtract(square, work, out=work)
            square = xp.maximum(work, 0, out=work)  # rounding may make a variance negative
        if momentum is None:
            return over_root(xp, rate, g, square, eps, work)
        buffer = more[-1]
        buffer *= momentum
        buffer += over_root(xp, 1, g, square, eps, work)
        return xp.multiply(buffer, rate, out=work)

    return direction


@step_rule(1, {"weight_decay": 0.1, "alpha": 0.8, "maximize": True})
def rmsprop_(xp: Any, rate: float, t: float, *, alpha: float = 0.99, eps: float = 1e-8) -> Any:
    """One step of RMSprop over parameters, gradients and mean squares (`torch.optim.RMSprop`).

    >>> import gpugrad as gg
    >>> p, g, square = gg.tensor([1.0]), gg.tensor([2.0]), gg.zeros(1)
    >>> gg.ops.adaptive.rmsprop_(0.125, 0, p, g, square, alpha=0.75)
    >>> p, square
    (tensor([0.75]), tensor([1.]))
    """
    return _rmsprop(xp, rate, alpha, eps, False, None)


@step_rule(2, {"weight_decay": 0.1, "alpha": 0.8, "momentum": 0.9})
def rmsprop_momentum_(xp: Any, rate: float, t: float, *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0) -> Any:
    """`rmsprop_` with momentum, whose buffers are the fourth list.

    >>> import gpugrad as gg
    >>> p, g, square, buffer = gg.tensor([1.0]), gg.tensor([2.0]), gg.zeros(1), gg.ones(1)
    >>> gg.ops.adaptive.rmsprop_momentum_(0.125, 0, p, g, square, buffer, alpha=0.75, momentum=0.5)
    >>> p, buffer
    (tensor([0.6875]), tensor([2.5]))
    """
    return _rmsprop(xp, rate, alpha, eps, False, momentum)


@step_rule(2, {"weight_decay": 0.1, "alpha": 0.8})
def rmsprop_centered_(xp: Any, rate: float, t: float, *, alpha: float = 0.99, eps: float = 1e-8) -> Any:
    """`rmsprop_` by the standard deviation: means are the fourth list (Graves, 2013).

    >>> import gpugrad as gg
    >>> p, g, square, mean = gg.tensor([1.0]), gg.tensor([2.0]), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.adaptive.rmsprop_centered_(0.125, 0, p, g, square, mean, alpha=0.5)
    >>> p, mean
    (tensor([0.75]), tensor([1.]))
    """
    return _rmsprop(xp, rate, alpha, eps, True, None)


@step_rule(3, {"weight_decay": 0.1, "alpha": 0.8, "momentum": 0.9})
def rmsprop_centered_momentum_(
    xp: Any, rate: float, t: float, *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0
) -> Any:
    """`rmsprop_centered_` with momentum, whose buffers are the fifth list.

    >>> import gpugrad as gg
    >>> p, g, square, mean, buffer = gg.tensor([1.0]), gg.tensor([2.0]), gg.zeros(1), gg.zeros(1), gg.ones(1)
    >>> gg.ops.adaptive.rmsprop_centered_momentum_(0.125, 0, p, g, square, mean, buffer, alpha=0.5, momentum=0.5)
    >>> p, buffer
    (tensor([0.6875]), tensor([2.5]))
    """
    return _rmsprop(xp, rate, alpha, eps, True, momentum)


@step_rule(1, {"lr_decay": 0.1, "weight_decay": 0.1, "maximize": True})
def adagrad_(xp: Any, rate: float, t: float, *, lr_decay: float = 0.0, eps: float = 1e-10) -> Any:
    """One step of Adagrad over parameters, gradients and sums of squares (`torch.optim.Adagrad`). Duchi et al. (2011).

    >>> import gpugrad as gg
    >>> p, g, total = gg.tensor([1.0]), gg.tensor([2.0]), gg.zeros(1)
    >>> gg.ops.adaptive.adagrad_(0.5, 0, p, g, total)
    >>> p, total
    (tensor([0.5]), tensor([4.]))
    """
    rate = rate / (1 + (t - 1) * lr_decay)

    def direction(g: Any, total: Any) -> Any:
        work = g * g
        total += work
        return over_root(xp, rate, g, total, eps, work)

    return direction


@step_rule(2, {"rho": 0.8, "weight_decay": 0.1, "maximize": True})
def adadelta_(xp: Any, rate: float, t: float, *, rho: float = 0.9, eps: float = 1e-6) -> Any:
    """One step of Adadelta over parameters, gradients and mean squares of gradients and of steps (`torch.optim.Adadelta`).

    Zeiler (2012), algorithm 1.

    >>> import gpugrad as gg
    >>> p, g, square, delta = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.tensor([4.0])
    >>> gg.ops.adaptive.adadelta_(0.5, 0, p, g, square, delta, rho=0.75)
    >>> p, square, delta
    (tensor([-1.]), tensor([4.]), tensor([7.]))
    """

    def direction(g: Any, square: Any, delta: Any) -> Any:
        work = g * g
        decay_(square, work, rho, xp, work)
        change = delta + eps
        change /= xp.add(square, eps, out=work)
        xp.sqrt(change, out=change)
        change *= g
        decay_(delta, xp.multiply(change, change, out=work), rho, xp, work)
        change *= rate
        return change

    return direction


@step_rule(2, {"weight_decay": 0.1, "maximize": True})
def adamax_(xp: Any, rate: float, t: float, *, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Any:
    """One step of Adamax over parameters, gradients, means and decayed maxima (`torch.optim.Adamax`).

    Kingma and Ba (2015), algorithm 2.

    >>> import gpugrad as gg
    >>> p, g, mean, largest = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.adaptive.adamax_(0.5, 0, p, g, mean, largest)
    >>> p, largest
    (tensor([0.5]), tensor([4.]))
    """
    beta1, beta2 = betas
    rate = rate / (1 - beta1**t)

    def direction(g: Any, mean: Any, largest: Any) -> Any:
        work = xp.empty_like(g)
        decay_(mean, g, beta1, xp, work)
        largest *= beta2
        xp.abs(g, out=work)
        work += eps
        xp.maximum(largest, work, out=largest)
        xp.divide(mean, largest, out=work)
        work *= rate
        return work

    return direction


@step_rule(2, *_DECAYS, decoupled=True)
def nadam_(
    xp: Any,
    rate: float,
    t: float,
    mu_product: Any,
    *,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
) -> Any:
    """One step of NAdam over parameters, gradients and two moments (`torch.optim.NAdam`). Dozat (2016).

    `mu_product` is the product of the momenta of all steps so far, 1 at the start.

    >>> import gpugrad as gg
    >>> p, g, m, v, mu_product = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1), gg.ones(())
    >>> gg.ops.adaptive.nadam_(0.125, 0, mu_product, p, g, m, v)
    >>> p, m
    (tensor([0.8679]), tensor([0.4]))
    """
    beta1, beta2 = betas
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    mu_product *= mu
    product = float(mu_product)
    correction = (1 - beta2**t) ** 0.5
    rate, eps = rate * correction, eps * correction
    of_gradient, of_mean = rate * (1 - mu) / (1 - product), rate * mu_next / (1 - product * mu_next)

    def direction(g: Any, m: Any, v: Any) -> Any:
        work = xp.empty_like(g)
        decay_(m, g, beta1, xp, work)
        decay_(v, xp.multiply(g, g, out=work), beta2, xp, work)
        ahead = g * of_gradient
        ahead += m * of_mean
        return over_root(xp, 1, ahead, v, eps, work)

    return direction


@step_rule(2, {"betas": (0.5, 0.75)}, *_DECAYS, decoupled=True)
def radam_(xp: Any, rate: float, t: float, *, betas: Betas = (0.9, 0.999), eps: float = 1e-8) -> Any:
    """One step of RAdam over parameters, gradients and two moments (`torch.optim.RAdam`). Liu et al. (2020), algorithm 2.

    >>> import gpugrad as gg
    >>> p, g, m, v = gg.tensor([1.0]), gg.tensor([4.0]), gg.zeros(1), gg.zeros(1)
    >>> gg.ops.adaptive.radam_(0.125, 0, p, g, m, v)
    >>> p, m
    (tensor([0.5]), tensor([0.4]))
    """
    beta1, beta2 = betas
    rate = rate / (1 - beta1**t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    rectified = length > 5  # before that, the second moment is known too badly to divide by
    if rectified:
        share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        rate *= (share * (1 - beta2**t)) ** 0.5

    def direction(g: Any, m: Any, v: Any) -> Any:
        work = xp.empty_like(g)
        decay_(m, g, beta1, xp, work)
        decay_(v, xp.multiply(g, g, out=work), beta2, xp, work)
        if not rectified:
            return xp.multiply(m, rate, out=work)
        return over_root(xp, rate, m, v, eps, work)

    return direction
