"""Activation functions with their gradients, and what they and the initial weights do to a deep net's gradients.

After the lecture 'Neural networks and backpropagation', activation functions. Two pictures: each function with its derivative,
which the tape computes; and a net of ten layers of 256 units on random input: the gradients by its units as histograms and by
layer, where sigmoids saturate, ReLUs die, weights are too small, too large, or scaled as Glorot and He propose.

    python examples/activations.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gpugrad as gg
from gpugrad.nn import functional as F
from gpugrad.nn import init


def two_lines(x: Any) -> Any:
    """Maxout of the lines -0.5 x - 1 and x, as the lecture's max(w1 x + b1, w2 x + b2)."""
    return F.maxout(gg.stack([-0.5 * x - 1, x], axis=-1), 2)[..., 0]


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": gg.sigmoid,
    "tanh": gg.tanh,
    "ReLU": gg.relu,
    "leaky ReLU (0.1)": lambda x: F.leaky_relu(x, 0.1),
    "maxout of two lines": two_lines,
    "ELU": F.elu,
    "softplus": F.softplus,
    "SiLU": F.silu,
    "GELU": F.gelu,
}


class Case(NamedTuple):
    """A deep net: its activation, how each weight is filled, and its bias."""

    activation: Callable[[Any], Any]
    fill: Callable[[gg.Tensor], gg.Tensor]
    bias: float = 0.0


def he(w: gg.Tensor) -> gg.Tensor:
    """Normal with variance 2 / fan-in, for ReLU."""
    return init.kaiming_normal_(w, nonlinearity="relu")


CASES = {
    "tanh, N(0, 1)": Case(gg.tanh, init.normal_),
    "tanh, N(0, 0.01²)": Case(gg.tanh, lambda w: init.normal_(w, 0, 0.01)),
    "tanh, Glorot": Case(gg.tanh, init.xavier_normal_),
    "sigmoid, Glorot": Case(gg.sigmoid, init.xavier_normal_),
    "ReLU, Glorot": Case(gg.relu, init.xavier_normal_),
    "ReLU, He": Case(gg.relu, he),
    "ReLU, He, bias -0.25": Case(gg.relu, he, -0.25),
    "leaky ReLU, He, bias -0.25": Case(lambda x: F.leaky_relu(x, 0.1), he, -0.25),
}


class Result(NamedTuple):
    """By layer, from the input on: gradients by the units' inputs (layer, example, unit), and their summaries."""

    gradients: Any
    size: Any  # root mean square
    zero: Any  # share of gradients that are 0: saturated beyond float32, or on the flat side of a ReLU
    dead: Any  # share of units whose gradient is 0 for every example


def deep_net(case: Case, depth: int, width: int, device: str, seed: int) -> Result:
    """One pass forward and back through a deep net, with random input and a random gradient of size 1 at the output."""
    gg.manual_seed(seed)
    h, upstream = (gg.empty((width, width), device=device) for _ in range(2))
    init.normal_(h)
    init.normal_(upstream)
    taps = [gg.zeros((width, width), device=device, requires_grad=True) for _ in range(depth)]  # added where we listen
    for tap in taps:
        w = case.fill(gg.empty((width, width), device=device))
        h = case.activation(h @ w.T + case.bias + tap)
    h.backward(upstream)
    gradients = np.stack([tap.grad.numpy() for tap in taps if tap.grad is not None]).astype(np.float64)
    zero = gradients == 0
    return Result(
        gradients, np.sqrt(np.square(gradients).mean(axis=(1, 2))), zero.mean(axis=(1, 2)), zero.all(axis=1).mean(axis=1)
    )


def draw_functions(path: Path) -> dict[str, tuple[Any, Any]]:
    """Each activation and its derivative; returns the values drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x = np.linspace(-5, 5, 1001)
    curves = {name: (f(gg.asarray(x)).numpy(), gg.elementwise_grad(f)(x)) for name, f in ACTIVATIONS.items()}
    figure, grid = pyplot.subplots(3, 3, figsize=(11, 8.5), layout="constrained", sharex=True)
    for axes, (name, (y, slope)) in zip(grid.flat, curves.items()):
        axes.plot(x, y, label="function", linewidth=2)
        axes.plot(x, slope, "--", label="derivative", linewidth=2)
        axes.set(title=name, ylim=(-1.3, 3.2) if y.max() > 1 else (-1.2, 1.2))
        axes.grid(alpha=0.3)
    grid[0, 0].legend(loc="lower right")
    figure.suptitle("Activation functions and their derivatives")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return curves


def draw_nets(results: dict[str, Result], path: Path) -> None:
    """Histograms of the gradients in the first, middle and last layer, and their size and the dead units by layer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    depth = len(next(iter(results.values())).size)
    figure: Any = pyplot.figure(figsize=(15, 8.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(8, 6))
    for axes, (name, result) in zip(left.subplots(4, 2, sharex=True).flat, results.items()):
        for layer, color in ((0, "C3"), (depth // 2 - 1, "C1"), (depth - 1, "C0")):
            magnitudes = np.abs(result.gradients[layer])
            logs = np.log10(magnitudes[magnitudes > 1e-12])
            label = f"layer {layer + 1}: {result.zero[layer]:.0%} are 0"
            axes.hist(
                logs,
                np.linspace(-12, 6, 91),
                weights=np.full(len(logs), 1 / magnitudes.size),
                alpha=0.6,
                color=color,
                label=label,
            )
        axes.set_title(name, fontsize=10)
        axes.set(yticks=[], ylim=(0, 1.75 * axes.get_ylim()[1]))  # room for the legend
        axes.legend(fontsize=8, loc="upper left")
    left.supxlabel("log10 of the gradient's size", fontsize=10)
    left.suptitle("Gradients by the units' inputs, in three layers")
    top, bottom = right.subplots(2, 1, sharex=True)
    for i, (name, result) in enumerate(results.items()):
        style = {"marker": "os^vDPX*"[i], "label": name}
        top.semilogy(np.arange(1, depth + 1), np.maximum(result.size, 1e-12), **style)
        bottom.plot(np.arange(1, depth + 1), result.dead * 100, **style)
    top.set(title="Size of the gradients (backpropagation runs right to left)", ylabel="root mean square")
    bottom.set(title="Dead units: no gradient for any example", xlabel="layer", ylabel="% of the units")
    bottom.legend(loc="upper left")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> tuple[dict[str, tuple[Any, Any]], dict[str, Result]]:
    """Draw the functions and the deep nets' gradients, and print the latter; returns both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=10, help="layers (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="units of a layer, and examples (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (%(default)s)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    curves = draw_functions(args.out / "activations.png")
    results = {name: deep_net(case, args.depth, args.width, args.device, args.seed) for name, case in CASES.items()}
    print(f"{'gradients by layer':28}{'first':>9}{'last':>9}{'zero in the first':>19}{'dead there':>12}")
    for name, r in results.items():
        print(f"{name:28}{r.size[0]:9.1e}{r.size[-1]:9.1e}{r.zero[0]:19.0%}{r.dead[0]:12.0%}")
    draw_nets(results, args.out / "activations_deep.png")
    print(f"wrote activations.png and activations_deep.png to {args.out}/")
    return curves, results


if __name__ == "__main__":
    main()
