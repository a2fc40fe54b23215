"""Learning rate schedules (`torch.optim.lr_scheduler`): call `step` after each epoch, or after each batch for `OneCycleLR`.

A schedule sets ``group["lr"]``, a float, in each group of its optimiser. What the rate was at the start is kept in
``group["initial_lr"]``, so a loaded optimiser brings it along.
"""

from __future__ import annotations

import inspect
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ..errors import CheckpointError
from .optimizers import Optimizer
from .schedule import LRScheduler, each

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class _Factor(LRScheduler):
    """Schedules ``eta_min + (start - eta_min) * factor(epoch)``; the other parameters of `_factor` are those of the class.

    A step multiplies the rate, so that several may act on one optimiser.
    """

    _factor: Callable[..., float]
    eta_min = 0.0
    _names: ClassVar[list[str]]

    def __init_subclass__(cls) -> None:
        epoch, *own = inspect.signature(cls._factor).parameters.values()
        cls._names = [p.name for p in own]
        ends = [inspect.Parameter(name, epoch.kind, default=d) for name, d in (("optimizer", epoch.empty), ("last_epoch", -1))]
        cls.__signature__ = inspect.Signature([ends[0], *own, ends[1]])  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        for name in {"step_size", "T_max", "total_iters"} & bound.arguments.keys():
            if bound.arguments[name] < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be at least 1, got {bound.arguments[name]}")
        super().__init__(**bound.arguments)

    def _share(self, epoch: int) -> float:
        return type(self)._factor(epoch, **{name: getattr(self, name) for name in self._names})

    def _rate(self, i: int, group: dict[str, Any]) -> float:
        return self.eta_min + (self.base_lrs[i] - self.eta_min) * self._share(self.last_epoch)

    def _next(self, i: int, group: dict[str, Any]) -> float:
        now, before = self._share(self.last_epoch), self._share(self.last_epoch - 1) if self.last_epoch else 1.0
        if before == 0 != now:  # only the start tells what comes after
            return self._rate(i, group)
        return group["lr"] if now == before else self.eta_min + (group["lr"] - self.eta_min) * (now / before)


