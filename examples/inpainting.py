"""Image inpainting: an MLP that fills in what is hidden of a digit, trained on the squared error.

After the lecture 'Introduction to neural networks' of computational imaging: the input is a digit with a square hidden, at a
place that is drawn anew for each image and step; the target is the whole digit; the loss is 1/2 |y - y_hat|^2. On the 8x8
digits of scikit-learn, or with `--mnist FOLDER` on MNIST. The picture shows masked, restored and true digits of the test set.

    python examples/inpainting.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

import gpugrad as gg
from gpugrad import nn, optim


def digits(mnist: Path | None, seed: int) -> tuple[Any, Any]:
    """Training and test images, (count, side, side) in [0, 1]."""
    if mnist:
        from gpugrad.data import load_mnist

        data = load_mnist(mnist)
        return (data.train_images / 255).astype(np.float32), (data.test_images / 255).astype(np.float32)
    from sklearn.datasets import load_digits

    images = (load_digits().images / 16).astype(np.float32)
    images = images[default_rng(seed).permutation(len(images))]
    return images[:1400], images[1400:]


def holes(rng: Generator, count: int, side: int) -> Any:
    """For each image, True in a square of 3/8 of its side, anywhere inside."""
    width = 3 * side // 8
    top, left = rng.integers(0, side - width + 1, (2, count, 1, 1))
    row, column = np.arange(side)[:, None], np.arange(side)
    return (top <= row) & (row < top + width) & (left <= column) & (column < left + width)


def mask(images: Any, hole: Any) -> Any:
    """Rows for the net: pixels, -1 where hidden."""
    return np.where(hole, np.float32(-1), images).reshape(len(images), -1)


def train(model: nn.Module, images: Any, rng: Generator, args: argparse.Namespace) -> list[float]:
    """Gradient descent on random batches; returns the losses."""
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    losses = []
    bar = gg.progress(range(args.steps), unit="step", disable=None)
    for step in bar:
        optimizer.param_groups[0]["lr"] = args.lr * (1 - step / args.steps)
        batch = images[rng.integers(0, len(images), args.batch_size)]
        x = gg.asarray(mask(batch, holes(rng, len(batch), batch.shape[1])), device=args.device)
        y = gg.asarray(batch.reshape(len(batch), -1), device=args.device)
        loss = 0.5 * gg.square(y - model(x)).sum(axis=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    return losses


def draw(rows: dict[str, Any], hole: Any, path: Path, columns: int = 12) -> None:
    """Masked, restored and true images in rows, the frame of the hole in each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    figure, grid = pyplot.subplots(len(rows), columns, figsize=(columns, len(rows) * 1.15), layout="constrained")
    for line, (name, images) in zip(grid, rows.items()):
        for axes, image, hidden in zip(line, images, hole):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            (top, left), (bottom, right) = np.argwhere(hidden)[[0, -1]]
            empty = name == "masked"
            frame = Rectangle(
                (left - 0.5, top - 0.5),
                right - left + 1,
                bottom - top + 1,
                fill=empty,
                facecolor="C0",
                edgecolor="C0",
                linewidth=1.5,
            )
            axes.add_patch(frame)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.suptitle("Digits of the test set with a hidden square, filled in by an MLP")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train, evaluate and draw; returns the mean squared error inside the holes of the net, and of the mean training image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="take the MNIST files in this folder")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3000, help="steps of gradient descent (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate of Adam at the start (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="units of each of the two hidden layers (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    rng = default_rng(args.seed)
    images, test = digits(args.mnist, args.seed)
    pixels = test[0].size
    model = nn.Sequential(
        nn.Linear(pixels, args.width), nn.ReLU(), nn.Linear(args.width, args.width), nn.ReLU(), nn.Linear(args.width, pixels)
    ).to(args.device)
    print(f"{len(images)} training and {len(test)} test digits on {args.device}\n{model}")
    train(model, images, rng, args)

    hole = holes(rng, len(test), test.shape[1])
    with gg.no_grad():
        output = model(gg.asarray(mask(test, hole), device=args.device)).numpy().reshape(test.shape)
    restored = np.where(hole, output, test)  # what is seen needs no net
    average = np.broadcast_to(images.mean(axis=0), test.shape)
    errors = {name: float(np.square(guess - test)[hole].mean()) for name, guess in (("net", output), ("mean image", average))}
    print(f"mean squared error in the holes: {errors['net']:.4f} by the net, {errors['mean image']:.4f} by the mean digit")
    args.out.mkdir(parents=True, exist_ok=True)
    draw({"masked": np.where(hole, 0, test), "restored": restored, "truth": test}, hole, args.out / "inpainting.png")
    print(f"wrote inpainting.png to {args.out}/")
    return errors


if __name__ == "__main__":
    main()
