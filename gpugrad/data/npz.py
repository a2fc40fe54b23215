"""NumPy's NPZ format: a zip archive of arrays, read without unpickling anything."""

from __future__ import annotations

import math
import os
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from ..errors import DataError
from .idx import read_up_to

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["read_npz"]

_MORE = 0xFFFF  # that many members, or more


def read_npz(
    path: str | os.PathLike[str], names: Sequence[str] | Mapping[str, DTypeLike] | None = None
) -> dict[str, NDArray[Any]]:
    """Read arrays from an NPZ file, as `numpy.savez` and `numpy.savez_compressed` write it (`numpy.load`).

    Nothing is unpickled, every array's checksum is compared, and memory grows with what the file holds, not with what its
    headers promise.

    Parameters
    ----------
    path : str or path-like
    names : sequence of str, or mapping of str to dtype, optional
        Which arrays to read, in this order; all if not given. An array is cast to the dtype given for it if that is of the
        same kind or a wider one, as float32 is for float64, or if both are of integers and the values fit.

    Raises
    ------
    DataError
        If the file is truncated, damaged or not an NPZ file, lacks a name, or holds what is not an array of numbers.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.data import read_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "set.npz")
    ...     np.savez(path, x=np.ones((2, 3)), y=np.array([0, 1]))
    ...     arrays = read_npz(path, {"x": "float32", "y": "int64"})
    >>> arrays["x"].dtype, arrays["y"]
    (dtype('float32'), array([0, 1]))
    """
    from zipfile import BadZipFile, ZipFile  # a slow import, which few programs need

    name = os.fspath(path)
    with open(name, "rb") as file:
        if file.read(6) == npy.MAGIC_PREFIX:
            raise DataError(f"{name}: a single array (an NPY file), expected an NPZ file; read it with numpy.load")
        file.seek(0)
        try:
            with ZipFile(file) as archive:
                return _arrays(name, archive, names)
        # zipfile answers damage with whatever its parts raise: a seek out of range, a method that it does not know
        except (BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{name}: truncated, damaged, or not an NPZ file: {error}") from error


def _arrays(name: str, archive: ZipFile, names: Any) -> dict[str, NDArray[Any]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise DataError(f"{name}: damaged: two arrays have one name")
    promised = _promised(archive)
    if promised not in (len(members), _MORE):
        raise DataError(f"{name}: damaged: its directory lists {len(members)} arrays, and ends in saying {promised}")
    wanted = list(members if names is None else [names] if isinstance(names, str) else names)
    if missing := [array for array in wanted if array not in members]:
        raise DataError(f"{name}: no arrays named {', '.join(missing)}; it holds {', '.join(members) or 'none'}")
    found = {array: _array(f"{name}: array {array!r}", archive, members[array]) for array in wanted}
    if isinstance(names, Mapping):
        for array, dtype in names.items():
            found[array] = _cast(f"{name}: array {array!r}", found[array], np.dtype(dtype))
    return found


def _promised(archive: ZipFile) -> int:
    """The number of members in the archive's last record, which zipfile does not compare with what it found."""
    assert archive.fp is not None
    archive.fp.seek(-22 - len(archive.comment), os.SEEK_END)
    return int(struct.unpack("<10xH", archive.fp.read(12))[0])


def _cast(what: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    cast = array.astype(dtype, copy=False)
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        if not np.array_equal(cast, array):
            raise DataError(f"{what} holds {array.dtype} from {array.min()} to {array.max()}, which {dtype} cannot")
    elif not np.can_cast(array.dtype, dtype, "same_kind"):
        raise DataError(f"{what} is of dtype {array.dtype}, expected {dtype}")
    return cast


def _array(what: str, archive: ZipFile, info: ZipInfo) -> NDArray[Any]:
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(what, stream)  # type: ignore[arg-type]  # ZipExtFile reads as files do
        if dtype.kind not in "biufc":
            raise DataError(f"{what}: of dtype {dtype}, expected numbers; pickled objects are never read")
        promised = math.prod(shape) * dtype.itemsize
        says = f"its header promises {dtype} of shape {shape}, that is {promised} bytes"
        if min(shape, default=0) < 0 or math.prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:
            raise DataError(f"{what}: damaged: {says}")
        data = read_up_to(stream, promised)  # type: ignore[arg-type]
        if len(data) < promised:
            raise DataError(f"{what}: truncated: {says}, but only {len(data)} follow")
        if stream.read(1):  # at the end of a member, its checksum is compared
            raise DataError(f"{what}: trailing bytes: {says}, but more follow")
    array = np.frombuffer(data, dtype).reshape(shape[::-1] if fortran else shape)
    return (array.T if fortran else array).astype(dtype.newbyteorder("="), copy=False)


def _header(what: str, stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:  # version 3 differs in the names of fields, which arrays of numbers have not
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise DataError(f"{what}: truncated, damaged, or not an array: {error}") from error
    return shape, fortran, dtype
