"""Saving and loading tensors, by name or nested in dicts and lists as states are, in the safetensors format.

A checkpoint is either the old one or the new one, never half of each: it is written to a temporary file in the same
folder, synced, and renamed over the target. Loading reads numbers and text only; nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import half
from .backend import device_of, to_device
from .errors import CheckpointError
from .tensor import Tensor, asarray

__all__ = ["atomic_write", "load", "load_metadata", "save"]

_CODES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
"""NumPy's name and safetensors' code of every dtype that a checkpoint may hold."""

_METADATA = "__metadata__"
"""Key that safetensors keeps for itself. It writes a tensor of that name without complaint and then cannot read it."""

_STRUCTURE = "gpugrad.structure"
"""Metadata entry that says, as JSON, how the tensors of a file were nested, and what was between them."""


def save(
    tensors: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors, or nested states, to a safetensors file, atomically.

    Until the new file is complete and on the disk, `path` keeps what it held before; a failure leaves it untouched.
    Tensors on a GPU are copied to the CPU. `requires_grad` and the tape are not saved.

    Parameters
    ----------
    tensors : mapping of str to Tensor or array, or to what holds them
        Any shapes (0-d and empty too) and memory layouts; bool, signed and unsigned integers of 8 to 64 bits,
        bfloat16, float16, float32 or float64. They may be in dicts, lists and tuples, beside numbers, text and None, as in
        the states of optimisers: another reader then finds the tensor ``state["model"]["weight"]`` under the name
        ``model.weight``.
    path : str or path-like
        The file to write. A symbolic link is followed. The folder must exist.
    metadata : mapping of str to str, optional
        Text to keep with the tensors, read back by `load_metadata`.

    Raises
    ------
    CheckpointError
        If a name, a value, a dtype or the metadata is something that the format cannot hold; nothing is written.
    ImportError
        If the `safetensors` package is not installed.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read the file back.

    Notes
    -----
    The format is described at https://github.com/huggingface/safetensors.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.serialization import load, load_metadata, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     save({"weight": np.ones((2, 3), "float32")}, path, metadata={"epoch": "7"})
    ...     load(path)["weight"].shape, load_metadata(path)
    ...     save({"optimizer": {"lr": 0.1, "step": np.array(7)}}, path)
    ...     load(path)
    ((2, 3), {'epoch': '7'})
    {'optimizer': {'lr': 0.1, 'step': tensor(7)}}
    """
    _check_metadata(metadata)
    found: dict[str, Any] = {}
    structure = {_checked_name(name): _flattened(value, name, found) for name, value in tensors.items()}
    arrays = {name: _host_array(name, value) for name, value in found.items()}
    notes = None if metadata is None else dict(metadata)
    if structure.keys() != arrays.keys():
        notes = (notes or {}) | {_STRUCTURE: json.dumps({"dict": list(structure.items())})}
    # safetensors' own save_file makes a file with mode 0600 and syncs nothing, so only its bytes are used.
    content = _safetensors().numpy.save(arrays, metadata=notes)
    with atomic_write(path) as file:
        file.write(content)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read every tensor of a safetensors file, nested as it was saved.

    Parameters
    ----------
    path : str or path-like
        A file that `save`, or any other writer of safetensors, has made.

    Returns
    -------
    dict of str to Tensor, or to what `save` found them in
        CPU tensors with the saved shapes and dtypes, on no tape, each with writable memory of its own.

    Raises
    ------
    CheckpointError
        If the file is truncated, damaged, not in the safetensors format, or holds another dtype
        (such as an 8-bit float). The format has no checksum: bytes changed inside a tensor's data cannot be noticed.
    ImportError
        If the `safetensors` package is not installed, or the file holds bfloat16 and `ml_dtypes` is not.
    OSError
        If the file does not exist or cannot be read.

    Notes
    -----
    The format is described at https://github.com/huggingface/safetensors.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gpugrad.serialization import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "step.safetensors")
    ...     save({"step": np.array(3)}, path)
    ...     load(path)["step"].item()
    3
    """
    with _opened(path) as file:
        arrays = {}
        for name in file.keys():  # noqa: SIM118  # a handle is no mapping: it cannot be iterated
            code = file.get_slice(name).get_dtype()
            if code not in _CODES.values():
                raise CheckpointError(
                    f"{os.fspath(path)}: tensor {name!r} has dtype {code}, expected one of "
                    f"{', '.join(_CODES.values())}; convert it where the file was made"
                )
            if code == "BF16":
                half.bfloat16()
            arrays[name] = file.get_tensor(name)
        structure = (file.metadata() or {}).get(_STRUCTURE)
    tensors = {name: asarray(array) for name, array in arrays.items()}
    if structure is None:
        return tensors
    try:
        nested: dict[str, Any] = _nested(json.loads(structure), tensors)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{os.fspath(path)}: the entry {_STRUCTURE!r} of its metadata is damaged: {error!r}") from error
    return nested


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the text that was saved beside the tensors, and none of the tensors.

    Parameters
    ----------
    path : str or path-like
        A safetensors file.

    Returns
    -------
    dict of str to str
        The metadata; empty if the file has none.

    Raises
    ------
    CheckpointError
        If the file is truncated, damaged, or not in the safetensors format.
    ImportError
        If the `safetensors` package is not installed.
    OSError
        If the file does not exist or cannot be read.

    Notes
    -----
    The format is described at https://github.com/huggingface/safetensors.

    Examples
    --------
    >>> import os, tempfile
    >>> from gpugrad.serialization import load_metadata, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "notes.safetensors")
    ...     save({}, path, metadata={"dataset": "mnist"})
    ...     load_metadata(path)
    {'dataset': 'mnist'}
    """
    with _opened(path) as file:
        return {key: text for key, text in (file.metadata() or {}).items() if key != _STRUCTURE}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing so that `path` changes only once everything has been written and synced.

    Parameters
    ----------
    path : str or path-like
        The file to replace or make. A symbolic link is followed. The folder must exist.

    Yields
    ------
    binary file
        A temporary file in the folder of `path`. On leaving the block it is renamed to `path`; if the block raises,
        it is removed and `path` stays as it was. The file's mode follows the process's umask.

    Raises
    ------
    OSError
        If the folder does not exist, or the file cannot be written, synced or renamed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gpugrad.serialization import atomic_write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "log"
    ...     with atomic_write(path) as file:
    ...         _ = file.write(b"all or nothing")
    ...     path.read_bytes()
    b'all or nothing'
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"cannot write {target.name}: make its folder first", str(folder))
    # Not tempfile: its files have mode 0600, and the umask cannot be read without changing it for all threads.
    temporary = folder / f".gpugrad-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # an interrupt from the keyboard must not leave the temporary file behind either
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Put the rename itself on the disk; without this a power cut could undo it."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def _safetensors() -> ModuleType:
    """The safetensors library, imported on first use: most programs never save."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "saving and loading need the safetensors package: pip install gpugrad[train]", name="safetensors"
        ) from error
    return safetensors


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A safetensors handle on `path`; what is wrong with the file becomes a CheckpointError that names it."""
    safetensors = _safetensors()
    name = os.fspath(path)
    with open(name, "rb"):  # a missing, unreadable or non-file path fails here, by name, unlike in safetensors
        pass
    try:
        with safetensors.safe_open(name, framework="numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{name}: truncated, damaged, or not a safetensors file: {error}") from error


