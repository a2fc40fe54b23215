"""Denoising and deblurring: a small convolutional network against the best linear filter.

After the lecture 'Introduction to neural networks' of computational imaging, and the applications it announces. A digit is
blurred by a Gaussian and covered with noise, drawn anew at each step; the net learns what to add to get the sharp one back.
Beside it stands Wiener's filter, which knows the blur, the noise and the mean power spectrum of the training digits: of the
filters that are linear and the same everywhere, none does better. On the 8x8 digits of scikit-learn, enlarged to 24x24, or
with `--mnist FOLDER` on MNIST. The picture shows degraded, filtered, restored and true digits of the test set.

    python examples/denoise_conv.py
    python examples/denoise_conv.py --blur 0 --noise 0.4
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

import gpugrad as gg
from gpugrad import nn, optim
from gpugrad.nn import functional as F


def digits(mnist: Path | None, seed: int) -> tuple[Any, Any]:
    """Training and test images, (count, side, side) in [0, 1]."""
    if mnist:
        from gpugrad.data import load_mnist

        data = load_mnist(mnist)
        return (data.train_images / 255).astype(np.float32), (data.test_images / 255).astype(np.float32)
    from sklearn.datasets import load_digits

    grow = np.stack([np.interp(np.linspace(0, 7, 20), np.arange(8), unit) for unit in np.eye(8)], axis=1)  # (20, 8)
    images = np.pad(grow @ (load_digits().images / 16) @ grow.T, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    images = images[default_rng(seed).permutation(len(images))]
    return images[:1400], images[1400:]


class Degradation:
    """A Gaussian blur of `blur` pixels, which wraps around, then noise of standard deviation `noise`."""

    def __init__(self, side: int, blur: float, noise: float) -> None:
        line = np.exp(-2 * np.square(np.pi * blur * np.fft.fftfreq(side)))
        self.transfer, self.noise = line[:, None] * line, noise

    def apply(self, images: Any, rng: Generator) -> Any:
        """What the camera gives."""
        blurred = np.fft.ifft2(np.fft.fft2(images) * self.transfer).real
        return (blurred + self.noise * rng.standard_normal(images.shape)).astype(np.float32)

    def wiener(self, observed: Any, training: Any) -> Any:
        """Restored by Wiener's filter, for images like the training images."""
        mean = training.mean(axis=0)
        power = np.square(np.abs(np.fft.fft2(training - mean))).mean(axis=0)
        gain = self.transfer * power / (np.square(self.transfer) * power + mean.size * self.noise**2 + 1e-9)
        centre = np.fft.fft2(mean)
        return np.fft.ifft2(centre + gain * (np.fft.fft2(observed) - self.transfer * centre)).real


class Restorer(nn.Module):
    """Convolutions of 3x3 with ReLU between them; their result is added to the input."""

    def __init__(self, channels: int, depth: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, images: Any) -> Any:
        """(N, H, W) to (N, H, W)."""
        return images + self.layers(images[:, None])[:, 0]


def train(model: Restorer, images: Any, degradation: Degradation, rng: Generator, args: argparse.Namespace) -> list[float]:
    """Gradient descent on random batches, degraded anew; returns the losses."""
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    losses = []
    bar = gg.progress(range(args.steps), unit="step", disable=None)
    for step in bar:
        optimizer.param_groups[0]["lr"] = args.lr * (1 - step / args.steps)
        batch = images[rng.integers(0, len(images), args.batch_size)]
        x = gg.asarray(degradation.apply(batch, rng), device=args.device)
        loss = F.mse_loss(model(x), gg.asarray(batch, device=args.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return losses


def psnr(images: Any, truth: Any) -> float:
    """Peak signal-to-noise ratio, in decibels: 10 more for a tenth of the mean squared error."""
    return float(-10 * np.log10(np.square(images - truth).mean()))


def draw(rows: dict[str, Any], quality: dict[str, float], title: str, path: Path, columns: int = 12) -> None:
    """Images in rows, with the quality of each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(len(rows), columns, figsize=(columns, len(rows) * 1.15), layout="constrained")
    for line, (name, images) in zip(grid, rows.items()):
        for axes, image in zip(line, images):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name + (f"\n{quality[name]:.1f} dB" if name in quality else ""))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train, evaluate and draw; returns the signal-to-noise ratio of what came in, of Wiener's filter and of the net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="take the MNIST files in this folder")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--blur", type=float, default=1.5, help="standard deviation of the blur, in pixels (%(default)s)")
    parser.add_argument("--noise", type=float, default=0.1, help="standard deviation of the noise (%(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="steps of gradient descent (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3, help="learning rate of Adam at the start (%(default)s)")
    parser.add_argument("--channels", type=int, default=16, help="channels of the hidden layers (%(default)s)")
    parser.add_argument("--depth", type=int, default=5, help="layers (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    gg.manual_seed(args.seed)
    rng = default_rng(args.seed)
    images, truth = digits(args.mnist, args.seed)
    degradation = Degradation(truth.shape[1], args.blur, args.noise)
    model = Restorer(args.channels, args.depth).to(args.device)
    count = sum(parameter.size for parameter in model.parameters())
    print(f"{len(images)} training and {len(truth)} test digits; {args.depth} layers with {count} parameters on {args.device}")
    train(model, images, degradation, rng, args)

    observed = degradation.apply(truth, rng)
    with gg.no_grad():
        batches = np.array_split(observed, len(observed) // 50 + 1)
        parts = [model(gg.asarray(batch, device=args.device)).numpy() for batch in batches]
    rows = {"degraded": observed, "Wiener": degradation.wiener(observed, images), "net": np.concatenate(parts)}
    quality = {name: psnr(row, truth) for name, row in rows.items()}
    for name, decibels in quality.items():
        print(f"{name:9} {decibels:5.2f} dB, mean squared error {10 ** (-decibels / 10):.5f}")
    args.out.mkdir(parents=True, exist_ok=True)
    title = f"Digits of the test set: blur {args.blur:g} pixels, noise {args.noise:g}"
    draw({**rows, "truth": truth}, quality, title, args.out / "denoise_conv.png")
    print(f"wrote denoise_conv.png to {args.out}/")
    return quality


if __name__ == "__main__":
    main()
