"""A folder of checkpoints, from which a run that was killed goes on as if it had not been."""

from __future__ import annotations

import os
import re
import time
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from .backend import to_device
from .errors import CheckpointError
from .ops.random import default_generator
from .serialization import load, save
from .tensor import Tensor
from .tree import tree_map

__all__ = ["Checkpoints", "Restored"]

_NAME = re.compile(r"step-(\d+)\.safetensors")
_OURS = {"step", "extra", "generator", "checksum"}


class Restored(NamedTuple):
    """What `Checkpoints.restore` found, beside the parts that it filled."""

    step: int
    """The number given to `save`."""
    extra: Any
    """The `extra` given to `save`, with arrays as Tensors."""
    path: Path
    """The file."""


class Checkpoints:
    """Checkpoints of a run in a folder, the last few of them kept.

    Each is one safetensors file that holds the state of every part (model, optimiser, schedule, loader, ...) and of the default
    random generator. It is written beside the others and renamed when it is complete, so a run can be killed at any time.
    A run that goes on from it gives the numbers of one that was never stopped.

    Parameters
    ----------
    folder : str or path-like
        Made when something is saved. One run at a time may save there.
    keep_last : int or None
        How many to keep; all with None.

    Examples
    --------
    >>> import tempfile
    >>> import gpugrad as gg
    >>> def train(folder, steps):
    ...     gg.manual_seed(0)
    ...     w = gg.nn.Linear(2, 1)
    ...     optimizer = gg.optim.Adam(w.parameters())
    ...     checkpoints, start = gg.Checkpoints(folder), 0
    ...     if found := checkpoints.restore(model=w, optimizer=optimizer):
    ...         start = found.step
    ...     for step in range(start, steps):
    ...         optimizer.zero_grad()
    ...         (w(gg.random.normal((4, 2))) ** 2).mean().backward()
    ...         optimizer.step()
    ...         checkpoints.save(step + 1, model=w, optimizer=optimizer)
    ...     return w.weight.numpy()
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
    ...     unbroken = train(one, 5)
    ...     _ = train(two, 3)
    ...     bool((train(two, 5) == unbroken).all())
    True
    """

    def __init__(self, folder: str | os.PathLike[str], keep_last: int | None = 3) -> None:
        if keep_last is not None and (isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 1):
            raise ValueError(f"Checkpoints: keep_last is {keep_last!r}, expected an integer of at least 1, or None to keep all")
        self.folder = Path(folder)
        self.keep_last = keep_last
        self._step: int | None = None  # that this run saved or restored last
        self._damaged: list[Path] = []
        self._opened = time.time()

    def steps(self) -> dict[int, Path]:
        """The checkpoints in the folder, by their steps, the oldest first. What is half-written is none."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        found = {int(match[1]): self.folder / name for name in names if (match := _NAME.fullmatch(name))}
        return dict(sorted(found.items()))

    def latest(self) -> Path | None:
        """The file of the last step, None in an empty folder. Whether it is damaged shows when it is read."""
        return next(reversed(self.steps().values()), None)

    def save(self, step: int, *, extra: Any = None, **parts: Any) -> Path:
        """Write a checkpoint, then remove those that are too many.

        Parameters
        ----------
        step : int
            How far the run is, in steps or epochs. Later than what the folder holds, but for a run that was restored: what
            came after the step that it went back to is then removed.
        extra : nested dicts, lists and tuples of numbers, text and arrays
            What else the run needs, such as its losses so far.
        **parts : Any
            ``model=``, ``optimizer=``, ``scheduler=``, ``loader=`` or any other name: what has ``state_dict``, or a
            `numpy.random.Generator`. Save a loader's state where it is iterated, or between epochs.

        Returns
        -------
        pathlib.Path
            The file.
        """
        if isinstance(step, bool) or not isinstance(step, int | numpy.integer) or step < 0:
            raise ValueError(f"Checkpoints.save: step is {step!r}, expected a non-negative integer")
        self._check_order(int(step))
        state = {name: _state_of(part) for name, part in {**_checked(parts), "generator": default_generator()}.items()}
        state = _plain({**state, "step": int(step), "extra": extra})
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:09d}.safetensors"
        save({**state, "checksum": _checksum(state)}, path)
        self._step = int(step)
        self._tidy()
        return path

    def restore(self, step: int | None = None, **parts: Any) -> Restored | None:
        """Load the last checkpoint into the parts and the default random generator.

        A damaged file is passed over with a warning, and the one before it is taken.

        Parameters
        ----------
        step : int, optional
            Load this one, and no other.
        **parts : Any
            As given to `save`; may be fewer.

        Returns
        -------
        Restored or None
            None if the folder holds no checkpoints, so a new run can start the same way.

        Raises
        ------
        CheckpointError
            If all are damaged, the one asked for is missing or damaged, or it lacks a part or does not fit it.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise CheckpointError(
                f"{self.folder}: no checkpoint of step {step}; there are {', '.join(map(str, steps)) or 'none'}"
            )
        candidates = list(steps.values())[::-1] if step is None else [steps[step]]
        for path in candidates:
            try:
                state = _read(path)
            except CheckpointError as error:
                if path == candidates[-1]:
                    raise
                warnings.warn(f"passed over a damaged checkpoint: {error}", RuntimeWarning, stacklevel=2)
                self._damaged.append(path)
                continue
            self._step = state["step"]
            return self._fill(path, state, _checked(parts))
        return None

    def _fill(self, path: Path, state: Mapping[str, Any], parts: Mapping[str, Any]) -> Restored:
        if missing := [name for name in parts if name not in state]:
            held = ", ".join(name for name in state if name not in _OURS) or "no parts"
            raise CheckpointError(f"{path}: holds no {', '.join(missing)}; it has {held}")
        for name, part in {**parts, "generator": default_generator()}.items():
            if isinstance(part, numpy.random.Generator):
                part.bit_generator.state = _plain(state[name])
            else:
                part.load_state_dict(state[name])
        return Restored(state["step"], state["extra"], path)

    def _check_order(self, step: int) -> None:
        """No checkpoint of another run is overwritten, or comes after those of this one and would be restored."""
        last = max(self.steps(), default=-1) if self._step is None else self._step - 1
        if step <= last:
            raise CheckpointError(
                f"{self.folder}: save of step {step}, but "
                + (
                    f"step {last} is there, of an earlier run: restore() it, or use another folder"
                    if self._step is None
                    else f"this run is at step {self._step}: restore(step) an earlier one to go back"
                )
            )

    def _tidy(self) -> None:
        """Remove what is old, damaged, of a run that was gone back on, or half-written by a run that was killed."""
        assert self._step is not None
        steps = self.steps()
        gone = [path for path in self._damaged if path != steps[self._step]]
        gone += [path for step, path in steps.items() if step > self._step]
        kept = [path for path in steps.values() if path not in gone]
        gone += kept[: -self.keep_last] if self.keep_last else []
        # Those of this run are younger: another thread may be writing one.
        gone += [path for path in self.folder.glob(".gpugrad-*.tmp") if path.stat().st_mtime < self._opened]
        for path in gone:
            path.unlink(missing_ok=True)
        self._damaged = []


