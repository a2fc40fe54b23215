"""Matrix products by cuBLASLt, through ctypes: bias, activation and bias gradient in the product's own pass.

CuPy's `matmul` cannot add a bias, add into its output, or run inside a stream capture; cuBLASLt can. A product is
described once for each combination of shapes, strides, dtype and epilogue (a `Plan`, kept), and a call then only hands
over pointers.

cuBLASLt counts in columns: a matrix whose rows are contiguous is, to it, the transpose stored by columns. So for
``c = a @ b`` it is asked for ``c.T = b.T @ a.T``, with `b` as its first operand; a bias along the columns of `c` then runs
along the rows of its result, which is where cuBLASLt adds one.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from .. import backend
from ..errors import DeviceError, ShapeError

__all__ = [
    "Epilogue",
    "NoAlgorithmError",
    "Plan",
    "Problem",
    "aux_for",
    "find_library",
    "is_available",
    "matmul",
    "problem_of",
    "runs_on",
]


class NoAlgorithmError(DeviceError):
    """cuBLASLt does not take a product; another way does."""


class Epilogue:
    """What happens to a product ``c = a @ b`` before it is stored (`cublasLtEpilogue_t`).

    BIAS adds a vector to the rows of `c`. AUX writes what the backward wants: of a ReLU a mask, of a GELU, which is the
    one by tanh, what enters it. DRELU and DGELU read that and multiply by the slope; BGRAD also sums the columns of `c`.
    BGRADA sums the columns of `b`, BGRADB the rows of `a`.
    """

    NONE = 1
    RELU, RELU_AUX, BIAS, RELU_BIAS, RELU_AUX_BIAS = 2, 130, 4, 6, 134
    DRELU, DRELU_BGRAD = 136, 152
    GELU, GELU_AUX, GELU_BIAS, GELU_AUX_BIAS = 32, 160, 36, 164
    DGELU, DGELU_BGRAD = 192, 208
    BGRADA, BGRADB = 256, 512

    WITH_AUX = frozenset((RELU_AUX, RELU_AUX_BIAS, DRELU, DRELU_BGRAD, GELU_AUX, GELU_AUX_BIAS, DGELU, DGELU_BGRAD))
    WITH_MASK = frozenset((RELU_AUX, RELU_AUX_BIAS, DRELU, DRELU_BGRAD))


_TYPES = {"f": 0, "d": 1, "e": 2, "E": 14}  # cudaDataType by NumPy's dtype.char; bfloat16 is ml_dtypes' "E"
_COMPUTE = {"f": 68, "d": 70, "e": 68, "E": 68}  # cublasComputeType: half types are summed in float32
_COMPUTE_TF32 = 77
_TRANSA, _TRANSB, _EPILOGUE, _BIAS, _AUX, _AUX_LD = 3, 4, 7, 8, 11, 12
_MAX_WORKSPACE, _ALIGN_A, _ALIGN_B, _ALIGN_C, _ALIGN_D = 1, 5, 6, 7, 8
_WORKSPACE_BYTES = 32 << 20
_NOT_TAKEN = (7, 8, 15)
"""CUBLAS_STATUS_INVALID_VALUE, ARCH_MISMATCH and NOT_SUPPORTED: errors in what is asked, of which nothing was run."""
_ALIGNED = 256
"""Bytes; more than that no algorithm asks of an address. CuPy's own arrays have it, views may not."""


class _Algorithm(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64 * 8),)


