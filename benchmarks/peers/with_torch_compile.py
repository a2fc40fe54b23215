"""PyTorch with the loss function compiled, and with it its backward; the optimiser stays eager."""

from __future__ import annotations

import torch

from ..workloads import Problem, Workload
from . import Case, with_torch
from .with_torch import configure, versions

__all__ = ["build", "configure", "versions"]


def build(workload: Workload, problem: Problem, device: str = "cpu") -> Case:
    """Make the program of a workload."""
    # Otherwise the compiler gives up after eight functions that share a code object, and silently runs them eagerly.
    torch.compiler.reset()
    return with_torch.build(workload, problem, device, wrap=torch.compile)
