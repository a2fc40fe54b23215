"""IDX files and MNIST: what is read, and what is refused and how."""

from __future__ import annotations

import gzip
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpugrad.data import (
    load_mnist,
    read_idx,
    write_idx,
)
from gpugrad.errors import DataError

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file put together by hand, so that the reader is not only tested against our own writer."""
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    return bytes([0, 0, IDX_CODES[array.dtype.name], array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


# --- IDX: what is read


@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("compress", [False, True])
def test_read_idx_reads_each_dtype_code(tmp_path: Path, dtype: str, compress: bool) -> None:
    expected = np.arange(-3, 3).astype(dtype).reshape(2, 3)
    content = idx_bytes(expected)
    path = tmp_path / "misleading.gz"  # the name says nothing
    path.write_bytes(gzip.compress(content) if compress else content)
    array = read_idx(path)
    np.testing.assert_array_equal(array, expected)
    assert array.dtype == expected.dtype
    assert array.dtype.isnative
    assert array.flags.c_contiguous
    array[...] = 0  # writable
    assert not array.any()


@given(
    array=st.sampled_from(list(IDX_CODES)).flatmap(
        lambda dtype: hnp.arrays(
            st.sampled_from([np.dtype(dtype), np.dtype(dtype).newbyteorder(">")]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        )
    ),
    compress=st.booleans(),
    transpose=st.booleans(),
)
def test_write_idx_and_read_idx_are_inverse(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, compress: bool, transpose: bool
) -> None:
    path = tmp_path_factory.mktemp("idx") / "array"
    written = array.T if transpose else array
    write_idx(path, written, compress)
    read = read_idx(path)
    assert read.shape == written.shape
    assert read.dtype == written.dtype.newbyteorder("=")
    assert read.tobytes() == written.astype(read.dtype).tobytes()  # bytes, so that NaN and -0.0 count


def test_write_idx_matches_the_format_byte_for_byte(tmp_path: Path) -> None:
    array = np.array([[1, -2, 300]], "int16")
    write_idx(tmp_path / "plain", array)
    write_idx(tmp_path / "packed", array, compress=True)
    content = bytes.fromhex("00000b02 00000001 00000003 0001 fffe 012c")
    assert (tmp_path / "plain").read_bytes() == content
    assert gzip.decompress((tmp_path / "packed").read_bytes()) == content


def test_compressed_idx_does_not_depend_on_name_or_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "a", np.zeros(3, "uint8"), compress=True)
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_idx(tmp_path / "b", np.zeros(3, "uint8"), compress=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# --- IDX: what is refused


def refused(path: Path, content: bytes) -> str:
    """The message with which `content` is refused; it names the file."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_idx_truncated_at_any_byte_is_refused(tmp_path: Path) -> None:
    content = idx_bytes(np.arange(6, dtype="int16").reshape(2, 3))
    for end in range(len(content)):
        message = refused(tmp_path / "x", content[:end])
        assert "truncated" in message, end
        assert "expected" in message or "promises" in message, end


def test_gzipped_idx_truncated_at_any_byte_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(idx_bytes(np.arange(6, dtype="int16").reshape(2, 3)))
    assert "truncated" in refused(tmp_path / "x", b"")
    assert "starts with the bytes 1f, expected 00 00" in refused(tmp_path / "x", content[:1])
    for end in range(2, len(content)):
        assert "truncated or damaged gzip stream" in refused(tmp_path / "x", content[:end]), end


def test_gzip_of_a_truncated_idx_is_refused_at_any_byte(tmp_path: Path) -> None:
    content = idx_bytes(np.arange(3, dtype="float32"))
    for end in range(len(content)):
        assert ": truncated:" in refused(tmp_path / "x", gzip.compress(content[:end])), end


def test_truncated_idx_says_what_was_found_and_expected(tmp_path: Path) -> None:
    content = idx_bytes(np.zeros((2, 3), "int32"))
    promise = "promises int32 of shape (2, 3), that is 24 bytes of data, but only 23 bytes follow the header"
    assert promise in refused(tmp_path / "x", content[:-1])
    assert promise in refused(tmp_path / "x", gzip.compress(content[:-1]))
    assert "found 3 bytes, expected the 4 bytes of an IDX magic" in refused(tmp_path / "x", content[:3])
    assert "found 7 bytes of dimension sizes, expected 8" in refused(tmp_path / "x", content[:11])


def test_damaged_gzip_streams_are_refused(tmp_path: Path) -> None:
    content = gzip.compress(idx_bytes(np.arange(200, dtype="uint8")))
    flipped = bytearray(content)
    flipped[-8] ^= 1  # the checksum
    assert "CRC" in refused(tmp_path / "x", bytes(flipped))
    flipped = bytearray(content)
    flipped[10] ^= 0xFF  # the first deflate block
    assert "damaged gzip stream" in refused(tmp_path / "x", bytes(flipped))
    flipped = bytearray(content)
    flipped[2] = 7  # the method
    assert "damaged gzip stream" in refused(tmp_path / "x", bytes(flipped))
    assert "damaged gzip stream" in refused(tmp_path / "x", content + b"junk")


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    content = idx_bytes(np.zeros((2, 2), "uint8"))
    assert "shape (2, 2), that is 4 bytes of data, but 3 more follow" in refused(tmp_path / "x", content + b"abc")
    assert "trailing bytes" in refused(tmp_path / "x", gzip.compress(content + b"\0"))
    assert "trailing bytes" in refused(tmp_path / "x", gzip.compress(content) + gzip.compress(b"more"))


