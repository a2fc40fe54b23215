"""NumPy's operators and methods, as a base class of Tensor: each calls the op of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import DTypeLike

from . import half
from .op import apply, registry
from .ops import (
    activation,
    comparison,
    complex_numbers,
    elementwise,
    floating,
    gather,
    integers,
    linalg,
    manipulation,
    reduction,
    scan,
    shape,
    sorting,
    standard,
)
from .ops.axes import Axis

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["ArrayMethods"]

_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _MATMUL = map(registry.__getitem__, ("add", "subtract", "multiply", "divide", "matmul"))


_INSTEAD = {
    "sort": "t = numpy.sort(t), or t[...] = numpy.sort(t)",
    "partition": "t = numpy.partition(t, kth)",
    "fill": "t[...] = value",
    "put": "t = gpugrad.scatter(t, ...), or t[index] = values",
    "flat": "t.ravel() to read, t[index] = value to write",
    "resize": "t = t.reshape(shape)",
    "view": "t.reshape(shape) or t.astype(dtype)",
    "tobytes": "t.numpy().tobytes()",
    "searchsorted": "numpy.searchsorted(t, values)",
    "compress": "numpy.compress(condition, t, axis)",
    "choose": "numpy.choose(t, choices)",
    "argpartition": "numpy.argpartition(t, kth)",
}
"""What does the work of those methods of NumPy's that are missing."""


class _Missing:
    """In place of a method that is missing: AttributeError, with what to use instead.

    A ``__getattr__`` would say the same, but Python 3.11 then reads every slot of a tensor five times as slowly.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, instance: Any, owner: type) -> Any:
        what = f"{owner.__name__!r} object has no attribute {self.name!r}; use {self.instead}"
        raise AttributeError(what, name=self.name, obj=instance)


def _by_numpy(name: str, x: Any, axis: Axis, keepdims: Any, options: dict[str, Any]) -> Any:
    """A reduction with options that only NumPy's function takes, which comes back to Tensors by its protocol."""
    if not isinstance(keepdims, int | numpy.bool):  # NumPy has the dtype in its place
        keepdims, options = False, {"dtype": keepdims, **options}
    return getattr(numpy, name)(x, axis=axis, keepdims=bool(keepdims), **options)


