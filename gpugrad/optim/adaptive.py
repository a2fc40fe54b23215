"""Optimisers with a learning rate for each element, beside Adam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from .. import backend
from .optimizers import Implementation, Optimizer

__all__ = ["Adadelta", "Adagrad", "Adamax", "NAdam", "RAdam", "RMSprop"]


class RMSprop(Optimizer):
    """Gradients divided by the root of their running mean square (Hinton, 2012; `torch.optim.RMSprop`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr : float
    alpha : float
        Decay rate of the running mean.
    eps, weight_decay, momentum : float
    centered : bool
        Divide by the running standard deviation instead (Graves, 2013).
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, options | {"centered": centered, "maximize": maximize}, **implementation)

    def _rule(self, group: dict[str, Any]) -> str:
        return "rmsprop_" + "centered_" * bool(group["centered"]) + "momentum_" * bool(group["momentum"])

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", *["grad_avg"] * bool(group["centered"]), *["momentum_buffer"] * bool(group["momentum"]))


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares (Duchi et al., 2011; `torch.optim.Adagrad`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr, lr_decay, weight_decay, initial_accumulator_value, eps : float
        The learning rate at step t, from 0, is ``lr / (1 + t * lr_decay)``.
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], requires_grad=True)
    """

    rule, state_names = "adagrad_", ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options | {"initial_accumulator_value": initial_accumulator_value}, **implementation)

    def _initial(self, group: dict[str, Any], name: str, array: Any) -> Any:
        start = group["initial_accumulator_value"]
        return backend.made_beside(array, "full_like", array, complex(start, start) if array.dtype.kind == "c" else start)


class Adadelta(Optimizer):
    """Steps in the parameters' own units (Zeiler, 2012; `torch.optim.Adadelta`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr, rho, eps, weight_decay : float
        `rho` is the decay rate of the running means of squared gradients and squared steps.
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.Adadelta([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9968], requires_grad=True)
    """

    rule, state_names = "adadelta_", ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        super().__init__(
            params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}, **implementation
        )


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba, 2015; `torch.optim.Adamax`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr : float
    betas : pair of float
        Decay rates of the running mean and of the largest magnitude.
    eps, weight_decay : float
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.Adamax([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], requires_grad=True)
    """

    rule, state_names = "adamax_", ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options, **implementation)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016; `torch.optim.NAdam`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr : float
    betas : pair of float
    eps, weight_decay, momentum_decay : float
    decoupled_weight_decay : bool
        Shrink the parameters, as `AdamW` does, instead of adding to the gradient.
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.NAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8944], requires_grad=True)
    """

    rule, state_names = "nadam_", ("exp_avg", "exp_avg_sq")
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0, "mu_product": 1.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        super().__init__(
            params, options | {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}, **implementation
        )


class RAdam(Optimizer):
    """Adam whose first steps wait until the second moment is known well enough (Liu et al., 2020; `torch.optim.RAdam`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr : float
    betas : pair of float
    eps, weight_decay : float
    decoupled_weight_decay : bool
        Shrink the parameters, as `AdamW` does, instead of adding to the gradient.
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.RAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8], requires_grad=True)
    """

    rule, state_names = "radam_", ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(
            params, options | {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}, **implementation
        )
