"""IDX files, data sets and loaders: what comes back, and what is refused and how."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpugrad.data import (
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    collate,
    load_mnist,
    random_split,
    read_idx,
    write_idx,
)
from gpugrad.errors import DataError
from gpugrad.ops.random import manual_seed
from gpugrad.tensor import Tensor, asarray

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


# --- TensorDataset


def test_tensor_dataset_indexing() -> None:
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    dataset = TensorDataset(x, asarray(y))
    assert len(dataset) == 4
    assert isinstance(dataset, Dataset)
    for index in (1, -1, np.int64(2), slice(1, 3), slice(None, None, -1), [0, 3], np.array([2, 2, -4]), []):
        row, label = dataset[index]
        expected = np.array(index, int) if isinstance(index, list) else index
        np.testing.assert_array_equal(row, x[expected])
        assert isinstance(label, Tensor)
        np.testing.assert_array_equal(label.numpy(), y[expected])
    np.testing.assert_array_equal(dataset[asarray(np.array([3, 1]))][0], x[[3, 1]])


def test_tensor_dataset_ends_when_iterated() -> None:
    assert [value for (value,) in TensorDataset(np.array([5, 6]))] == [5, 6]  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [4, -5, [0, 4], np.array([-5])])
def test_tensor_dataset_index_out_of_range(index: object) -> None:
    with pytest.raises(IndexError, match=r"index (4|-5) is out of range for a data set of length 4"):
        TensorDataset(np.zeros(4))[index]  # type: ignore[index]


@pytest.mark.parametrize("index", [1.0, "a", None, (0, 1), [1.5], np.array([[0]]), np.zeros(4, bool), True, [True, False]])
def test_tensor_dataset_refuses_other_indices(index: object) -> None:
    with pytest.raises(DataError, match="expected an integer, a slice or a 1-D integer array"):
        TensorDataset(np.zeros(4))[index]  # type: ignore[index]


def test_boolean_mask_is_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"use numpy\.flatnonzero\(mask\)"):
        Subset(TensorDataset(np.zeros(2)), np.array([True, False]))


def test_tensor_dataset_refuses_bad_arrays() -> None:
    with pytest.raises(DataError, match="lengths 3, 4, 3, expected equal lengths"):
        TensorDataset(np.zeros(3), np.zeros((4, 2)), asarray(np.zeros(3)))
    with pytest.raises(DataError, match="no arrays, expected at least one"):
        TensorDataset()
    with pytest.raises(DataError, match=r"argument 1 has no dimensions, expected shape \(length, ...\)"):
        TensorDataset(np.zeros(3), np.array(3))
    with pytest.raises(DataError, match=r"argument 0 is of type list.*numpy\.asarray"):
        TensorDataset([1, 2, 3])
    with pytest.raises(TypeError, match="numbers"):
        TensorDataset(np.array(["a", "b"]))


# --- Subset, random_split


class Squares:
    """A data set that is not made of arrays."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        assert isinstance(index, int)
        if not 0 <= index < self.length:
            raise IndexError(index)
        return np.full(2, index, "float32"), index**2


def test_subset_picks_samples() -> None:
    subset = Subset(TensorDataset(np.arange(10) * 10), [7, -1, 7])
    assert len(subset) == 3
    assert subset[1] == (90,)
    assert subset[-1] == (70,)
    np.testing.assert_array_equal(subset[1:][0], [90, 70])
    np.testing.assert_array_equal(subset[[0, 2]][0], [70, 70])
    assert Subset(Squares(5), [4, -2])[1][1] == 9
    assert [value for (value,) in subset] == [70, 90, 70]  # type: ignore[attr-defined]


def test_subset_refuses_bad_indices() -> None:
    with pytest.raises(IndexError, match="index 10 is out of range for a data set of length 10"):
        Subset(Squares(10), [0, 10])
    with pytest.raises(IndexError, match="index 3 is out of range for a data set of length 2"):
        Subset(Squares(10), [0, 1])[3]
    with pytest.raises(DataError, match="float64 of shape"):
        Subset(Squares(10), [0.5])  # type: ignore[list-item]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 2**70))