class _Heuristic(ctypes.Structure):
    _fields_ = (
        ("algorithm", _Algorithm),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


# --- the library --------------------------------------------------------------------------------------------------


@functools.cache
def find_library() -> Any:
    """The cuBLASLt library, or None: from CUDA's pip wheels, or where the system's loader finds it."""
    for version in (13, 12):
        name = f"libcublasLt.so.{version}"
        spec = importlib.util.find_spec("nvidia")
        roots = [] if spec is None else map(Path, spec.submodule_search_locations or [])
        found = [str(path) for root in roots for path in sorted(root.glob(f"*/lib/{name}"))]
        for candidate in (*found, name):
            try:
                return _declared(ctypes.CDLL(candidate))
            except OSError:
                continue
    return None


def is_available() -> bool:
    """Whether products can go through cuBLASLt here."""
    return find_library() is not None


@functools.cache
def runs_on(device: int) -> bool:
    """Whether products can go through cuBLASLt on a device, which is the current one."""
    try:
        return is_available() and bool(_handle(device))
    except DeviceError:
        return False


def _declared(lib: Any) -> Any:
    """The library with argument types: ctypes would pass pointers as 32-bit integers otherwise."""
    handle, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    at = ctypes.POINTER
    signatures: dict[str, tuple[Any, ...]] = {
        "cublasLtCreate": (at(handle),),
        "cublasLtMatmulDescCreate": (at(handle), integer, integer),
        "cublasLtMatmulDescDestroy": (handle,),
        "cublasLtMatmulDescSetAttribute": (handle, integer, handle, size),
        "cublasLtMatmulDescGetAttribute": (handle, integer, handle, size, at(size)),
        "cublasLtMatrixLayoutCreate": (at(handle), integer, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
        "cublasLtMatrixLayoutDestroy": (handle,),
        "cublasLtMatrixLayoutGetAttribute": (handle, integer, handle, size, at(size)),
        "cublasLtMatmulPreferenceCreate": (at(handle),),
        "cublasLtMatmulPreferenceDestroy": (handle,),
        "cublasLtMatmulPreferenceSetAttribute": (handle, integer, handle, size),
        "cublasLtMatmulPreferenceGetAttribute": (handle, integer, handle, size, at(size)),
        "cublasLtMatmulAlgoGetHeuristic": (*(handle,) * 7, integer, at(_Heuristic), at(integer)),
        "cublasLtMatmul": (*(handle,) * 14, size, handle),
    }
    for name, types in signatures.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = types, integer
    lib.cublasLtGetVersion.restype = size
    return lib


def _check(status: int, what: str) -> None:
    if status:
        raise DeviceError(f"cuBLASLt: {what} failed with status {status}")


# --- what is asked ------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """A product ``c (m, n) = a (m, k) @ b (k, n)``, as far as the choice of an algorithm depends on it."""

    m: int
    n: int
    k: int
    type: str
    a_by_rows: bool
    b_by_rows: bool
    a_stride: int
    b_stride: int
    epilogue: int = Epilogue.NONE
    tf32: bool = False
    accumulate: bool = False
    alignments: tuple[int, ...] = (_ALIGNED,) * 5
    """Bytes that the addresses of a, b, c, the bias and the auxiliary matrix are multiples of."""

    @property
    def layouts(self) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
        """Rows, columns and leading dimension, by columns, of `b`, of `a` and of the result."""
        first = (self.n, self.k) if self.b_by_rows else (self.k, self.n)
        second = (self.k, self.m) if self.a_by_rows else (self.m, self.k)
        return (*first, self.b_stride), (*second, self.a_stride), (self.n, self.m, self.n)

    @property
    def aux_stride(self) -> int:
        """Leading dimension of the auxiliary matrix: bits of a ReLU's mask, or elements of what enters a GELU."""
        unit = 128 if self.epilogue in Epilogue.WITH_MASK else 8
        return -(-self.n // unit) * unit


def _by_rows(x: Any) -> tuple[bool, int] | None:
    """Whether a matrix is stored by rows, and the distance of its rows (or columns) in elements; None if neither."""
    (rows, columns), (down, across), item = x.shape, x.strides, x.dtype.itemsize
    if (across == item or columns == 1) and (down >= columns * item or rows == 1) and down % item == 0:
        return True, max(down // item if rows > 1 else columns, columns)
    if (down == item or rows == 1) and (across >= rows * item or columns == 1) and across % item == 0:
        return False, max(across // item if columns > 1 else rows, rows)
    return None


def problem_of(a: Any, b: Any, epilogue: int = Epilogue.NONE, tf32: bool = False, accumulate: bool = False) -> Problem | None:
    """The product of two matrices as a `Problem`; None where an operand would have to be copied first.

    Raises
    ------
    ShapeError
        If they are not two matrices that fit, of one floating dtype.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or a.dtype != b.dtype or a.dtype.char not in _TYPES:
        raise ShapeError(f"gemm: {a.dtype}{list(a.shape)} @ {b.dtype}{list(b.shape)} are no two floating matrices that fit")
    first, second = _by_rows(a), _by_rows(b)
    if first is None or second is None:
        return None
    tf32 = tf32 and a.dtype.char == "f"
    (m, k), n = a.shape, b.shape[1]
    return Problem(m, n, k, a.dtype.char, first[0], second[0], first[1], second[1], epilogue, tf32, accumulate)


def aux_for(xp: Any, epilogue: int, shape: tuple[int, int], dtype: Any) -> Any:
    """Room for the auxiliary matrix of a result; None where its rows would have to be longer than those of the result.

    A ReLU's mask has a bit for an element, and rows of a multiple of 128; a GELU's inputs have rows of a multiple of 8.
    """
    if epilogue in Epilogue.WITH_MASK:
        return None if shape[1] % 128 else xp.empty((shape[0], shape[1] // 8), numpy.uint8)
    return None if shape[1] % 8 else xp.empty(shape, dtype)


def _alignment(array: Any) -> int:
    address = _ALIGNED if array is None else array.data.ptr
    return min(address & -address or _ALIGNED, _ALIGNED)


# --- the plan -----------------------------------------------------------------------------------------------------


class Plan:
    """cuBLASLt's descriptors for a problem and, on a device, the algorithm that its heuristic picks.

    Making one and reading it back needs the library, but no driver. `algorithm_on` and `run` need a GPU.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.lib = lib = find_library()
        if lib is None:
            raise DeviceError("cuBLASLt was not found: install gpugrad[cuda13] or gpugrad[cuda12]")
        compute = _COMPUTE_TF32 if problem.tf32 else _COMPUTE[problem.type]
        self.scalar = ctypes.c_double if problem.type == "d" else ctypes.c_float
        self.description = self._made("cublasLtMatmulDescCreate", compute, _TYPES["d" if problem.type == "d" else "f"])
        self._set(_TRANSA, ctypes.c_int32(0 if problem.b_by_rows else 1))
        self._set(_TRANSB, ctypes.c_int32(0 if problem.a_by_rows else 1))
        self._set(_EPILOGUE, ctypes.c_int32(problem.epilogue))
        if problem.epilogue in Epilogue.WITH_AUX:
            self._set(_AUX_LD, ctypes.c_int64(problem.aux_stride))
        kind = _TYPES[problem.type]
        self.layouts = [self._made("cublasLtMatrixLayoutCreate", kind, *layout) for layout in problem.layouts]
        self.algorithms: dict[int, _Heuristic] = {}
        self.lock = threading.Lock()

    def _made(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        result = ctypes.c_void_p()
        _check(getattr(self.lib, function)(ctypes.byref(result), *arguments), function)
        return result

    def _set(self, attribute: int, value: Any) -> None:
        set_attribute = self.lib.cublasLtMatmulDescSetAttribute
        _check(set_attribute(self.description, attribute, ctypes.byref(value), ctypes.sizeof(value)), f"attribute {attribute}")

    def read(self, attribute: int, kind: Any = ctypes.c_int32) -> int:
        """An attribute of the description, as cuBLASLt holds it."""
        value, written = kind(), ctypes.c_size_t()
        get_attribute = self.lib.cublasLtMatmulDescGetAttribute
        status = get_attribute(self.description, attribute, ctypes.byref(value), ctypes.sizeof(value), ctypes.byref(written))
        _check(status, f"reading attribute {attribute}")
        return int(value.value or 0)

    def read_layout(self, number: int, type_too: bool = False) -> tuple[int, ...]:
        """Rows, columns and leading dimension of an operand's layout, and its type's number, as cuBLASLt holds them."""
        values: list[int] = []
        attributes: tuple[tuple[int, Any], ...] = ((2, ctypes.c_uint64), (3, ctypes.c_uint64), (4, ctypes.c_int64))
        for attribute, kind in (*attributes, (0, ctypes.c_uint32)) if type_too else attributes:
            value, written = kind(), ctypes.c_size_t()
            get = self.lib.cublasLtMatrixLayoutGetAttribute
            status = get(self.layouts[number], attribute, ctypes.byref(value), ctypes.sizeof(value), ctypes.byref(written))
            _check(status, f"reading layout attribute {attribute}")
            values.append(int(value.value))
        return tuple(values)

    def __del__(self) -> None:
        lib = getattr(self, "lib", None)
        if lib is not None:
            for layout in getattr(self, "layouts", []):
                lib.cublasLtMatrixLayoutDestroy(layout)
            if hasattr(self, "description"):
                lib.cublasLtMatmulDescDestroy(self.description)

    def preference(self) -> ctypes.c_void_p:
        """What an algorithm may take for granted: its workspace, and how the matrices are aligned; to be destroyed."""
        made = self._made("cublasLtMatmulPreferenceCreate")
        a, b, c = self.problem.alignments[:3]
        bytes_ = {_ALIGN_A: b, _ALIGN_B: a, _ALIGN_C: c, _ALIGN_D: c}
        wanted: dict[int, Any] = {_MAX_WORKSPACE: ctypes.c_uint64(_WORKSPACE_BYTES)}
        for attribute, value in (wanted | {k: ctypes.c_uint32(v) for k, v in bytes_.items()}).items():
            status = self.lib.cublasLtMatmulPreferenceSetAttribute(made, attribute, ctypes.byref(value), ctypes.sizeof(value))
            _check(status, f"preference {attribute}")
        return made

    def algorithm_on(self, device: int) -> _Heuristic:
        """The algorithm that the heuristic ranks first; asked once per device, and before any capture.

        It looks at the pointers of bias and auxiliary matrix too, so these are set before.
        """
        if device not in self.algorithms:
            preference = self.preference()
            best, count = _Heuristic(), ctypes.c_int()
            b, a, c = self.layouts
            status = self.lib.cublasLtMatmulAlgoGetHeuristic(
                _handle(device), self.description, b, a, c, c, preference, 1, ctypes.byref(best), ctypes.byref(count)
            )
            self.lib.cublasLtMatmulPreferenceDestroy(preference)
            if status or not count.value or best.state:
                raise NoAlgorithmError(f"cuBLASLt has no algorithm for {self.problem}")
            self.algorithms[device] = best
        return self.algorithms[device]

    def run(self, a: Any, b: Any, out: Any, bias: Any = None, aux: Any = None) -> None:
        """Launch the product on the current stream; everything is asynchronous."""
        with self.lock:  # the pointers are part of the description, which threads share
            if bias is not None:
                self._set(_BIAS, ctypes.c_void_p(bias.data.ptr))
            if aux is not None:
                self._set(_AUX, ctypes.c_void_p(aux.data.ptr))
            self._launch(a, b, out)

    def _launch(self, a: Any, b: Any, out: Any) -> None:
        cupy = backend.namespace_of(out)
        device = int(out.device.id)
        best = self.algorithm_on(device)
        stream = cupy.cuda.get_current_stream().ptr
        workspace = _workspace(cupy, device, stream) if best.workspace else None
        alpha, beta = self.scalar(1), self.scalar(1 if self.problem.accumulate else 0)
        first, second, result = self.layouts
        status = self.lib.cublasLtMatmul(
            _handle(device),
            self.description,
            ctypes.byref(alpha),
            b.data.ptr,
            first,
            a.data.ptr,
            second,
            ctypes.byref(beta),
            out.data.ptr,
            result,
            out.data.ptr,
            result,
            ctypes.byref(best.algorithm),
            None if workspace is None else workspace.data.ptr,
            0 if workspace is None else _WORKSPACE_BYTES,
            stream,
        )
        if status in _NOT_TAKEN:
            raise NoAlgorithmError(f"cuBLASLt does not take {self.problem}: status {status}")
        _check(status, f"the product {self.problem}")


plan = functools.lru_cache(maxsize=4096)(Plan)


@functools.cache
def _handle(device: int) -> Any:
    """One handle per device; cuBLASLt's are safe to share between threads."""
    handle = ctypes.c_void_p()
    _check(find_library().cublasLtCreate(ctypes.byref(handle)), f"making a handle for device {device}")
    return handle


@functools.lru_cache(maxsize=64)
def _workspace(cupy: Any, device: int, stream: int) -> Any:
    """Scratch memory of a stream, never shared between two that may run at once."""
    return cupy.empty(_WORKSPACE_BYTES, numpy.uint8)


def matmul(
    a: Any,
    b: Any,
    bias: Any = None,
    epilogue: int | None = None,
    out: Any = None,
    accumulate: bool = False,
    aux: Any = None,
) -> Any:
    """``a @ b`` of two CuPy matrices, with what `epilogue` adds, in one launch.

    Parameters
    ----------
    a, b : CuPy arrays of shape (m, k) and (k, n)
        Rows or columns contiguous; others are copied first.
    bias : CuPy array of shape (n,) or, for bias gradients, an output of shape (n,) or (m,)
    epilogue : int, optional
        Of `Epilogue`; `BIAS` where a bias is given, if left out.
    out : CuPy array of shape (m, n), C-contiguous, optional
    accumulate : bool
        Whether to add to `out` instead of overwriting it.
    aux : CuPy array, optional
        The mask or the pre-activation that the epilogue writes or reads; see `aux_for`.

    Returns
    -------
    CuPy array of shape (m, n)

    Raises
    ------
    NoAlgorithmError
        If cuBLASLt does not take the product; nothing was computed then.
    """
    cupy = backend.namespace_of(a)
    if epilogue is None:
        epilogue = Epilogue.NONE if bias is None else Epilogue.BIAS
    tf32 = backend.float32_matmul_precision() == "high"
    problem = problem_of(a, b, epilogue, tf32, accumulate)
    if problem is None:
        a, b = (x if _by_rows(x) is not None else cupy.ascontiguousarray(x) for x in (a, b))
        problem = problem_of(a, b, epilogue, tf32, accumulate)
        assert problem is not None
    if out is None:
        out = cupy.empty((problem.m, problem.n), a.dtype)
    elif out.shape != (problem.m, problem.n) or not out.flags.c_contiguous or out.dtype != a.dtype:
        raise ShapeError(f"gemm: out= is {out.dtype}{list(out.shape)}, expected {a.dtype}{[problem.m, problem.n]}, C-contiguous")
    if epilogue in Epilogue.WITH_AUX:
        _check_aux(problem, aux)
    problem = problem._replace(alignments=tuple(map(_alignment, (a, b, out, bias, aux))))
    if problem in refused:
        raise NoAlgorithmError(f"cuBLASLt has no algorithm for {problem}")
    try:
        plan(problem).run(a, b, out, bias, aux)
    except NoAlgorithmError:
        refused.add(problem)
        raise
    return out


def _check_aux(problem: Problem, aux: Any) -> None:
    """Refuse an auxiliary matrix that is not as the plan describes it: cuBLASLt would read or write beyond its rows."""
    mask = problem.epilogue in Epilogue.WITH_MASK
    expected = (problem.m, problem.aux_stride // 8 if mask else problem.aux_stride)
    dtype = "B" if mask else problem.type
    if aux is None or aux.shape != expected or aux.dtype.char != dtype or not aux.flags.c_contiguous:
        raise ShapeError(f"gemm: aux= must be a C-contiguous matrix of {expected}, of dtype {dtype!r}; see aux_for")


refused: set[Problem] = set()
"""Products that cuBLASLt was found not to take; it is not asked again."""
