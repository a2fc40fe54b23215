"""Every op of the registry on CuPy arrays against NumPy: values, gradients, updates; and layers in the precisions of training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad.op import Op, Sample, registry
from gpugrad.testing import iterate_samples, sample_function

from .parts import Row, Settings, attempt

__all__ = ["rows", "table"]

DEVICE = "cuda"
TOLERANCE = 1e-9
"""Of float64, over the largest magnitude in the result: samples are small, but some matrices are not well-conditioned."""

LAYERS = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 2e-1}
"""Tolerance of layers, which cuBLASLt computes with their activations in these dtypes alone."""

UP_TO_SIGN = frozenset(("eig", "eigh", "svd_reduced"))
"""Ops whose vectors a library may turn around: magnitudes are compared, and no gradients."""


def rows(settings: Settings) -> Iterator[Row]:
    """A row for each op that has samples."""
    ops = [op for op in registry.values() if op.samples is not None]
    for op in settings.each(ops[:: 12 if settings.small else 1]):
        yield attempt(op.name, lambda op=op: _compare(op))
    for dtype in settings.each(LAYERS):
        for activation in ("relu", "gelu_tanh"):
            yield attempt(f"layers with {activation}, {dtype}", lambda d=dtype, a=activation: _compare_layers(d, a))


def table(rows: list[Row]) -> list[dict[str, str]]:
    """A line for all that agree, and one for each that does not."""
    good = [row for row in rows if not row.get("fault") and not row.get("layers")]
    layers = [row for row in rows if not row.get("fault") and row.get("layers")]
    lines = [
        {
            "ops": f"{len(good)} agree",
            "samples": str(sum(row["samples"] for row in good)),
            "largest difference, values": _largest(good, "value"),
            "largest difference, gradients": _largest(good, "gradient"),
        }
    ]
    keys = {"largest difference, values": "value", "largest difference, gradients": "gradient"}
    lines += [{"ops": row["name"], "samples": "1"} | {title: f"{row[key]:.1e}" for title, key in keys.items()} for row in layers]
    return lines + [{"ops": row["name"], "samples": row["fault"]} for row in rows if row.get("fault")]


def _largest(rows: list[Row], key: str) -> str:
    worst = max(rows, key=lambda row: row[key], default=None)
    return f"{worst[key]:.1e} ({worst['name']})" if worst else ""


def _compare(op: Op) -> Row:
    found: Row = {"samples": 0, "value": 0.0, "gradient": 0.0}
    for sample, positions in iterate_samples(op):
        found["samples"] += 1
        there = _on_gpu(op, sample)
        if op.mutates is not None:
            found["value"] = max(found["value"], _difference_of_updates(op, sample))
            continue
        values = op.public(*there.args, **there.kwargs), op.public(*sample.args, **sample.kwargs)
        found["value"] = max(found["value"], _difference(*values, up_to_sign=op.name in UP_TO_SIGN))
        if positions and op.name not in UP_TO_SIGN:
            gradients = _gradients(op, there, positions), _gradients(op, sample, positions)
            found["gradient"] = max(found["gradient"], _difference(*gradients))
    worst = max(found["value"], found["gradient"])
    return found | ({} if worst <= TOLERANCE else {"fault": f"differs from NumPy by {worst:.1e}, allowed is {TOLERANCE:.0e}"})


def _compare_layers(dtype: str, activation: str) -> Row:
    """Two backwards through three layers, of widths that cuBLASLt takes whole; and whether nan comes through."""
    draw = np.random.default_rng(0).standard_normal
    arrays = [draw((32, 64)), *(draw(s) / 8 for n, m in pairwise((64, 256, 128, 8)) for s in ((m, n), (m,)))]
    found = []
    for device in (DEVICE, "cpu"):
        inputs = [gg.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in arrays]
        for _ in range(2):
            out = _layers(inputs, activation, at_once=device != "cpu")
            gg.sum(gg.square(out.astype("float32"))).backward()
        with gg.no_grad():
            inputs[0][3, 5] = float("nan")
            spoilt = gg.isnan(_layers(inputs, activation, at_once=device != "cpu"))
        found.append((spoilt, out.astype("float32"), [i.grad.astype("float32") for i in inputs]))
    (got_nan, got, got_grads), (nan, want, grads) = found
    row: Row = {"samples": 1, "layers": True, "value": _difference(got, want), "gradient": _difference(got_grads, grads)}
    if _difference(got_nan, nan):
        return row | {"fault": "nan does not come through as on the CPU"}
    worst, most = max(row["value"], row["gradient"]), LAYERS[dtype]
    return row | ({} if worst <= most else {"fault": f"differs from NumPy by {worst:.1e}, allowed is {most:.0e}"})


def _layers(inputs: list[Any], activation: str, at_once: bool) -> Any:
    """Three layers as one op, or one by one: in half types the results between them are rounded on a GPU."""
    if at_once:
        return gg.ops.linalg.linear_layers(inputs, (activation, activation, None))
    x = inputs[0]
    for i in range(1, 7, 2):
        x = gg.nn.functional.linear(x, inputs[i], inputs[i + 1])
        x = x if i == 5 else gg.relu(x) if activation == "relu" else gg.gelu(x, "tanh")
    return x


def _moved(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return gg.asarray(value, device=DEVICE).data
    if isinstance(value, list | tuple):
        return type(value)(map(_moved, value))
    return value


def _on_gpu(op: Op, sample: Sample) -> Sample:
    names = [*op.signature.parameters, *[""] * len(sample.args)]
    args = [DEVICE if name == "device" else _moved(value) for value, name in zip(sample.args, names, strict=False)]
    kwargs = {name: DEVICE if name == "device" else _moved(value) for name, value in sample.kwargs.items()}
    return sample._replace(args=tuple(args), kwargs=kwargs)


def _gradients(op: Op, sample: Sample, positions: tuple[int, ...]) -> Any:
    """Of a sum of the results' squares, which needs no cotangents."""
    function, arrays = sample_function(op, sample, positions)

    def squares(*inputs: Any) -> Any:
        parts = [gg.asarray(part) for part in _parts(function(*inputs))]
        return sum(gg.sum(gg.real(part * gg.conjugate(part))) for part in parts if part.dtype.kind in "fc")

    return gg.grad(squares, tuple(range(len(arrays))))(*arrays)