def test_random_split_by_lengths_is_a_partition(lengths: list[int], seed: int) -> None:
    dataset = Squares(sum(lengths))
    parts = random_split(dataset, lengths, seed)
    assert [len(part) for part in parts] == lengths
    together = np.concatenate([part.indices for part in parts])
    np.testing.assert_array_equal(np.sort(together), np.arange(sum(lengths)))
    again = random_split(dataset, lengths, seed)
    np.testing.assert_array_equal(together, np.concatenate([part.indices for part in again]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda x: sum(x) > 0.1), st.integers(0, 10**6))
def test_random_split_by_shares_leaves_nothing_out(weights: list[float], total: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    sizes = [len(part) for part in random_split(range(total), shares, seed=0)]
    assert sum(sizes) == total
    assert all(abs(size - total * share) <= 1 + 1e-6 for size, share in zip(sizes, shares, strict=True))


def test_random_split_depends_on_the_seed() -> None:
    first, second = (random_split(Squares(100), [100], seed)[0].indices for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(100))


def test_random_split_rounds_shares() -> None:
    def sizes(total: int, shares: list[float]) -> list[int]:
        return [len(part) for part in random_split(range(total), shares, seed=0)]

    assert sizes(100, [0.29, 0.71]) == [29, 71]  # 0.29 * 100 is 28.999999999999996
    assert sizes(10, [1 / 3, 1 / 3, 1 / 3]) == [3, 4, 3]
    assert sizes(4 * 10**6, [0.5, 0.5000005]) == [1999999, 2000001]  # a sum just above 1


def test_random_split_refuses_what_does_not_add_up() -> None:
    with pytest.raises(DataError, match=r"lengths \[3, 4\] with sum 7.*length, 10"):
        random_split(Squares(10), [3, 4], seed=0)
    with pytest.raises(DataError, match="none negative"):
        random_split(Squares(10), [11, -1], seed=0)
    with pytest.raises(DataError, match=r"shares \[0.5, 0.4\] with sum 0.9, expected shares in \[0, 1\], sum 1"):
        random_split(Squares(10), [0.5, 0.4], seed=0)
    with pytest.raises(DataError, match="expected shares"):
        random_split(Squares(10), [1.5, -0.5], seed=0)
    with pytest.raises(DataError, match="expected integers or floats"):
        random_split(Squares(10), ["10"], seed=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="seed: got -1, expected a non-negative integer"):
        random_split(Squares(10), [10], seed=-1)


# --- DataLoader


def labels_of(loader: DataLoader) -> list[list[int]]:
    """One epoch, as the last field of every batch."""
    return [batch[-1].numpy().tolist() for batch in loader]


def test_loader_batches_a_tensor_dataset_in_order() -> None:
    x, y = np.arange(10, dtype="float32").reshape(5, 2), np.arange(5, dtype="uint8")
    loader = DataLoader(TensorDataset(x, asarray(y)), batch_size=2)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert all(type(batch) is tuple and all(isinstance(field, Tensor) for field in batch) for batch in batches)
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in batches]), x)
    assert [b[1].shape for b in batches] == [(2,), (2,), (1,)]
    assert (batches[0][0].dtype, batches[0][1].dtype) == (np.float32, np.uint8)
    batches[0][0].data[...] = -1  # a batch is a copy: changing it leaves the data set alone
    np.testing.assert_array_equal(x[0], [0, 1])


