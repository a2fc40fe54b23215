"""L-BFGS: quasi-Newton steps from the last few changes of gradient, with a line search."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import backend
from ..errors import CheckpointError, DTypeError, describe
from ..modes import enable_grad, no_grad
from ..ops.updates import assign_
from ..tensor import asarray, wrap
from .line_search import Point, StrongWolfe
from .optimizers import Optimizer

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal and Wright, 2006, algorithms 7.4, 7.5, 3.5 and 3.6; `torch.optim.LBFGS`).

    For smooth, deterministic losses. A step calls the closure several times.

    Parameters
    ----------
    params : iterable of Tensor
        One group, real, of one dtype, on one device.
    lr : float
        Length of a step without line search, and where a line search starts.
    max_iter, max_eval : int
        Most iterations, and about most calls of the closure, in one `step`; `max_eval` is ``max_iter * 5 // 4`` if left out.
    tolerance_grad, tolerance_change : float
        A step ends where no gradient is larger, or where the parameters or the loss change by less.
    history_size : int
        Changes of gradient that are kept.
    line_search_fn : {None, "strong_wolfe"}

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([-1.0, 2.0], requires_grad=True)
    >>> optimizer = gg.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure)
    tensor(5., op=sum)
    >>> w
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn must be None or 'strong_wolfe', got {line_search_fn!r}")
        options = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, options)
        self._params = self.param_groups[0]["params"]

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Take the one group of parameters."""
        if self.param_groups:
            raise ValueError("LBFGS takes one group of parameters")
        super().add_param_group(group)
        params = self.param_groups[0]["params"]
        if len({(p.dtype, p.device) for p in params}) != 1 or params[0].dtype.kind != "f":
            kinds = ", ".join(sorted({describe(p) for p in params}))
            raise DTypeError(f"LBFGS takes real parameters of one dtype on one device, got {kinds}")

    # --- parameters and gradients as one vector ---

    def _gradient(self) -> Any:
        xp = backend.namespace_of(self._params[0]._array)
        pieces = [xp.zeros(p.size, p.dtype) if p.grad is None else p.grad._array.reshape(-1) for p in self._params]
        return xp.concatenate(pieces)

    def _position(self) -> Any:
        return backend.namespace_of(self._params[0]._array).concatenate([p._array.reshape(-1) for p in self._params])

    def _move_to(self, position: Any) -> None:
        start = 0
        for p in self._params:
            assign_(p, position[start : start + p.size].reshape(p.shape))
            start += p.size

    # --- a step ---

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take up to `max_iter` quasi-Newton steps.

        Parameters
        ----------
        closure : callable
            Sets the gradients to zero, computes the loss, calls backward, and returns the loss.

        Returns
        -------
        Tensor
            What the first call of the closure returned.
        """
        if closure is None:
            raise TypeError("LBFGS.step needs a closure that computes the loss and its gradients anew")
        with backend.on_device_of(self._params[0]._array):
            return self._step(enable_grad()(closure))

    def _step(self, evaluate: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self._state.setdefault(id(self._params[0]), {"func_evals": 0, "n_iter": 0})
        first = evaluate()
        loss, grad, evaluations = float(first), self._gradient(), 1
        state["func_evals"] += 1
        done, rounds = _largest(grad) <= group["tolerance_grad"], 0
        while not done and rounds < group["max_iter"]:
            rounds += 1
            state["n_iter"] += 1
            direction = self._direction(state, grad, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"] = grad, loss
            t = group["lr"] * (min(1.0, 1.0 / float(abs(grad).sum())) if state["n_iter"] == 1 else 1.0)
            state["d"], state["t"] = direction, t
            slope = float(grad.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            start, calls = self._position(), 0
            if group["line_search_fn"] is not None:
                at = functools.partial(self._at, evaluate, start, direction)
                least = group["tolerance_change"] / _largest(direction)
                search = StrongWolfe(at, Point(0.0, loss, grad, slope), least, group["max_eval"] - evaluations)
                t, loss, grad, _ = search.run(t)
                calls = search.calls
            self._move_to(start + direction * t)
            state["t"] = t
            if group["line_search_fn"] is None and rounds != group["max_iter"]:
                loss, grad, calls = float(evaluate()), self._gradient(), 1
            evaluations += calls
            state["func_evals"] += calls
            done = (
                evaluations >= group["max_eval"]
                or _largest(grad) <= group["tolerance_grad"]
                or _largest(direction * t) <= group["tolerance_change"]
                or abs(loss - state["prev_loss"]) < group["tolerance_change"]
            )
        return first

    def _at(self, evaluate: Callable[[], Any], start: Any, direction: Any, t: float) -> Point:
        self._move_to(start + direction * t)
        loss, grad = float(evaluate()), self._gradient()
        return Point(t, loss, grad, float(grad.dot(direction)))

    def _direction(self, state: dict[str, Any], grad: Any, history_size: int) -> Any:
        """Minus the gradient times the inverse Hessian that the history stands for (the two-loop recursion)."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -grad
        change, moved = grad - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(change.dot(moved))
        changes, moves, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        if curvature > 1e-10:
            if len(changes) == history_size:
                for oldest in (changes, moves, inverses):
                    oldest.pop(0)
            changes.append(change)
            moves.append(moved)
            inverses.append(1.0 / curvature)
            state["H_diag"] = curvature / float(change.dot(change))
        history = list(zip(changes, moves, inverses, strict=True))
        direction, shares = -grad, []
        for change, moved, inverse in reversed(history):
            shares.append(float(moved.dot(direction)) * inverse)
            direction = direction - change * shares[-1]
        direction = direction * state["H_diag"]
        for (change, moved, inverse), share in zip(history, reversed(shares), strict=True):
            direction = direction + moved * (share - float(change.dot(direction)) * inverse)
        return direction

    # --- checkpoints ---

    def state_dict(self) -> dict[str, Any]:
        """The state under PyTorch's names; the history is in lists of arrays."""
        groups = [self.param_groups[0] | {"params": list(range(len(self._params)))}]
        states = [{name: _copied(value) for name, value in values.items()} for values in self._state.values()]
        return {"state": dict(enumerate(states)), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state from `state_dict`; refused whole if it does not fit the parameters."""
        (group,) = state_dict["param_groups"]
        if len(group["params"]) != len(self._params):
            raise CheckpointError("LBFGS: the state has other parameters; nothing was loaded")
        size, dtype, device = sum(p.size for p in self._params), self._params[0].dtype, self._params[0].device

        def vector(name: str, value: Any) -> Any:
            array = asarray(value)._array
            if array.shape != (size,):
                raise CheckpointError(f"LBFGS: {name} has shape {array.shape}, expected ({size},); nothing was loaded")
            return backend.to_device(array.astype(dtype), device)

        def vectors(name: str, values: Any) -> list[Any]:
            return [vector(name, value) for value in values]

        def number(name: str, value: Any) -> Any:
            return value if isinstance(value, int) else list(map(float, value)) if name == "ro" else float(value)

        kinds = {"d": vector, "prev_flat_grad": vector, "old_dirs": vectors, "old_stps": vectors}
        new: dict[int, dict[str, Any]] = {}
        for values in state_dict["state"].values():
            known = {name: value for name, value in values.items() if name != "al"}  # PyTorch's scratch memory
            new[id(self._params[0])] = {n: kinds.get(n, number)(n, v) for n, v in known.items()}
        self._state = new
        self.param_groups[0].update({k: v for k, v in group.items() if k != "params"})


def _largest(vector: Any) -> float:
    return float(abs(vector).max()) if vector.size else 0.0


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(v) for v in value]
    return wrap(value.copy()) if hasattr(value, "dtype") else value
