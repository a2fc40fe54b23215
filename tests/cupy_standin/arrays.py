"""The array class of the stand-in: a NumPy array out of reach, on a device."""

from __future__ import annotations

from typing import Any

import numpy

from . import cuda

Scalars = (bool, int, float, complex, numpy.generic)


class Flags:
    """CuPy's flags: no `writeable`."""

    def __init__(self, flags: Any, owns: bool) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, owns
        self.forc, self.fnc = flags.forc, flags.fnc

    def __getitem__(self, name: str) -> bool:
        return getattr(self, name.lower())


def writable(array: Any) -> Any:
    """CuPy's arrays can always be written to, broadcast views too."""
    if array.flags.writeable:
        return array
    owner = array
    while isinstance(owner.base, numpy.ndarray):
        owner = owner.base
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return numpy.ndarray(array.shape, array.dtype, owner, offset, array.strides)


class ndarray:
    """`cupy.ndarray`, around a NumPy array that nobody else may see."""

    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C") -> None:
        made = numpy.empty(shape, dtype, order)
        made[...] = numpy.nan if made.dtype.kind in "fc" else 113  # what nobody wrote is not zero
        self._hold(made, cuda.Block(made.nbytes), None)

    def _hold(self, array: Any, block: Any, base: Any) -> None:
        self._hidden, self._block, self.base = array, block, base

    # --- what it is ---

    shape = property(lambda self: self._hidden.shape, lambda self, shape: setattr(self._hidden, "shape", shape))
    dtype = property(lambda self: self._hidden.dtype)
    ndim = property(lambda self: self._hidden.ndim)
    size = property(lambda self: self._hidden.size)
    nbytes = property(lambda self: self._hidden.nbytes)
    itemsize = property(lambda self: self._hidden.itemsize)
    strides = property(lambda self: self._hidden.strides)
    device = property(lambda self: self._block.device)
    flags = property(lambda self: Flags(self._hidden.flags, self.base is None))

    @property
    def data(self) -> Any:
        return cuda.MemoryPointer(self._block, 0, self._hidden.__array_interface__["data"][0])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        given = self._hidden.__array_interface__
        strides = None if self._hidden.flags.c_contiguous else self._hidden.strides
        return {"shape": self.shape, "typestr": given["typestr"], "descr": given["descr"], "stream": 1, "version": 3} | {
            "strides": strides,
            "data": (given["data"][0], False),
        }

    def __array__(self, dtype: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .functions import TOP

        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        ours = TOP.get(function.__name__)
        if ours is None:
            return NotImplemented
        return ours(*inputs, **kwargs) if method == "__call__" else getattr(ours, method)(*inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .functions import MODULES

        ours = MODULES.get(function.__module__.replace("numpy", "cupy"), {}).get(function.__name__)
        if ours is None or any(not issubclass(t, ndarray) for t in types):
            return NotImplemented
        return ours(*args, **kwargs)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    # --- out of it: the host waits ---

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        cuda.wait()
        if out is not None:
            out[...] = self._hidden
            return out
        return numpy.array(self._hidden, order=order, copy=True)

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, numpy.ndarray) or arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("the array to copy must be NumPy's, of the same dtype and shape")
        self._hidden[...] = arr

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __reduce__(self) -> Any:
        from .functions import TOP

        return TOP["array"], (self.get(),)

    # --- indices ---

    def __getitem__(self, index: Any) -> ndarray:
        index, basic = indices(index, self.shape)
        if basic:  # no kernel runs, so the current device does not matter
            found = self._hidden[index]
            return view(self, found if isinstance(found, numpy.ndarray) else self._hidden[*_tuple(index), ...])
        return fresh(here(self)._hidden[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        here(self)
        if isinstance(value, ndarray):
            value = here(value)._hidden
        elif isinstance(value, numpy.ndarray | list | tuple) and numpy.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        index, _ = indices(index, self.shape)
        writable(self._hidden)[index] = value

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    # --- views and copies ---

    @property
    def T(self) -> ndarray:
        return view(self, self._hidden.T)

    @property
    def mT(self) -> ndarray:
        return view(self, self._hidden.mT)

    @property
    def real(self) -> ndarray:
        return view(self, self._hidden.real) if self.dtype.kind == "c" else self

    @property
    def imag(self) -> ndarray:
        return view(self, self._hidden.imag) if self.dtype.kind == "c" else fresh(numpy.zeros_like(self._hidden))

    def view(self, dtype: Any = None) -> ndarray:
        return view(self, self._hidden.view() if dtype is None else self._hidden.view(dtype))

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> ndarray:
        here(self)
        if not copy and numpy.dtype(dtype) == self.dtype:
            return self
        if self.dtype.kind == "c" and numpy.dtype(dtype).kind not in "cb":
            return fresh(self._hidden.real.astype(dtype))
        return fresh(self._hidden.astype(dtype, order=order))

    def copy(self, order: str = "C") -> ndarray:
        return fresh(here(self)._hidden.copy(order))

    def fill(self, value: Any) -> None:
        self[...] = value

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return view(self, self._hidden.reshape(*shape, order=order))

    def ravel(self, order: str = "C") -> ndarray:
        return view(self, self._hidden.ravel(order))

    def flatten(self, order: str = "C") -> ndarray:
        return fresh(here(self)._hidden.flatten(order))

    def transpose(self, *axes: Any) -> ndarray:
        return view(self, self._hidden.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return view(self, self._hidden.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> ndarray:
        return view(self, self._hidden.squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
        return view(self, self._hidden.diagonal(offset, axis1, axis2))

    def nonzero(self) -> tuple[ndarray, ...]:
        cuda.wait()
        return tuple(map(fresh, here(self)._hidden.nonzero()))

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
        from .functions import TOP

        return TOP["searchsorted"](self, v, side, sorter)

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise NotImplementedError("the stand-in has no memory that another library could see")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id


def _tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


# --- in and out of the class --------------------------------------------------------------------------------------


def here(array: ndarray) -> ndarray:
    """The array, if its device is the current one; CuPy refuses others, or warns, by whether they can reach each other."""
    cuda.check_driver()
    if array._block.device.id != cuda.current.device:
        raise ValueError(
            "Array device must be same as the current device: array device = "
            f"{array._block.device.id} while current = {cuda.current.device}"
        )
    return array


def fresh(value: Any) -> ndarray:
    """A NumPy result as a new array on the current device."""
    array = numpy.asarray(value)
    made = object.__new__(ndarray)
    if array.base is not None or not array.flags.writeable:
        array = array.copy()
    made._hold(array, cuda.Block(array.nbytes), None)
    return made


def view(of: ndarray, value: Any) -> ndarray:
    """A NumPy view of an array's memory as an array on its device; a copy where NumPy had to make one."""
    array = numpy.asarray(value)
    if array.size and not numpy.may_share_memory(array, of._hidden):
        here(of)
        return fresh(array)
    made = object.__new__(ndarray)
    made._hold(writable(array) if array.size else array, of._block, of if of.base is None else of.base)
    return made


def indices(index: Any, shape: tuple[int, ...]) -> tuple[Any, bool]:
    """An index for the hidden array, and whether it only slices. Numbers beyond the ends come in again, as CuPy's do."""
    parts = index if isinstance(index, tuple) else (index,)
    hidden, basic = [], True
    for part in parts:
        if isinstance(part, ndarray):
            part = here(part)._hidden
        if isinstance(part, numpy.ndarray | list | tuple | bool | numpy.bool_):
            part = numpy.asarray(part) if numpy.size(part) else numpy.zeros(numpy.shape(part), int)
            if part.dtype.kind not in "iub":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
            basic = False
        elif not (part is None or part is Ellipsis or isinstance(part, slice | int | numpy.integer)):
            raise IndexError("only integers, slices, ellipsis, None and integer or boolean arrays are valid indices")
        hidden.append(part)
    taken = sum(
        p.ndim if isinstance(p, numpy.ndarray) and p.dtype == bool else p is not None and p is not Ellipsis for p in hidden
    )
    axis, wrapped = 0, []
    for part in hidden:
        if isinstance(part, numpy.ndarray) and part.dtype != bool:
            if axis < len(shape) and shape[axis]:
                part = part.astype(part.dtype if part.dtype.itemsize == 8 else "int64") % shape[axis]
            axis += 1
        elif part is Ellipsis:
            axis += len(shape) - taken
        elif part is not None:
            axis += part.ndim if isinstance(part, numpy.ndarray) else 1
        wrapped.append(part)
    return (tuple(wrapped) if isinstance(index, tuple) else wrapped[0]), basic
