"""Columns of numbers from CSV files. Every cell is checked: what is wrong is named by file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import DataError
from .idx import GZIP_MAGIC

__all__ = ["read_csv"]

Rows = list[tuple[int, list[str]]]


def read_csv(
    path: str | os.PathLike[str],
    columns: str | int | Sequence[str | int] | None = None,
    dtype: DTypeLike = "float32",
    *,
    header: bool = True,
    delimiter: str = ",",
    missing: float | None = None,
) -> NDArray[Any]:
    r"""Read columns of a CSV file, gzipped or not, as an array of one dtype.

    Parameters
    ----------
    path : str or path-like
        UTF-8 text. Cells may be quoted; blank lines are skipped.
    columns : str, int, or a sequence of them, optional
        By name, or by number from 0. A single one gives shape (rows,), several (rows, columns); all if not given.
    dtype : dtype
        Real, integer, bool (0 and 1) or `str`. A cell that the dtype cannot hold is an error: ``2.5`` as an integer, ``1e99``
        as float32.
    header : bool
        Whether the first line holds the columns' names.
    delimiter : str
    missing : float, optional
        What an empty cell stands for, `nan` say; an error without it.

    Raises
    ------
    DataError
        If there is no such column, a row is shorter or longer than the first, a cell cannot be read, or there are no rows.

    Examples
    --------
    >>> import os, tempfile
    >>> from gpugrad.data import read_csv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "iris.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("length,width,kind\n5.1,3.5,0\n4.9,3.0,2\n")
    ...     x = read_csv(path, ["length", "width"])
    ...     y = read_csv(path, "kind", dtype="int64")
    >>> x, y
    (array([[5.1, 3.5],
           [4.9, 3. ]], dtype=float32), array([0, 2]))
    """
    name, kind = os.fspath(path), np.dtype(dtype)
    if kind.kind not in "biufU":
        raise DataError(f"{name}: asked for dtype {kind}, expected real numbers, integers, bool or str")
    rows = _rows(name, delimiter)
    names = rows.pop(0)[1] if header and rows else []
    if not rows:
        raise DataError(f"{name}: no rows of data" + (" below the header" if names else ""))
    width = len(names) if header else len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(f"{name}: line {line} has {len(cells)} cells, expected {width} as in the first line")
    several = [columns] if isinstance(columns, str | int) else range(width) if columns is None else list(columns)
    numbers = [_number(name, column, names, width) for column in several]
    found = [_column(name, rows, i, names[i] if names else f"{i}", kind, missing) for i in numbers]
    if isinstance(columns, str | int):
        return found[0]
    return np.stack(found, axis=1) if found else np.empty((len(rows), 0), kind)


def _rows(name: str, delimiter: str) -> Rows:
    """All that are not blank, with the number of the line in which each ends."""
    with open(name, "rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        try:
            text = io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if compressed else raw, "utf-8-sig", newline="")
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            return [(reader.line_num, row) for row in _next_rows(name, reader) if row]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}: truncated or damaged gzip stream: {error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: not UTF-8 text: {error}") from error


def _next_rows(name: str, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{name}: line {reader.line_num}: {error}") from error


def _number(name: str, column: Any, names: list[str], width: int) -> int:
    """Where a column is."""
    if isinstance(column, str):
        if names.count(column) != 1:
            how = "several columns" if column in names else "no column"
            raise DataError(f"{name}: {how} named {column!r}; it has {', '.join(map(repr, names)) or 'no header'}")
        return names.index(column)
    if isinstance(column, bool) or not isinstance(column, int | np.integer) or not 0 <= column < width:
        raise DataError(f"{name}: no column {column!r}; it has columns 0 to {width - 1}")
    return int(column)


def _column(name: str, rows: Rows, index: int, title: str, kind: np.dtype[Any], missing: float | None) -> NDArray[Any]:
    cells = [cells[index] for _, cells in rows]
    if kind.kind == "U":
        return np.array(cells)
    if missing is not None:
        cells = [cell if cell.strip() else repr(missing) for cell in cells]
    try:
        return _converted(cells, kind)
    except (ValueError, OverflowError):
        pass
    for (line, _), cell in zip(rows, cells, strict=True):  # found again, one by one, on the way to the error
        try:
            _converted([cell], kind)
        except (ValueError, OverflowError):
            hint = "; say what an empty cell stands for with missing=" if not cell.strip() else ""
            raise DataError(f"{name}: line {line}, column {title!r}: found {cell!r}, expected {kind}{hint}") from None
    raise AssertionError("a column was refused, and each of its cells taken")


def _converted(cells: list[str], kind: np.dtype[Any]) -> NDArray[Any]:
    if any("_" in cell for cell in cells):  # Python would take 1_000
        raise ValueError
    if kind.kind in "iub":
        numbers = [int(cell) for cell in cells]
        if kind.kind == "b" and not {0, 1}.issuperset(numbers):
            raise ValueError
        return np.array(numbers, kind)  # NumPy refuses what does not fit
    values = np.array([float(cell) for cell in cells])
    with np.errstate(over="ignore"):
        narrow = values.astype(kind)
    if (np.isinf(narrow) & np.isfinite(values)).any():
        raise OverflowError
    return narrow
