"""Data sets and loaders: what comes back, and what is refused and how."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpugrad as gg
from gpugrad.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    collate,
    random_split,
)
from gpugrad.errors import DataError
from gpugrad.ops.random import manual_seed
from gpugrad.tensor import Tensor, asarray

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


def test_concat_dataset() -> None:
    both = ConcatDataset(Squares(3), [("a", 0)], Squares(0), Squares(2))
    assert len(both) == 6
    assert isinstance(both, Dataset)
    assert [both[i][1] for i in range(-6, 6)] == [0, 1, 4, 0, 0, 1] * 2
    assert labels_of(DataLoader(ConcatDataset(Squares(3), Squares(2)), 4)) == [[0, 1, 4, 0], [1]]
    with pytest.raises(IndexError, match="index 6 is out of range for a data set of length 6"):
        both[6]
    with pytest.raises(DataError, match="expected an integer"):
        both[[0, 1]]  # type: ignore[index]
    with pytest.raises(DataError, match="no data sets"):
        ConcatDataset()
    with pytest.raises(DataError, match="argument 1 is of type int"):
        ConcatDataset([1], 3)  # type: ignore[arg-type]


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


def test_an_iterator_that_is_not_used_is_no_epoch() -> None:
    """As tqdm.auto makes one."""
    loader = DataLoader(TensorDataset(np.arange(6)), 2, shuffle=True, seed=1)
    expected = labels_of(DataLoader(TensorDataset(np.arange(6)), 2, shuffle=True, seed=1))
    loader.load_state_dict({"seed": 1, "epoch": 0, "samples": 4, "length": 6})
    unused = iter(loader)
    assert loader.epoch == 0
    assert [y.numpy().tolist() for (y,) in gg.progress(loader, disable=True)] == expected[2:]
    assert loader.epoch == 1
    del unused


def test_resumed_run_continues_with_the_same_order() -> None:
    dataset = TensorDataset(np.arange(40))
    loader = DataLoader(dataset, 16, shuffle=True, seed=9)
    for _ in range(3):
        labels_of(loader)
    state = loader.state_dict()
    assert state == {"seed": 9, "epoch": 3, "samples": 0, "length": 40}
    resumed = DataLoader(dataset, 16, shuffle=True, seed=123)
    resumed.load_state_dict(state)
    assert [labels_of(resumed) for _ in range(2)] == [labels_of(loader) for _ in range(2)]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"seed": 1}, "got keys ['seed'], expected epoch and seed"),
        ({"seed": 1, "epoch": 0, "x": 0}, "expected epoch and seed"),
        ({"seed": 1, "epoch": 0, "samples": 2, "length": 5}, "2 of 5 samples of an epoch were given, and the data set now has 4"),
        ({"seed": 1, "epoch": 0, "samples": 2}, "2 of None samples"),
        ({"seed": 1, "epoch": 0, "samples": 5, "length": 4}, "5 of 4 samples"),
        ({"seed": 1, "epoch": -1}, "epoch is -1, expected a non-negative integer"),
        ({"seed": "1", "epoch": 1}, "seed is '1', expected a non-negative integer"),
    ],
)
def test_bad_loader_state_is_refused_and_changes_nothing(state: dict[str, int], words: str) -> None:
    loader = DataLoader(TensorDataset(np.arange(4)), seed=5)
    with pytest.raises(DataError, match=re.escape(words)):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"seed": 5, "epoch": 0, "samples": 0, "length": 4}


@given(st.integers(0, 20), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 3), st.data())
def test_a_resumed_epoch_goes_on_at_the_same_batch(
    count: int, batch: int, shuffle: bool, drop: bool, workers: int, data: st.DataObject
) -> None:
    """A state taken in the body of the loop, at any batch, and at the end: what is left is what an unbroken run gets."""

    def fresh() -> DataLoader:
        return DataLoader(TensorDataset(np.arange(count)), batch, shuffle, drop, seed=7, workers=workers)

    loader, states, batches = fresh(), [], []
    for _ in range(2):
        states.append(loader.state_dict())
        batches.append(None)
        for (x,) in loader:
            batches.append(x.numpy().tolist())
            states.append(loader.state_dict())
    assert loader.epoch == 2
    stop = data.draw(st.integers(0, len(states) - 1))
    resumed = fresh()
    resumed.load_state_dict(states[stop])
    assert resumed.state_dict() == states[stop]
    rest = labels_of(resumed)
    while resumed.epoch < 2:
        rest += [None, *labels_of(resumed)]  # type: ignore[list-item]
    assert rest == batches[stop + 1 :]


def test_a_state_after_a_break_is_in_the_epoch_that_was_broken_off() -> None:
    loader = DataLoader(TensorDataset(np.arange(10)), 4, shuffle=True, seed=0, workers=2)
    whole = labels_of(DataLoader(TensorDataset(np.arange(10)), 4, shuffle=True, seed=0))
    for _ in loader:
        break
    resumed = DataLoader(TensorDataset(np.arange(10)), 4)
    resumed.load_state_dict(loader.state_dict())
    resumed.shuffle = True
    assert labels_of(resumed) == whole[1:]
    resumed.load_state_dict(loader.state_dict())
    resumed.batch_size = 3  # a state counts samples, so the size of a batch may change
    assert [n for batch in labels_of(resumed) for n in batch] == [n for batch in whole[1:] for n in batch]


def test_batches_are_moved_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    monkeypatch.setattr(Tensor, "to", lambda self, device: moved.append(device) or self)
    loader = DataLoader(TensorDataset(np.arange(3)), 2, collate_fn=lambda rows: {"x": [collate(rows)], "n": 1}, device="cpu")
    assert [batch["n"] for batch in loader] == [1, 1]
    assert moved == ["cpu", "cpu"]

    class Second:
        """Of two processes."""

        def __call__(self, numbers: np.ndarray) -> np.ndarray:
            return np.array_split(numbers, 2)[1]

        def check(self, smallest: int) -> None:
            if smallest < 2:
                raise DataError(f"a batch of {smallest} for 2")

    assert labels_of(DataLoader(TensorDataset(np.arange(10)), 4, sampler=Second())) == [[2, 3], [6, 7], [9]]
    with pytest.raises(DataError, match="a batch of 1 for 2"):
        DataLoader(TensorDataset(np.arange(9)), 4, sampler=Second())
    DataLoader(TensorDataset(np.arange(9)), 4, drop_last=True, sampler=Second())


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


@pytest.mark.parametrize(("name", "value"), [("workers", -1), ("workers", 1.5), ("prefetch", 0), ("prefetch", True)])
def test_bad_numbers_of_workers_are_refused(name: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"DataLoader: {name} is {value!r}, expected an integer of at least [01]"):
        DataLoader(TensorDataset(np.arange(3)), **{name: value})  # type: ignore[arg-type]


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