def _difference_of_updates(op: Op, sample: Sample) -> float:
    arrays = [isinstance(value, np.ndarray) for value in sample.args]
    here = [gg.asarray(v.copy()) if is_array else v for v, is_array in zip(sample.args, arrays, strict=True)]
    there = [
        gg.asarray(v, device=DEVICE if v.ndim else None) if is_array else v
        for v, is_array in zip(sample.args, arrays, strict=True)
    ]
    for args in (here, there):
        op.public(*args, **sample.kwargs)
    return max((_difference(t, h) for t, h in zip(there, here, strict=True) if isinstance(h, gg.Tensor)), default=0.0)


def _parts(value: Any) -> list[Any]:
    return [part for v in value for part in _parts(v)] if isinstance(value, list | tuple) else [value]


def _difference(got: Any, want: Any, up_to_sign: bool = False) -> float:
    """The largest difference over the largest magnitude; infinite where dtype, shape or what is not finite differ."""
    worst = 0.0
    for one, other in zip(_parts(got), _parts(want), strict=True):
        a, b = (gg.asarray(v).detach().cpu().numpy() for v in (one, other))
        if a.dtype != b.dtype or a.shape != b.shape:
            raise ValueError(f"is {a.dtype}{a.shape}, should be {b.dtype}{b.shape}")
        if up_to_sign:
            a, b = abs(a), abs(b)
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=a.dtype.kind in "fc"):
            return np.inf
        if a.dtype.kind not in "fc":
            worst = max(worst, float((a != b).any()))
        elif finite.any():
            error = np.abs(a[finite] - b[finite]).max() / max(1.0, np.abs(b[finite]).max())
            worst = max(worst, float(error)) if np.isfinite(error) else np.inf
    return worst
