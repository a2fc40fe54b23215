"""The IDX format, in which MNIST and its relatives are published.

A file is two zero bytes, a dtype code, the number of dimensions, one big-endian uint32 size per dimension, and the
data, big-endian, in C order; it may be gzipped. Downloads break off, so nothing in the header is believed before the
data has been seen.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..serialization import atomic_write

__all__ = ["read_idx", "write_idx"]

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("uint8"),
    0x09: np.dtype("int8"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.name: code for code, dtype in _DTYPES.items()}

GZIP_MAGIC = b"\x1f\x8b"
_MAX_NDIM = 64  # NumPy's limit
_CHUNK = 1 << 20

Stream = BinaryIO | gzip.GzipFile


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, gzipped or not (its first bytes tell, not its name).

    Memory grows with what the file holds, not with what its header promises.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    numpy.ndarray
        Of the file's shape; uint8, int8, int16, int32, float32 or float64 in native byte order, C-contiguous, writable.

    Raises
    ------
    DataError
        If the file is truncated, longer than its header says, not an IDX file, or a damaged gzip stream. (Zero bytes
        after the end of a gzip stream are padding, by gzip's own rule.)
    OSError
        If the file does not exist or cannot be read.

    Notes
    -----
    The format is described at the foot of http://yann.lecun.com/exdb/mnist/.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.data import read_idx, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "numbers.gz")
    ...     write_idx(path, np.array([[1, 2], [3, 4]], "int16"), compress=True)
    ...     read_idx(path)
    array([[1, 2],
           [3, 4]], dtype=int16)
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            return _read_array(name, file, os.fstat(file.fileno()).st_size)
        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                return _read_array(name, stream, None)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}: truncated or damaged gzip stream: {error}") from error


def write_idx(path: str | os.PathLike[str], array: ArrayLike, compress: bool = False) -> None:
    """Write an array as an IDX file, atomically: a failure leaves what was at `path` before.

    Parameters
    ----------
    path : str or path-like
        The file to write. No ending is added. The folder must exist.
    array : array-like
        Of any shape; uint8, int8, int16, int32, float32 or float64, in any byte order and memory layout.
    compress : bool
        Whether to gzip the file. The same array always gives the same bytes: no name or time is stored.

    Raises
    ------
    DataError
        If the format has no code for the array's dtype, or a dimension does not fit 32 bits; nothing is written.
    OSError
        If the file cannot be written.

    Notes
    -----
    The format is described at the foot of http://yann.lecun.com/exdb/mnist/.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.data import write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels-idx1-ubyte")
    ...     write_idx(path, np.array([7, 2, 1], "uint8"))
    ...     with open(path, "rb") as file:
    ...         file.read().hex(" ")
    '00 00 08 01 00 00 00 03 07 02 01'
    """
    values = np.asarray(array)
    code = _CODES.get(values.dtype.name)
    if code is None:
        raise DataError(
            f"{os.fspath(path)}: an IDX file cannot hold {values.dtype}; convert with astype() to one of {', '.join(_CODES)}"
        )
    if any(size >= 2**32 for size in values.shape):
        raise DataError(f"{os.fspath(path)}: an IDX file cannot hold shape {values.shape}: sizes must be below 2**32")
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    body = np.asarray(values, dtype=_DTYPES[code], order="C").reshape(-1).view(np.uint8).data
    with atomic_write(path) as file:
        if not compress:
            file.write(header)
            file.write(body)
            return
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
            stream.write(header)
            stream.write(body)


def _read_array(name: str, stream: Stream, size: int | None) -> NDArray[Any]:
    """An array from the start of `stream`, which must end with it. `size` is the stream's length, if that is known."""
    dtype, shape = _read_header(name, stream)
    promised = math.prod(shape) * dtype.itemsize
    what = f"the header promises {dtype.name} of shape {shape}, that is {promised} bytes of data"
    if math.prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:  # NumPy refuses such shapes even when empty
        raise DataError(f"{name}: damaged: {what}; expected sizes that fit in memory")
    data = read_up_to(stream, promised)
    if len(data) < promised:
        raise DataError(f"{name}: truncated: {what}, but only {len(data)} bytes follow the header")
    if stream.read(1):
        extra = "more" if size is None else f"{size - 4 - 4 * len(shape) - promised} more"
        raise DataError(f"{name}: trailing bytes: {what}, but {extra} follow; expected the end of the file")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(name: str, stream: Stream) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if magic[:2] != b"\0\0"[: len(magic)]:
        raise DataError(f"{name}: not an IDX file: it starts with the bytes {magic[:2].hex(' ')}, expected 00 00")
    if len(magic) < 4:
        raise DataError(f"{name}: truncated: found {len(magic)} bytes, expected the 4 bytes of an IDX magic number")
    code, ndim = magic[2], magic[3]
    if code not in _DTYPES:
        known = ", ".join(f"0x{c:02X} ({d.name})" for c, d in _DTYPES.items())
        raise DataError(f"{name}: unknown dtype code 0x{code:02X}, expected one of {known}")
    if ndim > _MAX_NDIM:
        raise DataError(f"{name}: damaged: found {ndim} dimensions, expected at most {_MAX_NDIM}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(
            f"{name}: truncated: found {len(sizes)} bytes of dimension sizes, expected {4 * ndim} for {ndim} dimensions"
        )
    return _DTYPES[code], struct.unpack(f">{ndim}I", sizes)


def read_up_to(stream: Stream, count: int) -> bytearray:
    """At most `count` bytes, in chunks: asking for all at once would allocate what a damaged header says."""
    data = bytearray()
    while len(data) < count and (chunk := stream.read(min(_CHUNK, count - len(data)))):
        data += chunk
    return data
