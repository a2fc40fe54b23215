"""SGD, Adam and AdamW. A step is one op over all parameters of a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from .. import backend
from ..errors import CheckpointError, DTypeError, GradientError, describe
from ..op import Op, apply_update, registry
from ..tape import Mutations, no_grad
from ..tensor import Tensor, asarray, wrap

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class Optimizer:
    """Base of optimisers: parameters in groups, each with its options, and a state per parameter.

    Parameters
    ----------
    params : iterable of Tensor, or of dicts ``{"params": [...], "lr": ...}``
        Leaves that require gradients. A dict is a group with options of its own.
    defaults : dict
        Options of groups that do not set them.

    Attributes
    ----------
    param_groups : list of dict
        Options may be changed between steps: ``optimizer.param_groups[0]["lr"] = 0.01``.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._state: dict[int, dict[str, Any]] = {}  # by id of a parameter that param_groups keeps alive
        self._rates: list[Any] = []
        self._changes: list[Mutations] = []
        self._counting = Mutations()
        given = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__} got no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters with options of their own."""
        group = self.defaults | group
        tensors = group["params"]
        group["params"] = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise DTypeError(f"{type(self).__name__} takes Tensors, got {describe(p)}")
            if not p.is_leaf:
                raise GradientError(f"{type(self).__name__} takes leaves, got a computed tensor: {describe(p)}")
            if id(p) in known:
                raise ValueError(f"{type(self).__name__}: a parameter appears twice: {describe(p)}")
            known.add(id(p))
        self._check_options(group)
        self.param_groups.append(group)
        self._rates.append(numpy.zeros(()))
        self._changes.append(Mutations())

    def _check_options(self, group: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay", "momentum"):
            if name in group and not float(group[name]) >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be 0 or more, got {group[name]}")
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: betas must be in [0, 1), got {group['betas']}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` make them zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p._node is not None:
                    p._node.grad = None if set_to_none or p._node.grad is None else wrap(p._node.grad._array * 0)

    def step(self) -> None:
        """Update all parameters that have a gradient."""
        with no_grad():
            for group, rate, changes in zip(self.param_groups, self._rates, self._changes, strict=True):
                active = [p for p in group["params"] if p._node is not None and p._node.grad is not None]
                if active:
                    rate[()] = group["lr"]
                    for bucket in self._buckets(group, active):
                        self._update(group, rate, bucket, changes)

    def _update(self, group: dict[str, Any], rate: Any, params: list[Tensor], changes: Mutations) -> None:
        """Update parameters that have done the same number of steps."""
        op, options = self._op(group)
        tensors = [p._array for p in params] + [p._node.grad._array for p in params]
        if not self._keeps_state(group):
            apply_update(op, (rate, *tensors), options, changes.over(tuple(tensors[: len(params)])))
            return
        states = [self._state[id(p)] for p in params]
        step = states[0]["step"]
        moments = [state[name] for name in self.state_names for state in states]
        apply_update(op, (rate, step, *tensors, *moments), options, changes.over((*tensors[: len(params)], *moments)))
        apply_update(registry["add_"], (step, 1), {}, self._counting.over((step,)))

    def _op(self, group: dict[str, Any]) -> tuple[Op, dict[str, Any]]:
        raise NotImplementedError

    def _keeps_state(self, group: dict[str, Any]) -> bool:
        return True

    def _buckets(self, group: dict[str, Any], active: list[Tensor]) -> list[list[Tensor]]:
        """Parameters that share a step count. The count is one array for all, until some step leaves a parameter out."""
        if not self._keeps_state(group):
            return [active]
        fresh = [p for p in active if id(p) not in self._state]
        if fresh:
            step = numpy.zeros(())
            for p in fresh:
                xp = backend.namespace_of(p._array)
                self._state[id(p)] = {name: xp.zeros_like(p._array) for name in self.state_names} | {"step": step}
        buckets: dict[int, list[Tensor]] = {}
        for p in active:
            buckets.setdefault(id(self._state[id(p)]["step"]), []).append(p)
        sharers: dict[int, int] = {}
        for state in self._state.values():
            sharers[id(state["step"])] = sharers.get(id(state["step"]), 0) + 1
        for key, bucket in buckets.items():
            if sharers[key] != len(bucket):
                own = self._state[id(bucket[0])]["step"].copy()
                for p in bucket:
                    self._state[id(p)]["step"] = own
        return list(buckets.values())

    # --- checkpoints ---

    def state_dict(self) -> dict[str, Any]:
        """The state, as PyTorch lays it out: ``{"state": {index: {name: array}}, "param_groups": [options]}``."""
        indices = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        state = {indices[key]: {n: wrap(a.copy()) for n, a in values.items()} for key, values in self._state.items()}
        groups = [
            {k: v for k, v in group.items() if k != "params"} | {"params": [indices[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state from `state_dict`; refused whole if it does not fit the parameters."""
        params = [p for group in self.param_groups for p in group["params"]]
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise CheckpointError(f"{type(self).__name__}: the state has other parameter groups; nothing was loaded")
        new: dict[int, dict[str, Any]] = {}
        steps: dict[float, Any] = {}
        for index, values in state_dict["state"].items():
            p = params[int(index)]
            arrays = {name: asarray(value)._array for name, value in values.items()}
            wrong = set(arrays) ^ {*self.state_names, "step"}
            wrong |= {name for name, a in arrays.items() if name != "step" and a.shape != p.shape}
            if wrong:
                raise CheckpointError(
                    f"{type(self).__name__}: the state of parameter {index}, {describe(p)}, does not fit in "
                    f"{', '.join(sorted(wrong))}; nothing was loaded"
                )
            count = float(arrays.pop("step"))
            new[id(p)] = {n: backend.to_device(a.astype(p.dtype), p.device) for n, a in arrays.items()}
            new[id(p)]["step"] = steps.setdefault(count, numpy.array(count))
        self._state = new
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})


class SGD(Optimizer):
    """Gradient descent, with momentum, dampening, weight decay and Nesterov's form (`torch.optim.SGD`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr, momentum, dampening, weight_decay : float
        `weight_decay` is L2 regularisation: ``weight_decay * p`` is added to the gradient.
    nesterov, maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8], requires_grad=True)
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _keeps_state(self, group: dict[str, Any]) -> bool:
        return bool(group["momentum"])

    def _op(self, group: dict[str, Any]) -> tuple[Op, dict[str, Any]]:
        names = ["weight_decay", "maximize"]
        if not group["momentum"]:
            return registry["sgd_"], {name: group[name] for name in names}
        return registry["sgd_momentum_"], {name: group[name] for name in (*names, "momentum", "dampening", "nesterov")}


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015; `torch.optim.Adam`).

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
    lr : float
    betas : pair of float
        Decay rates of the running means of the gradient and its square.
    eps, weight_decay : float
        `weight_decay` is added to the gradient, as L2 regularisation.
    amsgrad : bool
        Divide by the largest second moment so far (Reddi et al., 2018).
    maximize : bool

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], requires_grad=True)
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        self.state_names = names if amsgrad else names[:2]
        self.amsgrad = amsgrad
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _op(self, group: dict[str, Any]) -> tuple[Op, dict[str, Any]]:
        options = {name: group[name] for name in ("betas", "eps", "weight_decay", "maximize")}
        return registry["amsgrad_" if self.amsgrad else "adam_"], options | {"decoupled": self.decoupled}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019; `torch.optim.AdamW`).

    Parameters are those of `Adam`, with another default for `weight_decay`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer = gg.optim.AdamW([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.899], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
