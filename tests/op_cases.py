"""What the tests of ops share: every sample of every op, and references that were not written with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import special
from spatial_cases import SPATIAL

import gpugrad as gg
from gpugrad.op import Op, Sample, registry
from gpugrad.testing import iterate_samples, sample_function


class Case(NamedTuple):
    """One sample of one op."""

    op: Op
    sample: Sample
    positions: tuple[int, ...]

    def function(self) -> tuple[Callable[..., Any], list[Any]]:
        """The call as a function of its differentiable arrays, and those; several results are joined into one vector."""
        function, arrays = sample_function(self.op, self.sample, self.positions)
        return (joined(function) if self.op.returns is not None else function), arrays


def joined(function: Callable[..., Any]) -> Callable[..., Any]:
    def one_vector(*arrays: Any) -> Any:
        return gg.concatenate([gg.reshape(part, -1) for part in function(*arrays) if part.dtype.kind not in "iub"])

    return one_vector


def describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return ("" if value.dtype.kind == "f" else value.dtype.name + "_") + "x".join(map(str, value.shape or ("0d",)))
    if isinstance(value, list | tuple) and any(isinstance(v, np.ndarray) for v in value):
        return "+".join(map(describe, value))
    return str(value).replace(" ", "").replace("slice(None,None,None)", ":").replace("None", "_")[:24]


def case_id(case: Case) -> str:
    arguments = [describe(value) for value in case.sample.args]
    arguments += [f"{name}={describe(value)}" for name, value in case.sample.kwargs.items()]
    return f"{case.op.name}({','.join(arguments)})"


CASES = [Case(op, sample, positions) for op in registry.values() for sample, positions in iterate_samples(op)]
PURE = [case for case in CASES if case.op.mutates is None]
DIFFERENTIABLE = [case for case in CASES if case.positions]


def params(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case_id(case)) for case in cases])


def leaves(arrays: list[Any]) -> list[gg.Tensor]:
    """Differentiable Tensors around arrays, in the layout they have."""
    return [gg.asarray(array).requires_grad_() for array in arrays]


def value_and_gradients(function: Any, arrays: list[Any], cotangent: Any = None, create_graph: bool = False) -> Any:
    """A result, and the gradients of ``<cotangent, result>``, as raw arrays; the cotangent is made if not given."""
    inputs = leaves(arrays)
    out = function(*inputs)
    if cotangent is None:
        cotangent = cotangent_for(out)
    out.backward(np.asarray(cotangent, out.dtype), create_graph=create_graph)
    for tensor in inputs:
        assert tensor.grad is not None
    return out.detach().numpy(), [tensor.grad.detach().numpy() for tensor in inputs if tensor.grad is not None]


def random_like(value: Any, rng: np.random.Generator) -> Any:
    real = rng.standard_normal(np.shape(value))
    return real + 1j * rng.standard_normal(np.shape(value)) if np.iscomplexobj(value) else real


def inner(left: Any, right: Any) -> float:
    """The pairing of gradients and directions: real, also for complex arrays."""
    return float(np.vdot(left, right).real)


def cotangent_for(out: Any) -> np.ndarray:
    rng = np.random.default_rng(7)
    real = rng.uniform(0.5, 1.5, out.shape)
    return real + 1j * rng.uniform(0.5, 1.5, out.shape) if out.dtype.kind == "c" else real


# --- references ---------------------------------------------------------------------------------------------------


def dropout_from(x: Any, state: Any, p: float = 0.5) -> Any:
    drawn = np.random.Generator(np.random.Philox(counter=state[:4], key=state[4:])).random(x.shape)
    return np.where(drawn >= p, x / max(1 - p, 1e-300), 0)


def bias_activation_dropout_from(x: Any, bias: Any, state: Any, activation: str = "relu", p: float = 0.5) -> Any:
    function = REFERENCES.get(activation) or getattr(np, activation)
    return dropout_from(function(x + bias), state, p)


def reduced(values: Any, reduction: str) -> Any:
    return {"none": lambda v: v, "sum": np.sum, "mean": np.mean}[reduction](values)


def cross_entropy(x: Any, target: Any, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0) -> Any:
    logs = special.log_softmax(x, axis=1)
    soft = np.eye(x.shape[1])[target] if target.dtype.kind == "i" else target
    soft = soft * (1 - label_smoothing) + label_smoothing / x.shape[1]
    losses = -special.xlogy(soft, np.exp(logs)).sum(axis=1)
    if target.dtype.kind == "i":
        losses[target == ignore_index] = 0
        if reduction == "mean":
            return losses.sum() / (target != ignore_index).sum()
    return reduced(losses, reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    return reduced(special.huber(delta, x - target), reduction)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
    return reduced(-special.xlogy(target, x) - special.xlog1py(1 - target, -x), reduction)


def multiclass_svm_loss(x: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Any:
    losses = [sum(max(0, s - row[y] + margin) for j, s in enumerate(row) if j != y) for row, y in zip(x, target, strict=True)]
    return reduced(np.array(losses), reduction)


def nll_loss(x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    losses, total = np.zeros(target.shape), 0.0
    for place, y in np.ndenumerate(target):
        if y != ignore_index:
            w = 1.0 if weight is None else weight[y]
            losses[place] = -w * x[(place[0], y, *place[1:])]
            total += w
    return losses.sum() / total if reduction == "mean" else reduced(losses, reduction)


def layer_norm(x: Any, normalized_shape: Any, weight: Any = 1, bias: Any = 0, eps: float = 1e-5) -> Any:
    rows = x.reshape(-1, np.prod(normalized_shape))
    return ((rows - rows.mean(1)[:, None]) / np.sqrt(rows.var(1) + eps)[:, None]).reshape(x.shape) * weight + bias


def rms_norm(x: Any, normalized_shape: Any, weight: Any = 1, eps: float = np.finfo(float).eps) -> Any:
    rows = x.reshape(-1, np.prod(normalized_shape))
    return (rows / np.sqrt(np.mean(rows**2, 1) + eps)[:, None]).reshape(x.shape) * weight


def standardize_batch(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    channels = np.moveaxis(x, 1, -1)
    rows = channels.reshape(-1, x.shape[1])
    values = (channels - rows.mean(0)) / np.sqrt(rows.var(0) + eps)
    values = values * (1 if weight is None else weight) + (0 if bias is None else bias)
    return np.moveaxis(values, -1, 1), rows.mean(0), rows.var(0)


def sum_rows(ids: Any, x: Any, rows: int, padding_idx: int | None = None) -> Any:
    out = np.zeros((rows, x.shape[-1]))
    for place, i in np.ndenumerate(ids):
        out[i] += x[place]
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def scatter(numbers: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """Zeros with each element of x added to the element whose number in C order is given."""
    return np.bincount(numbers.ravel(), x.ravel(), minlength=int(np.prod(shape))).reshape(shape)


def numbered(shape: tuple[int, ...]) -> Any:
    return np.arange(int(np.prod(shape))).reshape(shape)


def index_set(x: Any, value: Any, index: Any) -> Any:
    out = x.copy().ravel()
    numbers = numbered(x.shape)[index]
    for n, v in zip(numbers.ravel(), np.broadcast_to(value, numbers.shape).ravel(), strict=True):
        out[n] = v
    return out.reshape(x.shape)


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    numbers = np.broadcast_to(numbered(shape), x.shape)
    return scatter(numbers, x, shape)


def maxout(x: Any, pieces: int, axis: int = -1) -> Any:
    return np.stack([run.max(axis=axis) for run in np.split(x, x.shape[axis] // pieces, axis=axis)], axis=axis)


def gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return x * special.ndtr(x)


def polygamma(x: Any, n: int) -> Any:
    """Also for negative arguments, where SciPy has nan: by the recurrence, from where it has a number."""
    total = np.zeros_like(x)
    x = x.copy()
    while (x < 1).any():
        total -= np.where(x < 1, (-1) ** n * math.factorial(n) / x ** (n + 1), 0)
        x = np.where(x < 1, x + 1, x)
    return special.polygamma(n, x) + total


def linear_layers(arrays: Any, activations: Any) -> Any:
    x, slopes = arrays[0], {"relu": lambda z: np.where(z > 0, z, 0), "tanh": np.tanh, "sigmoid": special.expit, None: lambda z: z}
    slopes["gelu_tanh"] = lambda z: gelu(z, "tanh")
    for weight, bias, activation in zip(arrays[1::2], arrays[2::2], activations, strict=True):
        x = slopes[activation](np.einsum("...i,oi->...o", x, weight) + (0 if bias is None else bias))
    return x


IN_NUMPY = SimpleNamespace(tanh=np.tanh, exp=np.exp, where=np.where, sigmoid=special.expit)

REFERENCES: dict[str, Callable[..., Any]] = {
    "dropout_from": dropout_from,
    "bias_activation_dropout_from": bias_activation_dropout_from,
    "clip": lambda x, a_min=None, a_max=None: np.clip(x, a_min, a_max),
    "rsqrt": lambda x: x**-0.5,
    "sigmoid": special.expit,
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "softsign": lambda x: x / (1 + np.fabs(x)),
    "hardtanh": lambda x, low=-1, high=1: np.where(x < low, low, np.where(x > high, high, x)),
    "sloped_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "nll_loss": nll_loss,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "standardize_batch": standardize_batch,
    "embedding": lambda ids, weight, padding_idx=None: weight[ids],
    "sum_rows": sum_rows,
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "celu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x / alpha) - 1)),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "hardsigmoid": lambda x: np.where(x < -3, 0, np.where(x > 3, 1, x / 6 + 0.5)),
    "hardswish": lambda x: x * np.where(x < -3, 0, np.where(x > 3, 1, x / 6 + 0.5)),
    "softshrink": lambda x, lambd=0.5: np.sign(x) * np.maximum(np.fabs(x) - lambd, 0),
    "hardshrink": lambda x, lambd=0.5: x * (np.fabs(x) > lambd),
    "tanhshrink": lambda x: x - np.tanh(x),
    "softplus": lambda x: np.logaddexp(0, x),
    "logsigmoid": special.log_expit,
    "silu": lambda x: x * special.expit(x),
    "gelu": gelu,
    "gelu_slope": lambda x: special.ndtr(x) + x * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi),
    "small_power": np.power,
    "top_places": lambda x, k, axis, largest: np.take(np.argsort(-x if largest else x, axis), range(k), axis),
    "clipped_square": lambda x, edge: special.huber(edge, x),
    "softmax": lambda x, axis=-1: special.softmax(x, axis=axis),
    "log_softmax": lambda x, axis=-1: special.log_softmax(x, axis=axis),
    "logsumexp": special.logsumexp,
    "maxout": maxout,
    "erf": special.erf,
    "erfc": special.erfc,
    "mse_loss": lambda x, target, reduction="mean": reduced((x - target) ** 2, reduction),
    "l1_loss": lambda x, target, reduction="mean": reduced(np.fabs(x - target), reduction),
    "huber_loss": huber_loss,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "binary_nll": lambda x, target: binary_cross_entropy(x, target, "none"),
    "binary_cross_entropy_with_logits": lambda x, target, reduction="mean": binary_cross_entropy(
        special.expit(x), target, reduction
    ),
    "hinge_loss": lambda x, target, reduction="mean": reduced(np.clip(1 - target * x, 0, None), reduction),
    "multiclass_svm_loss": multiclass_svm_loss,
    "mm": lambda x, y: np.einsum("ij,jk->ik", x, y),
    "linear": lambda x, weight, bias=0: np.einsum("...i,oi->...o", x, weight) + bias,
    "linear_layers": linear_layers,
    "chain": lambda arrays, function: function.call(IN_NUMPY, arrays),
    "getitem": lambda x, index: x[index],
    "index_add_zeros": lambda x, index, shape: scatter(numbered(shape)[index], x, shape),
    "index_sum": lambda arrays, indices, shape: sum(
        scatter(numbered(shape)[index], x, shape) for x, index in zip(arrays, indices, strict=True)
    ),
    "index_set": index_set,
    "put_along_axis_zeros": lambda x, indices, axis, shape: scatter(np.take_along_axis(numbered(shape), indices, axis), x, shape),
    "zeros_of": np.zeros_like,
    "inv": np.linalg.inv,
    "det": np.linalg.det,
    "slogdet": lambda a: (np.sign(np.linalg.det(a)), np.log(np.abs(np.linalg.det(a)))),
    "solve": lambda a, b: (np.linalg.inv(a) @ b[..., None])[..., 0] if b.ndim == 1 else np.linalg.inv(a) @ b,
    "pinv": lambda a: (
        np.linalg.inv(a.swapaxes(-1, -2) @ a) @ a.swapaxes(-1, -2)
        if a.shape[-2] >= a.shape[-1]
        else a.swapaxes(-1, -2) @ np.linalg.inv(a @ a.swapaxes(-1, -2))
    ),
    "cholesky": np.linalg.cholesky,
    "eigh": np.linalg.eigh,
    "eig": lambda a: tuple(part.astype(complex) for part in np.linalg.eig(a)),
    "fix": np.trunc,
    "svd_reduced": lambda a: np.linalg.svd(a, full_matrices=False),
    "qr_reduced": np.linalg.qr,
    "norm2": lambda x, axis=None, keepdims=False: np.sqrt(np.sum(np.abs(x) ** 2, axis=axis, keepdims=keepdims)),
    "diag_embed": lambda x: x[..., None] * np.eye(x.shape[-1]),
    "diag_part": lambda x: np.einsum("...ii->...i", x),
    "fft": np.fft.fft,
    "ifft": np.fft.ifft,
    "rfft": np.fft.rfft,
    "irfft": np.fft.irfft,
    "lgamma": special.gammaln,
    "polygamma": lambda x, n: special.digamma(x) if n == 0 else polygamma(x, n),
    "bessel_i": lambda x, n: special.iv(n, x),
    "erfinv": special.erfinv,
    "cummax": lambda x, axis=None: np.maximum.accumulate(x.ravel() if axis is None else x, axis=axis or 0),
    "cummin": lambda x, axis=None: np.minimum.accumulate(x.ravel() if axis is None else x, axis=axis or 0),
    "logcumsumexp": lambda x, axis=None: np.log(np.cumsum(np.exp(x), axis=axis)),
    "einsum_pair": lambda x, y, subscripts: np.einsum(subscripts, x, y),
    "nan_to_num": lambda x, copy=True, nan=0.0: np.nan_to_num(x, nan=nan),
    "sum_to": sum_to,
    "cast": lambda x, dtype: x.astype(dtype),
    "to_device": lambda x, device: x,
    "alias": lambda x: x,
} | SPATIAL


def numpy_function(op: Op) -> Callable[..., Any] | None:
    """NumPy's function for an op: its ufunc, or the one of the same name."""
    return getattr(np, op.ufunc or op.name, None) if op.name not in REFERENCES else None
