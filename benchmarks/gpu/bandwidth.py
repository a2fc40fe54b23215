"""Achieved bandwidth of the memory-bound kernels, as a share of a copy on the device that is timed in the same rounds.

Arrays are several times larger than any cache. What a kernel moves is what it must read and write at least: an array that
it reads twice counts once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad.cuda import kernels, optimizers

from ..harness import ratios, spread
from ..report import format_seconds
from . import formulas
from .accuracy import Library, open_library
from .parts import Row, Settings, attempt
from .timing import time_together

__all__ = ["GOALS", "rows", "table"]

GOALS = {
    "activation forward + backward": ("share", 0.9, "at least 90% of a copy's bandwidth"),
    "bias + sigmoid forward + backward": ("cupy", 2.5, "at least 2.5 times as fast as CuPy's unfused calls"),
    "cross_entropy with gradient": ("torch", 1.0, "no slower than PyTorch's"),
}
"""What the kernels are meant to reach on a GPU like an H200: figure, least value, in words."""

Step = Callable[[], object]


@dataclass
class Work:
    """A kernel's call, how many arrays of the large size it moves, and the same in other libraries."""

    name: str
    arrays: float
    ours: Step
    cupy: Step | None = None
    torch: Step | None = None
    more: dict[str, Step] = field(default_factory=dict)
    shape: tuple[int, ...] = field(default=())


def rows(settings: Settings) -> Iterator[Row]:
    """A row for each kernel, of float32."""
    library = open_library(settings)
    shape = _shape(library.cupy, settings.small)
    for number, (name, build) in settings.each(enumerate(_WORK.items())):
        budget = 0.05 if settings.small else settings.left() / (len(_WORK) - number) * 0.6
        yield attempt(name, functools.partial(_measure, build, library, shape, budget))
        library.cupy.get_default_memory_pool().free_all_blocks()


def table(rows: list[Row]) -> list[dict[str, str]]:
    """Time and bandwidth of each kernel, and what was to be reached."""
    return [
        {
            "kernel": row["name"],
            "shape": "x".join(map(str, row.get("shape", []))),
            "time": format_seconds(row["seconds"]) if "seconds" in row else "",
            "GB/s": f"{row['bandwidth'] / 1e9:.0f}" if "bandwidth" in row else "",
            "share of a copy": f"{row['share']:.0%}" if "share" in row else "",
            "times as fast as CuPy": f"{row['cupy']:.2f}" if "cupy" in row else "",
            "as PyTorch": f"{row['torch']:.2f}" if "torch" in row else "",
            "as others": ", ".join(f"{name}: {ratio:.2f}" for name, ratio in row.get("more", {}).items()),
            "goal": f"{row['goal']}: {row['reached']}" if "goal" in row else "",
            "fault": row.get("fault", ""),
        }
        for row in rows
    ]


def _shape(cupy: Any, small: bool) -> tuple[int, int]:
    """Rows and columns of the large arrays: 0.4 GB of float32 each, or what nine of them leave room for."""
    if small:
        return 16, 64
    free, _ = cupy.cuda.runtime.memGetInfo()
    columns = 1000
    return max(1000, min(100_000, int(free * 0.8 / 9 / 4 / columns))), columns


def _measure(build: Callable[[Library, tuple[int, int]], Work], library: Library, shape: tuple[int, int], budget: float) -> Row:
    xp = library.cupy
    work = build(library, shape)
    source, target = (xp.zeros(shape, np.float32) for _ in range(2))
    steps: dict[str, Step] = {"copy": lambda: xp.copyto(target, source), "ours": work.ours}
    faults = []
    for name, step in (("cupy", work.cupy), ("torch", work.torch), *work.more.items()):
        if step is not None:
            try:
                step()
            except Exception as error:  # the kernel's own figures do not hang on another library
                faults.append(f"{name}: {type(error).__name__}: {error}"[:120])
            else:
                steps[name] = step
    seconds = time_together(xp, steps, budget)
    moved = work.arrays * source.nbytes
    share = spread([moved / (2 * source.nbytes) / r for r in ratios(seconds["ours"], seconds["copy"])])
    found: Row = {
        "name": work.name,
        "shape": list(work.shape or shape),
        "bytes": int(moved),
        "seconds": spread(seconds["ours"]).median,
        "bandwidth": moved / spread(seconds["ours"]).median,
        "copy_bandwidth": 2 * source.nbytes / spread(seconds["copy"]).median,
        "share": share.median,
        "share_p20": share.p20,
        "share_p80": share.p80,
        "rounds": len(seconds["ours"]),
    }
    others = {name: spread(ratios(seconds[name], seconds["ours"])).median for name in steps}  # above 1, ours is faster
    found |= {name: others[name] for name in ("cupy", "torch") if name in others}
    if work.more:
        found["more"] = {name: others[name] for name in work.more if name in others}
    if work.name in GOALS:
        figure, least, words = GOALS[work.name]
        found["goal"] = words
        found["reached"] = "not measured" if figure not in found else "yes" if found[figure] >= least else "no"
    return found | ({"fault": "; ".join(faults)} if faults else {})


