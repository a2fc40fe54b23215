"""Differentiate through SciPy and scikit-learn: their functions that take array API input, called on Tensors.

Each function below is called on Tensors as it is called on NumPy arrays. Nothing of it is rewritten: SciPy and scikit-learn ask
the array for its namespace, get `gpugrad.numpy`, and everything they compute with it lands on the tape. For each one the table
shows the value, its derivative along a random direction, and the same by central differences on plain NumPy arrays.

    python examples/through_scipy.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ["SCIPY_ARRAY_API"] = "1"  # SciPy reads it when it is first imported

import numpy as np
import scipy
import scipy.fft
import scipy.integrate
import scipy.optimize.elementwise
import scipy.signal
import scipy.special
import scipy.stats
import sklearn
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import MinMaxScaler

import gpugrad as gg

TOLERANCE = 1e-5
STEP = 1e-6
LABELS = np.arange(12) % 3


def cube_root(c: Any) -> Any:
    """By a bracketing root finder: the derivative of a root by a parameter of the equation."""
    low, high = c * 0, c * 0 + 5  # one bracket for each
    return scipy.optimize.elementwise.find_root(lambda x, c: x**3 - c, (low, high), args=(c,)).x


def turned(angles: Any) -> Any:
    """Vectors turned by rotation vectors."""
    return Rotation.from_rotvec(angles).apply(np.eye(3)[:1] if isinstance(angles, np.ndarray) else gg.asarray(np.eye(3)[:1]))


def classes(x: Any) -> Any:
    """Probabilities of classes by linear discriminant analysis, which is fitted to the same points."""
    labels = LABELS if isinstance(x, np.ndarray) else gg.asarray(LABELS)
    return LinearDiscriminantAnalysis().fit(x, labels).predict_proba(x)


CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "scipy.stats.skew": (scipy.stats.skew, "v"),
    "scipy.stats.gmean": (scipy.stats.gmean, "p"),
    "scipy.stats.differential_entropy": (scipy.stats.differential_entropy, "v"),
    "scipy.stats.circmean": (scipy.stats.circmean, "v"),
    "scipy.stats.boxcox_llf": (lambda p: scipy.stats.boxcox_llf(0.5, p), "p"),
    "scipy.special.gammaln": (scipy.special.gammaln, "p"),
    "scipy.special.logsumexp": (lambda m: scipy.special.logsumexp(m, axis=1), "m"),
    "scipy.special.rel_entr": (scipy.special.rel_entr, "pq"),
    "scipy.fft.rfft": (lambda v: gg.square(gg.abs(scipy.fft.rfft(v))), "v"),
    "scipy.signal.fftconvolve": (scipy.signal.fftconvolve, "vp"),
    "scipy.signal.envelope": (scipy.signal.envelope, "v"),
    "scipy.integrate.trapezoid": (scipy.integrate.trapezoid, "vs"),
    "scipy.integrate.cumulative_simpson": (lambda v: scipy.integrate.cumulative_simpson(v, dx=0.1), "v"),
    "scipy.optimize.elementwise.find_root": (cube_root, "p"),
    "scipy.spatial.transform.Rotation": (turned, "m"),
    "sklearn.preprocessing.MinMaxScaler": (lambda m: MinMaxScaler().fit_transform(m), "m"),
    "sklearn.metrics.pairwise.rbf_kernel": (rbf_kernel, "m"),
    "sklearn.decomposition.PCA": (lambda m: PCA(2, svd_solver="full").fit(m).explained_variance_, "m"),
    "sklearn.linear_model.Ridge": (lambda m, v: Ridge(solver="svd").fit(m, v).predict(m), "mv"),
    "sklearn.discriminant_analysis.LDA": (classes, "m"),
}
"""What is called, and on which of the inputs."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    value: float
    slope: float
    measured: float

    @property
    def error(self) -> float:
        """Of the slope, relative to one or to its size."""
        return abs(self.slope - self.measured) / max(1.0, abs(self.measured))


def inputs(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Vectors of any sign, positive ones, rising ones, and a matrix."""
    rng = np.random.default_rng(seed)
    v, p, q, m = rng.normal(size=12), rng.uniform(0.2, 3, 12), rng.uniform(0.2, 3, 12), rng.normal(size=(12, 3))
    return {"v": v, "p": p, "q": q, "s": np.cumsum(p), "m": m}


def total(result: Any) -> Any:
    """A number that depends on every element of a result."""
    return gg.sum(result * gg.cos(gg.arange(float(np.size(result)), dtype="float64").reshape(np.shape(result))))


def rows(seed: int = 0) -> Iterator[Row]:
    """The table, one function after the other."""
    known, rng = inputs(seed), np.random.default_rng(seed + 1)
    for name, (function, letters) in CALLS.items():
        arrays = [known[letter] for letter in letters]
        tensors = [gg.tensor(array, requires_grad=True) for array in arrays]
        value = total(function(*tensors))
        value.backward()
        directions = [rng.normal(size=array.shape) for array in arrays]
        slope = sum(float((t.grad.numpy() * d).sum()) for t, d in zip(tensors, directions, strict=True) if t.grad is not None)
        ends = [
            total(function(*[a + sign * STEP * d for a, d in zip(arrays, directions, strict=True)])).item() for sign in (1, -1)
        ]
        yield Row(name, value.item(), slope, (ends[0] - ends[1]) / (2 * STEP))


def main() -> int:
    """Print the table; 1 if a derivative is wrong."""
    sklearn.set_config(array_api_dispatch=True)
    print(f"SciPy {scipy.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}")
    print(f"{'function':40} {'value':>12} {'derivative':>12} {'measured':>12} {'error':>8}")
    wrong = 0
    for row in rows():
        wrong += not row.error < TOLERANCE
        print(f"{row.name:40} {row.value:12.6f} {row.slope:12.6f} {row.measured:12.6f} {row.error:8.0e}")
    print(f"{len(CALLS) - wrong} of {len(CALLS)} derivatives are right to {TOLERANCE:g}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
