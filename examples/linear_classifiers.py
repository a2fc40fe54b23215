"""Linear classifiers: what they learn from digits, and where they fail.

After the lectures 'Neural networks, part I' (the perceptron, XOR) and 'Neural networks and backpropagation' (one template per
class; data that no line separates): Rosenblatt's perceptron, logistic regression, multiclass SVM and softmax, each trained on
the 8x8 digits of scikit-learn, with the learned templates as images; then the same four on XOR and on a disc in a ring, where
they stay near chance. There softmax does well on features phi(x) that a person chose, and a two-layer net on features that it
learns.

    python examples/linear_classifiers.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import default_rng

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.nn import functional as F


def digits(seed: int) -> tuple[Any, ...]:
    """Training and test digits as rows in [0, 1], and labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = default_rng(seed).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def xor(seed: int, count: int = 1000) -> tuple[Any, ...]:
    """Points of a square; the class is whether the signs of the coordinates are equal."""
    x = default_rng(seed).uniform(-1, 1, (2 * count, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    return x[:count], y[:count], x[count:], y[count:]


def disc(seed: int, count: int = 1000) -> tuple[Any, ...]:
    """A disc in a ring."""
    rng = default_rng(seed)
    y = rng.integers(0, 2, 2 * count)
    radius, angle = np.where(y == 1, 0.0, 0.6) + 0.4 * rng.random(2 * count), rng.uniform(0, 2 * np.pi, 2 * count)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    return x[:count], y[:count], x[count:], y[count:]


def phi(x: Any) -> Any:
    """Basis functions of the plane, in which lines are circles and hyperbolas too."""
    a, b = x[:, 0], x[:, 1]
    return gg.stack([a, b, a * a + b * b, a * b], axis=1)


def perceptron(x: gg.Tensor, y: gg.Tensor, classes: int, epochs: int) -> tuple[gg.Tensor, gg.Tensor]:
    """Rosenblatt's rule, class by class against the rest: a score of the wrong sign moves its weights by t x, t = +1 or -1."""
    features, targets = x.data, 2 * (y.data[:, None] == gg.arange(classes, device=x.device).data) - 1
    w, b = (gg.zeros(shape, device=x.device).data for shape in ((classes, x.shape[1]), classes))
    for _ in range(epochs):
        for phi, t in zip(features, targets):
            step = t * (t * (w @ phi + b) <= 0)  # t where misclassified, 0 elsewhere
            w += step[:, None] * phi
            b += step
    return gg.asarray(w), gg.asarray(b)


def logistic_loss(scores: gg.Tensor, y: gg.Tensor) -> gg.Tensor:
    """Logistic regression, class by class against the rest."""
    targets = y.data[:, None] == gg.arange(scores.shape[1], device=y.device).data
    return F.binary_cross_entropy_with_logits(scores, targets.astype(scores.dtype))


LOSSES: dict[str, Callable[[gg.Tensor, gg.Tensor], gg.Tensor]] = {
    "logistic regression": logistic_loss,
    "multiclass SVM": F.multiclass_svm_loss,
    "softmax": F.cross_entropy,
}


def linear(loss: Callable[..., gg.Tensor], x: gg.Tensor, y: gg.Tensor, classes: int, steps: int) -> tuple[gg.Tensor, gg.Tensor]:
    """Gradient descent on a loss of the scores W x + b, and the regularisation 0.001 sum(W^2)."""
    w = gg.zeros((classes, x.shape[1]), device=x.device, requires_grad=True)
    b = gg.zeros(classes, device=x.device, requires_grad=True)
    optimizer = optim.SGD([w, b], lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        (loss(F.linear(x, w, b), y) + 1e-3 * gg.square(w).sum()).backward()
        optimizer.step()
    return w.detach(), b.detach()


def two_layers(x: gg.Tensor, y: gg.Tensor, classes: int, steps: int, width: int = 32) -> nn.Module:
    """One hidden layer of ReLU units in front of the softmax."""
    model = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, classes)).to(x.device)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


class Result(NamedTuple):
    """A trained classifier."""

    model: Callable[[Any], gg.Tensor]  # from points to scores
    accuracy: float  # on the test set
    templates: Any  # (class, feature), where linear


def train_all(data: tuple[Any, ...], args: argparse.Namespace) -> dict[str, Result]:
    """Every classifier by name, trained on one data set."""
    train_x, train_y, test_x, test_y = data
    x, y = gg.asarray(train_x, device=args.device), gg.asarray(train_y, device=args.device)
    classes = int(train_y.max()) + 1
    weights = {"perceptron": perceptron(x, y, classes, args.epochs)}
    weights |= {name: linear(loss, x, y, classes, args.steps) for name, loss in LOSSES.items()}
    models: dict[str, Callable[[Any], gg.Tensor]] = {
        name: partial(F.linear, weight=w, bias=b) for name, (w, b) in weights.items()
    }
    if x.shape[1] == 2:
        w, b = linear(F.cross_entropy, phi(x), y, classes, args.steps)
        models["softmax on φ(x)"] = lambda points: F.linear(phi(points), w, b)
    models["two-layer net"] = two_layers(x, y, classes, args.steps)
    results: dict[str, Result] = {}
    for name, model in models.items():
        accuracy = float((classify(model, test_x, args.device) == test_y).mean())
        results[name] = Result(model, accuracy, weights[name][0].numpy() if name in weights else None)
    return results


@gg.no_grad()
def classify(model: Callable[[Any], gg.Tensor], points: Any, device: str) -> Any:
    """The class with the largest score, for each point."""
    return model(gg.asarray(points, device=device)).argmax(axis=1).numpy()


def draw_templates(results: dict[str, Result], path: Path) -> None:
    """One row per classifier, one template per class: red where ink speaks for the class, blue where against it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = {name: (of.accuracy, of.templates) for name, of in results.items() if of.templates is not None}
    figure, grid = pyplot.subplots(len(rows), 10, figsize=(11, 5.4), layout="constrained")
    for line, (name, (accuracy, w)) in zip(grid, rows.items()):
        for digit, axes in enumerate(line):
            limit = np.abs(w[digit]).max()
            axes.imshow(w[digit].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[], title=f"{digit}")
        line[0].set_ylabel(f"{name}\n{accuracy:.1%}", fontsize=9)
    figure.suptitle("One template per class: red where ink speaks for the digit, blue where against it (with test accuracy)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_failures(sets: dict[str, tuple[tuple[Any, ...], dict[str, Result]]], device: str, path: Path) -> None:
    """Points and decision regions: rows are data sets, columns classifiers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    side = np.linspace(-1.1, 1.1, 200, dtype=np.float32)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    figure, grid = pyplot.subplots(len(sets), 6, figsize=(15, 5.6), layout="constrained")
    for line, (title, ((_, _, x, y), results)) in zip(grid, sets.items()):
        for axes, (name, (model, accuracy, _)) in zip(line, results.items()):
            regions = classify(model, plane, device).reshape(200, 200)
            axes.contourf(side, side, regions, [-0.5, 0.5, 1.5], colors=["#c6dbef", "#fdd0a2"])
            axes.scatter(*x[:300].T, c=np.where(y[:300] == 1, "C1", "C0"), s=6)
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.set_title(f"{name}: {accuracy:.0%}", fontsize=10)
        line[0].set_ylabel(title)
    figure.suptitle(
        "Where no line will do, but features φ(x) = (x₁, x₂, x₁² + x₂², x₁x₂) or learned ones: test accuracy (chance is 50%)"
    )
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Train, print and draw; returns the test accuracy of every classifier on every data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="steps of gradient descent (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="passes of the perceptron (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    sets = {"digits": digits(args.seed), "XOR": xor(args.seed), "disc in a ring": disc(args.seed)}
    results = {title: train_all(data, args) for title, data in sets.items()}
    print(f"{'test accuracy':22}" + "".join(f"{title:>16}" for title in sets))
    for name in results["XOR"]:
        cells = [f"{of[name].accuracy:16.1%}" if name in of else f"{'-':>16}" for of in results.values()]
        print(f"{name:22}" + "".join(cells))
    args.out.mkdir(parents=True, exist_ok=True)
    draw_templates(results["digits"], args.out / "linear_classifiers_templates.png")
    planar = {title: (sets[title], results[title]) for title in ("XOR", "disc in a ring")}
    draw_failures(planar, args.device, args.out / "linear_classifiers_failures.png")
    print(f"wrote linear_classifiers_templates.png and linear_classifiers_failures.png to {args.out}/")
    return {title: {name: result.accuracy for name, result in of.items()} for title, of in results.items()}


if __name__ == "__main__":
    main()