class ArrayMethods:
    """Arithmetic, comparisons, reductions and shape, as `numpy.ndarray` has them."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name not in _INSTEAD]

    # --- arithmetic ---

    def __add__(self, other: Any) -> Tensor:
        return apply(_ADD, (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return apply(_ADD, (other, self))

    def __sub__(self, other: Any) -> Tensor:
        return apply(_SUBTRACT, (self, other))

    def __rsub__(self, other: Any) -> Tensor:
        return apply(_SUBTRACT, (other, self))

    def __mul__(self, other: Any) -> Tensor:
        return apply(_MULTIPLY, (self, other))

    def __rmul__(self, other: Any) -> Tensor:
        return apply(_MULTIPLY, (other, self))

    def __truediv__(self, other: Any) -> Tensor:
        return apply(_DIVIDE, (self, other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(_DIVIDE, (other, self))

    def __matmul__(self, other: Any) -> Tensor:
        return apply(_MATMUL, (self, other))

    def __rmatmul__(self, other: Any) -> Tensor:
        return apply(_MATMUL, (other, self))

    def __pow__(self, other: Any) -> Tensor:
        if type(other) in (int, float) and other in (2, 3, 4):
            return elementwise.square(self) if other == 2 else elementwise.small_power(self, int(other))
        return elementwise.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise.power(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return elementwise.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise.remainder(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return elementwise.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise.floor_divide(other, self)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return standard.divmod(self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return standard.divmod(other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return integers.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return integers.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return integers.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return integers.bitwise_right_shift(other, self)

    def __neg__(self) -> Tensor:
        return elementwise.negative(self)

    def __pos__(self) -> Tensor:
        return elementwise.positive(self)

    def __abs__(self) -> Tensor:
        return elementwise.abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.equal(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.not_equal(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return comparison.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return comparison.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return comparison.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return comparison.greater_equal(self, other)

    def __and__(self, other: Any) -> Tensor:
        return comparison.bitwise_and(self, other)

    def __or__(self, other: Any) -> Tensor:
        return comparison.bitwise_or(self, other)

    def __xor__(self, other: Any) -> Tensor:
        return comparison.bitwise_xor(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Tensor:
        return comparison.invert(self)

    # --- methods, as NumPy's ---

    def sum(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Sum over axes."""
        if options or keepdims.__class__ is not bool:
            return _by_numpy("sum", self, axis, keepdims, options)
        return reduction.sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Mean over axes."""
        if options or keepdims.__class__ is not bool:
            return _by_numpy("mean", self, axis, keepdims, options)
        return reduction.mean(self, axis, keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Largest element over axes."""
        return _by_numpy("max", self, axis, keepdims, options) if options else reduction.max(self, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Smallest element over axes."""
        return _by_numpy("min", self, axis, keepdims, options) if options else reduction.min(self, axis, keepdims)

    def var(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Tensor:
        """Variance over axes."""
        return reduction.var(self, axis, ddof, keepdims, correction)

    def std(self, axis: Axis = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Tensor:
        """Standard deviation over axes."""
        return reduction.std(self, axis, ddof, keepdims, correction)

    def prod(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Product over axes."""
        if options or keepdims.__class__ is not bool:
            return _by_numpy("prod", self, axis, keepdims, options)
        return scan.prod(self, axis, keepdims)

    def cumsum(self, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
        """Running sums along an axis."""
        return scan.cumsum(self if dtype is None else self.astype(dtype), axis)

    def cumprod(self, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
        """Running products along an axis."""
        return scan.cumprod(self if dtype is None else self.astype(dtype), axis)

    def argsort(self, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Tensor:
        """Indices that sort, of any `kind` in a stable order."""
        return sorting.argsort(self, axis)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the largest element."""
        return reduction.argmax(self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the smallest element."""
        return reduction.argmin(self, axis, keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Whether any element is true."""
        return _by_numpy("any", self, axis, keepdims, options) if options else reduction.any(self, axis, keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False, **options: Any) -> Tensor:
        """Whether all elements are true."""
        return _by_numpy("all", self, axis, keepdims, options) if options else reduction.all(self, axis, keepdims)

    def reshape(self, *shape_: Any, order: str = "C") -> Tensor:
        """The same elements under another shape: ``reshape(2, 3)`` or ``reshape((2, 3))``."""
        new = shape_[0] if len(shape_) == 1 else shape_
        return shape.reshape(self, new) if order == "C" else shape.reshape_in_order(self, new, order)

    def ravel(self, order: str = "C") -> Tensor:
        """One axis, in an order of NumPy's."""
        return shape.ravel(self, order)

    flatten = ravel

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order: ``transpose()``, ``transpose(1, 0)`` or ``transpose((1, 0))``."""
        if not axes:
            return shape.transpose(self)
        return shape.transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        """Axes of length one left out."""
        return shape.squeeze(self, axis)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return shape.swapaxes(self, axis1, axis2)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """A diagonal of two axes."""
        return manipulation.diagonal(self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """Sum of a diagonal."""
        return manipulation.trace(self, offset, axis1, axis2)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Each element that many times in a row."""
        return manipulation.repeat(self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Elements along an axis."""
        return gather.take(self, indices, axis)

    def nonzero(self) -> tuple[Tensor, ...]:
        """Indices of the elements that are not zero, one array per axis."""
        return sorting.nonzero(self)

    def round(self, decimals: int = 0) -> Tensor:
        """To a number of decimals."""
        return floating.round(self, decimals)

    @property
    def real(self) -> Tensor:
        """The real part."""
        return complex_numbers.real(self)

    @property
    def imag(self) -> Tensor:
        """The imaginary part."""
        return complex_numbers.imag(self)

    def conj(self) -> Tensor:
        """The complex conjugate."""
        return complex_numbers.conjugate(self)

    conjugate = conj

    def astype(self, dtype: DTypeLike, *, copy: bool = True) -> Tensor:
        """A copy with another dtype; an integer or boolean one cuts the gradient."""
        dtype = half.dtype_from(dtype)
        tensor: Any = self
        if not copy and dtype == tensor.dtype:
            return tensor
        return shape.astype(self, dtype) if half.is_inexact(dtype) else shape.cast(self, dtype)

    def dot(self, other: Any) -> Tensor:
        """Dot product, with NumPy's rules."""
        return linalg.dot(self, other)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Values limited to [min, max]."""
        if isinstance(min, ArrayMethods) or isinstance(max, ArrayMethods):
            above: Any = self if min is None else elementwise.maximum(self, min)
            return above if max is None else elementwise.minimum(above, max)
        return elementwise.clip(self, min, max)

    def exp(self) -> Tensor:
        """``e ** x``."""
        return elementwise.exp(self)

    def log(self) -> Tensor:
        """Natural logarithm."""
        return elementwise.log(self)

    def sqrt(self) -> Tensor:
        """Square root."""
        return elementwise.sqrt(self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return elementwise.tanh(self)

    def sigmoid(self) -> Tensor:
        """Logistic function."""
        return activation.sigmoid(self)

    def relu(self) -> Tensor:
        """``max(x, 0)``."""
        return activation.relu(self)


for _name, _instead in _INSTEAD.items():
    setattr(ArrayMethods, _name, _Missing(_name, _instead))
