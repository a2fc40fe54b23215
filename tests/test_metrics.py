"""Metrics against scikit-learn and by hand, and the progress bar."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.metrics import accuracy, confusion_matrix


def test_metrics_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, (2, 300)).astype("uint8")
    assert accuracy(predicted, true) == metrics.accuracy_score(true, predicted)
    np.testing.assert_array_equal(confusion_matrix(predicted, true), metrics.confusion_matrix(true, predicted))
    np.testing.assert_array_equal(
        confusion_matrix(predicted, true, classes=7), metrics.confusion_matrix(true, predicted, labels=range(7))
    )


@pytest.mark.parametrize("wrap", [np.array, gg.tensor, lambda value: value])
def test_logits_and_class_ids_count_the_same(wrap: Any) -> None:
    logits, true = [[0.1, 0.9, -3.0], [2.0, 1.0, 0.0], [0.0, -np.inf, -1.0], [5.0, 6.0, 4.0]], [1, 1, 0, 2]
    assert accuracy(wrap(logits), wrap(true)) == accuracy(wrap([1, 0, 0, 1]), wrap(true)) == 0.5
    expected = [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert confusion_matrix(wrap(logits), wrap(true)).tolist() == expected
    assert confusion_matrix(wrap([1, 0, 0, 1]), wrap(true)).tolist() == expected
    pixels = np.eye(3)[np.array([[0, 1], [2, 2]])]
    assert accuracy(wrap(pixels.tolist()), wrap([[0, 1], [2, 0]])) == 0.75
    assert accuracy(np.array([True, False]), np.array([True, True])) == 0.5


def test_the_matrix_has_a_row_for_each_class() -> None:
    assert confusion_matrix(np.zeros((2, 4), "float32"), [0, 0]).shape == (4, 4)
    assert confusion_matrix([0], [0], classes=3).shape == (3, 3)
    assert confusion_matrix(np.empty(0, int), np.empty(0, int)).shape == (0, 0)
    ids = np.array([200], "uint8")  # whose product with the number of classes does not fit uint8
    assert confusion_matrix(ids, ids)[200, 200] == 1


@pytest.mark.parametrize(
    ("predictions", "targets", "error", "words"),
    [
        ([1, 2, 3], [1, 2], ValueError, r"class ids are int64\[3\] on cpu, and targets int64\[2\]"),
        (np.zeros((3, 4)), np.zeros((3, 4), int), TypeError, r"predictions are float64\[3, 4\].* or logits with one more axis"),
        ([0.2, 0.8], [0, 1], TypeError, "expected class ids"),
        (np.zeros((3, 4)), np.zeros(2, int), ValueError, r"int64\[3\].*int64\[2\]"),
        ([1, 2], [1.0, 2.0], TypeError, "targets are float32"),
        ([[0.0, np.nan]], [1], ValueError, "the logits hold nan"),
    ],
)
def test_metrics_refuse(predictions: Any, targets: Any, error: type[Exception], words: str) -> None:
    for metric in (accuracy, confusion_matrix):
        with pytest.raises(error, match=words):
            metric(predictions, targets)


def test_metrics_refuse_what_has_no_answer() -> None:
    with pytest.raises(gg.DataError, match="there are no predictions"):
        accuracy(np.empty((0, 3)), np.empty(0, int))
    with pytest.raises(IndexError, match="targets hold the class 3, expected 0 to 2"):
        confusion_matrix(np.zeros((1, 3)), [3])
    with pytest.raises(IndexError, match="predictions hold the class -1, expected 0 to 1"):
        confusion_matrix([-1, 0], [0, 1])


def test_progress_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    assert list(gg.progress([3, 4], desc="counting")) == [3, 4]
    assert "counting: 100%" in capsys.readouterr().err


def test_progress_without_tqdm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install gpugrad\[train\]"):
        gg.progress(range(3))
