"""Arrays to give to functions and modules, drawn from one generator."""

from __future__ import annotations

import numpy as np

rng = np.random.default_rng(11)


def words(text: str) -> list[str]:
    return text.split()


def real(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def spread(*shape: int) -> np.ndarray:
    """Values at least 0.1 apart and at least 0.03 from every multiple of 0.5: no kink of an activation is near."""
    size = int(np.prod(shape))
    values = (rng.permutation(size) - size // 2) * 0.5 + rng.uniform(0.05, 0.45, size)
    return values.reshape(shape)


def ids(classes: int, *shape: int) -> np.ndarray:
    return rng.integers(0, classes, shape)


def share(*shape: int) -> np.ndarray:
    p = rng.uniform(0.1, 1, shape)
    return p / p.sum(axis=1, keepdims=True)


def signs(*shape: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape)
