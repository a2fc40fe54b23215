"""Tensor: an array, the node that made it, and NumPy's operators on both."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy
from numpy.typing import DTypeLike

from . import backend, dispatch, half
from . import tape as _tape
from .aligned import fills_its_base
from .dtypes import can_cast
from .errors import DeviceError, DTypeError, GradientError, ShapeError, describe, format_site, is_storing_back, user_site
from .exports import Exports
from .hooks import RemovableHandle, hook_gradient
from .interpret import TENSORS, raw_for
from .methods import ArrayMethods
from .modes import current_mode, mode_with
from .mutations import hand_out, log_mutation
from .ops import comparison, elementwise, indexing, integers, linalg, shape, updates
from .tape import conjugate, leaf, walk

DType: TypeAlias = numpy.dtype[Any]

__all__ = ["Tensor", "asarray", "tensor"]


class Tensor(ArrayMethods, Exports):
    """A NumPy or CuPy array that remembers how it was computed.

    Tensors are made by `tensor`, `asarray` and by computing. Operators and methods are NumPy's: shapes broadcast, dtypes
    promote, ``axis`` and ``keepdims`` mean what they mean there.

    Examples
    --------
    >>> import gpugrad as gg
    >>> x = gg.tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_array", "_base", "_node")

    _array: Any
    _node: Any

    # --- what it is ---

    @property
    def data(self) -> Any:
        """The raw NumPy or CuPy array, not a copy. Assigning keeps the dtype, and the tape does not see it."""
        from sys import getrefcount

        held = getrefcount(self._array) > 2  # by somebody else, perhaps a tape
        if not held and fills_its_base(self._array):  # views of it hold the base, not the array
            held = getrefcount(self._array.base) > 2
        if held:
            hand_out(self._array)
        return self._array

    @data.setter
    def data(self, value: Any) -> None:
        value = value._array if isinstance(value, Tensor) else value
        if value is self._array:  # t.data -= step: changed in place, then assigned to itself
            log_mutation([value])
            return
        array = backend.as_array(value, self._array.dtype, backend.device_of(self._array))
        if self._node is not None:
            if self._node.op is not None and array.shape != self._array.shape:
                raise ShapeError(
                    f"cannot assign data of shape {array.shape} to a computed tensor of shape {self._array.shape}\n"
                    f"  at {format_site(user_site())}"
                )
            self._node.shape = array.shape
        self._array = array

    @property
    def grad(self) -> Tensor | None:
        """Gradient of the last `backward` calls, summed; None before the first. May be assigned."""
        return None if self._node is None else self._node.grad if self._node.op is None else None

    @grad.setter
    def grad(self, value: Any) -> None:
        if self._node is None or self._node.op is not None:
            if value is None:
                return
            raise GradientError(f"only a leaf that requires a gradient has .grad; this is {describe(self)}")
        if value is not None:
            value = asarray(value)
            if value.shape != self.shape or value.device != self.device:
                kind = ShapeError if value.shape != self.shape else DeviceError
                raise kind(f".grad must be {describe(self)}, got {describe(value)}\n  at {format_site(user_site())}")
        self._node.grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it: a leaf that asks for one, or computed from one."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, value: bool = True) -> Tensor:
        """Ask for a gradient, or cease to, in place."""
        if value and self._node is None:
            _check_differentiable(self._array)
            self._node = leaf(self._array)
        elif not value and self._node is not None:
            if self._node.op is not None:
                raise GradientError(f"only a leaf can stop requiring a gradient; use .detach() on {describe(self)}")
            self._node = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was not computed from anything that requires a gradient."""
        return self._node is None or self._node.op is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._array.shape

    @property
    def dtype(self) -> DType:
        """Type of the elements."""
        return self._array.dtype

    @property
    def device(self) -> str:
        """Where the array is: ``"cpu"`` or ``"cuda:N"``."""
        return backend.device_of(self._array)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._array.size)

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take."""
        return int(self._array.nbytes)

    @property
    def T(self) -> Tensor:
        """Axes reversed."""
        return shape.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return shape.swapaxes(self, -1, -2)

    def __repr__(self) -> str:
        array = backend.to_device(self._array, "cpu")
        array = array.astype(numpy.float32) if half.is_bfloat16(self.dtype) else array  # ml_dtypes writes 1.0 as 1
        text = numpy.array2string(array, separator=", ", prefix="tensor(")
        notes = []
        if self.dtype not in (backend.default_dtype(), numpy.dtype(numpy.int64), numpy.dtype(bool)) or not self.size:
            notes.append(f"dtype={self.dtype}")
        if not self.size and self.ndim > 1:
            notes.append(f"shape={self.shape}")
        if self.device != "cpu":
            notes.append(f"device='{self.device}'")
        if self._node is not None:
            notes.append("requires_grad=True" if self._node.op is None else f"op={self._node.op.name}")
        return f"tensor({', '.join([text, *notes])})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else str(self) if not spec else format(repr(self), spec)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    def __hash__(self) -> int:
        return id(self)

    # --- copies ---

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), backend.to_device(self.detach()._array, "cpu"), self.device, self._node is not None)

    def __deepcopy__(self, memo: Any) -> Tensor:
        if not self.is_leaf:
            raise GradientError(f"only leaves can be copied with deepcopy; use .clone() on {describe(self)}")
        return _rebuilt(type(self), backend.copied(self._array), None, self._node is not None)

    def detach(self) -> Tensor:
        """The same array, cut from the tape; shares memory."""
        return wrap(self._array)

    def clone(self) -> Tensor:
        """A copy, on the tape."""
        return shape.copy(self)

    copy = clone

    def to(self, device: str | None = None, dtype: DTypeLike | None = None) -> Tensor:
        """On another device or with another dtype; itself where nothing changes."""
        result = self
        if device is not None and backend.resolve_device(device) != self.device:
            result = shape.to_device(result, device)
        return result if dtype is None or half.dtype_from(dtype) == self.dtype else result.astype(dtype)

    def cpu(self) -> Tensor:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: str | int = "cuda") -> Tensor:
        """On a GPU: the current one, or that of a name or number."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    # --- gradients ---

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to the `grad` of every leaf it was computed from.

        Parameters
        ----------
        gradient : array of this tensor's shape, optional
            The cotangent to start from; ones, so left out, for a tensor with one element.
        retain_graph : bool, optional
            Keep the saved values for another backward. The default is `create_graph`.
        create_graph : bool
            Record the backward itself, so that the gradients can be differentiated.

        Raises
        ------
        GradientError
            If nothing here requires a gradient; if `gradient` is needed and missing; if the tape was freed by an earlier
            backward; if an array that the tape saved was changed since.
        """
        cotangent = _cotangent(self, gradient)
        retain = create_graph if retain_graph is None else retain_graph
        if create_graph or current_mode().records is not None:
            _backward_recorded(self, cotangent, retain, create_graph)
        else:
            _backward_raw(self, cotangent, retain)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Have each backward call ``hook(gradient)`` with this tensor's gradient, summed over its uses.

        What the hook returns, if not None, takes the gradient's place, for `grad` and for all before it
        (`torch.Tensor.register_hook`).
        """
        return hook_gradient(self, hook)

    # --- changing it ---

    def _in_place(self, update: Any, function: Any, other: Any, symbol: str, depth: int = 3) -> Tensor:
        if not current_mode().grad:
            update(self, other)
            return self
        if self._node is not None or (isinstance(other, Tensor) and other._node is not None):
            dispatch.refuse_in_place(self, f"{symbol}")
            if self._node is not None and not is_storing_back(depth):
                dispatch.refuse_lost_write(self, symbol)
            result = function(self, other)  # on the tape: this tensor moves on, the recorded value stays
            if result.shape != self.shape:
                what = f"{symbol}: a result of shape {result.shape} does not fit {describe(self)}"
                raise ShapeError(f"{what}\n  at {format_site(user_site())}")
            if not can_cast(result.dtype, self.dtype, "same_kind"):
                what = f"{symbol}: a result of dtype {result.dtype} does not fit {describe(self)}"
                raise DTypeError(f"{what}\n  at {format_site(user_site())}")
            result = result if result.dtype == self.dtype else result.astype(self.dtype)
            self._array, self._node, self._base = result._array, result._node, None
            return self
        update(self, other)
        return self

    def __iadd__(self, other: Any) -> Tensor:
        return self._in_place(updates.add_, elementwise.add, other, "+=")

    def __isub__(self, other: Any) -> Tensor:
        return self._in_place(updates.subtract_, elementwise.subtract, other, "-=")

    def __imul__(self, other: Any) -> Tensor:
        return self._in_place(updates.multiply_, elementwise.multiply, other, "*=")

    def __itruediv__(self, other: Any) -> Tensor:
        return self._in_place(updates.divide_, elementwise.divide, other, "/=")

    def __ipow__(self, other: Any) -> Tensor:
        return self._in_place(updates.power_, elementwise.power, other, "**=")

    def _assigned(self, function: Any, other: Any, symbol: str) -> Tensor:
        """In place through a result of its own, for operators that no optimiser needs."""
        return self._in_place(lambda target, value: updates.assign_(target, function(target, value)), function, other, symbol, 4)

    def __ifloordiv__(self, other: Any) -> Tensor:
        return self._assigned(elementwise.floor_divide, other, "//=")

    def __imod__(self, other: Any) -> Tensor:
        return self._assigned(elementwise.remainder, other, "%=")

    def __imatmul__(self, other: Any) -> Tensor:
        return self._assigned(linalg.matmul, other, "@=")

    def __iand__(self, other: Any) -> Tensor:
        return self._assigned(comparison.bitwise_and, other, "&=")

    def __ior__(self, other: Any) -> Tensor:
        return self._assigned(comparison.bitwise_or, other, "|=")

    def __ixor__(self, other: Any) -> Tensor:
        return self._assigned(comparison.bitwise_xor, other, "^=")

    def __ilshift__(self, other: Any) -> Tensor:
        return self._assigned(integers.bitwise_left_shift, other, "<<=")

    def __irshift__(self, other: Any) -> Tensor:
        return self._assigned(integers.bitwise_right_shift, other, ">>=")

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _raw_index(index)
        if current_mode().grad and (self._node is not None or (isinstance(value, Tensor) and value._node is not None)):
            dispatch.refuse_in_place(self, "item assignment")
            if not half.is_inexact(self.dtype):
                what = f"assigning {describe(value)} to elements of {describe(self)} would drop its gradient"
                raise GradientError(f"{what}\n  use .detach() where that is meant\n  at {format_site(user_site())}")
            dispatch.refuse_lost_write(self, "item assignment")
            changed = indexing.index_set(self, value, index)
            self._array, self._node, self._base = changed._array, changed._node, None
        else:
            indexing.setitem_(self, value, index)

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.getitem(self, _raw_index(index))


dispatch.Tensor = Tensor


def wrap(array: Any) -> Tensor:
    """A Tensor around a raw array, without a node."""
    result = Tensor()
    result._array, result._node = array, None
    return result


def _rebuilt(cls: type[Tensor], array: Any, device: str | None, requires_grad: bool) -> Tensor:
    """A leaf of some class: for copies and pickles."""
    result = object.__new__(cls)
    result._array, result._node = backend.to_device(array, device) if device else array, None
    return result.requires_grad_() if requires_grad else result


def _raw_index(index: Any) -> Any:
    """An index with raw arrays in place of Tensors and lists."""
    if isinstance(index, tuple):
        return tuple(map(_raw_index, index))
    if isinstance(index, Tensor):
        return index._array
    if not isinstance(index, list) or not index:
        return index
    array = numpy.asarray(index)
    return array if array.size else array.astype(numpy.intp)  # of nothing at all, which is float64


def _check_differentiable(array: Any) -> None:
    if not half.is_inexact(array.dtype):
        raise DTypeError(
            f"only floating and complex tensors can require a gradient, got {describe(array)}\n"
            f"  convert first, for instance with .astype('float32')\n  at {format_site(user_site())}"
        )


def tensor(array: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of some values.

    Parameters
    ----------
    array : array, Tensor, number or nested list
        Arrays keep their dtype; Python floats get the default dtype (float32 unless set).
    dtype : dtype-like, optional
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``; where the array already is, if left out.
    requires_grad : bool
        Whether `backward` is to leave a gradient in ``.grad``.

    Raises
    ------
    DTypeError
        If the values are no numbers, or integers with ``requires_grad=True``.
    DeviceError
        If the device is not there.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.tensor([[1.0, 2.0]], requires_grad=True)
    tensor([[1., 2.]], requires_grad=True)
    """
    raw = array._array if isinstance(array, Tensor) else _stacked(array)
    result = wrap(backend.as_array(raw, dtype, device, copy=True))
    return result.requires_grad_() if requires_grad else result