class StepLR(_Factor):
    """Times `gamma` every `step_size` epochs.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.2]
    """

    @staticmethod
    def _factor(epoch: int, step_size: int, gamma: float = 0.1) -> float:
        return gamma ** (epoch // step_size)


class MultiStepLR(_Factor):
    """Times `gamma` at each of `milestones`, which are numbers of epochs.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.2]
    """

    @staticmethod
    def _factor(epoch: int, milestones: Sequence[int], gamma: float = 0.1) -> float:
        return gamma ** sum(epoch >= milestone for milestone in milestones)


class ExponentialLR(_Factor):
    """Times `gamma` every epoch.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.4]
    """

    @staticmethod
    def _factor(epoch: int, gamma: float) -> float:
        return gamma**epoch


class LinearLR(_Factor):
    """From `start_factor` to `end_factor` of the rate in `total_iters` equal steps: a linear warm-up.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    @staticmethod
    def _factor(epoch: int, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5) -> float:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: factors must be in (0, 1] and [0, 1], got {start_factor} and {end_factor}")
        return start_factor + (end_factor - start_factor) * min(epoch, total_iters) / total_iters


class CosineAnnealingLR(_Factor):
    """Half a cosine from the rate to `eta_min` in `T_max` epochs, and back (Loshchilov and Hutter, 2017).

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.4
    """

    @staticmethod
    def _factor(epoch: int, T_max: int, eta_min: float = 0.0) -> float:
        return (1 + math.cos(math.pi * epoch / T_max)) / 2


class LambdaLR(LRScheduler):
    """The rate at the start times a function of the epoch; one function, or one for each group.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.4]
    """

    lr_lambdas: list[Callable[[int], float]]

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        super().__init__(optimizer, last_epoch, lr_lambdas=each("lr_lambda", lr_lambda, optimizer))

    def _rate(self, i: int, group: dict[str, Any]) -> float:
        return self.base_lrs[i] * self.lr_lambdas[i](self.last_epoch)


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to far below the start, once (Smith and Topin, 2018); `step` after every batch.

    Momentum, or the first of `betas`, goes the other way.

    Parameters
    ----------
    max_lr, base_momentum, max_momentum : float, or one for each group
    total_steps : int
        Or else `epochs` and `steps_per_epoch`.
    pct_start : float
        Share of the steps that go up.
    anneal_strategy : {"cos", "linear"}
    div_factor, final_div_factor : float
        The start is ``max_lr / div_factor``, the end ``max_lr / div_factor / final_div_factor``.
    three_phase : bool
        Go down to the start as steeply as up, and only then to the end.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.1, momentum=0.9)
    >>> schedule = gg.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> for _ in range(2):
    ...     schedule.step()
    >>> schedule.get_last_lr(), optimizer.param_groups[0]["momentum"]
    ([1.0], 0.85)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = (epochs or 0) * (steps_per_epoch or 0) if total_steps is None else total_steps
        if self.total_steps < 1 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                "OneCycleLR: total_steps, or epochs times steps_per_epoch, must be at least 1, pct_start in [0, 1], "
                f"anneal_strategy 'cos' or 'linear'; got {self.total_steps}, {pct_start}, {anneal_strategy!r}"
            )
        if cycle_momentum and not {"betas", "momentum"} & optimizer.defaults.keys():
            raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has no momentum; use cycle_momentum=False")
        self.pct_start, self.three_phase, self.anneal_strategy = pct_start, three_phase, anneal_strategy
        self.cycle_momentum, self.final_div_factor = cycle_momentum, final_div_factor
        self.max_lrs = each("max_lr", max_lr, optimizer)
        self.momenta = [each(f"{n}_momentum", m, optimizer) for n, m in (("base", base_momentum), ("max", max_momentum))]
        for group, highest in zip(optimizer.param_groups, self.max_lrs, strict=True):
            group["initial_lr"] = highest / div_factor
        super().__init__(optimizer, last_epoch)

    def _rate(self, i: int, group: dict[str, Any]) -> float:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {self.last_epoch} of a cycle of {self.total_steps}")
        start, (low, high) = self.base_lrs[i], (momenta[i] for momenta in self.momenta)
        up, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        knots = [(0, start, high), (up, self.max_lrs[i], low), (last, start / self.final_div_factor, high)]
        if self.three_phase:
            knots.insert(2, (2 * up, start, high))
        k = bisect_left([time for time, *_ in knots[1:-1]], self.last_epoch)
        (begin, *before), (end, *after) = knots[k : k + 2]
        share = (self.last_epoch - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        rate, momentum = (b + (a - b) * share for b, a in zip(before, after, strict=True))
        if self.cycle_momentum:
            group.update({"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum})
        return rate


class SequentialLR(LRScheduler):
    """One schedule after another: the next one begins at each of `milestones`, which are one fewer.

    >>> import gpugrad as gg
    >>> from gpugrad.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> warm_up, decay = LinearLR(optimizer, 0.25, total_iters=3), CosineAnnealingLR(optimizer, T_max=10)
    >>> schedule = SequentialLR(optimizer, [warm_up, decay], milestones=[3])
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.8]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(self.milestones):
            raise ValueError(f"SequentialLR: {len(schedulers)} schedules need one fewer rising milestones, got {milestones}")
        if any(isinstance(s, ReduceLROnPlateau) or s.optimizer is not optimizer for s in self.schedulers):
            raise ValueError("SequentialLR: one schedule takes a metric, or is for another optimiser")
        super().__init__(optimizer)
        self._start()

    def _start(self) -> None:
        self.last_epoch = 0
        self.schedulers[bisect_right(self.milestones, 0)]._start()

    def step(self) -> None:
        """Set the rates of the next epoch (or batch)."""
        self.last_epoch += 1
        scheduler = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        (scheduler._start if self.last_epoch in self.milestones else scheduler.step)()

    def state_dict(self) -> dict[str, Any]:
        """Its own state and those of its schedules."""
        return super().state_dict() | {"schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a schedule of the same parts was."""
        parts = state_dict.get("schedulers", ())
        if len(parts) != len(self.schedulers):
            raise CheckpointError(f"SequentialLR: the state has {len(parts)} schedules, expected {len(self.schedulers)}")
        super().load_state_dict(state_dict)
        for scheduler, part in zip(self.schedulers, parts, strict=True):
            scheduler.load_state_dict(part)


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` once a metric has not been better than its best for more than `patience` epochs.

    With `mode` "min" lower is better, with "max" higher; `threshold` says by how much, as a share of the best one ("rel") or
    a difference ("abs"). For `cooldown` epochs after a reduction nothing is counted. Rates stay above `min_lr`, a number or
    one for each group, and reductions by less than `eps` are left out.

    >>> import gpugrad as gg
    >>> optimizer = gg.optim.SGD([gg.ones(1)], lr=0.8)
    >>> schedule = gg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (1.0, 0.9, 0.9, 0.9):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.4]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1 or mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "ReduceLROnPlateau: factor must be below 1, mode 'min' or 'max', threshold_mode 'rel' or 'abs'; "
                f"got {factor}, {mode!r}, {threshold_mode!r}"
            )
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown_counter = self.num_bad_epochs = 0
        self.best = math.inf if mode == "min" else -math.inf
        super().__init__(optimizer)
        self.min_lrs = each("min_lr", min_lr, optimizer)

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Judge the epoch by its metric, a number or a Tensor of one element."""
        current = float(metrics)
        self.last_epoch += 1
        sign, best = (1 if self.mode == "min" else -1), self.best
        needed = best * (1 - sign * self.threshold) if self.threshold_mode == "rel" else best - sign * self.threshold
        if sign * current < sign * needed:
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