@given(st.integers(0, 30), st.integers(1, 12), st.booleans(), st.booleans(), st.booleans())
def test_loader_covers_the_data_set(count: int, batch: int, shuffle: bool, drop: bool, plain: bool) -> None:
    dataset = TensorDataset(np.arange(count)) if plain else [int(i) for i in range(count)]
    loader = DataLoader(dataset, batch, shuffle, drop, seed=1)
    batches = labels_of(loader)
    assert len(batches) == len(loader) == (count // batch if drop else -(-count // batch))
    assert all(len(b) == batch for b in (batches if drop else batches[:-1]))
    seen = [number for batch_ in batches for number in batch_]
    assert set(seen) <= set(range(count))
    assert shuffle or seen == sorted(seen)
    assert len(seen) == len(set(seen)) == (count // batch * batch if drop else count)


def test_loader_does_not_depend_on_the_kind_of_data_set() -> None:
    fast = DataLoader(TensorDataset(np.stack([Squares(9)[i][0] for i in range(9)]), np.arange(9) ** 2), 4, True, seed=5)
    slow = DataLoader(Squares(9), 4, True, seed=5)
    for left, right in zip(fast, slow, strict=True):
        for a, b in zip(left, right, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_shuffle_is_reproducible_and_new_in_each_epoch() -> None:
    dataset = TensorDataset(np.arange(50))
    first, second = (DataLoader(dataset, 8, shuffle=True, seed=3) for _ in range(2))
    epochs = [labels_of(first) for _ in range(4)]
    assert epochs == [labels_of(second) for _ in range(4)]
    assert len({str(epoch) for epoch in epochs}) == 4
    assert epochs[0][0] != list(range(8))
    assert labels_of(DataLoader(dataset, 8, shuffle=True, seed=4)) != epochs[0]


def test_shuffle_is_numpys_philox() -> None:
    """The order is part of what a saved run relies on, so it is pinned to its definition."""
    loader = DataLoader(TensorDataset(np.arange(20)), 20, shuffle=True, seed=7)
    for epoch in range(2):
        bits = np.random.Philox(np.random.SeedSequence(7, spawn_key=(epoch,)))
        assert labels_of(loader) == [np.random.Generator(bits).permutation(20).tolist()]


def test_no_seed_is_a_seed_of_its_own() -> None:
    dataset = TensorDataset(np.arange(100))
    first, second = DataLoader(dataset, 100, shuffle=True), DataLoader(dataset, 100, shuffle=True)
    assert first.seed != second.seed
    second.load_state_dict(first.state_dict())
    assert labels_of(first) == labels_of(second)


def test_no_seed_follows_manual_seed() -> None:
    seeds = []
    for seed in (0, 0, 1):
        manual_seed(seed)
        seeds.append(DataLoader(TensorDataset(np.arange(3))).seed)
    assert seeds[0] == seeds[1] != seeds[2]


def test_breaking_off_starts_a_new_epoch_and_epochs_may_overlap() -> None:
    dataset = TensorDataset(np.arange(30))
    loader, reference = (DataLoader(dataset, 10, shuffle=True, seed=0) for _ in range(2))
    expected = [labels_of(reference) for _ in range(3)]
    next(iter(loader))
    left, right = iter(loader), iter(loader)
    pairs = [(a[0].numpy().tolist(), b[0].numpy().tolist()) for a, b in zip(left, right, strict=True)]
    assert [a for a, _ in pairs] == expected[1]
    assert [b for _, b in pairs] == expected[2]


def test_resumed_run_continues_with_the_same_order() -> None:
    dataset = TensorDataset(np.arange(40))
    loader = DataLoader(dataset, 16, shuffle=True, seed=9)
    for _ in range(3):
        labels_of(loader)
    state = loader.state_dict()
    assert state == {"seed": 9, "epoch": 3}
    resumed = DataLoader(dataset, 16, shuffle=True, seed=123)
    resumed.load_state_dict(state)
    assert [labels_of(resumed) for _ in range(2)] == [labels_of(loader) for _ in range(2)]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"seed": 1}, "got keys ['seed'], expected epoch and seed"),
        ({"seed": 1, "epoch": 0, "x": 0}, "expected epoch and seed"),
        ({"seed": 1, "epoch": -1}, "epoch is -1, expected a non-negative integer"),
        ({"seed": "1", "epoch": 1}, "seed is '1', expected a non-negative integer"),
    ],
)
def test_bad_loader_state_is_refused_and_changes_nothing(state: dict[str, int], words: str) -> None:
    loader = DataLoader(TensorDataset(np.arange(4)), seed=5)
    with pytest.raises(DataError, match=re.escape(words)):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"seed": 5, "epoch": 0}


