"""Mixed precision: products in a half type, everything delicate in float32, gradients kept from underflow by a scale.

Parameters stay float32 and are the master weights: inside `autocast` a product casts its operands, and the cast's own
rule brings the gradient back to float32. Micikevicius et al., "Mixed precision training" (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from . import dispatch, half
from .errors import DTypeError, GradientError, describe
from .modes import current_mode, mode_with
from .op import Op, registry
from .optim import Optimizer
from .rounding import rounded
from .tensor import Tensor

__all__ = ["GradScaler", "autocast"]

IN_LOW = {"linear", "linear_layers", "matmul", "mm", "bmm", "einsum_two", "convolution", "convolution_transpose"}
"""Ops that gain from tensor cores and sum in float32."""

IN_FLOAT32 = {
    "cross_entropy",
    "exp",
    "l1_loss",
    "layer_norm",
    "log",
    "log_softmax",
    "logsumexp",
    "mean",
    "mse_loss",
    "nll_loss",
    "norm2",
    "power",
    "rms_norm",
    "softmax",
    "square",
    "std",
    "sum",
    "var",
}
"""Ops that overflow or lose digits in half types: sums, exponentials, norms, losses."""


@contextmanager
def autocast(dtype: Any = "float16", enabled: bool = True) -> Iterator[None]:
    """Compute products in a half type inside the block, and sums, norms and losses in float32 (`torch.autocast`).

    Seen by the current thread and asyncio task only. Other ops follow NumPy's promotion.

    Parameters
    ----------
    dtype : dtype-like
        A floating dtype of two bytes: float16, or bfloat16, which has float32's range, so that no `GradScaler` is needed.
    enabled : bool
        False makes the block an ordinary one, also within an outer `autocast`.

    Raises
    ------
    DTypeError
        For any other dtype.
    ImportError
        For bfloat16, if ml_dtypes is not installed.

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([[1.0], [2.0]], requires_grad=True)
    >>> with gg.autocast("float16"):
    ...     y = gg.ones((3, 2)) @ w
    ...     loss = gg.square(y).sum()
    >>> loss.backward()
    >>> y.dtype, loss.dtype, w.grad.dtype
    (dtype('float16'), dtype('float32'), dtype('float32'))
    """
    low = half.dtype_from(dtype)
    if low.itemsize != 2 or not half.is_floating(low):
        raise DTypeError(f"autocast: got {low}; use 'float16' or 'bfloat16'")
    dispatch.autocasting.append(_cast)
    try:
        with mode_with(autocast=low if enabled else None):
            yield
    finally:
        dispatch.autocasting.remove(_cast)


def _cast(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...] | None, Any]:
    """The inputs of an op in the precision that it is to run in; or None and its result, see `rounding`."""
    low = current_mode().autocast
    if low is not None and op.name in IN_LOW:
        inputs = tuple(_as(x, low, numpy.float32) for x in inputs)
    elif low is not None and op.name in IN_FLOAT32:
        inputs = tuple(_as(x, numpy.float32, low) for x in inputs)
    return rounded(op, inputs, params) if half.asked_for else (inputs, None)


def _as(x: Any, target: Any, source: Any) -> Any:
    return registry["astype"].public(x, target) if getattr(x, "dtype", None) == source else x


class GradScaler:
    """Multiplies the loss, so that small gradients do not underflow in float16 (`torch.amp.GradScaler`).

    The scale doubles after `growth_interval` good steps; where a gradient is infinite or nan, the step is left out and the
    scale halved.

    Parameters
    ----------
    init_scale, growth_factor, backoff_factor : float
    growth_interval : int
        Steps without overflow before the scale grows.

    Examples
    --------
    >>> import gpugrad as gg
    >>> w = gg.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = gg.optim.SGD([w], lr=0.5), gg.GradScaler(init_scale=8.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad
    tensor([16.])
    >>> scaler.step(optimizer)
    True
    >>> scaler.update()
    >>> w
    tensor([0.], requires_grad=True)
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (init_scale > 0 and growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval > 0):
            raise ValueError(
                "GradScaler: init_scale and growth_interval must be positive, growth_factor above 1 and backoff_factor in "
                f"(0, 1); got {init_scale}, {growth_interval}, {growth_factor}, {backoff_factor}"
            )
        self._scale, self._good_steps = float(init_scale), 0
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self._found: dict[int, bool] = {}

    def get_scale(self) -> float:
        """The scale now."""
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        """The loss, in float32, times the scale: call `backward` on this."""
        if not isinstance(loss, Tensor):
            raise GradientError(f"GradScaler.scale takes the loss as a Tensor, got {describe(loss)}")
        return (loss.astype(numpy.float32) if loss.dtype.itemsize < 4 else loss) * self._scale

    def unscale_(self, optimizer: Optimizer) -> bool:
        """Divide the gradients by the scale, once a step; for clipping between backward and step.

        Returns
        -------
        bool
            Whether all gradients are finite.
        """
        if id(optimizer) in self._found:
            raise GradientError("unscale_ was called twice for this step; call update() after step()")
        flags = []
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    flags.append(registry["isfinite"].public(p.grad.detach()).all())
                    p.grad = p.grad * (1 / self._scale)
        finite = all(map(bool, flags))  # last, so that a GPU is not waited for after each
        self._found[id(optimizer)] = not finite
        return finite

    def step(self, optimizer: Optimizer) -> bool:
        """``optimizer.step()`` with unscaled gradients, left out where one is infinite or nan.

        Returns
        -------
        bool
            Whether the step was made.
        """
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        if self._found[id(optimizer)]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        """Adapt the scale after a step; once for all optimisers."""
        if not self._found:
            raise GradientError("GradScaler.update: no step was made since the last update")
        if any(self._found.values()):
            self._scale *= self.backoff_factor
            self._good_steps = 0
        else:
            self._good_steps += 1
            if self._good_steps == self.growth_interval:
                self._scale *= self.growth_factor
                self._good_steps = 0
        self._found.clear()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"scale": self._scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a saved scale."""
        self._scale, self._good_steps = float(state["scale"]), int(state["good_steps"])
