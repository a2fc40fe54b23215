"""Modules that call one function of `gpugrad.nn.functional`: activations, losses, distances, dropout.

A class names its function and is made from the signature of that: the arrays that must be given are what `forward` takes,
all that is left is set when the module is made. A weight is a `Buffer`; ``training`` is the module's own mode.
PyTorch's names for options are understood too: ``dim`` and ``keepdim``, and ``inplace``, which is of no effect on values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from ..errors import PACKAGE
from . import functional as F
from .module import Buffer, Module

SPELLINGS = {"dim": "axis", "keepdim": "keepdims"}


class OfFunction(Module):
    """Base of modules that call one function.

    >>> from gpugrad import nn
    >>> class Clipped(nn.of_functions.OfFunction, function=nn.functional.hardtanh):
    ...     "x held between two limits."
    >>> Clipped(max_val=2.0)
    Clipped(min_val=-1.0, max_val=2.0)
    >>> Clipped(max_val=2.0)([1.5, 3.0])
    tensor([1.5, 2. ])
    """

    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parameters = inspect.signature(function).parameters.values()
        inputs = [p.name for p in parameters if p.default is p.empty and "ArrayLike" in str(p.annotation)]
        options = [p for p in parameters if p.name not in (*inputs, "training")]
        cls.__signature__ = inspect.Signature([p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in options])
        given = "".join(f", {p.name}=self.{p.name}" for p in parameters if p.name not in inputs)
        names = ", ".join(inputs)
        source = f"def forward(self, {names}):\n    return function({names}{given})\n"
        scope: dict[str, Any] = {"function": function}
        exec(compile(source, PACKAGE + f"<{cls.__name__}>", "exec"), scope)  # so that the user's line is found outside it
        cls.forward = scope["forward"]  # type: ignore[method-assign]
        cls.forward.__doc__ = f"Call `{function.__name__}`."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs = {SPELLINGS.get(name, name): value for name, value in kwargs.items() if name != "inplace"}
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}{self.__signature__}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            weight = value is not None and "ArrayLike" in str(self.__signature__.parameters[name].annotation)
            setattr(self, name, Buffer(value) if weight else value)

    def extra_repr(self) -> str:
        """The options, as they were given."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__signature__.parameters)


# --- activations --------------------------------------------------------------------------------------------------


class ReLU(OfFunction, function=F.relu):
    """``max(x, 0)``."""


class Sigmoid(OfFunction, function=F.sigmoid):
    """``1 / (1 + exp(-x))``."""


class Tanh(OfFunction, function=F.tanh):
    """Hyperbolic tangent."""


class LogSigmoid(OfFunction, function=F.logsigmoid):
    """``log(sigmoid(x))``."""


class SiLU(OfFunction, function=F.silu):
    """``x * sigmoid(x)``."""


class Mish(OfFunction, function=F.mish):
    """``x * tanh(softplus(x))``."""


class Softplus(OfFunction, function=F.softplus):
    """``log(1 + exp(beta * x)) / beta``; `threshold`, where PyTorch goes over to `x`, is not needed."""


class Softsign(OfFunction, function=F.softsign):
    """``x / (1 + |x|)``."""


class Tanhshrink(OfFunction, function=F.tanhshrink):
    """``x - tanh(x)``."""


class LeakyReLU(OfFunction, function=F.leaky_relu):
    """`x` where positive, else ``negative_slope * x``."""


class RReLU(OfFunction, function=F.rrelu):
    """Leaky ReLU whose slope is random in training."""


class ReLU6(OfFunction, function=F.relu6):
    """``min(max(x, 0), 6)``."""


class ELU(OfFunction, function=F.elu):
    """`x` where positive, else ``alpha * (exp(x) - 1)``."""


class SELU(OfFunction, function=F.selu):
    """ELU that keeps mean 0 and variance 1 from layer to layer."""


class CELU(OfFunction, function=F.celu):
    """ELU without a kink, for any `alpha`."""


class GELU(OfFunction, function=F.gelu):
    """``x * Phi(x)``, or with ``approximate="tanh"`` its tanh form."""


class Hardtanh(OfFunction, function=F.hardtanh):
    """`x` held in [`min_val`, `max_val`]."""


class Hardsigmoid(OfFunction, function=F.hardsigmoid):
    """``x / 6 + 1/2`` held in [0, 1]."""


class Hardswish(OfFunction, function=F.hardswish):
    """``x * hardsigmoid(x)``."""


class Softshrink(OfFunction, function=F.softshrink):
    """`x` brought towards 0 by `lambd`, and not past it."""


