"""Draws the pictures beside it: `python docs/pictures/make.py`. A test holds them to what `gg.draw` draws now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import gpugrad as gg
from gpugrad import nn


def neuron(w0, x0, w1, x1, w2):
    """The lectures' sigmoid neuron, from the smallest gates."""
    return 1 / (1 + gg.exp(-(w0 * x0 + w1 * x1 + w2)))


def xyz(x, y, z):
    """The lectures' first example."""
    q = x + y
    return q * z


class Loss(nn.Module):
    """A small network and its loss on some targets."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        for parameter in self.net.parameters():
            parameter.data = rng.uniform(-0.5, 0.5, parameter.shape)

    def forward(self, x):
        """The mean of squares."""
        error = self.net(x) - np.eye(2, dtype=np.float32)
        return (error**2).mean()


def pictures() -> dict[str, str]:
    """Name and SVG text of each picture."""
    x = np.array([[1.0, -2.0, 0.5], [0.25, 1.5, -1.0]], dtype=np.float32)
    return {
        "neuron": gg.draw(neuron, 2.0, -1.0, -3.0, -2.0, -3.0).svg,
        "neuron_local": gg.draw(neuron, 2.0, -1.0, -3.0, -2.0, -3.0, local=True).svg,
        "xyz": gg.draw(xyz, -2.0, 5.0, -4.0).svg,
        "mlp": gg.draw(Loss(), x).svg,
    }


if __name__ == "__main__":
    for name, svg in pictures().items():
        Path(__file__).with_name(f"{name}.svg").write_text(svg, encoding="utf-8")