def asarray(array: Any, dtype: DTypeLike | None = None, device: str | None = None, *, copy: bool | None = None) -> Tensor:
    """A Tensor around an array, without a copy where none is needed; a Tensor is returned as it is (`numpy.asarray`).

    A list that holds Tensors is stacked, on the tape. With ``copy=True`` there is always a copy, with ``copy=False`` never:
    ValueError where one is needed.

    Examples
    --------
    >>> import gpugrad as gg
    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> gg.asarray(a).data is a
    True
    """
    if copy is False and not isinstance(array, Tensor) and not hasattr(array, "dtype"):
        raise ValueError(f"asarray: copy=False, but a copy is needed to make an array of {type(array).__name__}")
    if isinstance(array, Tensor):
        result = array.to(device, dtype)
    elif isinstance(array, list | tuple) and _on_tape(array):
        result = shape.stack([asarray(value) for value in array]).to(device, dtype)
    else:
        result = wrap(backend.as_array(_stacked(array), dtype, device))
    same = result is array or result._array is array
    if copy is False and not same and result._array is not getattr(array, "_array", array):
        raise ValueError(f"asarray: copy=False, but a copy is needed to make {describe(result)} of {describe(array)}")
    return shape.copy(result) if copy and same else result


def _on_tape(values: Any) -> bool:
    """Whether a nested list holds a Tensor that needs a gradient."""
    if isinstance(values, list | tuple):
        return any(_on_tape(value) for value in values)
    return isinstance(values, Tensor) and values._node is not None


