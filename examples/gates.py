"""Backpropagation gate by gate: gates with forward() and backward(), a graph that runs them, and the same through the tape.

After the lecture 'Neural networks and backpropagation', with its two examples and their numbers: (x + y) z at x = -2, y = 5,
z = -4, and the sigmoid neuron with w = (2, -3, -3), x = (-1, -2). The picture shows each node's value in green above its wire,
and in red below it the gradient of the output by that value, as the lecture draws them.

    python examples/gates.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

import gpugrad as gg

# A gate's forward(*inputs) returns its output and keeps what backward needs. Its backward(upstream) is given the gradient of
# the graph's output by the gate's output, and returns that times each local gradient: one for each input.


class Add:
    """x + y: hands the gradient to both inputs."""

    symbol = "+"

    def forward(self, x: float, y: float) -> float:
        return x + y

    def backward(self, upstream: float) -> tuple[float, float]:
        return upstream, upstream


class Multiply:
    """x * y: each input gets the other's value times the gradient."""

    symbol = "*"

    def forward(self, x: float, y: float) -> float:
        self.x, self.y = x, y
        return x * y

    def backward(self, upstream: float) -> tuple[float, float]:
        return self.y * upstream, self.x * upstream


@dataclass
class Unary:
    """A gate of one input: a function and its derivative, of the input and the output."""

    symbol: str
    function: Callable[[float], float]
    derivative: Callable[[float, float], float]

    def forward(self, x: float) -> float:
        self.x, self.out = x, self.function(x)
        return self.out

    def backward(self, upstream: float) -> tuple[float]:
        return (self.derivative(self.x, self.out) * upstream,)


@dataclass
class ComputationalGraph:
    """Gates by name, each with the names of its inputs, in any order; a name without a gate is an input of the graph."""

    gates: dict[str, tuple[Any, ...]]

    def nodes_topologically_sorted(self) -> list[str]:
        """Names, every one behind the inputs of its gate; a graph with a cycle is refused (`graphlib.CycleError`)."""
        return list(TopologicalSorter({name: inputs for name, (_, *inputs) in self.gates.items()}).static_order())

    def forward(self, **inputs: float) -> float:
        """Run every gate; the last one's output is the graph's."""
        self.order = self.nodes_topologically_sorted()
        self.inputs = list(inputs)
        self.values = dict(inputs)
        for name in self.order:
            if name in self.gates:
                gate, *sources = self.gates[name]
                self.values[name] = gate.forward(*[self.values[source] for source in sources])
        return self.values[self.order[-1]]

    def backward(self) -> dict[str, float]:
        """Gradient of the output by every node, from the output back: the chain rule, one gate at a time."""
        self.grads = dict.fromkeys(self.order, 0.0)
        self.grads[self.order[-1]] = 1.0
        for name in reversed(self.order):
            if name in self.gates:
                gate, *sources = self.gates[name]
                for source, gradient in zip(sources, gate.backward(self.grads[name])):
                    self.grads[source] += gradient  # a value that is used twice gets both gradients
        return self.grads


NEURON: dict[str, tuple[Any, ...]] = {
    "s0": (Multiply(), "w0", "x0"),
    "s1": (Multiply(), "w1", "x1"),
    "s2": (Add(), "s0", "s1"),
    "s3": (Add(), "s2", "w2"),
    "minus": (Unary("*(-1)", lambda x: -x, lambda x, out: -1), "s3"),
    "exp": (Unary("exp", math.exp, lambda x, out: out), "minus"),
    "plus 1": (Unary("+1", lambda x: x + 1, lambda x, out: 1), "exp"),
    "L": (Unary("1/x", lambda x: 1 / x, lambda x, out: -1 / x**2), "plus 1"),
}

