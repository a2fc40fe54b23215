"""Values and gradients against PyTorch, where it is installed, in float64 to ten digits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import DIFFERENTIABLE, Case, cotangent_for, params, value_and_gradients

from gpugrad.op import registry

torch = pytest.importorskip("torch")
nn = torch.nn.functional


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction of PyTorch under NumPy's names for its arguments."""

    def reduce(x: Any, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
        axes = tuple(range(x.ndim)) if axis is None else axis
        return function(x, axes, keepdim=keepdims, **kwargs)

    return reduce


def take_along_axis(x: Any, indices: Any, axis: int) -> Any:
    return torch.take_along_dim(x, torch.tensor(indices % x.shape[axis]), axis)


def index_set(x: Any, value: Any, index: Any) -> Any:
    out = x.clone()
    out[index] = value
    return out


def index_add_zeros(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    numbers = torch.tensor(np.ascontiguousarray(np.arange(np.prod(shape)).reshape(shape)[index]))
    return torch.zeros(shape, dtype=x.dtype).put(numbers, x, accumulate=True)


def multiclass_svm_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    return nn.multi_margin_loss(x, torch.tensor(target), reduction=reduction) * x.shape[1]


def cross_entropy(x: Any, target: Any, **options: Any) -> Any:
    target = torch.as_tensor(target)
    if target.is_floating_point():
        options.pop("ignore_index", None)  # which it refuses to be given, though it would mean nothing
    return nn.cross_entropy(x, target, **options)


def of_pairs(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, target, **kwargs: function(x, target, **kwargs)


SAME = """
    add subtract multiply divide negative positive reciprocal square sqrt rsqrt exp exp2 expm1 log log2 log10 log1p
    logaddexp sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh abs erf erfc sigmoid relu mm
    matmul reshape swapaxes moveaxis broadcast_to
"""
TORCH: dict[str, Callable[..., Any]] = {name: getattr(torch, name) for name in re.findall(r"\w+", SAME)} | {
    "power": torch.pow,
    "maximum": lambda x, y: torch.maximum(x, torch.as_tensor(y, dtype=x.dtype)),
    "minimum": lambda x, y: torch.minimum(x, torch.as_tensor(y, dtype=x.dtype)),
    "clip": lambda x, a_min=None, a_max=None: torch.clip(x, a_min, a_max),
    "where": lambda condition, x, y: torch.where(torch.tensor(condition), x, y),
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "softplus": lambda x: nn.softplus(x, threshold=100),
    "logsigmoid": nn.logsigmoid,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "max": reduction(torch.amax),
    "min": reduction(torch.amin),
    "logsumexp": reduction(torch.logsumexp),
    "var": reduction(lambda x, axis, keepdim, ddof: torch.var(x, axis, correction=ddof, keepdim=keepdim)),
    "std": reduction(lambda x, axis, keepdim, ddof: torch.std(x, axis, correction=ddof, keepdim=keepdim)),
    "linear": nn.linear,
    "transpose": lambda x, axes=None: x.permute(*(axes or range(x.ndim)[::-1])),
    "squeeze": lambda x, axis=None: x.squeeze() if axis is None else x.squeeze(axis),
    "sum_to": lambda x, shape: x.sum_to_size(shape),
    "concatenate": lambda arrays, axis=0: torch.cat([a.ravel() for a in arrays]) if axis is None else torch.cat(arrays, axis),
    "stack": lambda arrays, axis=0: torch.stack(arrays, axis),
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "copy": torch.clone,
    "alias": lambda x: x,
    "getitem": lambda x, index: x[index],
    "take_along_axis": take_along_axis,
    "index_set": index_set,
    "index_add_zeros": index_add_zeros,
    "mse_loss": of_pairs(nn.mse_loss),
    "l1_loss": of_pairs(nn.l1_loss),
    "huber_loss": of_pairs(nn.huber_loss),
    "binary_cross_entropy": of_pairs(nn.binary_cross_entropy),
    "binary_cross_entropy_with_logits": of_pairs(nn.binary_cross_entropy_with_logits),
    "cross_entropy": cross_entropy,
    "multiclass_svm_loss": multiclass_svm_loss,
}


def steps_backwards(value: Any) -> bool:
    """PyTorch has no slices with a negative step."""
    return isinstance(value, tuple) and any(isinstance(v, slice) and (v.step or 1) < 0 for v in value)


def writes_twice(case: Case) -> bool:
    """PyTorch gives the gradient of an element that is written twice to both writers, the lost one too."""
    index = case.sample.args[-1]
    return case.op.name == "index_set" and isinstance(index, np.ndarray) and len(set(index.tolist())) < len(index)


@params(
    [c for c in DIFFERENTIABLE if c.op.name in TORCH and not any(map(steps_backwards, c.sample.args)) and not writes_twice(c)]
)
def test_value_and_gradients(case: Case) -> None:
    function, arrays = case.function()
    value, gradients = value_and_gradients(function, arrays)
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    filled: list[Any] = [value for a in case.sample.args for value in (a if isinstance(a, list) else [a])]
    for position, tensor in zip(case.positions, tensors, strict=True):
        filled[position] = tensor
    rest = iter(filled)
    arguments = [[next(rest) for _ in a] if isinstance(a, list) else next(rest) for a in case.sample.args]
    expected = TORCH[case.op.name](*arguments, **case.sample.kwargs)
    assert tuple(expected.shape) == value.shape
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, atol=1e-14)
    expected.backward(torch.tensor(cotangent_for(value)))
    for got, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


TIES: list[tuple[str, list[float], list[float] | None]] = [
    ("maximum", [1, 2, 3], [2, 2, 2]),
    ("minimum", [1, 2, 3], [2, 2, 2]),
    ("max", [1, 3, 3, 3], None),
    ("min", [1, 1, 3, 3], None),
    ("abs", [-1, 0, 1], None),
    ("relu", [-1, 0, 1], None),
    ("leaky_relu", [-1, 0, 1], None),
    ("elu", [-1, 0, 1], None),
    ("sigmoid", [-1000, 0, 1000], None),
    ("softplus", [-1000, 0, 1000], None),
    ("logsigmoid", [-1000, 0, 1000], None),
    ("silu", [-1000, 0, 1000], None),
    ("tanh", [-1000, 0, 1000], None),
    ("logsumexp", [-1000, 0, 1000], None),
    ("power", [0, 0, 2, -2], [0, 2, 0, 1]),
]


@pytest.mark.parametrize(("name", "x", "y"), TIES, ids=[name for name, *_ in TIES])
def test_kinks_ties_and_tails(name: str, x: list[float], y: list[float] | None) -> None:
    arrays = [np.array(values, float) for values in (x, y) if values is not None]
    value, gradients = value_and_gradients(registry[name].public, arrays)
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = TORCH[name](*tensors)
    expected.backward(torch.tensor(cotangent_for(value)))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12)
    got = dict(zip("xy", gradients, strict=False))
    for label, tensor in zip("xy", tensors, strict=False):
        np.testing.assert_allclose(got[label], tensor.grad.numpy(), rtol=1e-12, err_msg=label)
