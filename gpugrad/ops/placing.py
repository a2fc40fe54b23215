"""Where functions that are composed of ops compute: on the GPU of their arguments, if that is where these are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .. import backend
from ..op import as_tensor

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["beside_arguments", "tensor_beside"]


def beside_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A function that makes arrays of its own: with several GPUs, that of its first argument on one is then the current one."""

    @functools.wraps(function)
    def placed(*args: P.args, **kwargs: P.kwargs) -> R:
        if not backend.many_devices:
            return function(*args, **kwargs)
        with backend.on_device_of(backend.first_on_gpu((*args, *kwargs.values()))):
            return function(*args, **kwargs)

    return placed


def tensor_beside(value: Any, like: Any) -> Any:
    """A Tensor; if it was a list or a number, on the device of the Tensor `like`, and of its dtype if both are floating."""
    return as_tensor(value if hasattr(value, "dtype") else backend.as_weak(value, (like,), False))
