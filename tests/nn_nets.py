"""Small nets for the tests of modules, and arrays to give to them."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpugrad as gg
from gpugrad import nn

rng = np.random.default_rng(7)


def real(*shape: int) -> Any:
    return rng.normal(size=shape)


def mlp() -> nn.Sequential:
    gg.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Block(nn.Module):
    def __init__(self, width: int = 3) -> None:
        self.inner = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.scale = nn.Parameter([2.0])
        self.register_buffer("mean", [0.5])
        self.register_buffer("seen", [0.0], persistent=False)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale - self.mean
