"""Losses as modules. Each calls the function of the same name; `reduction` is ``"mean"``, ``"sum"`` or ``"none"``."""

from __future__ import annotations

from typing import Any

from ..ops import loss
from ..tensor import Tensor
from .module import Module


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """Squared error."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of predictions x."""
        return loss.mse_loss(x, target, self.reduction)


class L1Loss(_Loss):
    """Absolute error."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of predictions x."""
        return loss.l1_loss(x, target, self.reduction)


class HuberLoss(_Loss):
    """Squared error near 0, absolute beyond `delta`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of predictions x."""
        return loss.huber_loss(x, target, self.reduction, self.delta)


class CrossEntropyLoss(_Loss):
    """Softmax cross-entropy of logits and class ids or probabilities."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of logits x of shape (N, classes)."""
        return loss.cross_entropy(x, target, self.reduction)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of probabilities x."""
        return loss.binary_cross_entropy(x, target, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of logits x."""
        return loss.binary_cross_entropy_with_logits(x, target, self.reduction)


class HingeLoss(_Loss):
    """``max(0, 1 - target * x)``."""

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of scores x and targets of -1 and 1."""
        return loss.hinge_loss(x, target, self.reduction)


class MulticlassSVMLoss(_Loss):
    """``sum over j != y of max(0, s_j - s_y + margin)``: the lectures' support vector machine."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x: Any, target: Any) -> Tensor:
        """Loss of scores x of shape (N, classes) and class ids."""
        return loss.multiclass_svm_loss(x, target, self.margin, self.reduction)
