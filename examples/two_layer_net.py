"""A two-layer network in twenty lines, three ways: flat backprop by hand, Tensor.backward, and nn with optim.

After the lecture 'Neural networks and backpropagation': 64 random examples of 1000 numbers, 100 sigmoid units, 10 outputs, sum
of squares, gradient descent. All three start from the same weights, in float64, and go through the same losses. The picture
shows the losses, and how far the second and third way are from the first.

    python examples/two_layer_net.py
    python examples/two_layer_net.py --device auto --steps 200
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng

import gpugrad as gg
from gpugrad import nn, optim

N, D_in, H, D_out = 64, 1000, 100, 10


def by_hand(x: Any, y: Any, w1: Any, w2: Any, steps: int, rate: float) -> list[float]:
    """The lecture's loop on raw arrays: every line of the backward pass is derived on paper."""
    losses = []
    for _ in range(steps):
        h = 1 / (1 + np.exp(-x.dot(w1)))
        y_pred = h.dot(w2)
        losses.append(float(np.square(y_pred - y).sum()))

        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h.T.dot(grad_y_pred)
        grad_h = grad_y_pred.dot(w2.T)
        grad_w1 = x.T.dot(grad_h * h * (1 - h))

        w1 = w1 - rate * grad_w1
        w2 = w2 - rate * grad_w2
    return losses


def with_backward(x: Any, y: Any, w1: Any, w2: Any, steps: int, rate: float) -> list[float]:
    """The same forward pass on Tensors: the tape derives the backward pass."""
    w1, w2 = gg.tensor(w1, requires_grad=True), gg.tensor(w2, requires_grad=True)
    losses = []
    for _ in range(steps):
        h = 1 / (1 + gg.exp(-(x @ w1)))
        y_pred = h @ w2
        loss = gg.square(y_pred - y).sum()
        losses.append(loss.item())

        loss.backward()

        with gg.no_grad():
            for w in (w1, w2):
                w -= rate * w.grad  # in place, under no_grad
                w.grad = None
    return losses


def with_nn(x: Any, y: Any, w1: Any, w2: Any, steps: int, rate: float) -> list[float]:
    """The same net of ready-made parts: layers, a loss and an optimiser."""
    model = nn.Sequential(nn.Linear(D_in, H, bias=False), nn.Sigmoid(), nn.Linear(H, D_out, bias=False))
    model.to(gg.asarray(x).device, np.float64)
    model.load_state_dict({"0.weight": gg.tensor(w1.T), "2.weight": gg.tensor(w2.T)})  # a layer's weight is (out, in)
    loss_function = nn.MSELoss(reduction="sum")
    optimizer = optim.SGD(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = loss_function(model(x), y)
        losses.append(loss.item())

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


WAYS = {"by hand": by_hand, "Tensor.backward": with_backward, "nn and optim": with_nn}


def draw(losses: dict[str, list[float]], path: Path) -> None:
    """Losses on top of each other, and their relative difference from those by hand."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for (name, values), style, width in zip(losses.items(), ("-", "--", ":"), (6, 3, 2)):
        left.semilogy(values, style, label=name, linewidth=width)
    left.set(xlabel="step", ylabel="sum of squares", title="Three ways, one curve")
    left.legend()
    hand = np.array(losses["by hand"])
    for name, color in (("Tensor.backward", "C1"), ("nn and optim", "C2")):
        difference = np.abs(np.array(losses[name]) - hand) / hand
        right.semilogy(np.maximum(difference, 1e-17), ".", color=color, markersize=3, label=name)
    right.axhline(np.finfo(float).eps, color="gray", linestyle="--", label="float64 rounding, 2.2e-16")
    right.set(xlabel="step", ylabel="relative difference (0 drawn as 1e-17)", ylim=(5e-18, 1e-8))
    right.set_title("Difference from the losses by hand: rounding")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of gradient descent (%(default)s; the lecture: 2000)")
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, list[float]]:
    """Train three times, compare and draw; returns the losses of each way."""
    args = parse(argv)
    randn = default_rng(args.seed).standard_normal
    shapes = (N, D_in), (N, D_out), (D_in, H), (H, D_out)
    x, y, w1, w2 = (gg.asarray(randn(shape)).to(args.device).data for shape in shapes)  # raw arrays on the device
    losses = {name: train(x, y, w1, w2, args.steps, args.lr) for name, train in WAYS.items()}
    hand = np.array(losses["by hand"])
    print(f"{'way':16} {'first loss':>22} {'last loss':>22}   largest relative difference from by hand")
    for name, values in losses.items():
        difference = np.max(np.abs(np.array(values) - hand) / hand)
        print(f"{name:16} {values[0]:22.14f} {values[-1]:22.14f}   {difference:.1e}")
    args.out.mkdir(parents=True, exist_ok=True)
    draw(losses, args.out / "two_layer_net.png")
    print(f"wrote two_layer_net.png to {args.out}/")
    return losses


if __name__ == "__main__":
    main()
