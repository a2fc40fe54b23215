"""A small ResNet on handwritten digits: convolutions, batch normalisation, skip connections.

After the networks in the lectures 'Backpropagation and neural networks' (AlexNet's filters) and 'Machine learning and data
mining: neural networks' (ResNet): each block adds what its convolutions compute to what came in, so that the gradient has a
way past them. Images are shifted by a pixel at random while training. On the 8x8 digits of scikit-learn, or with
`--mnist FOLDER` on MNIST. The picture shows the learning curve, the first layer's filters, and what they see in a digit.

    python examples/conv_net.py
    python examples/conv_net.py --mnist FOLDER --epochs 3 --device auto
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.data import DataLoader, TensorDataset, load_mnist
from gpugrad.nn import functional as F


class Block(nn.Module):
    """Two convolutions with batch normalisation, added to their input; with a stride, half the size and other channels."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            self.skip = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Any) -> Any:
        """(N, into, H, W) to (N, out, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x))


def make_model(channels: int) -> nn.Sequential:
    """A ResNet with three blocks: 9 layers with weights on the longest way."""
    return nn.Sequential(
        *(nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
        *(Block(channels, channels), Block(channels, 2 * channels, stride=2), Block(2 * channels, 4 * channels, stride=2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * channels, 10)),
    )


def digits(mnist: Path | None, seed: int) -> tuple[Any, ...]:
    """Training and test images, (count, 1, side, side) in [0, 1], with labels."""
    if mnist:
        data = load_mnist(mnist)
        train, test = ((images[:, None] / 255).astype(np.float32) for images in (data.train_images, data.test_images))
        return train, data.train_labels.astype(int), test, data.test_labels.astype(int)
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = default_rng(seed).permutation(len(images))
    x, y = (images[order].reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels[order]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def shifted(images: Any, rng: Generator) -> Any:
    """Each image moved by up to one pixel, up or down, left or right."""
    side = images.shape[2]
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, (side, side), axis=(2, 3))
    return windows[np.arange(len(images)), :, *rng.integers(0, 3, (2, len(images)))]


def train(model: nn.Module, data: tuple[Any, ...], args: argparse.Namespace) -> list[tuple[float, float, float]]:
    """Train it; returns training loss, test loss and test accuracy after each epoch."""
    rng = default_rng(args.seed)
    train_x, train_y, test_x, test_y = data
    loader = DataLoader(TensorDataset(train_x, train_y), args.batch_size, shuffle=True, drop_last=True, seed=args.seed)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(loader))
    history = []
    bar = gg.progress(range(args.epochs), unit="epoch", disable=None)
    for _ in bar:
        model.train()
        losses = []
        for x, y in loader:
            moved = gg.asarray(shifted(x.numpy(), rng), device=args.device)
            loss = F.cross_entropy(model(moved), y.to(args.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        history.append((float(np.mean(losses)), *evaluate(model, test_x, test_y, args.device)))
        bar.set_postfix(accuracy=f"{history[-1][2]:.2%}")
    return history


def evaluate(model: nn.Module, images: Any, labels: Any, device: str) -> tuple[float, float]:
    """Loss and accuracy."""
    model.eval()
    with gg.no_grad():
        logits = gg.concatenate([model(gg.asarray(images[i : i + 500], device=device)) for i in range(0, len(images), 500)])
        loss = F.cross_entropy(logits, gg.asarray(labels, device=device)).item()
    return loss, float((logits.argmax(axis=1).numpy() == labels).mean())


def draw(model: Any, history: list[tuple[float, float, float]], image: Any, title: str, args: argparse.Namespace) -> None:
    """Learning curves, the first layer's filters, and one digit as each of them sees it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    first = model[0]
    filters = first.weight.detach().numpy()[:, 0]
    with gg.no_grad():
        seen = first(gg.asarray(image[None], device=args.device)).numpy()[0]
    figure: Any = pyplot.figure(figsize=(12, 5.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 6))
    loss_axes, accuracy_axes = left.subplots(2, 1, sharex=True)
    losses, test_losses, accuracies = np.array(history).T
    epochs = np.arange(1, len(history) + 1)
    loss_axes.semilogy(epochs, losses, ".-", label="training, shifted digits")
    loss_axes.semilogy(epochs, test_losses, ".-", label="test")
    loss_axes.set(ylabel="cross-entropy")
    accuracy_axes.plot(epochs, (1 - accuracies) * 100, ".-", color="C1", label=f"test: {1 - accuracies[-1]:.2%} at the end")
    accuracy_axes.set(xlabel="epoch", ylabel="errors (%)", ylim=(0, min(100, 3 * 100 * np.median(1 - accuracies) + 1)))
    accuracy_axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
        axes.legend()
    left.suptitle(title)
    grid = right.subplots(4, 8)
    limits = np.abs(filters).max(), np.abs(seen).max()
    for i in range(16):
        row, column = 2 * (i // 8), i % 8
        for axes, picture, limit in ((grid[row, column], filters[i], limits[0]), (grid[row + 1, column], seen[i], limits[1])):
            axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
    right.suptitle("The first layer's filters, red: positive; below each, a digit seen by it")
    figure.savefig(args.out / "conv_net.png", dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> list[tuple[float, float, float]]:
    """Train and draw; returns training loss, test loss and test accuracy after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="train on the MNIST files in this folder")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=15, help="passes through the training set (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=0.1, help="largest learning rate of SGD with momentum (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    data = digits(args.mnist, args.seed)
    model = make_model(16).to(args.device)
    count = sum(parameter.size for parameter in model.parameters())
    title = f"{'MNIST' if args.mnist else 'Digits'}: {len(data[0])} for training, {len(data[2])} for the test"
    print(f"{title}; a ResNet with {count} parameters on {args.device}")
    history = train(model, data, args)
    print(f"test loss {history[-1][1]:.4f}, accuracy {history[-1][2]:.2%}")
    args.out.mkdir(parents=True, exist_ok=True)
    draw(model, history, data[2][0], title, args)
    print(f"wrote conv_net.png to {args.out}/")
    return history


if __name__ == "__main__":
    main()