EXAMPLES: dict[str, tuple[ComputationalGraph, Callable[..., gg.Tensor], dict[str, float]]] = {
    "(x + y) z": (
        ComputationalGraph({"q": (Add(), "x", "y"), "f": (Multiply(), "q", "z")}),
        lambda x, y, z: (x + y) * z,
        {"x": -2.0, "y": 5.0, "z": -4.0},
    ),
    "sigmoid(w0 x0 + w1 x1 + w2)": (
        ComputationalGraph(NEURON),
        lambda w0, x0, w1, x1, w2: 1 / (1 + gg.exp(-(w0 * x0 + w1 * x1 + w2))),
        {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0},
    ),
}


def through_the_tape(formula: Callable[..., gg.Tensor], inputs: dict[str, float], device: str) -> dict[str, float]:
    """Gradients by the inputs, with the formula only written down."""
    leaves = {name: gg.tensor(np.float64(value), device=device, requires_grad=True) for name, value in inputs.items()}
    formula(**leaves).backward()
    return {name: leaf.grad.item() for name, leaf in leaves.items() if leaf.grad is not None}


def places(graph: ComputationalGraph) -> dict[str, tuple[float, float]]:
    """Where to draw each node of a tree: inputs one column left of their gate, gates at the mean height of their inputs."""
    columns = {graph.order[-1]: 0}
    for name in reversed(graph.order):
        columns |= dict.fromkeys(graph.gates.get(name, ())[1:], columns[name] - 1)
    heights: dict[str, float] = {}
    for name in graph.order:
        below = [heights[source] for source in graph.gates.get(name, ())[1:]]
        heights[name] = sum(below) / len(below) if below else -float(graph.inputs.index(name))
    return {name: (columns[name], heights[name]) for name in graph.order}


def draw(graphs: dict[str, ComputationalGraph], path: Path) -> None:
    """Each graph from its inputs on the left to its output on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 1, figsize=(12, 7.5), layout="constrained", height_ratios=(2, 4))
    for axes, (title, graph) in zip(grid, graphs.items()):
        place = places(graph)
        for name, (column, height) in place.items():
            gate, *sources = graph.gates.get(name, (None,))
            for source in sources:
                axes.plot((place[source][0] + 0.6, column), (place[source][1], height), color="gray", zorder=0)
            axes.plot((column, column + 0.6), (height, height), color="gray", zorder=0)
            shape = {"boxstyle": "circle" if gate else "square", "facecolor": "lightyellow" if gate else "white"}
            axes.text(column, height, gate.symbol if gate else name, ha="center", va="center", bbox=shape)
            axes.text(column + 0.42, height + 0.06, f"{graph.values[name]:.2f}", color="green", ha="center", va="bottom")
            axes.text(column + 0.42, height - 0.08, f"{graph.grads[name]:.2f}", color="red", ha="center", va="top")
        left = min(column for column, _ in place.values())
        axes.set(ylim=(-len(graph.inputs) + 0.4, 0.6), xlim=(left - 0.3, left + 7.7))
        axes.set_title(title, loc="left")
        axes.set_axis_off()
    figure.suptitle("Values forward (green), gradients of the output backward (red)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, tuple[ComputationalGraph, dict[str, float]]]:
    """Run both examples gate by gate and through the tape, print and draw; returns graph and the tape's gradients of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="of the tape: auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    results = {}
    for title, (graph, formula, inputs) in EXAMPLES.items():
        graph.forward(**inputs)
        graph.backward()
        tape = through_the_tape(formula, inputs, args.device)
        print(f"{title}\n{'node':8}{'gate':22}{'value':>8}{'gradient':>10}{'by the tape':>13}")
        for name in graph.order:
            gate, *sources = graph.gates.get(name, (None,))
            made = f"{gate.symbol:6} of {', '.join(sources)}" if gate else "input"
            taped = f"{tape[name]:13.2f}" if name in tape else ""
            print(f"{name:8}{made:22}{graph.values[name]:8.2f}{graph.grads[name]:10.2f}{taped}")
        results[title] = graph, tape
    args.out.mkdir(parents=True, exist_ok=True)
    draw({title: graph for title, (graph, _) in results.items()}, args.out / "gates.png")
    print(f"wrote gates.png to {args.out}/")
    return results


if __name__ == "__main__":
    main()
