"""CSV and NPZ files: what is read, and what is refused and how. Every file is written here."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpugrad.data import read_csv, read_npz
from gpugrad.errors import DataError

# --- CSV

TABLE = 'name,"x, m",y\nanna,1.5,3\n"b ""c""",-2e1,4\r\n\n'


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.encode())
    return path


@pytest.mark.parametrize(
    ("columns", "dtype", "expected"),
    [
        ("x, m", "float32", np.array([1.5, -20], "float32")),
        (["y", "x, m"], "float64", np.array([[3, 1.5], [4, -20]])),
        ([2, 1], "float16", np.array([[3, 1.5], [4, -20]], "float16")),
        ("y", "int64", np.array([3, 4])),
        (2, "uint8", np.array([3, 4], "uint8")),
        ("name", str, np.array(["anna", 'b "c"'])),
        ([], "float32", np.empty((2, 0), "float32")),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_read_csv(table: Path, columns: Any, dtype: Any, expected: np.ndarray, compress: bool) -> None:
    if compress:
        table.write_bytes(gzip.compress(table.read_bytes()))
    found = read_csv(table, columns, dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_read_csv_without_a_header_and_with_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_text("\ufeff1;0\n ;1\n", encoding="utf-8")
    np.testing.assert_array_equal(read_csv(path, header=False, delimiter=";", missing=np.nan), [[1, 0], [np.nan, 1]])
    np.testing.assert_array_equal(read_csv(path, 0, "int8", header=False, delimiter=";", missing=-1), [1, -1])
    np.testing.assert_array_equal(read_csv(path, 1, bool, header=False, delimiter=";"), [False, True])


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4))))
def test_read_csv_reads_what_python_writes(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("csv") / "array"
    path.write_text("\n".join(",".join(map(repr, row)) for row in array.tolist()))
    np.testing.assert_array_equal(read_csv(path, dtype="float64", header=False), array)


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (b"", {}, "no rows of data"),
        (b"a,b\n", {}, "no rows of data below the header"),
        (b"a,b\n1,2\n3\n", {}, "line 3 has 1 cells, expected 2"),
        (b"a,b\n1,2\n3,4,5\n", {"columns": "a"}, "line 3 has 3 cells, expected 2"),
        (b"a,b\n1,2\n", {"columns": ["a", "c"]}, "no column named 'c'; it has 'a', 'b'"),
        (b"a,a\n1,2\n", {"columns": "a"}, "several columns named 'a'"),
        (b"1,2\n", {"columns": "a", "header": False}, "no column named 'a'; it has no header"),
        (b"a,b\n1,2\n", {"columns": 2}, "no column 2; it has columns 0 to 1"),
        (b"a,b\n1,2\n", {"columns": -1}, "no column -1"),
        (b"a,b\n1,2\n1,x\n", {}, "line 3, column 'b': found 'x', expected float32"),
        (b"a,b\n1,2\n1,\n", {}, "line 3, column 'b': found '', expected float32; say what an empty cell stands for"),
        (b"a\n1\n2.5\n", {"dtype": "int64"}, "line 3, column 'a': found '2.5', expected int64"),
        (b"a\n300\n", {"dtype": "uint8"}, "found '300', expected uint8"),
        (b"a\n-1\n", {"dtype": "uint8"}, "found '-1', expected uint8"),
        (b"a\n2\n", {"dtype": bool}, "found '2', expected bool"),
        (b"a\n1e99\n", {}, "found '1e99', expected float32"),
        (b"a\n1_000\n", {}, "found '1_000', expected float32"),
        (b"a\n1\n", {"dtype": complex}, "asked for dtype complex128"),
        (b'a,b\n1,"2\n3,4\n', {}, "unexpected end of data"),
        (b"a,b\n1,\xff\n", {}, "not UTF-8 text"),
        (b"a\n\x00\n", {}, r"found '\x00', expected float32"),
        (gzip.compress(b"a\n" + b"1\n" * 99)[:-9], {}, "truncated or damaged gzip stream"),
    ],
)
def test_read_csv_refuses(tmp_path: Path, content: bytes, arguments: dict[str, Any], words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.csv: .*{re.escape(words)}"):
        read_csv(path, **arguments)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_csv, read_npz):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read(tmp_path / "nowhere")


# --- NPZ


