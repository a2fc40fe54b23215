"""All ops, one declaration each, by kind."""

from __future__ import annotations

from . import (
    activation,
    comparison,
    complex_numbers,
    elementwise,
    indexing,
    linalg,
    loss,
    random,
    reduction,
    shape,
    special,
    updates,
)

__all__ = [
    "activation",
    "comparison",
    "complex_numbers",
    "elementwise",
    "indexing",
    "linalg",
    "loss",
    "random",
    "reduction",
    "shape",
    "special",
    "updates",
]
