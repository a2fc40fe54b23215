"""The base of learning rate schedules, see `lr_scheduler`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from .optimizers import Optimizer


class LRScheduler:
    """Base of schedules: a rate for each group of parameters and each number of steps done, `last_epoch`.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int
        Steps that an earlier schedule has done; -1 at the start.
    **options : Any
        Become attributes, and with `last_epoch` the state.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, **options: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__} takes an optimiser first, got {type(optimizer).__name__}")
        self.optimizer, self.last_epoch = optimizer, last_epoch
        vars(self).update(options)
        for group in optimizer.param_groups:
            if last_epoch >= 0 and "initial_lr" not in group:
                raise ValueError(f"{type(self).__name__}: last_epoch={last_epoch} needs 'initial_lr' in each group of parameters")
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        LRScheduler.step(self)

    def _start(self) -> None:
        """Begin anew: set the rates of epoch 0, whatever they are now."""
        self.last_epoch = 0
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self._rate(i, group)

    def _rate(self, i: int, group: dict[str, Any]) -> float:
        """The rate of group `i` in epoch `last_epoch`."""
        return group["lr"]

    def _next(self, i: int, group: dict[str, Any]) -> float:
        """The same, from what it is now, which other schedules may have changed too."""
        return self._rate(i, group)

    def step(self) -> None:
        """Set the rates of the next epoch (or batch)."""
        self.last_epoch += 1
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self._next(i, group)

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes: numbers, strings, and lists of them. Functions are not in it."""
        return {k: v for k, v in vars(self).items() if k not in ("optimizer", "lr_lambdas", "schedulers")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a schedule of the same kind was; refused whole if something is missing."""
        own = LRScheduler.state_dict(self)
        if missing := own.keys() - state_dict.keys():
            raise CheckpointError(f"{type(self).__name__}: the state lacks {', '.join(sorted(missing))}; nothing was loaded")
        vars(self).update({name: state_dict[name] for name in own})


def each(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """A value for each group of parameters."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{name}: got {len(values)} values for {groups} groups of parameters")
    return values
