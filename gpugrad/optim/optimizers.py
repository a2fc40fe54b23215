"""SGD, Adam and AdamW. A step is one op over all parameters of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypedDict, Unpack

import numpy

from .. import backend
from ..dispatch import apply_update
from ..errors import CheckpointError, DTypeError, GradientError, describe
from ..modes import enable_grad
from ..mutations import Mutations
from ..op import registry
from ..ops.arena import arranged
from ..tensor import Tensor, asarray, tensor, wrap

__all__ = ["SGD", "Adam", "AdamW", "Implementation", "Optimizer"]


class Implementation(TypedDict, total=False):
    """How PyTorch is to compute a step: accepted, so that its scripts run, and of no effect, since a step is one op here."""

    foreach: bool | None
    fused: bool | None
    capturable: bool
    differentiable: bool
    """False only: a step that is to be differentiated is a function of the parameters, written with ops."""


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

    rule: str = ""
    """The op of a step; a group's options of the op's names are passed to it. Where it depends on them, see `_rule`."""
    state_names: tuple[str, ...] = ()
    """Arrays of a parameter's shape that are kept for each parameter, by PyTorch's names; see `_names`."""
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}
    """Numbers kept for each parameter, and where they start; one array for all that have done the same steps."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any], **implementation: Unpack[Implementation]) -> None:
        if unknown := implementation.keys() - Implementation.__annotations__.keys():
            raise TypeError(f"{type(self).__name__} takes no argument {', '.join(map(repr, sorted(unknown)))}")
        if implementation.get("differentiable"):
            raise ValueError(
                f"{type(self).__name__}: differentiable=True is not there, a step is off the tape; write the update with "
                "ops, as a function of the parameters, and differentiate that"
            )
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
        self._complex = any(p.dtype.kind == "c" for g in self.param_groups for p in g["params"])

    def _check_options(self, group: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay", "momentum", "lr_decay", "initial_accumulator_value", "momentum_decay"):
            if name in group and not float(group[name]) >= 0:
                raise ValueError(f"{type(self).__name__}: {name} must be 0 or more, got {group[name]}")
        for name in ("alpha", "rho"):
            if name in group and not 0 <= group[name] <= 1:
                raise ValueError(f"{type(self).__name__}: {name} must be in [0, 1], got {group[name]}")
        for beta in group.get("betas", ()):
            if not 0 <= beta < 1:
                raise ValueError(f"{type(self).__name__}: betas must be in [0, 1), got {group['betas']}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` make them zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                node = p._node
                if node is not None and node.grad is not None:
                    node.grad = None if set_to_none else _zeros(node.grad)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients anew; called before the step, and what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group, rate, changes in zip(self.param_groups, self._rates, self._changes):
            active = [p for p in group["params"] if (node := p._node) is not None and node.grad is not None]
            if active:
                rate[()] = group["lr"]
                for part in [active] if not backend.libraries else self._by_device(active):
                    for bucket in self._buckets(group, part):
                        self._update(group, rate, bucket, changes)
        return loss

    def _by_device(self, params: list[Tensor]) -> list[list[Tensor]]:
        """Parameters in lists of one device each; the state of one that has moved follows it."""
        parts: dict[str, list[Tensor]] = {}
        for p in params:
            parts.setdefault(p.device, []).append(p)
        for device, part in parts.items():
            for p in part:
                state = self._state.get(id(p), {})
                for name in state.keys() - self.counters.keys():
                    state[name] = backend.to_device(state[name], device)
        return list(parts.values())

    def _update(self, group: dict[str, Any], rate: Any, params: list[Tensor], changes: Mutations) -> None:
        """Update parameters that have done the same number of steps."""
        op = registry[self._rule(group)]
        options = {name: group[name] for name in op.params}
        values, grads = [p._array for p in params], [p._node.grad._array for p in params]
        if not self._names(group):
            apply_update(op, (rate, *self._real(values), *self._real(grads)), options, changes.over(tuple(values)))
            return
        states = [self._state[id(p)] for p in params]
        counters = [states[0][name] for name in self.counters]
        moments = [state[name] for name in self._names(group) for state in states]
        arrays = (*self._real(values), *self._real(grads), *self._real(moments))
        apply_update(op, (rate, *counters, *arrays), options, changes.over((*values, *moments)))
        apply_update(registry["add_"], (counters[0], 1), {}, self._counting.over((counters[0],)))

    def _real(self, arrays: list[Any]) -> list[Any]:
        """Complex arrays as pairs of real numbers, which update rules with squares and maxima need."""
        return [_pairs(a) if a.dtype.kind == "c" else a for a in arrays] if self._complex else arrays

    def _rule(self, group: dict[str, Any]) -> str:
        """The op of a step of a group."""
        return self.rule

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The arrays kept for the parameters of a group."""
        return self.state_names

    def _initial(self, group: dict[str, Any], name: str, array: Any) -> Any:
        """Where an array of the state starts."""
        return backend.made_beside(array, "zeros_like", array)

    def _buckets(self, group: dict[str, Any], active: list[Tensor]) -> list[list[Tensor]]:
        """Parameters that share a step count. The count is one array for all, until some step leaves a parameter out."""
        names = self._names(group)
        if not names:
            return [active]
        known, complete = self._state, len(names) + len(self.counters)
        fresh = [p for p in active if len(known.get(id(p), ())) < complete]
        if fresh:
            counters = {name: numpy.array(start) for name, start in self.counters.items()}
            for p in fresh:
                known[id(p)] = {n: self._initial(group, n, p._array) for n in names} | counters | known.get(id(p), {})
            _arrange([known[id(p)] for p in fresh], names)
        buckets: dict[int, list[Tensor]] = {}
        for p in active:
            buckets.setdefault(id(self._state[id(p)]["step"]), []).append(p)
        sharers: dict[int, int] = {}
        for state in self._state.values():
            sharers[id(state["step"])] = sharers.get(id(state["step"]), 0) + 1
        for key, bucket in buckets.items():
            if sharers[key] != len(bucket):
                own = {name: self._state[id(bucket[0])][name].copy() for name in self.counters}
                for p in bucket:
                    self._state[id(p)].update(own)
        return list(buckets.values())

    # --- checkpoints ---

    def state_dict(self) -> dict[str, Any]:
        """The state, as PyTorch lays it out: ``{"state": {index: {name: array}}, "param_groups": [options]}``."""
        indices = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        state = {indices[key]: {n: wrap(backend.copied(a)) for n, a in values.items()} for key, values in self._state.items()}
        groups = [
            {k: v for k, v in group.items() if k != "params"} | {"params": [indices[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state from `state_dict`, or from PyTorch's; refused whole if it does not fit the parameters."""
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise CheckpointError(f"{type(self).__name__}: the state has other parameter groups; nothing was loaded")
        options = [{k: v for k, v in saved.items() if k != "params"} for saved in groups]
        owners = [(p, group | new) for group, new in zip(self.param_groups, options, strict=True) for p in group["params"]]
        new: dict[int, dict[str, Any]] = {}
        shared: dict[tuple[float, ...], dict[str, Any]] = {}
        for index, values in state_dict["state"].items():
            p, group = owners[int(index)]
            arrays = {name: asarray(value)._array for name, value in values.items() if value is not None}
            if not arrays:  # as PyTorch's SGD without momentum has it
                continue
            arrays.setdefault("step", numpy.ones(()))  # PyTorch's SGD counts no steps, but has made one
            wrong = set(arrays) ^ {*self._names(group), *self.counters}
            wrong |= {name for name, a in arrays.items() if a.shape != (() if name in self.counters else p.shape)}
            if wrong:
                raise CheckpointError(
                    f"{type(self).__name__}: the state of parameter {index}, {describe(p)}, does not fit in "
                    f"{', '.join(sorted(wrong))}; nothing was loaded"
                )
            counts = {name: float(arrays.pop(name)) for name in self.counters}
            new[id(p)] = {n: tensor(a, p.dtype, p.device)._array for n, a in arrays.items()}
            new[id(p)] |= shared.setdefault(tuple(counts.values()), {n: numpy.array(c) for n, c in counts.items()})
        for group, saved in zip(self.param_groups, options, strict=True):
            _arrange([new[id(p)] for p in group["params"] if id(p) in new], self._names(group | saved))
        self._state = new
        for group, saved in zip(self.param_groups, options, strict=True):
            group.update({k: tuple(v) if k == "betas" else v for k, v in saved.items()})


def _arrange(states: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    """Put what is kept of several parameters side by side in memory, so that a step takes them together."""
    for name in names if states else ():
        for state, array in zip(states, arranged([state[name] for state in states]), strict=True):
            state[name] = array


def _pairs(array: Any) -> Any:
    """A complex array as a real one with a last axis of two, sharing memory."""
    if not array.flags.c_contiguous:
        raise DTypeError(f"an optimiser needs complex parameters and gradients to be contiguous, got {describe(array)}")
    return array.reshape(-1).view(array.real.dtype).reshape(*array.shape, 2)


def _zeros(like: Tensor) -> Tensor:
    return wrap(backend.made_beside(like._array, "zeros_like", like._array))


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
        **implementation: Unpack[Implementation],
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, options | {"nesterov": nesterov, "maximize": maximize}, **implementation)

    def _rule(self, group: dict[str, Any]) -> str:
        return "sgd_momentum_" if group["momentum"] else "sgd_"

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()


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
    decoupled_weight_decay : bool
        Shrink the parameters instead, which makes it `AdamW`.

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
        decoupled_weight_decay: bool = False,
        **implementation: Unpack[Implementation],
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(
            params, options | {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}, **implementation
        )

    def _rule(self, group: dict[str, Any]) -> str:
        return "amsgrad_" if group["amsgrad"] else "adam_"

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")


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
        **implementation: Unpack[Implementation],
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True, **implementation
        )