def test_nested_subsets_are_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Subset(TensorDataset(np.arange(10) * 10), [9, 8, 7, 6])
    outer = Subset(inner, [3, 0])
    monkeypatch.setattr("gpugrad.data.loader.collate", None)  # stacking sample by sample would fail
    assert labels_of(DataLoader(outer, 2)) == [[60, 90]]
    assert labels_of(DataLoader(inner, 3)) == [[90, 80, 70], [60]]


def test_indexing_of_a_subclass_is_called() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: Any) -> tuple[Any, ...]:
            return tuple(2 * value for value in super().__getitem__(index))

    class Shifted(Subset):
        def __getitem__(self, index: Any) -> tuple[Any, ...]:
            return tuple(1 + value for value in super().__getitem__(index))

    assert labels_of(DataLoader(Doubled(np.arange(3)), 3)) == [[0, 2, 4]]
    assert labels_of(DataLoader(Shifted(TensorDataset(np.arange(3)), [0, 2]), 2)) == [[1, 3]]


def test_collate_fn_gets_the_samples_and_is_returned_as_it_is() -> None:
    loader = DataLoader(TensorDataset(np.arange(3)), 2, collate_fn=lambda samples: {"got": samples})
    assert list(loader) == [{"got": [(0,), (1,)]}, {"got": [(2,)]}]


@pytest.mark.parametrize("batch_size", [0, -3, 2.0, "4", None, True])
def test_bad_batch_size_is_refused(batch_size: object) -> None:
    with pytest.raises(DataError, match=rf"batch_size is {batch_size!r}, expected an integer of at least 1"):
        DataLoader(TensorDataset(np.arange(3)), batch_size=batch_size)  # type: ignore[arg-type]


def test_other_bad_arguments_are_refused() -> None:
    dataset = TensorDataset(np.arange(3))
    with pytest.raises(DataError, match="shuffle is 'yes', expected True or False"):
        DataLoader(dataset, shuffle="yes")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="drop_last is 1, expected True or False"):
        DataLoader(dataset, drop_last=1)  # type: ignore[arg-type]
    for seed in (-1, 0.5, True):
        with pytest.raises(DataError, match=f"seed: got {seed}, expected a non-negative integer"):
            DataLoader(dataset, seed=seed)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="collate_fn is 3, expected a function"):
        DataLoader(dataset, collate_fn=3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"of type int, expected one with __len__ and __getitem__.*TensorDataset"):
        DataLoader(3)  # type: ignore[arg-type]


# --- collate


def test_collate_stacks_fields() -> None:
    samples = [(np.ones((2, 2), "float16"), 3, 0.5, True, asarray(np.arange(2, dtype="int8"))) for _ in range(3)]
    batch = collate(samples)
    assert [field.shape for field in batch] == [(3, 2, 2), (3,), (3,), (3,), (3, 2)]
    assert [str(field.dtype) for field in batch] == ["float16", "int64", "float32", "bool", "int8"]
    np.testing.assert_array_equal(batch[4].numpy(), [[0, 1]] * 3)
    (single,) = collate([np.arange(2), np.arange(2)])
    np.testing.assert_array_equal(single.numpy(), [[0, 1], [0, 1]])
    (mixed,) = collate([1, 2.5])
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed.numpy(), [1, 2.5])


def test_collate_refuses_what_cannot_be_stacked() -> None:
    with pytest.raises(DataError, match=r"field 1 has shapes \(2,\), \(3,\), expected one; give a collate_fn"):
        collate([(1, np.zeros(3)), (2, np.zeros(2))])
    with pytest.raises(DataError, match=r"2 samples with \[1, 2\] fields, expected the same number"):
        collate([(1,), (1, 2)])
    with pytest.raises(DataError, match="0 samples"):
        collate([])
    with pytest.raises(DataError, match=r"field 0: .*give a collate_fn"):
        collate([{"x": 1}, {"x": 2}])
    with pytest.raises(DataError, match=r"field 1: .*give a collate_fn"):
        collate([(1, "cat"), (2, "dog")])


# --- the package


def test_import_brings_in_no_optional_package() -> None:
    program = (
        "import sys, gpugrad.data\n"
        "print([m for m in ('sklearn', 'matplotlib', 'tqdm', 'safetensors', 'cupy', 'torch') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
