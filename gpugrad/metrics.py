"""How good a classifier is. Plain numbers and NumPy arrays come out, on no tape."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from . import half
from .backend import as_array, on_device_of, to_device
from .errors import BoundsError, DataError, DTypeError, ShapeError, describe
from .tensor import Tensor

__all__ = ["accuracy", "confusion_matrix"]


def accuracy(predictions: Any, targets: Any) -> float:
    """The share of predictions that are right (`sklearn.metrics.accuracy_score`).

    Parameters
    ----------
    predictions : array or Tensor
        Class ids of any shape, or logits (or probabilities) with the classes along one more axis, the last.
    targets : array or Tensor
        Class ids.

    Raises
    ------
    ShapeError, DTypeError
        If these are not class ids, or logits, of one shape.
    DataError
        If there are none, or a logit is nan.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.metrics.accuracy([0, 2, 1, 1], [0, 2, 2, 1])
    0.75
    >>> gg.metrics.accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    predicted, wanted, _ = _class_ids("accuracy", predictions, targets)
    if not wanted.size:
        raise DataError("accuracy: there are no predictions")
    return float((predicted == wanted).mean())


def confusion_matrix(predictions: Any, targets: Any, classes: int | None = None) -> NDArray[numpy.int64]:
    """How often each class was taken for each: rows are the true classes, columns the predicted ones.

    Like `sklearn.metrics.confusion_matrix`, with the predictions first.

    Parameters
    ----------
    predictions, targets : array or Tensor
        As in `accuracy`.
    classes : int, optional
        Their number; if not given, that of the logits, or one more than the largest class id.

    Raises
    ------
    BoundsError
        If a class id is negative, or not below `classes`.

    Examples
    --------
    >>> import gpugrad as gg
    >>> gg.metrics.confusion_matrix([0, 2, 1, 1], [0, 2, 2, 1])
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 1, 1]])
    """
    predicted, wanted, columns = _class_ids("confusion_matrix", predictions, targets)
    known = columns or max((int(ids.max()) + 1 for ids in (predicted, wanted) if ids.size), default=0)
    number = known if classes is None else classes
    for what, ids in (("predictions", predicted), ("targets", wanted)):
        outside = (ids < 0) | (ids >= number)
        if outside.any():
            raise BoundsError(f"confusion_matrix: {what} hold the class {ids[outside][0]}, expected 0 to {number - 1}")
    pairs = wanted.ravel().astype(numpy.int64) * number + predicted.ravel().astype(numpy.int64)
    return numpy.bincount(pairs, minlength=number * number).reshape(number, number)


def _class_ids(name: str, predictions: Any, targets: Any) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Predicted and true class ids, on the CPU; and the number of logits, 0 for class ids."""
    given, wanted = (as_array(value.data if isinstance(value, Tensor) else value) for value in (predictions, targets))
    columns = 0
    if half.is_floating(given.dtype) and given.ndim == wanted.ndim + 1 and given.shape[-1]:
        with on_device_of(given):
            if bool((given != given).any()):
                raise DataError(f"{name}: the logits hold nan: {describe(predictions)}")
            columns, given = given.shape[-1], half.widened(given).argmax(axis=-1)
    for what, ids in (("predictions", given), ("targets", wanted)):
        if ids.dtype.kind not in "iub" and ids.size:
            also = ", or logits with one more axis than the targets" if what == "predictions" else ""
            raise DTypeError(f"{name}: {what} are {describe(ids)}, expected class ids (integers){also}")
    if given.shape != wanted.shape:
        raise ShapeError(f"{name}: class ids are {describe(given)}, and targets {describe(wanted)}: expected equal shapes")
    return to_device(given, "cpu"), to_device(wanted, "cpu"), columns
