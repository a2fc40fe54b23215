"""Layers: linear, containers, activations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..creation import empty
from ..errors import DTypeError, ShapeError
from ..ops import activation, elementwise, linalg
from ..tape import current_mode
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class Sequential(Module):
    """Modules one after another; each gets the output of the one before.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad import nn
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> net(gg.zeros((5, 4))).shape
    (5, 2)
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    fuse = True
    """Whether neighbouring Linear, ReLU, Tanh and Sigmoid modules run as one op; set to False to see each on the tape."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                name = getattr(module, "__name__", module)
                raise DTypeError(f"Sequential takes modules; layer {i} is {name}: use its module, as nn.ReLU() for relu")
            setattr(self, str(i), module)
        self._layers = modules
        self._plan = _runs(modules)

    def forward(self, x: Any) -> Any:
        """Run the modules in order."""
        if not self.fuse or current_mode().apart:
            for layer in self._layers:
                x = layer(x)
            return x
        for module, linears, activations in self._plan:
            if module is not None:
                x = module(x)
            else:
                arrays = [x]
                for linear in linears:
                    arrays += (linear.weight, linear.bias)
                x = linalg.linear_layers(arrays, activations)
        return x

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Module:
        return self._layers[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)


def _runs(modules: tuple[Module, ...]) -> list[tuple[Module | None, list[Any], tuple[str | None, ...]]]:
    """The modules one by one, but each run of Linears and their activations together."""
    plan: list[tuple[Module | None, list[Any], tuple[str | None, ...]]] = []
    for module in modules:
        name = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}.get(type(module))
        in_run = bool(plan) and plan[-1][0] is None
        if type(module) is Linear:
            if not in_run:
                plan.append((None, [], ()))
            _, linears, activations = plan[-1]
            plan[-1] = (None, [*linears, module], (*activations, None))
        elif name is not None and in_run and plan[-1][2][-1] is None:
            _, linears, activations = plan[-1]
            plan[-1] = (None, linears, (*activations[:-1], name))
        else:
            plan.append((module, [], ()))
    return plan


class Linear(Module):
    """``x @ weight.T + bias`` (`torch.nn.Linear`).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None
        Both start uniform in ``±1/sqrt(in_features)``.

    Examples
    --------
    >>> import gpugrad as gg
    >>> from gpugrad import nn
    >>> layer = nn.Linear(3, 2)
    >>> layer.weight.shape
    (2, 3)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        if in_features < 0 or out_features < 0:
            raise ShapeError(f"Linear({in_features}, {out_features}): numbers of features cannot be negative")
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = Parameter(empty((out_features, in_features), dtype, device))
        init.uniform_(self.weight, -bound, bound)
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(empty((out_features,), dtype, device))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        """Map the last axis of x from in_features to out_features."""
        return linalg.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, as PyTorch shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Its input."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


class Flatten(Module):
    """All axes but the first as one (`torch.nn.Flatten`)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, features)."""
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class ReLU(Module):
    """``max(x, 0)``."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.relu(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return elementwise.tanh(x)


class LogSigmoid(Module):
    """``log(sigmoid(x))``."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.logsigmoid(x)


class SiLU(Module):
    """``x * sigmoid(x)``."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.silu(x)


class Softplus(Module):
    """``log(1 + exp(x))``."""

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.softplus(x)


class LeakyReLU(Module):
    """`x` where positive, else ``negative_slope * x``."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """`x` where positive, else ``alpha * (exp(x) - 1)``."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.elu(x, self.alpha)


class GELU(Module):
    """``x * Phi(x)``, or with ``approximate="tanh"`` its tanh form."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.gelu(x, self.approximate)


class Softmax(Module):
    """Softmax along an axis."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.softmax(x, self.axis)


class LogSoftmax(Module):
    """Logarithm of softmax along an axis."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.log_softmax(x, self.axis)


class Maxout(Module):
    """Largest of each run of `pieces` neighbours along an axis."""

    def __init__(self, pieces: int, axis: int = -1) -> None:
        self.pieces, self.axis = pieces, axis

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return activation.maxout(x, self.pieces, self.axis)