def test_wrong_magic_and_dtype_code_are_refused(tmp_path: Path) -> None:
    assert "not an IDX file: it starts with the bytes 89 50, expected 00 00" in refused(tmp_path / "x", b"\x89PNG....")
    assert "not an IDX file" in refused(tmp_path / "x", b"\x00\x01\x08\x01\x00\x00\x00\x00")
    message = refused(tmp_path / "x", b"\x00\x00\x0a\x01\x00\x00\x00\x00")
    assert "unknown dtype code 0x0A, expected one of 0x08 (uint8), 0x09 (int8), 0x0B (int16)" in message
    assert "found 65 dimensions, expected at most 64" in refused(tmp_path / "x", b"\0\0\x08\x41" + bytes(260))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_absurd_sizes_are_refused_without_allocating(tmp_path: Path, pack: object) -> None:
    header = bytes([0, 0, 0x0E, 2]) + struct.pack(">II", 2**32 - 1, 2**20)
    tracemalloc.start()
    try:
        message = refused(tmp_path / "x", pack(header + bytes(100)))  # type: ignore[operator]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "shape (4294967295, 1048576), that is 36028797010575360 bytes of data, but only 100 bytes" in message
    assert peak < 10 << 20


def test_gzipped_file_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_bytes(np.zeros(4, "uint8")) + bytes(64 << 20))
    tracemalloc.start()
    try:
        assert "trailing bytes" in refused(tmp_path / "x", bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


def test_shape_that_overflows_although_empty_is_refused(tmp_path: Path) -> None:
    header = bytes([0, 0, 0x08, 4]) + struct.pack(">IIII", 0, *[2**32 - 1] * 3)
    assert "expected sizes that fit in memory" in refused(tmp_path / "x", header)


def test_missing_idx_file_is_an_os_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "U3", "float16"])
def test_write_idx_refuses_other_dtypes_and_writes_nothing(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(DataError, match=rf"x\.idx: an IDX file cannot hold {re.escape(str(np.dtype(dtype)))}.*uint8, int8"):
        write_idx(tmp_path / "x.idx", np.zeros(2, dtype))
    assert not list(tmp_path.iterdir())


def test_write_idx_refuses_sizes_beyond_32_bits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(0, 4294967296\): sizes must be below 2\*\*32"):
        write_idx(tmp_path / "x", np.empty((0, 2**32), "uint8"))


@pytest.mark.parametrize("compress", [False, True])
def test_failed_write_idx_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    path = tmp_path / "x"
    write_idx(path, np.arange(3, dtype="uint8"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_idx(path, np.zeros(9, "uint8"), compress)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    np.testing.assert_array_equal(read_idx(path), [0, 1, 2])


# --- MNIST


def write_mnist(folder: Path, dotted: bool = False, compress: bool = False) -> None:
    images = np.arange(3 * 28 * 28).astype("uint8").reshape(3, 28, 28)
    for part, count in (("train", 3), ("t10k", 2)):
        for kind, array in (("images-idx3", images[:count]), ("labels-idx1", np.array([9, 0, 4], "uint8")[:count])):
            name = f"{part}-{kind.replace('-', '.') if dotted else kind}-ubyte"
            write_idx(folder / (name + ".gz" * compress), array, compress)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_load_mnist_finds_the_four_files(tmp_path: Path, dotted: bool, compress: bool) -> None:
    write_mnist(tmp_path, dotted, compress)
    mnist = load_mnist(tmp_path)
    assert mnist._fields == ("train_images", "train_labels", "test_images", "test_labels")
    assert mnist.train_images.shape == (3, 28, 28)
    np.testing.assert_array_equal(mnist.test_images, mnist.train_images[:2])
    np.testing.assert_array_equal(mnist.train_labels, [9, 0, 4])
    np.testing.assert_array_equal(mnist.test_labels, [9, 0])


def test_load_mnist_lists_all_missing_files(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}: no such files: train-labels-idx1-ubyte, t10k-images-idx3-ubyte (" in message
    assert "train-images" not in message
    assert "t10k-labels" not in message


def test_load_mnist_refuses_mislabelled_files(tmp_path: Path) -> None:
    def message(name: str, array: np.ndarray) -> str:
        write_mnist(tmp_path)
        write_idx(tmp_path / name, array)
        with pytest.raises(DataError) as caught:
            load_mnist(tmp_path)
        return str(caught.value)

    labels, images = "train-labels-idx1-ubyte", "train-images-idx3-ubyte"
    text = message(labels, np.zeros((3, 28, 28), "uint8"))
    assert f"{labels}: found uint8 of shape (3, 28, 28) (an images file under the labels' name?), expected labels" in text
    text = message(images, np.zeros(3, "uint8"))
    assert f"{images}: found uint8 of shape (3,) (a labels file under the images' name?), expected images: uint8" in text
    assert "found int32 of shape (3,), expected labels: uint8" in message(labels, np.zeros(3, "int32"))
    assert "found float32 of shape (3, 28, 28), expected images" in message(images, np.zeros((3, 28, 28), "float32"))
    text = message(labels, np.zeros(2, "uint8"))
    assert re.search(rf"{images} holds 3 images, but \S+{labels} holds 2 labels; expected equal counts", text)
    assert "found label 10 at position 2, expected 0 to 9" in message(labels, np.array([1, 9, 10], "uint8"))
    text = message("t10k-images-idx3-ubyte", np.zeros((2, 28, 27), "uint8"))
    assert re.search(rf"t10k-images-idx3-ubyte: images of \(28, 27\) pixels, expected \(28, 28\) as in \S+{images}", text)


def test_load_mnist_names_the_damaged_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: truncated"):
        load_mnist(tmp_path)
