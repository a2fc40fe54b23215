"""Layers: linear, bilinear, embedding."""

from __future__ import annotations

import math
from typing import Any

from ..creation import empty, full
from ..errors import ShapeError, describe
from ..modes import no_grad
from ..ops import linalg
from ..ops.axes import axis_of
from ..ops.embedding import embedding
from ..ops.piecewise import prelu
from ..ops.products import bilinear
from ..tensor import Tensor, asarray
from . import init
from .module import Module, Parameter


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
    """Its input, in the place of any other module, whose arguments it takes (`torch.nn.Identity`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


class Flatten(Module):
    """Axes as one, all but the first if not told otherwise (`torch.nn.Flatten`)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Tensor:
        """(N, ...) to (N, features)."""
        x = asarray(x)
        start, end = axis_of(self.start_dim, x.ndim), axis_of(self.end_dim, x.ndim)
        return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


class Bilinear(Module):
    """``x1 @ weight[k] @ x2 + bias[k]`` for each k (`torch.nn.Bilinear`).

    Attributes
    ----------
    weight : Parameter of shape (out_features, in1_features, in2_features)
    bias : Parameter of shape (out_features,), or None
        Both start uniform in ``±1/sqrt(in1_features)``.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.nn.Bilinear(2, 3, 4)(gg.ones((5, 2)), gg.ones((5, 3))).shape
    (5, 4)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if in1_features < 1:
            raise ShapeError(f"Bilinear: in1_features must be positive, got {in1_features}")
        bound = 1 / math.sqrt(in1_features)
        self.weight = Parameter(empty((out_features, in1_features, in2_features), dtype, device))
        init.uniform_(self.weight, -bound, bound)
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(empty((out_features,), dtype, device))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Combine the last axes of x1 and x2."""
        return bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, as PyTorch shows them."""
        out, in1, in2 = self.weight.shape
        return f"in1_features={in1}, in2_features={in2}, out_features={out}, bias={self.bias is not None}"


class Embedding(Module):
    """A table of rows, looked up by number (`torch.nn.Embedding`).

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        A row that starts at 0 and gets no gradient.

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)
        Starts normal.

    Examples
    --------
    >>> from gpugrad import nn
    >>> nn.Embedding(10, 3)([[1, 2], [3, 4]]).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ShapeError(f"Embedding: padding_idx must be one of the {num_embeddings} rows, got {padding_idx}")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(empty((num_embeddings, embedding_dim), dtype, device))
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """One with a copy of these rows, not to be trained if not told otherwise.

        >>> from gpugrad import nn
        >>> nn.Embedding.from_pretrained([[1.0, 2.0], [3.0, 4.0]])([1])
        tensor([[3., 4.]])
        """
        rows = asarray(embeddings)
        if rows.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: expected rows, of 2 axes, got {describe(rows)}")
        table = cls(rows.shape[0], rows.shape[1], padding_idx, rows.device, rows.dtype)
        with no_grad():
            table.weight[...] = rows
        table.weight.requires_grad = not freeze
        return table

    def forward(self, ids: Any) -> Tensor:
        """Rows with the numbers `ids`."""
        return embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Sizes, as PyTorch shows them."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}{padding}"


class PReLU(Module):
    """Leaky ReLU with a learnt slope, one for all or one per channel (`torch.nn.PReLU`).

    Examples
    --------
    >>> from gpugrad import nn
    >>> nn.PReLU()([-2.0, 1.0])
    tensor([-0.5,  1. ], op=sloped_relu)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None) -> None:
        self.weight = Parameter(full((num_parameters,), init, dtype, device))

    def forward(self, x: Any) -> Tensor:
        """Apply it."""
        return prelu(x, self.weight)

    def extra_repr(self) -> str:
        """How many slopes."""
        return f"num_parameters={self.weight.size}"
