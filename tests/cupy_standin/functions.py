"""The functions of the stand-in: CuPy's names, keywords and dtypes, NumPy's values."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from . import cuda
from .arrays import Scalars, fresh, here, ndarray, view, writable

API = json.loads((Path(__file__).parent / "api.json").read_text(encoding="utf-8"))


def hidden(value: Any, what: str = "") -> Any:
    """The NumPy array inside; numbers as they are. NumPy's arrays are no operands."""
    if isinstance(value, ndarray):
        return here(value)._hidden
    if isinstance(value, numpy.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def shown(value: Any) -> Any:
    """A result of NumPy as one of CuPy: no scalars, arrays on the device."""
    if isinstance(value, tuple):
        parts = tuple(map(shown, value))
        return type(value)(*parts) if hasattr(value, "_fields") else parts
    if isinstance(value, list):
        return [shown(v) for v in value]
    return fresh(value) if isinstance(value, numpy.ndarray | numpy.generic) else value


# --- ufuncs -------------------------------------------------------------------------------------------------------


class ufunc:
    """`cupy.ufunc`: elementwise on arrays and numbers, with CuPy's own table of dtypes."""

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self.__name__, self.name = name, f"cupy_{name}"
        self.nin, self.nout, self.types, self._methods = (facts[key] for key in ("nin", "nout", "types", "methods"))
        self.nargs = self.nin + self.nout
        self._numpy = getattr(numpy, name, None) or OWN[name]

    def __call__(self, *args: Any, out: Any = None, casting: str = "same_kind", dtype: Any = None) -> Any:
        for arg in args:
            if hasattr(arg, "__cupy_override_elementwise_kernel__"):
                return arg.__cupy_override_elementwise_kernel__(self, *args)
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"Wrong number of arguments for {self.name!r}")
        if len(args) > self.nin:
            out = args[self.nin] if self.nout == 1 else tuple(args[self.nin :])
        inputs = [hidden(a) for a in args[: self.nin]]
        for a in inputs:
            if not isinstance(a, (numpy.ndarray, *Scalars)):
                raise TypeError(f"Unsupported type {type(a)}")
        dtypes = self._loop(inputs) if dtype is None else [numpy.dtype(dtype)] * self.nout
        with numpy.errstate(all="ignore"):
            results = self._numpy(*inputs)
        results = [r.astype(d) if isinstance(r, numpy.ndarray) else d.type(r) for r, d in zip(_tuple(results), dtypes)]
        if out is None:
            made = tuple(map(fresh, results))
            return made[0] if self.nout == 1 else made
        for target, result in zip(_tuple(out), results, strict=True):
            if not isinstance(target, ndarray):
                raise TypeError("return arrays must be of ArrayType")
            if target.shape != numpy.broadcast_shapes(target.shape, result.shape):
                raise ValueError("Out shape is mismatched")
            if not numpy.can_cast(result.dtype, target.dtype, casting):
                raise TypeError(f"output (typecode '{result.dtype.char}') could not be coerced to '{target.dtype.char}'")
            writable(here(target)._hidden)[...] = result
        return out

    def _loop(self, inputs: list[Any]) -> list[Any]:
        """Dtypes of the results, by the first row of CuPy's table that takes the inputs."""
        strong = [numpy.asarray(a).dtype for a in inputs if isinstance(a, numpy.ndarray | numpy.generic)]
        if any(dtype.char == "E" for dtype in strong):
            return self._narrow_loop(strong, inputs)
        common = numpy.result_type(*strong) if strong else None
        given = []
        for a in inputs:
            if isinstance(a, numpy.ndarray | numpy.generic):
                given.append(numpy.asarray(a).dtype)
            elif common is not None and common.kind in "fc" and isinstance(a, int | float):  # Python's numbers are weak:
                given.append(numpy.dtype("int8" if isinstance(a, int) else "float16"))  # they fit any row of their kind
            else:
                given.append(numpy.asarray(a).dtype if common is None else numpy.result_type(common, a))
        for row in self.types:
            left, right = row.split("->")
            if all(numpy.can_cast(d, numpy.dtype(c)) for d, c in zip(given, left)):
                return [numpy.dtype(c) for c in right]
        raise TypeError(f"Wrong type {tuple(map(str, given))} of arguments for {self.name}")

    def _narrow_loop(self, strong: list[Any], inputs: list[Any]) -> list[Any]:
        """As `_loop` where there is bfloat16, which has a row behind that of float16."""
        row = next((row for row in self.types if row.split("->")[0] == "e" * self.nin), None)
        if row is None:
            raise TypeError(f"Wrong type {tuple(map(str, strong))} of arguments for {self.name}")
        wide = [dtype for dtype in strong if dtype.char in "fdFD"]
        if wide or any(dtype.char in "eilqILQ" for dtype in strong):
            return self._loop([numpy.float32(0) if numpy.asarray(a).dtype.char == "E" else a for a in inputs])
        return [strong_of(strong) if c == "e" else numpy.dtype(c) for c in row.split("->")[1]]

    def _supports(self, method: str) -> None:
        if method not in self._methods:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        self._supports("reduce")
        return TOP["sum" if self.__name__ == "add" else "prod"](array, axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        self._supports("accumulate")
        return TOP["cumsum" if self.__name__ == "add" else "cumprod"](array, axis, dtype, out)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        self._supports("at")
        from .arrays import indices as index_of

        if a.dtype.char not in "ieIQfdL":
            raise TypeError(f"scatter_add only supports int32, float16, float32, float64, uint32, uint64, not {a.dtype}")
        index, _ = index_of(indices, a.shape)
        self._numpy.at(writable(here(a)._hidden), index, hidden(b))


def strong_of(dtypes: list[Any]) -> Any:
    return next(dtype for dtype in dtypes if dtype.char == "E")


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


OWN: dict[str, Callable[..., Any]] = {
    "angle": numpy.angle,
    "i0": numpy.i0,
    "iscomplex": numpy.iscomplex,
    "isreal": numpy.isreal,
    "sinc": numpy.sinc,
}

# --- functions ----------------------------------------------------------------------------------------------------


def words(text: str) -> set[str]:
    return set(text.split())


FROM_HOST = words("array asarray asanyarray ascontiguousarray asfortranarray asnumpy isclose allclose")
"""Functions that take NumPy arrays and lists too."""
WITHOUT_ARRAYS = words("""
    arange broadcast_shapes can_cast dtype empty size eye finfo full identity iinfo indices linspace logspace ones promote_types
    result_type shape tri tril_indices triu_indices zeros fftfreq rfftfreq isscalar ndim
""")
SEQUENCES = words("concatenate concat stack hstack vstack dstack column_stack einsum select block")
VIEWS = words("""
    broadcast_to transpose permute_dims reshape ravel swapaxes moveaxis expand_dims squeeze diagonal atleast_1d atleast_2d
    atleast_3d flip rollaxis
""")
METHODS = words("""
    all any argmax argmin argsort clip compress cumprod cumsum dot max mean min prod ptp repeat round std sum take trace var
""")


def _parameters(text: str) -> inspect.Signature:
    scope: dict[str, Any] = {name: name for name in ("float", "int", "float32", "float64")}
    exec(f"def f{text}: pass", {"__builtins__": {}, **scope}, made := {})
    return inspect.signature(made["f"])


def _checked_inputs(name: str, args: tuple[Any, ...]) -> None:
    if name in WITHOUT_ARRAYS or name in FROM_HOST or not args:
        return
    first = args[0]
    if name == "einsum" or name in SEQUENCES:
        arrays = args[1:] if name == "einsum" else first
        for value in arrays:
            if not isinstance(value, ndarray):
                raise TypeError(f"{name}: only cupy arrays can be joined, got {type(value)}")
    elif not isinstance(first, ndarray):
        raise AttributeError(f"{type(first).__name__!r} object is no cupy.ndarray, which cupy.{name} needs")


def _into(out: Any, result: Any) -> Any:
    if out is None:
        return shown(result)
    here(out)._hidden[...] = result
    return out


def function(name: str, text: str, compute: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """CuPy's function of a name: with its signature, on its arrays."""
    signature = _parameters(text)
    compute = compute or getattr(numpy, name, None)

    def call(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        if compute is None:
            raise NotImplementedError(f"the stand-in has no cupy.{name}")
        _checked_inputs(name, args)
        out = kwargs.pop("out", None)
        if name in WITHOUT_ARRAYS:
            inside = [a._hidden if isinstance(a, ndarray) else a for a in args]
        elif name in FROM_HOST:
            inside = [here(a)._hidden if isinstance(a, ndarray) else a for a in args]
        else:
            inside = [[hidden(v) for v in a] if isinstance(a, list | tuple) and name in SEQUENCES else hidden(a) for a in args]
        if name in ("dot", "matmul") and {v.dtype.char for v in inside} == {"E"}:  # cuBLAS sums in float32
            result = numpy.matmul(*(v.astype("float32") for v in inside)).astype(inside[0].dtype)
            return _into(out, result)
        with numpy.errstate(all="ignore"):
            result = compute(*inside, **{key: hidden(value) for key, value in kwargs.items()})
        if out is not None:
            return _into(out, result)
        if name in VIEWS and isinstance(result, numpy.ndarray):
            return view(args[0], result)
        return shown(result)

    call.__name__ = name
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


# --- those that differ from NumPy's -------------------------------------------------------------------------------


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> Any:
    cuda.check_driver()
    if isinstance(obj, ndarray):
        if obj._block.device.id != cuda.current.device:  # CuPy copies between devices here
            return fresh(obj._hidden.astype(dtype or obj.dtype))
        same = dtype is None or numpy.dtype(dtype) == obj.dtype
        return obj if same and not copy else fresh(numpy.array(obj._hidden, dtype, ndmin=ndmin))
    if isinstance(obj, list | tuple) and any(isinstance(v, ndarray) for v in obj):
        return fresh(numpy.stack([hidden(v) for v in obj]).astype(dtype or numpy.result_type(*[v.dtype for v in obj])))
    if hasattr(obj, "__cuda_array_interface__"):
        return _foreign(obj)
    made = numpy.array(obj, dtype, ndmin=ndmin)
    if (made.dtype.kind not in "biufc" and made.dtype.char != "E") or made.dtype.itemsize > 16:  # E: ml_dtypes' bfloat16
        raise ValueError(f"Unsupported dtype {made.dtype}")
    return fresh(made)


class _Memory:
    """Memory of another library, as NumPy asks for it."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.__array_interface__ = owner, {k: v for k, v in owner.__cuda_array_interface__.items() if k != "stream"}


def _foreign(obj: Any) -> ndarray:
    shared = object.__new__(ndarray)
    shared._hold(numpy.asarray(_Memory(obj)), cuda.Block(0), None)
    return shared


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> Any:
    return array(a, dtype, bool(copy))


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    if isinstance(a, ndarray):
        return a.get(stream, order, out)
    return numpy.asarray(a, order=order)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return condition.nonzero()
    if not isinstance(condition, ndarray):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    for value in (x, y):
        if not isinstance(value, (ndarray, *Scalars)):
            raise TypeError(f"Unsupported type {type(value)}")
    return fresh(numpy.where(hidden(condition), hidden(x), hidden(y)))


def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    if isinstance(src, numpy.ndarray) and src.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    source = src if isinstance(src, numpy.ndarray) else hidden(src)
    numpy.copyto(writable(here(dst)._hidden), source, casting, **({} if where is None else {"where": hidden(where)}))


def empty(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    return ndarray(shape, dtype, order=order)


def empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> Any:
    return ndarray(here(prototype).shape if shape is None else shape, dtype or prototype.dtype)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    if not isinstance(a, ndarray) or not isinstance(v, ndarray | int):
        raise NotImplementedError("Only int or ndarray are supported for a")
    return fresh(numpy.searchsorted(hidden(a), hidden(v), side))


def take_along_axis(a: Any, indices: Any, axis: Any) -> Any:
    index = hidden(indices)
    if axis is None:
        a, axis = a.ravel(), 0
    return fresh(numpy.take_along_axis(hidden(a), index % max(a.shape[axis], 1), axis))


def matmul(*args: Any, out: Any = None, **kwargs: Any) -> Any:
    x, y = args
    if not (isinstance(x, ndarray) and isinstance(y, ndarray)):
        wrong = y if isinstance(x, ndarray) else x
        raise TypeError(f"Argument has incorrect type (expected cupy._core.core._ndarray_base, got {type(wrong)})")
    result = fresh(numpy.matmul(hidden(x), hidden(y)))
    if out is not None:
        here(out)._hidden[...] = result._hidden
        return out
    return result


def dot(a: Any, b: Any, out: Any = None) -> Any:
    for value in (a, b):
        if not isinstance(value, ndarray):
            raise TypeError(f"Argument has incorrect type (expected cupy._core.core._ndarray_base, got {type(value)})")
    result = fresh(numpy.dot(hidden(a), hidden(b)))
    if out is not None:
        here(out)._hidden[...] = result._hidden
        return out
    return result


def real(val: Any) -> Any:
    return val.real if isinstance(val, ndarray) else asarray(val).real


def imag(val: Any) -> Any:
    return val.imag if isinstance(val, ndarray) else asarray(val).imag


def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    return fresh(numpy.pad(hidden(array), pad_width, mode, **kwargs))


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> Any:
    inside = here(x)._hidden
    shape, strides = tuple(inside.shape if shape is None else shape), tuple(inside.strides if strides is None else strides)
    return view(x, numpy.lib.stride_tricks.as_strided(inside, shape, strides))


class _Grid:
    def __getitem__(self, key: Any) -> Any:
        return [fresh(part) for part in numpy.ogrid[key]]


def get_array_module(*args: Any) -> Any:
    import sys

    return sys.modules["cupy"] if any(isinstance(a, ndarray) for a in args) else numpy


# --- linear algebra: by default CuPy does not look whether a factorisation failed ---------------------------------

check_linalg = [False]


def _solver(name: str) -> Callable[..., Any]:
    compute = getattr(numpy.linalg, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        for a in args:
            if isinstance(a, numpy.ndarray) and a.dtype.kind in "fc" and a.dtype.itemsize == 2:
                raise TypeError(f"array type {a.dtype} is unsupported in linalg")
        if name == "solve" and args[1].ndim > 1 and args[0].shape[:-1] != args[1].shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        try:
            return compute(*args, **kwargs)
        except numpy.linalg.LinAlgError as error:
            if check_linalg[-1] or ("singular" not in str(error).lower() and "positive" not in str(error).lower()):
                raise
            return numpy.full(args[-1].shape, numpy.nan)

    return call


# --- the tables ---------------------------------------------------------------------------------------------------

DIFFERENT = {
    f.__name__: f
    for f in (
        array,
        asarray,
        asnumpy,
        where,
        copyto,
        empty,
        empty_like,
        searchsorted,
        take_along_axis,
        matmul,
        dot,
        real,
        imag,
        pad,
        get_array_module,
    )
}
SIGNATURES = API["functions"]
TOP: dict[str, Any] = {name: ufunc(name, facts) for name, facts in API["ufuncs"].items() if hasattr(numpy, name) or name in OWN}
for _name, _text in SIGNATURES.items():
    TOP[_name] = DIFFERENT.get(_name) or function(_name, _text)
TOP["asanyarray"] = asarray
TOP["ogrid"] = _Grid()
TOP["is_available"] = cuda.is_available
TOP["get_default_memory_pool"] = cuda.get_default_memory_pool
LINALG = {name: function(name, text, _solver(name)) for name, text in API["linalg"].items() if hasattr(numpy.linalg, name)}
FFT = {name: function(name, text, getattr(numpy.fft, name)) for name, text in API["fft"].items() if hasattr(numpy.fft, name)}
MODULES = {"cupy": TOP, "cupy.linalg": LINALG, "cupy.fft": FFT}


def leaves_it_to(other: Any) -> bool:
    """Whether operators of CuPy's arrays call those of the other operand instead: by NEP 13, or by priority."""
    try:
        return other.__array_ufunc__ is None
    except AttributeError:
        return getattr(other, "__array_priority__", 0) > ndarray.__array_priority__


def _complete(cls: type) -> None:
    """Operators and methods of the class that are functions of the library."""
    names = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder",
        "pow": "power",
        "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
        "lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal", "gt": "greater", "ge": "greater_equal",
    }  # fmt: skip
    for short, long in names.items():
        compute = TOP[long]
        reflected = None if short in ("lt", "le", "eq", "ne", "gt", "ge") else f"__r{short}__"

        def forward(self: Any, other: Any, compute: Any = compute, reflected: str | None = reflected) -> Any:
            if leaves_it_to(other):
                return NotImplemented if reflected is None else getattr(other, reflected)(self)
            hasattr(other, "__cuda_array_interface__")  # CuPy asks, and an error that is no AttributeError comes through
            return compute(self, other)

        setattr(cls, f"__{short}__", forward)
        if short not in ("lt", "le", "eq", "ne", "gt", "ge"):
            setattr(cls, f"__r{short}__", lambda self, other, compute=compute: compute(other, self))
            setattr(cls, f"__i{short}__", lambda self, other, compute=compute: compute(self, other, self))
    for short, long in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
        setattr(cls, f"__{short}__", lambda self, compute=TOP[long]: compute(self))

    def times(self: Any, other: Any) -> Any:
        return other.__rmatmul__(self) if leaves_it_to(other) else matmul(self, other)

    cls.__matmul__ = times  # type: ignore[attr-defined]
    cls.__rmatmul__ = lambda self, other: matmul(other, self)  # type: ignore[attr-defined]
    for name in METHODS:
        setattr(cls, name, lambda self, *args, compute=TOP[name], **kwargs: compute(self, *args, **kwargs))
    for name in ("conj", "conjugate"):
        setattr(cls, name, lambda self: TOP["conjugate"](self) if self.dtype.kind == "c" else self)
    cls.sort = lambda self, axis=-1, kind=None: self.__setitem__(..., fresh(numpy.sort(here(self)._hidden, axis)))  # type: ignore[attr-defined]


_complete(ndarray)