@given(
    hnp.arrays(
        st.sampled_from(["float32", ">f8", "int16", ">u4", "bool", "complex64"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
    st.booleans(),
)
def test_read_npz_reads_what_numpy_writes(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, compress: bool, fortran: bool
) -> None:
    path = tmp_path_factory.mktemp("npz") / "set.npz"
    written = np.asarray(array, order="F" if fortran else "C")
    (np.savez_compressed if compress else np.savez)(path, x=written, other=np.arange(3))
    found = read_npz(path)
    assert list(found) == ["x", "other"]
    assert found["x"].dtype == array.dtype.newbyteorder("=")
    assert found["x"].shape == array.shape
    assert found["x"].tobytes() == array.astype(found["x"].dtype).tobytes()
    assert found["x"].flags.writeable
    assert list(read_npz(path, ["other"])) == ["other"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.arange(6.0).reshape(2, 3), y=np.array([1, 2]), n=np.array([-1, 2]))
    return path


def test_read_npz_casts_within_a_kind(archive: Path) -> None:
    found = read_npz(archive, {"y": "uint8", "x": "float32"})
    assert [(name, array.dtype.name) for name, array in found.items()] == [("y", "uint8"), ("x", "float32")]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x", "z", "w"], "no arrays named z, w; it holds x, y, n"),
        ("z", "no arrays named z"),
        ({"x": "int64"}, "array 'x' is of dtype float64, expected int64"),
        ({"y": "bool"}, "array 'y' is of dtype int64, expected bool"),
        ({"n": "uint8"}, "array 'n' holds int64 from -1 to 2, which uint8 cannot"),
    ],
)
def test_read_npz_refuses_what_is_not_as_asked(archive: Path, names: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"set\.npz: {re.escape(words)}"):
        read_npz(archive, names)


def test_read_npz_refuses_every_truncation_and_every_changed_byte_of_the_data(archive: Path) -> None:
    content = archive.read_bytes()
    for length in range(len(content)):
        archive.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"set\.npz: "):
            read_npz(archive)
    start = content.index(np.arange(6.0).tobytes())
    for place in range(start, start + 48):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"set\.npz: .*CRC"):
            read_npz(archive)


def test_read_npz_survives_any_changed_byte(archive: Path) -> None:
    """What is read from a damaged file is right, or refused by name."""
    content = archive.read_bytes()
    whole, named = read_npz(archive), []
    for place in range(len(content)):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = read_npz(archive)
        except DataError as error:
            named.append("set.npz: " in str(error))
        else:
            assert [array.tobytes() for array in found.values()] == [array.tobytes() for array in whole.values()]
    assert len(named) > 300
    assert all(named)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def promise(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(np.array([{}, None]), allow_pickle=True), "of dtype object, expected numbers; pickled objects are never read"),
        (npy(np.array(["a"])), "of dtype <U1, expected numbers"),
        (npy(np.zeros(2, [("a", "f4")])), "expected numbers"),
        (npy(np.zeros(9))[:-8], "truncated: its header promises float64 of shape (9,), that is 72 bytes, but only 64 follow"),
        (npy(np.zeros(9)) + b"\0", "trailing bytes"),
        (b"", "truncated, damaged, or not an array"),
        (b"hello, world", "truncated, damaged, or not an array"),
        (b"\x93NUMPY\x09\x00" + bytes(64), "format"),
        (promise("(-8,)"), "damaged: its header promises"),
        (promise("(9999999999, 9999999999, 0)"), "damaged: its header promises"),
    ],
)
def test_read_npz_refuses_members(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"bad\.npz: array 'x'.*{re.escape(words)}"):
        read_npz(npz(tmp_path / "bad.npz", x=content))


def test_read_npz_does_not_allocate_what_a_header_promises(tmp_path: Path) -> None:
    path = npz(tmp_path / "bad.npz", x=promise("(1000000000,)"))
    tracemalloc.start()
    with pytest.raises(DataError, match="8000000000 bytes, but only 64 follow"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_read_npz_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(npy(np.zeros(3)))
    with pytest.raises(DataError, match=r"bad\.npz: a single array"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", npy(np.zeros(1)))
        file.writestr("x", npy(np.zeros(2)))
    with pytest.raises(DataError, match="two arrays have one name"):
        read_npz(path)
