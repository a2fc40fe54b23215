"""The libraries that are compared, one module each.

A peer's module has ``versions() -> dict[str, str]``, ``configure(threads)``, and ``build(workload, problem)``, which
returns a `Case`; those that can compute on a GPU take ``device="cuda"`` too. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy.typing as npt

__all__ = ["MODULES", "Case", "load"]

Array = npt.NDArray[Any]

MODULES = {
    "numpy": "by_hand",
    "bare-tape": "bare_tape",
    "gpugrad": "with_gpugrad",
    "torch": "with_torch",
    "torch-compile": "with_torch_compile",
    "jax": "with_jax",
    "autograd": "with_autograd",
}


@dataclass(frozen=True)
class Case:
    """A workload as one peer's program, on arrays that are already where they are computed.

    `step` is timed: forward, loss, backward, and the update where there is one. `gradients` gives the loss and the gradients
    at the current parameters and changes nothing. `parameters` and `state` (parameters and what the optimiser keeps, as
    far as it can be reached) are copies. All arrays are NumPy's, in the problem's order and layout. `synchronize` waits for
    what steps have only begun on a GPU.
    """

    step: Callable[[], object]
    gradients: Callable[[], tuple[float, list[Array]]]
    parameters: Callable[[], list[Array]]
    state: Callable[[], list[Array]]
    synchronize: Callable[[], object] = lambda: None


def load(name: str, threads: int) -> ModuleType:
    """Import a peer's module and set its thread count.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    peer = importlib.import_module(f".{MODULES[name]}", __name__)
    peer.configure(threads)
    return peer
