"""What CUDA needs and NumPy does not: the kernels' compilation and launches, and their places as fast paths of ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def kernel_forward(name: str, xp: ModuleType, composition: Callable[..., Any]) -> Callable[..., Any]:
    """The forward of an op on the arrays of a library other than NumPy, by CUDA kernels where it has some."""
    from . import wiring

    return wiring.forward(name, xp, composition)


def kernel_rules(xp: ModuleType) -> dict[str, Callable[..., Any]]:
    """The backwards by CUDA kernels for the arrays of a library, by the names of ops."""
    from . import wiring

    return wiring.rules(xp)


def takes_bfloat16(name: str, xp: ModuleType) -> bool:
    """Whether an op can run on arrays of bfloat16 of a library other than NumPy as they are."""
    from . import wiring

    return wiring.takes_bfloat16(name, xp)


def kernel_blocks(xp: ModuleType, counter: int, key: Sequence[int], blocks: int) -> Any:
    """Blocks of NumPy's Philox generator on a library's current device; NotImplemented where it has no kernels."""
    from . import wiring

    return wiring.philox_blocks(xp, counter, key, blocks)
