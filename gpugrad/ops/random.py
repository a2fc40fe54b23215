"""Random draws, from a counter-based Philox generator, through `apply` like everything else that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import DTypeLike

from .. import backend, half
from ..op import primitive
from . import philox
from .samples import calls

if TYPE_CHECKING:
    from ..tensor import Tensor

_generator = numpy.random.Generator(numpy.random.Philox(numpy.random.SeedSequence()))


def default_generator() -> numpy.random.Generator:
    """The generator behind every draw that is given none.

    >>> import gpugrad as gg
    >>> type(gg.random.default_generator().bit_generator).__name__
    'Philox'
    """
    return _generator


def manual_seed(seed: int) -> None:
    """Start the default generator anew from a seed; the same seed gives the same numbers.

    >>> import gpugrad as gg
    >>> gg.manual_seed(0)
    >>> a = gg.random.normal((2,))
    >>> gg.manual_seed(0)
    >>> bool((gg.random.normal((2,)) == a).all())
    True
    """
    fresh = numpy.random.Philox(numpy.random.SeedSequence(seed))
    _generator.bit_generator.state = fresh.state


def _draw(
    xp: Any, name: str, shape: Any, dtype: DTypeLike | None, generator: numpy.random.Generator | None, device: str | None
) -> Any:
    dtype = half.dtype_from(dtype or numpy.float32)
    generator = generator or _generator
    direct = dtype if dtype.itemsize in (4, 8) else numpy.dtype(numpy.float32)
    target = backend.resolve_device(device)
    if target != "cpu" and name == "random" and isinstance(generator.bit_generator, numpy.random.Philox):
        library, there = backend.on_device(target)
        with there, generator.bit_generator.lock:
            return philox.uniform(library, generator.bit_generator, shape, direct).astype(dtype, copy=False)
    drawn = xp.asarray(getattr(generator, name)(shape, dtype=direct)).astype(dtype, copy=False)
    return drawn if device is None else backend.to_device(drawn, target)


@primitive(samples=calls())
def random_normal(
    xp: Any,
    shape: Any,
    dtype: DTypeLike | None = None,
    generator: numpy.random.Generator | None = None,
    device: str | None = None,
) -> Any:
    """Standard normal numbers (`numpy.random.Generator.standard_normal`), the same on every device: drawn on the CPU.

    NumPy's ziggurat method rejects some words of the stream and so cannot be computed side by side.
    """
    return _draw(xp, "standard_normal", shape, dtype, generator, device)


@primitive(samples=calls())
def random_uniform(
    xp: Any,
    shape: Any,
    dtype: DTypeLike | None = None,
    generator: numpy.random.Generator | None = None,
    device: str | None = None,
) -> Any:
    """Uniform numbers in [0, 1) (`numpy.random.Generator.random`), the same on every device: a GPU draws by itself."""
    return _draw(xp, "random", shape, dtype, generator, device)


def normal(
    shape: int | tuple[int, ...],
    mean: float = 0.0,
    std: float = 1.0,
    dtype: DTypeLike | None = None,
    generator: numpy.random.Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """Normal numbers, the same for a seed on every device.

    >>> import gpugrad as gg
    >>> gg.random.normal((2, 3)).shape
    (2, 3)
    """
    out = random_normal(shape, dtype, generator, device)
    return out if mean == 0 and std == 1 else out * std + mean


def uniform(
    shape: int | tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike | None = None,
    generator: numpy.random.Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """Uniform numbers in [low, high), the same for a seed on every device.

    >>> import gpugrad as gg
    >>> x = gg.random.uniform((100,), -1, 1)
    >>> bool(((x >= -1) & (x < 1)).all())
    True
    """
    out = random_uniform(shape, dtype, generator, device)
    return out if low == 0 and high == 1 else out * (high - low) + low