def _flattened(value: Any, name: str, found: dict[str, Any]) -> Any:
    """What is around tensors, as JSON: a list is itself, other containers name their kind; the tensors go into `found`."""
    if hasattr(value, "dtype"):
        if name in found:
            raise CheckpointError(f"save: two tensors would be named {name!r}; rename one of the keys that lead to them")
        found[name] = value
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value) in (list, tuple):
        items = [_flattened(item, f"{name}.{i}", found) for i, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        return {"dict": [[key, _flattened(item, f"{name}.{key}", found)] for key, item in value.items()]}
    raise CheckpointError(
        f"save: {name!r} is of type {type(value).__name__}, expected a Tensor, an array, a number, text, None, or dicts "
        "(by text or integers), lists and tuples of them"
    )


def _nested(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_flattened`."""
    if isinstance(structure, list):
        return [_nested(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, inside),) = structure.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "dict":
        return {key: _nested(item, tensors) for key, item in inside}
    if kind == "tuple":
        return tuple(_nested(inside, tensors))
    raise ValueError(f"unknown kind {kind!r}")


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise CheckpointError(f"save: the name {name!r} is of type {type(name).__name__}, expected str")
    if name == _METADATA:
        raise CheckpointError(f"save: the name {_METADATA!r} is taken by the format; rename the tensor")
    return name


def _check_metadata(metadata: Mapping[str, str] | None) -> None:
    for key, value in (metadata or {}).items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise CheckpointError(
                f"save: metadata entry {key!r}: {value!r} is {type(key).__name__}: {type(value).__name__}, expected "
                "str: str; use json.dumps for anything else"
            )
        if key == _STRUCTURE:
            raise CheckpointError(f"save: the metadata entry {_STRUCTURE!r} is taken; rename it")


def _host_array(name: str, value: Any) -> NDArray[Any]:
    """`value` as a C-contiguous NumPy array: of any other, safetensors would write the raw memory, wrongly."""
    raw = value.data if isinstance(value, Tensor) else value
    if device_of(raw) != "cpu":
        raw = to_device(raw, "cpu")
    if not isinstance(raw, np.ndarray | np.generic) or isinstance(raw, np.ma.MaskedArray):
        raise CheckpointError(f"save: {name!r} is of type {type(value).__name__}, expected a Tensor or an array")
    if raw.dtype.name not in _CODES:
        raise CheckpointError(f"save: {name!r} has dtype {raw.dtype}, expected one of {', '.join(_CODES)}")
    # Not ascontiguousarray, which would turn a 0-d array into a 1-d one.
    return np.asarray(raw, order="C")