def _stacked(value: Any) -> Any:
    """Lists may hold Tensors, if those need no gradient."""
    if isinstance(value, Tensor):
        return value.__array__() if value.device == "cpu" else value.numpy()
    return [_stacked(v) for v in value] if isinstance(value, list | tuple) else value


# --- backward -----------------------------------------------------------------------------------------------------


def _cotangent(output: Tensor, gradient: Any) -> Any:
    """The raw array or Tensor to start from: `gradient` with the output's shape and dtype, or one for a single element."""
    array = output._array
    if output._node is None:
        raise GradientError(
            f"backward from {describe(output)}, which was computed from nothing that requires a gradient\n"
            f"  make an input with requires_grad=True, and compute outside no_grad\n  at {format_site(user_site())}"
        )
    if gradient is None:
        if array.size != 1:
            raise GradientError(
                f"backward needs a scalar, or gradient= of the output's shape: the output is {describe(output)}\n"
                f"  reduce it first, for instance with .sum() or .mean()\n  at {format_site(user_site())}"
            )
        if array.dtype.kind == "c":
            raise GradientError(
                f"backward needs a real value, or gradient=: the output is {describe(output)}\n"
                f"  take its real part or its square of modulus, for instance gg.real(z)\n  at {format_site(user_site())}"
            )
        if array.__class__ is numpy.ndarray:
            return _one(array.dtype) if array.ndim == 0 else numpy.ones(array.shape, array.dtype)
        return backend.made_beside(array, "ones", array.shape, array.dtype)
    given = asarray(gradient)
    if given.ndim == 0 and given.device != output.device:
        given = given.to(output.device)
    if given.shape != array.shape or given.device != output.device:
        kind = ShapeError if given.shape != array.shape else DeviceError
        raise kind(f"gradient= is {describe(given)}, but the output is {describe(output)}\n  at {format_site(user_site())}")
    return given if given.dtype == array.dtype else given.astype(array.dtype)