class Hardshrink(OfFunction, function=F.hardshrink):
    """`x` where it is larger than `lambd` in size, else 0."""


class Threshold(OfFunction, function=F.threshold):
    """`x` where it is above `threshold`, else `value`."""


class Softmax(OfFunction, function=F.softmax):
    """Softmax along an axis."""


class LogSoftmax(OfFunction, function=F.log_softmax):
    """Logarithm of softmax along an axis."""


class Softmin(OfFunction, function=F.softmin):
    """Softmax of ``-x`` along an axis."""


class GLU(OfFunction, function=F.glu):
    """The first half along an axis, times the sigmoid of the second half."""


class Maxout(OfFunction, function=F.maxout):
    """Largest of each run of `pieces` neighbours along an axis."""


# --- distances and noise --------------------------------------------------------------------------------------------


class CosineSimilarity(OfFunction, function=F.cosine_similarity):
    """Cosine of the angle between vectors along an axis."""


class PairwiseDistance(OfFunction, function=F.pairwise_distance):
    """Length of ``x1 - x2`` along the last axis."""


class LocalResponseNorm(OfFunction, function=F.local_response_norm):
    """Each value over a power of its neighbours' squares, along channels."""


class Dropout(OfFunction, function=F.dropout):
    """Each element 0 with probability `p` in training, the others times ``1 / (1 - p)``."""


class Dropout1d(OfFunction, function=F.dropout1d):
    """Dropout of whole channels of (N, C, L)."""


class Dropout2d(OfFunction, function=F.dropout2d):
    """Dropout of whole channels of (N, C, H, W)."""


# --- losses ---------------------------------------------------------------------------------------------------------


class MSELoss(OfFunction, function=F.mse_loss):
    """Squared error."""


class L1Loss(OfFunction, function=F.l1_loss):
    """Absolute error."""


class HuberLoss(OfFunction, function=F.huber_loss):
    """Squared error near 0, absolute beyond `delta`."""


class SmoothL1Loss(OfFunction, function=F.smooth_l1_loss):
    """Huber's loss divided by its edge `beta`."""


class CrossEntropyLoss(OfFunction, function=F.cross_entropy):
    """Softmax cross-entropy of logits and class ids or probabilities."""


class NLLLoss(OfFunction, function=F.nll_loss):
    """Minus the log-probability of class ids."""


class BCELoss(OfFunction, function=F.binary_cross_entropy):
    """Binary cross-entropy of probabilities."""


class BCEWithLogitsLoss(OfFunction, function=F.binary_cross_entropy_with_logits):
    """Binary cross-entropy of logits."""


class KLDivLoss(OfFunction, function=F.kl_div):
    """Divergence from log-probabilities to a target distribution."""


class PoissonNLLLoss(OfFunction, function=F.poisson_nll_loss):
    """Minus the log-likelihood of counts."""


class GaussianNLLLoss(OfFunction, function=F.gaussian_nll_loss):
    """Minus the log-likelihood of values with a mean and a variance each."""


class HingeLoss(OfFunction, function=F.hinge_loss):
    """``max(0, 1 - target * x)``."""


class MulticlassSVMLoss(OfFunction, function=F.multiclass_svm_loss):
    """``sum over j != y of max(0, s_j - s_y + margin)``: the lectures' support vector machine."""


class HingeEmbeddingLoss(OfFunction, function=F.hinge_embedding_loss):
    """`x` for targets of 1, ``max(0, margin - x)`` for -1."""


class SoftMarginLoss(OfFunction, function=F.soft_margin_loss):
    """``log(1 + exp(-target * x))``."""


class MultiMarginLoss(OfFunction, function=F.multi_margin_loss):
    """Mean over classes of ``max(0, margin + x_j - x_y)**p``."""


class MultiLabelMarginLoss(OfFunction, function=F.multilabel_margin_loss):
    """Margin loss of rows with several class ids."""


class MultiLabelSoftMarginLoss(OfFunction, function=F.multilabel_soft_margin_loss):
    """Binary cross-entropy of logits, its mean over the classes."""


class MarginRankingLoss(OfFunction, function=F.margin_ranking_loss):
    """``max(0, margin - target * (x1 - x2))``."""


class CosineEmbeddingLoss(OfFunction, function=F.cosine_embedding_loss):
    """``1 - cos`` for targets of 1, ``max(0, cos - margin)`` for -1."""


class TripletMarginLoss(OfFunction, function=F.triplet_margin_loss):
    """``max(0, margin + |anchor - positive| - |anchor - negative|)``."""