def _checked(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, part in parts.items():
        if name in _OURS:
            raise ValueError(f"Checkpoints: the name {name!r} is taken; call the part something else")
        kind = type(part)
        if kind is not numpy.random.Generator and not (hasattr(kind, "state_dict") and hasattr(kind, "load_state_dict")):
            raise TypeError(
                f"Checkpoints: {name} is of type {kind.__name__}, expected what has state_dict and load_state_dict, or a "
                "numpy.random.Generator; save values with extra="
            )
    return parts


def _state_of(part: Any) -> Any:
    return part.bit_generator.state if isinstance(part, numpy.random.Generator) else part.state_dict()


def _read(path: Path) -> dict[str, Any]:
    """A file's state. The format itself has no checksum, so there is one in the state."""
    state: Any = load(path)
    if not isinstance(state, dict) or not state.keys() >= _OURS:
        raise CheckpointError(f"{path}: not written by Checkpoints")
    if state.pop("checksum") != _checksum(_plain(state)):
        raise CheckpointError(f"{path}: damaged: its checksum does not fit what it holds")
    return state


def _plain(value: Any) -> Any:
    """The same with NumPy arrays for Tensors and arrays of any device, and dicts for mappings: as it is loaded again."""
    if hasattr(value, "dtype"):
        return numpy.asarray(to_device(value.data if isinstance(value, Tensor) else value, "cpu"))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _checksum(state: Any) -> int:
    """CRC-32 of all that is around the arrays, as text, and of the arrays."""
    arrays: list[Any] = []

    def noted(leaf: Any) -> Any:
        if not isinstance(leaf, numpy.ndarray):
            return leaf
        arrays.append(leaf)
        return leaf.dtype.name, leaf.shape

    crc = zlib.crc32(repr(tree_map(noted, state)).encode())
    for array in arrays:
        native = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        crc = zlib.crc32(native.reshape(-1).view(numpy.uint8).data, crc)
    return crc
