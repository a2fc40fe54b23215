"""MNIST and the data sets in its form: four IDX files in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .idx import read_idx

__all__ = ["MNIST", "load_mnist"]

_MNIST_STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class MNIST(NamedTuple):
    """The four arrays of MNIST, or of a data set in its form, such as Fashion-MNIST."""

    train_images: NDArray[np.uint8]
    """uint8, (60000, 28, 28) in MNIST."""
    train_labels: NDArray[np.uint8]
    """uint8, (60000,), 0 to 9."""
    test_images: NDArray[np.uint8]
    """uint8, (10000, 28, 28) in MNIST."""
    test_labels: NDArray[np.uint8]
    """uint8, (10000,), 0 to 9."""


def load_mnist(folder: str | os.PathLike[str]) -> MNIST:
    """Load MNIST, or a data set in its form (Fashion-MNIST, KMNIST), from the four files it is published as.

    Parameters
    ----------
    folder : str or path-like
        Where ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte`` are. The spelling ``train-images.idx3-ubyte``, and ``.gz`` after either, will do.

    Returns
    -------
    MNIST
        Named tuple of uint8 arrays: images (count, rows, columns) of 0 to 255, labels (count,) of 0 to 9.

    Raises
    ------
    DataError
        If files are missing (all of them are listed), damaged, or not what their name says.

    Notes
    -----
    The files are described at http://yann.lecun.com/exdb/mnist/.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.data import load_mnist, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part, count in ("train", 6), ("t10k", 2):
    ...         images, labels = np.zeros((count, 28, 28), "uint8"), np.zeros(count, "uint8")
    ...         write_idx(os.path.join(folder, f"{part}-images-idx3-ubyte"), images)
    ...         write_idx(os.path.join(folder, f"{part}-labels-idx1-ubyte.gz"), labels, compress=True)
    ...     mnist = load_mnist(folder)
    >>> mnist.train_images.shape, mnist.test_labels.shape
    ((6, 28, 28), (2,))
    """
    paths = _find_mnist(Path(folder))
    arrays = {}
    for part in ("train", "test"):
        images_path, labels_path = paths[f"{part}_images"], paths[f"{part}_labels"]
        images = arrays[f"{part}_images"] = _read_images(images_path)
        labels = arrays[f"{part}_labels"] = _read_labels(labels_path)
        if len(images) != len(labels):
            raise DataError(
                f"mislabelled: {images_path} holds {len(images)} images, but {labels_path} holds {len(labels)} labels; "
                "expected equal counts"
            )
    train, test = arrays["train_images"].shape[1:], arrays["test_images"].shape[1:]
    if train != test:
        raise DataError(f"{paths['test_images']}: images of {test} pixels, expected {train} as in {paths['train_images']}")
    return MNIST(**arrays)


def _find_mnist(folder: Path) -> dict[str, Path]:
    found, missing = {}, []
    for part, stem in _MNIST_STEMS.items():
        dotted = stem.replace("-idx", ".idx")
        candidates = [folder / (name + end) for name in (stem, dotted) for end in ("", ".gz")]
        existing = [path for path in candidates if path.is_file()]
        if existing:
            found[part] = existing[0]
        else:
            missing.append(stem)
    if missing:
        raise DataError(f"{folder}: no such files: {', '.join(missing)} (looked for each also as NAME.idxN-ubyte, and with .gz)")
    return found


def _read_images(path: Path) -> NDArray[np.uint8]:
    images = read_idx(path)
    if images.dtype != np.uint8 or images.ndim != 3:
        hint = " (a labels file under the images' name?)" if images.ndim == 1 else ""
        raise DataError(f"{path}: found {images.dtype} of shape {images.shape}{hint}, expected images: uint8 with 3 dimensions")
    return images


def _read_labels(path: Path) -> NDArray[np.uint8]:
    labels = read_idx(path)
    if labels.dtype != np.uint8 or labels.ndim != 1:
        hint = " (an images file under the labels' name?)" if labels.ndim == 3 else ""
        raise DataError(f"{path}: found {labels.dtype} of shape {labels.shape}{hint}, expected labels: uint8 with 1 dimension")
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        raise DataError(f"{path}: found label {labels[wrong[0]]} at position {wrong[0]}, expected 0 to 9")
    return labels