@functools.cache
def _one(dtype: Any) -> Any:
    """Where most walks start: made once for each dtype."""
    one = numpy.ones((), dtype)
    one.flags.writeable = False
    return one


_accumulating = threading.RLock()
"""Held while gradients are added up, since threads may share leaves."""


def _backward_raw(output: Tensor, cotangent: Any, retain: bool) -> None:
    """First order, on raw arrays: the fast path."""
    start = cotangent._array if isinstance(cotangent, Tensor) else cotangent
    F = raw_for(start, not retain, not retain and not _tape.hooked and not current_mode().watchers)
    found, borrowed = walk(F, ((output._node, conjugate(F, start)),), retain=retain)
    with _accumulating:
        for node, grad in found.items():
            if node.dtype.kind == "c":
                grad = conjugate(F, grad)
            if node.grad is not None:
                node.grad = node.grad + grad
                continue
            if node in borrowed or grad.base is not None:
                grad = grad.copy() if grad.__class__ is numpy.ndarray else backend.copied(grad)
            node.grad = tensor = Tensor()
            tensor._array = grad if grad.__class__ is numpy.ndarray else backend.as_array(grad)
            tensor._node = None


def _backward_recorded(output: Tensor, cotangent: Any, retain: bool, create_graph: bool) -> None:
    """Any order, on Tensors, through `apply`."""
    start = cotangent if isinstance(cotangent, Tensor) else wrap(cotangent)
    with mode_with(grad=create_graph):
        found = walk(TENSORS, ((output._node, conjugate(TENSORS, start)),), retain=retain).conjugated(TENSORS)
        with _accumulating:
            for node in found.by_node:
                grad, previous = found.owned(node), node.grad
                node.grad = grad if previous is None else previous + grad
