"""Decision boundaries of two-layer nets on spirals, moons and circles: by width, and by regularisation.

After the lecture 'Neural networks and backpropagation', setting the number of layers and their sizes, and the ConvNetJS demo
that it links to: more neurons, more capacity; but keep a net smooth by stronger regularisation, not by fewer neurons. One
picture: a row per data set; widths 3, 6, 20 on the left, width 20 with lambda = 0.001, 0.01, 0.1 on the right.

    python examples/classify2d.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.nn import functional as F

WIDTHS = (3, 6, 20)
PENALTIES = (0.001, 0.01, 0.1)
BATCH = 10  # lambda counts as in the demo: lambda / 2 sum(W^2) against the summed loss of a batch of ten points
NETS = [(width, 0.0) for width in WIDTHS] + [(WIDTHS[-1], penalty) for penalty in PENALTIES]


def spirals(rng: Generator, y: Any) -> Any:
    """Two arms that wind around each other."""
    t = np.sqrt(rng.random(len(y)))
    angle = 3 * np.pi * t + np.pi * y
    return np.stack([t * np.cos(angle), t * np.sin(angle)], axis=1) + 0.03 * rng.standard_normal((len(y), 2))


def moons(rng: Generator, y: Any) -> Any:
    """Two half circles that reach into each other, with much noise."""
    angle = np.pi * rng.random(len(y))
    x = np.stack([np.where(y, 0.5 - np.cos(angle), np.cos(angle) - 0.5), np.where(y, 0.25 - np.sin(angle), np.sin(angle) - 0.25)])
    return 0.6 * x.T + 0.16 * rng.standard_normal((len(y), 2))


def circles(rng: Generator, y: Any) -> Any:
    """A disc in a ring, with some noise."""
    radius, angle = np.where(y, 0.35 * rng.random(len(y)), 0.8), 2 * np.pi * rng.random(len(y))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + 0.13 * rng.standard_normal((len(y), 2))


class Result(NamedTuple):
    """What one net came to: accuracies, sum of squared weights, and its probability of class 1 on a grid of points."""

    train: float
    test: float
    norm: float
    plane: Any


SIDE = np.linspace(-1.25, 1.25, 120, dtype=np.float32)
PLANE = np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2)


def train(points: tuple[Any, ...], width: int, penalty: float, steps: int, device: str) -> Result:
    """Train a two-layer net on all points at once, with Adam."""
    x, y, test_x, test_y, plane = (gg.asarray(array, device=device) for array in points)
    model = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.03)
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        for w in weights:
            loss = loss + penalty / 2 / BATCH * gg.square(w).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with gg.no_grad():
        norm = float(sum(gg.square(w).sum().item() for w in weights))
        right, test_right = (float((model(a).argmax(axis=1) == b).numpy().mean()) for a, b in ((x, y), (test_x, test_y)))
        return Result(right, test_right, norm, gg.softmax(model(plane))[:, 1].numpy().reshape(len(SIDE), -1))


def draw(sets: dict[str, tuple[Any, ...]], results: dict[tuple[str, int, float], Result], path: Path) -> None:
    """Probability as colour, the boundary as a line, the training points on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap

    regions = LinearSegmentedColormap.from_list("regions", ["#9ecae1", "white", "#fdbe85"])

    figure, grid = pyplot.subplots(len(sets), len(NETS), figsize=(15, 8.2), layout="constrained")
    for row, (name, (x, y, *_)) in enumerate(sets.items()):
        for axes, (width, penalty) in zip(grid[row], NETS):
            result = results[name, width, penalty]
            axes.contourf(SIDE, SIDE, result.plane, np.linspace(0, 1, 11), cmap=regions)
            axes.contour(SIDE, SIDE, result.plane, [0.5], colors="black", linewidths=1)
            axes.scatter(*x.T, c=y, cmap=ListedColormap(["#08519c", "#d94801"]), s=10)
            axes.set(xticks=[], yticks=[], aspect="equal", xlim=SIDE[[0, -1]], ylim=SIDE[[0, -1]])
            axes.set_xlabel(f"training {result.train:.0%}, test {result.test:.0%}")
            if row == 0:
                axes.set_title(f"{width} neurons" if not penalty else f"{width} neurons, λ = {penalty}")
        grid[row, 0].set_ylabel(name)
    figure.suptitle("Two-layer nets: more neurons, more capacity (left); stronger regularisation, smoother boundary (right)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[tuple[str, int, float], Result]:
    """Train the eighteen nets, print and draw; returns the results by data set, width and regularisation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="steps of gradient descent per net (%(default)s)")
    parser.add_argument("--points", type=int, default=150, help="training points per data set (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    rng = default_rng(args.seed)
    results, sets = {}, {}
    makers: tuple[Callable[[Generator, Any], Any], ...] = (spirals, moons, circles)
    for make in makers:
        y, test_y = (np.arange(count) % 2 for count in (args.points, 2000))
        sets[make.__name__] = make(rng, y).astype(np.float32), y, make(rng, test_y).astype(np.float32), test_y, PLANE
    print(f"{'':10}{'width':>6}{'lambda':>8}{'training':>10}{'test':>8}{'sum(W^2)':>10}")
    for name, points in sets.items():
        for width, penalty in NETS:
            results[name, width, penalty] = result = train(points, width, penalty, args.steps, args.device)
            print(f"{name:10}{width:6}{penalty:8}{result.train:10.1%}{result.test:8.1%}{result.norm:10.1f}")
    args.out.mkdir(parents=True, exist_ok=True)
    draw(sets, results, args.out / "classify2d.png")
    print(f"wrote classify2d.png to {args.out}/")
    return results


if __name__ == "__main__":
    main()