# --- the work -----------------------------------------------------------------------------------------------------


def _normal(library: Library, *shape: int) -> Any:
    """Numbers of about unit size, made on the GPU."""
    xp = library.cupy
    count = int(np.prod(shape))
    return xp.sin(xp.arange(count, dtype=np.float32)).reshape(shape) * np.float32(2)


def _copy(library: Library, shape: tuple[int, int]) -> Work:
    x, out = _normal(library, *shape), library.cupy.empty(shape, np.float32)
    return Work("a copy, measured twice", 2, lambda: library.cupy.copyto(out, x))


def _activation(library: Library, shape: tuple[int, int]) -> Work:
    launch, xp, (x, g, out) = library.launch, library.cupy, (_normal(library, *shape) for _ in range(3))
    gx = xp.empty(shape, np.float32)

    def ours() -> None:
        kernels.activation(launch, "sigmoid", x, out=out)
        kernels.activation_backward(launch, "sigmoid", g, out, out=gx)

    def in_cupy() -> None:
        y = formulas.VALUES["sigmoid"](xp, x)
        g * y * (1 - y)

    return Work("activation forward + backward", 5, ours, in_cupy, _torch_step(library, x, g, "sigmoid"))


def _torch_step(library: Library, x: Any, g: Any, name: str) -> Step | None:
    """Forward and backward of an activation function in PyTorch."""
    torch = library.torch
    if torch is None:
        return None
    leaf, gradient = torch.from_dlpack(x).detach().clone().requires_grad_(), torch.from_dlpack(g)
    function = getattr(torch.nn.functional, name)

    def step() -> None:
        torch.autograd.grad(function(leaf), leaf, gradient)

    return step


def _activation_forward(library: Library, shape: tuple[int, int]) -> Work:
    x, out = (_normal(library, *shape) for _ in range(2))
    return Work("activation forward (gelu)", 2, lambda: kernels.activation(library.launch, "gelu", x, out=out))


def _bias_activation(name: str, library: Library, shape: tuple[int, int]) -> Work:
    launch, xp, (x, g, out) = library.launch, library.cupy, (_normal(library, *shape) for _ in range(3))
    bias, gx = _normal(library, shape[1]), library.cupy.empty(shape, np.float32)

    def ours() -> None:
        kernels.bias_activation(launch, name, x, bias, out=out)
        kernels.bias_activation_backward(launch, name, g, out, bias, out=gx)

    def in_cupy() -> None:
        y = formulas.VALUES[name](xp, x + bias)
        gx = g * y * (1 - y) if name == "sigmoid" else g * (y > 0)
        gx.sum(axis=0)

    return Work(f"bias + {name} forward + backward", 5, ours, in_cupy)


def _cross_entropy(library: Library, shape: tuple[int, int]) -> Work:
    xp, torch, x = library.cupy, library.torch, _normal(library, *shape)
    ids = xp.arange(shape[0]) * 7 % shape[1]
    scale = 1 / shape[0]
    step = None
    if torch is not None:
        leaf, labels = torch.from_dlpack(x).detach().clone().requires_grad_(), torch.from_dlpack(ids)

        def step() -> None:
            torch.autograd.grad(torch.nn.functional.cross_entropy(leaf, labels), leaf)

    return Work(
        "cross_entropy with gradient",
        2,
        lambda: kernels.cross_entropy(library.launch, x, ids, scale=scale, total=True, gradient=True),
        lambda: formulas.cross_entropy(xp, x, ids),
        step,
    )


def _softmax(library: Library, shape: tuple[int, int]) -> Work:
    x = _normal(library, *shape)
    return Work(
        "softmax forward",
        2,
        lambda: kernels.softmax(library.launch, x),
        lambda: formulas.softmax(library.cupy, x),
    )


def _layer_norm(library: Library, shape: tuple[int, int]) -> Work:
    x, g = (_normal(library, *shape) for _ in range(2))
    weight, bias = (_normal(library, shape[1]) for _ in range(2))

    def ours() -> None:
        kept = kernels.norm(library.launch, x, weight, bias, eps=1e-5)
        kernels.norm_backward(library.launch, g, x, weight, kept.means, kept.scales)
        kernels.norm_backward_parameters(library.launch, g, x, kept.means, kept.scales)

    def in_cupy() -> None:
        formulas.norm(library.cupy, x, weight, bias, 1e-5, True)
        formulas.norm_backward(library.cupy, g, x, weight, 1e-5, True)

    return Work("layer_norm forward + backward", 7, ours, in_cupy)


