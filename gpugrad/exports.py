"""Tensor as other libraries see it: numbers, NumPy arrays, DLPack, the array API. Nothing gets out with its gradient unseen."""

from __future__ import annotations

import importlib
import operator
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import DTypeLike, NDArray

from . import backend, dlpack, half
from .errors import DeviceError, GradientError, ShapeError, describe, format_site, is_storing, user_site
from .modes import current_mode

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Exports"]


_NO_ARRAY = (
    "NumPy asks nobody when it makes an array: write gpugrad.stack([t, u]) or gpugrad.asarray([t, u]) for np.array([t, u]),\n"
    "  gpugrad.concatenate([t, u]) for np.r_[t, u], gpugrad.column_stack([t, u]) for np.c_[t, u], a @ t for a.dot(t),\n"
    "  and .numpy() or .detach() where that is meant"
)

_NO_STORING = (
    "assign to an array that is a Tensor, as gpugrad.zeros(shape, 'float64') or np.zeros_like(t) make, or store t.detach()"
)


class _NotSharedError(GradientError, AttributeError):
    """A tensor's memory is not given away, since its gradient would be lost."""


class Exports:
    """Values of a Tensor for others."""

    __slots__ = ()

    _array: Any
    _node: Any

    if TYPE_CHECKING:  # what Tensor has

        @property
        def data(self) -> Any: ...

        @property
        def device(self) -> str: ...

        @property
        def size(self) -> int: ...

        def to(self, device: str | None = None, dtype: DTypeLike | None = None) -> Tensor: ...

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item() takes a tensor with one element, got {describe(self)}\n  at {format_site(user_site())}")
        return self._waited_for(self._array.item())

    def _waited_for(self, value: Any) -> Any:
        """A value that the GPU has computed by now, unless it reported an error instead."""
        if backend.reports:
            backend.check_reports()
        return value

    def numpy(self) -> NDArray[Any]:
        """The values as a NumPy array, without the gradient: shares memory on the CPU, copies from a GPU."""
        array = self.data
        return self._waited_for(backend.to_device(array, "cpu"))

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._waited_for(self._array.tolist())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        self._refuse_export("a NumPy array", _NO_STORING if is_storing(2) else _NO_ARRAY)
        if self.device != "cpu":
            raise DeviceError(
                f"turning {describe(self)} into a NumPy array would copy it from the GPU unseen\n"
                f"  use .numpy() or .cpu() where that is meant\n  at {format_site(user_site())}"
            )
        return numpy.array(self.data, dtype=dtype, copy=copy)

    def _refuse_export(
        self, what: str, hint: str = "use .numpy() or .detach() where that is meant, or a gpugrad function"
    ) -> None:
        if self._node is not None and current_mode().grad:
            raise GradientError(
                f"turning {describe(self)} into {what} would drop its gradient\n  {hint}\n  at {format_site(user_site())}"
            )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the elements are on the GPU, for libraries that share memory by it; missing on the CPU."""
        if self.device == "cpu":
            raise AttributeError("a tensor on the CPU has no __cuda_array_interface__")
        try:
            self._refuse_export("an array of another library")
        except GradientError as error:  # for hasattr, by which CuPy's operators ask, it is not there
            raise _NotSharedError(str(error)) from None
        shared: dict[str, Any] = self.data.__cuda_array_interface__
        return shared

    def _refuse_number(self) -> None:
        """An error where a number would be taken for the tensor, and its gradient lost, unseen.

        That is under ``a[i] = t``, where NumPy asks for the number, and while a transform traces, as in ``math.sin(t)``.
        """
        if self._node is None:
            return
        if is_storing(3):
            self._refuse_export("an element of an array", _NO_STORING)
        if current_mode().tracing:
            self._refuse_export(
                "a number", "use functions of gpugrad or numpy in place of math's, or t.item() where the number is meant"
            )

    def __bool__(self) -> bool:
        return bool(self._waited_for(bool(self._array)))

    def __int__(self) -> int:
        self._refuse_number()
        return int(self.item())

    def __float__(self) -> float:
        self._refuse_number()
        return float(self.item())

    def __index__(self) -> int:
        return operator.index(self._array if self._array.__class__ is numpy.ndarray else self.item())

    def __complex__(self) -> complex:
        self._refuse_number()
        return complex(self.item())

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """On another device: the array API's spelling of `to`. Streams are chosen by CuPy's own context."""
        if stream is not None:
            raise ValueError("to_device: stream must be None; choose one with cupy.cuda.Stream as a context")
        return self.to(device)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        self._refuse_export("DLPack")
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        given = {name: value for name, value in options.items() if value is not None}
        array = self.data
        if isinstance(array, numpy.ndarray) and half.is_bfloat16(array.dtype):
            return dlpack.exported(array, given)
        return array.__dlpack__(**given)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The array API's functions for it: `gpugrad.numpy`."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ValueError(f"__array_namespace__: version {api_version!r} of the array API is unknown, 2024.12 is the latest")
        return importlib.import_module(f"{__package__}.numpy")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()
