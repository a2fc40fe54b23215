"""Two MLPs on digits of 28x28 pixels: 784-16-16-10, the homework of the lectures, and 784-512-512-10.

After the lecture 'Machine learning and data mining: neural networks': ReLU, softmax, cross-entropy. With `--mnist FOLDER` on
MNIST, from its four IDX files in that folder; without, on the 8x8 digits of scikit-learn, enlarged to 28x28. The picture shows
test loss and accuracy of both, and what the 16 first units of the small net look for: templates that the classes share.

    python examples/mnist_mlp.py
    python examples/mnist_mlp.py --mnist FOLDER --epochs 5 --device auto
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.data import DataLoader, TensorDataset, load_mnist
from gpugrad.nn import functional as F

NETS = {"784-16-16-10": (784, 16, 16, 10), "784-512-512-10": (784, 512, 512, 10)}


def rows(images: Any) -> Any:
    """Images of bytes as rows of float32 in [0, 1]."""
    return (images.reshape(len(images), -1) / 255).astype(np.float32)


def mnist(folder: Path) -> tuple[Any, ...]:
    """Training and test images as rows, and labels, of MNIST."""
    data = load_mnist(folder)
    return rows(data.train_images), data.train_labels.astype(int), rows(data.test_images), data.test_labels.astype(int)


def enlarged_digits(seed: int) -> tuple[Any, ...]:
    """The 8x8 digits of scikit-learn at the size of MNIST's: 20x20 by linear interpolation, with a margin of 4."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    grow = np.stack([np.interp(np.linspace(0, 7, 20), np.arange(8), unit) for unit in np.eye(8)], axis=1)  # (20, 8)
    large = np.pad(grow @ (images[order].reshape(-1, 8, 8) / 16) @ grow.T, ((0, 0), (4, 4), (4, 4)))
    x, y = large.reshape(len(large), -1).astype(np.float32), labels[order]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def make_model(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(name: str, data: tuple[Any, ...], args: argparse.Namespace) -> tuple[nn.Sequential, list[tuple[float, float]]]:
    """Train one net; returns it, and the test loss and accuracy after each epoch."""
    train_x, train_y, test_x, test_y = data
    model = make_model(NETS[name]).to(args.device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    loader = DataLoader(TensorDataset(train_x, train_y), args.batch_size, shuffle=True, seed=args.seed)
    x_test, y_test = gg.asarray(test_x, device=args.device), gg.asarray(test_y, device=args.device)
    history = []
    bar = gg.progress(range(args.epochs), desc=name, unit="epoch", disable=None)
    for _ in bar:
        for x, y in loader:
            loss = F.cross_entropy(model(x.to(args.device)), y.to(args.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with gg.no_grad():
            logits = model(x_test)
            accuracy = float((logits.argmax(axis=1).numpy() == test_y).mean())
            history.append((F.cross_entropy(logits, y_test).item(), accuracy))
        bar.set_postfix(accuracy=f"{accuracy:.2%}")
    return model, history


def draw(histories: dict[str, list[tuple[float, float]]], templates: Any, title: str, path: Path) -> None:
    """Curves of both nets, and the weights of the small net's first layer as images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure: Any = pyplot.figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(6, 5))
    loss_axes, accuracy_axes = left.subplots(2, 1, sharex=True)
    for name, history in histories.items():
        losses, accuracies = np.array(history).T
        epochs = np.arange(1, len(history) + 1)
        loss_axes.semilogy(epochs, losses, ".-", label=name)
        accuracy_axes.plot(epochs, accuracies * 100, ".-", label=f"{name}: {accuracies[-1]:.1%} at the end")
    loss_axes.set(ylabel="test cross-entropy")
    accuracy_axes.set(xlabel="epoch", ylabel="test accuracy (%)")
    accuracy_axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
        axes.legend()
    left.suptitle(title)
    limit = np.quantile(np.abs(templates), 0.995)
    for axes, template in zip(right.subplots(4, 4).flat, templates):
        axes.imshow(template.reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    right.suptitle("What the 16 first units of the small net look for")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    """Train both nets and draw; returns test loss and accuracy of each after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="train on the MNIST files in this folder")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes through the training set (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    data = mnist(args.mnist) if args.mnist else enlarged_digits(args.seed)
    title = f"{'MNIST' if args.mnist else 'Digits at 28x28'}: {len(data[0])} for training, {len(data[2])} for the test"
    print(title)
    histories, models = {}, {}
    for name in NETS:
        models[name], histories[name] = train(name, data, args)
        count = sum(parameter.size for parameter in models[name].parameters())
        print(f"{name}: {count} parameters, test loss {histories[name][-1][0]:.4f}, accuracy {histories[name][-1][1]:.2%}")
    args.out.mkdir(parents=True, exist_ok=True)
    first = models["784-16-16-10"][0]
    draw(histories, first.state_dict()["weight"].numpy(), title, args.out / "mnist_mlp.png")
    print(f"wrote mnist_mlp.png to {args.out}/")
    return histories


if __name__ == "__main__":
    main()