def _dropout(library: Library, shape: tuple[int, int]) -> Work:
    x, out = (_normal(library, *shape) for _ in range(2))
    state = library.cupy.asarray(kernels.philox_state(np.random.Generator(np.random.Philox(key=1))))
    return Work("dropout", 2, lambda: kernels.dropout(library.launch, x, state, 0.25, out=out))


def _bias_activation_dropout(library: Library, shape: tuple[int, int]) -> Work:
    launch, xp, (x, g, out) = library.launch, library.cupy, (_normal(library, *shape) for _ in range(3))
    bias, gx = _normal(library, shape[1]), library.cupy.empty(shape, np.float32)
    state = xp.asarray(kernels.philox_state(np.random.Generator(np.random.Philox(key=1))))

    def ours() -> None:
        kernels.bias_activation_dropout(launch, "relu", x, bias, state, 0.25, out=out)
        kernels.bias_activation_dropout_backward(launch, "relu", g, x, bias, state, 0.25, out=gx)

    return Work("bias + relu + dropout forward + backward", 5, ours)


def _sum_columns(library: Library, shape: tuple[int, int]) -> Work:
    x = _normal(library, *shape)
    return Work("sum_columns", 1, lambda: kernels.sum_columns(library.launch, x), lambda: x.sum(axis=0))


def _sum_rows(library: Library, shape: tuple[int, int]) -> Work:
    x = _normal(library, *shape)
    return Work("sum_rows", 1, lambda: kernels.sum_rows(library.launch, x), lambda: x.sum(axis=1))


def _adam(library: Library, shape: tuple[int, int]) -> Work:
    launch, xp = library.launch, library.cupy
    p, g, m, v = (_normal(library, *shape) for _ in range(4))
    v *= v
    rate, step = (xp.asarray(np.array(value)) for value in (1e-6, 5.0))
    table = optimizers.tensor_table(launch, [p], [g], [m], [v])
    return Work("adam", 7, lambda: optimizers.adam(launch, table, rate, step), lambda: formulas.adam(xp, p, g, m, v, 1e-6, 6))


def _sgd_momentum(library: Library, shape: tuple[int, int]) -> Work:
    launch, xp = library.launch, library.cupy
    p, g, m = (_normal(library, *shape) for _ in range(3))
    rate, step = (xp.asarray(np.array(value)) for value in (1e-6, 5.0))
    table = optimizers.tensor_table(launch, [p], [g], [m])
    return Work("sgd_momentum", 5, lambda: optimizers.sgd_momentum(launch, table, rate, step, momentum=0.9))


def _chain(library: Library, shape: tuple[int, int]) -> Work:
    """Workload E1 as one op, and operation by operation."""
    x, g, torch = _normal(library, *shape), _normal(library, *shape), library.torch
    fused = gg.fuse(_e1)

    def step(function: Callable[[Any], Any]) -> Step:
        leaf, gradient = gg.asarray(x).requires_grad_(), gg.asarray(g)

        def run() -> None:
            leaf.grad = None
            function(leaf).backward(gradient)

        return run

    in_torch, more = None, {"its operations": step(_e1)}
    if torch is not None:

        def in_pytorch(x: Any) -> Any:
            return torch.sigmoid(x) * torch.tanh(x) + torch.relu(x)

        def torch_step(function: Callable[[Any], Any]) -> Step:
            leaf, gradient = torch.from_dlpack(x).detach().clone().requires_grad_(), torch.from_dlpack(g)
            return lambda: torch.autograd.grad(function(leaf), leaf, gradient)

        in_torch = torch_step(in_pytorch)
        if library.compiles:
            more["torch.compile"] = torch_step(torch.compile(in_pytorch))
    return Work("a fused chain (E1) forward + backward", 5, step(fused), None, in_torch, more)


def _e1(x: Any) -> Any:
    return gg.sigmoid(x) * gg.tanh(x) + gg.relu(x)


_WORK: dict[str, Callable[[Library, tuple[int, int]], Work]] = {
    "copy": _copy,
    "activation": _activation,
    "bias_activation (sigmoid)": functools.partial(_bias_activation, "sigmoid"),
    "cross_entropy": _cross_entropy,
    "bias_activation (relu)": functools.partial(_bias_activation, "relu"),
    "activation forward": _activation_forward,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "bias_activation_dropout": _bias_activation_dropout,
    "sum_columns": _sum_columns,
    "sum_rows": _sum_rows,
    "adam": _adam,
    "sgd_momentum": _sgd_momentum,
    "fused chain": _chain,
}
"""In the order in which they are measured: those with a goal first, and last what other libraries compile for long."""
